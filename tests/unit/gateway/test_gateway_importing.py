"""Import and delivery: exactly once, versions, other syntaxes, what the spool keeps (DESIGN 3: 2, 3, 5)."""

from typing import TYPE_CHECKING, Any

import pytest

from radpost.dicom.identity import identify
from radpost.dicom.lazy import pydicom
from radpost.errors import CONFIG_INVALID, NO_DESTINATION, PACS_REFUSED_OBJECT, VERSION_CONFLICT
from radpost.gateway.delivering import Deliverer, _Result
from radpost.gateway.operating import retry_destination
from radpost.gateway.partners import Switches
from radpost.store import cleaning, incoming_deliveries, incoming_mails, incoming_receipts, objects
from radpost.testing.house import House, Pair
from radpost.testing.institution import toml_server
from radpost.transfer import delivery as machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from radpost.store.incoming_deliveries import DeliveryRow
    from radpost.store.objects import ObjectRow

PACS = toml_server("[[destination]]", name="pacs", kind="dicom", ae_title="PACS", host="127.0.0.1", port=104)
HELD = PACS + 'versions = "hold"\n'
RELAXED = Switches(objects_per_mail=10)


def stored(house: House, uid: str) -> "list[ObjectRow]":
    with house.site.database.read() as connection:
        return objects.same_instance(connection, uid)


def deliveries(house: House) -> "list[DeliveryRow]":
    with house.site.database.read() as connection:
        return [
            row
            for arrival in incoming_mails.recent_arrivals(connection, 50)
            for item in incoming_mails.objects_of(connection, arrival.id)
            if item.object_id is not None
            for row in incoming_deliveries.deliveries_of(connection, item.object_id)
        ]


def spool_files(house: House) -> int:
    return sum(path.is_file() for path in house.site.spool.root.joinpath("objects").glob("*/*"))


def changed(path: "Path", target: "Path", **values: object) -> "Path":
    """Write a copy of an object with other values."""
    dataset = pydicom().dcmread(path)
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(target)
    return target


