"""Sign-in: credentials, the choice of a mechanism and the client's side of its dialogue (RFC 4422 3).

PLAIN is RFC 4616 2, CRAM-MD5 is RFC 2195 2, OAUTHBEARER is RFC 7628. sans-I/O: the three
protocols wrap the same exchange in their own lines.
"""

import hmac
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from radpost.errors import LOGIN_FAILED, TLS_FAILED
from radpost.transport.failure import TransportError, sanitise
from radpost.transport.oauth import TokenSource, oauthbearer, xoauth2


@dataclass(frozen=True, slots=True)
class Password:
    """A user and a password."""

    user: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bearer:
    """A user and where access tokens come from (OAuth 2)."""

    user: str
    tokens: TokenSource = field(repr=False)
    mechanism: str = ""
    """The only one to use; empty: what the server offers."""


Credentials = Password | Bearer

_PASSWORD_MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5")
_BEARER_MECHANISMS = ("OAUTHBEARER", "XOAUTH2")


def choose(offered: AbstractSet[str], credentials: Credentials) -> str | None:
    """Return the mechanism to use, or None if the server offers none that fits.

    A plain password goes first: every server has it, and no connection to another machine is without TLS.
    """
    order: tuple[str, ...]
    if isinstance(credentials, Bearer):
        order = (credentials.mechanism,) if credentials.mechanism else _BEARER_MECHANISMS
    else:
        order = _PASSWORD_MECHANISMS
    return next((name for name in order if name in offered), None)


class Exchange:
    """The client's side of one sign-in: ``initial`` response, then ``respond`` to each challenge."""

    def __init__(self, mechanism: str, credentials: Credentials, *, host: str, port: int) -> None:
        self.mechanism = mechanism
        self.complaint = ""
        """What the server said against a token (a JSON text), sanitised."""
        self._credentials = credentials
        self._step = 0
        self._token = ""
        if isinstance(credentials, Bearer):
            token = self._token = credentials.tokens.token()
            if mechanism == "OAUTHBEARER":
                self.initial: bytes | None = oauthbearer(credentials.user, token, host, port)
            else:
                self.initial = xoauth2(credentials.user, token)
        else:
            _check(credentials)
            plain = f"\0{credentials.user}\0{credentials.secret}".encode()
            self.initial = plain if mechanism == "PLAIN" else None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not appear in anything that is written down."""
        return (self._token,) if isinstance(self._credentials, Bearer) else (self._credentials.secret,)

    def respond(self, challenge: bytes) -> bytes:
        """Answer a challenge (both are without base64)."""
        self._step += 1
        if isinstance(self._credentials, Bearer):
            # RFC 7628 3.2.3: the server's challenge is an error; answer with kvsep alone and be refused.
            self.complaint = sanitise(challenge, self.secrets)
            return b"\x01" if self.mechanism == "OAUTHBEARER" else b""
        secret = self._credentials.secret.encode()
        user = self._credentials.user.encode()
        if self.mechanism == "CRAM-MD5" and self._step == 1:
            return user + b" " + hmac.new(secret, challenge, "md5").hexdigest().encode()
        if self.mechanism == "LOGIN" and self._step <= 2:
            return user if self._step == 1 else secret
        if self.mechanism == "PLAIN" and self._step == 1 and self.initial is not None:
            return self.initial
        raise TransportError(LOGIN_FAILED, f"the server asked too much in {self.mechanism}")

    def refuse_token(self) -> bool:
        """Tell the source that the server refused the token; True if there may be a better one."""
        if isinstance(self._credentials, Bearer):
            return self._credentials.tokens.reject(self._token)
        return False


def no_mechanism(offered: AbstractSet[str], credentials: Credentials, *, encrypted: bool) -> TransportError:
    """Return the error for a server with which this sign-in is not possible."""
    kind = "a password"
    if isinstance(credentials, Bearer):
        kind = f"an OAuth 2 token {credentials.mechanism}".strip()
    names = sanitise(" ".join(sorted(offered))) or "none"
    if not encrypted and not offered:
        return TransportError(TLS_FAILED, "the server offers no sign-in on a connection without TLS")
    return TransportError(LOGIN_FAILED, f"the server offers no way to sign in by {kind}; it offers {names}")


def _check(credentials: Password) -> None:
    if not credentials.user or any(mark in credentials.user + credentials.secret for mark in "\0\r\n"):
        raise TransportError(LOGIN_FAILED, "user name or password is empty or holds a control character")
