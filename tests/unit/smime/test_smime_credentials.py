"""Files of keys and certificates: what they hold shows in what they are."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, x25519

from radpost import smime
from radpost.errors import CERTIFICATE_UNREADABLE, PASSPHRASE_WRONG, RESOURCE_LIMIT, RadpostError
from radpost.testing.certificates import NOW, Wanted, authority, rsa_key

CA = authority()
RSA = CA.issue("rsa", rsa_key("receiver"))
EC = CA.issue("ec", ec.generate_private_key(ec.SECP256R1()))
X = CA.issue("x", x25519.X25519PrivateKey.generate())


def locked(passphrase: bytes) -> bytes:
    return EC.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )


def test_one_file_may_hold_everything_and_words_besides() -> None:
    file = b"Bag Attributes\n  friendlyName: x\n" + CA.pem + b"\r\n\r\n" + EC.key_pem + EC.pem + RSA.key_pem
    loaded = smime.load([file, X.key_pem, RSA.der, X.der])
    assert [one.certificate is not None for one in loaded.credentials] == [True, True, True]
    assert {one.value.subject for one in loaded.certificates} == {
        smime.hold(one.der).value.subject for one in (CA, RSA, EC, X)
    }


def test_a_key_without_certificate_is_taken() -> None:
    (credential,) = smime.load([EC.key_pem, RSA.pem]).credentials
    assert credential.certificate is None


def test_a_key_with_two_certificates_answers_to_both() -> None:
    renewed = CA.issue("ec", EC.key, Wanted(email="new@praxis.example"))
    found = smime.load([EC.key_pem, EC.pem, renewed.pem, EC.key_pem]).credentials
    assert [one.certificate.value.emails for one in found if one.certificate] == [
        ("sender@praxis.example",),
        ("new@praxis.example",),
    ]


def test_passphrases_are_tried() -> None:
    assert len(smime.load([locked(b"two"), EC.pem], [b"one", b"two"]).credentials) == 1
    for passphrases in ([], [b"one"]):
        with pytest.raises(RadpostError) as refused:
            smime.load([locked(b"two")], passphrases)
        assert refused.value.reason is PASSPHRASE_WRONG


def test_revocation_lists() -> None:
    der = CA.revoke(RSA)
    loaded = smime.load([der])
    pem = loaded.revocations[0].public_bytes(serialization.Encoding.PEM)
    assert smime.load([pem]).revocations == loaded.revocations


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ\n-----END PGP PUBLIC KEY BLOCK-----\n",
        b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n",
        b"-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----\n",
        b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n",
        b"\x30\x00",
        b"\x30\x80",
        b"\x30\x82\xff\xff" + bytes(40),
        RSA.der[:-1],
        RSA.der[:60] + bytes(len(RSA.der) - 60),
    ],
)
def test_what_holds_nothing_is_said_to(content: bytes) -> None:
    with pytest.raises(RadpostError) as refused:
        smime.load([content])
    assert refused.value.reason.code // 100 == 2


def test_a_key_that_s_mime_cannot_use() -> None:
    key = dsa.generate_private_key(1024).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(RadpostError) as refused:
        smime.load([key])
    assert refused.value.reason is CERTIFICATE_UNREADABLE


def test_inv8_a_file_has_a_limit() -> None:
    with pytest.raises(RadpostError) as refused:
        smime.load([bytes(5 << 20)])
    assert refused.value.reason is RESOURCE_LIMIT


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (RSA.pem, True),
        (RSA.key_pem, True),
        (RSA.der, True),
        (CA.revoke(RSA), True),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQ\n-----END PGP PRIVATE KEY BLOCK-----\n", False),
        (bytes.fromhex("9801"), False),
        (b"0 words", False),
        (b"", False),
    ],
)
def test_which_files_are_meant_for_s_mime(content: bytes, expected: bool) -> None:
    assert smime.looks_like_credentials(content) is expected


def test_what_a_certificate_says() -> None:
    value = smime.hold(RSA.der).value
    assert (value.subject, value.issuer) == ("CN=rsa,O=TEST ONLY", "CN=Test CA,O=TEST ONLY")
    assert (value.emails, value.algorithm) == (("sender@praxis.example",), "RSA-2048")
    assert value.not_before < NOW < value.not_after
    assert len(value.fingerprint) == 64
    assert value.fingerprint == value.fingerprint.upper()
