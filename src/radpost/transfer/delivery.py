"""Delivery of one object to one destination: due -> delivered, refused, undeliverable (DESIGN 4, 12).

A destination that is down as a whole is a ``retry.Line``; here stands what happens to the single object.
C-STORE statuses: PS3.4 B.2.3 and PS3.7 annex C. A store that ended uncertainly is done again: storing the
same SOP instance twice changes nothing at a PACS.
"""

from dataclasses import dataclass, field, replace
from enum import Enum

from radpost.errors import (
    NO_COMMON_SYNTAX,
    NO_DESTINATION,
    PACS_OUT_OF_RESOURCES,
    PACS_REFUSED_OBJECT,
    VERSION_CONFLICT,
    Reason,
)
from radpost.transfer.actions import Command, Operator, Record, Remark, TimerDue, switch_alarm
from radpost.transfer.retry import DELIVERY, Backoff


class Phase(Enum):
    """States of a delivery."""

    DUE = "due"
    DELIVERING = "delivering"
    HELD = "held"
    DELIVERED = "delivered"
    DELIVERED_REMARK = "delivered with remark"
    REFUSED = "refused"
    UNDELIVERABLE = "undeliverable"
    CANCELLED = "cancelled"


DELIVERED = frozenset({Phase.DELIVERED, Phase.DELIVERED_REMARK})
_RESULTS = DELIVERED | {Phase.REFUSED, Phase.UNDELIVERABLE}

ALLOWED: dict[Phase, frozenset[Phase]] = {
    Phase.DUE: frozenset({Phase.DELIVERING, Phase.HELD, Phase.CANCELLED}),
    Phase.DELIVERING: _RESULTS | {Phase.DUE, Phase.HELD, Phase.CANCELLED},
    Phase.HELD: frozenset({Phase.DUE, Phase.CANCELLED}),
    Phase.DELIVERED: frozenset({Phase.DUE}),
    Phase.DELIVERED_REMARK: frozenset({Phase.DUE}),
    Phase.REFUSED: frozenset({Phase.DUE, Phase.CANCELLED}),
    Phase.UNDELIVERABLE: frozenset({Phase.DUE, Phase.CANCELLED}),
    Phase.CANCELLED: frozenset({Phase.DUE}),
}
"""Which phase can follow which; a test checks that the machine does these steps and no other."""


class VersionRule(Enum):
    """What a destination does with other content under a known SOP Instance UID (invariant 2)."""

    DELIVER = "deliver"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """Pauses and patience of one destination."""

    backoff: Backoff = field(default=DELIVERY)
    tries: int = 10
    """Answers that only waiting can mend before the object counts as refused."""
    alarm_after_tries: int = 5


@dataclass(frozen=True, slots=True)
class Delivery:
    """One object for one destination; ``tries`` counts its own failures, never the destination's."""

    phase: Phase = Phase.DUE
    tries: int = 0
    not_before: float = 0.0
    status: int | None = None
    """The last C-STORE status, program exit status or None."""
    reason: Reason | None = None
    alarm: Reason | None = None

    @property
    def due(self) -> float | None:
        """Return when to deliver."""
        return self.not_before if self.phase is Phase.DUE else None


@dataclass(frozen=True, slots=True)
class Started:
    """The store begins."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The destination answered with this C-STORE status."""

    status: int


