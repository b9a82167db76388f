"""Objects exactly once, versions kept, and a collector that never takes what somebody needs (invariant 2)."""

import hashlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert, select

from radpost.errors import STORE_UNUSABLE, RadpostError
from radpost.store import (
    cleaning,
    objects,
    outgoing_collections,
    outgoing_mails,
    outgoing_submissions,
    outgoing_transmissions,
    partners,
    schema,
)
from radpost.store.database import Database
from radpost.store.objects import ObjectFacts
from radpost.store.spool import Spool, Stored

GRACE = 100.0
DICOM = ObjectFacts(
    kind="dicom",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    sop_instance_uid="1.2.3.4",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    dataset_sha256="d" * 64,
    file_sha256="f" * 64,
    size=7,
    study_uid="1.2",
    series_uid="1.2.3",
    modality="CT",
    media_type="application/dicom",
)
DOCUMENT = replace(
    DICOM,
    kind="other",
    sop_class_uid="",
    sop_instance_uid="",
    transfer_syntax_uid="",
    media_type="text/plain",
)


def blob(connection: Connection, sha256: str) -> None:
    """Note a blob without a file; for tests about rows only."""
    connection.execute(
        insert(schema.blob).prefix_with("OR IGNORE"), {"sha256": sha256, "size": 1, "created_at": 1.0}
    )


def put(database: Database, facts: ObjectFacts) -> objects.Put:
    with database.write() as connection:
        blob(connection, facts.file_sha256)
        return objects.put(connection, facts, 1.0)


def kept(database: Database, spool: Spool, content: bytes, *, released: float | None = None) -> Stored:
    """Make a file durable with its row, and release it."""
    with spool.writer() as writer:
        writer.write(content)
        stored = writer.commit()
    with database.write() as connection:
        objects.put_blob(connection, spool, stored, 1.0)
        if released is not None:
            objects.release_blob(connection, stored.sha256, released)
    return stored


def blobs(database: Database) -> set[str]:
    with database.read() as connection:
        return {str(row[0]) for row in connection.execute(select(schema.blob.c.sha256))}


def test_invariant_2_same_identity_is_one_object(database: Database) -> None:
    first = put(database, DICOM)
    assert (first.new, first.versions) == (True, ())
    # another preamble or meta header: another file, the same object; the first file stays the object's file
    again = put(database, replace(DICOM, file_sha256="e" * 64, size=9))
    assert again == objects.Put(first.id, new=False, file_sha256="f" * 64)
    with database.read() as connection:
        assert objects.get(connection, first.id).size == 7
        assert len(objects.of_study(connection, "1.2")) == 1


def test_invariant_2_same_uid_other_content_is_a_version(database: Database) -> None:
    first = put(database, DICOM)
    second = put(database, replace(DICOM, dataset_sha256="a" * 64, file_sha256="b" * 64))
    assert second.new
    assert [row.id for row in second.versions] == [first.id]
    assert not put(database, DICOM).new
    with database.read() as connection:
        found = objects.same_instance(connection, DICOM.sop_instance_uid)
    assert {row.dataset_sha256 for row in found} == {"a" * 64, "d" * 64}


def test_invariant_2_same_uid_other_syntax_is_offered_for_comparison(database: Database) -> None:
    first = put(database, DICOM)
    other = put(database, replace(DICOM, transfer_syntax_uid="1.2.840.10008.1.2.4.70"))
    assert other.new
    assert [row.id for row in other.versions] == [first.id]


def test_invariant_2_documents_are_known_by_their_hash_alone(database: Database) -> None:
    first = put(database, DOCUMENT)
    assert put(database, replace(DOCUMENT, study_uid="9.9", media_type="application/pdf")).id == first.id
    other = put(database, replace(DOCUMENT, dataset_sha256="c" * 64, file_sha256="c" * 64))
    assert other.new
    assert other.versions == (), "documents without a UID are no versions of each other"
    dicom = put(database, replace(DICOM, dataset_sha256=DOCUMENT.dataset_sha256))
    assert dicom.new


