"""The structures of CMS, read but not believed yet (RFC 5652, RFC 5083)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from radpost.errors import RESOURCE_LIMIT, RadpostError
from radpost.smime.algorithms import Algorithm, algorithm
from radpost.smime.ber import (
    BIT_STRING,
    CONSTRUCTED,
    INTEGER,
    OCTET_STRING,
    OID,
    SEQUENCE,
    SET,
    Element,
    context,
    encode,
    malformed,
    to_der,
)
from radpost.smime.values import Limits

DATA: Final = "1.2.840.113549.1.7.1"
SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
ENVELOPED_DATA: Final = "1.2.840.113549.1.7.3"
AUTH_ENVELOPED_DATA: Final = "1.2.840.113549.1.9.16.1.23"

CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
SIGNING_TIME: Final = "1.2.840.113549.1.9.5"

_IMPLICIT_OCTETS: Final = (context(0), context(0, constructed=False))


@dataclass(frozen=True, slots=True)
class Identifier:
    """How a certificate is named: by issuer and serial number, or by its key (RFC 5652 10.2.4, 6.2.1)."""

    issuer: bytes = b""
    """The name in DER, as it stands."""
    serial: int = 0
    key: bytes | None = None
    """The subject key identifier."""


@dataclass(frozen=True, slots=True)
class KeyTransport:
    """KeyTransRecipientInfo (RFC 5652 6.2.1)."""

    recipient: Identifier
    algorithm: Algorithm
    encrypted_key: bytes


@dataclass(frozen=True, slots=True)
class KeyAgreement:
    """One recipient of a KeyAgreeRecipientInfo whose sender made a key for this message (RFC 5753 3.1)."""

    recipient: Identifier
    algorithm: Algorithm
    originator: Algorithm
    originator_key: bytes
    material: bytes | None
    """User keying material (RFC 5652 6.2.2)."""
    encrypted_key: bytes


@dataclass(frozen=True, slots=True)
class Enveloped:
    """EnvelopedData (RFC 5652 6.1) or AuthEnvelopedData (RFC 5083 2.1)."""

    authenticated: bool
    recipients: tuple[KeyTransport | KeyAgreement, ...]
    passwords: int
    """Recipients that need a password or a key of their own (RFC 5652 6.2.3, 6.2.4)."""
    others: int
    """Recipients of a kind that we do not know."""
    content_type: str
    algorithm: Algorithm
    content: Element
    attributes: bytes
    """The authenticated attributes in DER, as they enter the check."""
    tag: bytes


@dataclass(frozen=True, slots=True)
class SignerInfo:
    """SignerInfo (RFC 5652 5.3)."""

    signer: Identifier
    digest: Algorithm
    algorithm: Algorithm
    signature: bytes
    attributes: "Attributes | None"


@dataclass(frozen=True, slots=True)
class Attributes:
    """Signed attributes: those that matter, and what the signature covers (RFC 5652 5.4, 11)."""

    encodings: tuple[bytes, ...]
    """As they stand, and if that is not DER, as DER."""
    content_type: str
    message_digest: bytes
    signing_time: Element | None


@dataclass(frozen=True, slots=True)
class SignedData:
    """SignedData (RFC 5652 5.1)."""

    content_type: str
    content: Element | None
    certificates: tuple[bytes, ...]
    revocations: tuple[bytes, ...]
    """Revocation lists that came along, in DER."""
    signers: tuple[SignerInfo, ...]


def content_info(element: Element) -> tuple[str, Element]:
    """Read ContentInfo: what is inside, and where it lies (RFC 5652 3)."""
    fields = element.expect(SEQUENCE).fields()
    oid = fields.take(OID).oid()
    inside = next(fields.take(context(0)).children(), None)
    if inside is None:
        raise malformed("there is no content")
    return oid, inside


def enveloped(oid: str, element: Element, limits: Limits) -> Enveloped:
    """Read EnvelopedData or AuthEnvelopedData."""
    authenticated = oid == AUTH_ENVELOPED_DATA
    fields = element.expect(SEQUENCE).fields()
    fields.take(INTEGER)
    fields.maybe(context(0))  # originatorInfo: certificates that ephemeral keys do not need
    known: list[KeyTransport | KeyAgreement] = []
    passwords = others = 0
    for info in fields.take(SET).children():
        if info.tag == SEQUENCE:
            known.append(_key_transport(info))
        elif info.tag == context(1):
            found = list(_key_agreement(info, limits.max_recipients))
            known.extend(found)
            others += not found
        elif info.tag in (context(2), context(3)):
            passwords += 1
        else:
            others += 1
        if len(known) + passwords + others > limits.max_recipients:
            raise RadpostError(RESOURCE_LIMIT, "too many recipients")
    content_type, cipher, content = _encrypted_content(fields.take(SEQUENCE))
    attributes = fields.maybe(context(1))
    tag = b""
    if authenticated:
        tag = fields.take(OCTET_STRING, OCTET_STRING | CONSTRUCTED).value()
    return Enveloped(
        authenticated,
        tuple(known),
        passwords,
        others,
        content_type,
        cipher,
        content,
        as_set(attributes) if authenticated and attributes is not None else b"",
        tag,
    )


def signed_data(element: Element, limits: Limits) -> SignedData:
    """Read SignedData."""
    fields = element.expect(SEQUENCE).fields()
    fields.take(INTEGER)
    fields.take(SET)  # digest algorithms; each SignerInfo says its own
    inner = fields.take(SEQUENCE).fields()
    content_type = inner.take(OID).oid()
    wrapped = inner.maybe(context(0))
    content = next(wrapped.children(), None) if wrapped is not None else None
    certificates: list[bytes] = []
    holder = fields.maybe(context(0))
    for choice in holder.children() if holder is not None else ():
        if choice.tag == SEQUENCE:  # the others are attribute certificates and forms of long ago
            certificates.append(choice.raw)
        if len(certificates) > limits.max_certificates:
            raise RadpostError(RESOURCE_LIMIT, "too many certificates")
    lists = fields.maybe(context(1))
    revocations = [one.raw for one in lists.children() if one.tag == SEQUENCE] if lists is not None else []
    signers: list[SignerInfo] = []
    for info in fields.take(SET).children():
        signers.append(_signer(info))
        if len(signers) > limits.max_signers:
            raise RadpostError(RESOURCE_LIMIT, "too many signatures")
    return SignedData(content_type, content, tuple(certificates), tuple(revocations), tuple(signers))


def as_set(attributes: Element) -> bytes:
    """Return implicitly tagged attributes as the SET OF that is hashed (RFC 5652 5.4, RFC 5083 2.2)."""
    return encode(SET, *sorted(to_der(one) for one in attributes.children()))


def _identifier(element: Element) -> Identifier:
    if element.tag in _IMPLICIT_OCTETS:
        return Identifier(key=element.value())
    fields = element.expect(SEQUENCE).fields()
    return Identifier(fields.take(SEQUENCE).raw, fields.take(INTEGER).integer())


def _key_transport(element: Element) -> KeyTransport:
    fields = element.fields()
    fields.take(INTEGER)
    return KeyTransport(
        _identifier(fields.take()),
        algorithm(fields.take(SEQUENCE)),
        fields.take(OCTET_STRING, OCTET_STRING | CONSTRUCTED).value(),
    )


def _key_agreement(element: Element, limit: int) -> Iterator[KeyAgreement]:
    fields = element.fields()
    fields.take(INTEGER)
    originator = next(fields.take(context(0)).children(), None)
    if originator is None:
        raise malformed("there is no originator")
    material = fields.maybe(context(1))
    agreement = algorithm(fields.take(SEQUENCE))
    if originator.tag != context(1):
        return  # the sender's certified key, which nobody uses for mail (RFC 5753 3)
    key = originator.fields()
    kind = algorithm(key.take(SEQUENCE))
    point = key.take(BIT_STRING).bits()
    ukm = None
    if material is not None:
        wrapped = next(material.children(), None)
        ukm = wrapped.value() if wrapped is not None else b""
    for number, one in enumerate(fields.take(SEQUENCE).children()):
        if number >= limit:
            raise RadpostError(RESOURCE_LIMIT, "too many recipients")
        entry = one.fields()
        recipient = entry.take()
        if recipient.tag == context(0):  # RecipientKeyIdentifier
            who = Identifier(key=recipient.fields().take(OCTET_STRING).value())
        else:
            who = _identifier(recipient)
        yield KeyAgreement(who, agreement, kind, point, ukm, entry.take(OCTET_STRING).value())


def _encrypted_content(element: Element) -> tuple[str, Algorithm, Element]:
    fields = element.fields()
    content_type = fields.take(OID).oid()
    cipher = algorithm(fields.take(SEQUENCE))
    content = fields.maybe(*_IMPLICIT_OCTETS)
    if content is None:
        raise malformed("there is no encrypted content")
    return content_type, cipher, content


def _signer(element: Element) -> SignerInfo:
    fields = element.expect(SEQUENCE).fields()
    fields.take(INTEGER)
    who = _identifier(fields.take())
    digest = algorithm(fields.take(SEQUENCE))
    attributes = fields.maybe(context(0))
    scheme = algorithm(fields.take(SEQUENCE))
    signature = fields.take(OCTET_STRING, OCTET_STRING | CONSTRUCTED).value()
    return SignerInfo(
        who, digest, scheme, signature, _attributes(attributes) if attributes is not None else None
    )


def _attributes(element: Element) -> Attributes:
    """Read the signed attributes; those that count must stand there once and have one value."""
    found: dict[str, Element] = {}
    for attribute in element.children():
        fields = attribute.expect(SEQUENCE).fields()
        oid = fields.take(OID).oid()
        if oid not in (CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_TIME):
            continue
        values = list(fields.take(SET).children())
        if oid in found or len(values) != 1:
            raise malformed("a signed attribute with more or fewer than one value")
        found[oid] = values[0]
    if CONTENT_TYPE not in found or MESSAGE_DIGEST not in found:
        raise malformed("signed attributes without content type or message digest")
    encodings = (encode(SET, element.content), as_set(element))
    return Attributes(
        tuple(dict.fromkeys(encodings)),
        found[CONTENT_TYPE].oid(),
        found[MESSAGE_DIGEST].expect(OCTET_STRING, OCTET_STRING | CONSTRUCTED).value(),
        found.get(SIGNING_TIME),
    )
