"""Named statements about studies to be fetched from the institution's own PACS."""

from dataclasses import dataclass

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.sqlite import insert

from radpost.store import rows
from radpost.store.schema import retrieval


@dataclass(frozen=True, slots=True)
class RetrievalRow:
    """A study that somebody ordered for a partner."""

    id: int
    study_uid: str
    partner: str
    priority: int
    state: str
    attempts: int
    objects: int
    code: int | None
    detail: str
    created_at: float
    due_at: float | None
    done_at: float | None


_RETRIEVAL = rows.columns(retrieval, RetrievalRow)


def add(connection: Connection, study_uid: str, partner: str, priority: int, now: float) -> int:
    """Order a study."""
    values = {
        "study_uid": study_uid,
        "partner": partner,
        "priority": priority,
        "state": "due",
        "created_at": now,
        "due_at": now,
    }
    key = connection.execute(insert(retrieval), values).inserted_primary_key
    assert key is not None
    return int(key[0])


def get(connection: Connection, retrieval_id: int) -> RetrievalRow | None:
    """Return an order."""
    return rows.one(connection, RetrievalRow, select(*_RETRIEVAL).where(retrieval.c.id == retrieval_id))


def due(connection: Connection, now: float) -> list[RetrievalRow]:
    """Return orders to fetch now."""
    statement = select(*_RETRIEVAL).where(retrieval.c.state == "due", retrieval.c.due_at <= now)
    return rows.many(connection, RetrievalRow, statement.order_by(retrieval.c.priority, retrieval.c.id))


def listed(connection: Connection, limit: int) -> list[RetrievalRow]:
    """Return the newest orders."""
    return rows.many(
        connection, RetrievalRow, select(*_RETRIEVAL).order_by(retrieval.c.id.desc()).limit(limit)
    )


def change(connection: Connection, retrieval_id: int, **values: object) -> None:
    """Store an order's new state."""
    connection.execute(update(retrieval).where(retrieval.c.id == retrieval_id).values(**values))
