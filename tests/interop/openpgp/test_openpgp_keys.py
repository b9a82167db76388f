"""Making, reading, exporting keys; certificates that claim what they cannot prove (DESIGN 6)."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from radpost.errors import (
    CONFIG_INVALID,
    KEY_UNREADABLE,
    NO_USABLE_KEY,
    OWN_KEY_UNUSABLE,
    PASSPHRASE_WRONG,
    RadpostError,
)
from radpost.openpgp import (
    CompositeEngine,
    KeyKind,
    Keyring,
    Limits,
    export_public,
    export_secret,
    generate,
    material,
    packets,
    read_certs,
    signatures,
    split,
    unlock,
)
from radpost.openpgp.armor import PUBLIC_KEY, armor, unarmor_all
from radpost.openpgp.material import KeyPacket, Signer
from radpost.testing.peers.gnupg import GnuPG
from radpost.words import Verdict

from .conftest import World

pytestmark = pytest.mark.peer("gnupg")


def soon() -> datetime:
    """A moment at which a key made just now is valid; not of the import, which may be many tests ago."""
    return datetime.now(UTC) + timedelta(minutes=1)


@pytest.mark.parametrize("kind", list(KeyKind))
def test_made_keys_are_version_4_with_separate_subkeys(kind: KeyKind) -> None:
    """RFC 4880 5.5.2, 11.1, 12.2."""
    secret = generate("Klinik Süd: Röntgen", "dicom@klinik.example", kind=kind)
    (cert,) = read_certs(secret, now=soon())
    assert cert.user_ids == ("Klinik Süd: Röntgen <dicom@klinik.example>",)
    assert cert.has_secret
    assert cert.problems == ()
    assert cert.expires is None
    assert len({*cert.encryption_subkeys, *cert.signing_keys, cert.fingerprint}) == 3
    assert (cert.algorithm, cert.bits) == (
        ("RSA", 3072) if kind is KeyKind.RSA3072 else ("EdDSA ed25519", 255)
    )
    (block,) = material.blocks(unarmor_all(secret))
    assert all(key.public[0] == 4 for key in (block.primary, *block.subkeys))
    # features: MDC and nothing newer, or partners would choose packets that GnuPG 2.2 cannot read
    features = set()
    for item in block.items:
        if isinstance(item, packets.Small) and item.tag == packets.SIGNATURE:
            area = item.content[6 : 6 + int.from_bytes(item.content[4:6], "big")]
            features |= {value for number, _, value in packets.subpackets(area) if number == 30}
    assert features == {b"\x01"}
    public = export_public(secret)
    (public_cert,) = read_certs(public, now=soon())
    assert not public_cert.has_secret
    assert public_cert.fingerprint == cert.fingerprint
    assert b"PRIVATE" not in public


def test_made_keys_can_expire() -> None:
    (cert,) = read_certs(generate("x", "x@y.example", kind=KeyKind.CURVE25519, expires="2y"), now=soon())
    assert cert.expires is not None
    later = cert.expires + timedelta(seconds=1)
    (late,) = read_certs(generate("x", "x@y.example", kind=KeyKind.CURVE25519, expires="1d"), now=later)
    assert set(late.problems) == {"expired", "no-encryption-key", "no-signing-key"}


@pytest.mark.parametrize(
    ("name", "address"),
    [("", "a@b"), ("a\nb", "a@b"), ("x", "no address"), ("x", "nobody"), ("x <y>", "a@b"), ("x", "a@b>\n")],
)
def test_names_that_cannot_stand_in_a_key(name: str, address: str) -> None:
    with pytest.raises(RadpostError) as caught:
        generate(name, address)
    assert caught.value.reason is CONFIG_INVALID


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"garbage", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n", b"\x99\x01", bytes(500)],
)
def test_garbage_is_key_unreadable(data: bytes) -> None:
    for action in (lambda: read_certs(data, now=soon()), lambda: unlock(data), lambda: export_public(data)):
        with pytest.raises(RadpostError) as caught:
            action()
        assert caught.value.reason is KEY_UNREADABLE


def test_passphrases_at_import_and_export(world: World, short_home: Path) -> None:
    for secret in (world.rsa.secret, world.ecc.secret):
        locked = export_secret(secret, "Paßwort")
        assert "locked" in read_certs(locked, now=soon())[0].problems
        assert unlock(locked, "Paßwort") == secret
    for wrong in (None, "", "passwort"):
        with pytest.raises(RadpostError) as caught:
            unlock(locked, wrong)
        assert caught.value.reason is PASSPHRASE_WRONG
    # GnuPG can use what we export with a passphrase, and we what it does
    with GnuPG([locked]) as peer:
        fingerprint = world.ecc.fingerprint
        made, _, _ = peer.run("--passphrase=Paßwort", "-u", fingerprint, "--detach-sign", data=b"x")
        assert made
        theirs, _, _ = peer.run("--passphrase=Paßwort", "--export-secret-keys", fingerprint)
    assert "locked" in read_certs(theirs, now=soon())[0].problems
    with Keyring(short_home / "p", [unlock(theirs, "Paßwort")], []) as keyring:
        assert CompositeEngine(keyring).sign_detached([b"x"], signer=fingerprint)


def test_files_with_several_keys_are_split(world: World) -> None:
    joined = world.rsa.public + b"\r\n" + world.partner.public
    assert set(split(joined)) == {world.rsa.fingerprint, world.partner.fingerprint}
    assert len(read_certs(joined, now=soon())) == 2
    assert [cert.has_secret for cert in read_certs(world.rsa.public + world.rsa.secret, now=soon())] == [True]


def _items(party: bytes) -> list[packets.Small | KeyPacket]:
    (block,) = material.blocks(unarmor_all(party))
    return list(block.items)


def _public(items: list[packets.Small | KeyPacket]) -> bytes:
    assert isinstance(items[0], KeyPacket)
    return armor(material.serialize(material.Block(items[0], (), tuple(items)), secret=False), PUBLIC_KEY)


def test_forged_user_id_is_not_believed(world: World) -> None:
    """RFC 4880 5.2.4."""
    items = _items(world.partner.secret)
    at = next(
        n for n, item in enumerate(items) if isinstance(item, packets.Small) and item.tag == packets.USER_ID
    )
    items[at] = packets.Small(packets.USER_ID, b"Other Hospital <x@other.example>")
    (cert,) = read_certs(_public(items), now=soon())
    assert cert.user_ids == ()
    assert cert.problems == ("no-valid-self-signature",)
    assert not cert.can_encrypt


def test_foreign_subkey_is_not_believed(world: World, short_home: Path) -> None:
    """A stranger's encryption subkey glued to the partner's certificate must never be encrypted to."""
    stranger = _items(world.stranger.secret)
    foreign = stranger[-2:]
    assert isinstance(foreign[0], KeyPacket)
    glued = _public([*_items(world.partner.secret), *foreign])
    (cert,) = read_certs(glued, now=soon())
    assert foreign[0].fingerprint not in (*cert.encryption_subkeys, *cert.signing_keys)
    with Keyring(short_home / "g", [world.ecc.secret], [glued]) as keyring:
        sealed = CompositeEngine(keyring).seal(
            [b"x"], io.BytesIO(), recipients=[world.partner.fingerprint], signer=None
        )
        assert sealed.recipients == cert.encryption_subkeys[:1]


def test_signing_subkey_that_does_not_sign_back_is_not_believed(
    world: World, short_home: Path, tmp_path: Path
) -> None:
    """RFC 4880 5.2.1 (0x19): else a partner could claim somebody else's signatures as its own."""
    partner = _items(world.partner.secret)
    (primary,) = (item for item in partner[:1] if isinstance(item, KeyPacket))
    stranger = [item for item in _items(world.stranger.secret) if isinstance(item, KeyPacket)]
    stolen = next(key for key in stranger[1:] if key.algorithm == material.EDDSA)
    running = signatures.new_hash(8)
    running.update(primary.framed() + stolen.framed())
    now = int(datetime.now(UTC).timestamp())
    area = b"\x05\x02" + now.to_bytes(4, "big") + b"\x02\x1b\x02"
    hashed = bytes((4, signatures.SUBKEY_BINDING, 22, 8)) + len(area).to_bytes(2, "big") + area
    running.update(hashed + b"\x04\xff" + len(hashed).to_bytes(4, "big"))
    digest = running.digest()
    unhashed = b"\x09\x10" + bytes.fromhex(primary.fingerprint)[-8:]
    content = hashed + len(unhashed).to_bytes(2, "big") + unhashed + digest[:2]
    binding = packets.Small(packets.SIGNATURE, content + Signer(primary).sign(8, digest))
    glued = _public([*partner, stolen, binding])
    message = world.peer.run("-u", f"{stolen.fingerprint}!", "-r", world.own("ecc"), "-s", "-e", data=b"x")[0]
    with Keyring(short_home / "b", [world.ecc.secret], [glued]) as keyring:
        opened = CompositeEngine(keyring).open(io.BytesIO(message), temp=tmp_path, limits=Limits())
        assert opened.signature.verdict not in (Verdict.GOOD, Verdict.WEAK_DIGEST)


