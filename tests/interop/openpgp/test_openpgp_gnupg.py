"""GnuPG reads and verifies all that we write, and we read all that it writes (DESIGN 6)."""

import array
import io
import os
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from radpost.errors import (
    ENGINE_FAULT,
    LEGACY_ALGORITHM,
    NO_SECRET_KEY,
    NO_USABLE_KEY,
    OWN_KEY_UNUSABLE,
    PASSWORD_ENCRYPTED,
    PROGRAM_MISSING,
    RESOURCE_LIMIT,
    RadpostError,
)
from radpost.openpgp import Chunk, CompositeEngine, Compression, Engine, GnuPGEngine, Keyring, Limits, Opened
from radpost.openpgp.gnupg import GnuPG as Pipe
from radpost.testing.peers.gnupg import GnuPG
from radpost.words import Verdict

from .conftest import World

pytestmark = pytest.mark.peer("gnupg")

KINDS = ("rsa", "ecc")
MIXED = b"".join(piece for number in range(40) for piece in (os.urandom(60_000), bytes([number]) * 70_001))


def chunks(data: bytes, size: int = 70_000) -> Iterator[Chunk]:
    """Pieces that are declared compressible by turns."""
    for number, at in enumerate(range(0, len(data), size)):
        yield Chunk(memoryview(data)[at : at + size], compressible=number % 3 != 1)


def seal(engine: Engine, data: bytes, to: str, signer: str | None, **options: object) -> bytes:
    out = io.BytesIO()
    sealed = engine.seal(chunks(data), out, recipients=[to], signer=signer, **options)  # type: ignore[arg-type]
    assert sealed.size == len(out.getvalue())
    assert sealed.plaintext_size == len(data)
    return out.getvalue()


