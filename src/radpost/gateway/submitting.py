"""The outbox goes out: few long-lived connections per route, one mail after the other on each (DESIGN 4, 12).

Small mails are taken several at a time: that their bytes may go out is committed for all of them before the
first does, and what the server answered is committed for all that it has answered. A crash in between makes
as many mails uncertain, which go again with the same bytes.
"""

import io
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from sqlalchemy import Connection

from radpost.errors import (
    ADDRESS_UNKNOWN,
    INTERNAL,
    MAIL_TOO_LARGE,
    MAILBOX_FULL,
    STORE_UNUSABLE,
    TLS_FAILED,
    RadpostError,
    Reason,
)
from radpost.gateway.outbox import Outbox
from radpost.gateway.receipting import Receipts
from radpost.gateway.routes import Route
from radpost.gateway.site import Site
from radpost.store import journal, outgoing_mails, outgoing_submissions
from radpost.store.outgoing_submissions import SubmissionRow
from radpost.transfer import outgoing as mail_machine
from radpost.transfer import submission as submission_machine
from radpost.transfer import window as window_machine
from radpost.transfer.submission import Reply
from radpost.transport.smtp_reply import Kind, Outcome
from radpost.words import Priority

LOOK_AHEAD: Final = 16
BATCH_MAILS: Final = 8
BATCH_BYTES: Final = 2_000_000
"""Small mails are taken together, up to here: so much may be uncertain after a crash."""
ANSWER_SECONDS: Final = 0.5
"""An answer is stored at the latest so long after it came, if the server takes the next mail in time."""
OURS: Final = frozenset({INTERNAL, STORE_UNUSABLE})
"""Faults of a single message's bytes on our side."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a submission."""

    row: SubmissionRow
    reply: Reply
    reason: Reason | None
    text: str
    named: bool = False
    """The server took a notification under our address only."""


