"""Conversations with the receiving session machine: what the peer sends, and all that happens then."""

from dataclasses import replace

import pytest

from radpost.testing.receiver_play import Answers, play
from radpost.transport.smtp_actions import Limits, Protocol, SessionConfig
from radpost.transport.smtp_grammar import Reply

OURS = {"radiology@klinik-a.example", "neuro@klinik-a.example"}
CONFIG = SessionConfig(
    name="mail.klinik-a.example",
    is_ours=OURS.__contains__,
    domains=frozenset({"klinik-a.example"}),
    limits=Limits(message_size=1000),
)
LMTP = replace(CONFIG, protocol=Protocol.LMTP)
BANNER = "S: 220 mail.klinik-a.example ESMTP ready"
START = b"EHLO b.example\r\nMAIL FROM:<x@b.example>\r\nRCPT TO:<radiology@klinik-a.example>\r\n"
STARTED = [
    BANNER,
    "S: 250-mail.klinik-a.example",
    "S: 250-PIPELINING",
    "S: 250-SIZE 1000",
    "S: 250-8BITMIME",
    "S: 250-ENHANCEDSTATUSCODES",
    "S: 250 CHUNKING",
    "S: 250 2.1.0 Sender OK",
    "S: 250 2.1.5 Recipient OK",
]
BEGIN = "* begin ESMTP <x@b.example> -> radiology@klinik-a.example"
GO = "S: 354 End data with <CR><LF>.<CR><LF>"
STORED = "S: 250 2.0.0 Mail is stored"
BARE = ["S: 521 5.5.2 Bare CR or LF refused, closing connection", "* close and drain"]


def after_start(*inputs: bytes, config: SessionConfig = CONFIG, answers: Answers | None = None) -> list[str]:
    lines = play([START, *inputs], config, answers=answers)
    assert lines[: len(STARTED)] == STARTED
    return lines[len(STARTED) :]


def test_a_mail_by_data_is_stored_before_250() -> None:
    """RFC 5321 3.3, 4.2.1, 6.1."""
    assert after_start(b"DATA\r\n", b"Subject: x\r\n\r\nhi\r\n..dot\r\n.\r\n", b"QUIT\r\n") == [
        BEGIN,
        GO,
        r"* content Subject: x\r\n\r\nhi\r\n.dot\r\n",
        "* commit",
        STORED,
        "S: 221 2.0.0 Closing connection",
        "* close",
    ]


def test_byte_by_byte_is_the_same_as_at_once() -> None:
    text = START + b"DATA\r\n..\r\nxx\r\n.\r\nNOOP\r\nQUIT\r\n"
    at_once = play([text], CONFIG)
    assert at_once == play([bytes([byte]) for byte in text], CONFIG)
    assert r"* content .\r\nxx\r\n" in at_once


def test_pipelined_commands_and_two_mails() -> None:
    """RFC 2920 3.2."""
    mail = b"MAIL FROM:<>\r\nRCPT TO:<neuro@klinik-a.example>\r\nDATA\r\n"
    assert after_start(b"DATA\r\n", b"a\r\n.\r\n" + mail, b".\r\n") == [
        BEGIN,
        GO,
        r"* content a\r\n",
        "* commit",
        STORED,
        "S: 250 2.1.0 Sender OK",
        "S: 250 2.1.5 Recipient OK",
        "* begin ESMTP <> -> neuro@klinik-a.example",
        GO,
        "* commit",
        STORED,
    ]


def test_a_mail_by_chunks_keeps_dots_and_crlf_across_chunks() -> None:
    """RFC 3030 2."""
    assert after_start(b"BDAT 4\r\n.\r\n\r", b"BDAT 5\r\n\n.\r\n.", b"BDAT 2 LAST\r\n\r\n") == [
        BEGIN,
        r"* content .\r\n",
        "S: 250 2.0.0 4 octets received",
        r"* content \r\n.\r\n.",
        "S: 250 2.0.0 5 octets received",
        r"* content \r\n",
        "* commit",
        STORED,
    ]


def test_an_empty_last_chunk_ends_the_mail() -> None:
    assert after_start(b"BDAT 3\r\na\r\nBDAT 0 LAST\r\n") == [
        BEGIN,
        r"* content a\r\n",
        "S: 250 2.0.0 3 octets received",
        "* commit",
        STORED,
    ]


