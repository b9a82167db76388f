"""What a fuzz target is, and what holds for each input of every target."""

import resource
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Final
from zlib import crc32

Blind = Callable[[bytes, int], bytes]
"""A mutation that knows nothing of the structure: of some bytes, to at most so many."""
Mutator = Callable[[bytes, int, Random, Blind], bytes]
"""A mutation that knows the structure; it may hand on to the blind one."""

MEMORY: Final = 64 << 20
"""How much one input may raise the peak of the resident memory."""
_RSS_UNIT: Final = 1024 if sys.platform != "darwin" else 1


class ExcessError(AssertionError):
    """An input took more time or memory than its size explains (DESIGN invariant 8)."""


@dataclass(frozen=True)
class Target:
    """One parser and what must hold of it."""

    name: str
    rooms: tuple[str, ...]
    """Packages whose branches steer the search."""
    check: Callable[[bytes], None]
    """Reads an input and asserts; only an unexpected exception gets out of it."""
    seeds: Callable[[], Iterable[bytes]]
    mutate: Mutator
    max_len: int = 1 << 13
    seconds: float = 2.0
    """What one input may take of the processor, with the burden of instrumentation."""


def sampled(data: bytes, one_in: int = 8) -> bool:
    """Tell whether a dear check is made for an input: for some of them, and for the same always."""
    return crc32(data) % one_in == 0


def bounded(target: Target) -> Callable[[bytes], None]:
    """Return the target's check with bounds on processor time and memory."""

    def run(data: bytes) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        target.check(data)
        spent = time.process_time() - start
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * _RSS_UNIT
        if spent > target.seconds:
            raise ExcessError(f"{spent:.1f} s for {len(data)} bytes")
        if grown > MEMORY:
            raise ExcessError(f"{grown >> 20} MiB for {len(data)} bytes")

    return run
