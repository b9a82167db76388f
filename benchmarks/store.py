"""G5, the part of the store: does a yes take longer when a million objects are there already?

An ingest as the gateway does it: adopt the synced file, then one transaction with its blob, its object, its
place in an open collection and the new deadline. Measured on an empty store and on one with a million rows,
in turns, so that a busy machine disturbs both alike.
"""

import hashlib
import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from radpost.store import objects, outgoing_collections, partners
from radpost.store.database import Database
from radpost.store.objects import ObjectFacts
from radpost.store.spool import Spool, Stored

ROWS = 1_000_000
_ROUNDS = 10
_PER_ROUND = 40
_OBJECT_BYTES = 20_000
_CT = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT = "1.2.840.10008.1.2.1"


class Store:
    """A store with its spool and one open collection."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.database = Database(folder / "radpost.db").ready()
        self.spool = Spool(folder / "spool")
        self.spool.prepare()
        self._count = 0
        with self.database.write() as connection:
            partners.put(connection, partners.PartnerRow("B", "B", "b@b.example", "{}", 1.0))
            outgoing_collections.add_collection(connection, collection_values("9.9"))

    def ingest(self) -> float:
        """Take one object in; return the seconds from the written file to the yes."""
        self._count += 1
        content = os.urandom(_OBJECT_BYTES)
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.spool.temporary()
        path.write_bytes(content)
        facts = facts_of(f"9.9.{self._count}", "9.9", sha256)
        start = time.perf_counter()
        stored = Stored(sha256, len(content))
        self.spool.adopt([(path, stored)])
        now = time.time()
        with self.database.write() as connection:
            objects.put_blob(connection, self.spool, stored, now)
            put = objects.put(connection, facts, now)
            row = outgoing_collections.open_collection(connection, "bench", "B", "9.9")
            assert row is not None
            assert outgoing_collections.add_member(connection, row.id, put.id, sha256, "", now)
            outgoing_collections.touch_collection(
                connection, row.id, "{}", "open", now + 30, objects=1, size=len(content)
            )
        return time.perf_counter() - start


def collection_values(study: str) -> dict[str, object]:
    """Return an open collection of a study."""
    return {
        "source": "bench",
        "partner": "B",
        "study_uid": study,
        "state": "open",
        "priority": 2,
        "machine": "{}",
        "objects": 0,
        "bytes": 0,
        "opened_at": 1.0,
        "due_at": 30.0,
        "group_id": "g",
    }


def facts_of(instance: str, study: str, sha256: str) -> ObjectFacts:
    """Return the facts of a CT slice."""
    return ObjectFacts(
        kind="dicom",
        sop_class_uid=_CT,
        sop_instance_uid=instance,
        transfer_syntax_uid=_EXPLICIT,
        dataset_sha256=sha256,
        file_sha256=sha256,
        size=_OBJECT_BYTES,
        study_uid=study,
        series_uid=f"{study}.1",
        modality="CT",
        media_type="application/dicom",
    )


def fill(path: Path, rows: int) -> None:
    """Put objects with their blobs into a store, 500 to a study, past the statements for speed."""
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -200000")
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO blob (sha256, size, created_at, claimed) VALUES (?, 20000, 1.0, 0)",
            ((_hash(number),) for number in range(rows)),
        )
        connection.executemany(
            "INSERT INTO object (kind, sop_class_uid, sop_instance_uid, transfer_syntax_uid, dataset_sha256,"
            " file_sha256, size, study_uid, series_uid, modality, media_type, created_at) VALUES"
            " ('dicom', ?, ?, ?, ?, ?, 20000, ?, ?, 'CT', 'application/dicom', 1.0)",
            _object_rows(rows),
        )
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _object_rows(rows: int) -> Iterator[tuple[str, ...]]:
    for number in range(rows):
        digest = _hash(number)
        study = f"1.2.276.0.7230010.3.1.2.{int(_hash(number // 500)[:15], 16)}"
        instance = f"1.2.276.0.7230010.3.1.4.{int(digest[:15], 16)}"
        yield _CT, instance, _EXPLICIT, digest, digest, study, f"{study}.1"


def _hash(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def measure(work: Path, rows: int = ROWS) -> dict[str, float]:
    """Return milliseconds per ingest on an empty and a full store, and their ratio (floor 1.15, goal 1.05).

    The ratio is the median over rounds; each round measures both stores one object after the other.
    """
    folder = Path(tempfile.mkdtemp(prefix="store-", dir=work))
    try:
        empty, full = Store(folder / "empty"), Store(folder / "full")
        full.database.close()
        start = time.perf_counter()
        fill(full.database.path, rows)
        filling = time.perf_counter() - start
        for store in (empty, full):
            for _ in range(_PER_ROUND):
                store.ingest()  # both warm: connections, statements, the pages that are always needed
        times: dict[str, list[float]] = {"empty": [], "full": []}
        ratios = []
        for _ in range(_ROUNDS):
            round_times: dict[str, list[float]] = {"empty": [], "full": []}
            for _ in range(_PER_ROUND):
                round_times["empty"].append(empty.ingest())
                round_times["full"].append(full.ingest())
            medians = {name: statistics.median(values) for name, values in round_times.items()}
            ratios.append(medians["full"] / medians["empty"])
            for name, values in round_times.items():
                times[name] += values
        empty.database.close()
        full.database.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "ingest_empty_ms": statistics.median(times["empty"]) * 1000,
        "ingest_full_ms": statistics.median(times["full"]) * 1000,
        "ratio": statistics.median(ratios),
        "ratio_of_means": statistics.fmean(times["full"]) / statistics.fmean(times["empty"]),
        "rows": float(rows),
        "filling_seconds": filling,
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as here:
        for name, value in measure(Path(here)).items():
            print(f"{name:20} {value:12.3f}")
