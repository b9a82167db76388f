"""What goes wrong in the field, between two running gateways: each failure ends where a person can see it."""

import smtplib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from radpost.agit.letter import Letter
from radpost.dicom.identity import identify
from radpost.errors import (
    NO_INTEGRITY,
    NO_SECRET_KEY,
    NO_USABLE_KEY,
    OWN_KEY_UNUSABLE,
    PACS_OUT_OF_RESOURCES,
    PACS_REFUSED_OBJECT,
    PARTNER_REPORTS_FAILURE,
    SIGNATURE_BAD,
    SIGNATURE_REQUIRED,
    TAMPERED,
    UNENCRYPTED,
    UNKNOWN_SENDER,
    WRONG_SIGNER,
)
from radpost.gateway import operating
from radpost.gateway.partners import RADPOST_PEER, Switches
from radpost.store import schema
from radpost.testing import forgery
from radpost.testing.exchange import (
    Exchange,
    hashes_of,
    stranger,
    third_partner,
    wait_state,
)
from radpost.testing.insight import (
    alarm_codes,
    delivery_of,
    drop_key,
    expiring_key,
    key_of,
    put_key,
    quarantine_codes,
    receipts_about,
    rows,
    until,
    wait_arrival,
)
from radpost.testing.institution import wait_for
from radpost.testing.peers.gnupg import GnuPG
from radpost.testing.store_scp import ReceivingPacs
from radpost.words import SignaturePolicy

pytestmark = [pytest.mark.peer("gnupg"), pytest.mark.timeout(90)]

