"""A mail server in memory: submission, IMAP and POP3 on loopback, for tests that must know each byte it took.

It speaks as much of RFC 5321 (with PIPELINING, CHUNKING, SIZE and DSN), RFC 3501 (with UIDPLUS) and RFC 1939
as the gateway uses, keeps all that ever went through it, and can fall silent after it took a mail: then the
sender does not know whether it did (DESIGN 4 "uncertain"). Without TLS and with any password.
"""

import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import ClassVar, Final, Self

VALIDITY: Final = 7
_MAIL: Final = re.compile(rb"MAIL FROM:<([^>]*)>(?:.* ENVID=(\S+))?", re.IGNORECASE)
_RECIPIENT: Final = re.compile(rb"RCPT TO:<([^>]*)>", re.IGNORECASE)
_SECONDS_TO_END: Final = 10.0


@dataclass(frozen=True, slots=True)
class Taken:
    """A mail that was taken by SMTP, and the UID that it got in its mailbox."""

    envid: str
    sender: str
    recipient: str
    content: bytes
    uid: int


@dataclass(slots=True)
class Mailbox:
    """One account; ``ever`` holds what has been deleted, too."""

    ever: dict[int, bytes] = field(default_factory=dict)
    here: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)
    """Flagged \\Deleted, not expunged (RFC 3501 6.4.3)."""

    def put(self, content: bytes) -> int:
        """Keep a mail; return its UID."""
        uid = len(self.ever) + 1
        self.ever[uid] = content
        self.here.add(uid)
        return uid


