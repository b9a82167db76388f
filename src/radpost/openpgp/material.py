"""Key packets of version 4 and the public-key operations the native engine knows (RFC 4880 5.5, RFC 6637).

RSA, Ed25519 (EdDSA "legacy", algorithm 22) and ECDH over Curve25519. Everything else is `Unsupported`:
GnuPG takes it. Whether a key may be used is not decided here but by the keyring, from what GnuPG verified.
"""

import hashlib
import hmac
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa, utils, x25519
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from radpost.openpgp import packets
from radpost.openpgp.packets import Fields, Malformed

RSA, RSA_ENCRYPT, RSA_SIGN = 1, 2, 3
ELGAMAL, DSA, ECDH, ECDSA, EDDSA = 16, 17, 18, 19, 22

_OID_ED25519 = bytes.fromhex("2b06010401da470f01")
_OID_CV25519 = bytes.fromhex("2b060104019755010501")

DIGESTS: dict[int, str] = {
    1: "md5",
    2: "sha1",
    8: "sha256",
    9: "sha384",
    10: "sha512",
    11: "sha224",
    12: "sha3-256",
    14: "sha3-512",
}
"""Hash algorithms by their number (RFC 9580 9.5)."""
WEAK_DIGESTS = frozenset({1, 2, 3})
_HASHES: dict[int, hashes.HashAlgorithm] = {
    1: hashes.MD5(),  # noqa: S303  # only to say "weak-digest" of an old mail
    2: hashes.SHA1(),  # noqa: S303  # the same
    8: hashes.SHA256(),
    9: hashes.SHA384(),
    10: hashes.SHA512(),
    11: hashes.SHA224(),
    12: hashes.SHA3_256(),
    14: hashes.SHA3_512(),
}
KEY_BYTES = {7: 16, 8: 24, 9: 32}
"""Session ciphers the native engine knows: AES (RFC 4880 9.2)."""
CIPHERS = {
    1: "IDEA",
    2: "3DES",
    3: "CAST5",
    4: "BLOWFISH",
    7: "AES128",
    8: "AES192",
    9: "AES256",
    10: "TWOFISH",
    11: "CAMELLIA128",
    12: "CAMELLIA192",
    13: "CAMELLIA256",
}
LEGACY_CIPHERS = frozenset({1, 2, 3, 4})


class Unsupported(Exception):  # noqa: N818  # an answer, not a fault: GnuPG takes over
    """The native engine does not know this; hand over to GnuPG."""


@dataclass(frozen=True, slots=True)
class KeyPacket:
    """A public or secret key or subkey packet of version 4 (RFC 4880 5.5.2, 5.5.3)."""

    public: bytes
    """The public part: the body of the public key packet."""
    secret: bytes | None
    """What follows in a secret key packet."""
    subkey: bool
    algorithm: int
    created: int

    @property
    def fingerprint(self) -> str:
        """Fingerprint in upper hex (RFC 4880 12.2)."""
        return hashlib.sha1(self.framed(), usedforsecurity=False).hexdigest().upper()

    def framed(self) -> bytes:
        """Return the key as signatures over keys hash it (RFC 4880 5.2.4)."""
        return b"\x99" + len(self.public).to_bytes(2, "big") + self.public

    def fields(self) -> Fields:
        """Return the algorithm's public fields."""
        return Fields(self.public[6:])


@dataclass(frozen=True, slots=True)
class Block:
    """A transferable key: all packets that belong to one primary key (RFC 4880 11.1)."""

    primary: KeyPacket
    subkeys: tuple[KeyPacket, ...]
    items: tuple[packets.Small | KeyPacket, ...]
    """All packets in order."""


def parse_key(tag: int, content: bytes) -> KeyPacket:
    """Read a key packet; only version 4 is known."""
    if content[:1] != b"\x04":
        raise Unsupported(f"key version {content[0] if content else 'none'}")
    fields = Fields(content)
    fields.take(1)
    created = fields.number(4)
    algorithm = fields.number(1)
    _skip_public(fields, algorithm)
    secret = fields.rest() if tag in (packets.SECRET_KEY, packets.SECRET_SUBKEY) else None
    public = content if secret is None else content[: len(content) - len(secret)]
    subkey = tag in (packets.SECRET_SUBKEY, packets.PUBLIC_SUBKEY)
    return KeyPacket(public, secret, subkey, algorithm, created)


