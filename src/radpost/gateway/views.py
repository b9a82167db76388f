"""What is known of a transmission that we send: its mails, its timeline, and seven truths per object.

The truths are kept apart (DESIGN 1): each is yes with evidence and time, no, or not reported by this partner,
and none is inferred from another. All values here are plain, so that they can be printed as JSON.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from radpost.errors import MAIL_REFUSED_TEMPORARILY, SERVER_UNREACHABLE, TABLE
from radpost.gateway import machines
from radpost.gateway.outbox import Outbox
from radpost.gateway.phrases import say
from radpost.gateway.site import Site, wake
from radpost.store import journal, lookups, outgoing_mails, outgoing_transmissions
from radpost.store.journal import AlarmRow, EventRow
from radpost.store.outgoing_mails import MailObjectRow, MailRow
from radpost.store.outgoing_submissions import SubmissionRow
from radpost.store.outgoing_transmissions import TransmissionRow
from radpost.transfer.outgoing import OutgoingMail, Phase
from radpost.transfer.receipt import Answer
from radpost.transfer.transmission import ENDED, State, Transmission
from radpost.transfer.window import admits
from radpost.words import Language, Priority, Truth

NOT_REPORTED: Final = Answer.NOT_REPORTED.value
BOUNCED: Final = "bounced"


@dataclass(frozen=True, slots=True)
class TruthView:
    """One truth about one object: what, since when, and by which evidence."""

    answer: str
    at: float | None = None
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class ObjectView:
    """One object, with its truths by name."""

    position: int
    part: int
    kind: str
    size: int
    study_uid: str
    sop_instance_uid: str
    sha256: str
    truths: dict[str, TruthView]
    code: int | None = None


@dataclass(frozen=True, slots=True)
class SubmissionView:
    """One message on the wire: the whole mail, or a fragment of it."""

    part: int
    piece: int
    pieces: int
    generation: int
    size: int
    state: str
    attempts: int
    due_at: float | None
    reply: str
    """What the mail server said last."""


@dataclass(frozen=True, slots=True)
class MailView:
    """One mail of a transmission."""

    part: int
    total: int
    state: str
    objects: int
    bytes: int
    size: int
    generation: int
    resends: int
    message_id: str
    sealed_at: float | None
    on_server_at: float | None
    reported_at: float | None
    disposition: str
    due_at: float | None
    code: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Explained:
    """A code of the table of reasons in the words of the institution's language."""

    code: int
    name: str
    sentence: str
    side: str
    """Who must act."""
    detail: str = ""
    since: float | None = None
    count: int = 1
    subject: str = ""
    number: int | None = None
    """Of an alarm, for ``radpost alarm end``."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline."""

    at: float
    seconds: float
    """Since the line before."""
    what: str
    count: int = 1
    """So many mails took this step, from ``at`` to ``last_at``."""
    last_at: float | None = None
    code: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the way, and how long it took in all."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class TransmissionView:
    """All that is known of one transmission."""

    direction: str
    id: str
    partner: str
    state: str
    study_uid: str
    priority: str
    source: str
    objects: int
    bytes: int
    mails: int
    created_at: float
    ended_at: float | None
    linked: tuple[str, ...]
    reasons: tuple[Explained, ...]
    mail_list: tuple[MailView, ...]
    submissions: tuple[SubmissionView, ...]
    object_list: tuple[ObjectView, ...]
    stages: tuple[Stage, ...]
    timeline: tuple[Step, ...]
    waits_for: tuple[str, ...] = ()
    """Why it does not go on although nothing failed."""


