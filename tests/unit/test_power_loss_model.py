"""The model of a disk that loses power promises what POSIX promises, and nothing else."""

from pathlib import Path
from random import Random

import pytest

from radpost.testing.powerloss import Disk
from radpost.testing.tracing import Call, UnreadableTraceError, parse, relevant, spoken, threads

ROOT = Path("/r")


def quoted(data: bytes) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in data) + '"'


def opened(descriptor: int, path: str, flags: str = "O_RDWR|O_CREAT|O_CLOEXEC, 0600", pid: int = 1) -> str:
    return f"{pid}  openat(AT_FDCWD, {quoted(path.encode())}, {flags}) = {descriptor}"


def write(descriptor: int, data: bytes, pid: int = 1) -> str:
    return f"{pid}  write({descriptor}, {quoted(data)}, {len(data)}) = {len(data)}"


def sync(descriptor: int, name: str = "fdatasync", pid: int = 1, result: str = "0") -> str:
    return f"{pid}  {name}({descriptor}) = {result}"


def folder_sync(path: str = "/r") -> list[str]:
    return [opened(9, path, "O_RDONLY|O_DIRECTORY"), sync(9, "fsync"), "1  close(9) = 0"]


def rename(old: str, new: str) -> str:
    return f"1  rename({quoted(old.encode())}, {quoted(new.encode())}) = 0"


def played(lines: list[str]) -> Disk:
    disk = Disk(ROOT)
    for call in parse(lines):
        disk.play(call)
    return disk


def states(lines: list[str], tmp_path: Path, count: int = 200) -> list[dict[str, bytes]]:
    """Return the states the disk may be in afterwards, as far as chance shows them."""
    disk = played(lines)
    tmp_path.mkdir(exist_ok=True)
    found: list[dict[str, bytes]] = []
    for number in range(count):
        image = tmp_path / str(number)
        disk.image(image, Random(number))
        files = {
            str(path.relative_to(image)): path.read_bytes() for path in image.rglob("*") if path.is_file()
        }
        if files not in found:
            found.append(files)
    return found


def test_nothing_is_promised_without_sync(tmp_path: Path) -> None:
    found = states([opened(3, "/r/a"), write(3, b"abc")], tmp_path)
    assert {} in found
    assert {"a": b""} in found
    assert {"a": b"\0\0\0"} in found, "the size may be there before the data"
    assert {"a": b"abc"} in found


def test_synced_file_may_still_lack_its_name(tmp_path: Path) -> None:
    found = states([opened(3, "/r/a"), write(3, b"abc"), sync(3)], tmp_path)
    assert sorted(found, key=len) == [{}, {"a": b"abc"}]


def test_synced_name_may_still_lack_its_content(tmp_path: Path) -> None:
    found = states([opened(3, "/r/a"), write(3, b"abc"), *folder_sync()], tmp_path)
    assert {} not in found
    assert {"a": b""} in found


def test_both_synced_is_one_state(tmp_path: Path) -> None:
    lines = [opened(3, "/r/a"), write(3, b"abc"), sync(3), *folder_sync()]
    assert states(lines, tmp_path) == [{"a": b"abc"}]


def test_a_failed_sync_promises_nothing(tmp_path: Path) -> None:
    failed = sync(3, result="-1 EIO (Input/output error)")
    found = states([opened(3, "/r/a"), write(3, b"abc"), failed, *folder_sync()], tmp_path)
    assert {"a": b""} in found


def test_rename_of_a_synced_file_is_whole_under_one_name_or_both(tmp_path: Path) -> None:
    begin = [opened(3, "/r/t"), write(3, b"abc"), sync(3), *folder_sync()]
    found = states([*begin, rename("/r/t", "/r/a")], tmp_path)
    assert all(set(state.values()) <= {b"abc"} for state in found)
    assert {"t": b"abc"} in found
    assert {"a": b"abc"} in found
    assert {"a": b"abc", "t": b"abc"} in found
    assert states([*begin, rename("/r/t", "/r/a"), *folder_sync()], tmp_path / "n") == [{"a": b"abc"}]


def test_folder_itself_needs_the_sync_of_the_folder_above(tmp_path: Path) -> None:
    lines = [f"1  mkdir({quoted(b'/r/d')}, 0700) = 0", opened(3, "/r/d/a"), write(3, b"abc"), sync(3)]
    assert {} in states([*lines, *folder_sync("/r/d")], tmp_path)
    assert states([*lines, *folder_sync("/r/d"), *folder_sync()], tmp_path / "n") == [{"d/a": b"abc"}]


