"""What leaves: one slow partner, one damaged file, one lost answer stop nobody else (DESIGN 3: 4, 5, 8)."""

from typing import TYPE_CHECKING

import pytest

from radpost.errors import DISK_FULL, SERVER_UNREACHABLE, STORE_UNUSABLE, RadpostError
from radpost.gateway import machines
from radpost.gateway.partners import Switches
from radpost.store import cleaning, outgoing_submissions, outgoing_windows
from radpost.testing.exchange import known_key
from radpost.testing.house import ACCEPTED, House, Pair
from radpost.transfer.window import Window
from radpost.transport.smtp_reply import Kind, Outcome, Stage
from radpost.words import Priority

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from radpost.gateway.submitting import Answer
    from radpost.store.outgoing_submissions import SubmissionRow

MakePair = "Callable[..., Pair]"
Study = "Callable[..., list[Path]]"


def full_window(house: House, partner: str) -> None:
    """Make it as if all the credit of a partner were on its way."""
    window = Window(limit=5_000_000, in_flight=5_000_000, last_submission=house.clock())
    with house.site.database.write() as connection:
        outgoing_windows.put_window(connection, partner, machines.dump(window))


def test_invariant_8_a_partner_without_credit_slows_only_itself(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", tmp_path: "Path"
) -> None:
    a = make_pair(switches=Switches()).a
    c = House(tmp_path / "c", "c", known_key("c", "dicom@c.example"), clock=a.clock)
    a.knows(c, switches=Switches())
    a.collect(study(40), "b")
    a.seal()
    full_window(a, "b")
    a.collect(study(1), "c")
    a.seal()
    gone = a.submit()
    assert {row.partner for row, _ in gone} == {"c"}
    c.close()