@pytest.mark.parametrize(
    "end",
    [b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\r", b"\n.\r", b"\r\n\x00.\n"],
)
def test_invariant_smuggling_is_refused_and_ends_the_session(end: bytes) -> None:
    """RFC 5321 2.3.8, 4.1.1.4."""
    smuggled = b"MAIL FROM:<ceo@klinik-a.example>\r\nRCPT TO:<neuro@klinik-a.example>\r\nDATA\r\n"
    lines = after_start(b"DATA\r\n", b"Subject: x\r\n\r\nhello" + end + smuggled)
    assert lines[:2] == [BEGIN, GO]
    assert lines[-3:] == ["* abort", *BARE]
    assert "* commit" not in lines
    assert not any("ceo" in line for line in lines if line.startswith("* begin"))


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n"])
def test_smuggling_byte_by_byte(end: bytes) -> None:
    text = b"hello" + end + b"MAIL FROM:<ceo@klinik-a.example>\r\n.\r\n"
    lines = after_start(b"DATA\r\n", *(bytes([byte]) for byte in text))
    assert lines[-3:] == ["* abort", *BARE]


@pytest.mark.parametrize(
    "chunks",
    [b"BDAT 3 LAST\r\na\nb", b"BDAT 3 LAST\r\na\rb", b"BDAT 2 LAST\r\na\r", b"BDAT 2\r\na\rBDAT 1\r\nx"],
)
def test_bare_line_ends_in_chunks_are_refused(chunks: bytes) -> None:
    lines = after_start(chunks)
    assert lines[-3:] == ["* abort", *BARE]
    assert "* commit" not in lines


@pytest.mark.parametrize("line", [b"EHLO x\n", b"EHLO\rx\r\n", b"\n", b"NOOP\r\r\n", b"NOOP \rQUIT"])
def test_bare_line_ends_in_commands_are_refused(line: bytes) -> None:
    """RFC 5321 2.3.8."""
    assert play([line, b"NOOP\r\n"], CONFIG) == [BANNER, *BARE]


@pytest.mark.parametrize(
    ("address", "reply"),
    [
        ("someone@elsewhere.example", "550 5.7.1 Relaying denied"),
        ("nobody@klinik-a.example", "550 5.1.1 No such recipient here"),
        ("radiology%elsewhere.example@klinik-a.example", "550 5.1.1 No such recipient here"),
        ("@klinik-a.example:someone@elsewhere.example", "550 5.7.1 Relaying denied"),
        ('"radiology@klinik-a.example"@elsewhere.example', "550 5.7.1 Relaying denied"),
        ("elsewhere.example!radiology@klinik-a.example", "550 5.1.1 No such recipient here"),
        ("radiology@[127.0.0.1]", "550 5.7.1 Relaying denied"),
        (
            "radiology@klinik-a.example@elsewhere.example",
            "501 5.5.4 Syntax: the address is not in the grammar",
        ),
        ("postmaster", "550 5.7.1 Relaying denied"),
        ("", "550 5.7.1 Relaying denied"),
    ],
)
def test_invariant_nothing_is_relayed(address: str, reply: str) -> None:
    """RFC 5321 3.6.2."""
    lines = after_start(b"RSET\r\nMAIL FROM:<x@b.example>\r\n", f"RCPT TO:<{address}>\r\nDATA\r\n".encode())
    assert lines[2:] == [f"S: {reply}", "S: 503 5.5.1 Bad sequence of commands"]


@pytest.mark.parametrize("address", ["postmaster", "PostMaster", "Postmaster@klinik-a.example"])
def test_the_postmaster_can_be_reached_where_it_is_ours(address: str) -> None:
    """RFC 5321 4.5.1."""
    ours = replace(CONFIG, is_ours=frozenset({"postmaster", "postmaster@klinik-a.example"}).__contains__)
    lines = play([f"EHLO b\r\nMAIL FROM:<>\r\nRCPT TO:<{address}>\r\n".encode()], ours)
    assert lines[-1] == "S: 250 2.1.5 Recipient OK"
    lines = play([b"EHLO b\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster@else.example>\r\n"], ours)
    assert lines[-1] == "S: 550 5.7.1 Relaying denied"


def test_own_addresses_in_any_case_and_with_a_source_route() -> None:
    """RFC 5321 2.4, C."""
    lines = after_start(b"RCPT TO:<@gate.example:Neuro@KLINIK-A.example> NOTIFY=NEVER ORCPT=rfc822;n@x\r\n")
    assert lines == ["S: 250 2.1.5 Recipient OK"]


def test_what_is_pipelined_behind_starttls_is_dropped() -> None:
    """RFC 3207 4.2."""
    config = replace(CONFIG, offer_starttls=True)
    injected = (
        b"EHLO evil.example\r\nSTARTTLS\r\nMAIL FROM:<evil@b.example>\r\nRCPT TO:<neuro@klinik-a.example>\r\n"
    )
    lines = play([injected, b"MAIL FROM:<x@b.example>\r\n", b"EHLO b.example\r\nSTARTTLS\r\n"], config)
    assert lines == [
        BANNER,
        *STARTED[1:6],
        "S: 250-CHUNKING",
        "S: 250 STARTTLS",
        "S: 220 2.0.0 Ready to start TLS",
        "* starttls",
        "S: 503 5.5.1 Bad sequence of commands",
        *STARTED[1:7],
        "S: 503 5.5.1 STARTTLS is not available now",
    ]


def test_where_tls_is_required_no_mail_is_taken_in_clear() -> None:
    """RFC 3207 4."""
    config = replace(CONFIG, offer_starttls=True, require_tls=True)
    lines = play([b"EHLO b.example\r\nMAIL FROM:<x@b.example>\r\n", b"STARTTLS\r\n", START], config)
    assert lines[8] == "S: 530 5.7.0 Must issue a STARTTLS command first"
    assert lines[-2:] == STARTED[-2:]


def test_tls_is_named_in_the_protocol() -> None:
    """RFC 3848."""
    config = replace(CONFIG, offer_starttls=True)
    lines = play([b"STARTTLS\r\n", START, b"DATA\r\n"], config)
    assert "* begin ESMTPS <x@b.example> -> radiology@klinik-a.example" in lines


def test_helo_is_plain_smtp() -> None:
    """RFC 5321 4.1.1.1."""
    lines = play([START.replace(b"EHLO", b"HELO"), b"DATA\r\n"], CONFIG)
    assert lines == [
        BANNER,
        "S: 250 mail.klinik-a.example",
        "S: 250 2.1.0 Sender OK",
        "S: 250 2.1.5 Recipient OK",
        "* begin SMTP <x@b.example> -> radiology@klinik-a.example",
        GO,
    ]


def test_size_too_large_is_refused_at_mail() -> None:
    """RFC 1870 6.1."""
    lines = after_start(b"RSET\r\nMAIL FROM:<x@b.example> SIZE=1001\r\nMAIL FROM:<x@b.example> SIZE=1000\r\n")
    assert lines == [
        "S: 250 2.0.0 OK",
        "S: 552 5.3.4 Message is larger than announced by SIZE",
        "* admit 1000",
        "S: 250 2.1.0 Sender OK",
    ]


def test_oversized_content_is_read_to_its_end_and_refused() -> None:
    """RFC 1870 6.3."""
    lines = after_start(b"DATA\r\n", b"x" * 600, b"x" * 600, b"\r\n.\r\nNOOP\r\n")
    assert lines[3:] == [
        "* abort",
        "S: 552 5.3.4 Message is larger than announced by SIZE",
        "S: 250 2.0.0 OK",
    ]


def test_content_without_end_is_cut_off() -> None:
    lines = after_start(b"DATA\r\n", *([b"x" * 65536] * 20))
    assert lines[-2:] == ["S: 552 5.3.4 Message is larger than announced by SIZE", "* close and drain"]
    assert lines.count("* abort") == 1


def test_oversized_chunks_are_read_and_refused_until_rset() -> None:
    lines = after_start(
        b"BDAT 1200\r\n" + b"x" * 1200, b"BDAT 2 LAST\r\n\r\n", b"RSET\r\nBDAT 2\r\n\r\nNOOP\r\n"
    )
    too_big = "S: 552 5.3.4 Message is larger than announced by SIZE"
    assert lines == [
        BEGIN,
        "* abort",
        too_big,
        too_big,
        "S: 250 2.0.0 OK",
        "S: 503 5.5.1 Bad sequence of commands",
        "S: 250 2.0.0 OK",
    ]


def test_a_huge_chunk_is_not_even_read() -> None:
    assert after_start(b"BDAT 99999999999999 LAST\r\nxxxx")[-2:] == [
        "S: 552 5.3.4 Message is larger than announced by SIZE",
        "* close and drain",
    ]


@pytest.mark.parametrize(
    "argument", [b"", b" x", b" -1", b" 1 FIRST", b" 1 LAST x", b" 999999999999999999999"]
)
def test_a_chunk_of_unknown_size_ends_the_session(argument: bytes) -> None:
    lines = after_start(b"BDAT" + argument + b"\r\nQUIT\r\n")
    assert lines[-2].startswith("S: 501 5.5.4 Syntax: ")
    assert lines[-1] == "* close and drain"


def test_no_room_at_mail_is_452() -> None:
    full = Reply(452, "4.3.1", "Insufficient system storage, try again later")
    lines = play([START, b"DATA\r\n"], CONFIG, answers=Answers(admit=full))
    assert lines[7:] == [
        "S: 452 4.3.1 Insufficient system storage, try again later",
        "S: 503 5.5.1 Bad sequence of commands",
        "S: 503 5.5.1 Bad sequence of commands",
    ]


def test_no_room_at_data_and_at_the_first_chunk_is_452() -> None:
    full = Reply(452, "4.3.1", "Insufficient system storage, try again later")
    assert after_start(b"DATA\r\nNOOP\r\n", answers=Answers(begin=full)) == [
        BEGIN,
        "S: 452 4.3.1 Insufficient system storage, try again later",
        "S: 250 2.0.0 OK",
    ]
    assert after_start(b"BDAT 3\r\na\r\nBDAT 0 LAST\r\n", answers=Answers(begin=full)) == [
        BEGIN,
        "S: 452 4.3.1 Insufficient system storage, try again later",
        "S: 452 4.3.1 Insufficient system storage, try again later",
    ]


def test_disk_full_in_the_middle_is_452_after_the_end() -> None:
    full = Reply(452, "4.3.1", "Insufficient system storage, try again later")
    lines = after_start(b"DATA\r\n", b"a\r\nb", b"c\r\n.\r\n", answers=Answers(write=full))
    assert lines[2:] == [
        r"* content a\r\nb",
        "* abort",
        "S: 452 4.3.1 Insufficient system storage, try again later",
    ]


def test_invariant_1_a_failed_commit_is_never_a_yes() -> None:
    fault = Reply(451, "4.3.0", "Local error, try again later")
    lines = after_start(b"DATA\r\n", b"a\r\n.\r\n", answers=Answers(commit=fault))
    assert lines[-2:] == ["* commit", "S: 451 4.3.0 Local error, try again later"]


@pytest.mark.parametrize("content", [b"DATA\r\nabc\r\n", b"BDAT 10 LAST\r\nabc", b"BDAT 3\r\nabc"])
def test_a_peer_that_is_gone_in_the_middle_leaves_nothing(content: bytes) -> None:
    lines = play([START, content], CONFIG, ended=True)
    assert lines[-2:] == ["* abort", "* close"]
    assert "* commit" not in lines


def test_rset_quit_and_ehlo_throw_an_open_mail_away() -> None:
    """RFC 5321 4.1.1.5."""
    for command in (b"RSET", b"QUIT", b"EHLO b.example"):
        lines = after_start(b"BDAT 3\r\na\r\n", command + b"\r\n")
        assert lines.count("* abort") == 1
        assert "* commit" not in lines


def test_lmtp_answers_for_every_recipient() -> None:
    """RFC 2033 4.2."""
    start = (
        START.replace(b"EHLO", b"LHLO")
        + b"RCPT TO:<no@klinik-a.example>\r\nRCPT TO:<neuro@klinik-a.example>\r\n"
    )
    lines = play([start, b"DATA\r\n", b"a\r\n.\r\n"], LMTP)
    assert lines[7:] == [
        "S: 250 2.1.0 Sender OK",
        "S: 250 2.1.5 Recipient OK",
        "S: 550 5.1.1 No such recipient here",
        "S: 250 2.1.5 Recipient OK",
        "* begin LMTP <x@b.example> -> radiology@klinik-a.example, neuro@klinik-a.example",
        GO,
        r"* content a\r\n",
        "* commit",
        STORED,
        STORED,
    ]


def test_lmtp_has_its_own_greeting() -> None:
    """RFC 2033 4.1."""
    assert play([b"EHLO b.example\r\nHELO b.example\r\n"], LMTP) == [
        "S: 220 mail.klinik-a.example LMTP ready",
        "S: 500 5.5.1 LHLO is the greeting here",
        "S: 500 5.5.1 LHLO is the greeting here",
    ]
    assert play([b"LHLO b.example\r\n"], CONFIG)[1:] == ["S: 500 5.5.1 EHLO is the greeting here"]


def test_lmtp_without_a_good_recipient_refuses_data() -> None:
    lines = play([b"LHLO b.example\r\nMAIL FROM:<>\r\nRCPT TO:<no@klinik-a.example>\r\nDATA\r\n"], LMTP)
    assert lines[-1] == "S: 503 5.5.1 Bad sequence of commands"


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("VRFY radiology", "252 2.5.0 Cannot VRFY user, but will take mail for our own addresses"),
        ("VRFY", "501 5.5.4 Syntax: expected an address"),
        ("EXPN list", "502 5.5.1 Command not implemented"),
        ("AUTH PLAIN AGEAYg==", "502 5.5.1 Command not implemented"),
        ("HELP", "214 2.0.0 See RFC 5321"),
        ("NOOP whatever", "250 2.0.0 OK"),
        ("RSET", "250 2.0.0 OK"),
        ("XYZZY", "500 5.5.1 Command not recognised"),
        ("", "500 5.5.1 Command not recognised"),
        ("NOOP \0", "500 5.5.1 Command not recognised"),
        ("STARTTLS", "503 5.5.1 STARTTLS is not available now"),
        ("EHLO", "501 5.5.4 Syntax: expected a domain name or an address literal"),
        ("EHLO a b", "501 5.5.4 Syntax: expected a domain name or an address literal"),
        ("EHLO x(\u00fc)", "500 5.5.2 Commands are ASCII"),
        ("MAIL FROM:<x@b.example>", "503 5.5.1 Bad sequence of commands"),
        ("RCPT TO:<radiology@klinik-a.example>", "503 5.5.1 Bad sequence of commands"),
        ("DATA", "503 5.5.1 Bad sequence of commands"),
    ],
)
def test_single_commands_before_a_greeting(command: str, reply: str) -> None:
    """RFC 5321 4.1.4, 7.3."""
    assert play([command.encode() + b"\r\n"], CONFIG) == [BANNER, f"S: {reply}"]


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("FROM:<x@b.example> SMTPUTF8", "555 5.5.4 Parameter not implemented"),
        ("FROM:<x@b.example> BODY=BINARYMIME", "555 5.5.4 BODY type not implemented"),
        ("FROM:<x@b.example> SIZE=x", "501 5.5.4 Syntax: expected a number"),
        ("FROM:<x@b.example> SIZE=1 SIZE=2", "501 5.5.4 Syntax: a parameter is not in the grammar"),
        ("FROM:x@b.example", "501 5.5.4 Syntax: the address is not in the grammar"),
        ("TO:<x@b.example>", "501 5.5.4 Syntax: expected FROM:<address>"),
        ("FROM:<" + "x" * 65 + "@b.example>", "501 5.5.4 Syntax: the address is too long"),
        ("FROM:<x@" + "b" * 250 + ".example>", "501 5.5.4 Syntax: the address is too long"),
        ("FROM: <x@b.example> BODY=8bitmime RET=HDRS ENVID=q1", "250 2.1.0 Sender OK"),
        ('FROM:<"x y"@b.example>', "250 2.1.0 Sender OK"),
        ("FROM:<>", "250 2.1.0 Sender OK"),
    ],
)
def test_the_argument_of_mail(argument: str, reply: str) -> None:
    """RFC 5321 4.1, 4.5.3.1.1, 4.5.3.1.3; RFC 6152 3."""
    lines = play([b"EHLO [192.0.2.1]\r\n", f"MAIL {argument}\r\n".encode()], CONFIG)
    assert lines[-1] == f"S: {reply}"


