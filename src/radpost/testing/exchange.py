"""Two institutions on loopback that send to each other by direct SMTP, and the PACS behind the second.

For tests of failures, attacks, kills and leaks, with small studies made on the spot.
"""

import random
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from radpost.dicom.delivery import send_files
from radpost.dicom.identity import identify
from radpost.dicom.lazy import pydicom
from radpost.dicom.meta import EXPLICIT_VR_LITTLE_ENDIAN, file_meta
from radpost.dicom.scu import Outgoing, Peer
from radpost.gateway.partners import RADPOST_PEER, Switches
from radpost.testing import posted
from radpost.testing.institution import Institution, OwnKey, make_key, toml_server, wait_for
from radpost.testing.peers.base import free_port
from radpost.testing.peers.pair import MailServer
from radpost.testing.store_scp import ReceivingPacs
from radpost.words import SignaturePolicy

A_ADDRESS: Final = "dicom@klinik-a.example"
B_ADDRESS: Final = "dicom@klinik-b.example"
SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"


@cache
def known_key(name: str, address: str) -> OwnKey:
    """Return a key pair that is made once per test run: to make one costs half a second."""
    return make_key(name, address)


def small_study(
    directory: Path,
    objects: int,
    seed: object,
    *,
    patient: tuple[str, str] = ("Probe^Klein", "PROBE-1"),
    side: int = 48,
    comments: str = "",
    uids: tuple[str, str] | None = None,
) -> list[Path]:
    """Write a study of small images, different for every seed; return the files.

    ``uids`` gives Study and SOP Instance UID of a single object, however malformed.
    """
    library = pydicom()
    rng = random.Random(f"small study {seed}")  # noqa: S311  test data that can be made again
    directory.mkdir(parents=True, exist_ok=True)
    study = f"2.25.{rng.getrandbits(110)}"
    paths = []
    for number in range(1, objects + 1):
        ds = library.Dataset()
        ds.SpecificCharacterSet = "ISO_IR 192"
        instance = uids[1] if uids else f"{study}.{number}"
        ds.SOPClassUID, ds.SOPInstanceUID = SECONDARY_CAPTURE, instance
        ds.StudyDate, ds.StudyTime, ds.AccessionNumber = "20240229", "101500", "PROBE"
        ds.Modality, ds.ConversionType = "OT", "SYN"
        ds.PatientName, ds.PatientID = patient
        ds.PatientBirthDate, ds.PatientSex = "19700101", "O"
        ds.PatientComments = comments
        ds.StudyInstanceUID, ds.SeriesInstanceUID = uids[0] if uids else study, f"{study}.0"
        ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", 1, number
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows = ds.Columns = side
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.PixelRepresentation = 7, 0
        ds.PixelData = rng.randbytes(side * side)
        out = library.filebase.DicomBytesIO()
        out.is_little_endian, out.is_implicit_VR = True, False
        library.filewriter.write_dataset(out, ds)
        meta = file_meta(SECONDARY_CAPTURE, instance, EXPLICIT_VR_LITTLE_ENDIAN)
        path = directory / f"object-{number:04d}.dcm"
        path.write_bytes(meta + bytes(out.getvalue()))
        paths.append(path)
    return paths


def hashes_of(files: Iterable[Path]) -> set[str]:
    """Return the data set hashes of DICOM files."""
    return {identify(path).dataset_sha256 for path in files}


def c_store(
    port: int, called: str, files: Iterable[Path], *, calling: str = "CT1", host: str = "127.0.0.1"
) -> list[int]:
    """Send files by C-STORE as a modality would; return the status of each."""
    items = []
    for path in files:
        found = identify(path)
        assert found.sop_class_uid is not None
        assert found.sop_instance_uid is not None
        assert found.transfer_syntax_uid is not None
        items.append(
            Outgoing(
                path,
                found.sop_class_uid,
                found.sop_instance_uid,
                found.transfer_syntax_uid,
                found.dataset_offset,
            )
        )
    return [
        reply.reply.status if reply.reply is not None else -1
        for reply in send_files(Peer(host, port, called, calling), items)
    ]


