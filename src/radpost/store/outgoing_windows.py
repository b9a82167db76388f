"""Named statements about partners' windows: how much may be on its way to each."""

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects.sqlite import insert

from radpost.store import rows
from radpost.store.schema import window

_GET_WINDOW = rows.Statement(select(window.c.machine).where(window.c.partner == bindparam("partner")))
_PUT_WINDOW = rows.Statement(
    insert(window)
    .values(partner=bindparam("partner"), machine=bindparam("machine"), version=0)
    .on_conflict_do_update(
        index_elements=["partner"],
        set_={"machine": bindparam("changed"), "version": window.c.version + 1},
    )
)


def get_window(connection: Connection, partner: str) -> str | None:
    """Return a partner's stored window of credits."""
    found = _GET_WINDOW.value(connection, {"partner": partner})
    return None if found is None else str(found)


def put_window(connection: Connection, partner: str, machine: str) -> None:
    """Store a partner's window of credits."""
    _PUT_WINDOW.run(connection, {"partner": partner, "machine": machine, "changed": machine})
