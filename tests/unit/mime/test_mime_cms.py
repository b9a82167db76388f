"""S/MIME in mails: found by what it is, in every disguise, and read as it was signed."""

import base64

import pytest

from radpost.errors import RadpostError
from radpost.mime.cms import (
    Found,
    Kind,
    data,
    find_smime,
    kind_of,
    readings,
    signature_data,
    strip_suffix,
)
from radpost.mime.reader import parse

OIDS = {
    Kind.SIGNED: "06092a864886f70d010702",
    Kind.ENVELOPED: "06092a864886f70d010703",
    Kind.AUTH_ENVELOPED: "060b2a864886f70d0109100117",
    Kind.COMPRESSED: "060b2a864886f70d0109100109",
}


def message(kind: Kind, *, indefinite: bool = False) -> bytes:
    content = bytes.fromhex(OIDS[kind]) + b"\xa0\x82\x01\x00" + bytes(256)
    if indefinite:
        return b"\x30\x80" + content + b"\0\0"
    return b"\x30\x82" + len(content).to_bytes(2, "big") + content


def wrapped(content: bytes) -> bytes:
    return base64.encodebytes(content).replace(b"\n", b"\r\n")


def part(kind: str, content: bytes, *more: str) -> bytes:
    return "\r\n".join((f"Content-Type: {kind}", *more, "", "")).encode() + content


def multipart(kind: str, *parts: bytes) -> bytes:
    inside = b"".join(b"\r\n--b\r\n" + one for one in parts)
    return f'Content-Type: {kind}; boundary="b"\r\n'.encode() + inside + b"\r\n--b--\r\n"


def found(mail: bytes) -> Found:
    return find_smime(parse(mail), mail)


def only(mail: bytes) -> tuple[Kind, bytes]:
    (payload,) = found(mail).payloads
    return payload.kind, b"".join(bytes(chunk) for chunk in data(payload, mail))


@pytest.mark.parametrize("indefinite", [False, True], ids=["DER", "BER"])
@pytest.mark.parametrize("kind", OIDS)
def test_the_content_says_what_it_is(kind: Kind, indefinite: bool) -> None:
    content = message(kind, indefinite=indefinite)
    assert kind_of(content) is kind
    mail = part("application/pkcs7-mime", wrapped(content), "Content-Transfer-Encoding: base64")
    assert only(mail) == (kind, content)


@pytest.mark.parametrize(
    "label",
    [
        "application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m",
        "application/x-pkcs7-mime",
        "application/pkcs7-mime; smime-type=authenticated-enveloped-data",
        "application/octet-stream; name=smime.p7m",
        "application/octet-stream",
        "application/x-unknown",
        "text/plain",
    ],
)
def test_the_label_decides_nothing(label: str) -> None:
    content = message(Kind.ENVELOPED)
    assert only(part(label, content)) == (Kind.ENVELOPED, content)


def pem(content: bytes, label: str) -> bytes:
    return f"-----BEGIN {label}-----\r\n".encode() + wrapped(content) + f"-----END {label}-----\r\n".encode()


@pytest.mark.parametrize("label", ["PKCS7", "CMS"])
@pytest.mark.parametrize("encoding", ["7bit", "base64"])
def test_pem_within_the_transfer_encoding(label: str, encoding: str) -> None:
    content = message(Kind.SIGNED)
    text = b"a note\r\n" + pem(content, label) + b"and more\r\n"
    mail = part(
        "application/pkcs7-mime",
        wrapped(text) if encoding == "base64" else text,
        f"Content-Transfer-Encoding: {encoding}",
    )
    assert only(mail) == (Kind.SIGNED, content)


def test_base64_whose_label_a_server_has_dropped() -> None:
    content = message(Kind.ENVELOPED)
    assert only(part("application/pkcs7-mime", wrapped(content))) == (Kind.ENVELOPED, content)


def test_what_is_labelled_but_damaged_is_shown_as_such() -> None:
    mail = part("application/pkcs7-mime; name=x.p7m", b"no CMS at all")
    assert only(mail) == (Kind.UNKNOWN, b"no CMS at all")


def test_other_parts_are_left_alone() -> None:
    dicom = part("application/dicom", bytes(128) + b"DICM")
    text = part("text/plain", b"MIIB letters and nothing else, though they begin as base64 of CMS may")
    certificate = part("application/x-x509-ca-cert", b"\x30\x82\x01\x00" + bytes(256))
    assert found(multipart("multipart/mixed", dicom, text, certificate)) == Found((), ())


def test_a_message_deep_inside_beside_others() -> None:
    inner = multipart("multipart/mixed", part("text/plain", b"hello")).replace(b"--b", b"--c")
    inner = inner.replace(b'"b"', b'"c"')
    mail = multipart("multipart/mixed", inner, part("application/pkcs7-mime", message(Kind.ENVELOPED)))
    assert only(mail)[0] is Kind.ENVELOPED


def test_the_mail_that_a_report_returns_is_not_looked_into() -> None:
    returned = part("message/rfc822", part("application/pkcs7-mime", message(Kind.ENVELOPED)))
    mail = multipart("multipart/report", part("text/plain", b"bounced"), returned)
    assert found(mail).payloads == ()


SIGNED = part("text/plain", b"one\ntwo\r\n\nthree")
CANONICAL = SIGNED.replace(b"one\ntwo\r\n\nthree", b"one\r\ntwo\r\n\r\nthree")


@pytest.mark.parametrize(
    "label",
    ["application/pkcs7-signature", "application/x-pkcs7-signature", "application/octet-stream"],
)
def test_a_detached_signature(label: str) -> None:
    signature = message(Kind.SIGNED)
    mail = multipart(
        "multipart/signed", SIGNED, part(label, wrapped(signature), "Content-Transfer-Encoding: base64")
    )
    (signed,) = found(mail).signed
    assert found(mail).payloads == ()
    assert signature_data(signed, mail) == signature
    canonical, as_it_came = (
        b"".join(bytes(chunk) for chunk in reading) for reading in readings(signed, mail)
    )
    assert (canonical, as_it_came) == (CANONICAL, SIGNED)


def test_a_detached_signature_in_pem() -> None:
    signature = message(Kind.SIGNED)
    mail = multipart("multipart/signed", SIGNED, part("application/pkcs7-signature", pem(signature, "PKCS7")))
    assert signature_data(found(mail).signed[0], mail) == signature


def test_an_openpgp_signature_is_not_ours() -> None:
    mail = multipart("multipart/signed", SIGNED, part("application/pgp-signature", b"-----BEGIN PGP"))
    assert found(mail).signed == ()


def test_inv8_a_signature_has_a_limit() -> None:
    mail = multipart("multipart/signed", SIGNED, part("application/pkcs7-signature", bytes(2000)))
    with pytest.raises(RadpostError, match="resource-limit"):
        signature_data(found(mail).signed[0], mail, limit=1000)


@pytest.mark.parametrize(
    ("name", "inside"),
    [("a.dcm.p7m", "a.dcm"), ("A.P7M", "A"), ("smime.p7m", None), ("a.pdf", "a.pdf"), (None, None)],
)
def test_the_name_inside(name: str | None, inside: str | None) -> None:
    assert strip_suffix(name) == inside


@pytest.mark.parametrize("cut", range(16))
def test_short_heads_are_no_cms(cut: int) -> None:
    assert kind_of(message(Kind.SIGNED)[:cut]) in (None, Kind.SIGNED)
