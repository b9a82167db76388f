"""The one table of reasons: every refusal, quarantine and failure carries a code of it.

A code has a sentence for the administrator in English and German (cause and remedy, no patient data)
and names the side that must act. Ranges: 100 structure, 200 crypto, 300 package, 400 DICOM, 500 set,
600 request, 700 transport, 900 other (DESIGN invariant 11).
"""

from dataclasses import dataclass
from enum import Enum

from radpost.words import Language


class Side(Enum):
    """Who must act so that the matter can end."""

    US = "us"
    PARTNER = "partner"
    SERVER = "server"
    PACS = "pacs"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Reason:
    """One row of the table."""

    code: int
    name: str
    side: Side
    en: str
    de: str

    def sentence(self, lang: Language = "en") -> str:
        """Return the sentence for the administrator in the wanted language."""
        return self.de if lang == "de" else self.en


class RadpostError(Exception):
    """A failure that names its reason; ``detail`` adds facts without patient data."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason.code} {reason.name}: {reason.en}" + (f" ({detail})" if detail else ""))


def _r(code: int, name: str, side: Side, en: str, de: str) -> Reason:
    return Reason(code, name, side, en, de)


# 100 structure of mails
MIME_MALFORMED = _r(
    101,
    "mime-malformed",
    Side.PARTNER,
    "The mail's MIME structure cannot be read; ask the sender to send it again.",
    "Die MIME-Struktur der Mail ist nicht lesbar; bitten Sie den Absender, sie erneut zu senden.",
)
RESOURCE_LIMIT = _r(
    102,
    "resource-limit",
    Side.PARTNER,
    "The mail exceeds a limit on size, count, depth or compression ratio and was not opened.",
    "Die Mail überschreitet eine Grenze für Größe, Anzahl, Tiefe oder Kompression und wurde nicht geöffnet.",
)
PARTIAL_INCONSISTENT = _r(
    103,
    "partial-inconsistent",
    Side.PARTNER,
    "The fragments of a message/partial contradict each other; ask the sender to send the mail again.",
    "Die Fragmente einer message/partial widersprechen sich; bitten Sie den Absender um erneuten Versand.",
)
INCOMPLETE_FRAGMENTS = _r(
    104,
    "incomplete-fragments",
    Side.PARTNER,
    "Fragments of a mail did not arrive in time; ask the sender to send the mail again.",
    "Fragmente einer Mail kamen nicht rechtzeitig an; bitten Sie den Absender um erneuten Versand.",
)
MDN_INVALID = _r(
    105,
    "mdn-invalid",
    Side.PARTNER,
    "The receipt cannot be read: its disposition is missing or malformed.",
    "Die Empfangsbestätigung ist nicht lesbar: die Disposition fehlt oder ist fehlerhaft.",
)
BINDING_MISMATCH = _r(
    106,
    "binding-mismatch",
    Side.PARTNER,
    "The signed inner headers contradict the outside of the mail, or it is not addressed to us.",
    "Die signierten inneren Kopfzeilen widersprechen den äußeren, oder die Mail ist nicht an uns gerichtet.",
)
NO_DATA = _r(
    107,
    "no-data",
    Side.NOBODY,
    "The mail carries no data for us; it is left alone.",
    "Die Mail enthält keine Daten für uns; sie bleibt unberührt.",
)
UNENCRYPTED = _r(
    108,
    "unencrypted",
    Side.PARTNER,
    "The mail is not encrypted; allow clear mails for this partner or ask the sender to encrypt.",
    "Die Mail ist nicht verschlüsselt; erlauben Sie dies für den Partner oder bitten Sie um Verschlüsselung.",
)
UNKNOWN_SENDER = _r(
    109,
    "unknown-sender",
    Side.US,
    "The sender's address belongs to no partner; add the partner and replay the mail.",
    "Die Absenderadresse gehört zu keinem Partner; legen Sie ihn an und verarbeiten Sie die Mail erneut.",
)
NOT_OURS = _r(
    110,
    "not-ours",
    Side.US,
    "A mail that is nothing for Radpost (a letter, a report about no mail of ours); read it, then drop it.",
    "Eine Mail, die nichts für Radpost ist (ein Brief, eine fremde Meldung); lesen und verwerfen Sie sie.",
)
MAIL_UNREADABLE = _r(
    111,
    "mail-unreadable",
    Side.US,
    "The file cannot be read; check its name and permissions.",
    "Die Datei kann nicht gelesen werden; prüfen Sie Namen und Rechte.",
)

# 200 cryptography
NO_SECRET_KEY = _r(
    201,
    "no-secret-key",
    Side.PARTNER,
    "The mail is encrypted to a key that is not ours; send the partner our current public key.",
    "Die Mail ist für einen fremden Schlüssel verschlüsselt; senden Sie dem Partner unseren Schlüssel.",
)
TAMPERED = _r(
    202,
    "tampered",
    Side.PARTNER,
    "The integrity check of the encrypted data failed; nothing was released; ask for a resend.",
    "Die Integritätsprüfung der verschlüsselten Daten schlug fehl; nichts wurde freigegeben.",
)
NO_INTEGRITY = _r(
    203,
    "no-integrity",
    Side.PARTNER,
    "The encrypted data lack an integrity check (MDC); nothing was released; the sender must switch it on.",
    "Den verschlüsselten Daten fehlt der Integritätsschutz (MDC); nichts wurde freigegeben; "
    "der Absender muss ihn einschalten.",
)
TRUNCATED = _r(
    204,
    "truncated",
    Side.PARTNER,
    "The encrypted data ends too early; ask the sender to send the mail again.",
    "Die verschlüsselten Daten enden zu früh; bitten Sie den Absender um erneuten Versand.",
)
SIGNATURE_REQUIRED = _r(
    205,
    "signature-required",
    Side.PARTNER,
    "This partner must sign, and the mail has no good signature of a confirmed key of the partner.",
    "Dieser Partner muss signieren; die Mail hat keine gültige Signatur eines bestätigten Schlüssels.",
)
SIGNATURE_BAD = _r(
    206,
    "signature-bad",
    Side.PARTNER,
    "The signature does not match the data; the mail was changed on its way or is forged.",
    "Die Signatur passt nicht zu den Daten; die Mail wurde verändert oder gefälscht.",
)
WRONG_SIGNER = _r(
    207,
    "wrong-signer",
    Side.PARTNER,
    "The mail is signed by a key that is not confirmed for the partner named in From.",
    "Die Mail ist mit einem Schlüssel signiert, der für den Partner im From nicht bestätigt ist.",
)
NO_USABLE_KEY = _r(
    208,
    "no-usable-key",
    Side.US,
    "There is no confirmed, valid encryption key of this partner; import and confirm one. No mail was sent.",
    "Für diesen Partner gibt es keinen bestätigten, gültigen Schlüssel. Es wurde keine Mail gesendet.",
)
OWN_KEY_UNUSABLE = _r(
    209,
    "own-key-unusable",
    Side.US,
    "The institution's own key is missing, expired or revoked; create or import one with 'radpost key'.",
    "Der eigene Schlüssel fehlt, ist abgelaufen oder widerrufen; legen Sie mit 'radpost key' einen neuen an.",
)
LEGACY_ALGORITHM = _r(
    210,
    "legacy-algorithm",
    Side.PARTNER,
    "The mail uses an old algorithm that the partner's legacy switch does not admit.",
    "Die Mail nutzt ein veraltetes Verfahren, das der Schalter 'legacy' des Partners nicht erlaubt.",
)
ENGINE_FAULT = _r(
    211,
    "engine-fault",
    Side.US,
    "The OpenPGP engine failed; the mail is kept and tried again.",
    "Das OpenPGP-Programm versagte; die Mail bleibt erhalten und wird erneut versucht.",
)
KEY_UNREADABLE = _r(
    212,
    "key-unreadable",
    Side.US,
    "The file holds no readable OpenPGP key; export it again (armored or binary) and import that.",
    "Die Datei enthält keinen lesbaren OpenPGP-Schlüssel; exportieren Sie ihn erneut.",
)
PASSWORD_ENCRYPTED = _r(
    213,
    "password-encrypted",
    Side.PARTNER,
    "The mail is encrypted with a password and not to our key; send the partner our public key.",
    "Die Mail ist mit einem Passwort statt mit unserem Schlüssel verschlüsselt; senden Sie ihn dem Partner.",
)
OPENPGP_MALFORMED = _r(
    214,
    "openpgp-malformed",
    Side.PARTNER,
    "The OpenPGP data cannot be read; ask the sender to send the mail again.",
    "Die OpenPGP-Daten sind nicht lesbar; bitten Sie den Absender um erneuten Versand.",
)
FINGERPRINT_DIFFERS = _r(
    215,
    "fingerprint-differs",
    Side.US,
    "The key's fingerprint is not the one given; ask the partner for both again. The key was not taken.",
    "Der Fingerabdruck des Schlüssels ist nicht der angegebene; fragen Sie den Partner erneut nach beidem.",
)
UNSUPPORTED_ALGORITHM = _r(
    216,
    "unsupported-algorithm",
    Side.PARTNER,
    "The mail is encrypted in a way that is not known here; ask the sender for OpenPGP with AES and MDC.",
    "Das Verfahren der Verschlüsselung ist hier unbekannt; bitten Sie um OpenPGP mit AES und MDC.",
)

SMIME_MALFORMED = _r(
    221,
    "smime-malformed",
    Side.PARTNER,
    "The S/MIME data cannot be read; ask the sender to send the mail again.",
    "Die S/MIME-Daten sind nicht lesbar; bitten Sie den Absender um erneuten Versand.",
)
SMIME_UNSUPPORTED = _r(
    222,
    "smime-unsupported",
    Side.PARTNER,
    "The S/MIME data use an algorithm that Radpost does not know; ask the sender for AES and RSA or ECDH.",
    "Die S/MIME-Daten nutzen ein unbekanntes Verfahren; bitten Sie den Absender um AES mit RSA oder ECDH.",
)
CERTIFICATE_UNREADABLE = _r(
    223,
    "certificate-unreadable",
    Side.US,
    "The file holds no readable X.509 key or certificate; export it again as PEM, DER or PKCS#12.",
    "Die Datei enthält keinen lesbaren X.509-Schlüssel oder kein Zertifikat; exportieren Sie sie erneut.",
)
PASSPHRASE_WRONG = _r(
    224,
    "passphrase-wrong",
    Side.US,
    "The private key is locked and none of the passphrases given opens it; give the right one.",
    "Der private Schlüssel ist gesperrt und keine der Passphrasen öffnet ihn; geben Sie die richtige an.",
)

# 400 DICOM
DICOM_INVALID = _r(
    401,
    "dicom-invalid",
    Side.PARTNER,
    "The data claim to be DICOM but cannot be read as such; they are kept as they came.",
    "Die Daten geben sich als DICOM aus, sind aber nicht lesbar; sie bleiben unverändert erhalten.",
)
ASSOCIATION_REFUSED = _r(
    402,
    "association-refused",
    Side.PACS,
    "The peer refused the association; check AE titles and the peer's list of known stations.",
    "Die Gegenstelle lehnte die Association ab; prüfen Sie AE-Titel und die Liste bekannter Stationen.",
)
PACS_UNREACHABLE = _r(
    403,
    "pacs-unreachable",
    Side.PACS,
    "The destination cannot be reached; check host, port and network. Delivery is tried again.",
    "Das Ziel ist nicht erreichbar; prüfen Sie Adresse, Port und Netz. Die Zustellung wird wiederholt.",
)
NO_COMMON_SYNTAX = _r(
    404,
    "no-common-syntax",
    Side.PACS,
    "The destination accepts neither the object's SOP class and transfer syntax nor a lossless conversion.",
    "Das Ziel nimmt weder SOP-Klasse und Transfersyntax des Objekts noch eine verlustfreie Umsetzung an.",
)
PACS_REFUSED_OBJECT = _r(
    405,
    "pacs-refused-object",
    Side.PACS,
    "The destination refused the object; see its status code and the destination's log.",
    "Das Ziel lehnte das Objekt ab; siehe Statuscode und Protokoll des Ziels.",
)
PACS_OUT_OF_RESOURCES = _r(
    406,
    "pacs-out-of-resources",
    Side.PACS,
    "The destination is out of resources; delivery is tried again later.",
    "Dem Ziel fehlen Ressourcen; die Zustellung wird später wiederholt.",
)
STUDY_NOT_FOUND = _r(
    407,
    "study-not-found",
    Side.US,
    "The PACS does not know this study, or did not hand it out; check the Study Instance UID.",
    "Das PACS kennt diese Studie nicht oder gab sie nicht heraus; prüfen Sie die Study Instance UID.",
)
CALLING_AE_UNKNOWN = _r(
    408,
    "calling-ae-unknown",
    Side.US,
    "The calling AE title or address is not on the list of allowed stations; add it to the configuration.",
    "AE-Titel oder Adresse der rufenden Station steht nicht auf der Liste erlaubter Stationen.",
)
CALLED_AE_UNKNOWN = _r(
    409,
    "called-ae-unknown",
    Side.US,
    "No partner has the called AE title; check the station's setting or add the partner.",
    "Kein Partner hat den gerufenen AE-Titel; prüfen Sie die Station oder legen Sie den Partner an.",
)
TRANSCODING_FAILED = _r(
    410,
    "transcoding-failed",
    Side.US,
    "The object could not be converted without loss; it stays as it is, undelivered.",
    "Das Objekt ließ sich nicht verlustfrei umsetzen; es bleibt unverändert und nicht zugestellt.",
)
PROGRAM_FAILED = _r(
    411,
    "program-failed",
    Side.US,
    "The program that takes received files failed; see its exit status. It is called again.",
    "Das Programm für empfangene Dateien schlug fehl; siehe Rückgabewert. Es wird erneut aufgerufen.",
)
FOLDER_UNUSABLE = _r(
    412,
    "folder-unusable",
    Side.US,
    "The destination folder cannot be written; check path, permissions and free space.",
    "Der Zielordner ist nicht beschreibbar; prüfen Sie Pfad, Rechte und freien Platz.",
)
NOTHING_TO_SEND = _r(
    413,
    "nothing-to-send",
    Side.US,
    "No readable file was found under the given paths.",
    "Unter den angegebenen Pfaden wurde keine lesbare Datei gefunden.",
)
DICOM_PROTOCOL = _r(
    414,
    "dicom-protocol",
    Side.PACS,
    "The peer broke the DICOM network protocol; the association was aborted.",
    "Die Gegenstelle verletzte das DICOM-Netzprotokoll; die Association wurde abgebrochen.",
)
RETRIEVE_REFUSED = _r(
    415,
    "retrieve-refused",
    Side.PACS,
    "The PACS refused to hand out the study; enter our AE title, address and port as a destination there.",
    "Das PACS gab die Studie nicht heraus; tragen Sie dort unseren AE-Titel, Adresse und Port als Ziel ein.",
)

FILE_CHANGED = _r(
    416,
    "file-changed",
    Side.US,
    "A file changed while it was read; nothing of the job was sent; send it again when it is finished.",
    "Eine Datei änderte sich beim Lesen; es wurde nichts gesendet; senden Sie erneut, wenn sie fertig ist.",
)

RETRIEVE_INCOMPLETE = _r(
    417,
    "retrieve-incomplete",
    Side.PACS,
    "The PACS did not hand out all objects of the study; it is asked again, then what came is sent.",
    "Das PACS gab nicht alle Objekte der Studie heraus; es wird erneut gefragt, dann das Erhaltene gesendet.",
)
NO_DESTINATION = _r(
    418,
    "no-destination",
    Side.US,
    "No destination takes these objects; they stay here. Add a [[destination]], restart: they go there.",
    "Kein Ziel nimmt diese Objekte; sie bleiben hier. Ergänzen Sie ein [[destination]], starten Sie neu.",
)

# 500 sets
INCOMPLETE_SET = _r(
    501,
    "incomplete-set",
    Side.PARTNER,
    "Mails of a transmission are missing; what came was delivered; ask the sender for the rest.",
    "Mails einer Sendung fehlen; das Angekommene wurde zugestellt; fragen Sie den Absender nach dem Rest.",
)
SET_CONFLICT = _r(
    502,
    "set-conflict",
    Side.PARTNER,
    "The set headers contradict each other or an earlier mail of the set.",
    "Die Set-Kopfzeilen widersprechen sich oder einer früheren Mail des Sets.",
)
VERSION_CONFLICT = _r(
    503,
    "version-conflict",
    Side.US,
    "An object with this SOP Instance UID and other content is already here; both are kept; please look.",
    "Ein Objekt mit dieser SOP Instance UID und anderem Inhalt ist schon da; beide bleiben erhalten.",
)
RECEIPT_OVERDUE = _r(
    504,
    "receipt-overdue",
    Side.PARTNER,
    "The partner has not confirmed in time; call the partner or resend with 'radpost retry'.",
    "Der Partner hat nicht rechtzeitig bestätigt; rufen Sie an oder senden Sie mit 'radpost retry' erneut.",
)
PARTNER_REPORTS_FAILURE = _r(
    505,
    "partner-reports-failure",
    Side.PARTNER,
    "The partner reports that the mail could not be processed; see the reported reason.",
    "Der Partner meldet, dass die Mail nicht verarbeitet werden konnte; siehe gemeldeter Grund.",
)
REFUSED_BY_PARTNER = _r(
    506,
    "refused-by-partner",
    Side.PARTNER,
    "The partner refused the mail for good; sending it again cannot help.",
    "Der Partner hat die Mail endgültig abgelehnt; erneutes Senden hilft nicht.",
)
UNSIGNED_REFUSAL = _r(
    507,
    "unsigned-refusal",
    Side.US,
    "An unsigned report says that the mail was refused; it may be forged; ask the partner.",
    "Eine unsignierte Meldung sagt, die Mail sei abgelehnt; sie kann gefälscht sein; fragen Sie nach.",
)
NO_PROGRESS = _r(
    508,
    "no-progress",
    Side.US,
    "Nothing of the transmission has moved for long; look at its mails with 'radpost show'.",
    "An der Sendung hat sich lange nichts bewegt; sehen Sie ihre Mails mit 'radpost show' an.",
)
DEADLINE_NEAR = _r(
    509,
    "deadline-near",
    Side.US,
    "The transmission's deadline is near and not all of it is confirmed; look, and call the partner.",
    "Die Frist der Sendung läuft bald ab, und nicht alles ist bestätigt; sehen Sie nach, rufen Sie an.",
)
DEADLINE_MISSED = _r(
    510,
    "deadline-missed",
    Side.US,
    "The transmission's deadline has passed and not all of it is confirmed; call the partner now.",
    "Die Frist der Sendung ist abgelaufen, und nicht alles ist bestätigt; rufen Sie jetzt den Partner an.",
)
UNFINISHED_SEND = _r(
    511,
    "unfinished-send",
    Side.US,
    "A 'radpost send' ended before it had taken all; the rest is not sent. See 'radpost unfinished list'.",
    "Ein 'radpost send' endete vorzeitig; der Rest wird nicht gesendet. Siehe 'radpost unfinished list'.",
)

# 700 transport
SERVER_UNREACHABLE = _r(
    701,
    "server-unreachable",
    Side.SERVER,
    "The mail server cannot be reached; check host, port and network. It is tried again.",
    "Der Mailserver ist nicht erreichbar; prüfen Sie Adresse, Port und Netz. Es wird wiederholt.",
)
TLS_FAILED = _r(
    702,
    "tls-failed",
    Side.SERVER,
    "No verified TLS connection: the certificate does not fit or TLS is not offered. Nothing was sent.",
    "Keine geprüfte TLS-Verbindung: Zertifikat passt nicht oder TLS fehlt. Es wurde nichts gesendet.",
)
LOGIN_FAILED = _r(
    703,
    "login-failed",
    Side.US,
    "The mail server refused the login; check user name and password or token.",
    "Der Mailserver lehnte die Anmeldung ab; prüfen Sie Benutzername und Passwort oder Token.",
)
MAIL_REFUSED_TEMPORARILY = _r(
    704,
    "mail-refused-temporarily",
    Side.SERVER,
    "The mail server refused the mail for now (4xx); it is tried again.",
    "Der Mailserver lehnte die Mail vorläufig ab (4xx); es wird wiederholt.",
)
MAIL_REFUSED = _r(
    705,
    "mail-refused",
    Side.SERVER,
    "The mail server refused the mail for good (5xx); see its answer.",
    "Der Mailserver lehnte die Mail endgültig ab (5xx); siehe seine Antwort.",
)
MAIL_TOO_LARGE = _r(
    706,
    "mail-too-large",
    Side.US,
    "The mail is larger than the server allows; it is cut smaller.",
    "Die Mail ist größer als der Server erlaubt; sie wird kleiner geteilt.",
)
MAILBOX_FULL = _r(
    707,
    "mailbox-full",
    Side.PARTNER,
    "The partner's mailbox is full; it is tried again; tell the partner.",
    "Das Postfach des Partners ist voll; es wird wiederholt; informieren Sie den Partner.",
)
ADDRESS_UNKNOWN = _r(
    708,
    "address-unknown",
    Side.US,
    "The partner's mail address does not exist; correct it with 'radpost partner add'.",
    "Die Mailadresse des Partners existiert nicht; berichtigen Sie sie mit 'radpost partner add'.",
)
SERVER_PROTOCOL = _r(
    709,
    "server-protocol",
    Side.SERVER,
    "The mail server broke the protocol or closed the connection; it is tried again.",
    "Der Mailserver verletzte das Protokoll oder schloss die Verbindung; es wird wiederholt.",
)
BOUNCED = _r(
    710,
    "bounced",
    Side.SERVER,
    "A mail server on the way returned the mail; see the status it reports.",
    "Ein Mailserver auf dem Weg gab die Mail zurück; siehe gemeldeter Status.",
)
DISK_FULL = _r(
    711,
    "disk-full",
    Side.US,
    "There is too little free disk space; nothing is accepted until there is more.",
    "Es ist zu wenig Plattenplatz frei; bis mehr frei ist, wird nichts angenommen.",
)
QUARANTINE_FULL = _r(
    712,
    "quarantine-full",
    Side.US,
    "The quarantine is full; mails stay on the server. Look at it with 'radpost quarantine list'.",
    "Die Quarantäne ist voll; Mails bleiben auf dem Server. Siehe 'radpost quarantine list'.",
)

# 900 other
CONFIG_INVALID = _r(
    901,
    "config-invalid",
    Side.US,
    "The configuration is not valid; correct the named line.",
    "Die Konfiguration ist ungültig; berichtigen Sie die genannte Zeile.",
)
NOT_FOUND = _r(
    902,
    "not-found",
    Side.US,
    "There is nothing of that name; list what there is.",
    "Unter diesem Namen gibt es nichts; lassen Sie sich auflisten, was es gibt.",
)
STORE_UNUSABLE = _r(
    903,
    "store-unusable",
    Side.US,
    "The data directory cannot be used; check permissions, file system and that no other process holds it.",
    "Das Datenverzeichnis ist nicht nutzbar; prüfen Sie Rechte, Dateisystem und ob es ein Prozess belegt.",
)
PROGRAM_MISSING = _r(
    904,
    "program-missing",
    Side.US,
    "A needed program is missing; install the Debian package that is named.",
    "Ein benötigtes Programm fehlt; installieren Sie das genannte Debian-Paket.",
)
INTERNAL = _r(
    905,
    "internal",
    Side.US,
    "An unexpected fault inside Radpost; the data are kept; please report it with the log.",
    "Ein unerwarteter Fehler in Radpost; die Daten bleiben erhalten; bitte melden Sie ihn mit dem Protokoll.",
)
BAD_COMMAND = _r(
    906,
    "bad-command",
    Side.US,
    "This cannot be done in the present state.",
    "Das ist im jetzigen Zustand nicht möglich.",
)

TABLE: dict[int, Reason] = {
    value.code: value for value in list(globals().values()) if isinstance(value, Reason)
}
"""All reasons by code; the last word on what a stored code means."""
