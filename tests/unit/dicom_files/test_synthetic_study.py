"""The synthetic study of the demonstration: real files, the same every time, not too compressible."""

import zlib
from pathlib import Path

import pydicom
import pytest

from radpost.dicom.identity import identify
from radpost.testing.study import make_study


def test_study_is_made_of_readable_slices_of_real_size(tmp_path: Path) -> None:
    study = make_study(tmp_path, 4, seed=7, series=2)
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == [f"IM{n:06d}.dcm" for n in (1, 2, 3, 4)]
    found = [identify(path) for path in files]
    assert {one.study_instance_uid for one in found} == {study}
    assert len({one.series_instance_uid for one in found}) == 2
    assert len({one.sop_instance_uid for one in found}) == 4
    assert all((one.kind, one.modality, one.defects) == ("dicom", "CT", ()) for one in found)
    for path in files:
        ds = pydicom.dcmread(path)
        assert ds.pixel_array.shape == (512, 512)
        assert str(ds.PatientName) == "Demo^Phantom"
        assert 520_000 < path.stat().st_size < 530_000
        assert 1.8 < path.stat().st_size / len(zlib.compress(path.read_bytes(), 1)) < 3.2


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    assert make_study(tmp_path / "a", 2, seed=3) == make_study(tmp_path / "b", 2, seed=3)
    assert make_study(tmp_path / "c", 2, seed=4) != make_study(tmp_path / "a", 2, seed=3)
    for name in ("IM000001.dcm", "IM000002.dcm"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    first, second = (pydicom.dcmread(tmp_path / "a" / f"IM00000{n}.dcm") for n in (1, 2))
    assert first.PixelData != second.PixelData


def test_a_study_has_slices(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one slice"):
        make_study(tmp_path, 0)
