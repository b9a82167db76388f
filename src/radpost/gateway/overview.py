"""The state of the whole gateway: what an administrator must see within a minute (``radpost status``)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from radpost.errors import MAIL_REFUSED_TEMPORARILY, SERVER_UNREACHABLE
from radpost.gateway.alarms import SEND
from radpost.gateway.foreign import REMOVED
from radpost.gateway.phrases import say
from radpost.gateway.site import Site, wake
from radpost.gateway.views import Explained, explained
from radpost.store import (
    incoming_deliveries,
    incoming_mails,
    incoming_sets,
    journal,
    lookups,
    outgoing_collections,
    outgoing_transmissions,
    quarantined_mails,
    retrievals,
)
from radpost.store.journal import AlarmRow
from radpost.transfer.delivery import Phase as DeliveryPhase
from radpost.transfer.transmission import ENDED, State
from radpost.words import Language

SHOWN: Final = 15


@dataclass(frozen=True, slots=True)
class Line:
    """A server or destination: does it work, as far as the gateway knows."""

    kind: str
    name: str
    address: str
    state: str
    """``up``, ``not used yet``, or the name of the reason it does not work."""
    since: float | None
    waiting: int
    """Messages or objects that wait for it."""
    failed: int = 0
    said: str = ""
    """What the server said last about a message that it has not taken."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One of the last transmissions of ours."""

    id: str
    partner: str
    created_at: float
    ended_at: float | None
    objects: int
    bytes: int
    mails: int
    mails_confirmed: int
    state: str


@dataclass(frozen=True, slots=True)
class Received:
    """One of the last sets that came."""

    id: str
    partner: str
    last_at: float
    objects: int
    state: str


@dataclass(frozen=True, slots=True)
class Collecting:
    """A study that is being collected and not sent yet."""

    partner: str
    study_uid: str
    objects: int
    opened_at: float
    due_at: float | None


@dataclass(frozen=True, slots=True)
class Retrieval:
    """A study ordered from our own PACS, not done."""

    number: int
    study_uid: str
    partner: str
    state: str
    attempts: int
    due_at: float | None
    code: int | None


