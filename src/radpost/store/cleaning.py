"""Collection of what the spool need not keep: released files, and files that no row knows (DESIGN 5).

A released file waits for a grace period, is claimed in one transaction and removed in another. The claim is
committed before the file goes, so a process that dies in between leaves a claim that the next run finishes.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select

from radpost.errors import STORE_UNUSABLE, RadpostError
from radpost.store import objects
from radpost.store.database import Database
from radpost.store.schema import blob
from radpost.store.spool import Spool

_CLAIMS_AT_ONCE: Final = 100
_NAMES_AT_ONCE: Final = 500
_HASH_LETTERS: Final = 64


def collect(database: Database, spool: Spool, now: float, grace_seconds: float) -> int:
    """Remove files that were released longer ago than the grace and that no row needs; return how many.

    Each claim and each removal is a short transaction of its own, so that nobody waits for the collector.
    Claims of a process that died are finished first.
    """
    with database.read() as connection:
        waiting = objects.claimed(connection)
    removed = _remove(database, spool, waiting)
    while True:
        with database.write() as connection:
            waiting = objects.claim_released(connection, now - grace_seconds, _CLAIMS_AT_ONCE)
        removed += _remove(database, spool, waiting)
        if len(waiting) < _CLAIMS_AT_ONCE:
            return removed


def orphans(database: Database, spool: Spool, older_than: float) -> list[Path]:
    """Return spool files without a row that have stood there since before ``older_than``.

    They are left by a crash between the rename and the commit; whoever sent them got no yes and sends
    again. Something that is no spool file at all is never named here.
    """
    found = []
    for shard in sorted(spool.root.joinpath("objects").iterdir()):
        names = sorted(_old_files(shard, older_than))
        for start in range(0, len(names), _NAMES_AT_ONCE):
            some = names[start : start + _NAMES_AT_ONCE]
            with database.read() as connection:
                known = _known(connection, some)
            found += [shard / name for name in some if name not in known]
    return found


def remove_orphans(database: Database, spool: Spool, older_than: float) -> int:
    """Remove what ``orphans`` finds, each serialised against ``put_blob`` like a collected file."""
    count = 0
    for path in orphans(database, spool, older_than):
        with database.write() as connection:
            if not _known(connection, [path.name]):
                spool.remove(path.name)
                count += 1
    return count


def _remove(database: Database, spool: Spool, names: list[str]) -> int:
    count = 0
    for sha256 in names:
        with database.write() as connection:
            count += objects.remove_claimed(connection, spool, sha256)
    return count


def _old_files(shard: Path, older_than: float) -> Iterator[str]:
    """Yield the names of old spool files; the rename into the shard counts as a change of the file."""
    try:
        with os.scandir(shard) as entries:
            for entry in entries:
                if len(entry.name) != _HASH_LETTERS or not entry.is_file(follow_symlinks=False):
                    continue
                facts = entry.stat(follow_symlinks=False)
                if max(facts.st_ctime, facts.st_mtime) < older_than:
                    yield entry.name
    except OSError as error:
        raise RadpostError(STORE_UNUSABLE, f"spool folder {shard.name} cannot be read") from error


def _known(connection: Connection, names: list[str]) -> set[str]:
    statement = select(blob.c.sha256).where(blob.c.sha256.in_(names))
    return {str(row[0]) for row in connection.execute(statement)}
