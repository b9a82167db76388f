"""Files become the mails of one transmission, without gateway and database (issue 3, "Offline commands").

The way is the gateway's: planned by upper bounds (`transfer.packing`), written and sealed by `agit.writing`.
Memory holds the list of the files, never their content.
"""

import hashlib
import mmap
import secrets as randomness
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from radpost.agit.dialect import DIALECTS, DialectName, Writing, bound_of, contradiction, mail_bound
from radpost.agit.gathering import Gathered, Piece, look, media_type, new_uid
from radpost.agit.letter import Item, Letter, boundaries
from radpost.agit.naming import document_name, document_type, file_id
from radpost.agit.writing import Keys, fragments, pays, read, seal
from radpost.errors import BAD_COMMAND, FILE_CHANGED, RadpostError
from radpost.mails.choosing import choose
from radpost.mails.folder import MailFolder
from radpost.mails.keyfiles import as_files
from radpost.mails.keys import offline_keys
from radpost.mails.sources import several
from radpost.mime.folding import mailbox, message_id
from radpost.mime.partial import Cut
from radpost.mime.writer import Source
from radpost.openpgp.keyring import utcnow
from radpost.openpgp.values import Engine
from radpost.transfer import packing

_UNFINISHED: Final = "unfinished.part"
_WIDTH: Final = 4


@dataclass(frozen=True, slots=True)
class PackedObject:
    """An object and where it came from."""

    path: str
    sha256: str
    size: int
    kind: str
    """``dicom``, ``dicomdir`` or ``other``."""
    media_type: str
    name: str
    """Its file name inside the mail."""
    sop_instance_uid: str | None
    study_instance_uid: str


