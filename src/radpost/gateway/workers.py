"""Workers of one kind side by side: each takes rows that no other has."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import structlog

from radpost.gateway.site import Bell

REST_SECONDS: Final = 30.0
LOOK: Final = 16
"""So many rows are looked at, to take some of them together."""
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

    def batch(self, rows: Sequence[_Row]) -> list[_Row]:
        """Return what one worker takes of them; the others get the rest."""

    def work(self, row: _Row) -> None:
        """Work on one."""

    def work_all(self, rows: Sequence[_Row]) -> None:
        """Work on several with one commit; a bad one spoils no other."""


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

    def free(self, rows: Sequence[_Row]) -> list[_Row]:
        """Return those that no worker has."""
        with self.lock:
            return [row for row in rows if row.id not in self.taken]

    def work(self, room: Room[_Row], rows: Sequence[_Row]) -> None:
        """Work on rows that were taken, together or else one by one, and give them back."""
        if len(rows) > 1:
            try:
                room.work_all(rows)
            except Exception:
                self.log.exception("work failed inside", rows=[row.id for row in rows])
            else:
                self._give(rows)
                return
        for row in rows:
            try:
                room.work(row)
            except Exception:
                # not given back at once: the rows behind it have their turn first
                self.log.exception("work failed inside", row=row.id)
                with self.lock:
                    self.resting[row.id] = time.monotonic() + REST_SECONDS
            else:
                self._give([row])

    def _give(self, rows: Sequence[Numbered]) -> None:
        with self.lock:
            self.taken.difference_update(row.id for row in rows)


def step_of(
    room: Room[_Row], claims: Claims, bell: Bell, then: Bell | None = None, idle: Callable[[], bool] = bool
) -> Callable[[], bool]:
    """Return a worker's step: a row, or several that go together.

    It rings ``bell`` if more wait, and ``then`` when it is done; ``idle`` is what it does if nothing waits.
    """

    def step() -> bool:
        found = room.next(LOOK, claims.frozen())
        if not found:
            return idle()
        # a worker that looked at the same time may have been faster
        mine = [row for row in room.batch(claims.free(found)) if claims.take(row.id)]
        if len(found) > len(mine):
            bell.ring()
        if mine:
            claims.work(room, mine)
            if then is not None:
                then.ring()
        return True

    return step
