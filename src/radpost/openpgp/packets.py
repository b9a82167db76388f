"""The packet grammar of OpenPGP as far as messages and keys need it (RFC 4880 4, 5).

No cryptography and no files here: readers pull chunks from an iterator, writers return pieces. Nothing is
ever held as a whole except packets that are small by nature, and these have a limit.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PKESK, SIGNATURE, SKESK, ONE_PASS = 1, 2, 3, 4
SECRET_KEY, PUBLIC_KEY, SECRET_SUBKEY, COMPRESSED = 5, 6, 7, 8
SED, MARKER, LITERAL, TRUST = 9, 10, 11, 12
USER_ID, PUBLIC_SUBKEY, USER_ATTRIBUTE, SEIPD = 13, 14, 17, 18
AEAD, PADDING = 20, 21

MAX_SMALL = 1 << 20
"""Largest packet that is read as a whole: keys, signatures, session keys, user attributes."""
_STREAMED = frozenset({COMPRESSED, SED, LITERAL, SEIPD, AEAD})

Piece = bytes | bytearray | memoryview


class Malformed(Exception):  # noqa: N818  # reads as a verdict; never leaves the room
    """The packets break the grammar."""


class EndOfData(Malformed):
    """The data end within a packet."""


class ByteReader:
    """Pulls bytes from an iterator of chunks; a chunk is done with before the next one is asked for.

    So whoever makes the chunks may use one buffer for all, and a view that `some` returned is good until the
    next call only.
    """

    def __init__(self, chunks: Iterable[Piece]) -> None:
        self._chunks = iter(chunks)
        self._view = memoryview(b"")
        self.position = 0

    def some(self, limit: int) -> memoryview:
        """Return at least one and at most ``limit`` bytes without copying; nothing at the end."""
        while not self._view:
            chunk = next(self._chunks, None)
            if chunk is None:
                return self._view
            self._view = memoryview(chunk)
        piece = self._view[:limit]
        self._view = self._view[limit:]
        self.position += len(piece)
        return piece

    def take(self, count: int) -> bytes:
        """Return exactly ``count`` bytes."""
        taken = bytes(self.some(count)) if count else b""
        while len(taken) < count:
            piece = self.some(count - len(taken))
            if not piece:
                raise EndOfData("the data end within a packet")
            taken += piece
        return taken

    def octet(self) -> int | None:
        """Return the next byte, or None at the end."""
        piece = self.some(1)
        return piece[0] if piece else None


@dataclass(frozen=True, slots=True)
class Header:
    """A packet header (RFC 4880 4.2)."""

    tag: int
    length: int | None
    """Length of the body, or of its first part if ``partial``; None: up to the end of the data."""
    partial: bool = False
    old: bool = False


def read_header(reader: ByteReader) -> Header | None:
    """Read the next packet header; None at the end of the data."""
    first = reader.octet()
    if first is None:
        return None
    if not first & 0x80:
        raise Malformed("no packet begins here")
    if first & 0x40:
        length, partial = _new_length(reader)
        tag = first & 0x3F
        if partial and (tag not in _STREAMED or length < 512):
            raise Malformed("a partial length where none may be")
        return _checked(Header(tag, length, partial))
    kind = first & 3
    tag = first >> 2 & 0xF
    if kind == 3:
        if tag not in _STREAMED:
            raise Malformed("an indeterminate length where none may be")
        return Header(tag, None, old=True)
    return _checked(Header(tag, int.from_bytes(reader.take(1 << kind), "big"), old=True))


def _checked(header: Header) -> Header:
    if header.tag == 0:
        raise Malformed("packet tag 0")
    return header


def _new_length(reader: ByteReader) -> tuple[int, bool]:
    """Read a length in the new format (RFC 4880 4.2.2)."""
    first = reader.take(1)[0]
    if first < 192:
        return first, False
    if first < 224:
        return (first - 192 << 8) + reader.take(1)[0] + 192, False
    if first < 255:
        return 1 << (first & 0x1F), True
    return int.from_bytes(reader.take(4), "big"), False


def body(reader: ByteReader, header: Header) -> Iterator[memoryview]:
    """Yield the packet's body; the reader stands behind the packet when it is exhausted."""
    if header.length is None:
        while piece := reader.some(1 << 20):
            yield piece
        return
    left, partial = header.length, header.partial
    while True:
        while left:
            piece = reader.some(left)
            if not piece:
                raise EndOfData("the data end within a packet")
            left -= len(piece)
            yield piece
        if not partial:
            return
        left, partial = _new_length(reader)


