"""What all peers share: availability, private directory, free ports, readiness, and an orderly end."""

import contextlib
import fcntl
import functools
import grp
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

PROGRAMS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "postfix": (("postfix", "postfix"),),
    "dovecot": (
        ("dovecot", "dovecot-core"),
        ("/usr/lib/dovecot/imap", "dovecot-imapd"),
        ("/usr/lib/dovecot/pop3", "dovecot-pop3d"),
        ("/usr/lib/dovecot/lmtp", "dovecot-lmtpd"),
    ),
    "orthanc": (("Orthanc", "orthanc"),),
    "dcmtk": tuple(
        (program, "dcmtk")
        for program in ("storescu", "storescp", "echoscu", "findscu", "movescu", "dcmqrscp", "dcmqridx")
    ),
    "gnupg": (("gpg", "gpg"), ("gpg-agent", "gpg-agent")),
    "sqop": (("sqop", "sqop"),),
    "rnp": (("rnp", "rnp"), ("rnpkeys", "rnp")),
    "openssl": (("openssl", "openssl"),),
    "mpack": (("mpack", "mpack"),),
    "maildrop": (("reformime", "maildrop"),),
    "strace": (("strace", "strace"),),
    "debootstrap": (("debootstrap", "debootstrap"),),
}
"""Peer name to its programs, each with the Debian package that brings it."""

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
_LOOPBACK = "127.0.0.1"
_PORTS = range(*map(int, os.environ.get("RADPOST_TEST_PORTS", "15000-32000").split("-")))
"""Where tests listen. A run inside of a run (tools/bare_root.py), which sees other files, has its own."""
_UNIX_SOCKET_ROOM = 40  # sockets below the directory must stay under 108 bytes, see unix(7)


class PeerUnavailableError(RuntimeError):
    """The peer cannot run here: a program is missing or a right; the text says which package or right."""


class PeerFailedError(RuntimeError):
    """The peer did not start, did not become ready or did not do what was asked; the text has its log."""


def find_program(name: str) -> str | None:
    """Return the absolute path of a program; daemons are in ``sbin``, which users lack in their PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SBIN}")


def missing(*names: str) -> tuple[str, ...]:
    """Say what these peers lack here, as sentences that name the Debian package; empty when all can run."""
    lacks: dict[str, None] = {}
    for name in names:
        for program, package in PROGRAMS[name]:
            if find_program(program) is None:
                lacks[f"{name}: install the Debian package {package}"] = None
        if name == "postfix" and not _can_be_root():
            lacks["postfix: its master needs root; run make test as root or allow 'sudo -n'"] = None
        if name == "strace" and (strace := find_program(name)) and (refusal := _no_tracing(strace)):
            lacks[f"strace: the kernel lets nobody trace a program of their own ({refusal})"] = None
    return tuple(lacks)


def require(*names: str) -> None:
    """Raise `PeerUnavailableError` unless all these peers can run here."""
    if lacks := missing(*names):
        raise PeerUnavailableError("; ".join(lacks))


@functools.cache
def _no_tracing(strace: str) -> str:
    """Say what keeps us from tracing our own programs: a container, or kernel.yama.ptrace_scope above 1."""
    command = [strace, "-f", "--seccomp-bpf", "-o", os.devnull, "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.stderr.strip()[-200:].replace("\n", "; ") if done.returncode else ""


def _can_be_root() -> bool:
    if os.geteuid() == 0 or "RADPOST_ROOT_HELPER" in os.environ:
        return True
    sudo = find_program("sudo")
    if sudo is None:
        return False
    return subprocess.run([sudo, "-n", "true"], capture_output=True, check=False, timeout=10).returncode == 0


@dataclass(frozen=True, slots=True)
class User:
    """The account a peer runs under."""

    name: str
    uid: int
    gid: int
    group: str

    @property
    def is_us(self) -> bool:
        """True when no change of user is needed."""
        return self.uid == os.geteuid()


def ordinary_user() -> User:
    """Return the caller's account, or ``nobody`` when the caller is root: peers do not run as root."""
    entry = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, grp.getgrgid(entry.pw_gid).gr_name)


def private_directory(owner: User | None = None) -> Path:
    """Make a directory of mode 0700 whose path is short enough for Unix sockets (and GnuPG's home)."""
    base = tempfile.gettempdir()
    path = Path(tempfile.mkdtemp(prefix="rp-", dir=base if len(base) <= _UNIX_SOCKET_ROOM else "/tmp"))  # noqa: S108 - long TMPDIR breaks Unix sockets
    if owner is not None and not owner.is_us:
        os.chown(path, owner.uid, owner.gid)
    return path


def own(path: Path, owner: User) -> None:
    """Give a file or a whole directory to the account the peer runs under."""
    if owner.is_us:
        return
    for entry in [path, *path.rglob("*")] if path.is_dir() else [path]:
        os.chown(entry, owner.uid, owner.gid, follow_symlinks=False)


