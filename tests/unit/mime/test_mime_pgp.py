"""OpenPGP in mails: the envelope we write, and every disguise in which it arrives."""

import base64
import binascii
import hashlib
from collections.abc import Callable

import pytest

from radpost.errors import RESOURCE_LIMIT, RadpostError
from radpost.mime import pgp
from radpost.mime.pgp import Found, Kind, data, envelope, find_openpgp, signed_data, strip_suffix
from radpost.mime.reader import parse

ARMOR = b"-----BEGIN PGP MESSAGE-----\r\n\r\nhQIMA8vQAgWlA48Q\r\n=abcd\r\n-----END PGP MESSAGE-----\r\n"
BINARY = bytes.fromhex("85020b03cbd00205a5038f10") + b"\0" * 600
KEY = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n\r\nmQ\r\n-----END PGP PUBLIC KEY BLOCK-----\r\n"
CLEAR = (
    b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nhello\r\n"
    b"-----BEGIN PGP SIGNATURE-----\r\n\r\niQ\r\n-----END PGP SIGNATURE-----\r\n"
)


def _part(kind: str, content: bytes, *more: str) -> bytes:
    return "\r\n".join((f"Content-Type: {kind}", *more, "", "")).encode() + content


def _mail(kind: str, *parts: bytes) -> bytes:
    body = b"".join(b"\r\n--b\r\n" + part for part in parts)
    return f'Content-Type: {kind}; boundary="b"\r\n'.encode() + body + b"\r\n--b--\r\n"


def _found(mail: bytes) -> Found:
    return find_openpgp(parse(mail), mail)


def _only(mail: bytes) -> tuple[pgp.Payload, bytes]:
    found = _found(mail)
    assert len(found.payloads) == 1
    return found.payloads[0], b"".join(bytes(chunk) for chunk in data(found.payloads[0], mail))


_VERSION = _part("application/pgp-encrypted", b"Version: 1\r\n")
_DATA = _part("application/octet-stream", ARMOR)


def test_envelope_is_rfc_3156_and_its_size_is_known() -> None:
    """RFC 3156 3, 4; RFC 1847 2.2."""
    kept = envelope((("Subject", "DICOM-eMail"), ("MIME-Version", "1.0")), "=_b")
    mail = kept.head + ARMOR + kept.tail
    assert kept.size(len(ARMOR)) == len(mail)
    root = parse(mail)
    assert root.content_type == "multipart/encrypted"
    assert root.params["protocol"] == "application/pgp-encrypted"
    assert [child.content_type for child in root.children] == [
        "application/pgp-encrypted",
        "application/octet-stream",
    ]
    assert mail[root.children[0].body_start : root.children[0].body_end] == b"Version: 1\r\n"
    payload, content = _only(mail)
    assert (payload.kind, payload.armored, payload.defects, content) == (Kind.PGP_MIME, True, (), ARMOR)
    assert mail.isascii()
    assert b"\n" not in mail.replace(b"\r\n", b"")


def test_inv10_envelope_adds_nothing_to_the_fields_given() -> None:
    head = envelope((), "=_b").head.decode()
    names = [line.split(":")[0] for line in head.splitlines() if ":" in line and not line.startswith(" ")]
    assert set(names) == {"Content-Type", "Content-Disposition", "Version"}


@pytest.mark.parametrize(
    "control",
    [b"Version: 1\r\n", b"Version : 1", b"\r\nVersion:1\r\n\r\n", b"version: 1", b""],
)
def test_version_part_in_all_spellings(control: bytes) -> None:
    mail = _mail("multipart/encrypted", _part("application/pgp-encrypted", control), _DATA)
    payload, content = _only(mail)
    assert (payload.kind, payload.defects, content) == (Kind.PGP_MIME, (), ARMOR)


@pytest.mark.parametrize(
    "label", ["application/pgp-signature", "text/plain", "application/pgp-encrypted", "x"]
)
def test_data_part_with_a_wrong_label(label: str) -> None:
    payload, content = _only(_mail("multipart/encrypted", _VERSION, _part(label, ARMOR)))
    assert (payload.kind, content) == (Kind.PGP_MIME, ARMOR)


def test_turned_into_mixed_by_a_mail_server() -> None:
    note = _part("text/plain", b"scanned for viruses")
    payload, content = _only(_mail("multipart/mixed", note, _VERSION, _DATA))
    assert (payload.kind, payload.defects, content) == (Kind.PGP_MIME, ("pgp-mime-relabelled",), ARMOR)


def test_parts_in_the_wrong_order_or_one_too_many() -> None:
    payload, content = _only(_mail("multipart/encrypted", _DATA, _VERSION, _part("text/plain", b"footer")))
    assert (payload.defects, content) == (("not-two-parts",), ARMOR)


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("base64", base64.encodebytes),
        ("quoted-printable", binascii.b2a_qp),
        ("8bit", bytes),
    ],
)
def test_data_part_encoded_again(encoding: str, encode: Callable[[bytes], bytes]) -> None:
    part = _part("application/octet-stream", encode(ARMOR), f"Content-Transfer-Encoding: {encoding}")
    payload, content = _only(_mail("multipart/encrypted", _VERSION, part))
    assert (payload.armored, content.strip()) == (True, ARMOR.strip())


