"""Reading a message, streaming: session keys, decryption, unpacking, hashing (RFC 4880 11.3).

Data flow by pulling: file -> armor -> packets -> AES-CFB -> inflate -> literal -> `PlaintextWriter`. The
grammar is that of GnuPG's, Sequoia's and RNP's ordinary messages; whatever else appears raises
`Unsupported`, and GnuPG gets the message from its beginning. What is parsed before the MDC is known may be
an attacker's: an error inside is reported only after the MDC has been checked, as TAMPERED if it is wrong.
"""

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from radpost.errors import (
    LEGACY_ALGORITHM,
    NO_INTEGRITY,
    NO_SECRET_KEY,
    OPENPGP_MALFORMED,
    PASSWORD_ENCRYPTED,
    RESOURCE_LIMIT,
    TAMPERED,
    TRUNCATED,
    UNSUPPORTED_ALGORITHM,
    RadpostError,
)
from radpost.openpgp import aead, packets, signatures
from radpost.openpgp.budget import Budget
from radpost.openpgp.deflate import BZIP2, ZIP, ZLIB, inflate
from radpost.openpgp.keyring import Keyring
from radpost.openpgp.listing import KeyState
from radpost.openpgp.material import CIPHERS, EDDSA, KEY_BYTES, LEGACY_CIPHERS, RSA, RSA_SIGN, Unsupported
from radpost.openpgp.packets import ByteReader, EndOfData, Fields, Header, Malformed, Piece
from radpost.openpgp.plaintext import PlaintextWriter
from radpost.openpgp.signatures import Hash, OnePass, SignaturePacket

_BLOCK = 1 << 18
_WORTH = 1 << 15
"""A piece of this size is worth a call of a cipher or hash; smaller ones are joined."""
_MDC = 22
_CIPHER_ROOM = 16
"""What a cipher wants behind the bytes it writes."""
_PREFIX = 18
_MAX_SIGNATURES = 16
_MAX_TRIES = 256
_MAX_SMALL = 1 << 16
_HIDDEN = "0" * 16
"""Key ID of a hidden recipient: any of our keys may be meant (RFC 4880 5.1)."""


@dataclass(slots=True)
class Signed:
    """A signature that was found, with the hash of what it covers."""

    packet: SignaturePacket
    running: Hash


@dataclass(slots=True)
class Content:
    """What a message showed; valid only when its integrity is proven."""

    signed: list[Signed] = field(default_factory=list)
    encrypted: bool = False
    integrity: str = "none"
    """``mdc`` or ``aead`` of what was encrypted."""
    cipher: str = ""
    recipient: KeyState | None = None


