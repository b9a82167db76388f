"""Conversations of our SCU with receivers that refuse, warn, abort, vanish, stay silent or talk nonsense."""

import socket
import ssl
import time
from pathlib import Path

import pytest

from radpost import errors
from radpost.dicom import dimse, pdu
from radpost.dicom.access import Rejection
from radpost.dicom.delivery import Sender, send_files
from radpost.dicom.outcome import AssociationError, Outcome
from radpost.dicom.scu import Association, Outgoing, Peer, Proposal, plan_proposals
from radpost.dicom.services import VERIFICATION
from radpost.errors import RadpostError
from radpost.testing.dimse import CT, EXPLICIT_LE, IMPLICIT_LE, ScriptedScp, command_unit, data_set

WANTED = [Proposal(CT, (EXPLICIT_LE,))]


def peer(port: int, **more: float) -> Peer:
    return Peer("127.0.0.1", port, "PACS", "RADPOST", **more)  # type: ignore[arg-type]  # by name


def ct(instance: str = "1.2.3.4", syntax: str = EXPLICIT_LE, pixels: int = 0) -> Outgoing:
    return Outgoing(data_set(instance, pixels=pixels), CT, instance, syntax)


def stored(responded: int = 1, status: int = 0, field: int = dimse.C_STORE_RSP) -> bytes:
    return command_unit(dimse.Command(field, responded_id=responded, status=status))


def test_two_objects_and_a_release() -> None:
    """PS3.8 7.2."""
    with ScriptedScp(0x0000, 0xB007) as scp, Association.open(peer(scp.port), WANTED) as association:
        assert association.accepted == {CT: (EXPLICIT_LE,)}
        assert association.store(ct()).outcome is Outcome.STORED
        reply = association.store(ct(pixels=40_000))
        assert (reply.status, reply.outcome, reply.reason) == (0xB007, Outcome.STORED_WITH_REMARK, None)
        association.release()
        assert scp.data == [data_set(), data_set(pixels=40_000)]
        assert scp.lines == [
            "command 1: 0001",
            f"data 1: {len(data_set())} bytes last",
            "command 1: 0001",
            "data 1: 16378 bytes",
            "data 1: 16378 bytes",
            f"data 1: {len(data_set(pixels=40_000)) - 2 * 16378} bytes last",
            "release request",
        ]
    request = scp.requests[0]
    assert (request.called_ae, request.calling_ae) == ("PACS", "RADPOST")
    assert socket.gethostname() not in repr(request)


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        (0xA700, Outcome.OUT_OF_RESOURCES, errors.PACS_OUT_OF_RESOURCES),
        (0xA900, Outcome.REFUSED, errors.PACS_REFUSED_OBJECT),
        (0xC123, Outcome.REFUSED, errors.PACS_REFUSED_OBJECT),
        (0x0110, Outcome.FAILED, errors.PACS_REFUSED_OBJECT),
        (0x0122, Outcome.REFUSED, errors.PACS_REFUSED_OBJECT),
    ],
)
def test_a_refused_object_does_not_end_the_association(
    status: int, outcome: Outcome, reason: errors.Reason
) -> None:
    with ScriptedScp(status, 0) as scp:
        sent = list(send_files(peer(scp.port), [ct("1.2.1"), ct("1.2.2")]))
    assert sent[0].reply is not None
    assert (sent[0].reply.status, sent[0].reply.outcome, sent[0].reply.reason) == (status, outcome, reason)
    assert [one.stored for one in sent] == [False, True]
    assert len(scp.requests) == 1


def test_an_object_in_a_syntax_that_was_not_accepted_is_not_sent() -> None:
    with ScriptedScp(syntaxes=[IMPLICIT_LE]) as scp:
        sent = list(send_files(peer(scp.port), [ct("1.2.1"), ct("1.2.2", IMPLICIT_LE)]))
        with Sender(peer(scp.port)) as sender:
            assert sender.accepted(CT, EXPLICIT_LE) == (IMPLICIT_LE,)
    assert sent[0].error is not None
    assert sent[0].error.reason is errors.NO_COMMON_SYNTAX
    assert not sent[0].retryable
    assert sent[1].stored
    assert len(scp.data) == 1


