"""Real peers on loopback: each in a private directory, on free ports, stopped by its own process id.

Every peer is a context manager that is ready when ``with`` hands it out. A missing program raises
`PeerUnavailableError`, which names the Debian package to install.
"""

from radpost.testing.peers.base import (
    Peer,
    PeerFailedError,
    PeerUnavailableError,
    free_port,
    missing,
    private_directory,
    require,
)

__all__ = [
    "Peer",
    "PeerFailedError",
    "PeerUnavailableError",
    "free_port",
    "missing",
    "private_directory",
    "require",
]
