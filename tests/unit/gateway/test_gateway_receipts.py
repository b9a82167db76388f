"""Receipts: what a report may say about an object, and what it may not (DESIGN 1, 4 "Receipts")."""

import email
import email.policy
import io
import json
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import pytest

from radpost.errors import BOUNCED, NO_USABLE_KEY
from radpost.gateway.partners import RADPOST_PEER, Switches
from radpost.openpgp.values import Limits
from radpost.store import incoming_receipts, outgoing_mails
from radpost.store import partners as partner_statements
from radpost.testing.forgery import plain_receipt
from radpost.testing.house import House, Pair
from radpost.words import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TRUSTING = Switches(receipt_signed=True, receipts_per_object=True, trust_unsigned_receipts=True)


def truths(house: House) -> list[dict[str, Any]]:
    with house.site.database.read() as connection:
        return [
            json.loads(row.truths)
            for job in house.transmissions()
            for row in outgoing_mails.objects_of(connection, job.id)
        ]


def unsigned(house: House, disposition: str) -> bytes:
    (mail,) = house.mails()
    assert mail.message_id is not None
    return plain_receipt(
        sender="dicom@b.example",
        recipient="dicom@a.example",
        about=mail.message_id,
        disposition=f"automatic-action/MDN-sent-automatically; {disposition}",
    )