FIELD = Switches()
"""A partner of another maker: one object per mail, plain receipts."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    limits = "\n[limits]\ndisk_reserve_bytes = 50_000_000\nmax_resends = 2\n"
    with Exchange(tmp_path_factory.mktemp("world"), a_sections=limits, b_sections=limits) as exchange:
        yield exchange


@pytest.fixture
def agreed(world: Exchange) -> Iterator[Exchange]:
    """The world with the agreements between the two as they were at the start."""
    yield world
    world.b.add_partner(world.a, "PARTNER_A", switches=RADPOST_PEER, policy=SignaturePolicy.REQUIRE)
    world.a.add_partner(world.b, "PARTNER_B", switches=RADPOST_PEER, policy=SignaturePolicy.REQUIRE)


def post_to_b(world: Exchange, mail: bytes) -> None:
    forgery.post(world.b_smtp, world.b.address, mail, sender=world.a.address)


def from_a(world: Exchange, files: list[Path], message_id: str = "") -> Letter:
    return forgery.letter(files, sender=world.a.address, recipient=world.b.address, message_id=message_id)


def quarantined(world: Exchange, mail: Letter, sealed: bytes, code: int) -> dict[str, Any]:
    """Post a mail to B; it must end in quarantine with this code, and nothing of it may come out."""
    before = len(rows(world.b, schema.object_))
    post_to_b(world, sealed)
    row = wait_arrival(world.b, mail.message_id, "quarantined")
    assert row["code"] == code
    entries = rows(world.b, schema.quarantine, arrival_id=row["id"], state="open")
    assert [entry["code"] for entry in entries] == [code]
    assert len(rows(world.b, schema.object_)) == before
    assert not rows(world.b, schema.incoming_object, arrival_id=row["id"])
    return row


# --- keys -------------------------------------------------------------------------------------------------


def test_mail_to_a_foreign_key_is_quarantined_and_answered_with_an_error(world: Exchange) -> None:
    mail = from_a(world, world.study(1))
    row = quarantined(
        world, mail, forgery.seal(mail, to=stranger(), signer=key_of(world.a)), NO_SECRET_KEY.code
    )
    assert receipts_about(world.b, row) == ["deleted/error"]
    world.passes()


def test_sender_with_a_wrong_key_resends_so_often_and_no_more_then_alarms(agreed: Exchange) -> None:
    """Invariant 4: it ends as refused, with an alarm; after the right key, `retry` sends it."""
    world = agreed
    other, right = stranger("former"), key_of(world.b)
    put_key(world.a, other, "partner_b")
    files = world.study(1)
    world.send(files)
    until(lambda: world.last() == "refused", "A gives up", world.a)
    (mail,) = rows(world.a, schema.mail, transmission_id=world.a.transmissions()[-1].id)
    assert mail["code"] in {NO_SECRET_KEY.code, PARTNER_REPORTS_FAILURE.code}
    messages = rows(world.a, schema.message, mail_id=mail["id"])
    assert len({row["message_id"] for row in messages}) == 1 + 2, "the first, and max_resends more"
    assert PARTNER_REPORTS_FAILURE.code in alarm_codes(world.a)
    mine = {row["message_id"] for row in messages}
    found = [row for row in rows(world.b, schema.arrival) if row["message_id"] in mine]
    assert [row["code"] for row in found] == [NO_SECRET_KEY.code] * 3
    assert not world.arrived(files)
    drop_key(world.a, other)
    assert right.fingerprint in {row["fingerprint"] for row in rows(world.a, schema.key)}
    with world.a.site() as site:
        operating.retry_transmission(site, mail["transmission_id"])
    world.wait_arrived(files)
    wait_state(world, "confirmed")
    assert PARTNER_REPORTS_FAILURE.code not in alarm_codes(world.a)


def test_expired_key_of_the_partner_sends_nothing_until_a_valid_one_is_confirmed(agreed: Exchange) -> None:
    """Invariant 7: no valid key, no mail."""
    world = agreed
    right = key_of(world.b)
    drop_key(world.a, right)
    expired = expiring_key("klinik-b", world.b.address)
    put_key(world.a, expired, "partner_b")
    arrivals = len(rows(world.b, schema.arrival))
    files = world.study(2)
    world.send(files)
    wait_state(world, "failed")
    (mail,) = rows(world.a, schema.mail, transmission_id=world.a.transmissions()[-1].id)
    assert mail["code"] == NO_USABLE_KEY.code
    assert mail["sealed_sha256"] is None
    assert not rows(world.a, schema.submission, mail_id=mail["id"])
    assert NO_USABLE_KEY.code in alarm_codes(world.a)
    assert len(rows(world.b, schema.arrival)) == arrivals
    drop_key(world.a, expired)
    put_key(world.a, right, "partner_b")
    with world.a.site() as site:
        operating.retry_transmission(site, mail["transmission_id"])
    world.wait_arrived(files)
    wait_state(world, "confirmed")
    assert NO_USABLE_KEY.code not in alarm_codes(world.a)


def test_own_key_expired_sends_nothing(tmp_path: Path) -> None:
    with Exchange(tmp_path) as world:
        right = key_of(world.a)
        expired = expiring_key("klinik-a", world.a.address)
        put_key(world.a, expired, None)
        drop_key(world.a, right)
        files = world.study(1)
        world.send(files)
        wait_state(world, "failed")
        assert OWN_KEY_UNUSABLE.code in alarm_codes(world.a)
        assert not rows(world.a, schema.submission)
        assert not rows(world.b, schema.arrival)
        drop_key(world.a, expired)
        put_key(world.a, right, None)
        with world.a.site() as site:
            operating.retry_transmission(site, world.a.transmissions()[-1].id)
        world.wait_arrived(files)


# --- signatures and integrity -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "code", "flag"),
    [
        (SignaturePolicy.REQUIRE, SIGNATURE_REQUIRED.code, None),
        (SignaturePolicy.ACCEPT, None, "unknown-key"),
        (SignaturePolicy.IGNORE, None, "unknown-key"),
    ],
)
def test_unknown_signer_under_each_policy(
    agreed: Exchange, policy: SignaturePolicy, code: int | None, flag: str | None
) -> None:
    world = agreed
    world.b.add_partner(world.a, "PARTNER_A", switches=RADPOST_PEER, policy=policy)
    files = world.study(1)
    mail = from_a(world, files)
    sealed = forgery.seal(mail, to=key_of(world.b), signer=stranger("unknown"))
    if code is not None:
        row = quarantined(world, mail, sealed, code)
        assert receipts_about(world.b, row) == ["deleted/error"]
        return
    post_to_b(world, sealed)
    row = wait_arrival(world.b, mail.message_id, "done")
    assert row["verdict"] == flag
    world.wait_arrived(files)


@pytest.mark.parametrize(
    ("policy", "released"), [(SignaturePolicy.REQUIRE, False), (SignaturePolicy.ACCEPT, True)]
)
def test_unsigned_mail(agreed: Exchange, policy: SignaturePolicy, released: bool) -> None:
    world = agreed
    world.b.add_partner(world.a, "PARTNER_A", switches=RADPOST_PEER, policy=policy)
    files = world.study(1)
    mail = from_a(world, files)
    sealed = forgery.seal(mail, to=key_of(world.b), signer=None)
    if not released:
        quarantined(world, mail, sealed, SIGNATURE_REQUIRED.code)
        return
    post_to_b(world, sealed)
    assert wait_arrival(world.b, mail.message_id, "done")["verdict"] == "none"
    world.wait_arrived(files)


@pytest.mark.parametrize("policy", [SignaturePolicy.REQUIRE, SignaturePolicy.ACCEPT])
def test_bad_signature_is_quarantined(agreed: Exchange, policy: SignaturePolicy) -> None:
    world = agreed
    world.b.add_partner(world.a, "PARTNER_A", switches=RADPOST_PEER, policy=policy)
    key = key_of(world.a)
    mail = from_a(world, world.study(1))
    with GnuPG([key.secret]) as gnupg:
        signed, _, _ = gnupg.run("-z0", "--local-user", key.fingerprint, "--sign", data=forgery.inner(mail))
    at = len(signed) // 2
    changed = signed[:at] + bytes((signed[at] ^ 1,)) + signed[at + 1 :]
    armored = forgery.encrypt_packets(changed, to=key_of(world.b))
    quarantined(world, mail, forgery.wrap(mail, armored), SIGNATURE_BAD.code)
    whole = from_a(world, world.study(1))
    with GnuPG([key.secret]) as gnupg:
        signed, _, _ = gnupg.run("-z0", "--local-user", key.fingerprint, "--sign", data=forgery.inner(whole))
    post_to_b(world, forgery.wrap(whole, forgery.encrypt_packets(signed, to=key_of(world.b))))
    assert wait_arrival(world.b, whole.message_id, "done")["verdict"] == "good", (
        "the helper forges nothing else"
    )


@pytest.mark.parametrize("policy", [SignaturePolicy.REQUIRE, SignaturePolicy.ACCEPT])
def test_mail_signed_by_another_partner_is_wrong_signer(agreed: Exchange, policy: SignaturePolicy) -> None:
    """A signature counts only if its key is confirmed for the partner named in From."""
    world = agreed
    world.b.add_partner(world.a, "PARTNER_A", switches=RADPOST_PEER, policy=policy)
    third = third_partner(world)
    mail = from_a(world, world.study(1))
    sealed = forgery.seal(mail, to=key_of(world.b), signer=key_of(third))
    row = quarantined(world, mail, sealed, WRONG_SIGNER.code)
    assert receipts_about(world.b, row) == ["deleted"], "sending it again would not help"


def test_tampered_mail_releases_nothing(world: Exchange) -> None:
    mail = from_a(world, world.study(1))
    sealed = forgery.seal(mail, to=key_of(world.b), signer=key_of(world.a))
    for at in (0.2, 0.5, 0.999):
        again = from_a(world, world.study(1))
        sealed = forgery.seal(again, to=key_of(world.b), signer=key_of(world.a))
        row = quarantined(world, again, forgery.tamper(sealed, at=at), TAMPERED.code)
        assert receipts_about(world.b, row) == ["deleted/error"]
    world.passes()


def test_mail_without_integrity_check_is_never_released(agreed: Exchange) -> None:
    world = agreed
    world.b.add_partner(world.a, "PARTNER_A", switches=RADPOST_PEER, policy=SignaturePolicy.IGNORE)
    key = key_of(world.a)
    mail = from_a(world, world.study(1))
    with GnuPG([key.secret]) as gnupg:
        signed, _, _ = gnupg.run("-z0", "--local-user", key.fingerprint, "--sign", data=forgery.inner(mail))
    armored = forgery.encrypt_packets(signed, to=key_of(world.b), mdc=False)
    quarantined(world, mail, forgery.wrap(mail, armored), NO_INTEGRITY.code)


def test_unencrypted_mail_is_quarantined(world: Exchange) -> None:
    mail = from_a(world, world.study(1))
    clear = b"".join(
        (
            f"From: {mail.sender}\r\nTo: {mail.recipient}\r\nMessage-ID: {mail.message_id}\r\n".encode(),
            f"Disposition-Notification-To: {mail.sender}\r\nMIME-Version: 1.0\r\n".encode(),
            _without_binding(forgery.inner(mail)),
        )
    )
    quarantined(world, mail, clear, UNENCRYPTED.code)


def _without_binding(entity: bytes) -> bytes:
    head, body = entity.split(b"\r\n\r\n", 1)
    kept: list[bytes] = []
    for line in head.split(b"\r\n"):
        if (line[:1] in b" \t" and line and kept) or line.lower().startswith(
            (b"content-", b"x-telemedicine")
        ):
            kept.append(line)
    return b"\r\n".join(kept) + b"\r\n\r\n" + body


# --- servers ----------------------------------------------------------------------------------------------


def test_mail_server_down_for_a_while_queues_then_delivers(tmp_path: Path) -> None:
    with Exchange(tmp_path) as world:
        world.passes(1)
        world.b.stop()
        studies = [world.study(2) for _ in range(2)]
        for files in studies:
            world.send(files)
        wait_for(lambda: "server failed" in world.a.log(), "A notices", 20)
        time.sleep(1.0)
        assert not any(world.arrived(files) for files in studies)
        submissions = [row for row in rows(world.a, schema.submission) if row["state"] == "ready"]
        assert submissions
        assert {row["attempts"] for row in submissions} == {0}, "a server that is down costs no mail a try"
        world.b.start()
        for files in studies:
            world.wait_arrived(files)
        until(lambda: all(row.state == "confirmed" for row in world.a.transmissions()), "confirmed")


def test_process_that_stops_in_order_and_starts_again_goes_on(tmp_path: Path) -> None:
    with Exchange(tmp_path) as world:
        files = world.study(8)
        world.send(files[:4])
        assert world.a.stop() == 0
        world.a.start()
        world.send(files[4:])
        assert world.b.stop() == 0
        world.b.start()
        world.wait_arrived(files)
        until(lambda: all(row.state == "confirmed" for row in world.a.transmissions()), "confirmed", world.a)


def test_a_damaged_mail_in_the_outbox_stops_no_other(tmp_path: Path) -> None:
    """Invariant 5: its bytes are gone from the spool; the server is not blamed."""
    with Exchange(tmp_path) as world:
        world.b.stop()
        world.send(world.study(1))
        wait_for(lambda: len(rows(world.a, schema.submission)) == 1, "the mail is sealed", 20)
        (lost,) = rows(world.a, schema.submission)
        with world.a.site() as site:
            site.spool.path(lost["sha256"]).unlink()
        world.b.start()
        files = world.study(1)
        world.send(files)
        world.wait_arrived(files)
        wait_for(lambda: world.last() == "confirmed", "the other one is confirmed")
        assert [row.state for row in world.a.transmissions()] == ["failed", "confirmed"]
        assert alarm_codes(world.a), "a person is told"


# --- the PACS ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0124])
def test_pacs_that_refuses_one_object_gets_the_others(world: Exchange, status: int) -> None:
    """Invariant 5: the refused one is visible with its code; the partner's receipt speaks of the import."""
    files = world.study(4)
    bad = identify(files[1])
    assert bad.sop_instance_uid is not None
    world.pacs.refuse[bad.sop_instance_uid] = status
    world.send(files)
    world.wait_arrived([files[0], *files[2:]])
    wait_state(world, "confirmed")
    row = delivery_of(world.b, bad.dataset_sha256)
    assert (row["state"], row["status"], row["code"]) == ("refused", status, PACS_REFUSED_OBJECT.code)
    assert PACS_REFUSED_OBJECT.code in alarm_codes(world.b)
    del world.pacs.refuse[bad.sop_instance_uid]
    with world.b.site() as site:
        operating.retry_destination(site, "pacs")
    world.wait_arrived(files)
    wait_for(lambda: delivery_of(world.b, bad.dataset_sha256)["state"] == "delivered", "delivered", 10)


