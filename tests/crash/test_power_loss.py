"""Invariants 1 and 2 when the power fails: what was acknowledged is there, whole and exactly once.

The gateway's ways in are recorded by strace while they work (``power_loss_ingest.py``). The recording is cut
at many points; from what was synced by then, and a random torn part of the rest, a disk is rebuilt, and the
store is opened on it. Mutants that leave out one sync must be found, or the test itself is worth nothing.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, select

from radpost.dicom.identity import identify
from radpost.errors import RadpostError
from radpost.store import cleaning, objects, settling
from radpost.store.database import Database
from radpost.store.schema import arrival, blob, collection, collection_object, object_
from radpost.store.segments import Segments
from radpost.store.spool import Spool, Stored
from radpost.testing.powerloss import Disk
from radpost.testing.tracing import Call, record

pytestmark = pytest.mark.peer("strace")

INGEST = Path(__file__).with_name("power_loss_ingest.py")
LENGTH = max(1, int(os.environ.get("RADPOST_SOAK", "1")))
CUTS = 150
MUTANT_CUTS = 80
MUTANTS = {
    "file sync": "file of a row: other content",
    "folder sync": "file of a row: No such file or directory",
    "sync of the folders above": "the data directory is gone",
    "database sync": "acknowledged object is there 0 times",
    "log sync at commit": "acknowledged object is there 0 times",
    "segment sync": "a file is neither whole nor in a segment",
    "settled without a sync": "file of a row: No such file or directory",
    "early yes": "acknowledged object is there 0 times",
}
ENOUGH = 3


@dataclass
class Recording:
    """What a process did to ``folder``."""

    folder: Path
    calls: list[Call]


@pytest.fixture
def place() -> Iterator[Path]:
    """Where disks are rebuilt; in memory if possible, the sync of the test itself proves nothing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder).resolve()


def recorded(place: Path, seed: int, rounds: int, mutant: str = "") -> Recording:
    folder = place / f"machine-{seed}" / "disk"
    folder.mkdir(parents=True)
    log = place / "trace"
    command = [sys.executable, str(INGEST), str(folder), str(seed), str(rounds), mutant]
    calls = record(command, folder, log)
    log.unlink()
    shutil.rmtree(folder.parent)
    return Recording(folder, calls)


