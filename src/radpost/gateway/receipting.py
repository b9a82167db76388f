"""Receipts: those we owe are written after the commit of the import; those that come are believed with care.

A report counts only if it names a Message-ID of ours whose recipient was the partner that reports
(DESIGN 4 "Receipts"); a forged one changes nothing.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, cast

from sqlalchemy import Connection

from radpost.agit import receipts as letters
from radpost.errors import BOUNCED, INTERNAL, TABLE, RadpostError, Reason
from radpost.gateway import machines
from radpost.gateway.arrivals import apply_incoming
from radpost.gateway.cutting import route_of
from radpost.gateway.outbox import Outbox, envid_of
from radpost.gateway.partners import Partner
from radpost.gateway.site import Site
from radpost.mime.folding import boundary
from radpost.mime.report import BounceClass, Dsn, Mdn
from radpost.openpgp.values import Compression
from radpost.store import (
    incoming_mails,
    incoming_receipts,
    journal,
    objects,
    outgoing_mails,
    outgoing_submissions,
)
from radpost.store.spool import Stored
from radpost.transfer import incoming as incoming_machine
from radpost.transfer import outgoing as mail_machine
from radpost.transfer import submission as submission_machine
from radpost.transfer.outgoing import OutgoingMail
from radpost.transfer.receipt import Outcome, evidence_of, interpret, truths_of
from radpost.transfer.submission import Reply
from radpost.words import Priority

RETRY_SECONDS: Final = 60.0
PATIENCE_SECONDS: Final = 2.0
"""While mails wait to be opened, receipts wait so long: then many are written with one commit."""
UNSIGNED: Final = " (unsigned)"
_FINAL: Final = frozenset({Reply.REFUSED, Reply.TOO_LARGE, Reply.ADDRESS_UNKNOWN})
_BOUNCES: Final = {
    BounceClass.MAILBOX_FULL: mail_machine.Bounce.MAILBOX_FULL,
    BounceClass.TOO_LARGE: mail_machine.Bounce.TOO_LARGE,
    BounceClass.UNKNOWN_ADDRESS: mail_machine.Bounce.ADDRESS_UNKNOWN,
    BounceClass.POLICY: mail_machine.Bounce.POLICY,
    BounceClass.DELAYED: mail_machine.Bounce.DELAYED,
    BounceClass.OTHER: mail_machine.Bounce.OTHER,
}


@dataclass(frozen=True, slots=True)
class Reported:
    """A receipt that arrived, and how much it can be believed."""

    mdn: Mdn
    details: letters.Details | None
    partner: Partner
    signed: bool


@dataclass(frozen=True, slots=True)
class _Written:
    """A receipt in a file that is not durable yet."""

    row: incoming_receipts.ReceiptRow
    partner: Partner
    message_id: str
    path: Path
    stored: Stored


class Receipts:
    """Writes our receipts and applies those of partners."""

    def __init__(self, site: Site, outbox: Outbox) -> None:
        self._site = site
        self._outbox = outbox

    # --- ours -------------------------------------------------------------------------------------------

    def write_due(self) -> int:
        """Write the receipts that are owed into the outbox; return how many."""
        now = self._site.clock()
        with self._site.database.read() as connection:
            oldest = incoming_receipts.due_receipts(connection, now, 1)
            if not oldest:
                return 0
            young = now - oldest[0].created_at < PATIENCE_SECONDS
            if young and incoming_mails.data_waits(connection, now):
                return 0  # the bell rings when the next mail is processed
            rows = incoming_receipts.due_receipts(connection, now, 50)
        written = []
        for row in rows:
            try:
                written.append(self._write(row))
            except RadpostError as error:
                self._postpone(row, error.reason)
            except Exception:
                self._site.log.exception("receipt not written", receipt=row.id)
                self._postpone(row, INTERNAL)
        try:
            self._commit(written)
        except RadpostError as error:
            for one in written:
                self._postpone(one.row, error.reason)
        if rows:
            self._site.bells.submit.ring()
        return len(rows)

    def submitted(
        self,
        connection: Connection,
        row: outgoing_submissions.SubmissionRow,
        reply: Reply,
        reason: Reason | None,
        now: float,
        *,
        named: bool = False,
    ) -> None:
        """Tell the arrival that its receipt is on the mail server, or never will be.

        ``named``: the server took it under our address only, not under the null sender (invariant 9).
        """
        if row.receipt_id is None or (reply is not Reply.ACCEPTED and reply not in _FINAL):
            return
        sent = reply is Reply.ACCEPTED
        incoming_receipts.update_receipt(
            connection, row.receipt_id, state="sent" if sent else "failed", sent_at=now if sent else None
        )
        event: incoming_machine.IncomingEvent = incoming_machine.ReceiptSent()
        if not sent:
            event = incoming_machine.ReceiptFailed(reason or INTERNAL)
        arrival_id = incoming_receipts.receipt_arrival(connection, row.receipt_id)
        if named:
            journal.note(connection, "receipt sent under our address", now, arrival_id=arrival_id)
        apply_incoming(self._site, connection, arrival_id, [event], now)

    def _write(self, row: incoming_receipts.ReceiptRow) -> _Written:
        partner = self._site.partners.by_name(row.partner)
        mail = self._mail(row, partner)
        seals = mail.request is not None or partner.switches.receipt_signed
        path, stored = self._sealed(mail, partner) if seals else self._clear(mail)
        return _Written(row, partner, mail.message_id, path, stored)

    def _commit(self, written: Sequence[_Written]) -> None:
        """Make receipts durable and put them into the outbox."""
        if not written:
            return
        self._site.spool.adopt([(one.path, one.stored) for one in written])
        now = self._site.clock()
        fresh = submission_machine.Submission(not_before=now)
        with self._site.database.write() as connection:
            for one in written:
                objects.put_blob(connection, self._site.spool, one.stored, now)
                incoming_receipts.update_receipt(connection, one.row.id, state="written")
            outgoing_submissions.add_submissions(
                connection,
                [
                    {
                        "kind": "receipt",
                        "mail_id": None,
                        "receipt_id": one.row.id,
                        "partner": one.partner.name,
                        "route": route_of(one.partner),
                        "message_id": one.message_id,
                        "envid": envid_of(one.message_id),
                        "envelope_from": "",
                        "recipient": one.row.recipient,
                        "piece": 1,
                        "pieces": 1,
                        "head": None,
                        "sha256": one.stored.sha256,
                        "start": 0,
                        "end": one.stored.size,
                        "size": one.stored.size,
                        "generation": 0,
                        "state": fresh.phase.value,
                        "machine": machines.dump(fresh),
                        "priority": Priority.EMERGENCY.value,
                        "due_at": now,
                    }
                    for one in written
                ],
            )
            for name in {one.row.partner for one in written}:
                journal.end_alarm(connection, None, f"receipts to {name}", now)

    def _mail(self, row: incoming_receipts.ReceiptRow, partner: Partner) -> letters.ReceiptMail:
        with self._site.database.read() as connection:
            arrival = incoming_mails.get_arrival(connection, row.arrival_id)
            found = incoming_mails.reported_objects(connection, row.arrival_id)
        assert arrival is not None, "a receipt is removed with its arrival"
        inside = partner.switches.receipt_mechanism != "1"
        reason = TABLE.get(row.code) if row.code is not None else None
        failed = ";deleted" in row.disposition
        details = None
        if partner.switches.receipts_per_object and partner.switches.receipt_signed:
            details = letters.Details(
                original_message_id=row.original_message_id,
                set_id=arrival.set_id,
                part=arrival.set_part,
                objects=tuple(
                    letters.ObjectReport(
                        position=item.position,
                        sha256=item.sha256,
                        state=item.state,
                        sop_instance_uid=item.sop_instance_uid,
                        code=item.code,
                    )
                    for item in found
                ),
            )
        good = ("All objects were stored.", "Alle Objekte wurden gespeichert.")
        return letters.ReceiptMail(
            sender=self._site.address,
            recipient=row.recipient,
            date=datetime.fromtimestamp(self._site.clock(), UTC).replace(microsecond=0),
            message_id=self._outbox.new_message_id(),
            original_message_id=row.original_message_id,
            disposition=row.disposition,
            reason_en=reason.en if reason else good[0],
            reason_de=reason.de if reason else good[1],
            failed=failed,
            code=f"{reason.code} {reason.name}" if reason else "",
            boundaries=(_boundary(), _boundary(), _boundary()),
            details=details,
            request=letters.read_request(arrival.receipt_request) if inside else None,
        )

    def _clear(self, mail: letters.ReceiptMail) -> tuple[Path, Stored]:
        with self._site.spool.writer() as writer:
            writer.write(letters.clear_mail(mail))
            return writer.finish()

    def _sealed(self, mail: letters.ReceiptMail, partner: Partner) -> tuple[Path, Stored]:
        key_id = mail.request.key_id if mail.request is not None else ""
        ring = self._site.keys.ring()
        envelope = letters.sealed_envelope(mail)
        with self._site.spool.writer() as writer:
            writer.write(envelope.head)
            ring.engine.seal(
                letters.sealed_inner(mail),
                cast("BinaryIO", writer),
                recipients=[ring.recipient(partner.name, key_id)],
                signer=ring.signer(),
                compress=Compression.ZIP,
            )
            writer.write(envelope.tail)
            return writer.finish()

    def _postpone(self, row: incoming_receipts.ReceiptRow, reason: Reason) -> None:
        now = self._site.clock()
        with self._site.database.write() as connection:
            incoming_receipts.update_receipt(
                connection, row.id, due_at=now + RETRY_SECONDS, attempts=row.attempts + 1
            )
            if journal.raise_alarm(connection, reason.code, f"receipts to {row.partner}", "", now):
                self._site.log.warning("receipt not written", code=reason.code, name=reason.name)

    # --- theirs -----------------------------------------------------------------------------------------

    def apply_receipt(self, connection: Connection, reported: Reported, now: float) -> bool:
        """Feed a receipt to the mail it names; return False if it names none of ours."""
        message_id = reported.mdn.original_message_id
        found = outgoing_submissions.find_message(connection, message_id) if message_id else None
        if found is None:
            return False
        matched = found.partner == reported.partner.name
        disposition = reported.mdn.disposition
        try:
            outcome = interpret(disposition.type, disposition.modifiers)
        except KeyError:
            return False
        event = mail_machine.ReceiptArrived(
            generation=found.generation, outcome=outcome, signed=reported.signed, matched=matched
        )
        row = outgoing_mails.get_mail(connection, found.mail_id)
        before = machines.load(OutgoingMail, row.machine)
        after = self._outbox.mail_event(connection, row, event, now)
        if matched and _is_news(outcome, found.generation, before, after):
            said = str(disposition) + ("" if reported.signed else UNSIGNED)
            if reported.signed or before.phase is not mail_machine.Phase.CONFIRMED:
                outgoing_mails.update_mail(connection, found.mail_id, reported_at=now, disposition=said)
            if reported.signed or reported.partner.switches.trust_unsigned_receipts:
                self._truths(connection, found.mail_id, outcome, reported, now)
        return True

    def apply_bounce(self, connection: Connection, dsn: Dsn, now: float) -> bool:
        """Feed a bounce to the mail it returns; return False if it names none of ours."""
        ids = [item for item in (dsn.original_message_id, *dsn.message_ids) if item]
        found = next(
            (hit for item in ids if (hit := outgoing_submissions.find_message(connection, item))), None
        )
        if found is None and dsn.envid:
            found = outgoing_submissions.find_envid(connection, dsn.envid)
        if found is None:
            return self._receipt_came_back(connection, ids, dsn, now)
        if dsn.is_success:
            return True  # where it went on to is no news: what counts is the partner's receipt
        names = (name for item in dsn.recipients for name in (item.address, item.original_recipient))
        named = {name.lower() for name in names if name}
        if dsn.rfc3464 and named and found.recipient.lower() not in named:
            return False
        for row in outgoing_submissions.submissions_of(connection, found.mail_id):
            if row.message_id == found.message_id:
                outgoing_submissions.update_submission(connection, row.id, reply="bounced")
        kind = _BOUNCES[dsn.kind]
        if kind is mail_machine.Bounce.MAILBOX_FULL and self._fragment_is_gone(connection, found):
            kind = mail_machine.Bounce.OTHER  # there is nothing left to repeat: a person orders it anew
        event = mail_machine.Bounced(found.generation, kind)
        self._outbox.mail_event(connection, found.mail_id, event, now)
        return True

    @staticmethod
    def _receipt_came_back(connection: Connection, ids: list[str], dsn: Dsn, now: float) -> bool:
        """Note that a partner did not get our receipt; return False if it names none of ours."""
        for message_id in ids:
            row = outgoing_submissions.receipt_named(connection, message_id)
            if row is None or row.receipt_id is None:
                continue
            if dsn.kind is not BounceClass.DELAYED:
                incoming_receipts.update_receipt(connection, row.receipt_id, state="failed")
                arrival_id = incoming_receipts.receipt_arrival(connection, row.receipt_id)
                journal.note(connection, "receipt came back", now, arrival_id=arrival_id, code=BOUNCED.code)
                journal.raise_alarm(connection, BOUNCED.code, f"receipts to {row.partner}", "", now)
            return True
        return False

    @staticmethod
    def _fragment_is_gone(connection: Connection, found: outgoing_submissions.MessageRow) -> bool:
        """Tell whether a message was a fragment whose sealed bytes have been collected."""
        rows = outgoing_submissions.submissions_of(connection, found.mail_id)
        piece = next((row for row in rows if row.message_id == found.message_id and row.pieces > 1), None)
        return piece is not None and not objects.has_blob(connection, piece.sha256)

    def _truths(
        self, connection: Connection, mail_id: int, outcome: Outcome, reported: Reported, now: float
    ) -> None:
        """Write what the report says of each object; a list per object is believed if it is signed."""
        rows = outgoing_mails.objects_of_mail(connection, mail_id)
        evidence = evidence_of(outcome, objects=len(rows))
        common = {truth.value: answer.value for truth, answer in truths_of(evidence).items()}
        listed = {}
        details = reported.details
        about = reported.mdn.original_message_id
        if details is not None and reported.signed and details.original_message_id == about:
            listed = {item.sha256: item for item in details.objects}
        for row in rows:
            if not reported.signed and json.loads(row.truths or "{}").get("signed"):
                continue  # anybody can write an unsigned report
            truths: dict[str, object] = dict(common)
            item = listed.get(row.file_sha256)
            if item is not None:
                # of an object that was not stored only this is certain: it was fetched, and it is not there
                stored = item.state in {"imported", "present"}
                truths.update(fetched="yes", imported="yes" if stored else "no")
                if stored:
                    truths.update(decrypted="yes", verified="yes")
                truths["code"] = item.code
            truths["at"] = now
            truths["evidence"] = evidence.value
            truths["signed"] = reported.signed
            outgoing_mails.set_truths(connection, mail_id, row.position, json.dumps(truths))


def _is_news(outcome: Outcome, generation: int, before: OutgoingMail, after: OutgoingMail) -> bool:
    """Tell whether a report says something of the mail as it is: a success does, a late failure does not."""
    if outcome in {Outcome.DONE, Outcome.WARNING}:
        return True
    return generation == before.generation and after.phase not in mail_machine.CONFIRMED


def _boundary() -> str:
    return boundary(secrets.token_bytes(16))
