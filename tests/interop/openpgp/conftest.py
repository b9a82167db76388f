"""Keys, keyrings and peers of the OpenPGP interop tests: made once, by GnuPG."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from radpost.openpgp import (
    CompositeEngine,
    GnuPGEngine,
    KeyKind,
    Keyring,
    export_public,
    generate,
    read_certs,
)
from radpost.testing.peers.gnupg import GnuPG


@dataclass(frozen=True)
class Party:
    """One key of the tests."""

    secret: bytes
    fingerprint: str

    @property
    def public(self) -> bytes:
        return export_public(self.secret)


@dataclass(frozen=True)
class World:
    """We hold ``rsa`` and ``ecc``; ``partner`` is somebody else whose certificate we have."""

    rsa: Party
    ecc: Party
    partner: Party
    stranger: Party
    keyring: Keyring
    native: CompositeEngine
    gnupg: GnuPGEngine
    peer: GnuPG
    """A GnuPG that holds all keys and plays every other program."""

    def own(self, kind: str) -> str:
        return {"rsa": self.rsa, "ecc": self.ecc}[kind].fingerprint


def party(kind: KeyKind, name: str) -> Party:
    secret = generate(name, f"{name}@klinik.example", kind=kind)
    return Party(secret, read_certs(secret, now=datetime.now(UTC))[0].fingerprint)


@pytest.fixture(scope="session")
def short_home() -> Iterator[Path]:
    """A directory with a short path: sockets need it."""
    with tempfile.TemporaryDirectory(prefix="rk", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def world(short_home: Path) -> Iterator[World]:
    """All keys and engines; tests that use it are marked ``peer("gnupg")``."""
    rsa, ecc = party(KeyKind.RSA3072, "rsa"), party(KeyKind.CURVE25519, "ecc")
    partner, stranger = party(KeyKind.CURVE25519, "partner"), party(KeyKind.CURVE25519, "stranger")
    secrets = [one.secret for one in (rsa, ecc, partner, stranger)]
    with (
        Keyring(short_home / "k", [rsa.secret, ecc.secret], [partner.public]) as keyring,
        GnuPG(secrets) as peer,
    ):
        yield World(
            rsa, ecc, partner, stranger, keyring, CompositeEngine(keyring), GnuPGEngine(keyring), peer
        )
