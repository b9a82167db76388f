"""G6 and G7: our storage SCP against pynetdicom's, our SCU against ``storescu``."""

import contextlib
import hashlib
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.data import Study
from benchmarks.exchange import Bench
from benchmarks.figures import Figure, figure
from benchmarks.pair import CALLED, RECEIVER, SENDER, Keys

from radpost.dicom.delivery import send_files
from radpost.dicom.identity import identify
from radpost.dicom.incoming import IncomingObject, StoreContext
from radpost.dicom.meta import file_meta
from radpost.dicom.scp import ServerConfig, StorageServer
from radpost.dicom.scu import Peer
from radpost.gateway.ingest import Origin, StoreHandler, Wanted, keep_object
from radpost.gateway.site import Site
from radpost.testing.institution import Institution
from radpost.testing.peers.dcmtk import StoreScp, storescu
from radpost.testing.peers.orthanc import Orthanc

PDU: Final = 131072
G7_SLICES: Final = 100


def g6(bench: Bench) -> list[Figure]:
    """Return our SCP's speed over pynetdicom's, with the same ``storescu``."""
    study = bench.study(bench.sizes.small)
    servers: dict[str, Callable[[Path, Keys], contextlib.AbstractContextManager[int]]] = {
        "ours": _ours,
        "pynetdicom durable": _pynetdicom_durable,
        "pynetdicom plain": _pynetdicom_plain,
    }
    speeds: dict[str, list[float]] = {name: [] for name in servers}
    for turn in range(bench.sizes.repetitions + 1):
        for name, start in servers.items():
            speed = _into(start, bench, study)
            if turn:  # the first turn warms up
                speeds[name].append(speed)
    middle = {name: statistics.median(found) for name, found in speeds.items()}
    remark = ", ".join(f"{name} {speed:.0f} MB/s" for name, speed in middle.items())
    bench.say(f"   {remark}")
    same = _ratios(speeds["ours"], speeds["pynetdicom durable"])
    plain = _ratios(speeds["ours"], speeds["pynetdicom plain"])
    return [
        figure(
            "G6", "our SCP / pynetdicom's, same storescu, fsync and commit", same, 2.0, 4.0, remarks=[remark]
        ),
        figure("G6", "our SCP durable / plain pynetdicom", plain, 1.2, 2.0),
    ]


def g7(bench: Bench) -> list[Figure]:
    """Return our SCU's speed over ``storescu``'s, into servers as Debian ships them."""
    study = bench.study(bench.sizes.small).part(min(G7_SLICES, bench.sizes.small))
    found = []
    for name, floor, goal in (("storescp", 10.0, 25.0), ("Orthanc", 4.0, 6.0)):
        ratios = []
        theirs = ours = 0.0
        for turn in range(bench.sizes.repetitions + 1):
            with _receiver(name) as (port, called):
                if not turn:
                    _send(port, called, study)
                    continue
                theirs = _timed(lambda: storescu(port, study.files, called=called, pdu=PDU))
            with _receiver(name) as (port, called):
                ours = _timed(lambda: _send(port, called, study))
            ratios.append(theirs / ours)
        remark = f"{study.megabytes / ours:.0f} MB/s / {study.megabytes / theirs:.1f} MB/s"
        found.append(figure("G7", f"our SCU / storescu, into {name}", ratios, floor, goal, remarks=[remark]))
    return found


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _into(
    server: Callable[[Path, Keys], contextlib.AbstractContextManager[int]], bench: Bench, study: Study
) -> float:
    folder = bench.work / "scp"
    shutil.rmtree(folder, ignore_errors=True)
    with server(folder, bench.keys) as port:
        seconds = _timed(lambda: storescu(port, study.files, called=CALLED, pdu=PDU))
    shutil.rmtree(folder, ignore_errors=True)
    return study.megabytes / seconds


@contextlib.contextmanager
def _site(folder: Path, keys: Keys) -> Iterator[Site]:
    """Yield a store with a partner, as the gateway's SCP writes to."""
    here = Institution(folder / "a", "Klinik A", SENDER, key=keys.a).prepare()
    there = Institution(folder / "b", "Klinik B", RECEIVER, key=keys.b)
    here.add_partner(there, CALLED)
    with here.site() as site:
        yield site


