"""Finds a few top-level elements in a data set without parsing the rest (PS3.5 7).

A loop over element headers: values are skipped by their length, sequences of defined length with them;
only sequences of undefined length are walked, with a bounded stack instead of recursion. Every bound is
on counts, so a hostile file costs milliseconds and ends with a defect, never with an exception.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from radpost.dicom.meta import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    Buffer,
    parse_uid,
)

MAX_ELEMENTS = 100_000
MAX_DEPTH = 256
MAX_INFLATED = 16 << 20
WINDOW = 64 << 10

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
MODALITY = 0x00080060
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E
_WANTED = frozenset({SOP_CLASS_UID, SOP_INSTANCE_UID, MODALITY, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID})
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})

_LOOKED_AT = _WANTED | _PIXELS
_AHEAD = 512
"""So much of a window must be left for an element to be looked at in it."""
_EXPLICIT_LE = struct.Struct("<HH2sH")
_LENGTH_LE = struct.Struct("<I")

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_DEFLATED = frozenset(
    {DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
)


class Encoding(Enum):
    """How element headers are written: (explicit VR, big endian)."""

    IMPLICIT_LE = (False, False)
    EXPLICIT_LE = (True, False)
    EXPLICIT_BE = (True, True)
    IMPLICIT_BE = (False, True)  # not of the standard, but files of it exist

    @property
    def transfer_syntax_uid(self) -> str:
        """The syntax of a native data set in this encoding, as far as the standard has one."""
        explicit, big = self.value
        if big:
            return EXPLICIT_VR_BIG_ENDIAN
        return EXPLICIT_VR_LITTLE_ENDIAN if explicit else IMPLICIT_VR_LITTLE_ENDIAN


@dataclass(frozen=True, slots=True)
class Ids:
    """What the scanner found at the top level of a data set."""

    sop_class_uid: str | None
    sop_instance_uid: str | None
    study_instance_uid: str | None
    series_instance_uid: str | None
    modality: str | None
    complete: bool
    """All were found, or the pixel data were reached; False may change with more bytes."""
    encoding: Encoding | None
    """How the data set is really written; None if there is none."""
    defects: tuple[str, ...]


class Source(Protocol):
    """Bytes by position; a window is a buffer, the position of its first byte, and whether it is all."""

    def window(self, position: int) -> tuple[Buffer, int]:
        """Return a buffer that holds ``position`` and, if there are so many, 512 bytes behind it."""


class BufferSource:
    """All bytes there are, or the first ones of a stream."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer

    def window(self, position: int) -> tuple[Buffer, int]:  # noqa: ARG002  the protocol's signature
        """Return the buffer."""
        return self._buffer, 0


class ReadSource:
    """A head that is already in memory, and a function that reads elsewhere."""

    def __init__(self, head: bytes, size: int, read: Callable[[int, int], bytes]) -> None:
        self._head, self._size, self._read = head, size, read

    def window(self, position: int) -> tuple[Buffer, int]:
        """Return the head where it reaches far enough, else what is read at the position."""
        if position + 512 <= len(self._head) or len(self._head) >= self._size:
            return self._head, 0
        return self._read(position, WINDOW), position


class InflatedSource:
    """A deflated data set (PS3.5 A.5), inflated no further than asked and no further than the limit."""

    def __init__(self, source: Source, start: int) -> None:
        self._source, self._position = source, start
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._out = bytearray()
        self.failed = False

    def window(self, position: int) -> tuple[Buffer, int]:
        """Inflate until the window is there, or the limit, the end or an error."""
        want = min(position + WINDOW, MAX_INFLATED)
        while len(self._out) < want and not (self._inflater.eof or self.failed):
            data = self._inflater.unconsumed_tail or self._more()
            if not data:
                break
            try:
                self._out += self._inflater.decompress(data, WINDOW)
            except zlib.error:
                self.failed = True
        return self._out, 0

    @property
    def defect(self) -> str | None:
        """Why not all could be inflated, as far as was asked."""
        if self.failed:
            return "deflate-error"
        return "inflate-limit" if len(self._out) >= MAX_INFLATED and not self._inflater.eof else None

    def _more(self) -> bytes:
        buffer, base = self._source.window(self._position)
        at = self._position - base
        data = bytes(buffer[at : at + WINDOW])
        self._position += len(data)
        return data


