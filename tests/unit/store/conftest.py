"""A migrated database and an empty spool, new for every test."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from radpost.store.database import Database
from radpost.store.spool import Spool


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as the migrations make it; migrating takes too long to do it for every test."""
    path = tmp_path_factory.mktemp("blank") / "radpost.db"
    Database(path).ready().close()
    return path


@pytest.fixture
def database(blank: Path, tmp_path: Path) -> Iterator[Database]:
    """An empty database at the newest schema."""
    path = tmp_path / "radpost.db"
    shutil.copyfile(blank, path)
    opened = Database(path)
    yield opened
    opened.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """An empty spool."""
    made = Spool(tmp_path / "spool")
    made.prepare()
    return made


def fill(path: Path) -> list[str]:
    """Put one row into every table of whatever schema is there; return the tables.

    Keys and what is indexed are ``x`` or 1, so that references fit; other text is the name of its column.
    """
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        tables = [
            str(row[0])
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if row[0] != "alembic_version"
        ]
        for table in tables:
            keys = {row[3] for row in connection.execute(f"PRAGMA foreign_key_list('{table}')")}
            for index in connection.execute(f"PRAGMA index_list('{table}')").fetchall():
                keys |= {row[2] for row in connection.execute(f"PRAGMA index_info('{index[1]}')")}
            columns = connection.execute(f"PRAGMA table_info('{table}')").fetchall()
            values = [_value(str(row[2]), str(row[1]), key=row[1] in keys or row[5] > 0) for row in columns]
            names = ", ".join(f'"{row[1]}"' for row in columns)
            marks = ", ".join("?" * len(columns))
            connection.execute(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', values)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == [], "references fit each other"
    connection.close()
    return tables


def _value(kind: str, column: str, *, key: bool) -> object:
    if kind.startswith(("VARCHAR", "TEXT")):
        return "x" if key else column
    return {"INTEGER": 1, "FLOAT": 1.5, "BOOLEAN": 1, "BLOB": b"x"}[kind]


@pytest.fixture
def filler() -> Callable[[Path], list[str]]:
    """The function that puts a row into every table."""
    return fill


@pytest.fixture(scope="session")
def filled(blank: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database with one row in every table; for all tests together, so they take back what they do."""
    path = tmp_path_factory.mktemp("filled") / "radpost.db"
    shutil.copyfile(blank, path)
    fill(path)
    opened = Database(path)
    yield opened
    opened.close()
