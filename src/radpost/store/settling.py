"""Files that are durable in a segment only become durable themselves: soon after, or after a crash."""

import hashlib
from collections.abc import Sequence

from radpost.errors import STORE_UNUSABLE, RadpostError
from radpost.store import objects
from radpost.store.database import Database
from radpost.store.segments import Record, Segments
from radpost.store.spool import Spool, Stored

Unsettled = tuple[Stored, Record]


def settle(database: Database, spool: Spool, segments: Segments, files: Sequence[Unsettled]) -> None:
    """Sync the files, note it, and give their records back; a file that can't be synced is rebuilt."""
    there = [item for item in files if spool.path(item[0].sha256).exists()]
    try:
        spool.settle(stored for stored, _ in there)
    except RadpostError:
        # a failed sync is never retried to a yes: the pages may be gone, the record is not
        for stored, record in there:
            rebuild(spool, segments, stored, record)
    with database.write() as connection:
        for stored, record in files:
            objects.settled(connection, stored, record)
    for _, record in files:
        segments.release(record)


def rebuild(spool: Spool, segments: Segments, stored: Stored, record: Record) -> None:
    """Write a file anew from its record, durably.

    Raises:
        RadpostError: STORE_UNUSABLE if the record is not what the row says.
    """
    try:
        data = segments.read(record)
    except OSError as error:
        raise RadpostError(STORE_UNUSABLE, "a segment of the spool cannot be read") from error
    if hashlib.sha256(data).hexdigest() != stored.sha256:
        raise RadpostError(STORE_UNUSABLE, f"the record of spool file {stored.sha256[:12]} is damaged")
    with spool.writer() as writer:
        writer.write(data)
        writer.commit()


def recover(database: Database, spool: Spool, segments: Segments) -> tuple[int, list[str]]:
    """After a crash: rebuild every file whose row still names a record, before anybody reads it.

    Returns how many were rebuilt, and the hashes of those that could not be.
    """
    with database.read() as connection:
        found = objects.unsettled(connection)
    lost: list[str] = []
    for stored, record in found:
        try:
            rebuild(spool, segments, stored, record)
        except RadpostError:
            if not _is_whole(spool, stored):
                lost.append(stored.sha256)
                continue
            spool.settle([stored])
        with database.write() as connection:
            objects.settled(connection, stored, record)
    return len(found) - len(lost), lost


def _is_whole(spool: Spool, stored: Stored) -> bool:
    try:
        with spool.path(stored.sha256).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == stored.sha256
    except OSError:
        return False
