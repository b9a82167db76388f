"""The command ``radpost``: one file per command, read like a table of contents."""

import importlib
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from radpost.errors import RadpostError

COMMANDS = (
    "init",
    "run",
    "demo",
    "send",
    "status",
    "show",
    "retry",
    "unfinished",
    "quarantine",
    "mailbox",
    "alarm",
    "partner",
    "key",
    "open",
    "pack",
    "check",
    "doctor",
    "conformance",
)
"""In the order in which a person needs them; each is imported when it is asked for."""


class _Commands(TyperGroup):
    """Finds a command in the module of its name: a function, or a group made by ``commands()``."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the names in their order."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Return a command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"radpost.cli.{cmd_name}")
        if hasattr(module, "commands"):
            group: typer.Typer = module.commands()
            command = typer.main.get_command(group)
        else:
            single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            single.command(cmd_name)(getattr(module, cmd_name))
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command


def app() -> typer.Typer:
    """Return the whole command line."""
    root = typer.Typer(
        name="radpost",
        cls=_Commands,
        help="Radiology studies by encrypted e-mail.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    root.callback()(lambda: None)
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
        line = f"radpost: {error.reason.code} {error.reason.name}: {error.reason.en}{detail}"
        print("".join(mark if mark.isprintable() else " " for mark in line), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("radpost: interrupted", file=sys.stderr)
        return 1
    return 0
