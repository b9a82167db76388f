"""The migrations make what ``schema.metadata`` says, and keep the data of every older schema."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from radpost.errors import STORE_UNUSABLE, RadpostError
from radpost.store.database import HEAD, Database
from radpost.store.migrate import configuration, upgrade
from radpost.store.schema import metadata

REVISIONS = [script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions()][
    ::-1
]


def structure(path: Path) -> dict[str, Any]:
    """Return columns, keys and indexes by table, as SQLite sees them."""
    found: dict[str, Any] = {}
    with sqlite3.connect(path) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            if table == "alembic_version":
                continue
            indexes = {}
            for _, name, unique, origin, partial in connection.execute(f"PRAGMA index_list('{table}')"):
                columns = [row[2] for row in connection.execute(f"PRAGMA index_info('{name}')")]
                key = name if origin == "c" else (origin, *columns)
                indexes[key] = (columns, unique, partial)
            found[table] = {
                "columns": {
                    row[1]: (row[2], row[3], row[5])
                    for row in connection.execute(f"PRAGMA table_info('{table}')")
                },
                "indexes": indexes,
                "foreign keys": sorted(
                    row[2:7] for row in connection.execute(f"PRAGMA foreign_key_list('{table}')")
                ),
            }
    connection.close()
    return found


def content(path: Path, tables: list[str]) -> dict[str, list[dict[str, object]]]:
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        found = {
            table: [dict(row) for row in connection.execute(f'SELECT * FROM "{table}"')] for table in tables
        }
    connection.close()
    return found


def test_fresh_database_is_what_the_tables_say(blank: Path, tmp_path: Path) -> None:
    """Fails when somebody changes ``schema.py`` without a migration, or the reverse."""
    plain = tmp_path / "plain.db"
    engine = create_engine(f"sqlite:///{plain}")
    metadata.create_all(engine)
    engine.dispose()
    made, wanted = structure(blank), structure(plain)
    assert sorted(made) == sorted(wanted)
    for table, parts in wanted.items():
        for part, value in parts.items():
            assert made[table][part] == value, f"{table}: {part} of migration and schema.py differ"


def test_alembic_sees_no_difference(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_head_is_named_in_the_code() -> None:
    assert ScriptDirectory.from_config(configuration()).get_heads() == [HEAD]
    assert REVISIONS[0] == "0001"


@pytest.mark.parametrize("revision", REVISIONS)
def test_upgrade_keeps_the_data_of_every_release(
    tmp_path: Path, blank: Path, filler: Callable[[Path], list[str]], revision: str
) -> None:
    """Build each schema there ever was, fill all its tables, upgrade to today's: the data are still there."""
    path = tmp_path / "old.db"
    old = Database(path)
    upgrade(old._engine, None, revision)
    old.close()
    tables = filler(path)
    before = content(path, tables)
    opened = Database(path).ready()
    assert opened.current_version() == HEAD
    opened.close()
    assert structure(path) == structure(blank)
    after = content(path, tables)
    for table, rows in before.items():
        assert len(after[table]) == len(rows), table
        for old_row, new_row in zip(rows, after[table], strict=True):
            kept = {name: value for name, value in new_row.items() if name in old_row}
            assert kept == {name: value for name, value in old_row.items() if name in new_row}, table


def test_newer_schema_is_refused_with_a_clear_sentence(database: Database) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(RadpostError, match=r"schema 9999 is of a newer Radpost") as caught:
        database.ready()
    assert caught.value.reason is STORE_UNUSABLE
    assert database.current_version() == "9999", "nothing was changed"


def test_a_failing_migration_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a migration is one transaction: power loss or an error in the middle leaves the old schema."""
    database = Database(tmp_path / "radpost.db")
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE window (x)")  # the last tables cannot be made now
    with pytest.raises(RadpostError):
        database.ready()
    assert database.current_version() is None
    assert sorted(structure(database.path)) == ["window"]
    database.close()


def test_ready_twice_is_one_migration(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("migrated again")

    monkeypatch.setattr(command, "upgrade", forbidden)
    assert database.ready() is database
