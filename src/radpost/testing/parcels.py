"""Transmissions packed for tests: the key files of both sides, and the mails as their receiver joins them."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radpost.dicom.meta import EXPLICIT_VR_LITTLE_ENDIAN, file_meta
from radpost.mails.packing import Packed, pack
from radpost.mime.partial import Fragment, assemble, fragment_info
from radpost.mime.reader import parse
from radpost.openpgp import KeyKind, export_public, export_secret, generate

SENDER = "radiology@partner.example"
RECIPIENT = "gateway@clinic.example"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
PASSPHRASE = "geheim"  # noqa: S105  protects a key that is made for one test


@dataclass(frozen=True, slots=True)
class Parties:
    """Key files as a person has them on disk."""

    secret: Path
    certs: Path
    theirs: Path
    """The recipient's secret key."""
    ours: Path
    """The sender's public key."""
    locked: Path
    """The sender's secret key under the passphrase."""


def make_parties(folder: Path, kind: KeyKind = KeyKind.CURVE25519) -> Parties:
    """Make the keys of both sides and write their files."""
    sender = generate("Partner", SENDER, kind=kind)
    recipient = generate("Clinic", RECIPIENT, kind=kind)
    files = {
        "secret": sender,
        "certs": export_public(recipient),
        "theirs": recipient,
        "ours": export_public(sender),
        "locked": export_secret(sender, PASSPHRASE),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return Parties(**{name: folder / name for name in files})


def dicom_file(number: int, pixels: bytes, *, jpeg: bool = False) -> bytes:
    """Return a Part 10 file around any pixels: native, or as the one frame of a JPEG object (PS3.5 A.4)."""
    uid = f"2.25.{4711_000 + number}"
    syntax = JPEG_BASELINE if jpeg else EXPLICIT_VR_LITTLE_ENDIAN
    head = b"".join(
        _element(group, element, b"UI", _even(text.encode(), b"\0"))
        for group, element, text in (
            (0x0008, 0x0016, SECONDARY_CAPTURE),
            (0x0008, 0x0018, uid),
            (0x0020, 0x000D, "2.25.4711"),
            (0x0020, 0x000E, "2.25.4712"),
        )
    )
    data = _even(pixels, b"\0")
    if jpeg:
        frame = b"\xfe\xff\x00\xe0" + len(data).to_bytes(4, "little") + data
        data = b"\xfe\xff\x00\xe0\0\0\0\0" + frame + b"\xfe\xff\xdd\xe0\0\0\0\0"
        pixel_data = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + data
    else:
        pixel_data = b"\xe0\x7f\x10\x00OW\0\0" + len(data).to_bytes(4, "little") + data
    return file_meta(SECONDARY_CAPTURE, uid, syntax) + head + pixel_data


def _element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def _even(data: bytes, padding: bytes) -> bytes:
    return data + padding if len(data) % 2 else data


def packed(parties: Parties, paths: Sequence[Path], out: Path, **changes: Any) -> Packed:
    """Pack from the sender to the recipient; ``changes`` are arguments of `pack`."""
    given = {"sender": SENDER, "recipient": RECIPIENT, "secrets": [parties.secret], "certs": [parties.certs]}
    return pack(paths, out=out, **{**given, **changes})


def whole(folder: Path, files: Sequence[str]) -> bytes:
    """Return a mail; fragments are joined, the last first."""
    read = [(folder / name).read_bytes() for name in files]
    if len(read) == 1:
        return read[0]
    pieces = []
    for raw in reversed(read):
        entity = parse(raw)
        info = fragment_info(entity)
        assert info is not None
        pieces.append(Fragment(info, entity, raw))
    return b"".join(bytes(chunk) for chunk in assemble(pieces).chunks())


def mails(result: Packed) -> list[bytes]:
    """Return all mails of a transmission, joined."""
    return [whole(Path(result.folder), mail.files) for mail in result.mails]
