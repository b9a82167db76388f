"""Rules of single MIME entities: version, types, transfer encodings as declared (RFC 2045)."""

import re
from collections import Counter
from typing import Final

from radpost.mails.checking.grammar import TOKEN, fields, items, named, parameters, position
from radpost.mails.checking.model import Hit, Hits, Layer, Rule, Scope, Severity, Words, each, mark, shown
from radpost.mime.coding import IDENTITY
from radpost.mime.reader import Entity

_VERSION: Final = re.compile(r"1\s*\.\s*0\Z")
_COMMENT: Final = re.compile(r"\([^()]*\)")
_KNOWN: Final = frozenset({"7bit", "8bit", "binary", "base64", "quoted-printable"})
_ALIASES: Final = frozenset({"b64", "quotedprintable", "qp", ""})
_HIGH: Final = re.compile(rb"[\x80-\xff]")
_CONTENT_ID: Final = re.compile(r"<[^<>\s\"]+>\Z")
_DOUBLES: Final = 10
_STRUCTURED: Final = ("Content-Type", "Content-Disposition")


def version(layer: Layer) -> Hits:
    """A mail with MIME fields says MIME-Version: 1.0."""
    root = layer.root
    if not any(one.name.lower().startswith(("content-", "mime-version")) for one in fields(layer, root)):
        return None
    found = named(layer, root, "MIME-Version")
    if not found:
        at = position(layer, root, "Content-Type")
        return (Hit(at, "MIME fields, but no MIME-Version", "MIME-Felder, aber kein MIME-Version", root),)
    if _VERSION.match(_COMMENT.sub("", found[0].value).strip()) is None:
        return (Hit(found[0].at, "MIME-Version is not 1.0", "MIME-Version ist nicht 1.0", root),)
    return ()


def type_syntax(layer: Layer) -> Hits:
    """A Content-Type is ``type/subtype``."""

    def test(entity: Entity) -> list[Hit]:
        out = []
        for one in named(layer, entity, "Content-Type")[:1]:
            major, slash, minor = items(one.value)[0].partition("/")
            if not (slash and TOKEN.match(major) and TOKEN.match(minor)):
                text = shown(items(one.value)[0])
                out.append(Hit(one.at, f"the type is '{text}'", f"der Typ ist '{text}'", entity))
        return out

    return each((entity for entity in layer.entities() if "Content-Type" in entity.headers), test)


def parameter_syntax(layer: Layer) -> Hits:
    """Parameters are ``; name=value``, each once."""

    def test(entity: Entity) -> list[Hit]:
        out = []
        for name in _STRUCTURED:
            for one in named(layer, entity, name)[:1]:
                found, empty = parameters(one.value)
                if empty:
                    en = f"{empty} empty or incomplete parameters in {name}"
                    out.append(
                        Hit(one.at, en, f"{empty} leere oder unvollständige Parameter in {name}", entity)
                    )
                names = Counter(item.name for item in found)
                for double in sorted(word for word, count in names.items() if count > 1)[:_DOUBLES]:
                    en = f"the parameter {shown(double)} stands twice in {name}"
                    de = f"der Parameter {shown(double)} steht doppelt in {name}"
                    out.append(Hit(one.at, en, de, entity))
        return out

    return each((entity for entity in layer.entities() if _structured(entity)), test)


def quoting(layer: Layer) -> Hits:
    """A value with special characters stands in quotes."""

    def test(entity: Entity) -> list[Hit]:
        out = []
        for name in _STRUCTURED:
            for one in named(layer, entity, name)[:1]:
                for item in parameters(one.value)[0]:
                    if not item.quoted and item.value and not TOKEN.match(item.value):
                        odd = next(char for char in item.value if not TOKEN.match(char))
                        seen = mark(ord(odd)) if ord(odd) < 256 else "8-bit"
                        en = f"the parameter {shown(item.name)} of {name} holds {seen} without quotes"
                        de = f"Parameter {shown(item.name)} von {name} enthält {seen} ohne Anführungszeichen"
                        out.append(Hit(one.at, en, de, entity))
        return out

    return each((entity for entity in layer.entities() if _structured(entity)), test)


def _structured(entity: Entity) -> bool:
    return any(name in entity.headers for name in _STRUCTURED)


def fields_once(layer: Layer) -> Hits:
    """Each MIME field stands once in an entity."""

    def test(entity: Entity) -> list[Hit]:
        seen: set[str] = set()
        out = []
        for one in fields(layer, entity):
            name = one.name.lower()
            if name in seen and name.startswith(("content-", "mime-version")):
                en, de = f"a second {shown(one.name)}", f"ein zweites {shown(one.name)}"
                out.append(Hit(one.at, en, de, entity))
            seen.add(name)
        return out

    return each(layer.entities(), test)


