"""Named statements about receipts that we owe for what arrived."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, select

from radpost.store import rows
from radpost.store.schema import receipt


class ReceiptRow(rows.Row, frozen=True):
    """A receipt that we owe or have sent."""

    id: int
    arrival_id: int
    partner: str
    recipient: str
    original_message_id: str
    disposition: str
    code: int | None
    state: str
    due_at: float | None
    attempts: int
    created_at: float
    sent_at: float | None


_RECEIPT = rows.columns(receipt, ReceiptRow)
_DUE_RECEIPTS = rows.Query(
    ReceiptRow,
    select(*_RECEIPT)
    .where(receipt.c.state == "owed", receipt.c.due_at <= bindparam("now"))
    .order_by(receipt.c.id)
    .limit(bindparam("most")),
)
_RECEIPT_ARRIVAL = rows.Statement(select(receipt.c.arrival_id).where(receipt.c.id == bindparam("key")))


def withdraw_receipts(connection: Connection, arrival_id: int) -> None:
    """Take back receipts for a mail that are not written yet, because they are true no longer."""
    for row in receipts_of(connection, arrival_id):
        if row.state == "owed":
            update_receipt(connection, row.id, state="withdrawn")


def add_receipt(connection: Connection, values: Mapping[str, Any]) -> int:
    """Note a receipt that we owe."""
    return rows.add_with_id(connection, receipt, values)


def due_receipts(connection: Connection, now: float, limit: int) -> list[ReceiptRow]:
    """Return receipts to write next."""
    return _DUE_RECEIPTS.many(connection, now=now, most=limit)


def receipts_of(connection: Connection, arrival_id: int) -> list[ReceiptRow]:
    """Return the receipts for a mail."""
    statement = select(*_RECEIPT).where(receipt.c.arrival_id == arrival_id)
    return rows.many(connection, ReceiptRow, statement.order_by(receipt.c.id))


def receipt_arrival(connection: Connection, receipt_id: int) -> int:
    """Return the mail that a receipt is about."""
    return int(_RECEIPT_ARRIVAL.value(connection, {"key": receipt_id}))


def update_receipt(connection: Connection, receipt_id: int, **values: object) -> None:
    """Store a receipt's new state."""
    rows.change(connection, receipt, receipt_id, values)
