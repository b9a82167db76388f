"""Mailboxes are fetched; a mail is deleted from its server only after it is durable here (DESIGN 12).

Only mails recognised as ours are deleted. Whatever else lies in the mailbox stays and is listed, or is moved
to a folder that the configuration names.
"""

import threading
from contextlib import suppress
from typing import Final, Protocol, cast

from radpost.errors import (
    RadpostError,
)
from radpost.gateway.accounts import endpoint_of
from radpost.gateway.config import Mailbox
from radpost.gateway.keeping import NO_ROOM, Fetched, Keeper
from radpost.gateway.site import Site
from radpost.store.mailbox_entries import MailboxEntryRow
from radpost.store.spool import SpoolWriter
from radpost.transfer.retry import Connected
from radpost.transport.imap import ImapMailbox, Waiting, Wake
from radpost.transport.pop3 import Item, Pop3Mailbox
from radpost.transport.wire import Writer

OURS: Final = "ours"
FOREIGN: Final = "foreign"
MOVED: Final = "moved"
FLAGGED: Final = "flagged"
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


class ImapFetcher:
    """A mailbox by IMAP (RFC 3501): new UIDs are streamed into the spool, ours are expunged."""

    def __init__(self, site: Site, mailbox: Mailbox) -> None:
        self._keeper = Keeper(site, mailbox)
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
            if not busy and self._keeper.tidy_is_due() and (here := client.all_uids()) is not None:
                self._keeper.tidy(validity, {str(uid) for uid in here})
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
        waiting: list[Fetched] = []

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
                    waiting.append(Fetched(*writer.finish(), str(item.uid)))
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
        self._keeper = Keeper(site, mailbox)
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
        complete = len(here) == len(items)  # without UIDL a mail has no name until it was read
        ours = [uid for uid, row in self._keeper.known(self.VALIDITY).items() if row.state == OURS]
        doomed = {number: uid for number, uid in identities.items() if uid in ours}
        client.delete(doomed)
        gone = [doomed[number] for number in client.quit()]
        vanished = [uid for uid in ours if complete and uid not in here]
        self._keeper.forget(self.VALIDITY, [uid for uid in (*gone, *vanished) if uid])
        if complete and self._keeper.tidy_is_due():
            self._keeper.tidy(self.VALIDITY, here)
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
