"""What a check hands out: per mail its claim, the state of its seals, all findings; as values and as JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from radpost.errors import NO_SECRET_KEY, Reason
from radpost.mails.checking.claims import Claim
from radpost.mails.checking.model import Finding, Verdict
from radpost.words import Language

_OPEN: Final = (Verdict.BROKEN, Verdict.BENT, Verdict.UNCONFIRMED)


@dataclass(frozen=True, slots=True)
class Sealed:
    """One sealed part of a mail: for whom, and what became of it."""

    at: int
    recipients: tuple[str, ...]
    """Key IDs, upper hex; sixteen zeros where the sender hid them (RFC 4880 5.1)."""
    passwords: int
    """Session keys by passphrase: no gateway has one."""
    reason: Reason | None
    """Why it did not open; None if it did, or if no key was given."""
    detail: str
    opened: bool
    signature: str
    fingerprint: str | None
    cipher: str
    integrity: str

    @property
    def foreign(self) -> bool:
        """Whether it is for other keys than those given: no fault of the sender."""
        return self.reason is NO_SECRET_KEY


@dataclass(frozen=True, slots=True)
class Checked:
    """One mail with everything that was found."""

    files: tuple[str, ...]
    """The inputs that make it up: several where fragments were joined."""
    claim: Claim
    sealed: tuple[Sealed, ...]
    findings: tuple[Finding, ...]
    """All verdicts, the heaviest first."""
    remark: tuple[str, str] | None = None
    """What else is to be said, English and German."""

    @property
    def name(self) -> str:
        """Return what people call the mail by."""
        return ", ".join(self.files)

    def of(self, verdict: Verdict) -> tuple[Finding, ...]:
        """Return the findings of one verdict."""
        return tuple(one for one in self.findings if one.verdict is verdict)

    def rules(self, verdict: Verdict) -> tuple[str, ...]:
        """Return the ids of the rules with one verdict; not kept anywhere is not kept."""
        found = dict.fromkeys(one.rule.id for one in self.of(verdict))
        if verdict is Verdict.KEPT:
            worse = {one.rule.id for one in self.findings if one.verdict in _OPEN}
            return tuple(name for name in found if name not in worse)
        if verdict is Verdict.NOT_APPLICABLE:
            other = {one.rule.id for one in self.findings if one.verdict is not verdict}
            return tuple(name for name in found if name not in other)
        return tuple(found)

    @property
    def good(self) -> bool:
        """Whether nothing is broken."""
        return not self.of(Verdict.BROKEN)

    def document(self, language: Language) -> dict[str, Any]:
        """Return the whole result for JSON."""
        return {
            "files": list(self.files),
            "claim": {
                "kind": self.claim.kind.value,
                "text": self.claim.text(language),
                "reasons": self.claim.why(language),
            },
            "remark": None if self.remark is None else self.remark[language == "de"],
            "sealed": [_sealed(one, language) for one in self.sealed],
            "rules": {verdict.value.replace(" ", "_"): list(self.rules(verdict)) for verdict in Verdict},
            "findings": [_finding(one, language) for one in self.findings],
        }


def _sealed(one: Sealed, language: Language) -> dict[str, Any]:
    return {
        "offset": one.at,
        "recipients": list(one.recipients),
        "opened": one.opened,
        "code": None if one.reason is None else one.reason.code,
        "message": None if one.reason is None else one.reason.sentence(language),
        "signature": one.signature if one.opened else None,
        "fingerprint": one.fingerprint,
        "cipher": one.cipher or None,
        "integrity": one.integrity or None,
    }


def _finding(one: Finding, language: Language) -> dict[str, Any]:
    words = one.rule.words(language)
    found: dict[str, Any] = {
        "rule": one.rule.id,
        "standard": one.rule.standard,
        "clause": one.rule.clause,
        "certainty": one.rule.certainty.value,
        "severity": one.rule.severity.name.lower(),
        "verdict": one.verdict.value,
        "file": one.file,
        "inside": one.inside,
        "within": one.within or None,
        "offset": one.at,
        "line": one.line,
        "place": one.place or None,
        "fact": one.fact(language) or None,
        "asks": words.rule,
    }
    if one.hit is not None:
        found |= {"effect": words.effect, "remedy": words.remedy, "more": one.more}
    return found


def document(mails: Iterable[Checked], language: Language) -> Mapping[str, Any]:
    """Return the results of several mails for JSON."""
    listed = list(mails)
    return {
        "mails": [mail.document(language) for mail in listed],
        "broken": sum(len(mail.rules(Verdict.BROKEN)) for mail in listed),
    }
