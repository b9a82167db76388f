"""Folders and programs: names from outside stay names, what is said to be there is there (DESIGN 3: 1, 5)."""

import errno
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radpost.errors import FOLDER_UNUSABLE, PROGRAM_FAILED, RadpostError
from radpost.gateway import handover
from radpost.gateway.config import Destination
from radpost.store.incoming_deliveries import DeliveryRow
from radpost.testing.leaks import scan

FOLDER = Destination(name="f", kind="folder", path="out")
HOSTILE = st.one_of(
    st.text(max_size=300),
    st.sampled_from(
        [
            "..",
            ".",
            "../../etc/passwd",
            "a/../b",
            "C:\\x\\y",
            "nul",
            "CON.txt",
            ".bashrc",
            "a\0b",
            "\u202egpj.exe",
            "文" * 200,
            "x" * 500 + ".pdf",
            " ",
            "-rf",
            "name\nnewline",
        ]
    ),
)


def row(**changes: Any) -> DeliveryRow:
    values: dict[str, Any] = {
        "id": 1,
        "object_id": 1,
        "destination": "f",
        "partner": "p",
        "study_uid": "1.2.3",
        "name": "letter.pdf",
        "state": "due",
        "machine": "{}",
        "priority": 2,
        "due_at": 0.0,
        "attempts": 0,
        "status": None,
        "code": None,
        "detail": "",
        "changed_from": None,
        "changed_to": None,
        "created_at": 0.0,
        "done_at": None,
        "file_sha256": "ab" * 32,
        "kind": "other",
        "sop_class_uid": "",
        "sop_instance_uid": "",
        "transfer_syntax_uid": "",
        "size": 3,
        "media_type": "application/pdf",
    }
    return DeliveryRow(**{**values, **changes})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "file"
    path.write_bytes(b"abc")
    return path


