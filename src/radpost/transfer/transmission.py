"""A transmission as counters: how many of its mails are in which phase, and what that amounts to.

No list of mails: every step of a mail is fed here as :class:`MailMoved` in the same transaction. The one
deadline every transmission has is *progress*: if for too long nothing moves, whatever the cause, an alarm
says so. That holds up invariant 4 even where a cause has no alarm of its own.
"""

from dataclasses import dataclass, replace
from enum import Enum

from radpost.errors import DEADLINE_MISSED, DEADLINE_NEAR, NO_PROGRESS, Reason
from radpost.transfer.actions import Command, Operator, Record, Remark, TimerDue, switch_alarm
from radpost.transfer.outgoing_state import UNSENT, OutgoingMail, Phase
from radpost.words import Priority

_ORDER = tuple(Phase)
_ZERO = (0,) * len(_ORDER)


class State(Enum):
    """What a transmission amounts to."""

    COLLECTING = "collecting"
    SENDING = "sending"
    WAITING = "waiting"
    CONFIRMED = "confirmed"
    CONFIRMED_UNSIGNED = "confirmed (unsigned)"
    UNREPORTED = "unreported"
    REFUSED = "refused"
    FAILED = "failed"
    HELD = "held"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


ENDED = frozenset(State) - {State.COLLECTING, State.SENDING, State.WAITING, State.HELD}

# Worst first: a transmission is confirmed only if every mail of it is.
_WORST = (
    (Phase.FAILED, State.FAILED),
    (Phase.REFUSED, State.REFUSED),
    (Phase.CANCELLED, State.CANCELLED),
    (Phase.SUPERSEDED, State.SUPERSEDED),
    (Phase.UNREPORTED, State.UNREPORTED),
    (Phase.CONFIRMED_UNSIGNED, State.CONFIRMED_UNSIGNED),
    (Phase.CONFIRMED, State.CONFIRMED),
)


@dataclass(frozen=True, slots=True)
class TransmissionPolicy:
    """How long a transmission may stand still, and when before a deadline to warn."""

    progress_within: float = 4 * 3600.0
    warn_before: float = 300.0


@dataclass(frozen=True, slots=True)
class Transmission:
    """The counters; ``counts`` in the order of ``outgoing.Phase``."""

    total: int = 0
    """SETTOTAL, fixed before the first mail is sealed; 0 while collecting."""
    counts: tuple[int, ...] = _ZERO
    held_mails: int = 0
    alarmed_mails: int = 0
    held: bool = False
    cancelled: bool = False
    priority: Priority = Priority.ROUTINE
    progress_due: float | None = None
    deadline: float | None = None
    progress_alarm: Reason | None = None
    deadline_alarm: Reason | None = None
    warn_at: float | None = None

    def count(self, phase: Phase) -> int:
        """Return how many mails are in this phase."""
        return self.counts[_ORDER.index(phase)]

    @property
    def due(self) -> float | None:
        """Return the earliest stored deadline."""
        known = [t for t in (self.progress_due, self.warn_at, self._missed_at) if t is not None]
        return min(known, default=None)

    @property
    def _missed_at(self) -> float | None:
        return None if self.deadline_alarm is DEADLINE_MISSED or self.state in ENDED else self.deadline

    @property
    def state(self) -> State:
        """Return what the counters amount to."""
        if self.total == 0:
            return State.CANCELLED if self.cancelled else State.COLLECTING
        if any(self.count(phase) for phase in UNSENT):
            return State.HELD if self.held else State.SENDING
        if self.count(Phase.ON_SERVER):
            return State.HELD if self.held_mails else State.WAITING
        return next(state for phase, state in _WORST if self.count(phase))


@dataclass(frozen=True, slots=True)
class Planned:
    """The mails of the transmission are fixed: all of them, planned."""

    total: int


@dataclass(frozen=True, slots=True)
class MailMoved:
    """One mail took a step; made by :func:`moved`."""

    before: Phase
    after: Phase
    held: int = 0
    alarmed: int = 0


@dataclass(frozen=True, slots=True)
class SetPriority:
    """An operator or a rule changes the priority; mails already on the server are not touched."""

    priority: Priority


@dataclass(frozen=True, slots=True)
class SetDeadline:
    """All mails are to be confirmed by this time."""

    deadline: float | None


TransmissionEvent = Planned | MailMoved | SetPriority | SetDeadline | TimerDue | Operator


@dataclass(frozen=True, slots=True)
class OrderMails:
    """Work: give this command to every mail of the transmission (in portions; they are many)."""

    command: Command


@dataclass(frozen=True, slots=True)
class Ended:
    """Record: the transmission has come to this end (it can come to a better one later)."""

    state: State


