"""The runner of the benchmarks: every row works at a tiny size, BENCH_JSON is written. Nothing is timed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import wire

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


@pytest.mark.peer("gnupg")
def test_the_floors_of_bytes_on_the_wire_hold(tmp_path: Path) -> None:
    """A count of bytes, the same on any machine."""
    found = wire.measure(tmp_path, slices=3)
    assert [one.kind for one in found] == ["native", "JPEG"] * len(wire.WAYS)
    assert [f"{one.way.name}, {one.kind}: {one.ratio:.3f}" for one in found if not one.holds] == []
    by_name = {(one.way.name, one.kind): one.ratio for one in found}
    field, never = by_name["agit-1.5, the field's", "JPEG"], by_name["agit-1.5, without compression", "JPEG"]
    assert field < 0.8 * never, "compression takes back what base64 inside costs"


def test_the_page_of_speed_has_the_table_of_the_program() -> None:
    page = (ROOT / "docs/explanation/speed.md").read_text("utf-8")
    table = re.search(r"<!-- wire -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert table is not None
    rows = [
        line.split(" | ")[0].removeprefix("| ") for line in table[1].splitlines() if line.startswith("| ")
    ]
    assert rows[2:] == [way.name for way in wire.WAYS]
