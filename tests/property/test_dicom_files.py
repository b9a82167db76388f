"""Nothing in a file makes identification raise, hang, or take an unsafe value; conversion fails by name."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radpost.dicom import meta
from radpost.dicom.identity import identify, scan
from radpost.dicom.transcode import Transcoded, to_explicit_le, to_implicit_le
from radpost.errors import TRANSCODING_FAILED, RadpostError

NAMES = (
    "ct_small.dcm",
    "ct_deflated.dcm",
    "mr_small_bigendian.dcm",
    "mr_small_implicit.dcm",
    "mr_jpegls_lossless.dcm",
    "mr_j2k_lossless.dcm",
    "ct_rle_frags.dcm",
    "sc_jpeg_baseline.dcm",
    "pt_cp246_un_sq.dcm",
    "sr_comprehensive.dcm",
    "explicit_be_no_meta.dcm",
    "deflated_sq_tiny.dcm",
    "DICOMDIR_dcm4che",
)
HARMLESS = re.compile(r"[0-9A-Za-z._-]{1,128}\Z")
FAST = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def check(content: bytes) -> None:
    found = identify(content)
    assert found.size == len(content)
    assert found.kind in {"dicom", "dicomdir", "other"}
    assert 0 <= found.dataset_offset <= len(content)
    for uid in (
        found.sop_class_uid,
        found.sop_instance_uid,
        found.study_instance_uid,
        found.transfer_syntax_uid,
    ):
        assert uid is None or HARMLESS.match(uid)
    if found.kind == "dicom":
        assert found.sop_class_uid is not None
        assert found.sop_instance_uid is not None
        assert found.transfer_syntax_uid is not None or len(content) - found.dataset_offset < 8


def attempt(conversion: Callable[[Path, Path], Transcoded], source: Path, target: Path) -> Transcoded | None:
    """Convert; the one exception that may come is the one with the one reason."""
    try:
        return conversion(source, target)
    except RadpostError as error:
        if error.reason is not TRANSCODING_FAILED:
            raise
        return None


@pytest.mark.shared
@pytest.mark.parametrize("name", NAMES)
@FAST
@given(cut=st.floats(0, 1))
def test_inv05_a_file_cut_off_anywhere_is_identified(shared: Path, name: str, cut: float) -> None:
    content = (shared / "dicom" / name).read_bytes()
    # most of what matters is in the head, so half of the cuts are made there
    check(content[: int(len(content) * cut)])
    check(content[: int(min(len(content), 2500) * cut)])


@pytest.mark.shared
@pytest.mark.parametrize("name", NAMES)
@FAST
@given(data=st.data())
def test_inv05_a_damaged_file_is_identified_and_converted_or_refused(
    shared: Path, tmp_path: Path, name: str, data: st.DataObject
) -> None:
    content = bytearray((shared / "dicom" / name).read_bytes()[:300_000])
    for _ in range(data.draw(st.integers(1, 6))):
        head = data.draw(st.booleans())
        at = data.draw(st.integers(0, (min(len(content), 3000) if head else len(content)) - 1))
        content[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, data.draw(st.integers(0, 255))]))
    check(bytes(content))
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(content)
    for conversion in (to_explicit_le, to_implicit_le):
        record = attempt(conversion, source, target)
        if record is not None:
            assert identify(target).dataset_sha256 == record.after_sha256
            target.unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@FAST
@given(content=st.binary(max_size=400), syntax=st.sampled_from([
    None, meta.IMPLICIT_VR_LITTLE_ENDIAN, meta.EXPLICIT_VR_LITTLE_ENDIAN,
    meta.EXPLICIT_VR_BIG_ENDIAN, meta.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, "1.2.3",
]))  # fmt: skip
def test_garbage_is_scanned(content: bytes, syntax: str | None) -> None:
    check(content)
    check(meta.file_meta("1.2", "1.3", syntax or "1.4") + content)
    scan(content, syntax)


@FAST
@given(parts=st.lists(st.sampled_from([
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x00\xe0\x08\0\0\0", b"\xfe\xff\x0d\xe0\0\0\0\0",
    b"\xfe\xff\xdd\xe0\0\0\0\0", b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff",
    b"\x09\0\x40\x11UN\0\0\xff\xff\xff\xff",
    b"\x09\0\x40\x11\xff\xff\xff\xff", b"\x20\0\x0d\0UI\x04\x001.2\0", b"\x20\0\x0d\0\x04\0\0\x001.2\0",
    b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff", b"\x09\0\x10\0OB\0\0\xff\xff\xff\xff", b"\x08\0\x05\0CS\0\0",
]), max_size=60))  # fmt: skip
def test_any_order_of_sequence_parts_is_walked(
    parts: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = meta.file_meta("1.2", "1.3", meta.EXPLICIT_VR_LITTLE_ENDIAN) + b"".join(parts)
    check(content)
    path = tmp_path_factory.getbasetemp() / "parts"
    path.write_bytes(content)
    attempt(to_implicit_le, path, path.with_name("parts-out"))
