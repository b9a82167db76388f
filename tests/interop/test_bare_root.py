"""The set-up as a new user meets it: bare Debian, fresh clone, empty home, ordinary user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
HELPER = os.environ.get("RADPOST_ROOT_HELPER")


def command() -> list[str]:
    if os.geteuid() == 0:
        return [sys.executable, str(TOOLS / "bare_root.py"), "--demo", "--test"]
    if HELPER is None:
        if os.environ.get("RADPOST_REQUIRE_PEERS") == "1":
            pytest.fail(
                "RADPOST_REQUIRE_PEERS=1, and nobody here may make a bare root: run make test as root"
            )
        pytest.skip("debootstrap needs root: run make test as root")
    return [sys.executable, str(TOOLS / "root_helper.py"), "connect", HELPER, "bare-root --demo --test"]


@pytest.mark.peer("debootstrap")
@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_a_new_user_sets_radpost_up_and_sees_the_demo() -> None:
    done = subprocess.run(
        command(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    said = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout[-6000:]
    assert any(line.startswith("proven in") for line in said), done.stdout[-6000:]
    for step in (
        "without GnuPG it says what to install",
        "and has downloaded nothing",
        "make demo",
        "make test",
        "the whole suite ran",
    ):
        assert any(line.startswith(f"ok   {step}") for line in said), step
