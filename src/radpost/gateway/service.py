"""The running gateway: starts the tasks, keeps them alive, and ends them in order."""

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from radpost.dicom.scp import ServerConfig, StorageServer
from radpost.errors import STORE_UNUSABLE, RadpostError
from radpost.gateway import handover
from radpost.gateway.config import Config
from radpost.gateway.delivering import Deliverer, server_tls
from radpost.gateway.fetching import Fetcher, fetcher_for
from radpost.gateway.ingest import Collector, StoreHandler, Wanted
from radpost.gateway.outbox import Outbox
from radpost.gateway.planning import Planner
from radpost.gateway.processing import Processor
from radpost.gateway.receipting import Receipts
from radpost.gateway.receiving import server_for
from radpost.gateway.retrieving import Retriever
from radpost.gateway.sealing import Sealer
from radpost.gateway.settling import Settler
from radpost.gateway.site import Bell, Site, listen_for_wakes, open_site
from radpost.gateway.submitting import Submitter
from radpost.gateway.timing import Timekeeper
from radpost.gateway.workers import Claims, step_of
from radpost.store import outgoing_collections

IDLE_SECONDS: Final = 1.0
"""How long a task waits without a ring before it looks by itself: a lost ring delays, it loses nothing."""
RESTART_SECONDS: Final = 1.0
STOP_SECONDS: Final = 10.0
ROOM_FOR_SPEED: Final = 500_000_000
"""Free space beyond the reserve from which some of it may be spent on preallocation."""
RECEIPTS_PAUSE_SECONDS: Final = 0.1
DELETE_PAUSE_SECONDS: Final = 0.3
"""So long after a mail has been dealt with its mailbox is told: many are deleted there by one command."""


