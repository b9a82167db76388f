"""Open a mail: decrypt and verify what is sealed, and find the objects and reports inside.

Nothing that is decrypted leaves before the engine has proven its integrity; whether a verdict is good enough
is for the caller's policy to say (DESIGN invariant 7).
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self, cast

from radpost.agit import names
from radpost.agit.survey import (
    SetInfo,
    Survey,
    first_address,
    looks_dicom,
    read_set,
    study_uid,
)
from radpost.errors import MIME_MALFORMED, RESOURCE_LIMIT, RadpostError
from radpost.mime.coding import IDENTITY, Buffer, Bytes, slices
from radpost.mime.headers import Headers
from radpost.mime.pgp import Found, Kind, Payload, data, find_openpgp, signed_data, strip_suffix
from radpost.mime.reader import Entity, body, content, parse
from radpost.mime.report import Mdn, parse_mdn
from radpost.openpgp.plaintext import Plaintext
from radpost.openpgp.values import NO_SIGNATURE, Engine, Limits, Signature, decisive
from radpost.words import Verdict

MAX_SEALS: Final = 4
"""OpenPGP within OpenPGP, at most so deep."""
MAX_OBJECTS: Final = 10_000
MAX_DETAILS: Final = 16 << 20
_TEXT_TYPES: Final = ("text/plain", "text/html", "text/rtf", "text/enriched")
_NOT_DATA: Final = frozenset(
    {
        "application/pgp-signature",
        "application/pgp-keys",
        "application/pgp-encrypted",
        "message/disposition-notification",
        "message/delivery-status",
        "text/rfc822-headers",
        names.RECEIPT_DETAILS_TYPE,
    }
)


@dataclass(frozen=True, slots=True)
class Part:
    """One object of a mail, still encoded in its buffer."""

    buffer: Buffer
    start: int
    end: int
    entity: Entity | None
    media_type: str
    filename: str
    study_uid: str
    claims_dicom: bool

    def chunks(self) -> Iterator[Bytes]:
        """Yield the object's bytes."""
        if self.entity is None:
            return slices(self.buffer, self.start, self.end)
        return body(self.entity, self.buffer)

    @property
    def plain(self) -> "memoryview | None":
        """Return the object as a view where it stands unencoded, else None."""
        if self.entity is None or self.entity.encoding in IDENTITY:
            return memoryview(cast("bytes", self.buffer))[self.start : self.end]
        return None


@dataclass(frozen=True, slots=True)
class Report:
    """A receipt found inside the encryption, with the list per object that a Radpost peer adds (JSON)."""

    mdn: Mdn
    details: bytes


@dataclass(slots=True)
class Content:
    """What was inside of a mail; a context manager that drops the plaintext at its end."""

    signature: Signature = NO_SIGNATURE
    encrypted: bool = False
    parts: list[Part] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    inner: Headers | None = None
    set_info: SetInfo | None = None
    receipt_to: str = ""
    _plaintexts: list[Plaintext] = field(default_factory=list)
    _signatures: list[Signature] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.parts.clear()
        self.reports.clear()
        for plaintext in self._plaintexts:
            with contextlib.suppress(BufferError):
                plaintext.close()

    def hold(self, plaintext: Plaintext) -> None:
        """Keep a plaintext until the end."""
        self._plaintexts.append(plaintext)

    def saw(self, signature: Signature) -> None:
        """Take a signature into account; the decisive one counts, a bad one before all."""
        if signature.verdict is not Verdict.NONE:
            self._signatures.append(signature)
            self.signature = decisive(self._signatures)


def open_mail(
    survey: Survey, buffer: Buffer, engine: Engine, *, temp: Path, limits: Limits, legacy: bool = False
) -> Content:
    """Open all that a surveyed mail holds; close the result.

    Raises:
        RadpostError: of the OpenPGP engine (NO_SECRET_KEY, TAMPERED, NO_INTEGRITY, ...), MIME_MALFORMED,
            RESOURCE_LIMIT. Nothing is released then.
    """
    content_ = Content()
    opener = _Opener(engine, temp, limits, legacy, content_)
    try:
        opener.level(survey.root, survey.found, buffer, survey.study_uid, depth=0)
    except BaseException:
        content_.__exit__(None, None, None)
        raise
    if content_.set_info is None:
        content_.set_info = survey.set_info
    return content_


