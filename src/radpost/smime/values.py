"""The values that the S/MIME room hands out: results, verdicts, certificates, limits (DESIGN 6)."""

import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from radpost.words import Verdict

Buffer = bytes | bytearray | memoryview | mmap.mmap
"""What carries bytes without a copy."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of opening one message (DESIGN invariant 8)."""

    max_content: int = 512 << 20
    """Largest content that is decrypted, in bytes; it is held in memory."""
    max_recipients: int = 128
    """Recipients looked at in one message."""
    max_signers: int = 16
    max_certificates: int = 64
    """Certificates looked at in one message."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says of its owner; whether it is to be believed is the verdict's to say."""

    fingerprint: str
    """SHA-256 of the certificate, upper hex."""
    subject: str
    """RFC 4514 form."""
    issuer: str
    serial: int
    not_before: datetime
    not_after: datetime
    emails: tuple[str, ...]
    """Addresses from subjectAltName, else from the subject (RFC 8550 3); whether they agree with From is the
    caller's to say."""
    algorithm: str
    """The public key: ``RSA-3072``, ``secp256r1``, ``Ed25519``."""
    der: bytes


@dataclass(frozen=True, slots=True)
class Signature:
    """What is known about one signature; whether it is the right partner's is for the caller to say."""

    verdict: Verdict
    intact: bool = False
    """The content is what the owner of the certificate signed, whoever that is; says nothing of trust."""
    fingerprint: str | None = None
    """SHA-256 of the signer's certificate, upper hex, when the certificate is known."""
    certificate: Certificate | None = None
    signed_at: datetime | None = None
    """What the signer says of the time (RFC 5652 11.3)."""
    digest: str = ""
    algorithm: str = ""
    """``RSA``, ``RSASSA-PSS``, ``ECDSA``, ``EdDSA``."""
    problem: str = ""
    """Why the verdict is not good, in words."""


NO_SIGNATURE = Signature(Verdict.NONE)


@dataclass(frozen=True, slots=True)
class Decrypted:
    """A message that was decrypted."""

    content: memoryview
    content_type: str
    """Object identifier of what is inside; `cms.DATA` means a MIME entity."""
    authenticated: bool
    """Whether the cipher proved the content (AES-GCM). If not, nothing may be shown or acted on before a
    signature inside is `Signature.intact`: anybody on the way may have changed it (RFC 8551 6)."""
    cipher: str
    transport: str
    """How the key came: ``RSA``, ``RSA-OAEP``, ``ECDH``."""
    recipient: str | None = None
    """SHA-256 of our certificate that the message names, upper hex; none for a bare key."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verified:
    """A signed message whose signatures were looked at."""

    signature: Signature
    """The one that decides (`decisive`)."""
    signatures: tuple[Signature, ...] = ()
    content: memoryview | None = None
    """What was signed, if it lies inside (opaque signing, RFC 8551 3.5.2)."""
    content_type: str = ""
    certificates: tuple[Certificate, ...] = ()
    """All certificates that came with the message."""


_WEIGHT = (
    Verdict.BAD,
    Verdict.GOOD,
    Verdict.WEAK_DIGEST,
    Verdict.EXPIRED,
    Verdict.REVOKED_KEY,
    Verdict.UNTRUSTED,
    Verdict.UNKNOWN_KEY,
    Verdict.NONE,
)


def decisive(signatures: Iterable[Signature]) -> Signature:
    """Return the signature that decides: a bad one before all, else the best one."""
    return min(signatures, key=lambda one: _WEIGHT.index(one.verdict), default=NO_SIGNATURE)
