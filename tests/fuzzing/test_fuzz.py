"""The fuzz targets: what was ever found stays mended, and a short search finds nothing new."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from fuzz import runner
from fuzz.target import ExcessError, bounded

ROOT = Path(__file__).resolve().parents[2]
EXECUTIONS = {
    "mime": 2_500,
    "sets": 25_000,
    "partial": 2_000,
    "mdn": 3_000,
    "dsn": 3_000,
    "inner": 1_500,
    "dicom": 5_000,
    "cms": 6_000,
}
"""Inputs of the short run: some seconds each."""


def blind(data: bytes, limit: int) -> bytes:
    """Do what libFuzzer does where there is none: change a byte or drop one."""
    random = Random(data)
    if not data:
        return bytes([random.randrange(256)])[:limit]
    at = random.randrange(len(data))
    return (data[:at] + bytes([random.randrange(256)])[: random.randint(0, 1)] + data[at + 1 :])[:limit]


def need_atheris() -> None:
    """Skip where there is no build of it; in CI it is mandatory."""
    if importlib.util.find_spec("atheris") is None:
        assert os.environ.get("RADPOST_REQUIRE_PEERS") != "1", "atheris is missing"
        pytest.skip("optional: atheris has no build for this machine (fuzzing steered by coverage)")


@pytest.mark.parametrize("name", runner.NAMES)
def test_the_kept_inputs_hold(name: str) -> None:
    target = runner.load(name)
    inputs = [*runner.kept(name), *target.seeds()]
    assert inputs
    for data in inputs:
        target.check(data[: target.max_len])


@pytest.mark.parametrize("name", runner.NAMES)
def test_mutations_keep_the_limit_and_depend_on_their_seed_only(name: str) -> None:
    target = runner.load(name)
    first = next(iter(target.seeds()))[: target.max_len]
    for seed in range(60):
        once = target.mutate(first, target.max_len, Random(seed), blind)
        assert len(once) <= target.max_len
        assert target.mutate(first, target.max_len, Random(seed), blind) == once


@pytest.mark.parametrize("name", runner.NAMES)
def test_a_short_search_finds_nothing(name: str, tmp_path: Path) -> None:
    need_atheris()
    count = EXECUTIONS[name]
    argv = [sys.executable, "-m", "fuzz", name, "--runs", str(count), "--seed", "1", "--committed-only"]
    done = subprocess.run(
        [*argv, "--findings", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing found" in done.stdout
    executed = int(done.stdout.split("; ")[1].split()[0])
    assert executed >= count


def test_a_finding_is_reported_and_can_be_replayed(tmp_path: Path) -> None:
    """The search itself works: a mutant that fails on one word of the mail is found."""
    need_atheris()
    program = (
        "from fuzz import runner\nimport fuzz.targets.sets as sets\nfrom dataclasses import replace\n"
        "def check(data):\n    assert b'SETPART: 0001' not in data\n"
        "found = replace(sets.TARGET, check=check)\nrunner.load = lambda name: found\n"
        f"runner.fuzz('sets', ['-runs=20000', '-seed=1', '-artifact_prefix={tmp_path}/'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=170
    )
    assert done.returncode != 0
    assert "AssertionError" in done.stdout + done.stderr
    (found,) = tmp_path.iterdir()
    assert b"SETPART: 0001" in found.read_bytes()


def test_an_input_that_costs_too_much_is_a_finding() -> None:
    target = replace(runner.load("sets"), seconds=0.0)
    with pytest.raises(ExcessError, match="for 6 bytes"):
        bounded(target)(b"a: b\r\n")


def test_an_unknown_target_is_named(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "fuzz", "nothing", "--replay", str(tmp_path / "x")]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "there is no target nothing" in done.stderr
