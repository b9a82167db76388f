"""Rules about several mails together: fragments of one mail, mails of one set, equal Message-IDs."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from radpost.agit import names
from radpost.mails.checking.grammar import position
from radpost.mails.checking.model import (
    FIELD,
    Certainty,
    Finding,
    Hit,
    Hits,
    Layer,
    Rule,
    Scope,
    Severity,
    Verdict,
    Words,
)


@dataclass(frozen=True, slots=True)
class Note:
    """What a mail says for one rule about several mails; its bytes are not kept."""

    key: tuple[str, ...] | None
    """Mails with the same key belong together; None: the rule is not about this mail."""
    value: str
    """What must not differ among them."""
    at: int
    line: int


def _alone(_: Layer) -> Hits:
    """A mail alone says nothing about others."""
    return None


@dataclass(frozen=True, slots=True)
class _Together:
    """A rule about several mails: which of them belong together, and what must not differ."""

    rule: Rule
    key: Callable[[Layer], tuple[str, ...] | None]
    value: Callable[[Layer], str]
    field: str
    en: str
    de: str


def _sender(layer: Layer) -> str:
    found = layer.root.headers.addresses("From")
    return found[0].lower() if found else ""


def _fragment(layer: Layer) -> tuple[str, ...] | None:
    if layer.root.content_type != "message/partial" or not layer.root.params.get("total"):
        return None
    return (_sender(layer), layer.root.params.get("id", ""))


def _place(layer: Layer) -> tuple[str, ...] | None:
    if layer.root.content_type != "message/partial":
        return None
    return (_sender(layer), layer.root.params.get("id", ""), layer.root.params.get("number", ""))


def _set(layer: Layer) -> tuple[str, ...] | None:
    found = layer.root.headers.get(names.SET_ID)
    return (_sender(layer), found) if found and names.SET_TOTAL in layer.root.headers else None


def _message_id(layer: Layer) -> tuple[str, ...] | None:
    found = layer.root.headers.message_id()
    return (found,) if found else None


def _body(layer: Layer) -> str:
    return hashlib.sha256(layer.text(layer.root).rstrip(b"\r\n")).hexdigest()


TOGETHER: Final = (
    _Together(
        Rule(
            "rfc2046-5.2.2-same-total", "RFC 2046", "5.2.2", Severity.FATAL, _alone,
            Words(
                "All fragments with one id name the same total.",
                "The group contradicts itself: receivers refuse it, or never find it complete.",
                "Count the fragments before you write the first, and draw a new id whenever you split anew.",
            ),
            Words(
                "Alle Fragmente mit einer id nennen dasselbe total.",
                "Die Gruppe widerspricht sich: Empfänger lehnen sie ab oder finden sie nie vollständig.",
                "Zählen Sie die Fragmente vor dem ersten, und ziehen Sie bei jedem neuen Zerlegen eine neue"
                " id.",
            ),
            Scope.OUTSIDE,
        ),
        _fragment,
        lambda layer: layer.root.params.get("total", ""),
        "Content-Type",
        "another total than an earlier fragment with this id",
        "ein anderes total als ein früheres Fragment mit dieser id",
    ),
    _Together(
        Rule(
            "rfc2046-5.2.2-same-part", "RFC 2046", "5.2.2", Severity.FATAL, _alone,
            Words(
                "Two fragments with one id and number are the same.",
                "Nobody can tell which one belongs to the mail: joined with the wrong one it is damaged.",
                "Draw a new id for every mail that you split; when you send again, send the same bytes.",
            ),
            Words(
                "Zwei Fragmente mit derselben id und Nummer sind gleich.",
                "Niemand kann sagen, welches zur Mail gehört: mit dem falschen ist sie beschädigt.",
                "Ziehen Sie für jede zerlegte Mail eine neue id; senden Sie bei Wiederholung dieselben"
                " Bytes.",
            ),
            Scope.OUTSIDE,
        ),
        _place,
        _body,
        "Content-Type",
        "other content than an earlier fragment with this id and number",
        "anderer Inhalt als ein früheres Fragment mit dieser id und Nummer",
    ),
    _Together(
        Rule(
            "rfc5322-3.6.4-unique", "RFC 5322", "3.6.4", Severity.SERIOUS, _alone,
            Words(
                "No two different mails have the same Message-ID.",
                "Servers and gateways drop the second as a duplicate: its data are lost without a trace.",
                "Draw a new Message-ID (128 random bits) for every mail, also when objects are sent again.",
            ),
            Words(
                "Keine zwei verschiedenen Mails haben dieselbe Message-ID.",
                "Server und Gateways verwerfen die zweite als Dublette: ihre Daten gehen spurlos verloren.",
                "Ziehen Sie für jede Mail eine neue Message-ID (128 Zufallsbits), auch bei erneutem Versand.",
            ),
            Scope.OUTSIDE,
        ),
        _message_id,
        _body,
        "Message-ID",
        "the Message-ID of an earlier mail with other content",
        "die Message-ID einer früheren Mail mit anderem Inhalt",
    ),
    _Together(
        Rule(
            "field-set-total", FIELD, "", Severity.LIGHT, _alone,
            Words(
                "All mails with one SETID name the same SETTOTAL.",
                "The set never becomes complete, or is taken for complete too early.",
                "Fix the number of mails before you write the first; put what is left over into a new set.",
            ),
            Words(
                "Alle Mails mit einer SETID nennen dasselbe SETTOTAL.",
                "Das Set wird nie vollständig oder gilt zu früh als vollständig.",
                "Legen Sie die Zahl der Mails vor der ersten fest; was übrig bleibt, kommt in ein neues Set.",
            ),
            Scope.OUTSIDE,
            Certainty.UNCONFIRMED,
        ),
        _set,
        lambda layer: layer.root.headers.get(names.SET_TOTAL) or "",
        names.SET_TOTAL,
        "another SETTOTAL than an earlier mail of this set",
        "ein anderes SETTOTAL als eine frühere Mail dieses Sets",
    ),
)  # fmt: skip
RULES: Final = tuple(one.rule for one in TOGETHER)


def notes(layer: Layer) -> tuple[Note, ...]:
    """Return what a mail says for each rule, in the order of `TOGETHER`."""
    return tuple(_note(layer, together) for together in TOGETHER)


def _note(layer: Layer, together: _Together) -> Note:
    key = together.key(layer)
    if key is None:
        return Note(None, "", 0, 0)
    at = position(layer, layer.root, together.field)
    return Note(key, together.value(layer), at, layer.line(at))


def judge(mails: Sequence[tuple[str, tuple[Note, ...]]]) -> list[list[Finding]]:
    """Return for each mail what the others say about it: one finding per rule."""
    out: list[list[Finding]] = [[] for _ in mails]
    for number, together in enumerate(TOGETHER):
        first: dict[tuple[str, ...], str] = {}
        for index, (file, noted) in enumerate(mails):
            note = noted[number]
            if note.key is None:
                found = Finding(together.rule, Verdict.NOT_APPLICABLE, file, inside=False)
            elif first.setdefault(note.key, note.value) == note.value:
                found = Finding(together.rule, Verdict.KEPT, file, inside=False)
            else:
                hit = Hit(note.at, together.en, together.de)
                verdict = together.rule.verdict(hit)
                found = Finding(together.rule, verdict, file, False, note.at, note.line, hit=hit)
            out[index].append(found)
    return out
