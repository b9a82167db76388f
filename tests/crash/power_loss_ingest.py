"""The process whose power fails: the gateway's own ways in, with an acknowledgement after each yes.

    python power_loss_ingest.py FOLDER SEED ROUNDS [MUTANT]

Objects come over an association, mails over SMTP, both on loopback; files by ``add_file``; two senders at
once. Mails are released and collected, objects sent again, the store closed and opened. Every yes that a
sender heard is one write of ``ack`` and JSON to a file outside of FOLDER. A mutant leaves out what makes
data durable.
"""

import contextlib
import hashlib
import json
import os
import random
import smtplib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import event

from radpost.dicom import dimse
from radpost.dicom.identity import identify
from radpost.dicom.scp import ServerConfig, StorageServer
from radpost.dicom.scu import Association, Outgoing, Peer, Proposal
from radpost.gateway import ingest, receiving
from radpost.gateway.config import Config, DicomIn, Institution, Limits, Receiver
from radpost.gateway.settling import Settler
from radpost.gateway.site import Site, open_site
from radpost.store import cleaning, database, incoming_mails, objects, partners, spool
from radpost.store.segments import Segments
from radpost.testing.dimse import CT, EXPLICIT_LE, data_set

_ACKS = os.open(os.devnull, os.O_WRONLY)


def ack(**values: object) -> None:
    """Say yes: whoever reads this may forget what was sent."""
    os.write(_ACKS, b"ack " + json.dumps(values).encode() + b"\n")


