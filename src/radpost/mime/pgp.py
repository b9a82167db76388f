"""OpenPGP in mails: writing the RFC 3156 envelope, and finding OpenPGP data by structure, however mangled."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import chain
from typing import Final

from radpost.errors import RESOURCE_LIMIT, RadpostError
from radpost.mime.coding import CHUNK, IDENTITY, Buffer, Bytes, find, find_all, slices
from radpost.mime.folding import Fields, block, parameters
from radpost.mime.reader import Entity, body, content

_BEGIN: Final = b"-----BEGIN PGP "
_ARMOR: Final = re.compile(
    rb"^-----BEGIN PGP (MESSAGE|SIGNED MESSAGE|PUBLIC KEY BLOCK|PRIVATE KEY BLOCK|SIGNATURE)"
    rb"(?:, PART [0-9X/]+)?-----[ \t]*\r?$",
    re.MULTILINE,
)
_VERSION: Final = re.compile(rb"\A\s*(?:Version\s*:?\s*1)?\s*\Z", re.IGNORECASE)
_SUFFIXES: Final = (".asc", ".pgp", ".gpg")
_HEAD: Final = 64 * 1024
_SESSION_TAGS: Final = frozenset({1, 3})
_ENCRYPTED_TAGS: Final = frozenset({9, 18, 20})
_MAX_SESSIONS: Final = 64
_MAX_SESSION_SIZE: Final = 1 << 12
_MAX_MESSAGES: Final = 1000
"""Armored messages in one part."""
_MAX_DECODED: Final = 8 << 30
"""A part with several messages is decoded once for each of them."""
_LONGEST_LINE: Final = 200
MAX_PAYLOADS: Final = 10_000
"""Armored messages in one mail; a mail of ours has one."""
_ENDS: Final = {
    b"MESSAGE": b"-----END PGP MESSAGE",
    b"SIGNED MESSAGE": b"-----END PGP SIGNATURE",
}


class Kind(Enum):
    """How the OpenPGP data stand in the mail."""

    PGP_MIME = "pgp-mime"
    """RFC 3156 4: what is inside is a MIME entity."""
    ATTACHMENT = "attachment"
    """A part of its own: what is inside is a file, or a MIME entity (to be seen when it is open)."""
    INLINE = "inline"
    """Armor within text."""
    CLEARSIGNED = "clearsigned"
    """RFC 9580 7: readable text with a signature."""


@dataclass(frozen=True, slots=True)
class Payload:
    """OpenPGP data in a mail; ``start`` and ``end`` are its range in the buffer, still transfer-encoded."""

    kind: Kind
    entity: Entity
    start: int
    end: int
    armored: bool
    filename: str | None
    defects: tuple[str, ...] = ()
    skipped: int = 0
    """Armored messages that stand before it in the decoded part."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A multipart/signed (RFC 1847 2.1, RFC 3156 5): ``start`` to ``end`` are the signed bytes."""

    entity: Entity
    content: Entity
    start: int
    end: int
    signature: Entity
    micalg: str