def test_sectors_are_torn_and_never_run_backwards(tmp_path: Path) -> None:
    two = b"1" * 1024
    new = b"2" * 1024
    lines = [opened(3, "/r/a"), write(3, two), sync(3), *folder_sync()]
    overwrite = [f"1  pwrite64(3, {quoted(data)}, 1024, 0) = 1024" for data in (new, b"3" * 1024)]
    found = states([*lines, *overwrite], tmp_path)
    halves = {(state["a"][:1], state["a"][512:513]) for state in found}
    assert (b"2", b"1") in halves
    assert (b"1", b"3") in halves
    assert all(len(set(state["a"][:512])) == 1 for state in found), "a sector is written as a whole"
    partly = [write(3, b"x"), write(3, b"y")]
    ends = {state["a"][1024:] for state in states([*lines, *partly], tmp_path / "n")}
    assert b"xy" in ends
    assert b"\0y" not in ends, "one sector shows no later write without the earlier one"


def test_cut_off_data_do_not_come_back(tmp_path: Path) -> None:
    lines = [opened(3, "/r/a"), write(3, b"secret"), "1  ftruncate(3, 0) = 0", "1  ftruncate(3, 6) = 0"]
    assert states([*lines, sync(3), *folder_sync()], tmp_path) == [{"a": b"\0" * 6}]


def test_sync_promises_only_what_was_written_when_it_began(tmp_path: Path) -> None:
    lines = [
        opened(3, "/r/a"),
        *folder_sync(),
        write(3, b"early"),
        "1  fdatasync(3 <unfinished ...>",
        write(3, b"late", pid=2),
        "1  <... fdatasync resumed>) = 0",
    ]
    contents = {state["a"] for state in states(lines, tmp_path)}
    assert b"early" in contents
    assert b"earlylate" in contents
    assert all(content.startswith(b"early") for content in contents)


def test_two_syncs_of_one_folder_at_once_promise_nothing_twice(tmp_path: Path) -> None:
    lines = [
        opened(4, "/r", "O_RDONLY|O_DIRECTORY"),
        opened(5, "/r", "O_RDONLY|O_DIRECTORY", pid=2),
        opened(3, "/r/a"),
        "1  fsync(4 <unfinished ...>",
        "2  fsync(5 <unfinished ...>",
        "2  <... fsync resumed>) = 0",
        opened(6, "/r/b"),
        "1  <... fsync resumed>) = 0",
    ]
    found = states(lines, tmp_path)
    assert {"a": b""} in found
    assert {"a": b"", "b": b""} in found
    assert all("a" in state for state in found)


def test_acknowledgement_counts_from_its_beginning() -> None:
    begun = f"1  write(8, {quoted(b'ack one')}, 7 <unfinished ...>"
    disk = played([begun])
    assert disk.acknowledged == [b"one"]


def test_memory_mapped_file_may_hold_anything(tmp_path: Path) -> None:
    mapped = "1  mmap(NULL, 32768, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0) = 0x7f0000000000"
    found = states([opened(3, "/r/shm"), mapped, sync(3), *folder_sync()], tmp_path, 20)
    assert {len(state["shm"]) for state in found} == {0, 3, 32768}


@pytest.mark.parametrize(
    "line",
    [
        "1  writev(3, [{iov_base=" + quoted(b"abc") + ", iov_len=3}], 1) = 3",
        "1  dup(3) = 4",
        "1  sendfile(3, 5, [0], 10) = 10",
        f"1  symlink({quoted(b'/r/a')}, {quoted(b'/r/b')}) = 0",
        "1  copy_file_range(5, NULL, 3, NULL, 10, 0) = 10",
    ],
)
def test_what_is_not_modelled_is_said(line: str) -> None:
    with pytest.raises(UnreadableTraceError):
        played([opened(3, "/r/a"), line])


def test_recording_leaves_out_other_files_but_no_way_into_ours() -> None:
    lines = [
        opened(3, "/elsewhere"),
        write(3, b"abc"),
        opened(4, "/r/a"),
        write(8, b"ack one"),
        "1  copy_file_range(3, NULL, 4, NULL, 10, 0) = 10",
        "1  close(4) = 0",
        write(4, b"a socket by now"),
    ]
    kept = [call.name for call in relevant(parse(lines), ROOT) if call.moment == "begin"]
    assert kept == ["openat", "write", "copy_file_range", "close"]


