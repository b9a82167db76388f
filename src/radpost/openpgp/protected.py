"""Encrypted data whose integrity is proven: what is released only if the MDC or the last tag is right."""

import hashlib
import hmac
from collections.abc import Iterable, Iterator

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from radpost.errors import OPENPGP_MALFORMED, TAMPERED, TRUNCATED, RadpostError
from radpost.openpgp import packets
from radpost.openpgp.material import Unsupported
from radpost.openpgp.packets import EndOfData, Malformed, Piece

BLOCK = 1 << 18
WORTH = 1 << 15
"""A piece of this size is worth a call of a cipher or hash; smaller ones are joined."""
_MDC = 22
_CIPHER_ROOM = 16
"""What a cipher wants behind the bytes it writes."""
_PREFIX = 18


class Proven:
    """A plaintext that ends only if its integrity is proven."""

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = self._run(pieces)

    def chunks(self) -> Iterator[Piece]:
        """Return the plaintext as one iterator."""
        return self._pieces

    def drain(self) -> None:
        """Read to the end, so that the MDC or the last tag is checked."""
        for _ in self._pieces:
            pass

    @staticmethod
    def _run(pieces: Iterator[Piece]) -> Iterator[Piece]:
        try:
            yield from pieces
        except EndOfData as error:
            raise RadpostError(TRUNCATED, "the encrypted data end too early") from error
        except Malformed as error:
            raise RadpostError(OPENPGP_MALFORMED, str(error)) from error


class Protected:
    """Symmetrically encrypted, integrity protected data, version 1 (RFC 4880 5.13)."""

    def __init__(self, pieces: Iterable[Piece], session: bytes) -> None:
        self._pieces = packets.gathered(pieces, WORTH)
        self._context = Cipher(AES(session), CFB(bytes(16))).decryptor()
        self._open = bytearray()

    def _decrypted(self, held: bytes, sealed: Piece) -> memoryview:
        """Return ``held`` and what ``sealed`` hides, in a buffer that the next call uses again."""
        size = len(held) + len(sealed)
        if len(self._open) < size + _CIPHER_ROOM:
            self._open = bytearray(max(size, BLOCK) + _CIPHER_ROOM)
        view = memoryview(self._open)
        view[: len(held)] = held
        self._context.update_into(sealed, view[len(held) :])
        return view[:size]

    def run(self) -> Iterator[Piece]:
        """Yield the plaintext."""
        running = hashlib.sha1(usedforsecurity=False)
        held = b""
        skip = _PREFIX
        first = True
        for sealed in self._pieces:
            piece: Piece = sealed
            if first:
                if sealed[0] != 1:
                    raise Unsupported("version of the encrypted data")
                piece, first = memoryview(sealed)[1:], False
            whole = self._decrypted(held, piece)
            # the last 22 bytes are the MDC packet; which they are, only the end tells
            held = bytes(whole[-_MDC:])
            if len(whole) <= _MDC:
                continue
            view = whole[:-_MDC]
            running.update(view)
            out = view[skip:]
            skip -= len(view) - len(out)
            if out:
                yield out
        running.update(held[:2])
        if len(held) < _MDC or skip:
            raise RadpostError(TRUNCATED, "the encrypted data are too short")
        if held[:2] != b"\xd3\x14" or not hmac.compare_digest(held[2:], running.digest()):
            raise RadpostError(TAMPERED)
