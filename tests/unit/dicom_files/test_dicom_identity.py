"""Identity of files: the same as pydicom says, also where pydicom gives up, without ever raising."""

import hashlib
import io
import os
import struct
import zlib
from pathlib import Path

import pydicom
import pytest

from radpost.dicom import identity, meta
from radpost.dicom.identity import Hashes, identify, scan

CT = "1.2.840.10008.5.1.4.1.1.2"
IDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")

# Why we differ from pydicom (read with force=True). A file that is not named here must agree.
EXPLAINED = {
    "DICOMDIR": "pydicom's data set has no SOP UIDs; ours are those of the meta header",
    "DICOMDIR_dcm4che": "as DICOMDIR",
    "attack_deeply_nested_sq.dcm": "pydicom raises RecursionError; the ids stand before the nest",
    "cr_nopreamble_implicit.dcm": "no meta header: pydicom names no transfer syntax, ours is guessed",
    "explicit_be_no_meta.dcm": "as cr_nopreamble_implicit",
    "rtstruct_nopreamble.dcm": "as cr_nopreamble_implicit",
    "ct_broken_bigendian_undefined.dcm": "pydicom raises OSError behind the ids",
    "no_preamble_dicm_in_data.dcm": "pydicom takes the letters DICM in a description for the prefix",
    "un_sequence.dcm": "the data set has no SOP UIDs; ours are those of the meta header",
}
OTHER = {
    "jpegls_rgb_nopreamble.dcm": "no-sop-instance",
    "meta_missing_tsyntax.dcm": "no-sop-instance",
    "nested_private_sq.dcm": "no-sop-instance",
    "mr_nometa_noext.dcm": "not-dicom",  # ACR-NEMA 1.0, which had no UIDs
    "no_meta.dcm": "not-dicom",  # begins with a stray byte
    "no_preamble_dicm_in_data.dcm": "not-dicom",
    "LICENCES.txt": "not-dicom",
    "README.md": "not-dicom",
    "manifest.tsv": "not-dicom",
}


def short(tag: int, vr: bytes, value: bytes, order: str = "<") -> bytes:
    value += b"\0" if len(value) % 2 else b""
    return struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def implicit(tag: int, value: bytes) -> bytes:
    value += b"\0" if len(value) % 2 else b""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def data_set(order: str = "<", between: bytes = b"") -> bytes:
    return (
        short(0x00080016, b"UI", CT.encode(), order)
        + short(0x00080018, b"UI", b"1.2.3", order)
        + short(0x00080060, b"CS", b"CT", order)
        + between
        + short(0x0020000D, b"UI", b"1.2.4", order)
        + short(0x0020000E, b"UI", b"1.2.5", order)
    )


def header(syntax: str = meta.EXPLICIT_VR_LITTLE_ENDIAN) -> bytes:
    return meta.file_meta(CT, "1.2.3", syntax)


def seen_by_pydicom(path: Path) -> tuple[str | None, ...] | str:
    try:
        read = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        syntax = read.file_meta.get("TransferSyntaxUID")
        return (
            *(str(read[k].value) or None if k in read else None for k in IDS),
            str(syntax) if syntax else None,
        )
    except (RecursionError, OSError) as error:
        return type(error).__name__


def seen_by_us(found: identity.Identity) -> tuple[str | None, ...]:
    ids = (found.sop_class_uid, found.sop_instance_uid, found.study_instance_uid)
    return (*ids, found.series_instance_uid, found.modality, found.transfer_syntax_uid)


@pytest.mark.filterwarnings("ignore")
def test_inv02_every_shared_file_has_the_ids_that_pydicom_finds(shared: Path) -> None:
    differing = []
    for path in sorted(p for p in (shared / "dicom").rglob("*") if p.is_file()):
        found, expected = identify(path), seen_by_pydicom(path)
        assert found.readable, path
        assert found.file_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert found.dataset_sha256 == hashlib.sha256(path.read_bytes()[found.dataset_offset :]).hexdigest()
        if path.name.startswith("DICOMDIR"):
            assert found.kind == "dicomdir"
        elif path.name in OTHER:
            assert (found.kind, OTHER[path.name] in found.defects) == ("other", True), path
        else:
            assert found.kind == "dicom", (path, found.defects)
        if seen_by_us(found) != expected:
            differing.append(path.name)
            print(
                f"{path.name}: {EXPLAINED.get(path.name)}\n"
                f"  ours    {seen_by_us(found)}\n  pydicom {expected}"
            )
    assert sorted(differing) == sorted(EXPLAINED)


