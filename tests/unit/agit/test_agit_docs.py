"""The example mails of docs/reference/agit-mails.md are what the writer writes.

``RADPOST_WRITE_DOCS=1`` writes them anew.
"""

import os
import re
from pathlib import Path
from typing import Literal

from radpost.agit import names
from radpost.agit.dialect import DIALECTS
from radpost.agit.letter import inner_chunks, outer_envelope
from radpost.testing.letters import dicom_item, document, letter

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "agit-mails.md"
ARMOR = (
    b"-----BEGIN PGP MESSAGE-----\r\n\r\n(one message, signed and encrypted)\r\n-----END PGP MESSAGE-----\r\n"
)
BLOCK = re.compile(r"(<!-- mail: (\S+) (\w+) -->\n```\n)(.*?)(```\n<!-- end -->)", re.DOTALL)


def written(dialect: Literal["agit-1.1", "agit-1.5"], side: str) -> str:
    mail = letter(
        (
            dicom_item(bytes(128) + b"DICM"),
            document(b"%PDF-1.4\n", "Befund Müller.pdf", study_uid="2.25.815"),
        ),
        dialect=dialect,
        set_id="2.25.329800735698586629295641978511506172918",
        part=2,
        total=7,
        first_position=2,
        receipt=DIALECTS[dialect].receipt,
    )
    if side == "inside":
        data = b"".join(bytes(chunk.data) for chunk in inner_chunks(mail))
    else:
        envelope = outer_envelope(mail)
        data = envelope.head + ARMOR + envelope.tail
    return data.decode("ascii").replace("\r\n", "\n")


def replaced(match: re.Match[str]) -> str:
    dialect: Literal["agit-1.1", "agit-1.5"] = "agit-1.1" if match[2] == "agit-1.1" else "agit-1.5"
    return match[1] + written(dialect, match[3]) + match[5]


def test_examples_are_what_is_written() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [match.group(2, 3) for match in BLOCK.finditer(text)] == [
        ("agit-1.5", "outside"),
        ("agit-1.5", "inside"),
        ("agit-1.1", "outside"),
        ("agit-1.1", "inside"),
    ]
    fresh = BLOCK.sub(replaced, text)
    if os.environ.get("RADPOST_WRITE_DOCS") == "1":
        PAGE.write_text(fresh, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == fresh


def test_every_literal_name_is_explained() -> None:
    text = PAGE.read_text(encoding="utf-8")
    literal = [value for key, value in vars(names).items() if key.isupper() and isinstance(value, str)]
    assert len(literal) >= 14
    for name in literal:
        assert name in text, name
    assert 'never say "conformant with 1.5"' in text
