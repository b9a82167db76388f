"""Mails that arrived: how they become durable, and how events move them on."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace
from sqlalchemy import Connection

from radpost.gateway import machines
from radpost.gateway.alarms import About, write_records
from radpost.gateway.site import Site
from radpost.store import (
    incoming_mails,
    incoming_receipts,
    journal,
    mailbox_entries,
    objects,
    quarantined_mails,
)
from radpost.store.incoming_mails import ArrivalRow
from radpost.store.spool import Stored
from radpost.transfer import incoming as incoming_machine


def add_arrival(
    site: Site,
    connection: Connection,
    stored: Stored,
    *,
    source: str,
    envelope_from: str | None,
    recipient: str,
    now: float,
) -> int:
    """Note a mail whose bytes are durable; from this commit on it may be acknowledged (invariant 1)."""
    objects.put_blob(connection, site.spool, stored, now)
    fresh = incoming_machine.IncomingMail(not_before=now)
    return incoming_mails.add_arrival(
        connection,
        {
            "source": source,
            "envelope_from": envelope_from,
            "recipient": recipient,
            "sha256": stored.sha256,
            "size": stored.size,
            "received_at": now,
            "state": fresh.phase.value,
            "machine": machines.dump(fresh),
            "due_at": now,
        },
    )


def apply_incoming(
    site: Site,
    connection: Connection,
    arrival: int | ArrivalRow,
    events: Sequence[incoming_machine.IncomingEvent],
    now: float,
    **also: object,
) -> incoming_machine.IncomingMail:
    """Feed events to an arrival, by its number or as read in this transaction; write what follows.

    That is its state, its alarms, the receipt it owes, and ``also``: what else is stored in its row.
    """
    found = incoming_mails.get_arrival(connection, arrival) if isinstance(arrival, int) else arrival
    assert found is not None, "arrivals are not removed while anything names them"
    row, arrival_id = with_noted(found, also), found.id
    before = after = machines.load(incoming_machine.IncomingMail, row.machine)
    policy = incoming_machine.IncomingPolicy()
    actions: list[incoming_machine.IncomingAction] = []
    for event in events:
        after, more = incoming_machine.decide(after, event, now, policy, site.random())
        actions.extend(more)
    incoming_mails.update_arrival(
        connection,
        arrival_id,
        **also,
        machine=machines.dump(after),
        state=after.phase.value,
        due_at=after.due,
        attempts=after.tries,
        code=after.reason.code if after.reason else None,
        ended_at=now if after.phase in incoming_machine.ENDED else None,
    )
    about = About(arrival_id=arrival_id)
    write_records(connection, actions, alarm_subject(arrival_id), now, about)
    if after.phase is not before.phase:
        journal.note(
            connection,
            after.phase.value,
            now,
            arrival_id=arrival_id,
            code=after.reason.code if after.reason else None,
        )
    for action in actions:
        match action:
            case incoming_machine.SendReceipt(disposition, _):
                _owe(connection, row, disposition.value, after, now)
            case incoming_machine.DeleteFromServer():
                mailbox_entries.set_entry_of_arrival(connection, arrival_id, "ours")
            case incoming_machine.EndQuarantine():
                quarantined_mails.end_quarantine_of(connection, arrival_id, now)
            case incoming_machine.KeepQuarantined(reason):
                # after a replay that failed again the new reason stands in place of the old one
                quarantined_mails.end_quarantine_of(connection, arrival_id, now)
                quarantined_mails.add_quarantine(
                    connection,
                    {
                        "arrival_id": arrival_id,
                        "partner": row.partner,
                        "from_address": row.from_address,
                        "sha256": row.sha256,
                        "size": row.size,
                        "code": reason.code,
                        "detail": row.detail,
                        "state": "open",
                        "created_at": now,
                    },
                )
            case _:
                pass
    if after.phase in incoming_machine.ENDED and not after.quarantined:
        objects.release_blob(connection, row.sha256, now)
    return after


def with_noted(row: ArrivalRow, noted: Mapping[str, object]) -> ArrivalRow:
    """Return an arrival's row as it will be when these values are stored."""
    known = {name: value for name, value in noted.items() if name in ArrivalRow.__struct_fields__}
    return replace(row, **known)


def alarm_subject(arrival_id: int) -> str:
    """Return what an arrival's alarms are about; the same before and after its sender is known."""
    return f"mail {arrival_id}"


def _owe(
    connection: Connection,
    row: ArrivalRow,
    disposition: str,
    after: incoming_machine.IncomingMail,
    now: float,
) -> None:
    assert row.partner is not None, "receipts go to known partners only (invariant 9)"
    incoming_receipts.add_receipt(
        connection,
        {
            "arrival_id": row.id,
            "partner": row.partner,
            "recipient": row.receipt_to,
            "original_message_id": row.message_id,
            "disposition": disposition,
            "code": after.reason.code if after.reason else None,
            "state": "owed",
            "due_at": now,
            "created_at": now,
        },
    )
