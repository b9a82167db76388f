"""Objects come in from the DICOM network or from files, become durable, and join a collection.

C-STORE success is returned after the file is synced, named and its folder synced, and after the commit of
its row, its collection and the collection's deadline (DESIGN invariant 1).
"""

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from radpost.dicom import dimse
from radpost.dicom.access import Accept, Reject, Rejection
from radpost.dicom.identity import Identity
from radpost.dicom.incoming import IncomingObject, StoreContext
from radpost.dicom.session import AssociationInfo
from radpost.errors import (
    CALLED_AE_UNKNOWN,
    CALLING_AE_UNKNOWN,
    DISK_FULL,
    FILE_CHANGED,
    UNFINISHED_SEND,
    RadpostError,
    Reason,
)
from radpost.gateway import machines
from radpost.gateway.alarms import SEND, unfinished_subject, write_records
from radpost.gateway.config import DicomIn, Station
from radpost.gateway.doors import PacsDoor, within
from radpost.gateway.partners import Partner
from radpost.gateway.settling import Settler
from radpost.gateway.site import Site
from radpost.store import journal, objects, outgoing_collections
from radpost.store.objects import ObjectFacts
from radpost.store.segments import Record
from radpost.store.spool import Stored
from radpost.transfer import completion
from radpost.transfer.actions import Alarm, TimerDue
from radpost.transfer.completion import Collection, CompletionPolicy, Mode
from radpost.words import Priority