class Gateway:
    """All tasks of one institution in one process; ``start``, then ``stop``."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._outbox = Outbox(site)
        self._wanted = Wanted()
        self._receipts = Receipts(site, self._outbox)
        self._planner = Planner(site, self._outbox)
        self._sealer = Sealer(site, self._outbox)
        self._submitter = Submitter(site, self._outbox, self._receipts)
        self._processor = Processor(site, self._receipts)
        self._timekeeper = Timekeeper(site, self._outbox)
        self._retriever = Retriever(site, self._wanted)
        self._deliverers = [Deliverer(site, item) for item in site.config.destination]
        self._fetchers: list[Fetcher] = [fetcher_for(site, item) for item in site.config.mailbox]
        self._servers = [server_for(site, item) for item in site.config.receiver]
        self._settler = Settler(site.database, site.spool)
        self._scp = self._storage_server()
        self._lock_file = -1

    @property
    def dicom_port(self) -> int | None:
        """Return the storage SCP's port, None if there is none."""
        return None if self._scp is None else self._scp.port

    def start(self) -> None:
        """Recover what a crash left, then start every task."""
        self._lock()
        site = self.site
        site.spool.sweep()
        if site.spool.free_bytes() > site.spool.reserve_bytes + ROOM_FOR_SPEED:
            site.database.grow_log()
        self._settler.recover(site.clock())
        handover.sweep(site.config.data_path / "handover")
        self._submitter.recover()
        # GnuPG reads the keys while the rest starts: the first mail need not wait for it
        self._thread("keys", self._prepare_keys)
        bells = site.bells
        limits = site.config.limits
        self._run("collect", bells.collect, self._collect)
        seal = step_of(self._sealer, Claims(site.log), bells.seal, bells.submit)
        for number in range(limits.seal_workers):
            self._run(f"seal-{number}", bells.seal, seal)
        connections = site.config.submission.connections if site.config.submission else 2
        for number in range(connections):
            self._run(f"submit-{number}", bells.submit, self._submitter.step)
        opens = step_of(self._processor, Claims(site.log), bells.open, idle=self._join)
        for number in range(limits.open_workers):
            self._run(f"open-{number}", bells.open, opens)
        bells.deliver.pass_to([Bell() for _ in self._deliverers])
        for deliverer, bell in zip(self._deliverers, bells.deliver.passed_to, strict=True):
            self._run(f"deliver-{deliverer.name}", bell, deliverer.step)
        self._run("receipts", bells.receipts, self._write_receipts)
        self._run("timers", bells.timers, self._time)
        if site.config.pacs is not None:
            self._run("retrieve", bells.retrieve, self._retriever.step)
        self._thread("settle", self._kept_alive(lambda: self._settler.run(self._stopping)))
        self._spread(
            "ring-mailbox", bells.mailbox, [item.wake for item in self._fetchers], DELETE_PAUSE_SECONDS
        )
        for fetcher in self._fetchers:
            self._thread("fetch", self._kept_alive(lambda task=fetcher: task.run(self._stopping)))  # type: ignore[misc]
        self._thread("wake", self._kept_alive(lambda: listen_for_wakes(site, self._stopping, bells.all())))
        for server in self._servers:
            server.start()
        if self._scp is not None:
            self._scp.start()
        site.log.info("gateway started")

    def stop(self) -> None:
        """Stop taking in, let running steps end, close everything."""
        self._stopping.set()
        if self._scp is not None:
            with suppress(AssertionError):
                self._scp.stop(5.0)
        for server in self._servers:
            server.stop(5.0)
        for fetcher in self._fetchers:
            fetcher.wake()
        for bell in self.site.bells.all():
            bell.wake_all()
        # one deadline for all: whatever is cut off goes on from the store at the next start
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for deliverer in self._deliverers:
            deliverer.close()
        self._submitter.close()
        self._settler.close()
        self.site.close()
        if self._lock_file >= 0:
            os.close(self._lock_file)
        self.site.log.info("gateway stopped")

    def wait(self) -> None:
        """Wait until ``request_stop``."""
        self._stopping.wait()

    def request_stop(self) -> None:
        """Ask the gateway to end; safe in a signal handler."""
        self._stopping.set()

    # --- tasks ------------------------------------------------------------------------------------------

    def _collect(self) -> bool:
        site = self.site
        now = site.clock()
        with site.database.read() as connection:
            due = outgoing_collections.due_collections(connection, now)
            wait = outgoing_collections.next_collection_due(connection)
        if due:
            with site.database.write() as connection:
                Collector(site).close_due(connection, now)
        if self._planner.step() or due:
            site.bells.seal.ring()
            return True
        if wait is None:
            return False
        site.bells.collect.wait(min(IDLE_SECONDS, max(0.0, wait - now)))
        return True

    def _prepare_keys(self) -> None:
        with suppress(Exception):  # whoever needs a key meets the same fault, and tells of it
            self.site.keys.ring()

    def _join(self) -> bool:
        return self._processor.join_due() > 0

    def _write_receipts(self) -> bool:
        if self._receipts.write_due():
            return True
        # what is owed by then is written together
        self._stopping.wait(RECEIPTS_PAUSE_SECONDS)
        return False

    def _time(self) -> bool:
        self._timekeeper.step()
        self._submitter.prune()
        self._submitter.recover_lost()
        self._stopping.wait(0.2)
        return False

    # --- machinery --------------------------------------------------------------------------------------

    def _run(self, name: str, bell: Bell, step: Callable[[], bool]) -> None:
        def loop() -> None:
            while not self._stopping.is_set():
                if not step():
                    bell.wait(IDLE_SECONDS)

        self._thread(name, self._kept_alive(loop))

    def _spread(self, name: str, bell: Bell, targets: list[Callable[[], None]], pause: float = 0.0) -> None:
        def loop() -> None:
            while not self._stopping.is_set():
                if bell.wait(IDLE_SECONDS):
                    self._stopping.wait(pause)
                    for target in targets:
                        target()

        self._thread(name, self._kept_alive(loop))

    def _kept_alive(self, task: Callable[[], None]) -> Callable[[], None]:
        """Run a task; after a fault it is started again: one failing task never ends the gateway."""

        def guarded() -> None:
            while not self._stopping.is_set():
                try:
                    task()
                except RadpostError as error:
                    self.site.log.warning("task failed", code=error.reason.code, name=error.reason.name)
                except Exception:
                    self.site.log.exception("task failed inside")
                else:
                    return
                self._stopping.wait(RESTART_SECONDS)

        return guarded

    def _thread(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _storage_server(self) -> StorageServer | None:
        dicom = self.site.config.dicom
        if dicom is None:
            return None
        config = ServerConfig(
            host=dicom.host,
            port=dicom.port,
            max_associations=dicom.max_associations,
            max_per_address=dicom.max_associations,
            max_object=dicom.max_object_bytes,
            tls=server_tls(self.site, dicom.tls),
            sync=False,  # the settler makes objects durable, many files with one sync
        )
        return StorageServer(config, StoreHandler(self.site, self._wanted, self._settler))

    def _lock(self) -> None:
        """Let only one gateway work on a data directory (SQLite, one host)."""
        path = self.site.config.data_path / "lock"
        self._lock_file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock_file)
            self._lock_file = -1
            raise RadpostError(STORE_UNUSABLE, "another gateway works on this data directory") from error


def run(config: Config) -> None:
    """Run the gateway until SIGTERM or SIGINT."""
    gateway = Gateway(open_site(config))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: gateway.request_stop())
    gateway.start()
    gateway.wait()
    gateway.stop()
