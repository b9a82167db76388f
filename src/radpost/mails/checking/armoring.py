"""Rules of ASCII armor, as everybody can see it (RFC 4880 6)."""

from typing import Final

from radpost.errors import TAMPERED, TRUNCATED
from radpost.mails.checking.model import Hit, Hits, Layer, Rule, Severity, Words, each, mark
from radpost.mails.checking.outline import Armor, Outline


def _armors(layer: Layer) -> list[tuple[Outline, Armor]]:
    return [(one, one.armor) for one in layer.seals if one.armor is not None]


def _hit(one: Outline, at: int, en: str, de: str, *, light: bool = False) -> Hit:
    return Hit(one.at + at, en, de, one.payload.entity, light=light)


def blank_line(layer: Layer) -> Hits:
    """A blank line stands between the armor's headers and its data."""

    def test(pair: tuple[Outline, Armor]) -> list[Hit]:
        one, armor = pair
        if armor.blank:
            return []
        en, de = "the data follow the first line at once", "die Daten folgen unmittelbar auf die erste Zeile"
        return [_hit(one, armor.body, en, de)]

    return each(_armors(layer), test)


def headers(layer: Layer) -> Hits:
    """An armor header is ``Key: value``."""

    def test(pair: tuple[Outline, Armor]) -> list[Hit]:
        one, armor = pair
        en, de = (
            "an armor header that is not 'Key: value'",
            "eine Armor-Kopfzeile, die nicht 'Schlüssel: Wert' ist",
        )
        return [_hit(one, at, en, de) for at in armor.odd_headers]

    return each(_armors(layer), test)


def tail(layer: Layer) -> Hits:
    """The armor is closed by the line that belongs to its first."""

    def test(pair: tuple[Outline, Armor]) -> list[Hit]:
        one, armor = pair
        if not armor.end:
            en = f"the armor ends after {armor.end_at - armor.body} bytes of data without '-----END PGP'"
            de = f"der Armor endet nach {armor.end_at - armor.body} Bytes Daten ohne '-----END PGP'"
            return [_hit(one, armor.end_at, en, de)]
        if armor.end != armor.kind:
            en, de = "first and last line name different kinds", "erste und letzte Zeile nennen Verschiedenes"
            return [_hit(one, armor.end_at, en, de)]
        return []

    return each((pair for pair in _armors(layer) if pair[1].kind != "SIGNED MESSAGE"), test)


def line_length(layer: Layer) -> Hits:
    """Lines of armor have at most 76 characters."""

    def test(pair: tuple[Outline, Armor]) -> list[Hit]:
        one, armor = pair
        if armor.longest <= 76:
            return []
        seen = armor.longest
        return [
            _hit(
                one,
                armor.body,
                f"the longest line has {seen} characters",
                f"die längste Zeile hat {seen} Zeichen",
            )
        ]

    return each((pair for pair in _armors(layer) if pair[1].kind == "MESSAGE"), test)


def alphabet(layer: Layer) -> Hits:
    """Armor holds base64 only."""

    def test(pair: tuple[Outline, Armor]) -> list[Hit]:
        one, armor = pair
        if armor.quoted is not None:
            en, de = (
                "quoted-printable that is not declared ('=3D')",
                "nicht angegebenes quoted-printable ('=3D')",
            )
            return [_hit(one, armor.quoted, en, de)]
        if armor.junk is None:
            return []
        at, octet = armor.junk
        en, de = f"{mark(octet)} among the data", f"{mark(octet)} zwischen den Daten"
        return [_hit(one, at, en, de)]

    return each((pair for pair in _armors(layer) if pair[1].kind == "MESSAGE"), test)


def has_checksum(layer: Layer) -> Hits:
    """The armor ends with its CRC-24."""

    def test(pair: tuple[Outline, Armor]) -> list[Hit]:
        one, armor = pair
        if armor.crc or not armor.end:
            return []
        en, de = "there is no line '=XXXX' before the end", "vor dem Ende steht keine Zeile '=XXXX'"
        return [_hit(one, armor.end_at, en, de)]

    return each((pair for pair in _armors(layer) if pair[1].kind == "MESSAGE"), test)


