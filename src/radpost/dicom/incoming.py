"""An object that arrives over the network becomes a Part 10 file while it arrives (PS3.10 7.1, PS3.4 B.4.1).

The meta header is written first (its three UIDs are in the command and the presentation context), then the
raw data set, never decoded. Both hashes are computed on the way. Memory does not grow with the object.
"""

import contextlib
import errno
import hashlib
import logging
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from radpost.dicom import dimse, headparse, meta
from radpost.dicom.digest import Digester, begin_writing
from radpost.dicom.headparse import HeadParser
from radpost.dicom.pdu import PduError

TEMP_PREFIX: Final = "incoming-"
"""Files of this prefix in the directory are leftovers of a crash; sweep them at start."""

_LOG = logging.getLogger(__name__)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_IN_UID: Final = re.compile(r"[^!-~]|\\")


@dataclass(frozen=True, slots=True)
class StoreContext:
    """What a C-STORE-RQ says about its object (PS3.7 9.3.1.1)."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    move_originator_ae: str | None = None
    move_originator_id: int | None = None


@dataclass(frozen=True, slots=True)
class IncomingObject:
    """A received object: a private file with its hashes and the UIDs of its data set.

    If ``synced``, the content is durable already (not the name: the directory is synced by who renames).
    ``fd`` is open as long as the object is being handed over.
    """

    path: Path
    fd: int
    size: int
    dataset_offset: int
    file_sha256: str
    dataset_sha256: str
    sop_class_uid: str | None
    sop_instance_uid: str | None
    study_instance_uid: str | None
    series_instance_uid: str | None
    modality: str | None
    transfer_syntax_uid: str
    defects: tuple[str, ...]
    synced: bool = False

    @property
    def dataset_size(self) -> int:
        """Bytes of the data set as they were on the wire."""
        return self.size - self.dataset_offset

    def sync(self) -> None:
        """Make the content durable, unless it is."""
        if not self.synced:
            os.fdatasync(self.fd)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an object is not taken: DIMSE status and a comment without patient data (PS3.4 B.2.3)."""

    status: int
    comment: str


def check_context(context: StoreContext) -> Refusal | None:
    """Refuse identifiers that could not stand in a meta header.

    Letters are no UID (PS3.5 9.1), but objects with hashes as UIDs are about, and what came is passed on.
    """
    for uid in (context.sop_class, context.sop_instance):
        if not uid or len(uid) > 64 or _NOT_IN_UID.search(uid):
            return Refusal(dimse.CANNOT_UNDERSTAND, "SOP UID in the command is malformed")
    return None


class ObjectWriter:
    """A sink that writes one object; a failure is kept in ``refusal`` while the rest is swallowed.

    With ``sync`` the content is made durable while the hashes are still being computed.
    """

    def __init__(
        self,
        directory: Path,
        context: StoreContext,
        digester: Digester,
        *,
        max_size: int,
        sync: bool = True,
    ) -> None:
        self._digester = digester
        self._sync = sync
        self.refusal = check_context(context)
        self._context = context
        self._max_size = max_size
        self._parser = HeadParser(context.transfer_syntax)
        self._path = directory / (TEMP_PREFIX + secrets.token_hex(16))
        self._fd = -1
        self._meta = b""
        self._size = 0
        self._swallowed = 0
        if self.refusal is None:
            self._open()

    def _open(self) -> None:
        context = self._context
        self._meta = meta.file_meta(context.sop_class, context.sop_instance, context.transfer_syntax)
        self._file_hash = hashlib.sha256(self._meta)
        self._data_hash = hashlib.sha256()
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._write_all(memoryview(self._meta))
        except OSError as error:
            self._fail(error)

    def space(self) -> memoryview:
        """Return the buffer for the next bytes."""
        return self._digester.space()

    def idle(self) -> bool:
        """Use the time in which nothing arrives; False if nothing is left to do."""
        return self._digester.step()

    def write(self, piece: memoryview) -> None:
        """Take the next bytes of the data set, in the buffer that ``space`` gave."""
        if self.refusal is not None:
            self._swallowed += len(piece)
            if self._swallowed > self._max_size:
                raise PduError("object is larger than allowed")
            return
        if self._size + len(piece) > self._max_size:
            self._refuse(dimse.OUT_OF_RESOURCES, "object is larger than allowed")
            return
        try:
            self._write_all(piece)
        except OSError as error:
            self._fail(error)
            return
        self._parser.feed(piece)
        self._digester.submit(piece, self._data_hash, self._file_hash)

    def finish(self) -> IncomingObject | Refusal:
        """Say that the object is complete; returns it, or why it is refused (its file is gone then)."""
        if self.refusal is None:
            self._parser.finish()
            self._cross_check()
        if self.refusal is None:
            self._settle()
        if self.refusal is not None:
            self.discard()
            return self.refusal
        values = self._parser.values
        return IncomingObject(
            path=self._path,
            fd=self._fd,
            size=self._size,
            dataset_offset=len(self._meta),
            file_sha256=self._file_hash.hexdigest(),
            dataset_sha256=self._data_hash.hexdigest(),
            sop_class_uid=values.get(headparse.SOP_CLASS),
            sop_instance_uid=values.get(headparse.SOP_INSTANCE),
            study_instance_uid=values.get(headparse.STUDY_INSTANCE),
            series_instance_uid=values.get(headparse.SERIES_INSTANCE),
            modality=values.get(headparse.MODALITY),
            transfer_syntax_uid=self._context.transfer_syntax,
            defects=tuple(self._parser.defects),
            synced=self._sync,
        )

    def _settle(self) -> None:
        """Compute what is left of the hashes while the disk writes."""
        if self._sync:
            begin_writing(self._fd)
        self._digester.finish()
        if self._sync:
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                self._fail(error)

    def close(self) -> None:
        """Close the file and leave it where it is."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Close and remove the file."""
        self._digester.forget()
        if self._fd >= 0:
            self.close()
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _write_all(self, piece: memoryview) -> None:
        while len(piece):
            written = os.write(self._fd, piece)
            self._size += written
            piece = piece[written:]

    def _cross_check(self) -> None:
        """Compare command and data set (PS3.4 B.2.3: A9xx, Cxxx): an object has one identity, or none."""
        instance = self._parser.values.get(headparse.SOP_INSTANCE)
        sop_class = self._parser.values.get(headparse.SOP_CLASS)
        if instance is None:
            self._refuse(dimse.CANNOT_UNDERSTAND, "no SOP Instance UID in the data set")
        elif instance != self._context.sop_instance:
            self._refuse(dimse.DATA_SET_MISMATCH, "SOP Instance UID differs from the command")
        elif sop_class is not None and sop_class != self._context.sop_class:
            self._refuse(dimse.DATA_SET_MISMATCH, "SOP Class UID differs from the command")

    def _refuse(self, status: int, comment: str) -> None:
        self.refusal = Refusal(status, comment)
        self.discard()

    def _fail(self, error: OSError) -> None:
        full = error.errno in _FULL
        _LOG.error("object could not be written: %s", errno.errorcode.get(error.errno or 0, "?"))
        if full:
            self._refuse(dimse.OUT_OF_RESOURCES, "no space left")
        else:
            self._refuse(dimse.PROCESSING_FAILURE, "storage failed")
