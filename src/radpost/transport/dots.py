"""Dot transparency of SMTP and POP3 at the speed of memchr (RFC 5321 4.5.2, RFC 1939 3)."""

from collections.abc import Iterator
from typing import BinaryIO

from radpost.errors import INTERNAL, RadpostError

_BLOCK = 256 * 1024
_END = b"\r\n.\r\n"
_HELD = tuple(_END[:length] for length in range(4, 0, -1))


def stuffed(source: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield ``size`` bytes of ``source`` for DATA: dots stuffed, CRLF at the end, without the final dot.

    A bare CR or LF would be read differently by different servers (smuggling) and is our own fault: INTERNAL.
    """
    tail = b"\r\n"
    left = size
    while left:
        block = source.read(min(_BLOCK, left))
        if not block:
            raise RadpostError(INTERNAL, f"the mail's content is shorter than its size of {size} bytes")
        left -= len(block)
        _check_lines(block, tail)
        if left == 0 and block[-1] == 0x0D:
            raise RadpostError(INTERNAL, "the mail's content is not in CRLF lines")
        # A dot that begins a line: inside the block, or first in it after the last block's CRLF.
        out = block.replace(b"\r\n.", b"\r\n..") if b"\r\n." in block else block
        if block[:1] == b"." and tail[-2:] == b"\r\n":
            out = b"." + out
        elif block[:2] == b"\n." and tail[-1:] == b"\r":
            out = b"\n.." + out[2:]
        tail = (tail + block[-2:])[-2:]
        yield out
    if size and tail != b"\r\n":
        yield b"\r\n"


def _check_lines(block: bytes, tail: bytes) -> None:
    pairs = block.count(b"\r\n")
    carriage = block.count(b"\r") - (block[-1] == 0x0D)
    feeds = block.count(b"\n") - (block[0] == 0x0A and tail[-1:] == b"\r")
    if (tail[-1:] == b"\r" and block[0] != 0x0A) or carriage != pairs or feeds != pairs:
        raise RadpostError(INTERNAL, "the mail's content is not in CRLF lines")


class Unstuffer:
    """Finds the end of a POP3 multi-line response and takes the stuffed dots out; sans-I/O."""

    def __init__(self) -> None:
        # The response begins at the beginning of a line: as if a CRLF came first, which is not passed on.
        self._held = b"\r\n"
        self._first = True
        self.rest: bytes | None = None
        """After the end: the bytes that follow it; None before."""

    def feed(self, data: bytes) -> bytes:
        """Return the content in the next ``data``; nothing may be fed after the end."""
        window = self._held + data
        dot = window.find(b"\r\n.")
        end = window.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            self.rest = window[end + len(_END) :]
            body, self._held = window[: end + 2], b""
        else:
            held = next((prefix for prefix in _HELD if window.endswith(prefix)), b"")
            body, self._held = (window[: -len(held)], held) if held else (window, b"")
        if dot >= 0:
            body = body.replace(b"\r\n.", b"\r\n")
        if self._first and len(body) >= 2:
            self._first = False
            body = body[2:]
        return body
