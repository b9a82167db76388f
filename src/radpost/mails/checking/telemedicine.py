"""Rules of @GIT 1.1r, and of the field practice after it, which is unconfirmed (DESIGN 12)."""

import re
from collections.abc import Iterator
from typing import Final

from radpost.agit import names
from radpost.agit.survey import MAX_SET_ID, is_study_uid
from radpost.mails.checking.grammar import Field, fields, named, position
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
    each,
    shown,
)
from radpost.mime.pgp import Kind
from radpost.mime.reader import Entity
from radpost.openpgp import measure_gain

_KNOWN: Final = frozenset(
    name.lower()
    for name in (
        names.STUDY_ID, names.SET_ID, names.SET_PART, names.SET_TOTAL, names.ORIGINAL_CONTENT_ID,
        names.NOTIFICATION_KEY_ID, names.NOTIFICATION_TO, names.REPORT,
    )
)  # fmt: skip
_SET: Final = (names.SET_ID, names.SET_PART, names.SET_TOTAL)
_SECOND: Final = (names.NOTIFICATION_KEY_ID, names.NOTIFICATION_TO)
_STRICT_UID: Final = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+\Z")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,6}\Z")
_INDEX: Final = re.compile(r"\s*([1-9][0-9]{0,6})\s*/\s*([1-9][0-9]{0,6})\s*\Z")
_BOUND: Final = ("From", "To", "Date", "Message-ID")
_PAYS: Final = 0.98
"""Sealed to more than so much of its size, nothing was packed."""
_SMALL: Final = 16 * 1024


def smime(layer: Layer) -> bool:
    """Tell whether a tree holds S/MIME (RFC 8551 3.2)."""
    return any(
        one.content_type in ("application/pkcs7-mime", "application/x-pkcs7-mime") for one in layer.entities()
    )


def sealed(layer: Layer) -> bool:
    """Tell whether a tree holds encrypted data."""
    return smime(layer) or any(one.kind is not Kind.CLEARSIGNED for one in layer.found.payloads)


def _marked(layer: Layer) -> list[Entity]:
    """Return the clear documents that are marked as belonging to a study or set."""
    marks = (names.STUDY_ID, *_SET)
    if any(name in layer.root.headers for name in marks):
        return list(layer.documents)
    return [one for one in layer.documents if any(name in one.headers for name in marks)]


def encrypted(layer: Layer) -> Hits:
    """Medical data are encrypted."""
    data = [one.entity for one in layer.objects] + _marked(layer)
    if sealed(layer) and not data:
        return ()
    if not data:
        return None
    beside = sealed(layer)
    en = f"{len(data)} parts with data stand in clear" + (" beside the encrypted ones" if beside else "")
    de = f"{len(data)} Teile mit Daten stehen im Klartext" + (" neben den verschlüsselten" if beside else "")
    return (Hit(data[0].start, en, de, data[0]),)


def openpgp(layer: Layer) -> Hits:
    """The encryption is OpenPGP's."""
    if not sealed(layer):
        return None
    if not smime(layer):
        return ()
    found = next(one for one in layer.entities() if one.content_type.endswith("pkcs7-mime"))
    seen = shown(found.params.get("smime-type", "") or "enveloped-data")
    en, de = f"sealed with S/MIME ({seen})", f"mit S/MIME verschlossen ({seen})"
    return (Hit(found.start, en, de, found),)


def pgp_mime(layer: Layer) -> Hits:
    """OpenPGP data stand in PGP/MIME."""

    def test(index: int) -> list[Hit]:
        one = layer.found.payloads[index]
        if one.kind is Kind.PGP_MIME:
            return []
        kind = {Kind.INLINE: ("in text", "im Text"), Kind.ATTACHMENT: ("as an attachment", "als Anhang")}
        en, de = kind.get(one.kind, ("in clear text", "im Klartext"))
        return [Hit(one.start, f"OpenPGP data {en}", f"OpenPGP-Daten {de}", one.entity)]

    return each((n for n, one in enumerate(layer.found.payloads) if one.kind is not Kind.CLEARSIGNED), test)


