"""Files on disk are taken for a partner: found, identified, grouped by study, made durable, closed (issue 2).

Two passes: the first only reads, so that a wrong study or an empty folder is said before anything is taken;
the second copies exactly the bytes on disk. What is left out is named with the reason.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from radpost.agit import gathering
from radpost.agit.gathering import Gathered, Piece, is_uid, media_type
from radpost.errors import CONFIG_INVALID, RadpostError
from radpost.gateway import unfinished
from radpost.gateway.alarms import SEND
from radpost.gateway.ingest import Collector, Origin, add_file
from radpost.gateway.partners import Partner
from radpost.gateway.site import Site, wake
from radpost.store import lookups, retrievals
from radpost.store.outgoing_transmissions import TransmissionRow
from radpost.transfer.transmission import ENDED, State
from radpost.words import Priority

GOOD: Final = frozenset({State.CONFIRMED, State.CONFIRMED_UNSIGNED})
POLL_SECONDS: Final = 0.3


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be sent, read once and not yet taken."""

    origin: Origin
    gathered: Gathered


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


def look(
    paths: Sequence[Path],
    partner: Partner,
    *,
    priority: Priority = Priority.ROUTINE,
    study_uid: str = "",
    seen: Callable[[Path], None] = lambda _path: None,
) -> Job:
    """Read what is to be sent (`agit.gathering.look`); nothing is taken yet.

    Raises:
        RadpostError: NOTHING_TO_SEND, CONFIG_INVALID.
    """
    gathered = gathering.look(paths, study_uid, seen=seen)
    origin = Origin(f"{SEND}{secrets.token_hex(8)}", partner, priority, whole=True)
    return Job(origin, gathered)


def take(site: Site, job: Job, *, taken: Callable[[Piece], None] = lambda _piece: None) -> bool:
    """Make a job's files durable and close its collections; return False if no gateway runs to send them.

    If it ends early (disk full, a file that changed, Ctrl-C), what was not yet given to the gateway is
    dropped again. If the process is killed, that waits for a person under an alarm (``radpost unfinished``).
    A partner who gets studies in closed batches (``streaming``) may have got some by then.
    """
    try:
        for piece in job.gathered.pieces:
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


def _retrieval(site: Site, number: int | None) -> tuple[bool, bool]:
    if number is None:
        return True, False
    with site.database.read() as connection:
        row = retrievals.get(connection, number)
    return (row is not None and row.state == "done"), (row is None or row.state == "failed")
