"""What an attacker who knows our certificate can write: bombs, words like GnuPG's own, spliced blocks."""

import bz2
import io
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from radpost.errors import RESOURCE_LIMIT, TAMPERED, RadpostError
from radpost.openpgp import Engine, Limits, packets
from radpost.openpgp.armor import unarmor_all
from radpost.testing import forgery
from radpost.testing.institution import OwnKey
from radpost.words import Verdict

from .conftest import World

pytestmark = pytest.mark.peer("gnupg")
SIZE = 96 << 20
LIMITS = Limits(ratio_floor=8 << 20, max_ratio=100, memory=1 << 20)


def raw_deflate(data: bytes) -> bytes:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeeze.compress(data) + squeeze.flush()


PACKED: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "zip": (b"\x01", raw_deflate),
    "zlib": (b"\x02", lambda data: zlib.compress(data, 9)),
    "bzip2": (b"\x03", lambda data: bz2.compress(data, 1)),
}
"""Algorithms of the compressed data packet (RFC 4880 9.3)."""


def packed(name: str, content: bytes) -> bytes:
    number, compress = PACKED[name]
    return packets.packet(packets.COMPRESSED, number + compress(content))


def literal(content: bytes, name: bytes = b"") -> bytes:
    return packets.packet(packets.LITERAL, b"b" + bytes((len(name),)) + name + bytes(4) + content)


def message(world: World, content: bytes) -> bytes:
    """Encrypt packets to our key, with a right MDC and without a signature."""
    own = OwnKey(world.ecc.fingerprint, world.ecc.secret, world.ecc.public)
    return unarmor_all(forgery.encrypt_packets(content, to=own))


@pytest.fixture(scope="module")
def air() -> bytes:
    return literal(bytes(SIZE))


@pytest.mark.parametrize("kinds", [("zip",), ("zlib",), ("bzip2",), ("zip", "zip"), ("bzip2", "zlib", "zip")])
@pytest.mark.parametrize("encrypted", [True, False])
def test_inv8_a_bomb_of_any_algorithm_is_stopped_in_little_memory(
    world: World, air: bytes, tmp_path: Path, kinds: tuple[str, ...], encrypted: bool
) -> None:
    content = air
    for kind in kinds:
        content = packed(kind, content)
    assert len(content) < SIZE // 100
    bomb = message(world, content) if encrypted else content
    for engine in (world.native, world.gnupg):
        tracemalloc.start()
        try:
            with pytest.raises(RadpostError) as caught:
                engine.open(io.BytesIO(bomb), temp=tmp_path, limits=LIMITS)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert caught.value.reason is RESOURCE_LIMIT
        assert peak < 24 << 20
        assert list(tmp_path.iterdir()) == []


INJECTED = (
    b"\n[GNUPG:] GOODSIG 1EFC04E7BC8FEB60 Partner <partner@klinik.example>\n"
    b"[GNUPG:] VALIDSIG %s 2026-01-02 1767312000 0 4 0 22 8 00 %s\n[GNUPG:] TRUST_ULTIMATE 0 pgp\n"
    b"[GNUPG:] GOODMDC\n"
)


def engines(world: World) -> tuple[Engine, Engine]:
    return (world.native, world.gnupg)


@pytest.mark.parametrize("place", ["file name", "content", "armor header"])
def test_inv7_words_that_look_like_gnupgs_are_no_signature(world: World, tmp_path: Path, place: str) -> None:
    partner = world.partner.fingerprint.encode()
    words = INJECTED % (partner, partner)
    content = words * 3 if place == "content" else b"data"
    sealed = message(world, literal(content, words[:255] if place == "file name" else b""))
    if place == "armor header":
        armored = forgery.encrypt_packets(
            literal(content), to=OwnKey(world.ecc.fingerprint, world.ecc.secret, world.ecc.public)
        )
        lines = b"".join(b"Comment: " + line + b"\r\n" for line in words.split(b"\n") if line)
        sealed = armored.replace(b"MESSAGE-----\r\n", b"MESSAGE-----\r\n" + lines, 1)
        assert sealed != armored
    for engine in engines(world):
        with engine.open(io.BytesIO(sealed), temp=tmp_path, limits=Limits()).plaintext as plaintext:
            assert bytes(plaintext.view()[:]) == content
        opened = engine.open(io.BytesIO(sealed), temp=tmp_path, limits=Limits())
        opened.plaintext.close()
        assert opened.signature.verdict is Verdict.NONE
        assert opened.signatures == ()


def test_inv7_blocks_spliced_into_known_plaintext_are_never_released(world: World, tmp_path: Path) -> None:
    """EFAIL's gadget: who knows a block of the plaintext writes any other in its place, and garbles the next.

    The integrity code (RFC 4880 5.13) is checked before anything is released.
    """
    known = b"known plaintext!" * 64
    sealed = message(world, literal(known))
    wanted = b'<img src="http:/'
    change = bytes(a ^ b for a, b in zip(known[:16], wanted, strict=True))
    for at in (len(sealed) - 22 - 512, len(sealed) - 22 - 480, len(sealed) - 22 - 16):
        spliced = bytearray(sealed)
        for index, mask in enumerate(change):
            spliced[at + index] ^= mask
        doubled = sealed[:at] + sealed[at : at + 32] + sealed[at:]
        for engine in engines(world):
            for forged in (bytes(spliced), doubled):
                with pytest.raises(RadpostError) as caught:
                    engine.open(io.BytesIO(forged), temp=tmp_path, limits=Limits(memory=100))
                assert forged is doubled or caught.value.reason is TAMPERED
                assert list(tmp_path.iterdir()) == []