def beside(layer: Layer) -> Hits:
    """No HTML stands beside encrypted data."""
    if not sealed(layer):
        return None
    return [
        Hit(
            one.start, "text/html beside the encrypted data", "text/html neben den verschlüsselten Daten", one
        )
        for one in layer.leaves()
        if one.content_type == "text/html"
    ]


def supplement54(layer: Layer) -> Hits:
    """What is sealed is a DICOM e-mail, not a bare file."""
    if not layer.bare:
        return ()
    en, de = f"a bare file of {len(layer.buffer)} bytes", f"eine bloße Datei von {len(layer.buffer)} Bytes"
    return (Hit(0, en, de),)


def compressed(layer: Layer) -> Hits:
    """Data that compress are compressed."""
    seal = layer.seal
    size = len(layer.buffer)
    if seal is None or not seal.encrypted or size < _SMALL:
        return None
    if not measure_gain(size, lambda count, at: layer.buffer[at : at + count]):
        return None
    if seal.sealed_size < size * _PAYS:
        return ()
    en = f"{size} bytes sealed to {seal.sealed_size}, uncompressed"
    return (Hit(0, en, f"{size} Bytes zu {seal.sealed_size} verschlossen, unkomprimiert"),)


def _studies(layer: Layer) -> Iterator[tuple[Entity, Field]]:
    for entity in layer.entities():
        for one in named(layer, entity, names.STUDY_ID):
            yield entity, one


def study(layer: Layer) -> Hits:
    """Every document has its study."""
    if not layer.inside and not layer.objects and not _marked(layer):
        return None
    above = _above(layer)

    def test(entity: Entity) -> list[Hit]:
        if above or any(names.STUDY_ID in one.headers for one in _path(layer.root, entity)):
            return []
        en = f"{shown(entity.content_type)} without {names.STUDY_ID}"
        return [Hit(entity.start, en, f"{shown(entity.content_type)} ohne {names.STUDY_ID}", entity)]

    return each(layer.documents, test)


def _above(layer: Layer) -> bool:
    while layer.outer is not None and layer.sealed_in is not None:
        if any(names.STUDY_ID in one.headers for one in _path(layer.outer.root, layer.sealed_in)):
            return True
        layer = layer.outer
    return False


def _path(root: Entity, wanted: Entity) -> list[Entity]:
    """Return the entities from the root down to one."""
    if root is wanted:
        return [root]
    for child in root.children:
        below = _path(child, wanted)
        if below:
            return [root, *below]
    return []


def study_form(layer: Layer) -> Hits:
    """A study is named by a UID."""

    def test(pair: tuple[Entity, Field]) -> list[Hit]:
        entity, one = pair
        if len(one.value) <= 64 and _STRICT_UID.match(one.value):
            return []
        lenient = is_study_uid(one.value.strip("\"'<> \t"))
        en = f"{len(one.value)} characters that are no UID"
        de = f"{len(one.value)} Zeichen, die keine UID sind"
        if lenient:
            en = "a UID in quotes or brackets, or with leading zeros"
            de = "eine UID in Anführungszeichen, Klammern oder mit führenden Nullen"
        return [Hit(one.at, en, de, entity, light=lenient)]

    return each(_studies(layer), test)


def study_match(layer: Layer) -> Hits:
    """A document beside DICOM objects names their study."""
    known = {one.identity.study_instance_uid for one in layer.objects} - {None}
    pairs = list(_studies(layer))
    if not known or not pairs:
        return None
    return [
        Hit(
            one.at, "another study than that of the objects", "eine andere Studie als die der Objekte", entity
        )
        for entity, one in pairs
        if one.value not in known
    ]


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
        for entity, one in _studies(layer)
    ]


def _has_set(layer: Layer) -> bool:
    return any(name in layer.root.headers for name in _SET)