def test_expired_keys_seal_nothing_and_expire_while_we_run(world: World, short_home: Path) -> None:
    secret = generate("soon", "soon@x.example", kind=KeyKind.CURVE25519, expires="5d")
    (cert,) = read_certs(secret, now=soon())
    with Keyring(short_home / "e", [secret], [world.partner.public]) as keyring:
        early = CompositeEngine(keyring)
        late = CompositeEngine(keyring, clock=lambda: soon() + timedelta(days=6))
        own, partner = cert.fingerprint, world.partner.fingerprint
        early.seal([b"x"], io.BytesIO(), recipients=[own, partner], signer=own)
        for recipients, signer, reason in (
            ([own], None, NO_USABLE_KEY),
            ([partner], own, OWN_KEY_UNUSABLE),
        ):
            with pytest.raises(RadpostError) as caught:
                late.seal([b"x"], io.BytesIO(), recipients=recipients, signer=signer)
            assert caught.value.reason is reason
        # what was signed in time is judged by what the key is worth now; what was sealed still opens
        out = io.BytesIO()
        early.seal([b"x"], out, recipients=[own], signer=own)
        out.seek(0)
        opened = late.open(out, temp=short_home, limits=Limits())
        assert opened.signature.verdict is Verdict.EXPIRED_KEY
        assert opened.warnings == ("expired-recipient-key",)
