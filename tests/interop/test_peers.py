"""The harness itself: every peer starts, does its work, and is gone afterwards."""

import imaplib
import os
import poplib
import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from radpost.testing.peers import PeerFailedError, base, dcmtk, missing
from radpost.testing.peers.dovecot import Dovecot
from radpost.testing.peers.gnupg import GnuPG
from radpost.testing.peers.orthanc import Orthanc
from radpost.testing.peers.pair import MailServer

ANNE, BERT = "anne@klinik-a.example", "bert@klinik-b.example"
MAIL = b"From: <anne@klinik-a.example>\r\nTo: <bert@klinik-b.example>\r\nSubject: x\r\n\r\nhello\r\n.\r\n"


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    with MailServer({ANNE: "secret-a", BERT: "secret-b"}, message_size_limit=1_000_000) as running:
        yield running


@pytest.mark.peer("postfix", "dovecot")
class TestMailServer:
    def context(self, server: MailServer) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(server.ca_file))

    def test_submission_to_mailbox_over_tls(self, server: MailServer) -> None:
        with smtplib.SMTP("localhost", server.submission_port) as client:
            client.starttls(context=self.context(server))
            client.login(ANNE, "secret-a")
            assert client.sendmail(ANNE, [BERT], MAIL) == {}
        server.wait_for_mails(BERT, 1)
        with imaplib.IMAP4_SSL("localhost", server.imaps_port, ssl_context=self.context(server)) as imap:
            imap.login(BERT, "secret-b")
            imap.select()
            _, found = imap.fetch("1", "(RFC822)")
            assert isinstance(found[0], tuple)
            assert found[0][1].endswith(b"\r\n\r\nhello\r\n.\r\n")
        pop = poplib.POP3_SSL("localhost", server.pop3s_port, context=self.context(server))
        pop.user(BERT)
        pop.pass_("secret-b")
        assert pop.stat()[0] == 1
        pop.quit()

    def test_starttls_on_every_plain_port(self, server: MailServer) -> None:
        with imaplib.IMAP4("localhost", server.imap_port) as imap:
            imap.starttls(self.context(server))
            imap.login(ANNE, "secret-a")
        pop = poplib.POP3("localhost", server.pop3_port)
        pop.stls(self.context(server))
        pop.quit()
        with smtplib.SMTP_SSL("localhost", server.submissions_port, context=self.context(server)) as client:
            client.login(ANNE, "secret-a")

    def test_submission_wants_tls_and_the_right_password(self, server: MailServer) -> None:
        with smtplib.SMTP("localhost", server.submission_port) as client:
            with pytest.raises(smtplib.SMTPSenderRefused):
                client.sendmail(ANNE, [BERT], MAIL)
            client.starttls(context=self.context(server))
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login(ANNE, "wrong")

    def test_unknown_recipient_bounces_to_the_sender(self, server: MailServer) -> None:
        server.dovecot.wipe(ANNE)
        with smtplib.SMTP("localhost", server.smtp_port) as client:
            client.sendmail(ANNE, ["nobody@klinik-b.example"], MAIL)
        bounce = server.wait_for_mails(ANNE, 1)[0].read_bytes()
        assert b"report-type=delivery-status" in bounce
        assert b"Status: 5.1.1" in bounce

    def test_size_limit_is_announced_and_held(self, server: MailServer) -> None:
        with smtplib.SMTP("localhost", server.smtp_port) as client:
            client.ehlo()
            assert client.esmtp_features["size"] == "1000000"
            with pytest.raises(smtplib.SMTPSenderRefused):
                client.sendmail(ANNE, [BERT], MAIL + b"x" * 1_000_000)


@pytest.mark.peer("postfix", "dovecot")
def test_full_mailbox_bounces_and_nothing_is_left_behind() -> None:
    with MailServer({ANNE: "a", BERT: "b"}, quota="1M", tls=False) as server:
        directory, pids = server.dovecot.directory, server.dovecot.pids
        with smtplib.SMTP("localhost", server.smtp_port) as client:
            for _ in range(2):
                client.sendmail(ANNE, [BERT], MAIL + (b"y" * 70 + b"\r\n") * 10_000)
        bounce = server.wait_for_mails(ANNE, 1)[0].read_bytes()
        assert b"5.2.2" in bounce
        server.wait_delivered()
        assert len(server.mails(BERT)) == 1
    assert pids
    assert all(_gone(pid) for pid in pids)
    assert not directory.exists()


