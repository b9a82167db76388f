"""The naive script (row G2): gpg per object, stdlib email, one mail and one connection per object, poplib.

What somebody writes in an afternoon from the standard library's documentation, and many have.
"""

import email
import email.policy
import poplib
import smtplib
import subprocess
import time
from email.message import EmailMessage
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from pathlib import Path

from benchmarks.data import Study

from radpost.testing.institution import OwnKey
from radpost.testing.peers.gnupg import GnuPG
from radpost.testing.peers.pair import MailServer


def naive_seconds(
    server: MailServer,
    sender: str,
    recipient: tuple[str, str],
    keys: tuple[OwnKey, OwnKey],
    study: Study,
    out: Path,
) -> float:
    """Return how long the script takes to send all files and to receive them."""
    out.mkdir(parents=True, exist_ok=True)
    with GnuPG([key.secret for key in keys]) as gnupg:
        start = time.perf_counter()
        for path in study.files:
            _send(server, gnupg.home, sender, recipient[0], keys, path)
        server.wait_delivered(120.0)
        count = _receive(server, gnupg.home, recipient, out)
        seconds = time.perf_counter() - start
    if count != len(study.files):
        raise RuntimeError(f"the naive script received {count} of {len(study.files)} objects")
    return seconds


def _gpg(home: Path, *arguments: str, data: bytes) -> bytes:
    command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--trust-model", "always", *arguments]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    return done.stdout


def _send(
    server: MailServer, home: Path, sender: str, recipient: str, keys: tuple[OwnKey, OwnKey], path: Path
) -> None:
    attachment = MIMEApplication(path.read_bytes(), "dicom", name=path.name)
    names = ("--local-user", keys[0].fingerprint, "--recipient", keys[1].fingerprint)
    sealed = _gpg(home, "--armor", "--sign", "--encrypt", *names, data=attachment.as_bytes())
    mail = MIMEMultipart("encrypted", protocol="application/pgp-encrypted")
    mail["From"], mail["To"], mail["Subject"] = sender, recipient, "DICOM-eMail"
    for data, kind in ((b"Version: 1\n", "pgp-encrypted"), (sealed, "octet-stream")):
        part = MIMEApplication(data, kind, _encoder=email.encoders.encode_7or8bit)  # type: ignore[attr-defined]
        mail.attach(part)
    with smtplib.SMTP("localhost", server.smtp_port) as smtp:
        smtp.send_message(mail)


def _receive(server: MailServer, home: Path, recipient: tuple[str, str], out: Path) -> int:
    box = poplib.POP3("localhost", server.pop3_port)
    box.user(recipient[0])
    box.pass_(recipient[1])
    count = len(box.list()[1])
    for number in range(1, count + 1):
        raw = b"\r\n".join(box.retr(number)[1])
        mail = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        sealed = list(mail.iter_parts())[1].get_payload(decode=True)
        assert isinstance(sealed, bytes)
        inside = email.message_from_bytes(_gpg(home, "--decrypt", data=sealed))
        content = inside.get_payload(decode=True)
        assert isinstance(content, bytes)
        (out / f"{number}.dcm").write_bytes(content)
        box.dele(number)
    box.quit()
    return count
