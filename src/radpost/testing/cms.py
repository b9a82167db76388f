"""A small writer of CMS for tests: messages that no program writes, right or wrong in one spot (RFC 5652)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, GCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from radpost.smime.ber import (
    BIT_STRING,
    INTEGER,
    NULL,
    OCTET_STRING,
    OID,
    SEQUENCE,
    SET,
    UTC_TIME,
    context,
    encode,
)
from radpost.smime.certificates import hold
from radpost.smime.cms import (
    AUTH_ENVELOPED_DATA,
    CONTENT_TYPE,
    DATA,
    ENVELOPED_DATA,
    MESSAGE_DIGEST,
    SIGNED_DATA,
    SIGNING_TIME,
)
from radpost.smime.recipients import shared_info
from radpost.testing.certificates import NOW, Issued

KEY = bytes(range(32))
NONCE = bytes(range(16))
_SHA256 = "2.16.840.1.101.3.4.2.1"
_WRAP = "2.16.840.1.101.3.4.1.45"
_HKDF = "1.2.840.113549.1.9.16.3.19"
_X963 = "1.3.132.1.11.1"


def oid(text: str) -> bytes:
    """Encode an object identifier."""
    first, second, *rest = map(int, text.split("."))
    out = bytearray()
    for arc in (40 * first + second, *rest):
        octets = [arc & 0x7F]
        while arc := arc >> 7:
            octets.append(0x80 | arc & 0x7F)
        out += bytes(reversed(octets))
    return encode(OID, bytes(out))


def number(value: int) -> bytes:
    """Encode an integer."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def algorithm(name: str, *parameters: bytes) -> bytes:
    """Encode an AlgorithmIdentifier."""
    return encode(SEQUENCE, oid(name), *parameters)


def content_info(kind: str, content: bytes) -> bytes:
    """Encode a ContentInfo."""
    return encode(SEQUENCE, oid(kind), encode(context(0), content))


def named(person: Issued) -> bytes:
    """Encode IssuerAndSerialNumber."""
    held = hold(person.der)
    return encode(SEQUENCE, held.issuer, number(held.value.serial))


def recipient(person: Issued, key: bytes = KEY, *, material: bytes | None = None) -> bytes:
    """Encode the RecipientInfo of a person: RSA, ECDH, or X25519 with HKDF (RFC 8418)."""
    if isinstance(person.key, rsa.RSAPrivateKey):
        sealed = person.key.public_key().encrypt(key, padding.PKCS1v15())
        return transport(named(person), sealed)
    wrap = algorithm(_WRAP)
    info = shared_info(wrap, material, 32)
    if isinstance(person.key, x25519.X25519PrivateKey):
        mine = x25519.X25519PrivateKey.generate()
        secret = HKDF(hashes.SHA256(), 32, None, info).derive(mine.exchange(person.key.public_key()))
        return _agreement(
            person, algorithm("1.3.101.110"), _raw(mine), _HKDF, aes_key_wrap(secret, key), material
        )
    assert isinstance(person.key, ec.EllipticCurvePrivateKey)
    own = ec.generate_private_key(person.key.curve)
    secret = X963KDF(hashes.SHA256(), 32, info).derive(own.exchange(ec.ECDH(), person.key.public_key()))
    return _agreement(
        person, algorithm("1.2.840.10045.2.1"), _raw(own), _X963, aes_key_wrap(secret, key), material
    )


def transport(who: bytes, sealed: bytes, kind: str = "1.2.840.113549.1.1.1") -> bytes:
    """Encode a KeyTransRecipientInfo."""
    return encode(SEQUENCE, number(0), who, algorithm(kind, encode(NULL)), encode(OCTET_STRING, sealed))


def _raw(key: ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey) -> bytes:
    if isinstance(key, x25519.X25519PrivateKey):
        return key.public_key().public_bytes_raw()
    return key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def _agreement(
    person: Issued, kind: bytes, public: bytes, scheme: str, wrapped: bytes, material: bytes | None
) -> bytes:
    point = encode(BIT_STRING, b"\0" + public)
    ukm = b"" if material is None else encode(context(1), encode(OCTET_STRING, material))
    keys = encode(SEQUENCE, encode(SEQUENCE, named(person), encode(OCTET_STRING, wrapped)))
    return encode(
        context(1),
        number(3),
        encode(context(0), encode(context(1), kind, point)),
        ukm,
        algorithm(scheme, algorithm(_WRAP)),
        keys,
    )


