"""Rules of fragments: message/partial (RFC 2046 5.2.2)."""

import re
from typing import Final

from radpost.agit import names
from radpost.mails.checking.grammar import position
from radpost.mails.checking.model import (
    FIELD,
    Certainty,
    Hit,
    Hits,
    Layer,
    Rule,
    Scope,
    Severity,
    Words,
    shown,
)
from radpost.mime.headers import Headers
from radpost.mime.partial import enclosed_headers

_NUMBER: Final = re.compile(r"[1-9][0-9]*\Z")
_SET: Final = (names.SET_ID, names.SET_PART, names.SET_TOTAL)


def is_fragment(layer: Layer) -> bool:
    """Tell whether a mail is a fragment."""
    return layer.root.content_type == "message/partial"


def _number(layer: Layer, name: str) -> int | None:
    text = layer.root.params.get(name, "")
    return int(text) if _NUMBER.match(text) and len(text) < 10 else None


def parameters(layer: Layer) -> Hits:
    """A fragment has an id and a number from 1."""
    if not is_fragment(layer):
        return None
    at = position(layer, layer.root, "Content-Type")
    out = []
    if not layer.root.params.get("id", "").strip():
        out.append(Hit(at, "there is no parameter id", "der Parameter id fehlt", layer.root))
    if _number(layer, "number") is None:
        text = shown(layer.root.params.get("number", ""))
        out.append(Hit(at, f"number is '{text}'", f"number ist '{text}'", layer.root))
    return out


def total(layer: Layer) -> Hits:
    """A total is a number, and no fragment counts beyond it."""
    if not is_fragment(layer) or "total" not in layer.root.params:
        return None
    at = position(layer, layer.root, "Content-Type")
    found, number = _number(layer, "total"), _number(layer, "number")
    if found is None:
        text = shown(layer.root.params.get("total", ""))
        return (Hit(at, f"total is '{text}'", f"total ist '{text}'", layer.root),)
    if number is not None and number > found:
        return (Hit(at, f"fragment {number} of {found}", f"Fragment {number} von {found}", layer.root),)
    return ()


def identity(layer: Layer) -> Hits:
    """An id is as unique in the world as a Message-ID."""
    found = layer.root.params.get("id", "").strip()
    if not is_fragment(layer) or not found:
        return None
    if "@" in found or (len(found) >= 20 and not found.isdigit()):
        return ()
    at = position(layer, layer.root, "Content-Type")
    kind = "digits only" if found.isdigit() else "no domain"
    sort = "nur Ziffern" if found.isdigit() else "keine Domain"
    en = f"an id of {len(found)} characters, {kind}"
    return (Hit(at, en, f"eine id mit {len(found)} Zeichen, {sort}", layer.root),)


def encoding(layer: Layer) -> Hits:
    """A fragment is 7bit and nothing else."""
    if not is_fragment(layer):
        return None
    if layer.root.encoding == "7bit":
        return ()
    at = position(layer, layer.root, "Content-Transfer-Encoding")
    seen = shown(layer.root.encoding)
    return (Hit(at, f"the fragment is {seen}", f"das Fragment ist {seen}", layer.root),)


def _enclosed(layer: Layer) -> Headers | None:
    if not is_fragment(layer) or _number(layer, "number") != 1:
        return None
    return enclosed_headers(layer.root, layer.buffer)


def enclosed(layer: Layer) -> Hits:
    """The first fragment begins with the header of the mail that was split."""
    found = _enclosed(layer)
    if found is None:
        return None
    if found.get("Content-Type") or found.get("Message-ID") or found.get("Subject"):
        return ()
    en, de = "no header of an enclosed mail at the start", "kein Kopf einer enthaltenen Mail am Anfang"
    return (Hit(layer.root.body_start, en, de, layer.root),)


def repeated(layer: Layer) -> Hits:
    """Set headers inside the enclosed mail also stand on the fragments."""
    found = _enclosed(layer)
    if found is None or not any(found.get(name) for name in _SET):
        return None
    lost = [name for name in _SET if found.get(name) and not layer.root.headers.get(name)]
    if not lost:
        return ()
    text = ", ".join(lost)
    at = layer.root.body_start
    return (Hit(at, f"inside only: {text}", f"nur innen: {text}", layer.root),)


def line_end(layer: Layer) -> Hits:
    """A fragment is cut at a line end, and keeps it."""
    total_, number = _number(layer, "total"), _number(layer, "number")
    if not is_fragment(layer) or (total_ is not None and number == total_):
        return None
    root = layer.root
    tail = layer.buffer[max(root.body_start, root.body_end - 3) : root.body_end]
    if tail.endswith(b"\n") and not tail.endswith(b"\r\r\n"):
        return ()
    en, de = (
        "the fragment does not end with a whole line end",
        "das Fragment endet nicht mit einem Zeilenende",
    )
    return (Hit(root.body_end, en, de, root),)


