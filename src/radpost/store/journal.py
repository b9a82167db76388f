"""Named statements about the timeline, alarms and small remembered facts. No patient data in any of them."""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects.sqlite import insert

from radpost.store import rows
from radpost.store.schema import alarm, event, memory


@dataclass(frozen=True, slots=True)
class EventRow:
    """Something that happened, and when."""

    at: float
    what: str
    transmission_id: str | None
    mail_id: int | None
    arrival_id: int | None
    code: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """A matter that a person must see; it has a beginning and an end."""

    id: int
    code: int
    subject: str
    detail: str
    count: int
    opened_at: float
    last_at: float
    ended_at: float | None


_EVENT = rows.columns(event, EventRow)
_ALARM = rows.columns(alarm, AlarmRow)
_OPEN = (alarm.c.subject == bindparam("about")) & alarm.c.ended_at.is_(None)
_END_ALARMS = rows.Statement(update(alarm).where(_OPEN).values(ended_at=bindparam("now")))
_END_ALARM = rows.Statement(
    update(alarm).where(_OPEN, alarm.c.code == bindparam("reason")).values(ended_at=bindparam("now"))
)
_END_ONE = rows.Statement(
    update(alarm)
    .where(alarm.c.id == bindparam("key"), alarm.c.ended_at.is_(None))
    .values(ended_at=bindparam("now"))
)
_RECALL = rows.Statement(select(memory.c.value).where(memory.c.name == bindparam("name")))


def note(
    connection: Connection,
    what: str,
    now: float,
    *,
    transmission_id: str | None = None,
    mail_id: int | None = None,
    arrival_id: int | None = None,
    code: int | None = None,
    detail: str = "",
) -> None:
    """Append to the timeline."""
    rows.add(
        connection,
        event,
        {
            "at": now,
            "what": what,
            "transmission_id": transmission_id,
            "mail_id": mail_id,
            "arrival_id": arrival_id,
            "code": code,
            "detail": detail,
        },
    )


def of_transmission(connection: Connection, transmission_id: str) -> list[EventRow]:
    """Return a transmission's timeline, oldest first."""
    statement = select(*_EVENT).where(event.c.transmission_id == transmission_id).order_by(event.c.id)
    return rows.many(connection, EventRow, statement)


def of_arrival(connection: Connection, arrival_id: int) -> list[EventRow]:
    """Return an arrival's timeline, oldest first."""
    statement = select(*_EVENT).where(event.c.arrival_id == arrival_id).order_by(event.c.id)
    return rows.many(connection, EventRow, statement)


def raise_alarm(connection: Connection, code: int, subject: str, detail: str, now: float) -> bool:
    """Open an alarm, or count it if the same one is open; return True if it is new."""
    same = (alarm.c.code == code) & (alarm.c.subject == subject) & alarm.c.ended_at.is_(None)
    counted = connection.execute(
        update(alarm).where(same).values(count=alarm.c.count + 1, last_at=now, detail=detail)
    )
    if counted.rowcount:
        return False
    connection.execute(
        insert(alarm),
        {"code": code, "subject": subject, "detail": detail, "count": 1, "opened_at": now, "last_at": now},
    )
    return True


def end_alarm(connection: Connection, code: int | None, subject: str, now: float) -> None:
    """End the open alarms of a subject, of one code or all."""
    values = {"about": subject, "now": now}
    if code is None:
        _END_ALARMS.run(connection, values)
    else:
        _END_ALARM.run(connection, {**values, "reason": code})


def open_alarms(connection: Connection) -> list[AlarmRow]:
    """Return what needs a person now, oldest first."""
    return rows.many(
        connection, AlarmRow, select(*_ALARM).where(alarm.c.ended_at.is_(None)).order_by(alarm.c.opened_at)
    )


def end_one_alarm(connection: Connection, alarm_id: int, now: float) -> None:
    """End one open alarm."""
    _END_ONE.run(connection, {"key": alarm_id, "now": now})


def remember(connection: Connection, name: str, value: str, now: float) -> None:
    """Keep a small fact over a restart."""
    statement = insert(memory).values(name=name, value=value, at=now)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_={"value": value, "at": now})
    )


def recall(connection: Connection, name: str) -> str | None:
    """Return a remembered fact."""
    found = _RECALL.value(connection, {"name": name})
    return None if found is None else str(found)