def test_buffers_and_paths_give_the_same(shared: Path) -> None:
    for path in sorted((shared / "dicom").glob("*.dcm")):
        assert identify(path) == identify(path.read_bytes())


@pytest.mark.parametrize("name", ["ct_small.dcm", "ct_deflated.dcm", "mr_small_implicit.dcm", "rtplan.dcm"])
def test_the_head_of_a_stream_is_enough(shared: Path, name: str) -> None:
    path = shared / "dicom" / name
    whole = identify(path)
    data = path.read_bytes()[whole.dataset_offset :][:4096]
    ids = scan(data, whole.transfer_syntax_uid)
    assert ids.study_instance_uid == whole.study_instance_uid
    assert ids.series_instance_uid == whole.series_instance_uid
    assert ids.complete
    assert not scan(data[:60], whole.transfer_syntax_uid).complete


def test_known_hashes_are_taken_over(shared: Path) -> None:
    path = shared / "dicom" / "ct_small.dcm"
    found = identify(path, hashes=Hashes("file", "set"))
    assert (found.file_sha256, found.dataset_sha256) == ("file", "set")
    assert (found.sop_instance_uid, found.size) == (identify(path).sop_instance_uid, path.stat().st_size)


@pytest.mark.parametrize(
    ("name", "content", "syntax"),
    [
        ("explicit LE", header() + data_set(), "1.2.840.10008.1.2.1"),
        ("explicit LE, no meta", data_set(), "1.2.840.10008.1.2.1"),
        ("explicit BE, no meta", data_set(">"), "1.2.840.10008.1.2.2"),
        ("no preamble", header()[128:] + data_set(), "1.2.840.10008.1.2.1"),
        ("meta without syntax", header()[:132] + data_set(), "1.2.840.10008.1.2.1"),
        ("declared implicit, is explicit", header("1.2.840.10008.1.2") + data_set(), "1.2.840.10008.1.2"),
        (
            "declared deflated, is not",
            header("1.2.840.10008.1.2.1.99") + data_set(),
            "1.2.840.10008.1.2.1.99",
        ),
        (
            "deflated",
            header("1.2.840.10008.1.2.1.99") + zlib.compress(data_set(), wbits=-15),
            "1.2.840.10008.1.2.1.99",
        ),
        (
            "implicit, no meta",
            implicit(0x00080016, CT.encode())
            + implicit(0x00080018, b"1.2.3")
            + implicit(0x00080060, b"CT")
            + implicit(0x0020000D, b"1.2.4")
            + implicit(0x0020000E, b"1.2.5"),
            "1.2.840.10008.1.2",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_every_encoding_is_read(name: str, content: bytes, syntax: str) -> None:
    """PS3.5 A.1 to A.3, 7.1, 7.1.2, 7.1.3."""
    found = identify(content)
    assert seen_by_us(found) == (CT, "1.2.3", "1.2.4", "1.2.5", "CT", syntax), name
    assert found.kind == "dicom"


ITEM, ITEM_END, SQ_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"
OPEN = b"\xff\xff\xff\xff"
SQ = b"\x08\0\x40\x11SQ\0\0"
DECOY = short(0x0020000D, b"UI", b"9.9.9")


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(SQ + OPEN + ITEM + OPEN + DECOY + ITEM_END + SQ_END, id="undefined"),
        pytest.param(SQ + OPEN + SQ_END, id="empty undefined"),
        pytest.param(
            SQ + OPEN + ITEM + struct.pack("<I", len(DECOY)) + DECOY + SQ_END,
            id="items of defined length",
        ),
        pytest.param(
            SQ + struct.pack("<I", 8 + len(DECOY)) + ITEM + struct.pack("<I", len(DECOY)) + DECOY,
            id="defined length",
        ),
        pytest.param(
            b"\x09\0\x40\x11UN\0\0" + OPEN + ITEM + OPEN + implicit(0x0020000D, b"9.9.9") + ITEM_END + SQ_END,
            id="UN holds implicit items (CP-246)",
        ),
        pytest.param(
            SQ + OPEN + (ITEM + OPEN + SQ + OPEN) * 100
            + (SQ_END + ITEM_END) * 100 + SQ_END,
            id="100 levels",
        ),
        pytest.param(b"\x09\0\x10\0OB\0\0" + OPEN + ITEM + b"\x04\0\0\0abcd" + SQ_END, id="fragments"),
        pytest.param(SQ + OPEN + ITEM + OPEN + DECOY + SQ_END, id="item end forgotten"),
        pytest.param(b"\x09\0\x10\0QQ\0\0\x04\0\0\0abcd", id="unknown VR has a long header"),
        pytest.param(b"\x09\0\x10\0\x04\0\0\0abcd", id="implicit element in an explicit set"),
    ],
)  # fmt: skip
def test_nothing_inside_a_sequence_is_taken_for_the_objects_own(between: bytes) -> None:
    """PS3.5 7.5."""
    found = identify(header() + data_set(between=between))
    assert (found.study_instance_uid, found.series_instance_uid) == ("1.2.4", "1.2.5")
    assert found.defects == ()


HOSTILE = {
    "empty": b"",
    "zeros": bytes(3_000_000),
    "ones": b"\xff" * 1_000_000,
    "only meta": header(),
    "nest": header() + (SQ + OPEN + ITEM + OPEN) * 100_000,
    "delimiters": header() + SQ_END * 100_000,
    "item ends": header() + ITEM_END * 100_000,
    "empty elements": header() + short(0x00080008, b"CS", b"") * 200_000,
    "4 GB claimed": header() + b"\x08\0\x40\x11UN\0\0\xfe\xff\xff\xff",
    "deflate bomb": header("1.2.840.10008.1.2.1.99")
    + zlib.compress(b"\x08\0\x08\0UN\0\0\xff\xff\xff\x7f" + bytes(200_000_000), 9, -15),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", HOSTILE)
def test_inv08_hostile_content_costs_little_and_gives_a_defect(name: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(HOSTILE[name])
    found = identify(path)
    assert found.readable
    assert found.defects or name == "only meta"
    assert found.study_instance_uid is None


def test_uid_of_a_careless_anonymiser_is_kept_and_noted() -> None:
    """PS3.5 9.1."""
    content = header() + short(0x00080016, b"UI", CT.encode()) + short(0x00080018, b"UI", b"ab12" * 16)
    found = identify(content)
    assert (found.kind, found.sop_instance_uid) == ("dicom", "ab12" * 16)
    assert {"bad-uid", "sop-instance-mismatch"} <= set(found.defects)


@pytest.mark.parametrize("value", [b"../../etc", b"1.2\n3", b"\xff\xfe", b"1" * 129])
def test_inv10_a_dangerous_uid_is_not_taken(value: bytes) -> None:
    found = identify(header() + short(0x00080016, b"UI", CT.encode()) + short(0x00080018, b"UI", value))
    assert found.sop_instance_uid == "1.2.3"  # of the meta header
    assert "bad-uid" in found.defects


def test_what_cannot_be_read_is_other_without_hashes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "absent", tmp_path, tmp_path / "fifo", "a\0b"):
        found = identify(path)
        assert (found.kind, found.readable) == ("other", False)
        assert found.defects[0].startswith("unreadable:")


def test_inv02_hash_of_the_data_set_does_not_depend_on_the_header() -> None:
    with_ae = pydicom.dcmread(io.BytesIO(header() + data_set()))
    with_ae.file_meta.SourceApplicationEntityTitle = "MODALITY"
    out = io.BytesIO()
    with_ae.save_as(out, enforce_file_format=True)
    one, other = identify(out.getvalue()), identify(header() + data_set())
    assert one.dataset_sha256 == other.dataset_sha256
    assert one.file_sha256 != other.file_sha256


def test_a_large_file_is_scanned_beyond_its_head(tmp_path: Path) -> None:
    filler = b"\x09\0\x10\0OB\0\0" + struct.pack("<I", 3 << 20) + bytes(3 << 20)
    content = header() + data_set(between=filler)
    (tmp_path / "large").write_bytes(content)
    found = identify(tmp_path / "large")
    assert (found.study_instance_uid, found.series_instance_uid) == ("1.2.4", "1.2.5")
    assert found.file_sha256 == hashlib.sha256(content).hexdigest()
    assert found.dataset_sha256 == hashlib.sha256(content[found.dataset_offset :]).hexdigest()
