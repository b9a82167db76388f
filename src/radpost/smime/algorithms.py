"""The algorithms of CMS by their object identifiers (RFC 3370, RFC 5084, RFC 5753, RFC 5754, RFC 8418)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives import hashes

from radpost.errors import SMIME_UNSUPPORTED, RadpostError
from radpost.smime.ber import OID, Element

AES_CBC: Final[Mapping[str, int]] = MappingProxyType(
    {"2.16.840.1.101.3.4.1.2": 16, "2.16.840.1.101.3.4.1.22": 24, "2.16.840.1.101.3.4.1.42": 32}
)
"""RFC 3565 4.1: key length in octets."""
AES_GCM: Final[Mapping[str, int]] = MappingProxyType(
    {"2.16.840.1.101.3.4.1.6": 16, "2.16.840.1.101.3.4.1.26": 24, "2.16.840.1.101.3.4.1.46": 32}
)
"""RFC 5084 3.2."""
AES_WRAP: Final[Mapping[str, int]] = MappingProxyType(
    {"2.16.840.1.101.3.4.1.5": 16, "2.16.840.1.101.3.4.1.25": 24, "2.16.840.1.101.3.4.1.45": 32}
)
"""RFC 3565 2.3.2."""
TRIPLE_DES: Final = "1.2.840.113549.3.7"
RSA: Final = "1.2.840.113549.1.1.1"
RSA_OAEP: Final = "1.2.840.113549.1.1.7"
RSA_PSS: Final = "1.2.840.113549.1.1.10"
MGF1: Final = "1.2.840.113549.1.1.8"
PSPECIFIED: Final = "1.2.840.113549.1.1.9"
EC_PUBLIC_KEY: Final = "1.2.840.10045.2.1"
X25519: Final = "1.3.101.110"

Digest = Callable[[], hashes.HashAlgorithm]

DIGESTS: Final[Mapping[str, Digest]] = MappingProxyType(
    {
        "1.2.840.113549.2.5": hashes.MD5,
        "1.3.14.3.2.26": hashes.SHA1,
        "2.16.840.1.101.3.4.2.4": hashes.SHA224,
        "2.16.840.1.101.3.4.2.1": hashes.SHA256,
        "2.16.840.1.101.3.4.2.2": hashes.SHA384,
        "2.16.840.1.101.3.4.2.3": hashes.SHA512,
        "2.16.840.1.101.3.4.2.8": hashes.SHA3_256,
        "2.16.840.1.101.3.4.2.9": hashes.SHA3_384,
        "2.16.840.1.101.3.4.2.10": hashes.SHA3_512,
    }
)
WEAK_DIGESTS: Final = frozenset({"md5", "sha1"})

RSA_SIGNATURES: Final[Mapping[str, Digest]] = MappingProxyType(
    {
        "1.2.840.113549.1.1.4": hashes.MD5,
        "1.2.840.113549.1.1.5": hashes.SHA1,
        "1.2.840.113549.1.1.14": hashes.SHA224,
        "1.2.840.113549.1.1.11": hashes.SHA256,
        "1.2.840.113549.1.1.12": hashes.SHA384,
        "1.2.840.113549.1.1.13": hashes.SHA512,
    }
)
"""RFC 5754 3.2; `RSA` alone takes the digest of the SignerInfo."""
ECDSA_SIGNATURES: Final[Mapping[str, Digest]] = MappingProxyType(
    {
        "1.2.840.10045.4.1": hashes.SHA1,
        "1.2.840.10045.4.3.1": hashes.SHA224,
        "1.2.840.10045.4.3.2": hashes.SHA256,
        "1.2.840.10045.4.3.3": hashes.SHA384,
        "1.2.840.10045.4.3.4": hashes.SHA512,
    }
)
"""RFC 5754 3.3."""
EDDSA_SIGNATURES: Final = frozenset({"1.3.101.112", "1.3.101.113"})
"""RFC 8419 3."""

X963_KDF: Final[Mapping[str, Digest]] = MappingProxyType(
    {
        "1.3.133.16.840.63.0.2": hashes.SHA1,
        "1.3.132.1.11.0": hashes.SHA224,
        "1.3.132.1.11.1": hashes.SHA256,
        "1.3.132.1.11.2": hashes.SHA384,
        "1.3.132.1.11.3": hashes.SHA512,
        "1.3.133.16.840.63.0.3": hashes.SHA1,
        "1.3.132.1.14.0": hashes.SHA224,
        "1.3.132.1.14.1": hashes.SHA256,
        "1.3.132.1.14.2": hashes.SHA384,
        "1.3.132.1.14.3": hashes.SHA512,
    }
)
"""Standard and cofactor ECDH with the key derivation of X9.63 (RFC 5753 7.1.4).

The two are the same on all curves that we take, for their cofactor is 1.
"""
HKDF_KDF: Final[Mapping[str, Digest]] = MappingProxyType(
    {
        "1.2.840.113549.1.9.16.3.19": hashes.SHA256,
        "1.2.840.113549.1.9.16.3.20": hashes.SHA384,
        "1.2.840.113549.1.9.16.3.21": hashes.SHA512,
    }
)
"""Standard ECDH with HKDF (RFC 8418 2.2)."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An AlgorithmIdentifier (RFC 5280 4.1.1.2)."""

    oid: str
    parameters: Element | None
    raw: bytes


def algorithm(element: Element) -> Algorithm:
    """Read an AlgorithmIdentifier."""
    fields = element.fields()
    oid = fields.take(OID).oid()
    return Algorithm(oid, next(fields.rest(), None), element.raw)


def unsupported(what: str, oid: str) -> RadpostError:
    """Return the error for an algorithm that we do not know."""
    return RadpostError(SMIME_UNSUPPORTED, f"{what} {oid}")


def digest(found: Algorithm) -> hashes.HashAlgorithm:
    """Return the digest that an AlgorithmIdentifier names."""
    make = DIGESTS.get(found.oid)
    if make is None:
        raise unsupported("digest", found.oid)
    return make()
