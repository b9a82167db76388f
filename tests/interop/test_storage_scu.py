"""Our storage SCU into real receivers: bit for bit, fast, over TLS, refusals one by one."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE, _config, evt
from pynetdicom.dimse_primitives import C_STORE

from radpost import errors
from radpost.dicom.delivery import Sender, send_files
from radpost.dicom.identity import identify
from radpost.dicom.meta import read_meta
from radpost.dicom.outcome import Outcome
from radpost.dicom.scp import ServerConfig, StorageServer
from radpost.dicom.scu import Association, Outgoing, Peer, Proposal
from radpost.dicom.services import EXPLICIT_LE, IMPLICIT_LE, VERIFICATION
from radpost.testing.dimse import RecordingHandler, Tap, data_set
from radpost.testing.peers.dcmtk import StoreScp
from radpost.testing.peers.orthanc import Orthanc
from radpost.testing.peers.tls import TestAuthority

pytestmark = pytest.mark.shared

SINGLE = [
    "mr_small_implicit",
    "ct_small",
    "mr_small_bigendian",
    "mg_overlay_jpegll",
    "sc_jpeg_baseline",
    "xa_jpegext12",
    "mr_j2k_lossless",
    "ct_j2k_lossy",
    "mr_jpegls_lossless",
    "mr_jpegls_near",
    "ct_rle_frags",
    "video_mpeg2",
    "ct_deflated",
    "pdf_encapsulated",
    "kos",
    "sr_comprehensive",
    "rtplan",
    "seg_1frame",
    "ecg_waveform",
    "charset_h31",
]


def outgoing(path: Path) -> Outgoing:
    found = identify(path)
    assert found.sop_class_uid
    assert found.sop_instance_uid
    assert found.transfer_syntax_uid
    return Outgoing(
        path, found.sop_class_uid, found.sop_instance_uid, found.transfer_syntax_uid, found.dataset_offset
    )


def data_hash(raw: bytes) -> str:
    """Return the hash of the data set as it goes over the wire: of even length (PS3.5 A.5)."""
    data = raw[read_meta(raw).dataset_offset :]
    return digest(data + b"\0" * (len(data) % 2))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def hashes(paths: Sequence[Path]) -> list[str]:
    return sorted(data_hash(path.read_bytes()) for path in paths)


@pytest.fixture(scope="module")
def files(shared: Path) -> list[Path]:
    return [shared / "dicom" / f"{name}.dcm" for name in SINGLE]


@pytest.fixture(scope="module")
def series(shared: Path) -> list[Path]:
    return sorted((shared / "dicom/series-ct-ge").glob("*.dcm"))


@pytest.mark.peer("dcmtk")
def test_storescp_writes_what_we_sent(files: list[Path], series: list[Path]) -> None:
    """PS3.4 B.2.1, PS3.7 9.1.1."""
    with StoreScp(bit_exact=True, options=("+xa", "+uf")) as scp:
        peer = Peer("127.0.0.1", scp.port, scp.aet, "RADPOST")
        sent = list(send_files(peer, [outgoing(path) for path in [*files, *series]]))
        assert [one.item.source for one in sent if not one.stored] == []
        assert hashes(scp.received()) == hashes([*files, *series])


@pytest.mark.peer("dcmtk")
def test_unmodified_storescp_does_not_cost_40_ms_per_object(series: list[Path]) -> None:
    """The trap of engines.md fact 1: 28 objects would take 1.1 s at least with delayed acknowledgements."""
    items = [outgoing(path) for path in series]
    with StoreScp(bit_exact=False) as scp:
        best = min(_seconds(scp, items) for _ in range(3))
    assert best < 0.5 * 0.04 * len(items)


def _seconds(scp: StoreScp, items: Sequence[Outgoing]) -> float:
    start = time.perf_counter()
    assert all(one.stored for one in send_files(Peer("127.0.0.1", scp.port, scp.aet, "RADPOST"), items))
    return time.perf_counter() - start


@pytest.mark.peer("dcmtk")
def test_a_receiver_with_few_syntaxes_says_so_per_class(shared: Path) -> None:
    jpeg = outgoing(shared / "dicom/mr_j2k_lossless.dcm")
    plain = outgoing(shared / "dicom/mr_small_implicit.dcm")
    with StoreScp(options=("+xi",)) as scp:
        peer = Peer("127.0.0.1", scp.port, scp.aet, "RADPOST")
        refused, stored = send_files(peer, [jpeg, plain])
        assert refused.error is not None
        assert refused.error.reason is errors.NO_COMMON_SYNTAX
        assert stored.stored
        with Sender(peer) as sender:
            assert sender.accepted(jpeg.sop_class, jpeg.transfer_syntax) == (IMPLICIT_LE,)


@pytest.mark.peer("orthanc")
def test_orthanc_keeps_what_we_sent(files: list[Path], series: list[Path]) -> None:
    with Orthanc() as pacs, Tap(pacs.dicom_port) as tap:
        peer = Peer("127.0.0.1", tap.port, pacs.aet, "RADPOST")
        sent = list(send_files(peer, [outgoing(path) for path in [*files, *series]]))
        assert [(one.item.source, one.error) for one in sent if not one.stored] == []
        assert sorted(digest(data) for data in tap.data_sets()) == hashes([*files, *series])
        # Orthanc parses and writes anew, so the wire is the witness of bytes and Orthanc of content. Four of
        # the files share a SOP Instance UID: it keeps the last of them.
        latest = {one.item.sop_instance: one.item.source for one in sent}
        kept = [pydicom.dcmread(BytesIO(pacs.file(instance))) for instance in pacs.instances()]
        assert {one.SOPInstanceUID for one in kept} == set(latest)
        for one in kept:
            source = latest[one.SOPInstanceUID]
            assert isinstance(source, Path)
            original = pydicom.dcmread(source)
            assert one.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
            assert one.get("PixelData") == original.get("PixelData"), source.name
        with Sender(peer) as sender:
            assert sender.send(sent[-1].item).outcome.stored, "the same object again"
        assert len(pacs.instances()) == len(kept)


@pytest.mark.peer("dcmtk")
def test_echo_of_storescp() -> None:
    """PS3.4 A, PS3.7 9.1.5."""
    with StoreScp() as scp:
        peer = Peer("127.0.0.1", scp.port, scp.aet, "RADPOST")
        with Association.open(peer, [Proposal(VERIFICATION, (IMPLICIT_LE,))]) as association:
            assert association.echo() == 0


@pytest.mark.parametrize("maximum", [16382, 0])
def test_pynetdicom_receives_our_bytes(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, maximum: int
) -> None:
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", True)
    got: list[str] = []
    statuses = iter([0xB000, 0xA700, 0xC001])

    def store(event: evt.Event) -> int:
        assert isinstance(event.request, C_STORE)
        assert isinstance(event.request.DataSet, BytesIO)
        got.append(hashlib.sha256(event.request.DataSet.getvalue()).hexdigest())
        return next(statuses, 0)

    ae = AE("PACS")
    ae.maximum_pdu_size = maximum
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        peer = Peer("127.0.0.1", server.server_address[1], "PACS", "RADPOST")
        sent = list(send_files(peer, [outgoing(path) for path in files]))
    finally:
        server.shutdown()
    outcomes = [one.reply.outcome for one in sent if one.reply]
    assert outcomes[:3] == [Outcome.STORED_WITH_REMARK, Outcome.OUT_OF_RESOURCES, Outcome.REFUSED]
    assert set(outcomes[3:]) == {Outcome.STORED}
    assert got == [data_hash(path.read_bytes()) for path in files]


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[int, TestAuthority, RecordingHandler]]:
    authority = TestAuthority(tmp_path)
    (tmp_path / "in").mkdir()
    handler = RecordingHandler(tmp_path / "in")
    server = StorageServer(ServerConfig(port=0, tls=authority.issue().server_context()), handler)
    server.start()
    yield server.port, authority, handler
    server.stop(2)


def test_tls_between_our_own_ends(
    tls_server: tuple[int, TestAuthority, RecordingHandler], files: list[Path], series: list[Path]
) -> None:
    port, authority, handler = tls_server
    paths = [*files, *series[:5]]
    peer = Peer("127.0.0.1", port, "PARTNER", "RADPOST", tls=authority.client_context())
    assert all(one.stored for one in send_files(peer, [outgoing(path) for path in paths]))
    handler.wait_for("released")
    assert sorted(data.dataset_sha256 for _, _, data in handler.received) == hashes(paths)
    assert {association.tls for association, _, _ in handler.received} == {True}


def test_tls_trusts_only_whom_it_should(
    tls_server: tuple[int, TestAuthority, RecordingHandler], tmp_path: Path, files: list[Path]
) -> None:
    """PS3.15 B.12."""
    port, authority, handler = tls_server
    (tmp_path / "other").mkdir()
    other = TestAuthority(tmp_path / "other")
    for context, name in ((other.client_context(), None), (authority.client_context(), "pacs.invalid")):
        peer = Peer("127.0.0.1", port, "PARTNER", "RADPOST", tls=context, tls_name=name)
        (sent,) = send_files(peer, [outgoing(files[0])])
        assert sent.error is not None
        assert sent.error.reason is errors.TLS_FAILED
        assert not sent.retryable
    assert handler.received == []


def test_an_object_of_300_mb_goes_out_in_bounded_memory(tmp_path: Path) -> None:
    """Peak of mapped and private memory together, of the sending process."""
    script = """
