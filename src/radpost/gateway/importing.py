"""Objects of an opened mail are stored, exactly once, and ordered for delivery (DESIGN 3: 2, 5, 6)."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from radpost.agit import names
from radpost.agit.opening import Part
from radpost.dicom.identity import Identity, identify
from radpost.errors import CONFIG_INVALID, DICOM_INVALID, VERSION_CONFLICT, RadpostError, Reason
from radpost.gateway import placing
from radpost.gateway.alarms import write_records
from radpost.gateway.config import Destination
from radpost.gateway.ingest import facts_of
from radpost.gateway.partners import Partner
from radpost.gateway.site import Site
from radpost.store import incoming_mails, journal, objects
from radpost.store.objects import ObjectFacts, ObjectRow
from radpost.store.spool import Stored, trouble
from radpost.transfer import incoming as incoming_machine
from radpost.transfer.actions import Alarm

NAME_LIMIT: Final = 200
DECODED_WHOLE: Final = 4 << 20
"""Up to this encoded size an object is decoded in memory; larger ones are identified from their file."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An object of a mail, written to a private temporary file and identified."""

    path: Path
    facts: ObjectFacts
    study_uid: str
    name: str
    remark: Reason | None
    same_as: ObjectRow | None = None
    """An object that is here in another syntax with the same decoded content: the same object."""