def enveloped(content: bytes, *recipients: bytes, cipher: bytes | None = None, key: bytes = KEY) -> bytes:
    """Encode EnvelopedData in AES-256-CBC; ``content`` is encrypted as it is where ``cipher`` is given."""
    sealed = content
    if cipher is None:
        count = 16 - len(content) % 16
        context_ = Cipher(AES(key), CBC(NONCE)).encryptor()
        sealed = context_.update(content + bytes([count]) * count) + context_.finalize()
        cipher = algorithm("2.16.840.1.101.3.4.1.42", encode(OCTET_STRING, NONCE))
    inner = encode(SEQUENCE, oid(DATA), cipher, encode(context(0, constructed=False), sealed))
    return content_info(ENVELOPED_DATA, encode(SEQUENCE, number(0), encode(SET, *recipients), inner))


def auth_enveloped(
    content: bytes,
    *recipients: bytes,
    attributes: Sequence[bytes] = (),
    tag_length: int = 16,
    stated: int | None = 16,
    cipher: bytes | None = None,
    pieces: int = 0,
) -> bytes:
    """Encode AuthEnvelopedData in AES-256-GCM, in ``pieces`` octets at a time if that is given."""
    gcm = Cipher(AES(KEY), GCM(NONCE[:12])).encryptor()
    gcm.authenticate_additional_data(encode(SET, *sorted(attributes)) if attributes else b"")
    sealed = gcm.update(content) + gcm.finalize()
    length = b"" if stated is None else number(stated)
    parameters = encode(SEQUENCE, encode(OCTET_STRING, NONCE[:12]), length)
    cipher = cipher or algorithm("2.16.840.1.101.3.4.1.46", parameters)
    field = encode(context(0, constructed=False), sealed)
    if pieces:
        parts = [sealed[at : at + pieces] for at in range(0, len(sealed), pieces)]
        field = b"\xa0\x80" + b"".join(encode(OCTET_STRING, part) for part in parts) + b"\0\0"
    inner = encode(SEQUENCE, oid(DATA), cipher, field)
    return content_info(
        AUTH_ENVELOPED_DATA,
        encode(
            SEQUENCE,
            number(0),
            encode(SET, *recipients),
            inner,
            encode(context(1), *attributes) if attributes else b"",
            encode(OCTET_STRING, gcm.tag[:tag_length]),
        ),
    )


@dataclass(frozen=True, slots=True)
class Signing:
    """How a SignerInfo is to be made; what is left out is as it should be."""

    person: Issued
    attributes: Sequence[bytes] | None = None
    """Instead of those that belong there."""
    bare: bool = False
    """Sign the content without attributes."""
    at: datetime = NOW


def attribute(kind: str, *values: bytes) -> bytes:
    """Encode an Attribute."""
    return encode(SEQUENCE, oid(kind), encode(SET, *values))


def attributes_of(content: bytes, content_type: str = DATA, at: datetime = NOW) -> list[bytes]:
    """Return the attributes that belong to a content."""
    return [
        attribute(CONTENT_TYPE, oid(content_type)),
        attribute(SIGNING_TIME, encode(UTC_TIME, at.strftime("%y%m%d%H%M%SZ").encode())),
        attribute(MESSAGE_DIGEST, encode(OCTET_STRING, hashlib.sha256(content).digest())),
    ]


def signed(
    content: bytes,
    *signings: Signing,
    chain: Sequence[Issued] = (),
    detached: bool = False,
    content_type: str = DATA,
) -> bytes:
    """Encode SignedData with SHA-256."""
    inner = oid(content_type)
    if not detached:
        inner += encode(context(0), encode(OCTET_STRING, content))
    certificates = [one.person.der for one in signings] + [one.der for one in chain]
    return content_info(
        SIGNED_DATA,
        encode(
            SEQUENCE,
            number(1),
            encode(SET, algorithm(_SHA256)),
            encode(SEQUENCE, inner),
            encode(context(0), *certificates),
            encode(SET, *(_signer_info(content, content_type, one) for one in signings)),
        ),
    )


def _signer_info(content: bytes, content_type: str, how: Signing) -> bytes:
    attributes = attributes_of(content, content_type, how.at) if how.attributes is None else how.attributes
    text = content if how.bare else encode(SET, *sorted(attributes))
    kind, signature = _signature(how.person, text)
    return encode(
        SEQUENCE,
        number(1),
        named(how.person),
        algorithm(_SHA256),
        b"" if how.bare else encode(context(0), *sorted(attributes)),
        kind,
        encode(OCTET_STRING, signature),
    )


def _signature(person: Issued, text: bytes) -> tuple[bytes, bytes]:
    if isinstance(person.key, ed25519.Ed25519PrivateKey):
        return algorithm("1.3.101.112"), person.key.sign(text)
    if isinstance(person.key, ec.EllipticCurvePrivateKey):
        return algorithm("1.2.840.10045.4.3.2"), person.key.sign(text, ec.ECDSA(hashes.SHA256()))
    assert isinstance(person.key, rsa.RSAPrivateKey)
    signature = person.key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    return algorithm("1.2.840.113549.1.1.1", encode(NULL)), signature
