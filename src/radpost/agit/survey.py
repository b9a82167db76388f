"""What a mail is, seen from outside: by its structure, never by its subject (DESIGN 2 "way in")."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Final

from radpost.agit import names
from radpost.mime.cms import Payload as CmsPayload
from radpost.mime.cms import find_smime
from radpost.mime.coding import UUENCODE, Buffer, decode
from radpost.mime.headers import Headers
from radpost.mime.partial import FragmentInfo, fragment_info
from radpost.mime.pgp import Found, Kind, Payload, find_openpgp
from radpost.mime.reader import Entity, Limits, body, content, parse
from radpost.mime.report import Dsn, Mdn, parse_dsn, parse_mdn

MAX_SET_ID: Final = 256
MAX_SET_TOTAL: Final = 1_000_000
_ANSWER: Final = re.compile(r"\s*auto-replied\b", re.IGNORECASE)
_NUMBER: Final = re.compile(r"\s*0*([0-9]{1,7})\s*\Z")
_INDEX: Final = re.compile(r"\s*([0-9]{1,7})\s*/\s*([0-9]{1,7})\s*\Z")
_ENCODED: Final = frozenset({"base64", "quoted-printable", UUENCODE})
_BARE_HEAD: Final = 300
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/\r\n]{176,}\Z")
_UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)+\Z")


class MailKind(Enum):
    """What is to be done with a mail."""

    FRAGMENT = "fragment"
    RECEIPT = "receipt"
    BOUNCE = "bounce"
    SEALED = "sealed"
    """OpenPGP data: what is inside shows when it is open."""
    CLEAR = "clear"
    """DICOM objects, or documents marked as ours, without encryption; perhaps signed."""
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


def survey(buffer: Buffer, limits: Limits | None = None, *, smime: bool = False) -> Survey:
    """Look at a mail without any key; whatever cut it, a fragment is told by its type (@GIT 1.1r 5.2).

    With ``smime`` S/MIME counts as sealed data, and an XDM medium in the clear as data.

    Raises:
        RadpostError: MIME_MALFORMED, RESOURCE_LIMIT, PARTIAL_INCONSISTENT, MDN_INVALID.
    """
    root = parse(buffer, limits or Limits())
    headers = root.headers
    fragment = fragment_info(root)
    found = find_openpgp(root, buffer) if fragment is None else Found((), (), ())
    kind, mdn, dsn = _classify(root, buffer, found, fragment, smime=smime)
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
    root: Entity, buffer: Buffer, found: Found, fragment: FragmentInfo | None, *, smime: bool
) -> tuple[MailKind, Mdn | None, Dsn | None]:
    if fragment is not None:
        return MailKind.FRAGMENT, None, None
    if root.content_type == "multipart/encrypted" and found.payloads:
        return MailKind.SEALED, None, None
    mdn = parse_mdn(root, buffer)
    dsn = parse_dsn(root, buffer) if mdn is None else None
    reports = mdn is not None or dsn is not None or is_answer(root.headers)
    own = _own_payloads(root, found, reports=reports)
    cms = _own_smime(root, buffer, reports=reports) if smime else ()
    if mdn is not None:
        # a signed receipt is opened, so that its signature counts
        sealed = bool(own or cms) or _among(mdn.entity, found)
        return (MailKind.SEALED, None, None) if sealed else (MailKind.RECEIPT, mdn, None)
    if dsn is not None and not cms and not any(payload.kind is Kind.PGP_MIME for payload in own):
        return MailKind.BOUNCE, None, dsn
    if own or cms:
        return MailKind.SEALED, None, None
    clear = not reports and (_has_data(root, buffer) or (smime and _has_medium(root, buffer)))
    return (MailKind.CLEAR if clear else MailKind.FOREIGN), None, None


def _own_payloads(root: Entity, found: Found, *, reports: bool) -> tuple[Payload, ...]:
    """Return the sealed data that the mail brings, without those of a mail that it gives back.

    Reports and automatic answers return what they answer, often whole and in many forms.
    """
    payloads = found.payloads
    if all(payload.kind is Kind.CLEARSIGNED and not payload.filename for payload in payloads):
        return ()  # readable text with a signature: a letter, not data
    if not reports:
        return payloads
    returned = {id(inner) for inner in _enclosed(root)}
    return tuple(payload for payload in payloads if id(payload.entity) not in returned)


def _own_smime(root: Entity, buffer: Buffer, *, reports: bool) -> tuple[CmsPayload, ...]:
    """Return the S/MIME that the mail brings, without that of a mail that it gives back."""
    payloads = find_smime(root, buffer).payloads
    returned = {id(inner) for inner in _enclosed(root)} if reports else set()
    return tuple(payload for payload in payloads if id(payload.entity) not in returned)


def _enclosed(root: Entity) -> Iterator[Entity]:
    """Yield all entities of mails within a mail."""
    for outer in root.walk():
        if outer is not root and outer.content_type in {"message/rfc822", "message/global"}:
            yield from outer.walk()


def is_answer(headers: Headers) -> bool:
    """Tell whether a machine made a mail in answer to another (RFC 3834 5); generated mails may be data."""
    return _ANSWER.match(headers.get("Auto-Submitted") or "") is not None


def _among(entity: Entity, found: Found) -> bool:
    """Tell whether an entity is covered by a multipart/signed."""
    return any(inner is entity for signed in found.signed for inner in signed.content.walk())


def _has_data(root: Entity, buffer: Buffer) -> bool:
    """Tell whether a mail without encryption holds DICOM, or documents marked as ours."""
    leaves = [entity for entity in root.walk() if not entity.children]
    if any(looks_dicom(entity, buffer) or _named_dicom(entity) for entity in leaves):
        return True
    marked = any(study_uid(entity.headers) or read_set(entity.headers) for entity in root.walk())
    return marked and any(entity.filename or entity.disposition == "attachment" for entity in leaves)


def _has_medium(root: Entity, buffer: Buffer) -> bool:
    """Tell whether a mail holds an XDM medium: a ZIP with names below IHE_XDM, whatever it is called."""
    return any(
        not entity.children
        and beginning(entity, buffer, 4) == b"PK\3\4"
        and b"IHE_XDM/" in b"".join(bytes(chunk) for chunk in body(entity, buffer)).upper()
        for entity in root.walk()
    )


def _named_dicom(entity: Entity) -> bool:
    """Tell whether a leaf has the name of a DICOM file; data sets without preamble have no other sign."""
    return (entity.filename or "").lower().endswith((".dcm", ".dicom")) and entity.size > 0


def looks_dicom(entity: Entity, buffer: Buffer) -> bool:
    """Tell whether a leaf is a DICOM file, by its type or by ``DICM`` at offset 128 (PS3.10 7.1)."""
    if entity.children or entity.is_multipart:
        return False
    if entity.content_type == names.DICOM_TYPE:
        return True
    return beginning(entity, buffer, 132)[128:132] == b"DICM" or is_bare_base64(entity, buffer)


def is_bare_base64(entity: Entity, buffer: Buffer) -> bool:
    """Tell whether a leaf is a DICOM file in base64, and no header says so: it got lost, or is misspelt."""
    if entity.encoding in _ENCODED:
        return False
    head = bytes(buffer[entity.body_start : min(entity.body_end, entity.body_start + _BARE_HEAD)])
    if not _BASE64.match(head):
        return False
    return beginning(replace(entity, encoding="base64"), buffer, 132)[128:132] == b"DICM"


def beginning(entity: Entity, buffer: Buffer, count: int) -> bytes:
    """Return the first decoded bytes of a leaf, looking at as little as possible."""
    near = min(entity.body_end, entity.body_start + 4 * count + 512)
    head = b"".join(bytes(chunk) for chunk in decode(buffer, entity.body_start, near, entity.encoding))
    if len(head) >= count or near == entity.body_end:
        return head[:count]
    return content(entity, buffer, count)


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
    """Return the first study that a header names, or nothing."""
    return next(filter(None, study_uids(headers)), "")


def study_uids(headers: Headers) -> tuple[str, ...]:
    """Read X-TELEMEDICINE-STUDYID (@GIT 1.1r 5.2); a malformed UID is empty, never a fault of the mail."""
    found = (value.strip("\"'<> \t\0") for value in headers.get_all(names.STUDY_ID))
    return tuple(dict.fromkeys(uid if is_study_uid(uid) else "" for uid in found))


def is_study_uid(uid: str) -> bool:
    """Tell whether a text is a UID (PS3.5 9.1); leading zeros, which the field sends, are let pass."""
    return len(uid) <= 64 and _UID.match(uid) is not None


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
