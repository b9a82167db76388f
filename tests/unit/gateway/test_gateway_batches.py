"""Small mails that came are processed together: one group of syncs, one commit, each with its own ending."""

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from radpost.errors import INTERNAL, STORE_UNUSABLE
from radpost.gateway import processing
from radpost.gateway.partners import Switches
from radpost.store import incoming_mails, objects, quarantined_mails
from radpost.store.database import Database
from radpost.testing.house import House, Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from sqlalchemy import Connection

    from radpost.agit.opening import Content
    from radpost.gateway.recording import Finding
    from radpost.store.incoming_mails import ArrivalRow
    from radpost.store.spool import Stored

FIELD = Switches()


def arrived(pair: Pair, files: "list[Path]") -> "list[ArrivalRow]":
    """Send objects in mails of their own; return what waits at B."""
    for mail in pair.send(files):
        pair.b.receive(mail)
    return pair.b.processor.next(16, frozenset())


def states(house: House) -> list[str]:
    """Return the states of all arrivals, oldest first."""
    with house.site.database.read() as connection:
        rows = incoming_mails.recent_arrivals(connection, 100)
    return [row.state for row in sorted(rows, key=lambda row: row.id)]


def temporary_files(house: House) -> "list[Path]":
    return list(house.site.spool.tmp.iterdir())


