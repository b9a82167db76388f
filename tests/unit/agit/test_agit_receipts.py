"""Our receipts, in clear and sealed: as we read them, and as GnuPG and the standard library do."""

import email
import email.policy
import io
from dataclasses import replace
from email.message import EmailMessage, Message
from pathlib import Path

import pytest

from radpost.agit import names
from radpost.agit.contents import InnerRequest
from radpost.agit.opening import open_mail
from radpost.agit.receipts import (
    Details,
    ObjectReport,
    ReceiptMail,
    clear_mail,
    read_details,
    read_request,
    sealed_envelope,
    sealed_inner,
    write_request,
)
from radpost.agit.survey import MailKind, survey
from radpost.errors import TAMPERED, RadpostError
from radpost.openpgp.values import Limits
from radpost.testing.letters import MESSAGE_ID, WHEN, Correspondents, seal_entity
from radpost.words import Verdict

DETAILS = Details(
    original_message_id=MESSAGE_ID,
    set_id="2.25.4711",
    part=1,
    objects=(
        ObjectReport(1, "a" * 64, "imported", "1.2.840.1"),
        ObjectReport(2, "b" * 64, "quarantined", "", 401),
    ),
)
RECEIPT = ReceiptMail(
    sender="gateway@clinic.example",
    recipient="radiology@partner.example",
    date=WHEN,
    message_id="<ffeeddccbbaa99887766554433221100@clinic.example>",
    original_message_id=MESSAGE_ID,
    disposition="automatic-action/MDN-sent-automatically;displayed",
    reason_en="All objects were stored.",
    reason_de="Alle Objekte wurden gespeichert und geprüft.",
    failed=False,
    code="",
    boundaries=("=_r", "=_x", "=_o"),
    details=DETAILS,
)
STATES = (
    ("displayed", (), False),
    ("displayed/warning", ("warning",), False),
    ("deleted/error", ("error",), True),
    ("deleted", (), True),
)


def by_email(data: bytes) -> EmailMessage:
    found = email.message_from_bytes(data, policy=email.policy.SMTP)
    assert isinstance(found, EmailMessage)
    assert not found.defects
    return found


def notification(mail: EmailMessage) -> Message:
    (part,) = (item for item in mail.walk() if item.get_content_type() == "message/disposition-notification")
    payload = part.get_payload()
    assert isinstance(payload, list)
    (fields,) = payload
    assert isinstance(fields, Message)
    return fields


def state(text: str, *, failed: bool) -> ReceiptMail:
    return replace(
        RECEIPT,
        disposition=f"automatic-action/MDN-sent-automatically;{text}",
        failed=failed,
        code="" if text == "displayed" else "503 version-conflict",
    )


@pytest.mark.parametrize(("text", "modifiers", "failed"), STATES)
def test_clear_receipt(text: str, modifiers: tuple[str, ...], *, failed: bool) -> None:
    mail = clear_mail(state(text, failed=failed))
    outside = survey(mail)
    assert outside.kind is MailKind.RECEIPT
    assert outside.mdn is not None
    assert outside.mdn.original_message_id == MESSAGE_ID
    assert (outside.mdn.disposition.type, outside.mdn.disposition.modifiers) == (
        text.split("/", maxsplit=1)[0],
        modifiers,
    )
    remark = "503 version-conflict: All objects were stored."
    assert outside.mdn.errors == ((remark,) if failed else ())
    assert outside.mdn.warnings == ((remark,) if text.endswith("warning") else ())
    found = by_email(mail)
    assert found.get_content_type() == "multipart/report"
    assert found.get_param("report-type") == "disposition-notification"
    fields = notification(found)
    assert fields["Disposition"] == f"automatic-action/MDN-sent-automatically;{text}"
    assert fields["Original-Message-ID"] == MESSAGE_ID
    assert fields["Final-Recipient"] == "rfc822;gateway@clinic.example"
    assert mail.isascii()
    assert mail.count(b"\n") == mail.count(b"\r\n")
    assert max(len(line) for line in mail.split(b"\r\n")) <= 998


def test_inv9_a_receipt_asks_for_none_and_names_itself_automatic() -> None:
    for mail in (clear_mail(RECEIPT), sealed_envelope(RECEIPT).head):
        outside = email.message_from_bytes(mail)
        assert outside["Disposition-Notification-To"] is None
        assert outside["Auto-Submitted"] == "auto-replied"
        assert outside["In-Reply-To"] == MESSAGE_ID


