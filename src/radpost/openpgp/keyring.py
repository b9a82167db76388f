"""A keyring: an immutable snapshot of usable keys, cached in a GnuPG home of its own (DESIGN 6).

The gateway decides which keys are trusted and hands them over as bytes; GnuPG imports them, which verifies
every self-signature, and lists what may be used. The import is kept under a digest of the keys, so that a
restart with the same keys costs nothing; homes of other key sets are removed when nobody holds them. A home
counts as complete only when it is durable; one that does not is made anew.
"""

import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self, TypeVar

from radpost.errors import ENGINE_FAULT, KEY_UNREADABLE, NO_USABLE_KEY, OWN_KEY_UNUSABLE, RadpostError
from radpost.openpgp import listing, material, packets, signatures
from radpost.openpgp.armor import unarmor_all
from radpost.openpgp.gnupg import GnuPG, stop_agent
from radpost.openpgp.listing import CertState, KeyState
from radpost.openpgp.material import Block, Decryptor, Encryptor, KeyPacket, Signer, Unsupported, Verifier

_T = TypeVar("_T")
_LOCK = ".lock"
_DONE = "complete"
_RING = "pubring.kbx"
_SECRETS = "private-keys-v1.d"


class Keyring:
    """Usable keys of ours (secret) and of others (public); close it when it has been replaced."""

    def __init__(
        self, home: Path, own: Sequence[bytes], others: Sequence[bytes], *, parallel: int = 4
    ) -> None:
        secret = [block for data in own for block in _blocks(data)]
        public = [block for data in others for block in _blocks(data)]
        blobs = [material.serialize(block, secret=True) for block in secret]
        blobs += [material.serialize(block, secret=False) for block in public]
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
        digests = sorted({hashlib.sha256(blob).digest() for blob in blobs})
        name = hashlib.sha256(b"".join(digests)).hexdigest()[:10]
        self._lock = _hold(home / name)
        self.gnupg = GnuPG(home / name, parallel=parallel)
        certs = self._load(blobs)
        _sweep(home, name)
        packets_of = {
            key.fingerprint: key for block in (*public, *secret) for key in (block.primary, *block.subkeys)
        }
        self._packets: Mapping[str, KeyPacket] = MappingProxyType(packets_of)
        self._crossed = {
            fingerprint for block in (*public, *secret) for fingerprint in _cross_certified(block)
        }
        self.certs: Mapping[str, CertState] = MappingProxyType(
            {cert.primary.fingerprint: cert for cert in certs}
        )
        self._states = {key.fingerprint: key for cert in certs for key in cert.keys}
        own_keys = {
            key.fingerprint for block in secret for key in (block.primary, *block.subkeys) if key.secret
        }
        self.own: tuple[KeyState, ...] = tuple(
            state for fingerprint, state in self._states.items() if fingerprint in own_keys
        )
        self._by_keyid: dict[str, list[KeyState]] = {}
        for state in self._states.values():
            self._by_keyid.setdefault(state.keyid, []).append(state)
        self._own_ids = {state.keyid for state in self.own}
        self._objects: dict[tuple[type, str], object] = {}
        self._mutex = threading.Lock()

    def close(self) -> None:
        """End the agent and let go of the home; what is running ends first by itself or fails."""
        self.gnupg.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def owns(self, keyid: str) -> bool:
        """Whether a key ID names a secret key of ours."""
        return keyid.upper() in self._own_ids

    def primary_of(self, name: str) -> str | None:
        """Return the primary fingerprint of a key ID or fingerprint; None if unknown."""
        found = self.find(name)
        return found[0].primary if found else None

    def find(self, name: str) -> Sequence[KeyState]:
        """Return the keys with this fingerprint or key ID (key IDs may collide)."""
        wanted = name.upper()
        if len(wanted) == 40:
            state = self._states.get(wanted)
            return (state,) if state else ()
        return self._by_keyid.get(wanted, ())

    def encryption_key(self, primary: str, now: datetime) -> KeyState:
        """Return the key to encrypt to; NO_USABLE_KEY if there is none."""
        cert = self.certs.get(primary.upper())
        usable = cert.usable("e", now) if cert else ()
        if not usable:
            raise RadpostError(NO_USABLE_KEY, f"key {primary[-16:]}")
        return usable[0]

    def signing_key(self, primary: str, now: datetime) -> KeyState:
        """Return our key to sign with; OWN_KEY_UNUSABLE if there is none."""
        cert = self.certs.get(primary.upper())
        usable = [key for key in (cert.usable("s", now) if cert else ()) if key in self.own]
        if not usable:
            raise RadpostError(OWN_KEY_UNUSABLE, f"key {primary[-16:]}")
        return usable[0]

    def verifier(self, state: KeyState) -> Verifier:
        """Return the key as a verifier; `Unsupported` if GnuPG must do it."""
        if "s" not in state.flags:
            raise Unsupported("not a signing key")
        if state.fingerprint != state.primary and state.fingerprint not in self._crossed:
            raise Unsupported("signing subkey without back signature")
        return self._object(Verifier, state)

    def encryptor(self, state: KeyState) -> Encryptor:
        """Return the key as an encryptor."""
        return self._object(Encryptor, state)

    def signer(self, state: KeyState) -> Signer:
        """Return our key as a signer."""
        return self._object(Signer, state)

    def decryptor(self, state: KeyState) -> Decryptor:
        """Return our key as a decryptor."""
        return self._object(Decryptor, state)

    def _object(self, kind: "type[_T]", state: KeyState) -> _T:
        """Return the key's object, made once: loading an RSA key costs milliseconds."""
        with self._mutex:
            found = self._objects.get((kind, state.fingerprint))
        if found is None:
            key = self._packets.get(state.fingerprint)
            if key is None:
                raise Unsupported("key material is not at hand")
            try:
                found = kind(key)  # type: ignore[call-arg]  # all four take a key packet
            except (packets.Malformed, ValueError) as error:
                raise Unsupported("key material") from error
            with self._mutex:
                self._objects[kind, state.fingerprint] = found
        assert isinstance(found, kind)
        return found

    def _load(self, blobs: Sequence[bytes]) -> tuple[CertState, ...]:
        """Import what is not there yet; a home that was interrupted imports again."""
        wanted = {hashlib.sha256(blob).hexdigest(): blob for blob in blobs}
        done = self.gnupg.home / _DONE
        if wanted and not done.exists():
            have = self._inherit(frozenset(wanted))
            missing = [blob for digest, blob in wanted.items() if digest not in have]
            # never empty: a home with the same keys would have the same name
            run = self.gnupg.small(["--import"], b"".join(missing), secret=True)
            if not run.report.has("IMPORT_RES"):
                raise RadpostError(ENGINE_FAULT, "GnuPG did not import the keys")
            _make_durable(self.gnupg.home)
            done.write_text("\n".join(wanted), encoding="ascii")
        return list_certs(self.gnupg)

    def _inherit(self, wanted: frozenset[str]) -> frozenset[str]:
        """Copy the largest home whose keys are all wanted: GnuPG needs 10 ms to import a certificate."""
        best: frozenset[str] = frozenset()
        for done in self.gnupg.home.parent.glob(f"*/{_DONE}"):
            with suppress(OSError):
                found = frozenset(done.read_text(encoding="ascii").split())
                if len(best) < len(found) and found < wanted:
                    _copy_home(done.parent, self.gnupg.home)
                    best = found
        return best


