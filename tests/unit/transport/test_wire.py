"""The channel: lines, counts, streaming, waiting, TLS and the rule for plain connections."""

import io
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from radpost.errors import CONFIG_INVALID, SERVER_PROTOCOL, SERVER_UNREACHABLE, TLS_FAILED, RadpostError
from radpost.testing.peers.tls import TestAuthority
from radpost.testing.scripted import ScriptedServer
from radpost.transport import wire
from radpost.transport.failure import ConnectionLostError, TransportError, sanitise
from radpost.transport.smtp import Connection
from radpost.transport.tls import Security, TlsOptions, client_context, is_loopback
from radpost.transport.wire import Channel, EarlyReplyError, Endpoint, Timeouts, Waker, connect


@pytest.fixture
def pair() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours, 1.0), theirs


def test_lines_and_counts(pair: tuple[Channel, socket.socket]) -> None:
    channel, peer = pair
    peer.sendall(b"one\r\ntwo\nthr")
    assert [channel.read_line(), channel.read_line()] == [b"one", b"two"]
    peer.sendall(b"ee\r\n12345rest\r\n")
    assert channel.read_line() == b"three"
    assert channel.read_exact(5) == b"12345"
    assert channel.read_line() == b"rest"


@pytest.mark.parametrize("line", [b"x" * 20_000, b"x" * 20_000 + b"\r\n"])
def test_a_line_without_end(pair: tuple[Channel, socket.socket], line: bytes) -> None:
    channel, peer = pair
    peer.sendall(line)
    with pytest.raises(TransportError) as caught:
        channel.read_line()
    assert caught.value.reason is SERVER_PROTOCOL


def test_silence_is_a_lost_connection(pair: tuple[Channel, socket.socket]) -> None:
    channel, _ = pair
    channel.settimeout(0.05)
    with pytest.raises(ConnectionLostError, match=r"no answer within 0\.05 seconds"):
        channel.read_line()