@dataclass
class Exchange:
    """A sends to B by the AE title ``PARTNER_B``; B delivers to the PACS. Started on entry."""

    directory: Path
    switches: Switches = RADPOST_PEER
    policy: SignaturePolicy = SignaturePolicy.REQUIRE
    a_sections: str = ""
    b_sections: str = ""
    a_dicom: str = "allow_any_station = true\nquiet_seconds = 0.1\n"
    partners: bool = True
    destination: dict[str, object] = field(default_factory=dict)
    pacs: ReceivingPacs = field(init=False)
    pacs_port: int = field(init=False)
    a: Institution = field(init=False)
    b: Institution = field(init=False)
    a_smtp: int = field(default_factory=free_port)
    b_smtp: int = field(default_factory=free_port)
    tapped: tuple[int, int] | None = None
    """Ports of wiretaps before A's and B's receivers, which the other one sends to."""
    server: MailServer | None = None
    """A mail server with a mailbox for each; without one they send to each other directly."""
    server_ports: dict[str, int] = field(default_factory=dict)
    """Other ports of the mail server to use: ``submission`` and ``imap``, of wiretaps before it."""
    in_host: str = ""
    """Run both in a UTS namespace of this host name, where the system allows it."""

    def __post_init__(self) -> None:
        self._stack = ExitStack()
        self._studies = 0
        self.pacs_port = free_port()
        self.pacs = ReceivingPacs(self.directory / "pacs", self.pacs_port)
        to_a, to_b = self.tapped or (self.a_smtp, self.b_smtp)
        self.a = self._institution("a", self.a_smtp, to_b, self.a_sections, self.a_dicom)
        target = {"name": "pacs", "kind": "dicom", "ae_title": "PACS", "host": "127.0.0.1"}
        section = toml_server("[[destination]]", **{**target, "port": self.pacs_port, **self.destination})
        self.b = self._institution("b", self.b_smtp, to_a, section + self.b_sections)

    def prepare(self) -> Self:
        """Make both stores, keys and partners; nothing runs yet."""
        self.a.prepare()
        self.b.prepare()
        if self.partners:
            self.a.add_partner(self.b, "PARTNER_B", switches=self.switches, policy=self.policy)
            self.b.add_partner(self.a, "PARTNER_A", switches=self.switches, policy=self.policy)
        return self

    def __enter__(self) -> Self:
        if not self.a.config_path.exists():
            self.prepare()
        self._stack.enter_context(self.pacs)
        self._stack.callback(self.b.stop)
        self._stack.callback(self.a.stop)
        self.a.start()
        self.b.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def study(self, objects: int = 2, **options: Any) -> list[Path]:
        """Write a new study."""
        self._studies += 1
        folder = self.directory / "studies" / str(self._studies)
        return small_study(folder, objects, (str(self.directory), self._studies), **options)

    def send(self, files: Sequence[Path]) -> None:
        """Send a study to A for B; every object must be taken."""
        statuses = c_store(self.a.dicom_port, "PARTNER_B", files)
        assert statuses == [0] * len(files), [f"{status:04X}" for status in statuses]

    def arrived(self, files: Iterable[Path]) -> bool:
        """Tell whether a study is at the PACS."""
        return hashes_of(files) <= self.pacs.hashes()

    def wait_arrived(self, files: Sequence[Path], timeout: float = 30.0) -> None:
        """Wait until a study is at the PACS."""
        wanted = hashes_of(files)
        wait_for(lambda: wanted <= self.pacs.hashes(), "the study at the PACS", timeout)

    def passes(self, objects: int = 2, timeout: float = 30.0) -> None:
        """Assert that a good study still passes, from the modality to the PACS and the receipt back."""
        before = len(self.a.transmissions())
        files = self.study(objects)
        self.send(files)
        self.wait_arrived(files, timeout)
        wait_for(
            lambda: (
                all(
                    row.state in {"confirmed", "confirmed (unsigned)"}
                    for row in self.a.transmissions()[before:]
                )
                and len(self.a.transmissions()) > before
            ),
            "the good study is confirmed",
            timeout,
        )
        assert self.a.process is not None
        assert self.b.process is not None
        assert self.a.process.poll() is None, self.a.log()[-2000:]
        assert self.b.process.poll() is None, self.b.log()[-2000:]

    def last(self) -> str:
        """Return the state of A's newest transmission."""
        found = self.a.transmissions()
        return found[-1].state if found else ""

    def _institution(self, name: str, own: int, peer: int, sections: str, dicom: str = "") -> Institution:
        address = f"dicom@klinik-{name}.example"
        if self.server is None:
            mail = toml_server("submission", host="127.0.0.1", port=peer, security="none")
            mail += toml_server("[[receiver]]", port=own, name=f"mail.klinik-{name}.example")
        else:
            mail = posted.submission(
                self.server, address, "starttls", **_port(self.server_ports, "submission")
            )
            mail += posted.mailbox(self.server, address, "imaps", **_port(self.server_ports, "imap"))
        institution = Institution(
            self.directory / name,
            f"klinik-{name}",
            address,
            mail + sections,
            key=known_key(f"klinik-{name}", address),
        )
        if dicom:
            institution.dicom = dicom
        if self.in_host and _may_unshare():
            script = 'hostname "$0" && exec "$@"'
            institution.wrapper = ("unshare", "--map-root-user", "--uts", "sh", "-c", script, self.in_host)
        return institution


def wait_state(exchange: Exchange, state: str, timeout: float = 30.0) -> None:
    """Wait until A's newest transmission is in a state."""
    wait_for(lambda: exchange.last() == state, f"transmission {state} (is {exchange.last()})", timeout)


def _port(ports: dict[str, int], name: str) -> dict[str, int]:
    return {"port": ports[name]} if name in ports else {}


@cache
def _may_unshare() -> bool:
    """Tell whether namespaces of users are allowed here (unprivileged, in containers they often are not)."""
    try:
        command = ["unshare", "--map-root-user", "--uts", "hostname", "probe"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def stranger(name: str = "stranger") -> OwnKey:
    """Return the key of somebody whom nobody knows."""
    return known_key(name, f"{name}@elsewhere.example")


def third_partner(world: Exchange) -> Institution:
    """Make a third institution a partner of B; it does not run."""
    address = "dicom@klinik-c.example"
    third = Institution(world.directory / "c", "klinik-c", address, key=known_key("klinik-c", address))
    world.b.add_partner(third, "PARTNER_C")
    return third