@dataclass(frozen=True, slots=True)
class PackedMail:
    """One mail of the transmission; several ``files`` are its fragments, in order."""

    part: int
    total: int
    message_id: str
    size: int
    files: tuple[str, ...]
    objects: tuple[PackedObject, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """What was written."""

    sender: str
    recipient: str
    dialect: DialectName
    set_id: str
    """The SETID, empty in a dialect without sets."""
    folder: str
    mails: tuple[PackedMail, ...]
    gathered: Gathered = field(repr=False)

    @property
    def size(self) -> int:
        """Return the bytes of all mails, before they are cut."""
        return sum(mail.size for mail in self.mails)


@dataclass(frozen=True, slots=True)
class _Job:
    """What all mails of a transmission share."""

    sender: str
    recipient: str
    dialect: DialectName
    writing: Writing
    set_id: str
    date: datetime
    engine: Engine
    keys: Keys
    folder: MailFolder

    def new_id(self) -> str:
        """Return a Message-ID of 128 random bits in the sender's domain."""
        return message_id(randomness.token_bytes(16), self.sender.rpartition("@")[2])


def pack(
    paths: Path | str | Iterable[Path | str],
    *,
    sender: str,
    recipient: str,
    out: Path | str,
    secrets: Path | str | Iterable[Path | str] = (),
    certs: Path | str | Iterable[Path | str] = (),
    passphrase_file: Path | str | None = None,
    dialect: DialectName = "agit-1.5",
    switches: Mapping[str, object] | None = None,
    study_uid: str = "",
    seen: Callable[[Path], None] = lambda _path: None,
    written: Callable[[PackedMail], None] = lambda _mail: None,
    clock: Callable[[], datetime] = utcnow,
) -> Packed:
    """Write the mails of one transmission as ``.eml`` files into a folder; all of them, or none.

    ``paths`` are files, folders and DICOMDIRs; ``secrets`` and ``certs`` are key files, of which those that
    name the addresses count. ``switches`` are fields of `agit.dialect.Writing`; the dialect gives the rest.
    Documents belong to ``study_uid``, else to the one DICOM study beside them, else to a new one.

    Raises:
        RadpostError: BAD_COMMAND (an address, a switch, mails in the folder), FOLDER_UNUSABLE, DISK_FULL,
            KEY_UNREADABLE, PASSPHRASE_WRONG, NO_USABLE_KEY, OWN_KEY_UNUSABLE, NOTHING_TO_SEND, CONFIG_INVALID
            (the study), FILE_CHANGED.
    """
    writing = writing_of(dialect, switches or {})
    for address in (sender, recipient):
        _check_address(address)
    folder = MailFolder(Path(out))
    with offline_keys(as_files(secrets, certs, passphrase=passphrase_file), clock=clock) as keys, folder:
        now = clock().replace(microsecond=0)
        chosen = choose(keys, sender, recipient, now, sign=writing.sign)
        folder.prepare()
        gathered = look([Path(path) for path in several(paths)], study_uid, seen=seen)
        job = _Job(
            sender=sender,
            recipient=recipient,
            dialect=dialect,
            writing=writing,
            set_id=new_uid(),
            date=now,
            engine=keys.engine,
            keys=chosen,
            folder=folder,
        )
        mails = tuple(_mails(job, gathered.pieces, written))
    set_id = "" if dialect == "agit-1.1" else job.set_id
    return Packed(sender, recipient, dialect, set_id, str(folder.path), mails, gathered)


def writing_of(dialect: DialectName, switches: Mapping[str, object]) -> Writing:
    """Return a dialect's switches with some changed.

    Raises:
        RadpostError: BAD_COMMAND.
    """
    if dialect not in DIALECTS:
        raise RadpostError(BAD_COMMAND, f"no dialect '{dialect}'; there are {', '.join(DIALECTS)}")
    known = msgspec.to_builtins(DIALECTS[dialect])
    unknown = [name for name in switches if name not in known]
    if unknown:
        raise RadpostError(BAD_COMMAND, f"no switch '{unknown[0]}'; there are {', '.join(known)}")
    try:
        writing = msgspec.convert({**known, **switches}, Writing, strict=False)
    except msgspec.ValidationError as error:
        raise RadpostError(BAD_COMMAND, f"switch: {error}") from error
    if refused := contradiction(dialect, writing):
        raise RadpostError(BAD_COMMAND, refused)
    return writing


def _check_address(address: str) -> None:
    try:
        mailbox(address)
        message_id(bytes(16), address.rpartition("@")[2])
    except ValueError as error:
        raise RadpostError(BAD_COMMAND, f"{address!r} is no mail address like name@clinic.example") from error


def _mails(job: _Job, pieces: Sequence[Piece], written: Callable[[PackedMail], None]) -> Iterator[PackedMail]:
    items = [
        packing.Item(
            piece,
            piece.identity.size,
            bound_of(job.writing, piece.identity.size, piece.identity.transfer_syntax_uid),
        )
        for piece in pieces
    ]
    limits = packing.Limits(job.writing.objects_per_mail, job.writing.max_mail_size)
    planned = list(packing.pack(items, limits, mail_bound))
    position = 1
    for mail in planned:
        packed = _mail(job, mail, len(planned), position)
        position += len(mail.items)
        written(packed)
        yield packed


def _mail(job: _Job, planned: packing.PlannedMail[Piece], total: int, first: int) -> PackedMail:
    pieces = [item.id for item in planned.items]
    letter = Letter(
        sender=job.sender,
        recipient=job.recipient,
        date=job.date,
        message_id=job.new_id(),
        set_id=job.set_id,
        part=planned.part,
        total=total,
        first_position=first,
        items=tuple(_item(piece, job.writing) for piece in pieces),
        boundaries=boundaries(randomness.token_bytes(16), randomness.token_bytes(16)),
        dialect=job.dialect,
        inner_encoding=job.writing.inner_encoding,
        receipt=job.writing.receipt,
        receipt_mechanism=job.writing.receipt_mechanism,
        receipt_key=job.keys.signer or "",
        study_uid_outside=job.writing.study_uid_outside,
    )
    stem = f"mail-{planned.part:0{max(_WIDTH, len(str(total)))}d}"
    size = job.folder.write(_UNFINISHED, lambda sink: seal(letter, sink, job.engine, job.keys, job.writing))
    files: tuple[str, ...] = (f"{stem}.eml",)
    if size <= job.writing.max_mail_size:
        job.folder.rename(_UNFINISHED, files[0])
    elif job.writing.partial:
        files = tuple(_cut(job, stem))
        job.folder.remove(_UNFINISHED)
    else:
        raise RadpostError(
            BAD_COMMAND,
            f"mail {planned.part} has {size} bytes, max_mail_size is {job.writing.max_mail_size}, and "
            "partial=false forbids to cut it",
        )
    objects = tuple(_described(piece, first + index) for index, piece in enumerate(pieces))
    return PackedMail(planned.part, total, letter.message_id, size, files, objects)


def _cut(job: _Job, stem: str) -> Iterator[str]:
    """Write the fragments of the unfinished mail; yield their names."""
    with (
        (job.folder.path / _UNFINISHED).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
    ):
        ids: dict[int, str] = {}
        cuts = fragments(
            view,
            job.writing.max_mail_size,
            partial_id=job.new_id()[1:-1],
            message_id=lambda number: ids.setdefault(number, job.new_id()),
        )
        width = len(str(len(cuts)))
        for cut in cuts:
            name = f"{stem}.{cut.number:0{width}d}.eml"
            job.folder.write(name, partial(_fill, cut, view))
            yield name


def _fill(cut: Cut, mail: mmap.mmap, sink: BinaryIO) -> None:
    sink.writelines(cut.chunks(mail))


def _item(piece: Piece, writing: Writing) -> Item:
    try:
        compressible = pays(piece.path, writing)
    except OSError as error:
        raise RadpostError(FILE_CHANGED, str(piece.path)) from error
    return Item(
        source=Source(piece.identity.size, lambda: _unchanged(piece)),
        is_dicom=not piece.is_document,
        media_type=media_type(piece),
        name=piece.path.name,
        study_uid=piece.study_uid,
        compressible=compressible,
    )


def _unchanged(piece: Piece) -> Iterator[bytes]:
    """Yield a file's bytes; what is not the file that was identified ends the job."""
    running, size = hashlib.sha256(), 0
    try:
        for chunk in read(piece.path):
            running.update(chunk)
            size += len(chunk)
            if size > piece.identity.size:
                break
            yield chunk
    except OSError as error:
        raise RadpostError(FILE_CHANGED, str(piece.path)) from error
    if running.hexdigest() != piece.identity.file_sha256:
        raise RadpostError(FILE_CHANGED, str(piece.path))


def _described(piece: Piece, position: int) -> PackedObject:
    identity = piece.identity
    return PackedObject(
        path=str(piece.path),
        sha256=identity.file_sha256,
        size=identity.size,
        kind=identity.kind,
        media_type=document_type(media_type(piece)),
        name=document_name(piece.path.name) if piece.is_document else f"{file_id(position)}.dcm",
        sop_instance_uid=identity.sop_instance_uid,
        study_instance_uid=piece.study_uid,
    )
