"""The File Meta Information: the preamble, the prefix and group 2 of a Part 10 file (PS3.10 7.1).

What this module writes is deterministic: the same three UIDs always give the same bytes, so that a data
set that a PACS sends twice becomes the same file twice (DESIGN invariant 2). For the same reason there is
no Source Application Entity Title in it, and the version name does not follow our releases.

What it reads is tolerant: the preamble, the prefix, or the whole header may be missing.
"""

import os
import re
import stat
import struct
from dataclasses import dataclass
from mmap import mmap

IMPLEMENTATION_CLASS_UID = "2.25.99830415667582587110966020780014517366"
"""Names Radpost as the writer (PS3.7 D.3.3.2); the number is a fixed UUID (PS3.5 B.2)."""

IMPLEMENTATION_VERSION_NAME = "RADPOST"
"""Constant on purpose: a new release must not change the meta header of an old object."""

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"

HEAD_LIMIT = 1 << 20
"""A meta header longer than this is not read on (private information may be in it, PS3.10 table 7.1-1)."""

Buffer = bytes | bytearray | memoryview | mmap
PathOrBuffer = str | os.PathLike[str] | Buffer

_PREFIX = b"DICM"
_PREAMBLE = bytes(128)
_LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_UID = re.compile(rb"[0-9.]{1,64}\Z")
_LENIENT_UID = re.compile(rb"[0-9A-Za-z._-]{1,128}\Z")
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class MetaHeader:
    """What group 2 of a file says, and where the data set begins."""

    dataset_offset: int
    has_prefix: bool
    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None
    transfer_syntax_uid: str | None = None
    defects: tuple[str, ...] = ()


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble, prefix and group 2 for a data set (PS3.10 7.1), the same bytes every time."""
    group = b"".join(
        (
            b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01",
            _short(0x0002, b"UI", _padded_uid(sop_class_uid)),
            _short(0x0003, b"UI", _padded_uid(sop_instance_uid)),
            _short(0x0010, b"UI", _padded_uid(transfer_syntax_uid)),
            _short(0x0012, b"UI", _padded_uid(IMPLEMENTATION_CLASS_UID)),
            _short(0x0013, b"SH", _padded(IMPLEMENTATION_VERSION_NAME.encode("ascii"), b" ")),
        )
    )
    return _PREAMBLE + _PREFIX + _short(0x0000, b"UL", struct.pack("<I", len(group))) + group


def split(source: PathOrBuffer) -> int:
    """Return the offset of the data set: the first byte behind group 2, 0 for a bare data set.

    Raises OSError if a path cannot be read; any content gives an answer.
    """
    return read_meta(head(source, HEAD_LIMIT)).dataset_offset


def head(source: PathOrBuffer, size: int) -> Buffer:
    """Return at least the first ``size`` bytes of a source, fewer if there are no more."""
    if isinstance(source, (bytes, bytearray, memoryview, mmap)):
        return source
    with os.fdopen(open_regular(source), "rb") as file:
        return file.read(size)


def open_regular(path: str | os.PathLike[str]) -> int:
    """Open a file for reading and return its descriptor; refuse what is not a regular file.

    O_NONBLOCK, because the open of a FIFO would otherwise wait for a writer for ever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return descriptor


def read_meta(buffer: Buffer) -> MetaHeader:
    """Read group 2 at the head of a file; tolerate that preamble, prefix or all of it are missing.

    The end of group 2 is found by walking its elements: the group length (0002,0000) is often wrong.
    """
    start, has_prefix = _start(buffer)
    defects = [] if start == 132 else ["no-preamble"]
    values: dict[int, str] = {}
    position = _walk(buffer, start, values, defects)
    if position == start:
        defects.append("no-meta-header")
    return MetaHeader(
        dataset_offset=position,
        has_prefix=has_prefix,
        sop_class_uid=values.get(0x0002),
        sop_instance_uid=values.get(0x0003),
        transfer_syntax_uid=values.get(0x0010),
        defects=tuple(defects),
    )


def _start(buffer: Buffer) -> tuple[int, bool]:
    """Return where group 2 should begin, and whether the prefix stands before it.

    The four letters may stand at byte 128 of a bare data set by chance: they count only if group 2
    follows, or if the file does not begin like a data set.
    """
    if bytes(buffer[128:132]) == _PREFIX:
        bare = bytes(buffer[:2]) in {b"\x02\x00", b"\x08\x00", b"\x00\x08"}
        if bytes(buffer[132:134]) == b"\x02\x00" or not bare:
            return 132, True
    return (4, True) if bytes(buffer[:4]) == _PREFIX else (0, False)


def _walk(buffer: Buffer, position: int, values: dict[int, str], defects: list[str]) -> int:
    """Walk the elements of group 2 from ``position``, collect its UIDs, return where the group ends."""
    size = len(buffer)
    while position + 8 <= size:
        if buffer[position] != 2 or buffer[position + 1] != 0:
            return position
        element = int.from_bytes(buffer[position + 2 : position + 4], "little")
        vr = bytes(buffer[position + 4 : position + 6])
        if vr in _LONG_VRS:
            length = int.from_bytes(buffer[position + 8 : position + 12], "little")
            start = position + 12
        elif vr.isalpha() and vr.isupper():
            length = int.from_bytes(buffer[position + 6 : position + 8], "little")
            start = position + 8
        else:  # some writers encode group 2 implicitly, against PS3.10 7.1
            length = int.from_bytes(buffer[position + 4 : position + 8], "little")
            start = position + 8
            defects.append("implicit-meta-header")
        if length == _UNDEFINED or start + length > size:
            defects.append("truncated-meta-header")
            return size
        if element in (0x0002, 0x0003, 0x0010):
            uid, strict = parse_uid(bytes(buffer[start : start + min(length, 256)]))
            if not strict:
                defects.append("bad-uid")
            if uid is not None:
                values[element] = uid
        position = start + length
    return position


def parse_uid(value: bytes) -> tuple[str | None, bool]:
    """Return a UID without its padding, and whether it is as PS3.5 9.1 demands (or empty).

    Some anonymisers write hashes in letters or too long: such a value still names the object, so it is
    taken as long as it is harmless in file names and headers.
    """
    value = value.rstrip(b"\0 ").lstrip(b" ")
    strict = not value or _UID.match(value) is not None
    return (value.decode("ascii"), strict) if _LENIENT_UID.match(value) else (None, strict)


def _padded(value: bytes, pad: bytes) -> bytes:
    return value + pad if len(value) % 2 else value


def _padded_uid(uid: str) -> bytes:
    return _padded(uid.encode("ascii"), b"\0")


def _short(element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value
