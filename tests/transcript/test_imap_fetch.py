"""IMAP as transcripts: opening, streaming, removing, waiting, and what goes wrong."""

import io
import threading
import time

import pytest

from radpost.errors import (
    INTERNAL,
    LOGIN_FAILED,
    SERVER_PROTOCOL,
    SERVER_UNREACHABLE,
    TLS_FAILED,
    RadpostError,
)
from radpost.testing.scripted import ScriptedServer
from radpost.transport.failure import ConnectionLostError, TransportError
from radpost.transport.imap import Fetched, ImapMailbox, Quota, Selected, Waiting, Wake
from radpost.transport.sasl import Bearer, Password
from radpost.transport.tls import Security
from radpost.transport.wire import Endpoint, Timeouts

CAPABLE = "IMAP4rev1 SASL-IR AUTH=PLAIN IDLE UIDPLUS MOVE QUOTA"
LOGIN = f"""\
S: * OK [CAPABILITY {CAPABLE}] ready
C: R1 AUTHENTICATE PLAIN AHUAcA==
S: R1 OK [CAPABILITY {CAPABLE}] welcome
"""
SELECT = """\
C: R2 SELECT "INBOX"
S: * FLAGS (\\Answered \\Deleted)
S: * OK [PERMANENTFLAGS (\\Deleted \\*)] limited
S: * 2 EXISTS
S: * 0 RECENT
S: * OK [UIDVALIDITY 1700000000] valid
S: * OK [UIDNEXT 12] next
S: R2 OK [READ-WRITE] done
"""
SWIFT = Waiting(idle=5, poll=0.05, hot=0, hot_poll=0.02)


def mailbox(
    server: ScriptedServer,
    *,
    exclusive: bool = False,
    waiting: Waiting = SWIFT,
    security: Security = Security.LOOPBACK,
) -> ImapMailbox:
    return ImapMailbox(
        Endpoint("imap.example", 993, security, timeouts=Timeouts(1, 2, 2, 2)),
        Password("u", "p"),
        exclusive=exclusive,
        waiting=waiting,
        dialler=server.dial,
    )


def opened(server: ScriptedServer, *, exclusive: bool = False) -> ImapMailbox:
    box = mailbox(server, exclusive=exclusive)
    box.open()
    return box


def done(box: ImapMailbox, server: ScriptedServer) -> None:
    box.close()
    server.check()


def test_open_tells_the_mailbox() -> None:
    """RFC 3501 6.1.1, 6.2.2, 6.3.1."""
    server = ScriptedServer(LOGIN + SELECT)
    box = mailbox(server)
    assert box.open(1700000000) == Selected(1700000000, 12, 2, renumbered=False)
    done(box, server)


def test_another_uidvalidity_is_told() -> None:
    """RFC 3501 2.3.1.1."""
    server = ScriptedServer(LOGIN + SELECT)
    box = mailbox(server)
    assert box.open(1600000000).renumbered
    done(box, server)


def test_new_uids_leaves_out_the_last_mail_that_is_old() -> None:
    """RFC 3501 6.4.4, 9."""
    server = ScriptedServer(
        LOGIN
        + SELECT
        + "C: R3 UID SEARCH UID 12:* UNDELETED\nS: * SEARCH 11\nS: R3 OK done\n"
        + "C: R4 UID SEARCH UID 5:* UNDELETED\nS: * SEARCH 9 7 11\nS: R4 OK done\n"
        + "C: R5 UID SEARCH UID 5:* UNDELETED\nS: * SEARCH\nS: R5 OK done\n"
    )
    box = opened(server)
    assert box.new_uids(11) == []
    assert box.new_uids(4) == [7, 9, 11]
    assert box.new_uids(4) == []
    done(box, server)


def test_all_mails_are_named_or_none() -> None:
    server = ScriptedServer(
        LOGIN
        + SELECT
        + "C: R3 UID SEARCH ALL\nS: * SEARCH 11 3\nS: R3 OK done\n"
        + "C: R4 UID SEARCH ALL\nS: * 3 EXISTS\nS: * SEARCH 3\nS: R4 OK done\n"
        + "C: R5 UID SEARCH ALL\nS: R5 OK done\n"
    )
    box = opened(server)
    assert box.all_uids() == {3, 11}
    assert box.all_uids() is None, "one of three says nothing about the others"
    assert box.all_uids() is None
    done(box, server)


