"""Arriving mails, sets, fragments, deliveries, receipts and the signature policy."""

import pytest

from radpost import errors
from radpost.errors import RadpostError
from radpost.transfer import delivery, incoming, policy, receipt
from radpost.transfer.actions import Alarm, Command, EndAlarm, Operator, Remark, TimerDue
from radpost.transfer.delivery import Answered, Delivery, DeliveryPolicy, VersionRule
from radpost.transfer.incoming import (
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
    receipt_allowed,
)
from radpost.transfer.incoming_set import (
    Assembly,
    AssemblyPolicy,
    Completed,
    FragmentArrived,
    IncomingSet,
    Join,
    PartArrived,
    SetEvent,
    SetPolicy,
    decide_assembly,
    decide_set,
)
from radpost.transfer.policy import Quarantine, Release
from radpost.transfer.receipt import Answer, Disposition, Evidence, Outcome
from radpost.words import SignaturePolicy, Truth, Verdict

POLICY = IncomingPolicy()
DATA = Recognised(Kind.DATA, wanted=True)
OPENED = Opened(wanted=True)


def play(
    *events: IncomingEvent, mail: IncomingMail | None = None, policy: IncomingPolicy = POLICY
) -> tuple[IncomingMail, list[IncomingAction]]:
    mail = mail or IncomingMail()
    actions: list[IncomingAction] = []
    for event in events:
        mail, more = incoming.decide(mail, event, 100.0, policy)
        actions += more
    return mail, actions


# --- arriving mails ---------------------------------------------------------------------------------------


def test_inv1_the_receipt_follows_the_import() -> None:
    mail, actions = play(DATA, OPENED, Imported(1))
    assert mail.phase is Phase.RECEIPT_OWED
    assert actions == [DeleteFromServer(), Open(), Import(), SendReceipt(Disposition.DISPLAYED, False)]
    mail, _ = play(ReceiptSent(), mail=mail)
    assert (mail.phase, mail.sent) == (Phase.DONE, Disposition.DISPLAYED)


def test_inv5_what_could_not_be_opened_waits_and_the_rest_is_imported() -> None:
    partly = Imported(1, quarantined=1, reason=errors.TAMPERED)
    mail, actions = play(DATA, OPENED, partly)
    assert (mail.phase, mail.quarantined, mail.alarm) == (Phase.RECEIPT_OWED, True, errors.TAMPERED)
    assert KeepQuarantined(errors.TAMPERED) in actions
    assert actions[-1] == SendReceipt(Disposition.DISPLAYED_WARNING, False)
    mail, _ = play(ReceiptSent(), mail=mail)
    assert mail.phase is Phase.QUARANTINED
    again, actions = play(Replay(), OPENED, partly, mail=mail)
    assert again.phase is Phase.QUARANTINED, "the same as before: no second receipt"
    again, actions = play(Replay(), OPENED, Imported(2), mail=mail)
    assert (again.phase, again.quarantined, again.alarm) == (Phase.RECEIPT_OWED, False, None)
    assert SendReceipt(Disposition.DISPLAYED, True) in actions
    dropped, _ = play(Drop(), mail=mail)
    assert (dropped.phase, dropped.alarm) == (Phase.DROPPED, None)


def test_without_a_request_no_receipt() -> None:
    mail, actions = play(Recognised(Kind.DATA), Opened(wanted=False), Imported(1))
    assert mail.phase is Phase.DONE
    assert not [a for a in actions if isinstance(a, SendReceipt)]


@pytest.mark.parametrize("kind", [Kind.RECEIPT, Kind.BOUNCE])
def test_inv9_no_receipt_for_a_receipt(kind: Kind) -> None:
    mail, actions = play(Recognised(kind, wanted=True))
    assert (mail.phase, mail.wanted, actions) == (Phase.DONE, False, [HandleReport(), DeleteFromServer()])


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ({}, True),
        ({"kind": Kind.RECEIPT}, False),
        ({"kind": Kind.FRAGMENT}, False),
        ({"asked": False}, False),
        ({"address_of_partner": False}, False),
        ({"automatic": True}, False),
        ({"answered": True}, False),
    ],
)
def test_inv9_who_gets_a_receipt(change: dict[str, object], allowed: bool) -> None:
    """RFC 8098 2.1, RFC 3834 2."""
    facts = {"kind": Kind.DATA, "asked": True, "address_of_partner": True, "automatic": False} | change
    assert receipt_allowed(**facts) is allowed  # type: ignore[arg-type]  # facts of several types


