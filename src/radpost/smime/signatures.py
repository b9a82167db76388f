"""Verification of SignedData, opaque and detached (RFC 5652 5, RFC 8551 3.5)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, utils

from radpost.errors import RESOURCE_LIMIT, RadpostError
from radpost.smime import cms
from radpost.smime.algorithms import (
    DIGESTS,
    ECDSA_SIGNATURES,
    EDDSA_SIGNATURES,
    RSA,
    RSA_PSS,
    RSA_SIGNATURES,
    WEAK_DIGESTS,
    Algorithm,
    algorithm,
    digest,
)
from radpost.smime.ber import (
    GENERALIZED_TIME,
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    SET,
    UTC_TIME,
    Element,
    context,
    malformed,
    parse,
)
from radpost.smime.certificates import Held, hold
from radpost.smime.chain import Standing, Trust, standing
from radpost.smime.cms import SignerInfo
from radpost.smime.recipients import mask
from radpost.smime.values import Buffer, Limits, Signature, Verified, decisive
from radpost.words import Verdict

_DEFAULT: Final = Limits()
_NOT_BY_THEM: Final = "the signature is not by the certificate that it names"

Digests = dict[str, bytes]
"""Digest identifier to the value over one content."""


@dataclass(frozen=True, slots=True)
class _Scheme:
    """How a SignerInfo was signed; ``hashing`` is what the signature itself was made over."""

    name: str
    hashing: hashes.HashAlgorithm | None
    padded: padding.PKCS1v15 | padding.PSS | None = None


def verify(
    message: Buffer,
    trust: Trust,
    now: datetime,
    *,
    contents: Sequence[Iterable[Buffer]] = (),
    limits: Limits = _DEFAULT,
) -> Verified:
    """Verify a signed message (DER or BER).

    ``contents`` are, for a detached signature, the ways in which the signed entity may be meant: with
    canonical line ends first, then as it came. A signature is taken to be over the one it fits.
    Raises TRUNCATED, SMIME_MALFORMED or RESOURCE_LIMIT; what is wrong with a signature is its verdict.
    """
    oid, inside = cms.content_info(parse(message))
    if oid != cms.SIGNED_DATA:
        raise malformed(f"{oid} is no signed message")
    signed = cms.signed_data(inside, limits)
    content = _content(signed.content, limits)
    if content is not None:
        contents = ([content],)
    elif signed.signers and not contents:
        raise malformed("a signature without what it signs")
    came = _held(signed.certificates)
    wanted = {signer.digest.oid for signer in signed.signers} & DIGESTS.keys()
    candidates = [(_digests(one, wanted), content) for one in contents]
    found = tuple(
        _judge(_Case(signer, signed.content_type, came, trust, now), candidates) for signer in signed.signers
    )
    return Verified(decisive(found), found, content, signed.content_type, tuple(one.value for one in came))


def _content(element: Element | None, limits: Limits) -> memoryview | None:
    """Return what lies inside of the message: a view of it, or its pieces put together."""
    if element is None:
        return None
    if not element.is_constructed:
        return element.expect(OCTET_STRING).data[element.body : element.end]
    size = sum(len(piece) for piece in element.octets())
    if size > limits.max_content:
        raise RadpostError(RESOURCE_LIMIT, "the content is larger than the limit")
    return memoryview(b"".join(element.octets()))


def _held(certificates: Iterable[bytes]) -> tuple[Held, ...]:
    """Read the certificates that came along; one that cannot be read helps nobody."""
    found: dict[str, Held] = {}
    for der in certificates:
        try:
            held = hold(der)
        except RadpostError:
            continue
        found.setdefault(held.value.fingerprint, held)
    return tuple(found.values())


def _digests(pieces: Iterable[Buffer], wanted: Iterable[str]) -> Digests:
    running = {oid: hashes.Hash(DIGESTS[oid]()) for oid in wanted}
    for piece in pieces:
        for one in running.values():
            one.update(memoryview(piece))
    return {oid: one.finalize() for oid, one in running.items()}


@dataclass(frozen=True, slots=True)
class _Case:
    """One SignerInfo with all that its verdict depends on but the content."""

    signer: SignerInfo
    content_type: str
    came: tuple[Held, ...]
    trust: Trust
    now: datetime


def _judge(case: _Case, candidates: Sequence[tuple[Digests, memoryview | None]]) -> Signature:
    """Return what is known of one signature: first whether it fits, then who made it."""
    signer = case.signer
    attributes = signer.attributes
    known = Signature(
        Verdict.UNKNOWN_KEY,
        signed_at=_time(attributes.signing_time) if attributes and attributes.signing_time else None,
        digest=_digest_name(signer.digest),
    )
    try:
        scheme = _scheme(signer)
        digest(signer.digest)
    except RadpostError as error:
        return replace(known, problem=error.detail)
    known = replace(known, algorithm=scheme.name)
    try:
        known, owner = _owner(case, scheme, known, candidates)
    except UnsupportedAlgorithm:
        return replace(known, problem="an algorithm that cannot be checked")
    if owner is None:
        return known
    weak = {known.digest, scheme.hashing.name if scheme.hashing else ""} & WEAK_DIGESTS
    if weak:
        return replace(known, verdict=Verdict.WEAK_DIGEST, problem=f"signed with {min(weak)}")
    found: Standing = standing(owner, case.came, case.trust, case.now)
    return replace(known, verdict=found.verdict, intact=True, problem=found.problem)


def _owner(
    case: _Case, scheme: _Scheme, known: Signature, candidates: Sequence[tuple[Digests, memoryview | None]]
) -> tuple[Signature, Held | None]:
    """Find whose signature it is; without an owner the verdict stands."""
    everyone = dict.fromkeys((*case.came, *case.trust.certificates, *case.trust.anchors))
    owners = [one for one in everyone if one.is_named_by(case.signer.signer)]
    if owners:
        known = _of(known, owners[0])
    if fault := _fault(case, candidates):
        return replace(known, verdict=Verdict.BAD, problem=fault), None
    if not owners:
        return replace(known, problem="the signer's certificate is not there"), None
    values = [digests[case.signer.digest.oid] for digests, _ in candidates]
    owner = next((one for one in owners if _fits(case, scheme, one, values)), None)
    if owner is None:
        return replace(known, verdict=Verdict.BAD, problem=_NOT_BY_THEM), None
    return _of(known, owner), owner


def _of(signature: Signature, owner: Held) -> Signature:
    return replace(signature, fingerprint=owner.value.fingerprint, certificate=owner.value)


def _fault(case: _Case, candidates: Sequence[tuple[Digests, memoryview | None]]) -> str:
    """Say what is wrong with the signed attributes, whoever signed (RFC 5652 5.6, 11.1, 11.2)."""
    attributes = case.signer.attributes
    if attributes is None:
        if case.content_type != cms.DATA:
            return "signed attributes are missing"
        if any(content is not None and content[:1] == bytes([SET]) for _, content in candidates):
            # else the attributes of another message could be passed off as a content
            return "a content that could be signed attributes"
        return ""
    if attributes.content_type != case.content_type:
        return "the content is not of the type that was signed"
    values = [digests[case.signer.digest.oid] for digests, _ in candidates]
    return "" if attributes.message_digest in values else "the content is not what was signed"


def _scheme(signer: SignerInfo) -> _Scheme:
    """Read how a SignerInfo was signed (RFC 5754 3, RFC 4056 2.2, RFC 8419 3)."""
    found = signer.algorithm
    if found.oid == RSA:
        return _Scheme("RSA", digest(signer.digest), padding.PKCS1v15())
    if found.oid in RSA_SIGNATURES:
        return _Scheme("RSA", RSA_SIGNATURES[found.oid](), padding.PKCS1v15())
    if found.oid in ECDSA_SIGNATURES:
        return _Scheme("ECDSA", ECDSA_SIGNATURES[found.oid]())
    if found.oid in EDDSA_SIGNATURES and signer.attributes is not None:
        return _Scheme("EdDSA", None)
    if found.oid == RSA_PSS:
        return _pss(found)
    raise malformed(f"signature algorithm {found.oid}")


def _pss(found: Algorithm) -> _Scheme:
    """Read RSASSA-PSS-params (RFC 4055 3.1)."""
    hashing: hashes.HashAlgorithm = hashes.SHA1()  # noqa: S303  # the default of the standard
    masking: hashes.HashAlgorithm = hashes.SHA1()  # noqa: S303
    salt = 20
    if found.parameters is not None and found.parameters.tag == SEQUENCE:
        fields = found.parameters.fields()
        if (field := fields.maybe(context(0))) is not None:
            hashing = digest(algorithm(field.fields().take(SEQUENCE)))
        if (field := fields.maybe(context(1))) is not None:
            masking = mask(algorithm(field.fields().take(SEQUENCE)))
        if (field := fields.maybe(context(2))) is not None:
            salt = field.fields().take(INTEGER).integer()
        if not 0 <= salt <= 512:
            raise malformed("length of the salt")
    return _Scheme("RSASSA-PSS", hashing, padding.PSS(padding.MGF1(masking), salt))


def _fits(case: _Case, scheme: _Scheme, owner: Held, values: Sequence[bytes]) -> bool:
    """Whether the signature is by the owner of a certificate, over the attributes or else the content."""
    attributes = case.signer.attributes
    if attributes is not None:
        return any(_checks(scheme, owner, case.signer.signature, text, None) for text in attributes.encodings)
    if scheme.hashing is None or scheme.hashing.name != digest(case.signer.digest).name:
        return False
    return any(_checks(scheme, owner, case.signer.signature, value, scheme.hashing) for value in values)


def _checks(
    scheme: _Scheme, owner: Held, signature: bytes, data: bytes, hashed: hashes.HashAlgorithm | None
) -> bool:
    key = owner.x509.public_key()
    hashing = utils.Prehashed(hashed) if hashed is not None else scheme.hashing
    try:
        if isinstance(key, rsa.RSAPublicKey) and scheme.padded is not None and hashing is not None:
            key.verify(signature, data, scheme.padded, hashing)
        elif isinstance(key, ec.EllipticCurvePublicKey) and scheme.name == "ECDSA" and hashing is not None:
            key.verify(signature, data, ec.ECDSA(hashing))
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey) and scheme.name == "EdDSA":
            key.verify(signature, data)
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


def _digest_name(found: Algorithm) -> str:
    make = DIGESTS.get(found.oid)
    return make().name if make is not None else found.oid


def _time(element: Element) -> datetime | None:
    """Read a signing time (RFC 5652 11.3); one that cannot be read is none."""
    try:
        text = element.expect(UTC_TIME, GENERALIZED_TIME).content.decode("ascii")
        if element.tag == UTC_TIME:
            text = ("20" if text[:2] < "50" else "19") + text
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except (RadpostError, ValueError):
        return None
