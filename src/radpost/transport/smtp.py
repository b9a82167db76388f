"""SMTP submission over a connection that lives for many mails (RFC 5321 3.3, RFC 6409 3.1).

The dialogue is ours so that the body can stream: BDAT (RFC 3030) sends a sealed file as it stands, without
BODY=BINARYMIME because the content is 7bit with CRLF line ends; DATA stuffs dots on the way. MAIL, RCPT and
the command of the body go in one packet where PIPELINING (RFC 2920) is offered.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal

from radpost.errors import (
    ADDRESS_UNKNOWN,
    INTERNAL,
    LOGIN_FAILED,
    MAIL_TOO_LARGE,
    SERVER_PROTOCOL,
    TLS_FAILED,
    RadpostError,
)
from radpost.transport.dots import stuffed
from radpost.transport.failure import ConnectionLostError, TransportError
from radpost.transport.sasl import Credentials
from radpost.transport.smtp_client import ClientSession
from radpost.transport.smtp_reply import (
    Kind,
    Outcome,
    Reply,
    Stage,
    bdat_unusable,
    judge,
)
from radpost.transport.wire import Dial, EarlyReplyError, Endpoint, dial

Notify = Literal["NEVER", "SUCCESS", "FAILURE", "DELAY"]

_ONE_PACKET = 64 * 1024
"""A body up to this size goes out with MAIL and RCPT; a larger one waits for the recipient to be taken."""
_MANY_LOSSES = 2
_ADDRESS = re.compile(r"^[\x21-\x7e]+$")
_FORBIDDEN = frozenset("<>")


@dataclass(frozen=True, slots=True)
class ServerMemory:
    """What earlier dialogues taught about a server; kept by the caller from one connection to the next."""

    bdat: bool = True
    bdat_losses: int = 0
    """Connections lost in a row during BDAT; a middlebox that does not know it looks like this."""
    null_sender: bool = True

    @property
    def trust_bdat(self) -> bool:
        """Whether BDAT is worth trying."""
        return self.bdat and self.bdat_losses < _MANY_LOSSES


class _Again(Exception):  # noqa: N818  not an error: the transaction begins anew
    """The transaction has to begin anew on a new connection; ``outcome`` is what counts if it must not."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__()


