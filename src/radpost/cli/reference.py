"""``docs/reference/commands.md``, written from the commands: ``python -m radpost.cli.reference``."""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

from radpost.cli import COMMANDS

_HEAD = """\
# Commands

Written from the commands themselves (`python -m radpost.cli.reference`); a test holds it to them.

Commands take `--config FILE` (`-c`); the default is `radpost.toml` in the present folder, or what the
environment variable `RADPOST_CONFIG` names; `init`, `demo`, `pack` and `conformance` need none. Every
listing takes `--json`.

Exit status: 0 done, 1 refused or failed with a reason on standard error, 2 wrong usage. Reasons have codes,
which stand in `radpost status`, `radpost show` and receipts too: see [the table of reasons](reasons.md).
"""


def render() -> str:
    """Return the whole page."""
    return _HEAD + "".join(_section(name) for name in COMMANDS)


def _section(name: str) -> str:
    module = importlib.import_module(f"radpost.cli.{name}")
    if not hasattr(module, "commands"):
        return _command(getattr(module, name), f"radpost {name}", 2)
    group = module.commands()
    text = f"\n## radpost {name}\n\n{group.info.help}\n"
    for info in group.registered_commands:
        text += _command(info.callback, f"radpost {name} {info.name or info.callback.__name__}", 3)
    return text


def _command(function: Callable[..., None], words: str, level: int) -> str:
    hints = get_type_hints(function, include_extras=True)
    rows, arguments = [], []
    for name, parameter in inspect.signature(function).parameters.items():
        kind, info = _split(hints[name])
        needed = (
            parameter.default in {inspect.Parameter.empty, ...} if _hashable(parameter.default) else False
        )
        if isinstance(info, ArgumentInfo):
            word = (info.metavar or name.strip("_")).upper() + ("..." if get_origin(kind) is list else "")
            arguments.append(word if needed else f"[{word}]")
            rows.append(f"| `{word}` | {_cell(info.help)} |")
        elif name != "config":
            rows.append(_option(info, kind, parameter.default, needed=needed))
    lines = [f"\n{'#' * level} {words}\n", _prose(function.__doc__), ""]
    lines += ["```", " ".join([words, *arguments, "[OPTIONS]"]), "```", ""]
    if rows:
        lines += ["| Argument or option | Meaning |", "| --- | --- |", *rows]
    return "\n".join(lines).rstrip("\n") + "\n"


def _option(info: OptionInfo, kind: Any, default: object, *, needed: bool) -> str:
    # in an annotation typer keeps the first name of an option where its default would stand
    names = ", ".join(
        f"`{name}`" for name in (info.default, *(info.param_decls or ())) if isinstance(name, str)
    )
    value = info.metavar or " or ".join(f"`{one}`" for one in _choices(kind))
    plain = getattr(default, "value", default)
    shown = not needed and plain not in (None, "", False)
    meaning = _cell(info.help) + (f" Default: `{plain}`." if shown else "") + (" Needed." if needed else "")
    return f"| {names}{f' {value}' if value else ''} | {meaning} |"


def _split(hint: Any) -> tuple[Any, Any]:
    """Return the type, without None, and typer's description of a parameter."""
    kind, info = get_args(hint)[:2] if get_origin(hint) is Annotated else (hint, None)
    if get_origin(kind) is UnionType:
        kind = next(one for one in get_args(kind) if one is not NoneType)
    return kind, info


def _choices(kind: Any) -> Iterator[str]:
    if get_origin(kind) is Literal:
        yield from map(str, get_args(kind))
    elif isinstance(kind, type) and issubclass(kind, Enum):
        yield from (str(one.value) for one in kind)


def _hashable(value: object) -> bool:
    return not isinstance(value, (list, dict, set))


def _prose(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(render())
