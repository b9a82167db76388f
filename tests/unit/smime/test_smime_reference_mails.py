"""The reference mails: what is in them, who signed, and what must not come out."""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from radpost import smime
from radpost.errors import TRUNCATED, RadpostError
from radpost.mime import cms
from radpost.mime.reader import Entity, body, parse
from radpost.testing.vectors import ERROR_CLASSES
from radpost.words import Verdict

pytestmark = pytest.mark.shared

NOW = datetime(2026, 12, 1, tzinfo=UTC)
NAMES = [
    *(f"x{number:02}" for number in range(1, 20)),
    *("x20", "x21", "x22", "x30", "x31", "x32", "x33", "x34", "x35", "x36", "x37", "x57", "x58"),
]


@dataclass
class Seen:
    """What a mail showed, from outside in."""

    layers: list[smime.Decrypted | smime.Verified] = field(default_factory=list)
    zips: list[bytes] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        found = [one.signature for one in self.layers if isinstance(one, smime.Verified)]
        return smime.decisive(found).verdict

    @property
    def proven(self) -> bool:
        """Whether each content that its cipher does not prove has an intact signature inside."""
        unproven = False
        for layer in self.layers:
            if isinstance(layer, smime.Decrypted):
                unproven = unproven or not layer.authenticated
            elif layer.signature.intact:
                unproven = False
        return not unproven

    @property
    def objects(self) -> set[str]:
        found = set()
        for content in self.zips:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                found |= {hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
        return found


@dataclass(frozen=True)
class Clinic:
    """The receiver of the reference mails."""

    keys: smime.Loaded
    trust: smime.Trust

    def open(self, mail: bytes) -> Seen:
        seen = Seen()
        self._open(parse(mail), mail, seen)
        return seen

    def _open(self, root: Entity, buffer: bytes, seen: Seen) -> None:
        found = cms.find_smime(root, buffer)
        for signed in found.signed:
            signature, contents = cms.signature_data(signed, buffer), cms.readings(signed, buffer)
            seen.layers.append(smime.verify(signature, self.trust, NOW, contents=contents))
        taken = [payload.entity for payload in found.payloads]
        for payload in found.payloads:
            message = b"".join(bytes(chunk) for chunk in cms.data(payload, buffer))
            inside: bytes | memoryview | None
            if payload.kind is cms.Kind.SIGNED:
                verified = smime.verify(message, self.trust, NOW)
                seen.layers.append(verified)
                inside = verified.content
            else:
                decrypted = smime.decrypt(message, self.keys.credentials, legacy=True)
                seen.layers.append(decrypted)
                inside = decrypted.content
            assert inside is not None
            self._open(parse(inside), bytes(inside), seen)
        for leaf in root.walk():
            if not leaf.children and leaf not in taken:
                content = b"".join(bytes(chunk) for chunk in body(leaf, buffer))
                if content.startswith(b"PK\x03\x04"):
                    seen.zips.append(content)


def _keys(shared: Path, *names: str) -> list[bytes]:
    return [(shared / "mails" / "keys" / "smime" / f"{name}.pem").read_bytes() for name in names]


@pytest.fixture(scope="module")
def clinic(shared: Path) -> Clinic:
    own = _keys(shared, "recv-rsa.key", "recv-rsa.cert", "recv-ec.key", "recv-ec.cert")
    anchors = smime.load(_keys(shared, "ca.cert")).certificates
    return Clinic(smime.load(own), smime.Trust(anchors=anchors))


def _vector(shared: Path, name: str) -> tuple[dict[str, Any], list[bytes]]:
    (path,) = (shared / "mails" / "xdm").glob(f"{name}-*.json")
    vector: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return vector["expect"], [(path.parent / file).read_bytes() for file in vector["files"]]


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_mail_gives_what_it_must(shared: Path, clinic: Clinic, name: str) -> None:
    expect, mails = _vector(shared, name)
    if expect["result"] == "error":
        with pytest.raises(RadpostError) as refused:
            clinic.open(mails[0])
        wanted = ERROR_CLASSES[expect["error_class"]]
        if name == "x16":  # the caller, who knows that nothing proves what was inside, tells it as TAMPERED
            wanted = (TRUNCATED,)
        assert refused.value.reason in wanted
        return
    seen = [clinic.open(mail) for mail in mails]
    assert {one.verdict.value for one in seen} == {expect["signature"]}
    if name == "x57":  # OpenPGP is for another room
        return
    found = set().union(*(one.objects for one in seen))
    assert {payload["sha256"] for payload in expect["payloads"]} <= found


def test_what_only_the_legacy_switch_opens(shared: Path, clinic: Clinic) -> None:
    _, (mail,) = _vector(shared, "x09")
    payload = cms.find_smime(parse(mail), mail).payloads[0]
    message = b"".join(bytes(chunk) for chunk in cms.data(payload, mail))
    with pytest.raises(RadpostError, match="legacy-algorithm"):
        smime.decrypt(message, clinic.keys.credentials)
    assert smime.decrypt(message, clinic.keys.credentials, legacy=True).warnings == (
        "legacy-cipher:3DES-CBC",
    )


@pytest.mark.parametrize(
    ("name", "proven"),
    [("x01", True), ("x02", True), ("x03", True), ("x07", False), ("x11", True), ("x13", False)],
)
def test_inv7_what_proves_the_content(shared: Path, clinic: Clinic, name: str, proven: bool) -> None:
    _, (mail,) = _vector(shared, name)
    assert clinic.open(mail).proven is proven


def test_the_signer_is_told_by_certificate_and_address(shared: Path, clinic: Clinic) -> None:
    (certificate,) = smime.load(_keys(shared, "sender-rsa.cert")).certificates
    _, (mail,) = _vector(shared, "x01")
    (verified,) = (one for one in clinic.open(mail).layers if isinstance(one, smime.Verified))
    assert verified.signature.fingerprint == certificate.value.fingerprint
    assert verified.signature.certificate is not None
    assert verified.signature.certificate.emails == ("gateway@praxis-b.example",)
    assert verified.signature.signed_at is not None
    assert verified.signature.algorithm == "RSA"


@pytest.mark.parametrize("name", ["x01", "x02", "x04", "x05", "x06"])
def test_a_key_without_its_certificate_opens_too(shared: Path, clinic: Clinic, name: str) -> None:
    bare = Clinic(smime.load(_keys(shared, "recv-rsa.key", "recv-ec.key")), clinic.trust)
    _, (mail,) = _vector(shared, name)
    assert bare.open(mail).verdict is Verdict.GOOD


def test_a_key_without_certificate_does_not_open_what_is_for_others(shared: Path, clinic: Clinic) -> None:
    bare = Clinic(smime.load(_keys(shared, "recv-rsa.key")), clinic.trust)
    _, (mail,) = _vector(shared, "x14")
    with pytest.raises(RadpostError, match="no-secret-key"):
        bare.open(mail)


def test_either_key_of_two_recipients_opens(shared: Path, clinic: Clinic) -> None:
    _, (mail,) = _vector(shared, "x05")
    ways = []
    for name in ("recv-rsa", "recv-ec"):
        one = Clinic(smime.load(_keys(shared, f"{name}.key", f"{name}.cert")), clinic.trust)
        decrypted = one.open(mail).layers[0]
        assert isinstance(decrypted, smime.Decrypted)
        ways.append(decrypted.transport)
    assert ways == ["RSA", "ECDH"]
