"""Others read what we write: every dialect, DICOM and documents, whole and in fragments, byte for byte.

GnuPG and Sequoia open and verify; Python's ``email``, ``munpack`` and ``reformime`` take the mails apart. No
code of ours reads here.
"""

import email
import email.policy
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from radpost.mails.packing import Packed
from radpost.testing.parcels import Parties, dicom_file, make_parties, packed
from radpost.testing.peers.gnupg import GnuPG

CONTENTS = {
    "1-native.dcm": dicom_file(1, bytes(range(256)) * 300),
    "2-jpeg.dcm": dicom_file(2, os.urandom(70_001), jpeg=True),
    "Befund Müller.pdf": b"%PDF-1.4\n" + os.urandom(5000),
    "armor.txt": b"-----BEGIN PGP MESSAGE-----\r\n--\r\n.\r\nFrom x\r\n=_00\r\n\r\n",
    "empty.xml": b"",
    "one.bin": b"\r",
}
TYPES = ["application/dicom"] * 2 + ["application/pdf", "text/plain"]
NAMES = ["IM000001.dcm", "IM000002.dcm", "Befund Müller.pdf", "armor.txt", "empty.xml", "one.bin"]


@dataclass(frozen=True, slots=True)
class Way:
    """A dialect with switches."""

    dialect: Any
    switches: dict[str, object]

    @property
    def encoded(self) -> bool:
        """Whether all inside is text (7bit)."""
        return self.switches.get("inner_encoding") != "binary"


PEERS = {"objects_per_mail": 100, "inner_encoding": "binary"}
WAYS = {
    "1.1r": Way("agit-1.1", {}),
    "1.1r-cut": Way("agit-1.1", {"max_mail_size": 30_000}),
    "field": Way("agit-1.5", {}),
    "field-cut": Way("agit-1.5", {"max_mail_size": 30_000}),
    "field-many-uncompressed": Way("agit-1.5", {"objects_per_mail": 100, "compression": "never"}),
    "field-unsigned": Way("agit-1.5", {"sign": False, "cipher": "AES128"}),
    "peers": Way("agit-1.5", PEERS),
    "peers-cut": Way("agit-1.5", {**PEERS, "max_mail_size": 30_000}),
}