@dataclass(frozen=True, slots=True)
class Overdue:
    """What has waited for longer than it should."""

    receipts: int = 0
    incomplete_sets: int = 0
    mail_servers: int = 0
    """Messages that were tried in vain and still wait."""
    deliveries: int = 0
    """Objects that a destination refused, or that are held for a person."""
    unplaced: int = 0
    """Objects that no destination takes."""

    @property
    def total(self) -> int:
        """Return the sum."""
        return self.receipts + self.incomplete_sets + self.mail_servers + self.deliveries + self.unplaced


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it; plain values."""

    running: bool
    institution: str
    address: str
    disk_free: int
    alarms: tuple[Explained, ...]
    lines: tuple[Line, ...]
    sending: dict[str, int]
    receiving: dict[str, int]
    overdue: Overdue
    quarantine_entries: int
    quarantine_bytes: int
    quarantine_limit: int
    quarantine_foreign: int = 0
    """Entries that are mails received directly and not for us."""
    foreign_removed: int = 0
    """Such mails that were removed when their time was over, since the beginning."""
    foreign: dict[str, int] = field(default_factory=dict)
    collecting: tuple[Collecting, ...] = ()
    retrievals: tuple[Retrieval, ...] = ()
    sent: tuple[Sent, ...] = ()
    received: tuple[Received, ...] = ()


def overview(site: Site) -> Overview:
    """Return the state of the whole gateway."""
    language = site.config.institution.language
    now = site.clock()
    with site.database.read() as connection:
        alarms = journal.open_alarms(connection)
        lines = (*_mail_lines(site, connection, alarms), *_destination_lines(site, connection))
        entries, letters = quarantined_mails.quarantine_counts(connection)
        foreign = Counter(row.mailbox for row in lookups.foreign_mails(connection) if row.state == "foreign")
        return Overview(
            running=wake(site.config),
            institution=site.config.institution.name,
            address=site.address,
            disk_free=site.spool.free_bytes(),
            alarms=tuple(explained(alarm.code, language, alarm=alarm) for alarm in alarms),
            lines=lines,
            sending=outgoing_transmissions.counts(connection),
            receiving=incoming_mails.counts(connection),
            overdue=Overdue(
                receipts=lookups.overdue_mails(connection, now),
                incomplete_sets=lookups.incomplete_sets(connection),
                mail_servers=lookups.delayed_messages(connection),
                deliveries=sum(row[3] for row in lookups.failed_deliveries(connection)),
                unplaced=incoming_deliveries.unplaced_count(connection),
            ),
            quarantine_entries=entries,
            quarantine_foreign=letters,
            foreign_removed=int(journal.recall(connection, REMOVED) or 0),
            quarantine_bytes=quarantined_mails.quarantine_bytes(connection),
            quarantine_limit=site.config.limits.quarantine_bytes,
            foreign=dict(foreign),
            collecting=tuple(
                Collecting(row.partner, row.study_uid, row.objects, row.opened_at, _closes(row))
                for row in lookups.open_collections(connection)
            ),
            retrievals=tuple(
                Retrieval(row.id, row.study_uid, row.partner, row.state, row.attempts, row.due_at, row.code)
                for row in retrievals.listed(connection, SHOWN)
                if row.state != "done"
            ),
            sent=tuple(_sent(connection)),
            received=tuple(
                Received(row.set_id, row.partner, row.last_at, row.objects, row.state)
                for row in incoming_sets.recent_sets(connection, SHOWN)
            ),
        )


def _closes(row: outgoing_collections.CollectionRow) -> float | None:
    """Return when a collection closes by itself; that of a ``radpost send`` waits for the command."""
    return None if row.source.startswith(SEND) else row.due_at


def advice(view: Overview, language: Language) -> tuple[str, ...]:
    """Return what to look at next, most urgent first; nothing if all is well."""
    found = (
        ("not-running", not view.running),
        ("receipts-overdue", bool(view.overdue.receipts)),
        ("incomplete-sets", bool(view.overdue.incomplete_sets)),
        ("not-delivered", bool(view.overdue.deliveries)),
        ("unplaced", bool(view.overdue.unplaced)),
        ("quarantine", bool(view.quarantine_entries)),
        (
            "server-down",
            any(line.kind != "destination" and line.state not in _WORKING for line in view.lines),
        ),
    )
    return tuple(say(key, language) for key, wanted in found if wanted)


_WORKING: Final = frozenset({"up", "not used yet"})


def _mail_lines(site: Site, connection: Connection, alarms: Sequence[AlarmRow]) -> list[Line]:
    counts = lookups.submission_counts(connection)
    down = {alarm.subject: alarm for alarm in alarms}
    used = {fact.name.removeprefix("server ") for fact in lookups.facts(connection, "server ")}
    routes = {"submission": ""} if site.config.submission is None else {}
    if site.config.submission is not None:
        routes["submission"] = f"{site.config.submission.host}:{site.config.submission.port}"
    for partner in site.partners.all():
        route = partner.settings.route
        if route is not None:
            routes[f"partner {partner.name}"] = f"{route.host}:{route.port}"
    lines = []
    for name, address in routes.items():
        waiting = sum(counts.get((name, state), 0) for state in ("ready", "sending"))
        if not address and not waiting:
            continue  # all partners have routes of their own
        alarm = down.get(f"mail server {name}")
        accepted = counts.get((name, "accepted"), 0)
        state = "up" if accepted or name in used else "not used yet"
        said, tries = lookups.last_reply(connection, name)
        if alarm is not None:
            state = explained(alarm.code, "en").name
        elif said:
            # no try of a message is counted while the server as a whole does not work
            state = (MAIL_REFUSED_TEMPORARILY if tries else SERVER_UNREACHABLE).name
        lines.append(
            Line(
                "mail server",
                name,
                address or "not configured",
                state,
                alarm.opened_at if alarm else None,
                waiting,
                failed=counts.get((name, "refused"), 0),
                said=said,
            )
        )
    facts = {fact.name: fact for fact in lookups.facts(connection, "mailbox ")}
    for mailbox in site.config.mailbox:
        fact = facts.get(f"mailbox {mailbox.name}")
        alarm = down.get(f"mailbox {mailbox.name}")
        state = explained(alarm.code, "en").name if alarm else fact.value if fact else "not used yet"
        since = fact.at if fact else None
        address = f"{mailbox.host}:{mailbox.port}"
        lines.append(Line(f"mailbox ({mailbox.kind})", mailbox.name, address, state, since, 0))
    return lines


def _destination_lines(site: Site, connection: Connection) -> list[Line]:
    counts = incoming_deliveries.delivery_counts(connection)
    facts = {fact.name: fact for fact in lookups.facts(connection, "destination ")}
    lines = []
    for item in site.config.destination:
        fact = facts.get(f"destination {item.name}")
        waiting = sum(
            counts.get((item.name, phase.value), 0) for phase in (DeliveryPhase.DUE, DeliveryPhase.DELIVERING)
        )
        failed = sum(
            counts.get((item.name, phase.value), 0)
            for phase in (DeliveryPhase.REFUSED, DeliveryPhase.UNDELIVERABLE, DeliveryPhase.HELD)
        )
        done = any(counts.get((item.name, phase.value)) for phase in _DONE)
        state = fact.value if fact else "up" if done else "not used yet"
        address = {"dicom": f"{item.ae_title}@{item.host}:{item.port}", "folder": item.path}.get(
            item.kind, item.command[0] if item.command else ""
        )
        lines.append(
            Line("destination", item.name, address, state, fact.at if fact else None, waiting, failed)
        )
    return lines


_DONE: Final = (DeliveryPhase.DELIVERED, DeliveryPhase.DELIVERED_REMARK)


def _sent(connection: Connection) -> list[Sent]:
    """Return what was sent last; what has not ended stands there too, however old it is."""
    active = [state.value for state in State if state not in ENDED]
    rows = outgoing_transmissions.transmissions(connection, limit=SHOWN)
    known = {row.id for row in rows}
    older = outgoing_transmissions.transmissions(connection, limit=SHOWN, states=active)
    rows += [row for row in older if row.id not in known]
    return [
        Sent(
            id=row.id,
            partner=row.partner,
            created_at=row.created_at,
            ended_at=row.ended_at,
            objects=row.objects,
            bytes=row.bytes,
            mails=row.mails,
            mails_confirmed=lookups.mails_confirmed(connection, row.id),
            state=row.state,
        )
        for row in rows
    ]
