"""Keys and engines that the tests of the room for mail files share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from radpost.testing.letters import Correspondents, correspondents
from radpost.testing.parcels import Parties, make_parties


@pytest.fixture(scope="session")
def mails_home() -> Iterator[Path]:
    """A directory with a short path: sockets need it."""
    with tempfile.TemporaryDirectory(prefix="rm", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def world(mails_home: Path) -> Iterator[Correspondents]:
    """All keys and engines; tests that use it are marked ``peer("gnupg")``."""
    with correspondents(mails_home) as found:
        yield found


@pytest.fixture(scope="session")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Parties:
    """Key files of a sender and a recipient."""
    return make_parties(tmp_path_factory.mktemp("keys"))
