"""Known transformations of weights are recognised, whatever the weight and its sizes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_kerasdiff.checks import transformations
from pytest_kerasdiff.trace import Array

AXES, RIGHT = ("H", "W", "in", "out"), (3, 2, 0, 1)


def numbered(*shape: int) -> Array:
    """An array without two equal elements, in no order."""
    size = int(np.prod(shape))
    return np.random.default_rng(0).permutation(np.arange(1, size + 1)).reshape(shape).astype(np.float32)


SIZES = st.tuples(*[st.integers(1, 4)] * 4)


@given(SIZES, st.permutations(range(4)))
@settings(deadline=None)
def test_every_order_of_axes_is_named(sizes: tuple[int, ...], order: list[int]) -> None:
    kernel = numbered(*sizes)
    port = kernel.transpose(order)
    found = transformations.rearrangement(kernel, AXES, RIGHT, port)
    if kernel.size == 1 or transformations.same(port, kernel.transpose(RIGHT)):
        return  # nothing was moved
    assert found is not None
    wrong = {a for a, b in zip(order, RIGHT, strict=True) if a != b}
    if len(wrong) == 2 and all(sizes[a] > 1 for a in wrong) and len(set(sizes)) == 4:
        assert found == f"{AXES[min(wrong)]} and {AXES[max(wrong)]} exchanged"


@given(st.tuples(*[st.integers(2, 4)] * 4), st.sampled_from([(0,), (1,), (0, 1)]))
@settings(deadline=None)
def test_every_flip_is_named(sizes: tuple[int, ...], axes: tuple[int, ...]) -> None:
    kernel = numbered(*sizes)
    found = transformations.rearrangement(kernel, AXES, RIGHT, np.flip(kernel, axes).transpose(RIGHT))
    assert found == {(0,): "flipped along H", (1,): "flipped along W", (0, 1): "rotated by 180°"}[axes]


@given(st.tuples(*[st.integers(2, 5)] * 4), st.sampled_from([2, 3]), st.data())
@settings(deadline=None)
def test_channels_in_another_order_are_named(sizes: tuple[int, ...], axis: int, data: st.DataObject) -> None:
    kernel = numbered(*sizes)
    order = data.draw(st.permutations(range(sizes[axis])))
    found = transformations.rearrangement(kernel, AXES, RIGHT, np.take(kernel, order, axis).transpose(RIGHT))
    if order == sorted(order):
        return
    channels = "input" if axis == 2 else "output"
    how = "in reverse order" if order == sorted(order)[::-1] else f"in the order {transformations.in_brief(order)}"
    assert found == f"{channels} channels {how}"


def test_a_reshape_is_told_from_a_transposition() -> None:
    kernel = numbered(3, 5, 2, 4)
    assert (
        transformations.rearrangement(kernel, AXES, RIGHT, kernel.reshape(4, 2, 3, 5))
        == "reshaped instead of transposed"
    )


def test_other_values_are_no_rearrangement() -> None:
    kernel = numbered(3, 3, 2, 4)
    assert transformations.rearrangement(kernel, AXES, RIGHT, kernel.transpose(RIGHT) + 1) is None


@pytest.mark.parametrize("order", [o for o in itertools.permutations(range(3)) if o != (0, 1, 2)])
def test_the_order_of_flattened_rows(order: tuple[int, ...]) -> None:
    kernel = numbered(2 * 3 * 4, 5)
    rows = np.arange(24).reshape(2, 3, 4).transpose(order).ravel()
    found = transformations.flattened_otherwise(kernel, (2, 3, 4), kernel[rows])
    assert found is not None
    assert transformations.flattened_otherwise(kernel, (2, 3, 4), kernel) is None


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_blocks_of_gates(order: tuple[int, ...]) -> None:
    wanted = numbered(8, 3)
    port = np.concatenate([np.split(wanted, 4)[i] for i in order])
    assert transformations.blocks_in_order(wanted, port, 4) == order
    assert transformations.blocks_in_order(wanted, port + 1, 4) is None


def test_zeros_of_either_sign_are_the_same() -> None:
    assert transformations.same(np.array([0.0, 1.0]), np.array([-0.0, 1.0]))
    assert transformations.order_along(np.array([[0.0], [1.0]]), np.array([[1.0], [-0.0]]), 0) == [1, 0]


def test_likeness_and_constants() -> None:
    values = numbered(8)
    assert transformations.likeness(values, 3 * np.asarray(values, float) + 1) == pytest.approx(1)
    assert transformations.likeness(values, np.ones(8)) == 0
    assert transformations.constant_of(np.full(3, 0.5)) == 0.5
    assert transformations.constant_of(values) is None
