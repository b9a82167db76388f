"""GnuPG as a pipe: a home of its own, bounded parallelism, verdicts from the status lines (DESIGN 6).

GnuPG writes plaintext before it knows the tag, so its output goes to a `PlaintextWriter`, and is released
only by `gnupg_status.judge`. It is never given a network: no key look-ups, no dirmngr.
"""

import contextlib
import os
import selectors
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from radpost.errors import (
    ENGINE_FAULT,
    NO_USABLE_KEY,
    OWN_KEY_UNUSABLE,
    PROGRAM_MISSING,
    RadpostError,
)
from radpost.openpgp import gnupg_status
from radpost.openpgp.armor import ArmorWriter, PlainWriter, open_message
from radpost.openpgp.budget import Budget
from radpost.openpgp.plaintext import PlaintextWriter
from radpost.openpgp.values import (
    Buffer,
    Chunk,
    Compression,
    Limits,
    Opened,
    Sealed,
    Signature,
    Source,
    decisive,
    octets,
)

_COMMON = (
    "--no-options",
    "--batch",
    "--no-tty",
    "--quiet",
    "--no-greeting",
    "--no-permission-warning",
    "--no-secmem-warning",
    "--no-auto-check-trustdb",
    "--no-auto-key-locate",
    "--disable-dirmngr",
    "--display-charset=utf-8",
    "--trust-model=always",
    "--pinentry-mode=error",
)
# without auto-expand-secmem many parallel RSA decryptions fail with a false "No secret key" (GnuPG 2.2.40)
_AGENT_CONF = "auto-expand-secmem\ndisable-scdaemon\nno-allow-external-cache\nno-grab\n"
_PIPE = 1 << 20
_READ = 1 << 18
_F_SETPIPE_SZ = 1031
_MAX_HOME = 80
_RETRIES = 4


class Keys(Protocol):
    """What the engine needs to know of a keyring."""

    def owns(self, keyid: str) -> bool:
        """Whether a key ID names a secret key of ours."""
        ...

    def primary_of(self, name: str) -> str | None:
        """Return the primary fingerprint that a key ID or fingerprint belongs to."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run of GnuPG."""

    code: int
    report: gnupg_status.Report
    output: bytes = b""


def prepare_home(home: Path) -> None:
    """Make a private home with the agent's settings."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    conf = home / "gpg-agent.conf"
    if not conf.exists():
        conf.write_text(_AGENT_CONF, encoding="ascii")


@contextlib.contextmanager
def short_path(home: Path) -> Iterator[Path]:
    """Give a path of a home that is short enough for the agent's sockets: a link to it, if need be."""
    home = home.absolute()
    if len(os.fsencode(home)) <= _MAX_HOME:
        yield home
        return
    with tempfile.TemporaryDirectory(prefix="rp-", dir="/tmp") as folder:  # mode 0700, random
        link = Path(folder) / "h"
        link.symlink_to(home)
        yield link


