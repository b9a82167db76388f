"""Fragments and sets: any order, twice, too late, against each other (DESIGN 3: 4, 5, 6)."""

import re
from typing import TYPE_CHECKING

import pytest

from radpost.errors import DISK_FULL, INCOMPLETE_FRAGMENTS, INCOMPLETE_SET, PARTIAL_INCONSISTENT, RadpostError
from radpost.gateway.operating import quarantine, replay
from radpost.gateway.partners import Switches
from radpost.store import incoming_fragments, incoming_mails, incoming_sets
from radpost.testing.house import House, Pair

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL = Switches(max_mail_size=20_000, compression="never")
WAIT = 259_200.0


def states(house: House) -> list[str]:
    with house.site.database.read() as connection:
        return [row.state for row in reversed(incoming_mails.recent_arrivals(connection, 100))]


def imported(house: House) -> int:
    with house.site.database.read() as connection:
        return sum(
            len(incoming_mails.objects_of(connection, row.id))
            for row in incoming_mails.recent_arrivals(connection, 100)
        )


def receive_only(house: House, data: bytes) -> None:
    """Receive and process one mail, but join nothing yet."""
    house.receive(data)
    for row in house.processor.next(10, frozenset()):
        house.processor.work(row)


def test_a_copy_that_comes_before_the_group_is_joined_does_not_prevent_the_joining(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=SMALL)
    pieces = pair.send(study(1, side=200))
    for piece in (*reversed(pieces), pieces[0]):
        receive_only(pair.b, piece)
    pair.b.process()
    assert imported(pair.b) == 1
    assert states(pair.b) == ["joined"] * (len(pieces) + 1) + ["receipt owed"]


