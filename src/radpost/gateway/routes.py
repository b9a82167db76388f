"""Submission servers: their connections, whether they are up, and what they taught us (DESIGN 4, 12)."""

import threading
from contextlib import suppress
from dataclasses import replace
from typing import BinaryIO, Final

import msgspec

from radpost.errors import (
    CONFIG_INVALID,
    LOGIN_FAILED,
    SERVER_UNREACHABLE,
    TLS_FAILED,
    RadpostError,
    Reason,
)
from radpost.gateway.accounts import endpoint_of, login_of
from radpost.gateway.alarms import write_records
from radpost.gateway.site import Site
from radpost.store import journal
from radpost.store.outgoing_submissions import SubmissionRow
from radpost.transfer.retry import Connected, ConnectFailed, Line, LinePolicy
from radpost.transfer.retry import decide as decide_line
from radpost.transport.smtp import Connection, ServerMemory
from radpost.transport.smtp_pool import Pool
from radpost.transport.smtp_reply import Outcome

URGENT: Final = frozenset({TLS_FAILED, LOGIN_FAILED, CONFIG_INVALID})
"""Faults of a line that waiting does not mend."""


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
        """Tell whether receipts go out under the null sender, as they should (RFC 8098 3)."""
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
