"""Content transfer encodings over buffers, in chunks (RFC 2045 6), and uuencode."""

import binascii
import re
import struct
from collections.abc import Iterable, Iterator
from typing import Final, Protocol, TypeAlias

import pybase64

Bytes: TypeAlias = bytes | memoryview


class Buffer(Protocol):
    """What is read: bytes, memoryview, mmap, or any other that has a length and can be sliced."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice, /) -> Bytes: ...


CHUNK: Final = 1 << 19
"""How much encoded text is looked at in one step."""
LINE: Final = 57
"""Raw bytes per line of 76 base64 characters (RFC 2045 6.8)."""
UUENCODE: Final = "x-uuencode"
"""An encoding of the time before MIME that some systems still write."""
IDENTITY: Final = frozenset({"7bit", "8bit", "binary"})

_WINDOW: Final = 28 << 10
"""CPython takes another way of searching from 30,000 bytes on, which is seven times slower here."""
_LINES: Final = 1024
_BLOCK: Final = LINE * _LINES
_SPLIT: Final = struct.Struct("76s" * _LINES)
"""Unpacking to lines and joining them breaks lines three times as fast as ``encodebytes`` and a replacement,
which hold the interpreter's lock all the time."""
_JUNK: Final = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
)
_UU_BEGIN: Final = re.compile(rb"begin [0-7]{3,4} ")
_MAX_PADDING: Final = 40_000
"""In one chunk; where there is more of it, it ends no data and is junk."""
_MAX_UU_LINE: Final = 1000
"""No line of uuencode has more than 62 characters; what is longer is none."""
_TRAILING_BLANKS: Final = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n)")


def find_all(buffer: Buffer, needle: bytes, start: int, end: int) -> Iterator[int]:
    """Yield where ``needle`` stands in ``buffer[start:end]``; windows suit mmap and memoryview."""
    while start < end:
        stop = min(end, start + _WINDOW)
        window = bytes(buffer[start:stop])
        hit = window.find(needle)
        while hit >= 0:
            yield start + hit
            hit = window.find(needle, hit + 1)
        if stop == end:
            return
        start = stop - len(needle) + 1


def find(buffer: Buffer, needle: bytes, start: int, end: int) -> int:
    """Find ``needle`` in ``buffer[start:end]`` or return -1."""
    return next(find_all(buffer, needle, start, end), -1)


def slices(buffer: Buffer, start: int, end: int) -> Iterator[Bytes]:
    """Yield ``buffer[start:end]`` as it is in bounded chunks."""
    for position in range(start, end, CHUNK):
        yield buffer[position : min(end, position + CHUNK)]


def line_chunks(buffer: Buffer, start: int, end: int, size: int = CHUNK) -> Iterator[bytes]:
    """Yield ``buffer[start:end]`` in chunks that end behind a LF where lines are shorter than ``size``."""
    while start < end:
        stop = min(end, start + size)
        chunk = bytes(buffer[start:stop])
        if stop < end:
            cut = chunk.rfind(b"\n") + 1
            if cut:
                chunk = chunk[:cut]
        yield chunk
        start += len(chunk)


def decode_base64(buffer: Buffer, start: int, end: int) -> Iterator[bytes]:
    """Decode base64 as it is met: any line length, blanks, junk, missing or early padding (RFC 2045 6.8).

    Chunks of whole lines decode at once; only where a chunk does not hold whole quanta, or holds padding
    elsewhere than at its end, its text is cleaned and the rest of a quantum carried over.
    """
    carry = b""
    for chunk in line_chunks(buffer, start, end):
        padding = chunk.find(b"=")
        if not carry and (padding < 0 or not chunk[padding:].strip(b"= \t\r\n")):
            try:
                yield pybase64.b64decode(chunk)
                continue
            except binascii.Error:
                pass  # this chunk holds no whole number of quanta
        text = carry + chunk.translate(None, _JUNK)
        if text.count(b"=") > _MAX_PADDING:
            text = text.replace(b"=", b"")
        *padded, last = text.split(b"=")
        if padded:
            yield b"".join(map(_padded, padded))
        whole = len(last) & ~3
        yield pybase64.b64decode(last[:whole])
        carry = last[whole:]
    yield _last_quantum(carry)


def _padded(text: bytes) -> bytes:
    """Decode characters that padding ends: whole quanta and the rest of one."""
    whole = len(text) & ~3
    return pybase64.b64decode(text[:whole]) + _last_quantum(text[whole:])


def _last_quantum(text: bytes) -> bytes:
    """Decode two or three characters that end the data; a single one holds no byte."""
    return pybase64.b64decode(text + b"=" * (4 - len(text))) if len(text) > 1 else b""


