"""Named statements about what leaves: collections, transmissions, mails, submissions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from radpost.store import rows
from radpost.store.schema import (
    blob,
    collection,
    collection_object,
    mail,
    mail_object,
    message,
    object_,
    submission,
    transmission,
    window,
)


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """A study that is being collected for a partner."""

    id: int
    source: str
    partner: str
    study_uid: str
    state: str
    priority: int
    machine: str
    objects: int
    bytes: int
    opened_at: float
    due_at: float | None
    group_id: str


@dataclass(frozen=True, slots=True)
class Member:
    """An object of a collection or a mail, with the file that travels for it."""

    object_id: int
    file_sha256: str
    name: str
    size: int
    kind: str
    media_type: str
    transfer_syntax_uid: str
    study_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class TransmissionRow:
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


@dataclass(frozen=True, slots=True)
class MailRow:
    """One mail of a transmission."""

    id: int
    transmission_id: str
    partner: str
    part: int
    total: int
    priority: int
    state: str
    machine: str
    version: int
    due_at: float | None
    work: str | None
    message_id: str | None
    sealed_sha256: str | None
    size: int
    objects: int
    bytes: int
    sealed_at: float | None
    on_server_at: float | None
    reported_at: float | None
    disposition: str | None
    code: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class MailObjectRow:
    """One object of a mail, with its truths (JSON: truth -> [yes or no, time, code])."""

    mail_id: int
    position: int
    object_id: int
    file_sha256: str
    name: str
    truths: str
    sop_instance_uid: str
    study_uid: str
    kind: str
    size: int


@dataclass(frozen=True, slots=True)
class SubmissionRow:
    """One message on the wire: ``head`` and the bytes ``start`` to ``end`` of a spool file."""

    id: int
    kind: str
    mail_id: int | None
    receipt_id: int | None
    partner: str
    route: str
    message_id: str
    envid: str
    envelope_from: str
    recipient: str
    piece: int
    pieces: int
    head: bytes | None
    sha256: str
    start: int
    end: int
    size: int
    generation: int
    state: str
    machine: str
    priority: int
    due_at: float | None
    attempts: int
    reply: str


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A Message-ID of ours, and whose mail it stood for."""

    message_id: str
    mail_id: int
    partner: str
    recipient: str
    generation: int


_MESSAGE = rows.columns(message, MessageRow)
_COLLECTION = rows.columns(collection, CollectionRow)
_TRANSMISSION = rows.columns(transmission, TransmissionRow)
_MAIL = rows.columns(mail, MailRow)
_SUBMISSION = rows.columns(submission, SubmissionRow)
_MEMBER_OBJECT = (
    blob.c.size,  # of the file that travels: the same data set may lie in files with other meta headers
    object_.c.kind,
    object_.c.media_type,
    object_.c.transfer_syntax_uid,
    object_.c.study_uid,
    object_.c.sop_instance_uid,
)
_OPEN = select(*_COLLECTION).where(
    collection.c.source == bindparam("source"),
    collection.c.partner == bindparam("partner"),
    collection.c.study_uid == bindparam("study_uid"),
    collection.c.state == "open",
)
_ADD_MEMBER = insert(collection_object).on_conflict_do_nothing()
_TOUCH = (
    update(collection)
    .where(collection.c.id == bindparam("key"))
    .values(
        machine=bindparam("new_machine"),
        objects=collection.c.objects + bindparam("more"),
        bytes=collection.c.bytes + bindparam("more_bytes"),
        due_at=bindparam("due"),
        state=bindparam("new_state"),
    )
)
_NEXT_SUBMISSIONS = (
    select(*_SUBMISSION)
    .where(
        submission.c.state == "ready",
        submission.c.route == bindparam("route"),
        submission.c.due_at <= bindparam("now"),
    )
    .order_by(submission.c.priority, submission.c.due_at, submission.c.id)
    .limit(bindparam("most"))
)


_MAIL_OBJECTS = (
    select(
        mail_object.c.mail_id,
        mail_object.c.position,
        mail_object.c.object_id,
        mail_object.c.file_sha256,
        mail_object.c.name,
        mail_object.c.truths,
        object_.c.sop_instance_uid,
        object_.c.study_uid,
        object_.c.kind,
        object_.c.size,
    )
    .join(object_, object_.c.id == mail_object.c.object_id)
    .join(mail, mail.c.id == mail_object.c.mail_id)
    .order_by(mail_object.c.position)
)


