"""The push parser against pydicom on real files, in pieces of every size, and on broken input."""

import struct
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radpost.dicom import headparse
from radpost.dicom.headparse import HeadParser
from radpost.dicom.meta import read_meta
from radpost.dicom.services import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from radpost.testing.dimse import data_set


def parse(data: bytes, syntax: str, step: int = 1 << 20) -> HeadParser:
    parser = HeadParser(syntax)
    for start in range(0, len(data), step):
        parser.feed(memoryview(data)[start : start + step])
    parser.finish()
    return parser


def element(order: str, tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


@pytest.mark.shared
def test_real_files_read_as_pydicom_reads_them(shared: Path) -> None:

    compared = 0
    for path in sorted((shared / "dicom").rglob("*")):
        if not path.is_file() or path.suffix not in {".dcm", ""} or path.name.startswith("DICOMDIR"):
            continue
        raw = path.read_bytes()
        meta = read_meta(raw)
        if meta.transfer_syntax_uid is None or not meta.has_prefix:
            continue
        try:
            wanted = pydicom.dcmread(
                path, specific_tags=["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
            )
        except Exception:  # noqa: BLE001  pydicom gives up on the broken ones in many ways
            continue
        got = parse(raw[meta.dataset_offset :], meta.transfer_syntax_uid, 977).values
        for tag, name in (
            (headparse.SOP_CLASS, "SOPClassUID"),
            (headparse.SOP_INSTANCE, "SOPInstanceUID"),
            (headparse.STUDY_INSTANCE, "StudyInstanceUID"),
            (headparse.SERIES_INSTANCE, "SeriesInstanceUID"),
        ):
            if name in wanted:
                assert got.get(tag, "") == str(wanted[name].value or ""), (path.name, name)
                compared += 1
    assert compared > 300


@pytest.mark.parametrize("step", [1, 2, 3, 7, 8, 13, 1000])
def test_pieces_of_any_size(step: int) -> None:
    parser = parse(data_set(), EXPLICIT_LE, step)
    assert parser.values == {
        headparse.SOP_CLASS: "1.2.840.10008.5.1.4.1.1.2",
        headparse.SOP_INSTANCE: "1.2.3.4",
        headparse.STUDY_INSTANCE: "1.2.3",
        headparse.SERIES_INSTANCE: "1.2.3.1",
    }
    assert parser.defects == []


def sequence(depth: int) -> bytes:
    """A private sequence of undefined length, nested so deep, with elements that look like wanted ones."""
    inner = element("<", 0x0020000D, b"UI", b"9.9.9\0")
    for _ in range(depth):
        item = (
            struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
        )
        inner = (
            struct.pack("<HH2sHI", 0x0009, 0x1010, b"SQ", 0, 0xFFFFFFFF)
            + item
            + struct.pack("<HHI", 0xFFFE, 0xE000, 6)
            + b"\xff" * 6
            + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        )
    return inner


@pytest.mark.parametrize("depth", [1, 3, 60])
def test_sequences_are_walked_through(depth: int) -> None:
    """PS3.5 7.5."""
    whole = data_set()
    cut = whole.index(b"\x20\x00\x0d\x00")
    blob = struct.pack("<HH2sHI", 0x0019, 0x1010, b"OB", 0, 100_000) + bytes(100_000)
    parser = parse(whole[:cut] + sequence(depth) + blob + whole[cut:], EXPLICIT_LE, 4096)
    assert parser.values[headparse.STUDY_INSTANCE] == "1.2.3"
    assert parser.values[headparse.SERIES_INSTANCE] == "1.2.3.1"
    assert parser.defects == []


def test_nesting_has_a_bound() -> None:
    assert parse(sequence(500), EXPLICIT_LE).defects == ["nested-too-deep"]


def test_big_endian_implicit_and_a_wrong_claim() -> None:
    """PS3.5 A.1, A.3."""
    big = element(">", 0x00080018, b"UI", b"1.2\0") + element(">", 0x0020000E, b"UI", b"1.3\0")
    assert parse(big, EXPLICIT_BE).values == {0x00080018: "1.2", 0x0020000E: "1.3"}
    implicit = struct.pack("<HHI", 8, 0x18, 4) + b"1.2\0" + struct.pack("<HHI", 0x20, 0xE, 4) + b"1.3 "
    assert parse(implicit, IMPLICIT_LE).values == {0x00080018: "1.2", 0x0020000E: "1.3"}
    wrong = parse(implicit, EXPLICIT_LE)
    assert wrong.values == {0x00080018: "1.2", 0x0020000E: "1.3"}
    assert wrong.defects == ["explicit-without-vr"]


def test_deflated_and_a_bomb() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    assert parse(packer.compress(data_set()) + packer.flush(), DEFLATED_LE, 5).values[0x0020000D] == "1.2.3"
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = struct.pack("<HH2sHI", 8, 0x0A, b"OB", 0, 0xFFFFFFFE)
    bomb = packer.compress(head + bytes(80 << 20)) + packer.flush()
    assert parse(bomb, DEFLATED_LE).defects == ["deflated-head-too-long"]
    assert parse(b"\xff\xff\xff\xff", DEFLATED_LE).defects == ["deflate-broken"]


def test_defects() -> None:
    assert parse(data_set()[:-3], EXPLICIT_LE).defects == ["data-set-ends-early"]
    backwards = element("<", 0x00080018, b"UI", b"1.2\0") + element("<", 0x00080016, b"UI", b"1.3\0")
    assert parse(backwards, EXPLICIT_LE).defects == ["not-ascending"]
    assert parse(struct.pack("<HHI", 0xFFFE, 0xE000, 4), EXPLICIT_LE).defects == ["item-outside-sequence"]


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=400),
    st.integers(0, 150),
    st.sampled_from([EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE]),
)
def test_it_never_raises(noise: bytes, at: int, syntax: str) -> None:
    good = data_set()
    parse(noise, syntax, 9)
    parse(good[:at] + noise + good[at:], syntax)