RULES: Final = (
    Rule(
        "rfc2046-5.2.2-parameters", "RFC 2046", "5.2.2", Severity.FATAL, parameters,
        Words(
            "A message/partial has the parameters id and number (1, 2, 3, ...).",
            "The fragment cannot be put in its place: the mail is never put together.",
            "Write 'Content-Type: message/partial; id=\"x@your.domain\"; number=1; total=5'.",
        ),
        Words(
            "Ein message/partial hat die Parameter id und number (1, 2, 3, ...).",
            "Das Fragment ist nicht einzuordnen: die Mail wird nie zusammengesetzt.",
            "Schreiben Sie 'Content-Type: message/partial; id=\"x@ihre.domain\"; number=1; total=5'.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc2046-5.2.2-total", "RFC 2046", "5.2.2", Severity.FATAL, total,
        Words(
            "The parameter total is the number of fragments, and no fragment has a greater number.",
            "The receiver waits for fragments that never come, or refuses all of them as contradictory.",
            "Count the fragments before you write the first, and write the same total into all (at least the"
            " last).",
        ),
        Words(
            "Der Parameter total ist die Anzahl der Fragmente, und kein Fragment hat eine größere Nummer.",
            "Der Empfänger wartet auf Fragmente, die nie kommen, oder lehnt alle als widersprüchlich ab.",
            "Zählen Sie die Fragmente, bevor Sie das erste schreiben, und schreiben Sie in alle (mindestens"
            " das letzte) dasselbe total.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc2046-5.2.2-id", "RFC 2046", "5.2.2", Severity.LIGHT, identity,
        Words(
            "The id of fragments is as unique in the world as a Message-ID.",
            "Fragments of two mails with the same id are joined into one broken mail; receivers that sort by"
            " sender and id escape it.",
            "Make the id of random characters, '@' and your domain; a time stamp alone is not enough.",
        ),
        Words(
            "Die id von Fragmenten ist weltweit so eindeutig wie eine Message-ID.",
            "Fragmente zweier Mails mit derselben id werden zu einer kaputten Mail; nur Empfänger, die nach"
            " Absender und id ordnen, entgehen dem.",
            "Bilden Sie die id aus Zufallszeichen, '@' und Ihrer Domain; ein Zeitstempel allein genügt"
            " nicht.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc2046-5.2.2-7bit", "RFC 2046", "5.2.2", Severity.SERIOUS, encoding,
        Words(
            "A message/partial is always 7bit, and so is the mail that was split.",
            "Receivers do not decode fragments: they join the coded text, and the mail in it cannot be read.",
            "Encode the parts of the mail (base64) before you split it; give the fragments no encoding.",
        ),
        Words(
            "Ein message/partial ist immer 7bit, ebenso die zerlegte Mail.",
            "Empfänger dekodieren Fragmente nicht: sie fügen den kodierten Text zusammen, und die Mail darin"
            " ist nicht lesbar.",
            "Kodieren Sie die Teile der Mail (base64), bevor Sie zerlegen; geben Sie Fragmenten keine"
            " Kodierung.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc2046-5.2.2.1-enclosed", "RFC 2046", "5.2.2.1", Severity.FATAL, enclosed,
        Words(
            "The body of fragment 1 begins with the header of the mail that was split (Subject, Message-ID,"
            " MIME-Version, Content-*).",
            "The joined mail has no Content-Type: it is plain text, and nothing in it is found.",
            "Split the whole mail, its header included, and write each piece behind the header of a fragment"
            " and a blank line.",
        ),
        Words(
            "Der Inhalt von Fragment 1 beginnt mit dem Kopf der zerlegten Mail (Subject, Message-ID,"
            " MIME-Version, Content-*).",
            "Die zusammengesetzte Mail hat keinen Content-Type: sie ist bloßer Text, nichts darin wird"
            " gefunden.",
            "Zerlegen Sie die ganze Mail samt Kopf, und schreiben Sie jedes Stück hinter den Kopf eines"
            " Fragments und eine Leerzeile.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "field-set-on-fragments", FIELD, "", Severity.LIGHT, repeated,
        Words(
            "Set headers of a mail that was split also stand on its fragments.",
            "RFC 2046 5.2.2.1 drops every field of the enclosed header but Content-*, Subject, Message-ID,"
            " Encrypted and MIME-Version: a receiver by the book loses the set headers.",
            "Repeat X-TELEMEDICINE-SETID, -SETPART and -SETTOTAL in the header of fragment 1 (better: of"
            " all).",
        ),
        Words(
            "Set-Kopfzeilen einer zerlegten Mail stehen auch auf ihren Fragmenten.",
            "RFC 2046 5.2.2.1 verwirft jedes Feld des inneren Kopfs außer Content-*, Subject, Message-ID,"
            " Encrypted und MIME-Version: ein normgerechter Empfänger verliert die Set-Kopfzeilen.",
            "Wiederholen Sie X-TELEMEDICINE-SETID, -SETPART und -SETTOTAL im Kopf von Fragment 1 (besser:"
            " aller).",
        ),
        Scope.OUTSIDE,
        Certainty.UNCONFIRMED,
    ),
    Rule(
        "rfc2046-5.2.2-lines", "RFC 2046", "5.2.2.1", Severity.LIGHT, line_end,
        Words(
            "A mail is split at line ends only, and the line end stays in the fragment before the cut.",
            "At the joint two lines run into one or a line is torn; armor and base64 mostly survive that,"
            " header fields and boundaries do not.",
            "Cut behind CR LF, and write that CR LF into the fragment.",
        ),
        Words(
            "Eine Mail wird nur an Zeilenenden zerlegt, und das Zeilenende bleibt im Fragment davor.",
            "An der Naht laufen zwei Zeilen zusammen oder eine zerreißt; Armor und base64 überstehen das"
            " meist, Kopfzeilen und Boundaries nicht.",
            "Schneiden Sie hinter CR LF, und schreiben Sie dieses CR LF in das Fragment.",
        ),
        Scope.OUTSIDE,
    ),
)  # fmt: skip
