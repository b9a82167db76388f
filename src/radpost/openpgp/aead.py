"""Authenticated encryption in chunks: the OCB Encrypted Data packet, tag 20, with OCB and EAX.

GnuPG 2.3 and RNP write it to keys that announce it (draft-koch-librepgp 5.16). GnuPG 2.2 reads it too, but
calls a changed message good, so it is read here. Each chunk is authentic before it is handed on, and only
the last tag says that none is missing.
"""

import hmac
from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESOCB3
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.cmac import CMAC

from radpost.errors import RESOURCE_LIMIT, TAMPERED, TRUNCATED, UNSUPPORTED_ALGORITHM, RadpostError
from radpost.openpgp.material import CIPHERS, KEY_BYTES
from radpost.openpgp.packets import ByteReader, Piece

EAX, OCB = 1, 2
_TAG = 16
_NONCE = {EAX: 16, OCB: 15}
_MAX_CHUNK = 16
"""Coded size of the largest chunk that is read, 4 MiB: a chunk must be held whole."""


def decrypted(body: Iterable[Piece], cipher: int, session: bytes) -> Iterator[bytes]:
    """Yield the plaintext of a packet's body chunk by chunk; it ends only if the last tag is right.

    Raises:
        RadpostError: TAMPERED, TRUNCATED; UNSUPPORTED_ALGORITHM, RESOURCE_LIMIT (chunks beyond 4 MiB).
        Malformed: the packet itself is damaged.
    """
    reader = ByteReader(body)
    header = reader.take(4)
    mode = header[2]
    _check(header, cipher)
    nonce = reader.take(_NONCE[mode])
    opener = AESOCB3(session) if mode == OCB else Eax(session)
    associated = b"\xd4" + header
    index = total = 0
    for sealed, is_last in _chunks(reader, 1 << (header[3] + 6)):
        place = index.to_bytes(8, "big")
        known = associated + place + (total.to_bytes(8, "big") if is_last else b"")
        try:
            plain = opener.decrypt(_nonce(nonce, place), sealed, known)
        except InvalidTag as error:
            raise RadpostError(TAMPERED) from error
        index, total = index + 1, total + len(plain)
        if plain:
            yield plain


def _check(header: bytes, cipher: int) -> None:
    version, named, mode, chunk = header
    if version != 1:
        raise RadpostError(UNSUPPORTED_ALGORITHM, f"AEAD packet of version {version}")
    if named != cipher:
        raise RadpostError(TAMPERED, "the cipher is not that of the session key")
    if cipher not in KEY_BYTES or mode not in _NONCE:
        name = CIPHERS.get(cipher, f"cipher {cipher}")
        raise RadpostError(UNSUPPORTED_ALGORITHM, f"{name} in AEAD mode {mode}")
    if chunk > _MAX_CHUNK:
        raise RadpostError(RESOURCE_LIMIT, "AEAD chunks of more than 4 MiB")


def _chunks(reader: ByteReader, size: int) -> Iterator[tuple[bytes, bool]]:
    """Yield the sealed chunks with their tags, and at last the tag that covers no data."""
    held = bytearray()
    while piece := reader.some(size):
        held += piece
        while len(held) >= size + 2 * _TAG:
            yield bytes(held[: size + _TAG]), False
            del held[: size + _TAG]
    if len(held) > _TAG:
        yield bytes(held[:-_TAG]), False
    if len(held) < _TAG:
        raise RadpostError(TRUNCATED, "the encrypted data end too early")
    yield bytes(held[-_TAG:]), True


def _nonce(start: bytes, place: bytes) -> bytes:
    """Return the nonce of a chunk: its number is laid over the last octets."""
    return start[:-8] + bytes(one ^ other for one, other in zip(start[-8:], place, strict=True))


class Eax:
    """AES in EAX mode (Bellare, Rogaway, Wagner: The EAX Mode of Operation), for reading only."""

    def __init__(self, key: bytes) -> None:
        self._key = AES(key)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Return the plaintext of data that end with a tag of 16 octets; InvalidTag if it is wrong."""
        sealed, tag = data[:-_TAG], data[-_TAG:]
        start = self._omac(0, nonce)
        others = zip(start, self._omac(1, associated_data), self._omac(2, sealed), strict=True)
        if not hmac.compare_digest(tag, bytes(one ^ two ^ three for one, two, three in others)):
            raise InvalidTag
        context = Cipher(self._key, CTR(start)).decryptor()
        return context.update(sealed) + context.finalize()

    def _omac(self, number: int, data: bytes) -> bytes:
        running = CMAC(self._key)
        running.update(bytes(15) + bytes((number,)))
        running.update(data)
        return running.finalize()
