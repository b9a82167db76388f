"""What was found in an arrived mail is recorded, with all that follows from it, in one transaction.

The transaction is the caller's, for it may record several mails; only a failure has one of its own.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from radpost.agit.receipts import write_request
from radpost.agit.survey import MailKind
from radpost.errors import UNKNOWN_SENDER, Reason
from radpost.gateway import machines
from radpost.gateway.alarms import PASSING, About, write_records
from radpost.gateway.arrivals import apply_incoming, with_noted
from radpost.gateway.importing import Importer, Prepared
from radpost.gateway.judging import Judged
from radpost.gateway.noting import Noted, shared
from radpost.gateway.receipting import Receipts, Reported
from radpost.gateway.site import Site
from radpost.mime.report import Dsn
from radpost.store import incoming_mails, incoming_sets, journal, mailbox_entries
from radpost.store.incoming_mails import ArrivalRow
from radpost.transfer import incoming as machine
from radpost.transfer import incoming_set as set_machine


@dataclass(frozen=True, slots=True)
class Told:
    """A mail that holds reports about ours and nothing else."""

    row: ArrivalRow
    noted: Noted
    reported: tuple[Reported, ...] = ()
    bounce: Dsn | None = None


@dataclass(frozen=True, slots=True)
class Brought:
    """A mail with objects, which lie in temporary files and may be released."""

    row: ArrivalRow
    noted: Noted
    judged: Judged
    prepared: Sequence[Prepared]

    @property
    def size(self) -> int:
        """Return what the objects take."""
        return sum(item.facts.size for item in self.prepared)

    @property
    def instances(self) -> set[str]:
        """Return the SOP Instance UIDs of the objects."""
        return {item.facts.sop_instance_uid for item in self.prepared} - {""}


Finding = Told | Brought


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes what was found in the mails of one site."""

    site: Site
    receipts: Receipts
    importer: Importer

    def record(self, connection: Connection, found: Finding, now: float) -> None:
        """Record what was found in a mail, unless another worker or a person did something with it."""
        fresh = incoming_mails.get_arrival(connection, found.row.id)
        if fresh is None or fresh.machine != found.row.machine:
            return
        if isinstance(found, Told):
            self._told(connection, fresh, found, now)
        else:
            self._brought(connection, fresh, found, now)

    def apply(self, connection: Connection, reported: Sequence[Reported], now: float) -> bool:
        """Feed receipts to the mails they name; return False if none names one of ours."""
        ours = [self.receipts.apply_receipt(connection, one, now) for one in reported]
        return any(ours)

    def not_ours(
        self, connection: Connection, row: ArrivalRow, noted: Noted, now: float, detail: str = ""
    ) -> None:
        """Leave a mail in its mailbox; where there is none, it is kept for a person (DESIGN 12)."""
        foreign = machine.Recognised(machine.Kind.FOREIGN, only_copy=not shared(row))
        apply_incoming(self.site, connection, row.id, [foreign], now, **noted, detail=detail)
        mailbox_entries.set_entry_of_arrival(connection, row.id, "foreign")

    def failed(self, row: ArrivalRow, noted: Noted, reason: Reason, detail: str) -> None:
        """Record that a mail cannot be processed: it is quarantined, tried again, or left where it is."""
        self.site.log.warning("mail not processed", arrival=row.id, code=reason.code, name=reason.name)
        now = self.site.clock()
        with self.site.database.write() as connection:
            stored = incoming_mails.get_arrival(connection, row.id)
            if stored is None:
                return
            fresh = with_noted(stored, noted)
            partner = self.site.partners.by_address(fresh.from_address) if fresh.from_address else None
            if fresh.kind == "" and partner is None and shared(fresh):
                # nothing says that it is for us: it stays where it is, like any letter (DESIGN 12)
                journal.note(connection, "cannot be read", now, arrival_id=row.id, code=reason.code)
                self.not_ours(connection, stored, noted, now)
                return
            wanted = partner is not None and machine.receipt_allowed(
                machine.Kind.DATA,
                asked=bool(fresh.receipt_to) and bool(fresh.message_id),
                address_of_partner=fresh.receipt_to.lower() == partner.address,
                automatic=fresh.envelope_from == "",
            )
            events: list[machine.IncomingEvent] = []
            stranger = reason is UNKNOWN_SENDER and not fresh.set_id
            if fresh.kind in {MailKind.SEALED.value, MailKind.CLEAR.value, ""} and not stranger:
                events.append(machine.Recognised(machine.Kind.DATA, wanted))
            else:
                # kept here for a replay; whether the one in the mailbox is ours is not known
                mailbox_entries.set_entry_of_arrival(connection, row.id, "foreign")
            events.append(machine.Failed(reason, passing=reason in PASSING))
            apply_incoming(self.site, connection, stored, events, now, **noted, detail=detail)
        self.site.bells.receipts.ring()

    def _told(self, connection: Connection, fresh: ArrivalRow, found: Told, now: float) -> None:
        kind = machine.Kind.RECEIPT if found.bounce is None else machine.Kind.BOUNCE
        if found.bounce is not None:
            ours = self.receipts.apply_bounce(connection, found.bounce, now)
        else:
            ours = self.apply(connection, found.reported, now)
        if ours:
            apply_incoming(self.site, connection, fresh, [machine.Recognised(kind)], now, **found.noted)
            return
        nobody = "report about no mail of ours"
        journal.note(connection, nobody, now, arrival_id=fresh.id)
        self.not_ours(connection, fresh, found.noted, now, nobody)

    def _brought(self, connection: Connection, fresh: ArrivalRow, found: Brought, now: float) -> None:
        judged, set_info = found.judged, found.judged.set_info
        imported = self.importer.store(connection, fresh.id, judged.partner, found.prepared, now)
        if judged.unopened:
            reason, _ = judged.unopened[0]
            imported = replace(imported, quarantined=len(judged.unopened), reason=reason)
        events: list[machine.IncomingEvent] = [
            machine.Recognised(machine.Kind.DATA, judged.wanted),
            machine.Opened(judged.wanted),
            imported,
        ]
        values: Noted = {
            **found.noted,
            "verdict": judged.verdict.value,
            "fingerprint": judged.fingerprint,
            "set_id": set_info.set_id if set_info else "",
            "set_part": set_info.part if set_info else None,
            "set_total": set_info.total if set_info else None,
            "detail": judged.rest(),
            "receipt_request": write_request(judged.request),
        }
        if judged.receipt_to:
            values["receipt_to"] = judged.receipt_to
        apply_incoming(self.site, connection, fresh, events, now, **values)
        if judged.partner.switches.teleradiology:
            journal.note(
                connection, "mail servers between", now, arrival_id=fresh.id, detail=str(judged.relays)
            )
        for warning in judged.warnings:
            journal.note(connection, "remark", now, arrival_id=fresh.id, detail=warning)
        self._count(connection, found, now)

    def _count(self, connection: Connection, found: Brought, now: float) -> None:
        """Tell the set that a part is here; incomplete sets withhold nothing, they only have a deadline."""
        judged, info, row = found.judged, found.judged.set_info, found.row
        if info is None:
            return
        partner = judged.partner.name
        hashes = "".join(item.facts.dataset_sha256 for item in found.prepared)
        # of a part that is not known as a whole, what comes later is no other content
        digest = "" if judged.unopened else hashlib.sha256(hashes.encode()).hexdigest()
        known = None
        if info.part is not None:
            known = incoming_sets.add_part(connection, partner, info.set_id, info.part, row.id, digest)
        stored = incoming_sets.get_set(connection, partner, info.set_id)
        before = (
            machines.load(set_machine.IncomingSet, stored.machine) if stored else set_machine.IncomingSet()
        )
        event = set_machine.PartArrived(
            part=info.part,
            total=info.total,
            new=known is None,
            same=not digest or known in {None, "", digest},
        )
        policy = set_machine.SetPolicy(self.site.config.limits.incomplete_set_seconds)
        after, actions = set_machine.decide_set(before, event, now, policy)
        state = "complete" if after.complete else "conflict" if after.conflict else "incomplete"
        study = next((item.study_uid for item in found.prepared if item.study_uid), "")
        incoming_sets.put_set(
            connection,
            {
                "partner": partner,
                "set_id": info.set_id,
                "objects": (stored.objects if stored else 0) + (len(found.prepared) if known is None else 0),
                "state": state,
                "machine": machines.dump(after),
                "study_uid": (stored.study_uid if stored else "") or study,
                "first_at": stored.first_at if stored else now,
                "last_at": now,
                "due_at": after.due,
            },
        )
        write_records(connection, actions, f"set {info.set_id} from {partner}", now, About(arrival_id=row.id))
