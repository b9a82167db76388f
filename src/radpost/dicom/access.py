"""Who may open an association, and what a refusal says (PS3.8 9.3.4; DESIGN invariant 7)."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from radpost import errors
from radpost.dicom.pdu import AssociateReject


class Rejection(Enum):
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

    NO_REASON = (1, 1, 1)
    APPLICATION_CONTEXT = (1, 1, 2)
    CALLING_AE = (1, 1, 3)
    CALLED_AE = (1, 1, 7)
    PROTOCOL_VERSION = (1, 2, 2)
    NOT_NOW = (2, 1, 1)
    CONGESTION = (2, 3, 1)
    LOCAL_LIMIT = (2, 3, 2)

    def unit(self) -> AssociateReject:
        """Return what goes onto the wire."""
        return AssociateReject(*self.value)

    @property
    def transient(self) -> bool:
        """Whether the same request may be accepted later."""
        return self in {Rejection.NOT_NOW, Rejection.CONGESTION, Rejection.LOCAL_LIMIT}

    @property
    def explanation(self) -> errors.Reason:
        """The row of the table of reasons for our own log and status."""
        if self is Rejection.CALLING_AE:
            return errors.CALLING_AE_UNKNOWN
        if self is Rejection.CALLED_AE:
            return errors.CALLED_AE_UNKNOWN
        return errors.ASSOCIATION_REFUSED


@dataclass(frozen=True, slots=True)
class Accept:
    """The association is admitted; ``partner`` is handed on with everything that comes over it."""

    partner: str = ""


@dataclass(frozen=True, slots=True)
class Reject:
    """The association is refused."""

    reason: Rejection


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class AccessList:
    """Allowed stations (calling AE title to networks) and our titles (called AE title to partner).

    AE titles are compared as written: case matters (PS3.5 6.2). A station without networks is allowed
    from nowhere; an empty list admits nobody.
    """

    stations: Mapping[str, tuple[Network, ...]]
    called: Mapping[str, str]

    def decide(self, calling_ae: str, called_ae: str, peer_address: str) -> Accept | Reject:
        """Admit a station we know, from where it belongs, to a title that stands for a partner."""
        if not self._allowed(calling_ae, peer_address):
            return Reject(Rejection.CALLING_AE)
        partner = self.called.get(called_ae)
        return Reject(Rejection.CALLED_AE) if partner is None else Accept(partner)

    def _allowed(self, calling_ae: str, peer_address: str) -> bool:
        try:
            address = ipaddress.ip_address(peer_address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self.stations.get(calling_ae, ()))
