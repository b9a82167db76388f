"""Who is admitted, and what a status means."""

from ipaddress import ip_network

import pytest

from radpost import errors
from radpost.dicom.access import Accept, AccessList, Reject, Rejection
from radpost.dicom.outcome import Outcome, StoreReply, classify

RULES = AccessList(
    {"CT1": (ip_network("10.1.0.0/16"), ip_network("fd00::/8")), "NOWHERE": ()},
    {"PARTNER_X": "clinic-x"},
)


@pytest.mark.parametrize(
    ("calling", "called", "address", "answer"),
    [
        ("CT1", "PARTNER_X", "10.1.2.3", Accept("clinic-x")),
        ("CT1", "PARTNER_X", "::ffff:10.1.2.3", Accept("clinic-x")),
        ("CT1", "PARTNER_X", "fd00::1%eth0", Accept("clinic-x")),
        ("CT1", "PARTNER_X", "10.2.0.1", Reject(Rejection.CALLING_AE)),
        ("CT2", "PARTNER_X", "10.1.2.3", Reject(Rejection.CALLING_AE)),
        ("ct1", "PARTNER_X", "10.1.2.3", Reject(Rejection.CALLING_AE)),
        ("NOWHERE", "PARTNER_X", "10.1.2.3", Reject(Rejection.CALLING_AE)),
        ("CT1", "PARTNER_Y", "10.1.2.3", Reject(Rejection.CALLED_AE)),
        ("CT1", "PARTNER_X", "not an address", Reject(Rejection.CALLING_AE)),
        ("", "", "", Reject(Rejection.CALLING_AE)),
    ],
)
def test_access(calling: str, called: str, address: str, answer: Accept | Reject) -> None:
    assert RULES.decide(calling, called, address) == answer


def test_rejections_are_explained() -> None:
    """PS3.8 9.3.4."""
    assert Rejection.CALLING_AE.explanation is errors.CALLING_AE_UNKNOWN
    assert Rejection.CALLED_AE.explanation is errors.CALLED_AE_UNKNOWN
    assert Rejection.CONGESTION.transient
    assert not Rejection.CALLED_AE.transient


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0x0000, Outcome.STORED),
        (0xB000, Outcome.STORED_WITH_REMARK),
        (0xB007, Outcome.STORED_WITH_REMARK),
        (0x0111, Outcome.STORED_WITH_REMARK),
        (0xA700, Outcome.OUT_OF_RESOURCES),
        (0xA7FF, Outcome.OUT_OF_RESOURCES),
        (0xA800, Outcome.REFUSED),
        (0xA900, Outcome.REFUSED),
        (0xC001, Outcome.REFUSED),
        (0x0110, Outcome.FAILED),
        (0x0122, Outcome.REFUSED),
        (0x0124, Outcome.REFUSED),
        (0xFF00, Outcome.REFUSED),
    ],
)
def test_statuses(status: int, outcome: Outcome) -> None:
    """PS3.4 B.2.3, PS3.7 C.1, C.4, C.5."""
    assert classify(status) is outcome
    assert (StoreReply(status, outcome).reason is None) is outcome.stored
