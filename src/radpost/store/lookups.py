"""Named statements of listings: what a person asks about, by whatever name he has for it."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, false, func, select

from radpost.store import rows
from radpost.store.incoming_deliveries import NOWHERE
from radpost.store.incoming_mails import ArrivalRow
from radpost.store.journal import AlarmRow, EventRow
from radpost.store.outgoing_collections import CollectionRow
from radpost.store.outgoing_submissions import SubmissionRow
from radpost.store.outgoing_transmissions import TransmissionRow
from radpost.store.quarantined_mails import QuarantineRow
from radpost.store.schema import (
    alarm,
    arrival,
    collection,
    delivery,
    event,
    incoming_object,
    incoming_set,
    mail,
    mailbox_entry,
    memory,
    message,
    object_,
    quarantine,
    receipt,
    submission,
    transmission,
)


@dataclass(frozen=True, slots=True)
class ForeignRow:
    """A mail that was seen in a mailbox and is not ours."""

    mailbox: str
    validity: str
    uid: str
    state: str
    """``foreign`` while it stays, ``moved`` when it is in the folder for such mails."""
    at: float
    arrival_id: int | None
    arrival_state: str | None
    from_address: str | None
    message_id: str | None
    sent_at: float | None
    size: int | None


_TRANSMISSION = rows.columns(transmission, TransmissionRow)
_ARRIVAL = rows.columns(arrival, ArrivalRow)
_SUBMISSION = rows.columns(submission, SubmissionRow)
_COLLECTION = rows.columns(collection, CollectionRow)
_ALARM = rows.columns(alarm, AlarmRow)
_EVENT = rows.columns(event, EventRow)
_QUARANTINE = rows.columns(quarantine, QuarantineRow)
_LONGEST_LIST = 200
_SHORTEST_BEGINNING = 6


@dataclass(frozen=True, slots=True)
class Fact:
    """A remembered small fact, and since when it stands."""

    name: str
    value: str
    at: float


@dataclass(frozen=True, slots=True)
class ReceivedObject:
    """One object of an arrived mail, with what it is."""

    arrival_id: int
    position: int
    object_id: int | None
    sha256: str
    study_uid: str
    state: str
    code: int | None
    imported_at: float
    kind: str
    sop_instance_uid: str
    size: int


def facts(connection: Connection, beginning: str) -> list[Fact]:
    """Return the remembered facts whose names begin so."""
    statement = select(memory.c.name, memory.c.value, memory.c.at).where(
        memory.c.name.startswith(beginning, autoescape=True)
    )
    return rows.many(connection, Fact, statement.order_by(memory.c.name))


def transmissions_named(connection: Connection, name: str) -> list[TransmissionRow]:
    """Return transmissions by SETID, by its beginning, or by Study Instance UID; newest first."""
    statement = select(*_TRANSMISSION).order_by(transmission.c.created_at.desc())
    exact = rows.many(connection, TransmissionRow, statement.where(transmission.c.id == name))
    if exact:
        return exact
    found = _begins(transmission.c.id, name) | (transmission.c.study_uid == name)
    return rows.many(connection, TransmissionRow, statement.where(found).limit(_LONGEST_LIST))


def transmissions_with_message_id(connection: Connection, message_id: str) -> list[TransmissionRow]:
    """Return the transmission that a Message-ID of ours stood for."""
    statement = (
        select(*_TRANSMISSION)
        .join(mail, mail.c.transmission_id == transmission.c.id)
        .join(message, message.c.mail_id == mail.c.id)
        .where(message.c.message_id == message_id)
    )
    return rows.many(connection, TransmissionRow, statement)


def transmissions_of_source(connection: Connection, source: str) -> list[TransmissionRow]:
    """Return what one job (``radpost send``) became, in order."""
    statement = select(*_TRANSMISSION).where(transmission.c.source == source)
    return rows.many(connection, TransmissionRow, statement.order_by(transmission.c.created_at))


def collections_of_source(connection: Connection, source: str) -> list[CollectionRow]:
    """Return the collections of a source that are not planned yet."""
    return rows.many(connection, CollectionRow, select(*_COLLECTION).where(collection.c.source == source))


def open_collections(connection: Connection) -> list[CollectionRow]:
    """Return what is being collected now, oldest first."""
    statement = select(*_COLLECTION).where(collection.c.state == "open").order_by(collection.c.opened_at)
    return rows.many(connection, CollectionRow, statement.limit(_LONGEST_LIST))


def sets_named(connection: Connection, name: str) -> list[tuple[str, str]]:
    """Return (partner, set id) of arrived sets by set id, its beginning, or Study Instance UID."""
    statement = select(incoming_set.c.partner, incoming_set.c.set_id).order_by(incoming_set.c.last_at.desc())
    exact = connection.execute(statement.where(incoming_set.c.set_id == name)).all()
    found = exact or connection.execute(
        statement.where(_begins(incoming_set.c.set_id, name) | (incoming_set.c.study_uid == name)).limit(
            _LONGEST_LIST
        )
    )
    return [(str(row[0]), str(row[1])) for row in found]


def arrivals_of_study(connection: Connection, study_uid: str) -> list[ArrivalRow]:
    """Return the mails without a set that brought objects of a study."""
    carrying = select(incoming_object.c.arrival_id).where(incoming_object.c.study_uid == study_uid)
    statement = select(*_ARRIVAL).where(arrival.c.id.in_(carrying), arrival.c.set_id == "")
    return rows.many(connection, ArrivalRow, statement.order_by(arrival.c.id).limit(_LONGEST_LIST))


def arrivals_with_message_id(connection: Connection, message_id: str) -> list[ArrivalRow]:
    """Return the arrivals of one Message-ID."""
    statement = select(*_ARRIVAL).where(arrival.c.message_id == message_id)
    return rows.many(connection, ArrivalRow, statement.order_by(arrival.c.id).limit(_LONGEST_LIST))


def received_objects(connection: Connection, arrival_id: int) -> list[ReceivedObject]:
    """Return what a mail carried, with what is known of each object."""
    statement = (
        select(
            incoming_object.c.arrival_id,
            incoming_object.c.position,
            incoming_object.c.object_id,
            incoming_object.c.sha256,
            incoming_object.c.study_uid,
            incoming_object.c.state,
            incoming_object.c.code,
            incoming_object.c.imported_at,
            func.coalesce(object_.c.kind, ""),
            func.coalesce(object_.c.sop_instance_uid, ""),
            func.coalesce(object_.c.size, 0),
        )
        .outerjoin(object_, object_.c.id == incoming_object.c.object_id)
        .where(incoming_object.c.arrival_id == arrival_id)
        .order_by(incoming_object.c.position)
    )
    return rows.many(connection, ReceivedObject, statement)


def submissions_of_transmission(connection: Connection, transmission_id: str) -> list[SubmissionRow]:
    """Return every message that carried a mail of a transmission, oldest first."""
    mails = select(mail.c.id).where(mail.c.transmission_id == transmission_id)
    statement = select(*_SUBMISSION).where(submission.c.mail_id.in_(mails)).order_by(submission.c.id)
    return rows.many(connection, SubmissionRow, statement)


def submission_counts(connection: Connection) -> dict[tuple[str, str], int]:
    """Return how many messages stand in each (route, state)."""
    statement = select(submission.c.route, submission.c.state, func.count()).group_by(
        submission.c.route, submission.c.state
    )
    return {(str(row[0]), str(row[1])): int(row[2]) for row in connection.execute(statement)}


def last_reply(connection: Connection, route: str) -> tuple[str, int]:
    """Return what a route's server said last about a message that waits, and how often it deferred it."""
    statement = (
        select(submission.c.reply, submission.c.attempts)
        .where(submission.c.route == route, submission.c.state == "ready", submission.c.reply != "")
        .order_by(submission.c.id.desc())
        .limit(1)
    )
    row = connection.execute(statement).first()
    return ("", 0) if row is None else (str(row[0]), int(row[1]))


