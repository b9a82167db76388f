"""Rules of file names and encoded texts (RFC 2047, RFC 2183, RFC 2231)."""

import re
from collections.abc import Iterator
from typing import Final

from radpost.mails.checking.grammar import TOKEN, fields, items, named, parameters
from radpost.mails.checking.model import Field, Hit, Hits, Layer, Rule, Severity, Words, each, shown
from radpost.mime.reader import Entity

_WORD: Final = re.compile(r"=\?([^?]*)\?([^?]*)\?([^?]*)\?=")
_LIKE_WORD: Final = re.compile(r"=\?[A-Za-z0-9_-]+\?")
_EXTENDED: Final = re.compile(r"[A-Za-z0-9_.:-]*'[A-Za-z0-9-]*'")
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SECTION: Final = re.compile(r"([^*]+)\*(?:(\d+)(\*?))?\Z")
_STRUCTURED: Final = ("Content-Type", "Content-Disposition")
_TEXT_FIELDS: Final = frozenset({"subject", "comments", "from", "to", "cc", "sender", "reply-to"})
_DEVICES: Final = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|\Z)", re.IGNORECASE)


def word_form(layer: Layer) -> Hits:
    """Encoded words are whole, at most 75 characters long, in B or Q."""

    def test(entity: Entity) -> list[Hit]:
        return [
            hit
            for one in fields(layer, entity)
            if one.name.lower() in _TEXT_FIELDS
            for hit in _words(one, entity)
        ]

    with_words = (
        entity
        for entity in layer.entities()
        if any(one.name.lower() in _TEXT_FIELDS and "=?" in one.value for one in entity.headers)
    )
    return each(with_words, test)


def _words(one: Field, entity: Entity) -> Iterator[Hit]:
    name = shown(one.name)
    whole = list(_WORD.finditer(one.value))
    if len(_LIKE_WORD.findall(one.value)) > len(whole):
        en, de = f"an encoded word in {name} has no end", f"ein kodiertes Wort in {name} hat kein Ende"
        yield Hit(one.at, en, de, entity)
    for match in whole:
        if match[2].upper() not in ("B", "Q"):
            en = f"an encoded word in {name} is neither B nor Q"
            yield Hit(one.at, en, f"ein kodiertes Wort in {name} ist weder B noch Q", entity)
        elif " " in match[3] or "\t" in match[3]:
            en = f"a blank within an encoded word in {name}"
            yield Hit(one.at, en, f"ein Leerzeichen in einem kodierten Wort in {name}", entity)
        elif len(match[0]) > 75:
            en = f"an encoded word of {len(match[0])} characters in {name}"
            yield Hit(one.at, en, f"ein kodiertes Wort mit {len(match[0])} Zeichen in {name}", entity)


def word_in_quotes(layer: Layer) -> Hits:
    """No encoded word stands within a quoted parameter."""

    def test(entity: Entity) -> list[Hit]:
        out = []
        for one in _fields(layer, entity):
            for item in parameters(one.value)[0]:
                if _LIKE_WORD.search(item.value):
                    en = f"an encoded word in the parameter {shown(item.name)} of {one.name}"
                    de = f"ein kodiertes Wort im Parameter {shown(item.name)} von {one.name}"
                    out.append(Hit(one.at, en, de, entity))
        return out

    return each((entity for entity in layer.entities() if entity.filename), test)


def extended(layer: Layer) -> Hits:
    """Extended parameters have charset, language and percent codes; their sections have no gap."""

    def test(entity: Entity) -> list[Hit]:
        out = []
        for one in _fields(layer, entity):
            sections: dict[str, list[int]] = {}
            for item in parameters(one.value)[0]:
                match = _SECTION.match(item.name)
                if match is None:
                    continue
                number = int(match[2]) if match[2] else 0
                if match[2]:
                    sections.setdefault(match[1], []).append(number)
                coded = match[2] is None or match[3] == "*"
                if coded and number == 0 and _EXTENDED.match(item.value) is None:
                    out.append(
                        _bad(
                            one,
                            item.name,
                            "has no charset'language' in front",
                            "hat vorn kein Zeichensatz'Sprache'",
                            entity,
                        )
                    )
                elif coded and _PERCENT.search(item.value):
                    out.append(
                        _bad(
                            one,
                            item.name,
                            "has a broken percent code",
                            "hat einen falschen Prozent-Code",
                            entity,
                        )
                    )
            for name, numbers in sections.items():
                if sorted(numbers) != list(range(len(numbers))):
                    out.append(
                        _bad(
                            one,
                            name,
                            "has a gap in its sections",
                            "hat eine Lücke in seinen Abschnitten",
                            entity,
                        )
                    )
        return out

    return each((entity for entity in layer.entities() if _has_extended(layer, entity)), test)


def _bad(one: Field, name: str, en: str, de: str, entity: Entity) -> Hit:
    return Hit(one.at, f"{shown(name)} {en}", f"{shown(name)} {de}", entity)


def _has_extended(layer: Layer, entity: Entity) -> bool:
    return any("*" in item.name for one in _fields(layer, entity) for item in parameters(one.value)[0])


def _fields(layer: Layer, entity: Entity) -> Iterator[Field]:
    for name in _STRUCTURED:
        yield from named(layer, entity, name)[:1]


