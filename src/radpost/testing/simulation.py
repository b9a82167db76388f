"""A world in virtual time for the real state machines: clock, mail network, durable tables, faults.

Everything random comes from one seed, and a run is a function of it: a :class:`Violation` names the seed, the
virtual time and the invariant of DESIGN 3. Storage is modelled as the store promises it: a crash loses what
was not committed, and nothing else. ``simulated_site`` holds the gateways that live here.
"""

import heapq
import random
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic, TypeVar

from radpost.transfer.outgoing import Bounce
from radpost.transfer.receipt import Disposition
from radpost.transfer.submission import Reply

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Violation(AssertionError):  # noqa: N818  # a finding about the code under test, like AssertionError
    """An invariant does not hold; the seed reproduces it."""

    def __init__(self, invariant: int, text: str, seed: int, now: float) -> None:
        self.invariant = invariant
        self.seed = seed
        super().__init__(f"invariant {invariant} broken at t={now:.0f}s, seed {seed}: {text}")


class Crash(Exception):  # noqa: N818  # an event of the simulated world, not an error of ours
    """The simulated process dies here."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How unfriendly the world is: probabilities per message or step, seconds."""

    loss: float = 0.05
    duplicate: float = 0.05
    corrupt: float = 0.02
    uncertain: float = 0.05
    deferred: float = 0.05
    crash: float = 0.02
    """Per crash point; there are two around every commit and one after every external action."""
    delay: float = 120.0
    """Mean of the delay of a mail; exponential, so that mails overtake each other."""
    outage_every: float = 6 * 3600.0
    outage_mean: float = 600.0
    quota: int | None = None
    """Mails a mailbox holds before it bounces."""


NO_FAULTS = Faults(loss=0, duplicate=0, corrupt=0, uncertain=0, deferred=0, crash=0, outage_mean=0)


@dataclass(frozen=True, slots=True)
class Mail:
    """A message in the network: what a gateway would read of it."""

    message_id: str
    sender: str
    recipient: str
    kind: str
    """``data``, ``receipt``, ``bounce`` or ``foreign``."""
    receipt_to: str | None = None
    automatic: bool = False
    set_id: str = ""
    part: int = 0
    total: int = 0
    objects: tuple[str, ...] = ()
    original: str = ""
    disposition: Disposition | None = None
    bounce: Bounce | None = None
    signed: bool = True
    corrupt: bool = False


class Table(Generic[K, V]):
    """A table with one open transaction: what is written is seen by its writer, durable from commit on."""

    def __init__(self) -> None:
        self.durable: dict[K, V] = {}
        self._pending: dict[K, V] = {}

    def __getitem__(self, key: K) -> V:
        return self._pending[key] if key in self._pending else self.durable[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._pending[key] = value

    def __contains__(self, key: K) -> bool:
        return key in self._pending or key in self.durable

    def get(self, key: K) -> V | None:
        """Return the value or None."""
        return self._pending[key] if key in self._pending else self.durable.get(key)

    def items(self) -> Iterator[tuple[K, V]]:
        """Yield what a query inside the transaction would see."""
        yield from list((self.durable | self._pending).items())

    def values(self) -> Iterator[V]:
        """Yield the values alone."""
        yield from (self.durable | self._pending).values()

    def commit(self) -> None:
        """Make the transaction durable."""
        self.durable.update(self._pending)
        self._pending.clear()

    def rollback(self) -> None:
        """Forget the transaction."""
        self._pending.clear()


@dataclass
class World:
    """Clock, network and dice, shared by all sites."""

    seed: int
    faults: Faults = field(default_factory=Faults)
    now: float = 0.0
    events: int = 0
    mailboxes: dict[str, dict[int, Mail]] = field(default_factory=dict)
    arrived: dict[str, Callable[[], None]] = field(default_factory=dict)
    submitted: int = 0
    acknowledged: dict[str, set[str]] = field(default_factory=dict)
    """Per site, what a modality got a C-STORE success for."""

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)  # noqa: S311  # reproducible dice, no secret
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._down_until = 0.0
        self._next_outage = self.dice.expovariate(1 / self.faults.outage_every)

    def chance(self, probability: float) -> bool:
        """Throw the dice."""
        return probability > 0 and self.dice.random() < probability

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something later in virtual time."""
        self._count += 1
        heapq.heappush(self._queue, (max(when, self.now), self._count, action))

    def run(self, until: float, most_events: int = 200_000) -> None:
        """Let time pass until nothing is planned any more, or ``until``."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, action = heapq.heappop(self._queue)
            self.events += 1
            if self.events > most_events:
                raise Violation(8, "the world does not come to rest", self.seed, self.now)
            action()

    def fail(self, invariant: int, text: str) -> Violation:
        """Return the violation to raise."""
        return Violation(invariant, text, self.seed, self.now)

    # --- the mail network ---------------------------------------------------------------------------------

    def open_mailbox(self, address: str, arrived: Callable[[], None]) -> None:
        """Create a mailbox; ``arrived`` is called when a mail comes in (IDLE)."""
        self.mailboxes[address] = {}
        self.arrived[address] = arrived

    def submit(self, mail: Mail) -> Reply:
        """Take a mail as a submission server would, and forward it as badly as the network does."""
        if self._server_down():
            return Reply.UNREACHABLE
        if self.chance(self.faults.deferred):
            return Reply.DEFERRED
        uncertain = self.chance(self.faults.uncertain)
        if uncertain and self.chance(0.5):
            return Reply.UNCERTAIN  # the last byte did not arrive
        if mail.recipient not in self.mailboxes:
            return Reply.ADDRESS_UNKNOWN
        self.submitted += 1
        copies = 0 if self.chance(self.faults.loss) else 1 + self.chance(self.faults.duplicate)
        for _ in range(copies):
            copy = replace(mail, corrupt=mail.corrupt or self.chance(self.faults.corrupt))
            delay = self.dice.expovariate(1 / self.faults.delay)
            self.at(self.now + delay, partial(self._deliver, copy))
        return Reply.UNCERTAIN if uncertain else Reply.ACCEPTED

    def _deliver(self, mail: Mail) -> None:
        box = self.mailboxes[mail.recipient]
        if self.faults.quota is not None and len(box) >= self.faults.quota and mail.kind != "bounce":
            self._bounce(mail)
            return
        self._count += 1
        box[self._count] = mail
        self.arrived[mail.recipient]()

    def _bounce(self, mail: Mail) -> None:
        if mail.automatic or mail.sender not in self.mailboxes:
            return  # null sender: nobody is told (RFC 5321 4.5.5)
        self._deliver(
            Mail(
                message_id=f"bounce-{self._count}-{mail.message_id}",
                sender="",
                recipient=mail.sender,
                kind="bounce",
                automatic=True,
                original=mail.message_id,
                bounce=Bounce.MAILBOX_FULL,
            )
        )

    def _server_down(self) -> bool:
        if self.faults.outage_mean <= 0:
            return False
        if self.now >= self._next_outage:
            self._down_until = self._next_outage + self.dice.expovariate(1 / self.faults.outage_mean)
            self._next_outage = self._down_until + self.dice.expovariate(1 / self.faults.outage_every)
        return self.now < self._down_until
