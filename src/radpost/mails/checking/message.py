"""Rules of the message format: lines and the header as such (RFC 5322 2)."""

import re
from typing import Final

from radpost.mails.checking.grammar import fields, header_lines, long_lines, plain_ranges
from radpost.mails.checking.model import Field, Hit, Hits, Layer, Rule, Scope, Severity, Words, each, shown
from radpost.mime.reader import Entity

_BARE: Final = re.compile(rb"(?<!\r)\n|\r(?!\n)")
_FIELD: Final = re.compile(rb"[!-9;-~]+[ \t]*:")
_TRACE: Final = re.compile(
    rb"[ \t]|(?:received|return-path|dkim-|arc-|authentication-results|x-(?!telemedicine))", re.IGNORECASE
)
"""What servers on the way add, and continuation lines, which may belong to that."""


def line_ends(layer: Layer) -> Hits:
    """CR and LF occur together only; a mail of LF alone may have been stored so."""
    ranges = plain_ranges(layer)
    found = (_BARE.search(layer.buffer, start, end) for start, end in ranges)
    first = next((match for match in found if match is not None), None)
    if first is None:
        return ()
    whole = b"\r" not in layer.buffer
    pairs, feeds, returns = (
        sum(layer.buffer.count(mark, start, end) for start, end in ranges) for mark in (b"\r\n", b"\n", b"\r")
    )
    counts = f"{feeds - pairs} LF, {returns - pairs} CR"
    if whole:
        en = f"every line ends in LF alone ({counts}); perhaps the mail was only stored like this"
        de = f"jede Zeile endet mit LF allein ({counts}); vielleicht wurde die Mail nur so gespeichert"
    elif b"\r\r\n" in layer.buffer:
        count = layer.buffer.count(b"\r\r\n")
        en = f"{count} lines end in CR CR LF: LF was turned into CR LF twice"
        de = f"{count} Zeilen enden mit CR CR LF: LF wurde zweimal in CR LF verwandelt"
    else:
        en = f"line ends are mixed: {counts} stand alone between CRLF"
        de = f"gemischte Zeilenenden: {counts} stehen allein zwischen CRLF"
    return (Hit(first.start(), en, de, light=whole),)


def line_length(layer: Layer) -> Hits:
    """No line is longer than 998 characters."""
    found = (one for start, end in plain_ranges(layer) for one in long_lines(layer, start, end, 998))
    return [Hit(at, f"a line of {size} characters", f"eine Zeile mit {size} Zeichen") for at, size in found]


def header_length(layer: Layer) -> Hits:
    """Header lines are folded at 78 characters."""

    def test(entity: Entity) -> list[Hit]:
        found = [
            (at, len(line))
            for at, line in header_lines(layer, entity)
            if 78 < len(line) <= 998
            and b" " in line[1:].split(b":", 1)[-1].strip()
            and not _TRACE.match(line)
        ]
        if not found:
            return []
        longest = max(size for _, size in found)
        en = f"{len(found)} header lines that could be folded, the longest has {longest} characters"
        de = f"{len(found)} faltbare Kopfzeilen, die längste hat {longest} Zeichen"
        return [Hit(found[0][0], en, de, entity)]

    return each(layer.entities(), test)


def header_syntax(layer: Layer) -> Hits:
    """Every line of the header is a field or continues one."""
    if layer.bare:
        return None
    root = layer.root
    out = []
    if root.start:
        en, de = (
            f"{root.start} bytes of blank lines before the header",
            f"{root.start} Bytes Leerzeilen vor dem Kopf",
        )
        out.append(Hit(0, en, de, root))
    for number, (at, line) in enumerate(header_lines(layer, root)):
        continues = line[:1] in (b" ", b"\t") and number > 0
        if continues or _FIELD.match(line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line):
            if number == 0 and line.startswith(b"\xef\xbb\xbf"):
                out.append(Hit(at, "a byte order mark stands first", "eine BOM steht am Anfang", root))
            continue
        if number == 0 and line.startswith(b"From "):
            out.append(Hit(at, "a line of an mbox file", "eine Zeile aus einer mbox-Datei", root, light=True))
        else:
            out.append(_no_field(at, line))
    missing = "missing-blank-line" in root.defects
    if missing:
        en, de = "no blank line ends the header", "keine Leerzeile beendet den Kopf"
        out.append(Hit(root.body_start, en, de, root))
    if not root.headers.fields:
        out.append(
            Hit(root.start, "there is no header field at all", "es gibt keine einzige Kopfzeile", root)
        )
    return out


