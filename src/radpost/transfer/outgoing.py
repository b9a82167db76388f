"""The machine of one outgoing mail: sealing, submission, and what an operator orders (DESIGN 4).

State, events and actions stand in ``outgoing_state`` and are meant to be imported from here; what receipts
and bounces do stands in ``outgoing_reports``.
"""

from dataclasses import replace

from radpost.errors import ADDRESS_UNKNOWN, MAIL_REFUSED, MAILBOX_FULL, UNSIGNED_REFUSAL
from radpost.transfer.actions import Command, Operator, Remark, TimerDue, switch_alarm
from radpost.transfer.outgoing_reports import (
    alarmed,
    end,
    on_bounce,
    on_overdue,
    on_receipt,
    resend,
    too_large,
    uncharge,
)
from radpost.transfer.outgoing_state import (
    ALLOWED,
    CONFIRMED,
    ENDED,
    RESENDABLE,
    UNSENT,
    Bounce,
    Bounced,
    Cut,
    OutgoingAction,
    OutgoingEvent,
    OutgoingMail,
    OutgoingPolicy,
    Phase,
    ReceiptArrived,
    Recut,
    RepeatMessage,
    Replaced,
    ResumeMessages,
    Scope,
    Seal,
    Sealed,
    SealFailed,
    Started,
    Step,
    Submit,
    Submitted,
    SuspendMessages,
    WithdrawMessages,
)
from radpost.transfer.submission import Reply
from radpost.transfer.window import Charged, Overflowed

__all__ = [
    "ALLOWED",
    "CONFIRMED",
    "ENDED",
    "RESENDABLE",
    "UNSENT",
    "Bounce",
    "Bounced",
    "Cut",
    "OutgoingAction",
    "OutgoingEvent",
    "OutgoingMail",
    "OutgoingPolicy",
    "Phase",
    "ReceiptArrived",
    "Recut",
    "RepeatMessage",
    "Replaced",
    "ResumeMessages",
    "Scope",
    "Seal",
    "SealFailed",
    "Sealed",
    "Started",
    "Submit",
    "Submitted",
    "SuspendMessages",
    "WithdrawMessages",
    "decide",
]


_FINAL = {Reply.ADDRESS_UNKNOWN: ADDRESS_UNKNOWN, Reply.REFUSED: MAIL_REFUSED}


def decide(
    mail: OutgoingMail, event: OutgoingEvent, now: float, policy: OutgoingPolicy, jitter: float = 0.5
) -> Step:
    """Return the mail after the event and what is to be recorded and done.

    Any event is allowed in any state; what does not fit (any more) leaves at most a remark.
    """
    match event:
        case Sealed():
            step = _sealed(mail, event)
        case SealFailed():
            step = _seal_failed(mail, event, now, policy, jitter)
        case Started(generation):
            step = _started(mail, generation)
        case Submitted():
            step = _submitted(mail, event, now, policy)
        case Bounced():
            step = on_bounce(mail, event, now, policy, jitter)
        case ReceiptArrived():
            step = on_receipt(mail, event, now, policy, jitter)
        case TimerDue():
            step = on_overdue(mail, now, policy, jitter)
        case Replaced():
            step = _replaced(mail)
        case Operator(command):
            step = _operator(mail, command, now, policy)
    return step


def _sealed(mail: OutgoingMail, event: Sealed) -> Step:
    """Accept the bytes: of a planned generation, or of sealed bytes cut smaller."""
    recut = mail.phase is Phase.SEALED and mail.pieces == 0
    if mail.phase is not Phase.PLANNED and not recut:
        return mail, (Remark("sealed-in-vain"), WithdrawMessages())
    after = replace(mail, phase=Phase.SEALED, size=event.size, pieces=event.pieces, accepted=0, tries=0)
    work: tuple[OutgoingAction, ...] = (SuspendMessages(),) if mail.held else (Submit(mail.generation),)
    # A sealing fault is over; an alarm about the partner (overdue, mailbox full) is not.
    sealing_fault = mail.alarm is not None and mail.alarm is mail.reason and mail.tries > 0
    return alarmed(mail, after, None if sealing_fault else mail.alarm, *work)


def _seal_failed(
    mail: OutgoingMail, event: SealFailed, now: float, policy: OutgoingPolicy, jitter: float
) -> Step:
    if mail.phase is not Phase.PLANNED:
        return mail, (Remark("sealed-in-vain"),)
    if event.passing:
        tell = mail.tries + 1 >= policy.seal_tries
        at = now + policy.sealing.delay(mail.tries, jitter)
        after = replace(mail, tries=mail.tries + 1, not_before=at, reason=event.reason)
        return alarmed(mail, after, event.reason if tell else mail.alarm, Seal(mail.generation, at))
    return end(mail, Phase.FAILED, event.reason, event.reason)