def encoding_name(layer: Layer) -> Hits:
    """A Content-Transfer-Encoding is one of the five."""

    def test(entity: Entity) -> list[Hit]:
        out = []
        for one in named(layer, entity, "Content-Transfer-Encoding")[:1]:
            value = items(one.value)[0].lower()
            if value not in _KNOWN:
                text = shown(value)
                en, de = f"the encoding is '{text}'", f"die Kodierung ist '{text}'"
                out.append(Hit(one.at, en, de, entity))
            elif len(items(one.value)) > 1:
                en, de = f"parameters behind '{value}'", f"Parameter hinter '{value}'"
                out.append(Hit(one.at, en, de, entity, light=True))
        return out

    return each((entity for entity in layer.entities() if _encoded(entity)), test)


def _encoded(entity: Entity) -> bool:
    return "Content-Transfer-Encoding" in entity.headers


def composite(layer: Layer) -> Hits:
    """Multiparts and messages are not encoded themselves."""

    def test(entity: Entity) -> list[Hit]:
        if entity.encoding in IDENTITY:
            return []
        at = position(layer, entity, "Content-Transfer-Encoding")
        seen = f"{shown(entity.content_type)}, {shown(entity.encoding)}"
        return [Hit(at, seen, seen, entity)]

    return each((entity for entity in layer.entities() if _is_composite(entity)), test)


def _is_composite(entity: Entity) -> bool:
    return entity.is_multipart or entity.content_type in {
        "message/rfc822", "message/partial", "message/external-body"
    }  # fmt: skip


def seven_bit(layer: Layer) -> Hits:
    """What is declared 7bit, or not declared, has no octet above 127."""

    def test(entity: Entity) -> list[Hit]:
        high = _HIGH.search(layer.buffer, entity.body_start, entity.body_end)
        if high is None:
            return []
        at = high.start()
        count = sum(octet > 127 for octet in layer.text(entity)[:1_000_000])
        en = f"{count} octets above 127 under 7bit, the first is {mark(layer.buffer[at])}"
        return [
            Hit(at, en, f"{count} Bytes über 127 unter 7bit, das erste ist {mark(layer.buffer[at])}", entity)
        ]

    return each((entity for entity in layer.leaves() if entity.encoding == "7bit"), test)


def binary_mail(layer: Layer) -> Hits:
    """A mail that travels by SMTP holds no binary body."""

    def test(entity: Entity) -> list[Hit]:
        if entity.encoding != "binary":
            return []
        at = position(layer, entity, "Content-Transfer-Encoding")
        high = _HIGH.search(layer.buffer, entity.body_start, entity.body_end) is not None
        en = f"{entity.size} bytes declared binary"
        return [Hit(at, en, f"{entity.size} Bytes als binary angegeben", entity, light=not high)]

    return each((entity for entity in layer.entities() if _encoded(entity)), test)


def parents(layer: Layer) -> Hits:
    """A multipart does not promise less than its parts hold."""
    order = {"7bit": 0, "8bit": 1, "binary": 2}
    out = []
    wide = [entity for entity in layer.entities() if entity.is_multipart and entity.children]
    for entity in wide:
        mine = order.get(entity.encoding, 2)
        worst = max(order.get(child.encoding, 0) for child in entity.children)
        if worst > mine:
            word = ("7bit", "8bit", "binary")[worst]
            en = f"a part is {word}, the multipart around it is {entity.encoding}"
            de = f"ein Teil ist {word}, der Multipart darum {entity.encoding}"
            out.append(Hit(position(layer, entity, "Content-Type"), en, de, entity))
    return out if wide else None


def content_id(layer: Layer) -> Hits:
    """A Content-ID has the form ``<id>``."""

    def test(entity: Entity) -> list[Hit]:
        return [
            Hit(one.at, "the Content-ID is not <id>", "die Content-ID hat nicht die Form <Kennung>", entity)
            for one in named(layer, entity, "Content-ID")
            if _CONTENT_ID.match(one.value) is None
        ]

    return each((entity for entity in layer.entities() if "Content-ID" in entity.headers), test)


