"""radpost quarantine: mails that could not be processed, seen from outside, replayed, dropped."""

from pathlib import Path

import pytest

from radpost.gateway.arrivals import add_arrival
from radpost.gateway.outbox import Outbox
from radpost.gateway.processing import Processor
from radpost.gateway.receipting import Receipts
from radpost.gateway.site import Site
from radpost.store import incoming_mails, incoming_receipts, quarantined_mails
from radpost.testing.calling import Run

PATIENT = "Mustermann"
MAIL = (
    "From: radpost@b.example\r\n"
    "To: radpost@a.example\r\n"
    f"Subject: Befund {PATIENT}\r\n"
    "Date: Mon, 23 Nov 2026 08:00:00 +0000\r\n"
    "Message-ID: <1@b.example>\r\n"
    "MIME-Version: 1.0\r\n"
    'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b;\r\n'
    f' name="{PATIENT}.pgp"\r\n'
    "\r\n"
    "--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
    "--b\r\nContent-Type: application/octet-stream\r\n\r\n"
    "-----BEGIN PGP MESSAGE-----\r\n\r\nhF4D\r\n-----END PGP MESSAGE-----\r\n"
    "--b--\r\n"
)


def process(site: Site) -> None:
    processor = Processor(site, Receipts(site, Outbox(site)))
    site.partners.forget()
    for row in processor.next(10, frozenset()):
        processor.work(row)


@pytest.fixture
def entry(site: Site) -> int:
    """A mail of a sender whom we do not know, in quarantine: the entry's number."""
    with site.spool.writer() as writer:
        writer.write(MAIL.encode())
        stored = writer.commit()
    with site.database.write() as connection:
        add_arrival(
            site,
            connection,
            stored,
            source="smtp",
            envelope_from="x@b.example",
            recipient="",
            now=site.clock(),
        )
    process(site)
    with site.database.read() as connection:
        (row,) = quarantined_mails.quarantined(connection)
    return row.id


def test_the_list_names_reason_and_remedy(run: Run, entry: int) -> None:
    said = run("quarantine", "list")
    assert "109" in said.out
    assert "add the partner" in said.out.replace("\n", " ")
    (row,) = run("quarantine", "list", "--json").json
    assert (row["id"], row["reason"], row["from_address"]) == (entry, "unknown-sender", "radpost@b.example")
    status = run("status", "--json").json
    assert status["quarantine_entries"] == 1
    assert any("quarantine list" in hint for hint in status["advice"])


def test_an_entry_is_shown_without_subject_and_body(run: Run, entry: int) -> None:
    said = run("quarantine", "show", entry)
    assert said.code == 0
    assert "Message-ID: <1@b.example>" in said.out
    assert "Content-Type: multipart/encrypted" in said.out
    assert "radpost show mail:" in said.out
    assert PATIENT not in said.out
    assert "hF4D" not in said.out
    view = run("quarantine", "show", entry, "--json")
    assert PATIENT not in view.out
    assert Path(view.json["file"]).read_bytes() == MAIL.encode()


def test_a_person_who_drops_a_mail_reads_whether_its_sender_was_told(
    run: Run, entry: int, site: Site
) -> None:
    """Strangers get no receipt, so that to drop their mail is to lose it without a word."""
    assert run("quarantine", "show", entry, "--json").json["receipts"] == []
    assert "the sender was not told" in run("quarantine", "show", entry).out
    run("partner", "add", "c", "--ae-title", "C", "--address", "x@c.example")
    with site.database.write() as connection:
        (row,) = quarantined_mails.quarantined(connection)
        incoming_receipts.add_receipt(
            connection,
            {
                "arrival_id": row.arrival_id,
                "partner": "c",
                "recipient": "radpost@b.example",
                "original_message_id": "<1@b.example>",
                "disposition": "automatic-action/MDN-sent-automatically;deleted/error",
                "code": None,
                "state": "sent",
                "due_at": 0.0,
                "created_at": 0.0,
            },
        )
    assert "deleted/error: sent" in run("quarantine", "show", entry).out
    assert "deleted/error: sent" in run("quarantine", "drop", entry, "--yes").out


def test_the_raw_mail_is_copied_out_privately_and_over_nothing(run: Run, entry: int, tmp_path: Path) -> None:
    target = tmp_path / "mail.eml"
    assert run("quarantine", "show", entry, "--raw", target).code == 0
    assert target.read_bytes() == MAIL.encode()
    assert target.stat().st_mode & 0o077 == 0
    assert run("quarantine", "show", entry, "--raw", target).code == 1


def test_a_mail_is_processed_again_after_the_cause_is_mended(
    run: Run, entry: int, partner: str, site: Site
) -> None:
    assert run("quarantine", "replay", entry).code == 0
    process(site)
    (row,) = run("quarantine", "list", "--json").json
    assert (row["partner"], row["code"] != 109) == (partner, True)  # the next reason: the data is damaged
    shown = run("show", f"mail:{row['arrival_id']}", "--json").json
    assert (shown["direction"], shown["partner"], shown["state"]) == ("in", partner, "quarantined")
    assert shown["reasons"][0]["code"] == row["code"]
    assert run("show", "<1@b.example>", "--json").json["id"] == shown["id"]


def test_replay_of_all(run: Run, entry: int, site: Site) -> None:
    assert run("quarantine", "replay").code == 2
    assert run("quarantine", "replay", entry, "--all").code == 2
    said = run("quarantine", "replay", "--all")
    assert said.code == 0
    assert "radpost run" in said.out
    process(site)
    assert len(run("quarantine", "list", "--json").json) == 1


def test_drop_asks_first_and_then_forgets(run: Run, entry: int, site: Site) -> None:
    said = run("quarantine", "drop", entry)
    assert said.code == 1  # nobody can be asked here
    assert len(run("quarantine", "list", "--json").json) == 1
    assert run("quarantine", "drop", entry, "--yes").code == 0
    assert run("quarantine", "list", "--json").json == []
    assert run("quarantine", "show", entry).code == 1
    with site.database.read() as connection:
        (row,) = quarantined_mails.quarantined(connection, state="dropped")
        arrival = incoming_mails.get_arrival(connection, row.arrival_id or 0)
    assert arrival is not None
    assert arrival.state == "dropped"


@pytest.mark.parametrize("command", ["show", "replay", "drop"])
def test_an_entry_that_does_not_exist(run: Run, command: str) -> None:
    said = run("quarantine", command, 77, *(["--yes"] if command == "drop" else []))
    assert said.code == 1
    assert "quarantine list" in said.err