def open_collection(
    connection: Connection, source: str, partner: str, study_uid: str
) -> CollectionRow | None:
    """Return the collection that takes further objects of this study, if one is open."""
    return rows.one(connection, CollectionRow, _OPEN, source=source, partner=partner, study_uid=study_uid)


def open_collections_of(connection: Connection, source: str, partner: str) -> list[CollectionRow]:
    """Return a source's open collections for a partner."""
    statement = select(*_COLLECTION).where(
        collection.c.source == source, collection.c.partner == partner, collection.c.state == "open"
    )
    return rows.many(connection, CollectionRow, statement)


def add_collection(connection: Connection, values: Mapping[str, Any]) -> int:
    """Open a collection."""
    key = connection.execute(insert(collection), values).inserted_primary_key
    assert key is not None
    return int(key[0])


def add_member(
    connection: Connection, collection_id: int, object_id: int, file_sha256: str, name: str, now: float
) -> bool:
    """Add an object to a collection; return False if it was in it already."""
    values = {
        "collection_id": collection_id,
        "object_id": object_id,
        "file_sha256": file_sha256,
        "name": name,
        "arrived_at": now,
    }
    return connection.execute(_ADD_MEMBER, values).rowcount > 0


def touch_collection(
    connection: Connection,
    collection_id: int,
    machine: str,
    state: str,
    due_at: float | None,
    *,
    objects: int = 0,
    size: int = 0,
) -> None:
    """Store a collection's new state and count what was added."""
    connection.execute(
        _TOUCH,
        {
            "key": collection_id,
            "new_machine": machine,
            "more": objects,
            "more_bytes": size,
            "due": due_at,
            "new_state": state,
        },
    )


def due_collections(connection: Connection, now: float) -> list[CollectionRow]:
    """Return open collections whose stored deadline has passed."""
    statement = select(*_COLLECTION).where(collection.c.state == "open", collection.c.due_at <= now)
    return rows.many(connection, CollectionRow, statement)


def collections(connection: Connection, state: str) -> list[CollectionRow]:
    """Return the collections in a state, oldest first."""
    statement = select(*_COLLECTION).where(collection.c.state == state)
    return rows.many(connection, CollectionRow, statement.order_by(collection.c.priority, collection.c.id))


def next_collection_due(connection: Connection) -> float | None:
    """Return when the next open collection is to be closed."""
    statement = select(func.min(collection.c.due_at)).where(collection.c.state == "open")
    found = connection.execute(statement).scalar_one_or_none()
    return None if found is None else float(found)


def has_recut(connection: Connection) -> bool:
    """Tell whether a mail is to be planned anew as another set."""
    statement = select(mail.c.id).where(mail.c.work.in_(["recut-singly", "recut-rest"])).limit(1)
    return connection.execute(statement).first() is not None


def members(connection: Connection, collection_id: int) -> list[Member]:
    """Return a collection's objects in the order of their arrival."""
    statement = (
        select(
            collection_object.c.object_id,
            collection_object.c.file_sha256,
            collection_object.c.name,
            *_MEMBER_OBJECT,
        )
        .join(object_, object_.c.id == collection_object.c.object_id)
        .join(blob, blob.c.sha256 == collection_object.c.file_sha256)
        .where(collection_object.c.collection_id == collection_id)
        .order_by(collection_object.c.arrived_at, collection_object.c.object_id)
    )
    return rows.many(connection, Member, statement)


def drop_collection(connection: Connection, collection_id: int) -> None:
    """Remove a collection whose objects are planned into mails."""
    connection.execute(delete(collection).where(collection.c.id == collection_id))


def add_transmission(connection: Connection, values: Mapping[str, Any]) -> None:
    """Add a transmission."""
    connection.execute(insert(transmission), values)


def add_mail(connection: Connection, values: Mapping[str, Any], parts: Sequence[Member], first: int) -> int:
    """Add a mail and its objects; ``first`` is the position of its first object in the transmission."""
    key = connection.execute(insert(mail), values).inserted_primary_key
    assert key is not None
    mail_id = int(key[0])
    connection.execute(
        insert(mail_object),
        [
            {
                "mail_id": mail_id,
                "position": first + index,
                "object_id": part.object_id,
                "file_sha256": part.file_sha256,
                "name": part.name,
                "truths": "{}",
            }
            for index, part in enumerate(parts)
        ],
    )
    return mail_id


