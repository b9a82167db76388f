"""Submission as transcripts: what we say, what a server answers, and what becomes of the mail."""

import io
import threading
from pathlib import Path

import pytest

from radpost.errors import (
    ADDRESS_UNKNOWN,
    LOGIN_FAILED,
    MAIL_TOO_LARGE,
    MAILBOX_FULL,
    SERVER_PROTOCOL,
    SERVER_UNREACHABLE,
    TLS_FAILED,
    RadpostError,
)
from radpost.testing.scripted import ScriptedServer
from radpost.transport.failure import ConnectionLostError, TransportError
from radpost.transport.oauth import TokenSource
from radpost.transport.sasl import Bearer, Password, choose
from radpost.transport.smtp import Connection, ServerMemory
from radpost.transport.smtp_reply import Kind, Outcome, Stage
from radpost.transport.tls import Security
from radpost.transport.wire import Endpoint, Timeouts

MAIL = b"Subject: x\r\n\r\n.dot\r\nline\r\n"
BIG = (b"a" * 76 + b"\r\n") * 1000
ENDPOINT = Endpoint("mail.example", 587, Security.LOOPBACK, timeouts=Timeouts(1, 2, 2, 2))

HELLO = """\
S: 220 mail.example ready
C: EHLO [127.0.0.1]
S: 250-mail.example
S: 250-PIPELINING
S: 250-SIZE 5000000
S: 250-ENHANCEDSTATUSCODES
S: 250-DSN
S: 250 CHUNKING
"""
PLAIN_HELLO = """\
S: 220 mail.example ready
C: EHLO [127.0.0.1]
S: 250 mail.example
"""
ENVELOPE = f"""\
C: MAIL FROM:<a@x.example> SIZE={len(MAIL)}
C: RCPT TO:<b@y.example>
"""
BIG_ENVELOPE = ENVELOPE.replace(f"={len(MAIL)}", f"={len(BIG)}")
TAKEN = "S: 250 2.1.0 sender ok\nS: 250 2.1.5 recipient ok\n"
BYE = "C: QUIT\nS: 221 bye\n"


def connection(server: ScriptedServer, memory: ServerMemory | None = None) -> Connection:
    return Connection(ENDPOINT, memory=memory, dialler=server.dial)


def send(link: Connection, mail: bytes = MAIL, sender: str = "a@x.example") -> Outcome:
    return link.send(sender, "b@y.example", io.BytesIO(mail), size=len(mail))


def test_a_small_mail_goes_in_one_packet_by_bdat() -> None:
    """RFC 2920 3.1, RFC 3030 2."""
    server = ScriptedServer(
        HELLO
        + ENVELOPE
        + f"C: BDAT {len(MAIL)} LAST\n[body {len(MAIL)}]\n"
        + TAKEN
        + "S: 250 2.0.0 queued\n"
        + BYE
    )
    with connection(server) as link:
        outcome = send(link)
    server.check()
    assert outcome.kind is Kind.ACCEPTED
    assert outcome.chunked
    assert outcome.reply is not None
    assert (outcome.reply.code, outcome.reply.enhanced, outcome.reply.text) == (250, "2.0.0", "queued")
    assert server.bodies == [MAIL]


def test_a_large_mail_waits_for_the_recipient_and_comes_from_the_file(tmp_path: Path) -> None:
    server = ScriptedServer(
        HELLO
        + BIG_ENVELOPE
        + TAKEN
        + f"C: BDAT {len(BIG)} LAST\n[body {len(BIG)}]\nS: 250 2.0.0 queued\n"
        + BYE
    )
    path = tmp_path / "mail"
    path.write_bytes(b"before" + BIG)
    with connection(server) as link, path.open("rb") as source:
        source.seek(6)
        outcome = link.send("a@x.example", "b@y.example", source, size=len(BIG))
    server.check()
    assert outcome.kind is Kind.ACCEPTED
    assert server.bodies == [BIG]


def test_dsn_parameters_are_sent_where_offered() -> None:
    """RFC 3461 4."""
    server = ScriptedServer(
        HELLO
        + f"C: MAIL FROM:<a@x.example> SIZE={len(MAIL)} RET=HDRS ENVID=set+2B1+3D2\n"
        + "C: RCPT TO:<b@y.example> NOTIFY=FAILURE,DELAY\n"
        + f"C: BDAT {len(MAIL)} LAST\n[body {len(MAIL)}]\n"
        + TAKEN
        + "S: 250 ok\n"
        + BYE
    )
    with connection(server) as link:
        link.send(
            "a@x.example",
            "b@y.example",
            io.BytesIO(MAIL),
            size=len(MAIL),
            envid="set+1=2",
            notify=("FAILURE", "DELAY"),
            ret="HDRS",
        )
    server.check()


