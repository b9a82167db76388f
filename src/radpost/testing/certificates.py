"""Certificates for mail, made anew: authorities, chains, people, revocation lists, right and wrong ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

NOW = datetime(2030, 6, 1, tzinfo=UTC)
"""The time that the certificates are for."""
_LONG = timedelta(days=1000)

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Key = SigningKey | x25519.X25519PrivateKey


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:  # noqa: ARG001  # one key for each name
    """Return an RSA key; the same for the same name, for they take long to make."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a certificate is to say; the defaults are those of a person who signs and receives mail."""

    email: str = "sender@praxis.example"
    is_authority: bool = False
    path_length: int | None = None
    not_before: datetime = NOW - _LONG
    not_after: datetime = NOW + _LONG
    usage: Sequence[str] | None = ("digital_signature", "key_encipherment", "key_agreement")
    purposes: Sequence[ObjectIdentifier] | None = (ExtendedKeyUsageOID.EMAIL_PROTECTION,)
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = ()
    key_id: bool = True

    @classmethod
    def authority(cls, path_length: int | None = None, **more: object) -> Self:
        """Return what an authority's certificate is to say."""
        values: dict[str, object] = {
            "email": "",
            "is_authority": True,
            "path_length": path_length,
            "usage": ("key_cert_sign", "crl_sign"),
            "purposes": None,
        }
        return cls(**{**values, **more})  # type: ignore[arg-type]  # the caller's values


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its key and the name it issues under."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        """The certificate in DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        """The private key in PEM, without passphrase."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def issue(self, name: str, key: Key, wanted: Wanted | None = None) -> "Issued":
        """Issue a certificate under this one."""
        return _issue(name, key, wanted or Wanted(), self)

    def revoke(self, *certificates: "Issued", at: datetime = NOW - timedelta(days=10)) -> bytes:
        """Return a revocation list of this authority in DER."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(NOW - timedelta(days=1))
            .next_update(NOW + timedelta(days=30))
        )
        for one in certificates:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(one.certificate.serial_number)
                .revocation_date(at)
                .build()
            )
        assert isinstance(self.key, SigningKey)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def authority(name: str = "Test CA", key: SigningKey | None = None, wanted: Wanted | None = None) -> Issued:
    """Return a self-signed authority."""
    return _issue(name, key or ec.generate_private_key(ec.SECP256R1()), wanted or Wanted.authority(), None)


def self_signed(name: str, key: SigningKey, wanted: Wanted | None = None) -> Issued:
    """Return a person's certificate that nobody vouches for."""
    return _issue(name, key, wanted or Wanted(), None)


def _issue(name: str, key: Key, wanted: Wanted, issuer: Issued | None) -> Issued:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "TEST ONLY"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    public = key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(wanted.not_before)
        .not_valid_after(wanted.not_after)
        .add_extension(x509.BasicConstraints(wanted.is_authority, wanted.path_length), critical=True)
    )
    if wanted.key_id:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    if wanted.usage is not None:
        builder = builder.add_extension(_usage(wanted.usage), critical=True)
    if wanted.purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wanted.purposes), critical=False)
    if wanted.email:
        names = x509.SubjectAlternativeName([x509.RFC822Name(wanted.email)])
        builder = builder.add_extension(names, critical=False)
    for extension, critical in wanted.extensions:
        builder = builder.add_extension(extension, critical=critical)
    signer = issuer.key if issuer else key
    assert isinstance(signer, SigningKey)
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Issued(builder.sign(signer, digest), key)


def _usage(names: Sequence[str]) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in names for name in every})
