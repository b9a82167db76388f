"""One association from the acceptor's side: negotiation, C-ECHO, C-STORE.

PS3.8 9.2; PS3.7 9; PS3.4 A and B.2.2.
"""

import logging
import secrets
import socket
import ssl
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from radpost.dicom import dimse, pdu
from radpost.dicom.access import Accept, Reject, Rejection
from radpost.dicom.digest import Digester
from radpost.dicom.incoming import IncomingObject, ObjectWriter, Refusal, StoreContext
from radpost.dicom.pdu import PduError
from radpost.dicom.services import VERIFICATION, choose_transfer_syntax, is_storage
from radpost.dicom.wire import ConnectionEnded, Control, Discard, Wire, command_units

_LOG = logging.getLogger(__name__)
_SMALL_DATA: Final = 1 << 20
_OUR_UNIT: Final = 16384
_ACCEPTED: Final = frozenset({dimse.SUCCESS})


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How the storage SCP listens and what it bounds; on loopback until configured."""

    host: str = "127.0.0.1"
    port: int = 11112
    max_pdu: int = 1 << 18
    max_associations: int = 32
    max_per_address: int = 16
    max_object: int = 8 << 30
    artim_seconds: float = 30.0
    network_seconds: float = 60.0
    idle_seconds: float = 300.0
    object_seconds: float = 3600.0
    tls: ssl.SSLContext | None = None
    chunk: int = 144 << 10
    sync: bool = True
    """Make an object's content durable before it is handed over, while it is still being hashed."""


@dataclass(frozen=True, slots=True)
class AssociationInfo:
    """An open association, as the handler sees it."""

    id: str
    calling_ae: str
    called_ae: str
    address: str
    partner: str
    implementation_class_uid: str
    implementation_version: str
    tls: bool


class Handler(Protocol):
    """What the owner of the server decides; called from the threads of the associations."""

    @property
    def directory(self) -> Path:
        """Where arriving objects are written, under random names."""

    def associate(self, calling_ae: str, called_ae: str, peer_address: str) -> Accept | Reject:
        """Admit or refuse an association."""

    def store(self, association: AssociationInfo, context: StoreContext, data: IncomingObject) -> int:
        """Take an object and return the DIMSE status; the file is removed unless it is a success.

        ``data.path`` belongs to the handler from a status of success or warning on. The success goes out
        when this returns, so the data must be durable by then (DESIGN invariant 1).
        """

    def released(self, association: AssociationInfo) -> None:
        """The association has ended in order."""

    def aborted(self, association: AssociationInfo) -> None:
        """The association has ended in any other way; what was answered with success stays stored."""


def is_kept(status: int) -> bool:
    """Say whether a C-STORE status means that the object is stored (PS3.4 B.2.3: 0000H and Bxxx)."""
    return status in _ACCEPTED or 0xB000 <= status <= 0xBFFF


