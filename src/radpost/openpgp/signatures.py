"""Signature packets of version 4: reading, writing, hashing (RFC 4880 5.2)."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from radpost.openpgp import packets
from radpost.openpgp.material import DIGESTS, KeyPacket, Signer, Unsupported, Verifier
from radpost.openpgp.packets import Fields, Malformed, subpackets

BINARY, TEXT = 0x00, 0x01
SUBKEY_BINDING, PRIMARY_BINDING = 0x18, 0x19

_CREATED, _SIG_EXPIRES, _KEY_FLAGS, _ISSUER, _EMBEDDED, _ISSUER_FPR, _NOTATION = 2, 3, 27, 16, 32, 33, 20
# what the native engine understands well enough to accept when it is marked critical
_KNOWN_CRITICAL = frozenset({_CREATED, _ISSUER, _ISSUER_FPR, _KEY_FLAGS, _EMBEDDED})


class Hash(Protocol):
    """A running hash."""

    def update(self, data: packets.Piece, /) -> None:
        """Take in data."""
        ...

    def copy(self) -> "Hash":
        """Return an independent copy."""
        ...

    def digest(self) -> bytes:
        """Return the digest."""
        ...


def new_hash(digest_id: int) -> Hash:
    """Return a running hash by its number (RFC 4880 9.4)."""
    if digest_id not in DIGESTS:
        raise Unsupported(f"hash algorithm {digest_id}")
    return hashlib.new(DIGESTS[digest_id], usedforsecurity=False)


@dataclass(frozen=True, slots=True)
class SignaturePacket:
    """A signature packet of version 4."""

    kind: int
    algorithm: int
    digest_id: int
    hashed: bytes
    """Everything from the version to the end of the hashed area."""
    left: bytes
    numbers: bytes
    created: int | None
    expires: int | None
    """Seconds after creation (RFC 4880 5.2.3.10)."""
    issuer_fingerprint: str | None
    issuer_keyid: str | None
    embedded: tuple[bytes, ...]

    @property
    def keyid(self) -> str | None:
        """Key ID of the signer as far as the packet names it."""
        return self.issuer_fingerprint[-16:] if self.issuer_fingerprint else self.issuer_keyid

    def time(self) -> datetime | None:
        """When it claims to be made."""
        return None if self.created is None else datetime.fromtimestamp(self.created, UTC)

    def verify(self, running: Hash, verifier: Verifier) -> bool:
        """Verify against a hash of the signed data; the hash is left as it is."""
        final = running.copy()
        final.update(self.hashed + b"\x04\xff" + len(self.hashed).to_bytes(4, "big"))
        digest = final.digest()
        return digest[:2] == self.left and verifier.verify(
            self.algorithm, self.digest_id, digest, Fields(self.numbers)
        )


def parse(content: bytes) -> SignaturePacket:
    """Read a signature packet; other versions and unknown critical subpackets are not ours to judge."""
    fields = Fields(content)
    if fields.number(1) != 4:
        raise Unsupported("signature version")
    kind, algorithm, digest_id = fields.number(1), fields.number(1), fields.number(1)
    hashed_area = fields.take(fields.number(2))
    hashed = content[: fields.at]
    unhashed_area = fields.take(fields.number(2))
    left = fields.take(2)
    created = expires = None
    fingerprint = keyid = None
    embedded: list[bytes] = []
    for number, critical, value in subpackets(hashed_area):
        if number == _CREATED and len(value) == 4:
            created = int.from_bytes(value, "big")
        elif number == _SIG_EXPIRES and len(value) == 4:
            expires = int.from_bytes(value, "big")
        elif critical and number not in _KNOWN_CRITICAL:
            raise Unsupported("critical subpacket")
    for number, _, value in (*subpackets(hashed_area), *subpackets(unhashed_area)):
        # hints only: whether the named key made it, the mathematics decides
        if number == _ISSUER and len(value) == 8:
            keyid = keyid or value.hex().upper()
        elif number == _ISSUER_FPR and len(value) == 21 and value[0] == 4:
            fingerprint = fingerprint or value[1:].hex().upper()
        elif number == _EMBEDDED:
            embedded.append(value)
    return SignaturePacket(
        kind,
        algorithm,
        digest_id,
        hashed,
        left,
        fields.rest(),
        created,
        expires or None,
        fingerprint,
        keyid,
        tuple(embedded),
    )


def build(running: Hash, digest_id: int, signer: Signer, fingerprint: str, now: int) -> bytes:
    """Return a signature packet over a binary document."""
    issuer = bytes.fromhex(fingerprint)
    area = b"\x16\x21\x04" + issuer + b"\x05\x02" + now.to_bytes(4, "big")
    hashed = bytes((4, BINARY, signer.algorithm, digest_id)) + len(area).to_bytes(2, "big") + area
    final = running.copy()
    final.update(hashed + b"\x04\xff" + len(hashed).to_bytes(4, "big"))
    digest = final.digest()
    unhashed = b"\x09\x10" + issuer[-8:]
    content = hashed + len(unhashed).to_bytes(2, "big") + unhashed + digest[:2]
    return packets.packet(packets.SIGNATURE, content + signer.sign(digest_id, digest))


def one_pass(digest_id: int, algorithm: int, fingerprint: str) -> bytes:
    """Return a one-pass signature packet for one signer (RFC 4880 5.4)."""
    keyid = bytes.fromhex(fingerprint[-16:])
    return packets.packet(packets.ONE_PASS, bytes((3, BINARY, digest_id, algorithm)) + keyid + b"\x01")


@dataclass(frozen=True, slots=True)
class OnePass:
    """A one-pass signature packet."""

    kind: int
    digest_id: int
    algorithm: int
    keyid: str
    last: bool


def parse_one_pass(content: bytes) -> OnePass:
    """Read a one-pass signature packet of version 3."""
    if len(content) != 13 or content[0] != 3:
        raise Unsupported("one-pass signature version")
    return OnePass(content[1], content[2], content[3], content[4:12].hex().upper(), content[12] != 0)


def cross_certified(primary: KeyPacket, subkey: KeyPacket, binding: bytes) -> bool:
    """Whether the subkey itself agreed to be the primary key's signing subkey (RFC 4880 5.2.1, 0x19).

    GnuPG proved the binding when it imported the key; that a *signing* subkey must sign back, it checks
    only when it verifies, so this is ours to check.
    """
    try:
        outer = parse(binding)
        for content in outer.embedded if outer.kind == SUBKEY_BINDING else ():
            inner = parse(content)
            running = new_hash(inner.digest_id)
            running.update(primary.framed() + subkey.framed())
            if inner.kind == PRIMARY_BINDING and inner.verify(running, Verifier(subkey)):
                return True
    except (Malformed, Unsupported):
        return False
    return False
