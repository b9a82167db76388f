"""Rules of bounces, and of receipts as such (RFC 3464, RFC 6522, RFC 3834)."""

import re
from typing import Final

from radpost.mails.checking.grammar import named
from radpost.mails.checking.model import Hit, Hits, Layer, Rule, Scope, Severity, Words, each, shown
from radpost.mails.checking.receipts import receipts, report_type
from radpost.mime.headers import parse_block
from radpost.mime.mdn import REPORT_TYPE, reported
from radpost.mime.reader import Entity, content
from radpost.mime.report import parse_dsn

_STATUS: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
_BLANK_LINE: Final = re.compile(rb"\r?\n[ \t]*+\r?\n\s*")
_PER_RECIPIENT: Final = ("Final-Recipient", "Action", "Status")
_LIMIT: Final = 64 * 1024


def bounce_type(layer: Layer) -> Hits:
    """A bounce is a multipart/report with its report-type."""
    return report_type(layer, _STATUS, "delivery-status")


def report_parts(layer: Layer) -> Hits:
    """A report is a text, the machine's part, and perhaps what it is about."""
    receipts = [
        one for one in reported(layer.root) if one.content_type == "multipart/report" and one.children
    ]

    def test(entity: Entity) -> list[Hit]:
        kinds = [child.content_type for child in entity.children]
        out = []
        if not 2 <= len(kinds) <= 3:
            out.append(Hit(entity.body_start, f"{len(kinds)} parts", f"{len(kinds)} Teile", entity))
        if len(kinds) > 1 and kinds[1] != REPORT_TYPE and kinds[1] not in _STATUS:
            seen = shown(kinds[1])
            out.append(
                Hit(entity.children[1].start, f"part 2 is {seen}", f"Teil 2 ist {seen}", entity.children[1])
            )
        return out

    return each(receipts, test)


def automatic(layer: Layer) -> Hits:
    """A report says that a machine made it."""
    if not receipts(layer) and not any(one.content_type in _STATUS for one in reported(layer.root)):
        return None
    value = layer.root.headers.get("Auto-Submitted")
    if value is not None and value.strip().lower().startswith("auto-"):
        return ()
    found = named(layer, layer.root, "Auto-Submitted")
    at = found[0].at if found else layer.root.start
    return (Hit(at, "no 'Auto-Submitted: auto-replied'", "kein 'Auto-Submitted: auto-replied'", layer.root),)


def bounce_fields(layer: Layer) -> Hits:
    """A bounce has per recipient Final-Recipient, Action and Status."""

    def test(entity: Entity) -> list[Hit]:
        raw = content(entity, layer.buffer, _LIMIT).strip(b"\r\n")
        groups = [parse_block(one, complete=True).headers for one in _BLANK_LINE.split(raw)]
        if len(groups) < 2:
            en, de = "no group of fields per recipient", "keine Feldgruppe je Empfänger"
            return [Hit(entity.body_start, en, de, entity)]
        missing = [] if "Reporting-MTA" in groups[0] else ["Reporting-MTA"]
        missing += [name for name in _PER_RECIPIENT if any(name not in group for group in groups[1:])]
        if not missing:
            return []
        text = ", ".join(missing)
        return [Hit(entity.body_start, f"missing: {text}", f"es fehlt: {text}", entity)]

    return each((one for one in reported(layer.root) if one.content_type in _STATUS), test)


def bounce_id(layer: Layer) -> Hits:
    """A bounce gives back the header of the mail it is about."""
    status = [one for one in reported(layer.root) if one.content_type in _STATUS]
    if not status:
        return None
    found = parse_dsn(layer.root, layer.buffer)
    if found is not None and (found.original_message_id or found.envid):
        return ()
    en, de = (
        "neither a Message-ID nor an ENVID is given back",
        "weder Message-ID noch ENVID wird zurückgegeben",
    )
    return (Hit(status[0].start, en, de, status[0]),)


RULES: Final = (
    Rule(
        "rfc6522-3-parts", "RFC 6522", "3", Severity.SERIOUS, report_parts,
        Words(
            "A report has two or three parts: a text, the machine's part, and perhaps the mail or header it"
            " is about.",
            "Receivers look for the machine's part in second place and do not find it.",
            "Write text/plain first, message/disposition-notification (or delivery-status) second.",
        ),
        Words(
            "Ein Bericht hat zwei oder drei Teile: einen Text, den Teil für Maschinen und eventuell die Mail"
            " oder deren Kopf.",
            "Empfänger suchen den Teil für Maschinen an zweiter Stelle und finden ihn nicht.",
            "Schreiben Sie text/plain zuerst, message/disposition-notification (oder delivery-status) als"
            " zweites.",
        ),
    ),
    Rule(
        "rfc3834-5-automatic", "RFC 3834", "5.2", Severity.LIGHT, automatic,
        Words(
            "A receipt or bounce says 'Auto-Submitted: auto-replied'.",
            "Out-of-office programs and list servers may answer it.",
            "Add the field to every mail that a machine makes in answer to another.",
        ),
        Words(
            "Eine Bestätigung oder Unzustellbarkeitsmeldung sagt 'Auto-Submitted: auto-replied'.",
            "Abwesenheitsassistenten und Listenserver können darauf antworten.",
            "Fügen Sie das Feld in jede Mail ein, die eine Maschine als Antwort erzeugt.",
        ),
        Scope.OUTSIDE,
    ),
    Rule(
        "rfc3464-1-type", "RFC 3464", "2", Severity.SERIOUS, bounce_type,
        Words(
            "A bounce is multipart/report; report-type=delivery-status.",
            "Gateways take it for an ordinary mail; the failed transmission is noticed by its time limit"
            " only.",
            "Configure the mail server to write RFC 3464 notifications.",
        ),
        Words(
            "Eine Unzustellbarkeitsmeldung ist multipart/report; report-type=delivery-status.",
            "Gateways halten sie für eine gewöhnliche Mail; der Fehlschlag fällt erst nach der Frist auf.",
            "Stellen Sie den Mailserver auf Meldungen nach RFC 3464 ein.",
        ),
    ),
    Rule(
        "rfc3464-2.3-fields", "RFC 3464", "2.2, 2.3", Severity.SERIOUS, bounce_fields,
        Words(
            "A delivery status has Reporting-MTA, then per recipient Final-Recipient, Action and Status.",
            "Which recipient failed, and whether for good, is unknown.",
            "Write the fields in groups with a blank line between them.",
        ),
        Words(
            "Ein Zustellstatus hat Reporting-MTA, dann je Empfänger Final-Recipient, Action und Status.",
            "Unbekannt bleibt, welcher Empfänger scheiterte und ob endgültig.",
            "Schreiben Sie die Felder in Gruppen mit einer Leerzeile dazwischen.",
        ),
    ),
    Rule(
        "rfc3464-2-original", "RFC 3464", "2 (c), 2.2.1", Severity.LIGHT, bounce_id,
        Words(
            "A bounce gives back the mail or its header, or the envelope id.",
            "The sender cannot tell which mail failed.",
            "Return at least the header (RET=HDRS), with the Message-ID in it.",
        ),
        Words(
            "Eine Unzustellbarkeitsmeldung gibt die Mail, ihren Kopf oder die Envelope-ID zurück.",
            "Der Absender kann nicht erkennen, welche Mail scheiterte.",
            "Geben Sie mindestens den Kopf zurück (RET=HDRS) mit der Message-ID.",
        ),
    ),
)  # fmt: skip
