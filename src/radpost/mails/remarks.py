"""What verdicts, states and warnings of opened mails mean, in a sentence for a person (English, German).

A warning is a short code, with a name behind a colon where there are many of its kind.
"""

from typing import Final

from radpost.errors import TABLE
from radpost.mails.results import Status
from radpost.words import Language

_Both = tuple[str, str]

STATUS: Final[dict[Status, _Both]] = {
    Status.OK: ("opened", "geöffnet"),
    Status.ERROR: ("NOT OPENED", "NICHT GEÖFFNET"),
    Status.PENDING: ("WAITS for fragments", "WARTET auf Fragmente"),
    Status.IGNORED: ("no data in it", "keine Daten darin"),
    Status.RECEIPT: ("a receipt", "eine Empfangsbestätigung"),
    Status.BOUNCE: ("a bounce", "eine Unzustellbarkeitsmeldung"),
}
PARTLY: Final[_Both] = ("opened IN PART", "nur ZUM TEIL geöffnet")

VERDICT: Final[dict[str, _Both]] = {
    "good": ("good", "gültig"),
    "none": ("none: who sent the mail is not proven", "keine: der Absender ist nicht bewiesen"),
    "unknown-key": (
        "by a key that was not given; get the sender's public key and give it by --certs",
        "mit einem Schlüssel, der nicht angegeben ist; besorgen Sie den Schlüssel des Absenders (--certs)",
    ),
    "wrong-signer": (
        "good, but parts of the mail are signed by different keys",
        "gültig, aber Teile der Mail sind mit verschiedenen Schlüsseln signiert",
    ),
    "bad": (
        "BAD: the mail was changed on its way or is forged; do not use its objects, ask the sender",
        "FALSCH: die Mail wurde verändert oder gefälscht; nutzen Sie ihre Objekte nicht, fragen Sie nach",
    ),
    "expired-key": (
        "by a key that has expired; ask the sender for a new one",
        "mit einem abgelaufenen Schlüssel; bitten Sie den Absender um einen neuen",
    ),
    "revoked-key": (
        "by a key that was REVOKED; ask the sender why",
        "mit einem WIDERRUFENEN Schlüssel; fragen Sie den Absender, warum",
    ),
    "weak-digest": (
        "by an old method that can be forged (MD5, SHA-1, short keys)",
        "mit einem alten, fälschbaren Verfahren (MD5, SHA-1, kurze Schlüssel)",
    ),
    "untrusted": (
        "by a certificate of an authority that was not given by --ca",
        "mit einem Zertifikat einer Stelle, die nicht mit --ca angegeben ist",
    ),
    "expired": (
        "by a certificate that is not valid at this time",
        "mit einem Zertifikat, das zu dieser Zeit nicht gültig ist",
    ),
}