def test_what_is_not_ours_stays_on_the_server() -> None:
    mail, actions = play(Recognised(Kind.FOREIGN))
    assert (mail.phase, actions) == (Phase.IGNORED, [])


def test_invariant_5_what_is_not_ours_and_is_nowhere_else_waits_whole_in_quarantine() -> None:
    mail, actions = play(Recognised(Kind.FOREIGN, only_copy=True))
    assert (mail.phase, mail.quarantined, mail.reason) == (Phase.QUARANTINED, True, errors.NOT_OURS)
    assert actions == [KeepQuarantined(errors.NOT_OURS)], "no alarm and no receipt"
    again, actions = play(Replay(), Recognised(Kind.RECEIPT), mail=mail)
    assert (again.phase, again.quarantined) == (Phase.DONE, False)
    assert actions == [Open(), EndQuarantine(), HandleReport(), DeleteFromServer()]


def test_what_failed_before_may_be_gone_from_its_mailbox() -> None:
    mail, _ = play(DATA, Failed(errors.DISK_FULL, passing=True))
    mail, actions = play(Recognised(Kind.FOREIGN), mail=mail)
    assert (mail.phase, actions) == (Phase.QUARANTINED, [KeepQuarantined(errors.NOT_OURS)])


def test_invariant_4_a_first_fragment_answers_for_a_mail_that_never_becomes_whole() -> None:
    for reason in (errors.INCOMPLETE_FRAGMENTS, errors.PARTIAL_INCONSISTENT):
        mail, actions = play(Recognised(Kind.FRAGMENT, wanted=True), Failed(reason))
        assert (mail.phase, mail.disposition) == (Phase.RECEIPT_OWED, Disposition.DELETED_ERROR)
        assert actions[-1] == SendReceipt(Disposition.DELETED_ERROR, correction=False)
        mail, _ = play(ReceiptSent(), mail=mail)
        assert mail.phase is Phase.QUARANTINED
        again = (Replay(), Recognised(Kind.FRAGMENT, wanted=True), Failed(reason))
        mail, actions = play(*again, mail=mail)
        assert mail.phase is Phase.QUARANTINED
        assert not any(isinstance(action, SendReceipt) for action in actions), "it was said before"
        mail, _ = play(Recognised(Kind.FRAGMENT), Failed(reason))
        assert mail.phase is Phase.QUARANTINED


def test_fragments_wait_for_their_siblings() -> None:
    mail, actions = play(Recognised(Kind.FRAGMENT))
    assert (mail.phase, mail.due, actions) == (Phase.FRAGMENT, None, [DeleteFromServer(), AwaitFragments()])
    assert play(incoming.Joined(), mail=mail)[0].phase is Phase.JOINED


def test_inv5_what_cannot_be_opened_is_quarantined_and_answered() -> None:
    mail, actions = play(DATA, Failed(errors.TAMPERED))
    assert (mail.phase, mail.quarantined) == (Phase.RECEIPT_OWED, True)
    assert actions[2:] == [
        Alarm(errors.TAMPERED),
        KeepQuarantined(errors.TAMPERED),
        SendReceipt(Disposition.DELETED_ERROR, False),
    ]
    mail, _ = play(ReceiptSent(), mail=mail)
    assert mail.phase is Phase.QUARANTINED


def test_a_failure_that_resending_cannot_mend_is_deleted() -> None:
    _, actions = play(DATA, Failed(errors.WRONG_SIGNER))
    assert actions[-1] == SendReceipt(Disposition.DELETED, False)


