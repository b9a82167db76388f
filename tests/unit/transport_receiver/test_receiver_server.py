"""The server over real sockets: TLS, limits, disk watermark, commit before 250, stop, constant memory."""

import contextlib
import logging
import smtplib
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from radpost.errors import (
    CONFIG_INVALID,
    DISK_FULL,
    MAIL_REFUSED,
    QUARANTINE_FULL,
    STORE_UNUSABLE,
    RadpostError,
)
from radpost.testing.peers.tls import TestAuthority
from radpost.testing.receiver_play import MemoryMailbox, MemorySink
from radpost.transport.receiver import (
    Listener,
    MailServer,
    Protocol,
    ServerConfig,
    ServerLimits,
    Timeouts,
    own_addresses,
)

US, THEM = "radiology@klinik-a.example", "x@b.example"
CONTENT = b"Subject: x\r\n\r\nhello\r\n"
CONFIG = ServerConfig(
    name="mail.klinik-a.example",
    listeners=(Listener(0), Listener(0, Protocol.LMTP)),
    is_ours=own_addresses(US),
    domains=frozenset({"klinik-a.example"}),
    now=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    new_id=lambda: "id1",
)
TRACE = (
    b"Received: from client.example ([127.0.0.1])\r\n\tby mail.klinik-a.example with ESMTP\r\n"
    b"\tid id1; Fri, 02 Jan 2026 03:04:05 +0000\r\n"
)


@contextlib.contextmanager
def serving(
    config: ServerConfig = CONFIG, mailbox: MemoryMailbox | None = None
) -> Iterator[tuple[MailServer[MemorySink], MemoryMailbox]]:
    mailbox = mailbox or MemoryMailbox()
    with MailServer(config, mailbox) as server:
        yield server, mailbox


def client(port: int) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=10)


