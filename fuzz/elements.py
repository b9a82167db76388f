"""DICOM data sets for the search: written element by element, and mutated so (PS3.5 7)."""

import struct
import zlib
from random import Random
from typing import Final

from fuzz.target import Blind
from radpost.dicom.meta import file_meta

CT: Final = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
BIG: Final = "1.2.840.10008.1.2.2"
SYNTAXES: Final = (IMPLICIT, EXPLICIT, DEFLATED, BIG, "1.2.840.10008.1.2.4.50", "1.2.3")
UNDEFINED: Final = 0xFFFFFFFF
_LONG: Final = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"UC", b"XX")
_SHORT: Final = (b"UI", b"CS", b"US", b"LO", b"PN", b"DA")
_TAGS: Final = (
    0x00020000, 0x00020010, 0x00080005, 0x00080016, 0x00080018, 0x00080060, 0x00081140, 0x00100010,
    0x0020000D, 0x0020000E, 0x00280002, 0x00091001, 0x7FE00008, 0x7FE00010, 0xFFFEE000, 0xFFFEE00D,
    0xFFFEE0DD, 0xFFFFFFFF,
)  # fmt: skip
_LENGTHS: Final = (0, 1, 2, 7, 8, 64, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, UNDEFINED)
_VALUES: Final = (b"", b"1.2.3\0", b"1.2.840.10008.1.2", b"CT", b"../..\0", b"\xff\xfe", b"x" * 300)


def element(tag: int, vr: bytes, value: bytes, length: int | None = None, encoding: str = EXPLICIT) -> bytes:
    """Return one element; ``length`` may lie."""
    size = len(value) if length is None else length
    order = ">" if encoding == BIG else "<"
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if encoding == IMPLICIT or tag >> 16 == 0xFFFE:
        return head + struct.pack(order + "I", size) + value
    if vr in _SHORT:
        return head + vr + struct.pack(order + "H", size & 0xFFFF) + value
    return head + vr + b"\0\0" + struct.pack(order + "I", size) + value


def data_set(encoding: str = EXPLICIT) -> bytes:
    """Return a small data set with a sequence before the ids."""
    item = element(0x00080100, b"LO", b"x ", encoding=encoding)
    inner = element(
        0xFFFEE000, b"", item + element(0xFFFEE00D, b"", b"", encoding=encoding), UNDEFINED, encoding
    )
    end = element(0xFFFEE0DD, b"", b"", encoding=encoding)
    return b"".join(
        (
            element(0x00080016, b"UI", CT.encode() + b"\0", encoding=encoding),
            element(0x00080018, b"UI", b"1.2.3.4\0", encoding=encoding),
            element(0x00080060, b"CS", b"CT", encoding=encoding),
            element(0x00081140, b"SQ", inner + end, UNDEFINED, encoding),
            element(0x00100010, b"PN", b"Nobody", encoding=encoding),
            element(0x0020000D, b"UI", b"1.2.3\0", encoding=encoding),
            element(0x0020000E, b"UI", b"1.2.3.5\0", encoding=encoding),
            element(0x7FE00010, b"OW", bytes(8), encoding=encoding),
        )
    )


def part10(encoding: str, body: bytes | None = None) -> bytes:
    """Return a file of a transfer syntax."""
    native = encoding if encoding in {IMPLICIT, BIG} else EXPLICIT
    body = data_set(native) if body is None else body
    return file_meta(CT, "1.2.3.4", encoding) + (deflate(body) if encoding == DEFLATED else body)


def deflate(data: bytes) -> bytes:
    """Compress as PS3.5 A.5 has it."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeeze.compress(data) + squeeze.flush()


def seeds() -> tuple[bytes, ...]:
    """Return a file of each encoding, bare data sets, and beginnings of files."""
    files = tuple(part10(syntax) for syntax in SYNTAXES)
    bare = tuple(data_set(syntax) for syntax in (IMPLICIT, EXPLICIT, BIG))
    return (*files, *bare, files[0][:132], b"DICM" + bare[0], files[1][128:])


def mutate(data: bytes, limit: int, random: Random, blind: Blind) -> bytes:
    """Insert elements with lengths that lie, open and close sequences, compress again."""
    for _ in range(random.choice((1, 1, 2, 4))):
        kind = random.random()
        if kind < 0.45 or not data:
            data = blind(data, limit)
            continue
        at = _border(data, random)
        if kind < 0.75:
            data = data[:at] + _one(random) + data[at:]
        elif kind < 0.8:
            data = data[:at] + _one(random) * random.choice((2, 50, 1000)) + data[at:]
        elif kind < 0.9:
            data = data[:at]
        elif kind < 0.95:
            data = part10(random.choice(SYNTAXES), data[at:])
        else:
            data = part10(DEFLATED, data[:at] + bytes(random.choice((0, 1000, 1 << 14))))
        data = data[:limit]
    return data


def _one(random: Random) -> bytes:
    encoding = random.choice((IMPLICIT, EXPLICIT, EXPLICIT, BIG))
    value = random.choice(_VALUES)
    length = None if random.random() < 0.6 else random.choice(_LENGTHS)
    return element(random.choice(_TAGS), random.choice(_LONG + _SHORT), value, length, encoding)


def _border(data: bytes, random: Random) -> int:
    """Return a place between two elements, if the data are explicit little endian from the start on."""
    at = 132 if data[128:132] == b"DICM" else 0
    for _ in range(random.randint(0, 16)):
        head = data[at : at + 12]
        if len(head) < 12:
            break
        if head[4:6] in _LONG:
            size = 12 + int.from_bytes(head[8:12], "little")
        else:
            size = 8 + int.from_bytes(head[6:8], "little")
        if at + size > len(data):
            break
        at += size
    return at if random.random() < 0.8 else random.randint(0, len(data))
