"""Rules of receipts: RFC 8098 and its former editions, and the values of @GIT systems."""

import re
from collections.abc import Iterator
from typing import Final

from radpost.agit import names
from radpost.errors import RadpostError
from radpost.mails.checking.grammar import lines, named, position
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
from radpost.mime.coding import IDENTITY
from radpost.mime.headers import message_ids
from radpost.mime.mdn import REPORT_TYPE, parse_disposition, report_fields, reported
from radpost.mime.reader import Entity

_ADDRESS: Final = re.compile(r"[^\s<>@]+@[^\s<>@]+\Z")
_STRICT: Final = re.compile(
    r"(?:manual-action|automatic-action)\s*/\s*MDN-sent-(?:manually|automatically)\s*;\s*[a-z]+"
    r"(?:\s*/\s*[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+(?:\s*,\s*[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+)*)?\s*\Z",
    re.IGNORECASE,
)
_TYPES: Final = frozenset({"displayed", "deleted", "dispatched", "processed"})
_OLD_MODIFIERS: Final = frozenset({"warning", "superseded", "expired", "mailbox-terminated", "failed"})
_AGIT: Final = frozenset(
    {("displayed", ()), ("displayed", ("warning",)), ("deleted", ("error",)), ("deleted", ())}
)


def receipts(layer: Layer) -> list[Entity]:
    """Return the receipts in a tree."""
    return [one for one in reported(layer.root) if one.content_type == REPORT_TYPE]


def _field_at(layer: Layer, entity: Entity, name: str) -> int:
    """Return where a field of the report stands, else where its part begins."""
    if entity.encoding in IDENTITY:
        wanted = name.lower().encode("ascii") + b":"
        for at, line in lines(layer, entity.body_start, entity.body_end):
            if line.lower().replace(b" ", b"").startswith(wanted):
                return at
    return entity.body_start


def request(layer: Layer) -> Hits:
    """A receipt is asked for at one address."""
    found = named(layer, layer.root, names.DISPOSITION_NOTIFICATION_TO)
    if not found:
        return None
    out = [Hit(one.at, "a second request", "eine zweite Anforderung", layer.root) for one in found[1:]]
    addresses = layer.root.headers.addresses(names.DISPOSITION_NOTIFICATION_TO)
    if not addresses or not all(_ADDRESS.match(one) for one in addresses):
        out.append(
            Hit(found[0].at, "no address in the request", "keine Adresse in der Anforderung", layer.root)
        )
    elif len(addresses) > 1:
        seen = len(addresses)
        out.append(Hit(found[0].at, f"{seen} addresses", f"{seen} Adressen", layer.root, light=True))
    return out


def request_address(layer: Layer) -> Hits:
    """A receipt is asked for at the sender's own address."""
    found = named(layer, layer.root, names.DISPOSITION_NOTIFICATION_TO)
    wanted = {one.lower() for one in layer.root.headers.addresses(names.DISPOSITION_NOTIFICATION_TO)}
    sender = {one.lower() for one in layer.root.headers.addresses("From")}
    if not found or not wanted or not sender:
        return None
    if wanted <= sender:
        return ()
    en, de = "another address than that of From", "eine andere Adresse als die in From"
    return (Hit(found[0].at, en, de, layer.root),)


def no_request(layer: Layer) -> Hits:
    """A receipt asks for no receipt."""
    if not receipts(layer):
        return None
    return [
        Hit(
            one.at,
            "a receipt that asks for a receipt",
            "eine Bestätigung, die eine Bestätigung verlangt",
            layer.root,
        )
        for one in named(layer, layer.root, names.DISPOSITION_NOTIFICATION_TO)
    ]


def parents(layer: Layer, kinds: frozenset[str]) -> Iterator[tuple[Entity | None, Entity]]:
    """Yield reports of some kinds with the entity around each."""
    for entity in reported(layer.root):
        if entity.content_type in kinds:
            yield layer.parent(entity), entity


def report_type(layer: Layer, kinds: frozenset[str], wanted: str) -> Hits:
    """Tell whether a report stands in a multipart/report of its kind."""

    def test(pair: tuple[Entity | None, Entity]) -> list[Hit]:
        parent, entity = pair
        if parent is None or parent.content_type != "multipart/report":
            seen = "-" if parent is None else shown(parent.content_type)
            en, de = f"it stands in {seen}", f"er steht in {seen}"
            return [Hit(entity.start, en, de, entity)]
        named_ = parent.params.get("report-type", "").lower()
        if named_ == wanted:
            return []
        at = position(layer, parent, "Content-Type")
        seen = f"report-type={shown(named_)}" if named_ else "-"
        return [Hit(at, f"the report-type is: {seen}", f"der report-type ist: {seen}", parent)]

    return each(parents(layer, kinds), test)


