"""Decodes the frames of encapsulated pixel data to native little-endian bytes (PS3.5 8.2, A.4).

imagecodecs does the decoding. A frame is decoded only if its codestream announces the very size that
the data set gives: what a hostile codestream claims never becomes an allocation.

Colour: lossless families are not colour-converted, except that JPEG 2000 undoes its own component
transform (YBR_RCT, YBR_ICT become RGB, PS3.5 8.2.4). Lossy JPEG in YCbCr, and JPEG XL, become RGB.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from radpost.dicom.codestream import Codestream, jpeg_markers, read_codestream
from radpost.dicom.elements import broken
from radpost.dicom.meta import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NATIVE = frozenset(
    {
        IMPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_LITTLE_ENDIAN,
        DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_BIG_ENDIAN,
    }
)
_JPEG_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55))
_JPEG_LOSSLESS = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (57, 70))
_JPEG_LS = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (80, 81))
_JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91))
_HTJ2K = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (201, 202, 203))
_JPEG_XL = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (110, 111, 112))
RLE_LOSSLESS = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_ENCAPSULATED = (
    _JPEG_LOSSY | _JPEG_LOSSLESS | _JPEG_LS | _JPEG_2000 | _HTJ2K | _JPEG_XL | {RLE_LOSSLESS, DEFLATED_FRAMES}
)
LOSSY = _JPEG_LOSSY | {f"1.2.840.10008.1.2.4.{n}" for n in (81, 91, 203, 111, 112)}
"""Syntaxes whose data were, or may have been, compressed with loss: decoded only, never made from others."""

MAX_FRAME = 1 << 30
_RGB_AFTER_JPEG = frozenset({"YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420"})
_RGB_AFTER_J2K = frozenset({"YBR_RCT", "YBR_ICT"})


@dataclass(frozen=True, slots=True)
class Image:
    """The attributes of the Image Pixel Module that say how pixels are stored (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    signed: bool
    planar: bool
    photometric: str
    frames: int

    @property
    def frame_bits(self) -> int:
        """The bits of one native frame."""
        return self.rows * self.columns * self.samples * self.allocated

    @property
    def size(self) -> int:
        """The bytes of all native frames, without the byte that makes them even."""
        return (self.frame_bits * self.frames + 7) // 8


def can_decode(transfer_syntax_uid: str) -> bool:
    """Say whether objects in a transfer syntax can be converted to a native one."""
    return transfer_syntax_uid in NATIVE or transfer_syntax_uid in _ENCAPSULATED


def native_photometric(image: Image, syntax: str) -> str:
    """Return the Photometric Interpretation of the decoded pixels."""
    if image.samples == 3:
        if syntax in _JPEG_LOSSY | _JPEG_XL and image.photometric in _RGB_AFTER_JPEG | {"XYB"}:
            return "RGB"
        if syntax in _JPEG_2000 | _HTJ2K | _JPEG_XL and image.photometric in _RGB_AFTER_J2K:
            return "RGB"
    return image.photometric


def frames_of(
    fragments: tuple[memoryview, ...], count: int, offsets: tuple[int, ...] | None
) -> Iterator[bytes]:
    """Yield the codestream of each frame; ``offsets`` is the Extended Offset Table, if there is one.

    PS3.5 A.4: one fragment per frame, or frames that the offset tables mark. Where a table is missing,
    each codestream's first marker tells where a frame begins.
    """
    if not fragments:
        raise broken("there are no fragments")
    table, parts = bytes(fragments[0]), fragments[1:]
    if offsets is None and table:
        offsets = tuple(int.from_bytes(table[i : i + 4], "little") for i in range(0, len(table) - 3, 4))
    if count == 1:
        yield b"".join(parts)
        return
    if len(parts) == count:
        yield from (bytes(part) for part in parts)
        return
    starts = _starts_by_table(parts, offsets) if offsets else _starts_by_marker(parts)
    if len(starts) != count or starts[0] != 0:
        raise broken("the fragments cannot be assigned to frames")
    for first, behind in zip(starts, [*starts[1:], len(parts)], strict=True):
        yield b"".join(parts[first:behind])


def _starts_by_table(parts: tuple[memoryview, ...], offsets: tuple[int, ...]) -> list[int]:
    position, index = 0, {}
    for number, part in enumerate(parts):
        index[position] = number
        position += 8 + len(part)
    if any(offset not in index for offset in offsets):
        raise broken("the offset table points between fragments")
    return sorted({index[offset] for offset in offsets})


def _starts_by_marker(parts: tuple[memoryview, ...]) -> list[int]:
    magic = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\0\0\0\x0cJXL ", b"\0\0\0\x0cjP  ")
    return [number for number, part in enumerate(parts) if bytes(part[:12]).startswith(magic)]


def decode(codestream: bytes, image: Image, syntax: str) -> bytes:
    """Decode one frame to native bytes; raise TRANSCODING_FAILED if that is not possible."""
    size, rest = divmod(image.frame_bits, 8)
    if size > MAX_FRAME or rest or not size:
        raise broken("a frame is too large, empty, or no whole number of bytes")
    import numpy as np  # noqa: PLC0415  heavy, and transcoding is rare

    if syntax == DEFLATED_FRAMES:
        return _inflate(codestream, size)
    if image.allocated not in {8, 16, 32}:
        raise broken("Bits Allocated is none of 8, 16, 32")
    if syntax == RLE_LOSSLESS:
        pixels = _run_lengths(codestream, image)
    else:
        info = read_codestream(codestream, image.samples)
        if info is None or (info.rows, info.columns, info.samples) != (
            image.rows,
            image.columns,
            image.samples,
        ):
            raise broken("the codestream is not of the size that the data set gives")
        pixels = _decoded(codestream, image, syntax, info)
        if pixels.shape[:2] != (image.rows, image.columns) or pixels.size * image.allocated != size * 8:
            raise broken("the codestream decodes to another size than the data set gives")
        if pixels.dtype.kind not in "iu":
            raise broken("the codestream holds no integers")
        pixels = _widened(pixels, image, info)
    if image.samples > 1 and image.planar:
        pixels = np.moveaxis(pixels, -1, 0)
    return pixels.astype(f"<{pixels.dtype.kind}{image.allocated // 8}", copy=False).tobytes()


def _inflate(codestream: bytes, size: int) -> bytes:
    """Deflated Image Frame Compression (PS3.5 A.4.13): raw deflate, padded to an even length."""
    try:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(codestream, size + 1)
    except zlib.error:
        raise broken("a frame cannot be inflated") from None
    if len(data) - len(data) % 2 not in {size, size - 1} and len(data) != size:
        raise broken("a frame inflates to another size than the data set gives")
    return data[:size]


def _run_lengths(codestream: bytes, image: Image) -> "NDArray[np.generic]":
    """RLE (PS3.5 G.2): one segment per byte of a sample, the most significant first."""
    import numpy as np  # noqa: PLC0415

    segments = int.from_bytes(codestream[:4], "little")
    depth = image.allocated // 8
    if segments != image.samples * depth:
        raise broken("the RLE frame has not as many segments as samples have bytes")
    starts = [int.from_bytes(codestream[4 + 4 * n : 8 + 4 * n], "little") for n in range(segments)]
    ends = [*starts[1:], len(codestream)]
    plane = image.rows * image.columns
    out = np.empty((image.samples, plane, depth), dtype=np.uint8)
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if not 64 <= start <= end <= len(codestream):
            raise broken("the RLE header points outside the frame")
        segment = _unpack_bits(codestream[start:end], plane)
        sample, byte = divmod(number, depth)
        out[sample, :, depth - 1 - byte] = np.frombuffer(segment, dtype=np.uint8)
    pixels = (
        out.reshape(image.samples, -1).view(f"<u{depth}").reshape(image.samples, image.rows, image.columns)
    )
    return np.moveaxis(pixels, 0, -1) if image.samples > 1 else pixels[0]


def _unpack_bits(segment: bytes, size: int) -> bytes:
    """Unpack a segment; the byte that makes it even may look like a run that is cut off (PS3.5 G.3.1)."""
    codecs = _imagecodecs()
    for candidate in (segment, segment[:-1]):
        try:
            data: bytes = codecs.packbits_decode(candidate)
        except Exception:  # noqa: BLE001, S112  a codec's own exception classes; the other candidate
            continue
        if len(data) >= size:
            return data[:size]
    raise broken("an RLE segment is too short")


def _decoded(codestream: bytes, image: Image, syntax: str, info: Codestream) -> "NDArray[Any]":
    codecs = _imagecodecs()
    pixels: NDArray[Any]
    try:
        if syntax in _JPEG_LOSSY:
            pixels = _lossy_jpeg(codecs, codestream, image)
        else:
            pixels = getattr(codecs, _decoder(syntax, info))(codestream)
    except Exception as error:  # noqa: BLE001  every codec has its own exception class
        raise broken(f"codec: {type(error).__name__}") from None
    return pixels


def _decoder(syntax: str, info: Codestream) -> str:
    """Return the name of the decoder for a syntax; the codestream must be of its family."""
    for family, syntaxes, name in (
        ("jpeg", _JPEG_LOSSLESS, "jpegsof3_decode"),
        ("jpeg-ls", _JPEG_LS, "jpegls_decode"),
        ("jpeg2000", _HTJ2K, "htj2k_decode"),
        ("jpeg2000", _JPEG_2000, "jpeg2k_decode"),
        ("jpegxl", _JPEG_XL, "jpegxl_decode"),
    ):
        if syntax in syntaxes and info.family == family:
            return name
    raise broken("the codestream is not of the transfer syntax")


def _lossy_jpeg(codecs: ModuleType, codestream: bytes, image: Image) -> "NDArray[Any]":
    """Decode a lossy JPEG; what its colours are is said by markers, else by the data set."""
    colours = {}
    if image.samples > 1 and not jpeg_markers(codestream) & {"JFIF", "Adobe"}:
        stored = "YCBCR" if image.photometric in _RGB_AFTER_JPEG else "RGB"
        colours = {"colorspace": stored, "outcolorspace": "RGB"}
    pixels: NDArray[Any] = codecs.jpeg8_decode(codestream, **colours)
    return pixels


def _widened(pixels: "NDArray[Any]", image: Image, info: Codestream) -> "NDArray[Any]":
    """Bring samples to the allocated width; a negative number keeps its sign (PS3.5 8.1.1)."""
    import numpy as np  # noqa: PLC0415

    width = image.allocated // 8
    low = -(1 << image.allocated - 1)
    if pixels.dtype.itemsize > width and (int(pixels.max()) >> image.allocated or int(pixels.min()) < low):
        raise broken("the samples do not fit into Bits Allocated")
    widened = pixels.astype(f"{pixels.dtype.kind}{width}", copy=False)
    if image.signed and pixels.dtype.kind == "u" and 0 < info.precision < image.allocated:
        shift = image.allocated - info.precision
        widened = np.right_shift(np.left_shift(widened, shift).view(f"i{width}"), shift)
    return widened


def _imagecodecs() -> ModuleType:
    import imagecodecs  # noqa: PLC0415  heavy, and transcoding is rare

    return imagecodecs
