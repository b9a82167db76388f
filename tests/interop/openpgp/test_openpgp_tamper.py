"""Nothing that was changed on its way is released (DESIGN invariant 7, RFC 4880 5.13)."""

import hashlib
import io
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radpost.errors import (
    NO_INTEGRITY,
    NO_SECRET_KEY,
    OPENPGP_MALFORMED,
    RESOURCE_LIMIT,
    TAMPERED,
    TRUNCATED,
    RadpostError,
    Reason,
)
from radpost.openpgp import Compression, Engine, Limits, material, packets, signatures
from radpost.openpgp.armor import unarmor_all
from radpost.openpgp.material import Encryptor, Unsupported
from radpost.words import Verdict

from .conftest import World

pytestmark = pytest.mark.peer("gnupg")
DATA = os.urandom(1500) + b"air " * 500
_ONE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def messages(world: World) -> dict[Compression, bytes]:
    found = {}
    for compress in Compression:
        out = io.BytesIO()
        own = world.own("ecc")
        world.native.seal([DATA], out, recipients=[own], signer=own, compress=compress, armor=False)
        found[compress] = out.getvalue()
    return found


def attempt(engine: Engine, message: bytes, temp: Path) -> Reason | None:
    """Return the reason of refusal; None if the message was opened and is the one that was sent."""
    try:
        with engine.open(io.BytesIO(message), temp=temp, limits=Limits(memory=100)).plaintext as plaintext:
            assert bytes(plaintext.view()[:]) == DATA, "changed data were released"
    except RadpostError as error:
        assert list(temp.iterdir()) == []
        return error.reason
    return None


@given(compress=st.sampled_from(Compression), place=st.floats(0, 1), change=st.integers(1, 255))
@_ONE
def test_any_changed_octet_is_refused(
    world: World,
    messages: dict[Compression, bytes],
    tmp_path: Path,
    compress: Compression,
    place: float,
    change: int,
) -> None:
    message = bytearray(messages[compress])
    at = min(int(place * len(message)), len(message) - 1)
    message[at] ^= change
    reason = attempt(world.native, bytes(message), tmp_path)
    # the octets of a number's bit count may change within its first octet without changing the number
    harmless = at in (12, 13)
    # and C1 5E is 84 5E in the old format: the same packet of the same length
    harmless = harmless or (at, message[at]) == (0, 0x84)
    assert reason is not None or harmless


@given(compress=st.sampled_from(Compression), place=st.floats(0, 1))
@_ONE
def test_any_cut_is_refused(
    world: World, messages: dict[Compression, bytes], tmp_path: Path, compress: Compression, place: float
) -> None:
    message = messages[compress]
    cut = message[: min(int(place * len(message)), len(message) - 1)]
    reason = attempt(world.native, cut, tmp_path)
    assert reason in (TRUNCATED, OPENPGP_MALFORMED)
    if len(cut) > 200:
        assert reason is TRUNCATED


@pytest.mark.parametrize("at", [-1, -5, -19, -21, -22, -23, -400])
def test_changes_at_the_end_are_tampered_for_both_engines(
    world: World, messages: dict[Compression, bytes], tmp_path: Path, at: int
) -> None:
    message = bytearray(messages[Compression.NONE])
    message[at] ^= 0x40
    for engine in (world.native, world.gnupg):
        assert attempt(engine, bytes(message), tmp_path) is TAMPERED


def test_data_behind_the_message_are_refused(
    world: World, messages: dict[Compression, bytes], tmp_path: Path
) -> None:
    message = messages[Compression.ZIP]
    literal = packets.packet(packets.LITERAL, b"b\0\0\0\0\0more")
    for more in (literal, message, b"\xff\xff\xff", b"hello"):
        for engine in (world.native, world.gnupg):
            assert attempt(engine, message + more, tmp_path) is not None
    assert attempt(world.native, message + packets.packet(packets.MARKER, b"PGP"), tmp_path) is None


def _seipd(
    world: World, inner: bytes, *, tag: int = packets.SEIPD, mdc: bool = True, version: int = 1
) -> bytes:
    """Encrypt any content to our key, as an attacker who knows our certificate can."""
    block = next(material.blocks(material_of(world)))
    (subkey,) = (key for key in block.subkeys if key.algorithm == material.ECDH)
    session = material.new_session(9)
    prefix = os.urandom(16)
    plain = prefix + prefix[-2:] + inner
    if mdc:
        plain += b"\xd3\x14" + hashlib.sha1(plain + b"\xd3\x14", usedforsecurity=False).digest()
    context = Cipher(AES(session), CFB(bytes(16))).encryptor()
    head = bytes((version,)) if tag == packets.SEIPD else b""
    sealed = packets.packet(tag, head + context.update(plain))
    return Encryptor(subkey).packet(9, session) + sealed


def material_of(world: World) -> bytes:
    return unarmor_all(world.ecc.secret)