def test_a_signed_receipt_says_what_became_of_each_object(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair()
    (mail,) = pair.send(study(3))
    pair.b.take(mail)
    (receipt,) = pair.b.answer()
    pair.a.take(receipt)
    for told in truths(pair.a):
        assert {told[name] for name in ("fetched", "decrypted", "verified", "imported")} == {"yes"}
        assert told["opened"] == told["reported"] == "not reported by this partner"


@pytest.mark.parametrize("disposition", ["deleted", "deleted/error", "displayed/warning"])
def test_an_unsigned_report_never_overwrites_what_a_signed_one_said(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", disposition: str
) -> None:
    pair = make_pair(switches=TRUSTING)
    (mail,) = pair.send(study(1))
    pair.b.take(mail)
    (receipt,) = pair.b.answer()
    pair.a.take(receipt)
    said = truths(pair.a)
    assert said[0]["imported"] == "yes"
    pair.a.take(unsigned(pair.a, disposition))
    assert truths(pair.a) == said
    assert [job.state for job in pair.a.transmissions()] == ["confirmed"]


@pytest.mark.parametrize("disposition", ["displayed", "deleted"])
def test_an_unsigned_report_of_a_partner_who_signs_says_nothing(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", disposition: str
) -> None:
    pair = make_pair(switches=RADPOST_PEER)
    pair.send(study(1))
    pair.a.take(unsigned(pair.a, disposition))
    assert truths(pair.a) == [{}]
    assert pair.a.transmissions()[0].state not in {"confirmed", "refused"}


def test_a_late_failure_of_an_earlier_message_does_not_take_back_a_success(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=Switches())
    pair.send(study(1))
    failure = unsigned(pair.a, "deleted/error")
    pair.a.take(failure)
    pair.a.clock.now += 3600
    pair.a.seal()
    assert len(pair.a.submit()) == 1
    pair.a.take(unsigned(pair.a, "displayed"))
    pair.a.take(b"X-Again: 1\r\n" + failure)
    assert truths(pair.a)[0]["imported"] == "yes"
    assert [job.state for job in pair.a.transmissions()] == ["confirmed (unsigned)"]


def test_a_plain_report_is_believed_where_the_partner_sends_no_other(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=Switches())
    pair.send(study(1))
    pair.a.take(unsigned(pair.a, "displayed"))
    (told,) = truths(pair.a)
    assert (told["fetched"], told["imported"], told["decrypted"]) == (
        "yes",
        "yes",
        "not reported by this partner",
    )


def test_a_report_about_somebody_elses_mail_changes_nothing(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", tmp_path: "Path"
) -> None:
    pair = make_pair(switches=Switches())
    c = House(tmp_path / "c", "c", pair.b.key, clock=pair.a.clock)
    pair.a.knows(c, switches=Switches(), key=False)
    pair.send(study(1))
    pair.a.take(unsigned(pair.a, "displayed").replace(b"From: dicom@b.example", b"From: dicom@c.example"))
    assert truths(pair.a) == [{}]
    assert [job.state for job in pair.a.transmissions()] == ["waiting"]
    c.close()


def test_the_alarm_of_a_receipt_that_cannot_be_sealed_ends_with_it(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair()
    (mail,) = pair.send(study(1))
    row = pair.b.take(mail)
    with pair.b.site.database.write() as connection:
        partner_statements.drop_key(connection, pair.a.key.fingerprint)
    pair.b.site.keys.forget()
    assert pair.b.answer() == []
    assert [code for code, _ in pair.b.alarms()] == [NO_USABLE_KEY.code]
    pair.b.knows(pair.a)
    pair.b.clock.now += 61
    assert len(pair.b.answer()) == 1
    assert pair.b.arrival(row.id).state == "done"
    assert pair.b.alarms() == []


def test_invariant_4_a_receipt_is_owed_and_written_in_steps_that_can_each_be_repeated(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair()
    (mail,) = pair.send(study(1))
    row = pair.b.take(mail)
    pair.b.restart()
    pair.b.receipts.write_due()
    pair.b.restart()
    assert pair.b.receipts.write_due() == 0
    ((_, receipt),) = pair.b.submit()
    with pair.b.site.database.read() as connection:
        assert [item.state for item in incoming_receipts.receipts_of(connection, row.id)] == ["sent"]
    pair.a.take(receipt)
    assert [job.state for job in pair.a.transmissions()] == ["confirmed"]


def test_a_receipt_of_ours_that_comes_back_is_noted_and_alarms(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    """It is no ordinary letter either, that would stay in the mailbox, and it is answered by nothing."""
    pair = make_pair()
    (mail,) = pair.send(study(1))
    row = pair.b.take(mail)
    pair.b.answer()
    sent, _ = pair.b.posted[-1]
    bounce = (
        "From: MAILER-DAEMON@relay.example\r\nTo: dicom@b.example\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nno\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; relay.example\r\n\r\n"
        "Final-Recipient: rfc822; dicom@a.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {sent.message_id}\r\n\r\n--b--\r\n"
    )
    assert pair.b.take(bounce.encode(), envelope_from="").state == "done"
    with pair.b.site.database.read() as connection:
        assert [item.state for item in incoming_receipts.receipts_of(connection, row.id)] == ["failed"]
    assert [code for code, _ in pair.b.alarms()] == [BOUNCED.code]
    assert pair.b.answer() == []


# --- mechanism 2: asked for and answered inside the encryption (experimental) -------------------------------


def inside(house: House, mail: bytes) -> EmailMessage:
    """Return the entity that was sealed for a house, as a mail program shows it."""
    armor = mail[mail.index(b"-----BEGIN PGP MESSAGE-----") : mail.index(b"-----END PGP MESSAGE-----") + 27]
    ring = house.site.keys.ring()
    opened = ring.engine.open(io.BytesIO(armor), temp=house.site.spool.tmp, limits=Limits())
    assert opened.signature.verdict is Verdict.GOOD
    with opened.plaintext as plaintext:
        found = email.message_from_bytes(bytes(plaintext.view()[:]), policy=email.policy.SMTP)
    assert isinstance(found, EmailMessage)
    return found


@pytest.mark.parametrize("mechanism", ["2", "both"])
def test_a_receipt_inside_the_encryption(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", mechanism: Any
) -> None:
    pair = make_pair(switches=Switches(receipt_mechanism=mechanism))
    (mail,) = pair.send(study(1))
    assert (b"Disposition-Notification-To" in mail) == (mechanism == "both")
    asked = inside(pair.b, mail)
    pair.b.take(mail)
    (receipt,) = pair.b.answer()
    assert b"multipart/report" not in receipt
    assert b"X-TELEMEDICINE" not in receipt
    answer = inside(pair.a, receipt)
    assert answer["X-TELEMEDICINE-ORIGINAL-CONTENT-ID"] == asked["Content-ID"] == asked["Message-ID"]
    assert answer["X-TELEMEDICINE-REPORT"].endswith(";displayed")
    assert pair.b.answer() == [], "one receipt for a mail, however it was asked for"
    pair.a.take(receipt)
    assert [job.state for job in pair.a.transmissions()] == ["confirmed"]


def test_who_does_not_agree_on_it_answers_by_mechanism_1(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=Switches(receipt_mechanism="2"))
    pair.b.knows(pair.a, switches=Switches(), key=False)
    (mail,) = pair.send(study(1))
    pair.b.take(mail)
    (receipt,) = pair.b.answer()
    assert b"multipart/report" in receipt
    pair.a.take(receipt)
    assert [job.state for job in pair.a.transmissions()] == ["confirmed (unsigned)"]


@pytest.mark.parametrize(
    ("switches", "sealed", "listed"),
    [
        (Switches(), False, False),
        (Switches(receipt_signed=True), True, False),
        (Switches(receipt_signed=True, receipts_per_object=True), True, True),
    ],
    ids=["plain", "receipt_signed", "receipts_per_object"],
)
def test_what_the_switches_change_in_a_receipt(
    make_pair: "Callable[..., Pair]",
    study: "Callable[..., list[Path]]",
    switches: Switches,
    *,
    sealed: bool,
    listed: bool,
) -> None:
    pair = make_pair(switches=switches)
    (mail,) = pair.send(study(1))
    pair.b.take(mail)
    (receipt,) = pair.b.answer()
    assert (b"multipart/encrypted" in receipt) == sealed
    assert (b"Disposition: automatic-action" in receipt) == (not sealed)
    if sealed:
        types = [part.get_content_type() for part in inside(pair.a, receipt).walk()]
        assert "message/disposition-notification" in types
        assert ("application/vnd.radpost.receipt+json" in types) == listed
