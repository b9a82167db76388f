"""Keys and certificates from the bytes of files: PEM or DER, PKCS#12, several in one, with passphrases."""

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import pkcs12

from radpost.errors import CERTIFICATE_UNREADABLE, PASSPHRASE_WRONG, RESOURCE_LIMIT, RadpostError
from radpost.smime import cms
from radpost.smime.ber import INTEGER, OCTET_STRING, OID, SEQUENCE, parse
from radpost.smime.certificates import Held, hold
from radpost.smime.values import Limits

PrivateKey = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey | ed25519.Ed25519PrivateKey
)
"""The keys that S/MIME can use; Ed25519 only signs."""

MAX_FILE: Final = 4 << 20
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----[ \t]*\r?\n(.*?)-----END \1-----", re.DOTALL)
_KEYS: Final = (b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY")
_CERTIFICATES: Final = (b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE")
_BUNDLES: Final = (b"PKCS7", b"CMS")
_LISTS: Final = (b"X509 CRL", b"CRL")


@dataclass(frozen=True, slots=True)
class Credential:
    """A key of ours, with its certificate if that is known."""

    key: PrivateKey
    certificate: Held | None = None
    """Without one the key is tried with every recipient that it could belong to."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files held."""

    credentials: tuple[Credential, ...] = ()
    certificates: tuple[Held, ...] = ()
    """All certificates, those of the credentials included."""
    revocations: tuple[x509.CertificateRevocationList, ...] = ()


def load(files: Iterable[bytes], passphrases: Iterable[bytes] = ()) -> Loaded:
    """Read keys, certificates and revocation lists of any usual form and put those together that fit.

    Raises CERTIFICATE_UNREADABLE if a file holds none of them, PASSPHRASE_WRONG if a key is locked and none
    of the passphrases opens it.
    """
    reader = _Reader(tuple(passphrases))
    for content in files:
        reader.read(content)
    return reader.result()


def looks_like_credentials(content: bytes) -> bool:
    """Tell whether a file holds X.509 material: PEM with our labels, or DER that is no OpenPGP key."""
    known = (*_KEYS, *_CERTIFICATES, *_BUNDLES, *_LISTS)
    if any(match[1] in known for match in _PEM.finditer(content[:MAX_FILE])):
        return True
    if not content.startswith(b"\x30"):
        return False
    try:
        return parse(content).stop == len(content)
    except RadpostError:
        return False


class _Reader:
    """Collects what the files hold."""

    def __init__(self, passphrases: tuple[bytes, ...]) -> None:
        self._passphrases = passphrases
        self._keys: list[PrivateKey] = []
        self._certificates: dict[str, Held] = {}
        self._lists: list[x509.CertificateRevocationList] = []

    def read(self, content: bytes) -> None:
        """Read one file."""
        if len(content) > MAX_FILE:
            raise RadpostError(RESOURCE_LIMIT, "a file of keys or certificates is larger than 4 MiB")
        blocks = list(_PEM.finditer(content))
        found = [self._block(match[1], match[0]) for match in blocks]
        if not (any(found) if blocks else self._der(content)):
            raise RadpostError(CERTIFICATE_UNREADABLE, "no key, certificate or revocation list in PEM or DER")

    def result(self) -> Loaded:
        """Put keys and certificates together."""
        certificates = tuple(self._certificates.values())
        credentials: list[Credential] = []
        seen: set[bytes] = set()
        for key in self._keys:
            public = _public(key)
            if public in seen:
                continue
            seen.add(public)
            own = [Credential(key, one) for one in certificates if one.key == public]
            credentials.extend(own or [Credential(key)])
        return Loaded(tuple(credentials), certificates, tuple(self._lists))

    def _block(self, label: bytes, text: bytes) -> bool:
        """Read one PEM block (RFC 7468); others, as parameters of curves, are passed over."""
        if label in _KEYS:
            self._add_key(self._unlocked(text))
        elif label in _CERTIFICATES:
            der = _pem_body(text)
            # OpenSSL's trusted form has settings of its own behind the certificate
            self._add(parse(der).raw if label == b"TRUSTED CERTIFICATE" else der)
        elif label in _BUNDLES:
            return self._bundle(_pem_body(text))
        elif label in _LISTS:
            self._add_list(_pem_body(text))
        else:
            return False
        return True

    def _der(self, der: bytes) -> bool:
        """Read one binary file by what it is."""
        try:
            parts = list(parse(der).expect(SEQUENCE).children())[:4]
        except RadpostError:
            return False
        tags = [part.tag for part in parts]
        if tags[:2] == [INTEGER, SEQUENCE] and parts[0].integer() == 3:
            self._pkcs12(der)
        elif tags[:1] == [INTEGER] or tags == [SEQUENCE, OCTET_STRING]:
            self._add_key(self._unlocked(der, pem=False))
        elif tags[:1] == [OID]:
            return self._bundle(der)
        elif tags[:2] == [SEQUENCE, SEQUENCE]:
            try:
                self._add(der)
            except RadpostError:
                self._add_list(der)
        else:
            return False
        return True

    def _unlocked(self, data: bytes, *, pem: bool = True) -> object:
        """Read a private key, with each passphrase if it is locked."""
        read = serialization.load_pem_private_key if pem else serialization.load_der_private_key
        try:
            return read(data, None)
        except TypeError:
            pass  # it is locked
        except Exception as error:  # the library has exceptions of its own for odd keys
            raise RadpostError(CERTIFICATE_UNREADABLE, "a private key that cannot be read") from error
        for passphrase in self._passphrases:
            try:
                return read(data, passphrase)
            except Exception:  # noqa: BLE001, S112  # a wrong passphrase shows itself in many ways
                continue
        raise RadpostError(PASSPHRASE_WRONG)

    def _pkcs12(self, der: bytes) -> None:
        """Read a PKCS#12 file (RFC 7292); the passphrase may be empty."""
        for passphrase in (*self._passphrases, None, b""):
            try:
                found = pkcs12.load_pkcs12(der, passphrase)
            except Exception:  # noqa: BLE001, S112  # a wrong passphrase shows itself in many ways
                continue
            if found.key is not None:
                self._add_key(found.key)
            for one in (found.cert, *found.additional_certs):
                if one is not None:
                    self._add(one.certificate.public_bytes(serialization.Encoding.DER))
            return
        raise RadpostError(PASSPHRASE_WRONG)

    def _bundle(self, der: bytes) -> bool:
        """Read certificates and lists out of a SignedData without content (RFC 8551 3.8)."""
        oid, inside = cms.content_info(parse(der))
        if oid != cms.SIGNED_DATA:
            return False
        signed = cms.signed_data(inside, Limits(max_certificates=4096))
        for one in signed.certificates:
            self._add(one)
        for revocations in signed.revocations:
            self._add_list(revocations)
        return bool(signed.certificates or signed.revocations)

    def _add_key(self, key: object) -> None:
        if not isinstance(key, PrivateKey):
            raise RadpostError(CERTIFICATE_UNREADABLE, "a private key of a kind that S/MIME cannot use")
        self._keys.append(key)

    def _add(self, der: bytes) -> None:
        held = hold(der)
        self._certificates.setdefault(held.value.fingerprint, held)

    def _add_list(self, der: bytes) -> None:
        try:
            self._lists.append(x509.load_der_x509_crl(der))
        except ValueError as error:
            raise RadpostError(CERTIFICATE_UNREADABLE, "a revocation list that cannot be read") from error


def _pem_body(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(_lines(text)), validate=True)
    except ValueError as error:
        raise RadpostError(CERTIFICATE_UNREADABLE, "a PEM block that is no base64") from error


def _lines(text: bytes) -> Iterator[bytes]:
    return (line for line in text.splitlines() if not line.startswith(b"-----") and b":" not in line)


def _public(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
