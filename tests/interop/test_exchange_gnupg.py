"""GnuPG and Python's email package alone read what A sends, and B reads what they write.

That 64 parallel decryptions succeed is shown in ``openpgp/test_openpgp_gnupg.py``.
"""

import email
import hashlib
import smtplib
from collections.abc import Callable, Iterator
from email.message import Message
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import SMTP
from pathlib import Path

import pytest

from radpost.errors import SIGNATURE_REQUIRED, WRONG_SIGNER
from radpost.gateway.partners import RADPOST_PEER, Switches
from radpost.openpgp.keys import KeyKind
from radpost.testing import posted
from radpost.testing.institution import Institution, OwnKey, make_key
from radpost.testing.peers.gnupg import GnuPG
from radpost.testing.peers.pair import MailServer
from radpost.testing.posted import A_ADDRESS, B_ADDRESS
from radpost.testing.store_scp import ReceivingPacs
from radpost.words import SignaturePolicy

pytestmark = [pytest.mark.peer("postfix", "dovecot", "gnupg"), pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    with MailServer(posted.USERS) as peer:
        yield peer


@pytest.fixture(scope="module")
def keys() -> tuple[OwnKey, OwnKey]:
    """A has RSA, B has Curve25519."""
    return make_key("Klinik A", A_ADDRESS, KeyKind.RSA3072), make_key("Praxis B", B_ADDRESS)


@pytest.fixture(scope="module")
def files(shared: Path) -> list[Path]:
    names = ["ct_small.dcm", "sc_jpeg_baseline.dcm", "rtplan.dcm"]
    return [shared / "dicom" / name for name in names]


@pytest.fixture(autouse=True)
def empty_mailboxes(server: MailServer) -> None:
    for user in server.users:
        server.dovecot.wipe(user)


def institution(
    directory: Path, server: MailServer, address: str, key: OwnKey, parts: str = ""
) -> Institution:
    mail = posted.submission(server, address) + posted.mailbox(server, address)
    return Institution(directory, address.split("@")[1], address, mail + parts, key=key).prepare()


def hashes(paths: list[Path]) -> list[str]:
    return sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)


FIELD = Switches()
DIALECTS = [("agit-1.5", RADPOST_PEER), ("agit-1.5", FIELD), ("agit-1.1", FIELD)]


@pytest.mark.parametrize(("dialect", "switches"), DIALECTS, ids=["radpost-peer", "field", "1.1r"])
def test_gnupg_alone_opens_and_verifies_what_a_sends(
    server: MailServer,
    keys: tuple[OwnKey, OwnKey],
    files: list[Path],
    tmp_path: Path,
    dialect: str,
    switches: Switches,
) -> None:
    a = institution(tmp_path / "a", server, A_ADDRESS, keys[0])
    b = institution(tmp_path / "b", server, B_ADDRESS, keys[1])
    a.add_partner(b, "PRAXIS_B", switches=switches, dialect=dialect)
    expected = len(files)  # three studies: three sets, whatever the packing
    with a:
        posted.send(a, "praxis_b", files)
        mails = [path.read_bytes() for path in server.wait_for_mails(B_ADDRESS, expected, 30)]
    found = []
    with GnuPG(keys=[keys[1].secret, keys[0].public]) as gnupg:
        for mail in mails:
            outside = email.message_from_bytes(mail)
            assert outside.get_content_type() == "multipart/encrypted"
            control, data = child(outside, 0), child(outside, 1)
            assert control.get_content_type() == "application/pgp-encrypted"
            assert content(control).strip() == b"Version: 1"
            opened = gnupg.open(content(data))
            assert (opened.returncode, opened.good_signature, opened.intact) == (0, True, True)
            assert opened.signer == keys[0].fingerprint
            inside = email.message_from_bytes(opened.plaintext)
            for name in ("From", "To", "Date", "Message-ID"):
                assert inside[name] == outside[name], "bound by the signature"
            sets = ["X-TELEMEDICINE-SETID", "X-TELEMEDICINE-SETPART", "X-TELEMEDICINE-SETTOTAL"]
            assert [inside[name] for name in sets] == [outside[name] for name in sets]
            assert (inside[sets[0]] is None) == (dialect == "agit-1.1")
            found += [content(part) for part in attachments(inside)]
    assert sorted(hashlib.sha256(data).hexdigest() for data in found) == hashes(files)