def opened(engine: Engine, message: bytes, temp: Path, **options: object) -> tuple[Opened, bytes]:
    result = engine.open(io.BytesIO(message), temp=temp, limits=Limits(), **options)  # type: ignore[arg-type]
    with result.plaintext as plaintext:
        return result, bytes(plaintext.view()[:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compress", list(Compression))
def test_gnupg_reads_what_the_native_engine_writes(world: World, kind: str, compress: Compression) -> None:
    """RFC 4880 5.4, 5.9, 11.3."""
    for number, size in enumerate((0, 1, 505, 506, 507, 8191, 262_123, 262_145, 1_000_003, len(MIXED))):
        data = MIXED[:size]
        message = seal(
            world.native, data, world.own(kind), world.own(kind), compress=compress, armor=number % 2 == 0
        )
        found = world.peer.open(message)
        assert found.plaintext == data, size
        assert found.intact
        assert found.good_signature
        assert found.signer == world.own(kind)
        assert not any("ERROR" in line or "BAD" in line for line in found.status), found.status


@pytest.mark.parametrize("options", [{"cipher": "AES128"}, {"cipher": "AES192", "digest": "SHA512"}])
def test_other_ciphers_and_digests(world: World, tmp_path: Path, options: dict[str, str]) -> None:
    message = seal(world.native, b"hello", world.own("rsa"), world.own("ecc"), **options)
    assert world.peer.open(message).plaintext == b"hello"
    result, data = opened(world.native, message, tmp_path)
    assert (result.cipher, result.engine, data) == (options["cipher"], "native", b"hello")


def test_mixed_data_shrink_and_noise_does_not_grow(world: World) -> None:
    out = io.BytesIO()
    noise = Chunk(os.urandom(3_000_000), compressible=False)
    text = Chunk(b"radiology " * 300_000)
    world.native.seal([noise, text], out, recipients=[world.own("ecc")], signer=None, armor=False)
    assert len(out.getvalue()) < 3_040_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ["zip", "zlib", "bzip2", "none"])
def test_the_native_engine_reads_what_gnupg_writes(
    world: World, tmp_path: Path, kind: str, algorithm: str
) -> None:
    """RFC 4880 5.6, 9.3, 11.3."""
    for size in (0, 1, 8000, 200_001, 1_500_000):
        message = world.peer.seal(
            MIXED[:size],
            [world.own(kind)],
            signer=world.partner.fingerprint,
            armor=size != 8000,
            options=["--compress-algo", algorithm],
        )
        result, data = opened(world.native, message, tmp_path)
        assert data == MIXED[:size]
        assert result.engine == "native"
        assert (result.integrity, result.cipher, result.encrypted) == ("mdc", "AES256", True)
        assert result.signature.verdict is Verdict.GOOD
        assert result.signature.fingerprint == world.partner.fingerprint
        assert result.signature.created is not None


def test_gnupg_with_its_defaults_from_a_file_with_a_name(world: World, tmp_path: Path) -> None:
    """From a file GnuPG writes definite lengths and the file's name."""
    name = tmp_path / "study.dcm"
    name.write_bytes(MIXED[:300_000])
    target = tmp_path / "out.gpg"
    world.peer.run("--output", str(target), "-r", world.own("rsa"), "-s", "-e", str(name))
    result, data = opened(world.native, target.read_bytes(), tmp_path)
    assert data == MIXED[:300_000]
    assert result.engine == "native"


@pytest.mark.parametrize("hidden", [False, True])
def test_several_and_hidden_recipients(world: World, tmp_path: Path, hidden: bool) -> None:
    """RFC 4880 5.1."""
    to = [world.stranger.fingerprint, world.partner.fingerprint, world.own("ecc"), world.own("rsa")]
    options = ["--throw-keyids"] if hidden else []
    for engine in (world.native, world.gnupg):
        result, data = opened(engine, world.peer.seal(b"hello", to, options=options), tmp_path)
        assert data == b"hello"
        assert result.signature.verdict is Verdict.NONE


def test_two_signatures(world: World, tmp_path: Path) -> None:
    message = world.peer.run(
        "-u",
        world.own("rsa"),
        "-u",
        world.stranger.fingerprint,
        "-r",
        world.own("ecc"),
        "-s",
        "-e",
        data=b"x",
    )[0]
    result, _ = opened(world.native, message, tmp_path)
    assert result.engine == "native"
    assert sorted(one.verdict.value for one in result.signatures) == ["good", "unknown-key"]
    assert result.signature.verdict is Verdict.GOOD


def test_an_unknown_signer_is_named(world: World, tmp_path: Path) -> None:
    message = world.peer.seal(b"x", [world.own("ecc")], signer=world.stranger.fingerprint)
    for engine in (world.native, world.gnupg):
        result, data = opened(engine, message, tmp_path)
        assert data == b"x"
        assert result.signature.verdict is Verdict.UNKNOWN_KEY
        assert result.signature.fingerprint is None
        assert len(result.signature.signing_fingerprint or "") == 40


@pytest.mark.parametrize("cipher", ["TWOFISH", "CAMELLIA256"])
def test_other_ciphers_go_to_gnupg(world: World, tmp_path: Path, cipher: str) -> None:
    options = ["--cipher-algo", cipher]
    message = world.peer.seal(MIXED[:99_999], [world.own("rsa")], signer=world.own("ecc"), options=options)
    result, data = opened(world.native, message, tmp_path)
    assert (result.engine, result.cipher, data) == ("gnupg", cipher, MIXED[:99_999])
    assert result.signature.verdict is Verdict.GOOD


@pytest.mark.parametrize("cipher", ["3DES", "CAST5", "BLOWFISH"])
def test_legacy_ciphers_only_on_request(world: World, tmp_path: Path, cipher: str) -> None:
    message = world.peer.seal(b"old", [world.own("rsa")], options=["--cipher-algo", cipher])
    for engine in (world.native, world.gnupg):
        with pytest.raises(RadpostError) as caught:
            opened(engine, message, tmp_path)
        assert caught.value.reason is LEGACY_ALGORITHM
        result, data = opened(engine, message, tmp_path, legacy=True)
        assert data == b"old"
        assert result.warnings == (f"legacy-cipher:{cipher}",)


@pytest.mark.parametrize(
    "options", [["--sign", "--textmode"], ["--clearsign"], ["--sign"], ["--sign", "--compress-algo=none"]]
)
def test_signed_but_not_encrypted(world: World, tmp_path: Path, options: list[str]) -> None:
    for armor in ([], ["--armor"]):
        message = world.peer.run("-u", world.own("rsa"), *armor, *options, data=b"hello\r\nyou\r\n")[0]
        result, data = opened(world.native, message, tmp_path)
        assert data.split() == [b"hello", b"you"]
        assert (result.integrity, result.encrypted, result.cipher) == ("none", False, "")
        assert result.signature.verdict is Verdict.GOOD
        assert result.signature.fingerprint == world.own("rsa")


def test_detached_signatures_both_ways(world: World, tmp_path: Path) -> None:
    data = b"a line of text, as mail has them\r\n" * 9000
    file = tmp_path / "data"
    file.write_bytes(data)
    for kind in KINDS:
        made = world.native.sign_detached([data[:999], data[999:]], signer=world.own(kind))
        (tmp_path / "sig").write_bytes(made)
        status = world.peer.run("--verify", str(tmp_path / "sig"), str(file))[1]
        assert any(line.startswith("GOODSIG") for line in status)
        for options in (["--armor"], [], ["--textmode"]):
            theirs = world.peer.run("-u", world.own(kind), *options, "--detach-sign", data=data)[0]
            for engine in (world.native, world.gnupg):
                good = engine.verify_detached([data[:1], data[1:]], theirs)
                assert good.verdict is Verdict.GOOD
                assert good.fingerprint == world.own(kind)
                assert engine.verify_detached([data, b"x"], theirs).verdict is Verdict.BAD
        assert world.gnupg.verify_detached([data], made).verdict is Verdict.GOOD
        theirs = world.gnupg.sign_detached([data], signer=world.own(kind))
        assert world.native.verify_detached([data], theirs).verdict is Verdict.GOOD
    theirs = world.peer.run("-u", world.stranger.fingerprint, "--detach-sign", data=data)[0]
    for engine in (world.native, world.gnupg):
        assert engine.verify_detached([data], theirs).verdict is Verdict.UNKNOWN_KEY


def test_the_gnupg_engine_writes_what_the_native_one_reads(world: World, tmp_path: Path) -> None:
    for compress in Compression:
        message = seal(world.gnupg, MIXED, world.own("rsa"), world.own("ecc"), compress=compress)
        result, data = opened(world.native, message, tmp_path)
        assert (data, result.engine, result.signature.verdict) == (MIXED, "native", Verdict.GOOD)


@pytest.mark.parametrize("algorithm", ["nistp256", "dsa2048", "rsa2048"])
def test_partners_with_other_keys(world: World, short_home: Path, tmp_path: Path, algorithm: str) -> None:
    """Keys that the native engine does not know are served by GnuPG, unseen by the caller."""
    encrypt = {"nistp256": "nistp256", "dsa2048": "elg2048", "rsa2048": "rsa2048"}[algorithm]
    with GnuPG() as peer:
        _, status, _ = peer.run("--quick-generate-key", "other <o@x.example>", algorithm, "sign", "never")
        partner = next(line.split()[2] for line in status if line.startswith("KEY_CREATED "))
        peer.run("--quick-add-key", partner, encrypt, "encr", "never")
        public = peer.export(partner)
        peer.import_key(world.ecc.public)
        with Keyring(short_home / algorithm, [world.ecc.secret], [public]) as keyring:
            engine = CompositeEngine(keyring)
            message = seal(engine, MIXED[:200_000], partner, world.own("ecc"))
            found = peer.open(message)
            assert found.plaintext == MIXED[:200_000]
            assert found.intact
            assert found.signer == world.own("ecc")
            reply = peer.seal(MIXED[:200_000], [world.own("ecc")], signer=partner)
            result, data = opened(engine, reply, tmp_path)
            assert data == MIXED[:200_000]
            assert result.engine == ("native" if algorithm == "rsa2048" else "gnupg")
            assert result.signature.verdict is Verdict.GOOD
            assert result.signature.fingerprint == partner
            detached = peer.run("--detach-sign", data=b"abc")[0]
            assert engine.verify_detached([b"abc"], detached).verdict is Verdict.GOOD


def test_64_parallel_decryptions_succeed(world: World, tmp_path: Path) -> None:
    message = world.peer.seal(MIXED[:50_000], [world.own("rsa")], signer=world.own("rsa"))
    start = threading.Barrier(64)

    def one(_: int) -> bytes:
        start.wait()
        result, data = opened(world.gnupg, message, tmp_path)
        assert (result.engine, result.signature.verdict) == ("gnupg", Verdict.GOOD)
        return data

    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(one, range(64))) == [MIXED[:50_000]] * 64