def free_port() -> int:
    """Find a free TCP port on loopback, below the ephemeral range so that no client takes it first.

    All processes of this account take turns through one range, so that a port is not given again while
    whoever asked for it before has not yet bound it.
    """
    with os.fdopen(_turn_file(), "r+b") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        last = int(turn.read() or b"0") or random.SystemRandom().choice(_PORTS)
        for step in range(1, len(_PORTS)):
            port = _PORTS[(last - _PORTS.start + step) % len(_PORTS)]
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind((_LOOPBACK, port))
                turn.seek(0)
                turn.truncate()
                turn.write(str(port).encode())
                return port
    raise PeerFailedError("no free port on loopback")


def _turn_file() -> int:
    """Open the file that holds the port given last; root of a namespace of users has not root's file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    for number in range(100):
        path = Path(tempfile.gettempdir()) / f"radpost-ports-{os.geteuid()}-{number}"
        with contextlib.suppress(PermissionError):
            return os.open(path, flags, 0o600)
    raise PeerFailedError("no file for the turn of ports can be opened")


def wait_until(ready: Callable[[], bool], what: str, timeout: float = 20.0) -> None:
    """Poll until ``ready`` says yes; `PeerFailedError` when it does not in time."""
    end = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > end:
            raise PeerFailedError(f"{what}: not within {timeout:g} s")
        time.sleep(0.02)


def answers(port: int, greeting: bytes = b"") -> bool:
    """Tell whether something listens on the port and, if asked, greets with these bytes."""
    try:
        with socket.create_connection((_LOOPBACK, port), timeout=2) as connection:
            return not greeting or connection.recv(512).startswith(greeting)
    except OSError:
        return False


def end(process: subprocess.Popen[bytes], grace: float) -> None:
    """End one process that we started (and its process group, which is its own)."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(grace)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _clean(processes: list[subprocess.Popen[bytes]], directory: Path) -> None:
    while processes:
        end(processes.pop(), 10.0)
    shutil.rmtree(directory, ignore_errors=True)


class Peer:
    """A program of Debian that runs in a private directory for the length of a ``with`` block.

    Subclasses set `needs`, write their configuration and launch in `_launch`, and say in `_is_ready`
    when they can be used. ``start`` tries again with other ports when somebody was faster with one.
    """

    needs: tuple[str, ...] = ()
    start_timeout: float = 20.0

    def __init__(self) -> None:
        self.user = ordinary_user()
        self.directory = Path()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ports: dict[str, int] = {}
        self._cleaner: weakref.finalize[..., Peer] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the peer and return when it is ready for use."""
        require(*self.needs)
        for attempt in (1, 2, 3):
            self.directory = private_directory(self.user)
            # runs at interpreter exit too, so that a failed test leaves no server behind
            self._cleaner = weakref.finalize(self, _clean, self._processes, self.directory)
            try:
                self._launch()
                wait_until(self._alive_and_ready, type(self).__name__, self.start_timeout)
            except (PeerFailedError, OSError) as error:
                log = self.log()[-3000:]
                self.stop()
                if attempt < 3 and "in use" in log:
                    self._ports.clear()
                    continue
                raise PeerFailedError(f"{error}\n{log}") from error
            return

    def stop(self) -> None:
        """Stop what was started here, by process id, and remove the private directory."""
        if self._cleaner is not None:
            self._cleaner()

    def log(self) -> str:
        """Return what the peer wrote to its log so far."""
        try:
            return (self.directory / "log").read_text("utf-8", "replace")
        except OSError:
            return ""

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the running processes that were started here (without their children)."""
        return tuple(process.pid for process in self._processes if process.poll() is None)

    def _port(self, name: str) -> int:
        """Return a free port; when the peer is started again, the one that it had."""
        return self._ports.setdefault(name, free_port())

    def _launch(self) -> None:
        raise NotImplementedError

    def _is_ready(self) -> bool:
        raise NotImplementedError

    def _alive_and_ready(self) -> bool:
        for process in self._processes:
            if (status := process.poll()) is not None:
                raise PeerFailedError(f"{type(self).__name__} ended at once with status {status}")
        return self._is_ready()

    def _spawn(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a program of this peer under its user; output goes to the log."""
        stay = self.user.is_us
        with (self.directory / "log").open("ab") as log:
            own(self.directory / "log", self.user)
            process = subprocess.Popen(
                [find_program(argv[0]) or argv[0], *argv[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env={**os.environ, "HOME": str(self.directory), **(env or {})},
                start_new_session=True,
                user=None if stay else self.user.uid,
                group=None if stay else self.user.gid,
                extra_groups=None if stay else (),
            )
        self._processes.append(process)
        return process


@contextlib.contextmanager
def all_of(*peers: Peer) -> Iterator[None]:
    """Start several peers in order and stop them in reverse."""
    with contextlib.ExitStack() as stack:
        for peer in peers:
            stack.enter_context(peer)
        yield
