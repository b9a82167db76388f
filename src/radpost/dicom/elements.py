"""A data set as a stream of tokens, read from and written to any native encoding (PS3.5 7, A.1 to A.3).

Values are handed through as the bytes that they are: no string is decoded, no number is parsed, so
nothing of a data set can change but the headers around the values (and the byte order of numbers).
Both directions are iterative and hold no more than one token; large values are views of the source.
"""

import mmap
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import BinaryIO

from radpost.dicom.lazy import pydicom
from radpost.dicom.scanner import LONG_VRS, SHORT_VRS, Encoding, Header, read_header
from radpost.errors import TRANSCODING_FAILED, RadpostError

MAX_DEPTH = 256
MAX_TOKENS = 5_000_000
PIXEL_DATA = 0x7FE00010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_CHUNK = 1 << 20
RELEASE_EVERY = 16
"""After so many chunks or frames the pages of a mapped file are let go."""
_UNITS = {
    **dict.fromkeys((b"US", b"SS", b"OW", b"AT"), 2),
    **dict.fromkeys((b"UL", b"SL", b"FL", b"OF", b"OL"), 4),
    **dict.fromkeys((b"FD", b"OD", b"OV", b"SV", b"UV"), 8),
}
_EMPTY = memoryview(b"")


class Kind(Enum):
    """What a token is."""

    VALUE = "value"
    SEQUENCE = "sequence"
    SEQUENCE_END = "sequence end"
    ITEM = "item"
    ITEM_END = "item end"
    FRAGMENTS = "fragments"


@dataclass(frozen=True, slots=True)
class Token:
    """One step through a data set."""

    kind: Kind
    tag: int = 0
    vr: bytes = b""
    """As written; from the dictionary where the source is implicit, with its ambiguity ("US or SS")."""
    value: memoryview = _EMPTY
    big: bool = False
    """The value's numbers are big endian."""
    length: int = _UNDEFINED
    """Of a sequence or item as it was written; an end of such a one is not written, only implied."""
    fragments: tuple[memoryview, ...] = field(default=())

    def chunks(self) -> Iterator[bytes | memoryview]:
        """Yield the value in little endian."""
        unit = _UNITS.get(self.vr, _UNITS.get(self.vr[-2:], 1)) if self.big else 1
        if unit == 1:
            for start in range(0, len(self.value), _CHUNK):
                yield self.value[start : start + _CHUNK]
            return
        code = {2: "H", 4: "I", 8: "Q"}[unit]
        for start in range(0, len(self.value), _CHUNK):
            part = self.value[start : start + _CHUNK]
            whole = len(part) - len(part) % unit
            numbers = array(code, part[:whole].tobytes())
            numbers.byteswap()
            yield numbers.tobytes() + part[whole:].tobytes()


@dataclass(slots=True)
class _Level:
    in_sequence: bool
    encoding: Encoding
    end: int
    length: int


def release(view: memoryview) -> None:
    """Let go of the pages of a mapped file, which count as our memory; they are read again if needed."""
    if isinstance(view.obj, mmap.mmap):
        view.obj.madvise(mmap.MADV_DONTNEED)


def broken(what: str) -> RadpostError:
    """Return the error for a data set that cannot be converted; ``what`` has no values of it."""
    return RadpostError(TRANSCODING_FAILED, what)


def parse(data: memoryview, encoding: Encoding, *, open_unknown: bool = False) -> Iterator[Token]:
    """Yield the tokens of a data set; raise TRANSCODING_FAILED where it is malformed or cut off.

    ``open_unknown``: a sequence of the standard that stands as UN of defined length is entered. That is
    needed beside an implicit data set, where the VR and with it the difference is lost.
    """
    parser = _Parser(data, encoding, open_unknown=open_unknown)
    for _ in range(MAX_TOKENS):
        token = parser.step()
        if token is None:
            return
        yield token
    raise broken("too many elements")


