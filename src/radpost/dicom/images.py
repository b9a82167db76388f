"""Where the pixels of a data set are, how they are stored, and what a conversion must change for them.

Pixel data stand at the top level and also inside sequences (Icon Image Sequence); each is described by
the attributes of its own level.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from radpost.dicom import codecs
from radpost.dicom.codecs import Image
from radpost.dicom.codestream import irreversible
from radpost.dicom.elements import PIXEL_DATA, RELEASE_EVERY, Kind, Token, broken, release

EXTENDED_OFFSETS = 0x7FE00001
EXTENDED_LENGTHS = 0x7FE00002
PHOTOMETRIC = 0x00280004
LOSSY_COMPRESSION = 0x00282110
_SAMPLES, _PLANAR, _FRAMES, _ROWS, _COLUMNS = 0x00280002, 0x00280006, 0x00280008, 0x00280010, 0x00280011
_ALLOCATED, _STORED, _SIGNED, _WAVEFORM_BITS = 0x00280100, 0x00280101, 0x00280103, 0x54001004
_ATTRIBUTES = frozenset(
    {_SAMPLES, PHOTOMETRIC, _PLANAR, _FRAMES, _ROWS, _COLUMNS, _ALLOCATED, _STORED, _SIGNED}
    | {LOSSY_COMPRESSION, _WAVEFORM_BITS}
)
_MAX_LENGTH = 0xFFFFFFFE


@dataclass(frozen=True, slots=True)
class Pixels:
    """One Pixel Data element with what describes it."""

    image: Image | None
    token: Token
    syntax: str
    offsets: tuple[int, ...] | None

    def frames(self) -> Iterator[bytes]:
        """Decode encapsulated pixel data frame by frame."""
        if self.image is None:
            raise broken("the pixel data are not described")
        count = 0
        for stream in codecs.frames_of(self.token.fragments, self.image.frames, self.offsets):
            yield codecs.decode(stream, self.image, self.syntax)
            count += 1
            if count % RELEASE_EVERY == 0:
                release(self.token.fragments[0])
        if count != self.image.frames:
            raise broken("the pixel data have not as many frames as the data set says")

    @property
    def photometric(self) -> str:
        """The Photometric Interpretation of the decoded pixels."""
        if self.image is None:
            return ""
        if self.token.kind is Kind.FRAGMENTS:
            return codecs.native_photometric(self.image, self.syntax)
        return self.image.photometric

    def length(self) -> int:
        """Return the length of the native value, which is even."""
        if self.image is None or self.image.size > _MAX_LENGTH:
            raise broken("the pixel data are too large for a native element, or not described")
        return self.image.size + self.image.size % 2

    def digest(self) -> str:
        """Return a hash of the pixels that depends on neither syntax nor planar configuration."""
        digest = hashlib.sha256()
        image = self.image
        if self.token.kind is Kind.FRAGMENTS:
            assert image is not None or not self.token.fragments
            for frame in self.frames():
                digest.update(_normal(frame, self.image))
            return digest.hexdigest()
        value = memoryview(b"".join(self.token.chunks())) if self.token.big else self.token.value
        if image is None or not image.size <= len(value) <= image.size + 1:
            return hashlib.sha256(value).hexdigest()
        size = image.frame_bits // 8 if image.frame_bits % 8 == 0 and image.frame_bits else image.size
        for count, start in enumerate(range(0, image.size, max(size, 1)), 1):
            digest.update(_normal(value[start : min(start + size, image.size)], image))
            if count % RELEASE_EVERY == 0:
                release(value)
        return digest.hexdigest()


@dataclass(slots=True)
class Plan:
    """What a conversion changes, by the index of the token."""

    root: dict[int, bytes] = field(default_factory=dict)
    pixels: dict[int, Pixels] = field(default_factory=dict)
    replaced: dict[int, bytes] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)
    mark_lossy_before: int | None = None
    nested: bool = False
    """Something inside a sequence changes its length."""


class Tracker:
    """Follows the tokens and keeps the attributes of the levels that are open."""

    def __init__(self, root: dict[int, bytes] | None = None) -> None:
        self.levels: list[dict[int, bytes]] = [{} if root is None else dict(root)]

    def feed(self, token: Token) -> None:
        """Take note of a token."""
        if token.kind is Kind.ITEM:
            self.levels.append({})
        elif token.kind is Kind.ITEM_END:
            self.levels.pop()
        elif token.kind is Kind.VALUE and token.tag in _ATTRIBUTES and len(token.value) <= 64:
            self.levels[-1][token.tag] = b"".join(token.chunks())

    def context(self) -> tuple[bool, int, int]:
        """Return Pixel Representation, Bits Allocated and Waveform Bits Allocated that hold here."""
        merged: dict[int, bytes] = {}
        for level in self.levels:
            merged |= level
        return (
            bool(_number(merged, _SIGNED)),
            _number(merged, _ALLOCATED, 16),
            _number(merged, _WAVEFORM_BITS),
        )


def image_of(level: dict[int, bytes]) -> Image | None:
    """Return what the attributes of a level say about its pixels; None if they do not say it all."""
    if not {_ROWS, _COLUMNS, _ALLOCATED} <= level.keys():
        return None
    frames = level.get(_FRAMES, b"").rstrip(b"\0 ").strip() or b"1"
    allocated = _number(level, _ALLOCATED)
    return Image(
        rows=_number(level, _ROWS),
        columns=_number(level, _COLUMNS),
        samples=_number(level, _SAMPLES, 1),
        allocated=allocated,
        stored=_number(level, _STORED, allocated) or allocated,
        signed=_number(level, _SIGNED) == 1,
        planar=_number(level, _PLANAR) == 1,
        photometric=level.get(PHOTOMETRIC, b"").rstrip(b"\0 ").decode("latin-1"),
        frames=max(int(frames), 1) if frames.isdigit() else 1,
    )


def pixels_of(tokens: Iterable[Token], syntax: str) -> Iterator[tuple[int, Token, Pixels | None, Tracker]]:
    """Yield every token with its index, its pixels if it is Pixel Data, and the attributes so far."""
    tracker = Tracker()
    offsets: tuple[int, ...] | None = None
    for index, token in enumerate(tokens):
        tracker.feed(token)
        found = None
        if token.tag == EXTENDED_OFFSETS and token.kind is Kind.VALUE:
            value = token.value
            offsets = tuple(int.from_bytes(value[i : i + 8], "little") for i in range(0, len(value) - 7, 8))
        if token.kind is Kind.FRAGMENTS or (token.tag == PIXEL_DATA and token.kind is Kind.VALUE):
            if token.tag != PIXEL_DATA:
                raise broken("an element other than Pixel Data is encapsulated")
            found = Pixels(image_of(tracker.levels[-1]), token, syntax, offsets)
            offsets = None
        yield index, token, found, tracker


def plan(tokens: Iterable[Token], syntax: str) -> Plan:
    """Find out what a conversion to a native syntax must change."""
    made = Plan()
    photometric_at: list[int | None] = [None]
    lossy_at: int | None = None
    behind_lossy: int | None = None
    for index, token, pixels, tracker in pixels_of(tokens, syntax):
        made.root = tracker.levels[0]
        if token.kind is Kind.ITEM:
            photometric_at.append(None)
        elif token.kind is Kind.ITEM_END:
            photometric_at.pop()
        elif token.tag == PHOTOMETRIC:
            photometric_at[-1] = index
        elif token.tag in {EXTENDED_OFFSETS, EXTENDED_LENGTHS}:
            made.dropped.add(index)
        top = len(tracker.levels) == 1
        if top and token.tag == LOSSY_COMPRESSION:
            lossy_at = index
        elif top and token.tag > LOSSY_COMPRESSION and behind_lossy is None:
            behind_lossy = index
        if pixels is not None and token.kind is Kind.FRAGMENTS:
            made.pixels[index] = pixels
            made.nested = made.nested or not top
            _plan_photometric(made, pixels, photometric_at[-1])
            if top and _is_lossy(pixels):
                _plan_mark(made, lossy_at, index if behind_lossy is None else behind_lossy)
    return made


def _plan_photometric(made: Plan, pixels: Pixels, at: int | None) -> None:
    if at is not None and pixels.image is not None and pixels.photometric != pixels.image.photometric:
        text = pixels.photometric.encode("ascii")
        made.replaced[at] = text + b" " * (len(text) % 2)


def _plan_mark(made: Plan, at: int | None, behind: int) -> None:
    """Plan that the data set says of itself that it was compressed with loss, if it does not yet."""
    if made.root.get(LOSSY_COMPRESSION, b"").rstrip(b"\0 ") == b"01":
        return
    if at is not None:
        made.replaced[at] = b"01"
    else:
        made.mark_lossy_before = behind


def _is_lossy(pixels: Pixels) -> bool:
    if pixels.syntax not in codecs.LOSSY or len(pixels.token.fragments) < 2:
        return False
    return irreversible(bytes(pixels.token.fragments[1]))


def _number(level: dict[int, bytes], tag: int, default: int = 0) -> int:
    value = level.get(tag, b"")
    return int.from_bytes(value[:2], "little") if len(value) >= 2 else default


def _normal(frame: bytes | memoryview, image: Image | None) -> bytes | memoryview:
    """Return a native frame with interleaved samples and, where signed, with extended signs."""
    if image is None or image.allocated not in {8, 16, 32} or image.frame_bits != len(frame) * 8:
        return frame
    extend = image.signed and image.stored < image.allocated
    if not extend and not (image.planar and image.samples > 1):
        return frame
    import numpy as np  # noqa: PLC0415  heavy, and transcoding is rare

    pixels = np.frombuffer(frame, dtype=f"<i{image.allocated // 8}")
    if image.planar and image.samples > 1:
        pixels = np.moveaxis(pixels.reshape(image.samples, image.rows, image.columns), 0, -1)
    if extend:
        shift = image.allocated - image.stored
        pixels = np.right_shift(np.left_shift(pixels, shift), shift)
    return pixels.tobytes()
