"""Open the database; short write transactions, one writer per process, many readers (DESIGN 5)."""

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import QueuePool

from radpost.errors import DISK_FULL, STORE_UNUSABLE, RadpostError

HEAD: Final = "0001"
"""The migration that this code needs."""

BUSY_TIMEOUT_SECONDS: Final = 30
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
        self._write_lock = threading.RLock()
        self._writer: Connection | None = None

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

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Run a write transaction: committed and durable when the block ends, rolled back if it raises."""
        with self._write_lock:
            try:
                if self._writer is None:
                    self._writer = self._engine.connect()
                connection = self._writer
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
                connection.exec_driver_sql("COMMIT")
            except BaseException as error:
                self._abandon()
                if _is_trouble(error):
                    raise _trouble(error) from error
                raise

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Run a read transaction on the last committed state."""
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql("BEGIN")
                try:
                    yield connection
                finally:
                    connection.exec_driver_sql("ROLLBACK")
        except (DatabaseError, sqlite3.DatabaseError) as error:
            if _is_trouble(error):
                raise _trouble(error) from error
            raise

    def close(self) -> None:
        """Close all connections."""
        with self._write_lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        self._engine.dispose()

    def _abandon(self) -> None:
        connection, self._writer = self._writer, None
        if connection is None:
            return
        try:
            connection.exec_driver_sql("ROLLBACK")
        except DatabaseError:
            connection.invalidate()  # nobody shall get it from the pool in whatever state it is
        connection.close()


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
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA cache_size = -8000")
        cursor.close()

    return engine


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
