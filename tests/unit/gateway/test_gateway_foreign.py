"""Mails that are not ours and came directly: nothing is lost, and nothing fills the disk (DESIGN 12)."""

from typing import TYPE_CHECKING

import pytest

from radpost.errors import MAIL_TOO_LARGE, NOT_OURS, QUARANTINE_FULL, RadpostError
from radpost.gateway import foreign
from radpost.gateway.config import Receiver
from radpost.gateway.operating import drop, quarantine, raw, replay
from radpost.gateway.overview import overview
from radpost.gateway.partners import Settings, Switches, encode
from radpost.gateway.receiving import POSTMASTER_BYTES, ReceptionHandler, server_for
from radpost.store import partners
from radpost.testing.house import House, Pair
from radpost.transport.receiver import Envelope

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAY = 86_400.0
HEAD = b"From: dicom@a.example\r\nTo: dicom@b.example\r\nMIME-Version: 1.0\r\nMessage-ID: <1@a.example>\r\n"
LETTER = HEAD + b"Disposition-Notification-To: dicom@a.example\r\n\r\nPlease call back.\r\n"
ZIP = (
    HEAD
    + b"Content-Type: application/zip; name=study.zip\r\nContent-Transfer-Encoding: base64\r\n"
    + b"Content-Disposition: attachment; filename=study.zip\r\n\r\nUEsDBAAAAAAA\r\n"
)
MDN = (
    HEAD
    + b"Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n\r\n"
    + b"--b\r\n\r\nread\r\n--b\r\nContent-Type: message/disposition-notification\r\n\r\n"
    + b"Final-Recipient: rfc822; dicom@a.example\r\nOriginal-Message-ID: <none@b.example>\r\n"
    + b"Disposition: automatic-action/MDN-sent-automatically; displayed\r\n\r\n--b--\r\n"
)
SMALL = "[limits]\ndisk_reserve_bytes = 1_000_000\nforeign_bytes = 100\n"


def days_pass(house: House, days: float) -> None:
    """Let time pass, with the timekeeper's steps in it."""
    house.timekeeper.step()
    house.clock.now += days * DAY
    for _ in range(3):
        house.clock.now += 120
        house.timekeeper.step()


def received(house: House, data: bytes) -> None:
    """Receive a mail as the mail server does."""
    handler = ReceptionHandler(house.site)
    envelope = Envelope("1", "ESMTP", "x", "127.0.0.1", "", "x@else.example", ("dicom@b.example",), None)
    sink = handler.begin(envelope)
    sink.write(data)
    handler.commit(sink)


@pytest.mark.parametrize("source", ["smtp", "lmtp", "joined"])
@pytest.mark.parametrize("mail", [LETTER, LETTER.replace(b"dicom@a", b"who@else"), ZIP, MDN])
def test_invariant_5_a_mail_that_is_not_ours_and_came_directly_is_kept_and_listed(
    make_pair: "Callable[..., Pair]", tmp_path: "Path", source: str, mail: bytes
) -> None:
    b = make_pair().b
    row = b.take(mail, source=source)
    days_pass(b, 1)
    (entry,) = quarantine(b.site)
    assert (row.state, entry.code) == ("quarantined", NOT_OURS.code)
    raw(b.site, entry.id, tmp_path / "raw.eml")
    assert (tmp_path / "raw.eml").read_bytes() == mail
    assert (b.answer(), b.alarms()) == ([], [])
    assert overview(b.site).quarantine_foreign == 1


def test_a_foreign_mail_is_replayed_or_dropped(make_pair: "Callable[..., Pair]") -> None:
    b = make_pair().b
    row = b.take(LETTER)
    replay(b.site, quarantine(b.site)[0].id)
    b.process()
    (entry,) = quarantine(b.site)
    drop(b.site, entry.id)
    days_pass(b, 0)
    assert quarantine(b.site) == []
    assert not b.site.spool.path(row.sha256).exists()


