"""C-FIND, C-MOVE to our own SCP and C-GET against real archives."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from radpost import errors
from radpost.dicom.incoming import IncomingObject, StoreContext
from radpost.dicom.meta import read_meta
from radpost.dicom.query import find_images, find_series, find_study, get_study, move_study
from radpost.dicom.scp import ServerConfig, StorageServer
from radpost.dicom.scu import Peer
from radpost.errors import RadpostError
from radpost.testing.dimse import RecordingHandler, Tap
from radpost.testing.peers.dcmtk import DcmQrScp
from radpost.testing.peers.orthanc import Orthanc

pytestmark = pytest.mark.shared

STUDY = "0.0.0.0.2.8811.20010413115754.12432"
UNKNOWN = "1.2.3.4.5"
JPEG2000 = "1.2.840.10008.1.2.4.90"


@pytest.fixture
def slices(shared: Path) -> list[Path]:
    return sorted((shared / "dicom/series-mr-brain").glob("*.dcm"))


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[tuple[int, RecordingHandler]]:
    handler = RecordingHandler(tmp_path)
    server = StorageServer(ServerConfig(port=0), handler)
    server.start()
    yield server.port, handler
    server.stop(2)


@pytest.fixture(
    params=[
        pytest.param("dcmqrscp", marks=pytest.mark.peer("dcmtk")),
        pytest.param("orthanc", marks=pytest.mark.peer("orthanc")),
    ]
)
def archive(
    request: pytest.FixtureRequest, ours: tuple[int, RecordingHandler], slices: list[Path]
) -> Iterator[Peer]:
    """An archive that holds the series and may send to us."""
    if request.param == "dcmqrscp":
        with DcmQrScp(nodes={"RADPOST": ours[0]}) as scp:
            scp.load(slices)
            yield Peer("127.0.0.1", scp.port, scp.aet, "RADPOST")
    else:
        with Orthanc(modalities={"us": ("RADPOST", "127.0.0.1", ours[0])}) as pacs:
            for path in slices:
                pacs.upload(path)
            yield Peer("127.0.0.1", pacs.dicom_port, pacs.aet, "RADPOST")


def test_find_move_and_get(archive: Peer, ours: tuple[int, RecordingHandler], tmp_path: Path) -> None:
    """PS3.4 C.4.1, C.4.2, C.4.2.1.6, C.4.3, C.6.2; PS3.7 9.1.2 to 9.1.4."""
    handler = ours[1]
    study = find_study(archive, STUDY)
    assert study is not None
    assert study.study_instance_uid == STUDY
    assert study.instances in {19, None}
    assert find_study(archive, UNKNOWN) is None
    (series,) = find_series(archive, STUDY)
    assert series.modality == "MR"
    images = find_images(archive, STUDY, series.series_instance_uid)
    assert len({image.sop_instance_uid for image in images}) == 19

    steps: list[tuple[int, int | None]] = []
    moved = move_study(archive, STUDY, "RADPOST", progress=lambda done, left: steps.append((done, left)))
    assert (moved.completed, moved.failed, moved.warning) == (19, 0, 0)
    assert steps[-1][0] == 19
    handler.wait_for("store 0000", 19)
    assert {context.sop_instance for _, context, _ in handler.received} == {
        i.sop_instance_uid for i in images
    }
    assert handler.received[0][1].move_originator_ae == "RADPOST"

    target = tmp_path / "got"
    target.mkdir()
    got = get_study(archive, STUDY, target)
    assert (got.completed, got.failed, got.refused, got.status) == (19, 0, 0, 0)
    by_get = {file.sop_instance: file.dataset_sha256 for file in got.files}
    by_move = {context.sop_instance: data.dataset_sha256 for _, context, data in handler.received}
    assert by_get == by_move, "both ways bring the same data sets"
    for file in got.files:
        assert hashlib.sha256(file.path.read_bytes()).hexdigest() == file.file_sha256


def test_what_the_archive_will_not_do(archive: Peer, tmp_path: Path) -> None:
    with pytest.raises(RadpostError) as refused:
        move_study(archive, STUDY, "NOBODY")
    assert refused.value.reason is errors.RETRIEVE_REFUSED
    with pytest.raises(RadpostError) as nothing:
        get_study(archive, UNKNOWN, tmp_path)
    assert nothing.value.reason in {errors.STUDY_NOT_FOUND, errors.RETRIEVE_REFUSED}
    assert list(tmp_path.iterdir()) == []


def test_get_with_a_taker_that_refuses_some(archive: Peer, tmp_path: Path) -> None:
    seen: list[Path] = []

    def take(_context: StoreContext, data: IncomingObject) -> int:
        seen.append(data.path)
        return 0xA700 if len(seen) % 2 else 0

    got = get_study(archive, STUDY, tmp_path, take=take)
    assert (got.completed, got.refused) == (9, 10)
    assert got.files == ()
    assert sorted(tmp_path.iterdir()) == sorted(seen[1::2])


@pytest.mark.peer("orthanc")
def test_orthanc_hands_out_compressed_objects_as_they_are(shared: Path, tmp_path: Path) -> None:
    names = ["mr_j2k_lossless", "mr_small_bigendian", "ct_rle_frags", "mg_overlay_jpegll"]
    """What we keep is what Orthanc sent, which drops padding of data sets and odd endings."""
    with Orthanc() as pacs, Tap(pacs.dicom_port) as tap:
        peer = Peer("127.0.0.1", tap.port, pacs.aet, "RADPOST")
        for name in names:
            path = shared / "dicom" / f"{name}.dcm"
            raw = pacs.file(pacs.upload(path))
            meta = read_meta(raw)
            (instance,) = pacs.instances()
            study = str(pacs.tags(instance)["StudyInstanceUID"])
            target = tmp_path / name
            target.mkdir()
            got = get_study(peer, study, target)
            assert [file.transfer_syntax for file in got.files] == [meta.transfer_syntax_uid], name
            # Matches of queries come first over connections of their own; the object is the largest.
            sent = max(tap.answered_data_sets(), key=len)
            assert [file.dataset_sha256 for file in got.files] == [hashlib.sha256(sent).hexdigest()], name
            tap.answers.clear()
            pacs.clear()


def test_pynetdicom_answers_our_queries() -> None:
    """Matches of an independent implementation, failures that it reports, and a query it cuts off."""
    asked: list[Dataset] = []

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier)
        if event.identifier.StudyInstanceUID == "9.9":
            yield 0xA700, None
            return
        match = Dataset()
        match.QueryRetrieveLevel = "STUDY"
        match.StudyInstanceUID = event.identifier.StudyInstanceUID
        match.ModalitiesInStudy = ["CT", "SR"]
        match.NumberOfStudyRelatedInstances = 500
        yield 0xFF00, match

    def move(event: evt.Event) -> Iterator[object]:
        yield None, None

    ae = AE("PACS")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find), (evt.EVT_C_MOVE, move)]
    )
    assert server is not None
    try:
        peer = Peer("127.0.0.1", server.server_address[1], "PACS", "RADPOST")
        study = find_study(peer, "1.2.345")
        assert study is not None
        assert (study.instances, study.series, study.modalities) == (500, None, ("CT", "SR"))
        assert "PatientName" not in asked[0]
        with pytest.raises(RadpostError) as failed:
            find_study(peer, "9.9")
        assert failed.value.reason is errors.RETRIEVE_REFUSED
        with pytest.raises(RadpostError) as unknown:
            move_study(peer, "1.2.345", "RADPOST")
        assert unknown.value.reason is errors.RETRIEVE_REFUSED
        assert "A801" in unknown.value.detail
    finally:
        server.shutdown()
