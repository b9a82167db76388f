"""A private folder for keys and plaintext that is gone when the work is, however it ends.

At a signal that ends the program the folder is removed first. What a killed program left, its agent too, the
next one removes: nobody holds the lock of that folder any more.
"""

import fcntl
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from radpost.openpgp.gnupg import stop_agent

PREFIX: Final = "rpk-"
"""Short: the path of the agent's socket must be."""
HOME: Final = "g"
"""Where a keyring puts its GnuPG homes."""
_LOCK: Final = "lock"
_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder of mode 0700."""
    with (
        _ended_properly(),
        tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name,
        ExitStack() as stack,
    ):
        folder = Path(name)
        stack.callback(os.close, _locked(folder))
        _sweep(folder)
        yield folder


@contextmanager
def _ended_properly() -> Iterator[None]:
    """Let signals that would end the program at once end it as Ctrl-C does; other handlers stay."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    changed = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _locked(folder: Path) -> int:
    """Lock a folder as long as this process lives; the lock shows itself only when it is held."""
    draft = folder / f"{_LOCK}-draft"
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    draft.rename(folder / _LOCK)
    return descriptor


def _sweep(own: Path) -> None:
    """Remove folders of ours that nobody holds any more."""
    for folder in own.parent.glob(f"{PREFIX}*"):
        if folder == own:
            continue
        with suppress(OSError):
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(descriptor).st_uid == os.geteuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    for home in (folder / HOME).glob("*"):
                        stop_agent(home)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
