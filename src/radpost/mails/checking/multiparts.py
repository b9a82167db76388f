"""Rules of multiparts: boundaries, parts and their headers, charsets of text (RFC 2046)."""

import re
from collections.abc import Iterator
from typing import Final

from radpost.errors import RESOURCE_LIMIT
from radpost.mails.checking.grammar import header_lines, position
from radpost.mails.checking.model import Hit, Hits, Layer, Rule, Severity, Words, each, shown
from radpost.mime.reader import Entity, content

_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]\Z")
_FIELD: Final = re.compile(rb"[!-9;-~]+[ \t]*:")
_HIGH: Final = re.compile(rb"[\x80-\xff]")
_MAX_TEXT: Final = 1 << 20


def multiparts(layer: Layer) -> list[Entity]:
    """Return all multiparts of a tree."""
    return [entity for entity in layer.entities() if entity.is_multipart]


def has_boundary(layer: Layer) -> Hits:
    """A multipart names its boundary."""

    def test(entity: Entity) -> list[Hit]:
        if entity.params.get("boundary", "").strip():
            return []
        seen = shown(entity.content_type)
        en, de = f"{seen} without the parameter boundary", f"{seen} ohne den Parameter boundary"
        return [Hit(position(layer, entity, "Content-Type"), en, de, entity)]

    return each(multiparts(layer), test)


def boundary_form(layer: Layer) -> Hits:
    """A boundary has 1 to 70 characters of a small set."""

    def test(entity: Entity) -> list[Hit]:
        boundary = entity.params.get("boundary", "")
        if not boundary.strip() or _BOUNDARY.match(boundary):
            return []
        en = f"a boundary of {len(boundary)} characters"
        de = f"eine Boundary mit {len(boundary)} Zeichen"
        if len(boundary) <= 70:
            en, de = f"{en}, not all of them legal", f"{de}, nicht alle erlaubt"
        return [Hit(position(layer, entity, "Content-Type"), en, de, entity)]

    return each((one for one in multiparts(layer) if one.params.get("boundary", "").strip()), test)


def delimiter(layer: Layer) -> Hits:
    """The boundary that is named stands in the body."""

    def test(entity: Entity) -> list[Hit]:
        if "boundary-not-found" not in entity.defects:
            return []
        en = f"no line '--boundary' in {entity.size} bytes"
        return [Hit(entity.body_start, en, f"keine Zeile '--boundary' in {entity.size} Bytes", entity)]

    return each((one for one in multiparts(layer) if one.params.get("boundary", "").strip()), test)


def close(layer: Layer) -> Hits:
    """A multipart ends with its closing boundary."""

    def test(entity: Entity) -> list[Hit]:
        if "missing-final-boundary" not in entity.defects:
            return []
        count = len(entity.children)
        en = f"the body ends after part {count} without '--boundary--'"
        return [Hit(entity.body_end, en, f"der Inhalt endet nach Teil {count} ohne '--boundary--'", entity)]

    return each((one for one in multiparts(layer) if one.children), test)


def unique(layer: Layer) -> Hits:
    """No multipart within another uses the same boundary, or one that begins with it."""
    out = []
    nested = list(_nested(layer.root, ()))
    for entity, above in nested:
        mine = entity.params.get("boundary", "")
        if mine in above:
            en, de = "the boundary of a multipart around it", "die Boundary eines umgebenden Multiparts"
            out.append(Hit(position(layer, entity, "Content-Type"), en, de, entity))
        elif any(mine.startswith(other) for other in above):
            en = "the boundary begins with that of a multipart around it"
            de = "die Boundary beginnt mit der eines umgebenden Multiparts"
            out.append(Hit(position(layer, entity, "Content-Type"), en, de, entity, light=True))
    return out if nested else None


def _nested(entity: Entity, above: tuple[str, ...]) -> Iterator[tuple[Entity, tuple[str, ...]]]:
    pending = [(entity, above)]
    while pending:
        one, names = pending.pop()
        mine = one.params.get("boundary", "") if one.is_multipart else ""
        if mine and names:
            yield one, names
        pending.extend((child, (*names, mine) if mine else names) for child in reversed(one.children))