def test_native_engine_in_many_threads(world: World, tmp_path: Path) -> None:
    def one(number: int) -> bool:
        data = MIXED[number : 400_000 + number]
        message = seal(world.native, data, world.own("rsa"), world.own("ecc"))
        result, got = opened(world.native, message, tmp_path)
        return got == data and result.signature.verdict is Verdict.GOOD

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(32)))


def test_not_for_us_and_password(world: World, tmp_path: Path) -> None:
    foreign = world.peer.seal(b"x", [world.stranger.fingerprint])
    hidden = world.peer.seal(b"x", [world.stranger.fingerprint], options=["--throw-keyids"])
    with_password = world.peer.run("--passphrase=word", "--symmetric", data=b"x")[0]
    options = ["--passphrase=word", "--symmetric"]
    both = world.peer.seal(b"both", [world.own("rsa")], options=options)
    for engine in (world.native, world.gnupg):
        for message, reason in (
            (foreign, NO_SECRET_KEY),
            (hidden, NO_SECRET_KEY),
            (with_password, PASSWORD_ENCRYPTED),
        ):
            with pytest.raises(RadpostError) as caught:
                opened(engine, message, tmp_path)
            assert caught.value.reason is reason
        assert opened(engine, both, tmp_path)[1] == b"both"


class _Claims:
    """A keyring that says every key is ours."""

    def owns(self, keyid: str) -> bool:
        return bool(keyid)

    def primary_of(self, name: str) -> str | None:
        del name
        return None


