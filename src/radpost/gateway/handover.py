"""Deliveries that are not C-STORE: a folder, or a program that is called with the file (@GIT 1.1r 2.1)."""

import errno
import filecmp
import mimetypes
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from radpost.dicom.filenames import file_name as safe_name
from radpost.dicom.filenames import is_uid, marked
from radpost.errors import FOLDER_UNUSABLE, PROGRAM_FAILED, RadpostError
from radpost.gateway.config import Destination
from radpost.store.incoming_deliveries import DeliveryRow

UNASSIGNED: Final = "unassigned"
NAME_VARIABLE: Final = "RADPOST_FILE_NAME"
_BAD_NAME: Final = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EEXIST})


class DestinationDownError(RadpostError):
    """The folder or program as a whole does not work: its objects wait, none of them is to blame."""


def file_name(row: DeliveryRow) -> str:
    """Return a name that is safe on any disk: no path, no control characters, never hidden or reserved."""
    if row.kind == "dicom" and is_uid(row.sop_instance_uid):
        return f"{row.sop_instance_uid}.dcm"
    return safe_name(row.name, f"document-{row.file_sha256[:12]}")


def into_folder(destination: Destination, folder: Path, source: Path, row: DeliveryRow) -> Path:
    """Write a file below ``folder/partner/study``, durably; the same file twice is one file.

    Raises:
        RadpostError: FOLDER_UNUSABLE; DestinationDownError where the folder as a whole is.
    """
    study = row.study_uid if is_uid(row.study_uid) else UNASSIGNED
    target = folder / row.partner / study
    try:
        target.mkdir(mode=0o750, parents=True, exist_ok=True)
        final = _free_name(target, file_name(row), row.file_sha256, source)
        if final.exists():
            _sync(final)  # of a call that a crash ended; to find it is no proof that it lasts
        else:
            temporary = target / f".{row.file_sha256[:16]}.part"
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
            with source.open("rb") as reader, os.fdopen(descriptor, "wb") as writer:
                shutil.copyfileobj(reader, writer, 1 << 20)
                writer.flush()
                os.fsync(writer.fileno())
            temporary.rename(final)
        for parent in (target, target.parent, folder):
            _sync(parent)
    except OSError as error:
        kind = RadpostError if error.errno in _BAD_NAME else DestinationDownError
        raise kind(FOLDER_UNUSABLE, f"{destination.name}: {error.strerror}") from error
    return final


def sweep(work: Path) -> None:
    """Remove the copies that a crash left of calls of programs: they are plaintext."""
    for folder in work.glob("delivery-*"):
        shutil.rmtree(folder, ignore_errors=True)


def neutral_name(row: DeliveryRow) -> str:
    """Return a name that says what a file is and not whose: all users of a machine see a program's arguments.

    Only a known suffix is taken over; any other may be a part of a name or date (invariant 10).
    """
    if row.kind == "dicom":
        return "object.dcm"
    suffix = Path(file_name(row)).suffix.lower()
    return "document" + (suffix if suffix in mimetypes.types_map else "")


def to_program(destination: Destination, work: Path, source: Path, row: DeliveryRow) -> None:
    """Call the destination's program with a copy of the file; it is called again until it exits with 0.

    ``{key}`` is the same at every call for the same object, so that the program can recognise a repetition.
    The name that the sender gave the file is in the environment, which no other user can read.

    Raises:
        RadpostError: PROGRAM_FAILED; DestinationDownError where it cannot even be called.
    """
    folder = work / f"delivery-{row.id}"
    path = folder / neutral_name(row)
    values = {
        "path": str(path),
        "study": row.study_uid or UNASSIGNED,
        "partner": row.partner,
        "key": f"{row.file_sha256[:32]}-{row.destination}",
    }
    try:
        for private in (work, folder):
            private.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        shutil.copyfile(source, path)
        command = [_filled(word, values) for word in destination.command]
        done = subprocess.run(
            command,
            check=False,
            env={**os.environ, NAME_VARIABLE: file_name(row)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=destination.timeout_seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise RadpostError(PROGRAM_FAILED, f"{destination.name}: no end after {error.timeout} s") from error
    except OSError as error:
        raise DestinationDownError(PROGRAM_FAILED, f"{destination.name}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            shutil.rmtree(folder)
    if done.returncode != 0:
        raise RadpostError(PROGRAM_FAILED, f"{destination.name}: exit status {done.returncode}")


def _filled(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace("{" + name + "}", value)
    return word


def _free_name(folder: Path, name: str, sha256: str, source: Path) -> Path:
    """Return a name that nothing else has; the one that this very content has already, if it has."""
    for mark in ("", f"-{sha256[:12]}", f"-{sha256}"):
        path = folder / marked(name, mark)
        if not path.exists() or _same(path, source):
            return path
    raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))


def _same(path: Path, source: Path) -> bool:
    return filecmp.cmp(path, source, shallow=False)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
