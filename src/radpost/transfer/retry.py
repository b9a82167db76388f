"""One layer of retry per class of failure (DESIGN 4 "Retry").

=============  ======================================  =============================================
layer          what failed                             where its state is
=============  ======================================  =============================================
connection     a mail server as a whole                :class:`Line`, one per server account
mail           4xx or an uncertain end of one mail     ``outgoing.OutgoingMail.tries``, ``not_before``
partner        mailbox full, overdue receipts          ``window.Window`` and ``OutgoingMail.bounces``
object         the partner says ``deleted/error``      ``outgoing.OutgoingMail.resends``
delivery       the PACS: as a whole, and per object    :class:`Line` per destination, ``delivery``
=============  ======================================  =============================================

A failure is counted in its own layer only: a server that is down costs no mail a try. Jitter comes in as a
number of [0, 1), so that a run can be repeated from its seed.
"""

from dataclasses import dataclass, replace

from radpost.errors import Reason
from radpost.transfer.actions import Record, TimerDue, switch_alarm

_MAX_DOUBLINGS = 60  # 2.0 ** tries overflows long before a patient queue gives up


@dataclass(frozen=True, slots=True)
class Backoff:
    """Growing pauses between tries: ``first * factor ** tries``, at most ``cap``, spread by ``spread``.

    A mail that was not taken is tried again so (RFC 5321 4.5.4.1).
    """

    first: float
    cap: float
    factor: float = 2.0
    spread: float = 0.25

    def delay(self, tries: int, jitter: float = 0.5) -> float:
        """Return the pause after so many fruitless tries (0: the first failure).

        ``jitter`` of [0, 1) moves the pause within plus and minus ``spread``, so that 500 sites do not
        come back in the same second when a server comes up again.

        >>> Backoff(first=10, cap=100).delay(1)
        20.0
        """
        plain = min(self.cap, self.first * self.factor ** min(tries, _MAX_DOUBLINGS))
        return plain * (1 + self.spread * (2 * jitter - 1))


CONNECTION = Backoff(first=2, cap=300)
MAIL = Backoff(first=30, cap=1800)
MAILBOX = Backoff(first=300, cap=4 * 3600)
OBJECT = Backoff(first=60, cap=3600)
DELIVERY = Backoff(first=5, cap=600)


@dataclass(frozen=True, slots=True)
class LinePolicy:
    """How one line (mail server account, PACS association target) is tried again."""

    backoff: Backoff = CONNECTION
    alarm_after: float = 300.0
    """Seconds of being down before somebody is told; faults only we can mend are told at once."""


@dataclass(frozen=True, slots=True)
class Line:
    """A server or destination as a whole: up, or down since when and not to be tried before when."""

    failures: int = 0
    down_since: float | None = None
    not_before: float = 0.0
    probing: bool = False
    reason: Reason | None = None
    alarm: Reason | None = None

    def usable(self, now: float) -> bool:
        """Say whether a connection may be opened now; while the line is down only one probe at a time."""
        if self.down_since is None:
            return True
        return not self.probing and now >= self.not_before

    @property
    def due(self) -> float | None:
        """Return when to look again: the next probe."""
        return None if self.down_since is None or self.probing else self.not_before


@dataclass(frozen=True, slots=True)
class Probing:
    """A connection is being tried; committed nowhere: after a crash the line is simply probed again."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The line works: connection, TLS and login succeeded."""


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """The line does not work. ``urgent``: waiting will not mend it (login, certificate): tell at once."""

    reason: Reason
    urgent: bool = False


LineEvent = Probing | Connected | ConnectFailed | TimerDue


def decide(
    line: Line, event: LineEvent, now: float, policy: LinePolicy, jitter: float = 0.5
) -> tuple[Line, tuple[Record, ...]]:
    """Return the line after the event and what to record."""
    match event:
        case Connected():
            after = Line()
        case ConnectFailed(reason, urgent):
            since = now if line.down_since is None else line.down_since
            tell = urgent or line.alarm is not None or now - since >= policy.alarm_after
            after = Line(
                failures=line.failures + 1,
                down_since=since,
                not_before=now + policy.backoff.delay(line.failures, jitter),
                reason=reason,
                alarm=reason if tell else None,
            )
        case Probing():
            after = replace(line, probing=line.down_since is not None)
        case TimerDue():
            # A crash between Probing and its end must not close the line for ever.
            after = replace(line, probing=False)
    return after, switch_alarm(line.alarm, after.alarm)
