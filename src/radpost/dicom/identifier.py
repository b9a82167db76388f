"""Identifiers of queries: small flat data sets in Implicit VR Little Endian (PS3.4 C.4.1.1.3, PS3.5 A.1).

Every query/retrieve provider takes this syntax (PS3.5 10.1), so no other one is proposed.
"""

import struct
from collections.abc import Mapping
from typing import Final

from radpost.dicom.pdu import PduError

LEVEL: Final = 0x00080052
SOP_CLASS: Final = 0x00080016
SOP_INSTANCE: Final = 0x00080018
STUDY_DATE: Final = 0x00080020
MODALITY: Final = 0x00080060
MODALITIES: Final = 0x00080061
STUDY: Final = 0x0020000D
SERIES: Final = 0x0020000E
STUDY_SERIES_COUNT: Final = 0x00201206
STUDY_INSTANCE_COUNT: Final = 0x00201208
SERIES_INSTANCE_COUNT: Final = 0x00201209

_UIDS: Final = frozenset({SOP_CLASS, SOP_INSTANCE, STUDY, SERIES})
_ELEMENT: Final = struct.Struct("<HHI")
_UNDEFINED: Final = 0xFFFFFFFF
_MAX_TEXT: Final = 1 << 12


def encode(values: Mapping[int, str]) -> bytes:
    """Return the identifier; an empty text asks for the value (PS3.4 C.2.2.2.3)."""
    parts = []
    for tag in sorted(values):
        raw = values[tag].encode("ascii")
        raw += (b"\0" if tag in _UIDS else b" ") if len(raw) % 2 else b""
        parts.append(_ELEMENT.pack(tag >> 16, tag & 0xFFFF, len(raw)) + raw)
    return b"".join(parts)


def decode(data: bytes) -> dict[int, str]:
    """Read the flat part of an identifier; what follows a sequence of undefined length is not needed."""
    values: dict[int, str] = {}
    offset = 0
    while offset < len(data):
        if offset + 8 > len(data):
            raise PduError("identifier is cut off")
        group, element, length = _ELEMENT.unpack_from(data, offset)
        offset += 8
        if length == _UNDEFINED:
            break
        if offset + length > len(data):
            raise PduError("identifier is cut off")
        if length <= _MAX_TEXT:
            raw = data[offset : offset + length]
            values[group << 16 | element] = raw.decode("latin-1").strip("\0 ")
        offset += length
    return values
