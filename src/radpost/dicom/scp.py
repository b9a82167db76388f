"""The storage SCP: listens, and gives every association a thread of its own (PS3.4 B.2.2, PS3.8 9).

System calls and hashes release the interpreter's lock, so associations run side by side. Threads are
bounded; a station beyond the bound hears "temporary congestion" and tries again. What one peer does,
however wrong, ends at most its own association.
"""

import contextlib
import logging
import socket
import threading
import time
from collections import Counter
from typing import Final

from radpost.dicom.access import Accept, AccessList, Reject, Rejection
from radpost.dicom.incoming import IncomingObject, StoreContext
from radpost.dicom.session import AssociationInfo, Handler, ServerConfig, Session, is_kept
from radpost.errors import CONFIG_INVALID, RadpostError

__all__ = [
    "Accept",
    "AccessList",
    "AssociationInfo",
    "Handler",
    "IncomingObject",
    "Reject",
    "Rejection",
    "ServerConfig",
    "StorageServer",
    "StoreContext",
    "is_kept",
]

_LOG = logging.getLogger(__name__)
_REFUSERS: Final = 8
"""So many connections above the bound are heard and told to come again; further ones are closed."""


class StorageServer:
    """Storage and verification SCP; ``start`` and ``stop`` it, the handler decides everything else."""

    def __init__(self, config: ServerConfig, handler: Handler) -> None:
        self._config = config
        self._handler = handler
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._sessions: dict[Session, threading.Thread] = {}
        self._per_address: Counter[str] = Counter()
        self._stopping = threading.Event()

    @property
    def port(self) -> int:
        """The port that is listened on (of use when the configuration says 0)."""
        assert self._listener is not None
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def associations(self) -> int:
        """How many connections are open now."""
        with self._lock:
            return len(self._sessions)

    def start(self) -> None:
        """Listen and serve in the background; raises RadpostError if the address cannot be used."""
        config = self._config
        try:
            family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
            self._listener = socket.create_server((config.host, config.port), family=family, backlog=128)
        except OSError as error:
            detail = f"cannot listen on port {config.port}: {error.strerror}"
            raise RadpostError(CONFIG_INVALID, detail) from error
        self._thread = threading.Thread(target=self._accept_all, name="dicom-scp", daemon=True)
        self._thread.start()

    def stop(self, grace: float = 10.0) -> None:
        """Stop listening; let objects in transfer finish for ``grace`` seconds, then cut the rest off."""
        self._stopping.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            running = dict(self._sessions)
        for session in running:
            session.stop()
        end = time.monotonic() + grace
        for session, thread in running.items():
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                session.interrupt()
        for thread in running.values():
            thread.join(5)

    def _accept_all(self) -> None:
        assert self._listener is not None
        while not self._stopping.is_set():
            try:
                sock, address = self._listener.accept()
            except OSError as error:
                if self._stopping.is_set():
                    return
                # Out of file descriptors or a connection that died in the queue: go on, but not in a spin.
                _LOG.warning("a connection could not be accepted: %s", type(error).__name__)
                time.sleep(0.1)
                continue
            self._admit(sock, str(address[0]))

    def _admit(self, sock: socket.socket, address: str) -> None:
        config = self._config
        with self._lock:
            count = len(self._sessions)
            congested = (
                count >= config.max_associations or self._per_address[address] >= config.max_per_address
            )
            if count >= config.max_associations + _REFUSERS:
                _LOG.warning("connection from %s closed: too many", address)
                sock.close()
                return
            session = Session(sock, address, config, self._handler)
            thread = threading.Thread(
                target=self._run, args=(session, address, congested), name="dicom-assoc", daemon=True
            )
            self._sessions[session] = thread
            self._per_address[address] += 1
        try:
            thread.start()
        except RuntimeError:
            _LOG.exception("no thread for a connection")
            self._forget(session, address)
            sock.close()

    def _run(self, session: Session, address: str, congested: bool) -> None:
        try:
            session.run(congested=congested)
        finally:
            self._forget(session, address)

    def _forget(self, session: Session, address: str) -> None:
        with self._lock:
            self._sessions.pop(session, None)
            self._per_address[address] -= 1
            if not self._per_address[address]:
                del self._per_address[address]
