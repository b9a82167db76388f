"""Every file of ../shared/dicom from A through the mail server to B; makes the table in docs/reference.

By ``radpost send`` the file on disk is what arrives; by C-STORE it is the data set that was in the P-DATA,
seen by a relay between sender and A. What comes by C-STORE goes to other receivers than what was sent, and no
receiver gets two files of one SOP Instance UID: the second could be the same object in another transfer
syntax, which a receiver has already (invariant 2). RADPOST_WRITE_DOCS=1 writes the table anew.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pynetdicom import AE, _config

from radpost.dicom.delivery import send_files
from radpost.dicom.identity import Identity, identify
from radpost.dicom.meta import read_meta
from radpost.dicom.scu import Outgoing, Peer
from radpost.testing import posted
from radpost.testing.dimse import EXPLICIT_LE, Tap
from radpost.testing.institution import Institution
from radpost.testing.peers.dcmtk import storescu
from radpost.testing.peers.pair import MailServer
from radpost.testing.posted import A_ADDRESS, B_ADDRESS
from radpost.testing.store_scp import ReceivingPacs

pytestmark = [pytest.mark.peer("postfix", "dovecot", "dcmtk", "gnupg"), pytest.mark.timeout(170)]

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/interop-table.md"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
FAMILIES = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.4.100": "-xm",
    "1.2.840.10008.1.2.5": "-xr",
}
"""What storescu has to be told to offer a transfer syntax."""
INTRO = """\
# Interop table

Every file of the reference data, from one gateway through Postfix and Dovecot (IMAP) to another. Made by
`tests/interop/test_exchange_table.py`, which also checks it; `RADPOST_WRITE_DOCS=1` writes it anew.

*radpost send*: what arrived at B has the SHA-256 of the file on disk; an *object* went on to the PACS, a
*document* (what is no DICOM object, broken DICOM included) into a folder.

*C-STORE*: *equal* means that the SHA-256 of the data set is the same in the P-DATA that A received, in A's
store and in the store of B, which had no object of this SOP Instance UID before; all else is what the sender
was told. `storescu` sends by transfer syntax family; what it can't read or send goes by pynetdicom and by our
own SCU, what has no meta header by our own SCU alone (what is no DICOM object: the whole file, as Secondary
Capture if it names no class). After everything that our own SCU sends, a good object follows in the same
association and is stored.
"""


@dataclass
class Attempt:
    """One sender's try to C-STORE a file."""

    tool: str
    status: str
    """Four hexadecimal digits, or what the sender says when it sends nothing."""
    sent: list[str] = field(default_factory=list)
    """Hashes of the data sets in the P-DATA."""


@dataclass
class Row:
    """One file."""

    name: str
    path: Path
    identity: Identity
    receiver: int = 0
    """Which of the receivers it goes to by C-STORE."""
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def data_set(self) -> bytes:
        """Return the data set of the file."""
        return self.path.read_bytes()[self.identity.dataset_offset :]


