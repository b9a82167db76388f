"""POP3 as transcripts: listing, streaming without dots, and a deletion that counts only after QUIT."""

import hashlib
import io
import threading

import pytest

from radpost.errors import LOGIN_FAILED, MAIL_REFUSED_TEMPORARILY, SERVER_PROTOCOL, TLS_FAILED, RadpostError
from radpost.testing.scripted import ScriptedServer
from radpost.transport.failure import ConnectionLostError, TransportError
from radpost.transport.pop3 import Fetched, Item, Pop3Mailbox
from radpost.transport.sasl import Bearer, Password
from radpost.transport.tls import Security
from radpost.transport.wire import Endpoint, Timeouts

CAPA = "C: CAPA\nS: +OK\nS: UIDL\nS: PIPELINING\nS: SASL PLAIN\nS: .\n"
LOGIN = "S: +OK ready\n" + CAPA + "C: AUTH PLAIN AHUAcA==\nS: +OK welcome\n" + CAPA
OLD_LOGIN = (
    "S: +OK ready\nC: CAPA\nS: -ERR what\nC: USER u\nS: +OK\nC: PASS p\nS: +OK\nC: CAPA\nS: -ERR what\n"
)


def mailbox(server: ScriptedServer, security: Security = Security.LOOPBACK) -> Pop3Mailbox:
    endpoint = Endpoint("pop.example", 995, security, timeouts=Timeouts(1, 2, 2, 2))
    return Pop3Mailbox(endpoint, Password("u", "p"), dialler=server.dial)


def opened(server: ScriptedServer) -> Pop3Mailbox:
    box = mailbox(server)
    box.open()
    return box


def test_fetch_delete_quit() -> None:
    """RFC 1939 5, 6; RFC 2449 5."""
    server = ScriptedServer(
        LOGIN
        + "C: LIST\nS: +OK\nS: 1 8\nS: 2 17\nS: .\nC: UIDL\nS: +OK\nS: 1 aaa\nS: 2 b.b\nS: .\n"
        + "C: RETR 1\nC: RETR 2\n"
        + "S: +OK 8 octets\nS: a: b\nS: \nS: .\n"
        + "S: +OK\nS: ..one\nS: .\\r two\nS: ...\nS: ..\nS: .\n"
        + "C: DELE 1\nS: +OK\nC: DELE 2\nS: +OK\nC: QUIT\nS: +OK bye\n"
    )
    box = opened(server)
    items = box.items()
    assert items == (Item(1, 8, "aaa"), Item(2, 17, "b.b"))
    got: dict[int, io.BytesIO] = {}

    def sink(item: Item) -> io.BytesIO:
        return got.setdefault(item.number, io.BytesIO())

    assert list(box.fetch(items, sink)) == [Fetched(1, 8, "aaa"), Fetched(2, 21, "b.b")]
    assert got[1].getvalue() == b"a: b\r\n\r\n"
    assert got[2].getvalue() == b".one\r\n\\r two\r\n..\r\n.\r\n"
    box.delete([1, 2])
    assert box.quit() == (1, 2)
    assert not box.is_open
    server.check()


def test_without_uidl_the_hash_is_the_identity_and_nothing_is_pipelined() -> None:
    server = ScriptedServer(
        OLD_LOGIN
        + "C: LIST\nS: +OK\nS: 1 3\nS: 2 3\nS: .\nC: UIDL\nS: -ERR what\n"
        + "C: RETR 1\nS: +OK\nS: x\nS: .\nC: RETR 2\nS: +OK\nS: .\n"
    )
    box = opened(server)
    items = box.items()
    assert [item.uidl for item in items] == [None, None]
    got = list(box.fetch(items, lambda _: io.BytesIO()))
    assert [fetched.identity for fetched in got] == [
        "sha256:" + hashlib.sha256(content).hexdigest() for content in (b"x\r\n", b"")
    ]
    box.close()
    server.check()


@pytest.mark.parametrize("answer", ["S: -ERR disk full\n", "[drop]\n"])
def test_a_failed_quit_deletes_nothing(answer: str) -> None:
    """RFC 1939 6."""
    server = ScriptedServer(LOGIN + "C: DELE 1\nS: +OK\nC: QUIT\n" + answer)
    box = opened(server)
    box.delete([1])
    with pytest.raises(TransportError) as caught:
        box.quit()
    assert caught.value.reason is SERVER_PROTOCOL
    assert not box.is_open
    server.check()


def test_a_closed_session_forgets_its_marks() -> None:
    server = ScriptedServer(LOGIN + "C: DELE 1\nS: +OK\n", LOGIN + "C: QUIT\nS: +OK\n")
    box = opened(server)
    box.delete([1])
    box.close()
    box.open()
    assert box.quit() == ()
    server.check()


