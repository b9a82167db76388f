"""What the institutions of a test run sent in clear, searched for everybody and everything inside.

``Outside`` is asked after every test of the suite (tests/conftest.py). It reads each row of each outbox once:
mails, fragments and receipts, without the armored part, in which nothing stands in clear; the HELO with which
a mail came to the partner; the meta headers that we wrote. DESIGN invariant 10 says what must not be there.
"""

import base64
import contextlib
import re
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from radpost.dicom.lazy import pydicom
from radpost.dicom.meta import IMPLEMENTATION_CLASS_UID, read_meta
from radpost.errors import RadpostError
from radpost.gateway.config import load
from radpost.testing.leaks import Leak, scan

BEGIN: Final = b"-----BEGIN PGP MESSAGE-----"
END: Final = b"-----END PGP MESSAGE-----"
OF_NOBODY: Final = (b"\x02\x00\x16\x00", b"\x02\x00\x17\x00", b"\x02\x00\x18\x00", b"\x02\x00\x02\x01")
"""Tags of AE titles and private information: none of ours is in a meta header that we write (PS3.10 7.1)."""
_HEAD: Final = 4096
_SESSION_KEY: Final = (b"\xc1", b"\x84", b"\x85", b"\x86")
"""How an encrypted message begins: a packet with a session key (RFC 9580 4.2, 5.1)."""
_BETWEEN: Final = b"\r\n\0\r\n"
_UID: Final = re.compile(rb"(?<![\d.])\d+(?:\.\d+){4,}")
_RECEIVED: Final = re.compile(rb"(?i)Received: from (\S+)")
_AE_TITLE: Final = re.compile(r'(?m)^\s*(?:our_)?ae_title\s*=\s*"([^"]+)"')
_PATIENT: Final = ("PatientName", "PatientID", "AccessionNumber", "PatientComments", "StudyDescription")
_LONG_ENOUGH: Final = 5
"""Shorter values stand somewhere by chance."""
_LONG: Final = 8
"""Values of fewer letters, and of digits only, stand in random tokens by chance: they count as words."""


def host_names() -> dict[str, str]:
    """Return how this machine calls itself and its loopback: what a gateway on it might let slip."""
    own = {"host": socket.gethostname(), "full host": socket.getfqdn()}
    return own | {"loopback name": "localhost", "loopback address": "127.0.0.1"}


def clear_part(head: bytes, body: bytes) -> bytes:
    """Return a message without the text of its armor.

    ``head`` is that of a fragment; the body of all but the first fragment begins within the armor.
    """
    begin, end = body.find(BEGIN), body.find(END)
    tail = body[end:] if end >= 0 else b""
    if begin >= 0:
        return head + body[: body.find(b"\r\n\r\n", begin) + 4] + tail
    return head + (tail if head else body)


def is_encrypted(body: bytes) -> bool:
    """Tell whether the armor, if some begins here, begins with an encrypted session key."""
    begin = body.find(BEGIN)
    text = body.find(b"\r\n\r\n", begin) + 4
    return begin < 0 or base64.b64decode(body[text : text + 4])[:1] in _SESSION_KEY


def words(where: str, data: bytes, names: Mapping[str, str]) -> list[Leak]:
    """Return the names that stand in the data as whole words: a host may be called ``vm``."""
    leaks = []
    for name, text in names.items():
        form = rb"(?i)(?<![A-Za-z0-9_-])" + re.escape(text.encode()) + rb"(?![A-Za-z0-9_-])"
        if found := re.search(form, data):
            leaks.append(Leak(name, "word", where, data[max(0, found.start() - 30) : found.end() + 30]))
    return leaks


@dataclass
class _Store:
    """One institution's store; what was read once is not read again."""

    config_path: Path
    submission: int = 0
    object_: int = 0
    arrival: int = 0
    studies: set[str] = field(default_factory=set)
    uids: set[bytes] = field(default_factory=set)
    secrets: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    data: Path | None = None
    stand: tuple[tuple[int, int], ...] = ()

    def changed(self) -> bool:
        """Tell whether there is a store in which something was written since the last call."""
        if self.data is None:
            with contextlib.suppress(RadpostError, OSError):
                self.data = load(self.config_path).data_path
        if self.data is None or not (self.data / "radpost.db").exists():
            return False
        found = [self.data / name for name in ("radpost.db", "radpost.db-wal")]
        before, self.stand = self.stand, tuple(_stamp(path) for path in found)
        return before != self.stand

    def learn(self, name: str, text: str) -> None:
        """Take up a value to look for, if it is long enough to mean something."""
        if len(text) >= _LONG_ENOUGH:
            (self.names if len(text) < _LONG or text.isdecimal() else self.secrets)[name] = text

    def open(self) -> sqlite3.Connection:
        """Open the database beside whoever works with it."""
        assert self.data is not None
        return sqlite3.connect(f"{(self.data / 'radpost.db').as_uri()}?mode=ro", uri=True, timeout=5)

    def path(self, sha256: str) -> Path:
        """Return where a file stands in the spool."""
        assert self.data is not None
        return self.data / "spool/objects" / sha256[:2] / sha256

    def part(self, sha256: str, start: int, end: int) -> bytes | None:
        """Return a part of a file of the spool, if it is still there."""
        with contextlib.suppress(OSError), self.path(sha256).open("rb") as file:
            file.seek(start)
            return file.read(end - start)
        return None


