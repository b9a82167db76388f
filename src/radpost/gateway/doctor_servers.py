"""The steps of ``radpost doctor`` that open connections: mail servers, mailboxes, PACS and destinations."""

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Protocol

from radpost.dicom.scu import Association, Peer, Proposal
from radpost.dicom.services import EXPLICIT_LE, IMPLICIT_LE, VERIFICATION
from radpost.errors import LOGIN_FAILED, PACS_REFUSED_OBJECT, RadpostError
from radpost.gateway.accounts import endpoint_of, login_of
from radpost.gateway.config import Destination, Mailbox
from radpost.gateway.delivering import client_tls
from radpost.gateway.partners import Route
from radpost.gateway.phrases import say
from radpost.gateway.retrieving import peer_of
from radpost.gateway.site import Site
from radpost.transport.imap import ImapMailbox
from radpost.transport.pop3 import Pop3Mailbox
from radpost.transport.sasl import Credentials
from radpost.transport.smtp import Connection
from radpost.transport.tls import Security
from radpost.transport.wire import Endpoint, Timeouts, dial
from radpost.words import Language

PATIENCE: Final = Timeouts(connect=10.0, command=20.0, block=20.0, final=20.0)
CLOCK_SECONDS: Final = 120.0
QUOTA_SHARE: Final = 0.9
_GREETING_DATE: Final = re.compile(rb"; ?((?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [^\r\n]{10,60})\r?\n")


@dataclass(frozen=True, slots=True)
class Result:
    """A step that went well; with a remedy it is a warning."""

    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """A step that opens a connection; ``run`` raises RadpostError when it fails."""

    step: str
    subject: str
    run: Callable[[], Result]


def probes(site: Site, language: Language) -> Iterator[Probe]:
    """Yield the steps of this configuration."""
    config = site.config
    if config.submission is not None:
        yield Probe("mail out", _where(config.submission), lambda: _submission(site, language))
    for partner in site.partners.all():
        route = partner.settings.route
        if route is not None:
            yield Probe("mail out", f"{partner.name} {_where(route)}", _routed(site, route, language))
    for mailbox in config.mailbox:
        yield Probe("mail in", f"{mailbox.name} {_where(mailbox)}", _fetched(site, mailbox, language))
    if config.pacs is not None:
        pacs = config.pacs
        yield Probe("PACS", f"{pacs.ae_title}@{_where(pacs)}", lambda: _echo(peer_of(site, pacs)))
    for item in config.destination:
        if item.kind == "dicom":
            yield Probe("destinations", f"{item.name} {item.ae_title}@{_where(item)}", _delivered(site, item))


def _submission(site: Site, language: Language) -> Result:
    account = site.config.submission
    assert account is not None
    helo = account.helo or site.domain
    return _smtp(site, endpoint_of(site, account), login_of(site, account), helo, language)


def _routed(site: Site, route: Route, language: Language) -> Callable[[], Result]:
    return lambda: _smtp(site, endpoint_of(site, route), None, site.domain, language)


def _fetched(site: Site, mailbox: Mailbox, language: Language) -> Callable[[], Result]:
    run = _imap if mailbox.kind == "imap" else _pop3
    return lambda: run(site, mailbox, language)


def _delivered(site: Site, item: Destination) -> Callable[[], Result]:
    def run() -> Result:
        tls = client_tls(site, item.tls)
        return _echo(Peer(item.host, item.port, item.ae_title, item.our_ae_title, tls))

    return run