def set_complete(layer: Layer) -> Hits:
    """Set headers come as three."""
    if not _has_set(layer):
        return None
    missing = [name for name in _SET if name not in layer.root.headers]
    if not missing:
        return ()
    at = min(position(layer, layer.root, name) for name in _SET if name in layer.root.headers)
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
    for name in _SET:
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
        "agit-4-encrypted", "@GIT 1.1r", "4", Severity.SERIOUS, encrypted,
        Words(
            "DICOM objects and other data of patients are encrypted.",
            "Every server on the way can read the data. Receivers refuse the mail, or take it only where an"
            " administrator allows clear mails from this partner.",
            "Encrypt the DICOM e-mail by OpenPGP and send the result as PGP/MIME; put nothing beside it.",
        ),
        Words(
            "DICOM-Objekte und andere Patientendaten sind verschlüsselt.",
            "Jeder Server auf dem Weg kann die Daten lesen. Empfänger lehnen die Mail ab oder nehmen sie"
            " nur, wo ein Administrator offene Mails dieses Partners erlaubt.",
            "Verschlüsseln Sie die DICOM-E-Mail mit OpenPGP, senden Sie das Ergebnis als PGP/MIME, und legen"
            " Sie nichts daneben.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "agit-4-openpgp", "@GIT 1.1r", "4", Severity.LIGHT, openpgp,
        Words(
            "The encryption is OpenPGP's.",
            "A receiver of @GIT mails has no X.509 key and does not open S/MIME; QCIT and IHE XDM want"
            " S/MIME.",
            "Send OpenPGP to partners of @GIT, S/MIME to partners that agreed on it.",
        ),
        Words(
            "Die Verschlüsselung ist OpenPGP.",
            "Ein @GIT-Empfänger hat keinen X.509-Schlüssel und öffnet S/MIME nicht; QCIT und IHE XDM wollen"
            " S/MIME.",
            "Senden Sie @GIT-Partnern OpenPGP und S/MIME nur Partnern, mit denen es vereinbart ist.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "agit-5.1-pgp-mime", "@GIT 1.1r", "5.1", Severity.SERIOUS, pgp_mime,
        Words(
            "What is encrypted is sent as PGP/MIME (RFC 3156), not as an attachment or as text.",
            "Receivers that go by the book see a text or a file of unknown kind: they store it undecrypted,"
            " if at all.",
            "Write a multipart/encrypted with the control part 'Version: 1' and the armored message (Figure"
            " 2 of the recommendation).",
        ),
        Words(
            "Verschlüsseltes wird als PGP/MIME (RFC 3156) gesendet, nicht als Anhang oder Text.",
            "Normgerechte Empfänger sehen einen Text oder eine unbekannte Datei: sie legen sie höchstens"
            " unentschlüsselt ab.",
            "Schreiben Sie ein multipart/encrypted mit dem Kontrollteil 'Version: 1' und der Nachricht als"
            " Armor (Abbildung 2 der Empfehlung).",
        ),
    ),
    Rule(
        "agit-5.1-beside", "@GIT 1.1r", "5.1", Severity.LIGHT, beside,
        Words(
            "The encrypted data are attached to a plain mail; no HTML stands beside them.",
            "A mail program that shows HTML and decrypted text together can be made to send the text away"
            " (EFAIL, 2018). Gateways ignore the part.",
            "Send the encrypted entity alone, or with a text/plain.",
        ),
        Words(
            "Die verschlüsselten Daten hängen an einer einfachen Mail; kein HTML steht daneben.",
            "Ein Mailprogramm, das HTML und Entschlüsseltes zusammen anzeigt, kann dazu gebracht werden, es"
            " abzusenden (EFAIL, 2018). Gateways übergehen den Teil.",
            "Senden Sie die verschlüsselte Einheit allein oder mit einem text/plain.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "agit-5.1-supplement54", "@GIT 1.1r", "5.1", Severity.SERIOUS, supplement54,
        Words(
            "What is encrypted is a DICOM e-mail (a MIME entity by Supplement 54), not a bare file.",
            "The receiver parses a header where there is none: type, name and study of the data are unknown,"
            " or the mail is refused.",
            "Build the multipart with the application/dicom parts first, then encrypt it whole.",
        ),
        Words(
            "Verschlüsselt wird eine DICOM-E-Mail (eine MIME-Einheit nach Supplement 54), keine bloße Datei.",
            "Der Empfänger sucht einen Kopf, wo keiner ist: Typ, Name und Studie der Daten sind unbekannt,"
            " oder die Mail wird abgelehnt.",
            "Bilden Sie zuerst den Multipart mit den application/dicom-Teilen, und verschlüsseln Sie ihn als"
            " Ganzes.",
        ),
        Scope.INSIDE,
    ),
    Rule(
        "agit-4-compressed", "@GIT 1.1r", "4", Severity.LIGHT, compressed,
        Words(
            "OpenPGP's compression is optional, but should be used where the data gain from it.",
            "The mail is larger than it must be: base64 inside of armor costs 78 percent, which ZIP takes"
            " back.",
            "Let the OpenPGP program compress (gpg: leave out -z 0), at least where the images are"
            " uncompressed.",
        ),
        Words(
            "Die Kompression von OpenPGP ist freigestellt, soll aber benutzt werden, wo sie den Daten nützt.",
            "Die Mail ist größer als nötig: base64 in Armor kostet 78 Prozent, die ZIP zurückholt.",
            "Lassen Sie das OpenPGP-Programm komprimieren (gpg: -z 0 weglassen), zumindest bei"
            " unkomprimierten Bildern.",
        ),
        Scope.INSIDE,
    ),
    Rule(
        "agit-5.2-study", "@GIT 1.1r", "5.2", Severity.SERIOUS, study,
        Words(
            "Data that are not DICOM carry X-TELEMEDICINE-STUDYID, the Study Instance UID they belong to.",
            "The document is stored unassigned: nobody finds it with the images. (1.1r does not say where"
            " the tag stands; part, inner or outer header are met and read.)",
            "Write 'X-TELEMEDICINE-STUDYID: <UID>' into the header of the part, inside the encryption: the"
            " study of the DICOM objects, or a new UID if there is none.",
        ),
        Words(
            "Daten, die nicht DICOM sind, tragen X-TELEMEDICINE-STUDYID, die Study Instance UID, zu der sie"
            " gehören.",
            "Das Dokument wird ohne Zuordnung abgelegt: niemand findet es bei den Bildern. (1.1r sagt nicht,"
            " wo das Tag steht; im Teil, im inneren und im äußeren Kopf kommt es vor und wird gelesen.)",
            "Schreiben Sie 'X-TELEMEDICINE-STUDYID: <UID>' in den Kopf des Teils, innerhalb der"
            " Verschlüsselung: die Studie der DICOM-Objekte oder eine neue UID, wenn es keine gibt.",
        ),
    ),
    Rule(
        "agit-5.2-uid", "@GIT 1.1r", "5.2", Severity.SERIOUS, study_form,
        Words(
            "X-TELEMEDICINE-STUDYID is a UID (PS3.5 9.1): numbers joined by dots, at most 64 characters.",
            "A malformed value counts as none: the document is stored unassigned.",
            "Copy (0020,000D) without padding, quotes or brackets; make new ones as 2.25.<UUID as a number>.",
        ),
        Words(
            "X-TELEMEDICINE-STUDYID ist eine UID (PS3.5 9.1): Zahlen mit Punkten, höchstens 64 Zeichen.",
            "Ein falscher Wert gilt als keiner: das Dokument wird ohne Zuordnung abgelegt.",
            "Übernehmen Sie (0020,000D) ohne Füllzeichen, Anführungszeichen oder Klammern; bilden Sie neue"
            " als 2.25.<UUID als Zahl>.",
        ),
    ),
    Rule(
        "agit-5.2-match", "@GIT 1.1r", "5.2", Severity.LIGHT, study_match,
        Words(
            "X-TELEMEDICINE-STUDYID is the study of the DICOM objects it comes with.",
            "The document is filed under another study than the images of the same mail.",
            "Take the UID from the DICOM objects of this transmission, unless the document belongs"
            " elsewhere.",
        ),
        Words(
            "X-TELEMEDICINE-STUDYID ist die Studie der DICOM-Objekte, mit denen es kommt.",
            "Das Dokument wird unter einer anderen Studie abgelegt als die Bilder derselben Mail.",
            "Nehmen Sie die UID aus den DICOM-Objekten dieser Sendung, außer das Dokument gehört woanders"
            " hin.",
        ),
    ),
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