def get_transmission(connection: Connection, transmission_id: str) -> TransmissionRow | None:
    """Return a transmission by its SETID, or by the beginning of it if only one begins so."""
    statement = select(*_TRANSMISSION).where(transmission.c.id == transmission_id)
    exact = rows.one(connection, TransmissionRow, statement)
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
    statement = update(transmission).where(transmission.c.id == transmission_id)
    connection.execute(statement.values(version=transmission.c.version + 1, **values))


def get_mail(connection: Connection, mail_id: int) -> MailRow:
    """Return a mail that is known to exist."""
    row = rows.one(connection, MailRow, select(*_MAIL).where(mail.c.id == mail_id))
    assert row is not None, "mails are removed only with their transmission"
    return row


def mails_of(connection: Connection, transmission_id: str) -> list[MailRow]:
    """Return a transmission's mails in order."""
    statement = select(*_MAIL).where(mail.c.transmission_id == transmission_id).order_by(mail.c.part)
    return rows.many(connection, MailRow, statement)


def next_work(
    connection: Connection, work: str, now: float, limit: int, blocked: Sequence[str]
) -> list[MailRow]:
    """Return mails to seal or cut next: by priority, then age; partners in ``blocked`` have no credit now."""
    statement = (
        select(*_MAIL)
        .where(mail.c.work == work, mail.c.due_at <= now)
        .order_by(mail.c.priority, mail.c.id)
        .limit(limit)
    )
    if blocked:
        statement = statement.where(mail.c.partner.not_in(list(blocked)))
    return rows.many(connection, MailRow, statement)


def due_mails(connection: Connection, now: float, states: Sequence[str], limit: int = 200) -> list[MailRow]:
    """Return mails in one of the states whose stored deadline has passed."""
    statement = select(*_MAIL).where(mail.c.state.in_(list(states)), mail.c.due_at <= now).limit(limit)
    return rows.many(connection, MailRow, statement)


def update_mail(connection: Connection, mail_id: int, **values: object) -> None:
    """Store a mail's new state."""
    statement = update(mail).where(mail.c.id == mail_id)
    connection.execute(statement.values(version=mail.c.version + 1, **values))


def mail_members(connection: Connection, mail_id: int) -> list[Member]:
    """Return a mail's objects in order."""
    statement = (
        select(
            mail_object.c.object_id,
            mail_object.c.file_sha256,
            mail_object.c.name,
            *_MEMBER_OBJECT,
        )
        .join(object_, object_.c.id == mail_object.c.object_id)
        .join(blob, blob.c.sha256 == mail_object.c.file_sha256)
        .where(mail_object.c.mail_id == mail_id)
        .order_by(mail_object.c.position)
    )
    return rows.many(connection, Member, statement)


def objects_of(connection: Connection, transmission_id: str) -> list[MailObjectRow]:
    """Return a transmission's objects in order, with what is known of each."""
    statement = _MAIL_OBJECTS.where(mail.c.transmission_id == transmission_id)
    return rows.many(connection, MailObjectRow, statement)


def objects_of_mail(connection: Connection, mail_id: int) -> list[MailObjectRow]:
    """Return a mail's objects in order, with what is known of each."""
    return rows.many(connection, MailObjectRow, _MAIL_OBJECTS.where(mail.c.id == mail_id))


def set_truths(connection: Connection, mail_id: int, position: int, truths: str) -> None:
    """Store what is known of one object."""
    statement = update(mail_object).where(
        mail_object.c.mail_id == mail_id, mail_object.c.position == position
    )
    connection.execute(statement.values(truths=truths))


def add_message(
    connection: Connection,
    message_id: str,
    mail_id: int,
    partner: str,
    recipient: str,
    generation: int,
    now: float,
) -> None:
    """Note a Message-ID of ours, so that a report about it can be matched."""
    values = {
        "message_id": message_id,
        "mail_id": mail_id,
        "partner": partner,
        "recipient": recipient,
        "generation": generation,
        "created_at": now,
    }
    connection.execute(insert(message), values)


def find_message(connection: Connection, message_id: str) -> MessageRow | None:
    """Return what a Message-ID of ours stood for."""
    return rows.one(connection, MessageRow, select(*_MESSAGE).where(message.c.message_id == message_id))