def small_body(reader: ByteReader, header: Header, limit: int = MAX_SMALL) -> bytes:
    """Return the body of a packet that is small by nature."""
    if header.length is None or header.partial or header.length > limit:
        raise Malformed(f"packet {header.tag} is too large")
    return reader.take(header.length)


def gathered(pieces: Iterable[Piece], size: int) -> Iterator[Piece]:
    """Join pieces smaller than ``size``, so that one call of a cipher or hash pays; others pass uncopied.

    What is yielded is good until the next piece is asked for.
    """
    pending = bytearray()
    for piece in pieces:
        if not pending and len(piece) >= size:
            yield piece
            continue
        pending += piece
        if len(pending) >= size:
            yield pending
            pending = bytearray()
    if pending:
        yield pending


def length_octets(length: int) -> bytes:
    """Encode a length in the new format (RFC 4880 4.2.2)."""
    if length < 192:
        return bytes((length,))
    if length < 8384:
        return bytes(((length - 192 >> 8) + 192, (length - 192) & 0xFF))
    return b"\xff" + length.to_bytes(4, "big")


def packet(tag: int, content: bytes) -> bytes:
    """Return a whole packet in the new format."""
    return bytes((0xC0 | tag,)) + length_octets(len(content)) + content


class PartialFramer:
    """Frames a body of unknown length with partial lengths (RFC 4880 4.2.2.4), without copying it.

    What has been given is framed at once in powers of two; less than 512 bytes are held back, so the
    first part is as long as the standard asks, and the last length is a definite one.
    """

    def __init__(self, tag: int) -> None:
        self._first = bytes((0xC0 | tag,))
        self._rest = b""

    def feed(self, data: Piece) -> Iterator[Piece]:
        """Yield the framed pieces of what can be framed now."""
        view = memoryview(data)
        while len(self._rest) + len(view) >= 512:
            power = min((len(self._rest) + len(view)).bit_length() - 1, 30)
            yield self._first + bytes((0xE0 | power,)) + self._rest
            cut = (1 << power) - len(self._rest)
            yield view[:cut]
            view = view[cut:]
            self._first, self._rest = b"", b""
        self._rest += bytes(view)

    def finish(self) -> bytes:
        """Return the last part."""
        return self._first + length_octets(len(self._rest)) + self._rest


def mpi(value: int | bytes) -> bytes:
    """Encode a multiprecision integer (RFC 4880 3.2)."""
    number = int.from_bytes(value, "big") if isinstance(value, bytes) else value
    bits = number.bit_length()
    return bits.to_bytes(2, "big") + number.to_bytes((bits + 7) // 8, "big")


class Fields:
    """Reads the fields of a small packet."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        """Return exactly ``count`` bytes."""
        piece = self.data[self.at : self.at + count]
        if len(piece) != count:
            raise Malformed("a packet is shorter than its fields")
        self.at += count
        return piece

    def number(self, octets: int) -> int:
        """Return a big-endian number."""
        return int.from_bytes(self.take(octets), "big")

    def mpi(self) -> bytes:
        """Return a multiprecision integer as bytes without leading zeros."""
        bits = self.number(2)
        if bits > 1 << 15:
            raise Malformed("a number is too long")
        return self.take((bits + 7) // 8)

    def rest(self) -> bytes:
        """Return what is left."""
        return self.take(len(self.data) - self.at)


@dataclass(frozen=True, slots=True)
class Small:
    """A packet read as a whole, with its place in the input."""

    tag: int
    content: bytes


def read_small(data: bytes, limit: int = 200_000) -> Iterator[Small]:
    """Yield the packets of a key file or a detached signature."""
    reader = ByteReader([data])
    for _ in range(limit):
        header = read_header(reader)
        if header is None:
            return
        yield Small(header.tag, small_body(reader, header))
    raise Malformed("too many packets")


def subpackets(area: bytes) -> Iterator[tuple[int, bool, bytes]]:
    """Yield type, critical bit and content of signature subpackets (RFC 4880 5.2.3.1)."""
    fields = Fields(area)
    while fields.at < len(area):
        length = fields.number(1)
        if length == 255:
            length = fields.number(4)
        elif length >= 192:
            length = (length - 192 << 8) + fields.number(1) + 192
        if not length:
            raise Malformed("an empty subpacket")
        kind = fields.number(1)
        yield kind & 0x7F, bool(kind & 0x80), fields.take(length - 1)
