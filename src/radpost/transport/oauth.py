"""OAuth 2 access tokens for mail servers and the two ways to show them.

RFC 6749 4.4 and 6 (client credentials, refresh token), RFC 7628 (OAUTHBEARER), and the older XOAUTH2.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import urlencode, urlsplit

from radpost.errors import CONFIG_INVALID, LOGIN_FAILED, SERVER_UNREACHABLE, RadpostError
from radpost.transport.failure import TransportError, sanitise
from radpost.transport.tls import TlsOptions, client_context

if TYPE_CHECKING:
    from http.client import HTTPResponse

_ANSWER_LIMIT = 256 * 1024
_HTTP_TIMEOUT = 30.0
_EARLY = 60.0
"""A token is renewed so many seconds before it expires: a long queue must not meet the last second."""
_DEFAULT_LIFE = 300.0
"""Assumed life of a token whose answer names none (RFC 6749 5.1 only recommends expires_in)."""


class TokenSource(Protocol):
    """Where access tokens come from. Safe to use from several threads."""

    def token(self) -> str:
        """Return a token that is believed to be valid."""

    def reject(self, token: str) -> bool:
        """Learn that a server refused ``token``; True if asking again may give another one."""


def xoauth2(user: str, token: str) -> bytes:
    """Return the initial response of XOAUTH2."""
    _check(user, token)
    return f"user={user}\x01auth=Bearer {token}\x01\x01".encode()


def oauthbearer(user: str, token: str, host: str, port: int) -> bytes:
    """Return the initial response of OAUTHBEARER (RFC 7628 3.1); ``,`` and ``=`` are quoted (RFC 5801 4)."""
    _check(user, token)
    name = user.replace("=", "=3D").replace(",", "=2C")
    return f"n,a={name},\x01host={host}\x01port={port}\x01auth=Bearer {token}\x01\x01".encode()


def _check(user: str, token: str) -> None:
    if (
        any(ord(mark) < 0x20 for mark in user)
        or any(not 0x20 < ord(mark) < 0x7F for mark in token)
        or not token
    ):
        raise TransportError(LOGIN_FAILED, "the access token or the user name holds a forbidden character")


@dataclass(frozen=True, slots=True)
class OAuthConfig:
    """How to get tokens from an authorisation server."""

    token_endpoint: str
    client_id: str
    grant: Literal["refresh_token", "client_credentials"]
    client_secret: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    scope: str | None = None
    tls: TlsOptions = field(default_factory=TlsOptions)

    def __post_init__(self) -> None:
        url = urlsplit(self.token_endpoint)
        if url.scheme != "https" or not url.hostname:
            raise RadpostError(CONFIG_INVALID, "the OAuth 2 token endpoint must be an https address")
        if self.grant == "refresh_token" and not self.refresh_token:
            raise RadpostError(CONFIG_INVALID, "the OAuth 2 grant refresh_token needs a refresh token")
        if self.grant == "client_credentials" and not self.client_secret:
            raise RadpostError(CONFIG_INVALID, "the OAuth 2 grant client_credentials needs a client secret")


Post = Callable[[str, bytes, TlsOptions], tuple[int, bytes]]


class EndpointTokens:
    """Tokens from an authorisation server, kept until shortly before they expire.

    ``keep_refresh_token`` is called when the server hands out a new refresh token (RFC 6749 6): the old one
    may be void from then on, so the caller must store it durably before returning.
    """

    def __init__(
        self,
        config: OAuthConfig,
        *,
        keep_refresh_token: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        post: "Post | None" = None,
    ) -> None:
        self._config = config
        self._keep = keep_refresh_token
        self._clock = clock
        self._post = post or post_form
        self._refresh_token = config.refresh_token
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0

    def token(self) -> str:
        """Return the kept token, or fetch one."""
        with self._lock:
            if not self._token or self._clock() >= self._until:
                self._fetch()
            return self._token

    def reject(self, token: str) -> bool:
        """Forget ``token``, so that the next one is fetched."""
        with self._lock:
            if token == self._token:
                self._token = ""
        return True

    def _fetch(self) -> None:
        config = self._config
        form = {"grant_type": config.grant, "client_id": config.client_id}
        if config.client_secret:
            form["client_secret"] = config.client_secret
        if config.scope:
            form["scope"] = config.scope
        if config.grant == "refresh_token":
            form["refresh_token"] = self._refresh_token or ""
        asked = self._clock()
        status, body = self._post(config.token_endpoint, urlencode(form).encode(), config.tls)
        answer = _parse(body)
        if status >= 500:
            raise TransportError(SERVER_UNREACHABLE, f"the token endpoint answered {status}")
        token = answer.get("access_token")
        if status != 200 or not isinstance(token, str) or not token:
            secrets = (config.client_secret or "", self._refresh_token or "")
            words = " ".join(str(answer[key]) for key in ("error", "error_description") if key in answer)
            raise TransportError(
                LOGIN_FAILED, f"the token endpoint answered {status}", reply=sanitise(words, secrets)
            )
        self._token, self._until = token, asked + _life(answer) - _EARLY
        renewed = answer.get("refresh_token")
        if (
            config.grant == "refresh_token"
            and isinstance(renewed, str)
            and renewed not in ("", self._refresh_token)
        ):
            self._refresh_token = renewed
            if self._keep is not None:
                self._keep(renewed)


def _life(answer: Mapping[str, object]) -> float:
    seconds = answer.get("expires_in")
    if isinstance(seconds, (int, float, str)):
        try:
            return max(float(seconds), _EARLY)
        except ValueError:
            pass
    return _DEFAULT_LIFE


def _parse(body: bytes) -> Mapping[str, object]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def post_form(url: str, form: bytes, tls: TlsOptions) -> tuple[int, bytes]:
    """POST a form over verified HTTPS; a redirect is not followed, it would carry the secret elsewhere."""
    # At call time: urllib.request draws in http.client and email, which most gateways never need.
    import urllib.error  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=client_context(tls)), Stay())
    headers = {"Accept": "application/json", "User-Agent": "radpost"}
    request = urllib.request.Request(url, data=form, headers=headers, method="POST")  # noqa: S310  https is checked
    try:
        answer: HTTPResponse | urllib.error.HTTPError
        try:
            answer = opener.open(request, timeout=_HTTP_TIMEOUT)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status or 0, answer.read(_ANSWER_LIMIT)
    except OSError as error:
        cause = sanitise(str(getattr(error, "reason", error)))
        raise TransportError(SERVER_UNREACHABLE, f"the token endpoint cannot be used: {cause}") from error