@dataclass
class World:
    """Two institutions after everything was sent."""

    rows: list[Row]
    files_at_b: dict[str, str]
    """By radpost send: SHA-256 of the file to what it was taken for."""
    in_folder: set[str]
    in_pacs: set[str]
    refused_by_pacs: set[str]
    at_a: set[str] = field(default_factory=set)
    """Hashes of data sets, read again from the files in the spool."""
    new_at_a: set[str] = field(default_factory=set)
    at_b: list[set[str]] = field(default_factory=list)
    """The same of each receiver, which had nothing before and got nothing but by C-STORE."""
    states: set[str] = field(default_factory=set)
    quarantined: int = 0
    forgotten: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def module_patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def world(shared: Path, tmp_path_factory: pytest.TempPathFactory, module_patch: pytest.MonkeyPatch) -> World:
    module_patch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # the bytes of the file, unparsed
    root = shared / "dicom"
    files = sorted(path for path in root.rglob("*") if path.is_file())
    rows = [Row(str(path.relative_to(root)), path, identify(path)) for path in files]
    before: Counter[str] = Counter()
    for row in rows:
        instance = row.identity.sop_instance_uid or ""
        row.receiver = before[instance] if instance else 0
        before[instance] += 1
    fresh = [f"dicom@praxis-b{number}.example" for number in range(1 + max(row.receiver for row in rows))]
    users = {**posted.USERS, **dict.fromkeys(fresh, "geheim")}
    base = tmp_path_factory.mktemp("table")
    documents = base / "documents"
    with MailServer(users) as server, ReceivingPacs(base / "pacs") as pacs, ExitStack() as running:
        mail = {user: posted.submission(server, user) + posted.mailbox(server, user) for user in users}
        a = Institution(base / "a", "Klinik A", A_ADDRESS, mail[A_ADDRESS]).prepare()
        b_parts = mail[B_ADDRESS] + posted.pacs(pacs.port) + posted.folder(documents)
        b = Institution(base / "b", "Praxis B", B_ADDRESS, b_parts).prepare()
        posted.befriend(a, b)
        receivers = [
            Institution(base / f"b{number}", f"Praxis B{number}", address, mail[address]).prepare()
            for number, address in enumerate(fresh)
        ]
        for number, receiver in enumerate(receivers):
            a.add_partner(receiver, f"PRAXIS_B{number}")
            receiver.add_partner(a, "KLINIK_A")
        running.enter_context(a)
        with b:
            result = World(rows, *sent_by_command(a, b, root, len(rows) - 1, documents, pacs))
        result.forgotten = posted.forgotten_files(b)
        already = {row.id for row in posted.stored(a)}
        for receiver in receivers:
            running.enter_context(receiver)
        for row in rows:
            sender = Sender(a.dicom_port, f"PRAXIS_B{row.receiver}", root / "ct_small.dcm")
            row.attempts = list(sender.attempts(row.path, row.identity))
        result.states = {row.state for row in posted.await_idle(a)}
        assert result.states == {"confirmed"}, posted.explain(a)
    result.at_a, result.at_b = in_spool(a), [in_spool(receiver) for receiver in receivers]
    result.forgotten += [name for receiver in receivers for name in posted.forgotten_files(receiver)]
    result.new_at_a = {row.dataset_sha256 for row in posted.stored(a) if row.id not in already}
    result.quarantined = sum(len(posted.quarantined(one)) for one in (a, b, *receivers))
    return result


def sent_by_command(
    a: Institution, b: Institution, root: Path, objects: int, documents: Path, pacs: ReceivingPacs
) -> tuple[dict[str, str], set[str], set[str], set[str]]:
    """Send the folder by ``radpost send``; return what B has, its folder, its PACS, and what that refused."""
    done = a.run("send", str(root), "--to", "praxis_b", "--wait", "90", "--json", check=False)
    told = json.loads(done.stdout)
    assert told["confirmed"], done.stderr
    assert told["objects"] == objects
    assert {item["why"] for item in told["left"]} == {"dicomdir", "missing"}
    assert done.returncode == 1, "the DICOMDIR names files that are not there"
    posted.await_that(lambda: settled(b), "all is delivered", b)
    refused = {"refused", "undeliverable"}
    return (
        {row.file_sha256: row.kind for row in posted.stored(b)},
        {sha256(path.read_bytes()) for path in documents.rglob("*") if path.is_file()},
        pacs.hashes(),
        {row.file_sha256 for row in posted.deliveries(b) if row.state in refused},
    )


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def in_spool(institution: Institution) -> set[str]:
    with institution.site() as site:
        paths = [site.spool.path(row.file_sha256) for row in posted.stored(institution)]
    return {identify(path).dataset_sha256 for path in paths}


def settled(institution: Institution) -> bool:
    return all(row.done_at is not None or row.code is not None for row in posted.deliveries(institution))


