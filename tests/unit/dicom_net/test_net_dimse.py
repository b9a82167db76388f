"""Command sets: round trips, pynetdicom as the other reader, malformed input."""

import contextlib
import struct
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dsutils import decode

from radpost.dicom import dimse
from radpost.dicom.dimse import Command
from radpost.dicom.pdu import PduError

STORE = Command(
    dimse.C_STORE_RQ,
    message_id=65535,
    data_set_type=dimse.DATA_SET,
    sop_class="1.2.840.10008.5.1.4.1.1.2",
    sop_instance="1.2.3",
    priority=0,
    move_originator_ae="PACS",
    move_originator_id=7,
)


@pytest.mark.parametrize(
    "command",
    [
        STORE,
        dimse.respond(STORE, 0xA700, comment="no space left"),
        Command(dimse.C_MOVE_RQ, message_id=1, move_destination="RADPOST", data_set_type=0),
        Command(
            dimse.C_MOVE_RSP, responded_id=1, status=0xFF00, remaining=3, completed=2, failed=1, warning=0
        ),
    ],
)
def test_round_trip(command: Command) -> None:
    """PS3.7 E.1."""
    assert dimse.decode(dimse.encode(command)) == command


def test_pydicom_reads_our_commands() -> None:
    """PS3.7 6.3.1."""
    raw = dimse.encode(STORE)
    elements = decode(BytesIO(raw), is_implicit_vr=True, is_little_endian=True)
    assert elements.CommandGroupLength == len(raw) - 12
    assert elements.AffectedSOPInstanceUID == "1.2.3"
    assert elements.MoveOriginatorApplicationEntityTitle == "PACS"
    assert elements.MessageID == 65535
    tags = [element.tag for element in elements]
    assert tags == sorted(tags)


def test_every_value_has_even_length() -> None:
    raw, offset = dimse.encode(dimse.respond(STORE, 0xC000, comment="odd")), 0
    while offset < len(raw):
        length = struct.unpack_from("<I", raw, offset + 4)[0]
        assert length % 2 == 0
        offset += 8 + length


def test_a_response_answers_its_request() -> None:
    """PS3.7 9.3.1.1."""
    response = dimse.respond(STORE, 0xA900, comment="x" * 100)
    assert response.field == dimse.C_STORE_RSP
    assert (response.responded_id, response.sop_instance) == (65535, "1.2.3")
    assert not response.has_data_set
    assert response.error_comment == "x" * 64


def test_unknown_elements_and_a_wrong_group_length_are_forgiven() -> None:
    raw = dimse.encode(STORE)
    raw = raw[:8] + b"\xff\xff\xff\x7f" + raw[12:] + struct.pack("<HHI", 0, 0x5110, 4) + b"blah"
    assert dimse.decode(raw) == STORE


def test_orthancs_list_of_failed_instances_in_the_command_is_skipped() -> None:
    raw = dimse.encode(dimse.respond(STORE, 0xFF00)) + struct.pack("<HHI", 8, 0x58, 4) + b"1.2\0"
    assert dimse.decode(raw) == dimse.respond(STORE, 0xFF00)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0\0\0",
        dimse.encode(STORE)[:-1],
        struct.pack("<HHI", 8, 0x16, 0),
        struct.pack("<HHI", 0, 0x100, 1) + b"a",
        struct.pack("<HHI", 0, 0x110, 2) + b"aa",
    ],
)
def test_malformed(raw: bytes) -> None:
    with pytest.raises(PduError):
        dimse.decode(raw)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 80))
def test_any_bytes_give_a_command_or_a_pdu_error(noise: bytes, at: int) -> None:
    good = dimse.encode(STORE)
    for raw in (noise, good[:at] + noise[:4] + good[at + 4 :]):
        with contextlib.suppress(PduError):
            dimse.decode(raw)
