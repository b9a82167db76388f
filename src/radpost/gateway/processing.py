"""Arrived mails are recognised, joined, opened, judged and imported, or quarantined with a reason.

Whatever a mail contains, it ends in the store, in the quarantine, or is left alone as not ours; one bad mail
never stops the next (DESIGN invariant 5).
"""

import hashlib
import itertools
import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from radpost.agit import names
from radpost.agit import receipts as letters
from radpost.agit.binding import contradictions
from radpost.agit.opening import Content, open_mail, studies
from radpost.agit.survey import MailKind, SetInfo, Survey, first_address, survey
from radpost.errors import (
    BINDING_MISMATCH,
    DISK_FULL,
    INTERNAL,
    NO_DATA,
    RESOURCE_LIMIT,
    UNENCRYPTED,
    UNKNOWN_SENDER,
    RadpostError,
    Reason,
)
from radpost.gateway import machines
from radpost.gateway.alarms import PASSING, About, write_records
from radpost.gateway.arrivals import apply_incoming
from radpost.gateway.foreign import POSTMASTER
from radpost.gateway.importing import Importer, Prepared
from radpost.gateway.joining import Joiner
from radpost.gateway.partners import Partner
from radpost.gateway.receipting import Receipts, Reported
from radpost.gateway.site import Site
from radpost.mime.coding import Buffer
from radpost.mime.headers import Headers, parse_block
from radpost.mime.partial import enclosed_headers
from radpost.openpgp.budget import TOO_LARGE
from radpost.openpgp.fileview import MAPPED, FileView
from radpost.openpgp.values import Limits
from radpost.store import incoming_mails, incoming_sets, journal, mailbox_entries
from radpost.store.incoming_mails import ArrivalRow
from radpost.transfer import incoming as machine
from radpost.transfer import incoming_set as set_machine
from radpost.transfer.policy import Quarantine, judge
from radpost.words import Verdict

EPOCH_YEAR: Final = 1970
FAR_YEAR: Final = 9999
HEADER_BYTES: Final = 256 * 1024
REPORT_BYTES: Final = 64 * 1024
"""Reports up to this size are taken several at a time."""
RATIO_FLOOR: Final = 128_000_000
"""Up to here a mail may unfold whatever its ratio: masks of a segmentation compress a thousand to one."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found inside a mail, released by the partner's policy."""

    partner: Partner
    verdict: Verdict
    fingerprint: str | None
    set_info: SetInfo | None
    warnings: tuple[str, ...] = ()
    relays: int = 0
    unopened: tuple[tuple[Reason, str], ...] = ()
    """Sealed parts that could not be opened beside those that could."""