TransmissionAction = Record | OrderMails | Ended
Step = tuple[Transmission, tuple[TransmissionAction, ...]]


def opened(now: float, policy: TransmissionPolicy, priority: Priority = Priority.ROUTINE) -> Transmission:
    """Return a transmission that begins."""
    return Transmission(priority=priority, progress_due=now + policy.progress_within)


def moved(before: OutgoingMail, after: OutgoingMail) -> MailMoved | None:
    """Return what the transmission must be told about a mail's step; None: nothing it counts changed."""
    held = int(after.held) - int(before.held)
    alarms = int(after.alarm is not None) - int(before.alarm is not None)
    if before.phase is after.phase and not held and not alarms and before.accepted == after.accepted:
        return None
    return MailMoved(before.phase, after.phase, held, alarms)


def decide(
    transmission: Transmission, event: TransmissionEvent, now: float, policy: TransmissionPolicy
) -> Step:
    """Return the transmission after the event and what is to be recorded and done."""
    match event:
        case Planned(total):
            step = _planned(transmission, total, now, policy)
        case MailMoved():
            step = _closing(transmission, _progress(_count(transmission, event), now, policy))
        case SetPriority(priority):
            step = replace(transmission, priority=priority), ()
        case SetDeadline(deadline):
            step = _set_deadline(transmission, deadline, policy)
        case TimerDue():
            step = _timer(transmission, now)
        case Operator(command):
            step = _operator(transmission, command, now, policy)
    return step


def _planned(transmission: Transmission, total: int, now: float, policy: TransmissionPolicy) -> Step:
    if transmission.total or total < 1:
        return transmission, (Remark("planned-already"),)  # SETTOTAL never changes
    counts = tuple(total if phase is Phase.PLANNED else 0 for phase in _ORDER)
    return _closing(transmission, _progress(replace(transmission, total=total, counts=counts), now, policy))


def _set_deadline(transmission: Transmission, deadline: float | None, policy: TransmissionPolicy) -> Step:
    warn = None if deadline is None else deadline - policy.warn_before
    after = replace(transmission, deadline=deadline, warn_at=warn, deadline_alarm=None)
    return after, switch_alarm(transmission.deadline_alarm, None)


def _count(transmission: Transmission, event: MailMoved) -> Transmission:
    counts = list(transmission.counts)
    counts[_ORDER.index(event.before)] -= 1
    counts[_ORDER.index(event.after)] += 1
    return replace(
        transmission,
        counts=tuple(counts),
        held_mails=transmission.held_mails + event.held,
        alarmed_mails=transmission.alarmed_mails + event.alarmed,
    )


def _progress(transmission: Transmission, now: float, policy: TransmissionPolicy) -> Transmission:
    """Move the stored deadline: something happened. What waits for a receipt has the mail's own deadline."""
    ended = transmission.state in ENDED
    return replace(
        transmission,
        progress_due=None if ended else now + policy.progress_within,
        progress_alarm=None,
        warn_at=None if ended else transmission.warn_at,
        deadline_alarm=None if ended else transmission.deadline_alarm,
    )


def _closing(before: Transmission, after: Transmission) -> Step:
    actions: list[TransmissionAction] = [
        *switch_alarm(before.progress_alarm, after.progress_alarm),
        *switch_alarm(before.deadline_alarm, after.deadline_alarm),
    ]
    if after.state in ENDED and after.state is not before.state:
        actions.append(Ended(after.state))
    return after, tuple(actions)


def _timer(transmission: Transmission, now: float) -> Step:
    after = transmission
    if after.progress_due is not None and now >= after.progress_due:
        after = replace(after, progress_due=None, progress_alarm=NO_PROGRESS)
    if after.state not in ENDED and after.deadline is not None:
        if now >= after.deadline:
            after = replace(after, warn_at=None, deadline_alarm=DEADLINE_MISSED)
        elif after.warn_at is not None and now >= after.warn_at:
            after = replace(after, warn_at=None, deadline_alarm=DEADLINE_NEAR)
    return _closing(transmission, after)


def _operator(transmission: Transmission, command: Command, now: float, policy: TransmissionPolicy) -> Step:
    match command:
        case Command.HOLD:
            after = replace(transmission, held=True)
        case Command.RELEASE:
            after = replace(transmission, held=False)
        case Command.CANCEL:
            after = replace(transmission, cancelled=True)
        case Command.RETRY:
            after = replace(transmission, cancelled=False, held=False)
    step, actions = _closing(transmission, _progress(after, now, policy))
    return step, (*actions, OrderMails(command))