def test_a_plain_server_gets_data_with_stuffed_dots_and_no_parameters() -> None:
    """RFC 5321 3.3, 4.5.2."""
    stuffed = MAIL.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    server = ScriptedServer(
        PLAIN_HELLO
        + "C: MAIL FROM:<a@x.example>\nS: 250 ok\nC: RCPT TO:<b@y.example>\nS: 250 ok\nC: DATA\nS: 354 go\n"
        + f"[body {len(stuffed)}]\nS: 250 queued\n"
        + BYE
    )
    with connection(server) as link:
        outcome = link.send(
            "a@x.example",
            "b@y.example",
            io.BytesIO(MAIL),
            size=len(MAIL),
            envid="x",
            notify=("NEVER",),
            ret="FULL",
        )
    server.check()
    assert outcome.kind is Kind.ACCEPTED
    assert server.bodies == [stuffed]


def test_helo_where_ehlo_is_unknown() -> None:
    """RFC 5321 3.1, 4.1.1.1."""
    server = ScriptedServer(
        "S: 220 old\nC: EHLO [127.0.0.1]\nS: 500 what\nC: HELO [127.0.0.1]\nS: 250 hello\n" + BYE
    )
    with connection(server) as link:
        assert link.size_limit is None
    server.check()


def test_one_connection_serves_many_mails_and_a_refusal_between() -> None:
    data = f"C: BDAT {len(MAIL)} LAST\n[body {len(MAIL)}]\n"
    refused = "S: 250 2.1.0 ok\nS: 550 5.1.1 no such user\nS: 554 5.5.1 no valid recipients\n"
    server = ScriptedServer(
        HELLO
        + (ENVELOPE + data + TAKEN + "S: 250 2.0.0 one\n")
        + (ENVELOPE + data + refused + "C: RSET\nS: 250 ok\n")
        + (ENVELOPE + data + TAKEN + "S: 250 2.0.0 three\n")
        + BYE
    )
    with connection(server) as link:
        outcomes = [send(link) for _ in range(3)]
    server.check()
    assert [outcome.kind for outcome in outcomes] == [Kind.ACCEPTED, Kind.REFUSED, Kind.ACCEPTED]
    assert outcomes[1].reason is ADDRESS_UNKNOWN
    assert outcomes[1].stage is Stage.RCPT


def test_a_354_after_a_refused_recipient_is_ended_by_a_dot() -> None:
    hello = HELLO.replace("S: 250-DSN\nS: 250 CHUNKING\n", "S: 250 DSN\n")
    server = ScriptedServer(
        hello
        + ENVELOPE
        + "C: DATA\nS: 250 ok\nS: 452 4.2.2 mailbox full\nS: 354 go on\nC: .\nS: 554 5.5.1 no recipients\n"
        + BYE
    )
    with connection(server) as link:
        outcome = send(link)
    server.check()
    assert (outcome.kind, outcome.reason) == (Kind.DEFERRED, MAILBOX_FULL)


def test_the_announced_limit_is_kept_without_a_word() -> None:
    """RFC 1870 6.2."""
    server = ScriptedServer(HELLO.replace("5000000", "20") + BYE)
    with connection(server) as link:
        outcome = send(link)
        assert link.size_limit == 20
    server.check()
    assert outcome == Outcome(Kind.TOO_LARGE, Stage.BEFORE, reason=MAIL_TOO_LARGE, limit=20)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("552 5.3.4 message too big", Kind.TOO_LARGE),
        ("552 message exceeds the size limit", Kind.TOO_LARGE),
        ("552 5.2.2 mailbox full", Kind.REFUSED),
        ("452 4.3.1 no space", Kind.DEFERRED),
        ("550 5.7.1 not you", Kind.REFUSED),
        ("421 4.3.2 shutting down", Kind.DEFERRED),
    ],
)
@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.END])
def test_refusals_at_every_stage(reply: str, kind: Kind, stage: Stage) -> None:
    big = f"C: BDAT {len(BIG)} LAST\n[body {len(BIG)}]\n"
    if stage is Stage.MAIL:
        answers = f"S: {reply}\n" + ("[drop]\n" if reply.startswith("421") else "S: 503 5.5.1 need MAIL\n")
    elif stage is Stage.RCPT:
        answers = f"S: 250 2.1.0 ok\nS: {reply}\n"
    else:
        answers = TAKEN + big + f"S: {reply}\n"
    ending = "[drop]\n" if reply.startswith("421") else "C: RSET\nS: 250 ok\n" + BYE
    server = ScriptedServer(HELLO + BIG_ENVELOPE + answers + ending)
    with connection(server) as link:
        outcome = send(link, BIG)
    server.check()
    assert outcome.kind is kind
    assert outcome.stage is stage
    assert str(outcome.reply).startswith(reply[:3])


