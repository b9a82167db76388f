"""Letters for tests: mails of a transmission, and any other entity, sealed as a partner would seal it."""

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from radpost.agit.letter import Item, Letter, boundaries, inner_chunks, outer_envelope
from radpost.mime.folding import message_fields
from radpost.mime.pgp import envelope
from radpost.mime.writer import Source
from radpost.openpgp import CompositeEngine, KeyKind, Keyring, export_public, generate, read_certs
from radpost.openpgp.values import Buffer, Chunk, Compression, Engine
from radpost.testing.peers.gnupg import GnuPG

WHEN = datetime(2026, 2, 12, 9, 30, tzinfo=UTC)
SENDER = "radiology@partner.example"
RECIPIENT = "gateway@clinic.example"
MESSAGE_ID = "<00112233445566778899aabbccddeeff@partner.example>"


@dataclass(frozen=True, slots=True)
class Correspondents:
    """Keys: we are the ``clinic``, ``partner`` and ``other`` are known to us, the ``stranger`` is not."""

    clinic: str
    partner: str
    other: str
    stranger: str
    engine: Engine
    """Ours: it opens what is for the clinic."""
    theirs: Engine
    """Holds all secret keys: it writes as anybody and to anybody."""
    peer: GnuPG
    """Plain GnuPG with all secret keys."""


@contextmanager
def correspondents(home: Path) -> Iterator[Correspondents]:
    """Make all keys and engines; ``home`` has a short path, because sockets need it."""
    names = ("clinic", "partner", "other", "stranger")
    secrets = {name: generate(name, f"{name}@{name}.example", kind=KeyKind.CURVE25519) for name in names}
    now = datetime.now(UTC)
    prints = {name: read_certs(secret, now=now)[0].fingerprint for name, secret in secrets.items()}
    known = [export_public(secrets[name]) for name in ("partner", "other")]
    with (
        Keyring(home / "o", [secrets["clinic"]], known) as ours,
        Keyring(home / "t", list(secrets.values()), []) as theirs,
        GnuPG(list(secrets.values())) as peer,
    ):
        yield Correspondents(
            **prints, engine=CompositeEngine(ours), theirs=CompositeEngine(theirs), peer=peer
        )


def dicom_item(data: bytes, *, study_uid: str = "2.25.1", compressible: bool = True) -> Item:
    """Return a DICOM object of a letter; the content is the caller's."""
    return Item(Source.of(data), True, "application/dicom", "", study_uid, compressible)


def document(
    data: bytes, name: str, media_type: str = "application/pdf", *, study_uid: str = "2.25.1"
) -> Item:
    """Return a document of a letter."""
    return Item(Source.of(data), False, media_type, name, study_uid, True)


def letter(items: Iterable[Item], **changes: Any) -> Letter:
    """Return the only mail of a transmission from the partner to the clinic."""
    plain = Letter(
        sender=SENDER,
        recipient=RECIPIENT,
        date=WHEN,
        message_id=MESSAGE_ID,
        set_id="2.25.4711",
        part=1,
        total=1,
        first_position=1,
        items=tuple(items),
        boundaries=boundaries(bytes(16), bytes(15) + b"\1"),
    )
    return replace(plain, **changes)


def seal(
    mail: Letter, engine: Engine, recipient: str, signer: str | None, compress: Compression = Compression.ZIP
) -> bytes:
    """Seal a letter with the production writer."""
    outside = outer_envelope(mail)
    return outside.head + armored(inner_chunks(mail), engine, [recipient], signer, compress) + outside.tail


def seal_entity(
    entity: bytes,
    engine: Engine,
    recipient: str,
    signer: str | None,
    fields: Sequence[tuple[str, str]] = (),
    message_id: str = MESSAGE_ID,
) -> bytes:
    """Seal any entity in PGP/MIME, as some other program might."""
    head = message_fields(
        sender=SENDER,
        recipient=RECIPIENT,
        subject="DICOM-eMail",
        date=WHEN,
        message_id=message_id,
        extra=fields,
    )
    outside = envelope(head, "=_0123456789abcdef")
    return outside.head + armored([entity], engine, [recipient], signer) + outside.tail


def armored(
    data: Iterable[Chunk | Buffer],
    engine: Engine,
    recipients: Sequence[str],
    signer: str | None,
    compress: Compression = Compression.ZIP,
) -> bytes:
    """Seal bytes to armor."""
    sink = io.BytesIO()
    engine.seal(data, sink, recipients=recipients, signer=signer, compress=compress)
    return sink.getvalue()