def _skip_public(fields: Fields, algorithm: int) -> None:
    counts = {RSA: 2, RSA_ENCRYPT: 2, RSA_SIGN: 2, ELGAMAL: 3, DSA: 4}
    if algorithm in (ECDH, ECDSA, EDDSA):
        fields.take(fields.number(1))
        fields.mpi()
        if algorithm == ECDH:
            fields.take(fields.number(1))
        return
    if algorithm not in counts:
        raise Unsupported(f"public key algorithm {algorithm}")
    for _ in range(counts[algorithm]):
        fields.mpi()


_KEY_TAGS = frozenset({packets.SECRET_KEY, packets.PUBLIC_KEY, packets.SECRET_SUBKEY, packets.PUBLIC_SUBKEY})


def blocks(data: bytes) -> Iterator[Block]:
    """Yield the transferable keys of binary key data; keys of unknown kinds are passed over."""
    items: list[packets.Small | KeyPacket] = []
    for small in packets.read_small(data):
        if small.tag in (packets.SECRET_KEY, packets.PUBLIC_KEY):
            yield from _block(items)
            items = []
        item: packets.Small | KeyPacket = small
        if small.tag in _KEY_TAGS:
            try:
                item = parse_key(small.tag, small.content)
            except Unsupported:
                item = small
        items.append(item)
    yield from _block(items)


def _block(items: list[packets.Small | KeyPacket]) -> Iterator[Block]:
    if items and isinstance(items[0], KeyPacket) and not items[0].subkey:
        subkeys = tuple(item for item in items[1:] if isinstance(item, KeyPacket))
        yield Block(items[0], subkeys, tuple(items))


def serialize(block: Block, *, secret: bool) -> bytes:
    """Return the block as bytes, with or without its secret parts."""
    out: list[bytes] = []
    for item in block.items:
        if isinstance(item, KeyPacket):
            keep = secret and item.secret is not None
            tag = {
                (False, False): packets.PUBLIC_KEY,
                (False, True): packets.PUBLIC_SUBKEY,
                (True, False): packets.SECRET_KEY,
                (True, True): packets.SECRET_SUBKEY,
            }[keep, item.subkey]
            out.append(packets.packet(tag, item.public + (item.secret or b"" if keep else b"")))
        elif item.tag not in _KEY_TAGS and item.tag != packets.TRUST:
            out.append(packets.packet(item.tag, item.content))
    return b"".join(out)


def _point(fields: Fields, oid: bytes) -> bytes:
    """Read a curve point in native form: 0x40 and 32 bytes."""
    if fields.take(fields.number(1)) != oid:
        raise Unsupported("curve")
    point = fields.mpi()
    if len(point) != 33 or point[0] != 0x40:
        raise Unsupported("point format")
    return point[1:]


class Verifier:
    """The public half of a signing key."""

    def __init__(self, key: KeyPacket) -> None:
        fields = key.fields()
        self._key: rsa.RSAPublicKey | ed25519.Ed25519PublicKey
        if key.algorithm in (RSA, RSA_SIGN):
            self._key = rsa_public(fields)
        elif key.algorithm == EDDSA:
            self._key = ed25519.Ed25519PublicKey.from_public_bytes(_point(fields, _OID_ED25519))
        else:
            raise Unsupported(f"signature algorithm {key.algorithm}")

    def verify(self, algorithm: int, digest_id: int, digest: bytes, fields: Fields) -> bool:
        """Verify a signature's numbers over a digest."""
        if isinstance(self._key, rsa.RSAPublicKey):
            if algorithm not in (RSA, RSA_SIGN):
                return False
            size = (self._key.key_size + 7) // 8
            value = fields.mpi().rjust(size, b"\0")
            scheme = utils.Prehashed(_HASHES[digest_id])
            try:
                self._key.verify(value, digest, padding.PKCS1v15(), scheme)
            except InvalidSignature:
                return False
            return True
        if algorithm != EDDSA:
            return False
        value = b"".join(fields.mpi().rjust(32, b"\0") for _ in range(2))
        try:
            self._key.verify(value, digest)
        except InvalidSignature:
            return False
        return True


