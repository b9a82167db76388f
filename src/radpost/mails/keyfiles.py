"""Files with keys, told by what is in them: OpenPGP (RFC 9580), and what S/MIME needs (X.509, PKCS).

Names and suffixes decide nothing. One file may hold several keys, also of both kinds, also secret and public
ones together; text before and after armored blocks is passed over.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from radpost import smime
from radpost.errors import KEY_UNREADABLE, PASSPHRASE_WRONG, RadpostError
from radpost.mails.sources import several
from radpost.openpgp import material, protection
from radpost.openpgp.keys import read_blocks
from radpost.openpgp.material import Block

LARGEST: Final = 16 << 20
_OPENPGP: Final = re.compile(rb"^-----BEGIN PGP (?:PUBLIC|PRIVATE) KEY BLOCK", re.MULTILINE)
_PEM: Final = re.compile(
    rb"^-----BEGIN (?:[A-Z0-9 ]*PRIVATE KEY|(?:X509 |TRUSTED )?CERTIFICATE|PKCS7|CMS|(?:X509 )?CRL)-----",
    re.MULTILINE,
)
_DER: Final = re.compile(rb"\x30[\x03-\x7f\x80\x81-\x84]")
"""An ASN.1 SEQUENCE: certificate, PKCS#8 or PKCS#12 in DER (X.690 8.1)."""
_KEYBOX: Final = slice(8, 12)


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """The files a person names: ``--secret``, ``--certs``, ``--ca``, ``--passphrase-file``."""

    secrets: tuple[Path, ...] = ()
    certs: tuple[Path, ...] = ()
    anchors: tuple[Path, ...] = ()
    passphrase: Path | None = None


@dataclass(frozen=True, slots=True)
class X509Material:
    """What S/MIME needs, each file as it came: PEM (one or many blocks), DER or PKCS#12."""

    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    """Private keys, perhaps with their certificates beside them."""
    certs: tuple[bytes, ...] = ()
    """Certificates of senders and of authorities between."""
    anchors: tuple[bytes, ...] = ()
    """Certificates that are trusted as they are."""
    passphrase: bytes | None = field(default=None, repr=False)

    @property
    def passphrases(self) -> tuple[bytes, ...]:
        """Return the passphrases to try."""
        return () if self.passphrase is None else (self.passphrase,)


@dataclass(frozen=True, slots=True)
class OpenPGPMaterial:
    """OpenPGP keys, without passphrases, each on its own and binary."""

    own: tuple[bytes, ...] = field(default=(), repr=False)
    """Secret keys."""
    others: tuple[bytes, ...] = ()
    """Public keys."""
    own_fingerprints: tuple[str, ...] = ()
    """Primary fingerprints (upper hex) in the order of the files."""
    other_fingerprints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Material:
    """All keys of a command."""

    openpgp: OpenPGPMaterial
    x509: X509Material


def read_material(files: KeyFiles) -> Material:
    """Read all key files.

    Raises:
        RadpostError: KEY_UNREADABLE, PASSPHRASE_WRONG (missing or wrong); both name the file.
    """
    passphrase = None if files.passphrase is None else _passphrase(files.passphrase)
    own: dict[str, bytes] = {}
    others: dict[str, bytes] = {}
    x509: dict[str, list[bytes]] = {"secrets": [], "certs": [], "anchors": []}
    for path in files.secrets:
        data = _read(path)
        for block in _openpgp(path, data, x509["secrets"]):
            if any(not protection.is_absent(key) for key in (block.primary, *block.subkeys)):
                unlocked = _unlocked(path, block, passphrase)
                own[block.primary.fingerprint] = material.serialize(unlocked, secret=True)
            else:
                others[block.primary.fingerprint] = material.serialize(block, secret=False)
    for path in files.certs:
        data = _read(path)
        for block in _openpgp(path, data, x509["certs"]):
            others[block.primary.fingerprint] = material.serialize(block, secret=False)
    for path in files.anchors:
        data = _read(path)
        if not _holds_x509(data):
            raise _unreadable(path, "no certificate; --ca takes X.509 certificates (PEM or DER)")
        x509["anchors"].append(data)
    return Material(
        OpenPGPMaterial(tuple(own.values()), tuple(others.values()), tuple(own), tuple(others)),
        X509Material(tuple(x509["secrets"]), tuple(x509["certs"]), tuple(x509["anchors"]), passphrase),
    )