def test_too_many_errors_commands_and_long_lines_end_the_session() -> None:
    """RFC 5321 4.5.3.1.4."""
    few = replace(CONFIG, limits=Limits(errors=3, commands=5, line=20))
    assert play([b"X\r\n" * 10], few)[-2:] == [
        "S: 421 4.7.0 Too many errors, closing connection",
        "* close and drain",
    ]
    assert play([b"NOOP\r\n" * 10], few)[-2:] == [
        "S: 421 4.7.0 Too many commands, closing connection",
        "* close and drain",
    ]
    for line in (b"NOOP " + b"x" * 30, b"NOOP " + b"x" * 30 + b"\r\n"):
        assert play([line], few)[-2:] == [
            "S: 500 5.5.2 Line too long, closing connection",
            "* close and drain",
        ]


def test_too_many_recipients_get_452() -> None:
    """RFC 5321 4.5.3.1.8."""
    config = replace(CONFIG, limits=Limits(message_size=1000, recipients=1))
    lines = after_start(b"RCPT TO:<neuro@klinik-a.example>\r\n", config=config)
    assert lines == ["S: 452 4.5.3 Too many recipients"]


def test_a_browser_is_sent_away_at_once() -> None:
    lines = play([b"POST / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<x@b.example>\r\n"], CONFIG)
    assert lines == [BANNER, "S: 521 5.7.0 This is a mail server, closing connection", "* close and drain"]