def test_a_replay_after_the_cause_is_mended_corrects_the_receipt() -> None:
    mail, _ = play(DATA, Failed(errors.TAMPERED), ReceiptSent())
    mail, actions = play(Replay(), OPENED, Imported(1), mail=mail)
    assert actions == [
        Open(),
        Import(),
        EndAlarm(errors.TAMPERED),
        EndQuarantine(),
        SendReceipt(Disposition.DISPLAYED, True),
    ]


def test_a_replay_that_ends_the_same_way_says_nothing_new() -> None:
    mail, _ = play(DATA, Failed(errors.TAMPERED), ReceiptSent())
    mail, actions = play(Replay(), Failed(errors.TAMPERED), mail=mail)
    assert (mail.phase, actions) == (Phase.QUARANTINED, [Open(), KeepQuarantined(errors.TAMPERED)])
    assert play(Drop(), mail=mail)[0].phase is Phase.DROPPED


def test_inv5_a_passing_fault_is_tried_again_but_blocks_nobody_for_ever() -> None:
    fault = Failed(errors.ENGINE_FAULT, passing=True)
    mail, actions = play(DATA, fault)
    assert (mail.phase, mail.due, actions[2:]) == (Phase.FETCHED, 130, [])
    mail, actions = play(*[fault] * 9, mail=mail)
    assert (mail.phase, mail.quarantined) == (Phase.RECEIPT_OWED, True)
    assert [a for a in actions if isinstance(a, Alarm)] == [Alarm(errors.ENGINE_FAULT)]
    assert actions[-1] == SendReceipt(Disposition.DELETED_ERROR, False)


def test_a_receipt_that_cannot_be_sent_alarms() -> None:
    mail, actions = play(DATA, OPENED, Imported(1), ReceiptFailed(errors.ADDRESS_UNKNOWN))
    assert (mail.phase, mail.sent) == (Phase.DONE, None)
    assert actions[-1] == Alarm(errors.ADDRESS_UNKNOWN)


@pytest.mark.parametrize(
    ("stored", "quarantined", "remarks", "helps", "expected"),
    [
        (3, 0, False, False, Disposition.DISPLAYED),
        (3, 0, True, False, Disposition.DISPLAYED_WARNING),
        (2, 1, False, True, Disposition.DISPLAYED_WARNING),
        (0, 3, False, True, Disposition.DELETED_ERROR),
        (0, 3, False, False, Disposition.DELETED),
        (0, 0, False, False, Disposition.DELETED),
    ],
)
def test_the_disposition(
    stored: int, quarantined: int, remarks: bool, helps: bool, expected: Disposition
) -> None:
    assert receipt.disposition_for(stored, quarantined, remarks=remarks, resend_can_help=helps) is expected


# --- sets and fragments -----------------------------------------------------------------------------------

SETS = SetPolicy(incomplete_after=60)


def part(number: int, total: int | None = 3, *, new: bool = True, same: bool = True) -> PartArrived:
    return PartArrived(number, total, new, same)


def test_inv6_an_incomplete_set_alarms_by_stored_deadline_and_is_completed_late() -> None:
    state, records = IncomingSet(), list[object]()
    events: list[tuple[float, SetEvent]] = [(0, part(1)), (10, part(3)), (70, TimerDue()), (71, TimerDue())]
    for now, event in events:
        state, more = decide_set(state, event, now, SETS)
        records += more
    assert records == [Alarm(errors.INCOMPLETE_SET)]
    state, late = decide_set(state, part(2), 500, SETS)
    assert late == (EndAlarm(errors.INCOMPLETE_SET), Completed(late=True))
    assert (state.complete, state.due) == (True, None)


def test_a_part_that_comes_twice_counts_once() -> None:
    state, _ = decide_set(IncomingSet(), part(1, 2), 0, SETS)
    state, records = decide_set(state, part(1, 2, new=False), 1, SETS)
    assert (state.seen, state.complete, records) == (1, False, (Remark("part-again"),))


def test_a_mail_without_set_headers_is_a_set_of_its_own() -> None:
    state, records = decide_set(IncomingSet(), PartArrived(None, None, new=True), 0, SETS)
    assert (state.complete, records) == (True, (Completed(late=False),))


