"""Named statements about what leaves: collections, transmissions, mails, submissions."""

from collections.abc import Iterable, Mapping, Sequence
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
from radpost.words import Priority


class CollectionRow(rows.Row, frozen=True):
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


class Member(rows.Row, frozen=True):
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


class MailRow(rows.Row, frozen=True):
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


class MailObjectRow(rows.Row, frozen=True):
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


class SubmissionRow(rows.Row, frozen=True):
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


class MessageRow(rows.Row, frozen=True):
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
_OPEN = rows.Query(
    CollectionRow,
    select(*_COLLECTION).where(
        collection.c.source == bindparam("source"),
        collection.c.partner == bindparam("partner"),
        collection.c.study_uid == bindparam("study_uid"),
        collection.c.state == "open",
    ),
)
_OPEN_OF = rows.Query(
    CollectionRow,
    select(*_COLLECTION).where(
        collection.c.source == bindparam("source"),
        collection.c.partner == bindparam("partner"),
        collection.c.state == "open",
    ),
)
_ADD_MEMBER = rows.Statement(
    insert(collection_object)
    .values({column.name: bindparam(column.name) for column in collection_object.c})
    .on_conflict_do_nothing()
)
_TOUCH = rows.Statement(
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
_DUE_COLLECTIONS = rows.Query(
    CollectionRow,
    select(*_COLLECTION).where(collection.c.state == "open", collection.c.due_at <= bindparam("now")),
)
_COLLECTIONS = rows.Query(
    CollectionRow,
    select(*_COLLECTION)
    .where(collection.c.state == bindparam("state"))
    .order_by(collection.c.priority, collection.c.id),
)
_CLOSED_COLLECTIONS = rows.Query(
    CollectionRow,
    select(*_COLLECTION)
    .where(
        collection.c.state == "closed",
        collection.c.due_at.is_(None) | (collection.c.due_at <= bindparam("now")),
    )
    .order_by(collection.c.priority, collection.c.id),
)
_NEXT_COLLECTION_DUE = rows.Statement(
    select(func.min(collection.c.due_at)).where(collection.c.state == "open")
)
_OTHERS_ALARMED = rows.Statement(
    select(mail.c.id)
    .where(
        mail.c.transmission_id == bindparam("transmission_id"),
        func.json_extract(mail.c.machine, "$.alarm") == bindparam("alarm"),
        mail.c.id != bindparam("but"),
    )
    .limit(1)
)
_OTHERS_STUCK = rows.Statement(
    select(submission.c.id)
    .where(
        (submission.c.state == "ready")
        | (submission.c.state == "sending")
        | (submission.c.state == "suspended"),
        submission.c.partner == bindparam("partner"),
        func.json_extract(submission.c.machine, "$.alarm") == bindparam("alarm"),
        submission.c.id != bindparam("but"),
    )
    .limit(1)
)
_RECUTS = rows.Query(
    MailRow,
    select(*_MAIL)
    .where(mail.c.work.in_(["recut-singly", "recut-rest"]), mail.c.due_at <= bindparam("now", required=False))
    .order_by(mail.c.id)
    .limit(100),
)
_NEXT_SUBMISSIONS = rows.Query(
    SubmissionRow,
    select(*_SUBMISSION)
    .where(
        submission.c.state == "ready",
        submission.c.route == bindparam("route"),
        submission.c.due_at <= bindparam("now"),
    )
    .order_by(submission.c.priority, submission.c.due_at, submission.c.id)
    .limit(bindparam("most")),
)
_ROUTES_DUE = rows.Query(str, select(submission.c.route).where(submission.c.state == "ready").distinct())
_GET_SUBMISSION = rows.Query(SubmissionRow, select(*_SUBMISSION).where(submission.c.id == bindparam("key")))
_LIVE_SUBMISSIONS = rows.Query(
    SubmissionRow,
    select(*_SUBMISSION)
    .where(
        submission.c.mail_id == bindparam("mail_id", required=False),
        submission.c.state.in_(["ready", "sending", "suspended"]),
    )
    .order_by(submission.c.id),
)
_GET_MAIL = rows.Query(MailRow, select(*_MAIL).where(mail.c.id == bindparam("key")))
_NEXT_WORK = rows.Query(
    MailRow,
    select(*_MAIL)
    .where(mail.c.work == bindparam("work"), mail.c.due_at <= bindparam("now"))
    .order_by(mail.c.priority, mail.c.id)
    .limit(bindparam("most")),
)
_DUE_IN_STATE = rows.Query(
    MailRow,
    select(*_MAIL)
    .where(mail.c.state == bindparam("state"), mail.c.due_at <= bindparam("now"))
    .limit(bindparam("most")),
)
_GET_TRANSMISSION = rows.Query(
    TransmissionRow, select(*_TRANSMISSION).where(transmission.c.id == bindparam("key"))
)
_DUE_TRANSMISSIONS = rows.Query(
    TransmissionRow, select(*_TRANSMISSION).where(transmission.c.due_at <= bindparam("now")).limit(200)
)
_MAIL_MEMBERS = rows.Query(
    Member,
    select(
        mail_object.c.object_id,
        mail_object.c.file_sha256,
        mail_object.c.name,
        *_MEMBER_OBJECT,
    )
    .join(object_, object_.c.id == mail_object.c.object_id)
    .join(blob, blob.c.sha256 == mail_object.c.file_sha256)
    .where(mail_object.c.mail_id == bindparam("mail_id"))
    .order_by(mail_object.c.position),
)
_FIRST_POSITION = rows.Statement(
    select(func.min(mail_object.c.position)).where(mail_object.c.mail_id == bindparam("mail_id"))
)
_SET_TRUTHS = rows.Statement(
    update(mail_object)
    .where(mail_object.c.mail_id == bindparam("mail"), mail_object.c.position == bindparam("place"))
    .values(truths=bindparam("new_truths"))
)
_FIND_MESSAGE = rows.Query(
    MessageRow, select(*_MESSAGE).where(message.c.message_id == bindparam("message_id"))
)
_UNSENT_BYTES = rows.Query(
    lambda partner, size: (str(partner), int(size)),
    select(mail.c.partner, func.sum(mail.c.size))
    .where(mail.c.state.in_(["sealed", "submitting"]))
    .group_by(mail.c.partner),
)
_GET_WINDOW = rows.Statement(select(window.c.machine).where(window.c.partner == bindparam("partner")))
_PUT_WINDOW = rows.Statement(
    insert(window)
    .values(partner=bindparam("partner"), machine=bindparam("machine"), version=0)
    .on_conflict_do_update(
        index_elements=["partner"],
        set_={"machine": bindparam("changed"), "version": window.c.version + 1},
    )
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
_OBJECTS_OF_MAIL = rows.Query(MailObjectRow, _MAIL_OBJECTS.where(mail.c.id == bindparam("mail_id")))


def open_collection(
    connection: Connection, source: str, partner: str, study_uid: str
) -> CollectionRow | None:
    """Return the collection that takes further objects of this study, if one is open."""
    return _OPEN.one(connection, source=source, partner=partner, study_uid=study_uid)


def open_collections_of(connection: Connection, source: str, partner: str) -> list[CollectionRow]:
    """Return a source's open collections for a partner."""
    return _OPEN_OF.many(connection, source=source, partner=partner)


def add_collection(connection: Connection, values: Mapping[str, Any]) -> int:
    """Open a collection."""
    return rows.add_with_id(connection, collection, values)


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
    return _ADD_MEMBER.run(connection, values) > 0


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
    _TOUCH.run(
        connection,
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
    return _DUE_COLLECTIONS.many(connection, now=now)


def collections(connection: Connection, state: str) -> list[CollectionRow]:
    """Return the collections in a state, oldest first."""
    return _COLLECTIONS.many(connection, state=state)


def next_collection_due(connection: Connection) -> float | None:
    """Return when the next open collection is to be closed."""
    found = _NEXT_COLLECTION_DUE.value(connection, {})
    return None if found is None else float(found)


def closed_collections(connection: Connection, now: float) -> list[CollectionRow]:
    """Return the collections that are to be planned, the most urgent first."""
    return _CLOSED_COLLECTIONS.many(connection, now=now)


def postpone_collection(connection: Connection, collection_id: int, due_at: float) -> None:
    """Store when a closed collection is to be planned again."""
    rows.change(connection, collection, collection_id, {"due_at": due_at})


def recuts(connection: Connection, now: float) -> list[MailRow]:
    """Return mails whose objects are to be planned anew as another set."""
    return _RECUTS.many(connection, now=now)


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
    rows.add(connection, transmission, values)


def add_mail(connection: Connection, values: Mapping[str, Any], parts: Sequence[Member], first: int) -> int:
    """Add a mail and its objects; ``first`` is the position of its first object in the transmission."""
    mail_id = rows.add_with_id(connection, mail, values)
    rows.add_all(
        connection,
        mail_object,
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


def get_mail(connection: Connection, mail_id: int) -> MailRow:
    """Return a mail that is known to exist."""
    row = _GET_MAIL.one(connection, key=mail_id)
    assert row is not None, "mails are removed only with their transmission"
    return row


def mails_of(connection: Connection, transmission_id: str) -> list[MailRow]:
    """Return a transmission's mails in order."""
    statement = select(*_MAIL).where(mail.c.transmission_id == transmission_id).order_by(mail.c.part)
    return rows.many(connection, MailRow, statement)


def next_work(
    connection: Connection,
    work: str,
    now: float,
    limit: int,
    blocked: Sequence[str],
    wholly: Sequence[str] = (),
) -> list[MailRow]:
    """Return mails to seal or cut next: by priority, then age; partners in ``blocked`` have no credit now.

    An emergency waits for no credit, unless its partner stands in ``wholly`` too.
    """
    if not blocked:
        return _NEXT_WORK.many(connection, work=work, now=now, most=limit)
    free = mail.c.partner.not_in(list(blocked))
    urgent = mail.c.priority == Priority.EMERGENCY.value
    if wholly:
        urgent &= mail.c.partner.not_in(list(wholly))
    statement = (
        select(*_MAIL)
        .where(mail.c.work == work, mail.c.due_at <= now, free | urgent)
        .order_by(mail.c.priority, mail.c.id)
        .limit(limit)
    )
    return rows.many(connection, MailRow, statement)


def due_mails(connection: Connection, now: float, states: Sequence[str], limit: int = 200) -> list[MailRow]:
    """Return mails in one of the states whose stored deadline has passed."""
    found: list[MailRow] = []
    for state in states:
        found.extend(_DUE_IN_STATE.many(connection, state=state, now=now, most=limit - len(found)))
    return found


def update_mail(connection: Connection, mail_id: int, **values: object) -> None:
    """Store a mail's new state."""
    rows.change(connection, mail, mail_id, values)


def mail_members(connection: Connection, mail_id: int) -> list[Member]:
    """Return a mail's objects in order."""
    return _MAIL_MEMBERS.many(connection, mail_id=mail_id)


def objects_of(connection: Connection, transmission_id: str) -> list[MailObjectRow]:
    """Return a transmission's objects in order, with what is known of each."""
    statement = _MAIL_OBJECTS.where(mail.c.transmission_id == transmission_id)
    return rows.many(connection, MailObjectRow, statement)


def objects_of_mail(connection: Connection, mail_id: int) -> list[MailObjectRow]:
    """Return a mail's objects in order, with what is known of each."""
    return _OBJECTS_OF_MAIL.many(connection, mail_id=mail_id)


def set_truths(connection: Connection, mail_id: int, position: int, truths: str) -> None:
    """Store what is known of one object."""
    _SET_TRUTHS.run(connection, {"mail": mail_id, "place": position, "new_truths": truths})


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
    rows.add(connection, message, values)


def find_message(connection: Connection, message_id: str) -> MessageRow | None:
    """Return what a Message-ID of ours stood for."""
    return _FIND_MESSAGE.one(connection, message_id=message_id)


def find_envid(connection: Connection, envid: str) -> MessageRow | None:
    """Return what an ENVID of ours stood for (RFC 3461 4.4)."""
    statement = (
        select(*_MESSAGE)
        .join(submission, submission.c.message_id == message.c.message_id)
        .where(submission.c.envid == envid)
    )
    return rows.one(connection, MessageRow, statement)


def receipt_named(connection: Connection, message_id: str) -> SubmissionRow | None:
    """Return the receipt of ours that went out under a Message-ID."""
    statement = select(*_SUBMISSION).where(
        submission.c.message_id == message_id, submission.c.kind == "receipt"
    )
    return rows.one(connection, SubmissionRow, statement)


def add_submissions(connection: Connection, values: Sequence[Mapping[str, Any]]) -> None:
    """Add messages to the outbox."""
    rows.add_all(connection, submission, values)


def next_submissions(
    connection: Connection, route: str, now: float, limit: int, without: Iterable[str] = ()
) -> list[SubmissionRow]:
    """Return what to submit next over a route, by priority, then age; nothing of the partners ``without``."""
    left_out = list(without)
    if not left_out:
        return _NEXT_SUBMISSIONS.many(connection, route=route, now=now, most=limit)
    statement = (
        select(*_SUBMISSION)
        .where(
            submission.c.state == "ready",
            submission.c.route == route,
            submission.c.due_at <= now,
            submission.c.partner.not_in(left_out),
        )
        .order_by(submission.c.priority, submission.c.due_at, submission.c.id)
        .limit(limit)
    )
    return rows.many(connection, SubmissionRow, statement)


def routes_due(connection: Connection) -> list[str]:
    """Return the routes over which anything is still to be submitted."""
    return _ROUTES_DUE.many(connection)


def update_submission(connection: Connection, submission_id: int, **values: object) -> None:
    """Store a submission's new state."""
    rows.change(connection, submission, submission_id, values)


def submissions_of(connection: Connection, mail_id: int) -> list[SubmissionRow]:
    """Return all messages that ever carried a mail, oldest first."""
    statement = select(*_SUBMISSION).where(submission.c.mail_id == mail_id).order_by(submission.c.id)
    return rows.many(connection, SubmissionRow, statement)


def live_submissions(connection: Connection, mail_id: int) -> list[SubmissionRow]:
    """Return a mail's messages that are not at an end."""
    return _LIVE_SUBMISSIONS.many(connection, mail_id=mail_id)


def interrupted_submissions(connection: Connection) -> list[SubmissionRow]:
    """Return messages that were being sent when the process ended."""
    return rows.many(connection, SubmissionRow, select(*_SUBMISSION).where(submission.c.state == "sending"))


def get_submission(connection: Connection, submission_id: int) -> SubmissionRow | None:
    """Return a message of the outbox."""
    return _GET_SUBMISSION.one(connection, key=submission_id)


def due_transmissions(connection: Connection, now: float) -> list[TransmissionRow]:
    """Return transmissions whose stored deadline has passed."""
    return _DUE_TRANSMISSIONS.many(connection, now=now)


def others_alarmed(connection: Connection, transmission_id: str, code: int, *, but: int) -> bool:
    """Tell whether another mail of a transmission stands under this alarm."""
    values = {"transmission_id": transmission_id, "alarm": code, "but": but}
    return _OTHERS_ALARMED.value(connection, values) is not None


def others_stuck(connection: Connection, partner: str, code: int, *, but: int) -> bool:
    """Tell whether another message to a partner stands under this alarm."""
    return _OTHERS_STUCK.value(connection, {"partner": partner, "alarm": code, "but": but}) is not None


def unsent_bytes(connection: Connection) -> dict[str, int]:
    """Return the bytes that are sealed and wait for submission, by partner."""
    return dict(_UNSENT_BYTES.many(connection))


def unsent_urgent_bytes(connection: Connection, partner: str) -> int:
    """Return the bytes of a partner's emergencies that are sealed and wait for submission."""
    statement = select(func.coalesce(func.sum(mail.c.size), 0)).where(
        mail.c.partner == partner,
        mail.c.state.in_(["sealed", "submitting"]),
        mail.c.priority == Priority.EMERGENCY.value,
    )
    return int(connection.execute(statement).scalar_one())


def first_position(connection: Connection, mail_id: int) -> int:
    """Return the position of a mail's first object within its transmission, from 1."""
    return int(_FIRST_POSITION.value(connection, {"mail_id": mail_id}) or 1)


def get_window(connection: Connection, partner: str) -> str | None:
    """Return a partner's stored window of credits."""
    found = _GET_WINDOW.value(connection, {"partner": partner})
    return None if found is None else str(found)


def put_window(connection: Connection, partner: str, machine: str) -> None:
    """Store a partner's window of credits."""
    _PUT_WINDOW.run(connection, {"partner": partner, "machine": machine, "changed": machine})


def counts(connection: Connection) -> dict[str, int]:
    """Return how many transmissions stand in each state."""
    statement = select(transmission.c.state, func.count()).group_by(transmission.c.state)
    return {str(row[0]): int(row[1]) for row in connection.execute(statement)}
