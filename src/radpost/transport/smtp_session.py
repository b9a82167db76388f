"""One SMTP or LMTP session on the receiving side, without I/O: bytes in, actions out (RFC 5321 3.3).

The driver calls `Session.feed` with what the peer sent and `Session.step` for the next action; it carries
the action out and answers those that ask (`Admit`, `Begin`, `Commit`, `StartTls`). Nothing here relays:
a recipient that is not ours is refused (RFC 5321 3.6.2). RFC 5321, 2033 (LMTP), 1870 (SIZE),
2034 (enhanced status codes), 2920 (PIPELINING), 3030 (CHUNKING), 3207 (STARTTLS), 6152 (8BITMIME).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar

from radpost.transport.smtp_actions import (
    FOREIGN_WORDS,
    MAIL_PARAMETERS,
    NO_USER,
    NOT_OURS,
    OK,
    RCPT_PARAMETERS,
    SEQUENCE,
    SYNTAX,
    TOO_BIG,
    TOO_MANY,
    Abort,
    Admit,
    Begin,
    Commit,
    Content,
    OpenMail,
    Protocol,
    Send,
    SessionConfig,
    StartTls,
)
from radpost.transport.smtp_content import ChunkDecoder, DotDecoder
from radpost.transport.smtp_core import Phase, SessionCore
from radpost.transport.smtp_grammar import (
    Envelope,
    Reply,
    SyntaxRefusedError,
    comparable,
    multiline,
    parse_chunk,
    parse_greeting,
    parse_number,
    parse_path,
)


class Session(SessionCore):
    """The machine. All replies are decided here except those that the driver answers with.

    Commands may come in one packet (RFC 2920 3.2); the order they need is that of RFC 5321 4.1.4.
    """

    def __init__(self, config: SessionConfig, *, peer: str = "", tls: str = "") -> None:
        super().__init__(config)
        self._peer, self._tls = peer, tls
        self._helo = ""
        self._extended = False
        self._mail: OpenMail | None = None
        self._dots = DotDecoder()
        self._chunk_left = 0
        self._chunk_size = 0
        self._chunk_last = False
        words = "LMTP" if config.protocol is Protocol.LMTP else "ESMTP"
        self._send(Reply(220, "", f"{config.name} {words} ready"))

    @property
    def in_content(self) -> bool:
        """True while the content of a mail is coming."""
        return self._phase in {Phase.DATA, Phase.CHUNK}

    @property
    def idle(self) -> bool:
        """True between two mails: the session can be ended without a loss."""
        return self._mail is None and self._phase is Phase.COMMAND and not self._actions

    def end_of_input(self) -> None:
        """The peer is gone: an open mail is thrown away, never half accepted."""
        self._drop_mail()
        self._pending = b""
        self._close()

    def shut_down(self) -> None:
        """We stop: say so and close (RFC 5321 3.8)."""
        self._drop_mail()
        self._send(Reply(421, "4.3.2", "Service shutting down, closing connection"))
        self._close()

    def timed_out(self) -> None:
        """The peer was silent for too long (RFC 5321 4.5.3.2.7)."""
        self._drop_mail()
        self._send(Reply(421, "4.4.2", "Timeout, closing connection"))
        self._close()

    def admitted(self, refusal: Reply | None) -> None:
        """Answer `Admit`: None when there is room."""
        self._answered(refusal)

    def began(self, refusal: Reply | None) -> None:
        """Answer `Begin`: None when the content can be taken."""
        self._answered(refusal)

    def committed(self, refusal: Reply | None) -> None:
        """Answer `Commit`: None when the mail is durable, the refusal otherwise."""
        self._answered(refusal)

    def tls_started(self, version: str) -> None:
        """Answer `StartTls`: all that was known about the peer is forgotten (RFC 3207 4.2)."""
        self._tls = version
        self._helo, self._extended, self._mail = "", False, None
        self._answered(None)

    def sink_failed(self, refusal: Reply) -> None:
        """Say that content can't be written any more: the rest is read and thrown away, then refused."""
        if self._mail is not None:
            self._fail(self._mail, refusal)

    def _drop_mail(self) -> None:
        mail, self._mail = self._mail, None
        if mail is not None and mail.begun and mail.failed is None:
            self._actions.append(Abort())

    def _fail(self, mail: OpenMail, refusal: Reply) -> None:
        if mail.failed is None:
            mail.failed = refusal
            if mail.begun:
                self._actions.append(Abort())

    def _command(self, line: bytes) -> None:
        try:
            text = line.decode("ascii")
        except UnicodeDecodeError:
            self._refuse(Reply(500, "5.5.2", "Commands are ASCII"))
            return
        verb, _, argument = text.partition(" ")
        verb = verb.upper()
        if verb in FOREIGN_WORDS:
            self._end(Reply(521, "5.7.0", "This is a mail server, closing connection"))
            return
        handler = self._COMMANDS.get(verb)
        if handler is None or "\x00" in text:
            self._refuse(Reply(500, "5.5.1", "Command not recognised"))
            return
        if verb == "BDAT":
            # its chunk follows whatever we think of it, so its errors are its own affair
            self._do_bdat(argument)
            return
        try:
            handler(self, argument)
        except SyntaxRefusedError as error:
            self._refuse(replace(SYNTAX, text=f"Syntax: {error}"))

    def _greet(self, argument: str, *, extended: bool) -> None:
        self._helo = parse_greeting(argument)
        self._drop_mail()
        self._extended = extended

    def _do_helo(self, argument: str) -> None:
        if self.config.protocol is Protocol.LMTP:
            self._refuse(Reply(500, "5.5.1", "LHLO is the greeting here"))  # RFC 2033 4.1
            return
        self._greet(argument, extended=False)
        self._send(Reply(250, "", self.config.name))

    def _do_ehlo(self, argument: str) -> None:
        if self.config.protocol is Protocol.LMTP:
            self._refuse(Reply(500, "5.5.1", "LHLO is the greeting here"))
            return
        self._extended_greeting(argument)

    def _do_lhlo(self, argument: str) -> None:
        if self.config.protocol is Protocol.SMTP:
            self._refuse(Reply(500, "5.5.1", "EHLO is the greeting here"))
            return
        self._extended_greeting(argument)

    def _extended_greeting(self, argument: str) -> None:
        self._greet(argument, extended=True)
        self._actions.append(Send(multiline(250, self.config.offers(tls=bool(self._tls)))))

    def _do_starttls(self, argument: str) -> None:
        if argument.strip():
            raise SyntaxRefusedError("STARTTLS has no parameters")
        if not self.config.offer_starttls or self._tls:
            self._refuse(Reply(503, "5.5.1", "STARTTLS is not available now"))
            return
        self._drop_mail()
        # what was pipelined behind STARTTLS came in clear and may be injected: it is never obeyed
        self._pending = b""
        self._send(Reply(220, "2.0.0", "Ready to start TLS"))
        self._ask(StartTls(), lambda _refusal: None)

    def _do_mail(self, argument: str) -> None:
        if not self._helo or self._mail is not None:
            self._refuse(SEQUENCE)
            return
        if self.config.require_tls and not self._tls:
            self._refuse(Reply(530, "5.7.0", "Must issue a STARTTLS command first"))
            return
        path = parse_path(argument, "FROM")
        if set(path.parameters) - MAIL_PARAMETERS:
            self._refuse(Reply(555, "5.5.4", "Parameter not implemented"))
            return
        if path.parameters.get("BODY", "7BIT").upper() not in {"7BIT", "8BITMIME"}:  # RFC 6152 3
            self._refuse(Reply(555, "5.5.4", "BODY type not implemented"))
            return
        size = parse_number(path.parameters["SIZE"]) if "SIZE" in path.parameters else None
        if size is not None and size > self.config.limits.message_size:  # RFC 1870 6.1
            self._refuse(TOO_BIG)
            return

        def answered(refusal: Reply | None) -> None:
            if refusal is None:
                self._mail = OpenMail(path, size)
                self._send(Reply(250, "2.1.0", "Sender OK"))
            else:
                self._send(refusal)

        self._ask(Admit(size), answered)

    def _do_rcpt(self, argument: str) -> None:
        if self._mail is None or self._mail.begun or self._mail.failed is not None:
            self._refuse(SEQUENCE)
            return
        path = parse_path(argument, "TO")
        if set(path.parameters) - RCPT_PARAMETERS:
            self._refuse(Reply(555, "5.5.4", "Parameter not implemented"))
            return
        address = comparable(path.address)
        if not address or not self.config.is_ours(address):
            domain = address.rpartition("@")[2]
            self._refuse(NO_USER if domain in self.config.domains else NOT_OURS)
            return
        if len(self._mail.recipients) >= self.config.limits.recipients:
            self._refuse(TOO_MANY)
            return
        self._mail.recipients.append(path.address)
        self._send(Reply(250, "2.1.5", "Recipient OK"))

    def _envelope(self, mail: OpenMail) -> Envelope:
        base = "LMTP" if self.config.protocol is Protocol.LMTP else "ESMTP" if self._extended else "SMTP"
        return Envelope(
            id=self.config.new_id(),
            protocol=base + ("S" if self._tls and self._extended else ""),
            helo=self._helo,
            peer=self._peer,
            tls=self._tls,
            sender=mail.path.address,
            recipients=tuple(mail.recipients),
            size=mail.size,
            parameters=mail.path.parameters,
        )

    def _do_data(self, argument: str) -> None:
        if argument.strip():
            raise SyntaxRefusedError("DATA has no parameters")
        mail = self._mail
        if mail is None or not mail.recipients or mail.chunks is not None or mail.failed is not None:
            self._refuse(SEQUENCE)
            return

        def answered(refusal: Reply | None) -> None:
            if refusal is not None:
                self._mail = None
                self._send(refusal)
                return
            mail.begun = True
            self._dots = DotDecoder()
            self._phase = Phase.DATA
            self._send(Reply(354, "", "End data with <CR><LF>.<CR><LF>"))

        self._ask(Begin(self._envelope(mail)), answered)

    def _advance_content(self) -> bool:
        return self._advance_data() if self._phase is Phase.DATA else self._advance_chunk()

    def _advance_data(self) -> bool:
        if not self._pending:
            return False
        mail = self._mail
        if mail is None:  # the driver's refusal never leaves the phase open
            raise RuntimeError("content without a mail")
        piece = self._dots.feed(self._pending)
        self._pending = piece.rest or b""
        self._take_content(mail, piece.content)
        if piece.rest is not None and self._phase is Phase.DATA:
            self._phase = Phase.COMMAND
            self._finish(mail)
        return True

    def _take_content(self, mail: OpenMail, content: bytes) -> None:
        limit = self.config.limits.message_size
        mail.received += len(content)
        if mail.received > limit:  # RFC 1870 6.3
            self._fail(mail, TOO_BIG)
            if mail.received > 2 * limit + 1_000_000:
                self._end(TOO_BIG)
        if content and mail.failed is None:
            self._actions.append(Content(content))

    def _do_bdat(self, argument: str) -> None:
        try:
            size, last = parse_chunk(argument)
        except SyntaxRefusedError as error:
            # how much of what follows is content is unknown: there is no way back to commands
            self._end(replace(SYNTAX, text=f"Syntax: {error}, closing connection"))
            return
        self._chunk_left = self._chunk_size = size
        self._chunk_last = last
        mail = self._mail
        if size > 2 * self.config.limits.message_size + 1_000_000:
            self._end(TOO_BIG)
            return
        if mail is None or not mail.recipients or mail.failed is not None or mail.chunks is not None:
            # a further chunk; or one that is read in any case (RFC 3030 2) and then refused
            self._phase = Phase.CHUNK
            return
        mail.chunks = ChunkDecoder()

        def answered(refusal: Reply | None) -> None:
            self._phase = Phase.CHUNK
            if refusal is None:
                mail.begun = True
            else:
                mail.failed = refusal

        self._ask(Begin(self._envelope(mail)), answered)

    def _advance_chunk(self) -> bool:
        mail = self._mail
        chunks = mail.chunks if mail is not None and mail.recipients else None
        if self._chunk_left:
            if not self._pending:
                return False
            data = self._pending[: self._chunk_left]
            self._pending = self._pending[self._chunk_left :]
            self._chunk_left -= len(data)
            if mail is not None and chunks is not None and mail.failed is None:
                self._take_content(mail, chunks.feed(data))
            return True
        self._phase = Phase.COMMAND
        if mail is None or chunks is None:
            self._refuse(SEQUENCE)
        elif self._chunk_last:
            if mail.failed is None:
                chunks.finish()
            self._finish(mail)
        elif mail.failed is not None:
            # the rest of this mail is refused chunk by chunk until RSET
            self._send(mail.failed)
        else:
            self._send(Reply(250, "2.0.0", f"{self._chunk_size} octets received"))
        return True

    def _finish(self, mail: OpenMail) -> None:
        """All is here: commit, then reply (RFC 5321 6.1), once or once per recipient (RFC 2033 4.2)."""
        self._mail = None
        replies = len(mail.recipients) if self.config.protocol is Protocol.LMTP else 1
        if mail.failed is not None:
            for _ in range(replies):
                self._send(mail.failed)
            return

        def answered(refusal: Reply | None) -> None:
            for _ in range(replies):
                self._send(refusal or Reply(250, "2.0.0", "Mail is stored"))
            if refusal is None:
                self._commands = 0

        self._ask(Commit(), answered)

    def _do_rset(self, argument: str) -> None:
        """Throw an open mail away (RFC 5321 4.1.1.5)."""
        if argument.strip():
            raise SyntaxRefusedError("RSET has no parameters")
        self._drop_mail()
        self._send(OK)

    def _do_noop(self, _argument: str) -> None:
        self._send(OK)

    def _do_vrfy(self, argument: str) -> None:
        if not argument.strip():
            raise SyntaxRefusedError("expected an address")
        # never tells who exists (RFC 5321 7.3)
        self._send(Reply(252, "2.5.0", "Cannot VRFY user, but will take mail for our own addresses"))

    def _do_help(self, _argument: str) -> None:
        self._send(Reply(214, "2.0.0", "See RFC 5321"))

    def _do_unsupported(self, _argument: str) -> None:
        self._refuse(Reply(502, "5.5.1", "Command not implemented"))

    def _do_quit(self, argument: str) -> None:
        if argument.strip():
            raise SyntaxRefusedError("QUIT has no parameters")
        self._drop_mail()
        self._send(Reply(221, "2.0.0", "Closing connection"))
        self._pending = b""
        self._close()

    _COMMANDS: ClassVar[Mapping[str, Callable[["Session", str], None]]] = {
        "HELO": _do_helo,
        "EHLO": _do_ehlo,
        "LHLO": _do_lhlo,
        "STARTTLS": _do_starttls,
        "MAIL": _do_mail,
        "RCPT": _do_rcpt,
        "DATA": _do_data,
        "BDAT": _do_bdat,
        "RSET": _do_rset,
        "NOOP": _do_noop,
        "VRFY": _do_vrfy,
        "HELP": _do_help,
        "QUIT": _do_quit,
        "EXPN": _do_unsupported,
        "AUTH": _do_unsupported,
        "ETRN": _do_unsupported,
        "TURN": _do_unsupported,
    }