class Connection(ClientSession):
    """A connection to a submission server that sends mails, one after the other."""

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials | None = None,
        *,
        ehlo_name: str = "[127.0.0.1]",
        memory: ServerMemory | None = None,
        dialler: Dial = dial,
    ) -> None:
        super().__init__(endpoint, credentials, ehlo_name=ehlo_name, dialler=dialler)
        self.memory = memory or ServerMemory()
        self._may_chunk = True

    def send(
        self,
        envelope_from: str,
        recipient: str,
        source: BinaryIO,
        *,
        size: int,
        envid: str | None = None,
        notify: Sequence[Notify] = (),
        ret: Literal["HDRS", "FULL"] | None = None,
        bdat: bool = True,
    ) -> Outcome:
        """Submit ``size`` bytes of ``source``, from its present position, to one recipient.

        The content is complete and in CRLF lines. ``envelope_from`` may be empty (the null sender). What the
        server says about this mail comes back as a value; an error is raised only for what concerns the
        server as a whole (not reachable, no TLS, no sign-in). A server that cannot do BDAT, and an old
        connection that was dead before the server saw the mail, are tried once more on a new connection.
        With ``bdat`` False the content goes by DATA, whatever the server offers.
        """
        self._may_chunk = bdat
        envelope_from = _address(envelope_from) if envelope_from else ""
        recipient = _address(recipient)
        start = source.tell()
        for last in (False, False, True):
            self.open()
            if self._features.size is not None and size > self._features.size:  # RFC 1870 6.2
                return Outcome(Kind.TOO_LARGE, Stage.BEFORE, reason=MAIL_TOO_LARGE, limit=self._features.size)
            mail, rcpt = self._envelope(envelope_from, recipient, size, envid, notify, ret)
            try:
                outcome = self._transaction(mail, rcpt, source, start, size, null_sender=not envelope_from)
            except _Again as again:
                self.close()
                outcome = again.outcome
                if not last:
                    continue
            except BaseException:
                self.close()
                raise
            break
        if outcome.null_sender_refused:
            self.memory = replace(self.memory, null_sender=False)
        return outcome

    def _envelope(
        self,
        sender: str,
        recipient: str,
        size: int,
        envid: str | None,
        notify: Sequence[Notify],
        ret: str | None,
    ) -> tuple[str, str]:
        mail, rcpt = f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>"
        if self._features.size_known:
            mail += f" SIZE={size}"
        if self._features.dsn:  # RFC 3461 4
            mail += (f" RET={ret}" if ret else "") + (f" ENVID={xtext(envid)}" if envid else "")
            rcpt += f" NOTIFY={','.join(notify)}" if notify else ""
        return mail, rcpt

    def _transaction(
        self, mail: str, rcpt: str, source: BinaryIO, start: int, size: int, *, null_sender: bool
    ) -> Outcome:
        chunked = self._features.chunking and self.memory.trust_bdat and self._may_chunk
        body = f"BDAT {size} LAST" if chunked else "DATA"
        ahead = self._features.pipelining and (not chunked or size <= _ONE_PACKET)
        stage = Stage.MAIL
        answer: Reply | None = None
        gone = False  # whether the whole mail has left us, so that the server may have taken it
        try:
            if self._features.pipelining:
                self._send_group(mail, rcpt, body if ahead else None, source, start, size, chunked=chunked)
                gone = ahead and chunked
                answer = self._reply()
                if answer.good:
                    stage = Stage.RCPT
                    answer = self._reply()
                elif answer.code != 421:
                    self._reply()
            else:
                answer = self._command(mail)
                if answer.good:
                    stage = Stage.RCPT
                    answer = self._command(rcpt)
        except TransportError as error:
            return self._lost_early(error, stage, answer, gone=gone, null_sender=null_sender)
        if answer.code == 421 and stage is Stage.MAIL and self.mails:
            raise _Again(judge(answer, stage))
        if not answer.good:
            self._check_server(answer)
            self._abandon(answer, ahead=ahead, chunked=chunked)
            return judge(answer, stage, null_sender=null_sender)
        if chunked:
            return self._bdat(source, start, size, sent=ahead, null_sender=null_sender)
        return self._data(source, start, size, asked=ahead, null_sender=null_sender)

    def _send_group(
        self,
        mail: str,
        rcpt: str,
        body: str | None,
        source: BinaryIO,
        start: int,
        size: int,
        *,
        chunked: bool,
    ) -> None:
        words = [mail, rcpt] if body is None else [mail, rcpt, body]
        group = "".join(word + "\r\n" for word in words).encode("ascii")
        if body is not None and chunked:
            source.seek(start)
            content = source.read(size)
            if len(content) != size:
                raise RadpostError(INTERNAL, f"the mail's content is shorter than its size of {size} bytes")
            group += content
        self._wire.settimeout(self._endpoint.timeouts.command)
        self._wire.send(group)

    def _lost_early(
        self, error: TransportError, stage: Stage, answer: Reply | None, *, gone: bool, null_sender: bool
    ) -> Outcome:
        self.close()
        if answer is not None and not answer.good:
            return judge(answer, stage, null_sender=null_sender)
        if gone:
            self._count_loss()
            return Outcome(Kind.UNCERTAIN, Stage.END, None, SERVER_PROTOCOL, error.detail, chunked=True)
        outcome = Outcome(Kind.DEFERRED, stage, None, SERVER_PROTOCOL, error.detail)
        if self.mails and stage is Stage.MAIL:
            raise _Again(outcome)
        return outcome

    def _check_server(self, answer: Reply) -> None:
        # Not this mail's fault: the server wants TLS or a sign-in first (RFC 3207 4, RFC 4954 6).
        if answer.code == 530 or answer.enhanced == "5.7.10":
            tls = "starttls" in answer.text.lower() and not self._wire.encrypted
            self.close()
            raise TransportError(TLS_FAILED if tls else LOGIN_FAILED, "before MAIL", reply=str(answer))

    def _abandon(self, answer: Reply, *, ahead: bool, chunked: bool) -> None:
        """Bring the connection back to where the next mail can begin, or close it."""
        if answer.code == 421:
            self.close()
            return
        try:
            extra = self._reply() if ahead else None
            if extra is not None and extra.code == 354:
                # RFC 2920 3.1: no recipient was taken, so this empty body is delivered to nobody.
                self._command(".")
            elif chunked and extra is not None and extra.code in (500, 501, 502):
                self.close()  # the body was read as commands
            elif not self._command("RSET").good:
                self.close()
        except TransportError:
            self.close()

    def _bdat(self, source: BinaryIO, start: int, size: int, *, sent: bool, null_sender: bool) -> Outcome:
        early = False
        try:
            if not sent:
                self._wire.settimeout(self._endpoint.timeouts.block)
                self._wire.send(b"BDAT %d LAST\r\n" % size)
                self._wire.send_source(source, start, size)
        except (ConnectionLostError, EarlyReplyError) as error:
            early = True
            answer = self._last_words()
            if answer is None or answer.good:
                self.close()
                self._count_loss()
                return Outcome(Kind.DEFERRED, Stage.BODY, answer, SERVER_PROTOCOL, str(error), chunked=True)
        else:
            final = self._final_reply()
            if isinstance(final, Outcome):
                self._count_loss()
                return replace(final, chunked=True)
            answer = final
        if not answer.good and bdat_unusable(answer):
            # Our body may have been read as commands: never go on with this connection.
            self.memory = replace(self.memory, bdat=False)
            raise _Again(judge(answer, Stage.BODY))
        self._settle(answer, reset=not early, close=early)
        if answer.good:
            self.memory = replace(self.memory, bdat_losses=0)
        stage = Stage.BODY if early else Stage.END
        return replace(judge(answer, stage, null_sender=null_sender, limit=self._limit), chunked=True)

    def _data(self, source: BinaryIO, start: int, size: int, *, asked: bool, null_sender: bool) -> Outcome:
        try:
            answer = self._reply() if asked else self._command("DATA")
        except ConnectionLostError as error:
            self.close()
            return Outcome(Kind.DEFERRED, Stage.BODY, None, SERVER_PROTOCOL, error.detail)
        if answer.code != 354:
            self._settle(answer, reset=True, close=answer.good)
            if answer.good:
                raise TransportError(SERVER_PROTOCOL, "DATA was not answered by 354", reply=str(answer))
            return judge(answer, Stage.BODY, null_sender=null_sender)
        self._wire.settimeout(self._endpoint.timeouts.block)
        source.seek(start)
        try:
            for piece in stuffed(source, size):
                self._wire.send(piece)
                self._wire.heed()
            self._wire.send(b".\r\n")
        except (ConnectionLostError, EarlyReplyError) as error:
            words = self._last_words()
            self.close()
            if words is None or words.good or words.code == 421:
                return Outcome(Kind.DEFERRED, Stage.BODY, words, SERVER_PROTOCOL, str(error))
            return judge(words, Stage.BODY, null_sender=null_sender)
        final = self._final_reply()
        if isinstance(final, Outcome):
            return final
        self._settle(final, reset=False, close=False)
        return judge(final, Stage.END, null_sender=null_sender, limit=self._limit)

    @property
    def _limit(self) -> int | None:
        return self._features.size

    def _final_reply(self) -> Reply | Outcome:
        """Read the reply to the end of data; without it nobody knows whether the mail was taken."""
        self._wire.settimeout(self._endpoint.timeouts.final)
        try:
            return self._reply()
        except TransportError as error:
            self.close()
            return Outcome(Kind.UNCERTAIN, Stage.END, None, SERVER_PROTOCOL, error.detail)

    def _settle(self, answer: Reply, *, reset: bool, close: bool) -> None:
        if answer.good and not close:
            self.mails += 1
            return
        if close or answer.code == 421:
            self.close()
        elif reset:
            try:
                if not self._command("RSET").good:
                    self.close()
            except TransportError:
                self.close()

    def _last_words(self) -> Reply | None:
        """Return what the server said before it stopped listening, if it said anything."""
        try:
            if self._wire.poll():
                return self._reply()
        except TransportError:
            pass
        return None

    def _count_loss(self) -> None:
        self.memory = replace(self.memory, bdat_losses=self.memory.bdat_losses + 1)


def xtext(text: str) -> str:
    """Encode a DSN parameter (RFC 3461 4)."""
    return "".join(
        mark if "!" <= mark <= "~" and mark not in "+=" else f"+{ord(mark):02X}"
        for mark in text.encode("ascii", "replace").decode()
    )


def _address(address: str) -> str:
    if not _ADDRESS.match(address) or _FORBIDDEN & set(address):
        # Not echoed: what stands here may be anything but an address.
        raise TransportError(ADDRESS_UNKNOWN, "not a mail address that SMTP can carry (ASCII, no spaces)")
    return address
