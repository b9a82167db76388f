"""What receipts, bounces and overdue receipts do to an outgoing mail (DESIGN 4 "Receipts", "Retry").

Reports come late, doubled, in any order, forged or about an earlier Message-ID of the mail. Success counts
whatever generation it names, for it is the same part of the same set. Failure counts only if it names the
present generation: about an earlier one it has had its effect already, or a newer message is on its way to
get an answer of its own. So every report can come twice without doing anything twice.
"""

from dataclasses import replace

from radpost.errors import (
    ADDRESS_UNKNOWN,
    BOUNCED,
    MAIL_TOO_LARGE,
    MAILBOX_FULL,
    PARTNER_REPORTS_FAILURE,
    RECEIPT_OVERDUE,
    REFUSED_BY_PARTNER,
    UNSIGNED_REFUSAL,
    Reason,
)
from radpost.transfer.actions import Remark, switch_alarm
from radpost.transfer.outgoing_state import (
    CONFIRMED,
    Bounce,
    Bounced,
    Cut,
    OutgoingAction,
    OutgoingMail,
    OutgoingPolicy,
    Phase,
    ReceiptArrived,
    Recut,
    RepeatMessage,
    Scope,
    Seal,
    Step,
    SuspendMessages,
    WithdrawMessages,
)
from radpost.transfer.receipt import Outcome
from radpost.transfer.window import Credited, Overflowed, Stalled

_SETTLED = frozenset({Phase.REFUSED, Phase.FAILED, Phase.CANCELLED, Phase.SUPERSEDED})


# --- steps that several rules take ------------------------------------------------------------------------


def alarmed(mail: OutgoingMail, after: OutgoingMail, alarm: Reason | None, *more: OutgoingAction) -> Step:
    """Return ``after`` with this open alarm, and the records that lead there."""
    return replace(after, alarm=alarm), (*switch_alarm(mail.alarm, alarm), *more)


def uncharge(mail: OutgoingMail, *, flowing: bool = False) -> tuple[OutgoingMail, tuple[OutgoingAction, ...]]:
    """Give the mail's bytes back to the partner's window."""
    if not mail.charged:
        return mail, ()
    return replace(mail, charged=0), (Credited(mail.charged, flowing),)


def end(
    mail: OutgoingMail, phase: Phase, reason: Reason | None, alarm: Reason | None, *more: OutgoingAction
) -> Step:
    """End the mail in this phase: nothing of it is sent any more, its bytes are given back."""
    flowing = phase in {Phase.CONFIRMED, Phase.CONFIRMED_UNSIGNED, Phase.REFUSED}
    free, credit = uncharge(mail, flowing=flowing)
    after = replace(free, phase=phase, reason=reason, receipt_due=None)
    return alarmed(mail, after, alarm, WithdrawMessages(), *credit, *more)


def resend(
    mail: OutgoingMail, at: float, alarm: Reason | None, *more: OutgoingAction, flowing: bool = False
) -> Step:
    """Plan the same part of the same set again, under a new Message-ID, not before ``at``."""
    free, credit = uncharge(mail, flowing=flowing)
    after = replace(
        free,
        phase=Phase.PLANNED,
        generation=mail.generation + 1,
        started=False,
        size=0,
        pieces=0,
        accepted=0,
        tries=0,
        not_before=at,
        receipt_due=None,
    )
    return alarmed(mail, after, alarm, WithdrawMessages(), *credit, Seal(after.generation, at), *more)


# --- receipts ---------------------------------------------------------------------------------------------


def on_receipt(
    mail: OutgoingMail, event: ReceiptArrived, now: float, policy: OutgoingPolicy, jitter: float
) -> Step:
    """Return what a receipt does."""
    known = event.generation < mail.generation or (event.generation == mail.generation and mail.started)
    if not event.matched or not known:
        return mail, (Remark("receipt-does-not-match"),)
    if event.outcome in {Outcome.DONE, Outcome.WARNING}:
        return _success(mail, event, policy)
    if mail.phase in CONFIRMED:
        return _failure_after_success(mail, event)
    if event.generation < mail.generation or mail.phase in _SETTLED:
        return replace(mail, said=event.outcome), (Remark("late-failure-receipt"),)
    if event.outcome is Outcome.ERROR:
        return _error(replace(mail, said=event.outcome), event, now, policy, jitter)
    return _refusal(replace(mail, said=event.outcome), event)


def _success(mail: OutgoingMail, event: ReceiptArrived, policy: OutgoingPolicy) -> Step:
    if mail.phase is Phase.CONFIRMED:
        return mail, (Remark("receipt-again"),)
    heard = replace(mail, said=event.outcome)
    if event.signed:
        # Signed success is the truth about the objects whatever was thought before, a cancellation too.
        return end(replace(heard, held=False), Phase.CONFIRMED, None, None)
    contested = mail.alarm is UNSIGNED_REFUSAL
    if mail.phase is Phase.CONFIRMED_UNSIGNED:
        return heard, (Remark("receipt-again"),)
    if not policy.unsigned_closes or contested or mail.phase in _SETTLED - {Phase.FAILED}:
        return heard, (Remark("unsigned-receipt"),)
    return end(replace(heard, held=False), Phase.CONFIRMED_UNSIGNED, None, None)


