"""Who works in a shared folder: temporary files bear the mark of their process; its lock says that it lives.

Several processes of one data directory write at the same time (``radpost run``, ``radpost send``). The kernel
lets go of a lock when its holder dies, however it dies, so a mark without a lock belongs to nobody.
"""

import contextlib
import fcntl
import os
import secrets
import threading
from pathlib import Path


class Holds:
    """Marks and their locks, one file per living process in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mutex = threading.Lock()
        self._mark = ""
        self._descriptor = -1

    def mark(self) -> str:
        """Return this process's mark; it is locked from the first call until ``close`` or the process's end.

        Raises:
            OSError: the lock's file could not be made.
        """
        with self._mutex:
            while self._descriptor < 0:
                self._take(secrets.token_hex(6))
            return self._mark

    def dead(self, mark: str) -> bool:
        """Tell whether nobody holds a mark any more, nor will again; its lock's file is removed then."""
        path = self._folder / mark
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            path.unlink(missing_ok=True)
            return True
        finally:
            os.close(descriptor)

    def marks(self) -> list[str]:
        """Return the marks that have a lock's file, of the living and the dead."""
        return [path.name for path in self._folder.iterdir()]

    def close(self) -> None:
        """Let go of the mark; what still bears it is nobody's."""
        with self._mutex:
            if self._descriptor >= 0:
                (self._folder / self._mark).unlink(missing_ok=True)
                os.close(self._descriptor)
            self._descriptor = -1

    def _take(self, mark: str) -> None:
        path = self._folder / mark
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # somebody may have found the file before it was locked, and removed it
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    self._mark, self._descriptor = mark, descriptor
        finally:
            if self._descriptor != descriptor:
                os.close(descriptor)