def receipt_type(layer: Layer) -> Hits:
    """A receipt is a multipart/report with its report-type."""
    return report_type(layer, frozenset({REPORT_TYPE}), "disposition-notification")


def receipt_fields(layer: Layer) -> Hits:
    """A receipt has Final-Recipient and Disposition."""

    def test(entity: Entity) -> list[Hit]:
        found = report_fields(entity, layer.buffer)
        missing = [name for name in ("Final-Recipient", "Disposition") if name not in found]
        if not missing:
            return []
        text = ", ".join(missing)
        return [Hit(entity.body_start, f"missing: {text}", f"es fehlt: {text}", entity)]

    return each(receipts(layer), test)


def original_id(layer: Layer) -> Hits:
    """A receipt names the mail it is about."""

    def test(entity: Entity) -> list[Hit]:
        value = report_fields(entity, layer.buffer).get("Original-Message-ID")
        if value is None:
            en, de = "there is no Original-Message-ID", "Original-Message-ID fehlt"
            return [Hit(entity.body_start, en, de, entity)]
        if len(message_ids(value)) != 1:
            en, de = "Original-Message-ID is not <id>", "Original-Message-ID hat nicht die Form <Kennung>"
            return [Hit(_field_at(layer, entity, "Original-Message-ID"), en, de, entity)]
        return []

    return each(receipts(layer), test)


def _dispositions(layer: Layer) -> list[tuple[Entity, str]]:
    found = ((one, report_fields(one, layer.buffer).get("Disposition")) for one in receipts(layer))
    return [(entity, value) for entity, value in found if value is not None]


def disposition(layer: Layer) -> Hits:
    """A Disposition is ``action/sending; type/modifiers``."""

    def test(pair: tuple[Entity, str]) -> list[Hit]:
        entity, value = pair
        at = _field_at(layer, entity, "Disposition")
        try:
            parse_disposition(value)
        except RadpostError:
            en, de = "the Disposition cannot be read", "die Disposition ist nicht lesbar"
            return [Hit(at, en, de, entity)]
        if _STRICT.match(value.strip()):
            return []
        en, de = "the Disposition is not to the letter", "die Disposition ist nicht genau nach der Norm"
        return [Hit(at, f"{en}: {shown(value)}", f"{de}: {shown(value)}", entity, light=True)]

    return each(_dispositions(layer), test)


def _parsed(layer: Layer) -> list[tuple[Entity, str, tuple[str, ...]]]:
    out = []
    for entity, value in _dispositions(layer):
        try:
            found = parse_disposition(value)
        except RadpostError:
            continue
        out.append((entity, found.type, found.modifiers))
    return out


def disposition_type(layer: Layer) -> Hits:
    """The disposition is one that the present edition knows."""

    def test(row: tuple[Entity, str, tuple[str, ...]]) -> list[Hit]:
        entity, kind, modifiers = row
        at = _field_at(layer, entity, "Disposition")
        out = []
        if kind not in _TYPES:
            out.append(Hit(at, f"the type {shown(kind)}", f"der Typ {shown(kind)}", entity))
        old = [one for one in modifiers if one in _OLD_MODIFIERS]
        if old:
            out.append(Hit(at, f"the modifier {old[0]}", f"der Zusatz {old[0]}", entity))
        return out

    return each(_parsed(layer), test)


def field_values(layer: Layer) -> Hits:
    """The disposition is one of the four of @GIT systems."""

    def test(row: tuple[Entity, str, tuple[str, ...]]) -> list[Hit]:
        entity, kind, modifiers = row
        if (kind, modifiers) in _AGIT:
            return []
        seen = shown("/".join((kind, *modifiers)))
        return [Hit(_field_at(layer, entity, "Disposition"), seen, seen, entity)]

    return each(_parsed(layer), test)


def deleted(layer: Layer) -> Hits:
    """Plain ``deleted`` means: failed, do not send again."""
    return [
        Hit(_field_at(layer, entity, "Disposition"), "deleted, without error", "deleted, ohne error", entity)
        for entity, kind, modifiers in _parsed(layer)
        if kind == "deleted" and not modifiers
    ] or (() if _parsed(layer) else None)


