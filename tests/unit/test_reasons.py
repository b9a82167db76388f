"""The table of reasons: whole, in both languages, without doubles, and in the reference (invariant 11)."""

import os
from pathlib import Path

import pytest

from radpost import errors
from radpost.errors import TABLE, RadpostError, Reason, Side

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/reasons.md"
BLOCKS = {
    1: "structure of mails",
    2: "cryptography",
    3: "packages",
    4: "DICOM",
    5: "sets, receipts and deadlines",
    6: "requests",
    7: "transport",
    9: "other",
}
WHO = {
    Side.US: "we",
    Side.PARTNER: "the partner",
    Side.SERVER: "the mail server's operator",
    Side.PACS: "the PACS's administrator",
    Side.NOBODY: "nobody",
}


def page() -> str:
    lines = [
        "# Reasons",
        "",
        "Every refusal, quarantine and failed transmission carries a code of this table, a sentence for the",
        "administrator, and the side that must act. The page is made from `src/radpost/errors.py`.",
    ]
    for block, title in BLOCKS.items():
        rows = [reason for code, reason in sorted(TABLE.items()) if code // 100 == block]
        if not rows:
            continue
        lines += ["", f"## {block}00: {title}", "", "| Code | Name | Who acts | English | Deutsch |"]
        lines.append("| --- | --- | --- | --- | --- |")
        lines += [f"| {r.code} | `{r.name}` | {WHO[r.side]} | {r.en} | {r.de} |" for r in rows]
    return "\n".join(lines) + "\n"


def test_invariant_11_no_code_and_no_name_stands_twice() -> None:
    rows = [value for value in vars(errors).values() if isinstance(value, Reason)]
    assert len({row.code for row in rows}) == len(rows)
    assert len({row.name for row in rows}) == len(rows)
    assert set(TABLE.values()) == set(rows)


@pytest.mark.parametrize("reason", list(TABLE.values()), ids=lambda reason: reason.name)
def test_invariant_11_every_reason_has_a_sentence_in_both_languages(reason: Reason) -> None:
    assert reason.code // 100 in BLOCKS
    for sentence in (reason.sentence("en"), reason.sentence("de")):
        assert sentence.endswith(".")
        assert sentence[0].isupper()
        assert len(sentence) > 20
    assert reason.en != reason.de


def test_an_error_says_code_name_sentence_and_detail() -> None:
    error = RadpostError(errors.DISK_FULL, "3 MB free")
    assert str(error) == f"711 disk-full: {errors.DISK_FULL.en} (3 MB free)"


def test_the_reference_page_shows_the_table() -> None:
    if os.environ.get("RADPOST_WRITE_DOCS"):
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew with RADPOST_WRITE_DOCS=1"
