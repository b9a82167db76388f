"""Rules of encoded bodies: base64 and quoted-printable to the letter (RFC 2045 6.7, 6.8)."""

import re
from typing import Final

from radpost.mails.checking.grammar import long_lines, some
from radpost.mails.checking.model import Hit, Hits, Layer, Rule, Severity, Words, each, mark
from radpost.mime.reader import Entity

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n"
_JUNK: Final = re.compile(rb"[^A-Za-z0-9+/=\r\n]")
_BLANKS: Final = b" \t"
_NOT_QP: Final = re.compile(rb"=(?![0-9A-F]{2}|[ \t]*\r?\n|[ \t]*\Z)")
_SMALL: Final = re.compile(rb"=[0-9A-Fa-f]{2}")
_TRAILING: Final = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n|\Z)")
_UNCODED: Final = re.compile(rb"[^\t\r\n\x20-\x7e]")


def _base64(layer: Layer) -> list[Entity]:
    return [entity for entity in layer.leaves() if entity.encoding == "base64"]


def _quoted(layer: Layer) -> list[Entity]:
    return [entity for entity in layer.leaves() if entity.encoding == "quoted-printable"]


def base64_line(layer: Layer) -> Hits:
    """Lines of base64 have at most 76 characters."""
    return each(_base64(layer), lambda entity: _too_long(layer, entity))


def quoted_line(layer: Layer) -> Hits:
    """Lines of quoted-printable have at most 76 characters."""
    return each(_quoted(layer), lambda entity: _too_long(layer, entity))


def _too_long(layer: Layer, entity: Entity) -> list[Hit]:
    found = long_lines(layer, entity.body_start, entity.body_end, 76)
    if not found:
        return []
    longest = max(size for _, size in found)
    en = f"{len(found)} lines of more than 76 characters, the longest has {longest}"
    de = f"{len(found)} Zeilen mit mehr als 76 Zeichen, die längste hat {longest}"
    return [Hit(found[0][0], en, de, entity)]


def base64_alphabet(layer: Layer) -> Hits:
    """Base64 holds characters of its alphabet only."""

    def test(entity: Entity) -> list[Hit]:
        junk = layer.text(entity).translate(None, _ALPHABET)
        if not junk:
            return []
        solid = junk.translate(None, _BLANKS)
        first = _JUNK.search(layer.buffer, entity.body_start, entity.body_end)
        if solid:
            first = re.compile(re.escape(solid[:1])).search(layer.buffer, entity.body_start, entity.body_end)
        at = first.start() if first is not None else entity.body_start
        seen = f"{len(solid) or len(junk)} x, {mark(layer.buffer[at])}"
        en = f"characters outside of the alphabet: {seen}"
        return [Hit(at, en, f"Zeichen außerhalb des Alphabets: {seen}", entity, light=not solid)]

    return each(_base64(layer), test)


def base64_padding(layer: Layer) -> Hits:
    """Base64 is a whole number of groups of four, padded at its end only."""

    def test(entity: Entity) -> list[Hit]:
        text = layer.text(entity)
        pad = text.find(b"=")
        if pad >= 0 and text[pad:].translate(None, b"= \t\r\n"):
            at = entity.body_start + pad
            en, de = "data go on behind the padding '='", "hinter dem Füllzeichen '=' folgen weitere Daten"
            return [Hit(at, en, de, entity)]
        count = len(_JUNK.sub(b"", text).translate(None, b"\r\n"))
        if count % 4:
            en = f"{count} characters: {count % 4} more than groups of four"
            de = f"{count} Zeichen: {count % 4} mehr als Vierergruppen"
            light = count % 4 != 1 and not text.rstrip().endswith(b"=")
            return [Hit(entity.body_start + len(text.rstrip()), en, de, entity, light=light)]
        return []

    return each(_base64(layer), test)


def quoted_syntax(layer: Layer) -> Hits:
    """In quoted-printable ``=`` is followed by two capital hexadecimal digits or ends the line."""

    def test(entity: Entity) -> list[Hit]:
        found = some(_NOT_QP, layer, entity.body_start, entity.body_end)
        real = [match for match in found if _SMALL.match(layer.buffer, match.start()) is None]
        if real:
            en = f"{len(real)} times '=' without two hexadecimal digits"
            de = f"{len(real)} mal '=' ohne zwei Hexadezimalziffern"
            return [Hit(real[0].start(), en, de, entity)]
        if found:
            en, de = f"{len(found)} codes in small letters", f"{len(found)} Codes in Kleinbuchstaben"
            return [Hit(found[0].start(), en, de, entity, light=True)]
        return []

    return each(_quoted(layer), test)


def quoted_blank(layer: Layer) -> Hits:
    """No line of quoted-printable ends in a blank."""

    def test(entity: Entity) -> list[Hit]:
        found = some(_TRAILING, layer, entity.body_start, entity.body_end)
        if not found:
            return []
        en, de = f"{len(found)} lines end in blanks", f"{len(found)} Zeilen enden mit Leerzeichen"
        return [Hit(found[0].start(), en, de, entity)]

    return each(_quoted(layer), test)


def quoted_octets(layer: Layer) -> Hits:
    """Quoted-printable holds visible ASCII, blanks and line ends only."""

    def test(entity: Entity) -> list[Hit]:
        found = _UNCODED.search(layer.buffer, entity.body_start, entity.body_end)
        if found is None:
            return []
        seen = mark(layer.buffer[found.start()])
        return [
            Hit(found.start(), f"the octet {seen} stands uncoded", f"das Byte {seen} ist unkodiert", entity)
        ]

    return each(_quoted(layer), test)