@given(name=HOSTILE, study=HOSTILE, instance=HOSTILE, kind=st.sampled_from(["dicom", "other"]))
@settings(max_examples=60, deadline=None)
def test_hostile_names_stay_inside_the_folder(
    tmp_path_factory: pytest.TempPathFactory, source: Path, name: str, study: str, instance: str, kind: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "inside"
    item = row(name=name, study_uid=study, sop_instance_uid=instance, kind=kind)
    final = handover.into_folder(FOLDER, folder, source, item)
    assert final.resolve().is_relative_to(folder.resolve() / "p")
    assert len(final.relative_to(folder).parts) == 3
    assert not final.name.startswith((".", "-"))
    assert final.name.isprintable()
    assert len(final.name.encode()) <= 255
    assert final.read_bytes() == b"abc"


def test_the_same_file_twice_is_one_file_and_another_one_gets_its_own_name(
    tmp_path: Path, source: Path
) -> None:
    first = handover.into_folder(FOLDER, tmp_path, source, row())
    assert handover.into_folder(FOLDER, tmp_path, source, row()) == first
    other = tmp_path / "other"
    other.write_bytes(b"xyz")
    second = handover.into_folder(FOLDER, tmp_path, other, row(file_sha256="cd" * 32))
    assert second != first
    assert (first.read_bytes(), second.read_bytes()) == (b"abc", b"xyz")
    assert len(list(first.parent.iterdir())) == 2


def test_invariant_1_all_folders_on_the_way_are_synced_also_when_the_file_was_there(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that a crash left may be in the cache only: to find it is no proof that it lasts."""
    synced: list[str] = []
    honest = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        honest(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    folder = tmp_path / "out"
    for _ in range(2):
        synced.clear()
        final = handover.into_folder(FOLDER, folder, source, row())
        parents = {str(final.parent), str(final.parent.parent), str(folder)}
        assert parents <= set(synced)
        assert any(name == str(final) or name.endswith(".part") for name in synced)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ESTALE, errno.EACCES])
def test_a_folder_that_fails_as_a_whole_is_told_from_a_bad_name(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(handover.DestinationDownError) as caught:
        handover.into_folder(FOLDER, tmp_path, source, row())
    assert caught.value.reason is FOLDER_UNUSABLE


def test_a_name_that_the_disk_refuses_is_the_objects_own_fault(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EILSEQ, "name")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(RadpostError) as caught:
        handover.into_folder(FOLDER, tmp_path, source, row())
    assert not isinstance(caught.value, handover.DestinationDownError)


def program(*words: str) -> Destination:
    return Destination(name="f", kind="program", command=words, timeout_seconds=5.0)


def test_a_program_gets_the_file_and_a_key_that_stays(tmp_path: Path, source: Path) -> None:
    script = (
        "import sys, shutil; shutil.copy(sys.argv[1], sys.argv[2]); "
        "open(sys.argv[2] + '.key', 'w').write(sys.argv[3])"
    )
    for number in (1, 2):
        target = tmp_path / f"copy-{number}"
        words = (sys.executable, "-c", script, "{path}", str(target), "{key}")
        handover.to_program(program(*words), tmp_path / "work", source, row(id=number))
        assert target.read_bytes() == b"abc"
    assert (tmp_path / "copy-1.key").read_text() == (tmp_path / "copy-2.key").read_text()
    assert list((tmp_path / "work").iterdir()) == []


def test_invariant_10_a_programs_arguments_name_no_patient(tmp_path: Path, source: Path) -> None:
    """Every user of the machine can read them (``ps``); the environment only its owner."""
    target = tmp_path / "seen"
    script = (
        "import os, sys; from pathlib import Path; line = Path('/proc/self/cmdline').read_bytes();"
        "Path(sys.argv[1]).write_bytes(line + b'|' + os.environb[b'RADPOST_FILE_NAME'])"
    )
    secret = {"patient": "Geheimmann", "birthday": "19500321"}
    for name, suffix in (
        ("Befund Geheimmann 19500321.pdf", b".pdf"),
        ("Befund.PDF", b".pdf"),
        ("Befund.Geheimmann", b""),
        ("Befund Geheimmann.19500321", b""),
    ):
        item = row(name=name)
        words = (sys.executable, "-c", script, str(target), "{path}", "{key}", "{study}", "{partner}")
        handover.to_program(program(*words), tmp_path / "work", source, item)
        line, _, given = target.read_bytes().rpartition(b"|")
        assert not scan("arguments", line, secret)
        assert b"/document" + suffix + b"\0" in line
        assert given.decode() == handover.file_name(item)
    instance = row(kind="dicom", sop_instance_uid="1.2.840.4711")
    assert handover.neutral_name(instance) == "object.dcm"


def test_a_program_that_fails_or_hangs_is_the_objects_matter_one_that_is_missing_everybodys(
    tmp_path: Path, source: Path
) -> None:
    with pytest.raises(RadpostError) as caught:
        handover.to_program(program(sys.executable, "-c", "raise SystemExit(3)"), tmp_path, source, row())
    assert (caught.value.reason, "exit status 3" in caught.value.detail) == (PROGRAM_FAILED, True)
    assert not isinstance(caught.value, handover.DestinationDownError)
    with pytest.raises(handover.DestinationDownError):
        handover.to_program(program("/nowhere/at/all"), tmp_path, source, row())


def test_what_a_crash_left_of_a_call_is_swept(tmp_path: Path) -> None:
    left = tmp_path / "handover" / "delivery-7"
    left.mkdir(parents=True)
    (left / "letter.pdf").write_bytes(b"patient")
    handover.sweep(tmp_path / "handover")
    assert not left.exists()
    handover.sweep(tmp_path / "never")


def test_files_are_private(tmp_path: Path, source: Path) -> None:
    final = handover.into_folder(FOLDER, tmp_path, source, row())
    assert stat.S_IMODE(final.stat().st_mode) & 0o007 == 0, "others than owner and group must not read it"


def test_a_name_that_was_made_to_look_like_ours_loses_nothing(tmp_path: Path, source: Path) -> None:
    """``letter-HASH.pdf`` of another sender must not pass for the copy of this one."""
    contents = {"letter.pdf": b"one", f"letter-{'ab' * 6}.pdf": b"two"}
    for name, data in contents.items():
        other = tmp_path / "other"
        other.write_bytes(data)
        handover.into_folder(FOLDER, tmp_path, other, row(name=name, file_sha256="ef" * 32))
    final = handover.into_folder(FOLDER, tmp_path, source, row())
    assert final.read_bytes() == b"abc"
    assert len(list(final.parent.iterdir())) == 3
