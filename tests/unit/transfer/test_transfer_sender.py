"""Completion, packing, submission, window, lines and counters: the sender's other machines."""

import random
from collections.abc import Iterator

import pytest

from radpost import errors
from radpost.transfer import completion, outgoing, retry, submission, transmission, window
from radpost.transfer.actions import Alarm, Command, EndAlarm, Operator, TimerDue
from radpost.transfer.completion import (
    AssociationEnded,
    Close,
    Collection,
    CompletionPolicy,
    Flush,
    Mode,
    Why,
)
from radpost.transfer.completion import ObjectArrived as Arrived
from radpost.transfer.outgoing import OutgoingMail, Phase
from radpost.transfer.packing import Item, Limits, base64_bound, count, pack, plain_bound
from radpost.transfer.submission import Answered, CameBack, Reply, Submission
from radpost.transfer.transmission import Ended, MailMoved, OrderMails, Planned, State
from radpost.transfer.window import Charged, Credited, Overflowed, Stalled, WindowPolicy
from radpost.words import Priority

# --- completion -------------------------------------------------------------------------------------------


def collect(
    policy: CompletionPolicy, *timed: tuple[float, completion.CollectionEvent]
) -> tuple[Collection, list[tuple[float, Close]]]:
    """Run events at their times, with the stored deadline in between as a gateway would."""
    state = Collection()
    closed: list[tuple[float, Close]] = []
    for now, event in [*timed, (1e9, TimerDue())]:
        if state.due is not None and state.due <= now:
            due = state.due
            state, actions = completion.decide(state, TimerDue(), due, policy)
            closed += [(due, a) for a in actions]
        state, actions = completion.decide(state, event, now, policy)
        closed += [(now, a) for a in actions]
    return state, closed


@pytest.mark.parametrize("mode", [Mode.ASSOCIATION, Mode.BATCH])
def test_what_says_itself_that_it_is_whole_is_never_closed_by_a_deadline(mode: Mode) -> None:
    policy = CompletionPolicy(mode=mode, bytes=100, longest=400, whole=True)
    state, closed = collect(policy, (0, Arrived(10)), (200, Arrived(10)), (450, Arrived(10)))
    assert (state.objects, state.due, closed) == (3, None, [])
    state, _ = completion.decide(state, Arrived(10), 2e9, policy)
    assert state.due == 2e9 + policy.idle, "the command goes on"
    state, closing = completion.decide(state, Flush(), 2e9, policy)
    assert closing == (Close(1, 4, 40, Why.OPERATOR),)


def test_a_study_is_complete_a_quiet_period_after_the_last_association() -> None:
    _, closed = collect(
        CompletionPolicy(quiet=30),
        (0, Arrived(10)),
        (1, Arrived(10)),
        (2, AssociationEnded()),
        (20, Arrived(10)),  # the modality opens a second association within the quiet period
        (21, AssociationEnded()),
    )
    assert closed == [(51, Close(1, 3, 30, Why.QUIET))]


def test_another_open_association_keeps_the_study_open() -> None:
    _, closed = collect(
        CompletionPolicy(quiet=30, idle=300), (0, Arrived(10)), (1, AssociationEnded(others_open=True))
    )
    assert closed == [(300, Close(1, 1, 10, Why.QUIET))]


def test_without_an_end_the_idle_deadline_counts_as_after_a_crash() -> None:
    assert collect(CompletionPolicy(idle=300), (0, Arrived(10)))[1] == [(300, Close(1, 1, 10, Why.QUIET))]


def test_trickling_objects_do_not_wait_for_ever() -> None:
    policy = CompletionPolicy(idle=300, longest=1000)
    _, closed = collect(policy, *((t * 200.0, Arrived(1)) for t in range(10)))
    assert closed[0] == (1000, Close(1, 5, 5, Why.QUIET))


def test_late_objects_become_a_second_batch_of_the_group() -> None:
    _, closed = collect(CompletionPolicy(), (0, Arrived(1)), (1, AssociationEnded()), (100, Arrived(2)))
    assert closed == [(31, Close(1, 1, 1, Why.QUIET)), (400, Close(2, 1, 2, Why.QUIET))]


def test_by_count_and_object_by_object() -> None:
    by_count = CompletionPolicy(mode=Mode.COUNT, count=2)
    _, closed = collect(by_count, (0, Arrived(1)), (1, Arrived(1)), (2, Arrived(1)), (3, AssociationEnded()))
    assert closed == [(1, Close(1, 2, 2, Why.COUNT)), (33, Close(2, 1, 1, Why.QUIET))]
    _, closed = collect(CompletionPolicy(mode=Mode.EACH), (0, Arrived(1)), (1, Arrived(2)))
    assert closed == [(0, Close(1, 1, 1, Why.EACH)), (1, Close(2, 1, 2, Why.EACH))]