def test_inv10_a_clear_receipt_says_nothing_of_objects() -> None:
    mail = clear_mail(RECEIPT)
    for secret in (
        b"1.2.840.1",
        b"a" * 64,
        b"objects.json",
        b"2.25.4711",
        names.RECEIPT_DETAILS_TYPE.encode(),
    ):
        assert secret not in mail
    envelope = sealed_envelope(RECEIPT)
    for secret in (b"\r\nDisposition", b"1.2.840.1", b"multipart/report"):
        assert secret not in envelope.head + envelope.tail


def sealed(world: Correspondents, mail: ReceiptMail) -> bytes:
    envelope = sealed_envelope(mail)
    sink = io.BytesIO()
    world.theirs.seal(sealed_inner(mail), sink, recipients=[world.clinic], signer=world.partner)
    return envelope.head + sink.getvalue() + envelope.tail


@pytest.mark.peer("gnupg")
@pytest.mark.parametrize(("text", "modifiers", "failed"), STATES)
def test_sealed_receipt(
    world: Correspondents, tmp_path: Path, text: str, modifiers: tuple[str, ...], *, failed: bool
) -> None:
    mail = sealed(world, state(text, failed=failed))
    outside = survey(mail)
    assert outside.kind is MailKind.SEALED
    with open_mail(outside, mail, world.engine, temp=tmp_path, limits=Limits()) as content:
        (report,) = content.reports
        assert content.parts == []
        assert content.encrypted
        assert (content.signature.verdict, content.signature.fingerprint) == (Verdict.GOOD, world.partner)
        assert report.cover.signature == content.signature
        assert report.mdn.disposition.modifiers == modifiers
        assert report.mdn.original_message_id == MESSAGE_ID
        assert read_details(report.details) == DETAILS
        assert content.inner is not None
        assert content.inner.message_id() == outside.message_id == RECEIPT.message_id


@pytest.mark.peer("gnupg")
def test_sealed_receipt_by_gnupg_and_the_standard_library(world: Correspondents) -> None:
    mail = by_email(sealed(world, RECEIPT))
    assert mail.get_content_type() == "multipart/encrypted"
    armor = list(mail.iter_parts())[1].get_payload(decode=True)
    assert isinstance(armor, bytes)
    done = world.peer.open(armor)
    assert done.intact
    assert done.good_signature
    assert done.signer == world.partner
    inner = by_email(done.plaintext)
    assert notification(inner)["Original-Message-ID"] == MESSAGE_ID
    assert (inner["From"], inner["Message-ID"]) == (mail["From"], mail["Message-ID"])
    (listed,) = (part for part in inner.walk() if part.get_content_type() == names.RECEIPT_DETAILS_TYPE)
    data = listed.get_payload(decode=True)
    assert isinstance(data, bytes)
    assert read_details(data) == DETAILS


@pytest.mark.peer("gnupg")
def test_a_signed_receipt_in_clear_counts_as_signed(world: Correspondents, tmp_path: Path) -> None:
    entity = b"".join(bytes(chunk) for chunk in sealed_inner(RECEIPT))
    proof = world.theirs.sign_detached([entity], signer=world.partner)
    mail = (
        b'From: a@b.example\r\nContent-Type: multipart/signed; boundary="s"; micalg=pgp-sha256;\r\n'
        b' protocol="application/pgp-signature"\r\n\r\n--s\r\n' + entity + b"\r\n--s\r\n"
        b"Content-Type: application/pgp-signature\r\n\r\n" + proof + b"\r\n--s--\r\n"
    )
    with open_mail(survey(mail), mail, world.engine, temp=tmp_path, limits=Limits()) as content:
        (report,) = content.reports
        assert content.signature.verdict is Verdict.GOOD
        assert not content.encrypted
        assert read_details(report.details) == DETAILS
    forged = mail.replace(b";displayed", b";processed")
    with open_mail(survey(forged), forged, world.engine, temp=tmp_path, limits=Limits()) as content:
        assert content.signature.verdict is Verdict.BAD