def test_a_receipt_from_an_unknown_address_counts_when_it_is_replayed(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=Switches())
    pair.send(study(1))
    (mail,) = pair.a.mails()
    stray = MDN.replace(b"<none@b.example>", (mail.message_id or "").encode())
    assert pair.a.take(stray.replace(b"dicom@a", b"second@b")).state == "quarantined"
    moved = partners.PartnerRow("b", "AE_B", "second@b.example", encode(Settings(switches=Switches())), 0.0)
    with pair.a.site.database.write() as connection:
        partners.put(connection, moved)
    pair.a.site.partners.forget()
    replay(pair.a.site, quarantine(pair.a.site)[0].id)
    pair.a.process()
    assert quarantine(pair.a.site) == []
    assert [row.state for row in pair.a.mails()] == ["confirmed (unsigned)"]


def test_invariant_8_foreign_mails_have_a_share_and_then_stay_with_their_sender(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(b_sections=SMALL)
    b = pair.b
    received(b, LETTER)
    b.process()
    assert foreign.full(b.site)
    with pytest.raises(RadpostError) as caught:
        received(b, LETTER)
    assert caught.value.reason is QUARANTINE_FULL
    assert b.alarms() == [(QUARANTINE_FULL.code, foreign.SUBJECT)]
    (mail,) = pair.send(study(1))
    received(b, mail)  # data go on coming in
    assert b.process() == 1
    drop(b.site, quarantine(b.site)[0].id)
    days_pass(b, 0)
    assert b.alarms() == []


def test_after_its_days_a_foreign_mail_is_removed_and_counted(make_pair: "Callable[..., Pair]") -> None:
    b = make_pair().b
    row = b.take(LETTER)
    days_pass(b, 89)
    assert b.site.spool.path(row.sha256).exists()
    days_pass(b, 2)
    assert quarantine(b.site) == []
    assert overview(b.site).foreign_removed == 1
    assert (b.arrival(row.id).state, b.site.spool.path(row.sha256).exists()) == ("dropped", False)


def to_postmaster(house: House, data: bytes, *recipients: str) -> None:
    handler = ReceptionHandler(house.site)
    sink = handler.begin(Envelope("1", "ESMTP", "x", "127.0.0.1", "", "x@else.example", recipients, None))
    try:
        sink.write(data)
        handler.commit(sink)
    except RadpostError:
        handler.abort(sink)
        raise


@pytest.mark.parametrize("recipient", ["postmaster", "Postmaster", "POSTMASTER@b.example"])
@pytest.mark.parametrize("mail", [LETTER, MDN, b"no mail at all"])
def test_a_mail_for_the_postmaster_waits_for_a_person_and_is_never_taken_for_data(
    make_pair: "Callable[..., Pair]", recipient: str, mail: bytes
) -> None:
    b = make_pair().b
    assert server_for(b.site, Receiver(port=0)).config.is_ours(recipient.lower())
    to_postmaster(b, mail, recipient)
    b.process()
    (entry,) = quarantine(b.site)
    assert (entry.code, entry.detail) == (NOT_OURS.code, "for the postmaster")
    assert b.answer() == []
    assert b.alarms() == []
    replay(b.site, entry.id)
    b.process()
    (entry,) = quarantine(b.site)
    assert entry.detail == "for the postmaster"


def test_a_sealed_mail_for_the_postmaster_alone_is_not_imported(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair()
    (mail,) = pair.send(study(1))
    to_postmaster(pair.b, mail, "postmaster")
    pair.b.process()
    (entry,) = quarantine(pair.b.site)
    assert entry.detail == "for the postmaster"
    to_postmaster(pair.b, mail, "dicom@b.example", "postmaster")
    pair.b.process()
    assert len(quarantine(pair.b.site)) == 1, "with our own address it is data like any"
    assert pair.b.arrival(2).state in {"done", "receipt owed"}


def test_mails_for_the_postmaster_are_small_and_have_a_bounded_share(
    make_pair: "Callable[..., Pair]",
) -> None:
    b = make_pair(b_sections=SMALL).b
    with pytest.raises(RadpostError) as caught:
        to_postmaster(b, bytes(POSTMASTER_BYTES + 1), "postmaster")
    assert caught.value.reason is MAIL_TOO_LARGE
    to_postmaster(b, LETTER, "postmaster")
    b.process()
    with pytest.raises(RadpostError) as caught:
        to_postmaster(b, b"no mail at all", "postmaster")
    assert caught.value.reason is QUARANTINE_FULL
    is_ours = server_for(b.site, Receiver(port=0)).config.is_ours
    assert not is_ours("postmaster@else.example")
    assert not is_ours("someone@b.example")
