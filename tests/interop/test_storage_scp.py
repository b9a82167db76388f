"""Real senders into our storage SCP: the data set on the wire is the data set in the file, bit for bit."""

import contextlib
import datetime as dt
import hashlib
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pynetdicom import AE, _config

from radpost.dicom.access import Accept, Reject, Rejection
from radpost.dicom.meta import read_meta
from radpost.dicom.scp import ServerConfig, StorageServer
from radpost.testing.dimse import RecordingHandler, Tap
from radpost.testing.peers import dcmtk
from radpost.testing.peers.tls import TestAuthority

pytestmark = pytest.mark.shared

FAMILIES = {
    "-xi": "mr_small_implicit rtplan rtdose pr_gsps",
    "-xe": "ct_small pt_native sr_3d ecg_waveform pdf_encapsulated kos charset_h31",
    "-xb": "mr_small_bigendian",
    "-xs": "mg_overlay_jpegll attack_xss_patientname bad_un_sequence",
    "-xy": "xa_multiframe_jpegb sc_jpeg_baseline",
    "-xx": "xa_jpegext12 ect_multiframe_frag_nobot",
    "-xv": "mr_j2k_lossless",
    "-xw": "ct_j2k_lossy mg_j2k_lossy_large ct_elscint_jp2",
    "-xt": "mr_jpegls_lossless wsi_sm_jpegls",
    "-xu": "mr_jpegls_near",
    "-xr": "ct_rle_frags us_rle_2frame us_multiframe_palette_rle",
    "-xm": "video_mpeg2",
    "-xd": "ct_deflated sr_deflated",
}
"""What storescu has to be told to offer, and files in that transfer syntax (without ``.dcm``)."""


@contextlib.contextmanager
def serving(handler: RecordingHandler, **config: object) -> Iterator[int]:
    server = StorageServer(ServerConfig(port=0, **config), handler)  # type: ignore[arg-type]  # by name
    server.start()
    try:
        yield server.port
    finally:
        server.stop(5)


def data_hash(path: Path) -> str:
    raw = path.read_bytes()
    return hashlib.sha256(raw[read_meta(raw).dataset_offset :]).hexdigest()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize("family", FAMILIES)
def test_storescu_by_transfer_syntax(shared: Path, tmp_path: Path, family: str) -> None:
    """Compared with what storescu put on the wire: it parses files and writes them anew, without padding.

    PS3.4 B.2.2, B.4.1.
    """
    handler = RecordingHandler(tmp_path)
    files = [shared / "dicom" / f"{name}.dcm" for name in FAMILIES[family].split()]
    with serving(handler) as port, Tap(port) as tap:
        for count, file in enumerate(files, 1):
            dcmtk.storescu(tap.port, [file], options=("-R", family), called="PARTNER_X", calling="CT1")
            handler.wait_for("released", count)
    assert len(handler.received) == len(files)
    for file, sent, (association, context, data) in zip(
        files, tap.data_sets(), handler.received, strict=True
    ):
        meta = read_meta(file.read_bytes())
        assert (association.called_ae, association.calling_ae) == ("PARTNER_X", "CT1")
        assert context.sop_class == data.sop_class_uid
        assert context.sop_instance == data.sop_instance_uid
        assert context.transfer_syntax == meta.transfer_syntax_uid
        content = data.path.read_bytes()
        assert data.file_sha256 == digest(content)
        assert data.dataset_sha256 == digest(content[data.dataset_offset :]) == digest(sent)


