"""Walk through every state a machine can reach, and draw what was found.

The tables ``ALLOWED`` of the machines are the law; the walk shows that the code does these steps and no
other, and the diagrams of docs/explanation/transfer.md are drawn from the same tables.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from enum import Enum
from typing import TypeVar

S = TypeVar("S")
E = TypeVar("E")
P = TypeVar("P", bound=Enum)


def explore(
    starts: Iterable[S],
    events: Callable[[S], Iterable[E]],
    step: Callable[[S, E], S],
    key: Callable[[S], Hashable],
) -> Iterator[tuple[S, E, S]]:
    """Yield every step (state, event, state) from the starts on, breadth first.

    States with the same ``key`` are taken for one, which keeps counters from making the walk endless.
    """
    todo = deque(starts)
    known = {key(state) for state in todo}
    while todo:
        state = todo.popleft()
        for event in events(state):
            after = step(state, event)
            yield state, event, after
            if key(after) not in known:
                known.add(key(after))
                todo.append(after)


def edges(steps: Iterable[tuple[P, P]]) -> dict[P, frozenset[P]]:
    """Collect pairs of phases into a table like ``ALLOWED``; staying in a phase is no step."""
    table: dict[P, set[P]] = {}
    for before, after in steps:
        row = table.setdefault(before, set())
        table.setdefault(after, set())
        if before is not after:
            row.add(after)
    return {phase: frozenset(row) for phase, row in table.items()}


def mermaid(allowed: Mapping[P, frozenset[P]], start: P, ended: Iterable[P] = ()) -> str:
    """Draw the table as a Mermaid state diagram, in the order of the enum."""
    names = list(type(start))
    ends = set(ended)

    def node(phase: P) -> str:
        return phase.name.lower()

    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    {node(p)} : {p.value}" for p in names if p.value != node(p)]
    lines.append(f"    [*] --> {node(start)}")
    lines += [f"    {node(p)} --> {node(q)}" for p in names for q in names if q in allowed[p]]
    lines += [f"    {node(p)} --> [*]" for p in names if p in ends]
    return "\n".join([*lines, "```"])
