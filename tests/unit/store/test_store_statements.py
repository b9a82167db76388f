"""Every named statement runs against the real schema, and the hot ones never walk through a table.

The functions are found by themselves: whoever takes a ``Connection`` first is a named statement. A new one is
run here without further ado; only parameters that cannot be guessed need a line in ``SPECIAL``.
"""

import collections.abc
import contextlib
import dataclasses
import importlib
import inspect
import pkgutil
import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection

import radpost.store
from radpost.store import (
    incoming_deliveries,
    incoming_fragments,
    incoming_mails,
    incoming_receipts,
    incoming_sets,
    mailbox_entries,
    objects,
    outgoing_collections,
    outgoing_mails,
    outgoing_submissions,
    outgoing_transmissions,
    partners,
    schema,
)
from radpost.store.database import Database
from radpost.store.rows import Row
from radpost.store.spool import Spool, Stored

Statement = Callable[..., object]

TABLE_OF = {
    "outgoing_collections.add_collection": schema.collection,
    "outgoing_transmissions.add_transmission": schema.transmission,
    "outgoing_mails.add_mail": schema.mail,
    "outgoing_submissions.add_submissions": schema.submission,
    "incoming_mails.add_arrival": schema.arrival,
    "incoming_sets.put_set": schema.incoming_set,
    "incoming_mails.add_objects": schema.incoming_object,
    "incoming_deliveries.add_deliveries": schema.delivery,
    "incoming_receipts.add_receipt": schema.receipt,
    "incoming_deliveries.add_unplaced": schema.delivery,
    "quarantined_mails.add_quarantine": schema.quarantine,
}
"""Whose columns a parameter of type ``Mapping`` names."""

FACTS = objects.ObjectFacts("dicom", "", "y", "", "d", "x", 1, "", "", "", "")
SPECIAL: dict[str, dict[str, object]] = {
    "outgoing_submissions.add_message": {"message_id": "y"},
    "outgoing_transmissions.get_transmission": {"transmission_id": "xxxxxx"},  # long enough to be a beginning
    "objects.put": {"facts": FACTS},
    "partners.put": {"row": partners.PartnerRow("y", "Y", "y@y.example", "{}", 1.0)},
}
"""Arguments where the usual ones would break a key or miss a branch."""


