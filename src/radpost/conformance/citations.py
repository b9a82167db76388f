"""Citations of clauses as the code writes them: ``RFC 2046 5.2.2``, ``PS3.8 9.3.2``, ``@GIT 1.1r 5``.

A citation may name several clauses (``RFC 3501 6.4.4, 9``; ``PS3.5 A.1 to A.3``) and several RFCs
(``RFC 5321, 6409``; ``RFC 3501 / 9051``).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_CLAUSE: Final = r"(?P<clause>(?:[A-Z]|\d{1,2})(?![\w-])(?:\.\d+)*(?!\.?\w))"
_TABLE: Final = r"table\s(?P<table>[A-Z\d][\d.]*)-\d+"
_HEAD: Final = re.compile(
    r"(?P<rfc>\bRFC\s\d{3,5})\b|\bPS3\.\d+|@GIT\s(?:1\.1r|practice)|\bQCIT\b|\bIHE\sXDM\b"
)
_FIRST: Final = re.compile(rf"\s(?:{_TABLE}|(?:(?:annex|rule)\s)?{_CLAUSE})")
_NEXT: Final = re.compile(rf"(?:,|\sand|\sto|\sor)\s(?:{_TABLE}|(?:annex\s)?{_CLAUSE})")
_OTHER: Final = re.compile(r"(?:\s\([\w ]+\))?(?:,\s(?:and\s)?|\sand\s| ?/ ?)(?P<number>\d{3,5})(?![\w.])")


@dataclass(frozen=True, slots=True)
class Citation:
    """One clause that is cited, or a whole standard (``clause`` is empty), and in which line."""

    standard: str
    clause: str
    line: int


def citations(text: str) -> Iterator[Citation]:
    """Yield all citations of a text, in its order."""
    for head in _HEAD.finditer(text):
        line = text.count("\n", 0, head.start()) + 1
        standard = " ".join(head.group().split())
        yield from _one(text, standard, head.end(), line, rfc=head["rfc"] is not None)


def _one(text: str, standard: str, at: int, line: int, *, rfc: bool) -> Iterator[Citation]:
    found = _FIRST.match(text, at)
    if found is None:
        yield Citation(standard, "", line)
    last = ""
    while found is not None:
        clause = found["clause"] or found["table"]
        between = _between(last, clause) if found.group().lstrip().startswith("to") else ()
        for one in (*between, clause):
            yield Citation(standard, one, line)
        last, at = clause, found.end()
        found = _NEXT.match(text, at)
    other = _OTHER.match(text, at) if rfc else None
    if other is not None:
        yield from _one(text, f"RFC {other['number']}", other.end(), line, rfc=True)


def _between(first: str, last: str) -> tuple[str, ...]:
    """Return the clauses between two neighbours of one chapter: ``A.1 to A.3`` holds ``A.2``."""
    chapter, _, low = first.rpartition(".")
    other, _, high = last.rpartition(".")
    if chapter != other or not (low.isdecimal() and high.isdecimal()):
        return ()
    return tuple(f"{chapter}.{number}".lstrip(".") for number in range(int(low) + 1, int(high)))
