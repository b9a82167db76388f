"""``radpost check``: which rules a mail keeps, bends or breaks, and how its sender mends it."""

from pathlib import Path
from typing import Annotated

import typer

from radpost.cli.plain import JsonOption, LangOption, language_of, print_json, printable, told
from radpost.mails.checking.api import check as check_mails
from radpost.mails.checking.results import document
from radpost.mails.checking.text import render


def check(
    mails: Annotated[
        list[str],
        typer.Argument(
            metavar="MAIL", help="Mails: .eml files, an mbox, a Maildir, a folder, - (stdin); fragments too."
        ),
    ],
    secret: Annotated[
        list[Path] | None,
        typer.Option("--secret", metavar="FILE", help="The receiver's secret OpenPGP key; may be repeated."),
    ] = None,
    certs: Annotated[
        list[Path] | None,
        typer.Option("--certs", metavar="FILE", help="A sender's public OpenPGP key; may be repeated."),
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", metavar="FILE", help="The secret key's passphrase.")
    ] = None,
    lang: LangOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check mails against @GIT 1.1r, DICOM's parts on e-mail, and the standards of mail, without a gateway.

    Says what a mail claims to be, then each rule it breaks or bends: the clause, the place, what a receiver
    does with it, and how the sender mends it. With --secret the inside is checked, too. Rules that are known
    from the field only are marked unconfirmed and decide nothing. The exit status is 1 if a rule is broken.
    """
    spoken = lang or language_of()
    with told(spoken):
        found = check_mails(mails, secrets=secret or (), certs=certs or (), passphrase_file=passphrase_file)
    if as_json:
        print_json(document(found, spoken))
    else:
        for mail in found:
            print("\n".join(printable(line) for line in render(mail, spoken).split("\n")))
    if not all(mail.good for mail in found):
        raise typer.Exit(1)
