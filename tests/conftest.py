"""What all tests share: the reference data, programs of Debian, and that nothing of the inside gets out."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from radpost.testing import institution
from radpost.testing.outside import Outside
from radpost.testing.peers import missing

_SHARED = (Path(__file__).resolve().parent.parent.parent / "shared").resolve()
_NO_SHARED = "needs the reference data in ../shared (beside the project)"
_OUTSIDE = Outside(institution.made)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests whose peers are not installed; with RADPOST_REQUIRE_PEERS=1 (CI) they fail instead."""
    names = {str(name) for marker in item.iter_markers("peer") for name in marker.args}
    if names and (lacks := missing(*sorted(names))):
        message = "; ".join(lacks)
        if os.environ.get("RADPOST_REQUIRE_PEERS") == "1":
            pytest.fail(f"RADPOST_REQUIRE_PEERS=1, and a peer is missing: {message}", pytrace=False)
        pytest.skip(message)
    if item.get_closest_marker("shared") and not _SHARED.is_dir():
        pytest.skip(_NO_SHARED)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Look through all that was sent in clear while the test ran, whatever the test was about."""
    yield
    leaks = _OUTSIDE.leaks()
    if leaks:
        pytest.fail("sent in clear (invariant 10):\n" + "\n".join(map(str, leaks[:20])), pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much the leak test has read."""
    if _OUTSIDE.messages:
        terminalreporter.write_line(_OUTSIDE.summary())


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory of reference mails and DICOM files; the test is skipped where it is absent."""
    if not _SHARED.is_dir():
        pytest.skip(_NO_SHARED)
    return _SHARED
