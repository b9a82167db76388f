"""From where a station or our own PACS may come: addresses beside AE titles (DESIGN invariant 7)."""

import ipaddress
import socket
import time
from collections.abc import Callable
from typing import Final

from radpost.gateway.config import Pacs

RESOLVE_EVERY_SECONDS: Final = 60.0


def within(address: str, network: str) -> bool:
    """Tell whether an address lies in a network; an empty network is everywhere."""
    if not network:
        return True
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
        wanted = ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return found in wanted


def resolved(host: str) -> tuple[str, ...]:
    """Return the addresses of a host name; none if it cannot be resolved now."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple({str(entry[4][0]).partition("%")[0] for entry in found})


class PacsDoor:
    """Admits our own PACS: its AE title, calling ours, from where it belongs.

    An AE title alone is no proof: everybody in the hospital's network knows it. Without ``addresses`` the
    PACS comes from the host that we call; a name that cannot be resolved admits nobody.
    """

    def __init__(
        self,
        pacs: Pacs | None,
        *,
        resolve: Callable[[str], tuple[str, ...]] = resolved,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pacs = pacs
        self._resolve = resolve
        self._clock = clock
        self._known: tuple[str, ...] = ()
        self._known_until = float("-inf")

    def admits(self, calling_ae: str, called_ae: str, peer_address: str) -> bool:
        """Tell whether an association comes from our PACS to us."""
        pacs = self._pacs
        if pacs is None or called_ae != pacs.our_ae_title or calling_ae != pacs.ae_title:
            return False
        return any(within(peer_address, network) for network in self._networks(pacs))

    def _networks(self, pacs: Pacs) -> tuple[str, ...]:
        if pacs.addresses:
            return pacs.addresses
        now = self._clock()
        if now >= self._known_until:
            self._known = self._resolve(pacs.host)
            # a failed look-up is not remembered: the next association asks again
            self._known_until = now + RESOLVE_EVERY_SECONDS if self._known else now
        return self._known
