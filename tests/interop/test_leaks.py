"""What leaves an institution outside the encryption names nobody inside (DESIGN invariant 10).

Both directions of every SMTP connection between two running gateways are recorded while studies, documents,
receipts, refusals and fragments travel, a bounce comes back and an address is refused; then the recording is
searched for what must not be in it. The same with submission and IMAP, where the server keeps a copy of all
that it is given. The outboxes of all other tests are read by ``radpost.testing.outside`` (tests/conftest.py).
"""

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from email.header import decode_header, make_header
from pathlib import Path

import pytest

from radpost.dicom.meta import read_meta
from radpost.gateway import sending
from radpost.gateway.partners import RADPOST_PEER, Switches
from radpost.store import schema
from radpost.testing import forgery
from radpost.testing.exchange import (
    A_ADDRESS,
    B_ADDRESS,
    Exchange,
    c_store,
    hashes_of,
    known_key,
    small_study,
    stranger,
)
from radpost.testing.insight import key_of, rows, until, wait_arrival
from radpost.testing.institution import Institution, toml_server, wait_for
from radpost.testing.leaks import scan, scan_names
from radpost.testing.outside import host_names, words
from radpost.testing.peers import free_port
from radpost.testing.peers.pair import MailServer
from radpost.testing.store_scp import ReceivingPacs
from radpost.testing.wiretap import Wiretap

pytestmark = [pytest.mark.peer("gnupg"), pytest.mark.timeout(120)]

PATIENT = {
    "patient's name": "Geheimmann^Ottokar",
    "family name": "Geheimmann",
    "patient's ID": "PID-73951-Q",
    "diagnosis": "Glioblastom links frontal",
    "accession": "ACCQ4711",
}
FILE = "Befund Geheimmann Ottokar.pdf"
STATION, PACS_TITLE, OUR_TITLE, CALLED = "CT_INNEN_17", "PACS_INNEN_3", "RP_INNEN_9", "PARTNER_B"
HOST = "ris-innen-47"
SUBJECT = r"DICOM-eMail( \(\d+/\d+\)|: receipt / Empfangsbestätigung)?"
MACHINE = {"machine": socket.gethostname()} if len(socket.gethostname()) >= 6 else {}
"""A shorter name is looked for as a word, see ``host_names``: at risk where nothing else is ours."""
RECORD = 'cat /proc/$$/cmdline >> "$0"; echo >> "$0"'
CALLS = "calls"
"""Where a destination's program writes what all users of the machine see of it."""
ARMOR = re.compile(
    rb"(?m)(?:^[A-Za-z0-9+/]{60,}\r?\n)+(?:[A-Za-z0-9+/]{1,75}={0,2}\r?\n)?(?:=[A-Za-z0-9+/]{4}\r?\n)?"
)
CUT = 20_000
GHOST = "niemand@klinik-b.example"
BOUNCE = """\
From: MAILER-DAEMON@klinik-b.example
To: {address}
Message-ID: <bounce-1@klinik-b.example>
Subject: Undelivered
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

It could not be delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.klinik-b.example

Final-Recipient: rfc822; dicom@klinik-b.example
Action: failed
Status: 4.2.2
Diagnostic-Code: smtp; 452 4.2.2 mailbox full

--b
Content-Type: text/rfc822-headers

Message-ID: {about}

--b--
"""
NET = "127.31.7."
"""Addresses of the inner network: stations, our SCP and the PACS."""


@dataclass(frozen=True)
class Recorded:
    """A finished run, and what was on the wire."""

    exchange: Exchange
    to_b: Wiretap
    to_a: Wiretap
    files: list[Path]
    uids: dict[str, str]

    @property
    def wire(self) -> dict[str, bytes]:
        return {
            "A to B": self.to_b.said(),
            "B's answers": self.to_b.answered(),
            "B to A": self.to_a.said(),
            "A's answers": self.to_a.answered(),
        }

    def secrets(self) -> dict[str, str]:
        """Return everything that must not be outside."""
        return {
            **PATIENT,
            **self.uids,
            "file name": "Befund Geheimmann",
            "station": STATION,
            "PACS": PACS_TITLE,
            "our AE title": OUR_TITLE,
            "called AE title": CALLED,
            "partner's AE title": "PARTNER_A",
            "inner host": HOST,
            **MACHINE,
            "inner network": NET,
            "loopback": "127.0.0.",
            "directory": str(self.exchange.directory.name),
        }


