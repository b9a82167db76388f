"""The bare mail path: BDAT in over two connections, IMAP out, nothing else (the ceiling of row G1)."""

import io
import os
import re
import socket
import threading
import time
from typing import BinaryIO, Final, Self

import pybase64

from radpost.testing.peers.pair import MailServer

MAIL_BYTES: Final = 10_000_000
CONNECTIONS: Final = 2
_SPARE: Final = 1 << 20


def bare_seconds(server: MailServer, user: str, password: str, total: int) -> float:
    """Return the time from the first byte in by SMTP to the last one out by IMAP, out while more comes in."""
    sizes = [MAIL_BYTES] * (total // MAIL_BYTES)
    if total % MAIL_BYTES:
        sizes.append(total % MAIL_BYTES)
    body = _text(max(sizes))
    with _Imap(server.imap_port, user, password) as reader:
        seconds = _run(server, reader, user, body, sizes)
        reader.empty()
    return seconds


def _run(server: MailServer, reader: "_Imap", user: str, body: bytes, sizes: list[int]) -> float:
    faults: list[BaseException] = []

    def send(mine: list[int]) -> None:
        try:
            _send(server.smtp_port, user, body, mine)
        except BaseException as error:  # noqa: BLE001  told to the main thread
            faults.append(error)

    start = time.perf_counter()
    senders = [
        threading.Thread(target=send, args=(sizes[number::CONNECTIONS],)) for number in range(CONNECTIONS)
    ]
    for thread in senders:
        thread.start()
    seen = 0
    while seen < len(sizes):
        if faults:
            raise faults[0]
        here = reader.new_mails(seen)
        if here:
            reader.fetch(seen + 1, here)
            seen = here
        else:
            time.sleep(0.01)
    seconds = time.perf_counter() - start
    for thread in senders:
        thread.join()
    return seconds


def _text(size: int) -> bytes:
    """Return 7-bit lines that look like a sealed mail."""
    raw = os.urandom(size * 57 // 78 + 57)
    lines = pybase64.encodebytes(raw).replace(b"\n", b"\r\n")
    return lines[: size - 2] + b"\r\n"


def _send(port: int, user: str, body: bytes, sizes: list[int]) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("rb") as file:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _reply(file)
        _command(sock, file, b"EHLO bench.example\r\n")
        for size in sizes:
            mail = memoryview(body)[:size]
            head = f"MAIL FROM:<x@bench.example> SIZE={size}\r\nRCPT TO:<{user}>\r\nBDAT {size} LAST\r\n"
            sock.sendall(head.encode())
            sock.sendall(b"Subject: x\r\n\r\n")
            sock.sendall(mail[14:])
            for _ in range(3):
                _reply(file)
        _command(sock, file, b"QUIT\r\n")


def _command(sock: socket.socket, file: BinaryIO, line: bytes) -> None:
    sock.sendall(line)
    _reply(file)


def _reply(file: BinaryIO) -> None:
    while True:
        line = file.readline()
        if not line or line[:1] not in b"23":
            raise RuntimeError(f"the mail server says {line!r}")
        if line[3:4] != b"-":
            return


class _Imap:
    """As little IMAP as the ceiling needs."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._file = io.BufferedReader(socket.SocketIO(self._sock, "r"), _SPARE)
        self._buffer = bytearray(_SPARE)
        self._exists = 0
        self._file.readline()
        self._ask(f'LOGIN "{user}" "{password}"')
        self._ask("SELECT INBOX")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._sock.close()

    def new_mails(self, seen: int) -> int:
        """Return how many mails there are, 0 if none beyond ``seen``."""
        self._ask("NOOP")
        return self._exists if self._exists > seen else 0

    def fetch(self, first: int, last: int) -> None:
        """Read mails and throw them away."""
        self._ask(f"FETCH {first}:{last} (BODY.PEEK[])")

    def empty(self) -> None:
        """Delete everything."""
        self._ask("STORE 1:* +FLAGS.SILENT (\\Deleted)")
        self._ask("EXPUNGE")

    def _ask(self, command: str) -> None:
        self._sock.sendall(f"a {command}\r\n".encode())
        while True:
            line = self._file.readline()
            if line.startswith(b"a "):
                if not line.startswith(b"a OK"):
                    raise RuntimeError(f"IMAP: {line!r}")
                return
            found = re.match(rb"\* (\d+) EXISTS", line)
            if found:
                self._exists = int(found[1])
            literal = re.search(rb"\{(\d+)\}\r\n$", line)
            if literal:
                self._skip(int(literal[1]))

    def _skip(self, count: int) -> None:
        view = memoryview(self._buffer)
        while count:
            read = self._file.readinto(view[: min(count, len(view))])
            if not read:
                raise RuntimeError("IMAP: the connection ended")
            count -= read
