"""Two institutions (real ``radpost run`` processes), a real mail server between them, a PACS behind."""

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from benchmarks.data import Study
from benchmarks.pacs import PacsProcess
from sqlalchemy import func, select

from radpost.dicom.delivery import send_files
from radpost.dicom.scu import Peer
from radpost.gateway.config import load
from radpost.gateway.partners import RADPOST_PEER, Switches
from radpost.store import incoming_mails, schema
from radpost.store.database import Database
from radpost.testing.institution import Institution, OwnKey, make_key, toml_server, wait_confirmed
from radpost.testing.peers.base import free_port
from radpost.testing.peers.pair import MailServer

SENDER: Final = "dicom@klinik-a.example"
RECEIVER: Final = "dicom@klinik-b.example"
BARE: Final = "bare@bench.example"
PASSWORD: Final = "bench"
USERS: Final = {SENDER: PASSWORD, RECEIVER: PASSWORD, BARE: PASSWORD}
_GET_FLAGS, _SET_FLAGS, _TOP_DIRECTORY = 0x80086601, 0x40086602, 0x00020000
CALLED: Final = "KLINIK_B"
CALLING: Final = "KLINIK_A"
QUIET_SECONDS: Final = 0.05
FIELD: Final = Switches()
"""The field's dialect: one object per mail, base64 inside, plain receipts."""
PEER: Final = RADPOST_PEER


@dataclass(frozen=True, slots=True)
class Keys:
    """The key pairs of both sides, made once per run."""

    a: OwnKey
    b: OwnKey

    @classmethod
    def make(cls) -> Self:
        """Generate both."""
        return cls(make_key("Klinik A", SENDER), make_key("Klinik B", RECEIVER))


@dataclass(frozen=True, slots=True)
class Run:
    """One study from the modality to the PACS."""

    ingest: float
    """Seconds from the first C-STORE byte to the last response at A."""
    delivered: float
    """Seconds from the first C-STORE byte to the last object at the PACS."""
    confirmed: float
    """Seconds until the last receipt was back at A."""
    megabytes: float
    wire: int
    """Bytes of all mails of this run, receipts included."""
    mails: int
    cpu: tuple[float, float]
    """Seconds of processor time of A and B, children included."""

    @property
    def speed(self) -> float:
        """MB of DICOM per second."""
        return self.megabytes / self.delivered


