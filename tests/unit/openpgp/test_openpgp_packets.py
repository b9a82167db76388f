"""Packet grammar: lengths in all forms, limits, fuzz (RFC 4880 4.2, 5.2.3.1)."""

import contextlib
import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radpost.openpgp import material, packets, signatures
from radpost.openpgp.material import Unsupported
from radpost.openpgp.packets import (
    LITERAL,
    SIGNATURE,
    ByteReader,
    EndOfData,
    Fields,
    Header,
    Malformed,
    PartialFramer,
    gathered,
)


def bodies(data: bytes, step: int = 1 << 20) -> list[tuple[int, bytes]]:
    reader = ByteReader([data[at : at + step] for at in range(0, len(data), step)])
    found = []
    while (header := packets.read_header(reader)) is not None:
        found.append((header.tag, b"".join(packets.body(reader, header))))
    return found


@pytest.mark.parametrize("size", [0, 1, 191, 192, 193, 8383, 8384, 8385, 70_000])
def test_new_lengths_at_their_borders(size: int) -> None:
    """RFC 4880 4.2.2."""
    content = os.urandom(size)
    data = packets.packet(LITERAL, content)
    expected = 1 if size < 192 else 2 if size < 8384 else 5
    assert len(data) == 1 + expected + size
    assert bodies(data) == [(LITERAL, content)]
    assert bodies(data, 1) == [(LITERAL, content)]


@pytest.mark.parametrize(("kind", "octets"), [(0, 1), (1, 2), (2, 4)])
def test_old_lengths(kind: int, octets: int) -> None:
    data = bytes((0x80 | SIGNATURE << 2 | kind,)) + (5).to_bytes(octets, "big") + b"hello"
    assert bodies(data) == [(SIGNATURE, b"hello")]


def test_indeterminate_length_is_only_for_data() -> None:
    assert bodies(bytes((0x80 | LITERAL << 2 | 3,)) + b"to the end") == [(LITERAL, b"to the end")]
    with pytest.raises(Malformed):
        bodies(bytes((0x80 | SIGNATURE << 2 | 3,)) + b"to the end")


def test_partial_length_is_only_for_data_and_not_tiny() -> None:
    for data in (
        bytes((0xC0 | SIGNATURE, 0xE0 | 9)) + bytes(512) + b"\0",
        bytes((0xC0 | LITERAL, 0xE0 | 8)) + bytes(256) + b"\0",
    ):
        with pytest.raises(Malformed):
            bodies(data)


@given(st.lists(st.binary(max_size=1500), max_size=12), st.integers(1, 700))
@settings(max_examples=60)
def test_partial_framing_comes_back(pieces: list[bytes], step: int) -> None:
    """RFC 4880 4.2.2.4."""
    framer = PartialFramer(LITERAL)
    out = [bytes(framed) for piece in pieces for framed in framer.feed(piece)] + [framer.finish()]
    data = b"".join(out)
    assert bodies(data, step) == [(LITERAL, b"".join(pieces))]
    if len(b"".join(pieces)) < 512:
        assert data == packets.packet(LITERAL, b"".join(pieces))


def test_partial_framing_of_large_pieces_copies_little() -> None:
    framer = PartialFramer(LITERAL)
    big = memoryview(bytes(1 << 20))
    pieces = list(framer.feed(big))
    assert [len(piece) for piece in pieces] == [2, 1 << 20]
    assert isinstance(pieces[1], memoryview)


@pytest.mark.parametrize("cut", [1, 2, 3, 300, 513, 600])
def test_cut_packets_end_early(cut: int) -> None:
    framer = PartialFramer(LITERAL)
    data = b"".join(bytes(piece) for piece in framer.feed(bytes(700))) + framer.finish()
    with pytest.raises(EndOfData):
        bodies(data[:cut])


def test_small_packets_have_a_limit() -> None:
    reader = ByteReader([b""])
    for header in (
        Header(SIGNATURE, packets.MAX_SMALL + 1),
        Header(SIGNATURE, 1 << 31),
        Header(SIGNATURE, None),
    ):
        with pytest.raises(Malformed):
            packets.small_body(reader, header)


def test_mpi_has_no_leading_zeros() -> None:
    """RFC 4880 3.2."""
    assert packets.mpi(0) == b"\0\0"
    assert packets.mpi(b"\0\0\x01\xff") == b"\0\x09\x01\xff"
    assert Fields(b"\0\x09\x01\xff").mpi() == b"\x01\xff"
    with pytest.raises(Malformed):
        Fields(b"\0\x09\x01").mpi()


@given(st.binary(max_size=200))
@settings(max_examples=150)
def test_fuzz_packets_signatures_and_keys(data: bytes) -> None:
    """Whatever comes, the parsers answer with values or with their own exceptions."""
    for attempt in (
        lambda: bodies(data),
        lambda: list(packets.read_small(data)),
        lambda: list(packets.subpackets(data)),
        lambda: signatures.parse(data),
        lambda: signatures.parse(b"\x04" + data),
        lambda: signatures.parse_one_pass(data),
        lambda: list(material.blocks(data)),
        lambda: material.parse_key(packets.PUBLIC_KEY, b"\x04" + data),
        lambda: list(material.blocks(packets.packet(packets.SECRET_KEY, b"\x04" + data))),
    ):
        with contextlib.suppress(Malformed, Unsupported):
            attempt()


@given(st.binary(max_size=80), st.sampled_from([1, 18, 22]))
@settings(max_examples=100)
def test_fuzz_key_material(data: bytes, algorithm: int) -> None:
    content = b"\x04" + bytes(4) + bytes((algorithm,)) + data
    try:
        key = material.parse_key(packets.SECRET_KEY, content)
    except (Malformed, Unsupported):
        return
    for kind in (material.Verifier, material.Signer, material.Encryptor, material.Decryptor):
        with contextlib.suppress(Malformed, Unsupported, ValueError):
            kind(key)


def test_chunks_may_come_in_one_buffer_that_is_used_again() -> None:
    data = bytes(range(256)) * 8

    def chunks() -> Iterator[memoryview]:
        buffer = bytearray(10)
        for at in range(0, len(data), 10):
            piece = data[at : at + 10]
            buffer[: len(piece)] = piece
            yield memoryview(buffer)[: len(piece)]

    reader = ByteReader(chunks())
    assert b"".join(reader.take(count) for count in (3, 25, 0, 172)) == data[:200]
    rest = iter(lambda: reader.some(7), b"")
    assert b"".join(bytes(piece) for piece in gathered(rest, 64)) == data[200:]
