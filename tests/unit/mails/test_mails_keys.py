"""Key files are told by their content, and the engine made of them leaves nothing behind."""

import io
import signal
import stat
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from radpost.errors import KEY_UNREADABLE, PASSPHRASE_WRONG, RadpostError
from radpost.mails.keyfiles import KeyFiles, as_files, read_material
from radpost.mails.keys import offline_keys
from radpost.openpgp import KeyKind, export_public, export_secret, generate, split
from radpost.openpgp.armor import unarmor_all
from radpost.openpgp.values import Limits
from radpost.words import Verdict

pytestmark = pytest.mark.peer("gnupg")


@pytest.fixture(scope="module")
def secret() -> bytes:
    return generate("Clinic", "gateway@clinic.example", kind=KeyKind.CURVE25519)


@pytest.fixture(scope="module")
def another() -> bytes:
    return generate("Partner", "radiology@partner.example", kind=KeyKind.CURVE25519)


@pytest.fixture(scope="module")
def pem() -> bytes:
    """A private key and its certificate in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "clinic")])
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + cert.public_bytes(serialization.Encoding.PEM)


def fingerprint(key: bytes) -> str:
    (found,) = split(key)
    return found


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_armored_and_binary_files_with_several_keys_give_all_of_them(
    secret: bytes, another: bytes, tmp_path: Path
) -> None:
    both = put(tmp_path, "keys.txt", b"Our keys:\r\n\r\n" + secret + b"\nand\n" + another)
    binary = put(tmp_path, "certs", unarmor_all(export_public(secret)) + unarmor_all(export_public(another)))
    found = read_material(KeyFiles(secrets=(both,), certs=(binary,))).openpgp
    assert found.own_fingerprints == (fingerprint(secret), fingerprint(another))
    assert found.other_fingerprints == (fingerprint(secret), fingerprint(another))


def test_a_public_key_among_the_secret_ones_is_taken_as_public(
    secret: bytes, another: bytes, tmp_path: Path
) -> None:
    mixed = put(tmp_path, "export.asc", secret + export_public(another))
    found = read_material(KeyFiles(secrets=(mixed,))).openpgp
    assert found.own_fingerprints == (fingerprint(secret),)
    assert found.other_fingerprints == (fingerprint(another),)


def test_of_a_secret_key_among_the_certs_only_the_public_part_is_taken(secret: bytes, tmp_path: Path) -> None:
    path = put(tmp_path, "key.asc", secret)
    found = read_material(KeyFiles(certs=(path,))).openpgp
    assert found.own == ()
    assert found.others == (unarmor_all(export_public(secret)),)


def test_x509_files_are_kept_apart_as_they_came(pem: bytes, secret: bytes, tmp_path: Path) -> None:
    key = put(tmp_path, "key.asc", pem)
    der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    cert, both = put(tmp_path, "cert.pgp", der), put(tmp_path, "both.txt", pem + secret)
    found = read_material(as_files([key, both], [cert], [cert]))
    assert found.x509.secrets == (pem, pem + secret)
    assert found.x509.certs == found.x509.anchors == (der,)
    assert found.openpgp.own_fingerprints == (fingerprint(secret),)


def test_a_utf16_file_of_a_windows_shell_is_read(secret: bytes, tmp_path: Path) -> None:
    path = put(tmp_path, "key.asc", secret.decode().encode("utf-16"))
    assert read_material(as_files([path])).openpgp.own_fingerprints == (fingerprint(secret),)


def test_a_passphrase_is_read_from_the_first_line_of_its_file(secret: bytes, tmp_path: Path) -> None:
    key = put(tmp_path, "key.asc", export_secret(secret, "geheim"))
    word = put(tmp_path, "word", b"geheim\r\nnot this\r\n")
    found = read_material(as_files([key], passphrase=word)).openpgp
    assert found.own == (unarmor_all(export_secret(secret)),)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"hello", "neither an OpenPGP key nor a certificate"),
        (b"", "neither an OpenPGP key nor a certificate"),
        (b"\x00\x00\x00\x20\x01\x01\x00\x02KBXf" + bytes(20), "gpg --export"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!!\n-----END PGP PUBLIC KEY BLOCK-----\n", "key.asc"),
        (b"\x99\xff\xff" + bytes(30), "key.asc"),
    ],
)
def test_a_file_without_key_is_named_with_the_reason(data: bytes, why: str, tmp_path: Path) -> None:
    path = put(tmp_path, "key.asc", data)
    for files in (as_files([path]), as_files((), [path])):
        with pytest.raises(RadpostError, match=why) as caught:
            read_material(files)
        assert caught.value.reason is KEY_UNREADABLE


@pytest.mark.parametrize(("word", "why"), [(None, "--passphrase-file"), (b"wrong", r"key\.asc")])
def test_a_locked_key_says_what_it_needs(secret: bytes, tmp_path: Path, word: bytes | None, why: str) -> None:
    key = put(tmp_path, "key.asc", export_secret(secret, "geheim"))
    file = None if word is None else put(tmp_path, "word", word)
    with pytest.raises(RadpostError, match=why) as caught:
        read_material(as_files([key], passphrase=file))
    assert caught.value.reason is PASSPHRASE_WRONG


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RadpostError, match=r"none\.asc: No such file"):
        read_material(as_files([tmp_path / "none.asc"]))


def test_an_openpgp_key_is_no_trust_anchor(secret: bytes, tmp_path: Path) -> None:
    path = put(tmp_path, "key.asc", secret)
    with pytest.raises(RadpostError, match="--ca takes"):
        read_material(as_files(anchors=[path]))


def test_secrets_do_not_show_in_the_value(secret: bytes, pem: bytes, tmp_path: Path) -> None:
    found = read_material(as_files([put(tmp_path, "a", secret), put(tmp_path, "b", pem)]))
    assert "PRIVATE" not in repr(found)
    assert repr(found.openpgp.own) not in repr(found)


def test_what_one_seals_the_other_opens_and_nothing_is_left_behind(
    secret: bytes, another: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = put(tmp_path, "a", secret), put(tmp_path, "b", another)
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)
    sealed = io.BytesIO()
    with offline_keys(as_files([theirs], [ours])) as keys:
        keys.engine.seal([b"data"], sealed, recipients=keys.others, signer=keys.own[0])
        assert [info.fingerprint for info in keys.describe(datetime.now(UTC))] == [*keys.own, *keys.others]
    with offline_keys(as_files([ours], [theirs])) as keys:
        (home,) = scratch.glob("rpk-*")
        assert stat.S_IMODE(home.stat().st_mode) == stat.S_IMODE(keys.temp.stat().st_mode) == 0o700
        sealed.seek(0)
        with keys.engine.open(sealed, temp=keys.temp, limits=Limits()).plaintext as plain:
            assert plain.view()[:] == b"data"
        sealed.seek(0)
        assert keys.engine.open(sealed, temp=keys.temp, limits=Limits()).signature.verdict is Verdict.GOOD
    assert list(scratch.iterdir()) == []


def test_without_a_sealed_mail_no_gnupg_is_needed(
    secret: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, "a", secret)
    monkeypatch.setenv("PATH", "")
    with offline_keys(as_files([path])) as keys:
        assert keys.own == (fingerprint(secret),)


HOLDER = """
import sys, time
from pathlib import Path
from radpost.mails.keyfiles import as_files
from radpost.mails.keys import offline_keys
with offline_keys(as_files([Path(sys.argv[1])])) as keys:
    keys.engine.sign_detached([b"data"], signer=keys.own[0])
    print(keys.temp, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_ended_leaves_no_keys_behind(
    number: signal.Signals, secret: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, folder = put(tmp_path, "a", secret), tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(key)], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline()
        (held,) = folder.glob("rpk-*")
        with offline_keys(as_files([key])):
            assert held.exists(), "what another command uses stays"
        running.send_signal(number)
        running.communicate()
    if number == signal.SIGKILL:  # nobody can do anything at that moment; the next command does
        assert held.exists()
        with offline_keys(as_files([key])):
            pass
    assert list(folder.glob("rpk-*")) == []