FACTS = st.builds(
    lambda uid, syntax, data, file: replace(
        DICOM if uid else DOCUMENT,
        sop_instance_uid=uid,
        transfer_syntax_uid=syntax if uid else "",
        dataset_sha256=data * 64,
        file_sha256=(file if uid else data) * 64,
    ),
    uid=st.sampled_from(["", "1.1", "1.2"]),
    syntax=st.sampled_from(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]),
    data=st.sampled_from("abc"),
    file=st.sampled_from("def"),
)


def identity(facts: ObjectFacts) -> tuple[str, str, str]:
    return facts.sop_instance_uid, facts.transfer_syntax_uid, facts.dataset_sha256


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrivals=st.lists(FACTS, max_size=25))
def test_invariant_2_any_order_of_arrivals_against_a_dictionary(
    blank: Path, arrivals: list[ObjectFacts]
) -> None:
    """The model: a dictionary by identity. Row, verdict and versions agree with it at every arrival."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "radpost.db"
        path.write_bytes(blank.read_bytes())
        database = Database(path)
        model: dict[tuple[str, str, str], tuple[int, str]] = {}
        with database.write() as connection:
            for facts in arrivals:
                blob(connection, facts.file_sha256)
                found = objects.put(connection, facts, 1.0)
                known = model.get(identity(facts))
                if known is not None:
                    assert (found.id, found.new, found.file_sha256) == (known[0], False, known[1])
                    continue
                assert found.new
                uid = facts.sop_instance_uid
                siblings = {row_id for key, (row_id, _) in model.items() if uid and key[0] == uid}
                assert {row.id for row in found.versions} == siblings
                model[identity(facts)] = (found.id, facts.file_sha256)
            rows = connection.execute(select(schema.object_)).all()
            assert len(rows) == len(model)
        database.close()


def test_invariant_1_blob_without_a_file_is_refused(database: Database, spool: Spool) -> None:
    with pytest.raises(RadpostError) as caught, database.write() as connection:
        objects.put_blob(connection, spool, Stored("0" * 64, 1), 1.0)
    assert caught.value.reason is STORE_UNUSABLE
    assert blobs(database) == set()


def test_released_file_is_collected_after_the_grace_only(database: Database, spool: Spool) -> None:
    held = kept(database, spool, b"held")
    free = kept(database, spool, b"free", released=1000.0)
    assert cleaning.collect(database, spool, 1000.0 + GRACE, GRACE) == 0
    assert blobs(database) == {held.sha256, free.sha256}
    assert cleaning.collect(database, spool, 1000.1 + GRACE, GRACE) == 1
    assert blobs(database) == {held.sha256}
    assert spool.path(held.sha256).exists()
    assert not spool.path(free.sha256).exists()
    assert cleaning.collect(database, spool, 9999.0, GRACE) == 0


def test_put_again_takes_a_release_back(database: Database, spool: Spool) -> None:
    kept(database, spool, b"x", released=1.0)
    again = kept(database, spool, b"x")
    assert cleaning.collect(database, spool, 9999.0, GRACE) == 0
    assert spool.path(again.sha256).exists()


def test_more_than_one_batch(database: Database, spool: Spool) -> None:
    for number in range(120):
        kept(database, spool, b"%d" % number, released=1.0)
    assert cleaning.collect(database, spool, 9999.0, GRACE) == 120
    assert blobs(database) == set()
    assert [path for path in (spool.root / "objects").rglob("*") if path.is_file()] == []


def need_object(connection: Connection, sha256: str) -> None:
    objects.put(connection, replace(DICOM, file_sha256=sha256), 1.0)


def need_member(connection: Connection, sha256: str) -> None:
    """The object's own file is another one: the same data set under another meta header."""
    blob(connection, DICOM.file_sha256)
    row = objects.put(connection, DICOM, 1.0)
    collection = outgoing_collections.add_collection(connection, COLLECTION)
    outgoing_collections.add_member(connection, collection, row.id, sha256, "", 1.0)


