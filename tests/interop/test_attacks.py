"""What an attacker sends to a running gateway changes nothing, stops nothing, and stays visible."""

import re
import smtplib
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from isal import isal_zlib

from radpost.errors import (
    BINDING_MISMATCH,
    RESOURCE_LIMIT,
    UNSIGNED_REFUSAL,
)
from radpost.gateway import operating
from radpost.gateway.partners import RADPOST_PEER, Switches
from radpost.openpgp import packets
from radpost.store import schema
from radpost.testing import forgery
from radpost.testing.exchange import Exchange, known_key, third_partner, wait_state
from radpost.testing.insight import (
    arrival_of,
    key_of,
    receipts_about,
    rows,
    until,
    wait_arrival,
)
from radpost.testing.institution import toml_server, wait_for

pytestmark = [pytest.mark.peer("gnupg"), pytest.mark.timeout(90)]

DISPLAYED = "automatic-action/MDN-sent-automatically;displayed"
DELETED = "automatic-action/MDN-sent-automatically;deleted"
ERROR = "automatic-action/MDN-sent-automatically;deleted/error"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    directory = tmp_path_factory.mktemp("world")
    folder = toml_server("[[destination]]", name="documents", kind="folder", takes="all", path="documents")
    limits = "\n[limits]\ndisk_reserve_bytes = 50_000_000\n"
    with Exchange(directory, a_sections=limits, b_sections=folder + limits) as exchange:
        third_partner(exchange)
        yield exchange


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    """B takes A's mails and never answers, because it does not know A; C is another partner of A."""
    switches = Switches(trust_unsigned_receipts=False)
    with Exchange(tmp_path_factory.mktemp("silent"), partners=False) as exchange:
        exchange.a.add_partner(exchange.b, "PARTNER_B", switches=switches)
        exchange.a.add_partner(third_partner(exchange), "PARTNER_C", switches=switches)
        yield exchange


@pytest.fixture
def waiting(silent: Exchange) -> tuple[Exchange, dict[str, Any]]:
    """A mail of A's that is on B's server: its receipt is awaited."""
    before = len(rows(silent.a, schema.mail))
    silent.send(silent.study(1))
    wait_for(lambda: [row["state"] for row in rows(silent.a, schema.mail)][before:] == ["on server"], "sent")
    return silent, rows(silent.a, schema.mail)[-1]


def contested(world: Exchange, mail: dict[str, Any]) -> bool:
    """Tell whether an unsigned refusal of this mail stands before a person."""
    subject = f"transmission {mail['transmission_id']}"
    alarms = rows(world.a, schema.alarm, subject=subject, code=UNSIGNED_REFUSAL.code)
    return any(row["ended_at"] is None for row in alarms)


def receipt(world: Exchange, sender: str, about: str, disposition: str) -> bytes:
    return forgery.plain_receipt(
        sender=sender, recipient=world.a.address, about=about, disposition=disposition
    )


def post_to_a(world: Exchange, mail: bytes, sender: str = "") -> dict[str, Any]:
    """Post a mail to A and wait until it has been looked at."""
    before = len(rows(world.a, schema.arrival))
    forgery.post(world.a_smtp, world.a.address, mail, sender=sender)
    ends = {"done", "quarantined", "ignored"}
    wait_for(
        lambda: len(found := rows(world.a, schema.arrival)) > before and found[-1]["state"] in ends,
        "the mail is looked at",
        20,
    )
    return rows(world.a, schema.arrival)[-1]


def mail_now(world: Exchange, mail: dict[str, Any]) -> dict[str, Any]:
    return rows(world.a, schema.mail, id=mail["id"])[0]


def transmission_now(world: Exchange, mail: dict[str, Any]) -> str:
    return str(rows(world.a, schema.transmission, id=mail["transmission_id"])[0]["state"])


# --- forged receipts --------------------------------------------------------------------------------------


