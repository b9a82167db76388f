"""Units of the upper layer: what we write is read by pynetdicom and the other way round; limits hold."""

import contextlib
import getpass
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_RQ

from radpost.dicom import pdu
from radpost.dicom.pdu import PduError

REQUEST = pdu.AssociateRequest(
    "PARTNER_X",
    "MODALITY",
    (
        pdu.PresentationContext(1, "1.2.840.10008.5.1.4.1.1.2", ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")),
        pdu.PresentationContext(3, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),
    ),
    pdu.UserInformation(65536, roles=(pdu.Role("1.2.840.10008.5.1.4.1.1.2", scu=False, scp=True),)),
)
ACCEPT = pdu.AssociateAccept(
    "PARTNER_X",
    "MODALITY",
    (pdu.ContextResult(1, 0, "1.2.840.10008.1.2.1"), pdu.ContextResult(3, 3, "")),
    pdu.UserInformation(0),
)


@pytest.mark.parametrize(
    "unit",
    [
        REQUEST,
        ACCEPT,
        pdu.AssociateReject(1, 1, 7),
        pdu.ReleaseRequest(),
        pdu.ReleaseReply(),
        pdu.Abort(2, 6),
    ],
)
def test_round_trip(unit: pdu.Pdu) -> None:
    """PS3.8 9.3.2 to 9.3.8."""
    raw = unit.encode()
    kind, length = pdu.HEADER.unpack_from(raw)
    assert length == len(raw) - 6
    assert pdu.decode(kind, raw[6:]) == unit


def test_pynetdicom_reads_our_request_and_we_its() -> None:
    """PS3.8 9.3.2.2, 9.3.3.2; PS3.7 D.3.3.4."""
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(REQUEST.encode())
    assert theirs.called_ae_title == "PARTNER_X"
    assert [context.context_id for context in theirs.presentation_context] == [1, 3]
    assert [str(uid) for uid in theirs.presentation_context[0].transfer_syntax] == [
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2",
    ]
    assert theirs.user_information is not None
    assert theirs.user_information.maximum_length == 65536
    again = theirs.encode()
    assert pdu.decode(again[0], again[6:]) == REQUEST


def test_what_we_do_not_use_is_tolerated() -> None:
    """Asynchronous operations, extended negotiations, user identity and unknown items (PS3.7 D.3.3)."""
    raw = REQUEST.encode()
    extra = b"".join(
        struct.pack(">BxH", kind, 8) + b"\x01\x01\x00\x04root" for kind in (0x53, 0x56, 0x57, 0x58, 0x99)
    )
    at = raw.rindex(struct.pack(">BxH", 0x50, len(raw) - raw.rindex(b"\x51\x00\x00\x04")))
    length = struct.unpack_from(">H", raw, at + 2)[0]
    body = raw[6 : at + 2] + struct.pack(">H", length + len(extra)) + raw[at + 4 :] + extra
    assert pdu.decode(1, body) == REQUEST


def test_titles_lose_padding_and_never_match_by_garbage() -> None:
    body = bytearray(REQUEST.encode()[6:])
    body[4:20] = b"  LEFT\0\0\0\0\0\0\0\0\0\0"
    body[20:36] = b"BAD\x1b\xff".ljust(16)
    unit = pdu.decode(1, bytes(body))
    assert isinstance(unit, pdu.AssociateRequest)
    assert unit.called_ae == "LEFT"
    assert unit.calling_ae == "BAD\ufffd\ufffd"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(67),
        bytes(68) + b"\x20\0\0",
        bytes(68) + b"\x20\0\0\x09\1\0\0\0",
        bytes(68) + b"\x20\0\0\2\1\0",
        bytes(68) + b"\x50\0\0\x08\x54\0\0\x04\0\x40\1\1",
        bytes(68) + b"\x10\0\0\x41" + b"1" * 65,
        bytes(68) + b"\x20\0\0\4\1\0\0\0" * 2,
        bytes(68) + b"".join(b"\x20\0\0\4" + bytes((n % 256, 0, 0, 0)) for n in range(129)),
    ],
)
def test_malformed_requests(body: bytes) -> None:
    with pytest.raises(PduError) as caught:
        pdu.decode(1, body)
    assert caught.value.abort_reason == 6


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 255), st.data())
def test_any_bytes_give_a_unit_or_a_pdu_error(noise: bytes, kind: int, data: st.DataObject) -> None:
    good = REQUEST.encode()[6:]
    at = data.draw(st.integers(0, len(good)))
    for body in (noise, good[:at] + noise[:3] + good[at + 3 :]):
        with contextlib.suppress(PduError):
            pdu.decode(data.draw(st.sampled_from([1, 2, kind])), body)


@pytest.mark.parametrize(("maximum", "size"), [(0, 1048570), (16384, 16378), (4097, 4090), (5, 64)])
def test_fragment_size_is_even_and_fits(maximum: int, size: int) -> None:
    """PS3.8 D.1, PS3.7 D.3.3.1."""
    assert pdu.fragment_size(maximum, 1 << 20) == size


def test_nothing_about_us_but_the_product() -> None:
    """PS3.7 D.3.3.2."""
    raw = REQUEST.encode() + ACCEPT.encode()
    for private in (socket.gethostname(), getpass.getuser()):
        assert private.encode() not in raw
