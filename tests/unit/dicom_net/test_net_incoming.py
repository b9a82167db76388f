"""The file that comes of an arriving object: bytes, hashes, permissions, failures of the disk."""

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from radpost.dicom.digest import Digester
from radpost.dicom.incoming import IncomingObject, ObjectWriter, Refusal, StoreContext
from radpost.dicom.meta import file_meta
from radpost.dicom.pdu import PduError
from radpost.testing.dimse import CT, EXPLICIT_LE, data_set

CONTEXT = StoreContext(CT, "1.2.3.4", EXPLICIT_LE)


@pytest.fixture
def digester() -> Digester:
    return Digester(1000, 3)


def feed(writer: ObjectWriter, piece: bytes) -> None:
    space = writer.space()
    space[: len(piece)] = piece
    writer.write(space[: len(piece)])


def write(writer: ObjectWriter, data: bytes, step: int = 100) -> IncomingObject | Refusal:
    for start in range(0, len(data), step):
        feed(writer, data[start : start + step])
    return writer.finish()


def test_file_hashes_and_identity(tmp_path: Path, digester: Digester) -> None:
    """PS3.4 B.4.1."""
    data = data_set(pixels=5000)
    got = write(ObjectWriter(tmp_path, CONTEXT, digester, max_size=1 << 20), data)
    assert isinstance(got, IncomingObject)
    content = got.path.read_bytes()
    assert content == file_meta(CT, "1.2.3.4", EXPLICIT_LE) + data
    assert got.file_sha256 == hashlib.sha256(content).hexdigest()
    assert got.dataset_sha256 == hashlib.sha256(data).hexdigest()
    assert (got.size, got.dataset_size) == (len(content), len(data))
    assert (got.study_instance_uid, got.series_instance_uid) == ("1.2.3", "1.2.3.1")
    assert stat.S_IMODE(got.path.stat().st_mode) == 0o600
    assert "1.2.3" not in got.path.name
    got.sync()


def test_the_same_data_set_twice_is_the_same_file(tmp_path: Path, digester: Digester) -> None:
    first, second = (
        write(ObjectWriter(tmp_path, CONTEXT, digester, max_size=1 << 20), data_set(), step)
        for step in (7, 99)
    )
    assert isinstance(first, IncomingObject)
    assert isinstance(second, IncomingObject)
    assert first.file_sha256 == second.file_sha256
    assert first.path != second.path


@pytest.mark.parametrize(
    ("number", "status"),
    [(errno.ENOSPC, 0xA700), (errno.EDQUOT, 0xA700), (errno.EIO, 0x0110), (errno.EROFS, 0x0110)],
)
@pytest.mark.parametrize("when", ["open", "write", "sync"])
def test_a_failing_disk_is_an_answer_and_leaves_nothing(
    tmp_path: Path, digester: Digester, monkeypatch: pytest.MonkeyPatch, number: int, status: int, when: str
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, "trouble")

    with monkeypatch.context() as patch:
        if when == "open":
            patch.setattr(os, "open", fail)
        writer = ObjectWriter(tmp_path, CONTEXT, digester, max_size=1 << 20)
        if when == "write":
            patch.setattr(os, "write", fail)
        if when == "sync":
            patch.setattr(os, "fdatasync", fail)
        outcome = write(writer, data_set(pixels=1000))
    assert isinstance(outcome, Refusal)
    assert outcome.status == status
    assert list(tmp_path.iterdir()) == []


def test_short_writes_are_continued(
    tmp_path: Path, digester: Digester, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:10]))
    got = write(ObjectWriter(tmp_path, CONTEXT, digester, max_size=1 << 20), data_set())
    assert isinstance(got, IncomingObject)
    assert got.path.read_bytes()[got.dataset_offset :] == data_set()


def test_what_is_refused_is_swallowed_up_to_a_bound(tmp_path: Path, digester: Digester) -> None:
    writer = ObjectWriter(tmp_path, CONTEXT, digester, max_size=1000)
    feed(writer, bytes(600))
    feed(writer, bytes(600))
    assert list(tmp_path.iterdir()) == []
    feed(writer, bytes(900))
    with pytest.raises(PduError):
        feed(writer, bytes(200))


@pytest.mark.parametrize("instance", ["", "1.2 3", "1.2\\1.3", "1" * 65, "1.2\n3", "1.2.\ufffd"])
def test_a_malformed_instance_uid_never_reaches_a_file(
    tmp_path: Path, digester: Digester, instance: str
) -> None:
    outcome = write(
        ObjectWriter(tmp_path, StoreContext(CT, instance, EXPLICIT_LE), digester, max_size=1000), b"x"
    )
    assert outcome == Refusal(0xC000, "SOP UID in the command is malformed")
    assert list(tmp_path.iterdir()) == []


def test_a_hash_for_a_uid_is_passed_on(tmp_path: Path, digester: Digester) -> None:
    uid = hashlib.sha256(b"x").hexdigest()
    got = write(
        ObjectWriter(tmp_path, StoreContext(CT, uid, EXPLICIT_LE), digester, max_size=1 << 20), data_set(uid)
    )
    assert isinstance(got, IncomingObject)
    assert got.sop_instance_uid == uid
