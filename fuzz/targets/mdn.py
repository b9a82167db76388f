"""Receipts: read from any mail; an answer to anything that was read can be written, and says the same."""

from fuzz.mutation import mail_mutator
from fuzz.seeds import MAILS, RECEIPT, WHEN, reference_mails
from fuzz.target import Target
from radpost.agit.receipts import ReceiptMail, clear_mail, read_details
from radpost.agit.survey import first_address
from radpost.errors import RadpostError
from radpost.mime.headers import Headers
from radpost.mime.mdn import Disposition, parse_disposition, reported
from radpost.mime.reader import parse
from radpost.mime.report import Mdn, parse_mdn

WORDS = (
    b"Disposition: automatic-action/MDN-sent-automatically;displayed",
    b"Disposition: manual-action/MDN-sent-manually; deleted/error",
    b"Disposition: automatic-action / mdn-sent-automatically ; Processed / Warning , x",
    b"Disposition: (a (b)) displayed;",
    b"Disposition: dispatched",
    b"Original-Message-ID: <1@b.example>",
    b"Original-Message-ID:",
    b" <1@b.example>",
    b"Final-Recipient: rfc822; a@b",
    b"Final-Recipient: RFC822;<a@b>",
    b"Original-Recipient: a@b",
    b"Reporting-UA: x; y",
    b"Error: =?utf-8?Q?=C3=BC?=",
    b"Failure: x",
    b"Warning: x",
    b'{"original_message_id":"<1@b>","objects":[{"position":1,"sha256":"x","state":"imported"}]}',
    b"Message-ID: <a\x0bb@c>",
    b"Message-ID: <a b@c>",
)


def check(data: bytes) -> None:
    """Read a receipt and answer the mail."""
    read_details(data)
    try:
        root = parse(data)
    except RadpostError:
        return
    answered(root.headers)
    try:
        found = parse_mdn(root, data)
    except RadpostError:
        return
    if found is None:
        return
    assert found == parse_mdn(root, memoryview(data))
    assert found.entity in list(reported(root))
    disposition(found.disposition)
    plausible(found)


def disposition(found: Disposition) -> None:
    """A disposition that was understood is written so that it is understood alike."""
    assert found.type == found.type.lower()
    if found.action_mode:
        text = str(found)
        if len(text) < 1000 and text.isascii():
            assert parse_disposition(text) == found, text


def plausible(found: Mdn) -> None:
    """Ids are ids, texts can be written to a log."""
    ident = found.original_message_id
    assert ident is None or (ident.startswith("<") and ident.endswith(">"))
    for text in (*found.remarks, found.final_recipient or "", found.reporting_ua or ""):
        text.encode("utf-8")


def answered(headers: Headers) -> None:
    """Write the receipt for a mail: no field of a stranger makes it fail or adds a field to it."""
    ident = headers.message_id()
    if ident is None:
        return
    first_address(headers, "Disposition-Notification-To")
    mail = clear_mail(
        ReceiptMail(
            sender="c@d.example",
            recipient="a@b.example",
            date=WHEN,
            message_id="<2@d.example>",
            original_message_id=ident,
            disposition="automatic-action/MDN-sent-automatically;displayed",
            reason_en="Yes.",
            reason_de="Ja.",
            failed=False,
            code="",
            boundaries=("=_1", "=_2", "=_3"),
        )
    )
    root = parse(mail)
    assert [field.name for field in root.headers] == NAMES
    found = parse_mdn(root, mail)
    assert found is not None
    assert found.original_message_id is not None
    if ident.isascii() and " " not in ident and "\t" not in ident and "=?" not in ident:
        assert found.original_message_id == ident


NAMES = [field.name for field in parse(RECEIPT).headers]

TARGET = Target(
    name="mdn",
    rooms=("radpost.mime", "radpost.agit.receipts"),
    check=check,
    seeds=lambda: (RECEIPT, *MAILS, *reference_mails("mdn", "agit")),
    mutate=mail_mutator(WORDS, MAILS),
)
