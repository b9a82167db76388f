"""Plaintext that is private: in memory up to a limit, else in an unlinked file (DESIGN 5, 6).

`PlaintextWriter` collects what an engine produces; nobody can read it before `PlaintextWriter.finish`,
which the engine calls only when the integrity of the message is proven.
"""

import io
import mmap
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from radpost.openpgp.fileview import MAPPED, FileView

_FIRST: Final = 1 << 20
_KEPT: Final = 2
"""Buffers that wait for the next plaintext: a fresh one costs a page fault for every 4 KiB."""
_KEPT_BYTES: Final = 16 << 20
_STEP: Final = 1 << 20
_waiting: list[bytearray] = []


def _buffer() -> bytearray:
    """Return a buffer that was used before, or a new one."""
    try:
        return _waiting.pop()
    except IndexError:
        return bytearray(_FIRST)


def _give_back(buffer: bytearray) -> None:
    """Keep a buffer for the next plaintext, unless a reader still looks at this one."""
    if len(_waiting) >= _KEPT or len(buffer) > _KEPT_BYTES:
        return
    try:
        buffer.append(buffer.pop())  # refused while there is a view of it
    except BufferError:
        return
    _waiting.append(buffer)


class _MemoryReader(io.RawIOBase):
    """A read-only file over a buffer."""

    def __init__(self, view: memoryview | FileView) -> None:
        super().__init__()
        self._view = view
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._view)}[whence]
        if base + offset < 0:
            raise ValueError("negative position")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, target: "bytearray | memoryview") -> int:  # type: ignore[override]  # typeshed's buffer
        piece = self._view[self._at : self._at + len(target)]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


class Plaintext:
    """The released content of a message; close it (or use it as a context manager) to drop the data."""

    def __init__(self, memory: bytearray | None, file: BinaryIO | None, size: int) -> None:
        self._memory = memory
        """The data and perhaps room behind them."""
        self._file = file
        self._map: mmap.mmap | None = None
        self.size = size

    @property
    def in_memory(self) -> bool:
        """Whether the data are held in memory rather than in a file."""
        return self._memory is not None

    def view(self) -> "memoryview | mmap.mmap | FileView":
        """Return all of it as a buffer; slicing copies nothing unless it is large."""
        if self._memory is not None:
            return memoryview(self._memory)[: self.size].toreadonly()
        if self._file is None:
            raise ValueError("the plaintext is closed")
        if self.size > MAPPED:
            return FileView(self._file, self.size)
        if self._map is None:
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._map

    def open(self) -> BinaryIO:
        """Return a seekable reader that starts at 0; several may be used at once."""
        view = self.view()
        whole = view if isinstance(view, FileView) else memoryview(view)
        return io.BufferedReader(_MemoryReader(whole), 1 << 16)

    def close(self) -> None:
        """Drop the data; readers and views that are still held end with them."""
        memory, self._memory = self._memory, None
        if memory is not None:
            _give_back(memory)
        if self._map is not None:
            # a view still held by a caller keeps the mapping until it is dropped
            with suppress(BufferError):
                self._map.close()
            self._map = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PlaintextWriter:
    """Collects plaintext that nobody may see yet."""

    def __init__(self, temp: Path, memory_limit: int) -> None:
        self._temp = temp
        self._limit = memory_limit
        self._memory: bytearray | None = _buffer()
        self._file: BinaryIO | None = None
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append; beyond the limit everything moves to an unlinked file with mode 0600."""
        at, self.size = self.size, self.size + len(data)
        if self._memory is not None:
            if self.size <= self._limit:
                self._keep(at, data)
                return
            self._file = tempfile.TemporaryFile(dir=self._temp, buffering=0)  # noqa: SIM115  # lives on in Plaintext
            with memoryview(self._memory) as view:
                _write_all(self._file, view[:at])
            self._release()
        if self._file is None:
            raise ValueError("the writer is closed")
        _write_all(self._file, data)

    def finish(self) -> Plaintext:
        """Release what was collected."""
        result = Plaintext(self._memory, self._file, self.size)
        self._memory, self._file = None, None
        return result

    def discard(self) -> None:
        """Drop what was collected; the file has no name, so nothing stays behind."""
        self._release()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _keep(self, at: int, data: bytes | bytearray | memoryview) -> None:
        assert self._memory is not None
        if self.size > len(self._memory):
            # by a quarter at a time and no further than the limit
            room = min(max(self.size, len(self._memory) * 5 // 4 + _STEP), self._limit)
            grown = bytearray(room)
            with memoryview(grown) as to, memoryview(self._memory) as data_so_far:
                to[:at] = data_so_far[:at]
            self._memory = grown
        # assigning to a slice of the array itself would copy twice
        with memoryview(self._memory) as view:
            view[at : self.size] = data

    def _release(self) -> None:
        memory, self._memory = self._memory, None
        if memory is not None:
            _give_back(memory)


def _write_all(file: BinaryIO, data: bytes | bytearray | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
