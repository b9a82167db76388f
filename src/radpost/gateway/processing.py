"""Arrived mails are recognised, joined, opened, judged and imported, or quarantined with a reason.

Whatever a mail contains, it ends in the store, in the quarantine, or is left alone as not ours; one bad mail
never stops the next (DESIGN invariant 5). Small mails are processed several at a time, with one group of
syncs and one commit; if anything fails for them together, each goes its own way.
"""

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from radpost.agit import receipts as letters
from radpost.agit.opening import Content, open_mail, studies
from radpost.agit.survey import MailKind, Survey, survey
from radpost.errors import DISK_FULL, INTERNAL, NO_DATA, RESOURCE_LIMIT, UNKNOWN_SENDER, RadpostError, Reason
from radpost.gateway import noting
from radpost.gateway.foreign import POSTMASTER
from radpost.gateway.importing import Importer
from radpost.gateway.joining import Joiner
from radpost.gateway.judging import Judge
from radpost.gateway.noting import Noted
from radpost.gateway.partners import Partner
from radpost.gateway.receipting import Receipts, Reported
from radpost.gateway.recording import Brought, Finding, Recorder, Told
from radpost.gateway.site import Site
from radpost.mime.coding import Buffer
from radpost.openpgp.budget import TOO_LARGE
from radpost.openpgp.fileview import MAPPED, FileView
from radpost.openpgp.values import Limits
from radpost.store import incoming_mails
from radpost.store.incoming_mails import ArrivalRow
from radpost.transfer import incoming as machine
from radpost.words import Verdict

SMALL_BYTES: Final = 64 * 1024
"""Reports and other mails up to this size are all taken by one worker."""
BATCH_SMALL: Final = 16
BATCH_MAILS: Final = 8
BATCH_BYTES: Final = 4_000_000
"""Mails up to this size together share a commit; nothing waits long for the others."""
UNFOLDED_BYTES: Final = 16_000_000
"""When so many bytes of objects have come out of them, they are committed before the next is opened."""
RATIO_FLOOR: Final = 128_000_000
"""Up to here a mail may unfold whatever its ratio: masks of a segmentation compress a thousand to one."""


