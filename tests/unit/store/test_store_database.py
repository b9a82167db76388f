"""Short durable transactions on one SQLite file: settings, rollback, other processes, damage (DESIGN 5)."""

import contextlib
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from radpost.errors import DISK_FULL, STORE_UNUSABLE, RadpostError
from radpost.store import database as database_module
from radpost.store import journal, objects
from radpost.store.database import Database, _refuse_network_file_system


def pragma(connection: Connection, name: str) -> object:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()


def test_invariant_1_wal_with_full_sync_and_foreign_keys_on_every_connection(database: Database) -> None:
    with database.write() as writer, database.read() as reader, database.read() as second:
        for connection in (writer, reader, second):
            assert pragma(connection, "journal_mode") == "wal"
            assert pragma(connection, "synchronous") == 2  # FULL: each commit is synced
            assert pragma(connection, "foreign_keys") == 1
            assert pragma(connection, "busy_timeout") == 30_000


def test_write_begins_immediately(database: Database) -> None:
    """The lock is taken at BEGIN, so that no read inside can turn out stale at the first write."""
    other = sqlite3.connect(database.path, timeout=0, isolation_level=None)
    with database.write():
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        assert other.execute("SELECT count(*) FROM memory").fetchone() == (0,)
    other.execute("BEGIN IMMEDIATE")
    other.close()


def test_write_commits_or_rolls_back_as_a_whole(database: Database) -> None:
    with database.write() as connection:
        journal.remember(connection, "a", "1", 1.0)
    with contextlib.suppress(KeyError), database.write() as connection:
        journal.remember(connection, "a", "2", 2.0)
        assert journal.recall(connection, "a") == "2"
        raise KeyError
    with database.read() as connection:
        assert journal.recall(connection, "a") == "1"
    with database.write() as connection:
        journal.remember(connection, "a", "3", 3.0)
    with database.read() as connection:
        assert journal.recall(connection, "a") == "3"


def test_reader_sees_one_state(database: Database) -> None:
    with database.write() as connection:
        journal.remember(connection, "a", "1", 1.0)
    with database.read() as reader:
        assert journal.recall(reader, "a") == "1"
        with database.write() as connection:
            journal.remember(connection, "a", "2", 2.0)
        assert journal.recall(reader, "a") == "1"
    with database.read() as reader:
        assert journal.recall(reader, "a") == "2"


def test_a_broken_constraint_is_the_callers_mistake(database: Database) -> None:
    facts = objects.ObjectFacts("other", "", "", "", "f" * 64, "f" * 64, 1, "", "", "", "")
    with pytest.raises(IntegrityError), database.write() as connection:
        objects.put(connection, facts, 1.0)  # its blob was not put: the foreign key holds
    with database.write() as connection:
        journal.remember(connection, "still", "usable", 1.0)


def test_threads_write_one_after_the_other(database: Database) -> None:
    def count() -> None:
        for _ in range(20):
            with database.write() as connection:
                value = int(journal.recall(connection, "n") or 0)
                journal.remember(connection, "n", str(value + 1), 1.0)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert journal.recall(connection, "n") == "80"


COUNTER = """
import sys
from pathlib import Path
from radpost.store import journal
from radpost.store.database import Database
database = Database(Path(sys.argv[1])).ready()
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    with database.write() as connection:
        value = int(journal.recall(connection, "n") or 0)
        journal.remember(connection, "n", str(value + 1), 1.0)
"""


@pytest.mark.parametrize("fresh", [False, True], ids=["migrated", "both migrate"])
def test_two_processes_write_and_none_is_refused(tmp_path: Path, blank: Path, *, fresh: bool) -> None:
    path = tmp_path / "radpost.db"
    if not fresh:
        path.write_bytes(blank.read_bytes())
    command = [sys.executable, "-c", COUNTER, str(path), "30"]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        process.communicate(timeout=60)
    assert [process.returncode for process in running] == [0, 0]
    database = Database(path)
    with database.read() as connection:
        assert journal.recall(connection, "n") == "60"
    database.close()


