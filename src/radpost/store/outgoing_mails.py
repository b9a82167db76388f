"""Named statements about the mails of transmissions and the objects in them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select, update

from radpost.store import rows
from radpost.store.outgoing_collections import MEMBER_OBJECT, Member
from radpost.store.schema import blob, mail, mail_object, object_
from radpost.words import Priority

MAILS_PAGE: Final = 200


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


_MAIL = rows.columns(mail, MailRow)
_OTHERS_ALARMED = rows.Statement(
    select(mail.c.id)
    .where(
        mail.c.transmission_id == bindparam("transmission_id"),
        func.json_extract(mail.c.machine, "$.alarm") == bindparam("alarm"),
        mail.c.id != bindparam("but"),
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
_MAILS_AFTER = rows.Query(
    MailRow,
    select(*_MAIL)
    .where(mail.c.transmission_id == bindparam("transmission_id"), mail.c.part > bindparam("part"))
    .order_by(mail.c.part)
    .limit(bindparam("most")),
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
_MAIL_MEMBERS = rows.Query(
    Member,
    select(
        mail_object.c.object_id,
        mail_object.c.file_sha256,
        mail_object.c.name,
        *MEMBER_OBJECT,
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
_UNSENT_BYTES = rows.Query(
    lambda partner, size: (str(partner), int(size)),
    select(mail.c.partner, func.sum(mail.c.size))
    .where(mail.c.state.in_(["sealed", "submitting"]))
    .group_by(mail.c.partner),
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


def recuts(connection: Connection, now: float) -> list[MailRow]:
    """Return mails whose objects are to be planned anew as another set."""
    return _RECUTS.many(connection, now=now)


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


def get_mail(connection: Connection, mail_id: int) -> MailRow:
    """Return a mail that is known to exist."""
    row = _GET_MAIL.one(connection, key=mail_id)
    assert row is not None, "mails are removed only with their transmission"
    return row


def mails_of(connection: Connection, transmission_id: str) -> list[MailRow]:
    """Return a transmission's mails in order."""
    statement = select(*_MAIL).where(mail.c.transmission_id == transmission_id).order_by(mail.c.part)
    return rows.many(connection, MailRow, statement)


def each_mail_of(connection: Connection, transmission_id: str) -> Iterator[MailRow]:
    """Yield a transmission's mails in order, some in memory at a time; they may change meanwhile."""
    part = 0
    while page := _MAILS_AFTER.many(connection, transmission_id=transmission_id, part=part, most=MAILS_PAGE):
        yield from page
        part = page[-1].part


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


def others_alarmed(connection: Connection, transmission_id: str, code: int, *, but: int) -> bool:
    """Tell whether another mail of a transmission stands under this alarm."""
    values = {"transmission_id": transmission_id, "alarm": code, "but": but}
    return _OTHERS_ALARMED.value(connection, values) is not None


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
