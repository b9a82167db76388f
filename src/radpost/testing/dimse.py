"""Fakes of both ends of a DICOM association: a handler that records, and peers that follow a script.

``converse`` plays the requestor against a real server, ``ScriptedScp`` the acceptor against a real client.
What comes back is told in short lines, so that a test compares a list of lines.
"""

import socket
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from radpost.dicom import dimse, pdu
from radpost.dicom.access import Accept, Reject
from radpost.dicom.incoming import IncomingObject, StoreContext
from radpost.dicom.services import EXPLICIT_LE, IMPLICIT_LE
from radpost.dicom.session import AssociationInfo

CT: Final = "1.2.840.10008.5.1.4.1.1.2"
PATIENCE: Final = 10.0


@dataclass(slots=True)
class RecordingHandler:
    """Admits everybody (or whom ``admit`` does), keeps what comes, and writes down what happened."""

    directory: Path
    status: Callable[[StoreContext, IncomingObject], int] = lambda _context, _data: dimse.SUCCESS
    admit: Callable[[str, str, str], Accept | Reject] = lambda _calling, called, _address: Accept(called)
    events: list[str] = field(default_factory=list)
    received: list[tuple[AssociationInfo, StoreContext, IncomingObject]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def associate(self, calling_ae: str, called_ae: str, peer_address: str) -> Accept | Reject:
        """Decide as ``admit`` says."""
        answer = self.admit(calling_ae, called_ae, peer_address)
        words = "accept" if isinstance(answer, Accept) else f"reject {answer.reason.name}"
        self._note(f"associate {calling_ae} -> {called_ae}: {words}")
        return answer

    def store(self, association: AssociationInfo, context: StoreContext, data: IncomingObject) -> int:
        """Answer as ``status`` says."""
        status = self.status(context, data)
        self.received.append((association, context, data))
        self._note(f"store {status:04X}")
        return status

    def released(self, association: AssociationInfo) -> None:
        """Note the end."""
        self._note(f"released {association.calling_ae}")

    def aborted(self, association: AssociationInfo) -> None:
        """Note the end."""
        self._note(f"aborted {association.calling_ae}")

    def wait_for(self, event: str, count: int = 1) -> None:
        """Wait until an event starting so was noted so often; AssertionError if it was not."""

        def seen() -> bool:
            return sum(line.startswith(event) for line in self.events) >= count

        with self.changed:
            assert self.changed.wait_for(seen, PATIENCE), f"no {event!r} in {self.events}"

    def _note(self, event: str) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()


def data_set(
    sop_instance: str = "1.2.3.4",
    *,
    sop_class: str = CT,
    study: str = "1.2.3",
    series: str = "1.2.3.1",
    pixels: int = 0,
) -> bytes:
    """Return a small data set in Explicit VR Little Endian."""

    def uid(group: int, element: int, value: str) -> bytes:
        raw = value.encode() + b"\0" * (len(value) % 2)
        return struct.pack("<HH2sH", group, element, b"UI", len(raw)) + raw

    parts = [uid(8, 0x16, sop_class), uid(8, 0x18, sop_instance)]
    parts += [uid(0x20, 0x0D, study), uid(0x20, 0x0E, series)]
    if pixels:
        parts.append(struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, pixels) + bytes(pixels))
    return b"".join(parts)


def request(
    *,
    called: str = "PARTNER",
    calling: str = "MODALITY",
    contexts: Sequence[tuple[str, Sequence[str]]] = ((CT, (EXPLICIT_LE,)),),
) -> pdu.AssociateRequest:
    """Return an association request with contexts 1, 3, 5 ..."""
    return pdu.AssociateRequest(
        called,
        calling,
        tuple(
            pdu.PresentationContext(2 * index + 1, abstract, tuple(syntaxes))
            for index, (abstract, syntaxes) in enumerate(contexts)
        ),
    )


