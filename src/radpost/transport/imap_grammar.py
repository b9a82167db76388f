"""The grammar of IMAP responses, and what we write in return; sans-I/O (RFC 3501 9, RFC 9051 9)."""

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from radpost.errors import SERVER_PROTOCOL
from radpost.transport.failure import TransportError, sanitise

_DEPTH = 50
_DIGITS = 20
_LITERAL = re.compile(rb"~?\{(\d{1,19})\+?\}$")
_TOKEN = re.compile(rb'\s*(?:(\()|(\))|"((?:[^"\\]|\\.)*)"|([A-Za-z0-9.]+\[[^\]]*\](?:<\d+>)?|[^\s()"]+))')
_HEAD = re.compile(rb"^(\S+) (?:(\d{1,10}) )?([A-Za-z]+)(?: (.*))?$", re.DOTALL)
_CODE = re.compile(rb"^\[([^\]\s]+)(?: ([^\]]*))?\] ?(.*)$", re.DOTALL)
STATUS = frozenset({"OK", "NO", "BAD", "BYE", "PREAUTH"})


@dataclass(frozen=True, slots=True)
class Literal:
    """A literal that was read into memory, or streamed elsewhere (``data`` is None)."""

    data: bytes | None


Parts = Sequence[bytes | Literal]

Value = str | bytes | Literal | None | list["Value"]
"""An atom, a string (also of a literal), a literal that was streamed, NIL, or a list."""


def literal_size(line: bytes) -> int | None:
    """Return the size of the literal that follows a line; free text of a status response never has one."""
    match = _LITERAL.search(line)
    if match is None:
        return None
    words = line.split(b" ", 2)
    if words[0] == b"+" or (len(words) > 1 and words[1].decode("latin-1").upper() in STATUS):
        return None
    return int(match[1])


def without_literal(line: bytes) -> bytes:
    """Return a line without the announcement of a literal at its end."""
    return _LITERAL.sub(b"", line)


@dataclass(frozen=True, slots=True)
class Response:
    """One response: untagged (``*``), continuation (``+``) or tagged."""

    tag: str
    kind: str
    """OK, NO, BAD, BYE, PREAUTH, or the name of the data: EXISTS, FETCH, SEARCH ..."""
    number: int | None
    parts: Parts
    """What follows the name, as it came."""
    code: str = ""
    """Response code of a status response (RFC 3501 7.1)."""
    argument: str = ""
    text: str = ""

    def values(self) -> list[Value]:
        """Return the data as values."""
        return parse_values(self.parts)


def parse_response(parts: Parts) -> Response:
    """Read a complete response; ``parts`` are its text and its literals in order."""
    first = parts[0]
    assert isinstance(first, bytes)
    if first.startswith(b"+"):
        return Response("+", "", None, (first[1:].strip(),))
    match = _HEAD.match(first)
    if match is None:
        raise TransportError(SERVER_PROTOCOL, "not an IMAP response", reply=sanitise(first))
    tag, kind, rest = match[1].decode("latin-1"), match[3].decode("ascii").upper(), match[4] or b""
    number = int(match[2]) if match[2] else None
    if kind not in STATUS:
        return Response(tag, kind, number, (rest, *parts[1:]))
    found = _CODE.match(rest)
    if found is None:
        return Response(tag, kind, number, (rest,), text=sanitise(rest))
    code, argument, text = found[1].decode("latin-1").upper(), found[2] or b"", found[3]
    return Response(tag, kind, number, (rest,), code, argument.decode("latin-1"), sanitise(text))


def parse_values(parts: Parts) -> list[Value]:
    """Read atoms, strings, literals and nested lists."""
    stack: list[list[Value]] = [[]]
    for part in parts:
        if isinstance(part, Literal):
            stack[-1].append(part if part.data is None else part.data)
            continue
        position, end = 0, len(part.rstrip())
        while position < end:
            match = _TOKEN.match(part, position)
            if match is None:
                raise TransportError(SERVER_PROTOCOL, "unreadable IMAP data", reply=sanitise(part))
            position = match.end()
            _take(match, stack)
    if len(stack) != 1:
        raise TransportError(SERVER_PROTOCOL, "IMAP data with an open parenthesis")
    return stack[0]


def _take(match: re.Match[bytes], stack: list[list[Value]]) -> None:
    if match[1]:
        if len(stack) > _DEPTH:
            raise TransportError(SERVER_PROTOCOL, "IMAP data nested too deeply")
        stack.append([])
    elif match[2]:
        if len(stack) == 1:
            raise TransportError(SERVER_PROTOCOL, "IMAP data with a stray parenthesis")
        done = stack.pop()
        stack[-1].append(done)
    elif match[3] is not None:
        stack[-1].append(re.sub(rb"\\(.)", rb"\1", match[3]))
    else:
        atom = match[4].decode("latin-1")
        stack[-1].append(None if atom.upper() == "NIL" else atom)


def pairs(values: Sequence[Value]) -> dict[str, Value]:
    """Return name and value alternating (as in FETCH) as a table; names in upper case."""
    names, data = values[::2], values[1::2]
    return {name.upper(): value for name, value in zip(names, data, strict=False) if isinstance(name, str)}


def as_number(value: object) -> int | None:
    """Return an atom's number; one of more digits than any of IMAP's (64 bits) is none."""
    good = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _DIGITS
    return int(value) if good and isinstance(value, str) else None


def quoted(text: str) -> bytes:
    """Write a quoted string (RFC 3501 4.3); 8-bit text is the caller's business."""
    if any(mark in text for mark in "\0\r\n") or not text.isascii():
        raise TransportError(SERVER_PROTOCOL, "a name that IMAP cannot quote")
    return b'"' + text.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'


def mailbox_name(name: str) -> bytes:
    """Write a mailbox's name in modified UTF-7 (RFC 3501 5.1.3)."""

    def coded(run: str) -> str:
        data = base64.b64encode(run.encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
        return f"&{data}-"

    out = re.sub(r"[^\x20-\x7e]+", lambda match: coded(match[0]), name.replace("&", "&-"))
    return quoted(out)


def uid_sets(uids: Iterable[int], longest: int = 800) -> Iterator[str]:
    """Write UIDs as sequence sets (``1:5,9``), each short enough for any server's line."""
    ranges: list[tuple[int, int]] = []
    for uid in sorted(set(uids)):
        if ranges and uid == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], uid)
        else:
            ranges.append((uid, uid))
    line = ""
    for low, high in ranges:
        word = f"{low}" if low == high else f"{low}:{high}"
        if line and len(line) + len(word) >= longest:
            yield line
            line = ""
        line += f",{word}" if line else word
    if line:
        yield line
