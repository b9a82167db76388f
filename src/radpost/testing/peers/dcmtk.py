"""DCMTK: its receivers as peers, its senders and query tools as functions."""

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from radpost.testing.peers.base import (
    Peer,
    PeerFailedError,
    answers,
    find_program,
    own,
    require,
    wait_until,
)

_HOST = "127.0.0.1"


class StoreScp(Peer):
    """``storescp``: writes each received object into a directory, by default bit for bit (``+B``)."""

    needs = ("dcmtk",)

    def __init__(
        self,
        aet: str = "STORESCP",
        *,
        bit_exact: bool = True,
        pdu: int = 131072,
        tcp_nodelay: bool = False,
        fork: bool = False,
        options: Sequence[str] = ("+xa",),
    ) -> None:
        """`options`: more of storescp's; by default it takes every transfer syntax (``+xa``)."""
        super().__init__()
        self.aet = aet
        self.host = _HOST
        self.port = 0
        self._bit_exact, self._pdu, self._tcp_nodelay = bit_exact, pdu, tcp_nodelay
        self._fork = fork
        self._options = tuple(options)

    @property
    def received_dir(self) -> Path:
        """Where the objects are written."""
        return self.directory / "received"

    def received(self) -> list[Path]:
        """Return the files received so far, by name (the last one may still be growing)."""
        return sorted(path for path in self.received_dir.iterdir() if path.is_file())

    def wait_for(self, count: int, timeout: float = 60.0) -> list[Path]:
        """Wait until at least so many objects came."""
        wait_until(lambda: len(self.received()) >= count, f"{count} objects at storescp", timeout)
        return self.received()

    def _launch(self) -> None:
        self.port = self._port("dicom")
        self.received_dir.mkdir(mode=0o700)
        own(self.received_dir, self.user)
        argv = ["storescp", "-aet", self.aet, "-pdu", str(self._pdu), "-od", str(self.received_dir)]
        argv += ["+B"] if self._bit_exact else []
        argv += ["--fork"] if self._fork else []
        self._spawn([*argv, *self._options, str(self.port)], _nodelay(self._tcp_nodelay))

    def _is_ready(self) -> bool:
        return answers(self.port)


class DcmQrScp(Peer):
    """``dcmqrscp``: a small archive for C-STORE, C-FIND, C-MOVE and C-GET."""

    needs = ("dcmtk",)

    def __init__(
        self, aet: str = "QRSCP", *, nodes: Mapping[str, int] | None = None, options: Sequence[str] = ()
    ) -> None:
        """`nodes`: AE title to port on loopback of the nodes that may be C-MOVE destinations."""
        super().__init__()
        self.aet = aet
        self.host = _HOST
        self.port = 0
        self._nodes = dict(nodes or {})
        self._options = tuple(options)

    def _launch(self) -> None:
        self.port = self._port("dicom")
        database = self.directory / "db"
        database.mkdir(mode=0o700)
        hosts = "".join(
            f"node{number} = ({aet}, {_HOST}, {port})\n"
            for number, (aet, port) in enumerate(self._nodes.items())
        )
        config = self.directory / "dcmqrscp.cfg"
        config.write_text(
            f"NetworkTCPPort = {self.port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
            f"HostTable BEGIN\n{hosts}HostTable END\n"
            "VendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\n{self.aet} {database} RW (500, 1024mb) ANY\nAETable END\n",
            "ascii",
        )
        own(self.directory, self.user)
        self._spawn(["dcmqrscp", "-c", str(config), *self._options])

    def _is_ready(self) -> bool:
        return answers(self.port)

    def load(self, files: Iterable[Path]) -> None:
        """Store files into the archive by C-STORE."""
        storescu(self.port, files, called=self.aet)


def _nodelay(wanted: bool) -> dict[str, str]:
    return {"TCP_NODELAY": "1"} if wanted else {}


def run(
    argv: Sequence[str], *, check: bool = True, timeout: float = 300.0, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one tool of DCMTK; a failure raises `PeerFailedError` with what it said, unless `check` is off."""
    require("dcmtk")
    done = subprocess.run(
        [find_program(argv[0]) or argv[0], *argv[1:]],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=timeout,
        env={**os.environ, **(env or {})},
    )
    if check and done.returncode:
        raise PeerFailedError(
            f"{argv[0]}: status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done


def storescu(
    port: int,
    files: Iterable[Path],
    *,
    called: str = "ANY-SCP",
    calling: str = "STORESCU",
    options: Sequence[str] = (),
    pdu: int = 131072,
    tcp_nodelay: bool = False,
    check: bool = True,
    timeout: float = 300.0,
) -> subprocess.CompletedProcess[str]:
    """Send files by C-STORE in one association; directories are searched (``+sd +r``).

    Pass ``options=("-R", ...)`` and the like for other presentation contexts (``-xs``, ``-xv``, ``-xf``).
    """
    paths = [str(path) for path in files]
    folders = ["+sd", "+r"] if any(Path(path).is_dir() for path in paths) else []
    argv = ["storescu", "-aet", calling, "-aec", called, "-pdu", str(pdu), *folders, *options]
    return run([*argv, _HOST, str(port), *paths], check=check, timeout=timeout, env=_nodelay(tcp_nodelay))


def echoscu(
    port: int, *, called: str = "ANY-SCP", calling: str = "ECHOSCU", check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Verify a node by C-ECHO."""
    return run(["echoscu", "-aet", calling, "-aec", called, _HOST, str(port)], check=check, timeout=60)


def findscu(
    port: int,
    keys: Sequence[str],
    *,
    called: str = "ANY-SCP",
    calling: str = "FINDSCU",
    model: str = "-S",
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Query by C-FIND; `keys` as ``-k`` takes them; answers are dumped in the output (log level info)."""
    asked = [word for key in keys for word in ("-k", key)]
    argv = ["findscu", "-v", model, "-aet", calling, "-aec", called, *asked, _HOST, str(port)]
    return run(argv, check=check, timeout=60)


def movescu(
    port: int,
    keys: Sequence[str],
    *,
    destination: str,
    called: str = "ANY-SCP",
    calling: str = "MOVESCU",
    model: str = "-S",
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Retrieve by C-MOVE to another node."""
    asked = [word for key in keys for word in ("-k", key)]
    argv = ["movescu", "-v", model, "-aet", calling, "-aec", called, "-aem", destination, *asked]
    return run([*argv, _HOST, str(port)], check=check, timeout=300)