def test_receipts_of_others_and_about_others_change_nothing(
    waiting: tuple[Exchange, dict[str, Any]],
) -> None:
    """A report counts only if it names a Message-ID of ours whose recipient was that partner."""
    world, sent = waiting
    third = "dicom@klinik-c.example"
    forged = [
        receipt(world, "mallory@elsewhere.example", sent["message_id"], DISPLAYED),
        receipt(world, "mallory@elsewhere.example", sent["message_id"], DELETED),
        receipt(world, third, sent["message_id"], DISPLAYED),
        receipt(world, third, sent["message_id"], DELETED),
        receipt(world, world.b.address, forgery.new_message_id("klinik-a.example"), DISPLAYED),
        receipt(world, world.b.address, "<>", DELETED),
    ]
    for mail in forged:
        post_to_a(world, mail)
        now = mail_now(world, sent)
        for name in ("state", "message_id", "code", "disposition", "reported_at", "work"):
            assert now[name] == sent[name], name
    assert not contested(world, sent)
    truths = [row["truths"] for row in rows(world.a, schema.mail_object, mail_id=sent["id"])]
    assert all("yes" not in text for text in truths), truths


def test_a_receipt_signed_by_another_partner_changes_nothing(
    waiting: tuple[Exchange, dict[str, Any]],
) -> None:
    world, sent = waiting
    third_key = known_key("klinik-c", "dicom@klinik-c.example")
    for disposition in (DISPLAYED, DELETED):
        mail = forgery.letter([], sender=world.b.address, recipient=world.a.address)
        plain = receipt(world, world.b.address, sent["message_id"], disposition)
        sealed = forgery.wrap(mail, forgery.encrypt(plain, to=key_of(world.a), signer=third_key))
        post_to_a(world, sealed)
        assert mail_now(world, sent)["state"] == "on server"
    assert transmission_now(world, sent) not in {"confirmed", "confirmed (unsigned)", "refused", "failed"}


def test_unsigned_success_is_not_believed_where_receipts_are_signed(
    waiting: tuple[Exchange, dict[str, Any]],
) -> None:
    world, sent = waiting
    post_to_a(world, receipt(world, world.b.address, sent["message_id"], DISPLAYED))
    assert mail_now(world, sent)["state"] == "on server"
    assert transmission_now(world, sent) == "waiting"


def test_unsigned_errors_do_not_make_us_send_for_ever(waiting: tuple[Exchange, dict[str, Any]]) -> None:
    world, sent = waiting

    def lie() -> bool:
        now = mail_now(world, sent)
        if now["state"] == "on server" and not contested(world, sent):
            post_to_a(world, receipt(world, world.b.address, now["message_id"], ERROR))
        return contested(world, sent)

    until(lie, "a person is asked", world.a)
    lie()
    generations = {row["generation"] for row in rows(world.a, schema.message, mail_id=sent["id"])}
    assert len(generations) == 4, "the first, and max_resends more"
    assert transmission_now(world, sent) not in {"refused", "failed"}


def test_unsigned_refusal_alarms_and_holds_and_refuses_nothing(
    waiting: tuple[Exchange, dict[str, Any]],
) -> None:
    """DESIGN 4: an unsigned `deleted` alarms and holds."""
    world, sent = waiting
    post_to_a(world, receipt(world, world.b.address, sent["message_id"], DELETED))
    now = mail_now(world, sent)
    assert (now["state"], now["code"]) == ("on server", UNSIGNED_REFUSAL.code)
    assert contested(world, sent)
    assert transmission_now(world, sent) not in {"refused", "failed"}
    # the real partner's signed word ends it
    world.b.add_partner(world.a, "PARTNER_A", switches=RADPOST_PEER)
    (arrived,) = rows(world.b, schema.arrival, message_id=sent["message_id"])
    (entry,) = rows(world.b, schema.quarantine, arrival_id=arrived["id"])
    with world.b.site() as site:
        operating.replay(site, entry["id"])
    until(lambda: transmission_now(world, sent) == "confirmed", "confirmed", world.a, world.b)
    assert not contested(world, sent)


