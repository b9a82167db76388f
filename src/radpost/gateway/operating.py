"""What a person orders: send again, deliver again, process quarantined mail again, or throw it away."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from radpost.errors import BAD_COMMAND, NOT_FOUND, TABLE, UNFINISHED_SEND, RadpostError, Reason
from radpost.gateway import machines
from radpost.gateway.alarms import write_delivery_records
from radpost.gateway.arrivals import apply_incoming
from radpost.gateway.outbox import Outbox
from radpost.gateway.site import Site, wake
from radpost.gateway.views import Explained, explained
from radpost.mime.headers import parse_block
from radpost.store import (
    incoming_deliveries,
    incoming_mails,
    incoming_receipts,
    journal,
    lookups,
    outgoing_mails,
    outgoing_transmissions,
    quarantined_mails,
)
from radpost.store.incoming_mails import ArrivalRow
from radpost.store.outgoing_transmissions import TransmissionRow
from radpost.store.quarantined_mails import QuarantineRow
from radpost.transfer import delivery as delivery_machine
from radpost.transfer import incoming as incoming_machine
from radpost.transfer.actions import Command, Operator
from radpost.transfer.outgoing import RESENDABLE, Phase
from radpost.transfer.transmission import State

FAILED: Final = (State.FAILED.value, State.REFUSED.value, State.CANCELLED.value)
_MANY: Final = 100_000
_SHOWN_HEADERS: Final = frozenset(
    {
        "from",
        "to",
        "date",
        "message-id",
        "content-type",
        "disposition-notification-to",
        "auto-submitted",
        "return-path",
        "received",
    }
)
_HEADER_BYTES: Final = 256 << 10


@dataclass(frozen=True, slots=True)
class Retried:
    """What was ordered again."""

    transmissions: tuple[str, ...] = ()
    mails: int = 0
    deliveries: int = 0


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An entry of the quarantine, as a person wants to see it."""

    id: int
    arrival: str
    partner: str
    from_address: str
    size: int
    code: int
    reason: str
    detail: str
    created_at: float
    headers: tuple[tuple[str, str], ...]
    """Of the mail's outside; no subject, no body, nothing from inside the encryption."""
    receipts: tuple[str, ...]
    """What its sender was told, and whether that is sent; empty: nothing."""
    file: str
    """Where the raw mail is."""


def find_transmission(site: Site, name: str) -> TransmissionRow:
    """Return one transmission by SETID, by the beginning of it if it is unique, or by Study Instance UID.

    Raises:
        RadpostError: NOT_FOUND; its detail says how many there are.
    """
    with site.database.read() as connection:
        found = lookups.transmissions_named(connection, name)
    if len(found) != 1:
        many = f"{len(found)} transmissions begin so: " + ", ".join(row.id for row in found[:3])
        raise RadpostError(NOT_FOUND, many if found else f"transmission '{name}'; see 'radpost status'")
    return found[0]


def retry_transmission(site: Site, name: str) -> Retried:
    """Send again what of a transmission the partner has not confirmed, never what he has.

    Raises:
        RadpostError: NOT_FOUND, BAD_COMMAND if there is nothing to send again.
    """
    row = find_transmission(site, name)
    count = _retry(site, row.id)
    if not count:
        raise RadpostError(BAD_COMMAND, f"all mails of {row.id} are {row.state}: nothing to send again")
    wake(site.config)
    return Retried((row.id,), count)


def retry_failed(site: Site) -> Retried:
    """Send again all that failed, and deliver again all that a destination refused."""
    with site.database.read() as connection:
        found = outgoing_transmissions.transmissions(connection, limit=_MANY, states=FAILED)
    mails = {row.id: _retry(site, row.id) for row in found}
    deliveries = _retry_deliveries(site, None)
    wake(site.config)
    return Retried(tuple(key for key, count in mails.items() if count), sum(mails.values()), deliveries)


def retry_destination(site: Site, destination: str) -> Retried:
    """Deliver again what a destination refused or what is held for a person.

    Raises:
        RadpostError: NOT_FOUND if the configuration has no such destination.
    """
    known = [item.name for item in site.config.destination]
    if destination not in known:
        raise RadpostError(NOT_FOUND, f"destination '{destination}'; there is {', '.join(known) or 'none'}")
    count = _retry_deliveries(site, destination)
    wake(site.config)
    return Retried(deliveries=count)


