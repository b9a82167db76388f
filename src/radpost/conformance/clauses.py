"""The standards in play and their clauses, with an honest status each: read from the files of ``table``.

The page docs/reference/standards.md, ``radpost conformance`` and the check of every citation in the code and
the tests stand on this one table.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.resources import files
from typing import Any, Final

from radpost.words import Language

AREAS: Final = {
    "agit": ("DICOM e-mail", "DICOM-E-Mail"),
    "dicom": ("DICOM", "DICOM"),
    "mail": ("What a mail is made of", "Woraus eine Mail besteht"),
    "transport": ("How a mail travels", "Wie eine Mail reist"),
    "security": ("What seals a mail", "Was eine Mail versiegelt"),
}
"""The files of the table, in the order in which a person reads them."""


class Status(Enum):
    """What is true of a clause."""

    DONE = "done"
    """Kept; the code cites it where it does so, and a test that shows it cites it too."""
    PART = "part"
    """Kept as far as its remark says."""
    PLANNED = "planned"
    """Nothing there yet."""
    NOT = "not"
    """It would apply to us and is not kept; its remark says why."""
    NOT_APPLICABLE = "n/a"
    """It has nothing to ask of a gateway."""

    @property
    def kept(self) -> bool:
        """Whether code must cite it."""
        return self in {Status.DONE, Status.PART}


@dataclass(frozen=True, slots=True)
class Words:
    """A text for people in both languages; empty where there is nothing to say."""

    en: str = ""
    de: str = ""

    def __bool__(self) -> bool:
        return bool(self.en)

    def text(self, language: Language) -> str:
        """Return the text in one language."""
        return self.de if language == "de" else self.en


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause of a standard; the title is ours, not the standard's."""

    number: str
    status: Status
    rooms: tuple[str, ...]
    title: Words
    why: Words


@dataclass(frozen=True, slots=True)
class Standard:
    """A standard; ``own_status`` and ``why`` speak for one that is listed without clauses."""

    name: str
    area: str
    title: Words
    clauses: tuple[Clause, ...]
    own_status: Status | None
    why: Words

    @property
    def status(self) -> Status:
        """The status of the whole: done only if nothing that asks something of us is missing."""
        if self.own_status is not None:
            return self.own_status
        found = {clause.status for clause in self.clauses} - {Status.NOT_APPLICABLE}
        if len(found) == 1:
            return found.pop()
        return Status.PART if found else Status.NOT_APPLICABLE

    def clause(self, number: str) -> Clause | None:
        """Return the clause of that number."""
        return next((clause for clause in self.clauses if clause.number == number), None)

    def names(self, number: str) -> bool:
        """Whether a number is that of a listed clause, or of a chapter that holds one."""
        return any(_within(clause.number, number) for clause in self.clauses)


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(outer + ".")


@cache
def standards() -> tuple[Standard, ...]:
    """Return the whole table, in the order of its files."""
    folder = files("radpost.conformance") / "table"
    found: list[Standard] = []
    for area in AREAS:
        data = tomllib.loads((folder / f"{area}.toml").read_text("utf-8"))
        found += [_standard(area, entry) for entry in data["standard"]]
    return tuple(found)


def named(names: Iterable[str]) -> tuple[Standard, ...]:
    """Return the standards that a person means by these words, all of them for none.

    ``rfc2046``, ``RFC 2046``, ``2046`` and ``ps3.8`` name one each; ``@GIT`` names all that begin so.

    Raises:
        LookupError: a word names nothing.
    """
    wanted = [name for name in names if name.strip()]
    if not wanted:
        return standards()
    chosen: dict[str, Standard] = {}
    for name in wanted:
        found = _meant(_folded(name))
        if not found:
            raise LookupError(name)
        chosen.update((standard.name, standard) for standard in found)
    return tuple(standard for standard in standards() if standard.name in chosen)


def _meant(word: str) -> list[Standard]:
    exact = [one for one in standards() if _folded(one.name) in {word, f"rfc{word}", f"ps{word}"}]
    return exact or [one for one in standards() if _folded(one.name).startswith(word)]


def _folded(name: str) -> str:
    return "".join(name.lower().split())


def _standard(area: str, entry: dict[str, Any]) -> Standard:
    status = entry.get("status")
    return Standard(
        name=entry["name"],
        area=area,
        title=Words(entry["en"], entry["de"]),
        clauses=tuple(_clause(row) for row in entry.get("clauses", ())),
        own_status=Status(status) if status else None,
        why=Words(entry.get("why_en", ""), entry.get("why_de", "")),
    )


def _clause(row: list[str]) -> Clause:
    number, status, rooms, en, de, why_en, why_de = (*row, "", "")[:7]
    return Clause(number, Status(status), tuple(rooms.split()), Words(en, de), Words(why_en, why_de))
