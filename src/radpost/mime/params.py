"""Parameters of MIME header fields and encoded words (RFC 2045 5.1, RFC 2231, RFC 2047)."""

import base64
import binascii
import codecs
import encodings
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from encodings import aliases
from types import MappingProxyType
from typing import Final

_MAX_PARAMETERS: Final = 64
_MAX_SECTIONS: Final = 256
_ENCODED_WORD: Final = re.compile(r"=\?([^?*\s]{1,40})(?:\*[^?\s]{0,40})?\?([bBqQ])\?([^?\s]*)\?=")
_BETWEEN_WORDS: Final = re.compile(r"(\?=)\s+(?==\?[^?\s]+\?[bBqQ]\?)")
_SECTION: Final = re.compile(r"^([^*]+)(?:\*(\d{1,4}))?(\*)?$")
_TOKEN_END: Final = re.compile(r"[;\s(]")
_SLOW_CHARSETS: Final = frozenset({"idna", "punycode"})
"""Codecs of Python that are no character sets and need quadratic time."""
_CHARSETS: Final = frozenset(
    {
        *aliases.aliases,
        *aliases.aliases.values(),
        *(module.name for module in pkgutil.iter_modules(encodings.__path__)),
    }
)
"""Names that Python knows. It remembers for ever each other name that it is asked for, and each spelling."""


@dataclass(frozen=True, slots=True)
class Structured:
    """A header value with parameters: ``value; name=text; ...``; names and value in lower case."""

    value: str
    params: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    defects: tuple[str, ...] = ()


def decode_charset(data: bytes, charset: str) -> str:
    """Decode ``data`` by a charset that a stranger named; never fails, and the text can be written again."""
    name = encodings.normalize_encoding(charset[:80].strip().strip("\"'").lower())
    try:
        codec = codecs.lookup(name) if name in _CHARSETS or name.replace(".", "_") in _CHARSETS else None
        if codec is not None and codec.name not in _SLOW_CHARSETS:
            text = data.decode(codec.name)  # refuses codecs that are no charsets
            text.encode("utf-8")  # unicode_escape and utf-7 can make lone surrogates
            return text
    except (LookupError, ValueError):
        pass
    return _guess(data)


def _guess(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def decode_words(text: str) -> str:
    """Decode the encoded words in ``text``; neighbours of one charset are joined first.

    RFC 2047 4.1, 4.2, 6.2; RFC 2231 5.
    """
    if "=?" not in text:
        return text
    text = _BETWEEN_WORDS.sub(r"\1", text)
    out: list[str] = []
    pending: list[bytes] = []
    charset = ""
    position = 0
    for match in _ENCODED_WORD.finditer(text):
        if pending and (match.start() != position or match[1].lower() != charset):
            out.append(decode_charset(b"".join(pending), charset))
            pending.clear()
        out.append(text[position : match.start()])
        charset = match[1].lower()
        pending.append(_word_bytes(match[2], match[3]))
        position = match.end()
    if pending:
        out.append(decode_charset(b"".join(pending), charset))
    out.append(text[position:])
    return "".join(out)


def _word_bytes(encoding: str, text: str) -> bytes:
    raw = text.encode("utf-8")
    if encoding in "qQ":
        return binascii.a2b_qp(raw.replace(b"_", b" "), header=True)
    try:
        return base64.b64decode(raw + b"=" * (-len(raw) % 4))
    except binascii.Error:
        return raw


def parse_structured(text: str) -> Structured:
    """Parse ``type/subtype; name=value`` or ``attachment; filename=x`` as liberally as can be (RFC 2045 5.1).

    Comments, blanks around ``=``, doubled semicolons, unquoted special characters, RFC 2231 charsets and
    continuations and RFC 2047 words inside quotes are understood; of doubled parameters the first counts.
    """
    defects: list[str] = []
    items = _split_items(text)
    value = items[0].strip().lower() if items else ""
    raw: dict[str, str] = {}
    for item in items[1 : 1 + _MAX_PARAMETERS + _MAX_SECTIONS]:
        name, equals, rest = item.partition("=")
        name = name.strip().lower()
        if not equals or not name:
            if item.strip():
                defects.append("parameter-without-value")
            continue
        if name in raw:
            defects.append("duplicate-parameter")
            continue
        raw[name] = _unquote(rest.strip())
    return Structured(value, MappingProxyType(_join_sections(raw, defects)), tuple(defects))


def _split_items(text: str) -> list[str]:
    """Cut at semicolons outside of quotes; drop comments (they nest, RFC 5322 3.2.2)."""
    items: list[str] = []
    current: list[str] = []
    quoted = False
    depth = 0
    escaped = False
    for char in text:
        if escaped:
            escaped = False
            if not depth:
                current.append(char)
        elif char == "\\" and (quoted or depth):
            escaped = True
            if not depth:
                current.append(char)
        elif quoted:
            quoted = char != '"'
            current.append(char)
        elif depth or char == "(":
            depth += (char == "(") - (char == ")")
        elif char == ";":
            items.append("".join(current))
            current.clear()
        else:
            quoted = char == '"'
            current.append(char)
    items.append("".join(current))
    return items


def _unquote(text: str) -> str:
    if text.startswith('"'):
        end = 1
        while end < len(text) and text[end] != '"':
            end += 2 if text[end] == "\\" else 1
        return re.sub(r"\\([\"\\])", r"\1", text[1:end])
    match = _TOKEN_END.search(text)
    return text if match is None else text[: match.start()]


def _join_sections(raw: Mapping[str, str], defects: list[str]) -> dict[str, str]:
    """Join ``name*0*``, ``name*1`` ... and decode charsets (RFC 2231 3 and 4)."""
    out: dict[str, str] = {}
    groups: dict[str, dict[int, tuple[str, bool]]] = {}
    for key, value in raw.items():
        match = _SECTION.match(key)
        if match is None or (match[2] is None and match[3] is None):
            out[key] = decode_words(value)
        else:
            number = int(match[2]) if match[2] is not None else 0
            groups.setdefault(match[1], {})[number] = (value, match[3] is not None)
    for name, sections in groups.items():
        ordered = [sections[number] for number in sorted(sections)]
        if sorted(sections) != list(range(len(sections))):
            defects.append("continuation-gap")
        out[name] = _decode_sections(ordered)
    return out


def _decode_sections(sections: list[tuple[str, bool]]) -> str:
    charset = "utf-8"
    data: list[bytes] = []
    for index, (value, extended) in enumerate(sections):
        text = value
        if extended and index == 0 and text.count("'") >= 2:
            charset, _language, text = text.split("'", 2)
        raw = text.encode("utf-8")
        data.append(_percent_decode(raw) if extended else raw)
    return decode_charset(b"".join(data), charset or "utf-8")


def _percent_decode(raw: bytes) -> bytes:
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes((int(match[1], 16),)), raw)
