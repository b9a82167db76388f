"""The directory of a medium: which files a DICOMDIR names (PS3.3 F.3, PS3.10 8.6)."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radpost.dicom.lazy import pydicom
from radpost.dicom.meta import HEAD_LIMIT, MEDIA_STORAGE_DIRECTORY, head, read_meta
from radpost.errors import DICOM_INVALID, RadpostError

MAX_DICOMDIR_SIZE = 256 << 20
_IN_USE = 0xFFFF
_VERSION = re.compile(r";\d+\Z")


@dataclass(frozen=True, slots=True)
class Reference:
    """One Referenced File ID and the file it names, or why there is none."""

    file_id: str
    path: Path | None
    problem: str = ""
    """"missing", or "escapes" if it names something outside the DICOMDIR's folder."""


def is_dicomdir(path: Path) -> bool:
    """Say whether a file is a DICOMDIR by its content; its name does not count."""
    try:
        return read_meta(head(path, HEAD_LIMIT)).sop_class_uid == MEDIA_STORAGE_DIRECTORY
    except OSError:
        return False


def references(path: Path) -> Iterator[Reference]:
    """Yield what a DICOMDIR refers to, in its order; raise DICOM_INVALID if it cannot be read."""
    folder = path.parent.resolve()
    names: dict[Path, dict[str, str]] = {}
    for components in file_ids(path):
        file_id = "/".join(components)
        if not components or any(_is_unsafe(name) for name in components):
            yield Reference(file_id, None, "escapes")
            continue
        found = _look_up(folder, components, names)
        if found is None:
            yield Reference(file_id, None, "missing")
        elif not found.resolve().is_relative_to(folder):  # by a symbolic link
            yield Reference(file_id, None, "escapes")
        else:
            yield Reference(file_id, found)


def file_ids(source: Path | io.BytesIO) -> list[list[str]]:
    """Return the components of every Referenced File ID in a DICOMDIR; DICOM_INVALID if it cannot be read."""
    library = pydicom()
    try:
        size = source.stat().st_size if isinstance(source, Path) else len(source.getbuffer())
        records: list[Any] = []
        if size <= MAX_DICOMDIR_SIZE:
            records = library.dcmread(source, specific_tags=[0x00041220]).get("DirectoryRecordSequence") or []
        ids = []
        for record in records:
            # an inactive record's file may be gone (PS3.3 F.3.2.2, Record In-use Flag)
            if record.get("RecordInUseFlag", _IN_USE) != _IN_USE:
                continue
            value = record.get("ReferencedFileID")
            if value:
                ids.append([value] if isinstance(value, str) else [str(part) for part in value])
    except Exception as error:  # noqa: BLE001  pydicom raises many kinds on broken input
        raise RadpostError(DICOM_INVALID, f"DICOMDIR: {type(error).__name__}") from None
    if size > MAX_DICOMDIR_SIZE:
        raise RadpostError(DICOM_INVALID, "the DICOMDIR is too large")
    return ids


def _is_unsafe(name: str) -> bool:
    return name in {"", ".", ".."} or any(sign in name for sign in "/\\\0")


def _look_up(folder: Path, components: list[str], names: dict[Path, dict[str, str]]) -> Path | None:
    """Find a file by its File ID: capitals may have become small letters (PS3.10 8.5, ISO 9660)."""
    current = folder
    for name in components:
        if current not in names:
            try:
                names[current] = _entries(current)
            except OSError:
                return None
        entry = name if (current / name).exists() else names[current].get(_fold(name))
        if entry is None:
            return None
        current /= entry
    return current if current.is_file() else None


def _entries(folder: Path) -> dict[str, str]:
    """Return a folder's names by their folded form; of several the first in order."""
    return {_fold(name): name for name in sorted((path.name for path in folder.iterdir()), reverse=True)}


def _fold(name: str) -> str:
    """Make names equal that a medium's file system may have written differently."""
    return _VERSION.sub("", name).rstrip(".").casefold()
