"""``radpost unfinished``: what a ``radpost send`` that was killed had taken; it is not sent by itself."""

import sys
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
    size,
)
from radpost.errors import BAD_COMMAND, RadpostError
from radpost.gateway import unfinished
from radpost.gateway.site import wake

Job = Annotated[str, typer.Argument(help="The job in 'radpost unfinished list', or its beginning.")]


def commands() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(
        help="Sendings whose command did not finish: nothing of them is sent by itself.", no_args_is_help=True
    )
    group.command("list")(list_)
    group.command()(send)
    group.command()(drop)
    return group


def list_(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List what a 'radpost send' took without saying that this is all."""
    with opened(config) as site:
        rows = unfinished.listed(site)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ("job", "since", "partner", "studies", "objects", "size", "state"),
        [
            (
                row.job,
                moment(row.since),
                row.partner,
                row.studies,
                row.objects,
                size(row.bytes),
                "waits for you" if row.waits else "may be running",
            )
            for row in rows
        ],
        empty="nothing is unfinished",
    )


def send(job: Job, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Send what was taken, as it is: the partner gets a part of what was ordered."""
    with opened(config) as site:
        found = unfinished.send(site, job)
        running = wake(site.config)
    print(f"{found.objects} objects go to {found.partner}")
    if not running:
        print("No gateway runs here: it is done when you start 'radpost run'.")


def drop(
    job: Job,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Forget what was taken, to run the same 'radpost send' again; the files it was given stay."""
    with opened(config) as site:
        if not yes and not (sys.stdin.isatty() and typer.confirm(f"Drop what {job} has taken?")):
            raise RadpostError(BAD_COMMAND, "nothing was dropped; say --yes to drop it")
        found = unfinished.drop(site, job)
    print(f"{found.objects} objects for {found.partner} are dropped")
