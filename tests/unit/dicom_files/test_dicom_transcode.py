"""Conversion to native little endian: pixels and elements are equal, for independent readers too."""

import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.sequence import Sequence
from pydicom.uid import UID

from radpost.dicom import meta
from radpost.dicom.codecs import LOSSY
from radpost.dicom.identity import identify
from radpost.dicom.transcode import can_decode, convert, equal_content, to_explicit_le, to_implicit_le
from radpost.errors import RadpostError

ELE, ILE, BE = meta.EXPLICIT_VR_LITTLE_ENDIAN, meta.IMPLICIT_VR_LITTLE_ENDIAN, meta.EXPLICIT_VR_BIG_ENDIAN
DEFLATED = meta.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
JPEG, LOSSLESS, JPEGLS, J2K = (f"1.2.840.10008.1.2.4.{n}" for n in (50, 70, 80, 90))
HTJ2K, JPEGXL, RLE = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.5"

# Files that cannot be converted, and the reason; all others must be, to both native syntaxes.
FAILING = {
    "attack_deeply_nested_sq.dcm": "nested too deep",
    "emri_j2k_tooshort.dcm": "cut off",
    "mr_truncated.dcm": "beyond the end",
    "video_mpeg2.dcm": "cannot be decoded",
    **dict.fromkeys(
        (
            "jpegls_rgb_nopreamble.dcm",
            "meta_missing_tsyntax.dcm",
            "mr_nometa_noext.dcm",
            "nested_private_sq.dcm",
            "no_meta.dcm",
            "no_preamble_dicm_in_data.dcm",
        ),
        "no DICOM object",
    ),
}
DCMTK = {
    JPEG: "dcmdjpeg",
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (51, 55, 57, 70)), "dcmdjpeg"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (80, 81)), "dcmdjpls"),
    RLE: "dcmdrle",
    **dict.fromkeys((ELE, ILE, BE, DEFLATED), "dcmconv"),
}


def gradient(shape: tuple[int, ...], dtype: str, bits: int) -> NDArray[np.generic]:
    rng = np.random.default_rng(1)
    low, high = (-(1 << bits - 1), 1 << bits - 1) if dtype.startswith("i") else (0, 1 << bits)
    return rng.integers(low, high, size=shape).astype(dtype)


def make(
    path: Path,
    pixels: NDArray[np.generic],
    syntax: str,
    frames: Iterable[bytes | bytearray],
    *,
    photometric: str | None = None,
    stored: int | None = None,
    planar: int = 0,
    offsets: str = "basic",
) -> Path:
    """Write an object whose pixel data are given codestreams; ``pixels`` has (frames, rows, columns[, 3])."""
    streams = [bytes(frame) for frame in frames]
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(HTJ2K if syntax == JPEGXL else syntax)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = UID("1.2.3.4")
    ds.PatientName = "Demo^Phantom"
    ds.NumberOfFrames, ds.Rows, ds.Columns = pixels.shape[:3]
    ds.SamplesPerPixel = 3 if pixels.ndim == 4 else 1
    ds.PhotometricInterpretation = photometric or ("RGB" if pixels.ndim == 4 else "MONOCHROME2")
    ds.BitsAllocated = pixels.dtype.itemsize * 8
    ds.BitsStored = stored or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 4:
        ds.PlanarConfiguration = planar
    ds.PixelPaddingValue = -5 if pixels.dtype.kind == "i" else 5
    icon = Dataset()
    icon.Rows, icon.Columns, icon.BitsAllocated = 2, 2, 8
    icon.PixelData = b"\1\2\3\4"
    ds.IconImageSequence = Sequence([icon])
    if offsets == "extended":
        ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(streams)
    else:
        split = 2 if offsets in {"fragments", "markers"} else 1
        ds.PixelData = encapsulate(streams, fragments_per_frame=split, has_bot=offsets != "markers")
    ds["PixelData"].VR = "OB"
    ds.save_as(path, enforce_file_format=True)
    if syntax == JPEGXL:  # which pydicom does not know yet
        path.write_bytes(path.read_bytes().replace(HTJ2K.encode(), JPEGXL.encode(), 1))
    return path


def native(path: Path) -> NDArray[np.generic]:
    """The pixels of a native file by pydicom alone, with (frames, rows, columns[, 3])."""
    ds = pydicom.dcmread(path)
    assert ds.file_meta.TransferSyntaxUID in {ELE, ILE}
    pixels = ds.pixel_array
    return pixels if int(ds.NumberOfFrames) > 1 else pixels[None]


