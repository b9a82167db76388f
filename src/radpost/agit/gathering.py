"""Files on disk as the objects of a transmission: found, identified, with their study and type.

Nothing is taken here: what cannot be sent is named with the reason, before anything is written anywhere.
"""

import mimetypes
import re
import secrets
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from radpost.agit.names import DICOM_TYPE
from radpost.dicom.identity import Identity, identify
from radpost.dicom.media import Found, Skipped, gather
from radpost.errors import CONFIG_INVALID, NOTHING_TO_SEND, RadpostError

_UID: Final = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")

WHY_SKIPPED: Final = {
    "missing": "there is no such file",
    "unreadable": "it cannot be read; check its permissions",
    "not-a-file": "it is no regular file",
    "hidden": "its name begins with a dot",
    "system-file": "a file of the operating system",
    "folder-seen": "this folder was taken already",
    "duplicate": "this file was taken already",
    "dicomdir": "the DICOMDIR itself is not sent; the files it names are",
    "dicomdir-unreadable": "the DICOMDIR cannot be read; all files of the folder are taken instead",
    "not-in-dicomdir": "no DICOM file, and the DICOMDIR beside it does not name it",
    "escapes": "the DICOMDIR names a file outside of its folder",
}


@dataclass(frozen=True, slots=True)
class Left:
    """A path that is not sent, and why."""

    path: Path
    why: str
    """A key of ``WHY_SKIPPED``."""

    @property
    def is_trouble(self) -> bool:
        """Tell whether the person who ordered the sending must know; the rest is in the nature of folders."""
        return self.why in {"missing", "unreadable", "not-a-file", "dicomdir-unreadable", "escapes"}

    @property
    def sentence(self) -> str:
        """Return why, in words."""
        return WHY_SKIPPED.get(self.why, self.why)


@dataclass(frozen=True, slots=True)
class Piece:
    """A file to be sent, identified."""

    path: Path
    identity: Identity
    study_uid: str

    @property
    def is_document(self) -> bool:
        """Tell whether it travels as a document and not as DICOM."""
        return self.identity.kind != "dicom"


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was found: the DICOM objects first, then the documents."""

    pieces: tuple[Piece, ...]
    left: tuple[Left, ...]

    @property
    def bytes(self) -> int:
        """Return the size of all files."""
        return sum(piece.identity.size for piece in self.pieces)

    @property
    def studies(self) -> tuple[str, ...]:
        """Return the studies in the order they were met."""
        return tuple(dict.fromkeys(piece.study_uid for piece in self.pieces))

    @property
    def unassigned(self) -> int:
        """Return how many documents got a new study of their own although DICOM studies lie beside them."""
        known = {piece.identity.study_instance_uid for piece in self.pieces} - {None}
        return sum(piece.study_uid not in known for piece in self.pieces) if len(known) > 1 else 0


def new_uid() -> str:
    """Return a new UID from random bits (PS3.5 B.2)."""
    # documents without a study get one of their own (@GIT 1.1r 5.2)
    return f"2.25.{uuid.UUID(bytes=secrets.token_bytes(16), version=4).int}"


def is_uid(text: str) -> bool:
    """Tell whether a text is a DICOM UID (PS3.5 9.1)."""
    return len(text) <= 64 and bool(_UID.fullmatch(text))


def look(
    paths: Sequence[Path], study_uid: str = "", *, seen: Callable[[Path], None] = lambda _path: None
) -> Gathered:
    """Read what the paths mean: files, folders, DICOMDIRs.

    Documents belong to ``study_uid`` if it is given, else to the one DICOM study beside them, else, because
    nobody may guess between several patients, to a new study of their own (DESIGN 12).

    Raises:
        RadpostError: NOTHING_TO_SEND, CONFIG_INVALID.
    """
    if study_uid and not is_uid(study_uid):
        raise RadpostError(CONFIG_INVALID, f"study {study_uid} is no DICOM UID")
    found: list[tuple[Path, Identity]] = []
    left: list[Left] = []
    for item in gather(paths):
        if isinstance(item, Skipped):
            left.append(Left(item.path, item.why))
            continue
        assert isinstance(item, Found)
        seen(item.path)
        identity = identify(item.path)
        if identity.readable:
            found.append((item.path, identity))
        else:
            left.append(Left(item.path, "unreadable"))
    if not found:
        raise RadpostError(NOTHING_TO_SEND, "; ".join(f"{one.path}: {one.sentence}" for one in left[:3]))
    own = _study_of_documents(found, study_uid)
    pieces = tuple(
        Piece(path, identity, identity.study_instance_uid or own)
        for path, identity in sorted(found, key=lambda one: one[1].kind != "dicom")
    )
    return Gathered(pieces, tuple(left))


def media_type(piece: Piece) -> str:
    """Return the media type that a file travels under; damaged DICOM stays DICOM, for it is named so."""
    if piece.identity.kind == "dicom" or "not-dicom" not in piece.identity.defects:
        return DICOM_TYPE
    guessed, _ = mimetypes.MimeTypes().guess_type(piece.path.name)  # the built-in table, not this machine's
    return guessed or "application/octet-stream"


def _study_of_documents(found: Sequence[tuple[Path, Identity]], given: str) -> str:
    studies = {identity.study_instance_uid for _, identity in found} - {None}
    if given:
        return given
    if len(studies) == 1:
        return str(studies.pop())
    return new_uid()
