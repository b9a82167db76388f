"""Outgoing mails as playbooks: events in, phases and actions expected, in order."""

from collections.abc import Sequence

import pytest

from radpost import errors
from radpost.transfer import outgoing
from radpost.transfer.actions import Alarm, Command, EndAlarm, Operator, Remark, TimerDue
from radpost.transfer.outgoing import (
    Bounce,
    Bounced,
    Cut,
    OutgoingAction,
    OutgoingEvent,
    OutgoingMail,
    OutgoingPolicy,
    Phase,
    ReceiptArrived,
    Recut,
    RepeatMessage,
    Replaced,
    ResumeMessages,
    Scope,
    Seal,
    Sealed,
    SealFailed,
    Started,
    Submit,
    Submitted,
    SuspendMessages,
    WithdrawMessages,
)
from radpost.transfer.receipt import Outcome
from radpost.transfer.submission import Reply
from radpost.transfer.window import Charged, Credited, Overflowed, Stalled

Actions = Sequence[OutgoingAction]
NOW = 1000.0
POLICY = OutgoingPolicy(max_resends=1)
OK = ReceiptArrived(0, Outcome.DONE, signed=True)
UNSIGNED_OK = ReceiptArrived(0, Outcome.DONE, signed=False)
ERROR = ReceiptArrived(0, Outcome.ERROR, signed=True)
REFUSED = ReceiptArrived(0, Outcome.REFUSED, signed=True)
UNSIGNED_REFUSED = ReceiptArrived(0, Outcome.REFUSED, signed=False)


def play(
    mail: OutgoingMail, *events: OutgoingEvent, policy: OutgoingPolicy = POLICY, now: float = NOW
) -> tuple[OutgoingMail, list[OutgoingAction]]:
    """Feed the events; return the mail and all actions."""
    actions: list[OutgoingAction] = []
    for event in events:
        mail, more = outgoing.decide(mail, event, now, policy)
        actions += more
    return mail, actions


def on_server(objects: int = 1, *, pieces: int = 1, policy: OutgoingPolicy = POLICY) -> OutgoingMail:
    accepted = [Submitted(0, Reply.ACCEPTED)] * pieces
    events: list[OutgoingEvent] = [Sealed(500, pieces), Started(0), *accepted]
    return play(OutgoingMail(1, 3, objects), *events, policy=policy)[0]


def test_the_way_without_trouble() -> None:
    mail, actions = play(OutgoingMail(1, 3), Sealed(500), Started(0), Submitted(0, Reply.ACCEPTED), OK)
    assert mail.phase is Phase.CONFIRMED
    assert actions == [Submit(0), Charged(500), WithdrawMessages(), Credited(500, flowing=True)]


def test_an_uncertain_end_repeats_the_same_generation() -> None:
    mail, actions = play(OutgoingMail(1, 3), Sealed(500), Started(0), Submitted(0, Reply.UNCERTAIN))
    assert (mail.phase, mail.generation, mail.charged) == (Phase.SUBMITTING, 0, 500)
    assert actions == [Submit(0), Charged(500)]
    again, actions = play(mail, Started(0), Submitted(0, Reply.ACCEPTED))
    assert (again.phase, again.generation, actions) == (Phase.ON_SERVER, 0, [])


def test_a_receipt_may_come_before_the_servers_answer() -> None:
    mail, _ = play(OutgoingMail(1, 3), Sealed(500), Started(0), Submitted(0, Reply.UNCERTAIN), OK)
    assert mail.phase is Phase.CONFIRMED
    late, actions = play(mail, Submitted(0, Reply.ACCEPTED))
    assert (late, actions) == (mail, [Remark("late-reply")])


def test_a_deferred_mail_gives_its_credit_back_and_takes_it_again() -> None:
    events = (Sealed(500), Started(0), Submitted(0, Reply.DEFERRED), Started(0))
    _, actions = play(OutgoingMail(1, 3), *events)
    assert actions == [Submit(0), Charged(500), Credited(500), Charged(500)]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(Reply.REFUSED, errors.MAIL_REFUSED), (Reply.ADDRESS_UNKNOWN, errors.ADDRESS_UNKNOWN)],
)
def test_a_refusal_of_the_server_alarms(reply: Reply, reason: errors.Reason) -> None:
    mail, actions = play(OutgoingMail(1, 3), Sealed(500), Started(0), Submitted(0, reply))
    assert (mail.phase, mail.reason) == (Phase.FAILED, reason)
    assert actions[2:] == [Alarm(reason), WithdrawMessages(), Credited(500)]


