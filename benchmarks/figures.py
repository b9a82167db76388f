"""A measured figure with its floor and goal, and how a run of figures is printed and written (DESIGN 10)."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a row: the median of its repetitions, and what it is to be compared with."""

    row: str
    what: str
    value: float
    floor: float
    goal: float
    lower_is_better: bool = False
    samples: tuple[float, ...] = ()
    remarks: tuple[str, ...] = field(default=())

    @property
    def holds(self) -> bool:
        """Tell whether the floor is reached."""
        return self._reaches(self.floor)

    @property
    def reaches_goal(self) -> bool:
        """Tell whether the goal is reached, too."""
        return self._reaches(self.goal)

    def _reaches(self, mark: float) -> bool:
        return self.value <= mark if self.lower_is_better else self.value >= mark

    def as_json(self) -> dict[str, object]:
        """Return the entry of BENCH_JSON."""
        entry: dict[str, object] = {
            "value": _rounded(self.value),
            "floor": self.floor,
            "goal": self.goal,
            "holds": self.holds,
            "what": self.what,
        }
        if self.samples:
            entry["samples"] = [_rounded(item) for item in self.samples]
        return entry


def median(samples: Sequence[float]) -> float:
    """Return the median; the caller has at least one sample."""
    return statistics.median(samples)


def figure(
    row: str,
    what: str,
    samples: Sequence[float],
    floor: float,
    goal: float,
    *,
    lower_is_better: bool = False,
    remarks: Iterable[str] = (),
) -> Figure:
    """Return the figure of some repetitions."""
    return Figure(row, what, median(samples), floor, goal, lower_is_better, tuple(samples), tuple(remarks))


def table(figures: Sequence[Figure]) -> str:
    """Return the table of ratios."""
    lines = [
        f"{'row':<4} {'value':>8}  {'min .. max':>17}  {'floor':>7} {'goal':>7}  {'':<7} what",
        "-" * 118,
    ]
    for item in figures:
        sign = "<=" if item.lower_is_better else ">="
        spread = f"{min(item.samples):.3g} .. {max(item.samples):.3g}" if len(item.samples) > 1 else ""
        verdict = "goal" if item.reaches_goal else "holds" if item.holds else "MISSED"
        marks = f"{sign}{item.floor:g}".rjust(7) + " " + f"{sign}{item.goal:g}".rjust(7)
        lines.append(f"{item.row:<4} {item.value:>8.3f}  {spread:>17}  {marks}  {verdict:<7} {item.what}")
        lines.extend(f"{'':>58}{remark}" for remark in item.remarks)
    return "\n".join(lines)


def write(path: Path, figures: Sequence[Figure]) -> None:
    """Write BENCH_JSON: one entry per row, a list where a row has several figures."""
    rows: dict[str, list[dict[str, object]]] = {}
    for item in figures:
        rows.setdefault(item.row, []).append(item.as_json())
    content = {row: entries[0] if len(entries) == 1 else entries for row, entries in rows.items()}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
