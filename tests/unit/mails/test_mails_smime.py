"""S/MIME mails are opened: layers, verdicts, policies, and what nothing proves (RFC 8551, DESIGN 6)."""

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

import radpost
from radpost.agit.survey import MailKind, survey
from radpost.errors import (
    CERTIFICATE_UNREADABLE,
    NO_INTEGRITY,
    NO_SECRET_KEY,
    PASSPHRASE_WRONG,
    RESOURCE_LIMIT,
    SIGNATURE_BAD,
    SIGNATURE_REQUIRED,
    SMIME_MALFORMED,
    SMIME_UNSUPPORTED,
    TAMPERED,
    WRONG_SIGNER,
    RadpostError,
)
from radpost.mails.results import Result, Status
from radpost.testing.calling import call
from radpost.testing.certificates import NOW, Issued, Wanted, authority
from radpost.testing.cms import Signing, auth_enveloped, content_info, enveloped, recipient, signed
from radpost.testing.vectors import ERROR_CLASSES

CA = authority()
CLINIC = CA.issue("clinic", ec.generate_private_key(ec.SECP256R1()))
OTHER = CA.issue("other", ec.generate_private_key(ec.SECP256R1()))
PRACTICE = CA.issue("practice", ec.generate_private_key(ec.SECP256R1()))
STRANGER = authority("Another CA").issue("stranger", ec.generate_private_key(ec.SECP256R1()))

PDF = b"%PDF-1.4 findings " + bytes(range(256)) * 4
HEAD = (
    b"From: <Sender@praxis.example>\r\nTo: <dicom@klinik.example>\r\nMessage-ID: <1@praxis.example>\r\n"
    b"MIME-Version: 1.0\r\n"
)


def part(content: bytes = PDF, name: str = "findings.pdf") -> bytes:
    """Return a MIME entity with one attachment."""
    lines = base64.encodebytes(content).replace(b"\n", b"\r\n")
    return (
        f'Content-Type: application/pdf\r\nContent-Disposition: attachment; filename="{name}"\r\n'.encode()
        + b"Content-Transfer-Encoding: base64\r\n\r\n"
        + lines
    )


def layer(message: bytes, name: str = "smime.p7m") -> bytes:
    """Return the MIME entity of a CMS message."""
    lines = base64.encodebytes(message).replace(b"\n", b"\r\n")
    return (
        f'Content-Type: application/pkcs7-mime; name="{name}"\r\n'.encode()
        + b"Content-Transfer-Encoding: base64\r\n\r\n"
        + lines
    )


def multipart(kind: str, *parts: bytes) -> bytes:
    boundary = hashlib.sha256(b"".join(parts)).hexdigest()[:20]
    inside = b"".join(b"--" + boundary.encode() + b"\r\n" + one + b"\r\n" for one in parts)
    head = f'Content-Type: {kind}; boundary="{boundary}"\r\n\r\n'
    return head.encode() + inside + f"--{boundary}--\r\n".encode()


def opaque(content: bytes, signer: Issued = PRACTICE) -> bytes:
    return layer(signed(content, Signing(signer), chain=[CA]))


def detached(content: bytes, signer: Issued = PRACTICE) -> bytes:
    signature = base64.encodebytes(signed(content, Signing(signer), detached=True)).replace(b"\n", b"\r\n")
    beside = (
        b"Content-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\n" + signature
    )
    return multipart("multipart/signed; protocol=application/pkcs7-signature", content, beside)


def gcm(content: bytes, who: Issued = CLINIC) -> bytes:
    return layer(auth_enveloped(content, recipient(who)))


def cbc(content: bytes, who: Issued = CLINIC) -> bytes:
    return layer(enveloped(content, recipient(who)))


