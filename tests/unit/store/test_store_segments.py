"""Segments: durable at once, filed later; a record is used again only when its file is durable."""

import hashlib
import os
from pathlib import Path

import pytest

from radpost.errors import STORE_UNUSABLE, RadpostError
from radpost.gateway.settling import Settler
from radpost.store import objects, settling
from radpost.store.database import Database
from radpost.store.segments import Record, Segments
from radpost.store.spool import Spool, Stored


class Room:
    """A store with small segments."""

    def __init__(self, root: Path, *, count: int = 2, size: int = 32 * 1024) -> None:
        self.database = Database(root / "radpost.db").ready()
        self.spool = Spool(root / "spool")
        self.spool.prepare()
        self.segments = Segments(self.spool.root / "segments", count=count, size=size)
        self.segments.prepare()

    def arrive(self, data: bytes) -> tuple[Path, Stored]:
        path = self.spool.temporary()
        path.write_bytes(data)
        return path, Stored(hashlib.sha256(data).hexdigest(), len(data))

    def take(self, data: bytes) -> tuple[Stored, Record]:
        path, stored = self.arrive(data)
        assert self.spool.link(path, stored)
        record = self.segments.append(self.spool.path(stored.sha256), stored)
        assert record is not None
        with self.database.write() as connection:
            objects.put_blob(connection, self.spool, stored, 1.0, record)
        return stored, record

    def unsettled(self) -> list[tuple[Stored, Record]]:
        with self.database.read() as connection:
            return objects.unsettled(connection)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_a_record_holds_the_bytes_of_the_file(room: Room) -> None:
    data = os.urandom(5000)
    _, record = room.take(data)
    assert room.segments.read(record) == data
    assert record.offset % 4096 == 0


def test_a_linked_file_never_replaces_one_that_may_be_durable(room: Room) -> None:
    path, stored = room.arrive(b"same")
    assert room.spool.link(path, stored)
    again, _ = room.arrive(b"same")
    assert not room.spool.link(again, stored)
    assert again.exists()


def test_a_segment_is_used_again_only_when_all_its_records_are_released(room: Room) -> None:
    taken = [room.take(os.urandom(12_000)) for _ in range(4)]
    assert {record.segment for _, record in taken} == {0, 1}
    path, stored = room.arrive(os.urandom(12_000))
    assert room.segments.append(path, stored) is None
    room.segments.release(taken[0][1])
    assert room.segments.append(path, stored) is None
    room.segments.release(taken[1][1])
    again = room.segments.append(path, stored)
    assert again is not None
    assert again.segment == taken[0][1].segment


def test_an_object_larger_than_half_a_segment_takes_the_long_way(room: Room) -> None:
    path, stored = room.arrive(bytes(20_000))
    assert room.segments.append(path, stored) is None


def test_invariant_1_a_crash_before_the_file_is_durable_loses_nothing(room: Room) -> None:
    data = os.urandom(3000)
    stored, _ = room.take(data)
    room.spool.path(stored.sha256).write_bytes(b"")  # the power failed: the pages were never written
    assert settling.recover(room.database, room.spool, room.segments) == (1, [])
    assert room.spool.path(stored.sha256).read_bytes() == data
    assert room.unsettled() == []


def test_recovery_of_a_file_that_is_gone_and_of_a_record_that_is_damaged(room: Room) -> None:
    gone, _ = room.take(b"gone" * 100)
    whole, record = room.take(b"whole" * 100)
    lost, other = room.take(b"lost" * 100)
    room.spool.path(gone.sha256).unlink()
    for one in (record, other):
        with (room.spool.root / "segments" / f"segment-{one.segment}").open("r+b") as file:
            file.seek(one.offset)
            file.write(b"damage")
    room.spool.path(lost.sha256).unlink()
    assert settling.recover(room.database, room.spool, room.segments) == (2, [lost.sha256])
    assert room.spool.path(whole.sha256).read_bytes() == b"whole" * 100
    assert [stored for stored, _ in room.unsettled()] == [lost]


def test_settled_files_give_their_records_back(room: Room) -> None:
    taken = [room.take(os.urandom(12_000)) for _ in range(4)]
    settling.settle(room.database, room.spool, room.segments, taken)
    assert room.unsettled() == []
    room.take(os.urandom(12_000))


def test_a_failed_sync_is_never_retried_to_a_yes(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(3000)
    taken = room.take(data)
    before = room.spool.path(taken[0].sha256).stat().st_ino

    def failing(_self: Spool, _files: object) -> None:
        raise RadpostError(STORE_UNUSABLE, "the disk failed")

    monkeypatch.setattr(Spool, "settle", failing)
    settling.settle(room.database, room.spool, room.segments, [taken])
    path = room.spool.path(taken[0].sha256)
    assert path.stat().st_ino != before, "the file was written anew from its record"
    assert path.read_bytes() == data


def test_a_file_that_was_collected_meanwhile_is_no_trouble(room: Room) -> None:
    taken = room.take(b"x" * 100)
    room.spool.path(taken[0].sha256).unlink()
    settling.settle(room.database, room.spool, room.segments, [taken])


def test_the_settler_warms_up_then_uses_the_segments(room: Room) -> None:
    settler = Settler(room.database, room.spool, Segments(room.spool.root / "more", count=2), warm_up=1)
    path, stored = room.arrive(b"first")
    assert settler.make_durable(path, stored, synced=False) is None
    settler._segments.prepare()
    path, stored = room.arrive(b"second")
    record = settler.make_durable(path, stored, synced=False)
    assert record is not None
    with room.database.write() as connection:
        objects.put_blob(connection, room.spool, stored, 1.0, record)
    settler.noted(stored, record)
    settler.settle()
    assert room.unsettled() == []
    settler.close()
