"""The mails we write: what stands outside and inside, exact sizes and bounds, and how we read them again."""

import email
import email.policy
import os
import re
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radpost.agit.letter import (
    Item,
    Letter,
    armored_size,
    inner_chunks,
    item_bound,
    outer_envelope,
    outer_fields,
    sealed_bound,
)
from radpost.agit.naming import document_name, document_type, file_id
from radpost.agit.opening import open_mail
from radpost.agit.survey import MailKind, SetInfo, survey
from radpost.mime.writer import Source
from radpost.openpgp.values import Compression, Limits
from radpost.testing.letters import (
    MESSAGE_ID,
    RECIPIENT,
    SENDER,
    WHEN,
    Correspondents,
    armored,
    dicom_item,
    document,
    letter,
    seal,
)

HOSTILE = (
    "../../etc/passwd",
    "..\\..\\autoexec.bat",
    "C:\\Temp\\Befund.pdf",
    "a\r\nBcc: x@y.example\r\n\r\nb.pdf",
    'quo"te\\d;name=x.pdf',
    "..",
    "",
    " . ",
    "nul\0byte.pdf",
    "\u202efdp.exe",
    "=?utf-8?q?x?=.pdf",
    "half\ud800.pdf",
    "tab\tand\u00a0space.pdf",
    "ü" * 300 + ".pdf",
    "x" * 5000,
    "a  b   c.pdf",
)
UMLAUTS = ("Schädel-Größe.pdf", "Überweisung Müller.docx", "日本語.pdf", "naïve café.txt", "100%25.pdf")
NAMES = (*HOSTILE, *UMLAUTS)


def inner(mail: Letter) -> bytes:
    return b"".join(bytes(chunk.data) for chunk in inner_chunks(mail))


def parsed(data: bytes) -> EmailMessage:
    found = email.message_from_bytes(data, policy=email.policy.SMTP)
    assert isinstance(found, EmailMessage)
    assert not found.defects
    return found


def outside_of(mail: Letter) -> EmailMessage:
    envelope = outer_envelope(mail)
    return parsed(envelope.head + b"-----BEGIN PGP MESSAGE-----" + envelope.tail)


def attachments(data: bytes) -> list[EmailMessage]:
    parts = list(parsed(data).iter_parts())
    assert all(isinstance(part, EmailMessage) for part in parts)
    return [part for part in parts[1:] if isinstance(part, EmailMessage)]


def some(count: int = 3) -> tuple[Item, ...]:
    pictures = tuple(dicom_item(bytes(128) + b"DICM" + os.urandom(1000 + index)) for index in range(count))
    return (*pictures, document(b"%PDF-1.4 text", "Befund Müller.pdf"))


def test_inner_entity_by_the_standard_library() -> None:
    """@GIT 1.1r 2.2, 5.1; PS3.12 K; RFC 2183 2.2."""
    items = some()
    whole = parsed(inner(letter(items)))
    assert whole.get_content_type() == "multipart/mixed"
    (_text, *parts) = whole.iter_parts()
    assert [part.get_content_type() for part in parts] == ["application/dicom"] * 3 + ["application/pdf"]
    for part, item in zip(parts, items, strict=True):
        assert part.get_payload(decode=True) == b"".join(bytes(chunk) for chunk in item.source.chunks())
    assert [part.get_filename() for part in parts] == [
        "IM000001.dcm",
        "IM000002.dcm",
        "IM000003.dcm",
        "Befund Müller.pdf",
    ]
    for part in parts[:3]:
        ident = part.get_param("id")
        assert isinstance(ident, str)
        assert re.fullmatch(r"[A-Z0-9_]{1,8}", ident)
        assert part.get_param("name") == f"{ident}.dcm"
        assert "X-TELEMEDICINE-STUDYID" not in part
    assert parts[3]["X-TELEMEDICINE-STUDYID"] == "2.25.1"
    assert parts[3].get_content_disposition() == "attachment"