def test_a_null_sender_may_be_refused_and_says_so() -> None:
    server = ScriptedServer(
        HELLO
        + ENVELOPE.replace("a@x.example", "")
        + f"C: BDAT {len(MAIL)} LAST\n[body {len(MAIL)}]\n"
        + "S: 250 2.1.0 ok\nS: 553 5.7.1 <>: Sender address rejected: not owned by user\nS: 554 5.5.1 none\n"
        + "C: RSET\nS: 250 ok\n"
        + BYE
    )
    with connection(server) as link:
        outcome = send(link, sender="")
        assert not link.memory.null_sender
    server.check()
    assert outcome.null_sender_refused


def test_a_server_without_bdat_after_all_gets_data_on_a_new_connection() -> None:
    stuffed = MAIL.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    server = ScriptedServer(
        HELLO
        + ENVELOPE
        + f"C: BDAT {len(MAIL)} LAST\n[body {len(MAIL)}]\n"
        + TAKEN
        + "S: 502 5.5.1 unknown\n",
        HELLO + ENVELOPE + "C: DATA\n" + TAKEN + f"S: 354 go\n[body {len(stuffed)}]\nS: 250 2.0.0 ok\n" + BYE,
    )
    with connection(server) as link:
        outcome = send(link)
        assert not link.memory.bdat
    server.check()
    assert (outcome.kind, outcome.chunked) == (Kind.ACCEPTED, False)


def test_memory_of_a_failed_bdat_is_used() -> None:
    stuffed = MAIL.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    server = ScriptedServer(
        HELLO + ENVELOPE + "C: DATA\n" + TAKEN + f"S: 354 go\n[body {len(stuffed)}]\nS: 250 2.0.0 ok\n" + BYE
    )
    with connection(server, ServerMemory(bdat=False)) as link:
        assert send(link).accepted
    server.check()


def test_lost_after_the_end_of_data_is_uncertain() -> None:
    server = ScriptedServer(
        HELLO + BIG_ENVELOPE + TAKEN + f"C: BDAT {len(BIG)} LAST\n[body {len(BIG)}]\n[drop]\n"
    )
    link = connection(server)
    outcome = send(link, BIG)
    server.check()
    assert (outcome.kind, outcome.stage, outcome.reason) == (Kind.UNCERTAIN, Stage.END, SERVER_PROTOCOL)
    assert link.memory.bdat_losses == 1
    assert not link.is_open


def test_lost_after_a_pipelined_mail_is_uncertain_too() -> None:
    """The whole mail was in the packet: the server may have taken it although it said nothing."""
    server = ScriptedServer(HELLO + ENVELOPE + f"C: BDAT {len(MAIL)} LAST\n[body {len(MAIL)}]\n[drop]\n")
    outcome = send(connection(server))
    server.check()
    assert outcome.kind is Kind.UNCERTAIN


def test_lost_after_the_dot_is_uncertain() -> None:
    stuffed = MAIL.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    server = ScriptedServer(
        HELLO + ENVELOPE + "C: DATA\n" + TAKEN + f"S: 354 go\n[body {len(stuffed)}]\n[drop]\n"
    )
    outcome = send(connection(server, ServerMemory(bdat=False)))
    server.check()
    assert outcome.kind is Kind.UNCERTAIN


def test_a_silent_server_after_the_end_of_data_is_uncertain() -> None:
    """RFC 5321 4.5.3.2.6."""
    server = ScriptedServer(
        HELLO + BIG_ENVELOPE + TAKEN + f"C: BDAT {len(BIG)} LAST\n[body {len(BIG)}]\n[wait 1]\n"
    )
    quick = Endpoint("mail.example", 587, Security.LOOPBACK, timeouts=Timeouts(1, 2, 2, 0.2))
    outcome = Connection(quick, dialler=server.dial).send(
        "a@x.example", "b@y.example", io.BytesIO(BIG), size=len(BIG)
    )
    server.check()
    assert outcome.kind is Kind.UNCERTAIN
    assert "no answer" in outcome.detail


