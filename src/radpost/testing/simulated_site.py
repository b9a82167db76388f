"""A gateway in the simulated world: the real state machines around durable tables.

It is written as a gateway must be: load, decide, write state and records in one transaction, commit, act;
work is found by looking at committed phases, so a restart needs nothing but the tables. The seams that
mutants break (``commit before receipt`` and the like) are methods of their own, so that a test can show that
the simulator finds the break.
"""

from collections.abc import Callable, Iterable
from functools import partial

from radpost import errors
from radpost.testing.simulated_process import Arrival, Outbound
from radpost.testing.simulated_sender import SIZE, Sender, past
from radpost.testing.simulation import Mail
from radpost.transfer import incoming, outgoing, submission, transmission, window
from radpost.transfer.actions import Alarm, Command, EndAlarm, Operator, TimerDue
from radpost.transfer.incoming import IncomingMail, Kind
from radpost.transfer.incoming_set import IncomingSet, PartArrived, decide_set
from radpost.transfer.outgoing import OutgoingMail
from radpost.transfer.receipt import Disposition, read
from radpost.transfer.submission import Submission
from radpost.transfer.transmission import Transmission

_KINDS = {"data": Kind.DATA, "receipt": Kind.RECEIPT, "bounce": Kind.BOUNCE, "foreign": Kind.FOREIGN}