@pytest.fixture(scope="module", params=["radpost", "field"])
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """A run with everything that makes mails: studies, documents, fragments, errors, a partner's bounce."""
    switches = RADPOST_PEER if request.param == "radpost" else Switches(max_mail_size=CUT)
    directory = tmp_path_factory.mktemp("leaks")
    a_smtp, b_smtp = free_port(), free_port()
    with Wiretap(b_smtp) as to_b, Wiretap(a_smtp) as to_a:
        exchange = Exchange(
            directory,
            switches=switches,
            a_dicom=f'host = "{NET}1"\nallow_any_station = true\nquiet_seconds = 0.1\n',
            destination={"host": f"{NET}3", "ae_title": PACS_TITLE, "our_ae_title": OUR_TITLE},
            b_sections=toml_server(
                "[[destination]]", name="documents", kind="folder", takes="other", path="documents"
            )
            + toml_server(
                "[[destination]]",
                name="archive",
                kind="program",
                takes="all",
                command=["/bin/sh", "-c", RECORD, str(directory / CALLS), "{path}", "{partner}", "{key}"],
            ),
            a_smtp=a_smtp,
            b_smtp=b_smtp,
            tapped=(to_a.port, to_b.port),
            in_host=HOST,
        )
        exchange.pacs = ReceivingPacs(directory / "pacs", exchange.pacs_port, host=f"{NET}3")
        with exchange:
            files, uids = _run(exchange)
            yield Recorded(exchange, to_b, to_a, files, uids)


def _run(exchange: Exchange) -> tuple[list[Path], dict[str, str]]:
    a, b = exchange.a, exchange.b
    files = small_study(
        exchange.directory / "study",
        3,
        exchange.directory,
        patient=(PATIENT["patient's name"], PATIENT["patient's ID"]),
        comments=PATIENT["diagnosis"],
        side=200,
    )
    document = exchange.directory / FILE
    document.write_bytes(b"%PDF-1.4 " + " ".join(PATIENT.values()).encode())
    assert c_store(a.dicom_port, CALLED, files, calling=STATION, host=f"{NET}1") == [0] * 3
    with a.site() as site:
        job = sending.look([document], site.partners.by_name("partner_b"))
        sending.take(site, job)
    wait_for(lambda: hashes_of(files) <= exchange.pacs.hashes(), "the study at the PACS", 40)
    wait_for(lambda: list((b.directory / "documents").rglob("*.pdf")), "the document", 20)
    good = {"confirmed", "confirmed (unsigned)"}
    wait_for(
        lambda: len(found := a.transmissions()) == 2 and {row.state for row in found} <= good, "confirmed"
    )
    _refusals(exchange, files)
    first = rows(b, schema.object_, kind="dicom")[0]
    _bounce(exchange)
    _address_that_nobody_has(exchange)
    return files, {
        "study UID": first["study_uid"],
        "instance UID": first["sop_instance_uid"],
        "series UID": first["series_uid"],
    }


def _bounce(exchange: Exchange) -> None:
    """A mail of A that is on B's server comes back; A sends it again under another Message-ID."""
    a = exchange.a
    exchange.b.stop()
    files = exchange.study(1, patient=(PATIENT["patient's name"], PATIENT["patient's ID"]))
    assert c_store(a.dicom_port, CALLED, files, calling=STATION, host=f"{NET}1") == [0]
    wait_for(lambda: len(a.transmissions()) == 3, "the third transmission", 20)
    mail_id = rows(a, schema.mail, transmission_id=a.transmissions()[-1].id)[0]["id"]
    wait_for(lambda: rows(a, schema.submission, mail_id=mail_id), "it is sealed", 20)
    about = rows(a, schema.submission, mail_id=mail_id)[0]["message_id"]
    bounce = BOUNCE.format(address=a.address, about=about).replace("\n", "\r\n").encode()
    forgery.post(exchange.a_smtp, a.address, bounce)
    row = wait_arrival(a, "<bounce-1@klinik-b.example>", "done")
    assert row["kind"] == "bounce"
    exchange.b.start()
    until(lambda: exchange.arrived(files), "the mail after the bounce", a)