def test_batches_by_bytes_count_and_age() -> None:
    policy = CompletionPolicy(mode=Mode.BATCH, bytes=100, count=3, age=10)
    _, closed = collect(
        policy,
        (0, Arrived(60)),
        (1, Arrived(60)),  # bytes
        (2, Arrived(1)),
        (3, Arrived(1)),
        (4, Arrived(1)),  # count
        (5, Arrived(1)),
        (9, Arrived(1)),  # age: 10 s after the first of the batch
        (30, Arrived(1)),
        (31, AssociationEnded()),  # an end never makes a batch wait longer
    )
    assert closed == [
        (1, Close(1, 2, 120, Why.BYTES)),
        (4, Close(2, 3, 3, Why.COUNT)),
        (15, Close(3, 2, 2, Why.QUIET)),
        (40, Close(4, 1, 1, Why.QUIET)),
    ]


def test_flush_closes_now_and_nothing_when_empty() -> None:
    state, closed = collect(CompletionPolicy(), (0, Arrived(1)), (1, Flush()), (2, Flush()))
    assert closed == [(1, Close(1, 1, 1, Why.OPERATOR))]
    assert state == Collection(batch=2)


# --- packing ----------------------------------------------------------------------------------------------


def items(*sizes: int) -> list[Item[int]]:
    return [Item(i, size, size) for i, size in enumerate(sizes)]


def ids(limits: Limits, *sizes: int) -> list[list[int]]:
    return [[i.id for i in mail.items] for mail in pack(items(*sizes), limits, plain_bound)]


def test_one_object_per_mail_is_the_start() -> None:
    assert ids(Limits(), 1, 2, 3) == [[0], [1], [2]]


def test_by_count_and_size_in_order() -> None:
    assert ids(Limits(objects_per_mail=2), 1, 1, 1) == [[0, 1], [2]]
    limits = Limits(objects_per_mail=100, max_mail_size=10_000)
    assert ids(limits, 3000, 3000, 3000, 500) == [[0, 1], [2, 3]]


def test_an_oversize_object_travels_alone() -> None:
    limits = Limits(objects_per_mail=100, max_mail_size=10_000)
    mails = list(pack(items(100, 50_000, 100), limits, plain_bound))
    assert [([i.id for i in m.items], m.oversize) for m in mails] == [([0], False), ([1], True), ([2], False)]


def test_the_number_is_known_before_the_first_mail_is_made() -> None:
    sizes = [random.Random(7).randrange(1, 9000) for _ in range(500)]
    limits = Limits(objects_per_mail=20, max_mail_size=40_000)
    total = count(items(*sizes), limits, plain_bound)
    mails = list(pack(items(*sizes), limits, plain_bound))
    assert (total.mails, total.objects, total.bytes) == (len(mails), 500, sum(sizes))
    assert [m.part for m in mails] == list(range(1, total.mails + 1))


def test_inv8_packing_reads_no_further_than_one_object_ahead() -> None:
    taken = 0

    def endless() -> Iterator[Item[int]]:
        nonlocal taken
        while True:
            taken += 1
            yield Item(taken, 10, 10)

    stream = pack(endless(), Limits(objects_per_mail=3), plain_bound)
    next(stream)
    next(stream)
    assert taken == 7


