"""The grammar of the SMTP commands that a receiver takes (RFC 5321 4.1), and the replies it gives."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime

_LOCAL = r"(?:[^\x00-\x20\x7f-\xff<>()\[\]\\,;:@\"]+|\"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*\")"
_DOMAIN = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[\x21-\x5a\x5e-\x7e]+\])"
_PATH = re.compile(rf"<(?:@[^\s<>:]+:)?(?P<address>{_LOCAL}@{_DOMAIN}|(?i:postmaster))?>(?P<rest>(?: .*)?)\Z")
_PARAMETER = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9-]*)(?:=(?P<value>[\x21-\x3c\x3e-\x7e]+))?\Z")
_GREETING = re.compile(r"[A-Za-z0-9\[](?:[A-Za-z0-9.:_\[\]-]{0,253}[A-Za-z0-9\]])?\Z")
_DIGITS = re.compile(r"[0-9]{1,20}\Z")
_PRINTABLE = re.compile(r"[^\x20-\x7e]+")

_LOCAL_LIMIT, _PATH_LIMIT = 64, 256  # RFC 5321 4.5.3.1.1, 4.5.3.1.3


class SyntaxRefusedError(ValueError):
    """A command's argument is not in the grammar."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: code, enhanced status code (RFC 3463) and a text without addresses."""

    code: int
    status: str
    text: str

    @property
    def positive(self) -> bool:
        """True for 2xx and 3xx."""
        return self.code < 400

    def wire(self) -> bytes:
        """Return the reply as it goes over the line."""
        words = (str(self.code), self.status, _PRINTABLE.sub(" ", self.text))
        return " ".join(word for word in words if word).encode("ascii") + b"\r\n"


def multiline(code: int, lines: Iterable[str]) -> bytes:
    """Return a reply of several lines (RFC 5321 4.2.1)."""
    texts = list(lines)
    return b"".join(
        f"{code}{' ' if number == len(texts) else '-'}{text}\r\n".encode("ascii")
        for number, text in enumerate(texts, 1)
    )


@dataclass(frozen=True, slots=True)
class Path:
    """The argument of MAIL or RCPT: an address ("" for the null sender) and parameters, names in capitals."""

    address: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_path(argument: str, word: str) -> Path:
    """Read ``FROM:<path> parameters`` or ``TO:<path> parameters``, without a source route (RFC 5321 C)."""
    head, colon, tail = argument.partition(":")
    if not colon or head.strip().upper() != word:
        raise SyntaxRefusedError(f"expected {word}:<address>")
    found = _PATH.match(tail.strip())
    if found is None:
        raise SyntaxRefusedError("the address is not in the grammar")
    address = found["address"] or ""
    if len(address) > _PATH_LIMIT or len(address.rpartition("@")[0]) > _LOCAL_LIMIT:
        raise SyntaxRefusedError("the address is too long")
    parameters: dict[str, str] = {}
    for item in found["rest"].split():
        parameter = _PARAMETER.match(item)
        if parameter is None or parameter["name"].upper() in parameters:
            raise SyntaxRefusedError("a parameter is not in the grammar")
        parameters[parameter["name"].upper()] = parameter["value"] or ""
    return Path(address, parameters)


def parse_greeting(argument: str) -> str:
    """Read the argument of HELO, EHLO or LHLO: a name or an address literal."""
    name = argument.strip()
    if not _GREETING.match(name):
        raise SyntaxRefusedError("expected a domain name or an address literal")
    return name


def parse_number(text: str) -> int:
    """Read a decimal number of up to 20 digits (RFC 1870 3)."""
    if not _DIGITS.match(text):
        raise SyntaxRefusedError("expected a number")
    return int(text)


def parse_chunk(argument: str) -> tuple[int, bool]:
    """Read the argument of BDAT: size, and whether this chunk is the last (RFC 3030 2)."""
    words = argument.split()
    if len(words) not in {1, 2} or (len(words) == 2 and words[1].upper() != "LAST"):
        raise SyntaxRefusedError("expected a size and possibly LAST")
    return parse_number(words[0]), len(words) == 2


def comparable(address: str) -> str:
    """Return an address as it is compared here: all of it in lower case, ASCII only."""
    return address.lower()


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is known about a mail beside its content. Addresses are for routing, not for logs."""

    id: str
    """Ours, random; it stands in the trace header and may be logged."""
    protocol: str
    """As registered for Received (RFC 3848): SMTP, ESMTP, ESMTPS, LMTP, LMTPS."""
    helo: str
    peer: str
    """Address the connection came from."""
    tls: str
    """Version of TLS, "" when the connection is in clear."""
    sender: str
    """"" for the null sender: reports and bounces."""
    recipients: tuple[str, ...]
    size: int | None
    """As announced in MAIL, if it was."""
    parameters: Mapping[str, str] = field(default_factory=dict)


def trace_header(envelope: Envelope, name: str, now: datetime) -> bytes:
    """Return the Received header of our hop (RFC 5321 4.4) with the configured name and nothing from inside.

    The recipients are left out, so that a mail to several does not tell one about the other (RFC 5321 7.2).
    """
    peer = f"IPv6:{envelope.peer}" if ":" in envelope.peer else envelope.peer
    source = f"from {envelope.helo} ([{peer}])" if peer else f"from {envelope.helo}"
    return (
        f"Received: {source}\r\n\tby {name} with {envelope.protocol}\r\n"
        f"\tid {envelope.id}; {format_datetime(now)}\r\n"
    ).encode("ascii")
