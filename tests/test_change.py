"""Changes as data: what two of them are together, and when they contradict each other."""

from __future__ import annotations

import numpy as np

from pytest_kerasdiff.change import Change, Edit, Here, Step, Taken, combined, removed

RELU, TANH = Step("relu", {"self": Here()}), Step("tanh", {"self": Here()})


def test_changes_of_different_places_are_both_made() -> None:
    first = Change({0: np.zeros(2)}, {3: Edit(arguments={"eps": 1e-3})})
    both = combined(first, Change({1: np.ones(2)}, {4: removed("self")}))
    assert both is not None
    assert (set(both.constants), set(both.edits)) == ({0, 1}, {3, 4})


def test_what_is_done_before_one_argument_is_done_in_order() -> None:
    both = combined(
        Change(edits={3: Edit(before={"input": (RELU,)}, arguments={"padding": 0})}),
        Change(edits={3: Edit(before={"input": (TANH,)}, arguments={"stride": 2}, after=(RELU,))}),
    )
    assert both is not None
    assert both.edits[3] == Edit({"input": (RELU, TANH)}, {"padding": 0, "stride": 2}, None, (RELU,))


def test_the_same_change_twice_is_made_once() -> None:
    one = Change({0: np.zeros(2)}, {3: Edit(before={"input": (RELU,)})})
    both = combined(one, Change({0: np.zeros(2)}, {3: Edit(before={"input": (RELU,)})}))
    assert both is not None
    assert both.edits == one.edits


def test_contradictions_are_refused() -> None:
    assert combined(Change({0: np.zeros(2)}), Change({0: np.ones(2)})) is None
    assert combined(Change({0: np.zeros(2)}), Change({0: np.zeros(3)})) is None
    stride = [Change(edits={3: Edit(arguments={"stride": n})}) for n in (1, 2)]
    assert combined(*stride) is None
    instead = [Change(edits={3: Edit(instead=Step(op, {"self": Taken("self")}))}) for op in ("relu", "tanh")]
    assert combined(*instead) is None


def test_a_change_of_nothing_is_false() -> None:
    assert not Change()
    assert Change({0: np.zeros(1)})
    assert Change(edits={0: Edit()})