class _Parser:
    """A position in the data and the levels that are open there."""

    def __init__(self, data: memoryview, encoding: Encoding, *, open_unknown: bool) -> None:
        self._data = data
        self._open_unknown = open_unknown
        self._position = 0
        self._stack = [_Level(False, encoding, len(data), _UNDEFINED)]

    def step(self) -> Token | None:
        """Return the next token, None at the end."""
        level = self._stack[-1]
        if self._position >= level.end and (level.length != _UNDEFINED or len(self._stack) == 1):
            return self._leave(level) if len(self._stack) > 1 else None
        header = read_header(self._data, self._position, level.encoding)
        if header is None or self._position + header.size > level.end:
            raise broken("the data set is cut off")
        self._position += header.size
        if header.tag in {_ITEM_END, _SEQUENCE_END}:
            wrong_kind = level.in_sequence != (header.tag == _SEQUENCE_END)
            if level.length != _UNDEFINED or len(self._stack) == 1 or wrong_kind:
                raise broken("a delimiter stands where none belongs")
            return self._leave(level)
        if level.in_sequence != (header.tag == _ITEM):
            raise broken("a sequence holds something else than items")
        return self._enter(level, header, b"") if level.in_sequence else self._element(level, header)

    def _element(self, level: _Level, header: Header) -> Token:
        if header.tag >> 16 == _ITEM >> 16:  # of that group only items and delimiters exist (PS3.5 7.5)
            raise broken("a delimiter stands where none belongs")
        vr = header.vr or dictionary_vr(header.tag)
        if header.length == _UNDEFINED and header.vr in {b"OB", b"OW"}:
            return Token(Kind.FRAGMENTS, header.tag, vr, fragments=self._fragments(level))
        if header.length == _UNDEFINED and not header.vr:
            return self._enter(level, header, b"SQ")  # only a sequence may be of undefined length there
        is_sequence = vr == b"SQ" or (
            self._open_unknown and header.vr == b"UN" and dictionary_vr(header.tag) == b"SQ"
        )
        if header.length == _UNDEFINED or is_sequence:
            return self._enter(level, header, vr)
        value = self._take(header.length, level.end)
        return Token(Kind.VALUE, header.tag, vr, value, big=level.encoding.value[1])

    def _enter(self, level: _Level, header: Header, vr: bytes) -> Token:
        end = level.end if header.length == _UNDEFINED else self._position + header.length
        if end > level.end or len(self._stack) > MAX_DEPTH:
            raise broken("sequences are nested too deep or reach too far")
        is_item = header.tag == _ITEM
        inner = Encoding.IMPLICIT_LE if vr == b"UN" else level.encoding  # PS3.5 6.2.2
        self._stack.append(_Level(not is_item, inner, end, header.length))
        return Token(Kind.ITEM if is_item else Kind.SEQUENCE, header.tag, vr, length=header.length)

    def _leave(self, level: _Level) -> Token:
        self._stack.pop()
        return Token(Kind.SEQUENCE_END if level.in_sequence else Kind.ITEM_END, length=level.length)

    def _take(self, length: int, end: int) -> memoryview:
        if self._position + length > end:
            raise broken("an element reaches beyond the end")
        value = self._data[self._position : self._position + length]
        self._position += length
        return value

    def _fragments(self, level: _Level) -> tuple[memoryview, ...]:
        """Read the items of an encapsulated value (PS3.5 A.4); the first is the Basic Offset Table."""
        fragments: list[memoryview] = []
        while True:
            header = read_header(self._data, self._position, level.encoding)
            if header is None or header.tag not in {_ITEM, _SEQUENCE_END} or header.length == _UNDEFINED:
                raise broken("the fragments of the pixel data are cut off")
            self._position += header.size
            if header.tag == _SEQUENCE_END:
                return tuple(fragments)
            fragments.append(self._take(header.length, level.end))


@lru_cache(maxsize=4096)
def dictionary_vr(tag: int) -> bytes:
    """Return the VR of PS3.6, b"UN" where there is none.

    Private elements stay UN though lists of them exist: a wrong guess would damage, UN cannot.
    """
    if tag & 0xFFFF == 0:
        return b"UL"
    if tag >> 16 & 1:
        return b"LO" if 0x10 <= tag & 0xFFFF <= 0xFF else b"UN"
    try:
        vr: str = pydicom().datadict.dictionary_VR(tag)
    except KeyError:
        return b"UN"
    return vr.encode("ascii")


class Writer:
    """Writes tokens in an encoding; ``keep_lengths`` if source and target are encoded alike."""

    def __init__(self, sink: BinaryIO, encoding: Encoding, *, keep_lengths: bool) -> None:
        self._sink = sink
        self._stack = [encoding]
        self._keep_lengths = keep_lengths

    def write(self, token: Token, vr: bytes) -> None:
        """Write a token of any kind but fragments; ``vr`` is its VR without ambiguity."""
        encoding = self._stack[-1]
        length = token.length if self._keep_lengths else _UNDEFINED
        if token.kind is Kind.VALUE:
            self.header(token.tag, vr, len(token.value))
            for count, chunk in enumerate(token.chunks(), 1):
                self._sink.write(chunk)
                if count % RELEASE_EVERY == 0:
                    release(token.value)
        elif token.kind is Kind.SEQUENCE:
            self.header(token.tag, vr, length)
            self._stack.append(Encoding.IMPLICIT_LE if vr == b"UN" else encoding)
        elif token.kind is Kind.ITEM:
            self._sink.write(b"\xfe\xff\x00\xe0" + length.to_bytes(4, "little"))
            self._stack.append(encoding)
        elif token.kind in {Kind.ITEM_END, Kind.SEQUENCE_END}:
            self._stack.pop()
            if length == _UNDEFINED:
                last = b"\x0d" if token.kind is Kind.ITEM_END else b"\xdd"
                self._sink.write(b"\xfe\xff" + last + b"\xe0\0\0\0\0")

    def header(self, tag: int, vr: bytes, length: int) -> None:
        """Write the header of an element (PS3.5 7.1.2, 7.1.3)."""
        start = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
        if not self._stack[-1].value[0]:
            self._sink.write(start + length.to_bytes(4, "little"))
        elif vr in SHORT_VRS and length <= 0xFFFF:
            self._sink.write(start + vr + length.to_bytes(2, "little"))
        else:  # a value too long for its short VR becomes UN (PS3.5 6.2.2)
            vr = b"UN" if vr in SHORT_VRS else vr
            self._sink.write(start + vr + b"\0\0" + length.to_bytes(4, "little"))


def resolve(token: Token, *, signed: bool, bits: int, waveform_bits: int) -> bytes:
    """Return a token's VR without the dictionary's ambiguity (PS3.5 A.1, PS3.6 6)."""
    vr = token.vr
    if vr in SHORT_VRS or vr in LONG_VRS:
        return vr
    if vr.startswith(b"US or SS"):
        return b"SS" if signed else b"US"
    if token.tag == PIXEL_DATA:
        return b"OB" if bits <= 8 else b"OW"
    if token.tag in {0x54001010, 0x5400100A}:
        return b"OB" if waveform_bits == 8 else b"OW"
    return b"OW" if b" or " in vr else vr
