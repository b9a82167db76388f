"""Fetching mails by IMAP: each streamed to where the caller wants it, deleted only when the caller says so.

UID and UIDVALIDITY are a mail's identity (RFC 3501 2.3.1.1). UIDPLUS (RFC 4315 2.1),
MOVE (RFC 6851 3), IDLE (RFC 2177 3) and QUOTA (RFC 9208 4.1.2) are used where offered, and nothing breaks
where they are not.
"""

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Self

from radpost.errors import INTERNAL, SERVER_PROTOCOL, RadpostError
from radpost.transport.failure import TransportError
from radpost.transport.imap_grammar import Response, as_number, mailbox_name, pairs, uid_sets
from radpost.transport.imap_session import ImapSession, refused
from radpost.transport.sasl import Credentials
from radpost.transport.wire import Dial, Endpoint, Waker, Writer, dial, write_all

_UID = re.compile(rb"[( ]UID (\d{1,10})[ )]", re.IGNORECASE)
_AHEAD = 8
"""Mails asked for ahead of the one being read: hides the round trip, and TCP bounds what is under way."""


class Wake(Enum):
    """Why a wait ended."""

    MAIL = "mail"
    WOKEN = "woken"
    TIMEOUT = "timeout"
    RENUMBERED = "renumbered"
    """UIDVALIDITY changed while the mailbox was open: list again, deduplicate by hash."""


@dataclass(frozen=True, slots=True)
class Selected:
    """A mailbox as it was opened."""

    uidvalidity: int
    uidnext: int | None
    exists: int
    renumbered: bool
    """UIDVALIDITY is not the one the caller knew: all UIDs it remembers are void."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A mail that was streamed, whole; ``size`` is None if it was no longer there, or refused."""

    uid: int
    size: int | None
    refusal: str = ""
    """What the server said, if it would not give out this mail; the others are not affected."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Bytes used and allowed."""

    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """How to wait for mail; seconds."""

    idle: float = 9 * 60.0
    """IDLE is issued anew after this: below the 29 minutes of RFC 2177 and what middleboxes forget in.
    0: never, only NOOP."""
    poll: float = 30.0
    """Between two NOOPs (RFC 3501 6.1.2) where there is no IDLE."""
    hot: float = 5.0
    """So long after the last mail the next one is probably near."""
    hot_poll: float = 0.05
    """Between two NOOPs then: Dovecot holds IDLE notifications back for half a second."""


Sink = Callable[[int, int], Writer]
"""Called with UID and size of a mail; returns where it goes."""


