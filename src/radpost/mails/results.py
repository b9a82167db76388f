"""What opening mails gives: one result for each logical mail, and the objects, as values and as JSON."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from typing import Any, Final, Literal

from radpost.agit.survey import SetInfo
from radpost.errors import RadpostError, Reason
from radpost.mime.dsn import Dsn
from radpost.mime.mdn import Mdn
from radpost.transfer import receipt as meanings
from radpost.words import Language, Verdict

MISSING_SHOWN: Final = 100
"""Missing numbers named for each mail or fragment that is there: one alone may announce a million."""


class Status(Enum):
    """What became of a logical mail."""

    OK = "ok"
    """All its objects are here."""
    ERROR = "error"
    """The code says why; what else of it could be had is here."""
    PENDING = "pending"
    """Fragments are missing; nothing can be had before they come."""
    IGNORED = "ignored"
    """An ordinary mail without data."""
    RECEIPT = "receipt"
    BOUNCE = "bounce"


SETTLED = frozenset({Status.OK, Status.IGNORED, Status.RECEIPT, Status.BOUNCE})
"""With these nobody has to do anything."""


@dataclass(frozen=True, slots=True)
class SignatureView:
    """What is known about the signature of a mail; of several the one that counts."""

    verdict: str
    fingerprint: str | None = None
    """Of the primary key, or what the signature says of an unknown one; of the certificate for S/MIME."""


@dataclass(frozen=True, slots=True)
class SetView:
    """The set that a mail belongs to, or the message/partial group where fragments are all there is."""

    id: str
    part: int | None
    total: int | None

    @staticmethod
    def of(info: SetInfo | None) -> "SetView | None":
        """Return the view of set headers."""
        return None if info is None else SetView(info.set_id, info.part, info.total)


@dataclass(frozen=True, slots=True)
class ObjectView:
    """One object: a DICOM file, a DICOMDIR, or any other document."""

    sha256: str
    size: int
    kind: Literal["dicom", "dicomdir", "other"]
    media_type: str
    name: str | None
    """The name that the sender gave it, without folders."""
    sop_instance_uid: str | None
    study_instance_uid: str | None
    """Of a document: the study it was sent for; None if it is unassigned."""
    path: str | None
    """Where it was written, if it was."""


@dataclass(frozen=True, slots=True)
class ReceiptView:
    """What a receipt says (RFC 8098 3); ``outcome`` is what it means from an @GIT system."""

    original_message_id: str | None
    disposition_type: str
    modifiers: tuple[str, ...]
    action_mode: str
    sending_mode: str
    outcome: str | None
    """``done``, ``warning``, ``error`` (send again), ``refused``; None where the type is unknown."""
    final_recipient: str | None
    original_recipient: str | None
    reporting_ua: str | None
    errors: tuple[str, ...]
    failures: tuple[str, ...]
    warnings: tuple[str, ...]

    @staticmethod
    def of(mdn: Mdn) -> "ReceiptView":
        """Return the view of a receipt."""
        disposition = mdn.disposition
        try:
            outcome = meanings.interpret(disposition.type, disposition.modifiers).value
        except KeyError:
            outcome = None
        return ReceiptView(
            original_message_id=mdn.original_message_id,
            disposition_type=disposition.type,
            modifiers=disposition.modifiers,
            action_mode=disposition.action_mode,
            sending_mode=disposition.sending_mode,
            outcome=outcome,
            final_recipient=mdn.final_recipient,
            original_recipient=mdn.original_recipient,
            reporting_ua=mdn.reporting_ua,
            errors=mdn.errors,
            failures=mdn.failures,
            warnings=mdn.warnings,
        )


@dataclass(frozen=True, slots=True)
class BouncedView:
    """One recipient of a bounce (RFC 3464 2.3)."""

    address: str | None
    action: str | None
    status: str | None
    diagnostic: str
    kind: str
    failed: bool


@dataclass(frozen=True, slots=True)
class BounceView:
    """What a bounce says; ``action``, ``status`` and ``final_recipient`` list what stands in it."""

    rfc3464: bool
    """False: free text, as some servers write it."""
    kind: str
    """``mailbox-full``, ``too-large``, ``unknown-address``, ``policy``, ``delayed`` or ``other``."""
    original_message_id: str | None
    envid: str | None
    reporting_mta: str | None
    action: tuple[str, ...]
    status: tuple[str, ...]
    final_recipient: tuple[str, ...]
    recipients: tuple[BouncedView, ...]

    @staticmethod
    def of(dsn: Dsn) -> "BounceView":
        """Return the view of a bounce."""
        found = dsn.recipients
        return BounceView(
            rfc3464=dsn.rfc3464,
            kind=dsn.kind.value,
            original_message_id=dsn.original_message_id,
            envid=dsn.envid,
            reporting_mta=dsn.reporting_mta,
            action=tuple(one.action for one in found if one.action),
            status=tuple(one.status for one in found if one.status),
            final_recipient=tuple(one.final_recipient for one in found if one.final_recipient),
            recipients=tuple(
                BouncedView(
                    one.address, one.action, one.status, one.diagnostic, one.kind.value, failed=one.failed
                )
                for one in found
            ),
        )


@dataclass(frozen=True, slots=True)
class Result:
    """One logical mail: a mail, a set of mails, or a group of fragments."""

    files: tuple[str, ...]
    status: Status
    reason: Reason | None = None
    detail: str = ""
    sender: str = ""
    """Address in From, in lower case; nothing outside the encryption proves it."""
    message_id: str = ""
    """Of the first mail, where it says one."""
    encrypted: bool | None = None
    """Whether all that was found was encrypted; None where nothing was looked into."""
    signature: SignatureView | None = None
    set: SetView | None = None
    missing: tuple[int, ...] = ()
    """Numbers of mails of the set, or of fragments, that are not there; at most `MISSING_SHOWN` for each
    that is.
    """
    warnings: tuple[str, ...] = ()
    receipt: ReceiptView | None = None
    bounce: BounceView | None = None
    objects: tuple[ObjectView, ...] = ()

    @property
    def code(self) -> int | None:
        """Return the code of the table of reasons (DESIGN invariant 11)."""
        return None if self.reason is None else self.reason.code

    def message(self, language: Language) -> str | None:
        """Return the sentence for a person."""
        if self.reason is None:
            return None
        return self.reason.sentence(language) + (f" ({self.detail})" if self.detail else "")

    def failed(self, error: RadpostError) -> "Result":
        """Return this result ended by a failure, without objects."""
        return replace(
            self, status=Status.ERROR, reason=error.reason, detail=error.detail, objects=(), missing=()
        )

    def to_json(self, language: Language) -> dict[str, Any]:
        """Return the entry of ``results``."""
        return {
            "files": list(self.files),
            "status": self.status.value,
            "code": self.code,
            "message": self.message(language),
            "sender": self.sender or None,
            "message_id": self.message_id or None,
            "encrypted": self.encrypted,
            "signature": _plain(self.signature or SignatureView(Verdict.NONE.value)),
            "set": _plain(self.set),
            "missing": list(self.missing),
            "warnings": list(self.warnings),
            "receipt": _plain(self.receipt),
            "bounce": _plain(self.bounce),
            "objects": [_plain(item) for item in self.objects],
        }


@dataclass(frozen=True, slots=True)
class OpenedMails:
    """All results in the order of the inputs."""

    results: tuple[Result, ...]
    language: Language = "en"

    @property
    def objects(self) -> tuple[ObjectView, ...]:
        """Return the objects, each content once."""
        return tuple({item.sha256: item for item in reversed(_objects(self.results))}.values())[::-1]

    @property
    def settled(self) -> bool:
        """Tell whether nothing failed and nothing is missing."""
        return all(result.status in SETTLED for result in self.results)

    def to_json(self) -> dict[str, Any]:
        """Return what ``radpost open --json`` prints."""
        return {
            "results": [result.to_json(self.language) for result in self.results],
            "objects": [_plain(item) for item in self.objects],
        }


def _objects(results: Iterable[Result]) -> list[ObjectView]:
    return [item for result in results for item in result.objects]


def _plain(value: Any) -> Any:
    """Return a value in the types that JSON has."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
