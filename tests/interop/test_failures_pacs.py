"""Failures of a PACS that is not ours: it refuses one object by its own rule, or is down for a while."""

from pathlib import Path

import pytest

from radpost.dicom.identity import identify
from radpost.errors import NO_COMMON_SYNTAX
from radpost.store import schema
from radpost.testing.exchange import SECONDARY_CAPTURE, Exchange, hashes_of, wait_state
from radpost.testing.insight import alarm_codes, delivery_of, rows, until
from radpost.testing.institution import wait_for
from radpost.testing.peers.dcmtk import StoreScp
from radpost.testing.peers.orthanc import Orthanc
from radpost.testing.posted import send

pytestmark = [pytest.mark.peer("gnupg", "dcmtk", "orthanc"), pytest.mark.timeout(120)]

PRIVATE = b"1.2.840.10008.5.1.4.1.1.0"
"""A SOP class that nobody has registered, as long as that of Secondary Capture, which it replaces."""


def test_orthanc_that_refuses_one_object_gets_the_others(tmp_path: Path) -> None:
    """Invariant 5: the refused one is visible with its code; the partner's receipt speaks of the import."""
    with Orthanc(extra={"UnknownSopClassAccepted": False}) as orthanc:
        destination = {"port": orthanc.dicom_port, "ae_title": orthanc.aet}
        with Exchange(tmp_path, destination=destination) as world:
            files = world.study(4)
            bad = files[1]
            bad.write_bytes(bad.read_bytes().replace(SECONDARY_CAPTURE.encode(), PRIVATE))
            send(world.a, "partner_b", files)
            orthanc.wait_for(3)
            wait_state(world, "confirmed")
            found = identify(bad)
            assert found.sop_class_uid == PRIVATE.decode()
            wait_for(lambda: alarm_codes(world.b), "an alarm", 20)
            row = delivery_of(world.b, found.dataset_sha256)
            assert (row["state"], row["code"]) == ("undeliverable", NO_COMMON_SYNTAX.code)
            assert alarm_codes(world.b) == [row["code"]]
            states = [row["state"] for row in rows(world.b, schema.delivery)]
            assert sorted(states) == ["delivered"] * 3 + ["undeliverable"]
            assert orthanc.count() == 3


def test_storescp_that_is_down_for_a_while(tmp_path: Path) -> None:
    """The partner learns of the import at once; delivery waits, costs no object a try, and then happens."""
    pacs = StoreScp()
    with pacs:
        destination = {"port": pacs.port, "ae_title": pacs.aet}
        with Exchange(tmp_path, destination=destination) as world:
            first = world.study(1)
            world.send(first)
            wait_for(
                lambda: {identify(path).dataset_sha256 for path in pacs.received()} == hashes_of(first), "one"
            )
            pacs.stop()
            files = world.study(3)
            world.send(files)
            wait_state(world, "confirmed")
            wait_for(lambda: "destination down" in world.b.log(), "B notices", 20)
            assert {row["attempts"] for row in rows(world.b, schema.delivery, state="due")} == {0}
            pacs.start()
            until(
                lambda: {identify(path).dataset_sha256 for path in pacs.received()} == hashes_of(files),
                "delivery after storescp is back",
                world.b,
            )
            states = [row["state"] for row in rows(world.b, schema.delivery)]
            assert states == ["delivered"] * 4
