"""The figures of DESIGN 10: ``python -m benchmarks [G1 G4 ...]``; ``make bench`` runs them all.

BENCH_JSON=path also writes them. ``--tiny`` shows that everything works, with figures that mean nothing.
"""

import argparse
import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import data, dicom_network, exchange, figures, mail_codec, orthanc_pair
from benchmarks.exchange import TINY, Bench, Sizes
from benchmarks.figures import Figure
from benchmarks.pair import Keys, mail_server

ROWS: dict[str, Callable[[Bench], list[Figure]]] = {
    "G1": exchange.g1,
    "G1w": exchange.g1w,
    "G1f": exchange.g1f,
    "G2": exchange.g2,
    "G3": orthanc_pair.g3,
    "G4": exchange.g4,
    "G5": exchange.g5,
    "G6": dicom_network.g6,
    "G7": dicom_network.g7,
    "G8": mail_codec.g8,
    "G9": exchange.g9,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run rows and print the table; return 1 if a floor is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {' '.join(ROWS)}; all without one")
    parser.add_argument("--tiny", action="store_true", help="only show that everything works")
    parser.add_argument("--work", type=Path, help="where to work; studies made there are used again")
    parser.add_argument("--slices", type=int, help="slices of the study of G1, G1w, G1f and G2")
    parser.add_argument("--repetitions", type=int)
    args = parser.parse_args(arguments)
    unknown = [row for row in args.rows if row not in ROWS]
    if unknown:
        parser.error(f"no such row: {' '.join(unknown)}")
    sizes = TINY if args.tiny else Sizes()
    if args.slices or args.repetitions:
        sizes = Sizes(slices=args.slices or sizes.slices, repetitions=args.repetitions or sizes.repetitions)
    logging.disable(logging.WARNING)
    with contextlib.ExitStack() as stack:
        work = args.work
        if work is None:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="radpost-bench-")))
        work.mkdir(parents=True, exist_ok=True)
        measured = _measure(args.rows or list(ROWS), work, sizes)
    print()
    print(figures.table(measured))
    path = os.environ.get("BENCH_JSON")
    if path:
        figures.write(Path(path), measured)
    return 0 if args.tiny or all(item.holds for item in measured) else 1


def _measure(rows: Sequence[str], work: Path, sizes: Sizes) -> list[Figure]:
    measured: list[Figure] = []
    begin = time.monotonic()
    kind = "real CT slices, multiplied" if data.is_real() else "phantom CT slices"

    def say(text: str) -> None:
        print(text, flush=True)

    print(f"data: {kind}; {os.cpu_count()} cores")
    with contextlib.ExitStack() as stack:
        # only the rows that need it start a mail server, and make keys for it
        bench = Bench(work, sizes, say, Keys.make(), lambda: stack.enter_context(mail_server()))
        for row in rows:
            say(f"{row} ({time.monotonic() - begin:.0f} s)")
            measured.extend(ROWS[row](bench))
    return measured


if __name__ == "__main__":
    sys.exit(main())
