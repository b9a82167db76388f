"""Reader of BER and DER without copies (ITU-T X.690), for CMS as mail programs write it.

CMS may be BER: OpenSSL with ``-stream`` and most gateways write indefinite lengths and content in pieces
(RFC 5652 1). An `Element` is a place in the message; nothing is copied until it is asked for, every length is
checked against what is there, and nothing recurses as deep as the message wants.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from radpost.errors import RESOURCE_LIMIT, SMIME_MALFORMED, TRUNCATED, RadpostError

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OID: Final = 0x06
SEQUENCE: Final = 0x30
SET: Final = 0x31
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
CONSTRUCTED: Final = 0x20

MAX_DEPTH: Final = 32
"""Nesting of indefinite lengths, and of what is encoded again."""
MAX_COUNT: Final = 1 << 18
"""Values side by side, and values that are stepped over to find an end: programs write pieces of 1,000 octets
and more, and a message of nothing but headers must not take minutes."""
MAX_PIECES_DEPTH: Final = 8
MAX_SMALL: Final = 1 << 20
"""Largest value that is copied out whole: names, keys, attributes; content is read in pieces."""


def context(number: int, *, constructed: bool = True) -> int:
    """Return the tag of a context-specific field, ``[number]``."""
    return 0x80 | number | (CONSTRUCTED if constructed else 0)


def malformed(what: str) -> RadpostError:
    """Return the error for data that are not what they must be."""
    return RadpostError(SMIME_MALFORMED, what)


def too_many() -> RadpostError:
    """Return the error for a message of more values than any program writes."""
    return RadpostError(RESOURCE_LIMIT, "S/MIME data in too many pieces")


@dataclass(frozen=True, slots=True)
class Element:
    """One encoded value: ``start`` to ``stop`` in ``data``, its content from ``body`` to ``end``."""

    data: memoryview
    tag: int
    """The identifier octet; -1 for the tags of more octets, which CMS does not use."""
    start: int
    body: int
    end: int
    stop: int

    @property
    def raw(self) -> bytes:
        """The value as it stands, header and all."""
        return _copy(self.data, self.start, self.stop)

    @property
    def content(self) -> bytes:
        """The content octets as they stand."""
        return _copy(self.data, self.body, self.end)

    @property
    def is_constructed(self) -> bool:
        """Whether the content is made of further values."""
        return self.data[self.start] & CONSTRUCTED != 0

    def children(self) -> Iterator["Element"]:
        """Yield the values inside, in order (X.690 8.1.3)."""
        if not self.is_constructed:
            raise malformed("a simple value where a structure must stand")
        at = self.body
        for _ in range(MAX_COUNT):
            if at >= self.end:
                return
            child = read(self.data, at, self.end)
            yield child
            at = child.stop
        raise too_many()

    def fields(self) -> "Fields":
        """Return a reader of the values inside."""
        return Fields(self)

    def octets(self) -> Iterator[memoryview]:
        """Yield the pieces of an octet string, simple or constructed (X.690 8.7)."""
        yield from _pieces(self)

    def value(self) -> bytes:
        """Return an octet string whole; only for what is small."""
        if not self.is_constructed:
            return self.content
        out = bytearray()
        for piece in self.octets():
            out += piece
            if len(out) > MAX_SMALL:
                raise RadpostError(RESOURCE_LIMIT, "a value of more than 1 MiB")
        return bytes(out)

    def oid(self) -> str:
        """Return an object identifier in dots (X.690 8.19)."""
        self.expect(OID)
        octets = self.content
        if not octets or octets[-1] & 0x80 or len(octets) > 64:
            raise malformed("object identifier")
        arcs: list[int] = []
        value = 0
        for octet in octets:
            value = value << 7 | octet & 0x7F
            if not octet & 0x80:
                arcs.append(value)
                value = 0
        first = min(arcs[0] // 40, 2)
        return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))

    def integer(self) -> int:
        """Return an integer (X.690 8.3)."""
        self.expect(INTEGER)
        octets = self.content
        if not octets or len(octets) > 256:
            raise malformed("integer")
        return int.from_bytes(octets, "big", signed=True)

    def bits(self) -> bytes:
        """Return a bit string of whole octets (X.690 8.6)."""
        self.expect(BIT_STRING)
        octets = self.content
        if not octets or octets[0]:
            raise malformed("bit string")
        return octets[1:]

    def expect(self, *tags: int) -> "Element":
        """Return the element if it has one of these tags."""
        if self.tag not in tags:
            raise malformed(f"tag {self.tag:#04x} where {tags[0]:#04x} must stand")
        return self


class Fields:
    """The fields of a SEQUENCE one after the other, optional ones included."""

    def __init__(self, element: Element) -> None:
        self._rest = element.children()
        self._next = next(self._rest, None)

    def take(self, *tags: int) -> Element:
        """Return the next field, which must have one of the tags (any, if none is given)."""
        if self._next is None:
            raise malformed("a field is missing")
        field = self._next.expect(*tags) if tags else self._next
        self._next = next(self._rest, None)
        return field

    def maybe(self, *tags: int) -> Element | None:
        """Return the next field if it has one of the tags."""
        if self._next is None or self._next.tag not in tags:
            return None
        return self.take()

    def rest(self) -> Iterator[Element]:
        """Yield all fields that are left."""
        while self._next is not None:
            yield self.take()


def parse(data: bytes | bytearray | memoryview | mmap.mmap) -> Element:
    """Read the one value that the data begin with; bytes behind it are left alone."""
    view = memoryview(data).toreadonly().cast("B")
    try:
        return read(view, 0, len(view), outermost=True)
    except IndexError:
        raise RadpostError(TRUNCATED, "the S/MIME data end inside of a header") from None


def read(data: memoryview, at: int, bound: int, *, outermost: bool = False) -> Element:
    """Read one value that begins at ``at`` and must end before ``bound``."""
    tag, body, length = _header(data, at, bound, outermost=outermost)
    if length is not None:
        if length > bound - body:
            raise _too_long(outermost=outermost)
        return Element(data, tag, at, body, body + length, body + length)
    end = _end_of_contents(data, body, bound, outermost=outermost)
    return Element(data, tag, at, body, end, end + 2)


def _too_long(*, outermost: bool) -> RadpostError:
    if outermost:
        return RadpostError(TRUNCATED, "the S/MIME data end too early")
    return malformed("a value is longer than what holds it")


def _header(data: memoryview, at: int, bound: int, *, outermost: bool) -> tuple[int, int, int | None]:
    """Read identifier and length octets (X.690 8.1.2, 8.1.3); no length means indefinite."""
    head = bytes(data[at : min(bound, at + 16)])
    position = 1
    try:
        tag = head[0]
        if tag & 0x1F == 0x1F:
            while head[position] & 0x80:
                position += 1
            position += 1
            tag = -1
        first = head[position]
        position += 1
        if first < 0x80:
            return tag, at + position, first
        if first == 0x80:
            if not head[0] & CONSTRUCTED:
                raise malformed("indefinite length of a simple value")
            return tag, at + position, None
        count = first & 0x7F
        if count > 8:
            raise malformed("length of more than eight octets")
        head[position + count - 1]
        return tag, at + position + count, int.from_bytes(head[position : position + count], "big")
    except IndexError:
        if len(head) == 16:
            raise malformed("header of a value") from None
        raise _too_long(outermost=outermost) from None


def _end_of_contents(data: memoryview, at: int, bound: int, *, outermost: bool) -> int:
    """Find where a value of indefinite length ends (X.690 8.1.5), by stepping over what is inside."""
    depth = 1
    for _ in range(MAX_COUNT):
        if bound - at < 2:
            raise _too_long(outermost=outermost)
        tag, body, length = _header(data, at, bound, outermost=outermost)
        if tag == 0 and length == 0:
            depth -= 1
            if not depth:
                return at
            at = body
        elif length is None:
            depth += 1
            if depth > MAX_DEPTH:
                raise RadpostError(RESOURCE_LIMIT, "S/MIME data nested too deep")
            at = body
        elif length > bound - body:
            raise _too_long(outermost=outermost)
        else:
            at = body + length
    raise too_many()


def _pieces(element: Element) -> Iterator[memoryview]:
    stack = [iter((element,))]
    outer = True
    while stack:
        piece = next(stack[-1], None)
        if piece is None:
            stack.pop()
        elif not piece.is_constructed:
            if not outer:
                piece.expect(OCTET_STRING)
            yield piece.data[piece.body : piece.end]
        else:
            if not outer:
                piece.expect(OCTET_STRING | CONSTRUCTED)
            if len(stack) > MAX_PIECES_DEPTH:
                raise RadpostError(RESOURCE_LIMIT, "S/MIME data nested too deep")
            stack.append(piece.children())
        outer = False


def _copy(data: memoryview, start: int, end: int) -> bytes:
    if end - start > MAX_SMALL:
        raise RadpostError(RESOURCE_LIMIT, "a value of more than 1 MiB")
    return bytes(data[start:end])


def encode(tag: int, *contents: bytes) -> bytes:
    """Encode one value in DER (X.690 10.1)."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def to_der(element: Element, depth: int = 0) -> bytes:
    """Encode a value again as DER, the members of a SET in order (X.690 10.1, 10.2, 11.6)."""
    if depth > MAX_DEPTH:
        raise RadpostError(RESOURCE_LIMIT, "S/MIME data nested too deep")
    if element.tag == -1:
        return element.raw
    if element.tag == OCTET_STRING | CONSTRUCTED:
        return encode(OCTET_STRING, element.value())
    if not element.is_constructed:
        return encode(element.tag, element.content)
    inside = [to_der(child, depth + 1) for child in element.children()]
    return encode(element.tag, *(sorted(inside) if element.tag == SET else inside))