def test_a_quarantined_part_starts_the_deadline_but_does_not_count() -> None:
    state, _ = decide_set(IncomingSet(), PartArrived(1, 1, new=False, imported=False), 0, SETS)
    assert (state.seen, state.complete, state.due) == (0, False, 60)


@pytest.mark.parametrize("event", [part(1, 4), part(4, 3), part(0, 3), part(2, 3, same=False)])
def test_contradictions_alarm_and_are_never_merged_silently(event: PartArrived) -> None:
    state, _ = decide_set(IncomingSet(), part(1), 0, SETS)
    state, records = decide_set(state, event, 1, SETS)
    assert (state.conflict, state.complete) == (True, False)
    assert Alarm(errors.SET_CONFLICT) in records


FRAGMENTS = AssemblyPolicy(incomplete_after=60, max_fragments=100)


def assemble(*events: FragmentArrived) -> tuple[Assembly, list[object]]:
    state, actions = Assembly(), list[object]()
    for event in events:
        state, more = decide_assembly(state, event, 0, FRAGMENTS)
        actions += more
    return state, actions


def test_fragments_join_in_any_order() -> None:
    """RFC 2046 5.2.2."""
    events = (FragmentArrived(3, 3, True), FragmentArrived(1, None, True), FragmentArrived(2, None, True))
    state, actions = assemble(*events)
    assert (state.joined, actions) == (True, [Join()])


def test_a_fragment_that_comes_twice_counts_once() -> None:
    again = FragmentArrived(1, 2, new=False)
    assert assemble(FragmentArrived(1, 2, True), again)[0].have == 1
    joined = assemble(FragmentArrived(1, 2, True), FragmentArrived(2, 2, True), again)
    assert joined[1] == [Join(), Remark("fragment-again")]


@pytest.mark.parametrize(
    "event",
    [
        FragmentArrived(2, 5, True),
        FragmentArrived(9, None, True),
        FragmentArrived(0, None, True),
        FragmentArrived(1, None, new=False, same=False),
        FragmentArrived(2, None, True, highest=7),
    ],
)
def test_contradicting_fragments_are_kept_and_never_joined(event: FragmentArrived) -> None:
    state, actions = assemble(FragmentArrived(1, 3, True), event, FragmentArrived(3, 3, True))
    assert (state.broken, state.joined) == (True, False)
    assert actions == [Alarm(errors.PARTIAL_INCONSISTENT)]


def test_inv8_a_hostile_total_is_refused() -> None:
    assert assemble(FragmentArrived(1, 10**9, True))[0].broken


def test_missing_fragments_alarm_and_a_late_one_still_joins() -> None:
    state, _ = assemble(FragmentArrived(1, 2, True))
    state, actions = decide_assembly(state, TimerDue(), 60, FRAGMENTS)
    assert actions == (Alarm(errors.INCOMPLETE_FRAGMENTS),)
    state, actions = decide_assembly(state, FragmentArrived(2, 2, True), 90, FRAGMENTS)
    assert actions == (EndAlarm(errors.INCOMPLETE_FRAGMENTS), Join())


# --- delivery ---------------------------------------------------------------------------------------------


def deliver(
    *events: delivery.DeliveryEvent, policy: DeliveryPolicy | None = None
) -> tuple[Delivery, list[object]]:
    state, actions = Delivery(), list[object]()
    for event in events:
        state, more = delivery.decide(state, event, 0, policy or DeliveryPolicy())
        actions += more
    return state, actions


@pytest.mark.parametrize(
    ("status", "phase", "alarm"),
    [
        (0x0000, delivery.Phase.DELIVERED, None),
        (0xB000, delivery.Phase.DELIVERED_REMARK, None),
        (0xB006, delivery.Phase.DELIVERED_REMARK, None),
        (0x0111, delivery.Phase.DELIVERED_REMARK, None),
        (0xA700, delivery.Phase.DUE, None),
        (0xA900, delivery.Phase.REFUSED, errors.PACS_REFUSED_OBJECT),
        (0xC123, delivery.Phase.REFUSED, errors.PACS_REFUSED_OBJECT),
        (0x0122, delivery.Phase.UNDELIVERABLE, errors.NO_COMMON_SYNTAX),
        (0x0124, delivery.Phase.REFUSED, errors.PACS_REFUSED_OBJECT),
    ],
)
def test_what_a_status_means(status: int, phase: delivery.Phase, alarm: errors.Reason | None) -> None:
    """PS3.4 B.2.3, PS3.7 C.1, C.4, C.5."""
    state, actions = deliver(delivery.Started(), Answered(status))
    assert (state.phase, state.status) == (phase, status)
    assert actions == ([] if alarm is None else [Alarm(alarm)])


