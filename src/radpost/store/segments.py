"""Durable at once, filed later: received objects are first appended to recycled segment files.

A new file costs the file system a journal commit for its data and one for its name, and under load each of
them waits for what every other process is writing. A segment is preallocated and overwritten in place, so
that one ``fdatasync`` makes an object durable. The file under its hash is made without a sync at the same
time and settled soon after, many at once; until then the row of its blob names the record from which it can
be rebuilt.
"""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from radpost.errors import INTERNAL, RadpostError
from radpost.store.spool import Stored, trouble

SEGMENTS: Final = 4
SEGMENT_BYTES: Final = 24 << 20
_ALIGNMENT: Final = 4096
"""Records begin on pages, so that no page of an earlier record is written again."""
_PIECE: Final = 1 << 20
_ZEROS: Final = bytes(1 << 16)


@dataclass(frozen=True, slots=True)
class Record:
    """Where in the segments an object lies; ``size`` is that of its file."""

    segment: int
    offset: int
    size: int


class Segments:
    """A ring of segment files; a segment is used again when all its records are released."""

    def __init__(self, folder: Path, *, count: int = SEGMENTS, size: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._size = size
        self._lock = threading.Lock()
        self._live = [0] * count
        self._current = 0
        self._end = 0
        self._files: list[int] = []

    @property
    def ready(self) -> bool:
        """Whether the segments are there; without them every object takes the long way."""
        return bool(self._files)

    def prepare(self) -> None:
        """Make the files, once: written through with zeros, so that later no block is allocated anew.

        Raises:
            RadpostError: DISK_FULL or STORE_UNUSABLE.
        """
        files: list[int] = []
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            for number in range(len(self._live)):
                files.append(os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                if os.fstat(files[-1]).st_size != self._size:
                    self._fill(files[-1])
            for folder in (self._folder, self._folder.parent):
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        except OSError as error:
            for number, descriptor in enumerate(files):
                os.close(descriptor)
                self._path(number).unlink(missing_ok=True)
            raise trouble(error) from error
        self._files = files

    @property
    def total(self) -> int:
        """Return how much disk the segments take, in bytes."""
        return self._size * len(self._live)

    def append(self, source: Path, stored: Stored) -> Record | None:
        """Write a file's content and sync it; None if there is no room now: then the file itself is synced.

        Raises:
            RadpostError: DISK_FULL or STORE_UNUSABLE; the record is worth nothing then.
        """
        record = self._reserve(stored.size)
        if record is None:
            return None
        try:
            self._copy(source, record)
            os.fdatasync(self._files[record.segment])
        except OSError as error:
            self.release(record)
            raise trouble(error) from error
        except BaseException:
            self.release(record)
            raise
        return record

    def release(self, record: Record) -> None:
        """Give a record's place back; only after its file is durable, or if nobody was told yes."""
        with self._lock:
            self._live[record.segment] -= 1

    def read(self, record: Record) -> bytes:
        """Return a record's content, to be checked against the hash before it is believed."""
        with self._path(record.segment).open("rb") as file:
            file.seek(record.offset)
            return file.read(record.size)

    def close(self) -> None:
        """Close the files."""
        files, self._files = self._files, []
        for descriptor in files:
            os.close(descriptor)

    def _reserve(self, size: int) -> Record | None:
        with self._lock:
            if not self._files or not 0 < size <= self._size // 2:
                return None
            if self._end + size > self._size and not self._advance():
                return None
            record = Record(self._current, self._end, size)
            self._end += -(-size // _ALIGNMENT) * _ALIGNMENT
            self._live[self._current] += 1
            return record

    def _advance(self) -> bool:
        free = next((number for number, live in enumerate(self._live) if not live), None)
        if free is None:
            return False
        self._current, self._end = free, 0
        return True

    def _copy(self, source: Path, record: Record) -> None:
        reader = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            done = 0
            while done < record.size:
                piece = os.pread(reader, min(_PIECE, record.size - done), done)
                if not piece:
                    raise RadpostError(INTERNAL, "a received file is shorter than it was")
                done += os.pwrite(self._files[record.segment], piece, record.offset + done)
        finally:
            os.close(reader)

    def _fill(self, descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        for start in range(0, self._size, len(_ZEROS)):
            os.pwrite(descriptor, _ZEROS, start)
        os.ftruncate(descriptor, self._size)
        os.fsync(descriptor)

    def _path(self, number: int) -> Path:
        return self._folder / f"segment-{number}"
