"""The one thing that tests run by an ordinary user cannot do themselves: what needs root, and nothing else.

``tools/run_tests.py`` starts this as root, on a Unix socket that only the test user may open, and ends it
with the tests. A connection names one of two services in its first line:

- ``postfix``: the rest of the connection is the dialogue of `radpost.testing.peers.postfix_root`, because the
  master must be root; when the connection ends, that Postfix ends.
- ``bare-root`` and options: runs ``tools/bare_root.py``; its output, then ``status N``.

Both run from the directory this file lies in, not from the test user's copy. It keeps other users of the
machine out; it is no fence against the tests themselves, which are code that root chose to run.

``tools/root_helper.py connect SOCKET SERVICE`` is the other end: it joins its standard input and output to a
service.
"""

import contextlib
import os
import pwd
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
POSTFIX = (
    "import sys; sys.path.insert(0, sys.argv[1]); from radpost.testing.peers.postfix_root import main; main()"
)
BARE_ROOT_OPTIONS = frozenset({"--demo", "--test"})


def command(service: str) -> list[str]:
    """Return the program of a service; the words after its name are options it may have."""
    name, *options = service.split() or [""]
    if name == "postfix" and not options:
        return [sys.executable, "-I", "-c", POSTFIX, str(ROOT / "src")]
    if name == "bare-root" and BARE_ROOT_OPTIONS.issuperset(options):
        return [sys.executable, str(ROOT / "tools/bare_root.py"), *options]
    raise ValueError(f"unknown service: {service}")


def first_line(connection: socket.socket) -> str:
    """Read the line that names the service, and not a byte of what follows."""
    line = b""
    while not line.endswith(b"\n") and len(line) < 1000:
        byte = connection.recv(1)
        if not byte:
            break
        line += byte
    return line.decode("utf-8", "replace").strip()


def serve_one(connection: socket.socket, uid: int, root: int = 0) -> None:
    """Check who asks, start the service on the connection and wait for its end."""
    with connection, contextlib.suppress(OSError):
        peer = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if peer not in (root, uid):
            return
        service = first_line(connection)
        try:
            argv = command(service)
        except ValueError as error:
            connection.sendall(f"{error}\nstatus 2\n".encode())
            return
        bare = service.startswith("bare-root")
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if bare else connection.fileno(),
            stdout=connection.fileno(),
            stderr=subprocess.STDOUT if bare else None,
            cwd="/",
            start_new_session=True,
        )
        status = process.wait()
        if bare:
            connection.sendall(f"status {status}\n".encode())


def serve(path: Path, user: str) -> int:
    """Listen until standard input ends, which it does when whoever started us is gone."""
    account = pwd.getpwnam(user)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        mask = os.umask(0o177)
        listener.bind(str(path))
        os.umask(mask)
        os.chown(path, account.pw_uid, account.pw_gid)
        listener.listen(16)
        threading.Thread(target=_accept, args=(listener, account.pw_uid), daemon=True).start()
        print("ready", flush=True)
        sys.stdin.buffer.read()
    return 0


def _accept(listener: socket.socket, uid: int) -> None:
    with contextlib.suppress(OSError):  # closed at the end
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve_one, args=(connection, uid), daemon=True).start()


def connect(path: Path, service: str) -> int:
    """Join standard input and output to a service."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        connection.sendall(f"{service}\n".encode())

        def forward() -> None:
            with contextlib.suppress(OSError):
                while data := os.read(0, 65536):
                    connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=forward, daemon=True).start()
        while data := connection.recv(65536):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    return 0


def main(argv: Sequence[str]) -> int:
    """Run ``serve SOCKET USER`` or ``connect SOCKET SERVICE``."""
    if len(argv) == 3 and argv[0] == "serve":
        return serve(Path(argv[1]), argv[2])
    if len(argv) == 3 and argv[0] == "connect":
        return connect(Path(argv[1]), argv[2])
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
