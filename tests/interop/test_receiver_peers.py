"""Direct reception with a real sender: Postfix relays to our SMTP and LMTP."""

import hashlib
import os
import smtplib
from base64 import encodebytes
from collections.abc import Iterator
from pathlib import Path

import pytest

from radpost.errors import STORE_UNUSABLE, RadpostError
from radpost.testing.peers.base import wait_until
from radpost.testing.peers.pair import MailServer as FieldServer
from radpost.testing.peers.tls import TestAuthority
from radpost.testing.receiver_play import MemoryMailbox, MemorySink
from radpost.transport.receiver import Listener, MailServer, Protocol, ServerConfig, own_addresses

pytestmark = pytest.mark.peer("postfix", "dovecot")

THEM = "sender@klinik-b.example"
BY_SMTP, BY_LMTP = "radiology@klinik-a.example", "radiology@institute.example"
HEAD = b"From: <sender@klinik-b.example>\r\nSubject: x\r\nMessage-ID: <1@klinik-b.example>\r\n\r\n"


@pytest.fixture(scope="module")
def mailbox() -> MemoryMailbox:
    return MemoryMailbox()


@pytest.fixture(scope="module")
def ours(
    mailbox: MemoryMailbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MailServer[MemorySink]]:
    authority = TestAuthority(Path(tmp_path_factory.mktemp("tls")))
    config = ServerConfig(
        name="mail.klinik-a.example",
        listeners=(Listener(0), Listener(0, Protocol.LMTP)),
        is_ours=own_addresses(BY_SMTP, BY_LMTP),
        domains=frozenset({"klinik-a.example", "institute.example"}),
        tls=authority.issue().server_context(),
    )
    with MailServer(config, mailbox) as server:
        yield server


@pytest.fixture(scope="module")
def field(ours: MailServer[MemorySink]) -> Iterator[FieldServer]:
    smtp, lmtp = ours.ports
    routes = {
        "klinik-a.example": f"smtp:[127.0.0.1]:{smtp}",
        "institute.example": f"lmtp:inet:127.0.0.1:{lmtp}",
    }
    with FieldServer(
        {THEM: "pw"}, routes=routes, tls=False, postfix_extra={"smtp_tls_security_level": "may"}
    ) as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(mailbox: MemoryMailbox, field: FieldServer) -> None:
    mailbox.mails.clear()
    mailbox.commit_error = None
    field.dovecot.wipe(THEM)


def send(field: FieldServer, recipients: list[str], content: bytes) -> None:
    with smtplib.SMTP("localhost", field.smtp_port) as client:
        client.sendmail(THEM, recipients, content)


def test_postfix_relays_by_smtp_over_starttls_and_by_lmtp(field: FieldServer, mailbox: MemoryMailbox) -> None:
    body = HEAD + b"line\r\n.dot\r\n..\r\n" + bytes(range(128, 256)) + b"\r\n"
    send(field, [BY_SMTP, BY_LMTP], body)
    mails = {mail.envelope.recipients[0]: mail for mail in mailbox.wait_for(2)}
    assert mails[BY_SMTP].envelope.protocol == "ESMTPS"
    assert mails[BY_LMTP].envelope.protocol == "LMTP"
    for mail in mails.values():
        assert mail.envelope.sender == THEM
        assert bytes(mail.data).startswith(b"Received: from mail.radpost.example ([127.0.0.1])\r\n")
        assert bytes(mail.data).endswith(body.partition(b"\r\n\r\n")[2])


def test_large_mail_arrives_bit_for_bit(field: FieldServer, mailbox: MemoryMailbox) -> None:
    body = encodebytes(os.urandom(10_000_000)).replace(b"\n", b"\r\n")
    send(field, [BY_SMTP], HEAD + body)
    data = bytes(mailbox.wait_for(1)[0].data).partition(b"\r\n\r\n")[2]
    assert hashlib.sha256(data).digest() == hashlib.sha256(body).digest()


@pytest.mark.parametrize("address", [BY_SMTP, BY_LMTP])
def test_invariant_1_what_was_not_committed_is_sent_again(
    field: FieldServer, mailbox: MemoryMailbox, address: str
) -> None:
    mailbox.aborted.clear()
    mailbox.commit_error = RadpostError(STORE_UNUSABLE)
    send(field, [address], HEAD + b"again\r\n")
    mailbox.wait_for_abort()
    mailbox.commit_error = None
    assert bytes(mailbox.wait_for(1)[0].data).endswith(b"again\r\n")
    field.wait_delivered()
    assert field.mails(THEM) == []


def test_an_unknown_address_bounces_and_a_known_one_beside_it_arrives(
    field: FieldServer, mailbox: MemoryMailbox
) -> None:
    for domain, known in (("klinik-a.example", BY_SMTP), ("institute.example", BY_LMTP)):
        field.dovecot.wipe(THEM)
        mailbox.mails.clear()
        send(field, [f"nobody@{domain}", known], HEAD + b"x\r\n")
        assert mailbox.wait_for(1)[0].envelope.recipients == (known,)
        bounce = field.wait_for_mails(THEM, 1)[0].read_bytes()
        assert b"Status: 5.1.1" in bounce


def test_postfix_repairs_bare_line_ends_so_that_we_need_not_refuse_its_mails(
    field: FieldServer, mailbox: MemoryMailbox
) -> None:
    send_raw(field, [BY_SMTP], HEAD + b"bare \r cr\r\nbare\nlf\r\n")
    assert bytes(mailbox.wait_for(1)[0].data).endswith(b"\r\n\r\nbare   cr\r\nbare\r\nlf\r\n")


def send_raw(field: FieldServer, recipients: list[str], content: bytes) -> None:
    """Send content that smtplib would repair."""
    with smtplib.SMTP("localhost", field.smtp_port) as client:
        client.ehlo()
        client.mail(THEM)
        for recipient in recipients:
            client.rcpt(recipient)
        assert client.docmd("DATA")[0] == 354
        client.send(content + b".\r\n")
        assert client.getreply()[0] == 250


def test_many_connections_at_once(
    field: FieldServer, mailbox: MemoryMailbox, ours: MailServer[MemorySink]
) -> None:
    for number in range(40):
        send(field, [BY_SMTP if number % 2 else BY_LMTP], HEAD + f"mail {number}\r\n".encode())
    mails = mailbox.wait_for(40)
    assert len({bytes(mail.data)[-12:] for mail in mails}) == 40
    wait_until(lambda: ours.connections == 0, "connections closed", 15)