def test_lost_within_the_body_is_not_uncertain() -> None:
    mail = BIG * 100
    server = ScriptedServer(
        (HELLO + BIG_ENVELOPE).replace("5000000", "50000000").replace(f"={len(BIG)}", f"={len(mail)}")
        + TAKEN
        + f"C: BDAT {len(mail)} LAST\n[early 1000]\n[drop]\n"
    )
    outcome = send(connection(server), mail)
    server.check()
    assert (outcome.kind, outcome.stage) == (Kind.DEFERRED, Stage.BODY)


def test_a_refusal_within_the_body_is_heard() -> None:
    mail = BIG * 100
    server = ScriptedServer(
        (HELLO + BIG_ENVELOPE).replace("5000000", "50000000").replace(f"={len(BIG)}", f"={len(mail)}")
        + TAKEN
        + f"C: BDAT {len(mail)} LAST\n[early 1000]\nS: 552 5.3.4 too big\n[wait 0.2]\n[drop]\n"
    )
    outcome = send(connection(server), mail)
    server.check()
    assert (outcome.kind, outcome.stage) == (Kind.TOO_LARGE, Stage.BODY)


@pytest.mark.parametrize("lines", [0, 1, 2, 7], ids=["greeting", "ehlo", "ehlo-reply", "half-a-reply"])
def test_lost_before_any_mail_is_an_error_of_the_server(lines: int) -> None:
    server = ScriptedServer("\n".join([*HELLO.splitlines()[:lines], "[drop]"]))
    with pytest.raises(ConnectionLostError) as caught:
        send(connection(server), BIG)
    assert caught.value.reason is SERVER_PROTOCOL
    server.check()


@pytest.mark.parametrize(
    ("answers", "stage"),
    [("", Stage.MAIL), ("S: 250 2.1.0 ok\n", Stage.RCPT), (TAKEN, Stage.BODY)],
    ids=["mail", "rcpt", "body"],
)
def test_lost_before_the_body_defers(answers: str, stage: Stage) -> None:
    mail = BIG * 100
    server = ScriptedServer(
        (HELLO + BIG_ENVELOPE).replace("5000000", "50000000").replace(f"={len(BIG)}", f"={len(mail)}")
        + answers
        + "[drop]\n"
    )
    outcome = send(connection(server), mail)
    assert (outcome.kind, outcome.stage, outcome.reason) == (Kind.DEFERRED, stage, SERVER_PROTOCOL)
    server.check()


def test_an_old_connection_that_died_is_replaced_silently() -> None:
    big = BIG_ENVELOPE + TAKEN + f"C: BDAT {len(BIG)} LAST\n[body {len(BIG)}]\nS: 250 2.0.0 ok\n"
    server = ScriptedServer(HELLO + big + "[drop]\n", HELLO + big + BYE)
    with connection(server) as link:
        assert send(link, BIG).accepted
        assert send(link, BIG).accepted
    server.check()


def test_421_on_an_old_connection_opens_a_new_one() -> None:
    big = BIG_ENVELOPE + TAKEN + f"C: BDAT {len(BIG)} LAST\n[body {len(BIG)}]\nS: 250 2.0.0 ok\n"
    server = ScriptedServer(
        HELLO + big + BIG_ENVELOPE + "S: 421 4.7.0 enough mails\n[drop]\n", HELLO + big + BYE
    )
    with connection(server) as link:
        assert send(link, BIG).accepted
        assert send(link, BIG).accepted
    server.check()


def test_a_source_that_is_too_short_never_completes_a_mail(tmp_path: Path) -> None:
    path = tmp_path / "mail"
    path.write_bytes(BIG[:-10])
    server = ScriptedServer(
        HELLO + BIG_ENVELOPE + TAKEN + f"C: BDAT {len(BIG)} LAST\n[early {len(BIG) - 10}]\n"
    )
    link = connection(server)
    with path.open("rb") as source, pytest.raises(RadpostError, match="shorter"):
        link.send("a@x.example", "b@y.example", source, size=len(BIG))
    assert not link.is_open
    server.check()


def test_bare_line_feeds_never_reach_a_server() -> None:
    mail = b"a: b\r\n\r\none\ntwo\r\n"
    envelope = ENVELOPE.replace(f"={len(MAIL)}", f"={len(mail)}")
    server = ScriptedServer(HELLO + envelope + "C: DATA\n" + TAKEN + "S: 354 go\n")
    with pytest.raises(RadpostError, match="CRLF"):
        send(connection(server, ServerMemory(bdat=False)), mail)
    server.check()


