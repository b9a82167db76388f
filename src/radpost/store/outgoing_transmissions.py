"""Named statements about transmissions: what was ordered, and how it stands."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from radpost.store import rows
from radpost.store.schema import transmission


class TransmissionRow(rows.Row, frozen=True):
    """One job: a set of objects from us to one partner."""

    id: str
    partner: str
    group_id: str
    source: str
    study_uid: str
    priority: int
    state: str
    machine: str
    due_at: float | None
    version: int
    objects: int
    bytes: int
    mails: int
    code: int | None
    detail: str
    opened_at: float
    created_at: float
    ended_at: float | None


_TRANSMISSION = rows.columns(transmission, TransmissionRow)
_GET_TRANSMISSION = rows.Query(
    TransmissionRow, select(*_TRANSMISSION).where(transmission.c.id == bindparam("key"))
)
_DUE_TRANSMISSIONS = rows.Query(
    TransmissionRow, select(*_TRANSMISSION).where(transmission.c.due_at <= bindparam("now")).limit(200)
)


def add_transmission(connection: Connection, values: Mapping[str, Any]) -> None:
    """Add a transmission."""
    rows.add(connection, transmission, values)


def get_transmission(connection: Connection, transmission_id: str) -> TransmissionRow | None:
    """Return a transmission by its SETID, or by the beginning of it if only one begins so."""
    exact = _GET_TRANSMISSION.one(connection, key=transmission_id)
    if exact is not None or len(transmission_id) < 6:
        return exact
    statement = select(*_TRANSMISSION).where(transmission.c.id.startswith(transmission_id, autoescape=True))
    found = rows.many(connection, TransmissionRow, statement.limit(2))
    return found[0] if len(found) == 1 else None


def transmissions(connection: Connection, *, limit: int, states: Iterable[str] = ()) -> list[TransmissionRow]:
    """Return the newest transmissions, of the given states or all."""
    statement = select(*_TRANSMISSION).order_by(transmission.c.created_at.desc()).limit(limit)
    wanted = list(states)
    if wanted:
        statement = statement.where(transmission.c.state.in_(wanted))
    return rows.many(connection, TransmissionRow, statement)


def of_group(connection: Connection, group_id: str) -> list[TransmissionRow]:
    """Return the transmissions of a group: the batches of one study, and what was resent as a new set."""
    statement = select(*_TRANSMISSION).where(transmission.c.group_id == group_id)
    return rows.many(connection, TransmissionRow, statement.order_by(transmission.c.created_at))


def update_transmission(connection: Connection, transmission_id: str, **values: object) -> None:
    """Store a transmission's new state."""
    rows.change(connection, transmission, transmission_id, values)


def due_transmissions(connection: Connection, now: float) -> list[TransmissionRow]:
    """Return transmissions whose stored deadline has passed."""
    return _DUE_TRANSMISSIONS.many(connection, now=now)


def counts(connection: Connection) -> dict[str, int]:
    """Return how many transmissions stand in each state."""
    statement = select(transmission.c.state, func.count()).group_by(transmission.c.state)
    return {str(row[0]): int(row[1]) for row in connection.execute(statement)}
