"""Secret keys: checks of their numbers, passphrases on and off, session keys (RFC 4880 3.7, 5.1, 5.5)."""

import os
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa, x25519
from hypothesis import given, settings
from hypothesis import strategies as st

from radpost.errors import PASSPHRASE_WRONG, RadpostError
from radpost.openpgp import material, packets, protection, signatures
from radpost.openpgp.material import Decryptor, Encryptor, KeyPacket, Signer, Unsupported, Verifier
from radpost.openpgp.packets import Fields, Malformed, mpi

ED = bytes.fromhex("092b06010401da470f01")
CV = bytes.fromhex("0a2b060104019755010501")


def secret_part(numbers: bytes) -> bytes:
    return b"\0" + numbers + (sum(numbers) & 0xFFFF).to_bytes(2, "big")


def key(algorithm: int, public: bytes, numbers: bytes, *, subkey: bool = False) -> KeyPacket:
    head = b"\x04" + int(time.time()).to_bytes(4, "big") + bytes((algorithm,))
    tag = packets.SECRET_SUBKEY if subkey else packets.SECRET_KEY
    return material.parse_key(tag, head + public + secret_part(numbers))


def ed_key() -> KeyPacket:
    private = ed25519.Ed25519PrivateKey.generate()
    point = b"\x40" + private.public_key().public_bytes_raw()
    return key(material.EDDSA, ED + mpi(point), mpi(private.private_bytes_raw()))


def cv_key() -> KeyPacket:
    private = x25519.X25519PrivateKey.generate()
    point = b"\x40" + private.public_key().public_bytes_raw()
    public = CV + mpi(point) + b"\x03\x01\x08\x07"
    return key(material.ECDH, public, mpi(private.private_bytes_raw()[::-1]), subkey=True)


@pytest.fixture(scope="module")
def rsa_key() -> KeyPacket:
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    p, q = sorted((numbers.p, numbers.q))
    public = mpi(numbers.public_numbers.n) + mpi(65537)
    return key(material.RSA, public, mpi(numbers.d) + mpi(p) + mpi(q) + mpi(pow(p, -1, q)))


@pytest.mark.parametrize("cipher", [7, 8, 9])
def test_session_keys_come_back(rsa_key: KeyPacket, cipher: int) -> None:
    """RFC 6637 7, RFC 4880 5.1."""
    for secret in (rsa_key, cv_key()):
        session = material.new_session(cipher)
        (sent,) = packets.read_small(Encryptor(secret).packet(cipher, session))
        fields = Fields(sent.content)
        assert fields.number(1) == 3
        assert fields.take(8).hex().upper() == secret.fingerprint[-16:]
        assert fields.number(1) == secret.algorithm
        assert Decryptor(secret).session(fields) == (cipher, session)


def test_session_keys_for_others_are_none(rsa_key: KeyPacket) -> None:
    (sent,) = packets.read_small(Encryptor(cv_key()).packet(9, material.new_session(9)))
    assert Decryptor(cv_key()).session(Fields(sent.content[10:])) is None
    assert Decryptor(rsa_key).session(Fields(mpi(os.urandom(250)))) is None
    assert Decryptor(rsa_key).session(Fields(mpi(b"\xff" * 300))) is None


def test_signatures_hold_for_their_data_and_key_only(rsa_key: KeyPacket) -> None:
    """RFC 4880 5.2."""
    for secret in (rsa_key, ed_key()):
        running = signatures.new_hash(8)
        running.update(b"data")
        made = signatures.build(running, 8, Signer(secret), secret.fingerprint, 1_700_000_000)
        (one,) = packets.read_small(made)
        parsed = signatures.parse(one.content)
        assert parsed.created == 1_700_000_000
        assert parsed.issuer_fingerprint == secret.fingerprint
        assert parsed.verify(running, Verifier(secret))
        running.update(b"x")
        assert not parsed.verify(running, Verifier(secret))
        assert not signatures.parse(one.content).verify(signatures.new_hash(8), Verifier(ed_key()))


@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=40)
def test_a_changed_signature_never_verifies(at: int, change: int) -> None:
    secret = _ED
    running = signatures.new_hash(8)
    (one,) = packets.read_small(signatures.build(running, 8, Signer(secret), secret.fingerprint, 1))
    content = bytearray(one.content)
    hashed_end = 6 + int.from_bytes(content[4:6], "big")
    # the unhashed area is no part of the signature
    places = [*range(hashed_end), *range(len(content) - 68, len(content))]
    place = places[at % len(places)]
    content[place] ^= change
    try:
        parsed = signatures.parse(bytes(content))
        good = parsed.verify(running, Verifier(secret))
    except (Malformed, Unsupported):
        return
    # the bit count of a number may be off within its first octet: the number is the same
    assert not good or place in (len(content) - 68, len(content) - 67, len(content) - 34, len(content) - 33)


_ED = ed_key()


def test_passphrase_on_and_off() -> None:
    """RFC 4880 3.7.1, 3.7.1.3, 5.5.3."""
    sub = cv_key()
    block = material.Block(_ED, (sub,), (_ED, packets.Small(packets.USER_ID, b"me"), sub))
    locked = protection.lock(block, b"secret")
    assert protection.is_locked(locked.primary)
    assert protection.is_locked(locked.subkeys[0])
    assert locked.primary.fingerprint == block.primary.fingerprint
    with pytest.raises(Unsupported):
        Signer(locked.primary)
    assert protection.unlock(locked, b"secret") == block
    with pytest.raises(RadpostError) as caught:
        protection.unlock(locked, b"Secret")
    assert caught.value.reason is PASSPHRASE_WRONG


def test_a_placeholder_is_no_secret_key() -> None:
    dummy = KeyPacket(_ED.public, b"\xfe\x07\x65\x00GNU\x01", subkey=False, algorithm=22, created=0)
    assert protection.is_absent(dummy)
    assert not protection.is_locked(dummy)
    with pytest.raises(Unsupported):
        Signer(dummy)


def test_damaged_secret_numbers_are_refused() -> None:
    assert _ED.secret is not None
    broken = bytearray(_ED.secret)
    broken[10] ^= 1
    with pytest.raises(Malformed):
        Signer(KeyPacket(_ED.public, bytes(broken), subkey=False, algorithm=22, created=0))
    other = ed_key()
    with pytest.raises(Malformed):
        Signer(KeyPacket(_ED.public, other.secret, subkey=False, algorithm=22, created=0))


def test_keys_of_other_versions_are_passed_over() -> None:
    data = packets.packet(packets.PUBLIC_KEY, b"\x06" + bytes(20)) + packets.packet(packets.USER_ID, b"x")
    assert list(material.blocks(data)) == []
    block = material.Block(_ED, (), (_ED,))
    good = material.serialize(block, secret=False)
    assert [one.primary.fingerprint for one in material.blocks(data + good)] == [_ED.fingerprint]
    assert next(material.blocks(good)).primary.secret is None
