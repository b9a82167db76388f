"""What can be seen of OpenPGP data without a key: the lines of the armor and the outer packets.

RFC 4880 4 to 6; unlike the engine's readers this one goes on behind a fault, so that every rule has its say.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from radpost.errors import RadpostError
from radpost.mime.coding import IDENTITY
from radpost.mime.pgp import Payload, data
from radpost.openpgp import packets
from radpost.openpgp.armor import ArmorReader
from radpost.openpgp.material import RSA, RSA_ENCRYPT

_BEGIN: Final = re.compile(rb"^[ \t]*-----BEGIN PGP ([A-Z0-9 ,/]{1,40})-----[ \t]*$", re.MULTILINE)
_END: Final = re.compile(rb"^[ \t]*-----END PGP ([A-Z0-9 ,/]{1,40})-----", re.MULTILINE)
_LINE: Final = re.compile(rb"([^\r\n]*)(\r*\n|\r|\Z)")
_CRC: Final = re.compile(rb"=[A-Za-z0-9+/]{4}\s*\Z")
_JUNK: Final = re.compile(rb"[^A-Za-z0-9+/= \t]")
_QUOTED: Final = re.compile(rb"=3D(?![A-Za-z0-9+/]{2}\s*\Z)|=(?=\r?\n[A-Za-z0-9+/]{4})")
_TEXT: Final = re.compile(rb"[^\s\xef\xbb\xbf]")
_HEADER: Final = re.compile(rb"[A-Za-z][A-Za-z0-9-]*: ")
_MAX_PACKETS: Final = 300
_DATA: Final = frozenset({packets.SED, packets.SEIPD, packets.AEAD})
_HIDDEN: Final = "0" * 16


@dataclass(frozen=True, slots=True)
class Armor:
    """The lines of one armored block; offsets count from the start of the data."""

    kind: str
    begin: int
    blank: bool
    """Whether a blank line stands between the armor headers and the data."""
    odd_headers: tuple[int, ...]
    body: int
    """Where the data begin."""
    longest: int
    junk: tuple[int, int] | None
    """Place and value of the first octet that is no base64."""
    quoted: int | None
    """Where ``=3D`` or a soft line break stands: quoted-printable that was not undone (RFC 2045 6.7)."""
    beside: int | None
    """Where other text than the block begins, before or behind it."""
    crc: bool
    end: str
    """What the last line closes; empty if there is none."""
    end_at: int


@dataclass(frozen=True, slots=True)
class Recipient:
    """One encrypted session key (RFC 4880 5.1)."""

    version: int
    keyid: str
    algorithm: int
    bits: int
    """Size of an RSA key as far as the packet shows it, else 0."""

    @property
    def hidden(self) -> bool:
        """Whether the key is not named (RFC 4880 5.1)."""
        return self.version == 3 and self.keyid == _HIDDEN


@dataclass(frozen=True, slots=True)
class Outline:
    """One OpenPGP message in a mail as everybody can see it."""

    payload: Payload
    at: int
    """Where it begins in the buffer of its tree."""
    armor: Armor | None
    fault: RadpostError | None
    """What the decoder of the armor says: a wrong checksum, junk, an end that is missing."""
    size: int
    """Binary bytes."""
    recipients: tuple[Recipient, ...] = ()
    passwords: int = 0
    tag: int = 0
    """The packet with the data: 18, 9, 20, or another where nothing is encrypted."""
    version: int = 0
    broken: str = ""
    """Why the packets cannot be read to their end."""


def outline(payload: Payload, buffer: bytes) -> Outline:
    """Look at one OpenPGP message from outside."""
    raw = b"".join(bytes(chunk) for chunk in data(payload, buffer))
    exact = payload.entity.encoding in IDENTITY
    match = _BEGIN.search(raw.replace(b"\r", b"\n") if b"\r" in raw else raw)
    if match is None:
        return _packets(payload, payload.start, None, None, raw)
    armor = _armor(raw, match.start(), match[1].decode("ascii"))
    start = payload.start if exact else payload.entity.body_start
    binary, fault = _decoded(raw)
    return _packets(payload, start, armor, fault, binary)


def _decoded(raw: bytes) -> tuple[bytes, RadpostError | None]:
    out: list[bytes] = []
    try:
        for chunk in ArmorReader(io.BytesIO(raw)).chunks():
            out.append(chunk)  # noqa: PERF402  what came before a fault counts
    except RadpostError as error:
        return b"".join(out), error
    return b"".join(out), None


def _armor(raw: bytes, begin: int, kind: str) -> Armor:
    line = _next(raw, begin)
    at, blank = line, False
    odd: list[int] = []
    while at < len(raw):
        match = _LINE.match(raw, at)
        text = b"" if match is None else match[1]
        following = _next(raw, at)
        if not text.strip():
            blank, at = True, following
            break
        if b":" not in text:
            break
        if not _HEADER.match(text):
            odd.append(at)
        at = following
    closing = _END.search(raw, at)
    stop = len(raw) if closing is None else closing.start()
    lines = raw[at:stop].splitlines()
    last = next((text for text in reversed(lines) if text.strip()), b"")
    crc = _CRC.match(last) is not None
    quoted = _QUOTED.search(raw, at, stop)
    junk = _JUNK.search(raw[at:stop].translate(bytes.maketrans(b"\r\n", b"  ")))
    return Armor(
        kind=kind,
        begin=begin,
        blank=blank,
        odd_headers=tuple(odd),
        body=at,
        longest=max((len(text) for text in lines), default=0),
        junk=None if junk is None else (at + junk.start(), raw[at + junk.start()]),
        quoted=None if quoted is None else quoted.start(),
        beside=_beside(raw, begin, closing),
        crc=crc,
        end="" if closing is None else closing[1].decode("ascii"),
        end_at=stop,
    )


def _beside(raw: bytes, begin: int, closing: re.Match[bytes] | None) -> int | None:
    """Return where text stands that is not of the block."""
    before = _TEXT.search(raw, 0, begin)
    if before is not None:
        return before.start()
    if closing is None:
        return None
    behind = _TEXT.search(raw, raw.find(b"-----", closing.end(1)) + 5)
    return None if behind is None else behind.start()


def _next(raw: bytes, at: int) -> int:
    match = _LINE.match(raw, at)
    return len(raw) if match is None else max(match.end(), at + 1)


def _packets(
    payload: Payload, at: int, armor: Armor | None, fault: RadpostError | None, binary: bytes
) -> Outline:
    recipients: list[Recipient] = []
    passwords = tag = version = 0
    broken = ""
    reader = packets.ByteReader([binary])
    try:
        for _ in range(_MAX_PACKETS):
            header = packets.read_header(reader)
            if header is None:
                break
            if header.tag == packets.PKESK:
                recipients.append(_recipient(packets.small_body(reader, header)))
            elif header.tag == packets.SKESK:
                packets.small_body(reader, header)
                passwords += 1
            elif header.tag in (packets.MARKER, packets.PADDING):
                packets.small_body(reader, header)
            elif tag:
                broken = f"packet {header.tag} follows the data"
                break
            else:
                tag = header.tag
                version = _skim(reader, header)
                if tag not in _DATA:
                    break
    except packets.Malformed as error:
        broken = str(error)
    if not broken and not tag:
        broken = "there is no packet with data" if binary else "there are no data"
    return Outline(payload, at, armor, fault, len(binary), tuple(recipients), passwords, tag, version, broken)


def _skim(reader: packets.ByteReader, header: packets.Header) -> int:
    """Pass over a packet; return its first octet, the version."""
    first = 0
    for number, piece in enumerate(packets.body(reader, header)):
        if number == 0 and len(piece):
            first = piece[0]
    return first


def _recipient(content: bytes) -> Recipient:
    fields = packets.Fields(content)
    version = fields.number(1)
    if version != 3:
        return Recipient(version, "", 0, 0)
    keyid, algorithm = fields.take(8).hex().upper(), fields.number(1)
    bits = fields.number(2) if algorithm in (RSA, RSA_ENCRYPT) else 0
    return Recipient(version, keyid, algorithm, bits)


def outlines(payloads: Sequence[Payload], buffer: bytes) -> tuple[Outline, ...]:
    """Look at all OpenPGP messages of a tree."""
    return tuple(outline(payload, buffer) for payload in payloads)