def test_inv03_every_shared_file_is_converted_or_refused_with_its_reason(
    shared: Path, tmp_path: Path
) -> None:
    for path in sorted((shared / "dicom").glob("*.dcm")):
        large = path.stat().st_size > 1_000_000  # one conversion of these must do
        for syntax in (ELE,) if large else (ELE, ILE):
            target = tmp_path / f"{path.name}.{syntax}"
            if path.name in FAILING:
                with pytest.raises(RadpostError, match=FAILING[path.name]) as caught:
                    convert(path, target, syntax)
                assert caught.value.reason.name == "transcoding-failed"
                assert not target.exists()
                continue
            before, record = identify(path), convert(path, target, syntax)
            after = identify(target)
            assert (record.before_sha256, record.after_sha256) == (
                before.dataset_sha256,
                after.dataset_sha256,
            )
            assert record.lossy == (record.from_syntax in LOSSY)
            assert after.transfer_syntax_uid == record.to_syntax == syntax
            assert (after.sop_class_uid, after.sop_instance_uid) == (
                before.sop_class_uid,
                before.sop_instance_uid,
            )
            assert equal_content(path, target)
    assert not list(tmp_path.glob("*.converting"))


@pytest.mark.peer("dcmtk")
def test_inv03_dcmtk_decodes_the_same_pixels_and_elements(shared: Path, tmp_path: Path) -> None:
    compared = set()
    for path in sorted((shared / "dicom").glob("*.dcm")):
        syntax = identify(path).transfer_syntax_uid
        if path.name in FAILING or syntax not in DCMTK:
            continue
        large = path.stat().st_size > 1_000_000
        for target_syntax, option in ((ELE, "+te"), (ILE, "+ti"))[: 1 if large else 2]:
            ours, theirs = tmp_path / "ours", tmp_path / "theirs"
            convert(path, ours, target_syntax)
            subprocess.run([DCMTK[syntax], "-q", option, path, theirs], check=True, capture_output=True)
            assert_same_for_pydicom(ours, theirs)
        compared.add(syntax)
    assert len(compared) == 12, compared


def assert_same_for_pydicom(ours: Path, theirs: Path) -> None:
    a, b = pydicom.dcmread(ours), pydicom.dcmread(theirs)
    for tag in sorted({*a.keys(), *b.keys()}):
        if tag.element == 0:  # group lengths: DCMTK keeps them
            continue
        one, other = a.get(tag), b.get(tag)
        if tag == 0x7FE00010:
            assert one.value.ljust(len(other.value), b"\0") == other.value
        elif one is None or other is None or one.VR != other.VR:
            # DCMTK makes empty or malformed private elements absent, and UN of what it does not know
            assert tag.is_private or not (one and one.value) or not (other and other.value), tag
        elif one.VR != "SQ":
            assert one.value == other.value or not (one.value or other.value), tag


def jpeg2k(pixels: NDArray[np.generic]) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True))


