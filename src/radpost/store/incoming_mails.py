"""Named statements about arriving mails: from their arrival on, and what objects they brought."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from radpost.store import rows
from radpost.store.schema import arrival, incoming_object, object_


class ArrivalRow(rows.Row, frozen=True):
    """A raw mail that is durable here."""

    id: int
    source: str
    envelope_from: str | None
    recipient: str
    sha256: str
    size: int
    received_at: float
    state: str
    machine: str
    due_at: float | None
    attempts: int
    kind: str
    partner: str | None
    from_address: str
    message_id: str
    receipt_to: str
    set_id: str
    set_part: int | None
    set_total: int | None
    fragment_id: str | None
    fragment_number: int | None
    fragment_total: int | None
    joined_into: int | None
    verdict: str | None
    fingerprint: str | None
    code: int | None
    detail: str
    opened_at: float | None
    ended_at: float | None
    receipt_request: str
    """JSON: what was asked for inside the encryption (`agit.contents.InnerRequest`), or empty."""


class IncomingObjectRow(rows.Row, frozen=True):
    """One object of an arrived mail."""

    arrival_id: int
    position: int
    object_id: int | None
    sha256: str
    study_uid: str
    name: str
    state: str
    code: int | None
    detail: str
    imported_at: float


@dataclass(frozen=True, slots=True)
class ReportedObject:
    """What is told to the sender about one object."""

    position: int
    sha256: str
    state: str
    sop_instance_uid: str
    code: int | None


ARRIVAL = rows.columns(arrival, ArrivalRow)
_OBJECT = rows.columns(incoming_object, IncomingObjectRow)
_GET_ARRIVAL = rows.Query(ArrivalRow, select(*ARRIVAL).where(arrival.c.id == bindparam("key")))
_DUE_ARRIVALS = rows.Query(
    ArrivalRow,
    select(*ARRIVAL)
    .where(arrival.c.state == bindparam("state"), arrival.c.due_at <= bindparam("now"))
    .order_by(arrival.c.due_at, arrival.c.id)
    .limit(bindparam("most")),
)
_REPORTED = rows.Query(
    ReportedObject,
    select(
        incoming_object.c.position,
        incoming_object.c.sha256,
        incoming_object.c.state,
        func.coalesce(object_.c.sop_instance_uid, ""),
        incoming_object.c.code,
    )
    .outerjoin(object_, object_.c.id == incoming_object.c.object_id)
    .where(incoming_object.c.arrival_id == bindparam("arrival_id"))
    .order_by(incoming_object.c.position),
)
_DATA_WAITS = rows.Statement(
    select(arrival.c.id).where(arrival.c.state == "fetched", arrival.c.due_at <= bindparam("now")).limit(1)
)
_PUT_OBJECT = rows.upsert(incoming_object, "arrival_id", "position")


def add_arrival(connection: Connection, values: Mapping[str, Any]) -> int:
    """Add a mail that is durable in the spool."""
    return rows.add_with_id(connection, arrival, values)


def get_arrival(connection: Connection, arrival_id: int) -> ArrivalRow | None:
    """Return an arrival."""
    return _GET_ARRIVAL.one(connection, key=arrival_id)


def due_arrivals(connection: Connection, states: Sequence[str], now: float, limit: int) -> list[ArrivalRow]:
    """Return arrivals in one of the states whose time has come, oldest first."""
    found: list[ArrivalRow] = []
    for state in states:
        found.extend(_DUE_ARRIVALS.many(connection, state=state, now=now, most=limit))
    return sorted(found, key=lambda row: (row.due_at or 0.0, row.id))[:limit]


def update_arrival(connection: Connection, arrival_id: int, **values: object) -> None:
    """Store an arrival's new state."""
    rows.change(connection, arrival, arrival_id, values)


def recent_arrivals(connection: Connection, limit: int) -> list[ArrivalRow]:
    """Return the newest arrivals."""
    return rows.many(connection, ArrivalRow, select(*ARRIVAL).order_by(arrival.c.id.desc()).limit(limit))


def same_message(
    connection: Connection, from_address: str, message_id: str, before: int
) -> ArrivalRow | None:
    """Return an earlier processed arrival of the same Message-ID from the same sender."""
    statement = (
        select(*ARRIVAL)
        .where(
            arrival.c.message_id == message_id,
            arrival.c.from_address == from_address,
            arrival.c.id < before,
            arrival.c.state == "done",
        )
        .order_by(arrival.c.id)
        .limit(1)
    )
    return rows.one(connection, ArrivalRow, statement)


def reported_objects(connection: Connection, arrival_id: int) -> list[ReportedObject]:
    """Return what a receipt per object says about a mail."""
    return _REPORTED.many(connection, arrival_id=arrival_id)


def add_objects(connection: Connection, values: Sequence[Mapping[str, Any]]) -> None:
    """Note what a mail carried; a replay replaces what stood there."""
    _PUT_OBJECT.run_all(connection, values)


def objects_of(connection: Connection, arrival_id: int) -> list[IncomingObjectRow]:
    """Return what a mail carried."""
    statement = select(*_OBJECT).where(incoming_object.c.arrival_id == arrival_id)
    return rows.many(connection, IncomingObjectRow, statement.order_by(incoming_object.c.position))


def data_waits(connection: Connection, now: float) -> bool:
    """Tell whether mails wait to be opened."""
    return _DATA_WAITS.value(connection, {"now": now}) is not None


def counts(connection: Connection) -> dict[str, int]:
    """Return how many arrivals stand in each state."""
    statement = select(arrival.c.state, func.count()).group_by(arrival.c.state)
    return {str(row[0]): int(row[1]) for row in connection.execute(statement)}
