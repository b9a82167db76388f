"""The dialogue with an IMAP server: greeting, TLS, sign-in, commands with tags, responses with literals.

RFC 3501 6.1.1, 6.2.2, 6.2.3; RFC 9051; RFC 4959 3 (SASL-IR); RFC 7162 is not used. What is done
with mails is in ``imap``.
"""

import base64
import binascii
import contextlib
import re
from collections.abc import Callable

from radpost.errors import (
    LOGIN_FAILED,
    MAIL_REFUSED_TEMPORARILY,
    SERVER_PROTOCOL,
    SERVER_UNREACHABLE,
    TLS_FAILED,
)
from radpost.transport.failure import ConnectionLostError, TransportError, sanitise
from radpost.transport.imap_grammar import (
    Literal,
    Parts,
    Response,
    as_number,
    literal_size,
    parse_response,
    quoted,
    without_literal,
)
from radpost.transport.sasl import Credentials, Exchange, Password, choose, no_mechanism
from radpost.transport.tls import Security
from radpost.transport.wire import Channel, Dial, Endpoint, Writer, connect, dial

_LINE_LIMIT = 8 * 1024 * 1024
"""A SEARCH response of a mailbox with a million mails is one line."""
_LITERAL_LIMIT = 64 * 1024
_BODY = re.compile(rb"^\* \d+ FETCH \(.*BODY\[\] $", re.IGNORECASE | re.DOTALL)

Sink = Callable[[bytes, int], Writer]
"""Called with the text before a body's literal and its size; returns where the body goes."""


