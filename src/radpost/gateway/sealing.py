"""Planned mails become sealed bytes, durable before anybody submits them (DESIGN 4 "External actions").

Small mails are sealed several at a time: their files are synced as one group and noted with one commit. What
fails is written down alone, and stops no other.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, cast

from sqlalchemy import Connection

from radpost.agit.letter import Item, Letter, boundaries
from radpost.agit.writing import Keys, pays, read, seal
from radpost.errors import INTERNAL, RadpostError
from radpost.gateway.alarms import PASSING
from radpost.gateway.cutting import Cutter, Piece
from radpost.gateway.outbox import WORK_CUT, WORK_SEAL, Outbox
from radpost.gateway.partners import Partner
from radpost.gateway.site import Site
from radpost.mime.writer import Source
from radpost.store import objects, outgoing_mails, outgoing_transmissions
from radpost.store.outgoing_collections import Member
from radpost.store.outgoing_mails import MailRow
from radpost.store.spool import Stored
from radpost.transfer import window as window_machine
from radpost.transfer.outgoing import Sealed, SealFailed
from radpost.words import Priority

AHEAD_BYTES: Final = 64_000_000
"""So many sealed bytes may wait for submission per partner; the rest stays planned, and costs no disk."""
BATCH_MAILS: Final = 8
BATCH_BYTES: Final = 4_000_000
"""Mails up to this size together share a commit; nothing waits long for the others."""


@dataclass(frozen=True, slots=True)
class _Written:
    """A sealed mail in a temporary file that is not durable yet."""

    row: MailRow
    partner: Partner
    message_id: str
    members: list[Member]
    limit: int | None
    path: Path
    stored: Stored


class Sealer:
    """Seals a mail, or several small ones with one commit; workers may run side by side."""

    def __init__(self, site: Site, outbox: Outbox) -> None:
        self._site = site
        self._outbox = outbox
        self._cutter = Cutter(site, outbox)

    def next(self, limit: int, busy: frozenset[int]) -> list[MailRow]:
        """Return mails to seal or cut next, leaving out partners that have enough sealed bytes waiting."""
        now = self._site.clock()
        with self._site.database.read() as connection:
            blocked = self._blocked(connection, now)
            cut = outgoing_mails.next_work(connection, WORK_CUT, now, limit + len(busy), ())
            urgent = {name: outgoing_mails.unsent_urgent_bytes(connection, name) for name in blocked}
            wholly = [name for name, unsent in urgent.items() if unsent > AHEAD_BYTES]
            found = cut or outgoing_mails.next_work(
                connection, WORK_SEAL, now, limit + len(busy), blocked, wholly
            )
        return [row for row in found if row.id not in busy][:limit]

    def batch(self, rows: Sequence[MailRow]) -> list[MailRow]:
        """Return what one worker takes of the mails that wait: half of them at most, for there are others."""
        taken: list[MailRow] = []
        size = 0
        for row in rows[: min(BATCH_MAILS, (len(rows) + 1) // 2)]:
            size += row.bytes
            if taken and size > BATCH_BYTES:
                break
            taken.append(row)
        return taken

    def work(self, row: MailRow) -> None:
        """Seal or cut one mail; a failure is written down with its reason, never raised."""
        self.work_all([row])

    def work_all(self, rows: Sequence[MailRow]) -> None:
        """Seal or cut mails; what fails is written down with its reason, and stops no other."""
        written: list[_Written] = []
        try:
            for row in rows:
                with self._watched(row):
                    found = self._work(row)
                    if found is not None:
                        written.append(found)
        finally:
            if written:
                self._keep(written)

    def _work(self, row: MailRow) -> _Written | None:
        with self._site.database.read() as connection:
            fresh = outgoing_mails.get_mail(connection, row.id)
            if fresh.work != row.work or fresh.machine != row.machine:
                return None  # another worker was faster, or a person ordered something else
            partner = self._site.partners.by_name(row.partner)
            limit = self._cutter.limit(connection, partner, row)
            members = outgoing_mails.mail_members(connection, row.id)
            job = outgoing_transmissions.get_transmission(connection, row.transmission_id)
            first = outgoing_mails.first_position(connection, row.id)
        if row.work == WORK_CUT:
            self._cut(row, partner, limit)
            return None
        assert job is not None, "mails are removed only with their transmission"
        letter = self._letter(row, partner, members, job.study_uid, first)
        self._site.spool.require_space(row.bytes)
        path, stored = self._write(letter, partner)
        return _Written(row, partner, letter.message_id, members, limit, path, stored)

    def _keep(self, written: Sequence[_Written]) -> None:
        """Make sealed mails durable together, and note each with its messages."""
        try:
            self._site.spool.adopt([(one.path, one.stored) for one in written])
        except RadpostError as error:
            # the files are gone, as they must be after a failed sync: each mail is sealed anew, alone
            for one in written:
                if len(written) == 1:
                    self._failed(one.row, error)
                else:
                    self.work(one.row)
            return
        ready: list[tuple[_Written, list[Piece]]] = []
        for one in written:
            with self._watched(one.row):
                ready.append((one, self._cutter.pieces(one.message_id, one.stored, one.limit)))
        if len(ready) == 1 or not self._noted_together(ready):
            for one, pieces in ready:
                with self._watched(one.row), self._site.database.write() as connection:
                    self._commit(connection, one, pieces)
        for one in written:
            for member in one.members:
                self._site.spool.leave(member.file_sha256)

    def _noted_together(self, ready: Sequence[tuple[_Written, list[Piece]]]) -> bool:
        try:
            with self._site.database.write() as connection:
                for one, pieces in ready:
                    self._commit(connection, one, pieces)
        except Exception:
            # one of them is bad, or the store is: each has its own ending now
            self._site.log.exception("mails not noted together")
            return False
        return True

    @contextmanager
    def _watched(self, row: MailRow) -> Iterator[None]:
        """Write down why a mail could not be sealed."""
        try:
            yield
        except RadpostError as error:
            self._failed(row, error)
        except Exception:
            self._site.log.exception("sealing failed", mail=row.id)
            self._failed(row, RadpostError(INTERNAL))

    def _blocked(self, connection: Connection, now: float) -> list[str]:
        blocked = []
        for partner, unsent in outgoing_mails.unsent_bytes(connection).items():
            found = self._site.partners.named(partner)
            if found is None:
                continue
            window = self._outbox.window(connection, found, now)
            policy = self._outbox.window_policy(found)
            admitted = window_machine.admits(window, unsent, Priority.ROUTINE, now, policy)
            if unsent > AHEAD_BYTES or (unsent and not admitted):
                blocked.append(partner)
        return blocked

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
            receipt_mechanism=switches.receipt_mechanism,
            receipt_key="" if switches.receipt_mechanism == "1" else self._site.keys.ring().signer(),
            study_uid_outside=switches.study_uid_outside,
        )

    def _item(self, partner: Partner, member: Member, study_uid: str) -> Item:
        path = self._site.spool.path(member.file_sha256)
        is_dicom = member.kind == "dicom"
        return Item(
            source=Source(member.size, lambda: read(path)),
            is_dicom=is_dicom,
            media_type=member.media_type or "application/octet-stream",
            name=member.name or "document",
            study_uid=study_uid,
            compressible=pays(path, partner.switches),
        )

    def _write(self, letter: Letter, partner: Partner) -> tuple[Path, Stored]:
        ring = self._site.keys.ring()
        signer = ring.signer() if partner.switches.sign else None
        with self._site.spool.writer() as writer:
            seal(
                letter,
                cast("BinaryIO", writer),
                ring.engine,
                Keys((ring.recipient(partner.name),), signer),
                partner.switches,
            )
            return writer.finish()

    def _commit(self, connection: Connection, one: _Written, pieces: list[Piece]) -> None:
        now = self._site.clock()
        stored = one.stored
        objects.put_blob(connection, self._site.spool, stored, now)
        fresh = outgoing_mails.get_mail(connection, one.row.id)
        self._cutter.submit(connection, fresh, one.partner, stored, pieces, now, whole=one.message_id)
        self._outbox.mail_event(
            connection,
            fresh,
            Sealed(stored.size, len(pieces)),
            now,
            message_id=one.message_id,
            sealed_sha256=stored.sha256,
            size=stored.size,
            sealed_at=now,
        )

    def _cut(self, row: MailRow, partner: Partner, limit: int | None) -> None:
        """Cut the same sealed bytes in smaller fragments than before (RFC 2046 5.2.2)."""
        assert row.sealed_sha256 is not None, "a mail to be cut has been sealed"
        stored = Stored(row.sealed_sha256, row.size)
        pieces = self._cutter.fragments(stored, limit or row.size // 2)
        now = self._site.clock()
        with self._site.database.write() as connection:
            fresh = outgoing_mails.get_mail(connection, row.id)
            self._cutter.submit(connection, fresh, partner, stored, pieces, now)
            self._outbox.mail_event(connection, fresh, Sealed(stored.size, len(pieces)), now)

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
