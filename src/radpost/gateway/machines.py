"""State of the pure machines to and from the text of a row; reasons are stored by their code.

A mail's state is read and written a dozen times on its way. So what its class asks for (which fields are
enums, reasons, tuples, other states) is found once, and C reads and writes the JSON.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from radpost.errors import INTERNAL, TABLE, RadpostError, Reason

T = TypeVar("T")
_Convert = Callable[[Any], Any]
_READ: Final = msgspec.json.Decoder()
_WRITE: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class _Codec:
    """How the fields of one class are stored."""

    names: tuple[str, ...]
    known: frozenset[str]
    values: Callable[[Any], tuple[Any, ...]]
    """All fields of a state, in the order of the names."""
    into: tuple[tuple[str, _Convert], ...]
    """Fields whose stored form is not their value."""
    out: tuple[tuple[str, _Convert], ...]


def dump(state: object) -> str:
    """Return the stored form of a frozen state."""
    return _WRITE.encode(_plain(state)).decode()


def load(kind: type[T], text: str) -> T:
    """Return a state from its stored form; fields that are missing get their defaults."""
    try:
        value = _state(kind, _READ.decode(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RadpostError(INTERNAL, f"stored state of {kind.__name__} is damaged") from error
    assert isinstance(value, kind)
    return value


def _plain(state: object) -> dict[str, Any]:
    kind: Any = type(state)
    codec = _codec(kind)
    found = dict(zip(codec.names, codec.values(state), strict=True))
    for name, convert in codec.out:
        if (value := found[name]) is not None:
            found[name] = convert(value)
    return found


def _state(kind: Any, raw: dict[str, Any]) -> Any:
    codec = _codec(kind)
    if not codec.known.issuperset(raw):
        raw = {name: value for name, value in raw.items() if name in codec.known}
    for name, convert in codec.into:
        if (value := raw.get(name)) is not None:
            raw[name] = convert(value)
    return kind(**raw)


@cache
def _codec(kind: type[Any]) -> _Codec:
    hints = get_type_hints(kind)
    names = tuple(item.name for item in fields(kind))
    getter = attrgetter(*names)
    into = ((name, _into(hints[name])) for name in names)
    out = ((name, _out(hints[name])) for name in names)
    return _Codec(
        names=names,
        known=frozenset(names),
        values=getter if len(names) > 1 else lambda state: (getter(state),),
        into=tuple((name, convert) for name, convert in into if convert is not None),
        out=tuple((name, convert) for name, convert in out if convert is not None),
    )


def _into(kind: Any) -> _Convert | None:
    """Return what makes a value of this annotation from its stored form, None if they are the same."""
    kind = _present(kind)
    if get_origin(kind) is tuple:
        item = _into(get_args(kind)[0])
        return tuple if item is None else lambda raw: tuple(map(item, raw))
    if kind is Reason:
        return TABLE.__getitem__
    if kind is float or (isinstance(kind, type) and issubclass(kind, Enum)):
        return kind
    if is_dataclass(kind):
        return lambda raw: _state(kind, raw)
    return None


def _out(kind: Any) -> _Convert | None:
    """Return what makes the stored form of a value of this annotation, None if they are the same."""
    kind = _present(kind)
    if get_origin(kind) is tuple:
        item = _out(get_args(kind)[0])
        return None if item is None else lambda value: [*map(item, value)]
    if kind is Reason:
        return attrgetter("code")
    if isinstance(kind, type) and issubclass(kind, Enum):
        return attrgetter("value")
    return _plain if is_dataclass(kind) else None


def _present(kind: Any) -> Any:
    """Return what an annotation says of a value that is not None."""
    if get_origin(kind) in (Union, UnionType):
        return next(option for option in get_args(kind) if option is not NoneType)
    return kind