class ImapSession:
    """A signed-in connection; commands are run one at a time, except where ``imap`` pipelines."""

    def __init__(self, endpoint: Endpoint, credentials: Credentials, *, dialler: Dial = dial) -> None:
        self.capabilities: frozenset[str] = frozenset()
        self._endpoint = endpoint
        self._credentials = credentials
        self._dial = dialler
        self._channel: Channel | None = None
        self._counter = 0

    @property
    def is_open(self) -> bool:
        """Whether there is a connection (it may have died unnoticed)."""
        return self._channel is not None

    def connect(self) -> None:
        """Connect, secure and sign in."""
        self.close()
        self._channel = connect(self._endpoint, self._dial)
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close at once."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def abort(self) -> None:
        """End whatever is under way, from another thread; it fails there with ConnectionLostError."""
        if (channel := self._channel) is not None:
            channel.abort()

    def logout(self) -> None:
        """Take leave and close; never fails."""
        if self._channel is not None:
            with contextlib.suppress(TransportError):
                self._channel.settimeout(5.0)
                self.run(b"LOGOUT")
            self.close()

    def _greet(self) -> None:
        greeting = self.read()
        if greeting.kind == "BYE" or greeting.kind not in ("OK", "PREAUTH"):
            raise TransportError(SERVER_UNREACHABLE, "the server does not serve us", reply=greeting.text)
        self._note_capabilities(greeting)
        if self._endpoint.security is Security.STARTTLS:
            if greeting.kind == "PREAUTH":  # RFC 3501 6.2.1: STARTTLS is no longer possible
                raise TransportError(TLS_FAILED, "the server signs in before TLS")
            self._ask_capabilities()
            if "STARTTLS" not in self.capabilities:
                raise TransportError(TLS_FAILED, "the server offers no STARTTLS")
            answer = self._attempt(b"STARTTLS")
            if answer.kind != "OK":
                raise TransportError(TLS_FAILED, "the server refused STARTTLS", reply=answer.text)
            self.wire.start_tls(self._endpoint)
            self.capabilities = frozenset()
        self._ask_capabilities()
        if greeting.kind != "PREAUTH":
            self._sign_in()

    def _ask_capabilities(self) -> None:
        if not self.capabilities:
            self.run(b"CAPABILITY")

    def _sign_in(self) -> None:
        offered = frozenset(name[5:] for name in self.capabilities if name.startswith("AUTH="))
        mechanism = choose(offered, self._credentials)
        if mechanism is None and isinstance(self._credentials, Password) and self._may_login():
            mechanism = ""
        if mechanism is None:
            raise no_mechanism(offered, self._credentials, encrypted=self.wire.encrypted)
        initial = "SASL-IR" in self.capabilities
        self.capabilities = frozenset()
        for last in (False, True):
            exchange = Exchange(
                mechanism or "PLAIN", self._credentials, host=self._endpoint.host, port=self._endpoint.port
            )
            answer = self._authenticate(exchange, initial=initial) if mechanism else self._login()
            if answer.kind == "OK":
                break
            temporary = answer.code in ("UNAVAILABLE", "INUSE", "LIMIT")
            if last or temporary or not exchange.refuse_token():
                words = sanitise(f"{answer.text} {exchange.complaint}", exchange.secrets)
                reason = MAIL_REFUSED_TEMPORARILY if temporary else LOGIN_FAILED
                raise TransportError(reason, "sign-in", reply=words)
        self._ask_capabilities()

    def _may_login(self) -> bool:
        return "LOGINDISABLED" not in self.capabilities

    def _login(self) -> Response:
        assert isinstance(self._credentials, Password)
        if not (self._credentials.user + self._credentials.secret).isascii():
            raise TransportError(LOGIN_FAILED, "LOGIN takes ASCII only, and the server has no AUTH=PLAIN")
        return self._attempt(
            b"LOGIN " + quoted(self._credentials.user) + b" " + quoted(self._credentials.secret)
        )

    def _authenticate(self, exchange: Exchange, *, initial: bool) -> Response:
        words = b"AUTHENTICATE " + exchange.mechanism.encode()
        pending = exchange.initial
        if pending is not None and initial:
            words += b" " + (base64.b64encode(pending) or b"=")
            pending = None
        tag = self.begin(words)
        while True:
            answer = self.read()
            if answer.tag != "+":
                if answer.tag == tag:
                    self._note_capabilities(answer)
                    return answer
                self.untagged(answer)
                continue
            if pending is not None:
                reply, pending = pending, None
            else:
                reply = exchange.respond(_challenge(answer))
            self.send(base64.b64encode(reply) + b"\r\n")

    # commands

    @property
    def wire(self) -> Channel:
        """The open channel."""
        if self._channel is None:
            raise ConnectionLostError("the connection is closed")
        return self._channel

    def begin(self, command: bytes) -> str:
        """Send a command and return its tag."""
        tag = self.next_tag()
        self.send(tag.encode() + b" " + command + b"\r\n")
        return tag

    def send(self, data: bytes) -> None:
        """Send; a connection that fails is closed, so that the next ``open`` makes a new one."""
        try:
            self.wire.send(data)
        except TransportError:
            self.close()
            raise

    def next_tag(self) -> str:
        """Return a fresh tag."""
        self._counter += 1
        return f"R{self._counter}"

    def finish(self, tag: str) -> tuple[Response, list[Response]]:
        """Read up to the tagged response; return it and the untagged ones before it."""
        seen: list[Response] = []
        while True:
            answer = self.read()
            if answer.tag == tag:
                self._note_capabilities(answer)
                return answer, seen
            self.untagged(answer)
            seen.append(answer)

    def run(self, command: bytes) -> list[Response]:
        """Run a command that must succeed; return its untagged responses."""
        answer, seen = self.finish(self.begin(command))
        if answer.kind != "OK":
            raise refused(command, answer)
        return seen

    def _attempt(self, command: bytes) -> Response:
        return self.finish(self.begin(command))[0]

    def untagged(self, response: Response) -> None:
        """Take note of what the server says unasked."""
        if response.kind == "BYE":
            self.close()
            raise ConnectionLostError("the server closes the connection", reply=response.text)
        if response.kind == "CAPABILITY":
            self.capabilities = frozenset(str(name).upper() for name in response.values())
        self._note_capabilities(response)

    def _note_capabilities(self, response: Response) -> None:
        if response.code == "CAPABILITY":
            self.capabilities = frozenset(response.argument.upper().split())

    def read(self, sink: Sink | None = None) -> Response:
        """Read one response; a body goes to ``sink``, other literals into memory.

        After any error the place in the dialogue is lost, so the connection is closed.
        """
        try:
            return parse_response(self._read_parts(sink))
        except BaseException:
            self.close()
            raise

    def search(self, criteria: str) -> set[int]:
        """Return the UIDs of the mails that match (RFC 3501 6.4.4)."""
        return {
            number
            for response in self.run(f"UID SEARCH {criteria}".encode())
            if response.kind == "SEARCH"
            for value in _atoms(response)
            if (number := as_number(value)) is not None
        }

    def _read_parts(self, sink: Sink | None) -> Parts:
        parts: list[bytes | Literal] = []
        text = b""
        while True:
            line = self.wire.read_line(_LINE_LIMIT)
            # A continuation of a response with literals is never taken for a status response.
            size = literal_size(b"* DATA " + line if parts else line)
            if size is None:
                parts.append(line)
                return parts
            line = without_literal(line)
            parts.append(line)
            text += line
            if sink is not None and _BODY.match(text):
                self.wire.copy(sink(text, size), size)
                parts.append(Literal(None))
            elif size > _LITERAL_LIMIT:
                raise TransportError(SERVER_PROTOCOL, f"an unexpected literal of {size} bytes")
            else:
                parts.append(Literal(self.wire.read_exact(size)))


def refused(command: bytes, answer: Response) -> TransportError:
    """Return the error for a command that was answered by NO or BAD; arguments are left out."""
    name = " ".join(command.decode("latin-1").split(" ")[: 2 if command.startswith(b"UID ") else 1])
    return TransportError(SERVER_PROTOCOL, f"{name} was answered by {answer.kind}", reply=answer.text)


def _atoms(response: Response) -> list[str]:
    # A plain split, not the grammar: a mailbox with a million mails gives a line of some megabytes.
    text = response.parts[0] if response.parts else b""
    return text.decode("latin-1").split() if isinstance(text, bytes) else []


def _challenge(answer: Response) -> bytes:
    text = answer.parts[0]
    assert isinstance(text, bytes)
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise TransportError(SERVER_PROTOCOL, "a challenge that is not base64") from error
