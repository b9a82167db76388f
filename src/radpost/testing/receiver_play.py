"""Fakes for direct reception: a scripted peer for the session machine, and a mailbox in memory.

`play` runs a conversation without sockets and returns it as readable lines, so that a test is a list of what
should have happened: ``S:`` what the server said, ``*`` what it asked of its driver.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from radpost.errors import Reason
from radpost.transport.smtp_actions import (
    Action,
    Admit,
    Begin,
    Close,
    Commit,
    Content,
    Need,
    Send,
    SessionConfig,
    StartTls,
)
from radpost.transport.smtp_grammar import Envelope, Reply
from radpost.transport.smtp_session import Session


@dataclass(frozen=True, slots=True)
class Answers:
    """What the driver answers in a play; None is yes."""

    admit: Reply | None = None
    begin: Reply | None = None
    commit: Reply | None = None
    write: Reply | None = None
    """When set, the first content that is written fails with this."""


def play(
    inputs: Sequence[bytes],
    config: SessionConfig,
    *,
    answers: Answers | None = None,
    ended: bool = False,
) -> list[str]:
    """Feed the inputs one after the other and return all that the machine did; content is joined."""
    session = Session(config, peer="192.0.2.1")
    lines: list[str] = []
    pending = list(inputs)
    given = answers or Answers()
    while True:
        action = session.step()
        if isinstance(action, Need):
            if pending:
                session.feed(pending.pop(0))
            elif ended:
                ended = False
                session.end_of_input()
            else:
                return lines
            continue
        _record(lines, action)
        if isinstance(action, Close):
            return lines
        _answer(session, action, given)


def _record(lines: list[str], action: Action) -> None:
    match action:
        case Send(data):
            lines += [f"S: {line}" for line in data.decode("ascii").removesuffix("\r\n").split("\r\n")]
        case Begin(envelope):
            recipients = ", ".join(envelope.recipients)
            lines.append(f"* begin {envelope.protocol} <{envelope.sender}> -> {recipients}")
        case Content(data):
            if lines and lines[-1].startswith("* content "):
                joined = lines.pop().removeprefix("* content ").encode("latin-1")
                data = joined.decode("unicode_escape").encode("latin-1") + data
            lines.append(f"* content {data.decode('latin-1').encode('unicode_escape').decode('ascii')}")
        case Admit(size):
            if size is not None:
                lines.append(f"* admit {size}")
        case Close(drain):
            lines.append("* close and drain" if drain else "* close")
        case _:
            lines.append(f"* {type(action).__name__.lower()}")


def _answer(session: Session, action: Action, answers: Answers) -> None:
    match action:
        case Admit():
            session.admitted(answers.admit)
        case Begin():
            session.began(answers.begin)
        case Commit():
            session.committed(answers.commit)
        case StartTls():
            session.tls_started("TLSv1.3")
        case Content() if answers.write is not None:
            session.sink_failed(answers.write)


class MemorySink:
    """A mail under way."""

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self.data = bytearray()
        self.size = 0

    def write(self, data: bytes, /) -> int:
        """Keep the content."""
        self.data += data
        self.size += len(data)
        return len(data)


@dataclass
class MemoryMailbox:
    """A handler that keeps committed mails in memory; faults can be set from outside."""

    mails: list[MemorySink] = field(default_factory=list)
    aborted: list[MemorySink] = field(default_factory=list)
    full_reason: Reason | None = None
    begin_error: Exception | None = None
    commit_error: Exception | None = None
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def full(self) -> Reason | None:
        """Return the reason that was set, if any."""
        return self.full_reason

    def begin(self, envelope: Envelope) -> MemorySink:
        """Start a mail."""
        if self.begin_error is not None:
            raise self.begin_error
        return MemorySink(envelope)

    def commit(self, sink: MemorySink) -> None:
        """Take a mail."""
        if self.commit_error is not None:
            raise self.commit_error
        with self.arrived:
            self.mails.append(sink)
            self.arrived.notify_all()

    def abort(self, sink: MemorySink) -> None:
        """Note a mail that was not taken."""
        with self.arrived:
            self.aborted.append(sink)
            self.arrived.notify_all()

    def wait_for(self, count: int, timeout: float = 20.0) -> list[MemorySink]:
        """Wait until so many mails were taken."""
        with self.arrived:
            if not self.arrived.wait_for(lambda: len(self.mails) >= count, timeout):
                raise TimeoutError(f"{len(self.mails)} of {count} mails")
            return list(self.mails)

    def wait_for_abort(self, timeout: float = 20.0) -> None:
        """Wait until a mail was thrown away."""
        with self.arrived:
            if not self.arrived.wait_for(lambda: bool(self.aborted), timeout):
                raise TimeoutError("nothing was aborted")
