"""The table of clauses is true of the code: citations point at it, what it calls kept is cited and tested.

``RADPOST_WRITE_DOCS=1`` writes docs/reference/standards.md anew.
"""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from radpost.conformance.citations import Citation, citations
from radpost.conformance.clauses import AREAS, Clause, Standard, Status, named, standards

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reference/standards.md"
SAYS_NO = re.compile(r"\b(not|never|no|nothing|refused|without|against)\b", re.IGNORECASE)
HEAD = """\
# Standards

Which clauses of which standards Radpost keeps. The page is made from the table in
`src/radpost/conformance/table`; `radpost conformance` prints the same, in English or German, with the DICOM
services. The code cites the clause at the place that keeps it, as `RFC 2046 5.2.2` or `PS3.8 9.3.2`, and a
test holds that every citation points at a clause listed here, that what is called done or part is cited in
the rooms named, and that what is done is cited by a test.

- **done**: kept, and a test shows it.
- **part**: kept as far as the remark says.
- **planned**: nothing there yet.
- **not**: it would apply to a gateway and is not kept; the remark says why.
- **n/a**: it has nothing to ask of a gateway.

The titles are ours. We say "@GIT 1.1r, and field practice after it". We do not say "conformant with 1.5":
nobody here has read it.
"""


class Cited(NamedTuple):
    """A citation and where it stands."""

    path: Path
    text: str
    citation: Citation

    @property
    def place(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.citation.line}"

    @property
    def room(self) -> str:
        return self.path.relative_to(ROOT / "src/radpost").parts[0]


