"""Mailboxes are fetched; a mail is deleted from its server only after it is durable here (DESIGN 12).

Only mails recognised as ours are deleted. Whatever else lies in the mailbox stays and is listed, or is moved
to a folder that the configuration names.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, cast

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
from radpost.gateway.accounts import endpoint_of, login_of
from radpost.gateway.alarms import write_records
from radpost.gateway.arrivals import add_arrival
from radpost.gateway.config import Mailbox
from radpost.gateway.site import Site
from radpost.store import incoming, journal
from radpost.store.incoming import MailboxEntryRow
from radpost.store.spool import SpoolWriter, Stored
from radpost.transfer.retry import Connected, ConnectFailed, Line, LinePolicy
from radpost.transfer.retry import decide as decide_line
from radpost.transport.imap import ImapMailbox, Waiting, Wake
from radpost.transport.pop3 import Item, Pop3Mailbox
from radpost.transport.sasl import Credentials
from radpost.transport.wire import Writer

STORED: Final = "stored"
OURS: Final = "ours"
FOREIGN: Final = "foreign"
MOVED: Final = "moved"
FLAGGED: Final = "flagged"
NO_ROOM: Final = frozenset({DISK_FULL, QUARANTINE_FULL})
URGENT: Final = frozenset({TLS_FAILED, LOGIN_FAILED, CONFIG_INVALID}) | NO_ROOM
DELETE_BATCH: Final = 100
FETCH_BATCH: Final = 200
"""Mails per round: between two rounds room is looked for again, and what is ours is deleted."""
WAIT_SECONDS: Final = 60.0
KEEP_MAILS: Final = 16
KEEP_BYTES: Final = 2_000_000
"""Small mails are synced and noted together."""


class Fetcher(Protocol):
    """One mailbox being watched."""

    def run(self, stopping: threading.Event) -> None:
        """Fetch until told to stop."""

    def wake(self) -> None:
        """Look at once."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A mail that has been read and is not durable yet."""

    path: Path
    stored: Stored
    uid: str


