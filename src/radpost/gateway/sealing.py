"""Planned mails become sealed bytes, durable before anybody submits them (DESIGN 4 "External actions")."""

import mmap
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, cast

from sqlalchemy import Connection

from radpost.agit import names
from radpost.agit.letter import Item, Letter, boundaries, inner_chunks, outer_envelope
from radpost.errors import INTERNAL, RadpostError
from radpost.gateway import machines
from radpost.gateway.alarms import PASSING
from radpost.gateway.outbox import WORK_CUT, WORK_SEAL, Outbox, envid_of
from radpost.gateway.partners import Partner
from radpost.gateway.site import Site
from radpost.mime.headers import parse_block
from radpost.mime.partial import FragmentHeader, repeated, split
from radpost.mime.writer import Source
from radpost.openpgp.deflate import measure_gain
from radpost.openpgp.values import Compression
from radpost.store import journal, objects, outgoing
from radpost.store.outgoing import MailRow, Member
from radpost.store.spool import Stored
from radpost.transfer import submission as submission_machine
from radpost.transfer import window as window_machine
from radpost.transfer.outgoing import OutgoingMail, Sealed, SealFailed
from radpost.words import Priority

READ_BYTES: Final = 1 << 20
HEADER_BYTES: Final = 64 * 1024
AHEAD_BYTES: Final = 64_000_000
"""So many sealed bytes may wait for submission per partner; the rest stays planned, and costs no disk."""


@dataclass(frozen=True, slots=True)
class _Piece:
    message_id: str
    head: bytes | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Written:
    stored: Stored
    message_id: str


