"""Rows as frozen values, and statements that are compiled once.

SQLAlchemy's machinery around one execution costs ten times what SQLite needs for the statement, and a mail
takes some two hundred statements on its way. So the hot ones are built by SQLAlchemy when the module is
imported, compiled at their first use, and then handed to the driver as they are.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from sqlalchemy import Column, Connection, Executable, Table, bindparam, insert, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.schema import ScalarElementColumnDefault

T = TypeVar("T")
_KEY: Final = "where_"


class Row(msgspec.Struct, frozen=True):
    """A row that is read often: made by C, where a frozen dataclass sets one field after the other."""


@cache
def columns(table: Table, kind: type[Any]) -> tuple[Column[Any], ...]:
    """Return the columns of ``table`` that the fields of the row name, in their order."""
    names = kind.__struct_fields__ if issubclass(kind, Row) else [item.name for item in fields(kind)]
    return tuple(table.c[name] for name in names)


def one(connection: Connection, kind: Callable[..., T], statement: Executable, **values: object) -> T | None:
    """Run a select whose columns are the fields of ``kind``; return the first row or None."""
    row = connection.execute(statement, values or None).first()
    return None if row is None else kind(*row)


def many(connection: Connection, kind: Callable[..., T], statement: Executable, **values: object) -> list[T]:
    """Run a select whose columns are the fields of ``kind``; return all rows."""
    rows: Iterable[Any] = connection.execute(statement, values or None)
    return [kind(*row) for row in rows]


def raw(connection: Connection) -> Any:
    """Return the driver's own connection, without SQLAlchemy's wrapping of cursors."""
    return connection.connection.dbapi_connection


class _Compiled(NamedTuple):
    sql: str
    names: tuple[str, ...]
    """The parameters in the order of their places."""
    fixed: dict[str, Any]
    """Values that stand in the statement itself."""


class Statement:
    """A statement with named parameters, compiled at its first use.

    Beside a list (``in_``) the parameters must say ``required=False``: the list is written out then.
    """

    __slots__ = ("_clause", "_compiled")

    def __init__(self, clause: ClauseElement) -> None:
        self._clause = clause
        self._compiled: _Compiled | None = None

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Run it; return how many rows it changed."""
        return int(self._cursor(connection, values).rowcount)

    def run_for_id(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Run an insert; return the new row's id."""
        return int(self._cursor(connection, values).lastrowid)

    def run_all(self, connection: Connection, many: Sequence[Mapping[str, Any]]) -> None:
        """Run it for each set of values."""
        sql, names, fixed = self._compiled or self._compile(connection)
        places = [[row[name] if name in row else fixed[name] for name in names] for row in many]
        try:
            raw(connection).cursor().executemany(sql, places)
        except connection.dialect.loaded_dbapi.IntegrityError as error:
            raise IntegrityError(sql, None, error) from error

    def value(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        """Return the first column of the first row, or None."""
        row = self._cursor(connection, values).fetchone()
        return None if row is None else row[0]

    def _cursor(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        sql, names, fixed = self._compiled or self._compile(connection)
        places = [values[name] if name in values else fixed[name] for name in names]
        cursor = raw(connection).cursor()
        try:
            cursor.execute(sql, places)
        except connection.dialect.loaded_dbapi.IntegrityError as error:
            raise IntegrityError(sql, None, error) from error
        return cursor

    def _compile(self, connection: Connection) -> _Compiled:
        compiled = self._clause.compile(
            dialect=connection.dialect, compile_kwargs={"render_postcompile": True}
        )
        names = getattr(compiled, "positiontup", None)
        assert names is not None or not compiled.params, "the driver's parameters have places"
        found = _Compiled(str(compiled), tuple(names or ()), dict(compiled.params))
        self._compiled = found
        return found


class Query(Statement, Generic[T]):
    """A select whose columns are the fields of a value; columns must need no conversion (no booleans)."""

    __slots__ = ("_kind",)

    def __init__(self, kind: Callable[..., T], clause: ClauseElement) -> None:
        super().__init__(clause)
        self._kind = kind

    def one(self, connection: Connection, **values: object) -> T | None:
        """Return the first row or None."""
        row = self._cursor(connection, values).fetchone()
        return None if row is None else self._kind(*row)

    def many(self, connection: Connection, **values: object) -> list[T]:
        """Return all rows."""
        kind = self._kind
        return [kind(*row) for row in self._cursor(connection, values).fetchall()]

    def each(self, connection: Connection, **values: object) -> Generator[T, None, None]:
        """Yield the rows, one in memory at a time; what is selected from must not change meanwhile."""
        cursor = self._cursor(connection, values)
        try:
            for row in cursor:
                yield self._kind(*row)
        finally:
            cursor.close()


def add(connection: Connection, table: Table, values: Mapping[str, Any]) -> None:
    """Insert a row; columns that are not named get their defaults."""
    _insert(table, tuple(values)).run(connection, values)


def add_all(connection: Connection, table: Table, many: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that name the same columns."""
    if many:
        _insert(table, tuple(many[0])).run_all(connection, many)


def add_with_id(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    """Insert a row and return its new id."""
    # not by RETURNING: SQLite then looks through the tables that refer to this one
    return _insert(table, tuple(values)).run_for_id(connection, values)


def change(connection: Connection, table: Table, key: object, values: Mapping[str, Any]) -> None:
    """Store new values in the row with this id; a ``version`` is counted."""
    _update(table, tuple(values)).run(connection, {**values, _KEY: key})


def upsert(table: Table, *keys: str, keep: Sequence[str] = ()) -> Statement:
    """Return a statement that inserts a whole row, or replaces the one with these keys except ``keep``."""
    statement = sqlite_insert(table).values({column.name: bindparam(column.name) for column in table.columns})
    fixed = {*keys, *keep}
    changed = {
        column.name: statement.excluded[column.name] for column in table.columns if column.name not in fixed
    }
    return Statement(statement.on_conflict_do_update(index_elements=keys, set_=changed))


def insert_new(table: Table, *names: str) -> Statement:
    """Return a statement that inserts a row of these columns unless it is there."""
    values = {**_defaults(table), **{name: bindparam(name) for name in names}}
    return Statement(sqlite_insert(table).values(values).on_conflict_do_nothing())


@cache
def _insert(table: Table, names: tuple[str, ...]) -> Statement:
    values = {**_defaults(table), **{name: bindparam(name) for name in names}}
    return Statement(insert(table).values(values))


@cache
def _update(table: Table, names: tuple[str, ...]) -> Statement:
    # the key's parameter must not have the name of a column that is set
    assert _KEY not in names
    clause = update(table).where(table.c.id == bindparam(_KEY))
    counted = {"version": table.c.version + 1} if "version" in table.c else {}
    return Statement(clause.values({**counted, **{name: bindparam(name) for name in names}}))


def _defaults(table: Table) -> dict[str, Any]:
    """Return the fixed values of columns that a row may leave out."""
    return {
        column.name: column.default.arg
        for column in table.columns
        if isinstance(column.default, ScalarElementColumnDefault)
    }