def _no_field(at: int, line: bytes) -> Hit:
    size = len(line)
    return Hit(
        at, f"a line of {size} bytes without a field name", f"eine Zeile von {size} Bytes ohne Feldname"
    )


def blank_folding(layer: Layer) -> Hits:
    """No continuation line consists of blanks only."""
    return [
        Hit(at, "a folded line that holds blanks only", "eine Fortsetzungszeile nur aus Leerzeichen", entity)
        for entity in layer.entities()
        for at, line in header_lines(layer, entity)
        if not line.strip(b" \t")
    ]


def colon(layer: Layer) -> Hits:
    """The colon follows the name at once."""

    def test(pair: tuple[Entity, Field]) -> list[Hit]:
        entity, one = pair
        if not one.gap:
            return []
        seen = shown(one.name)
        en, de = f"a blank before the colon of {seen}", f"Leerzeichen vor dem Doppelpunkt von {seen}"
        return [Hit(one.at, en, de, entity)]

    return each(((entity, one) for entity in layer.entities() for one in fields(layer, entity)), test)


def ascii_header(layer: Layer) -> Hits:
    """Header fields are ASCII."""
    out = []
    for entity in layer.entities():
        for at, line in header_lines(layer, entity):
            bad = next((index for index, octet in enumerate(line) if octet > 0x7E or octet == 0), None)
            if bad is not None:
                en = f"the octet 0x{line[bad]:02X} in a header line"
                out.append(Hit(at + bad, en, f"das Byte 0x{line[bad]:02X} in einer Kopfzeile", entity))
    return out


def nul(layer: Layer) -> Hits:
    """There is no NUL in the body."""
    for start, end in plain_ranges(layer):
        at = layer.buffer.find(b"\0", start, end)
        if at >= 0:
            count = layer.buffer.count(b"\0", start, end)
            return (Hit(at, f"{count} NUL characters in text", f"{count} NUL-Zeichen im Text"),)
    return ()


