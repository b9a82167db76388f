"""Find secrets in bytes, however they are written there: plain, folded, base64, quoted-printable, UTF-16 ...

For tests of DESIGN invariant 10: what leaves an institution outside the encryption names nobody inside. Give
``scan`` everything that was seen and the values that must not be in it.
"""

import base64
import binascii
import quopri
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote_to_bytes

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{4,}(?:\r?\n[ \t]?[A-Za-z0-9+/_-]+)*")
_HEX: Final = re.compile(rb"(?:[0-9A-Fa-f]{2}){4,}")
_FOLD: Final = re.compile(rb"\r?\n[ \t]+")
_BREAK: Final = re.compile(rb"[\r\n]+")
_DOTS: Final = re.compile(rb"(?<=\n)\.\.")
_LINE: Final = 60
_CORE: Final = 6
"""So many letters of base64 say which secret it is; fewer are chance."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A secret that was found."""

    name: str
    form: str
    where: str
    around: bytes

    def __str__(self) -> str:
        return f"{self.name} ({self.form}) in {self.where}: {self.around!r}"


def scan(where: str, data: bytes, secrets: Mapping[str, str]) -> list[Leak]:
    """Return every secret that stands in the data in any form; letters are compared without case."""
    leaks: list[Leak] = []
    views = list(_views(data))
    for name, secret in secrets.items():
        if len(secret) < 3:
            raise ValueError(f"{name}: {secret!r} is too short to be looked for")
        for form, view in views:
            leaks.extend(
                Leak(name, f"{form}, {spelling}", where, view[max(0, at - 30) : at + 60])
                for spelling, needle in _spellings(secret)
                if (at := view.find(needle)) >= 0
            )
        leaks.extend(_encoded(where, name, data, secret))
    return leaks


def scan_names(root: Path, secrets: Mapping[str, str]) -> list[Leak]:
    """Return the secrets that stand in the names of files and folders below a folder."""
    names = "\n".join(str(path.relative_to(root)) for path in root.rglob("*"))
    return scan(f"names below {root}", names.encode("utf-8", "surrogateescape"), secrets)


def _views(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the data and what is seen when it is decoded; all in lower case."""
    yield "plain", data.lower()
    unfolded = _FOLD.sub(b"", _DOTS.sub(b".", data))
    yield "unfolded", unfolded.lower()
    yield "joined", _BREAK.sub(b"", unfolded).lower()
    if b"=" in data:
        yield "quoted-printable", quopri.decodestring(data).lower()
        yield "encoded word", quopri.decodestring(data.replace(b"?", b" "), header=True).lower()
    if b"%" in data:
        yield "percent", unquote_to_bytes(data).lower()
    hexadecimal = [bytes.fromhex(run[0].decode()) for run in _HEX.finditer(data)]
    yield "hexadecimal", b"\0".join(hexadecimal).lower()
    decoded = [_decoded(run[0]) for run in _BASE64.finditer(data)]
    yield "base64", b"\0".join(decoded).lower()


def _decoded(run: bytes) -> bytes:
    text = _BREAK.sub(b"", run).replace(b" ", b"").replace(b"\t", b"").translate(_URL_SAFE)
    whole = text[: len(text) // 4 * 4] if len(text) % 4 == 1 else text + b"=" * (-len(text) % 4)
    try:
        return base64.b64decode(whole)
    except binascii.Error:
        return b""


_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")


def _spellings(secret: str) -> Iterator[tuple[str, bytes]]:
    """Yield the secret in the character sets that may be met, in lower case."""
    low = secret.lower()
    seen = set()
    for charset in ("utf-8", "latin-1", "utf-16-le", "utf-16-be", "utf-7"):
        try:
            needle = low.encode(charset)
        except UnicodeEncodeError:
            continue
        if needle not in seen:
            seen.add(needle)
            yield charset, needle
    for form, text in (
        ("percent", quote(low).lower()),
        ("IDNA or reversed", low[::-1]),
        ("base32", base64.b32encode(low.encode()).decode().rstrip("=").lower()),
    ):
        needle = text.encode("ascii", "ignore")
        if needle not in seen and len(needle) >= len(low):
            seen.add(needle)
            yield form, needle


def _encoded(where: str, name: str, data: bytes, secret: str) -> Iterator[Leak]:
    """Look for the middle of the secret's base64 at each of the three alignments, whatever stands around."""
    flat = _BREAK.sub(b"", data)
    for text in {secret, secret.lower(), secret.upper()}:
        for charset in ("utf-8", "utf-16-le"):
            raw = text.encode(charset)
            for shift in range(3):
                lead = -(-shift * 4 // 3)
                core = base64.b64encode(bytes(shift) + raw)[lead:].rstrip(b"=")[: _core_length(raw, shift)]
                if len(core) > _CORE and (at := flat.find(core)) >= 0:
                    yield Leak(
                        name, f"base64 of {charset} at {shift}", where, flat[max(0, at - 20) : at + _LINE]
                    )


def _core_length(raw: bytes, shift: int) -> int:
    """Return how many letters depend on the secret alone and not on what follows it."""
    return (len(raw) + shift) * 8 // 6 - -(-shift * 8 // 6)
