"""A blocking byte channel to a mail server: lines, exact counts, streaming both ways, waiting.

All three clients (SMTP, IMAP, POP3) stand on it. Bodies never pass through line handling: they go from the
socket into one reused buffer and on to the caller's writer, or from a file to the socket by sendfile(2).
"""

import contextlib
import os
import select
import socket
import ssl
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from radpost.errors import INTERNAL, SERVER_PROTOCOL, SERVER_UNREACHABLE, TLS_FAILED, RadpostError
from radpost.transport.failure import ConnectionLostError, TransportError, sanitise
from radpost.transport.tls import Security, TlsOptions, client_context, is_loopback, wrap

_LINE_LIMIT = 16 * 1024
_RECV = 64 * 1024
_SCRATCH = 256 * 1024
_SLICE = 4 * 1024 * 1024
_KEEPALIVE_IDLE = 120


class Writer(Protocol):
    """Where a body goes. The view is only valid during the call: hash it, write it, do not keep it."""

    def write(self, data: memoryview, /) -> object:
        """Take all bytes of ``data``, or return how many were taken."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; the defaults are those of RFC 5321 4.5.3.2."""

    connect: float = 30.0
    command: float = 300.0
    block: float = 180.0
    final: float = 630.0
    """After the end of data: at least ten minutes, a lost 250 costs a doubled mail (RFC 5321 4.5.3.2.6)."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A mail server's address and how to be sure that it is the one."""

    host: str
    port: int
    security: Security = Security.TLS
    tls: TlsOptions = field(default_factory=TlsOptions)
    server_name: str | None = None
    """Name to verify in the certificate, if it is not ``host``."""
    timeouts: Timeouts = field(default_factory=Timeouts)


Dial = Callable[[Endpoint], socket.socket]


def dial(endpoint: Endpoint) -> socket.socket:
    """Connect over TCP; the first of the host's addresses that answers."""
    try:
        sock = socket.create_connection((endpoint.host, endpoint.port), endpoint.timeouts.connect)
    except OSError as error:
        raise TransportError(
            SERVER_UNREACHABLE, f"{endpoint.host}:{endpoint.port}: {_cause(error)}"
        ) from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE)
    return sock


def connect(endpoint: Endpoint, dialler: Dial = dial) -> "Channel":
    """Open a channel: implicit TLS is done, and a plain connection is refused where it must be."""
    sock = dialler(endpoint)
    if endpoint.security is Security.LOOPBACK and not is_loopback(sock):
        sock.close()
        raise TransportError(TLS_FAILED, f"{endpoint.host} is not this machine and TLS is not configured")
    channel = Channel(sock, endpoint.timeouts.command)
    if endpoint.security is Security.TLS:
        channel.start_tls(endpoint)
    return channel


