"""Twenty megabytes built to be dear: every reader ends soon, in little memory (DESIGN invariant 8).

Each mail is read in a process of its own: the system ends it when it takes too much of the processor, and
tells how much memory it took.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fuzz.hostile import HOSTILE, read

from radpost.errors import RESOURCE_LIMIT

ROOT = Path(__file__).resolve().parents[2]
KIB = 64 << 10
REFUSED = {
    "fields without end",
    "a line without end",
    "a folded line without end",
    "short fields in many parts",
    "parts without end",
    "deep nesting",
    "lines like delimiters",
    "dashes",
    "armor in text",
}


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, Any]]:
    """What each mail took."""
    argv = [sys.executable, "-m", "fuzz.hostile"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", HOSTILE)
def test_inv8_a_hostile_mail_costs_little(name: str, measured: dict[str, dict[str, Any]]) -> None:
    found = measured[name]
    assert "ended" not in found, f"ended by the limit on its processor time, or failed: {found}"
    assert found["kib"] < KIB, found
    if name in REFUSED:
        assert found["result"] == RESOURCE_LIMIT.name


def test_inv8_the_measure_sees_memory() -> None:
    program = (
        "from fuzz import hostile\nbefore = hostile._fresh_peak()\nkept = bytearray(100 << 20)\n"
        "assert hostile._status_kib('VmHWM') - before > 90 << 10\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_an_honest_mail_is_read_by_the_same_way() -> None:
    assert read(b"Content-Type: application/dicom\r\n\r\n" + bytes(128) + b"DICM") == "clear"
