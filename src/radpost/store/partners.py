"""Named statements about partners and keys."""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from radpost.store import rows
from radpost.store.schema import key, partner


@dataclass(frozen=True, slots=True)
class PartnerRow:
    """A partner as stored; ``settings`` is decoded by the gateway."""

    name: str
    ae_title: str
    address: str
    settings: str
    created_at: float


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An OpenPGP key; ``partner`` None means our own. Without ``confirmed_at`` it is not used."""

    fingerprint: str
    partner: str | None
    secret: bool
    data: bytes
    added_at: float
    confirmed_at: float | None
    confirmed_how: str | None


_PARTNER = rows.columns(partner, PartnerRow)
_KEY = rows.columns(key, KeyRow)


def put(connection: Connection, row: PartnerRow) -> None:
    """Add a partner or change it by name."""
    statement = insert(partner).values(
        name=row.name,
        ae_title=row.ae_title,
        address=row.address.lower(),
        settings=row.settings,
        created_at=row.created_at,
    )
    changed = {"ae_title": row.ae_title, "address": row.address.lower(), "settings": row.settings}
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changed))


def all_partners(connection: Connection) -> list[PartnerRow]:
    """Return all partners by name."""
    return rows.many(connection, PartnerRow, select(*_PARTNER).order_by(partner.c.name))


def get(connection: Connection, name: str) -> PartnerRow | None:
    """Return a partner by name, AE title or address."""
    statement = select(*_PARTNER).where(
        (partner.c.name == name) | (partner.c.ae_title == name) | (partner.c.address == name.lower())
    )
    return rows.one(
        connection, PartnerRow, statement.order_by(partner.c.name != name, partner.c.ae_title != name)
    )


def put_key(connection: Connection, row: KeyRow) -> None:
    """Add a key or replace its data (a newer export); what was confirmed stays confirmed."""
    statement = insert(key).values(
        fingerprint=row.fingerprint,
        partner=row.partner,
        secret=row.secret,
        data=row.data,
        added_at=row.added_at,
        confirmed_at=row.confirmed_at,
        confirmed_how=row.confirmed_how,
    )
    changed = {
        "data": row.data,
        "confirmed_at": func.coalesce(key.c.confirmed_at, row.confirmed_at),
        "confirmed_how": func.coalesce(key.c.confirmed_how, row.confirmed_how),
    }
    connection.execute(statement.on_conflict_do_update(index_elements=["fingerprint"], set_=changed))


def confirm_key(connection: Connection, fingerprint: str, how: str, now: float) -> bool:
    """Note that a person compared the fingerprint; return False if there is no such key."""
    statement = update(key).where(key.c.fingerprint == fingerprint)
    return connection.execute(statement.values(confirmed_at=now, confirmed_how=how)).rowcount > 0


def keys(connection: Connection) -> list[KeyRow]:
    """Return all keys, ours first."""
    return rows.many(connection, KeyRow, select(*_KEY).order_by(key.c.partner, key.c.added_at))


def drop_key(connection: Connection, fingerprint: str) -> bool:
    """Remove a key; return False if there is none."""
    return connection.execute(delete(key).where(key.c.fingerprint == fingerprint)).rowcount > 0
