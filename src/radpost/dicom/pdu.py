"""The upper layer's protocol data units, sans-I/O (PS3.8 9.3).

Associations of hostile peers are read with limits on size and count; what a peer adds to the user
information and we do not use (asynchronous operations, extended negotiation, user identity) is skipped.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from radpost.dicom.meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from radpost.errors import DICOM_PROTOCOL, RadpostError

ASSOCIATE_RQ: Final = 0x01
ASSOCIATE_AC: Final = 0x02
ASSOCIATE_RJ: Final = 0x03
P_DATA_TF: Final = 0x04
RELEASE_RQ: Final = 0x05
RELEASE_RP: Final = 0x06
ABORT: Final = 0x07

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"

CONTEXT_ACCEPTED: Final = 0
CONTEXT_ABSTRACT_SYNTAX_REFUSED: Final = 3
CONTEXT_TRANSFER_SYNTAX_REFUSED: Final = 4

MAX_CONTEXTS: Final = 128
MAX_ASSOCIATE_LENGTH: Final = 1 << 18
"""No honest A-ASSOCIATE is larger: 128 contexts of 20 transfer syntaxes stay below 100 KB."""

ABORT_BY_USER: Final = 0
ABORT_BY_PROVIDER: Final = 2
ABORT_UNRECOGNIZED_PDU: Final = 1
ABORT_UNEXPECTED_PDU: Final = 2
ABORT_INVALID_PARAMETER: Final = 6

HEADER = struct.Struct(">BxI")
PDV_HEADER = struct.Struct(">IBB")
DATA_HEADER = struct.Struct(">BxIIBB")
COMMAND_FRAGMENT: Final = 0x01
LAST_FRAGMENT: Final = 0x02

_ITEM = struct.Struct(">BxH")
_MAX_SYNTAXES = 256
_MAX_UID = 64


class PduError(RadpostError):
    """A protocol data unit cannot be read; ``abort_reason`` goes into our A-ABORT (PS3.8 9.3.8)."""

    def __init__(self, detail: str, abort_reason: int = ABORT_INVALID_PARAMETER) -> None:
        super().__init__(DICOM_PROTOCOL, detail)
        self.abort_reason = abort_reason


@dataclass(frozen=True, slots=True)
class PresentationContext:
    """A proposal: one abstract syntax with the transfer syntaxes offered for it (PS3.8 9.3.2.2)."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContextResult:
    """The answer to one proposal (PS3.8 9.3.3.2)."""

    id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Role:
    """SCP/SCU role selection for one SOP class (PS3.7 D.3.3.4)."""

    sop_class: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class UserInformation:
    """What both sides say about themselves (PS3.7 D.3.3.1, D.3.3.2); never a host name."""

    max_length: int = 16384
    implementation_class_uid: str = IMPLEMENTATION_CLASS_UID
    implementation_version: str = IMPLEMENTATION_VERSION_NAME
    roles: tuple[Role, ...] = ()


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2)."""

    called_ae: str
    calling_ae: str
    contexts: tuple[PresentationContext, ...]
    user: UserInformation = field(default_factory=UserInformation)
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1

    def encode(self) -> bytes:
        """Return the bytes of the whole unit."""
        items = [
            _item(
                0x20,
                bytes((c.id, 0, 0, 0))
                + _uid_item(0x30, c.abstract_syntax)
                + b"".join(_uid_item(0x40, uid) for uid in c.transfer_syntaxes),
            )
            for c in self.contexts
        ]
        return _associate(ASSOCIATE_RQ, self.called_ae, self.calling_ae, items, self.user)


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC (PS3.8 9.3.3)."""

    called_ae: str
    calling_ae: str
    results: tuple[ContextResult, ...]
    user: UserInformation = field(default_factory=UserInformation)

    def encode(self) -> bytes:
        """Return the bytes of the whole unit."""
        items = [
            _item(0x21, bytes((r.id, 0, r.result, 0)) + _uid_item(0x40, r.transfer_syntax))
            for r in self.results
        ]
        return _associate(ASSOCIATE_AC, self.called_ae, self.calling_ae, items, self.user)