def test_a_mail_that_is_gone_is_passed_over() -> None:
    server = ScriptedServer(LOGIN + "C: RETR 1\nC: RETR 2\nS: -ERR gone\nS: +OK\nS: x\nS: .\n")
    box = opened(server)
    got = list(box.fetch([Item(1, 1, "a"), Item(2, 1, "b")], lambda _: io.BytesIO()))
    assert got == [Fetched(2, 3, "b")]
    box.close()
    server.check()


def test_a_mail_lost_in_its_middle_is_not_yielded() -> None:
    server = ScriptedServer(LOGIN + "C: RETR 1\nS: +OK\nS: x\nS+ .\n[drop]\n")
    box = opened(server)
    with pytest.raises(ConnectionLostError):
        list(box.fetch([Item(1, 1, "a")], lambda _: io.BytesIO()))
    assert not box.is_open
    server.check()


def test_no_other_command_during_a_fetch() -> None:
    server = ScriptedServer(LOGIN + "C: RETR 1\nC: RETR 2\nS: +OK\nS: x\nS: .\n")
    box = opened(server)
    for _ in box.fetch([Item(1, 1, "a"), Item(2, 1, "b")], lambda _: io.BytesIO()):
        with pytest.raises(RadpostError):
            box.delete([1])
        break
    assert not box.is_open
    server.check()


def test_user_and_pass() -> None:
    """RFC 1939 7."""
    server = ScriptedServer(OLD_LOGIN)
    box = opened(server)
    box.close()
    server.check()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[AUTH] wrong", LOGIN_FAILED),
        ("wrong", LOGIN_FAILED),
        ("[IN-USE] locked by another session", MAIL_REFUSED_TEMPORARILY),
        ("[SYS/TEMP] later", MAIL_REFUSED_TEMPORARILY),
    ],
)
def test_refused_sign_in(text: str, reason: object) -> None:
    """RFC 3206 4."""
    server = ScriptedServer("S: +OK ready\n" + CAPA + f"C: AUTH PLAIN AHUAcA==\nS: -ERR {text}\n")
    box = mailbox(server)
    with pytest.raises(TransportError) as caught:
        box.open()
    assert caught.value.reason is reason
    assert caught.value.reply == text
    server.check()


class Token:
    def token(self) -> str:
        return "t" * 200

    def reject(self, _token: str) -> bool:
        return False


def test_a_long_token_goes_on_a_line_of_its_own() -> None:
    """RFC 5034 4."""
    long = "dXNlcj11AWF1dGg9QmVhcmVyIHR0" + "dHR0" * 66 + "AQE="
    server = ScriptedServer(
        "S: +OK ready\n"
        + CAPA.replace("PLAIN", "XOAUTH2")
        + f"C: AUTH XOAUTH2\nS: + \nC: {long}\nS: +OK\n"
        + CAPA
    )
    endpoint = Endpoint("pop.example", 995, Security.LOOPBACK, timeouts=Timeouts(1, 2, 2, 2))
    box = Pop3Mailbox(endpoint, Bearer("u", Token()), dialler=server.dial)
    box.open()
    box.close()
    server.check()


@pytest.mark.parametrize(
    "transcript",
    [
        CAPA,
        CAPA.replace("UIDL", "STLS") + "C: STLS\nS: -ERR no\n",
        CAPA.replace("UIDL", "STLS") + "C: STLS\nS: +OK go\nS: +OK smuggled\n",
        "C: CAPA\nS: -ERR what\nC: STLS\nS: -ERR what\n",
    ],
    ids=["not-offered", "refused", "smuggled", "no-capa"],
)
def test_stls_is_not_given_up(transcript: str) -> None:
    """RFC 2595 4."""
    server = ScriptedServer("S: +OK ready\n" + transcript)
    with pytest.raises(TransportError) as caught:
        mailbox(server, Security.STARTTLS).open()
    assert caught.value.reason is TLS_FAILED
    assert ("in clear before" in caught.value.detail) is ("smuggled" in transcript)
    server.check()


@pytest.mark.parametrize("lines", range(12))
def test_lost_anywhere_while_opening(lines: int) -> None:
    server = ScriptedServer("\n".join([*LOGIN.splitlines()[:lines], "[drop]"]))
    box = mailbox(server)
    with pytest.raises(TransportError) as caught:
        box.open()
    assert caught.value.reason is SERVER_PROTOCOL
    server.check()


def test_waiting_is_ended_by_wake() -> None:
    box = mailbox(ScriptedServer())
    threading.Timer(0.05, box.wake).start()
    assert box.wait(5)
    assert not box.wait(0.01)