def test_pacs_that_takes_an_object_with_a_remark(world: Exchange) -> None:
    files = world.study(2)
    found = identify(files[0])
    assert found.sop_instance_uid is not None
    world.pacs.refuse[found.sop_instance_uid] = 0xB007
    world.send(files)
    world.wait_arrived(files)
    wait_for(
        lambda: delivery_of(world.b, found.dataset_sha256)["state"] == "delivered with remark", "remark", 10
    )
    assert delivery_of(world.b, found.dataset_sha256)["status"] == 0xB007


def test_pacs_out_of_resources_is_tried_again(world: Exchange) -> None:
    files = world.study(3)
    found = identify(files[1])
    assert found.sop_instance_uid is not None
    world.pacs.refuse[found.sop_instance_uid] = 0xA700
    world.send(files)
    world.wait_arrived([files[0], files[2]])
    wait_state(world, "confirmed")
    wait_for(lambda: delivery_of(world.b, found.dataset_sha256)["attempts"] >= 1, "a try", 10)
    row = delivery_of(world.b, found.dataset_sha256)
    assert (row["state"], row["status"], row["code"]) == ("due", 0xA700, PACS_OUT_OF_RESOURCES.code)
    del world.pacs.refuse[found.sop_instance_uid]
    until(lambda: world.arrived(files), "the object when there is room", world.b)


