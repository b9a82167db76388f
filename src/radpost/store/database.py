"""Open the database; short write transactions, one writer per process, many readers (DESIGN 5)."""

import contextlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import QueuePool

from radpost.errors import DISK_FULL, STORE_UNUSABLE, RadpostError
from radpost.store import rows

HEAD: Final = "0002"
"""The migration that this code needs."""

BUSY_TIMEOUT_SECONDS: Final = 30
CHECKPOINT_PAGES: Final = 4000
LOG_BYTES: Final = CHECKPOINT_PAGES * 4096 + (1 << 20)
_MEMBERS: Final = 16
"""So many threads share one commit at most: none waits long for the others."""
_READERS_KEPT: Final = 8
_NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "afs", "lustre", "gpfs", "glusterfs"}
    | {f"fuse.{name}" for name in ("sshfs", "ceph", "glusterfs", "s3fs", "rclone", "davfs", "curlftpfs")}
)
_PRIVATE: Final = stat.S_IRUSR | stat.S_IWUSR
_MOUNTS: Final = Path("/proc/self/mounts")


class Database:
    """One SQLite database in WAL mode with full sync.

    Write transactions are short ``BEGIN IMMEDIATE`` ones; do no I/O inside. Readers see the last commit.
    """

    def __init__(self, path: Path) -> None:
        _refuse_network_file_system(path.parent)
        self.path = path
        self._engine = _engine(path)
        self._write_lock = threading.Lock()
        self._writer: Connection | None = None
        self._group: _Group | None = None
        self._count = threading.Lock()
        self._waiting = 0
        self._owner = 0
        self._readers: list[Connection] = []

    def current_version(self) -> str | None:
        """Return the migration the file stands at, or None for an empty one."""
        try:
            with self._engine.connect() as connection:
                found = connection.execute(
                    text("SELECT name FROM sqlite_master WHERE name = 'alembic_version'")
                ).first()
                if found is None:
                    return None
                row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
                return None if row is None else str(row[0])
        except (DatabaseError, sqlite3.DatabaseError) as error:
            raise _trouble(error) from error

    def ready(self) -> "Database":
        """Bring the schema to ``HEAD`` if it is older; refuse a newer one."""
        try:
            # before SQLite makes it: the write-ahead log gets the permissions that the file has then
            self.path.touch(mode=_PRIVATE, exist_ok=True)
            self.path.chmod(_PRIVATE)
        except OSError as error:
            raise RadpostError(STORE_UNUSABLE, f"{self.path.name}: {error.strerror}") from error
        version = self.current_version()
        if version != HEAD:
            from radpost.store.migrate import upgrade  # noqa: PLC0415  alembic costs 10 MB; needed once

            try:
                with self._write_lock:
                    upgrade(self._engine, version)
            except (DatabaseError, sqlite3.DatabaseError) as error:
                raise _trouble(error) from error
        return self

    def grow_log(self) -> None:
        """Let the write-ahead log reach its full length once, and go back to its beginning.

        From then on it is overwritten in place: a commit costs a sync of its pages and no journal commit of
        the file system, which under load takes several times as long. Only speed depends on it.
        """
        growth = text("INSERT OR REPLACE INTO memory (name, value, at) VALUES ('growth', zeroblob(:size), 0)")
        with contextlib.suppress(RadpostError, DatabaseError):
            with self.write() as connection:
                connection.execute(growth, {"size": LOG_BYTES})
            with self.write() as connection:
                connection.execute(text("DELETE FROM memory WHERE name = 'growth'"))
            with self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(RESTART)")

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Run a write transaction: committed and durable when the block ends, rolled back if it raises.

        Threads that wait for each other share one commit and its sync; each has a savepoint of its own, and
        none returns before the commit is durable. Not to be nested.
        """
        assert self._owner != threading.get_ident(), "write transactions are not nested"
        with self._count:
            self._waiting += 1
        with self._write_lock:
            with self._count:
                self._waiting -= 1
            self._owner = threading.get_ident()
            try:
                group = self._join()
                yield from self._member(group)
            finally:
                self._owner = 0
        group.wait()

    def _member(self, group: "_Group") -> Iterator[Connection]:
        try:
            yield group.connection
        except BaseException as error:
            self._undo(group, error)
            self._end(group)
            if _is_trouble(error):
                raise _trouble(error) from error
            raise
        self._keep(group)
        self._end(group)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Run a read transaction on the last committed state."""
        try:
            connection = self._reader()
            try:
                _run(connection, "BEGIN")
                try:
                    yield connection
                finally:
                    _run(connection, "ROLLBACK")
            except BaseException:
                connection.close()
                raise
            if len(self._readers) < _READERS_KEPT:
                self._readers.append(connection)
            else:
                connection.close()
        except (DatabaseError, sqlite3.DatabaseError) as error:
            if _is_trouble(error):
                raise _trouble(error) from error
            raise

    def _reader(self) -> Connection:
        """Return a connection that was used before, or a new one."""
        try:
            return self._readers.pop()
        except IndexError:
            return self._engine.connect()

    def close(self) -> None:
        """Close all connections."""
        with self._write_lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        while self._readers:
            self._readers.pop().close()
        self._engine.dispose()

    def _join(self) -> "_Group":
        """Begin a transaction, or go on in the one that others have left open for us."""
        group = self._group
        try:
            if group is not None:
                group.members += 1
                _run(group.connection, "SAVEPOINT member")
                return group
            if self._writer is None:
                self._writer = self._engine.connect()
                _run(self._writer, "PRAGMA cache_size = -8000")
            _run(self._writer, "BEGIN IMMEDIATE")
        except BaseException as error:
            self._break(group, error)
            if _is_trouble(error):
                raise _trouble(error) from error
            raise
        self._group = _Group(self._writer)
        return self._group

    def _keep(self, group: "_Group") -> None:
        """End the member's savepoint; its work stands or falls with the commit."""
        if group.members > 1 and not group.broken:
            try:
                _run(group.connection, "RELEASE member")
            except BaseException as error:
                self._break(group, error)
                if _is_trouble(error):
                    raise _trouble(error) from error
                raise

    def _undo(self, group: "_Group", error: BaseException) -> None:
        """Take back what the failed member did; the others' work stays unless SQLite has dropped it all."""
        driver = group.connection.connection.driver_connection
        if group.members == 1 or driver is None or not driver.in_transaction:
            self._break(group, error)
            return
        try:
            _run(group.connection, "ROLLBACK TO member")
            _run(group.connection, "RELEASE member")
        except (DatabaseError, sqlite3.DatabaseError) as second:
            self._break(group, second)

    def _end(self, group: "_Group") -> None:
        """Commit, unless the next thread stands in line and will."""
        if group.broken:
            return
        if self._waiting and group.members < _MEMBERS:
            group.leave_open()
            return
        self._group = None
        try:
            _run(group.connection, "COMMIT")
        except BaseException as error:
            self._break(group, error)
            if _is_trouble(error):
                raise _trouble(error) from error
            raise
        group.end(None)

    def _break(self, group: "_Group | None", error: BaseException) -> None:
        """Give up a transaction and tell all its members."""
        self._group = None
        self._abandon()
        if group is not None:
            group.end(error)

    def _abandon(self) -> None:
        connection, self._writer = self._writer, None
        if connection is None:
            return
        try:
            _run(connection, "ROLLBACK")
        except (DatabaseError, sqlite3.DatabaseError):
            connection.invalidate()  # nobody shall get it from the pool in whatever state it is
        connection.close()