class Sender:
    """One institution that sends, by every way in."""

    def __init__(
        self, site: Site, association: Association, smtp: smtplib.SMTP, folder: Path, *, early: bool
    ) -> None:
        self.site = site
        self._association = association
        self._smtp = smtp
        self._folder = folder
        self._early = early
        self._origin = ingest.Origin("folder", site.partners.by_name("Klinik B"))

    def _yes(self, work: Callable[[], object], **values: object) -> None:
        if self._early:
            ack(**values)
        work()
        if not self._early:
            ack(**values)

    def dicom(self, instance: str, pixels: int) -> None:
        """Send an object by C-STORE."""
        data = data_set(instance, pixels=pixels)

        def store() -> None:
            reply = self._association.store(Outgoing(data, CT, instance, EXPLICIT_LE))
            assert reply.status == dimse.SUCCESS, hex(reply.status)

        self._yes(store, kind="object", uid=instance, sha256=hashlib.sha256(data).hexdigest())

    def file(self, content: bytes) -> None:
        """Hand in a file as ``radpost send`` does; the sender's copy lies on another disk."""
        path = self._folder / "document.pdf"
        path.write_bytes(content)
        identity = identify(path)

        def add() -> None:
            ingest.add_file(
                self.site,
                self._origin,
                path,
                identity,
                media_type="application/pdf",
                name="document.pdf",
                study_uid="1.2.3",
            )

        self._yes(add, kind="object", uid="", sha256=identity.file_sha256)

    def mail(self, token: str, size: int) -> None:
        """Send a mail; its hash is taken from the Subject on, what stands above is the server's."""
        text = f"Subject: {token}\r\n\r\n" + f"{token}\r\n" * (size // len(token))
        content = text.encode()

        def send() -> None:
            self._smtp.sendmail("a@a.example", ["b@b.example"], content)

        self._yes(send, kind="mail", token=token, sha256=hashlib.sha256(content).hexdigest())

    def collect(self, token: str) -> None:
        """Let the gateway be done with a mail; its collector may take the file from now on."""
        ack(kind="free", token=token)
        with self.site.database.read() as connection:
            rows = incoming_mails.recent_arrivals(connection, 10_000)
        for row in rows:
            path = self.site.spool.path(row.sha256)
            if row.state != "done" and path.exists() and f"Subject: {token}\r".encode() in path.read_bytes():
                with self.site.database.write() as connection:
                    incoming_mails.update_arrival(connection, row.id, state="done", due_at=None)
                    objects.release_blob(connection, row.sha256, time.time() - 1000)
        cleaning.collect(self.site.database, self.site.spool, time.time(), 100.0)

    def work(self, seed: int, rounds: int) -> None:
        """Let things arrive in an order that the seed decides."""
        chance = random.Random(seed)
        sent: list[tuple[str, int]] = []
        mails: list[str] = []
        for number in range(rounds):
            sent.append((f"1.2.3.{seed}.{number}", chance.choice([300, 3000, 9000])))
            self.dicom(*sent[-1])
            if number % 3 == 0:
                self.dicom(*chance.choice(sent))
            if number % 4 == 1:
                self.file(chance.randbytes(2000))
            if number % 2:
                mails.append(f"token-{seed}-{number}")
                self.mail(mails[-1], 3000)
            if number % 5 == 4:
                chosen = mails.pop(chance.randrange(len(mails)))
                self.collect(chosen)
                self.mail(f"{chosen}-again", 1000)


def segments_of(spool_root: Path) -> Segments:
    """Return segments so small that they are used again and again, and run full."""
    return Segments(spool_root / "segments", count=3, size=32 * 1024)


@contextlib.contextmanager
def serving(config: Config) -> Iterator[tuple[Site, int, int]]:
    """Open the site and serve; yield it with the ports for DICOM and SMTP."""
    site = open_site(config, create=True)
    site.spool.sweep()
    with site.database.write() as connection:
        partners.put(connection, partners.PartnerRow("Klinik B", "KLINIKB", "c@c.example", "{}", 1.0))
    segments = segments_of(site.spool.root)
    settler = Settler(site.database, site.spool, segments)
    settler.recover(site.clock())
    segments.prepare()
    stopping = threading.Event()
    settling = threading.Thread(target=settler.run, args=(stopping,))
    settling.start()
    handler = ingest.StoreHandler(site, ingest.Wanted(), settler)
    storage = StorageServer(ServerConfig(port=0, sync=False), handler)
    storage.start()
    mails = receiving.server_for(site, Receiver(port=0))
    mails.start()
    try:
        yield site, storage.port, mails.ports[0]
    finally:
        mails.stop(5)
        storage.stop(5)
        stopping.set()
        settling.join()
        settler.close()
        site.close()


def run_sender(
    site: Site, dicom_port: int, smtp_port: int, folder: Path, seed: int, rounds: int, *, early: bool
) -> None:
    """Be one sender from its first connection to its last."""
    folder.mkdir()
    peer = Peer("127.0.0.1", dicom_port, "KLINIKB", "CT1")
    with (
        Association.open(peer, [Proposal(CT, (EXPLICIT_LE,))]) as association,
        smtplib.SMTP("127.0.0.1", smtp_port, local_hostname="a.example") as smtp,
    ):
        Sender(site, association, smtp, folder, early=early).work(seed, rounds)


def mutate(name: str) -> None:
    """Leave out one thing that makes data durable; the check must then see a loss."""
    if name == "file sync":
        os.fdatasync = lambda _: None  # type: ignore[assignment]  # the mutant
    elif name == "folder sync":
        spool._sync_folder = _only_above(spool._sync_folder)  # type: ignore[assignment]  # the mutant
    elif name == "sync of the folders above":
        spool._sync_above = lambda folder: None
    elif name == "database sync":
        _pragma("synchronous = OFF")
    elif name == "log sync at commit":
        _pragma("synchronous = NORMAL")
    elif name == "settled without a sync":
        spool.Spool.settle = _nothing  # type: ignore[method-assign, assignment]  # the mutant
    elif name == "segment sync":
        Segments.append = _unsynced(Segments.append)  # type: ignore[method-assign]  # the mutant
    elif name == "early yes":
        pass
    elif name:
        raise SystemExit(f"no mutant {name!r}")


def _nothing(*_arguments: object) -> None:
    """Sync nothing."""


def _unsynced(append: Callable[..., Any]) -> Callable[..., Any]:
    """Return an append that syncs nothing; the files are settled as ever."""

    def chosen(*arguments: Any) -> Any:
        real, os.fdatasync = os.fdatasync, _nothing  # type: ignore[assignment]
        try:
            return append(*arguments)
        finally:
            os.fdatasync = real

    return chosen


def _only_above(sync: Callable[[Path], None]) -> Callable[[Path], None]:
    """Return a sync that forgets the folders in which the spool's files stand."""

    def chosen(folder: Path) -> None:
        if folder.parent.name != "objects":
            sync(folder)

    return chosen


def _pragma(words: str) -> None:
    make = database._engine

    def engine(path: Path) -> Any:
        made = make(path)
        event.listen(made, "connect", lambda raw, _: raw.execute(f"PRAGMA {words}"))
        return made

    database._engine = engine


def main() -> None:
    """Work, restart once, work on."""
    folder, seed, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    mutant = sys.argv[4] if len(sys.argv) > 4 else ""
    mutate(mutant)
    config = Config(
        Institution("B", "b@b.example"),
        folder=str(folder),
        dicom=DicomIn(allow_any_station=True),
        limits=Limits(disk_reserve_bytes=0),
    )
    failed: list[BaseException] = []
    for start in range(2):
        with serving(config) as (site, dicom_port, smtp_port):

            def run(
                number: int, site: Site = site, dicom_port: int = dicom_port, smtp_port: int = smtp_port
            ) -> None:
                folder_of = folder.parent / f"sender-{number}"
                try:
                    run_sender(
                        site, dicom_port, smtp_port, folder_of, number, rounds, early=mutant == "early yes"
                    )
                except BaseException as error:
                    failed.append(error)
                    raise

            threads = [threading.Thread(target=run, args=(seed * 100 + start * 10 + n,)) for n in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
