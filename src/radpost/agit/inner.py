"""What the header inside of sealed data says: of the mail itself, and of receipts asked for there."""

import re
from typing import Final

from radpost.agit import names
from radpost.agit.contents import InnerRequest
from radpost.agit.survey import first_address
from radpost.mime.headers import Headers, message_ids
from radpost.mime.pgp import Found
from radpost.mime.reader import Entity

_KEY_ID: Final = re.compile(r"(?:[0-9A-F]{8}|[0-9A-F]{16}|[0-9A-F]{40})")


def request(header: Headers) -> InnerRequest | None:
    """Read a request of mechanism 2 in the header inside the encryption."""
    to = first_address(header, names.NOTIFICATION_TO)
    if not to:
        return None
    key = (header.get(names.NOTIFICATION_KEY_ID) or "").strip().removeprefix("0x").replace(" ", "").upper()
    return InnerRequest(
        to=to,
        content_id=next(iter(message_ids(header.get("Content-ID") or "")), ""),
        key_id=key if _KEY_ID.fullmatch(key) else "",
    )


def named(root: Entity, notification: Entity) -> str | None:
    """Return the mail that a receipt of mechanism 2 is about: our Content-ID is our Message-ID."""
    around = (entity for entity in root.walk() if any(inner is notification for inner in entity.walk()))
    for entity in around:
        found = message_ids(entity.headers.get(names.ORIGINAL_CONTENT_ID) or "")
        if found:
            return found[0]
    return None


def headers(root: Entity, found: Found) -> Headers:
    """Return the header inside; what multipart/signed covers comes before what is only encrypted."""
    signed = next((one for one in found.signed if one.entity is root), None)
    if signed is None:
        return root.headers
    return Headers((*signed.content.headers.fields, *root.headers.fields))