def decode_quoted_printable(buffer: Buffer, start: int, end: int) -> Iterator[bytes]:
    """Decode quoted-printable; blanks that transport added at line ends are dropped (RFC 2045 6.7)."""
    carry = b""
    for chunk in line_chunks(buffer, start, end):
        text = carry + chunk
        carry = b""
        start += len(chunk)
        if start == end:
            text = text.rstrip(b" \t")
        elif not text.endswith(b"\n"):  # a line longer than a chunk: do not cut inside of =XX
            tail = text.rfind(b"=", len(text) - 2)
            if tail >= 0:
                text, carry = text[:tail], text[tail:]
        if b" \n" in text or b" \r" in text or b"\t\n" in text or b"\t\r" in text:
            text = _TRAILING_BLANKS.sub(b"", text)
        yield binascii.a2b_qp(text)


def decode_uuencode(buffer: Buffer, start: int, end: int) -> Iterator[bytes]:
    """Decode what stands between ``begin`` and ``end`` (POSIX uuencode); damaged lines are left out."""
    inside = False
    for lines in _whole_lines(buffer, start, end):
        out = bytearray()
        for line in lines:
            if not inside:
                inside = _UU_BEGIN.match(line) is not None
            elif line == b"end":
                yield bytes(out)
                return
            else:
                out += _uu_line(line)
        yield bytes(out)


def _whole_lines(buffer: Buffer, start: int, end: int) -> Iterator[list[bytes]]:
    """Yield lists of lines without their ends."""
    carry = b""
    for chunk in line_chunks(buffer, start, end):
        *lines, carry = (carry + chunk).split(b"\n")
        carry = carry[:_MAX_UU_LINE]
        yield [line.rstrip(b"\r") for line in lines]
    yield [carry.rstrip(b"\r")]


def _uu_line(line: bytes) -> bytes:
    """Decode a line; blanks at its end may have been cut off by the transport."""
    count = (line[0] - 32 & 63) if line else 0
    width = (count + 2) // 3 * 4
    try:
        return binascii.a2b_uu(line[: 1 + width].ljust(1 + width)) if count else b""
    except binascii.Error:
        return b""


def binary_end(buffer: Buffer, start: int, end: int) -> int:
    """Return where binary data in quoted-printable end (RFC 2045 6.7 (4)).

    An encoder of binary data writes its line ends as =0D and =0A; a plain line end behind the last line is
    then none of the data, though senders leave one there.
    """
    tail = bytes(buffer[max(start, end - 2) : end])
    trimmed = end - (2 if tail.endswith(b"\r\n") else 1 if tail.endswith(b"\n") else 0)
    binary = any(find(buffer, mark, start, end) >= 0 for mark in (b"=0D", b"=0A", b"=0d", b"=0a"))
    return trimmed if binary else end


def decode(buffer: Buffer, start: int, end: int, encoding: str) -> Iterator[Bytes]:
    """Decode ``buffer[start:end]`` by its encoding; unknown encodings are left as they are (RFC 2045 6.4)."""
    if encoding == "base64":
        decoded: Iterator[Bytes] = decode_base64(buffer, start, end)
    elif encoding == "quoted-printable":
        decoded = decode_quoted_printable(buffer, start, end)
    elif encoding == UUENCODE:
        decoded = decode_uuencode(buffer, start, end)
    else:
        decoded = slices(buffer, start, end)
    return (chunk for chunk in decoded if len(chunk))


def encode_base64(chunks: Iterable[Bytes]) -> Iterator[bytes]:
    """Encode to lines of 76 characters with CRLF between them and none after the last (RFC 2045 6.8)."""
    carry = bytearray()
    first = True
    for chunk in chunks:
        view = memoryview(chunk).cast("B")
        position = 0
        if carry:
            position = min(len(view), LINE - len(carry))
            carry += view[:position]
            if len(carry) < LINE:
                continue
            yield _lines(bytes(carry), first=first)
            first = False
            carry.clear()
        whole = position + (len(view) - position) // LINE * LINE
        for start in range(position, whole, _BLOCK):
            yield _lines(view[start : min(whole, start + _BLOCK)], first=first)
            first = False
        carry += view[whole:]
    if carry:
        yield _lines(bytes(carry), first=first)


def _lines(data: Bytes, *, first: bool) -> bytes:
    if len(data) == _BLOCK:
        lines = _SPLIT.unpack(pybase64.b64encode(data))
        return b"\r\n".join(lines if first else (b"", *lines))
    text = pybase64.encodebytes(data).replace(b"\n", b"\r\n")
    return text[:-2] if first else b"\r\n" + text[:-2]


def base64_size(size: int) -> int:
    """Return how many bytes ``encode_base64`` makes of ``size`` bytes."""
    lines, rest = divmod(size, LINE)
    total = lines * 78 + (4 * ((rest + 2) // 3) + 2 if rest else 0)
    return max(0, total - 2)


def encode_quoted_printable(text: str) -> bytes:
    """Encode text as UTF-8 in quoted-printable with CRLF (RFC 2045 6.7)."""
    lines = text.replace("\r\n", "\n").split("\n")
    return b"\r\n".join(binascii.b2a_qp(line.encode("utf-8")).replace(b"\n", b"\r\n") for line in lines)
