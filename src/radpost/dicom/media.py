"""Which files are meant by the paths that a user gives: files, folders, and DICOMDIRs.

Nothing is left out silently: what is not sent is yielded too, with the reason.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from radpost.dicom.dicomdir import is_dicomdir, references
from radpost.dicom.meta import head, open_regular
from radpost.errors import RadpostError

_SYSTEM_NAMES = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "__macosx"}
)


@dataclass(frozen=True, slots=True)
class Found:
    """A file to send."""

    path: Path
    from_dicomdir: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path that is not sent, and why.

    ``why`` is one of: missing, unreadable, not-a-file, hidden, system-file, folder-seen, duplicate, dicomdir,
    dicomdir-unreadable, not-in-dicomdir (and no DICOM file either), escapes (a DICOMDIR's reference
    that leads out of its folder).
    """

    path: Path
    why: str


@dataclass(slots=True)
class _Walk:
    """What was met so far, by device and inode, so that links make neither loops nor doubles."""

    with_dicomdir: bool
    files: set[tuple[int, int]]
    folders: set[tuple[int, int]]


def gather(paths: Iterable[Path], *, with_dicomdir: bool = False) -> Iterator[Found | Skipped]:
    """Yield the files meant by ``paths`` in a fixed order, each once, and what is skipped.

    A DICOMDIR stands for the files it names; a folder for all below it. If a folder has a DICOMDIR, files
    that are neither named there nor DICOM files (a disc's viewer) are skipped.
    """
    walk = _Walk(with_dicomdir, set(), set())
    for path in paths:
        try:
            is_folder = path.is_dir()
            exists = is_folder or path.exists()
        except (OSError, ValueError):  # no permission; a NUL byte in the path
            yield Skipped(path, "unreadable")
            continue
        if not exists:
            yield Skipped(path, "missing")
        elif is_folder:
            yield from _folder(path, walk)
        elif is_dicomdir(path):
            yield from _medium(path, walk)
        else:
            yield _file(path, walk)


def _folder(top: Path, walk: _Walk) -> Iterator[Found | Skipped]:
    """Walk a folder without recursion; the flag says that a DICOMDIR stands at or above a folder."""
    pending = [(top, False)]
    while pending:
        folder, on_medium = pending.pop()
        try:
            status = folder.stat()
            names = sorted(path.name for path in folder.iterdir())
        except OSError:
            yield Skipped(folder, "unreadable")
            continue
        if (status.st_dev, status.st_ino) in walk.folders:
            yield Skipped(folder, "folder-seen")
            continue
        walk.folders.add((status.st_dev, status.st_ino))
        directory = next((folder / name for name in names if name.upper() == "DICOMDIR"), None)
        if directory is not None and is_dicomdir(directory):
            names.remove(directory.name)
            problem = False
            for one in _medium(directory, walk):
                problem = problem or (isinstance(one, Skipped) and one.why == "dicomdir-unreadable")
                yield one
            on_medium = on_medium or not problem
        below = []
        for name in names:
            path = folder / name
            if why := _unwanted(name):
                yield Skipped(path, why)
            elif path.is_dir():
                below.append((path, on_medium))
            else:
                yield from _member(path, walk, on_medium=on_medium)
        pending.extend(reversed(below))


def _member(path: Path, walk: _Walk, *, on_medium: bool) -> Iterator[Found | Skipped]:
    """Yield a file of a folder; on a medium only if it is DICOM, and silently none that was named."""
    if on_medium:
        try:
            status = path.stat()
            if (status.st_dev, status.st_ino) in walk.files:
                return
            if bytes(head(path, 132)[128:132]) != b"DICM":
                yield Skipped(path, "not-in-dicomdir")
                return
        except OSError:
            yield Skipped(path, "unreadable")
            return
    yield _file(path, walk)


def _medium(path: Path, walk: _Walk) -> Iterator[Found | Skipped]:
    """Yield the files that a DICOMDIR names."""
    yield _file(path, walk) if walk.with_dicomdir else Skipped(path, "dicomdir")
    try:
        for reference in references(path):
            if reference.path is None:
                yield Skipped(path.parent / reference.file_id, reference.problem)
            else:
                found = _file(reference.path, walk)
                yield Found(found.path, from_dicomdir=True) if isinstance(found, Found) else found
    except RadpostError:
        yield Skipped(path, "dicomdir-unreadable")


def _file(path: Path, walk: _Walk) -> Found | Skipped:
    try:
        descriptor = open_regular(path)
    except OSError as error:
        return Skipped(path, "unreadable" if error.errno else "not-a-file")
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if (status.st_dev, status.st_ino) in walk.files:
        return Skipped(path, "duplicate")
    walk.files.add((status.st_dev, status.st_ino))
    return Found(path)


def _unwanted(name: str) -> str | None:
    if name.casefold() in _SYSTEM_NAMES:
        return "system-file"
    return "hidden" if name.startswith(".") else None
