"""Runs a target under libFuzzer (atheris), which ends the process when it is done or has found something."""

import importlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Final

from fuzz.target import Target, bounded

NAMES: Final = ("mime", "sets", "partial", "mdn", "dsn", "inner", "dicom", "cms")
ROOMS: Final = ("radpost.mime", "radpost.agit", "radpost.dicom", "radpost.smime")
CORPUS: Final = Path(__file__).resolve().parent.parent / "tests/fuzzing/corpus"
_STAT: Final = re.compile(r"stat::(\w+):\s+(\d+)")
_LAST: Final = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)/(\S+)")


@dataclass(frozen=True)
class Result:
    """What a run did."""

    status: int
    executions: int
    branches: int
    features: int
    corpus: int
    log: str

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return self.status == 0


def load(name: str) -> Target:
    """Import a target; the rooms it reads with must not have been imported before, if they are to steer."""
    if name not in NAMES:
        raise SystemExit(f"there is no target {name}; there are: {', '.join(NAMES)}")
    target = importlib.import_module(f"fuzz.targets.{name}").TARGET
    assert isinstance(target, Target)
    return target


def kept(name: str) -> list[bytes]:
    """Return the corpus of the repository."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


def fuzz(name: str, options: Sequence[str], *, repository_only: bool = False) -> None:
    """Run libFuzzer in this process; never returns."""
    import atheris  # noqa: PLC0415  the other commands work where there is none

    with atheris.instrument_imports(include=list(ROOMS)):
        target = load(name)

    def blind(data: bytes, limit: int) -> bytes:
        return bytes(atheris.Mutate(data, limit))

    def mutate(data: bytes, limit: int, seed: int) -> bytes:
        return target.mutate(bytes(data), limit, Random(seed), blind)

    begin = kept(name) + ([] if repository_only else [bytes(seed) for seed in target.seeds()])
    with tempfile.TemporaryDirectory(prefix="radpost-seeds-") as seeds:
        write_corpus(Path(seeds), (seed[: target.max_len] for seed in begin))
        arguments = [
            f"{sys.executable} -m fuzz {name} --here",
            f"-max_len={target.max_len}",
            "-timeout=60",
            "-rss_limit_mb=700",
            "-print_final_stats=1",
            *options,
            seeds,
        ]
        atheris.Setup(arguments, bounded(target), custom_mutator=mutate)
        atheris.Fuzz()


def write_corpus(folder: Path, inputs: Iterable[bytes]) -> None:
    """Write inputs under the hash of their content."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (folder / sha256(data).hexdigest()[:16]).write_bytes(data)


def keep(name: str, found: Path, most: int) -> tuple[int, int]:
    """Make the repository's corpus anew: the smallest inputs that reach all that those in a folder reach.

    Returns how many there are, and their bytes; beyond ``most`` bytes the largest are left out.
    """
    folder = CORPUS / name
    with tempfile.TemporaryDirectory(prefix="radpost-merge-") as merged:
        inputs = Path(merged) / "in"
        write_corpus(inputs, [*kept(name), *(path.read_bytes() for path in found.glob("*"))])
        out = Path(merged) / "out"
        out.mkdir()
        result = run(name, ["-merge=1", str(out), str(inputs), "--committed-only"], quiet=True)
        if not result.clean:
            raise SystemExit(result.log[-3000:])
        chosen = sorted((path.read_bytes() for path in out.glob("*")), key=len)
    for path in folder.glob("*"):
        path.unlink()
    sizes = list(accumulate(map(len, chosen)))
    chosen = [data for data, size in zip(chosen, sizes, strict=True) if size <= most]
    write_corpus(folder, chosen)
    return len(chosen), sum(map(len, chosen))


def run(name: str, options: Sequence[str], *, quiet: bool) -> Result:
    """Run a target in a process of its own, which is told the options of libFuzzer."""
    argv = [sys.executable, "-m", "fuzz", name, "--here", *options]
    lines: list[str] = []
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            lines.append(line)
            del lines[:-400]
            if not quiet:
                sys.stdout.write(line)
                sys.stdout.flush()
    return summary(child.returncode, "".join(lines))


def summary(status: int, log: str) -> Result:
    """Read libFuzzer's closing words."""
    stats = {match[1]: int(match[2]) for match in _STAT.finditer(log)}
    last = ["0", "0", "0"]
    for match in _LAST.finditer(log):
        last = [match[1], match[2], match[3]]
    return Result(
        status, stats.get("number_of_executed_units", 0), int(last[0]), int(last[1]), int(last[2]), log
    )
