"""Fetching mails by POP3: streamed, undotted, and deleted only if QUIT was answered by +OK.

RFC 1939 5 and 7, RFC 2449 5 (CAPA), RFC 2595 4 (STLS), RFC 5034 4 (AUTH). A session is a
snapshot: new mails are seen by the next one, so waiting means coming back. UIDL is a mail's identity; without
it the SHA-256 of the mail is.
"""

import base64
import binascii
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from radpost.errors import (
    INTERNAL,
    LOGIN_FAILED,
    MAIL_REFUSED_TEMPORARILY,
    SERVER_PROTOCOL,
    SERVER_UNREACHABLE,
    TLS_FAILED,
    RadpostError,
)
from radpost.transport.dots import Unstuffer
from radpost.transport.failure import ConnectionLostError, TransportError, sanitise
from radpost.transport.sasl import Credentials, Exchange, Password, choose, no_mechanism
from radpost.transport.tls import Security
from radpost.transport.wire import Channel, Dial, Endpoint, Waker, Writer, connect, dial, write_all

_AHEAD = 4
_LIST_LIMIT = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Item:
    """A mail in the present session; ``uidl`` is None where the server has no UIDL."""

    number: int
    size: int
    uidl: str | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A mail that was streamed, whole; ``identity`` is its UIDL, or ``sha256:`` and its hash."""

    number: int
    size: int
    identity: str


Sink = Callable[[Item], Writer]


class Pop3Mailbox:
    """One account. From one thread at a time, but ``wake`` may be called from any."""

    def __init__(self, endpoint: Endpoint, credentials: Credentials, *, dialler: Dial = dial) -> None:
        self.capabilities: dict[str, frozenset[str]] = {}
        self._endpoint = endpoint
        self._credentials = credentials
        self._dial = dialler
        self._channel: Channel | None = None
        self._waker = Waker()
        self._marked: list[int] = []
        self._busy = False
        self._said = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._waker.close()

    @property
    def is_open(self) -> bool:
        """Whether there is a session."""
        return self._channel is not None

    # opening and closing

    def open(self) -> None:
        """Connect, secure and sign in; the server locks the mailbox for us."""
        self.close()
        self._channel = connect(self._endpoint, self._dial)
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def quit(self) -> tuple[int, ...]:
        """End the session; return the numbers of the mails that are deleted now.

        Only +OK counts (RFC 1939 6): after anything else the mails are still there, and will come again.
        """
        self._own_turn()
        marked, self._marked = tuple(self._marked), []
        try:
            if self._ask("QUIT") is None:
                raise TransportError(SERVER_PROTOCOL, "QUIT failed, nothing is deleted", reply=self._said)
        finally:
            self.close()
        return marked

    def close(self) -> None:
        """Close at once; what was marked for deletion stays on the server."""
        self._marked = []
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _greet(self) -> None:
        if self._reply() is None:
            raise TransportError(SERVER_UNREACHABLE, "the server does not serve us", reply=self._said)
        self._capa()
        if self._endpoint.security is Security.STARTTLS:
            self._stls()
        self._sign_in()
        self._capa()

    def abort(self) -> None:
        """End whatever is under way, from another thread; it fails there with ConnectionLostError."""
        if (channel := self._channel) is not None:
            channel.abort()

    def _stls(self) -> None:
        if self.capabilities and "STLS" not in self.capabilities:
            raise TransportError(TLS_FAILED, "the server offers no STLS")
        if self._ask("STLS") is None:
            raise TransportError(TLS_FAILED, "the server refused STLS", reply=self._said)
        self._wire.start_tls(self._endpoint)
        self._capa()

    def _capa(self) -> None:
        self.capabilities = {}
        if self._ask("CAPA") is not None:
            for line in self._lines():
                name, *words = line.upper().split() or [""]
                self.capabilities[name] = frozenset(words)

    def _sign_in(self) -> None:
        offered = self.capabilities.get("SASL", frozenset())
        mechanism = choose(offered, self._credentials)
        if mechanism is None and not isinstance(self._credentials, Password):
            raise no_mechanism(offered, self._credentials, encrypted=self._wire.encrypted)
        for last in (False, True):
            name = mechanism or "PLAIN"
            exchange = Exchange(name, self._credentials, host=self._endpoint.host, port=self._endpoint.port)
            done = self._authenticate(exchange) if mechanism else self._user_pass()
            if done:
                return
            # RFC 3206 4: what is not the password's fault says so.
            code = self._said.partition("]")[0].upper()
            temporary = code.startswith(("[IN-USE", "[SYS/TEMP", "[LOGIN-DELAY"))
            if last or temporary or not exchange.refuse_token():
                reason = MAIL_REFUSED_TEMPORARILY if temporary else LOGIN_FAILED
                words = sanitise(f"{self._said} {exchange.complaint}", exchange.secrets)
                raise TransportError(reason, "sign-in", reply=words)

    def _authenticate(self, exchange: Exchange) -> bool:
        words = f"AUTH {exchange.mechanism}"
        pending = exchange.initial
        if pending is not None and len(pending) < 150:  # RFC 5034 4: a line has 255 bytes
            words += " " + (base64.b64encode(pending).decode() or "=")
            pending = None
        self._wire.send(words.encode() + b"\r\n")
        while True:
            line = self._line()
            if not line.startswith(b"+ ") and line != b"+":
                return self._judge(line) is not None
            try:
                challenge = base64.b64decode(line[2:], validate=True)
            except binascii.Error as error:
                raise TransportError(SERVER_PROTOCOL, "a challenge that is not base64") from error
            reply = exchange.respond(challenge) if pending is None else pending
            pending = None
            self._wire.send(base64.b64encode(reply) + b"\r\n")

    def _user_pass(self) -> bool:
        assert isinstance(self._credentials, Password)
        user, secret = self._credentials.user, self._credentials.secret
        return self._ask(f"USER {user}") is not None and self._ask(f"PASS {secret}") is not None

    # mails

    def items(self) -> tuple[Item, ...]:
        """Return all mails of the session."""
        self._own_turn()
        if self._ask("LIST") is None:
            raise TransportError(SERVER_PROTOCOL, "LIST refused", reply=self._said)
        sizes = dict(_numbered(self._lines()))
        names: dict[int, str] = {}
        if self._ask("UIDL") is not None:
            names = dict(_numbered(self._lines()))
        return tuple(
            Item(number, int(size) if _is_number(size) else 0, names.get(number))
            for number, size in sorted(sizes.items())
        )

    def fetch(self, items: Iterable[Item], sink: Sink) -> Iterator[Fetched]:
        """Stream the mails into the writers that ``sink`` gives; yield after each one.

        With PIPELINING requests run ahead: no other command before the iterator is exhausted. Leaving it
        early, or an error of a writer, closes the connection. A mail that the server refuses is passed over.
        """
        self._own_turn()
        pending: deque[Item] = deque()
        todo = iter(items)
        ahead = _AHEAD if "PIPELINING" in self.capabilities else 1
        self._busy = True
        try:
            while True:
                words = b""
                while len(pending) < ahead and (item := next(todo, None)) is not None:
                    words += b"RETR %d\r\n" % item.number
                    pending.append(item)
                if not pending:
                    break
                if words:
                    self._wire.send(words)
                got = self._retrieve(pending[0], sink)
                pending.popleft()
                if got is not None:
                    yield got
        finally:
            self._busy = False
            if pending:
                self.close()

    def _retrieve(self, item: Item, sink: Sink) -> Fetched | None:
        if self._reply() is None:
            return None
        writer = sink(item)
        digest = hashlib.sha256() if item.uidl is None else None
        undo = Unstuffer()
        size = 0
        while undo.rest is None:
            body = undo.feed(self._wire.read_some())
            size += len(body)
            if digest is not None:
                digest.update(body)
            write_all(writer, memoryview(body))
        self._wire.unread(undo.rest)
        return Fetched(item.number, size, f"sha256:{digest.hexdigest()}" if digest else item.uidl or "")

    def delete(self, numbers: Iterable[int]) -> None:
        """Mark mails; they are deleted when ``quit`` returns them, and not before."""
        self._own_turn()
        for number in numbers:
            if self._ask(f"DELE {number}") is None:
                raise TransportError(SERVER_PROTOCOL, "DELE refused", reply=self._said)
            self._marked.append(number)

    def keep_alive(self) -> None:
        """Let the server know that we still work on the mails (it may end a silent session)."""
        self._own_turn()
        self._ask("NOOP")

    # waiting

    def wake(self) -> None:
        """End the present or the next wait; from any thread."""
        self._waker.wake()

    def wait(self, seconds: float) -> bool:
        """Wait between two sessions; True if ``wake`` ended it."""
        return self._waker.wait(seconds)

    # the dialogue

    @property
    def _wire(self) -> Channel:
        if self._channel is None:
            raise ConnectionLostError("the connection is closed")
        return self._channel

    def _ask(self, words: str) -> bytes | None:
        self._wire.send(words.encode() + b"\r\n")
        return self._reply()

    def _reply(self) -> bytes | None:
        return self._judge(self._line())

    def _line(self) -> bytes:
        return self._wire.read_line()

    def _judge(self, line: bytes) -> bytes | None:
        """Return the text of +OK, or None for -ERR, whose text is then in ``_said``."""
        word, _, text = line.partition(b" ")
        if word.upper() == b"+OK":
            return text
        self._said = sanitise(text)
        if word.upper() == b"-ERR":
            return None
        raise TransportError(SERVER_PROTOCOL, "not a POP3 response", reply=sanitise(line))

    def _lines(self) -> list[str]:
        lines: list[str] = []
        size = 0
        while (line := self._line()) != b".":
            size += len(line)
            if size > _LIST_LIMIT:
                raise TransportError(SERVER_PROTOCOL, "a list without end")
            lines.append(line.removeprefix(b".").decode("latin-1"))
        return lines

    def _own_turn(self) -> None:
        if self._busy:
            raise RadpostError(INTERNAL, "a POP3 command while a fetch is under way")


Mailbox = Pop3Mailbox


def _numbered(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    for line in lines:
        number, _, value = line.strip().partition(" ")
        if _is_number(number) and value:
            yield int(number), value.strip()


def _is_number(text: str) -> bool:
    return len(text) <= 20 and text.isascii() and text.isdecimal()
