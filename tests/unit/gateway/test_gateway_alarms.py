"""Alarms of the outbox and the timers begin once, end with their cause, and stop nobody (DESIGN 3: 4)."""

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from radpost.errors import (
    ADDRESS_UNKNOWN,
    MAIL_REFUSED_TEMPORARILY,
    NO_USABLE_KEY,
    RECEIPT_OVERDUE,
    SERVER_UNREACHABLE,
    RadpostError,
)
from radpost.gateway import machines
from radpost.gateway.operating import retry_failed
from radpost.gateway.partners import Switches
from radpost.store.schema import mail as mail_table
from radpost.testing.forgery import plain_receipt
from radpost.testing.house import House, Pair
from radpost.transfer.actions import EndAlarm
from radpost.transfer.outgoing import OutgoingMail
from radpost.transport.smtp_reply import Kind, Outcome, Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from radpost.store.outgoing_mails import MailRow
    from radpost.store.outgoing_submissions import SubmissionRow


def displayed(mail: "MailRow") -> bytes:
    assert mail.message_id is not None
    return plain_receipt(
        sender="dicom@b.example",
        recipient="dicom@a.example",
        about=mail.message_id,
        disposition="automatic-action/MDN-sent-automatically;displayed",
    )


def codes(house: House) -> list[int]:
    return [code for code, _ in house.alarms()]


def test_overdue_receipts_are_one_alarm_that_ends_with_the_last_of_them(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair(switches=Switches()).a
    a.collect(study(3), "b")
    a.seal()
    a.submit()
    a.clock.now += 3601
    a.timekeeper.step()
    assert codes(a).count(RECEIPT_OVERDUE.code) == 1
    first, second, third = a.mails()
    for mail in (second, first):
        a.take(displayed(mail))
        assert RECEIPT_OVERDUE.code in codes(a)
    a.take(displayed(third))
    assert a.alarms() == []
    assert [job.state for job in a.transmissions()] == ["confirmed (unsigned)"]


def test_the_end_of_one_alarm_among_many_is_found_quickly(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    """Thousands of overdue mails of a set, answered one after the other, must not cost thousands squared."""
    a = make_pair(switches=Switches()).a
    a.collect(study(2), "b")
    a.seal()
    a.submit()
    a.clock.now += 3601
    a.timekeeper.step()
    first, second = a.mails()
    with a.site.database.write() as connection:
        for part in range(3, 2003):
            values = {
                "transmission_id": first.transmission_id,
                "partner": "b",
                "part": part,
                "total": first.total,
                "priority": 2,
                "state": "on server",
                "machine": second.machine,
                "due_at": None,
                "work": None,
                "objects": 1,
                "bytes": 1,
                "code": RECEIPT_OVERDUE.code,
            }
            connection.execute(mail_table.insert(), {**values, "version": 0, "size": 0, "detail": ""})
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    with a.site.database.write() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_progress_handler(count, 1)
        for _ in range(50):
            assert a.outbox._others_alarmed(connection, first, EndAlarm(RECEIPT_OVERDUE))
        driver.set_progress_handler(None, 1)
    assert 0 < steps < 50 * 100


def test_a_server_that_is_down_costs_no_mail_a_try_and_the_alarm_ends(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair().a
    a.collect(study(1), "b")
    a.seal()

    def down(_row: "SubmissionRow", _data: bytes) -> Outcome:
        raise RadpostError(SERVER_UNREACHABLE)

    a.submit(down, most=1)
    route = a.submitter._routes["submission"]
    for _ in range(10):
        a.clock.now += 400
        route.post = down  # type: ignore[attr-defined]
        a.submitter.step()
    assert codes(a) == [SERVER_UNREACHABLE.code]
    assert [mail.state for mail in a.mails()] == ["submitting"]
    route.post = lambda *_: Outcome(Kind.ACCEPTED, Stage.END)  # type: ignore[attr-defined]
    a.clock.now += 400
    a.submitter.step()
    assert a.alarms() == []
    assert [mail.state for mail in a.mails()] == ["on server"]


def test_a_mail_that_is_deferred_again_and_again_alarms_and_ends_when_it_goes(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair().a
    a.collect(study(1), "b")
    a.seal()
    for _ in range(6):
        a.clock.now += 4000
        a.submit(lambda *_: Outcome(Kind.DEFERRED, Stage.RCPT), most=1)
    assert codes(a) == [MAIL_REFUSED_TEMPORARILY.code]
    a.clock.now += 4000
    a.submit()
    assert a.alarms() == []


def test_the_alarm_of_one_deferred_mail_does_not_end_with_another_one(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair(switches=Switches()).a
    a.collect(study(2), "b")
    a.seal()
    for _ in range(6):
        a.clock.now += 4000
        a.submit(lambda *_: Outcome(Kind.DEFERRED, Stage.RCPT), most=2)
    a.clock.now += 4000
    a.submit(lambda *_: Outcome(Kind.ACCEPTED, Stage.END), most=1)
    assert MAIL_REFUSED_TEMPORARILY.code in codes(a)
    a.submit()
    assert MAIL_REFUSED_TEMPORARILY.code not in codes(a)


def test_a_refused_address_ends_the_mail_with_an_alarm_until_somebody_retries(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=Switches())
    a = pair.a
    a.collect(study(1), "b")
    a.seal()
    a.submit(lambda *_: Outcome(Kind.REFUSED, Stage.RCPT, reason=ADDRESS_UNKNOWN))
    assert codes(a) == [ADDRESS_UNKNOWN.code]
    assert [job.state for job in a.transmissions()] == ["failed"]
    retry_failed(a.site)
    assert a.alarms() == []
    a.seal()
    assert len(a.submit()) == 1


def test_a_missing_key_alarms_until_it_is_there_and_the_mail_is_ordered_again(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=Switches(), key=False)
    a = pair.a
    a.collect(study(1), "b")
    a.seal()
    assert codes(a) == [NO_USABLE_KEY.code]
    a.knows(pair.b, switches=Switches())
    retry_failed(a.site)
    a.seal()
    assert a.alarms() == []
    assert len(a.submit()) == 1


def test_invariant_5_one_deadline_that_cannot_be_handled_stops_no_other(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    a = make_pair(switches=Switches()).a
    a.collect(study(2), "b")
    a.seal()
    a.submit()
    a.clock.now += 3601
    bad = a.mails()[0].id
    honest = type(a.outbox).mail_event

    def event(self: Any, connection: Any, mail_id: int, *rest: Any) -> OutgoingMail:
        if mail_id == bad:
            raise ValueError
        return honest(self, connection, mail_id, *rest)

    monkeypatch.setattr(type(a.outbox), "mail_event", event)
    a.timekeeper.step()
    alarmed = {mail.id for mail in a.mails() if machines.load(OutgoingMail, mail.machine).alarm}
    assert alarmed == {mail.id for mail in a.mails()} - {bad}