def child(message: Message, number: int) -> Message:
    found = message.get_payload(number)
    assert isinstance(found, Message)
    return found


def content(message: Message) -> bytes:
    found = message.get_payload(decode=True)
    assert isinstance(found, bytes)
    return found


def attachments(message: Message) -> list[Message]:
    parts = [part for part in message.walk() if part.get_content_disposition() == "attachment"]
    assert {part.get_content_type() for part in parts} == {"application/dicom"}
    return parts


def mime_mail(files: list[Path]) -> bytes:
    """The DICOM part as Python's email package writes it: base64, CRLF."""
    inner = MIMEMultipart("mixed")
    inner.attach(MIMEText("Bilder anbei", "plain", "utf-8"))
    for number, path in enumerate(files):
        part = MIMEApplication(path.read_bytes(), "dicom", id=f"I{number:05}", name=f"I{number:05}.dcm")
        part.add_header("Content-Disposition", "attachment", filename=path.name)
        inner.attach(part)
    return inner.as_bytes(policy=SMTP)


def envelope(armor: bytes, number: int) -> bytes:
    """RFC 3156 by the stdlib; @GIT 1.1r: no set headers, a receipt is asked for."""
    mail = MIMEMultipart("encrypted", protocol="application/pgp-encrypted")
    control = MIMEApplication(b"", "pgp-encrypted", lambda _part: None)
    control.set_payload("Version: 1\r\n")
    data = MIMEApplication(b"", "octet-stream", lambda _part: None)
    data.set_payload(armor.decode("ascii"))
    mail.attach(control)
    mail.attach(data)
    mail["From"], mail["To"], mail["Subject"] = A_ADDRESS, B_ADDRESS, "DICOM-eMail"
    mail["Message-ID"] = f"<{number}.{hashlib.sha256(armor).hexdigest()[:20]}@klinik-a.example>"
    mail["Date"] = "Mon, 23 Nov 2026 08:00:00 +0000"
    mail["Disposition-Notification-To"] = A_ADDRESS
    return mail.as_bytes(policy=SMTP)


Sealer = Callable[[GnuPG, bytes, str, str], bytes]

BY_GNUPG: dict[str, Sealer] = {
    "defaults": lambda gpg, data, to, by: gpg.seal(data, [to], signer=by),
    "zlib": lambda gpg, data, to, by: gpg.seal(
        data, [to], signer=by, options=["--compress-algo", "zlib", "-z9"]
    ),
    "bzip2": lambda gpg, data, to, by: gpg.seal(data, [to], signer=by, options=["--compress-algo", "bzip2"]),
    "uncompressed": lambda gpg, data, to, by: gpg.seal(data, [to], signer=by, options=["-z0"]),
    "aes128-sha512": lambda gpg, data, to, by: gpg.seal(
        data, [to], signer=by, options=["--cipher-algo", "AES", "--digest-algo", "SHA512"]
    ),
    "to-both": lambda gpg, data, to, by: gpg.seal(data, [by, to], signer=by),
    "hidden-recipient": lambda gpg, data, to, by: gpg.seal(data, [to], signer=by, options=["--throw-keyids"]),
}


@pytest.fixture
def b(
    server: MailServer, keys: tuple[OwnKey, OwnKey], tmp_path: Path
) -> Iterator[tuple[Institution, ReceivingPacs]]:
    """B, whose partner A signs, under the policy of the field: accept."""
    a = Institution(tmp_path / "a", "Klinik A", A_ADDRESS, key=keys[0])
    with ReceivingPacs(tmp_path / "pacs") as pacs:
        receiver = institution(tmp_path / "b", server, B_ADDRESS, keys[1], posted.pacs(pacs.port))
        receiver.add_partner(a, "KLINIK_A", switches=FIELD, policy=SignaturePolicy.ACCEPT, dialect="agit-1.1")
        with receiver:
            yield receiver, pacs


def deliver(server: MailServer, *mails: bytes) -> None:
    with smtplib.SMTP(server.host, server.smtp_port) as client:
        for mail in mails:
            client.sendmail(A_ADDRESS, [B_ADDRESS], mail)