class Counted:
    """Counts how many files are made durable together, and the commits."""

    def __init__(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        self.adopted: list[int] = []
        self.commits = 0
        adopt, end = house.site.spool.adopt, Database._end

        def adopted(files: "Iterable[tuple[Path, Stored]]") -> None:
            found = list(files)
            self.adopted.append(len(found))
            adopt(found)

        def ended(database: Database, group: Any) -> None:
            self.commits += 1
            end(database, group)

        monkeypatch.setattr(house.site.spool, "adopt", adopted)
        monkeypatch.setattr(Database, "_end", ended)


def test_mails_that_are_processed_together_share_syncs_and_commit(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_pair(switches=FIELD)
    rows = arrived(pair, study(4))
    counted = Counted(pair.b, monkeypatch)
    pair.b.processor.work_all(rows)
    assert (counted.adopted, counted.commits) == ([4], 1)
    assert states(pair.b) == ["receipt owed"] * 4
    assert temporary_files(pair.b) == []
    assert len(pair.b.answer()) == 4


def test_invariant_5_a_bad_mail_among_others_spoils_none(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_pair(switches=FIELD)
    mails = pair.send(study(4))
    mails[1] = mails[1][:-600] + b"\r\n"
    for mail in mails:
        pair.b.receive(mail)
    counted = Counted(pair.b, monkeypatch)
    pair.b.processor.work_all(pair.b.processor.next(16, frozenset()))
    assert (counted.adopted, counted.commits) == ([3], 2), "what failed is written down alone"
    assert states(pair.b) == ["receipt owed"] * 4
    with pair.b.site.database.read() as connection:
        (entry,) = quarantined_mails.quarantined(connection)
    assert entry.arrival_id == 2


def test_invariant_5_a_mail_that_cannot_be_recorded_takes_no_other_with_it(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_pair(switches=FIELD)
    rows = arrived(pair, study(3))
    recorder = pair.b.processor._recorder
    honest = type(recorder).record

    def record(self: Any, connection: "Connection", found: "Finding", now: float) -> None:
        honest(self, connection, found, now)
        if found.row.id == rows[1].id:
            raise ValueError

    monkeypatch.setattr(type(recorder), "record", record)
    pair.b.processor.work_all(rows)
    with pair.b.site.database.read() as connection:
        (entry,) = quarantined_mails.quarantined(connection)
        numbers = [len(incoming_mails.objects_of(connection, row.id)) for row in rows]
    assert (entry.arrival_id, entry.code) == (rows[1].id, INTERNAL.code)
    assert numbers == [1, 0, 1]
    assert temporary_files(pair.b) == []


def test_invariant_1_after_a_failed_sync_each_mail_is_opened_anew_alone(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_pair(switches=FIELD)
    rows = arrived(pair, study(3))
    honest, failing = os.fdatasync, [errno.EIO]

    def fdatasync(descriptor: int) -> None:
        if failing:  # the kernel reports a lost page once
            raise OSError(failing.pop(), "lost")
        honest(descriptor)

    counted = Counted(pair.b, monkeypatch)
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    pair.b.processor.work_all(rows)
    assert counted.adopted == [3, 1, 1, 1]
    assert states(pair.b) == ["receipt owed"] * 3
    assert temporary_files(pair.b) == []


def test_invariant_1_nothing_is_owed_for_a_mail_whose_objects_cannot_be_synced(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_pair(switches=FIELD)
    rows = arrived(pair, study(2))

    def fdatasync(descriptor: int) -> None:
        raise OSError(errno.EIO, f"lost {descriptor}")

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    pair.b.processor.work_all(rows)
    assert states(pair.b) == ["fetched"] * 2, "a fault of ours: they are tried again"
    assert {pair.b.arrival(row.id).code for row in rows} == {STORE_UNUSABLE.code}
    assert pair.b.answer() == []


def test_invariant_2_copies_of_a_mail_are_one_object_and_each_is_answered(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=FIELD)
    (mail,) = pair.send(study(1))
    for number in range(3):
        pair.b.receive(b"X-Copy: %d\r\n" % number + mail)
    rows = pair.b.processor.next(16, frozenset())
    pair.b.processor.work_all(rows)
    with pair.b.site.database.read() as connection:
        found = [incoming_mails.objects_of(connection, row.id)[0] for row in rows]
    assert [item.state for item in found] == ["imported", "present", "present"]
    assert len({item.object_id for item in found}) == 1
    assert len(pair.b.answer()) == 3


def test_invariant_2_two_syntaxes_of_an_object_in_one_batch_are_one_object(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", tmp_path: "Path"
) -> None:
    from radpost.dicom.transcode import convert  # noqa: PLC0415  codecs, needed here only

    pair = make_pair(switches=FIELD)
    (path,) = study(1)
    other = tmp_path / "other.dcm"
    convert(path, other, "1.2.840.10008.1.2")
    for number, file in enumerate((path, other)):
        pair.a.collect([file], "b", source=f"s{number}")
        pair.a.seal()
        for _, mail in pair.a.submit():
            pair.b.receive(mail)
    rows = pair.b.processor.next(16, frozenset())
    pair.b.processor.work_all(rows)
    with pair.b.site.database.read() as connection:
        found = [incoming_mails.objects_of(connection, row.id)[0] for row in rows]
        assert len(objects.of_study(connection, found[0].study_uid)) == 1
    assert [item.state for item in found] == ["imported", "present"]


def test_invariant_8_what_unfolds_is_committed_before_the_next_is_opened(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_pair(switches=FIELD)
    rows = arrived(pair, study(3))
    counted = Counted(pair.b, monkeypatch)
    monkeypatch.setattr(processing, "UNFOLDED_BYTES", 1)
    pair.b.processor.work_all(rows)
    assert (counted.adopted, counted.commits) == ([1, 1, 1], 3)


def test_a_mail_that_another_worker_has_finished_is_recorded_once(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_pair(switches=FIELD)
    rows = arrived(pair, study(2))
    honest = processing.open_mail  # type: ignore[attr-defined]  # imported there
    inside: list[bool] = []

    def meanwhile(*arguments: Any, **options: Any) -> "Content":
        if not inside:
            inside.append(True)
            pair.b.processor.work(rows[0])
        content: Content = honest(*arguments, **options)
        return content

    monkeypatch.setattr(processing, "open_mail", meanwhile)
    pair.b.processor.work_all(rows)
    assert states(pair.b) == ["receipt owed"] * 2
    assert len(pair.b.answer()) == 2


def test_a_worker_takes_half_of_the_mails_with_objects_and_all_small_ones(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=FIELD)
    (row, *_) = arrived(pair, study(1))

    def taken(*sizes: int) -> int:
        return len(pair.b.processor.batch([replace(row, size=size) for size in sizes]))

    assert taken(*[400_000] * 7) == 4
    assert taken(*[200_000] * 16) == 8
    assert taken(*[3_000_000] * 4) == 1
    assert taken(*[5_000] * 16) == 16
    assert taken(5_000, 5_000, 400_000, 400_000) == 2
    assert taken(9_000_000) == 1
