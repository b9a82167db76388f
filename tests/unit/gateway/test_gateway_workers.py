"""Workers side by side: rows that were read too early, rows that fail, bells."""

import errno
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from radpost.errors import INTERNAL, NO_USABLE_KEY, RadpostError
from radpost.gateway import sealing
from radpost.gateway.partners import Switches
from radpost.gateway.service import Gateway
from radpost.gateway.site import Bell
from radpost.gateway.workers import Claims, step_of
from radpost.store import incoming_mails, outgoing_mails
from radpost.testing.house import House, Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from radpost.agit.letter import Letter
    from radpost.gateway.cutting import Piece
    from radpost.gateway.partners import Partner
    from radpost.gateway.receipting import Reported
    from radpost.gateway.sealing import _Written
    from radpost.store.incoming_mails import ArrivalRow
    from radpost.store.outgoing_mails import MailRow
    from radpost.store.spool import Stored


def test_invariant_4_a_second_worker_with_an_old_row_does_not_withdraw_what_the_first_sealed(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair().a
    a.collect(study(1), "b")
    (row,) = a.sealer.next(4, frozenset())
    a.sealer.work(row)
    a.sealer.work(row)
    assert len(a.submit()) == 1
    assert [mail.state for mail in a.mails()] == ["on server"]


def test_a_second_worker_with_an_old_row_counts_no_fragment_twice(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=Switches(max_mail_size=20_000, compression="never"))
    pieces = pair.send(study(1, side=200))
    assert len(pieces) > 2
    for piece in pieces[:-1]:
        number = pair.b.receive(piece)
        (row,) = pair.b.processor.next(4, frozenset())
        assert row.id == number
        pair.b.processor.work(row)
        pair.b.processor.work(row)
    assert pair.b.processor.join_due() == 0
    pair.b.take(pieces[-1])
    with pair.b.site.database.read() as connection:
        states = sorted(row.state for row in outgoing_arrivals(connection))
    assert states == ["joined"] * len(pieces) + ["receipt owed"]


def outgoing_arrivals(connection: object) -> "list[ArrivalRow]":
    return incoming_mails.recent_arrivals(connection, 100)  # type: ignore[arg-type]


def test_invariant_5_a_row_whose_work_always_fails_stops_no_other(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    a = make_pair(switches=Switches()).a
    a.collect(study(3), "b")
    gateway = Gateway(a.site)
    first = a.mails()[0].id
    sealer = gateway._sealer
    honest = sealer.work_all

    def work_all(rows: "Sequence[MailRow]") -> None:
        if first in [row.id for row in rows]:
            raise ValueError
        honest(rows)

    monkeypatch.setattr(sealer, "work_all", work_all)
    step = step_of(sealer, Claims(a.site.log), Bell())
    for _ in range(6):
        step()
    assert [mail.state for mail in a.mails()] == ["planned", "sealed", "sealed"]


def test_a_worker_takes_several_small_mails_and_leaves_half_to_the_other(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair(switches=Switches()).a
    a.collect(study(5), "b")
    claims, bell, then = Claims(a.site.log), Bell(), Bell()
    step = step_of(a.sealer, claims, bell, then)
    assert step()
    assert [mail.state for mail in a.mails()] == ["sealed"] * 3 + ["planned"] * 2
    assert (bell.wait(0), then.wait(0)) == (True, True)
    assert claims.frozen() == frozenset()
    assert step()
    assert step()
    assert not step()
    assert [mail.state for mail in a.mails()] == ["sealed"] * 5


def test_large_mails_are_sealed_one_by_one(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair(switches=Switches()).a
    a.collect(study(4), "b")
    rows = [replace(row, bytes=sealing.BATCH_BYTES - 1) for row in a.sealer.next(16, frozenset())]
    assert a.sealer.batch(rows) == rows[:1]


def test_invariant_5_mails_that_are_sealed_together_fail_alone(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    a = make_pair(switches=Switches()).a
    a.collect(study(4), "b")
    honest, adopt, adopted = a.sealer._write, a.site.spool.adopt, []

    def write(letter: "Letter", partner: "Partner") -> "tuple[Path, Stored]":
        if letter.part == 2:
            raise RadpostError(NO_USABLE_KEY)
        return honest(letter, partner)

    def counted(files: "list[tuple[Path, Stored]]") -> None:
        adopted.append(len(files))
        adopt(files)

    monkeypatch.setattr(a.sealer, "_write", write)
    monkeypatch.setattr(a.site.spool, "adopt", counted)
    a.sealer.work_all(a.sealer.next(16, frozenset()))
    assert adopted == [3], "what was sealed is made durable together"
    assert [mail.state == "sealed" for mail in a.mails()] == [True, False, True, True]
    assert NO_USABLE_KEY.code in [mail.code for mail in a.mails()]
    assert len(a.submit()) == 3


def test_invariant_5_a_mail_that_cannot_be_noted_takes_no_other_with_it(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    a = make_pair(switches=Switches()).a
    a.collect(study(3), "b")
    rows = a.sealer.next(16, frozenset())
    honest = a.sealer._commit

    def commit(connection: "Connection", written: "_Written", pieces: "list[Piece]") -> None:
        honest(connection, written, pieces)
        if written.row.id == rows[1].id:
            raise ValueError

    monkeypatch.setattr(a.sealer, "_commit", commit)
    a.sealer.work_all(rows)
    assert [mail.state == "sealed" for mail in a.mails()] == [True, False, True]
    assert len(a.submit()) == 2


def test_invariant_1_mails_whose_sync_failed_together_are_sealed_anew_each_alone(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    a = make_pair(switches=Switches()).a
    a.collect(study(3), "b")
    honest, failing = os.fdatasync, [errno.EIO]

    def fdatasync(descriptor: int) -> None:
        if failing:  # the kernel reports a lost page once
            raise OSError(failing.pop(), "lost")
        honest(descriptor)

    written: list[int] = []
    write = a.sealer._write

    def counted(letter: "Letter", partner: "Partner") -> "tuple[Path, Stored]":
        written.append(letter.part)
        return write(letter, partner)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    monkeypatch.setattr(a.sealer, "_write", counted)
    a.sealer.work_all(a.sealer.next(16, frozenset()))
    assert written == [1, 2, 3, 1, 2, 3], "no bytes are believed after a failed sync"
    assert [mail.state for mail in a.mails()] == ["sealed"] * 3
    assert list(a.site.spool.tmp.iterdir()) == []


def test_invariant_5_a_collection_that_cannot_be_planned_stops_no_other(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    a = make_pair().a
    gateway = Gateway(a.site)
    planner = gateway._planner
    honest = planner.plan

    def plan(connection: object, plan: object, parts: object, now: float) -> str:
        if plan.source == "bad":  # type: ignore[attr-defined]
            raise ValueError
        return honest(connection, plan, parts, now)  # type: ignore[arg-type]

    monkeypatch.setattr(planner, "plan", plan)
    monkeypatch.setattr(a, "plan", list)
    a.collect(study(1), "b", source="bad")
    a.collect(study(1), "b", source="good")
    assert gateway._collect()
    assert [row.source for row in a.transmissions()] == ["good"]
    assert INTERNAL.code in [code for code, _ in a.alarms()]
    assert not gateway._collect(), "what waits for another try must not spin"
    monkeypatch.setattr(planner, "plan", honest)
    a.clock.now += 61
    assert gateway._collect()
    assert sorted(row.source for row in a.transmissions()) == ["bad", "good"]
    assert a.alarms() == []


def test_a_clock_set_back_does_not_make_the_collector_spin(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair().a
    (row,) = a.collect(study(1), "b")
    (mail,) = a.mails()
    with a.site.database.write() as connection:
        outgoing_mails.update_mail(connection, mail.id, work="recut-rest", due_at=a.clock() + 3600)
    assert row.mails == 1
    assert not Gateway(a.site)._collect()


def test_a_bell_says_whether_it_rang() -> None:
    bell = Bell()
    bell.ring()
    assert bell.wait(0)
    assert not bell.wait(0.01)


def test_a_ring_wakes_one_task_and_the_end_wakes_all() -> None:
    bell, heard = Bell(), []

    def task(number: int) -> None:
        bell.wait(5)
        heard.append(number)

    threads = [threading.Thread(target=task, args=(number,), daemon=True) for number in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    bell.ring()
    time.sleep(0.2)
    assert len(heard) == 1
    bell.wake_all()
    for thread in threads:
        thread.join(2)
    assert sorted(heard) == [0, 1, 2]


def test_a_bell_that_is_passed_on_rings_all_others() -> None:
    bell, others = Bell(), [Bell(), Bell()]
    bell.pass_to(others)
    bell.ring()
    assert [other.wait(0) for other in others] == [True, True]


def test_mailboxes_are_woken_by_the_bell_only(make_pair: "Callable[..., Pair]") -> None:
    gateway = Gateway(make_pair().a.site)
    bell, rung = Bell(), []
    gateway._spread("x", bell, [lambda: rung.append(time.monotonic())])
    time.sleep(1.3)
    assert rung == []
    bell.ring()
    time.sleep(0.2)
    assert len(rung) == 1
    gateway.request_stop()


def receipts_at(pair: "Pair", objects: "list[Path]") -> House:
    """Send objects one by one; return the sender with the receipts in clear that came back."""
    a, b = pair.a, pair.b
    a.collect(objects, "b")
    a.seal()
    for _, data in a.submit():
        b.receive(data)
    b.process()
    for data in b.answer():
        a.receive(data)
    return a


def arrivals(house: House) -> dict[str, int]:
    """Return how many mails that came in stand in each state."""
    with house.site.database.read() as connection:
        return incoming_mails.counts(connection)


def test_receipts_in_clear_are_applied_together(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    a = receipts_at(make_pair(switches=Switches(trust_unsigned_receipts=True)), study(5))
    commits: list[int] = []
    apply_receipt = a.receipts.apply_receipt

    def apply(connection: "Connection", reported: "Reported", now: float) -> bool:
        commits.append(id(connection))
        return apply_receipt(connection, reported, now)

    monkeypatch.setattr(a.receipts, "apply_receipt", apply)
    monkeypatch.setattr(a.processor, "work", None)  # nobody needs it
    step = step_of(a.processor, Claims(a.site.log), Bell())
    assert step()
    assert not step()
    assert len(commits) == 5
    assert [mail.state for mail in a.mails()] == ["confirmed (unsigned)"] * 5
    assert arrivals(a) == {"done": 5}


def test_invariant_5_a_bad_receipt_among_others_spoils_none(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    a = receipts_at(make_pair(switches=Switches(trust_unsigned_receipts=True)), study(4))
    bad = a.mails()[1].message_id
    apply_receipt = a.receipts.apply_receipt

    def apply(connection: "Connection", reported: "Reported", now: float) -> bool:
        if reported.mdn.original_message_id == bad:
            raise ValueError
        return apply_receipt(connection, reported, now)

    monkeypatch.setattr(a.receipts, "apply_receipt", apply)
    step = step_of(a.processor, Claims(a.site.log), Bell())
    while step():
        pass
    states = [mail.state for mail in a.mails()]
    assert states == ["confirmed (unsigned)", "on server", *["confirmed (unsigned)"] * 2]
    assert arrivals(a) == {"done": 3, "quarantined": 1}
