"""Scenarios for the simulator: two institutions exchange studies while everything goes wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from radpost.testing.simulated_process import SitePolicy
from radpost.testing.simulated_site import Site
from radpost.testing.simulation import Faults, Mail, World
from radpost.transfer import outgoing, transmission
from radpost.transfer.completion import AssociationEnded
from radpost.transfer.outgoing import Phase
from radpost.transfer.transmission import State

DAY = 86_400.0
MakeSite = Callable[[str, str, World, SitePolicy], Site]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens: so many studies each way, in so many hours, under these faults."""

    studies: int = 4
    objects: int = 7
    hours: float = 6.0
    faults: Faults = field(default_factory=Faults)
    policy: SitePolicy = field(default_factory=SitePolicy)
    operator: bool = True
    """Somebody looks at the alarms twice a day and orders retries."""
    days: float = 40.0
    attacks: bool = True


@dataclass(frozen=True, slots=True)
class Summary:
    """What one run came to."""

    seed: int
    transmissions: int
    confirmed: int
    superseded: int
    crashes: int
    alarms: int
    submitted: int
    events: int


def run(seed: int, scenario: Scenario, left: MakeSite = Site, right: MakeSite = Site) -> Summary:
    """Run a scenario to its end and check that all is well; raises ``Violation`` with the seed."""
    world = World(seed, scenario.faults)
    sites = (left("a", "b", world, scenario.policy), right("b", "a", world, scenario.policy))
    for site in sites:
        for number in range(scenario.studies):
            study = f"{site.name}{number}"
            begin = world.dice.uniform(0, scenario.hours * 3600)
            world.at(begin, _modality(world, site, study, scenario.objects))
    if scenario.attacks:
        _attack(world, sites[1])
    if scenario.operator:
        for half_day in range(1, int(scenario.days * 2) - 6):
            for site in sites:
                world.at(half_day * DAY / 2, site.operator)
    world.run(scenario.days * DAY)
    for site, other in (sites, sites[::-1]):
        check_end(world, site, other, scenario)
    ended = [state.state for site in sites for _, state in site.transmissions.items()]
    return Summary(
        seed=seed,
        transmissions=len(ended),
        confirmed=sum(state is State.CONFIRMED for state in ended),
        superseded=sum(state is State.SUPERSEDED for state in ended),
        crashes=sum(site.crashes for site in sites),
        alarms=sum(site.alarms_raised for site in sites),
        submitted=world.submitted,
        events=world.events,
    )


def _modality(world: World, site: Site, study: str, objects: int) -> Callable[[], None]:
    """Send a study by C-STORE, each object until it gets its success, then end the association."""

    def send(number: int = 0) -> None:
        if number == objects:
            site.step(lambda: site.collect(study, AssociationEnded()) if site.up else None)
            return
        name = f"{study}/{number}"
        stored = site.store_object(study, name)
        if stored:
            world.acknowledged.setdefault(site.name, set()).add(name)
        world.at(world.now + (1 if stored else 60), lambda: send(number + stored))

    return send


def _attack(world: World, victim: Site) -> None:
    """Mails that want to make the gateway answer strangers, or answer answers."""
    stranger = "stranger@example.net"
    world.open_mailbox(stranger, lambda: None)
    tricks = [
        Mail("x1", stranger, victim.address, "data", receipt_to=stranger, objects=("x/1",)),
        Mail("x2", victim.partner, victim.address, "data", receipt_to=stranger, objects=("x/2",)),
        Mail("x3", victim.partner, victim.address, "receipt", receipt_to=victim.partner, original="x"),
        Mail("x4", victim.partner, victim.address, "data", receipt_to=victim.partner, automatic=True),
    ]
    for number, mail in enumerate(tricks):
        world.at(600.0 * number, partial(_post, world, mail))


def _post(world: World, mail: Mail) -> None:
    world.submit(mail)


def check_end(world: World, sender: Site, receiver: Site, scenario: Scenario) -> None:
    """Check what must hold when the world has come to rest."""
    ends = {State.CONFIRMED, State.SUPERSEDED} if scenario.operator else set(State)
    for set_id, state in sender.transmissions.durable.items():
        open_alarms = [key for key, reason in sender.alarms.durable.items() if reason and set_id in key[0]]
        if state.state not in transmission.ENDED and not open_alarms:
            raise world.fail(4, f"transmission {set_id} neither ended nor alarmed: {state.state.value}")
        if state.state not in ends:
            raise world.fail(4, f"transmission {set_id} did not get through: {state.state.value}")
    planned: list[str] = []
    for key, mail in sender.mails.durable.items():
        names = sender.contents.durable[key]
        planned += () if mail.phase is Phase.SUPERSEDED else names
        if mail.phase in outgoing.CONFIRMED and not all(name in receiver.objects.durable for name in names):
            raise world.fail(1, f"mail {key} is confirmed, its objects are not there")
    collected = set(sender.collected.durable)
    if not world.acknowledged.get(sender.name, set()) <= collected:
        raise world.fail(1, "C-STORE success for an object that is not there")
    if not collected <= set(planned):
        raise world.fail(4, "objects were collected and never planned")
    if len(planned) != len(set(planned)):
        raise world.fail(2, "an object was planned twice")
    if scenario.operator and not collected <= set(receiver.objects.durable):
        raise world.fail(4, "objects did not arrive")
