"""``radpost init``: one commented TOML file, the data directory, and the institution's key."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from radpost.cli.common import told
from radpost.errors import BAD_COMMAND, CONFIG_INVALID, RadpostError
from radpost.gateway import keyring
from radpost.gateway.config import Address, load
from radpost.gateway.faults import explain
from radpost.gateway.site import open_site
from radpost.gateway.template import Answers, render
from radpost.openpgp.keys import KeyKind
from radpost.openpgp.values import grouped
from radpost.words import Language

FILE_NAME = "radpost.toml"


def init(
    directory: Annotated[
        Path, typer.Argument(help="Where to write radpost.toml; made if it is missing.")
    ] = Path(),
    name: Annotated[str, typer.Option("--name", help="The institution's name, as partners see it.")] = "",
    address: Annotated[str, typer.Option("--address", help="The mail address that partners write to.")] = "",
    mail_host: Annotated[
        str, typer.Option("--mail-host", help="Name of the mail server [mail. and the address's domain].")
    ] = "",
    language: Annotated[
        Language | None, typer.Option("--language", help="Language of messages to people [en].")
    ] = None,
    kind: Annotated[
        Literal["imap", "pop3"] | None, typer.Option("--kind", help="How the mailbox is fetched [imap].")
    ] = None,
    algorithm: Annotated[
        KeyKind, typer.Option("--algorithm", help="Kind of the key: every partner can use rsa3072.")
    ] = KeyKind.RSA3072,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; take the defaults.")] = False,
) -> None:
    """Write the configuration, make the data directory and the institution's key."""
    asks = sys.stdin.isatty() and sys.stdout.isatty() and not yes
    name = name or _ask("The institution's name", "--name", asks=asks)
    address = address or _ask("The mail address that partners write to", "--address", asks=asks)
    _check_address(address, language or "en")
    with told(language or "en"):
        host = "mail." + address.rpartition("@")[2]
        if not mail_host:
            mail_host = _ask("The mail server", "--mail-host", asks=asks, default=host)
        if language is None and asks:
            language = (
                "de" if _ask("Language (en, de)", "--language", asks=asks, default="en") == "de" else "en"
            )
        if kind is None and asks:
            answer = _ask("Mailbox (imap, pop3)", "--kind", asks=asks, default="imap")
            kind = "pop3" if answer == "pop3" else "imap"
        answers = Answers(name, address, mail_host, language or "en", kind or "imap")
        path = _write(directory, render(answers))
        fingerprint = _make(path, algorithm)
    _say(path, fingerprint)


def _ask(question: str, option: str, *, asks: bool, default: str = "") -> str:
    """Ask on a terminal; elsewhere what has no default is wrong usage."""
    if asks:
        return str(typer.prompt(question, default=default or None))
    if default:
        return default
    raise typer.BadParameter("is needed (nobody can be asked here)", param_hint=option)


def _check_address(address: str, language: Language) -> None:
    try:
        msgspec.convert(address, Address)
    except msgspec.ValidationError as error:
        said = f"'{address}': {explain(error, Address, language)}"
        raise typer.BadParameter(said, param_hint="--address") from error


def _write(directory: Path, text: str) -> Path:
    """Write the file private to its owner; what exists is never overwritten."""
    path = directory / FILE_NAME
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise RadpostError(BAD_COMMAND, f"{path} exists; it is not overwritten") from error
    except OSError as error:
        raise RadpostError(CONFIG_INVALID, f"{path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _make(path: Path, algorithm: KeyKind) -> str:
    """Make store and key; if that fails nothing is left that would stop the next try."""
    try:
        site = open_site(load(path), create=True)
        try:
            own = [view for view in keyring.listed(site) if view.owner == "own" and view.usable]
            return own[0].fingerprint if own else keyring.generate(site, algorithm)
        finally:
            site.close()
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _say(path: Path, fingerprint: str) -> None:
    option = "" if path.parent.resolve() == Path.cwd() else f" --config {path}"
    print(f"written: {path} (configuration), {path.parent / 'data'} (database and spool)")
    print(f"the institution's key: {grouped(fingerprint)}")
    print(
        f"""
Next:
  1. put the mailbox password into {path.parent / "mail-password"} (chmod 600)
  2. look through {path}: stations that may send, destinations of what is received
  3. radpost doctor{option}                      tests every step
  4. radpost key export{option} > our-key.asc    give it to each partner, tell the fingerprint by phone
  5. radpost partner add NAME{option} --ae-title AE --address MAIL --key FILE --fingerprint FPR
  6. radpost run{option}"""
    )