@dataclass(frozen=True, slots=True)
class Post:
    """A transmission that was packed one way."""

    way: Way
    folder: Path
    result: Packed

    def fragments(self) -> Iterator[list[bytes]]:
        """Yield the files of each mail, in order."""
        for mail in self.result.mails:
            yield [(self.folder / name).read_bytes() for name in mail.files]

    def mails(self) -> Iterator[bytes]:
        """Yield each mail; fragments are joined by the standard library alone."""
        for files in self.fragments():
            yield files[0] if len(files) == 1 else joined(files)


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Parties:
    return make_parties(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def gpg(parties: Parties) -> Iterator[GnuPG]:
    with GnuPG([parties.theirs, parties.ours]) as peer:
        yield peer


@pytest.fixture(scope="module")
def posts(parties: Parties, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Post]:
    """The same files, packed every way."""
    source = tmp_path_factory.mktemp("source")
    for name, data in CONTENTS.items():
        (source / name).write_bytes(data)
    found = {}
    for name, way in WAYS.items():
        out = tmp_path_factory.mktemp("out") / "mails"
        result = packed(parties, [source], out, dialect=way.dialect, switches=way.switches)
        found[name] = Post(way, out, result)
    assert all(len(files) > 1 for files in list(posts_cut(found))), "what is to be cut is cut"
    return found


def posts_cut(found: dict[str, Post]) -> Iterator[list[bytes]]:
    """Yield the fragments of the second mail, or the only one, of each way that cuts."""
    for name, post in found.items():
        if name.endswith("-cut"):
            files = list(post.fragments())
            yield files[min(1, len(files) - 1)]


@pytest.fixture(params=list(WAYS))
def post(request: pytest.FixtureRequest, posts: dict[str, Post]) -> Post:
    return posts[request.param]


def joined(files: Sequence[bytes]) -> bytes:
    """Join message/partial as RFC 2046 5.2.2.1 says: the bodies one after the other."""
    bodies = []
    for number, raw in enumerate(files, 1):
        fragment = email.message_from_bytes(raw, policy=email.policy.SMTP)
        assert not fragment.defects
        assert fragment.get_content_type() == "message/partial"
        assert fragment.get_param("number") == str(number)
        assert fragment.get_param("total") == str(len(files))
        bodies.append(raw.partition(b"\r\n\r\n")[2])
    return b"".join(bodies)


def armor(mail: bytes) -> bytes:
    """Return the sealed part by the standard library (RFC 3156 4)."""
    message = email.message_from_bytes(mail, policy=email.policy.SMTP)
    assert not message.defects
    assert message.get_content_type() == "multipart/encrypted"
    assert message.get_param("protocol") == "application/pgp-encrypted"
    assert isinstance(message, EmailMessage)
    control, data = message.iter_parts()
    assert control.get_payload(decode=True) == b"Version: 1\r\n"
    found = data.get_payload(decode=True)
    assert isinstance(found, bytes)
    return found


def opened(gpg: GnuPG, post: Post, sealed: bytes) -> bytes:
    """Decrypt and verify by GnuPG."""
    done = gpg.open(sealed)
    assert done.intact
    assert done.good_signature == post.way.switches.get("sign", True)
    return done.plaintext


def run(*words: str, data: bytes = b"") -> bytes:
    done = subprocess.run(words, input=data, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout


def by_reformime(inner: bytes) -> list[bytes]:
    """Return the content of all parts but the first, which is text for people."""
    listing = run("reformime", "-i", data=inner).decode()
    sections = [line.split(": ")[1] for line in listing.splitlines() if line.startswith("section: 1.")]
    return [run("reformime", f"-s{section}", "-e", data=inner) for section in sections[1:]]


@pytest.mark.peer("gnupg")
def test_inv3_gnupg_and_python(post: Post, gpg: GnuPG) -> None:
    """``email`` takes line ends within unencoded (binary) parts for its own, so there it only sees names."""
    found = []
    for mail in post.mails():
        inner = email.message_from_bytes(opened(gpg, post, armor(mail)), policy=email.policy.SMTP)
        assert inner.get_content_type() == "multipart/mixed"
        found += [part for part in inner.walk() if not part.is_multipart()][1:]
    assert [part.get_filename() for part in found] == NAMES
    assert [part.get_content_type() for part in found][:4] == TYPES
    if post.way.encoded:
        assert [part.get_payload(decode=True) for part in found] == list(CONTENTS.values())


@pytest.mark.peer("gnupg", "maildrop")
def test_inv3_gnupg_and_reformime(post: Post, gpg: GnuPG) -> None:
    """Also takes the outside apart, and reads parts that stand unencoded."""
    found = []
    for mail in post.mails():
        found += by_reformime(opened(gpg, post, run("reformime", "-s1.2", "-e", data=mail)))
    assert found == list(CONTENTS.values())


@pytest.mark.peer("gnupg", "sqop", "maildrop")
def test_inv3_sequoia(post: Post, parties: Parties, tmp_path: Path) -> None:
    found = []
    verdicts = tmp_path / "verdicts"
    for mail in post.mails():
        verdicts.unlink(missing_ok=True)
        signed = post.way.switches.get("sign", True)
        check = [f"--verifications-out={verdicts}", f"--verify-with={parties.ours}"] if signed else []
        found += by_reformime(run("sqop", "decrypt", *check, "--", str(parties.theirs), data=armor(mail)))
        assert not signed or len(verdicts.read_text().splitlines()) == 1
    assert found == list(CONTENTS.values())


@pytest.mark.peer("gnupg", "mpack")
def test_inv3_munpack_joins_fragments_and_takes_mails_apart(
    post: Post, gpg: GnuPG, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fragments come last first.

    What munpack does its own way: it reads files with the line ends of a mailbox on Unix (with CRLF it loses
    lines of fragments), numbers parts whose name it does not know (RFC 2231), gives text the line ends of the
    system, and adds line ends to unencoded (binary) parts, which is why those go to Radpost peers only.
    Debian's also refuses to write the number of fragments twice and cannot join its own; that file is removed
    between the calls.
    """
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    inner, found = tmp_path / "inner", []
    for index, files in enumerate(post.fragments()):
        outside = tmp_path / f"mail{index}"
        outside.mkdir()
        for number, raw in reversed(list(enumerate(files))):
            (outside / f"{number}.eml").write_bytes(raw.replace(b"\r\n", b"\n"))
            for stale in tmp_path.glob("m-prts-*/*/CT"):
                stale.unlink()
            run("munpack", "-q", "-C", str(outside), f"{number}.eml")
        plain = opened(gpg, post, (outside / "encrypted.asc").read_bytes())
        inside = tmp_path / f"inside{index}"
        inside.mkdir()
        inner.write_bytes(plain)
        run("munpack", "-q", "-C", str(inside), str(inner))
        found += [path for path in inside.iterdir() if path.suffix != ".desc"]
    assert len(found) == len(CONTENTS)
    by_name = {path.name if path.name in NAMES else NAMES[2]: path.read_bytes() for path in found}
    for name, data in zip(NAMES, CONTENTS.values(), strict=True):
        got = by_name[name]
        if name.endswith(".txt"):
            assert got.replace(b"\r\n", b"\n").strip() == data.replace(b"\r\n", b"\n").strip()
        elif post.way.encoded:
            assert got == data
        else:
            assert data in got
