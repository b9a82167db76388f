"""Named statements about the outbox: messages on their way to a mail server, and the Message-IDs of ours."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from radpost.store import rows
from radpost.store.schema import message, submission


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
_SUBMISSION = rows.columns(submission, SubmissionRow)
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
_FIND_MESSAGE = rows.Query(
    MessageRow, select(*_MESSAGE).where(message.c.message_id == bindparam("message_id"))
)


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


def others_stuck(connection: Connection, partner: str, code: int, *, but: int) -> bool:
    """Tell whether another message to a partner stands under this alarm."""
    return _OTHERS_STUCK.value(connection, {"partner": partner, "alarm": code, "but": but}) is not None
