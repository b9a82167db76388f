"""A large file as a buffer without mapping it: a slice is read when it is asked for.

The pages of a mapped file count as memory of the process while they are resident; of a mail or a plaintext
of hundreds of megabytes all of them would be (DESIGN invariant 8). Below `MAPPED` a mapping is cheaper.
"""

import os
from pathlib import Path
from typing import BinaryIO, Final

from radpost.errors import STORE_UNUSABLE, RadpostError

MAPPED: Final = 64 << 20
"""Files up to this size may be mapped."""


class FileView:
    """Has a length and can be sliced, as readers of mails want it; a slice is a copy."""

    def __init__(self, source: Path | BinaryIO, size: int, offset: int = 0) -> None:
        """With a path the file is opened for each slice: many views need no file descriptors.

        ``offset`` is where the view begins in the file.
        """
        self._source = source
        self._size = size
        self._offset = offset

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, key: slice, /) -> bytes:
        start, stop, step = key.indices(self._size)
        if step != 1:
            raise ValueError("a file is read forwards")
        start, stop = start + self._offset, stop + self._offset
        try:
            if not isinstance(self._source, Path):
                return _read(self._source.fileno(), start, stop)
            descriptor = os.open(self._source, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return _read(descriptor, start, stop)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise RadpostError(STORE_UNUSABLE, f"a stored file cannot be read ({error.strerror})") from error


def _read(descriptor: int, start: int, stop: int) -> bytes:
    pieces = []
    while start < stop:
        piece = os.pread(descriptor, stop - start, start)
        if not piece:
            raise RadpostError(STORE_UNUSABLE, "a stored file is shorter than it was")
        pieces.append(piece)
        start += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
