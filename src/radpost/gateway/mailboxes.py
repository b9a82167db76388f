"""What lies in our mailboxes and is not ours: it stays, or was moved, and is listed (DESIGN 12)."""

from dataclasses import dataclass
from typing import Final

from radpost.gateway.arrived import PREFIX
from radpost.gateway.config import Mailbox
from radpost.gateway.site import Site
from radpost.store import lookups
from radpost.store.lookups import ForeignRow
from radpost.transfer.incoming import Phase

KEPT: Final = Phase.QUARANTINED.value


@dataclass(frozen=True, slots=True)
class Staying:
    """A mail that is not ours. Its subject is its reader's affair, and is not kept here."""

    mailbox: str
    folder: str
    """Where it lies; empty where there are no folders (POP3)."""
    moved: bool
    from_address: str
    sent_at: float | None
    """What its Date says."""
    message_id: str
    size: int | None
    seen_at: float
    mail: str
    """For ``radpost show``."""
    in_quarantine: bool
    """A copy waits in quarantine, since it may be ours after all (unknown sender)."""


def staying(site: Site) -> tuple[Staying, ...]:
    """Return the mails that stay in our mailboxes or were moved, by mailbox, oldest first."""
    boxes = {box.name: box for box in site.config.mailbox}
    with site.database.read() as connection:
        rows = lookups.foreign_mails(connection)
    found = [_staying(row, boxes.get(row.mailbox)) for row in rows]
    return tuple(sorted(found, key=lambda one: one.mailbox))


def _staying(row: ForeignRow, box: Mailbox | None) -> Staying:
    moved = row.state == "moved"
    folder = ""
    if box is not None and box.kind == "imap":
        folder = box.foreign_folder if moved else box.folder
    return Staying(
        mailbox=row.mailbox,
        folder=folder,
        moved=moved,
        from_address=row.from_address or "",
        sent_at=row.sent_at,
        message_id=row.message_id or "",
        size=row.size,
        seen_at=row.at,
        mail=f"{PREFIX}{row.arrival_id}" if row.arrival_id is not None else "",
        in_quarantine=row.arrival_state == KEPT,
    )
