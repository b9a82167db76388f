"""What a mail claims to be, and by which signs: always a guess by structure, never by the subject."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from radpost.agit import names
from radpost.errors import RadpostError
from radpost.mails.checking.grammar import position
from radpost.mails.checking.model import Layer, shown
from radpost.mails.checking.telemedicine import smime
from radpost.mime.mdn import REPORT_TYPE, reported
from radpost.mime.pgp import Kind
from radpost.mime.report import parse_dsn
from radpost.words import Language

_SET: Final = (names.SET_ID, names.SET_PART, names.SET_TOTAL)
_ZIP: Final = ("application/zip", "application/x-zip-compressed")


class Claimed(Enum):
    """What a mail may claim to be."""

    AGIT = "agit-1.1"
    AGIT_FIELD = "agit-1.5"
    FRAGMENT = "fragment"
    RECEIPT = "receipt"
    BOUNCE = "bounce"
    OPENPGP = "openpgp"
    SMIME = "smime"
    CLEAR = "clear"
    ZIP = "zip"
    KEYS = "keys"
    LETTER = "letter"
    UNREADABLE = "unreadable"


_TEXTS: Final[dict[Claimed, tuple[str, str]]] = {
    Claimed.AGIT: (
        "a DICOM e-mail of @GIT 1.1r: OpenPGP in PGP/MIME",
        "eine DICOM-E-Mail nach @GIT 1.1r: OpenPGP in PGP/MIME",
    ),
    Claimed.AGIT_FIELD: (
        "a DICOM e-mail of @GIT 1.1r with field practice after it (the dialect called agit-1.5 here)",
        "eine DICOM-E-Mail nach @GIT 1.1r mit späterer Praxis (der Dialekt, der hier agit-1.5 heißt)",
    ),
    Claimed.FRAGMENT: (
        "a fragment of a mail (message/partial); give all fragments to see the mail",
        "ein Fragment einer Mail (message/partial); geben Sie alle Fragmente an, um die Mail zu sehen",
    ),
    Claimed.RECEIPT: ("a receipt (message disposition notification)", "eine Empfangsbestätigung (MDN)"),
    Claimed.BOUNCE: ("a bounce (delivery status notification)", "eine Unzustellbarkeitsmeldung (DSN)"),
    Claimed.OPENPGP: (
        "OpenPGP data outside of PGP/MIME, as some senders beside @GIT write them",
        "OpenPGP-Daten außerhalb von PGP/MIME, wie manche Absender neben @GIT sie schreiben",
    ),
    Claimed.SMIME: (
        "an S/MIME mail, as QCIT and IHE XDM use it; recognised, its inside is not checked here",
        "eine S/MIME-Mail, wie QCIT und IHE XDM sie benutzen; nur erkannt, innen hier nicht geprüft",
    ),
    Claimed.CLEAR: (
        "a DICOM e-mail of Supplement 54 in clear",
        "eine DICOM-E-Mail nach Supplement 54 im Klartext",
    ),
    Claimed.ZIP: (
        "a ZIP package, as in IHE XDM and DICOM ZIP by e-mail; recognised, not opened here",
        "ein ZIP-Paket, wie in IHE XDM und DICOM-ZIP per E-Mail; nur erkannt, hier nicht geöffnet",
    ),
    Claimed.KEYS: ("a mail that brings OpenPGP keys", "eine Mail mit OpenPGP-Schlüsseln"),
    Claimed.LETTER: ("an ordinary mail", "eine gewöhnliche Mail"),
    Claimed.UNREADABLE: (
        "a mail whose parts cannot be found, so that nobody can tell",
        "eine Mail, deren Teile nicht zu finden sind; niemand kann es sagen",
    ),
}
"""English and German."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a mail claims to be, with the reasons of the guess in both languages."""

    kind: Claimed
    reasons: tuple[tuple[str, str], ...]

    def text(self, language: Language) -> str:
        """Return the claim as a phrase."""
        return _TEXTS[self.kind][language == "de"]

    def why(self, language: Language) -> list[str]:
        """Return the reasons."""
        return [pair[language == "de"] for pair in self.reasons]


