"""Fragments of a mail wait for each other and are joined; none waits for ever (DESIGN 4).

RFC 2046 5.2.2, @GIT 1.1r 5.2.

Which numbers are here is asked of the store each time, so that a copy, a replay or a worker that was too late
counts nothing twice. A group that was given up is joined after all when its last fragment comes. Its sender
is told by a receipt for the mail inside, if the first fragment, which holds that mail's header, is here.
"""

import hashlib
import threading
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from radpost.agit.survey import survey
from radpost.errors import INCOMPLETE_FRAGMENTS, INTERNAL, PARTIAL_INCONSISTENT, RadpostError, Reason
from radpost.gateway import machines
from radpost.gateway.alarms import PASSING, About, write_records
from radpost.gateway.arrivals import add_arrival, apply_incoming
from radpost.gateway.site import Site
from radpost.mime.partial import Fragment, FragmentInfo, assemble
from radpost.openpgp.fileview import FileView
from radpost.store import incoming_fragments, incoming_mails, incoming_receipts
from radpost.store.incoming_mails import ArrivalRow
from radpost.store.spool import Stored
from radpost.transfer import incoming as machine
from radpost.transfer import incoming_set as set_machine
from radpost.transfer.actions import TimerDue
from radpost.transfer.incoming_set import Assembly

WAITING: Final = "waiting"
JOINING: Final = "joining"
JOINED: Final = "joined"
BROKEN: Final = "broken"
GIVEN_UP: Final = "incomplete"
RETRY_SECONDS: Final = 60.0


