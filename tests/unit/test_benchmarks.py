"""The runner of the benchmarks: every row works at a tiny size, BENCH_JSON is written. Nothing is timed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def bench(work: Path, *rows: str) -> tuple[dict[str, object], str]:
    target = work / "bench.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *rows, "--tiny", "--work", str(work / "work")],
        cwd=ROOT,
        env={**os.environ, "BENCH_JSON": str(target)},
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(target.read_text())
    assert isinstance(found, dict)
    return found, done.stdout


def check_entry(entry: object) -> None:
    assert isinstance(entry, dict)
    assert {"value", "floor", "goal", "holds"} <= entry.keys()
    assert isinstance(entry["holds"], bool)
    assert entry["value"] > 0


def test_a_row_that_needs_no_peer(tmp_path: Path) -> None:
    found, printed = bench(tmp_path, "G8")
    check_entry(found["G8"])
    assert "mail writing + reading" in printed


@pytest.mark.peer("postfix", "dovecot", "gnupg")
def test_rows_through_a_mail_server(tmp_path: Path) -> None:
    found, printed = bench(tmp_path, "G1", "G1w", "G2")
    for row in ("G1", "G1w", "G2"):
        check_entry(found[row])
    assert "50 Mbit/s" in printed


@pytest.mark.peer("dcmtk")
def test_a_row_of_several_figures(tmp_path: Path) -> None:
    found, _ = bench(tmp_path, "G6")
    assert isinstance(found["G6"], list)
    for entry in found["G6"]:
        check_entry(entry)


def test_an_unknown_row_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "G99", "--work", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "G99" in done.stderr
