"""Bounces: RFC 3464 and free text, and what they mean."""

import pytest

from radpost.mime.dsn import BounceClass, Dsn, classify, parse_dsn
from radpost.mime.reader import parse


def _dsn(mail: bytes) -> Dsn:
    found = parse_dsn(parse(mail), mail)
    assert found is not None
    return found


def _report(groups: bytes, returned: bytes = b"") -> bytes:
    return (
        b"From: MAILER-DAEMON@x\nContent-Type: multipart/report; boundary=b\n\n--b\n\ntext\n--b\n"
        b"Content-Type: message/delivery-status\n\n" + groups + b"\n" + returned + b"--b--\n"
    )


_GROUPS = (
    b"Reporting-MTA: dns; mx.example.org\nOriginal-Envelope-Id: 2.25.1/3\n\n"
    b"Final-Recipient: rfc822; b@example.org\nAction: failed (bounced)\nStatus: 5.2.2 (full)\n"
    b"Diagnostic-Code: smtp; 552 5.2.2 Over\n quota\n\r\n"
    b"Original-Recipient: rfc822;c@example.org\nFinal-Recipient: c2@example.org\nAction: DELAYED\n"
    b"Status: 4.4.1\n"
)


def test_groups_of_rfc_3464() -> None:
    """RFC 3464 2.2, 2.3, 2.3.3, 2.3.4."""
    found = _dsn(_report(_GROUPS))
    assert (found.rfc3464, found.envid, found.reporting_mta) == (True, "2.25.1/3", "mx.example.org")
    full, delayed = found.recipients
    assert (full.address, full.action, full.status) == ("b@example.org", "failed", "5.2.2")
    assert (full.kind, full.failed) == (BounceClass.MAILBOX_FULL, True)
    assert full.diagnostic == "552 5.2.2 Over quota"
    assert (delayed.address, delayed.original_recipient) == ("c2@example.org", "c@example.org")
    assert (delayed.kind, delayed.failed) == (BounceClass.DELAYED, False)
    assert found.kind is BounceClass.MAILBOX_FULL


@pytest.mark.parametrize("kind", [b"message/rfc822", b"text/rfc822-headers"])
def test_original_message_id_of_the_returned_part(kind: bytes) -> None:
    """RFC 6522 3."""
    returned = b"--b\nContent-Type: " + kind + b"\n\nSubject: x\nMessage-Id: <a@b>\n\nbody\n"
    assert _dsn(_report(_GROUPS, returned)).original_message_id == "<a@b>"


def test_all_ids_are_named_the_innermost_first_choice() -> None:
    inner = b"Content-Type: message/rfc822\nMessage-ID: <outer@b>\n\nMessage-ID: <inner@b>\n\nx\n"
    found = _dsn(_report(_GROUPS, b"--b\nContent-Type: message/rfc822\n\n" + inner))
    assert (found.original_message_id, found.message_ids) == ("<inner@b>", ("<outer@b>", "<inner@b>"))


def test_google_names_the_id_in_the_status_part() -> None:
    found = _dsn(_report(b"X-Original-Message-ID: <a@b>\n\nFinal-Recipient: rfc822;x@y\nAction: failed\n"))
    assert found.original_message_id == "<a@b>"


def test_success_reports_are_no_failures() -> None:
    found = _dsn(
        _report(b"Reporting-MTA: dns;x\n\nFinal-Recipient: rfc822;x@y\nAction: relayed\nStatus: 2.0.0\n")
    )
    assert not found.recipients[0].failed


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        ("5.2.2", "", BounceClass.MAILBOX_FULL),
        ("4.2.2", "", BounceClass.MAILBOX_FULL),
        (None, "452 The mailbox of this user is full", BounceClass.MAILBOX_FULL),
        ("5.0.0", "552 User over quota", BounceClass.MAILBOX_FULL),
        (None, "Das Postfach des Empfängers ist voll", BounceClass.MAILBOX_FULL),
        ("5.3.4", "", BounceClass.TOO_LARGE),
        ("5.2.3", "", BounceClass.TOO_LARGE),
        ("5.0.0", "552 Message size exceeds fixed limit", BounceClass.TOO_LARGE),
        ("5.0.0", "message too large", BounceClass.TOO_LARGE),
        ("5.1.1", "", BounceClass.UNKNOWN_ADDRESS),
        (None, "550 no such user here", BounceClass.UNKNOWN_ADDRESS),
        (None, "Unrouteable address", BounceClass.UNKNOWN_ADDRESS),
        ("5.0.0", "550 #5.1.0 Address rejected.", BounceClass.UNKNOWN_ADDRESS),
        ("5.7.1", "", BounceClass.POLICY),
        (None, "554 blocked using a blacklist", BounceClass.POLICY),
        ("5.0.0", "550 Protocol violation", BounceClass.OTHER),
        (None, "", BounceClass.OTHER),
    ],
)
def test_classes(status: str | None, text: str, kind: BounceClass) -> None:
    """RFC 3463 3."""
    assert classify(status, text) is kind


