"""What a mail is by its structure: receipts, bounces that return whole mails, answers, letters, fragments."""

import pytest

from radpost.agit.survey import MailKind, beginning, is_study_uid, read_set, survey
from radpost.mime.headers import parse_block
from radpost.mime.reader import parse
from radpost.testing.letters import (
    MESSAGE_ID,
    SENDER,
    Correspondents,
    dicom_item,
    letter,
    seal,
    seal_entity,
)

ARMOR = b"-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMAwAAAAAAAAAAAQ==\r\n=abcd\r\n-----END PGP MESSAGE-----\r\n"
ORIGINAL = (
    b"From: radiology@partner.example\r\nTo: gateway@clinic.example\r\nSubject: DICOM-eMail\r\n"
    b"Message-ID: " + MESSAGE_ID.encode() + b"\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary="o"\r\n\r\n'
    b"--o\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
    b"--o\r\nContent-Type: application/octet-stream\r\n\r\n" + ARMOR + b"--o--\r\n"
)
DICOM = bytes(128) + b"DICM" + b"x" * 500
DAEMON = b"From: MAILER-DAEMON@mx.example\r\nSubject: Undelivered Mail Returned to Sender\r\n"
TEXT = b"Content-Type: text/plain\r\n\r\nThe following address failed:\r\n\r\n  a@b.example: mailbox full\r\n"
STATUS = (
    b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n"
    b"Final-Recipient: rfc822; a@b.example\r\nAction: failed\r\nStatus: 5.2.2\r\n"
)
MDN = (
    b"Content-Type: message/disposition-notification\r\n\r\nFinal-Recipient: rfc822; a@b.example\r\n"
    b"Original-Message-ID: " + MESSAGE_ID.encode() + b"\r\n"
    b"Disposition: automatic-action/MDN-sent-automatically;displayed\r\n"
)
RETURNED = b"Content-Type: message/rfc822\r\n\r\n" + ORIGINAL


def multipart(subtype: str, *parts: bytes) -> bytes:
    body = b"".join(b"--zz\r\n" + part + b"\r\n" for part in parts) + b"--zz--\r\n"
    return f'Content-Type: multipart/{subtype}; boundary="zz"\r\n\r\n'.encode() + body


REPORT = "report; report-type=delivery-status"
BOUNCES = {
    "by the book": DAEMON + multipart(REPORT, TEXT, STATUS, RETURNED),
    "as mixed": DAEMON + multipart("mixed", TEXT, STATUS, RETURNED),
    "status beside a text that holds the mail": DAEMON
    + multipart("mixed", TEXT, STATUS, b"Content-Type: text/plain\r\n\r\n" + ORIGINAL),
    "returned as text in the report": DAEMON
    + multipart(REPORT, TEXT, STATUS, b"Content-Type: text/plain\r\n\r\n" + ORIGINAL),
    "Exim": DAEMON
    + b"X-Failed-Recipients: a@b.example\r\nAuto-Submitted: auto-replied\r\n\r\n"
    + b"A message that you sent could not be delivered.\r\n\r\n  a@b.example\r\n    mailbox is full\r\n\r\n"
    + b"------ This is a copy of the message, including all the headers. ------\r\n\r\n"
    + ORIGINAL,
    "qmail": DAEMON
    + b"\r\nHi. This is the qmail-send program.\r\n<a@b.example>:\r\nunknown user\r\n\r\n"
    + b"--- Below this line is a copy of the message.\r\n\r\n"
    + ORIGINAL,
    "free text with an attached mail": DAEMON + multipart("mixed", TEXT, RETURNED),
    "with clear DICOM returned": DAEMON
    + multipart(
        REPORT, TEXT, STATUS, b"Content-Type: message/rfc822\r\n\r\nContent-Type: application/dicom\r\n\r\nx"
    ),
}


@pytest.mark.parametrize("name", list(BOUNCES))
def test_a_bounce_that_returns_the_whole_mail_is_a_bounce(name: str) -> None:
    """RFC 6522 3."""
    outside = survey(BOUNCES[name])
    assert outside.kind is MailKind.BOUNCE
    assert outside.dsn is not None
    if name not in {"status beside a text that holds the mail", "with clear DICOM returned"}:
        assert MESSAGE_ID in outside.dsn.message_ids or "as text" in name


def test_receipts_in_any_wrapping() -> None:
    report = multipart("report; report-type=disposition-notification", TEXT, MDN, RETURNED)
    for mail in (
        report,
        b"From: a@b.example\r\n" + multipart("mixed", TEXT, MDN, RETURNED),
        b"From: a@b.example\r\n" + MDN,
        DAEMON + report,
    ):
        outside = survey(mail)
        assert outside.kind is MailKind.RECEIPT
        assert outside.mdn is not None
        assert outside.mdn.original_message_id == MESSAGE_ID


def test_automatic_answers_that_return_our_mail_are_not_data() -> None:
    """RFC 3834 5."""
    head = b"From: a@b.example\r\nAuto-Submitted: auto-replied (vacation)\r\n"
    assert survey(head + multipart("mixed", TEXT, RETURNED)).kind is MailKind.FOREIGN
    by_hand = b"From: a@b.example\r\n" + multipart("mixed", TEXT, RETURNED)
    assert survey(by_hand).kind is MailKind.SEALED, "forwarded by a person: somebody wants it opened"
    generated = b"Auto-Submitted: auto-generated\r\n" + ORIGINAL
    assert survey(generated).kind is MailKind.SEALED, "a gateway may call its mails generated"