def checksum(layer: Layer) -> Hits:
    """The CRC-24 is right."""

    def test(pair: tuple[Outline, Armor]) -> list[Hit]:
        one, armor = pair
        if one.fault is None or one.fault.reason is not TAMPERED:
            return []
        en, de = "the checksum does not match the data", "die Prüfsumme passt nicht zu den Daten"
        return [_hit(one, armor.end_at, en, de)]

    return each((pair for pair in _armors(layer) if pair[1].crc), test)


def whole(layer: Layer) -> Hits:
    """The data of armor are whole groups of four characters."""

    def test(pair: tuple[Outline, Armor]) -> list[Hit]:
        one, armor = pair
        if not armor.end or one.fault is None or one.fault.reason is not TRUNCATED:
            return []
        en, de = "the data end within a group of four", "die Daten enden mitten in einer Vierergruppe"
        return [_hit(one, armor.end_at, en, de)]

    return each((pair for pair in _armors(layer) if pair[1].kind == "MESSAGE"), test)


RULES: Final = (
    Rule(
        "rfc4880-6.2-blank-line", "RFC 4880", "6.2", Severity.SERIOUS, blank_line,
        Words(
            "A blank line stands between the armor's first lines (BEGIN, headers) and its data.",
            "GnuPG takes the first data line for a header and cannot decode the message.",
            "Write CR LF CR LF behind the BEGIN line or the last armor header.",
        ),
        Words(
            "Zwischen den ersten Zeilen des Armors (BEGIN, Kopfzeilen) und den Daten steht eine Leerzeile.",
            "GnuPG hält die erste Datenzeile für eine Kopfzeile und kann die Nachricht nicht dekodieren.",
            "Schreiben Sie CR LF CR LF hinter die BEGIN-Zeile oder die letzte Armor-Kopfzeile.",
        ),
    ),
    Rule(
        "rfc4880-6.2-header", "RFC 4880", "6.2", Severity.SERIOUS, headers,
        Words(
            "An armor header is 'Key: value' (Version, Comment, Hash, Charset), with one blank behind the"
            " colon.",
            "OpenPGP programs consider a malformed armor header to be corruption, and may refuse the"
            " message.",
            "Write no armor headers at all (gpg --no-emit-version --no-comments).",
        ),
        Words(
            "Eine Armor-Kopfzeile ist 'Schlüssel: Wert' (Version, Comment, Hash, Charset), mit einem"
            " Leerzeichen hinter dem Doppelpunkt.",
            "OpenPGP-Programme halten eine falsche Kopfzeile für Beschädigung und dürfen die Nachricht"
            " ablehnen.",
            "Schreiben Sie gar keine Armor-Kopfzeilen (gpg --no-emit-version --no-comments).",
        ),
    ),
    Rule(
        "rfc4880-6.2-tail", "RFC 4880", "6.2", Severity.FATAL, tail,
        Words(
            "Armor is closed by '-----END PGP ...-----' with the words of its first line.",
            "The message is truncated for every receiver: nothing is decrypted, and the sender must send"
            " again.",
            "If your product writes the line, the mail was cut off: look for a size limit on the way, or a"
            " connection that broke. Send the mail again.",
        ),
        Words(
            "Armor schließt mit '-----END PGP ...-----' und den Worten seiner ersten Zeile.",
            "Für jeden Empfänger ist die Nachricht abgeschnitten: nichts wird entschlüsselt, der Absender"
            " muss neu senden.",
            "Schreibt Ihr Produkt die Zeile, wurde die Mail gekürzt: suchen Sie eine Größengrenze oder eine"
            " abgebrochene Verbindung. Senden Sie die Mail erneut.",
        ),
    ),
    Rule(
        "rfc4880-6.3-line", "RFC 4880", "6.3", Severity.LIGHT, line_length,
        Words(
            "Lines of armor have at most 76 characters.",
            "Most OpenPGP programs read longer lines; mail servers break those above 998 characters.",
            "Break the base64 text after 64 or 76 characters.",
        ),
        Words(
            "Zeilen des Armors haben höchstens 76 Zeichen.",
            "Die meisten OpenPGP-Programme lesen längere; Mailserver brechen Zeilen über 998 Zeichen um.",
            "Brechen Sie den base64-Text nach 64 oder 76 Zeichen um.",
        ),
    ),
    Rule(
        "rfc4880-6.3-alphabet", "RFC 4880", "6.3", Severity.FATAL, alphabet,
        Words(
            "Armor holds base64 characters and line ends only.",
            "OpenPGP programs refuse the message, or drop the character and find the data damaged.",
            "Look what changed the text on its way: quoted-printable that was not declared, '>' before"
            " 'From', inserted footers. Declare the part's encoding and let nothing rewrite it.",
        ),
        Words(
            "Armor enthält nur base64-Zeichen und Zeilenenden.",
            "OpenPGP-Programme lehnen die Nachricht ab, oder sie lassen das Zeichen weg und halten die Daten"
            " für beschädigt.",
            "Suchen Sie, was den Text unterwegs änderte: nicht angegebenes quoted-printable, '>' vor 'From',"
            " eingefügte Fußzeilen. Geben Sie die Kodierung des Teils an, und lassen Sie nichts umschreiben.",
        ),
    ),
    Rule(
        "rfc4880-6.1-present", "RFC 4880", "6.1", Severity.LIGHT, has_checksum,
        Words(
            "Armor ends with a CRC-24 line ('=' and four characters).",
            "GnuPG 2.2 refuses many messages without it; RFC 9580 makes it optional, so newer programs do"
            " not mind.",
            "Let the OpenPGP program write it as long as partners run older ones.",
        ),
        Words(
            "Armor endet mit einer CRC-24-Zeile ('=' und vier Zeichen).",
            "GnuPG 2.2 lehnt viele Nachrichten ohne sie ab; nach RFC 9580 ist sie freigestellt, neuere"
            " Programme stört es nicht.",
            "Lassen Sie das OpenPGP-Programm sie schreiben, solange Partner ältere benutzen.",
        ),
    ),
    Rule(
        "rfc4880-6.1-checksum", "RFC 4880", "6.1", Severity.FATAL, checksum,
        Words(
            "The CRC-24 is that of the data.",
            "GnuPG refuses the message: the data were changed or cut on their way.",
            "Compute the CRC over the binary data (start 0xB704CE, polynomial 0x1864CFB); if it was right,"
            " find what changes the mail on its way.",
        ),
        Words(
            "Die CRC-24 ist die der Daten.",
            "GnuPG lehnt die Nachricht ab: die Daten wurden unterwegs geändert oder gekürzt.",
            "Berechnen Sie die CRC über die binären Daten (Start 0xB704CE, Polynom 0x1864CFB); war sie"
            " richtig, suchen Sie, was die Mail unterwegs ändert.",
        ),
    ),
    Rule(
        "rfc4880-6.3-groups", "RFC 4880", "6.3", Severity.FATAL, whole,
        Words(
            "The data of armor are whole groups of four characters, the last one filled with '='.",
            "The end of the message is missing: its integrity check fails, and nothing is released.",
            "Close the base64 encoder before you write the checksum, so that the last group gets out.",
        ),
        Words(
            "Die Daten des Armors sind ganze Vierergruppen, die letzte mit '=' gefüllt.",
            "Das Ende der Nachricht fehlt: die Integritätsprüfung scheitert, nichts wird freigegeben.",
            "Schließen Sie den base64-Kodierer, bevor Sie die Prüfsumme schreiben, damit die letzte Gruppe"
            " herauskommt.",
        ),
    ),
)  # fmt: skip