def command_unit(command: dimse.Command, context: int = 1) -> bytes:
    """Return a command as one P-DATA-TF."""
    data = dimse.encode(command)
    return pdu.data_header(context, len(data), command=True, last=True) + data


def data_unit(data: bytes, context: int = 1, *, last: bool = True) -> bytes:
    """Return (a part of) a data set as one P-DATA-TF."""
    return pdu.data_header(context, len(data), command=False, last=last) + data


def store_command(sop_instance: str = "1.2.3.4", sop_class: str = CT, message_id: int = 1) -> dimse.Command:
    """Return a C-STORE-RQ."""
    return dimse.Command(
        dimse.C_STORE_RQ,
        message_id=message_id,
        data_set_type=dimse.DATA_SET,
        sop_class=sop_class,
        sop_instance=sop_instance,
        priority=0,
    )


def read_unit(sock: socket.socket) -> str:
    """Read one unit from a socket and tell it in a line."""
    header = _exactly(sock, 6)
    if not header:
        return "closed"
    kind, length = pdu.HEADER.unpack(header)
    return tell(kind, _exactly(sock, length))


def tell(kind: int, body: bytes) -> str:
    """Tell a unit in a line."""
    if kind == pdu.P_DATA_TF:
        _, context, control = pdu.PDV_HEADER.unpack_from(body)
        if not control & pdu.COMMAND_FRAGMENT:
            return f"data {context}: {len(body) - 6} bytes" + (" last" if control & 2 else "")
        command = dimse.decode(body[6:])
        words = f"command {context}: {command.field:04X}"
        return words if command.status is None else f"{words} {command.status:04X}"
    return _tell_control(pdu.decode(kind, body))


def _tell_control(unit: pdu.Pdu) -> str:
    match unit:
        case pdu.AssociateAccept():
            words = "accept " + " ".join(f"{r.id}:{r.result}:{r.transfer_syntax}" for r in unit.results)
        case pdu.AssociateReject():
            words = f"reject {unit.result} {unit.source} {unit.reason}"
        case pdu.Abort():
            words = f"abort {unit.source} {unit.reason}"
        case pdu.ReleaseRequest():
            words = "release request"
        case pdu.ReleaseReply():
            words = "release reply"
        case _:
            words = "associate request"
    return words


def converse(port: int, *steps: bytes | None) -> list[str]:
    """Send each step and tell what comes back to it; None closes the connection.

    A step that is not answered at once stands before the one that is: join their bytes.
    """
    lines: list[str] = []
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        for step in steps:
            if step is None:
                break
            with suppress(ConnectionError):
                sock.sendall(step)
            try:
                lines.append(read_unit(sock))
            except ConnectionError:
                lines.append("reset")
    return lines


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            break
        data += piece
    return bytes(data)


