"""The engine in this process for version 4 keys: RSA and Curve25519, AES, SEIPD with MDC (RFC 4880, 6637).

It streams with constant memory and calls only what releases the GIL (OpenSSL, hashlib, isal, pybase64), so
threads scale. What it does not know it refuses by `Unsupported` before anything is written or released.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from radpost.errors import OPENPGP_MALFORMED, RadpostError
from radpost.openpgp import material, packets, signatures
from radpost.openpgp.armor import CLEARTEXT, ArmorWriter, PlainWriter, open_message, unarmor_all
from radpost.openpgp.budget import Budget
from radpost.openpgp.deflate import ZIP, MixedDeflater
from radpost.openpgp.keyring import Keyring
from radpost.openpgp.listing import KeyState
from radpost.openpgp.material import DIGESTS, WEAK_DIGESTS, Unsupported
from radpost.openpgp.message import Signed
from radpost.openpgp.opening import MessageReader
from radpost.openpgp.packets import Malformed, PartialFramer, Piece
from radpost.openpgp.plaintext import PlaintextWriter
from radpost.openpgp.signatures import SignaturePacket
from radpost.openpgp.values import (
    Buffer,
    Chunk,
    Compression,
    Limits,
    Opened,
    Sealed,
    Signature,
    Source,
    decisive,
    octets,
)
from radpost.words import Verdict

_STAGE = 1 << 18
_SLICE = 1 << 17
CIPHER_IDS = {"AES128": 7, "AES192": 8, "AES256": 9}
DIGEST_IDS = {"SHA256": 8, "SHA384": 9, "SHA512": 10}


class NativeEngine:
    """Seals and opens with a keyring; any number of threads may use it at once."""

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys

    def seal(
        self,
        source: Source,
        sink: BinaryIO,
        *,
        recipients: Sequence[KeyState],
        signer: KeyState | None,
        compress: Compression,
        armor: bool,
        cipher: str,
        digest: str,
    ) -> Sealed:
        """Sign and encrypt to the given (sub)keys; `Unsupported` comes before the first byte is read."""
        if cipher not in CIPHER_IDS or digest not in DIGEST_IDS:
            raise Unsupported("cipher or digest")
        encryptors = [self._keys.encryptor(state) for state in recipients]
        signing = None if signer is None else self._keys.signer(signer)
        session = material.new_session(CIPHER_IDS[cipher])
        out = ArmorWriter(sink) if armor else PlainWriter(sink)
        for one in encryptors:
            out.write(one.packet(CIPHER_IDS[cipher], session))
        protected = _ProtectedWriter(out, session)
        inner = _CompressedWriter(protected) if compress is Compression.ZIP else _PlainInner(protected)
        digest_id = DIGEST_IDS[digest]
        running = signatures.new_hash(digest_id)
        if signing is not None and signer is not None:
            inner.write(signatures.one_pass(digest_id, signing.algorithm, signer.fingerprint))
        literal = _LiteralWriter(inner)
        size = 0
        for item in source:
            chunk = item if isinstance(item, Chunk) else Chunk(item)
            for piece in _slices(chunk.data):
                size += len(piece)
                if signing is not None:
                    running.update(piece)
                literal.write(piece, compressible=chunk.compressible)
        literal.close()
        if signing is not None and signer is not None:
            now = int(time.time())
            inner.write(signatures.build(running, digest_id, signing, signer.fingerprint, now))
        inner.close()
        protected.close()
        out.close()
        return Sealed(out.size, size, "native", tuple(state.fingerprint for state in recipients))

    def open(self, source: BinaryIO, *, temp: Path, limits: Limits, legacy: bool, now: datetime) -> Opened:
        """Decrypt and verify; `Unsupported` if GnuPG should have it."""
        writer = PlaintextWriter(temp, limits.memory)
        budget = Budget(limits.max_plaintext, limits.max_ratio, limits.ratio_floor)
        reader = MessageReader(
            self._keys, writer, budget, max_depth=limits.max_depth, max_recipients=limits.max_recipients
        )
        try:
            kind, chunks = open_message(source)
            if kind == CLEARTEXT:
                raise Unsupported("text signed in clear")  # noqa: TRY301  # one place that discards
            content = reader.read(chunks, legacy=legacy)
            found = tuple(self._judge(signed, now) for signed in content.signed)
        except BaseException:
            writer.discard()
            raise
        recipient = content.recipient
        weak = {signed.packet.digest_id for signed in content.signed} & WEAK_DIGESTS
        warnings = [f"{DIGESTS[digest_id]}-digest" for digest_id in sorted(weak)]
        return Opened(
            decisive(found),
            writer.finish(),
            content.integrity,
            content.encrypted,
            content.cipher,
            tuple(warnings),
            found,
            recipient.fingerprint if recipient else None,
            "native",
        )

    def verify_detached(self, data: Iterable[Buffer], signature: bytes, now: datetime) -> Signature:
        """Verify binary detached signatures; `Unsupported` comes before ``data`` is touched."""
        found = [self._check_kind(content) for content in detached_packets(signature)]
        hashes = {packet.digest_id: signatures.new_hash(packet.digest_id) for packet in found}
        for chunk in data:
            for piece in _slices(chunk):
                for running in hashes.values():
                    running.update(piece)
        return decisive(self._judge(Signed(packet, hashes[packet.digest_id]), now) for packet in found)

    def sign_detached(self, data: Iterable[Buffer], signer: KeyState, digest: str) -> bytes:
        """Return a binary detached signature packet."""
        if digest not in DIGEST_IDS:
            raise Unsupported("digest")
        signing = self._keys.signer(signer)
        running = signatures.new_hash(DIGEST_IDS[digest])
        for chunk in data:
            for piece in _slices(chunk):
                running.update(piece)
        return signatures.build(running, DIGEST_IDS[digest], signing, signer.fingerprint, int(time.time()))

    def _check_kind(self, content: bytes) -> SignaturePacket:
        packet = signatures.parse(content)
        if packet.kind != signatures.BINARY or packet.digest_id not in DIGESTS:
            raise Unsupported("kind of signature")
        for state in self._keys.find(packet.issuer_fingerprint or packet.keyid or ""):
            self._keys.verifier(state)
        return packet

    def _judge(self, signed: Signed, now: datetime) -> Signature:
        """Verify one signature and say what it is worth today (DESIGN 6)."""
        packet = signed.packet
        states = self._keys.find(packet.issuer_fingerprint or packet.keyid or "")
        if not states:
            return Signature(Verdict.UNKNOWN_KEY, None, packet.issuer_fingerprint, packet.time())
        for state in states:
            if packet.verify(signed.running, self._keys.verifier(state)):
                return Signature(
                    self._worth(packet, state, now), state.primary, state.fingerprint, packet.time()
                )
        return Signature(Verdict.BAD, states[0].primary, states[0].fingerprint, packet.time())

    def _worth(self, packet: SignaturePacket, state: KeyState, now: datetime) -> Verdict:
        """Return the verdict on a signature whose mathematics is right."""
        primary = self._keys.certs[state.primary].primary
        created = packet.created
        if created is None or created < int(state.created.timestamp()):
            return Verdict.BAD
        if state.revoked or primary.revoked:
            return Verdict.REVOKED_KEY
        over = packet.expires is not None and created + packet.expires <= now.timestamp()
        if over or state.expired(now) or primary.expired(now):
            return Verdict.EXPIRED_KEY
        return Verdict.WEAK_DIGEST if packet.digest_id in WEAK_DIGESTS else Verdict.GOOD


def detached_packets(signature: bytes) -> list[bytes]:
    """Return the signature packets of a detached signature, armored or not."""
    try:
        found = list(packets.read_small(unarmor_all(signature), 64))
    except Malformed as error:
        raise RadpostError(OPENPGP_MALFORMED, "the detached signature") from error
    if not found or any(one.tag not in (packets.SIGNATURE, packets.MARKER) for one in found):
        raise RadpostError(OPENPGP_MALFORMED, "the detached signature")
    return [one.content for one in found if one.tag == packets.SIGNATURE]


def _slices(data: Buffer) -> Iterator[memoryview]:
    """Cut into pieces that stay in the cache from the hash to the compressor."""
    view = octets(data)
    for at in range(0, len(view), _SLICE):
        yield view[at : at + _SLICE]


class _ProtectedWriter:
    """Symmetrically encrypted, integrity protected data, version 1 (RFC 4880 5.13)."""

    def __init__(self, out: ArmorWriter | PlainWriter, session: bytes) -> None:
        self._out = out
        self._context = Cipher(AES(session), CFB(bytes(16))).encryptor()
        self._running = hashlib.sha1(usedforsecurity=False)
        self._framer = PartialFramer(packets.SEIPD)
        self._stage = bytearray(_STAGE)
        self._sealed = bytearray(_STAGE + 16)
        self._fill = 0
        self._emit(b"\x01")
        prefix = os.urandom(16)
        self.write(prefix + prefix[-2:])

    def write(self, data: Piece) -> None:
        """Collect to whole stages: one call of hash and cipher for each."""
        view = memoryview(data)
        while view:
            count = min(len(view), _STAGE - self._fill)
            self._stage[self._fill : self._fill + count] = view[:count]
            self._fill += count
            view = view[count:]
            if self._fill == _STAGE:
                self._flush()

    def close(self) -> None:
        """Append the MDC and the last part."""
        self.write(b"\xd3\x14")
        self._flush()
        self._emit(self._context.update(self._running.digest()))
        self._out.write(self._framer.finish())

    def _flush(self) -> None:
        with memoryview(self._stage) as stage, memoryview(self._sealed) as sealed:
            self._running.update(stage[: self._fill])
            count = self._context.update_into(stage[: self._fill], sealed)
            self._emit(sealed[:count])
        self._fill = 0

    def _emit(self, data: Piece) -> None:
        for piece in self._framer.feed(data):
            self._out.write(piece)


class _PlainInner:
    """The message without a compressed data packet."""

    def __init__(self, out: _ProtectedWriter) -> None:
        self._out = out

    def write(self, data: Piece, *, compressible: bool = True) -> None:  # noqa: ARG002  # same face as below
        self._out.write(data)

    def close(self) -> None:
        """Nothing follows."""


class _CompressedWriter:
    """A compressed data packet with ZIP (RFC 4880 5.6)."""

    def __init__(self, out: _ProtectedWriter) -> None:
        self._out = out
        self._framer = PartialFramer(packets.COMPRESSED)
        self._deflater = MixedDeflater()
        self._emit((bytes((ZIP,)),))

    def write(self, data: Piece, *, compressible: bool = True) -> None:
        self._emit(self._deflater.feed(data, compressible=compressible))

    def close(self) -> None:
        """End the stream and the packet."""
        self._emit(self._deflater.finish())
        self._out.write(self._framer.finish())

    def _emit(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            for framed in self._framer.feed(piece):
                self._out.write(framed)


class _LiteralWriter:
    """A literal data packet without name and date: neither is protected by the signature (RFC 4880 5.9)."""

    def __init__(self, out: _CompressedWriter | _PlainInner) -> None:
        self._out = out
        self._framer = PartialFramer(packets.LITERAL)
        self.write(b"b\0\0\0\0\0", compressible=True)

    def write(self, data: Piece, *, compressible: bool) -> None:
        """Append a piece."""
        for piece in self._framer.feed(data):
            self._out.write(piece, compressible=compressible)

    def close(self) -> None:
        """Write the last part."""
        self._out.write(self._framer.finish())
