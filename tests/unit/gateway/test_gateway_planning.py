"""Planning: the number of mails is fixed, the order is that of arrival, what goes on is linked (DESIGN 4)."""

from typing import TYPE_CHECKING

from radpost.gateway.partners import Switches
from radpost.store import journal, outgoing_mails
from radpost.testing.forgery import plain_receipt
from radpost.testing.house import House, Pair
from radpost.transport.smtp_reply import Kind, Outcome, Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from radpost.store.outgoing_submissions import SubmissionRow


def names(house: House, job: str) -> list[str]:
    with house.site.database.read() as connection:
        return [row.name for row in outgoing_mails.objects_of(connection, job)]


def answer(house: House, disposition: str) -> None:
    for mail in house.mails():
        if mail.state == "on server":
            assert mail.message_id is not None
            told = plain_receipt(
                sender="dicom@b.example",
                recipient="dicom@a.example",
                about=mail.message_id,
                disposition=f"automatic-action/MDN-sent-automatically;{disposition}",
            )
            house.take(told)


def test_the_total_is_fixed_before_the_first_mail_is_sealed_and_the_order_is_kept(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair(switches=Switches(objects_per_mail=3)).a
    files = study(7)
    (job,) = a.collect(files, "b")
    assert names(a, job.id) == [path.name for path in files]
    assert [(mail.part, mail.total, mail.objects) for mail in a.mails()] == [(1, 3, 3), (2, 3, 3), (3, 3, 1)]
    a.seal()
    for part, (_, data) in enumerate(a.submit(), 1):
        head = data[:4096].decode("ascii", "replace")
        assert f"X-TELEMEDICINE-SETPART: {part}\r\n" in head
        assert "X-TELEMEDICINE-SETTOTAL: 3\r\n" in head


def test_mails_are_no_larger_than_the_partner_takes(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    switches = Switches(objects_per_mail=100, max_mail_size=60_000, compression="never", partial=False)
    a = make_pair(switches=switches).a
    a.collect(study(6, side=120), "b")
    a.seal()
    sizes = [len(data) for _, data in a.submit()]
    assert len(sizes) > 1
    assert max(sizes) <= 60_000


def test_set_ids_never_repeat_and_say_nothing(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair().a
    for number in range(3):
        jobs = a.collect(study(1), "b", source=f"s{number}")
    assert len({job.id for job in jobs}) == 3
    assert all(job.id.startswith("2.25.") and len(job.id) <= 64 for job in jobs)


def test_a_packed_mail_that_the_partner_cannot_read_goes_once_more_object_by_object(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    a = make_pair(switches=Switches(objects_per_mail=10)).a
    (first,) = a.collect(study(3), "b")
    a.seal()
    a.submit()
    answer(a, "deleted/error")
    jobs = a.plan()
    old = next(job for job in jobs if job.id == first.id)
    (new,) = (job for job in jobs if job.id != first.id)
    assert (old.state, new.group_id, new.mails) == ("superseded", first.group_id, 3)
    assert names(a, new.id) == names(a, first.id)
    with a.site.database.read() as connection:
        notes = [step.detail for step in journal.of_transmission(connection, first.id)]
    assert new.id in notes
    a.seal()
    assert len(a.submit()) == 3
    answer(a, "displayed")
    assert [job.state for job in a.transmissions() if job.id == new.id] == ["confirmed (unsigned)"]


def test_what_the_partner_refused_for_good_is_not_sent_again_with_the_rest(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    """A partner who takes no fragments: the rest of the set goes as smaller mails, a refused one never."""
    a = make_pair(switches=Switches(objects_per_mail=2, partial=False, receipt_signed=True)).a
    (first,) = a.collect(study(6), "b")
    a.seal()
    with a.site.database.write() as connection:
        mails = outgoing_mails.mails_of(connection, first.id)
        outgoing_mails.update_mail(
            connection,
            mails[0].id,
            state="refused",
            machine=mails[0].machine.replace('"sealed"', '"refused"'),
        )

    def post(row: "SubmissionRow", _data: bytes) -> Outcome:
        assert row.mail_id != 0
        return Outcome(Kind.TOO_LARGE, Stage.MAIL)

    a.submit(post, most=2)
    new = next(job for job in a.plan() if job.id != first.id)
    assert names(a, new.id) == names(a, first.id)[2:]