class Raw:
    """A peer that says exactly what the test wants."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.file = self.sock.makefile("rb")

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def hear(self) -> bytes:
        return self.file.readline()

    def hear_code(self) -> int:
        while (line := self.hear())[3:4] == b"-":
            pass
        return int(line[:3] or b"0")

    def close(self) -> None:
        self.file.close()
        self.sock.close()


@contextlib.contextmanager
def raw(port: int) -> Iterator[Raw]:
    peer = Raw(port)
    try:
        yield peer
    finally:
        peer.close()


def open_mail(peer: Raw) -> None:
    peer.say(f"EHLO client.example\r\nMAIL FROM:<{THEM}>\r\nRCPT TO:<{US}>\r\n".encode())
    assert [peer.hear_code() for _ in range(4)] == [220, 250, 250, 250]


def test_content_arrives_byte_for_byte_behind_our_trace_header() -> None:
    """RFC 5321 4.4, 7.2."""
    with serving() as (server, mailbox), client(server.ports[0]) as smtp:
        assert smtp.sendmail(THEM, [US], CONTENT + b".dot\r\n") == {}
        assert smtp.sendmail(THEM, [US], CONTENT) == {}
    assert [bytes(mail.data) for mail in mailbox.mails] == [TRACE + CONTENT + b".dot\r\n", TRACE + CONTENT]
    assert mailbox.mails[0].envelope.peer == "127.0.0.1"


def test_lmtp_by_smtplib() -> None:
    """RFC 2033 4.2."""
    with serving() as (server, mailbox):
        with smtplib.LMTP("127.0.0.1", server.ports[1], local_hostname="client.example") as lmtp:
            lmtp.sendmail(THEM, [US], CONTENT)
        assert mailbox.mails[0].envelope.protocol == "LMTP"


def test_invariant_1_no_250_before_commit_returns() -> None:
    """RFC 5321 6.1."""
    release, committing = threading.Event(), threading.Event()

    class Slow(MemoryMailbox):
        def commit(self, sink: MemorySink) -> None:
            committing.set()
            assert release.wait(10)
            super().commit(sink)

    with serving(mailbox=Slow()) as (server, _), raw(server.ports[0]) as peer:
        open_mail(peer)
        peer.say(b"DATA\r\n")
        assert peer.hear_code() == 354
        peer.say(CONTENT + b".\r\n")
        assert committing.wait(10)
        peer.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            peer.sock.recv(1)
        release.set()
        peer.sock.settimeout(10)
        assert peer.sock.recv(100).startswith(b"250 2.0.0 ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RadpostError(DISK_FULL), 452),
        (RadpostError(QUARANTINE_FULL), 452),
        (RadpostError(STORE_UNUSABLE), 451),
        (RadpostError(MAIL_REFUSED), 554),
        (OSError(28, "No space left on device"), 452),
        (OSError(5, "Input/output error"), 451),
        (ValueError("Mustermann^Max"), 451),
    ],
)
def test_failures_of_begin_and_commit_become_replies(
    error: Exception, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    for mailbox in (MemoryMailbox(begin_error=error), MemoryMailbox(commit_error=error)):
        with serving(mailbox=mailbox) as (server, _), client(server.ports[0]) as smtp:
            with pytest.raises(smtplib.SMTPDataError) as refused:
                smtp.sendmail(THEM, [US], CONTENT)
            assert refused.value.smtp_code == code
            assert smtp.noop()[0] == 250
        assert not mailbox.mails
    assert mailbox.aborted
    assert "Mustermann" not in caplog.text


def test_disk_full_in_the_middle_is_452_and_the_session_goes_on() -> None:
    class Full(MemorySink):
        def write(self, data: bytes, /) -> int:
            if self.size > 100_000:
                raise OSError(28, "No space left on device")
            return super().write(data)

    class FullMailbox(MemoryMailbox):
        def begin(self, envelope: object) -> MemorySink:
            sink = super().begin(envelope)  # type: ignore[arg-type]  # the same object, passed on
            return Full(sink.envelope)

    mailbox = FullMailbox()
    with serving(mailbox=mailbox) as (server, _), client(server.ports[0]) as smtp:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            smtp.sendmail(THEM, [US], CONTENT + b"x" * 300_000)
        assert refused.value.smtp_code == 452
        assert smtp.sendmail(THEM, [US], CONTENT) == {}
    assert len(mailbox.aborted) == 1


@pytest.mark.parametrize("mail", [b"DATA\r\nabc\r\n.\r\n", b"BDAT 5 LAST\r\nabc\r\n"])
def test_invariant_1_disk_full_in_the_block_that_ends_the_mail_is_452(mail: bytes) -> None:
    class Full(MemorySink):
        def write(self, data: bytes, /) -> int:
            if data == b"abc\r\n":
                raise OSError(28, "No space left on device")
            return super().write(data)

    class FullMailbox(MemoryMailbox):
        def begin(self, envelope: object) -> MemorySink:
            return Full(super().begin(envelope).envelope)  # type: ignore[arg-type]  # the same object, passed on

    with serving(mailbox=FullMailbox()) as (server, mailbox), raw(server.ports[0]) as peer:
        open_mail(peer)
        peer.say(mail)
        codes = [peer.hear_code() for _ in range(2 if mail.startswith(b"DATA") else 1)]
        assert codes[-1] == 452
        assert not mailbox.mails
        assert len(mailbox.aborted) == 1


def test_watermark_and_full_quarantine_are_452_at_mail(tmp_path: Path) -> None:
    for config, mailbox in (
        (replace(CONFIG, spool=tmp_path, min_free=1 << 60), MemoryMailbox()),
        (CONFIG, MemoryMailbox(full_reason=QUARANTINE_FULL)),
    ):
        with serving(config, mailbox) as (server, _), client(server.ports[0]) as smtp:
            smtp.ehlo()
            assert smtp.mail(THEM) == (452, b"4.3.1 Insufficient system storage, try again later")


def test_starttls_and_implicit_tls(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    config = replace(
        CONFIG,
        tls=authority.issue().server_context(),
        listeners=(Listener(0), Listener(0, implicit_tls=True)),
    )
    with serving(config) as (server, mailbox):
        with client(server.ports[0]) as smtp:
            smtp.starttls(context=authority.client_context())
            smtp.sendmail(THEM, [US], CONTENT)
        with smtplib.SMTP_SSL(
            "127.0.0.1", server.ports[1], local_hostname="c.example", context=authority.client_context()
        ) as smtp:
            assert not smtp.has_extn("starttls")
            smtp.sendmail(THEM, [US], CONTENT)
    assert [mail.envelope.protocol for mail in mailbox.mails] == ["ESMTPS", "ESMTPS"]
    assert mailbox.mails[0].envelope.tls.startswith("TLSv1.")
    assert b"with ESMTPS" in mailbox.mails[0].data


def test_a_command_injected_behind_starttls_is_never_obeyed(tmp_path: Path) -> None:
    """RFC 3207 4.2."""
    authority = TestAuthority(tmp_path)
    config = replace(CONFIG, tls=authority.issue().server_context())
    with serving(config) as (server, _), raw(server.ports[0]) as peer:
        peer.say(b"EHLO client.example\r\n")
        assert [peer.hear_code(), peer.hear_code()] == [220, 250]
        peer.say(b"STARTTLS\r\nMAIL FROM:<evil@b.example>\r\n")
        assert peer.hear_code() == 220
        context = authority.client_context()
        with context.wrap_socket(peer.sock, server_hostname="localhost") as tls:
            tls.sendall(b"EHLO client.example\r\n")
            answer = b""
            while not answer.endswith(b"CHUNKING\r\n"):
                answer += tls.recv(4096)
            assert b"2.1.0" not in answer  # no reply to the injected MAIL
            tls.sendall(b"RCPT TO:<radiology@klinik-a.example>\r\n")
            assert tls.recv(4096).startswith(b"503 ")


def test_smuggling_is_refused_over_the_wire_and_the_reason_is_heard() -> None:
    """RFC 1122 4.2.2.13."""
    with serving() as (server, mailbox), raw(server.ports[0]) as peer:
        open_mail(peer)
        peer.say(b"DATA\r\n")
        assert peer.hear_code() == 354
        peer.say(CONTENT + b"\n.\r\nMAIL FROM:<ceo@klinik-a.example>\r\n" + b"x" * 3_000_000 + b"\r\n.\r\n")
        assert peer.hear().startswith(b"521 5.5.2 ")
        assert peer.hear() == b""
    mailbox.wait_for_abort()
    assert not mailbox.mails


def test_a_lost_connection_leaves_nothing_behind() -> None:
    with serving() as (server, mailbox):
        with raw(server.ports[0]) as peer:
            open_mail(peer)
            peer.say(b"DATA\r\n")
            assert peer.hear_code() == 354
            peer.say(CONTENT)
        mailbox.wait_for_abort()
        assert not mailbox.mails


def test_connections_are_bounded_in_all_and_per_peer() -> None:
    for limits in (ServerLimits(connections=2), ServerLimits(connections_per_peer=2)):
        with serving(replace(CONFIG, server_limits=limits)) as (server, _):
            with raw(server.ports[0]) as first, raw(server.ports[0]) as second:
                assert (first.hear_code(), second.hear_code()) == (220, 220)
                with raw(server.ports[0]) as third:
                    assert third.hear_code() == 421
                    assert third.hear() == b""
            deadline = time.monotonic() + 10
            while server.connections and time.monotonic() < deadline:
                time.sleep(0.01)
            with raw(server.ports[0]) as again:
                assert again.hear_code() == 220


def test_bytes_per_peer_are_bounded() -> None:
    config = replace(CONFIG, server_limits=ServerLimits(bytes_per_peer=50_000))
    with serving(config) as (server, _), client(server.ports[0]) as smtp:
        smtp.sendmail(THEM, [US], CONTENT + b"x" * 60_000)
        smtp.ehlo()
        assert smtp.mail(THEM)[0] == 452


def test_a_silent_or_dripping_peer_is_timed_out() -> None:
    """RFC 5321 4.5.3.2, 4.5.3.2.7."""
    config = replace(CONFIG, timeouts=Timeouts(command=0.4, block=0.4))
    with serving(config) as (server, mailbox):
        with raw(server.ports[0]) as peer:
            assert peer.hear_code() == 220
            for _ in range(3):
                peer.say(b"N")
                time.sleep(0.12)
            assert peer.hear_code() == 421
        with raw(server.ports[0]) as peer:
            open_mail(peer)
            peer.say(b"DATA\r\nabc")
            assert [peer.hear_code(), peer.hear_code()] == [354, 421]
        assert not mailbox.mails


def test_stop_says_goodbye_to_idle_peers_and_lets_a_mail_end() -> None:
    """RFC 5321 3.8."""
    mailbox = MemoryMailbox()
    server = MailServer(CONFIG, mailbox)
    server.start()
    port = server.ports[0]
    with raw(port) as idle, raw(port) as busy:
        assert idle.hear_code() == 220
        open_mail(busy)
        busy.say(b"DATA\r\n")
        assert busy.hear_code() == 354
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        assert idle.hear_code() == 421
        assert idle.hear() == b""
        busy.say(CONTENT + b".\r\n")
        assert [busy.hear_code(), busy.hear_code()] == [250, 421]
        stopper.join(10)
        assert not stopper.is_alive()
    assert len(mailbox.mails) == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_stop_cuts_a_peer_that_never_ends() -> None:
    mailbox = MemoryMailbox()
    server = MailServer(CONFIG, mailbox)
    server.start()
    with raw(server.ports[0]) as peer:
        open_mail(peer)
        peer.say(b"DATA\r\nabc")
        assert peer.hear_code() == 354
        server.stop(grace=0.1)
        assert server.connections == 0
    assert len(mailbox.aborted) == 1


def test_the_machines_own_name_is_never_shown() -> None:
    own = socket.gethostname().encode()
    with serving() as (server, mailbox), raw(server.ports[0]) as peer:
        open_mail(peer)
        peer.say(b"DATA\r\n" + CONTENT + b".\r\nHELP\r\nQUIT\r\n")
        said = peer.file.read()
    assert own not in said + bytes(mailbox.mails[0].data)
    assert b"python" not in said.lower()


def test_listens_on_loopback_by_default() -> None:
    assert Listener(25).host == "127.0.0.1"


def test_a_configuration_that_cannot_hold_is_refused() -> None:
    for config in (
        replace(CONFIG, name="not a name"),
        replace(CONFIG, require_tls=True),
        replace(CONFIG, listeners=(Listener(0, implicit_tls=True),)),
    ):
        with pytest.raises(RadpostError) as refused:
            MailServer(config, MemoryMailbox())
        assert refused.value.reason is CONFIG_INVALID
    with serving() as (server, _), pytest.raises(RadpostError) as refused:
        MailServer(replace(CONFIG, listeners=(Listener(server.ports[0]),)), MemoryMailbox()).start()
    assert refused.value.reason is CONFIG_INVALID


def test_no_address_and_no_content_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving() as (server, _), client(server.ports[0]) as smtp:
        smtp.sendmail(THEM, [US], CONTENT)
        with contextlib.suppress(smtplib.SMTPException):
            smtp.sendmail(THEM, ["nobody@klinik-a.example"], CONTENT)
    assert "mail id1 stored" in caplog.text
    assert "klinik" not in caplog.text
    assert "b.example" not in caplog.text


class Discard(MemorySink):
    """Counts only, so that the memory measured is the server's."""

    def write(self, data: bytes, /) -> int:
        self.size += len(data)
        return len(data)