@dataclass(frozen=True, slots=True)
class Desk:
    """Opens mails as the clinic."""

    folder: Path

    def put(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def open(
        self,
        entity: bytes,
        *,
        policy: str = "ignore",
        anchors: Sequence[Issued] = (CA,),
        certs: Sequence[Issued] = (),
        head: bytes = HEAD,
    ) -> Result:
        mail = self.put("mail.eml", head + entity)
        (result,) = radpost.open_mails(
            [mail],
            secrets=[self.put("key.pem", CLINIC.key_pem), self.put("cert.pem", CLINIC.pem)],
            certs=[self.put(f"cert{number}.der", one.der) for number, one in enumerate(certs)],
            anchors=[self.put(f"ca{number}.pem", one.pem) for number, one in enumerate(anchors)],
            policy=policy,
            clock=lambda: NOW,
        ).results
        return result


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def verdict(result: Result) -> str | None:
    return result.signature.verdict if result.signature else None


def hashes(result: Result) -> list[str]:
    return [view.sha256 for view in result.objects]


WANTED = [hashlib.sha256(PDF).hexdigest()]


@pytest.mark.parametrize(
    ("entity", "expected"),
    [
        (gcm(opaque(part())), "good"),
        (gcm(detached(part())), "good"),
        (cbc(opaque(part())), "good"),
        (cbc(detached(part())), "good"),
        (opaque(cbc(opaque(part()))), "good"),
        (detached(gcm(part())), "good"),
        (gcm(part()), "none"),
        (cbc(opaque(part(), STRANGER)), "untrusted"),
        (
            multipart("multipart/mixed", cbc(opaque(part())), b"\r\nfooter of a list\r\n"),
            "good",
        ),
        (cbc(multipart("multipart/mixed", b"\r\nhello", detached(part()))), "good"),
        (gcm(b"Content-Type: message/rfc822\r\n\r\n" + HEAD + part()), "none"),
        (gcm(part()).replace(b"\r\n", b"\n"), "none"),
    ],
)
def test_layers_of_all_kinds(desk: Desk, entity: bytes, expected: str) -> None:
    result = desk.open(entity)
    assert (result.status, verdict(result), hashes(result)) == (Status.OK, expected, WANTED)
    assert result.encrypted
    assert "no-integrity" not in result.warnings


def test_the_fingerprint_is_that_of_the_certificate(desk: Desk) -> None:
    result = desk.open(gcm(opaque(part())))
    assert result.signature is not None
    assert result.signature.fingerprint == hashlib.sha256(PRACTICE.der).hexdigest().upper()


@pytest.mark.parametrize(
    ("entity", "expected"),
    [
        (cbc(part()), "none"),
        (cbc(detached(part()).replace(b"findings", b"findingz")), "bad"),
        (cbc(multipart("multipart/mixed", part(), detached(b"Content-Type: text/plain\r\n\r\nhi"))), "none"),
        (opaque(cbc(part())), "good"),
        (detached(cbc(part())), "good"),
        (gcm(cbc(part())), "none"),
    ],
    ids=["unsigned", "bad", "signed beside", "signed outside", "signed outside detached", "tag outside"],
)
def test_inv7_what_cbc_gave_and_nothing_inside_proves(desk: Desk, entity: bytes, expected: str) -> None:
    shown = desk.open(entity)
    assert (shown.status, verdict(shown), hashes(shown)) == (Status.OK, expected, WANTED)
    assert "no-integrity" in shown.warnings
    for policy in ("accept", "require"):
        result = desk.open(entity, policy=policy)
        assert (result.status, result.reason, result.objects) == (Status.ERROR, NO_INTEGRITY, ())


def changed(entity: bytes, at: int) -> bytes:
    """Change one octet of the CMS data, counted from the end."""
    head, blank, body = entity.partition(b"\r\n\r\n")
    data = bytearray(base64.b64decode(body))
    data[-at] ^= 1
    return head + blank + base64.encodebytes(bytes(data)).replace(b"\n", b"\r\n")


@pytest.mark.parametrize("seal", [gcm, cbc])
@pytest.mark.parametrize(
    ("inside", "at"), [(part(), 50), (part(), 300), (part(), 1000), (detached(part()), 1900)]
)
def test_inv7_an_octet_changed_on_the_way_releases_nothing(
    desk: Desk, seal: Callable[[bytes], bytes], inside: bytes, at: int
) -> None:
    result = desk.open(changed(seal(inside), at))
    assert (result.status, result.reason, result.objects) == (Status.ERROR, TAMPERED, ())


@pytest.mark.parametrize("inner", [opaque(part()), gcm(part()), multipart("multipart/mixed")])
def test_damage_within_cbc_is_told_as_such(desk: Desk, inner: bytes) -> None:
    damaged = inner.replace(b"multipart/mixed; boundary=", b"multipart/mixed; foundary=")
    damaged = damaged[: len(damaged) * 2 // 3] if damaged == inner else damaged
    result = desk.open(cbc(damaged))
    assert (result.status, result.reason, result.objects) == (Status.ERROR, TAMPERED, ())


@pytest.mark.parametrize(
    ("entity", "policy", "reason"),
    [
        (gcm(part()), "require", SIGNATURE_REQUIRED),
        (gcm(part()), "accept", None),
        (gcm(opaque(part(), STRANGER)), "require", SIGNATURE_REQUIRED),
        (gcm(opaque(part(), STRANGER)), "accept", None),
        (gcm(detached(part()).replace(b"findings", b"findingz")), "accept", SIGNATURE_BAD),
        (gcm(detached(part()).replace(b"findings", b"findingz")), "ignore", None),
        (gcm(opaque(part())), "require", None),
        (cbc(opaque(part())), "require", None),
    ],
)
def test_inv7_policies(desk: Desk, entity: bytes, policy: str, reason: object) -> None:
    result = desk.open(entity, policy=policy)
    assert result.reason is reason
    assert hashes(result) == ([] if reason else WANTED)


@pytest.mark.parametrize(
    ("entity", "reason"),
    [
        (gcm(part(), OTHER), NO_SECRET_KEY),
        (layer(auth_enveloped(part(), recipient(CLINIC))[:-1] + b"\0"), TAMPERED),
        (layer(b"0\3CMS"), SMIME_MALFORMED),
        (layer(content_info("1.2.840.113549.1.9.16.1.9", b"\x30\0")), SMIME_UNSUPPORTED),
    ],
)
def test_what_cannot_be_opened(desk: Desk, entity: bytes, reason: object) -> None:
    result = desk.open(entity)
    assert (result.status, result.reason, result.objects) == (Status.ERROR, reason, ())


def test_inv5_one_sealed_part_that_cannot_be_opened_stops_no_other(desk: Desk) -> None:
    result = desk.open(multipart("multipart/mixed", gcm(part(), OTHER), gcm(part())))
    assert (result.status, result.reason, hashes(result)) == (Status.ERROR, NO_SECRET_KEY, WANTED)
    assert "unopened:no-secret-key" in result.warnings


def test_inv8_layers_have_an_end(desk: Desk) -> None:
    entity = part()
    for _ in range(4):
        entity = gcm(entity)
    assert hashes(desk.open(entity)) == WANTED
    assert desk.open(gcm(entity)).reason is RESOURCE_LIMIT


@pytest.mark.parametrize("entity", [gcm(opaque(part())), gcm(detached(part()))])
def test_inv7_a_certificate_for_another_address_than_from(desk: Desk, entity: bytes) -> None:
    head = HEAD.replace(b"Sender@", b"boss@")
    shown = desk.open(entity, head=head)
    assert (shown.status, verdict(shown), hashes(shown)) == (Status.OK, "good", WANTED)
    assert "signer-not-sender" in shown.warnings
    for policy in ("accept", "require"):
        assert desk.open(entity, head=head, policy=policy).reason is WRONG_SIGNER
        assert "signer-not-sender" not in desk.open(entity, policy=policy).warnings


def test_a_certificate_without_address_speaks_against_nobody(desk: Desk) -> None:
    silent = CA.issue("silent", ec.generate_private_key(ec.SECP256R1()), Wanted(email=""))
    result = desk.open(gcm(opaque(part(), silent)), policy="require")
    assert (result.status, hashes(result)) == (Status.OK, WANTED)


def test_certificates_are_trusted_through_ca_only(desk: Desk) -> None:
    entity = gcm(opaque(part(), STRANGER))
    assert verdict(desk.open(entity, certs=[STRANGER])) == "untrusted"
    assert verdict(desk.open(entity, anchors=[CA, STRANGER])) == "good"


def test_a_signature_that_cannot_be_read_counts_as_none(desk: Desk) -> None:
    broken = multipart(
        "multipart/signed; protocol=application/pkcs7-signature",
        part(),
        b"Content-Type: application/pkcs7-signature\r\n\r\n0\x80nothing",
    )
    result = desk.open(gcm(broken))
    assert (verdict(result), hashes(result)) == ("none", WANTED)
    assert any(warning.startswith("unreadable-signature") for warning in result.warnings)


def test_a_file_that_was_encrypted_as_such(desk: Desk) -> None:
    for message in (auth_enveloped(PDF, recipient(CLINIC)), signed(PDF, Signing(PRACTICE))):
        result = desk.open(multipart("multipart/mixed", layer(message, "findings.pdf.p7m")))
        assert (hashes(result), [view.name for view in result.objects]) == (WANTED, ["findings.pdf"])


def test_what_is_signed_and_no_data_is_an_ordinary_mail(desk: Desk) -> None:
    letter = b"Content-Type: text/plain\r\n\r\nDear colleague\r\n"
    for entity in (opaque(letter), detached(letter), layer(signed(b"", chain=[CA], detached=True))):
        assert desk.open(entity).status is Status.IGNORED


def test_a_receipt_and_a_bounce(desk: Desk) -> None:
    notice = (
        b"Content-Type: message/disposition-notification\r\n\r\nFinal-Recipient: rfc822; a@b.example\r\n"
        b"Original-Message-ID: <9@klinik.example>\r\n"
        b"Disposition: automatic-action/MDN-sent-automatically; displayed\r\n"
    )
    report = multipart("multipart/report; report-type=disposition-notification", b"\r\nread", notice)
    receipt = desk.open(gcm(opaque(report)))
    assert (receipt.status, verdict(receipt)) == (Status.RECEIPT, "good")
    assert receipt.receipt is not None
    status = (
        b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n"
        b"Final-Recipient: rfc822; a@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    )
    returned = b"Content-Type: message/rfc822\r\n\r\n" + HEAD + gcm(part())
    bounce = multipart("multipart/report; report-type=delivery-status", b"\r\nno", status, returned)
    assert desk.open(bounce).status is Status.BOUNCE


def test_set_headers_inside(desk: Desk) -> None:
    entity = b"x-dicom-msg-setid: 1.2.3\r\nx-dicom-msg-setindex: 2/3\r\n" + part()
    result = desk.open(gcm(entity))
    assert result.set is not None
    assert (result.set.id, result.set.part, result.set.total) == ("1.2.3", 2, 3)


def test_a_locked_key_and_files_that_hold_none_are_named(tmp_path: Path) -> None:
    assert isinstance(CLINIC.key, ec.EllipticCurvePrivateKey)
    locked = CLINIC.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"geheim"),
    )
    mail, key, word = tmp_path / "mail.eml", tmp_path / "key.pem", tmp_path / "word"
    mail.write_bytes(HEAD + gcm(part()))
    key.write_bytes(locked + CLINIC.pem)
    for said, reason in ((b"geheim\n", None), (b"wrong\n", PASSPHRASE_WRONG)):
        word.write_bytes(said)
        if reason is None:
            (result,) = radpost.open_mails([mail], secrets=[key], passphrase_file=word).results
            assert result.status is Status.OK
            continue
        with pytest.raises(RadpostError, match=r"key\.pem") as refused:
            radpost.open_mails([mail], secrets=[key], passphrase_file=word)
        assert refused.value.reason is reason
    key.write_bytes(b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
    with pytest.raises(RadpostError, match=r"key\.pem") as refused:
        radpost.open_mails([mail], certs=[key])
    assert refused.value.reason is CERTIFICATE_UNREADABLE


def test_the_gateway_takes_s_mime_for_nothing_of_its_own_yet() -> None:
    mail = HEAD + gcm(part())
    assert survey(mail).kind is MailKind.FOREIGN
    assert survey(mail, smime=True).kind is MailKind.SEALED


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_command_tells_a_person(desk: Desk, language: str) -> None:
    mail = desk.put("mail.eml", HEAD + cbc(opaque(part(), STRANGER)))
    key = desk.put("key.pem", CLINIC.key_pem + CLINIC.pem)
    keys = ["--secret", key, "--ca", desk.put("ca.pem", CA.pem)]
    said = call("open", mail, *keys, "--out", desk.folder / "out", "--lang", language)
    assert said.code == 0
    assert "--ca" in said.out


MAILS = Path(__file__).resolve().parents[4] / "shared" / "mails"
KEYS = MAILS / "keys/smime"


def reference(name: str) -> tuple[dict[str, Any], list[dict[str, Any]], Path]:
    (path,) = (MAILS / "xdm").glob(f"{name}-*.json")
    vector: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return vector["expect"], vector["files"], path.parent


@pytest.mark.shared
@pytest.mark.parametrize("name", [f"x{number:02}" for number in (*range(1, 23), *range(30, 38), 58)])
def test_the_reference_mails_give_their_medium(name: str, tmp_path: Path) -> None:
    expect, files, folder = reference(name)
    secrets = [KEYS / f"recv-{kind}.{one}.pem" for kind in ("rsa", "ec") for one in ("key", "cert")]
    found = radpost.open_mails(
        [folder / str(file) for file in files], secrets=secrets, anchors=[KEYS / "ca.cert.pem"], out=tmp_path
    )
    (result,) = found.results
    if expect["result"] == "error":
        assert result.status is Status.ERROR
        assert result.reason in ERROR_CLASSES[expect["error_class"]]
        assert not list(tmp_path.iterdir())
        return
    assert (result.status, verdict(result)) == (Status.OK, expect["signature"])
    inside: set[str] = set()
    for path in tmp_path.iterdir():
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as medium:
            inside |= {hashlib.sha256(medium.read(one)).hexdigest() for one in medium.namelist()}
    assert {payload["sha256"] for payload in expect["payloads"]} <= inside
    if "set_id" in expect:
        assert result.set is not None
        assert (result.set.id, result.set.total) == (expect["set_id"], expect["total"])
        assert list(result.missing) == expect.get("missing", [])
