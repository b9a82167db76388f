"""TLS for mail: contexts that always verify, and the rule when a connection may be plain.

RFC 8314 3 (TLS for submission and access), RFC 7817 3 (server identity), RFC 8996 (no TLS before
1.2); @GIT 1.1r 3 asks for it.
"""

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from radpost.errors import CONFIG_INVALID, TLS_FAILED, RadpostError
from radpost.transport.failure import TransportError, sanitise


class Security(Enum):
    """How a connection is protected."""

    TLS = "tls"
    """Implicit TLS from the first byte (RFC 8314 3.3)."""
    STARTTLS = "starttls"
    """Plain greeting, then TLS is required before anything else."""
    LOOPBACK = "loopback"
    """Plain, refused unless the peer is this machine."""


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """What a deployment may add to the system's trust: an own CA."""

    ca_file: Path | None = None


def client_context(options: TlsOptions | None = None) -> ssl.SSLContext:
    """Return a context that verifies chain and host name, TLS 1.2 at least; nothing switches that off."""
    options = options or TlsOptions()
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.ca_file is not None:
        try:
            context.load_verify_locations(cafile=options.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise RadpostError(
                CONFIG_INVALID, f"CA file {options.ca_file.name} is not usable: {_cause(error)}"
            ) from error
    return context


def wrap(sock: socket.socket, context: ssl.SSLContext, server_name: str) -> ssl.SSLSocket:
    """Do the handshake as client; every failure is TLS_FAILED and leaves the socket closed."""
    try:
        return context.wrap_socket(sock, server_hostname=server_name)
    except ssl.SSLCertVerificationError as error:
        sock.close()
        raise TransportError(TLS_FAILED, f"certificate refused: {error.verify_message}") from error
    except (OSError, ValueError) as error:
        sock.close()
        raise TransportError(TLS_FAILED, f"handshake failed: {_cause(error)}") from error


def is_loopback(sock: socket.socket) -> bool:
    """Tell whether the peer of a connected socket is this machine."""
    if sock.family == socket.AF_UNIX:
        return True
    try:
        address = ipaddress.ip_address(sock.getpeername()[0].partition("%")[0])
    except (OSError, ValueError):
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _cause(error: Exception) -> str:
    return sanitise(
        getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
    )
