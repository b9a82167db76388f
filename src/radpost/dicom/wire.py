"""One connection of the upper layer: units and messages over a blocking socket (PS3.8 9.2, 9.3.5, E).

What arrives as P-DATA-TF is received straight into the place it is needed in: the payload of a fragment
into the buffer of the object, the header of the next fragment (twelve bytes) into a small buffer beside
it, with one system call for both. So an object of many fragments is contiguous without being copied.
"""

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from radpost.dicom import dimse, pdu
from radpost.dicom.pdu import PduError

_AHEAD: Final = 12
_MAX_COMMAND: Final = 1 << 14
_MAX_COMMAND_FRAGMENTS: Final = 256
_PDU_SLACK: Final = 64
"""Some senders count the headers of fragments out of the maximum length; a few bytes more are forgiven."""

_VECTORS: Final = 512
_SMALL_BUFFER: Final = 1 << 14
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)


class ConnectionEnded(Exception):  # noqa: N818  the peer went away: an event, not a fault of ours
    """The peer closed the connection without A-RELEASE or A-ABORT."""


class Control(Exception):  # noqa: N818  an event of the protocol
    """A unit that is no P-DATA-TF came (release, abort, or one that does not belong here)."""

    def __init__(self, unit: pdu.Pdu) -> None:
        super().__init__(type(unit).__name__)
        self.unit = unit


class Sink(Protocol):
    """Takes the data set of a message in pieces, in buffers of its own."""

    def space(self) -> memoryview:
        """Return the buffer for the next piece."""

    def write(self, piece: memoryview, /) -> None:
        """Take the next piece: the filled part of the buffer."""

    def idle(self) -> bool:
        """Use a moment in which nothing arrives; False if there is nothing to do."""


