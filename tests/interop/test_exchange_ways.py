"""Every way a mail can take: storescu, A, mail server, B, Orthanc and storescp; and the receipt back."""

import smtplib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import pytest

from radpost.errors import TLS_FAILED
from radpost.gateway.partners import Route
from radpost.testing import posted
from radpost.testing.institution import Institution, toml_server
from radpost.testing.peers import free_port
from radpost.testing.peers.dcmtk import StoreScp, storescu
from radpost.testing.peers.orthanc import Orthanc
from radpost.testing.peers.pair import MailServer
from radpost.testing.peers.tls import ServerFiles, TestAuthority
from radpost.testing.posted import A_ADDRESS, B_ADDRESS, await_all, await_that, dataset_sha256

pytestmark = [
    pytest.mark.peer("postfix", "dovecot", "orthanc", "dcmtk", "gnupg"),
    pytest.mark.timeout(90),
]

BY_SMTP, BY_LMTP = "dicom@smtp-b.example", "dicom@lmtp-b.example"
SLICES = 6


@dataclass(frozen=True)
class World:
    """What all ways share: the mail server, the certificates of direct receivers, where they listen."""

    server: MailServer
    authority: TestAuthority
    certificate: ServerFiles
    smtp_port: int
    lmtp_port: int
    a_smtp_port: int

    def receiver(self, protocol: str, port: int, *, tls: bool) -> str:
        """Return a ``[[receiver]]`` section; with TLS nothing is taken in clear."""
        files = self.certificate
        secrets = {"certificate": files.cert_file, "key": files.key_file, "require_tls": True}
        return toml_server("[[receiver]]", protocol=protocol, port=port, **(secrets if tls else {}))


@dataclass(frozen=True)
class Way:
    """How A's mails reach B and B's receipts reach A."""

    name: str
    b_address: str
    a: Callable[[World], str]
    b: Callable[[World], str]
    routes: Callable[[World], tuple[Route | None, Route | None]] = lambda _world: (None, None)
    seconds: float = 30.0


def submission(user: str, security: str = "starttls") -> Callable[[World], str]:
    return lambda world: posted.submission(world.server, user, security)


def mailbox(user: str, kind: str, **values: object) -> Callable[[World], str]:
    return lambda world: posted.mailbox(world.server, user, kind, **values)


def both(*parts: Callable[[World], str]) -> Callable[[World], str]:
    return lambda world: "".join(part(world) for part in parts)


def direct_submission(world: World) -> str:
    """B's own SMTP server as A's submission server: nobody signs in, the certificate is checked."""
    return toml_server(
        "submission",
        host="localhost",
        port=world.smtp_port,
        security="starttls",
        ca=world.authority.ca_file,
    )


def direct_routes(world: World) -> tuple[Route | None, Route | None]:
    ca = str(world.authority.ca_file)
    return (
        Route("localhost", world.smtp_port, "starttls", ca),
        Route("localhost", world.a_smtp_port, "starttls", ca),
    )


OUT_A = submission(A_ADDRESS)
IN_A = mailbox(A_ADDRESS, "imaps")
OUT_B = submission(B_ADDRESS)
DIRECT_B = both(OUT_B, lambda world: world.receiver("smtp", world.smtp_port, tls=True))