class GnuPG:
    """Runs GnuPG with one home; close it to end the agent it started."""

    def __init__(self, home: Path, *, parallel: int = 4) -> None:
        prepare_home(home)
        program = shutil.which("gpg")
        if program is None or shutil.which("gpg-agent") is None or shutil.which("gpgconf") is None:
            raise RadpostError(PROGRAM_MISSING, "Debian package gnupg (gpg, gpg-agent)")
        self.home = home
        self._stack = contextlib.ExitStack()
        self._path = self._stack.enter_context(short_path(home))
        self._program = program
        self._slots = threading.BoundedSemaphore(parallel)
        self._lock = threading.Lock()
        self._agent = False

    def close(self) -> None:
        """End the agent of this home, if we used it."""
        with self._lock:
            if self._agent:
                self._agent = False
                _stop(self._path)
            self._stack.close()

    def small(self, arguments: Sequence[str], data: bytes = b"", *, secret: bool = False) -> Run:
        """Run with small input and output."""
        out = bytearray()
        run = self._run(arguments, iter([data] if data else []), out.extend, 300.0, secret=secret)
        return Run(run.code, run.report, bytes(out))

    def seal(
        self,
        source: Source,
        sink: BinaryIO,
        *,
        recipients: Sequence[str],
        signer: str | None,
        compress: Compression,
        armor: bool,
        cipher: str,
        digest: str,
        timeout: float,
    ) -> Sealed:
        """Sign and encrypt to exactly the given (sub)keys."""
        arguments = ["--output=-", f"--cipher-algo={cipher}", f"--digest-algo={digest}"]
        arguments += ["--compress-algo=none"] if compress is Compression.NONE else _ZIP_FAST
        for recipient in recipients:
            arguments += ["--recipient", f"{recipient}!"]
        if signer is not None:
            arguments += ["--local-user", f"{signer}!", "--sign"]
        arguments += ["--encrypt"]
        counter = _Counter(source)
        out = ArmorWriter(sink) if armor else PlainWriter(sink)
        run = self._run(arguments, iter(counter), out.write, timeout, secret=signer is not None)
        if run.report.has("INV_SGNR"):
            raise RadpostError(OWN_KEY_UNUSABLE)
        if run.report.has("INV_RECP"):
            raise RadpostError(NO_USABLE_KEY)
        if run.code or not run.report.has("END_ENCRYPTION"):
            raise RadpostError(ENGINE_FAULT, f"GnuPG ended with {run.code}")
        out.close()
        return Sealed(out.size, counter.size, "gnupg", tuple(recipients))

    def open(self, source: BinaryIO, keys: Keys, *, temp: Path, limits: Limits, legacy: bool) -> Opened:
        """Decrypt and verify; a false "no secret key" is tried again, then it is ENGINE_FAULT."""
        start = source.tell()
        for attempt in range(_RETRIES):
            source.seek(start)
            try:
                return self._open(source, keys, temp=temp, limits=limits, legacy=legacy)
            except gnupg_status.TransientFaultError:
                if attempt == _RETRIES - 1:
                    raise
                time.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")

    def _open(self, source: BinaryIO, keys: Keys, *, temp: Path, limits: Limits, legacy: bool) -> Opened:
        writer = PlaintextWriter(temp, limits.memory)
        budget = Budget(limits.max_plaintext, limits.max_ratio, limits.ratio_floor)

        def feed() -> Iterator[bytes]:
            for piece in open_message(source)[1]:
                budget.consumed += len(piece)
                yield piece

        def take(piece: bytes) -> None:
            budget.check(writer.size + len(piece))
            writer.write(piece)

        try:
            # in batch mode GnuPG ends at a bad signature, before it has checked the MDC
            run = self._run(
                ["--no-batch", "--output=-", "--decrypt"], feed(), take, limits.timeout, secret=True
            )
            facts = gnupg_status.judge(run.report, keys.owns, writer.size, legacy=legacy)
        except BaseException:
            writer.discard()
            raise
        found = gnupg_status.signatures(run.report, keys.primary_of)
        best = decisive(found)
        return Opened(
            best,
            writer.finish(),
            facts.integrity,
            facts.encrypted,
            facts.cipher,
            (*facts.warnings, *gnupg_status.weak_digests(run.report)),
            found,
            _recipient(run.report),
            "gnupg",
        )

    def verify(self, data: Iterable[Buffer], signature: bytes, keys: Keys, timeout: float) -> Signature:
        """Verify a detached signature of any kind that GnuPG knows."""
        with _memory_file(signature) as handle:
            arguments = ["--enable-special-filenames", "--verify", "--", f"-&{handle}", "-"]
            run = self._run(arguments, iter(data), _nothing, timeout, secret=False, handles=(handle,))
        found = gnupg_status.signatures(run.report, keys.primary_of)
        if not found:
            raise RadpostError(ENGINE_FAULT, "GnuPG said nothing about the signature")
        return decisive(found)

    def sign(self, data: Iterable[Buffer], signer: str, digest: str, timeout: float) -> bytes:
        """Return a binary detached signature."""
        out = bytearray()
        arguments = ["--output=-", f"--digest-algo={digest}", "--local-user", f"{signer}!", "--detach-sign"]
        run = self._run(arguments, iter(data), out.extend, timeout, secret=True)
        if run.code or not run.report.has("SIG_CREATED"):
            raise RadpostError(OWN_KEY_UNUSABLE, "GnuPG did not sign")
        return bytes(out)

    def _launch_agent(self) -> None:
        with self._lock:
            if not self._agent:
                _gpgconf(self._path, "--launch")
                self._agent = True

    def _run(
        self,
        arguments: Sequence[str],
        feed: Iterator[Buffer],
        take: Callable[[bytes], object],
        timeout: float,
        *,
        secret: bool,
        handles: tuple[int, ...] = (),
    ) -> Run:
        if secret:
            self._launch_agent()
        with self._slots, _memory_file() as status, _memory_file() as errors:
            command = [self._program, "--homedir", str(self._path), *_COMMON, f"--status-fd={status}"]
            with subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=(status, *handles),
                env=_environment(self._path),
                bufsize=0,
            ) as process:
                try:
                    _pump(process, feed, take, time.monotonic() + timeout)
                    code = process.wait(timeout=30)
                except BaseException:
                    process.kill()
                    raise
            report = gnupg_status.read(_read_all(status))
        if code < 0:
            raise RadpostError(ENGINE_FAULT, f"GnuPG was ended by signal {-code}")
        return Run(code, report)


