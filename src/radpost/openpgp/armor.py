"""ASCII armor, streaming in both directions (RFC 4880 6).

The writer is strict: 76 columns, the most that RFC 4880 6.3 allows, because mail servers pay by the line;
CRLF; always a CRC-24 (RFC 4880 6.1), because GnuPG 2.2 refuses armor without it. The reader is tolerant of
what mail systems do: any line end, any line length, blanks around lines, comments, no CRC. A wrong CRC is an
error: nothing that came changed is believed.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO

import pybase64
from anycrc import Model  # type: ignore[attr-defined]  # it has no stubs

from radpost.errors import OPENPGP_MALFORMED, TAMPERED, TRUNCATED, RadpostError

LINE = 76
"""Characters in a line of armor that we write."""
_LINES = 1024
_RAW = LINE // 4 * 3 * _LINES
# unpacking to lines and joining them is the fastest way to break lines in CPython; blocks of this size stay
# in the cache (measured: 4 GB/s, against 0.4 GB/s for slicing)
_SPLIT = struct.Struct(f"{LINE}s" * _LINES)
_READ = 1 << 18
_MAX_HEADER = 1 << 14
_BEGIN = b"-----BEGIN PGP "
_BEGIN_LINE = re.compile(
    rb"(?:\A(?:\xef\xbb\xbf)?|[\r\n])[ \t]*-----BEGIN PGP ([A-Z0-9 ,/]{1,40})-----[ \t]*(?>\r*\n|\r)"
)
_LINE_END = re.compile(rb"\r{0,4}\n|\r(?!\r{0,4}(?:\n|\Z))")
"""Also bare CR, and CR CR LF, which systems make that take a CRLF for text."""
_CRC_LINE = re.compile(rb"(?:\A|[\r\n])[ \t]*(=[^ \t\r\n]{4})[ \t\r\n]*\Z")
_BLANKS = b" \t\r\n"

MESSAGE = "MESSAGE"
SIGNATURE = "SIGNATURE"
PUBLIC_KEY = "PUBLIC KEY BLOCK"
PRIVATE_KEY = "PRIVATE KEY BLOCK"
CLEARTEXT = "SIGNED MESSAGE"


class ArmorWriter:
    """Writes one armored block; call `close` at the end of the data (it leaves the sink open)."""

    def __init__(self, sink: BinaryIO, kind: str = MESSAGE) -> None:
        self._sink = sink
        self._kind = kind.encode("ascii")
        self._model = Model("CRC24-OPENPGP")
        self._crc = int(self._model.calc(b""))
        self._rest = b""
        self.size = 0
        self._put(b"-----BEGIN PGP " + self._kind + b"-----\r\n\r\n")

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append binary data."""
        self._crc = int(self._model.calc(data, self._crc))
        view = memoryview(data)
        start = 0
        if self._rest:
            start = min(_RAW - len(self._rest), len(view))
            self._rest += bytes(view[:start])
            if len(self._rest) < _RAW:
                return len(view)
            self._block(self._rest)
            self._rest = b""
        while len(view) - start >= _RAW:
            self._block(view[start : start + _RAW])
            start += _RAW
        self._rest = bytes(view[start:])
        return len(view)

    def close(self) -> None:
        """Write what is left, the CRC-24 and the last line."""
        text = pybase64.b64encode(self._rest)
        lines = [text[at : at + LINE] for at in range(0, len(text), LINE)]
        lines.append(b"=" + pybase64.b64encode(self._crc.to_bytes(3, "big")))
        lines.append(b"-----END PGP " + self._kind + b"-----\r\n")
        self._put(b"\r\n".join(lines))

    def _block(self, raw: bytes | memoryview) -> None:
        self._put(b"\r\n".join(_SPLIT.unpack(pybase64.b64encode(raw))) + b"\r\n")

    def _put(self, data: bytes) -> None:
        self.size += len(data)
        self._sink.write(data)


class PlainWriter:
    """The binary counterpart of `ArmorWriter`: it only counts."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append binary data."""
        self.size += len(data)
        self._sink.write(data)
        return len(data)

    def close(self) -> None:
        """Nothing follows binary data."""


def open_message(source: BinaryIO) -> tuple[str, Iterator[bytes]]:
    """Return the kind of what stands in a file and its binary chunks; the kind is empty without armor.

    A text that is signed in clear (RFC 4880 7) is not decoded: its chunks are the file as it is.
    """
    start = source.tell()
    head = source.read(4096)
    source.seek(start)
    kind = ""
    if looks_armored(head):
        reader = ArmorReader(source)
        kind = reader.kind
        if kind != CLEARTEXT:
            return kind, reader.chunks()
        source.seek(start)
    return kind, iter(lambda: source.read(_READ), b"")


def looks_armored(start: bytes) -> bool:
    """Tell armor from binary: every OpenPGP packet starts with bit 7 set (RFC 4880 4.2)."""
    head = start.removeprefix(b"\xef\xbb\xbf").lstrip(_BLANKS)
    return bool(head) and head[0] < 0x80


def armor(data: bytes, kind: str) -> bytes:
    """Armor a small block at once."""
    out = BytesIO()
    writer = ArmorWriter(out, kind)
    writer.write(data)
    writer.close()
    return out.getvalue()