def claim(layers: tuple[Layer, ...]) -> Claim:
    """Guess what a mail claims to be."""
    outside = layers[0]
    root = outside.root
    kind = _kind(outside)
    line = outside.line(position(outside, root, "Content-Type"))
    protocol = root.params.get("protocol")
    named = f"; protocol={shown(protocol)}" if protocol else ""
    type_ = shown(root.content_type)
    reasons = [(f"{type_}{named} (line {line})", f"{type_}{named} (Zeile {line})")]
    reasons += _details(outside, kind)
    for one in layers[1:]:
        reasons += _inside(one)
    if any(any(name in one.root.headers for name in _SET) for one in layers) and kind is Claimed.AGIT:
        kind = Claimed.AGIT_FIELD
    return Claim(kind, tuple(reasons))


def _kind(layer: Layer) -> Claimed:
    root = layer.root
    kinds = {one.content_type for one in reported(root)}
    payloads = [one.kind for one in layer.found.payloads if one.kind is not Kind.CLEARSIGNED]
    if root.content_type == "message/partial":
        return Claimed.FRAGMENT
    if root.is_multipart and not root.children:
        return Claimed.AGIT if root.content_type == "multipart/encrypted" else Claimed.UNREADABLE
    ordered = (
        (Claimed.RECEIPT, REPORT_TYPE in kinds),
        (Claimed.BOUNCE, _is_bounce(layer)),
        (Claimed.AGIT, Kind.PGP_MIME in payloads or root.content_type == "multipart/encrypted"),
        (Claimed.OPENPGP, bool(payloads)),
        (Claimed.SMIME, smime(layer)),
        (Claimed.CLEAR, bool(layer.objects)),
        (Claimed.ZIP, bool(kinds.intersection(_ZIP))),
        (Claimed.KEYS, bool(layer.found.keys)),
        (Claimed.UNREADABLE, not root.headers.fields or layer.fault is not None),
    )
    return next((kind for kind, holds in ordered if holds), Claimed.LETTER)


def _is_bounce(layer: Layer) -> bool:
    try:
        return parse_dsn(layer.root, layer.buffer) is not None
    except RadpostError:
        return False


def _details(layer: Layer, kind: Claimed) -> list[tuple[str, str]]:
    out = []
    found = [name for name in _SET if name in layer.root.headers]
    if found:
        text = ", ".join(found)
        out.append((f"set headers outside: {text}", f"Set-Kopfzeilen außen: {text}"))
    elif kind is Claimed.AGIT:
        out.append(("no set headers outside", "keine Set-Kopfzeilen außen"))
    if names.ALIAS_SET_ID in layer.root.headers:
        out.append((f"{names.ALIAS_SET_ID}: QCIT's name", f"{names.ALIAS_SET_ID}: Name von QCIT"))
    if kind is Claimed.FRAGMENT:
        number, total = (shown(layer.root.params.get(name, "?")) for name in ("number", "total"))
        out.append((f"fragment {number} of {total}", f"Fragment {number} von {total}"))
    if layer.objects:
        count = len(layer.objects)
        out.append((f"DICOM parts in clear: {count}", f"DICOM-Teile im Klartext: {count}"))
    for name in ("DISPOSITION_NOTIFICATION_TO", "NOTIFICATION_TO"):
        literal = getattr(names, name)
        if literal in layer.root.headers:
            out.append((f"asks for a receipt ({literal})", f"verlangt eine Bestätigung ({literal})"))
    return out


def _inside(layer: Layer) -> list[tuple[str, str]]:
    objects, documents = len(layer.objects), len(layer.documents)
    kind = shown(layer.root.content_type)
    return [
        (
            f"inside: {kind}; DICOM parts: {objects}, documents: {documents}",
            f"innen: {kind}; DICOM-Teile: {objects}, Dokumente: {documents}",
        )
    ]
