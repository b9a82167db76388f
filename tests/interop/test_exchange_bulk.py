"""Much and large: a study of 1,000 slices, and one object of 300 MB through a server that takes 10 MB."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from radpost.dicom.meta import EXPLICIT_VR_LITTLE_ENDIAN, file_meta
from radpost.gateway.partners import RADPOST_PEER, Switches
from radpost.testing import posted
from radpost.testing.institution import Institution
from radpost.testing.peers.dcmtk import storescu
from radpost.testing.peers.pair import MailServer
from radpost.testing.posted import A_ADDRESS, B_ADDRESS
from radpost.testing.store_scp import ReceivingPacs

pytestmark = [pytest.mark.peer("postfix", "dovecot", "dcmtk", "gnupg"), pytest.mark.timeout(240)]

SLICES = 1000
FRAMES, SIDE = 1200, 512
SERVER_LIMIT = 10_000_000
MEMORY = 400_000_000
GRAYSCALE_BYTE_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.7.2"


def institutions(
    directory: Path, server: MailServer, pacs: ReceivingPacs, switches: Switches = RADPOST_PEER
) -> tuple[Institution, Institution]:
    mail = [posted.submission(server, user) + posted.mailbox(server, user) for user in posted.USERS]
    a = Institution(directory / "a", "Klinik A", A_ADDRESS, mail[0]).prepare()
    b = Institution(directory / "b", "Praxis B", B_ADDRESS, mail[1] + posted.pacs(pacs.port)).prepare()
    posted.befriend(a, b, switches=switches)
    return a, b


def report(what: str, size: int, seconds: float, *who: Institution) -> None:
    peaks = [posted.peak_memory(one) for one in who]
    told = ", ".join(f"{one.name} {peak / 1e6:.0f} MB" for one, peak in zip(who, peaks, strict=True))
    speed = f"{size / 1e6:.0f} MB in {seconds:.1f} s, {size / 1e6 / seconds:.1f} MB/s"
    print(f"\n{what}: {speed}; peak memory {told}")
    assert max(peaks) < MEMORY


@pytest.fixture
def thousand(shared: Path, tmp_path: Path) -> Path:
    """1,000 slices in 4 series, as the tool of the reference data makes them out of real ones."""
    study = tmp_path / "study"
    tool = shared / "tools/make_study.py"
    subprocess.run(
        [
            sys.executable,
            tool,
            shared / "dicom/series-ct-ge",
            study,
            "-n",
            str(SLICES),
            "--series-count",
            "4",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return study


@pytest.mark.slow
def test_a_thousand_slices_arrive(thousand: Path, tmp_path: Path) -> None:
    with MailServer(posted.USERS) as server, ReceivingPacs(tmp_path / "pacs") as pacs:
        a, b = institutions(tmp_path, server, pacs)
        with a, b:
            start = time.monotonic()
            storescu(a.dicom_port, [thousand], called="PRAXIS_B", tcp_nodelay=True)
            posted.await_that(lambda: len(pacs.kept) >= SLICES, "the PACS has all", a, b, timeout=150)
            seconds = time.monotonic() - start
            done = posted.await_idle(a)
            report("1,000 slices", sum(path.stat().st_size for path in thousand.iterdir()), seconds, a, b)
            assert {row.state for row in done} == {"confirmed"}
            assert sum(row.objects for row in done) == SLICES
            assert len(pacs.kept) == SLICES, "each exactly once"
            posted.await_that(lambda: not server.mails(A_ADDRESS) + server.mails(B_ADDRESS), "emptied", a, b)
    at_a = {row.sop_instance_uid: row.dataset_sha256 for row in posted.stored(a)}
    assert len(at_a) == SLICES
    assert {row.sop_instance_uid: row.dataset_sha256 for row in posted.stored(b)} == at_a
    assert {one.sop_instance_uid: one.dataset_sha256 for one in pacs.kept} == at_a


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    """A multi-frame object of 300 MB that does not compress; written piece by piece."""
    path = tmp_path / "large.dcm"
    noise = random.Random(300)
    instance = f"2.25.{noise.getrandbits(100)}"

    def text(tag: bytes, kind: bytes, value: str) -> bytes:
        raw = value.encode("ascii")
        raw += b"" if len(raw) % 2 == 0 else (b"\0" if kind == b"UI" else b" ")
        return tag + kind + len(raw).to_bytes(2, "little") + raw

    def number(tag: bytes, value: int) -> bytes:
        return tag + b"US" + (2).to_bytes(2, "little") + value.to_bytes(2, "little")

    with path.open("wb") as file:
        file.write(file_meta(GRAYSCALE_BYTE_MULTI_FRAME, instance, EXPLICIT_VR_LITTLE_ENDIAN))
        file.write(text(b"\x08\0\x16\0", b"UI", GRAYSCALE_BYTE_MULTI_FRAME))
        file.write(text(b"\x08\0\x18\0", b"UI", instance))
        file.write(text(b"\x08\0\x60\0", b"CS", "OT"))
        file.write(text(b"\x10\0\x10\0", b"PN", "Large^Object"))
        file.write(text(b"\x10\0\x20\0", b"LO", "L300"))
        file.write(text(b"\x20\0\x0d\0", b"UI", f"{instance}.1"))
        file.write(text(b"\x20\0\x0e\0", b"UI", f"{instance}.2"))
        file.write(number(b"\x28\0\x02\0", 1))
        file.write(text(b"\x28\0\x04\0", b"CS", "MONOCHROME2"))
        file.write(text(b"\x28\0\x08\0", b"IS", str(FRAMES)))
        file.write(number(b"\x28\0\x10\0", SIDE) + number(b"\x28\0\x11\0", SIDE))
        file.write(number(b"\x28\0\x00\x01", 8) + number(b"\x28\0\x01\x01", 8))
        file.write(number(b"\x28\0\x02\x01", 7) + number(b"\x28\0\x03\x01", 0))
        file.write(b"\xe0\x7f\x10\0OB\0\0" + (FRAMES * SIDE * SIDE).to_bytes(4, "little"))
        for _ in range(FRAMES):
            file.write(noise.randbytes(SIDE * SIDE))
    assert path.stat().st_size > 300_000_000
    yield path
    path.unlink()


def test_an_object_of_300_mb_through_mails_of_10_mb(large: Path, tmp_path: Path) -> None:
    """The partner would take more; what the server announces (ESMTP SIZE) decides: message/partial."""
    switches = Switches(
        objects_per_mail=10_000,
        max_mail_size=40_000_000,
        inner_encoding="binary",
        receipt_signed=True,
        receipts_per_object=True,
        trust_unsigned_receipts=False,
    )
    with (
        MailServer(posted.USERS, message_size_limit=SERVER_LIMIT) as server,
        ReceivingPacs(tmp_path / "pacs") as pacs,
    ):
        a, b = institutions(tmp_path, server, pacs, switches)
        with a, b:
            start = time.monotonic()
            storescu(a.dicom_port, [large], called="PRAXIS_B", options=("-xe",), tcp_nodelay=True)
            posted.await_that(lambda: len(pacs.kept) >= 1, "the PACS has it", a, b, timeout=150)
            seconds = time.monotonic() - start
            done = posted.await_idle(a)
            report("one object", large.stat().st_size, seconds, a, b)
            assert [row.state for row in done] == ["confirmed"]
    fragments = [row for row in posted.arrivals(b) if row.kind == "fragment"]
    assert len(fragments) > large.stat().st_size / SERVER_LIMIT
    assert max(row.size for row in fragments) <= SERVER_LIMIT
    (at_a,), (at_b,), (kept,) = posted.stored(a), posted.stored(b), pacs.kept
    assert at_a.dataset_sha256 == at_b.dataset_sha256 == kept.dataset_sha256
    assert at_a.dataset_sha256 == posted.dataset_sha256(large)