def test_binding_and_set_stand_inside_and_agree_with_the_outside() -> None:
    mail = letter(some(), part=2, total=7)
    inside = parsed(inner(mail))
    outside = outside_of(mail)
    for name in ("From", "To", "Date", "Message-ID"):
        assert inside[name] == outside[name], name
    for name, value in (("SETID", "2.25.4711"), ("SETPART", "2"), ("SETTOTAL", "7")):
        assert inside[f"X-TELEMEDICINE-{name}"] == outside[f"X-TELEMEDICINE-{name}"] == value
    assert "Disposition-Notification-To" not in inside
    assert outside["Disposition-Notification-To"] == SENDER


OUTSIDE = {
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Disposition-Notification-To",
    "X-TELEMEDICINE-SETID",
    "X-TELEMEDICINE-SETPART",
    "X-TELEMEDICINE-SETTOTAL",
}


def test_inv10_outside_stand_addresses_date_and_set_only() -> None:
    """RFC 2045 4; @GIT practice 1, 3, 6."""
    mail = letter((*some(), document(b"x", "Meier_Anna_1950.pdf", study_uid="1.2.3.4")))
    envelope = outer_envelope(mail)
    outside = outside_of(mail)
    assert set(outside.keys()) == OUTSIDE
    assert outside["Subject"] == "DICOM-eMail"
    for secret in (b"Meier", b"Befund", b"1.2.3.4", b"2.25.1\r", b"IM0000", b"application/dicom", b"pdf"):
        assert secret not in envelope.head + envelope.tail


def test_study_stands_outside_by_the_switch_only() -> None:
    mail = letter((document(b"x", "a.pdf", study_uid="1.2.3.4"),))
    assert "X-TELEMEDICINE-STUDYID" not in dict(outer_fields(mail))
    assert dict(outer_fields(replace(mail, study_uid_outside=True)))["X-TELEMEDICINE-STUDYID"] == "1.2.3.4"


def test_first_recommendation_has_no_set_headers() -> None:
    """@GIT 1.1r 2.2."""
    mail = letter(some(), dialect="agit-1.1")
    everything = outer_envelope(mail).head + inner(mail)
    assert b"X-TELEMEDICINE-SET" not in everything
    assert b"X-TELEMEDICINE-STUDYID: 2.25.1\r\n" in everything


def test_no_receipt_is_asked_for_by_the_switch() -> None:
    assert "Disposition-Notification-To" not in dict(outer_fields(letter(some(), receipt=False)))


def test_compression_is_chosen_per_object() -> None:
    """@GIT 1.1r 4."""
    packed, plain = b"a" * 2000, b"b" * 2000
    mail = letter(
        (dicom_item(packed), dicom_item(plain, compressible=False), dicom_item(plain)),
        inner_encoding="binary",
    )
    chosen = {bytes(chunk.data): chunk.compressible for chunk in inner_chunks(mail)}
    flags = [chunk.compressible for chunk in inner_chunks(mail) if bytes(chunk.data) in (packed, plain)]
    assert flags == [True, False, True], "equal bytes, yet each object has its own choice"
    assert all(flag for data, flag in chosen.items() if data not in (packed, plain))


def test_a_document_without_study_has_no_header() -> None:
    for uid in ("", "not a uid", "1.2\r\nBcc: x@y.example", "1." + "2" * 64):
        (part,) = attachments(inner(letter((document(b"x", "a.pdf", study_uid=uid),))))
        assert "X-TELEMEDICINE-STUDYID" not in part


@pytest.mark.parametrize("name", NAMES)
def test_names_are_valid_whatever_a_file_is_called(name: str) -> None:
    mail = letter((document(b"content", name),))
    data = inner(mail)
    assert max(len(line) for line in data.split(b"\r\n")) <= 998
    (part,) = attachments(data)
    assert part.get_payload(decode=True) == b"content"
    assert "Bcc" not in part
    written = part.get_filename()
    assert written is not None
    assert written == document_name(name)
    assert written not in {"", ".", ".."}
    assert not re.search(r"[/\\\x00-\x1f\u202e]", written)
    if name in UMLAUTS:
        assert written == name
    assert len(data) - len(inner(letter(()))) <= item_bound(7, "base64")