def delayed_messages(connection: Connection) -> int:
    """Return how many messages were tried at a mail server in vain and still wait."""
    statement = select(func.count()).select_from(submission)
    tried = submission.c.state.in_(["ready", "suspended"]) & (submission.c.reply != "")
    return int(connection.execute(statement.where(tried)).scalar_one())


def mails_confirmed(connection: Connection, transmission_id: str) -> int:
    """Return how many mails of a transmission the partner has confirmed."""
    statement = select(func.count()).select_from(mail)
    confirmed = mail.c.state.in_(["confirmed", "confirmed (unsigned)"])
    return int(
        connection.execute(statement.where(mail.c.transmission_id == transmission_id, confirmed)).scalar_one()
    )


def overdue_mails(connection: Connection, now: float) -> int:
    """Return how many mails are on the server and past the time a receipt was due."""
    statement = select(func.count()).select_from(mail).where(mail.c.state == "on server", mail.c.code == 504)
    late = int(connection.execute(statement).scalar_one())
    due = (
        select(func.count())
        .select_from(mail)
        .where(mail.c.state == "on server", mail.c.due_at <= now, mail.c.code.is_distinct_from(504))
    )
    return late + int(connection.execute(due).scalar_one())


def incomplete_sets(connection: Connection) -> int:
    """Return how many arrived sets lack mails."""
    statement = select(func.count()).select_from(incoming_set).where(incoming_set.c.state == "incomplete")
    return int(connection.execute(statement).scalar_one())


