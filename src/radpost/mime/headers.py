"""Header blocks of mails, read liberally: any line end, folding, garbage lines.

RFC 5322 2.2, 2.2.3 and 4; RFC 2045 3.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import getaddresses, parsedate_to_datetime
from typing import Final

from radpost.errors import RESOURCE_LIMIT, RadpostError
from radpost.mime.params import Structured, decode_words, parse_structured

MAX_FIELDS: Final = 2000
_MAX_GROUPS: Final = 64
"""Colons and parentheses in an address field: the standard library descends for each of them."""

LINE_END: Final = rb"(?>\r*\n|\r)"
"""One line end: CRLF, LF, CR, and the ``CR CR LF`` of broken text-mode conversions."""

_LINE_END: Final = re.compile(LINE_END)
_END_OF_BLOCK: Final = re.compile(b"(" + LINE_END + b")" + LINE_END)
_LINES: Final = re.compile(rb"(?>[^\r\n]*)(?:" + LINE_END + rb"|\Z)")
_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:")
_MESSAGE_ID: Final = re.compile(r"<[^<>\x00-\x08\x0a-\x1f\x7f]{1,900}>")
"""Without control characters, which no answer could repeat; a tab may come of folding."""


@dataclass(frozen=True, slots=True)
class Header:
    """One field: name as written, value unfolded but not decoded, and the raw lines it came from."""

    name: str
    value: str
    raw: bytes = field(default=b"", repr=False, compare=False)

    @property
    def text(self) -> str:
        """The value with its encoded words decoded (RFC 2047)."""
        return decode_words(self.value)


@dataclass(frozen=True, slots=True)
class Headers:
    """The fields of one header block in their order; names are compared without case."""

    fields: tuple[Header, ...] = ()

    def __iter__(self) -> Iterator[Header]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def get(self, name: str) -> str | None:
        """Return the value of the first field of that name."""
        wanted = name.lower()
        return next((item.value for item in self.fields if item.name.lower() == wanted), None)

    def get_all(self, name: str) -> tuple[str, ...]:
        """Return the values of all fields of that name."""
        wanted = name.lower()
        return tuple(item.value for item in self.fields if item.name.lower() == wanted)

    def text(self, name: str) -> str | None:
        """Return the first value of that name with encoded words decoded (RFC 2047)."""
        value = self.get(name)
        return None if value is None else decode_words(value)

    def structured(self, name: str) -> Structured | None:
        """Return the first value of that name as value and parameters (RFC 2045 5.1)."""
        value = self.get(name)
        return None if value is None else parse_structured(value)

    def addresses(self, name: str) -> tuple[str, ...]:
        """Return the addr-specs of all fields of that name, without display names (RFC 5322 3.4)."""
        values = (value for value in self.get_all(name) if value.count(":") + value.count("(") <= _MAX_GROUPS)
        pairs = getaddresses(list(values))
        return tuple(address.strip() for _name, address in pairs if "@" in address)

    def date(self, name: str = "Date") -> datetime | None:
        """Return an RFC 5322 3.3 date; None where it is missing or malformed."""
        value = self.get(name)
        if value is None:
            return None
        try:
            found = parsedate_to_datetime(value)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)

    def message_id(self) -> str | None:
        """Return the Message-ID with its angle brackets, or None (RFC 5322 3.6.4)."""
        ids = message_ids(self.get("Message-ID") or "")
        return ids[0] if ids else None


@dataclass(frozen=True, slots=True)
class Block:
    """A parsed header block: the fields, how many bytes they take with the blank line, and what was odd."""

    headers: Headers
    size: int
    defects: tuple[str, ...]


def message_ids(value: str) -> tuple[str, ...]:
    """Return the ``<...>`` ids in a field such as References (RFC 5322 3.6.4), inner text untouched."""
    return tuple(_MESSAGE_ID.findall(value))


def parse_block(data: bytes, *, complete: bool) -> Block:
    """Parse the header block at the start of ``data``.

    ``data`` is a window of at most the allowed header size; ``complete`` says that nothing follows it. A
    block that does not end within an incomplete window is RESOURCE_LIMIT.
    """
    start = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    defects: list[str] = ["byte-order-mark"] if start else []
    end, size = _extent(data, start)
    if size is None:
        if not complete:
            raise RadpostError(RESOURCE_LIMIT, "header block")
        end = size = len(data)
    fields, stop = _fields(data[start:end], defects)
    if stop is not None:
        size = start + stop
    return Block(Headers(tuple(fields)), size, tuple(dict.fromkeys(defects)))


def _extent(data: bytes, start: int) -> tuple[int, int | None]:
    """Where the fields end and where the body begins."""
    first = _LINE_END.match(data, start)
    if first is not None:  # no fields at all
        return start, first.end()
    match = _END_OF_BLOCK.search(data, start)
    return (len(data), None) if match is None else (match.end(1), match.end())


def _fields(block: bytes, defects: list[str]) -> tuple[list[Header], int | None]:
    """Read the fields; the second value is where a body begins that has no blank line before it."""
    fields: list[Header] = []
    pending: list[bytes] = []
    position = 0

    def flush() -> None:
        if pending:
            fields.append(_header(b"".join(pending), defects))
            pending.clear()
            if len(fields) > MAX_FIELDS:
                raise RadpostError(RESOURCE_LIMIT, "number of header fields")

    for match in _LINES.finditer(block):
        line = match[0]
        if line[:1] in (b" ", b"\t"):
            if pending:
                pending.append(line)
            elif line.strip():
                defects.append("garbage-line")
        elif _FIELD.match(line):
            flush()
            pending.append(line)
        elif line.startswith(b"--"):  # a boundary or armor: the blank line was lost
            flush()
            defects.append("missing-blank-line")
            return fields, position
        elif line:
            flush()
            # mbox leaves a line "From sender date" before the fields
            mbox = position == 0 and line.startswith(b"From ")
            defects.append("mbox-line" if mbox else "garbage-line")
        position = match.end()
    flush()
    return fields, None


def _header(raw: bytes, defects: list[str]) -> Header:
    match = _FIELD.match(raw)
    assert match is not None  # _fields collects only lines that match
    value = b"".join(raw[match.end() :].splitlines()).strip(b" \t\r\n")
    try:
        text = value.decode("ascii")
    except UnicodeDecodeError:
        defects.append("8bit-header")
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            text = value.decode("latin-1")
    if "\0" in text:
        defects.append("nul-in-header")
    return Header(match[1].decode("ascii"), text, raw)
