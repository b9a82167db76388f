"""The content of a mail on its way in: where it ends, and that every line in it ends with CRLF.

RFC 5321 2.3.8: CR and LF appear together or not at all. A server that takes anything else as the end of a
line, or passes it on, lets a sender smuggle a second mail past the first server's checks; so content with a
bare CR or LF is refused, and only CRLF.CRLF ends it.
"""

from dataclasses import dataclass

_END = b"\r\n.\r\n"
_BEGINNINGS = tuple(_END[:length] for length in range(len(_END) - 1, 0, -1))


class BareLineEndError(Exception):
    """A CR without LF or an LF without CR."""


def has_bare_line_end(block: bytes) -> bool:
    """Tell whether a CR or LF stands alone; the block must not be cut inside a CRLF.

    Replacing by as many bytes works in place and is several times faster than counting or a pattern.
    """
    rest = block.replace(b"\r\n", b"  ")
    return b"\r" in rest or b"\n" in rest


@dataclass(frozen=True, slots=True)
class Piece:
    """Content that is certain, and what follows its end (None while the end has not come)."""

    content: bytes
    rest: bytes | None


class DotDecoder:
    """DATA: find CRLF.CRLF (RFC 5321 4.1.1.4) and take away the stuffed dots (4.5.2), block by block."""

    __slots__ = ("_held", "_skip")

    def __init__(self) -> None:
        # the content starts at the start of a line: as if CRLF stood before it
        self._held = b"\r\n"
        self._skip = 2

    def feed(self, data: bytes) -> Piece:
        """Take a block as it came; raises `BareLineEndError`."""
        data = self._held + data
        end = data.find(_END)
        rest: bytes | None = None
        if end >= 0:
            rest = data[end + len(_END) :]
            block = data[: end + 2]
            self._held = b""
        else:
            # what could be the beginning of the end waits for more; so no CRLF is ever cut
            self._held = next((start for start in _BEGINNINGS if data.endswith(start)), b"")
            block = data[: len(data) - len(self._held)]
        if has_bare_line_end(block):
            raise BareLineEndError
        content = block.replace(b"\r\n.", b"\r\n")
        if self._skip and content:
            content, self._skip = content[self._skip :], 0
        return Piece(content, rest)


class ChunkDecoder:
    """BDAT: chunks are counted, not searched; only the line ends are looked at (RFC 3030 2)."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take a block of a chunk and return the content that is certain; raises `BareLineEndError`."""
        if self._held:
            data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") else b""
        if self._held:
            data = data[:-1]
        if has_bare_line_end(data):
            raise BareLineEndError
        return data

    def finish(self) -> None:
        """Say that the last chunk has ended; raises `BareLineEndError` when it ended with a CR."""
        if self._held:
            raise BareLineEndError