OPEN: Final = "open"
CLOSED: Final = "closed"
MOST_ALARMS: Final = 500
SEND_IDLE_SECONDS: Final = 300.0
"""So long nothing comes of a ``radpost send`` until something must have gone wrong."""
PACS_IDLE_SECONDS: Final = 3600.0
"""The same of our PACS."""
STREAM_BATCH_BYTES: Final = 11_000_000
"""Of native pixels so much fits into one mail of the default size, by the bound that planning takes."""
STREAM_BATCH_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an object comes from and whom it is for."""

    source: str
    partner: Partner
    priority: Priority = Priority.ROUTINE
    quiet_seconds: float | None = None
    whole: bool = False
    """The source says itself when all is there (``radpost send``)."""


@dataclass(frozen=True, slots=True)
class Collector:
    """Puts durable objects into the collections of their partner and study."""

    site: Site

    def add(
        self, connection: Connection, origin: Origin, facts: ObjectFacts, name: str, now: float
    ) -> tuple[int, bool]:
        """Note an object whose blob is put, and let it join its collection; True if a batch was closed."""
        put = objects.put(connection, facts, now)
        row = outgoing_collections.open_collection(
            connection, origin.source, origin.partner.name, facts.study_uid
        )
        if row is None:
            state = Collection(opened_at=now)
            collection_id = outgoing_collections.add_collection(
                connection, self._fresh(origin, facts.study_uid, state, now)
            )
        else:
            state, collection_id = machines.load(Collection, row.machine), row.id
        if not outgoing_collections.add_member(
            connection, collection_id, put.id, facts.file_sha256, name, now
        ):
            return collection_id, False
        after, closes = completion.decide(
            state, completion.ObjectArrived(facts.size), now, self.policy(origin)
        )
        outgoing_collections.touch_collection(
            connection,
            collection_id,
            machines.dump(after),
            CLOSED if closes else OPEN,
            after.due,
            objects=1,
            size=facts.size,
        )
        return collection_id, bool(closes)

    def ended(self, connection: Connection, origin: Origin, *, others_open: bool, now: float) -> bool:
        """Tell the collections of a source that its association ended; True if one is due soon."""
        rows = outgoing_collections.open_collections_of(connection, origin.source, origin.partner.name)
        for row in rows:
            before = machines.load(Collection, row.machine)
            event = completion.AssociationEnded(others_open)
            after, closes = completion.decide(before, event, now, self.policy(origin))
            state = CLOSED if closes else OPEN
            outgoing_collections.touch_collection(connection, row.id, machines.dump(after), state, after.due)
        return bool(rows)

    def flush(self, connection: Connection, origin: Origin, now: float) -> int:
        """Close all collections of a source for a partner; return how many."""
        rows = outgoing_collections.open_collections_of(connection, origin.source, origin.partner.name)
        for row in rows:
            self.close(connection, row, completion.Flush(), now, self.policy(origin))
        if origin.source.startswith(SEND):
            journal.end_alarm(connection, UNFINISHED_SEND.code, unfinished_subject(origin.source), now)
        return len(rows)

    def close_due(self, connection: Connection, now: float) -> int:
        """Close the collections whose stored deadline has passed; return how many.

        Of a ``radpost send`` that did not say that all is there nobody knows what is missing: it alarms.
        """
        rows = outgoing_collections.due_collections(connection, now)
        for row in rows:
            whole = row.source.startswith(SEND)
            self.close(connection, row, TimerDue(), now, CompletionPolicy(whole=whole))
            if whole:
                write_records(connection, [Alarm(UNFINISHED_SEND)], unfinished_subject(row.source), now)
        return len(rows)

    @staticmethod
    def close(
        connection: Connection,
        row: outgoing_collections.CollectionRow,
        event: completion.CollectionEvent,
        now: float,
        policy: CompletionPolicy,
    ) -> None:
        """Feed an event to one collection and store the result."""
        after, closes = completion.decide(machines.load(Collection, row.machine), event, now, policy)
        state = CLOSED if closes else OPEN
        outgoing_collections.touch_collection(connection, row.id, machines.dump(after), state, after.due)

    def policy(self, origin: Origin) -> CompletionPolicy:
        """Return when a study of this source for this partner is complete."""
        switches = origin.partner.switches
        dicom = self.site.config.dicom or DicomIn()
        quiet = next(
            value
            for value in (origin.quiet_seconds, switches.quiet_seconds, dicom.quiet_seconds)
            if value is not None
        )
        whole = origin.source.startswith(SEND)
        if switches.streaming:
            size = max(STREAM_BATCH_BYTES, switches.max_mail_size)
            return CompletionPolicy(
                mode=Mode.BATCH,
                quiet=quiet,
                bytes=size,
                age=STREAM_BATCH_SECONDS,
                whole=whole,
                count=switches.objects_per_mail if switches.objects_per_mail == 1 else 0,
            )
        if origin.whole:
            idle = SEND_IDLE_SECONDS if whole else PACS_IDLE_SECONDS
            return CompletionPolicy(quiet=quiet, idle=idle, whole=whole)
        return CompletionPolicy(quiet=quiet)

    @staticmethod
    def _fresh(origin: Origin, study_uid: str, state: Collection, now: float) -> dict[str, object]:
        return {
            "source": origin.source,
            "partner": origin.partner.name,
            "study_uid": study_uid,
            "state": OPEN,
            "priority": origin.priority.value,
            "machine": machines.dump(state),
            "objects": 0,
            "bytes": 0,
            "opened_at": now,
            "due_at": None,
            "group_id": f"{origin.source}|{origin.partner.name}|{study_uid}",
        }


def facts_of(identity: Identity, *, media_type: str) -> ObjectFacts:
    """Return an object's facts as the store wants them; what is not DICOM is known by its hash alone."""
    is_dicom = identity.kind == "dicom"
    return ObjectFacts(
        kind=identity.kind,
        sop_class_uid=identity.sop_class_uid or "",
        sop_instance_uid=(identity.sop_instance_uid or "") if is_dicom else "",
        transfer_syntax_uid=(identity.transfer_syntax_uid or "") if is_dicom else "",
        dataset_sha256=identity.dataset_sha256 if is_dicom else identity.file_sha256,
        file_sha256=identity.file_sha256,
        size=identity.size,
        study_uid=identity.study_instance_uid or "",
        series_uid=identity.series_instance_uid or "",
        modality=identity.modality or "",
        media_type=media_type,
    )


