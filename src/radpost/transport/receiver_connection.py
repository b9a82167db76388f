"""One connection to the receiver: moves bytes between a socket, the session machine and the handler."""

import contextlib
import errno
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Generic

from radpost.errors import (
    ADDRESS_UNKNOWN,
    DISK_FULL,
    MAIL_REFUSED,
    MAIL_TOO_LARGE,
    QUARANTINE_FULL,
    RESOURCE_LIMIT,
    RadpostError,
)
from radpost.transport.receiver_config import Handler, Listener, S, ServerConfig
from radpost.transport.receiver_limits import Ledger
from radpost.transport.smtp_actions import (
    Abort,
    Action,
    Admit,
    Begin,
    Close,
    Commit,
    Content,
    Need,
    Send,
    StartTls,
)
from radpost.transport.smtp_grammar import Envelope, Reply, trace_header
from radpost.transport.smtp_session import Session

_log = logging.getLogger(__name__)

_RECEIVE = 64 * 1024
_DRAIN_BYTES = 64 * 1024 * 1024
_NO_ROOM = Reply(452, "4.3.1", "Insufficient system storage, try again later")
_EXHAUSTED = Reply(452, "4.7.0", "Too much data from this peer, try again later")
_FAULT = Reply(451, "4.3.0", "Local error, try again later")
_REPLIES = {
    DISK_FULL: _NO_ROOM,
    QUARANTINE_FULL: _NO_ROOM,
    MAIL_REFUSED: Reply(554, "5.7.1", "Mail refused"),
    ADDRESS_UNKNOWN: Reply(550, "5.1.1", "No such recipient here"),
    MAIL_TOO_LARGE: Reply(552, "5.3.4", "Mail is too large"),
    RESOURCE_LIMIT: Reply(552, "5.3.4", "Mail exceeds a limit"),
}
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Connection(Generic[S]):
    """The driver of one session. `run` in a thread of its own; `cut` and `stop_if_idle` from another."""

    def __init__(
        self,
        config: ServerConfig,
        handler: Handler[S],
        ledger: Ledger,
        stopping: threading.Event,
        sock: socket.socket,
        listener: Listener,
        peer: str,
    ) -> None:
        self.peer = peer
        self._config, self._handler, self._ledger = config, handler, ledger
        self._stopping = stopping
        self._sock = sock
        self._listener = listener
        self._session: Session | None = None
        self._sink: S | None = None
        self._failed: Reply | None = None
        self._id = ""
        self._out = bytearray()
        self._waiting_idle = False
        self._started = time.monotonic()
        self._command_deadline = 0.0

    def run(self) -> None:
        """Serve the peer until one side closes; never raises."""
        try:
            self._converse()
        except OSError as error:
            # reset, refused handshake, timeout while we write: the peer's business, it tries again
            _log.info("mail connection from %s ended: %s", self.peer, type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a fault in one session must not end the service
            # the exception's text might quote the mail
            _log.error("mail session from %s failed: %s", self.peer, type(error).__name__)
        finally:
            self._drop_sink()
            self.close()

    def stop_if_idle(self) -> None:
        """The server stops: wake the session if it only waits for a next mail; it says 421 and closes."""
        if self._waiting_idle:
            with contextlib.suppress(OSError):
                # the base class: SSLSocket.shutdown would take the TLS state away under the session
                socket.socket.shutdown(self._sock, socket.SHUT_RD)

    def cut(self) -> None:
        """End the connection at once; an open mail is not accepted."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        with contextlib.suppress(OSError):
            self._sock.close()

    # the conversation

    def _converse(self) -> None:
        version = self._handshake() if self._listener.implicit_tls else ""
        session = Session(self._config.session(self._listener), peer=self.peer, tls=version)
        self._session = session
        self._restart_command_clock()
        while True:
            action = session.step()
            if isinstance(action, Need):
                self._flush()
                self._read(session)
            elif isinstance(action, Content):
                self._write(session, action.data)
            elif isinstance(action, Send):
                self._out += action.data
                self._restart_command_clock()
            elif isinstance(action, Close):
                self._flush()
                if action.drain:
                    self._drain()
                return
            else:
                self._obey(session, action)

    def _obey(self, session: Session, action: Action) -> None:
        match action:
            case Admit(size):
                session.admitted(self._room(size))
            case Begin(envelope):
                session.began(self._begin(envelope))
            case Commit():
                self._flush()
                session.committed(self._commit())
            case Abort():
                self._drop_sink()
            case StartTls():
                self._flush()
                session.tls_started(self._handshake())
            case _:
                raise RuntimeError("unknown action")

    def _handshake(self) -> str:
        if self._config.tls is None:
            raise RuntimeError("no certificate")  # ServerConfig.check refuses such a configuration
        self._sock.settimeout(self._config.timeouts.handshake)
        wrapped = self._config.tls.wrap_socket(self._sock, server_side=True)
        self._sock = wrapped
        return wrapped.version() or "TLS"

    def _restart_command_clock(self) -> None:
        self._command_deadline = time.monotonic() + self._config.timeouts.command

    def _flush(self) -> None:
        if self._out:
            self._sock.settimeout(self._config.timeouts.block)
            self._sock.sendall(self._out)
            self._out.clear()

    def _read(self, session: Session) -> None:
        now = time.monotonic()
        left = self._started + self._config.timeouts.session - now
        if session.in_content:
            left = min(left, self._config.timeouts.block)
        else:
            left = min(left, self._command_deadline - now)
        if left <= 0:
            session.timed_out()
            return
        self._sock.settimeout(left)
        # in this order: `MailServer.stop` sets the event first and looks at the flag then
        self._waiting_idle = session.idle
        if self._waiting_idle and self._stopping.is_set():
            session.shut_down()
            return
        try:
            data = self._sock.recv(_RECEIVE)
        except TimeoutError:
            session.timed_out()
            return
        except ssl.SSLEOFError:
            data = b""
        finally:
            self._waiting_idle = False
        if data:
            self._ledger.add(self.peer, len(data))
            session.feed(data)
            if session.in_content:
                self._restart_command_clock()
        elif self._stopping.is_set() and session.idle:
            session.shut_down()
        else:
            session.end_of_input()

    def _drain(self) -> None:
        """Let a refused peer read why: to close on unread data is a reset (RFC 1122 4.2.2.13)."""
        deadline = time.monotonic() + self._config.timeouts.drain
        left = _DRAIN_BYTES
        if not isinstance(self._sock, ssl.SSLSocket):
            self._sock.shutdown(socket.SHUT_WR)
        while left > 0 and (seconds := deadline - time.monotonic()) > 0:
            self._sock.settimeout(seconds)
            data = self._sock.recv(_RECEIVE)
            if not data:
                return
            left -= len(data)

    # the handler's side

    def _room(self, size: int | None) -> Reply | None:
        if self._ledger.exhausted(self.peer):
            return _EXHAUSTED

        def ask() -> None:
            if self._config.spool is not None:
                room = os.statvfs(self._config.spool)
                if room.f_bavail * room.f_frsize - (size or 0) < self._config.min_free:
                    raise RadpostError(DISK_FULL)
            if (reason := self._handler.full()) is not None:
                raise RadpostError(reason)

        return self._guarded(ask)

    def _begin(self, envelope: Envelope) -> Reply | None:
        self._id, self._failed = envelope.id, None

        def begin() -> None:
            self._sink = self._handler.begin(envelope)
            self._sink.write(trace_header(envelope, self._config.name, self._config.now()))

        refusal = self._guarded(begin)
        if refusal is not None:
            self._drop_sink()
        return refusal

    def _write(self, session: Session, data: bytes) -> None:
        sink = self._sink
        if sink is None:  # the sink has failed before; the rest is read and thrown away
            return

        def write() -> None:
            sink.write(data)

        refusal = self._guarded(write)
        if refusal is not None:
            self._drop_sink()
            # for `_commit`, when the end of the mail came in the same block
            self._failed = refusal
            session.sink_failed(refusal)

    def _commit(self) -> Reply | None:
        sink = self._sink
        if sink is None:
            return self._failed or _FAULT
        refusal = self._guarded(lambda: self._handler.commit(sink))
        if refusal is None:
            self._sink = None
            _log.info("mail %s stored", self._id)
        else:
            self._drop_sink()
        return refusal

    def _drop_sink(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            self._guarded(lambda: self._handler.abort(sink))

    def _guarded(self, work: Callable[[], None]) -> Reply | None:
        """Do something of the handler's; a failure becomes a reply without its text (it may quote data)."""
        try:
            work()
        except RadpostError as error:
            _log.warning("mail %s not taken: %s", self._id, error.reason.name)
            return _REPLIES.get(error.reason, _FAULT)
        except OSError as error:
            _log.warning("mail %s not taken: %s", self._id, error.strerror)
            return _NO_ROOM if error.errno in _NO_SPACE else _FAULT
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender must keep the mail
            _log.error("mail %s not taken: %s", self._id, type(error).__name__)
            return _FAULT
        return None