@pytest.mark.parametrize(
    ("rejection", "retryable"), [(Rejection.CALLED_AE, False), (Rejection.CONGESTION, True)]
)
def test_a_refused_association_names_the_cause(rejection: Rejection, retryable: bool) -> None:
    with ScriptedScp(accept=rejection.unit().encode()) as scp:
        sent = list(send_files(peer(scp.port), [ct("1.2.1"), ct("1.2.2")]))
    for one in sent:
        assert isinstance(one.error, AssociationError)
        assert one.error.reason is errors.ASSOCIATION_REFUSED
        assert one.error.rejection is rejection
        assert not one.error.established
        assert one.retryable is retryable
    assert len(scp.requests) == 1, "nobody knocks again and again"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(pdu.Abort(2, 6).encode(), errors.PACS_UNREACHABLE, id="abort"),
        pytest.param(None, errors.PACS_UNREACHABLE, id="close"),
        pytest.param(b"HTTP/1.1 400 Bad", errors.DICOM_PROTOCOL, id="garbage"),
        pytest.param(stored(responded=99), errors.DICOM_PROTOCOL, id="other message"),
        pytest.param(stored(field=dimse.C_ECHO_RSP), errors.DICOM_PROTOCOL, id="other service"),
        pytest.param(b"\x04\0\x7f\0\0\0", errors.DICOM_PROTOCOL, id="giant unit"),
    ],
)
def test_an_end_instead_of_a_response_is_retryable_and_stops_nothing(
    answer: bytes | None, reason: errors.Reason
) -> None:
    """PS3.8 7.3."""
    with ScriptedScp(0, answer, 0) as scp:
        sent = list(send_files(peer(scp.port), [ct("1.2.0"), ct("1.2.1"), ct("1.2.2")]))
    # The association had served one object and could have been closed since: the second is sent again.
    assert [one.stored for one in sent] == [True, True, True]
    assert len(scp.requests) == 2

    with ScriptedScp(answer, 0) as scp:
        sent = list(send_files(peer(scp.port), [ct("1.2.1"), ct("1.2.2")]))
    assert isinstance(sent[0].error, AssociationError)
    assert sent[0].error.reason is reason
    assert sent[0].error.established
    assert sent[0].retryable
    assert sent[1].stored


@pytest.mark.timeout(20)
def test_no_answer_in_time() -> None:
    with (
        ScriptedScp(b"") as scp,
        pytest.raises(AssociationError) as caught,
        Sender(peer(scp.port, response_seconds=0.2)) as sender,
    ):
        sender.send(ct())
    assert caught.value.reason is errors.PACS_UNREACHABLE
    assert caught.value.retryable


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(AssociationError) as caught:
        Association.open(peer(port), WANTED)
    assert caught.value.reason is errors.PACS_UNREACHABLE
    assert caught.value.retryable


def test_a_peer_without_tls() -> None:
    with ScriptedScp() as scp, pytest.raises(AssociationError) as caught:
        Association.open(
            Peer(
                "127.0.0.1",
                scp.port,
                "PACS",
                "RADPOST",
                tls=ssl.create_default_context(),
                connect_seconds=0.3,
            ),
            WANTED,
        )
    assert caught.value.reason in {errors.TLS_FAILED, errors.PACS_UNREACHABLE}


def test_a_file_that_is_gone_does_not_cost_the_association(tmp_path: Path) -> None:
    gone = Outgoing(tmp_path / "gone", CT, "1.2.1", EXPLICIT_LE)
    with ScriptedScp(0) as scp:
        sent = list(send_files(peer(scp.port), [gone, ct("1.2.2")]))
    assert sent[0].error is not None
    assert sent[0].error.reason is errors.STORE_UNUSABLE
    assert sent[1].stored
    assert len(scp.requests) == 1


def test_the_association_is_kept_until_it_is_idle() -> None:
    with ScriptedScp(0, 0, 0) as scp, Sender(peer(scp.port), idle_seconds=0.2) as sender:
        sender.send(ct("1.2.1"))
        sender.send(ct("1.2.2"))
        assert not sender.close_if_idle()
        assert len(scp.requests) == 1
        time.sleep(0.25)
        assert sender.close_if_idle()
        sender.send(ct("1.2.3"))
        assert len(scp.requests) == 2


def test_a_new_class_is_negotiated_beside_the_known_ones() -> None:
    with ScriptedScp(0, 0, 0) as scp, Sender(peer(scp.port)) as sender:
        sender.send(ct("1.2.1"))
        sender.send(Outgoing(data_set("1.2.2", sop_class="1.2.9"), "1.2.9", "1.2.2", IMPLICIT_LE))
        sender.send(ct("1.2.3"))
    assert [{c.abstract_syntax for c in request.contexts} for request in scp.requests] == [
        {CT},
        {CT, "1.2.9"},
    ]


