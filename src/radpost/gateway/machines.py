"""State of the pure machines to and from the text of a row; reasons are stored by their code."""

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from radpost.errors import INTERNAL, TABLE, RadpostError, Reason

T = TypeVar("T")


def dump(state: object) -> str:
    """Return the stored form of a frozen state."""
    return json.dumps(_plain(state), separators=(",", ":"))


def load(kind: type[T], text: str) -> T:
    """Return a state from its stored form; fields that are missing get their defaults."""
    try:
        value = _value(kind, json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RadpostError(INTERNAL, f"stored state of {kind.__name__} is damaged") from error
    assert isinstance(value, kind)
    return value


def _plain(value: object) -> object:
    if isinstance(value, Reason):
        return value.code
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(kind: Any, raw: Any) -> Any:  # noqa: PLR0911  one branch per kind of annotation
    if get_origin(kind) in (Union, UnionType):
        if raw is None:
            return None
        return _value(next(option for option in get_args(kind) if option is not NoneType), raw)
    if get_origin(kind) is tuple:
        return tuple(_value(get_args(kind)[0], item) for item in raw)
    if kind is Reason:
        return TABLE[raw]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(raw)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = _hints(kind)
        return kind(**{name: _value(hints[name], item) for name, item in raw.items() if name in hints})
    return float(raw) if kind is float else raw