def test_sizes_are_asked_in_ranges() -> None:
    server = ScriptedServer(
        LOGIN
        + SELECT
        + "C: R3 UID FETCH 3:5,9 (UID RFC822.SIZE)\n"
        + "S: * 1 FETCH (UID 3 RFC822.SIZE 100)\nS: * 2 FETCH (RFC822.SIZE 200 UID 5)\n"
        + "S: * 2 FETCH (FLAGS (\\Seen))\nS: R3 OK done\n"
    )
    box = opened(server)
    assert box.sizes([5, 9, 3, 4, 3]) == {3: 100, 5: 200}
    done(box, server)


FETCH = "(UID RFC822.SIZE BODY.PEEK[])"


def test_fetch_streams_in_order_and_asks_ahead() -> None:
    """RFC 3501 6.4.5."""
    server = ScriptedServer(
        LOGIN
        + SELECT
        + f"C: R3 UID FETCH 7 {FETCH}\nC: R4 UID FETCH 8 {FETCH}\n"
        + f"C: R5 UID FETCH 9 {FETCH}\nC: R6 UID FETCH 10 {FETCH}\n"
        + "S: * 1 FETCH (UID 7 RFC822.SIZE 9 BODY[] {9}\nS+ a: b\\r\\n\\r\\n1)\\r\\n\nS: R3 OK done\n"
        + "S: R4 OK nothing there\n"
        + "S: * 5 EXISTS\nS: * 2 FETCH (FLAGS (\\Seen))\n"
        + "S: * 2 FETCH (BODY[] {4}\nS+ )\\r\\n(\nS+  RFC822.SIZE 4 UID 9)\\r\\n\nS: R5 OK done\n"
        + 'S: * 3 FETCH (UID 10 BODY[] "short")\nS: R6 OK done\n'
    )
    box = opened(server)
    got: dict[int, io.BytesIO] = {}

    def sink(uid: int, size: int) -> io.BytesIO:
        got[uid] = io.BytesIO()
        assert size in (9, 4, 5)
        return got[uid]

    assert list(box.fetch([7, 8, 9, 10], sink)) == [
        Fetched(7, 9),
        Fetched(8, None),
        Fetched(9, 4),
        Fetched(10, 5),
    ]
    assert {uid: file.getvalue() for uid, file in got.items()} == {
        7: b"a: b\r\n\r\n1",
        9: b")\r\n(",
        10: b"short",
    }
    assert box.wait(0) is Wake.MAIL
    done(box, server)


def test_tagged_responses_may_come_behind_all_data() -> None:
    """Dovecot does so under load: mails are told apart by their UIDs."""
    server = ScriptedServer(
        LOGIN
        + SELECT
        + f"C: R3 UID FETCH 7 {FETCH}\nC: R4 UID FETCH 8 {FETCH}\n"
        + "S: * 2 FETCH (UID 8 BODY[] {1}\nS+ y)\\r\\n\nS: * 1 FETCH (UID 7 BODY[] {1}\nS+ x)\\r\\n\n"
        + "S: R4 OK done\nS: R3 OK done\n"
    )
    box = opened(server)
    got: dict[int, io.BytesIO] = {}
    fetched = list(box.fetch([7, 8], lambda uid, _: got.setdefault(uid, io.BytesIO())))
    assert fetched == [Fetched(8, 1), Fetched(7, 1)]
    assert {uid: file.getvalue() for uid, file in got.items()} == {7: b"x", 8: b"y"}
    done(box, server)


def test_a_mail_that_is_refused_or_nil_does_not_stop_the_others() -> None:
    server = ScriptedServer(
        LOGIN
        + SELECT
        + f"C: R3 UID FETCH 7 {FETCH}\nC: R4 UID FETCH 8 {FETCH}\nC: R5 UID FETCH 9 {FETCH}\n"
        + "S: R3 NO [SERVERBUG] damaged\nS: * 2 FETCH (UID 8 BODY[] NIL)\nS: R4 OK done\n"
        + "S: * 3 FETCH (UID 9 BODY[] {1}\nS+ x)\\r\\n\nS: R5 OK done\n"
    )
    box = opened(server)
    fetched = list(box.fetch([7, 8, 9], lambda *_: io.BytesIO()))
    assert fetched == [Fetched(7, None, "damaged"), Fetched(8, None), Fetched(9, 1)]
    done(box, server)


