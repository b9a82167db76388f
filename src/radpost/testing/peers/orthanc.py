"""Orthanc as a PACS: DICOM and REST on loopback, its own storage, as an ordinary user."""

import http.client
import json
import re
from collections.abc import Mapping
from pathlib import Path

from radpost.testing.peers.base import Peer, PeerFailedError, answers, own, wait_until


class Orthanc(Peer):
    """A PACS that takes what comes from anybody on loopback.

    `modalities` maps a name to AE title, host and port of a node Orthanc may query or send to.
    """

    needs = ("orthanc",)
    start_timeout = 30.0

    def __init__(
        self,
        aet: str = "ORTHANC",
        *,
        modalities: Mapping[str, tuple[str, str, int]] | None = None,
        tcp_nodelay: bool = False,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """`tcp_nodelay`: the fair peer of benchmarks; Debian's default is without."""
        super().__init__()
        self.aet = aet
        self.host = "127.0.0.1"
        self.dicom_port = self.http_port = 0
        self._modalities = dict(modalities or {})
        self._tcp_nodelay = tcp_nodelay
        self._extra = dict(extra or {})

    def _launch(self) -> None:
        self.dicom_port, self.http_port = self._port("dicom"), self._port("http")
        storage = self.directory / "storage"
        storage.mkdir(mode=0o700)
        config = {
            "Name": self.aet,
            "StorageDirectory": str(storage),
            "IndexDirectory": str(storage),
            "Plugins": [],
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": self.aet,
            "DicomServerEnabled": True,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowMove": True,
            "DicomAlwaysAllowGet": True,
            "DicomCheckModalityHost": False,
            "UnknownSopClassAccepted": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "OverwriteInstances": True,
            "StableAge": 1,
            "DicomModalities": {name: list(node) for name, node in self._modalities.items()},
            **self._extra,
        }
        path = self.directory / "orthanc.json"
        path.write_text(json.dumps(config), "utf-8")
        own(self.directory, self.user)
        self._spawn(["Orthanc", str(path)], {"TCP_NODELAY": "1"} if self._tcp_nodelay else None)

    def _is_ready(self) -> bool:
        if not (answers(self.http_port) and answers(self.dicom_port)):
            return False
        try:
            return isinstance(self.get("/system"), dict)
        except (OSError, PeerFailedError):
            return False

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Speak to the REST interface; a status other than 2xx is a `PeerFailedError`."""
        connection = http.client.HTTPConnection(self.host, self.http_port, timeout=60)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        if response.status // 100 != 2:
            raise PeerFailedError(f"Orthanc {method}: {response.status} {data[:300]!r}")
        return data

    def get(self, path: str) -> object:
        """GET and parse JSON."""
        answer: object = json.loads(self.request("GET", path))
        return answer

    def post(self, path: str, value: object) -> object:
        """POST JSON and parse the JSON that comes back."""
        answer: object = json.loads(self.request("POST", path, json.dumps(value).encode()))
        return answer

    def instances(self) -> list[str]:
        """Return Orthanc's ids of all instances."""
        return _strings(self.get("/instances"))

    def studies(self) -> list[str]:
        """Return Orthanc's ids of all studies."""
        return _strings(self.get("/studies"))

    def count(self) -> int:
        """Count the instances (cheap)."""
        answer = self.get("/statistics")
        return int(answer["CountInstances"]) if isinstance(answer, dict) else 0

    def file(self, instance: str) -> bytes:
        """Return the DICOM file of an instance as Orthanc keeps it."""
        return self.request("GET", f"/instances/{instance}/file")

    def tags(self, instance: str) -> Mapping[str, object]:
        """Return the simplified tags of an instance."""
        answer = self.get(f"/instances/{instance}/simplified-tags")
        return answer if isinstance(answer, dict) else {}

    def upload(self, path: Path) -> str:
        """Store a DICOM file by REST and return Orthanc's id of the instance."""
        answer = json.loads(self.request("POST", "/instances", path.read_bytes()))
        return str(answer["ID"])

    def add_modality(self, name: str, aet: str, port: int, host: str = "127.0.0.1") -> None:
        """Make a DICOM node known while Orthanc runs."""
        self.request("PUT", f"/modalities/{name}", json.dumps([aet, host, port]).encode())

    def send(self, modality: str, resource: str) -> None:
        """C-STORE an instance, series or study (Orthanc id) to a modality, and wait for the end."""
        self.post(f"/modalities/{modality}/store", {"Resources": [resource], "Synchronous": True})

    def wait_for(self, count: int, timeout: float = 60.0) -> None:
        """Wait until at least so many instances are stored."""
        wait_until(lambda: self.count() >= count, f"{count} instances in Orthanc", timeout)

    def clear(self) -> None:
        """Delete all studies."""
        for study in self.studies():
            if re.fullmatch(r"[0-9a-f-]+", study):
                self.request("DELETE", f"/studies/{study}")


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
