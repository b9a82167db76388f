"""``radpost send``: files, folders and DICOMDIRs to a partner, or a study out of our own PACS."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from radpost.agit.gathering import is_uid
from radpost.cli.common import DEFAULT_CONFIG, ConfigOption, opened, print_json, size, tell
from radpost.cli.filing import LEFT_SHOWN, bar, say_left
from radpost.errors import TABLE
from radpost.gateway import sending
from radpost.gateway.partners import Partner
from radpost.gateway.sending import Progress
from radpost.gateway.site import Site, wake
from radpost.store import retrievals
from radpost.transfer.transmission import State
from radpost.words import Priority

_FEW = 10


class _Priority(StrEnum):
    EMERGENCY = "emergency"
    URGENT = "urgent"
    ROUTINE = "routine"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What is said at the end, in words or JSON."""

    partner: str
    source: str
    objects: int = 0
    bytes: int = 0
    studies: tuple[str, ...] = ()
    left: tuple[tuple[str, str], ...] = ()
    gateway_runs: bool = True
    retrieval: int | None = None


def send(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files, folders, DICOMDIRs; none with --study alone.")
    ] = None,
    to: Annotated[str, typer.Option("--to", help="The partner: name, AE title or address.")] = ...,  # type: ignore[assignment]
    study: Annotated[
        str,
        typer.Option(
            "--study",
            "--study-uid",
            metavar="UID",
            help="Without paths: fetch this study from our PACS. With paths: the study of the documents.",
        ),
    ] = "",
    priority: Annotated[_Priority, typer.Option("--priority", help="What goes first.")] = _Priority.ROUTINE,
    wait: Annotated[
        float | None,
        typer.Option("--wait", metavar="SECONDS", min=0, help="Follow until the partner confirms."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Send studies and documents to a partner.

    Exactly the bytes on disk are sent. With --wait the exit status says whether the partner confirmed.
    """
    if not paths and not study:
        raise typer.BadParameter("give files or folders, or --study UID", param_hint="PATHS")
    if study and not is_uid(study):
        raise typer.BadParameter(f"'{study}' is no DICOM UID", param_hint="--study")
    with opened(config) as site:
        partner = site.partners.by_name(to)
        urgency = Priority[priority.name]
        if paths:
            outcome = _files(site, partner, paths, study, urgency, quiet=as_json)
        else:
            number = sending.order(site, partner, study, urgency)
            runs = wake(site.config)
            outcome = _Outcome(
                partner.name,
                sending.retrieval_source(number),
                studies=(study,),
                gateway_runs=runs,
                retrieval=number,
            )
        if not as_json:
            _say(outcome)
        progress = None
        if wait is not None:
            told = (lambda _progress: None) if as_json else _followed()
            progress = sending.follow(site, outcome.source, wait, changed=told, retrieval=outcome.retrieval)
        refused = _judge(site, outcome, progress, as_json=as_json)
    if refused:
        raise typer.Exit(1)


def _files(
    site: Site, partner: Partner, paths: list[Path], study: str, priority: Priority, *, quiet: bool
) -> _Outcome:
    with bar("reading", None, quiet=quiet) as step:
        job = sending.look(paths, partner, priority=priority, study_uid=study, seen=lambda _path: step())
    if not quiet:
        say_left(job.gathered, study_option="--study")
    with bar("taking", len(job.gathered.pieces), quiet=quiet) as step:
        runs = sending.take(site, job, taken=lambda _piece: step())
    return _Outcome(
        partner.name,
        job.origin.source,
        objects=len(job.gathered.pieces),
        bytes=job.gathered.bytes,
        studies=job.gathered.studies,
        left=tuple((str(one.path), one.why) for one in job.gathered.left),
        gateway_runs=runs,
    )


def _say(outcome: _Outcome) -> None:
    if outcome.retrieval is not None:
        print(f"ordered: study {outcome.studies[0]} from our PACS for {outcome.partner}")
    else:
        studies = f"{len(outcome.studies)} {'study' if len(outcome.studies) == 1 else 'studies'}"
        print(f"taken: {outcome.objects} objects, {size(outcome.bytes)}, {studies}, for {outcome.partner}")
        for uid in outcome.studies[:LEFT_SHOWN]:
            print(f"  study {uid}")
    if not outcome.gateway_runs:
        print("No gateway runs here: it is sent when you start 'radpost run'.", file=sys.stderr)


def _judge(site: Site, outcome: _Outcome, progress: Progress | None, *, as_json: bool) -> bool:
    """Say how it stands; True if the exit status is to be 1."""
    trouble = any(why in {"missing", "unreadable", "not-a-file"} for _, why in outcome.left)
    failed = None
    if outcome.retrieval is not None:
        with site.database.read() as connection:
            row = retrievals.get(connection, outcome.retrieval)
        if row is not None and row.state == "failed" and row.code is not None:
            failed = TABLE[row.code].sentence(site.config.institution.language)
    if as_json:
        transmissions = (
            progress.transmissions if progress else sending.progress(site, outcome.source).transmissions
        )
        print_json(
            {
                "partner": outcome.partner,
                "source": outcome.source,
                "objects": outcome.objects,
                "bytes": outcome.bytes,
                "studies": outcome.studies,
                "left": [{"path": path, "why": why} for path, why in outcome.left],
                "gateway_runs": outcome.gateway_runs,
                "retrieval": outcome.retrieval,
                "failed": failed,
                "ended": progress.ended if progress else None,
                "confirmed": progress.good if progress else None,
                "transmissions": [{"id": row.id, "state": row.state} for row in transmissions],
            }
        )
    elif failed:
        tell(f"radpost: the study was not fetched: {failed}", file=sys.stderr)
    elif progress is not None and not progress.good:
        open_ = [row for row in progress.transmissions if State(row.state) not in sending.GOOD]
        states = ", ".join(f"{row.id} {row.state}" for row in open_[:_FEW]) or "not planned yet"
        why = "ended without confirmation" if progress.ended else "not confirmed in time; it goes on"
        print(f"radpost: {why}: {states}; see 'radpost show'", file=sys.stderr)
    elif trouble and progress is not None:
        print("confirmed, but not all that was asked for was there to be sent (see above)", file=sys.stderr)
    return trouble or failed is not None or (progress is not None and not progress.good)


def _followed() -> Callable[[Progress], None]:
    """Return what prints each change of state; of many transmissions only how many stand in each."""
    known: dict[str, str] = {}
    said = ""

    def changed(progress: Progress) -> None:
        nonlocal said
        if len(progress.transmissions) > _FEW:
            states = Counter(row.state for row in progress.transmissions)
            line = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            if line != said:
                said = line
                print(f"{len(progress.transmissions)} transmissions: {line}", flush=True)
            return
        for row in progress.transmissions:
            if known.get(row.id) != row.state:
                known[row.id] = row.state
                print(f"{row.id}: {row.state}", flush=True)

    return changed