LITERAL = packets.packet(packets.LITERAL, b"b\0\0\0\0\0" + DATA)


def test_the_forgery_helper_makes_valid_messages(world: World, tmp_path: Path) -> None:
    for engine in (world.native, world.gnupg):
        assert attempt(engine, _seipd(world, LITERAL), tmp_path) is None


def test_data_without_mdc_are_no_integrity(world: World, tmp_path: Path) -> None:
    old = _seipd(world, LITERAL, tag=packets.SED, mdc=False)
    for engine in (world.native, world.gnupg):
        assert attempt(engine, old, tmp_path) is NO_INTEGRITY
    # EFAIL's downgrade: the protected packet relabelled
    message = _seipd(world, LITERAL)
    at = message.index(bytes((0xC0 | packets.SEIPD,)), 80)
    down = message[:at] + bytes((0xC0 | packets.SED,)) + message[at + 1 :]
    for engine in (world.native, world.gnupg):
        assert attempt(engine, down, tmp_path) is not None


def test_mdc_cut_off_is_refused(world: World, tmp_path: Path) -> None:
    for engine in (world.native, world.gnupg):
        assert attempt(engine, _seipd(world, LITERAL, mdc=False), tmp_path) is TAMPERED


@pytest.mark.parametrize(
    "inner",
    [
        LITERAL + LITERAL,
        b"",
        b"no packets",
        packets.packet(packets.USER_ID, b"x"),
        packets.packet(packets.COMPRESSED, b"\x01\xff\xff\xff"),
        packets.packet(packets.COMPRESSED, b"\x09zzzz"),
        packets.packet(packets.COMPRESSED, b""),
        packets.packet(packets.LITERAL, b"b\xff"),
        LITERAL[:-5],
        signatures.one_pass(8, 22, "AB" * 20) + LITERAL,
        packets.packet(packets.SEIPD, b"\x01" + bytes(60)),
    ],
    ids=range(11),
)
def test_authentic_nonsense_gets_a_reason(world: World, tmp_path: Path, inner: bytes) -> None:
    reason = attempt(world.native, _seipd(world, inner), tmp_path)
    assert reason is not None
    assert reason not in (NO_SECRET_KEY, NO_INTEGRITY)


def test_gnupg_is_not_believed_where_it_is_lenient(world: World, tmp_path: Path) -> None:
    for inner in (LITERAL + LITERAL, LITERAL[:-5], LITERAL + b"\xff\0"):
        assert attempt(world.gnupg, _seipd(world, inner), tmp_path) is OPENPGP_MALFORMED


def test_deep_nesting_is_bounded(world: World, tmp_path: Path) -> None:
    inner = LITERAL
    for _ in range(40):
        # algorithm 0: not compressed
        inner = packets.packet(packets.COMPRESSED, b"\0" + inner)
    assert attempt(world.native, _seipd(world, inner), tmp_path) is RESOURCE_LIMIT


def test_many_recipients_are_bounded(world: World, tmp_path: Path) -> None:
    message = _seipd(world, LITERAL)
    foreign = packets.packet(packets.PKESK, b"\x03" + b"F" * 8 + b"\x01" + packets.mpi(b"\x01" * 256))
    assert attempt(world.native, foreign * 100 + message, tmp_path) is None
    assert attempt(world.native, foreign * 129 + message, tmp_path) is RESOURCE_LIMIT


def test_a_signature_moved_to_other_data_is_bad(world: World, tmp_path: Path) -> None:
    """Surreptitious reuse: a genuine signature of the partner around data it does not cover."""
    signed = world.peer.run("-u", world.partner.fingerprint, "--sign", "-z0", data=b"genuine")[0]
    at = signed.index(b"genuine")
    forged = signed[:at] + b"forgery" + signed[at + 7 :]
    for engine in (world.native, world.gnupg):
        for message in (forged, _seipd(world, forged)):
            result = engine.open(io.BytesIO(message), temp=tmp_path, limits=Limits())
            assert result.signature.verdict is Verdict.BAD
            assert result.signature.fingerprint == world.partner.fingerprint
            good = engine.open(io.BytesIO(_seipd(world, signed)), temp=tmp_path, limits=Limits())
            assert good.signature.verdict is Verdict.GOOD


@given(st.binary(min_size=1, max_size=200))
@_ONE
def test_fuzz_messages(world: World, tmp_path: Path, data: bytes) -> None:
    """Random octets outside and inside the encryption end in a reason, never in a release or a crash."""
    native = world.native._native
    for message in (data, bytes((data[0] | 0x80,)) + data[1:], _seipd(world, data)):
        try:
            opened = native.open(
                io.BytesIO(message), temp=tmp_path, limits=Limits(), legacy=False, now=datetime.now(UTC)
            )
        except (RadpostError, Unsupported):
            continue
        assert opened.integrity != "none" or not opened.encrypted