# --- replayed and relabelled mails ------------------------------------------------------------------------


def test_a_replayed_mail_stores_nothing_twice(world: Exchange) -> None:
    """Invariant 2, and every arriving Message-ID that asks for a receipt gets one."""
    files = world.study(2)
    mail = forgery.letter(files, sender=world.a.address, recipient=world.b.address)
    sealed = forgery.seal(mail, to=key_of(world.b), signer=key_of(world.a))
    for _ in range(3):
        forgery.post(world.b_smtp, world.b.address, sealed, sender=world.a.address)
    wait_for(
        lambda: (
            [row["state"] for row in rows(world.b, schema.arrival, message_id=mail.message_id)]
            == ["done"] * 3
        ),
        "all three are through",
        20,
    )
    world.wait_arrived(files)
    studies = {row["study_uid"] for row in rows(world.b, schema.object_)}
    stored = [row for row in rows(world.b, schema.object_) if row["sop_instance_uid"]]
    assert len({row["sop_instance_uid"] for row in stored}) == len(stored)
    assert studies
    time.sleep(0.3)
    kept = [item.sop_instance_uid for item in world.pacs.kept]
    assert all(kept.count(uid) == 1 for uid in kept)


def test_a_mail_of_a_partner_relabelled_as_anothers_is_quarantined(world: Exchange) -> None:
    """Binding: From, To, Date, Message-ID and SETID inside must agree with the outside."""
    files = world.study(1)
    honest = forgery.letter(files, sender=world.a.address, recipient=world.b.address)
    for changes in (
        {"message_id": forgery.new_message_id()},
        {"set_id": "2.25.4711"},
    ):
        outside = forgery.renamed(honest, **changes)
        sealed = forgery.seal(honest, to=key_of(world.b), signer=key_of(world.a), outside=outside)
        forgery.post(world.b_smtp, world.b.address, sealed, sender=world.a.address)
        row = wait_arrival(world.b, outside.message_id)
        assert (row["state"], row["code"]) == ("quarantined", BINDING_MISMATCH.code), changes
    # what was meant for another recipient, passed on to B by him (surreptitious forwarding)
    elsewhere = forgery.letter(files, sender=world.a.address, recipient="dicom@klinik-c.example")
    outside = forgery.renamed(elsewhere, recipient=world.b.address)
    sealed = forgery.seal(elsewhere, to=key_of(world.b), signer=key_of(world.a), outside=outside)
    forgery.post(world.b_smtp, world.b.address, sealed, sender=world.a.address)
    row = wait_arrival(world.b, outside.message_id)
    assert (row["state"], row["code"]) == ("quarantined", BINDING_MISMATCH.code)
    assert not world.arrived(files)


def test_set_headers_of_another_partners_set_touch_only_the_senders_own(world: Exchange) -> None:
    world.passes(1)
    real = rows(world.b, schema.incoming_set)[-1]
    third = third_partner(world)
    mail = forgery.letter(
        world.study(1),
        sender=third.address,
        recipient=world.b.address,
        set_id=real["set_id"],
        part=7,
        total=9,
    )
    sealed = forgery.seal(mail, to=key_of(world.b), signer=key_of(third))
    forgery.post(world.b_smtp, world.b.address, sealed, sender=third.address)
    assert wait_arrival(world.b, mail.message_id)["state"] == "done"
    assert rows(world.b, schema.incoming_set, set_id=real["set_id"], partner=real["partner"]) == [real]
    assert rows(world.b, schema.incoming_set, set_id=real["set_id"], partner="partner_c")


