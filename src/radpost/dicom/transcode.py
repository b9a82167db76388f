"""Conversion to a native transfer syntax, with proof, for a PACS that takes no other (DESIGN 12).

What changes: the headers around values, the byte order of numbers, the pixel data from encapsulated to
native, the Photometric Interpretation where decoding undoes a colour transform, and Lossy Image
Compression, which is set where the compression was lossy and the data set did not say so (PS3.3
C.7.6.1.1.5). Retired group lengths and the Extended Offset Table disappear, their meaning being gone.
Everything else, private elements and sequences included, keeps the very bytes of its value. The Planar
Configuration is kept and obeyed.

The proof: the written file is read back from disk, and its elements and pixels are compared with those
of the source, which is decoded a second time. Without it there is no file at the target path.
"""

import contextlib
import mmap
import os
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

from radpost.dicom import codecs
from radpost.dicom.elements import PIXEL_DATA, Kind, Token, Writer, broken, parse, resolve
from radpost.dicom.identity import Hashes, identify
from radpost.dicom.images import (
    EXTENDED_LENGTHS,
    EXTENDED_OFFSETS,
    LOSSY_COMPRESSION,
    PHOTOMETRIC,
    Pixels,
    Plan,
    Tracker,
    pixels_of,
    plan,
)
from radpost.dicom.meta import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    file_meta,
    open_regular,
)
from radpost.dicom.scanner import Encoding, guess
from radpost.errors import RadpostError

MAX_INFLATED = 4 << 30
_TARGETS = {
    EXPLICIT_VR_LITTLE_ENDIAN: Encoding.EXPLICIT_LE,
    IMPLICIT_VR_LITTLE_ENDIAN: Encoding.IMPLICIT_LE,
}
_CHUNK = 1 << 20
# Elements that say how the pixels are stored; what they mean is compared with the pixels.
_ABOUT_STORAGE = frozenset({EXTENDED_OFFSETS, EXTENDED_LENGTHS, PHOTOMETRIC, 0x00280006, 0xFFFCFFFC})
# Lossy Image Compression, its Ratio and its Method may be known to one of two syntaxes only.
_ABOUT_LOSS = frozenset({LOSSY_COMPRESSION, 0x00282112, 0x00282114})
_NO_HASHES = Hashes("", "")
_NUMBERS = frozenset(b"US SS OW AT UL SL FL OF OL FD OD OV SV UV OB".split())


@dataclass(frozen=True, slots=True)
class Transcoded:
    """The record of a conversion; the hashes are those of the data sets (DESIGN invariants 2 and 3)."""

    before_sha256: str
    after_sha256: str
    from_syntax: str
    lossy: bool
    """The source's syntax may have lost information before it came to us; the conversion loses none."""
    to_syntax: str


def can_decode(transfer_syntax_uid: str) -> bool:
    """Say whether objects in a transfer syntax can be converted to a native one."""
    return codecs.can_decode(transfer_syntax_uid)


def to_explicit_le(source: Path, target: Path) -> Transcoded:
    """Convert a file to Explicit VR Little Endian; raise TRANSCODING_FAILED if it cannot be."""
    return convert(source, target, EXPLICIT_VR_LITTLE_ENDIAN)


def to_implicit_le(source: Path, target: Path) -> Transcoded:
    """Convert a file to Implicit VR Little Endian, the syntax that every DICOM node takes (PS3.5 10.1)."""
    return convert(source, target, IMPLICIT_VR_LITTLE_ENDIAN)


