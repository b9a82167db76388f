"""One deflate stream of compressed and stored runs, read by zlib, and the measure of gain (RFC 1951)."""

import bz2
import os
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radpost.openpgp.deflate import BZIP2, ZIP, ZLIB, MixedDeflater, inflate, measure_gain
from radpost.openpgp.packets import Malformed

_RUNS = st.lists(
    st.tuples(
        st.one_of(
            st.binary(max_size=500),
            st.builds(
                lambda piece, count: piece * count, st.binary(min_size=1, max_size=20), st.integers(1, 9000)
            ),
        ),
        st.booleans(),
    ),
    max_size=8,
)


def packed(runs: list[tuple[bytes, bool]]) -> bytes:
    deflater = MixedDeflater()
    out = [bytes(piece) for data, flag in runs for piece in deflater.feed(data, compressible=flag)]
    return b"".join(out + [bytes(piece) for piece in deflater.finish()])


@given(_RUNS)
@settings(max_examples=50)
def test_mixed_runs_are_one_valid_stream(runs: list[tuple[bytes, bool]]) -> None:
    """RFC 1951 3.2.4, RFC 4880 5.6."""
    stream = packed(runs)
    engine = zlib.decompressobj(-15)
    assert engine.decompress(stream) == b"".join(data for data, _ in runs)
    assert engine.eof
    assert not engine.unused_data
    assert b"".join(inflate(ZIP, [stream])) == b"".join(data for data, _ in runs)


def test_stored_data_cost_next_to_nothing_and_compressible_data_shrink() -> None:
    noise, text = os.urandom(300_000), b"radiology " * 30_000
    assert len(packed([(noise, False)])) < 300_000 + 50
    assert len(packed([(text, True)])) < 30_000
    assert len(packed([(text, True), (noise, False), (text, True)])) < 360_000


@pytest.mark.parametrize("step", [1, 13, 100_000])
@pytest.mark.parametrize("algorithm", [ZIP, ZLIB, BZIP2])
def test_inflate_reads_pieces_of_any_size(algorithm: int, step: int) -> None:
    """RFC 4880 9.3."""
    data = os.urandom(3000) + b"abc" * 5000
    raw = zlib.compressobj(6, zlib.DEFLATED, -15)
    stream = {
        ZIP: raw.compress(data) + raw.flush(),
        ZLIB: zlib.compress(data),
        BZIP2: bz2.compress(data),
    }[algorithm]
    # Sequoia pads behind the stream
    stream += bytes(77)
    assert (
        b"".join(inflate(algorithm, [stream[at : at + step] for at in range(0, len(stream), step)])) == data
    )


@pytest.mark.parametrize("algorithm", [ZIP, ZLIB, BZIP2])
def test_broken_or_cut_streams_are_malformed(algorithm: int) -> None:
    for stream in (b"", b"\xff" * 100, zlib.compress(b"abc" * 999)[:-8], bz2.compress(b"abc" * 999)[:-8]):
        with pytest.raises(Malformed):
            list(inflate(algorithm, [stream]))


def test_output_comes_in_bounded_pieces() -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)
    first = next(iter(inflate(ZLIB, [bomb])))
    assert len(first) <= 1 << 20


def gains(data: bytes) -> bool:
    return measure_gain(len(data), lambda count, start: data[start : start + count])


def test_gain_is_measured_over_the_whole_object() -> None:
    assert gains(b"abc" * 100_000)
    assert not gains(os.urandom(300_000))
    assert not gains(b"")
    # a header that compresses well does not speak for compressed pixels behind it
    assert not gains(bytes(3000) + os.urandom(1_000_000))
    assert gains(bytes(10))


def test_only_samples_are_read_to_measure_the_gain() -> None:
    asked: list[tuple[int, int]] = []

    def read(count: int, start: int) -> bytes:
        asked.append((count, start))
        return bytes(count)

    assert measure_gain(1 << 40, read)
    assert sum(count for count, _ in asked) <= 1 << 14
    assert all(0 <= start <= (1 << 40) - count for count, start in asked)
