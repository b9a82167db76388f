"""The whole way, step by step, and what repeats it."""

from typing import TYPE_CHECKING

from radpost.testing.house import Pair

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_study_arrives_and_its_receipt_confirms_it(
    make_pair: "Callable[..., Pair]", study: "Callable[..., list[Path]]"
) -> None:
    pair = make_pair()
    (mail,) = pair.send(study(3))
    arrival = pair.b.take(mail)
    assert arrival.state == "receipt owed"
    (receipt,) = pair.b.answer()
    assert pair.b.arrival(arrival.id).state == "done"
    assert pair.a.take(receipt).state == "done"
    assert [row.state for row in pair.a.transmissions()] == ["confirmed"]
    assert pair.a.alarms() == []
    assert pair.b.alarms() == []
