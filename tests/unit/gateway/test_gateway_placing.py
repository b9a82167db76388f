"""What no destination takes is seen, and goes where it belongs when there is a place (DESIGN invariant 4)."""

from typing import TYPE_CHECKING

import pytest

from radpost.errors import CONFIG_INVALID, DICOM_INVALID, NO_DESTINATION
from radpost.gateway import arrived, placing
from radpost.gateway.config import Destination
from radpost.gateway.operating import retry_failed
from radpost.gateway.overview import advice, overview
from radpost.gateway.partners import Switches
from radpost.gateway.template import Answers, render
from radpost.store import incoming_deliveries, incoming_mails, incoming_receipts
from radpost.testing.house import House, Pair

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from radpost.store.incoming_deliveries import DeliveryRow
    from radpost.store.incoming_mails import ArrivalRow

FOLDER = '[[destination]]\nname = "{name}"\nkind = "folder"\ntakes = "{takes}"\npath = "{name}"\n'
DOCUMENTS = FOLDER.format(name="documents", takes="other")
IMAGES = FOLDER.format(name="images", takes="dicom")
REST = FOLDER.format(name="rest", takes="rest")
RELAXED = Switches(objects_per_mail=10)


def deliveries(house: House, row: "ArrivalRow") -> "list[DeliveryRow]":
    with house.site.database.read() as connection:
        return [
            found
            for item in incoming_mails.objects_of(connection, row.id)
            if item.object_id is not None
            for found in incoming_deliveries.deliveries_of(connection, item.object_id)
        ]


def configured(house: House, more: str) -> None:
    """Start again with more in the configuration."""
    path = house.folder / "radpost.toml"
    path.write_text(path.read_text("utf-8") + more, "utf-8")
    house.restart()


def taken(pair: Pair, files: "list[Path]", source: str = "t") -> "ArrivalRow":
    pair.a.collect(files, "b", source=source)
    pair.a.seal()
    ((_, mail),) = pair.a.submit()
    return pair.b.take(mail)


def test_invariant_4_objects_without_a_destination_raise_an_alarm_and_are_shown(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(b_sections=DOCUMENTS, switches=RELAXED)
    row = taken(pair, study(2))
    assert pair.b.alarms() == [(NO_DESTINATION.code, placing.SUBJECTS["dicom"])]
    view = overview(pair.b.site)
    assert (view.overdue.unplaced, view.overdue.deliveries) == (2, 0)
    assert any("[[destination]]" in hint for hint in advice(view, "en"))
    (shown,) = arrived.find(pair.b.site, f"mail:{row.id}")
    assert [one.state for item in shown.object_list for one in item.deliveries] == ["undeliverable"] * 2
    assert NO_DESTINATION.code in {reason.code for reason in shown.reasons}
    assert retry_failed(pair.b.site).deliveries == 0, "there is nobody to try again"
    assert {one.state for one in deliveries(pair.b, row)} == {"undeliverable"}


def test_invariant_4_they_are_delivered_when_there_is_a_destination(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(b_sections=DOCUMENTS, switches=RELAXED)
    row = taken(pair, study(2))
    pair.b.timekeeper.step()
    assert len(pair.b.alarms()) == 1
    configured(pair.b, IMAGES)
    pair.b.timekeeper.step()
    found = deliveries(pair.b, row)
    assert [(one.destination, one.state) for one in found] == [("images", "due")] * 2
    assert pair.b.alarms() == []
    assert overview(pair.b.site).overdue.total == 0


def test_a_changed_rule_of_the_partner_gives_them_a_place(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(b_sections=DOCUMENTS + IMAGES, switches=RELAXED)
    pair.b.knows(pair.a, switches=RELAXED, destination=("documents",))
    row = taken(pair, study(1))
    assert [one.destination for one in deliveries(pair.b, row)] == [incoming_deliveries.NOWHERE]
    pair.b.knows(pair.a, switches=RELAXED, destination=("documents", "images"))
    pair.b.timekeeper.step()
    assert [one.destination for one in deliveries(pair.b, row)] == ["images"]
    assert pair.b.alarms() == []


def test_the_same_object_again_is_not_without_a_place_because_the_destination_is_gone(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(b_sections=DOCUMENTS + IMAGES, switches=RELAXED)
    files = study(1)
    taken(pair, files)
    pair.b.knows(pair.a, switches=RELAXED, destination=("documents",))
    row = taken(pair, files, "again")
    assert [one.destination for one in deliveries(pair.b, row)] == ["images"]
    assert pair.b.alarms() == []


def test_the_same_object_from_elsewhere_ends_its_being_without_a_place(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(b_sections=DOCUMENTS, switches=RELAXED)
    files = study(1)
    taken(pair, files)
    configured(pair.b, IMAGES)
    row = taken(pair, files, "again")
    assert [one.destination for one in deliveries(pair.b, row)] == ["images"]
    pair.b.timekeeper.step()
    assert pair.b.alarms() == []


def test_damaged_dicom_at_a_site_with_only_a_pacs_is_seen_and_told(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", tmp_path: "Path"
) -> None:
    pair = make_pair(b_sections=IMAGES, switches=RELAXED)
    (whole,) = study(1)
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(whole.read_bytes()[:140])
    row = taken(pair, [cut])
    assert pair.b.alarms() == [(NO_DESTINATION.code, placing.SUBJECTS["other"])]
    with pair.b.site.database.read() as connection:
        (receipt,) = incoming_receipts.receipts_of(connection, row.id)
    assert receipt.disposition.endswith("displayed/warning")
    assert receipt.code == DICOM_INVALID.code


def test_objects_that_wait_for_a_destination_that_is_gone_raise_an_alarm(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(b_sections=IMAGES, switches=RELAXED)
    taken(pair, study(1))
    path = pair.b.folder / "radpost.toml"
    before = path.read_text("utf-8")
    path.write_text(before.replace('name = "images"', 'name = "pictures"'), "utf-8")
    pair.b.restart().timekeeper.step()
    assert [code for code, _ in pair.b.alarms()] == [CONFIG_INVALID.code]
    assert "images" in pair.b.alarms()[0][1]
    path.write_text(before, "utf-8")
    pair.b.restart().timekeeper.step()
    assert pair.b.alarms() == []


@pytest.mark.parametrize(
    ("kind", "chosen", "found"),
    [
        ("dicom", (), ["images"]),
        ("other", (), ["rest"]),
        ("other", ("rest",), ["rest"]),
        ("dicom", ("rest",), ["rest"]),
        ("other", ("images",), []),
    ],
)
def test_the_rest_is_what_no_other_destination_takes(
    kind: str, chosen: tuple[str, ...], found: list[str], make_pair: "Callable[..., Pair]"
) -> None:
    config = make_pair(b_sections=IMAGES + REST).b.site.config
    assert [item.name for item in placing.destinations(config, chosen, kind)] == found


def test_a_new_institution_has_a_place_for_everything(tmp_path: "Path") -> None:
    from radpost.gateway.config import load  # noqa: PLC0415

    path = tmp_path / "radpost.toml"
    path.write_text(render(Answers("A", "x@a.example", "mail.a.example")), "utf-8")
    config = load(path)
    for kind in ("dicom", "other"):
        assert [item.name for item in placing.destinations(config, (), kind)] == ["received"]
    pacs: Destination = next(iter(config.destination))
    assert pacs.takes == "rest"
