"""Sentences to people that are no reason of the table: advice and remedies, in English and German."""

from typing import Final

from radpost.words import Language

_SENTENCES: Final[dict[str, tuple[str, str]]] = {
    # radpost status: what to look at next
    "not-running": (
        "No gateway runs on this data directory: nothing is sent or received. Start 'radpost run'.",
        "Kein Gateway läuft auf diesem Datenverzeichnis: nichts geht ein oder aus. Start: 'radpost run'.",
    ),
    "receipts-overdue": (
        "Receipts are overdue: see the transmission with 'radpost show', call the partner.",
        "Empfangsbestätigungen sind überfällig: siehe 'radpost show'; rufen Sie den Partner an.",
    ),
    "incomplete-sets": (
        "Mails of some transmissions did not come: see 'radpost show', ask the sender.",
        "Von manchen Sendungen fehlen Mails: siehe 'radpost show'; fragen Sie den Absender.",
    ),
    "not-delivered": (
        "A destination did not take objects: see 'radpost show', then 'radpost retry --delivery NAME'.",
        "Ein Ziel nahm Objekte nicht an: siehe 'radpost show', danach 'radpost retry --delivery NAME'.",
    ),
    "unplaced": (
        "Objects have come that no destination takes: add a [[destination]], then restart 'radpost run'.",
        "Es kamen Objekte, die kein Ziel nimmt: ergänzen Sie ein [[destination]]; 'radpost run' neu starten.",
    ),
    "quarantine": (
        "Mails lie in quarantine: see 'radpost quarantine list'.",
        "Mails liegen in Quarantäne: siehe 'radpost quarantine list'.",
    ),
    "server-down": (
        "A mail server does not work: 'radpost doctor' tests each step and says what to do.",
        "Ein Mailserver funktioniert nicht: 'radpost doctor' prüft jeden Schritt und nennt Abhilfe.",
    ),
    "alarm-seen": (
        "What does not end by itself: see to it, then 'radpost alarm end NUMBER'.",
        "Was nicht von selbst endet: kümmern Sie sich darum, danach 'radpost alarm end NUMMER'.",
    ),
    # a value that cannot be: what is wanted in its place
    "wants-address": (
        "a mail address such as 'radiology@clinic.example' is needed, without a name or angle brackets",
        "es muss eine Mailadresse sein wie 'radiologie@klinik.example', ohne Namen und spitze Klammern",
    ),
    "wants-ae-title": (
        "an AE title has 1 to 16 characters (ASCII; no backslash, no blank at either end)",
        "ein AE-Titel hat 1 bis 16 Zeichen (ASCII; kein Backslash, kein Leerzeichen am Anfang oder Ende)",
    ),
    "wants-partner-name": (
        "a name has 1 to 40 small letters (a-z), digits, '-', '_' or '.', such as 'klinik-b'",
        "ein Name hat 1 bis 40 Kleinbuchstaben (a-z), Ziffern, '-', '_' oder '.', zum Beispiel 'klinik-b'",
    ),
    "wants-section-name": (
        "a name has 1 to 40 small letters (a-z), digits, '-' or '_', such as 'pacs'",
        "ein Name hat 1 bis 40 Kleinbuchstaben (a-z), Ziffern, '-' oder '_', zum Beispiel 'pacs'",
    ),
    "wants-route": (
        "a server is HOST:PORT, HOST:PORT:tls, HOST:PORT:starttls or HOST:PORT:none; IPv6 as '[::1]:25'",
        "ein Server ist HOST:PORT, HOST:PORT:tls, HOST:PORT:starttls oder HOST:PORT:none; IPv6: '[::1]:25'",
    ),
    "wants-one-of": ("one of {choices} is needed", "möglich ist nur: {choices}"),
    "wants-integer": ("a whole number is needed", "es muss eine ganze Zahl sein"),
    "wants-integer-from": (
        "a whole number is needed, {low} or more",
        "es muss eine ganze Zahl sein, {low} oder mehr",
    ),
    "wants-integer-between": (
        "a whole number from {low} to {high} is needed",
        "es muss eine ganze Zahl von {low} bis {high} sein",
    ),
    "wants-number": (
        "a number is needed, {low} or more",
        "es muss eine Zahl sein, {low} oder mehr",
    ),
    "wants-boolean": ("true or false is needed", "es muss true oder false sein"),
    "wants-text": ("text in quotation marks is needed", "es muss Text in Anführungszeichen sein"),
    "wants-list": (
        "a list is needed; a section of it is headed by double brackets, as in '[[mailbox]]'",
        "es muss eine Liste sein; ein Abschnitt davon beginnt mit doppelten Klammern wie '[[mailbox]]'",
    ),
    "wants-table": (
        "a section is needed, headed by its name in brackets, as in '[dicom]'",
        "es muss ein Abschnitt sein, der mit seinem Namen in Klammern beginnt wie '[dicom]'",
    ),
    "key-unknown": (
        "the key '{key}' is not known here; there are {choices}",
        "den Schlüssel '{key}' gibt es hier nicht; es gibt {choices}",
    ),
    "key-missing": ("the key '{key}' is missing; add it", "der Schlüssel '{key}' fehlt; ergänzen Sie ihn"),
    "value-number": ("no. {number}", "Nr. {number}"),
    "new-partner-needs": (
        "is needed for a new partner",
        "ist für einen neuen Partner nötig",
    ),
    # radpost show: why a transmission waits although nothing failed
    "window-closed": (
        "the partner has not confirmed earlier mails; more wait, so that its mailbox does not overflow",
        "der Partner hat frühere Mails nicht bestätigt; weitere warten, damit sein Postfach nicht überläuft",
    ),
    "held": (
        "the transmission is held by a person; release it with 'radpost retry'",
        "die Sendung ist von Hand angehalten; geben Sie sie mit 'radpost retry' frei",
    ),
    "contested": (
        "mails wait until a person decides: ask the partner; 'radpost retry' sends them again",
        "Mails warten auf eine Entscheidung: fragen Sie den Partner; 'radpost retry' sendet sie erneut",
    ),
    # radpost doctor: remedies
    "data-missing": (
        "make it with 'radpost init', or correct 'data' in the configuration",
        "legen Sie es mit 'radpost init' an, oder berichtigen Sie 'data' in der Konfiguration",
    ),
    "data-open": (
        "other users of this machine can read it; 'chmod 700' it",
        "andere Benutzer dieser Maschine können es lesen; setzen Sie 'chmod 700'",
    ),
    "config-open": (
        "other users can read the file, and it holds a secret; 'chmod 600' it",
        "andere Benutzer können die Datei lesen, und sie enthält ein Geheimnis; setzen Sie 'chmod 600'",
    ),
    "disk-low": (
        "free space; below the reserve nothing is accepted",
        "schaffen Sie Platz; unterhalb der Reserve wird nichts angenommen",
    ),
    "own-key-missing": (
        "make one with 'radpost init', or import one with 'radpost key import FILE --secret'",
        "legen Sie einen an ('radpost init') oder importieren Sie ihn ('radpost key import DATEI --secret')",
    ),
    "key-expires": (
        "it expires soon; agree on a new one in time",
        "er läuft bald ab; vereinbaren Sie rechtzeitig einen neuen",
    ),
    "partner-key-missing": (
        "nothing can be sent to this partner; import the key: 'radpost key import FILE --partner NAME'",
        "an diesen Partner geht nichts; importieren Sie: 'radpost key import DATEI --partner NAME'",
    ),
    "partner-key-unconfirmed": (
        "compare the fingerprint with the partner by phone, then 'radpost key confirm FINGERPRINT'",
        "vergleichen Sie den Fingerabdruck am Telefon, danach 'radpost key confirm FINGERABDRUCK'",
    ),
    "no-partners": (
        "add the first one with 'radpost partner add'",
        "legen Sie den ersten mit 'radpost partner add' an",
    ),
    "dns": (
        "check the name in the configuration and this machine's name server",
        "prüfen Sie den Namen in der Konfiguration und den Nameserver dieser Maschine",
    ),
    "no-submission": (
        "nothing can be sent; add [submission] to the configuration, or give each partner a route",
        "es kann nichts gesendet werden; ergänzen Sie [submission], oder geben Sie jedem Partner eine Route",
    ),
    "no-inbox": (
        "nothing can be received; add a [[mailbox]] or a [[receiver]] to the configuration",
        "es kann nichts empfangen werden; ergänzen Sie [[mailbox]] oder [[receiver]]",
    ),
    "small-size": (
        "mails to some partners may be larger; they will travel in fragments",
        "Mails an manche Partner können größer sein; sie reisen in Fragmenten",
    ),
    "quota-full": (
        "the mailbox is nearly full; let the gateway run, and remove what is not for it",
        "das Postfach ist fast voll; lassen Sie das Gateway laufen und entfernen Sie Fremdes",
    ),
    "no-stations": (
        "no station may send: list them as [[dicom.stations]], or set allow_any_station",
        "keine Station darf senden: nennen Sie sie als [[dicom.stations]], oder setzen Sie allow_any_station",
    ),
    "any-station": (
        "any station may send; better list the known ones as [[dicom.stations]]",
        "jede Station darf senden; besser nennen Sie die bekannten als [[dicom.stations]]",
    ),
    "no-destination": (
        "received DICOM objects stay here: add a [[destination]] that takes them",
        "empfangene DICOM-Objekte bleiben hier: ergänzen Sie ein [[destination]], das sie nimmt",
    ),
    "no-documents": (
        'documents and damaged objects stay here: add a [[destination]] with takes = "rest"',
        'Dokumente und beschädigte Objekte bleiben hier: ergänzen Sie ein [[destination]] mit takes = "rest"',
    ),
    "no-program": (
        "the program does not exist or may not be executed; correct 'command'",
        "das Programm fehlt oder darf nicht ausgeführt werden; berichtigen Sie 'command'",
    ),
    "clock": (
        "set this machine's clock (NTP): signatures and deadlines depend on it",
        "stellen Sie die Uhr dieser Maschine (NTP): Signaturen und Fristen hängen an ihr",
    ),
    "not-running-doctor": (
        "start it with 'radpost run'",
        "starten Sie es mit 'radpost run'",
    ),
    "tele-clear": (
        "the partner is marked for teleradiology: it must not get or send anything unencrypted",
        "der Partner ist für Teleradiologie vorgesehen: nichts darf unverschlüsselt gehen oder kommen",
    ),
    "tele-plain": (
        "the partner is marked for teleradiology: set its mail connection to 'tls' or 'starttls'",
        "der Partner ist für Teleradiologie vorgesehen: Mailverbindung auf 'tls' oder 'starttls' stellen",
    ),
    "tele-receiver": (
        "the partner is marked for teleradiology: give the [[receiver]] certificate, key and require_tls",
        "der Partner ist für Teleradiologie vorgesehen: [[receiver]] braucht certificate, key, require_tls",
    ),
    "tele-policy": (
        "the partner is marked for teleradiology: require signatures ('--policy require')",
        "der Partner ist für Teleradiologie vorgesehen: verlangen Sie Signaturen ('--policy require')",
    ),
    "gnupg": (
        "install the Debian package gnupg",
        "installieren Sie das Debian-Paket gnupg",
    ),
}

KEYS: Final = tuple(_SENTENCES)


def say(key: str, language: Language) -> str:
    """Return a sentence of the catalogue."""
    english, german = _SENTENCES[key]
    return german if language == "de" else english