@dataclass(frozen=True, slots=True)
class Found:
    """All OpenPGP data of a mail in the mail's order."""

    payloads: tuple[Payload, ...]
    signed: tuple[Signed, ...]
    keys: tuple[Entity, ...]


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands before and behind the armored data in a multipart/encrypted mail."""

    head: bytes
    tail: bytes

    def size(self, armored: int) -> int:
        """Size of the whole mail for that many bytes of armor."""
        return len(self.head) + armored + len(self.tail)


def envelope(fields: Fields, boundary: str) -> Envelope:
    """Write the envelope (RFC 1847 2.2, RFC 3156 4); the armored data (CRLF lines) go between head and tail.

    Everything of it is 7bit, whatever is inside (RFC 3156 3).
    """
    kind = parameters("multipart/encrypted", {"protocol": "application/pgp-encrypted", "boundary": boundary})
    delimiter = f"--{boundary}\r\n".encode("ascii")
    name = {"name": "encrypted.asc"}
    head = (
        block((*fields, ("Content-Type", kind)))
        + delimiter
        + block((("Content-Type", "application/pgp-encrypted"),))
        + b"Version: 1\r\n\r\n"
        + delimiter
        + block(
            (
                ("Content-Type", parameters("application/octet-stream", name)),
                ("Content-Disposition", parameters("inline", {"filename": "encrypted.asc"})),
            )
        )
    )
    return Envelope(head, f"\r\n--{boundary}--\r\n".encode("ascii"))


def find_openpgp(root: Entity, buffer: Buffer) -> Found:
    """Find OpenPGP data by what it is, not by what it is called.

    Known: PGP/MIME, also turned into multipart/mixed by a mail server, with wrong labels, with
    ``Version : 1``, with its data part re-encoded; armor in text or as the body; attachments .pgp, .gpg and
    .asc; multipart/signed. A message that a report returns (RFC 6522 3) is not looked into.

    Raises RESOURCE_LIMIT where there are more messages than any sender has reason for.
    """
    payloads: list[Payload] = []
    signed: list[Signed] = []
    keys: list[Entity] = []
    stack = [root]
    while stack:
        entity = stack.pop()
        taken: list[Entity] = []
        if entity.content_type == "multipart/signed" and len(entity.children) >= 2:
            found = _signed(entity)
            signed.append(found)
            taken = [found.signature]
        elif entity.content_type == "multipart/report":
            taken = [child for child in entity.children if child.content_type == "message/rfc822"]
        elif entity.is_multipart:
            taken = _pgp_mime(entity, buffer, payloads)
        elif not entity.children:
            _leaf(entity, buffer, payloads, keys)
            _bounded(payloads)
        done = {id(child) for child in taken}
        stack.extend(child for child in reversed(entity.children) if id(child) not in done)
    return Found(tuple(payloads), tuple(signed), tuple(keys))


def _among(entity: Entity, others: list[Entity]) -> bool:
    return any(entity is other for other in others)


def data(payload: Payload, buffer: Buffer) -> Iterator[Bytes]:
    """Yield the OpenPGP data: transfer encoding undone, text around the armor left out."""
    entity = payload.entity
    is_part = (payload.start, payload.end) == (entity.body_start, entity.body_end)
    if not is_part or (entity.encoding in IDENTITY and not payload.skipped):
        return slices(buffer, payload.start, payload.end)
    decoded = body(entity, buffer)
    return _from_armor(decoded, payload.skipped) if payload.armored else decoded


def signed_data(signed: Signed, buffer: Buffer) -> Iterator[Bytes]:
    """Yield the signed bytes with canonical CRLF line ends (RFC 3156 5), however the mail is stored."""
    last_cr = False
    for chunk in slices(buffer, signed.start, signed.end):
        raw = bytes(chunk)
        if raw.count(b"\n") != raw.count(b"\r\n"):
            fixed = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            # the LF of a CRLF that was cut between two chunks has its CR already
            raw = fixed[1:] if last_cr and raw.startswith(b"\n") else fixed
        last_cr = raw.endswith(b"\r")
        yield raw


def strip_suffix(filename: str | None) -> str | None:
    """Return the name of the file inside of ``name.asc``, ``.pgp`` or ``.gpg``."""
    if filename is None:
        return None
    for suffix in _SUFFIXES:
        if filename.lower().endswith(suffix):
            return filename[: -len(suffix)] or None
    return filename


def looks_binary(head: bytes) -> bool:
    """Tell whether data begin as a binary encrypted OpenPGP message does (RFC 9580 4.2, 5.1, 5.3, 5.13)."""
    if len(head) < 3 or not head[0] & 0x80:
        return False
    if head[0] & 0x40:
        tag = head[0] & 0x3F
        octets = 1 if head[1] < 192 or 224 <= head[1] < 255 else 2 if head[1] < 224 else 5
    else:
        tag = head[0] >> 2 & 0x0F
        octets = (1, 2, 4, 0)[head[0] & 3]
    version = head[1 + octets] if len(head) > 1 + octets else 0
    return version in {1: (2, 3, 6), 3: (4, 5, 6), 18: (1, 2)}.get(tag, ())


def looks_encrypted(head: bytes) -> bool:
    """Tell whether session keys and then encrypted data stand there, so that no label is needed.

    A sender may give encrypted data any name and type; other formats do not begin so (RFC 9580 4.2, 10.3).
    """
    at = found = 0
    while at + 2 <= len(head) and found < _MAX_SESSIONS:
        header = _header(head[at : at + 6])
        if header is None:
            return False
        tag, octets, length = header
        if tag in _ENCRYPTED_TAGS:
            return found > 0
        if tag not in _SESSION_TAGS or not 8 <= length <= _MAX_SESSION_SIZE or not looks_binary(head[at:]):
            return False
        at, found = at + octets + length, found + 1
    return False


def _header(data: bytes) -> tuple[int, int, int] | None:
    """Return tag, size and length of a packet's header; how long a streamed packet is does not matter."""
    first, size = data[0], data[1]
    if not first & 0x80:
        return None
    if not first & 0x40:
        octets = (1, 2, 4, 0)[first & 3]
        return first >> 2 & 0x0F, 1 + octets, int.from_bytes(data[1 : 1 + octets], "big")
    if size < 192 or 224 <= size < 255:
        return first & 0x3F, 2, size
    if size < 224:
        return first & 0x3F, 3, (size - 192 << 8) + int.from_bytes(data[2:3], "big") + 192
    return first & 0x3F, 6, int.from_bytes(data[2:6], "big")