def rsa_public(fields: Fields) -> rsa.RSAPublicKey:
    """Read an RSA public key; OpenSSL refuses nonsense."""
    modulus, exponent = (int.from_bytes(fields.mpi(), "big") for _ in range(2))
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise Unsupported("RSA key") from error


def _secret_fields(key: KeyPacket) -> Fields:
    """Open the unprotected secret part and check its sum (RFC 4880 5.5.3)."""
    if not key.secret or key.secret[0] != 0:
        raise Unsupported("the secret key is protected or absent")
    numbers, check = key.secret[1:-2], key.secret[-2:]
    if sum(numbers) & 0xFFFF != int.from_bytes(check, "big"):
        raise Malformed("the secret key's checksum is wrong")
    return Fields(numbers)


def _rsa_private(key: KeyPacket) -> rsa.RSAPrivateKey:
    public = rsa_public(key.fields()).public_numbers()
    fields = _secret_fields(key)
    d, p, q = (int.from_bytes(fields.mpi(), "big") for _ in range(3))
    order = (p - 1) * (q - 1)
    if p * q != public.n or order <= 0 or d * public.e % (order // math.gcd(p - 1, q - 1)) != 1:
        raise Malformed("the secret key's numbers do not fit")
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), rsa.rsa_crt_iqmp(p, q), public)
    try:
        # whether p and q are prime was checked when the key was made; it costs 0.2 s for 4096 bits
        return numbers.private_key(unsafe_skip_rsa_key_validation=True)
    except ValueError as error:
        raise Malformed("the secret key's numbers do not fit") from error