# --- SMTP -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipient",
    [
        "victim@elsewhere.example",
        "victim%elsewhere.example@klinik-b.example",
        '"victim@elsewhere.example"@klinik-b.example',
        "@klinik-b.example:victim@elsewhere.example",
        "dicom@klinik-a.example",
        "dicom@klinik-b.example.elsewhere.example",
        "postmaster@elsewhere.example",
    ],
)
def test_nothing_is_relayed(world: Exchange, recipient: str) -> None:
    arrivals, submissions = len(rows(world.b, schema.arrival)), len(rows(world.b, schema.submission))
    with smtplib.SMTP("127.0.0.1", world.b_smtp, "elsewhere.example", timeout=20) as client:
        client.ehlo()
        client.docmd(f"MAIL FROM:<{world.b.address}>")
        code, _ = client.docmd(f"RCPT TO:<{recipient}>")
        assert code >= 500
        code, _ = client.docmd("DATA")
        assert code >= 500
    assert len(rows(world.b, schema.arrival)) == arrivals
    assert len(rows(world.b, schema.submission)) == submissions


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n\x00.\r\n"])
def test_a_smuggled_mail_never_becomes_a_mail(world: Exchange, end: bytes) -> None:
    """CVE-2023-51764 and its kin: only CRLF.CRLF ends a mail (RFC 5321 4.1.1.4)."""
    arrivals = len(rows(world.b, schema.arrival))
    smuggled = (
        b"From: <dicom@klinik-a.example>\r\nTo: <dicom@klinik-b.example>\r\n"
        b"Message-ID: <smuggled@klinik-a.example>\r\nSubject: smuggled\r\n\r\nbody\r\n.\r\n"
    )
    first = b"From: <x@elsewhere.example>\r\nMessage-ID: <outer@elsewhere.example>\r\n\r\ntext" + end
    inject = b"MAIL FROM:<dicom@klinik-a.example>\r\nRCPT TO:<dicom@klinik-b.example>\r\nDATA\r\n"
    with socket.create_connection(("127.0.0.1", world.b_smtp), 20) as connection:
        answers = connection.makefile("rb")
        answers.readline()
        for line in (
            b"EHLO x.example",
            b"MAIL FROM:<x@elsewhere.example>",
            b"RCPT TO:<dicom@klinik-b.example>",
        ):
            connection.sendall(line + b"\r\n")
            while answers.readline()[3:4] == b"-":
                pass
        connection.sendall(b"DATA\r\n")
        assert answers.readline().startswith(b"354")
        connection.sendall(first + inject + smuggled + b"QUIT\r\n")
        connection.settimeout(10)
        said = answers.read()
    assert said.count(b"250 ") <= 1, said
    assert b"354" not in said
    time.sleep(0.3)
    new = rows(world.b, schema.arrival)[arrivals:]
    assert len(new) <= 1
    assert all(row["message_id"] != "<smuggled@klinik-a.example>" for row in new)
    assert not arrival_of(world.b, "<smuggled@klinik-a.example>")


# --- hostile content --------------------------------------------------------------------------------------


HOSTILE_NAMES = [
    "../../../../../../tmp/radpost-escaped.txt",
    "..\\..\\..\\windows\\win.ini",
    "/etc/radpost-escaped",
    "C:\\radpost-escaped.txt",
    "..",
    ".",
    "",
    ".bashrc",
    "a/b/c.txt",
    "x\x00y.txt",
    "new\nline.txt",
    "CON",
    "~/escaped",
    "$(touch escaped)",
    "n" * 500 + ".pdf",
    "\u202etxt.exe",
]


def finished(folder: Path) -> list[Path]:
    """Return the files of a folder without one that is still being written."""
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".part"]


