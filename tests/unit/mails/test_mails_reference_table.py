"""The page of reference mails says what `radpost open` really makes of each of them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from radpost.errors import TABLE
from radpost.mails.opening import open_mails
from radpost.testing.vectors import (
    DEVIATIONS,
    ERROR_CLASSES,
    Vector,
    as_package,
    deviations,
    of_vector,
    reference_keys,
    vectors,
)

MAILS = Path(__file__).resolve().parents[4] / "shared" / "mails"
PAGE = Path(__file__).resolve().parents[3] / "docs/reference/reference-mails.md"
TITLES = {
    "agit": "@GIT: OpenPGP, Supplement 54, fragments",
    "mdn": "Receipts",
    "dsn": "Bounces",
    "xdm": "IHE XDM packages in S/MIME",
}
PACKAGE = "packages are not unpacked yet: the ZIP is given whole, as one object"
HEAD = """\
# The reference mails

What `radpost open` makes of each reference mail: mails made with programs of others (GnuPG, Sequoia, RNP,
OpenSSL, mpack, Python's email package), or taken from other projects. The page is made from the mails
themselves (`RADPOST_WRITE_DOCS=1 pytest tests/unit/mails/test_mails_reference_table.py`); the tests beside it
compare every object, byte for byte, and every verdict with what is expected.

The column *expected* is what the mail's maker asks for, in their words; *result* is ours, with the code of
[the table of reasons](reasons.md).
"""


def opened(found: Sequence[Vector]) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Open all mails of a folder; the further copies of one set (x21, x22) in a call of their own."""
    keys = reference_keys(MAILS)
    copies = [[vector] for vector in found if vector.name.startswith(("x21", "x22"))]
    together = [vector for vector in found if [vector] not in copies]
    results: dict[str, Sequence[Mapping[str, Any]]] = {}
    for batch in (together, *copies):
        files = [path for vector in batch for path in vector.files]
        gave = open_mails(files, secrets=keys.secrets, certs=keys.certs, anchors=keys.anchors)
        entries = gave.to_json()["results"]
        results.update({vector.name: of_vector(vector, entries) for vector in batch})
    return results


def rows(found: Sequence[Vector]) -> Iterator[str]:
    everything = opened(found)
    for vector in found:
        results = everything[vector.name]
        why = DEVIATIONS.get(vector.name, "")
        if vector.group == "xdm":
            assert deviations(as_package(vector), results) == [], vector.name
            why = PACKAGE if deviations(vector, results) else ""
        assert bool(deviations(vector, results)) == bool(why), vector.name
        expected = vector.expect["result"]
        if expected.endswith("error") and vector.expect["error_class"]:
            expected += f" ({vector.expect['error_class']})"
        cells = [
            f"`{vector.name}`",
            vector.description.replace("|", "\\|"),
            expected,
            outcome(results),
            signatures(results),
            why,
        ]
        yield f"| {' | '.join(cells)} |"


def outcome(results: Sequence[Mapping[str, Any]]) -> str:
    words = []
    for result in results:
        word = result["status"]
        if word in {"error", "pending"}:
            word += f" {result['code']} {TABLE[result['code']].name}"
        if result["objects"]:
            word += f", {len(result['objects'])} object{'s' if len(result['objects']) > 1 else ''}"
        remarks = [one for one in result["warnings"] if one != "same-mail-again"]
        words.append(word + (f" ({', '.join(remarks)})" if remarks else ""))
    return "; ".join(
        f"{words.count(word)} times {word}" if len(words) > 1 else word for word in dict.fromkeys(words)
    )


def signatures(results: Sequence[Mapping[str, Any]]) -> str:
    looked = [one for one in results if one["status"] not in {"error", "pending", "ignored", "bounce"}]
    return ", ".join(sorted({one["signature"]["verdict"] for one in looked}))


def page() -> str:
    text = HEAD
    for group, title in TITLES.items():
        text += f"\n## {title} (`{group}`)\n\n"
        text += "| Mail | What it is | Expected | Result | Signature | Why it differs |\n"
        text += "| --- | --- | --- | --- | --- | --- |\n"
        text += "\n".join(rows(vectors(MAILS, group))) + "\n"
    text += "\n## Classes of errors\n\n| Theirs | Ours |\n| --- | --- |\n"
    for name, reasons in ERROR_CLASSES.items():
        text += f"| `{name}` | {', '.join(f'{one.code} `{one.name}`' for one in reasons)} |\n"
    return text


@pytest.mark.shared
@pytest.mark.peer("gnupg")
def test_the_page_of_reference_mails_is_up_to_date() -> None:
    made = page()
    if os.environ.get("RADPOST_WRITE_DOCS") == "1":
        PAGE.write_text(made, "utf-8")
    assert PAGE.read_text("utf-8") == made, (
        "run this test with RADPOST_WRITE_DOCS=1 and look at the difference"
    )