class Sealer:
    """Seals one mail at a time; several may run side by side."""

    def __init__(self, site: Site, outbox: Outbox) -> None:
        self._site = site
        self._outbox = outbox

    def next(self, limit: int, busy: frozenset[int]) -> list[MailRow]:
        """Return mails to seal or cut next, leaving out partners that have enough sealed bytes waiting."""
        now = self._site.clock()
        with self._site.database.read() as connection:
            blocked = self._blocked(connection, now)
            cut = outgoing.next_work(connection, WORK_CUT, now, limit + len(busy), ())
            urgent = {name: outgoing.unsent_urgent_bytes(connection, name) for name in blocked}
            wholly = [name for name, unsent in urgent.items() if unsent > AHEAD_BYTES]
            found = cut or outgoing.next_work(connection, WORK_SEAL, now, limit + len(busy), blocked, wholly)
        return [row for row in found if row.id not in busy][:limit]

    def work(self, row: MailRow) -> None:
        """Seal or cut one mail; a failure is written down with its reason, never raised."""
        with self._site.database.read() as connection:
            fresh = outgoing.get_mail(connection, row.id)
        if fresh.work != row.work or fresh.machine != row.machine:
            return  # another worker was faster, or a person ordered something else
        try:
            if row.work == WORK_CUT:
                self._cut(row)
            else:
                self._seal(row)
        except RadpostError as error:
            self._failed(row, error)
        except Exception:
            self._site.log.exception("sealing failed", mail=row.id)
            self._failed(row, RadpostError(INTERNAL))

    def _blocked(self, connection: Connection, now: float) -> list[str]:
        blocked = []
        for partner, unsent in outgoing.unsent_bytes(connection).items():
            found = self._site.partners.named(partner)
            if found is None:
                continue
            window = self._outbox.window(connection, found, now)
            policy = self._outbox.window_policy(found)
            admitted = window_machine.admits(window, unsent, Priority.ROUTINE, now, policy)
            if unsent > AHEAD_BYTES or (unsent and not admitted):
                blocked.append(partner)
        return blocked

    def _seal(self, row: MailRow) -> None:
        partner = self._site.partners.by_name(row.partner)
        with self._site.database.read() as connection:
            members = outgoing.mail_members(connection, row.id)
            job = outgoing.get_transmission(connection, row.transmission_id)
            first = outgoing.first_position(connection, row.id)
            known = self._known_limit(connection, partner)
        assert job is not None, "mails are removed only with their transmission"
        letter = self._letter(row, partner, members, job.study_uid, first)
        self._site.spool.require_space(row.bytes)
        written = self._write(letter, partner)
        self._commit(row, partner, letter, written, known)
        for member in members:
            self._site.spool.leave(member.file_sha256)

    def _letter(
        self, row: MailRow, partner: Partner, members: list[Member], study_uid: str, first: int
    ) -> Letter:
        switches = partner.switches
        return Letter(
            sender=self._site.address,
            recipient=partner.address,
            date=datetime.fromtimestamp(self._site.clock(), UTC).replace(microsecond=0),
            message_id=self._outbox.new_message_id(),
            set_id=row.transmission_id,
            part=row.part,
            total=row.total,
            first_position=first,
            items=tuple(self._item(partner, member, study_uid) for member in members),
            boundaries=boundaries(secrets.token_bytes(16), secrets.token_bytes(16)),
            dialect=partner.settings.dialect,
            inner_encoding=switches.inner_encoding,
            receipt=switches.receipt,
            study_uid_outside=switches.study_uid_outside,
        )

    def _item(self, partner: Partner, member: Member, study_uid: str) -> Item:
        path = self._site.spool.path(member.file_sha256)
        is_dicom = member.kind == "dicom"
        compression = partner.switches.compression
        compressible = compression == "always" or (compression == "auto" and _gains(path))
        return Item(
            source=Source(member.size, lambda: _read(path)),
            is_dicom=is_dicom,
            media_type=member.media_type or "application/octet-stream",
            name=member.name or "document",
            study_uid=study_uid,
            compressible=compressible,
        )

    def _write(self, letter: Letter, partner: Partner) -> _Written:
        ring = self._site.keys.ring()
        envelope = outer_envelope(letter)
        packed = any(item.compressible for item in letter.items)
        with self._site.spool.writer() as writer:
            writer.write(envelope.head)
            ring.engine.seal(
                inner_chunks(letter),
                cast("BinaryIO", writer),
                recipients=[ring.recipient(partner.name)],
                signer=ring.signer() if partner.switches.sign else None,
                compress=Compression.ZIP if packed else Compression.NONE,
                armor=True,
                cipher=partner.switches.cipher,
                digest=partner.switches.digest,
            )
            writer.write(envelope.tail)
            return _Written(writer.commit(), letter.message_id)

    def _commit(self, row: MailRow, partner: Partner, letter: Letter, written: _Written, known: int) -> None:
        now = self._site.clock()
        limit = self._limit(partner, row, known)
        pieces = [_Piece(letter.message_id, None, 0, written.stored.size)]
        if limit is not None and written.stored.size > limit:
            pieces = self._fragments(written.stored, limit)
        with self._site.database.write() as connection:
            objects.put_blob(connection, self._site.spool, written.stored, now)
            fresh = outgoing.get_mail(connection, row.id)
            generation = machines.load(OutgoingMail, fresh.machine).generation
            outgoing.add_message(
                connection, letter.message_id, row.id, partner.name, partner.address, generation, now
            )
            self._submissions(connection, fresh, partner, written.stored, pieces, now)
            self._outbox.mail_event(
                connection,
                fresh,
                Sealed(written.stored.size, len(pieces)),
                now,
                message_id=letter.message_id,
                sealed_sha256=written.stored.sha256,
                size=written.stored.size,
                sealed_at=now,
            )

    def _cut(self, row: MailRow) -> None:
        """Cut the same sealed bytes in smaller fragments than before (RFC 2046 5.2.2)."""
        partner = self._site.partners.by_name(row.partner)
        assert row.sealed_sha256 is not None, "a mail to be cut has been sealed"
        stored = Stored(row.sealed_sha256, row.size)
        with self._site.database.read() as connection:
            known = self._known_limit(connection, partner)
        pieces = self._fragments(stored, self._limit(partner, row, known) or row.size // 2)
        now = self._site.clock()
        with self._site.database.write() as connection:
            fresh = outgoing.get_mail(connection, row.id)
            self._submissions(connection, fresh, partner, stored, pieces, now)
            self._outbox.mail_event(connection, fresh, Sealed(stored.size, len(pieces)), now)

    @staticmethod
    def _known_limit(connection: Connection, partner: Partner) -> int:
        """Return the largest message that the partner's server said it takes, 0 if it said none."""
        return int(journal.recall(connection, f"size {route_of(partner)}") or 0)

    def _limit(self, partner: Partner, row: MailRow, known: int) -> int | None:
        """Return the largest message for this partner; None while nobody said one.

        ``known`` is what its server said, or 0.
        """
        if not partner.switches.partial:
            return None
        limits = [partner.switches.max_mail_size, known]
        if self._site.config.submission is not None:
            limits.append(self._site.config.submission.max_mail_size)
        smallest = min(limit for limit in limits if limit > 0)
        machine = machines.load(OutgoingMail, row.machine)
        # the last cut was by what was known then; only a further refusal makes pieces smaller than that
        halvings = max(0, machine.cuts - (1 if known else 0))
        return max(16_384, smallest >> halvings)

    def _fragments(self, stored: Stored, limit: int) -> "list[_Piece]":
        """Cut the sealed mail; the date of the fragments is the mail's own, for the signature binds it."""
        ids: dict[int, str] = {}
        with (
            self._site.spool.open(stored.sha256) as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
        ):
            fields = parse_block(bytes(view[:HEADER_BYTES]), complete=len(view) <= HEADER_BYTES).headers
            header = FragmentHeader(
                sender=fields.get("From") or "",
                recipient=fields.get("To") or "",
                subject=names.SUBJECT,
                date=fields.date() or datetime.fromtimestamp(self._site.clock(), UTC),
                partial_id=secrets.token_hex(16) + "@" + self._site.domain,
                message_id=lambda number: ids.setdefault(number, self._outbox.new_message_id()),
                extra=tuple(repeated(fields)),
            )
            cuts = split(view, limit, header)
        return [_Piece(ids[cut.number], cut.header, cut.start, cut.end) for cut in cuts]

    def _submissions(
        self,
        connection: Connection,
        row: MailRow,
        partner: Partner,
        stored: Stored,
        pieces: list[_Piece],
        now: float,
    ) -> None:
        fresh = submission_machine.Submission(not_before=now)
        machine = machines.load(OutgoingMail, row.machine)
        for piece in pieces:
            if piece.head is not None:
                outgoing.add_message(
                    connection,
                    piece.message_id,
                    row.id,
                    partner.name,
                    partner.address,
                    machine.generation,
                    now,
                )
        outgoing.add_submissions(
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
                    "envelope_from": self._site.address,
                    "recipient": partner.address,
                    "piece": number,
                    "pieces": len(pieces),
                    "head": piece.head,
                    "sha256": stored.sha256,
                    "start": piece.start,
                    "end": piece.end,
                    "size": len(piece.head or b"") + piece.end - piece.start,
                    "generation": machine.generation,
                    "state": fresh.phase.value,
                    "machine": machines.dump(fresh),
                    "priority": row.priority,
                    "due_at": now,
                }
                for number, piece in enumerate(pieces, 1)
            ],
        )

    def _failed(self, row: MailRow, error: RadpostError) -> None:
        self._site.log.warning(
            "mail not sealed",
            mail=row.id,
            code=error.reason.code,
            name=error.reason.name,
            detail=error.detail,
        )
        now = self._site.clock()
        event = SealFailed(error.reason, passing=error.reason in PASSING)
        with self._site.database.write() as connection:
            self._outbox.mail_event(connection, row.id, event, now)


def route_of(partner: Partner) -> str:
    """Return the name of the route that a partner's mails take."""
    return "submission" if partner.settings.route is None else f"partner {partner.name}"


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            yield chunk


def _gains(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return measure_gain(
            os.fstat(descriptor).st_size, lambda count, start: os.pread(descriptor, count, start)
        )
    finally:
        os.close(descriptor)
