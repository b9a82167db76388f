"""Server accounts of the configuration as the transport wants them."""

from pathlib import Path

from radpost.gateway.config import Account, OAuth, resolve_secret
from radpost.gateway.partners import Route
from radpost.gateway.site import Site
from radpost.transport.oauth import EndpointTokens, OAuthConfig
from radpost.transport.sasl import Bearer, Credentials, Password
from radpost.transport.tls import Security, TlsOptions
from radpost.transport.wire import Endpoint, Timeouts

_SECURITY = {"tls": Security.TLS, "starttls": Security.STARTTLS, "none": Security.LOOPBACK}


def endpoint_of(site: Site, account: Account | Route) -> Endpoint:
    """Return where a server is and how to be sure that it is the one; plain is for loopback only."""
    ca_file = site.config.path(account.ca) if account.ca else None
    connect = account.timeout_seconds if isinstance(account, Account) else 30.0
    return Endpoint(
        host=account.host,
        port=account.port,
        security=_SECURITY[account.security],
        tls=TlsOptions(ca_file=ca_file),
        timeouts=Timeouts(connect=min(connect, 30.0)),
    )


def login_of(site: Site, account: Account) -> Credentials | None:
    """Return how to sign in; None where no user is configured."""
    if not account.user:
        return None
    folder = Path(site.config.folder)
    if account.oauth is not None:
        return Bearer(account.user, EndpointTokens(_oauth(account.oauth, folder)))
    return Password(account.user, account.secret(folder))


def _oauth(oauth: OAuth, folder: Path) -> OAuthConfig:
    secret = resolve_secret(
        oauth.client_secret, oauth.client_secret_file, oauth.client_secret_env, folder, "client_secret"
    )
    refresh = resolve_secret(
        oauth.refresh_token, oauth.refresh_token_file, oauth.refresh_token_env, folder, "refresh_token"
    )
    return OAuthConfig(
        token_endpoint=oauth.token_url,
        client_id=oauth.client_id,
        grant="refresh_token" if refresh else "client_credentials",
        client_secret=secret or None,
        refresh_token=refresh or None,
        scope=oauth.scope or None,
    )
