"""Named statements about what arrives: mails, sets, imported objects, deliveries, receipts, quarantine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from radpost.errors import INCOMPLETE_FRAGMENTS, NOT_OURS
from radpost.store import rows
from radpost.store.schema import (
    arrival,
    assembly,
    delivery,
    incoming_object,
    incoming_part,
    incoming_set,
    mailbox_entry,
    object_,
    quarantine,
    receipt,
)


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


class ReceiptRow(rows.Row, frozen=True):
    """A receipt that we owe or have sent."""

    id: int
    arrival_id: int
    partner: str
    recipient: str
    original_message_id: str
    disposition: str
    code: int | None
    state: str
    due_at: float | None
    attempts: int
    created_at: float
    sent_at: float | None


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


class MailboxEntryRow(rows.Row, frozen=True):
    """A mail seen in a mailbox."""

    mailbox: str
    validity: str
    uid: str
    sha256: str
    arrival_id: int | None
    state: str
    at: float


_ARRIVAL = rows.columns(arrival, ArrivalRow)
_SET = rows.columns(incoming_set, IncomingSetRow)
_OBJECT = rows.columns(incoming_object, IncomingObjectRow)
_RECEIPT = rows.columns(receipt, ReceiptRow)
_QUARANTINE = rows.columns(quarantine, QuarantineRow)
_ENTRY = rows.columns(mailbox_entry, MailboxEntryRow)
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
_GET_ARRIVAL = rows.Query(ArrivalRow, select(*_ARRIVAL).where(arrival.c.id == bindparam("key")))
_DUE_ARRIVALS = rows.Query(
    ArrivalRow,
    select(*_ARRIVAL)
    .where(arrival.c.state == bindparam("state"), arrival.c.due_at <= bindparam("now"))
    .order_by(arrival.c.due_at, arrival.c.id)
    .limit(bindparam("most")),
)
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
_TO_JOIN = rows.Query(
    lambda address, fragment_id: (str(address), str(fragment_id)),
    select(assembly.c.from_address, assembly.c.fragment_id).where(
        assembly.c.state == "joining",
        assembly.c.due_at.is_(None) | (assembly.c.due_at <= bindparam("now")),
    ),
)
_DUE_ASSEMBLIES = rows.Query(
    lambda address, fragment_id: (str(address), str(fragment_id)),
    select(assembly.c.from_address, assembly.c.fragment_id).where(
        assembly.c.state == "waiting", assembly.c.due_at <= bindparam("now")
    ),
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
_DUE_RECEIPTS = rows.Query(
    ReceiptRow,
    select(*_RECEIPT)
    .where(receipt.c.state == "owed", receipt.c.due_at <= bindparam("now"))
    .order_by(receipt.c.id)
    .limit(bindparam("most")),
)
_DATA_WAITS = rows.Statement(
    select(arrival.c.id).where(arrival.c.state == "fetched", arrival.c.due_at <= bindparam("now")).limit(1)
)
_RECEIPT_ARRIVAL = rows.Statement(select(receipt.c.arrival_id).where(receipt.c.id == bindparam("key")))
_QUARANTINE_BYTES = rows.Statement(
    select(func.coalesce(func.sum(quarantine.c.size), 0)).where(quarantine.c.state == "open")
)
_FOREIGN_HELD = rows.Query(
    lambda count, size: (int(count), int(size)),
    select(func.count(), func.coalesce(func.sum(quarantine.c.size), 0)).where(
        quarantine.c.state == "open", quarantine.c.code == NOT_OURS.code
    ),
)
_ENTRIES = rows.Query(
    MailboxEntryRow,
    select(*_ENTRY).where(
        mailbox_entry.c.mailbox == bindparam("mailbox"), mailbox_entry.c.validity == bindparam("validity")
    ),
)
_ENTRY_BY_HASH = rows.Query(
    MailboxEntryRow,
    select(*_ENTRY)
    .where(mailbox_entry.c.mailbox == bindparam("mailbox"), mailbox_entry.c.sha256 == bindparam("sha256"))
    .order_by(mailbox_entry.c.at.desc())
    .limit(1),
)
_ENTRY_OF_ARRIVAL = rows.Statement(
    update(mailbox_entry)
    .where(
        mailbox_entry.c.arrival_id == bindparam("arrival"),
        (mailbox_entry.c.state == "stored") | (mailbox_entry.c.state == "foreign"),
    )
    .values(state=bindparam("new_state"))
)
_SET_ENTRY = rows.Statement(
    update(mailbox_entry)
    .where(
        mailbox_entry.c.mailbox == bindparam("box"),
        mailbox_entry.c.validity == bindparam("valid"),
        mailbox_entry.c.uid == bindparam("key"),
    )
    .values(state=bindparam("new_state"))
)
_FORGET_ENTRY = rows.Statement(
    delete(mailbox_entry).where(
        mailbox_entry.c.mailbox == bindparam("box"),
        mailbox_entry.c.validity == bindparam("valid"),
        mailbox_entry.c.uid == bindparam("key"),
    )
)
_FORGET_OTHERS = rows.Statement(
    delete(mailbox_entry).where(
        mailbox_entry.c.mailbox == bindparam("box"),
        mailbox_entry.c.validity != bindparam("valid"),
        mailbox_entry.c.at < bindparam("before"),
    )
)
_PUT_ENTRY = rows.upsert(mailbox_entry, "mailbox", "validity", "uid")
_PUT_SET = rows.upsert(incoming_set, "partner", "set_id", keep=("first_at",))
_PUT_ASSEMBLY = rows.upsert(assembly, "from_address", "fragment_id")
_PUT_OBJECT = rows.upsert(incoming_object, "arrival_id", "position")
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
    return rows.many(connection, ArrivalRow, select(*_ARRIVAL).order_by(arrival.c.id.desc()).limit(limit))


def fragments(connection: Connection, from_address: str, fragment_id: str) -> list[ArrivalRow]:
    """Return the fragments of a group that wait, or that were given up while others were missing.

    The id alone can collide between senders.
    """
    given_up = arrival.c.state.in_(["quarantined", "receipt owed"]) & (
        arrival.c.code == INCOMPLETE_FRAGMENTS.code
    )
    statement = select(*_ARRIVAL).where(
        arrival.c.from_address == from_address,
        arrival.c.fragment_id == fragment_id,
        (arrival.c.state == "fragment waiting") | given_up,
    )
    return rows.many(connection, ArrivalRow, statement.order_by(arrival.c.fragment_number, arrival.c.id))


def first_fragments(
    connection: Connection, from_address: str, message_id: str, *, besides: int
) -> list[ArrivalRow]:
    """Return the other first fragments of a mail: copies, and those of earlier tries."""
    statement = select(*_ARRIVAL).where(
        arrival.c.message_id == message_id,
        arrival.c.from_address == from_address,
        arrival.c.fragment_number == 1,
        arrival.c.id != besides,
    )
    return rows.many(connection, ArrivalRow, statement)


def withdraw_receipts(connection: Connection, arrival_id: int) -> None:
    """Take back receipts for a mail that are not written yet, because they are true no longer."""
    for row in receipts_of(connection, arrival_id):
        if row.state == "owed":
            update_receipt(connection, row.id, state="withdrawn")


def same_message(
    connection: Connection, from_address: str, message_id: str, before: int
) -> ArrivalRow | None:
    """Return an earlier processed arrival of the same Message-ID from the same sender."""
    statement = (
        select(*_ARRIVAL)
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
    statement = select(*_ARRIVAL).where(arrival.c.partner == partner, arrival.c.set_id == set_id)
    return rows.many(connection, ArrivalRow, statement.order_by(arrival.c.id))


def reported_objects(connection: Connection, arrival_id: int) -> list[ReportedObject]:
    """Return what a receipt per object says about a mail."""
    return _REPORTED.many(connection, arrival_id=arrival_id)


def get_assembly(connection: Connection, from_address: str, fragment_id: str) -> tuple[str, str] | None:
    """Return state and machine of a group of fragments."""
    statement = select(assembly.c.state, assembly.c.machine).where(
        assembly.c.from_address == from_address, assembly.c.fragment_id == fragment_id
    )
    row = connection.execute(statement).first()
    return None if row is None else (str(row[0]), str(row[1]))


def put_assembly(
    connection: Connection,
    from_address: str,
    fragment_id: str,
    machine: str,
    state: str,
    due_at: float | None,
) -> None:
    """Store the state of a group of fragments."""
    values = {
        "from_address": from_address,
        "fragment_id": fragment_id,
        "machine": machine,
        "state": state,
        "due_at": due_at,
    }
    _PUT_ASSEMBLY.run(connection, values)


def set_assembly_state(connection: Connection, from_address: str, fragment_id: str, state: str) -> None:
    """Store that a group is joined or given up; its deadline ends."""
    statement = update(assembly).where(
        assembly.c.from_address == from_address, assembly.c.fragment_id == fragment_id
    )
    connection.execute(statement.values(state=state, due_at=None))


def assemblies_to_join(connection: Connection, now: float) -> list[tuple[str, str]]:
    """Return (sender, fragment id) of the groups that are complete."""
    return _TO_JOIN.many(connection, now=now)


def due_assemblies(connection: Connection, now: float) -> list[tuple[str, str]]:
    """Return (sender, fragment id) of groups whose stored deadline has passed."""
    return _DUE_ASSEMBLIES.many(connection, now=now)


def add_objects(connection: Connection, values: Sequence[Mapping[str, Any]]) -> None:
    """Note what a mail carried; a replay replaces what stood there."""
    _PUT_OBJECT.run_all(connection, values)


def objects_of(connection: Connection, arrival_id: int) -> list[IncomingObjectRow]:
    """Return what a mail carried."""
    statement = select(*_OBJECT).where(incoming_object.c.arrival_id == arrival_id)
    return rows.many(connection, IncomingObjectRow, statement.order_by(incoming_object.c.position))


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


def add_receipt(connection: Connection, values: Mapping[str, Any]) -> int:
    """Note a receipt that we owe."""
    return rows.add_with_id(connection, receipt, values)


def due_receipts(connection: Connection, now: float, limit: int) -> list[ReceiptRow]:
    """Return receipts to write next."""
    return _DUE_RECEIPTS.many(connection, now=now, most=limit)


def data_waits(connection: Connection, now: float) -> bool:
    """Tell whether mails wait to be opened."""
    return _DATA_WAITS.value(connection, {"now": now}) is not None


def receipts_of(connection: Connection, arrival_id: int) -> list[ReceiptRow]:
    """Return the receipts for a mail."""
    statement = select(*_RECEIPT).where(receipt.c.arrival_id == arrival_id)
    return rows.many(connection, ReceiptRow, statement.order_by(receipt.c.id))


def receipt_arrival(connection: Connection, receipt_id: int) -> int:
    """Return the mail that a receipt is about."""
    return int(_RECEIPT_ARRIVAL.value(connection, {"key": receipt_id}))


def update_receipt(connection: Connection, receipt_id: int, **values: object) -> None:
    """Store a receipt's new state."""
    rows.change(connection, receipt, receipt_id, values)


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


