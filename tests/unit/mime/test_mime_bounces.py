"""Bounces in free text, as mail servers of many makers write them: whom, why, and which mail."""

from dataclasses import dataclass

import pytest

from radpost.mime.dsn import BounceClass, parse_dsn
from radpost.mime.reader import parse

TO = "dicom@klinik-b.example"
OURS = "<abc123@klinik-a.example>"
HEADER = f"From: dicom@klinik-a.example\nTo: {TO}\nMessage-ID: {OURS}\nSubject: DICOM-eMail\n"
COPY = HEADER + "Content-Type: text/plain\n\nFrom: nobody@elsewhere.example\n"


@dataclass(frozen=True)
class Bounce:
    """One maker's text, and what is to be understood."""

    maker: str
    sender: str
    subject: str
    text: str
    kind: BounceClass
    has_id: bool
    headers: str = ""

    def mail(self) -> bytes:
        head = f"Return-Path: <>\nFrom: {self.sender}\nTo: dicom@klinik-a.example\nSubject: {self.subject}\n"
        return (head + self.headers + "\n" + self.text).replace("\n", "\r\n").encode()


SORRY = (
    "I'm afraid I wasn't able to deliver your message to the following addresses.\n"
    "This is a permanent error; I've given up. Sorry it didn't work out.\n\n"
)
BOUNCES = [
    Bounce(
        "qmail",
        "MAILER-DAEMON@mx.example",
        "failure notice",
        f"Hi. This is the qmail-send program at mx.example.\n{SORRY}<{TO}>:\n"
        f"The recipient's mailbox is full.\n\n--- Below this line is a copy of the message.\n\n"
        f"Return-Path: <dicom@klinik-a.example>\n{COPY}",
        BounceClass.MAILBOX_FULL,
        has_id=True,
    ),
    Bounce(
        "qmail, cut off",
        "MAILER-DAEMON@mx.example",
        "failure notice",
        f"Hi. This is the qmail-send program at mx.example.\n{SORRY}<{TO}>:\n"
        f"Sorry, no mailbox here by that name. (#5.1.1)\n\n"
        f"--- Below this line is a copy of the message (truncated).\n\n{COPY}",
        BounceClass.UNKNOWN_ADDRESS,
        has_id=True,
    ),
    Bounce(
        "sendmail 5",
        "Mail Delivery Subsystem <MAILER-DAEMON@mx.example>",
        "Returned mail: User unknown",
        f"   ----- Transcript of session follows -----\nWhile talking to mx.klinik-b.example:\n"
        f">>> RCPT To:<{TO}>\n<<< 550 5.1.1 <{TO}>... User unknown\n550 <{TO}>... User unknown\n\n"
        f"   ----- Unsent message follows -----\n{COPY}",
        BounceClass.UNKNOWN_ADDRESS,
        has_id=True,
    ),
    Bounce(
        "sendmail 8 without MIME",
        "Mail Delivery Subsystem <MAILER-DAEMON@mx.example>",
        "Returned mail: Service unavailable",
        f"   ----- The following addresses had permanent fatal errors -----\n<{TO}>\n\n"
        "   ----- Transcript of session follows -----\n>>> DATA\n<<< 552 Message size exceeds fixed limit\n"
        f"554 <{TO}>... Service unavailable\n\n   ----- Original message follows -----\n\n{COPY}",
        BounceClass.TOO_LARGE,
        has_id=True,
    ),
    Bounce(
        "Exim, delayed",
        "Mail Delivery System <Mailer-Daemon@mx.example>",
        "Warning: message 1P1-0002 delayed 24 hours",
        "A message that you sent has not yet been delivered to one or more of its\n"
        "recipients after more than 24 hours on the queue on mx.example.\n\n"
        f"The address to which the message has not yet been delivered is:\n\n  {TO}\n\n"
        "No action is required on your part. Delivery attempts will continue for\nsome time.\n",
        BounceClass.DELAYED,
        has_id=False,
    ),
    Bounce(
        "a German provider",
        "Provider Mailer Daemon <mailer-daemon@mx.example>",
        "Mail delivery failed: returning message to sender",
        "A message that you sent could not be delivered to one or more of\nits recipients. This is a "
        f'permanent error. The following address\nfailed:\n\n"{TO}":\n'
        f"SMTP error from remote server after RCPT command:\nhost: mx.klinik-b.example\n"
        f"5.1.1 <{TO}> User unknown\n\n"
        f"--- The header of the original message is following. ---\n\n{HEADER}",
        BounceClass.UNKNOWN_ADDRESS,
        has_id=True,
    ),
    Bounce(
        "Domino",
        "Postmaster@klinik-b.example",
        f"DELIVERY FAILURE: User dicom ({TO}) not listed in Domino Directory",
        f"Your message\n\n  Subject: DICOM-eMail\n\nwas not delivered to:\n\n  {TO}\n\nbecause:\n\n"
        f"  User dicom ({TO}) not listed in Domino Directory\n",
        BounceClass.UNKNOWN_ADDRESS,
        has_id=False,
    ),
    Bounce(
        "a large provider, in text",
        "Mail Delivery Subsystem <mailer-daemon@mx.example>",
        "Delivery Status Notification (Failure)",
        f"Delivery to the following recipient failed permanently:\n\n     {TO}\n\n"
        "Technical details of permanent failure:\n"
        "The error that the other server returned was: 552 5.2.2 mailbox full (state 14).\n\n"
        f"----- Original message -----\n\n{COPY}",
        BounceClass.MAILBOX_FULL,
        has_id=True,
    ),
    Bounce(
        "Exchange, German",
        "Systemadministrator <postmaster@klinik-b.example>",
        "Unzustellbar: DICOM-eMail",
        f"Folgende(r) Empfänger kann/können nicht erreicht werden:\n\n      {TO} am 01.01.2024 00:00\n"
        "            Das Postfach des Empfängers ist voll.\n            <mx.klinik-b.example #5.2.2>\n",
        BounceClass.MAILBOX_FULL,
        has_id=True,
        headers=f"In-Reply-To: {OURS}\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n",
    ),
    Bounce(
        "Exchange of today, German",
        "Microsoft Outlook <postmaster@klinik-b.example>",
        "Nicht zustellbar: DICOM-eMail",
        f"Ihre Nachricht an {TO} konnte nicht zugestellt werden.\nDas Postfach von dicom ist voll.\n",
        BounceClass.MAILBOX_FULL,
        has_id=True,
        headers=f"References: <other@x.example> {OURS}\nContent-Type: text/plain; charset=utf-8\n",
    ),
    Bounce(
        "GroupWise",
        "Mailer-Daemon@klinik-b.example",
        "Message status - undeliverable",
        f"The attached file had the following undeliverable recipient(s):\n    {TO}\n",
        BounceClass.OTHER,
        has_id=False,
    ),
    Bounce(
        "James",
        "Mail Delivery System <postmaster@klinik-b.example>",
        "Unable to deliver",
        f"Hi. This is the James mail server at mx.\n{SORRY}Failed recipient(s):\n{TO}\n\n"
        "Error message:\n550 5.1.1 unknown user\n",
        BounceClass.UNKNOWN_ADDRESS,
        has_id=False,
    ),
    Bounce(
        "hMailServer",
        "mailer-daemon@mx.example",
        "Message undeliverable: DICOM-eMail",
        f"The following recipient(s) could not be reached:\n\n{TO}\n   Error Type: SMTP\n"
        "   Remote server replied: 552 5.3.4 Message size exceeds fixed maximum message size\n",
        BounceClass.TOO_LARGE,
        has_id=False,
    ),
    Bounce(
        "MDaemon",
        "MDaemon at mx.example <MDaemon@mx.example>",
        "Permanent Delivery Failure",
        f"The attached message had PERMANENT fatal delivery errors!\n\nFailed address: {TO}\n\n"
        f"--- Session Transcript ---\n <-- 550 <{TO}>, Recipient unknown\n",
        BounceClass.UNKNOWN_ADDRESS,
        has_id=False,
    ),
    Bounce(
        "MailEnable",
        "postmaster@mx.example",
        "Message Delivery Failure",
        f"The following recipient(s) could not be reached:\n\nRecipient: [SMTP:{TO}]\n"
        f"Reason: Mailbox full\n\nMessage headers follow:\n\n{HEADER}",
        BounceClass.MAILBOX_FULL,
        has_id=True,
    ),
    Bounce(
        "a server of few words",
        "postmaster@mx.example",
        "Undeliverable mail",
        f"Your message could not be delivered to:\n\n<{TO}>\n\n552 5.2.2 over quota\n",
        BounceClass.MAILBOX_FULL,
        has_id=False,
    ),
]


@pytest.mark.parametrize("bounce", BOUNCES, ids=lambda one: one.maker)
def test_who_why_and_which_mail(bounce: Bounce) -> None:
    mail = bounce.mail()
    found = parse_dsn(parse(mail), mail)
    assert found is not None
    assert [item.address for item in found.recipients] == [TO]
    assert found.kind is bounce.kind
    assert found.original_message_id == (OURS if bounce.has_id else None)
    assert not found.is_success


def test_a_bounce_that_names_nobody_is_still_classed_by_its_words() -> None:
    mail = b"From: postmaster@mx.example\r\nSubject: Undeliverable\r\n\r\nThe mailbox is full.\r\n"
    found = parse_dsn(parse(mail), mail)
    assert found is not None
    assert [(item.address, item.kind) for item in found.recipients] == [(None, BounceClass.MAILBOX_FULL)]
