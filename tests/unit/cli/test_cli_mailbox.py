"""radpost mailbox: what is not ours stays in its mailbox and is listed (DESIGN 12 "Mailboxes")."""

from pathlib import Path

from radpost.gateway.config import Mailbox
from radpost.gateway.keeping import Keeper
from radpost.gateway.outbox import Outbox
from radpost.gateway.processing import Processor
from radpost.gateway.receipting import Receipts
from radpost.gateway.site import Site
from radpost.testing.calling import Run

LETTER = (
    b"From: Erika <erika@else.example>\r\nTo: radpost@a.example\r\nSubject: private matter\r\n"
    b"Date: Mon, 23 Nov 2026 08:00:00 +0000\r\nMessage-ID: <[/x]%d@else.example>\r\n\r\nGood morning\r\n"
)


def seen(site: Site, validity: str = "1") -> Keeper:
    """Fetch two letters from the mailbox, as the gateway does."""
    keeper = Keeper(site, Mailbox(host="localhost", port=143, security="none", user="u"))
    for number in (1, 2):
        with site.spool.writer() as writer:
            writer.write(LETTER % number)
            stored = writer.commit()
        keeper.keep(stored, validity, str(number))
    processor = Processor(site, Receipts(site, Outbox(site)))
    for row in processor.next(10, frozenset()):
        processor.work(row)
    return keeper


def test_mails_that_stay_and_mails_that_were_moved_are_listed(run: Run, site: Site, home: Path) -> None:
    path = home / "radpost.toml"
    text = path.read_text("utf-8").replace("[[mailbox]]", '[[mailbox]]\nforeign_folder = "Other"', 1)
    path.write_text(text, "utf-8")
    assert "no mail stays" in run("mailbox", "list").out
    seen(site).mark("1", ["2"], "moved")
    first, second = run("mailbox", "list", "--json").json
    assert (first["from_address"], first["sent_at"]) == ("erika@else.example", 1795420800.0)
    assert (first["message_id"], first["folder"], first["moved"]) == ("<[/x]1@else.example>", "INBOX", False)
    assert (second["folder"], second["moved"]) == ("Other", True)
    said = run("mailbox", "list")
    assert said.code == 0
    assert "<[/x]1@else.example>" in said.out
    assert "private" not in said.out
    assert run("status", "--json").json["foreign"] == {"inbox": 1}


def test_after_a_change_of_uidvalidity_a_mail_is_listed_once(run: Run, site: Site) -> None:
    seen(site)
    seen(site, "2")
    assert len(run("mailbox", "list", "--json").json) == 2
