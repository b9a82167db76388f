"""What is data and what is only wrapping: leaves of a mail, and files or entities that were sealed."""

from typing import Final

from radpost.agit import names
from radpost.agit.survey import beginning, looks_dicom, study_uid
from radpost.errors import RadpostError
from radpost.mime.coding import Buffer
from radpost.mime.headers import Block, parse_block
from radpost.mime.pgp import Kind, Payload
from radpost.mime.reader import Entity

_HEAD: Final = 256 * 1024
_TEXT_TYPES: Final = ("text/plain", "text/html", "text/rtf", "text/enriched", "text/richtext")
_TEXT_HEAD: Final = 4096
_WIDE: Final = ("utf-16", "utf-32", "ucs-", "iso-10646-ucs")
"""Charsets whose text is full of zero octets."""
_ENDS: Final = b"\0\x1a"
"""What old systems write at the end of a text."""
NOT_DATA: Final = frozenset(
    {
        "application/pgp-signature",
        "application/pgp-keys",
        "application/pgp-encrypted",
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
        "message/delivery-status",
        "message/disposition-notification",
        "message/external-body",
        "message/partial",
        "text/rfc822-headers",
        names.RECEIPT_DETAILS_TYPE,
    }
)


def is_data(entity: Entity, buffer: Buffer) -> bool:
    """Tell whether a leaf is an object: anything that is not the mail's own text or machinery.

    An unknown type is data (@GIT 1.1r 2.1, RFC 2046 4.5.1: it is forwarded or stored, never refused), and so
    is what only calls itself text, or has no type that can be read (RFC 2045 5.2 takes that for text). An
    empty part is data only where somebody named it, and never as DICOM.
    """
    if entity.children or entity.is_multipart or entity.content_type in NOT_DATA:
        return False
    empty = not beginning(entity, buffer, 1)
    if looks_dicom(entity, buffer):
        return not empty
    if study_uid(entity.headers):
        return True
    # RFC 2183 2.2: an attachment is for its own sake, whatever its type
    named = bool(entity.filename) or entity.disposition == "attachment"
    return named or not (empty or _is_body(entity, buffer))


def _is_body(entity: Entity, buffer: Buffer) -> bool:
    """Tell whether a leaf without a name is text that people wrote to each other."""
    if entity.content_type not in _TEXT_TYPES:
        return False
    if entity.params.get("charset", "").lower().startswith(_WIDE):
        return True
    return is_text(beginning(entity, buffer, _TEXT_HEAD).rstrip(_ENDS))


def is_data_beside_sealed(entity: Entity, buffer: Buffer) -> bool:
    """Tell whether a clear leaf beside sealed ones was put there by the sender.

    Mail servers and lists add footers and pictures; those must not make a sealed mail an unencrypted one.
    """
    if not is_data(entity, buffer):
        return False
    if looks_dicom(entity, buffer) or study_uid(entity.headers):
        return True
    return entity.disposition == "attachment" and entity.content_type not in _TEXT_TYPES


def is_mime(payload: Payload, plain: Buffer) -> bool:
    """Tell whether what was sealed is a MIME entity; else it is a file.

    PGP/MIME holds an entity (RFC 3156 4), but senders also put a bare file there; a sealed attachment or
    armor in text may hold either.
    """
    if bytes(plain[128:132]) == b"DICM":
        return False
    head = bytes(plain[:_HEAD])
    block = _block(head, complete=len(plain) <= _HEAD)
    declared = _declares(head, complete=len(plain) <= _HEAD)
    if payload.kind is Kind.PGP_MIME:
        return declared or is_text(head[:_TEXT_HEAD])
    return declared and block is not None and "garbage-line" not in block.defects


def is_entity(plain: Buffer, *, named: bool) -> bool:
    """Tell whether what S/MIME held is a MIME entity; where the file inside has a name, it may be
    that file.
    """
    if bytes(plain[128:132]) == b"DICM":
        return False
    head = bytes(plain[:_HEAD])
    return _declares(head, complete=len(plain) <= _HEAD) or (not named and is_text(head[:_TEXT_HEAD]))


def is_text(head: bytes) -> bool:
    """Tell whether data look like text of any usual charset: no NUL, few other control characters."""
    odd = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return b"\0" not in head and odd * 50 <= len(head) and not head.startswith(b"%PDF-")


def _declares(head: bytes, *, complete: bool) -> bool:
    """Whether data begin with a header that says what follows."""
    block = _block(head, complete=complete)
    return block is not None and any(
        field.name.lower() == "mime-version" or field.name.lower().startswith("content-")
        for field in block.headers
    )


def _block(head: bytes, *, complete: bool) -> Block | None:
    try:
        return parse_block(head, complete=complete)
    except RadpostError:
        return None