REMARK: Final[dict[str, _Both]] = {
    "unencrypted": (
        "patient data came unencrypted; tell the sender",
        "Patientendaten kamen unverschlüsselt; sagen Sie es dem Absender",
    ),
    "legacy-cipher": (
        "the old cipher {} encrypts the mail; the sender should use AES",
        "die Mail ist mit dem alten Verfahren {} verschlüsselt; der Absender sollte AES nehmen",
    ),
    "legacy-key": (
        "the signing key ({}) is too weak for today; the sender needs a new one",
        "der Signaturschlüssel ({}) ist heute zu schwach; der Absender braucht einen neuen",
    ),
    "legacy-recipient-key": (
        "your key ({}) is too weak for today; make a new one and give it to the sender",
        "Ihr Schlüssel ({}) ist heute zu schwach; erzeugen Sie einen neuen für den Absender",
    ),
    "md5-digest": ("a signature uses MD5, which can be forged", "eine Signatur nutzt das fälschbare MD5"),
    "sha1-digest": ("a signature uses SHA-1, which is weak", "eine Signatur nutzt das schwache SHA-1"),
    "ripemd160-digest": (
        "a signature uses RIPEMD-160, which is weak",
        "eine Signatur nutzt das schwache RIPEMD-160",
    ),
    "expired-recipient-key": (
        "the mail is encrypted to a key of yours that has expired; give the sender the present one",
        "die Mail ist für einen abgelaufenen Schlüssel verschlüsselt; geben Sie dem Absender den jetzigen",
    ),
    "set-mismatch": (
        "set headers inside and outside differ; those that are signed count",
        "die Set-Kopfzeilen innen und außen unterscheiden sich; die signierten gelten",
    ),
    "encoding-lost": (
        "a DICOM part is base64, and its header does not say so; the sender or a mail server must mend that",
        "ein DICOM-Teil ist base64, ohne dass sein Kopf es sagt; Absender oder Mailserver müssen das beheben",
    ),
    "study-malformed": (
        "the study in a header is no UID: documents below it have no study by it; ask the sender",
        "die Studie in einer Kopfzeile ist keine UID und ordnet nichts zu; fragen Sie den Absender",
    ),
    "study-mismatch": (
        "headers name different studies; the one nearest to a document counts, make sure that it is right",
        "Kopfzeilen nennen verschiedene Studien; die nächste zählt: prüfen Sie, dass sie die richtige ist",
    ),
    "set-conflict": (
        "the mails of the set contradict each other; ask the sender whether all have come",
        "die Mails des Sets widersprechen sich; fragen Sie den Absender, ob alle da sind",
    ),
    "incomplete-set": (
        "mails of the set are missing; ask the sender for the rest",
        "Mails des Sets fehlen; fragen Sie den Absender nach dem Rest",
    ),
    "same-mail-again": ("this mail was given twice", "diese Mail wurde zweimal angegeben"),
    "clear-part-beside-sealed": (
        "an unencrypted part beside the encrypted ones was left out: anybody may have put it there",
        "ein unverschlüsselter Teil neben den verschlüsselten blieb weg: jeder kann ihn dazugelegt haben",
    ),
    "foreign-signature": (
        "a signature of another system (S/MIME within OpenPGP) was not checked",
        "eine Signatur eines anderen Systems (S/MIME in OpenPGP) wurde nicht geprüft",
    ),
    "unreadable-signature": (
        "a signature cannot be read and counts as none: {}",
        "eine Signatur ist nicht lesbar und zählt als keine: {}",
    ),
    "no-integrity": (
        "AES-CBC without a good signature: anybody may have changed the content; the sender must sign",
        "AES-CBC ohne gültige Signatur: jeder kann den Inhalt verändert haben; er muss signiert sein",
    ),
    "signer-not-sender": (
        "the certificate of the signature is for another address than the one in From; ask who sent the mail",
        "das Zertifikat der Signatur gilt für eine andere Adresse als im From; fragen Sie, wer gesendet hat",
    ),
    "signature-problem": ("why the signature is not good: {}", "warum die Signatur nicht gültig ist: {}"),
    "unopened": ("a sealed part was not opened: {}", "ein verschlüsselter Teil wurde nicht geöffnet: {}"),
    "binding-mismatch": (
        "{} inside the signed part is another than outside; the mail may have been sent on by a stranger",
        "{} im signierten Teil weicht vom Äußeren ab; ein Fremder kann die Mail weitergesendet haben",
    ),
    "dicom-invalid": (
        "an object says that it is DICOM and cannot be read as such; it was written as it came",
        "ein Objekt gibt sich als DICOM aus und ist nicht lesbar; es wurde unverändert geschrieben",
    ),
    "mended": (
        "the fragments were damaged on their way and mended ({})",
        "die Fragmente waren beschädigt und wurden ausgebessert ({})",
    ),
}


def pick(both: _Both, language: Language) -> str:
    """Return the sentence in the wanted language."""
    return both[1] if language == "de" else both[0]


def remark(warning: str, language: Language) -> str:
    """Return the sentence for a warning; names of reasons in it become their sentences."""
    code, _, name = warning.partition(":")
    known = REMARK.get(code)
    if known is None:
        return warning
    reason = next((one.sentence(language) for one in TABLE.values() if one.name == name), name)
    return pick(known, language).format(reason)