def test_binary_data_in_base64() -> None:
    part = _part("application/octet-stream", base64.encodebytes(BINARY), "Content-Transfer-Encoding: base64")
    payload, content = _only(_mail("multipart/encrypted", _VERSION, part))
    assert (payload.armored, content) == (False, BINARY)


def test_unreadable_data_part_is_handed_on_with_a_defect() -> None:
    payload, content = _only(_mail("multipart/encrypted", _VERSION, _part("text/plain", b"junk")))
    assert (payload.defects, content) == (("unrecognised-data",), b"junk")


@pytest.mark.parametrize(
    ("name", "inner"), [("ct.dcm.asc", "ct.dcm"), ("CT.DCM.PGP", "CT.DCM"), ("x.gpg", "x"), (".asc", None)]
)
def test_attachments(name: str, inner: str | None) -> None:
    part = _part("application/octet-stream", ARMOR, f'Content-Disposition: attachment; filename="{name}"')
    payload, content = _only(_mail("multipart/mixed", _part("text/plain", b"hello"), part))
    assert (payload.kind, payload.filename, content) == (Kind.ATTACHMENT, inner, ARMOR)


def test_binary_attachment_needs_a_label_or_a_convincing_beginning() -> None:
    encoded = base64.encodebytes(BINARY)
    more = "Content-Transfer-Encoding: base64"
    mail = _mail("multipart/mixed", _part('application/octet-stream; name="a.dcm"', encoded, more))
    assert _found(mail).payloads == ()
    mail = _mail("multipart/mixed", _part('application/octet-stream; name="a.dcm.pgp"', encoded, more))
    assert _only(mail)[1] == BINARY
    whole = bytes.fromhex("c10c03") + bytes(11) + bytes.fromhex("d2ff0000100001") + bytes(50)
    mail = _mail("multipart/mixed", _part("application/octet-stream", base64.encodebytes(whole), more))
    payload, content = _only(mail)
    assert (payload.kind, content) == (Kind.ATTACHMENT, whole)


@pytest.mark.parametrize("kind", ["pgp-mime", "attachment", "text"])
@pytest.mark.parametrize("encoding", ["7bit", "base64"])
def test_several_messages_in_one_part_are_all_found(kind: str, encoding: str) -> None:
    """Nothing is lost because somebody put two messages where one should be."""
    messages = [ARMOR.replace(b"\r\n\r\n", b"\r\nComment: %d\r\n\r\n" % number) for number in range(3)]
    text = b"words\r\n".join(messages)
    raw = text if encoding == "7bit" else base64.encodebytes(text)
    more = f"Content-Transfer-Encoding: {encoding}"
    if kind == "pgp-mime":
        mail = _mail("multipart/encrypted", _VERSION, _part("application/octet-stream", raw, more))
    elif kind == "attachment":
        mail = _mail("multipart/mixed", _part('application/octet-stream; name="a.pgp"', raw, more))
    else:
        mail = _part("text/plain", raw, more)
    found = _found(mail)
    assert len(found.payloads) == 3
    for payload, message in zip(found.payloads, messages, strict=True):
        assert b"".join(pgp.data(payload, mail)).startswith(message.rstrip())


def test_junk_in_an_attachment_called_pgp_is_not_lost() -> None:
    payload, _ = _only(_mail("multipart/mixed", _part('a/b; name="x.pgp"', b"junk")))
    assert payload.defects == ("unrecognised-data",)


def test_armor_in_text_has_its_exact_range() -> None:
    mail = _part(
        "text/plain", b"Hello,\r\n> -----BEGIN PGP MESSAGE-----\r\n" + ARMOR + b"text\r\n" + ARMOR + b"bye"
    )
    found = _found(mail)
    assert [payload.kind for payload in found.payloads] == [Kind.INLINE, Kind.INLINE]
    assert all(mail[payload.start : payload.end] == ARMOR.rstrip() for payload in found.payloads)


def test_armor_in_encoded_text() -> None:
    text = _part(
        "text/plain; charset=utf-8",
        binascii.b2a_qp("Grüße\r\n".encode() + ARMOR),
        "Content-Transfer-Encoding: quoted-printable",
    )
    payload, content = _only(text)
    assert (payload.kind, content) == (Kind.INLINE, ARMOR)


def test_truncated_armor_is_found() -> None:
    payload, content = _only(_part("text/plain", ARMOR[:50]))
    assert (payload.defects, content) == (("armor-without-end",), ARMOR[:50])


def test_clearsigned_text() -> None:
    payload, content = _only(_part("text/plain", b"x\r\n" + CLEAR))
    assert (payload.kind, content) == (Kind.CLEARSIGNED, CLEAR.rstrip())


def test_keys_are_no_payload() -> None:
    """RFC 3156 7."""
    mail = _mail("multipart/mixed", _part("application/pgp-keys", KEY), _part("text/plain", KEY))
    found = _found(mail)
    assert (found.payloads, len(found.keys)) == ((), 2)


