"""The sending half of a simulated gateway: collections, transmissions, mails, the outbox."""

from collections.abc import Sequence

from radpost import errors
from radpost.errors import Reason
from radpost.testing.simulated_process import Outbound, Process
from radpost.testing.simulation import Mail
from radpost.transfer import completion, incoming, outgoing, packing, retry, submission, transmission, window
from radpost.transfer.actions import Alarm, EndAlarm
from radpost.transfer.outgoing import OutgoingMail
from radpost.transfer.submission import Reply, Submission
from radpost.words import Priority

SIZE = 500_000


def past(due: float | None, now: float) -> bool:
    """Say whether a stored deadline has come."""
    return due is not None and due <= now


class Sender(Process):
    """The way out."""

    def recover(self) -> None:
        """Repeat what was under way: how it ended is not known."""
        for key, row in self.outbox.items():
            self._outbox(key, row, submission.Restarted())

    def admitted(self) -> bool:
        """Ask the partner's window."""
        state = self.windows[self.partner]
        return window.admits(state, SIZE, Priority.ROUTINE, self.world.now, self.policy.window)

    def sendable(self, row: Outbound) -> bool:
        """Say whether a message of the outbox may go now."""
        if not past(row.state.due, self.world.now) or not self.line.usable(self.world.now):
            return False
        return row.part is None or self.mails[row.part].charged > 0 or self.admitted()

    def store_object(self, study: str, name: str) -> bool:
        """Receive an object by C-STORE; True is the success that the modality sees."""
        if not self.up:
            return False
        acknowledged = False

        def work() -> None:
            nonlocal acknowledged
            if name not in self.collected:
                self.collect(study, completion.ObjectArrived(SIZE), name)
            acknowledged = True

        self.step(work)
        if acknowledged and name not in self.collected.durable:
            raise self.world.fail(1, "C-STORE success before the commit")
        return acknowledged

    def collect(self, study: str, event: completion.CollectionEvent, name: str = "") -> None:
        """Feed a collection; close its batch into a transmission in the same transaction."""
        state = self.collections.get(study) or completion.Collection()
        if name:
            self.collected[name] = (study, state.batch)
        self.collections[study], closed = completion.decide(
            state, event, self.world.now, self.policy.completion
        )
        for close in closed:
            self.plan(study, close.batch)
        self.commit()
        self.wake()

    def plan(self, study: str, batch: int) -> None:
        """Make the transmission of a batch: the number of mails is fixed here."""
        names = [name for name, place in self.collected.items() if place == (study, batch)]
        self.plan_set(f"{study}.{batch}", names, self.policy.limits)

    def plan_set(self, set_id: str, names: Sequence[str], limits: packing.Limits) -> None:
        """Fix the mails of a set."""
        items = [packing.Item(name, SIZE, SIZE) for name in names]
        total = packing.count(items, limits, packing.plain_bound).mails
        self.transmissions[set_id] = transmission.opened(self.world.now, self.policy.transmission)
        self.decide_transmission(set_id, transmission.Planned(total), commit=False)
        for planned in packing.pack(items, limits, packing.plain_bound):
            key = (set_id, planned.part)
            self.mails[key] = OutgoingMail(planned.part, total, len(planned.items))
            self.contents[key] = tuple(item.id for item in planned.items)

    def seal(self, key: tuple[str, int]) -> None:
        """Seal a mail: bytes, Message-ID and outbox row in one transaction."""
        mail = self.mails[key]
        message_id = f"{self.world.dice.getrandbits(64):016x}@{self.name}"
        sealed = Mail(
            message_id=message_id,
            sender=self.address,
            recipient=self.partner,
            kind="data",
            receipt_to=self.address,
            set_id=key[0],
            part=mail.part,
            total=mail.total,
            objects=self.contents[key],
        )
        self.messages[message_id] = (key, mail.generation)
        ready = Submission(not_before=self.world.now)
        self.outbox[message_id] = Outbound(sealed, ready, key, mail.generation)
        self.decide_mail(key, outgoing.Sealed(SIZE))

    def send(self, message_id: str) -> None:
        """Submit one message: started is durable before the first byte, the answer after the last."""
        row = self.outbox[message_id]
        self._outbox(message_id, row, submission.Started())
        if row.part is not None:
            self.decide_mail(row.part, outgoing.Started(row.generation), commit=False)
        self.commit()
        self.check_submission(row)
        reply = self.world.submit(row.mail)
        self.point()
        self.note_reply(message_id, reply)
        self.commit()

    def note_reply(self, message_id: str, reply: Reply) -> None:
        """Write down how a submission ended."""
        down = reply is Reply.UNREACHABLE
        event = retry.ConnectFailed(errors.SERVER_UNREACHABLE) if down else retry.Connected()
        jitter = self.world.dice.random()
        self.line, _ = retry.decide(self.line, event, self.world.now, self.policy.line, jitter)
        row = self.outbox[message_id]
        self._outbox(message_id, row, submission.Answered(reply))
        if row.part is not None:
            self.decide_mail(row.part, outgoing.Submitted(row.generation, reply), commit=False)
        elif row.arrival is not None and reply is Reply.ACCEPTED:
            self.decide_arrival(row.arrival, incoming.ReceiptSent())
        elif row.arrival is not None and reply in {Reply.REFUSED, Reply.ADDRESS_UNKNOWN}:
            self.decide_arrival(row.arrival, incoming.ReceiptFailed(errors.ADDRESS_UNKNOWN))

    def _outbox(self, message_id: str, row: Outbound, event: submission.SubmissionEvent) -> None:
        jitter = self.world.dice.random()
        state, _ = submission.decide(row.state, event, self.world.now, self.policy.submission, jitter)
        self.outbox[message_id] = Outbound(row.mail, state, row.part, row.generation, row.arrival)

    def decide_mail(
        self, key: tuple[str, int], event: outgoing.OutgoingEvent, *, commit: bool = True
    ) -> None:
        """Feed a mail, its window and its transmission in one transaction."""
        before = self.mails[key]
        jitter = self.world.dice.random()
        after, actions = outgoing.decide(before, event, self.world.now, self.policy.outgoing, jitter)
        self.mails[key] = after
        for action in actions:
            match action:
                case window.Charged() | window.Credited() | window.Stalled() | window.Overflowed():
                    self.credit(action)
                case Alarm(reason) | EndAlarm(reason):
                    self.alarm(f"{key}", reason, raised=isinstance(action, Alarm))
                case outgoing.WithdrawMessages():
                    self._messages(key, submission.Withdraw())
                case outgoing.SuspendMessages():
                    self._messages(key, submission.Suspend())
                case outgoing.ResumeMessages():
                    self._messages(key, submission.Resume())
                case outgoing.Recut(scope):
                    assert scope is outgoing.Scope.MAIL, "nothing is too large in this world"
                    self.plan_set(f"{key[0]}/{key[1]}", self.contents[key], packing.Limits())
                case _:
                    pass  # work: found by looking at the phases
        moved = transmission.moved(before, after)
        if moved is not None:
            self.decide_transmission(key[0], moved, commit=False)
        if commit:
            self.commit()

    def credit(self, event: window.WindowEvent) -> None:
        """Feed the partner's window."""
        state = self.windows[self.partner]
        self.windows[self.partner], _ = window.decide(state, event, self.world.now, self.policy.window)

    def _messages(self, key: tuple[str, int], event: submission.SubmissionEvent) -> None:
        for message_id, row in self.outbox.items():
            if row.part == key:
                self._outbox(message_id, row, event)

    def decide_transmission(
        self, set_id: str, event: transmission.TransmissionEvent, *, commit: bool = True
    ) -> None:
        """Feed a transmission."""
        state = self.transmissions[set_id]
        after, actions = transmission.decide(state, event, self.world.now, self.policy.transmission)
        self.transmissions[set_id] = after
        for action in actions:
            if isinstance(action, Alarm | EndAlarm):
                self.alarm(set_id, action.reason, raised=isinstance(action, Alarm))
        if commit:
            self.commit()

    def alarm(self, subject: str, reason: Reason, *, raised: bool) -> None:
        """Raise or end an alarm."""
        self.alarms[(subject, reason.code)] = reason if raised else None
        self.alarms_raised += raised

    def decide_arrival(self, number: int, event: incoming.IncomingEvent) -> None:
        """Feed an arrival; the receiving half knows how."""
        raise NotImplementedError

    def check_submission(self, row: Outbound) -> None:
        """Check what must hold before a byte goes out."""
        raise NotImplementedError
