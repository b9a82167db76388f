"""Power loss, played from a recording: what would a disk hold if the current failed here?

`Disk` plays what ``tracing`` has recorded and knows at every point what POSIX promises: content of a file
after fsync or fdatasync of the file, entries of a folder after fsync of the folder, nothing else.
`Disk.image` writes one of the states the disk could then be in: everything promised, and of the rest a random
subset, per sector, torn and out of order.

The model is harsher than a journalling file system, and it knows nothing of SQLite or of our spool.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from radpost.testing.tracing import ACK, NETWORK, Call, UnreadableTraceError, duplicates, is_ack

_SYNCS: Final = frozenset({"fsync", "fdatasync"})


@dataclass(eq=False, slots=True)
class _File:
    """Content that is promised, and what was done since: (offset, data), or a new size (None)."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    kept: int = 0
    size: int = 0
    mapped: bool = False
    """Written through memory, unseen by us: anything may stand in it (SQLite's shared-memory index)."""

    def write(self, offset: int, data: bytes) -> None:
        self.pending.append((offset, data))
        self.size = max(self.size, offset + len(data))

    def resize(self, size: int) -> None:
        if size < self.size:
            # what is cut off must not come back when the file grows again
            self.pending.append((size, bytes(self.size - size)))
        self.pending.append((size, None))
        self.size = size

    def keep(self, count: int) -> None:
        """Promise the first ``count`` pending changes."""
        for offset, data in self.pending[:count]:
            _apply(self.durable, offset, data)
        del self.pending[:count]
        self.kept += count

    def crashed(self, mode: str, random: Random) -> bytes:
        if self.mapped:
            return random.randbytes(random.choice([0, 3, 32768]))
        content = bytearray(self.durable)
        if mode == "nothing" or not self.pending:
            return bytes(content)
        if mode == "everything":
            for offset, data in self.pending:
                _apply(content, offset, data)
            return bytes(content)
        sector = random.choice([512, 512, 4096])
        versions: dict[int, list[tuple[int, bytes]]] = {}
        sizes = [len(content)]
        for offset, data in self.pending:
            if data is None:
                sizes.append(offset)
                continue
            sizes.append(max(sizes[-1], offset + len(data)))
            for start, piece in _pieces(offset, data, sector):
                versions.setdefault(start // sector, []).append((start, piece))
        for history in versions.values():
            # a sector shows some moment of its history: never a later write without the earlier ones
            for start, piece in history[: random.randint(0, len(history))]:
                _apply(content, start, piece)
        size = random.choice(sizes)
        return bytes(content[:size].ljust(size, b"\0"))


@dataclass(eq=False, slots=True)
class _Folder:
    """Entries that are promised, that are visible, and the changes between the two."""

    durable: dict[str, "_Node"] = field(default_factory=dict)
    live: dict[str, "_Node"] = field(default_factory=dict)
    pending: list[tuple[str, "_Node | None"]] = field(default_factory=list)
    kept: int = 0

    def change(self, name: str, node: "_Node | None") -> None:
        self.pending.append((name, node))
        _enter(self.live, name, node)

    def keep(self, count: int) -> None:
        """Promise the first ``count`` pending changes."""
        for name, node in self.pending[:count]:
            _enter(self.durable, name, node)
        del self.pending[:count]
        self.kept += count

    def crashed(self, mode: str, random: Random) -> dict[str, "_Node"]:
        entries = dict(self.durable)
        histories: dict[str, list[_Node | None]] = {}
        for name, node in self.pending:
            histories.setdefault(name, []).append(node)
        for name, history in histories.items():
            reached = {"nothing": 0, "everything": len(history)}.get(mode, random.randint(0, len(history)))
            if reached:
                _enter(entries, name, history[reached - 1])
        return entries


_Node = _File | _Folder


@dataclass(slots=True)
class _Open:
    node: _Node
    offset: int = 0
    append: bool = False


class Disk:
    """Plays the calls of one process (with threads) on the folder ``root``, which was empty and durable."""

    def __init__(self, root: Path) -> None:
        self._prefix = str(root)
        self._root = _Folder()
        self._open: dict[int, _Open] = {}
        self._marks: dict[tuple[str, int], int] = {}
        self.acknowledged: list[bytes] = []

    def play(self, call: Call) -> None:
        """Let one call happen; an acknowledgement counts when it begins, all else when it ends."""
        name = call.name
        if name in _SYNCS:
            self._sync(call)
        elif is_ack(call):
            if call.moment == "begin":
                self.acknowledged.append(call.data(1)[len(ACK) :].rstrip(b"\n"))
        elif name in NETWORK or (name == "sendfile" and call.number(0) not in self._open):
            pass
        elif name == "close":
            if call.moment == "begin":  # its number may be given out anew before the call has ended
                self._open.pop(call.number(0), None)
        elif call.moment == "end" and call.result >= 0:
            action = getattr(self, f"_on_{name}", None)
            if action is None:
                raise UnreadableTraceError(f"{name} on a file of the folder is not modelled")
            action(call)

    def image(self, target: Path, random: Random) -> None:
        """Write one state that the disk could be in if the power failed now."""
        mode = random.choices(["nothing", "random", "everything"], [3, 6, 1])[0]
        _materialise(self._root, target, mode, random)

    def _sync(self, call: Call) -> None:
        """A sync promises what was there when it began, and promises it when it has returned zero."""
        descriptor = call.number(0)
        if descriptor not in self._open:
            raise UnreadableTraceError("sync of an unknown descriptor")
        node = self._open[descriptor].node
        if call.moment == "begin":
            self._marks[call.thread, descriptor] = node.kept + len(node.pending)
        elif call.result == 0:
            # somebody else's sync of the same node may have ended meanwhile
            node.keep(max(0, self._marks.pop((call.thread, descriptor)) - node.kept))

    def _on_open(self, call: Call) -> None:
        path = call.strings[0]
        node = self._find(path)
        if node is None:
            node = _File()
            parent, name = self._entry(path)
            parent.change(name, node)
        if "O_TRUNC" in call.flags and isinstance(node, _File):
            node.resize(0)
        self._open[call.result] = _Open(node, append="O_APPEND" in call.flags)

    _on_openat = _on_open

    def _on_write(self, call: Call) -> None:
        opened, node = self._file(call)
        offset = node.size if opened.append else opened.offset
        node.write(offset, call.data(1)[: call.result])
        opened.offset = offset + call.result

    def _on_pwrite64(self, call: Call) -> None:
        _, node = self._file(call)
        node.write(call.number(3), call.data(1)[: call.result])

    def _on_lseek(self, call: Call) -> None:
        self._open[call.number(0)].offset = call.result

    def _on_ftruncate(self, call: Call) -> None:
        self._file(call)[1].resize(call.number(1))

    def _on_fcntl(self, call: Call) -> None:
        if duplicates(call):
            self._open[call.result] = self._open[call.number(0)]  # with one offset for both (dup(2))

    def _on_mmap(self, call: Call) -> None:
        if {"PROT_WRITE", "MAP_SHARED"} <= call.flags:
            node = self._open[call.number(4)].node
            assert isinstance(node, _File)
            node.mapped = True

    def _on_rename(self, call: Call) -> None:
        """Both entries change; that they change together is promised by nobody but the journal."""
        old, new = call.strings
        source, name = self._entry(old)
        target, new_name = self._entry(new)
        target.change(new_name, source.live[name])
        source.change(name, None)

    _on_renameat = _on_renameat2 = _on_rename

    def _on_link(self, call: Call) -> None:
        old, new = call.strings
        source, name = self._entry(old)
        target, new_name = self._entry(new)
        target.change(new_name, source.live[name])

    _on_linkat = _on_link

    def _on_unlink(self, call: Call) -> None:
        parent, name = self._entry(call.strings[0])
        parent.change(name, None)

    _on_unlinkat = _on_rmdir = _on_unlink

    def _on_mkdir(self, call: Call) -> None:
        parent, name = self._entry(call.strings[0])
        parent.change(name, _Folder())

    _on_mkdirat = _on_mkdir

    def _file(self, call: Call) -> tuple[_Open, _File]:
        opened = self._open[call.number(0)]
        assert isinstance(opened.node, _File), "data are written to files"
        return opened, opened.node

    def _entry(self, path: bytes) -> tuple[_Folder, str]:
        head, _, name = path.decode().rpartition("/")
        parent = self._find(head.encode())
        if not isinstance(parent, _Folder):
            raise UnreadableTraceError("a change below a folder that was never made")
        return parent, name

    def _find(self, path: bytes) -> _Node | None:
        text = path.decode()
        if text != self._prefix and not text.startswith(self._prefix + "/"):
            raise UnreadableTraceError("a path that leads out of the folder")
        node: _Node | None = self._root
        for part in text[len(self._prefix) :].strip("/").split("/"):
            if part:
                node = node.live.get(part) if isinstance(node, _Folder) else None
        return node


def _materialise(folder: _Folder, target: Path, mode: str, random: Random) -> None:
    target.mkdir(mode=0o700)
    for name, node in folder.crashed(mode, random).items():
        if isinstance(node, _Folder):
            _materialise(node, target / name, mode, random)
        else:
            (target / name).write_bytes(node.crashed(mode, random))


def _enter(entries: dict[str, _Node], name: str, node: _Node | None) -> None:
    if node is None:
        entries.pop(name, None)
    else:
        entries[name] = node


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _pieces(offset: int, data: bytes, sector: int) -> Iterator[tuple[int, bytes]]:
    start, end = offset, offset + len(data)
    while start < end:
        stop = min(end, (start // sector + 1) * sector)
        yield start, data[start - offset : stop - offset]
        start = stop