@pytest.mark.peer("gnupg")
def test_a_list_of_objects_counts_only_beside_its_own_receipt(world: Correspondents, tmp_path: Path) -> None:
    """Somebody puts a forged list around a receipt that a partner signed."""
    report = b"".join(bytes(chunk) for chunk in sealed_inner(replace(RECEIPT, details=None)))
    proof = world.theirs.sign_detached([report], signer=world.partner)
    forged = b"Content-Type: application/vnd.radpost.receipt+json\r\n\r\n{}"
    signed = (
        b'Content-Type: multipart/signed; boundary="s"; protocol="application/pgp-signature"\r\n\r\n'
        b"--s\r\n" + report + b"\r\n--s\r\nContent-Type: application/pgp-signature\r\n\r\n" + proof
    )
    mixed = (
        b'Content-Type: multipart/mixed; boundary="m"\r\n\r\n--m\r\n'
        + forged
        + b"\r\n--m\r\n"
        + signed
        + b"\r\n--s--\r\n--m--\r\n"
    )
    mail = seal_entity(mixed, world.theirs, world.clinic, None)
    with open_mail(survey(mail), mail, world.engine, temp=tmp_path, limits=Limits()) as content:
        (found,) = content.reports
        assert found.cover.signature.verdict is Verdict.GOOD
        assert found.details == b""


@pytest.mark.peer("gnupg")
def test_a_changed_sealed_receipt_is_nothing(world: Correspondents, tmp_path: Path) -> None:
    mail = sealed(world, RECEIPT)
    lines = mail.split(b"\r\n")
    at = next(index for index, line in enumerate(lines) if line.startswith(b"-----BEGIN")) + 6
    lines[at] = lines[at][:10] + (b"B" if lines[at][10:11] == b"A" else b"A") + lines[at][11:]
    changed = b"\r\n".join(lines)
    with pytest.raises(RadpostError) as caught:
        open_mail(survey(changed), changed, world.engine, temp=tmp_path, limits=Limits())
    assert caught.value.reason is TAMPERED


def test_details_that_cannot_be_read_are_none() -> None:
    for data in (b"", b"{", b"[]", b'{"original_message_id": 1}', b"\xff", b'{"x":' + b"[" * 100_000):
        assert read_details(data) is None
    no_text = (
        b'{"original_message_id": "<a@b>", "objects": [{"position": 1, "sha256": "x", "state": "\x9b"}]}'
    )
    assert read_details(no_text) is None
    newer = b'{"original_message_id": "<a@b>", "version": 9, "more": true}'
    assert read_details(newer) == Details(original_message_id="<a@b>", version=9)


ASKED = InnerRequest("radiology@partner.example", MESSAGE_ID, "0123456789ABCDEF")


def test_a_receipt_that_was_asked_for_inside_is_marked_inside() -> None:
    mail = replace(RECEIPT, request=ASKED)
    inner = by_email(b"".join(bytes(chunk) for chunk in sealed_inner(mail)))
    assert inner[names.ORIGINAL_CONTENT_ID] == MESSAGE_ID
    assert inner[names.REPORT] == mail.disposition
    assert notification(inner)["Original-Message-ID"] == MESSAGE_ID, "it is the report of mechanism 1"
    assert b"X-TELEMEDICINE" not in sealed_envelope(mail).head
    nameless = by_email(
        b"".join(map(bytes, sealed_inner(replace(mail, request=InnerRequest("a@b.example")))))
    )
    assert names.ORIGINAL_CONTENT_ID not in nameless
    assert names.REPORT in nameless


def test_a_request_is_kept_as_it_came() -> None:
    assert read_request(write_request(ASKED)) == ASKED
    assert write_request(None) == ""
    assert read_request("") is None


@pytest.mark.peer("gnupg")
def test_a_receipt_may_name_the_mail_by_its_content_id_alone(world: Correspondents, tmp_path: Path) -> None:
    entity = b"".join(bytes(chunk) for chunk in sealed_inner(replace(RECEIPT, request=ASKED, details=None)))
    line = f"Original-Message-ID: {MESSAGE_ID}\r\n".encode()
    assert line in entity
    for given, found in (
        (entity.replace(line, b""), MESSAGE_ID),
        (entity.replace(f"CONTENT-ID: {MESSAGE_ID}".encode(), b"CONTENT-ID: <other@x.example>"), MESSAGE_ID),
        (entity.replace(line, b"").replace(b"ORIGINAL-CONTENT-ID", b"ORIGINAL-CONTENT"), None),
    ):
        mail = seal_entity(given, world.theirs, world.clinic, world.partner, message_id=RECEIPT.message_id)
        with open_mail(survey(mail), mail, world.engine, temp=tmp_path, limits=Limits()) as content:
            (report,) = content.reports
            assert report.mdn.original_message_id == found