WAYS = [
    Way(
        "imaps-idle",
        B_ADDRESS,
        both(OUT_A, IN_A),
        both(OUT_B, mailbox(B_ADDRESS, "imaps", poll_seconds=60)),
        seconds=20,
    ),
    Way(
        "imap-starttls-polled",
        B_ADDRESS,
        both(OUT_A, IN_A),
        both(OUT_B, mailbox(B_ADDRESS, "imap", idle=False)),
    ),
    Way(
        "imap-exclusive",
        B_ADDRESS,
        both(OUT_A, IN_A),
        both(OUT_B, mailbox(B_ADDRESS, "imap", exclusive=True)),
    ),
    Way("pop3s", B_ADDRESS, both(OUT_A, IN_A), both(OUT_B, mailbox(B_ADDRESS, "pop3s"))),
    Way("pop3-stls", B_ADDRESS, both(OUT_A, IN_A), both(OUT_B, mailbox(B_ADDRESS, "pop3"))),
    Way(
        "submissions-both-pop3s",
        B_ADDRESS,
        both(submission(A_ADDRESS, "tls"), mailbox(A_ADDRESS, "pop3s")),
        both(submission(B_ADDRESS, "tls"), mailbox(B_ADDRESS, "pop3s")),
    ),
    Way(
        "lmtp-behind-postfix",
        BY_LMTP,
        both(OUT_A, IN_A),
        both(OUT_B, lambda world: world.receiver("lmtp", world.lmtp_port, tls=False)),
    ),
    Way("smtp-relayed-by-postfix", BY_SMTP, both(OUT_A, IN_A), DIRECT_B),
    Way("smtp-direct-as-submission", BY_SMTP, both(direct_submission, IN_A), DIRECT_B),
    Way(
        "smtp-direct-as-route",
        BY_SMTP,
        lambda world: world.receiver("smtp", world.a_smtp_port, tls=True),
        lambda world: world.receiver("smtp", world.smtp_port, tls=True),
        direct_routes,
    ),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    authority = TestAuthority(Path(tmp_path_factory.mktemp("tls")))
    smtp_port, lmtp_port = free_port(), free_port()
    routes = {
        BY_SMTP: f"smtp:[127.0.0.1]:{smtp_port}",
        BY_LMTP: f"lmtp:inet:127.0.0.1:{lmtp_port}",
    }
    with MailServer(
        posted.USERS, routes=routes, postfix_extra={"smtp_tls_security_level": "encrypt"}
    ) as server:
        certificate = authority.issue("localhost", "127.0.0.1")
        yield World(server, authority, certificate, smtp_port, lmtp_port, free_port())


@pytest.fixture(scope="module")
def orthanc() -> Iterator[Orthanc]:
    with Orthanc() as peer:
        yield peer


@pytest.fixture
def archive(orthanc: Orthanc) -> Orthanc:
    orthanc.clear()
    return orthanc


@pytest.fixture(scope="module")
def slices(shared: Path) -> list[Path]:
    return [
        *sorted((shared / "dicom/series-ct-ge").iterdir())[: SLICES // 2],
        *sorted((shared / "dicom/series-mr-brain").iterdir())[: SLICES // 2],
    ]


@pytest.fixture(scope="module")
def sent(slices: list[Path]) -> list[str]:
    """The hashes of the data sets that storescu puts on the wire (it writes them anew), by storescp +B."""
    with StoreScp() as witness:
        storescu(witness.port, slices)
        return sorted(dataset_sha256(path) for path in witness.received())


def delivered(institution: Institution) -> int:
    return sum(row.state == "delivered" for row in posted.deliveries(institution))


@pytest.fixture
def strangers(world: World) -> Iterator[list[Path]]:
    """Mails in B's mailbox that are none of ours; they must stay as they are."""
    world.server.dovecot.wipe(B_ADDRESS)
    world.server.dovecot.wipe(A_ADDRESS)
    plain, attached = EmailMessage(), EmailMessage()
    plain["Subject"] = "Befund"
    plain.set_content("Bitte um Rückruf.")
    attached["Subject"] = "DICOM-eMail"  # recognised by structure, never by its subject
    attached.set_content("Rechnung")
    attached.add_attachment(b"%PDF-1.4 x", maintype="application", subtype="pdf", filename="a.dcm.pdf")
    with smtplib.SMTP(world.server.host, world.server.smtp_port) as client:
        for number, mail in enumerate((plain, attached)):
            mail["From"], mail["To"] = "jemand@anderswo.example", B_ADDRESS
            mail["Message-ID"] = f"<{number}@anderswo.example>"
            client.send_message(mail)
    yield world.server.wait_for_mails(B_ADDRESS, 2)
    world.server.dovecot.wipe(B_ADDRESS)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_study_arrives_and_the_sender_knows(
    way: Way,
    world: World,
    archive: Orthanc,
    slices: list[Path],
    sent: list[str],
    strangers: list[Path],
    tmp_path: Path,
) -> None:
    server = world.server
    before = [path.read_bytes() for path in strangers]
    with StoreScp() as second:
        a = Institution(tmp_path / "a", "Klinik A", A_ADDRESS, way.a(world)).prepare()
        b_parts = (
            way.b(world)
            + posted.pacs(archive.dicom_port, archive.aet)
            + posted.pacs(second.port, second.aet, name="second")
        )
        b = Institution(tmp_path / "b", "Praxis B", way.b_address, b_parts).prepare()
        there, back = way.routes(world)
        a.add_partner(b, "PRAXIS_B", route=there)
        b.add_partner(a, "KLINIK_A", route=back)
        with a, b:
            storescu(a.dicom_port, slices, called="PRAXIS_B")
            done = await_all(a, SLICES, way.seconds)
            assert {row.state for row in done} == {"confirmed"}
            await_that(lambda: archive.count() == SLICES, "Orthanc has all", b)
            await_that(lambda: len(second.received()) == SLICES, "storescp has all", b)
            await_that(lambda: not server.mails(A_ADDRESS), "A's mailbox is empty", a)
            await_that(lambda: len(server.mails(B_ADDRESS)) == 2, "B's mailbox has only foreign mails", b)
            assert sorted(path.read_bytes() for path in server.mails(B_ADDRESS)) == sorted(before)
            for row in done:
                for truth in posted.truths(a, row.id):
                    assert truth["imported"] == truth["verified"] == "yes"
        assert a.stop() == b.stop() == 0
    at_a, at_b = posted.stored(a), posted.stored(b)
    assert sorted(row.dataset_sha256 for row in at_a) == sent
    assert sorted(row.file_sha256 for row in at_b) == sorted(row.file_sha256 for row in at_a)
    assert posted.alarms(a) == posted.alarms(b) == []
    assert posted.quarantined(a) == posted.quarantined(b) == []


def test_a_server_with_a_foreign_certificate_gets_nothing(
    world: World, slices: list[Path], tmp_path: Path
) -> None:
    """Submission, mailbox and direct route: the certificate of another CA stops each, with an alarm."""
    wrong = str(TestAuthority(tmp_path).ca_file)
    server = world.server
    server.dovecot.wipe(B_ADDRESS)
    sections = posted.submission(server, A_ADDRESS, ca=wrong) + posted.mailbox(server, A_ADDRESS, ca=wrong)
    a = Institution(tmp_path / "a", "Klinik A", A_ADDRESS, sections).prepare()
    b = Institution(tmp_path / "b", "Praxis B", B_ADDRESS, world.receiver("smtp", world.smtp_port, tls=True))
    b.prepare()
    c = Institution(tmp_path / "c", "Praxis C", BY_SMTP).prepare()
    a.add_partner(b, "BY_SERVER")
    a.add_partner(c, "DIRECT", route=Route("localhost", world.smtp_port, "starttls", wrong))
    with a, b:
        for partner in ("by_server", "direct"):
            posted.send(a, partner, slices[:1])
        subjects = {"mail server submission", "mail server partner direct", "mailbox inbox"}

        def alarmed() -> bool:
            found = {row.subject for row in posted.alarms(a) if row.code == TLS_FAILED.code}
            return subjects <= found

        await_that(alarmed, "three alarms", a)
        assert {row.state for row in a.transmissions()} == {"sending"}
        assert server.mails(B_ADDRESS) == []
        assert posted.arrivals(b) == []


@pytest.mark.parametrize("idle", [True, False])
def test_idle_brings_a_mail_long_before_the_next_poll(world: World, tmp_path: Path, idle: bool) -> None:
    server = world.server
    server.dovecot.wipe(B_ADDRESS)
    section = posted.mailbox(server, B_ADDRESS, poll_seconds=60, idle=idle)
    b = Institution(tmp_path / "b", "Praxis B", B_ADDRESS, section).prepare()

    def logins() -> int:
        return server.dovecot.log().count(f"Login: user=<{B_ADDRESS}")

    before = logins()
    with b:
        await_that(lambda: logins() > before, "B watches its mailbox", b)
        time.sleep(1.0)  # the first look at the mailbox is over
        with smtplib.SMTP(server.host, server.smtp_port) as client:
            client.sendmail("x@anderswo.example", [B_ADDRESS], b"Subject: x\r\n\r\nx\r\n")
        server.wait_for_mails(B_ADDRESS, 1)
        if idle:
            await_that(lambda: posted.arrivals(b), "the mail was fetched", b, timeout=10)
        else:
            time.sleep(2.0)
            assert posted.arrivals(b) == [], "a poll a minute would not see it yet"
