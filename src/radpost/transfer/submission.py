"""One message on its way to the mail server: a whole mail, one fragment of it, or a receipt.

This is the layer of "mail" in ``retry``: 4xx answers and uncertain ends. Bytes, Message-ID and ENVID are
stored before the first try; an uncertain end repeats exactly them (DESIGN 4), a bounce does not: what came
back is sent again under a new Message-ID, because servers may drop a second copy of the same one.
"""

from dataclasses import dataclass, field, replace
from enum import Enum

from radpost.errors import MAIL_REFUSED_TEMPORARILY, MAILBOX_FULL, Reason
from radpost.transfer.actions import Record, switch_alarm
from radpost.transfer.retry import MAIL, MAILBOX, Backoff


class Reply(Enum):
    """How one try to submit ended (SMTP, RFC 5321 4.2)."""

    ACCEPTED = "accepted"
    """2xx to the end of data: on the server of the next hop, no more."""
    DEFERRED = "deferred"
    """4xx: nothing was taken."""
    REFUSED = "refused"
    """5xx without a kinder class below."""
    TOO_LARGE = "too large"
    """552 5.3.4, or larger than the SIZE announced (RFC 1870 6.2)."""
    MAILBOX_FULL = "mailbox full"
    """452 4.2.2, 552 5.2.2."""
    ADDRESS_UNKNOWN = "address unknown"
    """550 5.1.1 and its like."""
    UNCERTAIN = "uncertain"
    """The connection broke after the last byte may have gone out: it may be there or not."""
    UNREACHABLE = "unreachable"
    """The server as a whole; this message was not tried."""


class Phase(Enum):
    """States of one message."""

    READY = "ready"
    SENDING = "sending"
    SUSPENDED = "suspended"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


ALLOWED: dict[Phase, frozenset[Phase]] = {
    Phase.READY: frozenset({Phase.SENDING, Phase.SUSPENDED, Phase.ACCEPTED, Phase.REFUSED, Phase.WITHDRAWN}),
    Phase.SENDING: frozenset(Phase) - {Phase.SENDING},
    Phase.SUSPENDED: frozenset({Phase.READY, Phase.ACCEPTED, Phase.REFUSED, Phase.WITHDRAWN}),
    Phase.ACCEPTED: frozenset({Phase.READY, Phase.SUSPENDED, Phase.WITHDRAWN}),
    Phase.REFUSED: frozenset({Phase.READY, Phase.SUSPENDED, Phase.WITHDRAWN}),
    Phase.WITHDRAWN: frozenset(),
}
"""Which phase can follow which; a test checks that the machine does these steps and no other."""


@dataclass(frozen=True, slots=True)
class SubmissionPolicy:
    """Pauses, and after how many tries somebody is told (trying goes on)."""

    mail: Backoff = field(default=MAIL)
    mailbox: Backoff = field(default=MAILBOX)
    alarm_after_tries: int = 5


@dataclass(frozen=True, slots=True)
class Submission:
    """One message; ``tries`` counts the fruitless ones in a row, ``bounces`` what came back."""

    phase: Phase = Phase.READY
    tries: int = 0
    bounces: int = 0
    not_before: float = 0.0
    suspended: bool = False
    alarm: Reason | None = None

    @property
    def due(self) -> float | None:
        """Return when to send it (again); None while there is nothing to send."""
        return self.not_before if self.phase is Phase.READY else None


@dataclass(frozen=True, slots=True)
class Started:
    """The dialogue begins; committed before the first byte goes out."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A try has ended."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Restarted:
    """The process came up and finds the message in SENDING: how the try ended is not known."""


@dataclass(frozen=True, slots=True)
class CameBack:
    """A bounce that waiting can mend; needs a new Message-ID, which the caller makes."""


@dataclass(frozen=True, slots=True)
class Suspend:
    """The mail is held: do not send."""


@dataclass(frozen=True, slots=True)
class Resume:
    """The mail is released, or the operator says: now."""


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The message is not wanted any more: confirmed meanwhile, cancelled, or sealed anew."""


SubmissionEvent = Started | Answered | Restarted | CameBack | Suspend | Resume | Withdraw

_FINAL = {
    Reply.ACCEPTED: Phase.ACCEPTED,
    Reply.REFUSED: Phase.REFUSED,
    Reply.TOO_LARGE: Phase.REFUSED,
    Reply.ADDRESS_UNKNOWN: Phase.REFUSED,
}


def decide(
    state: Submission, event: SubmissionEvent, now: float, policy: SubmissionPolicy, jitter: float = 0.5
) -> tuple[Submission, tuple[Record, ...]]:
    """Return the message after the event, and alarms to raise or end.

    The owner (``outgoing`` for mails, ``incoming`` for receipts) is told every :class:`Answered` as well.
    """
    match event:
        case _ if state.phase is Phase.WITHDRAWN:
            after = state
        case Started():
            after = replace(state, phase=Phase.SENDING) if state.phase is Phase.READY else state
        case Answered(reply):
            after = _answered(state, reply, now, policy, jitter)
        case Restarted():
            after = _ready(state, now) if state.phase is Phase.SENDING else state
        case CameBack():
            pause = policy.mailbox.delay(state.bounces, jitter)
            after = _ready(replace(state, tries=0, bounces=state.bounces + 1), now + pause)
        case Suspend():
            phase = Phase.SUSPENDED if state.phase is Phase.READY else state.phase
            after = replace(state, suspended=True, phase=phase)
        case Resume():
            after = replace(state, suspended=False)
            if state.phase in {Phase.READY, Phase.SUSPENDED}:
                after = _ready(replace(after, tries=0), now)
        case Withdraw():
            after = replace(state, phase=Phase.WITHDRAWN, alarm=None)
    return after, switch_alarm(state.alarm, after.alarm)


def _ready(state: Submission, when: float) -> Submission:
    phase = Phase.SUSPENDED if state.suspended else Phase.READY
    return replace(state, phase=phase, not_before=when)


def _answered(
    state: Submission, reply: Reply, now: float, policy: SubmissionPolicy, jitter: float
) -> Submission:
    if state.phase in {Phase.ACCEPTED, Phase.REFUSED}:
        return state  # a second worker's answer about the same bytes changes nothing
    if reply in _FINAL:
        return replace(state, phase=_FINAL[reply], tries=0, alarm=None)
    if reply is Reply.UNREACHABLE:
        return _ready(state, state.not_before)  # the line waits, not the message
    if reply is Reply.MAILBOX_FULL:
        pause = policy.mailbox.delay(state.bounces, jitter)
        return _ready(replace(state, bounces=state.bounces + 1, alarm=MAILBOX_FULL), now + pause)
    late = state.tries + 1 >= policy.alarm_after_tries
    again = replace(state, tries=state.tries + 1, alarm=MAIL_REFUSED_TEMPORARILY if late else state.alarm)
    return _ready(again, now + policy.mail.delay(state.tries, jitter))
