"""Named statements about the quarantine: mails that wait for a person."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.sqlite import insert

from radpost.errors import NOT_OURS
from radpost.store import rows
from radpost.store.schema import quarantine


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """What could not be processed: the raw mail, or one object of a mail."""

    id: int
    arrival_id: int | None
    position: int | None
    partner: str | None
    from_address: str
    sha256: str
    size: int
    code: int
    detail: str
    state: str
    created_at: float
    ended_at: float | None


_QUARANTINE = rows.columns(quarantine, QuarantineRow)
_QUARANTINE_BYTES = rows.Statement(
    select(func.coalesce(func.sum(quarantine.c.size), 0)).where(quarantine.c.state == "open")
)
_FOREIGN_HELD = rows.Query(
    lambda count, size: (int(count), int(size)),
    select(func.count(), func.coalesce(func.sum(quarantine.c.size), 0)).where(
        quarantine.c.state == "open", quarantine.c.code == NOT_OURS.code
    ),
)


def add_quarantine(connection: Connection, values: Mapping[str, Any]) -> int:
    """Put something into quarantine."""
    key = connection.execute(insert(quarantine), values).inserted_primary_key
    assert key is not None
    return int(key[0])


def get_quarantine(connection: Connection, quarantine_id: int) -> QuarantineRow | None:
    """Return an entry of the quarantine."""
    statement = select(*_QUARANTINE).where(quarantine.c.id == quarantine_id)
    return rows.one(connection, QuarantineRow, statement)


def quarantined(connection: Connection, *, state: str = "open", limit: int = 1000) -> list[QuarantineRow]:
    """Return the quarantine, oldest first; mails that are not ours stand behind those that are."""
    order = (quarantine.c.code == NOT_OURS.code, quarantine.c.id)
    statement = select(*_QUARANTINE).where(quarantine.c.state == state).order_by(*order).limit(limit)
    return rows.many(connection, QuarantineRow, statement)


def quarantine_counts(connection: Connection) -> tuple[int, int]:
    """Return how many entries there are, and how many of them are mails that are not ours."""
    statement = select(func.count(), func.count().filter(quarantine.c.code == NOT_OURS.code))
    row = connection.execute(statement.where(quarantine.c.state == "open")).one()
    return int(row[0]), int(row[1])


def foreign_held(connection: Connection) -> tuple[int, int]:
    """Return number and bytes of the mails in quarantine that are not ours."""
    found = _FOREIGN_HELD.one(connection)
    return found or (0, 0)


def old_foreign(connection: Connection, before: float, limit: int) -> list[QuarantineRow]:
    """Return mails that are not ours and lie in quarantine since before this time."""
    statement = select(*_QUARANTINE).where(
        quarantine.c.state == "open", quarantine.c.created_at < before, quarantine.c.code == NOT_OURS.code
    )
    return rows.many(connection, QuarantineRow, statement.order_by(quarantine.c.created_at).limit(limit))


def end_quarantine(connection: Connection, quarantine_id: int, state: str, now: float) -> None:
    """End an entry: ``replayed`` or ``dropped``."""
    statement = update(quarantine).where(quarantine.c.id == quarantine_id, quarantine.c.state == "open")
    connection.execute(statement.values(state=state, ended_at=now))


def end_quarantine_of(connection: Connection, arrival_id: int, now: float) -> None:
    """End the open entries of a mail that is processed now."""
    statement = update(quarantine).where(quarantine.c.arrival_id == arrival_id, quarantine.c.state == "open")
    connection.execute(statement.values(state="replayed", ended_at=now))


def quarantine_bytes(connection: Connection) -> int:
    """Return how much the quarantine holds."""
    return int(_QUARANTINE_BYTES.value(connection, {}))
