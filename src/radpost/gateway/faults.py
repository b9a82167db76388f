"""What is wrong with a value that a person gave, in words with the remedy (DESIGN invariant 11).

The check of types says what it expected as a program does: a regular expression, a range. Here the same is
said of the type at that place, as a person reads it.
"""

import re
from enum import Enum
from typing import Any, Final

import msgspec
from msgspec import inspect

from radpost.gateway.phrases import say
from radpost.words import Language

_WHERE: Final = re.compile(r" - at `\$\.?(.*)`$")
_UNKNOWN: Final = re.compile(r"unknown field `([^`]*)`")
_MISSING: Final = re.compile(r"missing required field `([^`]*)`")
_STEP: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def explain(error: msgspec.ValidationError, kind: Any, language: Language) -> str:
    """Return where the fault is and what is wanted there; ``kind`` is what the value was to be."""
    text = str(error)
    where = _WHERE.search(text)
    path = where[1] if where else ""
    info = _at(inspect.type_info(kind), path)
    if unknown := _UNKNOWN.search(text):
        keys = [field.encode_name for field in info.fields] if isinstance(info, inspect.StructType) else []
        said = say("key-unknown", language).format(key=unknown[1], choices=", ".join(keys))
    elif missing := _MISSING.search(text):
        said = say("key-missing", language).format(key=missing[1])
    else:
        said = wanted(info, language)
    return f"{_place(path, language)}: {said}" if path else said


def wanted(info: inspect.Type, language: Language) -> str:
    """Say what a value of a type looks like."""
    key, values = "wants-text", {}
    match info:
        case inspect.Metadata(extra={"wants": str() as named}):
            key = named
        case inspect.Metadata():
            return wanted(info.type, language)
        case inspect.LiteralType(values=choices):
            key, values = "wants-one-of", {"choices": _listed(choices)}
        case inspect.EnumType(cls=cls):
            key, values = "wants-one-of", {"choices": _listed(tuple(cls))}
        case inspect.IntType(ge=low, le=high):
            bounds = "" if low is None else "-from" if high is None else "-between"
            key, values = f"wants-integer{bounds}", {"low": str(low), "high": str(high)}
        case inspect.FloatType(ge=least):
            key, values = "wants-number", {"low": f"{least or 0:g}"}
        case _:
            key = _PLAIN.get(type(info), key)
    return say(key, language).format(**values)


_PLAIN: Final[dict[type[inspect.Type], str]] = {
    inspect.BoolType: "wants-boolean",
    inspect.VarTupleType: "wants-list",
    inspect.StructType: "wants-table",
}


def _at(info: inspect.Type, path: str) -> inspect.Type:
    """Return the type at a path of the value, without None."""
    info = _plain(info)
    for step in _STEP.finditer(path):
        if step[1] is not None and isinstance(info, inspect.VarTupleType):
            info = _plain(info.item_type)
        elif isinstance(info, inspect.StructType):
            info = next((_plain(one.type) for one in info.fields if one.encode_name == step[2]), info)
    return info


def _plain(info: inspect.Type) -> inspect.Type:
    if isinstance(info, inspect.UnionType):
        return next(one for one in info.types if not isinstance(one, inspect.NoneType))
    return info


def _place(path: str, language: Language) -> str:
    """Return a path as a person counts: ``mailbox[0].kind`` is ``mailbox no. 1.kind``."""
    return re.sub(
        r"\[(\d+)\]",
        lambda found: " " + say("value-number", language).format(number=int(found[1]) + 1),
        path,
    )


def _listed(values: tuple[Any, ...]) -> str:
    return ", ".join(f"'{value.value if isinstance(value, Enum) else value}'" for value in values)