def guess(first: bytes) -> Encoding | None:
    """Guess the encoding from the first bytes of a data set; None if there are not enough.

    Groups are written in ascending order from a small number (PS3.5 7.1), so the byte order that
    gives the smaller group is the right one; two capitals of a known VR betray an explicit VR.
    """
    if len(first) < 8:
        return None
    little, big = struct.unpack_from("<H", first)[0], struct.unpack_from(">H", first)[0]
    explicit = first[4:6] in SHORT_VRS or first[4:6] in LONG_VRS
    return Encoding((explicit, big < little))


def scan(buffer: Buffer, transfer_syntax_uid: str | None = None, offset: int = 0) -> Ids:
    """Find the ids in a data set that begins at ``offset``; ``buffer`` may be the head of a stream."""
    return scan_source(BufferSource(buffer), offset, transfer_syntax_uid, None)


def scan_source(source: Source, offset: int, transfer_syntax_uid: str | None, size: int | None) -> Ids:
    """Find the ids in a data set of a source; ``size`` is the length of the whole, where it is known."""
    defects: list[str] = []
    inflated: InflatedSource | None = None
    if transfer_syntax_uid in _DEFLATED:
        inflated = InflatedSource(source, offset)
        if inflated.window(0)[0]:
            source, offset, size = inflated, 0, None
        else:
            inflated = None
            defects.append("not-deflated")
    buffer, base = source.window(offset)
    seen = guess(bytes(buffer[offset - base : offset - base + 8]))
    if seen is not None and transfer_syntax_uid is not None and _disagree(seen, transfer_syntax_uid):
        defects.append("syntax-mismatch")
    walk = _Walk(source, size, seen or Encoding.EXPLICIT_LE)
    complete = walk.run(offset)
    if inflated is not None and inflated.defect is not None:
        defects.append(inflated.defect)
    modality = walk.found.get(MODALITY)
    return Ids(
        sop_class_uid=walk.uid(SOP_CLASS_UID),
        sop_instance_uid=walk.uid(SOP_INSTANCE_UID),
        study_instance_uid=walk.uid(STUDY_INSTANCE_UID),
        series_instance_uid=walk.uid(SERIES_INSTANCE_UID),
        modality=_code_string(modality) if modality else None,
        complete=complete,
        encoding=seen,
        defects=(*defects, *walk.defects),
    )


def _disagree(seen: Encoding, transfer_syntax_uid: str) -> bool:
    """Say whether a data set is written otherwise than its transfer syntax demands (PS3.5 A)."""
    if transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN:
        return seen is not Encoding.IMPLICIT_LE
    if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN:
        return seen is not Encoding.EXPLICIT_BE
    if transfer_syntax_uid.startswith("1.2.840.10008."):
        return seen is not Encoding.EXPLICIT_LE
    return False  # a private syntax may be anything


def _code_string(value: bytes) -> str | None:
    text = value.rstrip(b"\0 ").lstrip(b" ")
    return text.decode("ascii") if 0 < len(text) <= 16 and text.isascii() and text.isalnum() else None


@dataclass(frozen=True, slots=True)
class Header:
    """The header of one element, item or delimiter."""

    tag: int
    vr: bytes
    length: int
    size: int