def part_header(layer: Layer) -> Hits:
    """A part begins with its header, and a blank line ends it."""
    parts = [child for entity in multiparts(layer) for child in entity.children]

    def test(entity: Entity) -> list[Hit]:
        out = []
        if "missing-blank-line" in entity.defects:
            en, de = "no blank line behind the header", "keine Leerzeile hinter dem Kopf"
            out.append(Hit(entity.body_start, en, de, entity))
        for number, (at, line) in enumerate(header_lines(layer, entity)):
            if not _FIELD.match(line) and not (number and line[:1] in (b" ", b"\t")):
                en = f"a line of {len(line)} bytes in the header that is no field"
                de = f"eine Zeile von {len(line)} Bytes im Kopf, die kein Feld ist"
                out.append(Hit(at, en, de, entity))
                break
        return out

    return each(parts, test)


def charset(layer: Layer) -> Hits:
    """Text that is not ASCII names its charset."""

    def test(entity: Entity) -> list[Hit]:
        named = entity.params.get("charset", "").lower()
        if named and named != "us-ascii":
            return []
        if _HIGH.search(content(entity, layer.buffer, _MAX_TEXT)) is None:
            return []
        at = position(layer, entity, "Content-Type")
        seen = f"charset={named}" if named else "-"
        en, de = (
            f"text with octets above 127, charset: {seen}",
            f"Text mit Bytes über 127, Zeichensatz: {seen}",
        )
        return [Hit(at, en, de, entity)]

    return each((one for one in layer.leaves() if one.content_type in ("text/plain", "text/html")), test)


def readable(layer: Layer) -> Hits:
    """The tree can be read to its end within sane limits."""
    if layer.fault is None:
        return ()
    reason, detail = layer.fault
    if reason is not RESOURCE_LIMIT:
        return ()  # what is wrong is said by the rule that it breaks
    return (Hit(layer.root.start, detail, f"Grenze überschritten: {detail}", layer.root),)