def test_the_bound_of_armor_is_an_upper_bound() -> None:
    payload = 1_000_000  # incompressible
    armored = -(-payload // 3) * 4 * 66 / 64
    assert armored < base64_bound(1, payload) < armored * 1.02
    assert not list(pack([], Limits(), plain_bound))


# --- submission -------------------------------------------------------------------------------------------

SUB = submission.SubmissionPolicy(alarm_after_tries=2)


def test_a_deferred_message_waits_longer_each_time_and_alarms_once() -> None:
    state = Submission()
    waits, alarms = list[float | None](), list[object]()
    for _ in range(4):
        state, _ = submission.decide(state, submission.Started(), 0, SUB)
        state, actions = submission.decide(state, Answered(Reply.DEFERRED), 0, SUB)
        waits.append(state.due)
        alarms += actions
    assert waits == [30, 60, 120, 240]
    assert alarms == [Alarm(errors.MAIL_REFUSED_TEMPORARILY)]
    _, actions = submission.decide(state, Answered(Reply.ACCEPTED), 0, SUB)
    assert actions == (EndAlarm(errors.MAIL_REFUSED_TEMPORARILY),)


def test_a_server_that_is_down_costs_a_message_no_try() -> None:
    state = Submission(phase=submission.Phase.SENDING, not_before=5)
    state, _ = submission.decide(state, Answered(Reply.UNREACHABLE), 100, SUB)
    assert (state.phase, state.tries, state.not_before) == (submission.Phase.READY, 0, 5)


def test_after_a_crash_in_the_dialogue_the_message_is_ready_again() -> None:
    state = Submission(phase=submission.Phase.SENDING)
    assert submission.decide(state, submission.Restarted(), 9, SUB)[0].due == 9
    accepted = Submission(phase=submission.Phase.ACCEPTED)
    assert submission.decide(accepted, submission.Restarted(), 9, SUB)[0] == accepted
    assert submission.decide(accepted, CameBack(), 9, SUB)[0].due == 309


# --- window -----------------------------------------------------------------------------------------------

MB = 1_000_000
WIN = WindowPolicy(initial=10 * MB, floor=2 * MB, reserve=3 * MB)


def test_the_window_closes_when_used_up_but_emergencies_have_a_reserve() -> None:
    state = window.opened(WIN, 0)
    state, _ = window.decide(state, Charged(9 * MB), 0, WIN)
    assert window.admits(state, 1 * MB, Priority.ROUTINE, 0, WIN)
    assert not window.admits(state, 2 * MB, Priority.ROUTINE, 0, WIN)
    assert window.admits(state, 2 * MB, Priority.EMERGENCY, 0, WIN)
    assert not window.admits(state, 5 * MB, Priority.EMERGENCY, 0, WIN)


def test_a_mail_larger_than_the_window_goes_alone() -> None:
    state = window.opened(WIN, 0)
    assert window.admits(state, 99 * MB, Priority.ROUTINE, 0, WIN)


def test_receipts_open_it_stalls_and_overflows_close_it() -> None:
    state = window.opened(WIN, 0)
    state, _ = window.decide(state, Charged(8 * MB), 0, WIN)
    grown, _ = window.decide(state, Credited(8 * MB, flowing=True), 0, WIN)
    assert (grown.in_flight, grown.limit) == (0, 14 * MB)
    given_back, _ = window.decide(state, Credited(8 * MB), 0, WIN)
    assert given_back.limit == 10 * MB
    full, _ = window.decide(state, Overflowed(), 100, WIN)
    assert (full.limit, full.threshold) == (4 * MB, 4 * MB)
    assert not window.admits(full, 1, Priority.ROUTINE, 200, WIN)
    stalled, _ = window.decide(state, Stalled(), 0, WIN)
    assert stalled.limit == 4 * MB
    careful, _ = window.decide(full, Credited(8 * MB, flowing=True), 0, WIN)
    assert careful.limit == 4 * MB + int(8 * MB * 0.05)


def test_a_lost_receipt_cannot_close_a_partner_for_good() -> None:
    state = window.opened(WIN, 0)
    state, _ = window.decide(state, Charged(10 * MB), 0, WIN)
    assert not window.admits(state, MB, Priority.ROUTINE, 599, WIN)
    assert window.opens_at(state, MB, 10, WIN) == 600
    assert window.admits(state, MB, Priority.ROUTINE, 600, WIN)


def test_partners_without_receipts_get_a_rate() -> None:
    policy = WindowPolicy(rate=1 * MB, burst=5 * MB)
    state = window.opened(policy, 0)
    state, _ = window.decide(state, Charged(5 * MB), 0, policy)
    assert not window.admits(state, 2 * MB, Priority.ROUTINE, 1, policy)
    assert window.opens_at(state, 2 * MB, 1, policy) == pytest.approx(2, abs=0.01)
    assert window.admits(state, 2 * MB, Priority.ROUTINE, 2, policy)


# --- lines ------------------------------------------------------------------------------------------------


def test_a_line_alarms_after_a_while_and_probes_one_at_a_time() -> None:
    policy = retry.LinePolicy(alarm_after=10)
    failed = retry.ConnectFailed(errors.SERVER_UNREACHABLE)
    line, actions = retry.decide(retry.Line(), failed, 0, policy)
    assert (actions, line.usable(1), line.usable(2)) == ((), False, True)
    line, _ = retry.decide(line, retry.Probing(), 2, policy)
    assert not line.usable(2)
    line, actions = retry.decide(line, failed, 12, policy)
    assert actions == (Alarm(errors.SERVER_UNREACHABLE),)
    line, actions = retry.decide(line, retry.Connected(), 20, policy)
    assert (line, actions) == (retry.Line(), (EndAlarm(errors.SERVER_UNREACHABLE),))


def test_what_waiting_cannot_mend_is_told_at_once() -> None:
    _, actions = retry.decide(
        retry.Line(), retry.ConnectFailed(errors.LOGIN_FAILED, urgent=True), 0, retry.LinePolicy()
    )
    assert actions == (Alarm(errors.LOGIN_FAILED),)


@pytest.mark.parametrize("tries", [0, 1, 5, 5000])
def test_pauses_grow_to_a_cap_and_are_spread(tries: int) -> None:
    backoff = retry.Backoff(first=10, cap=100)
    plain = min(100.0, 10 * 2.0 ** min(tries, 60))
    assert backoff.delay(tries, 0.0) == plain * 0.75
    assert plain <= backoff.delay(tries, 0.999) < plain * 1.25


# --- transmissions ----------------------------------------------------------------------------------------

TR = transmission.TransmissionPolicy(progress_within=100, warn_before=10)


def step(
    state: transmission.Transmission, *events: transmission.TransmissionEvent, now: float = 0
) -> tuple[transmission.Transmission, list[transmission.TransmissionAction]]:
    actions: list[transmission.TransmissionAction] = []
    for event in events:
        state, more = transmission.decide(state, event, now, TR)
        actions += more
    return state, actions


def test_counters_follow_the_mails_to_the_end() -> None:
    state, _ = step(transmission.opened(0, TR), Planned(2))
    assert (state.state, state.count(Phase.PLANNED)) == (State.SENDING, 2)
    states = []
    for before, after in [
        (Phase.PLANNED, Phase.ON_SERVER),
        (Phase.PLANNED, Phase.ON_SERVER),
        (Phase.ON_SERVER, Phase.CONFIRMED),
        (Phase.ON_SERVER, Phase.CONFIRMED_UNSIGNED),
    ]:
        state, actions = step(state, MailMoved(before, after))
        states.append(state.state)
    assert states == [State.SENDING, State.WAITING, State.WAITING, State.CONFIRMED_UNSIGNED]
    assert actions == [Ended(State.CONFIRMED_UNSIGNED)]
    assert state.due is None


def test_settotal_never_changes() -> None:
    state, _ = step(transmission.opened(0, TR), Planned(2), Planned(3))
    assert state.total == 2


def test_the_worst_mail_names_the_end() -> None:
    state, _ = step(transmission.opened(0, TR), Planned(2), MailMoved(Phase.PLANNED, Phase.CONFIRMED))
    assert step(state, MailMoved(Phase.PLANNED, Phase.REFUSED))[0].state is State.REFUSED
    assert step(state, MailMoved(Phase.PLANNED, Phase.FAILED))[0].state is State.FAILED


def test_inv4_standing_still_alarms_once_and_progress_ends_it() -> None:
    state, _ = step(transmission.opened(0, TR), Planned(1))
    assert state.due == 100
    state, actions = step(state, TimerDue(), TimerDue(), now=100)
    assert actions == [Alarm(errors.NO_PROGRESS)]
    state, actions = step(state, MailMoved(Phase.PLANNED, Phase.SEALED), now=120)
    assert (actions, state.due) == ([EndAlarm(errors.NO_PROGRESS)], 220)


def test_a_deadline_warns_before_and_alarms_after() -> None:
    state, _ = step(transmission.opened(0, TR), Planned(1), transmission.SetDeadline(60))
    state, near = step(state, TimerDue(), now=50)
    state, missed = step(state, TimerDue(), now=60)
    state, late = step(state, MailMoved(Phase.PLANNED, Phase.CONFIRMED), now=70)
    assert near == [Alarm(errors.DEADLINE_NEAR)]
    assert missed == [EndAlarm(errors.DEADLINE_NEAR), Alarm(errors.DEADLINE_MISSED)]
    assert late == [EndAlarm(errors.DEADLINE_MISSED), Ended(State.CONFIRMED)]


def test_orders_go_to_the_mails() -> None:
    state, _ = step(transmission.opened(0, TR), Planned(1))
    state, actions = step(state, Operator(Command.HOLD))
    assert (state.state, actions) == (State.HELD, [OrderMails(Command.HOLD)])
    assert step(state, Operator(Command.RELEASE))[0].state is State.SENDING


def test_a_step_that_counts_nowhere_is_not_told() -> None:
    mail = OutgoingMail(1, 1)
    sealed, _ = outgoing.decide(mail, outgoing.Sealed(5), 0, outgoing.OutgoingPolicy())
    assert transmission.moved(mail, mail) is None
    assert transmission.moved(mail, sealed) == MailMoved(Phase.PLANNED, Phase.SEALED)