def test_pacs_down_delays_delivery_and_nothing_else(tmp_path: Path) -> None:
    with Exchange(tmp_path) as world:
        world.passes(1)
        world.pacs.__exit__(None, None, None)
        files = world.study(3)
        world.send(files)
        wait_state(world, "confirmed")
        wait_for(lambda: "destination down" in world.b.log(), "B notices", 20)
        assert {row["attempts"] for row in rows(world.b, schema.delivery, state="due")} == {0}
        with ReceivingPacs(tmp_path / "again", world.pacs_port) as again:
            wait_for(lambda: hashes_of(files) <= again.hashes(), "delivery after the PACS is back", 30)


# --- quarantine full --------------------------------------------------------------------------------------


def test_full_quarantine_leaves_mail_with_the_sender(tmp_path: Path) -> None:
    limits = "\n[limits]\ndisk_reserve_bytes = 50_000_000\nquarantine_bytes = 1000\n"
    with Exchange(tmp_path, b_sections=limits) as world:
        mail = from_a(world, world.study(1))
        sealed = forgery.seal(mail, to=stranger(), signer=key_of(world.a))
        quarantined(world, mail, sealed, NO_SECRET_KEY.code)
        again = from_a(world, world.study(1))
        with pytest.raises(smtplib.SMTPResponseException) as refused:
            post_to_b(world, forgery.seal(again, to=stranger(), signer=key_of(world.a)))
        assert refused.value.smtp_code == 452
        files = world.study(1)
        world.send(files)
        wait_for(
            lambda: any(row["reply"].startswith("452") for row in rows(world.a, schema.submission)), "452"
        )
        assert not world.arrived(files)
        (entry,) = rows(world.b, schema.quarantine, state="open")
        with world.b.site() as site:
            operating.drop(site, entry["id"])
        until(lambda: world.arrived(files), "the mail after there is room", world.a)
        until(lambda: world.last() == "confirmed", "confirmed", world.a, world.b)


# --- strangers --------------------------------------------------------------------------------------------


def test_unknown_sender_is_quarantined_and_replayed_after_partner_add(tmp_path: Path) -> None:
    with Exchange(tmp_path, partners=False) as world:
        world.a.add_partner(world.b, "PARTNER_B")
        files = world.study(2)
        world.send(files)
        wait_for(lambda: quarantine_codes(world.b) == [UNKNOWN_SENDER.code], "quarantine", 20)
        assert not rows(world.b, schema.receipt), "no automatic mail to strangers (invariant 9)"
        assert not world.arrived(files)
        world.b.add_partner(world.a, "PARTNER_A")
        (entry,) = rows(world.b, schema.quarantine, state="open")
        with world.b.site() as site:
            operating.replay(site, entry["id"])
        world.wait_arrived(files)
        wait_state(world, "confirmed")
        assert not quarantine_codes(world.b)


# --- helpers ----------------------------------------------------------------------------------------------
