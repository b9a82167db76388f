"""A check for people: what a mail claims to be, what is broken, bent or unconfirmed, and how to mend it."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from radpost.mails.checking.model import Finding, Verdict
from radpost.mails.checking.results import Checked, Sealed
from radpost.mails.remarks import VERDICT, pick
from radpost.words import Language

WIDTH: Final = 100
_INDENT: Final = " " * 4
_PHRASES: Final[dict[str, tuple[str, str]]] = {
    "claims": ("This claims to be ", "Das will sein: "),
    "broken": ("BROKEN", "GEBROCHEN"),
    "bent": ("BENT", "GEBEUGT"),
    "unconfirmed": ("UNCONFIRMED", "UNBESTÄTIGT"),
    "where": ("where", "wo"),
    "seen": ("seen", "gefunden"),
    "effect": ("effect", "Folge"),
    "remedy": ("mend it", "Abhilfe"),
    "inside": ("inside the encryption", "innerhalb der Verschlüsselung"),
    "part": ("part", "Teil"),
    "line": ("line", "Zeile"),
    "byte": ("byte", "Byte"),
    "more": ("and {} more places", "und {} weitere Stellen"),
    "nothing": ("Nothing is broken.", "Nichts ist gebrochen."),
    "sum": (
        "{} rules kept, {} broken, {} bent, {} unconfirmed; {} do not apply to this mail.",
        "{} Regeln eingehalten, {} gebrochen, {} gebeugt, {} unbestätigt; {} betreffen diese Mail nicht.",
    ),
    "closed": (
        "Encrypted to {}. The inside was not checked: give the receiver's key by --secret.",
        "Verschlüsselt an {}. Innen wurde nichts geprüft: geben Sie mit --secret den Empfängerschlüssel an.",
    ),
    "foreign": (
        "Encrypted to {}: to none of the keys given; the inside was not checked.",
        "Verschlüsselt an {}: an keinen der angegebenen Schlüssel; innen wurde nichts geprüft.",
    ),
    "failed": (
        "Encrypted to {}. It does not open: {}",
        "Verschlüsselt an {}. Sie lässt sich nicht öffnen: {}",
    ),
    "opened": (
        "Encrypted to {}. Opened: {}, integrity {}. Signature: {}.",
        "Verschlüsselt an {}. Geöffnet: {}, Integrität {}. Signatur: {}.",
    ),
    "nothing-read": (
        "No OpenPGP message can be read where one should be.",
        "Wo eine OpenPGP-Nachricht sein soll, ist keine lesbar.",
    ),
    "joined": ("{} (joined from {} fragments)", "{} (aus {} Fragmenten zusammengesetzt)"),
    "nobody": ("no key", "keinen Schlüssel"),
    "hidden": ("a hidden key", "einen verborgenen Schlüssel"),
}
_MARKS: Final = ((Verdict.BROKEN, "broken"), (Verdict.BENT, "bent"), (Verdict.UNCONFIRMED, "unconfirmed"))
_NAMED: Final = 3
_SHOWN: Final = 4
"""So many seals are told one by one."""


def render(mail: Checked, language: Language) -> str:
    """Return the text about one mail."""
    return "\n".join(_lines(mail, language)) + "\n"


def say(name: str, language: Language) -> str:
    """Return one phrase."""
    return _PHRASES[name][language == "de"]


def _lines(mail: Checked, language: Language) -> Iterator[str]:
    yield _title(mail, language)
    yield from _wrapped(say("claims", language) + mail.claim.text(language) + ".", "  ")
    for why in mail.claim.why(language):
        yield from _wrapped(f"- {why}", _INDENT, hanging="  ")
    if mail.remark is not None:
        yield from _wrapped(f"- {mail.remark[language == 'de']}", _INDENT, hanging="  ")
    for seal in mail.sealed[:_SHOWN]:
        yield from _wrapped(_seal(seal, language), "  ")
    for verdict, name in _MARKS:
        for group in _grouped(mail.of(verdict)):
            yield ""
            yield from _finding(group, say(name, language), language)
    yield ""
    if mail.good:
        yield "  " + say("nothing", language)
    kinds = (Verdict.KEPT, Verdict.BROKEN, Verdict.BENT, Verdict.UNCONFIRMED, Verdict.NOT_APPLICABLE)
    yield "  " + say("sum", language).format(*(len(mail.rules(kind)) for kind in kinds))


def _title(mail: Checked, language: Language) -> str:
    if len(mail.files) <= _NAMED:
        return mail.name
    return say("joined", language).format(mail.files[0], len(mail.files))


def _seal(seal: Sealed, language: Language) -> str:
    keys = [say("hidden", language) if not key.strip("0") else key for key in seal.recipients]
    to = ", ".join(keys) or say("nobody", language)
    if not seal.recipients and not seal.opened and not seal.passwords:
        return say("nothing-read", language)
    if seal.opened:
        cipher = seal.cipher or "-"
        verdict = pick(VERDICT.get(seal.signature, (seal.signature, seal.signature)), language)
        return say("opened", language).format(to, cipher, seal.integrity.upper(), verdict)
    if seal.foreign:
        return say("foreign", language).format(to)
    if seal.reason is not None:
        return say("failed", language).format(to, f"{seal.reason.code} {seal.reason.sentence(language)}")
    return say("closed", language).format(to)


def _grouped(found: Sequence[Finding]) -> list[list[Finding]]:
    """Put the places of one rule together, in the order of weight."""
    groups: dict[str, list[Finding]] = {}
    for one in found:
        groups.setdefault(one.rule.id, []).append(one)
    return list(groups.values())


def _finding(group: Sequence[Finding], word: str, language: Language) -> Iterator[str]:
    rule = group[0].rule
    words = rule.words(language)
    yield from _wrapped(f"{word}: {words.rule}", "  ", hanging="  ")
    yield f"{_INDENT}{rule.cited}  [{rule.id}]"
    for one in group:
        yield from _labelled("where", _where(one, language), language)
        yield from _labelled("seen", one.fact(language), language)
        if one.more:
            yield from _labelled("where", say("more", language).format(one.more), language)
    yield from _labelled("effect", words.effect, language)
    yield from _labelled("remedy", words.remedy, language)


def _where(one: Finding, language: Language) -> str:
    parts = []
    if one.inside:
        part = f" ({say('part', language)} {one.within})" if one.within else ""
        parts.append(say("inside", language) + part)
    if one.place:
        parts.append(f"{say('part', language)} {one.place}")
    parts.append(f"{say('line', language)} {one.line}")
    parts.append(f"{say('byte', language)} {one.at}")
    return ", ".join(parts)


def _labelled(name: str, text: str, language: Language) -> Iterator[str]:
    label = f"{say(name, language) + ':':<10}"
    yield from _wrapped(label + text, _INDENT, hanging=" " * len(label))


def _wrapped(text: str, indent: str, *, hanging: str = "") -> Iterator[str]:
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
