"""The log names kinds and places of faults, never their texts."""

import logging
import sys
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
import structlog
from sqlalchemy.exc import IntegrityError

from radpost.errors import DISK_FULL, RadpostError
from radpost.gateway import log
from radpost.store.database import Database

PATIENT = "Geheimmann^Ottokar"


@pytest.fixture
def said() -> Iterator[StringIO]:
    """What the log says; the process-wide settings are put back after each test."""
    root = logging.getLogger()
    handlers, level, stderr = root.handlers[:], root.level, sys.stderr
    hooks, raising = (threading.excepthook, sys.excepthook), logging.raiseExceptions
    sys.stderr = stream = StringIO()
    try:
        log.configure()
        yield stream
    finally:
        sys.stderr = stderr
        root.handlers[:] = handlers
        root.setLevel(level)
        threading.excepthook, sys.excepthook = hooks
        logging.raiseExceptions = raising
        structlog.reset_defaults()


def log_it() -> None:
    structlog.stdlib.get_logger("radpost").error("failed inside", mail=7, exc_info=True)


def log_it_elsewhere() -> None:
    logging.getLogger("somebody.else").error("failed", exc_info=sys.exc_info())


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"cannot read {PATIENT}"),
        UnicodeDecodeError("utf-8", PATIENT.encode(), 0, 1, PATIENT),
        FileNotFoundError(2, "No such file", f"/data/{PATIENT}.pdf"),
        RadpostError(DISK_FULL, PATIENT),
        KeyError(PATIENT),
    ],
)
def test_an_unexpected_fault_is_logged_without_its_text(said: StringIO, error: BaseException) -> None:
    for say in (log_it, log_it_elsewhere):
        try:
            try:
                fail(error)
            except type(error) as inner:
                raise RuntimeError(f"while {PATIENT}") from inner
        except RuntimeError:
            say()
    text = said.getvalue()
    assert "Geheimmann" not in text
    assert text.count("RuntimeError") == 2
    assert text.count(type(error).__name__) == 2
    assert "test_log.py" in text, "where it arose is said"


def test_a_thread_that_ends_by_a_fault_is_logged_without_its_text(said: StringIO) -> None:
    thread = threading.Thread(target=lambda: fail(ValueError(PATIENT)), name="worker-1")
    thread.start()
    thread.join()
    text = said.getvalue()
    assert "worker-1" in text
    assert "ValueError" in text
    assert "Geheimmann" not in text


def test_a_log_line_that_cannot_be_written_is_not_shown_elsewhere(
    said: StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("radpost").error("%d", PATIENT)
    assert "Geheimmann" not in said.getvalue() + capfd.readouterr().err


def test_database_errors_carry_no_values(tmp_path: Path) -> None:
    database = Database(tmp_path / "radpost.db").ready()
    statement = "INSERT INTO memory (name, value, at) VALUES (?, ?, 0)"
    try:
        with database.write() as connection:
            connection.exec_driver_sql(statement, (PATIENT, PATIENT))
        with pytest.raises(IntegrityError) as failed, database.write() as connection:
            connection.exec_driver_sql(statement, (PATIENT, PATIENT))
    finally:
        database.close()
    assert "Geheimmann" not in str(failed.value)