@dataclass(slots=True)
class Pair:
    """A and B with fresh stores; ``server`` None means direct SMTP from one to the other."""

    work: Path
    keys: Keys
    server: MailServer | None
    switches: Switches = PEER
    pacs_port: int = 0
    """Of a PACS of the caller's; 0 starts our own."""
    fill: int = 0
    """Rows that stand in both stores before the study comes."""
    a: Institution = field(init=False)
    b: Institution = field(init=False)
    pacs: PacsProcess | None = field(init=False, default=None)
    _stack: contextlib.ExitStack = field(init=False, default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        self.work.mkdir(parents=True, exist_ok=True)
        _spread(self.work)
        self.work = Path(tempfile.mkdtemp(dir=self.work))
        self._stack.callback(shutil.rmtree, self.work, ignore_errors=True)
        with contextlib.ExitStack() as stack:
            if not self.pacs_port:
                self.pacs = stack.enter_context(PacsProcess(self.work / "pacs"))
                self.pacs_port = self.pacs.port
            self._institutions()
            if self.fill:
                from benchmarks.filling import fill  # noqa: PLC0415  only row G5 fills stores

                fill(self.a, CALLED.lower(), self.fill)
                fill(self.b, CALLING.lower(), self.fill)
            stack.enter_context(self.b)
            stack.enter_context(self.a)
            self._stack.push(stack.pop_all())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def send(self, study: Study, timeout: float = 600.0) -> Run:
        """Be the modality (with our own fast SCU), and wait until the PACS has everything."""
        assert self.pacs is not None, "with a PACS of the caller's, the caller looks what it has"
        items, hashes = study.items, study.hashes
        before, work = self._wire(), self._cpu()
        peer = Peer("127.0.0.1", self.a.dicom_port, CALLED, "CT1")
        start = time.monotonic()
        refused = [sent for sent in send_files(peer, items) if not sent.stored]
        ingest = time.monotonic() - start
        if refused:
            raise RuntimeError(f"{len(refused)} objects were not taken")
        try:
            delivered = self.pacs.wait(hashes, timeout) - start
        except TimeoutError as error:
            logs = "\n".join(f"{one.name}:\n{one.log()[-3000:]}" for one in (self.a, self.b))
            raise RuntimeError(f"{error}\n{logs}") from error
        wait_confirmed(self.a, timeout=timeout)
        confirmed = time.monotonic() - start
        after, done = self._wire(), self._cpu()
        return Run(
            ingest=ingest,
            delivered=delivered,
            confirmed=confirmed,
            megabytes=study.megabytes,
            wire=after[0] - before[0],
            mails=after[1] - before[1],
            cpu=(done[0] - work[0], done[1] - work[1]),
        )

    def latencies(self, study: Study, timeout: float = 60.0) -> list[float]:
        """Send the slices one by one as studies of one slice; seconds from closed to stored at B."""
        found = []
        for number in range(len(study.files)):
            one = study.part(1, number)
            peer = Peer("127.0.0.1", self.a.dicom_port, CALLED, "CT1")
            sent = [item.stored for item in send_files(peer, one.items)]
            closed = time.time() + QUIET_SECONDS
            if sent != [True]:
                raise RuntimeError("the slice was not taken")
            assert self.pacs is not None
            self.pacs.wait(one.hashes, timeout)
            with view(self.b) as database, database.read() as connection:
                last = incoming_mails.recent_arrivals(connection, 1)[0]
                stored = incoming_mails.objects_of(connection, last.id)[0].imported_at
            found.append(max(0.0, stored - closed))
            wait_confirmed(self.a)
        return found

    def pids(self) -> dict[str, int]:
        """Return the process of each side."""
        assert self.a.process is not None
        assert self.b.process is not None
        return {"A": self.a.process.pid, "B": self.b.process.pid}

    def _institutions(self) -> None:
        destination = toml_server(
            "[[destination]]",
            name="pacs",
            kind="dicom",
            ae_title="PACS",
            host="127.0.0.1",
            port=self.pacs_port,
        )
        mail = self._direct() if self.server is None else self._by_server(self.server)
        quiet = f"allow_any_station = true\nquiet_seconds = {QUIET_SECONDS}\n"
        self.a = Institution(self.work / "a", "Klinik A", SENDER, mail[0], quiet, key=self.keys.a).prepare()
        sections = mail[1] + destination
        self.b = Institution(
            self.work / "b", "Klinik B", RECEIVER, sections, quiet, key=self.keys.b
        ).prepare()
        self.a.add_partner(self.b, CALLED, switches=self.switches)
        self.b.add_partner(self.a, CALLING, switches=self.switches)

    @staticmethod
    def _by_server(server: MailServer) -> tuple[str, str]:
        tables = []
        for address in (SENDER, RECEIVER):
            account = {"host": server.host, "security": "none"}
            login = {"user": address, "password": PASSWORD}
            tables.append(
                toml_server("submission", port=server.smtp_port, **account)
                + toml_server(
                    "[[mailbox]]", port=server.imap_port, poll_seconds=0.05, idle=False, **account, **login
                )
            )
        return tables[0], tables[1]

    @staticmethod
    def _direct() -> tuple[str, str]:
        ports = (free_port(), free_port())
        tables = [
            toml_server("submission", host="127.0.0.1", port=ports[1 - index], security="none")
            + toml_server("[[receiver]]", port=ports[index], name=f"mail.{name}.example")
            for index, name in enumerate(("klinik-a", "klinik-b"))
        ]
        return tables[0], tables[1]

    def _wire(self) -> tuple[int, int]:
        """Return bytes and number of the messages that both sides have submitted."""
        size = count = 0
        for one in (self.a, self.b):
            with view(one) as database, database.read() as connection:
                statement = select(func.coalesce(func.sum(schema.submission.c.size), 0), func.count())
                row = connection.execute(statement.select_from(schema.submission)).one()
            size, count = size + int(row[0]), count + int(row[1])
        return size, count

    def _cpu(self) -> tuple[float, float]:
        pids = self.pids()
        return _cpu_seconds(pids["A"]), _cpu_seconds(pids["B"])


def _spread(folder: Path) -> None:
    """Let ext4 put each new directory below into another group of inodes.

    It does not use inodes again that were deleted within the last minutes, and looks at each of them for
    every new file: what an earlier run has left would slow down the next.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        flags = bytearray(8)
        fcntl.ioctl(descriptor, _GET_FLAGS, flags)
        wanted = int.from_bytes(flags, sys.byteorder) | _TOP_DIRECTORY
        fcntl.ioctl(descriptor, _SET_FLAGS, wanted.to_bytes(8, sys.byteorder))
    except OSError:
        pass  # another file system: nothing to be spread
    finally:
        os.close(descriptor)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[index]) for index in (11, 12, 13, 14)) / 100


@contextlib.contextmanager
def view(institution: Institution) -> Iterator[Database]:
    """Open an institution's database beside the running gateway."""
    database = Database(load(institution.config_path).data_path / "radpost.db")
    try:
        yield database
    finally:
        database.close()


@contextlib.contextmanager
def mail_server() -> Iterator[MailServer]:
    """Start Postfix and Dovecot with the accounts of both sides."""
    with MailServer(USERS, tls=False) as server:
        yield server