def test_hostile_file_names_stay_inside_the_folder(world: Exchange) -> None:
    target = world.b.directory / "documents"
    outside = {path for path in world.directory.rglob("*") if "documents" not in path.parts}
    documents = [
        forgery.Document(
            b"content %d " % number + name.encode("utf-8", "replace"), name, "text/plain", "2.25.1"
        )
        for number, name in enumerate(HOSTILE_NAMES)
        if "\n" not in name and "\x00" not in name
    ]
    mail = forgery.letter(documents, sender=world.a.address, recipient=world.b.address)
    forgery.post(
        world.b_smtp,
        world.b.address,
        forgery.seal(mail, to=key_of(world.b), signer=key_of(world.a)),
        sender=world.a.address,
    )
    assert wait_arrival(world.b, mail.message_id)["state"] == "done"
    expected = {document.data for document in documents}
    wait_for(
        lambda: {path.read_bytes() for path in finished(target)} >= expected,
        "all documents in the folder",
        20,
    )
    for path in target.rglob("*"):
        assert path.resolve().is_relative_to(target.resolve())
        assert not path.name.startswith("."), path.name
        assert not re.search(r"[\x00-\x1f/\\:]", path.name)
    assert not Path("/tmp/radpost-escaped.txt").exists()
    assert not Path("/etc/radpost-escaped").exists()
    new = {path for path in world.directory.rglob("*") if "documents" not in path.parts} - outside
    assert not [path for path in new if "escaped" in path.name]


@pytest.mark.parametrize(
    "uids",
    [("..", "../../../escaped"), (".", "/tmp/escaped"), ("1.2/../..", ".."), ("....", "a\\..\\escaped")],
)
def test_hostile_uids_stay_inside_the_folder(world: Exchange, uids: tuple[str, str]) -> None:
    target = world.b.directory / "documents"
    outside = {path for path in world.directory.rglob("*") if "documents" not in path.parts}
    files = world.study(1, uids=uids)
    mail = forgery.letter(files, sender=world.a.address, recipient=world.b.address)
    sealed = forgery.seal(mail, to=key_of(world.b), signer=key_of(world.a))
    forgery.post(world.b_smtp, world.b.address, sealed, sender=world.a.address)
    assert wait_arrival(world.b, mail.message_id)["state"] == "done"
    data = files[0].read_bytes()
    wait_for(
        lambda: any(path.read_bytes() == data for path in target.rglob("*") if path.is_file()),
        "in the folder",
    )
    (found,) = [path for path in target.rglob("*") if path.is_file() and path.read_bytes() == data]
    assert found.parent.parent == target / "partner_a"
    assert not found.name.startswith(".")
    new = {path for path in world.directory.rglob("*") if "documents" not in path.parts} - outside
    assert not [path for path in new if "escaped" in path.name]
    assert not Path("/tmp/escaped.dcm").exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("nested", [False, True])
def test_a_compression_bomb_is_refused(world: Exchange, nested: bool) -> None:
    bomb = _bomb(3_000_000_000, nested=nested)
    mail = forgery.letter([], sender=world.a.address, recipient=world.b.address)
    sealed = forgery.wrap(mail, forgery.encrypt_packets(bomb, to=key_of(world.b)))
    before = peak_kb(world)
    forgery.post(world.b_smtp, world.b.address, sealed, sender=world.a.address)
    row = wait_arrival(world.b, mail.message_id)
    assert (row["state"], row["code"]) == ("quarantined", RESOURCE_LIMIT.code)
    assert peak_kb(world) - before < 100_000
    assert not list((world.b.directory / "data" / "spool" / "tmp").iterdir())
    world.passes(1)


def _bomb(size: int, *, nested: bool) -> bytes:
    """Return compressed packets that unfold to ``size`` bytes of nothing."""
    squeeze = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -15)
    chunk = bytes(1 << 24)
    literal = b"\xcb\xff" + (size + 6).to_bytes(4, "big") + b"b\0" + bytes(4)
    parts = [squeeze.compress(literal)]
    parts.extend(squeeze.compress(chunk) for _ in range(size >> 24))
    parts.append(squeeze.flush())
    once = packets.packet(packets.COMPRESSED, b"\x01" + b"".join(parts))
    if not nested:
        return once
    return packets.packet(packets.COMPRESSED, b"\x01" + zlib.compress(once, 9)[2:-4])


