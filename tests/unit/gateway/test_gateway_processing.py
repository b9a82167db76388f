"""What becomes of an arriving mail, whatever it holds (DESIGN 3: 5, 7, 9; 12 "Mailboxes")."""

from typing import TYPE_CHECKING, Any

import pytest

from radpost.errors import NO_SECRET_KEY, SIGNATURE_BAD, UNENCRYPTED, UNKNOWN_SENDER
from radpost.gateway import operating, processing
from radpost.gateway.config import Mailbox
from radpost.gateway.keeping import Keeper
from radpost.gateway.operating import quarantine, replay
from radpost.gateway.partners import Switches
from radpost.store import incoming_deliveries, incoming_mails, incoming_receipts, quarantined_mails
from radpost.testing import forgery
from radpost.testing.exchange import known_key
from radpost.testing.house import House, Pair
from radpost.testing.institution import toml_server
from radpost.words import SignaturePolicy, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from radpost.agit.opening import Content
    from radpost.store.incoming_mails import ArrivalRow

PACS = toml_server("[[destination]]", name="pacs", kind="dicom", ae_title="PACS", host="127.0.0.1", port=104)
PERSON = b"From: someone@else.example\r\nTo: dicom@b.example\r\nMIME-Version: 1.0\r\n"
LETTER = PERSON + b"Content-Type: text/plain\r\n\r\nGood morning\r\n"
BROKEN = PERSON + b"Content-Type: message/partial; id=x; number=none\r\n\r\nwhat\r\n"


def fetched(house: House, data: bytes) -> tuple["ArrivalRow", str]:
    """Process a mail that was fetched from a mailbox; return it and the state of its entry there."""
    keeper = Keeper(house.site, Mailbox(host="localhost", port=143, security="none", user="u"))
    with house.site.spool.writer() as writer:
        writer.write(data)
        stored = writer.commit()
    uid = str(len(keeper.known("1")) + 1)
    keeper.keep(stored, "1", uid)
    house.process()
    entry = keeper.known("1")[uid]
    assert entry.arrival_id is not None
    return house.arrival(entry.arrival_id), entry.state


def test_an_ordinary_letter_stays_in_its_mailbox(make_pair: "Callable[..., Pair]") -> None:
    row, entry = fetched(make_pair().b, LETTER)
    assert (row.kind, row.state, entry) == ("foreign", "ignored", "foreign")