class Session:
    """Runs one association to its end in the calling thread."""

    def __init__(self, sock: socket.socket, address: str, config: ServerConfig, handler: Handler) -> None:
        self._sock = sock
        self._address = address
        self._config = config
        self._handler = handler
        self._wire: Wire | None = None
        self._contexts: dict[int, tuple[str, str]] = {}
        self._fragment = _OUR_UNIT
        self._digester = Digester(config.chunk)
        self._stopping = threading.Event()

    def run(self, *, congested: bool = False) -> None:
        """Serve the association; never raises for what a peer does."""
        association: AssociationInfo | None = None
        released = False
        try:
            self._wire = self._connect()
            association = self._negotiate(self._wire, congested=congested)
            if association is not None:
                released = self._serve(self._wire, association)
        except PduError as error:
            _LOG.warning("association from %s aborted: %s", self._address, error.detail)
            self._abort(pdu.ABORT_BY_PROVIDER, error.abort_reason)
        except ConnectionEnded:
            _LOG.info("connection from %s closed by the peer", self._address)
        except TimeoutError:
            _LOG.warning("association from %s timed out", self._address)
            self._abort(pdu.ABORT_BY_PROVIDER, 0)
        except OSError as error:
            _LOG.info("connection from %s lost: %s", self._address, type(error).__name__)
        except Exception as error:  # noqa: BLE001  a fault of ours ends this association, no other
            _LOG.error("association from %s failed inside: %s", self._address, _where(error))
            self._abort(pdu.ABORT_BY_PROVIDER, 0)
        finally:
            if self._wire is not None:
                self._wire.close()
            self._sock.close()
            self._digester.close()
        if association is not None:
            self._ended(association, released=released)

    def stop(self) -> None:
        """Ask the session to end: at once if it waits for a command, else behind the present object."""
        self._stopping.set()
        if self._wire is not None and self._wire.waiting:
            self.interrupt()

    def interrupt(self) -> None:
        """Wake the session's thread: its next read sees the end of the connection."""
        try:
            # Not SSLSocket.shutdown: that drops the cipher and would let a late answer out in clear.
            socket.socket.shutdown(self._sock, socket.SHUT_RD)
        except OSError:
            _LOG.debug("connection was closed already")

    def _connect(self) -> Wire:
        config = self._config
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._sock.settimeout(config.artim_seconds)
        if config.tls is not None:
            self._sock = config.tls.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
            assert isinstance(self._sock, ssl.SSLSocket)
            self._sock.do_handshake()
        return Wire(self._sock, max_pdu=config.max_pdu)

    # Negotiation

    def _negotiate(self, wire: Wire, *, congested: bool) -> AssociationInfo | None:
        """Answer the request (ARTIM runs meanwhile, PS3.8 9.1.5); None if it is refused."""
        wire.deadline = time.monotonic() + self._config.artim_seconds
        request = wire.read_unit()
        if not isinstance(request, pdu.AssociateRequest):
            raise PduError("no association was requested", pdu.ABORT_UNEXPECTED_PDU)
        answer = self._decide(request, congested=congested)
        if isinstance(answer, Reject):
            _LOG.warning("association from %s refused: %s", self._address, answer.reason.explanation.name)
            wire.send(answer.reason.unit().encode())
            wire.linger(2)
            return None
        results = tuple(self._answer(context) for context in request.contexts)
        roles = tuple(pdu.Role(role.sop_class, role.scu, scp=False) for role in request.user.roles)
        user = pdu.UserInformation(max_length=self._config.max_pdu, roles=roles)
        accept = pdu.AssociateAccept(request.called_ae, request.calling_ae, results, user)
        self._fragment = pdu.fragment_size(request.user.max_length, _OUR_UNIT)
        wire.deadline = None
        wire.send(accept.encode())
        return AssociationInfo(
            id=secrets.token_hex(8),
            calling_ae=request.calling_ae,
            called_ae=request.called_ae,
            address=self._address,
            partner=answer.partner,
            implementation_class_uid=request.user.implementation_class_uid,
            implementation_version=request.user.implementation_version,
            tls=isinstance(self._sock, ssl.SSLSocket),
        )

    def _decide(self, request: pdu.AssociateRequest, *, congested: bool) -> Accept | Reject:
        if not request.protocol_version & 1:
            return Reject(Rejection.PROTOCOL_VERSION)
        if request.application_context != pdu.APPLICATION_CONTEXT:
            return Reject(Rejection.APPLICATION_CONTEXT)
        if congested:
            return Reject(Rejection.CONGESTION)
        try:
            return self._handler.associate(request.calling_ae, request.called_ae, self._address)
        except Exception as error:  # noqa: BLE001  any fault of the owner is an answer, not an end
            _LOG.error("the decision about an association failed: %s", _where(error))
            return Reject(Rejection.NOT_NOW)

    def _answer(self, context: pdu.PresentationContext) -> pdu.ContextResult:
        known = context.abstract_syntax == VERIFICATION or is_storage(context.abstract_syntax)
        offered = tuple(uid for uid in context.transfer_syntaxes if uid)
        if not known:
            syntax = offered[0] if offered else ""
            return pdu.ContextResult(context.id, pdu.CONTEXT_ABSTRACT_SYNTAX_REFUSED, syntax)
        if not offered:
            return pdu.ContextResult(context.id, pdu.CONTEXT_TRANSFER_SYNTAX_REFUSED, "")
        syntax = choose_transfer_syntax(offered)
        self._contexts[context.id] = (context.abstract_syntax, syntax)
        return pdu.ContextResult(context.id, pdu.CONTEXT_ACCEPTED, syntax)

    # Messages

    def _serve(self, wire: Wire, association: AssociationInfo) -> bool:
        """Serve messages until the association ends; True if it was released."""
        while True:
            if self._stopping.is_set():
                self._abort(pdu.ABORT_BY_USER, 0)
                return False
            self._sock.settimeout(self._config.idle_seconds)
            wire.deadline = None
            try:
                context_id, command = wire.read_command()
            except Control as control:
                return self._control(wire, control.unit)
            except ConnectionEnded:
                if self._stopping.is_set():
                    self._abort(pdu.ABORT_BY_USER, 0)
                raise
            self._sock.settimeout(self._config.network_seconds)
            wire.deadline = time.monotonic() + self._config.object_seconds
            if context_id not in self._contexts:
                raise PduError("message on a context that was not accepted")
            try:
                response = self._dispatch(wire, association, context_id, command)
            except Control as control:
                return self._control(wire, control.unit)
            if response is not None:
                wire.send(command_units(context_id, response, self._fragment))

    def _control(self, wire: Wire, unit: pdu.Pdu) -> bool:
        if isinstance(unit, pdu.ReleaseRequest):
            wire.send(pdu.ReleaseReply().encode())
            wire.linger(2)
            return True
        if isinstance(unit, pdu.Abort):
            _LOG.info("association aborted by %s", self._address)
            return False
        raise PduError("unit does not belong into an association", pdu.ABORT_UNEXPECTED_PDU)

    def _dispatch(
        self, wire: Wire, association: AssociationInfo, context_id: int, command: dimse.Command
    ) -> dimse.Command | None:
        if command.field == dimse.C_STORE_RQ:
            return self._store(wire, association, context_id, command)
        if command.has_data_set:
            wire.read_data(context_id, Discard(_SMALL_DATA))
        if command.field == dimse.C_CANCEL_RQ:
            return None  # nothing of ours runs long enough to be cancelled (PS3.7 9.3.2.3)
        if command.field & dimse.RESPONSE_BIT:
            raise PduError("response without a request", pdu.ABORT_UNEXPECTED_PDU)
        if command.field == dimse.C_ECHO_RQ:
            return dimse.respond(command, dimse.SUCCESS)
        if command.field == dimse.N_ACTION_RQ:
            # Storage commitment is refused until it can be honoured (DESIGN 12).
            return dimse.respond(command, dimse.SOP_CLASS_NOT_SUPPORTED)
        return dimse.respond(command, dimse.UNRECOGNIZED_OPERATION)

    def _store(
        self, wire: Wire, association: AssociationInfo, context_id: int, command: dimse.Command
    ) -> dimse.Command:
        if not command.has_data_set:
            return dimse.respond(command, dimse.CANNOT_UNDERSTAND, comment="no data set")
        abstract_syntax, transfer_syntax = self._contexts[context_id]
        if abstract_syntax == VERIFICATION:
            wire.read_data(context_id, Discard(self._config.max_object))
            return dimse.respond(command, dimse.SOP_CLASS_NOT_SUPPORTED)
        context = StoreContext(
            command.sop_class or "",
            command.sop_instance or "",
            transfer_syntax,
            command.move_originator_ae,
            command.move_originator_id,
        )
        writer = ObjectWriter(
            self._handler.directory,
            context,
            self._digester,
            max_size=self._config.max_object,
            sync=self._config.sync,
        )
        kept = False
        try:
            wire.read_data(context_id, writer)
            outcome = writer.finish()
            if isinstance(outcome, Refusal):
                _LOG.warning("object from %s refused: %s", self._address, outcome.comment)
                return dimse.respond(command, outcome.status, comment=outcome.comment)
            status = self._hand_over(association, context, outcome)
            kept = is_kept(status)
        finally:
            if kept:
                writer.close()
            else:
                writer.discard()
        return dimse.respond(command, status)

    def _hand_over(self, association: AssociationInfo, context: StoreContext, data: IncomingObject) -> int:
        try:
            return self._handler.store(association, context, data)
        except Exception as error:  # noqa: BLE001  any fault of the owner is an answer, not an end
            _LOG.error("storing an object failed inside: %s", _where(error))
            return dimse.PROCESSING_FAILURE

    # The end

    def _abort(self, source: int, reason: int) -> None:
        if self._wire is None:
            return
        try:
            self._sock.settimeout(5)
            self._wire.send(pdu.Abort(source, reason).encode())
        except OSError:
            _LOG.debug("the abort did not get out")
        else:
            self._wire.linger(2)

    def _ended(self, association: AssociationInfo, *, released: bool) -> None:
        try:
            if released:
                self._handler.released(association)
            else:
                self._handler.aborted(association)
        except Exception as error:  # noqa: BLE001  the association is over in any case
            _LOG.error("the end of an association was not taken notice of: %s", _where(error))


def _where(error: BaseException) -> str:
    """Return kind and place of a fault; its text is left out because it could carry patient data."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return type(error).__name__ + place
