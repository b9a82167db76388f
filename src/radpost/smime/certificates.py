"""Certificates as values, and how a message names them (RFC 5652 10.2.4, RFC 8550)."""

import hashlib
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x448, x25519
from cryptography.x509.oid import NameOID

from radpost.errors import CERTIFICATE_UNREADABLE, RadpostError
from radpost.smime.ber import INTEGER, SEQUENCE, context, parse
from radpost.smime.cms import Identifier
from radpost.smime.values import Certificate


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A certificate in use: parsed, with the octets by which others name it."""

    x509: x509.Certificate
    value: Certificate
    issuer: bytes
    subject: bytes
    key_id: bytes | None
    """The subject key identifier that it states."""
    key_hash: bytes
    """SHA-1 of the public key, which stands in for the identifier (RFC 5280 4.2.1.2)."""
    key: bytes
    """SubjectPublicKeyInfo in DER."""

    def is_named_by(self, identifier: Identifier) -> bool:
        """Whether a SignerInfo or RecipientInfo names this certificate."""
        if identifier.key is not None:
            return identifier.key in (self.key_id, self.key_hash)
        return identifier.serial == self.value.serial and identifier.issuer == self.issuer

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and self.value.fingerprint == other.value.fingerprint

    def __hash__(self) -> int:
        return hash(self.value.fingerprint)


def hold(der: bytes) -> Held:
    """Read a certificate in DER; raise CERTIFICATE_UNREADABLE if that cannot be done."""
    try:
        serial, issuer, subject = _identity(der)
        parsed = _parsed(der, serial)
        public = parsed.public_key()
        key = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return Held(
            parsed,
            _value(der, serial, parsed, public),
            issuer,
            subject,
            _key_id(parsed),
            _key_hash(key),
            key,
        )
    except RadpostError as error:
        raise RadpostError(CERTIFICATE_UNREADABLE, error.detail) from error
    except (ValueError, TypeError, OverflowError) as error:
        raise RadpostError(CERTIFICATE_UNREADABLE, "not an X.509 certificate that can be used") from error
    except Exception as error:  # the library has exceptions of its own for odd keys and names
        raise RadpostError(CERTIFICATE_UNREADABLE, type(error).__name__) from error


def _identity(der: bytes) -> tuple[int, bytes, bytes]:
    """Return serial number, issuer and subject, the names as they stand (RFC 5280 4.1)."""
    tbs = parse(der).fields().take(SEQUENCE).fields()
    tbs.maybe(context(0))
    serial = tbs.take(INTEGER).integer()
    tbs.take(SEQUENCE)
    issuer = tbs.take(SEQUENCE).raw
    tbs.take(SEQUENCE)
    return serial, issuer, tbs.take(SEQUENCE).raw


def _parsed(der: bytes, serial: int) -> x509.Certificate:
    if serial > 0:
        return x509.load_der_x509_certificate(der)
    with warnings.catch_warnings():  # home-made authorities have number 0, against RFC 5280 4.1.2.2
        warnings.simplefilter("ignore")
        return x509.load_der_x509_certificate(der)


def _key_hash(key: bytes) -> bytes:
    info = parse(key).fields()
    info.take(SEQUENCE)
    return hashlib.sha1(info.take().bits(), usedforsecurity=False).digest()


def _key_id(parsed: x509.Certificate) -> bytes | None:
    try:
        return parsed.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return None


def _value(der: bytes, serial: int, parsed: x509.Certificate, public: object) -> Certificate:
    return Certificate(
        fingerprint=hashlib.sha256(der).hexdigest().upper(),
        subject=parsed.subject.rfc4514_string(),
        issuer=parsed.issuer.rfc4514_string(),
        serial=serial,
        not_before=_aware(parsed.not_valid_before_utc),
        not_after=_aware(parsed.not_valid_after_utc),
        emails=_emails(parsed),
        algorithm=_algorithm(public),
        der=der,
    )


def _aware(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _emails(parsed: x509.Certificate) -> tuple[str, ...]:
    """Return the addresses; those of the subject count only where subjectAltName has none (RFC 8550 3)."""
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = [str(name) for name in names.get_values_for_type(x509.RFC822Name)]
    except x509.ExtensionNotFound:
        found = []
    if not found:
        found = [str(one.value) for one in parsed.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)]
    return tuple(dict.fromkeys(found))


def _algorithm(key: object) -> str:
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA-{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name
    kinds = {
        ed25519.Ed25519PublicKey: "Ed25519",
        ed448.Ed448PublicKey: "Ed448",
        x25519.X25519PublicKey: "X25519",
        x448.X448PublicKey: "X448",
        dsa.DSAPublicKey: "DSA",
    }
    return next((name for kind, name in kinds.items() if isinstance(key, kind)), type(key).__name__)