def test_out_of_resources_waits_longer_alarms_and_ends() -> None:
    patience = DeliveryPolicy(tries=4, alarm_after_tries=2)
    events: list[delivery.DeliveryEvent] = [delivery.Started(), Answered(0xA700)]
    state, actions = deliver(*events * 3, policy=patience)
    assert (state.phase, state.tries, state.due) == (delivery.Phase.DUE, 3, 20)
    assert actions == [Alarm(errors.PACS_OUT_OF_RESOURCES)]
    assert deliver(*events * 4, policy=patience)[0].phase is delivery.Phase.REFUSED


def test_a_destination_that_is_down_costs_the_object_no_try() -> None:
    state, actions = deliver(delivery.Started(), delivery.Interrupted())
    assert (state.phase, state.tries, actions) == (delivery.Phase.DUE, 0, [])


def test_an_operator_can_deliver_again_what_was_refused() -> None:
    state, actions = deliver(delivery.Started(), Answered(0xA900), Operator(Command.RETRY))
    assert (state.phase, actions[-1]) == (delivery.Phase.DUE, EndAlarm(errors.PACS_REFUSED_OBJECT))


@pytest.mark.parametrize(
    ("rule", "phase"),
    [(VersionRule.DELIVER, delivery.Phase.DUE), (VersionRule.HOLD, delivery.Phase.HELD)],
)
def test_inv2_a_new_version_follows_the_destinations_rule(rule: VersionRule, phase: delivery.Phase) -> None:
    state, actions = delivery.due(5.0, new_version=True, rule=rule)
    assert (state.phase, actions) == (phase, (Alarm(errors.VERSION_CONFLICT),))
    assert delivery.due(5.0, new_version=False, rule=rule)[0].phase is delivery.Phase.DUE


# --- receipts read ----------------------------------------------------------------------------------------

AUTO = "automatic-action/MDN-sent-automatically"


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        (f"{AUTO};displayed", Outcome.DONE),
        (f"{AUTO}; displayed", Outcome.DONE),
        (f"{AUTO};displayed/warning", Outcome.WARNING),
        (f"{AUTO}; DISPLAYED / Warning", Outcome.WARNING),
        (f"{AUTO};deleted/error", Outcome.ERROR),
        (f"{AUTO};deleted", Outcome.REFUSED),
        (f"{AUTO}; deleted/expired", Outcome.REFUSED),
        ("manual-action/MDN-sent-manually; dispatched", Outcome.DONE),
        (f"{AUTO}; processed", Outcome.DONE),
        (f"{AUTO}; processed/error", Outcome.ERROR),
        (f"{AUTO}; processed/warning,error", Outcome.ERROR),
        (f"{AUTO}; failed", Outcome.ERROR),
        (f"{AUTO}; denied", Outcome.REFUSED),
        (f"{AUTO}; displayed/x-new-thing", Outcome.DONE),
        ("displayed", Outcome.DONE),
    ],
)
def test_dispositions_in_all_spellings(value: str, outcome: Outcome) -> None:
    """RFC 8098 3.2.6.3, RFC 3798 3.2.6, RFC 2298 3.2.6."""
    assert receipt.read(value).outcome is outcome


@pytest.mark.parametrize(
    "value", ["", ";", f"{AUTO};", f"{AUTO}; seen", f"{AUTO}; displayed/a b", "x" * 2000]
)
def test_an_unknown_disposition_is_never_taken_for_success(value: str) -> None:
    with pytest.raises(RadpostError) as caught:
        receipt.read(value)
    assert caught.value.reason is errors.MDN_INVALID


