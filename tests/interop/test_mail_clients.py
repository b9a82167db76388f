"""Our mail clients against Postfix and Dovecot: what is sent is fetched, byte for byte, each way there is."""

import io
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pybase64
import pytest

from radpost.errors import ADDRESS_UNKNOWN, LOGIN_FAILED, TLS_FAILED
from radpost.testing.peers.pair import MailServer
from radpost.testing.peers.tls import TestAuthority
from radpost.transport.failure import TransportError
from radpost.transport.imap import ImapMailbox, Waiting, Wake
from radpost.transport.pop3 import Item, Pop3Mailbox
from radpost.transport.sasl import Password
from radpost.transport.smtp import Connection, ServerMemory
from radpost.transport.smtp_pool import Pool
from radpost.transport.smtp_reply import Kind
from radpost.transport.tls import Security, TlsOptions
from radpost.transport.wire import Endpoint

pytestmark = pytest.mark.peer("postfix", "dovecot")

ANNE, BERT = "anne@klinik-a.example", "bert@klinik-b.example"
LIMIT = 8_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    with MailServer(
        {ANNE: "secret-a", BERT: "secret-b"},
        message_size_limit=LIMIT,
        quota="500M",
        reject_unknown=True,
        # a wrong password delays all that comes from the same address otherwise
        dovecot_extra="service anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}\n",
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def empty(server: MailServer) -> None:
    """Begin each test with an empty mailbox."""
    with imap(server) as box:
        box.open()
        box.delete(box.new_uids())


def endpoint(server: MailServer, port: int, security: Security) -> Endpoint:
    return Endpoint("localhost", port, security, TlsOptions(ca_file=server.ca_file))


def submission(server: MailServer, memory: ServerMemory | None = None) -> Connection:
    where = endpoint(server, server.submission_port, Security.STARTTLS)
    return Connection(where, Password(ANNE, "secret-a"), memory=memory)


def imap(server: MailServer, **waiting: float) -> ImapMailbox:
    where = endpoint(server, server.imaps_port, Security.TLS)
    return ImapMailbox(where, Password(BERT, "secret-b"), waiting=Waiting(**waiting))


def make_mail(size: int, *, dots: bool = False) -> bytes:
    body = pybase64.encodebytes(os.urandom(size)).replace(b"\n", b"\r\n")
    if dots:
        body = b".\r\n..\r\n.x\r\n" + body.replace(b"\r\na", b"\r\n.") + b".\r\n"
    # Complete, so that Postfix has nothing to add.
    head = (
        f"From: <{ANNE}>\r\nDate: Mon, 2 Nov 2026 10:00:00 +0100\r\nMessage-ID: <{uuid.uuid4()}@radpost>\r\n"
    )
    return head.encode() + b"Subject: x\r\n\r\n" + body


def send(link: Connection, mail: bytes, sender: str = ANNE) -> None:
    outcome = link.send(sender, BERT, io.BytesIO(mail), size=len(mail))
    assert outcome.kind is Kind.ACCEPTED, outcome


def content(mail: bytes) -> bytes:
    """What a mail is without the trace fields that the servers put before it."""
    return mail[mail.index(b"From: <anne") :]


def fetch_all(box: ImapMailbox) -> list[bytes]:
    got: list[io.BytesIO] = []

    def sink(_uid: int, _size: int) -> io.BytesIO:
        got.append(io.BytesIO())
        return got[-1]

    fetched = list(box.fetch(box.new_uids(), sink))
    assert all(item.size is not None for item in fetched)
    return [content(file.getvalue()) for file in got]


@pytest.mark.parametrize("bdat", [True, False], ids=["bdat", "data"])
@pytest.mark.parametrize("ways", ["submission-imaps", "submissions-imap", "smtp-imap"])
def test_bytes_are_equal_at_the_other_end(server: MailServer, ways: str, bdat: bool) -> None:
    """RFC 6409 3.1."""
    out, back = {
        "submission-imaps": (
            endpoint(server, server.submission_port, Security.STARTTLS),
            endpoint(server, server.imaps_port, Security.TLS),
        ),
        "submissions-imap": (
            endpoint(server, server.submissions_port, Security.TLS),
            endpoint(server, server.imap_port, Security.STARTTLS),
        ),
        "smtp-imap": (
            endpoint(server, server.smtp_port, Security.LOOPBACK),
            endpoint(server, server.imap_port, Security.LOOPBACK),
        ),
    }[ways]
    mails = [make_mail(10), make_mail(100, dots=True), make_mail(3_000_000, dots=True)]
    credentials = None if out.security is Security.LOOPBACK else Password(ANNE, "secret-a")
    with Connection(out, credentials, memory=ServerMemory(bdat=bdat)) as link:
        for mail in mails:
            send(link, mail)
        assert link.mails == 3
        assert link.size_limit == LIMIT
        assert link.features.chunking
    server.wait_for_mails(BERT, 3)
    with ImapMailbox(back, Password(BERT, "secret-b")) as box:
        box.open()
        assert sorted(fetch_all(box)) == sorted(mails)


def test_a_file_is_sent_from_its_position(server: MailServer, tmp_path: Path) -> None:
    mail = make_mail(2_000_000)
    path = tmp_path / "mail"
    path.write_bytes(b"head" + mail)
    plain = Connection(endpoint(server, server.smtp_port, Security.LOOPBACK))
    for link in (plain, submission(server)):
        with link, path.open("rb") as source:
            source.seek(4)
            assert link.send(ANNE, BERT, source, size=len(mail)).chunked
    server.wait_for_mails(BERT, 2)
    with imap(server) as box:
        box.open()
        assert fetch_all(box) == [mail, mail]


def test_null_sender_and_success_report(server: MailServer) -> None:
    mail = make_mail(10)
    with Connection(endpoint(server, server.smtp_port, Security.LOOPBACK)) as link:
        assert link.send("", BERT, io.BytesIO(mail), size=len(mail), notify=("NEVER",)).accepted
        (null,) = server.wait_for_mails(BERT, 1)
        assert b"Return-Path: <>" in null.read_bytes()
        asked = link.send(
            BERT,
            ANNE,
            io.BytesIO(mail),
            size=len(mail),
            envid="set=1+2",
            notify=("SUCCESS", "FAILURE"),
            ret="HDRS",
        )
        assert asked.accepted
    _, report = (path.read_bytes() for path in server.wait_for_mails(BERT, 2))
    assert b"Original-Envelope-Id: set=1+2" in report
    assert b"message/delivery-status" in report
    assert b"text/rfc822-headers" in report


def test_refusals_leave_the_connection_usable(server: MailServer) -> None:
    mail = make_mail(300_000)
    with submission(server) as link:
        unknown = link.send(ANNE, "nobody@klinik-b.example", io.BytesIO(mail), size=len(mail))
        small = link.send(ANNE, "nobody@klinik-b.example", io.BytesIO(mail[:500] + b"\r\n"), size=502)
        large = link.send(ANNE, BERT, io.BytesIO(mail), size=LIMIT + 1)
        send(link, mail)
        assert link.mails == 1
    assert (unknown.kind, unknown.reason) == (Kind.REFUSED, ADDRESS_UNKNOWN)
    assert small.reply is not None
    assert small.reply.enhanced == "5.1.1"
    assert (large.kind, large.limit) == (Kind.TOO_LARGE, LIMIT)


def test_a_wrong_password_is_refused_everywhere(server: MailServer) -> None:
    wrong = Password(BERT, "guess-it")
    opens: list[Callable[[], object]] = [
        Connection(endpoint(server, server.submission_port, Security.STARTTLS), wrong).open,
        ImapMailbox(endpoint(server, server.imaps_port, Security.TLS), wrong).open,
        Pop3Mailbox(endpoint(server, server.pop3s_port, Security.TLS), wrong).open,
    ]
    for call in opens:
        with pytest.raises(TransportError) as caught:
            call()
        assert caught.value.reason is LOGIN_FAILED
        assert caught.value.reply
        assert "guess-it" not in str(caught.value)


def test_a_foreign_certificate_is_refused_everywhere(server: MailServer, tmp_path: Path) -> None:
    foreign = TlsOptions(ca_file=TestAuthority(tmp_path).ca_file)
    good = Password(BERT, "secret-b")
    opens: list[Callable[[], object]] = [
        Connection(Endpoint("localhost", server.submission_port, Security.STARTTLS, foreign), good).open,
        Connection(Endpoint("localhost", server.submissions_port, Security.TLS, foreign), good).open,
        ImapMailbox(Endpoint("localhost", server.imaps_port, Security.TLS, foreign), good).open,
        ImapMailbox(Endpoint("localhost", server.imap_port, Security.STARTTLS, foreign), good).open,
        Pop3Mailbox(Endpoint("localhost", server.pop3s_port, Security.TLS, foreign), good).open,
        Pop3Mailbox(Endpoint("localhost", server.pop3_port, Security.STARTTLS, foreign), good).open,
        Connection(
            Endpoint(
                "localhost",
                server.submissions_port,
                Security.TLS,
                TlsOptions(ca_file=server.ca_file),
                server_name="other.example",
            ),
            good,
        ).open,
    ]
    for call in opens:
        with pytest.raises(TransportError) as caught:
            call()
        assert caught.value.reason is TLS_FAILED
        assert "certificate refused" in caught.value.detail


def test_imap_bookkeeping_and_removal(server: MailServer) -> None:
    with submission(server) as link:
        for size in (10, 20, 30):
            send(link, make_mail(size))
    server.wait_for_mails(BERT, 3)
    with imap(server) as box:
        selected = box.open()
        uids = box.new_uids()
        assert len(uids) == 3
        assert uids[-1] < (selected.uidnext or 0)
        assert set(box.sizes(uids)) == set(uids)
        assert box.delete(uids[:1])
        assert box.move(uids[1:2], "Nicht für uns")
        assert box.new_uids() == uids[2:]
        assert box.new_uids(uids[-1]) == []
        quota = box.quota()
        assert quota is not None
        assert quota.limit == 500 * 1024 * 1024
        again = box.open(selected.uidvalidity)
        assert not again.renumbered
        assert box.open(selected.uidvalidity + 1).renumbered
        assert [item.size for item in box.fetch(uids[:1], lambda *_: io.BytesIO())] == [None]
    assert len(server.mails(BERT)) == 1


def test_many_mails_in_one_fetch(server: MailServer) -> None:
    """Dovecot answers pipelined fetches with the tagged responses behind the data."""
    mails = [make_mail(1000 + number) for number in range(40)]
    with submission(server) as link:
        for mail in mails:
            send(link, mail)
    server.wait_for_mails(BERT, 40)
    with imap(server) as box:
        box.open()
        assert sorted(fetch_all(box)) == sorted(mails)
        assert box.delete(box.new_uids())
        assert box.new_uids() == []


@pytest.mark.parametrize("hot", [0.0, 5.0], ids=["idle", "polling"])
def test_waiting_sees_a_mail(server: MailServer, hot: float) -> None:
    with imap(server, hot=hot) as box, submission(server) as link:
        box.open()
        box.expect()
        link.open()
        sender = threading.Timer(0.3, send, (link, make_mail(10)))
        sender.start()
        assert box.wait(10) is Wake.MAIL
        sender.join()
        assert len(box.new_uids()) == 1
        box.wake()
        assert box.wait(10) is Wake.WOKEN


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS, Security.LOOPBACK])
def test_pop3_deletes_only_with_quit(server: MailServer, security: Security) -> None:
    mails = [make_mail(10), make_mail(2_000_000, dots=True), make_mail(500, dots=True)]
    with submission(server) as link:
        for mail in mails:
            send(link, mail)
    server.wait_for_mails(BERT, 3)
    port = server.pop3s_port if security is Security.TLS else server.pop3_port
    with Pop3Mailbox(endpoint(server, port, security), Password(BERT, "secret-b")) as box:
        box.open()
        items = box.items()
        got: dict[int, io.BytesIO] = {}

        def sink(item: Item) -> io.BytesIO:
            return got.setdefault(item.number, io.BytesIO())

        fetched = list(box.fetch(items, sink))
        assert sorted(content(file.getvalue()) for file in got.values()) == sorted(mails)
        assert [one.size for one in fetched] == [item.size for item in items]
        assert len({one.identity for one in fetched}) == 3
        box.delete(item.number for item in items)
        box.close()
        box.open()
        assert [item.uidl for item in box.items()] == [item.uidl for item in items]
        box.delete(item.number for item in items[:2])
        assert box.quit() == (1, 2)
    assert len(server.mails(BERT)) == 1