RULES: Final = (
    Rule(
        "rfc2045-4-version", "RFC 2045", "4", Severity.SERIOUS, version,
        Words(
            "A mail that uses MIME says MIME-Version: 1.0 in its header.",
            "A receiver that goes by the book reads the whole mail as plain text and finds no part in it;"
            " the data lie in the mail and are not taken.",
            "Add the line 'MIME-Version: 1.0' to the header of the mail (once, not to its parts).",
        ),
        Words(
            "Eine Mail, die MIME benutzt, sagt in ihrem Kopf MIME-Version: 1.0.",
            "Ein Empfänger, der sich an die Norm hält, liest die ganze Mail als Text und findet keinen Teil;"
            " die Daten liegen in der Mail und werden nicht übernommen.",
            "Fügen Sie die Zeile 'MIME-Version: 1.0' in den Kopf der Mail ein (einmal, nicht in die Teile).",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc2045-5.1-type", "RFC 2045", "5.1", Severity.SERIOUS, type_syntax,
        Words(
            "A Content-Type is 'type/subtype' of plain characters.",
            "The part counts as text/plain (RFC 2045 5.2): a multipart is not cut into its parts, an object"
            " is not seen as one.",
            "Write a registered type such as application/dicom, without blanks or quotes around the slash.",
        ),
        Words(
            "Ein Content-Type ist 'typ/untertyp' aus einfachen Zeichen.",
            "Der Teil gilt als text/plain (RFC 2045 5.2): ein Multipart wird nicht zerlegt, ein Objekt nicht"
            " als solches erkannt.",
            "Schreiben Sie einen eingetragenen Typ wie application/dicom, ohne Leer- oder Anführungszeichen.",
        ),
    ),
    Rule(
        "rfc2045-5.1-parameters", "RFC 2045", "5.1", Severity.LIGHT, parameter_syntax,
        Words(
            "Parameters are written '; name=value', each name once, with nothing empty between semicolons.",
            "Strict readers drop the whole field, and with it boundary or name; others take the first or the"
            " last of two values.",
            "Write one semicolon before each parameter and none at the end.",
        ),
        Words(
            "Parameter stehen als '; name=wert', jeder Name einmal, ohne Leeres zwischen Semikolons.",
            "Strenge Leser verwerfen das ganze Feld und damit Boundary oder Namen; andere nehmen den ersten"
            " oder den letzten von zwei Werten.",
            "Setzen Sie ein Semikolon vor jeden Parameter und keines ans Ende.",
        ),
    ),
    Rule(
        "rfc2045-5.1-quotes", "RFC 2045", "5.1", Severity.SERIOUS, quoting,
        Words(
            "A parameter value with any of ( ) < > @ , ; : \\ \" / [ ] ? = or a blank stands in double"
            " quotes.",
            "Readers end the value at that character: a boundary is then never found, a protocol not"
            " recognised, a file name cut.",
            "Put the value in double quotes: boundary=\"=_x1\", protocol=\"application/pgp-encrypted\".",
        ),
        Words(
            "Ein Parameterwert mit einem von ( ) < > @ , ; : \\ \" / [ ] ? = oder Leerzeichen steht in"
            " Anführungszeichen.",
            "Leser beenden den Wert an diesem Zeichen: eine Boundary wird nie gefunden, ein Protokoll nicht"
            " erkannt, ein Dateiname gekürzt.",
            "Setzen Sie den Wert in Anführungszeichen: boundary=\"=_x1\","
            " protocol=\"application/pgp-encrypted\".",
        ),
    ),
    Rule(
        "rfc2045-3-once", "RFC 2045", "3", Severity.SERIOUS, fields_once,
        Words(
            "Each MIME field stands at most once in an entity.",
            "One receiver takes the first, another the last: the same mail is read in two ways, and data are"
            " decoded wrongly.",
            "Replace the field instead of adding it a second time.",
        ),
        Words(
            "Jedes MIME-Feld steht in einer Einheit höchstens einmal.",
            "Ein Empfänger nimmt das erste, ein anderer das letzte: dieselbe Mail wird verschieden gelesen,"
            " Daten werden falsch dekodiert.",
            "Ersetzen Sie das Feld, statt es ein zweites Mal hinzuzufügen.",
        ),
    ),
    Rule(
        "rfc2045-6.1-encoding", "RFC 2045", "6.1", Severity.FATAL, encoding_name,
        Words(
            "A Content-Transfer-Encoding is 7bit, 8bit, binary, base64 or quoted-printable, and nothing"
            " else.",
            "The part cannot be decoded: it must be treated as application/octet-stream in an unknown"
            " encoding (RFC 2045 6.4), and the object in it is lost.",
            "Encode binary data in base64 and say 'Content-Transfer-Encoding: base64'.",
        ),
        Words(
            "Ein Content-Transfer-Encoding ist 7bit, 8bit, binary, base64 oder quoted-printable, sonst"
            " nichts.",
            "Der Teil ist nicht dekodierbar: er gilt als application/octet-stream in unbekannter Kodierung"
            " (RFC 2045 6.4), und das Objekt darin ist verloren.",
            "Kodieren Sie binäre Daten in base64 und schreiben Sie 'Content-Transfer-Encoding: base64'.",
        ),
    ),
    Rule(
        "rfc2045-6.4-composite", "RFC 2045", "6.4", Severity.SERIOUS, composite,
        Words(
            "Multiparts and messages are 7bit, 8bit or binary, never base64 or quoted-printable.",
            "Receivers look for the boundaries in the text as it stands: they find none, or cut at the wrong"
            " places.",
            "Encode the leaves, not the multipart or message around them.",
        ),
        Words(
            "Multiparts und Nachrichten sind 7bit, 8bit oder binary, nie base64 oder quoted-printable.",
            "Empfänger suchen die Boundaries im Text, wie er dasteht: sie finden keine oder schneiden"
            " falsch.",
            "Kodieren Sie die Blätter, nicht den Multipart oder die Nachricht darum.",
        ),
    ),
    Rule(
        "rfc2045-2.7-7bit", "RFC 2045", "2.7, 6.2", Severity.SERIOUS, seven_bit,
        Words(
            "A body without encoding, or declared 7bit, holds no octet above 127.",
            "Servers clear the eighth bit, replace characters or refuse the mail: text is garbled, data are"
            " destroyed.",
            "Encode text in quoted-printable and data in base64, and declare it in"
            " Content-Transfer-Encoding.",
        ),
        Words(
            "Ein Inhalt ohne Kodierung oder mit 7bit enthält kein Byte über 127.",
            "Server löschen das achte Bit, ersetzen Zeichen oder lehnen die Mail ab: Text wird verstümmelt,"
            " Daten werden zerstört.",
            "Kodieren Sie Text in quoted-printable und Daten in base64, und geben Sie es in"
            " Content-Transfer-Encoding an.",
        ),
    ),
    Rule(
        "rfc2045-6.2-binary", "RFC 2045", "6.2", Severity.SERIOUS, binary_mail,
        Words(
            "No body of a mail is binary: SMTP has no way to carry it (but BINARYMIME, hop by hop).",
            "Servers change line ends and long lines in it: the object arrives damaged.",
            "Encode the body in base64. Inside the encryption binary is possible, but RFC 3156 wants 7bit"
            " there as well where the data are signed.",
        ),
        Words(
            "Kein Inhalt einer Mail ist binary: SMTP kann das nicht befördern (außer BINARYMIME, Server für"
            " Server).",
            "Server ändern Zeilenenden und lange Zeilen darin: das Objekt kommt beschädigt an.",
            "Kodieren Sie den Inhalt in base64. Innerhalb der Verschlüsselung ist binary möglich; sind die"
            " Daten signiert, verlangt RFC 3156 auch dort 7bit.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc2045-6.4-parent", "RFC 2045", "6.4", Severity.LIGHT, parents,
        Words(
            "A multipart is declared 8bit or binary if one of its parts is.",
            "Servers believe the outer declaration and pass 8-bit data on a 7-bit way.",
            "Add the widest encoding of the parts to the header of the multipart, or encode the parts.",
        ),
        Words(
            "Ein Multipart ist als 8bit oder binary angegeben, wenn einer seiner Teile es ist.",
            "Server glauben der äußeren Angabe und schicken 8-Bit-Daten über einen 7-Bit-Weg.",
            "Geben Sie am Multipart die weiteste Kodierung der Teile an, oder kodieren Sie die Teile.",
        ),
    ),
    Rule(
        "rfc2045-7-content-id", "RFC 2045", "7", Severity.LIGHT, content_id,
        Words(
            "A Content-ID has the form <id>, without quotes.",
            "References to the part (start of multipart/related, @GIT's mechanism 2) do not find it.",
            "Write the id in angle brackets only: Content-ID: <x1@gateway.example>.",
        ),
        Words(
            "Eine Content-ID hat die Form <Kennung>, ohne Anführungszeichen.",
            "Verweise auf den Teil (start von multipart/related, Mechanismus 2 von @GIT) finden ihn nicht.",
            "Schreiben Sie die Kennung nur in spitzen Klammern: Content-ID: <x1@gateway.example>.",
        ),
    ),
)  # fmt: skip