RULES: Final = (
    Rule(
        "rfc2046-5.1.1-boundary", "RFC 2046", "5.1.1", Severity.FATAL, has_boundary,
        Words(
            "A multipart names its boundary in the parameter boundary of its Content-Type.",
            "Without it no part can be found: the mail is unreadable for every receiver, whatever it holds.",
            "Write 'Content-Type: multipart/...; boundary=\"...\"' with the very text that stands behind"
            " '--' in the delimiter lines.",
        ),
        Words(
            "Ein Multipart nennt seine Boundary im Parameter boundary seines Content-Type.",
            "Ohne ihn ist kein Teil zu finden: die Mail ist für jeden Empfänger unlesbar, was immer sie"
            " enthält.",
            "Schreiben Sie 'Content-Type: multipart/...; boundary=\"...\"' mit genau dem Text, der in den"
            " Trennzeilen hinter '--' steht.",
        ),
    ),
    Rule(
        "rfc2046-5.1.1-form", "RFC 2046", "5.1.1", Severity.SERIOUS, boundary_form,
        Words(
            "A boundary has 1 to 70 characters: letters, digits and ' ( ) + _ , - . / : = ?, no blank at its"
            " end.",
            "Readers with a fixed buffer cut it and find no part; relays change odd characters.",
            "Use 20 to 40 random letters and digits, and '=_' in front, which no encoded text can contain.",
        ),
        Words(
            "Eine Boundary hat 1 bis 70 Zeichen: Buchstaben, Ziffern und ' ( ) + _ , - . / : = ?, kein"
            " Leerzeichen am Ende.",
            "Leser mit festem Puffer schneiden sie ab und finden keinen Teil; Relays ändern seltene Zeichen.",
            "Nehmen Sie 20 bis 40 zufällige Buchstaben und Ziffern mit '=_' davor, was kein kodierter Text"
            " enthält.",
        ),
    ),
    Rule(
        "rfc2046-5.1.1-delimiter", "RFC 2046", "5.1.1", Severity.FATAL, delimiter,
        Words(
            "Each part begins behind a line that is '--' and the boundary, at the very start of the line.",
            "No part can be found: the boundary named in the header is not the one used in the body.",
            "Use one variable for both, put '--' before it in the body, and nothing else on that line.",
        ),
        Words(
            "Jeder Teil beginnt hinter einer Zeile aus '--' und der Boundary, ganz am Zeilenanfang.",
            "Kein Teil ist zu finden: die Boundary im Kopf ist nicht die im Inhalt benutzte.",
            "Benutzen Sie eine Variable für beide, im Inhalt mit '--' davor und sonst nichts in der Zeile.",
        ),
    ),
    Rule(
        "rfc2046-5.1.1-close", "RFC 2046", "5.1.1", Severity.SERIOUS, close,
        Words(
            "A multipart ends with a line '--', boundary, '--'.",
            "A receiver cannot tell whether the mail was cut off on its way: strict ones refuse it, others"
            " take what is there and hope.",
            "Write the closing boundary behind the last part. If your product writes it, the mail was"
            " truncated: look for a size limit or a broken connection.",
        ),
        Words(
            "Ein Multipart endet mit einer Zeile aus '--', Boundary und '--'.",
            "Ein Empfänger kann nicht erkennen, ob die Mail unterwegs abgeschnitten wurde: strenge lehnen"
            " sie ab, andere nehmen, was da ist, und hoffen.",
            "Schreiben Sie die schließende Boundary hinter den letzten Teil. Tut Ihr Produkt das, wurde die"
            " Mail gekürzt: suchen Sie eine Größengrenze oder eine abgebrochene Verbindung.",
        ),
    ),
    Rule(
        "rfc2046-5.1.1-unique", "RFC 2046", "5.1.2", Severity.FATAL, unique,
        Words(
            "A multipart inside another has a boundary of its own, which does not begin with the outer one.",
            "The outer multipart is cut at the inner boundary: parts are torn and objects end too early.",
            "Draw a new random boundary for every multipart.",
        ),
        Words(
            "Ein Multipart in einem anderen hat eine eigene Boundary, die nicht mit der äußeren beginnt.",
            "Der äußere Multipart wird an der inneren Boundary zerschnitten: Teile zerreißen, Objekte enden"
            " zu früh.",
            "Ziehen Sie für jeden Multipart eine neue zufällige Boundary.",
        ),
    ),
    Rule(
        "rfc2046-5.1-part-header", "RFC 2046", "5.1", Severity.SERIOUS, part_header,
        Words(
            "A part is its header fields, one blank line, and the body; without fields it begins with the"
            " blank line.",
            "The first lines of the body are read as header and are missing in the object, or fields are"
            " read as body.",
            "Write exactly one empty line (CR LF) between the fields of the part and its body.",
        ),
        Words(
            "Ein Teil besteht aus seinen Kopfzeilen, einer Leerzeile und dem Inhalt; ohne Kopfzeilen beginnt"
            " er mit der Leerzeile.",
            "Die ersten Zeilen des Inhalts werden als Kopf gelesen und fehlen im Objekt, oder Felder gelten"
            " als Inhalt.",
            "Schreiben Sie genau eine Leerzeile (CR LF) zwischen die Felder des Teils und seinen Inhalt.",
        ),
    ),
    Rule(
        "rfc2046-4.1.2-charset", "RFC 2046", "4.1.2", Severity.LIGHT, charset,
        Words(
            "Text with other than ASCII characters names its charset.",
            "Receivers guess: umlauts in the accompanying text are shown wrongly.",
            "Write 'Content-Type: text/plain; charset=utf-8' and encode the text accordingly.",
        ),
        Words(
            "Text mit anderen als ASCII-Zeichen nennt seinen Zeichensatz.",
            "Empfänger raten: Umlaute im Begleittext werden falsch angezeigt.",
            "Schreiben Sie 'Content-Type: text/plain; charset=utf-8' und kodieren Sie den Text entsprechend.",
        ),
    ),
    Rule(
        "rfc2046-5.1-limits", "RFC 2046", "5.1", Severity.FATAL, readable,
        Words(
            "The structure stays within what receivers read: parts at most some tens deep, headers at most"
            " some hundred kilobytes.",
            "Receivers stop reading, and refuse the mail as an attack.",
            "Put all objects into one multipart; do not wrap a multipart with a single part again.",
        ),
        Words(
            "Die Struktur bleibt in dem Rahmen, den Empfänger lesen: Teile höchstens einige Dutzend tief,"
            " Köpfe höchstens einige hundert Kilobyte.",
            "Empfänger hören auf zu lesen und lehnen die Mail als Angriff ab.",
            "Legen Sie alle Objekte in einen Multipart; hüllen Sie einen Multipart mit nur einem Teil nicht"
            " erneut ein.",
        ),
    ),
)  # fmt: skip
