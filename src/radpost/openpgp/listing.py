"""GnuPG's key listing read as values; what stands in it has verified self-signatures (doc/DETAILS)."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from radpost.openpgp.material import DSA, ECDH, ECDSA, EDDSA, ELGAMAL, RSA, RSA_ENCRYPT, RSA_SIGN

_NAMES = {
    RSA: "RSA",
    RSA_ENCRYPT: "RSA",
    RSA_SIGN: "RSA",
    ELGAMAL: "ElGamal",
    DSA: "DSA",
    ECDH: "ECDH",
    ECDSA: "ECDSA",
    EDDSA: "EdDSA",
}
_RSA_MIN = 2048
_PRIMARY = frozenset({"pub", "sec"})
_SUBKEY = frozenset({"sub", "ssb"})


@dataclass(frozen=True, slots=True)
class KeyState:
    """A primary key or subkey whose binding GnuPG has verified."""

    fingerprint: str
    primary: str
    created: datetime
    expires: datetime | None
    revoked: bool
    algorithm: int
    bits: int
    curve: str
    flags: str
    """Its own capabilities: some of ``c``, ``s``, ``e``, ``a``."""

    @property
    def keyid(self) -> str:
        """Key ID in upper hex."""
        return self.fingerprint[-16:]

    @property
    def algorithm_name(self) -> str:
        """Name for people."""
        name = _NAMES.get(self.algorithm, f"algorithm {self.algorithm}")
        return f"{name} {self.curve}" if self.curve else name

    @property
    def legacy(self) -> str:
        """What is too old about it to be trusted today: ``RSA 1024``, ``DSA``, ``ElGamal``; else nothing."""
        if self.algorithm in (RSA, RSA_ENCRYPT, RSA_SIGN):
            return f"RSA {self.bits}" if self.bits < _RSA_MIN else ""
        return self.algorithm_name if self.algorithm in (DSA, ELGAMAL) else ""

    def expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= now

    def alive(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired nor not yet born."""
        return not self.revoked and not self.expired(now) and self.created <= now


@dataclass(frozen=True, slots=True)
class CertState:
    """A certificate in a keyring."""

    primary: KeyState
    subkeys: tuple[KeyState, ...] = ()
    user_ids: tuple[str, ...] = field(default=())

    @property
    def keys(self) -> tuple[KeyState, ...]:
        """Primary key and subkeys."""
        return (self.primary, *self.subkeys)

    def usable(self, flag: str, now: datetime) -> tuple[KeyState, ...]:
        """Return the keys that may be used for ``flag`` now, the newest first, subkeys before the primary."""
        if not self.primary.alive(now):
            return ()
        found = [key for key in self.keys if flag in key.flags and key.alive(now)]
        return tuple(sorted(found, key=lambda key: (key is not self.primary, key.created), reverse=True))


def parse(text: bytes) -> tuple[CertState, ...]:
    """Read ``--with-colons --with-subkey-fingerprint`` output."""
    return tuple(_certs(text.decode("utf-8", "replace")))


def _certs(text: str) -> Iterator[CertState]:
    keys: list[KeyState] = []
    uids: list[str] = []
    pending: list[str] | None = None
    for line in text.split("\n"):
        fields = line.split(":")
        kind = fields[0]
        if kind in _PRIMARY or kind in _SUBKEY:
            if kind in _PRIMARY:
                yield from _cert(keys, uids)
                keys, uids = [], []
            pending = fields
        elif kind == "fpr" and pending is not None:
            key = _key(pending, fields[9])
            keys.append(replace(key, primary=keys[0].fingerprint) if keys else key)
            pending = None
        elif kind == "uid" and (fields[1] != "r" or (keys and keys[0].revoked)):
            uids.append(_unescape(fields[9]))
    yield from _cert(keys, uids)


def _cert(keys: list[KeyState], uids: list[str]) -> Iterator[CertState]:
    if keys:
        yield CertState(keys[0], tuple(keys[1:]), tuple(uids))


def _key(fields: list[str], fingerprint: str) -> KeyState:
    created = _time(fields[5]) or datetime.fromtimestamp(0, UTC)
    flags = "".join(letter for letter in fields[11] if letter.islower())
    # "i": no valid self-signature binds it, so it may do nothing
    flags = "" if fields[1] == "i" else flags
    return KeyState(
        fingerprint,
        fingerprint,
        created,
        _time(fields[6]),
        fields[1] == "r",
        int(fields[3] or 0),
        int(fields[2] or 0),
        fields[16] if len(fields) > 16 else "",
        flags,
    )


def _time(text: str) -> datetime | None:
    return datetime.fromtimestamp(int(text), UTC) if text.isdigit() and int(text) else None


def _unescape(text: str) -> str:
    """Undo the listing's quoting of colons and control characters (C escapes)."""
    if "\\x" not in text:
        return text
    head, *rest = text.split("\\x")
    raw = head.encode()
    for part in rest:
        raw += bytes.fromhex(part[:2]) + part[2:].encode()
    return raw.decode("utf-8", "replace")
