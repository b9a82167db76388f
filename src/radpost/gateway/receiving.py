"""Direct reception by SMTP and LMTP: 250 is said after the mail and its row are durable (DESIGN 12)."""

import ipaddress
from typing import Final

from radpost.agit.survey import first_address
from radpost.errors import DISK_FULL, MAIL_REFUSED, MAIL_TOO_LARGE, QUARANTINE_FULL, RadpostError, Reason
from radpost.gateway import foreign
from radpost.gateway.arrivals import add_arrival
from radpost.gateway.config import Receiver
from radpost.gateway.site import Site
from radpost.mime.headers import parse_block
from radpost.store import quarantined_mails
from radpost.store.spool import SpoolWriter
from radpost.transport.receiver import (
    Envelope,
    Limits,
    Listener,
    MailServer,
    Protocol,
    ServerConfig,
    own_addresses,
    server_context,
)

HEAD_BYTES: Final = 256 * 1024
POSTMASTER_BYTES: Final = 1_000_000
"""A letter to the postmaster is text; what is larger is refused."""


class Reception:
    """One mail being received: the spool file, its envelope, and its head if that is to be looked at."""

    def __init__(
        self, writer: SpoolWriter, envelope: Envelope, *, clear: bool = False, for_postmaster: bool = False
    ) -> None:
        self.writer = writer
        self.envelope = envelope
        self.clear = clear
        """It comes over a network without encryption."""
        self.head = bytearray()
        self.size = 0
        self.for_postmaster = for_postmaster
        """It is for nobody else: a person reads it, and it is never taken for data."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""
        self.size += len(data)
        if self.for_postmaster and self.size > POSTMASTER_BYTES:
            raise RadpostError(MAIL_TOO_LARGE)
        if self.clear and len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        return self.writer.write(data)


class ReceptionHandler:
    """What the mail server asks of the house."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def full(self) -> Reason | None:
        """Say why no mail is taken at present."""
        try:
            self._site.spool.require_space()
        except RadpostError as error:
            return error.reason if error.reason is DISK_FULL else DISK_FULL
        with self._site.database.read() as connection:
            held = quarantined_mails.quarantine_bytes(connection)
        return QUARANTINE_FULL if held >= self._site.config.limits.quarantine_bytes else None

    def begin(self, envelope: Envelope) -> Reception:
        """Start a spool file; a teleradiology partner's mail does not come in clear (@GIT 1.1r 3)."""
        clear = not envelope.tls and not _is_local(envelope.peer)
        if clear:
            self._refuse_clear(envelope.sender)
        letter = {one.lower() for one in envelope.recipients} <= _postmasters(self._site)
        return Reception(self._site.spool.writer(), envelope, clear=clear, for_postmaster=letter)

    def commit(self, sink: Reception) -> None:
        """Make the mail durable with its row; the sender hears 250 after this."""
        if sink.clear:
            # receipts and mails that were passed on have another sender outside, or none
            self._refuse_clear(_author(bytes(sink.head)))
        with sink.writer as writer:
            if foreign.full(self._site):
                foreign.refuse_if_foreign(
                    self._site, writer.written(), writer.size, known=sink.for_postmaster
                )
            stored = writer.commit()
        with self._site.database.write() as connection:
            add_arrival(
                self._site,
                connection,
                stored,
                source=sink.envelope.protocol.lower(),
                envelope_from=sink.envelope.sender,
                recipient=foreign.POSTMASTER if sink.for_postmaster else self._site.address,
                now=self._site.clock(),
            )
        self._site.bells.open.ring()

    def _refuse_clear(self, address: str) -> None:
        partner = self._site.partners.by_address(address) if address else None
        if partner is not None and partner.switches.teleradiology:
            raise RadpostError(MAIL_REFUSED, "teleradiology: the connection is not encrypted")

    def abort(self, sink: Reception) -> None:
        """Throw away what was written."""
        sink.writer.__exit__(None, None, None)


def _postmasters(site: Site) -> frozenset[str]:
    """Return the reserved mailbox with and without our domain (RFC 5321 4.5.1), unless data come there."""
    both = {foreign.POSTMASTER, f"{foreign.POSTMASTER}@{site.domain}".lower()}
    return frozenset(both - {site.address.lower()})


def _author(head: bytes) -> str:
    """Return whose mail it is, as it will be found when it is processed; nothing if that cannot be read."""
    try:
        block = parse_block(head, complete=len(head) < HEAD_BYTES)
    except RadpostError:
        return ""
    return first_address(block.headers, "From").lower()


def _is_local(peer: str) -> bool:
    """Tell whether a mail was handed over on this machine: no network lies between."""
    try:
        return ipaddress.ip_address(peer.partition("%")[0]).is_loopback
    except ValueError:
        return False


def server_for(site: Site, receiver: Receiver) -> MailServer[Reception]:
    """Return the configured mail server, not yet started."""
    tls = None
    if receiver.certificate:
        tls = server_context(site.config.path(receiver.certificate), site.config.path(receiver.key))
    protocol = Protocol.LMTP if receiver.protocol == "lmtp" else Protocol.SMTP
    config = ServerConfig(
        name=receiver.name,
        listeners=(Listener(receiver.port, protocol, receiver.host),),
        is_ours=own_addresses(site.address, *_postmasters(site)),
        domains=frozenset({site.domain.lower()}),
        tls=tls,
        require_tls=receiver.require_tls,
        limits=Limits(message_size=receiver.max_mail_bytes),
        spool=site.spool.root,
        min_free=site.config.limits.disk_reserve_bytes,
    )
    return MailServer(config, ReceptionHandler(site))
