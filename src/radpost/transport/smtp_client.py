"""The dialogue with a submission server: greeting, TLS, sign-in, commands and replies.

RFC 5321 3.1 (session), 3207 (STARTTLS), 4954 (AUTH). What is said about a mail is in ``smtp``.
"""

import base64
import binascii
import contextlib
import re
from typing import Self

from radpost.errors import (
    CONFIG_INVALID,
    LOGIN_FAILED,
    MAIL_REFUSED_TEMPORARILY,
    SERVER_PROTOCOL,
    SERVER_UNREACHABLE,
    TLS_FAILED,
    RadpostError,
)
from radpost.transport.failure import ConnectionLostError, TransportError, sanitise
from radpost.transport.sasl import Credentials, Exchange, choose, no_mechanism
from radpost.transport.smtp_reply import Features, Reply, make_reply, parse_features, parse_line
from radpost.transport.tls import Security
from radpost.transport.wire import Channel, Dial, Endpoint, connect, dial

_REPLY_LINES = 200
_NAME = re.compile(r"^[\x21-\x7e]+$")


class ClientSession:
    """A connection to an SMTP server, opened when first needed; use it from one thread at a time."""

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials | None = None,
        *,
        ehlo_name: str = "[127.0.0.1]",
        dialler: Dial = dial,
    ) -> None:
        self.mails = 0
        """Mails sent since the connection was opened."""
        self._endpoint = endpoint
        self._credentials = credentials
        if not _NAME.match(ehlo_name):
            raise RadpostError(CONFIG_INVALID, "the EHLO name must be a host name or an address literal")
        self._name = ehlo_name
        self._dial = dialler
        self._channel: Channel | None = None
        self._features = Features()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.quit()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection (it may have died unnoticed)."""
        return self._channel is not None

    @property
    def features(self) -> Features:
        """What the server offered after sign-in; opens the connection if need be."""
        self.open()
        return self._features

    @property
    def size_limit(self) -> int | None:
        """The largest mail the server announced to take, or None."""
        return self.features.size

    # opening and closing

    def open(self) -> None:
        """Connect, secure and sign in, unless that is done."""
        if self._channel is not None:
            return
        self._channel = connect(self._endpoint, self._dial)
        self.mails = 0
        try:
            self._greet()
            self._sign_in()
        except BaseException:
            self.close()
            raise

    def _greet(self) -> None:
        greeting = self._reply()
        if greeting.code != 220:
            raise TransportError(SERVER_UNREACHABLE, "the server does not serve us", reply=str(greeting))
        self._hello()
        if self._endpoint.security is Security.STARTTLS:
            if not self._features.starttls:
                raise TransportError(TLS_FAILED, "the server offers no STARTTLS")
            answer = self._command("STARTTLS")
            if answer.code != 220:
                raise TransportError(TLS_FAILED, "the server refused STARTTLS", reply=str(answer))
            self._wire.start_tls(self._endpoint)
            self._hello()

    def _hello(self) -> None:
        answer = self._command(f"EHLO {self._name}")
        if answer.good:
            self._features = parse_features(answer)
            return
        self._features = Features()
        if not self._command(f"HELO {self._name}").good:
            raise TransportError(SERVER_PROTOCOL, "the server refused EHLO and HELO", reply=str(answer))

    def _sign_in(self) -> None:
        if self._credentials is None:
            return
        offered = self._features.auth
        mechanism = choose(offered, self._credentials)
        if mechanism is None:
            raise no_mechanism(offered, self._credentials, encrypted=self._wire.encrypted)
        for last in (False, True):
            exchange = self._exchange(mechanism, self._credentials)
            answer = self._authenticate(exchange)
            if answer.code == 235:
                return
            if last or not (answer.permanent and exchange.refuse_token()):
                reason = LOGIN_FAILED if answer.permanent else MAIL_REFUSED_TEMPORARILY
                words = sanitise(f"{answer} {exchange.complaint}", exchange.secrets)
                raise TransportError(reason, f"sign-in by {mechanism}", reply=words)

    def _exchange(self, mechanism: str, credentials: Credentials) -> Exchange:
        return Exchange(mechanism, credentials, host=self._endpoint.host, port=self._endpoint.port)

    def _authenticate(self, exchange: Exchange) -> Reply:
        # RFC 4954 4: the initial response goes with the command, an empty one as "=".
        words = f"AUTH {exchange.mechanism}"
        if exchange.initial is not None:
            words += " " + (base64.b64encode(exchange.initial).decode() or "=")
        answer = self._command(words)
        while answer.code == 334:
            try:
                challenge = base64.b64decode(answer.lines[0], validate=True)
            except binascii.Error as error:
                raise TransportError(SERVER_PROTOCOL, "a challenge that is not base64") from error
            answer = self._command(base64.b64encode(exchange.respond(challenge)).decode())
        return answer

    def check(self) -> bool:
        """Tell whether the idle connection still lives (NOOP); a dead one is closed."""
        if self._channel is None:
            return False
        try:
            alive = self._command("NOOP").good
        except TransportError:
            alive = False
        if not alive:
            self.close()
        return alive

    def quit(self) -> None:
        """Take leave and close; never fails and waits only briefly."""
        if self._channel is not None:
            with contextlib.suppress(TransportError):
                self._channel.settimeout(min(5.0, self._endpoint.timeouts.command))
                self._command("QUIT")
            self.close()

    def abort(self) -> None:
        """End whatever is under way, from another thread; it fails or is uncertain there."""
        if (channel := self._channel) is not None:
            channel.abort()

    def close(self) -> None:
        """Close at once."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    # the dialogue

    @property
    def _wire(self) -> Channel:
        if self._channel is None:
            raise ConnectionLostError("the connection is closed")
        return self._channel

    def _command(self, words: str) -> Reply:
        self._wire.settimeout(self._endpoint.timeouts.command)
        self._wire.send(words.encode("ascii") + b"\r\n")
        return self._reply()

    def _reply(self) -> Reply:
        lines: list[str] = []
        more = True
        code = 0
        while more:
            number, more, text = parse_line(self._wire.read_line())
            if lines and number != code:
                raise TransportError(SERVER_PROTOCOL, f"a reply that changes from {code} to {number}")
            code = number
            lines.append(text)
            if len(lines) > _REPLY_LINES:
                raise TransportError(SERVER_PROTOCOL, "a reply without end")
        return make_reply(code, lines)
