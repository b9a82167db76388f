"""A recording relay between a mail client and a mail server: every octet in both directions is kept."""

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_BLOCK = 1 << 16


@dataclass
class Tap:
    """One connection: what the client said and what the server said."""

    client: bytearray = field(default_factory=bytearray)
    server: bytearray = field(default_factory=bytearray)


class Wiretap:
    """Listens on a port of its own and passes everything on to another port of this host."""

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._taps: list[Tap] = []
        self._open: set[socket.socket] = set()

    @property
    def taps(self) -> list[Tap]:
        """Return the connections so far."""
        with self._lock:
            return list(self._taps)

    def said(self) -> bytes:
        """Return all that clients said."""
        return b"\r\n".join(bytes(tap.client) for tap in self.taps)

    def answered(self) -> bytes:
        """Return all that the server said."""
        return b"\r\n".join(bytes(tap.server) for tap in self.taps)

    def cut(self) -> int:
        """Break all connections that are open now; return how many sockets there were."""
        with self._lock:
            doomed, self._open = list(self._open), set()
        for connection in doomed:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        return len(doomed)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), 10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            tap = Tap()
            with self._lock:
                self._taps.append(tap)
                self._open |= {client, server}
            for source, sink, record in ((client, server, tap.client), (server, client, tap.server)):
                threading.Thread(target=self._pass, args=(source, sink, record), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, record: bytearray) -> None:
        with suppress(OSError):
            while data := source.recv(_BLOCK):
                with self._lock:
                    record += data
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        with self._lock:
            self._open.discard(source)