def _armor_type(head: bytes) -> bytes | None:
    match = next(_beginnings(head), None)
    return match[1] if match else None


def _beginnings(text: bytes) -> Iterator[re.Match[bytes]]:
    """Find the first lines of armor, by their text: looking at each line takes ten times as long."""
    hit = text.find(_BEGIN)
    while hit >= 0:
        match = _ARMOR.match(text, hit)
        if match is not None:
            yield match
        hit = text.find(_BEGIN, hit + 1)


def _is_control(entity: Entity, buffer: Buffer) -> bool:
    """The first part of PGP/MIME: ``Version: 1``, also written ``Version : 1`` or empty (RFC 3156 4)."""
    return entity.content_type == "application/pgp-encrypted" and bool(
        _VERSION.match(content(entity, buffer, 256))
    )


def _sniff(entity: Entity, buffer: Buffer) -> bytes | None:
    """Return the kind of OpenPGP data at the start of a leaf: ``binary`` or the armor's type."""
    if entity.children or entity.is_multipart:
        return None
    head = content(entity, buffer, _HEAD)
    if looks_binary(head):
        return b"binary"
    stripped = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return _armor_type(head) if stripped.startswith(_BEGIN) else None


def _signed(entity: Entity) -> Signed:
    part = entity.children[0]
    others = entity.children[1:]
    by_type = (other for other in others if other.content_type.endswith("-signature"))
    return Signed(
        entity,
        part,
        part.start,
        part.body_end,
        next(by_type, others[0]),
        entity.params.get("micalg", "").lower(),
    )


def _pgp_mime(entity: Entity, buffer: Buffer, payloads: list[Payload]) -> list[Entity]:
    """Take the data part of PGP/MIME and return the children that are dealt with."""
    encrypted = entity.content_type == "multipart/encrypted"
    controls = [child for child in entity.children if _is_control(child, buffer)]
    if not encrypted and not controls:
        return []
    defects = [] if encrypted else ["pgp-mime-relabelled"]
    if encrypted and len(entity.children) != 2:
        defects.append("not-two-parts")
    if not controls:
        defects.append("no-version-part")
    known = {id(child) for child in controls}
    others = [child for child in entity.children if id(child) not in known]
    for child in others:
        kind = _sniff(child, buffer)
        if kind in (b"binary", b"MESSAGE"):
            payloads.extend(_messages(_whole(Kind.PGP_MIME, child, kind, tuple(defects)), buffer))
            return [*controls, child]
    leaf = next((child for child in others if not child.children), None)
    if encrypted and leaf is not None:  # let the OpenPGP engine say what is wrong with it
        payloads.append(_whole(Kind.PGP_MIME, leaf, None, (*defects, "unrecognised-data")))
        return [*controls, leaf]
    return controls


def _whole(kind: Kind, entity: Entity, sniffed: bytes | None, defects: tuple[str, ...] = ()) -> Payload:
    return Payload(
        kind,
        entity,
        entity.body_start,
        entity.body_end,
        armored=sniffed not in (None, b"binary"),
        filename=strip_suffix(entity.filename),
        defects=defects,
    )


