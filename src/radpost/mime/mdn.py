"""Receipts: message disposition notifications (RFC 8098, before it RFC 3798 and RFC 2298)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from radpost.errors import MDN_INVALID, RadpostError
from radpost.mime.coding import Buffer, encode_quoted_printable
from radpost.mime.folding import block, message_fields
from radpost.mime.headers import Headers, message_ids, parse_block
from radpost.mime.reader import Entity, content
from radpost.mime.writer import Leaf, Multipart, Node, Source, write

REPORT_TYPE: Final = "message/disposition-notification"
_LIMIT: Final = 64 * 1024
_COMMENT: Final = re.compile(r"\([^()]*\)")
_DISPOSITION: Final = re.compile(
    r"\s*(?:(?P<action>[\w-]+)\s*/\s*(?P<sending>[\w-]+)\s*;)?\s*(?P<type>[A-Za-z][\w-]*)"
    r"\s*(?:/\s*(?P<modifiers>[\w\s,/-]*))?;?\s*"
)
_CANONICAL: Final = {
    name.lower(): name
    for name in ("manual-action", "automatic-action", "MDN-sent-manually", "MDN-sent-automatically")
}


@dataclass(frozen=True, slots=True)
class Disposition:
    """The Disposition field (RFC 8098 3.2.6); type and modifiers in lower case."""

    type: str
    modifiers: tuple[str, ...] = ()
    action_mode: str = "automatic-action"
    sending_mode: str = "MDN-sent-automatically"

    def __str__(self) -> str:
        # no blank behind the semicolon: the form that @GIT systems send and expect (@GIT practice 5)
        text = f"{self.action_mode}/{self.sending_mode};{self.type}"
        return text + ("/" + ",".join(self.modifiers) if self.modifiers else "")


@dataclass(frozen=True, slots=True)
class Mdn:
    """A receipt as it came (RFC 8098 3.2.1, 3.2.3 to 3.2.7; Failure and Warning are of RFC 3798 3.2.7).

    Whose it is and whether to believe it is for others to say.
    """

    disposition: Disposition
    original_message_id: str | None
    final_recipient: str | None
    original_recipient: str | None
    reporting_ua: str | None
    errors: tuple[str, ...]
    failures: tuple[str, ...]
    warnings: tuple[str, ...]
    fields: Headers
    entity: Entity

    @property
    def remarks(self) -> tuple[str, ...]:
        """All texts of Error, Failure and Warning fields, decoded."""
        return self.errors + self.failures + self.warnings


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receipt of ours says; no patient data belongs in any of it."""

    original_message_id: str
    final_recipient: str
    disposition: Disposition
    reporting_ua: str
    reason_en: str
    reason_de: str
    original_recipient: str | None = None
    error: str | None = None
    failure: str | None = None
    warning: str | None = None


def mdn_entity(receipt: Receipt, boundary: str, extra: Leaf | None = None, outer: str = "") -> Node:
    """Return the multipart/report (RFC 8098 3) as an entity, to be sent in clear or to be sealed.

    With ``extra`` it stands first in a multipart/mixed with the boundary ``outer``: the third part of a
    report is reserved for the original message (RFC 6522 3).
    """
    text = (
        f"This is an automatic receipt for the mail {receipt.original_message_id}.\n{receipt.reason_en}\n\n"
        f"Dies ist eine automatische Empfangsbestätigung für die Mail {receipt.original_message_id}.\n"
        f"{receipt.reason_de}\n"
    )
    report = Multipart(
        "report",
        boundary,
        (
            Leaf(
                (("Content-Type", "text/plain; charset=utf-8"),),
                Source.of(encode_quoted_printable(text)),
                "quoted-printable",
            ),
            Leaf((("Content-Type", REPORT_TYPE),), Source.of(_fields(receipt)), "7bit"),
        ),
        {"report-type": "disposition-notification"},
    )
    if extra is None:
        return report
    return Multipart("mixed", outer, (report, extra))


def _fields(receipt: Receipt) -> bytes:
    """Write the machine-readable part (RFC 8098 3.1)."""
    optional = (
        ("Original-Recipient", receipt.original_recipient and f"rfc822;{receipt.original_recipient}"),
        ("Final-Recipient", f"rfc822;{receipt.final_recipient}"),
        ("Original-Message-ID", receipt.original_message_id),
        ("Disposition", str(receipt.disposition)),
        ("Error", receipt.error),
        ("Failure", receipt.failure),
        ("Warning", receipt.warning),
    )
    present = [(name, value) for name, value in optional if value]
    return block((("Reporting-UA", receipt.reporting_ua), *present))[:-2]