class PostOffice:
    """The server; listens inside of a ``with`` block."""

    def __init__(self, addresses: tuple[str, ...], *, silent_after_every: int = 0) -> None:
        """``silent_after_every``: so many mails are answered, the next one is taken without a word."""
        self.mailboxes = {address: Mailbox() for address in addresses}
        self.taken: list[Taken] = []
        self.snapshots: list[tuple[str, dict[int, int]]] = []
        """Of each POP3 connection, in order: the account, and the UID behind each number."""
        self.lock = threading.RLock()
        self._every = silent_after_every
        self._stack = ExitStack()
        self.ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        for name, kind in (("smtp", _Smtp), ("imap", _Imap), ("pop3", _Pop3)):
            server = _Server(("127.0.0.1", 0), kind)
            server.office = self
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            self._stack.callback(thread.join, _SECONDS_TO_END)
            self._stack.callback(server.server_close)
            self._stack.callback(server.shutdown)
            self.ports[name] = server.server_address[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def take(self, envid: str, sender: str, recipient: str, content: bytes) -> bool:
        """Keep a mail; return whether to say so."""
        with self.lock:
            uid = self.mailboxes[recipient].put(content)
            self.taken.append(Taken(envid, sender, recipient, content, uid))
            return not self._every or len(self.taken) % (self._every + 1) != 0

    def connected(self) -> int:
        """Note a POP3 connection; return its number."""
        with self.lock:
            self.snapshots.append(("", {}))
            return len(self.snapshots) - 1

    def begin(self, connection: int, account: str) -> dict[int, int]:
        """Begin a POP3 session; return the UID behind each number."""
        with self.lock:
            found = dict(enumerate(sorted(self.mailboxes[account].here), 1))
            self.snapshots[connection] = (account, found)
            return found

    def empty(self) -> bool:
        """Tell whether all that came has been fetched and deleted."""
        with self.lock:
            return not any(mailbox.here for mailbox in self.mailboxes.values())


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    office: PostOffice


class _Session(socketserver.StreamRequestHandler):
    """One connection: lines in, lines out."""

    disable_nagle_algorithm = True
    server: _Server

    @property
    def office(self) -> PostOffice:
        return self.server.office

    def lines(self) -> Iterator[bytes]:
        try:
            while line := self.rfile.readline():
                yield line.rstrip(b"\r\n")
        except OSError:
            return

    def say(self, *lines: bytes) -> None:
        self.wfile.write(b"".join(line + b"\r\n" for line in lines))


class _Smtp(_Session):
    _sender = _envid = _recipient = ""
    _content = b""

    def handle(self) -> None:
        self.say(b"220 post.example ESMTP")
        self._clear()
        for line in self.lines():
            verb = line.split(b" ", 1)[0].upper()
            match verb:
                case b"EHLO" | b"HELO":
                    offers = (b"PIPELINING", b"SIZE 1000000000", b"CHUNKING", b"DSN", b"8BITMIME")
                    self.say(b"250-post.example", *(b"250-" + name for name in offers), b"250 HELP")
                case b"MAIL" if match := _MAIL.match(line):
                    self._clear()
                    self._sender, self._envid = match[1].decode(), (match[2] or b"").decode()
                    self.say(b"250 2.1.0 OK")
                case b"RCPT" if match := _RECIPIENT.match(line):
                    self._recipient = match[1].decode()
                    known = self._recipient in self.office.mailboxes
                    self.say(b"250 2.1.5 OK" if known else b"550 5.1.1 nobody here")
                case b"BDAT":
                    _, size, *last = line.split()
                    self._content += self.rfile.read(int(size))
                    if not last:
                        self.say(b"250 2.0.0 OK")
                    elif not self._end():
                        return
                case b"DATA":
                    self.say(b"354 go on")
                    self._content = self._undotted()
                    if not self._end():
                        return
                case b"QUIT":
                    self.say(b"221 2.0.0 bye")
                    return
                case _:
                    self._clear()
                    self.say(b"250 2.0.0 OK")

    def _clear(self) -> None:
        self._sender, self._envid, self._recipient, self._content = "", "", "", b""

    def _undotted(self) -> bytes:
        content = b""
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            content += line.removeprefix(b".")
        return content

    def _end(self) -> bool:
        answered = self.office.take(self._envid, self._sender, self._recipient, self._content)
        if answered:
            self.say(b"250 2.0.0 taken")
        return answered


class _Imap(_Session):
    def handle(self) -> None:
        self.say(b"* OK [CAPABILITY IMAP4rev1 UIDPLUS] ready")
        self._box = Mailbox()
        self._seen = 0
        for line in self.lines():
            tag, _, command = line.partition(b" ")
            verb = b" ".join(command.upper().split()[: 2 if command.upper().startswith(b"UID ") else 1])
            action = self._COMMANDS.get(verb)
            with self.office.lock:
                if action is not None:
                    action(self, command)
                self._tell()
            self.say(tag + (b" OK done" if action is not None or verb in self._SILENT else b" BAD unknown"))
            if verb == b"LOGOUT":
                return

    def _tell(self) -> None:
        if len(self._box.here) != self._seen:
            self._seen = len(self._box.here)
            self.say(b"* %d EXISTS" % self._seen)

    def _login(self, command: bytes) -> None:
        self._box = self.office.mailboxes[command.split()[1].strip(b'"').decode()]

    def _capability(self, _command: bytes) -> None:
        self.say(b"* CAPABILITY IMAP4rev1 UIDPLUS")

    def _select(self, _command: bytes) -> None:
        self._seen = len(self._box.here)
        self.say(b"* %d EXISTS" % self._seen, b"* OK [UIDVALIDITY %d] valid" % VALIDITY)

    def _search(self, command: bytes) -> None:
        hidden = self._box.deleted if command.upper().endswith(b"UNDELETED") else set()
        found = sorted(self._box.here - hidden)
        self.say(b" ".join([b"* SEARCH", *(b"%d" % uid for uid in found)]))

    def _fetch(self, command: bytes) -> None:
        uid = int(command.split()[2])
        if uid in self._box.here:
            content = self._box.ever[uid]
            words = (self._number(uid), uid, len(content), len(content))
            self.say(b"* %d FETCH (UID %d RFC822.SIZE %d BODY[] {%d}" % words)
            self.wfile.write(content)
            self.say(b")")

    def _store(self, command: bytes) -> None:
        self._box.deleted |= self._box.here & set(numbers(command.split()[2]))

    def _expunge(self, command: bytes) -> None:
        for uid in sorted(self._box.deleted & set(numbers(command.split()[2])), reverse=True):
            number = self._number(uid)
            self._box.here.discard(uid)
            self._box.deleted.discard(uid)
            self._seen -= 1
            self.say(b"* %d EXPUNGE" % number)

    def _number(self, uid: int) -> int:
        return sorted(self._box.here).index(uid) + 1

    _SILENT: ClassVar = frozenset({b"NOOP", b"LOGOUT"})
    _COMMANDS: ClassVar[dict[bytes, Callable[["_Imap", bytes], None]]] = {
        b"CAPABILITY": _capability,
        b"LOGIN": _login,
        b"SELECT": _select,
        b"UID SEARCH": _search,
        b"UID FETCH": _fetch,
        b"UID STORE": _store,
        b"UID EXPUNGE": _expunge,
    }


class _Pop3(_Session):
    def handle(self) -> None:
        connection = self.office.connected()
        self.say(b"+OK ready")
        account, uids, marked = "", dict[int, int](), set[int]()
        for line in self.lines():
            verb, _, words = line.partition(b" ")
            match verb.upper():
                case b"CAPA":
                    self.say(b"+OK", b"UIDL", b"PIPELINING", b"USER", b".")
                case b"USER":
                    account = words.decode()
                    self.say(b"+OK")
                case b"PASS":
                    uids = self.office.begin(connection, account)
                    self.say(b"+OK")
                case b"LIST":
                    box = self.office.mailboxes[account].ever
                    listed = (b"%d %d" % (number, len(box[uid])) for number, uid in uids.items())
                    self.say(b"+OK", *listed, b".")
                case b"UIDL":
                    self.say(b"+OK", *(b"%d u%d" % pair for pair in uids.items()), b".")
                case b"RETR":
                    content = self.office.mailboxes[account].ever[uids[int(words)]]
                    dotted = re.sub(rb"(?m)^\.", b"..", content).removesuffix(b"\r\n")
                    self.say(b"+OK", dotted, b".")
                case b"DELE":
                    marked.add(uids[int(words)])
                    self.say(b"+OK")
                case b"QUIT":
                    with self.office.lock:
                        self.office.mailboxes[account].here -= marked
                    self.say(b"+OK")
                    return
                case _:
                    self.say(b"+OK")


def numbers(sequence: bytes) -> Iterator[int]:
    """Return the numbers of a sequence set (RFC 3501 9 "sequence-set"), which names none by ``*``."""
    for part in sequence.split(b","):
        first, _, last = part.partition(b":")
        yield from range(int(first), int(last or first) + 1)
