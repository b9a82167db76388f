"""The command ``radpost``: one file per command, read like a table of contents."""

import sys
from collections.abc import Callable

import typer

from radpost.errors import RadpostError


def app() -> typer.Typer:
    """Return the whole command line."""
    from radpost.cli import (  # noqa: PLC0415  each command is imported when it is asked for
        demo,
        doctor,
        init,
        key,
        partner,
        quarantine,
        retry,
        run,
        send,
        show,
        status,
    )

    root = typer.Typer(
        name="radpost",
        help="Radiology studies by encrypted e-mail.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for command in (init.init, run.run, demo.demo, send.send, status.status, show.show, retry.retry):
        root.command()(command)
    for name, group in (
        ("quarantine", quarantine.commands()),
        ("partner", partner.commands()),
        ("key", key.commands()),
    ):
        root.add_typer(group, name=name)
    root.command()(doctor.doctor)
    return root


def main() -> None:
    """Run the command line; exit status 0 done, 1 refused or failed with a reason, 2 wrong usage."""
    sys.exit(guarded(app()))


def guarded(command: Callable[[], object]) -> int:
    """Run a command; a failure with a reason becomes one clear line and exit status 1."""
    try:
        command()
    except RadpostError as error:
        detail = f" ({error.detail})" if error.detail else ""
        print(f"radpost: {error.reason.code} {error.reason.name}: {error.reason.en}{detail}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("radpost: interrupted", file=sys.stderr)
        return 1
    return 0
