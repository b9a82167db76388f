"""One arriving mail: its state, what can happen to it, and what is then to be done (DESIGN 4)."""

from dataclasses import dataclass, field
from enum import Enum

from radpost.errors import Reason
from radpost.transfer.actions import Record, TimerDue
from radpost.transfer.receipt import Disposition
from radpost.transfer.retry import MAIL, Backoff


class Phase(Enum):
    """States of an arriving mail."""

    FETCHED = "fetched"
    FRAGMENT = "fragment waiting"
    JOINED = "joined"
    OPENED = "opened"
    RECEIPT_OWED = "receipt owed"
    DONE = "done"
    QUARANTINED = "quarantined"
    IGNORED = "ignored"
    DROPPED = "dropped"


ENDED = frozenset({Phase.JOINED, Phase.DONE, Phase.QUARANTINED, Phase.IGNORED, Phase.DROPPED})
ALLOWED: dict[Phase, frozenset[Phase]] = {
    Phase.FETCHED: frozenset(
        {Phase.FRAGMENT, Phase.OPENED, Phase.IGNORED, Phase.DONE, Phase.QUARANTINED, Phase.RECEIPT_OWED}
    ),
    Phase.FRAGMENT: frozenset({Phase.JOINED, Phase.QUARANTINED, Phase.RECEIPT_OWED}),
    Phase.JOINED: frozenset(),
    Phase.OPENED: frozenset({Phase.RECEIPT_OWED, Phase.DONE, Phase.QUARANTINED}),
    Phase.RECEIPT_OWED: frozenset({Phase.DONE, Phase.QUARANTINED, Phase.FETCHED}),
    Phase.DONE: frozenset({Phase.FETCHED}),
    Phase.QUARANTINED: frozenset({Phase.FETCHED, Phase.DROPPED}),
    Phase.IGNORED: frozenset({Phase.FETCHED}),
    Phase.DROPPED: frozenset(),
}
"""Which phase can follow which; a test checks that the machine does these steps and no other."""


class Kind(Enum):
    """What a mail turned out to be."""

    DATA = "data"
    FRAGMENT = "fragment"
    RECEIPT = "receipt"
    BOUNCE = "bounce"
    FOREIGN = "foreign"
    """Not ours: stays on the server, is listed; where ours is the only copy, it waits in quarantine."""


@dataclass(frozen=True, slots=True)
class IncomingPolicy:
    """How engine faults and full disks are tried again, and whether a replay corrects the receipt."""

    backoff: Backoff = field(default=MAIL)
    tries: int = 10
    """Passing faults before the mail goes to quarantine, so that it does not block others."""
    alarm_after_tries: int = 3
    corrects: bool = True
    """After a replay from quarantine a second receipt says how it ended. RFC 8098 2.1 wants one at most;
    between gateways the correction is what ends the sender's alarm."""


@dataclass(frozen=True, slots=True)
class IncomingMail:
    """One arrival; a row of the store."""

    phase: Phase = Phase.FETCHED
    wanted: bool = False
    """A receipt is asked for and may be given (:func:`receipt_allowed`)."""
    disposition: Disposition | None = None
    """The receipt owed or sent."""
    sent: Disposition | None = None
    """The receipt that went out last."""
    quarantined: bool = False
    """The whole mail lies in quarantine; of one that was opened in part, the rest waits there."""
    replays: int = 0
    tries: int = 0
    not_before: float = 0.0
    reason: Reason | None = None
    alarm: Reason | None = None

    @property
    def due(self) -> float | None:
        """Return when to go on with it; fragments wait with their assembly's deadline."""
        waiting = self.phase in {Phase.FETCHED, Phase.OPENED, Phase.RECEIPT_OWED}
        return self.not_before if waiting else None


@dataclass(frozen=True, slots=True)
class Recognised:
    """The outside was read; ``wanted`` is the answer of :func:`receipt_allowed`.

    Of a fragment it speaks of the mail inside: one first fragment answers for it, others know nobody to tell.
    """

    kind: Kind
    wanted: bool = False
    only_copy: bool = False
    """No mailbox holds the mail: what we throw away is gone."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The fragment became part of a joined mail, which is an arrival of its own."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Decrypted, verified and released by the policy; ``wanted`` also knows the inner headers now."""

    wanted: bool


@dataclass(frozen=True, slots=True)
class Imported:
    """The transaction that imports: so many objects are durably here, so many sealed parts in quarantine.
    ``remarks``: one came with other content than the one we have; ``resend_helps``: for all that failed.
    """

    stored: int
    quarantined: int = 0
    remarks: bool = False
    resend_helps: bool = False
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """A step failed. ``passing``: through a fault of ours that goes by (engine, disk), not of the mail."""

    reason: Reason
    passing: bool = False


@dataclass(frozen=True, slots=True)
class ReceiptSent:
    """The receipt is on the mail server."""


@dataclass(frozen=True, slots=True)
class ReceiptFailed:
    """The mail server will not take the receipt for good."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Replay:
    """An operator mended the cause (key, rule): process the mail again from its bytes."""


@dataclass(frozen=True, slots=True)
class Drop:
    """An operator throws the mail in quarantine away."""


IncomingEvent = (
    Recognised | Joined | Opened | Imported | Failed | ReceiptSent | ReceiptFailed | Replay | Drop | TimerDue
)


@dataclass(frozen=True, slots=True)
class Open:
    """Work: decrypt, verify, release by policy."""


@dataclass(frozen=True, slots=True)
class Import:
    """Work: store the objects, exactly once, with their deliveries."""


@dataclass(frozen=True, slots=True)
class HandleReport:
    """Work: read the receipt or bounce and feed it to the mail it names."""


@dataclass(frozen=True, slots=True)
class AwaitFragments:
    """Work: feed the fragment to its ``Assembly``."""


@dataclass(frozen=True, slots=True)
class SendReceipt:
    """Work, but only ever after the commit of the state it comes with."""

    disposition: Disposition
    correction: bool


@dataclass(frozen=True, slots=True)
class DeleteFromServer:
    """Work, allowed from the commit of ``fetched`` on: the mail is durable here and is ours."""


@dataclass(frozen=True, slots=True)
class KeepQuarantined:
    """Record: a row of the quarantine for the whole mail."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class EndQuarantine:
    """Record: the row of the quarantine is done with."""


IncomingAction = (
    Record
    | Open
    | Import
    | HandleReport
    | AwaitFragments
    | SendReceipt
    | DeleteFromServer
    | KeepQuarantined
    | EndQuarantine
)
Step = tuple[IncomingMail, tuple[IncomingAction, ...]]
