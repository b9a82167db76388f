"""Plaintext in memory and in unlinked files; which signature decides; bombs."""

import os
import stat
from pathlib import Path

import pytest

from radpost.errors import RESOURCE_LIMIT, RadpostError
from radpost.openpgp import plaintext as plaintext_module
from radpost.openpgp.budget import Budget
from radpost.openpgp.plaintext import Plaintext, PlaintextWriter
from radpost.openpgp.values import NO_SIGNATURE, Signature, decisive
from radpost.words import Verdict


@pytest.mark.parametrize("limit", [0, 10, 1 << 20])
@pytest.mark.parametrize("size", [0, 1, 10, 11, 5000])
def test_readers_and_views_in_memory_and_file(tmp_path: Path, limit: int, size: int) -> None:
    data = os.urandom(size)
    writer = PlaintextWriter(tmp_path, limit)
    for at in range(0, size, 7):
        writer.write(data[at : at + 7])
    plaintext = writer.finish()
    assert plaintext.in_memory is (size <= limit)
    assert plaintext.size == size
    with plaintext.open() as one, plaintext.open() as two:
        assert one.read(3) == data[:3]
        assert two.read() == data
        assert one.seek(-2, os.SEEK_END) == max(size - 2, -2) if size >= 2 else True
        one.seek(1)
        assert one.read() == data[1:]
    assert bytes(plaintext.view()[2:9]) == data[2:9]
    assert list(tmp_path.iterdir()) == [], "the file has a name"
    plaintext.close()
    with pytest.raises(ValueError, match="closed"):
        plaintext.view()


def test_the_file_is_private(tmp_path: Path) -> None:
    writer = PlaintextWriter(tmp_path, 0)
    writer.write(b"x")
    assert writer._file is not None
    assert stat.S_IMODE(os.fstat(writer._file.fileno()).st_mode) == 0o600
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_views_are_read_only(tmp_path: Path) -> None:
    writer = PlaintextWriter(tmp_path, 100)
    writer.write(b"abc")
    with writer.finish() as plaintext, pytest.raises(TypeError):
        plaintext.view()[0] = 1  # type: ignore[index]  # that is the point


def test_bombs_are_stopped_but_air_is_not() -> None:
    budget = Budget(max_plaintext=1000, max_ratio=10, ratio_floor=100)
    budget.consumed = 5
    budget.check(100)
    with pytest.raises(RadpostError) as caught:
        budget.check(101)
    assert caught.value.reason is RESOURCE_LIMIT
    budget.consumed = 100
    budget.check(1000)
    with pytest.raises(RadpostError):
        budget.check(1001)


def test_a_bad_signature_decides_before_a_good_one() -> None:
    good, bad, unknown = (Signature(v) for v in (Verdict.GOOD, Verdict.BAD, Verdict.UNKNOWN_KEY))
    assert decisive([good, bad]) is bad
    assert decisive([unknown, good]) is good
    assert decisive([]) is NO_SIGNATURE


def _released(tmp_path: Path, data: bytes) -> Plaintext:
    writer = PlaintextWriter(tmp_path, 1 << 24)
    writer.write(data)
    return writer.finish()


def test_a_buffer_is_used_again_and_shows_nothing_of_what_it_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plaintext_module, "_waiting", [])
    with _released(tmp_path, b"secret" * 300_000):
        pass
    (kept,) = plaintext_module._waiting
    with _released(tmp_path, b"next") as following:
        assert following._memory is kept
        assert bytes(following.view()[:]) == b"next"
        with following.open() as reader:
            assert reader.read() == b"next"


def test_a_buffer_that_is_still_looked_at_is_not_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plaintext_module, "_waiting", [])
    first = _released(tmp_path, b"first")
    view = first.view()
    first.close()
    with _released(tmp_path, b"other"):
        assert bytes(view[:]) == b"first"


def test_few_buffers_and_no_large_ones_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plaintext_module, "_waiting", [])
    several = [_released(tmp_path, b"x") for _ in range(5)]
    for one in several:
        one.close()
    assert len(plaintext_module._waiting) == 2
    plaintext_module._waiting.clear()
    monkeypatch.setattr(plaintext_module, "_KEPT_BYTES", 1 << 21)
    _released(tmp_path, bytes(3 << 20)).close()
    assert plaintext_module._waiting == []