def peak_kb(world: Exchange) -> int:
    assert world.b.process is not None
    status = Path(f"/proc/{world.b.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]  # every process has one


def test_deep_nesting_is_refused(world: Exchange) -> None:
    inner = b"Content-Type: text/plain\r\n\r\nend\r\n"
    for level in range(400):
        head = b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (level, level)
        inner = head + inner + b"\r\n--b%d--\r\n" % level
    message_id = forgery.new_message_id()
    head = (
        f"From: <{world.a.address}>\r\nTo: <{world.b.address}>\r\nMessage-ID: {message_id}\r\n"
        f"Disposition-Notification-To: <{world.a.address}>\r\nMIME-Version: 1.0\r\n"
    ).encode()
    forgery.post(world.b_smtp, world.b.address, head + inner, sender=world.a.address)
    outside = wait_arrival(world.b, message_id)
    assert (outside["state"], outside["code"]) == ("quarantined", RESOURCE_LIMIT.code)
    assert outside["partner"] == "partner_a", "the quarantine says whose it is"
    assert receipts_about(world.b, outside) == ["deleted"]
    mail = forgery.letter([], sender=world.a.address, recipient=world.b.address)
    sealed = forgery.wrap(
        mail, forgery.encrypt(b"MIME-Version: 1.0\r\n" + inner, to=key_of(world.b), signer=key_of(world.a))
    )
    forgery.post(world.b_smtp, world.b.address, sealed, sender=world.a.address)
    assert wait_arrival(world.b, mail.message_id)["state"] == "quarantined"


def test_a_burst_of_garbage_does_not_stop_a_good_mail(world: Exchange) -> None:
    """Invariant 5."""
    good = forgery.letter([world.study(1)[0]], sender=world.a.address, recipient=world.b.address)
    sealed = forgery.seal(good, to=key_of(world.b), signer=key_of(world.a))
    files = world.study(2)
    garbage = list(_garbage(world, sealed))
    with smtplib.SMTP("127.0.0.1", world.b_smtp, "elsewhere.example", timeout=30) as client:
        for number, mail in enumerate(garbage):
            if number == len(garbage) // 2:
                world.send(files)
            client.sendmail(world.a.address, [world.b.address], mail)
    world.wait_arrived(files)
    wait_state(world, "confirmed")
    wait_for(
        lambda: not [row for row in rows(world.b, schema.arrival) if row["state"] in {"fetched", "opened"}],
        "every mail came to an end",
        30,
    )
    assert "failed inside" not in world.b.log()


def _garbage(world: Exchange, sealed: bytes) -> Iterator[bytes]:
    address = f"From: <{world.a.address}>\r\nTo: <{world.b.address}>\r\n".encode()
    kinds = [
        b"",
        b"\r\n",
        b"no header at all",
        address,
        address + b"Content-Type: multipart/encrypted; protocol=application/pgp-encrypted\r\n\r\n",
        address + b'Content-Type: multipart/encrypted; boundary="x"\r\n\r\n--x\r\n--x\r\n--x--\r\n',
        address + b"Content-Type: message/partial; id=x; number=-1; total=99999999999\r\n\r\n",
        address + b'Content-Type: message/partial; id="y"; number=2; total=1\r\n\r\nx\r\n',
        address + b"Content-Type: multipart/report; report-type=disposition-notification\r\n\r\n",
        address + b"X" * 3000 + b": y\r\n\r\n",
        address + b"Subject: " + bytes(range(128, 256)) + b"\r\n\r\n" + bytes(range(128, 256)),
        b"From: <unknown@elsewhere.example>\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\n=abcd\r\n",
        address + b"\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nAAAA\r\n-----END PGP MESSAGE-----\r\n",
        sealed[: len(sealed) // 2],
        sealed.replace(b"-----END PGP MESSAGE-----", b""),
        sealed[: len(sealed) // 3] + b"!" * 100 + sealed[len(sealed) // 3 :],
    ]
    for number in range(5):
        for kind in kinds:
            yield kind.replace(b"Message-ID: <", b"Message-ID: <%d" % number)
