"""Identifying attributes out of a data set that is still arriving (PS3.5 7.1, 7.5, A.4).

A push parser: it is fed what comes from the network and stops as soon as the Series Instance UID is behind
it, long before any pixels. Values that do not matter are skipped without being kept, so private blobs and
sequences of any length before group 0020 cost no memory. It never raises; what it can't read is a defect.
"""

import struct
import zlib
from collections.abc import Generator
from typing import Final

from radpost.dicom.services import DEFLATED_SYNTAXES, EXPLICIT_BE, IMPLICIT_SYNTAXES

SOP_CLASS: Final = 0x00080016
SOP_INSTANCE: Final = 0x00080018
MODALITY: Final = 0x00080060
STUDY_INSTANCE: Final = 0x0020000D
SERIES_INSTANCE: Final = 0x0020000E

_WANTED: Final = frozenset({SOP_CLASS, SOP_INSTANCE, MODALITY, STUDY_INSTANCE, SERIES_INSTANCE})
_LONG_VRS: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_UNDEFINED: Final = 0xFFFFFFFF
_MAX_DEPTH: Final = 128
_MAX_VALUE: Final = 128
_INFLATE_LIMIT: Final = 64 << 20
_INFLATE_STEP: Final = 1 << 18

_Walk = Generator[int, bytes, None]
"""Yields n > 0 to be sent n bytes, n <= 0 to have -n bytes skipped (it is sent nothing then)."""


class HeadParser:
    """Feed it the data set in pieces; read ``values`` and ``defects`` when ``done`` or at the end."""

    __slots__ = ("_have", "_inflate", "_inflated", "_need", "_skip", "_walk", "defects", "done", "values")

    def __init__(self, transfer_syntax: str) -> None:
        self.values: dict[int, str] = {}
        self.defects: list[str] = []
        self.done = False
        self._inflate = zlib.decompressobj(-15) if transfer_syntax in DEFLATED_SYNTAXES else None
        self._inflated = 0
        self._have = bytearray()
        self._skip = 0
        self._walk = self._elements(transfer_syntax)
        self._need = next(self._walk)

    def feed(self, piece: memoryview) -> None:
        """Take the next bytes of the data set."""
        if self.done:
            return
        if self._inflate is None:
            self._consume(piece)
        else:
            self._feed_deflated(piece)

    def finish(self) -> None:
        """Say that the data set has ended."""
        if not self.done:
            self._stop("data-set-ends-early" if self._have or self._skip else "")

    def _stop(self, defect: str) -> None:
        if defect:
            self.defects.append(defect)
        self.done = True
        self._have = bytearray()
        self._walk.close()

    def _feed_deflated(self, piece: memoryview) -> None:
        assert self._inflate is not None
        data: bytes | memoryview = piece
        try:
            while not self.done and len(data):
                out = self._inflate.decompress(data, _INFLATE_STEP)
                data = self._inflate.unconsumed_tail
                self._inflated += len(out)
                self._consume(memoryview(out))
                if self._inflated > _INFLATE_LIMIT:
                    self._stop("deflated-head-too-long")
                if self._inflate.eof:
                    break
        except zlib.error:
            self._stop("deflate-broken")

    def _consume(self, piece: memoryview) -> None:
        offset, end = 0, len(piece)
        while not self.done:
            if self._skip:
                step = min(self._skip, end - offset)
                self._skip -= step
                offset += step
                if self._skip:
                    return
                self._advance(b"")
                continue
            take = self._need - len(self._have)
            self._have += piece[offset : offset + take]
            offset = min(offset + take, end)
            if len(self._have) < self._need:
                return
            chunk = bytes(self._have)
            self._have.clear()
            self._advance(chunk)

    def _advance(self, chunk: bytes) -> None:
        try:
            wish = self._walk.send(chunk)
            while wish == 0:
                wish = self._walk.send(b"")
        except StopIteration:
            self.done = True
            return
        if wish > 0:
            self._need = wish
        else:
            self._skip = -wish

    def _elements(self, transfer_syntax: str) -> _Walk:
        layout = _Layout(transfer_syntax)
        depth = last = 0
        while depth <= _MAX_DEPTH:
            head = yield 8
            tag = layout.tag(head)
            if tag in {_ITEM, _ITEM_END, _SEQUENCE_END}:
                length = layout.long(head)
                if not depth:
                    self._note("item-outside-sequence")
                    return
                if tag != _ITEM:
                    depth -= 1
                elif length == _UNDEFINED:
                    depth += 1
                else:
                    yield -length
                continue
            if not depth:
                if tag > SERIES_INSTANCE:
                    return
                if tag < last:
                    self._note("not-ascending")
                    return
                last = tag
            length = yield from self._length(layout, head, depth)
            if length == _UNDEFINED:
                depth += 1
            elif not depth and tag in _WANTED and length <= _MAX_VALUE:
                self.values[tag] = _text((yield length) if length else b"")
            else:
                yield -length
        self._note("nested-too-deep")

    def _length(self, layout: "_Layout", head: bytes, depth: int) -> Generator[int, bytes, int]:
        """Return the length of a value (PS3.5 7.1.2, 7.1.3); reads the rest of a long element header."""
        if layout.explicit and not _is_vr(head[4:6]) and not depth:
            # Some senders write implicit VR in an explicit context: then it starts with the first
            # element. Further down it is the fault of one element.
            self._note("explicit-without-vr")
            layout.explicit = bool(self.values)
            return layout.long(head)
        if not layout.explicit or not _is_vr(head[4:6]):
            return layout.long(head)
        if head[4:6] in _LONG_VRS:
            return layout.long((yield 4), 0)
        return layout.short(head)

    def _note(self, defect: str) -> None:
        if defect not in self.defects:
            self.defects.append(defect)


class _Layout:
    """Byte order and form of the elements of a transfer syntax (PS3.5 A)."""

    __slots__ = ("_long", "_short", "_tag", "explicit")

    def __init__(self, transfer_syntax: str) -> None:
        order = ">" if transfer_syntax == EXPLICIT_BE else "<"
        self._tag = struct.Struct(order + "HH")
        self._long = struct.Struct(order + "I")
        self._short = struct.Struct(order + "H")
        self.explicit = transfer_syntax not in IMPLICIT_SYNTAXES

    def tag(self, head: bytes) -> int:
        group, element = self._tag.unpack_from(head)
        return int(group) << 16 | int(element)

    def long(self, head: bytes, offset: int = 4) -> int:
        return int(self._long.unpack_from(head, offset)[0])

    def short(self, head: bytes) -> int:
        return int(self._short.unpack_from(head, 6)[0])


def _is_vr(raw: bytes) -> bool:
    return raw.isalpha() and raw.isupper()


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0 ").decode("ascii", "replace").strip()
