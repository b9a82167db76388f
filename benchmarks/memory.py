"""Peak memory of a process and all its children: the sum of PSS, sampled (DESIGN 10, row G4)."""

import re
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_PSS: Final = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)


def tree(pid: int) -> list[int]:
    """Return a process and everything it has started."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*"):
            try:
                found.extend(int(child) for child in (task / "children").read_text().split())
            except OSError:
                continue
    return found


def pss(pid: int) -> int:
    """Return the proportional set size of a process in bytes; 0 if it is gone."""
    try:
        found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_bytes())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


class Peak:
    """Samples some process trees in a thread; ``bytes`` is the largest sum seen of each."""

    def __init__(self, pids: dict[str, int], every: float = 0.05) -> None:
        self.bytes = dict.fromkeys(pids, 0)
        self._pids = pids
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            for name, pid in self._pids.items():
                total = sum(pss(one) for one in tree(pid))
                self.bytes[name] = max(self.bytes[name], total)
