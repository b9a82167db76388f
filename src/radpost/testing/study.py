"""A synthetic CT study for demonstrations and tests on a bare machine, without any patient's data.

A phantom of a head: skull, brain with slowly varying structure, ventricles, a few bright spots and the
table, in Hounsfield units, with noise that compresses about as badly as a scanner's. The same seed gives
the same bytes. A slice is as large as a real one: 512 x 512 pixels of 16 bits, 526 KB.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from radpost.dicom.lazy import pydicom
from radpost.dicom.meta import EXPLICIT_VR_LITTLE_ENDIAN, file_meta

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIZE = 512
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
_AIR, _SKULL, _BRAIN, _FLUID, _TABLE = -1000, 900, 36, 6, -150
_NOISE_PLANES = 4


def make_study(directory: Path, slices: int, seed: int = 1, *, series: int = 1) -> str:
    """Write a study of ``slices`` CT slices into a directory and return its Study Instance UID."""
    if slices < 1 or series < 1:
        raise ValueError("a study has at least one slice and one series")
    directory.mkdir(parents=True, exist_ok=True)
    phantom = _Phantom(seed)
    study_uid = _uid(seed, "study")
    per_series = -(-slices // series)
    for number in range(slices):
        of_series, instance = divmod(number, per_series)
        data = _slice(phantom, seed, study_uid, of_series + 1, instance + 1, per_series)
        (directory / f"IM{number + 1:06d}.dcm").write_bytes(data)
    return study_uid


def _slice(phantom: "_Phantom", seed: int, study_uid: str, series: int, instance: int, slices: int) -> bytes:
    """Return the Part 10 file of one slice."""
    position = (instance - 0.5) / slices
    sop_uid = _uid(seed, f"instance {series} {instance}")
    head = _header(seed, study_uid, sop_uid, series, instance)
    pixels = phantom.slice(position, series * 100_003 + instance).tobytes()
    element = b"\xe0\x7f\x10\x00OW\0\0" + len(pixels).to_bytes(4, "little")
    return file_meta(CT_IMAGE_STORAGE, sop_uid, EXPLICIT_VR_LITTLE_ENDIAN) + head + element + pixels


def _header(seed: int, study_uid: str, sop_uid: str, series: int, instance: int) -> bytes:
    """Return the elements of a slice before its pixel data, in Explicit VR Little Endian."""
    library = pydicom()
    ds = library.Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID = CT_IMAGE_STORAGE, sop_uid
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240229"
    ds.StudyTime = ds.SeriesTime = "101500"
    ds.AcquisitionTime = ds.ContentTime = f"1016{instance % 60:02d}"
    ds.AccessionNumber = f"DEMO{seed:06d}"
    ds.Modality, ds.Manufacturer, ds.InstitutionName = "CT", "Radpost", "Demo"
    ds.StudyDescription, ds.SeriesDescription = "Head phantom", f"Axial {series}"
    ds.ManufacturerModelName = "Phantom"
    ds.PatientName, ds.PatientID = "Demo^Phantom", f"DEMO-{seed}"
    ds.PatientBirthDate, ds.PatientSex = "", "O"
    ds.BodyPartExamined, ds.SliceThickness, ds.KVP = "HEAD", "2.5", "120"
    ds.ConvolutionKernel, ds.PatientPosition = "STANDARD", "HFS"
    ds.XRayTubeCurrent, ds.ExposureTime, ds.GantryDetectorTilt = "210", "1000", "0"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid, _uid(seed, f"series {series}")
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = str(seed), series, instance
    ds.ImagePositionPatient = [-125, -125, 2.5 * (instance - 1)]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = _uid(seed, "frame"), ""
    ds.SliceLocation = 2.5 * (instance - 1)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = SIZE
    ds.PixelSpacing = [0.488281, 0.488281]
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    ds.WindowCenter, ds.WindowWidth = 40, 90
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "HU"
    out = library.filebase.DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, False
    library.filewriter.write_dataset(out, ds)
    return bytes(out.getvalue())


class _Phantom:
    """The parts of the head that every slice shares, computed once."""

    def __init__(self, seed: int) -> None:
        import numpy as np  # noqa: PLC0415  heavy, and only the demo needs it

        self._rng = np.random.default_rng(seed)
        self._seed = seed
        axis = np.linspace(-1, 1, SIZE, dtype=np.float32)
        x, y = np.meshgrid(axis, axis)
        self._radius = (x / 0.72) ** 2 + (y / 0.86) ** 2
        self._ventricles = np.minimum(
            ((x - 0.11) / 0.07) ** 2 + (y / 0.3) ** 2, ((x + 0.11) / 0.07) ** 2 + (y / 0.3) ** 2
        )
        self._table = (np.abs(y - 0.94) < 0.02) & (np.abs(x) < 0.6)
        folds = np.sin(x * 31 + 3 * np.sin(y * 17)) * np.cos(y * 29 + 2 * np.sin(x * 13))
        self._tissue = (_BRAIN + 5 * folds).astype(np.float32)
        shape = (_NOISE_PLANES, SIZE, SIZE)
        self._noise = (self._rng.standard_normal(shape, dtype=np.float32) * 9).astype(np.int16)

    def slice(self, position: float, number: int) -> "NDArray[np.int16]":
        """Return the pixels at a height between 0 and 1; no two numbers have the same noise."""
        import numpy as np  # noqa: PLC0415

        rng = np.random.default_rng((self._seed, number))
        size = np.float32(0.35 + 0.65 * np.sin(np.pi * min(max(position, 0.02), 0.98)))
        radius = self._radius / (size * size)
        image = np.full((SIZE, SIZE), _AIR, dtype=np.int16)
        image[self._table] = _TABLE
        image[radius < 1.0] = _SKULL
        inside = radius < 0.86
        np.copyto(image, self._tissue.astype(np.int16), where=inside)
        image[inside & (self._ventricles < size * size * (1.2 - position))] = _FLUID
        plane = self._noise[int(rng.integers(_NOISE_PLANES))]
        shift = (int(rng.integers(SIZE)), int(rng.integers(SIZE)))
        # a shifted plane, and a few grey levels drawn afresh, so that slices do not repeat each other
        image += np.roll(plane, shift, axis=(0, 1))
        fresh = np.frombuffer(rng.bytes(SIZE * SIZE), dtype=np.uint8).reshape(SIZE, SIZE)
        image += (fresh & 3).astype(np.int16)
        # beyond its field of view a scanner writes padding, which is constant
        image[self._radius > 1.9] = -1024
        return image.astype("<i2", copy=False)


def _uid(seed: int, what: str) -> str:
    """Return a UID that depends on nothing but the seed (PS3.5 B.2)."""
    digest = hashlib.sha256(f"radpost demo {seed} {what}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:15], 'big')}"