def quarantine(site: Site) -> list[QuarantineRow]:
    """Return what lies in quarantine, oldest first."""
    with site.database.read() as connection:
        return quarantined_mails.quarantined(connection)


def quarantined(site: Site, number: int) -> Quarantined:
    """Return one entry with the mail's outside.

    Raises:
        RadpostError: NOT_FOUND.
    """
    row, arrival = _entry(site, number)
    path = site.spool.path(row.sha256)
    with site.database.read() as connection:
        receipts = incoming_receipts.receipts_of(connection, arrival.id) if arrival else []
    return Quarantined(
        id=row.id,
        arrival=f"mail:{row.arrival_id}" if row.arrival_id is not None else "",
        partner=row.partner or "",
        from_address=row.from_address,
        size=row.size,
        code=row.code,
        reason=reason_of(row.code).name,
        detail=row.detail,
        created_at=row.created_at,
        headers=_headers(path),
        receipts=tuple(f"{one.disposition.rpartition(';')[2].strip()}: {one.state}" for one in receipts),
        file=str(path),
    )


def raw(site: Site, number: int, target: Path) -> int:
    """Copy a quarantined mail out, private to its owner; return its size.

    Raises:
        RadpostError: NOT_FOUND, BAD_COMMAND if the file exists or cannot be written.
    """
    row, _ = _entry(site, number)
    try:
        with site.spool.open(row.sha256) as source, target.open("xb") as sink:
            target.chmod(0o600)
            while chunk := source.read(1 << 20):
                sink.write(chunk)
    except OSError as error:
        raise RadpostError(BAD_COMMAND, f"{target}: {error.strerror}") from error
    return row.size


def replay(site: Site, number: int) -> str:
    """Process a quarantined mail again from its bytes; return the arrival's name.

    Raises:
        RadpostError: NOT_FOUND, BAD_COMMAND.
    """
    row, arrival = _entry(site, number)
    if arrival is None:
        raise RadpostError(BAD_COMMAND, "this entry has no mail of its own")
    if arrival.fragment_id is not None and arrival.state == incoming_machine.Phase.FRAGMENT.value:
        raise RadpostError(BAD_COMMAND, "the mail is a fragment that waits for others")
    now = site.clock()
    with site.database.write() as connection:
        events = [incoming_machine.Replay()]
        after = apply_incoming(site, connection, arrival.id, events, now)
        if after.phase is not incoming_machine.Phase.FETCHED:
            raise RadpostError(BAD_COMMAND, f"entry {row.id}: the mail is {after.phase.value}")
    wake(site.config)
    return f"mail:{arrival.id}"


def drop(site: Site, number: int) -> None:
    """Throw a quarantined mail away.

    Raises:
        RadpostError: NOT_FOUND, BAD_COMMAND while a receipt for it is on its way.
    """
    row, arrival = _entry(site, number)
    now = site.clock()
    with site.database.write() as connection:
        if arrival is not None:
            if arrival.state != incoming_machine.Phase.QUARANTINED.value:
                raise RadpostError(
                    BAD_COMMAND, f"entry {number}: the mail is {arrival.state}; wait for its end"
                )
            quarantined_mails.end_quarantine(connection, row.id, "dropped", now)
            apply_incoming(site, connection, arrival.id, [incoming_machine.Drop()], now)
        else:
            quarantined_mails.end_quarantine(connection, row.id, "dropped", now)


def alarms(site: Site) -> list[Explained]:
    """Return the open alarms, oldest first."""
    with site.database.read() as connection:
        found = journal.open_alarms(connection)
    return [explained(row.code, site.config.institution.language, alarm=row) for row in found]


