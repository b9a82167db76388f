"""The vocabulary that all floors share: what a thing is called and which states it can have."""

from enum import Enum
from typing import Literal

Language = Literal["en", "de"]
"""Of texts for people."""


class Verdict(Enum):
    """What is known about a signature (DESIGN 6)."""

    GOOD = "good"
    NONE = "none"
    UNKNOWN_KEY = "unknown-key"
    WRONG_SIGNER = "wrong-signer"
    BAD = "bad"
    EXPIRED_KEY = "expired-key"
    REVOKED_KEY = "revoked-key"
    WEAK_DIGEST = "weak-digest"
    UNTRUSTED = "untrusted"
    """S/MIME: no chain of certificates leads to an authority that we trust."""
    EXPIRED = "expired"
    """S/MIME: a certificate of the chain is not valid at this time."""


class SignaturePolicy(Enum):
    """What a partner's mails need to be delivered (DESIGN invariant 7)."""

    REQUIRE = "require"
    ACCEPT = "accept"
    IGNORE = "ignore"


class Dialect(Enum):
    """How a partner's mails are written."""

    AGIT_1_1 = "agit-1.1"
    AGIT_1_5 = "agit-1.5"


class Priority(Enum):
    """Order of transmissions; a lower number goes first."""

    EMERGENCY = 0
    URGENT = 1
    ROUTINE = 2


class Truth(Enum):
    """The seven truths about an object, kept apart (DESIGN 1)."""

    ON_SERVER = "on the server"
    FETCHED = "fetched"
    DECRYPTED = "decrypted"
    VERIFIED = "verified"
    IMPORTED = "imported"
    OPENED = "opened"
    REPORTED = "reported"
