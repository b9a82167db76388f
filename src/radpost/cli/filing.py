"""What commands that take files share: what is left out is named, long work shows how far it is."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from radpost.agit.gathering import Gathered
from radpost.cli.plain import tell

_LINE_EVERY: Final = 500
LEFT_SHOWN: Final = 20


def say_left(gathered: Gathered, *, study_option: str) -> None:
    """Say what is not sent, and why; troubles on standard error."""
    troubles = [one for one in gathered.left if one.is_trouble]
    for one in troubles:
        tell(f"not sent: {one.path}: {one.sentence}", file=sys.stderr)
    others = [one for one in gathered.left if not one.is_trouble]
    for one in others[:LEFT_SHOWN]:
        tell(f"left out: {one.path}: {one.sentence}")
    if len(others) > LEFT_SHOWN:
        print(f"left out: {len(others) - LEFT_SHOWN} more")
    if gathered.unassigned:
        print(
            f"{gathered.unassigned} documents lie beside several studies and got a study of their own; "
            f"name theirs with {study_option} UID"
        )


@contextmanager
def bar(what: str, total: int | None, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a progress bar on a terminal, a plain line now and then elsewhere."""
    if quiet:
        yield lambda: None
        return
    if not sys.stdout.isatty():
        yield _lines(what, total)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.progress import Progress as Bars  # noqa: PLC0415  only on a terminal

    columns = (TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns) as bars:
        task = bars.add_task(what, total=total)
        yield lambda: bars.advance(task)


def _lines(what: str, total: int | None) -> Callable[[], None]:
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        if count % _LINE_EVERY == 0:
            print(f"{what}: {count}" + (f" of {total}" if total else ""), flush=True)

    return step
