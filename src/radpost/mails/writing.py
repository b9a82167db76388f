"""Objects are written into a folder under names that are safe on any disk; the same content is written once.

All objects of a mail get their names together, when none of them failed: until then they are private
temporary files in the same folder.
"""

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from radpost.agit import names
from radpost.agit.contents import Part
from radpost.dicom.filenames import file_name, is_uid, marked
from radpost.dicom.identity import Hashes, Identity, identify
from radpost.errors import FOLDER_UNUSABLE, RadpostError
from radpost.mails.results import ObjectView

_HIDDEN: Final = ".radpost-"


class Writer:
    """Takes objects of mails; without a folder they are only looked at."""

    def __init__(self, folder: Path | None, temp: Path) -> None:
        """``temp`` is a private directory, used where no folder is given.

        Raises:
            RadpostError: FOLDER_UNUSABLE.
        """
        self.folder = folder
        self.temp = folder or temp
        self._written: dict[str, Path] = {}
        if folder is not None:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                raise RadpostError(FOLDER_UNUSABLE, f"{folder}: {error.strerror}") from error

    def batch(self) -> "Batch":
        """Begin the objects of one mail."""
        return Batch(self)

    def place(self, draft: "_Draft", view_name: str) -> Path:
        """Give a written file its name; the same content has one already."""
        known = self._written.get(draft.sha256)
        if known is None:
            assert self.folder is not None
            known = self._rename(draft, self.folder, view_name)
            self._written[draft.sha256] = known
        return known

    def _rename(self, draft: "_Draft", folder: Path, name: str) -> Path:
        for mark in ("", f"-{draft.sha256[:12]}", f"-{draft.sha256}"):
            target = folder / marked(name, mark)
            if not os.path.lexists(target) and _named(draft.path, target):
                return target
            if _sha256(target) == draft.sha256:
                return target
        raise RadpostError(FOLDER_UNUSABLE, "other files have all the names of an object")


@dataclass(frozen=True, slots=True)
class _Draft:
    path: Path
    sha256: str
    size: int
    identity: Identity
    part: Part


class Batch:
    """The objects of one mail: named together by `commit`, or dropped at the end of the context."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._drafts: list[_Draft] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for draft in self._drafts:
            with suppress(OSError):
                draft.path.unlink(missing_ok=True)

    def add(self, part: Part) -> None:
        """Write an object to a private file and see what it is.

        Raises:
            RadpostError: FOLDER_UNUSABLE, or what reading the mail raises.
        """
        try:
            descriptor, name = tempfile.mkstemp(prefix=_HIDDEN, dir=self._writer.temp)  # mode 0600
            path = Path(name)
            try:
                self._drafts.append(_drawn(part, path, descriptor))
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise _unusable(error) from error

    def commit(self) -> tuple[ObjectView, ...]:
        """Give all objects their names and return what they are."""
        try:
            return tuple(self._named(draft) for draft in self._drafts)
        except OSError as error:
            raise _unusable(error) from error

    def _named(self, draft: _Draft) -> ObjectView:
        view = _view(draft)
        if self._writer.folder is None:
            return view
        path = self._writer.place(draft, _disk_name(draft, view))
        return replace(view, path=str(path))


def _drawn(part: Part, path: Path, descriptor: int) -> _Draft:
    digest, size = hashlib.sha256(), 0
    with os.fdopen(descriptor, "wb") as file:
        for chunk in part.chunks():
            digest.update(chunk)
            size += file.write(chunk)
    sha256 = digest.hexdigest()
    return _Draft(path, sha256, size, identify(path, hashes=Hashes(sha256, sha256)), part)


def _view(draft: _Draft) -> ObjectView:
    identity, part = draft.identity, draft.part
    is_dicom = part.claims_dicom or identity.kind != "other"
    return ObjectView(
        sha256=draft.sha256,
        size=draft.size,
        kind=identity.kind,
        media_type=names.DICOM_TYPE if is_dicom else part.media_type,
        name=base_name(part.filename),
        sop_instance_uid=identity.sop_instance_uid,
        study_instance_uid=identity.study_instance_uid or part.study_uid or None,
        path=None,
    )


def base_name(name: str) -> str | None:
    """Return a name without folders and control characters, or None where nothing is left of it."""
    last = name.replace("\\", "/").rpartition("/")[2]
    text = "".join(mark for mark in last if mark.isprintable()).strip()
    return text if text.strip(". ") else None


def _disk_name(draft: _Draft, view: ObjectView) -> str:
    uid = view.sop_instance_uid or ""
    if view.kind == "dicom" and is_uid(uid):
        return f"{uid}.dcm"
    return file_name(view.name or "", f"{view.kind}-{draft.sha256[:12]}")


def _named(draft: Path, target: Path) -> bool:
    """Give a file its name; False if another has taken it meanwhile."""
    try:
        os.link(draft, target, follow_symlinks=False)  # unlike a renaming it replaces nothing
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        draft.rename(target)
    return True


def _sha256(path: Path) -> str:
    """Return the hash of a file that is there already; of what is no plain file nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        try:
            plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
            return hashlib.file_digest(file, "sha256").hexdigest() if plain else ""
        except OSError:
            return ""


def _unusable(error: OSError) -> RadpostError:
    return RadpostError(FOLDER_UNUSABLE, error.strerror or "")
