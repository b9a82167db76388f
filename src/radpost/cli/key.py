"""``radpost key``: keys of ours and of partners; a key is used once a person confirmed its fingerprint."""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from radpost.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, moment, opened, print_json, tell
from radpost.errors import BAD_COMMAND, KEY_UNREADABLE, RadpostError
from radpost.gateway import keyring
from radpost.gateway.keyring import KeyView
from radpost.gateway.site import wake
from radpost.openpgp.values import grouped

PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="File with the passphrase; else it is asked for on a terminal."),
]


def commands() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(help="Keys: ours and those of partners.", no_args_is_help=True)
    group.command()(show)
    group.command("import")(import_)
    group.command()(export)
    group.command()(confirm)
    return group


def show(
    fingerprint: Annotated[
        str, typer.Argument(help="A fingerprint or its end (8 digits at least); all keys without.")
    ] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show the keys: whose, which fingerprint, confirmed or not."""
    with opened(config) as site:
        views = keyring.listed(site)
        if fingerprint:
            views = keyring.chosen(views, fingerprint)
    if as_json:
        print_json([asdict(view) for view in views])
        return
    if not views:
        print("no keys; 'radpost init' makes ours, 'radpost key import' takes a partner's")
    for view in views:
        print_key(view)


def import_(
    file: Annotated[Path, typer.Argument(help="The key, armored or binary.")],
    partner: Annotated[str, typer.Option("--partner", help="Whose key it is.")] = "",
    fingerprint: Annotated[
        str, typer.Option("--fingerprint", help="Confirms the key: told by the partner by phone.")
    ] = "",
    secret: Annotated[bool, typer.Option("--secret", help="A secret key: our own.")] = False,
    passphrase_file: PassphraseFile = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Import a partner's public key, or with --secret a key of our own."""
    if secret == bool(partner):
        raise typer.BadParameter("name the partner, or say --secret for our own key", param_hint="--partner")
    with opened(config) as site:
        if secret:
            phrase = _passphrase(
                passphrase_file, f"Passphrase of {file.name}", wanted=keyring.is_locked(file)
            )
            view = keyring.import_secret(site, file, passphrase=phrase)
        else:
            name = site.partners.by_name(partner).name
            view = keyring.import_public(site, file, partner=name, fingerprint=fingerprint)
        wake(site.config)
    print_imported(view)


def export(
    fingerprint: Annotated[str, typer.Argument(help="A fingerprint or its end; our own key without.")] = "",
    secret: Annotated[
        bool, typer.Option("--secret", help="Our secret key, protected by a passphrase.")
    ] = False,
    unprotected: Annotated[
        bool, typer.Option("--unprotected", help="With --secret: without passphrase.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file instead of standard output.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Export a key, armored: ours to give to partners, or with --secret for safe keeping."""
    with opened(config) as site:
        if secret:
            phrase = _passphrase(passphrase_file, "New passphrase", wanted=not unprotected, repeat=True)
            data = keyring.export_secret(site, fingerprint, passphrase=phrase)
        else:
            data = keyring.export_public(site, fingerprint)
        if output is not None:
            _write(output, data)
    if output is None:
        sys.stdout.write(data.decode("ascii"))
    else:
        print(f"written: {output}", file=sys.stderr)


def confirm(
    fingerprint: Annotated[
        str, typer.Argument(help="All 40 digits, as the partner tells them; blanks may stand between.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Confirm a key whose fingerprint you compared with its owner, by phone or in person."""
    with opened(config) as site:
        view = keyring.confirm(site, fingerprint)
        wake(site.config)
    print_imported(view)


def print_key(view: KeyView) -> None:
    """Print one key."""
    print(f"{view.owner}: {grouped(view.fingerprint)}")
    for user_id in view.user_ids:
        tell(f"    {user_id}")
    how = f" ({view.confirmed_how}, {moment(view.confirmed_at)})" if view.confirmed_at else ""
    until = f"expires {view.expires[:10]}" if view.expires else "does not expire"
    print(f"    {view.state}{how}; {view.algorithm}, made {view.created[:10]}, {until}")
    if view.problems:
        print(f"    remarks: {', '.join(view.problems)}")


def print_imported(view: KeyView) -> None:
    """Print a key that was just taken or confirmed, and what is to be done next."""
    print_key(view)
    if view.state == "not confirmed":
        print(
            "The key is imported but NOT used yet. Compare the fingerprint with the partner by phone, then:\n"
            f"  radpost key confirm {view.fingerprint}"
        )


def _passphrase(path: Path | None, question: str, *, wanted: bool, repeat: bool = False) -> str | None:
    """Return a passphrase from a file, or ask for it where somebody can be asked."""
    if path is not None:
        try:
            return path.read_text(encoding="utf-8").strip("\r\n")
        except OSError as error:
            raise RadpostError(KEY_UNREADABLE, f"{path}: {error.strerror}") from error
    if not wanted:
        return None
    if not sys.stdin.isatty():
        raise RadpostError(BAD_COMMAND, "a passphrase is needed: give --passphrase-file FILE")
    return str(typer.prompt(question, hide_input=True, confirmation_prompt=repeat))


def _write(path: Path, data: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise RadpostError(BAD_COMMAND, f"{path}: {error.strerror}; it is not overwritten") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