@dataclass(frozen=True, slots=True)
class AssociateReject:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    result: int
    source: int
    reason: int

    def encode(self) -> bytes:
        """Return the bytes of the whole unit."""
        return HEADER.pack(ASSOCIATE_RJ, 4) + bytes((0, self.result, self.source, self.reason))


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """A-RELEASE-RQ (PS3.8 9.3.6)."""

    def encode(self) -> bytes:
        """Return the bytes of the whole unit."""
        return HEADER.pack(RELEASE_RQ, 4) + bytes(4)


@dataclass(frozen=True, slots=True)
class ReleaseReply:
    """A-RELEASE-RP (PS3.8 9.3.7)."""

    def encode(self) -> bytes:
        """Return the bytes of the whole unit."""
        return HEADER.pack(RELEASE_RP, 4) + bytes(4)


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT (PS3.8 9.3.8)."""

    source: int = ABORT_BY_USER
    reason: int = 0

    def encode(self) -> bytes:
        """Return the bytes of the whole unit."""
        return HEADER.pack(ABORT, 4) + bytes((0, 0, self.source, self.reason))


Pdu = AssociateRequest | AssociateAccept | AssociateReject | ReleaseRequest | ReleaseReply | Abort


def decode(kind: int, body: bytes) -> Pdu:
    """Read the body of a unit other than P-DATA-TF; raises PduError."""
    if kind == ASSOCIATE_RQ:
        return _decode_request(body)
    if kind == ASSOCIATE_AC:
        return _decode_accept(body)
    if kind == RELEASE_RQ:
        return ReleaseRequest()
    if kind == RELEASE_RP:
        return ReleaseReply()
    if kind in {ASSOCIATE_RJ, ABORT}:
        if len(body) < 4:
            raise PduError("short unit")
        return AssociateReject(body[1], body[2], body[3]) if kind == ASSOCIATE_RJ else Abort(body[2], body[3])
    raise PduError(f"unknown unit {kind:02X}H", ABORT_UNRECOGNIZED_PDU)


def data_header(context_id: int, length: int, *, command: bool, last: bool) -> bytes:
    """Return the twelve bytes before the only PDV of a P-DATA-TF (PS3.8 9.3.5, E.2)."""
    control = (COMMAND_FRAGMENT if command else 0) | (LAST_FRAGMENT if last else 0)
    return DATA_HEADER.pack(P_DATA_TF, length + 6, length + 2, context_id, control)


def fragment_size(max_length: int, ceiling: int) -> int:
    """Return how many bytes of a message fit one PDV: even, within the receiver's maximum (PS3.8 D.1).

    A maximum of 0 means that the receiver sets no limit; one that leaves no room is a peer's fault that
    is answered with the smallest sensible unit.
    """
    limit = ceiling if max_length == 0 else min(max_length, ceiling)
    return max(limit - 6, 64) & ~1


def _item(kind: int, body: bytes) -> bytes:
    return _ITEM.pack(kind, len(body)) + body


def _uid_item(kind: int, uid: str) -> bytes:
    return _item(kind, uid.encode("ascii", "replace"))


def _title(title: str) -> bytes:
    return title.encode("ascii", "replace")[:16].ljust(16)


def _associate(kind: int, called: str, calling: str, items: list[bytes], user: UserInformation) -> bytes:
    roles = [
        _item(
            0x54,
            struct.pack(">H", len(role.sop_class)) + role.sop_class.encode() + bytes((role.scu, role.scp)),
        )
        for role in user.roles
    ]
    information = b"".join(
        (
            _item(0x51, struct.pack(">I", user.max_length)),
            _uid_item(0x52, user.implementation_class_uid),
            *roles,
            _item(0x55, user.implementation_version.encode("ascii", "replace")[:16]),
        )
    )
    body = b"".join(
        (
            b"\x00\x01\x00\x00",
            _title(called),
            _title(calling),
            bytes(32),
            _uid_item(0x10, APPLICATION_CONTEXT),
            *items,
            _item(0x50, information),
        )
    )
    return HEADER.pack(kind, len(body)) + body


def _decode_request(body: bytes) -> AssociateRequest:
    version, called, calling = _fixed_part(body)
    contexts: list[PresentationContext] = []
    application, user = "", UserInformation()
    for kind, item in _items(body[68:]):
        if kind == 0x10:
            application = _uid(item)
        elif kind == 0x20:
            contexts.append(_proposal(item))
        elif kind == 0x50:
            user = _user_information(item)
    if len(contexts) > MAX_CONTEXTS:
        raise PduError("more than 128 presentation contexts")
    if len({context.id for context in contexts}) != len(contexts):
        raise PduError("presentation context id used twice")
    return AssociateRequest(called, calling, tuple(contexts), user, application, version)


def _decode_accept(body: bytes) -> AssociateAccept:
    _, called, calling = _fixed_part(body)
    results: list[ContextResult] = []
    user = UserInformation()
    for kind, item in _items(body[68:]):
        if kind == 0x21:
            if len(item) < 4:
                raise PduError("short presentation context")
            # The transfer syntax is not significant, and may be absent, where the result is a refusal.
            syntax = next((_uid(sub) for sub_kind, sub in _items(item[4:]) if sub_kind == 0x40), "")
            results.append(ContextResult(item[0], item[2], syntax))
        elif kind == 0x50:
            user = _user_information(item)
    return AssociateAccept(called, calling, tuple(results), user)


def _fixed_part(body: bytes) -> tuple[int, str, str]:
    if len(body) < 68:
        raise PduError("short A-ASSOCIATE")
    version = int.from_bytes(body[:2], "big")
    return version, _read_title(body[4:20]), _read_title(body[20:36])


def _read_title(raw: bytes) -> str:
    """Return an AE title without insignificant spaces; what is no character of it never matches a title."""
    text = raw.rstrip(b"\0").decode("ascii", "replace").strip(" ")
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(data):
        if offset + 4 > len(data):
            raise PduError("item is cut off")
        kind, length = _ITEM.unpack_from(data, offset)
        offset += 4
        if offset + length > len(data):
            raise PduError("item is longer than its unit")
        yield kind, data[offset : offset + length]
        offset += length


def _uid(raw: bytes) -> str:
    """Read a UID; trailing spaces and NULs are a known fault of senders and forgiven."""
    text = raw.rstrip(b"\0 ").decode("ascii", "replace")
    if len(text) > _MAX_UID:
        raise PduError("UID is too long")
    return text


def _proposal(item: bytes) -> PresentationContext:
    if len(item) < 4:
        raise PduError("short presentation context")
    abstract, syntaxes = "", []
    for kind, sub in _items(item[4:]):
        if kind == 0x30:
            abstract = _uid(sub)
        elif kind == 0x40:
            syntaxes.append(_uid(sub))
    if len(syntaxes) > _MAX_SYNTAXES:
        raise PduError("too many transfer syntaxes")
    return PresentationContext(item[0], abstract, tuple(syntaxes))


def _user_information(item: bytes) -> UserInformation:
    max_length, uid, version = 0, "", ""
    roles: list[Role] = []
    for kind, sub in _items(item):
        if kind == 0x51 and len(sub) >= 4:
            max_length = int.from_bytes(sub[:4], "big")
        elif kind == 0x52:
            uid = _uid(sub)
        elif kind == 0x54:
            roles.append(_role(sub))
        elif kind == 0x55:
            version = sub[:16].decode("ascii", "replace").strip()
    return UserInformation(max_length, uid, version, tuple(roles))


def _role(item: bytes) -> Role:
    length = int.from_bytes(item[:2], "big")
    if len(item) < length + 4:
        raise PduError("short role selection")
    return Role(_uid(item[2 : 2 + length]), bool(item[2 + length]), bool(item[3 + length]))
