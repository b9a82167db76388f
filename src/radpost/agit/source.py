"""OpenPGP data of a mail as a seekable file: without a copy where they stand unencoded."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from radpost.mime.coding import IDENTITY, Buffer
from radpost.mime.pgp import Payload, data
from radpost.openpgp.fileview import FileView
from radpost.openpgp.plaintext import PlaintextWriter

_READ: Final = 1 << 18


@contextmanager
def readable(payload: Payload, buffer: Buffer, temp: Path, memory: int) -> Iterator[BinaryIO]:
    """Give the data as a file.

    What a transfer encoding hides (a mail server re-encoded the data part) is decoded into memory up to
    ``memory`` bytes, else into an unlinked file.
    """
    whole = (payload.start, payload.end) == (payload.entity.body_start, payload.entity.body_end)
    if not whole or (payload.entity.encoding in IDENTITY and not payload.skipped):
        with io.BufferedReader(_Window(buffer, payload.start, payload.end), _READ) as reader:
            yield cast("BinaryIO", reader)
        return
    writer = PlaintextWriter(temp, memory)
    try:
        for chunk in data(payload, buffer):
            writer.write(chunk)
    except BaseException:
        writer.discard()
        raise
    with writer.finish() as decoded:
        yield decoded.open() if decoded.size else io.BytesIO()


class _Window(io.RawIOBase):
    """A read-only, seekable file over a range of a buffer."""

    def __init__(self, buffer: Buffer, start: int, end: int) -> None:
        super().__init__()
        self._buffer = buffer if isinstance(buffer, FileView) else memoryview(cast("bytes", buffer))
        self._start = start
        self._size = end - start
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, target: "bytearray | memoryview") -> int:  # type: ignore[override]  # typeshed's buffer
        at = min(self._at, self._size)
        piece = self._buffer[self._start + at : self._start + min(self._size, at + len(target))]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        if isinstance(self._buffer, memoryview):
            self._buffer.release()
        super().close()
