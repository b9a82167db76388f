"""From the paths of a user to the files that are sent."""

import os
import shutil
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from radpost.dicom import meta
from radpost.dicom.dicomdir import is_dicomdir, references
from radpost.dicom.media import Found, Skipped, gather
from radpost.errors import RadpostError

OBJECT = meta.file_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", meta.EXPLICIT_VR_LITTLE_ENDIAN)


def write_dicomdir(path: Path, *file_ids: list[str], inactive: tuple[int, ...] = ()) -> None:
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = UID(meta.MEDIA_STORAGE_DIRECTORY)
    directory.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    records = []
    for number, file_id in enumerate(file_ids):
        record = Dataset()
        record.RecordInUseFlag = 0 if number in inactive else 0xFFFF
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = file_id
        records.append(record)
    directory.DirectoryRecordSequence = Sequence(records)
    directory.save_as(path, enforce_file_format=True)


def split(*paths: Path, with_dicomdir: bool = False) -> tuple[list[Path], dict[Path, str]]:
    found, skipped = [], {}
    for one in gather(paths, with_dicomdir=with_dicomdir):
        if isinstance(one, Found):
            found.append(one.path)
        else:
            skipped[one.path] = one.why
    return found, skipped


def put(path: Path, content: bytes = OBJECT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_shared_media_set_by_its_dicomdir(shared: Path) -> None:
    """PS3.10 8.6."""
    folder = shared / "dicom" / "dicomdir-set"
    found, skipped = split(folder / "DICOMDIR")
    assert {str(path.relative_to(folder)) for path in found} == {
        *(f"77654033/CR{n}" for n in ("1/6154", "2/6247", "3/6278")),
        *(f"77654033/CT2/{n}" for n in (17106, 17136, 17166, 17196)),
    }
    assert skipped.pop(folder / "DICOMDIR") == "dicomdir"
    assert set(skipped.values()) == {"missing"}
    assert len(skipped) == 24
    assert set(split(folder)[0]) == set(found)
    assert folder / "DICOMDIR" in split(folder, with_dicomdir=True)[0]


def test_dicomdir_names_are_found_in_small_letters_and_with_versions(tmp_path: Path) -> None:
    """PS3.10 8.5."""
    write_dicomdir(tmp_path / "DICOMDIR", ["DIR", "A"], ["DIR", "B"], ["DIR", "C"], ["DIR", "NONE"])
    files = [put(tmp_path / "dir" / name) for name in ("a", "B;1", "c.")]
    assert split(tmp_path / "DICOMDIR") == (
        files,
        {tmp_path / "DICOMDIR": "dicomdir", tmp_path / "DIR" / "NONE": "missing"},
    )


@pytest.mark.filterwarnings("ignore:.*value:UserWarning")
def test_dicomdir_never_escapes_its_folder(tmp_path: Path) -> None:
    secret = put(tmp_path / "secret")
    medium = tmp_path / "medium"
    medium.mkdir()
    (medium / "LINK").symlink_to(secret)
    (medium / "UP").symlink_to(tmp_path)
    write_dicomdir(
        medium / "DICOMDIR", ["..", "secret"], ["UP", "SECRET"], ["LINK"], ["../secret"], [str(secret)], ["."]
    )
    assert [one.problem for one in references(medium / "DICOMDIR")] == ["escapes"] * 6
    assert split(medium / "DICOMDIR")[0] == []


def test_inactive_records_and_repeated_references(tmp_path: Path) -> None:
    """PS3.3 F.3.2.2."""
    write_dicomdir(tmp_path / "DICOMDIR", ["A"], ["B"], ["A"], inactive=(1,))
    put(tmp_path / "A")
    put(tmp_path / "B")
    assert split(tmp_path / "DICOMDIR") == (
        [tmp_path / "A"],
        {tmp_path / "DICOMDIR": "dicomdir", tmp_path / "A": "duplicate"},
    )


def test_on_a_medium_the_viewer_is_skipped_but_no_dicom_file(tmp_path: Path) -> None:
    write_dicomdir(tmp_path / "DICOMDIR", ["IMAGES", "A"])
    named, unnamed = put(tmp_path / "IMAGES" / "A"), put(tmp_path / "IMAGES" / "B")
    viewer = put(tmp_path / "viewer" / "viewer.exe", b"MZ")
    assert split(tmp_path) == (
        [named, unnamed],
        {tmp_path / "DICOMDIR": "dicomdir", viewer: "not-in-dicomdir"},
    )


def test_a_broken_dicomdir_is_reported_and_the_folder_walked(tmp_path: Path) -> None:
    head = meta.file_meta(meta.MEDIA_STORAGE_DIRECTORY, "1.2.3", meta.EXPLICIT_VR_LITTLE_ENDIAN)
    broken = put(tmp_path / "DICOMDIR", head + b"\x04\x00\x20\x12SQ\x00\x00\xff\xff\xff\xff" + b"\x01" * 40)
    other = put(tmp_path / "report.pdf", b"%PDF")
    assert is_dicomdir(broken)
    with pytest.raises(RadpostError, match="dicom-invalid"):
        list(references(broken))
    found, skipped = split(tmp_path)
    assert other in found
    assert skipped[broken] == "dicomdir-unreadable"


def test_folder_is_walked_in_order_without_system_files(tmp_path: Path) -> None:
    files = [put(tmp_path / name) for name in ("a.dcm", "b.pdf", "sub/1", "sub/deep/2", "tail/3")]
    hidden = [put(tmp_path / ".DS_Store"), put(tmp_path / "sub" / "Thumbs.db")]
    (tmp_path / ".git").mkdir()
    put(tmp_path / ".git" / "x")
    assert split(tmp_path) == (
        files,
        {hidden[0]: "hidden", hidden[1]: "system-file", tmp_path / ".git": "hidden"},
    )


def test_links_make_neither_loops_nor_doubles(tmp_path: Path) -> None:
    file = put(tmp_path / "sub" / "a")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "sub" / "self").symlink_to(tmp_path / "sub" / "self")
    (tmp_path / "sub" / "z").symlink_to(file)
    found, skipped = split(tmp_path)
    assert found == [file]
    assert skipped == {
        tmp_path / "sub" / "loop": "folder-seen",
        tmp_path / "sub" / "self": "unreadable",
        tmp_path / "sub" / "z": "duplicate",
    }


def test_what_is_no_regular_file_is_skipped(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert split(tmp_path / "fifo", tmp_path / "absent", Path("a\0b")) == (
        [],
        {tmp_path / "fifo": "not-a-file", tmp_path / "absent": "missing", Path("a\0b"): "missing"},
    )


def test_a_file_given_by_name_is_taken_even_if_hidden(tmp_path: Path) -> None:
    assert list(gather([put(tmp_path / ".x")])) == [Found(tmp_path / ".x")]


def test_very_deep_folders(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(600):
        deep /= "d"
        deep.mkdir()
    file = put(deep / "x")
    assert split(tmp_path) == ([file], {})
    while deep != tmp_path:  # pytest's own clean-up is recursive
        shutil.rmtree(deep)
        deep = deep.parent


def test_skipped_is_a_value() -> None:
    assert Skipped(Path("a"), "hidden") == Skipped(Path("a"), "hidden")