def test_no_secret_key_is_not_believed_if_the_key_is_ours(world: World, tmp_path: Path) -> None:
    """GnuPG says so falsely under load: it is a fault of the engine and tried again, never NO_SECRET_KEY."""
    foreign = io.BytesIO(world.peer.seal(b"x", [world.stranger.fingerprint]))
    with pytest.raises(RadpostError) as caught:
        world.keyring.gnupg.open(foreign, _Claims(), temp=tmp_path, limits=Limits(), legacy=False)
    assert caught.value.reason is ENGINE_FAULT


def test_a_run_has_a_time_limit(world: World, tmp_path: Path) -> None:
    message = io.BytesIO(world.peer.seal(MIXED, [world.own("rsa")]))
    with pytest.raises(RadpostError) as caught:
        world.gnupg.open(message, temp=tmp_path, limits=Limits(timeout=0.0))
    assert caught.value.reason is ENGINE_FAULT


def test_bombs_and_large_plaintext_are_stopped(world: World, tmp_path: Path) -> None:
    bomb = io.BytesIO()
    zeros = bytes(1 << 20)
    world.native.seal((Chunk(zeros) for _ in range(80)), bomb, recipients=[world.own("ecc")], signer=None)
    for engine in (world.native, world.gnupg):
        for limits in (Limits(max_plaintext=1 << 20), Limits(ratio_floor=8 << 20, max_ratio=100)):
            bomb.seek(0)
            with pytest.raises(RadpostError) as caught:
                engine.open(bomb, temp=tmp_path, limits=limits)
            assert caught.value.reason is RESOURCE_LIMIT
    assert list(tmp_path.iterdir()) == []


def test_large_plaintext_goes_to_an_unlinked_file(world: World, tmp_path: Path) -> None:
    message = seal(world.native, MIXED, world.own("ecc"), None)
    for engine in (world.native, world.gnupg):
        result = engine.open(io.BytesIO(message), temp=tmp_path, limits=Limits(memory=1000))
        assert not result.plaintext.in_memory
        assert result.plaintext.open().read() == MIXED
        assert list(tmp_path.iterdir()) == []
        result.plaintext.close()