_ZIP_FAST = ["--compress-algo=zip", "--compress-level=1"]


def _pump(
    process: "subprocess.Popen[bytes]",
    feed: Iterator[Buffer],
    take: Callable[[bytes], object],
    deadline: float,
) -> None:
    """Write and read at once without threads; neither side can block the other."""
    assert process.stdin is not None
    assert process.stdout is not None
    source, sink = process.stdin, process.stdout
    for pipe in (source, sink):
        _widen(pipe.fileno())
    os.set_blocking(source.fileno(), False)
    pending = memoryview(b"")
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_WRITE)
        selector.register(sink, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0))
            if not ready:
                raise RadpostError(ENGINE_FAULT, "GnuPG took too long")
            for key, _ in ready:
                if key.fileobj is sink:
                    data = os.read(sink.fileno(), _READ)
                    if data:
                        take(data)
                    else:
                        selector.unregister(sink)
                    continue
                pending = _advance(source.fileno(), pending, feed)
                if not pending:
                    selector.unregister(source)
                    source.close()


def _advance(target: int, pending: memoryview, feed: Iterator[Buffer]) -> memoryview:
    """Write some; return what waits, or nothing if the end has come."""
    while not pending:
        piece = next(feed, None)
        if piece is None:
            return memoryview(b"")
        pending = octets(piece)
    try:
        written = os.write(target, pending[:_PIPE])
    except BlockingIOError:
        return pending
    except BrokenPipeError:
        return memoryview(b"")  # GnuPG has seen enough; its status says why
    rest = pending[written:]
    while not rest:
        piece = next(feed, None)
        if piece is None:
            break
        rest = octets(piece)
    return rest


def _widen(handle: int) -> None:
    import fcntl  # noqa: PLC0415  # Linux only, and only a matter of speed

    with contextlib.suppress(OSError):
        fcntl.fcntl(handle, _F_SETPIPE_SZ, _PIPE)


class _Counter:
    """The source as plain buffers, counted."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.size = 0

    def __iter__(self) -> Iterator[Buffer]:
        for item in self._source:
            data = octets(item.data if isinstance(item, Chunk) else item)
            self.size += len(data)
            yield data


def _recipient(report: gnupg_status.Report) -> str | None:
    named = report.first("DECRYPTION_KEY")
    return named[0] if named else None


def _nothing(_data: bytes) -> None:
    """Drop output nobody needs."""


@contextlib.contextmanager
def _memory_file(content: bytes = b"") -> Iterator[int]:
    handle = os.memfd_create("gnupg")
    try:
        if content:
            os.write(handle, content)
            os.lseek(handle, 0, os.SEEK_SET)
        yield handle
    finally:
        os.close(handle)


def _read_all(handle: int) -> bytes:
    size = os.lseek(handle, 0, os.SEEK_END)
    return os.pread(handle, size, 0)


def _environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(home), "LC_ALL": "C.UTF-8"}


def _gpgconf(home: Path, action: str) -> None:
    try:
        subprocess.run(
            ["gpgconf", "--homedir", str(home), action, "gpg-agent"],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_environment(home),
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RadpostError(ENGINE_FAULT, f"gpg-agent cannot be controlled ({action})") from error


def _stop(path: Path) -> None:
    with contextlib.suppress(RadpostError):
        _gpgconf(path, "--kill")


def stop_agent(home: Path) -> None:
    """End the agent of this home and no other."""
    with short_path(home) as path:
        _stop(path)