class Discard:
    """A sink for data sets that nobody wants; ends the association when there is too much of it."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._buffer = memoryview(bytearray(_SMALL_BUFFER))

    def space(self) -> memoryview:
        """Return the only buffer."""
        return self._buffer

    def idle(self) -> bool:
        """Have nothing to do."""
        return False

    def write(self, piece: memoryview) -> None:
        """Count the piece and forget it."""
        self._left -= len(piece)
        if self._left < 0:
            raise PduError("data set is larger than allowed")


class Wire:
    """Reads and writes units; ``max_pdu`` is what we announced."""

    def __init__(self, sock: socket.socket, *, max_pdu: int) -> None:
        self.sock = sock
        self._plain = not isinstance(sock, ssl.SSLSocket)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._idle: Callable[[], bool] | None = None
        self._limit = max_pdu + _PDU_SLACK
        self._ahead = bytearray(_AHEAD)
        self._ahead_view = memoryview(self._ahead)
        self._ahead_from = 0
        self._ahead_to = 0
        self._unit_left = 0
        self._head = bytearray(_AHEAD)
        self._head_view = memoryview(self._head)
        self.deadline: float | None = None
        self.waiting = False

    # Receiving

    def read_unit(self, max_length: int = pdu.MAX_ASSOCIATE_LENGTH) -> pdu.Pdu:
        """Read one unit that is not P-DATA-TF."""
        kind, length = self._read_header()
        if kind == pdu.P_DATA_TF:
            raise PduError("data outside an association", pdu.ABORT_UNEXPECTED_PDU)
        return self._read_body(kind, length, max_length)

    def read_command(self) -> tuple[int, dimse.Command]:
        """Read the next command; returns context id and command, raises Control for other units.

        A data set that the command announces has to be taken by ``read_data`` before the next command.
        """
        collected = bytearray()
        context = -1
        for _ in range(_MAX_COMMAND_FRAGMENTS):
            self.waiting = not collected
            fragment_context, control, length = self._next_fragment()
            self.waiting = False
            if not control & pdu.COMMAND_FRAGMENT:
                raise PduError("data set without command", pdu.ABORT_UNEXPECTED_PDU)
            if context not in {-1, fragment_context} or len(collected) + length > _MAX_COMMAND:
                raise PduError("command is broken")
            context = fragment_context
            piece = bytearray(length)
            self._fill(memoryview(piece))
            collected += piece
            if control & pdu.LAST_FRAGMENT:
                return context, dimse.decode(bytes(collected))
        raise PduError("command has too many fragments")

    def read_data(self, context: int, sink: Sink) -> None:
        """Read the data set that follows a command, into the sink."""
        self._idle = sink.idle if self._plain else None
        try:
            self._read_data(context, sink)
        finally:
            self._idle = None

    def _read_data(self, context: int, sink: Sink) -> None:
        buffer, used = sink.space(), 0
        size = len(buffer)
        while True:
            fragment_context, control, length = self._next_fragment()
            if fragment_context != context or control & pdu.COMMAND_FRAGMENT:
                raise PduError("message is interleaved with another", pdu.ABORT_UNEXPECTED_PDU)
            while length:
                step = min(length, size - used)
                self._fill(buffer[used : used + step])
                used += step
                length -= step
                if used == size or (not length and used >= size - size // 4):
                    # Better at the end of a unit than in the middle: one call receives a whole one.
                    sink.write(buffer[:used])
                    buffer, used = sink.space(), 0
            if control & pdu.LAST_FRAGMENT:
                break
        if used:
            sink.write(buffer[:used])

    def _next_fragment(self) -> tuple[int, int, int]:
        """Return context, control byte and payload length of the next PDV (PS3.8 9.3.5.1)."""
        while not self._unit_left:
            kind, length = self._read_header()
            if kind != pdu.P_DATA_TF:
                raise Control(self._read_body(kind, length, pdu.MAX_ASSOCIATE_LENGTH))
            if length > self._limit:
                raise PduError("unit is longer than agreed")
            self._unit_left = length
        if self._unit_left < 6:
            raise PduError("fragment is cut off")
        self._fill(self._head_view[:6])
        length, context, control = pdu.PDV_HEADER.unpack_from(self._head)
        if length < 2 or length + 4 > self._unit_left:
            raise PduError("fragment does not fit its unit")
        self._unit_left -= length + 4
        return context, control, length - 2

    def _read_header(self) -> tuple[int, int]:
        self._fill(self._head_view[:6])
        kind, length = pdu.HEADER.unpack_from(self._head)
        if not pdu.ASSOCIATE_RQ <= kind <= pdu.ABORT:
            raise PduError("this is not DICOM", pdu.ABORT_UNRECOGNIZED_PDU)
        return kind, length

    def _read_body(self, kind: int, length: int, max_length: int) -> pdu.Pdu:
        if length > max_length:
            raise PduError("unit is too long")
        body = bytearray(length)
        self._fill(memoryview(body))
        return pdu.decode(kind, bytes(body))

    def _fill(self, view: memoryview) -> None:
        """Receive exactly so many bytes, and up to twelve more into the read-ahead."""
        done, want = 0, len(view)
        have = self._ahead_to - self._ahead_from
        if have:
            done = min(have, want)
            view[:done] = self._ahead_view[self._ahead_from : self._ahead_from + done]
            self._ahead_from += done
        if done == want:
            return
        self._ahead_from = self._ahead_to = 0
        while done < want:
            self._check_deadline()
            self.quick_ack()
            if self._idle is not None:
                while not self._poll.poll(0) and self._idle():
                    pass
            if self._plain:
                got = self.sock.recvmsg_into((view[done:], self._ahead_view))[0]
            else:
                got = self.sock.recv_into(view[done:])
            if not got:
                raise ConnectionEnded
            done += got
        self._ahead_to = done - want

    def _check_deadline(self) -> None:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise TimeoutError

    # Sending

    def send(self, data: bytes) -> None:
        """Send bytes at once."""
        self.sock.sendall(data)

    def send_command(self, context: int, command: dimse.Command, fragment: int) -> None:
        """Send a command, in one unit unless the peer's maximum is tiny."""
        self.send(command_units(context, command, fragment))

    def send_vectors(self, vectors: Sequence[bytes | memoryview]) -> None:
        """Send many pieces with as few system calls as possible, without joining them on a plain socket."""
        if not self._plain:
            for group in _grouped(vectors):
                self.sock.sendall(group)
            return
        start, offset = 0, 0
        while start < len(vectors):
            batch = list(vectors[start : start + _VECTORS])
            if offset:
                batch[0] = memoryview(batch[0])[offset:]
            sent = self.sock.sendmsg(batch)
            for piece in batch:
                if sent < len(piece):
                    break
                sent -= len(piece)
                start += 1
                offset = 0
            offset += sent

    def quick_ack(self) -> None:
        """Have the kernel acknowledge at once.

        A peer that writes a header and its content, or the halves of a response, in two small pieces waits
        with the second for the acknowledgement of the first (Nagle), which a delaying kernel holds back for
        40 ms. The option does not last: it is set before every wait for data, and again behind the first
        bytes of every response.
        """
        if _QUICKACK is not None:
            self.sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def read_quick_command(self) -> tuple[int, dimse.Command]:
        """Read a response with the acknowledgements sent at once."""
        self.quick_ack()
        if self._plain and not self._unit_left and self._ahead_from == self._ahead_to:
            got = self.sock.recv_into(self._ahead_view[:6])
            if not got:
                raise ConnectionEnded
            self._ahead_from, self._ahead_to = 0, got
            self.quick_ack()
        return self.read_command()

    # The end

    def linger(self, seconds: float) -> None:
        """Wait for the peer to close, so that a reset does not destroy our last word (PS3.8 9.1.5)."""
        with contextlib.suppress(OSError, ValueError):
            end = time.monotonic() + seconds
            socket.socket.shutdown(self.sock, socket.SHUT_WR)
            raw = bytearray(1 << 16)
            while (left := end - time.monotonic()) > 0:
                self.sock.settimeout(left)
                if not socket.socket.recv_into(self.sock, raw):
                    break

    def close(self) -> None:
        """Close the socket."""
        with contextlib.suppress(OSError):
            self.sock.close()


