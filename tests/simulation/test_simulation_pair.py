"""Two gateways in a bad world, by seeds; and broken gateways, which the simulator must find."""

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from radpost.testing import scenario
from radpost.testing.scenario import Scenario
from radpost.testing.simulated_site import Site
from radpost.testing.simulation import NO_FAULTS, Faults, Violation
from radpost.transfer import incoming, window
from radpost.transfer.outgoing import OutgoingMail
from radpost.transfer.receipt import Disposition
from radpost.transfer.transmission import Transmission

SEEDS = int(os.environ.get("RADPOST_SEEDS", "25"))
FIRST = int(os.environ.get("RADPOST_FIRST_SEED", "1"))


def test_a_friendly_world_needs_no_alarm() -> None:
    summary = scenario.run(FIRST, Scenario(faults=NO_FAULTS, attacks=False))
    assert (summary.transmissions, summary.confirmed) == (8, 8)
    assert (summary.alarms, summary.crashes) == (0, 0)
    assert summary.submitted == 8 * 3 * 2  # seven objects, three a mail; a mail and a receipt each


def test_inv1_2_4_9_hold_in_a_bad_world() -> None:
    crashes = 0
    for seed in range(FIRST, FIRST + SEEDS):
        summary = scenario.run(seed, Scenario())
        print(summary)
        assert summary.confirmed + summary.superseded == summary.transmissions >= 8
        crashes += summary.crashes
    assert crashes > SEEDS  # else the world was not bad


def test_inv4_without_a_person_every_transmission_ends_or_alarms() -> None:
    faults = Faults(loss=0.3, corrupt=0.2)
    for seed in range(FIRST, FIRST + SEEDS):
        print(scenario.run(seed, Scenario(faults=faults, operator=False, days=5)))


def test_a_mailbox_with_a_quota_gets_everything_in_the_end() -> None:
    faults = Faults(loss=0, corrupt=0, crash=0.005, quota=3)
    for seed in range(FIRST, FIRST + 5):
        summary = scenario.run(seed, Scenario(faults=faults))
        print(summary)
        assert summary.confirmed + summary.superseded == summary.transmissions


def test_a_seed_reproduces_its_run() -> None:
    assert scenario.run(FIRST, Scenario()) == scenario.run(FIRST, Scenario())


# --- mutants: one promise broken each ---------------------------------------------------------------------


class ReceiptBeforeCommit(Site):
    """Sends the receipt, then commits the import."""

    def take_in(self, number: int) -> None:
        mail = self.arrivals[number].mail
        if self.wanted(number):
            self.put_receipt(number, mail, Disposition.DISPLAYED)
            _, row = list(self.outbox.items())[-1]
            self.check_receipt(row.mail)
            self.world.submit(row.mail)
        super().take_in(number)


class DeleteBeforeCommit(Site):
    """Deletes the mail from the server, then commits the arrival."""

    def fetch(self, uid: int) -> None:
        mail = self.world.mailboxes[self.address].get(uid)
        if mail is not None:
            self.delete(uid, mail)
            self.keep(mail)
            self.commit()


class SuccessBeforeCommit(Site):
    """Answers C-STORE with success, then commits."""

    def store_object(self, study: str, name: str) -> bool:
        stored = super().store_object(study, name)
        return stored or self.crashes > 0


class LostTimer(Site):
    """Keeps deadlines in memory: after a crash they are gone."""

    def mail_due(self, mail: OutgoingMail) -> float | None:
        return None if self.crashes else super().mail_due(mail)

    def transmission_due(self, state: Transmission) -> float | None:
        return None if self.crashes else super().transmission_due(state)


class CreditLeak(Site):
    """Forgets to give credit back when a mail is confirmed."""

    def credit(self, event: window.WindowEvent) -> None:
        if not isinstance(event, window.Credited):
            super().credit(event)


class AnswersAnswers(Site):
    """Gives the partner a receipt for anything that asks for one, receipts too."""

    def wanted(self, number: int) -> bool:
        return self.arrivals[number].mail.receipt_to == self.partner

    def report(self, number: int) -> None:
        super().report(number)
        mail = self.arrivals[number].mail
        if mail.receipt_to == self.partner:
            self.put_receipt(number, mail, Disposition.DISPLAYED)


class AnswersStrangers(Site):
    """Takes the address for receipts from the mail without looking whose it is."""

    def wanted(self, number: int) -> bool:
        mail = self.arrivals[number].mail
        return incoming.receipt_allowed(
            incoming.Kind.DATA,
            asked=mail.receipt_to is not None,
            address_of_partner=True,
            automatic=mail.automatic,
        )


class ForgetsWithdrawal(Site):
    """Goes on sending what is confirmed already."""

    def _messages(self, key: tuple[str, int], event: object) -> None:
        pass


@pytest.mark.parametrize(
    ("mutant", "invariant", "operator"),
    [
        (ReceiptBeforeCommit, 1, True),
        (DeleteBeforeCommit, 1, True),
        (SuccessBeforeCommit, 1, True),
        (LostTimer, 4, False),
        (CreditLeak, 8, True),
        (AnswersAnswers, 9, True),
        (AnswersStrangers, 9, True),
        (ForgetsWithdrawal, 2, True),
    ],
)
def test_a_broken_gateway_is_found(mutant: Callable[..., Site], invariant: int, operator: bool) -> None:
    found = set()
    for seed in range(FIRST, FIRST + 60):
        try:
            scenario.run(seed, replace(Scenario(), operator=operator), left=mutant, right=mutant)
        except Violation as violation:
            print(violation)
            found.add(violation.invariant)
            break
    assert found == {invariant}
