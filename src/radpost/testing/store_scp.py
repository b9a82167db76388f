"""A receiving PACS for tests and the demo: our own storage SCP that keeps what it gets."""

import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from radpost.dicom.access import Accept, Reject
from radpost.dicom.incoming import IncomingObject, StoreContext
from radpost.dicom.scp import ServerConfig, StorageServer
from radpost.dicom.session import AssociationInfo


@dataclass(frozen=True, slots=True)
class Kept:
    """An object that the receiving PACS has."""

    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset_sha256: str
    calling_ae: str


class ReceivingPacs:
    """Takes everything; answers ``refuse`` with a status, if set, for the SOP instances named."""

    def __init__(
        self, directory: Path, port: int = 0, *, keep_files: bool = False, host: str = "127.0.0.1"
    ) -> None:
        self.directory = directory
        self.refuse: dict[str, int] = {}
        self._keep_files = keep_files
        self._lock = threading.Lock()
        self._kept: list[Kept] = []
        self._server = StorageServer(ServerConfig(host=host, port=port), self)

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        return self._server.port

    @property
    def kept(self) -> list[Kept]:
        """Return what came so far, in the order of arrival."""
        with self._lock:
            return list(self._kept)

    def hashes(self) -> set[str]:
        """Return the data set hashes of what came so far."""
        return {item.dataset_sha256 for item in self.kept}

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(1.0)

    def associate(self, calling_ae: str, called_ae: str, peer_address: str) -> Accept | Reject:  # noqa: ARG002
        """Admit everybody: this is a test's PACS on loopback."""
        return Accept()

    def store(self, association: AssociationInfo, context: StoreContext, data: IncomingObject) -> int:
        """Keep an object's identity, and the file if wanted."""
        status = self.refuse.get(context.sop_instance, 0)
        if status and not 0xB000 <= status <= 0xBFFF:
            return status
        kept = Kept(
            context.sop_instance, context.transfer_syntax, data.dataset_sha256, association.calling_ae
        )
        if self._keep_files:
            name = hashlib.sha256(data.file_sha256.encode()).hexdigest()[:8]
            data.path.rename(self.directory / f"{context.sop_instance}-{name}.dcm")
        else:
            data.path.unlink()
        with self._lock:
            self._kept.append(kept)
        return status

    def released(self, association: AssociationInfo) -> None:
        """Nothing to do."""

    def aborted(self, association: AssociationInfo) -> None:
        """Nothing to do."""