def test_ordinary_mail_has_nothing() -> None:
    found = _found(_mail("multipart/mixed", _part("text/plain", b"BEGIN PGP MESSAGE"), _part("a/b", b"x")))
    assert found == Found((), (), ())


def test_message_returned_by_a_bounce_is_not_opened() -> None:
    original = _part(
        "message/rfc822",
        _mail("multipart/encrypted", _VERSION, _DATA).replace(b'"b"', b'"c"').replace(b"--b", b"--c"),
    )
    bounce = _mail("multipart/report; report-type=delivery-status", _part("text/plain", b"x"), original)
    assert _found(bounce).payloads == ()


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_signed_bytes_are_exact_and_canonical(end: bytes) -> None:
    """RFC 3156 5, RFC 1847 2.1."""
    inner = (
        _mail("multipart/mixed", _part("text/plain", b"one\r\ntwo\r\n"))
        .replace(b"--b", b"--c")
        .replace(b'"b"', b'"c"')
    )
    signature = _part("application/pgp-signature", b"-----BEGIN PGP SIGNATURE-----\r\n")
    mail = _mail("multipart/signed; micalg=PGP-SHA256; protocol=x", inner, signature).replace(b"\r\n", end)
    found = _found(mail)
    (signed,) = found.signed
    assert signed.micalg == "pgp-sha256"
    assert signed.signature.content_type == "application/pgp-signature"
    assert b"".join(signed_data(signed, mail)) == inner
    assert hashlib.sha256(mail[signed.start : signed.end].replace(end, b"\r\n")).digest() == (
        hashlib.sha256(inner).digest()
    )


def test_canonical_line_ends_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"a\nb\r\nc\r\n\nd\re\n"
    mail = _mail("multipart/signed", _part("text/plain", text), _part("application/pgp-signature", b"x"))
    whole = b"".join(signed_data(_found(mail).signed[0], mail))
    assert whole.endswith(b"\r\n\r\na\r\nb\r\nc\r\n\r\nd\re\r\n")
    for size in range(1, 9):
        monkeypatch.setattr("radpost.mime.coding.CHUNK", size)
        assert b"".join(signed_data(_found(mail).signed[0], mail)) == whole


def test_strip_suffix() -> None:
    assert strip_suffix(None) is None
    assert strip_suffix("plain.dcm") == "plain.dcm"


@pytest.mark.parametrize(
    ("head", "is_openpgp"),
    [
        (BINARY, True),
        (bytes.fromhex("c1c14e03"), True),  # new format, two octets of length, PKESK v3
        (bytes.fromhex("8c0d0409"), True),  # SKESK v4
        (bytes.fromhex("d2ff0000100001"), True),  # SEIPD v1
        (b"\0" * 128 + b"DICM", False),
        (bytes.fromhex("ffd8ffe000"), False),  # JPEG
        (b"PK\x03\x04", False),
        (b"", False),
        (b"\x85\x02", False),
    ],
)
def test_binary_openpgp_by_its_first_packet(head: bytes, is_openpgp: bool) -> None:
    """RFC 9580 4.2."""
    assert pgp.looks_binary(head) is is_openpgp


@pytest.mark.parametrize(
    ("head", "is_encrypted"),
    [
        ("c10c03" + "00" * 11 + "d200", True),
        ("840c03" + "00" * 11 + "d2ff0000100001", True),
        ("c10c03" + "00" * 11 + "c10c03" + "00" * 11 + "d4ff00001000", True),
        ("c30d04" + "00" * 12 + "c900", True),
        ("c10c03" + "00" * 11 + "cb00", False),
        ("c10c03" + "00" * 11, False),
        ("c10203ff" + "d200", False),
        ("d2ff0000100001", False),
        ("ffd8ffe000104a464946", False),
        ("", False),
    ],
)
def test_encrypted_data_are_known_without_a_label(head: str, is_encrypted: bool) -> None:
    assert pgp.looks_encrypted(bytes.fromhex(head)) is is_encrypted


def test_inv8_armor_without_end_in_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgp, "MAX_PAYLOADS", 10)
    armor = b"-----BEGIN PGP MESSAGE-----\n-----END PGP MESSAGE-----\n"
    assert len(_found(b"Subject: x\n\n" + armor * 10).payloads) == 10
    encoded = b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(armor * 11)
    for mail in (b"Subject: x\n\n" + armor * 11, encoded):
        with pytest.raises(RadpostError) as caught:
            _found(mail)
        assert caught.value.reason is RESOURCE_LIMIT


def test_inv8_many_messages_in_one_encoded_part_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them costs to decode the part once more; none is left out in silence."""
    armor = b"-----BEGIN PGP MESSAGE-----\n\nAAAA\n-----END PGP MESSAGE-----\n"
    mail = b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(armor * 8)
    assert len(_found(mail).payloads) == 8
    for name, value in (("_MAX_MESSAGES", 7), ("_MAX_DECODED", 7 * len(mail))):
        with monkeypatch.context() as patch:
            patch.setattr(pgp, name, value)
            with pytest.raises(RadpostError) as caught:
                _found(mail)
        assert caught.value.reason is RESOURCE_LIMIT