class _Walk:
    """One pass over a data set. Only levels of undefined length are entered, so no level has an end."""

    def __init__(self, source: Source, size: int | None, encoding: Encoding) -> None:
        self.found: dict[int, bytes] = {}
        self.defects: list[str] = []
        self._source, self._size = source, size
        self._left = MAX_ELEMENTS
        self._stack: list[tuple[bool, Encoding]] = [(False, encoding)]

    def uid(self, tag: int) -> str | None:
        """Return a UID that was found, None if there is none; note a defect if it is not well-formed."""
        uid, strict = parse_uid(self.found.get(tag, b""))
        if not strict:
            self.defects.append("bad-uid")
        return uid

    def run(self, position: int) -> bool:
        """Walk from a position; return True if all was found or the pixel data were reached."""
        buffer, base = self._source.window(position)
        while self._left > 0:
            at = position - base
            if at + _AHEAD > len(buffer):
                buffer, base = self._source.window(position)
                at = position - base
            behind = self._pass_over(buffer, at)
            if behind != at:
                position = base + behind
                continue
            in_sequence, encoding = self._stack[-1]
            self._left -= 1
            header = read_header(buffer, at, encoding)
            if header is None:
                return self._end(position, len(buffer) - at)
            if header.tag in _PIXELS and len(self._stack) == 1:
                return True
            position += header.size
            if header.length == _UNDEFINED or header.tag in {_ITEM_END, _SEQUENCE_END}:
                if self._turn(header, in_sequence, encoding):
                    continue
                return False
            if len(self._stack) == 1 and header.tag in _WANTED:
                self._keep(
                    header, bytes(buffer[at + header.size : at + header.size + min(header.length, 256)])
                )
                if len(self.found) == len(_WANTED):
                    return True
            position += header.length
            if (in_sequence and header.tag != _ITEM) or (self._size is not None and position > self._size):
                self.defects.append("structure" if in_sequence else "truncated")
                return False
        self.defects.append("too-many-elements")
        return False

    def _pass_over(self, buffer: Buffer, at: int) -> int:
        """Return where the next element stands that needs a look; most do not, and these go by here.

        Only elements at the top level of an explicit little endian data set, of a known VR and length.
        """
        if len(self._stack) > 1 or self._stack[0][1] is not Encoding.EXPLICIT_LE:
            return at
        last, left = len(buffer) - _AHEAD, self._left
        while at <= last and left > 0:
            group, element, vr, length = _EXPLICIT_LE.unpack_from(buffer, at)
            if vr in SHORT_VRS:
                size = 8
            elif vr in LONG_VRS:
                (length,) = _LENGTH_LE.unpack_from(buffer, at + 8)
                size = 12
            else:
                break
            if length == _UNDEFINED or group == 0xFFFE or (group << 16 | element) in _LOOKED_AT:
                break
            at += size + length
            left -= 1
        self._left = left
        return at

    def _keep(self, header: Header, value: bytes) -> None:
        if len(value) < min(header.length, 256):
            self.defects.append("truncated")
        elif header.tag not in self.found:  # of two elements of one tag the first counts
            self.found[header.tag] = value

    def _end(self, position: int, left: int) -> bool:
        beyond = self._size is not None and position > self._size
        if left > 0 or beyond or len(self._stack) > 1:
            self.defects.append("truncated")
        return False

    def _turn(self, header: Header, in_sequence: bool, encoding: Encoding) -> bool:
        """Enter or leave a level of undefined length; return False where nothing can be made of it."""
        if header.tag == _SEQUENCE_END or (header.tag == _ITEM_END and not in_sequence):
            if header.tag == _SEQUENCE_END and not in_sequence and len(self._stack) > 2:
                self._stack.pop()  # the item's own delimiter was forgotten
            if len(self._stack) > 1:
                self._stack.pop()
            else:
                self.defects.append("structure")
            return True
        if header.tag == _ITEM_END or in_sequence != (header.tag == _ITEM):
            self.defects.append("structure")
            return header.tag == _ITEM_END
        if len(self._stack) > MAX_DEPTH:
            self.defects.append("nesting-depth")
            return False
        if header.vr == b"UN":  # a sequence of an unknown VR is implicit little endian (PS3.5 6.2.2)
            encoding = Encoding.IMPLICIT_LE
        self._stack.append((header.tag != _ITEM, encoding))
        return True


def read_header(buffer: Buffer, at: int, encoding: Encoding) -> Header | None:
    """Read one element header (PS3.5 7.1.2, 7.1.3, 7.5); None if it is not all there."""
    if at < 0 or at + 8 > len(buffer):
        return None
    explicit, big = encoding.value
    order = ">" if big else "<"
    group, element = struct.unpack_from(order + "HH", buffer, at)
    tag = group << 16 | element
    if explicit and group != 0xFFFE:
        vr = bytes(buffer[at + 4 : at + 6])
        if vr in SHORT_VRS:
            return Header(tag, vr, struct.unpack_from(order + "H", buffer, at + 6)[0], 8)
        if vr in LONG_VRS or (vr.isalpha() and vr.isupper()):  # new VRs have long headers
            if at + 12 > len(buffer):
                return None
            return Header(tag, vr, struct.unpack_from(order + "I", buffer, at + 8)[0], 12)
    # no VR: an implicit element, also where one strays into an explicit data set
    return Header(tag, b"", struct.unpack_from(order + "I", buffer, at + 4)[0], 8)
