"""Rules of the field practice after @GIT 1.1r: seen in mails only, unconfirmed (DESIGN 12)."""

import re
from typing import Final

from radpost.agit import names
from radpost.agit.survey import MAX_SET_ID
from radpost.mails.checking.grammar import fields, named, position
from radpost.mails.checking.model import (
    FIELD,
    Certainty,
    Field,
    Hit,
    Hits,
    Layer,
    Rule,
    Scope,
    Severity,
    Words,
    each,
    shown,
)
from radpost.mails.checking.telemedicine import SET, sealed, studies
from radpost.mime.reader import Entity

_KNOWN: Final = frozenset(
    name.lower()
    for name in (
        names.STUDY_ID, names.SET_ID, names.SET_PART, names.SET_TOTAL, names.ORIGINAL_CONTENT_ID,
        names.NOTIFICATION_KEY_ID, names.NOTIFICATION_TO, names.REPORT,
    )
)  # fmt: skip
_SECOND: Final = (names.NOTIFICATION_KEY_ID, names.NOTIFICATION_TO)
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,6}\Z")
_INDEX: Final = re.compile(r"\s*([1-9][0-9]{0,6})\s*/\s*([1-9][0-9]{0,6})\s*\Z")
_BOUND: Final = ("From", "To", "Date", "Message-ID")


def known_names(layer: Layer) -> Hits:
    """Fields that begin with X-TELEMEDICINE- have a known name."""
    found = [
        (entity, one)
        for entity in layer.entities()
        for one in fields(layer, entity)
        if one.name.lower().startswith("x-telemedicine")
    ]

    def test(pair: tuple[Entity, Field]) -> list[Hit]:
        entity, one = pair
        if one.name.lower() in _KNOWN:
            return []
        seen = shown(one.name)
        return [Hit(one.at, f"the field {seen}", f"das Feld {seen}", entity)]

    return each(found, test)


def study_outside(layer: Layer) -> Hits:
    """The study's UID is not shown outside of the encryption."""
    if not sealed(layer):
        return None
    return [
        Hit(one.at, f"{names.STUDY_ID} outside", f"{names.STUDY_ID} außen", entity)
        for entity, one in studies(layer)
    ]


def _has_set(layer: Layer) -> bool:
    return any(name in layer.root.headers for name in SET)


def set_complete(layer: Layer) -> Hits:
    """Set headers come as three."""
    if not _has_set(layer):
        return None
    missing = [name for name in SET if name not in layer.root.headers]
    if not missing:
        return ()
    at = min(position(layer, layer.root, name) for name in SET if name in layer.root.headers)
    text = ", ".join(missing)
    return (Hit(at, f"missing: {text}", f"es fehlt: {text}", layer.root),)


def set_numbers(layer: Layer) -> Hits:
    """SETPART and SETTOTAL are decimal numbers, the part not beyond the total."""
    headers = layer.root.headers
    out = []
    for name in (names.SET_PART, names.SET_TOTAL):
        value = headers.get(name)
        if value is not None and not _NUMBER.match(value.strip()):
            seen = f"{name}: {shown(value)}"
            out.append(Hit(position(layer, layer.root, name), seen, seen, layer.root))
    part, total = (headers.get(names.SET_PART) or "").strip(), (headers.get(names.SET_TOTAL) or "").strip()
    if _NUMBER.match(part) and _NUMBER.match(total) and int(part) > int(total):
        at = position(layer, layer.root, names.SET_PART)
        out.append(Hit(at, f"part {part} of {total}", f"Teil {part} von {total}", layer.root))
    return out if names.SET_PART in headers or names.SET_TOTAL in headers else None


def set_id(layer: Layer) -> Hits:
    """A SETID is one token of at most 256 characters."""
    value = layer.root.headers.get(names.SET_ID)
    if value is None:
        return None
    if 0 < len(value) <= MAX_SET_ID and all(0x21 <= ord(char) <= 0x7E for char in value):
        return ()
    at = position(layer, layer.root, names.SET_ID)
    en = f"{len(value)} characters, with blanks or others than visible ASCII, or too long"
    de = f"{len(value)} Zeichen, mit Leerzeichen oder nicht sichtbarem ASCII, oder zu lang"
    return (Hit(at, en, de, layer.root),)


def set_inside(layer: Layer) -> Hits:
    """Set headers stand outside and inside, with the same values."""
    outer = layer.outer
    if outer is None or layer.bare or not (_has_set(layer) or _has_set(outer)):
        return None
    out = []
    for name in SET:
        mine, others = layer.root.headers.get(name), outer.root.headers.get(name)
        if mine == others:
            continue
        if mine is None or others is None:
            side, seite = ("inside", "innen") if mine is None else ("outside", "außen")
            en, de = f"{name} is missing {side}", f"{name} fehlt {seite}"
        else:
            en, de = f"{name} differs from the one outside", f"{name} unterscheidet sich vom äußeren"
        out.append(Hit(position(layer, layer.root, name), en, de, layer.root))
    return out


