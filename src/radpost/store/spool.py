"""The spool: files by the SHA-256 of their content, durable before anybody says yes (DESIGN 5).

A file is written under a temporary name, synced, renamed to its hash, and the folder is synced. A failed
sync is never retried to a yes: the kernel may have dropped the pages, so the caller must start anew.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from radpost.errors import DISK_FULL, STORE_UNUSABLE, RadpostError
from radpost.store.holding import Holds

_PRIVATE_DIR: Final = stat.S_IRWXU
_PRIVATE_FILE: Final = stat.S_IRUSR | stat.S_IWUSR
_COPY_BYTES: Final = 1 << 20
_TOGETHER: Final = 16
"""So many files are open at once while they are synced."""
_MARKED: Final = re.compile(r"([0-9a-f]{12})\.")


@dataclass(frozen=True, slots=True)
class Stored:
    """A durable file of the spool."""

    sha256: str
    size: int


class Spool:
    """Files by content in ``root/objects``; work in progress in ``root/tmp``, swept at start."""

    def __init__(self, root: Path, *, reserve_bytes: int = 0) -> None:
        self.root = root
        self.tmp = root / "tmp"
        self._objects = root / "objects"
        self._held = root / "held"
        self._holds = Holds(self._held)
        self.reserve_bytes = reserve_bytes
        self._lock = threading.Lock()
        self._unsettled: dict[str, bool] = {}
        """Files that ``link`` has named and nobody has synced yet, and whether they were left meanwhile."""

    def prepare(self) -> None:
        """Make the folders with private permissions; all shards at once, so that no sync is forgotten.

        The folders above are synced too: somebody made the data directory, and a power failure must not
        take it with all that is in it.
        """
        try:
            for folder in (self.root, self.tmp, self._held, self._objects):
                folder.mkdir(mode=_PRIVATE_DIR, parents=True, exist_ok=True)
                folder.chmod(_PRIVATE_DIR)
            for shard in range(256):
                (self._objects / f"{shard:02x}").mkdir(mode=_PRIVATE_DIR, exist_ok=True)
            for folder in (self._objects, self.root, self.root.parent):
                _sync_folder(folder)
            _sync_above(self.root.parent)
        except OSError as error:
            raise trouble(error) from error

    def sweep(self) -> int:
        """Remove what dead processes left unfinished in ``tmp``; return how many files.

        What a living one holds stays: ``radpost send`` may be taking files while ``radpost run`` starts. Only
        the gateway makes files without a mark, and there is one, which sweeps before it makes any.
        """
        found = list(self.tmp.iterdir())  # before the locks are asked: each file is younger than its lock
        marks = {_mark(path) for path in found}.union(self._holds.marks())
        dead = {mark for mark in marks if not mark or self._holds.dead(mark)}
        count = 0
        for path in found:
            if _mark(path) in dead and (path.is_file() or path.is_symlink()):
                path.unlink(missing_ok=True)
                count += 1
        return count

    def close(self) -> None:
        """Let go of this process's temporary files; the next sweep removes them."""
        self._holds.close()

    def path(self, sha256: str) -> Path:
        """Return where the file with this hash stands."""
        return self._objects / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Tell whether the file with this hash is there."""
        return os.path.exists(f"{self._objects}/{sha256[:2]}/{sha256}")  # noqa: PTH110  asked for each mail

    def open(self, sha256: str) -> BinaryIO:
        """Open a stored file for reading; a missing one is a damaged store."""
        try:
            return self.path(sha256).open("rb")
        except OSError as error:
            raise RadpostError(STORE_UNUSABLE, f"spool file {sha256[:12]} cannot be read") from error

    def temporary(self, suffix: str = "") -> Path:
        """Return a fresh private name in ``tmp``; the caller creates and removes or adopts it.

        Raises:
            RadpostError: DISK_FULL or STORE_UNUSABLE.
        """
        try:
            mark = self._holds.mark()
        except OSError as error:
            raise trouble(error) from error
        return self.tmp / f"{mark}.{secrets.token_hex(16)}{suffix}"

    def writer(self) -> "SpoolWriter":
        """Start a new file; use as a context manager, ``commit`` inside."""
        return SpoolWriter(self)

    def adopt(self, files: Iterable[tuple[Path, Stored]], *, synced: bool = False) -> None:
        """Make finished temporary files durable under their hashes: sync each, rename, sync each folder once.

        ``synced``: the caller has synced their content since the last byte was written.

        Raises:
            RadpostError: DISK_FULL or STORE_UNUSABLE; nothing may then be acknowledged, and the temporary
                files are gone: a second sync of the same pages could say yes without having written them.
        """
        waiting = list(files)
        shards: set[Path] = set()
        try:
            if not synced:
                _sync_files([path for path, _ in waiting])
            for path, stored in waiting:
                target = self.path(stored.sha256)
                path.rename(target)
                shards.add(target.parent)
            for shard in shards:
                _sync_folder(shard)
        except OSError as error:
            for path, _ in waiting:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            raise trouble(error) from error

    def link(self, path: Path, stored: Stored) -> bool:
        """Give a temporary file its name without a sync; False if the name is taken (then ``adopt`` it).

        Never replaces a file: the one that is there may be durable, and this one is not yet.
        """
        try:
            os.link(path, self.path(stored.sha256))
            path.unlink()
        except FileExistsError:
            return False
        except OSError as error:
            raise trouble(error) from error
        with self._lock:
            self._unsettled[stored.sha256] = False
        return True

    def settle(self, files: Iterable[Stored]) -> None:
        """Sync files that stand under their names already, and each folder once.

        Raises:
            RadpostError: DISK_FULL or STORE_UNUSABLE; then they must be rebuilt, not synced again.
        """
        shards: set[Path] = set()
        try:
            for stored in files:
                path = self.path(stored.sha256)
                with self._lock:
                    left = self._unsettled.pop(stored.sha256, False)
                _sync_file(path)
                shards.add(path.parent)
                if left:
                    self.leave(stored.sha256)
            for shard in shards:
                _sync_folder(shard)
        except OSError as error:
            raise trouble(error) from error

    def leave(self, sha256: str) -> None:
        """Say that nobody reads a file soon: its pages in memory are worth more to the next one.

        A gateway reads each byte once or twice within seconds, and never again. Pages that are given back
        at once are taken by what comes next; else every study washes all else out of the page cache. Only
        speed depends on it. Pages that are not on the disk yet go when ``settle`` has synced them.
        """
        with self._lock:
            if sha256 in self._unsettled:
                self._unsettled[sha256] = True
                return
        with contextlib.suppress(OSError):
            descriptor = os.open(self.path(sha256), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)

    def add_file(self, source: Path) -> Stored:
        """Copy a foreign file into the spool, durably; the source stays untouched."""
        try:
            with source.open("rb") as reader, self.writer() as writer:
                while chunk := reader.read(_COPY_BYTES):
                    writer.write(chunk)
                return writer.commit()
        except OSError as error:
            raise trouble(error) from error

    def remove(self, sha256: str) -> None:
        """Remove a file that the database no longer knows."""
        with self._lock:
            self._unsettled.pop(sha256, None)
        self.path(sha256).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Return the free space of the file system for an ordinary user."""
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize

    def require_space(self, wanted: int = 0) -> None:
        """Refuse new data below the reserve.

        Raises:
            RadpostError: DISK_FULL.
        """
        free = self.free_bytes()
        if free < self.reserve_bytes + wanted:
            raise RadpostError(
                DISK_FULL, f"{free // 1_000_000} MB free, {self.reserve_bytes // 1_000_000} kept"
            )


