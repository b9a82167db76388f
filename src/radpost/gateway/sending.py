"""Files on disk are taken for a partner: found, identified, grouped by study, made durable, closed (issue 2).

Two passes: the first only reads, so that a wrong study or an empty folder is said before anything is taken;
the second copies exactly the bytes on disk. What is left out is named with the reason.
"""

import mimetypes
import re
import secrets
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from radpost.agit.names import DICOM_TYPE
from radpost.dicom.identity import Identity, identify
from radpost.dicom.media import Found, Skipped, gather
from radpost.errors import CONFIG_INVALID, NOTHING_TO_SEND, RadpostError
from radpost.gateway import unfinished
from radpost.gateway.alarms import SEND
from radpost.gateway.ingest import Collector, Origin, add_file
from radpost.gateway.partners import Partner
from radpost.gateway.site import Site, wake
from radpost.store import lookups, retrievals
from radpost.store.outgoing import TransmissionRow
from radpost.transfer.transmission import ENDED, State
from radpost.words import Priority

_UID: Final = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
GOOD: Final = frozenset({State.CONFIRMED, State.CONFIRMED_UNSIGNED})
POLL_SECONDS: Final = 0.3

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
class Job:
    """What is to be sent, read once and not yet taken."""

    origin: Origin
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


@dataclass(frozen=True, slots=True)
class Progress:
    """What became of a job so far."""

    transmissions: tuple[TransmissionRow, ...]
    collecting: int
    """Collections that the gateway has not planned into mails yet."""

    @property
    def ended(self) -> bool:
        """Tell whether nothing more will happen by itself."""
        return not self.collecting and all(State(row.state) in ENDED for row in self.transmissions)

    @property
    def good(self) -> bool:
        """Tell whether the partner has confirmed all; what went on in another set is judged there."""
        states = {State(row.state) for row in self.transmissions} - {State.SUPERSEDED}
        return self.ended and bool(states) and states <= GOOD


def is_uid(text: str) -> bool:
    """Tell whether a text is a DICOM UID (PS3.5 9.1)."""
    return len(text) <= 64 and bool(_UID.fullmatch(text))


def look(
    paths: Sequence[Path],
    partner: Partner,
    *,
    priority: Priority = Priority.ROUTINE,
    study_uid: str = "",
    seen: Callable[[Path], None] = lambda _path: None,
) -> Job:
    """Read what is to be sent; nothing is taken yet.

    Documents belong to ``study_uid`` if it is given, else to the one DICOM study of the job, else, because
    nobody may guess between several patients, to a new study of their own.

    Raises:
        RadpostError: NOTHING_TO_SEND, CONFIG_INVALID.
    """
    if study_uid and not is_uid(study_uid):
        raise RadpostError(CONFIG_INVALID, f"--study {study_uid} is no DICOM UID")
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
    origin = Origin(f"{SEND}{secrets.token_hex(8)}", partner, priority, whole=True)
    return Job(origin, pieces, tuple(left))


def take(site: Site, job: Job, *, taken: Callable[[Piece], None] = lambda _piece: None) -> bool:
    """Make a job's files durable and close its collections; return False if no gateway runs to send them.

    If it ends early (disk full, a file that changed, Ctrl-C), what was not yet given to the gateway is
    dropped again. If the process is killed, that waits for a person under an alarm (``radpost unfinished``).
    A partner who gets studies in closed batches (``streaming``) may have got some by then.
    """
    try:
        for piece in job.pieces:
            closed = add_file(
                site,
                job.origin,
                piece.path,
                piece.identity,
                media_type=media_type(piece),
                name=piece.path.name,
                study_uid=piece.study_uid,
            )
            taken(piece)
            if closed:
                wake(site.config)
    except BaseException:
        with site.database.write() as connection:
            unfinished.forget(connection, job.origin.source, job.origin.partner.name, site.clock())
        raise
    with site.database.write() as connection:
        Collector(site).flush(connection, job.origin, site.clock())
    return wake(site.config)


def order(site: Site, partner: Partner, study_uid: str, priority: Priority) -> int:
    """Order a study from the institution's own PACS for a partner; return the order's number.

    Raises:
        RadpostError: CONFIG_INVALID if there is no [pacs] or the UID is none.
    """
    if not is_uid(study_uid):
        raise RadpostError(CONFIG_INVALID, f"--study {study_uid} is no DICOM UID")
    if site.config.pacs is None:
        raise RadpostError(CONFIG_INVALID, "to fetch a study the configuration needs a [pacs] section")
    with site.database.write() as connection:
        return retrievals.add(connection, study_uid, partner.name, priority.value, site.clock())


def progress(site: Site, source: str) -> Progress:
    """Return what became of a job."""
    with site.database.read() as connection:
        return Progress(
            tuple(lookups.transmissions_of_source(connection, source)),
            len(lookups.collections_of_source(connection, source)),
        )


def follow(
    site: Site,
    source: str,
    seconds: float,
    *,
    changed: Callable[[Progress], None] = lambda _progress: None,
    retrieval: int | None = None,
) -> Progress:
    """Watch a job until it ends or the time is over; a retrieval is part of it."""
    deadline = time.monotonic() + seconds
    before: Progress | None = None
    while True:
        now = progress(site, source)
        if now != before:
            changed(now)
            before = now
        fetched, failed = _retrieval(site, retrieval)
        if failed or (fetched and now.ended and now.transmissions) or time.monotonic() >= deadline:
            return now
        time.sleep(POLL_SECONDS)


def retrieval_source(number: int) -> str:
    """Return the source that a fetched study's transmissions carry."""
    return f"pacs:{number}"


def media_type(piece: Piece) -> str:
    """Return the media type that a file travels under; damaged DICOM stays DICOM, for it is named so."""
    if piece.identity.kind == "dicom" or "not-dicom" not in piece.identity.defects:
        return DICOM_TYPE
    guessed, _ = mimetypes.MimeTypes().guess_type(piece.path.name)  # the built-in table, not this machine's
    return guessed or "application/octet-stream"


def _retrieval(site: Site, number: int | None) -> tuple[bool, bool]:
    if number is None:
        return True, False
    with site.database.read() as connection:
        row = retrievals.get(connection, number)
    return (row is not None and row.state == "done"), (row is None or row.state == "failed")


def _study_of_documents(found: Sequence[tuple[Path, Identity]], given: str) -> str:
    studies = {identity.study_instance_uid for _, identity in found} - {None}
    if given:
        return given
    if len(studies) == 1:
        return str(studies.pop())
    return f"2.25.{uuid.UUID(bytes=secrets.token_bytes(16), version=4).int}"
