"""What a program does to the files of one folder and says to others, recorded by strace in one order.

`record` runs the program. Its acknowledgements stand between its calls: what it writes as such, and what it
sends over TCP (`spoken`). What a disk holds if the power fails in between is played in ``powerloss``.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from radpost.testing.peers.base import PeerFailedError, PeerUnavailableError

ACK: Final = b"ack "
"""A write of bytes that begin so, to a file outside of the folder, is an acknowledgement."""

OPENS: Final = frozenset({"open", "openat", "creat"})
_CALLS: Final = (
    "openat,open,creat,close,write,pwrite64,writev,pwritev,pwritev2,lseek,ftruncate,truncate,fallocate,"
    "rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,"
    "fsync,fdatasync,dup,dup2,dup3,fcntl,copy_file_range,sendfile,splice,mmap,"
    "connect,sendto,sendmsg,clone,clone3"
)
NETWORK: Final = frozenset({"connect", "sendto", "sendmsg"})
_PORT: Final = re.compile(r"sa_family=AF_INET6?, sin6?_port=htons\((\d+)\)")
_CLONED: Final = re.compile(r"^(\d+)\s+(?:clone3?\(|<\.\.\. clone3? resumed>).* = (\d+)$")
_WHOLE: Final = re.compile(r"^(\d+)\s+(\w+)\((.*)\)\s+= (-?\d+|0x[0-9a-f]+|\?)")
_BEGUN: Final = re.compile(r"^(\d+)\s+(\w+)\((.*) <unfinished \.\.\.>$")
_RESUMED: Final = re.compile(r"^(\d+)\s+<\.\.\. \w+ resumed>(.*)$")
_ARGUMENT: Final = re.compile(r'\s*(?:"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?|[^,{\[\s][^,{\[]*|[{\[].*[}\]])')
_STRING_BYTES: Final = 1 << 26


class UnreadableTraceError(Exception):
    """The program did something to the folder that the model cannot follow."""


@dataclass(frozen=True, slots=True)
class Call:
    """One system call, begun or ended; a call that nothing came between is both at once."""

    moment: Literal["begin", "end"]
    name: str
    arguments: tuple[str | bytes, ...]
    result: int
    thread: str = ""

    def number(self, index: int) -> int:
        """Return an argument as a number."""
        value = self.arguments[index]
        assert isinstance(value, str)
        return int(value, 0)

    def data(self, index: int) -> bytes:
        """Return an argument as bytes."""
        value = self.arguments[index]
        if not isinstance(value, bytes):
            raise UnreadableTraceError(f"{self.name}: argument {index} is no string")
        return value

    @property
    def strings(self) -> tuple[bytes, ...]:
        """Return the arguments that are strings: paths, or data."""
        return tuple(item for item in self.arguments if isinstance(item, bytes))

    @property
    def flags(self) -> frozenset[str]:
        """Return all words of all arguments: O_CREAT, MAP_SHARED and so on."""
        words = " ".join(item for item in self.arguments if isinstance(item, str))
        return frozenset(re.findall(r"[A-Z][A-Z_0-9]+", words))


def record(command: Sequence[str], folder: Path, log: Path, *, without: str = "") -> list[Call]:
    """Run a program to its end under strace; return its calls that may concern ``folder``, in order.

    ``without`` names folders below it that are left out: caches in which other programs write, too. A power
    failure may as well have taken them whole.

    Raises:
        PeerUnavailableError: there is no strace, or the kernel lets nobody trace.
        PeerFailedError: the program failed.
    """
    strace = shutil.which("strace")
    if strace is None:
        raise PeerUnavailableError("strace is not installed; install the Debian package strace")
    options = [strace, "-f", "--seccomp-bpf", "-xx", f"-s{_STRING_BYTES}", f"-etrace={_CALLS}", f"-o{log}"]
    done = subprocess.run([*options, "--", *command], capture_output=True, text=True, check=False)
    if done.returncode:
        if "PTRACE" in done.stderr or "ptrace" in done.stderr:
            raise PeerUnavailableError(f"the kernel forbids tracing: {done.stderr.strip()[-200:]}")
        raise PeerFailedError(f"the traced program ended with {done.returncode}: {done.stderr[-2000:]}")
    with log.open(encoding="ascii", errors="replace") as lines:
        ours = threads(lines)
    with log.open(encoding="ascii", errors="replace") as lines:
        calls = parse(line for line in lines if line.split(" ", 1)[0] in ours)
        return list(relevant(calls, folder, without))


def threads(lines: Iterable[str]) -> frozenset[str]:
    """Return the threads of the program; the programs that it starts (GnuPG) have files of their own."""
    made: list[tuple[str, str]] = []
    begun: dict[str, str] = {}
    first = ""
    for line in lines:
        thread = line.split(" ", 1)[0]
        first = first or thread
        if "clone" in line:
            if "<unfinished" in line:
                begun[thread] = line
            elif (match := _CLONED.match(line)) and "CLONE_THREAD" in begun.pop(thread, "") + line:
                made.append((thread, match[2]))
    ours = {first}
    while new := {child for parent, child in made if parent in ours} - ours:
        ours |= new  # the call that made a thread may end after what the thread does
    return frozenset(ours)


def parse(lines: Iterable[str]) -> Iterator[Call]:
    """Read the log of ``strace -f -xx``; a call that others came between ends where it was resumed."""
    begun: dict[str, str] = {}
    for line in lines:
        if match := _BEGUN.match(line):
            begun[match[1]] = line[: match.end(3)]
            yield Call("begin", match[2], _arguments(match[3]), 0, match[1])
            continue
        text, moments = line, ("begin", "end")
        if (match := _RESUMED.match(line)) and match[1] in begun:
            text, moments = begun.pop(match[1]) + match[2], ("end", "end")
        if (match := _WHOLE.match(text)) and match[4] != "?":
            arguments, result = _arguments(match[3]), int(match[4], 0)
            if moments[0] == "begin":
                yield Call("begin", match[2], arguments, result, match[1])
            yield Call("end", match[2], arguments, result, match[1])


def _arguments(text: str) -> tuple[str | bytes, ...]:
    found: list[str | bytes] = []
    for match in _ARGUMENT.finditer(text):
        if match[2]:
            raise UnreadableTraceError("strace shortened a string")
        if match[1] is not None:
            found.append(bytes.fromhex(match[1].replace("\\x", "")))
        elif word := match[0].strip():
            found.append(word)
    return tuple(found)


def relevant(calls: Iterable[Call], folder: Path, without: str = "") -> Iterator[Call]:
    """Leave out what the program read and wrote elsewhere; most calls of a Python program do."""
    files = _Descriptors(folder, without)
    return (call for call in calls if files.names(call))


class _Descriptors:
    """The descriptors of files below a folder, and of connections."""

    def __init__(self, folder: Path, without: str) -> None:
        self._prefix = str(folder).encode() + b"/"
        self._without = f"/{without}".encode() if without else b""
        self._files: set[int] = set()
        self._connections: set[int] = set()

    def names(self, call: Call) -> bool:
        """Tell whether a call concerns one of them or the folder, and take note of what it does to them."""
        if call.name in OPENS:
            found = self._inside(call.strings[0])
            if found and call.moment == "end" and call.result >= 0:
                self._files.add(call.result)
            return found
        if call.name in NETWORK:
            if call.name == "connect" and _port(call):
                self._connections.add(call.number(0))
            return call.number(0) in self._connections
        if any(map(self._inside, call.strings)) or is_ack(call):
            return True
        return self._is_ours(call)

    def _is_ours(self, call: Call) -> bool:
        first = call.arguments[0] if call.arguments else ""
        if call.name == "mmap":
            return call.number(4) in self._files
        if call.name in ("copy_file_range", "splice"):
            return call.number(2) in self._files
        if not isinstance(first, str) or not first.isdigit():
            return False
        descriptor = int(first)
        if descriptor not in self._files | self._connections:
            return False
        if call.name == "close" and call.moment == "begin":
            self._files.discard(descriptor)
            self._connections.discard(descriptor)
        elif call.moment == "end" and duplicates(call):
            self._files.add(call.result)
        return True

    def _inside(self, path: bytes) -> bool:
        if not path.startswith(self._prefix):
            return path == self._prefix[:-1]
        return not self._without or self._without + b"/" not in path + b"/"


@dataclass(frozen=True, slots=True)
class Said:
    """Bytes that the program began to send over TCP; they may be anywhere when ``after`` calls are played."""

    after: int
    port: int
    connection: int
    """The connections to a port are numbered in the order in which they were made."""
    data: bytes


def spoken(calls: Iterable[Call]) -> Iterator[Said]:
    """Return what was sent to others, in order: the acknowledgements that a mail server sees.

    What sendfile(2) sends is left out: it is the content of a file, and what it is was said before.

    Raises:
        UnreadableTraceError: it was sent by sendmsg(2).
    """
    connections: dict[int, tuple[int, int]] = {}
    made: dict[int, int] = {}
    for after, call in enumerate(calls, 1):
        if call.moment != "begin":
            continue
        if call.name == "connect":
            port = _port(call)
            connections[call.number(0)] = (port, made.get(port, 0))
            made[port] = made.get(port, 0) + 1
        elif call.name == "close":
            connections.pop(call.number(0), None)
        elif call.name == "sendto":
            yield Said(after, *connections[call.number(0)], call.data(1))
        elif call.name == "sendmsg":
            raise UnreadableTraceError("sendmsg to a server is not modelled")


def _port(call: Call) -> int:
    """Return the port of the other side; 0 if it is no TCP connection (of a local socket)."""
    match = _PORT.search(str(call.arguments[1]))
    return int(match[1]) if match else 0


def duplicates(call: Call) -> bool:
    """Tell whether a call gives a descriptor a second number."""
    return (
        call.name == "fcntl"
        and call.result >= 0
        and not call.flags.isdisjoint({"F_DUPFD", "F_DUPFD_CLOEXEC"})
    )


def is_ack(call: Call) -> bool:
    """Tell whether a call is an acknowledgement."""
    return call.name == "write" and call.data(1).startswith(ACK)
