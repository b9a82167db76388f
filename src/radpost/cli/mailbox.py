"""``radpost mailbox``: what lies in our mailboxes and is not ours."""

from dataclasses import asdict

import typer

from radpost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    moment,
    opened,
    print_json,
    print_table,
)
from radpost.gateway import mailboxes


def commands() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(help="Mailboxes: mails in them that are not ours.", no_args_is_help=True)
    group.command("list")(list_)
    # with one command only, typer would make the group that command
    group.callback()(lambda: None)
    return group


def list_(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List the mails that stay in a mailbox, or were moved, because they are not ours.

    A mail that is gone from the server stays in the list for a week.
    """
    with opened(config) as site:
        found = mailboxes.staying(site)
    if as_json:
        print_json([asdict(mail) for mail in found])
        return
    print_table(
        ("mailbox", "folder", "from", "date", "Message-ID", "mail", ""),
        [
            (
                mail.mailbox,
                mail.folder,
                mail.from_address or "?",
                moment(mail.sent_at),
                mail.message_id,
                mail.mail,
                ", ".join(
                    word
                    for word, holds in (("moved", mail.moved), ("also in quarantine", mail.in_quarantine))
                    if holds
                ),
            )
            for mail in found
        ],
        empty="no mail stays in a mailbox",
    )
