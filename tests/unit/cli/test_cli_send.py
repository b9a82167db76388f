"""radpost send: what is taken, for which study, what is left out and why, and nothing by half."""

import hashlib
import shutil
from pathlib import Path

import pytest

from radpost.agit.gathering import is_uid
from radpost.errors import DISK_FULL, RadpostError
from radpost.gateway import ingest, sending
from radpost.gateway.site import Site
from radpost.store import lookups, outgoing_collections, retrievals
from radpost.store.outgoing_collections import CollectionRow, Member
from radpost.testing.calling import Run
from radpost.testing.study import make_study


def taken(site: Site, source: str) -> dict[str, tuple[CollectionRow, list[Member]]]:
    """Return what a job left in the store, by study."""
    with site.database.read() as connection:
        rows = lookups.collections_of_source(connection, source)
        return {row.study_uid: (row, list(outgoing_collections.members(connection, row.id))) for row in rows}


def test_exactly_the_bytes_on_disk_are_taken_in_one_closed_collection(
    run: Run, partner: str, site: Site, study: tuple[Path, str]
) -> None:
    folder, uid = study
    said = run("send", folder, "--to", partner, "--priority", "emergency", "--json")
    assert said.code == 0
    answer = said.json
    assert (answer["objects"], answer["studies"], answer["gateway_runs"]) == (2, [uid], False)
    ((row, members),) = taken(site, answer["source"]).values()
    assert (row.state, row.priority, row.partner) == ("closed", 0, partner)
    on_disk = {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert {member.file_sha256 for member in members} == on_disk
    for digest in on_disk:
        assert hashlib.sha256(site.spool.path(digest).read_bytes()).hexdigest() == digest


def test_documents_belong_to_the_study_beside_them(
    run: Run, partner: str, site: Site, study: tuple[Path, str], tmp_path: Path
) -> None:
    folder = tmp_path / "case"
    shutil.copytree(study[0], folder)
    (folder / "befund.pdf").write_bytes(b"%PDF-1.4 x")
    answer = run("send", folder, "--to", partner, "--json").json
    ((_, members),) = taken(site, answer["source"]).values()
    document = next(member for member in members if member.kind == "other")
    assert (document.media_type, document.name) == ("application/pdf", "befund.pdf")
    assert document.study_uid == study[1]


def test_nobody_guesses_between_two_patients(run: Run, partner: str, site: Site, tmp_path: Path) -> None:
    studies = {make_study(tmp_path / "one", 1, seed=1), make_study(tmp_path / "two", 1, seed=2)}
    (tmp_path / "befund.txt").write_text("x", "utf-8")
    said = run("send", tmp_path / "one", tmp_path / "two", tmp_path / "befund.txt", "--to", partner)
    assert said.code == 0
    assert "name theirs with --study" in said.out
    with site.database.read() as connection:
        rows = outgoing_collections.collections(connection, "closed")
    assert studies < {row.study_uid for row in rows}
    assert len(rows) == 3


def test_a_document_alone_gets_the_study_that_is_named_or_a_new_one(
    run: Run, partner: str, site: Site, tmp_path: Path
) -> None:
    path = tmp_path / "x.txt"
    path.write_text("x", "utf-8")
    (uid,) = run("send", path, "--to", partner, "--study", "1.2.3.4", "--json").json["studies"]
    assert uid == "1.2.3.4"
    (uid,) = run("send", path, "--to", partner, "--json").json["studies"]
    assert uid.startswith("2.25.")
    assert is_uid(uid)
    assert run("send", path, "--to", partner, "--study", "1.2.x").code == 2


def test_what_is_not_sent_is_said_with_its_reason(
    run: Run, partner: str, study: tuple[Path, str], tmp_path: Path
) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    (folder / ".hidden").write_text("x", "utf-8")
    said = run("send", study[0], folder, folder / "gone.dcm", "--to", partner)
    assert said.code == 1  # something that was asked for by name is missing
    assert "gone.dcm: there is no such file" in said.err
    assert ".hidden" in said.out
    assert "taken: 2 objects" in said.out


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_nothing_to_send_is_a_refusal(run: Run, partner: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    said = run("send", tmp_path / name, "--to", partner)
    assert said.code == 1
    assert "413 nothing-to-send" in said.err


def test_an_unknown_partner_takes_nothing(run: Run, site: Site, study: tuple[Path, str]) -> None:
    said = run("send", study[0], "--to", "nobody")
    assert said.code == 1
    assert "radpost partner list" in said.err
    with site.database.read() as connection:
        assert outgoing_collections.collections(connection, "closed") == []


def test_wrong_usage(run: Run, partner: str) -> None:
    assert run("send", "--to", partner).code == 2
    assert run("send", "x").code == 2
    assert run("send", "x", "--to", partner, "--priority", "soon").code == 2


def test_half_a_study_is_not_sent_by_mistake(
    run: Run, partner: str, site: Site, study: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = ingest.add_file, []

    def add(*arguments: object, **values: object) -> bool:
        calls.append(1)
        if len(calls) == 2:
            raise RadpostError(DISK_FULL, "no space")
        return real(*arguments, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(sending, "add_file", add)
    said = run("send", study[0], "--to", partner)
    assert said.code == 1
    assert "711 disk-full" in said.err
    with site.database.read() as connection:
        assert outgoing_collections.collections(connection, "open") == []
        assert outgoing_collections.collections(connection, "closed") == []


def test_waiting_says_that_nothing_is_confirmed_yet(run: Run, partner: str, study: tuple[Path, str]) -> None:
    said = run("send", study[0], "--to", partner, "--wait", "0")
    assert said.code == 1
    assert "No gateway runs here" in said.err
    assert "not confirmed in time" in said.err
    answer = run("send", study[0], "--to", partner, "--wait", "0", "--json")
    assert answer.code == 1
    assert (answer.json["ended"], answer.json["confirmed"]) == (False, False)


def test_a_study_is_ordered_from_our_pacs(home: Path, run: Run, partner: str, site: Site) -> None:
    said = run("send", "--study", "1.2.3", "--to", partner)
    assert said.code == 1
    assert "[pacs]" in said.err
    path = home / "radpost.toml"
    pacs = '\n[pacs]\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 9\n'
    path.write_text(path.read_text("utf-8") + pacs, "utf-8")
    said = run("send", "--study", "1.2.3", "--to", "PRAXIS_B", "--priority", "urgent", "--json")
    assert said.code == 0
    with site.database.read() as connection:
        row = retrievals.get(connection, said.json["retrieval"])
    assert row is not None
    assert (row.study_uid, row.partner, row.priority, row.state) == ("1.2.3", partner, 1, "due")
    assert "1.2.3" in run("status").out
    with site.database.write() as connection:
        retrievals.change(connection, row.id, state="failed", code=407)
    said = run("send", "--study", "1.2.3", "--to", "PRAXIS_B", "--wait", "0")
    assert said.code == 1


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("1.2.840.10008", True),
        ("2.25.0", True),
        ("1", False),
        ("1..2", False),
        ("1.02", False),
        ("1." * 40, False),
    ],
)
def test_uids(text: str, fine: bool) -> None:
    assert is_uid(text) is fine


@pytest.mark.shared
def test_every_reference_file_is_taken_as_it_is(run: Run, partner: str, site: Site, shared: Path) -> None:
    """Broken DICOM stops nothing: it travels as it is, and what can't be read is said."""
    answer = run("send", shared / "dicom", "--to", partner, "--json")
    kept = {
        member.file_sha256 for _, members in taken(site, answer.json["source"]).values() for member in members
    }
    left = {item["path"]: item["why"] for item in answer.json["left"]}
    for path in sorted((shared / "dicom").glob("*.dcm")):
        if path.is_file() and str(path) not in left:
            assert hashlib.sha256(path.read_bytes()).hexdigest() in kept, path.name
    assert "unreadable" not in left.values()
    for digest in kept:
        assert hashlib.sha256(site.spool.path(digest).read_bytes()).hexdigest() == digest
