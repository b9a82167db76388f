"""The meta header that we write is deterministic and correct; what we read may be broken."""

import io
import os
from pathlib import Path

import pydicom
import pytest

from radpost.dicom import meta

CT = "1.2.840.10008.5.1.4.1.1.2"


def test_inv02_the_same_uids_give_the_same_bytes() -> None:
    first = meta.file_meta(CT, "1.2.3", meta.EXPLICIT_VR_LITTLE_ENDIAN)
    assert first == meta.file_meta(CT, "1.2.3", meta.EXPLICIT_VR_LITTLE_ENDIAN)
    assert len(first) % 2 == 0


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34", "2.25." + "9" * 59])
def test_written_header_is_read_by_pydicom(uid: str) -> None:
    """PS3.10 7.1."""
    written = meta.file_meta(CT, uid, meta.EXPLICIT_VR_LITTLE_ENDIAN)
    header = pydicom.dcmread(io.BytesIO(written)).file_meta
    assert header.MediaStorageSOPClassUID == CT
    assert header.MediaStorageSOPInstanceUID == uid
    assert header.TransferSyntaxUID == meta.EXPLICIT_VR_LITTLE_ENDIAN
    assert header.ImplementationClassUID == meta.IMPLEMENTATION_CLASS_UID
    assert header.FileMetaInformationVersion == b"\0\1"
    assert header.FileMetaInformationGroupLength == len(written) - 144
    assert "SourceApplicationEntityTitle" not in header


def test_split_finds_the_data_set(tmp_path: Path) -> None:
    header = meta.file_meta(CT, "1.2.3", meta.EXPLICIT_VR_LITTLE_ENDIAN)
    data_set = b"\x08\x00\x16\x00UI\x04\x001.2\0"
    assert meta.split(header + data_set) == len(header)
    assert meta.split(memoryview(header + data_set)) == len(header)
    assert meta.split(header[132:] + data_set) == len(header) - 132
    assert meta.split(header[128:] + data_set) == len(header) - 128
    assert meta.split(data_set) == 0
    path = tmp_path / "a.dcm"
    path.write_bytes(header + data_set)
    assert meta.split(path) == len(header)


def test_a_wrong_group_length_does_not_move_the_data_set() -> None:
    header = bytearray(meta.file_meta(CT, "1.2.3", meta.EXPLICIT_VR_LITTLE_ENDIAN))
    header[140:144] = b"\xff\xff\0\0"
    assert meta.split(bytes(header) + b"\x08\x00") == len(header)


def test_the_letters_dicm_inside_a_bare_data_set_are_no_prefix() -> None:
    data_set = b"\x08\x00\x10\x10SH\x7c\x00" + b"x" * 120 + b"DICM" + b"\x08\x00\x16\x00UI\x04\x001.2\0"
    found = meta.read_meta(data_set)
    assert (found.dataset_offset, found.has_prefix) == (0, False)


def test_truncated_header_is_a_defect() -> None:
    header = meta.file_meta(CT, "1.2.3", meta.EXPLICIT_VR_LITTLE_ENDIAN)
    found = meta.read_meta(header[:200])
    assert "truncated-meta-header" in found.defects
    assert found.sop_class_uid == CT


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        meta.split(tmp_path / "pipe")
