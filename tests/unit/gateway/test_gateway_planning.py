"""Planning: the number of mails is fixed, the order is that of arrival, what goes on is linked (DESIGN 4)."""

import tracemalloc
from typing import TYPE_CHECKING

from radpost.agit.dialect import bound_of, mail_bound
from radpost.gateway.outbox import WORK_RECUT_REST
from radpost.gateway.partners import Switches
from radpost.store import journal, outgoing_collections, outgoing_mails
from radpost.testing.forgery import plain_receipt
from radpost.testing.house import House, Pair
from radpost.transfer import packing
from radpost.transport.smtp_reply import Kind, Outcome, Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from radpost.store.outgoing_submissions import SubmissionRow

NATIVE = "1.2.840.10008.1.2.1"


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


def closed_study(house: House, objects: int, number: int) -> None:
    """Let a study of so many objects of many sizes be collected; its rows are there, and no files."""
    hashes = [f"{number:024x}{one:040x}" for one in range(objects)]
    sizes = [500 + one * 7919 % 700_000 for one in range(objects)]
    with house.site.database.write() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute(
            "INSERT INTO collection (id, objects, source, partner, study_uid, state, priority, machine,"
            " bytes, opened_at, due_at, group_id)"
            " VALUES (?, ?, 't', 'b', '1.2', 'closed', 2, '{}', 0, 1, 1, 'g')",
            (number, objects),
        )
        driver.executemany(
            "INSERT INTO blob (sha256, size, created_at, claimed) VALUES (?, ?, 1, 0)",
            zip(hashes, sizes, strict=True),
        )
        driver.executemany(
            "INSERT INTO object (id, kind, sop_instance_uid, transfer_syntax_uid, dataset_sha256,"
            " file_sha256, size, sop_class_uid, study_uid, series_uid, modality, media_type, created_at)"
            f" VALUES (?, 'dicom', ?, '{NATIVE}', ?, ?, ?, '1.2', '1.2', '', 'CT', 'application/dicom', 1)",
            (
                (number * 1_000_000 + one, f"1.2.{number}.{one}", hashes[one], hashes[one], sizes[one])
                for one in range(objects)
            ),
        )
        driver.executemany(
            "INSERT INTO collection_object (collection_id, object_id, file_sha256, name, arrived_at)"
            " VALUES (?, ?, ?, '', ?)",
            # not in the order of their numbers
            ((number, number * 1_000_000 + one, hashes[one], one * 7 % objects) for one in range(objects)),
        )


def test_the_mails_are_those_of_the_one_rule_of_packing(make_pair: "Callable[..., Pair]") -> None:
    switches = Switches(objects_per_mail=10, max_mail_size=5_000_000)
    a = make_pair(switches=switches).a
    closed_study(a, 1000, 1)
    with a.site.database.read() as connection:
        parts = list(outgoing_collections.members(connection, 1))
    items = [packing.Item(part, part.size, bound_of(switches, part.size, NATIVE)) for part in parts]
    wanted = list(packing.pack(items, packing.Limits(10, 5_000_000), mail_bound))
    (job,) = a.plan()
    with a.site.database.read() as connection:
        found = [
            (mail.part, mail.total, mail.bytes, outgoing_mails.mail_members(connection, mail.id))
            for mail in outgoing_mails.mails_of(connection, job.id)
        ]
    assert found == [
        (mail.part, len(wanted), sum(item.size for item in mail.items), [item.id for item in mail.items])
        for mail in wanted
    ]
    assert (job.mails, job.objects, job.bytes) == (len(wanted), 1000, sum(part.size for part in parts))
    assert {len(mail.items) for mail in wanted} > {10}, "some are full by number, some by size"


def test_invariant_8_planning_holds_one_mail_at_a_time(make_pair: "Callable[..., Pair]") -> None:
    a = make_pair(switches=Switches(objects_per_mail=50)).a

    def peak(objects: int, number: int) -> int:
        closed_study(a, objects, number)
        tracemalloc.start()
        try:
            with a.site.database.write() as connection:
                a.planner.plan_closed(connection, a.clock())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(500, 1)  # statements are compiled at their first use
    few, many = peak(500, 2), peak(50_000, 3)
    assert sorted(job.objects for job in a.transmissions()) == [500, 500, 50_000]
    assert many < few + 2_000_000


def test_invariant_8_planning_anew_holds_few_mails_at_a_time(make_pair: "Callable[..., Pair]") -> None:
    """The rest of a set of many mails, which the partner could not take, becomes another set."""
    a = make_pair(switches=Switches(objects_per_mail=2)).a

    def peak(objects: int, number: int) -> int:
        closed_study(a, objects, number)
        (first,) = {job.id for job in a.plan()} - known
        with a.site.database.write() as connection:
            mail = outgoing_mails.mails_of(connection, first)[0]
            outgoing_mails.update_mail(connection, mail.id, work=WORK_RECUT_REST)
        tracemalloc.start()
        try:
            with a.site.database.write() as connection:
                assert a.planner.recut(connection, a.clock()) == 1
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            known.update(job.id for job in a.transmissions())

    known: set[str] = set()
    peak(500, 1)
    few, many = peak(500, 2), peak(3_000, 3)
    assert sorted(job.objects for job in a.transmissions()) == [500] * 4 + [3_000] * 2
    assert sorted(job.mails for job in a.transmissions())[-2:] == [1_500, 3_000]
    assert many < few + 500_000
