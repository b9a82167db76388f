"""The rows of the whole way through a real mail server: G1, G1w, G1f, G2, G4, G5, G9 (DESIGN 10)."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmarks import data, memory
from benchmarks import store as store_part
from benchmarks.figures import Figure, figure
from benchmarks.mail_path import bare_seconds
from benchmarks.naive import naive_seconds
from benchmarks.pair import BARE, FIELD, PASSWORD, PEER, RECEIVER, SENDER, Keys, Pair, Run, mail_server

from radpost.gateway.partners import Switches
from radpost.testing.peers.pair import MailServer

LINE_BITS = 50e6
"""The line of row G1w, for which the time is computed from the bytes."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each row moves; the design's sizes, or tiny ones to see that everything works."""

    slices: int = 500
    large: int = 2000
    quarter: int = 475
    small: int = 200
    naive: int = 60
    latencies: int = 20
    rows: int = 1_000_000
    mail: int = 20_000_000
    repetitions: int = 3


TINY = Sizes(
    slices=4, large=6, quarter=3, small=3, naive=2, latencies=2, rows=1000, mail=300_000, repetitions=1
)


@dataclass
class Bench:
    """What all rows share: where to work, how much, and what was measured already in this run."""

    work: Path
    sizes: Sizes
    say: Callable[[str], None]
    keys: Keys
    start_server: Callable[[], MailServer]
    runs: dict[str, list[Run]] = field(default_factory=dict)

    @cached_property
    def server(self) -> MailServer:
        """The mail server of this run, started when a row first needs it."""
        return self.start_server()

    def study(self, slices: int) -> data.Study:
        """Return a study, made once."""
        return data.study(self.work, slices)

    def pair(
        self,
        switches: Switches = PEER,
        *,
        direct: bool = False,
        pacs_port: int = 0,
        fill: int = 0,
        server: MailServer | None = None,
    ) -> Pair:
        """Return a fresh pair; two at the same time need two mail servers."""
        chosen = None if direct else server or self.server
        return Pair(self.work / "pair", self.keys, chosen, switches, pacs_port, fill)

    def warmed(self, pair: Pair) -> None:
        """Send two slices first: connections, key rings and caches are as in daily life."""
        pair.send(data.study(self.work, 2, seed=99), timeout=60.0)

    def once(self, study: data.Study, switches: Switches = PEER, *, fill: int = 0) -> Run:
        """Send a study through a fresh pair."""
        with self.pair(switches, fill=fill) as pair:
            self.warmed(pair)
            run = pair.send(study)
        a, b = run.cpu
        self.say(
            f"   {run.megabytes:.0f} MB in {run.mails} mails: taken {run.ingest:.2f} s, at the PACS "
            f"{run.delivered:.2f} s, confirmed {run.confirmed:.2f} s; {run.speed:.1f} MB/s, "
            f"CPU A {a:.1f} s, B {b:.1f} s"
        )
        return run

    def bare(self, study: data.Study) -> float:
        """Measure the bare mail path for the bytes of a study."""
        seconds = bare_seconds(self.server, BARE, PASSWORD, study.wire_bytes())
        self.say(f"   bare mail path: {study.wire_bytes() / 1e6:.0f} MB in {seconds:.2f} s")
        return seconds

    def peer_runs(self) -> list[Run]:
        """Return the runs of G1; other rows use the same ones."""
        return self.runs.get("G1") or [self.once(self.study(self.sizes.slices))]


