"""Server accounts of the configuration as the transport wants them."""

import hashlib
import os
import secrets
import threading
from pathlib import Path

import msgspec

from radpost.gateway.config import Account, OAuth, resolve_secret
from radpost.gateway.partners import Route
from radpost.gateway.site import Site
from radpost.store import journal
from radpost.transport.oauth import EndpointTokens, OAuthConfig, TokenSource
from radpost.transport.sasl import Bearer, Credentials, Password
from radpost.transport.tls import Security, TlsOptions
from radpost.transport.wire import Endpoint, Timeouts

_SECURITY = {"tls": Security.TLS, "starttls": Security.STARTTLS, "none": Security.LOOPBACK}


def endpoint_of(site: Site, account: Account | Route) -> Endpoint:
    """Return where a server is and how to be sure that it is the one; plain is for loopback only."""
    ca_file = site.config.path(account.ca) if account.ca else None
    return Endpoint(
        host=account.host,
        port=account.port,
        security=_SECURITY[account.security],
        tls=TlsOptions(ca_file=ca_file),
        timeouts=_patience(account.timeout_seconds) if isinstance(account, Account) else Timeouts(),
    )


def _patience(seconds: float) -> Timeouts:
    """Return how long a server may be silent; after a mail's last byte never shorter than the RFC's time."""
    usual = Timeouts()
    return Timeouts(
        connect=min(seconds, usual.connect), command=seconds, block=seconds, final=max(seconds, usual.final)
    )


def login_of(site: Site, account: Account) -> Credentials | None:
    """Return how to sign in; None where no user is configured."""
    if not account.user:
        return None
    if account.oauth is not None:
        mechanism = "" if account.oauth.mechanism == "auto" else account.oauth.mechanism
        return Bearer(account.user, _tokens(site, account.user, account.oauth), mechanism)
    return Password(account.user, account.secret(Path(site.config.folder)))


def _tokens(site: Site, user: str, oauth: OAuth) -> TokenSource:
    """Return an account's tokens, the same for all its connections: a refresh may void the one before."""
    key = f"{user} {msgspec.json.encode(oauth).decode()}"
    return site.tokens.setdefault(key, AccountTokens(site, user, oauth))


class AccountTokens:
    """Access tokens of one account; a rotated refresh token is durable before it is used (RFC 6749 6).

    It goes into its file, or, where the file cannot be written or the configuration itself holds the token,
    into the store beside a hash of the one that it replaces.
    """

    def __init__(self, site: Site, user: str, oauth: OAuth) -> None:
        self._site = site
        self._user = user
        self._oauth = oauth
        self._lock = threading.Lock()
        self._given = ""
        self._source: EndpointTokens | None = None

    def token(self) -> str:
        """Return a token that is believed to be valid."""
        return self._current().token()

    def reject(self, token: str) -> bool:
        """Learn that a server refused ``token``."""
        return self._current().reject(token)

    def _current(self) -> EndpointTokens:
        """Return the source; a person may have put another refresh token into the file meanwhile."""
        oauth, folder = self._oauth, Path(self._site.config.folder)
        given = resolve_secret(
            oauth.refresh_token, oauth.refresh_token_file, oauth.refresh_token_env, folder, "refresh_token"
        )
        with self._lock:
            if self._source is None or given != self._given:
                self._given = given
                config = _oauth(oauth, folder, self._newest(given))
                self._source = EndpointTokens(config, keep_refresh_token=self._keep)
            return self._source

    def _newest(self, given: str) -> str:
        with self._site.database.read() as connection:
            return journal.recall(connection, self._name(given)) or given

    def _keep(self, renewed: str) -> None:
        if self._oauth.refresh_token_file:
            path = Path(self._site.config.folder) / Path(self._oauth.refresh_token_file).expanduser()
            try:
                _replace_durably(path, renewed)
            except OSError:
                self._site.log.warning("refresh token file cannot be written; the token is in the store")
            else:
                self._given = renewed
                return
        with self._site.database.write() as connection:
            journal.remember(connection, self._name(self._given), renewed, self._site.clock())

    def _name(self, given: str) -> str:
        account = f"{self._oauth.token_url} {self._oauth.client_id} {self._user} {given}"
        return f"refresh token {hashlib.sha256(account.encode()).hexdigest()[:32]}"


def _replace_durably(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _oauth(oauth: OAuth, folder: Path, refresh: str) -> OAuthConfig:
    secret = resolve_secret(
        oauth.client_secret, oauth.client_secret_file, oauth.client_secret_env, folder, "client_secret"
    )
    return OAuthConfig(
        token_endpoint=oauth.token_url,
        client_id=oauth.client_id,
        grant="refresh_token" if refresh else "client_credentials",
        client_secret=secret or None,
        refresh_token=refresh or None,
        scope=oauth.scope or None,
    )
