"""What all tasks of a running gateway share: configuration, store, keys, clock, bells and log."""

import contextlib
import os
import secrets
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from radpost.errors import NOT_FOUND, STORE_UNUSABLE, RadpostError
from radpost.gateway.config import Config
from radpost.gateway.keys import Keys
from radpost.gateway.partners import Partner, decode
from radpost.store import partners as partner_statements
from radpost.store.database import Database
from radpost.store.spool import Spool

if TYPE_CHECKING:
    from radpost.transport.oauth import TokenSource

PARTNER_CACHE_SECONDS: Final = 1.0


class Bell:
    """Wakes one of the tasks that wait for work; a ring before the wait is not lost.

    Waking a thread costs more than most of what it then does. So one ring wakes one task only: whoever finds
    more work than it takes rings again. A task looks for work after it has heard a ring, never before, so
    one ring stands for all that come until then.
    """

    __slots__ = ("_condition", "_rung", "passed_to")

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._rung = False
        self.passed_to: tuple[Bell, ...] = ()

    def pass_to(self, bells: "Sequence[Bell]") -> None:
        """Ring these, each for tasks of its own; nobody waits for the bell itself then."""
        self.passed_to = tuple(bells)

    def ring(self) -> None:
        """Say that there may be work."""
        for bell in self.passed_to:
            bell.ring()
        if self._rung or self.passed_to:
            return  # read without the lock: whoever hears that ring has yet to look
        with self._condition:
            self._rung = True
            self._condition.notify()

    def wake_all(self) -> None:
        """Wake all tasks that wait."""
        for bell in self.passed_to:
            bell.wake_all()
        with self._condition:
            self._rung = True
            self._condition.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, at most ``seconds``; return whether it rang."""
        with self._condition:
            if not self._rung:
                self._condition.wait(max(0.0, seconds))
            rung, self._rung = self._rung, False
        return rung


@dataclass(frozen=True, slots=True)
class Bells:
    """One bell per kind of work."""

    collect: Bell = field(default_factory=Bell)
    seal: Bell = field(default_factory=Bell)
    submit: Bell = field(default_factory=Bell)
    open: Bell = field(default_factory=Bell)
    deliver: Bell = field(default_factory=Bell)
    receipts: Bell = field(default_factory=Bell)
    timers: Bell = field(default_factory=Bell)
    mailbox: Bell = field(default_factory=Bell)
    retrieve: Bell = field(default_factory=Bell)

    def all(self) -> tuple[Bell, ...]:
        """Return every bell."""
        return (
            self.collect,
            self.seal,
            self.submit,
            self.open,
            self.deliver,
            self.receipts,
            self.timers,
            self.mailbox,
            self.retrieve,
        )


class PartnerBook:
    """The partners, read from the store and kept for a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._partners: tuple[Partner, ...] = ()
        self._read_at = -PARTNER_CACHE_SECONDS * 2

    def all(self) -> tuple[Partner, ...]:
        """Return all partners by name."""
        with self._lock:
            if time.monotonic() - self._read_at > PARTNER_CACHE_SECONDS:
                with self._database.read() as connection:
                    rows = partner_statements.all_partners(connection)
                self._partners = tuple(decode(r.name, r.ae_title, r.address, r.settings) for r in rows)
                self._read_at = time.monotonic()
            return self._partners

    def forget(self) -> None:
        """Read anew at the next question."""
        with self._lock:
            self._read_at = -PARTNER_CACHE_SECONDS * 2

    def by_name(self, name: str) -> Partner:
        """Return a partner by name, AE title or address.

        Raises:
            RadpostError: NOT_FOUND.
        """
        known = self.all()
        # the name first, of all partners: one may have the AE title that is another one's name
        for same in (
            lambda one: one.name == name,
            lambda one: one.ae_title == name,
            lambda one: one.address == name.lower(),
        ):
            found = next(filter(same, known), None)
            if found is not None:
                return found
        raise RadpostError(NOT_FOUND, f"partner '{name}'; see 'radpost partner list'")

    def named(self, name: str) -> Partner | None:
        """Return the partner of this name and no other, as rows of the store name it; None if it is gone."""
        return next((partner for partner in self.all() if partner.name == name), None)

    def by_ae_title(self, ae_title: str) -> Partner | None:
        """Return the partner behind a called AE title."""
        return next((partner for partner in self.all() if partner.ae_title == ae_title), None)

    def by_address(self, address: str) -> Partner | None:
        """Return the partner behind a mail address; the domain is compared without case (RFC 5321 2.4)."""
        wanted = address.lower()
        return next((partner for partner in self.all() if partner.address == wanted), None)


@dataclass(frozen=True, slots=True)
class Site:
    """One institution's gateway, opened."""

    config: Config
    database: Database
    spool: Spool
    partners: PartnerBook
    keys: Keys
    bells: Bells
    clock: Callable[[], float]
    random: Callable[[], float]
    log: structlog.stdlib.BoundLogger
    tokens: "dict[str, TokenSource]" = field(default_factory=dict)
    """Sources of access tokens, one per account and process."""

    @property
    def address(self) -> str:
        """Return our mail address."""
        return self.config.institution.address

    @property
    def domain(self) -> str:
        """Return the domain of our address: the only name of ours that leaves."""
        return self.address.rpartition("@")[2]

    def wake_path(self) -> Path:
        """Return where other processes of this host wake the gateway."""
        return self.config.data_path / "wake"

    def close(self) -> None:
        """Close what is open."""
        self.keys.close()
        self.spool.close()
        self.database.close()


def open_site(config: Config, *, create: bool = False) -> Site:
    """Open the data directory; all of it is private to its owner.

    Raises:
        RadpostError: STORE_UNUSABLE if it does not exist or cannot be used.
    """
    root = config.data_path
    if not root.is_dir() and not create:
        raise RadpostError(STORE_UNUSABLE, f"{root} does not exist; make it with 'radpost init'")
    try:
        root.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
        root.chmod(stat.S_IRWXU)
    except OSError as error:
        raise RadpostError(STORE_UNUSABLE, f"{root}: {error.strerror}") from error
    database = Database(root / "radpost.db").ready()
    spool = Spool(root / "spool", reserve_bytes=config.limits.disk_reserve_bytes)
    spool.prepare()
    return Site(
        config=config,
        database=database,
        spool=spool,
        partners=PartnerBook(database),
        keys=Keys(database, root),
        bells=Bells(),
        clock=time.time,
        random=secrets.SystemRandom().random,
        log=structlog.stdlib.get_logger("radpost"),
    )


def wake(config: Config) -> bool:
    """Wake the running gateway of this data directory; return False if none listens."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        with _short_path(config.data_path / "wake") as path:
            sender.sendto(b"wake", path)
        return True
    return False


def listen_for_wakes(site: Site, stopping: threading.Event, bells: Sequence[Bell]) -> None:
    """Ring all bells whenever another process changed the store."""
    path = site.wake_path()
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        with _short_path(path) as short:
            receiver.bind(short)
        receiver.settimeout(0.5)
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                receiver.recv(64)
                site.partners.forget()
                site.keys.forget()
                for bell in bells:
                    bell.ring()
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def _short_path(path: Path) -> Iterator[str]:
    """Yield a name of the socket within the 108 bytes that the system allows."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
