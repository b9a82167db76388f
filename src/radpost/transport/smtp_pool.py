"""A few long-lived connections to one submission server, shared by threads.

More than two connections buy nothing at a mail server (measured), so the default is two.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from radpost.errors import SERVER_UNREACHABLE
from radpost.transport.failure import TransportError
from radpost.transport.smtp import Connection, ServerMemory


class Pool:
    """Lends connections; a dead, worn or long idle one is replaced before anybody sees it."""

    def __init__(
        self,
        opener: Callable[[ServerMemory], Connection],
        *,
        limit: int = 2,
        mails_per_connection: int = 200,
        trusted_for: float = 10.0,
        idle_limit: float = 120.0,
        memory: ServerMemory | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Lend at most ``limit`` connections made by ``opener``.

        One that rested longer than ``trusted_for`` seconds is asked by NOOP first, one that rested longer
        than ``idle_limit`` is closed (servers do so after five minutes, middleboxes earlier and silently).
        """
        self._opener = opener
        self._per_connection = mails_per_connection
        self._trusted_for = trusted_for
        self._idle_limit = idle_limit
        self._clock = clock
        self._slots = threading.BoundedSemaphore(limit)
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Connection]] = []
        self._memory = memory or ServerMemory()
        self._closed = False

    @property
    def memory(self) -> ServerMemory:
        """What all connections together learned; keep it over a restart."""
        with self._lock:
            return self._memory

    @contextlib.contextmanager
    def lease(self, timeout: float | None = None) -> Iterator[Connection]:
        """Lend a connection (not necessarily open yet); an exception inside closes it."""
        if not self._slots.acquire(timeout=timeout):
            raise TransportError(SERVER_UNREACHABLE, "all connections to the server are busy")
        try:
            connection = self._take()
            before = connection.memory
            try:
                yield connection
            except BaseException:
                self._learn(before, connection.memory)
                connection.close()
                raise
            self._learn(before, connection.memory)
            self._give_back(connection)
        finally:
            self._slots.release()

    def prune(self) -> None:
        """Close what has been idle too long; call it now and then."""
        with self._lock:
            limit = self._clock() - self._idle_limit
            old = [connection for since, connection in self._idle if since < limit]
            self._idle = [entry for entry in self._idle if entry[0] >= limit]
        for connection in old:
            connection.quit()

    def close(self) -> None:
        """Close all idle connections; lent ones are closed when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.quit()

    def _take(self) -> Connection:
        while True:
            with self._lock:
                memory = self._memory
                since, connection = self._idle.pop() if self._idle else (0.0, None)
            if connection is None:
                return self._opener(memory)
            rested = self._clock() - since
            if rested <= self._idle_limit and (rested <= self._trusted_for or connection.check()):
                connection.memory = memory
                return connection
            connection.quit()

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            keep = connection.is_open and connection.mails < self._per_connection and not self._closed
            if keep:
                self._idle.append((self._clock(), connection))
        if not keep:
            connection.quit()

    def _learn(self, before: ServerMemory, after: ServerMemory) -> None:
        if after == before:
            return
        with self._lock:
            self._memory = replace(
                self._memory,
                bdat=self._memory.bdat and after.bdat,
                bdat_losses=max(0, self._memory.bdat_losses + after.bdat_losses - before.bdat_losses),
                null_sender=self._memory.null_sender and after.null_sender,
            )
