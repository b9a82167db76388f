"""One deflate stream of compressed and stored blocks, inflating with bounds, and the measure of gain.

RFC 1951; compressed data packets of RFC 4880 5.6 with algorithms 1 to 3.
"""

import bz2
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from isal import igzip_lib, isal_zlib

from radpost.openpgp.packets import Malformed, Piece

_STORED_MAX = 0xFFFF
_SAMPLE = 4 << 10
_GAIN = 0.95
_PIECE = 1 << 18

ZIP, ZLIB, BZIP2 = 1, 2, 3


def measure_gain(size: int, read: Callable[[int, int], Piece]) -> bool:
    """Whether compressing pays: three samples of 4 KiB become more than 5 % smaller (isal, level 1).

    ``read`` returns so many bytes from a place in the object; only the samples are read.
    """
    if size <= 3 * _SAMPLE:
        sample = read(size, 0)
    else:
        # in the middle of each third: a header tells nothing of the pixels behind it
        sample = b"".join(read(_SAMPLE, size * part // 6 - _SAMPLE // 2) for part in (1, 3, 5))
    return len(igzip_lib.compress(sample, 1, flag=igzip_lib.COMP_DEFLATE)) < len(sample) * _GAIN


class MixedDeflater:
    """Writes one valid raw deflate stream; each piece is compressed or stored as its flag says.

    Every run of compressible pieces has a compressor of its own that is closed by a sync flush, which ends
    on a byte boundary with a block that is not the last one; stored blocks (RFC 1951 3.2.4) stand between.
    A fresh compressor has no history, so no back-reference reaches over stored data.
    """

    def __init__(self) -> None:
        self._compressor: isal_zlib.Compress | None = None

    def feed(self, data: Piece, *, compressible: bool) -> Iterator[Piece]:
        """Yield the pieces of the stream that are ready."""
        if compressible:
            if self._compressor is None:
                self._compressor = isal_zlib.compressobj(1, wbits=-15)
            view = memoryview(data)
            for at in range(0, len(view), _PIECE):
                piece = self._compressor.compress(view[at : at + _PIECE])
                if piece:
                    yield piece
            return
        yield from self._flush()
        view = memoryview(data)
        for at in range(0, len(view), _STORED_MAX):
            block = view[at : at + _STORED_MAX]
            size = len(block)
            yield b"\0" + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little")
            yield block

    def finish(self) -> Iterator[Piece]:
        """Yield the end: a last, empty block with fixed codes."""
        yield from self._flush()
        yield b"\x03\x00"

    def _flush(self) -> Iterator[Piece]:
        if self._compressor is not None:
            yield self._compressor.flush(isal_zlib.Z_SYNC_FLUSH)
            self._compressor = None


class _Decompressor(Protocol):
    """What bz2 and igzip have in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether all input has been used."""
        ...

    def decompress(self, data: Piece, max_length: int = -1) -> bytes:
        """Return at most ``max_length`` bytes."""
        ...


def _decompressor(algorithm: int) -> _Decompressor:
    if algorithm == BZIP2:
        return bz2.BZ2Decompressor()
    flag = {ZIP: igzip_lib.DECOMP_DEFLATE, ZLIB: igzip_lib.DECOMP_ZLIB}[algorithm]
    result: _Decompressor = igzip_lib.IgzipDecompressor(flag=flag)
    return result


def inflate(algorithm: int, pieces: Iterable[Piece]) -> Iterator[bytes]:
    """Yield decompressed data in bounded pieces; the packet is read to its end."""
    engine = _decompressor(algorithm)
    source = iter(pieces)
    try:
        while not engine.eof:
            piece: Piece = b""
            if engine.needs_input:
                following = next(source, None)
                if following is None:
                    raise Malformed("the compressed data end too early")
                piece = following
            data = engine.decompress(piece, _PIECE)
            if data:
                yield data
    except (OSError, EOFError, igzip_lib.IsalError) as error:  # type: ignore[misc]  # stub says instance
        raise Malformed("the compressed data are broken") from error
    # Sequoia pads messages with octets behind the end of the deflate stream; they mean nothing
    for _ in source:
        pass
