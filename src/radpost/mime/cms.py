"""S/MIME in mails: finding CMS data by what they are, however labelled (RFC 8551 3)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from radpost.errors import RESOURCE_LIMIT, RadpostError
from radpost.mime.coding import Buffer, Bytes, decode, slices
from radpost.mime.pgp import Signed, signed_data
from radpost.mime.reader import Entity, body, content

MAX_TEXT: Final = 512 << 20
"""Largest PEM or twice encoded message; it is held in memory while it is decoded again."""
_HEAD: Final = 1024
_PEM: Final = re.compile(rb"^-----BEGIN (?:PKCS ?#?7|CMS)(?: SIGNED DATA)?-----[ \t]*\r?\n", re.MULTILINE)
_PEM_END: Final = b"-----END "
_BASE64: Final = re.compile(rb"\s*M[A-P][A-Za-z0-9+/\s]{30}")
"""How the text of a SEQUENCE of more than 127 octets, or of indefinite length, begins."""
_PREFIX: Final = bytes.fromhex("2a864886f70d01")
"""1.2.840.113549.1, below which all content types of CMS are."""
_SUFFIXES: Final = (".p7m", ".p7s", ".p7c", ".p7z", ".p7b")


class Kind(Enum):
    """What kind of CMS data it is (RFC 8551 3.2.2)."""

    ENVELOPED = "enveloped-data"
    AUTH_ENVELOPED = "authEnveloped-data"
    SIGNED = "signed-data"
    COMPRESSED = "compressed-data"
    UNKNOWN = "unknown"
    """Labelled as S/MIME, but it does not begin as CMS does: let the S/MIME room say what is wrong."""


_KINDS: Final = {
    _PREFIX + bytes.fromhex("0702"): Kind.SIGNED,
    _PREFIX + bytes.fromhex("0703"): Kind.ENVELOPED,
    _PREFIX + bytes.fromhex("09100117"): Kind.AUTH_ENVELOPED,
    _PREFIX + bytes.fromhex("09100109"): Kind.COMPRESSED,
}


@dataclass(frozen=True, slots=True)
class Payload:
    """A CMS message in a mail: an entity whose content is encrypted, or signed with its content inside."""

    kind: Kind
    entity: Entity
    textual: bool
    """Whether the decoded content is base64 once more, perhaps as PEM."""
    filename: str | None
    """What the file inside would be called: ``name.p7m`` without its suffix."""


@dataclass(frozen=True, slots=True)
class Found:
    """All S/MIME of one MIME tree in the mail's order."""

    payloads: tuple[Payload, ...]
    signed: tuple[Signed, ...]
    """multipart/signed with a CMS signature (RFC 8551 3.5.3)."""


def find_smime(root: Entity, buffer: Buffer) -> Found:
    """Find CMS messages and signatures.

    Known: application/pkcs7-mime and its old name, whatever ``smime-type`` says; parts of any type that begin
    as CMS does, binary, in base64 or PEM; multipart/signed whose signature is CMS. A message that a report
    returns (RFC 6522 3) is not looked into.
    """
    payloads: list[Payload] = []
    signed: list[Signed] = []
    stack = [root]
    while stack:
        entity = stack.pop()
        children = entity.children
        if entity.content_type == "multipart/signed" and len(children) >= 2:
            signature = _signature(entity, buffer)
            if signature is not None:
                micalg = entity.params.get("micalg", "").lower()
                first = children[0]
                signed.append(Signed(entity, first, first.start, first.body_end, signature, micalg))
                children = tuple(child for child in children if child is not signature)
        elif entity.content_type == "multipart/report":
            children = tuple(child for child in children if child.content_type != "message/rfc822")
        elif not children and (payload := _payload(entity, buffer)) is not None:
            payloads.append(payload)
        stack.extend(reversed(children))
    return Found(tuple(payloads), tuple(signed))


def data(payload: Payload, buffer: Buffer) -> Iterator[Bytes]:
    """Yield the CMS data in binary: transfer encoding and PEM undone."""
    return _binary(payload.entity, buffer) if payload.textual else body(payload.entity, buffer)


