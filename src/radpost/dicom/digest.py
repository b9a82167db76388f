"""Hashing while there is nothing better to do, and durability begun before it is waited for.

A peer waits for the response to each C-STORE before it sends the next object, so what counts is the time
from its last byte to our response. Therefore an object is received and written first; its two hashes are
computed while the peer is not sending, and the rest of them while the disk is busy, side by side. (A thread
that takes piece by piece was tried: it costs more in wake-ups than it gains.)
"""

import ctypes
import functools
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, Protocol

_SYNC_FILE_RANGE_WRITE: Final = 2
_WORTH_A_THREAD: Final = 1 << 18


class Hash(Protocol):
    """What ``hashlib`` gives."""

    def update(self, data: memoryview, /) -> None:
        """Take more data."""


class Digester:
    """Lends buffers to be filled, and feeds what is in them to hashes later; bounded in memory.

    ``space``, fill, ``submit``, and again; ``step`` when there is time; ``finish`` before the hashes are
    read.
    """

    def __init__(self, chunk: int, depth: int = 6) -> None:
        self._chunk = chunk
        self._depth = depth
        self._buffers = 0
        self._current: memoryview | None = None
        self._free: list[memoryview] = []
        self._backlog: deque[tuple[memoryview, memoryview, tuple[Hash, ...]]] = deque()
        self._helper: _Helper | None = None

    def space(self) -> memoryview:
        """Return a buffer to be filled, the same until something is submitted."""
        if self._current is None:
            if not self._free and self._buffers < self._depth:
                self._buffers += 1
                self._free.append(memoryview(bytearray(self._chunk)))
            if not self._free:
                self.step()
            self._current = self._free.pop()
        return self._current

    def submit(self, piece: memoryview, *hashes: Hash) -> None:
        """Take a piece of the buffer lent last; the buffer must not be touched any more."""
        assert self._current is not None
        self._backlog.append((self._current, piece, hashes))
        self._current = None

    def step(self) -> bool:
        """Hash the oldest piece; False if there is none."""
        if not self._backlog:
            return False
        buffer, piece, hashes = self._backlog.popleft()
        for one in hashes:
            one.update(piece)
        self._free.append(buffer)
        return True

    def finish(self) -> None:
        """Hash what is left: the last hash of each piece here, the others in a helping thread."""
        if sum(len(piece) for _, piece, _ in self._backlog) >= _WORTH_A_THREAD:
            if self._helper is None:
                self._helper = _Helper()
            rest = [(piece, hashes[:-1]) for _, piece, hashes in self._backlog]
            self._helper.start(rest)
            for _, piece, hashes in self._backlog:
                hashes[-1].update(piece)
            self._helper.join()
            self.forget()
        while self.step():
            pass

    def close(self) -> None:
        """End the helping thread."""
        if self._helper is not None:
            self._helper.close()
            self._helper = None

    def forget(self) -> None:
        """Drop what is left, because nobody wants the hashes any more."""
        while self._backlog:
            self._free.append(self._backlog.popleft()[0])


_Pieces = list[tuple[memoryview, tuple[Hash, ...]]]


class _Helper:
    """One thread that hashes what it is given, with the interpreter's lock released."""

    def __init__(self) -> None:
        self._work: SimpleQueue[_Pieces | None] = SimpleQueue()
        self._done: SimpleQueue[None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="dicom-hash", daemon=True)
        self._thread.start()

    def start(self, pieces: _Pieces) -> None:
        self._work.put(pieces)

    def join(self) -> None:
        self._done.get()

    def close(self) -> None:
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (pieces := self._work.get()) is not None:
            for piece, hashes in pieces:
                for one in hashes:
                    one.update(piece)
            self._done.put(None)


def begin_writing(fd: int) -> None:
    """Have the kernel start to write a file's pages, without waiting (sync_file_range(2)).

    Only speed depends on it: the fdatasync that follows waits for the same pages and says what failed.
    """
    call = _sync_file_range()
    if call is not None:
        call(fd, 0, 0, _SYNC_FILE_RANGE_WRITE)


@functools.cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None  # not Linux
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    found: Callable[[int, int, int, int], int] = function
    return found
