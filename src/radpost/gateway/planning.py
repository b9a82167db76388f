"""Closed collections become transmissions: mails and their number are fixed before the first is sealed."""

import secrets
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Connection

from radpost.agit.dialect import bound_of, mail_bound
from radpost.errors import INTERNAL, RadpostError
from radpost.gateway import machines
from radpost.gateway.outbox import WORK_RECUT_REST, WORK_RECUT_SINGLY, WORK_SEAL, Outbox
from radpost.gateway.partners import Partner
from radpost.gateway.site import Site
from radpost.store import journal, outgoing_collections, outgoing_mails, outgoing_transmissions
from radpost.store.outgoing_collections import CollectionRow, Member
from radpost.store.outgoing_mails import MailRow
from radpost.transfer import packing
from radpost.transfer import transmission as transmission_machine
from radpost.transfer.outgoing import ENDED, OutgoingMail, Phase, Replaced
from radpost.words import Priority

RETRY_SECONDS: Final = 60.0
Parts = Callable[[], Generator[Member, None, None]]
"""The objects of a transmission in their order, from the store, as often as they are asked for."""
_Row = TypeVar("_Row", CollectionRow, MailRow)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a new transmission is made of."""

    partner: Partner
    study_uid: str
    source: str
    group_id: str
    priority: Priority
    opened_at: float
    objects_per_mail: int


class Planner:
    """Plans transmissions: each in one write transaction, so that one that fails stops no other."""

    def __init__(self, site: Site, outbox: Outbox) -> None:
        self._site = site
        self._outbox = outbox

    def step(self) -> bool:
        """Plan what is closed, and anew what a partner could not take; return False if nothing was done."""
        now = self._site.clock()
        with self._site.database.read() as connection:
            closed = outgoing_collections.closed_collections(connection, now)
            again = outgoing_mails.recuts(connection, now)
        done = [self._tried(self._plan_one, row, f"collection {row.id}", now) for row in closed]
        done += [
            self._tried(self._recut_one, row, f"transmission {row.transmission_id}", now) for row in again
        ]
        return any(done)

    def _tried(
        self, plan: Callable[[Connection, _Row, float], None], row: _Row, subject: str, now: float
    ) -> bool:
        """Plan in a transaction; what fails is tried again later, under an alarm."""
        reason, detail = INTERNAL, ""
        try:
            with self._site.database.write() as connection:
                plan(connection, row, now)
                journal.end_alarm(connection, None, f"planning of {subject}", now)
        except RadpostError as error:
            reason, detail = error.reason, error.detail
        except Exception:
            self._site.log.exception("planning failed inside", subject=subject)
        else:
            return True
        with self._site.database.write() as connection:
            journal.raise_alarm(connection, reason.code, f"planning of {subject}", detail, now)
            if isinstance(row, outgoing_mails.MailRow):
                outgoing_mails.update_mail(connection, row.id, due_at=now + RETRY_SECONDS)
            else:
                outgoing_collections.postpone_collection(connection, row.id, now + RETRY_SECONDS)
        return False

    def plan_closed(self, connection: Connection, now: float) -> int:
        """Turn every closed collection into a transmission; return how many."""
        rows = outgoing_collections.closed_collections(connection, now)
        for row in rows:
            self._plan_one(connection, row, now)
        return len(rows)

    def _plan_one(self, connection: Connection, row: CollectionRow, now: float) -> None:
        partner = self._site.partners.by_name(row.partner)
        plan = Plan(
            partner=partner,
            study_uid=row.study_uid,
            source=row.source,
            group_id=row.group_id,
            priority=Priority(row.priority),
            opened_at=row.opened_at,
            objects_per_mail=partner.switches.objects_per_mail,
        )
        self.plan(connection, plan, lambda: outgoing_collections.members(connection, row.id), now)
        outgoing_collections.drop_collection(connection, row.id)

    def plan(self, connection: Connection, plan: Plan, parts: Parts, now: float) -> str:
        """Plan one transmission. Return its SETID, a DICOM UID (agit-dicom-email 8, 3), or nothing.

        The objects are read twice: to count the mails, then to pack them. Never more than one mail's are held
        (invariant 8).
        """
        limits = packing.Limits(plan.objects_per_mail, plan.partner.switches.max_mail_size)
        with closing(_items(plan.partner, parts)) as items:
            total = packing.count(items, limits, mail_bound)
        if not total.objects:
            return ""
        set_id = self._open(connection, plan, total, now)
        position = 1
        with closing(_items(plan.partner, parts)) as items:
            for mail in packing.pack(items, limits, mail_bound):
                self._add(connection, plan, set_id, mail, total.mails, position, now)
                position += len(mail.items)
        journal.note(connection, "first object received", plan.opened_at, transmission_id=set_id)
        journal.note(connection, "planned", now, transmission_id=set_id, detail=f"{total.mails} mails")
        return set_id

    @staticmethod
    def _open(connection: Connection, plan: Plan, total: packing.Total, now: float) -> str:
        """Add the transmission; the number of its mails never changes from here on."""
        set_id = f"2.25.{uuid.UUID(bytes=secrets.token_bytes(16), version=4).int}"
        policy = transmission_machine.TransmissionPolicy()
        opened = transmission_machine.opened(now, policy, plan.priority)
        machine, _ = transmission_machine.decide(
            opened, transmission_machine.Planned(total.mails), now, policy
        )
        outgoing_transmissions.add_transmission(
            connection,
            {
                "id": set_id,
                "partner": plan.partner.name,
                "group_id": plan.group_id,
                "source": plan.source,
                "study_uid": plan.study_uid,
                "priority": plan.priority.value,
                "state": machine.state.value,
                "machine": machines.dump(machine),
                "due_at": machine.due,
                "objects": total.objects,
                "bytes": total.bytes,
                "mails": total.mails,
                "opened_at": plan.opened_at,
                "created_at": now,
            },
        )
        return set_id

    @staticmethod
    def _add(
        connection: Connection,
        plan: Plan,
        set_id: str,
        mail: packing.PlannedMail[Member],
        total: int,
        position: int,
        now: float,
    ) -> None:
        state = OutgoingMail(part=mail.part, total=total, objects=len(mail.items))
        values = {
            "transmission_id": set_id,
            "partner": plan.partner.name,
            "part": mail.part,
            "total": total,
            "priority": plan.priority.value,
            "state": state.phase.value,
            "machine": machines.dump(state),
            "due_at": now,
            "work": WORK_SEAL,
            "objects": len(mail.items),
            "bytes": sum(item.size for item in mail.items),
        }
        outgoing_mails.add_mail(connection, values, [item.id for item in mail.items], position)

    def recut(self, connection: Connection, now: float) -> int:
        """Plan anew what a partner could not take as it was, as a linked set; return how many mails."""
        rows = outgoing_mails.recuts(connection, now)
        for row in rows:
            self._recut_one(connection, row, now)
        return len(rows)

    def _recut_one(self, connection: Connection, row: MailRow, now: float) -> None:
        fresh = outgoing_mails.get_mail(connection, row.id)
        if fresh.work not in {WORK_RECUT_SINGLY, WORK_RECUT_REST}:
            return
        singly = fresh.work == WORK_RECUT_SINGLY

        def mails() -> Iterator[MailRow]:
            yield fresh
            if not singly:
                yield from self._rest(connection, fresh)

        def parts() -> Generator[Member, None, None]:
            return (part for mail in mails() for part in outgoing_mails.mail_members(connection, mail.id))

        old = outgoing_transmissions.get_transmission(connection, fresh.transmission_id)
        assert old is not None, "mails are removed only with their transmission"
        partner = self._site.partners.by_name(fresh.partner)
        per_mail = 1 if singly else max(1, max(mail.objects for mail in mails()) // 2)
        plan = Plan(
            partner=partner,
            study_uid=old.study_uid,
            source=old.source,
            group_id=old.group_id,
            priority=Priority(old.priority),
            opened_at=old.opened_at,
            objects_per_mail=per_mail,
        )
        linked = self.plan(connection, plan, parts, now)
        for mail in mails():
            outgoing_mails.update_mail(connection, mail.id, work=None)
            if mail.id != fresh.id:
                self._outbox.mail_event(connection, mail.id, Replaced(), now)
        journal.note(
            connection,
            "continued as another set",
            now,
            transmission_id=old.id,
            mail_id=fresh.id,
            detail=linked,
        )

    @staticmethod
    def _rest(connection: Connection, mail: MailRow) -> Iterator[MailRow]:
        """Yield the unconfirmed rest of the set; what the partner refused for good is not sent again."""
        settled = ENDED - {Phase.FAILED}
        for other in outgoing_mails.each_mail_of(connection, mail.transmission_id):
            if other.id != mail.id and Phase(other.state) not in settled:
                yield other


def _items(partner: Partner, parts: Parts) -> Generator[packing.Item[Member], None, None]:
    with closing(parts()) as members:
        for part in members:
            bound = bound_of(partner.switches, part.size, part.transfer_syntax_uid)
            yield packing.Item(part, part.size, bound)
