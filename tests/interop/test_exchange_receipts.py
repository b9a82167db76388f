"""What the sender knows after the receipt, and what a receipt tells the world: nothing of the patient."""

import email
import json
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from radpost.agit.names import RECEIPT_DETAILS_TYPE
from radpost.dicom.lazy import pydicom
from radpost.gateway.partners import RADPOST_PEER, Switches
from radpost.testing import posted
from radpost.testing.institution import Institution, OwnKey, make_key
from radpost.testing.peers.gnupg import GnuPG
from radpost.testing.peers.pair import MailServer
from radpost.testing.posted import A_ADDRESS, B_ADDRESS
from radpost.testing.store_scp import ReceivingPacs

pytestmark = [pytest.mark.peer("postfix", "dovecot", "gnupg"), pytest.mark.timeout(90)]

NOT_REPORTED = "not reported by this partner"


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    with MailServer(posted.USERS) as peer:
        yield peer


@pytest.fixture(scope="module")
def keys() -> tuple[OwnKey, OwnKey]:
    return make_key("Klinik A", A_ADDRESS), make_key("Praxis B", B_ADDRESS)


@pytest.fixture(scope="module")
def slices(shared: Path) -> list[Path]:
    return sorted((shared / "dicom/dicomdir-set/77654033/CT2").iterdir())


def secrets_of(path: Path) -> set[bytes]:
    """What must not be seen outside: names, ids and UIDs of a file (short numbers stand everywhere)."""
    ds = pydicom().dcmread(path, stop_before_pixels=True)
    values = {str(element.value) for element in ds.iterall() if element.VR in {"PN", "LO", "SH", "UI", "DA"}}
    words = {value.encode() for value in values if len(value) >= 6 and not value.startswith("1.2.840.10008")}
    assert str(ds.SOPInstanceUID).encode() in words
    assert str(ds.PatientName).encode() in words
    return words | {path.name.encode() + b".dcm"}


@pytest.fixture
def pair(
    request: pytest.FixtureRequest, server: MailServer, keys: tuple[OwnKey, OwnKey], tmp_path: Path
) -> Iterator[tuple[Institution, Institution]]:
    """Two institutions that are not started, as partners with the switches of the parameter."""
    for user in server.users:
        server.dovecot.wipe(user)
    with ReceivingPacs(tmp_path / "pacs") as pacs:
        mail = [posted.submission(server, user) + posted.mailbox(server, user) for user in posted.USERS]
        a = Institution(tmp_path / "a", "Klinik A", A_ADDRESS, mail[0], key=keys[0]).prepare()
        parts = mail[1] + posted.pacs(pacs.port)
        b = Institution(tmp_path / "b", "Praxis B", B_ADDRESS, parts, key=keys[1]).prepare()
        posted.befriend(a, b, switches=request.param)
        yield a, b


def send_and_take_receipts(
    a: Institution, b: Institution, server: MailServer, slices: list[Path], mails: int
) -> list[bytes]:
    """A sends and stops; B answers; return the receipts as they lie in A's mailbox."""
    with a:
        posted.send(a, "praxis_b", slices)
        server.wait_for_mails(B_ADDRESS, mails, 30)
        posted.await_that(lambda: states(a) == {"waiting"}, "A waits for receipts", a)
    with b:
        return [path.read_bytes() for path in server.wait_for_mails(A_ADDRESS, mails, 30)]


def states(institution: Institution) -> set[str]:
    return {row.state for row in institution.transmissions()}


def show(a: Institution) -> list[dict[str, str]]:
    """Return what ``radpost show`` answers for each object; every yes or no has evidence and time."""
    (job,) = a.transmissions()
    shown = json.loads(a.run("show", job.id, "--json").stdout)
    answers = []
    for item in shown["object_list"]:
        for truth in item["truths"].values():
            assert bool(truth["evidence"]) == bool(truth["at"]) == (truth["answer"] != NOT_REPORTED)
        answers.append({name: truth["answer"] for name, truth in item["truths"].items()})
    return answers