class ScriptedScp:
    """An acceptor that accepts every context and then answers each message by the next step of its script.

    A step is the bytes to send, a DIMSE status to respond with, or None to close the connection.
    ``accept`` may be replaced by any other answer to the request; ``early`` is sent behind the first
    fragment of a data set, and the connection closed.
    """

    def __init__(
        self,
        *steps: bytes | int | None,
        accept: bytes | None = None,
        max_length: int = 16384,
        syntaxes: Sequence[str] | None = None,
        early: bytes = b"",
    ) -> None:
        self._early = early
        self._steps = list(steps)
        self._accept = accept
        self._max_length = max_length
        self._syntaxes = syntaxes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.lines: list[str] = []
        self.requests: list[pdu.AssociateRequest] = []
        self.data: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)

    def _serve(self) -> None:
        while True:
            try:
                sock = self._listener.accept()[0]
            except OSError:
                return
            with sock, suppress(OSError, pdu.PduError):
                sock.settimeout(PATIENCE)
                self._talk(sock)

    def _talk(self, sock: socket.socket) -> None:
        header = _exactly(sock, 6)
        if not header:
            return
        request = pdu.decode(header[0], _exactly(sock, pdu.HEADER.unpack(header)[1]))
        assert isinstance(request, pdu.AssociateRequest)
        self.requests.append(request)
        sock.sendall(self._accept or self._answer(request).encode())
        data = bytearray()
        command: dimse.Command | None = None
        while header := _exactly(sock, 6):
            kind, length = pdu.HEADER.unpack(header)
            body = _exactly(sock, length)
            self.lines.append(tell(kind, body))
            if kind == pdu.RELEASE_RQ:
                sock.sendall(pdu.ReleaseReply().encode())
                return
            if kind != pdu.P_DATA_TF:
                return
            control = body[5]
            if control & pdu.COMMAND_FRAGMENT:
                command = dimse.decode(body[6:])
            else:
                data += body[6:]
                if self._early:
                    sock.sendall(self._early)
                    return
            ends = control & pdu.LAST_FRAGMENT and not (
                control & pdu.COMMAND_FRAGMENT and command and command.has_data_set
            )
            if ends and command is not None:
                self.data.append(bytes(data))
                data.clear()
                if not self._respond(sock, body[4], command):
                    return

    def _respond(self, sock: socket.socket, context: int, command: dimse.Command) -> bool:
        step = self._steps.pop(0) if self._steps else 0
        if step is None:
            return False
        sock.sendall(step if isinstance(step, bytes) else command_unit(dimse.respond(command, step), context))
        return True

    def _answer(self, request: pdu.AssociateRequest) -> pdu.AssociateAccept:
        results = []
        for context in request.contexts:
            syntax = context.transfer_syntaxes[0]
            taken = self._syntaxes is None or syntax in self._syntaxes
            results.append(pdu.ContextResult(context.id, 0 if taken else 4, syntax))
        user = pdu.UserInformation(max_length=self._max_length)
        return pdu.AssociateAccept(request.called_ae, request.calling_ae, tuple(results), user)


class Tap:
    """A relay that keeps what each side sends: the witness of what was on the wire."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.streams: list[bytearray] = []
        self.answers: list[bytearray] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def data_sets(self) -> list[bytes]:
        """Return the data sets the requestor sent, put together from the fragments (PS3.8 E)."""
        return [data for stream in self.streams for data in _data_sets(bytes(stream))]

    def answered_data_sets(self) -> list[bytes]:
        """Return the data sets that came from the acceptor (C-GET)."""
        return [data for stream in self.answers for data in _data_sets(bytes(stream))]

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self._target))
                self.streams.append(bytearray())
                self.answers.append(bytearray())
                for source, drain, kept in (
                    (near, far, self.streams[-1]),
                    (far, near, self.answers[-1]),
                ):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=_relay, args=(source, drain, kept), daemon=True).start()


def _relay(source: socket.socket, drain: socket.socket, kept: bytearray) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            kept += piece
            drain.sendall(piece)
        drain.shutdown(socket.SHUT_WR)


def _data_sets(stream: bytes) -> list[bytes]:
    found, current, at = [], bytearray(), 0
    while at + 6 <= len(stream):
        kind, length = pdu.HEADER.unpack_from(stream, at)
        end = at + 6 + length
        at += 6
        while kind == pdu.P_DATA_TF and at < end:
            size, _, control = pdu.PDV_HEADER.unpack_from(stream, at)
            if not control & pdu.COMMAND_FRAGMENT:
                current += stream[at + 6 : at + 4 + size]
                if control & pdu.LAST_FRAGMENT:
                    found.append(bytes(current))
                    current.clear()
            at += 4 + size
        at = end
    return found


__all__ = [
    "CT",
    "EXPLICIT_LE",
    "IMPLICIT_LE",
    "RecordingHandler",
    "ScriptedScp",
    "Tap",
    "command_unit",
    "converse",
    "data_set",
    "data_unit",
    "read_unit",
    "request",
    "store_command",
    "tell",
]
