"""``radpost partner``: with whom we exchange, and how mails to each are written."""

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import typer

from radpost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    opened,
    print_facts,
    print_json,
    print_table,
)
from radpost.cli.key import print_imported
from radpost.errors import BAD_COMMAND, NOT_FOUND, RadpostError
from radpost.gateway import keyring
from radpost.gateway.config import MAX_PORT, Address, AeTitle, is_loopback
from radpost.gateway.faults import explain
from radpost.gateway.partners import (
    Partner,
    PartnerName,
    Route,
    Settings,
    Switches,
    encode,
    refuse_contradictions,
    with_dialect,
)
from radpost.gateway.phrases import say
from radpost.gateway.site import Site, wake
from radpost.openpgp.values import grouped
from radpost.store import partners as statements
from radpost.transfer.policy import default_policy
from radpost.words import Dialect, Language, SignaturePolicy

_ROUTE: Final = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]+):(?P<port>\d{1,5})(:(?P<security>tls|starttls|none))?"
)


def commands() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(help="Partners: whom we exchange with, and how.", no_args_is_help=True)
    group.command()(add)
    group.command("list")(list_)
    group.command()(show)
    return group


def add(
    name: Annotated[str, typer.Argument(help="A short name, such as 'klinik-b'.")],
    ae_title: Annotated[
        str, typer.Option("--ae-title", help="Studies sent to this AE title go to the partner.")
    ] = "",
    address: Annotated[str, typer.Option("--address", help="The partner's mail address.")] = "",
    title: Annotated[str, typer.Option("--title", help="The partner's full name.")] = "",
    key: Annotated[
        Path | None, typer.Option("--key", help="The partner's public OpenPGP key (file).")
    ] = None,
    fingerprint: Annotated[
        str,
        typer.Option(
            "--fingerprint", help="Confirms the key: the fingerprint that the partner told you by phone."
        ),
    ] = "",
    dialect: Annotated[
        str, typer.Option("--dialect", help="agit-1.1, agit-1.5 or radpost (another Radpost).")
    ] = "",
    policy: Annotated[str, typer.Option("--policy", help="Signatures: require, accept or ignore.")] = "",
    switch: Annotated[
        list[str] | None, typer.Option("--set", help="A switch of the dialect, NAME=VALUE; may be repeated.")
    ] = None,
    route: Annotated[
        str,
        typer.Option(
            "--route",
            help="Send to this server, not ours: HOST:PORT[:tls|starttls|none]; 'none': ours again.",
        ),
    ] = "",
    route_ca: Annotated[
        str, typer.Option("--route-ca", help="CA file that the server is checked against.")
    ] = "",
    destination: Annotated[
        list[str] | None,
        typer.Option("--destination", help="Destination for this partner's objects; may be repeated."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Add a partner, or change the given settings of one."""
    with opened(config) as site:
        language = site.config.institution.language
        existing = site.partners.named(name)
        settings = existing.settings if existing else Settings()
        if fingerprint and key is None:
            raise typer.BadParameter(
                "belongs to --key; else 'radpost key confirm'", param_hint="--fingerprint"
            )
        if dialect:
            settings = _with_dialect(settings, dialect, language)
        elif existing is None:
            settings = _with_dialect(settings, "agit-1.5", language)
        if policy:
            chosen = _convert(policy, SignaturePolicy, "--policy", language)
            settings = msgspec.structs.replace(settings, policy=chosen)
        settings = msgspec.structs.replace(
            settings,
            title=title or settings.title,
            switches=_switched(settings.switches, switch or [], language),
            route=_route(route, route_ca, language) if route else settings.route,
            destination=_destinations(site, destination) if destination else settings.destination,
        )
        refuse_contradictions(settings)
        known_ae_title, known_address = (existing.ae_title, existing.address) if existing else ("", "")
        row = statements.PartnerRow(
            name=_convert(name, PartnerName, "NAME", language),
            ae_title=_needed(ae_title or known_ae_title, AeTitle, "--ae-title", language),
            address=_needed(address or known_address, Address, "--address", language),
            settings=encode(settings),
            created_at=site.clock(),
        )
        _refuse_doubles(site, row)
        if key is not None:  # before anything is written: a wrong fingerprint must change nothing
            keyring.check_public(site, key, partner=name, fingerprint=fingerprint)
        with site.database.write() as connection:
            statements.put(connection, row)
        site.partners.forget()
        print(f"partner {name} {'changed' if existing else 'added'}: {row.ae_title} -> {row.address}")
        if key is not None:
            print_imported(keyring.import_public(site, key, partner=name, fingerprint=fingerprint))
        elif existing is None:
            print("No key yet: nothing can be sent. Next: radpost key import FILE --partner " + name)
        wake(site.config)


def list_(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List the partners."""
    with opened(config) as site:
        views = keyring.listed(site)
        found = [(partner, keyring.state_of(views, partner.name)) for partner in site.partners.all()]
    if as_json:
        print_json([_as_json(partner, state) for partner, state in found])
        return
    print_table(
        ("partner", "AE title", "address", "dialect", "signatures", "key"),
        [
            (p.name, p.ae_title, p.address, p.settings.dialect, p.settings.policy.value, state)
            for p, state in found
        ],
        empty="no partners; add one with 'radpost partner add'",
    )


def show(
    name: Annotated[str, typer.Argument(help="Name, AE title or address.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show one partner with all switches."""
    with opened(config) as site:
        partner = site.partners.by_name(name)
        views = [view for view in keyring.listed(site) if view.owner == partner.name]
        state = keyring.state_of(views, partner.name)
    if as_json:
        print_json(_as_json(partner, state))
        return
    print_facts(
        {
            "name": partner.name,
            "title": partner.settings.title,
            "AE title": partner.ae_title,
            "address": partner.address,
            "dialect": partner.settings.dialect,
            "signature policy": partner.settings.policy.value,
            "key": state,
            **{f"  {view.state}": grouped(view.fingerprint) for view in views},
            "route": _route_text(partner.settings.route),
            "destination": ", ".join(partner.settings.destination) or "by the configuration",
            **{f"  {key}": value for key, value in msgspec.structs.asdict(partner.switches).items()},
        }
    )


_Chosen = Literal["agit-1.1", "agit-1.5", "radpost"]


def _with_dialect(settings: Settings, dialect: str, language: Language) -> Settings:
    radpost = _convert(dialect, _Chosen, "--dialect", language) == "radpost"
    chosen = Dialect("agit-1.5" if radpost else dialect)
    policy = default_policy(announced_signing=False, radpost=radpost)
    switches = with_dialect(settings.switches, dialect)
    return msgspec.structs.replace(settings, dialect=chosen.value, policy=policy, switches=switches)


def _switched(switches: Switches, changes: list[str], language: Language) -> Switches:
    values = msgspec.to_builtins(switches)
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or name not in values:
            raise typer.BadParameter(f"'{change}': switches are {', '.join(values)}", param_hint="--set")
        values[name] = {"true": True, "false": False, "none": None}.get(text.lower(), text)
    switched: Switches = _convert(values, Switches, "--set", language, strict=False)
    return switched


def _route(text: str, ca: str, language: Language) -> Route | None:
    """Read HOST:PORT[:SECURITY]; ``none`` means our submission server again."""
    if text == "none":
        return None
    found = _ROUTE.fullmatch(text)
    if found is None or not 1 <= int(found["port"]) <= MAX_PORT:
        raise typer.BadParameter(f"'{text}': {say('wants-route', language)}", param_hint="--route")
    values = {
        "host": found["host"].strip("[]"),
        "port": int(found["port"]),
        "security": found["security"] or "starttls",
        "ca": ca,
    }
    route: Route = _convert(values, Route, "--route", language)
    if route.security == "none" and not is_loopback(route.host):
        raise typer.BadParameter(f"{text}: 'none' is allowed on loopback only", param_hint="--route")
    return route


def _route_text(route: Route | None) -> str:
    return "our submission server" if route is None else f"{route.host}:{route.port} ({route.security})"


def _destinations(site: Site, names: list[str]) -> tuple[str, ...]:
    known = [destination.name for destination in site.config.destination]
    for name in names:
        if name not in known:
            raise RadpostError(NOT_FOUND, f"destination '{name}'; the configuration has {', '.join(known)}")
    return tuple(names)


def _refuse_doubles(site: Site, row: statements.PartnerRow) -> None:
    for partner in site.partners.all():
        if partner.name == row.name:
            continue
        if partner.ae_title == row.ae_title:
            raise RadpostError(BAD_COMMAND, f"AE title {row.ae_title} belongs to partner {partner.name}")
        if partner.address == row.address.lower():
            raise RadpostError(BAD_COMMAND, f"address {row.address} belongs to partner {partner.name}")
    pacs = site.config.pacs
    if pacs is not None and row.ae_title == pacs.our_ae_title:
        raise RadpostError(BAD_COMMAND, f"AE title {row.ae_title} is our own, towards the PACS")
    if row.address.lower() == site.address.lower():
        raise RadpostError(BAD_COMMAND, f"{row.address} is our own address")


def _needed(value: str, kind: Any, what: str, language: Language) -> str:
    if not value:
        raise typer.BadParameter(say("new-partner-needs", language), param_hint=what)
    return str(_convert(value, kind, what, language))


def _convert(value: object, kind: Any, what: str, language: Language, *, strict: bool = True) -> Any:
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        said = explain(error, kind, language)
        said = f"'{value}': {said}" if isinstance(value, str) else said
        raise typer.BadParameter(said, param_hint=what) from error


def _as_json(partner: Partner, key_state: str) -> dict[str, object]:
    values: dict[str, object] = msgspec.to_builtins(partner)
    return {**values, "key": key_state}