class Processor:
    """Takes an arrival, or several small ones; workers may run side by side."""

    def __init__(self, site: Site, receipts: Receipts) -> None:
        self._site = site
        self._importer = Importer(site)
        self._joiner = Joiner(site)
        self._judge = Judge(site)
        self._recorder = Recorder(site, receipts, self._importer)

    def next(self, limit: int, busy: frozenset[int]) -> list[ArrivalRow]:
        """Return arrivals to process next."""
        states = (machine.Phase.FETCHED.value, machine.Phase.OPENED.value)
        with self._site.database.read() as connection:
            found = incoming_mails.due_arrivals(connection, states, self._site.clock(), limit + len(busy))
        return [row for row in found if row.id not in busy][:limit]

    def batch(self, rows: Sequence[ArrivalRow]) -> list[ArrivalRow]:
        """Return what one worker takes of the arrivals that wait.

        Of mails with objects it takes half at most, for there are others; receipts cost little more than
        their commit.
        """
        taken: list[ArrivalRow] = []
        size, most = 0, BATCH_SMALL
        for row in rows:
            size += row.size
            if row.size > SMALL_BYTES:
                most = min(BATCH_MAILS, (len(rows) + 1) // 2)
            if taken and (len(taken) >= most or size > BATCH_BYTES):
                break
            taken.append(row)
        return taken

    def work(self, row: ArrivalRow) -> None:
        """Process one arrival; a failure is written down with its reason, never raised."""
        self.work_all([row])

    def work_all(self, rows: Sequence[ArrivalRow]) -> None:
        """Process arrivals; what fails is written down with its reason, and stops no other."""
        waiting: list[Finding] = []

        def keep() -> None:
            found = waiting.copy()
            waiting.clear()
            self._keep(found)

        try:
            for row in rows:
                found = self._found(row)
                if found is not None and _same_instance(found, waiting):
                    # whether it is one object in two syntaxes is asked of the store: the first goes in before
                    self._discard([found])
                    keep()
                    found = self._found(row)
                if found is not None:
                    waiting.append(found)
                if sum(one.size for one in waiting if isinstance(one, Brought)) > UNFOLDED_BYTES:
                    keep()
        finally:
            keep()
            # they may be deleted from their server now
            self._site.bells.mailbox.ring()

    def join_due(self) -> int:
        """Join the groups of fragments that are complete; return how many."""
        return self._joiner.join_due()

    # --- one mail ---------------------------------------------------------------------------------------

    def _found(self, row: ArrivalRow) -> Finding | None:
        """Return what is in a mail, to be recorded; nothing if its end is written already."""
        with self._site.database.read() as connection:
            fresh = incoming_mails.get_arrival(connection, row.id)
        if fresh is None or fresh.machine != row.machine:
            return None  # another worker was faster
        noted: Noted = {}
        try:
            return self._read(row, noted)
        except Exception as error:  # noqa: BLE001  whatever it is, it is written down
            self._failed(row, noted, error)
        return None

    def _read(self, row: ArrivalRow, noted: Noted) -> Finding | None:
        with self._mapped(row) as buffer:
            if row.recipient == POSTMASTER:
                self._foreign(row, noting.header_of(self._site, row, buffer), "for the postmaster")
                return None
            try:
                outside = survey(buffer)
            except RadpostError:
                noted.update(noting.header_of(self._site, row, buffer))
                raise
            partner = self._site.partners.by_address(outside.from_address)
            noted.update(noting.outside_of(self._site, row, outside, partner, buffer))
            match outside.kind:
                case MailKind.FOREIGN:
                    self._foreign(row, noted)
                case MailKind.BOUNCE:
                    assert outside.dsn is not None
                    return Told(row, noted, bounce=outside.dsn)
                case MailKind.RECEIPT:
                    assert outside.mdn is not None
                    told = () if partner is None else (Reported(outside.mdn, None, partner, signed=False),)
                    return Told(row, noted, told)
                case _ if partner is None:
                    raise RadpostError(UNKNOWN_SENDER)
                case MailKind.FRAGMENT:
                    self._fragment(row, noted, outside, partner)
                case MailKind.SEALED | MailKind.CLEAR:
                    return self._opened(row, noted, outside, partner, buffer)
        return None

    def _foreign(self, row: ArrivalRow, noted: Noted, detail: str = "") -> None:
        with self._site.database.write() as connection:
            self._recorder.not_ours(connection, row, noted, self._site.clock(), detail)

    def _fragment(self, row: ArrivalRow, noted: Noted, outside: Survey, partner: Partner) -> None:
        assert outside.fragment is not None
        with self._site.database.write() as connection:
            incoming_mails.update_arrival(connection, row.id, **noted)
        sender, answers_for = outside.from_address.lower(), noting.answers_for(noted, partner)
        self._joiner.arrived(row, outside.fragment, sender, answers_for)
        for bell in (self._site.bells.open, self._site.bells.receipts):
            bell.ring()

    def _opened(
        self, row: ArrivalRow, noted: Noted, outside: Survey, partner: Partner, buffer: Buffer
    ) -> Finding:
        with open_mail(
            outside,
            buffer,
            self._site.keys.ring().engine,
            temp=self._site.spool.tmp,
            limits=self._limits(),
            legacy=partner.switches.legacy,
        ) as content:
            parts = studies(content).parts
            if content.reports:
                self._judge.refuse_forged(outside, content, partner)
                told = self._reported(content, partner)
                if not parts:
                    return Told(row, noted, told)
                # with objects beside it the mail is data too, and ends as that
                with self._site.database.write() as connection:
                    self._recorder.apply(connection, told, self._site.clock())
                self._ring_outgoing()
            judged = self._judge.judged(row, outside, partner, content)
            if not parts:
                raise RadpostError(NO_DATA)
            self._site.spool.require_space(sum(part.end - part.start for part in parts))
            return Brought(row, noted, judged, self._importer.prepare(parts))

    def _reported(self, content: Content, partner: Partner) -> tuple[Reported, ...]:
        signed = self._judge.verdict(content, partner) is Verdict.GOOD
        return tuple(
            Reported(report.mdn, letters.read_details(report.details), partner, signed=signed)
            for report in content.reports
        )

    def _limits(self) -> Limits:
        config = self._site.config.limits
        most = min(config.max_open_bytes, self._room_to_open())
        return Limits(max_plaintext=most, max_ratio=config.max_ratio, ratio_floor=RATIO_FLOOR)

    def _room_to_open(self) -> int:
        """Return what a mail may unfold to without filling the disk: others need the room, too."""
        return max(0, self._site.spool.free_bytes() - self._site.config.limits.disk_reserve_bytes)

    @contextmanager
    def _mapped(self, row: ArrivalRow) -> Iterator[Buffer]:
        if not row.size:
            yield b""
            return
        with self._site.spool.open(row.sha256) as file:
            if row.size > MAPPED:
                yield FileView(file, row.size)
                return
            view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            yield view
            # not closed by hand: an exception may still hold slices; the mapping ends with the last of them

    # --- its end ----------------------------------------------------------------------------------------

    def _keep(self, found: Sequence[Finding]) -> None:
        """Make what was found in mails durable together, and record each mail."""
        if not found:
            return
        try:
            if not self._durable(found):
                return
            if len(found) == 1 or not self._recorded_together(found):
                for one in found:
                    self._recorded(one)
        finally:
            self._discard(found)
        bells = self._site.bells
        if any(isinstance(one, Brought) for one in found):
            bells.deliver.ring()
            bells.receipts.ring()
        if any(isinstance(one, Told) for one in found):
            self._ring_outgoing()

    def _durable(self, found: Sequence[Finding]) -> bool:
        try:
            prepared = [item for one in found if isinstance(one, Brought) for item in one.prepared]
            if prepared:
                self._importer.make_durable(prepared)
        except RadpostError as error:
            # the files are gone, as they must be after a failed sync: each mail is opened anew, alone
            for one in found:
                if len(found) == 1:
                    self._failed(one.row, one.noted, error)
                else:
                    self.work(one.row)
            return False
        return True

    def _recorded_together(self, found: Sequence[Finding]) -> bool:
        now = self._site.clock()
        try:
            with self._site.database.write() as connection:
                for one in found:
                    self._recorder.record(connection, one, now)
        except Exception:
            # one of them is bad, or the store is: each has its own ending now
            self._site.log.exception("mails not recorded together")
            return False
        return True

    def _recorded(self, found: Finding) -> None:
        try:
            with self._site.database.write() as connection:
                self._recorder.record(connection, found, self._site.clock())
        except Exception as error:  # noqa: BLE001  whatever it is, it is written down
            self._failed(found.row, found.noted, error)

    def _failed(self, row: ArrivalRow, noted: Noted, error: Exception) -> None:
        if isinstance(error, RadpostError):
            self._recorder.failed(row, noted, self._cause(error), error.detail)
            return
        self._site.log.error("processing failed inside", arrival=row.id, exc_info=error)
        self._recorder.failed(row, noted, INTERNAL, "")

    def _cause(self, error: RadpostError) -> Reason:
        """Tell a mail too large for the disk as it is now, which goes by, from one too large at all."""
        if (
            error.reason is RESOURCE_LIMIT
            and error.detail == TOO_LARGE
            and self._room_to_open() < self._site.config.limits.max_open_bytes
        ):
            return DISK_FULL
        return error.reason

    def _discard(self, found: Sequence[Finding]) -> None:
        for one in found:
            if isinstance(one, Brought):
                self._importer.discard(one.prepared)

    def _ring_outgoing(self) -> None:
        bells = self._site.bells
        for bell in (bells.seal, bells.submit, bells.collect):
            bell.ring()


def _same_instance(found: Finding, waiting: Sequence[Finding]) -> bool:
    """Tell whether an object of a mail is another form of one that waits to be recorded, or the same."""
    return isinstance(found, Brought) and any(
        isinstance(one, Brought) and found.instances & one.instances for one in waiting
    )
