"""Who may have how much of the receiver: connections in all and per peer, bytes per peer and hour."""

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds across all sessions."""

    connections: int = 50
    connections_per_peer: int = 20
    bytes_per_peer: int = 64 * 1024**3
    """Content a peer may send within `window` seconds."""
    window: float = 3600.0
    peers: int = 10_000
    """Peers that are remembered; the ones without a connection are forgotten first."""


@dataclass(slots=True)
class _Account:
    connections: int = 0
    window_start: float = 0.0
    received: int = 0


class Ledger:
    """Counts per peer address; thread-safe and bounded."""

    def __init__(self, limits: ServerLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._accounts: dict[str, _Account] = {}
        self._connections = 0

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return self._connections

    def enter(self, peer: str) -> bool:
        """Take a new connection into account; False when it must be turned away."""
        with self._lock:
            account = self._accounts.get(peer)
            if self._connections >= self._limits.connections or (
                account is not None and account.connections >= self._limits.connections_per_peer
            ):
                return False
            if account is None:
                self._make_room()
                account = self._accounts[peer] = _Account(window_start=self._clock())
            account.connections += 1
            self._connections += 1
            return True

    def leave(self, peer: str) -> None:
        """A connection that was let in has ended."""
        with self._lock:
            account = self._accounts[peer]
            account.connections -= 1
            self._connections -= 1
            if not account.connections and not account.received:
                del self._accounts[peer]

    def add(self, peer: str, size: int) -> None:
        """Count content that came from a peer."""
        with self._lock:
            self._current(peer).received += size

    def exhausted(self, peer: str) -> bool:
        """Tell whether a peer has used up its bytes for now."""
        with self._lock:
            return self._current(peer).received >= self._limits.bytes_per_peer

    def _current(self, peer: str) -> _Account:
        account = self._accounts[peer]
        now = self._clock()
        if now - account.window_start >= self._limits.window:
            account.window_start, account.received = now, 0
        return account

    def _make_room(self) -> None:
        if len(self._accounts) < self._limits.peers:
            return
        for peer, account in list(self._accounts.items()):
            if not account.connections:
                del self._accounts[peer]
                return
