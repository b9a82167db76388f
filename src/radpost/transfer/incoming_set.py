"""What arrives in pieces: sets of mails, and mails in fragments (DESIGN 4, invariants 5 and 6).

Both are counters with a stored deadline. Which numbers are there is a query of the store (one row per part);
the caller says of each arrival whether its number is new. An incomplete set withholds nothing: its objects
are delivered as they come, and a late part completes it after the alarm as well as before.
"""

from dataclasses import dataclass, replace

from radpost.errors import INCOMPLETE_FRAGMENTS, INCOMPLETE_SET, PARTIAL_INCONSISTENT, SET_CONFLICT, Reason
from radpost.transfer.actions import Record, Remark, TimerDue, switch_alarm


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """How long to wait for the rest after the last part that came."""

    incomplete_after: float = 3600.0
    """60 minutes; 10 for urgent partners (agit-dicom-email 8, 6)."""


@dataclass(frozen=True, slots=True)
class IncomingSet:
    """One set of one partner: ``seen`` distinct parts are imported of ``total`` (None: never said)."""

    total: int | None = None
    seen: int = 0
    complete: bool = False
    conflict: bool = False
    due: float | None = None
    alarm: Reason | None = None


@dataclass(frozen=True, slots=True)
class PartArrived:
    """A mail of the set was opened. ``new``: it is the first imported with this number.

    ``same``: an earlier mail with this number had the same objects (or there was none).
    ``imported``: its objects are stored; a mail in quarantine only starts the deadline.
    """

    part: int | None
    total: int | None
    new: bool
    same: bool = True
    imported: bool = True


@dataclass(frozen=True, slots=True)
class Completed:
    """Record: the last missing part is here."""

    late: bool


SetEvent = PartArrived | TimerDue
SetStep = tuple[IncomingSet, tuple[Record | Completed, ...]]


def decide_set(state: IncomingSet, event: SetEvent, now: float, policy: SetPolicy) -> SetStep:
    """Return the set after the event and what to record."""
    if isinstance(event, TimerDue):
        if state.due is None or now < state.due:
            return state, ()
        after = replace(state, due=None, alarm=state.alarm or INCOMPLETE_SET)
        return after, switch_alarm(state.alarm, after.alarm)
    total = event.total if state.total is None else state.total
    conflict = _conflicts(state, event, total)
    seen = state.seen + int(event.new and event.imported)
    # A mail without set headers is a set of its own (1.1r senders; agit-dicom-email 8, 5).
    complete = seen >= (1 if total is None else total) and not (conflict or state.conflict)
    alarm = SET_CONFLICT if conflict or state.conflict else state.alarm
    after = IncomingSet(
        total=total,
        seen=seen,
        complete=complete,
        conflict=conflict or state.conflict,
        due=None if complete else now + policy.incomplete_after,
        alarm=None if complete else alarm,
    )
    records: list[Record | Completed] = [*switch_alarm(state.alarm, after.alarm)]
    if complete and not state.complete:
        records.append(Completed(late=state.alarm is INCOMPLETE_SET))
    elif event.imported and not event.new:
        records.append(Remark("part-again"))
    return after, tuple(records)


def _conflicts(state: IncomingSet, event: PartArrived, total: int | None) -> bool:
    """Set headers against each other: totals differ, a part beyond the total, other objects in a part."""
    differs = state.total is not None and event.total is not None and event.total != state.total
    part = event.part
    beyond = part is not None and (part < 1 or (total is not None and part > total))
    return differs or beyond or not event.same


@dataclass(frozen=True, slots=True)
class AssemblyPolicy:
    """Patience and limits for ``message/partial``."""

    incomplete_after: float = 72 * 3600.0
    max_fragments: int = 10_000


@dataclass(frozen=True, slots=True)
class Assembly:
    """Fragments of one mail, keyed by the caller on (From, id): ids alone can collide."""

    total: int | None = None
    have: int = 0
    joined: bool = False
    broken: bool = False
    due: float | None = None
    alarm: Reason | None = None


@dataclass(frozen=True, slots=True)
class FragmentArrived:
    """A fragment is durable (RFC 2046 5.2.2: ``total`` is certain only in the last one).

    ``new``: the first with its number; ``same``: an earlier one with this number had the same bytes.
    ``highest`` is the highest number among the earlier ones.
    """

    number: int
    total: int | None
    new: bool
    same: bool = True
    highest: int = 0


@dataclass(frozen=True, slots=True)
class Join:
    """Work: all fragments are there; join them into one mail."""


AssemblyEvent = FragmentArrived | TimerDue
AssemblyStep = tuple[Assembly, tuple[Record | Join, ...]]


def decide_assembly(
    state: Assembly, event: AssemblyEvent, now: float, policy: AssemblyPolicy
) -> AssemblyStep:
    """Return the assembly after the event and what to record and do.

    Contradicting fragments are kept and never joined; the caller quarantines them (``broken``).
    """
    if isinstance(event, TimerDue):
        if state.due is None or now < state.due:
            return state, ()
        after = replace(state, due=None, alarm=state.alarm or INCOMPLETE_FRAGMENTS)
        return after, switch_alarm(state.alarm, after.alarm)
    if state.joined:
        return state, (Remark("fragment-again"),)
    total = event.total if state.total is None else state.total
    broken = state.broken or _breaks(state, event, total, policy)
    have = state.have + int(event.new)
    joined = total is not None and have >= total and not broken
    alarm = PARTIAL_INCONSISTENT if broken else state.alarm
    after = Assembly(
        total=total,
        have=have,
        joined=joined,
        broken=broken,
        due=None if joined or broken else now + policy.incomplete_after,
        alarm=None if joined else alarm,
    )
    work: tuple[Join, ...] = (Join(),) if joined else ()
    return after, (*switch_alarm(state.alarm, after.alarm), *work)


def _breaks(state: Assembly, event: FragmentArrived, total: int | None, policy: AssemblyPolicy) -> bool:
    differs = state.total is not None and event.total is not None and event.total != state.total
    highest = max(event.number, event.highest)
    beyond = event.number < 1 or (total is not None and highest > total)
    hostile = max(highest, total or 0) > policy.max_fragments
    return differs or beyond or hostile or not event.same