def convert(source: Path, target: Path, target_syntax: str) -> Transcoded:
    """Convert a file; ``target`` appears, not yet synced, only after the proof of equality."""
    if target_syntax not in _TARGETS:
        raise broken("the target syntax is not one of the two native little endian ones")
    temporary = target.with_name(target.name + ".converting")
    try:
        return _convert(source, temporary, target, target_syntax)
    except OSError as error:
        raise broken(f"{type(error).__name__} {error.errno}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _convert(source: Path, temporary: Path, target: Path, target_syntax: str) -> Transcoded:
    before = identify(source)
    if before.kind != "dicom" or before.transfer_syntax_uid is None:
        raise broken("the file is no DICOM object, or its transfer syntax is unknown")
    if not can_decode(before.transfer_syntax_uid):
        raise broken("this transfer syntax cannot be decoded")
    assert before.sop_class_uid is not None
    assert before.sop_instance_uid is not None
    with _opened(source, temporary.parent) as data_set:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb", buffering=_CHUNK) as sink:
            sink.write(file_meta(before.sop_class_uid, before.sop_instance_uid, target_syntax))
            _write(data_set, sink, _TARGETS[target_syntax])
        with _opened(temporary, temporary.parent) as written:
            if written.syntax != target_syntax or not _equal(data_set, written):
                raise broken("the converted object is not equal to the original")
    after = identify(temporary)
    temporary.replace(target)
    return Transcoded(
        before_sha256=before.dataset_sha256,
        after_sha256=after.dataset_sha256,
        from_syntax=before.transfer_syntax_uid,
        lossy=before.transfer_syntax_uid in codecs.LOSSY,
        to_syntax=target_syntax,
    )


def equal_content(path_a: Path, path_b: Path, *, work: Path | None = None) -> bool:
    """Say whether two objects of one SOP Instance UID are the same but for their transfer syntax.

    All elements and the decoded pixels are compared; how values are padded does not count (invariant 2).
    False if either cannot be read or decoded, for then nothing is known. Deflated data sets are inflated
    to unlinked files in ``work``, by default the system's directory for such.
    """
    try:
        with _opened(path_a, work) as first, _opened(path_b, work) as second:
            return _equal(first, second)
    except (RadpostError, OSError):
        return False


@dataclass(frozen=True, slots=True)
class _DataSet:
    """A data set in memory-mapped pages, and how it is written."""

    view: memoryview
    encoding: Encoding
    syntax: str

    def tokens(self, *, beside: Encoding) -> Iterator[Token]:
        """Parse; ``beside`` is the encoding of the data set to compare with or to write."""
        return parse(self.view, self.encoding, open_unknown=not beside.value[0])


@contextlib.contextmanager
def _opened(path: Path, work: Path | None) -> Iterator[_DataSet]:
    """Map the data set of a file; a deflated one is inflated to an unlinked file in ``work`` first."""
    known = identify(path, hashes=_NO_HASHES)
    if known.transfer_syntax_uid is None:
        raise broken("the transfer syntax is unknown")
    descriptor = open_regular(path)
    try:
        offset = known.dataset_offset
        if (
            known.transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
            and "not-deflated" not in known.defects
        ):
            inflated = _inflated(descriptor, offset, work)
            os.close(descriptor)
            descriptor, offset = inflated, 0
        if os.fstat(descriptor).st_size <= offset:
            raise broken("the data set is empty")
        mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)
    try:
        view = memoryview(mapped)[offset:]
        yield _DataSet(view, guess(bytes(view[:8])) or Encoding.EXPLICIT_LE, known.transfer_syntax_uid)
    finally:
        # a token that someone still holds keeps the pages; they go with it
        with contextlib.suppress(BufferError):
            mapped.close()


def _inflated(descriptor: int, offset: int, work: Path | None) -> int:
    """Inflate a data set (PS3.5 A.5) to an unlinked file and return its descriptor."""
    with tempfile.TemporaryFile(dir=work) as out:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        size = 0
        while not inflater.eof:
            data = inflater.unconsumed_tail
            if not data:
                data = os.pread(descriptor, _CHUNK, offset)
                offset += len(data)
            if not data:
                raise broken("the deflated data set is cut off")
            try:
                plain = inflater.decompress(data, _CHUNK)
            except zlib.error:
                raise broken("the data set cannot be inflated") from None
            size += len(plain)
            if size > MAX_INFLATED:
                raise broken("the data set inflates to more than the limit")
            out.write(plain)
        out.flush()
        return os.dup(out.fileno())


