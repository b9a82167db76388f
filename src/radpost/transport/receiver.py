"""Direct reception of mail: an SMTP and LMTP server for our own addresses that relays nothing.

It answers 250 only after the handler's ``commit`` has returned, that is when the mail is durable (DESIGN
invariant 1). One thread per connection, all of them bounded; the protocol itself is in `smtp_session`.
It listens on loopback until it is configured otherwise, and never shows the machine's own name.
"""

import contextlib
import logging
import selectors
import socket
import threading
import time
from types import TracebackType
from typing import Generic, Self

from radpost.errors import CONFIG_INVALID, RadpostError
from radpost.transport.receiver_config import (
    Handler,
    Listener,
    S,
    ServerConfig,
    Sink,
    Timeouts,
    own_addresses,
    server_context,
)
from radpost.transport.receiver_connection import Connection
from radpost.transport.receiver_limits import Ledger, ServerLimits
from radpost.transport.smtp_actions import Limits, Protocol
from radpost.transport.smtp_grammar import Envelope

__all__ = [
    "Envelope",
    "Handler",
    "Limits",
    "Listener",
    "MailServer",
    "Protocol",
    "ServerConfig",
    "ServerLimits",
    "Sink",
    "Timeouts",
    "own_addresses",
    "server_context",
]

_log = logging.getLogger(__name__)

_BUSY = b"421 4.7.0 Too many connections, try again later\r\n"


class MailServer(Generic[S]):
    """Listens, lets peers in within the limits, and runs one thread per connection."""

    def __init__(self, config: ServerConfig, handler: Handler[S]) -> None:
        config.check()
        self.config = config
        self._handler = handler
        self._ledger = Ledger(config.server_limits, time.monotonic)
        self._sockets: list[socket.socket] = []
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._acceptor: threading.Thread | None = None
        self._lock = threading.Lock()
        self._open: dict[Connection[S], threading.Thread] = {}
        self.stopping = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that are listened on, in the order of the listeners."""
        return tuple(sock.getsockname()[1] for sock in self._sockets)

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return self._ledger.connections

    def start(self) -> None:
        """Listen; peers are served from when this returns."""
        self.stopping.clear()
        try:
            for one in self.config.listeners:
                family = socket.AF_INET6 if ":" in one.host else socket.AF_INET
                self._sockets.append(socket.create_server((one.host, one.port), family=family, backlog=128))
        except OSError as error:
            self._close_listeners()
            raise RadpostError(CONFIG_INVALID, f"cannot listen on a mail port: {error.strerror}") from error
        self._wake = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept, name="mail-accept", daemon=True)
        self._acceptor.start()

    def stop(self, grace: float = 30.0) -> None:
        """Take no new mail, let those under way end within ``grace`` seconds, then cut them off."""
        if self._acceptor is None or self._wake is None:
            return
        self.stopping.set()
        self._wake[1].send(b"!")
        self._acceptor.join()
        self._acceptor = None
        self._close_listeners()
        for sock in self._wake:
            sock.close()
        with self._lock:
            remaining = dict(self._open)
        for connection in remaining:
            connection.stop_if_idle()
        deadline = time.monotonic() + grace
        for connection, thread in remaining.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                connection.cut()
                thread.join(10.0)

    def _close_listeners(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def _accept(self) -> None:
        """Accept until told to stop. A failure to accept (no descriptors left) must not end the service."""
        if self._wake is None:
            return
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake[0], selectors.EVENT_READ)
            for sock, listener in zip(self._sockets, self.config.listeners, strict=True):
                sock.setblocking(False)
                selector.register(sock, selectors.EVENT_READ, listener)
            while not self.stopping.is_set():
                for key, _ in selector.select():
                    if isinstance(key.fileobj, socket.socket) and isinstance(key.data, Listener):
                        self._take(key.fileobj, key.data)

    def _take(self, listening: socket.socket, listener: Listener) -> None:
        try:
            sock, address = listening.accept()
        except BlockingIOError:
            return
        except OSError as error:
            _log.warning("cannot accept a connection: %s", error.strerror)
            self.stopping.wait(0.2)
            return
        peer = str(address[0])
        if not self._ledger.enter(peer):
            _log.warning("too many mail connections, one from %s turned away", peer)
            with contextlib.suppress(OSError):
                sock.setblocking(False)
                if not listener.implicit_tls:
                    sock.send(_BUSY)
            sock.close()
            return
        try:
            sock.settimeout(self.config.timeouts.handshake)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except OSError:  # gone already
            sock.close()
            self._ledger.leave(peer)
            return
        connection = Connection(self.config, self._handler, self._ledger, self.stopping, sock, listener, peer)
        thread = threading.Thread(target=self._serve, args=(connection,), name="mail-session", daemon=True)
        with self._lock:
            self._open[connection] = thread
        try:
            thread.start()
        except RuntimeError:  # no more threads: this peer tries again later
            self._left(connection)

    def _serve(self, connection: Connection[S]) -> None:
        try:
            connection.run()
        finally:
            self._left(connection)

    def _left(self, connection: Connection[S]) -> None:
        connection.close()
        with self._lock:
            del self._open[connection]
        self._ledger.leave(connection.peer)
