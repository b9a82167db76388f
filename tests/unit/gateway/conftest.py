"""Two houses that know each other, driven step by step."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from radpost.gateway.partners import Switches
from radpost.testing.exchange import known_key, small_study
from radpost.testing.house import Clock, House, Pair

FIELD = Switches()
"""One object per mail, plain receipts: what every partner in the field can do."""

MakePair = Callable[..., Pair]
Study = Callable[..., list[Path]]


@pytest.fixture
def make_pair(tmp_path: Path) -> Iterator[MakePair]:
    """Make two houses A and B on one clock; ``switches`` and ``policy`` hold on both sides."""
    made: list[Pair] = []

    def make(*, a_sections: str = "", b_sections: str = "", **options: object) -> Pair:
        clock = Clock()
        a = House(tmp_path / "a", "a", known_key("a", "dicom@a.example"), a_sections, clock)
        b = House(tmp_path / "b", "b", known_key("b", "dicom@b.example"), b_sections, clock)
        a.knows(b, **options)  # type: ignore[arg-type]  # the options of knows
        b.knows(a, **options)  # type: ignore[arg-type]
        made.append(Pair(a, b))
        return made[-1]

    yield make
    for pair in made:
        pair.close()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Write a small study; return its files."""
    count = 0

    def write(objects: int = 2, **options: object) -> list[Path]:
        nonlocal count
        count += 1
        return small_study(tmp_path / f"study-{count}", objects, count, **options)  # type: ignore[arg-type]

    return write
