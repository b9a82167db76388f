"""Deliveries that are not C-STORE: a folder, or a program that is called with the file (@GIT 1.1r 2.1)."""

import filecmp
import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from radpost.errors import FOLDER_UNUSABLE, PROGRAM_FAILED, RadpostError
from radpost.gateway.config import Destination
from radpost.store.incoming import DeliveryRow

UNASSIGNED: Final = "unassigned"
_UNSAFE: Final = re.compile(r"[^\w.+@ -]", re.UNICODE)
_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?\Z")
_UID: Final = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*\Z")
"""A UID that is fit for a file name (PS3.5 9.1): ``..`` consists of dots and is no UID."""
_LONGEST: Final = 120


def file_name(row: DeliveryRow) -> str:
    """Return a name that is safe on any disk: no path, no control characters, never hidden or reserved."""
    if row.kind == "dicom" and _UID.match(row.sop_instance_uid):
        return f"{row.sop_instance_uid}.dcm"
    name = _UNSAFE.sub("_", row.name).strip(" .") or f"document-{row.file_sha256[:12]}"
    if _RESERVED.match(name):
        name = "_" + name
    stem, dot, suffix = name.rpartition(".")
    if len(name) > _LONGEST:
        name = (stem[: _LONGEST - 20] + dot + suffix[:16]) if dot else name[:_LONGEST]
    return name


def into_folder(destination: Destination, folder: Path, source: Path, row: DeliveryRow) -> Path:
    """Write a file below ``folder/partner/study``, durably; the same file twice is one file.

    Raises:
        RadpostError: FOLDER_UNUSABLE.
    """
    study = row.study_uid if _UID.match(row.study_uid) else UNASSIGNED
    target = folder / row.partner / study
    try:
        target.mkdir(parents=True, exist_ok=True)
        final = _free_name(target, file_name(row), row.file_sha256, source)
        if not final.exists():
            temporary = target / f".{row.file_sha256[:16]}.part"
            with source.open("rb") as reader, temporary.open("wb") as writer:
                shutil.copyfileobj(reader, writer, 1 << 20)
                writer.flush()
                os.fsync(writer.fileno())
            temporary.rename(final)
            descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise RadpostError(FOLDER_UNUSABLE, f"{destination.name}: {error.strerror}") from error
    return final


def to_program(destination: Destination, work: Path, source: Path, row: DeliveryRow) -> None:
    """Call the destination's program with a copy of the file; it is called again until it exits with 0.

    ``{key}`` is the same at every call for the same object, so that the program can recognise a repetition.

    Raises:
        RadpostError: PROGRAM_FAILED.
    """
    folder = work / f"delivery-{row.id}"
    path = folder / file_name(row)
    values = {
        "path": str(path),
        "study": row.study_uid or UNASSIGNED,
        "partner": row.partner,
        "key": f"{row.file_sha256[:32]}-{row.destination}",
    }
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        command = [_filled(word, values) for word in destination.command]
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=destination.timeout_seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise RadpostError(PROGRAM_FAILED, f"{destination.name}: no end after {error.timeout} s") from error
    except OSError as error:
        raise RadpostError(PROGRAM_FAILED, f"{destination.name}: {error.strerror}") from error
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
    path = folder / name
    if not path.exists() or _same(path, source):
        return path
    stem, dot, suffix = name.rpartition(".")
    return folder / (f"{stem}-{sha256[:12]}.{suffix}" if dot else f"{name}-{sha256[:12]}")


def _same(path: Path, source: Path) -> bool:

    return filecmp.cmp(path, source, shallow=False)
