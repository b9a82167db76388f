"""What a mail is, seen from outside: by its structure, never by its subject (DESIGN 2 "way in")."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from radpost.agit import names
from radpost.mime.coding import Buffer
from radpost.mime.headers import Headers
from radpost.mime.partial import FragmentInfo, fragment_info
from radpost.mime.pgp import Found, find_openpgp
from radpost.mime.reader import Entity, Limits, content, parse
from radpost.mime.report import Dsn, Mdn, parse_dsn, parse_mdn

MAX_SET_ID: Final = 256
MAX_SET_TOTAL: Final = 1_000_000
_NUMBER: Final = re.compile(r"\s*0*([0-9]{1,7})\s*\Z")
_INDEX: Final = re.compile(r"\s*([0-9]{1,7})\s*/\s*([0-9]{1,7})\s*\Z")
_UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)+\Z")


class MailKind(Enum):
    """What is to be done with a mail."""

    FRAGMENT = "fragment"
    RECEIPT = "receipt"
    BOUNCE = "bounce"
    SEALED = "sealed"
    """OpenPGP data: what is inside shows when it is open."""
    CLEAR = "clear"
    """DICOM objects without encryption."""
    FOREIGN = "foreign"
    """Not for us: an ordinary mail."""


@dataclass(frozen=True, slots=True)
class SetInfo:
    """The set headers; part or total may be absent or malformed (then None)."""

    set_id: str
    part: int | None
    total: int | None


@dataclass(frozen=True, slots=True)
class Survey:
    """The outside of a mail."""

    kind: MailKind
    root: Entity
    found: Found
    from_address: str
    to_addresses: tuple[str, ...]
    message_id: str
    date: datetime | None
    set_info: SetInfo | None
    study_uid: str
    receipt_to: str
    fragment: FragmentInfo | None
    mdn: Mdn | None = None
    dsn: Dsn | None = None


def survey(buffer: Buffer, limits: Limits | None = None) -> Survey:
    """Look at a mail without any key.

    Raises:
        RadpostError: MIME_MALFORMED, RESOURCE_LIMIT, PARTIAL_INCONSISTENT.
    """
    root = parse(buffer, limits or Limits())
    headers = root.headers
    fragment = fragment_info(root)
    found = find_openpgp(root, buffer) if fragment is None else Found((), (), ())
    kind, mdn, dsn = _classify(root, buffer, found, fragment)
    return Survey(
        kind=kind,
        root=root,
        found=found,
        from_address=first_address(headers, "From"),
        to_addresses=headers.addresses("To") + headers.addresses("Cc"),
        message_id=headers.message_id() or "",
        date=headers.date(),
        set_info=read_set(headers),
        study_uid=study_uid(headers),
        receipt_to=first_address(headers, names.DISPOSITION_NOTIFICATION_TO),
        fragment=fragment,
        mdn=mdn,
        dsn=dsn,
    )


def _classify(
    root: Entity, buffer: Buffer, found: Found, fragment: FragmentInfo | None
) -> tuple[MailKind, Mdn | None, Dsn | None]:
    if fragment is not None:
        return MailKind.FRAGMENT, None, None
    if found.payloads:
        return MailKind.SEALED, None, None
    mdn = parse_mdn(root, buffer)
    if mdn is not None:
        return MailKind.RECEIPT, mdn, None
    if any(looks_dicom(entity, buffer) for entity in root.walk()):
        return MailKind.CLEAR, None, None
    dsn = parse_dsn(root, buffer)
    return (MailKind.FOREIGN, None, None) if dsn is None else (MailKind.BOUNCE, None, dsn)


def looks_dicom(entity: Entity, buffer: Buffer) -> bool:
    """Tell whether a leaf is a DICOM file, by its type or by ``DICM`` at offset 128 (PS3.10 7.1)."""
    if entity.children or entity.is_multipart:
        return False
    if entity.content_type == names.DICOM_TYPE:
        return True
    return content(entity, buffer, 132)[128:132] == b"DICM"


def read_set(headers: Headers) -> SetInfo | None:
    """Read the set headers or their aliases; the id is an opaque token of at most 256 characters."""
    set_id = (headers.get(names.SET_ID) or "").strip()
    if set_id and len(set_id) <= MAX_SET_ID:
        return SetInfo(set_id, _number(headers.get(names.SET_PART)), _number(headers.get(names.SET_TOTAL)))
    set_id = (headers.get(names.ALIAS_SET_ID) or "").strip()
    if set_id and len(set_id) <= MAX_SET_ID:
        index = _INDEX.match(headers.get(names.ALIAS_SET_INDEX) or "")
        if index is None:
            return SetInfo(set_id, None, None)
        return SetInfo(set_id, _number(index[1]), _number(index[2]))
    return None


def study_uid(headers: Headers) -> str:
    """Read X-TELEMEDICINE-STUDYID; a malformed UID counts as none, never as a fault of the mail."""
    value = (headers.get(names.STUDY_ID) or "").strip().strip("\"'<>").rstrip("\0")
    return value if len(value) <= 64 and _UID.match(value) else ""


def first_address(headers: Headers, name: str) -> str:
    """Return the first addr-spec of a field, or nothing."""
    found = headers.addresses(name)
    return found[0] if found else ""


def _number(text: str | None) -> int | None:
    match = _NUMBER.match(text or "")
    if match is None:
        return None
    number = int(match[1])
    return number if 1 <= number <= MAX_SET_TOTAL else None
