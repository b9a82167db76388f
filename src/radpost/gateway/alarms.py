"""What the machines want recorded: alarms with a beginning and an end, and remarks on the timeline."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Connection

from radpost.errors import DISK_FULL, ENGINE_FAULT, STORE_UNUSABLE
from radpost.store import incoming_deliveries, journal
from radpost.store.incoming_deliveries import DeliveryRow
from radpost.transfer.actions import Alarm, EndAlarm, Remark

PASSING: Final = frozenset({ENGINE_FAULT, DISK_FULL, STORE_UNUSABLE})
"""Faults of ours that go by; what was to be done waits and is tried again."""
SEND: Final = "send:"
"""Sources of collections that are calls of ``radpost send`` begin so."""
_LOG = structlog.stdlib.get_logger("radpost")


@dataclass(frozen=True, slots=True)
class About:
    """What a remark is about."""

    transmission_id: str | None = None
    mail_id: int | None = None
    arrival_id: int | None = None


NOTHING = About()


def write_records(
    connection: Connection,
    records: Iterable[Alarm | EndAlarm | Remark | object],
    subject: str,
    now: float,
    about: About = NOTHING,
) -> None:
    """Write alarms, their ends and remarks; other actions are the caller's."""
    for record in records:
        match record:
            case Alarm(reason):
                if journal.raise_alarm(connection, reason.code, subject, "", now):
                    # the store may name a study, the log must not (DESIGN invariant 10)
                    about_study = subject.startswith("study ")
                    said = "a study; see 'radpost status'" if about_study else subject
                    _LOG.warning("alarm", code=reason.code, name=reason.name, subject=said)
            case EndAlarm(reason):
                journal.end_alarm(connection, reason.code, subject, now)
            case Remark(code):
                journal.note(
                    connection,
                    code,
                    now,
                    transmission_id=about.transmission_id,
                    mail_id=about.mail_id,
                    arrival_id=about.arrival_id,
                )


def write_delivery_records(
    connection: Connection, row: DeliveryRow, records: Sequence[object], now: float
) -> None:
    """Write what a delivery wants recorded; a destination has one alarm, which ends with its last object."""
    for record in records:
        if isinstance(record, EndAlarm) and incoming_deliveries.others_failed(
            connection, row, record.reason.code
        ):
            continue
        write_records(connection, [record], f"delivery to {row.destination}", now)


def unfinished_subject(source: str) -> str:
    """Return what the alarm of a sending that did not finish is about."""
    return f"sending {source.removeprefix(SEND)}"
