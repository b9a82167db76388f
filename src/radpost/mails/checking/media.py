"""Rules of DICOM e-mail: DICOM files in MIME parts (PS3.12 K, RFC 3240 beside it)."""

import re
from typing import Final

from radpost.mails.checking.grammar import position
from radpost.mails.checking.model import Hit, Hits, Layer, Rule, Severity, Words, each, shown
from radpost.mails.checking.objects import Object
from radpost.mime.reader import Entity

_ID: Final = re.compile(r"[A-Z0-9_]{1,8}(?:/[A-Z0-9_]{1,8}){0,7}\Z")
_LOSSLESS: Final = frozenset({"base64", "quoted-printable", "binary"})
_DIRECTORY: Final = "DICOMDIR"


def _at(layer: Layer, one: Object) -> int:
    return position(layer, one.entity, "Content-Type")


def _files(layer: Layer) -> list[Object]:
    """Return the DICOM parts that stand in a MIME tree; a sealed bare file has no header to look at."""
    return [] if layer.bare else list(layer.objects)


def typed(layer: Layer) -> Hits:
    """A DICOM file is application/dicom."""

    def test(one: Object) -> list[Hit]:
        if one.typed:
            return []
        seen = shown(one.entity.content_type)
        en, de = f"a DICOM file as {seen}", f"eine DICOM-Datei als {seen}"
        return [Hit(_at(layer, one), en, de, one.entity)]

    return each((one for one in _files(layer) if one.prefix or one.typed), test)


def lossless(layer: Layer) -> Hits:
    """A DICOM file is encoded so that binary data survive."""

    def test(one: Object) -> list[Hit]:
        if one.entity.encoding in _LOSSLESS:
            return []
        seen = shown(one.entity.encoding)
        return [Hit(_at(layer, one), f"the encoding is {seen}", f"die Kodierung ist {seen}", one.entity)]

    return each((one for one in _files(layer) if one.size), test)


def id_form(layer: Layer) -> Hits:
    """An id is a DICOM File ID."""
    indexed = any(one.is_dicomdir for one in layer.objects)

    def test(one: Object) -> list[Hit]:
        if _ID.match(one.id) and len(one.id) <= 71:
            return []
        parts = one.id.split("/")
        if one.id.startswith("/"):
            en, de = "the id begins with /", "die id beginnt mit /"
        elif any(len(part) > 8 for part in parts):
            longest = max(len(part) for part in parts)
            en, de = f"a component of {longest} characters", f"ein Bestandteil mit {longest} Zeichen"
        elif one.id != one.id.upper():
            en, de = "small letters in the id", "Kleinbuchstaben in der id"
        else:
            en, de = "characters other than A-Z 0-9 _", "andere Zeichen als A-Z 0-9 _"
        return [Hit(_at(layer, one), en, de, one.entity, light=not indexed)]

    return each((one for one in _files(layer) if one.id), test)


def id_present(layer: Layer) -> Hits:
    """Where there is a DICOMDIR every file has its id."""
    if not any(one.is_dicomdir for one in layer.objects):
        return None

    def test(one: Object) -> list[Hit]:
        if one.id:
            return []
        en, de = "a DICOM part without id beside a DICOMDIR", "ein DICOM-Teil ohne id neben einem DICOMDIR"
        return [Hit(_at(layer, one), en, de, one.entity)]

    return each(_files(layer), test)


def id_unique(layer: Layer) -> Hits:
    """No two files have the same id."""
    named = [one for one in _files(layer) if one.id]
    seen: set[str] = set()
    out = []
    for one in named:
        if one.id in seen:
            en, de = "an id that an earlier part has", "eine id, die ein früherer Teil schon hat"
            out.append(Hit(_at(layer, one), en, de, one.entity))
        seen.add(one.id)
    return out if len(named) > 1 else None


def name_form(layer: Layer) -> Hits:
    """A name is the last component of the id, and ``.dcm``."""

    def test(one: Object) -> list[Hit]:
        name = one.entity.params.get("name", "")
        last = one.id.rsplit("/", 1)[-1]
        wanted = last if one.is_dicomdir else f"{last}.dcm"
        if name.upper() == wanted.upper():
            return []
        en, de = "the name is not made of the id", "der Name ist nicht aus der id gebildet"
        return [Hit(_at(layer, one), en, de, one.entity)]

    several = len(_files(layer)) > 1
    return each((one for one in _files(layer) if one.id and one.entity.params.get("name") and several), test)