def test_what_we_write_we_read() -> None:
    meant = [receipt.read(d.value).outcome for d in Disposition]
    assert meant == [Outcome.DONE, Outcome.WARNING, Outcome.ERROR, Outcome.REFUSED]


def test_displayed_means_imported_and_never_opened() -> None:
    truths = receipt.truths_of(receipt.evidence_of(Outcome.DONE, objects=1))
    assert truths[Truth.IMPORTED] is Answer.YES
    for silent in (Truth.OPENED, Truth.REPORTED, Truth.VERIFIED, Truth.ON_SERVER):
        assert truths[silent] is Answer.NOT_REPORTED
    assert not any(row.get(Truth.OPENED) or row.get(Truth.REPORTED) for row in receipt.TRUTHS.values())


@pytest.mark.parametrize(
    ("outcome", "objects", "agit", "imported"),
    [
        (Outcome.WARNING, 1, True, Answer.YES),
        (Outcome.WARNING, 5, True, Answer.NOT_REPORTED),
        (Outcome.ERROR, 1, True, Answer.NO),
        (Outcome.REFUSED, 1, True, Answer.NO),
        (Outcome.DONE, 1, False, Answer.NOT_REPORTED),
    ],
)
def test_what_a_receipt_says_of_import(outcome: Outcome, objects: int, agit: bool, imported: Answer) -> None:
    evidence = receipt.evidence_of(outcome, objects=objects, agit=agit)
    assert receipt.truths_of(evidence)[Truth.IMPORTED] is imported


def test_a_server_s_yes_is_about_the_server_only() -> None:
    known = {t for t, a in receipt.truths_of(Evidence.SMTP_ACCEPTED).items() if a is not Answer.NOT_REPORTED}
    assert known == {Truth.ON_SERVER}


# --- signature policy -------------------------------------------------------------------------------------


def test_inv7_the_whole_table() -> None:
    released = {
        (p.name, v.name) for p in SignaturePolicy for v in Verdict if isinstance(policy.judge(p, v), Release)
    }
    accepted = {"GOOD", "NONE", "UNKNOWN_KEY", "EXPIRED_KEY", "REVOKED_KEY", "WEAK_DIGEST"}
    accepted |= {"UNTRUSTED", "EXPIRED"}
    expected = (
        {("REQUIRE", "GOOD")} | {("ACCEPT", v) for v in accepted} | {("IGNORE", v.name) for v in Verdict}
    )
    assert released == expected


def test_inv7_flags_and_reasons() -> None:
    judge = policy.judge
    assert judge(SignaturePolicy.ACCEPT, Verdict.GOOD) == Release()
    assert judge(SignaturePolicy.ACCEPT, Verdict.NONE) == Release(Verdict.NONE)
    assert judge(SignaturePolicy.IGNORE, Verdict.BAD) == Release(Verdict.BAD)
    assert judge(SignaturePolicy.ACCEPT, Verdict.BAD) == Quarantine(errors.SIGNATURE_BAD)
    assert judge(SignaturePolicy.ACCEPT, Verdict.WRONG_SIGNER) == Quarantine(errors.WRONG_SIGNER)
    assert judge(SignaturePolicy.REQUIRE, Verdict.NONE) == Quarantine(errors.SIGNATURE_REQUIRED)


@pytest.mark.parametrize("rule", list(SignaturePolicy))
@pytest.mark.parametrize("verdict", list(Verdict))
def test_inv7_without_integrity_nothing_is_released(rule: SignaturePolicy, verdict: Verdict) -> None:
    assert policy.judge(rule, verdict, integrity=False) == Quarantine(errors.NO_INTEGRITY)


def test_inv7_defaults() -> None:
    default = policy.default_policy
    assert default(announced_signing=False, radpost=False) is SignaturePolicy.ACCEPT
    assert default(announced_signing=True, radpost=False) is SignaturePolicy.REQUIRE
    assert default(announced_signing=False, radpost=True) is SignaturePolicy.REQUIRE