def test_a_late_success_ends_the_alarm() -> None:
    mail, _ = play(OutgoingMail(1, 3), Sealed(500), Started(0), Submitted(0, Reply.REFUSED))
    mail, actions = play(mail, OK)
    assert mail.phase is Phase.CONFIRMED
    assert actions == [EndAlarm(errors.MAIL_REFUSED), WithdrawMessages()]


def test_no_key_no_mail() -> None:
    mail, actions = play(OutgoingMail(1, 3), SealFailed(errors.NO_USABLE_KEY))
    assert (mail.phase, mail.reason) == (Phase.FAILED, errors.NO_USABLE_KEY)
    assert actions == [Alarm(errors.NO_USABLE_KEY), WithdrawMessages()]
    mail, actions = play(mail, Operator(Command.RETRY))
    assert mail.phase is Phase.PLANNED
    assert Seal(mail.generation, NOW) in actions
    assert EndAlarm(errors.NO_USABLE_KEY) in actions


def test_an_engine_fault_is_tried_again_and_alarms_once() -> None:
    policy = OutgoingPolicy(seal_tries=2)
    fault = SealFailed(errors.ENGINE_FAULT, passing=True)
    mail, actions = play(OutgoingMail(1, 3), fault, fault, fault, policy=policy)
    assert mail.phase is Phase.PLANNED
    assert [a for a in actions if isinstance(a, Alarm)] == [Alarm(errors.ENGINE_FAULT)]
    _, actions = play(mail, Sealed(500), policy=policy)
    assert actions == [EndAlarm(errors.ENGINE_FAULT), Submit(0)]


# --- receipts ---------------------------------------------------------------------------------------------


def test_deleted_error_sends_again_then_refuses() -> None:
    mail, actions = play(on_server(), ERROR)
    assert (mail.phase, mail.generation, mail.part, mail.total) == (Phase.PLANNED, 1, 1, 3)
    assert actions == [WithdrawMessages(), Credited(500, flowing=True), Seal(1, NOW + 60)]
    mail, _ = play(mail, Sealed(510), Started(1), Submitted(1, Reply.ACCEPTED))
    mail, actions = play(mail, ReceiptArrived(1, Outcome.ERROR, signed=True))
    assert (mail.phase, mail.reason) == (Phase.REFUSED, errors.PARTNER_REPORTS_FAILURE)
    assert Alarm(errors.PARTNER_REPORTS_FAILURE) in actions


def test_an_error_receipt_that_comes_twice_resends_once() -> None:
    mail, _ = play(on_server(), ERROR)
    twice, actions = play(mail, ERROR)
    assert twice == mail
    assert actions == [Remark("late-failure-receipt")]


def test_success_of_the_first_message_stops_its_resend() -> None:
    mail, _ = play(on_server(), ERROR)
    mail, actions = play(mail, OK)
    assert mail.phase is Phase.CONFIRMED
    assert actions == [WithdrawMessages()]
    mail, actions = play(mail, Sealed(510))
    assert (mail.phase, actions) == (Phase.CONFIRMED, [Remark("sealed-in-vain"), WithdrawMessages()])


def test_a_signed_refusal_is_the_end() -> None:
    mail, actions = play(
        on_server(), ReceiptArrived(0, Outcome.REFUSED, signed=True, reason=errors.DICOM_INVALID)
    )
    assert (mail.phase, mail.reason) == (Phase.REFUSED, errors.DICOM_INVALID)
    assert actions == [Alarm(errors.REFUSED_BY_PARTNER), WithdrawMessages(), Credited(500, flowing=True)]


def test_an_unsigned_refusal_alarms_and_holds() -> None:
    mail, actions = play(on_server(), UNSIGNED_REFUSED)
    assert (mail.phase, mail.held) == (Phase.ON_SERVER, True)
    assert actions == [Alarm(errors.UNSIGNED_REFUSAL), SuspendMessages(), Credited(500)]
    assert play(mail, UNSIGNED_REFUSED)[1] == [SuspendMessages()]
    mail, actions = play(mail, Operator(Command.RELEASE))
    assert (mail.phase, mail.held, mail.due) == (Phase.ON_SERVER, False, NOW + 3600)
    assert actions == [EndAlarm(errors.UNSIGNED_REFUSAL), ResumeMessages()]


def test_an_unsigned_success_cannot_outweigh_an_unsigned_refusal_but_a_signed_one_can() -> None:
    policy = OutgoingPolicy(unsigned_closes=True)
    mail, _ = play(on_server(), UNSIGNED_REFUSED, UNSIGNED_OK, policy=policy)
    assert (mail.phase, mail.alarm) == (Phase.ON_SERVER, errors.UNSIGNED_REFUSAL)
    mail, actions = play(mail, OK, policy=policy)
    assert (mail.phase, mail.held) == (Phase.CONFIRMED, False)
    assert EndAlarm(errors.UNSIGNED_REFUSAL) in actions