def test_a_mail_lost_in_its_middle_is_not_yielded() -> None:
    server = ScriptedServer(
        LOGIN
        + SELECT
        + f"C: R3 UID FETCH 7 {FETCH}\nS: * 1 FETCH (UID 7 RFC822.SIZE 9 BODY[] {{9}}\nS+ a: b\n[drop]\n"
    )
    box = opened(server)
    with pytest.raises(ConnectionLostError):
        list(box.fetch([7], lambda *_: io.BytesIO()))
    assert not box.is_open
    done(box, server)


def test_another_mail_than_asked_for_is_an_error() -> None:
    server = ScriptedServer(
        LOGIN
        + SELECT
        + f"C: R3 UID FETCH 7 {FETCH}\nS: * 1 FETCH (UID 8 BODY[] {{1}}\nS+ x)\\r\\n\nS: R3 OK done\n"
    )
    box = opened(server)
    with pytest.raises(TransportError) as caught:
        list(box.fetch([7], lambda *_: io.BytesIO()))
    assert caught.value.reason is SERVER_PROTOCOL
    assert not box.is_open
    done(box, server)


def test_a_writer_that_fails_closes_the_connection_and_is_heard() -> None:
    class Full:
        def write(self, data: memoryview, /) -> int:
            raise OSError(28, "No space left on device")

    server = ScriptedServer(
        LOGIN
        + SELECT
        + f"C: R3 UID FETCH 7 {FETCH}\nS: * 1 FETCH (UID 7 BODY[] {{1}}\nS+ x)\\r\\n\nS: R3 OK done\n"
    )
    box = opened(server)
    with pytest.raises(OSError, match="No space"):
        list(box.fetch([7], lambda *_: Full()))
    assert not box.is_open
    done(box, server)


def test_no_other_command_during_a_fetch() -> None:
    server = ScriptedServer(
        LOGIN
        + SELECT
        + f"C: R3 UID FETCH 7 {FETCH}\nC: R4 UID FETCH 8 {FETCH}\n"
        + "S: * 1 FETCH (UID 7 BODY[] {1}\nS+ x)\\r\\n\nS: R3 OK done\n"
    )
    box = opened(server)
    for _ in box.fetch([7, 8], lambda *_: io.BytesIO()):
        with pytest.raises(RadpostError) as caught:
            box.delete([7])
        assert caught.value.reason is INTERNAL
        break
    assert not box.is_open, "what was asked ahead would be taken for the answer to the next command"
    done(box, server)


def test_delete_with_uidplus_touches_only_these() -> None:
    """RFC 4315 2.1."""
    server = ScriptedServer(
        LOGIN
        + SELECT
        + "C: R3 UID STORE 7,9:10 +FLAGS.SILENT (\\Deleted)\nS: R3 OK done\n"
        + "C: R4 UID EXPUNGE 7,9:10\nS: * 1 EXPUNGE\nS: * 1 EXPUNGE\nS: R4 OK done\n"
    )
    box = opened(server)
    assert box.delete([9, 7, 10])
    done(box, server)


POOR = LOGIN.replace(" UIDPLUS MOVE", "")


def test_delete_without_uidplus_only_flags() -> None:
    server = ScriptedServer(POOR + SELECT + "C: R3 UID STORE 7 +FLAGS.SILENT (\\Deleted)\nS: R3 OK done\n")
    box = opened(server)
    assert not box.delete([7])
    done(box, server)


def test_delete_without_uidplus_in_a_mailbox_of_ours_alone() -> None:
    """RFC 3501 6.4.3."""
    server = ScriptedServer(
        POOR
        + SELECT
        + "C: R3 UID STORE 7 +FLAGS.SILENT (\\Deleted)\nS: R3 OK done\n"
        + "C: R4 EXPUNGE\nS: * 1 EXPUNGE\nS: R4 OK done\n"
    )
    box = opened(server, exclusive=True)
    assert box.delete([7])
    done(box, server)