class DiscardMailbox(MemoryMailbox):
    def begin(self, envelope: object) -> MemorySink:
        return Discard(super().begin(envelope).envelope)  # type: ignore[arg-type]  # passed on


@pytest.mark.parametrize("verb", ["DATA", "BDAT"])
def test_invariant_8_memory_does_not_grow_with_the_mail(verb: str) -> None:
    block = (b"QUJD" * 19 + b"\r\n") * 1000
    blocks = 300
    with serving(mailbox=DiscardMailbox()) as (server, mailbox), raw(server.ports[0]) as peer:
        open_mail(peer)
        tracemalloc.start()
        try:
            if verb == "DATA":
                peer.say(b"DATA\r\n")
                assert peer.hear_code() == 354
            else:
                peer.say(f"BDAT {len(block) * blocks} LAST\r\n".encode())
            for _ in range(blocks):
                peer.say(block)
            peer.say(b".\r\n" if verb == "DATA" else b"")
            assert peer.hear_code() == 250
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert mailbox.mails[0].size > len(block) * blocks
    assert peak < 3_000_000


def test_a_peer_that_resets_at_once_does_not_end_the_service() -> None:
    with serving() as (server, _):
        for _ in range(50):
            sock = socket.create_connection(("127.0.0.1", server.ports[0]), timeout=10)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
        with client(server.ports[0]) as smtp:
            assert smtp.noop()[0] == 250


def test_a_failed_handshake_ends_only_its_connection(tmp_path: Path) -> None:
    config = replace(
        CONFIG,
        tls=TestAuthority(tmp_path).issue().server_context(),
        listeners=(Listener(0, implicit_tls=True), Listener(0)),
    )
    with serving(config) as (server, _):
        with raw(server.ports[0]) as peer:
            peer.say(b"EHLO client.example\r\n")
            said = b""
            with contextlib.suppress(ConnectionResetError):
                said = peer.file.read()
            assert b"220" not in said
        with client(server.ports[1]) as smtp:
            assert smtp.noop()[0] == 250


def test_the_server_starts_again_after_a_stop() -> None:
    server = MailServer(CONFIG, MemoryMailbox())
    for _ in range(2):
        with server, client(server.ports[0]) as smtp:
            assert smtp.noop()[0] == 250