def receipts(server: MailServer, count: int) -> list[tuple[str, str]]:
    """Return Original-Message-ID and Disposition of the receipts in A's mailbox."""
    found = []
    for path in server.wait_for_mails(A_ADDRESS, count, 30):
        mail = email.message_from_bytes(path.read_bytes())
        assert mail.get_content_type() == "multipart/report"
        fields = child(child(mail, 1), 0)
        found.append((fields["Original-Message-ID"], fields["Disposition"].split(";")[1].strip()))
    return sorted(found)


def test_b_takes_what_gnupg_makes(
    server: MailServer,
    keys: tuple[OwnKey, OwnKey],
    files: list[Path],
    b: tuple[Institution, ReceivingPacs],
    shared: Path,
) -> None:
    receiver, pacs = b
    slices = sorted((shared / "dicom/series-mr-brain").iterdir())
    mails = []
    with GnuPG(keys=[keys[0].secret, keys[1].public]) as gnupg:
        for number, seal in enumerate(BY_GNUPG.values()):
            armor = seal(gnupg, mime_mail([slices[number]]), keys[1].fingerprint, keys[0].fingerprint)
            mails.append(envelope(armor, number))
    deliver(server, *mails)
    posted.await_that(lambda: len(pacs.kept) == len(mails), "the PACS has all", receiver)
    ids = sorted((email.message_from_bytes(mail)["Message-ID"], "displayed") for mail in mails)
    assert receipts(server, len(mails)) == ids
    sent = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in slices[: len(mails)])
    assert sorted(row.file_sha256 for row in posted.stored(receiver)) == sent
    assert {row.verdict for row in posted.arrivals(receiver)} == {"good"}
    assert {row.fingerprint for row in posted.arrivals(receiver)} == {keys[0].fingerprint}
    posted.await_that(lambda: not server.mails(B_ADDRESS), "the mailbox is empty", receiver)


def test_unsigned_mail_under_accept_and_require(
    server: MailServer, keys: tuple[OwnKey, OwnKey], files: list[Path], b: tuple[Institution, ReceivingPacs]
) -> None:
    """`accept` delivers with a flag; `require` keeps the mail whole, and says so in the receipt."""
    receiver, pacs = b
    with GnuPG(keys=[keys[0].secret, keys[1].public]) as gnupg:
        first, second = (
            envelope(gnupg.seal(mime_mail([path]), [keys[1].fingerprint]), 1) for path in files[:2]
        )
    deliver(server, first)
    posted.await_that(lambda: len(pacs.kept) == 1, "the unsigned object is delivered", receiver)
    assert [row.verdict for row in posted.arrivals(receiver)] == ["none"]
    assert [disposition for _, disposition in receipts(server, 1)] == ["displayed"]
    a = Institution(Path(), "Klinik A", A_ADDRESS, key=keys[0])
    receiver.add_partner(a, "KLINIK_A", switches=FIELD, policy=SignaturePolicy.REQUIRE, dialect="agit-1.1")
    deliver(server, second)
    posted.await_that(lambda: posted.quarantined(receiver), "the second is quarantined", receiver)
    (held,) = posted.quarantined(receiver)
    assert held.code == SIGNATURE_REQUIRED.code
    assert len(pacs.kept) == len(posted.stored(receiver)) == 1
    dispositions = [disposition for _, disposition in receipts(server, 2)]
    assert min(dispositions).startswith("deleted"), "the sender hears that it was not imported"


def test_a_good_signature_of_somebody_else_is_no_signature_of_a(
    server: MailServer, keys: tuple[OwnKey, OwnKey], files: list[Path], b: tuple[Institution, ReceivingPacs]
) -> None:
    """A third key that B knows (its own) signs in A's name: quarantine, also under `accept`."""
    receiver, pacs = b
    with GnuPG(keys=[keys[1].secret]) as gnupg:
        sealed = gnupg.seal(mime_mail(files[:1]), [keys[1].fingerprint], signer=keys[1].fingerprint)
    deliver(server, envelope(sealed, 1))
    posted.await_that(lambda: posted.quarantined(receiver), "quarantined", receiver)
    assert posted.quarantined(receiver)[0].code == WRONG_SIGNER.code
    assert pacs.kept == []