@pytest.mark.parametrize("pair", [RADPOST_PEER], indirect=True, ids=["radpost-peer"])
def test_a_signed_receipt_tells_each_object_and_nobody_else(
    pair: tuple[Institution, Institution],
    server: MailServer,
    keys: tuple[OwnKey, OwnKey],
    slices: list[Path],
) -> None:
    a, b = pair
    (receipt,) = send_and_take_receipts(a, b, server, slices, 1)
    outside = email.message_from_bytes(receipt)
    assert outside.get_content_type() == "multipart/encrypted"
    assert outside["Auto-Submitted"] == "auto-replied"
    assert outside["Disposition-Notification-To"] is None, "no receipt for a receipt (invariant 9)"
    for path in slices:
        assert not [word for word in secrets_of(path) if word in receipt]
    with GnuPG(keys=[keys[0].secret, keys[1].public]) as gnupg:
        opened = gnupg.open(part(outside, 1))
    assert opened.signer == keys[1].fingerprint
    inside = email.message_from_bytes(opened.plaintext)
    details = next(one for one in inside.walk() if one.get_content_type() == RECEIPT_DETAILS_TYPE)
    told = json.loads(bytes(details.get_payload(decode=True)))
    hashes = [row.file_sha256 for row in posted.stored(a)]
    assert sorted(item["sha256"] for item in told["objects"]) == sorted(hashes)
    assert {item["state"] for item in told["objects"]} == {"imported"}
    with a:
        posted.await_idle(a)
    assert states(a) == {"confirmed"}
    known = ["on the server", "fetched", "decrypted", "verified", "imported"]
    expected = dict.fromkeys(known, "yes") | {"opened": NOT_REPORTED, "reported": NOT_REPORTED}
    assert show(a) == [expected] * len(slices)


@pytest.mark.parametrize("pair", [Switches()], indirect=True, ids=["field"])
def test_a_plain_receipt_confirms_unsigned_and_infers_nothing(
    pair: tuple[Institution, Institution], server: MailServer, slices: list[Path]
) -> None:
    a, b = pair
    receipts = send_and_take_receipts(a, b, server, slices, len(slices))
    for receipt in receipts:
        assert email.message_from_bytes(receipt).get_content_type() == "multipart/report"
        for path in slices:
            assert not [word for word in secrets_of(path) if word in receipt]
        for inner in (b"KLINIK_A", b"PRAXIS_B", b"PACS", b"RADPOST", b"localhost", b"127.0.0.1"):
            written = receipt[receipt.index(b"\nFrom:") :]  # above stand the trace fields of the mail server
            assert inner not in written
    with a:
        posted.await_idle(a)
    assert states(a) == {"confirmed (unsigned)"}
    known = {"on the server": "yes", "fetched": "yes", "imported": "yes"}
    unknown = dict.fromkeys(("decrypted", "verified", "opened", "reported"), NOT_REPORTED)
    assert show(a) == [known | unknown] * len(slices)


DISTRUSTED = Switches(trust_unsigned_receipts=False)


@pytest.mark.parametrize("pair", [DISTRUSTED], indirect=True, ids=["distrusted"])
def test_a_plain_receipt_closes_nothing_where_the_switch_forbids_it(
    pair: tuple[Institution, Institution], server: MailServer, slices: list[Path]
) -> None:
    a, b = pair
    send_and_take_receipts(a, b, server, slices[:1], 1)
    with a:
        posted.await_that(lambda: not server.mails(A_ADDRESS), "the receipt was read", a)
        (job,) = a.transmissions()
        assert job.state == "waiting"
        assert job.ended_at is None


def part(message: Message, number: int) -> bytes:
    found = message.get_payload(number)
    assert isinstance(found, Message)
    data = found.get_payload(decode=True)
    assert isinstance(data, bytes)
    return data
