"""docs/reference/check-rules.md shows the whole table of rules, in both languages."""

import os
from pathlib import Path

from radpost.mails.checking import table
from radpost.mails.checking.model import FIELD, Certainty, Rule, Scope, Severity

PAGE = Path(__file__).resolve().parents[4] / "docs/reference/check-rules.md"
HEAD = """\
# Rules of radpost check

What `radpost check` puts to a mail. The page is made from `src/radpost/mails/checking`
(`RADPOST_WRITE_DOCS=1 pytest tests/unit/mails/checking`); a test holds it to the code. How to use the command
stands in [check a mail](../how-to/check-a-mail.md).

- A rule that is **fatal** or **serious** is *broken* where it is not kept: no receiver gets the data, or
  one that goes by the book refuses the mail or misreads it. A **light** one is *bent*: nearly every receiver
  copes. Some serious rules are only bent by what receivers are known to put up with.
- Rules that begin with `field-` are known from mails of the field only; nobody here has read a text of @GIT
  later than 1.1r. They are *unconfirmed* and never decide anything.
- Rules marked *inside* look at what was sealed and need the receiver's key (`--secret`).
- Clauses of @GIT 1.1r are the numbers of its chapters. RFC 3240 is being withdrawn in favour of PS3.12 K.
"""
WEIGHT = {Severity.FATAL: "fatal", Severity.SERIOUS: "serious", Severity.LIGHT: "light"}


def page() -> str:
    lines = [HEAD]
    standards = dict.fromkeys(rule.standard for rule in table.RULES)
    for standard in standards:
        title = f"{standard}: seen in the field, unconfirmed" if standard == FIELD else standard
        lines.append(f"## {title}\n")
        lines += [section(rule) for rule in table.RULES if rule.standard == standard]
    return "\n".join(lines)


def section(rule: Rule) -> str:
    weight = "unconfirmed" if rule.certainty is Certainty.UNCONFIRMED else WEIGHT[rule.severity]
    inside = ", inside" if rule.scope is Scope.INSIDE else ""
    clause = f"{rule.cited}; " if rule.clause else ""
    lines = [f"### {rule.id}", "", f"{clause}{weight}{inside}", ""]
    for name, mend, words in (("Otherwise", "Mend it", rule.en), ("Sonst", "Abhilfe", rule.de)):
        lines.append(f"- {words.rule} **{name}:** {words.effect} **{mend}:** {words.remedy}")
    return "\n".join(lines) + "\n"


def test_the_reference_page_shows_the_table() -> None:
    if os.environ.get("RADPOST_WRITE_DOCS"):
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew with RADPOST_WRITE_DOCS=1"


def test_the_page_never_claims_a_version_that_nobody_has_read() -> None:
    text = page().lower()
    assert "1.5" not in text
    assert "conformant" not in text
