"""Where the search begins: mails written here, and the reference mails where they are present."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from radpost.mime.folding import encode_words
from radpost.mime.report import Receipt, build_mdn, parse_disposition

SHARED: Final = Path(__file__).resolve().parent.parent.parent / "shared"
WHEN: Final = datetime(2026, 2, 12, 9, 30, tzinfo=UTC)
_LARGEST: Final = 4 << 10

PLAIN: Final = (
    b"From: A <a@b.example>\r\nTo: c@d.example\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"Date: Thu, 12 Feb 2026 09:30:00 +0000\r\nMessage-ID: <1@b.example>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Gr=C3=BC=C3=9Fe\r\n"
)
NESTED: Final = (
    b"From: a@b.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\ntext\r\n"
    b'--b\r\nContent-Type: multipart/related; boundary="c"\r\n\r\n--c\r\n'
    b"Content-Type: application/dicom; name=IM000001.dcm\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"QUJDREVG\r\n--c\r\nContent-Type: message/rfc822\r\n\r\n" + PLAIN + b"\r\n--c--\r\n--b\r\n"
    b"Content-Disposition: attachment;\r\n filename*0*=utf-8''%C3%BC; filename*1=.pdf\r\n\r\nx\r\n--b--\r\n."
)
SEALED: Final = (
    b"From: a@b.example\r\nContent-Type: multipart/encrypted; boundary=b; protocol=application/pgp-encrypted"
    b"\r\n\r\n--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n--b\r\n"
    b"Content-Type: application/octet-stream; name=encrypted.asc\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\n"
    b"AAAA\r\n=AAAA\r\n-----END PGP MESSAGE-----\r\n\r\n--b--\r\n"
)
SIGNED: Final = (
    b"Content-Type: multipart/signed; boundary=c; protocol=application/pgp-signature; micalg=pgp-sha256\r\n"
    b"\r\n--c\r\nX-TELEMEDICINE-STUDYID: 1.2.3\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\n%PDF-\r\n"
    b"--c\r\nContent-Type: application/pgp-signature\r\n\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\nAAAA\r\n"
    b"-----END PGP SIGNATURE-----\r\n--c--\r\n"
)
SET: Final = (
    b"From: a@b.example\r\nTo: c@d.example\r\nX-TELEMEDICINE-SETID: 2.25.1\r\nX-TELEMEDICINE-SETPART: 1\r\n"
    b"X-TELEMEDICINE-SETTOTAL: 3\r\nX-TELEMEDICINE-STUDYID: 1.2.840.1\r\nx-dicom-msg-setid: q\r\n"
    b"x-dicom-msg-setindex: 2/5\r\nDisposition-Notification-To: <a@b.example>\r\n\r\n"
)
BOUNCE: Final = (
    b"From: MAILER-DAEMON@d.example\r\nSubject: Undelivered Mail\r\n"
    b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nSorry.\r\n"
    b"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; d.example\r\n"
    b"Original-Envelope-Id: e1\r\n\r\nFinal-Recipient: rfc822; c@d.example\r\nAction: failed\r\n"
    b"Status: 5.2.2\r\nDiagnostic-Code: smtp; 552 5.2.2 Mailbox full\r\n\r\n--b\r\n"
    b"Content-Type: message/rfc822\r\n\r\nMessage-ID: <1@b.example>\r\n\r\nx\r\n--b--\r\n"
)
FREE_BOUNCE: Final = (
    b"From: Mailer-Daemon <x@d.example>\r\nX-Failed-Recipients: c@d.example\r\n"
    b"Subject: Mail delivery failed: returning message to sender\r\n\r\n"
    b"The following address failed:\r\n\r\n  c@d.example\r\n    mailbox is full\r\n\r\n"
    b"------ This is a copy of the message. ------\r\n\r\nMessage-ID:\r\n <1@b.example>\r\n"
)
RECEIPT: Final = build_mdn(
    Receipt(
        original_message_id="<1@b.example>",
        final_recipient="c@d.example",
        disposition=parse_disposition("automatic-action/MDN-sent-automatically;deleted/error,x"),
        reporting_ua="d.example; Radpost",
        reason_en="No.",
        reason_de="Nein.",
        original_recipient="c@d.example",
        error="E " + encode_words("ü"),
        failure="F",
        warning="W",
    ),
    sender="c@d.example",
    recipient="a@b.example",
    date=WHEN,
    message_id="<2@d.example>",
    boundary="b",
)
FRAGMENTS: Final = tuple(
    b"From: a@b.example\r\nSubject: s\r\nMessage-ID: <%d@b.example>\r\n"
    b'Content-Type: message/partial; id="x@b"; number=%d; total=3\r\n\r\n%s' % (number, number, body)
    for number, body in enumerate(
        (
            b"Message-ID: <0@b.example>\r\nContent-Type: text/plain\r\nX-TELEMEDICINE-SETID: s\r\n\r\nx\r\n",
            b"y\r\n",
            b"z",
        ),
        1,
    )
)
MAILS: Final = (PLAIN, NESTED, SEALED, SIGNED, SET, BOUNCE, FREE_BOUNCE, RECEIPT, *FRAGMENTS)


def reference_mails(*groups: str) -> Iterator[bytes]:
    """Yield the reference mails of some groups, the small ones; nothing where there are none."""
    for group in groups:
        for path in sorted((SHARED / "mails" / group).rglob("*.eml")):
            if path.stat().st_size <= _LARGEST:
                yield path.read_bytes()