def test_memory_does_not_grow_with_the_size(world: World, tmp_path: Path) -> None:
    """DESIGN invariant 8: a study of any size passes in constant memory, in both directions."""
    block = os.urandom(1 << 20)

    def peak(count: int) -> int:
        file = tmp_path / "sealed"
        own = world.own("ecc")
        tracemalloc.start()
        try:
            with file.open("w+b", buffering=0) as sink:
                source = (Chunk(block, compressible=False) for _ in range(count))
                world.native.seal(source, sink, recipients=[own], signer=own, armor=False)
                sink.seek(0)
                result = world.native.open(sink, temp=tmp_path, limits=Limits(memory=1 << 20))
            assert result.plaintext.size == count << 20
            result.plaintext.close()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small, large = peak(4), peak(40)
    assert large < 16 << 20
    assert large < small * 1.2


def test_sealing_fails_before_anything_is_written(world: World) -> None:
    for engine in (world.native, world.gnupg):
        for recipients, signer, reason in (
            ([], None, NO_USABLE_KEY),
            ([world.stranger.fingerprint], None, NO_USABLE_KEY),
            ([world.own("rsa"), world.stranger.fingerprint], None, NO_USABLE_KEY),
            ([world.own("rsa")], world.partner.fingerprint, OWN_KEY_UNUSABLE),
            ([world.own("rsa")], world.stranger.fingerprint, OWN_KEY_UNUSABLE),
        ):
            out = io.BytesIO()
            with pytest.raises(RadpostError) as caught:
                engine.seal([b"x"], out, recipients=recipients, signer=signer)
            assert caught.value.reason is reason
            assert out.getvalue() == b""


def test_a_failing_source_ends_gnupg_and_comes_through(world: World) -> None:
    def source() -> Iterator[bytes]:
        yield MIXED
        raise OSError("disk")

    for engine in (world.native, world.gnupg):
        with pytest.raises(OSError, match="disk"):
            engine.seal(source(), io.BytesIO(), recipients=[world.own("ecc")], signer=None)


def test_home_is_reused_swept_and_its_agent_ends(world: World, short_home: Path, tmp_path: Path) -> None:
    home = short_home / "h"
    message = world.peer.seal(b"x", [world.own("ecc")])
    one = Keyring(home, [world.ecc.secret], [])
    first = one.gnupg.home
    assert opened(GnuPGEngine(one), message, tmp_path)[1] == b"x"
    agents = _agents(first)
    assert len(agents) == 1
    # another key set: the home of the first stays as long as somebody holds it
    with Keyring(home, [world.ecc.secret], [world.partner.public]) as two:
        assert two.gnupg.home != first
        assert opened(GnuPGEngine(one), message, tmp_path)[1] == b"x"
    one.close()
    _gone(agents)
    with Keyring(home, [world.ecc.secret], []) as again:
        assert again.gnupg.home == first
        assert opened(GnuPGEngine(again), message, tmp_path)[1] == b"x"
        assert [folder for folder in home.iterdir() if folder != first] == []
        assert oct(first.stat().st_mode & 0o777) == "0o700"


def test_keyrings_grow_by_inheritance_and_forget_what_is_not_wanted(
    world: World, short_home: Path, tmp_path: Path
) -> None:
    home = short_home / "i"
    signed = world.peer.seal(b"x", [world.own("ecc")], signer=world.partner.fingerprint)
    sets = [
        [],
        [world.partner.public],
        [world.stranger.public, world.partner.public],
        [world.stranger.public],
    ]
    for others in sets:
        with Keyring(home, [world.ecc.secret], others) as keyring:
            assert len(keyring.certs) == 1 + len(others)
            known = world.partner.public in others
            for engine in (CompositeEngine(keyring), GnuPGEngine(keyring)):
                verdict = opened(engine, signed, tmp_path)[0].signature.verdict
                assert verdict is (Verdict.GOOD if known else Verdict.UNKNOWN_KEY)
            secrets = list((keyring.gnupg.home / "private-keys-v1.d").iterdir())
            assert {file.stat().st_mode & 0o777 for file in secrets} == {0o600}