@pytest.mark.peer("dovecot")
def test_dovecot_alone_takes_mail_by_lmtp() -> None:
    with Dovecot({ANNE: "a"}, tls=False) as dovecot:
        dovecot.add_user(BERT, "b")
        with smtplib.LMTP("localhost", dovecot.lmtp_port) as client:
            client.sendmail(ANNE, [BERT], MAIL)
        assert len(dovecot.mails(BERT)) == 1
        dovecot.wipe(BERT)
        assert dovecot.mails(BERT) == []


@pytest.mark.peer("dovecot")
def test_a_peer_that_cannot_start_says_why() -> None:
    with pytest.raises(PeerFailedError, match="nonsense_setting"):
        Dovecot({ANNE: "a"}, extra="nonsense_setting = 1").start()


@pytest.mark.peer("dcmtk")
def test_storescp_keeps_objects_bit_for_bit(shared: Path) -> None:
    original = shared / "dicom" / "ct_small.dcm"
    with dcmtk.StoreScp() as scp:
        dcmtk.echoscu(scp.port)
        dcmtk.storescu(scp.port, [original], called=scp.aet)
        received = scp.wait_for(1)[0].read_bytes()
    # storescu drops the trailing padding; pixel data (7FE0,0010) must be there byte for byte
    pixels = original.read_bytes().split(b"\xe0\x7f\x10\x00OW\0\0", 1)[1][: 4 + 128 * 128 * 2]
    assert received.count(pixels) == 1


@pytest.mark.peer("dcmtk")
def test_dcmqrscp_finds_and_moves(shared: Path) -> None:
    with dcmtk.StoreScp("TARGET") as target, dcmtk.DcmQrScp(nodes={"TARGET": target.port}) as archive:
        archive.load([shared / "dicom" / "ct_small.dcm"])
        keys = ["QueryRetrieveLevel=STUDY", "StudyInstanceUID"]
        found = dcmtk.findscu(archive.port, keys, called=archive.aet)
        text = found.stdout + found.stderr
        assert "StudyInstanceUID" in text
        uid = text.rsplit("UI [", 1)[1].split("]")[0].rstrip("\0 ")
        dcmtk.movescu(
            archive.port,
            ["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={uid}"],
            called=archive.aet,
            destination="TARGET",
        )
        assert len(target.wait_for(1)) == 1


@pytest.mark.peer("orthanc", "dcmtk")
def test_orthanc_stores_and_sends_on(shared: Path) -> None:
    with Orthanc() as orthanc, dcmtk.StoreScp() as scp:
        dcmtk.storescu(orthanc.dicom_port, [shared / "dicom" / "ct_small.dcm"], called=orthanc.aet)
        orthanc.wait_for(1)
        orthanc.add_modality("target", scp.aet, scp.port)
        orthanc.send("target", orthanc.studies()[0])
        assert len(scp.wait_for(1)) == 1
        orthanc.clear()
        assert orthanc.count() == 0


@pytest.mark.peer("gnupg")
def test_gnupg_seals_and_opens() -> None:
    with GnuPG() as gpg:
        key = gpg.generate("Test <test@klinik-a.example>")
        opened = gpg.open(gpg.seal(b"hello" * 1000, [key], signer=key))
        assert opened.plaintext == b"hello" * 1000
        assert opened.good_signature
        assert opened.intact
        assert opened.signer == key


def test_missing_programs_are_named_with_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "find_program", lambda name: None)
    assert missing("dovecot") == (
        "dovecot: install the Debian package dovecot-core",
        "dovecot: install the Debian package dovecot-imapd",
        "dovecot: install the Debian package dovecot-pop3d",
        "dovecot: install the Debian package dovecot-lmtpd",
    )
    assert missing("dcmtk") == ("dcmtk: install the Debian package dcmtk",)


def test_a_kernel_that_lets_nobody_trace_is_a_missing_peer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So ``RADPOST_REQUIRE_PEERS=1`` makes it an error, and elsewhere a user is told what was left out."""
    strace = tmp_path / "strace"
    strace.write_text(
        "#!/bin/sh\necho 'strace: ptrace(PTRACE_TRACEME): Operation not permitted' >&2\nexit 1\n"
    )
    strace.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (lack,) = missing("strace")
    assert lack.startswith("strace: the kernel lets nobody trace")
    assert "PTRACE_TRACEME" in lack
