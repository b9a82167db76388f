"""Receipts of our own: a plain MDN for any partner, a signed and encrypted one per object between peers.

The disposition values are those of the field (@GIT practice 5); the MDN is RFC 8098's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import msgspec

from radpost.agit import names
from radpost.agit.contents import InnerRequest
from radpost.mime.coding import Bytes
from radpost.mime.folding import message_fields
from radpost.mime.pgp import Envelope, envelope
from radpost.mime.report import Receipt, build_mdn, mdn_entity, parse_disposition
from radpost.mime.writer import Leaf, Source, write

REPORTING_UA = "Radpost"
SUBJECT = "DICOM-eMail: receipt / Empfangsbestätigung"


class ObjectReport(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """What became of one object of the mail."""

    position: int
    sha256: str
    state: str
    """``imported``, ``present`` (it was here before) or ``quarantined``."""
    sop_instance_uid: str = ""
    code: int | None = None


class Details(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """The part that only Radpost peers exchange; it travels inside the signature only."""

    original_message_id: str
    objects: tuple[ObjectReport, ...] = ()
    set_id: str = ""
    part: int | None = None
    version: int = 1


@dataclass(frozen=True, slots=True)
class ReceiptMail:
    """Everything that decides the bytes of a receipt."""

    sender: str
    recipient: str
    date: datetime
    message_id: str
    original_message_id: str
    disposition: str
    reason_en: str
    reason_de: str
    failed: bool
    code: str
    boundaries: tuple[str, str, str]
    details: Details | None = None
    request: InnerRequest | None = None
    """What the mail asked for inside its encryption (mechanism 2); the receipt is sealed, too, then."""


def clear_mail(mail: ReceiptMail) -> bytes:
    """Return a whole plain receipt; it carries no details, because nothing protects them."""
    return build_mdn(
        _receipt(mail),
        sender=mail.sender,
        recipient=mail.recipient,
        date=mail.date,
        message_id=mail.message_id,
        boundary=mail.boundaries[0],
        subject=SUBJECT,
    )


def sealed_inner(mail: ReceiptMail) -> Iterator[Bytes]:
    """Yield the entity that is to be signed and encrypted, bound to the outside like any mail of ours."""
    extra = None
    if mail.details is not None:
        data = msgspec.json.encode(mail.details)
        kind = ("Content-Type", f'{names.RECEIPT_DETAILS_TYPE}; name="objects.json"')
        extra = Leaf((kind,), Source.of(data), "base64")
    node = mdn_entity(_receipt(mail), mail.boundaries[0], extra, mail.boundaries[1])
    bound = tuple(item for item in _fields(mail) if item[0] in _BOUND)
    return write(node, (*bound, *_marks(mail)))


def sealed_envelope(mail: ReceiptMail) -> Envelope:
    """Return what stands before and behind the armor of a sealed receipt."""
    return envelope(_fields(mail), mail.boundaries[2])


def write_request(request: InnerRequest | None) -> str:
    """Return what is kept of a request inside the encryption until its receipt is written; empty for none."""
    return "" if request is None else msgspec.json.encode(request).decode()


def read_request(text: str) -> InnerRequest | None:
    """Read what was kept of a request."""
    return msgspec.json.decode(text, type=InnerRequest) if text else None


def read_details(data: bytes) -> Details | None:
    """Read a peer's list per object; None if there is none or it cannot be read."""
    if not data:
        return None
    try:
        return msgspec.json.decode(data, type=Details)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


_BOUND = frozenset({"From", "To", "Date", "Message-ID"})


def _marks(mail: ReceiptMail) -> tuple[tuple[str, str], ...]:
    """Return what marks a receipt of mechanism 2 (names verified; places and the report's value are not)."""
    if mail.request is None:
        return ()
    about = mail.request.content_id
    return (*([(names.ORIGINAL_CONTENT_ID, about)] if about else []), (names.REPORT, mail.disposition))


def _fields(mail: ReceiptMail) -> tuple[tuple[str, str], ...]:
    return message_fields(
        sender=mail.sender,
        recipient=mail.recipient,
        subject=SUBJECT,
        date=mail.date,
        message_id=mail.message_id,
        extra=(
            ("In-Reply-To", mail.original_message_id),
            ("References", mail.original_message_id),
            ("Auto-Submitted", "auto-replied"),
        ),
    )


def _receipt(mail: ReceiptMail) -> Receipt:
    reason = f"{mail.code}: {mail.reason_en}" if mail.code else None
    return Receipt(
        original_message_id=mail.original_message_id,
        final_recipient=mail.sender,
        disposition=parse_disposition(mail.disposition),
        reporting_ua=REPORTING_UA,
        reason_en=mail.reason_en,
        reason_de=mail.reason_de,
        error=reason if mail.failed else None,
        warning=None if mail.failed else reason,
    )
