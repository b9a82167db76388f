"""Named statements about sets of mails, and the parts of them that have arrived."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, select

from radpost.store import rows
from radpost.store.incoming_mails import ARRIVAL, ArrivalRow
from radpost.store.schema import arrival, incoming_part, incoming_set


class IncomingSetRow(rows.Row, frozen=True):
    """What is known of a partner's set."""

    partner: str
    set_id: str
    objects: int
    state: str
    machine: str
    study_uid: str
    first_at: float
    last_at: float
    due_at: float | None


_SET = rows.columns(incoming_set, IncomingSetRow)
_GET_SET = rows.Query(
    IncomingSetRow,
    select(*_SET).where(
        incoming_set.c.partner == bindparam("partner"), incoming_set.c.set_id == bindparam("set_id")
    ),
)
_DUE_SETS = rows.Query(IncomingSetRow, select(*_SET).where(incoming_set.c.due_at <= bindparam("now")))
_KNOWN_PART = rows.Statement(
    select(incoming_part.c.objects_sha256).where(
        incoming_part.c.partner == bindparam("partner"),
        incoming_part.c.set_id == bindparam("set_id"),
        incoming_part.c.part == bindparam("part"),
    )
)
_PUT_SET = rows.upsert(incoming_set, "partner", "set_id", keep=("first_at",))


def get_set(connection: Connection, partner: str, set_id: str) -> IncomingSetRow | None:
    """Return what is known of a partner's set."""
    return _GET_SET.one(connection, partner=partner, set_id=set_id)


def put_set(connection: Connection, values: Mapping[str, Any]) -> None:
    """Store what is known of a partner's set."""
    _PUT_SET.run(connection, values)


def add_part(
    connection: Connection, partner: str, set_id: str, part: int, arrival_id: int, digest: str
) -> str | None:
    """Note that a part of a set is here; return the digest of its objects if it was here before."""
    known = _KNOWN_PART.value(connection, {"partner": partner, "set_id": set_id, "part": part})
    if known is not None:
        return str(known)
    values = {
        "partner": partner,
        "set_id": set_id,
        "part": part,
        "arrival_id": arrival_id,
        "objects_sha256": digest,
    }
    rows.add(connection, incoming_part, values)
    return None


def parts(connection: Connection, partner: str, set_id: str) -> list[int]:
    """Return the numbers of the parts that are here."""
    statement = select(incoming_part.c.part).where(
        incoming_part.c.partner == partner, incoming_part.c.set_id == set_id
    )
    return [int(row[0]) for row in connection.execute(statement.order_by(incoming_part.c.part))]


def due_sets(connection: Connection, now: float) -> list[IncomingSetRow]:
    """Return incomplete sets whose stored deadline has passed."""
    return _DUE_SETS.many(connection, now=now)


def recent_sets(connection: Connection, limit: int) -> list[IncomingSetRow]:
    """Return the sets that were touched last."""
    statement = select(*_SET).order_by(incoming_set.c.last_at.desc()).limit(limit)
    return rows.many(connection, IncomingSetRow, statement)


def arrivals_of_set(connection: Connection, partner: str, set_id: str) -> list[ArrivalRow]:
    """Return the mails of a set in the order of their arrival."""
    statement = select(*ARRIVAL).where(arrival.c.partner == partner, arrival.c.set_id == set_id)
    return rows.many(connection, ArrivalRow, statement.order_by(arrival.c.id))
