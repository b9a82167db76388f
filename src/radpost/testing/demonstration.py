"""The main job, shown: two institutions on loopback, a study from a modality to a PACS by encrypted e-mail.

Both gateways are real ``radpost run`` processes; nothing in between is simulated. The receiving PACS is our
own storage SCP, so that a bare machine needs nothing else.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from radpost.dicom.delivery import send_files
from radpost.dicom.identity import Identity, identify
from radpost.dicom.media import Found, gather
from radpost.dicom.scu import Outgoing, Peer
from radpost.errors import NOTHING_TO_SEND, RadpostError
from radpost.gateway.partners import RADPOST_PEER
from radpost.gateway.site import Site
from radpost.store import incoming_deliveries, incoming_mails, objects, outgoing_mails, outgoing_transmissions
from radpost.testing.institution import Institution, toml_server
from radpost.testing.peers.base import free_port
from radpost.testing.peers.tls import TestAuthority
from radpost.testing.store_scp import ReceivingPacs
from radpost.testing.study import make_study

SENDER = "dicom@klinik-a.example"
RECEIVER = "dicom@praxis-b.example"
AE_TITLE = "PRAXIS_B"
PASSWORD = "demo"  # noqa: S105  a throw-away account on loopback


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the study is; objects, of ``total``."""

    total: int
    sent: int = 0
    mailed: int = 0
    imported: int = 0
    delivered: int = 0
    confirmed: int = 0

    @property
    def done(self) -> bool:
        """Tell whether every object is at the PACS and confirmed."""
        return min(self.delivered, self.confirmed) >= self.total


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """One object's way, with the hash of its data set at each station."""

    number: int
    name: str
    size: int
    original: str
    c_store: str
    at_sender: bool
    at_receiver: bool
    at_pacs: bool
    confirmed: str

    @property
    def equal(self) -> bool:
        """Tell whether the data set is the same everywhere."""
        return self.at_sender and self.at_receiver and self.at_pacs


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the way; seconds after the first C-STORE."""

    name: str
    begin: float
    end: float


@dataclass(slots=True)
class Result:
    """What the demonstration showed."""

    objects: list[ObjectResult] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    bytes: int = 0
    mails: int = 0
    wire_bytes: int = 0
    seconds: float = 0.0
    complaint: str = ""

    @property
    def good(self) -> bool:
        """Tell whether every object arrived, equal and confirmed."""
        return bool(self.objects) and all(
            item.equal and item.confirmed.startswith("confirmed") for item in self.objects
        )


@dataclass(slots=True)
class Demonstration:
    """Builds the two institutions in a private directory and sends one study."""

    directory: Path
    study: Path | None = None
    slices: int = 24
    mail_server: bool = False
    timeout: float = 300.0

    def run(self, report: Callable[[Progress], None], say: Callable[[str], None]) -> Result:
        """Show the main job; ``report`` is called often, ``say`` at each step of the set-up."""
        with contextlib.ExitStack() as stack:
            say("making a CA, two institutions and their OpenPGP keys")
            pacs = stack.enter_context(ReceivingPacs(self.directory / "pacs"))
            sender, receiver = self._institutions(stack, pacs)
            sender.add_partner(receiver, AE_TITLE, switches=RADPOST_PEER)
            receiver.add_partner(sender, "KLINIK_A", switches=RADPOST_PEER)
            files = self._files(say)
            say("starting both gateways")
            stack.enter_context(sender)
            stack.enter_context(receiver)
            return _Show(sender, receiver, pacs, files, self.timeout).run(report)

    def _files(self, say: Callable[[str], None]) -> list[tuple[Path, Identity]]:
        folder = self.study
        if folder is None:
            say(f"making a CT phantom study of {self.slices} slices")
            folder = self.directory / "study"
            make_study(folder, self.slices)
        found = [item.path for item in gather([folder]) if isinstance(item, Found)]
        files = [(path, identify(path)) for path in found]
        usable = [(path, one) for path, one in files if one.kind == "dicom" and one.transfer_syntax_uid]
        if self.study is not None:
            usable = usable[: self.slices] if self.slices else usable
        if not usable:
            raise RadpostError(NOTHING_TO_SEND, f"no DICOM object under {folder}")
        return usable

    def _institutions(
        self, stack: contextlib.ExitStack, pacs: ReceivingPacs
    ) -> tuple[Institution, Institution]:
        destination = toml_server(
            "[[destination]]", name="pacs", kind="dicom", ae_title="PACS", host="127.0.0.1", port=pacs.port
        )
        mail = self._by_mail_server(stack) if self.mail_server else self._by_direct_smtp()
        sender = Institution(self.directory / "klinik-a", "Klinik A", SENDER, mail[0])
        receiver = Institution(self.directory / "praxis-b", "Praxis B", RECEIVER, mail[1] + destination)
        return sender.prepare(), receiver.prepare()

    def _by_direct_smtp(self) -> tuple[str, str]:
        """Each institution receives by direct SMTP with STARTTLS; certificates of a CA made for this run."""
        folder = self.directory / "ca"
        folder.mkdir()
        authority = TestAuthority(folder)
        ports = (free_port(), free_port())
        tables = []
        for index, name in enumerate(("klinik-a", "praxis-b")):
            files = authority.issue("localhost", file_stem=name)
            tables.append(
                toml_server(
                    "submission",
                    host="localhost",
                    port=ports[1 - index],
                    security="starttls",
                    ca=authority.ca_file,
                )
                + toml_server(
                    "[[receiver]]",
                    name=f"mail.{name}.example",
                    port=ports[index],
                    certificate=files.cert_file,
                    key=files.key_file,
                    require_tls=True,
                )
            )
        return tables[0], tables[1]

    def _by_mail_server(self, stack: contextlib.ExitStack) -> tuple[str, str]:
        """Both have accounts on one Postfix and Dovecot: submission with login, IMAP over TLS."""
        from radpost.testing.peers.pair import MailServer  # noqa: PLC0415  only here are Debian's servers needed

        server = stack.enter_context(MailServer(users={SENDER: PASSWORD, RECEIVER: PASSWORD}))
        tables = []
        for address in (SENDER, RECEIVER):
            account = {"host": server.host, "user": address, "password": PASSWORD, "ca": server.ca_file}
            tables.append(
                toml_server("submission", port=server.submission_port, security="starttls", **account)
                + toml_server("[[mailbox]]", kind="imap", port=server.imaps_port, security="tls", **account)
            )
        return tables[0], tables[1]


class _Show:
    """One study on its way."""

    def __init__(
        self,
        sender: Institution,
        receiver: Institution,
        pacs: ReceivingPacs,
        files: list[tuple[Path, Identity]],
        timeout: float,
    ) -> None:
        self._sender = sender
        self._receiver = receiver
        self._pacs = pacs
        self._files = files
        self._timeout = timeout
        self._statuses: list[str] = []
        self._begin = 0.0
        self._stored_at = 0.0

    def run(self, report: Callable[[Progress], None]) -> Result:
        """Send, watch, and collect the evidence."""
        self._begin = time.time()
        modality = threading.Thread(target=self._send, daemon=True)
        modality.start()
        deadline = time.monotonic() + self._timeout
        with self._sender.site() as here, self._receiver.site() as there:
            while True:
                progress = self._progress(here, there)
                report(progress)
                if progress.done or time.monotonic() > deadline:
                    break
                if not modality.is_alive() and any(item != "0000" for item in self._statuses):
                    break
                time.sleep(0.1)
            modality.join(5.0)
            return self._result(here, there)

    def _send(self) -> None:
        """Be the modality: C-STORE to the partner's AE title, as if it were a neighbouring station."""
        peer = Peer("127.0.0.1", self._sender.dicom_port, AE_TITLE, "CT1")
        items = [
            Outgoing(
                path,
                one.sop_class_uid or "",
                one.sop_instance_uid or "",
                one.transfer_syntax_uid or "",
                one.dataset_offset,
            )
            for path, one in self._files
        ]
        for sent in send_files(peer, items):
            status = f"{sent.reply.status:04X}" if sent.reply is not None else str(sent.error)
            self._statuses.append(status)
        self._stored_at = time.time()

    def _progress(self, here: Site, there: Site) -> Progress:
        mailed = confirmed = 0
        for _, mail in self._mails(here):
            mailed += mail.objects if mail.on_server_at is not None else 0
            confirmed += mail.objects if mail.state.startswith("confirmed") else 0
        with there.database.read() as connection:
            arrivals = incoming_mails.recent_arrivals(connection, 100_000)
            imported = sum(len(incoming_mails.objects_of(connection, row.id)) for row in arrivals)
        return Progress(
            total=len(self._files),
            sent=len(self._statuses),
            mailed=mailed,
            imported=imported,
            delivered=len(self._pacs.hashes()),
            confirmed=confirmed,
        )

    @staticmethod
    def _mails(here: Site) -> Iterator[tuple[outgoing_transmissions.TransmissionRow, outgoing_mails.MailRow]]:
        with here.database.read() as connection:
            for row in outgoing_transmissions.transmissions(connection, limit=100_000):
                for mail in outgoing_mails.mails_of(connection, row.id):
                    yield row, mail

    def _result(self, here: Site, there: Site) -> Result:
        result = Result(bytes=sum(one.size for _, one in self._files))
        mails = list(self._mails(here))
        result.mails = len(mails)
        result.wire_bytes = sum(mail.size for _, mail in mails)
        states = {}
        with here.database.read() as connection:
            for _, mail in mails:
                for item in outgoing_mails.objects_of_mail(connection, mail.id):
                    states[item.sop_instance_uid] = mail.state
        at_pacs = self._pacs.hashes()
        for number, (path, one) in enumerate(self._files, 1):
            uid = one.sop_instance_uid or ""
            result.objects.append(
                ObjectResult(
                    number=number,
                    name=path.name,
                    size=one.size,
                    original=one.dataset_sha256,
                    c_store=self._statuses[number - 1] if number <= len(self._statuses) else "not sent",
                    at_sender=self._has(here, uid, one.dataset_sha256),
                    at_receiver=self._has(there, uid, one.dataset_sha256),
                    at_pacs=one.dataset_sha256 in at_pacs,
                    confirmed=states.get(uid, "not planned"),
                )
            )
        result.stages = self._stages(mails, there)
        result.seconds = max((stage.end for stage in result.stages), default=0.0)
        return result

    @staticmethod
    def _has(site: Site, uid: str, dataset_sha256: str) -> bool:
        with site.database.read() as connection:
            return any(row.dataset_sha256 == dataset_sha256 for row in objects.same_instance(connection, uid))

    def _stages(
        self, mails: list[tuple[outgoing_transmissions.TransmissionRow, outgoing_mails.MailRow]], there: Site
    ) -> list[Stage]:
        with there.database.read() as connection:
            arrivals = [row for row in incoming_mails.recent_arrivals(connection, 100_000) if row.set_id]
            found = [item for row in arrivals for item in incoming_mails.objects_of(connection, row.id)]
            deliveries = [
                delivery
                for item in found
                if item.object_id is not None
                for delivery in incoming_deliveries.deliveries_of(connection, item.object_id)
            ]
        stages: list[tuple[str, list[float | None]]] = [
            ("C-STORE from the modality", [self._begin, self._stored_at]),
            ("collected and planned", [row.created_at for row, _ in mails]),
            ("signed, encrypted, sealed", [mail.sealed_at for _, mail in mails]),
            ("on the mail server", [mail.on_server_at for _, mail in mails]),
            ("received by the partner", [row.received_at for row in arrivals]),
            ("verified, decrypted, imported", [item.imported_at for item in found]),
            ("delivered to the PACS", [item.done_at for item in deliveries]),
            ("receipt back at the sender", [mail.reported_at for _, mail in mails]),
        ]
        result: list[Stage] = []
        for name, moments in stages:
            known = [moment - self._begin for moment in moments if moment]
            if known:
                result.append(Stage(name, min(known), max(known)))
        return result
