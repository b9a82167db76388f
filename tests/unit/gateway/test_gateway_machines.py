"""Stored states: what goes into a row comes back as it was, for every machine, also from an older version."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radpost.errors import INTERNAL, TABLE, RadpostError, Reason
from radpost.gateway import machines
from radpost.transfer.completion import Collection
from radpost.transfer.delivery import Delivery
from radpost.transfer.incoming import IncomingMail
from radpost.transfer.incoming_set import Assembly, IncomingSet
from radpost.transfer.outgoing import OutgoingMail
from radpost.transfer.submission import Submission
from radpost.transfer.transmission import Transmission
from radpost.transfer.window import Window

st.register_type_strategy(Reason, st.sampled_from(sorted(TABLE.values(), key=lambda reason: reason.code)))
FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=64)
st.register_type_strategy(float, FLOATS)
STATES = [
    Assembly,
    Collection,
    Delivery,
    IncomingMail,
    IncomingSet,
    OutgoingMail,
    Submission,
    Transmission,
    Window,
]


@pytest.mark.parametrize("kind", STATES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_state_comes_back_as_it_was(kind: type[Any], data: st.DataObject) -> None:
    state = data.draw(st.builds(kind))
    again = machines.load(kind, machines.dump(state))
    assert again == state
    assert machines.dump(again) == machines.dump(state)


@pytest.mark.parametrize("kind", [kind for kind in STATES if kind not in {OutgoingMail, Window}])
def test_fields_that_an_older_version_did_not_have_get_their_defaults(kind: type[Any]) -> None:
    assert machines.load(kind, "{}") == kind()


def test_fields_that_a_newer_version_had_are_passed_over() -> None:
    assert machines.load(Submission, '{"tries": 2, "colour": "red"}') == Submission(tries=2)


def test_whole_numbers_in_fields_of_time_are_numbers_of_time() -> None:
    due = machines.load(Submission, '{"not_before": 12}').not_before
    assert isinstance(due, float)
    assert math.isclose(due, 12.0)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"phase": "dancing"}', '{"alarm": 99999}', "null"])
def test_a_damaged_state_is_a_fault_with_a_name(text: str) -> None:
    with pytest.raises(RadpostError) as caught:
        machines.load(Submission, text)
    assert caught.value.reason is INTERNAL
    assert "Submission" in caught.value.detail