def need_mail_object(connection: Connection, sha256: str) -> None:
    blob(connection, DICOM.file_sha256)
    row = objects.put(connection, DICOM, 1.0)
    member = outgoing_collections.Member(row.id, sha256, "", 1, "dicom", "", "", "", "")
    outgoing_transmissions.add_transmission(connection, TRANSMISSION)
    outgoing_mails.add_mail(connection, MAIL, [member], 1)


def need_sealed(connection: Connection, sha256: str) -> None:
    outgoing_transmissions.add_transmission(connection, TRANSMISSION)
    connection.execute(insert(schema.mail), {**MAIL, "state": "sealed", "sealed_sha256": sha256})


def need_unsent(state: str) -> object:
    def need(connection: Connection, sha256: str) -> None:
        """A receipt's message: no mail row stands behind it."""
        outgoing_submissions.add_submissions(connection, [{**SUBMISSION, "sha256": sha256, "state": state}])

    return need


def need_arrival(connection: Connection, sha256: str) -> None:
    connection.execute(insert(schema.arrival), {**ARRIVAL, "sha256": sha256, "state": "fragment waiting"})


def need_quarantined(connection: Connection, sha256: str) -> None:
    entry = {"sha256": sha256, "size": 1, "code": 101, "state": "open", "created_at": 1.0}
    connection.execute(insert(schema.quarantine), entry)


COLLECTION = {
    "source": "s",
    "partner": "p",
    "study_uid": "1.2",
    "state": "open",
    "priority": 1,
    "machine": "{}",
    "opened_at": 1.0,
    "due_at": 5.0,
    "group_id": "g",
}
TRANSMISSION = {
    "id": "SETID-1",
    "partner": "p",
    "group_id": "g",
    "source": "s",
    "priority": 1,
    "state": "sealing",
    "machine": "{}",
    "objects": 1,
    "bytes": 1,
    "mails": 1,
    "opened_at": 1.0,
    "created_at": 1.0,
}
MAIL = {
    "transmission_id": "SETID-1",
    "partner": "p",
    "part": 1,
    "total": 1,
    "priority": 1,
    "state": "planned",
    "machine": "{}",
    "objects": 1,
    "bytes": 1,
}
SUBMISSION = {
    "kind": "receipt",
    "partner": "p",
    "route": "r",
    "message_id": "<m>",
    "envid": "e",
    "envelope_from": "",
    "recipient": "b@b.example",
    "piece": 1,
    "pieces": 1,
    "start": 0,
    "end": 1,
    "size": 1,
    "machine": "{}",
    "priority": 1,
}
ARRIVAL = {"source": "s", "size": 1, "received_at": 1.0}
NEEDS = {
    "object": need_object,
    "collection": need_member,
    "mail": need_mail_object,
    "sealed": need_sealed,
    "submission ready": need_unsent("ready"),
    "submission sending": need_unsent("sending"),
    "submission suspended": need_unsent("suspended"),
    "arrival": need_arrival,
    "quarantine": need_quarantined,
}


def with_partner(database: Database) -> None:
    with database.write() as connection:
        partners.put(connection, partners.PartnerRow("p", "P", "p@p.example", "{}", 1.0))


@pytest.mark.parametrize("why", NEEDS)
@pytest.mark.parametrize("claimed_first", [False, True], ids=["before the claim", "after the claim"])
def test_what_a_row_needs_is_never_collected(
    database: Database, spool: Spool, why: str, *, claimed_first: bool
) -> None:
    """Also when the need arises between claim and removal, without the file being put anew."""
    with_partner(database)
    stored = kept(database, spool, b"needed", released=1.0)
    if claimed_first:
        with database.write() as connection:
            assert objects.claim_released(connection, 9999.0, 10) == [stored.sha256]
    with database.write() as connection:
        NEEDS[why](connection, stored.sha256)  # type: ignore[operator]  # functions of one shape
    assert cleaning.collect(database, spool, 9999.0, GRACE) == 0
    assert stored.sha256 in blobs(database)
    assert spool.path(stored.sha256).exists()
    with database.read() as connection:
        assert objects.claimed(connection) == []
        assert objects.has_blob(connection, stored.sha256)