def test_recording_leaves_out_caches_by_their_name() -> None:
    lines = [opened(3, "/r/cache/a"), write(3, b"abc"), opened(4, "/r/cached"), sync(4)]
    kept = [call.name for call in relevant(parse(lines), ROOT, "cache") if call.moment == "begin"]
    assert kept == ["openat", "fdatasync"]


def test_duplicated_descriptor_has_the_same_offset(tmp_path: Path) -> None:
    lines = [opened(3, "/r/a"), write(3, b"ab"), "1  fcntl(3, F_DUPFD_CLOEXEC, 0) = 5", "1  close(3) = 0"]
    lines += [write(5, b"cd"), sync(5), *folder_sync()]
    assert states([*lines], tmp_path) == [{"a": b"abcd"}]
    assert [call.name for call in relevant(parse(lines), ROOT)][-4:] == ["openat", "fsync", "fsync", "close"]


def test_threads_of_the_program_are_told_from_programs_that_it_starts() -> None:
    def cloned(parent: int, child: int, how: str) -> str:
        return f"{parent}  clone3({{flags=CLONE_VM|{how}}} => {{parent_tid=[{child}]}}, 88) = {child}"

    lines = [
        '10  execve("\\x2f", []) = 0',
        "10  clone3({flags=CLONE_VM|CLONE_THREAD} <unfinished ...>",
        cloned(11, 12, "CLONE_THREAD"),  # before the call that made 11 has ended
        "10  <... clone3 resumed> => {parent_tid=[11]}, 88) = 11",
        "11  clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 20",
        cloned(20, 21, "CLONE_THREAD"),  # a thread of another program
    ]
    assert threads(lines) == {"10", "11", "12"}


def test_what_is_sent_over_tcp_is_in_the_recording_at_the_moment_it_may_be_heard() -> None:
    local = f"1  connect(8, {{sa_family=AF_UNIX, sun_path={quoted(b'/run/x')}}}, 10) = 0"
    address = "sin_port=htons(25), sin_addr=inet_addr(" + quoted(b"127.0.0.1") + ")"
    remote = (
        f"1  connect(7, {{sa_family=AF_INET, {address}}}, 16) = -1 EINPROGRESS (Operation now in progress)"
    )
    sent = f"1  sendto(7, {quoted(b'QUIT')}, 4, 0, NULL, 0"
    lines = [local, remote, opened(3, "/r/a"), f"{sent} <unfinished ...>", write(3, b"abc", pid=2)]
    lines += ["1  <... sendto resumed>) = 4", "1  close(7) = 0", remote, f"{sent}) = 4", write(8, b"no")]
    calls = list(relevant(parse(lines), ROOT))
    first, second = spoken(calls)
    assert (first.port, first.connection, first.data) == (25, 0, b"QUIT")
    assert (second.port, second.connection, second.data) == (25, 1, b"QUIT")
    assert calls[first.after].name == "write", "it may have been heard before the write"
    disk = Disk(ROOT)
    for call in calls:
        disk.play(call)


def test_failed_calls_change_nothing(tmp_path: Path) -> None:
    failed = f"1  unlink({quoted(b'/r/a')}) = -1 EACCES (Permission denied)"
    lines = [opened(3, "/r/a"), write(3, b"abc"), sync(3), *folder_sync(), failed]
    assert states(lines, tmp_path) == [{"a": b"abc"}]


def test_shortened_strings_are_refused() -> None:
    with pytest.raises(UnreadableTraceError, match="shortened"):
        list(parse([f"1  write(3, {quoted(b'abc')}..., 300) = 300"]))


def test_parse_reads_numbers_flags_and_strings() -> None:
    begin, end = parse([opened(3, "/r/a, b")])
    assert (begin.moment, end.moment) == ("begin", "end")
    assert end.strings == (b"/r/a, b",)
    assert end.flags >= {"O_RDWR", "O_CREAT", "O_CLOEXEC", "AT_FDCWD"}
    assert end.result == 3
    lock = "7  fcntl(6, F_SETLK, {l_type=F_WRLCK, l_whence=SEEK_SET, l_start=128, l_len=1}) = 0"
    assert next(parse([lock])).number(0) == 6
    assert list(parse(["7  +++ exited with 0 +++", "7  --- SIGCHLD {si_signo=SIGCHLD} ---"])) == []
    assert isinstance(end, Call)
