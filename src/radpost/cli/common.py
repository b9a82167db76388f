"""What several commands share: where the configuration is, tables, JSON, times and sizes."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from radpost.gateway.config import load
from radpost.gateway.site import Site, open_site

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
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DEFAULT_CONFIG = Path("radpost.toml")


@contextmanager
def opened(config: Path) -> Iterator[Site]:
    """Open the data directory that the configuration names."""
    site = open_site(load(config))
    try:
        yield site
    finally:
        site.close()


def print_json(value: object) -> None:
    """Print one JSON document."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Print a table on a terminal, plain tab-free columns elsewhere."""
    if not rows:
        print(empty)
        return
    from rich.console import Console  # noqa: PLC0415  only listings need it
    from rich.table import Table  # noqa: PLC0415

    console = Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else 200)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print names and values below each other."""
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        print(f"{name:<{width}}  {'' if value is None else value}")


def moment(at: float | None) -> str:
    """Return a time of the store as local time, or nothing."""
    return "" if at is None else datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")


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
