"""What RNP writes is read, also with AEAD, old ciphers and rare digests; what cannot be read is named."""

import io
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radpost.errors import LEGACY_ALGORITHM, RESOURCE_LIMIT, UNSUPPORTED_ALGORITHM, RadpostError, Reason
from radpost.openpgp import Limits
from radpost.openpgp.packets import ByteReader, read_header
from radpost.openpgp.values import Opened
from radpost.words import Verdict

from .conftest import World

pytestmark = pytest.mark.peer("gnupg", "rnp")

DATA = bytes(range(256)) * 2000
_TAMPER = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Rnp:
    """RNP with the partner's secret key and the certificates of ours."""

    def __init__(self, world: World, home: Path) -> None:
        self._home = home
        self._world = world
        for number, key in enumerate((world.partner.secret, world.rsa.public, world.ecc.public)):
            path = home / f"key{number}"
            path.write_bytes(key)
            self._run("rnpkeys", "--import", str(path))

    def write(self, data: bytes, kind: str, *options: str, signed: bool = True) -> bytes:
        source, sealed = self._home / "data", self._home / "sealed"
        source.write_bytes(data)
        signing = ("--sign", "-u", self._world.partner.fingerprint) if signed else ()
        recipient = ("--encrypt", "-r", self._world.own(kind))
        self._run("rnp", *signing, *recipient, *options, "--output", str(sealed), str(source))
        return sealed.read_bytes()

    def _run(self, program: str, *arguments: str) -> None:
        command = [program, "--homedir", str(self._home), "--notty", "--password", "", "--overwrite"]
        if program == "rnpkeys":
            command.remove("--overwrite")
        done = subprocess.run([*command, *arguments], capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr.decode("utf-8", "replace")


@pytest.fixture(scope="module")
def rnp(world: World, tmp_path_factory: pytest.TempPathFactory) -> Rnp:
    return Rnp(world, tmp_path_factory.mktemp("rnp"))


def opened(world: World, message: bytes, temp: Path, *, legacy: bool = False) -> Opened:
    return world.native.open(io.BytesIO(message), temp=temp, limits=Limits(), legacy=legacy)


def refused(world: World, message: bytes, temp: Path, *, legacy: bool = False) -> Reason:
    with pytest.raises(RadpostError) as caught:
        opened(world, message, temp, legacy=legacy)
    assert list(temp.iterdir()) == [], "nothing is released"
    return caught.value.reason


@pytest.mark.parametrize("kind", ["rsa", "ecc"])
@pytest.mark.parametrize("aead", ["OCB", "EAX"])
@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 512_000])
@pytest.mark.parametrize("bits", [0, 12])
def test_aead_is_read(
    world: World, rnp: Rnp, tmp_path: Path, kind: str, aead: str, size: int, bits: int
) -> None:
    """Chunks of 64 octets and of 256 KiB, and data that end where a chunk ends."""
    options = (f"--aead={aead}", f"--aead-chunk-bits={bits}", "-z", "0")
    with opened(world, rnp.write(DATA[:size], kind, *options), tmp_path).plaintext as plaintext:
        assert bytes(plaintext.view()[:]) == DATA[:size]


def test_aead_is_named_and_its_signature_verified(world: World, rnp: Rnp, tmp_path: Path) -> None:
    one = opened(world, rnp.write(DATA, "rsa", "--aead=OCB"), tmp_path)
    assert (one.integrity, one.encrypted, one.cipher, one.engine) == ("aead", True, "AES256", "native")
    assert (one.signature.verdict, one.signature.fingerprint) == (Verdict.GOOD, world.partner.fingerprint)


@pytest.fixture(scope="module")
def chunked(rnp: Rnp) -> dict[str, bytes]:
    return {
        mode: rnp.write(DATA[:700], "ecc", f"--aead={mode}", "--aead-chunk-bits=0") for mode in ("OCB", "EAX")
    }