def disposition(layer: Layer) -> Hits:
    """A Content-Disposition begins with inline, attachment or another token."""

    def test(entity: Entity) -> list[Hit]:
        out = []
        for one in named(layer, entity, "Content-Disposition")[:1]:
            value = items(one.value)[0]
            if not TOKEN.match(value):
                text = shown(value)
                out.append(
                    Hit(one.at, f"the disposition is '{text}'", f"die Disposition ist '{text}'", entity)
                )
        return out

    return each((entity for entity in layer.entities() if "Content-Disposition" in entity.headers), test)


def plain_name(layer: Layer) -> Hits:
    """A file name is a name only: no folder, no device, no control character."""

    def test(entity: Entity) -> list[Hit]:
        name = entity.filename or ""
        if "/" in name or "\\" in name:
            en, de = "the name holds a path", "der Name enthält einen Pfad"
        elif any(ord(char) < 32 or ord(char) == 127 for char in name):
            en, de = "the name holds a control character", "der Name enthält ein Steuerzeichen"
        elif name.strip(". ") == "" or _DEVICES.match(name):
            en, de = "the name is that of a device or folder", "der Name ist der eines Geräts oder Ordners"
        elif len(name) > 255:
            en, de = f"a name of {len(name)} characters", f"ein Name mit {len(name)} Zeichen"
        else:
            return []
        found = named(layer, entity, "Content-Disposition") or named(layer, entity, "Content-Type")
        return [Hit(found[0].at if found else entity.start, en, de, entity)]

    return each((entity for entity in layer.entities() if entity.filename), test)


RULES: Final = (
    Rule(
        "rfc2047-2-word", "RFC 2047", "2", Severity.LIGHT, word_form,
        Words(
            "An encoded word is '=?charset?B or Q?text?=', without blanks, at most 75 characters long.",
            "Readers show it as it stands; display names and texts are unreadable.",
            "Cut the text into several encoded words, each whole characters, and fold between them.",
        ),
        Words(
            "Ein kodiertes Wort ist '=?zeichensatz?B oder Q?text?=', ohne Leerzeichen, höchstens 75 Zeichen"
            " lang.",
            "Leser zeigen es unverändert; Namen und Texte sind unleserlich.",
            "Teilen Sie den Text in mehrere kodierte Wörter aus ganzen Zeichen, und falten Sie dazwischen.",
        ),
    ),
    Rule(
        "rfc2047-5-parameter", "RFC 2047", "5", Severity.LIGHT, word_in_quotes,
        Words(
            "Encoded words do not stand in parameters such as name or filename.",
            "A receiver by the book stores the file under the coded text '=?utf-8?...' as its name.",
            "Write the name by RFC 2231: filename*=utf-8''Befund%20M%C3%BCller.pdf, or send an ASCII name.",
        ),
        Words(
            "Kodierte Wörter stehen nicht in Parametern wie name oder filename.",
            "Ein normgerechter Empfänger speichert die Datei unter dem kodierten Text '=?utf-8?...'.",
            "Schreiben Sie den Namen nach RFC 2231: filename*=utf-8''Befund%20M%C3%BCller.pdf, oder senden"
            " Sie einen ASCII-Namen.",
        ),
    ),
    Rule(
        "rfc2231-4-extended", "RFC 2231", "3, 4", Severity.SERIOUS, extended,
        Words(
            "An extended parameter is name*=charset'language'text with %XX codes; sections count from 0"
            " without gap.",
            "The name is lost or put together wrongly.",
            "Write filename*=utf-8''text, codes as %C3%BC, and sections as filename*0*=, filename*1*=.",
        ),
        Words(
            "Ein erweiterter Parameter ist name*=zeichensatz'sprache'text mit %XX-Codes; Abschnitte zählen"
            " ab 0 ohne Lücke.",
            "Der Name geht verloren oder wird falsch zusammengesetzt.",
            "Schreiben Sie filename*=utf-8''text, Codes als %C3%BC, Abschnitte als filename*0*=,"
            " filename*1*=.",
        ),
    ),
    Rule(
        "rfc2183-2-disposition", "RFC 2183", "2", Severity.LIGHT, disposition,
        Words(
            "A Content-Disposition begins with its kind: inline or attachment.",
            "The field is dropped, and with it the file name.",
            "Write 'Content-Disposition: attachment; filename=\"...\"'.",
        ),
        Words(
            "Eine Content-Disposition beginnt mit ihrer Art: inline oder attachment.",
            "Das Feld wird verworfen und mit ihm der Dateiname.",
            "Schreiben Sie 'Content-Disposition: attachment; filename=\"...\"'.",
        ),
    ),
    Rule(
        "rfc2183-2.3-name", "RFC 2183", "2.3", Severity.SERIOUS, plain_name,
        Words(
            "A file name is a bare name: no folder, no drive, no device name, no control character, at most"
            " 255 characters.",
            "Careful receivers replace the name or refuse the part as an attack; careless ones write outside"
            " of their folder.",
            "Send the last component only (IM000001.dcm, report.pdf), never the path on your system.",
        ),
        Words(
            "Ein Dateiname ist ein bloßer Name: kein Ordner, kein Laufwerk, kein Gerätename, kein"
            " Steuerzeichen, höchstens 255 Zeichen.",
            "Vorsichtige Empfänger ersetzen den Namen oder lehnen den Teil als Angriff ab; unvorsichtige"
            " schreiben außerhalb ihres Ordners.",
            "Senden Sie nur den letzten Bestandteil (IM000001.dcm, befund.pdf), nie den Pfad auf Ihrem"
            " System.",
        ),
    ),
)  # fmt: skip