def typed_address(layer: Layer) -> Hits:
    """Recipients are written ``rfc822; address``."""
    wanted = ("Final-Recipient", "Original-Recipient")
    found = [
        (entity, name, value)
        for entity in receipts(layer)
        for name in wanted
        if (value := report_fields(entity, layer.buffer).get(name)) is not None
    ]

    def test(row: tuple[Entity, str, str]) -> list[Hit]:
        entity, name, value = row
        kind, semicolon, rest = value.partition(";")
        if semicolon and kind.strip().lower() in ("rfc822", "utf-8") and "@" in rest and "<" not in rest:
            return []
        en, de = f"{name} is not 'rfc822; address'", f"{name} hat nicht die Form 'rfc822; Adresse'"
        return [Hit(_field_at(layer, entity, name), en, de, entity)]

    return each(found, test)


RULES: Final = (
    Rule(
        "rfc8098-2.1-request", "RFC 8098", "2.1", Severity.SERIOUS, request,
        Words(
            "Disposition-Notification-To stands once and names one address.",
            "No receipt comes back, or it goes to somebody else; the transmission stays open for ever.",
            "Write the address that From names: a receiver sends receipts to addresses of known partners"
            " only.",
        ),
        Words(
            "Disposition-Notification-To steht einmal und nennt eine Adresse.",
            "Es kommt keine Bestätigung, oder sie geht an andere; die Sendung bleibt für immer offen.",
            "Schreiben Sie die Adresse aus From: Empfänger bestätigen nur an Adressen bekannter Partner.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc8098-2.1-own-address", "RFC 8098", "2.1", Severity.LIGHT, request_address,
        Words(
            "The receipt is asked for at the address that sends the mail.",
            "RFC 8098 forbids an automatic receipt to another address than the return path: many receivers"
            " send none, gateways send it only to addresses of known partners.",
            "Write the address of From into Disposition-Notification-To, and send with it as the envelope"
            " sender.",
        ),
        Words(
            "Die Empfangsbestätigung wird an die Adresse verlangt, die die Mail sendet.",
            "RFC 8098 verbietet automatische Bestätigungen an andere Adressen als den Rückweg: viele"
            " Empfänger senden keine, Gateways nur an Adressen bekannter Partner.",
            "Schreiben Sie die Adresse aus From in Disposition-Notification-To, und senden Sie mit ihr als"
            " Umschlagabsender.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc8098-2.1-no-loop", "RFC 8098", "2.1", Severity.SERIOUS, no_request,
        Words(
            "A receipt asks for no receipt.",
            "Two machines may answer each other for ever; careful ones ignore the receipt as a loop.",
            "Leave Disposition-Notification-To out of every automatic mail.",
        ),
        Words(
            "Eine Empfangsbestätigung verlangt keine Empfangsbestätigung.",
            "Zwei Maschinen können einander endlos antworten; vorsichtige übergehen sie als Schleife.",
            "Lassen Sie Disposition-Notification-To in jeder automatischen Mail weg.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc8098-3-type", "RFC 8098", "3", Severity.SERIOUS, receipt_type,
        Words(
            "A receipt is multipart/report; report-type=disposition-notification.",
            "Gateways that go by the type take the mail for an ordinary one: the transmission stays"
            " unconfirmed.",
            "Write 'Content-Type: multipart/report; report-type=disposition-notification; boundary=...'.",
        ),
        Words(
            "Eine Empfangsbestätigung ist multipart/report; report-type=disposition-notification.",
            "Gateways, die nach dem Typ gehen, halten die Mail für gewöhnlich: die Sendung bleibt"
            " unbestätigt.",
            "Schreiben Sie 'Content-Type: multipart/report; report-type=disposition-notification;"
            " boundary=...'.",
        ),
    ),
    Rule(
        "rfc8098-3.1-fields", "RFC 8098", "3.1", Severity.FATAL, receipt_fields,
        Words(
            "A receipt has the fields Final-Recipient and Disposition.",
            "Without a disposition nothing is known: the receipt is refused (105), the transmission stays"
            " open.",
            "Write both into the body of message/disposition-notification, behind the blank line of its"
            " header.",
        ),
        Words(
            "Eine Empfangsbestätigung hat die Felder Final-Recipient und Disposition.",
            "Ohne Disposition ist nichts bekannt: sie wird abgelehnt (105), die Sendung bleibt offen.",
            "Schreiben Sie beide in den Inhalt von message/disposition-notification, hinter die Leerzeile"
            " des Kopfs.",
        ),
    ),
    Rule(
        "rfc8098-3.2.5-id", "RFC 8098", "3.2.5", Severity.SERIOUS, original_id,
        Words(
            "A receipt names the mail it is about in Original-Message-ID, in angle brackets.",
            "The sender cannot match it: the transmission stays open, and is sent again after its time"
            " limit.",
            "Copy the Message-ID of the mail unchanged, also if it is long or odd.",
        ),
        Words(
            "Eine Empfangsbestätigung nennt die Mail in Original-Message-ID, in spitzen Klammern.",
            "Der Absender kann sie nicht zuordnen: die Sendung bleibt offen und wird nach der Frist"
            " wiederholt.",
            "Übernehmen Sie die Message-ID der Mail unverändert, auch wenn sie lang oder seltsam ist.",
        ),
    ),
    Rule(
        "rfc8098-3.2.6-form", "RFC 8098", "3.2.6", Severity.FATAL, disposition,
        Words(
            "A Disposition is 'automatic-action/MDN-sent-automatically; type' and perhaps '/modifier'.",
            "What became of the data is unknown: the receipt is refused (105).",
            "Write 'Disposition: automatic-action/MDN-sent-automatically;displayed' (blanks around the"
            " semicolon are free).",
        ),
        Words(
            "Eine Disposition ist 'automatic-action/MDN-sent-automatically; Typ' und eventuell '/Zusatz'.",
            "Was aus den Daten wurde, ist unbekannt: die Bestätigung wird abgelehnt (105).",
            "Schreiben Sie 'Disposition: automatic-action/MDN-sent-automatically;displayed' (Leerzeichen um"
            " das Semikolon sind frei).",
        ),
    ),
    Rule(
        "rfc8098-3.2.6.2-type", "RFC 8098", "3.2.6.2, 3.2.6.3", Severity.LIGHT, disposition_type,
        Words(
            "The type is displayed, deleted, dispatched or processed; of modifiers only error is defined.",
            "failed, denied and the modifier warning are of RFC 2298: most gateways still read them, others"
            " do not.",
            "Say a failure as deleted/error (send again) or deleted (do not), a success as displayed.",
        ),
        Words(
            "Der Typ ist displayed, deleted, dispatched oder processed; als Zusatz ist nur error definiert.",
            "failed, denied und der Zusatz warning stammen aus RFC 2298: die meisten Gateways lesen sie"
            " noch.",
            "Melden Sie einen Fehler als deleted/error (erneut senden) oder deleted (nicht), Erfolg als"
            " displayed.",
        ),
    ),
    Rule(
        "field-dispositions", FIELD, "", Severity.LIGHT, field_values,
        Words(
            "@GIT systems answer displayed, displayed/warning, deleted/error or deleted.",
            "Other values are read by their RFC: dispatched and processed as success, failed and denied as"
            " failure; some systems know the four only.",
            "Map your states to the four values.",
        ),
        Words(
            "@GIT-Systeme antworten displayed, displayed/warning, deleted/error oder deleted.",
            "Andere Werte gelten nach ihrem RFC: dispatched und processed als Erfolg, failed und denied als"
            " Fehler; manche Systeme kennen nur die vier.",
            "Bilden Sie Ihre Zustände auf die vier Werte ab.",
        ),
        certainty=Certainty.UNCONFIRMED,
    ),
    Rule(
        "field-deleted", FIELD, "", Severity.LIGHT, deleted,
        Words(
            "Between @GIT systems 'deleted' without error means: not imported, sending again does not help.",
            "A gateway alarms and does not send again, though to a mail program 'deleted' is only an unread"
            " mail that somebody deleted.",
            "Answer deleted/error where the sender should try again, displayed where the data were imported.",
        ),
        Words(
            "Zwischen @GIT-Systemen heißt 'deleted' ohne error: nicht importiert, erneutes Senden hilft"
            " nicht.",
            "Ein Gateway alarmiert und sendet nicht erneut, obwohl 'deleted' für ein Mailprogramm nur eine"
            " ungelesen gelöschte Mail ist.",
            "Antworten Sie deleted/error, wo der Absender erneut senden soll, displayed, wo importiert"
            " wurde.",
        ),
        certainty=Certainty.UNCONFIRMED,
    ),
    Rule(
        "rfc8098-3.2.3-address", "RFC 8098", "3.2.3, 3.2.4", Severity.LIGHT, typed_address,
        Words(
            "Final-Recipient and Original-Recipient are written 'rfc822; address', without angle brackets.",
            "The sender may not recognise which partner answers.",
            "Write 'Final-Recipient: rfc822; dicom@clinic.example'.",
        ),
        Words(
            "Final-Recipient und Original-Recipient stehen als 'rfc822; Adresse', ohne spitze Klammern.",
            "Der Absender erkennt unter Umständen nicht, welcher Partner antwortet.",
            "Schreiben Sie 'Final-Recipient: rfc822; dicom@klinik.example'.",
        ),
    ),
)  # fmt: skip
