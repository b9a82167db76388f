"""Rules of @GIT 1.1r: encryption, PGP/MIME, the study of documents."""

import re
from collections.abc import Iterator
from typing import Final

from radpost.agit import names
from radpost.agit.survey import is_study_uid
from radpost.mails.checking.grammar import named
from radpost.mails.checking.model import Field, Hit, Hits, Layer, Rule, Scope, Severity, Words, each, shown
from radpost.mime.pgp import Kind
from radpost.mime.reader import Entity, body
from radpost.openpgp import measure_gain

SET: Final = (names.SET_ID, names.SET_PART, names.SET_TOTAL)
_STRICT_UID: Final = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+\Z")
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
    marks = (names.STUDY_ID, *SET)
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


def _data(layer: Layer) -> list[Entity]:
    return [one.entity for one in layer.objects] + list(layer.documents)


def _gains(layer: Layer, entity: Entity) -> bool:
    """Tell whether an object itself compresses; that base64 around it does says nothing of the object."""
    if entity.size < _SMALL:
        return False
    data = b"".join(bytes(chunk) for chunk in body(entity, layer.buffer))
    return measure_gain(len(data), lambda count, at: data[at : at + count])


def compressed(layer: Layer) -> Hits:
    """Data that compress are compressed."""
    seal = layer.seal
    size = len(layer.buffer)
    if seal is None or not seal.encrypted or not any(_gains(layer, one) for one in _data(layer)):
        return None
    if seal.sealed_size < size * _PAYS:
        return ()
    en = f"{size} bytes sealed to {seal.sealed_size}, uncompressed"
    return (Hit(0, en, f"{size} Bytes zu {seal.sealed_size} verschlossen, unkomprimiert"),)


def studies(layer: Layer) -> Iterator[tuple[Entity, Field]]:
    """Yield all fields that name a study."""
    for entity in layer.entities():
        for one in named(layer, entity, names.STUDY_ID):
            yield entity, one


def study(layer: Layer) -> Hits:
    """Every document has its study."""
    if not layer.inside and not layer.objects and not _marked(layer):
        return None
    above = _above(layer)

    def test(entity: Entity) -> list[Hit]:
        if above or any(names.STUDY_ID in one.headers for one in layer.path(entity)):
            return []
        en = f"{shown(entity.content_type)} without {names.STUDY_ID}"
        return [Hit(entity.start, en, f"{shown(entity.content_type)} ohne {names.STUDY_ID}", entity)]

    return each(layer.documents, test)


def _above(layer: Layer) -> bool:
    while layer.outer is not None and layer.sealed_in is not None:
        if any(names.STUDY_ID in one.headers for one in layer.outer.path(layer.sealed_in)):
            return True
        layer = layer.outer
    return False


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

    return each(studies(layer), test)


def study_match(layer: Layer) -> Hits:
    """A document beside DICOM objects names their study."""
    known = {one.identity.study_instance_uid for one in layer.objects} - {None}
    pairs = list(studies(layer))
    if not known or not pairs:
        return None
    return [
        Hit(
            one.at, "another study than that of the objects", "eine andere Studie als die der Objekte", entity
        )
        for entity, one in pairs
        if one.value not in known
    ]


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
)  # fmt: skip
