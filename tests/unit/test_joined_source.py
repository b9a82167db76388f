"""A fragment is a head in memory and a range of the sealed mail; whoever reads it sees one file."""

import io
import random
from pathlib import Path

import pytest

from radpost.gateway.submitting import _Joined


@pytest.mark.parametrize("seed", range(5))
def test_reads_are_never_short(tmp_path: Path, seed: int) -> None:
    """SMTP sends a small message with one read; a short one would be taken for a truncated file."""
    rng = random.Random(seed)
    head, body = rng.randbytes(rng.randint(0, 300)), rng.randbytes(2000)
    start, end = sorted(rng.sample(range(2000), 2))
    path = tmp_path / "sealed"
    path.write_bytes(body)
    whole = head + body[start:end]
    with path.open("rb") as file:
        joined = _Joined(head, file, start, end)
        assert joined.read(len(whole)) == whole
        assert joined.read(10) == b""
        for _ in range(200):
            at, count = rng.randint(0, len(whole)), rng.randint(0, 700)
            assert joined.seek(at) == at
            assert joined.read(count) == whole[at : at + count]
            assert joined.tell() == min(at + count, len(whole))
        joined.seek(0)
        assert io.BufferedReader(joined).read() == whole