def find_envid(connection: Connection, envid: str) -> MessageRow | None:
    """Return what an ENVID of ours stood for (RFC 3461 4.4)."""
    statement = (
        select(*_MESSAGE)
        .join(submission, submission.c.message_id == message.c.message_id)
        .where(submission.c.envid == envid)
    )
    return rows.one(connection, MessageRow, statement)


def add_submissions(connection: Connection, values: Sequence[Mapping[str, Any]]) -> None:
    """Add messages to the outbox."""
    connection.execute(insert(submission), values)


def next_submissions(connection: Connection, route: str, now: float, limit: int) -> list[SubmissionRow]:
    """Return what to submit next over a route: by priority, then age."""
    return rows.many(connection, SubmissionRow, _NEXT_SUBMISSIONS, route=route, now=now, most=limit)


def routes_due(connection: Connection) -> list[str]:
    """Return the routes over which anything is still to be submitted."""
    statement = select(submission.c.route).where(submission.c.state == "ready").distinct()
    return [str(row[0]) for row in connection.execute(statement)]


def update_submission(connection: Connection, submission_id: int, **values: object) -> None:
    """Store a submission's new state."""
    connection.execute(update(submission).where(submission.c.id == submission_id).values(**values))


def submissions_of(connection: Connection, mail_id: int) -> list[SubmissionRow]:
    """Return all messages that ever carried a mail, oldest first."""
    statement = select(*_SUBMISSION).where(submission.c.mail_id == mail_id).order_by(submission.c.id)
    return rows.many(connection, SubmissionRow, statement)


def live_submissions(connection: Connection, mail_id: int) -> list[SubmissionRow]:
    """Return a mail's messages that are not at an end."""
    statement = select(*_SUBMISSION).where(
        submission.c.mail_id == mail_id, submission.c.state.in_(["ready", "sending", "suspended"])
    )
    return rows.many(connection, SubmissionRow, statement.order_by(submission.c.id))


def interrupted_submissions(connection: Connection) -> list[SubmissionRow]:
    """Return messages that were being sent when the process ended."""
    return rows.many(connection, SubmissionRow, select(*_SUBMISSION).where(submission.c.state == "sending"))


def get_submission(connection: Connection, submission_id: int) -> SubmissionRow | None:
    """Return a message of the outbox."""
    return rows.one(connection, SubmissionRow, select(*_SUBMISSION).where(submission.c.id == submission_id))


def due_transmissions(connection: Connection, now: float) -> list[TransmissionRow]:
    """Return transmissions whose stored deadline has passed."""
    statement = select(*_TRANSMISSION).where(transmission.c.due_at <= now).limit(200)
    return rows.many(connection, TransmissionRow, statement)


def unsent_bytes(connection: Connection) -> dict[str, int]:
    """Return the bytes that are sealed and wait for submission, by partner."""
    statement = (
        select(mail.c.partner, func.sum(mail.c.size))
        .where(mail.c.state.in_(["sealed", "submitting"]))
        .group_by(mail.c.partner)
    )
    return {str(row[0]): int(row[1]) for row in connection.execute(statement)}


def first_position(connection: Connection, mail_id: int) -> int:
    """Return the position of a mail's first object within its transmission, from 1."""
    statement = select(func.min(mail_object.c.position)).where(mail_object.c.mail_id == mail_id)
    return int(connection.execute(statement).scalar_one() or 1)


def get_window(connection: Connection, partner: str) -> str | None:
    """Return a partner's stored window of credits."""
    row = connection.execute(select(window.c.machine).where(window.c.partner == partner)).first()
    return None if row is None else str(row[0])


def put_window(connection: Connection, partner: str, machine: str) -> None:
    """Store a partner's window of credits."""
    statement = insert(window).values(partner=partner, machine=machine, version=0)
    changed = {"machine": machine, "version": window.c.version + 1}
    connection.execute(statement.on_conflict_do_update(index_elements=["partner"], set_=changed))


def counts(connection: Connection) -> dict[str, int]:
    """Return how many transmissions stand in each state."""
    statement = select(transmission.c.state, func.count()).group_by(transmission.c.state)
    return {str(row[0]): int(row[1]) for row in connection.execute(statement)}


def as_values(row: object) -> dict[str, Any]:
    """Return a row value as a mapping, for listings."""
    return asdict(row)  # type: ignore[call-overload,no-any-return]  # every row is a dataclass
