"""Workers of one kind side by side: each takes rows that no other has."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import structlog

from radpost.gateway.processing import Processor
from radpost.gateway.site import Bell
from radpost.store.incoming import ArrivalRow

REST_SECONDS: Final = 30.0
REPORTS: Final = 16
"""So many small reports are taken together at most."""
_Row = TypeVar("_Row", bound="Numbered")


class Numbered(Protocol):
    """A row with a number."""

    @property
    def id(self) -> int:
        """Return its number."""


class Room(Protocol[_Row]):
    """Where rows wait and are worked on."""

    def next(self, limit: int, busy: frozenset[int]) -> list[_Row]:
        """Return what is next."""

    def work(self, row: _Row) -> None:
        """Work on one."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What the workers of one kind have taken; in memory, because a crash must give it back."""

    log: structlog.stdlib.BoundLogger
    lock: threading.Lock = field(default_factory=threading.Lock)
    taken: set[int] = field(default_factory=set)
    resting: dict[int, float] = field(default_factory=dict)
    """Rows whose work failed in a way that nobody foresaw, and until when they wait."""

    def frozen(self) -> frozenset[int]:
        """Return what is taken now."""
        now = time.monotonic()
        with self.lock:
            for number in [one for one, until in self.resting.items() if now >= until]:
                del self.resting[number]
                self.taken.discard(number)
            return frozenset(self.taken)

    def take(self, number: int) -> bool:
        """Take a row; return False if another worker has it."""
        with self.lock:
            if number in self.taken:
                return False
            self.taken.add(number)
            return True

    def work(self, rows: Sequence[Numbered], work: Callable[[], None]) -> None:
        """Work on rows that were taken, and give them back."""
        numbers = [row.id for row in rows]
        try:
            work()
        except Exception:
            # not given back at once: the rows behind them have their turn first
            self.log.exception("work failed inside", rows=numbers)
            with self.lock:
                self.resting.update(dict.fromkeys(numbers, time.monotonic() + REST_SECONDS))
        else:
            with self.lock:
                self.taken.difference_update(numbers)


def step_of(room: Room[_Row], claims: Claims, bell: Bell, then: Bell) -> Callable[[], bool]:
    """Return a worker's step: one row; it rings ``bell`` if more wait, and ``then`` when it is done."""

    def step() -> bool:
        found = room.next(2, claims.frozen())
        row = next((row for row in found if claims.take(row.id)), None)
        if row is None:
            return False
        if len(found) > 1:
            bell.ring()
        claims.work([row], lambda: room.work(row))
        then.ring()
        return True

    return step


def open_step(processor: Processor, claims: Claims, bell: Bell) -> Callable[[], bool]:
    """Return the step of a worker that opens mails: one mail, or some small reports."""

    def more(first: ArrivalRow) -> list[ArrivalRow]:
        """Take the small reports that wait behind one."""
        rows = [first]
        for row in processor.next(REPORTS - 1, claims.frozen()):
            if not processor.is_report(row) or not claims.take(row.id):
                break
            rows.append(row)
        return rows

    def step() -> bool:
        found = processor.next(2, claims.frozen())
        first = next((row for row in found if claims.take(row.id)), None)
        if first is None:
            return processor.join_due() > 0
        rows = [first]
        if len(found) > 1:
            if processor.is_report(first):
                rows = more(first)
            bell.ring()
        if len(rows) > 1:
            claims.work(rows, lambda: processor.work_all(rows))
        else:
            claims.work(rows, lambda: processor.work(first))
        return True

    return step