def add_file(
    site: Site, origin: Origin, path: Path, identity: Identity, *, media_type: str, name: str, study_uid: str
) -> bool:
    """Copy one file into the spool and let it join its collection; durable when this returns."""
    site.spool.require_space(identity.size)
    stored = site.spool.add_file(path)
    facts = facts_of(identity, media_type=media_type)
    if stored.sha256 != facts.file_sha256:
        raise RadpostError(FILE_CHANGED, path.name)
    if not facts.study_uid:
        facts = replace(facts, study_uid=study_uid)
    now = site.clock()
    with site.database.write() as connection:
        objects.put_blob(connection, site.spool, stored, now)
        _, closed = Collector(site).add(connection, origin, facts, name, now)
    return closed


class Wanted:
    """Studies that are being fetched from the institution's own PACS by C-MOVE, and for whom."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._origins: dict[str, list[Origin]] = {}

    def expect(self, study_uid: str, origin: Origin) -> None:
        """Take the study's objects for this origin from now on."""
        with self._lock:
            self._origins.setdefault(study_uid, []).append(origin)

    def forget(self, study_uid: str, origin: Origin) -> None:
        """Take them no longer."""
        with self._lock:
            left = [item for item in self._origins.get(study_uid, []) if item != origin]
            if left:
                self._origins[study_uid] = left
            else:
                self._origins.pop(study_uid, None)

    def origins(self, study_uid: str) -> tuple[Origin, ...]:
        """Return for whom a study is fetched now."""
        with self._lock:
            return tuple(self._origins.get(study_uid, ()))


