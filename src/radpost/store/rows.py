"""Rows as frozen values: one generic way from a select to a dataclass."""

from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Executable, Table

T = TypeVar("T")


@cache
def columns(table: Table, kind: type[Any]) -> tuple[Column[Any], ...]:
    """Return the columns of ``table`` that the fields of the dataclass name, in their order."""
    return tuple(table.c[item.name] for item in fields(kind))


def one(connection: Connection, kind: Callable[..., T], statement: Executable, **values: object) -> T | None:
    """Run a select whose columns are the fields of ``kind``; return the first row or None."""
    row = connection.execute(statement, values or None).first()
    return None if row is None else kind(*row)


def many(connection: Connection, kind: Callable[..., T], statement: Executable, **values: object) -> list[T]:
    """Run a select whose columns are the fields of ``kind``; return all rows."""
    rows: Iterable[Any] = connection.execute(statement, values or None)
    return [kind(*row) for row in rows]
