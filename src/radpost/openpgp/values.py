"""The values that the OpenPGP room hands out: verdicts, results, limits, certificates (DESIGN 6)."""

import mmap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from radpost.openpgp.plaintext import Plaintext
from radpost.words import Verdict

Buffer = bytes | bytearray | memoryview | mmap.mmap
"""What carries bytes without a copy."""
HIDDEN: Final = "0" * 16
"""Key ID of a hidden recipient: any of our keys may be meant (RFC 4880 5.1)."""
_NAMED: Final = 5
"""Key IDs that are told of one message."""


def octets(data: Buffer) -> memoryview:
    """Return a buffer of any shape, pixels for example, as a view of octets."""
    view = memoryview(data)
    return view.cast("B") if view.nbytes else memoryview(b"")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of what is to be sealed; ``compressible`` is decided per object by `measure_gain`."""

    data: Buffer
    compressible: bool = True


Source = Iterable["Chunk | Buffer"]
"""What `Engine.seal` reads; a bare buffer counts as compressible."""


class Compression(Enum):
    """How the sealed data are packed (RFC 4880 9.3, @GIT 1.1r 4)."""

    NONE = "none"
    ZIP = "zip"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of opening one message (DESIGN invariant 8)."""

    max_plaintext: int = 8 << 30
    """Largest plaintext in bytes."""
    max_ratio: int = 200
    """Largest plaintext per byte of ciphertext; counts only above ``ratio_floor``."""
    ratio_floor: int = 64 << 20
    """Up to here any ratio is admitted: an empty slice compresses a thousand to one."""
    memory: int = 32 << 20
    """Plaintext up to this size stays in memory, the rest goes to an unlinked file."""
    max_depth: int = 4
    """Nesting of compressed packets."""
    max_recipients: int = 128
    """Encrypted session keys looked at in one message."""
    timeout: float = 900.0
    """Seconds for one run of an external engine."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What is known about a signature; whether it is the right partner's is for the caller to say."""

    verdict: Verdict
    fingerprint: str | None = None
    """Fingerprint of the primary key, upper hex, when the key is known."""
    signing_fingerprint: str | None = None
    """Fingerprint of the (sub)key that signed, as far as the signature names it."""
    created: datetime | None = None
    legacy_key: str = ""
    """The algorithm of a signing key that is too weak for today, such as ``RSA 1024``."""


NO_SIGNATURE = Signature(Verdict.NONE)


@dataclass(frozen=True, slots=True)
class Opened:
    """A message that was opened; its plaintext is released because its integrity is proven."""

    signature: Signature
    plaintext: Plaintext
    integrity: str
    """``mdc``, ``aead``, or ``none`` (only where nothing was encrypted)."""
    encrypted: bool
    cipher: str
    warnings: tuple[str, ...] = ()
    signatures: tuple[Signature, ...] = ()
    """All signatures; ``signature`` is the one that decides (`decisive`)."""
    recipient: str | None = None
    """Fingerprint of our (sub)key that the session key was encrypted to, when known."""
    engine: str = "native"


@dataclass(frozen=True, slots=True)
class Sealed:
    """What was written to the sink."""

    size: int
    plaintext_size: int
    engine: str
    recipients: tuple[str, ...] = ()
    """Fingerprints of the encryption (sub)keys used."""


def grouped(fingerprint: str) -> str:
    """Return a fingerprint in groups of four, as people read it to each other.

    >>> grouped("0123456789ABCDEF")
    '0123 4567 89AB CDEF'
    """
    return " ".join(fingerprint[start : start + 4] for start in range(0, len(fingerprint), 4))


@dataclass(frozen=True, slots=True)
class CertInfo:
    """What a certificate says of itself, with its self-signatures verified."""

    fingerprint: str
    user_ids: tuple[str, ...]
    created: datetime
    expires: datetime | None
    revoked: bool
    algorithm: str
    bits: int
    can_sign: bool
    can_encrypt: bool
    encryption_subkeys: tuple[str, ...]
    """Fingerprints of the keys that can be encrypted to now."""
    signing_keys: tuple[str, ...]
    has_secret: bool
    problems: tuple[str, ...] = field(default=())


class Engine(Protocol):
    """Sign and encrypt, decrypt and verify."""

    def seal(
        self,
        source: Source,
        sink: BinaryIO,
        *,
        recipients: Iterable[str],
        signer: str | None,
        compress: Compression = Compression.ZIP,
        armor: bool = True,
        cipher: str = "AES256",
        digest: str = "SHA256",
    ) -> Sealed:
        """Sign and encrypt ``source`` into ``sink``."""
        ...

    def open(self, source: BinaryIO, *, temp: Path, limits: Limits, legacy: bool = False) -> Opened:
        """Decrypt and verify a message; raise before anything unproven is released."""
        ...

    def verify_detached(self, data: Iterable[Buffer], signature: bytes) -> Signature:
        """Verify a detached signature over ``data`` (RFC 3156 5)."""
        ...

    def sign_detached(
        self, data: Iterable[Buffer], *, signer: str, digest: str = "SHA256", armor: bool = True
    ) -> bytes:
        """Sign ``data`` and return the detached signature."""
        ...


_WEIGHT = (
    Verdict.BAD,
    Verdict.GOOD,
    Verdict.WEAK_DIGEST,
    Verdict.EXPIRED_KEY,
    Verdict.EXPIRED,
    Verdict.REVOKED_KEY,
    Verdict.UNTRUSTED,
    Verdict.UNKNOWN_KEY,
    Verdict.NONE,
)


def addressees(keyids: Sequence[str]) -> str:
    """Say to which keys a message is encrypted, so that a person can find the right one."""
    names = list(dict.fromkeys("a hidden key" if keyid == HIDDEN else keyid for keyid in keyids))
    more = ["…"] if len(names) > _NAMED else []
    return f"encrypted to {', '.join([*names[:_NAMED], *more])}"


def decisive(signatures: Iterable[Signature]) -> Signature:
    """Return the signature that decides: a bad one before all, else the best one."""
    return min(signatures, key=lambda one: _WEIGHT.index(one.verdict), default=NO_SIGNATURE)
