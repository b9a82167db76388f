"""What several commands share: where the configuration is, tables, JSON, times and sizes."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from radpost.cli.plain import JsonOption, complain, print_json, printable, size, tell, told
from radpost.gateway.config import Config, language_of, load
from radpost.gateway.site import Site, open_site
from radpost.gateway.views import Explained

__all__ = [
    "DEFAULT_CONFIG",
    "ConfigOption",
    "JsonOption",
    "ago",
    "complain",
    "configured",
    "moment",
    "opened",
    "print_facts",
    "print_json",
    "print_reasons",
    "print_table",
    "printable",
    "size",
    "span",
    "tell",
    "told",
]

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        envvar="RADPOST_CONFIG",
        help="The configuration file written by 'radpost init'.",
        show_default=True,
    ),
]
DEFAULT_CONFIG = Path("radpost.toml")
_SUBJECTS = 5


@contextmanager
def opened(config: Path) -> Iterator[Site]:
    """Open the data directory that the configuration names; failures are told in its language."""
    values = configured(config)
    with told(values.institution.language):
        site = open_site(values)
        try:
            yield site
        finally:
            site.close()


def configured(path: Path) -> Config:
    """Read the configuration; its faults are told in its language."""
    with told(language_of(path)):
        return load(path)


def print_reasons(reasons: Iterable[Explained]) -> None:
    """Print coded reasons: cause and remedy once per code, then what it is about and since when."""
    by_code: dict[int, list[Explained]] = {}
    for reason in reasons:
        by_code.setdefault(reason.code, []).append(reason)
    for code, found in by_code.items():
        print(f"  {code} {found[0].name} (to act: {found[0].side})")
        print(f"      {found[0].sentence}")
        for reason in found[-_SUBJECTS:]:
            since = f"since {moment(reason.since)}" if reason.since is not None else ""
            often = f"{reason.count} times" if reason.count > 1 else ""
            number = f"no. {reason.number}" if reason.number is not None else ""
            words = ", ".join(word for word in (number, reason.subject, since, often, reason.detail) if word)
            if words:
                tell(f"      - {words}")
        if len(found) > _SUBJECTS:
            print(f"      - and {len(found) - _SUBJECTS} more")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Print a table on a terminal, plain tab-free columns elsewhere."""
    if not rows:
        print(empty)
        return
    from rich.console import Console  # noqa: PLC0415  only listings need it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else 200)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        # what others wrote is text, no markup, and steers no terminal
        table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    console.print(table)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print names and values below each other."""
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        tell(f"{name:<{width}}  {'' if value is None else value}")


def moment(at: float | None) -> str:
    """Return a time of the store as local time, or nothing."""
    return "" if at is None else datetime.fromtimestamp(at).isoformat(" ", "seconds")  # noqa: DTZ006  local


def ago(at: float | None, now: float) -> str:
    """Return how long ago a time is, or until when, as a person says it."""
    if at is None:
        return ""
    seconds = abs(now - at)
    for limit, unit, length in ((90, "s", 1), (5400, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def span(seconds: float) -> str:
    """Return a duration: exact where it is short."""
    if seconds < 100:
        return f"{seconds:.2f} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