class ArmorReader:
    """Decodes the first armored block of a file; iterate over `chunks`, then `kind` is known.

    The CRC is checked when the last chunk has been asked for; who stops before has not checked it.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._pending = b""
        self._model = Model("CRC24-OPENPGP")
        self._crc = int(self._model.calc(b""))
        self.headers: list[bytes] = []
        self.tail = b""
        """What was read behind the block."""
        self.kind = self._head()

    def chunks(self) -> Iterator[bytes]:
        """Yield the decoded data; raise TRUNCATED, OPENPGP_MALFORMED or TAMPERED."""
        carry = b""
        while True:
            end = _first(self._pending)
            if end is not None:
                break
            # hold back an unfinished line, so that the count of characters decides on the fast way
            cut = self._pending.rfind(b"\n") + 1 or len(self._pending)
            data, carry = _decode(carry, self._pending[:cut])
            self._pending = self._pending[cut:]
            if data:
                self._crc = int(self._model.calc(data, self._crc))
                yield data
            more = self._source.read(_READ)
            if not more:
                self._fail_end()
            self._pending += more
        body, tail = self._tail(end)
        data = _last(carry + body)
        self._crc = int(self._model.calc(data, self._crc))
        self._check(tail)
        if data:
            yield data

    def _fail_end(self) -> None:
        raise RadpostError(TRUNCATED, "the armor has no end")

    def _head(self) -> str:
        text = b""
        while True:
            more = self._source.read(4096)
            text += more
            found = _BEGIN_LINE.search(text)
            if found:
                body = self._headers_end(text, found.end())
                if body is not None:
                    self._pending = text[body:]
                    return found[1].decode("ascii")
            if not more:
                if _BEGIN in text:
                    raise RadpostError(TRUNCATED, "the armor ends in its header")
                raise RadpostError(OPENPGP_MALFORMED, "no armor")
            if found and len(text) - found.end() > _MAX_HEADER:
                raise RadpostError(OPENPGP_MALFORMED, "the armor header is too long")
            if not found:
                text = text[-100:] if len(text) > _MAX_HEADER else text

    def _headers_end(self, text: bytes, at: int) -> int | None:
        """Return where the body starts: behind the blank line (RFC 4880 6.2), if it is there already."""
        self.headers = []
        while (end := _LINE_END.search(text, at)) is not None:
            line = text[at : end.start()].strip(_BLANKS)
            if not line:
                return end.end()
            if b":" not in line:
                return at  # some writers leave the blank line out
            self.headers.append(line)
            at = end.end()
        return None

    def _tail(self, end: int) -> tuple[bytes, bytes]:
        """Read up to the last line; return the rest of the body and what stands behind it."""
        while True:
            closing = self._pending.find(b"-----END PGP ", end)
            if closing >= 0 and self._pending.find(b"-----", closing + 13) >= 0:
                break
            more = self._source.read(4096)
            if not more:
                self._fail_end()
            self._pending += more
            if len(self._pending) - end > _MAX_HEADER:
                raise RadpostError(OPENPGP_MALFORMED, "junk in the armor")
        last = self._pending.find(b"-----", closing + 13) + 5
        self.tail = self._pending[last:]
        body = self._pending[:closing]
        # the CRC is the last line that begins with "="; before it there may be padding
        crc = _CRC_LINE.search(body, max(0, len(body) - 200))
        return (body, b"") if crc is None else (body[: crc.start(1)], crc[1])

    def _check(self, crc: bytes) -> None:
        if not crc:
            return
        try:
            value = pybase64.b64decode(crc[1:], validate=True)
        except ValueError as error:
            raise RadpostError(OPENPGP_MALFORMED, "the armor's checksum cannot be read") from error
        if int.from_bytes(value, "big") != self._crc:
            raise RadpostError(TAMPERED, "the armor's checksum is wrong")


def _first(data: bytes) -> int | None:
    """Return where the end of the body begins: padding, CRC or the last line."""
    found = [at for at in (data.find(b"="), data.find(b"-")) if at >= 0]
    return min(found) if found else None


def _decode(carry: bytes, text: bytes) -> tuple[bytes, bytes]:
    """Decode what makes whole groups of four; return the rest.

    The lenient decoder skips junk silently, so its result is believed only if it is as long as lines of
    equal length must give; everything else is cleaned and decoded strictly.
    """
    if not carry:
        line = text.find(b"\n") + 1
        width = len(text[:line].rstrip(b"\r\n"))
        if line and width % 4 == 0 and len(text) % line == 0:
            with suppress(ValueError):
                data = pybase64.b64decode(text)
                if len(data) == len(text) // line * width // 4 * 3:
                    return data, b""
    joined = carry + text.translate(None, _BLANKS)
    whole = len(joined) // 4 * 4
    try:
        return pybase64.b64decode(joined[:whole], validate=True), joined[whole:]
    except ValueError as error:
        raise RadpostError(OPENPGP_MALFORMED, "the armor holds what is not base64") from error


def _last(text: bytes) -> bytes:
    joined = text.translate(None, _BLANKS)
    if len(joined) % 4:
        # damaged, not merely unpadded: GnuPG refuses such armor as well
        raise RadpostError(TRUNCATED, "the armor's data end within a group")
    try:
        return pybase64.b64decode(joined, validate=True)
    except ValueError as error:
        raise RadpostError(OPENPGP_MALFORMED, "the armor holds what is not base64") from error


def unarmor_all(data: bytes) -> bytes:
    """Return the binary form of keys or signatures: all armored blocks joined, or ``data`` itself."""
    if not looks_armored(data):
        return data
    out: list[bytes] = []
    rest = data
    while _BEGIN in rest and len(out) < 4096:
        file = BytesIO(rest)
        reader = ArmorReader(file)
        out.extend(reader.chunks())
        rest = reader.tail + file.read()
    if not out:
        raise RadpostError(OPENPGP_MALFORMED, "no armor")
    return b"".join(out)