def end_alarm(site: Site, number: int) -> Explained:
    """End an alarm that a person has seen to; it comes again if its cause does.

    The alarm of a server or destination of ours ends by itself with the next success, and not before: while
    it stands, ``radpost status`` says that the server does not work.

    Raises:
        RadpostError: NOT_FOUND, BAD_COMMAND.
    """
    now = site.clock()
    with site.database.write() as connection:
        row = next((row for row in journal.open_alarms(connection) if row.id == number), None)
        if row is None:
            raise RadpostError(NOT_FOUND, f"alarm {number}; see 'radpost alarm list'")
        if row.subject in _lines(site):
            raise RadpostError(
                BAD_COMMAND,
                f"alarm {number}: {row.subject} does not work; it ends by itself at the next success",
            )
        if row.code == UNFINISHED_SEND.code:
            raise RadpostError(
                BAD_COMMAND, f"alarm {number}: send or drop it with 'radpost unfinished', and it ends"
            )
        journal.end_one_alarm(connection, number, now)
        job = row.subject.removeprefix("transmission ")
        journal.note(
            connection,
            "alarm ended by a person",
            now,
            transmission_id=job if job != row.subject else None,
            code=row.code,
        )
    return explained(row.code, site.config.institution.language, alarm=row)


def _lines(site: Site) -> set[str]:
    """Return what the alarms of our servers and destinations are about."""
    routed = [f"partner {partner.name}" for partner in site.partners.all() if partner.settings.route]
    return {
        *(f"mail server {name}" for name in ("submission", *routed)),
        *(f"mailbox {mailbox.name}" for mailbox in site.config.mailbox),
        *(f"destination {destination.name}" for destination in site.config.destination),
    }


def reason_of(code: int | None) -> Reason:
    """Return the row of the table of reasons behind a stored code."""
    if code is None or code not in TABLE:
        return TABLE[905]
    return TABLE[code]


def _retry(site: Site, transmission_id: str) -> int:
    now = site.clock()
    with site.database.write() as connection:
        states = [Phase(row.state) for row in outgoing_mails.mails_of(connection, transmission_id)]
        unsent = {Phase.PLANNED, Phase.SEALED, Phase.SUBMITTING}
        count = sum(state in RESENDABLE or state in unsent for state in states)
        if count:
            Outbox(site).transmission_event(connection, transmission_id, Operator(Command.RETRY), now)
    return count


def _retry_deliveries(site: Site, destination: str | None) -> int:
    with site.database.read() as connection:
        stopped = incoming_deliveries.stopped_deliveries(connection, destination)
    for start in range(0, len(stopped), 200):
        now = site.clock()
        with site.database.write() as connection:
            for row in stopped[start : start + 200]:
                before = machines.load(delivery_machine.Delivery, row.machine)
                after, records = delivery_machine.decide(
                    before, Operator(Command.RETRY), now, delivery_machine.DeliveryPolicy()
                )
                incoming_deliveries.update_delivery(
                    connection,
                    row.id,
                    machine=machines.dump(after),
                    state=after.phase.value,
                    due_at=after.due,
                    code=None,
                    detail="",
                )
                write_delivery_records(connection, row, records, now)
    return len(stopped)


def _entry(site: Site, number: int) -> tuple[QuarantineRow, ArrivalRow | None]:
    with site.database.read() as connection:
        row = quarantined_mails.get_quarantine(connection, number)
        if row is None or row.state != "open":
            raise RadpostError(NOT_FOUND, f"entry {number}; see 'radpost quarantine list'")
        arrival = None
        if row.arrival_id is not None:
            arrival = incoming_mails.get_arrival(connection, row.arrival_id)
    return row, arrival


def _headers(path: Path) -> tuple[tuple[str, str], ...]:
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
    except OSError:
        return ()
    return tuple(
        (field.name, _printable(_type_alone(field.name, field.value)))
        for field in parse_block(head, complete=len(head) < _HEADER_BYTES).headers
        if field.name.lower() in _SHOWN_HEADERS or field.name.lower().startswith("x-telemedicine")
    )


def _type_alone(name: str, value: str) -> str:
    """Cut parameters off a content type: the name of a file may be that of a patient."""
    return value.partition(";")[0] if name.lower() == "content-type" else value


def _printable(text: str) -> str:
    return "".join(mark if mark.isprintable() else " " for mark in text)[:300]
