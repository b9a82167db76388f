"""Rules of DICOM files: preamble, meta header, data set, UIDs (PS3.10 7, PS3.5 9.1)."""

import re
from typing import Final

from radpost.mails.checking.model import Hit, Hits, Layer, Rule, Severity, Words, each
from radpost.mails.checking.objects import Object

_UID: Final = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+\Z")
_DAMAGE: Final = frozenset({"truncated", "deflate-error", "structure", "truncated-meta-header"})


def preamble(layer: Layer) -> Hits:
    """A DICOM file begins with a preamble of 128 bytes and ``DICM``."""

    def test(one: Object) -> list[Hit]:
        if one.prefix:
            return []
        en = f"{one.size} bytes without 'DICM' at offset 128"
        return [Hit(one.entity.body_start, en, f"{one.size} Bytes ohne 'DICM' an Stelle 128", one.entity)]

    return each((one for one in layer.objects if one.size), test)


def meta(layer: Layer) -> Hits:
    """A DICOM file has its meta header."""

    def test(one: Object) -> list[Hit]:
        if one.meta and "implicit-meta-header" not in one.identity.defects:
            return []
        en, de = "group 2 lacks a UID", "der Gruppe 2 fehlt eine UID"
        if "implicit-meta-header" in one.identity.defects:
            en, de = "group 2 is in implicit VR", "die Gruppe 2 ist in Implicit VR"
        return [Hit(one.entity.body_start, en, de, one.entity)]

    return each((one for one in layer.objects if one.prefix), test)


def whole(layer: Layer) -> Hits:
    """A DICOM file is whole and can be identified."""

    def test(one: Object) -> list[Hit]:
        damage = sorted(_DAMAGE.intersection(one.identity.defects))
        if one.identity.kind == "other" or damage:
            seen = ", ".join(damage) or "no SOP Instance UID"
            en, de = f"the data set cannot be read ({seen})", f"der Datensatz ist nicht lesbar ({seen})"
            return [Hit(one.entity.body_start, en, de, one.entity)]
        return []

    return each(layer.objects, test)


def uids(layer: Layer) -> Hits:
    """The UIDs of an object have the form of the standard, and group 2 agrees with the data set."""

    def test(one: Object) -> list[Hit]:
        out = []
        found = (
            one.identity.sop_instance_uid,
            one.identity.study_instance_uid,
            one.identity.series_instance_uid,
        )
        bad = sum(uid is not None and (len(uid) > 64 or not _UID.match(uid)) for uid in found)
        if bad or "bad-uid" in one.identity.defects:
            en, de = "a UID that is none", "eine UID, die keine ist"
            out.append(Hit(one.entity.body_start, en, de, one.entity))
        if "sop-instance-mismatch" in one.identity.defects:
            en = "group 2 and data set name different instances"
            de = "Gruppe 2 und Datensatz nennen verschiedene Instanzen"
            out.append(Hit(one.entity.body_start, en, de, one.entity))
        if "syntax-mismatch" in one.identity.defects:
            en = "the data set is not in the transfer syntax that group 2 names"
            de = "der Datensatz ist nicht in der Transfersyntax, die Gruppe 2 nennt"
            out.append(Hit(one.entity.body_start, en, de, one.entity))
        return out

    return each((one for one in layer.objects if one.identity.kind == "dicom"), test)


RULES: Final = (
    Rule(
        "ps3.10-7.1-prefix", "PS3.10", "7.1", Severity.SERIOUS, preamble,
        Words(
            "A DICOM file begins with 128 bytes of preamble and the letters DICM.",
            "Receivers do not recognise the file; only liberal ones find a bare data set and guess its"
            " syntax.",
            "Send files as PS3.10 defines them: add preamble, DICM and group 2 to what came by C-STORE.",
        ),
        Words(
            "Eine DICOM-Datei beginnt mit 128 Bytes Vorspann und den Buchstaben DICM.",
            "Empfänger erkennen die Datei nicht; nur großzügige finden einen bloßen Datensatz und raten die"
            " Syntax.",
            "Senden Sie Dateien nach PS3.10: setzen Sie Vorspann, DICM und Gruppe 2 vor das, was per C-STORE"
            " kam.",
        ),
    ),
    Rule(
        "ps3.10-7.1-meta", "PS3.10", "7.1", Severity.SERIOUS, meta,
        Words(
            "Group 2 names SOP class, SOP instance and transfer syntax, in explicit VR little endian.",
            "Without the transfer syntax the data set cannot be decoded for certain; PACS refuse the file.",
            "Write (0002,0002), (0002,0003) and (0002,0010) from the association in which the object came.",
        ),
        Words(
            "Gruppe 2 nennt SOP-Klasse, SOP-Instanz und Transfersyntax, in Explicit VR Little Endian.",
            "Ohne Transfersyntax ist der Datensatz nicht sicher zu dekodieren; PACS lehnen die Datei ab.",
            "Schreiben Sie (0002,0002), (0002,0003) und (0002,0010) aus der Assoziation, in der das Objekt"
            " kam.",
        ),
    ),
    Rule(
        "ps3.10-7.2-whole", "PS3.10", "7.2", Severity.FATAL, whole,
        Words(
            "A part that is called DICOM holds one whole data set with its SOP Instance UID.",
            "The object goes to quarantine or to the PACS's rejects; the others in the mail are not touched.",
            "Compare the size of the file with what you encode; write the file to its end before you read"
            " it.",
        ),
        Words(
            "Ein DICOM genannter Teil enthält einen ganzen Datensatz mit seiner SOP Instance UID.",
            "Das Objekt kommt in Quarantäne oder wird vom PACS abgelehnt; die anderen der Mail sind nicht"
            " betroffen.",
            "Vergleichen Sie die Größe der Datei mit dem Kodierten; schreiben Sie die Datei zu Ende, bevor"
            " Sie sie lesen.",
        ),
    ),
    Rule(
        "ps3.5-9.1-uid", "PS3.5", "9.1", Severity.SERIOUS, uids,
        Words(
            "UIDs are numbers joined by dots, at most 64 characters, without leading zeros; group 2 agrees"
            " with the data set.",
            "PACS refuse the object, or file it twice under two names.",
            "Correct the program that made or anonymised the object; copy group 2 from the data set.",
        ),
        Words(
            "UIDs sind Zahlen mit Punkten, höchstens 64 Zeichen, ohne führende Nullen; Gruppe 2 stimmt mit"
            " dem Datensatz überein.",
            "PACS lehnen das Objekt ab oder legen es unter zwei Namen ab.",
            "Korrigieren Sie das Programm, das das Objekt erzeugte oder anonymisierte; bilden Sie Gruppe 2"
            " aus dem Datensatz.",
        ),
    ),
)  # fmt: skip