class _Keeper:
    """Makes fetched mails durable and remembers them; shared by both protocols."""

    def __init__(self, site: Site, mailbox: Mailbox) -> None:
        self.site = site
        self.mailbox = mailbox
        self.line = Line()

    def credentials(self) -> Credentials:
        login = login_of(self.site, self.mailbox)
        if login is None:
            raise RadpostError(LOGIN_FAILED, f"mailbox {self.mailbox.name}: no user is configured")
        return login

    def check_room(self) -> None:
        """Leave mail on the server while there is no room for it here (DESIGN 12 "Quarantine")."""
        self.site.spool.require_space()
        with self.site.database.read() as connection:
            held = incoming.quarantine_bytes(connection)
        if held >= self.site.config.limits.quarantine_bytes:
            raise RadpostError(QUARANTINE_FULL)

    def keep_all(self, mails: Sequence["_Fetched"], validity: str) -> None:
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
        known = incoming.entry_by_hash(connection, self.mailbox.name, stored.sha256)
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
        incoming.put_entry(
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
            return incoming.entries(connection, self.mailbox.name, validity)

    def forget(self, validity: str, uids: list[str]) -> None:
        """Forget mails that are gone from the server."""
        if uids:
            with self.site.database.write() as connection:
                incoming.forget_entries(connection, self.mailbox.name, validity, uids)

    def mark(self, validity: str, uids: list[str], state: str) -> None:
        """Store a new state of entries."""
        if uids:
            with self.site.database.write() as connection:
                incoming.set_entries(connection, self.mailbox.name, validity, uids, state)

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

    def run(self, stopping: threading.Event, session: "Session") -> None:
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


class Session(Protocol):
    """One connection's life."""

    def __call__(self, stopping: threading.Event, /) -> None:
        """Work until the connection ends or the gateway stops."""


class ImapFetcher:
    """A mailbox by IMAP (RFC 3501): new UIDs are streamed into the spool, ours are expunged."""

    def __init__(self, site: Site, mailbox: Mailbox) -> None:
        self._keeper = _Keeper(site, mailbox)
        self._mailbox = mailbox
        self._client: ImapMailbox | None = None

    def run(self, stopping: threading.Event) -> None:
        """Fetch until told to stop."""
        self._keeper.run(stopping, self._session)

    def wake(self) -> None:
        """Look at once."""
        client = self._client
        if client is not None:
            client.wake()

    def _session(self, stopping: threading.Event) -> None:
        config = self._mailbox
        waiting = Waiting(poll=config.poll_seconds, hot_poll=min(0.05, config.poll_seconds))
        if not config.idle:
            waiting = Waiting(idle=0.0, poll=config.poll_seconds, hot=0.0, hot_poll=config.poll_seconds)
        with ImapMailbox(
            endpoint_of(self._keeper.site, config),
            self._keeper.credentials(),
            mailbox=config.folder,
            exclusive=config.exclusive,
            waiting=waiting,
        ) as client:
            self._client = client
            try:
                self._work(client, stopping)
            finally:
                self._client = None

    def _work(self, client: ImapMailbox, stopping: threading.Event) -> None:
        selected = client.open()
        validity = str(selected.uidvalidity)
        refused: set[int] = set()
        while not stopping.is_set():
            # what is ours already goes even while there is no room for more
            busy = self._remove(client, validity)
            busy |= self._fetch(client, validity, refused, stopping)
            self._keeper.tell(Connected())
            idle = not busy and not stopping.is_set()
            if idle and client.wait(WAIT_SECONDS) is Wake.RENUMBERED:
                return  # list again under the new UIDVALIDITY; known bytes are recognised by hash

    def _fetch(
        self, client: ImapMailbox, validity: str, refused: set[int], stopping: threading.Event
    ) -> bool:
        """Fetch what is new, a batch at most; return True if anything was kept.

        ``refused`` are mails that the server does not give out; they are asked for in the next session.
        """
        known = self._keeper.known(validity)
        new = [uid for uid in client.new_uids() if str(uid) not in known and uid not in refused]
        if not new or stopping.is_set():
            return False
        self._keeper.check_room()
        kept = 0
        writers: dict[int, SpoolWriter] = {}
        waiting: list[_Fetched] = []

        def sink(uid: int, size: int) -> Writer:
            self._keeper.site.spool.require_space(size)
            writers[uid] = self._keeper.site.spool.writer()
            return cast("Writer", writers[uid])

        try:
            for item in client.fetch(new[:FETCH_BATCH], sink):
                writer = writers.pop(item.uid, None)
                if writer is None or item.size is None:
                    refused.add(item.uid)
                    if item.refusal:
                        self._keeper.withheld()
                    continue
                with writer:
                    waiting.append(_Fetched(*writer.finish(), str(item.uid)))
                kept += 1
                if len(waiting) >= KEEP_MAILS or sum(mail.stored.size for mail in waiting) >= KEEP_BYTES:
                    batch, waiting = waiting, []
                    self._keeper.keep_all(batch, validity)
        finally:
            for writer in writers.values():
                writer.__exit__(None, None, None)
            # also when the connection broke: what has come need not come again
            self._keeper.keep_all(waiting, validity)
        return kept > 0

    def _remove(self, client: ImapMailbox, validity: str) -> bool:
        """Delete what is ours, a batch at most; return True if there is more to do."""
        entries = self._keeper.known(validity)
        ours = [uid for uid, row in entries.items() if row.state == OURS][:DELETE_BATCH]
        if ours:
            if client.delete([int(uid) for uid in ours]):
                self._keeper.forget(validity, ours)
            else:
                self._keeper.mark(validity, ours, FLAGGED)
        folder = self._mailbox.foreign_folder
        foreign = [uid for uid, row in entries.items() if row.state == FOREIGN][:DELETE_BATCH]
        if folder and foreign:
            client.move([int(uid) for uid in foreign], folder)
            self._keeper.mark(validity, foreign, MOVED)
        return len(ours) == DELETE_BATCH or (bool(folder) and len(foreign) == DELETE_BATCH)


class Pop3Fetcher:
    """A mailbox by POP3 (RFC 1939): a session is a snapshot; deletions count when QUIT got +OK."""

    VALIDITY: Final = "uidl"

    def __init__(self, site: Site, mailbox: Mailbox) -> None:
        self._keeper = _Keeper(site, mailbox)
        self._mailbox = mailbox
        self._client: Pop3Mailbox | None = None

    def run(self, stopping: threading.Event) -> None:
        """Fetch until told to stop."""
        self._keeper.run(stopping, self._session)

    def wake(self) -> None:
        """Look at once."""
        client = self._client
        if client is not None:
            client.wake()

    def _session(self, stopping: threading.Event) -> None:
        endpoint = endpoint_of(self._keeper.site, self._mailbox)
        with Pop3Mailbox(endpoint, self._keeper.credentials()) as client:
            self._client = client
            try:
                while not stopping.is_set():
                    client.open()
                    busy = self._work(client, stopping)
                    self._keeper.tell(Connected())
                    pause = min(self._mailbox.poll_seconds, 0.2) if busy else self._mailbox.poll_seconds
                    client.wait(pause)
            finally:
                self._client = None

    def _work(self, client: Pop3Mailbox, stopping: threading.Event) -> bool:
        """Run one session; return True if there may be more to do soon."""
        known = self._keeper.known(self.VALIDITY)
        items = client.items()
        new = [item for item in items if item.uidl is None or item.uidl not in known]
        identities = {item.number: item.uidl for item in items}
        kept, fault = 0, None
        if new and not stopping.is_set():
            try:
                self._keeper.check_room()
                kept = self._fetch(client, new[:FETCH_BATCH], identities, known)
            except RadpostError as error:
                if error.reason not in NO_ROOM:
                    raise
                fault = error  # what is ours already goes all the same
        here = {identity for identity in identities.values() if identity}
        ours = [uid for uid, row in self._keeper.known(self.VALIDITY).items() if row.state == OURS]
        doomed = {number: uid for number, uid in identities.items() if uid in ours}
        client.delete(doomed)
        gone = [doomed[number] for number in client.quit()]
        vanished = [uid for uid in ours if uid not in here]
        self._keeper.forget(self.VALIDITY, [uid for uid in (*gone, *vanished) if uid])
        if fault is not None:
            raise fault
        return bool(kept or doomed)

    def _fetch(
        self,
        client: Pop3Mailbox,
        new: list[Item],
        identities: dict[int, str | None],
        known: dict[str, MailboxEntryRow],
    ) -> int:
        kept = 0
        writers: dict[int, SpoolWriter] = {}

        def sink(item: Item) -> Writer:
            writers[item.number] = self._keeper.site.spool.writer()
            return cast("Writer", writers[item.number])

        try:
            for item in client.fetch(new, sink):
                identities[item.number] = item.identity
                writer = writers.pop(item.number)
                with writer:
                    if item.identity in known:
                        continue  # without UIDL the mail had to be read to be recognised
                    stored = writer.commit()
                self._keeper.keep(stored, self.VALIDITY, item.identity)
                kept += 1
        finally:
            for writer in writers.values():
                with suppress(RadpostError):
                    writer.__exit__(None, None, None)
        return kept


def fetcher_for(site: Site, mailbox: Mailbox) -> Fetcher:
    """Return the fetcher of a configured mailbox."""
    return ImapFetcher(site, mailbox) if mailbox.kind == "imap" else Pop3Fetcher(site, mailbox)
