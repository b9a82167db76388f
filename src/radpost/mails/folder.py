"""A folder for mails: private files under neutral names, and nothing of a transmission that failed."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, Self

from radpost.errors import BAD_COMMAND, DISK_FULL, FOLDER_UNUSABLE, RadpostError

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_MAILS: Final = "mail-*.eml"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class MailFolder:
    """Where `radpost pack` writes; a context manager that takes back what it wrote if the job fails."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written: list[Path] = []

    def prepare(self) -> None:
        """Make the folder (0700); one with mails of another transmission is refused.

        Raises:
            RadpostError: BAD_COMMAND.
        """
        with told(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if next(self.path.glob(_MAILS), None) is not None:
                raise RadpostError(BAD_COMMAND, f"{self.path} holds mails already; name an empty folder")

    def create(self, name: str) -> BinaryIO:
        """Return a new private file (0600); it is gone again if the job fails."""
        path = self.path / name
        with told(self.path):
            descriptor = os.open(path, _FLAGS, 0o600)
        self._written.append(path)
        return os.fdopen(descriptor, "w+b")

    def write(self, name: str, fill: Callable[[BinaryIO], None]) -> int:
        """Write a whole file and return its size."""
        with told(self.path), self.create(name) as file:
            fill(file)
            return file.tell()

    def rename(self, old: str, new: str) -> None:
        """Give a file its name, once it is whole."""
        with told(self.path):
            (self.path / old).rename(self.path / new)
        self._written.append(self.path / new)

    def remove(self, name: str) -> None:
        """Remove a file."""
        with told(self.path):
            (self.path / name).unlink()

    def take_back(self) -> None:
        """Remove all that was written."""
        for path in self._written:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        self._written.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.take_back()


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what the system says of a folder into a reason."""
    try:
        yield
    except OSError as error:
        why = error.strerror or "it cannot be used"
        reason = DISK_FULL if error.errno in _FULL else FOLDER_UNUSABLE
        raise RadpostError(reason, f"{path}: {why}") from error