def test_a_refused_store_deletes_nothing() -> None:
    server = ScriptedServer(
        LOGIN + SELECT + "C: R3 UID STORE 7 +FLAGS.SILENT (\\Deleted)\nS: R3 NO [NOPERM] read-only\n"
    )
    box = opened(server)
    with pytest.raises(TransportError) as caught:
        box.delete([7])
    assert caught.value.reply == "read-only"
    done(box, server)


def test_move_makes_the_folder() -> None:
    """RFC 6851 3."""
    server = ScriptedServer(
        LOGIN
        + SELECT
        + 'C: R3 UID MOVE 7 "Nicht f&APw-r uns"\nS: R3 NO [TRYCREATE] no such folder\n'
        + 'C: R4 CREATE "Nicht f&APw-r uns"\nS: R4 OK done\n'
        + 'C: R5 UID MOVE 7 "Nicht f&APw-r uns"\n'
        + "S: * OK [COPYUID 1 7 1] moved\nS: * 1 EXPUNGE\nS: R5 OK done\n"
    )
    box = opened(server)
    assert box.move([7], "Nicht für uns")
    done(box, server)


def test_copy_and_flag_where_there_is_no_move() -> None:
    """RFC 3501 6.4.7."""
    server = ScriptedServer(
        POOR
        + SELECT
        + 'C: R3 UID COPY 7 "Other"\nS: R3 OK done\n'
        + "C: R4 UID STORE 7 +FLAGS.SILENT (\\Deleted)\nS: R4 OK done\n"
    )
    box = opened(server)
    assert not box.move([7], "Other")
    done(box, server)


def test_quota_is_told_in_bytes() -> None:
    """RFC 9208 4.1.2."""
    server = ScriptedServer(
        LOGIN
        + SELECT
        + 'C: R3 GETQUOTAROOT "INBOX"\nS: * QUOTAROOT INBOX "User quota"\n'
        + 'S: * QUOTA "User quota" (MESSAGE 3 100 STORAGE 10 512)\nS: R3 OK done\n'
    )
    box = opened(server)
    assert box.quota() == Quota(10 * 1024, 512 * 1024)
    done(box, server)


# waiting


def test_idle_ends_with_the_mail() -> None:
    """RFC 2177 3, RFC 3501 7.3.1."""
    server = ScriptedServer(
        LOGIN
        + SELECT
        + "C: R3 IDLE\nS: + idling\nS: * OK still here\n[wait 0.05]\n"
        + "S: * 3 EXISTS\nS: * 1 RECENT\nC: DONE\nS: R3 OK done\n"
    )
    box = opened(server)
    assert box.wait(5) is Wake.MAIL
    done(box, server)


def test_mail_that_is_deleted_by_others_is_no_news() -> None:
    """RFC 3501 7.4.1."""
    server = ScriptedServer(
        LOGIN + SELECT + "C: R3 IDLE\nS: + idling\nS: * 1 EXPUNGE\nS: * 1 EXISTS\nC: DONE\nS: R3 OK done\n"
    )
    box = opened(server)
    assert box.wait(0.1) is Wake.TIMEOUT
    done(box, server)


def test_idle_is_issued_anew() -> None:
    server = ScriptedServer(
        LOGIN
        + SELECT
        + "C: R3 IDLE\nS: + idling\nC: DONE\nS: R3 OK done\n"
        + "C: R4 IDLE\nS: + idling\nS: * 3 EXISTS\nC: DONE\nS: R4 OK done\n"
    )
    box = mailbox(server, waiting=Waiting(idle=0.05, hot=0))
    box.open()
    assert box.wait(5) is Wake.MAIL
    done(box, server)


@pytest.mark.timeout(30)
def test_wake_ends_idle_from_another_thread() -> None:
    server = ScriptedServer(LOGIN + SELECT + "C: R3 IDLE\nS: + idling\nC: DONE\nS: R3 OK done\n")
    box = opened(server)
    threading.Timer(0.05, box.wake).start()
    assert box.wait(100) is Wake.WOKEN
    done(box, server)


