"""``radpost quarantine``: what could not be processed waits here, whole, with its reason."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from radpost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    moment,
    opened,
    print_facts,
    print_json,
    print_table,
    printable,
    size,
    tell,
)
from radpost.errors import BAD_COMMAND, RadpostError
from radpost.gateway import operating
from radpost.gateway.site import wake

Number = Annotated[int, typer.Argument(help="The entry's number in 'radpost quarantine list'.")]


def commands() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(help="Quarantine: mails that could not be processed.", no_args_is_help=True)
    group.command("list")(list_)
    group.command()(show)
    group.command()(replay)
    group.command()(drop)
    return group


def list_(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List what waits for a person."""
    with opened(config) as site:
        rows = operating.quarantine(site)
        language = site.config.institution.language
    if as_json:
        print_json([{**asdict(row), "reason": operating.reason_of(row.code).name} for row in rows])
        return
    print_table(
        ("no.", "since", "from", "size", "code", "reason"),
        [
            (
                row.id,
                moment(row.created_at),
                row.partner or row.from_address or "?",
                size(row.size),
                row.code,
                operating.reason_of(row.code).sentence(language),
            )
            for row in rows
        ],
        empty="the quarantine is empty",
    )


def show(
    number: Number,
    raw: Annotated[
        Path | None, typer.Option("--raw", metavar="FILE", help="Copy the raw mail to this new file.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show one entry: reason, headers of the outside, and where the raw mail is."""
    with opened(config) as site:
        view = operating.quarantined(site, number)
        language = site.config.institution.language
        if raw is not None:
            operating.raw(site, number, raw)
    if as_json:
        print_json({**asdict(view), "raw": str(raw) if raw else None})
        return
    reason = operating.reason_of(view.code)
    print(f"{reason.code} {reason.name} (to act: {reason.side.value})")
    print(f"  {reason.sentence(language)}")
    if view.detail:
        tell(f"  {view.detail}")
    print()
    print_facts(
        {
            "entry": view.id,
            "mail": f"{view.arrival} (radpost show {view.arrival})" if view.arrival else "",
            "partner": view.partner or "unknown",
            "from": view.from_address,
            "size": size(view.size),
            "since": moment(view.created_at),
            "receipt": _told(view),
            "raw mail": view.file,
        }
    )
    print("\nheaders of the outside:")
    for name, value in view.headers:
        tell(f"  {name}: {value}")
    if raw is not None:
        print(f"\ncopied to {raw}; it may hold patient data")


def replay(
    number: Annotated[int | None, typer.Argument(help="The entry's number.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All entries.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Process a mail again after the cause is mended: a key confirmed, a partner added, a switch set."""
    if (number is None) != all_:
        raise typer.BadParameter("name an entry, or say --all")
    failed = False
    with opened(config) as site:
        numbers = [row.id for row in operating.quarantine(site)] if number is None else [number]
        for entry in numbers:
            try:
                print(f"entry {entry}: {operating.replay(site, entry)} is processed again")
            except RadpostError as error:
                if number is not None:
                    raise
                failed = True
                tell(f"entry {entry}: {error.detail}")
        if not numbers:
            print("the quarantine is empty")
        elif not wake(site.config):
            print("No gateway runs here: it is done when you start 'radpost run'.")
    if failed:
        raise typer.Exit(1)


def drop(
    number: Number,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Throw a mail away for good; 'radpost quarantine show' says whether its sender was told."""
    with opened(config) as site:
        view = operating.quarantined(site, number)
        if not yes and not _sure(view):
            raise RadpostError(BAD_COMMAND, "nothing was dropped; say --yes to drop it")
        operating.drop(site, number)
    print(f"entry {number} is dropped; receipt: {_told(view)}")


def _sure(view: operating.Quarantined) -> bool:
    """Ask on a terminal; where nobody can be asked, nothing is dropped."""
    sender = printable(view.from_address) or "an unknown sender"
    question = f"Drop the mail from {sender} for good? (receipt: {_told(view)})"
    return sys.stdin.isatty() and typer.confirm(question)


def _told(view: operating.Quarantined) -> str:
    """Return what the sender was told: strangers, fragments and mails that did not ask have no receipt."""
    return "; ".join(view.receipts) or "none, the sender was not told"
