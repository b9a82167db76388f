"""Packing, completion, windows, sets, fragments and dispositions for any input."""

from hypothesis import given, settings
from hypothesis import strategies as st

from radpost.errors import RadpostError
from radpost.transfer import completion, receipt, window
from radpost.transfer.actions import TimerDue
from radpost.transfer.completion import (
    AssociationEnded,
    Collection,
    CompletionPolicy,
    Flush,
    Mode,
    ObjectArrived,
)
from radpost.transfer.incoming_set import (
    Assembly,
    AssemblyPolicy,
    FragmentArrived,
    IncomingSet,
    Join,
    PartArrived,
    SetPolicy,
    decide_assembly,
    decide_set,
)
from radpost.transfer.packing import Bound, Item, Limits, base64_bound, count, pack, plain_bound
from radpost.words import Priority

SMALL = settings(max_examples=80, deadline=None)
COLLECTED = [ObjectArrived(5), ObjectArrived(70), AssociationEnded(), AssociationEnded(True), Flush()]
TRAFFIC = ["send", "receipt", "stall", "full"]


@SMALL
@given(
    sizes=st.lists(st.integers(0, 50_000), max_size=60),
    per_mail=st.integers(1, 9),
    largest=st.one_of(st.none(), st.integers(2_000, 90_000)),
    bound=st.sampled_from([plain_bound, base64_bound]),
)
def test_packing_keeps_all_in_order_within_the_limits(
    sizes: list[int], per_mail: int, largest: int | None, bound: Bound
) -> None:
    items = [Item(i, size, size) for i, size in enumerate(sizes)]
    limits = Limits(per_mail, largest)
    mails = list(pack(items, limits, bound))
    assert [item for mail in mails for item in mail.items] == items
    assert count(items, limits, bound).mails == len(mails)
    for mail in mails:
        assert 1 <= len(mail.items) <= per_mail
        fits = largest is None or mail.bound <= largest
        assert mail.oversize is not fits
        assert fits or len(mail.items) == 1


@SMALL
@given(
    mode=st.sampled_from(Mode),
    steps=st.lists(
        st.tuples(
            st.floats(0, 500),
            st.sampled_from(
                [ObjectArrived(5), ObjectArrived(70), AssociationEnded(), AssociationEnded(True), Flush()]
            ),
        ),
        max_size=30,
    ),
)
def test_every_object_is_in_exactly_one_batch_and_waits_no_longer_than_promised(
    mode: Mode, steps: list[tuple[float, completion.CollectionEvent]]
) -> None:
    policy = CompletionPolicy(mode=mode, count=4, bytes=100, longest=1000)
    state, now = Collection(), 0.0
    batches: dict[int, int] = {}
    closed: dict[int, int] = {}

    def feed(event: completion.CollectionEvent, at: float) -> None:
        nonlocal state
        if isinstance(event, ObjectArrived):
            batches[state.batch] = batches.get(state.batch, 0) + 1
        state, actions = completion.decide(state, event, at, policy)
        for action in actions:
            assert action.batch not in closed
            closed[action.batch] = action.objects
        assert (state.objects == 0) is (state.due is None)
        assert state.due is None or state.due <= state.opened_at + policy.longest

    for pause, event in steps:
        now += pause
        while state.due is not None and state.due <= now:
            feed(TimerDue(), state.due)
        feed(event, now)
    if state.due is not None:
        feed(TimerDue(), state.due)
    assert closed == batches


@SMALL
@given(
    steps=st.lists(
        st.tuples(
            st.floats(0, 100),
            st.integers(1, 8_000_000),
            st.sampled_from(["send", "receipt", "stall", "full"]),
        ),
        max_size=40,
    )
)
def test_the_window_stays_in_its_bounds_and_always_opens_again(steps: list[tuple[float, int, str]]) -> None:
    policy = window.WindowPolicy()
    now = 0.0
    state = window.opened(policy, now)
    flying: list[int] = []
    for pause, size, what in steps:
        now += pause
        event: window.WindowEvent = window.Stalled()
        if what == "send":
            if not window.admits(state, size, Priority.ROUTINE, now, policy):
                assert window.opens_at(state, size, now, policy) > now
                continue
            flying.append(size)
            event = window.Charged(size)
        elif what == "receipt":
            event = window.Credited(flying.pop(0) if flying else 0, flowing=True)
        elif what == "full":
            event = window.Overflowed()
        state, _ = window.decide(state, event, now, policy)
        assert policy.floor <= state.limit <= policy.ceiling
        assert state.in_flight == sum(flying)
        later = max(now, window.opens_at(state, size, now, policy))
        assert window.admits(state, size, Priority.ROUTINE, later, policy)


@SMALL
@given(
    rate=st.floats(1e3, 1e8),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(1, 30_000_000)), max_size=20),
)
def test_a_rate_is_kept_and_always_opens_again(rate: float, steps: list[tuple[float, int]]) -> None:
    policy = window.WindowPolicy(rate=rate)
    now = 1.7e9
    state, sent, start = window.opened(policy, now), 0, now
    for pause, size in steps:
        now = max(now + pause, window.opens_at(state, size, now + pause, policy))
        assert window.admits(state, size, Priority.ROUTINE, now, policy)
        before = sent
        state, _ = window.decide(state, window.Charged(size), now, policy)
        sent += size
        # Never more than the burst ahead of the rate, but for the mail that is larger than the burst.
        assert before <= policy.burst * 2 + rate * (now - start) * 1.001 + max(s for _, s in steps)


@SMALL
@given(data=st.data(), total=st.integers(1, 12))
def test_a_set_is_complete_exactly_when_all_parts_are_there(data: st.DataObject, total: int) -> None:
    arrivals = data.draw(st.lists(st.integers(1, total), max_size=30))
    state, have = IncomingSet(), set[int]()
    for now, part in enumerate(arrivals):
        state, _ = decide_set(state, PartArrived(part, total, part not in have), now, SetPolicy())
        have.add(part)
        assert state.complete is (len(have) == total)
        assert state.complete or state.due is not None


@SMALL
@given(data=st.data(), total=st.integers(1, 12))
def test_fragments_join_once_whatever_the_order(data: st.DataObject, total: int) -> None:
    order = data.draw(st.permutations(range(1, total + 1)))
    again = data.draw(st.lists(st.sampled_from(order), max_size=5))
    state, have, joins = Assembly(), set[int](), 0
    for number in [*order, *again]:
        said = total if number == total else None
        event = FragmentArrived(number, said, number not in have, highest=max(have, default=0))
        state, actions = decide_assembly(state, event, 0, AssemblyPolicy())
        have.add(number)
        joins += actions.count(Join())
    assert (joins, state.joined) == (1, True)


@SMALL
@given(st.text(max_size=60))
def test_any_disposition_is_read_or_refused_without_its_text(value: str) -> None:
    try:
        known = receipt.read(value).type in value.lower()
    except RadpostError as error:
        known = error.detail == "unknown disposition"
    assert known
