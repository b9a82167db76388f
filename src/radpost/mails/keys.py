"""Keys for one task without gateway and database: an engine in a private home that leaves nothing behind.

The home is made when the engine is first asked for something: a mail that is not sealed needs no GnuPG. Every
key that is given counts as trusted; old ciphers and keys are read, and the engine's warnings say so.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from radpost import smime
from radpost.agit.cms import Smime
from radpost.errors import RadpostError
from radpost.mails.keyfiles import KeyFiles, Material, OpenPGPMaterial, X509Material, blame, read_material
from radpost.mails.scratch import HOME, scratch
from radpost.openpgp import CompositeEngine, Keyring, read_certs
from radpost.openpgp.keyring import utcnow
from radpost.openpgp.values import (
    Buffer,
    CertInfo,
    Compression,
    Engine,
    Limits,
    Opened,
    Sealed,
    Signature,
    Source,
)

__all__ = ["KeyFiles", "OfflineKeys", "offline_keys"]


@dataclass(frozen=True, slots=True)
class OfflineKeys:
    """What a command works with while the context of `offline_keys` lasts."""

    engine: Engine
    own: tuple[str, ...]
    """Primary fingerprints of the secret OpenPGP keys, in the order of the files."""
    others: tuple[str, ...]
    """Primary fingerprints of the public OpenPGP keys."""
    smime: Smime
    """Keys, certificates and anchors of S/MIME; certificates that are no anchors are known, not trusted."""
    temp: Path
    """A private directory for plaintext that does not fit in memory; it ends with the context."""
    _openpgp: OpenPGPMaterial

    def describe(self, now: datetime) -> tuple[CertInfo, ...]:
        """Return what the keys say of themselves, own ones first."""
        keys = b"".join((*self._openpgp.own, *self._openpgp.others))
        return read_certs(keys, now=now) if keys else ()


@contextmanager
def offline_keys(files: KeyFiles, *, clock: Callable[[], datetime] = utcnow) -> Iterator[OfflineKeys]:
    """Read key files and give an engine that knows them; at the end home, agent and plaintext are gone.

    Raises:
        RadpostError: KEY_UNREADABLE, CERTIFICATE_UNREADABLE or PASSPHRASE_WRONG, before anything is made.
    """
    material: Material = read_material(files)
    try:
        cms = _smime(material.x509, clock())
    except RadpostError:
        # one look at all together is faster, for keys are checked; only a fault has them read one by one
        blame(files, material.x509.passphrases)
        raise
    with (
        scratch() as folder,
        ExitStack() as stack,
    ):
        temp = folder / "t"
        temp.mkdir(mode=0o700)
        engine = _LazyEngine(material.openpgp, folder / HOME, stack, clock)
        yield OfflineKeys(
            engine=engine,
            own=material.openpgp.own_fingerprints,
            others=material.openpgp.other_fingerprints,
            smime=cms,
            temp=temp,
            _openpgp=material.openpgp,
        )


def _smime(material: X509Material, now: datetime) -> Smime:
    """Put keys together with their certificates, which often lie in another file."""
    known = smime.load((*material.secrets, *material.certs), material.passphrases)
    anchors = smime.load(material.anchors, material.passphrases)
    trust = smime.Trust(
        anchors=anchors.certificates,
        certificates=known.certificates,
        revocations=(*known.revocations, *anchors.revocations),
    )
    return Smime(known.credentials, trust, now, smime.Limits())


class _LazyEngine:
    """An engine whose keyring is made at the first use and closed with the stack."""

    def __init__(
        self, keys: OpenPGPMaterial, home: Path, stack: ExitStack, clock: Callable[[], datetime]
    ) -> None:
        self._keys = keys
        self._home = home
        self._stack = stack
        self._clock = clock
        self._made: Engine | None = None

    def _engine(self) -> Engine:
        if self._made is None:
            ring = self._stack.enter_context(Keyring(self._home, self._keys.own, self._keys.others))
            self._made = CompositeEngine(ring, self._clock)
        return self._made

    def seal(
        self,
        source: Source,
        sink: BinaryIO,
        *,
        recipients: Iterable[str],
        signer: str | None,
        compress: Compression = Compression.ZIP,
        armor: bool = True,
        cipher: str = "AES256",
        digest: str = "SHA256",
    ) -> Sealed:
        return self._engine().seal(
            source,
            sink,
            recipients=recipients,
            signer=signer,
            compress=compress,
            armor=armor,
            cipher=cipher,
            digest=digest,
        )

    def open(self, source: BinaryIO, *, temp: Path, limits: Limits, legacy: bool = False) -> Opened:
        return self._engine().open(source, temp=temp, limits=limits, legacy=legacy)

    def verify_detached(self, data: Iterable[Buffer], signature: bytes) -> Signature:
        return self._engine().verify_detached(data, signature)

    def sign_detached(
        self, data: Iterable[Buffer], *, signer: str, digest: str = "SHA256", armor: bool = True
    ) -> bytes:
        return self._engine().sign_detached(data, signer=signer, digest=digest, armor=armor)