def _write(source: _DataSet, sink: BinaryIO, target: Encoding) -> None:
    """Write a data set in another encoding, its pixel data decoded."""
    changes = plan(source.tokens(beside=target), source.syntax)
    same = source.encoding is target
    writer = Writer(sink, target, keep_lengths=same and not changes.nested)
    tracker = Tracker(changes.root)
    for index, token in enumerate(source.tokens(beside=target)):
        tracker.feed(token)
        if index == changes.mark_lossy_before:
            writer.write(Token(Kind.VALUE, LOSSY_COMPRESSION, b"CS", memoryview(b"01")), b"CS")
        if index in changes.dropped or _is_group_length(token, keep=same and len(tracker.levels) > 1):
            continue
        if index in changes.pixels:
            _write_pixels(changes.pixels[index], sink, writer)
            continue
        if index in changes.replaced:
            token = _replaced(token, changes, index)  # noqa: PLW2901  the same step with another value
        signed, bits, waveform_bits = tracker.context()
        writer.write(token, resolve(token, signed=signed, bits=bits, waveform_bits=waveform_bits))


def _is_group_length(token: Token, *, keep: bool) -> bool:
    """Say whether a token is a group length (retired), which nothing may rely on any more."""
    return token.kind is Kind.VALUE and token.tag & 0xFFFF == 0 and not keep


def _replaced(token: Token, changes: Plan, index: int) -> Token:
    return Token(Kind.VALUE, token.tag, token.vr, memoryview(changes.replaced[index]))


def _write_pixels(pixels: Pixels, sink: BinaryIO, writer: Writer) -> None:
    """Write encapsulated pixel data as a native element (PS3.5 8.2), one frame in memory at a time."""
    length = pixels.length()
    assert pixels.image is not None
    writer.header(PIXEL_DATA, b"OB" if pixels.image.allocated <= 8 else b"OW", length)
    written = 0
    for frame in pixels.frames():
        sink.write(frame)
        written += len(frame)
    if written not in {length, length - 1}:
        raise broken("the frames are not of the size that the data set gives")
    sink.write(bytes(length - written))


def _equal(first: _DataSet, second: _DataSet) -> bool:
    """Compare elements and pixels; the elements about storage count by what they mean."""
    ignored = _ABOUT_STORAGE if first.syntax == second.syntax else _ABOUT_STORAGE | _ABOUT_LOSS
    pairs = zip_longest(
        _comparable(first, ignored, second.encoding), _comparable(second, ignored, first.encoding)
    )
    return all(a is not None and b is not None and _same(*a, *b) for a, b in pairs)


def _comparable(
    data_set: _DataSet, ignored: frozenset[int], beside: Encoding
) -> Iterator[tuple[Token, Pixels | None]]:
    for _, token, pixels, _ in pixels_of(data_set.tokens(beside=beside), data_set.syntax):
        if token.tag not in ignored and not _is_group_length(token, keep=False):
            yield token, pixels


def _same(a: Token, pixels_a: Pixels | None, b: Token, pixels_b: Pixels | None) -> bool:
    if a.tag != b.tag:
        return False
    if pixels_a is not None and pixels_b is not None:
        return pixels_a.photometric == pixels_b.photometric and pixels_a.digest() == pixels_b.digest()
    if a.kind is not b.kind:
        return False
    if a.value == b.value and a.big == b.big:
        return True
    one, other = b"".join(a.chunks()), b"".join(b.chunks())
    if one == other:
        return True
    text = a.vr not in _NUMBERS and b.vr not in _NUMBERS and b" or " not in a.vr + b.vr
    return text and one.rstrip(b"\0 ") == other.rstrip(b"\0 ")