def command_units(context: int, command: dimse.Command, fragment: int) -> bytes:
    """Return the P-DATA-TF units of a command."""
    data = dimse.encode(command)
    pieces = [data[start : start + fragment] for start in range(0, len(data), fragment)]
    return b"".join(
        pdu.data_header(context, len(piece), command=True, last=index == len(pieces) - 1) + piece
        for index, piece in enumerate(pieces)
    )


def data_vectors(context: int, data: memoryview, fragment: int, *, last: bool) -> list[bytes | memoryview]:
    """Return headers and slices of the units of (a part of) a data set, without copying it.

    The last fragment is made even by a NUL byte (PS3.5 A.5, PS3.8 D.1).
    """
    vectors: list[bytes | memoryview] = []
    size = len(data)
    full = pdu.data_header(context, fragment, command=False, last=False)
    whole = (size - 1) // fragment
    for index in range(whole):
        vectors += (full, data[index * fragment : (index + 1) * fragment])
    rest = data[whole * fragment :]
    pad = b"\0" * (len(rest) % 2) if last else b""
    vectors += (pdu.data_header(context, len(rest) + len(pad), command=False, last=last), rest)
    if pad:
        vectors.append(pad)
    return vectors


def _grouped(vectors: Sequence[bytes | memoryview], size: int = 1 << 16) -> Iterator[bytes]:
    """Join small pieces for TLS, which copies anyway and would make a record of each."""
    pending: list[bytes | memoryview] = []
    length = 0
    for piece in vectors:
        pending.append(piece)
        length += len(piece)
        if length >= size:
            yield b"".join(pending)
            pending, length = [], 0
    if pending:
        yield b"".join(pending)
