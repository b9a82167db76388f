"""Names and types of documents as they are written: whatever a file is called, the mail is valid."""

import re
import unicodedata
from typing import Final
from urllib.parse import quote

from radpost.agit.recognition import NOT_DATA

_FALLBACK: Final = "document"
_MAX_ENCODED: Final = 240
"""Bytes of a name in the form of RFC 2231; the bound of an item's size counts on it."""
_MAX_SUFFIX: Final = 16
_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,49}/[a-z0-9][a-z0-9!#$&^_.+-]{0,79}")
_UNKNOWN: Final = "application/octet-stream"


def document_name(name: str) -> str:
    """Return a file name that any receiver can take: no folders, no control characters, not too long."""
    base = re.split(r"[/\\]", name)[-1]
    # categories C: controls, marks of direction, halves of surrogates
    text = "".join(char for char in base if not unicodedata.category(char).startswith("C"))
    text = re.sub(r"[^\S ]", " ", text).replace("=?", "=_").strip()  # an encoded word would be decoded
    if not text.strip(". "):
        return _FALLBACK
    if len(quote(text, safe="")) <= _MAX_ENCODED:
        return text
    stem, dot, suffix = text.rpartition(".")
    if not stem or len(quote(suffix, safe="")) > _MAX_SUFFIX:
        stem, dot, suffix = text, "", ""
    while len(quote(stem + dot + suffix, safe="")) > _MAX_ENCODED:
        stem = stem[:-1]
    return stem.rstrip() + dot + suffix


def document_type(media_type: str) -> str:
    """Return the type of a document, or the unknown one where the type would say that it is no document."""
    text = media_type.split(";", maxsplit=1)[0].strip().lower()
    if not _TYPE.fullmatch(text) or text in NOT_DATA:
        return _UNKNOWN
    if text.startswith(("multipart/", "message/", "application/pgp")):
        return _UNKNOWN
    return text


def file_id(position: int) -> str:
    """Return a File-ID component for an object: at most 8 of A-Z 0-9 _ (PS3.12 K, RFC 3240)."""
    return f"IM{position:06d}" if position < 1_000_000 else f"{position % 100_000_000:08d}"
