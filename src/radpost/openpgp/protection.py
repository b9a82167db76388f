"""Passphrases of transferable secret keys: taking them off and putting them on (RFC 4880 3.7, 5.5.3).

Our store keeps secret keys without passphrase under its own protection; a passphrase matters at import and
export only, and both ways are done here, so that no pinentry is ever needed.
"""

import hashlib
import hmac
import os
from collections.abc import Callable, Iterator
from dataclasses import replace

from cryptography.hazmat.decrepit.ciphers.algorithms import CAST5, TripleDES
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher, CipherAlgorithm
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from radpost.errors import KEY_UNREADABLE, PASSPHRASE_WRONG, RadpostError
from radpost.openpgp.material import DIGESTS, Block, KeyPacket
from radpost.openpgp.packets import Fields

_GNU_DUMMY = 101
_KEY_BYTES = {2: 24, 3: 16, 7: 16, 8: 24, 9: 32}
_COUNT = 0xE0
"""Coded count of iterations that we write: 16 MiB are hashed (RFC 4880 3.7.1.3)."""


def is_locked(key: KeyPacket) -> bool:
    """Whether the secret part needs a passphrase."""
    return bool(key.secret) and not is_absent(key) and key.secret is not None and key.secret[0] != 0


def is_absent(key: KeyPacket) -> bool:
    """Whether there is no secret part, or only GnuPG's placeholder for one kept elsewhere."""
    if not key.secret:
        return True
    return key.secret[0] in (254, 255) and key.secret[2:3] == bytes((_GNU_DUMMY,))


def unlock(block: Block, passphrase: bytes) -> Block:
    """Return the key without passphrase; PASSPHRASE_WRONG if it is the wrong one."""
    return _changed(block, lambda key: _unlock(key, passphrase) if is_locked(key) else key)


def lock(block: Block, passphrase: bytes) -> Block:
    """Return the key protected by a passphrase (AES-256, iterated and salted SHA-256)."""
    return _changed(block, lambda key: _lock(key, passphrase) if key.secret and key.secret[0] == 0 else key)


def _changed(block: Block, change: Callable[[KeyPacket], KeyPacket]) -> Block:
    items = tuple(change(item) if isinstance(item, KeyPacket) else item for item in block.items)
    keys = [item for item in items if isinstance(item, KeyPacket)]
    return Block(keys[0], tuple(keys[1:]), items)


def _unlock(key: KeyPacket, passphrase: bytes) -> KeyPacket:
    fields = Fields(key.secret or b"")
    usage = fields.number(1)
    if usage not in (254, 255):
        raise RadpostError(KEY_UNREADABLE, "the protection of the secret key is not known")
    cipher = fields.number(1)
    secret = _s2k(fields, passphrase, cipher)
    algorithm = _algorithm(cipher, secret)
    iv = fields.take(algorithm.block_size // 8)  # type: ignore[attr-defined]  # every block cipher has it
    decryptor = Cipher(algorithm, CFB(iv)).decryptor()
    plain = decryptor.update(fields.rest()) + decryptor.finalize()
    if usage == 254:
        numbers, check = plain[:-20], plain[-20:]
        good = hmac.compare_digest(hashlib.sha1(numbers, usedforsecurity=False).digest(), check)
    else:
        numbers, check = plain[:-2], plain[-2:]
        good = _sum(numbers) == check
    if not good:
        raise RadpostError(PASSPHRASE_WRONG)
    return replace(key, secret=b"\0" + numbers + _sum(numbers))


def _lock(key: KeyPacket, passphrase: bytes) -> KeyPacket:
    numbers = (key.secret or b"")[1:-2]
    specifier = bytes((3, 8)) + os.urandom(8) + bytes((_COUNT,))
    secret = _s2k(Fields(specifier), passphrase, 9)
    iv = os.urandom(16)
    encryptor = Cipher(AES(secret), CFB(iv)).encryptor()
    check = hashlib.sha1(numbers, usedforsecurity=False).digest()
    sealed = encryptor.update(numbers + check) + encryptor.finalize()
    return replace(key, secret=bytes((254, 9)) + specifier + iv + sealed)


def _algorithm(cipher: int, secret: bytes) -> CipherAlgorithm:
    if cipher == 2:
        return TripleDES(secret)
    if cipher == 3:
        return CAST5(secret)
    return AES(secret)


def _s2k(fields: Fields, passphrase: bytes, cipher: int) -> bytes:
    """Derive a key from a passphrase (RFC 4880 3.7.1)."""
    if cipher not in _KEY_BYTES:
        raise RadpostError(KEY_UNREADABLE, "the cipher of the secret key's protection is not known")
    kind, digest_id = fields.number(1), fields.number(1)
    if kind not in (0, 1, 3) or digest_id not in DIGESTS:
        raise RadpostError(KEY_UNREADABLE, "the protection of the secret key is not known")
    text = (fields.take(8) if kind else b"") + passphrase
    length = len(text)
    if kind == 3:
        coded = fields.number(1)
        length = max(length, (16 + (coded & 15)) << ((coded >> 4) + 6))
    return b"".join(_digests(DIGESTS[digest_id], text, length, _KEY_BYTES[cipher]))[: _KEY_BYTES[cipher]]


def _digests(name: str, text: bytes, length: int, wanted: int) -> Iterator[bytes]:
    have = number = 0
    block = text * (max(1 << 16, len(text)) // len(text)) if text else b""
    while have < wanted:
        running = hashlib.new(name, b"\0" * number, usedforsecurity=False)
        left = length
        while left > 0 and block:
            running.update(block[:left])
            left -= len(block)
        yield running.digest()
        have += running.digest_size
        number += 1


def _sum(numbers: bytes) -> bytes:
    return (sum(numbers) & 0xFFFF).to_bytes(2, "big")
