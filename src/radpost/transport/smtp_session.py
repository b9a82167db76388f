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
    Admit,
    OpenMail,
    Protocol,
    Send,
    SessionConfig,
    StartTls,
)
from radpost.transport.smtp_core import Phase
from radpost.transport.smtp_grammar import (
    Envelope,
    Reply,
    SyntaxRefusedError,
    comparable,
    multiline,
    parse_greeting,
    parse_number,
    parse_path,
)
from radpost.transport.smtp_transaction import Transaction


class Session(Transaction):
    """The machine. All replies are decided here except those that the driver answers with.

    Commands may come in one packet (RFC 2920 3.2); the order they need is that of RFC 5321 4.1.4.
    """

    def __init__(self, config: SessionConfig, *, peer: str = "", tls: str = "") -> None:
        super().__init__(config)
        self._peer, self._tls = peer, tls
        self._helo = ""
        self._extended = False
        words = "LMTP" if config.protocol is Protocol.LMTP else "ESMTP"
        self._send(Reply(220, "", f"{config.name} {words} ready"))

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
            self.take_chunk(argument)
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
        "DATA": Transaction.take_data,
        "BDAT": Transaction.take_chunk,
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