def transmission(site: Site, row: TransmissionRow) -> TransmissionView:
    """Return all that is known of a transmission of ours."""
    with site.database.read() as connection:
        mails = outgoing_mails.mails_of(connection, row.id)
        submissions = lookups.submissions_of_transmission(connection, row.id)
        objects = outgoing_mails.objects_of(connection, row.id)
        events = journal.of_transmission(connection, row.id)
        alarms = lookups.alarms_about(connection, [f"transmission {row.id}"])
        group = outgoing_transmissions.of_group(connection, row.group_id)
    by_id = {mail.id: mail for mail in mails}
    bounced = {item.mail_id for item in submissions if item.reply == BOUNCED}
    replies = {item.mail_id: item.reply for item in submissions if item.reply}
    language = site.config.institution.language
    return TransmissionView(
        direction="out",
        id=row.id,
        partner=row.partner,
        state=row.state,
        study_uid=row.study_uid,
        priority=Priority(row.priority).name.lower(),
        source=row.source.partition(":")[0],
        objects=row.objects,
        bytes=row.bytes,
        mails=row.mails,
        created_at=row.created_at,
        ended_at=row.ended_at,
        linked=tuple(item.id for item in group if item.id != row.id),
        reasons=_reasons(alarms, mails, objects, submissions, language),
        mail_list=tuple(_mail(mail) for mail in mails),
        submissions=tuple(
            _submission(item, by_id[item.mail_id].part)
            for item in submissions
            if item.mail_id is not None and item.mail_id in by_id
        ),
        object_list=tuple(
            _object(item, by_id[item.mail_id], item.mail_id in bounced, replies.get(item.mail_id, ""))
            for item in objects
        ),
        stages=stages(events, mails),
        timeline=timeline(events),
        waits_for=_waits_for(site, row, mails, language),
    )


def _waits_for(
    site: Site, row: TransmissionRow, mails: Sequence[MailRow], language: Language
) -> tuple[str, ...]:
    if State(row.state) in ENDED:
        return ()
    found = [] if wake(site.config) else ["not-running"]
    if machines.load(Transmission, row.machine).held:
        found.append("held")
    elif row.state == State.HELD.value:
        found.append("contested")
    waiting = [mail for mail in mails if mail.state == Phase.SEALED.value and mail.size]
    partner = site.partners.named(row.partner)
    if waiting and partner is not None:
        outbox, now = Outbox(site), site.clock()
        with site.database.read() as connection:
            window = outbox.window(connection, partner, now)
        if not admits(window, waiting[0].size, Priority(row.priority), now, outbox.window_policy(partner)):
            found.append("window-closed")
    return tuple(say(key, language) for key in found)


def truths(mail: MailRow, stored: str, *, bounced: bool, reply: str) -> dict[str, TruthView]:
    """Return the seven truths about an object that we sent, by what is known of its mail and from reports."""
    told: dict[str, Any] = json.loads(stored or "{}")
    at, evidence = told.get("at"), str(told.get("evidence", ""))
    found = {Truth.ON_SERVER.value: _on_server(mail, bounced=bounced, reply=reply)}
    for truth in Truth:
        if truth is Truth.ON_SERVER:
            continue
        answer = str(told.get(truth.value, NOT_REPORTED))
        known = answer != NOT_REPORTED
        found[truth.value] = TruthView(answer, at if known else None, evidence if known else "")
    return found


def explained(
    code: int | None, language: Language, *, detail: str = "", alarm: AlarmRow | None = None
) -> Explained:
    """Return a stored code in words: cause, remedy, and who must act."""
    reason = TABLE.get(code if code is not None else 0, TABLE[905])
    return Explained(
        code=reason.code,
        name=reason.name,
        sentence=reason.sentence(language),
        side=reason.side.value,
        detail=detail or (alarm.detail if alarm else ""),
        since=alarm.opened_at if alarm else None,
        count=alarm.count if alarm else 1,
        subject=alarm.subject if alarm else "",
        number=alarm.id if alarm else None,
    )


def timeline(events: Sequence[EventRow]) -> tuple[Step, ...]:
    """Return a timeline in which the same step of many mails in a row is one line."""
    steps: list[Step] = []
    last = events[0].at if events else 0.0
    for event in sorted(events, key=lambda item: item.at):
        before = steps[-1] if steps else None
        same = before is not None and (before.what, before.code, before.detail) == (
            event.what,
            event.code,
            event.detail,
        )
        if before is not None and same:
            count = before.count + 1
            steps[-1] = Step(
                before.at, before.seconds, before.what, count, event.at, before.code, before.detail
            )
        else:
            steps.append(
                Step(event.at, max(0.0, event.at - last), event.what, code=event.code, detail=event.detail)
            )
        last = event.at
    return tuple(steps)


