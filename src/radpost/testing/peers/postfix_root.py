"""The part of the Postfix peer that needs root: ``python -m radpost.testing.peers.postfix_root``.

Reads one line of JSON (main, master, tables), makes a private instance, answers ``ready`` and then obeys
one command per line: ``queue`` (number of mails in the queue), ``flush``, ``log``, ``stop``. End of input
stops it as well, so that Postfix never outlives the test that started it, however that one ended.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

_DAEMONS = Path("/usr/lib/postfix/sbin")
_SHIPPED = Path("/etc/postfix")
_QUEUES = ("maildrop", "incoming", "active", "deferred", "hold")
_PARAMETER = re.compile(r"[a-z][a-z0-9_]*\Z")


class Instance:
    """One private Postfix below a directory of root."""

    def __init__(self, spec: Mapping[str, object]) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="rp-postfix-", dir="/tmp"))
        # the daemons drop root and must still pass through to queue and data
        self.root.chmod(0o755)
        self.etc, self.queue, self.data = (self.root / part for part in ("etc", "queue", "data"))
        for part in (self.etc, self.queue, self.data):
            part.mkdir(mode=0o755)
        shutil.chown(self.data, "postfix", "postfix")
        self._configure(spec)

    def _configure(self, spec: Mapping[str, object]) -> None:
        main, master, tables = spec["main"], spec["master"], spec["tables"]
        if not isinstance(main, dict) or not isinstance(master, str) or not isinstance(tables, dict):
            raise TypeError("main and tables are objects, master is a string")
        for name in ("postfix-files", "dynamicmaps.cf"):
            if (_SHIPPED / name).exists():
                shutil.copy(_SHIPPED / name, self.etc / name)
        for name, content in tables.items():
            (self.etc / Path(name).name).write_text(str(content), "utf-8")
        fixed = {
            "compatibility_level": "3.6",
            "queue_directory": self.queue,
            "data_directory": self.data,
            "daemon_directory": _DAEMONS,
            "command_directory": "/usr/sbin",
            "config_directory": self.etc,
            "mail_owner": "postfix",
            "setgid_group": "postdrop",
            "maillog_file": self.root / "log",
            "maillog_file_prefixes": self.root,
        }
        lines = []
        for name, value in {**fixed, **main}.items():
            text = str(value).replace("@ETC@", str(self.etc))
            if not _PARAMETER.match(name) or "\n" in text:
                raise ValueError(f"not a parameter: {name}")
            lines.append(f"{name} = {text}\n")
        (self.etc / "main.cf").write_text("".join(lines), "utf-8")
        (self.etc / "master.cf").write_text(master, "utf-8")
        for path in self.etc.iterdir():
            # Postfix reads a file of this second again and again, because it might still be changing
            os.utime(path, (time.time() - 60, time.time() - 60))

    def start(self) -> None:
        """Start the master; it is in the background and initialised when this returns.

        ``postfix start`` would first check the permissions of everything it owns; what it would make
        for a new queue is listed in ``postfix-files`` and is made here.
        """
        for line in (self.etc / "postfix-files").read_text("utf-8").splitlines():
            if line.startswith("$queue_directory/") and line.count(":") >= 5:
                path, kind, owner, group, mode = line.split(":")[:5]
                if kind == "d":
                    self._make(path.partition("/")[2], owner, group, int(mode, 8))
        done = subprocess.run(
            [str(_DAEMONS / "master"), "-c", str(self.etc), "-w"],
            capture_output=True,
            check=False,
            timeout=60,
            start_new_session=True,
        )
        if done.returncode:
            raise RuntimeError(done.stderr.decode("utf-8", "replace") + self.log())

    def _make(self, name: str, owner: str, group: str, mode: int) -> None:
        path = self.queue / name
        path.mkdir(exist_ok=True)
        names = {"$mail_owner": "postfix", "$setgid_group": "postdrop", "-": "root"}
        shutil.chown(path, names.get(owner, owner), names.get(group, group))
        path.chmod(mode)

    def master(self) -> int | None:
        """Return the process id of the master, as it wrote it itself."""
        try:
            return int((self.queue / "pid" / "master.pid").read_text("ascii"))
        except (OSError, ValueError):
            return None

    def stop(self) -> None:
        """Stop our master and its children, and remove everything."""
        pid = self.master()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)  # the master passes it to its own process group
                end = time.monotonic() + 10
                while _runs(pid):
                    if time.monotonic() > end:
                        break
                    time.sleep(0.01)
                os.killpg(pid, signal.SIGKILL)
        # children may write a last time while the tree is removed
        for _ in range(5):
            shutil.rmtree(self.root, ignore_errors=True)
            if not self.root.exists():
                break
            time.sleep(0.1)

    def queued(self) -> int:
        """Count the mails that are not yet delivered or bounced."""
        return sum(1 for queue in _QUEUES for path in (self.queue / queue).rglob("*") if path.is_file())

    def log(self) -> str:
        """Return Postfix's log."""
        try:
            return (self.root / "log").read_text("utf-8", "replace")
        except OSError:
            return ""

    def command(self, word: str) -> object:
        """Obey one command and return what to answer."""
        if word == "queue":
            return self.queued()
        if word == "log":
            return self.log()
        if word == "flush":
            subprocess.run(
                ["/usr/sbin/postqueue", "-c", str(self.etc), "-f"],
                capture_output=True,
                check=False,
                timeout=30,
            )
            return "flushed"
        return f"unknown command {word}"


def _runs(pid: int) -> bool:
    """Tell whether a process runs; one that only waits to be collected by its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def serve(commands: TextIO, answers: TextIO) -> int:
    """Run one instance until ``stop`` or the end of the input."""

    def answer(value: object) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    instance = Instance(json.loads(commands.readline()))
    try:
        try:
            instance.start()
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            answer({"failed": str(error)})
            return 1
        answer({"ready": instance.master()})
        for line in commands:
            if line.strip() == "stop":
                break
            answer(instance.command(line.strip()))
    finally:
        instance.stop()
    with contextlib.suppress(OSError):  # whoever started us may be gone already
        answer("stopped")
    return 0


def main() -> int:
    """Entry point; SIGTERM ends it in order, SIGINT belongs to whoever started us."""

    def terminated(_signal: int, _frame: object) -> None:
        raise SystemExit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, terminated)
    return serve(sys.stdin, sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