@dataclass(frozen=True, slots=True)
class Failed:
    """No status: no common syntax (``lasting``), a program or folder that failed, a broken association."""

    reason: Reason
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The destination as a whole went away, or our process did: try again, count nothing."""


DeliveryEvent = Started | Answered | Failed | Interrupted | TimerDue | Operator
Step = tuple[Delivery, tuple[Record, ...]]


class Meaning(Enum):
    """Classes of C-STORE status."""

    DONE = "done"
    REMARK = "remark"
    LATER = "later"
    REFUSED = "refused"
    UNDELIVERABLE = "undeliverable"


def meaning(status: int) -> Meaning:
    """Return the class of a C-STORE status (PS3.4 table B.2-1, PS3.7 C.1, C.4, C.5).

    >>> meaning(0xB007).value
    'remark'
    """
    if status == 0x0000:
        return Meaning.DONE
    if status & 0xF000 == 0xB000 or status in {0x0001, 0x0107, 0x0116, 0x0111}:
        return Meaning.REMARK  # 0111: duplicate SOP instance: it is there
    if status == 0x0122:
        return Meaning.UNDELIVERABLE  # SOP class not supported
    if status & 0xFF00 == 0xA700 or status in {0x0110, 0x0213, 0xFE00}:
        return Meaning.LATER  # out of resources, processing failure, resource limitation, cancelled
    return Meaning.REFUSED  # A9xx does not match the SOP class, Cxxx cannot understand, 0124 and the rest


def due(now: float, *, new_version: bool, rule: VersionRule) -> Step:
    """Return the delivery of an object that has just been imported.

    The alarm of a new version is one per study (invariant 2); the caller's key for it is the study.
    """
    if not new_version:
        return Delivery(not_before=now), ()
    phase = Phase.HELD if rule is VersionRule.HOLD else Phase.DUE
    held = Delivery(phase=phase, not_before=now, reason=VERSION_CONFLICT, alarm=VERSION_CONFLICT)
    return held, switch_alarm(None, VERSION_CONFLICT)


def unplaced() -> Delivery:
    """Return the delivery of an object that no destination takes; it ends when there is one."""
    return Delivery(phase=Phase.UNDELIVERABLE, reason=NO_DESTINATION, alarm=NO_DESTINATION)


def decide(
    delivery: Delivery, event: DeliveryEvent, now: float, policy: DeliveryPolicy, jitter: float = 0.5
) -> Step:
    """Return the delivery after the event and what to record."""
    after = delivery
    remarks: tuple[Record, ...] = ()
    match event:
        case Operator(command):
            after, remarks = _operator(delivery, command, now)
        case TimerDue():
            pass
        case Started():
            after = replace(delivery, phase=Phase.DELIVERING) if delivery.phase is Phase.DUE else delivery
        case _ if delivery.phase is not Phase.DELIVERING:
            remarks = (Remark("late-delivery-result"),)
        case Answered(status):
            after = _answered(replace(delivery, status=status), now, policy, jitter)
        case Failed(reason, lasting):
            after = (
                _stop(delivery, Phase.UNDELIVERABLE, reason)
                if lasting
                else _again(delivery, reason, now, policy, jitter)
            )
        case Interrupted():
            after = replace(delivery, phase=Phase.DUE)
    return after, (*switch_alarm(delivery.alarm, after.alarm), *remarks)


def _answered(delivery: Delivery, now: float, policy: DeliveryPolicy, jitter: float) -> Delivery:
    match meaning(delivery.status or 0):
        case Meaning.DONE:
            return replace(delivery, phase=Phase.DELIVERED, reason=None, alarm=_version(delivery))
        case Meaning.REMARK:
            return replace(delivery, phase=Phase.DELIVERED_REMARK, reason=None, alarm=_version(delivery))
        case Meaning.LATER:
            return _again(delivery, PACS_OUT_OF_RESOURCES, now, policy, jitter)
        case Meaning.UNDELIVERABLE:
            return _stop(delivery, Phase.UNDELIVERABLE, NO_COMMON_SYNTAX)
        case Meaning.REFUSED:
            return _stop(delivery, Phase.REFUSED, PACS_REFUSED_OBJECT)


def _version(delivery: Delivery) -> Reason | None:
    """A new version stays an open question after its delivery; every other alarm has ended."""
    return VERSION_CONFLICT if delivery.alarm is VERSION_CONFLICT else None


def _stop(delivery: Delivery, phase: Phase, reason: Reason) -> Delivery:
    return replace(delivery, phase=phase, reason=reason, alarm=reason)


def _again(delivery: Delivery, reason: Reason, now: float, policy: DeliveryPolicy, jitter: float) -> Delivery:
    tries = delivery.tries + 1
    if tries >= policy.tries:
        return _stop(replace(delivery, tries=tries), Phase.REFUSED, reason)
    return replace(
        delivery,
        phase=Phase.DUE,
        tries=tries,
        not_before=now + policy.backoff.delay(delivery.tries, jitter),
        reason=reason,
        alarm=reason if tries >= policy.alarm_after_tries else delivery.alarm,
    )


def _operator(delivery: Delivery, command: Command, now: float) -> Step:
    phase = delivery.phase
    if command is Command.HOLD and phase in {Phase.DUE, Phase.DELIVERING}:
        return replace(delivery, phase=Phase.HELD), ()
    if command is Command.CANCEL and phase not in DELIVERED | {Phase.CANCELLED}:
        return replace(delivery, phase=Phase.CANCELLED, alarm=None), ()
    held = command is Command.RELEASE and phase is Phase.HELD
    again = command is Command.RETRY and phase is not Phase.DELIVERING
    if held or again:
        return replace(delivery, phase=Phase.DUE, tries=0, not_before=now, reason=None, alarm=None), ()
    return delivery, (Remark("nothing-to-do"),)