def test_a_copy_that_comes_while_the_group_is_joined_does_not_wait_for_ever(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_pair(switches=SMALL)
    pieces = pair.send(study(1, side=200))
    for piece in pieces:
        receive_only(pair.b, piece)
    spool = pair.b.site.spool
    honest = type(spool).writer

    def writer(self: object) -> object:
        monkeypatch.undo()
        receive_only(pair.b, pieces[1])
        return honest(self)  # type: ignore[arg-type]

    monkeypatch.setattr(type(spool), "writer", writer)
    pair.b.process()
    assert states(pair.b).count("fragment waiting") == 0
    assert imported(pair.b) == 1


def test_invariant_4_a_missing_fragment_alarms_and_ends_the_alarm_when_it_comes_after_all(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=SMALL)
    pieces = pair.send(study(1, side=200))
    for piece in pieces[1:]:
        pair.b.take(piece)
    pair.b.clock.now += WAIT + 1
    pair.b.timekeeper.step()
    assert set(states(pair.b)) == {"quarantined"}
    assert {code for code, _ in pair.b.alarms()} == {INCOMPLETE_FRAGMENTS.code}
    pair.b.take(pieces[0])
    assert imported(pair.b) == 1
    assert states(pair.b) == ["joined"] * len(pieces) + ["receipt owed"]
    assert quarantine(pair.b.site) == []
    assert pair.b.alarms() == []


def test_a_replayed_fragment_is_not_counted_twice(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=SMALL)
    pieces = pair.send(study(1, side=200))
    for piece in pieces[1:]:
        pair.b.take(piece)
    pair.b.clock.now += WAIT + 1
    pair.b.timekeeper.step()
    replay(pair.b.site, quarantine(pair.b.site)[0].id)
    pair.b.process()
    assert states(pair.b).count("fragment waiting") == 1
    pair.b.take(pieces[0])
    assert imported(pair.b) == 1


def test_invariant_5_contradicting_fragments_are_quarantined_in_one_step(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the finding and the quarantine would leave fragments that nothing ever looks at."""
    pair = make_pair(switches=SMALL)
    first, *_, last = pair.send(study(1, side=200))
    pair.b.take(first)
    pair.b.take(last)
    number = pair.b.receive(last.replace(b"total=", b"total=9", 1))
    (row,) = pair.b.processor.next(4, frozenset())
    commits = 0
    honest = type(pair.b.site.database).write

    def write(self: object) -> object:
        nonlocal commits
        commits += 1
        return honest(self)  # type: ignore[arg-type]

    monkeypatch.setattr(type(pair.b.site.database), "write", write)
    pair.b.processor.work(row)
    monkeypatch.undo()
    assert commits == 2, "what the outside says, and what follows from it"
    assert pair.b.arrival(number).code == PARTIAL_INCONSISTENT.code
    assert states(pair.b) == ["receipt owed", "quarantined", "quarantined"], "the first answers for all"


def message_id_of(mail: bytes) -> str:
    """Return the Message-ID of the mail that a first fragment holds."""
    _, enclosed, *_ = re.findall(rb"(?im)^Message-ID: (\S+)", mail)
    return str(enclosed.decode())


def give_up(house: House) -> None:
    house.clock.now += WAIT + 1
    house.timekeeper.step()


def test_invariant_4_a_group_that_is_given_up_owes_one_error_for_the_mail_inside(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    """The sender learns it from the receipt, and sends the mail again; then all is well by itself."""
    pair = make_pair(switches=SMALL)
    pieces = pair.send(study(1, side=200))
    for piece in (*pieces[:-1], pieces[0]):
        pair.b.take(piece)
    assert pair.b.answer() == []
    give_up(pair.b)
    (receipt,) = pair.b.answer()
    assert message_id_of(pieces[0]).encode() in receipt
    assert b"deleted/error" in receipt
    assert set(states(pair.b)) == {"quarantined"}
    before = len(pair.a.posted)
    pair.a.take(receipt)
    pair.a.clock.now += 600  # a failed mail is not sent again at once
    pair.a.seal()
    pair.a.submit()
    again = [data for _, data in pair.a.posted[before:]]
    assert len(again) == len(pieces), "the whole mail under a new Message-ID"
    for piece in again:
        pair.b.take(piece)
    assert imported(pair.b) == 1
    for answer in pair.b.answer():
        pair.a.take(answer)
    assert [row.state for row in pair.a.transmissions()] == ["confirmed (unsigned)"]


def test_a_group_is_answered_once_also_when_the_rest_comes_after_all(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=SMALL)
    pieces = pair.send(study(1, side=200))
    pair.b.take(pieces[0])
    give_up(pair.b)
    assert len(pair.b.answer()) == 1
    for piece in (pieces[0], pieces[1]):
        pair.b.take(piece)
    give_up(pair.b)
    replay(pair.b.site, quarantine(pair.b.site)[0].id)
    pair.b.process()
    give_up(pair.b)
    assert pair.b.answer() == [], "nothing new can be said"
    for piece in pieces[2:]:
        pair.b.take(piece)
    assert imported(pair.b) == 1
    (receipt,) = pair.b.answer()
    assert b"displayed" in receipt
    assert message_id_of(pieces[0]).encode() in receipt


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_copies_one_answers_in_whichever_order_workers_take_them(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", order: tuple[int, int]
) -> None:
    pair = make_pair(switches=SMALL)
    first, *_ = pair.send(study(1, side=200))
    pair.b.receive(first)
    pair.b.receive(first)
    waiting = pair.b.processor.next(10, frozenset())
    for index in order:
        pair.b.processor.work(waiting[index])
    give_up(pair.b)
    assert len(pair.b.answer()) == 1


def test_a_copy_that_may_not_be_answered_leaves_the_answer_to_another(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=SMALL)
    first, *_ = pair.send(study(1, side=200))
    pair.b.take(first, envelope_from="")
    pair.b.take(first)
    give_up(pair.b)
    assert len(pair.b.answer()) == 1


def test_an_error_that_is_not_sent_yet_does_not_keep_the_group_from_being_joined(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=SMALL)
    pieces = pair.send(study(1, side=200))
    for piece in pieces[:-1]:
        pair.b.take(piece)
    give_up(pair.b)
    assert "receipt owed" in states(pair.b)
    pair.b.take(pieces[-1])
    assert imported(pair.b) == 1
    assert quarantine(pair.b.site) == []
    assert pair.b.alarms() == []
    (receipt,) = pair.b.answer()
    assert b"displayed" in receipt, "an error that is true no longer is not sent"


def test_contradicting_fragments_owe_an_error_also_when_the_first_comes_last(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=SMALL)
    first, *_, last = pair.send(study(1, side=200))
    pair.b.take(last)
    pair.b.take(last.replace(b"total=", b"total=9", 1))
    assert pair.b.answer() == []
    pair.b.take(first)
    (receipt,) = pair.b.answer()
    assert b"deleted/error" in receipt
    assert message_id_of(first).encode() in receipt


@pytest.mark.parametrize(
    ("old", "new", "envelope_from"),
    [
        (b"Disposition-Notification-To: ", b"X-Nothing: ", None),
        (b"Disposition-Notification-To: dicom@a", b"Disposition-Notification-To: dicom@z", None),
        (
            b"Disposition-Notification-To: ",
            b"Auto-Submitted: auto-replied\r\nDisposition-Notification-To: ",
            None,
        ),
        (b"Disposition-Notification-To: ", b"Disposition-Notification-To: ", ""),
    ],
    ids=["nobody asked", "for a stranger", "made by a machine", "null sender"],
)
def test_invariant_9_no_error_where_no_receipt_may_go(
    make_pair: "Callable[..., Pair]",
    study: "Callable[..., list[Path]]",
    old: bytes,
    new: bytes,
    envelope_from: str | None,
) -> None:
    pair = make_pair(switches=SMALL)
    first, *_ = pair.send(study(1, side=200))
    assert old in first
    pair.b.take(first.replace(old, new), envelope_from=envelope_from)
    give_up(pair.b)
    assert pair.b.answer() == []
    assert states(pair.b) == ["quarantined"]


def test_a_full_disk_only_delays_the_joining(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_pair(switches=SMALL)
    for piece in pair.send(study(1, side=200)):
        receive_only(pair.b, piece)

    def full(_self: object) -> None:
        raise RadpostError(DISK_FULL)

    with monkeypatch.context() as patch:
        patch.setattr(type(pair.b.site.spool), "writer", full)
        assert pair.b.processor.join_due() == 0
        assert pair.b.processor.join_due() == 0, "not again at once"
    assert set(states(pair.b)) == {"fragment waiting"}
    pair.b.clock.now += 61
    pair.b.process()
    assert imported(pair.b) == 1


def test_a_fragment_in_time_is_not_given_up_by_a_late_look_at_the_clock(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_pair(switches=SMALL)
    pieces = pair.send(study(1, side=200))
    for piece in pieces[:-1]:
        pair.b.take(piece)
    pair.b.clock.now += WAIT + 1
    honest = incoming_fragments.due_assemblies

    def due(connection: object, now: float) -> object:
        monkeypatch.undo()
        found = honest(connection, now)  # type: ignore[arg-type]
        receive_only(pair.b, pieces[-1])
        return found

    monkeypatch.setattr(incoming_fragments, "due_assemblies", due)
    pair.b.timekeeper.step()
    pair.b.process()
    assert imported(pair.b) == 1


def test_a_part_in_time_is_not_forgotten_by_a_late_look_at_the_clock(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_pair(switches=Switches())
    first, second = pair.send(study(2))
    pair.b.take(first)
    pair.b.clock.now += 3601
    honest = incoming_sets.due_sets

    def due(connection: object, now: float) -> object:
        monkeypatch.undo()
        found = honest(connection, now)  # type: ignore[arg-type]
        pair.b.take(second)
        return found

    monkeypatch.setattr(incoming_sets, "due_sets", due)
    pair.b.timekeeper.step()
    with pair.b.site.database.read() as connection:
        (row,) = incoming_sets.recent_sets(connection, 10)
    assert (row.state, row.due_at) == ("complete", None)
    assert pair.b.alarms() == []


def test_invariant_6_an_incomplete_set_is_imported_as_it_comes_and_alarms_until_it_is_whole(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=Switches())
    mails = pair.send(study(3))
    pair.b.take(mails[2])
    assert imported(pair.b) == 1
    pair.b.clock.now += 3601
    pair.b.timekeeper.step()
    assert [code for code, _ in pair.b.alarms()] == [INCOMPLETE_SET.code]
    pair.b.take(mails[0])
    pair.b.take(mails[1])
    assert pair.b.alarms() == []
    assert imported(pair.b) == 3
