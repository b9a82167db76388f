"""A process of the simulated world: it works in transactions, dies anywhere, and comes up from its tables."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from radpost.errors import Reason
from radpost.testing.simulation import Crash, Mail, Table, World
from radpost.transfer import completion, packing, retry, window
from radpost.transfer.completion import CompletionPolicy
from radpost.transfer.incoming import IncomingMail, IncomingPolicy
from radpost.transfer.incoming_set import IncomingSet, SetPolicy
from radpost.transfer.outgoing import OutgoingMail, OutgoingPolicy
from radpost.transfer.submission import Submission, SubmissionPolicy
from radpost.transfer.transmission import Transmission, TransmissionPolicy
from radpost.transfer.window import WindowPolicy


@dataclass(frozen=True, slots=True)
class SitePolicy:
    """All switches of a simulated site towards its partner."""

    outgoing: OutgoingPolicy = field(default=OutgoingPolicy(receipt_within=6 * 3600.0))
    incoming: IncomingPolicy = field(default=IncomingPolicy())
    submission: SubmissionPolicy = field(default=SubmissionPolicy())
    window: WindowPolicy = field(default=WindowPolicy())
    transmission: TransmissionPolicy = field(default=TransmissionPolicy())
    completion: CompletionPolicy = field(default=CompletionPolicy())
    limits: packing.Limits = field(default=packing.Limits(objects_per_mail=3))
    sets: SetPolicy = field(default=SetPolicy())
    line: retry.LinePolicy = field(default=retry.LinePolicy())


@dataclass(frozen=True, slots=True)
class Outbound:
    """A row of the outbox: the sealed message and how far it is."""

    mail: Mail
    state: Submission
    part: tuple[str, int] | None = None
    generation: int = 0
    arrival: int | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A row of what arrived."""

    mail: Mail
    state: IncomingMail


class Process:
    """Tables, transactions, crashes, and the loop that looks for work."""

    def __init__(self, name: str, partner: str, world: World, policy: SitePolicy | None = None) -> None:
        self.name = name
        self.address = f"{name}@example.org"
        self.partner = f"{partner}@example.org"
        self.world = world
        self.policy = policy or SitePolicy()
        self.collections: Table[str, completion.Collection] = Table()
        self.collected: Table[str, tuple[str, int]] = Table()
        self.transmissions: Table[str, Transmission] = Table()
        self.mails: Table[tuple[str, int], OutgoingMail] = Table()
        self.contents: Table[tuple[str, int], tuple[str, ...]] = Table()
        self.messages: Table[str, tuple[tuple[str, int], int]] = Table()
        self.outbox: Table[str, Outbound] = Table()
        self.arrivals: Table[int, Arrival] = Table()
        self.known: Table[str, int] = Table()
        self.objects: Table[str, int] = Table()
        self.sets: Table[str, IncomingSet] = Table()
        self.parts: Table[tuple[str, int], bool] = Table()
        self.windows: Table[str, window.Window] = Table()
        self.alarms: Table[tuple[str, int], Reason | None] = Table()
        self.line = retry.Line()
        self.crashes = 0
        self.alarms_raised = 0
        self.up = True
        self._planned_at: float | None = None
        self.windows[self.partner] = window.opened(self.policy.window, 0.0)
        self._commit_all()
        world.open_mailbox(self.address, self.wake)

    @property
    def tables(self) -> tuple[Table[Any, Any], ...]:
        """All tables of the store."""
        found = [value for value in vars(self).values() if isinstance(value, Table)]
        return tuple(found)

    def _commit_all(self) -> None:
        for table in self.tables:
            table.commit()

    def commit(self) -> None:
        """End the transaction: durable, or lost with the process."""
        self.point()
        self._commit_all()
        self.check()
        self.point()

    def point(self) -> None:
        """A place where the process can die."""
        if self.world.chance(self.world.faults.crash):
            raise Crash

    def step(self, work: Callable[[], None]) -> None:
        """Run one piece of work; on a crash forget what was not committed and come up later."""
        try:
            work()
        except Crash:
            self.crashes += 1
            self.up = False
            for table in self.tables:
                table.rollback()
            self.world.at(self.world.now + self.world.dice.uniform(5, 600), self.restart)

    def restart(self) -> None:
        """Come up again: only the tables are left."""
        self.up = True
        self.line = retry.Line()
        self.recover()
        self._commit_all()
        self.wake()

    def recover(self) -> None:
        """Tell the machines what a restart means to them."""
        raise NotImplementedError

    def wake(self) -> None:
        """Look for work now."""
        if self._planned_at is None or self._planned_at > self.world.now:
            self._planned_at = self.world.now
            self.world.at(self.world.now, self.run)

    def run(self) -> None:
        """Do one piece of the work that is due, then look again, or sleep until the next stored deadline."""
        self._planned_at = None
        if not self.up:
            return
        work = list(self.work())
        if work:
            self.step(self.world.dice.choice(work))
            self.world.at(self.world.now + 0.01, self.wake)
            return
        later = [due for due in self.deadlines() if due is not None]
        if later:
            when = max(min(later), self.world.now + 0.01)
            self._planned_at = when
            self.world.at(when, self._due(when))

    def _due(self, when: float) -> Callable[[], None]:
        def look() -> None:
            if self._planned_at == when:
                self.run()

        return look

    def work(self) -> Iterable[Callable[[], None]]:
        """Yield every piece of work that the committed state asks for now."""
        raise NotImplementedError

    def deadlines(self) -> Iterable[float | None]:
        """Yield the stored deadlines, and when something closed opens."""
        raise NotImplementedError

    def check(self) -> None:
        """Check what must hold after every commit."""
        raise NotImplementedError
