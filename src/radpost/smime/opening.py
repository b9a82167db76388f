"""Decryption of EnvelopedData and AuthEnvelopedData (RFC 5652 6, RFC 5083, RFC 5084).

Nothing is handed out before the tag has been checked where the cipher has one. CBC has none: its content is
handed out as not authenticated, and the caller holds it back until a signature inside proves it. Whatever is
wrong with the key or the padding is one and the same TAMPERED, so that no sender learns more from it
(RFC 3218, RFC 8551 6).
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, GCM

from radpost.errors import (
    LEGACY_ALGORITHM,
    NO_SECRET_KEY,
    PASSWORD_ENCRYPTED,
    RESOURCE_LIMIT,
    TAMPERED,
    RadpostError,
)
from radpost.smime import cms, recipients
from radpost.smime.algorithms import AES_CBC, AES_GCM, TRIPLE_DES, Algorithm, unsupported
from radpost.smime.ber import INTEGER, OCTET_STRING, SEQUENCE, malformed, parse
from radpost.smime.cms import Enveloped, KeyAgreement, KeyTransport
from radpost.smime.credentials import Credential
from radpost.smime.values import Buffer, Decrypted, Limits

_DEFAULT: Final = Limits()
_MAX_TRIES: Final = 16
"""How often one content is decrypted: a message seldom names two keys of ours."""
_TAMPERED: Final = "the content does not come out whole"


@dataclass(frozen=True, slots=True)
class _Mode:
    """A content cipher with its parameters."""

    name: str
    key_size: int
    block: int
    nonce: bytes
    tag: bytes | None
    legacy: bool = False

    def decryptor(self, key: bytes, attributes: bytes) -> CipherContext:
        """Start to decrypt."""
        if self.tag is not None:
            gcm = Cipher(AES(key), GCM(self.nonce, self.tag, min_tag_length=12)).decryptor()
            gcm.authenticate_additional_data(attributes)
            return gcm
        return Cipher(TripleDES(key) if self.legacy else AES(key), CBC(self.nonce)).decryptor()


def decrypt(
    message: Buffer,
    credentials: Sequence[Credential],
    *,
    limits: Limits = _DEFAULT,
    legacy: bool = False,
) -> Decrypted:
    """Decrypt one message (DER or BER) with whichever of our keys it is for.

    Raises NO_SECRET_KEY, TAMPERED, TRUNCATED, LEGACY_ALGORITHM, PASSWORD_ENCRYPTED, RESOURCE_LIMIT,
    SMIME_UNSUPPORTED or SMIME_MALFORMED.
    """
    oid, inside = cms.content_info(parse(message))
    if oid not in (cms.ENVELOPED_DATA, cms.AUTH_ENVELOPED_DATA):
        raise malformed(f"{oid} is no encrypted message")
    envelope = cms.enveloped(oid, inside, limits)
    tries = list(_tries(envelope, credentials))
    if not tries:
        raise _not_for_us(envelope)
    mode = _mode(envelope)
    if mode.legacy and not legacy:
        raise RadpostError(LEGACY_ALGORITHM, mode.name)
    size = sum(len(piece) for piece in envelope.content.octets())
    if size > limits.max_content:
        raise RadpostError(RESOURCE_LIMIT, "the content is larger than the limit")
    return _first(envelope, mode, size, tries)


def _tries(
    envelope: Enveloped, credentials: Sequence[Credential]
) -> Iterator[tuple[KeyTransport | KeyAgreement, Credential]]:
    """Yield which key may open which entry: those that are named, then keys without certificate."""
    for recipient in envelope.recipients:
        for credential in credentials:
            certificate = credential.certificate
            if certificate is not None and certificate.is_named_by(recipient.recipient):
                yield recipient, credential
    for recipient in envelope.recipients:
        for credential in credentials:
            if credential.certificate is None and recipients.could_open(recipient, credential.key):
                yield recipient, credential


def _not_for_us(envelope: Enveloped) -> RadpostError:
    if not envelope.recipients and envelope.passwords:
        return RadpostError(PASSWORD_ENCRYPTED)
    return RadpostError(NO_SECRET_KEY)


def _first(
    envelope: Enveloped,
    mode: _Mode,
    size: int,
    tries: list[tuple[KeyTransport | KeyAgreement, Credential]],
) -> Decrypted:
    """Decrypt with the first key that does; a key that is named but does not fit is replaced by chance."""
    fitted = False
    for recipient, credential in tries[:_MAX_TRIES]:
        key = recipients.session_key(recipient, credential.key)
        named = credential.certificate is not None
        if key is None or len(key) != mode.key_size:
            if not named:
                continue
            key = secrets.token_bytes(mode.key_size)
        fitted = True
        content = _content(envelope, mode, size, key)
        if content is not None:
            return Decrypted(
                content=content,
                content_type=envelope.content_type,
                authenticated=mode.tag is not None,
                cipher=mode.name,
                transport=recipients.name(recipient),
                recipient=credential.certificate.value.fingerprint if credential.certificate else None,
                warnings=(f"legacy-cipher:{mode.name}",) if mode.legacy else (),
            )
    raise RadpostError(TAMPERED, _TAMPERED) if fitted else RadpostError(NO_SECRET_KEY)


def _mode(envelope: Enveloped) -> _Mode:
    """Read the content cipher; only ciphers that prove the content may stand where that is promised."""
    found = envelope.algorithm
    if envelope.authenticated:
        if found.oid not in AES_GCM:
            raise unsupported("authenticated cipher", found.oid)
        return _gcm(found, AES_GCM[found.oid], envelope.tag)
    if found.oid in AES_CBC:
        size, block, name = AES_CBC[found.oid], 16, f"AES-{8 * AES_CBC[found.oid]}-CBC"
    elif found.oid == TRIPLE_DES:
        size, block, name = 24, 8, "3DES-CBC"
    else:
        raise unsupported("cipher", found.oid)
    if found.parameters is None:
        raise malformed("a cipher without parameters")
    nonce = found.parameters.expect(OCTET_STRING).value()
    if len(nonce) != block:
        raise malformed("initialization vector")
    return _Mode(name, size, block, nonce, None, legacy=found.oid == TRIPLE_DES)


def _gcm(found: Algorithm, size: int, tag: bytes) -> _Mode:
    """Read GCMParameters (RFC 5084 3.2)."""
    if found.parameters is None:
        raise malformed("a cipher without parameters")
    fields = found.parameters.expect(SEQUENCE).fields()
    nonce = fields.take(OCTET_STRING).value()
    length = fields.maybe(INTEGER)
    if not 8 <= len(nonce) <= 64:
        raise malformed("nonce")
    if not 12 <= len(tag) <= 16 or len(tag) != (length.integer() if length is not None else 12):
        raise malformed("message authentication code")
    return _Mode(f"AES-{8 * size}-GCM", size, 1, nonce, tag)


def _content(envelope: Enveloped, mode: _Mode, size: int, key: bytes) -> memoryview | None:
    """Decrypt; nothing comes back unless the tag is right, or the padding where there is no tag."""
    if mode.block > 1 and (not size or size % mode.block):
        return None
    out = bytearray(size + mode.block)
    view = memoryview(out)
    decryptor = mode.decryptor(key, envelope.attributes)
    at = 0
    for piece in envelope.content.octets():
        at += decryptor.update_into(piece, view[at:])
    try:
        last = decryptor.finalize()
    except (InvalidTag, ValueError):
        return None
    view[at : at + len(last)] = last
    end = at + len(last)
    if mode.tag is None:
        end = _unpadded(out, end, mode.block)
        if end < 0:
            return None
    return view[:end].toreadonly()


def _unpadded(data: bytearray, end: int, block: int) -> int:
    """Return where the content ends before its padding (RFC 5652 6.3), or -1."""
    count = data[end - 1] if end else 0
    if not 1 <= count <= block or data[end - count : end] != bytes([count]) * count:
        return -1
    return end - count