class Signer:
    """The secret half of a signing key."""

    def __init__(self, key: KeyPacket) -> None:
        self.algorithm = key.algorithm
        self._key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
        if key.algorithm in (RSA, RSA_SIGN):
            self._key = _rsa_private(key)
        elif key.algorithm == EDDSA:
            public = _point(key.fields(), _OID_ED25519)
            seed = _secret_fields(key).mpi().rjust(32, b"\0")
            self._key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
            if _raw(self._key.public_key()) != public:
                raise Malformed("the secret key does not fit the public key")
        else:
            raise Unsupported(f"signature algorithm {key.algorithm}")

    def sign(self, digest_id: int, digest: bytes) -> bytes:
        """Return the signature's numbers over a digest."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            scheme = utils.Prehashed(_HASHES[digest_id])
            return packets.mpi(self._key.sign(digest, padding.PKCS1v15(), scheme))
        value = self._key.sign(digest)
        return packets.mpi(value[:32]) + packets.mpi(value[32:])


def _raw(key: ed25519.Ed25519PublicKey | x25519.X25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _session_block(cipher: int, session: bytes) -> bytes:
    """Return algorithm, key and checksum (RFC 4880 5.1)."""
    return bytes((cipher,)) + session + (sum(session) & 0xFFFF).to_bytes(2, "big")


def _session_of(block: bytes) -> tuple[int, bytes] | None:
    if len(block) < 4 or sum(block[1:-2]) & 0xFFFF != int.from_bytes(block[-2:], "big"):
        return None
    return block[0], block[1:-2]


@dataclass(frozen=True, slots=True)
class _Kdf:
    """Key derivation of ECDH (RFC 6637 7)."""

    hash_id: int
    cipher: int
    fingerprint: str
    SIZES: ClassVar[dict[int, int]] = {7: 16, 8: 24, 9: 32}

    def key(self, shared: bytes) -> bytes:
        parameter = (
            bytes((len(_OID_CV25519),))
            + _OID_CV25519
            + bytes((ECDH, 3, 1, self.hash_id, self.cipher))
            + b"Anonymous Sender    "
            + bytes.fromhex(self.fingerprint)
        )
        value = hashlib.new(DIGESTS[self.hash_id], b"\0\0\0\1" + shared + parameter)
        return value.digest()[: self.SIZES[self.cipher]]


def _kdf(key: KeyPacket) -> tuple[bytes, _Kdf]:
    fields = key.fields()
    point = _point(fields, _OID_CV25519)
    parameters = fields.take(fields.number(1))
    if len(parameters) != 3 or parameters[0] != 1:
        raise Unsupported("key derivation parameters")
    if parameters[1] not in (8, 9, 10) or parameters[2] not in _Kdf.SIZES:
        raise Unsupported("key derivation algorithms")
    return point, _Kdf(parameters[1], parameters[2], key.fingerprint)


class Encryptor:
    """The public half of an encryption key: writes session keys (RFC 4880 5.1)."""

    def __init__(self, key: KeyPacket) -> None:
        self._keyid = bytes.fromhex(key.fingerprint[-16:])
        self._algorithm = key.algorithm
        self._rsa: rsa.RSAPublicKey | None = None
        if key.algorithm in (RSA, RSA_ENCRYPT):
            self._rsa = rsa_public(key.fields())
        elif key.algorithm == ECDH:
            self._point, self._kdf = _kdf(key)
        else:
            raise Unsupported(f"encryption algorithm {key.algorithm}")

    def packet(self, cipher: int, session: bytes) -> bytes:
        """Return a session key packet of version 3."""
        block = _session_block(cipher, session)
        if self._rsa is not None:
            fields = packets.mpi(self._rsa.encrypt(block, padding.PKCS1v15()))
        else:
            ephemeral = x25519.X25519PrivateKey.generate()
            shared = ephemeral.exchange(x25519.X25519PublicKey.from_public_bytes(self._point))
            pad = 8 - len(block) % 8
            wrapped = aes_key_wrap(self._kdf.key(shared), block + bytes((pad,)) * pad)
            fields = packets.mpi(b"\x40" + _raw(ephemeral.public_key())) + bytes((len(wrapped),)) + wrapped
        return packets.packet(packets.PKESK, b"\x03" + self._keyid + bytes((self._algorithm,)) + fields)


class Decryptor:
    """The secret half of an encryption key: reads session keys."""

    def __init__(self, key: KeyPacket) -> None:
        self._rsa: rsa.RSAPrivateKey | None = None
        self.algorithm = key.algorithm
        if key.algorithm in (RSA, RSA_ENCRYPT):
            self._rsa = _rsa_private(key)
        elif key.algorithm == ECDH:
            point, self._kdf = _kdf(key)
            # OpenPGP keeps the scalar as a big-endian number, X25519 as little-endian octets
            scalar = _secret_fields(key).mpi().rjust(32, b"\0")[::-1]
            self._secret = x25519.X25519PrivateKey.from_private_bytes(scalar)
            if _raw(self._secret.public_key()) != point:
                raise Malformed("the secret key does not fit the public key")
        else:
            raise Unsupported(f"encryption algorithm {key.algorithm}")

    def session(self, fields: Fields) -> tuple[int, bytes] | None:
        """Return cipher and session key, or None if this key does not open it (one answer for all causes)."""
        if self._rsa is not None:
            value = fields.mpi().rjust((self._rsa.key_size + 7) // 8, b"\0")
            try:
                return _session_of(self._rsa.decrypt(value, padding.PKCS1v15()))
            except ValueError:
                return None
        point = fields.mpi()
        wrapped = fields.take(fields.number(1))
        if len(point) != 33 or point[0] != 0x40:
            return None
        try:
            shared = self._secret.exchange(x25519.X25519PublicKey.from_public_bytes(point[1:]))
            block = aes_key_unwrap(self._kdf.key(shared), wrapped)
        except (ValueError, InvalidUnwrap):
            return None
        pad = block[-1]
        if not 1 <= pad < len(block) or not hmac.compare_digest(block[-pad:], bytes((pad,)) * pad):
            return None
        return _session_of(block[:-pad])


def new_session(cipher: int) -> bytes:
    """Return a random session key."""
    return os.urandom(KEY_BYTES[cipher])
