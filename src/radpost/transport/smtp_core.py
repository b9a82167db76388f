"""The bookkeeping of a receiving session: lines of commands, questions to the driver, counted refusals."""

from collections import deque
from collections.abc import Callable
from enum import Enum

from radpost.transport.smtp_actions import (
    BARE,
    LONG_LINE,
    TOO_MANY_COMMANDS,
    TOO_MANY_ERRORS,
    Action,
    Admit,
    Begin,
    Close,
    Commit,
    Need,
    Send,
    SessionConfig,
    StartTls,
)
from radpost.transport.smtp_content import BareLineEndError
from radpost.transport.smtp_grammar import Reply


class Phase(Enum):
    """Where the session stands; ASKED: the driver owes an answer."""

    COMMAND = "command"
    ASKED = "asked"
    DATA = "data"
    CHUNK = "chunk"
    CLOSED = "closed"


class SessionCore:
    """Input, output and phase; what the commands mean is in `Session`."""

    def __init__(self, config: SessionConfig) -> None:
        self.config = config
        self._pending = b""
        self._actions: deque[Action] = deque()
        self._phase = Phase.COMMAND
        self._resume: Callable[[Reply | None], None] | None = None
        self._commands = self._errors = 0

    def feed(self, data: bytes) -> None:
        """Take what the peer sent."""
        self._pending = self._pending + data if self._pending else data

    def step(self) -> Action:
        """Return the next action."""
        while not self._actions:
            if self._phase is Phase.CLOSED:
                return Close()
            if self._phase is Phase.ASKED:
                raise RuntimeError("the last action asked for an answer")
            if not self._advance():
                return Need()
        return self._actions.popleft()

    # for the commands

    def _answered(self, refusal: Reply | None) -> None:
        resume, self._resume = self._resume, None
        if resume is None:
            raise RuntimeError("nothing was asked")
        if self._phase is Phase.ASKED:
            self._phase = Phase.COMMAND
        resume(refusal)

    def _ask(self, action: Admit | Begin | Commit | StartTls, resume: Callable[[Reply | None], None]) -> None:
        self._actions.append(action)
        self._resume = resume
        self._phase = Phase.ASKED

    def _send(self, reply: Reply) -> None:
        self._actions.append(Send(reply.wire()))

    def _refuse(self, reply: Reply) -> None:
        """Refuse a command; too many of them end the session."""
        self._errors += 1
        self._send(reply)
        if self._errors >= self.config.limits.errors:
            self._drop_mail()
            self._send(TOO_MANY_ERRORS)
            self._close(drain=True)

    def _close(self, *, drain: bool = False) -> None:
        if self._phase is not Phase.CLOSED:
            self._phase = Phase.CLOSED
            self._actions.append(Close(drain))

    def _end(self, reply: Reply) -> None:
        """Refuse and close: what follows can't be trusted to be what it seems."""
        self._drop_mail()
        self._send(reply)
        self._pending = b""
        self._close(drain=True)

    def _advance(self) -> bool:
        """Do the next bit of work; False when more input is needed."""
        try:
            if self._phase in {Phase.DATA, Phase.CHUNK}:
                return self._advance_content()
            return self._advance_command()
        except BareLineEndError:
            self._end(BARE)
            return True

    def _advance_command(self) -> bool:
        line, self._pending = self._take_line(self._pending)
        if line is None:
            if len(self._pending) > self.config.limits.line:
                self._end(LONG_LINE)
                return True
            return False
        if len(line) > self.config.limits.line:
            self._end(LONG_LINE)
            return True
        self._commands += 1
        if self._commands > self.config.limits.commands:
            self._end(TOO_MANY_COMMANDS)
            return True
        self._command(line)
        return True

    @staticmethod
    def _take_line(pending: bytes) -> tuple[bytes | None, bytes]:
        """Split the first line off; CR and LF count together only (RFC 5321 2.3.8)."""
        end = pending.find(b"\n")
        if end < 0:
            if b"\r" in pending[:-1]:
                raise BareLineEndError
            return None, pending
        line = pending[: end - 1] if end else b""
        if end == 0 or pending[end - 1] != 13 or b"\r" in line:
            raise BareLineEndError
        return line, pending[end + 1 :]

    def _command(self, line: bytes) -> None:
        raise NotImplementedError

    def _advance_content(self) -> bool:
        raise NotImplementedError

    def _drop_mail(self) -> None:
        raise NotImplementedError