def list_certs(gnupg: GnuPG) -> tuple[CertState, ...]:
    """Return what a home holds."""
    run = gnupg.small(["--list-keys", "--with-colons", "--with-subkey-fingerprint"])
    return listing.parse(run.output)


def _blocks(data: bytes) -> Iterable[Block]:
    try:
        found = list(material.blocks(unarmor_all(data)))
    except (packets.Malformed, RadpostError) as error:
        raise RadpostError(KEY_UNREADABLE) from error
    if not found:
        raise RadpostError(KEY_UNREADABLE)
    return found


def _cross_certified(block: Block) -> Iterable[str]:
    current: KeyPacket | None = None
    for item in block.items:
        if isinstance(item, KeyPacket):
            current = item if item.subkey else None
        elif (
            current is not None
            and item.tag == packets.SIGNATURE
            and signatures.cross_certified(block.primary, current, item.content)
        ):
            yield current.fingerprint


def _copy_home(source: Path, target: Path) -> None:
    (target / _SECRETS).mkdir(mode=0o700, exist_ok=True)
    for file in (source / _RING, *(source / _SECRETS).glob("*.key")):
        place = target / file.relative_to(source)
        shutil.copyfile(file, place)
        place.chmod(0o600)


def _make_durable(home: Path) -> None:
    """Sync a home: once it counts as complete nothing fills it again, also after a power failure."""
    for folder in (home / _SECRETS, home):
        if folder.is_dir():
            for path in (*filter(Path.is_file, folder.iterdir()), folder):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)


def _hold(home: Path) -> int:
    """Mark a home as used while this process lives; what an interrupted import left is removed first."""
    while True:
        home.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with suppress(BlockingIOError):  # somebody else is at it, or is done
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not (home / _DONE).exists():
                _clear(home)
        fcntl.flock(handle, fcntl.LOCK_SH)
        # another process may have swept the home between the two calls
        with suppress(FileNotFoundError):
            if (home / _LOCK).stat().st_ino == os.fstat(handle).st_ino:
                return handle
        os.close(handle)


def _clear(home: Path) -> None:
    """Empty a home that nobody holds, but for its lock: a torn file would disturb the next import."""
    if (home / "S.gpg-agent").exists():
        stop_agent(home)  # it outlived its gateway
    for path in home.iterdir():
        if path.name == _LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _sweep(home: Path, keep: str) -> None:
    """Remove homes of other key sets that nobody holds, with their agents."""
    for other in home.iterdir():
        if other.name == keep or not (other / _LOCK).exists():
            continue
        handle = os.open(other / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            stop_agent(other)
            with suppress(OSError):
                shutil.rmtree(other)
        finally:
            os.close(handle)


def utcnow() -> datetime:
    """Return the time; engines take it as a parameter so that tests can set it."""
    return datetime.now(UTC)