class SpoolWriter:
    """A file in the making; hashed while it is written. Leaving the block without ``commit`` removes it."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._path = spool.temporary()
        self._hash = hashlib.sha256()
        self._spent = False
        self._kept = False
        self.size = 0
        try:
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE_FILE
            )
        except OSError as error:
            raise trouble(error) from error
        self._file = os.fdopen(descriptor, "wb", buffering=1 << 18)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append; raises RadpostError(DISK_FULL) when the disk is full."""
        try:
            self._file.write(data)
        except OSError as error:
            self._spent = True
            raise trouble(error) from error
        self._hash.update(data)
        count = data.nbytes if isinstance(data, memoryview) else len(data)
        self.size += count
        return count

    def written(self) -> Path:
        """Return the file as it stands, to be read before it is kept; nothing is durable yet."""
        try:
            self._file.flush()
        except OSError as error:
            self._spent = True
            raise trouble(error) from error
        return self._path

    def commit(self) -> Stored:
        """Sync, name by hash, sync the folder; the file is durable when this returns.

        There is no second try, neither after a failed write nor after a failed sync.
        """
        if self._spent:
            raise RadpostError(STORE_UNUSABLE, "this file failed before, or is finished")
        self._spent = True
        try:
            self._file.flush()
            os.fdatasync(self._file.fileno())
            self._file.close()
            stored = Stored(self._hash.hexdigest(), self.size)
            target = self._spool.path(stored.sha256)
            self._path.rename(target)
            _sync_folder(target.parent)
        except OSError as error:
            raise trouble(error) from error
        self._kept = True
        return stored

    def finish(self) -> tuple[Path, Stored]:
        """End writing without a sync; the file is the caller's now, to be given to ``Spool.adopt``."""
        if self._spent:
            raise RadpostError(STORE_UNUSABLE, "this file failed before, or is finished")
        self._spent = True
        try:
            self._file.close()
        except OSError as error:
            raise trouble(error) from error
        self._kept = True
        return self._path, Stored(self._hash.hexdigest(), self.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        if not self._kept:
            self._path.unlink(missing_ok=True)


def _mark(path: Path) -> str:
    """Return the mark in a temporary name; empty if it bears none."""
    found = _MARKED.match(path.name)
    return found[1] if found else ""


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _sync_files(paths: Sequence[Path]) -> None:
    """Sync many files: the writing of all begins first, so that they share commits of the file system."""
    for start in range(0, len(paths), _TOGETHER):
        with contextlib.ExitStack() as opened:
            descriptors = []
            for path in paths[start : start + _TOGETHER]:
                descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                opened.callback(os.close, descriptors[-1])
            for descriptor in descriptors if len(descriptors) > 1 else ():
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # begins to write dirty pages
            for descriptor in descriptors:
                os.fdatasync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_above(folder: Path) -> None:
    """Sync the folders above, up to the mount point or to what we may not read: that was there before us."""
    device = folder.stat().st_dev
    for parent in folder.resolve().parents:
        if parent.stat().st_dev != device:
            return
        try:
            _sync_folder(parent)
        except PermissionError:
            return


def trouble(error: OSError) -> RadpostError:
    """Return what a failed system call of the spool means."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return RadpostError(DISK_FULL, os.strerror(error.errno))
    return RadpostError(STORE_UNUSABLE, os.strerror(error.errno or errno.EIO))