def _failure_after_success(mail: OutgoingMail, event: ReceiptArrived) -> Step:
    if mail.phase is Phase.CONFIRMED and not event.signed:
        return mail, (Remark("unsigned-failure-after-success"),)
    heard = replace(mail, said=event.outcome)
    return alarmed(mail, heard, PARTNER_REPORTS_FAILURE, Remark("failure-after-success"))


def _error(
    mail: OutgoingMail, event: ReceiptArrived, now: float, policy: OutgoingPolicy, jitter: float
) -> Step:
    reason = event.reason or PARTNER_REPORTS_FAILURE
    if mail.objects > 1 and not policy.radpost:
        # Another maker's gateway may not know several objects in a mail: once more, one by one.
        return end(mail, Phase.SUPERSEDED, reason, None, Recut(Scope.MAIL, one_object_per_mail=True))
    if mail.resends < policy.max_resends:
        counted = replace(mail, resends=mail.resends + 1, reason=reason)
        at = now + policy.object.delay(mail.resends, jitter)
        return resend(counted, at, None, flowing=True)  # the partner answers: nothing is overdue or full
    if not event.signed and not policy.unsigned_closes:
        return _contest(mail)
    return end(mail, Phase.REFUSED, reason, PARTNER_REPORTS_FAILURE)


def _refusal(mail: OutgoingMail, event: ReceiptArrived) -> Step:
    if event.signed:
        return end(mail, Phase.REFUSED, event.reason or REFUSED_BY_PARTNER, REFUSED_BY_PARTNER)
    return _contest(mail)


def _contest(mail: OutgoingMail) -> Step:
    """An unsigned refusal can be forged: stop, tell a person, end nothing."""
    free, credit = uncharge(mail)
    after = replace(free, held=True, reason=UNSIGNED_REFUSAL)
    return alarmed(mail, after, UNSIGNED_REFUSAL, SuspendMessages(), *credit)


def on_overdue(mail: OutgoingMail, now: float, policy: OutgoingPolicy, jitter: float) -> Step:
    """Return what a receipt that did not come in time does: alarm once, slow the partner's window."""
    if mail.phase is not Phase.ON_SERVER or mail.receipt_due is None or now < mail.receipt_due:
        return mail, ()
    alarm = mail.alarm or RECEIPT_OVERDUE
    if mail.overdue_resends < policy.overdue_resends and not mail.held:
        counted = replace(mail, overdue_resends=mail.overdue_resends + 1)
        return resend(counted, now + policy.object.delay(mail.overdue_resends, jitter), alarm, Stalled())
    return alarmed(mail, replace(mail, receipt_due=None, reason=RECEIPT_OVERDUE), alarm, Stalled())


# --- bounces, and answers that mean the same ----------------------------------------------------------------


def on_bounce(mail: OutgoingMail, event: Bounced, now: float, policy: OutgoingPolicy, jitter: float) -> Step:
    """Return what a bounce (RFC 3464) does."""
    live = mail.phase in {Phase.SEALED, Phase.SUBMITTING, Phase.ON_SERVER, Phase.UNREPORTED}
    if event.generation != mail.generation or not live or not mail.started:
        return mail, (Remark("late-bounce"),)
    match event.kind:
        case Bounce.DELAYED:
            return mail, (Remark("delayed-on-the-way"),)
        case Bounce.MAILBOX_FULL:
            return _mailbox_full(mail, now, policy, jitter)
        case Bounce.TOO_LARGE:
            return too_large(mail, now, policy, sealed_bytes_usable=False)
        case Bounce.ADDRESS_UNKNOWN:
            return end(mail, Phase.FAILED, ADDRESS_UNKNOWN, ADDRESS_UNKNOWN)
        case Bounce.POLICY | Bounce.OTHER:
            return end(mail, Phase.FAILED, BOUNCED, BOUNCED)


def _mailbox_full(mail: OutgoingMail, now: float, policy: OutgoingPolicy, jitter: float) -> Step:
    counted = replace(mail, bounces=mail.bounces + 1, reason=MAILBOX_FULL)
    if mail.pieces > 1:
        # The other fragments are there; only the one that came back goes again.
        after = replace(counted, phase=Phase.SUBMITTING, accepted=max(0, mail.accepted - 1), receipt_due=None)
        return alarmed(mail, after, MAILBOX_FULL, Overflowed(), RepeatMessage())
    later = now + policy.mailbox.delay(mail.bounces, jitter)
    return resend(counted, later, MAILBOX_FULL, Overflowed())


def too_large(mail: OutgoingMail, now: float, policy: OutgoingPolicy, *, sealed_bytes_usable: bool) -> Step:
    """Return what "too large" does: fragments of the same bytes, or smaller mails, or a person.

    After a bounce a fragment with the old Message-IDs may be dropped as known, so the part is sealed anew.
    """
    if policy.partial and mail.cuts < policy.max_cuts:
        smaller = replace(mail, cuts=mail.cuts + 1, reason=MAIL_TOO_LARGE)
        if not sealed_bytes_usable:
            return resend(smaller, now, mail.alarm)
        free, credit = uncharge(smaller)
        after = replace(free, phase=Phase.SEALED, pieces=0, accepted=0)
        return after, (WithdrawMessages(), *credit, Cut(after.generation, after.cuts))
    if mail.objects > 1:
        return end(mail, Phase.SUPERSEDED, MAIL_TOO_LARGE, None, Recut(Scope.REST, one_object_per_mail=False))
    return end(mail, Phase.FAILED, MAIL_TOO_LARGE, MAIL_TOO_LARGE)
