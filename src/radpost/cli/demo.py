"""``radpost demo``: the main job in front of your eyes, on embedded defaults."""

import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from radpost.cli.common import print_json, print_table, size
from radpost.errors import PROGRAM_MISSING, RadpostError
from radpost.testing.demonstration import Demonstration, Progress, Result
from radpost.testing.peers.base import PeerFailedError, PeerUnavailableError

_STEPS = (
    ("sent", "C-STORE to the AE title PRAXIS_B"),
    ("mailed", "signed, encrypted, mailed"),
    ("imported", "received, verified, imported"),
    ("delivered", "delivered to the PACS"),
    ("confirmed", "receipt returned"),
)
_FULL_TABLE = 60


def demo(
    study: Annotated[
        Path | None, typer.Option("--study", help="Send the DICOM objects below this folder.", exists=True)
    ] = None,
    slices: Annotated[
        int | None, typer.Option("--slices", min=1, max=100_000, help="Size of the study that is made [24].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    mail_server: Annotated[
        bool, typer.Option("--mail-server", help="Go through Postfix and Dovecot (IMAP), if installed.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the two institutions' directories and say where they are.")
    ] = False,
) -> None:
    """Show the main job: two institutions on this machine exchange a study by encrypted e-mail."""
    directory = Path(tempfile.mkdtemp(prefix="radpost-demo-"))
    count = slices if slices is not None else (0 if study else 24)
    demonstration = Demonstration(directory, study, count, mail_server)
    try:
        with ExitStack() as stack:
            report, say = _quiet() if as_json else _shown(stack)
            result = demonstration.run(report, say)
    except (PeerUnavailableError, PeerFailedError) as error:
        raise RadpostError(PROGRAM_MISSING, str(error)) from error
    finally:
        if keep:
            print(f"the institutions' directories are kept in {directory}", file=sys.stderr)
        else:
            shutil.rmtree(directory, ignore_errors=True)
    if as_json:
        print_json(_as_json(result))
    else:
        _print(result, mail_server=mail_server)
    if not result.good:
        raise typer.Exit(1)


def _quiet() -> tuple[Callable[[Progress], None], Callable[[str], None]]:
    return (lambda _progress: None), (lambda _text: None)


def _shown(stack: ExitStack) -> tuple[Callable[[Progress], None], Callable[[str], None]]:
    """Return a progress bar per step on a terminal, a plain line per change elsewhere."""
    if not sys.stdout.isatty():
        return _lines()
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.progress import Progress as Bars  # noqa: PLC0415

    bars = Bars(TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tasks: dict[str, Any] = {}

    def report(progress: Progress) -> None:
        if not tasks:
            stack.enter_context(bars)
            for name, title in _STEPS:
                tasks[name] = bars.add_task(title, total=progress.total)
        for name, _ in _STEPS:
            bars.update(tasks[name], completed=getattr(progress, name))

    return report, lambda text: print(f"· {text}")


def _lines() -> tuple[Callable[[Progress], None], Callable[[str], None]]:
    shown: dict[str, int] = {}

    def report(progress: Progress) -> None:
        for name, title in _STEPS:
            tenth = getattr(progress, name) * 10 // max(1, progress.total)
            if tenth != shown.get(name, 0):
                shown[name] = tenth
                print(f"  {title}: {getattr(progress, name)}/{progress.total}", flush=True)

    return report, lambda text: print(f"- {text}", flush=True)


def _print(result: Result, *, mail_server: bool) -> None:
    rows: list[tuple[object, ...]] = [
        (
            item.number,
            item.name,
            size(item.size),
            item.c_store,
            _mark(item.at_sender),
            _mark(item.at_receiver),
            _mark(item.at_pacs),
            item.original[:12],
            "equal" if item.equal else "DIFFERENT",
            item.confirmed,
        )
        for item in result.objects
    ]
    shown = rows
    if len(rows) > _FULL_TABLE:
        bad = [row for row, item in zip(rows, result.objects, strict=True) if not item.equal]
        shown = [*rows[:10], ("…",) * 10, *rows[-5:], *bad[:40]]
    print("\nObjects (hash of the data set at each station)")
    headings = ("#", "object", "size", "C-STORE", "A", "B", "PACS", "SHA-256", "hashes", "state at sender")
    print_table(headings, shown, empty="no objects")
    if len(rows) > _FULL_TABLE:
        print(f"{len(rows)} objects in all; --json lists every one")
    print("\nTimeline (seconds after the first C-STORE)")
    print_table(
        ("stage", "first", "last", "seconds"),
        [(s.name, f"{s.begin:.2f}", f"{s.end:.2f}", f"{s.end - s.begin:.2f}") for s in result.stages],
        empty="nothing happened",
    )
    way = "Postfix and Dovecot (IMAP)" if mail_server else "direct SMTP with STARTTLS"
    share = result.wire_bytes / result.bytes if result.bytes else 0.0
    print(
        f"\n{size(result.bytes)} of DICOM in {result.mails} mails by {way}; {share:.2f} bytes sent per byte"
    )
    if result.good:
        print(
            f"The study arrived: {len(result.objects)} of {len(result.objects)} objects are at the PACS, "
            f"bit for bit, and the sender knows it ({result.seconds:.1f} s)."
        )
    else:
        missing = sum(not item.equal for item in result.objects)
        print(
            f"THE STUDY DID NOT ARRIVE: {missing} of {len(result.objects)} objects are missing or differ, "
            "or the sender does not know. Run it again with --keep and look at the logs."
        )


def _mark(yes: bool) -> str:
    return "yes" if yes else "NO"


def _as_json(result: Result) -> dict[str, object]:
    return {
        "verdict": "arrived" if result.good else "not arrived",
        "objects": [{**asdict(item), "equal": item.equal} for item in result.objects],
        "stages": [asdict(stage) for stage in result.stages],
        "bytes": result.bytes,
        "wire_bytes": result.wire_bytes,
        "mails": result.mails,
        "seconds": result.seconds,
    }