RULES: Final = (
    Rule(
        "rfc2045-6.8-line", "RFC 2045", "6.8", Severity.SERIOUS, base64_line,
        Words(
            "Lines of base64 have at most 76 characters.",
            "Decoders with fixed line buffers cut the line: the object arrives with bytes missing. Lines"
            " above 998 characters do not survive SMTP at all.",
            "Put CR LF behind every 76 characters (57 bytes of data).",
        ),
        Words(
            "Zeilen in base64 haben höchstens 76 Zeichen.",
            "Dekoder mit festem Zeilenpuffer schneiden ab: dem Objekt fehlen Bytes. Zeilen über 998 Zeichen"
            " überstehen SMTP gar nicht.",
            "Setzen Sie CR LF nach je 76 Zeichen (57 Bytes Daten).",
        ),
    ),
    Rule(
        "rfc2045-6.8-alphabet", "RFC 2045", "6.8", Severity.SERIOUS, base64_alphabet,
        Words(
            "A base64 body holds A-Z a-z 0-9 + / = and line ends only.",
            "Decoders must skip other characters, but many stop there or refuse the part; text that was"
            " appended (a footer) is decoded as data and adds bytes to the object.",
            "Use the standard alphabet (not base64url with - and _), write no blanks, and keep footers out"
            " of the part.",
        ),
        Words(
            "Ein base64-Inhalt enthält nur A-Z a-z 0-9 + / = und Zeilenenden.",
            "Dekoder müssen andere Zeichen überspringen, viele brechen aber ab; angehängter Text (eine"
            " Fußzeile) wird als Daten dekodiert und verlängert das Objekt.",
            "Benutzen Sie das Standardalphabet (nicht base64url mit - und _), keine Leerzeichen, und halten"
            " Sie Fußzeilen aus dem Teil heraus.",
        ),
    ),
    Rule(
        "rfc2045-6.8-padding", "RFC 2045", "6.8", Severity.SERIOUS, base64_padding,
        Words(
            "Base64 is a whole number of groups of four characters; '=' stands at the very end only.",
            "Strict decoders refuse the part; others drop the last bytes, or all behind an early '=': the"
            " object is shorter than it was.",
            "Encode the object in one run (or in pieces whose size is a multiple of three) and fill the last"
            " group with '='.",
        ),
        Words(
            "Base64 besteht aus ganzen Vierergruppen; '=' steht nur ganz am Ende.",
            "Strenge Dekoder lehnen den Teil ab; andere lassen die letzten Bytes weg oder alles hinter einem"
            " frühen '=': das Objekt ist kürzer als es war.",
            "Kodieren Sie das Objekt in einem Zug (oder in Stücken, deren Größe durch drei teilbar ist), und"
            " füllen Sie die letzte Gruppe mit '='.",
        ),
    ),
    Rule(
        "rfc2045-6.7-line", "RFC 2045", "6.7 (5)", Severity.SERIOUS, quoted_line,
        Words(
            "Lines of quoted-printable have at most 76 characters.",
            "Readers with fixed line buffers cut the line; relays may break it and change the data.",
            "End a long line with '=' and CR LF before its 76th character (soft line break).",
        ),
        Words(
            "Zeilen in quoted-printable haben höchstens 76 Zeichen.",
            "Leser mit festem Zeilenpuffer schneiden ab; Relays brechen um und ändern die Daten.",
            "Beenden Sie eine lange Zeile vor dem 76. Zeichen mit '=' und CR LF (weicher Umbruch).",
        ),
    ),
    Rule(
        "rfc2045-6.7-code", "RFC 2045", "6.7 (1)", Severity.SERIOUS, quoted_syntax,
        Words(
            "In quoted-printable '=' is followed by two hexadecimal digits in capitals, or ends the line.",
            "Decoders guess: the '=' is kept, dropped, or the part is refused; binary data in it are"
            " damaged.",
            "Write '=' itself as =3D, and codes as =0A, =C3.",
        ),
        Words(
            "In quoted-printable folgen auf '=' zwei große Hexadezimalziffern, oder es beendet die Zeile.",
            "Dekoder raten: das '=' bleibt, fällt weg, oder der Teil wird abgelehnt; binäre Daten werden"
            " beschädigt.",
            "Schreiben Sie '=' selbst als =3D und Codes als =0A, =C3.",
        ),
    ),
    Rule(
        "rfc2045-6.7-octets", "RFC 2045", "6.7", Severity.SERIOUS, quoted_octets,
        Words(
            "Quoted-printable holds visible ASCII characters, blanks and line ends only.",
            "The other octets do not survive 7-bit transport; decoders drop them.",
            "Write every octet below 32 and above 126 as =XX.",
        ),
        Words(
            "Quoted-printable enthält nur sichtbare ASCII-Zeichen, Leerzeichen und Zeilenenden.",
            "Andere Bytes überstehen 7-Bit-Transport nicht; Dekoder lassen sie weg.",
            "Schreiben Sie jedes Byte unter 32 und über 126 als =XX.",
        ),
    ),
    Rule(
        "rfc2045-6.7-blank", "RFC 2045", "6.7 (3)", Severity.LIGHT, quoted_blank,
        Words(
            "No line of quoted-printable ends in a blank or tab.",
            "Decoders delete it, because transport may have added it: text loses blanks, data lose bytes.",
            "Write a blank before the line end as =20, a tab as =09.",
        ),
        Words(
            "Keine Zeile in quoted-printable endet mit Leerzeichen oder Tab.",
            "Dekoder löschen es, weil der Transport es angefügt haben kann: Text verliert Leerzeichen, Daten"
            " verlieren Bytes.",
            "Schreiben Sie ein Leerzeichen vor dem Zeilenende als =20, einen Tab als =09.",
        ),
    ),
)  # fmt: skip