class Site(Sender):
    """One gateway with one partner: the sending half, the way in, and what must always hold."""

    def work(self) -> Iterable[Callable[[], None]]:
        """Yield every piece of work that the committed state asks for now."""
        yield from self.work_out(self.world.now)
        yield from self.work_in(self.world.now)

    def work_in(self, now: float) -> Iterable[Callable[[], None]]:
        """Yield the work of the receiving half."""
        for uid in list(self.world.mailboxes[self.address]):
            yield partial(self.fetch, uid)
        for number, arrival in self.arrivals.items():
            if past(arrival.state.due, now) and not self.receipt_under_way(number, arrival):
                yield partial(self.process, number)
        for set_id, incoming_set in self.sets.items():
            if past(incoming_set.due, now):
                yield partial(self.set_due, set_id)

    def work_out(self, now: float) -> Iterable[Callable[[], None]]:
        """Yield the work of the sending half."""
        for study, collection in self.collections.items():
            if past(collection.due, now):
                yield partial(self.collect, study, TimerDue())
        for key, mail in self.mails.items():
            if mail.phase is outgoing.Phase.PLANNED and past(mail.due, now):
                yield partial(self.seal, key)
            elif past(self.mail_due(mail), now):
                yield partial(self.decide_mail, key, TimerDue())
        for set_id, state in self.transmissions.items():
            if past(self.transmission_due(state), now):
                yield partial(self.decide_transmission, set_id, TimerDue())
        for message_id, row in self.outbox.items():
            if self.sendable(row):
                yield partial(self.send, message_id)

    def deadlines(self) -> Iterable[float | None]:
        """Yield the stored deadlines, and when a closed window or line opens."""
        yield from (state.due for state in self.collections.values())
        for mail in self.mails.values():
            yield mail.due if mail.phase is outgoing.Phase.PLANNED else self.mail_due(mail)
        yield from (self.transmission_due(state) for state in self.transmissions.values())
        yield from (state.due for state in self.sets.values())
        for number, arrival in self.arrivals.items():
            yield None if self.receipt_under_way(number, arrival) else arrival.state.due
        for row in self.outbox.values():
            if row.state.due is not None:
                opens = window.opens_at(self.windows[self.partner], SIZE, self.world.now, self.policy.window)
                waits = 0.0 if row.part is None or self.admitted() else opens
                yield max(row.state.due, self.line.due or 0.0, waits)

    def mail_due(self, mail: OutgoingMail) -> float | None:
        """Return a mail's stored deadline (a seam for mutants)."""
        return mail.due

    def transmission_due(self, state: Transmission) -> float | None:
        """Return a transmission's stored deadline (a seam for mutants)."""
        return state.due

    def operator(self) -> None:
        """A person who looks at the alarms and orders a retry of what is overdue or failed."""
        if not self.up:
            return
        for key, mail in self.mails.items():
            if mail.alarm is not None and self.up:
                self.step(partial(self.decide_mail, key, Operator(Command.RETRY)))
        for number, arrival in self.arrivals.items():
            if arrival.state.phase is incoming.Phase.QUARANTINED and not arrival.mail.corrupt and self.up:
                self.step(partial(self._replay, number))
        self.wake()

    def _replay(self, number: int) -> None:
        self.decide_arrival(number, incoming.Replay())
        self.commit()

    def fetch(self, uid: int) -> None:
        """Take a mail from the server: durable here, then deleted there."""
        mail = self.world.mailboxes[self.address].get(uid)
        if mail is None:
            return
        self.keep(mail)
        self.commit()
        self.delete(uid, mail)

    def keep(self, mail: Mail) -> None:
        """Write the arrival; the first with its Message-ID is the one that gets the answer."""
        number = len(list(self.arrivals.items())) + 1
        self.arrivals[number] = Arrival(mail, IncomingMail(not_before=self.world.now))
        if mail.message_id not in self.known:
            self.known[mail.message_id] = number

    def delete(self, uid: int, mail: Mail) -> None:
        """Delete a mail from the server."""
        if not any(a.mail == mail for a in self.arrivals.durable.values()):
            raise self.world.fail(1, "deleted from the server before it was durable")
        del self.world.mailboxes[self.address][uid]
        self.point()

    def receipt_under_way(self, number: int, arrival: Arrival) -> bool:
        """Say whether the owed receipt is in the outbox already."""
        state = arrival.state
        return state.phase is incoming.Phase.RECEIPT_OWED and any(
            row.arrival == number and row.mail.disposition is state.disposition and row.state.due is not None
            for row in self.outbox.values()
        )

    def process(self, number: int) -> None:
        """Take an arrival one step further."""
        arrival = self.arrivals[number]
        state, mail = arrival.state, arrival.mail
        if state.phase is incoming.Phase.RECEIPT_OWED:
            self.owe(number)
        elif mail.kind != "data":
            self.report(number)
        elif mail.corrupt:
            self.decide_arrival(number, incoming.Recognised(Kind.DATA, self.wanted(number)))
            self.decide_arrival(number, incoming.Failed(errors.TAMPERED))
        else:
            self.take_in(number)
            return
        self.commit()

    def wanted(self, number: int) -> bool:
        """Apply the rule of invariant 9."""
        mail = self.arrivals[number].mail
        return incoming.receipt_allowed(
            _KINDS[mail.kind],
            asked=mail.receipt_to is not None,
            address_of_partner=mail.receipt_to == self.partner and mail.sender == self.partner,
            automatic=mail.automatic,
            answered=self.known[mail.message_id] != number,
        )

    def take_in(self, number: int) -> None:
        """Open and import: objects, deliveries, set and the owed receipt in one transaction."""
        mail = self.arrivals[number].mail
        wanted = self.wanted(number)
        self.decide_arrival(number, incoming.Recognised(Kind.DATA, wanted))
        self.decide_arrival(number, incoming.Opened(wanted))
        for name in mail.objects:
            if name not in self.objects:
                self.objects[name] = number
        new = (mail.set_id, mail.part) not in self.parts
        self.parts[(mail.set_id, mail.part)] = True
        part = PartArrived(mail.part, mail.total, new)
        known = self.sets.get(mail.set_id) or IncomingSet()
        self.sets[mail.set_id], _ = decide_set(known, part, self.world.now, self.policy.sets)
        self.decide_arrival(number, incoming.Imported(len(mail.objects)))
        self.commit()

    def owe(self, number: int) -> None:
        """Write the receipt into the outbox."""
        arrival = self.arrivals[number]
        self.put_receipt(number, arrival.mail, arrival.state.disposition or Disposition.DELETED)

    def put_receipt(self, number: int, mail: Mail, disposition: Disposition) -> None:
        """Make the receipt's message."""
        message_id = f"{self.world.dice.getrandbits(64):016x}@{self.name}"
        sealed = Mail(
            message_id=message_id,
            sender=self.address,
            recipient=mail.receipt_to or "",
            kind="receipt",
            automatic=True,
            original=mail.message_id,
            disposition=disposition,
        )
        self.outbox[message_id] = Outbound(sealed, Submission(not_before=self.world.now), arrival=number)

    def report(self, number: int) -> None:
        """Read a receipt or bounce and feed it to the mail it names, in one transaction."""
        mail = self.arrivals[number].mail
        self.decide_arrival(number, incoming.Recognised(_KINDS[mail.kind], self.wanted(number)))
        named = self.messages.get(mail.original)
        if named is None or mail.corrupt:
            return
        key, generation = named
        if mail.bounce is not None:
            self.decide_mail(key, outgoing.Bounced(generation, mail.bounce), commit=False)
        if mail.disposition is not None:
            outcome = read(mail.disposition.value).outcome
            matched = mail.sender == self.partner
            event = outgoing.ReceiptArrived(generation, outcome, mail.signed, matched)
            self.decide_mail(key, event, commit=False)

    def decide_arrival(self, number: int, event: incoming.IncomingEvent) -> None:
        """Feed an arrival."""
        arrival = self.arrivals[number]
        jitter = self.world.dice.random()
        state, actions = incoming.decide(arrival.state, event, self.world.now, self.policy.incoming, jitter)
        self.arrivals[number] = Arrival(arrival.mail, state)
        for action in actions:
            if isinstance(action, Alarm | EndAlarm):
                self.alarm(f"arrival {number}", action.reason, raised=isinstance(action, Alarm))

    def set_due(self, set_id: str) -> None:
        """Look at a set whose deadline has come."""
        state = self.sets[set_id]
        after, records = decide_set(state, TimerDue(), self.world.now, self.policy.sets)
        self.sets[set_id] = after
        for record in records:
            if isinstance(record, Alarm | EndAlarm):
                self.alarm(f"set {set_id}", record.reason, raised=isinstance(record, Alarm))
        self.commit()

    def check(self) -> None:
        """Check what must hold after every commit."""
        charged = sum(mail.charged for mail in self.mails.durable.values())
        if self.windows.durable[self.partner].in_flight != charged:
            raise self.world.fail(8, "credits leak: in flight is not the sum of the mails")
        for set_id, state in self.transmissions.durable.items():
            if sum(state.counts) != state.total:
                raise self.world.fail(4, f"counters of {set_id} do not add up")
            quiet = state.due is None and state.progress_alarm is None
            if quiet and state.state not in transmission.ENDED:
                raise self.world.fail(4, f"{set_id} waits for nothing")

    def check_submission(self, row: Outbound) -> None:
        """Check what must hold before a byte goes out."""
        mail = row.mail
        stored = self.outbox.durable.get(mail.message_id)
        if stored is None or stored.state.phase is not submission.Phase.SENDING:
            raise self.world.fail(1, "sent before it was durable")
        if row.part is not None and self.mails.durable[row.part].phase is outgoing.Phase.CONFIRMED:
            raise self.world.fail(2, "sent again although confirmed")
        if mail.kind == "receipt":
            self.check_receipt(mail)

    def check_receipt(self, receipt: Mail) -> None:
        """Check a receipt as it leaves: after the commit, to the partner, and not for a receipt."""
        number = self.known.durable.get(receipt.original)
        if number is None:
            raise self.world.fail(1, "receipt for a mail that is not durable")
        original = self.arrivals.durable[number].mail
        if original.kind != "data" or original.automatic:
            raise self.world.fail(9, "receipt for a receipt")
        if receipt.recipient != self.partner:
            raise self.world.fail(9, "automatic mail to a stranger")
        positive = receipt.disposition in {Disposition.DISPLAYED, Disposition.DISPLAYED_WARNING}
        if positive and not all(name in self.objects.durable for name in original.objects):
            raise self.world.fail(1, "receipt before the commit of the import")
