"""Stored deadlines that have come: overdue receipts, incomplete sets, standing transmissions, old files."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from radpost.gateway import foreign, machines, placing
from radpost.gateway.alarms import write_records
from radpost.gateway.joining import Joiner
from radpost.gateway.outbox import Outbox
from radpost.gateway.site import Site
from radpost.store import cleaning, incoming_sets, outgoing_mails, outgoing_transmissions
from radpost.transfer import incoming_set as set_machine
from radpost.transfer.actions import TimerDue
from radpost.transfer.outgoing import Phase

GRACE_SECONDS: Final = 60.0
CLEAN_EVERY_SECONDS: Final = 15.0
ORPHANS_EVERY_SECONDS: Final = 3600.0
ORPHAN_GRACE_SECONDS: Final = 3600.0
"""A file without a row this old is what a crash left between rename and commit; nobody was told yes."""


class Timekeeper:
    """Looks for deadlines that have passed and feeds them to the machines."""

    def __init__(self, site: Site, outbox: Outbox) -> None:
        self._site = site
        self._outbox = outbox
        self._joiner = Joiner(site)
        self._cleaned_at = 0.0
        self._orphans_at = 0.0

    def step(self) -> None:
        """Handle all deadlines that have passed."""
        now = self._site.clock()
        self._overdue_mails(now)
        self._standing_transmissions(now)
        self._incomplete_sets(now)
        self._joiner.give_up_due(now)
        if not 0 <= now - self._cleaned_at < CLEAN_EVERY_SECONDS:  # a clock may be set back
            self._cleaned_at = now
            with self._alone(work="objects without a destination"):
                placing.place(self._site, now)
                placing.watch(self._site, now)
            with self._alone(work="foreign mails"):
                foreign.expire(self._site, now)
            cleaning.collect(self._site.database, self._site.spool, now, GRACE_SECONDS)
        if not 0 <= now - self._orphans_at < ORPHANS_EVERY_SECONDS:
            self._orphans_at = now
            before = now - ORPHAN_GRACE_SECONDS
            cleaning.remove_orphans(self._site.database, self._site.spool, before)

    @contextmanager
    def _alone(self, **what: object) -> Iterator[None]:
        """Keep a deadline that cannot be handled from stopping the others; it is tried again."""
        try:
            yield
        except Exception:
            self._site.log.exception("deadline not handled", **what)

    def _overdue_mails(self, now: float) -> None:
        with self._site.database.read() as connection:
            rows = outgoing_mails.due_mails(connection, now, [Phase.ON_SERVER.value])
        for row in rows:
            with self._alone(mail=row.id), self._site.database.write() as connection:
                self._outbox.mail_event(connection, row.id, TimerDue(), now)
        if rows:
            self._site.bells.seal.ring()

    def _standing_transmissions(self, now: float) -> None:
        with self._site.database.read() as connection:
            rows = outgoing_transmissions.due_transmissions(connection, now)
        for row in rows:
            with self._alone(transmission=row.id), self._site.database.write() as connection:
                self._outbox.transmission_event(connection, row.id, TimerDue(), now)

    def _incomplete_sets(self, now: float) -> None:
        policy = set_machine.SetPolicy(self._site.config.limits.incomplete_set_seconds)
        with self._site.database.read() as connection:
            rows = incoming_sets.due_sets(connection, now)
        for row in rows:
            with self._alone(set_of=row.partner), self._site.database.write() as connection:
                # asked again: a part may have come between the two looks
                fresh = incoming_sets.get_set(connection, row.partner, row.set_id)
                if fresh is None or fresh.machine != row.machine:
                    continue
                before = machines.load(set_machine.IncomingSet, fresh.machine)
                after, actions = set_machine.decide_set(before, TimerDue(), now, policy)
                incoming_sets.put_set(
                    connection,
                    {
                        "partner": row.partner,
                        "set_id": row.set_id,
                        "objects": row.objects,
                        "state": row.state,
                        "machine": machines.dump(after),
                        "study_uid": row.study_uid,
                        "first_at": row.first_at,
                        "last_at": row.last_at,
                        "due_at": after.due,
                    },
                )
                write_records(connection, actions, f"set {row.set_id} from {row.partner}", now)