class Importer:
    """Brings the objects of one mail into the store."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def prepare(self, parts: Sequence[Part]) -> list[Prepared]:
        """Write and identify all objects; durable only after ``make_durable``."""
        prepared: list[Prepared] = []
        try:
            prepared.extend(self._prepare(part) for part in parts)
            return [self._compared(item) for item in prepared]
        except BaseException:
            self.discard(prepared)
            raise

    def make_durable(self, prepared: Sequence[Prepared]) -> None:
        """Sync all files, name them by their hashes, sync the folders."""
        files = {
            item.facts.file_sha256: (item.path, Stored(item.facts.file_sha256, item.facts.size))
            for item in prepared
        }
        self._site.spool.adopt(files.values())

    def discard(self, prepared: Sequence[Prepared]) -> None:
        """Remove what is left of the temporary files."""
        for item in prepared:
            with suppress(OSError):
                item.path.unlink(missing_ok=True)

    def store(
        self,
        connection: Connection,
        arrival_id: int,
        partner: Partner,
        prepared: Sequence[Prepared],
        now: float,
    ) -> incoming_machine.Imported:
        """Note all objects of a mail and order their deliveries; one transaction with the mail's state."""
        self._check_rule(connection, partner, now)
        rows: list[dict[str, object]] = []
        reason: Reason | None = None
        places: dict[str, list[Destination]] = {}
        unplaced: set[str] = set()
        for position, item in enumerate(prepared, 1):
            objects.put_blob(
                connection, self._site.spool, Stored(item.facts.file_sha256, item.facts.size), now
            )
            put = self._put(connection, item, now)
            if put.file_sha256 != item.facts.file_sha256:
                # here already, in a file with another meta header or in another syntax: this one is not kept
                objects.release_blob(connection, item.facts.file_sha256, now)
            other_content = put.new and bool(put.versions)
            remark = VERSION_CONFLICT if other_content else item.remark
            reason = reason if reason is VERSION_CONFLICT else remark or reason
            if other_content:
                alarm = Alarm(VERSION_CONFLICT)
                write_records(connection, [alarm], f"study {item.study_uid or 'unassigned'}", now)
            kind = item.facts.kind
            arrived = placing.Arrived(
                put.id, kind, item.study_uid, item.name, new=put.new, new_version=other_content
            )
            if kind not in places:
                places[kind] = placing.destinations(self._site.config, partner.settings.destination, kind)
            if not placing.order(connection, partner.name, arrived, places[kind], now):
                unplaced.add(kind)
            rows.append(
                {
                    "arrival_id": arrival_id,
                    "position": position,
                    "object_id": put.id,
                    "sha256": item.facts.file_sha256,
                    "study_uid": item.study_uid,
                    "name": item.name,
                    "state": "imported" if put.new else "present",
                    "code": remark.code if remark else None,
                    "detail": "",
                    "imported_at": now,
                }
            )
        if rows:
            incoming_mails.add_objects(connection, rows)
        for kind in sorted(unplaced):
            placing.alarm(connection, kind, now)
        return incoming_machine.Imported(stored=len(rows), remarks=reason is not None, reason=reason)

    def _check_rule(self, connection: Connection, partner: Partner, now: float) -> None:
        """Alarm if the partner's rule names destinations that the configuration does not have (any more)."""
        chosen = partner.settings.destination
        known = {item.name for item in self._site.config.destination}
        missing = [name for name in chosen if name not in known]
        subject = f"destinations of partner {partner.name}"
        if missing:
            detail = f"not configured: {', '.join(missing)}"
            journal.raise_alarm(connection, CONFIG_INVALID.code, subject, detail, now)
        elif chosen:
            journal.end_alarm(connection, CONFIG_INVALID.code, subject, now)

    def _put(self, connection: Connection, item: Prepared, now: float) -> objects.Put:
        if item.same_as is not None:
            journal.note(connection, "present in another transfer syntax", now)
            return objects.Put(item.same_as.id, new=False, file_sha256=item.same_as.file_sha256)
        return objects.put(connection, item.facts, now)

    def _prepare(self, part: Part) -> Prepared:
        path = self._site.spool.temporary()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                plain = part.plain
                if plain is None and part.end - part.start <= DECODED_WHOLE:
                    plain = memoryview(b"".join(part.chunks()))
                if plain is not None:
                    identity = identify(plain)
                    _write_all(file.fileno(), plain)
                else:
                    for chunk in part.chunks():
                        _write_all(file.fileno(), memoryview(chunk))
            if plain is None:
                identity = identify(path)
            return self._judged(part, path, identity)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise trouble(error) from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    @staticmethod
    def _judged(part: Part, path: Path, identity: Identity) -> Prepared:
        is_dicom = identity.kind == "dicom"
        media_type = names.DICOM_TYPE if part.claims_dicom or is_dicom else part.media_type
        facts = facts_of(identity, media_type=media_type)
        if not facts.file_sha256:  # an empty file has no pages to map
            empty = hashlib.sha256(b"").hexdigest()
            facts = replace(facts, file_sha256=empty, dataset_sha256=empty)
        study_uid = facts.study_uid or part.study_uid
        remark = DICOM_INVALID if part.claims_dicom and identity.kind == "other" else None
        name = os.path.basename(part.filename.replace("\\", "/"))[:NAME_LIMIT]  # noqa: PTH119  not a path of ours
        return Prepared(path, facts, study_uid, name, remark)

    def _compared(self, item: Prepared) -> Prepared:
        """Look whether the object is here in another syntax with the same content (invariant 2)."""
        if not item.facts.sop_instance_uid:
            return item
        with self._site.database.read() as connection:
            known = objects.same_instance(connection, item.facts.sop_instance_uid)
        others = [row for row in known if row.transfer_syntax_uid != item.facts.transfer_syntax_uid]
        same = any(
            row.transfer_syntax_uid == item.facts.transfer_syntax_uid
            and row.dataset_sha256 == item.facts.dataset_sha256
            for row in known
        )
        if same or not others:
            return item
        from radpost.dicom.transcode import equal_content  # noqa: PLC0415  numpy and codecs, rarely needed

        for row in others:
            try:
                if equal_content(self._site.spool.path(row.file_sha256), item.path):
                    return replace(item, same_as=row)
            except RadpostError:
                continue  # what can't be decoded can't be proven equal: a version of its own
        return item


def _write_all(descriptor: int, data: memoryview) -> None:
    while len(data):
        data = data[os.write(descriptor, data) :]
