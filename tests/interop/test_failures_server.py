"""Failures of a real mail server between two gateways: full mailboxes, a server that goes away."""

import smtplib
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from radpost.errors import MAILBOX_FULL
from radpost.gateway.partners import Switches
from radpost.store import schema
from radpost.testing.exchange import A_ADDRESS, B_ADDRESS, Exchange
from radpost.testing.insight import alarm_codes, rows, until
from radpost.testing.institution import wait_for
from radpost.testing.peers.pair import MailServer
from radpost.testing.posted import forgotten_files
from radpost.testing.wiretap import Wiretap

pytestmark = [pytest.mark.peer("gnupg", "postfix", "dovecot"), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    with MailServer(users={A_ADDRESS: "geheim-a", B_ADDRESS: "geheim-b"}, quota="1M") as mail_server:
        yield mail_server


def fill(server: MailServer) -> None:
    """Leave mails of other people in B's mailbox until hardly anything fits."""
    for number in range(4):
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "x@elsewhere.example", B_ADDRESS, f"lunch {number}"
        mail.set_content(("soup and salad " * 5 + "\n") * 2800)
        with smtplib.SMTP("localhost", server.smtp_port) as client:
            client.send_message(mail)
    server.wait_delivered()


def wait_for_each_once(world: Exchange, files: list[Path]) -> None:
    """Wait until all is here and confirmed; B has each object once, and the one that came before them."""
    until(lambda: world.arrived(files), "all objects", world.a, world.b)
    until(
        lambda: {row.state for row in world.a.transmissions()} == {"confirmed"},
        "all confirmed",
        world.a,
        world.b,
    )
    stored = [row["dataset_sha256"] for row in rows(world.b, schema.object_)]
    assert len(stored) == len(set(stored)) == len(files) + 1


def test_full_mailbox_bounces_alarms_and_is_tried_again(tmp_path: Path, server: MailServer) -> None:
    """The sender learns it from the bounce; when there is room, the mail goes under a new Message-ID."""
    with Exchange(tmp_path, switches=Switches(), server=server) as world:
        world.passes(1)
        fill(server)
        files = world.study(1, side=600)
        world.send(files)
        wait_for(lambda: MAILBOX_FULL.code in alarm_codes(world.a), "A is told that the mailbox is full", 40)
        (mail,) = rows(world.a, schema.mail, transmission_id=world.a.transmissions()[-1].id)
        assert (mail["state"], mail["code"]) == ("planned", MAILBOX_FULL.code)
        assert not world.arrived(files)
        assert {row["kind"] for row in rows(world.a, schema.arrival)} >= {"bounce"}
        server.dovecot.wipe(B_ADDRESS)
        until(lambda: world.arrived(files), "the mail when there is room", world.a)
        until(lambda: world.last() == "confirmed (unsigned)", "confirmed", world.a, world.b)
        assert MAILBOX_FULL.code not in alarm_codes(world.a)
        assert len(rows(world.a, schema.message, mail_id=mail["id"])) >= 2, "another Message-ID"


def test_a_server_that_is_down_for_a_while_loses_and_doubles_nothing(
    tmp_path: Path, server: MailServer
) -> None:
    """Postfix and Dovecot stop and start: what lay in the mailbox is fetched, what waited is submitted."""
    server.dovecot.wipe(B_ADDRESS)
    with Exchange(tmp_path, server=server) as world:
        world.passes(1)
        assert world.b.stop() == 0
        in_mailbox, waiting = world.study(2), world.study(2)
        world.send(in_mailbox)
        server.wait_for_mails(B_ADDRESS, 1)
        wait_for(
            lambda: {row["state"] for row in rows(world.a, schema.submission)} == {"accepted"}, "submitted"
        )
        server.go_down()
        world.b.start()
        world.send(waiting)
        until(lambda: "server failed" in world.a.log(), "A notices that it can't submit", world.a)
        for institution in (world.a, world.b):
            wait_for(lambda one=institution: "mailbox failed" in one.log(), "IMAP is noticed", 20)  # type: ignore[misc]
        left = [row for row in rows(world.a, schema.submission) if row["state"] == "ready"]
        assert left
        assert {row["attempts"] for row in left} <= {0, 1}, "only the first meets a connection that was open"
        assert not world.arrived(in_mailbox)
        server.come_back()
        wait_for_each_once(world, [*in_mailbox, *waiting])
        assert not forgotten_files(world.b)


def test_connections_that_break_all_the_time_lose_and_double_nothing(
    tmp_path: Path, server: MailServer
) -> None:
    """Submission and IMAP of both sides are cut in the middle of what they say, again and again."""
    server.dovecot.wipe(B_ADDRESS)
    with Wiretap(server.submission_port) as submission, Wiretap(server.imaps_port) as imap:
        ports = {"submission": submission.port, "imap": imap.port}
        with Exchange(tmp_path, server=server, server_ports=ports) as world:
            world.passes(1)
            files = world.study(6, side=300)
            cuts = 0
            for number, path in enumerate(files):
                world.send([path])
                for _ in range(3):
                    time.sleep(0.07 + 0.04 * number)
                    cuts += submission.cut() + imap.cut()
            assert cuts > 10
            wait_for_each_once(world, files)
            for institution in (world.a, world.b):
                assert "failed inside" not in institution.log()