def one_directory(layer: Layer) -> Hits:
    """A file set has at most one DICOMDIR."""
    found = [one for one in _files(layer) if one.is_dicomdir]
    out = []
    for index, one in enumerate(found):
        if any(layer.parent(other.entity) is layer.parent(one.entity) for other in found[:index]):
            en, de = "a second DICOMDIR in the same multipart", "ein zweites DICOMDIR im selben Multipart"
            out.append(Hit(_at(layer, one), en, de, one.entity))
    return out if found else None


def directory_id(layer: Layer) -> Hits:
    """The DICOMDIR has the id DICOMDIR."""

    def test(one: Object) -> list[Hit]:
        if one.id == _DIRECTORY:
            return []
        seen = f"id={shown(one.id)}" if one.id.upper() == _DIRECTORY else f"id: {len(one.id)}"
        en, de = f"a DICOMDIR with another id ({seen})", f"ein DICOMDIR mit anderer id ({seen})"
        return [Hit(_at(layer, one), en, de, one.entity)]

    return each((one for one in _files(layer) if one.is_dicomdir), test)


def directory_files(layer: Layer) -> Hits:
    """Every file that a DICOMDIR names is in the mail."""
    present = {one.id.upper() for one in layer.objects if one.id}

    def test(one: Object) -> list[Hit]:
        if one.file_ids is None:
            en, de = "the DICOMDIR cannot be read", "das DICOMDIR ist nicht lesbar"
            return [Hit(one.entity.body_start, en, de, one.entity)]
        missing = sum(name.upper() not in present for name in one.file_ids)
        if not missing:
            return []
        count = len(one.file_ids)
        en = f"{missing} of {count} files named in the DICOMDIR have no part with their id"
        de = f"{missing} von {count} im DICOMDIR genannten Dateien haben keinen Teil mit ihrer id"
        return [Hit(one.entity.body_start, en, de, one.entity)]

    return each((one for one in _files(layer) if one.identity.kind == "dicomdir"), test)


def container(layer: Layer) -> Hits:
    """Several DICOM files stand in a multipart/mixed or multipart/related."""

    def test(entity: Entity) -> list[Hit]:
        if entity.content_type in ("multipart/mixed", "multipart/related", "multipart/signed"):
            return []
        seen = shown(entity.content_type)
        en, de = f"DICOM files in {seen}", f"DICOM-Dateien in {seen}"
        return [Hit(position(layer, entity, "Content-Type"), en, de, entity)]

    mine = {id(one.entity) for one in _files(layer)}
    return each((one for one in layer.entities() if any(id(child) in mine for child in one.children)), test)


def related(layer: Layer) -> Hits:
    """A multipart/related names the type of its root."""

    def test(entity: Entity) -> list[Hit]:
        at = position(layer, entity, "Content-Type")
        if not entity.params.get("type"):
            return [Hit(at, "there is no parameter type", "der Parameter type fehlt", entity)]
        start = entity.params.get("start", "")
        ids = {child.headers.get("Content-ID") for child in entity.children}
        if start and start not in ids:
            en, de = "start names no part", "start nennt keinen Teil"
            return [Hit(at, en, de, entity)]
        return []

    mine = {id(one.entity) for one in _files(layer)}
    with_files = (
        one
        for one in layer.entities()
        if one.content_type == "multipart/related" and any(id(child) in mine for child in one.children)
    )
    return each(with_files, test)


