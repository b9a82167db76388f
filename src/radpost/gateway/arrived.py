"""What is known of mails that came to us: a set, a single mail, or all of a study.

Here we are the side that knows: fetched, decrypted, verified and imported are our own words. Whether a
person opened or reported the study is known in the PACS only, and nothing here says so.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from radpost.agit.survey import MailKind
from radpost.errors import NOT_FOUND, RadpostError
from radpost.gateway import machines
from radpost.gateway.arrivals import alarm_subject
from radpost.gateway.site import Site
from radpost.gateway.views import NOT_REPORTED, Explained, Step, TruthView, explained, timeline
from radpost.store import incoming_deliveries, incoming_mails, incoming_receipts, incoming_sets, lookups
from radpost.store.incoming_deliveries import DeliveryRow
from radpost.store.incoming_mails import ArrivalRow
from radpost.store.incoming_receipts import ReceiptRow
from radpost.store.incoming_sets import IncomingSetRow
from radpost.store.journal import AlarmRow
from radpost.store.lookups import ReceivedObject
from radpost.transfer.incoming_set import IncomingSet
from radpost.words import Language, Truth, Verdict

PREFIX: Final = "mail:"
MISSING_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """An object on its way to a destination."""

    destination: str
    """Empty for an object that no destination takes."""
    state: str
    attempts: int
    due_at: float | None
    done_at: float | None
    status: str
    code: int | None
    detail: str
    changed: bool
    """Converted without loss; the hashes before and after are in the store."""


@dataclass(frozen=True, slots=True)
class ReceivedView:
    """One object that came, with its truths by name and where it goes."""

    arrival: str
    position: int
    part: int | None
    kind: str
    size: int
    study_uid: str
    sop_instance_uid: str
    sha256: str
    state: str
    truths: dict[str, TruthView]
    deliveries: tuple[DeliveryView, ...]
    code: int | None


@dataclass(frozen=True, slots=True)
class ArrivalView:
    """One mail that came."""

    arrival: str
    part: int | None
    kind: str
    state: str
    source: str
    from_address: str
    message_id: str
    size: int
    received_at: float
    ended_at: float | None
    signature: str
    receipts: tuple[str, ...]
    code: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class ArrivedView:
    """All that is known of a set, or of a mail outside of any set."""

    direction: str
    id: str
    partner: str
    state: str
    study_uid: str
    objects: int
    mails: int
    mails_here: int
    missing: tuple[int, ...]
    """The first parts that did not come, as far as their number is known."""
    first_at: float
    last_at: float
    reasons: tuple[Explained, ...]
    mail_list: tuple[ArrivalView, ...]
    object_list: tuple[ReceivedView, ...]
    timeline: tuple[Step, ...]


def find(site: Site, name: str) -> list[ArrivedView]:
    """Return what came under a name: ``mail:ID``, a set id or its beginning, a Message-ID, or a study.

    Raises:
        RadpostError: NOT_FOUND for a ``mail:ID`` that does not exist.
    """
    if name.startswith(PREFIX):
        number = name.removeprefix(PREFIX)
        with site.database.read() as connection:
            row = incoming_mails.get_arrival(connection, int(number)) if number.isdecimal() else None
        if row is None:
            raise RadpostError(NOT_FOUND, f"{name}; see 'radpost status'")
        return [_view(site, None, [row])]
    views = []
    with site.database.read() as connection:
        sets = lookups.sets_named(connection, name)
        loose = lookups.arrivals_with_message_id(connection, name) if "@" in name else []
        loose = loose or lookups.arrivals_of_study(connection, name)
    for partner, set_id in sets:
        with site.database.read() as connection:
            stored = incoming_sets.get_set(connection, partner, set_id)
            rows = incoming_sets.arrivals_of_set(connection, partner, set_id)
        views.append(_view(site, stored, rows))
    views.extend(_view(site, None, [row]) for row in loose)
    return views


def _view(site: Site, stored: IncomingSetRow | None, rows: Sequence[ArrivalRow]) -> ArrivedView:
    language = site.config.institution.language
    with site.database.read() as connection:
        found = {row.id: lookups.received_objects(connection, row.id) for row in rows}
        receipts = {row.id: incoming_receipts.receipts_of(connection, row.id) for row in rows}
        deliveries = {
            item.object_id: incoming_deliveries.deliveries_of(connection, item.object_id)
            for items in found.values()
            for item in items
            if item.object_id is not None
        }
        events = lookups.events_of_arrivals(connection, [row.id for row in rows])
        parts = incoming_sets.parts(connection, stored.partner, stored.set_id) if stored else []
        subjects = [alarm_subject(row.id) for row in rows]
        if stored:
            subjects.append(f"set {stored.set_id} from {stored.partner}")
        alarms = [
            alarm
            for start in range(0, len(subjects), 200)
            for alarm in lookups.alarms_about(connection, subjects[start : start + 200])
        ]
    rows = sorted(rows, key=lambda row: (row.set_part or 0, row.id))
    objects = tuple(
        _object(row, item, deliveries.get(item.object_id or -1, [])) for row in rows for item in found[row.id]
    )
    total = machines.load(IncomingSet, stored.machine).total if stored else len(rows)
    return ArrivedView(
        direction="in",
        id=stored.set_id if stored else f"{PREFIX}{rows[0].id}",
        partner=(stored.partner if stored else rows[0].partner) or "",
        state=stored.state if stored else rows[0].state,
        study_uid=stored.study_uid if stored else next((item.study_uid for item in objects), ""),
        objects=len(objects),
        mails=total or len(parts),
        mails_here=len(parts) if stored else len(rows),
        missing=_missing(total or 0, parts) if stored else (),
        first_at=min(row.received_at for row in rows),
        last_at=max(row.ended_at or row.received_at for row in rows),
        reasons=_reasons(alarms, rows, objects, language),
        mail_list=tuple(_arrival(row, receipts[row.id]) for row in rows),
        object_list=objects,
        timeline=timeline(events),
    )


def truths(row: ArrivalRow, item: ReceivedObject) -> dict[str, TruthView]:
    """Return the seven truths about an object that came to us."""
    fetched = row.source.startswith(("imap:", "pop3:"))
    good = row.verdict == Verdict.GOOD.value
    known = {
        Truth.ON_SERVER: TruthView(
            "yes", row.received_at, "in our mailbox" if fetched else "received directly"
        ),
        Truth.FETCHED: TruthView("yes", row.received_at, row.source),
        Truth.DECRYPTED: (
            TruthView("no", None, "came unencrypted")
            if row.kind == MailKind.CLEAR.value
            else TruthView("yes", row.opened_at, "opened with our key")
        ),
        Truth.VERIFIED: TruthView(
            "yes" if good else "no", row.opened_at if good else None, f"signature: {row.verdict or 'none'}"
        ),
        Truth.IMPORTED: TruthView("yes", item.imported_at, item.state)
        if item.object_id is not None
        else TruthView("no", None, item.state),
    }
    return {truth.value: known.get(truth, TruthView(NOT_REPORTED)) for truth in Truth}


def _missing(total: int, parts: Sequence[int]) -> tuple[int, ...]:
    """Return the first parts that are not here; the total is the partner's word and may be any number."""
    here = set(parts)
    absent = (part for part in range(1, total + 1) if part not in here)
    return tuple(islice(absent, MISSING_SHOWN))