def test_a_pool_survives_a_restart_of_the_server(server: MailServer) -> None:
    pool = Pool(lambda memory: submission(server, memory), trusted_for=0.0)
    with pool.lease() as link:
        send(link, make_mail(10))
        first = link
    with pool.lease() as link:
        assert link is first
        send(link, make_mail(10))
    server.wait_delivered()
    server.restart_postfix()
    with pool.lease() as link:
        assert link is not first
        send(link, make_mail(10))
    pool.close()


def test_nothing_of_this_machine_is_told(server: MailServer) -> None:
    mail = make_mail(10)
    with Connection(endpoint(server, server.smtp_port, Security.LOOPBACK)) as link:
        send(link, mail)
    (path,) = server.wait_for_mails(BERT, 1)
    received = path.read_bytes().decode("latin-1")
    assert "from [127.0.0.1]" in received
    assert os.uname().nodename not in received


_CHILD = """
import sys
from pathlib import Path
from radpost.transport.imap import ImapMailbox
from radpost.transport.sasl import Password
from radpost.transport.tls import Security
from radpost.transport.wire import Endpoint
import hashlib
class Sink:
    def __init__(self): self.hash, self.size = hashlib.sha256(), 0
    def write(self, data): self.hash.update(data); self.size += len(data)
sinks = []
server = Endpoint("localhost", int(sys.argv[1]), Security.LOOPBACK)
with ImapMailbox(server, Password(sys.argv[2], sys.argv[3])) as box:
    box.open()
    for item in box.fetch(box.new_uids(), lambda uid, size: sinks.append(Sink()) or sinks[-1]):
        pass
for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmHWM"):
        print(line.split()[1], *(sink.size for sink in sinks))
"""


def test_memory_does_not_grow_with_the_mail(server: MailServer) -> None:
    def peak() -> tuple[int, int]:
        argv = [sys.executable, "-c", _CHILD, str(server.imap_port), BERT, "secret-b"]
        run = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
        resident, *sizes = map(int, run.stdout.split())
        return resident, sum(sizes)

    with submission(server) as link:
        send(link, make_mail(1000))
        server.wait_for_mails(BERT, 1)
        before, _ = peak()
        for _ in range(3):
            send(link, make_mail(5_500_000))
    server.wait_for_mails(BERT, 4)
    after, size = peak()
    assert size > 20_000_000
    assert after - before < 2_000  # KiB
    assert after < 40_000


def test_a_mail_goes_by_data_where_the_partners_switch_says_so(server: MailServer) -> None:
    mail = make_mail(2000)
    smtp = submission(server)
    for bdat in (False, True):
        outcome = smtp.send(ANNE, BERT, io.BytesIO(mail), size=len(mail), bdat=bdat)
        assert outcome.accepted
        assert outcome.chunked is bdat
    smtp.quit()