class Channel:
    """One connection. Not thread-safe, but ``Waker`` interrupts ``wait`` from another thread."""

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self._scratch = memoryview(b"")
        self.encrypted = isinstance(sock, ssl.SSLSocket)
        sock.settimeout(timeout)

    def start_tls(self, endpoint: Endpoint) -> None:
        """Begin TLS; bytes that came in clear behind the go-ahead are an injection (CVE-2011-0411)."""
        if self._buffer:
            self.close()
            raise TransportError(TLS_FAILED, "the server sent data in clear before the TLS handshake")
        context = client_context(endpoint.tls)
        self._sock = wrap(self._sock, context, endpoint.server_name or endpoint.host)
        self.encrypted = True

    def settimeout(self, seconds: float) -> None:
        """Set how long a single read or write may take."""
        self._sock.settimeout(seconds)

    def close(self) -> None:
        """Close at once; no words are exchanged."""
        with contextlib.suppress(OSError):
            self._sock.close()

    def abort(self) -> None:
        """Make every read and write under way fail; the one thing that another thread may do."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    # reading

    def read_line(self, limit: int = _LINE_LIMIT) -> bytes:
        """Return the next line without its end."""
        start = 0
        while (end := self._buffer.find(b"\n", start)) < 0:
            start = len(self._buffer)
            if start > limit:
                raise TransportError(SERVER_PROTOCOL, f"a line of more than {limit} bytes")
            self._fill()
        if end > limit:
            raise TransportError(SERVER_PROTOCOL, f"a line of more than {limit} bytes")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    def read_exact(self, size: int) -> bytes:
        """Return exactly ``size`` bytes; for small things only."""
        while len(self._buffer) < size:
            self._fill()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def copy(self, writer: Writer, size: int) -> None:
        """Stream exactly ``size`` bytes into ``writer``."""
        if take := min(len(self._buffer), size):
            write_all(writer, memoryview(self._take(take)))
        left = size - take
        scratch = self._scratch_view()
        while left:
            got = self._receive(scratch[: min(left, len(scratch))])
            write_all(writer, scratch[:got])
            left -= got

    def read_some(self) -> bytes:
        """Return whatever comes next, at least one byte."""
        if self._buffer:
            return self._take(len(self._buffer))
        scratch = self._scratch_view()
        return bytes(scratch[: self._receive(scratch)])

    def unread(self, data: bytes) -> None:
        """Put back what was read too far."""
        self._buffer[:0] = data

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _scratch_view(self) -> memoryview:
        if not self._scratch:
            self._scratch = memoryview(bytearray(_SCRATCH))
        return self._scratch

    def _receive(self, view: memoryview) -> int:
        try:
            got = self._sock.recv_into(view)
        except TimeoutError as error:
            raise ConnectionLostError(f"no answer within {self._sock.gettimeout():g} seconds") from error
        except OSError as error:
            raise _lost(error) from error
        if not got:
            raise ConnectionLostError("the server closed the connection")
        return got

    def _fill(self) -> None:
        scratch = self._scratch_view()
        self._buffer += scratch[: self._receive(scratch[:_RECV])]

    # writing

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        try:
            self._sock.sendall(data)
        except TimeoutError as error:
            raise ConnectionLostError("the server stopped reading") from error
        except OSError as error:
            raise _lost(error) from error

    def send_source(self, source: BinaryIO, start: int, size: int) -> None:
        """Send ``size`` bytes of ``source`` from offset ``start``: sendfile(2) where it can be.

        Between slices the server is heard: one that answers in the middle of the body and reads no further
        must not hold us for a whole timeout. ``EarlyReplyError`` says so, its reply is then in the buffer.
        """
        whole_file = not self.encrypted and _is_regular(source)
        if not whole_file:
            source.seek(start)
        done = 0
        while done < size:
            count = min(_SLICE, size - done)
            sent = (
                self._send_file(source, start + done, count) if whole_file else self._send_read(source, count)
            )
            if sent != count:
                raise RadpostError(INTERNAL, f"the mail's content is shorter than its size of {size} bytes")
            done += count
            if done < size:
                self.heed()

    def _send_file(self, source: BinaryIO, offset: int, count: int) -> int:
        try:
            return self._sock.sendfile(source, offset, count)
        except TimeoutError as error:
            raise ConnectionLostError("the server stopped reading") from error
        except OSError as error:
            raise _lost(error) from error

    def _send_read(self, source: BinaryIO, count: int) -> int:
        done = 0
        while done < count and (data := source.read(min(_SCRATCH, count - done))):
            self.send(data)
            done += len(data)
        return done

    # waiting

    def poll(self) -> bool:
        """Take in what has arrived, without waiting; tell whether anything is there to be read.

        A readable socket is not enough under TLS: session tickets are not for us (RFC 8446 4.6.1).
        """
        timeout = self._sock.gettimeout()
        self._sock.setblocking(False)
        try:
            while len(self._buffer) < _SCRATCH and (data := self._sock.recv(_RECV)):
                self._buffer += data
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            return True
        else:
            return True
        finally:
            with contextlib.suppress(OSError):
                self._sock.settimeout(timeout)
        return bool(self._buffer)

    def heed(self) -> None:
        """Raise ``EarlyReplyError`` if the server speaks although it is our turn."""
        if self.poll():
            raise EarlyReplyError

    def wait(self, seconds: float, waker: "Waker | None" = None) -> bool:
        """Wait until the server says something; False when time is up or ``waker`` was called."""
        deadline = time.monotonic() + seconds
        while not self.poll():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if _readable(left, self._sock, waker) and waker is not None and waker.pending:
                return False
        return True


class EarlyReplyError(Exception):
    """The server answered before the body was at its end."""


class Waker:
    """Ends a wait from another thread (a self-pipe, so that select(2) sees it)."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self._ours.fileno()

    def wake(self) -> None:
        """End the present wait, or the next one if there is none."""
        with self._lock, contextlib.suppress(OSError):
            self._theirs.send(b"!")

    @property
    def pending(self) -> bool:
        """Whether ``wake`` was called and not yet taken."""
        return _readable(0.0, self)

    def taken(self) -> bool:
        """Tell whether ``wake`` was called since the last time, and forget it."""
        called = False
        with contextlib.suppress(OSError):
            while self._ours.recv(64):
                called = True
        return called

    def wait(self, seconds: float) -> bool:
        """Wait; True if it was ended by ``wake``."""
        _readable(seconds, self)
        return self.taken()

    def close(self) -> None:
        """Free the descriptors."""
        with self._lock:
            self._ours.close()
            self._theirs.close()


def write_all(writer: Writer, view: memoryview) -> None:
    """Write all of ``view``, also to a raw file that takes less at a time."""
    while view:
        taken = writer.write(view)
        if not isinstance(taken, int) or taken >= len(view):
            return
        view = view[taken:]


def _readable(seconds: float, *watched: "socket.socket | Waker | None") -> bool:
    # poll(2), not select(2): a gateway may well have descriptors above 1024.
    poller = select.poll()
    for one in watched:
        if one is not None:
            poller.register(one, select.POLLIN)
    return bool(poller.poll(max(seconds, 0.0) * 1000))


def _is_regular(source: BinaryIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(source.fileno()).st_mode)
    except (OSError, AttributeError, ValueError):
        return False


def _lost(error: OSError) -> ConnectionLostError:
    # In TLS 1.3 a server refuses our certificate after the handshake, in its first alert.
    tls = isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")
    return ConnectionLostError(
        f"connection lost: {_cause(error)}", reason=TLS_FAILED if tls else SERVER_PROTOCOL
    )


def _cause(error: OSError) -> str:
    return sanitise(getattr(error, "reason", None) or error.strerror or type(error).__name__)
