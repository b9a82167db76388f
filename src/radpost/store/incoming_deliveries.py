"""Named statements about deliveries: what goes to which destination, and what has none."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, select

from radpost.store import rows
from radpost.store.schema import delivery, object_


class DeliveryRow(rows.Row, frozen=True):
    """An object on its way to a destination, with the file and syntax that are to be sent."""

    id: int
    object_id: int
    destination: str
    partner: str
    study_uid: str
    name: str
    state: str
    machine: str
    priority: int
    due_at: float | None
    attempts: int
    status: int | None
    code: int | None
    detail: str
    changed_from: str | None
    changed_to: str | None
    created_at: float
    done_at: float | None
    file_sha256: str
    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    size: int
    media_type: str


_DELIVERY = (
    *(
        delivery.c[name]
        for name in (
            "id",
            "object_id",
            "destination",
            "partner",
            "study_uid",
            "name",
            "state",
            "machine",
            "priority",
            "due_at",
            "attempts",
            "status",
            "code",
            "detail",
            "changed_from",
            "changed_to",
            "created_at",
            "done_at",
        )
    ),
    object_.c.file_sha256,
    object_.c.kind,
    object_.c.sop_class_uid,
    object_.c.sop_instance_uid,
    object_.c.transfer_syntax_uid,
    object_.c.size,
    object_.c.media_type,
)
_DUE_DELIVERIES = rows.Query(
    DeliveryRow,
    select(*_DELIVERY)
    .join(object_, object_.c.id == delivery.c.object_id)
    .where(
        delivery.c.state == "due",
        delivery.c.destination == bindparam("destination"),
        delivery.c.due_at <= bindparam("now"),
    )
    .order_by(delivery.c.priority, delivery.c.due_at, delivery.c.id)
    .limit(bindparam("most")),
)
_NEW_DELIVERY = (
    "object_id",
    "destination",
    "partner",
    "study_uid",
    "name",
    "state",
    "machine",
    "priority",
    "due_at",
    "created_at",
)
_ADD_DELIVERY = rows.insert_new(delivery, *_NEW_DELIVERY)
NOWHERE: Final = ""
"""The name of the destination in the row of an object that has none."""
_UNPLACED = (delivery.c.state == "undeliverable") & (delivery.c.destination == NOWHERE)
_ADD_UNPLACED = rows.insert_new(delivery, *_NEW_DELIVERY, "code")
_REMOVE_UNPLACED = rows.Statement(
    delete(delivery).where(
        delivery.c.object_id == bindparam("object_id"), delivery.c.destination == bindparam("nowhere")
    )
)
_HAS_PLACE = rows.Statement(
    select(delivery.c.id)
    .where(delivery.c.object_id == bindparam("object_id"), delivery.c.destination != bindparam("nowhere"))
    .limit(1)
)


def add_deliveries(connection: Connection, values: Sequence[Mapping[str, Any]]) -> None:
    """Order deliveries; an object that is already ordered for a destination is not ordered twice."""
    _ADD_DELIVERY.run_all(connection, values)


def awaited_destinations(connection: Connection) -> list[str]:
    """Return the destinations that objects wait for."""
    statement = select(delivery.c.destination).where(delivery.c.state == "due").distinct()
    return [str(row[0]) for row in connection.execute(statement)]


def add_unplaced(connection: Connection, values: Mapping[str, Any]) -> None:
    """Note an object that no destination takes, unless that is noted already."""
    _ADD_UNPLACED.run(connection, values)


def remove_unplaced(connection: Connection, object_id: int) -> None:
    """Note that an object has a destination now."""
    _REMOVE_UNPLACED.run(connection, {"object_id": object_id, "nowhere": NOWHERE})


def has_place(connection: Connection, object_id: int) -> bool:
    """Tell whether an object was ever ordered for a destination."""
    return _HAS_PLACE.value(connection, {"object_id": object_id, "nowhere": NOWHERE}) is not None


def unplaced_groups(connection: Connection) -> list[tuple[str, str]]:
    """Return (partner, kind of object) of what no destination takes."""
    statement = (
        select(delivery.c.partner, object_.c.kind)
        .join(object_, object_.c.id == delivery.c.object_id)
        .where(_UNPLACED)
        .distinct()
    )
    return [(str(row[0]), str(row[1])) for row in connection.execute(statement)]


def unplaced(connection: Connection, partner: str, kind: str, limit: int) -> list[DeliveryRow]:
    """Return objects of a partner that no destination takes, oldest first."""
    statement = (
        select(*_DELIVERY)
        .join(object_, object_.c.id == delivery.c.object_id)
        .where(_UNPLACED, delivery.c.partner == partner, object_.c.kind == kind)
    )
    return rows.many(connection, DeliveryRow, statement.order_by(delivery.c.id).limit(limit))


def unplaced_count(connection: Connection) -> int:
    """Return how many objects no destination takes."""
    return int(connection.execute(select(func.count()).where(_UNPLACED)).scalar_one())


def due_deliveries(connection: Connection, destination: str, now: float, limit: int) -> list[DeliveryRow]:
    """Return what to deliver next to a destination."""
    return _DUE_DELIVERIES.many(connection, destination=destination, now=now, most=limit)


def deliveries_of(connection: Connection, object_id: int) -> list[DeliveryRow]:
    """Return an object's deliveries."""
    statement = (
        select(*_DELIVERY)
        .join(object_, object_.c.id == delivery.c.object_id)
        .where(delivery.c.object_id == object_id)
    )
    return rows.many(connection, DeliveryRow, statement.order_by(delivery.c.id))


def update_delivery(connection: Connection, delivery_id: int, **values: object) -> None:
    """Store a delivery's new state."""
    rows.change(connection, delivery, delivery_id, values)


def stopped_deliveries(connection: Connection, destination: str | None = None) -> list[DeliveryRow]:
    """Return what a destination (or any) did not take, or what is held for a person."""
    statement = (
        select(*_DELIVERY)
        .join(object_, object_.c.id == delivery.c.object_id)
        .where(
            delivery.c.state.in_(["refused", "undeliverable", "held", "cancelled"]),
            delivery.c.destination != NOWHERE,
        )
    )
    if destination is not None:
        statement = statement.where(delivery.c.destination == destination)
    return rows.many(connection, DeliveryRow, statement.order_by(delivery.c.id))


def others_failed(connection: Connection, row: DeliveryRow, code: int) -> bool:
    """Tell whether other objects for the same destination stand for this reason."""
    statement = (
        select(delivery.c.id)
        .where(
            delivery.c.state.in_(["due", "refused", "undeliverable", "held"]),
            delivery.c.destination == row.destination,
            delivery.c.code == code,
            delivery.c.id != row.id,
        )
        .limit(1)
    )
    return connection.execute(statement).first() is not None


def delivery_counts(connection: Connection) -> dict[tuple[str, str], int]:
    """Return how many deliveries stand in each (destination, state)."""
    statement = select(delivery.c.destination, delivery.c.state, func.count()).group_by(
        delivery.c.destination, delivery.c.state
    )
    return {(str(row[0]), str(row[1])): int(row[2]) for row in connection.execute(statement)}