CASES: dict[str, tuple[str, str, int, int, Callable[[Any], bytes | bytearray]]] = {
    "jpeg lossless, 12 bit": (LOSSLESS, "u2", 12, 1, lambda a: imagecodecs.ljpeg_encode(a, bitspersample=12)),
    "jpeg-ls": (JPEGLS, "u2", 16, 1, imagecodecs.jpegls_encode),
    "jpeg-ls colour": (JPEGLS, "u1", 8, 3, imagecodecs.jpegls_encode),
    "jpeg-ls signed": (JPEGLS, "i2", 16, 1, lambda a: imagecodecs.jpegls_encode(a.view("u2"))),
    "jpeg 2000": (J2K, "u2", 16, 1, jpeg2k),
    "jpeg 2000 signed": (J2K, "i2", 16, 1, jpeg2k),
    "htj2k": (HTJ2K, "u2", 16, 1, lambda a: imagecodecs.htj2k_encode(a, reversible=True)),
    "htj2k signed": (HTJ2K, "i2", 16, 1, lambda a: imagecodecs.htj2k_encode(a, reversible=True)),
    "jpeg xl": (JPEGXL, "u2", 16, 1, lambda a: imagecodecs.jpegxl_encode(a, lossless=True)),
    "jpeg xl colour": (JPEGXL, "u1", 8, 3, lambda a: imagecodecs.jpegxl_encode(a, lossless=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("offsets", ["basic", "extended", "fragments", "markers"])
def test_known_pixels_come_out_of_every_codec(name: str, offsets: str, tmp_path: Path) -> None:
    """PS3.5 8.2, A.4, G.3.1."""
    syntax, dtype, bits, samples, encode = CASES[name]
    shape = (3, 40, 56) if samples == 1 else (3, 40, 56, 3)
    pixels = gradient(shape, dtype, bits)
    source = make(tmp_path / "a", pixels, syntax, [encode(f) for f in pixels], stored=bits, offsets=offsets)
    for target_syntax in (ELE, ILE):
        record = convert(source, tmp_path / "b", target_syntax)
        assert not record.lossy
        np.testing.assert_array_equal(native(tmp_path / "b"), pixels)
        written = pydicom.dcmread(tmp_path / "b")
        assert "ExtendedOffsetTable" not in written
        assert written.PixelPaddingValue == (-5 if dtype == "i2" else 5)
        assert written.IconImageSequence[0].PixelData == b"\1\2\3\4"
        assert "LossyImageCompression" not in written


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_rle_colour_obeys_the_planar_configuration(planar: int, dtype: str, tmp_path: Path) -> None:
    pixels = gradient((2, 8, 10, 3), dtype, 8)
    source = tmp_path / "a"
    ds = pydicom.dcmread(make(source, pixels, RLE, [bytes(64)] * 2))
    ds.compress(UID(RLE), pixels)
    ds.PlanarConfiguration = planar  # RLE frames are stored by plane whatever it says (PS3.5 G.2)
    ds.save_as(source)
    to_explicit_le(source, tmp_path / "b")
    np.testing.assert_array_equal(native(tmp_path / "b"), pixels)
    written = pydicom.dcmread(tmp_path / "b")
    assert written.PlanarConfiguration == planar
    assert equal_content(source, tmp_path / "b")


def test_colour_transforms_are_undone_and_renamed(tmp_path: Path) -> None:
    """PS3.5 8.2.4."""
    pixels = gradient((1, 32, 32, 3), "u1", 8)
    stream = imagecodecs.jpeg2k_encode(pixels[0], codecformat="j2k", reversible=True, mct=True)
    source = make(tmp_path / "a", pixels, J2K, [stream], photometric="YBR_RCT")
    to_explicit_le(source, tmp_path / "b")
    assert pydicom.dcmread(tmp_path / "b").PhotometricInterpretation == "RGB"
    np.testing.assert_array_equal(native(tmp_path / "b"), pixels)
    assert equal_content(source, tmp_path / "b")


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
def test_lossy_jpeg_becomes_rgb_and_says_that_it_was_lossy(photometric: str, tmp_path: Path) -> None:
    """PS3.3 C.7.6.1.1.5."""
    smooth = np.stack([np.tile(np.arange(0, 240, 5, dtype="u1"), (48, 1))] * 3, axis=-1)
    smooth[..., 1] = smooth[..., 0].T
    stored = "RGB" if photometric == "RGB" else "YCBCR"
    stream = imagecodecs.jpeg8_encode(smooth, level=98, colorspace="RGB", outcolorspace=stored)
    source = make(tmp_path / "a", smooth[None], JPEG, [stream], photometric=photometric)
    assert to_explicit_le(source, tmp_path / "b").lossy
    written = pydicom.dcmread(tmp_path / "b")
    assert (written.PhotometricInterpretation, written.LossyImageCompression) == ("RGB", "01")
    assert np.abs(native(tmp_path / "b")[0].astype(int) - smooth).max() < 12
    assert equal_content(source, tmp_path / "b")


def test_a_negative_number_in_12_bits_keeps_its_sign(tmp_path: Path) -> None:
    """PS3.5 8.1.1."""
    pixels = gradient((1, 16, 16), "i2", 12)
    stream = imagecodecs.ljpeg_encode(pixels[0].view("u2") & 0xFFF, bitspersample=12)
    source = make(tmp_path / "a", pixels, LOSSLESS, [stream], stored=12)
    to_explicit_le(source, tmp_path / "b")
    np.testing.assert_array_equal(native(tmp_path / "b"), pixels)


def test_compressed_icon_inside_a_sequence_is_decoded_by_its_own_description(tmp_path: Path) -> None:
    pixels = gradient((1, 20, 20), "u2", 16)
    icon_pixels = gradient((1, 8, 8), "u1", 8)
    source = make(tmp_path / "a", pixels, JPEGLS, [imagecodecs.jpegls_encode(pixels[0])])
    ds = pydicom.dcmread(source)
    icon = ds.IconImageSequence[0]
    icon.Rows = icon.Columns = 8
    icon.SamplesPerPixel, icon.PhotometricInterpretation, icon.PixelRepresentation = 1, "MONOCHROME2", 0
    icon.BitsAllocated = icon.BitsStored = 8
    icon.PixelData = encapsulate([bytes(imagecodecs.jpegls_encode(icon_pixels[0]))])
    icon["PixelData"].VR, icon["PixelData"].is_undefined_length = "OB", True
    ds.save_as(source)
    to_explicit_le(source, tmp_path / "b")
    written = pydicom.dcmread(tmp_path / "b")
    assert written.IconImageSequence[0].PixelData == icon_pixels.tobytes()
    assert written.PixelData == pixels.tobytes()


def test_htj2k_is_decoded_as_another_library_decodes_it(shared: Path, tmp_path: Path) -> None:
    path = shared / "dicom" / "htj2k_lossless_rgb.dcm"
    to_explicit_le(path, tmp_path / "b")
    stream = b"".join(pydicom.encaps.generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))
    np.testing.assert_array_equal(
        pydicom.dcmread(tmp_path / "b").pixel_array, imagecodecs.jpeg2k_decode(stream)
    )


@pytest.mark.parametrize("claim", ["larger", "smaller", "truncated", "garbage", "missing frame"])
def test_inv08_a_codestream_that_lies_is_refused(claim: str, tmp_path: Path) -> None:
    pixels = gradient((2, 40, 40), "u2", 16)
    frames = [bytes(imagecodecs.jpegls_encode(frame)) for frame in pixels]
    if claim in {"larger", "smaller"}:
        side = 60_000 if claim == "larger" else 8
        at = frames[1].index(b"\xff\xf7") + 5
        frames[1] = frames[1][:at] + side.to_bytes(2, "big") * 2 + frames[1][at + 4 :]
    frames[1] = {"truncated": frames[1][:200], "garbage": b"\xff\xd8" + os.urandom(200)}.get(claim, frames[1])
    source = make(tmp_path / "a", pixels, JPEGLS, frames[:1] if claim == "missing frame" else frames)
    with pytest.raises(RadpostError, match="transcoding-failed"):
        to_explicit_le(source, tmp_path / "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


def test_inv03_the_proof_fails_if_a_pixel_or_an_element_is_changed(tmp_path: Path) -> None:
    pixels = gradient((1, 20, 20), "u2", 16)
    source = make(tmp_path / "a", pixels, JPEGLS, [imagecodecs.jpegls_encode(pixels[0])])
    to_explicit_le(source, tmp_path / "b")
    assert equal_content(source, tmp_path / "b")
    ds = pydicom.dcmread(tmp_path / "b")
    ds.PixelData = ds.PixelData[:-1] + bytes([ds.PixelData[-1] ^ 1])
    ds.save_as(tmp_path / "pixel")
    assert not equal_content(source, tmp_path / "pixel")
    ds = pydicom.dcmread(tmp_path / "b")
    ds.PatientName = "Other^Phantom"
    ds.save_as(tmp_path / "name")
    assert not equal_content(source, tmp_path / "name")
    ds = pydicom.dcmread(tmp_path / "b")
    del ds.PixelPaddingValue
    ds.save_as(tmp_path / "less")
    assert not equal_content(source, tmp_path / "less")
    assert not equal_content(source, tmp_path / "absent")


def test_inv03_a_wrong_result_is_never_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = gradient((1, 20, 20), "u2", 16)
    source = make(tmp_path / "a", pixels, JPEGLS, [imagecodecs.jpegls_encode(pixels[0])])
    decode, calls = imagecodecs.jpegls_decode, []

    def once_wrong(data: bytes) -> NDArray[np.generic]:
        calls.append(1)
        image: NDArray[np.uint16] = decode(data).copy()
        image[3, 3] ^= len(calls) == 1
        return image

    monkeypatch.setattr(imagecodecs, "jpegls_decode", once_wrong)
    with pytest.raises(RadpostError, match="not equal"):
        to_explicit_le(source, tmp_path / "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


def test_private_elements_and_long_values_survive_there_and_back(tmp_path: Path) -> None:
    """PS3.5 6.2.2, 7.1.2, 7.1.3."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(ILE)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = UID("1.2.3.4")
    ds.add_new(0x00090010, "LO", "RADPOST TEST")
    ds.add_new(0x00091001, "OB", b"\0\1\2\3")
    ds.add_new(0x00081030, "LO", "x" * 70_000)  # too long for a short VR
    nested = Dataset()
    nested.add_new(0x00080100, "SH", "CODE")
    ds.add_new(0x00091002, "SQ", Sequence([nested]))
    ds["00091002"].is_undefined_length = True
    ds.save_as(tmp_path / "a", enforce_file_format=True)
    to_explicit_le(tmp_path / "a", tmp_path / "b")
    to_implicit_le(tmp_path / "b", tmp_path / "c")
    written = pydicom.dcmread(tmp_path / "b")
    assert written["00091001"].VR == "UN"
    assert written["00091001"].value == b"\0\1\2\3"
    assert written["00091002"].value[0]["00080100"].value == "CODE"
    assert equal_content(tmp_path / "a", tmp_path / "c")
    assert pydicom.dcmread(tmp_path / "a").to_json() == pydicom.dcmread(tmp_path / "c").to_json()


def test_what_can_be_decoded() -> None:
    assert all(can_decode(uid) for uid in (ELE, ILE, BE, DEFLATED, JPEG, LOSSLESS, JPEGLS, J2K, HTJ2K, RLE))
    assert not can_decode("1.2.840.10008.1.2.4.100")
    assert not can_decode("1.2.3")
