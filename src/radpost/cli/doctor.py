"""``radpost doctor``: tests every step and says what to do; ``--firewall`` prints rules for the firewall."""

import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated

import typer

from radpost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    configured,
    print_json,
    print_table,
    tell,
    told,
)
from radpost.errors import RadpostError
from radpost.gateway import doctor as steps
from radpost.gateway.config import Config
from radpost.gateway.doctor import Check
from radpost.gateway.firewall import Rule, rules
from radpost.gateway.site import open_site

_MARKS = {"ok": "ok", "warning": "WARNING", "failed": "FAILED"}
_COLOURS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "failed": typer.colors.RED}


def doctor(
    firewall: Annotated[
        bool, typer.Option("--firewall", help="Print the connections that a firewall must let pass.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Test every step of the way, and say what to do; exit status 1 if any failed."""
    values = configured(config)
    if firewall:
        _firewall(values, as_json=as_json)
        return
    checks: list[Check] = []
    with told(values.institution.language):
        for check in steps.examine(values, config):
            checks.append(check)
            if not as_json:
                _print(check)
    failed = sum(check.state == "failed" for check in checks)
    warnings = sum(check.state == "warning" for check in checks)
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        print(f"\n{len(checks)} steps: {failed} failed, {warnings} warnings")
    if failed:
        raise typer.Exit(1)


def _print(check: Check) -> None:
    mark = f"{_MARKS[check.state]:<8}"
    if sys.stdout.isatty():
        mark = typer.style(mark, fg=_COLOURS[check.state])
    print(f"{mark}{check.step + ':':<16}", end="")
    tell(f"{check.subject}: {check.found or check.state}")
    if check.remedy:
        code = f"{check.code}: " if check.code is not None else ""
        tell(f"{'':<8}{'':<16}-> {code}{check.remedy}")


def _firewall(values: Config, *, as_json: bool) -> None:
    site = None
    with suppress(RadpostError):  # before 'radpost init' there are no partners, but there is a configuration
        site = open_site(values)
    try:
        found = rules(values, site)
    finally:
        if site is not None:
            site.close()
    if as_json:
        print_json([asdict(rule) for rule in found])
        return
    name = values.institution.name
    print(f"Firewall rules for the Radpost gateway of {name} (all TCP; answers belong to the connection)\n")
    for title, direction in (("Outbound, from the gateway:", "out"), ("Inbound, to the gateway:", "in")):
        print(title)
        print_table(
            ("peer" if direction == "out" else "listens on", "port", "protocol", "TLS", "purpose"),
            [_row(rule) for rule in found if rule.direction == direction],
            empty="  none",
        )
        print()
    if any(rule.direction == "out" and not rule.local for rule in found):
        print("The gateway also asks the name server of its machine (DNS, port 53, UDP and TCP).")


def _row(rule: Rule) -> tuple[object, ...]:
    purpose = rule.purpose + (" (this machine only: no rule needed)" if rule.local else "")
    tls = {"tls": "from the first byte", "starttls": "required (STARTTLS)"}.get(rule.tls, rule.tls)
    return (rule.host, rule.port, rule.protocol, tls, purpose)
