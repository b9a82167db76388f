"""Fills a store with what years of work leave behind (row G5)."""

import hashlib
from typing import Any, Final

from benchmarks.pair import view
from sqlalchemy import Table, insert

from radpost.store import schema
from radpost.testing.institution import Institution

KINDS: Final = 8
"""Tables that get a row per object."""
_BATCH: Final = 20_000
_OLD: Final = 1_700_000_000.0


def fill(institution: Institution, partner: str, rows: int) -> None:
    """Write so many finished objects, mails, messages, submissions, arrivals and deliveries, all together."""
    each = max(1, rows // KINDS)
    with view(institution) as database:
        for start in range(0, each, _BATCH):
            numbers = range(start + 1, min(start + _BATCH, each) + 1)
            with database.write() as connection:
                for table, values in _rows(numbers, partner):
                    connection.execute(insert(table), values)


def _digest(kind: str, number: int) -> str:
    return hashlib.sha256(f"{kind} {number}".encode()).hexdigest()


def _rows(numbers: range, partner: str) -> list[tuple[Table, list[dict[str, Any]]]]:
    base = 10_000_000  # ids far from those that the run will give itself
    objects, blobs, mails, parts, messages, outbox, arrivals, deliveries = ([] for _ in range(8))
    transmissions = []
    for number in numbers:
        key, digest = base + number, _digest("object", number)
        at = _OLD + number
        study, instance = f"2.25.9{number // 200}", f"2.25.8{number}"
        blobs.append({"sha256": digest, "size": 1, "created_at": at, "claimed": False})
        objects.append(
            {
                "id": key, "kind": "dicom", "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
                "sop_instance_uid": instance, "transfer_syntax_uid": "1.2.840.10008.1.2.1",
                "dataset_sha256": digest, "file_sha256": digest, "size": 1, "study_uid": study,
                "series_uid": study, "modality": "CT", "media_type": "application/dicom", "created_at": at,
            }
        )  # fmt: skip
        transmission = f"2.25.7{number // 200}"
        if number % 200 == 0 or number == 1:
            transmissions.append(
                {
                    "id": transmission, "partner": partner, "group_id": study,
                     "source": "dicom:CT1", "study_uid": study, "priority": 2,
                    "state": "confirmed", "machine": "{}", "objects": 200, "bytes": 1, "mails": 200,
                    "opened_at": at, "created_at": at, "ended_at": at,
                }
            )  # fmt: skip
        message_id = f"<{digest[:32]}@klinik-a.example>"
        mails.append(
            {
                "id": key, "transmission_id": transmission, "partner": partner, "part": number,
                "total": 200, "priority": 2, "state": "confirmed", "machine": "{}", "message_id": message_id,
                "sealed_sha256": _digest("mail", number), "size": 1, "objects": 1, "bytes": 1,
                "sealed_at": at,
            }
        )  # fmt: skip
        parts.append({"mail_id": key, "position": 1, "object_id": key, "file_sha256": digest, "name": ""})
        messages.append(
            {
                "message_id": message_id, "mail_id": key, "partner": partner,
                "recipient": "dicom@klinik-b.example", "generation": 0, "created_at": at,
            }
        )  # fmt: skip
        outbox.append(
            {
                "id": key, "kind": "mail", "mail_id": key, "partner": partner, "route": "submission",
                "message_id": message_id, "envid": digest[:32], "envelope_from": "dicom@klinik-a.example",
                "recipient": "dicom@klinik-b.example", "piece": 1, "pieces": 1,
                "sha256": _digest("mail", number), "start": 0, "end": 1, "size": 1, "state": "accepted",
                "machine": "{}", "priority": 2, "done_at": at,
            }
        )  # fmt: skip
        arrivals.append(
            {
                "id": key, "source": "imap:inbox", "sha256": _digest("arrival", number), "size": 1,
                "received_at": at, "state": "done", "kind": "sealed", "partner": partner,
                "from_address": "dicom@klinik-a.example", "message_id": message_id, "ended_at": at,
                "set_id": transmission, "set_part": number % 200 + 1, "set_total": 200,
            }
        )  # fmt: skip
        deliveries.append(
            {
                "id": key, "object_id": key, "destination": "pacs", "partner": partner, "study_uid": study,
                "state": "delivered", "machine": "{}", "priority": 2, "created_at": at, "done_at": at,
            }
        )  # fmt: skip
    return [
        (schema.blob, blobs),
        (schema.object_, objects),
        (schema.transmission, transmissions),
        (schema.mail, mails),
        (schema.mail_object, parts),
        (schema.message, messages),
        (schema.submission, outbox),
        (schema.arrival, arrivals),
        (schema.delivery, deliveries),
    ]