@dataclass(slots=True)
class _Opener:
    engine: Engine
    temp: Path
    limits: Limits
    legacy: bool
    content: Content

    def level(self, root: Entity, found: Found, buffer: Buffer, study: str, *, depth: int) -> None:
        """Take what stands in one MIME tree, and open what is sealed in it."""
        if depth > MAX_SEALS:
            raise RadpostError(RESOURCE_LIMIT, f"sealed more than {MAX_SEALS} times")
        study = study_uid(root.headers) or study
        for signed in found.signed:
            signature = b"".join(bytes(chunk) for chunk in body(signed.signature, buffer))
            self.content.saw(self.engine.verify_detached(signed_data(signed, buffer), signature))
        sealed = {id(payload.entity) for payload in found.payloads}
        for payload in found.payloads:
            self._payload(payload, buffer, study, depth)
        self._reports(root, buffer)
        for entity in root.walk():
            if id(entity) not in sealed and self._is_data(entity, buffer):
                self._take(entity, buffer, study)

    def _payload(self, payload: Payload, buffer: Buffer, study: str, depth: int) -> None:
        opened = self.engine.open(
            _readable(payload, buffer), temp=self.temp, limits=self.limits, legacy=self.legacy
        )
        self.content.hold(opened.plaintext)
        self.content.encrypted |= opened.encrypted
        self.content.warnings.extend(opened.warnings)
        self.content.saw(opened.signature)
        plain: Buffer = opened.plaintext.view() if opened.plaintext.size else b""
        study = study_uid(payload.entity.headers) or study
        entity = _as_mime(payload, plain)
        if entity is None:
            self._file(payload, plain, study)
            return
        if self.content.inner is None:
            self.content.inner = entity.headers
            self.content.set_info = read_set(entity.headers)
            self.content.receipt_to = first_address(entity.headers, names.DISPOSITION_NOTIFICATION_TO)
        self.level(entity, find_openpgp(entity, plain), plain, study, depth=depth + 1)

    def _file(self, payload: Payload, plain: Buffer, study: str) -> None:
        if not len(plain):
            return
        is_dicom = bytes(plain[128:132]) == b"DICM"
        name = strip_suffix(payload.filename) or ""
        if payload.kind is Kind.INLINE and not is_dicom and not name:
            return
        media_type = names.DICOM_TYPE if is_dicom else "application/octet-stream"
        self._add(Part(plain, 0, len(plain), None, media_type, name, study, is_dicom))

    def _reports(self, root: Entity, buffer: Buffer) -> None:
        mdn = parse_mdn(root, buffer)
        if mdn is None:
            return
        listed = (part for part in root.walk() if part.content_type == names.RECEIPT_DETAILS_TYPE)
        part = next(listed, None)
        details = b"" if part is None else content(part, buffer, MAX_DETAILS)
        self.content.reports.append(Report(mdn, details))

    def _is_data(self, entity: Entity, buffer: Buffer) -> bool:
        if entity.children or entity.is_multipart or entity.content_type in _NOT_DATA:
            return False
        if entity.content_type == "message/partial":
            return False
        if looks_dicom(entity, buffer):
            return entity.size > 0 or entity.content_type == names.DICOM_TYPE
        if entity.content_type in _TEXT_TYPES:
            return bool(entity.filename) or entity.disposition == "attachment"
        return True

    def _take(self, entity: Entity, buffer: Buffer, study: str) -> None:
        is_dicom = looks_dicom(entity, buffer)
        self._add(
            Part(
                buffer=buffer,
                start=entity.body_start,
                end=entity.body_end,
                entity=entity,
                media_type=names.DICOM_TYPE if is_dicom else entity.content_type,
                filename=entity.filename or "",
                study_uid=study_uid(entity.headers) or study,
                claims_dicom=is_dicom,
            )
        )

    def _add(self, part: Part) -> None:
        if len(self.content.parts) >= MAX_OBJECTS:
            raise RadpostError(RESOURCE_LIMIT, f"more than {MAX_OBJECTS} objects in one mail")
        self.content.parts.append(part)


def studies(content_: Content) -> Content:
    """Fill the study of documents whose part names none from the one document study of the mail."""
    named = {part.study_uid for part in content_.parts if part.study_uid}
    if len(named) == 1:
        only = named.pop()
        content_.parts[:] = [
            part if part.study_uid or part.claims_dicom else replace(part, study_uid=only)
            for part in content_.parts
        ]
    return content_


def _as_mime(payload: Payload, plain: Buffer) -> Entity | None:
    """Return the plaintext as a MIME entity if it is one; a file otherwise."""
    if payload.kind is not Kind.PGP_MIME:
        head = bytes(plain[:4096]).lstrip().lower()
        if not (head.startswith((b"content-", b"mime-version:", b"x-telemedicine-", b"from:", b"received:"))):
            return None
    try:
        return parse(plain)
    except RadpostError as error:
        if error.reason is not MIME_MALFORMED or payload.kind is Kind.PGP_MIME:
            raise
        return None


def _readable(payload: Payload, buffer: Buffer) -> BinaryIO:
    """Return the OpenPGP data as a seekable file; without a copy where it stands unencoded."""
    whole = (payload.start, payload.end) == (payload.entity.body_start, payload.entity.body_end)
    if payload.entity.encoding in IDENTITY or not whole:
        return cast("BinaryIO", io.BufferedReader(_Window(buffer, payload.start, payload.end), 1 << 18))
    return io.BytesIO(b"".join(bytes(chunk) for chunk in data(payload, buffer)))


class _Window(io.RawIOBase):
    """A read-only, seekable file over a range of a buffer."""

    def __init__(self, buffer: Buffer, start: int, end: int) -> None:
        super().__init__()
        self._view = memoryview(cast("bytes", buffer))[start:end]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._view)}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, target: "bytearray | memoryview") -> int:  # type: ignore[override]  # typeshed's buffer
        piece = self._view[self._at : self._at + len(target)]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        self._view.release()
        super().close()
