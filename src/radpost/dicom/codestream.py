"""Reads the few bytes of a codestream that say how large the image is, before it is decoded."""

import struct
from dataclasses import dataclass
from typing import Literal

_SOF = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7})
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


@dataclass(frozen=True, slots=True)
class Codestream:
    """What a codestream announces; ``samples`` of JPEG XL are not known before it is decoded."""

    family: Literal["jpeg", "jpeg-ls", "jpeg2000", "jpegxl"]
    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool


def read_codestream(data: bytes, samples: int = 0) -> Codestream | None:
    """Return what a codestream announces; None if it is none that we know.

    ``samples`` is taken over where the codestream's head does not tell them simply (JPEG XL).
    """
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")):
            return _jpeg_2000(data)
        if data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
            return _jpeg_xl(data, samples)
    except (struct.error, IndexError):
        return None
    return None


def irreversible(data: bytes) -> bool:
    """Say whether a codestream was surely made with loss of information."""
    try:
        info = read_codestream(data)
        if info is None:
            return False
        if info.family == "jpeg-ls":  # NEAR in the scan header (ISO 14495-1 C.2.3)
            return any(
                marker == 0xDA and data[start + 1 + 2 * data[start]] > 0
                for marker, start, _ in _segments(data)
            )
        if info.family == "jpeg2000":  # the wavelet in the COD segment (ISO 15444-1 A.6.1)
            at = data.find(b"\xff\x52", data.find(b"\xff\x4f\xff\x51"))
            return at >= 0 and data[at + 13] == 0
    except (struct.error, IndexError):
        return False
    if info.family == "jpeg":  # all but the lossless processes (ISO 10918-1 table B.1)
        return not any(marker in {0xC3, 0xC7, 0xCB, 0xCF} for marker, _, _ in _segments(data))
    return False


def jpeg_markers(data: bytes) -> set[str]:
    """Return which of the markers "JFIF" and "Adobe" a JPEG has; they define its colour space."""
    found = set()
    for marker, start, _ in _segments(data):
        if marker == 0xE0 and data[start : start + 5] == b"JFIF\0":
            found.add("JFIF")
        if marker == 0xEE and data[start : start + 5] == b"Adobe":
            found.add("Adobe")
    return found


def _segments(data: bytes) -> list[tuple[int, int, int]]:
    """Return the marker segments before the first scan: marker, start of its content, length."""
    segments, position = [], 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in _BARE:
            position += 2
            continue
        length = struct.unpack_from(">H", data, position + 2)[0]
        segments.append((marker, position + 4, length - 2))
        if marker == 0xDA:
            break
        position += 2 + max(length, 2)
    return segments


def _jpeg(data: bytes) -> Codestream | None:
    """The frame header (ISO 10918-1 B.2.2; ISO 14495-1 C.2.2 for JPEG-LS)."""
    for marker, start, _ in _segments(data):
        if marker in _SOF:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", data, start)
            family: Literal["jpeg", "jpeg-ls"] = "jpeg-ls" if marker == 0xF7 else "jpeg"
            return Codestream(family, rows, columns, samples, precision, signed=False)
    return None


def _jpeg_2000(data: bytes) -> Codestream | None:
    """The SIZ segment (ISO 15444-1 A.5.1), also inside a JP2 file, which does not belong there."""
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0:
        return None
    width, height, left, top = struct.unpack_from(">IIII", data, start + 8)
    samples = struct.unpack_from(">H", data, start + 40)[0]
    depth = data[start + 42]
    return Codestream("jpeg2000", height - top, width - left, samples, (depth & 0x7F) + 1, bool(depth & 0x80))


def _jpeg_xl(data: bytes, samples: int) -> Codestream | None:
    """The SizeHeader (ISO 18181-1 D.2), bits from the least significant on."""
    start = 0
    if data.startswith(b"\0"):  # the box format: the codestream is in a box jxlc, or the first jxlp
        box = data.find(b"jxlc", 0, 1 << 16)
        partial = data.find(b"jxlp", 0, 1 << 16)
        start = box + 4 if box >= 0 else partial + 8
        if max(box, partial) < 0:
            return None
    if data[start : start + 2] != b"\xff\x0a":
        return None
    bits = _Bits(int.from_bytes(data[start + 2 : start + 18], "little"))
    small = bits.take(1)
    rows = (bits.take(5) + 1) * 8 if small else bits.take((9, 13, 18, 30)[bits.take(2)]) + 1
    ratio = bits.take(3)
    if ratio:
        above, below = _RATIOS[ratio - 1]
        columns = rows * above // below
    else:
        columns = (bits.take(5) + 1) * 8 if small else bits.take((9, 13, 18, 30)[bits.take(2)]) + 1
    return Codestream("jpegxl", rows, columns, samples, 0, signed=False)


class _Bits:
    """A number that is taken apart from its low end."""

    def __init__(self, number: int) -> None:
        self._number = number

    def take(self, count: int) -> int:
        value = self._number & (1 << count) - 1
        self._number >>= count
        return value
