"""The receiving PACS in a process of its own, so that its Python takes nothing from who measures.

``python -m benchmarks.pacs DIRECTORY`` prints its port, then one line per object: data set hash and time.
"""

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from radpost.dicom.incoming import IncomingObject, StoreContext
from radpost.dicom.scp import ServerConfig, StorageServer
from radpost.dicom.session import AssociationInfo
from radpost.testing.store_scp import ReceivingPacs

_MEMORY: Final = Path("/dev/shm")


class _Telling(ReceivingPacs):
    """As cheap as a receiver can be that proves what came: nothing is synced, files stand in memory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._server = StorageServer(ServerConfig(port=0, sync=False), self)

    def store(self, association: AssociationInfo, context: StoreContext, data: IncomingObject) -> int:
        status = super().store(association, context, data)
        sys.stdout.write(f"{data.dataset_sha256} {time.monotonic()}\n")
        sys.stdout.flush()
        return status


class PacsProcess:
    """Starts the PACS and knows when each object was there (monotonic clock of the machine)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._times: dict[str, float] = {}
        self._changed = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.pacs", str(self._directory)]
        folder = Path(__file__).resolve().parent.parent
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder
        )
        assert process.stdout is not None
        self._process = process
        self.port = int(process.stdout.readline())
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(20)

    def wait(self, hashes: Iterable[str], timeout: float) -> float:
        """Wait until all objects are there; return when the last one was."""
        missing = set(hashes)
        deadline = time.monotonic() + timeout
        with self._changed:
            while missing - self._times.keys():
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    left = len(missing - self._times.keys())
                    raise TimeoutError(f"{left} of {len(missing)} objects did not reach the PACS")
            return max(self._times[digest] for digest in missing)

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            digest, moment = line.split()
            with self._changed:
                self._times.setdefault(digest, float(moment))
                self._changed.notify_all()


def main(directory: Path) -> None:
    """Run until standard input ends."""
    with contextlib.ExitStack() as stack:
        if _MEMORY.is_dir():
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=_MEMORY)))
        server = stack.enter_context(_Telling(directory))
        print(server.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