def cuts(calls: Sequence[Call], count: int, random: Random) -> list[int]:
    """Choose where the power fails: half of the cuts right after a yes, the rest anywhere."""
    after_yes = [
        index + 1
        for index, call in enumerate(calls)
        if call.name == "write" and call.moment == "begin" and call.data(1).startswith(b"ack ")
    ]
    chosen = [random.choice(after_yes) for _ in range(count // 2)]
    return sorted(chosen + [random.randrange(len(calls) + 1) for _ in range(count - len(chosen))])


@dataclass
class Required:
    """What must be there, by the acknowledgements so far."""

    objects: set[tuple[str, str]] = field(default_factory=set)
    mails: dict[str, str] = field(default_factory=dict)

    @classmethod
    def by(cls, acknowledged: Sequence[bytes]) -> "Required":
        made = cls()
        for line in acknowledged:
            values: dict[str, Any] = json.loads(line)
            if values["kind"] == "object":
                made.objects.add((values["uid"], values["sha256"]))
            elif values["kind"] == "mail":
                made.mails[values["token"]] = values["sha256"]
            else:
                made.mails.pop(values["token"], None)
        return made


class Check:
    """Opens the store on a rebuilt disk as a gateway does at start, and looks for what is missing."""

    def __init__(self, data: Path) -> None:
        self.database = Database(data / "radpost.db")
        self.spool = Spool(data / "spool")

    def violations(self, required: Required, *, clean: bool) -> list[str]:
        """Return what is wrong; with ``clean`` look again after the collectors ran and all was sent again."""
        try:
            self.database.ready()
            self.spool.prepare()
            self.spool.sweep()
            _, lost = settling.recover(
                self.database, self.spool, Segments(self.spool.root / "segments", count=3, size=32 * 1024)
            )
            if lost:
                return ["a file is neither whole nor in a segment"]
            found = self._look(required)
            if clean and not found:
                self._go_on()
                found = self._look(required)
        except RadpostError as error:
            return [f"the store does not open: {error}"]
        finally:
            self.database.close()
        return found

    def _look(self, required: Required) -> list[str]:
        with self.database.read() as connection:
            found = [f"integrity: {row[0]}" for row in connection.exec_driver_sql("PRAGMA integrity_check")]
            found = [line for line in found if line != "integrity: ok"]
            found += [f"reference: {row}" for row in connection.exec_driver_sql("PRAGMA foreign_key_check")]
            if not found:
                found += self._files(connection)
                found += self._objects(connection, required.objects)
                found += self._mails(connection, required.mails)
        return found

    def _files(self, connection: Connection) -> Iterator[str]:
        """A committed row says that the file is durable, acknowledged or not."""
        for sha256, size in connection.execute(
            select(blob.c.sha256, blob.c.size).where(blob.c.claimed.is_(False))
        ):
            try:
                content = self.spool.path(sha256).read_bytes()
            except OSError as error:
                yield f"file of a row: {error.strerror}"
                continue
            if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
                yield "file of a row: other content"

    def _objects(self, connection: Connection, wanted: set[tuple[str, str]]) -> Iterator[str]:
        rows = connection.execute(
            select(object_.c.sop_instance_uid, object_.c.dataset_sha256, collection.c.due_at)
            .outerjoin(collection_object, collection_object.c.object_id == object_.c.id)
            .outerjoin(
                collection,
                (collection.c.id == collection_object.c.collection_id) & (collection.c.state == "open"),
            )
        ).all()
        there = [(str(row[0]), str(row[1])) for row in rows]
        due = {(str(row[0]), str(row[1])): row[2] for row in rows}
        for identity in wanted:
            if there.count(identity) != 1:
                yield f"acknowledged object is there {there.count(identity)} times"
            elif not isinstance(due[identity], float):
                yield "acknowledged object has no open collection with a deadline"

    def _mails(self, connection: Connection, wanted: dict[str, str]) -> Iterator[str]:
        there: dict[str, str] = {}
        for (sha256,) in connection.execute(
            select(arrival.c.sha256).where(arrival.c.state != "done", arrival.c.due_at.is_not(None))
        ):
            path = self.spool.path(sha256)
            content = path.read_bytes() if path.exists() else b""
            text = content[content.find(b"Subject: ") :]
            token = text.partition(b"\r\n")[0].removeprefix(b"Subject: ").decode()
            there[token] = hashlib.sha256(text).hexdigest()
        for token, sha256 in wanted.items():
            if there.get(token) != sha256:
                yield "acknowledged mail is " + ("damaged" if token in there else "missing")

    def _go_on(self) -> None:
        """Finish what the collectors were at, and let a sender that heard no yes send everything again."""
        now = time.time()
        cleaning.collect(self.database, self.spool, now, 100.0)
        cleaning.remove_orphans(self.database, self.spool, now + 10)
        assert cleaning.orphans(self.database, self.spool, now + 10) == []
        with self.database.read() as connection:
            rows = connection.execute(select(object_.c.id, object_.c.file_sha256)).all()
        for object_id, sha256 in rows[-3:]:
            path = self.spool.temporary()
            shutil.copyfile(self.spool.path(sha256), path)
            stored = Stored(sha256, path.stat().st_size)
            identity = identify(path)
            self.spool.adopt([(path, stored)])
            with self.database.write() as connection:
                objects.put_blob(connection, self.spool, stored, now)
                row = objects.get(connection, object_id)
                facts = objects.ObjectFacts(
                    **{name: getattr(row, name) for name in objects.ObjectFacts.__slots__}
                )
                put = objects.put(connection, facts, now)
                assert (put.id, put.new) == (object_id, False)
                assert identity.file_sha256 == row.file_sha256


def played(recording: Recording, where: Sequence[int], place: Path, random: Random) -> Iterator[list[str]]:
    """Yield for every cut what is wrong with the disk that the power failure left."""
    disk = Disk(recording.folder)
    done = 0
    for number, cut in enumerate(where):
        for call in recording.calls[done:cut]:
            disk.play(call)
        done = cut
        required = Required.by(disk.acknowledged)
        image = place / "image"
        disk.image(image, random)
        data = image / "data"
        if data.is_dir():
            yield Check(data).violations(required, clean=number % 4 == 0)
        else:
            yield ["the data directory is gone"] if required.objects or required.mails else []
        shutil.rmtree(image)


@pytest.mark.soak
@pytest.mark.timeout(0 if LENGTH > 1 else 120)
def test_invariant_1_power_loss_at_many_points(place: Path) -> None:
    seeds = range(1, 1 + max(1, min(LENGTH // 5, 20)))
    for seed in seeds:
        random = Random(seed)
        recording = recorded(place, seed, rounds=12)
        where = cuts(recording.calls, CUTS * LENGTH // len(seeds), random)
        for cut, found in zip(where, played(recording, where, place, random), strict=True):
            assert found == [], f"seed {seed}, cut at call {cut} of {len(recording.calls)}"
        disk = Disk(recording.folder)
        for call in recording.calls:
            disk.play(call)
        required = Required.by(disk.acknowledged)
        assert len(required.objects) >= 4 * 12, "the process did what the test is about"
        assert len(required.mails) >= 4 * 6


@pytest.mark.parametrize("mutant", MUTANTS)
def test_invariant_1_power_loss_finds_the_mutant(place: Path, mutant: str) -> None:
    random = Random(7)
    recording = recorded(place, 7, rounds=8, mutant=mutant)
    where = cuts(recording.calls, MUTANT_CUTS, random)
    seen: set[str] = set()
    lost = 0
    for found in played(recording, where, place, random):
        seen.update(found)
        lost += bool(found)
        if lost >= ENOUGH and MUTANTS[mutant] in seen:
            break
    assert lost, f"{mutant}: nothing was lost at {len(where)} cuts"
    assert MUTANTS[mutant] in seen, "the loss is the one that this mutant causes"
