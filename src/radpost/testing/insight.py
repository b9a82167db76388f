"""What a test may know of a running institution: rows of its store, its keys, and time made to pass.

Deadlines are stored data, so a test can bring them forward instead of waiting for them.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, literal_column, select, update

from radpost.gateway.config import load
from radpost.gateway.site import wake
from radpost.openpgp.keys import KeyKind, export_public, generate, read_certs
from radpost.store import partners, schema
from radpost.store.database import Database
from radpost.testing.institution import Institution, OwnKey, wait_for


def rows(institution: Institution, table: Table, **where: object) -> list[dict[str, Any]]:
    """Return rows of the store as dictionaries, oldest first."""
    statement = select(table).where(*(table.c[name] == value for name, value in where.items()))
    with view(institution) as database, database.read() as connection:
        found = connection.execute(statement.order_by(literal_column("rowid")))
        return [dict(row) for row in found.mappings()]


@contextmanager
def view(institution: Institution) -> Iterator[Database]:
    """Open an institution's database beside the running gateway."""
    database = Database(load(institution.config_path).data_path / "radpost.db")
    try:
        yield database
    finally:
        database.close()


def alarm_codes(institution: Institution, *, ended: bool = False) -> list[int]:
    """Return the codes of the open alarms, or of all that ever were."""
    return [row["code"] for row in rows(institution, schema.alarm) if ended or row["ended_at"] is None]


def quarantine_codes(institution: Institution) -> list[int]:
    """Return the codes of what lies in quarantine."""
    return [row["code"] for row in rows(institution, schema.quarantine, state="open")]


def hurry(institution: Institution) -> None:
    """Let the time pass until everything that waits for a later try is due."""
    with view(institution) as database:
        let_pass(database)
    wake(load(institution.config_path))


def let_pass(database: Database) -> None:
    """Bring forward what waits for a later try."""
    now = time.time() - 1
    with database.write() as connection:
        for table in (schema.submission, schema.mail, schema.arrival, schema.delivery, schema.receipt):
            late = connection.execute(select(table).where(table.c.due_at > now)).mappings().all()
            for row in late:
                if row["state"] == "on server":
                    continue  # its deadline is that of the receipt
                values: dict[str, Any] = {"due_at": now}
                if "machine" in row:
                    values["machine"] = _earlier(row["machine"], now)
                connection.execute(update(table).where(table.c.id == row["id"]).values(**values))
        for row in connection.execute(select(schema.window)).mappings().all():
            # a full mailbox closes the partner's window for a while
            window = update(schema.window).where(schema.window.c.partner == row["partner"])
            connection.execute(window.values(machine=_earlier(row["machine"], now)))


def let_collections_be_due(institution: Institution) -> None:
    """Let the time pass until the deadlines of all open collections have come."""
    now = time.time() - 1
    with view(institution) as database, database.write() as connection:
        for row in connection.execute(select(schema.collection)).mappings().all():
            if row["state"] == "open" and row["due_at"] is not None:
                machine = json.dumps({**json.loads(row["machine"]), "due": now})
                late = update(schema.collection).where(schema.collection.c.id == row["id"])
                connection.execute(late.values(due_at=now, machine=machine))
    wake(load(institution.config_path))


def _earlier(machine: str, now: float) -> str:
    state = json.loads(machine)
    for name in ("not_before", "closed_until"):
        if state.get(name) is not None:
            state[name] = min(state[name], now)
    return json.dumps(state, separators=(",", ":"))


def until(condition: Callable[[], bool], what: str, *busy: Institution, timeout: float = 30.0) -> None:
    """Wait for a condition, letting the time of these institutions pass meanwhile."""

    def look() -> bool:
        if condition():
            return True
        for institution in busy:
            hurry(institution)
        return False

    wait_for(look, what, timeout, step=0.3)


def arrival_of(institution: Institution, message_id: str) -> dict[str, Any]:
    """Return the newest arrival with this Message-ID; empty if there is none."""
    found = rows(institution, schema.arrival, message_id=message_id)
    return found[-1] if found else {}


def wait_arrival(institution: Institution, message_id: str, *states: str) -> dict[str, Any]:
    """Wait until an arrived mail is through; return its row."""
    ends = states or ("done", "quarantined", "ignored")
    wait_for(lambda: arrival_of(institution, message_id).get("state") in ends, f"mail {ends}", 20)
    return arrival_of(institution, message_id)


def key_of(institution: Institution) -> OwnKey:
    """Return an institution's key pair."""
    assert institution.key is not None
    return institution.key


def put_key(institution: Institution, key: OwnKey, partner: str | None) -> None:
    """Confirm a partner's key, or a key of our own, at a running institution."""
    now = time.time()
    row = partners.KeyRow(
        fingerprint=key.fingerprint,
        partner=partner,
        secret=partner is None,
        data=key.secret if partner is None else key.public,
        added_at=now,
        confirmed_at=now,
        confirmed_how="test",
    )
    with view(institution) as database, database.write() as connection:
        partners.put_key(connection, row)
    wake(load(institution.config_path))


def drop_key(institution: Institution, key: OwnKey) -> None:
    """Remove a key from a running institution."""
    with view(institution) as database, database.write() as connection:
        found = partners.drop_key(connection, key.fingerprint)
    assert found, "there was no such key"
    wake(load(institution.config_path))


def delivery_of(institution: Institution, dataset_sha256: str) -> dict[str, Any]:
    """Return the delivery of an object."""
    (found,) = rows(institution, schema.object_, dataset_sha256=dataset_sha256) or [{"id": 0}]
    deliveries = rows(institution, schema.delivery, object_id=found["id"])
    return deliveries[0] if deliveries else {"state": "", "attempts": 0, "status": None, "code": None}


def expiring_key(name: str, address: str) -> OwnKey:
    """Return a key pair that has just expired."""
    secret = generate(name, address, kind=KeyKind.CURVE25519, expires="seconds=1")
    info = read_certs(secret, now=datetime.now(UTC))[0]
    time.sleep(1.5)
    return OwnKey(info.fingerprint, secret, export_public(secret))


def receipts_about(institution: Institution, arrival: dict[str, Any]) -> list[str]:
    """Return the dispositions that an institution gave about an arrived mail."""
    found = rows(institution, schema.receipt, arrival_id=arrival["id"])
    return [row["disposition"].partition(";")[2].strip() for row in found]