def test_a_wake_before_the_wait_is_not_lost() -> None:
    server = ScriptedServer(LOGIN + SELECT)
    box = opened(server)
    box.wake()
    assert box.wait(5) is Wake.WOKEN
    done(box, server)


@pytest.mark.parametrize("refusal", ["BAD what", "NO not today"])
def test_idle_refused_falls_back_to_polling(refusal: str) -> None:
    server = ScriptedServer(
        LOGIN
        + SELECT
        + f"C: R3 IDLE\nS: R3 {refusal}\n"
        + "C: R4 NOOP\nS: R4 OK done\nC: R5 NOOP\nS: * 3 EXISTS\nS: R5 OK done\n"
    )
    box = opened(server)
    assert box.wait(5) is Wake.MAIL
    done(box, server)


def test_polling_where_idle_is_not_offered() -> None:
    """RFC 3501 6.1.2."""
    server = ScriptedServer(
        LOGIN.replace(" IDLE", "")
        + SELECT
        + "C: R3 NOOP\nS: R3 OK done\nC: R4 NOOP\nS: * 3 EXISTS\nS: R4 OK done\n"
    )
    box = opened(server)
    assert box.wait(5) is Wake.MAIL
    done(box, server)


def test_a_likely_mail_is_looked_for_often_and_then_by_idle() -> None:
    server = ScriptedServer(
        LOGIN
        + SELECT
        + "C: R3 NOOP\nS: R3 OK done\nC: R4 NOOP\nS: R4 OK done\n"
        + "C: R5 IDLE\nS: + idling\nS: * 3 EXISTS\nC: DONE\nS: R5 OK done\n"
    )
    box = mailbox(server, waiting=Waiting(hot=0.15, hot_poll=0.1))
    box.open()
    box.expect()
    assert box.wait(5) is Wake.MAIL
    done(box, server)


def test_renumbering_while_open_is_an_event() -> None:
    server = ScriptedServer(
        LOGIN
        + SELECT
        + "C: R3 IDLE\nS: + idling\nS: * OK [UIDVALIDITY 1800000000] new\nC: DONE\nS: R3 OK done\n"
    )
    box = opened(server)
    assert box.wait(5) is Wake.RENUMBERED
    done(box, server)


@pytest.mark.parametrize("ending", ["S: * BYE shutting down\n[drop]\n", "[drop]\n"])
def test_a_connection_lost_in_idle_is_an_error(ending: str) -> None:
    server = ScriptedServer(LOGIN + SELECT + "C: R3 IDLE\nS: + idling\n" + ending)
    box = opened(server)
    with pytest.raises(ConnectionLostError):
        box.wait(5)
    assert not box.is_open
    done(box, server)


def test_a_lost_connection_is_opened_anew() -> None:
    again = (LOGIN + SELECT).replace("R1 ", "R4 ").replace("R2 ", "R5 ")
    server = ScriptedServer(LOGIN + SELECT + "C: R3 IDLE\nS: + idling\n[drop]\n", again)
    box = opened(server)
    with pytest.raises(ConnectionLostError):
        box.wait(5)
    assert box.open(1700000000) == Selected(1700000000, 12, 2, renumbered=False)
    done(box, server)


def test_abort_ends_what_hangs_from_another_thread() -> None:
    server = ScriptedServer(LOGIN + SELECT + "C: R3 UID SEARCH UID 1:* UNDELETED\n[wait 0.3]\n")
    box = opened(server)
    threading.Timer(0.05, box.abort).start()
    begin = time.monotonic()
    with pytest.raises(ConnectionLostError):
        box.new_uids()
    assert time.monotonic() - begin < 1.5
    server.check()


def test_a_large_mailbox_is_one_line() -> None:
    uids = list(range(1, 20_000))
    server = ScriptedServer(
        LOGIN
        + SELECT
        + "C: R3 UID SEARCH UID 1:* UNDELETED\nS: * SEARCH "
        + " ".join(map(str, uids))
        + "\nS: R3 OK done\n"
    )
    box = opened(server)
    assert box.new_uids() == uids
    done(box, server)


# signing in


def test_login_where_there_is_no_authenticate() -> None:
    """RFC 3501 6.2.3."""
    server = ScriptedServer(
        "S: * OK hello\nC: R1 CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: R1 OK done\n"
        'C: R2 LOGIN "u" "p"\nS: R2 OK welcome\nC: R3 CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: R3 OK done\n'
    )
    box = mailbox(server)
    box.connect()
    done(box, server)