class StoreHandler:
    """What the storage SCP asks: who may come, and is it durable."""

    def __init__(self, site: Site, wanted: Wanted, settler: Settler | None = None) -> None:
        self._site = site
        self._wanted = wanted
        self._settler = settler
        self._collector = Collector(site)
        self._config = site.config.dicom or DicomIn()
        self._pacs = PacsDoor(site.config.pacs)
        self._lock = threading.Lock()
        self._bringing: dict[str, Origin] = {}

    @property
    def directory(self) -> Path:
        """Return where arriving objects are written."""
        return self._site.spool.tmp

    def associate(self, calling_ae: str, called_ae: str, peer_address: str) -> Accept | Reject:
        """Admit known stations to the AE titles of partners, and our PACS to our own (DESIGN invariant 7)."""
        if self._pacs.admits(calling_ae, called_ae, peer_address):
            return Accept()
        if not self._allowed(calling_ae, peer_address):
            self._turned_away(CALLING_AE_UNKNOWN, calling_ae, peer_address)
            return Reject(Rejection.CALLING_AE)
        partner = self._site.partners.by_ae_title(called_ae)
        if partner is None:
            self._turned_away(CALLED_AE_UNKNOWN, calling_ae, peer_address)
            return Reject(Rejection.CALLED_AE)
        return Accept(partner.name)

    def _turned_away(self, reason: Reason, calling_ae: str, peer_address: str) -> None:
        """Show the administrator which station was refused; strangers cannot fill the list."""
        self._site.log.warning("association refused", code=reason.code, address=peer_address)
        try:
            with self._site.database.write() as connection:
                if len(journal.open_alarms(connection)) < MOST_ALARMS:
                    subject = f"station {calling_ae[:16]} at {peer_address}"
                    journal.raise_alarm(connection, reason.code, subject, "", self._site.clock())
        except RadpostError as error:
            self._site.log.warning("alarm not stored", code=error.reason.code)

    def store(self, association: AssociationInfo, context: StoreContext, data: IncomingObject) -> int:
        """Make an object durable and say so, or say why not (PS3.4 B.2.3)."""
        try:
            self._site.spool.require_space()
            origins = self._origins(association, data.study_instance_uid or "")
            if not origins:
                self._site.log.warning("object refused: nobody waits for this study")
                return dimse.PROCESSING_FAILURE
        except RadpostError as error:
            return _refused(self._site, error)
        status = keep_object(self._site, origins, context, data, self._settler)
        if status == dimse.SUCCESS:
            with self._lock:
                self._bringing[association.id] = origins[0]
        return status

    def released(self, association: AssociationInfo) -> None:
        """Start the quiet period."""
        self._ended(association)

    def aborted(self, association: AssociationInfo) -> None:
        """Start the quiet period: what was answered with success is as good as any."""
        self._ended(association)

    def _ended(self, association: AssociationInfo) -> None:
        with self._lock:
            origin = self._bringing.pop(association.id, None)
            others_open = origin in self._bringing.values()
        if origin is None or origin.whole:
            return
        try:
            now = self._site.clock()
            with self._site.database.write() as connection:
                self._collector.ended(connection, origin, others_open=others_open, now=now)
                subject = f"station {association.calling_ae[:16]} at {association.address}"
                journal.end_alarm(connection, None, subject, now)
        except RadpostError as error:
            # the stored deadline of the last object closes the collection as well, only later
            self._site.log.warning("end of association not stored", code=error.reason.code)
        self._site.bells.collect.ring()

    def _origins(self, association: AssociationInfo, study_uid: str) -> tuple[Origin, ...]:
        if not association.partner:
            return self._wanted.origins(study_uid)
        partner = self._site.partners.by_name(association.partner)
        station = self._station(association.calling_ae)
        quiet = station.quiet_seconds if station else None
        return (Origin(f"dicom:{association.calling_ae}", partner, quiet_seconds=quiet),)

    def _station(self, calling_ae: str) -> Station | None:
        return next((item for item in self._config.stations if item.ae_title == calling_ae), None)

    def _allowed(self, calling_ae: str, peer_address: str) -> bool:
        if self._config.allow_any_station:
            return True
        return any(
            station.ae_title == calling_ae and within(peer_address, station.address)
            for station in self._config.stations
        )


def keep_object(
    site: Site,
    origins: tuple[Origin, ...],
    context: StoreContext,
    data: IncomingObject,
    settler: Settler | None = None,
) -> int:
    """Make an object that came by C-STORE durable and let it join its collections; return the status."""
    stored = Stored(data.file_sha256, data.size)
    facts = ObjectFacts(
        kind="dicom",
        sop_class_uid=context.sop_class,
        sop_instance_uid=context.sop_instance,
        transfer_syntax_uid=context.transfer_syntax,
        dataset_sha256=data.dataset_sha256,
        file_sha256=data.file_sha256,
        size=data.size,
        study_uid=data.study_instance_uid or "",
        series_uid=data.series_instance_uid or "",
        modality=data.modality or "",
        media_type="application/dicom",
    )
    record: Record | None = None
    try:
        if settler is None:
            site.spool.adopt([(data.path, stored)], synced=data.synced)
        else:
            record = settler.make_durable(data.path, stored, synced=data.synced)
        now = site.clock()
        with site.database.write() as connection:
            objects.put_blob(connection, site.spool, stored, now, record)
            collector = Collector(site)
            closed = [collector.add(connection, origin, facts, "", now)[1] for origin in origins]
    except RadpostError as error:
        if settler is not None:
            settler.dropped(record)
        return _refused(site, error)
    if settler is not None:
        settler.noted(stored, record)
    if any(closed):
        site.bells.collect.ring()
    return dimse.SUCCESS


def _refused(site: Site, error: RadpostError) -> int:
    site.log.warning("object refused", code=error.reason.code, name=error.reason.name)
    return dimse.OUT_OF_RESOURCES if error.reason is DISK_FULL else dimse.PROCESSING_FAILURE
