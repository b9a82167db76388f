"""radpost status, show and retry: truths are kept apart, and what waits says why."""

import json
from pathlib import Path

import pytest

from radpost.errors import NO_COMMON_SYNTAX, SERVER_UNREACHABLE
from radpost.gateway import machines
from radpost.gateway.outbox import Outbox
from radpost.gateway.planning import Planner
from radpost.gateway.sealing import Sealer
from radpost.gateway.site import Site
from radpost.gateway.views import timeline
from radpost.store import incoming_deliveries, journal, lookups, objects, outgoing_mails, outgoing_submissions
from radpost.store.journal import EventRow
from radpost.testing.calling import Run
from radpost.transfer import delivery as delivery_machine
from radpost.transfer import outgoing as mail_machine
from radpost.transfer import submission as submission_machine
from radpost.transfer.actions import TimerDue
from radpost.transfer.receipt import Outcome
from radpost.transfer.submission import Reply
from radpost.words import Truth

UNKNOWN = "not reported by this partner"


@pytest.fixture
def sent(run: Run, partner: str, site: Site, study: tuple[Path, str]) -> str:
    """A transmission of two mails, sealed: its SETID."""
    source = run("send", study[0], "--to", partner, "--json").json["source"]
    outbox = Outbox(site)
    with site.database.write() as connection:
        Planner(site, outbox).plan_closed(connection, site.clock())
    sealer = Sealer(site, outbox)
    while rows := sealer.next(4, frozenset()):
        for row in rows:
            sealer.work(row)
    with site.database.read() as connection:
        (row_,) = lookups.transmissions_of_source(connection, source)
    return row_.id


def submit(site: Site, sent: str, part: int, reply: Reply, text: str) -> int:
    """Let one mail's submission end; return the mail."""
    outbox, now = Outbox(site), site.clock()
    with site.database.write() as connection:
        mail = outgoing_mails.mails_of(connection, sent)[part - 1]
        (row,) = outgoing_submissions.submissions_of(connection, mail.id)
        outbox.submission_event(connection, row, submission_machine.Started(), now)
        outbox.mail_event(connection, mail.id, mail_machine.Started(0), now)
        row = outgoing_submissions.submissions_of(connection, mail.id)[0]
        outbox.submission_event(connection, row, submission_machine.Answered(reply), now, reply=text)
        outbox.mail_event(connection, mail.id, mail_machine.Submitted(0, reply, SERVER_UNREACHABLE), now)
    return mail.id


def test_before_anything_happened_every_truth_is_open(run: Run, sent: str) -> None:
    view = run("show", sent, "--json").json
    assert (view["state"], view["objects"], view["mails"]) == ("sending", 2, 2)
    for item in view["object_list"]:
        assert list(item["truths"]) == [truth.value for truth in Truth]
        assert item["truths"]["on the server"]["answer"] == "no"
        assert {item["truths"][truth.value]["answer"] for truth in Truth if truth is not Truth.ON_SERVER} == {
            UNKNOWN
        }
    assert any("radpost run" in sentence for sentence in view["waits_for"])


def test_a_250_means_on_the_server_and_no_more(run: Run, sent: str, site: Site) -> None:
    submit(site, sent, 1, Reply.ACCEPTED, "250 2.0.0 Ok")
    first, second = run("show", sent, "--json").json["object_list"]
    on_server = first["truths"]["on the server"]
    assert (on_server["answer"], on_server["evidence"]) == ("yes", "250 2.0.0 Ok")
    assert on_server["at"] is not None
    assert {first["truths"][truth.value]["answer"] for truth in Truth if truth is not Truth.ON_SERVER} == {
        UNKNOWN
    }
    assert second["truths"]["on the server"]["answer"] == "no"
    assert "250 2.0.0 Ok" in run("show", sent).out


def test_a_receipt_says_what_it_says(run: Run, sent: str, site: Site) -> None:
    mail_id = submit(site, sent, 1, Reply.ACCEPTED, "250 Ok")
    told = {"fetched": "yes", "imported": "yes", "opened": UNKNOWN, "at": 1.5e9, "evidence": "displayed"}
    with site.database.write() as connection:
        receipt = mail_machine.ReceiptArrived(0, Outcome.DONE, signed=False)
        Outbox(site).mail_event(connection, mail_id, receipt, site.clock())
        outgoing_mails.set_truths(connection, mail_id, 1, json.dumps(told))
    view = run("show", sent, "--json").json
    truths = view["object_list"][0]["truths"]
    assert (truths["imported"]["answer"], truths["imported"]["evidence"]) == ("yes", "displayed")
    assert truths["opened"]["answer"] == truths["decrypted"]["answer"] == UNKNOWN
    assert view["mail_list"][0]["state"] == "confirmed (unsigned)"


def test_a_server_that_is_down_is_named_with_its_words(run: Run, sent: str, site: Site) -> None:
    submit(site, sent, 1, Reply.UNREACHABLE, "127.0.0.1:9: Connection refused")
    view = run("status", "--json").json
    line = next(item for item in view["lines"] if item["name"] == "partner praxis-b")
    assert (line["state"], line["waiting"]) == ("server-unreachable", 2)
    assert view["overdue"]["mail_servers"] == 1
    assert any("radpost doctor" in hint for hint in view["advice"])
    shown = run("show", sent).out
    assert "701 server-unreachable" in shown
    assert "Connection refused" in shown


