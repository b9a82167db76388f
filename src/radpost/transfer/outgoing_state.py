"""One outgoing mail: part i of n of a transmission, from plan to receipt (DESIGN 4).

The mail is what a receipt speaks of; the messages that carry it (one, or the fragments of a
``message/partial``, RFC 2046 5.2.2) are ``submission.Submission`` aggregates of their own, of which the mail
knows numbers only. A *generation* is one Message-ID of the mail: 0 is the first, every deliberate resend
seals the same part of the same set again under a new one (the Message-ID is repeated inside the signed part,
so the old bytes can't be used). Reports name a Message-ID, so every event from outside names a generation.
"""

from dataclasses import dataclass, field
from enum import Enum

from radpost.errors import Reason
from radpost.transfer.actions import Operator, Record, TimerDue
from radpost.transfer.receipt import Outcome
from radpost.transfer.retry import MAIL, MAILBOX, OBJECT, Backoff
from radpost.transfer.submission import Reply
from radpost.transfer.window import Charged, Credited, Overflowed, Stalled


class Phase(Enum):
    """States of an outgoing mail."""

    PLANNED = "planned"
    SEALED = "sealed"
    SUBMITTING = "submitting"
    ON_SERVER = "on server"
    CONFIRMED = "confirmed"
    CONFIRMED_UNSIGNED = "confirmed (unsigned)"
    UNREPORTED = "unreported"
    """On the server, and this partner sends no receipts: all that can be known."""
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    """Its objects travel on in another set, linked in our store."""


CONFIRMED = frozenset({Phase.CONFIRMED, Phase.CONFIRMED_UNSIGNED})
UNSENT = frozenset({Phase.PLANNED, Phase.SEALED, Phase.SUBMITTING})
ENDED = frozenset(Phase) - UNSENT - {Phase.ON_SERVER}
RESENDABLE = frozenset({Phase.ON_SERVER, Phase.UNREPORTED, Phase.REFUSED, Phase.FAILED, Phase.CANCELLED})


def _row(*phases: Phase) -> frozenset[Phase]:
    return frozenset(phases)


_GONE_WRONG = _row(Phase.PLANNED, Phase.REFUSED, Phase.FAILED, Phase.CANCELLED, Phase.SUPERSEDED)
ALLOWED: dict[Phase, frozenset[Phase]] = {
    Phase.PLANNED: _row(Phase.SEALED, Phase.FAILED, Phase.CANCELLED, Phase.SUPERSEDED) | CONFIRMED,
    Phase.SEALED: (_GONE_WRONG | CONFIRMED | {Phase.SUBMITTING}),
    Phase.SUBMITTING: (_GONE_WRONG | CONFIRMED | {Phase.SEALED, Phase.ON_SERVER, Phase.UNREPORTED}),
    Phase.ON_SERVER: (_GONE_WRONG | CONFIRMED | {Phase.SUBMITTING}),
    Phase.UNREPORTED: (_GONE_WRONG - {Phase.CANCELLED} | CONFIRMED | {Phase.SUBMITTING}),
    Phase.CONFIRMED: _row(),
    Phase.CONFIRMED_UNSIGNED: _row(Phase.CONFIRMED),
    Phase.REFUSED: _row(Phase.CONFIRMED, Phase.PLANNED),
    Phase.FAILED: _row(Phase.PLANNED, Phase.CANCELLED, Phase.SUPERSEDED) | CONFIRMED,
    Phase.CANCELLED: _row(Phase.CONFIRMED, Phase.PLANNED),
    Phase.SUPERSEDED: _row(Phase.CONFIRMED),
}
"""Which phase can follow which; a test checks that the machine does these steps and no other."""


class Bounce(Enum):
    """What a delivery status notification says (RFC 3464, RFC 3463)."""

    DELAYED = "delayed"
    MAILBOX_FULL = "mailbox full"
    TOO_LARGE = "too large"
    ADDRESS_UNKNOWN = "address unknown"
    POLICY = "policy"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class OutgoingPolicy:
    """What a partner's switches say about its mails."""

    max_resends: int = 3
    receipts: bool = True
    """The partner sends receipts; without, ``unreported`` is the end."""
    receipt_within: float = 3600.0
    unsigned_closes: bool = False
    """An unsigned receipt closes (partners known to send plain MDNs)."""
    overdue_resends: int = 0
    """How many times an overdue receipt makes the mail go again by itself."""
    partial: bool = True
    """The partner joins ``message/partial``."""
    max_cuts: int = 5
    """How often a mail is cut smaller before a person is asked."""
    radpost: bool = False
    """A Radpost peer: an error of its is not about several objects in one mail."""
    seal_tries: int = 5
    sealing: Backoff = field(default=MAIL)
    mailbox: Backoff = field(default=MAILBOX)
    object: Backoff = field(default=OBJECT)


