"""S/MIME layers of a mail: what is encrypted or signed by CMS, opened with given keys (RFC 8551)."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from radpost import smime
from radpost.agit.contents import Cover
from radpost.errors import (
    MIME_MALFORMED,
    RESOURCE_LIMIT,
    SMIME_MALFORMED,
    SMIME_UNSUPPORTED,
    RadpostError,
)
from radpost.mime import cms
from radpost.mime.coding import Buffer, slices
from radpost.mime.pgp import Signed
from radpost.mime.reader import Entity
from radpost.openpgp.values import NO_SIGNATURE, Signature
from radpost.words import Verdict

OF_THE_DATA: Final = frozenset({SMIME_MALFORMED, SMIME_UNSUPPORTED})
"""Faults of CMS data, besides those that OpenPGP data have too."""
OF_DAMAGE: Final = OF_THE_DATA | {MIME_MALFORMED}
"""What damage may look like within a content that nothing proves; the sender is told TAMPERED."""

_TEXT: Final = bytes({*range(32, 127), *b"\t\r\n"})

NOTHING: Final = cms.Found((), ())


@dataclass(frozen=True, slots=True)
class Smime:
    """What S/MIME is opened with."""

    credentials: tuple[smime.Credential, ...]
    trust: smime.Trust
    now: datetime
    limits: smime.Limits


@dataclass(frozen=True, slots=True)
class Layer:
    """One CMS layer taken off."""

    content: memoryview
    signature: Signature
    intact: bool
    """Whether the signature is over the content, whoever signed."""
    encrypted: bool
    proven: bool
    """False if a cipher without integrity gave the content: anybody may have changed it."""
    warnings: tuple[str, ...] = ()
    addresses: frozenset[str] = frozenset()
    """Whom the certificate of a good signature names, in lower case."""


def unwrap(payload: cms.Payload, buffer: Buffer, keys: Smime, *, legacy: bool) -> Layer | None:
    """Take off one layer; nothing is there where a message holds certificates only.

    Raises:
        RadpostError: of `smime.decrypt` and `smime.verify`.
    """
    message = _message(payload, buffer, keys.limits.max_content)
    if payload.kind is cms.Kind.SIGNED:
        verified = smime.verify(message, keys.trust, keys.now, limits=keys.limits)
        if verified.content is None:
            return None
        return Layer(
            verified.content,
            signature_of(verified.signature),
            verified.signature.intact,
            encrypted=False,
            proven=True,
            warnings=_remarks(verified.signature),
            addresses=_addresses(verified.signature),
        )
    if payload.kind is cms.Kind.COMPRESSED:
        raise RadpostError(SMIME_UNSUPPORTED, "compressed data")
    opened = smime.decrypt(message, keys.credentials, limits=keys.limits, legacy=legacy)
    return Layer(
        opened.content,
        NO_SIGNATURE,
        intact=False,
        encrypted=True,
        proven=opened.authenticated,
        warnings=opened.warnings,
    )


def verified(signed: Signed, buffer: Buffer, keys: Smime) -> Layer:
    """Verify a multipart/signed; the content of the layer is left empty."""
    signature = cms.signature_data(signed, buffer)
    contents = cms.readings(signed, buffer)
    found = smime.verify(signature, keys.trust, keys.now, contents=contents, limits=keys.limits).signature
    return Layer(
        memoryview(b""),
        signature_of(found),
        found.intact,
        encrypted=False,
        proven=True,
        warnings=_remarks(found),
        addresses=_addresses(found),
    )


def below(cover: Cover, layer: Layer) -> Cover:
    """Return the cover of what is below one more layer."""
    return replace(
        cover.signed(layer.signature),
        encrypted=cover.encrypted or layer.encrypted,
        unproven=(cover.unproven or not layer.proven) and not layer.intact,
    )


def is_sealed(payload: cms.Payload) -> bool:
    """Whether a message is encrypted, as far as can be seen."""
    return payload.kind is not cms.Kind.SIGNED


def is_layer(root: Entity, buffer: Buffer) -> bool:
    """Whether an entity is nothing but one more layer of S/MIME, so that its header says nothing."""
    return any(payload.entity is root for payload in cms.find_smime(root, buffer).payloads)


def signature_of(signature: smime.Signature) -> Signature:
    """Return a signature in the form that all rooms above share; the fingerprint is the certificate's."""
    return Signature(signature.verdict, signature.fingerprint, created=signature.signed_at)


def _remarks(signature: smime.Signature) -> tuple[str, ...]:
    if signature.verdict is Verdict.WEAK_DIGEST:
        return (f"{signature.digest}-digest",)
    return (f"signature-problem:{signature.problem}",) if signature.problem else ()


def is_garbled(entity: Entity, buffer: Buffer) -> bool:
    """Tell whether base64 holds octets that no encoder writes.

    A block of a CBC message that was changed on its way comes out as sixteen octets of chance; that all of
    them are characters happens once in millions.
    """
    if entity.encoding != "base64":
        return False
    pieces = slices(buffer, entity.body_start, entity.body_end)
    return any(bytes(piece).translate(None, _TEXT) for piece in pieces)


def _addresses(signature: smime.Signature) -> frozenset[str]:
    if signature.verdict is not Verdict.GOOD or signature.certificate is None:
        return frozenset()
    return frozenset(address.lower() for address in signature.certificate.emails)


def _message(payload: cms.Payload, buffer: Buffer, limit: int) -> bytearray:
    message = bytearray()
    for chunk in cms.data(payload, buffer):
        message += chunk
        if len(message) > limit:
            raise RadpostError(RESOURCE_LIMIT, "an S/MIME message larger than the limit")
    return message