class Submitter:
    """Takes messages from the outbox and submits them; workers call ``step`` in a loop."""

    def __init__(self, site: Site, outbox: Outbox, receipts: Receipts) -> None:
        self._site = site
        self._outbox = outbox
        self._receipts = receipts
        self._lock = threading.Lock()
        self._taken: set[int] = set()
        self._routes: dict[str, Route] = {}
        config = site.config.submission
        self._connections = config.connections if config is not None else 2

    def recover(self) -> None:
        """After a restart: what was being sent is uncertain; the same bytes go again."""
        now = self._site.clock()
        with self._site.database.write() as connection:
            for row in outgoing_submissions.interrupted_submissions(connection):
                self._outbox.submission_event(connection, row, submission_machine.Restarted(), now)

    def recover_lost(self) -> None:
        """Take up messages that no worker sends although their rows say so: an answer could not be stored."""
        with self._site.database.read() as connection:
            rows = outgoing_submissions.interrupted_submissions(connection)
        with self._lock:
            lost = [row.id for row in rows if row.id not in self._taken]
        if not lost:
            return
        now = self._site.clock()
        with self._site.database.write() as connection:
            for key in lost:
                fresh = outgoing_submissions.get_submission(connection, key)
                with self._lock:
                    busy = key in self._taken
                if fresh is not None and not busy:
                    self._outbox.submission_event(connection, fresh, submission_machine.Restarted(), now)

    def step(self, most: int = BATCH_MAILS) -> bool:
        """Submit a mail, or some small ones; return False if there is nothing to do now."""
        rows = self._take(most)
        try:
            self._submit(rows)
        finally:
            with self._lock:
                self._taken.difference_update([row.id for row in rows])
        return bool(rows)

    def prune(self) -> None:
        """Close idle connections."""
        with self._lock:
            routes = list(self._routes.values())
        for route in routes:
            route.prune()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            routes, self._routes = list(self._routes.values()), {}
        for route in routes:
            route.close()

    def _take(self, most: int) -> list[SubmissionRow]:
        """Take what goes next over one route."""
        now = self._site.clock()
        with self._lock, self._site.database.read() as connection:
            for name in outgoing_submissions.routes_due(connection):
                if not self._route(name).usable(now):
                    continue
                rows = self._next(connection, name, now, most)
                if rows:
                    self._taken.update([row.id for row in rows])
                    return rows
        return []

    def _next(self, connection: Connection, route: str, now: float, most: int) -> list[SubmissionRow]:
        """Return what goes next; behind the mails of a partner without credit those of others are found."""
        refused: set[str] = set()
        ahead = LOOK_AHEAD + len(self._taken)
        while True:
            rows = outgoing_submissions.next_submissions(connection, route, now, ahead, refused)
            free = [row for row in rows if row.id not in self._taken]
            found = self._picked(connection, free, now, most, refused)
            if len(free) > len(found) > 0:
                self._site.bells.submit.ring()  # for the next worker
            if found or len(rows) < ahead:
                return found

    def _picked(
        self, connection: Connection, rows: Sequence[SubmissionRow], now: float, most: int, refused: set[str]
    ) -> list[SubmissionRow]:
        """Return the first row that may go, and small ones behind it; note whose credit is used up.

        The other connections get their share of what waits.
        """
        windows: dict[str, window_machine.Window] = {}
        found: list[SubmissionRow] = []
        size = 0
        most = min(most, max(1, len(rows) // self._connections))
        for row in rows:
            if found and (len(found) >= most or size + row.size > BATCH_BYTES):
                break
            if row.partner in refused:
                continue
            if row.kind == "mail" and row.piece == 1 and not self._admitted(connection, row, now, windows):
                refused.add(row.partner)
                continue
            found.append(row)
            size += row.size
        return found

    def _admitted(
        self,
        connection: Connection,
        row: SubmissionRow,
        now: float,
        windows: dict[str, window_machine.Window],
    ) -> bool:
        """Tell whether a mail has credit; ``windows`` count what was admitted before it."""
        partner = self._site.partners.named(row.partner)
        if partner is None or row.mail_id is None:
            return True
        mail = outgoing_mails.get_mail(connection, row.mail_id)
        if mail.state != mail_machine.Phase.SEALED.value:
            return True
        window = windows.get(partner.name) or self._outbox.window(connection, partner, now)
        policy = self._outbox.window_policy(partner)
        if not window_machine.admits(window, mail.size, Priority(row.priority), now, policy):
            return False
        windows[partner.name], _ = window_machine.decide(
            window, window_machine.Charged(mail.size), now, policy
        )
        return True

    def _submit(self, rows: Sequence[SubmissionRow]) -> None:
        started = self._started(rows)
        if not started:
            return
        route = self._route(started[0].route)
        answers: list[Answer] = []
        since = time.monotonic()
        try:
            for number, row in enumerate(started):
                answers.append(self._sent(route, row))
                last = answers[-1]
                if last.reply is Reply.UNREACHABLE:
                    rest = started[number + 1 :]
                    answers += [Answer(one, last.reply, last.reason, last.text) for one in rest]
                    break
                if time.monotonic() - since >= ANSWER_SECONDS:
                    batch, answers = answers, []
                    self._answer(batch)
                    since = time.monotonic()
        finally:
            self._answer(answers)

    def _sent(self, route: Route, row: SubmissionRow) -> Answer:
        """Send one message."""
        if self._forbidden(row):
            # a mail fails and names who must act; a receipt that is owed waits for the mended connection
            reply = Reply.DEFERRED if row.kind == "receipt" else Reply.REFUSED
            return Answer(row, reply, TLS_FAILED, "teleradiology: the mail connection is not encrypted")
        try:
            opened = self._site.spool.open(row.sha256)
        except RadpostError as error:
            # our own fault, never the server's: the other mails go on
            gone = not self._site.spool.path(row.sha256).exists()
            return Answer(row, Reply.REFUSED if gone else Reply.DEFERRED, error.reason, error.detail)
        try:
            with opened as file:
                source: BinaryIO = file
                if row.head is not None:
                    source = cast("BinaryIO", _Joined(row.head, file, row.start, row.end))
                partner = self._site.partners.named(row.partner)
                bdat = partner is None or partner.switches.bdat
                outcome = route.send(row, source, notify=row.kind == "mail", bdat=bdat)
        except RadpostError as error:
            if error.reason in OURS:
                # one mail that we cannot read is no fault of the server, and stops no other (invariant 5)
                self._site.log.warning("mail cannot be read", submission=row.id, code=error.reason.code)
                return Answer(row, Reply.DEFERRED, error.reason, str(error.detail))
            self._site.log.warning("server failed", route=row.route, code=error.reason.code)
            route.failed(error.reason)
            return Answer(row, Reply.UNREACHABLE, error.reason, str(error.detail))
        except Exception:
            self._site.log.exception("submission failed inside", submission=row.id)
            return Answer(row, Reply.UNCERTAIN, INTERNAL, "")
        route.connected()
        self._site.spool.leave(row.sha256)
        if outcome.limit is not None and outcome.reason is MAIL_TOO_LARGE:
            with self._site.database.write() as connection:
                journal.remember(connection, f"size {row.route}", str(outcome.limit), self._site.clock())
        text = str(outcome.reply) if outcome.reply is not None else outcome.detail
        return Answer(row, reply_of(outcome), outcome.reason, text, named=outcome.null_sender_refused)

    def _forbidden(self, row: SubmissionRow) -> bool:
        """Tell whether a teleradiology partner's mail would go over a connection in clear (@GIT 1.1r 3)."""
        partner = self._site.partners.named(row.partner)
        if partner is None or not partner.switches.teleradiology:
            return False
        server = self._site.config.submission if row.route == "submission" else partner.settings.route
        return server is not None and server.security == "none"

    def _started(self, rows: Sequence[SubmissionRow]) -> list[SubmissionRow]:
        """Commit that the bytes may go out, before the first does; return what is still to go."""
        if not rows:
            return []
        now = self._site.clock()
        started = []
        with self._site.database.write() as connection:
            for row in rows:
                fresh = outgoing_submissions.get_submission(connection, row.id)
                if fresh is None or fresh.state != submission_machine.Phase.READY.value:
                    continue
                self._outbox.submission_event(connection, fresh, submission_machine.Started(), now)
                if row.mail_id is not None:
                    event = mail_machine.Started(row.generation)
                    self._outbox.mail_event(connection, row.mail_id, event, now)
                started.append(row)
        return started

    def _answer(self, answers: Sequence[Answer]) -> None:
        """Store what the server said; one answer that cannot be stored takes no other with it."""
        if not answers:
            return
        try:
            self._write(answers)
        except RadpostError:
            raise
        except Exception:
            if len(answers) == 1:
                raise
            self._site.log.exception("answers not stored together")
            for answer in answers:
                with suppress(Exception):  # told by the next who meets it: the row is taken up again
                    self._write([answer])
        bells = self._site.bells
        bells.seal.ring()
        bells.timers.ring()

    def _write(self, answers: Sequence[Answer]) -> None:
        now = self._site.clock()
        with self._site.database.write() as connection:
            for answer in answers:
                self._write_one(connection, answer, now)

    def _write_one(self, connection: Connection, answer: Answer, now: float) -> None:
        row = answer.row
        fresh = outgoing_submissions.get_submission(connection, row.id)
        if fresh is None:
            return
        answered = submission_machine.Answered(answer.reply)
        self._outbox.submission_event(connection, fresh, answered, now, reply=answer.text[:500])
        if row.mail_id is not None:
            event = mail_machine.Submitted(row.generation, answer.reply, answer.reason)
            self._outbox.mail_event(connection, row.mail_id, event, now)
        elif row.receipt_id is not None:
            self._receipts.submitted(connection, row, answer.reply, answer.reason, now, named=answer.named)

    def _route(self, name: str) -> Route:
        route = self._routes.get(name)
        if route is None:
            partner = None if name == "submission" else name.removeprefix("partner ")
            route = self._routes[name] = Route(self._site, name, partner)
        return route


def reply_of(outcome: Outcome) -> Reply:
    """Return what an SMTP outcome means to the machines."""
    if outcome.reason is MAILBOX_FULL:
        return Reply.MAILBOX_FULL
    if outcome.reason is ADDRESS_UNKNOWN and outcome.kind is Kind.REFUSED:
        return Reply.ADDRESS_UNKNOWN
    return {
        Kind.ACCEPTED: Reply.ACCEPTED,
        Kind.DEFERRED: Reply.DEFERRED,
        Kind.REFUSED: Reply.REFUSED,
        Kind.TOO_LARGE: Reply.TOO_LARGE,
        Kind.UNCERTAIN: Reply.UNCERTAIN,
    }[outcome.kind]


class _Joined(io.RawIOBase):
    """A read-only, seekable file: a head in memory, then a range of a file."""

    def __init__(self, head: bytes, file: BinaryIO, start: int, end: int) -> None:
        super().__init__()
        self._head = head
        self._file = file
        self._start = start
        self._size = len(head) + end - start
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Return all of ``size`` bytes that there are: whoever reads a small message at once needs them."""
        left = self._size - self._at
        size = left if size < 0 else min(size, left)
        if size <= 0:
            return b""
        head = self._head[self._at : self._at + size]
        rest = size - len(head)
        if rest:
            self._file.seek(self._start + max(0, self._at - len(self._head)))
            head += self._file.read(rest)
        self._at += len(head)
        return head

    def readinto(self, target: "bytearray | memoryview") -> int:  # type: ignore[override]  # typeshed's buffer
        piece = self.read(len(target))
        target[: len(piece)] = piece
        return len(piece)
