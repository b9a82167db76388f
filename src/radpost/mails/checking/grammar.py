"""The bytes of header fields with their offsets: what rules about syntax need and a liberal reader drops."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from radpost.mails.checking.model import Field, Layer
from radpost.mime.coding import line_chunks
from radpost.mime.reader import Entity

TOKEN: Final = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+\Z")
"""RFC 2045 5.1: visible ASCII but ``tspecials``."""
_LINE: Final = re.compile(rb"[^\r\n]*(?:\r*\n|\r|\Z)")
_NAME: Final = re.compile(rb"([!-9;-~]+)([ \t]*):")
MOST: Final = 10_000
"""So many places of a kind are counted."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as written."""

    name: str
    value: str
    """Without its quotes."""
    quoted: bool


def lines(layer: Layer, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield offset and content of each line, without its line end."""
    for match in _LINE.finditer(layer.buffer, start, end):
        if match[0]:
            yield match.start(), match[0].rstrip(b"\r\n")


def long_lines(layer: Layer, start: int, end: int, limit: int) -> list[tuple[int, int]]:
    """Return offset and length of each line of more than ``limit`` characters."""
    found: list[tuple[int, int]] = []
    at = start
    for chunk in line_chunks(layer.buffer, start, end):
        for line in chunk.splitlines(keepends=True):
            if len(line) > limit and (size := len(line.rstrip(b"\r\n"))) > limit:
                found.append((at, size))
            at += len(line)
    return found


def some(pattern: re.Pattern[bytes], layer: Layer, start: int, end: int) -> list[re.Match[bytes]]:
    """Return what a pattern finds, but not millions: a hostile mail must not cost memory."""
    return list(islice(pattern.finditer(layer.buffer, start, end), MOST))


def header_lines(layer: Layer, entity: Entity) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a header block without the blank line that ends it."""
    for at, line in lines(layer, entity.start, entity.body_start):
        if line:
            yield at, line


def fields(layer: Layer, entity: Entity) -> list[Field]:
    """Return the fields of a header block; what is no field is left out."""
    known = layer.fields_of.get(id(entity))
    if known is None:
        known = layer.fields_of[id(entity)] = _fields(layer, entity)
    return known


def _fields(layer: Layer, entity: Entity) -> list[Field]:
    found: list[tuple[int, bytes, bytearray, bool]] = []
    for at, line in header_lines(layer, entity):
        match = _NAME.match(line)
        if line[:1] in (b" ", b"\t"):
            if found:
                found[-1][2].extend(line)
        elif match is not None:
            found.append((at, match[1], bytearray(line[match.end() :]), bool(match[2])))
    return [
        Field(at, name.decode("ascii"), value.decode("utf-8", "surrogateescape").strip(" \t"), gap)
        for at, name, value, gap in found
    ]


def named(layer: Layer, entity: Entity, name: str) -> list[Field]:
    """Return the fields of one name."""
    wanted = name.lower()
    return [one for one in fields(layer, entity) if one.name.lower() == wanted]


def position(layer: Layer, entity: Entity, name: str) -> int:
    """Return where a field begins, else where its entity begins."""
    found = named(layer, entity, name)
    return found[0].at if found else entity.start


def items(value: str) -> list[str]:
    """Cut a structured value at its semicolons; comments are dropped, quotes are kept (RFC 2045 5.1)."""
    out: list[str] = [""]
    quoted, depth, escaped = False, 0, False
    for char in value:
        if escaped:
            escaped = False
        elif char == "\\" and (quoted or depth):
            escaped = True
        elif quoted:
            quoted = char != '"'
        elif depth or char == "(":
            depth += (char == "(") - (char == ")")
            continue
        elif char == ";":
            out.append("")
            continue
        else:
            quoted = char == '"'
        if not depth:
            out[-1] += char
    return [item.strip(" \t") for item in out]


def parameters(value: str) -> tuple[list[Parameter], int]:
    """Return the parameters of a structured value, and how many items are none (``;;`` or no ``=``)."""
    found: list[Parameter] = []
    empty = 0
    for item in items(value)[1:]:
        name, equals, rest = item.partition("=")
        rest = rest.strip(" \t")
        if not equals or not name.strip():
            empty += 1
        elif len(rest) > 1 and rest.startswith('"') and rest.endswith('"'):
            found.append(Parameter(name.strip(" \t").lower(), rest[1:-1], True))
        else:
            found.append(Parameter(name.strip(" \t").lower(), rest, False))
    return found, empty


def plain_ranges(layer: Layer) -> list[tuple[int, int]]:
    """Return the ranges of the mail that are lines of text: all but bodies that are declared binary."""
    out: list[tuple[int, int]] = []
    start = 0
    for entity in layer.leaves():
        if entity.encoding == "binary" and entity.body_start >= start:
            out.append((start, entity.body_start))
            start = entity.body_end
    out.append((start, len(layer.buffer)))
    return [(first, last) for first, last in out if first < last]
