"""What is known of a mailbox: which mails are durable here, which are ours, which are gone from the server.

A mail is remembered as long as it could be fetched again. That is no matter of exactly once (an object that
comes again changes nothing, invariant 2), but of receipts and traffic.
"""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import Connection

from radpost.errors import (
    CONFIG_INVALID,
    DISK_FULL,
    LOGIN_FAILED,
    QUARANTINE_FULL,
    SERVER_PROTOCOL,
    SERVER_UNREACHABLE,
    TLS_FAILED,
    RadpostError,
)
from radpost.gateway.accounts import login_of
from radpost.gateway.alarms import write_records
from radpost.gateway.arrivals import add_arrival
from radpost.gateway.config import Mailbox
from radpost.gateway.site import Site
from radpost.store import journal, mailbox_entries, quarantined_mails
from radpost.store.mailbox_entries import MailboxEntryRow
from radpost.store.spool import Stored
from radpost.transfer.retry import Connected, ConnectFailed, Line, LinePolicy
from radpost.transfer.retry import decide as decide_line
from radpost.transport.sasl import Credentials

STORED: Final = "stored"
NO_ROOM: Final = frozenset({DISK_FULL, QUARANTINE_FULL})
URGENT: Final = frozenset({TLS_FAILED, LOGIN_FAILED, CONFIG_INVALID}) | NO_ROOM
GONE_GRACE_SECONDS: Final = 7 * 86_400.0
"""A mail that was seen more lately is not forgotten: somebody may move it out of the mailbox and back."""
TIDY_EVERY_SECONDS: Final = 3600.0
FORGET_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Fetched:
    """A mail that has been read and is not durable yet."""

    path: Path
    stored: Stored
    uid: str


class Session(Protocol):
    """One connection's life."""

    def __call__(self, stopping: threading.Event, /) -> None:
        """Work until the connection ends or the gateway stops."""


