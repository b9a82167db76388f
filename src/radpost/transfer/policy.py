"""What a signature verdict means for a partner's mail (DESIGN invariant 7); fail closed."""

from dataclasses import dataclass

from radpost.errors import NO_INTEGRITY, SIGNATURE_BAD, SIGNATURE_REQUIRED, WRONG_SIGNER, Reason
from radpost.words import SignaturePolicy, Verdict


@dataclass(frozen=True, slots=True)
class Release:
    """The plaintext may be used; ``flag`` is shown with every object of it (None: a good signature)."""

    flag: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The mail is kept whole, unreleased, until a person decides."""

    reason: Reason


Ruling = Release | Quarantine

_REQUIRE: dict[Verdict, Ruling] = {
    Verdict.GOOD: Release(),
    Verdict.NONE: Quarantine(SIGNATURE_REQUIRED),
    Verdict.UNKNOWN_KEY: Quarantine(SIGNATURE_REQUIRED),
    Verdict.WRONG_SIGNER: Quarantine(WRONG_SIGNER),
    Verdict.BAD: Quarantine(SIGNATURE_BAD),
    Verdict.EXPIRED_KEY: Quarantine(SIGNATURE_REQUIRED),
    Verdict.REVOKED_KEY: Quarantine(SIGNATURE_REQUIRED),
    Verdict.WEAK_DIGEST: Quarantine(SIGNATURE_REQUIRED),
    Verdict.UNTRUSTED: Quarantine(SIGNATURE_REQUIRED),
    Verdict.EXPIRED: Quarantine(SIGNATURE_REQUIRED),
}
# @GIT 1.1r 5.1 makes signatures optional: a missing or unverifiable one must not disturb reception.
# Someone else's good signature is no missing one: it says that the mail is not from the partner in From.
_ACCEPT: dict[Verdict, Ruling] = {
    Verdict.GOOD: Release(),
    Verdict.NONE: Release(Verdict.NONE),
    Verdict.UNKNOWN_KEY: Release(Verdict.UNKNOWN_KEY),
    Verdict.WRONG_SIGNER: Quarantine(WRONG_SIGNER),
    Verdict.BAD: Quarantine(SIGNATURE_BAD),
    Verdict.EXPIRED_KEY: Release(Verdict.EXPIRED_KEY),
    Verdict.REVOKED_KEY: Release(Verdict.REVOKED_KEY),
    Verdict.WEAK_DIGEST: Release(Verdict.WEAK_DIGEST),
    Verdict.UNTRUSTED: Release(Verdict.UNTRUSTED),
    Verdict.EXPIRED: Release(Verdict.EXPIRED),
}
_IGNORE: dict[Verdict, Ruling] = {
    verdict: Release(None if verdict is Verdict.GOOD else verdict) for verdict in Verdict
}
TABLE: dict[SignaturePolicy, dict[Verdict, Ruling]] = {
    SignaturePolicy.REQUIRE: _REQUIRE,
    SignaturePolicy.ACCEPT: _ACCEPT,
    SignaturePolicy.IGNORE: _IGNORE,
}
"""The whole rule: policy, verdict, ruling."""


def judge(policy: SignaturePolicy, verdict: Verdict, *, integrity: bool = True) -> Ruling:
    """Return what happens to a mail with this verdict; without integrity nothing is ever released."""
    if not integrity:
        return Quarantine(NO_INTEGRITY)
    return TABLE[policy][verdict]


def default_policy(*, announced_signing: bool, radpost: bool) -> SignaturePolicy:
    """Return the policy of a partner for whom nobody chose one.

    ``require`` for Radpost peers and for partners that announced signing, ``accept`` for all others:
    @GIT 1.1r makes signatures optional, and what 1.5 says is not known.
    """
    return SignaturePolicy.REQUIRE if radpost or announced_signing else SignaturePolicy.ACCEPT
