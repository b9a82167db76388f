"""``radpost retry``: send again what is not confirmed, deliver again what a destination refused."""

from dataclasses import asdict
from typing import Annotated

import typer

from radpost.cli.common import DEFAULT_CONFIG, ConfigOption, opened, print_json
from radpost.gateway import operating
from radpost.gateway.site import wake


def retry(
    transmission: Annotated[
        str, typer.Argument(help="SETID, its beginning, or the Study Instance UID.")
    ] = "",
    delivery: Annotated[
        str, typer.Option("--delivery", metavar="DESTINATION", help="Deliver again what it did not take.")
    ] = "",
    all_failed: Annotated[
        bool, typer.Option("--all-failed", help="All that failed: transmissions and deliveries.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Send again what of a transmission is not confirmed, never what is; or deliver again."""
    if sum(map(bool, (transmission, delivery, all_failed))) != 1:
        raise typer.BadParameter("name one: a transmission, --delivery DESTINATION, or --all-failed")
    with opened(config) as site:
        if transmission:
            done = operating.retry_transmission(site, transmission)
        elif delivery:
            done = operating.retry_destination(site, delivery)
        else:
            done = operating.retry_failed(site)
        running = wake(site.config)
    if as_json:
        print_json({**asdict(done), "gateway_runs": running})
        return
    if done.mails:
        print(f"ordered again: {done.mails} mails of {len(done.transmissions)} transmissions")
    if done.deliveries:
        print(f"ordered again: {done.deliveries} deliveries")
    if not done.mails and not done.deliveries:
        print("nothing to do again")
    if not running:
        print("No gateway runs here: it is done when you start 'radpost run'.")