class MessageReader:
    """Reads one message into a writer."""

    def __init__(
        self, keys: Keyring, writer: PlaintextWriter, budget: Budget, *, max_depth: int, max_recipients: int
    ) -> None:
        self._keys = keys
        self._writer = writer
        self._budget = budget
        self._max_depth = max_depth
        self._max_recipients = max_recipients
        self._legacy = False
        self.content = Content()

    def read(self, chunks: Iterable[Piece], *, legacy: bool) -> Content:
        """Read the whole message; return only if all of it is right."""
        self._legacy = legacy
        reader = ByteReader(self._counted(chunks))
        try:
            self._outer(reader)
        except EndOfData as error:
            raise RadpostError(TRUNCATED, str(error)) from error
        except Malformed as error:
            raise RadpostError(OPENPGP_MALFORMED, str(error)) from error
        return self.content

    def _counted(self, chunks: Iterable[Piece]) -> Iterator[Piece]:
        for chunk in chunks:
            self._budget.consumed += len(chunk)
            yield chunk

    def _outer(self, reader: ByteReader) -> None:
        """Read session keys and encrypted data, or a message that is only signed."""
        sessions: list[bytes] = []
        passwords = 0
        while True:
            header = packets.read_header(reader)
            if header is None:
                raise Malformed("there is no message" if not sessions else "there is no encrypted data")
            if header.tag == packets.PKESK:
                sessions.append(packets.small_body(reader, header, _MAX_SMALL))
            elif header.tag == packets.SKESK:
                packets.small_body(reader, header, _MAX_SMALL)
                passwords += 1
            elif header.tag in (packets.MARKER, packets.PADDING):
                packets.small_body(reader, header)
            else:
                break
            if len(sessions) + passwords > self._max_recipients:
                raise RadpostError(RESOURCE_LIMIT, "too many recipients")
        if header.tag in (packets.SEIPD, packets.SED, packets.AEAD):
            self._encrypted(reader, header, sessions, passwords)
        elif sessions or passwords:
            raise Malformed("session keys without encrypted data")
        elif header.tag in (packets.ONE_PASS, packets.SIGNATURE, packets.LITERAL, packets.COMPRESSED):
            _Inner(self, self._max_depth).run(reader, header)
            self._only_padding(reader)
        else:
            raise Malformed(f"packet {header.tag} begins no message")

    def _encrypted(self, reader: ByteReader, header: Header, sessions: list[bytes], passwords: int) -> None:
        self.content.encrypted = True
        if not sessions:
            if passwords:
                raise RadpostError(PASSWORD_ENCRYPTED)
            raise Malformed("encrypted data without session keys")
        found = self._session(sessions)
        if header.tag == packets.SED:
            raise RadpostError(NO_INTEGRITY, "symmetrically encrypted data without MDC")
        self.content.recipient, cipher, session = found
        self._admit(cipher, session)
        pieces = packets.body(reader, header)
        if header.tag == packets.AEAD:
            self.content.integrity = "aead"
            plain = _Proven(aead.decrypted(pieces, cipher, session))
        else:
            self.content.integrity = "mdc"
            plain = _Proven(_Protected(pieces, session).run())
        inner = ByteReader(plain.chunks())
        try:
            _Inner(self, self._max_depth).run(inner, packets.read_header(inner))
            self._only_padding(inner)
        except Unsupported:
            plain.drain()  # a wrong MDC is TAMPERED, whatever it made of the packets
            raise
        except Malformed as error:
            # GnuPG would release part of such data; a sender who means well does not write them
            plain.drain()
            raise RadpostError(OPENPGP_MALFORMED, str(error)) from error
        plain.drain()
        self._only_padding(reader)

    def _admit(self, cipher: int, session: bytes) -> None:
        self.content.cipher = CIPHERS.get(cipher, f"cipher {cipher}")
        if cipher in LEGACY_CIPHERS and not self._legacy:
            raise RadpostError(LEGACY_ALGORITHM, self.content.cipher)
        if cipher not in CIPHERS:
            raise RadpostError(UNSUPPORTED_ALGORITHM, self.content.cipher)
        if cipher not in KEY_BYTES:
            raise Unsupported(f"session cipher {cipher}")
        if KEY_BYTES[cipher] != len(session):
            raise RadpostError(TAMPERED, "the session key has the wrong length")

    def _session(self, sessions: Sequence[bytes]) -> tuple[KeyState, int, bytes]:
        """Find the session key with one of our keys (RFC 4880 5.1); key ID 0 may be any of them."""
        named = unsupported = newer = False
        tries = 0
        for content in sessions:
            fields = Fields(content)
            if fields.number(1) != 3:
                newer = True
                continue
            keyid = fields.take(8).hex().upper()
            algorithm = fields.number(1)
            numbers = fields.rest()
            for state in self._candidates(keyid, algorithm):
                named = named or keyid != _HIDDEN
                tries += 1
                if tries > _MAX_TRIES:
                    raise RadpostError(RESOURCE_LIMIT, "too many hidden recipients")
                try:
                    found = self._keys.decryptor(state).session(Fields(numbers))
                except Unsupported:
                    unsupported = True
                    continue
                if found is not None:
                    return state, *found
        if unsupported:
            raise Unsupported("session key")
        if named:
            raise RadpostError(TAMPERED, "the session key cannot be decrypted")
        if newer:
            raise RadpostError(UNSUPPORTED_ALGORITHM, "a session key packet of a later version")
        raise RadpostError(NO_SECRET_KEY)

    def _candidates(self, keyid: str, algorithm: int) -> Sequence[KeyState]:
        """Return our keys that a session key packet may mean."""
        if keyid == _HIDDEN:
            return [state for state in self._keys.own if "e" in state.flags and state.algorithm == algorithm]
        return [state for state in self._keys.own if state.keyid == keyid]

    def _only_padding(self, reader: ByteReader) -> None:
        """Nothing may follow but markers and padding; this also reads to the end of the data."""
        while (header := packets.read_header(reader)) is not None:
            if header.tag not in (packets.MARKER, packets.PADDING):
                raise Malformed("data follow the message")
            packets.small_body(reader, header)

    def produce(self, data: Piece) -> None:
        """Take a piece of the literal data."""
        self._budget.check(self._writer.size + len(data))
        self._writer.write(data)

    def inflated(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Bound what a compressed packet unfolds to, whether or not it ends up as literal data."""
        total = 0
        for piece in pieces:
            total += len(piece)
            self._budget.check(total)
            yield piece

    def known(self, keyid: str) -> bool:
        """Whether a key ID names a key of ours or of a partner."""
        return bool(self._keys.find(keyid))

    def can_verify(self, keyid: str) -> bool:
        """Whether the key of this ID, if we know it, is one that we can verify with."""
        try:
            for state in self._keys.find(keyid):
                self._keys.verifier(state)
        except Unsupported:
            return False
        return True


class _Proven:
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


class _Protected:
    """Symmetrically encrypted, integrity protected data, version 1 (RFC 4880 5.13)."""

    def __init__(self, pieces: Iterable[Piece], session: bytes) -> None:
        self._pieces = packets.gathered(pieces, _WORTH)
        self._context = Cipher(AES(session), CFB(bytes(16))).decryptor()
        self._open = bytearray()

    def _decrypted(self, held: bytes, sealed: Piece) -> memoryview:
        """Return ``held`` and what ``sealed`` hides, in a buffer that the next call uses again."""
        size = len(held) + len(sealed)
        if len(self._open) < size + _CIPHER_ROOM:
            self._open = bytearray(max(size, _BLOCK) + _CIPHER_ROOM)
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


class _Inner:
    """The message inside: signatures, compressed data, literal data (RFC 4880 11.3)."""

    def __init__(self, owner: MessageReader, depth: int) -> None:
        self._owner = owner
        self._depth = depth
        self._expected: list[OnePass] = []
        self._leading: list[SignaturePacket] = []
        self._hashes: dict[int, Hash] = {}
        self._done = False

    def run(self, reader: ByteReader, header: Header | None) -> None:
        """Read one message whose first header has been read; stop behind it."""
        following = header
        while following is not None:
            self._packet(reader, following)
            if self._done and not self._expected:
                return
            following = packets.read_header(reader)
        raise Malformed("signatures are missing" if self._done else "there is no literal data")

    def _packet(self, reader: ByteReader, header: Header) -> None:
        if header.tag in (packets.MARKER, packets.PADDING):
            packets.small_body(reader, header)
        elif header.tag == packets.SIGNATURE:
            self._signature(packets.small_body(reader, header, _MAX_SMALL))
        elif self._done:
            raise Malformed("data follow where a signature must stand")
        elif header.tag == packets.ONE_PASS:
            self._one_pass(packets.small_body(reader, header, _MAX_SMALL))
        elif header.tag == packets.COMPRESSED:
            self._compressed(reader, header)
        elif header.tag == packets.LITERAL:
            self._literal(reader, header)
            self._done = True
        else:
            raise Malformed(f"packet {header.tag} inside a message")
        if len(self._expected) + len(self._leading) > _MAX_SIGNATURES:
            raise RadpostError(RESOURCE_LIMIT, "too many signatures")

    def _one_pass(self, content: bytes) -> None:
        one = signatures.parse_one_pass(content)
        if one.kind != signatures.BINARY or (self._expected and self._expected[-1].last):
            raise Unsupported("kind of signature")
        self._require(one.keyid, one.algorithm)
        self._expected.append(one)
        self._prepare(one.digest_id)

    def _require(self, keyid: str | None, algorithm: int) -> None:
        """A signature by a key we know must be one we can verify; GnuPG does the others."""
        native = algorithm in (RSA, RSA_SIGN, EDDSA)
        known = keyid is not None and self._owner.known(keyid)
        if known and (not native or not self._owner.can_verify(keyid or "")):
            raise Unsupported("signature algorithm")

    def _prepare(self, digest_id: int) -> None:
        if digest_id not in self._hashes:
            self._hashes[digest_id] = signatures.new_hash(digest_id)

    def _signature(self, content: bytes) -> None:
        packet = signatures.parse(content)
        if packet.kind != signatures.BINARY:
            raise Unsupported("kind of signature")
        self._require(packet.keyid, packet.algorithm)
        if not self._done:
            self._leading.append(packet)
            self._prepare(packet.digest_id)
            return
        one = self._expected.pop()
        if packet.digest_id not in self._hashes or packet.digest_id != one.digest_id:
            raise Malformed("a signature does not fit its announcement")
        self._owner.content.signed.append(Signed(packet, self._hashes[packet.digest_id]))

    def _compressed(self, reader: ByteReader, header: Header) -> None:
        if self._expected or self._leading:
            raise Unsupported("a signature over compressed data")
        if self._depth <= 0:
            raise RadpostError(RESOURCE_LIMIT, "compressed data are nested too deep")
        body = packets.body(reader, header)
        first = ByteReader(body)
        algorithm = first.take(1)[0]
        pieces = iter(lambda: first.some(_BLOCK), b"")
        if algorithm in (ZIP, ZLIB, BZIP2):
            inner = ByteReader(self._owner.inflated(inflate(algorithm, packets.gathered(pieces, _WORTH))))
        elif algorithm == 0:
            inner = first
        else:
            raise Unsupported("compression algorithm")
        _Inner(self._owner, self._depth - 1).run(inner, packets.read_header(inner))
        if packets.read_header(inner) is not None:
            raise Malformed("data follow inside the compressed data")
        self._done = True

    def _literal(self, reader: ByteReader, header: Header) -> None:
        """Literal data (RFC 4880 5.9); file name and date are not protected and not believed."""
        body = ByteReader(packets.body(reader, header))
        if body.take(1) not in (b"b", b"t", b"u", b"m", b"l", b"1"):
            raise Malformed("format of the literal data")
        body.take(body.take(1)[0])
        body.take(4)
        running = list(self._hashes.values())
        for piece in packets.gathered(iter(lambda: body.some(_BLOCK), b""), _WORTH):
            for one in running:
                one.update(piece)
            self._owner.produce(piece)
        for packet in self._leading:
            self._owner.content.signed.append(Signed(packet, self._hashes[packet.digest_id]))