def _leaf(entity: Entity, buffer: Buffer, payloads: list[Payload], keys: list[Entity]) -> None:
    """Look at a part that stands alone."""
    sniffed = _sniff(entity, buffer)
    name = (entity.filename or "").lower()
    labelled = entity.content_type in ("application/pgp-encrypted", "application/pgp") or name.endswith(
        (".pgp", ".gpg")
    )
    # keys (RFC 3156 7) are no data
    if entity.content_type == "application/pgp-keys" or sniffed == b"PUBLIC KEY BLOCK":
        keys.append(entity)
    elif entity.content_type == "text/plain" and not name:
        _text(entity, buffer, payloads, keys)
    elif sniffed == b"MESSAGE" or (sniffed == b"binary" and (labelled or name.endswith(".asc"))):
        payloads.extend(_messages(_whole(Kind.ATTACHMENT, entity, sniffed), buffer))
    elif sniffed == b"binary" and looks_encrypted(content(entity, buffer, _HEAD)):
        payloads.append(_whole(Kind.ATTACHMENT, entity, sniffed))
    elif sniffed == b"SIGNED MESSAGE":
        payloads.append(_whole(Kind.CLEARSIGNED, entity, sniffed))
    elif labelled and sniffed is None and entity.size and not _is_control(entity, buffer):
        payloads.append(_whole(Kind.ATTACHMENT, entity, None, ("unrecognised-data",)))


def _messages(first: Payload, buffer: Buffer) -> Iterator[Payload]:
    """Yield a part's message, and those behind it where somebody put several into one part."""
    yield first
    if first.armored:
        count = sum(kind == b"MESSAGE" for kind, _ in _armor_lines(body(first.entity, buffer)))
        if count > min(_MAX_MESSAGES, max(1, _MAX_DECODED // max(1, first.entity.size))):
            raise RadpostError(RESOURCE_LIMIT, f"{count} armored messages in one part")
        yield from (replace(first, skipped=number) for number in range(1, count))


def _text(entity: Entity, buffer: Buffer, payloads: list[Payload], keys: list[Entity]) -> None:
    """Find armor in text; of text signed in clear only the first is taken where it is encoded."""
    if entity.encoding not in IDENTITY:
        kind = _armor_type(content(entity, buffer, 1 << 20))
        if kind == b"MESSAGE":
            payloads.extend(_messages(_whole(Kind.INLINE, entity, kind), buffer))
        elif kind in _ENDS:
            payloads.append(_whole(Kind.CLEARSIGNED, entity, kind))
        elif kind == b"PUBLIC KEY BLOCK":
            keys.append(entity)
        return
    position = entity.body_start
    for hit in find_all(buffer, _BEGIN, entity.body_start, entity.body_end):
        if hit < position or (hit > entity.body_start and bytes(buffer[hit - 1 : hit]) not in (b"\n", b"\r")):
            continue
        kind = _armor_type(bytes(buffer[hit : min(hit + 100, entity.body_end)]) + b"\n")
        if kind == b"PUBLIC KEY BLOCK" and not _among(entity, keys):
            keys.append(entity)
        end_line = _ENDS.get(kind or b"")
        if end_line is None:
            continue
        end = find(buffer, end_line, hit, entity.body_end)
        defects = () if end >= 0 else ("armor-without-end",)
        position = entity.body_end if end < 0 else min(entity.body_end, end + len(end_line) + 5)
        mode = Kind.INLINE if kind == b"MESSAGE" else Kind.CLEARSIGNED
        payloads.append(Payload(mode, entity, hit, position, armored=True, filename=None, defects=defects))
        _bounded(payloads)


def _bounded(payloads: list[Payload]) -> None:
    if len(payloads) > MAX_PAYLOADS:
        raise RadpostError(RESOURCE_LIMIT, f"more than {MAX_PAYLOADS} armored messages")


def _from_armor(chunks: Iterator[Bytes], skipped: int) -> Iterator[Bytes]:
    """Drop what stands before an armored block: text, and as many messages as shall be skipped."""
    lines = _armor_lines(chunks)
    for kind, rest in lines:
        if kind == b"MESSAGE" and skipped:
            skipped -= 1
        else:
            yield from rest
            return


def _armor_lines(chunks: Iterator[Bytes]) -> Iterator[tuple[bytes, Iterator[bytes]]]:
    """Yield the type of each block of armor, and all bytes from its first line on (ends the search)."""
    held = b""
    for chunk in chunks:
        held += bytes(chunk)
        start = 0
        for match in _beginnings(held):
            yield match[1], chain((held[match.start() :],), map(bytes, chunks))
            start = match.end()
        # the first line of a block may stand in two chunks
        cut = max(start, held.rfind(b"\n", 0, max(0, len(held) - _LONGEST_LINE)) + 1, len(held) - CHUNK)
        held = held[cut:]
