"""Each switch of a dialect, and what it changes in the mails; plain GnuPG looks into the sealed part."""

import email
import email.policy
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from radpost.agit.dialect import DIALECTS, Writing
from radpost.agit.opening import open_mail
from radpost.agit.survey import survey
from radpost.errors import BAD_COMMAND, RadpostError
from radpost.mails.keyfiles import as_files
from radpost.mails.keys import offline_keys
from radpost.openpgp.values import Limits
from radpost.testing.parcels import SENDER, Parties, dicom_file, mails, packed
from radpost.testing.peers.gnupg import Decrypted, GnuPG

pytestmark = pytest.mark.peer("gnupg")

RANDOM = dicom_file(1, os.urandom(60_000), jpeg=True)
"""What no compression makes smaller."""
EVEN = dicom_file(2, bytes(60_000))
DISPOSITION = "Disposition-Notification-To"
INSIDE = "X-TELEMEDICINE-DISPOSITION-NOTIFICATION-TO"


@dataclass(frozen=True, slots=True)
class Seen:
    """The mails of a transmission, from outside and as GnuPG opens them."""

    whole: list[bytes]
    outside: list[EmailMessage]
    opened: list[Decrypted]
    packets: list[str]
    """What ``gpg --list-packets`` says."""
    files: int

    @property
    def inside(self) -> list[EmailMessage]:
        """The decrypted entities."""
        return [read(one.plaintext) for one in self.opened]

    def status(self, word: str) -> list[str]:
        """Return the arguments of a status line of the first mail."""
        return next(line.split()[1:] for line in self.opened[0].status if line.startswith(f"{word} "))


def read(data: bytes) -> EmailMessage:
    found = email.message_from_bytes(data, policy=email.policy.SMTP)
    assert isinstance(found, EmailMessage)
    return found