@pytest.mark.parametrize(("closes", "phase"), [(True, Phase.CONFIRMED_UNSIGNED), (False, Phase.ON_SERVER)])
def test_an_unsigned_success_closes_only_where_the_switch_allows(closes: bool, phase: Phase) -> None:
    mail, _ = play(on_server(), UNSIGNED_OK, policy=OutgoingPolicy(unsigned_closes=closes))
    assert (mail.phase, mail.said) == (phase, Outcome.DONE)


def test_a_signed_success_improves_an_unsigned_one() -> None:
    policy = OutgoingPolicy(unsigned_closes=True)
    mail, _ = play(on_server(), UNSIGNED_OK, OK, policy=policy)
    assert mail.phase is Phase.CONFIRMED


def test_failure_after_success_alarms_once_and_changes_nothing() -> None:
    mail, actions = play(on_server(), OK, ERROR, REFUSED)
    assert mail.phase is Phase.CONFIRMED
    assert [a for a in actions if isinstance(a, Alarm)] == [Alarm(errors.PARTNER_REPORTS_FAILURE)]


def test_an_unsigned_failure_cannot_touch_a_signed_success() -> None:
    mail, _ = play(on_server(), OK)
    assert play(mail, UNSIGNED_REFUSED) == (mail, [Remark("unsigned-failure-after-success")])


def test_a_receipt_of_the_wrong_partner_or_for_nothing_sent_changes_nothing() -> None:
    mail = on_server()
    forged = ReceiptArrived(0, Outcome.DONE, signed=True, matched=False)
    assert play(mail, forged) == (mail, [Remark("receipt-does-not-match")])
    planned = OutgoingMail(1, 3)
    assert play(planned, OK) == (planned, [Remark("receipt-does-not-match")])


def test_several_objects_from_another_maker_go_once_one_by_one() -> None:
    mail, actions = play(on_server(objects=20), ERROR)
    assert mail.phase is Phase.SUPERSEDED
    assert actions[-1] == Recut(Scope.MAIL, one_object_per_mail=True)
    peer = OutgoingPolicy(radpost=True)
    mail, actions = play(on_server(objects=20), ERROR, policy=peer)
    assert mail.phase is Phase.PLANNED


def test_inv4_an_overdue_receipt_alarms_once_and_slows_the_window() -> None:
    mail = on_server()
    assert mail.due == NOW + 3600
    early, actions = play(mail, TimerDue(), now=NOW + 3599)
    assert (early, actions) == (mail, [])
    mail, actions = play(mail, TimerDue(), TimerDue(), now=NOW + 3600)
    assert actions == [Alarm(errors.RECEIPT_OVERDUE), Stalled()]
    assert (mail.phase, mail.due) == (Phase.ON_SERVER, None)
    _, actions = play(mail, OK)
    assert actions[0] == EndAlarm(errors.RECEIPT_OVERDUE)


def test_an_overdue_receipt_can_resend_by_switch() -> None:
    policy = OutgoingPolicy(overdue_resends=1)
    mail, actions = play(on_server(), TimerDue(), policy=policy, now=NOW + 4000)
    assert (mail.phase, mail.generation) == (Phase.PLANNED, 1)
    assert Alarm(errors.RECEIPT_OVERDUE) in actions


def test_a_partner_without_receipts_ends_on_the_server() -> None:
    policy = OutgoingPolicy(receipts=False)
    mail = on_server(policy=policy)
    assert (mail.phase, mail.charged, mail.due) == (Phase.UNREPORTED, 0, None)
    assert play(mail, OK, policy=policy)[0].phase is Phase.CONFIRMED


# --- bounces, size, fragments -----------------------------------------------------------------------------


def test_a_full_mailbox_sends_again_later_under_a_new_message_id() -> None:
    full = Bounced(0, Bounce.MAILBOX_FULL)
    mail, actions = play(on_server(), full)
    assert (mail.phase, mail.generation) == (Phase.PLANNED, 1)
    expected = [
        Alarm(errors.MAILBOX_FULL),
        WithdrawMessages(),
        Credited(500),
        Seal(1, NOW + 300),
        Overflowed(),
    ]
    assert actions == expected
    assert play(mail, full) == (mail, [Remark("late-bounce")])
    mail, actions = play(mail, Sealed(500), Started(1), Submitted(1, Reply.ACCEPTED))
    assert EndAlarm(errors.MAILBOX_FULL) not in actions  # the server's yes says nothing about the mailbox
    _, actions = play(mail, ReceiptArrived(1, Outcome.DONE, signed=True))
    assert actions[0] == EndAlarm(errors.MAILBOX_FULL)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Bounce.ADDRESS_UNKNOWN, errors.ADDRESS_UNKNOWN),
        (Bounce.POLICY, errors.BOUNCED),
        (Bounce.OTHER, errors.BOUNCED),
    ],
)
def test_other_bounces_alarm(kind: Bounce, reason: errors.Reason) -> None:
    mail, actions = play(on_server(), Bounced(0, kind))
    assert (mail.phase, mail.reason) == (Phase.FAILED, reason)
    assert actions == [Alarm(reason), WithdrawMessages(), Credited(500)]


