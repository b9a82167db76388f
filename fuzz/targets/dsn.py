"""Bounces: machine-readable ones and free text, read from any mail without more cost than its size."""

from fuzz.mutation import mail_mutator
from fuzz.seeds import BOUNCE, FREE_BOUNCE, MAILS, reference_mails
from fuzz.target import Target
from radpost.errors import RadpostError
from radpost.mime.dsn import _MAX_RECIPIENTS as MAX_RECIPIENTS
from radpost.mime.dsn import BounceClass, parse_dsn
from radpost.mime.reader import parse

WORDS = (
    b"X-Failed-Recipients: a@b, c@d,, ,",
    b"Return-Path: <>",
    b"Subject: Unzustellbar: x",
    b"Subject: Delivery Status Notification (Failure)",
    b"Reporting-MTA: dns; d.example",
    b"Original-Envelope-Id: e",
    b"Final-Recipient: rfc822; a@b",
    b"Original-Recipient: rfc822;a@b",
    b"Action: failed",
    b"Action: delayed (x)",
    b"Status: 5.2.2 (full)",
    b"Status: 4.999.999",
    b"Diagnostic-Code: smtp; 550 5.1.1 User unknown",
    b"X-Original-Message-ID: <1@b>",
    b"Content-Type: text/rfc822-headers",
    b"Content-Type: message/global-delivery-status",
    b"-------- Original Message --------",
    b"------ This is a copy of the message, including all the headers. ------",
    b"The following address(es) failed:",
    b"Ihre Nachricht an die folgenden Empfaenger wurde nicht zugestellt",
    b"a@b.example",
    b"mailbox is full",
    b"message size exceeds",
    b"Message-ID:",
    b" <1@b.example>",
)


def check(data: bytes) -> None:
    """Read a bounce."""
    try:
        root = parse(data)
    except RadpostError:
        return
    found = parse_dsn(root, data)
    assert found == parse_dsn(root, memoryview(data))
    if found is None:
        return
    assert isinstance(found.kind, BounceClass)
    assert len(found.recipients) <= MAX_RECIPIENTS
    assert len(set(found.message_ids)) == len(found.message_ids)
    if found.message_ids:
        assert found.original_message_id in found.message_ids
    for recipient in found.recipients:
        assert len(recipient.diagnostic) <= 1000
        assert recipient.status is None or recipient.status[0] in "245"
        assert not (recipient.action == "delayed" and recipient.failed)
        (recipient.address or "").encode("utf-8")


TARGET = Target(
    name="dsn",
    rooms=("radpost.mime",),
    check=check,
    seeds=lambda: (BOUNCE, FREE_BOUNCE, *MAILS, *reference_mails("dsn", "mdn")),
    mutate=mail_mutator(WORDS, MAILS),
)