@given(mode=st.sampled_from(["OCB", "EAX"]), place=st.floats(0, 1), change=st.integers(1, 255))
@_TAMPER
def test_inv7_changed_aead_is_never_released(
    world: World, chunked: dict[str, bytes], tmp_path: Path, mode: str, place: float, change: int
) -> None:
    message = bytearray(chunked[mode])
    message[int(place * (len(message) - 1))] ^= change
    try:
        with opened(world, bytes(message), tmp_path).plaintext as plaintext:
            assert bytes(plaintext.view()[:]) == DATA[:700], "changed data were released"
    except RadpostError:
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["OCB", "EAX"])
def test_inv7_aead_without_its_last_chunks_is_refused(
    world: World, chunked: dict[str, bytes], tmp_path: Path, mode: str
) -> None:
    """Each chunk is authentic by itself: that none is missing, only the last tag says."""
    message = chunked[mode]
    start = _start_of_aead(message)
    for cut in range(80, 400, 80):
        body = message[start:-cut]
        rebuilt = message[: start - 3] + b"\xd4\xff" + len(body).to_bytes(4, "big") + body
        assert refused(world, rebuilt, tmp_path).name in {"tampered", "truncated"}


def _start_of_aead(message: bytes) -> int:
    """Return where the body of packet 20 begins; its length field takes two octets here."""
    reader = ByteReader([message])
    header = read_header(reader)
    assert header is not None
    assert header.length is not None
    reader.take(header.length)
    second = read_header(reader)
    assert second is not None
    assert second.tag == 20
    return reader.position


def test_huge_chunks_are_refused_before_they_are_held(
    world: World, chunked: dict[str, bytes], tmp_path: Path
) -> None:
    message = bytearray(chunked["OCB"])
    message[_start_of_aead(bytes(message)) + 3] = 56
    assert refused(world, bytes(message), tmp_path) is RESOURCE_LIMIT


@pytest.mark.parametrize("digest", ["SHA224", "SHA256", "SHA384", "SHA512", "SHA3-256", "SHA3-512"])
def test_digests(world: World, rnp: Rnp, tmp_path: Path, digest: str) -> None:
    one = opened(world, rnp.write(DATA, "rsa", "--hash", digest), tmp_path)
    assert one.signature.verdict is Verdict.GOOD


def test_a_signature_with_an_unknown_digest_is_not_called_bad(world: World, rnp: Rnp, tmp_path: Path) -> None:
    """A signature that cannot be used must not disturb reception (@GIT 1.1r 5.1)."""
    one = opened(world, rnp.write(DATA, "rsa", "--hash", "SM3"), tmp_path)
    assert one.signature.verdict is Verdict.UNKNOWN_KEY


@pytest.mark.parametrize("cipher", ["IDEA", "TRIPLEDES", "CAST5", "BLOWFISH"])
def test_old_ciphers_need_the_legacy_switch(world: World, rnp: Rnp, tmp_path: Path, cipher: str) -> None:
    message = rnp.write(DATA, "rsa", "--cipher", cipher, signed=False)
    assert refused(world, message, tmp_path) is LEGACY_ALGORITHM
    one = opened(world, message, tmp_path, legacy=True)
    assert [warning.partition(":")[0] for warning in one.warnings] == ["legacy-cipher"]


@pytest.mark.parametrize("cipher", ["AES128", "AES192", "TWOFISH", "CAMELLIA128", "CAMELLIA256"])
def test_other_ciphers_of_today(world: World, rnp: Rnp, tmp_path: Path, cipher: str) -> None:
    one = opened(world, rnp.write(DATA, "rsa", "--cipher", cipher), tmp_path)
    assert (one.cipher, one.integrity, one.signature.verdict) == (cipher, "mdc", Verdict.GOOD)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_cipher_that_no_engine_knows_is_named(
    world: World,
    rnp: Rnp,
    tmp_path: Path,
    legacy: bool,  # a parameter of the test
) -> None:
    """Trying again would not help: it is the sender who must act."""
    message = rnp.write(DATA, "rsa", "--cipher", "SM4")
    assert refused(world, message, tmp_path, legacy=legacy) is UNSUPPORTED_ALGORITHM
