"""``radpost send --study UID``: a study out of our own PACS, by C-MOVE and by C-GET, to a partner."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from radpost.dicom.identity import identify
from radpost.errors import STUDY_NOT_FOUND
from radpost.testing import posted
from radpost.testing.institution import Institution, OwnKey, make_key, toml_server
from radpost.testing.peers import free_port
from radpost.testing.peers.dcmtk import DcmQrScp, storescu
from radpost.testing.peers.orthanc import Orthanc
from radpost.testing.posted import A_ADDRESS, B_ADDRESS
from radpost.testing.store_scp import ReceivingPacs

pytestmark = [pytest.mark.peer("orthanc", "dcmtk", "gnupg"), pytest.mark.timeout(90)]

STUDY = "1.3.6.1.4.1.5962.1.1.0.0.0.1196530851.28319.0.1"


@dataclass(frozen=True)
class Archive:
    """An own PACS with some studies in it, of which one is wanted."""

    ae_title: str
    port: int
    our_port: int
    """Where it looks for the AE title RADPOST."""


@pytest.fixture(scope="module")
def keys() -> tuple[OwnKey, OwnKey]:
    return make_key("Klinik A", A_ADDRESS), make_key("Praxis B", B_ADDRESS)


@pytest.fixture(scope="module")
def files(shared: Path) -> list[Path]:
    folder = shared / "dicom/dicomdir-set/77654033"
    others = [shared / "dicom/ct_small.dcm", shared / "dicom/pt_native.dcm"]
    return [*sorted(path for path in folder.rglob("*") if path.is_file()), *others]


@pytest.fixture(scope="module")
def wanted(files: list[Path]) -> set[str]:
    """The SOP instances of the study."""
    found = [identify(path) for path in files]
    return {str(one.sop_instance_uid) for one in found if one.study_instance_uid == STUDY}


@pytest.fixture(scope="module")
def orthanc(files: list[Path]) -> Iterator[Archive]:
    port = free_port()
    with Orthanc(modalities={"radpost": ("RADPOST", "127.0.0.1", port)}) as peer:
        for path in files:
            peer.upload(path)
        yield Archive(peer.aet, peer.dicom_port, port)


@pytest.fixture(scope="module")
def dcmqrscp(files: list[Path]) -> Iterator[Archive]:
    port = free_port()
    with DcmQrScp(nodes={"RADPOST": port}) as peer:
        storescu(peer.port, files, called=peer.aet)
        yield Archive(peer.aet, peer.port, port)


@pytest.fixture(params=["orthanc", "dcmqrscp"])
def archive(request: pytest.FixtureRequest) -> Archive:
    found: Archive = request.getfixturevalue(request.param)
    return found


@pytest.mark.shared
@pytest.mark.parametrize("retrieve", ["move", "get"])
def test_a_study_of_the_own_pacs_reaches_the_partner(
    archive: Archive, keys: tuple[OwnKey, OwnKey], wanted: set[str], tmp_path: Path, retrieve: str
) -> None:
    """No station may send to A: only the PACS, under our own AE title, and only what was asked for."""
    a_port, b_port = free_port(), free_port()
    pacs = toml_server(
        "pacs", ae_title=archive.ae_title, host="127.0.0.1", port=archive.port, retrieve=retrieve
    )
    with ReceivingPacs(tmp_path / "pacs") as behind_b:
        a = Institution(
            tmp_path / "a",
            "Klinik A",
            A_ADDRESS,
            pacs + receiver(a_port) + submission(b_port),
            dicom="quiet_seconds = 0.2\n",
            dicom_port=archive.our_port,
            key=keys[0],
        ).prepare()
        parts = receiver(b_port) + submission(a_port) + posted.pacs(behind_b.port)
        b = Institution(tmp_path / "b", "Praxis B", B_ADDRESS, parts, key=keys[1]).prepare()
        posted.befriend(a, b)
        with a, b:
            done = a.run("send", "--study", STUDY, "--to", "praxis_b", "--wait", "40", check=False)
            assert done.returncode == 0, done.stdout + done.stderr + posted.explain(a)
            posted.await_that(lambda: len(behind_b.kept) == len(wanted), "the PACS behind B has it", b)
            unknown = a.run("send", "--study", "1.2.3", "--to", "praxis_b", "--wait", "30", check=False)
            assert unknown.returncode == 1
            assert STUDY_NOT_FOUND.en in unknown.stderr
    assert {one.sop_instance_uid for one in behind_b.kept} == wanted
    at_a = sorted(row.dataset_sha256 for row in posted.stored(a))
    assert sorted(one.dataset_sha256 for one in behind_b.kept) == at_a
    assert sorted(row.dataset_sha256 for row in posted.stored(b)) == at_a
    (job,) = a.transmissions()
    assert (job.state, job.study_uid, job.objects) == ("confirmed", STUDY, len(wanted))


def receiver(port: int) -> str:
    return toml_server("[[receiver]]", protocol="smtp", port=port)


def submission(port: int) -> str:
    return toml_server("submission", host="127.0.0.1", port=port, security="none")