def test_a_delay_notice_is_a_remark() -> None:
    mail = on_server()
    assert play(mail, Bounced(0, Bounce.DELAYED)) == (mail, [Remark("delayed-on-the-way")])


def test_too_large_travels_as_fragments_of_the_same_bytes() -> None:
    mail, actions = play(OutgoingMail(1, 3), Sealed(500), Started(0), Submitted(0, Reply.TOO_LARGE))
    assert (mail.phase, mail.generation, mail.pieces) == (Phase.SEALED, 0, 0)
    assert actions[2:] == [WithdrawMessages(), Credited(500), Cut(0, 1)]
    mail, actions = play(mail, Sealed(520, pieces=2), Started(0), Submitted(0, Reply.ACCEPTED))
    assert (mail.phase, mail.accepted) == (Phase.SUBMITTING, 1)
    mail, _ = play(mail, Started(0), Submitted(0, Reply.ACCEPTED))
    assert mail.phase is Phase.ON_SERVER


def test_too_large_without_fragments_cuts_the_set_anew_or_asks_a_person() -> None:
    policy = OutgoingPolicy(partial=False)
    too_large = (Sealed(500), Started(0), Submitted(0, Reply.TOO_LARGE))
    mail, actions = play(OutgoingMail(1, 3, objects=4), *too_large, policy=policy)
    assert mail.phase is Phase.SUPERSEDED
    assert actions[-1] == Recut(Scope.REST, one_object_per_mail=False)
    mail, actions = play(OutgoingMail(1, 3), *too_large, policy=policy)
    assert (mail.phase, mail.alarm) == (Phase.FAILED, errors.MAIL_TOO_LARGE)


def test_one_bounced_fragment_goes_again_alone() -> None:
    mail, actions = play(on_server(pieces=3), Bounced(0, Bounce.MAILBOX_FULL))
    assert (mail.phase, mail.accepted, mail.generation) == (Phase.SUBMITTING, 2, 0)
    assert actions == [Alarm(errors.MAILBOX_FULL), Overflowed(), RepeatMessage()]
    mail, _ = play(mail, Started(0), Submitted(0, Reply.ACCEPTED))
    assert mail.phase is Phase.ON_SERVER


# --- the operator -----------------------------------------------------------------------------------------


def test_inv2_what_is_confirmed_is_never_sent_again() -> None:
    mail, _ = play(on_server(), OK)
    assert play(mail, Operator(Command.RETRY)) == (mail, [Remark("confirmed-is-not-resent")])


def test_retry_of_an_overdue_mail_keeps_set_and_part() -> None:
    mail, _ = play(on_server(), TimerDue(), now=NOW + 3600)
    mail, actions = play(mail, Operator(Command.RETRY))
    assert (mail.phase, mail.generation, mail.part) == (Phase.PLANNED, 1, 1)
    assert actions == [EndAlarm(errors.RECEIPT_OVERDUE), WithdrawMessages(), Credited(500), Seal(1, NOW)]


def test_hold_and_release() -> None:
    mail, actions = play(OutgoingMail(1, 3), Sealed(500), Operator(Command.HOLD))
    assert actions == [Submit(0), SuspendMessages()]
    mail, actions = play(mail, Operator(Command.RELEASE))
    assert (mail.held, actions) == (False, [ResumeMessages()])


def test_a_mail_sealed_while_held_is_not_submitted() -> None:
    mail, actions = play(OutgoingMail(1, 3), Operator(Command.HOLD), Sealed(500))
    assert (mail.phase, actions) == (Phase.SEALED, [SuspendMessages(), SuspendMessages()])


def test_cancel_and_what_comes_after() -> None:
    mail, actions = play(on_server(), Operator(Command.CANCEL))
    assert (mail.phase, actions) == (Phase.CANCELLED, [WithdrawMessages(), Credited(500)])
    assert play(mail, ERROR)[0].phase is Phase.CANCELLED
    assert play(mail, OK)[0].phase is Phase.CONFIRMED  # it had arrived after all, and that is the truth


def test_the_rest_of_a_set_planned_anew() -> None:
    assert play(on_server(), Replaced())[0].phase is Phase.SUPERSEDED
    confirmed = play(on_server(), OK)[0]
    assert play(confirmed, Replaced()) == (confirmed, [])
