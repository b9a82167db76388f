"""Named statements about what was seen in mailboxes, by UID."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, select, update

from radpost.store import rows
from radpost.store.schema import mailbox_entry


class MailboxEntryRow(rows.Row, frozen=True):
    """A mail seen in a mailbox."""

    mailbox: str
    validity: str
    uid: str
    sha256: str
    arrival_id: int | None
    state: str
    at: float


_ENTRY = rows.columns(mailbox_entry, MailboxEntryRow)
_ENTRIES = rows.Query(
    MailboxEntryRow,
    select(*_ENTRY).where(
        mailbox_entry.c.mailbox == bindparam("mailbox"), mailbox_entry.c.validity == bindparam("validity")
    ),
)
_ENTRY_BY_HASH = rows.Query(
    MailboxEntryRow,
    select(*_ENTRY)
    .where(mailbox_entry.c.mailbox == bindparam("mailbox"), mailbox_entry.c.sha256 == bindparam("sha256"))
    .order_by(mailbox_entry.c.at.desc())
    .limit(1),
)
_ENTRY_OF_ARRIVAL = rows.Statement(
    update(mailbox_entry)
    .where(
        mailbox_entry.c.arrival_id == bindparam("arrival"),
        (mailbox_entry.c.state == "stored") | (mailbox_entry.c.state == "foreign"),
    )
    .values(state=bindparam("new_state"))
)
_SET_ENTRY = rows.Statement(
    update(mailbox_entry)
    .where(
        mailbox_entry.c.mailbox == bindparam("box"),
        mailbox_entry.c.validity == bindparam("valid"),
        mailbox_entry.c.uid == bindparam("key"),
    )
    .values(state=bindparam("new_state"))
)
_FORGET_ENTRY = rows.Statement(
    delete(mailbox_entry).where(
        mailbox_entry.c.mailbox == bindparam("box"),
        mailbox_entry.c.validity == bindparam("valid"),
        mailbox_entry.c.uid == bindparam("key"),
    )
)
_FORGET_OTHERS = rows.Statement(
    delete(mailbox_entry).where(
        mailbox_entry.c.mailbox == bindparam("box"),
        mailbox_entry.c.validity != bindparam("valid"),
        mailbox_entry.c.at < bindparam("before"),
    )
)
_PUT_ENTRY = rows.upsert(mailbox_entry, "mailbox", "validity", "uid")


def put_entry(connection: Connection, row: MailboxEntryRow) -> None:
    """Note a mail of a mailbox."""
    values = {
        "mailbox": row.mailbox,
        "validity": row.validity,
        "uid": row.uid,
        "sha256": row.sha256,
        "arrival_id": row.arrival_id,
        "state": row.state,
        "at": row.at,
    }
    _PUT_ENTRY.run(connection, values)


def entries(connection: Connection, mailbox: str, validity: str) -> dict[str, MailboxEntryRow]:
    """Return what was seen in a mailbox under this UIDVALIDITY, by UID."""
    return {row.uid: row for row in _ENTRIES.many(connection, mailbox=mailbox, validity=validity)}


def entry_by_hash(connection: Connection, mailbox: str, sha256: str) -> MailboxEntryRow | None:
    """Return an earlier sight of the same bytes, whatever its UID was."""
    return _ENTRY_BY_HASH.one(connection, mailbox=mailbox, sha256=sha256)


def set_entries(connection: Connection, mailbox: str, validity: str, uids: Sequence[str], state: str) -> None:
    """Store a new state of entries."""
    found = [{"box": mailbox, "valid": validity, "key": uid, "new_state": state} for uid in uids]
    _SET_ENTRY.run_all(connection, found)


def set_entry_of_arrival(connection: Connection, arrival_id: int, state: str) -> None:
    """Store whether the mail of a mailbox entry is ours; what was moved or deleted stays so."""
    _ENTRY_OF_ARRIVAL.run(connection, {"arrival": arrival_id, "new_state": state})


def forget_entries(connection: Connection, mailbox: str, validity: str, uids: Sequence[str]) -> None:
    """Remove entries whose mails are gone from the server."""
    _FORGET_ENTRY.run_all(connection, [{"box": mailbox, "valid": validity, "key": uid} for uid in uids])


def forget_other_validities(connection: Connection, mailbox: str, validity: str, before: float) -> None:
    """Remove entries that were seen under another UIDVALIDITY, before a time."""
    _FORGET_OTHERS.run(connection, {"box": mailbox, "valid": validity, "before": before})