def _object(row: ArrivalRow, item: ReceivedObject, deliveries: Sequence[DeliveryRow]) -> ReceivedView:
    return ReceivedView(
        arrival=f"{PREFIX}{row.id}",
        position=item.position,
        part=row.set_part,
        kind=item.kind,
        size=item.size,
        study_uid=item.study_uid,
        sop_instance_uid=item.sop_instance_uid,
        sha256=item.sha256,
        state=item.state,
        truths=truths(row, item),
        deliveries=tuple(_delivery(one) for one in deliveries),
        code=item.code,
    )


def _delivery(row: DeliveryRow) -> DeliveryView:
    return DeliveryView(
        destination=row.destination,
        state=row.state,
        attempts=row.attempts,
        due_at=row.due_at,
        done_at=row.done_at,
        status="" if row.status is None else f"{row.status:04X}",
        code=row.code,
        detail=row.detail,
        changed=row.changed_to is not None,
    )


def _arrival(row: ArrivalRow, receipts: Sequence[ReceiptRow]) -> ArrivalView:
    return ArrivalView(
        arrival=f"{PREFIX}{row.id}",
        part=row.set_part,
        kind=row.kind,
        state=row.state,
        source=row.source,
        from_address=row.from_address,
        message_id=row.message_id,
        size=row.size,
        received_at=row.received_at,
        ended_at=row.ended_at,
        signature=row.verdict or "",
        receipts=tuple(f"{one.disposition.rpartition(';')[2].strip()}: {one.state}" for one in receipts),
        code=row.code,
        detail=row.detail,
    )


def _reasons(
    alarms: Iterable[AlarmRow],
    rows: Iterable[ArrivalRow],
    objects: Iterable[ReceivedView],
    language: Language,
) -> tuple[Explained, ...]:
    found = {alarm.code: explained(alarm.code, language, alarm=alarm) for alarm in alarms}
    for row in rows:
        if row.code is not None and row.code not in found:
            found[row.code] = explained(row.code, language, detail=row.detail)
    for item in objects:
        codes = [(item.code, "")]
        codes += [
            (one.code, f"{one.destination}: {one.detail}" if one.destination else "")
            for one in item.deliveries
        ]
        for code, detail in codes:
            if code is not None and code not in found:
                found[code] = explained(code, language, detail=detail)
    return tuple(found.values())