@dataclass
class Outside:
    """All institutions of this process."""

    known: list[Path]
    """Configurations; whoever makes an institution adds its own."""
    messages: int = 0
    lost: int = 0
    """Messages whose bytes were gone before they could be read; their heads were not, if they had one."""
    meta_headers: int = 0
    helos: int = 0
    unreadable: int = 0
    """Looks at stores that failed: some tests damage theirs."""
    seconds: float = 0.0
    """How long all this took."""
    _stores: dict[Path, _Store] = field(default_factory=dict)
    _sent: set[str] = field(default_factory=set)
    """Message-IDs of what our institutions sent."""

    def leaks(self) -> list[Leak]:
        """Return what got out since the last call."""
        start = time.monotonic()
        found = self._look()
        self.seconds += time.monotonic() - start
        return found

    def summary(self) -> str:
        """Say how much was read."""
        return (
            f"leak test: {self.messages} outgoing messages of {len(self._stores)} institutions"
            f" ({self.lost} without their body), {self.helos} HELOs, {self.meta_headers} own meta headers,"
            f" {self.unreadable} stores unreadable, {self.seconds:.1f} s"
        )

    def _look(self) -> list[Leak]:
        changed = [store for store in map(self._store, dict.fromkeys(self.known)) if store.changed()]
        found: list[Leak] = []
        for look in (self._look_at_outbox, self._look_at_arrivals):
            for store in changed:
                try:
                    with contextlib.closing(store.open()) as database:
                        found += look(store, database)
                except sqlite3.Error:  # a test may have damaged a store on purpose
                    self.unreadable += 1
        return found

    def _store(self, config_path: Path) -> _Store:
        return self._stores.setdefault(config_path, _Store(config_path))

    def _look_at_outbox(self, store: _Store, database: sqlite3.Connection) -> Iterator[Leak]:
        rows = list(
            database.execute(
                "SELECT id, message_id, kind, head, sha256, start, end"
                " FROM submission WHERE id > ? ORDER BY id",
                (store.submission,),
            )
        )
        yield from self._learn(store, database)
        texts = []
        for number, message_id, kind, head, sha256, start, end in rows:
            store.submission = number
            self.messages += 1
            self._sent.add(message_id)
            body = store.part(sha256, start, end)
            self.lost += body is None
            if body is not None and not is_encrypted(body):
                yield Leak("clear text", "armor", f"{kind} {message_id}", body[:60])
            texts.append(clear_part(head or b"", body or b""))
        if texts:
            text = _BETWEEN.join(texts)
            where = f"outbox of {store.config_path.parent}"
            yield from scan(where, text, store.secrets)
            yield from words(where, text, host_names() | store.names)
            for uid in store.uids.intersection(_UID.findall(text)):
                yield Leak("UID", "plain", where, uid)

    def _learn(self, store: _Store, database: sqlite3.Connection) -> Iterator[Leak]:
        """Read who and what is inside, and look at the meta headers that we wrote."""
        if not store.secrets:
            store.secrets["directory"] = str(store.config_path.parent)
        titles = _AE_TITLE.findall(store.config_path.read_text("utf-8"))
        titles += [str(row[0]) for row in database.execute("SELECT ae_title FROM partner")]
        store.names |= {f"AE title {title}": title for title in titles}
        for (name,) in database.execute("SELECT DISTINCT name FROM mail_object WHERE name != ''"):
            store.learn(f"file name {name}", name)
        rows = database.execute(
            "SELECT id, kind, file_sha256, study_uid, series_uid, sop_instance_uid FROM object"
            " WHERE id > ? ORDER BY id",
            (store.object_,),
        )
        for number, kind, sha256, *uids in list(rows):
            store.object_ = number
            store.uids.update(uid.encode() for uid in uids if uid)
            if kind != "dicom":
                continue
            yield from self._meta_header(store.part(sha256, 0, _HEAD) or b"")
            if uids[0] not in store.studies:
                store.studies.add(uids[0])
                for name, text in _patient(store.path(sha256)).items():
                    store.learn(name, text)

    def _meta_header(self, data: bytes) -> Iterator[Leak]:
        head = data[: read_meta(data).dataset_offset]
        if IMPLEMENTATION_CLASS_UID.encode() not in head:
            return  # somebody else's; ``radpost send`` leaves a file as it is
        self.meta_headers += 1
        for tag in OF_NOBODY:
            if tag in head:
                yield Leak("AE title or private information", tag.hex(), "meta header", head[132:])

    def _look_at_arrivals(self, store: _Store, database: sqlite3.Connection) -> Iterator[Leak]:
        """Look at the HELO of what one of our institutions sent to another."""
        rows = database.execute(
            "SELECT id, message_id, sha256 FROM arrival WHERE id > ? AND message_id != '' ORDER BY id",
            (store.arrival,),
        )
        for number, message_id, sha256 in list(rows):
            store.arrival = number
            helos = _RECEIVED.findall((store.part(sha256, 0, _HEAD) or b"").partition(b"\r\n\r\n")[0])
            if helos and message_id in self._sent:
                self.helos += 1
                yield from words(f"HELO of {message_id}", helos[-1], host_names())


def _stamp(path: Path) -> tuple[int, int]:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size
    return 0, 0


def _patient(path: Path) -> dict[str, str]:
    """Return what an object says of its patient, each name by itself too."""
    values: dict[str, Any] = {}
    with contextlib.suppress(Exception):  # objects that nobody can read are part of the suite
        found = pydicom().dcmread(path, force=True, stop_before_pixels=True, specific_tags=list(_PATIENT))
        values = {name: str(found.get(name) or "") for name in _PATIENT}
        values |= {f"name {part}": part for part in re.split(r"[\^=]", values["PatientName"])}
    return {f"{name} {text}": text for name, text in values.items()}