def waiting_receipts(connection: Connection) -> int:
    """Return how many receipts we owe."""
    statement = select(func.count()).select_from(receipt).where(receipt.c.state.in_(["owed", "written"]))
    return int(connection.execute(statement).scalar_one())


def failed_deliveries(connection: Connection) -> list[tuple[str, str, int | None, int]]:
    """Return (destination, state, code, count) of what was not delivered and is not on its way."""
    statement = (
        select(delivery.c.destination, delivery.c.state, delivery.c.code, func.count())
        .where(delivery.c.state.in_(["refused", "undeliverable", "held"]), delivery.c.destination != NOWHERE)
        .group_by(delivery.c.destination, delivery.c.state, delivery.c.code)
    )
    return [(str(row[0]), str(row[1]), row[2], int(row[3])) for row in connection.execute(statement)]


def foreign_mails(connection: Connection) -> list[ForeignRow]:
    """Return the mails that stay in a mailbox because they are not ours, or were moved; oldest first.

    After a change of UIDVALIDITY the same mails are there under two; only the newer one counts.
    """
    statement = (
        select(
            mailbox_entry.c.mailbox,
            mailbox_entry.c.validity,
            mailbox_entry.c.uid,
            mailbox_entry.c.state,
            mailbox_entry.c.at,
            mailbox_entry.c.arrival_id,
            arrival.c.state,
            arrival.c.from_address,
            arrival.c.message_id,
            arrival.c.sent_at,
            arrival.c.size,
        )
        .outerjoin(arrival, arrival.c.id == mailbox_entry.c.arrival_id)
        .where(mailbox_entry.c.state.in_(["foreign", "moved"]))
        .order_by(mailbox_entry.c.at, mailbox_entry.c.arrival_id)
    )
    newest = (
        select(mailbox_entry.c.mailbox, mailbox_entry.c.validity)
        .group_by(mailbox_entry.c.mailbox, mailbox_entry.c.validity)
        .order_by(func.max(mailbox_entry.c.at))
    )
    valid = {str(row[0]): str(row[1]) for row in connection.execute(newest)}
    found = rows.many(connection, ForeignRow, statement)
    return [row for row in found if valid[row.mailbox] == row.validity]


def alarms_about(connection: Connection, subjects: list[str]) -> list[AlarmRow]:
    """Return the open alarms of some subjects."""
    statement = select(*_ALARM).where(alarm.c.subject.in_(subjects), alarm.c.ended_at.is_(None))
    return rows.many(connection, AlarmRow, statement.order_by(alarm.c.opened_at))


def events_of_arrivals(connection: Connection, arrival_ids: list[int]) -> list[EventRow]:
    """Return the timeline of some arrivals, oldest first."""
    found: list[EventRow] = []
    for start in range(0, len(arrival_ids), _LONGEST_LIST):
        part = arrival_ids[start : start + _LONGEST_LIST]
        statement = select(*_EVENT).where(event.c.arrival_id.in_(part)).order_by(event.c.id)
        found.extend(rows.many(connection, EventRow, statement))
    return found


def newest_event(connection: Connection) -> float | None:
    """Return when the last thing was noted."""
    found = connection.execute(select(func.max(event.c.at))).scalar_one_or_none()
    return None if found is None else float(found)


def quarantine_of(connection: Connection, arrival_id: int) -> list[QuarantineRow]:
    """Return the open entries of an arrival in quarantine."""
    statement = select(*_QUARANTINE).where(
        quarantine.c.arrival_id == arrival_id, quarantine.c.state == "open"
    )
    return rows.many(connection, QuarantineRow, statement)


def _begins(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """Return the condition of a beginning; a short one would name half of the store."""
    return column.startswith(name, autoescape=True) if len(name) >= _SHORTEST_BEGINNING else false()
