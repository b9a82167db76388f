"""The diagrams and tables of docs/explanation/transfer.md are those of the code.

``RADPOST_WRITE_DOCS=1`` writes them anew.
"""

import os
from pathlib import Path

from radpost.testing.explore import mermaid
from radpost.transfer import delivery, incoming, outgoing, receipt, submission

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "transfer.md"


def truths() -> str:
    lines = ["| evidence | truth | value |", "| --- | --- | --- |"]
    for evidence, row in receipt.TRUTHS.items():
        lines += [f"| {evidence.value} | {truth.value} | {answer.value} |" for truth, answer in row.items()]
    return "\n".join(lines)


def drawn() -> dict[str, str]:
    sent = {submission.Phase.ACCEPTED, submission.Phase.REFUSED, submission.Phase.WITHDRAWN}
    delivered = delivery.DELIVERED | {delivery.Phase.CANCELLED}
    return {
        "diagram: outgoing": mermaid(outgoing.ALLOWED, outgoing.Phase.PLANNED, outgoing.ENDED),
        "diagram: submission": mermaid(submission.ALLOWED, submission.Phase.READY, sent),
        "diagram: incoming": mermaid(incoming.ALLOWED, incoming.Phase.FETCHED, incoming.ENDED),
        "diagram: delivery": mermaid(delivery.ALLOWED, delivery.Phase.DUE, delivered),
        "table: truths": truths(),
    }


def test_the_page_shows_what_the_code_does() -> None:
    page = written = PAGE.read_text(encoding="utf-8")
    for name, text in drawn().items():
        head, begin, rest = page.partition(f"<!-- {name} -->\n")
        _, end, tail = rest.partition("<!-- end -->\n")
        assert begin, f"no place for {name}"
        assert end, f"no end for {name}"
        page = f"{head}{begin}\n{text}\n\n{end}{tail}"
    if os.environ.get("RADPOST_WRITE_DOCS"):
        PAGE.write_text(page, encoding="utf-8")
    else:
        assert written == page