def _smtp(site: Site, endpoint: Endpoint, login: Credentials | None, helo: str, language: Language) -> Result:
    greeting: list[bytes] = []

    def listen(target: Endpoint) -> socket.socket:
        sock = dial(target)
        if target.security is not Security.TLS:
            # the greeting may tell the server's time (RFC 5321 4.2 leaves its text free); it stays unread
            greeting.append(sock.recv(1024, socket.MSG_PEEK))
        return sock

    endpoint = replace(endpoint, timeouts=PATIENCE)
    with Connection(endpoint, login, ehlo_name=helo, dialler=listen) as connection:
        features = connection.features
        words = [_secured(endpoint), "signed in" if login else "no sign-in"]
        words += [name for name, offered in _offers(connection) if offered]
        limit = features.size
    words.append(f"size limit {limit / 1e6:.1f} MB" if limit else "no size limit announced")
    differs = ahead(b"".join(greeting), site.clock())
    if differs is not None and abs(differs) > CLOCK_SECONDS:
        return Result(f"{', '.join(words)}; its clock differs by {differs:.0f} s", say("clock", language))
    largest = max((partner.switches.max_mail_size for partner in site.partners.all()), default=0)
    if limit and limit < largest:
        return Result(", ".join(words), say("small-size", language))
    return Result(", ".join(words))


def _offers(connection: Connection) -> tuple[tuple[str, bool], ...]:
    features = connection.features
    return (
        ("PIPELINING", features.pipelining),
        ("CHUNKING", features.chunking),
        ("DSN", features.dsn),
    )


def _imap(site: Site, mailbox: Mailbox, language: Language) -> Result:
    endpoint = replace(endpoint_of(site, mailbox), timeouts=PATIENCE)
    with ImapMailbox(endpoint, _login(site, mailbox), mailbox=mailbox.folder) as client:
        selected = client.open()
        words = [_secured(endpoint), "signed in", f"{selected.exists} mails in {mailbox.folder}"]
        words += [name for name in ("IDLE", "UIDPLUS", "MOVE") if name in client.capabilities]
        quota = client.quota()
    if quota is not None and quota.limit:
        words.append(f"quota {quota.used / 1e6:.1f} of {quota.limit / 1e6:.1f} MB")
        if quota.used > QUOTA_SHARE * quota.limit:
            return Result(", ".join(words), say("quota-full", language))
    return Result(", ".join(words))


def _pop3(site: Site, mailbox: Mailbox, _language: Language) -> Result:
    endpoint = replace(endpoint_of(site, mailbox), timeouts=PATIENCE)
    with Pop3Mailbox(endpoint, _login(site, mailbox)) as client:
        client.open()
        items = client.items()
        words = [
            _secured(endpoint),
            "signed in",
            f"{len(items)} mails, {sum(i.size for i in items) / 1e6:.1f} MB",
        ]
        if any(item.uidl is None for item in items):
            words.append("no UIDL: each mail is read to be recognised")
        client.quit()
    return Result(", ".join(words))


def _login(site: Site, mailbox: Mailbox) -> Credentials:
    login = login_of(site, mailbox)
    if login is None:
        raise RadpostError(LOGIN_FAILED, f"mailbox {mailbox.name}: no user is configured")
    return login


def _echo(peer: Peer) -> Result:
    """C-ECHO (PS3.4 A)."""
    peer = replace(peer, connect_seconds=10.0, acse_seconds=10.0, response_seconds=20.0)
    with Association.open(peer, [Proposal(VERIFICATION, (IMPLICIT_LE, EXPLICIT_LE))]) as association:
        status = association.echo()
        name = association.peer_implementation[1]
    if status:
        raise RadpostError(PACS_REFUSED_OBJECT, f"C-ECHO status {status:04X}")
    words = "TLS, " if peer.tls else ""
    return Result(f"{words}C-ECHO answered" + (f" by {name}" if name else ""))


def ahead(greeting: bytes, now: float) -> float | None:
    """Return by how many seconds a server's clock is ahead of ours, if its greeting tells the time."""
    found = _GREETING_DATE.search(greeting)
    if found is None:
        return None
    try:
        date = parsedate_to_datetime(found[1].decode("ascii", "replace"))
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return date.timestamp() - datetime.fromtimestamp(now, UTC).timestamp()


def _secured(endpoint: Endpoint) -> str:
    return {Security.TLS: "TLS", Security.STARTTLS: "STARTTLS"}.get(
        endpoint.security, "unencrypted (loopback)"
    )


class _Node(Protocol):
    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


def _where(node: _Node) -> str:
    return f"{node.host}:{node.port}"
