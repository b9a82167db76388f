"""Our own PACS is admitted by AE title and address together (invariant 7)."""

from collections.abc import Callable
from typing import Any

import pytest

from radpost.dicom.access import Accept, Reject
from radpost.errors import CALLING_AE_UNKNOWN
from radpost.gateway.config import Pacs
from radpost.gateway.doors import RESOLVE_EVERY_SECONDS, PacsDoor
from radpost.gateway.ingest import StoreHandler, Wanted
from radpost.testing.house import Pair

NAMED = Pacs(ae_title="PACS", host="pacs.clinic.example", port=104)
SECTION = '[pacs]\nae_title = "PACS"\nhost = "10.1.2.10"\nport = 104\n'


def test_invariant_7_the_pacs_comes_from_its_host_only(make_pair: "Callable[..., Pair]") -> None:
    b = make_pair(b_sections=SECTION).b
    handler = StoreHandler(b.site, Wanted())
    assert isinstance(handler.associate("PACS", "RADPOST", "10.1.2.10"), Accept)
    assert isinstance(handler.associate("PACS", "RADPOST", "::ffff:10.1.2.10"), Accept)
    assert isinstance(handler.associate("PACS", "RADPOST", "10.1.2.11"), Reject)
    assert [code for code, _ in b.alarms()] == [CALLING_AE_UNKNOWN.code]


@pytest.mark.parametrize(
    ("changed", "calling", "called", "peer", "admitted"),
    [
        ({}, "PACS", "RADPOST", "10.0.0.1", True),
        ({}, "PACS", "RADPOST", "10.0.0.3", False),
        ({}, "OTHER", "RADPOST", "10.0.0.1", False),
        ({}, "PACS", "OTHER", "10.0.0.1", False),
        ({"addresses": ("10.2.0.0/16", "fd00::/8")}, "PACS", "RADPOST", "10.2.3.4", True),
        ({"addresses": ("10.2.0.0/16", "fd00::/8")}, "PACS", "RADPOST", "fd00::1", True),
        ({"addresses": ("10.2.0.0/16",)}, "PACS", "RADPOST", "10.0.0.1", False),
        ({}, "PACS", "RADPOST", "no address", False),
    ],
)
def test_title_and_address_are_both_needed(
    changed: dict[str, Any], calling: str, called: str, peer: str, admitted: bool
) -> None:
    pacs = Pacs(ae_title="PACS", host="pacs.clinic.example", port=104, **changed)
    door = PacsDoor(pacs, resolve=lambda _host: ("10.0.0.1", "10.0.0.2"))
    assert door.admits(calling, called, peer) is admitted


def test_without_a_pacs_nobody_is_it() -> None:
    assert not PacsDoor(None).admits("PACS", "RADPOST", "127.0.0.1")


def test_a_name_that_cannot_be_resolved_admits_nobody_until_it_can() -> None:
    answers: list[tuple[str, ...]] = [(), ("10.0.0.1",), ("10.0.0.2",)]
    now = 0.0
    door = PacsDoor(NAMED, resolve=lambda _host: answers.pop(0), clock=lambda: now)
    assert not door.admits("PACS", "RADPOST", "10.0.0.1")
    assert door.admits("PACS", "RADPOST", "10.0.0.1"), "asked again at once"
    assert not door.admits("PACS", "RADPOST", "10.0.0.2"), "remembered for a while"
    now = RESOLVE_EVERY_SECONDS
    assert door.admits("PACS", "RADPOST", "10.0.0.2"), "and no longer: addresses change"
