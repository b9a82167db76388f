"""What ``openssl cms`` makes, we read: every way to encrypt and to sign, and nothing that was changed."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)

from radpost import smime
from radpost.errors import (
    LEGACY_ALGORITHM,
    NO_SECRET_KEY,
    PASSPHRASE_WRONG,
    PASSWORD_ENCRYPTED,
    SMIME_UNSUPPORTED,
    RadpostError,
)
from radpost.testing.certificates import NOW, Issued, Wanted, authority, rsa_key
from radpost.testing.peers import openssl
from radpost.words import Verdict

pytestmark = pytest.mark.peer("openssl")

TEXT = b"Content-Type: text/plain\r\n\r\n" + b"DICOM, more or less.\r\n" * 3000
"""Longer than the pieces in which OpenSSL writes a stream."""


@dataclass(frozen=True)
class World:
    """An authority, one between, and people with keys of many kinds."""

    root: Issued
    between: Issued
    rsa: Issued
    other: Issued
    people: dict[str, Issued]

    def credentials(self, *names: str) -> tuple[smime.Credential, ...]:
        return smime.load([self.people[name].pem + self.people[name].key_pem for name in names]).credentials

    @property
    def trust(self) -> smime.Trust:
        return smime.Trust(anchors=(smime.hold(self.root.der),))

    def verdict(self, message: bytes, content: bytes | None = None) -> smime.Signature:
        contents = [[content]] if content is not None else []
        return smime.verify(message, self.trust, NOW, contents=contents).signature


@pytest.fixture(scope="module")
def world() -> World:
    root = authority("Root", rsa_key("Root"))
    between = root.issue("Between", rsa_key("Between"), Wanted.authority())
    curves = {
        "P-256": ec.SECP256R1(),
        "P-384": ec.SECP384R1(),
        "P-521": ec.SECP521R1(),
        "brainpool": ec.BrainpoolP256R1(),
    }
    people = {name: between.issue(name, ec.generate_private_key(curve)) for name, curve in curves.items()}
    people["rsa"] = between.issue("rsa", rsa_key("rsa", 3072))
    people["other"] = between.issue("other", rsa_key("other"))
    people["X25519"] = between.issue("X25519", x25519.X25519PrivateKey.generate())
    people["Ed25519"] = between.issue("Ed25519", ed25519.Ed25519PrivateKey.generate())
    return World(root, between, people["rsa"], people["other"], people)


CIPHERS = [
    ("-aes-128-cbc", "AES-128-CBC"),
    ("-aes-192-cbc", "AES-192-CBC"),
    ("-aes-256-cbc", "AES-256-CBC"),
    ("-aes-128-gcm", "AES-128-GCM"),
    ("-aes-192-gcm", "AES-192-GCM"),
    ("-aes-256-gcm", "AES-256-GCM"),
]


@pytest.mark.parametrize("stream", [False, True], ids=["DER", "BER"])
@pytest.mark.parametrize(("option", "cipher"), CIPHERS)
def test_every_cipher(world: World, option: str, cipher: str, stream: bool) -> None:
    options = [option, *(["-stream"] if stream else [])]
    message = openssl.encrypt(TEXT, world.rsa, options=options)
    opened = smime.decrypt(message, world.credentials("rsa"))
    assert (bytes(opened.content), opened.cipher, opened.transport) == (TEXT, cipher, "RSA")
    assert opened.authenticated is cipher.endswith("GCM")
    assert opened.recipient == smime.hold(world.rsa.der).value.fingerprint


@pytest.mark.parametrize("size", [1, 15, 16, 17, 4096, 100_001])
@pytest.mark.parametrize("option", ["-aes-256-cbc", "-aes-256-gcm"])
def test_every_size(world: World, option: str, size: int) -> None:
    content = bytes(index & 0xFF for index in range(size))
    message = openssl.encrypt(content, world.rsa, options=[option, "-stream"])
    assert bytes(smime.decrypt(message, world.credentials("rsa")).content) == content


OAEP = ["-keyopt", "rsa_padding_mode:oaep"]


@pytest.mark.parametrize(
    "options",
    [
        OAEP,
        [*OAEP, "-keyopt", "rsa_oaep_md:sha256"],
        [*OAEP, "-keyopt", "rsa_oaep_md:sha512", "-keyopt", "rsa_mgf1_md:sha256"],
        [*OAEP, "-keyopt", "rsa_oaep_label:0102ff"],
    ],
    ids=["sha1", "sha256", "mixed", "label"],
)
def test_oaep(world: World, options: Sequence[str]) -> None:
    message = openssl.encrypt(TEXT, world.rsa, options=["-aes-256-gcm", *options])
    opened = smime.decrypt(message, world.credentials("rsa"))
    assert (bytes(opened.content), opened.transport) == (TEXT, "RSA-OAEP")


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-keyopt", "ecdh_kdf_md:sha256"],
        ["-keyopt", "ecdh_kdf_md:sha512"],
        ["-keyopt", "ecdh_cofactor_mode:1"],
        ["-aes128-wrap"],
    ],
    ids=["sha1", "sha256", "sha512", "cofactor", "aes128-wrap"],
)
@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521", "brainpool"])
def test_key_agreement(world: World, curve: str, options: Sequence[str]) -> None:
    message = openssl.encrypt(TEXT, world.people[curve], options=["-aes-256-gcm", *options])
    opened = smime.decrypt(message, world.credentials(curve))
    assert (bytes(opened.content), opened.transport) == (TEXT, "ECDH")


@pytest.mark.parametrize("kind", ["rsa", "P-256"])
def test_a_recipient_named_by_key_identifier(world: World, kind: str) -> None:
    message = openssl.encrypt(TEXT, world.people[kind], options=["-aes-256-gcm", "-keyid"])
    assert bytes(smime.decrypt(message, world.credentials(kind)).content) == TEXT


def test_any_of_several_recipients(world: World) -> None:
    everybody = [world.people[name] for name in ("other", "P-384", "rsa", "P-256")]
    message = openssl.encrypt(TEXT, *everybody, options=["-aes-256-cbc"])
    for name in ("rsa", "P-256", "P-384"):
        assert bytes(smime.decrypt(message, world.credentials(name)).content) == TEXT
    with pytest.raises(RadpostError) as refused:
        smime.decrypt(message, world.credentials("P-521", "X25519"))
    assert refused.value.reason is NO_SECRET_KEY


def test_triple_des_under_the_legacy_switch_only(world: World) -> None:
    message = openssl.encrypt(TEXT, world.rsa, options=["-des3"])
    with pytest.raises(RadpostError) as refused:
        smime.decrypt(message, world.credentials("rsa"))
    assert refused.value.reason is LEGACY_ALGORITHM
    opened = smime.decrypt(message, world.credentials("rsa"), legacy=True)
    assert (bytes(opened.content), opened.warnings) == (TEXT, ("legacy-cipher:3DES-CBC",))


def test_a_cipher_that_we_do_not_know_is_named(world: World) -> None:
    message = openssl.encrypt(TEXT, world.rsa, options=["-camellia256"])
    with pytest.raises(RadpostError, match=r"1\.2\.392\.200011") as refused:
        smime.decrypt(message, world.credentials("rsa"), legacy=True)
    assert refused.value.reason is SMIME_UNSUPPORTED


def test_a_message_for_a_password(world: World) -> None:
    message = openssl.cms(
        ["-encrypt", "-binary", "-outform", "DER", "-aes256", "-pwri_password", "secret"], TEXT
    )
    with pytest.raises(RadpostError) as refused:
        smime.decrypt(message, world.credentials("rsa"))
    assert refused.value.reason is PASSWORD_ENCRYPTED


PSS = ["-keyopt", "rsa_padding_mode:pss"]
SIGNING = [
    ("rsa", [], "RSA", "sha256"),
    ("rsa", ["-md", "sha384"], "RSA", "sha384"),
    ("rsa", ["-md", "sha512"], "RSA", "sha512"),
    ("rsa", ["-md", "sha3-256"], "RSA", "sha3-256"),
    ("rsa", PSS, "RSASSA-PSS", "sha256"),
    ("rsa", [*PSS, "-keyopt", "rsa_pss_saltlen:32", "-md", "sha512"], "RSASSA-PSS", "sha512"),
    ("rsa", ["-keyid"], "RSA", "sha256"),
    ("rsa", ["-noattr"], "RSA", "sha256"),
    ("rsa", [*PSS, "-noattr"], "RSASSA-PSS", "sha256"),
    ("rsa", ["-cades"], "RSA", "sha256"),
    ("P-256", [], "ECDSA", "sha256"),
    ("P-384", ["-md", "sha384"], "ECDSA", "sha384"),
    ("P-521", ["-md", "sha512"], "ECDSA", "sha512"),
    ("P-256", ["-noattr"], "ECDSA", "sha256"),
    ("brainpool", [], "ECDSA", "sha256"),
]

FORMS = [
    (*row, form)
    for row in SIGNING
    for form in ("opaque", "opaque BER", "detached")
    if not (form == "opaque BER" and row[2] == "RSASSA-PSS")  # OpenSSL 3.0 cannot write it
]


@pytest.mark.parametrize(("who", "options", "algorithm", "digest", "form"), FORMS)
def test_every_signature(
    world: World, who: str, options: Sequence[str], algorithm: str, digest: str, form: str
) -> None:
    detached = form == "detached"
    if form == "opaque BER":
        options = [*options, "-stream"]
    message = openssl.sign(TEXT, world.people[who], chain=[world.between], detached=detached, options=options)
    verified = smime.verify(message, world.trust, NOW, contents=[[TEXT]] if detached else [])
    found = verified.signature
    assert (found.verdict, found.algorithm, found.digest) == (Verdict.GOOD, algorithm, digest)
    assert found.problem == ""
    assert found.intact
    assert (verified.content is None) if detached else (bytes(verified.content or b"") == TEXT)
    if "-noattr" not in options:
        assert found.signed_at is not None
        assert abs((datetime.now(UTC) - found.signed_at).total_seconds()) < 600
    other = TEXT.replace(b"more", b"mere")
    if detached:
        assert world.verdict(message, other).verdict is Verdict.BAD
    else:
        at = message.index(b"more or less")
        assert world.verdict(message[:at] + b"mere" + message[at + 4 :]).verdict is Verdict.BAD


@pytest.mark.parametrize("digest", ["sha1", "md5"])
def test_a_weak_digest_proves_nothing(world: World, digest: str) -> None:
    message = openssl.sign(TEXT, world.rsa, chain=[world.between], options=["-md", digest])
    found = world.verdict(message)
    assert (found.verdict, found.intact) == (Verdict.WEAK_DIGEST, False)
    assert digest in found.problem


def test_of_several_signers_each_has_a_verdict(world: World) -> None:
    stranger = authority("Stranger CA").issue("stranger", rsa_key("stranger"))
    message = openssl.sign(TEXT, stranger, world.rsa, world.people["P-256"], chain=[world.between])
    verified = smime.verify(message, world.trust, NOW)
    verdicts = sorted(one.verdict.value for one in verified.signatures)
    assert verdicts == ["good", "good", "untrusted"]
    assert verified.signature.verdict is Verdict.GOOD
    assert {one.subject.split(",")[0] for one in verified.certificates} == {
        "CN=stranger",
        "CN=rsa",
        "CN=P-256",
        "CN=Between",
    }


def test_the_chain_may_come_from_what_is_known(world: World) -> None:
    message = openssl.sign(TEXT, world.rsa)
    assert world.verdict(message).verdict is Verdict.UNTRUSTED
    known = smime.Trust(world.trust.anchors, certificates=(smime.hold(world.between.der),))
    assert smime.verify(message, known, NOW).signature.verdict is Verdict.GOOD


def test_the_signer_s_certificate_may_come_from_what_is_known(world: World) -> None:
    message = openssl.sign(TEXT, world.rsa, options=["-nocerts"])
    missing = world.verdict(message)
    assert (missing.verdict, missing.fingerprint) == (Verdict.UNKNOWN_KEY, None)
    pinned = smime.Trust(anchors=(smime.hold(world.rsa.der),))
    assert smime.verify(message, pinned, NOW).signature.verdict is Verdict.GOOD


def test_signed_then_encrypted_and_encrypted_then_signed(world: World) -> None:
    signed = openssl.sign(TEXT, world.rsa, chain=[world.between], options=["-stream"])
    opened = smime.decrypt(openssl.encrypt(signed, world.other), world.credentials("other"))
    assert world.verdict(bytes(opened.content)).verdict is Verdict.GOOD
    outer = openssl.sign(openssl.encrypt(TEXT, world.other), world.rsa, chain=[world.between])
    inside = smime.verify(outer, world.trust, NOW).content
    assert inside is not None
    assert bytes(smime.decrypt(inside, world.credentials("other")).content) == TEXT


@pytest.mark.parametrize(
    "file", ["pkcs8", "locked pkcs8", "locked pkcs1", "locked ec", "pkcs1 DER", "pkcs12"]
)
def test_keys_in_every_form(world: World, tmp_path: Path, file: str) -> None:
    who = world.people["P-256"] if file == "locked ec" else world.rsa
    message = openssl.encrypt(TEXT, who, options=["-aes-256-gcm"])
    plain = tmp_path / "plain.pem"
    plain.write_bytes(who.key_pem)
    commands = {
        "pkcs8": ["pkcs8", "-topk8", "-nocrypt", "-outform", "DER"],
        "locked pkcs8": ["pkcs8", "-topk8", "-v2", "aes256", "-passout", "pass:secret"],
        "locked pkcs1": ["rsa", "-traditional", "-aes128", "-passout", "pass:secret"],
        "locked ec": ["ec", "-aes128", "-passout", "pass:secret"],
        "pkcs1 DER": ["rsa", "-traditional", "-outform", "DER"],
        "pkcs12": ["pkcs12", "-export", "-inkey", str(plain), "-passout", "pass:secret"],
    }
    (tmp_path / "cert.pem").write_bytes(who.pem)
    source = ["-in", str(tmp_path / "cert.pem" if file == "pkcs12" else plain)]
    done = subprocess.run(["openssl", *commands[file], *source], capture_output=True, check=True)
    locked = "locked" in file or file == "pkcs12"
    if locked:
        with pytest.raises(RadpostError) as refused:
            smime.load([done.stdout], [b"wrong"])
        assert refused.value.reason is PASSPHRASE_WRONG
    credentials = smime.load([done.stdout, who.der], [b"wrong", b"secret"]).credentials
    assert len(credentials) == 1
    assert credentials[0].certificate is not None
    assert bytes(smime.decrypt(message, credentials).content) == TEXT


def test_a_bundle_of_certificates(world: World, tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_bytes(world.between.pem + world.root.pem)
    for form in ("PEM", "DER"):
        command = ["openssl", "crl2pkcs7", "-nocrl", "-certfile", str(chain), "-outform", form]
        bundle = subprocess.run(command, capture_output=True, check=True).stdout
        assert {one.value.subject.split(",")[0] for one in smime.load([bundle]).certificates} == {
            "CN=Between",
            "CN=Root",
        }


def test_a_certificate_in_openssl_s_trusted_form(world: World, tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    file.write_bytes(world.root.pem)
    command = ["openssl", "x509", "-in", str(file), "-trustout", "-addtrust", "emailProtection"]
    trusted = subprocess.run(command, capture_output=True, check=True).stdout
    assert b"TRUSTED" in trusted
    assert smime.load([trusted]).certificates == (smime.hold(world.root.der),)


def test_pkcs12_of_another_maker(world: World) -> None:
    key, chain = world.rsa.key, [world.between.certificate]
    assert isinstance(key, RSAPrivateKey)
    locked = BestAvailableEncryption(b"x")
    file = pkcs12.serialize_key_and_certificates(b"rsa", key, world.rsa.certificate, chain, locked)
    loaded = smime.load([file], [b"x"])
    assert [one.certificate.value.subject for one in loaded.credentials if one.certificate] == [
        smime.hold(world.rsa.der).value.subject
    ]
    assert len(loaded.certificates) == 2


def test_a_chain_signed_with_sha1_proves_nothing(world: World, tmp_path: Path) -> None:
    request, key, ca, ca_key = (tmp_path / name for name in ("r", "k", "c", "ck"))
    ca.write_bytes(world.root.pem)
    ca_key.write_bytes(world.root.key_pem)
    run = ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-subj", "/CN=old"]
    subprocess.run([*run, "-out", str(request)], capture_output=True, check=True)
    command = ["openssl", "x509", "-req", "-sha1", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key)]
    old = subprocess.run([*command, "-days", "3000"], capture_output=True, check=True).stdout
    private = load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, RSAPrivateKey)
    leaf = Issued(x509.load_pem_x509_certificate(old), private)
    found = world.verdict(openssl.sign(TEXT, leaf))
    assert (found.verdict, found.problem) == (Verdict.UNTRUSTED, "a certificate is signed with sha1")
