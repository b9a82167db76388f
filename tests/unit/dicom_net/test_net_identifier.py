"""Identifiers of queries."""

import struct

import pytest

from radpost import errors
from radpost.dicom import identifier
from radpost.dicom.find import find_study
from radpost.dicom.pdu import PduError
from radpost.dicom.retrieve import _storage_proposals
from radpost.dicom.scu import Peer
from radpost.errors import RadpostError


def test_round_trip_in_ascending_order() -> None:
    """PS3.4 C.4.1.1.3."""
    values = {identifier.STUDY: "1.2.345", identifier.LEVEL: "STUDY", identifier.STUDY_DATE: ""}
    raw = identifier.encode(values)
    assert raw.startswith(b"\x08\x00\x20\x00\x00\x00\x00\x00\x08\x00\x52\x00\x06\x00\x00\x00STUDY ")
    assert raw.endswith(b"1.2.345\0")
    assert identifier.decode(raw) == values


def test_broken_identifiers() -> None:
    good = identifier.encode({identifier.STUDY: "1.2"})
    for raw in (good[:-1], good[:5], struct.pack("<HHI", 8, 8, 100) + b"x"):
        with pytest.raises(PduError):
            identifier.decode(raw)
    assert identifier.decode(good + struct.pack("<HHI", 0x40, 0x275, 0xFFFFFFFF) + b"junk") == {
        identifier.STUDY: "1.2"
    }


@pytest.mark.parametrize("uid", ["", "*", "1.2?", "1.2\\1.3", "1" * 65])
def test_what_would_match_every_study_is_not_asked(uid: str) -> None:
    with pytest.raises(RadpostError) as caught:
        find_study(Peer("127.0.0.1", 1, "PACS", "RADPOST"), uid)
    assert caught.value.reason is errors.STUDY_NOT_FOUND


@pytest.mark.parametrize("count", [0, 1, 4, 7, 60, 126, 300])
def test_contexts_for_a_retrieval_fit_one_association(count: int) -> None:
    proposals = _storage_proposals(tuple(f"1.2.{n}" for n in range(count)))
    assert 1 <= len(proposals) <= 126
    assert all(proposal.scp_role and proposal.transfer_syntaxes for proposal in proposals)
    for name in {proposal.abstract_syntax for proposal in proposals}:
        offered = [uid for p in proposals if p.abstract_syntax == name for uid in p.transfer_syntaxes]
        assert len(offered) == len(set(offered)) == 26
