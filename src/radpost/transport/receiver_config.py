"""What the receiver is told at the edge: ports, limits, certificate, and the handler it serves."""

import re
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol as Interface
from typing import TypeVar

from radpost.errors import CONFIG_INVALID, RadpostError, Reason
from radpost.transport.receiver_limits import ServerLimits
from radpost.transport.smtp_actions import Limits, Protocol, SessionConfig
from radpost.transport.smtp_grammar import Envelope, comparable

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z")


class Sink(Interface):
    """Where the content of one mail goes, piece by piece."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""


S = TypeVar("S", bound=Sink)


class Handler(Interface[S]):
    """What the server asks of the house. The methods are called from the connections' threads.

    A `RadpostError` becomes the reply: DISK_FULL and QUARANTINE_FULL 452 4.3.1, MAIL_REFUSED 554,
    ADDRESS_UNKNOWN 550, MAIL_TOO_LARGE and RESOURCE_LIMIT 552; any other exception 451 4.3.0, so that the
    sender keeps the mail and tries again.
    """

    def full(self) -> Reason | None:
        """Say why no mail is taken at present (QUARANTINE_FULL, DISK_FULL), or None; asked at every MAIL."""

    def begin(self, envelope: Envelope) -> S:
        """Return the sink for a mail; the trace header is the first that is written to it."""

    def commit(self, sink: S) -> None:
        """Make the mail durable, data and state; the sender hears 250 when this returns, and not before."""

    def abort(self, sink: S) -> None:
        """Throw away what was written: the mail was not accepted. Also called after a failed ``commit``."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A port; loopback unless configured, 0 takes a free one. ``implicit_tls``: TLS from the first byte."""

    port: int
    protocol: Protocol = Protocol.SMTP
    host: str = "127.0.0.1"
    implicit_tls: bool = False


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds (RFC 5321 4.5.3.2 asks for five minutes per command and three per block of data)."""

    command: float = 300.0
    """For one whole command, however slowly it drips in."""
    block: float = 180.0
    session: float = 6 * 3600.0
    handshake: float = 30.0
    drain: float = 20.0
    """How long a refused peer may go on sending before it is cut off."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """All there is to configure; read at the edge and handed down."""

    name: str
    """Shown in banner, EHLO and trace header; never taken from the machine."""
    listeners: tuple[Listener, ...]
    is_ours: Callable[[str], bool]
    """Called with an address in lower case; may look at a list that changes."""
    domains: frozenset[str] = frozenset()
    """Our domains in lower case: an unknown address there gets 5.1.1 instead of "relaying denied"."""
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    require_tls: bool = False
    limits: Limits = field(default_factory=Limits)
    server_limits: ServerLimits = field(default_factory=ServerLimits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    spool: Path | None = None
    """File system whose free space counts."""
    min_free: int = 1024**3
    """Watermark: a mail that would leave less than this gets 452."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    new_id: Callable[[], str] = lambda: secrets.token_hex(8)

    def check(self) -> None:
        """Raise CONFIG_INVALID when the server could not keep its promises with this."""
        if not _NAME.match(self.name):
            raise RadpostError(CONFIG_INVALID, "the mail server's name is not a domain name")
        if self.tls is None and (self.require_tls or any(one.implicit_tls for one in self.listeners)):
            raise RadpostError(CONFIG_INVALID, "TLS is required and no certificate is configured")

    def session(self, listener: Listener) -> SessionConfig:
        """Return what a session on this port needs to know."""
        return SessionConfig(
            name=self.name,
            is_ours=self.is_ours,
            domains=self.domains,
            protocol=listener.protocol,
            limits=self.limits,
            offer_starttls=self.tls is not None and not listener.implicit_tls,
            require_tls=self.require_tls,
            new_id=self.new_id,
        )


def own_addresses(*addresses: str) -> Callable[[str], bool]:
    """Return the test for a fixed list of addresses, for `ServerConfig.is_ours`."""
    ours = frozenset(comparable(address) for address in addresses)
    return ours.__contains__


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a context for the server side, TLS 1.2 at least (RFC 8996)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # an empty password instead of none: OpenSSL would ask for one on a service's terminal
        context.load_cert_chain(certificate, key, "")
    except (OSError, ssl.SSLError) as error:
        raise RadpostError(
            CONFIG_INVALID, f"certificate {certificate.name} or its key is not usable"
        ) from error
    return context