def test_invariant_5_a_sealed_file_that_is_gone_fails_its_mail_and_no_other(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair(switches=Switches()).a
    a.collect(study(2), "b")
    a.seal()
    first, second = a.mails()
    assert first.sealed_sha256 is not None
    a.site.spool.remove(first.sealed_sha256)
    gone = a.submit()
    assert [row.mail_id for row, _ in gone] == [second.id]
    states = {mail.id: (mail.state, mail.code) for mail in a.mails()}
    assert states[first.id] == ("failed", STORE_UNUSABLE.code)
    assert states[second.id][0] == "on server"
    assert STORE_UNUSABLE.code in [code for code, _ in a.alarms()]
    assert a.submitter._routes["submission"].usable(a.clock())


def test_invariant_4_an_answer_that_could_not_be_stored_is_asked_for_again(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    a = make_pair().a
    a.collect(study(1), "b")
    a.seal()

    def full(*_: object, **__: object) -> None:
        raise RadpostError(DISK_FULL)

    with monkeypatch.context() as patch:
        patch.setattr(a.submitter, "_answer", full)
        with pytest.raises(RadpostError):
            a.submit()
    first = a.posted[-1]
    assert a.submit() == []
    a.submitter.recover_lost()
    ((row, data),) = a.submit()
    assert (row.message_id, data) == (first[0].message_id, first[1])
    assert [mail.state for mail in a.mails()] == ["on server"]


def test_a_message_that_is_being_sent_is_not_taken_for_lost(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair().a
    a.collect(study(1), "b")
    a.seal()
    seen: list[str] = []

    def post(row: "SubmissionRow", _data: bytes) -> Outcome:
        a.submitter.recover_lost()
        with a.site.database.read() as connection:
            fresh = outgoing_submissions.get_submission(connection, row.id)
        assert fresh is not None
        seen.append(fresh.state)
        return ACCEPTED

    a.submit(post)
    assert seen == ["sending"]


def test_a_fragment_that_comes_back_goes_again_long_after_the_server_took_it(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    """RFC 3461 4.4."""
    a = make_pair(switches=Switches(max_mail_size=20_000, compression="never")).a
    a.collect(study(1, side=200), "b")
    a.seal()
    pieces = a.submit()
    assert len(pieces) > 1
    assert [mail.state for mail in a.mails()] == ["on server"]
    a.clock.now += 3600
    cleaning.collect(a.site.database, a.site.spool, a.clock(), 60)
    bounced, bytes_then = pieces[1]
    report = (
        "From: MAILER-DAEMON@relay.example\r\nTo: dicom@a.example\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nfull\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; relay.example\r\n"
        f"Original-Envelope-Id: {bounced.envid}\r\n\r\nFinal-Recipient: rfc822; dicom@b.example\r\n"
        "Action: failed\r\nStatus: 5.2.2\r\n\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {bounced.message_id}\r\n\r\n--b--\r\n"
    )
    assert a.take(report.encode()).state == "done"
    a.clock.now += 24 * 3600
    ((again, data),) = a.submit()
    assert again.message_id != bounced.message_id
    assert data == bytes_then.replace(bounced.message_id.encode(), again.message_id.encode())
    assert [mail.state for mail in a.mails()] == ["on server"]


def test_an_emergency_is_sealed_although_routine_mails_fill_what_may_wait(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair(switches=Switches()).a
    a.collect(study(1), "b")
    a.seal()
    full_window(a, "b")
    a.collect(study(1), "b", source="later")
    a.collect(study(1), "b", priority=Priority.EMERGENCY, source="urgent")
    a.seal()
    sealed = {mail.priority for mail in a.mails() if mail.state == "sealed"}
    assert Priority.EMERGENCY.value in sealed
    assert [mail.state for mail in a.mails()].count("planned") == 1


def test_sealed_bytes_that_were_refused_are_not_kept_for_ever(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair().a
    a.collect(study(1), "b")
    a.seal()
    (mail,) = a.mails()
    assert mail.sealed_sha256 is not None
    a.submit(lambda _row, _data: Outcome(Kind.REFUSED, Stage.RCPT))
    assert [mail.state for mail in a.mails()] == ["failed"]
    a.clock.now += 3600
    cleaning.collect(a.site.database, a.site.spool, a.clock(), 60)
    assert not a.site.spool.path(mail.sealed_sha256).exists()
    objects = [path for path in a.site.spool.root.joinpath("objects").glob("*/*") if path.is_file()]
    assert len(objects) == 1, "the object itself stays"


def test_small_mails_are_started_and_answered_together(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair(switches=Switches()).a
    a.collect(study(6), "b")
    a.seal()
    seen: list[list[str]] = []

    def post(_row: "SubmissionRow", _data: bytes) -> Outcome:
        seen.append([mail.state for mail in a.mails()])
        return ACCEPTED

    a.submit(post)
    # the half of what waits goes over one connection, the rest is left to the other
    assert seen[0] == ["submitting"] * 3 + ["sealed"] * 3
    assert seen[2] == seen[0]
    assert seen[3] == ["on server"] * 3 + ["submitting"] + ["sealed"] * 2
    assert [mail.state for mail in a.mails()] == ["on server"] * 6


def test_a_server_that_fails_amid_small_mails_gets_the_rest_later(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair(switches=Switches()).a
    a.collect(study(6), "b")
    a.seal()
    tried: list[str] = []

    def post(row: "SubmissionRow", _data: bytes) -> Outcome:
        tried.append(row.message_id)
        if len(tried) == 2:
            raise RadpostError(SERVER_UNREACHABLE)
        return ACCEPTED

    a.submit(post)
    assert [mail.state for mail in a.mails()] == ["on server", *["submitting"] * 2, *["sealed"] * 3]
    a.clock.now += 3600
    again = a.submit()
    assert len(tried) == 2
    assert len(again) == 5
    assert tried[1] in [row.message_id for row, _ in again]
    assert [mail.state for mail in a.mails()] == ["on server"] * 6


def test_invariant_5_an_answer_that_cannot_be_stored_takes_no_other_with_it(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    a = make_pair(switches=Switches()).a
    a.collect(study(6), "b")
    a.seal()
    honest = a.submitter._write_one

    def write(connection: "Connection", answer: "Answer", now: float) -> None:
        if answer.row.mail_id == a.mails()[1].id:
            raise ValueError
        honest(connection, answer, now)

    monkeypatch.setattr(a.submitter, "_write_one", write)
    a.submit()
    assert [mail.state for mail in a.mails()] == ["on server", "submitting", *["on server"] * 4]


def test_mails_taken_together_have_credit_together(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair(switches=Switches()).a
    a.collect(study(12), "b")
    a.seal()
    size = a.mails()[0].size
    window = Window(limit=int(3.5 * size), in_flight=size, last_submission=a.clock())
    with a.site.database.write() as connection:
        outgoing_windows.put_window(connection, "b", machines.dump(window))
    assert len(a.submit()) == 2


def _report(message_id: str, recipient: str, action: str) -> bytes:
    return (
        "From: MAILER-DAEMON@relay.example\r\nTo: dicom@a.example\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nwords\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; relay.example\r\n\r\n"
        f"{recipient}Action: {action}\r\nStatus: {'2.0.0' if action == 'relayed' else '5.2.2'}\r\n\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {message_id}\r\n\r\n--b--\r\n"
    ).encode()


@pytest.mark.parametrize(
    ("recipient", "action", "state"),
    [
        ("Final-Recipient: rfc822; dicom@b.example\r\n", "relayed", "on server"),
        ("Final-Recipient: rfc822; radiology@inside.b.example\r\n", "failed", "on server"),
        (
            "Original-Recipient: rfc822; dicom@b.example\r\nFinal-Recipient: rfc822; x@inside.b.example\r\n",
            "failed",
            "planned",
        ),
    ],
)
def test_only_a_failure_of_the_recipient_counts_as_a_bounce(
    make_pair: "Callable[..., Pair]",
    study: "Callable[..., list[Path]]",
    recipient: str,
    action: str,
    state: str,
) -> None:
    """A server that tells of success says nothing about the partner; who forwards names both addresses."""
    a = make_pair(switches=Switches()).a
    a.collect(study(1), "b")
    a.seal()
    ((sent, _),) = a.submit()
    a.take(_report(sent.message_id, recipient, action), envelope_from="")
    assert [mail.state for mail in a.mails()] == [state]
