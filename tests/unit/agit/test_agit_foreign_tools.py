"""Programs of others take our mails apart: GnuPG alone, the standard library, munpack, reformime."""

import email
import email.policy
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from radpost.agit.letter import Item, Letter
from radpost.agit.opening import open_mail
from radpost.agit.survey import survey
from radpost.openpgp.values import Compression, Limits
from radpost.testing.letters import Correspondents, dicom_item, document, letter, seal
from radpost.words import Verdict

ITEMS = (
    dicom_item(bytes(128) + b"DICM" + os.urandom(5000)),
    dicom_item(bytes(128) + b"DICM" + bytes(90_000)),
    document(b"", "leer.txt", "text/plain"),
    document(os.urandom(1001), "Befund Müller.pdf"),
    document(b"line\r\n.\r\n\r\nFrom x\r\n", "text.hl7", "application/hl7-v2"),
)
WAYS: tuple[dict[str, Any], ...] = (
    {"inner_encoding": "base64"},
    {"inner_encoding": "binary"},
    {"inner_encoding": "base64", "dialect": "agit-1.1"},
)


def content_of(item: Item) -> bytes:
    return b"".join(bytes(chunk) for chunk in item.source.chunks())


def by_gnupg(world: Correspondents, mail: Letter, compress: Compression) -> bytes:
    """Take the mail as text, find the armor in it, and let gpg do the rest."""
    text = seal(mail, world.theirs, world.clinic, world.partner, compress)
    done = world.peer.open(text[text.index(b"-----BEGIN PGP MESSAGE-----") :])
    assert done.intact
    assert done.good_signature
    assert done.signer == world.partner
    return done.plaintext


@pytest.mark.peer("gnupg")
@pytest.mark.parametrize("compress", list(Compression))
@pytest.mark.parametrize("way", WAYS)
def test_inv3_gnupg_and_the_standard_library(
    world: Correspondents, way: dict[str, Any], compress: Compression
) -> None:
    plain = by_gnupg(world, letter(ITEMS, **way), compress)
    found = email.message_from_bytes(plain, policy=email.policy.SMTP)
    parts = [part for part in found.walk() if not part.is_multipart()][1:]
    if way["inner_encoding"] == "base64":
        assert [part.get_payload(decode=True) for part in parts] == [content_of(item) for item in ITEMS]
    names = [part.get_filename() for part in parts]
    assert names == ["IM000001.dcm", "IM000002.dcm", "leer.txt", "Befund Müller.pdf", "text.hl7"]
    studies = [part["X-TELEMEDICINE-STUDYID"] for part in parts]
    assert studies == [None, None, "2.25.1", "2.25.1", "2.25.1"]


@pytest.mark.peer("gnupg", "maildrop")
@pytest.mark.parametrize("way", WAYS)
def test_inv3_reformime_takes_the_objects_out(world: Correspondents, way: dict[str, Any]) -> None:
    """Also where they stand unencoded (`binary`)."""
    plain = by_gnupg(world, letter(ITEMS, **way), Compression.ZIP)
    for number, item in enumerate(ITEMS, 2):
        done = subprocess.run(
            ["reformime", f"-s1.{number}", "-e"], input=plain, stdout=subprocess.PIPE, check=True
        )
        assert done.stdout == content_of(item)


@pytest.mark.peer("gnupg", "mpack")
def test_inv3_munpack_takes_the_objects_out(world: Correspondents, tmp_path: Path) -> None:
    plain = by_gnupg(world, letter(ITEMS), Compression.ZIP)
    (tmp_path / "inner.eml").write_bytes(plain)
    subprocess.run(["munpack", "-q", "-C", str(tmp_path), "inner.eml"], check=True, stdout=subprocess.DEVNULL)
    # munpack knows no names of RFC 2231 and numbers such a part
    for name, item in zip(("IM000001.dcm", "IM000002.dcm", "", "part1", "text.hl7"), ITEMS, strict=True):
        if name:
            assert (tmp_path / name).read_bytes() == content_of(item)


@pytest.mark.peer("gnupg")
def test_we_take_mails_of_gnupg_with_its_defaults(world: Correspondents, tmp_path: Path) -> None:
    """The naive gateway: the standard library around plain gpg, line ends of Unix."""
    inner = email.message.EmailMessage()
    inner["X-TELEMEDICINE-SETID"] = "20100905.121012.200"
    inner["X-TELEMEDICINE-SETPART"] = "1"
    inner["X-TELEMEDICINE-SETTOTAL"] = "1"
    inner.set_content("Untersuchung")
    inner.add_attachment(content_of(ITEMS[0]), "application", "dicom", filename="bild 1.dcm")
    inner.add_attachment(b"%PDF-", "application", "pdf", filename="Größe.pdf")
    text = world.peer.seal(inner.as_bytes(), [world.clinic], signer=world.partner)
    outer = (
        b"From: a@partner.example\nTo: gateway@clinic.example\nSubject: DICOM-eMail\n"
        b"Content-Type: multipart/encrypted; boundary=b; protocol=application/pgp-encrypted\n\n"
        b"--b\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n\n"
        b"--b\nContent-Type: application/octet-stream\n\n" + text + b"\n--b--\n"
    )
    outside = survey(outer)
    with open_mail(outside, outer, world.engine, temp=tmp_path, limits=Limits()) as content:
        assert content.signature.verdict is Verdict.GOOD
        assert [b"".join(bytes(one) for one in part.chunks()) for part in content.parts] == [
            content_of(ITEMS[0]),
            b"%PDF-",
        ]
        assert [part.filename for part in content.parts] == ["bild 1.dcm", "Größe.pdf"]
        assert content.set_info is not None
        assert content.set_info.set_id == "20100905.121012.200"
