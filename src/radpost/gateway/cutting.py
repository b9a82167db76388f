"""How a sealed mail travels: whole, or as fragments that its partner's server takes (RFC 2046 5.2.2)."""

import mmap
import secrets
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from radpost.agit.writing import fragments
from radpost.gateway import machines
from radpost.gateway.outbox import Outbox, envid_of
from radpost.gateway.partners import Partner
from radpost.gateway.site import Site
from radpost.store import journal, outgoing_submissions
from radpost.store.outgoing_mails import MailRow
from radpost.store.spool import Stored
from radpost.transfer.outgoing import OutgoingMail
from radpost.transfer.submission import Submission

SMALLEST: Final = 16_384
"""No fragment is made smaller than this."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A message with bytes ``start`` to ``end`` of a sealed mail; a fragment has a head of its own."""

    message_id: str
    head: bytes | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Cutter:
    """Decides how large the messages to a partner may be, and cuts mails to that size."""

    site: Site
    outbox: Outbox

    def limit(self, connection: Connection, partner: Partner, row: MailRow) -> int | None:
        """Return the largest message for this partner and its server; None while nobody said one."""
        if not partner.switches.partial:
            return None
        known = int(journal.recall(connection, f"size {route_of(partner)}") or 0)
        limits = [partner.switches.max_mail_size, known]
        if self.site.config.submission is not None:
            limits.append(self.site.config.submission.max_mail_size)
        smallest = min(limit for limit in limits if limit > 0)
        machine = machines.load(OutgoingMail, row.machine)
        # the last cut was by what was known then; only a further refusal makes pieces smaller than that
        halvings = max(0, machine.cuts - (1 if known else 0))
        return max(SMALLEST, smallest >> halvings)

    def pieces(self, message_id: str, stored: Stored, limit: int | None) -> list[Piece]:
        """Return the messages that carry a mail: itself, or its fragments."""
        if limit is None or stored.size <= limit:
            return [Piece(message_id, None, 0, stored.size)]
        return self.fragments(stored, limit)

    def fragments(self, stored: Stored, limit: int) -> list[Piece]:
        """Cut the sealed mail."""
        ids: dict[int, str] = {}
        with (
            self.site.spool.open(stored.sha256) as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
        ):
            cuts = fragments(
                view,
                limit,
                partial_id=secrets.token_hex(16) + "@" + self.site.domain,
                message_id=lambda number: ids.setdefault(number, self.outbox.new_message_id()),
            )
        return [Piece(ids[cut.number], cut.header, cut.start, cut.end) for cut in cuts]

    def submit(
        self,
        connection: Connection,
        row: MailRow,
        partner: Partner,
        stored: Stored,
        pieces: list[Piece],
        now: float,
        *,
        whole: str = "",
    ) -> None:
        """Put the messages of a mail, as read in this transaction, into the outbox.

        ``whole``: the Message-ID of the mail itself, when it is sealed; receipts name it.
        """
        fresh = Submission(not_before=now)
        generation = machines.load(OutgoingMail, row.machine).generation
        ids = dict.fromkeys([*([whole] if whole else []), *(piece.message_id for piece in pieces)])
        for message_id in ids:
            outgoing_submissions.add_message(
                connection, message_id, row.id, partner.name, partner.address, generation, now
            )
        outgoing_submissions.add_submissions(
            connection,
            [
                {
                    "kind": "mail",
                    "mail_id": row.id,
                    "receipt_id": None,
                    "partner": partner.name,
                    "route": route_of(partner),
                    "message_id": piece.message_id,
                    "envid": envid_of(piece.message_id),
                    "envelope_from": self.site.address,
                    "recipient": partner.address,
                    "piece": number,
                    "pieces": len(pieces),
                    "head": piece.head,
                    "sha256": stored.sha256,
                    "start": piece.start,
                    "end": piece.end,
                    "size": len(piece.head or b"") + piece.end - piece.start,
                    "generation": generation,
                    "state": fresh.phase.value,
                    "machine": machines.dump(fresh),
                    "priority": row.priority,
                    "due_at": now,
                }
                for number, piece in enumerate(pieces, 1)
            ],
        )


def route_of(partner: Partner) -> str:
    """Return the name of the route that a partner's mails take."""
    return "submission" if partner.settings.route is None else f"partner {partner.name}"
