"""A mail server that follows a transcript: expected lines and answers in order, compared as lists at the end.

A transcript is text, one step per line::

    S: 220 ready             the server sends this line (with CRLF)
    S+ text\\x00             the server sends these bytes, escapes as in Python, no CRLF
    C: EHLO [127.0.0.1]      the client must send this line
    [body 26]                the client must send so many bytes; they are kept in ``bodies``
    [early 10]               take so many bytes of a body and go on without waiting for the rest
    [tls]                    the handshake, server side
    [wait 0.1]               seconds of silence
    [drop]                   close the connection

Lines that follow one another from the server go out in one packet. What the client sends after the last step
is recorded too, so an unexpected command is seen.
"""

import codecs
import contextlib
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field

_PATIENCE = 5.0
_STEP = re.compile(r"^\s*(?:(S:|S\+|C:) ?(.*)|\[(body|early|tls|wait|drop) ?([0-9.]*)\])$")


@dataclass(slots=True)
class _Talk:
    steps: list[tuple[str, str]]
    expected: list[str]
    actual: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    sock: socket.socket | None = None
    thread: threading.Thread | None = None
    trouble: str = ""


def _parse(transcript: str) -> _Talk:
    steps: list[tuple[str, str]] = []
    for line in transcript.strip().splitlines():
        match = _STEP.match(line)
        if match is None:
            raise ValueError(f"not a step of a transcript: {line!r}")
        steps.append((match[1] or match[3], match[2] or match[4] or ""))
    return _Talk(steps, [words for kind, words in steps if kind == "C:"])


class ScriptedServer:
    """Serves one transcript per connection, in order; ``dial`` stands in for the network."""

    def __init__(self, *transcripts: str, tls: ssl.SSLContext | None = None) -> None:
        self._talks = [_parse(transcript) for transcript in transcripts]
        self._tls = tls
        self._next = 0
        self._lock = threading.Lock()

    @property
    def connections(self) -> int:
        """How many connections were made."""
        return self._next

    @property
    def bodies(self) -> list[bytes]:
        """Everything that came for a ``[body]`` step, in order."""
        return [body for talk in self._talks for body in talk.bodies]

    def dial(self, _endpoint: object = None) -> socket.socket:
        """Return the client's end of a new connection."""
        with self._lock:
            if self._next >= len(self._talks):
                raise ConnectionRefusedError("no transcript is left for another connection")
            talk = self._talks[self._next]
            self._next += 1
        ours, theirs = socket.socketpair()
        ours.settimeout(_PATIENCE)
        talk.sock = ours
        talk.thread = threading.Thread(target=self._serve, args=(talk,), daemon=True)
        talk.thread.start()
        return theirs

    def check(self) -> None:
        """Wait for the end and compare what was said with what should have been said."""
        for number, talk in enumerate(self._talks, 1):
            if talk.thread is None or talk.sock is None:
                raise AssertionError(f"connection {number} was never made")
            with contextlib.suppress(OSError):
                talk.sock.shutdown(socket.SHUT_RD)
            talk.thread.join(2 * _PATIENCE)
            assert talk.actual == talk.expected, f"connection {number}: {talk.actual} != {talk.expected}"
            assert not talk.trouble, f"connection {number}: {talk.trouble}"

    def _serve(self, talk: _Talk) -> None:
        assert talk.sock is not None
        reader = _Reader(talk.sock)
        try:
            self._play(talk, reader)
        except (OSError, EOFError) as error:
            talk.trouble = talk.trouble or f"{type(error).__name__}: {error}"
        finally:
            reader.sock.close()

    def _play(self, talk: _Talk, reader: "_Reader") -> None:
        out = b""
        for kind, words in talk.steps:
            if kind in ("S:", "S+"):
                out += words.encode() + b"\r\n" if kind == "S:" else codecs.escape_decode(words.encode())[0]
                continue
            if out:
                reader.sock.sendall(out)
                out = b""
            if kind == "C:":
                line = reader.line()
                talk.actual.append(line)
                if line != words:
                    return
            elif kind in ("body", "early"):
                talk.bodies.append(reader.exact(int(words)))
            elif kind == "tls":
                assert self._tls is not None
                reader.sock = self._tls.wrap_socket(reader.sock, server_side=True)
                talk.sock = reader.sock
            elif kind == "wait":
                time.sleep(float(words))
            else:
                return
        if out:
            reader.sock.sendall(out)
        with contextlib.suppress(EOFError, OSError):
            while True:
                talk.actual.append(reader.line())


class _Reader:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError("the client closed the connection")
        self._buffer += data

    def line(self) -> str:
        while b"\r\n" not in self._buffer:
            self._more()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line.decode()

    def exact(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data
