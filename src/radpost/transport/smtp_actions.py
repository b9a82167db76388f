"""The words between the receiving session machine and its driver: limits, configuration, actions, replies."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from radpost.transport.smtp_content import ChunkDecoder
from radpost.transport.smtp_grammar import Envelope, Path, Reply


class Protocol(Enum):
    """What is spoken on a port."""

    SMTP = "SMTP"
    LMTP = "LMTP"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session may use."""

    message_size: int = 512 * 1024 * 1024
    line: int = 2048
    """Longest command: RFC 5321 4.5.3.1.4 with room for the parameters of extensions."""
    recipients: int = 100  # RFC 5321 4.5.3.1.8
    commands: int = 500
    """Commands between two accepted mails."""
    errors: int = 20
    """Refused commands in the whole session."""


@dataclass(frozen=True, slots=True)
class Need:
    """Nothing to do before the peer sends more."""


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes for the peer; replies may be collected until `Need`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Admit:
    """MAIL: is there room for a mail of this size? Answer by `Session.admitted`."""

    size: int | None


@dataclass(frozen=True, slots=True)
class Begin:
    """Content is about to come. Answer by `Session.began`."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Content:
    """The next bytes of the content."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """The content is whole: make it durable, then answer by `Session.committed`."""


@dataclass(frozen=True, slots=True)
class Abort:
    """The mail will not be completed: throw away what was written."""


@dataclass(frozen=True, slots=True)
class StartTls:
    """Do the handshake now, as server, then call `Session.tls_started`."""


@dataclass(frozen=True, slots=True)
class Close:
    """The session is over; `drain` when the peer may be in the middle of sending and must hear why."""

    drain: bool = False


Action = Need | Send | Admit | Begin | Content | Commit | Abort | StartTls | Close

OK = Reply(250, "2.0.0", "OK")
SYNTAX = Reply(501, "5.5.4", "Syntax error in parameters")
SEQUENCE = Reply(503, "5.5.1", "Bad sequence of commands")
TOO_BIG = Reply(552, "5.3.4", "Message is larger than announced by SIZE")
BARE = Reply(521, "5.5.2", "Bare CR or LF refused, closing connection")
LONG_LINE = Reply(500, "5.5.2", "Line too long, closing connection")
NOT_OURS = Reply(550, "5.7.1", "Relaying denied")
NO_USER = Reply(550, "5.1.1", "No such recipient here")
TOO_MANY = Reply(452, "4.5.3", "Too many recipients")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors, closing connection")
TOO_MANY_COMMANDS = Reply(421, "4.7.0", "Too many commands, closing connection")

# words of other protocols: somebody lets a browser speak to us
FOREIGN_WORDS = frozenset({"GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "HOST:", "USER-AGENT:"})
MAIL_PARAMETERS = frozenset({"SIZE", "BODY", "RET", "ENVID"})
RCPT_PARAMETERS = frozenset({"NOTIFY", "ORCPT"})


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What a session needs to know; the name is configured and never the machine's own."""

    name: str
    is_ours: Callable[[str], bool]
    """Called with an address in lower case: is it one of our own?"""
    domains: frozenset[str] = frozenset()
    """Our domains in lower case: an unknown address there is 5.1.1, elsewhere it is relaying."""
    protocol: Protocol = Protocol.SMTP
    limits: Limits = field(default_factory=Limits)
    offer_starttls: bool = False
    require_tls: bool = False
    new_id: Callable[[], str] = lambda: "0"

    def offers(self, *, tls: bool) -> list[str]:
        """Return the lines of the answer to EHLO or LHLO."""
        lines = [
            self.name,
            "PIPELINING",
            f"SIZE {self.limits.message_size}",
            "8BITMIME",
            "ENHANCEDSTATUSCODES",
            "CHUNKING",
        ]
        return [*lines, "STARTTLS"] if self.offer_starttls and not tls else lines


@dataclass(slots=True)
class OpenMail:
    """The transaction under way, from MAIL to its end."""

    path: Path
    size: int | None
    recipients: list[str] = field(default_factory=list)
    begun: bool = False
    received: int = 0
    failed: Reply | None = None
    chunks: ChunkDecoder | None = None
