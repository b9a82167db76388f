"""radpost alarm: what no event ends, a person ends; what an event ends, only the event (DESIGN 3: 4)."""

import pytest

from radpost.errors import RETRIEVE_INCOMPLETE, SERVER_UNREACHABLE, VERSION_CONFLICT
from radpost.gateway.site import Site
from radpost.store import journal
from radpost.testing.calling import Run

STUDY = "study 1.2.840.99"


def raised(site: Site, code: int, subject: str, detail: str = "") -> int:
    with site.database.write() as connection:
        journal.raise_alarm(connection, code, subject, detail, site.clock())
        return journal.open_alarms(connection)[-1].id


def test_a_person_ends_what_no_event_ends(run: Run, site: Site) -> None:
    number = raised(site, VERSION_CONFLICT.code, STUDY)
    (listed,) = run("alarm", "list", "--json").json
    assert (listed["number"], listed["code"], listed["subject"]) == (number, VERSION_CONFLICT.code, STUDY)
    assert f"no. {number}, {STUDY}" in run("status").out
    assert "radpost alarm end" in run("status").out
    assert run("status", "--json").json["alarms"][0]["number"] == number
    said = run("alarm", "end", str(number))
    assert said.code == 0
    assert STUDY in said.out
    assert run("alarm", "list").out == "no alarm is open\n"
    assert run("status", "--json").json["alarms"] == []


def test_an_ended_alarm_comes_again_with_its_cause(run: Run, site: Site) -> None:
    first = raised(site, VERSION_CONFLICT.code, STUDY)
    run("alarm", "end", str(first))
    second = raised(site, VERSION_CONFLICT.code, STUDY)
    assert second != first
    assert [row["number"] for row in run("alarm", "list", "--json").json] == [second]


def test_the_end_of_a_transmissions_alarm_stands_in_its_timeline(run: Run, site: Site) -> None:
    number = raised(site, RETRIEVE_INCOMPLETE.code, "transmission 2.25.7")
    run("alarm", "end", str(number))
    with site.database.read() as connection:
        (event,) = journal.of_transmission(connection, "2.25.7")
    assert (event.what, event.code) == ("alarm ended by a person", RETRIEVE_INCOMPLETE.code)


@pytest.mark.parametrize("subject", ["mail server partner praxis-b", "mailbox inbox"])
def test_the_alarm_of_a_server_ends_with_its_next_success_only(
    run: Run, site: Site, partner: str, subject: str
) -> None:
    assert partner
    number = raised(site, SERVER_UNREACHABLE.code, subject)
    said = run("alarm", "end", str(number))
    assert said.code == 1
    assert "ends by itself" in said.err
    assert len(run("alarm", "list", "--json").json) == 1


def test_the_alarm_of_a_server_that_is_no_longer_configured_can_be_ended(run: Run, site: Site) -> None:
    number = raised(site, SERVER_UNREACHABLE.code, "mailbox of yesteryear")
    assert run("alarm", "end", str(number)).code == 0


def test_several_are_ended_at_once_and_a_wrong_number_is_said(run: Run, site: Site) -> None:
    numbers = [raised(site, VERSION_CONFLICT.code, f"{STUDY}.{last}") for last in range(3)]
    said = run("alarm", "end", "9999", *map(str, numbers))
    assert said.code == 1
    assert "alarm 9999; see 'radpost alarm list'" in said.out
    assert run("alarm", "list", "--json").json == []
    said = run("alarm", "end", str(numbers[0]))
    assert said.code == 1
    assert "902" in said.err
