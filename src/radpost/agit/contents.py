"""What was inside of a mail: objects, reports, and what is proven about each of them.

A mail may put clear parts beside sealed ones, or sealed parts of several origins together. Signature and
encryption are therefore kept per object; for the whole mail the weakest of them counts.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Self, cast

from radpost.agit import names
from radpost.agit.survey import SetInfo, looks_dicom
from radpost.errors import Reason
from radpost.mime.coding import IDENTITY, Buffer, Bytes, slices
from radpost.mime.headers import Headers
from radpost.mime.reader import Entity, body
from radpost.mime.report import Mdn
from radpost.openpgp.fileview import FileView
from radpost.openpgp.plaintext import Plaintext
from radpost.openpgp.values import NO_SIGNATURE, Signature, decisive
from radpost.words import Verdict

_WEAKEST: Final = (
    Verdict.BAD,
    Verdict.WRONG_SIGNER,
    Verdict.NONE,
    Verdict.UNKNOWN_KEY,
    Verdict.UNTRUSTED,
    Verdict.REVOKED_KEY,
    Verdict.EXPIRED_KEY,
    Verdict.EXPIRED,
    Verdict.WEAK_DIGEST,
    Verdict.GOOD,
)


@dataclass(frozen=True, slots=True)
class Cover:
    """What protects a part of a mail: the signatures over it, from outside in, and encryption."""

    signatures: tuple[Signature, ...] = ()
    encrypted: bool = False
    unproven: bool = False
    """Whether a cipher without integrity gave it and no signature inside is over it (S/MIME with CBC)."""

    def signed(self, signature: Signature) -> "Cover":
        """Return the cover below one more signature."""
        if signature.verdict is Verdict.NONE:
            return self
        return replace(self, signatures=(*self.signatures, signature))

    @property
    def signature(self) -> Signature:
        """The signature that decides: a bad one before all, else the best one."""
        return decisive(self.signatures)


UNCOVERED: Final = Cover()


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
    cover: Cover = UNCOVERED
    study_malformed: bool = False
    """Whether a study is named that cannot be read: which it is, nothing else in the mail can tell."""

    @classmethod
    def of_entity(
        cls, entity: Entity, buffer: Buffer, study: str, cover: Cover, *, study_malformed: bool
    ) -> Self:
        """Return an object that is a leaf of a mail."""
        is_dicom = looks_dicom(entity, buffer)
        return cls(
            buffer=buffer,
            start=entity.body_start,
            end=entity.body_end,
            entity=entity,
            media_type=names.DICOM_TYPE if is_dicom else entity.content_type,
            filename=entity.filename or "",
            study_uid=study,
            claims_dicom=is_dicom,
            cover=cover,
            study_malformed=study_malformed,
        )

    @classmethod
    def of_file(cls, name: str, plain: Buffer, study: str, cover: Cover, *, study_malformed: bool) -> Self:
        """Return an object that was sealed as a file."""
        is_dicom = bytes(plain[128:132]) == b"DICM"
        media_type = names.DICOM_TYPE if is_dicom else "application/octet-stream"
        return cls(plain, 0, len(plain), None, media_type, name, study, is_dicom, cover, study_malformed)

    def chunks(self) -> Iterator[Bytes]:
        """Yield the object's bytes."""
        if self.entity is None:
            return slices(self.buffer, self.start, self.end)
        return body(self.entity, self.buffer)

    @property
    def plain(self) -> "memoryview | None":
        """Return the object as a view where it stands unencoded in memory or a mapping, else None."""
        if isinstance(self.buffer, FileView):
            return None
        if self.entity is None or self.entity.encoding in IDENTITY:
            return memoryview(cast("bytes", self.buffer))[self.start : self.end]
        return None


@dataclass(frozen=True, slots=True)
class Report:
    """A receipt found inside, with the list per object that a Radpost peer adds (JSON)."""

    mdn: Mdn
    details: bytes
    cover: Cover = UNCOVERED


@dataclass(frozen=True, slots=True)
class InnerRequest:
    """A receipt asked for inside the encryption (mechanism 2 of the field; places and values unconfirmed)."""

    to: str
    """Address for the receipt, which itself travels inside an encryption."""
    content_id: str = ""
    """Names the sealed part; the receipt gives it back."""
    key_id: str = ""
    """Upper hex digits: the key to encrypt the receipt to; empty: the one we know."""


@dataclass(slots=True)
class Content:
    """What was inside of a mail; a context manager that drops the plaintext at its end."""

    signature: Signature = NO_SIGNATURE
    """The weakest of what covers the parts and reports; WRONG_SIGNER where several keys signed them."""
    encrypted: bool = False
    """Whether all parts and reports were encrypted."""
    parts: list[Part] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unopened: list[tuple[Reason, str]] = field(default_factory=list)
    """Sealed parts of the mail that could not be opened, while others could: why, and details."""
    inner: Headers | None = None
    """The header inside the (first) sealed part, to be compared with the outside (DESIGN 4 "Binding")."""
    set_info: SetInfo | None = None
    signers: list[frozenset[str]] = field(default_factory=list)
    """Addresses that the certificates of good S/MIME signatures are for, one entry for each signature."""
    receipt_to: str = ""
    request: InnerRequest | None = None
    _plaintexts: list[Plaintext] = field(default_factory=list)

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
        self._plaintexts.clear()

    def hold(self, plaintext: Plaintext) -> None:
        """Keep a plaintext until the end."""
        self._plaintexts.append(plaintext)

    @property
    def unproven(self) -> bool:
        """Whether anything that was found may have been changed by anybody on the way."""
        return any(part.cover.unproven for part in self.parts) or any(
            report.cover.unproven for report in self.reports
        )

    def is_signed_for(self, address: str) -> bool:
        """Whether no certificate speaks against a sender: one names it, or none has any (RFC 8550 3)."""
        return not self.signers or any(address.lower() in one for one in self.signers)

    def warn(self, *warnings: str) -> None:
        """Note what the administrator may want to know; once."""
        self.warnings.extend(one for one in dict.fromkeys(warnings) if one not in self.warnings)

    def judge(self, seen: Sequence[Cover]) -> None:
        """Say what holds for the mail as a whole; ``seen`` are all covers, also those of no object."""
        covers = [part.cover for part in self.parts] + [report.cover for report in self.reports]
        self.encrypted = all(cover.encrypted for cover in covers or seen) and bool(covers or seen)
        if covers:
            self.signature = weakest([cover.signature for cover in covers])
        else:
            self.signature = decisive([one for cover in seen for one in cover.signatures])


def weakest(signatures: Sequence[Signature]) -> Signature:
    """Return the signature that counts where each covers another part of the same mail.

    Good signatures of different keys make the mail nobody's: a replayed part of one partner must not lend its
    signature to what another put beside it.
    """
    found = min(signatures, key=lambda one: _WEAKEST.index(one.verdict), default=NO_SIGNATURE)
    signers = {one.fingerprint for one in signatures}
    if found.verdict is Verdict.GOOD and len(signers) > 1:
        return replace(found, verdict=Verdict.WRONG_SIGNER)
    return found