def alias(layer: Layer) -> Hits:
    """QCIT's index is ``part/total``, beside its set id."""
    headers = layer.root.headers
    if names.ALIAS_SET_ID not in headers and names.ALIAS_SET_INDEX not in headers:
        return None
    match = _INDEX.match(headers.get(names.ALIAS_SET_INDEX) or "")
    good = match is not None and int(match[1]) <= int(match[2]) and headers.get(names.ALIAS_SET_ID)
    if good:
        return ()
    name = names.ALIAS_SET_INDEX if names.ALIAS_SET_INDEX in headers else names.ALIAS_SET_ID
    en, de = "no id, or no index of the form part/total", "keine id oder kein Index der Form Teil/Anzahl"
    return (Hit(position(layer, layer.root, name), en, de, layer.root),)


def second_mechanism(layer: Layer) -> Hits:
    """Fields of the second mechanism stand inside of the encryption."""
    found = [(name, one) for name in _SECOND for one in named(layer, layer.root, name)]
    if not found:
        return None
    if layer.inside:
        return ()
    return [Hit(one.at, f"{name} outside", f"{name} außen", layer.root) for name, one in found]


def bound(layer: Layer) -> Hits:
    """From, To, Date and Message-ID inside agree with those outside."""
    outer = layer.outer
    if outer is None or layer.bare:
        return None
    present = [name for name in _BOUND if name in layer.root.headers and name in outer.root.headers]
    if not present:
        return None
    return [
        Hit(position(layer, layer.root, name), f"{name} differs", f"{name} weicht ab", layer.root)
        for name in present
        if _value(layer, name) != _value(outer, name)
    ]


def _value(layer: Layer, name: str) -> object:
    headers = layer.root.headers
    if name in ("From", "To"):
        return tuple(address.lower() for address in headers.addresses(name))
    if name == "Date":
        return headers.date()
    return headers.message_id()


