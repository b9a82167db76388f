"""What happens to outgoing mails: feeds events to the pure machines and writes what they decide.

Every function here runs inside one write transaction of the caller. State, the intent of each action, the
timeline and the alarms are committed together (DESIGN 4); work follows from the committed state.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from radpost.errors import RadpostError
from radpost.gateway import machines
from radpost.gateway.alarms import About, write_records
from radpost.gateway.partners import Partner
from radpost.gateway.site import Site
from radpost.mime.folding import message_id as make_message_id
from radpost.store import (
    journal,
    objects,
    outgoing_mails,
    outgoing_submissions,
    outgoing_transmissions,
    outgoing_windows,
)
from radpost.transfer import outgoing as mail_machine
from radpost.transfer import submission as submission_machine
from radpost.transfer import transmission as transmission_machine
from radpost.transfer import window as window_machine
from radpost.transfer.actions import Alarm, Command, EndAlarm, Operator, Remark
from radpost.transfer.outgoing import OutgoingMail, OutgoingPolicy, Phase

WORK_SEAL = "seal"
WORK_CUT = "cut"
WORK_RECUT_REST = "recut-rest"
WORK_RECUT_SINGLY = "recut-singly"

_SPENT: Final = frozenset(
    {
        submission_machine.Phase.ACCEPTED,
        submission_machine.Phase.REFUSED,
        submission_machine.Phase.WITHDRAWN,
    }
)


@dataclass(frozen=True, slots=True)
class Outbox:
    """The outgoing machines of one site, bound to its store."""

    site: Site

    def policy(self, partner: Partner | None) -> OutgoingPolicy:
        """Return what a partner's switches say about its mails."""
        limits = self.site.config.limits
        if partner is None:
            return OutgoingPolicy(
                max_resends=limits.max_resends, receipt_within=limits.receipt_overdue_seconds
            )
        switches = partner.switches
        return OutgoingPolicy(
            max_resends=limits.max_resends,
            receipts=switches.receipt,
            receipt_within=limits.receipt_overdue_seconds,
            unsigned_closes=switches.trust_unsigned_receipts,
            partial=switches.partial,
            radpost=switches.receipts_per_object,
        )

    def mail_event(
        self,
        connection: Connection,
        mail: int | outgoing_mails.MailRow,
        event: mail_machine.OutgoingEvent,
        now: float,
        **also: object,
    ) -> OutgoingMail:
        """Feed one event to a mail, by its number or as read in this transaction; return its new state.

        ``also`` is what else is stored in its row.
        """
        row = outgoing_mails.get_mail(connection, mail) if isinstance(mail, int) else mail
        before = machines.load(OutgoingMail, row.machine)
        partner = self._partner(row.partner)
        policy = self.policy(partner)
        after, actions = mail_machine.decide(before, event, now, policy, self.site.random())
        self._store_mail(connection, row, before, after, actions, now, also)
        for action in actions:
            self._mail_action(connection, row, action, now)
        moved = transmission_machine.moved(before, after)
        if moved is not None:
            self.transmission_event(connection, row.transmission_id, moved, now)
        return after

    def transmission_event(
        self,
        connection: Connection,
        transmission_id: str,
        event: transmission_machine.TransmissionEvent,
        now: float,
    ) -> None:
        """Feed one event to a transmission."""
        row = outgoing_transmissions.get_transmission(connection, transmission_id)
        assert row is not None, "mails are removed only with their transmission"
        before = machines.load(transmission_machine.Transmission, row.machine)
        policy = transmission_machine.TransmissionPolicy()
        after, actions = transmission_machine.decide(before, event, now, policy)
        values: dict[str, object] = {"machine": machines.dump(after), "due_at": after.due}
        if after.state.value != row.state:
            values["state"] = after.state.value
            values["ended_at"] = now if after.state in transmission_machine.ENDED else None
        if after.priority is not before.priority:
            values["priority"] = after.priority.value
        outgoing_transmissions.update_transmission(connection, transmission_id, **values)
        for action in actions:
            match action:
                case Alarm() | EndAlarm() | Remark():
                    about = About(transmission_id=transmission_id)
                    write_records(connection, [action], f"transmission {transmission_id}", now, about)
                case transmission_machine.OrderMails(command):
                    self._order_mails(connection, transmission_id, command, now)
                case transmission_machine.Ended(state):
                    journal.note(connection, f"ended: {state.value}", now, transmission_id=transmission_id)

    def submission_event(
        self,
        connection: Connection,
        row: outgoing_submissions.SubmissionRow,
        event: submission_machine.SubmissionEvent,
        now: float,
        *,
        reply: str | None = None,
    ) -> submission_machine.Submission:
        """Feed one event to a message of the outbox."""
        before = machines.load(submission_machine.Submission, row.machine)
        policy = submission_machine.SubmissionPolicy()
        after, records = submission_machine.decide(before, event, now, policy, self.site.random())
        values: dict[str, object] = {
            "machine": machines.dump(after),
            "state": after.phase.value,
            "due_at": after.due,
            "attempts": after.tries,
        }
        if reply is not None:
            values["reply"] = reply
        if after.phase is submission_machine.Phase.ACCEPTED:
            values["done_at"] = now
        outgoing_submissions.update_submission(connection, row.id, **values)
        subject = f"submission to {row.partner}"
        for record in records:
            if isinstance(record, EndAlarm) and outgoing_submissions.others_stuck(
                connection, row.partner, record.reason.code, but=row.id
            ):
                continue  # another message to this partner stands under the same alarm
            write_records(connection, [record], subject, now)
        if after.phase in _SPENT:
            # The bytes are needed no longer once no live message carries them; the collector looks again.
            objects.release_blob(connection, row.sha256, now)
        return after

    def window(self, connection: Connection, partner: Partner, now: float) -> window_machine.Window:
        """Return a partner's window of credits."""
        text = outgoing_windows.get_window(connection, partner.name)
        if text is None:
            return window_machine.opened(self.window_policy(partner), now)
        return machines.load(window_machine.Window, text)

    def window_policy(self, partner: Partner | None) -> window_machine.WindowPolicy:
        """Return the bounds of a partner's window; a partner without receipts gets a rate."""
        if partner is not None and not partner.switches.receipt:
            return window_machine.WindowPolicy(rate=5_000_000.0)
        return window_machine.WindowPolicy()

    def _window_event(
        self, connection: Connection, partner: str, event: window_machine.WindowEvent, now: float
    ) -> None:
        found = self._partner(partner)
        if found is None:
            return
        before = self.window(connection, found, now)
        after, _ = window_machine.decide(before, event, now, self.window_policy(found))
        outgoing_windows.put_window(connection, partner, machines.dump(after))

    def _store_mail(
        self,
        connection: Connection,
        row: outgoing_mails.MailRow,
        before: OutgoingMail,
        after: OutgoingMail,
        actions: Sequence[mail_machine.OutgoingAction],
        now: float,
        also: Mapping[str, object],
    ) -> None:
        values: dict[str, object] = {
            **also,
            "machine": machines.dump(after),
            "state": after.phase.value,
            "due_at": after.due,
            "work": self._work(after, actions, row.work),
            "code": after.reason.code if after.reason else None,
        }
        if values["work"] is not None and values["due_at"] is None:
            values["due_at"] = now
        if after.phase is Phase.ON_SERVER and before.phase is not Phase.ON_SERVER:
            values["on_server_at"] = now
        if after.phase is Phase.UNREPORTED and before.phase is not Phase.UNREPORTED:
            values["on_server_at"] = now
        if after.phase is not before.phase:
            journal.note(
                connection,
                after.phase.value,
                now,
                transmission_id=row.transmission_id,
                mail_id=row.id,
                code=after.reason.code if after.reason else None,
            )
        outgoing_mails.update_mail(connection, row.id, **values)

    @staticmethod
    def _work(
        after: OutgoingMail, actions: Sequence[mail_machine.OutgoingAction], before: str | None
    ) -> str | None:
        for action in actions:
            if isinstance(action, mail_machine.Recut):
                return WORK_RECUT_SINGLY if action.one_object_per_mail else WORK_RECUT_REST
        if before in {WORK_RECUT_SINGLY, WORK_RECUT_REST} and after.phase is Phase.SUPERSEDED:
            return before
        if after.held:
            return None
        if after.phase is Phase.PLANNED:
            return WORK_SEAL
        if after.phase is Phase.SEALED and after.pieces == 0:
            return WORK_CUT
        return None

    def _mail_action(
        self,
        connection: Connection,
        row: outgoing_mails.MailRow,
        action: mail_machine.OutgoingAction,
        now: float,
    ) -> None:
        match action:
            case Alarm() | EndAlarm() | Remark():
                about = About(transmission_id=row.transmission_id, mail_id=row.id)
                if isinstance(action, EndAlarm) and self._others_alarmed(connection, row, action):
                    return
                write_records(connection, [action], f"transmission {row.transmission_id}", now, about)
            case mail_machine.WithdrawMessages():
                self._tell_messages(connection, row.id, submission_machine.Withdraw(), now)
            case mail_machine.SuspendMessages():
                self._tell_messages(connection, row.id, submission_machine.Suspend(), now)
            case mail_machine.ResumeMessages():
                self._tell_messages(connection, row.id, submission_machine.Resume(), now)
            case mail_machine.RepeatMessage():
                self._repeat(connection, row, now)
            case (
                window_machine.Charged()
                | window_machine.Credited()
                | window_machine.Stalled()
                | window_machine.Overflowed()
            ):
                self._window_event(connection, row.partner, action, now)
            case mail_machine.Seal() | mail_machine.Submit() | mail_machine.Cut() | mail_machine.Recut():
                pass  # work that follows from the committed state; the bells ring after the commit

    @staticmethod
    def _others_alarmed(connection: Connection, row: outgoing_mails.MailRow, ended: EndAlarm) -> bool:
        """Tell whether another mail of the transmission stands under the same alarm."""
        return outgoing_mails.others_alarmed(connection, row.transmission_id, ended.reason.code, but=row.id)

    def _tell_messages(
        self, connection: Connection, mail_id: int, event: submission_machine.SubmissionEvent, now: float
    ) -> None:
        for submission in outgoing_submissions.live_submissions(connection, mail_id):
            self.submission_event(connection, submission, event, now)

    def _repeat(self, connection: Connection, row: outgoing_mails.MailRow, now: float) -> None:
        """Send again the one fragment that came back, under a new Message-ID of its own."""
        bounced = [
            item
            for item in outgoing_submissions.submissions_of(connection, row.id)
            if item.reply == "bounced"
        ]
        for item in bounced[-1:]:
            message_id = self.new_message_id()
            head = (item.head or b"").replace(item.message_id.encode(), message_id.encode())
            outgoing_submissions.update_submission(
                connection, item.id, message_id=message_id, envid=envid_of(message_id), head=head, reply=""
            )
            machine = machines.load(OutgoingMail, row.machine)
            outgoing_submissions.add_message(
                connection, message_id, row.id, row.partner, item.recipient, machine.generation, now
            )
            fresh = outgoing_submissions.get_submission(connection, item.id)
            assert fresh is not None
            self.submission_event(connection, fresh, submission_machine.CameBack(), now)

    def _order_mails(
        self, connection: Connection, transmission_id: str, command: Command, now: float
    ) -> None:
        for mail in outgoing_mails.mails_of(connection, transmission_id):
            self.mail_event(connection, mail.id, Operator(command), now)

    def new_message_id(self) -> str:
        """Return a Message-ID of 128 random bits under our own domain."""

        return make_message_id(secrets.token_bytes(16), self.site.domain)

    def _partner(self, name: str) -> Partner | None:
        try:
            return self.site.partners.by_name(name)
        except RadpostError:
            return None


def envid_of(message_id: str) -> str:
    """Return the ENVID of a message: its Message-ID's token, without our domain (RFC 3461 4.4)."""
    return message_id.strip("<>").partition("@")[0]