def test_collector_finishes_what_a_died_process_claimed(database: Database, spool: Spool) -> None:
    """Both halves: died before the file went, and died after it, before the commit."""
    first = kept(database, spool, b"first", released=1.0)
    second = kept(database, spool, b"second", released=1.0)
    with database.write() as connection:
        assert len(objects.claim_released(connection, 9999.0, 10)) == 2
    spool.remove(second.sha256)
    with database.read() as connection:
        assert not objects.has_blob(connection, first.sha256), "a claimed file is as good as gone"
    assert cleaning.collect(database, spool, 0.0, GRACE) == 2
    assert blobs(database) == set()
    assert not spool.path(first.sha256).exists()


def test_put_after_the_claim_saves_the_file(database: Database, spool: Spool) -> None:
    stored = kept(database, spool, b"x", released=1.0)
    with database.write() as connection:
        claimed = objects.claim_released(connection, 9999.0, 10)
    assert claimed == [stored.sha256]
    kept(database, spool, b"x")
    with database.write() as connection:
        assert not objects.remove_claimed(connection, spool, stored.sha256)
    assert spool.path(stored.sha256).exists()
    with database.read() as connection:
        assert objects.has_blob(connection, stored.sha256)


def test_put_after_the_removal_starts_anew(database: Database, spool: Spool) -> None:
    """The new file was renamed into place, the collector took it, then its row is put: no file, no yes."""
    stored = kept(database, spool, b"x", released=1.0)
    with spool.writer() as writer:
        writer.write(b"x")
        writer.commit()
    assert cleaning.collect(database, spool, 9999.0, GRACE) == 1
    with pytest.raises(RadpostError) as caught, database.write() as connection:
        objects.put_blob(connection, spool, stored, 2.0)
    assert caught.value.reason is STORE_UNUSABLE
    kept(database, spool, b"x")
    assert spool.path(stored.sha256).read_bytes() == b"x"


def test_orphans_are_old_files_without_a_row(database: Database, spool: Spool) -> None:
    known = kept(database, spool, b"known")
    lost = []
    for content in (b"lost 1", b"lost 2", b"lost 3"):
        with spool.writer() as writer:
            writer.write(content)
            lost.append(spool.path(writer.commit().sha256))
    foreign = spool.path(known.sha256).with_name("README")
    foreign.write_text("left by somebody")
    assert cleaning.orphans(database, spool, 1.0) == [], "younger than the grace"
    future = lost[0].stat().st_ctime + 1
    assert cleaning.orphans(database, spool, future) == sorted(lost)
    assert cleaning.remove_orphans(database, spool, future) == 3
    assert cleaning.orphans(database, spool, future) == []
    assert spool.path(known.sha256).exists()
    assert foreign.exists()


def test_an_old_file_just_renamed_is_no_orphan(database: Database, spool: Spool) -> None:
    """Its data may be hours old; it came under its hash now, and its row is about to be committed."""
    path = spool.temporary()
    path.write_bytes(b"old data")
    os.utime(path, (1.0, 1.0))
    stored = Stored(hashlib.sha256(b"old data").hexdigest(), 8)
    before = path.stat().st_ctime - 1
    spool.adopt([(path, stored)])
    assert spool.path(stored.sha256).stat().st_mtime == 1.0
    assert cleaning.orphans(database, spool, before) == []


def test_orphan_that_is_put_meanwhile_stays(
    database: Database, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with spool.writer() as writer:
        writer.write(b"x")
        stored = writer.commit()
    found = [spool.path(stored.sha256)]
    with database.write() as connection:
        objects.put_blob(connection, spool, stored, 1.0)
    monkeypatch.setattr(cleaning, "orphans", lambda *_: found)
    assert cleaning.remove_orphans(database, spool, 9e9) == 0
    assert found[0].exists()


def test_many_names_in_one_shard(database: Database, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "_NAMES_AT_ONCE", 2)
    shard = spool.path("ab" + "0" * 62).parent
    paths = [shard / f"ab{number:062x}" for number in range(7)]
    for path in paths:
        path.touch()
    with database.write() as connection:
        blob(connection, paths[3].name)
    wanted = [path for path in paths if path != paths[3]]
    assert cleaning.orphans(database, spool, 9e9) == wanted
