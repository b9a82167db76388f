"""Command sets of DIMSE messages, sans-I/O: Implicit VR Little Endian, group 0000 only (PS3.7 6.3, 9.3, E).

The reader is tolerant: unknown elements are skipped, the group length is not believed.
"""

import struct
from dataclasses import dataclass
from typing import Final

from radpost.dicom.pdu import PduError

C_STORE_RQ: Final = 0x0001
C_STORE_RSP: Final = 0x8001
C_GET_RQ: Final = 0x0010
C_GET_RSP: Final = 0x8010
C_FIND_RQ: Final = 0x0020
C_FIND_RSP: Final = 0x8020
C_MOVE_RQ: Final = 0x0021
C_MOVE_RSP: Final = 0x8021
C_ECHO_RQ: Final = 0x0030
C_ECHO_RSP: Final = 0x8030
N_ACTION_RQ: Final = 0x0130
C_CANCEL_RQ: Final = 0x0FFF
RESPONSE_BIT: Final = 0x8000

NO_DATA_SET: Final = 0x0101
DATA_SET: Final = 0x0001

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE_SOP_INSTANCE: Final = 0x0111
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
NOT_AUTHORIZED: Final = 0x0124
UNRECOGNIZED_OPERATION: Final = 0x0211
OUT_OF_RESOURCES: Final = 0xA700
DATA_SET_MISMATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
CANCELLED: Final = 0xFE00
PENDING: Final = frozenset({0xFF00, 0xFF01})

PRIORITY_MEDIUM: Final = 0

_ELEMENT = struct.Struct("<HHI")
_COMMENT_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Command:
    """One command set; fields that a message does not carry are None (PS3.7 E.1)."""

    field: int
    message_id: int | None = None
    responded_id: int | None = None
    data_set_type: int = NO_DATA_SET
    status: int | None = None
    sop_class: str | None = None
    sop_instance: str | None = None
    requested_sop_class: str | None = None
    requested_sop_instance: str | None = None
    priority: int | None = None
    move_destination: str | None = None
    move_originator_ae: str | None = None
    move_originator_id: int | None = None
    error_comment: str | None = None
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows: any value but 0101H (PS3.7 9.3.1.1)."""
        return self.data_set_type != NO_DATA_SET


# (element, VR, attribute), ascending as it must be written (PS3.7 6.3.1)
_TABLE: Final = (
    (0x0002, "UI", "sop_class"),
    (0x0003, "UI", "requested_sop_class"),
    (0x0100, "US", "field"),
    (0x0110, "US", "message_id"),
    (0x0120, "US", "responded_id"),
    (0x0600, "AE", "move_destination"),
    (0x0700, "US", "priority"),
    (0x0800, "US", "data_set_type"),
    (0x0900, "US", "status"),
    (0x0902, "LO", "error_comment"),
    (0x1000, "UI", "sop_instance"),
    (0x1001, "UI", "requested_sop_instance"),
    (0x1020, "US", "remaining"),
    (0x1021, "US", "completed"),
    (0x1022, "US", "failed"),
    (0x1023, "US", "warning"),
    (0x1030, "AE", "move_originator_ae"),
    (0x1031, "US", "move_originator_id"),
)
_BY_ELEMENT: Final = {element: (vr, name) for element, vr, name in _TABLE}


def encode(command: Command) -> bytes:
    """Return the command set with its group length."""
    parts = []
    for element, vr, name in _TABLE:
        value = getattr(command, name)
        if value is None:
            continue
        raw = struct.pack("<H", value) if vr == "US" else _padded(vr, value)
        parts.append(_ELEMENT.pack(0, element, len(raw)) + raw)
    body = b"".join(parts)
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def decode(data: bytes) -> Command:
    """Read a command set; raises PduError if it is malformed or has no command field."""
    values: dict[str, int | str] = {}
    offset = 0
    while offset < len(data):
        if offset + 8 > len(data):
            raise PduError("command element is cut off")
        group, element, length = _ELEMENT.unpack_from(data, offset)
        offset += 8
        if group != 0 and values:
            break  # Orthanc puts the list of failed instances here, where the identifier should have it
        if group != 0 or offset + length > len(data):
            raise PduError("command set is malformed")
        if element in _BY_ELEMENT:
            vr, name = _BY_ELEMENT[element]
            _read(values, name, vr, data[offset : offset + length])
        offset += length
    if not isinstance(values.get("field"), int):
        raise PduError("command set has no command field")
    return Command(**values)  # type: ignore[arg-type]  # the table gives each field its type


def respond(
    request: Command,
    status: int,
    *,
    comment: str | None = None,
) -> Command:
    """Return the response to a request, for C-STORE, C-ECHO and services that are refused (PS3.7 9.3)."""
    return Command(
        field=request.field | RESPONSE_BIT,
        responded_id=request.message_id or 0,
        status=status,
        sop_class=request.sop_class or request.requested_sop_class,
        sop_instance=request.sop_instance or request.requested_sop_instance,
        error_comment=comment[:_COMMENT_LENGTH] if comment else None,
    )


def _padded(vr: str, value: str) -> bytes:
    raw = value.encode("ascii", "replace")
    return raw + ((b"\0" if vr == "UI" else b" ") if len(raw) % 2 else b"")


def _read(values: dict[str, int | str], name: str, vr: str, raw: bytes) -> None:
    if vr == "US":
        if len(raw) < 2:
            if raw:
                raise PduError("command value is cut off")
            return
        values[name] = int.from_bytes(raw[:2], "little")
    else:
        text = raw.rstrip(b"\0 ").decode("ascii", "replace")
        if text:
            values[name] = text