def through(bench: Bench, row: str, what: str, switches: Switches, floor: float, goal: float) -> Figure:
    """Measure G1 or G1f: the bare mail path's time over ours, next to each other, some times."""
    study = bench.study(bench.sizes.slices)
    bench.bare(study.part(max(1, len(study.files) // 5)))
    ratios = []
    runs = bench.runs.setdefault(row, [])
    for _ in range(bench.sizes.repetitions):
        bare = bench.bare(study)
        runs.append(bench.once(study, switches))
        ratios.append(bare / runs[-1].delivered)
    seconds = statistics.median(run.delivered for run in runs)
    speed = statistics.median(run.speed for run in runs)
    cpu = statistics.median(sum(run.cpu) for run in runs)
    remarks = [
        (
            f"{seconds:.2f} s, {speed:.1f} MB/s, {runs[-1].mails} mails with receipts; "
            f"CPU of both gateways {cpu:.1f} s"
        )
    ]
    return figure(row, what, ratios, floor, goal, remarks=remarks)


def g1(bench: Bench) -> list[Figure]:
    """Return the time of the bare mail path over ours."""
    what = "bare mail path / our time, CT study, modality to PACS"
    return [through(bench, "G1", what, PEER, 0.30, 0.50)]


def g1f(bench: Bench) -> list[Figure]:
    """Return the same in the field's dialect."""
    return [through(bench, "G1f", "the same, one object per mail, base64 inside", FIELD, 0.15, 0.30)]


def g1w(bench: Bench) -> list[Figure]:
    """Return the bytes on the wire per byte of DICOM."""
    runs = bench.peer_runs()
    shares = [run.wire / (run.megabytes * 1e6) for run in runs]
    line = runs[0].wire * 8 / LINE_BITS
    raw = runs[0].megabytes * 8e6 / LINE_BITS
    remarks = [f"over a line of 50 Mbit/s (computed): {line:.1f} s; the files as they are: {raw:.1f} s"]
    what = "bytes of all mails / bytes of DICOM"
    return [figure("G1w", what, shares, 0.85, 0.50, lower_is_better=True, remarks=remarks)]


def g2(bench: Bench) -> list[Figure]:
    """Return our speed over the naive script's, on the same mail server."""
    ours = [run.speed for run in bench.peer_runs()]
    some = bench.study(bench.sizes.slices).part(bench.sizes.naive)
    keys = (bench.keys.a, bench.keys.b)
    out = bench.work / "naive"
    seconds = naive_seconds(bench.server, SENDER, (RECEIVER, PASSWORD), keys, some, out)
    naive = some.megabytes / seconds
    bench.say(f"   naive script: {some.megabytes:.0f} MB in {seconds:.2f} s, {naive:.2f} MB/s")
    remarks = [f"{statistics.median(ours):.1f} MB/s / {naive:.2f} MB/s"]
    return [
        figure(
            "G2", "our MB/s / the naive script's", [speed / naive for speed in ours], 8, 20, remarks=remarks
        )
    ]


def g4(bench: Bench) -> list[Figure]:
    """Return the peak memory of one side, and how it grows with the study."""
    peaks = []
    for slices in (bench.sizes.quarter, bench.sizes.large):
        study = bench.study(slices)
        with bench.pair() as pair:
            bench.warmed(pair)
            with memory.Peak(pair.pids()) as peak:
                pair.send(study, timeout=1800.0)
        bench.say(
            f"   {study.megabytes:.0f} MB: peak A {peak.bytes['A'] / 1e6:.0f} MB, "
            f"B {peak.bytes['B'] / 1e6:.0f} MB"
        )
        peaks.append(peak.bytes)
    small, large = peaks
    growth = max(large[side] / small[side] for side in large)
    remark = f"A {large['A'] / 1e6:.0f} MB, B {large['B'] / 1e6:.0f} MB"
    return [
        figure(
            "G4",
            "peak memory of one side in MB (PSS, all processes)",
            [max(large.values()) / 1e6],
            250,
            150,
            lower_is_better=True,
            remarks=[remark],
        ),
        figure("G4", "the same, 1 GB study / 250 MB study", [growth], 1.10, 1.05, lower_is_better=True),
    ]


def g5(bench: Bench) -> list[Figure]:
    """Return whether the cost per MB stays the same with the study's size and with the store's."""
    sizes = bench.sizes
    small, large = bench.study(sizes.small), bench.study(sizes.large)
    growth = []
    for _ in range(sizes.repetitions):
        little = bench.once(small)
        much = bench.once(large)
        growth.append((much.delivered / much.megabytes) / (little.delivered / little.megabytes))
    filled = _with_rows(bench)
    store = store_part.measure(bench.work, sizes.rows)
    large_name, small_name = f"{sizes.large} slices", f"{sizes.small}"
    return [
        figure(
            "G5", f"seconds per MB, {large_name} / {small_name}", growth, 1.15, 1.05, lower_is_better=True
        ),
        figure(
            "G5",
            f"seconds, {sizes.rows:,} rows in both stores / empty",
            filled,
            1.15,
            1.05,
            lower_is_better=True,
            remarks=[f"one object into the store alone: {store['ratio']:.3f}"],
        ),
    ]


def _with_rows(bench: Bench) -> list[float]:
    """Send studies through a pair with empty stores and one with full ones, in turns."""
    found = []
    with (
        mail_server() as other,
        bench.pair() as empty,
        bench.pair(fill=bench.sizes.rows, server=other) as full,
    ):
        for pair in (empty, full):
            bench.warmed(pair)
        for turn in range(bench.sizes.repetitions):
            study = data.study(bench.work, bench.sizes.small, seed=20 + turn)
            without = empty.send(study)
            with_rows = full.send(study)
            bench.say(
                f"   {study.megabytes:.0f} MB: empty stores {without.delivered:.2f} s, "
                f"{bench.sizes.rows:,} rows {with_rows.delivered:.2f} s"
            )
            found.append(with_rows.delivered / without.delivered)
    return found


def g9(bench: Bench) -> list[Figure]:
    """Return how long one slice takes from the study's closing to being stored at B."""
    study = bench.study(bench.sizes.slices).part(bench.sizes.latencies)
    found = []
    for direct, floor, goal in ((True, 1.0, 0.3), (False, 2.0, 1.0)):
        name = "direct SMTP" if direct else "IMAP, polled each 50 ms"
        with bench.pair(direct=direct) as pair:
            bench.warmed(pair)
            times = sorted(pair.latencies(study))
        worst = times[max(0, -(-len(times) * 95 // 100) - 1)]
        remark = f"median {statistics.median(times):.3f} s, largest {times[-1]:.3f} s of {len(times)}"
        what = f"seconds, one slice, closed to stored at B, p95; {name}"
        found.append(Figure("G9", what, worst, floor, goal, lower_is_better=True, remarks=(remark,)))
        time.sleep(0.1)
    return found
