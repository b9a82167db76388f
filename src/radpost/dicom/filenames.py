"""Names of files that others chose, made safe for any disk: no path, no control characters, no device."""

import re
from typing import Final

_UNSAFE: Final = re.compile(r"[^\w.+@ -]", re.UNICODE)
_DEVICE: Final = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9¹²³])\s*(\..*)?\Z")
_UID: Final = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*\Z")
"""A UID that is fit for a file name (PS3.5 9.1): ``..`` consists of dots and is no UID."""
_LONGEST: Final = 180
"""Bytes; a file system allows 255, and a distinguishing hash may be added."""


def is_uid(text: str) -> bool:
    """Tell whether a text is a UID that may stand in a file name."""
    return _UID.match(text) is not None


def file_name(name: str, fallback: str) -> str:
    """Return a name that is safe on any disk: never a path, hidden, a device, or too long."""
    safe = _UNSAFE.sub("_", name).strip(" .").lstrip(" .-") or fallback
    if _DEVICE.match(safe):
        safe = "_" + safe
    stem, dot, suffix = safe.rpartition(".")
    if len(safe.encode()) > _LONGEST:
        ending = _cut(dot + suffix, 20) if dot else ""
        safe = _cut(stem if dot else safe, _LONGEST - len(ending.encode())) + ending
    return safe


def marked(name: str, mark: str) -> str:
    """Return a name with a mark before its suffix.

    >>> marked("report.pdf", "-2")
    'report-2.pdf'
    """
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}{mark}.{suffix}" if dot else f"{name}{mark}"


def _cut(text: str, most: int) -> str:
    return text.encode()[:most].decode(errors="ignore")
