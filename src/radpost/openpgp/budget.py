"""Bounds on what one message may unfold to (DESIGN invariant 8)."""

from typing import Final

from radpost.errors import RESOURCE_LIMIT, RadpostError

TOO_LARGE: Final = "the plaintext is larger than the limit"
"""The detail by which a limit on size, which may be that of the disk, is told from that on the ratio."""


class Budget:
    """Counts input and output of one message and stops bombs."""

    def __init__(self, max_plaintext: int, max_ratio: int, ratio_floor: int) -> None:
        self._max = max_plaintext
        self._ratio = max_ratio
        self._floor = ratio_floor
        self.consumed = 0

    def check(self, produced: int) -> None:
        """Raise RESOURCE_LIMIT if so much output is too much for the input seen so far."""
        if produced > self._max:
            raise RadpostError(RESOURCE_LIMIT, TOO_LARGE)
        if produced > self._floor and produced > self.consumed * self._ratio:
            raise RadpostError(RESOURCE_LIMIT, "the compression ratio is that of a bomb")