@pytest.fixture(scope="module")
def gpg(parties: Parties) -> Iterator[GnuPG]:
    with GnuPG([parties.theirs, parties.ours]) as peer:
        yield peer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two objects and a document."""
    path = tmp_path_factory.mktemp("objects")
    (path / "1.dcm").write_bytes(RANDOM)
    (path / "2.dcm").write_bytes(EVEN)
    (path / "3.pdf").write_bytes(b"%PDF-1.4 " + bytes(500))
    return path


Look = Callable[..., Seen]


@pytest.fixture
def look(parties: Parties, gpg: GnuPG, folder: Path, tmp_path: Path) -> Look:
    """Pack the folder with some switches and look at the mails."""
    count = iter(range(100))

    def looked(dialect: Any = "agit-1.5", **switches: object) -> Seen:
        out = tmp_path / str(next(count))
        result = packed(parties, [folder], out, dialect=dialect, switches=switches, study_uid="1.2.3")
        whole = mails(result)
        armor = [raw[raw.index(b"-----BEGIN PGP MESSAGE-----") :] for raw in whole]
        return Seen(
            whole=whole,
            outside=[read(raw) for raw in whole],
            opened=[gpg.open(text) for text in armor],
            packets=[gpg.run("--list-packets", data=text)[0].decode() for text in armor],
            files=sum(len(mail.files) for mail in result.mails),
        )

    return looked


def objects_per_mail(look: Look) -> None:
    assert [len(list(mail.iter_parts())) - 1 for mail in look().inside] == [1, 1, 1]
    packed_ = look(objects_per_mail=2)
    assert [len(list(mail.iter_parts())) - 1 for mail in packed_.inside] == [2, 1]
    assert [mail["X-TELEMEDICINE-SETTOTAL"] for mail in packed_.outside] == ["2", "2"], "mails, not objects"


def max_mail_size(look: Look) -> None:
    assert look().files == 3
    cut = look(max_mail_size=30_000)
    assert cut.files == 5, "the random object travels as message/partial"
    assert look(max_mail_size=400_000, objects_per_mail=10).files == 1
    assert look(max_mail_size=150_000, objects_per_mail=10, partial=False).files == 2, "planned by bounds"


def inner_encoding(look: Look) -> None:
    for seen, encoding in ((look(), "base64"), (look(inner_encoding="binary"), "binary")):
        part = list(seen.inside[0].iter_parts())[1]
        assert part["Content-Transfer-Encoding"] == encoding
        assert all(mail.isascii() for mail in seen.whole), "outside it is 7bit either way"
    assert RANDOM in look(inner_encoding="binary").opened[0].plaintext


def compression(look: Look) -> None:
    """Base64 always gains a quarter; what stands unencoded is measured, object by object."""
    assert all(":compressed packet: algo=1" in text for text in look().packets)
    by_gain = look(inner_encoding="binary")
    assert [":compressed packet: algo=1" in text for text in by_gain.packets] == [False, True, True]
    always, never = look(compression="always"), look(compression="never")
    assert all(":compressed packet: algo=1" in text for text in always.packets)
    assert not any(":compressed packet" in text for text in never.packets)
    assert len(never.whole[1]) > 20 * len(always.whole[1])


def cipher(look: Look) -> None:
    for name, number in (("AES256", "9"), ("AES192", "8"), ("AES128", "7")):
        assert look(cipher=name).status("DECRYPTION_INFO")[:2] == ["2", number]


def digest(look: Look) -> None:
    for name, number in (("SHA256", "8"), ("SHA512", "10")):
        assert look(digest=name).status("VALIDSIG")[7] == number


def sign(look: Look) -> None:
    assert all(one.good_signature and one.intact for one in look().opened)
    unsigned = look(sign=False)
    assert all(one.intact for one in unsigned.opened)
    assert not any("SIG" in line for one in unsigned.opened for line in one.status)


def receipt(look: Look) -> None:
    assert [mail[DISPOSITION] for mail in look().outside] == [SENDER] * 3
    assert not any(b"isposition-notification" in raw for raw in look(receipt=False).whole)


def receipt_mechanism(look: Look) -> None:
    for mechanism, outside, inside in (("1", True, False), ("2", False, True), ("both", True, True)):
        seen = look(receipt_mechanism=mechanism)
        assert [DISPOSITION in mail for mail in seen.outside] == [outside] * 3
        assert [mail[INSIDE] for mail in seen.inside] == [SENDER if inside else None] * 3
        for mail in seen.inside if inside else ():
            assert mail["Content-ID"] == mail["Message-ID"]
            key = mail["X-TELEMEDICINE-DISPOSITION-NOTIFICATION-KEYID"]
            assert seen.status("VALIDSIG")[-1].endswith(key)
            assert len(key) == 16
        assert not any(b"X-TELEMEDICINE-DISPOSITION" in raw for raw in seen.whole)
    assert INSIDE not in look(receipt_mechanism="2", receipt=False).inside[0]


def partial(look: Look) -> None:
    assert look(max_mail_size=30_000).files > 3
    with pytest.raises(RadpostError) as caught:
        look(max_mail_size=30_000, partial=False)
    assert caught.value.reason is BAD_COMMAND


def study_uid_outside(look: Look) -> None:
    assert not any("X-TELEMEDICINE-STUDYID" in mail for mail in look().outside)
    shown = look(study_uid_outside=True)
    assert [mail["X-TELEMEDICINE-STUDYID"] for mail in shown.outside][2] == "1.2.3"


EFFECTS = (
    objects_per_mail,
    max_mail_size,
    inner_encoding,
    compression,
    cipher,
    digest,
    sign,
    receipt,
    receipt_mechanism,
    partial,
    study_uid_outside,
)


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.__name__)
def test_switch(effect: Callable[[Look], None], look: Look) -> None:
    effect(look)


def test_every_switch_is_shown() -> None:
    assert {effect.__name__ for effect in EFFECTS} == set(Writing.__struct_fields__)


def test_the_first_recommendation(look: Look) -> None:
    """@GIT 1.1r knows one header of its own, X-TELEMEDICINE-STUDYID, and no receipts."""
    seen = look("agit-1.1")
    ours = re.compile(rb"(?im)^(x-telemedicine-[a-z-]+|disposition-notification-[a-z-]+)")
    assert [ours.findall(raw) for raw in seen.whole] == [[], [], []]
    inside = [ours.findall(one.plaintext) for one in seen.opened]
    assert inside == [[], [], [b"X-TELEMEDICINE-STUDYID"]]
    assert not DIALECTS["agit-1.1"].receipt
    wanted = look("agit-1.1", receipt=True)
    assert [mail[DISPOSITION] for mail in wanted.outside] == [SENDER] * 3, "RFC 8098 by a person's wish"
    with pytest.raises(RadpostError, match="has no header"):
        look("agit-1.1", receipt=True, receipt_mechanism="2")


def test_we_read_a_request_inside_the_encryption(look: Look, parties: Parties, tmp_path: Path) -> None:
    (raw, *_) = look(receipt_mechanism="2").whole
    outside = survey(raw)
    assert outside.receipt_to == ""
    with (
        offline_keys(as_files([parties.theirs], [parties.ours])) as keys,
        open_mail(outside, raw, keys.engine, temp=tmp_path, limits=Limits()) as content,
    ):
        assert content.request is not None
        assert content.request.to == content.receipt_to == SENDER
        assert content.request.content_id == outside.message_id
        assert keys.others[0].endswith(content.request.key_id)
