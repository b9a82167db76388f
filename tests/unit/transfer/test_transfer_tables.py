"""The machines take the steps of their tables, all of them and no others."""

from collections.abc import Hashable
from dataclasses import replace
from enum import Enum
from functools import cache
from typing import TypeVar

from radpost import errors
from radpost.testing.explore import edges, explore
from radpost.transfer import delivery, incoming, outgoing, submission
from radpost.transfer.actions import Command, Operator, TimerDue
from radpost.transfer.outgoing import OutgoingMail, OutgoingPolicy
from radpost.transfer.receipt import Outcome
from radpost.transfer.submission import Reply

LATER = 10_000_000.0


P = TypeVar("P", bound=Enum)


def compare(found: dict[P, frozenset[P]], allowed: dict[P, frozenset[P]]) -> None:
    """Show differences by name, not as two large dictionaries."""
    wrong = {(a.name, b.name) for a, row in found.items() for b in row - allowed[a]}
    unseen = {(a.name, b.name) for a, row in allowed.items() for b in row - found.get(a, frozenset())}
    assert (sorted(wrong), sorted(unseen)) == ([], [])


def test_submission() -> None:
    policy = submission.SubmissionPolicy()
    events: list[submission.SubmissionEvent] = [
        submission.Started(),
        *(submission.Answered(reply) for reply in Reply),
        submission.Restarted(),
        submission.CameBack(),
        submission.Suspend(),
        submission.Resume(),
        submission.Withdraw(),
    ]
    walk = explore(
        [submission.Submission()],
        lambda _: events,
        lambda state, event: submission.decide(state, event, LATER, policy)[0],
        lambda s: (s.phase, s.suspended, s.alarm, min(s.tries, 6)),
    )
    found = edges((a.phase, b.phase) for a, _, b in walk)
    compare(found, submission.ALLOWED)


def outgoing_events(mail: OutgoingMail) -> list[outgoing.OutgoingEvent]:
    generations = {mail.generation, max(0, mail.generation - 1)}
    return [
        outgoing.Sealed(1000),
        outgoing.Sealed(1000, pieces=2),
        outgoing.SealFailed(errors.ENGINE_FAULT, passing=True),
        outgoing.SealFailed(errors.NO_USABLE_KEY),
        *(outgoing.Started(g) for g in generations),
        *(outgoing.Submitted(g, reply) for g in generations for reply in Reply),
        *(outgoing.Bounced(g, kind) for g in generations for kind in outgoing.Bounce),
        *(
            outgoing.ReceiptArrived(g, outcome, signed)
            for g in generations
            for outcome in Outcome
            for signed in (True, False)
        ),
        outgoing.ReceiptArrived(mail.generation, Outcome.DONE, signed=True, matched=False),
        outgoing.Replaced(),
        TimerDue(),
        *(Operator(command) for command in Command),
    ]


def outgoing_key(mail: OutgoingMail) -> Hashable:
    return replace(
        mail,
        generation=min(mail.generation, 1),
        tries=min(mail.tries, 1),
        resends=min(mail.resends, 1),
        overdue_resends=min(mail.overdue_resends, 1),
        bounces=min(mail.bounces, 1),
        cuts=min(mail.cuts, 1),
        not_before=0.0,
        receipt_due=None if mail.receipt_due is None else 1.0,
        reason=None,
        said=None,
    )


@cache
def outgoing_walk() -> list[tuple[OutgoingMail, outgoing.OutgoingEvent, OutgoingMail]]:
    steps = []
    policies = [
        OutgoingPolicy(max_resends=1, seal_tries=1, max_cuts=1),
        OutgoingPolicy(max_resends=0, unsigned_closes=True, partial=False),
        OutgoingPolicy(receipts=False, unsigned_closes=True, max_resends=1, max_cuts=1, overdue_resends=1),
    ]
    for policy in policies:

        def step(
            mail: OutgoingMail, event: outgoing.OutgoingEvent, policy: OutgoingPolicy = policy
        ) -> OutgoingMail:
            return outgoing.decide(mail, event, LATER, policy)[0]

        starts = [OutgoingMail(1, 2), OutgoingMail(1, 2, objects=5)]
        steps += list(explore(starts, outgoing_events, step, outgoing_key))
    return steps


def test_outgoing() -> None:
    found = edges((a.phase, b.phase) for a, _, b in outgoing_walk())
    compare(found, outgoing.ALLOWED)


def test_inv4_no_state_of_an_outgoing_mail_waits_for_nothing() -> None:
    """Every reachable state has a deadline, a message to send, an alarm, a person's hold, or is an end."""
    for _, _, mail in outgoing_walk():
        sending = mail.phase in {outgoing.Phase.SEALED, outgoing.Phase.SUBMITTING}
        ended = mail.phase in outgoing.ENDED - {outgoing.Phase.FAILED, outgoing.Phase.REFUSED}
        assert ended or sending or mail.held or mail.alarm is not None or mail.due is not None, mail


def test_a_mail_that_has_ended_holds_no_credit() -> None:
    for _, _, mail in outgoing_walk():
        assert not (mail.charged and mail.phase in outgoing.ENDED | {outgoing.Phase.PLANNED}), mail


def test_inv2_confirmed_by_signature_is_never_left() -> None:
    for before, _, after in outgoing_walk():
        if before.phase is outgoing.Phase.CONFIRMED:
            assert after.phase is outgoing.Phase.CONFIRMED
            assert after.generation == before.generation


def test_incoming() -> None:
    events: list[incoming.IncomingEvent] = [
        *(incoming.Recognised(kind, wanted) for kind in incoming.Kind for wanted in (True, False)),
        incoming.Joined(),
        incoming.Opened(wanted=True),
        incoming.Opened(wanted=False),
        incoming.Imported(1),
        incoming.Imported(0, quarantined=1),
        incoming.Imported(1, quarantined=1, reason=errors.TAMPERED),
        incoming.Failed(errors.ENGINE_FAULT, passing=True),
        incoming.Failed(errors.TAMPERED),
        incoming.ReceiptSent(),
        incoming.ReceiptFailed(errors.MAIL_REFUSED),
        incoming.Replay(),
        incoming.Drop(),
        TimerDue(),
    ]
    policy = incoming.IncomingPolicy(tries=2)
    walk = explore(
        [incoming.IncomingMail()],
        lambda _: events,
        lambda mail, event: incoming.decide(mail, event, LATER, policy)[0],
        lambda m: replace(m, replays=0, not_before=0.0),
    )
    found = edges((a.phase, b.phase) for a, _, b in walk)
    compare(found, incoming.ALLOWED)


def test_delivery() -> None:
    statuses = (0x0000, 0xB000, 0xA700, 0xA900, 0xC000, 0x0122)
    events: list[delivery.DeliveryEvent] = [
        delivery.Started(),
        *(delivery.Answered(status) for status in statuses),
        delivery.Failed(errors.NO_COMMON_SYNTAX, lasting=True),
        delivery.Failed(errors.DICOM_PROTOCOL),
        delivery.Interrupted(),
        TimerDue(),
        *(Operator(command) for command in Command),
    ]
    policy = delivery.DeliveryPolicy(tries=3)
    walk = explore(
        [delivery.Delivery()],
        lambda _: events,
        lambda state, event: delivery.decide(state, event, LATER, policy)[0],
        lambda d: replace(d, not_before=0.0),
    )
    found = edges((a.phase, b.phase) for a, _, b in walk)
    compare(found, delivery.ALLOWED)