@cache
def cited(folder: str) -> tuple[Cited, ...]:
    """Return all citations of the Python files below a folder, but for the examples of this file."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        text = path.read_text("utf-8")
        lines = text.splitlines()
        if path != Path(__file__).resolve():
            found += [Cited(path, lines[one.line - 1], one) for one in citations(text)]
    return tuple(found)


@cache
def clauses_of(folder: str) -> dict[str, frozenset[tuple[str, str]]]:
    """Return standard -> clauses cited below a folder, each with its room (or nothing, outside of src)."""
    found: dict[str, set[tuple[str, str]]] = {}
    for one in cited(folder):
        room = one.room if folder == "src" else ""
        found.setdefault(one.citation.standard, set()).add((room, one.citation.clause))
    return {standard: frozenset(values) for standard, values in found.items()}


def where(folder: str, standard: Standard, clause: Clause) -> set[str]:
    """Return the rooms that cite a clause, or a part of it."""
    number = clause.number
    return {
        room
        for room, other in clauses_of(folder).get(standard.name, ())
        if other == number or other.startswith(number + ".")
    }


def every() -> Iterator[tuple[Standard, Clause]]:
    for standard in standards():
        for clause in standard.clauses:
            yield standard, clause


# --- the table


def test_no_standard_and_no_clause_stands_twice() -> None:
    names = [standard.name for standard in standards()]
    assert len(set(names)) == len(names)
    numbers = [(standard.name, clause.number) for standard, clause in every()]
    assert len(set(numbers)) == len(numbers)


def test_every_row_speaks_both_languages_and_says_why() -> None:
    for standard in standards():
        assert standard.title.en, standard.name
        assert standard.title.de, standard.name
        assert bool(standard.clauses) != bool(standard.own_status), f"{standard.name}: clauses or a status"
        assert bool(standard.why.en) == bool(standard.why.de), standard.name
        assert standard.why or standard.own_status in {None, Status.DONE}, f"{standard.name}: why?"
    for standard, clause in every():
        row = f"{standard.name} {clause.number}"
        assert clause.title.en, row
        assert clause.title.de, row
        assert bool(clause.why.en) == bool(clause.why.de), row
        assert clause.why or clause.status is Status.DONE, f"{row}: why?"
        assert bool(clause.rooms) == clause.status.kept, f"{row}: rooms name where it is kept"


def test_nobody_claims_the_text_that_nobody_read() -> None:
    (practice,) = named(["@GIT practice"])
    assert not any(clause.status is Status.DONE for clause in practice.clauses)


# --- the citations


@pytest.mark.parametrize("folder", ["src", "tests", "tools", "benchmarks"])
def test_every_citation_points_at_a_listed_clause(folder: str) -> None:
    listed = {standard.name: standard for standard in standards()}
    wrong = []
    for one in cited(folder):
        standard = listed.get(one.citation.standard)
        if standard is None or (one.citation.clause and not standard.names(one.citation.clause)):
            wrong.append(f"{one.place}: {one.citation.standard} {one.citation.clause}".rstrip())
    assert wrong == [], "list them in src/radpost/conformance/table, with an honest status"


def test_what_is_kept_is_cited_in_the_rooms_named() -> None:
    missing = [
        f"{standard.name} {clause.number}: {room}"
        for standard, clause in every()
        if clause.status.kept
        for room in clause.rooms
        if room not in where("src", standard, clause)
    ]
    assert missing == []


def test_what_is_done_is_cited_by_a_test() -> None:
    missing = [
        f"{standard.name} {clause.number}"
        for standard, clause in every()
        if clause.status is Status.DONE and not where("tests", standard, clause)
    ]
    assert missing == []


def test_a_standard_without_clauses_that_is_done_is_cited() -> None:
    for standard in standards():
        if standard.own_status is Status.DONE:
            assert standard.name in clauses_of("src"), standard.name
            assert standard.name in clauses_of("tests"), standard.name


def test_what_is_not_kept_is_not_cited_as_if_it_were() -> None:
    others = {(standard.name, clause.number) for standard, clause in every() if not clause.status.kept}
    claimed = [
        f"{one.place}: {one.citation.standard} {one.citation.clause}"
        for one in cited("src")
        # the public fakes make what Radpost refuses
        if one.room != "testing"
        and (one.citation.standard, one.citation.clause) in others
        and not SAYS_NO.search(one.text)
    ]
    assert claimed == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("joined (RFC 2046 5.2.2, DESIGN 4).", ["RFC 2046 5.2.2"]),
        ("the word of RFC 5321 is last", ["RFC 5321 "]),
        ("RFC 3501 6.4.4, 9 and 7.1", ["RFC 3501 6.4.4", "RFC 3501 9", "RFC 3501 7.1"]),
        ("RFC 5321, 2033 (LMTP), 1870 (SIZE)", ["RFC 5321 ", "RFC 2033 ", "RFC 1870 "]),
        ("RFC 3501 / 9051, RFC 4959", ["RFC 3501 ", "RFC 9051 ", "RFC 4959 "]),
        ("RFC 2045 6.7 (4)", ["RFC 2045 6.7"]),
        ("at least RFC 2177 and what boxes do", ["RFC 2177 "]),
        ("PS3.5 A.1 to A.3", ["PS3.5 A.1", "PS3.5 A.2", "PS3.5 A.3"]),
        ("PS3.4 table B.2-1, PS3.7 C.4, C.5", ["PS3.4 B.2", "PS3.7 C.4", "PS3.7 C.5"]),
        ("PS3.8 table 9-21; PS3.7 annex C.", ["PS3.8 9", "PS3.7 C"]),
        ("(PS3.3\nC.7.6.3)", ["PS3.3 C.7.6.3"]),
        ("@GIT 1.1r 5 and @GIT practice 3", ["@GIT 1.1r 5", "@GIT practice 3"]),
    ],
)
def test_citations_are_found_as_they_are_written(text: str, found: list[str]) -> None:
    assert [f"{one.standard} {one.clause}" for one in citations(text)] == found


def test_a_line_is_named_for_each_citation() -> None:
    assert [one.line for one in citations("a\nRFC 2046 5.1\n\nRFC 2047 2")] == [2, 4]


# --- names and pages


@pytest.mark.parametrize(
    ("words", "count"),
    [((), len(standards())), (("rfc2046",), 1), (("2046", "RFC 2046"), 1), (("ps3.8",), 1), (("@git",), 2)],
)
def test_standards_are_found_by_what_people_call_them(words: tuple[str, ...], count: int) -> None:
    assert len(named(words)) == count


def test_an_unknown_standard_is_named() -> None:
    with pytest.raises(LookupError, match="RFC 9999"):
        named(["RFC 9999"])


def page() -> str:
    lines = [HEAD.rstrip("\n")]
    for area, (title, _) in AREAS.items():
        lines += ["", f"## {title}"]
        for standard in standards():
            if standard.area == area:
                lines += section(standard)
    return "\n".join(lines) + "\n"


def section(standard: Standard) -> list[str]:
    lines = ["", f"### {standard.name}", "", f"{standard.title.en[0].upper()}{standard.title.en[1:]}: "]
    lines[-1] += f"**{standard.status.value}**{'; ' + standard.why.en if standard.why else ''}."
    if standard.clauses:
        lines += ["", "| Clause | What | Status | Where, and why |", "| --- | --- | --- | --- |"]
    for clause in standard.clauses:
        rooms = ", ".join(f"`{room}`" for room in clause.rooms)
        words = "; ".join(word for word in (rooms, clause.why.en) if word)
        lines.append(f"| {clause.number} | {clause.title.en} | {clause.status.value} | {words} |")
    return lines


def test_the_reference_page_shows_the_table() -> None:
    if os.environ.get("RADPOST_WRITE_DOCS"):
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew with RADPOST_WRITE_DOCS=1"
