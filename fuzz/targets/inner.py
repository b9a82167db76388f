"""What was sealed, after decryption: objects and reports are found, and nothing is covered that was not.

The engine is replaced by one that "decrypts" to the input; everything else of the reader is real.
"""

import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from fuzz.mutation import mail_mutator
from fuzz.seeds import MAILS, RECEIPT, SIGNED, reference_mails
from fuzz.target import Target, sampled
from radpost.agit.contents import Content
from radpost.agit.letter import inner_chunks, outer_envelope
from radpost.agit.opening import MAX_OBJECTS, open_mail, studies
from radpost.agit.receipts import read_details
from radpost.agit.survey import MailKind, Survey, is_study_uid, survey
from radpost.errors import RadpostError
from radpost.openpgp.plaintext import PlaintextWriter
from radpost.openpgp.values import NO_SIGNATURE, Buffer, Limits, Opened, Signature
from radpost.testing.letters import dicom_item, document, letter
from radpost.words import Verdict

ARMOR = b"-----BEGIN PGP MESSAGE-----\r\n\r\nAAAA\r\n-----END PGP MESSAGE-----\r\n"
DICOM = bytes(128) + b"DICM" + b"x" * 40
MAIL = letter((dicom_item(DICOM), document(b"%PDF-\xff", "Größe.pdf")))
OUTER = outer_envelope(MAIL).head + ARMOR + outer_envelope(MAIL).tail
INNER = b"".join(bytes(chunk.data) for chunk in inner_chunks(MAIL))
NESTED = (
    b"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nX-TELEMEDICINE-STUDYID: 1.2.3\r\n"
    b"Content-Type: application/octet-stream; name=a.pgp\r\n\r\n" + ARMOR + b"--m\r\n"
    b"Content-Type: message/rfc822\r\n\r\n" + INNER + b"\r\n--m\r\nContent-Type: application/dicom\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=00=\r\nx\r\n--m--\r\n"
)
LIMITS = Limits(memory=1 << 16, max_plaintext=1 << 22)
WORDS = (
    ARMOR.rstrip(),
    b"Content-Type: application/dicom",
    b"Content-Type: application/pkcs7-signature",
    b"Content-Disposition: attachment",
    b"X-TELEMEDICINE-STUDYID: 1.2",
    b"x" * 128 + b"DICM",
    b"%PDF-",
)


class Opener:
    """An engine that opens everything to the same plaintext."""

    def __init__(self, plain: bytes) -> None:
        self._plain = plain

    def open(self, source: BinaryIO, *, temp: Path, limits: Limits, legacy: bool = False) -> Opened:
        """Return the plaintext, signed well."""
        source.read()
        writer = PlaintextWriter(temp, limits.memory)
        writer.write(self._plain)
        return Opened(
            Signature(Verdict.GOOD, "A" * 40), writer.finish(), "mdc", encrypted=True, cipher="AES256"
        )

    def verify_detached(self, data: Iterable[Buffer], signature: bytes) -> Signature:
        """Read all that was signed."""
        for _ in data:
            pass
        return NO_SIGNATURE

    def seal(self, *args: Any, **kwargs: Any) -> Any:
        """Nothing is sealed here."""
        raise NotImplementedError

    def sign_detached(self, *args: Any, **kwargs: Any) -> bytes:
        """Nothing is signed here."""
        raise NotImplementedError


@cache
def folder() -> Path:
    """Return where large plaintexts go; they have no name there."""
    return Path(tempfile.mkdtemp(prefix="radpost-fuzz-"))


@cache
def outside() -> Survey:
    """Return the survey of a mail of ours."""
    return survey(OUTER)


def check(data: bytes) -> None:
    """Read the input as the content of a sealed mail, and as a mail of its own."""
    covered = opened(outside(), OUTER, data)
    if sampled(data):
        assert covered == opened(outside(), OUTER, data), "reading is deterministic"
    for encrypted in covered or ():
        assert encrypted, "all of it was within the encryption"
    try:
        found = survey(data)
    except RadpostError:
        return
    consistent(found)
    opened(found, data, INNER)


def opened(found: Survey, mail: bytes, plain: bytes) -> list[bool] | None:
    """Open a mail and use its content as the gateway does; return which parts were encrypted."""
    try:
        with open_mail(found, mail, Opener(plain), temp=folder(), limits=LIMITS) as content:
            return use(content)
    except RadpostError:
        return None


def use(content: Content) -> list[bool]:
    """Read every object and report; say which were encrypted."""
    parts = studies(content).parts
    assert len(parts) <= MAX_OBJECTS
    for part in parts:
        size = 0
        for chunk in part.chunks():
            size += len(chunk)
        assert size <= part.end - part.start
        assert part.plain is None or len(part.plain) == size
        assert part.cover.encrypted or not content.encrypted
        assert part.study_uid == "" or is_study_uid(part.study_uid)
        part.filename.encode("utf-8")
    for report in content.reports:
        read_details(report.details)
    if content.inner is not None:
        content.inner.date()
        content.inner.addresses("From")
    return [part.cover.encrypted for part in parts] + [report.cover.encrypted for report in content.reports]


def consistent(found: Survey) -> None:
    """The kind of a mail and what was found in it fit together."""
    assert (found.fragment is not None) == (found.kind is MailKind.FRAGMENT)
    assert (found.dsn is not None) == (found.kind is MailKind.BOUNCE)
    assert found.mdn is not None or found.kind is not MailKind.RECEIPT
    if found.kind is MailKind.SEALED:
        assert found.found.payloads or found.found.signed


TARGET = Target(
    name="inner",
    rooms=("radpost.agit", "radpost.mime"),
    max_len=1 << 12,
    check=check,
    seeds=lambda: (
        INNER,
        NESTED,
        OUTER,
        SIGNED,
        RECEIPT,
        DICOM,
        *MAILS,
        *reference_mails("agit", "third-party"),
    ),
    mutate=mail_mutator(WORDS, (INNER, NESTED, OUTER, SIGNED, RECEIPT)),
)
