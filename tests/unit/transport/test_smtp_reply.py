"""Replies of SMTP servers and what they mean."""

import pytest

from radpost.errors import (
    ADDRESS_UNKNOWN,
    MAIL_REFUSED,
    MAIL_REFUSED_TEMPORARILY,
    MAIL_TOO_LARGE,
    MAILBOX_FULL,
    Reason,
)
from radpost.transport.smtp import xtext
from radpost.transport.smtp_reply import (
    Features,
    Kind,
    Reply,
    Stage,
    judge,
    make_reply,
    parse_features,
    parse_line,
)


def reply(text: str) -> Reply:
    code, _, words = parse_line(text.encode())
    return make_reply(code, [words])


@pytest.mark.parametrize(
    ("text", "stage", "kind", "reason"),
    [
        ("552 5.3.4 Message too big for system", Stage.END, Kind.TOO_LARGE, MAIL_TOO_LARGE),
        ("550 5.2.3 message size exceeds limit", Stage.RCPT, Kind.TOO_LARGE, MAIL_TOO_LARGE),
        ("552 Message size exceeds fixed limit", Stage.MAIL, Kind.TOO_LARGE, MAIL_TOO_LARGE),
        ("552 Quota exceeded (mailbox for user is full)", Stage.END, Kind.REFUSED, MAILBOX_FULL),
        ("552 exceeded storage allocation", Stage.RCPT, Kind.TOO_LARGE, MAIL_TOO_LARGE),
        ("552 user over storage", Stage.RCPT, Kind.REFUSED, MAILBOX_FULL),
        ("552 5.2.2 Mailbox full", Stage.RCPT, Kind.REFUSED, MAILBOX_FULL),
        ("452 4.2.2 Mailbox full", Stage.END, Kind.DEFERRED, MAILBOX_FULL),
        ("452 4.3.1 Insufficient system storage", Stage.MAIL, Kind.DEFERRED, MAIL_REFUSED_TEMPORARILY),
        ("452 Insufficient system storage", Stage.RCPT, Kind.DEFERRED, MAIL_REFUSED_TEMPORARILY),
        ("450 4.7.1 greylisted", Stage.RCPT, Kind.DEFERRED, MAIL_REFUSED_TEMPORARILY),
        ("550 5.1.1 <x>: user unknown", Stage.RCPT, Kind.REFUSED, ADDRESS_UNKNOWN),
        ("550 No such user here", Stage.RCPT, Kind.REFUSED, ADDRESS_UNKNOWN),
        ("550 5.7.1 Relaying denied", Stage.RCPT, Kind.REFUSED, MAIL_REFUSED),
        ("550 relaying denied", Stage.RCPT, Kind.REFUSED, MAIL_REFUSED),
        ("554 5.6.0 virus", Stage.END, Kind.REFUSED, MAIL_REFUSED),
    ],
)
def test_judgement(text: str, stage: Stage, kind: Kind, reason: Reason) -> None:
    """RFC 5321 4.2, RFC 3463 2."""
    outcome = judge(reply(text), stage)
    assert (outcome.kind, outcome.reason) == (kind, reason)


@pytest.mark.parametrize(
    ("text", "stage", "refused"),
    [
        ("550 5.7.1 no", Stage.MAIL, True),
        ("553 5.7.1 <>: Sender address rejected: not owned by user", Stage.RCPT, True),
        ("550 5.7.60 SMTP; Client does not have permissions to send as this sender", Stage.END, True),
        ("550 5.1.1 unknown user", Stage.RCPT, False),
    ],
)
def test_null_sender(text: str, stage: Stage, refused: bool) -> None:
    assert judge(reply(text), stage, null_sender=True).null_sender_refused is refused
    assert not judge(reply(text), stage).null_sender_refused


def test_enhanced_codes_stand_on_every_line() -> None:
    """RFC 2034 4."""
    found = make_reply(550, ["5.7.1 one", "5.7.1 two"])
    assert (found.enhanced, found.text) == ("5.7.1", "one two")
    assert make_reply(250, ["5.7.1 contradicts the code"]).enhanced is None
    assert str(make_reply(250, [""])) == "250"


def test_features() -> None:
    """RFC 5321 4.1.1.1, RFC 1870 3."""
    lines = [
        "mail",
        "size 1000",
        "AUTH=LOGIN",
        "AUTH PLAIN XOAUTH2",
        "8BITMIME",
        "",
        "starttls",
        "CHUNKING",
        "DSN",
    ]
    assert parse_features(make_reply(250, lines)) == Features(
        chunking=True,
        dsn=True,
        starttls=True,
        size=1000,
        size_known=True,
        auth=frozenset({"LOGIN", "PLAIN", "XOAUTH2"}),
    )
    assert parse_features(make_reply(250, ["mail", "SIZE 0"])) == Features(size_known=True)
    assert parse_features(make_reply(250, ["mail", "SIZE nonsense"])) == Features(size_known=True)


def test_xtext() -> None:
    """RFC 3461 4."""
    assert xtext("a+b=c d") == "a+2Bb+3Dc+20d"
