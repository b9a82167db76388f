"""Making, reading and exporting keys and certificates (DESIGN 6).

GnuPG makes the keys, so that they advertise nothing that other programs cannot read, and it judges
certificates: they are imported into a scratch home, which verifies their self-signatures.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from radpost.errors import CONFIG_INVALID, ENGINE_FAULT, KEY_UNREADABLE, PASSPHRASE_WRONG, RadpostError
from radpost.openpgp import material, packets, protection, signatures
from radpost.openpgp.armor import PRIVATE_KEY, PUBLIC_KEY, armor, unarmor_all
from radpost.openpgp.gnupg import GnuPG
from radpost.openpgp.keyring import list_certs
from radpost.openpgp.listing import CertState
from radpost.openpgp.material import (
    WEAK_DIGESTS,
    Block,
    Unsupported,
)
from radpost.openpgp.packets import Malformed
from radpost.openpgp.values import CertInfo

# no AEAD or OCB in the features, and the fast compression first
_PREFERENCES = "AES256 AES192 AES SHA256 SHA512 SHA384 SHA224 ZIP ZLIB Uncompressed mdc"
_CERTIFICATIONS = range(0x10, 0x14)


class KeyKind(Enum):
    """Kinds of keys we make."""

    RSA3072 = "rsa3072"
    CURVE25519 = "curve25519"


_ALGORITHMS = {
    KeyKind.RSA3072: ("rsa3072", "rsa3072", "rsa3072"),
    KeyKind.CURVE25519: ("ed25519", "ed25519", "cv25519"),
}


def generate(name: str, address: str, *, kind: KeyKind = KeyKind.RSA3072, expires: str = "never") -> bytes:
    """Make a key with separate signing and encryption subkeys; return the armored secret key.

    ``expires`` is GnuPG's: ``never``, ``5y``, or an ISO date.
    """
    user_id = _user_id(name, address)
    primary, sign, encrypt = _ALGORITHMS[kind]
    loopback = ["--pinentry-mode=loopback", "--passphrase="]
    options = [*loopback, f"--default-preference-list={_PREFERENCES}", "--cert-digest-algo=SHA256"]
    with _scratch() as gnupg:
        # "default default never" would make no encryption subkey, so each key is asked for by name
        made = gnupg.small(
            [*options, "--quick-generate-key", "--", user_id, primary, "cert", expires], secret=True
        )
        created = made.report.first("KEY_CREATED")
        if created is None:
            raise RadpostError(ENGINE_FAULT, "GnuPG did not make the key")
        fingerprint = created[1]
        for algorithm, usage in ((sign, "sign"), (encrypt, "encr")):
            added = gnupg.small(
                [*options, "--quick-add-key", fingerprint, algorithm, usage, expires], secret=True
            )
            if added.code:
                raise RadpostError(ENGINE_FAULT, "GnuPG did not make the subkey")
        exported = gnupg.small([*loopback, "--export-secret-keys", fingerprint], secret=True)
    return export_secret(exported.output)


def _user_id(name: str, address: str) -> str:
    bad = set('<>()"') | {chr(code) for code in (*range(32), 127)}
    local, at, domain = address.partition("@")
    if not name.strip() or bad & set(name) or bad & set(address) or " " in address:
        raise RadpostError(CONFIG_INVALID, "name or address of the institution cannot stand in a key")
    if not (local and at and domain):
        raise RadpostError(CONFIG_INVALID, "the address of the institution is not a mail address")
    return f"{name.strip()} <{address}>"


def read_certs(data: bytes, *, now: datetime) -> tuple[CertInfo, ...]:
    """Read public or secret keys, armored or not, with their self-signatures verified."""
    blocks = read_blocks(data)
    with _scratch() as gnupg:
        gnupg.small(["--import"], b"".join(material.serialize(block, secret=False) for block in blocks))
        states = {cert.primary.fingerprint: cert for cert in list_certs(gnupg)}
    found: dict[str, CertInfo] = {}
    for block in blocks:
        info = _info(block, states.get(block.primary.fingerprint), now)
        known = found.get(info.fingerprint)
        if known is None or (info.has_secret and not known.has_secret):
            found[info.fingerprint] = info
    return tuple(found.values())


def read_blocks(data: bytes) -> list[Block]:
    """Parse key data; KEY_UNREADABLE if there is no key of a kind we know."""
    try:
        blocks = list(material.blocks(unarmor_all(data)))
    except (Malformed, RadpostError) as error:
        raise RadpostError(KEY_UNREADABLE) from error
    if not blocks:
        raise RadpostError(KEY_UNREADABLE, "no key of version 4")
    return blocks


def split(data: bytes) -> dict[str, bytes]:
    """Return each key of a file on its own, as it came (secret or public), by primary fingerprint."""
    return {block.primary.fingerprint: material.serialize(block, secret=True) for block in read_blocks(data)}


def export_public(data: bytes) -> bytes:
    """Return the armored public certificate(s) of keys."""
    binary = b"".join(material.serialize(block, secret=False) for block in read_blocks(data))
    return armor(binary, PUBLIC_KEY)


def export_secret(data: bytes, passphrase: str | None = None) -> bytes:
    """Return the armored secret key(s), protected if a passphrase is given."""
    blocks = [block for block in read_blocks(data) if block.primary.secret is not None]
    if not blocks:
        raise RadpostError(KEY_UNREADABLE, "no secret key")
    if passphrase is not None:
        blocks = [protection.lock(block, passphrase.encode()) for block in blocks]
    return armor(b"".join(material.serialize(block, secret=True) for block in blocks), PRIVATE_KEY)


def unlock(data: bytes, passphrase: str | None = None) -> bytes:
    """Return the armored secret key(s) without passphrase; PASSPHRASE_WRONG if it is missing or wrong."""
    blocks = read_blocks(data)
    if not any(block.primary.secret is not None for block in blocks):
        raise RadpostError(KEY_UNREADABLE, "no secret key")
    if any(protection.is_locked(key) for block in blocks for key in (block.primary, *block.subkeys)):
        if passphrase is None:
            raise RadpostError(PASSPHRASE_WRONG, "none was given")
        blocks = [protection.unlock(block, passphrase.encode()) for block in blocks]
    return export_secret(b"".join(material.serialize(block, secret=True) for block in blocks))


def _info(block: Block, state: CertState | None, now: datetime) -> CertInfo:
    primary = block.primary
    keys = (primary, *block.subkeys)
    secret = any(not protection.is_absent(key) for key in keys)
    locked = ["locked"] if any(protection.is_locked(key) for key in keys) else []
    if state is None:
        created = datetime.fromtimestamp(primary.created, UTC)
        problems = ("no-valid-self-signature", *locked)
        return CertInfo(
            primary.fingerprint, (), created, None, False, "", 0, False, False, (), (), secret, problems
        )
    encryption = tuple(key.fingerprint for key in state.usable("e", now))
    signing = tuple(key.fingerprint for key in state.usable("s", now))
    top = state.primary
    return CertInfo(
        top.fingerprint,
        state.user_ids,
        top.created,
        top.expires,
        top.revoked,
        top.algorithm_name,
        top.bits,
        bool(signing),
        bool(encryption),
        encryption,
        signing,
        secret,
        (*_problems(block, state, now), *locked),
    )


def _problems(block: Block, state: CertState, now: datetime) -> Iterator[str]:
    top = state.primary
    if top.revoked:
        yield "revoked"
    if top.expired(now):
        yield "expired"
    if top.created > now:
        yield "not-yet-valid"
    if not state.usable("e", now):
        yield "no-encryption-key"
    if not state.usable("s", now):
        yield "no-signing-key"
    if not state.user_ids:
        yield "no-user-id"
    used = {top, *state.usable("e", now), *state.usable("s", now)}
    for key in sorted(used, key=lambda one: one.fingerprint):
        if key.legacy:
            yield f"legacy-key:{key.legacy}"
    if _weak_self_signature(block):
        yield "sha1-self-signature"


def _weak_self_signature(block: Block) -> bool:
    """Whether the newest self-certification uses a weak digest: strict programs refuse such keys."""
    newest: tuple[int, bool] = (-1, False)
    for content in _certifications(block.items):
        try:
            packet = signatures.parse(content)
        except (Malformed, Unsupported):
            continue
        own = packet.keyid == block.primary.fingerprint[-16:]
        if own and packet.kind in _CERTIFICATIONS and (packet.created or 0) > newest[0]:
            newest = (packet.created or 0, packet.digest_id in WEAK_DIGESTS)
    return newest[1]


def _certifications(items: Iterable[object]) -> Iterator[bytes]:
    for item in items:
        if isinstance(item, packets.Small) and item.tag == packets.SIGNATURE:
            yield item.content


@contextmanager
def _scratch() -> Iterator[GnuPG]:
    """A GnuPG home that lives for one task; the agent, if any, ends with it."""
    with tempfile.TemporaryDirectory(prefix="rp-", ignore_cleanup_errors=True) as folder:
        gnupg = GnuPG(Path(folder))
        try:
            yield gnupg
        finally:
            gnupg.close()


__all__ = [
    "KeyKind",
    "export_public",
    "export_secret",
    "generate",
    "read_blocks",
    "read_certs",
    "split",
    "unlock",
]