class Sparing:
    """A raw file: takes less than it is given."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: memoryview, /) -> int:
        taken = bytes(data[:1000])
        self.data += taken
        return len(taken)


def test_copy_streams_exactly_into_a_sparing_writer(pair: tuple[Channel, socket.socket]) -> None:
    channel, peer = pair
    content = bytes(range(256)) * 4000
    sender = threading.Thread(target=peer.sendall, args=(b"head\r\n" + content + b"tail\r\n",))
    sender.start()
    assert channel.read_line() == b"head"
    writer = Sparing()
    channel.copy(writer, len(content))
    assert writer.data == content
    assert channel.read_line() == b"tail"
    sender.join()


def test_a_server_that_stops_reading(pair: tuple[Channel, socket.socket]) -> None:
    channel, _ = pair
    channel.settimeout(0.05)
    with pytest.raises(ConnectionLostError, match="stopped reading"):
        channel.send_source(io.BytesIO(bytes(8_000_000)), 0, 8_000_000)


def test_a_server_that_speaks_early_is_heard(
    pair: tuple[Channel, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_SLICE", 10)
    channel, peer = pair
    peer.sendall(b"552 no\r\n")
    with pytest.raises(EarlyReplyError):
        channel.send_source(io.BytesIO(bytes(100)), 0, 100)
    assert channel.read_line() == b"552 no"


@pytest.mark.timeout(30)
def test_wait_ends_by_data_by_wake_and_by_time(pair: tuple[Channel, socket.socket]) -> None:
    channel, peer = pair
    waker = Waker()
    assert not channel.wait(0.01, waker)
    threading.Timer(0.05, waker.wake).start()
    assert not channel.wait(100, waker)
    assert waker.taken()
    assert not waker.taken()
    threading.Timer(0.05, peer.sendall, (b"x\r\n",)).start()
    assert channel.wait(5, waker)
    assert channel.read_line() == b"x"
    peer.close()
    assert channel.wait(5, waker)
    waker.close()
    waker.wake()


def test_no_server_at_the_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = Endpoint("127.0.0.1", taken.getsockname()[1], Security.LOOPBACK)
        with pytest.raises(TransportError) as caught:
            connect(endpoint)
    assert caught.value.reason is SERVER_UNREACHABLE


def test_plain_only_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(wire, "is_loopback", lambda _: False)
    with theirs, pytest.raises(TransportError) as caught:
        connect(Endpoint("mail.example", 25, Security.LOOPBACK), lambda _: ours)
    assert caught.value.reason is TLS_FAILED
    assert ours.fileno() == -1


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_loopback(address: str, answer: bool) -> None:
    class Socket:
        family = socket.AF_INET

        def getpeername(self) -> tuple[str, int]:
            return address, 25

    assert is_loopback(Socket()) is answer  # type: ignore[arg-type]  # a stand-in for a foreign peer


# TLS

TIMES = Timeouts(1, 2, 2, 2)
HELLO = "S: 220 ready\nC: EHLO [127.0.0.1]\nS: 250 mail\n"


def tls_endpoint(
    authority: TestAuthority, security: Security = Security.TLS, name: str = "localhost"
) -> Endpoint:
    return Endpoint(name, 465, security, TlsOptions(ca_file=authority.ca_file), timeouts=TIMES)


def test_implicit_tls(tmp_path: Path) -> None:
    """RFC 8314 3, 3.3."""
    authority = TestAuthority(tmp_path)
    server = ScriptedServer("[tls]\n" + HELLO, tls=authority.issue("localhost").server_context())
    link = Connection(tls_endpoint(authority), dialler=server.dial)
    link.open()
    link.close()
    server.check()


def test_starttls_greets_again(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    first = HELLO.replace("S: 250 mail", "S: 250-mail\nS: 250-SIZE 7\nS: 250 STARTTLS")
    again = "C: EHLO [127.0.0.1]\nS: 250 mail\n"
    server = ScriptedServer(
        first + "C: STARTTLS\nS: 220 go\n[tls]\n" + again, tls=authority.issue("localhost").server_context()
    )
    link = Connection(tls_endpoint(authority, Security.STARTTLS), dialler=server.dial)
    assert link.size_limit is None
    link.close()
    server.check()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("case", ["other-name", "other-authority", "old-protocol", "not-tls"])
def test_no_tls_no_connection(tmp_path: Path, case: str) -> None:
    authority = TestAuthority(tmp_path)
    context = authority.issue("localhost").server_context()
    endpoint = tls_endpoint(authority, name="other.example" if case == "other-name" else "localhost")
    if case == "other-authority":
        (tmp_path / "foreign").mkdir()
        endpoint = tls_endpoint(TestAuthority(tmp_path / "foreign"))
    if case == "old-protocol":
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("DEFAULT@SECLEVEL=0")
    server = ScriptedServer("S: 220 plain\n" if case == "not-tls" else "[tls]\nS: 220 ready\n", tls=context)
    with pytest.raises(TransportError) as caught:
        Connection(endpoint, dialler=server.dial).open()
    assert caught.value.reason is TLS_FAILED


def test_session_tickets_are_not_data(tmp_path: Path) -> None:
    """TLS 1.3 makes the socket readable although the server says nothing (RFC 8446 4.6.1)."""
    authority = TestAuthority(tmp_path)
    server = ScriptedServer(
        "[tls]\n" + HELLO + "[wait 0.2]\n", tls=authority.issue("localhost").server_context()
    )
    channel = connect(tls_endpoint(authority), server.dial)
    assert channel.encrypted
    channel.read_line()
    channel.send(b"EHLO [127.0.0.1]\r\n")
    channel.read_line()
    assert not channel.wait(0.05)
    channel.close()


def test_a_server_that_wants_a_certificate_of_ours_is_a_matter_of_tls(tmp_path: Path) -> None:
    """In TLS 1.3 it says so after the handshake only."""
    authority = TestAuthority(tmp_path)
    context = authority.issue("localhost").server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca_file)
    server = ScriptedServer("[tls]\n" + HELLO, tls=context)
    endpoint = Endpoint("localhost", 465, Security.TLS, TlsOptions(authority.ca_file), timeouts=TIMES)
    link = Connection(endpoint, dialler=server.dial)
    with pytest.raises(ConnectionLostError) as caught:
        link.open()
    assert caught.value.reason is TLS_FAILED
    link.close()


def test_an_unusable_ca_file_is_a_matter_of_configuration(tmp_path: Path) -> None:
    path = tmp_path / "broken.pem"
    for content in (None, b"nonsense"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(RadpostError, match=r"broken\.pem") as caught:
            client_context(TlsOptions(ca_file=path))
        assert caught.value.reason is CONFIG_INVALID


def test_verification_cannot_be_switched_off() -> None:
    """RFC 7817 3, RFC 8996."""
    context = client_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_we_wait_as_long_as_the_rfc_asks() -> None:
    """RFC 5321 4.5.3.2, 4.5.3.2.6: a lost answer to a whole mail costs a doubled one."""
    timeouts = Timeouts()
    assert timeouts.command >= 5 * 60
    assert timeouts.block >= 3 * 60
    assert timeouts.final >= 10 * 60


# words of servers


def test_words_of_servers_are_made_harmless() -> None:
    assert sanitise(b"a\x1b[31m\r\nb\x00\x9b\xff") == "a [31m b \ufffd\ufffd"
    assert len(sanitise("x" * 5000)) < 500
    assert sanitise("the password s3cret is wrong", ["s3cret"]) == "the password *** is wrong"


# the scripted server itself


@pytest.mark.parametrize(
    ("said", "message"),
    [(b"EHLO other\r\n", "EHLO other"), (b"EHLO x\r\nMORE\r\n", "MORE"), (b"", "!=")],
)
def test_a_transcript_that_is_not_followed_fails(said: bytes, message: str) -> None:
    server = ScriptedServer("S: 220 hello\nC: EHLO x\nS: 250 ok\n")
    with server.dial() as client:
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        with pytest.raises(AssertionError, match=message):
            server.check()


def test_a_connection_that_is_never_made_fails() -> None:
    with pytest.raises(AssertionError, match="never made"):
        ScriptedServer("S: 220 hello\n").check()
