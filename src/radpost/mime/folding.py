"""Writing of header fields: folding, encoded words, parameters (RFC 5322 2.2.3, RFC 2047, RFC 2231)."""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Final, TypeAlias
from urllib.parse import quote

Fields: TypeAlias = Iterable[tuple[str, str]]
"""Header fields to write: names and values, values unfolded."""

LINE: Final = 78
HARD_LINE: Final = 998
"""RFC 5322 2.1.1: lines should have 78 and must have at most 998 characters."""

_NAME: Final = re.compile(r"[!-9;-~]{1,76}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+")
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~ ]+")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
_WORD_BYTES: Final = 42
"""Bytes per encoded word, so that it stays below 75 characters (RFC 2047 2)."""


def field(name: str, value: str) -> bytes:
    """Return one folded field with its CRLF; refuses what could smuggle in another field."""
    if not _NAME.fullmatch(name):
        raise ValueError("header name")
    if _CONTROL.search(value):
        raise ValueError(f"control character in header {name}")
    text = value if value.isascii() else encode_words(value)
    lines: list[str] = []
    current = f"{name}:"
    for word in re.findall(r"[ \t]*[^ \t]+", " " + text.strip()):
        if len(current) + len(word) > LINE and (lines or current.rstrip() != f"{name}:"):
            lines.append(current)
            current = word if word[0] in " \t" else " " + word
        else:
            current += word
    lines.append(current)
    if max(map(len, lines)) > HARD_LINE:
        raise ValueError(f"header {name} has a word that cannot be folded")
    return "\r\n".join(lines).encode("ascii") + b"\r\n"


def block(fields: Fields) -> bytes:
    """Return the fields and the blank line that ends them."""
    return b"".join(field(name, value) for name, value in fields) + b"\r\n"


def encode_words(text: str) -> str:
    """Encode text as encoded words in UTF-8 by B (RFC 2047 2, 4.1), never cutting a character."""
    words: list[str] = []
    current = b""
    for char in text:
        raw = char.encode("utf-8", "replace")
        if len(current) + len(raw) > _WORD_BYTES:
            words.append(_word(current))
            current = b""
        current += raw
    words.append(_word(current))
    return " ".join(words)


def _word(raw: bytes) -> str:
    return f"=?utf-8?B?{b64encode(raw).decode('ascii')}?="


def parameters(value: str, params: Mapping[str, str]) -> str:
    """Return ``value; name="text"``; text beyond ASCII in the form of RFC 2231 4."""
    out = [value]
    for name, text in params.items():
        if _CONTROL.search(text):
            raise ValueError(f"control character in parameter {name}")
        if not text.isascii():
            out.append(f"{name}*=utf-8''{quote(text, safe='')}")
        elif _TOKEN.fullmatch(text) and name not in ("boundary", "name", "filename", "id", "protocol"):
            out.append(f"{name}={text}")
        else:  # values that careless readers expect in quotes
            escaped = text.replace("\\", "\\\\").replace('"', '\\"')
            out.append(f'{name}="{escaped}"')
    return "; ".join(out)


def mailbox(address: str, name: str = "") -> str:
    """Return ``Name <address>`` for From and To (RFC 5322 3.4)."""
    if not address.isascii() or re.search(r"[\s<>,;:\x00-\x1f]", address) or "@" not in address:
        raise ValueError("mail address")
    if not name:
        return address
    if not name.isascii():
        return f"{encode_words(name)} <{address}>"
    if _ATOMS.fullmatch(name):
        return f"{name} <{address}>"
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{address}>'


def message_id(token: bytes, domain: str) -> str:
    """Return a Message-ID of 128 random bits that the caller drew (RFC 5322 3.6.4)."""
    if len(token) != 16 or not _DOMAIN.fullmatch(domain):
        raise ValueError("a Message-ID takes 16 random bytes and a domain")
    return f"<{token.hex()}@{domain}>"


def boundary(token: bytes) -> str:
    """Return a boundary that no base64 or quoted-printable line can hold (RFC 2046 5.1.1)."""
    if not 8 <= len(token) <= 30:
        raise ValueError("a boundary takes 8 to 30 random bytes")
    return f"=_{token.hex()}"


def message_fields(
    *, sender: str, recipient: str, subject: str, date: datetime, message_id: str, extra: Fields = ()
) -> tuple[tuple[str, str], ...]:
    """Return the fields of a new message (RFC 5322 3.6); ``sender`` and ``recipient`` from ``mailbox``."""
    if date.tzinfo is None:
        raise ValueError("date without time zone")
    return (
        ("From", sender),
        ("To", recipient),
        ("Subject", subject),
        ("Date", format_datetime(date)),
        ("Message-ID", message_id),
        *extra,
        ("MIME-Version", "1.0"),  # RFC 2045 4
    )
