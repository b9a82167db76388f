"""Where received objects go, and what becomes of those that no destination takes (DESIGN invariant 4).

An object without a destination is imported and its sender is told so; it must not lie here unseen. It gets a
row of its own among the deliveries, undeliverable with a code, and an alarm stands until there is a
destination that takes it: then it is ordered as if it had just come.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from radpost.errors import CONFIG_INVALID, NO_DESTINATION, RadpostError
from radpost.gateway import machines
from radpost.gateway.alarms import write_records
from radpost.gateway.config import Config, Destination
from radpost.gateway.site import Site
from radpost.store import incoming_deliveries, journal, objects
from radpost.store.incoming_deliveries import NOWHERE
from radpost.transfer import delivery as machine
from radpost.transfer.actions import Alarm
from radpost.words import Priority

SUBJECTS: Final = {
    "dicom": "DICOM objects without a destination",
    "other": "documents and unknown files without a destination",
}
_LOST: Final = "objects that wait for destination "
_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Arrived:
    """An object that a partner sent."""

    object_id: int
    kind: str
    study_uid: str
    name: str
    new: bool = True
    """It was not here before."""
    new_version: bool = False


def destinations(config: Config, chosen: Sequence[str], kind: str) -> list[Destination]:
    """Return where an object goes: the partner's rule, what destinations take, and who takes the rest."""
    wanted = "dicom" if kind == "dicom" else "other"
    allowed = [item for item in config.destination if not chosen or item.name in chosen]
    taking = [item for item in allowed if item.takes in {wanted, "all"}]
    return taking or [item for item in allowed if item.takes == "rest"]


def order(
    connection: Connection, partner: str, arrived: Arrived, found: Sequence[Destination], now: float
) -> bool:
    """Order the deliveries of an object; return False if it has no place, which is noted then."""
    if found:
        incoming_deliveries.add_deliveries(
            connection, [_values(partner, arrived, item, now) for item in found]
        )
        if not arrived.new:
            incoming_deliveries.remove_unplaced(connection, arrived.object_id)
        return True
    if not arrived.new and incoming_deliveries.has_place(connection, arrived.object_id):
        return True
    state = machine.unplaced()
    incoming_deliveries.add_unplaced(
        connection,
        {
            "object_id": arrived.object_id,
            "destination": NOWHERE,
            "partner": partner,
            "study_uid": arrived.study_uid,
            "name": arrived.name,
            "state": state.phase.value,
            "machine": machines.dump(state),
            "priority": Priority.ROUTINE.value,
            "due_at": None,
            "code": NO_DESTINATION.code,
            "created_at": now,
        },
    )
    return False


def alarm(connection: Connection, kind: str, now: float) -> None:
    """Alarm that objects of a kind have no destination."""
    write_records(connection, [Alarm(NO_DESTINATION)], _subject(kind), now)


def place(site: Site, now: float) -> int:
    """Order deliveries for objects that had no destination and have one now; return how many."""
    with site.database.read() as connection:
        groups = incoming_deliveries.unplaced_groups(connection)
        alarms = {row.subject for row in journal.open_alarms(connection)} & set(SUBJECTS.values())
    if not groups and not alarms:
        return 0
    count = 0
    left: set[str] = set()
    for partner, kind in groups:
        found = destinations(site.config, _rule(site, partner), kind)
        if found:
            count += _place_group(site, partner, kind, found, now)
        else:
            left.add(_subject(kind))
    for subject in alarms - left:
        with site.database.write() as connection:
            journal.end_alarm(connection, NO_DESTINATION.code, subject, now)
    if count:
        site.bells.deliver.ring()
    return count


def watch(site: Site, now: float) -> None:
    """Alarm while objects wait for a destination that the configuration does not have (any more)."""
    known = {item.name for item in site.config.destination}
    with site.database.read() as connection:
        lost = {
            _LOST + name for name in incoming_deliveries.awaited_destinations(connection) if name not in known
        }
        alarms = {row.subject for row in journal.open_alarms(connection) if row.subject.startswith(_LOST)}
    if lost == alarms:
        return
    with site.database.write() as connection:
        for subject in lost - alarms:
            detail = "it is not configured; name it again, and the objects go there"
            journal.raise_alarm(connection, CONFIG_INVALID.code, subject, detail, now)
        for subject in alarms - lost:
            journal.end_alarm(connection, CONFIG_INVALID.code, subject, now)


def _place_group(site: Site, partner: str, kind: str, found: Sequence[Destination], now: float) -> int:
    count = 0
    while True:
        with site.database.write() as connection:
            rows = incoming_deliveries.unplaced(connection, partner, kind, _AT_ONCE)
            for row in rows:
                same = objects.same_instance(connection, row.sop_instance_uid) if row.sop_instance_uid else []
                arrived = Arrived(
                    row.object_id,
                    kind,
                    row.study_uid,
                    row.name,
                    new=False,
                    new_version=any(other.id < row.object_id for other in same),
                )
                order(connection, partner, arrived, found, now)
        count += len(rows)
        if len(rows) < _AT_ONCE:
            return count


def _rule(site: Site, partner: str) -> Sequence[str]:
    try:
        return site.partners.by_name(partner).settings.destination
    except RadpostError:
        return ()  # a partner no longer: what it sent still goes where all goes


def _values(partner: str, arrived: Arrived, item: Destination, now: float) -> dict[str, object]:
    rule = machine.VersionRule(item.versions)
    state, _ = machine.due(now, new_version=arrived.new_version, rule=rule)
    return {
        "object_id": arrived.object_id,
        "destination": item.name,
        "partner": partner,
        "study_uid": arrived.study_uid,
        "name": arrived.name,
        "state": state.phase.value,
        "machine": machines.dump(state),
        "priority": Priority.ROUTINE.value,
        "due_at": state.due,
        "created_at": now,
    }


def _subject(kind: str) -> str:
    return SUBJECTS["dicom" if kind == "dicom" else "other"]