@contextlib.contextmanager
def _ours(folder: Path, keys: Keys) -> Iterator[int]:
    with _site(folder, keys) as site:
        server = StorageServer(ServerConfig(port=0), StoreHandler(site, Wanted()))
        server.start()
        try:
            yield server.port
        finally:
            server.stop(2.0)


@contextlib.contextmanager
def _pynetdicom_durable(folder: Path, keys: Keys) -> Iterator[int]:
    """Run pynetdicom in front of the same keeping: the same hashes, syncs and commits."""
    with _site(folder, keys) as site:
        origins = (Origin("dicom:STORESCU", site.partners.by_name(CALLED)),)

        def store(event: Any) -> int:
            context, data = _received(event, site.spool.tmp)
            with contextlib.closing(_Opened(data)):
                data.sync()
                return keep_object(site, origins, context, data)

        with _pynetdicom(store) as port:
            yield port


@contextlib.contextmanager
def _pynetdicom_plain(folder: Path, keys: Keys) -> Iterator[int]:  # noqa: ARG001  one signature for all servers
    """Run pynetdicom as its examples do for speed: the raw bytes into a file, no sync."""
    folder.mkdir(parents=True)

    def store(event: Any) -> int:
        request = event.request
        meta = file_meta(
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
            event.context.transfer_syntax,
        )
        with (folder / str(request.AffectedSOPInstanceUID)).open("wb") as file:
            file.write(meta)
            file.write(request.DataSet.getbuffer())
        return 0

    with _pynetdicom(store) as port:
        yield port


@contextlib.contextmanager
def _pynetdicom(store: Callable[[Any], int]) -> Iterator[int]:
    from pynetdicom import AE, AllStoragePresentationContexts, evt  # noqa: PLC0415  slow to import

    entity = AE("PYNETDICOM")
    entity.supported_contexts = AllStoragePresentationContexts
    entity.maximum_pdu_size = PDU
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()


class _Opened:
    """Closes an object's file."""

    def __init__(self, data: IncomingObject) -> None:
        self._fd = data.fd

    def close(self) -> None:
        os.close(self._fd)


def _received(event: Any, folder: Path) -> tuple[StoreContext, IncomingObject]:
    """Write and hash what pynetdicom received, as our SCP does."""
    request = event.request
    context = StoreContext(
        str(request.AffectedSOPClassUID),
        str(request.AffectedSOPInstanceUID),
        str(event.context.transfer_syntax),
    )
    meta = file_meta(context.sop_class, context.sop_instance, context.transfer_syntax)
    content = request.DataSet.getbuffer()
    path = folder / context.sop_instance
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.writev(descriptor, [meta, content])
    whole = hashlib.sha256(meta)
    whole.update(content)
    head = identify(bytes(meta) + bytes(content[:8192]))
    data = IncomingObject(
        path=path,
        fd=descriptor,
        size=len(meta) + len(content),
        dataset_offset=len(meta),
        file_sha256=whole.hexdigest(),
        dataset_sha256=hashlib.sha256(content).hexdigest(),
        sop_class_uid=context.sop_class,
        sop_instance_uid=context.sop_instance,
        study_instance_uid=head.study_instance_uid,
        series_instance_uid=head.series_instance_uid,
        modality=head.modality,
        transfer_syntax_uid=context.transfer_syntax,
        defects=(),
    )
    return context, data


@contextlib.contextmanager
def _receiver(name: str) -> Iterator[tuple[int, str]]:
    if name == "Orthanc":
        with Orthanc() as orthanc:
            yield orthanc.dicom_port, orthanc.aet
    else:
        with StoreScp(bit_exact=False) as scp:
            yield scp.port, scp.aet


def _send(port: int, called: str, study: Study) -> None:
    refused = [
        sent
        for sent in send_files(Peer("127.0.0.1", port, called, "RADPOST"), study.items)
        if not sent.stored
    ]
    if refused:
        raise RuntimeError(f"{len(refused)} objects were not taken")
