"""``radpost alarm``: what needs a person; most alarms end with their cause, others when a person says so."""

from dataclasses import asdict
from typing import Annotated

import typer

from radpost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    moment,
    opened,
    print_json,
    print_table,
    tell,
)
from radpost.errors import RadpostError
from radpost.gateway import operating


def commands() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(help="Alarms: what needs a person.", no_args_is_help=True)
    group.command("list")(list_)
    group.command()(end)
    return group


def list_(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List the open alarms, oldest first."""
    with opened(config) as site:
        rows = operating.alarms(site)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ("no.", "since", "times", "code", "about", "to act", "cause and remedy"),
        [
            (
                row.number,
                moment(row.since),
                row.count,
                row.code,
                row.subject,
                row.side,
                " ".join(word for word in (row.sentence, f"({row.detail})" if row.detail else "") if word),
            )
            for row in rows
        ],
        empty="no alarm is open",
    )


def end(
    numbers: Annotated[list[int], typer.Argument(help="The alarm's number in 'radpost alarm list'.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """End alarms that you have seen to; one comes again if its cause does."""
    failed = False
    with opened(config) as site:
        for number in dict.fromkeys(numbers):
            try:
                ended = operating.end_alarm(site, number)
            except RadpostError as error:
                if len(numbers) == 1:
                    raise
                failed = True
                tell(error.detail)
                continue
            tell(f"alarm {number} is ended: {ended.code} {ended.name}, {ended.subject}")
    if failed:
        raise typer.Exit(1)