def blame(files: KeyFiles, passphrases: Sequence[bytes]) -> None:
    """Name the file that S/MIME cannot use, when all of them together could not be read.

    Raises:
        RadpostError: CERTIFICATE_UNREADABLE, PASSPHRASE_WRONG, RESOURCE_LIMIT.
    """
    for path in (*files.secrets, *files.certs, *files.anchors):
        data = _read(path)
        if not _holds_x509(data):
            continue
        try:
            smime.load([data], passphrases)
        except RadpostError as error:
            raise _named(path, error) from error


def _openpgp(path: Path, data: bytes, x509: list[bytes]) -> Sequence[Block]:
    """Return the OpenPGP keys of a file; what is X.509 goes to the list."""
    armored = _OPENPGP.search(data) is not None
    if _holds_x509(data):
        x509.append(data)
        if not armored:
            return ()
    binary = data[:1] >= b"\x80"
    if data[_KEYBOX] == b"KBXf":
        raise _unreadable(path, "a key box of GnuPG; export the keys by 'gpg --export' and give that file")
    if not armored and not binary:
        raise _unreadable(path, "neither an OpenPGP key nor a certificate or key in PEM, DER or PKCS#12")
    try:
        return read_blocks(_only_keys(data) if armored else data)
    except RadpostError as error:
        raise _unreadable(path, error.detail) from error


def _only_keys(data: bytes) -> bytes:
    """Drop what stands before the first armored key, PEM blocks for example."""
    found = _OPENPGP.search(data)
    return data[found.start() :] if found else data


def _holds_x509(data: bytes) -> bool:
    return _PEM.search(data) is not None or _DER.match(data) is not None


def _unlocked(path: Path, block: Block, passphrase: bytes | None) -> Block:
    if not any(protection.is_locked(key) for key in (block.primary, *block.subkeys)):
        return block
    if passphrase is None:
        raise RadpostError(PASSPHRASE_WRONG, f"{path.name}: none was given; name a file by --passphrase-file")
    try:
        return protection.unlock(block, passphrase)
    except RadpostError as error:
        raise _named(path, error) from error


def _passphrase(path: Path) -> bytes:
    """Return the first line: the line end that editors add is not part of a passphrase."""
    lines = _read(path).splitlines()
    return lines[0] if lines else b""


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise _unreadable(path, error.strerror or "it cannot be read") from error
    if len(data) > LARGEST:
        raise _unreadable(path, "it is far too large for keys")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        # what a redirection in PowerShell writes
        return data.decode("utf-16", "replace").encode("utf-8")
    return data.removeprefix(b"\xef\xbb\xbf")


def _named(path: Path, error: RadpostError) -> RadpostError:
    """Return the same fault with the name of the file before its details."""
    return RadpostError(error.reason, ": ".join(filter(None, (path.name, error.detail))))


def _unreadable(path: Path, why: str) -> RadpostError:
    return RadpostError(KEY_UNREADABLE, f"{path.name}: {why}" if why else path.name)


def as_files(
    secrets: Path | str | Iterable[Path | str] = (),
    certs: Path | str | Iterable[Path | str] = (),
    anchors: Path | str | Iterable[Path | str] = (),
    passphrase: Path | str | None = None,
) -> KeyFiles:
    """Return the value for paths of any kind."""
    return KeyFiles(
        tuple(map(Path, several(secrets))),
        tuple(map(Path, several(certs))),
        tuple(map(Path, several(anchors))),
        None if passphrase is None else Path(passphrase),
    )
