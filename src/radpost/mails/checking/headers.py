"""Rules of the fields that every mail has: sender, date, Message-ID (RFC 5322 3.6)."""

import re
from collections.abc import Iterator
from typing import Final

from radpost.mails.checking.grammar import named, position
from radpost.mails.checking.model import Field, Hit, Hits, Layer, Rule, Scope, Severity, Words

_MESSAGE_ID: Final = re.compile(r"<[^<>@\s\"(),:;\\]+@(?:[^<>@\s\"(),:;\\\[\]]+|\[[^\s\[\]\\]+\])>\Z")
_ZONE: Final = re.compile(r"(?:[+-]\d{4}|\b(?:GMT|UT|[ECMP][SD]T))\s*(?:\([^()]*\)\s*)?\Z")
_DATE: Final = re.compile(
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\s*,\s*)?\d{1,2}\s+"
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\s+\d{4}\s+\d{2}:\d{2}(?::\d{2})?\s",
    re.IGNORECASE,
)
_SINGLE: Final = (
    "Date", "From", "Sender", "Reply-To", "To", "Cc", "Message-ID", "In-Reply-To", "References", "Subject"
)  # fmt: skip


def once(layer: Layer) -> Hits:
    """Fields that may stand once stand once."""
    out = []
    for name in _SINGLE:
        found = named(layer, layer.root, name)
        out += [Hit(one.at, f"a second {name}", f"ein zweites {name}", layer.root) for one in found[1:]]
    return out


def sender(layer: Layer) -> Hits:
    """There is a From with an address."""
    found = named(layer, layer.root, "From")
    if not found:
        return (Hit(layer.root.start, "there is no From", "From fehlt", layer.root),)
    if not layer.root.headers.addresses("From"):
        return (Hit(found[0].at, "From holds no address", "From enthält keine Adresse", layer.root),)
    return ()


def recipient(layer: Layer) -> Hits:
    """The mail names to whom it is written."""
    addresses = layer.root.headers.addresses("To") + layer.root.headers.addresses("Cc")
    if addresses:
        return ()
    en, de = "neither To nor Cc holds an address", "weder To noch Cc enthält eine Adresse"
    return (Hit(position(layer, layer.root, "To"), en, de, layer.root),)


def date(layer: Layer) -> Hits:
    """There is a Date in the form of the standard, with its zone."""
    found = named(layer, layer.root, "Date")
    if not found:
        return (Hit(layer.root.start, "there is no Date", "Date fehlt", layer.root),)
    value = found[0].value
    if _DATE.match(value) is None or layer.root.headers.date() is None:
        en, de = "the Date is not in the form asked for", "Date hat nicht die verlangte Form"
        return (Hit(found[0].at, en, de, layer.root),)
    if _ZONE.search(value) is None:
        return (Hit(found[0].at, "the Date has no time zone", "Date hat keine Zeitzone", layer.root),)
    return ()


def has_id(layer: Layer) -> Hits:
    """There is a Message-ID."""
    if named(layer, layer.root, "Message-ID"):
        return ()
    return (Hit(layer.root.start, "there is no Message-ID", "Message-ID fehlt", layer.root),)


def id_syntax(layer: Layer) -> Hits:
    """A Message-ID has the form ``<left@right>``."""
    found = named(layer, layer.root, "Message-ID")
    if not found:
        return None
    return list(_bad_ids(found, layer))


def _bad_ids(found: list[Field], layer: Layer) -> Iterator[Hit]:
    for one in found:
        if _MESSAGE_ID.match(one.value) is None:
            en, de = "the Message-ID is not <left@right>", "die Message-ID hat nicht die Form <links@rechts>"
            yield Hit(one.at, en, de, layer.root)


