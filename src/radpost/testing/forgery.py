"""Mails that a test makes itself: as a partner would, as a careless one would, and as an attacker would."""

import base64
import hashlib
import io
import secrets
import smtplib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from radpost.agit import names
from radpost.agit.letter import Item, Letter, boundaries, inner_chunks, outer_envelope
from radpost.mime.folding import boundary
from radpost.mime.folding import message_id as make_message_id
from radpost.mime.report import Receipt, build_mdn, parse_disposition
from radpost.mime.writer import Source
from radpost.openpgp import material, packets
from radpost.openpgp.armor import MESSAGE, armor, unarmor_all
from radpost.openpgp.engine import CompositeEngine
from radpost.openpgp.keyring import Keyring
from radpost.openpgp.material import Encryptor
from radpost.testing.institution import OwnKey

_AES256 = 9
_ENCRYPTING = frozenset({material.ECDH, material.RSA})


@dataclass(frozen=True, slots=True)
class Document:
    """What is put into a mail: DICOM if ``media_type`` says so."""

    data: bytes
    name: str = "object"
    media_type: str = names.DICOM_TYPE
    study_uid: str = ""


def new_message_id(domain: str = "klinik-a.example") -> str:
    """Return a fresh Message-ID."""
    return make_message_id(secrets.token_bytes(16), domain)


def letter(
    documents: Sequence[Document | Path],
    *,
    sender: str,
    recipient: str,
    message_id: str = "",
    set_id: str = "",
    part: int = 1,
    total: int = 1,
) -> Letter:
    """Return an unsealed mail; change what you like by ``dataclasses.replace``."""
    items = []
    for given in documents:
        document = Document(given.read_bytes()) if isinstance(given, Path) else given
        items.append(
            Item(
                source=Source.of(document.data),
                is_dicom=document.media_type == names.DICOM_TYPE,
                media_type=document.media_type,
                name=document.name,
                study_uid=document.study_uid,
                compressible=True,
            )
        )
    return Letter(
        sender=sender,
        recipient=recipient,
        date=datetime.now(UTC).replace(microsecond=0),
        message_id=message_id or new_message_id(),
        set_id=set_id or f"2.25.{secrets.randbits(120)}",
        part=part,
        total=total,
        first_position=1,
        items=tuple(items),
        boundaries=boundaries(secrets.token_bytes(16), secrets.token_bytes(16)),
    )


def seal(mail: Letter, *, to: OwnKey, signer: OwnKey | None, outside: Letter | None = None) -> bytes:
    """Return a sealed mail; ``outside`` gives other outer headers than the signed ones."""
    envelope = outer_envelope(outside or mail)
    return envelope.head + encrypt(b"".join(_octets(mail)), to=to, signer=signer) + envelope.tail


def encrypt(inner: bytes, *, to: OwnKey, signer: OwnKey | None) -> bytes:
    """Return an armored OpenPGP message with this inside."""
    sink = io.BytesIO()
    with (
        tempfile.TemporaryDirectory(prefix="forge-") as home,
        Keyring(Path(home), [signer.secret] if signer else [], [to.public]) as ring,
    ):
        CompositeEngine(ring).seal(
            [inner], sink, recipients=[to.fingerprint], signer=signer.fingerprint if signer else None
        )
    return sink.getvalue()


def encrypt_packets(content: bytes, *, to: OwnKey, mdc: bool = True) -> bytes:
    """Return an armored message around any OpenPGP packets, without an integrity check if so wanted."""
    block = next(material.blocks(unarmor_all(to.public)))
    subkey = next(key for key in block.subkeys if key.algorithm in _ENCRYPTING)
    session = material.new_session(_AES256)
    prefix = secrets.token_bytes(16)
    plain = prefix + prefix[-2:] + content
    if mdc:
        plain += b"\xd3\x14" + hashlib.sha1(plain + b"\xd3\x14", usedforsecurity=False).digest()
        context = Cipher(AES(session), CFB(bytes(16))).encryptor()
        sealed = packets.packet(packets.SEIPD, b"\x01" + context.update(plain))
    else:
        # OpenPGP's own CFB (RFC 4880 13.9): the feedback is started anew behind the prefix
        first = Cipher(AES(session), CFB(bytes(16))).encryptor().update(plain[:18])
        rest = Cipher(AES(session), CFB(first[2:18])).encryptor().update(plain[18:])
        sealed = packets.packet(packets.SED, first + rest)
    return armor(Encryptor(subkey).packet(_AES256, session) + sealed, MESSAGE)


def wrap(mail: Letter, armored: bytes) -> bytes:
    """Return a mail with this OpenPGP message in it."""
    envelope = outer_envelope(mail)
    return envelope.head + armored + envelope.tail


def inner(mail: Letter) -> bytes:
    """Return the entity that is to be signed and encrypted."""
    return b"".join(_octets(mail))


def tamper(mail: bytes, *, at: float = 0.5) -> bytes:
    """Return a sealed mail with some bits of its ciphertext turned over; armor and its checksum still fit."""
    head, middle = mail.split(b"-----BEGIN PGP MESSAGE-----", 1)
    body, tail = middle.split(b"-----END PGP MESSAGE-----", 1)
    _, _, text = body.partition(b"\r\n\r\n")
    lines = [line for line in text.split(b"\r\n") if line and not line.startswith(b"=")]
    data = bytearray(base64.b64decode(b"".join(lines)))
    data[int(len(data) * at)] ^= 0x55
    changed = base64.encodebytes(bytes(data)).replace(b"\n", b"\r\n")
    return head + b"-----BEGIN PGP MESSAGE-----\r\n\r\n" + changed + b"-----END PGP MESSAGE-----" + tail


def plain_receipt(*, sender: str, recipient: str, about: str, disposition: str) -> bytes:
    """Return an unsigned MDN (RFC 8098)."""
    receipt = Receipt(
        original_message_id=about,
        final_recipient=sender,
        disposition=parse_disposition(disposition),
        reporting_ua="Elsewhere",
        reason_en="What happened.",
        reason_de="Was geschah.",
        error=None,
        warning=None,
    )
    return build_mdn(
        receipt,
        sender=sender,
        recipient=recipient,
        date=datetime.now(UTC),
        message_id=new_message_id(),
        boundary=boundary(secrets.token_bytes(16)),
        subject="receipt",
    )


def post(
    port: int, recipient: str, mail: bytes, *, sender: str = "", helo: str = "elsewhere.example"
) -> None:
    """Hand a mail to an SMTP server; raises what ``smtplib`` raises if it is refused."""
    with smtplib.SMTP("127.0.0.1", port, helo, timeout=30) as client:
        client.sendmail(sender, [recipient], mail)


def renamed(mail: Letter, **changes: str) -> Letter:
    """Return a mail with other headers."""
    return replace(mail, **changes)  # type: ignore[arg-type]  # text fields only


def _octets(mail: Letter) -> list[bytes]:
    return [bytes(chunk.data) for chunk in inner_chunks(mail)]
