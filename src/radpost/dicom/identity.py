"""What an object is: its ids and hashes, from one pass over its bytes and without decoding pixels.

The identity of a DICOM object is (SOP Instance UID, Transfer Syntax UID, SHA-256 of the data set without
preamble and group 2); other documents have the SHA-256 of the file (DESIGN invariant 2). Nothing here
raises because of what a file contains: what cannot be understood has kind "other", and defects say why.
"""

import errno
import hashlib
import os
from dataclasses import dataclass
from mmap import mmap
from typing import Literal

from radpost.dicom.meta import (
    HEAD_LIMIT,
    MEDIA_STORAGE_DIRECTORY,
    Buffer,
    MetaHeader,
    PathOrBuffer,
    open_regular,
    read_meta,
)
from radpost.dicom.scanner import BufferSource, Encoding, Ids, ReadSource, Source, scan, scan_source

__all__ = ["Encoding", "Hashes", "Identity", "Ids", "identify", "scan"]


@dataclass(frozen=True, slots=True)
class Hashes:
    """Hashes that were already computed while the bytes arrived."""

    file_sha256: str
    dataset_sha256: str


@dataclass(frozen=True, slots=True)
class Identity:
    """What a file is. ``kind`` is "dicom" only where SOP class and SOP instance are known."""

    kind: Literal["dicom", "dicomdir", "other"]
    sop_class_uid: str | None
    sop_instance_uid: str | None
    study_instance_uid: str | None
    series_instance_uid: str | None
    modality: str | None
    transfer_syntax_uid: str | None
    dataset_offset: int
    dataset_sha256: str
    file_sha256: str
    size: int
    defects: tuple[str, ...]

    @property
    def readable(self) -> bool:
        """False if the file could not be read at all; then there are no hashes either."""
        return bool(self.file_sha256)


def identify(source: PathOrBuffer, *, hashes: Hashes | None = None) -> Identity:
    """Identify a file or buffer; with ``hashes`` only the headers are read."""
    if isinstance(source, (bytes, bytearray, memoryview, mmap)):
        return _identify_buffer(source, hashes)
    try:
        descriptor = open_regular(source)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL byte
        return _unreadable(error)
    try:
        return _identify_file(descriptor, hashes)
    except OSError as error:
        return _unreadable(error)
    finally:
        os.close(descriptor)


def _identify_buffer(buffer: Buffer, hashes: Hashes | None) -> Identity:
    meta = read_meta(buffer)
    if hashes is None:
        with memoryview(buffer) as view:
            whole = hashlib.sha256(view).hexdigest()
            data_set = (
                hashlib.sha256(view[meta.dataset_offset :]).hexdigest() if meta.dataset_offset else whole
            )
        hashes = Hashes(whole, data_set)
    return _judge(BufferSource(buffer), meta, len(buffer), hashes)


def _identify_file(descriptor: int, hashes: Hashes | None) -> Identity:
    size = os.fstat(descriptor).st_size
    head = os.read(descriptor, min(size, HEAD_LIMIT) if hashes is None else 16 << 10)
    meta = read_meta(head)
    if hashes is None:
        hashes, size = _hash_file(descriptor, head, meta.dataset_offset)
    source = ReadSource(head, size, lambda position, count: os.pread(descriptor, count, position))
    return _judge(source, meta, size, hashes)


def _hash_file(descriptor: int, head: bytes, offset: int) -> tuple[Hashes, int]:
    """Hash the head and what follows; return the hashes and the number of bytes that went in."""
    whole, data_set, size = hashlib.sha256(head), hashlib.sha256(memoryview(head)[offset:]), len(head)
    while chunk := os.read(descriptor, HEAD_LIMIT):
        whole.update(chunk)
        data_set.update(chunk)
        size += len(chunk)
    return Hashes(whole.hexdigest(), data_set.hexdigest()), size


def _judge(source: Source, meta: MetaHeader, size: int, hashes: Hashes) -> Identity:
    """Combine what group 2 and the data set say; the data set has the last word on the object's ids."""
    ids = scan_source(source, meta.dataset_offset, meta.transfer_syntax_uid, size)
    sop_class = ids.sop_class_uid or meta.sop_class_uid
    sop_instance = ids.sop_instance_uid or meta.sop_instance_uid
    syntax = meta.transfer_syntax_uid
    defects = [*meta.defects, *ids.defects]
    if ids.sop_instance_uid and meta.sop_instance_uid not in {None, ids.sop_instance_uid}:
        defects.append("sop-instance-mismatch")
    kind: Literal["dicom", "dicomdir", "other"] = "other"
    if meta.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
        kind = "dicomdir"
    elif sop_class and sop_instance and (meta.has_prefix or "bad-uid" not in defects):
        kind = "dicom"
    else:
        defects.append("no-sop-instance" if meta.has_prefix or sop_class or sop_instance else "not-dicom")
    if kind != "other" and syntax is None and ids.encoding is not None:
        syntax = ids.encoding.transfer_syntax_uid
        defects.append("transfer-syntax-guessed")
    return Identity(
        kind=kind,
        sop_class_uid=sop_class,
        sop_instance_uid=sop_instance,
        study_instance_uid=ids.study_instance_uid,
        series_instance_uid=ids.series_instance_uid,
        modality=ids.modality,
        transfer_syntax_uid=syntax,
        dataset_offset=meta.dataset_offset,
        dataset_sha256=hashes.dataset_sha256,
        file_sha256=hashes.file_sha256,
        size=size,
        defects=tuple(dict.fromkeys(defects)),
    )


def _unreadable(error: OSError | ValueError) -> Identity:
    number = error.errno if isinstance(error, OSError) else None
    why = errno.errorcode.get(number, "error") if number else "not-a-file"
    return Identity("other", None, None, None, None, None, None, 0, "", "", 0, (f"unreadable:{why}",))
