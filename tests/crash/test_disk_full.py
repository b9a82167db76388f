"""A full disk at the sender and at the receiver, on a real file system of 60 MB."""

import subprocess
import sys
from pathlib import Path

import pytest

PLAY = Path(__file__).with_name("disk_full.py")

pytestmark = [pytest.mark.peer("gnupg"), pytest.mark.timeout(170)]


def may_mount() -> bool:
    command = ["unshare", "--map-root-user", "--mount", "true"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.parametrize(
    ("side", "reserve"), [("sender", 8_000_000), ("sender", 0), ("receiver", 0), ("opening", 8_000_000)]
)
def test_full_disk_refuses_for_now_and_loses_nothing(tmp_path: Path, side: str, reserve: int) -> None:
    """Invariant 1: C-STORE answers A700, SMTP 452; what was said yes to is there, the rest comes later."""
    if not may_mount():
        pytest.skip("namespaces are not allowed here; a small file system cannot be mounted")
    done = subprocess.run(
        [
            "unshare",
            "--map-root-user",
            "--mount",
            sys.executable,
            str(PLAY),
            side,
            str(tmp_path),
            str(reserve),
        ],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-8000:]
