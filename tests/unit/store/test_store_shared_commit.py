"""Threads that wait for each other share one commit; a failed one loses nothing of the others (DESIGN 5)."""

import sqlite3
import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from radpost.errors import STORE_UNUSABLE, RadpostError
from radpost.store import database as module
from radpost.store import journal
from radpost.store.database import Database

Work = Callable[[Connection], None]


def note(name: str) -> Work:
    return lambda connection: journal.remember(connection, name, "1", 1.0)


def all_at_once(database: Database, works: list[Work]) -> tuple[list[BaseException | None], list[str]]:
    """Let the first hold the lock until all others stand in line; return the errors and the commands."""
    errors: list[BaseException | None] = [None] * len(works)
    commands: list[str] = []
    inside = threading.Event()

    def run(number: int) -> None:
        try:
            with database.write() as connection:
                if number == 0:
                    driver = connection.connection.driver_connection
                    assert driver is not None
                    driver.set_trace_callback(commands.append)
                    inside.set()
                    while database._waiting < len(works) - 1:
                        time.sleep(0.001)
                works[number](connection)
        except (RadpostError, KeyError) as error:
            errors[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    threads[0].start()
    inside.wait()
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return errors, commands


def known(database: Database, names: str) -> str:
    with database.read() as connection:
        return "".join(name for name in names if journal.recall(connection, name))


def test_one_commit_for_all_who_wait(database: Database) -> None:
    errors, commands = all_at_once(database, [note(name) for name in "abcdef"])
    assert errors == [None] * 6
    assert commands.count("COMMIT") == 1
    assert known(database, "abcdef") == "abcdef"


def test_none_returns_before_the_commit(database: Database) -> None:
    seen: list[str] = []

    def look(connection: Connection) -> None:
        note("b")(connection)
        seen.append(known(database, "ab"))

    errors, _ = all_at_once(database, [note("a"), look])
    assert errors == [None, None]
    assert seen == [""], "what is not committed is not seen"
    assert known(database, "ab") == "ab"


def test_a_failed_member_takes_back_its_own_work_only(database: Database) -> None:
    def fail(connection: Connection) -> None:
        note("x")(connection)
        raise KeyError

    errors, commands = all_at_once(database, [note("a"), fail, note("b"), fail, note("c")])
    assert sorted(type(error).__name__ for error in errors if error) == ["KeyError", "KeyError"]
    assert "ROLLBACK TO member" in commands
    assert known(database, "abcx") == "abc"


def test_the_first_may_fail_too(database: Database) -> None:
    def fail(connection: Connection) -> None:
        note("x")(connection)
        raise KeyError

    errors, _ = all_at_once(database, [fail, note("a"), note("b")])
    assert isinstance(errors[0], KeyError)
    assert errors[1:] == [None, None]
    assert known(database, "abx") == "ab"


def test_a_lost_transaction_is_told_to_all_its_members(database: Database) -> None:
    def lose(connection: Connection) -> None:
        note("x")(connection)
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute("ROLLBACK")  # as SQLite itself does when the disk is full
        raise sqlite3.OperationalError("disk I/O error")

    errors, _ = all_at_once(database, [note("a"), lose])
    assert [isinstance(error, RadpostError) and error.reason is STORE_UNUSABLE for error in errors] == [
        True
    ] * 2
    assert known(database, "ax") == ""
    with database.write() as connection:
        note("after")(connection)


def test_a_failed_commit_is_told_to_all_its_members(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = module._run

    def broken(connection: Connection, command: str) -> None:
        if command == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        run(connection, command)

    monkeypatch.setattr(module, "_run", broken)
    errors, _ = all_at_once(database, [note("a"), note("b"), note("c")])
    assert all(isinstance(error, RadpostError) for error in errors)
    monkeypatch.undo()
    assert known(database, "abc") == ""


def test_writing_inside_of_writing_is_a_mistake(database: Database) -> None:
    with database.write(), pytest.raises(AssertionError), database.write():
        pass
