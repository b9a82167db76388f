"""Letters become bytes: files as their objects, sealed by an engine, cut where a mail is too large.

What a gateway sends and what `radpost pack` writes go through here.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from radpost.agit import names
from radpost.agit.dialect import Writing
from radpost.agit.letter import Letter, inner_chunks, outer_envelope
from radpost.mime.coding import Buffer
from radpost.mime.headers import parse_block
from radpost.mime.partial import Cut, FragmentHeader, repeated, split
from radpost.openpgp.deflate import measure_gain
from radpost.openpgp.values import Compression, Engine

READ_BYTES: Final = 1 << 20
_HEADER_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Keys:
    """Who can read a mail and who signs it, by primary fingerprints; without ``sign`` nobody does."""

    recipients: tuple[str, ...]
    signer: str | None


def pays(path: Path, writing: Writing) -> bool:
    """Tell whether a file is to be compressed: by the switch, or by what is gained.

    In base64 (RFC 2045 6.8) anything loses a quarter by it; an object that stands unencoded is measured by
    samples.
    """
    if writing.compression != "auto":
        return writing.compression == "always"
    if writing.inner_encoding == "base64":
        return True
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return measure_gain(
            os.fstat(descriptor).st_size, lambda count, start: os.pread(descriptor, count, start)
        )
    finally:
        os.close(descriptor)


def read(path: Path) -> Iterator[bytes]:
    """Yield a file in bounded chunks."""
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            yield chunk


def seal(letter: Letter, sink: BinaryIO, engine: Engine, keys: Keys, writing: Writing) -> None:
    """Write the whole mail: signed and encrypted in one message (RFC 3156 6.2), armored.

    Raises:
        RadpostError: NO_USABLE_KEY, OWN_KEY_UNUSABLE, before anything sealed is written.
    """
    envelope = outer_envelope(letter)
    packed = any(item.compressible for item in letter.items)
    sink.write(envelope.head)
    engine.seal(
        inner_chunks(letter),
        sink,
        recipients=keys.recipients,
        signer=keys.signer if writing.sign else None,
        compress=Compression.ZIP if packed else Compression.NONE,
        armor=True,
        cipher=writing.cipher,
        digest=writing.digest,
    )
    sink.write(envelope.tail)


def fragments(
    mail: Buffer, limit: int, *, partial_id: str, message_id: Callable[[int], str]
) -> Sequence[Cut]:
    """Cut a sealed mail into message/partial of at most ``limit`` bytes (RFC 2046 5.2.2).

    The date of the fragments is the mail's own, for the signature binds it; the set headers stand on each,
    because a receiver that joins by the book drops the enclosed ones.
    """
    head = bytes(mail[:_HEADER_BYTES])
    fields = parse_block(head, complete=len(mail) <= _HEADER_BYTES).headers
    date = fields.date()
    assert date is not None, "a mail of ours has a date"
    header = FragmentHeader(
        sender=fields.get("From") or "",
        recipient=fields.get("To") or "",
        subject=names.SUBJECT,
        date=date,
        partial_id=partial_id,
        message_id=message_id,
        extra=tuple(repeated(fields)),
    )
    return split(mail, limit, header)