def build_mdn(
    receipt: Receipt,
    *,
    sender: str,
    recipient: str,
    date: datetime,
    message_id: str,
    boundary: str,
    subject: str = "DICOM-eMail: receipt / Empfangsbestätigung",
    extra: Leaf | None = None,
    outer: str = "",
) -> bytes:
    """Return a whole unencrypted receipt mail.

    It asks for no receipt itself (RFC 8098 2.1) and says Auto-Submitted (RFC 3834 5); the envelope sender
    must be null, which is the transport's business.
    """
    fields = message_fields(
        sender=sender,
        recipient=recipient,
        subject=subject,
        date=date,
        message_id=message_id,
        extra=(
            ("In-Reply-To", receipt.original_message_id),
            ("References", receipt.original_message_id),
            ("Auto-Submitted", "auto-replied"),
        ),
    )
    return b"".join(write(mdn_entity(receipt, boundary, extra, outer), fields))


def parse_disposition(text: str) -> Disposition:
    """Parse a Disposition of any of the three RFCs, in any case and spacing."""
    match = _DISPOSITION.fullmatch(_COMMENT.sub(" ", text)) if len(text) < 1000 else None
    if match is None:
        raise RadpostError(MDN_INVALID, "disposition")
    modifiers = re.split(r"[,/]", match["modifiers"] or "")
    return Disposition(
        type=match["type"].lower(),
        modifiers=tuple(part.strip().lower() for part in modifiers if part.strip()),
        action_mode=_canonical(match["action"]),
        sending_mode=_canonical(match["sending"]),
    )


def _canonical(mode: str | None) -> str:
    return _CANONICAL.get((mode or "").lower(), (mode or "").lower())


def parse_mdn(root: Entity, buffer: Buffer) -> Mdn | None:
    """Return the receipt in a mail, at any depth (RFC 6522 lifts the old rule), or None if there is none.

    A receipt within a message that another report returns is not one. A notification part whose disposition
    is missing or malformed is MDN_INVALID.
    """
    entity = next((item for item in reported(root) if item.content_type == REPORT_TYPE), None)
    if entity is None:
        return None
    fields = report_fields(entity, buffer)
    disposition = fields.get("Disposition")
    if disposition is None:
        raise RadpostError(MDN_INVALID, "no disposition")
    return Mdn(
        disposition=parse_disposition(disposition),
        original_message_id=_original(fields),
        final_recipient=address(fields.get("Final-Recipient")),
        original_recipient=address(fields.get("Original-Recipient")),
        reporting_ua=fields.text("Reporting-UA"),
        errors=_texts(fields, "Error"),
        failures=_texts(fields, "Failure"),
        warnings=_texts(fields, "Warning"),
        fields=fields,
        entity=entity,
    )


def _original(fields: Headers) -> str | None:
    """Return the id of the mail a receipt is about; an 8-bit one can only be repeated as encoded words."""
    written = message_ids(fields.get("Original-Message-ID") or "")
    found = written or message_ids(fields.text("Original-Message-ID") or "")
    return found[0] if found else None


def reported(root: Entity) -> Iterator[Entity]:
    """Yield all entities but those of a message returned in a report (RFC 6522 3)."""
    stack = [root]
    while stack:
        entity = stack.pop()
        yield entity
        for child in reversed(entity.children):
            returned = child.content_type in ("message/rfc822", "message/global")
            if not (returned and entity.content_type == "multipart/report"):
                stack.append(child)


def report_fields(entity: Entity, buffer: Buffer) -> Headers:
    """Read the fields in a part's body; those in its header count too where the blank line is missing."""
    raw = content(entity, buffer, _LIMIT).lstrip(b"\r\n")
    return Headers(parse_block(raw, complete=True).headers.fields + entity.headers.fields)


def address(field: str | None) -> str | None:
    """Return the address of ``rfc822;address`` (RFC 8098 3.2.3), also where the type is missing."""
    if field is None:
        return None
    kind, semicolon, rest = field.partition(";")
    text = (rest if semicolon else kind).strip().strip("<>").strip()
    return text or None


def _texts(fields: Headers, name: str) -> tuple[str, ...]:
    wanted = name.lower()
    return tuple(item.text for item in fields if item.name.lower() == wanted and item.value)