class ImapMailbox(ImapSession):
    """One mailbox of one account. From one thread at a time, but ``wake`` may be called from any."""

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        *,
        mailbox: str = "INBOX",
        exclusive: bool = False,
        waiting: Waiting | None = None,
        dialler: Dial = dial,
    ) -> None:
        """``exclusive``: the mailbox is ours alone, so EXPUNGE may be used where there is no UIDPLUS."""
        super().__init__(endpoint, credentials, dialler=dialler)
        self.mailbox = mailbox
        self._exclusive = exclusive
        self._waiting = waiting or Waiting()
        self._waker = Waker()
        self._idle_refused = False
        self._busy = False
        self._hot_until = 0.0
        self._reset()

    def _reset(self) -> None:
        self._exists = 0
        self._uidvalidity: int | None = None
        self._uidnext: int | None = None
        self._news = False
        self._renumbered = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.logout()
        self._waker.close()

    # opening

    def open(self, known_uidvalidity: int | None = None) -> Selected:
        """Connect if need be and select the mailbox (RFC 3501 6.3.1)."""
        if not self.is_open:
            self.connect()
        self._reset()
        self.run(b"SELECT " + mailbox_name(self.mailbox))
        if self._uidvalidity is None:
            raise TransportError(SERVER_PROTOCOL, "the server names no UIDVALIDITY")
        renumbered = known_uidvalidity is not None and known_uidvalidity != self._uidvalidity
        self._renumbered = self._news = False
        return Selected(self._uidvalidity, self._uidnext, self._exists, renumbered)

    def untagged(self, response: Response) -> None:
        """Take note of arrivals, removals and renumbering at any time (RFC 3501 7.3.1, 7.4.1)."""
        super().untagged(response)
        match response.kind:
            case "EXISTS":
                count = response.number or 0
                if count > self._exists:
                    self._news = True
                self._exists = count
            case "EXPUNGE":
                self._exists = max(0, self._exists - 1)
            case _:
                self._take_code(response)

    def _take_code(self, response: Response) -> None:
        if response.code == "UIDVALIDITY" and (value := as_number(response.argument)) is not None:
            self._renumbered = self._uidvalidity is not None and value != self._uidvalidity
            self._uidvalidity = value
        elif response.code == "UIDNEXT":
            self._uidnext = as_number(response.argument)

    # looking

    def new_uids(self, after: int = 0) -> list[int]:
        """Return the UIDs above ``after`` of mails that are not flagged as deleted, in order."""
        self._own_turn()
        self._news = False
        found = self.search(f"UID {after + 1}:* UNDELETED")
        # n:* names the last mail even if its UID is lower (RFC 3501 9, seq-range).
        return sorted(uid for uid in found if uid > after)

    def all_uids(self) -> set[int] | None:
        """Return the UIDs of all mails, flagged ones too; None if the server names fewer than there are."""
        self._own_turn()
        found = self.search("ALL")
        return found if len(found) >= self._exists else None

    def sizes(self, uids: Iterable[int]) -> dict[int, int]:
        """Return the size of each mail that is there."""
        self._own_turn()
        found: dict[int, int] = {}
        for line in uid_sets(uids):
            for response in self.run(f"UID FETCH {line} (UID RFC822.SIZE)".encode()):
                uid, size = _uid_and_size(response)
                if uid is not None and size is not None:
                    found[uid] = size
        return found

    def quota(self) -> Quota | None:
        """Return the storage quota of the mailbox, or None if the server tells of none."""
        self._own_turn()
        if "QUOTA" not in self.capabilities:
            return None
        for response in self.run(b"GETQUOTAROOT " + mailbox_name(self.mailbox)):
            values = response.values() if response.kind == "QUOTA" else []
            resources = values[1] if len(values) > 1 and isinstance(values[1], list) else []
            for name, used, limit in zip(resources[::3], resources[1::3], resources[2::3], strict=False):
                low, high = as_number(used), as_number(limit)
                if name == "STORAGE" and low is not None and high is not None:
                    return Quota(low * 1024, high * 1024)
        return None

    # fetching

    def fetch(self, uids: Iterable[int], sink: Sink) -> Iterator[Fetched]:
        """Stream the mails into the writers that ``sink`` gives; yield after each one.

        Requests run ahead, so no other command may be given before the iterator is exhausted; leaving it
        early, or an error of a writer, closes the connection. The mails stay on the server and unseen
        (BODY.PEEK, RFC 3501 6.4.5).
        """
        self._own_turn()
        pending: dict[str, int] = {}
        bodies: dict[int, int] = {}
        todo = iter(uids)
        self._busy = True

        def take(before: bytes, size: int) -> Writer:
            uid = _uid_before(before) or next((one for one in pending.values() if one not in bodies), 0)
            if uid in bodies or uid not in pending.values():
                raise TransportError(SERVER_PROTOCOL, "the server sent another mail than the one asked for")
            bodies[uid] = size
            return sink(uid, size)

        try:
            while True:
                self._ask_ahead(pending, todo)
                if not pending:
                    break
                item = self._receive(pending, bodies, take)
                if item is not None:
                    self._hot()
                    yield item
        finally:
            self._busy = False
            if pending:
                self.close()

    def _ask_ahead(self, pending: dict[str, int], todo: Iterator[int]) -> None:
        words = b""
        while len(pending) < _AHEAD and (uid := next(todo, None)) is not None:
            tag = self.next_tag()
            words += f"{tag} UID FETCH {uid} (UID RFC822.SIZE BODY.PEEK[])\r\n".encode()
            pending[tag] = uid
        if words:
            self.send(words)

    def _receive(
        self, pending: dict[str, int], bodies: dict[int, int], take: Callable[[bytes, int], Writer]
    ) -> Fetched | None:
        # Mails are told apart by UID, not by tag: Dovecot sends the tagged responses of several commands
        # together, behind the data of all of them.
        answer = self.read(take)
        if answer.tag in pending:
            uid = pending.pop(answer.tag)
            if answer.kind == "BAD":
                raise refused(b"UID FETCH", answer)
            missed = bodies.pop(uid, None) is None
            return Fetched(uid, None, "" if answer.kind == "OK" else answer.text or "NO") if missed else None
        self.untagged(answer)
        table = _table(answer) if answer.kind == "FETCH" else {}
        if table.get("BODY[]") is None:  # flags of any mail, or NIL for one that is gone
            return None
        uid = as_number(table.get("UID")) or 0
        body = table["BODY[]"]
        if isinstance(body, bytes):  # a short mail may come as a quoted string
            write_all(take(b" UID %d " % uid, len(body)), memoryview(body))
        if uid not in bodies:
            raise TransportError(SERVER_PROTOCOL, "the server sent another mail than the one asked for")
        return Fetched(uid, bodies[uid])

    # removing

    def delete(self, uids: Collection[int]) -> bool:
        """Delete mails for good; False if they could only be flagged (no UIDPLUS and not exclusive)."""
        self._own_turn()
        if not uids:
            return True
        gone = True
        for line in uid_sets(uids):
            self.run(f"UID STORE {line} +FLAGS.SILENT (\\Deleted)".encode())
            if "UIDPLUS" in self.capabilities or "IMAP4REV2" in self.capabilities:
                self.run(f"UID EXPUNGE {line}".encode())
            elif self._exclusive:  # RFC 3501 6.4.3: it takes what others flagged too
                self.run(b"EXPUNGE")
            else:
                gone = False
        return gone

    def move(self, uids: Collection[int], folder: str) -> bool:
        """Move mails to another folder, which is made if need be; False if a flagged copy stays behind.

        Without MOVE they are copied (RFC 3501 6.4.7) and deleted.
        """
        self._own_turn()
        name = mailbox_name(folder)
        verb = "MOVE" if "MOVE" in self.capabilities or "IMAP4REV2" in self.capabilities else "COPY"
        for line in uid_sets(uids):
            command = f"UID {verb} {line} ".encode() + name
            answer, _ = self.finish(self.begin(command))
            if answer.kind == "NO" and answer.code == "TRYCREATE":
                self.run(b"CREATE " + name)
                answer, _ = self.finish(self.begin(command))
            if answer.kind != "OK":
                raise refused(command, answer)
        return verb == "MOVE" or self.delete(uids)

    # waiting

    def expect(self) -> None:
        """Say that a mail is probably near (a receipt is due): the next waits look often."""
        self._hot()

    def wake(self) -> None:
        """End the present or the next wait; from any thread."""
        self._waker.wake()

    def wait(self, seconds: float) -> Wake:
        """Wait until there is mail, ``wake`` is called or time is up.

        Shortly after activity by frequent NOOPs, then by IDLE, or by rare NOOPs where there is no IDLE.
        """
        self._own_turn()
        deadline = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            if (reason := self._ended(now >= deadline)) is not None:
                return reason
            if now < self._hot_until:
                self._poll(min(self._waiting.hot_poll, deadline - now))
            elif self._waiting.idle and "IDLE" in self.capabilities and not self._idle_refused:
                self._idle(min(self._waiting.idle, deadline - now))
            else:
                self._poll(min(self._waiting.poll, deadline - now))

    def _ended(self, late: bool) -> Wake | None:
        if self._renumbered:
            self._renumbered = False
            return Wake.RENUMBERED
        if self._news:
            self._news = False
            self._hot()
            return Wake.MAIL
        if self._waker.taken():
            return Wake.WOKEN
        return Wake.TIMEOUT if late else None

    def _poll(self, pause: float) -> None:
        self.run(b"NOOP")
        if not (self._news or self._renumbered):
            self._waker_pause(pause)

    def _waker_pause(self, pause: float) -> None:
        if self.wire.wait(pause, self._waker):
            # Said unasked, between commands; a closed connection shows itself here too.
            self.untagged(self.read())

    def _idle(self, seconds: float) -> None:
        tag = self.begin(b"IDLE")
        answer = self.read()
        while answer.tag == "*":
            self.untagged(answer)
            answer = self.read()
        if answer.tag == tag:  # NO or BAD: the capability was a promise only
            self._idle_refused = True
            return
        deadline = time.monotonic() + seconds
        while not (self._news or self._renumbered):
            left = deadline - time.monotonic()
            if left <= 0 or not self.wire.wait(left, self._waker):
                break
            self.untagged(self.read())
        self.send(b"DONE\r\n")
        self.finish(tag)

    def _hot(self) -> None:
        self._hot_until = time.monotonic() + self._waiting.hot

    def _own_turn(self) -> None:
        if self._busy:
            raise RadpostError(INTERNAL, "an IMAP command while a fetch is under way")


Mailbox = ImapMailbox


def _uid_before(text: bytes) -> int | None:
    found = _UID.search(text)
    return int(found[1]) if found else None


def _table(response: Response) -> dict[str, object]:
    values = response.values()
    items = values[0] if values and isinstance(values[0], list) else []
    return dict(pairs(items))


def _uid_and_size(response: Response) -> tuple[int | None, int | None]:
    if response.kind != "FETCH":
        return None, None
    table = _table(response)
    return as_number(table.get("UID")), as_number(table.get("RFC822.SIZE"))
