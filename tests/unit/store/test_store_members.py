"""An object may travel in another file than it was first stored with: same data set, other meta header."""

import hashlib
from collections.abc import Sequence

from radpost.store import objects, outgoing_collections, outgoing_mails, outgoing_transmissions, partners
from radpost.store.database import Database
from radpost.store.objects import ObjectFacts
from radpost.store.spool import Spool, Stored


def put_file(spool: Spool, data: bytes) -> Stored:
    with spool.writer() as writer:
        writer.write(data)
        return writer.commit()


def facts(stored: Stored) -> ObjectFacts:
    return ObjectFacts(
        kind="dicom",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid="1.2.3",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        dataset_sha256=hashlib.sha256(b"data set").hexdigest(),
        file_sha256=stored.sha256,
        size=stored.size,
        study_uid="1.2",
        series_uid="1.2.1",
        modality="CT",
        media_type="application/dicom",
    )


def test_the_size_of_a_member_is_that_of_the_file_that_travels(database: Database, spool: Spool) -> None:
    first, second = put_file(spool, b"meta" + b"data set"), put_file(spool, b"other meta" + b"data set")
    with database.write() as connection:
        partners.put(connection, partners.PartnerRow("b", "B", "b@b.example", "{}", 1.0))
        found: list[Sequence[outgoing_collections.Member]] = []
        for number, stored in enumerate((first, second)):
            objects.put_blob(connection, spool, stored, 1.0)
            put = objects.put(connection, facts(stored), 1.0)
            collection_id = outgoing_collections.add_collection(
                connection,
                {
                    "source": f"test {number}",
                    "partner": "b",
                    "study_uid": "1.2",
                    "state": "open",
                    "priority": 2,
                    "machine": "{}",
                    "opened_at": 1.0,
                    "group_id": "g",
                },
            )
            outgoing_collections.add_member(connection, collection_id, put.id, stored.sha256, "", 1.0)
            found.append(list(outgoing_collections.members(connection, collection_id)))
        assert [[(one.file_sha256, one.size) for one in members] for members in found] == [
            [(first.sha256, first.size)],
            [(second.sha256, second.size)],
        ]
        outgoing_transmissions.add_transmission(
            connection,
            {
                "id": "2.25.1",
                "partner": "b",
                "group_id": "g",
                "source": "test",
                "priority": 2,
                "state": "sending",
                "machine": "{}",
                "objects": 1,
                "bytes": second.size,
                "mails": 1,
                "opened_at": 1.0,
                "created_at": 1.0,
            },
        )
        mail = {
            "transmission_id": "2.25.1",
            "partner": "b",
            "part": 1,
            "total": 1,
            "priority": 2,
            "state": "planned",
            "machine": "{}",
            "objects": 1,
            "bytes": second.size,
        }
        mail_id = outgoing_mails.add_mail(connection, mail, found[1], 1)
        (member,) = outgoing_mails.mail_members(connection, mail_id)
        assert (member.file_sha256, member.size) == (second.sha256, second.size)