@pytest.mark.parametrize("address", ["", "a b@x", "a@x>\r\nRCPT TO:<evil@x", "ä@x.example", "<a@x>"])
def test_an_address_cannot_carry_commands(address: str) -> None:
    server = ScriptedServer()
    with pytest.raises(TransportError) as caught:
        connection(server).send("a@x.example", address, io.BytesIO(MAIL), size=len(MAIL))
    assert caught.value.reason is ADDRESS_UNKNOWN
    assert server.connections == 0


# sign-in


def sign_in(
    server: ScriptedServer, credentials: Password | Bearer, security: Security = Security.LOOPBACK
) -> Connection:
    return Connection(
        Endpoint("mail.example", 587, security, timeouts=Timeouts(1, 2, 2, 2)),
        credentials,
        dialler=server.dial,
    )


def offering(auth: str) -> str:
    return PLAIN_HELLO.replace("S: 250 mail.example\n", f"S: 250-mail.example\nS: 250 AUTH {auth}\n")


def test_auth_plain() -> None:
    """RFC 4954 4, RFC 4422 3, RFC 4616 2."""
    server = ScriptedServer(offering("LOGIN PLAIN") + "C: AUTH PLAIN AHUAcA==\nS: 235 2.7.0 welcome\n" + BYE)
    with sign_in(server, Password("u", "p")) as link:
        link.open()
    server.check()


def test_auth_login() -> None:
    server = ScriptedServer(
        offering("LOGIN")
        + "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dQ==\nS: 334 UGFzc3dvcmQ6\nC: cA==\nS: 235 welcome\n"
        + BYE
    )
    with sign_in(server, Password("u", "p")) as link:
        link.open()
    server.check()


def test_auth_cram_md5_as_in_rfc_2195() -> None:
    """RFC 2195 2."""
    server = ScriptedServer(
        offering("CRAM-MD5")
        + "C: AUTH CRAM-MD5\nS: 334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+\n"
        + "C: dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw\nS: 235 welcome\n"
        + BYE
    )
    with sign_in(server, Password("tim", "tanstaaftanstaaf")) as link:
        link.open()
    server.check()


def test_abort_from_another_thread_makes_it_uncertain() -> None:
    server = ScriptedServer(
        HELLO + BIG_ENVELOPE + TAKEN + f"C: BDAT {len(BIG)} LAST\n[body {len(BIG)}]\n[wait 0.3]\n"
    )
    link = connection(server)
    threading.Timer(0.1, link.abort).start()
    assert send(link, BIG).kind is Kind.UNCERTAIN
    server.check()


def test_a_refused_password_is_an_error_that_does_not_show_it() -> None:
    """RFC 4954 6."""
    server = ScriptedServer(offering("PLAIN") + "C: AUTH PLAIN AHUAczNjcmV0\nS: 535 5.7.8 bad s3cret\n")
    with pytest.raises(TransportError) as caught:
        sign_in(server, Password("u", "s3cret")).open()
    server.check()
    assert caught.value.reason is LOGIN_FAILED
    assert "5.7.8" in caught.value.reply
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(Password("u", "s3cret"))


class Tokens(TokenSource):
    def __init__(self, *tokens: str) -> None:
        self.left = list(tokens)

    def token(self) -> str:
        return self.left[0]

    def reject(self, token: str) -> bool:
        self.left.pop(0)
        return bool(self.left)


def test_oauthbearer_as_in_rfc_7628_with_a_stale_token_first() -> None:
    """RFC 7628 3.1, 3.2.3."""
    server = ScriptedServer(
        offering("XOAUTH2 OAUTHBEARER").replace("mail.example", "server.example.com")
        + "C: AUTH OAUTHBEARER bixhPXUsAWhvc3Q9bWFpbC5leGFtcGxlAXBvcnQ9NTg3AWF1dGg9QmVhcmVyIG9sZAEB\n"
        + "S: 334 eyJzdGF0dXMiOiI0MDEifQ==\nC: AQ==\nS: 535 5.7.8 no\n"
        + "C: AUTH OAUTHBEARER bixhPXUsAWhvc3Q9bWFpbC5leGFtcGxlAXBvcnQ9NTg3AWF1dGg9QmVhcmVyIG5ldwEB\n"
        + "S: 235 2.7.0 welcome\n"
        + BYE
    )
    with sign_in(server, Bearer("u", Tokens("old", "new"))) as link:
        link.open()
    server.check()


