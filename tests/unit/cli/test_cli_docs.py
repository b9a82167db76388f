"""The reference pages say what the program does."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from radpost.cli import COMMANDS, reference
from radpost.gateway import config, phrases
from radpost.gateway.template import Answers, render
from radpost.testing.calling import call

DOCS = Path(__file__).resolve().parents[3] / "docs"
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "Top level": config.Config,
    "`[institution]`": config.Institution,
    "`[dicom]`": config.DicomIn,
    "`[[dicom.stations]]`": config.Station,
    "TLS for DICOM": config.TlsFiles,
    "`[pacs]`": config.Pacs,
    "`[[destination]]`": config.Destination,
    "`[submission]`": config.Submission,
    "`[[mailbox]]`": config.Mailbox,
    "OAuth 2": config.OAuth,
    "`[[receiver]]`": config.Receiver,
    "`[limits]`": config.Limits,
}
TABLES = {
    "institution",
    "dicom",
    "pacs",
    "destination",
    "submission",
    "mailbox",
    "receiver",
    "limits",
    "folder",
}
BY_HAND = {"quiet_seconds"}  # of a station: that of [dicom]


def documented() -> dict[str, dict[str, str]]:
    """Return section -> key -> default as the page writes it."""
    found: dict[str, dict[str, str]] = {}
    section = ""
    for line in (DOCS / "reference/configuration.md").read_text("utf-8").splitlines():
        if heading := re.match(r"#{2,3} (.*)", line):
            section = heading[1]
            found[section] = {}
        elif row := re.match(r"\| `([a-z_]+)` \| ([^|]+) \|", line):
            found[section][row[1]] = row[2].strip()
    return found


def written(default: Any) -> str:
    """Return a default as the page must write it."""
    if default in (msgspec.NODEFAULT, None, ()):
        return "needed" if default is msgspec.NODEFAULT else "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, str):
        return f'`"{default}"`'
    return f"`{default}`"


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_the_configuration_is_documented_with_its_default(section: str) -> None:
    page = documented()[section]
    fields = {item.name: item for item in msgspec.structs.fields(SECTIONS[section])}
    if section == "Top level":
        fields = {name: item for name, item in fields.items() if name not in TABLES}
    assert set(page) == set(fields)
    for name, item in fields.items():
        if not (section == "`[[dicom.stations]]`" and name in BY_HAND):
            assert re.sub(r"(?<=\d)_", "", page[name]) == written(item.default), name


def test_every_section_is_documented() -> None:
    assert set(documented()) == set(SECTIONS)


def test_the_template_says_only_what_is_true() -> None:
    """Keys that stand in the template, also those in comments, exist; so do the sections."""
    text = render(Answers("N", "a@b.example", "mail.b.example"))
    known = {item.name for kind in SECTIONS.values() for item in msgspec.structs.fields(kind)}
    keys = set(re.findall(r"^(?:# )?([a-z_]+) = ", text, re.MULTILINE))
    assert keys - known == set()
    assert re.findall(r"^(?:# )?\[+([a-z.]+)\]", text, re.MULTILINE)


def test_the_page_of_commands_is_up_to_date() -> None:
    assert (DOCS / "reference/commands.md").read_text("utf-8") == reference.render(), (
        "run: python -m radpost.cli.reference > docs/reference/commands.md"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_the_page_stands_in_the_help(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    page = reference.render()
    parts = re.split(rf"\n###? (radpost {name}\b.*)\n", page)
    for words, rest in zip(parts[1::2], parts[2::2], strict=True):
        rows = re.findall(r"^\| (`-.*?) \|", rest.partition("\n## ")[0].partition("\n### ")[0], re.MULTILINE)
        if not rows:
            continue
        said = call(*words.split()[1:], "--help")
        assert said.code == 0
        for option in re.findall(r"`(--[a-z-]+)`", "\n".join(rows)):
            assert option in said.out, f"{words} {option}"


def test_commands_in_the_guides_exist() -> None:
    """Whatever a page shows as a command has a known name and options."""
    page = reference.render()
    options = set(re.findall(r"`(--?[a-z-]+)`", page)) | {"--config", "-c", "--help"}
    for path in (*sorted((DOCS / "how-to").glob("*.md")), *sorted((DOCS / "tutorial").glob("*.md"))):
        for line in re.findall(r"^radpost .*$", path.read_text("utf-8"), re.MULTILINE):
            words = line.split()
            assert words[1] in COMMANDS, f"{path.name}: {line}"
            if words[1] in {"partner", "key", "quarantine"}:
                assert f"### radpost {words[1]} {words[2]}\n" in page, f"{path.name}: {line}"
            unknown = {word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)} - options
            assert not unknown, f"{path.name}: {line}"


@pytest.mark.parametrize("key", list(phrases.KEYS))
def test_every_sentence_stands_in_both_languages(key: str) -> None:
    assert phrases.say(key, "en") != phrases.say(key, "de")


def test_help_is_fast_enough_to_be_asked() -> None:
    """The service's heavy parts are not loaded for a status or a listing."""
    code = (
        "import sys; from radpost.testing.calling import call; call('status', '-c', 'none.toml');"
        "print([m for m in ('numpy', 'pynetdicom', 'pydicom', 'alembic', 'imagecodecs') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
