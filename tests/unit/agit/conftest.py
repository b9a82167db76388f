"""Keys, keyrings and engines that the tests of the @GIT room share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from radpost.openpgp import CompositeEngine, Keyring
from radpost.openpgp.values import Engine
from radpost.testing.letters import Correspondents, correspondents


@pytest.fixture(scope="session")
def agit_home() -> Iterator[Path]:
    """A directory with a short path: sockets need it."""
    with tempfile.TemporaryDirectory(prefix="ra", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def world(agit_home: Path) -> Iterator[Correspondents]:
    """All keys and engines; tests that use it are marked ``peer("gnupg")``."""
    with correspondents(agit_home) as found:
        yield found


@pytest.fixture(scope="session")
def receiver(shared: Path, agit_home: Path) -> Iterator[Engine]:
    """The engine of the receiver of the reference mails."""
    keys = shared / "mails" / "keys" / "openpgp"
    own = [(keys / "receiver-secret.asc").read_bytes()]
    others = [(keys / "senders-trusted-public.asc").read_bytes()]
    with Keyring(agit_home / "r", own, others) as ring:
        yield CompositeEngine(ring)