def stages(events: Sequence[EventRow], mails: Iterable[MailRow]) -> tuple[Stage, ...]:
    """Return the seconds of each stage: collecting, sealing, submitting, waiting for the partner."""
    mails = tuple(mails)
    times: list[tuple[str, float | None]] = [
        ("first", _first(events, "first object received")),
        ("collecting", _first(events, "planned")),
        ("sealing", _latest(mail.sealed_at for mail in mails)),
        ("submitting", _latest(mail.on_server_at for mail in mails)),
        ("waiting for the partner", _latest(mail.reported_at for mail in mails)),
    ]
    known = [(name, at) for name, at in times if at is not None]
    return tuple(Stage(name, max(0.0, at - before)) for (_, before), (name, at) in pairwise(known))


def _latest(times: Iterable[float | None]) -> float | None:
    found = list(times)
    known = [at for at in found if at is not None]
    return max(known) if known and len(known) == len(found) else None


def _first(events: Sequence[EventRow], what: str) -> float | None:
    return next((event.at for event in events if event.what == what), None)


def _on_server(mail: MailRow, *, bounced: bool, reply: str) -> TruthView:
    if bounced:
        return TruthView("no", None, "bounce")
    if mail.on_server_at is not None:
        return TruthView("yes", mail.on_server_at, reply or "250 of the next hop")
    return TruthView("no", None, reply)


def _object(row: MailObjectRow, mail: MailRow, bounced: bool, reply: str) -> ObjectView:
    told: dict[str, Any] = json.loads(row.truths or "{}")
    code = told.get("code")
    return ObjectView(
        position=row.position,
        part=mail.part,
        kind=row.kind,
        size=row.size,
        study_uid=row.study_uid,
        sop_instance_uid=row.sop_instance_uid,
        sha256=row.file_sha256,
        truths=truths(mail, row.truths, bounced=bounced, reply=reply),
        code=code if isinstance(code, int) else None,
    )


def _mail(row: MailRow) -> MailView:
    machine = machines.load(OutgoingMail, row.machine)
    return MailView(
        part=row.part,
        total=row.total,
        state=row.state,
        objects=row.objects,
        bytes=row.bytes,
        size=row.size,
        generation=machine.generation,
        resends=machine.resends,
        message_id=row.message_id or "",
        sealed_at=row.sealed_at,
        on_server_at=row.on_server_at,
        reported_at=row.reported_at,
        disposition=row.disposition or "",
        due_at=row.due_at,
        code=row.code,
        detail=row.detail,
    )


def _submission(row: SubmissionRow, part: int) -> SubmissionView:
    return SubmissionView(
        part=part,
        piece=row.piece,
        pieces=row.pieces,
        generation=row.generation,
        size=row.size,
        state=row.state,
        attempts=row.attempts,
        due_at=row.due_at,
        reply=row.reply,
    )


def _reasons(
    alarms: Sequence[AlarmRow],
    mails: Iterable[MailRow],
    objects: Iterable[MailObjectRow],
    submissions: Iterable[SubmissionRow],
    language: Language,
) -> tuple[Explained, ...]:
    """Return alarms first, then what else stands as a code at a mail or an object, each once."""
    found = {alarm.code: explained(alarm.code, language, alarm=alarm) for alarm in alarms}
    for mail in mails:
        if mail.code is not None and mail.code not in found:
            found[mail.code] = explained(mail.code, language, detail=mail.detail)
    for message in submissions:
        if message.state in {"ready", "suspended"} and message.reply not in {"", BOUNCED}:
            reason = MAIL_REFUSED_TEMPORARILY if message.attempts else SERVER_UNREACHABLE
            if reason.code not in found:
                found[reason.code] = explained(reason.code, language, detail=message.reply)
    for item in objects:
        told: dict[str, Any] = json.loads(item.truths or "{}")
        code = told.get("code")
        if isinstance(code, int) and code not in found:
            found[code] = explained(code, language, detail="reported by the partner")
    return tuple(found.values())
