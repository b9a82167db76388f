"""Sendings whose command did not finish (killed, power failure): what they took waits for a person.

``radpost send`` says itself when all is there. If it cannot, the gateway does not know how much is missing,
so it sends nothing of that by a timer: it raises an alarm, and a person sends it as it is or drops it.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from radpost.errors import BAD_COMMAND, NOT_FOUND, UNFINISHED_SEND, RadpostError
from radpost.gateway import machines
from radpost.gateway.alarms import SEND, unfinished_subject
from radpost.gateway.ingest import SEND_IDLE_SECONDS, Collector, Origin
from radpost.gateway.site import Site
from radpost.store import journal, lookups, outgoing_collections
from radpost.store.outgoing_collections import CollectionRow
from radpost.transfer.completion import Collection
from radpost.words import Priority


@dataclass(frozen=True, slots=True)
class Unfinished:
    """One call of ``radpost send`` that has not said that all is there."""

    job: str
    partner: str
    studies: int
    objects: int
    bytes: int
    since: float
    waits: bool
    """Nothing has come for so long that the command must be dead; else it may well be running."""


def listed(site: Site) -> list[Unfinished]:
    """Return the sendings that are not finished, oldest first."""
    with site.database.read() as connection:
        found = [row for row in lookups.open_collections(connection) if row.source.startswith(SEND)]
    jobs: dict[str, list[CollectionRow]] = {}
    for row in found:
        jobs.setdefault(row.source, []).append(row)
    return [_job(site, rows) for rows in jobs.values() if any(row.objects for row in rows)]


def send(site: Site, job: str) -> Unfinished:
    """Send what a command took before it ended.

    Raises:
        RadpostError: NOT_FOUND, BAD_COMMAND if the command may still be running.
    """
    found = _waiting(site, job)
    origin = Origin(SEND + found.job, site.partners.by_name(found.partner), Priority.ROUTINE, whole=True)
    with site.database.write() as connection:
        Collector(site).flush(connection, origin, site.clock())
    return found


def drop(site: Site, job: str) -> Unfinished:
    """Throw away what a command took before it ended; the files that it was given stay where they are.

    Raises:
        RadpostError: NOT_FOUND, BAD_COMMAND if the command may still be running.
    """
    found = _waiting(site, job)
    with site.database.write() as connection:
        forget(connection, SEND + found.job, found.partner, site.clock())
    return found


def forget(connection: Connection, source: str, partner: str, now: float) -> None:
    """Remove what of a sending is not given to the gateway yet, and its alarm."""
    for row in outgoing_collections.open_collections_of(connection, source, partner):
        outgoing_collections.drop_collection(connection, row.id)
    journal.end_alarm(connection, UNFINISHED_SEND.code, unfinished_subject(source), now)


def _waiting(site: Site, job: str) -> Unfinished:
    found = [one for one in listed(site) if job and one.job.startswith(job)]
    if len(found) != 1:
        many = f"{len(found)} begin so" if found else "there is none"
        raise RadpostError(NOT_FOUND, f"unfinished sending '{job}': {many}; see 'radpost unfinished list'")
    if not found[0].waits:
        minutes = f"{SEND_IDLE_SECONDS / 60:.0f} minutes"
        raise RadpostError(
            BAD_COMMAND, f"sending {found[0].job} may still be running; try again in {minutes}"
        )
    return found[0]


def _job(site: Site, rows: list[CollectionRow]) -> Unfinished:
    now = site.clock()
    return Unfinished(
        job=rows[0].source.removeprefix(SEND),
        partner=rows[0].partner,
        studies=len({row.study_uid for row in rows}),
        objects=sum(row.objects for row in rows),
        bytes=sum(row.bytes for row in rows),
        since=min(row.opened_at for row in rows),
        waits=all(_due(row) <= now for row in rows),
    )


def _due(row: CollectionRow) -> float:
    return machines.load(Collection, row.machine).due or 0.0