class Keeper:
    """Makes fetched mails durable and remembers them; shared by both protocols."""

    def __init__(self, site: Site, mailbox: Mailbox) -> None:
        self.site = site
        self.mailbox = mailbox
        self.line = Line()
        self._tidied_at = -TIDY_EVERY_SECONDS

    def credentials(self) -> Credentials:
        """Return what signs in to the mailbox."""
        login = login_of(self.site, self.mailbox)
        if login is None:
            raise RadpostError(LOGIN_FAILED, f"mailbox {self.mailbox.name}: no user is configured")
        return login

    def check_room(self) -> None:
        """Leave mail on the server while there is no room for it here (DESIGN 12 "Quarantine")."""
        self.site.spool.require_space()
        with self.site.database.read() as connection:
            held = quarantined_mails.quarantine_bytes(connection)
        if held >= self.site.config.limits.quarantine_bytes:
            raise RadpostError(QUARANTINE_FULL)

    def keep_all(self, mails: Sequence[Fetched], validity: str) -> None:
        """Make fetched mails durable and note them, with one commit for all."""
        if not mails:
            return
        self.site.spool.adopt([(mail.path, mail.stored) for mail in mails])
        with self.site.database.write() as connection:
            for mail in mails:
                self._note(connection, mail.stored, validity, mail.uid)
        self.site.bells.open.ring()

    def keep(self, stored: Stored, validity: str, uid: str) -> None:
        """Note a durable mail."""
        with self.site.database.write() as connection:
            self._note(connection, stored, validity, uid)
        self.site.bells.open.ring()

    def _note(self, connection: Connection, stored: Stored, validity: str, uid: str) -> None:
        """Note a mail; the same bytes under a new UID are no new mail (UIDVALIDITY changed)."""
        now = self.site.clock()
        known = mailbox_entries.entry_by_hash(connection, self.mailbox.name, stored.sha256)
        arrival_id, state = None, STORED
        if known is not None and known.arrival_id is not None:
            arrival_id, state = known.arrival_id, known.state
        if arrival_id is None:
            arrival_id = add_arrival(
                self.site,
                connection,
                stored,
                source=f"{self.mailbox.kind}:{self.mailbox.name}",
                envelope_from=None,
                recipient=self.site.address,
                now=now,
            )
        mailbox_entries.put_entry(
            connection,
            MailboxEntryRow(self.mailbox.name, validity, uid, stored.sha256, arrival_id, state, now),
        )

    def withheld(self) -> None:
        """Alarm that the server does not give out a mail; the others are not affected."""
        subject = f"mailbox {self.mailbox.name}: a mail that the server does not give out"
        with self.site.database.write() as connection:
            journal.raise_alarm(connection, SERVER_PROTOCOL.code, subject, "", self.site.clock())

    def known(self, validity: str) -> dict[str, MailboxEntryRow]:
        """Return what was seen in the mailbox before."""
        with self.site.database.read() as connection:
            return mailbox_entries.entries(connection, self.mailbox.name, validity)

    def forget(self, validity: str, uids: list[str]) -> None:
        """Forget mails that are gone from the server."""
        if uids:
            with self.site.database.write() as connection:
                mailbox_entries.forget_entries(connection, self.mailbox.name, validity, uids)

    def tidy_is_due(self) -> bool:
        """Tell whether to look for mails that are gone; a clock may be set back."""
        return not 0 <= self.site.clock() - self._tidied_at < TIDY_EVERY_SECONDS

    def tidy(self, validity: str, here: Collection[str]) -> None:
        """Forget mails that are gone from the server.

        ``here`` must name every mail of the mailbox, deleted ones too: a UID that is missing then never comes
        back (RFC 3501 2.3.1.1). What was seen under another UIDVALIDITY is forgotten when each mail that is
        there is known under this one; until then it tells which mails are no new ones.
        """
        now = self.site.clock()
        self._tidied_at = now
        before = now - GONE_GRACE_SECONDS
        known = self.known(validity)
        gone = [uid for uid, row in known.items() if uid not in here and row.at < before]
        for start in range(0, len(gone), FORGET_BATCH):
            self.forget(validity, gone[start : start + FORGET_BATCH])
        if all(uid in known for uid in here):
            with self.site.database.write() as connection:
                mailbox_entries.forget_other_validities(connection, self.mailbox.name, validity, before)

    def mark(self, validity: str, uids: list[str], state: str) -> None:
        """Store a new state of entries."""
        if uids:
            with self.site.database.write() as connection:
                mailbox_entries.set_entries(connection, self.mailbox.name, validity, uids, state)

    def tell(self, event: Connected | ConnectFailed) -> None:
        """Note whether the server works."""
        now = self.site.clock()
        before = self.line
        self.line, records = decide_line(before, event, now, LinePolicy(), self.site.random())
        if isinstance(event, ConnectFailed):
            self.site.log.warning("mailbox failed", mailbox=self.mailbox.name, code=event.reason.code)
        if records or bool(before.failures) != bool(self.line.failures):
            with self.site.database.write() as connection:
                write_records(connection, records, f"mailbox {self.mailbox.name}", now)
                state = self.line.reason.name if self.line.reason else "up"
                journal.remember(connection, f"mailbox {self.mailbox.name}", state, now)

    def pause(self, stopping: threading.Event) -> None:
        """Wait until the server may be tried again."""
        stopping.wait(max(0.05, min(5.0, self.line.not_before - self.site.clock())))

    def run(self, stopping: threading.Event, session: Session) -> None:
        """Run sessions until told to stop; a failed one is tried again after a pause."""
        while not stopping.is_set():
            if not self.line.usable(self.site.clock()):
                self.pause(stopping)
                continue
            try:
                session(stopping)
            except RadpostError as error:
                self.tell(ConnectFailed(error.reason, urgent=error.reason in URGENT))
            except OSError:
                self.tell(ConnectFailed(SERVER_UNREACHABLE))
