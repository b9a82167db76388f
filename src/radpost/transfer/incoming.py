"""One arriving mail: from the mail server to import and receipt (DESIGN 4, invariants 1, 2, 5, 9).

``fetched`` is entered when the mail is durable here; only then may it be deleted from the server. The receipt
is owed from the commit of the import (or of the quarantine) on, in the same row, so that neither a receipt
can precede its import nor a crash can lose one. Every arrival that asks for a receipt gets one, also when
its objects were there before.

State, events and actions stand in ``incoming_state`` and are meant to be imported from here.
"""

from dataclasses import replace

from radpost.errors import (
    INCOMPLETE_FRAGMENTS,
    MIME_MALFORMED,
    NO_SECRET_KEY,
    NOT_OURS,
    OPENPGP_MALFORMED,
    PARTIAL_INCONSISTENT,
    PASSWORD_ENCRYPTED,
    SIGNATURE_BAD,
    SIGNATURE_REQUIRED,
    TAMPERED,
    TRUNCATED,
    UNENCRYPTED,
    Reason,
)
from radpost.transfer.actions import Remark, TimerDue, switch_alarm
from radpost.transfer.incoming_state import (
    ALLOWED,
    ENDED,
    AwaitFragments,
    DeleteFromServer,
    Drop,
    EndQuarantine,
    Failed,
    HandleReport,
    Import,
    Imported,
    IncomingAction,
    IncomingEvent,
    IncomingMail,
    IncomingPolicy,
    Joined,
    KeepQuarantined,
    Kind,
    Open,
    Opened,
    Phase,
    ReceiptFailed,
    ReceiptSent,
    Recognised,
    Replay,
    SendReceipt,
    Step,
)
from radpost.transfer.receipt import Disposition, disposition_for

__all__ = [
    "ALLOWED",
    "ENDED",
    "RESEND_HELPS",
    "AwaitFragments",
    "DeleteFromServer",
    "Drop",
    "EndQuarantine",
    "Failed",
    "HandleReport",
    "Import",
    "Imported",
    "IncomingAction",
    "IncomingEvent",
    "IncomingMail",
    "IncomingPolicy",
    "Joined",
    "KeepQuarantined",
    "Kind",
    "Open",
    "Opened",
    "Phase",
    "ReceiptFailed",
    "ReceiptSent",
    "Recognised",
    "Replay",
    "SendReceipt",
    "decide",
    "receipt_allowed",
]

RESEND_HELPS: frozenset[Reason] = frozenset(
    {
        MIME_MALFORMED,
        INCOMPLETE_FRAGMENTS,
        PARTIAL_INCONSISTENT,
        UNENCRYPTED,
        NO_SECRET_KEY,
        TAMPERED,
        TRUNCATED,
        SIGNATURE_REQUIRED,
        SIGNATURE_BAD,
        PASSWORD_ENCRYPTED,
        OPENPGP_MALFORMED,
    }
)
"""Failures on the way or at the sealing, which sealing and sending again can mend: ``deleted/error``.

All others lie in the objects or in an agreement of people; the same mail again would fail again."""


def receipt_allowed(
    kind: Kind, *, asked: bool, address_of_partner: bool, automatic: bool, answered: bool = False
) -> bool:
    """Say whether a receipt may be sent (invariant 9; RFC 8098 2.1; RFC 3834 2).

    ``address_of_partner``: the address to answer belongs to the partner the mail is from; ``automatic``: null
    return path or an Auto-Submitted other than "no"; ``answered``: this very Message-ID got its receipt.
    """
    return kind is Kind.DATA and asked and address_of_partner and not automatic and not answered


def decide(
    mail: IncomingMail, event: IncomingEvent, now: float, policy: IncomingPolicy, jitter: float = 0.5
) -> Step:
    """Return the mail after the event and what is to be recorded and done."""
    match event:
        case Recognised():
            step = _recognised(mail, event)
        case Joined() if mail.phase is Phase.FRAGMENT:
            ended = (EndQuarantine(),) if mail.quarantined else ()
            after = replace(mail, phase=Phase.JOINED, quarantined=False, reason=None, alarm=None)
            step = after, (*switch_alarm(mail.alarm, None), *ended)
        case Opened(wanted) if mail.phase is Phase.FETCHED:
            step = replace(mail, phase=Phase.OPENED, wanted=wanted, tries=0), (Import(),)
        case Imported() if mail.phase in {Phase.FETCHED, Phase.OPENED}:
            step = _imported(mail, event, policy)
        case Failed() if mail.phase in {Phase.FETCHED, Phase.FRAGMENT, Phase.OPENED}:
            step = _failed(mail, event, now, policy, jitter)
        case ReceiptSent() | ReceiptFailed() if mail.phase is Phase.RECEIPT_OWED:
            step = _receipt_done(mail, event)
        case Replay():
            step = _replay(mail, now)
        case Drop() if mail.phase is Phase.QUARANTINED:
            after = replace(mail, phase=Phase.DROPPED, quarantined=False, alarm=None)
            step = after, (*switch_alarm(mail.alarm, None), EndQuarantine())
        case TimerDue():
            step = mail, ()
        case _:
            step = mail, (Remark("event-out-of-time"),)
    return step


