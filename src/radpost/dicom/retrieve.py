"""Studies fetched from the institution's own PACS: C-MOVE and C-GET (PS3.4 C.4.2, C.4.3; Study Root).

C-GET writes straight to files, byte for byte, like the storage SCP, whatever the size of an object.
"""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from radpost.dicom import dimse, identifier
from radpost.dicom.digest import Digester
from radpost.dicom.find import (
    check_response,
    checked_uid,
    find_images,
    find_series,
    receive_response,
    request,
)
from radpost.dicom.incoming import IncomingObject, ObjectWriter, Refusal, StoreContext
from radpost.dicom.pdu import MAX_CONTEXTS
from radpost.dicom.scu import Association, Peer, Proposal
from radpost.dicom.services import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
)
from radpost.dicom.session import is_kept
from radpost.errors import RETRIEVE_REFUSED, STUDY_NOT_FOUND, RadpostError

_CHUNK: Final = 144 << 10
_LOG = logging.getLogger(__name__)
_FIND: Final = Proposal(STUDY_ROOT_FIND, (IMPLICIT_LE,))
"""Some archives complain about retrieval contexts that come without the query one."""

COMMON_CLASSES: Final = tuple(
    f"1.2.840.10008.5.1.4.1.1.{suffix}"
    for suffix in [
        "1",
        "1.1",
        "1.2",
        "1.3",
        "2",
        "2.1",
        "3.1",
        "4",
        "4.1",
        "6.1",
        "7",
        "7.2",
        "7.4",
        "11.1",
        "12.1",
        "12.2",
        "20",
        "66.4",
        "77.1.4",
        "88.11",
        "88.22",
        "88.33",
        "88.59",
        "88.67",
        "104.1",
        "128",
        "481.1",
        "481.2",
        "481.3",
        "481.5",
    ]
)
"""Proposed to a PACS that does not say which classes a study has."""

SYNTAXES: Final = (
    EXPLICIT_LE,
    IMPLICIT_LE,
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
    EXPLICIT_BE,
    "1.2.840.10008.1.2.4.100",
    "1.2.840.10008.1.2.4.101",
    "1.2.840.10008.1.2.4.102",
    "1.2.840.10008.1.2.4.103",
    "1.2.840.10008.1.2.4.106",
    "1.2.840.10008.1.2.4.107",
    "1.2.840.10008.1.2.4.55",
    "1.2.840.10008.1.2.4.110",
    "1.2.840.10008.1.2.4.111",
    "1.2.840.10008.1.2.4.112",
)
"""In the order of how likely a PACS keeps objects in them; each gets a context of its own while there is
room, so that the PACS can send every object as it is stored."""


@dataclass(frozen=True, slots=True)
class MoveResult:
    """The final counts of a C-MOVE (PS3.4 C.4.2.1.6)."""

    completed: int
    failed: int
    warning: int
    status: int


@dataclass(frozen=True, slots=True)
class GotFile:
    """An object that came by C-GET: a Part 10 file with deterministic meta header and raw data set."""

    path: Path
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    dataset_offset: int
    dataset_sha256: str
    file_sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class GetResult:
    """What a C-GET brought; ``refused`` counts what we could not take, ``failed`` what the PACS says."""

    files: tuple[GotFile, ...]
    completed: int
    failed: int
    refused: int
    status: int


Progress = Callable[[int, int | None], None]
"""Called with objects done and objects remaining (None if the PACS does not say)."""

Taker = Callable[[StoreContext, IncomingObject], int]
"""Takes an object as ``Handler.store`` does: it owns the file if it returns success or a warning."""


def move_study(
    peer: Peer, study_uid: str, destination_ae: str, *, progress: Progress | None = None
) -> MoveResult:
    """Have the PACS send a study to one of our AE titles (C-MOVE, PS3.7 9.1.4).

    Raises:
        RadpostError: RETRIEVE_REFUSED if the PACS will not send there, STUDY_NOT_FOUND if it sent nothing.
    """
    keys = {identifier.LEVEL: "STUDY", identifier.STUDY: checked_uid(study_uid)}
    with Association.open(peer, [_FIND, Proposal(STUDY_ROOT_MOVE, (IMPLICIT_LE,))]) as association:
        context = request(
            association, STUDY_ROOT_MOVE, dimse.C_MOVE_RQ, keys, move_destination=destination_ae
        )
        done = dimse.Command(dimse.C_MOVE_RSP)
        while True:
            response, _ = receive_response(association, context, dimse.C_MOVE_RSP)
            done = _latest(done, response)
            _tell(progress, done)
            if response.status not in dimse.PENDING:
                break
    result = MoveResult(done.completed or 0, done.failed or 0, done.warning or 0, response.status or 0)
    if not result.completed + result.warning:
        _nothing_came(result.status, result.failed)
    return result


