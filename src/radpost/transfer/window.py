"""Credits per partner: bytes submitted but not receipted stay within a window (DESIGN 4 "Credits").

The field's known failure is a fast sender that fills a slow receiver's mailbox. The window grows by what is
receipted and shrinks when receipts stall or a mailbox overflows; a reserve is open to emergencies only;
while nothing moves one mail per ``probe_every`` is let through, so that a lost receipt can never close a
partner for good. Partners without receipts get a rate (a token bucket) in its place.

``in_flight`` is at every time the sum of ``OutgoingMail.charged`` over the partner's mails: the mail machine
emits :class:`Charged` and :class:`Credited`, and the caller feeds them here in the same transaction.
"""

from dataclasses import dataclass, replace

from radpost.transfer.actions import Record, TimerDue
from radpost.words import Priority

_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class WindowPolicy:
    """Bounds of one partner's window, in bytes."""

    initial: int = 50 * _MB
    floor: int = 5 * _MB
    ceiling: int = 2_000 * _MB
    reserve: int = 20 * _MB
    """Open to emergencies beyond the limit."""
    growth: float = 0.5
    """Share of the receipted bytes by which the limit grows below the last limit that proved too much."""
    careful_growth: float = 0.05
    """The same above it."""
    probe_every: float = 600.0
    pause_when_full: float = 300.0
    rate: float | None = None
    """Bytes per second for a partner without receipts; None: the window counts."""
    burst: int = 20 * _MB


@dataclass(frozen=True, slots=True)
class Window:
    """One partner's credit; a row of the store."""

    limit: int
    in_flight: int = 0
    threshold: int = 0
    """The limit at which a mailbox overflowed or stalled the last time; 0: never."""
    closed_until: float = 0.0
    last_submission: float = 0.0
    tokens: float = 0.0
    tokens_at: float = 0.0

    @property
    def due(self) -> float | None:
        """Windows wait for events; they open by asking :func:`admits` again."""
        return None


def opened(policy: WindowPolicy, now: float) -> Window:
    """Return a fresh partner's window."""
    return Window(limit=policy.initial, tokens=float(policy.burst), tokens_at=now)


@dataclass(frozen=True, slots=True)
class Charged:
    """A submission of so many bytes begins."""

    size: int


@dataclass(frozen=True, slots=True)
class Credited:
    """So many bytes are no longer on their way; ``flowing``: because the partner answered."""

    size: int
    flowing: bool = False


@dataclass(frozen=True, slots=True)
class Stalled:
    """A receipt is overdue: the partner does not drain its mailbox."""


@dataclass(frozen=True, slots=True)
class Overflowed:
    """The partner's mailbox is full: by bounce, or by the answer to a submission."""


WindowEvent = Charged | Credited | Stalled | Overflowed | TimerDue


def admits(window: Window, size: int, priority: Priority, now: float, policy: WindowPolicy) -> bool:
    """Say whether a mail of this size may be submitted now.

    A mail larger than the whole window goes when nothing else is on its way: it could never go otherwise.
    """
    if policy.rate is not None:
        return _tokens(window, now, policy) >= min(size, policy.burst)
    urgent = priority is Priority.EMERGENCY
    if now < window.closed_until and not urgent:
        return False
    room = window.limit + (policy.reserve if urgent else 0)
    if window.in_flight == 0 or window.in_flight + size <= room:
        return True
    return now >= window.last_submission + policy.probe_every


def opens_at(window: Window, size: int, now: float, policy: WindowPolicy) -> float:
    """Return when a refused mail should ask again if no event opens the window before."""
    if policy.rate is not None:
        missing = min(size, policy.burst) - _tokens(window, now, policy)
        # A float of seconds since 1970 resolves 0.2 us: a millisecond more, or the mail asks again in vain.
        return now if missing <= 0 else now + missing / policy.rate + 0.001
    return max(window.closed_until, window.last_submission + policy.probe_every)


def decide(
    window: Window, event: WindowEvent, now: float, policy: WindowPolicy
) -> tuple[Window, tuple[Record, ...]]:
    """Return the window after the event. Windows record nothing: mails raise the alarms."""
    match event:
        case Charged(size):
            after = _charge(window, size, now, policy)
        case Credited(size, flowing):
            after = replace(window, in_flight=max(0, window.in_flight - size))
            if flowing:
                after = _grow(after, size, policy)
        case Stalled():
            after = _shrink(window, policy)
        case Overflowed():
            after = replace(_shrink(window, policy), closed_until=now + policy.pause_when_full)
        case TimerDue():
            after = window
    return after, ()


def _charge(window: Window, size: int, now: float, policy: WindowPolicy) -> Window:
    tokens = _tokens(window, now, policy) - size if policy.rate is not None else window.tokens
    return replace(
        window, in_flight=window.in_flight + size, last_submission=now, tokens=tokens, tokens_at=now
    )


def _tokens(window: Window, now: float, policy: WindowPolicy) -> float:
    earned = max(0.0, now - window.tokens_at) * (policy.rate or 0.0)
    return min(float(policy.burst), window.tokens + earned)


def _grow(window: Window, size: int, policy: WindowPolicy) -> Window:
    careful = 0 < window.threshold <= window.limit
    share = policy.careful_growth if careful else policy.growth
    return replace(window, limit=min(policy.ceiling, window.limit + int(size * share)), closed_until=0.0)


def _shrink(window: Window, policy: WindowPolicy) -> Window:
    # What overflowed is what was on its way, which may be far below a limit that was never used up.
    used = min(window.limit, max(window.in_flight, policy.floor))
    lower = max(policy.floor, used // 2)
    return replace(window, limit=lower, threshold=lower)