def _recognised(mail: IncomingMail, event: Recognised) -> Step:
    if mail.phase is not Phase.FETCHED:
        return mail, (Remark("event-out-of-time"),)
    match event.kind:
        case Kind.DATA:
            return replace(mail, wanted=event.wanted), (DeleteFromServer(), Open())
        case Kind.FRAGMENT:
            return replace(mail, phase=Phase.FRAGMENT, wanted=event.wanted), (
                DeleteFromServer(),
                AwaitFragments(),
            )
        case Kind.RECEIPT | Kind.BOUNCE:
            # Done only with the mails it speaks of, in one transaction: see HandleReport.
            ended = (EndQuarantine(),) if mail.quarantined else ()
            after = replace(mail, phase=Phase.DONE, wanted=False, quarantined=False, reason=None, alarm=None)
            return after, (*switch_alarm(mail.alarm, None), *ended, HandleReport(), DeleteFromServer())
        case Kind.FOREIGN:
            return _foreign(mail, event)


def _foreign(mail: IncomingMail, event: Recognised) -> Step:
    """Leave a mail that is not ours where it is, or keep it whole if it is nowhere else (DESIGN 12).

    One that failed before may have been taken for ours and be gone from its mailbox.
    """
    if not (event.only_copy or mail.quarantined or mail.tries):
        return replace(mail, phase=Phase.IGNORED), ()
    kept = replace(
        mail, phase=Phase.QUARANTINED, wanted=False, quarantined=True, reason=NOT_OURS, tries=0, alarm=None
    )
    return kept, (*switch_alarm(mail.alarm, None), KeepQuarantined(NOT_OURS))


def _imported(mail: IncomingMail, event: Imported, policy: IncomingPolicy) -> Step:
    disposition = disposition_for(
        event.stored, event.quarantined, remarks=event.remarks, resend_can_help=event.resend_helps
    )
    if event.quarantined and event.reason is not None:
        # the mail waits whole with the reason of the rest, for replay or drop
        partly = replace(mail, quarantined=True, reason=event.reason, tries=0, alarm=event.reason)
        after, receipt = _owe(partly, disposition, policy, otherwise=Phase.QUARANTINED)
        return after, (*switch_alarm(mail.alarm, event.reason), KeepQuarantined(event.reason), *receipt)
    ended = (EndQuarantine(),) if mail.quarantined else ()
    imported = replace(mail, quarantined=False, reason=event.reason, tries=0, alarm=None)
    after, receipt = _owe(imported, disposition, policy, otherwise=Phase.DONE)
    return after, (*switch_alarm(mail.alarm, None), *ended, *receipt)


def _owe(
    mail: IncomingMail, disposition: Disposition, policy: IncomingPolicy, otherwise: Phase
) -> tuple[IncomingMail, tuple[IncomingAction, ...]]:
    """Owe a receipt if one is wanted and says anything new."""
    correction = mail.sent is not None
    silent = not mail.wanted or (correction and (not policy.corrects or mail.sent is disposition))
    if silent:
        return replace(mail, phase=otherwise), ()
    after = replace(mail, phase=Phase.RECEIPT_OWED, disposition=disposition, not_before=0.0)
    return after, (SendReceipt(disposition, correction),)


def _failed(mail: IncomingMail, event: Failed, now: float, policy: IncomingPolicy, jitter: float) -> Step:
    tries = mail.tries + 1
    if event.passing and tries < policy.tries:
        alarm = event.reason if tries >= policy.alarm_after_tries else mail.alarm
        again = replace(
            mail,
            tries=tries,
            not_before=now + policy.backoff.delay(mail.tries, jitter),
            reason=event.reason,
            alarm=alarm,
        )
        return again, switch_alarm(mail.alarm, alarm)
    disposition = disposition_for(0, 1, resend_can_help=event.passing or event.reason in RESEND_HELPS)
    failed = replace(mail, quarantined=True, reason=event.reason, tries=0, alarm=event.reason)
    after, receipt = _owe(failed, disposition, policy, otherwise=Phase.QUARANTINED)
    return after, (*switch_alarm(mail.alarm, event.reason), KeepQuarantined(event.reason), *receipt)


def _receipt_done(mail: IncomingMail, event: ReceiptSent | ReceiptFailed) -> Step:
    phase = Phase.QUARANTINED if mail.quarantined else Phase.DONE
    if isinstance(event, ReceiptSent):
        return replace(mail, phase=phase, sent=mail.disposition), ()
    alarm = mail.alarm or event.reason
    after = replace(mail, phase=phase, reason=event.reason, alarm=alarm)
    return after, switch_alarm(mail.alarm, alarm)


def _replay(mail: IncomingMail, now: float) -> Step:
    """Begin again at ``fetched``; the quarantine row stays until the import has replaced it."""
    if mail.phase not in {Phase.QUARANTINED, Phase.DONE, Phase.IGNORED, Phase.RECEIPT_OWED}:
        return mail, (Remark("event-out-of-time"),)
    after = replace(mail, phase=Phase.FETCHED, replays=mail.replays + 1, tries=0, not_before=now)
    return after, (Open(),)
