"""Reports about mails of ours: receipts (RFC 8098) and bounces (RFC 3464), one door to both."""

from radpost.mime.dsn import BounceClass, Dsn, RecipientStatus, classify, parse_dsn
from radpost.mime.mdn import (
    Disposition,
    Mdn,
    Receipt,
    build_mdn,
    mdn_entity,
    parse_disposition,
    parse_mdn,
)

__all__ = [
    "BounceClass",
    "Disposition",
    "Dsn",
    "Mdn",
    "Receipt",
    "RecipientStatus",
    "build_mdn",
    "classify",
    "mdn_entity",
    "parse_disposition",
    "parse_dsn",
    "parse_mdn",
]
