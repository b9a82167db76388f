"""Actions that several machines share; each machine adds its own (DESIGN 4).

Two kinds of action exist. *Records* leave their only trace where the caller writes them, so they are
committed in the same transaction as the state: alarms, remarks, and the messages to another aggregate
(``window.Charged`` and the like). *Work* (seal, submit, deliver, send a receipt) follows from the phase of
the committed state and can be found again by a query after a crash; the action only says that there is
something to do now. There is no "set timer": the deadline is a field of the state, ``due``, committed with
it, so that a timer can neither be lost nor outlive its state (DESIGN invariant 4).
"""

from dataclasses import dataclass
from enum import Enum

from radpost.errors import Reason


@dataclass(frozen=True, slots=True)
class Alarm:
    """Somebody must act: the side and the sentence stand in the reason. Raised once, not per timer."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class EndAlarm:
    """The cause of the alarm is gone."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Remark:
    """One line of the timeline: something arrived that changes nothing, or changes it unusually."""

    code: str


@dataclass(frozen=True, slots=True)
class TimerDue:
    """Event of every machine: the time in ``state.due`` has come (or the caller just wants to look)."""


class Command(Enum):
    """What an operator can order, from the command line or a page."""

    RETRY = "retry"
    CANCEL = "cancel"
    HOLD = "hold"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Operator:
    """Event: a person orders something."""

    command: Command


Record = Alarm | EndAlarm | Remark


def switch_alarm(old: Reason | None, new: Reason | None) -> tuple[Alarm | EndAlarm, ...]:
    """Return the records that lead from one open alarm to another; nothing if it is the same.

    >>> switch_alarm(None, None)
    ()
    """
    if old is new:
        return ()
    ended: tuple[EndAlarm, ...] = () if old is None else (EndAlarm(old),)
    raised: tuple[Alarm, ...] = () if new is None else (Alarm(new),)
    return (*ended, *raised)
