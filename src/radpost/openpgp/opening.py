"""Reading a message, streaming: session keys, decryption, unpacking, hashing (RFC 4880 11.3).

Data flow by pulling: file -> armor -> packets -> AES-CFB -> inflate -> literal -> `PlaintextWriter`. The
grammar is that of GnuPG's, Sequoia's and RNP's ordinary messages; whatever else appears raises
`Unsupported`, and GnuPG gets the message from its beginning. What is parsed before the MDC is known may be
an attacker's: an error inside is reported only after the MDC has been checked, as TAMPERED if it is wrong.
"""

from collections.abc import Iterable, Iterator, Sequence

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
from radpost.openpgp import aead, packets
from radpost.openpgp.budget import Budget
from radpost.openpgp.keyring import Keyring
from radpost.openpgp.listing import KeyState
from radpost.openpgp.material import CIPHERS, KEY_BYTES, LEGACY_CIPHERS, Unsupported
from radpost.openpgp.message import MAX_SMALL, Content, Inner
from radpost.openpgp.packets import ByteReader, EndOfData, Fields, Header, Malformed, Piece
from radpost.openpgp.plaintext import PlaintextWriter
from radpost.openpgp.protected import Protected, Proven
from radpost.openpgp.values import HIDDEN, addressees

_MAX_TRIES = 256


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
                sessions.append(packets.small_body(reader, header, MAX_SMALL))
            elif header.tag == packets.SKESK:
                packets.small_body(reader, header, MAX_SMALL)
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
            Inner(self, self._max_depth).run(reader, header)
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
            plain = Proven(aead.decrypted(pieces, cipher, session))
        else:
            self.content.integrity = "mdc"
            plain = Proven(Protected(pieces, session).run())
        inner = ByteReader(plain.chunks())
        try:
            Inner(self, self._max_depth).run(inner, packets.read_header(inner))
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
        keyids: list[str] = []
        tries = 0
        for content in sessions:
            fields = Fields(content)
            if fields.number(1) != 3:
                newer = True
                continue
            keyid = fields.take(8).hex().upper()
            keyids.append(keyid)
            algorithm = fields.number(1)
            numbers = fields.rest()
            for state in self._candidates(keyid, algorithm):
                named = named or keyid != HIDDEN
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
        raise RadpostError(NO_SECRET_KEY, addressees(keyids))

    def _candidates(self, keyid: str, algorithm: int) -> Sequence[KeyState]:
        """Return our keys that a session key packet may mean."""
        if keyid == HIDDEN:
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
