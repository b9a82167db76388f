"""What a firewall must let pass: who opens a connection to whom, from the configuration."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from radpost.gateway.config import Config, is_loopback
from radpost.gateway.site import Site


@dataclass(frozen=True, slots=True)
class Rule:
    """One line for the firewall: who opens a connection to whom."""

    direction: Literal["out", "in"]
    host: str
    port: int
    protocol: str
    tls: str
    purpose: str
    local: bool
    """The connection stays on this machine: no rule is needed."""


def rules(config: Config, site: Site | None = None) -> list[Rule]:
    """Return the connections that a firewall must let pass: outbound, and inbound only where we listen."""
    found: list[Rule] = []
    submission = config.submission
    if submission is not None:
        purpose = "send mail"
        found.append(_rule(submission.host, submission.port, "SMTP", submission.security, purpose))
        found.extend(_oauth(submission.oauth.token_url) if submission.oauth else ())
    for mailbox in config.mailbox:
        protocol = {"imap": "IMAP", "pop3": "POP3"}[mailbox.kind]
        found.append(_rule(mailbox.host, mailbox.port, protocol, mailbox.security, "fetch mail"))
        found.extend(_oauth(mailbox.oauth.token_url) if mailbox.oauth else ())
    for partner in site.partners.all() if site else ():
        route = partner.settings.route
        if route is not None:
            purpose = f"send mail to {partner.name} directly"
            found.append(_rule(route.host, route.port, "SMTP", route.security, purpose))
    if config.pacs is not None:
        tls = "tls" if config.pacs.tls else "none"
        purpose = "ask the PACS for studies"
        found.append(_rule(config.pacs.host, config.pacs.port, "DICOM", tls, purpose))
    for item in config.destination:
        if item.kind == "dicom":
            tls = "tls" if item.tls else "none"
            found.append(_rule(item.host, item.port, "DICOM", tls, f"deliver to {item.name}"))
    if config.dicom is not None:
        dicom = config.dicom
        tls = "tls" if dicom.tls else "none"
        found.append(_rule(dicom.host, dicom.port, "DICOM", tls, "stations send studies", inbound=True))
    for receiver in config.receiver:
        tls = "none" if not receiver.certificate else "required" if receiver.require_tls else "offered"
        protocol = receiver.protocol.upper()
        found.append(
            _rule(receiver.host, receiver.port, protocol, tls, "receive mail directly", inbound=True)
        )
    return list(dict.fromkeys(found))


def _rule(host: str, port: int, protocol: str, tls: str, purpose: str, *, inbound: bool = False) -> Rule:
    local = is_loopback(host)
    return Rule("in" if inbound else "out", host, port, protocol, tls, purpose, local)


def _oauth(url: str) -> Iterator[Rule]:
    parts = urlsplit(url)
    if parts.hostname:
        yield _rule(parts.hostname, parts.port or 443, "HTTPS", "tls", "sign-in (OAuth 2)")
