"""Where mails come from: files, mailboxes of one file (RFC 4155 A), Maildirs, folders, standard input.

What an input is shows in its content and structure; only in a folder, where other files may lie, a file must
look like a mail to be taken. Nothing is read here but the first bytes of each file and the marks of an mbox.
"""

import mmap
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from radpost.errors import MAIL_UNREADABLE, RESOURCE_LIMIT, RadpostError
from radpost.mime.coding import Buffer, find_all
from radpost.openpgp.fileview import MAPPED, FileView

STDIN: Final = "-"
LARGEST_STREAM: Final = 8 << 30
_HEAD: Final = 4096
_FIELD: Final = re.compile(rb"[!-9;-~]+[ \t]*:")
_MARK: Final = re.compile(rb"From [^\r\n]{1,500}\r?\n(?=[!-9;-~]+[ \t]*:)")
_KNOWN: Final = re.compile(
    rb"^(?:from|to|date|subject|received|return-path|message-id|mime-version|content-type|delivered-to):",
    re.IGNORECASE | re.MULTILINE,
)
_SUFFIXES: Final = (".eml", ".mbox", ".mbx")


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail: the names a person knows it by, and where its bytes lie."""

    files: tuple[str, ...]
    """The inputs that make it up: several once fragments are joined."""
    path: Path
    start: int
    end: int
    position: int
    """Its place among the inputs."""
    depth: int = 0
    """How often fragments were joined to get it (RFC 2046 5.2.2)."""
    defects: tuple[str, ...] = ()

    @contextmanager
    def buffer(self) -> Iterator[Buffer]:
        """Give the mail as a buffer: mapped, or read slice by slice where it is large."""
        size = self.end - self.start
        if size == 0:
            yield b""
        elif size > MAPPED:
            yield self.view()
        else:
            try:
                with self.path.open("rb") as file:
                    whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                raise unreadable(error) from error
            # not closed by hand: an exception may still hold slices; the mapping ends with the last of them
            yield memoryview(whole)[self.start : self.end]

    def view(self) -> Buffer:
        """Return the mail as a buffer that holds neither memory nor a file descriptor."""
        return FileView(self.path, self.end - self.start, self.start)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An input that is no mail to us: it does not exist, or may not be read."""

    file: str
    position: int
    error: RadpostError


def several(paths: str | Path | Iterable[str | Path]) -> tuple[str | Path, ...]:
    """Return paths as they are given to the public functions; one alone is one, not its letters."""
    return (paths,) if isinstance(paths, str | Path) else tuple(paths)


def find_mails(
    inputs: str | Path | Iterable[str | Path], *, temp: Path, stdin: BinaryIO | None = None
) -> Iterator[Mail | Unreadable]:
    """Yield the mails of all inputs in their order; the same file is taken once.

    ``temp`` is a private directory for what comes as a stream.
    """
    seen: set[tuple[int, int]] = set()
    position = 0
    for given in several(inputs):
        for name, path in _files(str(given), temp, stdin, position):
            if isinstance(path, RadpostError):
                found: Iterator[Mail | Unreadable] = iter((Unreadable(name, position, path),))
            else:
                found = _mails(name, path, seen)
            for one in found:
                yield replace(one, position=position)
                position += 1


def unreadable(error: OSError | ValueError) -> RadpostError:
    """Return the reason for an input that cannot be read."""
    return RadpostError(MAIL_UNREADABLE, error.strerror or "" if isinstance(error, OSError) else str(error))


def _files(
    given: str, temp: Path, stdin: BinaryIO | None, number: int
) -> Iterator[tuple[str, Path | RadpostError]]:
    """Yield the names and files of one input."""
    try:
        if given == STDIN:
            yield given, _copied(stdin, temp / f"in-{number}")
            return
        path = Path(given)
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            for file in _below(path):
                yield str(file), file
        elif stat.S_ISFIFO(kind):
            with path.open("rb") as pipe:
                yield given, _copied(pipe, temp / f"in-{number}")
        elif stat.S_ISREG(kind):
            yield given, path
        else:
            yield given, RadpostError(MAIL_UNREADABLE, "neither a file nor a folder")
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL byte
        yield given, unreadable(error)
    except RadpostError as error:
        yield given, error


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that are mails, in the order of their names; of a Maildir all."""
    if (folder / "cur").is_dir() and (folder / "new").is_dir():
        for box in ("new", "cur"):
            yield from (file for file in sorted((folder / box).iterdir()) if _is_plain(file))
        return
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.is_symlink():
            continue  # a link may lead back up
        if entry.is_dir():
            yield from _below(entry)
        elif _is_plain(entry) and (entry.suffix.lower() in _SUFFIXES or _looks_like_mail(entry)):
            yield entry


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def _looks_like_mail(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return _MARK.match(head) is not None or (_FIELD.match(head) is not None and bool(_KNOWN.search(head)))


def _mails(name: str, path: Path, seen: set[tuple[int, int]]) -> Iterator[Mail | Unreadable]:
    """Yield the mails of one file: one, or those of an mbox."""
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if (facts.st_dev, facts.st_ino) in seen:
                return
            seen.add((facts.st_dev, facts.st_ino))
            head = file.read(_HEAD)
    except OSError as error:
        yield Unreadable(name, 0, unreadable(error))
        return
    if _MARK.match(head) is None:
        yield Mail((name,), path, 0, facts.st_size, 0)
        return
    ranges = list(_mbox(FileView(path, facts.st_size)))
    for number, (start, end) in enumerate(ranges, 1):
        yield Mail((name if len(ranges) == 1 else f"{name}#{number}",), path, start, end, 0)


def _mbox(buffer: Buffer) -> Iterator[tuple[int, int]]:
    """Yield the ranges of the mails of an mbox (RFC 4155 A): a mark stands behind an empty line.

    A mark must be followed by a header field: text that begins with "From" begins no mail.
    """
    size = len(buffer)
    start: int | None = None
    for hit in (-1, *find_all(buffer, b"\nFrom ", 0, size)):
        at = hit + 1
        before = bytes(buffer[max(0, hit - 2) : at])
        if at and not before.endswith((b"\n\n", b"\n\r\n")):
            continue
        mark = _MARK.match(bytes(buffer[at : at + _HEAD]))
        if mark is None:
            continue
        if start is not None:
            # the empty line belongs to the mark
            yield start, hit - 1 if before.endswith(b"\r\n") else hit
        start = at + mark.end()
    if start is not None:
        yield start, size


def _copied(source: BinaryIO | None, target: Path) -> Path:
    """Copy a stream into a private file: mails are read more than once."""
    if source is None:
        raise RadpostError(MAIL_UNREADABLE, "there is no standard input")
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    left = LARGEST_STREAM
    with os.fdopen(descriptor, "wb") as file:
        while data := source.read(1 << 20):
            left -= len(data)
            if left < 0:
                raise RadpostError(RESOURCE_LIMIT, "the standard input does not end")
            file.write(data)
    return target