def test_xoauth2_refused_names_the_complaint() -> None:
    server = ScriptedServer(
        offering("XOAUTH2")
        + "C: AUTH XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIG9sZAEB\n"
        + "S: 334 eyJzdGF0dXMiOiI0MDEifQ==\nC: \nS: 535 5.7.3 no\n"
    )
    with pytest.raises(TransportError) as caught:
        sign_in(server, Bearer("u", Tokens("old"))).open()
    server.check()
    assert caught.value.reason is LOGIN_FAILED
    assert '"status":"401"' in caught.value.reply


def test_a_mechanism_that_is_configured_is_the_only_one() -> None:
    """Some servers offer OAUTHBEARER and refuse it for an account that XOAUTH2 lets in."""
    server = ScriptedServer(
        offering("OAUTHBEARER XOAUTH2 PLAIN")
        + "C: AUTH XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIG9sZAEB\nS: 235 2.7.0 welcome\n"
        + BYE
    )
    with sign_in(server, Bearer("u", Tokens("old"), "XOAUTH2")) as link:
        link.open()
    server.check()
    for mechanism, other in (("XOAUTH2", "OAUTHBEARER"), ("OAUTHBEARER", "XOAUTH2")):
        login = Bearer("u", Tokens("old"), mechanism)
        assert choose({mechanism, other}, login) == mechanism
        assert choose({other, "PLAIN"}, login) is None
    with pytest.raises(TransportError, match="OAuth 2 token XOAUTH2; it offers OAUTHBEARER"):
        sign_in(ScriptedServer(offering("OAUTHBEARER")), Bearer("u", Tokens("old"), "XOAUTH2")).open()


def test_no_fitting_mechanism() -> None:
    server = ScriptedServer(offering("GSSAPI"))
    with pytest.raises(TransportError) as caught:
        sign_in(server, Password("u", "p")).open()
    assert caught.value.reason is LOGIN_FAILED
    server.check()


def test_starttls_that_is_not_offered_ends_everything() -> None:
    """RFC 3207 4."""
    server = ScriptedServer(offering("PLAIN"))
    with pytest.raises(TransportError) as caught:
        sign_in(server, Password("u", "p"), Security.STARTTLS).open()
    assert caught.value.reason is TLS_FAILED
    server.check()


def test_words_smuggled_behind_starttls_end_everything() -> None:
    """RFC 3207 4.2."""
    hello = PLAIN_HELLO.replace("S: 250 mail.example\n", "S: 250-mail.example\nS: 250 STARTTLS\n")
    server = ScriptedServer(hello + "C: STARTTLS\nS: 220 go\nS: 250 smuggled\n")
    with pytest.raises(TransportError) as caught:
        sign_in(server, Password("u", "p"), Security.STARTTLS).open()
    assert caught.value.reason is TLS_FAILED
    assert "in clear before" in caught.value.detail
    server.check()


def test_a_server_that_wants_tls_or_a_sign_in_is_not_the_mails_fault() -> None:
    """RFC 4954 6, RFC 3207 4."""
    server = ScriptedServer(
        PLAIN_HELLO + "C: MAIL FROM:<a@x.example>\nS: 530 5.7.0 Must issue a STARTTLS command first\n"
    )
    with pytest.raises(TransportError) as caught:
        send(connection(server))
    assert caught.value.reason is TLS_FAILED
    server.check()


@pytest.mark.parametrize("greeting", ["554 5.3.2 no service", "421 4.3.2 later"])
def test_a_server_that_does_not_serve(greeting: str) -> None:
    server = ScriptedServer(f"S: {greeting}\n")
    with pytest.raises(TransportError) as caught:
        connection(server).open()
    assert caught.value.reason is SERVER_UNREACHABLE
    assert caught.value.reply == greeting
    server.check()


@pytest.mark.parametrize(
    "answer", ["S: hello", "S: 250-one\nS: 251 two", "S+ " + "x" * 20000, "S+ 250-a\\r\\n250-b\\r\\n[drop]"]
)
def test_garbage_instead_of_a_reply(answer: str) -> None:
    server = ScriptedServer(f"S: 220 ready\nC: EHLO [127.0.0.1]\n{answer}\n[drop]\n")
    with pytest.raises(TransportError) as caught:
        connection(server).open()
    assert caught.value.reason is SERVER_PROTOCOL
    server.check()