import sys
from pathlib import Path
from radpost.dicom.delivery import send_files
from radpost.dicom.scu import Outgoing, Peer
peak = lambda: int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
def send(name):
    path, ct = Path(sys.argv[2]) / name, "1.2.840.10008.5.1.4.1.1.2"
    item = Outgoing(path, ct, "1.2.3.4", "1.2.840.10008.1.2.1", 0)
    (sent,) = send_files(Peer("127.0.0.1", int(sys.argv[1]), "PARTNER", "RADPOST"), [item])
    assert sent.stored, sent
send("small"); before = peak()
send("large"); print((peak() - before) // 1024)
"""
    for name, size in (("small", 10_000_000), ("large", 300_000_000)):
        with (tmp_path / name).open("wb") as stream:
            stream.write(data_set(pixels=0))
            stream.truncate(size)
    (tmp_path / "in").mkdir()
    handler = RecordingHandler(tmp_path / "in")
    server = StorageServer(ServerConfig(port=0), handler)
    server.start()
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, str(server.port), str(tmp_path)],
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        server.stop(2)
    assert int(done.stdout) <= 3
    assert [data.dataset_size for _, _, data in handler.received] == [10_000_000, 300_000_000]
    assert handler.received[1][1].transfer_syntax == EXPLICIT_LE