def get_study(
    peer: Peer,
    study_uid: str,
    directory: Path,
    *,
    take: Taker | None = None,
    progress: Progress | None = None,
    max_object: int = 8 << 30,
) -> GetResult:
    """Fetch a study over our own association (C-GET, PS3.7 9.1.3), byte for byte as the PACS sends it.

    Without ``take`` the files stay in ``directory`` and are listed in the result.

    Raises:
        RadpostError: RETRIEVE_REFUSED or STUDY_NOT_FOUND if nothing came.
    """
    proposals = _storage_proposals(_classes(peer, study_uid))
    keys = {identifier.LEVEL: "STUDY", identifier.STUDY: checked_uid(study_uid)}
    keeper = _Keeper(directory, take, max_object)
    wanted = [_FIND, Proposal(STUDY_ROOT_GET, (IMPLICIT_LE,)), *proposals]
    with contextlib.closing(keeper), Association.open(peer, wanted) as association:
        context = request(association, STUDY_ROOT_GET, dimse.C_GET_RQ, keys)
        done = dimse.Command(dimse.C_GET_RSP)
        while True:
            association.wire.sock.settimeout(peer.response_seconds)
            with association.guarded():
                number, command = association.wire.read_command()
                if command.field == dimse.C_STORE_RQ:
                    reply = keeper.receive(association, number, command)
                else:
                    response, _ = check_response(association, number, command, context, dimse.C_GET_RSP)
                    reply = None
            if reply is not None:
                association.send_response(number, reply)
                continue
            done = _latest(done, response)
            _tell(progress, done)
            if response.status not in dimse.PENDING:
                break
    if not keeper.kept and not keeper.refused:
        _nothing_came(response.status or 0, done.failed or 0)
    return GetResult(tuple(keeper.files), keeper.kept, done.failed or 0, keeper.refused, response.status or 0)


class _Keeper:
    """Takes the objects of a C-GET."""

    def __init__(self, directory: Path, take: Taker | None, max_object: int) -> None:
        self._directory = directory
        self._take = take
        self._max_object = max_object
        self._digester = Digester(_CHUNK)
        self.files: list[GotFile] = []
        self.kept = 0
        self.refused = 0

    def close(self) -> None:
        """End the hashing."""
        self._digester.close()

    def receive(self, association: Association, number: int, command: dimse.Command) -> dimse.Command:
        """Receive one object and return the response."""
        context = StoreContext(
            command.sop_class or "", command.sop_instance or "", association.transfer_syntax(number)
        )
        writer = ObjectWriter(self._directory, context, self._digester, max_size=self._max_object)
        kept = False
        try:
            association.wire.read_data(number, writer)
            outcome = writer.finish()
            if isinstance(outcome, Refusal):
                self.refused += 1
                return dimse.respond(command, outcome.status, comment=outcome.comment)
            status = self._keep(context, outcome)
            kept = is_kept(status)
        finally:
            if kept:
                writer.close()
            else:
                writer.discard()
        self.kept += kept
        self.refused += not kept
        return dimse.respond(command, status)

    def _keep(self, context: StoreContext, data: IncomingObject) -> int:
        if self._take is not None:
            try:
                return self._take(context, data)
            except Exception as error:  # noqa: BLE001  one object's fault does not end the retrieval
                _LOG.error("taking an object failed inside: %s", type(error).__name__)
                return dimse.PROCESSING_FAILURE
        self.files.append(
            GotFile(
                data.path,
                context.sop_class,
                context.sop_instance,
                context.transfer_syntax,
                data.dataset_offset,
                data.dataset_sha256,
                data.file_sha256,
                data.size,
            )
        )
        return dimse.SUCCESS


def _classes(peer: Peer, study_uid: str) -> tuple[str, ...]:
    """Return the SOP classes of a study, as far as the PACS says."""
    found: dict[str, None] = {}
    for series in find_series(peer, study_uid):
        for image in find_images(peer, study_uid, series.series_instance_uid):
            if image.sop_class_uid:
                found[image.sop_class_uid] = None
    return tuple(found)


def _storage_proposals(classes: tuple[str, ...]) -> list[Proposal]:
    """Plan the contexts over which the PACS sends: one per class and syntax while there is room."""
    wanted = (classes or COMMON_CLASSES)[: MAX_CONTEXTS - 2]
    room = (MAX_CONTEXTS - 2) // len(wanted)
    single = SYNTAXES[: room - 1]
    rest = SYNTAXES[len(single) :]
    proposals = []
    for sop_class in wanted:
        proposals += [Proposal(sop_class, (syntax,), scp_role=True) for syntax in single]
        if rest:
            proposals.append(Proposal(sop_class, rest, scp_role=True))
    return proposals


def _latest(before: dimse.Command, response: dimse.Command) -> dimse.Command:
    """Keep the last counts said: a final response may leave them out (PS3.7 table 9.3-7, table 9.3-10)."""
    return response if response.completed is not None or response.failed is not None else before


def _tell(progress: Progress | None, done: dimse.Command) -> None:
    if progress is not None:
        progress((done.completed or 0) + (done.warning or 0), done.remaining)


def _nothing_came(status: int, failed: int) -> None:
    if status == dimse.SUCCESS and not failed:
        raise RadpostError(STUDY_NOT_FOUND)
    raise RadpostError(RETRIEVE_REFUSED, f"status {status:04X}H, {failed} objects failed")