class _Group:
    """Threads whose transactions are committed as one."""

    __slots__ = ("_done", "_error", "broken", "connection", "members")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.members = 1
        self.broken = False
        self._error: BaseException | None = None
        self._done: threading.Event | None = None

    def leave_open(self) -> None:
        """Leave the commit to a later member: those before it have to wait now."""
        if self._done is None:
            self._done = threading.Event()

    def end(self, error: BaseException | None) -> None:
        """Say that the transaction is durable, or lost."""
        self._error = error
        self.broken = error is not None
        if self._done is not None:
            self._done.set()

    def wait(self) -> None:
        """Return when the transaction is durable; raise if it is lost."""
        if self._done is not None:  # else the only member has committed itself
            self._done.wait()
        if self._error is not None:
            raise _trouble(self._error) from self._error


def _run(connection: Connection, command: str) -> None:
    """Run a command of the transaction by the driver itself: SQLAlchemy's way costs ten times as much."""
    rows.raw(connection).cursor().execute(command)


def _engine(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=8,
        max_overflow=24,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_SECONDS},
        skip_autocommit_rollback=True,
        isolation_level="AUTOCOMMIT",
        # names of files may be those of patients; an error must not carry them into the log
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _connected(raw: Any, _record: Any) -> None:
        raw.isolation_level = None
        cursor = raw.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_SECONDS * 1000}")
        _into_wal(cursor)
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA cache_size = -2000")
        cursor.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        cursor.close()

    return engine


def _into_wal(cursor: Any) -> None:
    """Switch to the write-ahead log; while another process does the same, SQLite is busy without waiting."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _is_trouble(error: BaseException) -> bool:
    """Tell trouble of the file or the disk from a mistake in a statement or a broken constraint."""
    if isinstance(error, OperationalError):
        return True
    kind = type(error.orig) if isinstance(error, DatabaseError) else type(error)
    return kind in (sqlite3.DatabaseError, sqlite3.OperationalError)


def _trouble(error: BaseException) -> RadpostError:
    cause = error.orig if isinstance(error, DatabaseError) else error
    full = getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return RadpostError(DISK_FULL if full else STORE_UNUSABLE, f"database: {cause}")


def _refuse_network_file_system(folder: Path, mounts: Path = _MOUNTS) -> None:
    """WAL needs shared memory, and a network file system's fsync promises nothing we could pass on."""
    if not mounts.exists():
        return
    target = os.path.realpath(folder)
    best, kind = "", ""
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split()
        point = fields[1].replace("\\040", " ")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    if kind in _NETWORK_FILE_SYSTEMS:
        raise RadpostError(STORE_UNUSABLE, f"the data directory is on a network file system ({kind})")