def put_entry(connection: Connection, row: MailboxEntryRow) -> None:
    """Note a mail of a mailbox."""
    values = {
        "mailbox": row.mailbox,
        "validity": row.validity,
        "uid": row.uid,
        "sha256": row.sha256,
        "arrival_id": row.arrival_id,
        "state": row.state,
        "at": row.at,
    }
    _PUT_ENTRY.run(connection, values)


def entries(connection: Connection, mailbox: str, validity: str) -> dict[str, MailboxEntryRow]:
    """Return what was seen in a mailbox under this UIDVALIDITY, by UID."""
    return {row.uid: row for row in _ENTRIES.many(connection, mailbox=mailbox, validity=validity)}


def entry_by_hash(connection: Connection, mailbox: str, sha256: str) -> MailboxEntryRow | None:
    """Return an earlier sight of the same bytes, whatever its UID was."""
    return _ENTRY_BY_HASH.one(connection, mailbox=mailbox, sha256=sha256)


def set_entries(connection: Connection, mailbox: str, validity: str, uids: Sequence[str], state: str) -> None:
    """Store a new state of entries."""
    found = [{"box": mailbox, "valid": validity, "key": uid, "new_state": state} for uid in uids]
    _SET_ENTRY.run_all(connection, found)


def set_entry_of_arrival(connection: Connection, arrival_id: int, state: str) -> None:
    """Store whether the mail of a mailbox entry is ours; what was moved or deleted stays so."""
    _ENTRY_OF_ARRIVAL.run(connection, {"arrival": arrival_id, "new_state": state})


def forget_entries(connection: Connection, mailbox: str, validity: str, uids: Sequence[str]) -> None:
    """Remove entries whose mails are gone from the server."""
    _FORGET_ENTRY.run_all(connection, [{"box": mailbox, "valid": validity, "key": uid} for uid in uids])


def forget_other_validities(connection: Connection, mailbox: str, validity: str, before: float) -> None:
    """Remove entries that were seen under another UIDVALIDITY, before a time."""
    _FORGET_OTHERS.run(connection, {"box": mailbox, "valid": validity, "before": before})


def counts(connection: Connection) -> dict[str, int]:
    """Return how many arrivals stand in each state."""
    statement = select(arrival.c.state, func.count()).group_by(arrival.c.state)
    return {str(row[0]): int(row[1]) for row in connection.execute(statement)}
