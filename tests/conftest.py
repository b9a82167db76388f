"""What all tests share: where the reference data lies, and tests that need a program of Debian."""

import os
from pathlib import Path

import pytest

from radpost.testing.peers import missing

_SHARED = (Path(__file__).resolve().parent.parent.parent / "shared").resolve()
_NO_SHARED = "needs the reference data in ../shared (beside the project)"


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


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory of reference mails and DICOM files; the test is skipped where it is absent."""
    if not _SHARED.is_dir():
        pytest.skip(_NO_SHARED)
    return _SHARED