def test_long_names_keep_their_suffix() -> None:
    assert document_name("ü" * 300 + ".pdf").endswith("ü.pdf")


@pytest.mark.parametrize(
    ("given_type", "written"),
    [
        ("application/pdf", "application/pdf"),
        ("Text/Plain; charset=utf-8", "text/plain"),
        ("", "application/octet-stream"),
        ("x/y\r\nBcc: a@b.example", "application/octet-stream"),
        ("multipart/mixed", "application/octet-stream"),
        ("message/rfc822", "application/octet-stream"),
        ("message/partial", "application/octet-stream"),
        ("application/pgp-encrypted", "application/octet-stream"),
        ("application/pgp-keys", "application/octet-stream"),
        ("application/vnd.radpost.receipt+json", "application/octet-stream"),
    ],
)
def test_types_that_mean_something_else_in_a_mail_are_not_written(given_type: str, written: str) -> None:
    assert document_type(given_type) == written


def test_file_ids_are_valid_at_any_position() -> None:
    """PS3.12 K."""
    for position in (1, 999_999, 1_000_000, 12_345_678):
        assert re.fullmatch(r"[A-Z0-9_]{1,8}", file_id(position))


contents = st.lists(
    st.tuples(st.binary(max_size=3000), st.booleans(), st.text(max_size=40)), min_size=1, max_size=5
)
encodings = st.sampled_from(["base64", "binary"])


def items_of(drawn: list[tuple[bytes, bool, str]]) -> tuple[Item, ...]:
    return tuple(dicom_item(data) if dicom else document(data, name) for data, dicom, name in drawn)


@settings(max_examples=60, deadline=None)
@given(drawn=contents, encoding=encodings)
def test_sizes_are_bounded(
    drawn: list[tuple[bytes, bool, str]], encoding: Literal["base64", "binary"]
) -> None:
    mail = letter(items_of(drawn), inner_encoding=encoding)
    data = inner(mail)
    bounds = sum(item_bound(len(content), encoding) for content, _dicom, _name in drawn)
    assert len(data) <= bounds + 1500  # header and text of the entity: covered by the frame of sealed_bound
    if encoding == "base64":
        assert data.isascii()
        assert data.count(b"\n") == data.count(b"\r\n") == data.count(b"\r")
        assert max(len(line) for line in data.split(b"\r\n")) <= 998


@pytest.mark.peer("gnupg")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.sampled_from([0, 1, 47, 48, 5000, 65_535, 300_001, 2_000_000]),
    encoding=encodings,
    compress=st.sampled_from(list(Compression)),
    repeat=st.booleans(),
    long_address=st.booleans(),
)
def test_sealed_mails_are_bounded(
    world: Correspondents,
    size: int,
    encoding: Literal["base64", "binary"],
    compress: Compression,
    *,
    repeat: bool,
    long_address: bool,
) -> None:
    data = bytes(size) if repeat else os.urandom(size)
    sender = (
        ("a" * 64 + "@" + "b" * 63 + "." + "c" * 63 + "." + "d" * 55 + ".example") if long_address else SENDER
    )
    mail = letter((dicom_item(data), document(b"", "ü" * 200)), inner_encoding=encoding, sender=sender)
    whole = seal(mail, world.theirs, world.clinic, world.partner, compress)
    bound = sealed_bound(item_bound(size, encoding) + item_bound(0, encoding))
    assert len(whole) <= bound
    assert bound <= len(whole) + 26_000 or compress is Compression.ZIP, "and no idle one"


@pytest.mark.peer("gnupg")
def test_armor_is_as_large_as_we_count(world: Correspondents) -> None:
    """RFC 4880 6.2."""
    for size in (1, 1000, 100_000):
        text = armored([os.urandom(size)], world.theirs, [world.clinic], world.partner, Compression.NONE)
        body = text.split(b"\r\n\r\n", 1)[1].split(b"\r\n=", 1)[0]
        binary = len(body.replace(b"\r\n", b"").rstrip(b"=")) * 3 // 4
        assert abs(len(body) + 2 - armored_size(binary)) <= 2