def signature_data(signed: Signed, buffer: Buffer, limit: int = 4 << 20) -> bytes:
    """Return the detached signature in binary; RESOURCE_LIMIT if it is larger than a signature ever is."""
    found = _sniff(signed.signature, buffer)
    chunks = _binary(signed.signature, buffer) if found and found[1] else body(signed.signature, buffer)
    out = bytearray()
    for chunk in chunks:
        out += chunk
        if len(out) > limit:
            raise RadpostError(RESOURCE_LIMIT, "a signature larger than the limit")
    return bytes(out)


def readings(signed: Signed, buffer: Buffer) -> tuple[Iterator[Bytes], ...]:
    """Return the ways to read what was signed: with canonical line ends, and as it came (RFC 8551 3.1.1).

    Programs that sign binary content leave line ends as they are.
    """
    return signed_data(signed, buffer), slices(buffer, signed.start, signed.end)


def kind_of(head: bytes) -> Kind | None:
    """Tell what kind of CMS data begins so, by the content type of its ContentInfo (RFC 5652 3)."""
    if len(head) < 4 or head[0] != 0x30:
        return None
    at = 2 if head[1] <= 0x80 else 2 + (head[1] & 0x7F)
    if head[at : at + 1] != b"\x06":
        return None
    return _KINDS.get(head[at + 2 : at + 2 + head[at + 1]]) if len(head) > at + 1 else None


def strip_suffix(filename: str | None) -> str | None:
    """Return the name of the file inside of ``name.p7m``; ``smime.p7m`` names nothing."""
    if filename is None:
        return None
    for suffix in _SUFFIXES:
        if filename.lower().endswith(suffix):
            stem = filename[: -len(suffix)]
            return stem if stem and stem.lower() != "smime" else None
    return filename


def _signature(entity: Entity, buffer: Buffer) -> Entity | None:
    """Return the part with a CMS signature, by its label or by what it is."""
    others = entity.children[1:]
    for other in others:
        if other.content_type in ("application/pkcs7-signature", "application/x-pkcs7-signature"):
            return other
    for other in others:
        found = _sniff(other, buffer)
        if found is not None and found[0] is Kind.SIGNED:
            return other
    return others[0] if "pkcs7-signature" in entity.params.get("protocol", "").lower() else None


def _payload(entity: Entity, buffer: Buffer) -> Payload | None:
    """Look at a part that stands alone."""
    found = _sniff(entity, buffer)
    if found is not None:
        return Payload(found[0], entity, found[1], strip_suffix(entity.filename))
    labelled = entity.content_type in ("application/pkcs7-mime", "application/x-pkcs7-mime")
    if labelled or (entity.filename or "").lower().endswith(".p7m"):
        return Payload(Kind.UNKNOWN, entity, textual=False, filename=strip_suffix(entity.filename))
    return None


def _sniff(entity: Entity, buffer: Buffer) -> tuple[Kind, bool] | None:
    """Return the kind of CMS data that a leaf begins with, and whether they are text."""
    if entity.children or entity.is_multipart:
        return None
    near = min(entity.body_end, entity.body_start + 4 * _HEAD)
    head = b"".join(bytes(chunk) for chunk in decode(buffer, entity.body_start, near, entity.encoding))
    kind = kind_of(head)
    if kind is not None:
        return kind, False
    match = _PEM.search(head)
    if match is not None:
        kind = kind_of(_decoded(head[match.end() :]))
        return (kind or Kind.UNKNOWN), True
    if entity.content_type != "text/plain" and _BASE64.match(head):
        kind = kind_of(_decoded(head))
        return (kind, True) if kind is not None else None
    return None


def _decoded(text: bytes) -> bytes:
    return b"".join(bytes(chunk) for chunk in decode(text, 0, len(text), "base64"))


def _binary(entity: Entity, buffer: Buffer) -> Iterator[Bytes]:
    """Decode a content that is base64 once more."""
    text = content(entity, buffer, MAX_TEXT + 1)
    if len(text) > MAX_TEXT:
        raise RadpostError(RESOURCE_LIMIT, "a message in PEM larger than the limit")
    match = _PEM.search(text[: 4 * _HEAD])
    start = match.end() if match else 0
    end = text.find(_PEM_END, start)
    return decode(text, start, len(text) if end < 0 else end, "base64")
