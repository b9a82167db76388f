"""Gateways in one process without threads: a test does each step by hand, at the time it wants.

The parts are the product's own; only the mail server is missing: what is submitted goes to a function.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Self

import structlog

from radpost.dicom.identity import identify
from radpost.gateway.arrivals import add_arrival
from radpost.gateway.config import Config, load
from radpost.gateway.ingest import Collector, Origin, add_file
from radpost.gateway.outbox import Outbox
from radpost.gateway.partners import RADPOST_PEER, Settings, Switches, encode
from radpost.gateway.planning import Planner
from radpost.gateway.processing import Processor
from radpost.gateway.receipting import Receipts
from radpost.gateway.routes import Route
from radpost.gateway.sealing import Sealer
from radpost.gateway.site import Site, open_site
from radpost.gateway.submitting import BATCH_MAILS, Submitter
from radpost.gateway.timing import Timekeeper
from radpost.store import incoming_mails, journal, outgoing_mails, outgoing_transmissions, partners
from radpost.store.incoming_mails import ArrivalRow
from radpost.store.outgoing_mails import MailRow
from radpost.store.outgoing_submissions import SubmissionRow
from radpost.store.outgoing_transmissions import TransmissionRow
from radpost.testing.institution import OwnKey, made
from radpost.transport.smtp_reply import Kind, Outcome, Stage
from radpost.words import Priority, SignaturePolicy

Post = Callable[[SubmissionRow, bytes], Outcome]
ACCEPTED = Outcome(Kind.ACCEPTED, Stage.END)
START = 1_800_000_000.0
FOLDER = '[[destination]]\nname = "received"\nkind = "folder"\ntakes = "all"\npath = "received"\n'


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class PaperRoute(Route):
    """A route whose server is a function."""

    def __init__(self, site: Site, post: Post) -> None:
        super().__init__(site, "submission", None)
        self.post = post

    def send(self, row: SubmissionRow, source: BinaryIO, *, notify: bool, bdat: bool = True) -> Outcome:
        """Hand the whole message to the function."""
        del notify, bdat
        return self.post(row, source.read())


class House:
    """One institution: its store, and every room of its gateway."""

    def __init__(
        self, folder: Path, name: str, key: OwnKey, sections: str = "", clock: Clock | None = None
    ) -> None:
        self.name = name
        self.key = key
        self.folder = folder
        self.clock = clock or Clock()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "radpost.toml"
        if "[[destination]]" not in sections:
            sections += FOLDER
        limits = "" if "[limits]" in sections else "[limits]\ndisk_reserve_bytes = 1_000_000\n"
        path.write_text(
            f'[institution]\nname = "{name}"\naddress = "dicom@{name}.example"\n{limits}{sections}', "utf-8"
        )
        made.append(path)
        self.open()
        self._keep(key.fingerprint, key.secret, None)

    @classmethod
    def found(cls, config: Config, clock: Clock) -> Self:
        """Open the house of a store that is there, with whatever lies in it."""
        house = cls.__new__(cls)
        house.name, house.folder, house.clock = config.institution.name, Path(config.folder), clock
        return house.open(config)

    def open(self, config: Config | None = None) -> Self:
        """Open the store, as a process that starts would."""
        site = open_site(config or load(self.folder / "radpost.toml"), create=True)
        rng = random.Random(self.name)  # noqa: S311  tests that can be repeated
        self.site = replace(
            site, clock=self.clock, random=rng.random, log=structlog.stdlib.get_logger("radpost")
        )
        self.outbox = Outbox(self.site)
        self.receipts = Receipts(self.site, self.outbox)
        self.planner = Planner(self.site, self.outbox)
        self.sealer = Sealer(self.site, self.outbox)
        self.submitter = Submitter(self.site, self.outbox, self.receipts)
        self.processor = Processor(self.site, self.receipts)
        self.timekeeper = Timekeeper(self.site, self.outbox)
        self.posted: list[tuple[SubmissionRow, bytes]] = []
        return self

    def close(self) -> None:
        """Close the store."""
        self.site.close()

    def knows(
        self,
        other: "House",
        *,
        switches: Switches = RADPOST_PEER,
        policy: SignaturePolicy = SignaturePolicy.REQUIRE,
        key: bool = True,
        **settings: object,
    ) -> None:
        """Make another house a partner under its name."""
        text = encode(Settings(policy=policy, switches=switches, **settings))  # type: ignore[arg-type]
        row = partners.PartnerRow(
            other.name, f"AE_{other.name.upper()}", other.site.address, text, self.clock()
        )
        with self.site.database.write() as connection:
            partners.put(connection, row)
        if key:
            self._keep(other.key.fingerprint, other.key.public, other.name)
        self.site.partners.forget()

    def _keep(self, fingerprint: str, data: bytes, partner: str | None) -> None:
        now = self.clock()
        row = partners.KeyRow(fingerprint, partner, partner is None, data, now, now, "test")
        with self.site.database.write() as connection:
            partners.put_key(connection, row)
        self.site.keys.forget()

    # --- the way out ------------------------------------------------------------------------------------

    def collect(
        self, files: Sequence[Path], partner: str, *, priority: Priority = Priority.ROUTINE, source: str = "t"
    ) -> list[TransmissionRow]:
        """Take files for a partner and plan them; return all transmissions."""
        origin = Origin(source, self.site.partners.by_name(partner), priority, whole=True)
        for path in files:
            identity = identify(path)
            media_type = "application/dicom" if identity.kind == "dicom" else "application/octet-stream"
            add_file(
                self.site,
                origin,
                path,
                identity,
                media_type=media_type,
                name=path.name,
                study_uid=identity.study_instance_uid or "1.2.3",
            )
        with self.site.database.write() as connection:
            Collector(self.site).flush(connection, origin, self.clock())
        return self.plan()

    def plan(self) -> list[TransmissionRow]:
        """Turn closed collections into transmissions."""
        with self.site.database.write() as connection:
            self.planner.plan_closed(connection, self.clock())
            self.planner.recut(connection, self.clock())
        return self.transmissions()

    def seal(self) -> int:
        """Seal and cut all that is due; return how many mails."""
        count = 0
        while rows := self.sealer.next(4, frozenset()):
            self.sealer.work_all(rows)
            count += len(rows)
        return count

    def submit(self, post: Post | None = None, *, most: int = 1000) -> list[tuple[SubmissionRow, bytes]]:
        """Submit all that may go now; return what went in this call."""
        before = len(self.posted)

        def take(row: SubmissionRow, data: bytes) -> Outcome:
            self.posted.append((row, data))
            return ACCEPTED

        self.submitter._routes["submission"] = PaperRoute(self.site, post or take)  # noqa: SLF001  no server here
        for _ in range(most):
            if not self.submitter.step(min(most, BATCH_MAILS)):
                break
        return self.posted[before:]

    # --- the way in -------------------------------------------------------------------------------------

    def receive(self, data: bytes, *, envelope_from: str | None = None, source: str = "smtp") -> int:
        """Take a mail in durably; return the arrival's number."""
        with self.site.spool.writer() as writer:
            writer.write(data)
            stored = writer.commit()
        with self.site.database.write() as connection:
            return add_arrival(
                self.site,
                connection,
                stored,
                source=source,
                envelope_from=envelope_from,
                recipient=self.site.address,
                now=self.clock(),
            )

    def process(self) -> int:
        """Process and join all that is due; return how many mails."""
        count = 0
        while True:
            rows = self.processor.next(10, frozenset())
            self.processor.work_all(rows)
            count += len(rows)
            if not self.processor.join_due() and not rows:
                return count

    def take(self, data: bytes, **options: str | None) -> ArrivalRow:
        """Receive a mail and process what is due."""
        number = self.receive(data, **options)  # type: ignore[arg-type]  # the options of receive
        self.process()
        return self.arrival(number)

    def answer(self) -> list[bytes]:
        """Write and submit the receipts that are owed."""
        self.receipts.write_due()
        return [data for row, data in self.submit() if row.kind == "receipt"]

    # --- what is known ----------------------------------------------------------------------------------

    def transmissions(self) -> list[TransmissionRow]:
        """Return all transmissions, oldest first."""
        with self.site.database.read() as connection:
            found = outgoing_transmissions.transmissions(connection, limit=1000)
        return sorted(found, key=lambda row: (row.created_at, row.id))

    def mails(self) -> list[MailRow]:
        """Return all mails of all transmissions."""
        with self.site.database.read() as connection:
            return [
                mail
                for row in outgoing_transmissions.transmissions(connection, limit=1000)
                for mail in outgoing_mails.mails_of(connection, row.id)
            ]

    def arrival(self, number: int) -> ArrivalRow:
        """Return an arrival."""
        with self.site.database.read() as connection:
            found = incoming_mails.get_arrival(connection, number)
        assert found is not None
        return found

    def alarms(self) -> list[tuple[int, str]]:
        """Return code and subject of the open alarms."""
        with self.site.database.read() as connection:
            return [(row.code, row.subject) for row in journal.open_alarms(connection)]

    def restart(self) -> Self:
        """Close and open again; the clock goes on."""
        self.close()
        return self.open()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two houses that know each other."""

    a: House
    b: House

    def send(self, files: Sequence[Path]) -> list[bytes]:
        """Send files from A into B's hands; return the mails."""
        self.a.collect(files, "b")
        self.a.seal()
        return [data for _, data in self.a.submit()]

    def close(self) -> None:
        """Close both."""
        self.a.close()
        self.b.close()