def test_plain_without_initial_response() -> None:
    """RFC 3501 6.2.2."""
    server = ScriptedServer(
        LOGIN.replace(" SASL-IR", "").replace("PLAIN AHUAcA==", "PLAIN\nS: + \nC: AHUAcA==")
    )
    box = mailbox(server)
    box.connect()
    done(box, server)


class Token:
    def token(self) -> str:
        return "vF9dft4qmT"

    def reject(self, _token: str) -> bool:
        return False


def test_oauthbearer_refused_as_in_rfc_7628() -> None:
    """RFC 7628 3.2.3, RFC 4959 3."""
    server = ScriptedServer(
        "S: * OK [CAPABILITY IMAP4rev1 AUTH=OAUTHBEARER SASL-IR] ready\n"
        "C: R1 AUTHENTICATE OAUTHBEARER "
        "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVQBAQ==\n"
        "S: + eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0=\nC: AQ==\nS: R1 NO SASL authentication failed\n"
    )
    box = ImapMailbox(
        Endpoint("server.example.com", 143, Security.LOOPBACK, timeouts=Timeouts(1, 2, 2, 2)),
        Bearer("user@example.com", Token()),
        dialler=server.dial,
    )
    with pytest.raises(TransportError) as caught:
        box.open()
    assert caught.value.reason is LOGIN_FAILED
    assert "invalid_token" in caught.value.reply
    done(box, server)


def test_logindisabled_means_no_password_in_clear() -> None:
    """RFC 3501 6.2.3."""
    server = ScriptedServer("S: * OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready\n")
    box = mailbox(server)
    with pytest.raises(TransportError):
        box.open()
    done(box, server)


@pytest.mark.parametrize(
    "transcript",
    [
        "S: * PREAUTH signed in already\n",
        "S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\n",
        "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] ready\nC: R1 STARTTLS\nS: R1 BAD no\n",
        "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] ready\nC: R1 STARTTLS\nS: R1 OK go\nS: * CAPABILITY EVIL\n",
    ],
    ids=["preauth", "not-offered", "refused", "smuggled"],
)
def test_starttls_is_not_given_up(transcript: str) -> None:
    """RFC 3501 6.2.1."""
    server = ScriptedServer(transcript)
    box = mailbox(server, security=Security.STARTTLS)
    with pytest.raises(TransportError) as caught:
        box.open()
    assert caught.value.reason is TLS_FAILED
    assert ("in clear before" in caught.value.detail) is ("EVIL" in transcript)
    done(box, server)


def test_a_busy_server_says_bye() -> None:
    server = ScriptedServer("S: * BYE too many connections\n[drop]\n")
    box = mailbox(server)
    with pytest.raises(TransportError) as caught:
        box.open()
    assert caught.value.reason is SERVER_UNREACHABLE
    assert caught.value.reply == "too many connections"
    done(box, server)


@pytest.mark.parametrize("lines", range(1, 9))
def test_lost_anywhere_while_opening(lines: int) -> None:
    steps = (LOGIN + SELECT).splitlines()[: lines + 2]
    server = ScriptedServer("\n".join([*steps, "[drop]"]))
    box = mailbox(server)
    with pytest.raises(TransportError) as caught:
        box.open()
    assert caught.value.reason is SERVER_PROTOCOL
    done(box, server)


@pytest.mark.parametrize(
    "answer",
    [
        "S: garbage",
        "S+ " + "* 1 FETCH " + "(" * 60 + "\\r\\n",
        "S: * 1 FETCH (UID 1",
        "S: * 1 FETCH (X {70000}",
    ],
)
def test_garbage_instead_of_data(answer: str) -> None:
    server = ScriptedServer(
        LOGIN + SELECT + f"C: R3 UID FETCH 7 (UID RFC822.SIZE)\n{answer}\nS: R3 OK done\n"
    )
    box = opened(server)
    with pytest.raises(TransportError) as caught:
        box.sizes([7])
    assert caught.value.reason is SERVER_PROTOCOL
    done(box, server)