RULES: Final = (
    Rule(
        "rfc5322-3.6-once", "RFC 5322", "3.6", Severity.SERIOUS, once,
        Words(
            "Date, From, To, Cc, Reply-To, Message-ID and Subject stand at most once.",
            "Servers refuse the mail, and receivers disagree which one counts: the receipt goes astray, or"
            " the sender is taken for another.",
            "Replace a field instead of adding it a second time; list several recipients in one To.",
        ),
        Words(
            "Date, From, To, Cc, Reply-To, Message-ID und Subject stehen höchstens einmal.",
            "Server lehnen die Mail ab, und Empfänger sind uneins, welches zählt: die Empfangsbestätigung"
            " geht fehl, oder der Absender gilt als ein anderer.",
            "Ersetzen Sie ein Feld, statt es hinzuzufügen; führen Sie mehrere Empfänger in einem To auf.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc5322-3.6.2-from", "RFC 5322", "3.6.2", Severity.SERIOUS, sender,
        Words(
            "The mail names its author in From with an address.",
            "A gateway knows its partners by this address: without it the mail belongs to nobody and stays"
            " in quarantine.",
            "Write From with the mailbox that the partner has registered for you.",
        ),
        Words(
            "Die Mail nennt in From den Verfasser mit einer Adresse.",
            "Ein Gateway kennt seine Partner an dieser Adresse: ohne sie gehört die Mail niemandem und"
            " bleibt in der Quarantäne.",
            "Schreiben Sie From mit dem Postfach, das der Partner für Sie eingetragen hat.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc5322-3.6.3-to", "RFC 5322", "3.6.3", Severity.LIGHT, recipient,
        Words(
            "The mail names its recipient in To.",
            "A gateway cannot see whether the mail was meant for it; some refuse it, spam filters suspect"
            " it.",
            "Write To with the mailbox of the partner, one mail per partner.",
        ),
        Words(
            "Die Mail nennt in To ihren Empfänger.",
            "Ein Gateway sieht nicht, ob die Mail für es bestimmt war; manche lehnen sie ab, Filter"
            " verdächtigen sie.",
            "Schreiben Sie To mit dem Postfach des Partners, eine Mail je Partner.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc5322-3.6.1-date", "RFC 5322", "3.6.1, 3.3", Severity.SERIOUS, date,
        Words(
            "The mail has one Date of the form 'Thu, 12 Feb 2026 05:59:17 +0100', in English, with its zone.",
            "The time of sending is unknown or wrong: transfer times cannot be measured, and filters take"
            " the mail for spam.",
            "Format the date with English names of day and month whatever the system's language is, and add"
            " the offset from UTC.",
        ),
        Words(
            "Die Mail hat ein Date der Form 'Thu, 12 Feb 2026 05:59:17 +0100', englisch und mit Zeitzone.",
            "Die Sendezeit ist unbekannt oder falsch: Laufzeiten sind nicht messbar, und Filter halten die"
            " Mail für Spam.",
            "Formatieren Sie das Datum mit englischen Tages- und Monatsnamen, gleich welche Sprache das"
            " System hat, und fügen Sie den Abstand zu UTC an.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc5322-3.6.4-message-id", "RFC 5322", "3.6.4", Severity.LIGHT, has_id,
        Words(
            "The mail should have a Message-ID of its own.",
            "Nobody can answer it: a receipt or bounce that names no Message-ID cannot be matched, and the"
            " sender never learns what became of the data. Some server on the way may add one that you do"
            " not know.",
            "Make a new Message-ID for each mail (random part @ your domain) and keep it with the"
            " transmission.",
        ),
        Words(
            "Die Mail soll eine eigene Message-ID haben.",
            "Niemand kann antworten: eine Empfangsbestätigung ohne Message-ID ist nicht zuzuordnen, und der"
            " Absender erfährt nie, was aus den Daten wurde. Ein Server kann eine hinzufügen, die Sie nicht"
            " kennen.",
            "Erzeugen Sie für jede Mail eine neue Message-ID (Zufall @ Ihre Domain) und merken Sie sie sich.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc5322-3.6.4-syntax", "RFC 5322", "3.6.4", Severity.SERIOUS, id_syntax,
        Words(
            "A Message-ID has the form <left@right>, without blanks, in ASCII.",
            "Receivers cut or drop it; their receipts then name an id that you do not find.",
            "Write one id in angle brackets with exactly one @, and only letters, digits, dots and dashes"
            " around.",
        ),
        Words(
            "Eine Message-ID hat die Form <links@rechts>, ohne Leerzeichen, in ASCII.",
            "Empfänger kürzen oder verwerfen sie; ihre Bestätigungen nennen dann eine Kennung, die Sie nicht"
            " finden.",
            "Schreiben Sie eine Kennung in spitzen Klammern mit genau einem @ und nur Buchstaben, Ziffern,"
            " Punkten und Strichen.",
        ),
        Scope.OUTSIDE,
    ),
)  # fmt: skip
