"""G3: the same study over two Orthancs, and over us; storescu in front and Orthanc behind in both cases."""

import time
from pathlib import Path

from benchmarks.data import Study
from benchmarks.exchange import Bench
from benchmarks.figures import Figure, figure
from benchmarks.pair import CALLED

from radpost.testing.peers.dcmtk import storescu
from radpost.testing.peers.orthanc import Orthanc


def g3(bench: Bench) -> list[Figure]:
    """Return seconds of the Orthanc pair over ours: Debian's defaults, and tuned with TCP_NODELAY."""
    study = bench.study(bench.sizes.small)
    found = []
    for tuned, floor, goal in ((False, 4.0, 8.0), (True, 1.2, 2.0)):
        name = "tuned with TCP_NODELAY" if tuned else "Debian's defaults"
        theirs, ours, ratios = [], [], []
        for _ in range(bench.sizes.repetitions if tuned else 1):
            theirs.append(_orthancs(study, tuned=tuned))
            ours.append(_ours(bench, study, tuned=tuned))
            ratios.append(theirs[-1] / ours[-1])
            bench.say(f"   {name}: two Orthancs {theirs[-1]:.2f} s, ours {ours[-1]:.2f} s")
        what = f"storescu -> Orthanc -> Orthanc / storescu -> ours -> Orthanc, {name}"
        found.append(figure("G3", what, ratios, floor, goal))
    return found


def _orthancs(study: Study, *, tuned: bool) -> float:
    with Orthanc("ORTHANCB", tcp_nodelay=tuned) as b:
        modalities = {"b": ("ORTHANCB", "127.0.0.1", b.dicom_port)}
        with Orthanc("ORTHANCA", modalities=modalities, tcp_nodelay=tuned) as a:
            start = time.monotonic()
            _modality(a.dicom_port, "ORTHANCA", list(study.files), tuned=tuned)
            for one in a.studies():
                a.send("b", one)
            b.wait_for(len(study.files), 300.0)
            return time.monotonic() - start


def _ours(bench: Bench, study: Study, *, tuned: bool) -> float:
    with Orthanc("ORTHANCB", tcp_nodelay=tuned) as b, bench.pair(pacs_port=b.dicom_port) as pair:
        start = time.monotonic()
        _modality(pair.a.dicom_port, CALLED, list(study.files), tuned=tuned)
        while b.count() < len(study.files):
            time.sleep(0.02)
            if time.monotonic() - start > 300:
                raise TimeoutError("the study did not arrive")
        return time.monotonic() - start


def _modality(port: int, called: str, files: list[Path], *, tuned: bool) -> None:
    storescu(port, files, called=called, pdu=131072, tcp_nodelay=tuned)