class Processor:
    """Takes arrivals one at a time; several may run side by side."""

    def __init__(self, site: Site, receipts: Receipts) -> None:
        self._site = site
        self._receipts = receipts
        self._importer = Importer(site)
        self._joiner = Joiner(site)
        self._noted: dict[int, dict[str, object]] = {}

    def next(self, limit: int, busy: frozenset[int]) -> list[ArrivalRow]:
        """Return arrivals to process next."""
        states = (machine.Phase.FETCHED.value, machine.Phase.OPENED.value)
        with self._site.database.read() as connection:
            found = incoming_mails.due_arrivals(connection, states, self._site.clock(), limit + len(busy))
        return [row for row in found if row.id not in busy][:limit]

    def work(self, row: ArrivalRow) -> None:
        """Process one arrival; a failure is written down with its reason, never raised."""
        with self._site.database.read() as connection:
            fresh = incoming_mails.get_arrival(connection, row.id)
        if fresh is None or fresh.machine != row.machine:
            return  # another worker was faster
        try:
            self._process(row)
        except RadpostError as error:
            self._failed(row, self._cause(error), error.detail)
        except Exception:
            self._site.log.exception("processing failed inside", arrival=row.id)
            self._failed(row, INTERNAL, "")
        finally:
            self._noted.pop(row.id, None)
            # it may be deleted from its server now
            self._site.bells.mailbox.ring()

    def batch(self, rows: Sequence[ArrivalRow]) -> list[ArrivalRow]:
        """Return what one worker takes of the arrivals that wait: one, or the small reports in front."""
        reports = list(itertools.takewhile(self._is_report, rows))
        return reports or list(rows[:1])

    def _is_report(self, row: ArrivalRow) -> bool:
        """Tell whether an arrival looks like a small report; only how fast it goes depends on it."""
        if not row.size or row.size > REPORT_BYTES or row.recipient == POSTMASTER:
            return False
        try:
            with self._site.spool.open(row.sha256) as file:
                return b"multipart/report" in file.read(REPORT_BYTES).lower()
        except RadpostError:
            return False

    def work_all(self, rows: Sequence[ArrivalRow]) -> None:
        """Process small reports: the receipts in clear with one commit, all others one by one."""
        found: list[tuple[ArrivalRow, Survey, Partner | None]] = []
        for row in rows:
            try:
                with self._mapped(row) as buffer:
                    outside = survey(buffer)
                    if outside.kind is MailKind.RECEIPT:
                        partner = self._site.partners.by_address(outside.from_address)
                        self._note_outside(row, outside, partner, buffer)
                        found.append((row, outside, partner))
                        continue
            except RadpostError:
                pass  # told in its own turn
            self.work(row)
        if not found:
            return
        now = self._site.clock()
        try:
            with self._site.database.write() as connection:
                for row, outside, partner in found:
                    fresh = incoming_mails.get_arrival(connection, row.id)
                    if fresh is not None and fresh.machine == row.machine:
                        self._apply_receipt(connection, row, outside, partner, now)
        except Exception:
            # one of them is bad, or the store is: each has its own ending now
            self._site.log.exception("receipts not applied together")
            for row, _, _ in found:
                self.work(row)
        finally:
            for row, _, _ in found:
                self._noted.pop(row.id, None)
        self._ring_outgoing()
        self._site.bells.mailbox.ring()

    def join_due(self) -> int:
        """Join the groups of fragments that are complete; return how many."""
        return self._joiner.join_due()

    def _process(self, row: ArrivalRow) -> None:
        with self._mapped(row) as buffer:
            if row.recipient == POSTMASTER:
                self._note_header(row, buffer)
                with self._site.database.write() as connection:
                    self._not_ours(connection, row, self._site.clock(), "for the postmaster")
                return
            try:
                outside = survey(buffer)
            except RadpostError:
                self._note_header(row, buffer)
                raise
            partner = self._site.partners.by_address(outside.from_address)
            self._note_outside(row, outside, partner, buffer)
            match outside.kind:
                case MailKind.FOREIGN:
                    self._foreign(row)
                case MailKind.BOUNCE:
                    self._bounce(row, outside)
                case MailKind.RECEIPT:
                    self._receipt(row, outside, partner)
                case _ if partner is None:
                    raise RadpostError(UNKNOWN_SENDER)
                case MailKind.FRAGMENT:
                    assert outside.fragment is not None
                    with self._site.database.write() as connection:
                        self._write_noted(connection, row.id)
                    sender, answers_for = outside.from_address.lower(), self._answers_for(row, partner)
                    self._joiner.arrived(row, outside.fragment, sender, answers_for)
                    for bell in (self._site.bells.open, self._site.bells.receipts):
                        bell.ring()
                case MailKind.SEALED | MailKind.CLEAR:
                    self._data(row, outside, partner, buffer)

    def _cause(self, error: RadpostError) -> Reason:
        """Tell a mail too large for the disk as it is now, which goes by, from one too large at all."""
        if (
            error.reason is RESOURCE_LIMIT
            and error.detail == TOO_LARGE
            and self._room_to_open() < self._largest
        ):
            return DISK_FULL
        return error.reason

    @property
    def _largest(self) -> int:
        return self._site.config.limits.max_open_bytes

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

    def _note_outside(
        self, row: ArrivalRow, outside: Survey, partner: Partner | None, buffer: Buffer
    ) -> None:
        """Remember what the outside says; it is written with the mail's first commit."""
        fragment = outside.fragment
        message_id, receipt_to = outside.message_id, outside.receipt_to
        if fragment is not None:
            # fragments have no receipts; the mail has one, and its header lies in the first (RFC 3798 2.4)
            first = fragment.number == 1
            message_id, receipt_to = _carried(row, outside, buffer) if first else (message_id, "")
        set_info = outside.set_info
        self._noted[row.id] = {
            "kind": outside.kind.value,
            "partner": partner.name if partner else None,
            "from_address": outside.from_address.lower(),
            "message_id": message_id,
            "sent_at": _moment(outside.date),
            "receipt_to": "" if _automatic(row, outside.root.headers) else receipt_to,
            "set_id": set_info.set_id if set_info else "",
            "set_part": set_info.part if set_info else None,
            "set_total": set_info.total if set_info else None,
            "fragment_id": fragment.id if fragment else None,
            "fragment_number": fragment.number if fragment else None,
            "fragment_total": fragment.total if fragment else None,
            "opened_at": self._site.clock(),
        }

    def _answers_for(self, row: ArrivalRow, partner: Partner) -> str:
        """Return the Message-ID of the mail that a first fragment begins, if that may get a receipt."""
        message_id, receipt_to = (str(self._noted[row.id][name]) for name in ("message_id", "receipt_to"))
        allowed = machine.receipt_allowed(
            machine.Kind.DATA,
            asked=bool(receipt_to) and bool(message_id),
            address_of_partner=receipt_to.lower() == partner.address,
            automatic=False,  # then nothing was noted
        )
        return message_id if allowed else ""

    def _write_noted(self, connection: Connection, arrival_id: int) -> None:
        noted = self._noted.get(arrival_id)
        if noted is not None:
            incoming_mails.update_arrival(connection, arrival_id, **noted)

    def _note_header(self, row: ArrivalRow, buffer: Buffer) -> None:
        """Note whose a mail is that cannot be read further, so that its sender is named and can be told."""
        try:
            headers = parse_block(bytes(buffer[:HEADER_BYTES]), complete=len(buffer) <= HEADER_BYTES).headers
        except RadpostError:
            return
        from_address = first_address(headers, "From").lower()
        partner = self._site.partners.by_address(from_address)
        with self._site.database.write() as connection:
            incoming_mails.update_arrival(
                connection,
                row.id,
                partner=partner.name if partner else None,
                from_address=from_address,
                message_id=headers.message_id() or "",
                sent_at=_moment(headers.date()),
                receipt_to=_asked(row, headers),
            )

    def _foreign(self, row: ArrivalRow) -> None:
        now = self._site.clock()
        with self._site.database.write() as connection:
            self._write_noted(connection, row.id)
            self._not_ours(connection, row, now)

    def _leave(self, connection: Connection, row: ArrivalRow, reason: Reason, now: float) -> None:
        journal.note(connection, "cannot be read", now, arrival_id=row.id, code=reason.code)
        self._not_ours(connection, row, now)

    def _not_ours(self, connection: Connection, row: ArrivalRow, now: float, detail: str = "") -> None:
        """Leave a mail in its mailbox; where there is none, it is kept for a person (DESIGN 12)."""
        incoming_mails.update_arrival(connection, row.id, detail=detail)
        foreign = machine.Recognised(machine.Kind.FOREIGN, only_copy=not _shared(row))
        apply_incoming(self._site, connection, row.id, [foreign], now)
        mailbox_entries.set_entry_of_arrival(connection, row.id, "foreign")

    # --- reports ----------------------------------------------------------------------------------------

    def _bounce(self, row: ArrivalRow, outside: Survey) -> None:
        assert outside.dsn is not None
        now = self._site.clock()
        with self._site.database.write() as connection:
            self._write_noted(connection, row.id)
            ours = self._receipts.apply_bounce(connection, outside.dsn, now)
            self._report_done(connection, row, machine.Kind.BOUNCE, ours=ours, now=now)
        self._ring_outgoing()

    def _receipt(self, row: ArrivalRow, outside: Survey, partner: Partner | None) -> None:
        with self._site.database.write() as connection:
            self._apply_receipt(connection, row, outside, partner, self._site.clock())
        self._ring_outgoing()

    def _apply_receipt(
        self, connection: Connection, row: ArrivalRow, outside: Survey, partner: Partner | None, now: float
    ) -> None:
        assert outside.mdn is not None
        self._write_noted(connection, row.id)
        ours = False
        if partner is not None:
            reported = Reported(outside.mdn, None, partner, signed=False)
            ours = self._receipts.apply_receipt(connection, reported, now)
        self._report_done(connection, row, machine.Kind.RECEIPT, ours=ours, now=now)

    def _sealed_receipts(self, row: ArrivalRow, content: Content, partner: Partner, *, alone: bool) -> None:
        signed = self._verdict(content, partner) is Verdict.GOOD
        now = self._site.clock()
        with self._site.database.write() as connection:
            self._write_noted(connection, row.id)
            ours = False
            for report in content.reports:
                details = letters.read_details(report.details)
                reported = Reported(report.mdn, details, partner, signed=signed)
                ours |= self._receipts.apply_receipt(connection, reported, now)
            if alone:
                self._report_done(connection, row, machine.Kind.RECEIPT, ours=ours, now=now)
        self._ring_outgoing()

    def _report_done(
        self, connection: Connection, row: ArrivalRow, kind: machine.Kind, *, ours: bool, now: float
    ) -> None:
        if not ours:
            journal.note(connection, "report about no mail of ours", now, arrival_id=row.id)
            self._not_ours(connection, row, now, "report about no mail of ours")
            return
        apply_incoming(self._site, connection, row.id, [machine.Recognised(kind)], now)

    def _ring_outgoing(self) -> None:
        bells = self._site.bells
        for bell in (bells.seal, bells.submit, bells.collect):
            bell.ring()

    # --- data -------------------------------------------------------------------------------------------

    def _data(self, row: ArrivalRow, outside: Survey, partner: Partner, buffer: Buffer) -> None:
        config = self._site.config.limits
        limits = Limits(
            max_plaintext=min(self._largest, self._room_to_open()),
            max_ratio=config.max_ratio,
            ratio_floor=RATIO_FLOOR,
        )
        ring = self._site.keys.ring()
        with open_mail(
            outside,
            buffer,
            ring.engine,
            temp=self._site.spool.tmp,
            limits=limits,
            legacy=partner.switches.legacy,
        ) as content:
            parts = studies(content).parts
            if content.reports:
                self._refuse_forged(outside, content, partner)
                # with objects beside it the mail is data too, and ends as that
                self._sealed_receipts(row, content, partner, alone=not parts)
                if not parts:
                    return
            judged = self._judge(outside, partner, content)
            if not parts:
                raise RadpostError(NO_DATA)
            self._site.spool.require_space(sum(part.end - part.start for part in parts))
            prepared = self._importer.prepare(parts)
            wanted = self._wanted(row, outside, content, partner)
            try:
                self._importer.make_durable(prepared)
                self._commit(row, judged, prepared, wanted=wanted, receipt_to=content.receipt_to)
            finally:
                self._importer.discard(prepared)
        bells = self._site.bells
        for bell in (bells.deliver, bells.receipts):
            bell.ring()

    def _judge(self, outside: Survey, partner: Partner, content: Content) -> Judged:
        """Apply the signature policy and the binding; raise what sends the mail to quarantine."""
        verdict = self._verdict(content, partner)
        if not content.encrypted and not partner.switches.clear:
            raise RadpostError(UNENCRYPTED)
        ruling = judge(partner.settings.policy, verdict)
        if isinstance(ruling, Quarantine):
            raise RadpostError(ruling.reason, f"signature: {verdict.value}")
        if content.inner is not None:
            self._check_binding(outside, content.inner)
        fingerprint = content.signature.fingerprint
        relays = len(outside.root.headers.get_all("Received"))
        return Judged(
            partner=partner,
            verdict=verdict,
            fingerprint=fingerprint,
            set_info=content.set_info,
            warnings=tuple(content.warnings),
            relays=relays,
            unopened=tuple(content.unopened),
        )

    def _verdict(self, content: Content, partner: Partner) -> Verdict:
        """Return what the signature is worth: a good one counts only if its key is confirmed for From."""
        signature = content.signature
        if signature.verdict is not Verdict.GOOD:
            return signature.verdict
        known = self._site.keys.ring().belongs(signature.fingerprint, partner.name)
        return Verdict.GOOD if known else Verdict.WRONG_SIGNER

    def _refuse_forged(self, outside: Survey, content: Content, partner: Partner) -> None:
        """Keep reports from counting as unsigned ones if what signs them speaks against them."""
        verdict = self._verdict(content, partner)
        ruling = judge(partner.settings.policy, verdict)
        if verdict in {Verdict.BAD, Verdict.WRONG_SIGNER} and isinstance(ruling, Quarantine):
            raise RadpostError(ruling.reason, f"signature: {verdict.value}")
        if content.inner is not None:
            self._check_binding(outside, content.inner)

    def _check_binding(self, outside: Survey, inner: Headers) -> None:
        """Compare what is repeated inside the signed part with the outside (DESIGN 4 "Binding")."""
        found = contradictions(outside, inner)
        recipients = {address.lower() for address in inner.addresses("To")}
        if recipients and self._site.address.lower() not in recipients:
            found = (*found, "To")
        if found:
            raise RadpostError(BINDING_MISMATCH, found[0])

    def _wanted(self, row: ArrivalRow, outside: Survey, content: Content, partner: Partner) -> bool:
        asked = content.receipt_to or outside.receipt_to
        automatic = _automatic(row, outside.root.headers)
        return machine.receipt_allowed(
            machine.Kind.DATA,
            asked=bool(asked) and bool(outside.message_id),
            address_of_partner=asked.lower() == partner.address,
            automatic=automatic,
        )

    def _commit(
        self, row: ArrivalRow, judged: Judged, prepared: list[Prepared], *, wanted: bool, receipt_to: str
    ) -> None:
        now = self._site.clock()
        set_info = judged.set_info
        with self._site.database.write() as connection:
            self._write_noted(connection, row.id)
            incoming_mails.update_arrival(
                connection,
                row.id,
                verdict=judged.verdict.value,
                fingerprint=judged.fingerprint,
                set_id=set_info.set_id if set_info else "",
                set_part=set_info.part if set_info else None,
                set_total=set_info.total if set_info else None,
                detail=_rest(judged),
                **({"receipt_to": receipt_to} if receipt_to else {}),
            )
            imported = self._importer.store(connection, row.id, judged.partner, prepared, now)
            if judged.unopened:
                reason, _ = judged.unopened[0]
                imported = replace(imported, quarantined=len(judged.unopened), reason=reason)
            events: list[machine.IncomingEvent] = [
                machine.Recognised(machine.Kind.DATA, wanted),
                machine.Opened(wanted),
                imported,
            ]
            apply_incoming(self._site, connection, row.id, events, now)
            if judged.partner.switches.teleradiology:
                journal.note(
                    connection, "mail servers between", now, arrival_id=row.id, detail=str(judged.relays)
                )
            for warning in judged.warnings:
                journal.note(connection, "remark", now, arrival_id=row.id, detail=warning)
            self._count(connection, row, judged, prepared, now)

    def _count(
        self, connection: Connection, row: ArrivalRow, judged: Judged, prepared: list[Prepared], now: float
    ) -> None:
        """Tell the set that a part is here; incomplete sets withhold nothing, they only have a deadline."""
        info = judged.set_info
        if info is None:
            return
        partner = judged.partner.name
        digest = hashlib.sha256("".join(item.facts.dataset_sha256 for item in prepared).encode()).hexdigest()
        if judged.unopened:
            digest = ""  # the whole part is not known: what comes later is no other content
        known = None
        if info.part is not None:
            known = incoming_sets.add_part(connection, partner, info.set_id, info.part, row.id, digest)
        stored = incoming_sets.get_set(connection, partner, info.set_id)
        before = (
            machines.load(set_machine.IncomingSet, stored.machine) if stored else set_machine.IncomingSet()
        )
        event = set_machine.PartArrived(
            part=info.part,
            total=info.total,
            new=known is None,
            same=not digest or known in {None, "", digest},
        )
        policy = set_machine.SetPolicy(self._site.config.limits.incomplete_set_seconds)
        after, actions = set_machine.decide_set(before, event, now, policy)
        state = "complete" if after.complete else "conflict" if after.conflict else "incomplete"
        study = next((item.study_uid for item in prepared if item.study_uid), "")
        incoming_sets.put_set(
            connection,
            {
                "partner": partner,
                "set_id": info.set_id,
                "objects": (stored.objects if stored else 0) + (len(prepared) if known is None else 0),
                "state": state,
                "machine": machines.dump(after),
                "study_uid": (stored.study_uid if stored else "") or study,
                "first_at": stored.first_at if stored else now,
                "last_at": now,
                "due_at": after.due,
            },
        )
        write_records(connection, actions, f"set {info.set_id} from {partner}", now, About(arrival_id=row.id))

    def _failed(self, row: ArrivalRow, reason: Reason, detail: str) -> None:
        self._site.log.warning("mail not processed", arrival=row.id, code=reason.code, name=reason.name)
        now = self._site.clock()
        with self._site.database.write() as connection:
            self._write_noted(connection, row.id)
            fresh = incoming_mails.get_arrival(connection, row.id)
            if fresh is None:
                return
            partner = self._site.partners.by_address(fresh.from_address) if fresh.from_address else None
            if fresh.kind == "" and partner is None and _shared(fresh):
                # nothing says that it is for us: it stays where it is, like any letter (DESIGN 12)
                self._leave(connection, row, reason, now)
                return
            wanted = partner is not None and machine.receipt_allowed(
                machine.Kind.DATA,
                asked=bool(fresh.receipt_to) and bool(fresh.message_id),
                address_of_partner=fresh.receipt_to.lower() == partner.address,
                automatic=fresh.envelope_from == "",
            )
            incoming_mails.update_arrival(connection, row.id, detail=detail)
            events: list[machine.IncomingEvent] = []
            stranger = reason is UNKNOWN_SENDER and not fresh.set_id
            if fresh.kind in {MailKind.SEALED.value, MailKind.CLEAR.value, ""} and not stranger:
                events.append(machine.Recognised(machine.Kind.DATA, wanted))
            else:
                # kept here for a replay; whether the one in the mailbox is ours is not known
                mailbox_entries.set_entry_of_arrival(connection, row.id, "foreign")
            events.append(machine.Failed(reason, passing=reason in PASSING))
            apply_incoming(self._site, connection, row.id, events, now)
        self._site.bells.receipts.ring()


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
    if report or _automatic(row, headers):
        return ""
    return first_address(headers, names.DISPOSITION_NOTIFICATION_TO)


def _rest(judged: Judged) -> str:
    """Say what of a mail stays in quarantine; nothing if all could be opened."""
    if not judged.unopened:
        return ""
    count, detail = len(judged.unopened), judged.unopened[0][1]
    return f"{count} sealed part(s) could not be opened, the others are imported" + (
        f": {detail}" if detail else ""
    )


def _automatic(row: ArrivalRow, headers: Headers) -> bool:
    """Tell whether a mail was made by a machine in answer to another (RFC 3834 5, RFC 5321 4.5.5)."""
    value = (headers.get("Auto-Submitted") or "no").split(";")[0].strip().lower()
    null = row.envelope_from == "" or (headers.get("Return-Path") or "").strip() == "<>"
    return null or value != "no"


def _moment(date: datetime | None) -> float | None:
    """Return what a Date field says, if it can be a date of a mail at all."""
    return date.timestamp() if date is not None and EPOCH_YEAR < date.year < FAR_YEAR else None


def _shared(row: ArrivalRow) -> bool:
    """Tell whether a mail was fetched from a mailbox, which others may read too."""
    return row.source.partition(":")[0] in {"imap", "pop3"}