def test_more_contexts_than_one_association_has() -> None:
    items = [
        Outgoing(data_set(f"1.2.{n}", sop_class=f"1.9.{n}"), f"1.9.{n}", f"1.2.{n}", "1.2.3")
        for n in range(90)
    ]
    with ScriptedScp() as scp:
        sent = list(send_files(peer(scp.port), items))
    assert all(one.stored for one in sent)
    assert [len(request.contexts) for request in scp.requests] == [126, 126, 18]
    with ScriptedScp() as scp, Sender(peer(scp.port)) as sender:
        for item in items:
            assert sender.send(item).outcome.stored
    assert max(len(request.contexts) for request in scp.requests) <= 128


def test_plans_keep_the_syntaxes_of_a_class_together() -> None:
    """PS3.5 10.1."""
    syntaxes = [f"1.2.{n}" for n in range(50)]
    plans = plan_proposals([(f"1.9.{c}", syntax) for c in range(3) for syntax in syntaxes])
    assert [sorted({p.abstract_syntax for p in plan}) for plan in plans] == [["1.9.0", "1.9.1"], ["1.9.2"]]
    alone = plan_proposals([("1.9.1", f"1.2.{n}") for n in range(200)])
    assert [len(plan) for plan in alone] == [128, 74]


def test_an_acceptance_of_what_was_not_proposed_is_worth_nothing() -> None:
    answer = pdu.AssociateAccept(
        "PACS",
        "RADPOST",
        (
            pdu.ContextResult(1, 0, "1.2.3"),
            pdu.ContextResult(77, 0, EXPLICIT_LE),
            pdu.ContextResult(3, 0, ""),
        ),
    )
    with ScriptedScp(accept=answer.encode()) as scp:
        association = Association.open(peer(scp.port), [*WANTED, Proposal(VERIFICATION, (IMPLICIT_LE,))])
        assert association.accepted == {}
        with pytest.raises(RadpostError) as caught:
            association.echo()
        assert caught.value.reason is errors.NO_COMMON_SYNTAX
        association.release()


def test_echo() -> None:
    with ScriptedScp(0, 0x0110) as scp:
        with Association.open(peer(scp.port), [Proposal(VERIFICATION, (IMPLICIT_LE,))]) as association:
            assert association.echo() == 0
            assert association.echo() == 0x0110
        assert scp.lines == ["command 1: 0030", "command 1: 0030", "release request"]


@pytest.mark.parametrize("maximum", [0, 128, 1024, 4096, 131072])
def test_units_fit_the_maximum_of_the_receiver(tmp_path: Path, maximum: int) -> None:
    """PS3.8 D.1."""
    data = data_set(pixels=300_000)
    path = tmp_path / "object"
    path.write_bytes(b"#" * 5001 + data)
    with (
        ScriptedScp(0, max_length=maximum) as scp,
        Association.open(peer(scp.port), WANTED) as association,
    ):
        assert association.store(Outgoing(path, CT, "1.2.3.4", EXPLICIT_LE, 5001)).outcome.stored
        assert scp.data == [data]
        sizes = [int(line.split()[2]) for line in scp.lines if line.startswith("data")]
    assert all(size % 2 == 0 for size in sizes[:-1])
    if maximum:
        assert max(sizes) + 6 <= maximum


def test_an_early_last_word_is_heard() -> None:
    """A receiver that aborts in the middle of a large object is named as such, not as a broken pipe."""
    with ScriptedScp(early=pdu.Abort(2, 6).encode()) as scp:
        item = ct(pixels=60_000_000)
        with (
            pytest.raises(AssociationError) as caught,
            Association.open(peer(scp.port), WANTED) as association,
        ):
            association.store(item)
    assert caught.value.detail == "the peer aborted"


def test_a_data_set_of_odd_length_is_made_even_in_its_last_fragment() -> None:
    """PS3.5 A.5: DCMTK aborts and Orthanc never answers otherwise."""
    odd = data_set() + b"\1"
    with ScriptedScp(0, 0) as scp, Association.open(peer(scp.port), WANTED) as association:
        assert association.store(Outgoing(odd, CT, "1.2.3.4", EXPLICIT_LE)).padded
        assert not association.store(ct()).padded
        assert scp.data == [odd + b"\0", data_set()]
        assert len(scp.lines) == 4