def _address_that_nobody_has(exchange: Exchange) -> None:
    """A partner's address is wrong: the server refuses it, or a bounce of the server says so."""
    a = exchange.a
    ghost = Institution(exchange.directory / "g", "klinik-g", GHOST, key=known_key("klinik-g", GHOST))
    a.add_partner(ghost, "PARTNER_G", switches=exchange.switches)
    files = exchange.study(1, patient=(PATIENT["patient's name"], PATIENT["patient's ID"]))

    def taken() -> bool:
        return c_store(a.dicom_port, "PARTNER_G", files, calling=STATION, host=f"{NET}1") == [0]

    wait_for(taken, "the gateway has heard of its new partner", 20)
    ended = {"failed", "refused", "undeliverable"}
    wait_for(lambda: a.transmissions()[-1].state in ended, f"it fails (is {exchange.last()})", 40)


def _refusals(exchange: Exchange, files: list[Path]) -> None:
    """Mails that B answers with an error: to another key, and with a broken object in it."""
    a, b = exchange.a, exchange.b
    mail = forgery.letter(files[:1], sender=a.address, recipient=b.address)
    sealed = forgery.seal(mail, to=stranger(), signer=key_of(a))
    forgery.post(exchange.b_smtp, b.address, sealed, sender=a.address)
    row = wait_arrival(b, mail.message_id, "quarantined")
    wait_for(
        lambda: [found["state"] for found in rows(b, schema.receipt, arrival_id=row["id"])] == ["sent"],
        "the refusal is on its way",
    )
    broken = files[1].read_bytes()
    document = forgery.Document(broken[: len(broken) // 3])
    cut = forgery.letter([document], sender=a.address, recipient=b.address)
    forgery.post(
        exchange.b_smtp, b.address, forgery.seal(cut, to=key_of(b), signer=key_of(a)), sender=a.address
    )
    wait_arrival(b, cut.message_id, "done", "quarantined")
    until(
        lambda: not [row for row in rows(b, schema.submission) if row["state"] in {"ready", "sending"}],
        "B has sent all receipts",
        b,
    )


def test_the_recording_is_not_empty(recorded: Recorded) -> None:
    wire = recorded.wire
    assert wire["A to B"].count(b"MAIL FROM:<dicom@klinik-a.example>") >= 2
    assert wire["B to A"].count(b"MAIL FROM:<>") >= 3, "receipts have the null sender"
    assert b"BEGIN PGP MESSAGE" in wire["A to B"]
    for said in (wire["A to B"], wire["B to A"]):
        assert b"EHLO" in said.upper()
        assert b"Message-ID:" in said
    cut = recorded.exchange.switches.max_mail_size == CUT
    assert (b"Content-Type: message/partial" in wire["A to B"]) == cut, "fragments where the partner has them"
    if cut:
        assert b"message/disposition-notification" in wire["B to A"], "not encrypted as between two of ours"
    assert f"RCPT TO:<{GHOST}>".encode() in wire["A to B"]
    assert re.search(rb"(?m)^550 ", wire["B's answers"]), "an address that nobody has"
    assert len(recorded.exchange.a.transmissions()) == 4
    assert recorded.files
    assert scan("A to B", wire["A to B"], {"domain": "klinik-a.example"}), "the search sees what is there"


@pytest.mark.parametrize("direction", ["A to B", "B's answers", "B to A", "A's answers"])
def test_nothing_of_the_inside_is_on_the_wire(recorded: Recorded, direction: str) -> None:
    leaks = scan(direction, recorded.wire[direction], recorded.secrets())
    leaks += words(direction, _outside(recorded.wire[direction]), host_names())
    assert not leaks, "\n".join(map(str, leaks))


def test_names_that_are_said_are_those_of_the_mail_domain(recorded: Recorded) -> None:
    for said, domain in (
        (recorded.to_b.said(), b"klinik-a.example"),
        (recorded.to_a.said(), b"klinik-b.example"),
    ):
        assert set(re.findall(rb"(?im)^(?:EHLO|HELO) (\S+)", said)) == {domain}
        ids = re.findall(rb"(?im)^Message-ID:\s*<([^<>@]+)@([^<>]+)>", said)
        assert ids
        assert {found for _, found in ids} == {domain}
        assert all(re.fullmatch(rb"[A-Za-z0-9]{20,}", token) for token, _ in ids), "random, and nothing else"
        fields = set(re.findall(rb"(?im)^Subject: (.*(?:\r\n[ \t].*)*)\r$", said))
        subjects = {str(make_header(decode_header(field.decode()))) for field in fields}
        odd = {item for item in subjects if not re.fullmatch(SUBJECT, item)}
        assert not odd
        headers = {name.lower() for name in re.findall(rb"(?m)^([A-Za-z-]+): ", _outside(said))}
        assert not headers & {b"received", b"x-originating-ip", b"x-mailer", b"user-agent"}


def _outside(said: bytes) -> bytes:
    """Return what was said without the lines of the armor, which fragments have without its beginning."""
    return ARMOR.sub(b"", said)


def test_logs_name_no_patient(recorded: Recorded) -> None:
    secrets = {**PATIENT, **recorded.uids, "file name": "Befund Geheimmann"}
    for institution in (recorded.exchange.a, recorded.exchange.b):
        assert institution.log().count("\n") > 3
        leaks = scan(institution.name, institution.log().encode(), secrets)
        assert not leaks, "\n".join(map(str, leaks))


def test_names_of_files_in_the_data_directory_name_no_patient(recorded: Recorded) -> None:
    secrets = {**PATIENT, **recorded.uids, "file name": "Befund Geheimmann"}
    for institution in (recorded.exchange.a, recorded.exchange.b):
        root = institution.directory / "data"
        assert sum(path.is_file() for path in root.rglob("*")) > 5
        leaks = scan_names(root, secrets)
        assert not leaks, "\n".join(map(str, leaks))


def test_arguments_of_a_destinations_program_name_no_patient(recorded: Recorded) -> None:
    def calls() -> bytes:
        path = recorded.exchange.directory / CALLS
        return path.read_bytes() if path.exists() else b""

    wait_for(
        lambda: b"/document.pdf" in calls() and calls().count(b"/object.dcm") >= 3, "all were handed over"
    )
    secrets = {**PATIENT, **recorded.uids, "file name": "Befund Geheimmann"}
    leaks = scan("arguments", calls(), secrets)
    assert not leaks, "\n".join(map(str, leaks))


def test_data_directories_are_private(recorded: Recorded) -> None:
    for institution in (recorded.exchange.a, recorded.exchange.b):
        root = institution.directory / "data"
        for path in (root, *root.rglob("*")):
            # GnuPG chooses the modes of public rings itself; their folder is private
            if path.is_dir() or (path.is_file() and "gnupg" not in path.parts):
                assert not path.stat().st_mode & 0o077, path


def test_meta_headers_we_write_name_no_station(recorded: Recorded) -> None:
    secrets = {
        "station": STATION,
        "PACS": PACS_TITLE,
        "our AE title": OUR_TITLE,
        "called AE title": CALLED,
        "inner host": HOST,
        **MACHINE,
        "inner network": NET,
    }
    seen = 0
    for institution in (recorded.exchange.a, recorded.exchange.b):
        for row in rows(institution, schema.object_, kind="dicom"):
            with institution.site() as site:
                data = site.spool.path(row["file_sha256"]).read_bytes()
            head = data[: read_meta(data).dataset_offset]
            leaks = scan("meta header", head, secrets)
            assert not leaks, "\n".join(map(str, leaks))
            for tag in (b"\x02\x00\x16\x00", b"\x02\x00\x17\x00", b"\x02\x00\x18\x00", b"\x02\x00\x02\x01"):
                assert tag not in head, "AE titles and private information have no place here (PS3.10 7.1)"
            seen += 1
    assert seen >= 6


def test_alarms_and_timeline_name_no_patient(recorded: Recorded) -> None:
    for institution in (recorded.exchange.a, recorded.exchange.b):
        for table in (schema.event, schema.alarm, schema.memory):
            text = repr(rows(institution, table)).encode()
            leaks = scan(table.name, text, PATIENT | {"file name": "Befund Geheimmann"})
            assert not leaks, "\n".join(map(str, leaks))


# --- through a mail server of the field -------------------------------------------------------------------

ARCHIVE = "archiv@klinik-a.example"
HOP = re.compile(rb"(?m)^Received: from (\S+) .*(?:\r?\n[ \t].*)*")
"""A hop; what stands behind the name of the HELO is what the server itself saw and calls itself."""


@pytest.mark.peer("postfix", "dovecot")
def test_nothing_of_the_inside_reaches_the_mail_server(tmp_path: Path) -> None:
    """By submission and IMAP; Postfix keeps a copy of all that it is given, and bounces what nobody wants.

    The gateways run under the name of this machine: that is what is at risk, and what is looked for.
    """
    users = {A_ADDRESS: "geheim-a", B_ADDRESS: "geheim-b", ARCHIVE: "geheim-c"}
    with MailServer(users, postfix_extra={"always_bcc": ARCHIVE}) as server:
        exchange = Exchange(
            tmp_path,
            switches=Switches(max_mail_size=CUT),
            a_dicom=f'host = "{NET}1"\nallow_any_station = true\nquiet_seconds = 0.1\n',
            destination={"host": f"{NET}3", "ae_title": PACS_TITLE, "our_ae_title": OUR_TITLE},
            server=server,
        )
        exchange.pacs = ReceivingPacs(tmp_path / "pacs", exchange.pacs_port, host=f"{NET}3")
        patient = (PATIENT["patient's name"], PATIENT["patient's ID"])
        files = small_study(tmp_path / "study", 2, tmp_path, patient=patient, side=200)
        with exchange:
            a, b = exchange.a, exchange.b
            assert c_store(a.dicom_port, CALLED, files, calling=STATION, host=f"{NET}1") == [0] * 2
            exchange.wait_arrived(files)
            wait_for(lambda: exchange.last().startswith("confirmed"), "confirmed")
            _address_that_nobody_has(exchange)
            assert {row["kind"] for row in rows(a, schema.arrival)} >= {"bounce", "receipt"}
            instance = rows(b, schema.object_, kind="dicom")[0]
            server.wait_delivered()
            copies = [path.read_bytes() for path in server.mails(ARCHIVE)]
    said = b"\n\0\n".join(HOP.sub(rb"HELO \1", copy) for copy in copies)
    assert said.count(b"message/partial") >= 4, "A's fragments"
    assert b"message/disposition-notification" in said, "B's receipts"
    own = {b"mail.radpost.example"}  # Postfix to Dovecot
    helos = set(re.findall(rb"(?m)^HELO (\S+)", said)) - own
    assert helos == {b"klinik-a.example", b"klinik-b.example"}
    secrets = {
        **PATIENT,
        "study UID": instance["study_uid"],
        "instance UID": instance["sop_instance_uid"],
        "station": STATION,
        "PACS": PACS_TITLE,
        "our AE title": OUR_TITLE,
        "called AE title": CALLED,
        "inner network": NET,
        "directory": str(tmp_path.name),
    }
    leaks = scan("the server's copies", said, secrets) + words("copies", _outside(said), host_names())
    assert not leaks, "\n".join(map(str, leaks))