def test_a_home_counts_as_complete_only_after_its_files_are_durable(
    world: World, short_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power failure could leave a home that is never filled again, and no key would be usable."""
    sync, synced = os.fsync, set[Path]()

    def noted(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        home = path if (path / "pubring.kbx").exists() else path.parent
        assert not (home / "complete").exists()
        synced.add(path)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    with Keyring(short_home / "d", [world.ecc.secret], [world.partner.public]) as keyring:
        home = keyring.gnupg.home
        secrets = home / "private-keys-v1.d"
        assert {home / "pubring.kbx", *secrets.iterdir(), secrets, home} <= synced
    synced.clear()
    with Keyring(short_home / "d", [world.ecc.secret], [world.partner.public]):
        assert not synced, "a restart with the same keys costs nothing"


def test_a_home_that_was_interrupted_is_made_anew_whatever_lies_in_it(
    world: World, short_home: Path, tmp_path: Path
) -> None:
    message = world.peer.seal(b"x", [world.own("ecc")])
    with Keyring(short_home / "t", [world.ecc.secret], []) as keyring:
        home = keyring.gnupg.home
        agents = _agents(home)
    _gone(agents)
    (home / "complete").unlink()
    for torn in (home / "pubring.kbx", home / "gpg-agent.conf", *(home / "private-keys-v1.d").iterdir()):
        torn.write_bytes(bytes(512))
    with Keyring(short_home / "t", [world.ecc.secret], []) as keyring:
        assert keyring.gnupg.home == home
        assert opened(GnuPGEngine(keyring), message, tmp_path)[1] == b"x"


def _agents(home: Path) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"gpg-agent") and os.fsencode(home) in words:
            found.append(int(folder.name))
    return found


def _gone(pids: list[int]) -> None:
    deadline = threading.Event()
    for _ in range(100):
        states = [Path(f"/proc/{pid}/stat") for pid in pids]
        # an orphan may stay as a zombie where nobody reaps
        if all(not path.exists() or " Z " in path.read_text(encoding="latin-1") for path in states):
            return
        deadline.wait(0.05)
    pytest.fail("the agent still runs")


def test_a_home_with_a_long_path_works(world: World, tmp_path: Path) -> None:
    """Sockets have short paths (108 octets); a data directory may have a long one."""
    message = world.peer.seal(b"x", [world.own("ecc")])
    home = tmp_path / ("x" * 90)
    with Keyring(home, [world.ecc.secret], []) as keyring:
        assert opened(GnuPGEngine(keyring), message, tmp_path)[1] == b"x"
        assert (keyring.gnupg.home / "S.gpg-agent").is_socket()
        links = {link: link.resolve() for link in Path("/tmp").glob("rp-*/h")}
        assert keyring.gnupg.home in links.values()
    assert not any(link.resolve() == keyring.gnupg.home for link in Path("/tmp").glob("rp-*/h"))
    wait = threading.Event()
    while (keyring.gnupg.home / "S.gpg-agent").exists():
        wait.wait(0.05)


def test_pixels_and_maps_are_buffers_too(world: World) -> None:
    pixels = array.array("h", range(-500, 500))
    for engine in (world.native, world.gnupg):
        for compress in Compression:
            out = io.BytesIO()
            source: list[Chunk | bytearray | bytes] = [Chunk(memoryview(pixels)), bytearray(b"x"), b""]
            sealed = engine.seal(source, out, recipients=[world.own("ecc")], signer=None, compress=compress)
            assert sealed.plaintext_size == 2001
            assert world.peer.open(out.getvalue()).plaintext == pixels.tobytes() + b"x"


def test_gnupg_that_dies_is_a_fault(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "gpg"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o700)
    monkeypatch.setattr(world.keyring.gnupg, "_program", str(program))
    with pytest.raises(RadpostError) as caught:
        opened(world.gnupg, world.peer.seal(b"x", [world.own("ecc")]), tmp_path)
    assert caught.value.reason is ENGINE_FAULT


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RadpostError) as caught:
        Pipe(tmp_path / "h")
    assert caught.value.reason is PROGRAM_MISSING