def test_invariant_2_the_same_object_again_changes_nothing(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(b_sections=PACS, switches=RELAXED)
    files = study(2)
    for number in range(2):
        pair.a.collect(files, "b", source=f"s{number}")
        pair.a.seal()
        for _, mail in pair.a.submit():
            pair.b.take(mail)
    assert len(deliveries(pair.b)) == 4, "two objects, seen from two mails"
    assert len({row.id for row in deliveries(pair.b)}) == 2
    assert pair.b.alarms() == []


def test_invariant_2_other_content_under_a_known_uid_is_a_version_and_one_alarm(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", tmp_path: "Path"
) -> None:
    pair = make_pair(b_sections=PACS, switches=RELAXED)
    first, second = study(2)
    (mail,) = pair.send([first, second])
    pair.b.take(mail)
    again = [changed(path, tmp_path / path.name, PatientName="Probe^Neu") for path in (first, second)]
    pair.a.collect(again, "b", source="corrected")
    pair.a.seal()
    ((_, correction),) = pair.a.submit()
    row = pair.b.take(correction)
    assert len(stored(pair.b, identify(first).sop_instance_uid or "")) == 2
    assert [code for code, _ in pair.b.alarms()] == [VERSION_CONFLICT.code]
    with pair.b.site.database.read() as connection:
        (receipt,) = incoming_receipts.receipts_of(connection, row.id)
    assert receipt.disposition.endswith("displayed/warning")
    assert {item.state for item in deliveries(pair.b)} == {"due"}


def test_invariant_2_a_destination_may_hold_new_versions(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", tmp_path: "Path"
) -> None:
    pair = make_pair(b_sections=HELD, switches=RELAXED)
    (path,) = study(1)
    for number, file in enumerate((path, changed(path, tmp_path / "new.dcm", PatientName="Probe^Neu"))):
        pair.a.collect([file], "b", source=f"s{number}")
        pair.a.seal()
        for _, mail in pair.a.submit():
            pair.b.take(mail)
    assert sorted(row.state for row in deliveries(pair.b)) == ["due", "held"]


def test_a_new_version_alarms_also_where_nothing_is_delivered(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", tmp_path: "Path"
) -> None:
    pair = make_pair(switches=RELAXED)
    (path,) = study(1)
    for number, file in enumerate((path, changed(path, tmp_path / "new.dcm", PatientName="Probe^Neu"))):
        pair.a.collect([file], "b", source=f"s{number}")
        pair.a.seal()
        for _, mail in pair.a.submit():
            pair.b.take(mail)
    assert [code for code, _ in pair.b.alarms()] == [VERSION_CONFLICT.code]


def test_invariant_10_the_log_does_not_name_the_study_of_an_alarm(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", tmp_path: "Path", capfd: Any
) -> None:
    pair = make_pair(switches=RELAXED)
    (path,) = study(1)
    for number, file in enumerate((path, changed(path, tmp_path / "new.dcm", PatientName="Probe^Neu"))):
        pair.a.collect([file], "b", source=f"s{number}")
        pair.a.seal()
        for _, mail in pair.a.submit():
            pair.b.take(mail)
    said = "".join(capfd.readouterr())
    assert "alarm" in said
    assert str(identify(path).study_instance_uid) not in said


def test_invariant_2_the_same_pixels_in_another_syntax_are_the_same_object(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", tmp_path: "Path"
) -> None:
    from radpost.dicom.transcode import convert  # noqa: PLC0415  codecs, needed here only

    pair = make_pair(b_sections=PACS, switches=RELAXED)
    (path,) = study(1)
    other = tmp_path / "implicit.dcm"
    convert(path, other, "1.2.840.10008.1.2")
    for number, file in enumerate((path, other)):
        pair.a.collect([file], "b", source=f"s{number}")
        pair.a.seal()
        for _, mail in pair.a.submit():
            pair.b.take(mail)
    assert len(stored(pair.b, identify(path).sop_instance_uid or "")) == 1
    assert len({row.id for row in deliveries(pair.b)}) == 1
    assert pair.b.alarms() == []
    pair.b.answer()
    pair.b.clock.now += 3600
    cleaning.collect(pair.b.site.database, pair.b.site.spool, pair.b.clock(), 60)
    assert spool_files(pair.b) == 1, "the copy in the other syntax is needed by nothing"


def test_an_object_with_another_meta_header_leaves_no_second_file(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", tmp_path: "Path"
) -> None:
    pair = make_pair(switches=RELAXED)
    (path,) = study(1)
    other = tmp_path / "other.dcm"
    other.write_bytes(b"X" * 128 + path.read_bytes()[128:])
    assert identify(other).dataset_sha256 == identify(path).dataset_sha256
    for number, file in enumerate((path, other)):
        pair.a.collect([file], "b", source=f"s{number}")
        pair.a.seal()
        for _, mail in pair.a.submit():
            pair.b.take(mail)
    pair.b.answer()
    pair.b.clock.now += 3600
    cleaning.collect(pair.b.site.database, pair.b.site.spool, pair.b.clock(), 60)
    assert spool_files(pair.b) == 1


def test_a_partners_destination_that_is_not_configured_alarms(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(b_sections=PACS, switches=RELAXED)
    pair.b.knows(pair.a, switches=RELAXED, destination=("archive",))
    (mail,) = pair.send(study(1))
    pair.b.take(mail)
    assert [code for code, _ in pair.b.alarms()] == [CONFIG_INVALID.code, NO_DESTINATION.code]
    assert [row.destination for row in deliveries(pair.b)] == [incoming_deliveries.NOWHERE]


def test_the_alarm_of_a_destination_stands_until_its_last_refused_object_is_through(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_pair(b_sections=PACS, switches=RELAXED)
    (mail,) = pair.send(study(2))
    pair.b.take(mail)
    deliverer = Deliverer(pair.b.site, pair.b.site.config.destination[0])
    refused = {row.id for row in deliveries(pair.b)}

    def one(row: "DeliveryRow") -> _Result:
        return _Result(row, machine.Answered(0xA900 if row.id in refused else 0))

    monkeypatch.setattr(deliverer, "_one", one)
    monkeypatch.setattr(deliverer, "_connection", type("S", (), {"prepare": lambda *_: None}))
    deliverer.step()
    assert [code for code, _ in pair.b.alarms()] == [PACS_REFUSED_OBJECT.code]
    last = max(refused)
    refused -= {min(refused)}
    retry_destination(pair.b.site, "pacs")
    deliverer.step()
    assert {row.state for row in deliveries(pair.b)} == {"delivered", "refused"}
    assert [code for code, _ in pair.b.alarms()] == [PACS_REFUSED_OBJECT.code]
    refused -= {last}
    retry_destination(pair.b.site, "pacs")
    deliverer.step()
    assert {row.state for row in deliveries(pair.b)} == {"delivered"}
    assert pair.b.alarms() == []