@pytest.mark.peer("dcmtk")
def test_several_associations_at_once(shared: Path, tmp_path: Path) -> None:
    handler = RecordingHandler(tmp_path)
    series = [sorted((shared / "dicom" / name).glob("*.dcm")) for name in ("series-ct-ge", "series-mr-brain")]
    with serving(handler) as port, Tap(port) as tap:
        threads = [
            threading.Thread(target=dcmtk.storescu, args=(tap.port, files), kwargs={"options": ("-R",)})
            for files in series * 2
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        handler.wait_for("released", 4)
    sent = sorted(digest(data) for data in tap.data_sets())
    assert len(sent) == 2 * sum(map(len, series))
    assert sorted(data.dataset_sha256 for _, _, data in handler.received) == sent
    for _, _, data in handler.received:
        assert digest(data.path.read_bytes()) == data.file_sha256
    hashes = {data.file_sha256 for _, _, data in handler.received}
    assert len(hashes) == len(sent) // 2, "the same object twice is the same file"


@pytest.mark.peer("dcmtk")
def test_storescu_does_not_wait_for_our_acknowledgements(shared: Path, tmp_path: Path) -> None:
    """It writes the header of a unit and its content apart: a late ACK costs 40 ms, for most objects."""
    handler = RecordingHandler(tmp_path)
    files = sorted((shared / "dicom/series-ct-ge").glob("*.dcm"))
    with serving(handler, sync=False) as port:
        best = min(_seconds(port, files) for _ in range(5))
    assert best < 0.35 * 0.04 * len(files)


def _seconds(port: int, files: list[Path]) -> float:
    start = time.perf_counter()
    dcmtk.storescu(port, files, options=("-R",))
    return time.perf_counter() - start


@pytest.mark.peer("dcmtk")
def test_echo_and_refused_titles(tmp_path: Path) -> None:
    """PS3.4 A, PS3.7 9.1.5."""

    def admit(calling: str, called: str, _address: str) -> Accept | Reject:
        if calling != "CT1":
            return Reject(Rejection.CALLING_AE)
        return Accept("x") if called == "PARTNER_X" else Reject(Rejection.CALLED_AE)

    with serving(RecordingHandler(tmp_path, admit=admit)) as port:
        assert dcmtk.echoscu(port, calling="CT1", called="PARTNER_X").returncode == 0
        wrong = dcmtk.echoscu(port, calling="CT1", called="PARTNER_Y", check=False)
        assert wrong.returncode
        assert "Called AE Title Not Recognized" in wrong.stderr
        unknown = dcmtk.echoscu(port, calling="CT2", called="PARTNER_X", check=False)
        assert unknown.returncode
        assert "Calling AE Title Not Recognized" in unknown.stderr


@pytest.mark.peer("dcmtk")
def test_an_aborting_sender(shared: Path, tmp_path: Path) -> None:
    handler = RecordingHandler(tmp_path)
    with serving(handler) as port:
        dcmtk.storescu(port, [shared / "dicom/ct_small.dcm"], options=("-R", "--abort"), calling="RUDE")
        handler.wait_for("aborted RUDE")
    assert handler.events[1:] == ["store 0000", "aborted RUDE"]


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize("mutual", [False, True])
def test_storescu_over_tls(shared: Path, tmp_path: Path, mutual: bool) -> None:
    authority = TestAuthority(tmp_path)
    server = authority.issue().server_context()
    options = ["+tla", "+cf", str(authority.ca_file), "-R"]
    if mutual:
        server.verify_mode = ssl.CERT_REQUIRED
        client = self_signed(tmp_path)
        server.load_verify_locations(client[0])
        options[0:1] = ["+tls", str(client[1]), str(client[0])]
    (tmp_path / "in").mkdir()
    handler = RecordingHandler(tmp_path / "in")
    files = sorted((shared / "dicom/series-mr-brain").glob("*.dcm"))[:5]
    with serving(handler, tls=server) as port:
        dcmtk.storescu(port, files, options=options)
        handler.wait_for("released")
        assert handler.received[0][0].tls
        plain = dcmtk.storescu(port, files[:1], options=("-R",), check=False)
        assert plain.returncode
        if mutual:
            nobody = dcmtk.storescu(
                port, files[:1], options=("+tla", "+cf", str(authority.ca_file), "-R"), check=False
            )
            assert nobody.returncode
    over_tls = [data.dataset_sha256 for _, _, data in handler.received]
    with serving(handler) as port:
        dcmtk.storescu(port, files, options=("-R",))
    assert over_tls == [data.dataset_sha256 for _, _, data in handler.received[len(files) :]]
    assert len(over_tls) == len(files)


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Return certificate and key of a modality that the server trusts as it is."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "modality")])
    now = dt.datetime.now(dt.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    files = directory / "client.pem", directory / "client.key"
    files[0].write_bytes(cert.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


@pytest.mark.parametrize("maximum", [16382, 131072, 0])
def test_pynetdicom_sends_what_dcmtk_cannot(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maximum: int
) -> None:
    """HTJ2K, JPEG XL, deflated, private and unknown classes, by an independent implementation."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # the bytes of the file, unparsed
    names = [
        "htj2k_lossless_rgb.dcm",
        "htj2k_lossy_rgb.dcm",
        "jpegxl_us_multiframe.dcm",
        "private_sop_philips.dcm",
        "unknown_sop_class.dcm",
        "seg_deflated_frames.dcm",
        "seg_labelmap.dcm",
        "explicit_vr_un.dcm",
        "emri_j2k_tooshort.dcm",
        "pt_cp246_un_sq.dcm",
        "deflated_sq_tiny.dcm",
        "mr_truncated.dcm",
        "ct_jpeg_progressive_retired.dcm",
        "sc_odd_size.dcm",
        "sr_latin2.dcm",
    ]
    files = [shared / "dicom" / name for name in names]
    handler = RecordingHandler(tmp_path)
    with serving(handler) as port:
        for file in files:
            meta = read_meta(file.read_bytes())
            ae = AE("PYNET")
            ae.add_requested_context(str(meta.sop_class_uid), str(meta.transfer_syntax_uid))
            association = ae.associate("127.0.0.1", port, ae_title="PARTNER_X", max_pdu=maximum)
            assert association.is_established, file.name
            assert association.send_c_store(file).Status == 0, file.name
            association.release()
        handler.wait_for("released", len(files))
    assert [data.dataset_sha256 for _, _, data in handler.received] == [data_hash(file) for file in files]


DISK_FULL = """
import sys
from pathlib import Path
from radpost.dicom.scp import ServerConfig, StorageServer
from radpost.testing.dimse import RecordingHandler
handler = RecordingHandler(Path(sys.argv[1]))
server = StorageServer(ServerConfig(port=0), handler)
server.start()
import socket
from radpost.testing.dimse import command_unit, converse, data_set, data_unit, request, store_command
def store(instance, pixels):
    data = data_set(instance, pixels=pixels)
    return command_unit(store_command(instance)) + b"".join(
        data_unit(data[at : at + 65536], last=at + 65536 >= len(data)) for at in range(0, len(data), 65536))
small, large, next_one = store("1.2.1", 100_000), store("1.2.2", 8_000_000), store("1.2.3", 100_000)
print(converse(server.port, request().encode(), small, large, next_one))
print(sorted(path.stat().st_size > 0 for path in Path(sys.argv[1]).iterdir()))
server.stop(2)
"""


def test_a_full_disk_refuses_one_object_and_takes_the_next(tmp_path: Path) -> None:
    """A real small file system, mounted in a name space of our own."""
    script = tmp_path / "full.py"
    script.write_text(DISK_FULL)
    small = tmp_path / "small"
    shell = f'mount -t tmpfs -o size=4m none "{small}" && exec "{sys.executable}" "{script}" "{small}"'
    small.mkdir()
    unshare = shutil.which("unshare")
    assert unshare is not None
    if subprocess.run([unshare, "-Urm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("name spaces are not allowed here")
    done = subprocess.run(
        [unshare, "-Urm", "sh", "-c", shell],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    said, files = done.stdout.splitlines()
    assert said == (
        "['accept 1:0:1.2.840.10008.1.2.1', 'command 1: 8001 0000', 'command 1: 8001 A700', "
        "'command 1: 8001 0000']"
    )
    assert files == "[True, True]"


MEMORY = """
import socket, sys
from pathlib import Path
from radpost.dicom.scp import ServerConfig, StorageServer
from radpost.dicom import pdu
from radpost.testing.dimse import RecordingHandler, command_unit, data_unit, data_set
from radpost.testing.dimse import read_unit, request, store_command
handler = RecordingHandler(Path(sys.argv[1]))
server = StorageServer(ServerConfig(port=0), handler)
server.start()
def send(size):
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(request().encode()); read_unit(sock)
        sock.sendall(command_unit(store_command()))
        sock.sendall(data_unit(data_set(), last=False))
        piece = data_unit(bytes(131072), last=False)
        for _ in range(size // 131072):
            sock.sendall(piece)
        sock.sendall(data_unit(b""))
        print(read_unit(sock))
peak = lambda: int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
send(10_000_000); before = peak()
send(300_000_000); print((peak() - before) // 1024, before // 1024)
server.stop(2)
"""


def test_memory_does_not_grow_with_an_object_of_300_mb(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "in")],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    first, second, figures = done.stdout.splitlines()
    assert first == second == "command 1: 8001 0000"
    growth, before = map(int, figures.split())
    assert growth <= 3
    assert before < 60


@pytest.mark.peer("dcmtk")
def test_a_file_whose_header_contradicts_its_data_set_gets_a_clear_answer(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    handler = RecordingHandler(tmp_path)
    good = shared / "dicom/ct_small.dcm"
    meta = read_meta((shared / "dicom/ct_jpegll57_bad.dcm").read_bytes())
    with serving(handler) as port:
        ae = AE("PYNET")
        ae.add_requested_context(str(meta.sop_class_uid), str(meta.transfer_syntax_uid))
        association = ae.associate("127.0.0.1", port)
        status = association.send_c_store(shared / "dicom/ct_jpegll57_bad.dcm")
        association.release()
        assert status.Status == 0xA900
        assert status.ErrorComment == "SOP Instance UID differs from the command"
        dcmtk.storescu(port, [good], options=("-R",))
        handler.wait_for("released", 2)
    assert [data.path for _, _, data in handler.received] == list(tmp_path.iterdir())
