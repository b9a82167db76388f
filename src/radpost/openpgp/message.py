"""The message inside, while it streams: signatures, compressed data, literal data (RFC 4880 11.3)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from radpost.errors import RESOURCE_LIMIT, RadpostError
from radpost.openpgp import packets, signatures
from radpost.openpgp.deflate import BZIP2, ZIP, ZLIB, inflate
from radpost.openpgp.listing import KeyState
from radpost.openpgp.material import EDDSA, RSA, RSA_SIGN, Unsupported
from radpost.openpgp.packets import ByteReader, Header, Malformed, Piece
from radpost.openpgp.protected import BLOCK, WORTH
from radpost.openpgp.signatures import Hash, OnePass, SignaturePacket

_MAX_SIGNATURES = 16
MAX_SMALL = 1 << 16


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


class Reader(Protocol):
    """Who reads the whole: takes the literal data, bounds what unfolds, knows the keys."""

    @property
    def content(self) -> Content:
        """What the message shows."""

    def produce(self, data: Piece) -> None:
        """Take a piece of the literal data."""

    def inflated(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Bound what a compressed packet unfolds to."""

    def known(self, keyid: str) -> bool:
        """Whether a key ID names a key of ours or of a partner."""

    def can_verify(self, keyid: str) -> bool:
        """Whether the key of this ID, if we know it, is one that we can verify with."""


class Inner:
    """The message inside: signatures, compressed data, literal data (RFC 4880 11.3)."""

    def __init__(self, owner: Reader, depth: int) -> None:
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
            self._signature(packets.small_body(reader, header, MAX_SMALL))
        elif self._done:
            raise Malformed("data follow where a signature must stand")
        elif header.tag == packets.ONE_PASS:
            self._one_pass(packets.small_body(reader, header, MAX_SMALL))
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
        pieces = iter(lambda: first.some(BLOCK), b"")
        if algorithm in (ZIP, ZLIB, BZIP2):
            inner = ByteReader(self._owner.inflated(inflate(algorithm, packets.gathered(pieces, WORTH))))
        elif algorithm == 0:
            inner = first
        else:
            raise Unsupported("compression algorithm")
        Inner(self._owner, self._depth - 1).run(inner, packets.read_header(inner))
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
        for piece in packets.gathered(iter(lambda: body.some(BLOCK), b""), WORTH):
            for one in running:
                one.update(piece)
            self._owner.produce(piece)
        for packet in self._leading:
            self._owner.content.signed.append(Signed(packet, self._hashes[packet.digest_id]))
