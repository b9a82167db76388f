"""A large file as a buffer: the slices are those of the bytes, nothing is mapped, faults have a reason."""

import os
from pathlib import Path

import pytest

from radpost.errors import STORE_UNUSABLE, RadpostError
from radpost.openpgp import fileview
from radpost.openpgp.fileview import FileView
from radpost.openpgp.plaintext import PlaintextWriter

DATA = os.urandom(5000)


@pytest.mark.parametrize("by_path", [True, False])
def test_slices(tmp_path: Path, by_path: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with path.open("rb") as file:
        view = FileView(path if by_path else file, len(DATA))
        assert len(view) == len(DATA)
        for key in (slice(0, 10), slice(4990, 6000), slice(7, 7), slice(9, 3), slice(None), slice(-5, None)):
            assert view[key] == DATA[key]
        with pytest.raises(ValueError, match="forwards"):
            view[::2]


def test_a_file_that_is_gone_or_cut(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(RadpostError) as gone:
        FileView(path, 10)[0:5]
    path.write_bytes(b"123")
    with pytest.raises(RadpostError) as cut:
        FileView(path, 10)[0:5]
    assert gone.value.reason is cut.value.reason is STORE_UNUSABLE


def test_a_large_plaintext_is_not_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radpost.openpgp.plaintext.MAPPED", 1000)
    writer = PlaintextWriter(tmp_path, 100)
    writer.write(DATA)
    with writer.finish() as plaintext:
        view = plaintext.view()
        assert isinstance(view, FileView)
        assert view[17:4711] == DATA[17:4711]
        with plaintext.open() as one, plaintext.open() as two:
            assert one.read(3) == DATA[:3]
            assert two.read() == DATA
    with pytest.raises(ValueError, match="closed"):
        view[0:1]
    assert fileview.MAPPED >= 1 << 20
