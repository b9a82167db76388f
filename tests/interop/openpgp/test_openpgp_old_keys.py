"""Keys of former times: what is sealed for them or signed by them is read, and its weakness is said."""

import io
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from radpost.agit.opening import open_mail
from radpost.agit.survey import survey
from radpost.openpgp import CompositeEngine, Keyring, Limits
from radpost.words import Verdict

pytestmark = pytest.mark.peer("gnupg")

INNER = (
    b"Content-Type: application/dicom\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    + bytes(128)
    + b"DICM"
    + b"x" * 999
)
KINDS = {
    "rsa1024": ("RSA", "Key-Length: 1024", "RSA", "Subkey-Length: 1024"),
    "dsa2048": ("DSA", "Key-Length: 2048", "ELG-E", "Subkey-Length: 2048"),
    "rsa2048": ("RSA", "Key-Length: 2048", "RSA", "Subkey-Length: 2048"),
    "nistp256": ("ECDSA", "Key-Curve: nistp256", "ECDH", "Subkey-Curve: nistp256"),
}


@dataclass(frozen=True)
class Old:
    """A key of such a kind in a GnuPG of its own."""

    home: Path
    kind: str

    def gpg(self, *arguments: str, data: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--trust-model", "always"]
        done = subprocess.run(
            [*command, *arguments], input=data, capture_output=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
        return done.stdout

    def generate(self) -> None:
        key, key_size, subkey, subkey_size = KINDS[self.kind]
        lines = (
            "%no-protection",
            f"Key-Type: {key}",
            key_size,
            "Key-Usage: sign",
            f"Subkey-Type: {subkey}",
            subkey_size,
            "Subkey-Usage: encrypt",
            f"Name-Real: {self.kind}",
            "Expire-Date: 0",
            "%commit",
        )
        self.gpg("--gen-key", data="\n".join(lines).encode() + b"\n")


@pytest.fixture(scope="module", params=list(KINDS))
def old(request: pytest.FixtureRequest) -> Iterator[tuple[Old, CompositeEngine]]:
    with tempfile.TemporaryDirectory(prefix="ro", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "g"
        home.mkdir(mode=0o700)
        one = Old(home, request.param)
        one.generate()
        secret = one.gpg("--export-secret-keys", one.kind)
        with Keyring(Path(folder) / "k", [secret], [one.gpg("--export", one.kind)]) as ring:
            yield one, CompositeEngine(ring)
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, timeout=60)


def weakness(kind: str) -> tuple[str, str]:
    """Return what is said of the signing key and of the encryption key."""
    return {"rsa1024": ("RSA 1024", "RSA 1024"), "dsa2048": ("DSA", "ElGamal")}.get(kind, ("", ""))


def test_engine_reads_and_names_the_weak_key(old: tuple[Old, CompositeEngine], tmp_path: Path) -> None:
    one, engine = old
    message = one.gpg("--digest-algo", "SHA256", "-s", "-e", "-u", one.kind, "-r", one.kind, data=INNER)
    opened = engine.open(io.BytesIO(message), temp=tmp_path, limits=Limits())
    signing, encryption = weakness(one.kind)
    with opened.plaintext as plaintext:
        assert bytes(plaintext.view()[:]) == INNER
    assert (opened.signature.verdict, opened.signature.legacy_key) == (Verdict.GOOD, signing)
    assert opened.warnings == ((f"legacy-recipient-key:{encryption}",) if encryption else ())
    detached = one.gpg("--digest-algo", "SHA256", "-b", "-u", one.kind, data=b"text")
    found = engine.verify_detached([b"text"], detached)
    assert (found.verdict, found.legacy_key) == (Verdict.GOOD, signing)


@pytest.mark.parametrize("legacy", [False, True])
def test_inv7_a_weak_key_signs_well_only_under_the_legacy_switch(
    old: tuple[Old, CompositeEngine],
    tmp_path: Path,
    legacy: bool,
) -> None:
    one, engine = old
    sealed = one.gpg("--digest-algo", "SHA256", "-a", "-s", "-e", "-u", one.kind, "-r", one.kind, data=INNER)
    mail = (
        b"From: a@klinik-a.example\r\nTo: b@klinik-b.example\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b\r\n\r\n'
        b"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
        b"--b\r\nContent-Type: application/octet-stream\r\n\r\n" + sealed + b"\r\n--b--\r\n"
    )
    with open_mail(survey(mail), mail, engine, temp=tmp_path, limits=Limits(), legacy=legacy) as content:
        signing, _ = weakness(one.kind)
        good = legacy or not signing
        assert content.signature.verdict is (Verdict.GOOD if good else Verdict.WEAK_DIGEST)
        assert (f"legacy-key:{signing}" in content.warnings) == bool(signing)
        assert len(content.parts) == 1