RULES: Final = (
    Rule(
        "rfc5322-2.3-line-ends", "RFC 5322", "2.3", Severity.SERIOUS, line_ends,
        Words(
            "Lines end in CR LF; CR and LF never stand alone.",
            "Mail servers refuse bare CR or LF, or turn them into other line ends; signatures over the text"
            " then fail and lines run together.",
            "Write every line of the mail with CR LF (0D 0A), also in the bodies of text parts and in armor;"
            " open files in binary mode so that the run-time library changes nothing.",
        ),
        Words(
            "Zeilen enden mit CR LF; CR und LF stehen nie allein.",
            "Mailserver lehnen einzelne CR oder LF ab oder ersetzen sie; Signaturen über den Text scheitern"
            " dann, und Zeilen laufen zusammen.",
            "Schreiben Sie jede Zeile der Mail mit CR LF (0D 0A), auch in Textteilen und im Armor; öffnen"
            " Sie Dateien binär, damit die Laufzeitbibliothek nichts ändert.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc5322-2.1.1-line", "RFC 5322", "2.1.1", Severity.SERIOUS, line_length,
        Words(
            "No line is longer than 998 characters without its CR LF.",
            "Mail servers refuse the mail or break the line somewhere, which damages what it holds.",
            "Encode data in base64 with lines of 76 characters; fold long header fields.",
        ),
        Words(
            "Keine Zeile ist länger als 998 Zeichen ohne CR LF.",
            "Mailserver lehnen die Mail ab oder brechen die Zeile irgendwo um; das beschädigt ihren Inhalt.",
            "Kodieren Sie Daten in base64 mit Zeilen von 76 Zeichen; falten Sie lange Kopfzeilen.",
        ),
    ),
    Rule(
        "rfc5322-2.1.1-header-line", "RFC 5322", "2.1.1", Severity.LIGHT, header_length,
        Words(
            "Header lines should be at most 78 characters long where they can be folded.",
            "Receivers read them; some relays fold them anew, which breaks signatures over the header.",
            "Fold long fields: put CR LF and a blank before the next word or parameter.",
        ),
        Words(
            "Kopfzeilen sollen höchstens 78 Zeichen haben, wo sie gefaltet werden können.",
            "Empfänger lesen sie; manche Relays falten sie neu, was Signaturen über den Kopf bricht.",
            "Falten Sie lange Felder: CR LF und ein Leerzeichen vor dem nächsten Wort oder Parameter.",
        ),
    ),
    Rule(
        "rfc5322-2.2-header", "RFC 5322", "2.2", Severity.SERIOUS, header_syntax,
        Words(
            "Each line of the header is 'Name: value' or continues one with a leading blank; a blank line"
            " ends it.",
            "Receivers take the header for ended at such a line: the fields after it (type, boundary) become"
            " text, and nothing is found in the mail.",
            "Write only fields into the header, begin continuation lines with a blank or tab, and put"
            " exactly one empty line between header and body.",
        ),
        Words(
            "Jede Zeile des Kopfs ist 'Name: Wert' oder setzt mit führendem Leerzeichen fort; eine Leerzeile"
            " endet.",
            "Empfänger halten den Kopf an einer solchen Zeile für beendet: die Felder danach (Typ, Boundary)"
            " werden Text, und in der Mail wird nichts gefunden.",
            "Schreiben Sie nur Felder in den Kopf, beginnen Sie Fortsetzungszeilen mit Leerzeichen oder Tab,"
            " und setzen Sie genau eine Leerzeile zwischen Kopf und Inhalt.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc5322-2.2.3-blank-line", "RFC 5322", "2.2.3, 3.2.2", Severity.SERIOUS, blank_folding,
        Words(
            "No folded line consists of blanks only.",
            "Many readers take such a line for the end of the header and lose the fields behind it.",
            "Drop trailing blanks before you fold, and fold only before a word.",
        ),
        Words(
            "Keine gefaltete Zeile besteht nur aus Leerzeichen.",
            "Viele Leser halten eine solche Zeile für das Ende des Kopfs und verlieren die Felder dahinter.",
            "Entfernen Sie Leerzeichen am Ende, bevor Sie falten, und falten Sie nur vor einem Wort.",
        ),
    ),
    Rule(
        "rfc5322-2.2-colon", "RFC 5322", "2.2, 4.5", Severity.LIGHT, colon,
        Words(
            "The colon follows the field name at once.",
            "Strict servers refuse the mail; some readers do not know the field.",
            "Write 'Name: value' without a blank before the colon.",
        ),
        Words(
            "Der Doppelpunkt folgt dem Feldnamen unmittelbar.",
            "Strenge Server lehnen die Mail ab; manche Leser erkennen das Feld nicht.",
            "Schreiben Sie 'Name: Wert' ohne Leerzeichen vor dem Doppelpunkt.",
        ),
    ),
    Rule(
        "rfc5322-2.2-ascii", "RFC 5322", "2.2", Severity.SERIOUS, ascii_header,
        Words(
            "Header fields hold ASCII characters only.",
            "Servers without SMTPUTF8 refuse the mail, others garble the text; an address or file name in it"
            " is lost.",
            "Write other characters in texts and display names as RFC 2047 words, in parameters by RFC 2231.",
        ),
        Words(
            "Kopfzeilen enthalten nur ASCII-Zeichen.",
            "Server ohne SMTPUTF8 lehnen die Mail ab, andere verstümmeln den Text; Adressen oder Dateinamen"
            " gehen verloren.",
            "Schreiben Sie andere Zeichen in Texten und Namen als RFC-2047-Wörter, in Parametern nach RFC"
            " 2231.",
        ),
    ),
    Rule(
        "rfc5322-3.5-nul", "RFC 5322", "3.5, 4.1", Severity.SERIOUS, nul,
        Words(
            "Text holds no NUL character.",
            "Servers cut the mail there, drop the character, or refuse the mail.",
            "Encode binary data in base64, and declare it.",
        ),
        Words(
            "Text enthält kein NUL-Zeichen.",
            "Server schneiden die Mail dort ab, entfernen das Zeichen oder lehnen die Mail ab.",
            "Kodieren Sie binäre Daten in base64 und geben Sie das an.",
        ),
    ),
)  # fmt: skip
