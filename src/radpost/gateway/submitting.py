"""The outbox goes out: few long-lived connections per route, one mail at a time on each (DESIGN 4, 12)."""

import io
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import BinaryIO, Final, cast

import msgspec

from radpost.errors import (
    ADDRESS_UNKNOWN,
    CONFIG_INVALID,
    INTERNAL,
    LOGIN_FAILED,
    MAIL_TOO_LARGE,
    MAILBOX_FULL,
    SERVER_UNREACHABLE,
    STORE_UNUSABLE,
    TLS_FAILED,
    RadpostError,
    Reason,
)
from radpost.gateway.accounts import endpoint_of, login_of
from radpost.gateway.alarms import write_records
from radpost.gateway.outbox import Outbox
from radpost.gateway.receipting import Receipts
from radpost.gateway.site import Site
from radpost.store import journal, outgoing
from radpost.store.outgoing import SubmissionRow
from radpost.transfer import outgoing as mail_machine
from radpost.transfer import submission as submission_machine
from radpost.transfer import window as window_machine
from radpost.transfer.retry import Connected, ConnectFailed, Line, LinePolicy
from radpost.transfer.retry import decide as decide_line
from radpost.transfer.submission import Reply
from radpost.transport.smtp import Connection, ServerMemory
from radpost.transport.smtp_pool import Pool
from radpost.transport.smtp_reply import Kind, Outcome
from radpost.words import Priority

LOOK_AHEAD: Final = 16
URGENT: Final = frozenset({TLS_FAILED, LOGIN_FAILED, CONFIG_INVALID})
"""Faults of a line that waiting does not mend."""
OURS: Final = frozenset({INTERNAL, STORE_UNUSABLE})
"""Faults of a single message's bytes on our side."""


@dataclass(frozen=True, slots=True)
class Task:
    """A submission that a worker has taken."""

    row: SubmissionRow
    generation: int


class Route:
    """One submission server: its connections, whether it is up, and what it taught us."""

    def __init__(self, site: Site, name: str, partner: str | None) -> None:
        self.name = name
        self._site = site
        self._partner = partner
        self._lock = threading.Lock()
        self._line = Line()
        with site.database.read() as connection:
            known = journal.recall(connection, f"server {name}")
        memory = msgspec.json.decode(known, type=ServerMemory) if known else ServerMemory()
        config = site.config.submission
        limit = config.connections if config is not None and partner is None else 2
        self._pool = Pool(self._open, limit=limit, memory=memory)
        self._stored = memory

    def usable(self, now: float) -> bool:
        """Tell whether the server may be tried now."""
        with self._lock:
            return self._line.usable(now)

    def send(self, row: SubmissionRow, source: BinaryIO, *, notify: bool, bdat: bool = True) -> Outcome:
        """Submit one message; raises RadpostError only for the server as a whole.

        ``null_sender_refused`` of the outcome says that a notification went out under our address.
        """
        sender = row.envelope_from
        named = not sender and not self._null_sender_allowed()
        if named:
            sender = self._site.address
        with self._pool.lease() as connection:
            outcome = connection.send(
                sender,
                row.recipient,
                source,
                size=row.size,
                envid=row.envid,
                notify=("FAILURE", "DELAY") if notify else ("NEVER",),
                ret="HDRS",
                bdat=bdat,
            )
            if outcome.null_sender_refused:
                # the account's address, with Auto-Submitted in the mail and no bounce wanted (invariant 9)
                named = True
                source.seek(0)
                outcome = connection.send(
                    self._site.address, row.recipient, source, size=row.size, notify=("NEVER",)
                )
        with suppress(RadpostError):  # what the server taught us can be learned again; the mail is out
            self._remember()
        return replace(outcome, null_sender_refused=named)

    def connected(self) -> None:
        """The server answered."""
        self._tell(Connected())

    def failed(self, reason: Reason) -> None:
        """The server as a whole did not work."""
        self._tell(ConnectFailed(reason, urgent=reason in URGENT))

    def prune(self) -> None:
        """Close connections that have been idle too long."""
        self._pool.prune()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def _tell(self, event: Connected | ConnectFailed) -> None:
        now = self._site.clock()
        with self._lock:
            before = self._line
            self._line, records = decide_line(before, event, now, LinePolicy(), self._site.random())
        if records:
            subject = f"mail server {self.name}"
            with self._site.database.write() as connection:
                write_records(connection, records, subject, now)

    def _null_sender_allowed(self) -> bool:
        config = self._site.config.submission
        return self._pool.memory.null_sender and (config is None or config.null_sender)

    def _open(self, memory: ServerMemory) -> Connection:
        account = self._site.config.submission
        helo = account.helo if account is not None and account.helo else self._site.domain
        if self._partner is not None:
            # asked for at every connection: the partner's server may be another one by now
            route = self._site.partners.by_name(self._partner).settings.route
            if route is not None:
                endpoint = endpoint_of(self._site, route)
                return Connection(endpoint, None, ehlo_name=helo, memory=memory)
        if account is None:
            raise RadpostError(SERVER_UNREACHABLE, "the configuration has no [submission] server")
        return Connection(
            endpoint_of(self._site, account), login_of(self._site, account), ehlo_name=helo, memory=memory
        )

    def _remember(self) -> None:
        memory = self._pool.memory
        with self._lock:
            if memory == self._stored:
                return
            self._stored = memory
        with self._site.database.write() as connection:
            text = msgspec.json.encode(memory).decode()
            journal.remember(connection, f"server {self.name}", text, self._site.clock())


