"""What the outside of an arrived mail says: noted with the mail, whatever becomes of its inside."""

from datetime import datetime
from typing import Final

from radpost.agit import names
from radpost.agit.survey import Survey, first_address
from radpost.errors import RadpostError
from radpost.gateway.partners import Partner
from radpost.gateway.site import Site
from radpost.mime.coding import Buffer
from radpost.mime.headers import Headers, parse_block
from radpost.mime.partial import enclosed_headers
from radpost.store.incoming_mails import ArrivalRow
from radpost.transfer import incoming as machine

EPOCH_YEAR: Final = 1970
FAR_YEAR: Final = 9999
HEADER_BYTES: Final = 256 * 1024

Noted = dict[str, object]
"""Values for the row of an arrival; they are written with the next commit about it."""


def outside_of(
    site: Site, row: ArrivalRow, outside: Survey, partner: Partner | None, buffer: Buffer
) -> Noted:
    """Return what is to be noted of a mail whose outside could be read."""
    fragment = outside.fragment
    message_id, receipt_to = outside.message_id, outside.receipt_to
    if fragment is not None:
        # fragments have no receipts; the mail has one, and its header lies in the first (RFC 3798 2.4)
        first = fragment.number == 1
        message_id, receipt_to = _carried(row, outside, buffer) if first else (message_id, "")
    set_info = outside.set_info
    return {
        "kind": outside.kind.value,
        "partner": partner.name if partner else None,
        "from_address": outside.from_address.lower(),
        "message_id": message_id,
        "sent_at": _moment(outside.date),
        "receipt_to": "" if automatic(row, outside.root.headers) else receipt_to,
        "set_id": set_info.set_id if set_info else "",
        "set_part": set_info.part if set_info else None,
        "set_total": set_info.total if set_info else None,
        "fragment_id": fragment.id if fragment else None,
        "fragment_number": fragment.number if fragment else None,
        "fragment_total": fragment.total if fragment else None,
        "opened_at": site.clock(),
    }


def header_of(site: Site, row: ArrivalRow, buffer: Buffer) -> Noted:
    """Return whose a mail is that cannot be read further, so that its sender is named and can be told."""
    try:
        headers = parse_block(bytes(buffer[:HEADER_BYTES]), complete=len(buffer) <= HEADER_BYTES).headers
    except RadpostError:
        return {}
    from_address = first_address(headers, "From").lower()
    partner = site.partners.by_address(from_address)
    return {
        "partner": partner.name if partner else None,
        "from_address": from_address,
        "message_id": headers.message_id() or "",
        "sent_at": _moment(headers.date()),
        "receipt_to": _asked(row, headers),
    }


def answers_for(noted: Noted, partner: Partner) -> str:
    """Return the Message-ID of the mail that a first fragment begins, if that may get a receipt."""
    message_id, receipt_to = (str(noted[name]) for name in ("message_id", "receipt_to"))
    allowed = machine.receipt_allowed(
        machine.Kind.DATA,
        asked=bool(receipt_to) and bool(message_id),
        address_of_partner=receipt_to.lower() == partner.address,
        automatic=False,  # then nothing was noted
    )
    return message_id if allowed else ""


def automatic(row: ArrivalRow, headers: Headers) -> bool:
    """Tell whether a mail was made by a machine in answer to another (RFC 3834 5, RFC 5321 4.5.5)."""
    value = (headers.get("Auto-Submitted") or "no").split(";")[0].strip().lower()
    null = row.envelope_from == "" or (headers.get("Return-Path") or "").strip() == "<>"
    return null or value != "no"


def shared(row: ArrivalRow) -> bool:
    """Tell whether a mail was fetched from a mailbox, which others may read too."""
    return row.source.partition(":")[0] in {"imap", "pop3"}


def _carried(row: ArrivalRow, outside: Survey, buffer: Buffer) -> tuple[str, str]:
    """Return Message-ID of the mail that a first fragment begins, and who wants its receipt."""
    try:
        headers = enclosed_headers(outside.root, buffer)
    except RadpostError:
        return "", ""
    return headers.message_id() or "", _asked(row, headers)


def _asked(row: ArrivalRow, headers: Headers) -> str:
    """Return who wants a receipt, by the header of a mail; nobody for a report or another automatic mail."""
    report = (headers.get("Content-Type") or "").strip().lower().startswith("multipart/report")
    if report or automatic(row, headers):
        return ""
    return first_address(headers, names.DISPOSITION_NOTIFICATION_TO)


def _moment(date: datetime | None) -> float | None:
    """Return what a Date field says, if it can be a date of a mail at all."""
    return date.timestamp() if date is not None and EPOCH_YEAR < date.year < FAR_YEAR else None
