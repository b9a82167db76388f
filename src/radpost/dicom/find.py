"""C-FIND in the Study Root model, and what all queries share (PS3.4 C.4.1, C.6.2; PS3.7 9.1.2)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from radpost.dicom import dimse, identifier
from radpost.dicom.pdu import ABORT_UNEXPECTED_PDU, PduError
from radpost.dicom.scu import Association, Peer, Proposal
from radpost.dicom.services import IMPLICIT_LE, STUDY_ROOT_FIND
from radpost.dicom.wire import Discard
from radpost.errors import DICOM_PROTOCOL, RETRIEVE_REFUSED, STUDY_NOT_FOUND, RadpostError

_MAX_IDENTIFIER: Final = 1 << 20
_MAX_MATCHES: Final = 100_000
_UID: Final = re.compile(r"[0-9A-Za-z.]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class StudyEntry:
    """What the PACS says about a study; counts are None where it does not say."""

    study_instance_uid: str
    instances: int | None
    series: int | None
    modalities: tuple[str, ...]
    study_date: str


@dataclass(frozen=True, slots=True)
class SeriesEntry:
    """What the PACS says about a series."""

    series_instance_uid: str
    modality: str
    instances: int | None


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """What the PACS says about an instance; the class is empty where it does not say."""

    sop_instance_uid: str
    sop_class_uid: str


def find_study(peer: Peer, study_uid: str) -> StudyEntry | None:
    """Ask for one study; None if the PACS does not know it."""
    keys = {
        identifier.LEVEL: "STUDY",
        identifier.STUDY: checked_uid(study_uid),
        identifier.STUDY_DATE: "",
        identifier.MODALITIES: "",
        identifier.STUDY_SERIES_COUNT: "",
        identifier.STUDY_INSTANCE_COUNT: "",
    }
    found = None
    for match in find(peer, keys):
        if match.get(identifier.STUDY) == study_uid:
            found = StudyEntry(
                study_uid,
                _count(match, identifier.STUDY_INSTANCE_COUNT),
                _count(match, identifier.STUDY_SERIES_COUNT),
                tuple(
                    text.strip() for text in match.get(identifier.MODALITIES, "").split("\\") if text.strip()
                ),
                match.get(identifier.STUDY_DATE, ""),
            )
    return found


def find_series(peer: Peer, study_uid: str) -> tuple[SeriesEntry, ...]:
    """Ask for the series of a study."""
    keys = {
        identifier.LEVEL: "SERIES",
        identifier.STUDY: checked_uid(study_uid),
        identifier.SERIES: "",
        identifier.MODALITY: "",
        identifier.SERIES_INSTANCE_COUNT: "",
    }
    return tuple(
        SeriesEntry(
            match[identifier.SERIES],
            match.get(identifier.MODALITY, ""),
            _count(match, identifier.SERIES_INSTANCE_COUNT),
        )
        for match in find(peer, keys)
        if match.get(identifier.SERIES)
    )


def find_images(peer: Peer, study_uid: str, series_uid: str) -> tuple[ImageEntry, ...]:
    """Ask for the instances of a series."""
    keys = {
        identifier.LEVEL: "IMAGE",
        identifier.STUDY: checked_uid(study_uid),
        identifier.SERIES: checked_uid(series_uid),
        identifier.SOP_INSTANCE: "",
        identifier.SOP_CLASS: "",
    }
    return tuple(
        ImageEntry(match[identifier.SOP_INSTANCE], match.get(identifier.SOP_CLASS, ""))
        for match in find(peer, keys)
        if match.get(identifier.SOP_INSTANCE)
    )


def find(peer: Peer, keys: Mapping[int, str]) -> Iterator[dict[int, str]]:
    """C-FIND in the Study Root model; yields the matches (PS3.7 9.1.2)."""
    with Association.open(peer, [Proposal(STUDY_ROOT_FIND, (IMPLICIT_LE,))]) as association:
        context = request(association, STUDY_ROOT_FIND, dimse.C_FIND_RQ, keys)
        for _ in range(_MAX_MATCHES):
            response, data = receive_response(association, context, dimse.C_FIND_RSP)
            if response.status not in dimse.PENDING:
                if response.status != dimse.SUCCESS:
                    raise RadpostError(RETRIEVE_REFUSED, f"C-FIND status {response.status or 0:04X}H")
                return
            yield identifier.decode(data)
        raise RadpostError(DICOM_PROTOCOL, "the query has too many matches")


def request(
    association: Association,
    abstract_syntax: str,
    field: int,
    keys: Mapping[int, str],
    *,
    move_destination: str | None = None,
) -> int:
    """Send a query/retrieve request and return its context."""
    context = association.context(abstract_syntax)
    command = dimse.Command(
        field,
        message_id=association.next_message_id(),
        data_set_type=dimse.DATA_SET,
        sop_class=abstract_syntax,
        priority=dimse.PRIORITY_MEDIUM,
        move_destination=move_destination,
    )
    association.send_message(context, command, identifier.encode(keys))
    return context


class _Collect(Discard):
    """Keeps a small data set."""

    def __init__(self) -> None:
        super().__init__(_MAX_IDENTIFIER)
        self.data = bytearray()

    def write(self, piece: memoryview) -> None:
        super().write(piece)
        self.data += piece


def receive_response(association: Association, context: int, field: int) -> tuple[dimse.Command, bytes]:
    """Wait for the next response; returns it with its identifier."""
    association.wire.sock.settimeout(association.peer.response_seconds)
    with association.guarded():
        number, command = association.wire.read_quick_command()
        return check_response(association, number, command, context, field)


def check_response(
    association: Association, number: int, command: dimse.Command, context: int, field: int
) -> tuple[dimse.Command, bytes]:
    """Say that this is the awaited response, and take its data set."""
    if number != context or command.field != field:
        raise PduError("response to another request", ABORT_UNEXPECTED_PDU)
    collected = _Collect()
    if command.has_data_set:
        association.wire.read_data(number, collected)
    return command, bytes(collected.data)


def _count(match: Mapping[int, str], tag: int) -> int | None:
    text = match.get(tag, "")
    return int(text) if text.isascii() and text.isdigit() else None


def checked_uid(uid: str) -> str:
    """Refuse what is no UID: an empty one or a wildcard would match every study."""
    if not _UID.match(uid):
        raise RadpostError(STUDY_NOT_FOUND, "this is not a UID")
    return uid