@dataclass(frozen=True, slots=True)
class OutgoingMail:
    """One mail; a row of the store, of fixed size whatever it carries."""

    part: int
    total: int
    objects: int = 1
    phase: Phase = Phase.PLANNED
    held: bool = False
    generation: int = 0
    started: bool = False
    """The present generation may be known outside."""
    size: int = 0
    pieces: int = 0
    """Messages that carry it; 0 while it is not sealed and cut."""
    accepted: int = 0
    cuts: int = 0
    """How often the piece size has been halved; 0: it travels whole if the server allows."""
    charged: int = 0
    """Bytes of the partner's window that this mail occupies."""
    tries: int = 0
    resends: int = 0
    overdue_resends: int = 0
    bounces: int = 0
    not_before: float = 0.0
    receipt_due: float | None = None
    said: Outcome | None = None
    """What the partner said last, whether it counted or not."""
    reason: Reason | None = None
    alarm: Reason | None = None

    @property
    def due(self) -> float | None:
        """Return the stored deadline: when to seal, or when the receipt is overdue."""
        if self.phase is Phase.PLANNED:
            return None if self.held else self.not_before
        return self.receipt_due if self.phase is Phase.ON_SERVER else None


# --- events ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sealed:
    """The bytes of this generation, cut in so many messages, are durable with their Message-IDs."""

    size: int
    pieces: int = 1


@dataclass(frozen=True, slots=True)
class SealFailed:
    """No mail could be made. ``passing``: the engine failed, not the key or the policy."""

    reason: Reason
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """The first byte of a message of this generation may go out."""

    generation: int


@dataclass(frozen=True, slots=True)
class Submitted:
    """A try to submit one message of this generation ended (fed to its ``Submission`` as well)."""

    generation: int
    reply: Reply
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Bounced:
    """A bounce that names a Message-ID of this generation came back."""

    generation: int
    kind: Bounce


@dataclass(frozen=True, slots=True)
class ReceiptArrived:
    """A receipt that names a Message-ID of this generation.

    ``signed``: by a key that is confirmed for the partner. ``matched``: the named message's recipient was
    the partner that reports; a report that did not match changes nothing.
    """

    generation: int
    outcome: Outcome
    signed: bool
    matched: bool = True
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Replaced:
    """The unconfirmed rest of the set was planned anew as a linked set."""


OutgoingEvent = (
    Sealed | SealFailed | Started | Submitted | Bounced | ReceiptArrived | Replaced | TimerDue | Operator
)


# --- actions --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seal:
    """Work: write and seal this generation, not before ``at``; then ``Sealed`` or ``SealFailed``."""

    generation: int
    at: float


@dataclass(frozen=True, slots=True)
class Submit:
    """Work: the messages of this generation are ready to go."""

    generation: int


@dataclass(frozen=True, slots=True)
class Cut:
    """Work: cut the same sealed bytes in (smaller) fragments: piece size / 2**cuts; then ``Sealed``."""

    generation: int
    cuts: int


class Scope(Enum):
    """What a re-cut takes into the linked set."""

    MAIL = "this mail"
    REST = "the unconfirmed rest of the set"


@dataclass(frozen=True, slots=True)
class Recut:
    """Record: plan a new set, linked to this one, with one object per mail or with smaller mails.

    For ``Scope.REST`` every other unconfirmed mail of the set gets :class:`Replaced`.
    """

    scope: Scope
    one_object_per_mail: bool


@dataclass(frozen=True, slots=True)
class WithdrawMessages:
    """Record: the messages of this mail that are not on the server are not wanted any more."""


@dataclass(frozen=True, slots=True)
class SuspendMessages:
    """Record: do not send the messages of this mail for now."""


@dataclass(frozen=True, slots=True)
class ResumeMessages:
    """Record: send them."""


@dataclass(frozen=True, slots=True)
class RepeatMessage:
    """Record: the message that bounced goes again, alone, under a new Message-ID (``CameBack``)."""


OutgoingAction = (
    Record
    | Seal
    | Submit
    | Cut
    | Recut
    | WithdrawMessages
    | SuspendMessages
    | ResumeMessages
    | RepeatMessage
    | Charged
    | Credited
    | Stalled
    | Overflowed
)
Step = tuple[OutgoingMail, tuple[OutgoingAction, ...]]
