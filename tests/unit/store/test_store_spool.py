"""The spool says yes only after data and names are durable, and never after a failed sync (invariant 1)."""

import errno
import fcntl
import hashlib
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from radpost.errors import DISK_FULL, STORE_UNUSABLE, RadpostError
from radpost.store import spool as spool_module
from radpost.store.spool import Spool, Stored

CONTENT = b"object" * 1000
HASH = hashlib.sha256(CONTENT).hexdigest()


def keep(spool: Spool, *pieces: bytes) -> Stored:
    with spool.writer() as writer:
        for piece in pieces or (CONTENT,):
            writer.write(piece)
        return writer.commit()


def temporary(spool: Spool, content: bytes = CONTENT) -> tuple[Path, Stored]:
    path = spool.temporary(".dcm")
    path.write_bytes(content)
    return path, Stored(hashlib.sha256(content).hexdigest(), len(content))


class Calls:
    """Records the system calls that durability is made of, in their order, and can let one fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail: str = "") -> None:
        self.seen: list[tuple[str, str]] = []
        self.fail = fail
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._sync(name, getattr(os, name)))
        rename = Path.rename

        def renamed(path: Path, target: Path) -> Path:
            self.seen.append(("rename", str(target)))
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", renamed)

    def _sync(self, name: str, real: Callable[[int], None]) -> Callable[[int], None]:
        def call(descriptor: int) -> None:
            kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
            self.seen.append((kind, str(Path(f"/proc/self/fd/{descriptor}").readlink())))
            real(descriptor)
            if self.fail == kind:
                self.fail = ""  # the kernel reports a lost page once; a second sync would say yes
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        return call

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.seen]


def test_invariant_1_writer_syncs_file_then_renames_then_syncs_folder(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)
    stored = keep(spool)
    assert calls.kinds() == ["file", "rename", "folder"]
    assert calls.seen[0][1].startswith(str(spool.tmp))
    assert calls.seen[1][1] == str(spool.path(HASH))
    assert calls.seen[2][1] == str(spool.path(HASH).parent)
    assert stored == Stored(HASH, len(CONTENT))
    assert spool.path(HASH).read_bytes() == CONTENT
    assert list(spool.tmp.iterdir()) == []


def test_invariant_1_adopt_syncs_each_file_and_each_folder_once(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [temporary(spool, b"%d" % number) for number in range(300)]
    shards = {stored.sha256[:2] for _, stored in files}
    assert len(shards) < len(files)
    calls = Calls(monkeypatch)
    spool.adopt(files)
    together = ["file"] * len(files) + ["rename"] * len(files) + ["folder"] * len(shards)
    assert calls.kinds() == together, "no name before all is durable"
    for path, stored in files:
        assert not path.exists()
        assert hashlib.sha256(spool.path(stored.sha256).read_bytes()).hexdigest() == stored.sha256


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_invariant_1_failed_sync_is_never_retried_to_yes(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The second sync succeeds, as it does in Linux: only a fresh file may then become durable."""
    calls = Calls(monkeypatch, fail=kind)
    with spool.writer() as writer:
        writer.write(CONTENT)
        for _ in range(3):
            with pytest.raises(RadpostError) as caught:
                writer.commit()
            assert caught.value.reason is STORE_UNUSABLE
    assert calls.kinds().count(kind) == 1
    assert list(spool.tmp.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_invariant_1_failed_adoption_ends_the_temporary_files(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    files = [temporary(spool, b"one"), temporary(spool, b"two")]
    Calls(monkeypatch, fail=kind)
    for _ in range(2):
        with pytest.raises(RadpostError) as caught:
            spool.adopt(files)
        assert caught.value.reason is STORE_UNUSABLE
    assert list(spool.tmp.iterdir()) == []


def test_a_failed_write_cannot_be_committed(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    with spool.writer() as writer:
        writer.write(b"begin")

        class Full:
            def write(self, data: bytes) -> int:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            def close(self) -> None:
                real.close()

        real = writer._file
        monkeypatch.setattr(writer, "_file", Full())
        with pytest.raises(RadpostError) as caught:
            writer.write(b"rest")
        assert caught.value.reason is DISK_FULL
        monkeypatch.setattr(writer, "_file", real)
        with pytest.raises(RadpostError):
            writer.commit()
    assert list(spool.tmp.iterdir()) == []


def test_writer_without_commit_leaves_nothing(spool: Spool) -> None:
    with spool.writer() as writer:
        writer.write(CONTENT)
        assert len(list(spool.tmp.iterdir())) == 1
    assert list(spool.tmp.iterdir()) == []
    assert not spool.path(HASH).exists()


def test_writer_takes_views_and_counts_bytes(spool: Spool) -> None:
    with spool.writer() as writer:
        writer.write(memoryview(CONTENT)[:10])
        writer.write(bytearray(CONTENT[10:]))
        assert writer.size == len(CONTENT)
        assert writer.commit().sha256 == HASH


def test_invariant_2_same_content_twice_is_one_file(spool: Spool) -> None:
    keep(spool)
    with spool.open(HASH) as reader:
        keep(spool)
        assert reader.read() == CONTENT, "a reader of the replaced file is not disturbed"
    assert [path.name for path in spool.path(HASH).parent.iterdir()] == [HASH]


def test_add_file_copies_and_leaves_the_source(spool: Spool, tmp_path: Path) -> None:
    source = tmp_path / "foreign.dcm"
    source.write_bytes(CONTENT)
    assert spool.add_file(source).sha256 == HASH
    assert source.read_bytes() == CONTENT
    with pytest.raises(RadpostError):
        spool.add_file(tmp_path / "missing")
    assert list(spool.tmp.iterdir()) == []


def test_a_missing_file_is_a_damaged_store(spool: Spool) -> None:
    with pytest.raises(RadpostError) as caught:
        spool.open(HASH)
    assert caught.value.reason is STORE_UNUSABLE
    assert str(spool.root) not in str(caught.value)


def test_pages_of_a_file_that_was_left_are_given_back(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *_: left.append(os.fstat(fd).st_size))
    stored = keep(spool)
    spool.leave(stored.sha256)
    assert left == [len(CONTENT)]
    with spool.open(stored.sha256) as file:
        assert file.read() == CONTENT
    spool.remove(stored.sha256)
    spool.leave(stored.sha256)
    assert left == [len(CONTENT)]


def test_a_file_that_was_left_before_it_was_settled_goes_with_the_sync(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: calls.seen.append(("leave", "")))
    path, stored = temporary(spool)
    assert spool.link(path, stored)
    spool.leave(stored.sha256)
    assert "leave" not in calls.kinds()
    spool.settle([stored])
    assert calls.kinds() == ["file", "leave", "folder"]
    spool.settle([stored])
    assert calls.kinds().count("leave") == 1


def test_remove_twice(spool: Spool) -> None:
    keep(spool)
    spool.remove(HASH)
    spool.remove(HASH)
    assert not spool.path(HASH).exists()


def test_everything_is_private_even_with_an_open_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        spool = Spool(tmp_path / "deep" / "spool")
        spool.prepare()
        keep(spool)
        with spool.writer() as writer:
            writer.write(b"x")
            assert {path.stat().st_mode & 0o777 for path in spool.tmp.iterdir()} == {0o600}
    finally:
        os.umask(before)
    for path in (spool.root, *spool.root.rglob("*")):
        wanted = 0o700 if path.is_dir() else 0o600
        assert path.stat().st_mode & 0o777 == wanted, path


def test_prepare_closes_an_open_root_and_syncs_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "spool"
    root.mkdir(mode=0o755)
    root.chmod(0o755)
    calls = Calls(monkeypatch)
    Spool(root).prepare()
    assert root.stat().st_mode & 0o777 == 0o700
    names = [name for _, name in calls.seen]
    assert names[:4] == [str(root / "objects"), str(root), str(tmp_path), str(tmp_path.parent)]
    above = [folder for folder in tmp_path.parents if folder.stat().st_dev == tmp_path.stat().st_dev]
    assert names[3:] == [str(folder) for folder in above]
    Spool(root).prepare()
    assert len(list((root / "objects").iterdir())) == 256


def test_sweep_removes_leftovers_and_nothing_else(spool: Spool) -> None:
    keep(spool)
    for _ in range(3):
        temporary(spool)
    spool.temporary().symlink_to(spool.path(HASH))
    (spool.tmp / "incoming-abc").write_bytes(b"of an earlier gateway")
    spool.close()
    assert Spool(spool.root).sweep() == 5
    assert list(spool.tmp.iterdir()) == []
    assert spool.path(HASH).read_bytes() == CONTENT
    assert spool.sweep() == 0


_SENDS = """
import sys, time
from pathlib import Path
from radpost.store.spool import Spool
spool = Spool(Path(sys.argv[1]))
with spool.writer() as writer:
    writer.write(b"object")
    print("writing", flush=True)
    sys.stdin.readline()
    print(writer.commit().sha256, flush=True)
    spool.temporary().write_bytes(b"more")
    print("more", flush=True)
    sys.stdin.readline()
"""


def test_invariant_1_sweep_leaves_what_a_living_process_writes(spool: Spool) -> None:
    command = [sys.executable, "-c", _SENDS, str(spool.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sends:
        assert sends.stdin
        assert sends.stdout
        try:
            assert sends.stdout.readline() == "writing\n"
            assert spool.sweep() == 0, "'radpost run' starts while 'radpost send' takes files"
            sends.stdin.write("\n")
            sends.stdin.flush()
            stored = sends.stdout.readline().strip()
            assert spool.path(stored).read_bytes() == b"object"
            assert sends.stdout.readline() == "more\n"
            assert spool.sweep() == 0
        finally:
            sends.kill()
    assert spool.sweep() == 1, "nobody holds what a killed process left"
    assert list(spool.tmp.iterdir()) == []
    assert list((spool.root / "held").iterdir()) == []


def test_a_lock_that_was_swept_before_it_was_held_is_taken_again(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock
    swept: list[str] = []

    def flock(descriptor: int, operation: int) -> None:
        if not swept:
            swept.append("once")
            assert Spool(spool.root).sweep() == 0
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    path, _ = temporary(spool)
    assert swept
    assert Spool(spool.root).sweep() == 0
    assert path.exists()


def test_reserve_refuses_new_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, reserve_bytes=1000)
    monkeypatch.setattr(spool, "free_bytes", lambda: 1500)
    spool.require_space(500)
    with pytest.raises(RadpostError) as caught:
        spool.require_space(501)
    assert caught.value.reason is DISK_FULL


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, DISK_FULL),
        (errno.EDQUOT, DISK_FULL),
        (errno.EFBIG, DISK_FULL),
        (errno.EIO, STORE_UNUSABLE),
        (errno.EROFS, STORE_UNUSABLE),
    ],
)
def test_trouble_names_the_reason(number: int, reason: object) -> None:
    assert spool_module.trouble(OSError(number, "x")).reason is reason


FULL_DISK = """
import hashlib, os, sys
from pathlib import Path
from radpost.errors import DISK_FULL, RadpostError
from radpost.store.spool import Spool, Stored
spool = Spool(Path(sys.argv[1]) / "spool")
spool.prepare()
kept = []
reason = None
for number in range(1000):
    content = os.urandom(150_000)
    try:
        with spool.writer() as writer:
            writer.write(content)
            kept.append(writer.commit())
    except RadpostError as error:
        reason = error.reason
        break
assert reason is DISK_FULL, reason
assert kept, "nothing fitted at all"
assert list(spool.tmp.iterdir()) == [], "a failed file takes no space"
for stored in kept:
    assert hashlib.sha256(spool.path(stored.sha256).read_bytes()).hexdigest() == stored.sha256
names = {path.name for path in (spool.root / "objects").rglob("*") if path.is_file()}
assert names == {stored.sha256 for stored in kept}, "only what was acknowledged is there"
spool.remove(kept[0].sha256)
with spool.writer() as writer:
    writer.write(b"there is room again")
    writer.commit()
print("full after", len(kept))
"""


def run_full_disk(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_invariant_1_full_disk(tmp_path: Path) -> None:
    """A small tmpfs in a user namespace of its own; what was acknowledged stays, the rest leaves nothing."""
    script = tmp_path / "full.py"
    script.write_text(FULL_DISK)
    mount = f"mount -t tmpfs -o size=4m,mode=700 tmpfs {tmp_path} && cd /"
    probe = run_full_disk(["unshare", "-Urm", "sh", "-c", mount])
    if probe.returncode:
        pytest.skip(f"the kernel forbids a tmpfs in a user namespace ({probe.stderr.strip()[:80]})")
    other = tmp_path / "disk"
    other.mkdir()
    mount = mount.replace(str(tmp_path), str(other))
    done = run_full_disk(
        ["unshare", "-Urm", "sh", "-c", f"{mount} && exec {sys.executable} {script} {other}"]
    )
    assert done.returncode == 0, done.stderr
    assert "full after" in done.stdout


def test_invariant_1_file_size_limit(spool: Spool) -> None:
    """EFBIG in the middle of a write is a full disk too, and needs no special kernel."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(RadpostError) as caught:
            keep(spool, b"x" * 400_000)
        with pytest.raises(RadpostError) as buffered:
            keep(spool, *[b"y" * 1000] * 200)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.reason is DISK_FULL
    assert buffered.value.reason is DISK_FULL
    assert [path for path in (spool.root / "objects").rglob("*") if path.is_file()] == []
    assert list(spool.tmp.iterdir()) == []
