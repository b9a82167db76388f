"""The fast C-STORE and C-ECHO client (PS3.4 A, B.2.1, PS3.7 9.3, PS3.8 9).

An object goes out as slices of the mapped file with the headers between them, with one system call per
window of a few MB; acknowledgements are sent at once (see ``Wire.quick_ack``), which makes the difference
between 10 and several hundred MB/s with receivers that write their response in two pieces.
"""

import contextlib
import mmap
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from radpost.dicom import dimse, pdu
from radpost.dicom.connecting import Peer, Proposal, accepted_answer, connect, plan_proposals, translated
from radpost.dicom.meta import Buffer
from radpost.dicom.outcome import AssociationError, Outcome, StoreReply, classify
from radpost.dicom.pdu import PduError
from radpost.dicom.services import VERIFICATION
from radpost.dicom.wire import ConnectionEnded, Control, Wire, command_units, data_vectors
from radpost.errors import (
    NO_COMMON_SYNTAX,
    PACS_UNREACHABLE,
    STORE_UNUSABLE,
    RadpostError,
)

__all__ = [
    "Association",
    "AssociationError",
    "Outcome",
    "Outgoing",
    "Peer",
    "Proposal",
    "StoreReply",
    "classify",
    "plan_proposals",
]

_OUR_MAX_PDU: Final = 1 << 18
_SEND_CEILING: Final = 1 << 20
_WINDOW: Final = 4 << 20
_RELEASE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An object to be stored: a file whose data set starts at ``offset``, or a data set in memory."""

    source: Path | Buffer
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    offset: int = 0


class Association:
    """An open association as requestor; for one thread. Use ``Association.open`` and ``with``."""

    def __init__(self, wire: Wire, peer: Peer, request: pdu.AssociateRequest, answer: pdu.AssociateAccept):
        self.wire = wire
        self.peer = peer
        self._fragment = pdu.fragment_size(answer.user.max_length, _SEND_CEILING)
        self._message_id = 0
        self._open = True
        self.last_used = time.monotonic()
        self.served = 0
        self.peer_implementation = (answer.user.implementation_class_uid, answer.user.implementation_version)
        proposed = {context.id: context for context in request.contexts}
        self._by_id: dict[int, tuple[str, str]] = {}
        self._contexts: dict[tuple[str, str], int] = {}
        for result in answer.results:
            context = proposed.get(result.id)
            if context is None or result.result != pdu.CONTEXT_ACCEPTED:
                continue
            if result.transfer_syntax not in context.transfer_syntaxes:
                continue  # an answer nobody asked for is worth nothing
            self._by_id[result.id] = (context.abstract_syntax, result.transfer_syntax)
            self._contexts.setdefault((context.abstract_syntax, result.transfer_syntax), result.id)

    @classmethod
    def open(cls, peer: Peer, proposals: Sequence[Proposal]) -> Self:
        """Connect and negotiate; raises AssociationError."""
        if len(proposals) > pdu.MAX_CONTEXTS:
            raise ValueError("more than 128 presentation contexts")
        wire = Wire(connect(peer), max_pdu=_OUR_MAX_PDU)
        request = pdu.AssociateRequest(
            called_ae=peer.called_ae,
            calling_ae=peer.calling_ae,
            contexts=tuple(
                pdu.PresentationContext(2 * index + 1, proposal.abstract_syntax, proposal.transfer_syntaxes)
                for index, proposal in enumerate(proposals)
            ),
            user=pdu.UserInformation(
                max_length=_OUR_MAX_PDU,
                roles=tuple(
                    pdu.Role(name, scu=False, scp=True)
                    for name in dict.fromkeys(p.abstract_syntax for p in proposals if p.scp_role)
                ),
            ),
        )
        try:
            with translated(peer):
                wire.deadline = time.monotonic() + peer.acse_seconds
                wire.sock.settimeout(peer.acse_seconds)
                wire.send(request.encode())
                wire.quick_ack()
                answer = accepted_answer(wire.read_unit())
                wire.deadline = None
                wire.sock.settimeout(peer.network_seconds)
        except BaseException:
            wire.close()
            raise
        return cls(wire, peer, request, answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self.release()
        else:
            self.abort()

    @property
    def is_open(self) -> bool:
        """Whether the association can be used as far as we know."""
        return self._open

    @property
    def accepted(self) -> Mapping[str, tuple[str, ...]]:
        """Accepted transfer syntaxes by abstract syntax."""
        found: dict[str, tuple[str, ...]] = {}
        for abstract, syntax in self._contexts:
            found[abstract] = (*found.get(abstract, ()), syntax)
        return found

    def accepts(self, sop_class: str, transfer_syntax: str) -> bool:
        """Say whether an object can go as it is."""
        return (sop_class, transfer_syntax) in self._contexts

    def context(self, abstract_syntax: str, transfer_syntax: str | None = None) -> int:
        """Return the id of an accepted context; raises RadpostError NO_COMMON_SYNTAX."""
        for (abstract, syntax), number in self._contexts.items():
            if abstract == abstract_syntax and transfer_syntax in {None, syntax}:
                return number
        raise RadpostError(NO_COMMON_SYNTAX, "no presentation context was accepted")

    def transfer_syntax(self, context_id: int) -> str:
        """Return the transfer syntax of an accepted context."""
        return self._by_id[context_id][1]

    def next_message_id(self) -> int:
        """Return a message id that is free on this association."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def echo(self) -> int:
        """C-ECHO (PS3.7 9.1.5); returns the status. Needs a context for Verification."""
        context = self.context(VERIFICATION)
        number = self.next_message_id()
        command = dimse.Command(dimse.C_ECHO_RQ, message_id=number, sop_class=VERIFICATION)
        with self.guarded():
            self.wire.send(command_units(context, command, self._fragment))
            return self._response(context, dimse.C_ECHO_RSP, number).status or 0

    def store(
        self,
        item: Outgoing,
        *,
        priority: int = dimse.PRIORITY_MEDIUM,
        originator: tuple[str, int] | None = None,
    ) -> StoreReply:
        """C-STORE one object as it is (PS3.7 9.1.1).

        A data set of odd length, mostly a deflated one, gets the NUL byte that PS3.5 A.5 asks for: receivers
        abort or hang if fragments are not even (PS3.8 D.1). ``StoreReply.padded`` says so.

        Raises:
            RadpostError: NO_COMMON_SYNTAX, the association stays open.
            AssociationError: it ended; the object may or may not have arrived.
            RadpostError: STORE_UNUSABLE, the file cannot be read, the association stays open.
        """
        context = self.context(item.sop_class, item.transfer_syntax)
        number = self.next_message_id()
        command = dimse.Command(
            dimse.C_STORE_RQ,
            message_id=number,
            data_set_type=dimse.DATA_SET,
            sop_class=item.sop_class,
            sop_instance=item.sop_instance,
            priority=priority,
            move_originator_ae=originator[0] if originator else None,
            move_originator_id=originator[1] if originator else None,
        )
        head: list[bytes | memoryview] = [command_units(context, command, self._fragment)]
        window = max(_WINDOW // self._fragment, 1) * self._fragment
        with contextlib.closing(_windows(item, window)) as windows:
            try:
                first = next(windows)  # before a byte is out
            except OSError as error:
                detail = f"an object's file cannot be read: {error.strerror}"
                raise RadpostError(STORE_UNUSABLE, detail) from error
            with self.guarded():
                padded = self._send_data(context, head, first, windows)
                reply = self._response(context, dimse.C_STORE_RSP, number)
        status = reply.status if reply.status is not None else dimse.PROCESSING_FAILURE
        return StoreReply(status, classify(status), reply.error_comment or "", padded)

    def send_message(self, context: int, command: dimse.Command, data: bytes) -> None:
        """Send a command with a small data set (for queries)."""
        with self.guarded():
            vectors: list[bytes | memoryview] = [command_units(context, command, self._fragment)]
            self.wire.send_vectors(
                vectors + data_vectors(context, memoryview(data), self._fragment, last=True)
            )

    def send_response(self, context: int, command: dimse.Command) -> None:
        """Send a response to a request of the peer (C-GET sub-operations)."""
        with self.guarded():
            self.wire.send(command_units(context, command, self._fragment))

    def release(self) -> None:
        """End in order (PS3.8 7.2); what goes wrong here loses nothing and is not reported."""
        if not self._open:
            return
        self._open = False
        with contextlib.suppress(OSError, ConnectionEnded, Control, PduError):
            self.wire.sock.settimeout(_RELEASE_SECONDS)
            self.wire.deadline = time.monotonic() + _RELEASE_SECONDS
            self.wire.send(pdu.ReleaseRequest().encode())
            if isinstance(self.wire.read_unit(), pdu.ReleaseRequest):  # collision (PS3.8 7.2.2)
                self.wire.send(pdu.ReleaseReply().encode())
        self.wire.close()

    def abort(self, source: int = pdu.ABORT_BY_USER, reason: int = 0) -> None:
        """End at once (PS3.8 7.3)."""
        if not self._open:
            return
        self._open = False
        with contextlib.suppress(OSError):
            self.wire.sock.settimeout(1)
            self.wire.send(pdu.Abort(source, reason).encode())
        self.wire.close()

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn whatever ends the association into an AssociationError and close it."""
        if not self._open:
            raise AssociationError(PACS_UNREACHABLE, "the association is closed", retryable=True)
        try:
            with translated(self.peer):
                yield
        except AssociationError as error:
            error.established = True
            if isinstance(error.__cause__, PduError):
                self.abort(pdu.ABORT_BY_PROVIDER, error.__cause__.abort_reason)
            else:
                self.abort()
            raise
        except BaseException:
            self.abort()
            raise
        self.last_used = time.monotonic()
        self.served += 1

    def _send_data(
        self,
        context: int,
        head: list[bytes | memoryview],
        first: tuple[memoryview, bool],
        windows: Iterator[tuple[memoryview, bool]],
    ) -> bool:
        """Send the data set; True if it had to be padded."""
        piece, last = first
        while True:
            odd = len(piece) % 2 == 1
            vectors = head + data_vectors(context, piece, self._fragment, last=last)
            try:
                self.wire.send_vectors(vectors)
            except (BrokenPipeError, ConnectionResetError):
                # The peer's last word may explain why it closed in the middle of an object.
                self._response(context, dimse.C_STORE_RSP, self._message_id)
                raise
            finally:
                vectors.clear()
                piece.release()
            if last:
                return odd
            head = []
            piece, last = next(windows)

    def _response(self, context: int, field: int, number: int) -> dimse.Command:
        self.wire.sock.settimeout(self.peer.response_seconds)
        answered, reply = self.wire.read_quick_command()
        self.wire.sock.settimeout(self.peer.network_seconds)
        if reply.has_data_set:
            raise PduError("response with a data set", pdu.ABORT_UNEXPECTED_PDU)
        if answered != context or reply.field != field or reply.responded_id != number:
            raise PduError("response to another request", pdu.ABORT_UNEXPECTED_PDU)
        return reply


def _windows(item: Outgoing, window: int) -> Generator[tuple[memoryview, bool], None, None]:
    """Yield the data set in windows that are mapped one at a time, so memory stays bounded."""
    if not isinstance(item.source, Path):
        data = memoryview(item.source)[item.offset :]
        for start in range(0, max(len(data), 1), window):
            yield data[start : start + window], start + window >= len(data)
        return
    fd = os.open(item.source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        position, size = item.offset, os.fstat(fd).st_size
        if position >= size:
            yield memoryview(b""), True
        while position < size:
            take = min(window, size - position)
            skip = position % mmap.ALLOCATIONGRANULARITY
            mapped = mmap.mmap(
                fd,
                take + skip,
                flags=mmap.MAP_SHARED | mmap.MAP_POPULATE,
                prot=mmap.PROT_READ,
                offset=position - skip,
            )
            try:
                yield memoryview(mapped)[skip:], position + take == size
            finally:
                # After a failure the traceback still holds slices; the map then goes with them.
                with contextlib.suppress(BufferError):
                    mapped.close()
            position += take
    finally:
        os.close(fd)