@pytest.mark.peer("gnupg")
def test_the_whole_mail_is_7bit_with_crlf(world: Correspondents) -> None:
    """RFC 3156 3, RFC 2049 4."""
    mail = letter((dicom_item(os.urandom(100_000)),), inner_encoding="binary")
    whole = seal(mail, world.theirs, world.clinic, world.partner)
    assert whole.isascii()
    assert b"\0" not in whole
    assert whole.count(b"\n") == whole.count(b"\r\n") == whole.count(b"\r")
    assert whole.endswith(b"\r\n")
    assert max(len(line) for line in whole.split(b"\r\n")) <= 998
    found = parsed(whole)
    assert found.get_content_type() == "multipart/encrypted"
    assert found.get_param("protocol") == "application/pgp-encrypted"
    control, data = found.iter_parts()
    assert control.get_content_type() == "application/pgp-encrypted"
    assert control.get_payload(decode=True) == b"Version: 1\r\n"
    assert data.get_content_type() == "application/octet-stream"


CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("field", {"inner_encoding": "base64"}),
    ("peers", {"inner_encoding": "binary"}),
    ("first", {"inner_encoding": "base64", "dialect": "agit-1.1", "receipt": False}),
)


@pytest.mark.peer("gnupg")
@pytest.mark.parametrize("compress", list(Compression))
@pytest.mark.parametrize(("label", "changes"), CASES)
def test_inv3_round_trip(
    world: Correspondents, tmp_path: Path, label: str, changes: dict[str, Any], compress: Compression
) -> None:
    """@GIT 1.1r 5.1, RFC 3156 6.2."""
    pictures = [bytes(128) + b"DICM" + os.urandom(size) for size in (1, 57, 900, 70_000, 1)]
    texts = [os.urandom(index * 31) for index in range(len(NAMES))]  # the first one is empty
    lines = b"-----BEGIN PGP MESSAGE-----\r\nFrom: x\r\n--\r\n.\r\n=_00\r\n"
    items = [dicom_item(data) for data in pictures]
    items += [document(data, name) for data, name in zip(texts, NAMES, strict=True)]
    items += [document(lines, "armor.txt", "text/plain"), document(b"-----BEGIN PGP", "key.asc", "")]
    mail = letter(items, **changes)
    whole = seal(mail, world.theirs, world.clinic, world.partner, compress)
    outside = survey(whole)
    assert outside.kind is MailKind.SEALED
    assert outside.receipt_to == ("" if label == "first" else SENDER)
    with open_mail(outside, whole, world.engine, temp=tmp_path, limits=Limits()) as content:
        assert content.encrypted
        assert (content.signature.verdict.value, content.signature.fingerprint) == ("good", world.partner)
        got = [b"".join(bytes(chunk) for chunk in part.chunks()) for part in content.parts]
        assert got == [b"".join(bytes(one) for one in item.source.chunks()) for item in items]
        assert [part.claims_dicom for part in content.parts] == [item.is_dicom for item in items]
        names = [part.filename for part in content.parts[len(pictures) : len(pictures) + len(NAMES)]]
        assert names == [document_name(name) for name in NAMES]
        assert {part.study_uid for part in content.parts if not part.claims_dicom} == {"2.25.1"}
        assert content.set_info == (None if label == "first" else SetInfo("2.25.4711", 1, 1))
        assert content.inner is not None
        assert content.inner.message_id() == outside.message_id == MESSAGE_ID
        assert content.inner.date() == outside.date == WHEN
        assert content.inner.addresses("To") == outside.to_addresses == (RECIPIENT,)
        assert content.warnings == ["unopened:truncated"], "text with armor in it stays what it is"
        if label == "peers":
            assert all(part.plain is not None for part in content.parts), "no copy where nothing is encoded"


def test_a_source_that_changed_its_size_is_noticed() -> None:
    grown = Item(Source(3, lambda: (b"1234",)), True, "application/dicom", "", "", True)
    with pytest.raises(Exception, match="changed its size"):
        list(inner_chunks(letter((grown,))))