def test_a_mail_of_a_partner_may_be_deleted_once_it_is_here(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair()
    (mail,) = pair.send(study(1))
    row, entry = fetched(pair.b, mail)
    assert (row.kind, row.state, entry) == ("sealed", "receipt owed", "ours")


def test_a_broken_mail_of_a_stranger_is_not_ours_to_delete(make_pair: "Callable[..., Pair]") -> None:
    b = make_pair().b
    row, entry = fetched(b, BROKEN)
    assert (row.state, entry) == ("ignored", "foreign")
    assert quarantine(b.site) == []
    assert b.alarms() == []


def test_a_broken_mail_of_a_partner_is_quarantined(make_pair: "Callable[..., Pair]") -> None:
    b = make_pair().b
    row, entry = fetched(b, BROKEN.replace(b"someone@else", b"dicom@a"))
    assert (row.state, entry) == ("quarantined", "ours")


def test_a_broken_mail_by_smtp_is_quarantined_whoever_sent_it(make_pair: "Callable[..., Pair]") -> None:
    b = make_pair().b
    assert b.take(BROKEN, envelope_from="someone@else.example").state == "quarantined"


def test_sealed_mail_of_a_stranger_is_kept_for_a_replay_and_left_where_it_was(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", tmp_path: "Path"
) -> None:
    pair = make_pair()
    (mail,) = pair.send(study(1))
    plain = mail.replace(b"X-TELEMEDICINE-SET", b"X-SOMETHING-ELSE")
    c = House(tmp_path / "c", "b", pair.b.key, clock=pair.a.clock)
    row, entry = fetched(c, plain)
    assert (row.state, row.code, entry) == ("quarantined", UNKNOWN_SENDER.code, "foreign")
    c.knows(pair.a)
    replay(c.site, quarantine(c.site)[0].id)
    c.process()
    assert c.arrival(row.id).state in {"receipt owed", "quarantined"}
    c.close()


def test_the_alarm_of_a_stranger_ends_when_he_is_a_partner_and_the_mail_is_replayed(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", tmp_path: "Path"
) -> None:
    pair = make_pair()
    (mail,) = pair.send(study(1))
    c = House(tmp_path / "c", "b", pair.b.key, clock=pair.a.clock)
    row = c.take(mail)
    assert [code for code, _ in c.alarms()] == [UNKNOWN_SENDER.code]
    c.knows(pair.a)
    replay(c.site, quarantine(c.site)[0].id)
    c.process()
    assert c.arrival(row.id).state == "receipt owed"
    assert c.alarms() == []
    c.close()


def test_invariant_4_every_copy_gets_a_receipt_and_the_objects_are_there_once(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair(switches=Switches())
    (mail,) = pair.send(study(1))
    first, second = pair.b.take(mail), pair.b.take(b"Received: again\r\n" + mail)
    receipts = pair.b.answer()
    assert len(receipts) == 2
    assert all(first.message_id.encode() in receipt for receipt in receipts)
    with pair.b.site.database.read() as connection:
        states = [incoming_mails.objects_of(connection, row.id)[0].state for row in (first, second)]
    assert states == ["imported", "present"]


@pytest.mark.parametrize(
    ("line", "envelope_from"),
    [(b"", ""), (b"Auto-Submitted: auto-replied\r\n", None), (b"Return-Path: <>\r\n", None)],
)
def test_invariant_9_automatic_mail_gets_no_receipt(
    make_pair: "Callable[..., Pair]",
    study: "Callable[..., list[Path]]",
    line: bytes,
    envelope_from: str | None,
) -> None:
    """RFC 3834 5, RFC 5321 4.5.5."""
    pair = make_pair()
    (mail,) = pair.send(study(1))
    assert pair.b.take(line + mail, envelope_from=envelope_from).state == "done"
    damaged = pair.b.take(line + mail[:-600] + b"\r\n", envelope_from=envelope_from)
    assert damaged.state == "quarantined"
    assert pair.b.answer() == []


def test_invariant_9_a_receipt_goes_to_the_address_of_the_partner_only(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address inside the seal counts, also against a good one outside."""
    pair = make_pair()
    (mail,) = pair.send(study(1))
    honest = processing.open_mail  # type: ignore[attr-defined]  # imported there

    def elsewhere(*arguments: Any, **options: Any) -> "Content":
        content = honest(*arguments, **options)
        content.receipt_to = "victim@elsewhere.example"
        return content

    monkeypatch.setattr(processing, "open_mail", elsewhere)
    assert pair.b.take(mail).state == "done"
    assert pair.b.answer() == []


def test_clear_mail_needs_the_switch(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    (path,) = study(1)
    head = (
        b"From: dicom@a.example\r\nTo: dicom@b.example\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: application/dicom\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    from base64 import encodebytes  # noqa: PLC0415  only here

    mail = head + encodebytes(path.read_bytes()).replace(b"\n", b"\r\n")
    b = make_pair(policy=SignaturePolicy.IGNORE).b
    assert b.take(mail).code == UNENCRYPTED.code
    b.knows(
        House(b.folder.parent / "again", "a", known_key("a", "dicom@a.example")),
        policy=SignaturePolicy.IGNORE,
        switches=Switches(clear=True),
    )
    assert b.take(b"X-Again: 1\r\n" + mail).state == "done"


def test_invariant_7_a_receipt_with_a_bad_signature_confirms_nothing(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not pass for one without a signature either, which this partner is trusted with."""
    switches = Switches(receipt_signed=True, trust_unsigned_receipts=True)
    pair = make_pair(switches=switches)
    (mail,) = pair.send(study(1))
    pair.b.take(mail)
    (receipt,) = pair.b.answer()
    honest = processing.open_mail  # type: ignore[attr-defined]  # imported there

    def tampered(*arguments: Any, **options: Any) -> "Content":
        from dataclasses import replace  # noqa: PLC0415

        content = honest(*arguments, **options)
        content.signature = replace(content.signature, verdict=Verdict.BAD)
        return content

    monkeypatch.setattr(processing, "open_mail", tampered)
    row = pair.a.take(receipt)
    assert (row.state, row.code) == ("quarantined", SIGNATURE_BAD.code)
    assert [job.state for job in pair.a.transmissions()] == ["waiting"]


def test_invariant_7_a_receipt_signed_by_another_partner_confirms_nothing(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", tmp_path: "Path"
) -> None:
    pair = make_pair(switches=Switches(receipt_signed=True, trust_unsigned_receipts=True))
    c = House(tmp_path / "c", "c", known_key("c", "dicom@c.example"), clock=pair.a.clock)
    pair.a.knows(c)
    (mail,) = pair.send(study(1))
    evil = House(tmp_path / "evil", "b", known_key("c", "dicom@c.example"), clock=pair.a.clock)
    evil.knows(pair.a, switches=Switches(receipt_signed=True))
    now = evil.site.clock()
    assert now
    number = evil.receive(mail)
    with evil.site.database.write() as connection:
        incoming_mails.update_arrival(
            connection,
            number,
            partner="a",
            from_address="dicom@a.example",
            message_id=pair.a.mails()[0].message_id,
            receipt_to="dicom@a.example",
            state="done",
            due_at=None,
        )
        incoming_receipts.add_receipt(
            connection,
            {
                "arrival_id": number,
                "partner": "a",
                "recipient": "dicom@a.example",
                "original_message_id": pair.a.mails()[0].message_id,
                "disposition": "automatic-action/MDN-sent-automatically;displayed",
                "code": None,
                "state": "owed",
                "due_at": now,
                "created_at": now,
            },
        )
    (receipt,) = evil.answer()
    row = pair.a.take(receipt)
    assert row.state == "quarantined"
    assert [job.state for job in pair.a.transmissions()] == ["waiting"]
    for house in (c, evil):
        house.close()


def attached(name: str, armored: bytes) -> bytes:
    head = f'Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="{name}"\r\n'
    return b"--xx\r\n" + head.encode() + b"\r\n" + armored + b"\r\n"


@pytest.mark.parametrize("broken_first", [True, False])
def test_invariant_6_one_sealed_part_that_cannot_be_opened_withholds_no_other(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]", *, broken_first: bool
) -> None:
    b = make_pair(b_sections=PACS).b
    ours, theirs, another = (known_key(one, f"dicom@{one}.example") for one in ("b", "a", "c"))
    good, bad = (path.read_bytes() for path in study(2))
    parts = [
        attached("1.dcm.pgp", forgery.encrypt(good, to=ours, signer=theirs)),
        attached("2.dcm.pgp", forgery.encrypt(bad, to=another, signer=theirs)),
    ]
    mail = (
        b"From: dicom@a.example\r\nTo: dicom@b.example\r\nMIME-Version: 1.0\r\n"
        b"Message-ID: <00112233445566778899aabbccddeeff@a.example>\r\n"
        b"Disposition-Notification-To: dicom@a.example\r\n"
        b"X-TELEMEDICINE-SETID: 2.25.77\r\nX-TELEMEDICINE-SETPART: 1\r\nX-TELEMEDICINE-SETTOTAL: 1\r\n"
        b'Content-Type: multipart/mixed; boundary="xx"\r\n\r\n'
        + b"".join(reversed(parts) if broken_first else parts)
        + b"--xx--\r\n"
    )
    row = b.take(mail)
    with b.site.database.read() as connection:
        (receipt,) = incoming_receipts.receipts_of(connection, row.id)
        (waiting,) = quarantined_mails.quarantined(connection)
        assert len(incoming_mails.reported_objects(connection, row.id)) == 1
        assert len(incoming_deliveries.due_deliveries(connection, "pacs", b.clock.now, 9)) == 1
        assert b.site.spool.path(waiting.sha256).read_bytes() == mail
    assert receipt.disposition.endswith("displayed/warning")
    assert (waiting.arrival_id, waiting.code) == (row.id, NO_SECRET_KEY.code)
    assert waiting.detail.startswith("1 sealed part")
    assert [code for code, _ in b.alarms()] == [NO_SECRET_KEY.code]
    assert len(b.answer()) == 1
    # a replay without a key changes nothing: the object is here once, the mail waits on
    operating.replay(b.site, waiting.id)
    b.process()
    with b.site.database.read() as connection:
        (waiting,) = quarantined_mails.quarantined(connection)
        assert len(incoming_deliveries.due_deliveries(connection, "pacs", b.clock.now, 9)) == 1
    assert waiting.code == NO_SECRET_KEY.code
    operating.drop(b.site, waiting.id)
    assert b.alarms() == []
    assert b.arrival(row.id).state == "dropped"