_EXIM = b"""From: Mail Delivery System <Mailer-Daemon@e1.example.org>
X-Failed-Recipients: b@example.org, c@example.org
Subject: Mail delivery failed: returning message to sender

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  b@example.org
    SMTP error from remote mail server after RCPT TO:<b@example.org>:
    550 5.1.1 User unknown

  c@example.org
    mailbox is full: retry timeout exceeded

------ This is a copy of the message, including all the headers. ------

Message-Id: <ours@example.org>
From: a@example.org

body
"""


def test_free_text_of_exim() -> None:
    found = _dsn(_EXIM)
    assert (found.rfc3464, found.original_message_id) == (False, "<ours@example.org>")
    assert [(item.address, item.kind) for item in found.recipients] == [
        ("b@example.org", BounceClass.UNKNOWN_ADDRESS),
        ("c@example.org", BounceClass.MAILBOX_FULL),
    ]
    assert all(item.failed and item.action is None for item in found.recipients)


def test_free_text_of_exchange_without_copy() -> None:
    mail = (
        b"Return-Path: <>\r\nFrom: System Administrator <postmaster@example.jp>\r\n"
        b"Subject: Undeliverable: DICOM-eMail\r\n\r\nYour message\r\n\r\n  To: b@example.org\r\n\r\n"
        b"did not reach the following recipient(s):\r\n\r\nb@example.org on Thu, 29 Apr 2010\r\n"
        b"    The message size exceeds the maximum\r\n"
    )
    found = _dsn(mail)
    assert [(item.address, item.kind) for item in found.recipients] == [
        ("b@example.org", BounceClass.TOO_LARGE)
    ]
    assert found.original_message_id is None


def test_warning_of_exim_is_a_delay() -> None:
    mail = (
        b"From: Mail Delivery System <Mailer-Daemon@x>\nSubject: Warning: message 1P1 delayed 24 hours\n\n"
        b"A message that you sent has not yet been delivered to one or more of its recipients.\n\n"
        b"The address to which the message has not yet been delivered is:\n\n  b@example.org\n"
        b"    Delay reason: connection timed out\n\nDelivery attempts will continue; it will be retried.\n"
    )
    (recipient,) = _dsn(mail).recipients
    assert (recipient.address, recipient.kind, recipient.failed) == (
        "b@example.org",
        BounceClass.DELAYED,
        False,
    )


@pytest.mark.parametrize(
    "mail",
    [
        b"From: a@b\nSubject: Undeliverable: x\n\nThe following address failed: x@y\n",
        b"Return-Path: <>\nFrom: a@b\nSubject: Out of office\n\nI am away.\n",
        b"From: postmaster@b\nSubject: Maintenance\n\nTonight.\n",
        b"\n",
    ],
)
def test_ordinary_mails_are_no_bounces(mail: bytes) -> None:
    assert parse_dsn(parse(mail), mail) is None


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "text",
    [
        b"recipient" * 30_000,
        b"-" * 250_000,
        b"\n" * 250_000,
        b"a@" * 120_000,
        b"x." * 120_000,
        b"exceed" * 40_000,
    ],
)
def test_inv8_hostile_text_takes_linear_time(text: bytes) -> None:
    _dsn(b"X-Failed-Recipients: q@q\nFrom: mailer-daemon@x\nSubject: Undeliverable\n\n" + text)
    _dsn(b"From: mailer-daemon@x\nSubject: Undeliverable\n\nfollowing address failed\n" + text)


def test_inv8_recipients_without_end_are_cut_off() -> None:
    """As many as the largest list that a server reports on; each is looked at once."""
    groups = b"Reporting-MTA: dns; x\n\n" + b"Final-Recipient: a@b\n\n" * 5000
    assert len(_dsn(_report(groups)).recipients) == 1000
    mail = b"X-Failed-Recipients: " + b"a@b.example," * 20_000 + b"\n\n" + b"mailbox is full\n" * 10_000
    found = _dsn(mail)
    assert len(found.recipients) == 1000
    assert found.kind is BounceClass.MAILBOX_FULL