def test_busy_longer_than_the_timeout_has_a_reason(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_SECONDS", 0.1)
    impatient = Database(database.path)
    with database.write(), pytest.raises(RadpostError) as caught, impatient.write():
        pass
    assert caught.value.reason is STORE_UNUSABLE
    with impatient.write() as connection:
        journal.remember(connection, "a", "1", 1.0)
    impatient.close()


def test_database_file_is_private(tmp_path: Path) -> None:
    database = Database(tmp_path / "radpost.db").ready()
    with database.write() as connection:
        journal.remember(connection, "a", "1", 1.0)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"radpost.db": 0o600, "radpost.db-wal": 0o600, "radpost.db-shm": 0o600}
    database.close()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_network_file_systems_are_refused(tmp_path: Path, kind: str) -> None:
    mounts = tmp_path / "mounts"
    data = tmp_path / "with space"
    data.mkdir()
    escaped = str(data).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {escaped} {kind} rw 0 0\n")
    with pytest.raises(RadpostError, match="network file system") as caught:
        _refuse_network_file_system(data, mounts)
    assert caught.value.reason is STORE_UNUSABLE
    _refuse_network_file_system(tmp_path, mounts)


def test_network_mount_below_or_beside_does_not_matter(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    data = tmp_path / "data"
    data.mkdir()
    lines = [f"server:/x {tmp_path} nfs rw 0 0", f"/dev/sdb {data} xfs rw 0 0", f"s:/y {data}2 nfs rw 0 0"]
    mounts.write_text("\n".join(lines) + "\n")
    _refuse_network_file_system(data, mounts)
    _refuse_network_file_system(data, tmp_path / "no proc here")
    with pytest.raises(RadpostError):
        _refuse_network_file_system(tmp_path, mounts)


def test_database_asks_for_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/x {tmp_path} nfs rw 0 0\n")
    monkeypatch.setattr(_refuse_network_file_system, "__defaults__", (mounts,))
    with pytest.raises(RadpostError):
        Database(tmp_path / "radpost.db")


@pytest.mark.parametrize("damage", ["header", "text", "pages"])
def test_damaged_file_is_named_as_such(database: Database, damage: str) -> None:
    database.close()
    data = bytearray(database.path.read_bytes())
    if damage == "header":
        data[:100] = b"\xff" * 100
    elif damage == "text":
        data = bytearray(b"this is no database\n" * 100)
    else:
        data[4096:] = b"\x5a" * (len(data) - 4096)
    database.path.write_bytes(data)
    opened = Database(database.path)

    def use() -> None:
        opened.ready()
        with opened.write() as connection:
            journal.remember(connection, "a", "1", 1.0)

    with pytest.raises(RadpostError) as caught:
        use()
    assert caught.value.reason is STORE_UNUSABLE
    with pytest.raises(RadpostError), opened.read() as connection:
        journal.recall(connection, "a")
    opened.close()


def test_full_disk_of_the_database_has_its_reason_and_loses_nothing(database: Database) -> None:
    with database.write() as connection:
        journal.remember(connection, "a", "1", 1.0)
        pages = int(str(pragma(connection, "page_count")))
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(RadpostError) as caught, database.write() as connection:
        journal.remember(connection, "big", "x" * 100_000, 1.0)
    assert caught.value.reason is DISK_FULL
    with database.read() as connection:
        assert journal.recall(connection, "a") == "1"
        assert journal.recall(connection, "big") is None


def test_errors_name_no_path(tmp_path: Path) -> None:
    database = Database(tmp_path / "radpost.db")
    database.path.write_bytes(b"no database at all" * 100)
    with pytest.raises(RadpostError) as caught:
        database.current_version()
    assert str(tmp_path) not in str(caught.value)
    database.close()


def test_close_leaves_one_file(database: Database) -> None:
    with database.write() as connection:
        journal.remember(connection, "a", "1", 1.0)
    with database.read() as connection:
        connection.execute(text("SELECT 1"))
    database.close()
    assert [path.name for path in database.path.parent.glob("radpost.db*")] == ["radpost.db"]