@dataclass(frozen=True)
class Sender:
    """Sends files to A by the three senders, each through a relay that keeps the P-DATA."""

    port: int
    called: str
    good: Path
    """Follows every file that our SCU sends in the same association."""

    def attempts(self, path: Path, identity: Identity) -> Iterator[Attempt]:
        """C-STORE a file by storescu if it can, else by the others."""
        option = FAMILIES.get(identity.transfer_syntax_uid or "")
        if identity.kind == "dicom" and option:
            attempt = self.by_storescu(path, option)
            yield attempt
            if attempt.sent:
                return
        if identity.kind == "dicom" and "no-meta-header" not in identity.defects:
            yield self.by_pynetdicom(path)
        yield self.by_our_scu(path, identity)

    def by_storescu(self, path: Path, option: str) -> Attempt:
        options = ("-v", "-R", option)
        with Tap(self.port) as tap:
            done = storescu(tap.port, [path], called=self.called, options=options, check=False, timeout=60)
            sent = [sha256(data) for data in tap.data_sets()]
        answer = re.search(r"Received Store Response \((.*)\)", done.stdout + done.stderr)
        if answer is None:
            assert done.returncode, "storescu says when it sends nothing"
            return Attempt(f"storescu {option}", "nothing sent")
        return Attempt(f"storescu {option}", answer[1].lower(), sent)

    def by_pynetdicom(self, path: Path) -> Attempt:
        meta = read_meta(path.read_bytes())
        entity = AE("PYNETDICOM")
        entity.add_requested_context(str(meta.sop_class_uid), str(meta.transfer_syntax_uid))
        with Tap(self.port) as tap:
            association = entity.associate("127.0.0.1", tap.port, ae_title=self.called)
            assert association.is_established, path.name
            status = int(association.send_c_store(path).Status)
            association.release()
            return Attempt("pynetdicom", told(status), [sha256(data) for data in tap.data_sets()])

    def by_our_scu(self, path: Path, identity: Identity) -> Attempt:
        """Our SCU sends what it is told, whatever it is; a good object follows in the same association."""
        raw = path.read_bytes()
        instance = identity.sop_instance_uid or f"2.25.{int(sha256(raw)[:30], 16)}"
        syntax = identity.transfer_syntax_uid or EXPLICIT_LE
        data = memoryview(raw)[identity.dataset_offset if identity.kind == "dicom" else 0 :]
        sop_class = identity.sop_class_uid or SECONDARY_CAPTURE
        items = [Outgoing(data, sop_class, instance, syntax), self.healthy()]
        with Tap(self.port) as tap:
            first, second = send_files(Peer("127.0.0.1", tap.port, self.called, "OUR_SCU"), items)
            assert second.stored, "a bad object does not stop the next"
            sent = [sha256(data) for data in tap.data_sets()]
        if first.reply is None:
            assert first.error is not None
            return Attempt("our SCU", first.error.reason.name)
        return Attempt("our SCU", told(first.reply.status), sent[:1])

    def healthy(self) -> Outgoing:
        meta = read_meta(self.good.read_bytes())
        return Outgoing(
            self.good,
            str(meta.sop_class_uid),
            str(meta.sop_instance_uid),
            str(meta.transfer_syntax_uid),
            meta.dataset_offset,
        )


def told(status: int) -> str:
    return "success" if status == 0 else f"status {status:04X}"


def result_of_sending(world: World, row: Row) -> str:
    """Return what became of the file on disk; asserts that nothing else did."""
    identity = row.identity
    kind = world.files_at_b.get(identity.file_sha256)
    if row.name.endswith("/DICOMDIR"):
        assert kind is None
        return "not itself; the files it names are sent"
    assert kind == identity.kind, row.name
    if kind == "dicom":
        if identity.dataset_sha256 in world.in_pacs:
            return "object, equal"
        if sha256(row.data_set + b"\0") in world.in_pacs:
            return "object, equal; padded to even length for the PACS"
        assert identity.file_sha256 in world.refused_by_pacs
        return "object, equal; the PACS refuses it"
    assert identity.file_sha256 in world.in_folder
    return "document, equal"


def result_of_storing(world: World, row: Row) -> str:
    """Return what became of the data set on the wire."""
    told = []
    for attempt in row.attempts:
        if attempt.status == "success":
            (sent,) = attempt.sent
            assert sent in world.at_a, (row.name, attempt)
            assert sent in world.at_b[row.receiver], (row.name, attempt)
            told.append(f"{attempt.tool}: equal")
        else:
            assert not set(attempt.sent) & world.new_at_a, (row.name, attempt)
            told.append(f"{attempt.tool}: {attempt.status}")
    return "; ".join(told)


def page(world: World) -> str:
    lines = [INTRO, "| file | transfer syntax | radpost send | C-STORE |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {row.name} | {row.identity.transfer_syntax_uid or ''} | {result_of_sending(world, row)}"
        f" | {result_of_storing(world, row)} |"
        for row in world.rows
    ]
    return "\n".join(lines) + "\n"


def test_the_table_says_what_happened(world: World) -> None:
    found = page(world)
    if os.environ.get("RADPOST_WRITE_DOCS"):
        PAGE.write_text(found, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == found, "write it anew with RADPOST_WRITE_DOCS=1"


def test_everything_was_confirmed_and_nothing_was_quarantined(world: World) -> None:
    assert world.states == {"confirmed"}
    assert world.quarantined == 0


def test_every_file_of_b_is_needed_or_released(world: World) -> None:
    """What came again with another meta header or in another syntax must not stay on the disk for ever."""
    assert world.forgotten == []