def named_statements() -> dict[str, Statement]:
    found: dict[str, Statement] = {}
    for module_info in pkgutil.iter_modules(radpost.store.__path__):
        if module_info.ispkg or module_info.name in ("rows", "cleaning"):
            continue
        module = importlib.import_module(f"radpost.store.{module_info.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("_") or function.__module__ != module.__name__:
                continue
            if next(iter(inspect.signature(function).parameters), "") == "connection":
                found[f"{module_info.name}.{name}"] = function
    return found


STATEMENTS = named_statements()


def guess(kind: Any, name: str, statement: str, spool: Spool) -> object:
    """Return a value of a type; ``x`` and 1 are what the rows of the filled database hold."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return guess(arguments[0], name, statement, spool)
    if origin in (collections.abc.Mapping, dict):
        return {
            column.name: _cell(column)
            for column in TABLE_OF[statement].columns
            if not (column.name == "id" and column.type.python_type is int)
        }
    if origin in (collections.abc.Sequence, collections.abc.Iterable, list):
        return [guess(arguments[0], name, statement, spool)]
    if origin is tuple:
        return tuple(guess(item, name, statement, spool) for item in arguments if item is not ...)
    if kind is Spool:
        return spool
    if kind is Stored:
        with spool.writer() as writer:
            writer.write(b"x")
            return writer.commit()
    if dataclasses.is_dataclass(kind) or (isinstance(kind, type) and issubclass(kind, Row)):
        hints = typing.get_type_hints(kind)
        return kind(**{key: guess(hint, key, statement, spool) for key, hint in hints.items()})  # type: ignore[operator]  # a class
    simple: dict[Any, object] = {str: "x", int: 1, float: 5.0, bool: True, bytes: b"x"}
    assert kind in simple, f"{statement}: say in SPECIAL what {name} is"
    return simple[kind]


def _cell(column: Any) -> object:
    key = bool(column.foreign_keys)
    return {str: "x" if key else "y", int: 1 if key else 2, float: 2.5, bool: True, bytes: b"y"}[
        column.type.python_type
    ]


def call(statement: str, connection: Connection, spool: Spool) -> object:
    function = STATEMENTS[statement]
    hints = typing.get_type_hints(function)
    values: dict[str, object] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "connection":
            continue
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            values["state"] = "y"
        elif name in SPECIAL.get(statement, {}):
            values[name] = SPECIAL[statement][name]
        else:
            values[name] = guess(hints[name], name, statement, spool)
    found: object = function(connection, **values)
    return list(found) if isinstance(found, Iterator) else found


class _Undo(Exception):  # noqa: N818  no error
    pass


@contextlib.contextmanager
def undone(database: Database) -> Iterator[Connection]:
    """Run a write transaction and take it back."""
    with contextlib.suppress(_Undo), database.write() as connection:
        yield connection
        raise _Undo


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Spool:
    """One spool for all: making its folders takes longer than a test."""
    made = Spool(tmp_path_factory.mktemp("spool"))
    made.prepare()
    return made


def test_statements_are_found() -> None:
    assert {"outgoing_mails.next_work", "incoming_mails.due_arrivals", "objects.put", "journal.note"} <= set(
        STATEMENTS
    )
    assert set(TABLE_OF) | set(SPECIAL) <= set(STATEMENTS), "a name here stands for nothing any more"


@pytest.mark.parametrize("statement", sorted(STATEMENTS))
def test_statement_runs(filled: Database, spool: Spool, statement: str) -> None:
    with undone(filled) as connection:
        found = call(statement, connection, spool)
    rows = found if isinstance(found, list) else [found]
    for row in rows:
        if dataclasses.is_dataclass(row) and not isinstance(row, type | objects.Put):
            for field in dataclasses.fields(row):
                value = getattr(row, field.name)
                if isinstance(value, str):
                    assert value in ("x", "y", field.name), f"{field.name} shows another column's value"


@pytest.mark.parametrize(
    "statement",
    [
        "incoming_sets.arrivals_of_set",
        "incoming_deliveries.deliveries_of",
        "incoming_mails.get_arrival",
        "incoming_mails.objects_of",
        "incoming_mails.reported_objects",
        "journal.of_arrival",
        "journal.of_transmission",
        "objects.of_study",
        "outgoing_mails.mail_members",
        "outgoing_mails.mails_of",
        "outgoing_collections.members",
        "outgoing_mails.objects_of",
        "outgoing_mails.objects_of_mail",
        "outgoing_submissions.submissions_of",
        "partners.all_partners",
        "partners.keys",
        "retrievals.get",
    ],
)
def test_statement_finds_its_row(filled: Database, spool: Spool, statement: str) -> None:
    """What joins several tables by hand shows each value in its own field (checked by the test above)."""
    with filled.read() as connection:
        assert call(statement, connection, spool)


HOT: dict[str, Callable[[Connection, Spool], object]] = {
    "next_submissions": lambda c, _: outgoing_submissions.next_submissions(c, "r", 9.0, 10),
    "next_work": lambda c, _: outgoing_mails.next_work(c, "seal", 9.0, 10, []),
    "next_work with blocked partners": lambda c, _: outgoing_mails.next_work(c, "seal", 9.0, 10, ["a", "b"]),
    "due_arrivals": lambda c, _: incoming_mails.due_arrivals(c, ["fetched", "opened"], 9.0, 10),
    "due_deliveries": lambda c, _: incoming_deliveries.due_deliveries(c, "pacs", 9.0, 10),
    "due_mails": lambda c, _: outgoing_mails.due_mails(c, 9.0, ["sealed", "on server"]),
    "due_transmissions": lambda c, _: outgoing_transmissions.due_transmissions(c, 9.0),
    "due_receipts": lambda c, _: incoming_receipts.due_receipts(c, 9.0, 10),
    "due_sets": lambda c, _: incoming_sets.due_sets(c, 9.0),
    "open_collection": lambda c, _: outgoing_collections.open_collection(c, "s", "p", "1.2"),
    "due_collections": lambda c, _: outgoing_collections.due_collections(c, 9.0),
    "add_member": lambda c, _: outgoing_collections.add_member(c, 1, 1, "x", "", 1.0),
    "members": lambda c, _: list(outgoing_collections.members(c, 1)),
    "each_mail_of": lambda c, _: list(outgoing_mails.each_mail_of(c, "x")),
    "mail_members": lambda c, _: outgoing_mails.mail_members(c, 1),
    "objects_of": lambda c, _: outgoing_mails.objects_of(c, "x"),
    "find_message": lambda c, _: outgoing_submissions.find_message(c, "<m>"),
    "fragments": lambda c, _: incoming_fragments.fragments(c, "a", "f"),
    "same_message": lambda c, _: incoming_mails.same_message(c, "a", "m", 9),
    "same_instance": lambda c, _: objects.same_instance(c, "1.2"),
    "put": lambda c, _: objects.put(c, FACTS, 1.0),
    "put document": lambda c, _: objects.put(c, dataclasses.replace(FACTS, sop_instance_uid=""), 1.0),
    "has_blob": lambda c, _: objects.has_blob(c, "x"),
    "release_blob": lambda c, _: objects.release_blob(c, "x", 1.0),
    "claimed": lambda c, _: objects.claimed(c),
    "claim_released": lambda c, _: objects.claim_released(c, 9.0, 10),
    "remove_claimed": lambda c, spool: objects.remove_claimed(c, spool, "x"),
    "live_submissions": lambda c, _: outgoing_submissions.live_submissions(c, 1),
    "entry_by_hash": lambda c, _: mailbox_entries.entry_by_hash(c, "m", "x"),
}


def plans(database: Database, work: Callable[[Connection], object]) -> list[str]:
    """Return the plan of every statement that ``work`` runs."""
    ran: list[str] = []
    with undone(database) as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_trace_callback(ran.append)  # hears what hot statements hand to the driver themselves, too
        try:
            work(connection)
        finally:
            driver.set_trace_callback(None)
        lines = []
        for text in ran:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")
            lines += [str(row[3]) for row in rows]
    return lines


@pytest.mark.parametrize("query", HOT)
def test_hot_statement_uses_an_index(filled: Database, spool: Spool, query: str) -> None:
    """A million rows cost no more than ten: every table is entered by an index."""
    lines = plans(filled, lambda connection: HOT[query](connection, spool))
    assert not [line for line in lines if re.match(r"SCAN (?!CONSTANT)", line)], lines


@pytest.mark.parametrize("query", ["next_submissions", "due_deliveries"])
def test_the_next_ones_need_no_sorting(filled: Database, spool: Spool, query: str) -> None:
    lines = plans(filled, lambda connection: HOT[query](connection, spool))
    assert not [line for line in lines if "TEMP B-TREE" in line], lines


def test_a_scan_would_be_seen(filled: Database) -> None:
    text = "SELECT * FROM mail WHERE detail = 'x'"
    lines = plans(filled, lambda connection: connection.exec_driver_sql(text))
    assert lines == ["SCAN mail"]