RULES: Final = (
    Rule(
        "field-names", FIELD, "", Severity.LIGHT, known_names,
        Words(
            "Fields that begin with X-TELEMEDICINE are STUDYID (1.1r), or SETID, SETPART, SETTOTAL,"
            " ORIGINAL-CONTENT-ID, REPORT, DISPOSITION-NOTIFICATION-TO and -KEYID.",
            "No receiver known to us reads another name; a misspelt one has no effect.",
            "Compare the name with the list in docs/reference/agit-mails.md.",
        ),
        Words(
            "Felder, die mit X-TELEMEDICINE beginnen, sind STUDYID (1.1r) oder SETID, SETPART, SETTOTAL,"
            " ORIGINAL-CONTENT-ID, REPORT, DISPOSITION-NOTIFICATION-TO und -KEYID.",
            "Kein uns bekannter Empfänger liest andere Namen; ein falsch geschriebener ist wirkungslos.",
            "Vergleichen Sie den Namen mit der Liste in docs/reference/agit-mails.md.",
        ),
        certainty=Certainty.UNCONFIRMED,
    ),
    Rule(
        "field-study-inside", FIELD, "", Severity.LIGHT, study_outside,
        Words(
            "X-TELEMEDICINE-STUDYID stands inside the encryption only.",
            "Everybody on the way can link mails to a study. Most receivers read it there as well.",
            "Write it into the header of the encrypted part; outside only for partners that cannot find it"
            " inside.",
        ),
        Words(
            "X-TELEMEDICINE-STUDYID steht nur innerhalb der Verschlüsselung.",
            "Jeder auf dem Weg kann Mails mit einer Studie verknüpfen. Die meisten Empfänger lesen es auch"
            " dort.",
            "Schreiben Sie es in den Kopf des verschlüsselten Teils; außen nur für Partner, die es innen"
            " nicht finden.",
        ),
        Scope.OUTSIDE,
        Certainty.UNCONFIRMED,
    ),
    Rule(
        "field-set-complete", FIELD, "", Severity.LIGHT, set_complete,
        Words(
            "SETID, SETPART and SETTOTAL stand together.",
            "The receiver cannot tell when the set is complete: it waits for its time limit and raises an"
            " alarm.",
            "Write all three into every mail of a transmission.",
        ),
        Words(
            "SETID, SETPART und SETTOTAL stehen zusammen.",
            "Der Empfänger erkennt nicht, wann das Set vollständig ist: er wartet bis zur Frist und"
            " alarmiert.",
            "Schreiben Sie alle drei in jede Mail einer Sendung.",
        ),
        certainty=Certainty.UNCONFIRMED,
    ),
    Rule(
        "field-set-numbers", FIELD, "", Severity.LIGHT, set_numbers,
        Words(
            "SETPART and SETTOTAL are decimal numbers from 1 without padding, and SETPART is not beyond"
            " SETTOTAL.",
            "The mail counts as a set of its own, or the set never becomes complete.",
            "Count mails (not objects): SETPART 1, 2, 3, ...; the same SETTOTAL in all.",
        ),
        Words(
            "SETPART und SETTOTAL sind Dezimalzahlen ab 1 ohne führende Nullen; SETPART ist nicht größer als"
            " SETTOTAL.",
            "Die Mail gilt als eigenes Set, oder das Set wird nie vollständig.",
            "Zählen Sie Mails (nicht Objekte): SETPART 1, 2, 3, ...; dasselbe SETTOTAL in allen.",
        ),
        certainty=Certainty.UNCONFIRMED,
    ),
    Rule(
        "field-set-id", FIELD, "", Severity.LIGHT, set_id,
        Words(
            "A SETID is one token of at most 256 visible ASCII characters, the same in all mails of the set.",
            "Relays fold or change other characters; the mails of the set are not put together.",
            "Use a UID (2.25.<UUID as a number>) or letters, digits and dots.",
        ),
        Words(
            "Eine SETID ist ein Wort aus höchstens 256 sichtbaren ASCII-Zeichen, gleich in allen Mails des"
            " Sets.",
            "Relays falten oder ändern andere Zeichen; die Mails des Sets werden nicht zusammengeführt.",
            "Nehmen Sie eine UID (2.25.<UUID als Zahl>) oder Buchstaben, Ziffern und Punkte.",
        ),
        certainty=Certainty.UNCONFIRMED,
    ),
    Rule(
        "field-set-inside", FIELD, "", Severity.LIGHT, set_inside,
        Words(
            "Set headers stand outside and inside the encryption, with the same values.",
            "Receivers believe the inner ones, which the signature covers; a difference is reported, and"
            " mails may be counted to the wrong set. Those that look outside only find none.",
            "Write the three fields into the header of the mail and of the entity that you encrypt.",
        ),
        Words(
            "Set-Kopfzeilen stehen außen und innerhalb der Verschlüsselung, mit gleichen Werten.",
            "Empfänger glauben den inneren, die die Signatur deckt; ein Unterschied wird gemeldet, und Mails"
            " können zum falschen Set zählen. Wer nur außen sucht, findet keine.",
            "Schreiben Sie die drei Felder in den Kopf der Mail und der Einheit, die Sie verschlüsseln.",
        ),
        Scope.INSIDE,
        Certainty.UNCONFIRMED,
    ),
    Rule(
        "field-qcit-index", FIELD, "", Severity.LIGHT, alias,
        Words(
            "x-dicom-msg-setindex is 'part/total', and stands beside x-dicom-msg-setid (QCIT's names).",
            "Receivers that know the names take the mail for a set of its own.",
            "Write 'x-dicom-msg-setindex: 2/7'; to partners of @GIT write X-TELEMEDICINE-SETID and its"
            " siblings.",
        ),
        Words(
            "x-dicom-msg-setindex ist 'Teil/Anzahl' und steht neben x-dicom-msg-setid (Namen von QCIT).",
            "Empfänger, die die Namen kennen, halten die Mail für ein eigenes Set.",
            "Schreiben Sie 'x-dicom-msg-setindex: 2/7'; an @GIT-Partner X-TELEMEDICINE-SETID und die"
            " anderen.",
        ),
        certainty=Certainty.UNCONFIRMED,
    ),
    Rule(
        "field-second-mechanism", FIELD, "", Severity.LIGHT, second_mechanism,
        Words(
            "X-TELEMEDICINE-DISPOSITION-NOTIFICATION-TO and -KEYID stand inside the encryption only.",
            "Anybody can have receipts sent anywhere; careful receivers ignore them outside.",
            "Write them into the header of the encrypted entity, or use Disposition-Notification-To"
            " (mechanism 1).",
        ),
        Words(
            "X-TELEMEDICINE-DISPOSITION-NOTIFICATION-TO und -KEYID stehen nur innerhalb der Verschlüsselung.",
            "Jeder kann Bestätigungen irgendwohin senden lassen; vorsichtige Empfänger übergehen sie außen.",
            "Schreiben Sie sie in den Kopf der verschlüsselten Einheit, oder benutzen Sie"
            " Disposition-Notification-To (Mechanismus 1).",
        ),
        certainty=Certainty.UNCONFIRMED,
    ),
    Rule(
        "field-binding", FIELD, "", Severity.LIGHT, bound,
        Words(
            "From, To, Date and Message-ID, where they are repeated inside, agree with those outside.",
            "Radpost takes the mail for one that somebody wrapped anew, and puts it into quarantine (106).",
            "Write both headers from the same values, and let nothing on the way change the outer ones.",
        ),
        Words(
            "From, To, Date und Message-ID stimmen, wo sie innen wiederholt sind, mit den äußeren überein.",
            "Radpost hält die Mail für neu verpackt und stellt sie unter Quarantäne (106).",
            "Schreiben Sie beide Köpfe aus denselben Werten, und lassen Sie die äußeren unterwegs nicht"
            " ändern.",
        ),
        Scope.INSIDE,
        Certainty.UNCONFIRMED,
    ),
)  # fmt: skip
