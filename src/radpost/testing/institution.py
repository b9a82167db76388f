"""A whole institution for tests and the demo: configuration, keys, and the real ``radpost run`` process.

It is built with the product's own parts; what a test needs to know of the inside it reads from the store.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from radpost.gateway.config import load
from radpost.gateway.partners import RADPOST_PEER, Route, Settings, Switches, encode
from radpost.gateway.site import Site, open_site, wake
from radpost.openpgp.keys import KeyKind, export_public, generate, read_certs
from radpost.store import outgoing_transmissions, partners
from radpost.testing.peers.base import free_port
from radpost.words import SignaturePolicy

START_SECONDS = 30.0
made: list[Path] = []
"""Configurations of all institutions and houses of this process, for those who look at all of them."""


@dataclass(frozen=True, slots=True)
class OwnKey:
    """An institution's OpenPGP key pair."""

    fingerprint: str
    secret: bytes
    public: bytes


def make_key(name: str, address: str, kind: KeyKind = KeyKind.CURVE25519) -> OwnKey:
    """Generate a key pair with GnuPG."""
    secret = generate(name, address, kind=kind)
    info = read_certs(secret, now=datetime.now(UTC))[0]
    return OwnKey(info.fingerprint, secret, export_public(secret))


@dataclass(slots=True)
class Institution:
    """One institution in a directory of its own; ``start`` runs the real gateway process."""

    directory: Path
    name: str
    address: str
    sections: str = ""
    """Further TOML: [submission], [[mailbox]], [[receiver]], [[destination]], [limits] ..."""
    dicom: str = "allow_any_station = true\nquiet_seconds = 0.2\n"
    dicom_port: int = field(default_factory=free_port)
    key: OwnKey | None = None
    environment: dict[str, str] = field(default_factory=dict)
    wrapper: tuple[str, ...] = ()
    """What the gateway is started by, such as ``("prlimit", "--fsize=1000000")``; it must keep the PID."""
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def config_path(self) -> Path:
        """Return the configuration file."""
        return self.directory / "radpost.toml"

    @property
    def log_path(self) -> Path:
        """Return where the process writes its log."""
        return self.directory / "radpost.log"

    def prepare(self, kind: KeyKind = KeyKind.CURVE25519) -> Self:
        """Write the configuration, make the store and the key."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config_path.write_text(
            f'[institution]\nname = "{self.name}"\naddress = "{self.address}"\n\n'
            f"[dicom]\nport = {self.dicom_port}\n{self.dicom}\n{self.sections}\n"
            + ("" if "[limits]" in self.sections else "[limits]\ndisk_reserve_bytes = 50_000_000\n"),
            encoding="utf-8",
        )
        made.append(self.config_path)
        with self.site(create=True) as site:
            if self.key is None:
                self.key = make_key(self.name, self.address, kind)
            self._keep_key(site, self.key, None)
        return self

    def add_partner(
        self,
        other: "Institution",
        ae_title: str,
        *,
        name: str = "",
        switches: Switches = RADPOST_PEER,
        policy: SignaturePolicy = SignaturePolicy.REQUIRE,
        route: Route | None = None,
        confirm: bool = True,
        dialect: str = "agit-1.5",
    ) -> None:
        """Make the other institution a partner, with its key confirmed."""
        settings = Settings(
            title=other.name,
            dialect=dialect,  # type: ignore[arg-type]  # checked when it is decoded
            policy=policy,
            switches=switches,
            route=route,
        )
        partner = name or ae_title.lower()
        with self.site() as site:
            with site.database.write() as connection:
                row = partners.PartnerRow(partner, ae_title, other.address, encode(settings), time.time())
                partners.put(connection, row)
            if other.key is not None:
                self._keep_key(site, other.key, partner, confirm=confirm)
        wake(load(self.config_path))

    @contextlib.contextmanager
    def site(self, *, create: bool = False) -> Iterator[Site]:
        """Open the store beside a running gateway."""
        site = open_site(load(self.config_path), create=create)
        try:
            yield site
        finally:
            site.close()

    def start(self) -> Self:
        """Start ``radpost run`` and wait until it listens."""
        command = [*self.wrapper, sys.executable, "-m", "radpost", "run", "--config", str(self.config_path)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **self.environment}
        with self.log_path.open("ab") as log:
            start = log.tell()
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended at once:\n{self.log()[-4000:]}")
            if b"gateway started" in self.log_path.read_bytes()[start:]:
                return self
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} does not start:\n{self.log()[-4000:]}")

    def stop(self, timeout: float = 60.0) -> int:
        """End the gateway in order; return its exit status."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.process = None
        return status

    def kill(self) -> None:
        """Kill the gateway as a power failure of the process would (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def log(self) -> str:
        """Return the log so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def transmissions(self) -> list[outgoing_transmissions.TransmissionRow]:
        """Return all transmissions, oldest first."""
        with self.site() as site, site.database.read() as connection:
            return outgoing_transmissions.transmissions(connection, limit=10_000)[::-1]

    def run(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a ``radpost`` command for this institution."""
        command = [sys.executable, "-m", "radpost", *arguments, "--config", str(self.config_path)]
        return subprocess.run(
            command,
            check=check,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self.environment},
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _keep_key(self, site: Site, key: OwnKey, partner: str | None, *, confirm: bool = True) -> None:
        now = time.time()
        row = partners.KeyRow(
            fingerprint=key.fingerprint,
            partner=partner,
            secret=partner is None,
            data=key.secret if partner is None else key.public,
            added_at=now,
            confirmed_at=now if confirm else None,
            confirmed_how="test" if confirm else None,
        )
        with site.database.write() as connection:
            partners.put_key(connection, row)


def toml_server(name: str, /, **values: Any) -> str:
    """Return a TOML table, such as ``[submission]`` or ``[[mailbox]]``."""
    lines = [name if name.startswith("[") else f"[{name}]"]
    for key, value in values.items():
        if isinstance(value, bool):
            lines.append(f"{key} = {str(value).lower()}")
        elif isinstance(value, (int, float)):
            lines.append(f"{key} = {value}")
        elif isinstance(value, (list, tuple)):
            lines.append(f"{key} = [{', '.join(repr(str(item)) for item in value)}]")
        else:
            lines.append(f'{key} = "{value}"')
    return "\n".join(lines) + "\n"


def wait_for(condition: Callable[[], object], what: str, timeout: float = 60.0, step: float = 0.05) -> None:
    """Wait until a condition holds; fail with words otherwise."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(step)


def wait_confirmed(
    institution: Institution, count: int = 1, timeout: float = 60.0
) -> Sequence[outgoing_transmissions.TransmissionRow]:
    """Wait until so many transmissions have ended; return them."""
    found: list[outgoing_transmissions.TransmissionRow] = []

    def ended() -> bool:
        found[:] = institution.transmissions()
        return len(found) >= count and all(row.ended_at is not None for row in found)

    wait_for(ended, f"{count} transmissions of {institution.name} ended", timeout)
    return found