class Submitter:
    """Takes messages from the outbox and submits them; workers call ``step`` in a loop."""

    def __init__(self, site: Site, outbox: Outbox, receipts: Receipts) -> None:
        self._site = site
        self._outbox = outbox
        self._receipts = receipts
        self._lock = threading.Lock()
        self._taken: set[int] = set()
        self._routes: dict[str, Route] = {}

    def recover(self) -> None:
        """After a restart: what was being sent is uncertain; the same bytes go again."""
        now = self._site.clock()
        with self._site.database.write() as connection:
            for row in outgoing.interrupted_submissions(connection):
                self._outbox.submission_event(connection, row, submission_machine.Restarted(), now)

    def recover_lost(self) -> None:
        """Take up messages that no worker sends although their rows say so: an answer could not be stored."""
        with self._site.database.read() as connection:
            rows = outgoing.interrupted_submissions(connection)
        with self._lock:
            lost = [row.id for row in rows if row.id not in self._taken]
        if not lost:
            return
        now = self._site.clock()
        with self._site.database.write() as connection:
            for key in lost:
                fresh = outgoing.get_submission(connection, key)
                with self._lock:
                    busy = key in self._taken
                if fresh is not None and not busy:
                    self._outbox.submission_event(connection, fresh, submission_machine.Restarted(), now)

    def step(self) -> bool:
        """Submit one message; return False if there is nothing to do now."""
        task = self._take()
        if task is None:
            return False
        try:
            self._submit(task)
        finally:
            with self._lock:
                self._taken.discard(task.row.id)
        return True

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

    def _take(self) -> Task | None:
        now = self._site.clock()
        with self._lock:
            with self._site.database.read() as connection:
                names = outgoing.routes_due(connection)
            for name in names:
                if not self._route(name).usable(now):
                    continue
                row = self._first(name, now)
                if row is not None:
                    self._taken.add(row.id)
                    return Task(row, row.generation)
        return None

    def _first(self, route: str, now: float) -> SubmissionRow | None:
        """Return what goes next; behind the mails of a partner without credit those of others are found."""
        refused: set[str] = set()
        most = LOOK_AHEAD + len(self._taken)
        while True:
            with self._site.database.read() as connection:
                rows = outgoing.next_submissions(connection, route, now, most, refused)
            for row in rows:
                if row.id in self._taken or row.partner in refused:
                    continue
                if row.kind == "mail" and row.piece == 1 and not self._admitted(row, now):
                    refused.add(row.partner)
                    continue
                return row
            if len(rows) < most:
                return None

    def _admitted(self, row: SubmissionRow, now: float) -> bool:
        partner = next((item for item in self._site.partners.all() if item.name == row.partner), None)
        if partner is None or row.mail_id is None:
            return True
        with self._site.database.read() as connection:
            mail = outgoing.get_mail(connection, row.mail_id)
            if mail.state != mail_machine.Phase.SEALED.value:
                return True
            window = self._outbox.window(connection, partner, now)
        policy = self._outbox.window_policy(partner)
        return window_machine.admits(window, mail.size, Priority(row.priority), now, policy)

    def _submit(self, task: Task) -> None:
        row = task.row
        route = self._route(row.route)
        if not self._start(row):
            return
        if self._forbidden(row):
            # a mail fails and names who must act; a receipt that is owed waits for the mended connection
            reply = Reply.DEFERRED if row.kind == "receipt" else Reply.REFUSED
            self._answer(row, reply, TLS_FAILED, "teleradiology: the mail connection is not encrypted")
            return
        try:
            opened = self._site.spool.open(row.sha256)
        except RadpostError as error:
            # our own fault, never the server's: the other mails go on
            gone = not self._site.spool.path(row.sha256).exists()
            self._answer(row, Reply.REFUSED if gone else Reply.DEFERRED, error.reason, error.detail)
            return
        try:
            with opened as file:
                source: BinaryIO = file
                if row.head is not None:
                    source = cast("BinaryIO", _Joined(row.head, file, row.start, row.end))
                partner = next((item for item in self._site.partners.all() if item.name == row.partner), None)
                bdat = partner is None or partner.switches.bdat
                outcome = route.send(row, source, notify=row.kind == "mail", bdat=bdat)
        except RadpostError as error:
            if error.reason in OURS:
                # one mail that we cannot read is no fault of the server, and stops no other (invariant 5)
                self._site.log.warning("mail cannot be read", submission=row.id, code=error.reason.code)
                self._answer(row, Reply.DEFERRED, error.reason, str(error.detail))
                return
            self._site.log.warning("server failed", route=row.route, code=error.reason.code)
            route.failed(error.reason)
            self._answer(row, Reply.UNREACHABLE, error.reason, str(error.detail))
            return
        except Exception:
            self._site.log.exception("submission failed inside", submission=row.id)
            self._answer(row, Reply.UNCERTAIN, INTERNAL, "")
            return
        route.connected()
        if outcome.limit is not None and outcome.reason is MAIL_TOO_LARGE:
            with self._site.database.write() as connection:
                journal.remember(connection, f"size {row.route}", str(outcome.limit), self._site.clock())
        text = str(outcome.reply) if outcome.reply is not None else outcome.detail
        self._answer(row, reply_of(outcome), outcome.reason, text, named=outcome.null_sender_refused)

    def _forbidden(self, row: SubmissionRow) -> bool:
        """Tell whether a teleradiology partner's mail would go over a connection in clear (DESIGN 12)."""
        partner = next((item for item in self._site.partners.all() if item.name == row.partner), None)
        if partner is None or not partner.switches.teleradiology:
            return False
        server = self._site.config.submission if row.route == "submission" else partner.settings.route
        return server is not None and server.security == "none"

    def _start(self, row: SubmissionRow) -> bool:
        """Commit that the bytes may go out, before the first does."""
        now = self._site.clock()
        with self._site.database.write() as connection:
            fresh = outgoing.get_submission(connection, row.id)
            if fresh is None or fresh.state != submission_machine.Phase.READY.value:
                return False
            self._outbox.submission_event(connection, fresh, submission_machine.Started(), now)
            if row.mail_id is not None:
                event = mail_machine.Started(row.generation)
                self._outbox.mail_event(connection, row.mail_id, event, now)
        return True

    def _answer(
        self, row: SubmissionRow, reply: Reply, reason: Reason | None, text: str, *, named: bool = False
    ) -> None:
        now = self._site.clock()
        with self._site.database.write() as connection:
            fresh = outgoing.get_submission(connection, row.id)
            if fresh is None:
                return
            answered = submission_machine.Answered(reply)
            self._outbox.submission_event(connection, fresh, answered, now, reply=text[:500])
            if row.mail_id is not None:
                event = mail_machine.Submitted(row.generation, reply, reason)
                self._outbox.mail_event(connection, row.mail_id, event, now)
            elif row.receipt_id is not None:
                self._receipts.submitted(connection, row, reply, reason, now, named=named)
        bells = self._site.bells
        bells.seal.ring()
        bells.timers.ring()

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
