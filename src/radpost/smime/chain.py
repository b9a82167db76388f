"""Whether a certificate is to be believed: a chain to an anchor, valid now, for mail (RFC 5280 6, RFC 8550).

The path builder of the ``cryptography`` package is made for TLS: it takes no Brainpool curves, no pinned end
certificates and no purpose but server and client. This one is small: names chain octet for octet, every
signature is checked, and a critical extension that is not looked at here makes the path worthless.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from radpost.smime.algorithms import WEAK_DIGESTS
from radpost.smime.certificates import Held
from radpost.smime.constraints import permits
from radpost.words import Verdict

_T = TypeVar("_T", bound=x509.ExtensionType)
_MAX_LENGTH: Final = 8
_MAX_CHECKS: Final = 64
"""Signatures of certificates that are checked for one leaf."""
_MIN_RSA: Final = 2048
_MAIL: Final = frozenset({ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})
_PROCESSED: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)
"""Critical extensions that do not make a certificate unusable; policies are not asked for."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom we believe."""

    anchors: tuple[Held, ...] = ()
    """Authorities, and single certificates of partners that somebody has confirmed."""
    certificates: tuple[Held, ...] = ()
    """Known but not trusted: where issuers and signers are looked for besides the message."""
    revocations: tuple[x509.CertificateRevocationList, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """What is to be thought of a certificate."""

    verdict: Verdict
    """GOOD, EXPIRED, REVOKED_KEY or UNTRUSTED."""
    problem: str = ""


_RANK: Final = (Verdict.GOOD, Verdict.EXPIRED, Verdict.REVOKED_KEY, Verdict.UNTRUSTED)


def standing(leaf: Held, others: Sequence[Held], trust: Trust, now: datetime) -> Standing:
    """Judge a signer's certificate at a time, with the certificates that came along; the best path counts."""
    best: Standing | None = None
    if (unfit := _unfit_for_mail(leaf)) is not None:
        return Standing(Verdict.UNTRUSTED, unfit)
    for path in _paths(leaf, (*others, *trust.certificates), trust.anchors):
        found = _judge(path, trust, now)
        if best is None or _RANK.index(found.verdict) < _RANK.index(best.verdict):
            best = found
        if best.verdict is Verdict.GOOD:
            break
    return best or _unchained((leaf, *others))


def _unchained(certificates: Sequence[Held]) -> Standing:
    weak = next((_weak(one) for one in certificates if _weak(one) and one.issuer != one.subject), None)
    if weak is not None:
        return Standing(Verdict.UNTRUSTED, f"a certificate is signed with {weak}")
    return Standing(Verdict.UNTRUSTED, "no chain of certificates leads to a trusted authority")


def _paths(leaf: Held, others: Sequence[Held], anchors: Sequence[Held]) -> Iterator[tuple[Held, ...]]:
    """Yield chains from the leaf to an anchor whose signatures are right."""
    checks = 0
    stack: list[tuple[Held, ...]] = [(leaf,)]
    trusted = set(anchors)
    while stack:
        path = stack.pop()
        last = path[-1]
        if last in trusted:
            yield path
            continue
        if len(path) >= _MAX_LENGTH:
            continue
        for issuer in dict.fromkeys((*others, *anchors)):  # anchors come last and are tried first
            if issuer.subject != last.issuer or issuer in path:
                continue
            checks += 1
            if checks > _MAX_CHECKS:
                return
            if _issued(last, issuer):
                stack.append((*path, issuer))


def _issued(certificate: Held, issuer: Held) -> bool:
    if _weak(certificate):
        return False
    try:
        certificate.x509.verify_directly_issued_by(issuer.x509)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _weak(certificate: Held) -> str | None:
    """Name the digest that a certificate is signed with if it proves nothing any more."""
    try:
        digest = certificate.x509.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    return digest.name if digest is not None and digest.name in WEAK_DIGESTS else None


def _judge(path: tuple[Held, ...], trust: Trust, now: datetime) -> Standing:
    for at, certificate in enumerate(path):
        problem = _strange(certificate) or (_unfit_to_issue(certificate, path[:at]) if at else None)
        if problem is None and at and not permits(certificate.x509, [below.x509 for below in path[:at]]):
            problem = "a name constraint of an authority forbids the certificate"
        if problem is not None:
            return Standing(Verdict.UNTRUSTED, problem)
    for certificate, issuer in pairwise(path):
        if _revoked(certificate, issuer, trust, now):
            return Standing(Verdict.REVOKED_KEY, "a certificate is revoked")
    for certificate in path:
        if now < certificate.value.not_before:
            return Standing(
                Verdict.EXPIRED, f"a certificate is valid from {certificate.value.not_before:%Y-%m-%d}"
            )
        if now > certificate.value.not_after:
            return Standing(
                Verdict.EXPIRED, f"a certificate expired on {certificate.value.not_after:%Y-%m-%d}"
            )
    return Standing(Verdict.GOOD)


def _strange(certificate: Held) -> str | None:
    """Name what makes a certificate unusable wherever it stands in a chain."""
    for extension in certificate.x509.extensions:
        if extension.critical and extension.oid not in _PROCESSED:
            return f"critical extension {extension.oid.dotted_string}"
    key = certificate.x509.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA:
        return f"an RSA key of {key.key_size} bits"
    return None


def _unfit_to_issue(certificate: Held, below: tuple[Held, ...]) -> str | None:
    """Name why a certificate may not stand above others (RFC 5280 4.2.1.9, 4.2.1.3)."""
    extensions = certificate.x509.extensions
    constraints = _extension(extensions, x509.BasicConstraints)
    if constraints is None:
        # an anchor of before 1996 has no extensions at all
        if certificate.x509.version is not x509.Version.v1 or certificate.issuer != certificate.subject:
            return "an issuer that is no authority"
    elif not constraints.ca:
        return "an issuer that is no authority"
    elif constraints.path_length is not None:
        between = sum(1 for one in below[1:] if one.subject != one.issuer)
        if between > constraints.path_length:
            return "a chain longer than an authority permits"
    usage = _extension(extensions, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        return "an issuer whose key is not for certificates"
    purposes = _extension(extensions, x509.ExtendedKeyUsage)
    if purposes is not None and not _MAIL & set(purposes):
        return "an authority that is not for mail"
    return None


def _unfit_for_mail(leaf: Held) -> str | None:
    """Name why a certificate is not for signing mail (RFC 8550 4.4.2, 4.4.4)."""
    usage = _extension(leaf.x509.extensions, x509.KeyUsage)
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        return "the certificate is not for signing"
    purposes = _extension(leaf.x509.extensions, x509.ExtendedKeyUsage)
    if purposes is not None and not _MAIL & set(purposes):
        return "the certificate is not for mail"
    return None


def _extension(extensions: x509.Extensions, kind: type[_T]) -> _T | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _revoked(certificate: Held, issuer: Held, trust: Trust, now: datetime) -> bool:
    """Whether a list of the issuer names the certificate; old lists count too: who is revoked stays so."""
    for revocations in trust.revocations:
        if revocations.issuer != issuer.x509.subject or _is_indirect(revocations):
            continue
        entry = revocations.get_revoked_certificate_by_serial_number(certificate.value.serial)
        if entry is None or entry.revocation_date_utc > now or _is_released(entry):
            continue
        try:
            if revocations.is_signature_valid(issuer.x509.public_key()):  # type: ignore[arg-type]  # any key
                return True
        except (TypeError, ValueError, UnsupportedAlgorithm):
            continue
    return False


def _is_indirect(revocations: x509.CertificateRevocationList) -> bool:
    """Whether a list speaks of other authorities' certificates (RFC 5280 5.2.5); such are not read."""
    try:
        point = revocations.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return point.indirect_crl


def _is_released(entry: x509.RevokedCertificate) -> bool:
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except (x509.ExtensionNotFound, ValueError):
        return False
    return reason is x509.ReasonFlags.remove_from_crl
