"""Outgoing mails under any sequence of events, with their window and transmission beside them."""

from dataclasses import dataclass
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from radpost import errors
from radpost.transfer import outgoing, transmission, window
from radpost.transfer.actions import Alarm, Command, EndAlarm, Operator, TimerDue
from radpost.transfer.outgoing import CONFIRMED, ENDED, OutgoingMail, OutgoingPolicy, Phase
from radpost.transfer.receipt import Outcome
from radpost.transfer.submission import Reply
from radpost.transfer.transmission import Planned, State

PARTS = 3


@dataclass
class Seen:
    """What the world outside has seen of one part."""

    messages: set[int]
    signed_success: bool = False


class Outgoing(RuleBasedStateMachine):
    """Three mails of a transmission; every event at any time."""

    FINAL: ClassVar = ENDED

    @initialize(
        unsigned=st.booleans(), receipts=st.booleans(), partial=st.booleans(), objects=st.sampled_from([1, 5])
    )
    def begin(self, unsigned: bool, receipts: bool, partial: bool, objects: int) -> None:
        self.now = 1000.0
        self.policy = OutgoingPolicy(
            max_resends=2, unsigned_closes=unsigned, receipts=receipts, partial=partial, overdue_resends=1
        )
        self.counting = transmission.TransmissionPolicy()
        self.window_policy = window.WindowPolicy()
        self.mails = [OutgoingMail(i + 1, PARTS, objects) for i in range(PARTS)]
        self.window = window.opened(self.window_policy, self.now)
        opened = transmission.opened(self.now, self.counting)
        self.transmission, _ = transmission.decide(opened, Planned(PARTS), self.now, self.counting)
        self.alarms: list[errors.Reason | None] = [None] * PARTS
        self.seen = [Seen(set()) for _ in range(PARTS)]

    def feed(self, part: int, event: outgoing.OutgoingEvent) -> None:
        before = self.mails[part]
        after, actions = outgoing.decide(before, event, self.now, self.policy)
        if after.phase is not before.phase:
            assert after.phase in outgoing.ALLOWED[before.phase]
        for action in actions:
            match action:
                case Alarm(reason):
                    assert self.alarms[part] is None, "an alarm is raised once"
                    self.alarms[part] = reason
                case EndAlarm(reason):
                    assert self.alarms[part] is reason, "only an open alarm can end"
                    self.alarms[part] = None
                case window.Charged() | window.Credited() | window.Stalled() | window.Overflowed():
                    self.window, _ = window.decide(self.window, action, self.now, self.window_policy)
                case _:
                    pass
        moved = transmission.moved(before, after)
        if moved is not None:
            self.transmission, _ = transmission.decide(self.transmission, moved, self.now, self.counting)
        again, _ = outgoing.decide(before, event, self.now, self.policy)
        assert again == after, "decide is a function"
        self.mails[part] = after

    parts = st.integers(0, PARTS - 1)

    @rule(seconds=st.sampled_from([1.0, 60.0, 4000.0, 100_000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(part=parts, pieces=st.sampled_from([1, 1, 3]))
    def seal(self, part: int, pieces: int) -> None:
        self.feed(part, outgoing.Sealed(1000 + part, pieces))

    @rule(part=parts, passing=st.booleans())
    def fail_to_seal(self, part: int, passing: bool) -> None:
        reason = errors.ENGINE_FAULT if passing else errors.NO_USABLE_KEY
        self.feed(part, outgoing.SealFailed(reason, passing))

    @rule(part=parts, reply=st.sampled_from([Reply.ACCEPTED, *Reply]))
    def submit(self, part: int, reply: Reply) -> None:
        generation = self.mails[part].generation
        self.feed(part, outgoing.Started(generation))
        if self.mails[part].phase is Phase.SUBMITTING:
            self.seen[part].messages.add(generation)
        self.feed(part, outgoing.Submitted(generation, reply))

    @rule(part=parts, back=st.integers(0, 2), kind=st.sampled_from(outgoing.Bounce))
    def bounce(self, part: int, back: int, kind: outgoing.Bounce) -> None:
        self.feed(part, outgoing.Bounced(max(0, self.mails[part].generation - back), kind))

    @rule(
        part=parts,
        back=st.integers(-1, 2),
        outcome=st.sampled_from(Outcome),
        signed=st.booleans(),
        matched=st.sampled_from([True, True, False]),
    )
    def receipt(self, part: int, back: int, outcome: Outcome, signed: bool, matched: bool) -> None:
        before = self.mails[part]
        generation = max(0, before.generation - back)
        event = outgoing.ReceiptArrived(generation, outcome, signed, matched)
        self.feed(part, event)
        after = self.mails[part]
        if not matched or generation > before.generation:
            assert after == before, "a report that does not match changes nothing"
        success = outcome in {Outcome.DONE, Outcome.WARNING}
        if success and signed and matched and generation in self.seen[part].messages:
            self.seen[part].signed_success = True
            assert after.phase is Phase.CONFIRMED
        self.feed(part, event)
        assert self.mails[part].phase is after.phase, "a report that comes twice acts once"
        assert self.mails[part].generation == after.generation

    @rule(part=parts)
    def timer(self, part: int) -> None:
        self.feed(part, TimerDue())

    @rule(part=parts, command=st.sampled_from(Command))
    def operator(self, part: int, command: Command) -> None:
        self.feed(part, Operator(command))

    @rule(part=parts)
    def replaced(self, part: int) -> None:
        self.feed(part, outgoing.Replaced())

    @invariant()
    def the_open_alarm_is_the_one_in_the_state(self) -> None:
        assert [mail.alarm for mail in self.mails] == self.alarms

    @invariant()
    def credit_is_neither_lost_nor_made(self) -> None:
        assert self.window.in_flight == sum(mail.charged for mail in self.mails)

    @invariant()
    def counters_are_the_sums(self) -> None:
        assert sum(self.transmission.counts) == PARTS
        for phase in Phase:
            assert self.transmission.count(phase) == sum(mail.phase is phase for mail in self.mails)
        assert self.transmission.held_mails == sum(mail.held for mail in self.mails)
        assert self.transmission.alarmed_mails == sum(mail.alarm is not None for mail in self.mails)

    @invariant()
    def a_confirmed_transmission_has_only_confirmed_mails(self) -> None:
        if self.transmission.state is State.CONFIRMED:
            assert all(mail.phase is Phase.CONFIRMED for mail in self.mails)
        if self.transmission.state is State.CONFIRMED_UNSIGNED:
            assert all(mail.phase in CONFIRMED for mail in self.mails)

    @invariant()
    def inv2_what_is_confirmed_stays_so_and_is_not_sent(self) -> None:
        for mail, seen in zip(self.mails, self.seen, strict=True):
            if seen.signed_success:
                assert mail.phase is Phase.CONFIRMED

    @invariant()
    def inv4_nothing_waits_silently(self) -> None:
        for mail in self.mails:
            waits = mail.phase is Phase.ON_SERVER and not mail.held
            assert not waits or mail.due is not None or mail.alarm is not None
        if self.transmission.state not in transmission.ENDED:
            assert self.transmission.due is not None or self.transmission.progress_alarm is not None


TestOutgoing = Outgoing.TestCase
TestOutgoing.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
