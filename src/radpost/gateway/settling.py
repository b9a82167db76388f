"""Received objects are durable in a segment at once; their files are settled in the background (DESIGN 5)."""

import threading
from pathlib import Path
from typing import Final

import structlog

from radpost.errors import STORE_UNUSABLE, RadpostError
from radpost.store import journal, settling
from radpost.store.database import Database
from radpost.store.segments import Record, Segments
from radpost.store.spool import Spool, Stored

WARM_UP: Final = 8
"""So many objects take the long way before the segments are made: not everybody sends studies."""
RETRY_AFTER: Final = 1000
"""So many objects later the disk is asked again."""
SPARE: Final = 4
"""The segments take at most this fraction of what is free."""
PAUSE_SECONDS: Final = 0.25
MOST_BYTES: Final = 24 << 20


_LOG = structlog.stdlib.get_logger("radpost")


class Settler:
    """Makes received files durable the fast way where it can, and settles them soon after."""

    def __init__(
        self,
        database: Database,
        spool: Spool,
        segments: Segments | None = None,
        *,
        warm_up: int = WARM_UP,
    ) -> None:
        self._database = database
        self._spool = spool
        self._segments = segments or Segments(spool.root / "segments")
        self._warm_up = warm_up
        self._lock = threading.Lock()
        self._waiting: list[settling.Unsettled] = []
        self._bytes = 0
        self._seen = 0
        self._wanted = threading.Event()

    def make_durable(self, path: Path, stored: Stored, *, synced: bool) -> Record | None:
        """Make a received file durable under its hash; the record is to be noted with its blob.

        Raises:
            RadpostError: DISK_FULL or STORE_UNUSABLE; nothing may then be acknowledged.
        """
        if not self._segments.ready or not self._spool.link(path, stored):
            self._spool.adopt([(path, stored)], synced=synced)
            self._count()
            return None
        record = self._segments.append(self._spool.path(stored.sha256), stored)
        if record is None:
            self._spool.settle([stored])
        return record

    def noted(self, stored: Stored, record: Record | None) -> None:
        """Take over a file whose blob is committed; call after the commit."""
        if record is None:
            return
        with self._lock:
            self._waiting.append((stored, record))
            self._bytes += stored.size
            full = self._bytes >= MOST_BYTES
        if full:
            self._wanted.set()

    def dropped(self, record: Record | None) -> None:
        """Give back the record of a file whose blob could not be committed."""
        if record is not None:
            self._segments.release(record)

    def recover(self, now: float) -> None:
        """Rebuild what a crash left in the segments, before anybody reads it."""
        _, lost = settling.recover(self._database, self._spool, self._segments)
        if lost:
            with self._database.write() as connection:
                for sha256 in lost:
                    subject = f"spool file {sha256[:12]}"
                    journal.raise_alarm(connection, STORE_UNUSABLE.code, subject, "", now)

    def run(self, stopping: threading.Event) -> None:
        """Settle until told to stop, then once more."""
        while not stopping.is_set():
            self._wanted.wait(PAUSE_SECONDS)
            self._wanted.clear()
            if self._seen >= self._warm_up and not self._segments.ready:
                self._warm()
            self.settle()
        self.settle()

    def settle(self) -> None:
        """Settle what waits now."""
        with self._lock:
            waiting, self._waiting, self._bytes = self._waiting, [], 0
        if not waiting:
            return
        try:
            settling.settle(self._database, self._spool, self._segments, waiting)
        except RadpostError:
            with self._lock:
                self._waiting.extend(waiting)
            raise

    def close(self) -> None:
        """Close the segment files."""
        self._segments.close()

    def _warm(self) -> None:
        """Make the segments if the disk has room to spare; if not, everything goes on the long way."""
        self._seen = -RETRY_AFTER
        try:
            self._spool.require_space(SPARE * self._segments.total)
            self._segments.prepare()
        except RadpostError as error:
            _LOG.info("no segments for now", code=error.reason.code)

    def _count(self) -> None:
        with self._lock:
            self._seen += 1
