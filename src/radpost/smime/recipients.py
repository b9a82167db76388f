"""How the key of a message comes to a recipient: RSA, OAEP, ECDH (RFC 3370, RFC 3560, RFC 5753, RFC 8418)."""

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from radpost.smime.algorithms import (
    AES_WRAP,
    HKDF_KDF,
    MGF1,
    PSPECIFIED,
    RSA,
    RSA_OAEP,
    X963_KDF,
    Algorithm,
    algorithm,
    digest,
    unsupported,
)
from radpost.smime.ber import OCTET_STRING, SEQUENCE, context, encode, malformed
from radpost.smime.cms import KeyAgreement, KeyTransport
from radpost.smime.credentials import PrivateKey

_NAMES: Final = {RSA: "RSA", RSA_OAEP: "RSA-OAEP"}


def name(recipient: KeyTransport | KeyAgreement) -> str:
    """Return what the way of the key is called."""
    if isinstance(recipient, KeyAgreement):
        return "ECDH"
    return _NAMES.get(recipient.algorithm.oid, recipient.algorithm.oid)


def could_open(recipient: KeyTransport | KeyAgreement, key: PrivateKey) -> bool:
    """Whether a key is of the kind that a recipient's entry is for."""
    if isinstance(recipient, KeyTransport):
        return isinstance(key, rsa.RSAPrivateKey) and len(recipient.encrypted_key) == (key.key_size + 7) // 8
    return isinstance(key, ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey)


def session_key(recipient: KeyTransport | KeyAgreement, key: PrivateKey) -> bytes | None:
    """Return the key of the content, or nothing if it does not come out.

    With PKCS#1 v1.5 what comes out of damaged data is a key that nobody has (implicit rejection), so that
    nothing tells good padding from bad (RFC 3218 2.3): the caller has to go on with any answer alike.
    """
    try:
        if isinstance(recipient, KeyTransport):
            return _transported(recipient, key) if isinstance(key, rsa.RSAPrivateKey) else None
        if isinstance(key, ec.EllipticCurvePrivateKey):
            point = ec.EllipticCurvePublicKey.from_encoded_point(key.curve, recipient.originator_key)
            return _agreed(recipient, key.exchange(ec.ECDH(), point))
        if isinstance(key, x25519.X25519PrivateKey):
            return _agreed(
                recipient, key.exchange(x25519.X25519PublicKey.from_public_bytes(recipient.originator_key))
            )
    except (ValueError, InvalidUnwrap):
        return None
    except UnsupportedAlgorithm as error:
        raise unsupported("key encryption", recipient.algorithm.oid) from error
    return None


def _transported(recipient: KeyTransport, key: rsa.RSAPrivateKey) -> bytes:
    if recipient.algorithm.oid == RSA:
        return key.decrypt(recipient.encrypted_key, padding.PKCS1v15())
    if recipient.algorithm.oid == RSA_OAEP:
        return key.decrypt(recipient.encrypted_key, _oaep(recipient.algorithm))
    raise unsupported("key transport", recipient.algorithm.oid)


def _oaep(found: Algorithm) -> padding.OAEP:
    """Read RSAES-OAEP-params (RFC 4055 4.1)."""
    hashing: hashes.HashAlgorithm = hashes.SHA1()  # noqa: S303  # the default of the standard
    masking: hashes.HashAlgorithm = hashes.SHA1()  # noqa: S303
    label = None
    if found.parameters is not None and found.parameters.tag == SEQUENCE:
        fields = found.parameters.fields()
        if (field := fields.maybe(context(0))) is not None:
            hashing = digest(algorithm(field.fields().take(SEQUENCE)))
        if (field := fields.maybe(context(1))) is not None:
            masking = mask(algorithm(field.fields().take(SEQUENCE)))
        if (field := fields.maybe(context(2))) is not None:
            source = algorithm(field.fields().take(SEQUENCE))
            if source.oid != PSPECIFIED or source.parameters is None:
                raise unsupported("OAEP label", source.oid)
            label = source.parameters.expect(OCTET_STRING).value() or None
    return padding.OAEP(padding.MGF1(masking), hashing, label)


def mask(found: Algorithm) -> hashes.HashAlgorithm:
    """Return the digest of a mask generation function (RFC 4055 2.2)."""
    if found.oid != MGF1 or found.parameters is None:
        raise unsupported("mask generation", found.oid)
    return digest(algorithm(found.parameters))


def _agreed(recipient: KeyAgreement, secret: bytes) -> bytes:
    """Derive the key that the content's key is wrapped with, and unwrap (RFC 5753 7.2)."""
    if recipient.algorithm.parameters is None:
        raise malformed("key agreement without key wrap")
    wrap = algorithm(recipient.algorithm.parameters)
    size = AES_WRAP.get(wrap.oid)
    if size is None:
        raise unsupported("key wrap", wrap.oid)
    info = shared_info(wrap.raw, recipient.material, size)
    if (make := X963_KDF.get(recipient.algorithm.oid)) is not None:
        wrapping = X963KDF(make(), size, info).derive(secret)
    elif (make := HKDF_KDF.get(recipient.algorithm.oid)) is not None:
        wrapping = HKDF(make(), size, None, info).derive(secret)
    else:
        raise unsupported("key agreement", recipient.algorithm.oid)
    return aes_key_unwrap(wrapping, recipient.encrypted_key)


def shared_info(wrap: bytes, material: bytes | None, size: int) -> bytes:
    """Write ECC-CMS-SharedInfo (RFC 5753 7.2)."""
    ukm = b"" if material is None else encode(context(0), encode(OCTET_STRING, material))
    bits = encode(context(2), encode(OCTET_STRING, (8 * size).to_bytes(4, "big")))
    return encode(SEQUENCE, wrap, ukm, bits)
