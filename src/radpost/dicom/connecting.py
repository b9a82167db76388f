"""How an association of ours comes about, and what its events and errors mean (PS3.8 7.1, 9.3.4)."""

import contextlib
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from radpost.dicom import pdu
from radpost.dicom.access import Rejection
from radpost.dicom.outcome import AssociationError
from radpost.dicom.pdu import PduError
from radpost.dicom.services import EXPLICIT_LE, IMPLICIT_LE
from radpost.dicom.wire import ConnectionEnded, Control
from radpost.errors import ASSOCIATION_REFUSED, DICOM_PROTOCOL, PACS_UNREACHABLE, TLS_FAILED


@dataclass(frozen=True, slots=True)
class Peer:
    """A DICOM node we call, and the title we call it by."""

    host: str
    port: int
    called_ae: str
    calling_ae: str
    tls: ssl.SSLContext | None = None
    tls_name: str | None = None
    connect_seconds: float = 15.0
    acse_seconds: float = 30.0
    network_seconds: float = 60.0
    response_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """One presentation context to ask for; one per transfer syntax shows exactly what the peer takes."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scp_role: bool = False


def plan_proposals(
    wanted: Iterable[tuple[str, str]], *, fallback: Sequence[str] = (EXPLICIT_LE, IMPLICIT_LE)
) -> list[tuple[Proposal, ...]]:
    """Plan associations for pairs of SOP class and transfer syntax, each within 128 contexts.

    Every transfer syntax has a context of its own; the fallback ones show what a conversion could use
    (and Implicit VR Little Endian is owed to the peer, PS3.5 10.1). A class is never spread over two
    associations unless it alone needs more than 128 contexts.
    """
    classes: dict[str, dict[str, None]] = {}
    for sop_class, syntax in wanted:
        classes.setdefault(sop_class, {})[syntax] = None
    plans: list[tuple[Proposal, ...]] = []
    current: list[Proposal] = []
    for sop_class, syntaxes in classes.items():
        group = [Proposal(sop_class, (syntax,)) for syntax in dict.fromkeys((*syntaxes, *fallback))]
        if current and len(current) + len(group) > pdu.MAX_CONTEXTS:
            plans.append(tuple(current))
            current = []
        while len(group) > pdu.MAX_CONTEXTS:
            plans.append(tuple(group[: pdu.MAX_CONTEXTS]))
            group = group[pdu.MAX_CONTEXTS :]
        current += group
    if current:
        plans.append(tuple(current))
    return plans


def connect(peer: Peer) -> socket.socket:
    """Open the connection, with TLS if the peer has it; raises AssociationError."""
    try:
        sock = socket.create_connection((peer.host, peer.port), timeout=peer.connect_seconds)
    except OSError as error:
        detail = error.strerror or type(error).__name__
        raise AssociationError(PACS_UNREACHABLE, detail, retryable=True) from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if peer.tls is None:
        return sock
    try:
        return peer.tls.wrap_socket(sock, server_hostname=peer.tls_name or peer.host)
    except (ssl.SSLError, ssl.CertificateError) as error:
        sock.close()
        raise AssociationError(TLS_FAILED, type(error).__name__, retryable=False) from error
    except OSError as error:
        sock.close()
        raise AssociationError(PACS_UNREACHABLE, type(error).__name__, retryable=True) from error


def accepted_answer(unit: pdu.Pdu) -> pdu.AssociateAccept:
    """Return the acceptance, or raise what stands for another answer."""
    if isinstance(unit, pdu.AssociateAccept):
        return unit
    if isinstance(unit, pdu.AssociateReject):
        raise _rejected(unit)
    if isinstance(unit, pdu.Abort):
        raise Control(unit)
    raise PduError("unexpected answer to the association request", pdu.ABORT_UNEXPECTED_PDU)


def _rejected(unit: pdu.AssociateReject) -> AssociationError:
    values = (unit.result, unit.source, unit.reason)
    known = next((rejection for rejection in Rejection if rejection.value == values), None)
    words = known.name.lower().replace("_", " ") if known else "result {} source {} reason {}".format(*values)
    return AssociationError(ASSOCIATION_REFUSED, words, retryable=unit.result == 2, rejection=known)


@contextlib.contextmanager
def translated(peer: Peer) -> Iterator[None]:
    """Give the events and errors of a connection their reasons."""
    try:
        yield
    except PduError as error:
        raise AssociationError(DICOM_PROTOCOL, error.detail, retryable=True) from error
    except Control as control:
        ended = isinstance(control.unit, pdu.Abort)
        detail = "the peer aborted" if ended else f"unexpected {control}"
        raise AssociationError(
            PACS_UNREACHABLE if ended else DICOM_PROTOCOL, detail, retryable=True
        ) from control
    except ConnectionEnded as error:
        raise AssociationError(PACS_UNREACHABLE, "the peer closed the connection", retryable=True) from error
    except TimeoutError as error:
        detail = f"no answer within {peer.response_seconds:g} s"
        raise AssociationError(PACS_UNREACHABLE, detail, retryable=True) from error
    except OSError as error:
        raise AssociationError(PACS_UNREACHABLE, type(error).__name__, retryable=True) from error