def _started(mail: OutgoingMail, generation: int) -> Step:
    if generation != mail.generation or mail.phase not in {Phase.SEALED, Phase.SUBMITTING}:
        return mail, (Remark("submission-in-vain"),)
    after = replace(mail, phase=Phase.SUBMITTING, started=True, charged=mail.charged or mail.size)
    charge: tuple[OutgoingAction, ...] = () if mail.charged else (Charged(mail.size),)
    return after, charge


def _submitted(mail: OutgoingMail, event: Submitted, now: float, policy: OutgoingPolicy) -> Step:
    if event.generation != mail.generation or mail.phase is not Phase.SUBMITTING:
        return mail, (Remark("late-reply"),)
    if event.reply is Reply.ACCEPTED:
        return _accepted(mail, now, policy)
    if event.reply is Reply.TOO_LARGE:
        return too_large(mail, now, policy, sealed_bytes_usable=True)
    if event.reply in _FINAL:
        reason = event.reason or _FINAL[event.reply]
        return end(mail, Phase.FAILED, reason, reason)
    # The submission repeats by itself. After an uncertain end the mail may be on its way and keeps its
    # credit, as does one with fragments on the server.
    uncertain = event.reply is Reply.UNCERTAIN or mail.accepted > 0
    free, credit = (mail, ()) if uncertain else uncharge(mail)
    full = (Overflowed(),) if event.reply is Reply.MAILBOX_FULL else ()
    return free, (*credit, *full)


def _accepted(mail: OutgoingMail, now: float, policy: OutgoingPolicy) -> Step:
    accepted = min(mail.pieces, mail.accepted + 1)
    counted = replace(mail, accepted=accepted)
    if accepted < mail.pieces:
        return counted, ()
    alarm = mail.alarm
    if not policy.receipts:
        # Nothing will ever say that the mailbox has room again but that the server took the mail.
        alarm = None if alarm is MAILBOX_FULL else alarm
        free, credit = uncharge(counted)
        return alarmed(mail, replace(free, phase=Phase.UNREPORTED, reason=None), alarm, *credit)
    after = replace(counted, phase=Phase.ON_SERVER, receipt_due=now + policy.receipt_within, reason=None)
    return alarmed(mail, after, alarm)


def _replaced(mail: OutgoingMail) -> Step:
    if mail.phase in ENDED - {Phase.FAILED}:
        return mail, ()
    return end(mail, Phase.SUPERSEDED, mail.reason, None)


# --- the operator -------------------------------------------------------------------------------------------


def _operator(mail: OutgoingMail, command: Command, now: float, policy: OutgoingPolicy) -> Step:
    match command:
        case Command.RETRY:
            return _retry(mail, now)
        case Command.CANCEL:
            if mail.phase in ENDED - {Phase.FAILED}:
                return mail, (Remark("nothing-to-cancel"),)
            return end(replace(mail, held=False), Phase.CANCELLED, None, None)
        case Command.HOLD:
            if mail.held or mail.phase in ENDED:
                return mail, (Remark("nothing-to-hold"),)
            return replace(mail, held=True), (SuspendMessages(),)
        case Command.RELEASE:
            return _release(mail, now, policy)


def _retry(mail: OutgoingMail, now: float) -> Step:
    """Send again what is not confirmed; what was never seen outside keeps its Message-ID."""
    if mail.phase in RESENDABLE:
        fresh = replace(mail, resends=0, overdue_resends=0, bounces=0, cuts=0, held=False, reason=None)
        return resend(fresh, now, None)
    if mail.phase in UNSENT:
        after = replace(mail, held=False, tries=0, not_before=now)
        work: OutgoingAction = Seal(mail.generation, now) if mail.phase is Phase.PLANNED else ResumeMessages()
        keep = mail.alarm is not UNSIGNED_REFUSAL
        return alarmed(mail, after, mail.alarm if keep else None, work)
    return mail, (Remark("confirmed-is-not-resent"),)


def _release(mail: OutgoingMail, now: float, policy: OutgoingPolicy) -> Step:
    if not mail.held:
        return mail, (Remark("not-held"),)
    contested = mail.alarm is UNSIGNED_REFUSAL
    after = replace(mail, held=False, reason=None if contested else mail.reason)
    if mail.phase is Phase.ON_SERVER and mail.receipt_due is None:
        after = replace(after, receipt_due=now + policy.receipt_within)
    records = switch_alarm(mail.alarm, None) if contested else ()
    work: OutgoingAction = (
        Seal(mail.generation, mail.not_before) if mail.phase is Phase.PLANNED else ResumeMessages()
    )
    return replace(after, alarm=None if contested else mail.alarm), (*records, work)
