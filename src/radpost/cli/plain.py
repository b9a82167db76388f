"""What commands share that need neither configuration nor database: failures, JSON, sizes, plain text."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, TextIO

import typer

from radpost.errors import RadpostError
from radpost.words import Language

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
LangOption = Annotated[
    Language | None,
    typer.Option("--lang", help="Language of the text; without it that of the environment (LANG)."),
]


def language_of(environment: Mapping[str, str] = os.environ) -> Language:
    """Return the language that the environment asks for (POSIX 8.2)."""
    chosen = next(
        (environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), ""
    )
    return "de" if chosen.lower().startswith("de") else "en"


@contextmanager
def told(language: Language) -> Iterator[None]:
    """Turn a failure with a reason into one clear line and exit status 1."""
    try:
        yield
    except RadpostError as error:
        complain(error, language)
        raise typer.Exit(1) from error


def complain(error: RadpostError, language: Language = "en") -> None:
    """Say what failed: code, cause and remedy, facts."""
    reason = error.reason
    detail = f" ({error.detail})" if error.detail else ""
    tell(f"radpost: {reason.code} {reason.name}: {reason.sentence(language)}{detail}", file=sys.stderr)


def tell(text: str, file: TextIO | None = None) -> None:
    """Print a line that may hold what others wrote."""
    print(printable(text), file=file, flush=True)


def print_json(value: object) -> None:
    """Print one JSON document; what would steer a terminal is escaped."""
    for line in json.dumps(value, indent=2, ensure_ascii=False, default=str).split("\n"):
        sys.stdout.write("".join(mark if mark.isprintable() else _escaped(mark) for mark in line) + "\n")


def _escaped(mark: str) -> str:
    """Return a character of a JSON string as the standard escapes it."""
    return f"\\u{ord(mark):04x}" if mark.isascii() else json.dumps(mark)[1:-1]


def printable(text: str) -> str:
    """Return what others wrote as text that steers no terminal (ECMA-48) and turns no writing around."""
    return "".join(mark if mark.isprintable() else " " for mark in text)


def size(count: int) -> str:
    """Return a number of bytes as a person reads it."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 1000:
            return f"{value:.1f} {unit}"
    return f"{value:.1f} PB"
