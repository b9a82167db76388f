"""The engine the gateway uses: native first, GnuPG for everything the native engine does not know.

Verdicts name full fingerprints of the keyring; whether the signer is the right partner (`wrong-signer`)
is for the caller to decide, who knows From (DESIGN invariant 7).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from radpost.errors import NO_USABLE_KEY, RadpostError
from radpost.openpgp import packets
from radpost.openpgp.armor import SIGNATURE
from radpost.openpgp.armor import armor as armored
from radpost.openpgp.gnupg import GnuPG
from radpost.openpgp.keyring import Keyring, utcnow
from radpost.openpgp.listing import KeyState
from radpost.openpgp.material import Unsupported
from radpost.openpgp.native import NativeEngine, detached_packets
from radpost.openpgp.values import Buffer, Compression, Limits, Opened, Sealed, Signature, Source

_TIMEOUT = 3600.0


class _Keys:
    """The keyring and the time: one decision per message about what is usable now."""

    def __init__(self, keyring: Keyring, clock: Callable[[], datetime]) -> None:
        self.keyring = keyring
        self.clock = clock

    def recipients(self, primaries: Iterable[str]) -> list[KeyState]:
        now = self.clock()
        found = [self.keyring.encryption_key(primary, now) for primary in primaries]
        if not found:
            # fail closed: without a key there is no mail
            raise RadpostError(NO_USABLE_KEY, "no recipient")
        return found

    def signer(self, primary: str | None) -> KeyState | None:
        return None if primary is None else self.keyring.signing_key(primary, self.clock())

    def weighed(self, signature: Signature) -> Signature:
        """Name the algorithm of a signing key that is too weak for today."""
        named = signature.signing_fingerprint or signature.fingerprint
        legacy = (
            next((state.legacy for state in self.keyring.find(named) if state.legacy), "") if named else ""
        )
        return replace(signature, legacy_key=legacy) if legacy else signature

    def noted(self, opened: Opened) -> Opened:
        """Add what is known of the keys that a message was signed with and encrypted to."""
        signatures = tuple(self.weighed(one) for one in opened.signatures)
        used = self.keyring.find(opened.recipient) if opened.recipient else ()
        warnings = dict.fromkeys(opened.warnings)
        if any(state.expired(self.clock()) for state in used):
            warnings["expired-recipient-key"] = None
        warnings |= dict.fromkeys(f"legacy-recipient-key:{state.legacy}" for state in used if state.legacy)
        return replace(
            opened,
            signature=self.weighed(opened.signature),
            signatures=signatures,
            warnings=tuple(warnings),
        )


class GnuPGEngine:
    """GnuPG alone, with the same face as `CompositeEngine`."""

    def __init__(self, keyring: Keyring, clock: Callable[[], datetime] = utcnow) -> None:
        self._keys = _Keys(keyring, clock)
        self._gnupg: GnuPG = keyring.gnupg

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
        """Sign and encrypt."""
        signing = self._keys.signer(signer)
        return self._gnupg.seal(
            source,
            sink,
            recipients=[state.fingerprint for state in self._keys.recipients(recipients)],
            signer=signing.fingerprint if signing else None,
            compress=compress,
            armor=armor,
            cipher="AES" if cipher == "AES128" else cipher,
            digest=digest,
            timeout=_TIMEOUT,
        )

    def open(self, source: BinaryIO, *, temp: Path, limits: Limits, legacy: bool = False) -> Opened:
        """Decrypt and verify."""
        opened = self._gnupg.open(source, self._keys.keyring, temp=temp, limits=limits, legacy=legacy)
        return self._keys.noted(opened)

    def verify_detached(self, data: Iterable[Buffer], signature: bytes) -> Signature:
        """Verify a detached signature."""
        binary = b"".join(
            packets.packet(packets.SIGNATURE, content) for content in detached_packets(signature)
        )
        return self._keys.weighed(self._gnupg.verify(data, binary, self._keys.keyring, _TIMEOUT))

    def sign_detached(
        self, data: Iterable[Buffer], *, signer: str, digest: str = "SHA256", armor: bool = True
    ) -> bytes:
        """Sign detached."""
        state = self._keys.signer(signer)
        assert state is not None
        content = self._gnupg.sign(data, state.fingerprint, digest, _TIMEOUT)
        return armored(content, SIGNATURE) if armor else content


class CompositeEngine:
    """Native where it can, GnuPG where it must; the only engine the gateway needs."""

    def __init__(self, keyring: Keyring, clock: Callable[[], datetime] = utcnow) -> None:
        self._keys = _Keys(keyring, clock)
        self._native = NativeEngine(keyring)
        self._fallback = GnuPGEngine(keyring, clock)

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
        """Sign and encrypt; NO_USABLE_KEY and OWN_KEY_UNUSABLE come before anything is written."""
        wanted: Sequence[str] = tuple(recipients)
        keys, signing = self._keys.recipients(wanted), self._keys.signer(signer)
        try:
            return self._native.seal(
                source,
                sink,
                recipients=keys,
                signer=signing,
                compress=compress,
                armor=armor,
                cipher=cipher,
                digest=digest,
            )
        except Unsupported:
            # comes before the first byte of source and sink
            return self._fallback.seal(
                source,
                sink,
                recipients=wanted,
                signer=signer,
                compress=compress,
                armor=armor,
                cipher=cipher,
                digest=digest,
            )

    def open(self, source: BinaryIO, *, temp: Path, limits: Limits, legacy: bool = False) -> Opened:
        """Decrypt and verify; ``source`` must be seekable, because GnuPG may have to read it again."""
        start = source.tell()
        try:
            opened = self._native.open(
                source, temp=temp, limits=limits, legacy=legacy, now=self._keys.clock()
            )
        except Unsupported:
            source.seek(start)
            return self._fallback.open(source, temp=temp, limits=limits, legacy=legacy)
        return self._keys.noted(opened)

    def verify_detached(self, data: Iterable[Buffer], signature: bytes) -> Signature:
        """Verify a detached signature (RFC 3156 5, multipart/signed)."""
        try:
            found = self._native.verify_detached(data, signature, self._keys.clock())
        except Unsupported:
            return self._fallback.verify_detached(data, signature)
        return self._keys.weighed(found)

    def sign_detached(
        self, data: Iterable[Buffer], *, signer: str, digest: str = "SHA256", armor: bool = True
    ) -> bytes:
        """Sign ``data`` and return the detached signature."""
        state = self._keys.signer(signer)
        assert state is not None
        try:
            content = self._native.sign_detached(data, state, digest)
        except Unsupported:
            return self._fallback.sign_detached(data, signer=signer, digest=digest, armor=armor)
        return armored(content, SIGNATURE) if armor else content