RULES: Final = (
    Rule(
        "ps3.12-k.1.2-type", "PS3.12", "K.1.2", Severity.SERIOUS, typed,
        Words(
            "A DICOM file is sent as application/dicom.",
            "A receiver that goes by the type takes the part for a document of unknown kind: it is stored or"
            " passed on, but not sent to the PACS.",
            "Write 'Content-Type: application/dicom' into the header of the part (Supplement 54, RFC 3240).",
        ),
        Words(
            "Eine DICOM-Datei wird als application/dicom gesendet.",
            "Ein Empfänger, der nach dem Typ geht, hält den Teil für ein unbekanntes Dokument: es wird"
            " abgelegt oder weitergereicht, aber nicht ans PACS gesendet.",
            "Schreiben Sie 'Content-Type: application/dicom' in den Kopf des Teils (Supplement 54, RFC"
            " 3240).",
        ),
    ),
    Rule(
        "ps3.12-k.1.2-id", "PS3.12", "K.1.2", Severity.SERIOUS, id_form,
        Words(
            "The id is a DICOM File ID: components of 1 to 8 of A-Z 0-9 _, joined by /, at most 71"
            " characters, no / in front (RFC 3240).",
            "A DICOMDIR refers to files by this id: receivers do not find them. Without DICOMDIR the id"
            " decides nothing.",
            "Write id=\"IM000001\", or leave id out where there is no DICOMDIR.",
        ),
        Words(
            "Die id ist eine DICOM File ID: Bestandteile aus 1 bis 8 von A-Z 0-9 _, durch / verbunden,"
            " höchstens 71 Zeichen, kein / am Anfang (RFC 3240).",
            "Ein DICOMDIR verweist mit dieser id auf Dateien: Empfänger finden sie nicht. Ohne DICOMDIR"
            " entscheidet die id nichts.",
            "Schreiben Sie id=\"IM000001\", oder lassen Sie die id ohne DICOMDIR weg.",
        ),
    ),
    Rule(
        "ps3.12-k.1.2-id-present", "PS3.12", "K.1.2", Severity.SERIOUS, id_present,
        Words(
            "Where a DICOMDIR is in the mail, every DICOM part has its id (RFC 3240).",
            "Receivers that work from the DICOMDIR do not find the file.",
            "Give each part the File ID under which the DICOMDIR names it, or send no DICOMDIR.",
        ),
        Words(
            "Ist ein DICOMDIR in der Mail, hat jeder DICOM-Teil seine id (RFC 3240).",
            "Empfänger, die nach dem DICOMDIR arbeiten, finden die Datei nicht.",
            "Geben Sie jedem Teil die File ID, unter der ihn das DICOMDIR nennt, oder senden Sie kein"
            " DICOMDIR.",
        ),
    ),
    Rule(
        "ps3.12-k.1.2-id-unique", "PS3.12", "K.1.2", Severity.SERIOUS, id_unique,
        Words(
            "No two DICOM parts of a mail have the same id.",
            "A receiver that stores files under their ids keeps only the last one: objects are lost.",
            "Count the parts: IM000001, IM000002, ...",
        ),
        Words(
            "Keine zwei DICOM-Teile einer Mail haben dieselbe id.",
            "Ein Empfänger, der Dateien unter ihrer id ablegt, behält nur die letzte: Objekte gehen"
            " verloren.",
            "Zählen Sie die Teile: IM000001, IM000002, ...",
        ),
    ),
    Rule(
        "ps3.12-k.1.2-name", "PS3.12", "K.1.2", Severity.LIGHT, name_form,
        Words(
            "In a file set the name is the last component of the id with .dcm (none for the DICOMDIR).",
            "Receivers ignore the name; people who save the attachments cannot match them with the DICOMDIR.",
            "Write id=\"A/B/IM000001\"; name=\"IM000001.dcm\".",
        ),
        Words(
            "In einem File-Set ist der Name der letzte Bestandteil der id mit .dcm (beim DICOMDIR ohne).",
            "Empfänger beachten den Namen nicht; wer die Anhänge speichert, kann sie dem DICOMDIR nicht"
            " zuordnen.",
            "Schreiben Sie id=\"A/B/IM000001\"; name=\"IM000001.dcm\".",
        ),
    ),
    Rule(
        "ps3.12-k.1.2.1-one", "PS3.12", "K.1.2.1", Severity.SERIOUS, one_directory,
        Words(
            "A file set has at most one DICOMDIR.",
            "Which index counts is open; receivers take the first and miss the files of the other.",
            "Write one DICOMDIR for all files, or put each set into a multipart of its own.",
        ),
        Words(
            "Ein File-Set hat höchstens ein DICOMDIR.",
            "Welcher Index gilt, ist offen; Empfänger nehmen den ersten und verpassen die Dateien des"
            " anderen.",
            "Schreiben Sie ein DICOMDIR für alle Dateien, oder legen Sie jedes Set in einen eigenen"
            " Multipart.",
        ),
    ),
    Rule(
        "ps3.12-k.1.2.1-id", "PS3.12", "K.1.2.1", Severity.SERIOUS, directory_id,
        Words(
            "The DICOMDIR has id=\"DICOMDIR\".",
            "It is told from the other files by this id alone: it is taken for an object and refused by the"
            " PACS.",
            "Write 'Content-Type: application/dicom; id=\"DICOMDIR\"; name=\"DICOMDIR\"'.",
        ),
        Words(
            "Das DICOMDIR hat id=\"DICOMDIR\".",
            "Nur daran ist es von anderen Dateien zu unterscheiden: es gilt als Objekt, und das PACS lehnt"
            " es ab.",
            "Schreiben Sie 'Content-Type: application/dicom; id=\"DICOMDIR\"; name=\"DICOMDIR\"'.",
        ),
    ),
    Rule(
        "rfc3240-2-encoding", "RFC 3240", "2", Severity.FATAL, lossless,
        Words(
            "A DICOM file is in base64 (or another encoding that keeps every byte).",
            "Line ends and control characters are changed on the way: the object is destroyed.",
            "Encode the file in base64 and say 'Content-Transfer-Encoding: base64'.",
        ),
        Words(
            "Eine DICOM-Datei ist in base64 (oder einer anderen Kodierung, die jedes Byte erhält).",
            "Zeilenenden und Steuerzeichen werden unterwegs geändert: das Objekt ist zerstört.",
            "Kodieren Sie die Datei in base64, und schreiben Sie 'Content-Transfer-Encoding: base64'.",
        ),
    ),
    Rule(
        "rfc3240-2-files", "RFC 3240", "2", Severity.SERIOUS, directory_files,
        Words(
            "All files that the DICOMDIR names are in the mail, each with its id.",
            "The import reports missing files, or stops.",
            "Make the DICOMDIR of exactly the files in the mail; in several mails, send none.",
        ),
        Words(
            "Alle Dateien, die das DICOMDIR nennt, sind in der Mail, jede mit ihrer id.",
            "Der Import meldet fehlende Dateien oder bricht ab.",
            "Bilden Sie das DICOMDIR aus genau den Dateien der Mail; bei mehreren Mails senden Sie keines.",
        ),
    ),
    Rule(
        "ps3.12-k.1.1-multipart", "PS3.12", "K.1.1", Severity.SERIOUS, container,
        Words(
            "DICOM files stand in a multipart/mixed or multipart/related.",
            "Of a multipart/alternative receivers take one part, of a multipart/report none.",
            "Write multipart/mixed around the parts.",
        ),
        Words(
            "DICOM-Dateien stehen in einem multipart/mixed oder multipart/related.",
            "Von einem multipart/alternative nehmen Empfänger einen Teil, von einem multipart/report keinen.",
            "Schreiben Sie multipart/mixed um die Teile.",
        ),
    ),
    Rule(
        "rfc2387-3.1-type", "RFC 2387", "3.1, 3.2", Severity.LIGHT, related,
        Words(
            "A multipart/related names the type of its root part, and start (if any) names a Content-ID.",
            "Some readers take such a multipart for mixed; for DICOM that changes nothing.",
            "Add type=\"application/dicom\", and start=\"<id>\" with the DICOMDIR's Content-ID; or write"
            " multipart/mixed.",
        ),
        Words(
            "Ein multipart/related nennt den Typ seines Wurzelteils; start (wenn vorhanden) nennt eine"
            " Content-ID.",
            "Manche Leser halten ihn für mixed; für DICOM ändert das nichts.",
            "Fügen Sie type=\"application/dicom\" an und start=\"<Kennung>\" mit der Content-ID des"
            " DICOMDIR, oder schreiben Sie multipart/mixed.",
        ),
    ),
)  # fmt: skip