def test_an_overdue_receipt_is_counted_alarmed_and_retried(run: Run, sent: str, site: Site) -> None:
    for part in (1, 2):
        submit(site, sent, part, Reply.ACCEPTED, "250 Ok")
    later = site.clock() + 100_000
    with site.database.write() as connection:
        for mail in outgoing_mails.mails_of(connection, sent):
            Outbox(site).mail_event(connection, mail.id, TimerDue(), later)
    view = run("status", "--json").json
    assert view["overdue"]["receipts"] == 2
    (alarm,) = view["alarms"]
    assert (alarm["code"], alarm["side"]) == (504, "partner")
    text = run("status").out
    assert "504 receipt-overdue" in text
    assert "radpost retry" in text
    assert "2 receipts" in text
    done = run("retry", sent[:20], "--json")
    assert (done.code, done.json["mails"]) == (0, 2)
    again = run("show", sent, "--json").json
    assert {mail["state"] for mail in again["mail_list"]} == {"planned"}
    assert {mail["generation"] for mail in again["mail_list"]} == {1}


def test_what_is_confirmed_is_not_sent_again(run: Run, sent: str, site: Site) -> None:
    for part in (1, 2):
        mail_id = submit(site, sent, part, Reply.ACCEPTED, "250 Ok")
        with site.database.write() as connection:
            receipt = mail_machine.ReceiptArrived(0, Outcome.DONE, signed=True)
            Outbox(site).mail_event(connection, mail_id, receipt, site.clock())
    said = run("retry", sent)
    assert said.code == 1
    assert "906 bad-command" in said.err
    assert run("retry", "--all-failed").code == 0


def test_a_transmission_has_many_names(run: Run, sent: str, study: tuple[Path, str]) -> None:
    message_id = run("show", sent, "--json").json["mail_list"][0]["message_id"]
    for name in (sent, sent[:20], study[1], message_id):
        assert run("show", name, "--json").json["id"] == sent
    assert run("show", sent[:4]).code == 1  # too short a beginning names nothing
    assert run("show", "mail:77").code == 1
    assert run("show", "mail:x").code == 1
    said = run("show", "2.25.12345678")
    assert said.code == 1
    assert "radpost status" in said.err


def test_an_undelivered_object_is_found_and_delivered_again(
    run: Run, sent: str, site: Site, home: Path
) -> None:
    with site.database.read() as connection:
        object_id = outgoing_mails.objects_of(connection, sent)[0].object_id
        assert objects.get(connection, object_id).kind == "dicom"
    state, _ = delivery_machine.due(
        site.clock(), new_version=False, rule=delivery_machine.VersionRule.DELIVER
    )
    policy = delivery_machine.DeliveryPolicy()
    for event in (delivery_machine.Started(), delivery_machine.Failed(NO_COMMON_SYNTAX, lasting=True)):
        state, _ = delivery_machine.decide(state, event, site.clock(), policy)
    with site.database.write() as connection:
        row = {
            "object_id": object_id,
            "destination": "received",
            "partner": "praxis-b",
            "study_uid": "",
            "name": "",
            "state": state.phase.value,
            "machine": machines.dump(state),
            "priority": 2,
            "due_at": state.due,
            "code": 404,
            "created_at": site.clock(),
        }
        incoming_deliveries.add_deliveries(connection, [row])
    assert run("status", "--json").json["overdue"]["deliveries"] == 1
    assert run("retry", "--delivery", "nowhere").code == 1
    assert run("retry", "--delivery", "received", "--json").json["deliveries"] == 1
    with site.database.read() as connection:
        assert incoming_deliveries.delivery_counts(connection) == {("received", "due"): 1}


def test_retry_needs_exactly_one_thing(run: Run, sent: str) -> None:
    assert run("retry").code == 2
    assert run("retry", sent, "--all-failed").code == 2


def test_status_is_readable_and_complete(run: Run, sent: str) -> None:
    said = run("status")
    assert said.code == 0
    for word in ("NOT RUNNING", "radpost run", sent, "praxis-b", "quarantine", "not used yet", "received"):
        assert word in said.out


def test_the_timeline_counts_equal_steps_of_many_mails() -> None:
    events = [
        EventRow(at, what, "t", None, None, None, "") for at, what in ((1, "a"), (3, "b"), (4, "b"), (9, "c"))
    ]
    steps = timeline(events)
    assert [(step.what, step.count, step.seconds) for step in steps] == [
        ("a", 1, 0),
        ("b", 2, 2),
        ("c", 1, 5),
    ]


def test_a_long_table_is_grouped_unless_all_is_wanted(
    run: Run, sent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radpost.cli.show.FULL", 1)
    short = run("show", sent).out
    assert "2 objects" in short
    assert "--all" in short
    with_all = run("show", sent, "--all").out
    assert "--all" not in with_all


def test_no_listing_needs_the_gateway_to_have_run(run: Run, site: Site) -> None:
    with site.database.read() as connection:
        assert journal.open_alarms(connection) == []
    assert run("status").code == 0
    assert run("quarantine", "list").out.strip() == "the quarantine is empty"
    assert run("status", "--json").json["sent"] == []
