"""Mails that are not ours and came directly: no mailbox holds them, so they wait here, bounded (DESIGN 12).

A letter to the institution's address is nobody's data, but it may be all that a partner had to say. It lies
in quarantine until a person drops it or its days are over. It has a share of its own there: when that is used
up, such mails are refused for now (452) and stay with their sender, and data go on coming in.
"""

from pathlib import Path
from typing import Final

from radpost.agit.survey import MailKind, survey
from radpost.errors import NOT_OURS, QUARANTINE_FULL, RadpostError
from radpost.gateway.arrivals import apply_incoming
from radpost.gateway.site import Site
from radpost.openpgp.fileview import FileView
from radpost.store import incoming_mails, journal, quarantined_mails
from radpost.transfer.incoming import Drop, Phase

POSTMASTER: Final = "postmaster"
"""Recipient of mails that are for the reserved mailbox alone (RFC 5321 4.5.1): never taken for data."""
MOST: Final = 10_000
"""So many mails at most, however small they are."""
SUBJECT: Final = "directly received mails that are not ours"
REMOVED: Final = "foreign mails removed"
_DAY: Final = 86_400.0
_AT_ONCE: Final = 100


def full(site: Site) -> bool:
    """Tell whether the share of the quarantine for such mails is used up."""
    with site.database.read() as connection:
        count, size = quarantined_mails.foreign_held(connection)
    return count >= MOST or size >= site.config.limits.foreign_bytes


def refuse_if_foreign(site: Site, path: Path, size: int, *, known: bool = False) -> None:
    """Refuse a mail for now that would go where there is no room; its sender keeps it.

    ``known``: nobody has to look into it, its recipient says that it is such a mail.

    Raises:
        RadpostError: QUARANTINE_FULL.
    """
    if not known and not _is_foreign(path, size):
        return
    with site.database.write() as connection:
        journal.raise_alarm(connection, QUARANTINE_FULL.code, SUBJECT, "", site.clock())
    raise RadpostError(QUARANTINE_FULL, "mails that are not ours have used up their share")


def _is_foreign(path: Path, size: int) -> bool:
    try:
        return survey(FileView(path, size) if size else b"").kind is MailKind.FOREIGN
    except RadpostError:
        return False  # what cannot be read is judged later, like any mail


def expire(site: Site, now: float) -> int:
    """Remove such mails whose days are over, some at a time, and count them; return how many went."""
    _end_alarm(site, now)
    before = now - site.config.limits.foreign_days * _DAY
    with site.database.read() as connection:
        found = quarantined_mails.old_foreign(connection, before, _AT_ONCE)
    if not found:
        return 0
    count = 0
    with site.database.write() as connection:
        for row in found:
            arrival = (
                incoming_mails.get_arrival(connection, row.arrival_id) if row.arrival_id is not None else None
            )
            if arrival is not None and arrival.state != Phase.QUARANTINED.value:
                continue  # a person has it processed again at this moment
            quarantined_mails.end_quarantine(connection, row.id, "expired", now)
            if arrival is not None:
                apply_incoming(site, connection, arrival.id, [Drop()], now)
            count += 1
        total = int(journal.recall(connection, REMOVED) or 0) + count
        journal.remember(connection, REMOVED, str(total), now)
        journal.note(connection, REMOVED, now, code=NOT_OURS.code, detail=str(count))
    site.log.info("foreign mails removed after their time", count=count)
    return count


def _end_alarm(site: Site, now: float) -> None:
    with site.database.read() as connection:
        open_ = any(row.subject == SUBJECT for row in journal.open_alarms(connection))
    if open_ and not full(site):
        with site.database.write() as connection:
            journal.end_alarm(connection, QUARANTINE_FULL.code, SUBJECT, now)
