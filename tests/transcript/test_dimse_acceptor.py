"""Conversations with the storage SCP: what a peer does, what it hears, what the handler is told."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from radpost.dicom import dimse, pdu
from radpost.dicom.access import Accept, Reject, Rejection
from radpost.dicom.scp import ServerConfig, StorageServer
from radpost.dicom.services import STORAGE_COMMITMENT, STUDY_ROOT_FIND, VERIFICATION
from radpost.testing.dimse import (
    CT,
    EXPLICIT_LE,
    IMPLICIT_LE,
    RecordingHandler,
    command_unit,
    converse,
    data_set,
    data_unit,
    read_unit,
    request,
    store_command,
)

Serve = Callable[..., contextlib.AbstractContextManager[tuple[int, RecordingHandler]]]

ACCEPT = f"accept 1:0:{EXPLICIT_LE}"
RELEASE = pdu.ReleaseRequest().encode()


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    @contextlib.contextmanager
    def start(
        handler: RecordingHandler | None = None, **config: object
    ) -> Iterator[tuple[int, RecordingHandler]]:
        chosen = handler or RecordingHandler(tmp_path)
        server = StorageServer(ServerConfig(port=0, **config), chosen)  # type: ignore[arg-type]  # by name
        server.start()
        try:
            yield server.port, chosen
        finally:
            server.stop(2)

    return start


def store(
    instance: str = "1.2.3.4", *, in_data: str | None = None, pixels: int = 0, message: int = 1
) -> bytes:
    return command_unit(store_command(instance, message_id=message)) + data_unit(
        data_set(in_data or instance, pixels=pixels)
    )


def test_store_echo_and_release(serve: Serve) -> None:
    """PS3.8 7.1, 7.2; PS3.4 A."""
    both = request(contexts=((CT, (EXPLICIT_LE,)), (VERIFICATION, (IMPLICIT_LE,)))).encode()
    echo = command_unit(dimse.Command(dimse.C_ECHO_RQ, message_id=7, sop_class=VERIFICATION), 3)
    with serve() as (port, handler):
        said = converse(port, both, store(), echo, store("1.2.3.5"), RELEASE, b"")
        handler.wait_for("released")
    assert said == [
        f"accept 1:0:{EXPLICIT_LE} 3:0:{IMPLICIT_LE}",
        "command 1: 8001 0000",
        "command 3: 8030 0000",
        "command 1: 8001 0000",
        "release reply",
        "closed",
    ]
    assert handler.events == [
        "associate MODALITY -> PARTNER: accept",
        "store 0000",
        "store 0000",
        "released MODALITY",
    ]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (Rejection.CALLED_AE, "reject 1 1 7"),
        (Rejection.CALLING_AE, "reject 1 1 3"),
        (Rejection.LOCAL_LIMIT, "reject 2 3 2"),
    ],
)
def test_refused_titles(serve: Serve, tmp_path: Path, reason: Rejection, said: str) -> None:
    def admit(calling: str, called: str, address: str) -> Accept | Reject:
        assert (calling, called, address) == ("MODALITY", "NOBODY", "127.0.0.1")
        return Reject(reason)

    with serve(RecordingHandler(tmp_path, admit=admit)) as (port, handler):
        assert converse(port, request(called="NOBODY").encode(), b"") == [said, "closed"]
    assert handler.events == [f"associate MODALITY -> NOBODY: reject {reason.name}"]


def test_a_decision_that_fails_refuses_for_now(serve: Serve, tmp_path: Path) -> None:
    def admit(calling: str, called: str, address: str) -> Accept | Reject:
        raise RuntimeError("the store is away")

    with serve(RecordingHandler(tmp_path, admit=admit)) as (port, _):
        assert converse(port, request().encode()) == ["reject 2 1 1"]


def test_refused_protocol_and_application_context(serve: Serve) -> None:
    good = request().encode()
    version = good[:6] + b"\0\2" + good[8:]
    context = good.replace(pdu.APPLICATION_CONTEXT.encode(), b"1.2.840.10008.3.1.1.9")
    with serve() as (port, handler):
        assert converse(port, version) == ["reject 1 2 2"]
        assert converse(port, context) == ["reject 1 1 2"]
    assert handler.events == []


def test_contexts_are_answered_one_by_one(serve: Serve) -> None:
    """PS3.8 9.3.3.2."""
    jpeg = "1.2.840.10008.1.2.4.70"
    asked = request(
        contexts=(
            (CT, (jpeg, EXPLICIT_LE)),
            ("1.3.46.670589.5.0.1.1", ("1.2.3.4.5",)),
            (STORAGE_COMMITMENT, (IMPLICIT_LE,)),
            (STUDY_ROOT_FIND, (IMPLICIT_LE,)),
            (CT, ()),
        )
    )
    with serve() as (port, _):
        assert converse(port, asked.encode()) == [
            f"accept 1:0:{jpeg} 3:0:1.2.3.4.5 5:3:{IMPLICIT_LE} 7:3:{IMPLICIT_LE} 9:4:"
        ]


def test_services_we_do_not_have(serve: Serve) -> None:
    action = command_unit(
        dimse.Command(
            dimse.N_ACTION_RQ,
            message_id=2,
            data_set_type=dimse.DATA_SET,
            requested_sop_class=STORAGE_COMMITMENT,
            requested_sop_instance="1.2.840.10008.1.20.1.1",
        )
    ) + data_unit(b"\x08\x00\x95\x11\x04\x00\x00\x001.2\0")
    find = command_unit(dimse.Command(dimse.C_FIND_RQ, message_id=3, sop_class=CT))
    cancel = command_unit(dimse.Command(dimse.C_CANCEL_RQ, responded_id=1))
    with serve() as (port, _):
        assert converse(port, request().encode(), action, find, cancel + store()) == [
            ACCEPT,
            "command 1: 8130 0122",
            "command 1: 8020 0211",
            "command 1: 8001 0000",
        ]


@pytest.mark.parametrize(
    ("garbage", "said"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "abort 2 1", id="http"),
        pytest.param(b"\x00" * 64, "abort 2 1", id="zeros"),
        pytest.param(RELEASE, "abort 2 2", id="release before association"),
        pytest.param(data_unit(b"1234"), "abort 2 2", id="data before association"),
        pytest.param(b"\x01\0\xff\xff\xff\xff" + bytes(64), "abort 2 6", id="request of 4 GB"),
        pytest.param(b"\x01\0\0\0\0\x04abcd", "abort 2 6", id="short request"),
    ],
)
def test_garbage_instead_of_a_request(serve: Serve, garbage: bytes, said: str) -> None:
    with serve() as (port, handler):
        assert converse(port, garbage) == [said]
        assert converse(port, request().encode(), store()) == [ACCEPT, "command 1: 8001 0000"]
        handler.wait_for("aborted")
    assert handler.events[:2] == ["associate MODALITY -> PARTNER: accept", "store 0000"]


def pdv(length: int, context: int, control: int, payload: bytes) -> bytes:
    return pdu.HEADER.pack(4, 6 + len(payload)) + struct.pack(">IBB", length, context, control) + payload


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        pytest.param(data_unit(b"1234"), "abort 2 2", id="data without command"),
        pytest.param(request().encode(), "abort 2 2", id="second request"),
        pytest.param(b"\x04\0\x7f\xff\xff\xff", "abort 2 6", id="unit beyond the agreed maximum"),
        pytest.param(pdv(400, 1, 1, b"abcd"), "abort 2 6", id="fragment longer than its unit"),
        pytest.param(pdv(1, 1, 1, b"abcd"), "abort 2 6", id="fragment without header"),
        pytest.param(pdu.HEADER.pack(4, 3) + b"abc", "abort 2 6", id="unit shorter than a header"),
        pytest.param(command_unit(store_command(), 99), "abort 2 6", id="unknown context"),
        pytest.param(pdv(6, 1, 3, b"abcd"), "abort 2 6", id="command that is none"),
        pytest.param(pdv(2, 1, 1, b"") * 300, "abort 2 6", id="command of empty fragments"),
        pytest.param(
            command_unit(store_command()) + data_unit(b"abcd", 3), "abort 2 2", id="data on another context"
        ),
        pytest.param(
            command_unit(store_command()) + command_unit(store_command()), "abort 2 2", id="command in data"
        ),
        pytest.param(
            command_unit(dimse.Command(dimse.C_ECHO_RSP, responded_id=1, status=0)),
            "abort 2 2",
            id="response without request",
        ),
    ],
)
def test_protocol_violations_end_this_association_only(
    serve: Serve, tmp_path: Path, bad: bytes, said: str
) -> None:
    """PS3.8 9.2, 9.3.8."""
    with serve() as (port, handler), socket.create_connection(("127.0.0.1", port), timeout=10) as other:
        other.sendall(request(calling="OTHER").encode())
        assert read_unit(other) == ACCEPT
        assert converse(port, request().encode(), bad) == [ACCEPT, said]
        handler.wait_for("aborted MODALITY")
        assert list(tmp_path.iterdir()) == []
        other.sendall(store())
        assert read_unit(other) == "command 1: 8001 0000"


@pytest.mark.parametrize("end", ["abort", "close"])
def test_an_end_in_the_middle_of_an_object_leaves_no_file(serve: Serve, tmp_path: Path, end: str) -> None:
    half = command_unit(store_command()) + data_unit(data_set(pixels=2000)[:200_000], last=False)
    with serve() as (port, handler):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(request().encode())
            assert read_unit(sock) == ACCEPT
            sock.sendall(half)
            while not list(tmp_path.iterdir()):
                time.sleep(0.01)
            if end == "abort":
                sock.sendall(pdu.Abort().encode())
        handler.wait_for("aborted MODALITY")
        assert list(tmp_path.iterdir()) == []
    assert handler.events == ["associate MODALITY -> PARTNER: accept", "aborted MODALITY"]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        pytest.param(store(in_data="9.9.9"), 0xA900, id="other instance in the data set"),
        pytest.param(command_unit(store_command("1.2 3")) + data_unit(data_set()), 0xC000, id="no UID"),
        pytest.param(command_unit(store_command()) + data_unit(b"junk" * 50), 0xC000, id="junk"),
        pytest.param(command_unit(store_command()) + data_unit(b""), 0xC000, id="empty"),
        pytest.param(
            command_unit(store_command(sop_class="1.2.9")) + data_unit(data_set()), 0xA900, id="other class"
        ),
        pytest.param(store(pixels=5000), 0xA700, id="too large"),
        pytest.param(
            command_unit(dimse.Command(dimse.C_STORE_RQ, message_id=1, sop_class=CT, sop_instance="1.2")),
            0xC000,
            id="no data set",
        ),
    ],
)
def test_a_refused_object_leaves_no_file_and_the_association_goes_on(
    serve: Serve, tmp_path: Path, message: bytes, status: int
) -> None:
    with serve(max_object=5000) as (port, handler):
        said = converse(port, request().encode(), message, store("1.2.3.9"))
        assert said == [ACCEPT, f"command 1: 8001 {status:04X}", "command 1: 8001 0000"]
        handler.wait_for("aborted")
    assert [data.sop_instance_uid for _, _, data in handler.received] == ["1.2.3.9"]
    assert list(tmp_path.iterdir()) == [handler.received[0][2].path]


def test_an_object_without_end_is_cut_off(serve: Serve, tmp_path: Path) -> None:
    endless = command_unit(store_command()) + data_unit(bytes(8000), last=False) * 3
    with serve(max_object=5000, chunk=4096) as (port, _):
        assert converse(port, request().encode(), endless) == [ACCEPT, "abort 2 6"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "kept"), [(0x0000, True), (0xB000, True), (0xA700, False), (0x0110, False)]
)
def test_the_handlers_status_is_the_answer(serve: Serve, tmp_path: Path, status: int, kept: bool) -> None:
    """PS3.4 B.2.3."""
    with serve(RecordingHandler(tmp_path, status=lambda _c, _d: status)) as (port, handler):
        assert converse(port, request().encode(), store()) == [ACCEPT, f"command 1: 8001 {status:04X}"]
        handler.wait_for("aborted")
    assert bool(list(tmp_path.iterdir())) is kept


def test_a_handler_that_raises_is_a_processing_failure(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def status(*_: object) -> int:
        raise ValueError("DOE^JANE")

    with serve(RecordingHandler(tmp_path, status=status)) as (port, handler):
        assert converse(port, request().encode(), store(), store()) == [
            ACCEPT,
            "command 1: 8001 0110",
            "command 1: 8001 0110",
        ]
        handler.wait_for("aborted")
    assert list(tmp_path.iterdir()) == []
    assert "ValueError" in caplog.text
    assert "DOE" not in caplog.text


def test_artim_ends_silent_connections(serve: Serve) -> None:
    """PS3.8 9.1.5."""
    with serve(artim_seconds=0.2) as (port, handler):
        assert converse(port, request().encode()[:20]) == ["abort 2 0"]
        assert converse(port, b"") == ["abort 2 0"]
    assert handler.events == []


def test_artim_is_not_fooled_by_a_trickle(serve: Serve) -> None:
    with serve(artim_seconds=0.5) as (port, _), socket.create_connection(("127.0.0.1", port), 10) as sock:
        start = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in request().encode():
                sock.sendall(bytes((byte,)))
                time.sleep(0.02)
                if time.monotonic() - start > 1.5:
                    break
        assert read_unit(sock) == "abort 2 0"


def test_idle_associations_end(serve: Serve) -> None:
    with serve(idle_seconds=0.2) as (port, handler):
        assert converse(port, request().encode(), b"") == [ACCEPT, "abort 2 0"]
        handler.wait_for("aborted MODALITY")


def test_more_associations_than_allowed_are_told_to_come_again(serve: Serve) -> None:
    with serve(max_per_address=1) as (port, handler):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(request().encode())
            assert read_unit(sock) == ACCEPT
            assert converse(port, request().encode()) == ["reject 2 3 1"]
        handler.wait_for("aborted")
        deadline = time.monotonic() + 5
        while converse(port, request().encode()) != [ACCEPT]:
            assert time.monotonic() < deadline


def test_one_fragmentation_is_as_good_as_another(serve: Serve) -> None:
    """Several PDVs in a unit, a command in two fragments, the last fragment empty (PS3.8 9.3.5, E).

    PS3.8 9.3.5.1, E.2.
    """
    command, data = dimse.encode(store_command()), data_set(pixels=1000)
    fragments = [
        (1, command[:10]),
        (3, command[10:]),
        (0, data[:7]),
        (0, data[7:900]),
        (0, data[900:]),
        (2, b""),
    ]
    pdvs = [struct.pack(">IBB", len(raw) + 2, 1, control) + raw for control, raw in fragments]
    for cuts in ([6], [1, 6], [2, 4, 6], [3, 5, 6], [1, 2, 3, 4, 5, 6]):
        stream, start = b"", 0
        for cut in cuts:
            body = b"".join(pdvs[start:cut])
            stream += pdu.HEADER.pack(4, len(body)) + body
            start = cut
        with serve(chunk=256) as (port, handler):
            assert converse(port, request().encode(), stream, RELEASE) == [
                ACCEPT,
                "command 1: 8001 0000",
                "release reply",
            ]
            got = handler.received[-1][2]
            assert got.path.read_bytes()[got.dataset_offset :] == data


def test_stop_lets_an_object_finish_and_ends_idle_associations(tmp_path: Path) -> None:
    handler = RecordingHandler(tmp_path)
    server = StorageServer(ServerConfig(port=0), handler)
    server.start()
    data = data_set(pixels=1000)
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as idle,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as busy,
    ):
        for sock, name in ((idle, "IDLE"), (busy, "BUSY")):
            sock.sendall(request(calling=name).encode())
            assert read_unit(sock) == ACCEPT
        busy.sendall(command_unit(store_command()) + data_unit(data[:500], last=False))
        while not list(tmp_path.iterdir()):
            time.sleep(0.01)
        stopper = threading.Thread(target=server.stop, args=(10,))
        stopper.start()
        assert read_unit(idle) == "abort 0 0"
        busy.sendall(data_unit(data[500:]))
        assert read_unit(busy) == "command 1: 8001 0000"
        assert read_unit(busy) == "abort 0 0"
        stopper.join(10)
        assert not stopper.is_alive()
    assert sorted(handler.events[2:]) == ["aborted BUSY", "aborted IDLE", "store 0000"]