class Joiner:
    """The groups of fragments of one site, keyed by sender and id: ids alone collide (@GIT practice 7)."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()

    def arrived(self, row: ArrivalRow, info: FragmentInfo, from_address: str, answers_for: str) -> None:
        """Note a fragment; what follows for its group is committed with it.

        ``answers_for``: Message-ID of the mail that gets a receipt for this first fragment if it cannot be
        joined; of several copies one answers.
        """
        now = self._site.clock()
        with self._site.database.write() as connection:
            wanted = bool(answers_for) and not self._answered(connection, row.id, from_address, answers_for)
            recognised = machine.Recognised(machine.Kind.FRAGMENT, wanted)
            apply_incoming(self._site, connection, row.id, [recognised], now)
            stored = incoming_fragments.get_assembly(connection, from_address, info.id)
            state, before = _read(stored)
            if state == JOINED:
                apply_incoming(self._site, connection, row.id, [machine.Joined()], now)
                return
            if state == JOINING:
                return  # joined with the others
            here = [
                item
                for item in incoming_fragments.fragments(connection, from_address, info.id)
                if item.id != row.id
            ]
            numbers = {item.fragment_number or 0 for item in here}
            event = set_machine.FragmentArrived(
                number=info.number,
                total=info.total,
                new=info.number not in numbers,
                # bytes are compared when the group is joined: trace headers differ from copy to copy
                same=True,
                highest=max(numbers, default=0),
            )
            counted = replace(before, have=len(numbers))
            after, actions = set_machine.decide_assembly(counted, event, now, self._policy)
            state = JOINING if after.joined else BROKEN if after.broken else WAITING
            incoming_fragments.put_assembly(
                connection, from_address, info.id, machines.dump(after), state, after.due
            )
            about = About(arrival_id=row.id)
            write_records(connection, actions, _subject(from_address, info.id), now, about)
            if after.broken:
                self._quarantine(connection, from_address, info.id, PARTIAL_INCONSISTENT, now)

    @staticmethod
    def _answered(connection: Connection, arrival_id: int, from_address: str, message_id: str) -> bool:
        """Tell whether another first fragment of the same mail answers for it."""
        copies = incoming_fragments.first_fragments(connection, from_address, message_id, besides=arrival_id)
        return any(machines.load(machine.IncomingMail, copy.machine).wanted for copy in copies)

    def join_due(self) -> int:
        """Join the groups that are complete; return how many were."""
        if not self._lock.acquire(blocking=False):
            return 0  # another worker is at it
        try:
            with self._site.database.read() as connection:
                groups = incoming_fragments.assemblies_to_join(connection, self._site.clock())
            return sum(self._tried(from_address, fragment_id) for from_address, fragment_id in groups)
        finally:
            self._lock.release()

    def give_up_due(self, now: float) -> None:
        """Give up groups after their deadline: alarm, and quarantine what is here."""
        with self._site.database.read() as connection:
            groups = incoming_fragments.due_assemblies(connection, now)
        for from_address, fragment_id in groups:
            with self._site.database.write() as connection:
                state, before = _read(incoming_fragments.get_assembly(connection, from_address, fragment_id))
                after, actions = set_machine.decide_assembly(before, TimerDue(), now, self._policy)
                if state != WAITING or after == before:
                    continue  # a fragment came between the two looks
                write_records(connection, actions, _subject(from_address, fragment_id), now)
                incoming_fragments.put_assembly(
                    connection, from_address, fragment_id, machines.dump(after), GIVEN_UP, after.due
                )
                self._quarantine(connection, from_address, fragment_id, INCOMPLETE_FRAGMENTS, now)
        if groups:
            self._site.bells.receipts.ring()

    @property
    def _policy(self) -> set_machine.AssemblyPolicy:
        return set_machine.AssemblyPolicy(self._site.config.limits.fragment_wait_seconds)

    def _tried(self, from_address: str, fragment_id: str) -> bool:
        try:
            self._join(from_address, fragment_id)
        except RadpostError as error:
            self._failed(from_address, fragment_id, error.reason)
            return error.reason not in PASSING
        except Exception:
            self._site.log.exception("joining failed inside")
            self._failed(from_address, fragment_id, INTERNAL)
        return True

    def _join(self, from_address: str, fragment_id: str) -> None:
        with self._site.database.read() as connection:
            rows = incoming_fragments.fragments(connection, from_address, fragment_id)
        stored = self._assembled(rows)
        now = self._site.clock()
        with self._site.database.write() as connection:
            joined = add_arrival(
                self._site,
                connection,
                stored,
                source="joined",
                envelope_from=rows[0].envelope_from,
                recipient=rows[0].recipient,
                now=now,
            )
            # asked again: a copy may have come while the bytes were written
            for row in incoming_fragments.fragments(connection, from_address, fragment_id):
                events: list[machine.IncomingEvent] = [machine.Joined()]
                if row.state != machine.Phase.FRAGMENT.value:
                    events[:0] = [machine.Replay(), machine.Recognised(machine.Kind.FRAGMENT)]
                    incoming_receipts.withdraw_receipts(connection, row.id)
                apply_incoming(self._site, connection, row.id, events, now)
                incoming_mails.update_arrival(connection, row.id, joined_into=joined)
            incoming_fragments.set_assembly_state(connection, from_address, fragment_id, JOINED)
        self._site.bells.open.ring()

    def _assembled(self, rows: list[ArrivalRow]) -> Stored:
        fragments = []
        for row in rows:
            # all fragments are open at once: neither their pages nor their descriptors may add up
            buffer = FileView(self._site.spool.path(row.sha256), row.size)
            outside = survey(buffer)
            if outside.fragment is not None:
                fragments.append(Fragment(outside.fragment, outside.root, buffer))
        self._site.spool.require_space(sum(row.size for row in rows))
        assembly = assemble(fragments)
        with self._site.spool.writer() as writer:
            for chunk in assembly.chunks():
                writer.write(chunk)
            return writer.commit()

    def _failed(self, from_address: str, fragment_id: str, reason: Reason) -> None:
        """Quarantine a group that cannot be joined; try again later if the fault is ours and goes by."""
        now = self._site.clock()
        self._site.log.warning("fragments not joined", code=reason.code, name=reason.name)
        with self._site.database.write() as connection:
            _, before = _read(incoming_fragments.get_assembly(connection, from_address, fragment_id))
            if reason in PASSING:
                text = machines.dump(before)
                due = now + RETRY_SECONDS
                incoming_fragments.put_assembly(connection, from_address, fragment_id, text, JOINING, due)
                return
            broken = replace(before, joined=False, broken=True, due=None)
            incoming_fragments.put_assembly(
                connection, from_address, fragment_id, machines.dump(broken), BROKEN, None
            )
            self._quarantine(connection, from_address, fragment_id, reason, now)
        self._site.bells.receipts.ring()

    def _quarantine(
        self, connection: Connection, from_address: str, fragment_id: str, reason: Reason, now: float
    ) -> None:
        for row in incoming_fragments.fragments(connection, from_address, fragment_id):
            if row.state == machine.Phase.FRAGMENT.value:
                apply_incoming(self._site, connection, row.id, [machine.Failed(reason)], now)


def _read(stored: tuple[str, str] | None) -> tuple[str, Assembly]:
    if stored is None:
        return "", Assembly()
    state, text = stored
    return state, machines.load(Assembly, text)


def _subject(from_address: str, fragment_id: str) -> str:
    """Return what an alarm is about; the id is the sender's text and may say anything, so its hash stands."""
    return f"fragments from {from_address} ({hashlib.sha256(fragment_id.encode()).hexdigest()[:8]})"
