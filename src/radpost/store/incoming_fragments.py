"""Named statements about fragments of mails that wait for each other."""

from sqlalchemy import Connection, bindparam, select, update

from radpost.errors import INCOMPLETE_FRAGMENTS
from radpost.store import rows
from radpost.store.incoming_mails import ARRIVAL, ArrivalRow
from radpost.store.schema import arrival, assembly

_TO_JOIN = rows.Query(
    lambda address, fragment_id: (str(address), str(fragment_id)),
    select(assembly.c.from_address, assembly.c.fragment_id).where(
        assembly.c.state == "joining",
        assembly.c.due_at.is_(None) | (assembly.c.due_at <= bindparam("now")),
    ),
)
_DUE_ASSEMBLIES = rows.Query(
    lambda address, fragment_id: (str(address), str(fragment_id)),
    select(assembly.c.from_address, assembly.c.fragment_id).where(
        assembly.c.state == "waiting", assembly.c.due_at <= bindparam("now")
    ),
)
_PUT_ASSEMBLY = rows.upsert(assembly, "from_address", "fragment_id")


def fragments(connection: Connection, from_address: str, fragment_id: str) -> list[ArrivalRow]:
    """Return the fragments of a group that wait, or that were given up while others were missing.

    The id alone can collide between senders.
    """
    given_up = arrival.c.state.in_(["quarantined", "receipt owed"]) & (
        arrival.c.code == INCOMPLETE_FRAGMENTS.code
    )
    statement = select(*ARRIVAL).where(
        arrival.c.from_address == from_address,
        arrival.c.fragment_id == fragment_id,
        (arrival.c.state == "fragment waiting") | given_up,
    )
    return rows.many(connection, ArrivalRow, statement.order_by(arrival.c.fragment_number, arrival.c.id))


def first_fragments(
    connection: Connection, from_address: str, message_id: str, *, besides: int
) -> list[ArrivalRow]:
    """Return the other first fragments of a mail: copies, and those of earlier tries."""
    statement = select(*ARRIVAL).where(
        arrival.c.message_id == message_id,
        arrival.c.from_address == from_address,
        arrival.c.fragment_number == 1,
        arrival.c.id != besides,
    )
    return rows.many(connection, ArrivalRow, statement)


def get_assembly(connection: Connection, from_address: str, fragment_id: str) -> tuple[str, str] | None:
    """Return state and machine of a group of fragments."""
    statement = select(assembly.c.state, assembly.c.machine).where(
        assembly.c.from_address == from_address, assembly.c.fragment_id == fragment_id
    )
    row = connection.execute(statement).first()
    return None if row is None else (str(row[0]), str(row[1]))


def put_assembly(
    connection: Connection,
    from_address: str,
    fragment_id: str,
    machine: str,
    state: str,
    due_at: float | None,
) -> None:
    """Store the state of a group of fragments."""
    values = {
        "from_address": from_address,
        "fragment_id": fragment_id,
        "machine": machine,
        "state": state,
        "due_at": due_at,
    }
    _PUT_ASSEMBLY.run(connection, values)


def set_assembly_state(connection: Connection, from_address: str, fragment_id: str, state: str) -> None:
    """Store that a group is joined or given up; its deadline ends."""
    statement = update(assembly).where(
        assembly.c.from_address == from_address, assembly.c.fragment_id == fragment_id
    )
    connection.execute(statement.values(state=state, due_at=None))


def assemblies_to_join(connection: Connection, now: float) -> list[tuple[str, str]]:
    """Return (sender, fragment id) of the groups that are complete."""
    return _TO_JOIN.many(connection, now=now)


def due_assemblies(connection: Connection, now: float) -> list[tuple[str, str]]:
    """Return (sender, fragment id) of groups whose stored deadline has passed."""
    return _DUE_ASSEMBLIES.many(connection, now=now)
