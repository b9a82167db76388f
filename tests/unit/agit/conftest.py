"""Keys, keyrings and engines that the tests of the @GIT room share."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from radpost.openpgp import CompositeEngine, KeyKind, Keyring, export_public, generate, read_certs
from radpost.openpgp.values import Engine
from radpost.testing.peers.gnupg import GnuPG


@dataclass(frozen=True)
class World:
    """We are ``clinic``; ``partner`` is one we know, ``other`` another one, ``stranger`` nobody knows."""

    clinic: str
    partner: str
    other: str
    stranger: str
    engine: Engine
    """Ours: it opens what is for the clinic."""
    theirs: Engine
    """Holds all secret keys: it writes as anybody and to anybody."""
    peer: GnuPG
    """Plain GnuPG with all secret keys."""


@pytest.fixture(scope="session")
def agit_home() -> Iterator[Path]:
    """A directory with a short path: sockets need it."""
    with tempfile.TemporaryDirectory(prefix="ra", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def world(agit_home: Path) -> Iterator[World]:
    """All keys and engines; tests that use it are marked ``peer("gnupg")``."""
    names = ("clinic", "partner", "other", "stranger")
    secrets = {name: generate(name, f"{name}@{name}.example", kind=KeyKind.CURVE25519) for name in names}
    prints = {
        name: read_certs(secret, now=datetime.now(UTC))[0].fingerprint for name, secret in secrets.items()
    }
    known = [export_public(secrets[name]) for name in ("partner", "other")]
    with (
        Keyring(agit_home / "o", [secrets["clinic"]], known) as ours,
        Keyring(agit_home / "t", list(secrets.values()), []) as theirs,
        GnuPG(list(secrets.values())) as peer,
    ):
        yield World(**prints, engine=CompositeEngine(ours), theirs=CompositeEngine(theirs), peer=peer)


@pytest.fixture(scope="session")
def receiver(shared: Path, agit_home: Path) -> Iterator[Engine]:
    """The engine of the receiver of the reference mails."""
    keys = shared / "mails" / "keys" / "openpgp"
    own = [(keys / "receiver-secret.asc").read_bytes()]
    others = [(keys / "senders-trusted-public.asc").read_bytes()]
    with Keyring(agit_home / "r", own, others) as ring:
        yield CompositeEngine(ring)
