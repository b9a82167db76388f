"""The keys that may be used now: a snapshot of the store, as an engine of its own (DESIGN 6).

Our store decides trust: a key is used because its fingerprint was confirmed. The engine's home is a cache
that is made anew whenever the confirmed keys change.
"""

import threading
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from radpost.errors import NO_USABLE_KEY, OWN_KEY_UNUSABLE, RadpostError
from radpost.openpgp.engine import CompositeEngine
from radpost.openpgp.keyring import Keyring, utcnow
from radpost.openpgp.values import Engine
from radpost.store import partners
from radpost.store.database import Database

PARALLEL_GNUPG: Final = 4


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Ring:
    """A snapshot: the engine, our keys and the confirmed keys of each partner (fingerprints).

    Hold it as long as its engine is used: the engine ends with the last who holds the snapshot.
    """

    engine: Engine
    keyring: Keyring
    own: tuple[str, ...]
    by_partner: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def signer(self) -> str:
        """Return our key: the newest that can sign now.

        Raises:
            RadpostError: OWN_KEY_UNUSABLE.
        """
        if not self.own:
            raise RadpostError(OWN_KEY_UNUSABLE)
        return next((key for key in self.own if self._usable("s", key)), self.own[0])

    def recipient(self, partner: str, wanted: str = "") -> str:
        """Return the key to encrypt to for a partner: the one confirmed last of those usable now.

        ``wanted``: the key ID or fingerprint of another that the partner asks for, if that is confirmed, too.

        Raises:
            RadpostError: NO_USABLE_KEY.
        """
        keys = self.by_partner.get(partner, ())
        if not keys:
            raise RadpostError(NO_USABLE_KEY, f"partner {partner}")
        named = self.keyring.primary_of(wanted) if wanted else None
        if named in keys and self._usable("e", named):
            return named
        # if none is usable the engine refuses (fail closed, invariant 7)
        return next((key for key in reversed(keys) if self._usable("e", key)), keys[-1])

    def _usable(self, purpose: str, fingerprint: str) -> bool:
        cert = self.keyring.certs.get(fingerprint)
        return cert is not None and bool(cert.usable(purpose, utcnow()))

    def belongs(self, fingerprint: str | None, partner: str) -> bool:
        """Tell whether a primary fingerprint is confirmed for a partner."""
        return fingerprint is not None and fingerprint in self.by_partner.get(partner, ())


class Keys:
    """Gives the current snapshot; an old engine lives on until its last user is done."""

    def __init__(self, database: Database, root: Path) -> None:
        self._database = database
        self._home = root / "gnupg"
        self._lock = threading.Lock()
        self._ring: Ring | None = None
        self._engines: list[weakref.finalize[[], Ring]] = []
        self._stale = True
        self._confirmed: frozenset[tuple[str, bytes]] = frozenset()

    def ring(self) -> Ring:
        """Return the snapshot of what is confirmed in the store now."""
        with self._lock:
            if self._ring is None or self._stale:
                self._refresh()
            assert self._ring is not None
            return self._ring

    def forget(self) -> None:
        """Read the store anew at the next question."""
        with self._lock:
            self._stale = True

    def close(self) -> None:
        """End the engines."""
        with self._lock:
            for end in self._engines:
                end()
            self._engines, self._ring = [], None

    def _refresh(self) -> None:
        with self._database.read() as connection:
            rows = [row for row in partners.keys(connection) if row.confirmed_at is not None]
        rows.sort(key=lambda row: row.confirmed_at or 0.0)
        confirmed = frozenset((row.fingerprint, row.data) for row in rows)
        if self._ring is not None and confirmed == self._confirmed:
            self._stale = False
            return
        keyring = Keyring(
            self._home,
            [row.data for row in rows if row.partner is None],
            [row.data for row in rows if row.partner is not None],
            parallel=PARALLEL_GNUPG,
        )
        by_partner: dict[str, tuple[str, ...]] = {}
        for row in rows:
            if row.partner is not None:
                by_partner[row.partner] = (*by_partner.get(row.partner, ()), row.fingerprint)
        own = tuple(row.fingerprint for row in reversed(rows) if row.partner is None)
        self._ring = Ring(CompositeEngine(keyring), keyring, own, by_partner)
        self._engines = [end for end in self._engines if end.alive]
        self._engines.append(weakref.finalize(self._ring, keyring.close))
        self._confirmed, self._stale = confirmed, False