def test_sealed_data_beside_a_report_are_opened() -> None:
    assert survey(multipart("mixed", MDN, ORIGINAL)).kind is MailKind.SEALED
    assert survey(multipart("mixed", STATUS, ORIGINAL)).kind is MailKind.SEALED
    headed = DAEMON + ORIGINAL.replace(b"Subject: DICOM-eMail\r\n", b"")
    assert survey(headed).kind is MailKind.SEALED, "whoever sends it: the mail itself is sealed"


def test_a_clearsigned_letter_is_a_letter() -> None:
    text = (
        b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nDear colleague\r\n"
        b"-----BEGIN PGP SIGNATURE-----\r\n\r\niQ==\r\n-----END PGP SIGNATURE-----\r\n"
    )
    assert survey(b"From: a@b.example\r\n\r\n" + text).kind is MailKind.FOREIGN
    assert survey(b"From: a@b.example\r\n\r\n" + ARMOR).kind is MailKind.SEALED


def test_fragments() -> None:
    """@GIT 1.1r 5.2."""
    mail = (
        b'From: A <a@b.example>\r\nContent-Type: message/partial; id="x"; number=2; total=3\r\n\r\n' + ARMOR
    )
    outside = survey(mail)
    assert (outside.kind, outside.from_address) == (MailKind.FRAGMENT, "a@b.example")
    assert outside.fragment is not None
    assert (outside.fragment.number, outside.fragment.total) == (2, 3)
    returned = DAEMON + multipart(REPORT, TEXT, STATUS, b"Content-Type: message/rfc822\r\n\r\n" + mail)
    assert survey(returned).kind is MailKind.BOUNCE


def test_the_outside_of_our_own_mail() -> None:
    outside = survey(ORIGINAL.replace(b"Subject", b"Disposition-Notification-To: <a@b.example>\r\nSubject"))
    assert outside.kind is MailKind.SEALED
    assert outside.from_address == SENDER
    assert outside.to_addresses == ("gateway@clinic.example",)
    assert (outside.message_id, outside.receipt_to) == (MESSAGE_ID, "a@b.example")
    assert (outside.set_info, outside.study_uid, outside.date) == (None, "", None)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("X-Telemedicine-SetID:  a b \r\nx-telemedicine-setpart: 007\r\n", ("a b", 7, None)),
        (
            "X-TELEMEDICINE-SETID: s\r\nX-TELEMEDICINE-SETPART: 0\r\nX-TELEMEDICINE-SETTOTAL: -1\r\n",
            ("s", None, None),
        ),
        ("X-TELEMEDICINE-SETID: s\r\nX-TELEMEDICINE-SETTOTAL: 99999999999\r\n", ("s", None, None)),
        ("X-TELEMEDICINE-SETID:\r\nX-TELEMEDICINE-SETPART: 1\r\n", None),
        ("X-TELEMEDICINE-SETID: " + "x" * 257 + "\r\n", None),
        ("x-dicom-msg-setid: q\r\nx-dicom-msg-setindex: 2 / 5\r\n", ("q", 2, 5)),
        ("x-dicom-msg-setid: q\r\nx-dicom-msg-setindex: two\r\n", ("q", None, None)),
        ("X-TELEMEDICINE-SETID: s\r\nx-dicom-msg-setid: q\r\n", ("s", None, None)),
        ("", None),
    ],
)
def test_set_headers(fields: str, expected: tuple[str, int | None, int | None] | None) -> None:
    """@GIT practice 1, QCIT 1."""
    found = read_set(parse_block(fields.encode() + b"\r\n", complete=True).headers)
    assert (None if found is None else (found.set_id, found.part, found.total)) == expected


def test_study_uids() -> None:
    """PS3.5 9.1."""
    assert is_study_uid("1.2")
    assert is_study_uid("2.25." + "9" * 59)
    for wrong in ("", "1", "1.", ".1", "1..2", "1.2a", "1.2\n", "2.25." + "9" * 60):
        assert not is_study_uid(wrong)


def test_the_beginning_of_a_part_however_it_is_written() -> None:
    data = bytes(range(256)) * 4
    text = "".join(f"={byte:02X}=\r\n" for byte in data).encode()
    whole = b"Content-Transfer-Encoding: quoted-printable\r\nContent-Type: a/b\r\n\r\n" + text
    assert beginning(parse(whole), whole, 132) == data[:132]
    sparse = b"Content-Transfer-Encoding: base64\r\n\r\n" + b"".join(
        bytes([char]) + b" \r\n" * 50 for char in b"QUJDREVGR0hJSktM" * 20
    )
    assert beginning(parse(sparse), sparse, 132) == (b"ABCDEFGHIJKL" * 20)[:132]


@pytest.mark.peer("gnupg")
def test_a_sealed_receipt_and_our_letter_are_sealed(world: Correspondents) -> None:
    report = multipart("report; report-type=disposition-notification", TEXT, MDN)
    mail = seal_entity(report, world.theirs, world.clinic, world.partner)
    assert survey(mail).kind is MailKind.SEALED
    mail = seal(letter([dicom_item(DICOM)]), world.theirs, world.clinic, world.partner)
    assert survey(mail).kind is MailKind.SEALED
    signature = world.theirs.sign_detached([report], signer=world.partner)
    proof = b"Content-Type: application/pgp-signature\r\n\r\n" + signature
    signed = multipart('signed; protocol="application/pgp-signature"', report, proof).replace(b"zz", b"s1", 1)
    signed = signed.replace(b"--zz\r\n" + report, b"--s1\r\n" + report).replace(
        b"--zz\r\n" + proof + b"\r\n--zz--", b"--s1\r\n" + proof + b"\r\n--s1--"
    )
    assert survey(signed).kind is MailKind.SEALED, "opened, so that its signature counts"
