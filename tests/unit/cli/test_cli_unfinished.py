"""radpost unfinished: what a killed radpost send had taken is sent or dropped by a person (DESIGN 3: 4)."""

from pathlib import Path

import pytest

from radpost.errors import BAD_COMMAND, UNFINISHED_SEND
from radpost.gateway import sending
from radpost.gateway.alarms import SEND
from radpost.gateway.ingest import Collector, Origin, add_file
from radpost.gateway.partners import Settings, Switches, encode
from radpost.gateway.site import Site
from radpost.store import journal, lookups, outgoing_collections, partners
from radpost.testing.calling import Run
from radpost.testing.exchange import small_study


@pytest.fixture(params=[False, True], ids=["by study", "streaming"])
def job(site: Site, partner: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Take two of three files and go no further, as a command that is killed."""
    row = next(one for one in _partners(site) if one.name == partner)
    settings = encode(Settings(switches=Switches(streaming=request.param, objects_per_mail=64)))
    with site.database.write() as connection:
        partners.put(connection, partners.PartnerRow(row.name, row.ae_title, row.address, settings, 0.0))
    site.partners.forget()
    found = sending.look(small_study(tmp_path / "study", 3, "x"), site.partners.by_name(partner))
    for piece in found.gathered.pieces[:2]:
        add_file(
            site,
            found.origin,
            piece.path,
            piece.identity,
            media_type="application/dicom",
            name=piece.path.name,
            study_uid=piece.study_uid,
        )
    return found.origin.source.removeprefix(SEND)


def _partners(site: Site) -> list[partners.PartnerRow]:
    with site.database.read() as connection:
        return partners.all_partners(connection)


def pass_time(site: Site, seconds: float) -> None:
    """Look at the deadlines as a gateway does, so much later."""
    with site.database.write() as connection:
        Collector(site).close_due(connection, site.clock() + seconds)


def states(site: Site, job: str) -> list[tuple[str, int]]:
    with site.database.read() as connection:
        return [(row.state, row.objects) for row in lookups.collections_of_source(connection, SEND + job)]


def alarms(site: Site) -> list[int]:
    with site.database.read() as connection:
        return [row.code for row in journal.open_alarms(connection)]


def test_invariant_4_no_timer_sends_half_a_study_but_a_person_is_told(run: Run, site: Site, job: str) -> None:
    pass_time(site, 299)
    assert alarms(site) == []
    (listed,) = run("unfinished", "list", "--json").json
    assert (listed["job"], listed["objects"], listed["waits"]) == (job, 2, False)
    for order in ("send", "drop"):
        refused = run("unfinished", order, job, *(["--yes"] if order == "drop" else []))
        assert (refused.code, str(BAD_COMMAND.code) in refused.err) == (1, True), "it may be running"
    pass_time(site, 301)
    pass_time(site, 100_000)
    assert states(site, job) == [("open", 2)]
    assert alarms(site) == [UNFINISHED_SEND.code]
    assert "waits for you" in run("unfinished", "list").out
    assert "radpost unfinished list" in run("status").out
    (row,) = run("alarm", "list", "--json").json
    refused = run("alarm", "end", str(row["number"]))
    assert (refused.code, "radpost unfinished" in refused.err) == (1, True)


def test_a_person_sends_it(run: Run, site: Site, job: str) -> None:
    pass_time(site, 301)
    assert run("unfinished", "send", job[:6]).code == 0
    assert states(site, job) == [("closed", 2)]
    assert alarms(site) == []
    assert run("unfinished", "list").out == "nothing is unfinished\n"
    assert run("unfinished", "send", job).code == 1


def test_a_person_drops_it(run: Run, site: Site, job: str) -> None:
    pass_time(site, 301)
    assert run("unfinished", "drop", job).code == 1, "nobody said yes"
    assert run("unfinished", "drop", job, "--yes").code == 0
    assert states(site, job) == []
    assert alarms(site) == []


def test_a_command_that_goes_on_after_all_ends_the_alarm(site: Site, job: str) -> None:
    pass_time(site, 301)
    with site.database.write() as connection:
        (row,) = lookups.collections_of_source(connection, SEND + job)
        origin = Origin(row.source, site.partners.by_name(row.partner), whole=True)
        Collector(site).flush(connection, origin, site.clock())
        assert outgoing_collections.collections(connection, "closed")
    assert alarms(site) == []
