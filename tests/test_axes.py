"""Named axes: rearranging by meaning, and reading off what a movement did."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kerasdiff.align.axes import Axes, AxesError, decode, describe, rearrange, resized, whole

NHWC = (whole("n", 2), whole("h", 3), whole("w", 4), whole("c", 5))


def namer() -> Callable[[], str]:
    counter = itertools.count()
    return lambda: f"fresh{next(counter)}"


def moved(
    function: Callable[[np.ndarray], np.ndarray], axes: Axes = NHWC, shape: tuple[int, ...] = (2, 3, 4, 5)
) -> Axes | None:
    return decode(function(np.arange(int(np.prod(shape))).reshape(shape)), axes, namer())


def test_channels_first_is_read_off() -> None:
    assert moved(lambda a: a.transpose(0, 3, 1, 2)) == (NHWC[0], NHWC[3], NHWC[1], NHWC[2])


def test_flatten_keeps_the_order_of_its_axes() -> None:
    channels_last, channels_first = (
        moved(lambda a: a.reshape(2, -1)),
        moved(lambda a: a.transpose(0, 3, 1, 2).reshape(2, -1)),
    )
    assert channels_last is not None
    assert channels_first is not None
    assert describe(channels_last) == "(n, h·w·c)"
    assert describe(channels_first) == "(n, c·h·w)"


def test_splitting_an_axis_and_joining_it_again_is_the_axis() -> None:
    axes = moved(lambda a: a.reshape(2, 12, 5).reshape(2, 3, 2, 2, 5).reshape(2, 3, 4, 5))
    assert axes == NHWC


def test_a_shuffle_is_no_arrangement_of_axes() -> None:
    order = np.random.default_rng(0).permutation(120)
    assert moved(lambda a: a.ravel()[order].reshape(2, 3, 4, 5)) is None


def test_a_crop_keeps_the_axis() -> None:
    assert moved(lambda a: a[:, 1:, :, :]) == (NHWC[0], whole("h", 2), NHWC[2], NHWC[3])


def test_every_second_position_is_the_axis() -> None:
    found = moved(lambda a: a[:, :, 1::2, :])
    assert found == (NHWC[0], NHWC[1], whole("w", 2), NHWC[3])


def test_one_position_left_of_an_axis_keeps_its_name() -> None:
    found = moved(lambda a: a[:, :1].transpose(0, 3, 1, 2))
    assert found == (NHWC[0], NHWC[3], (("h", 1, 1),), NHWC[2])


def test_units_carry_no_axis() -> None:
    assert moved(lambda a: a[:, :, None]) == (NHWC[0], NHWC[1], (), NHWC[2], NHWC[3])


def test_repeating_makes_a_new_axis() -> None:
    axes = moved(lambda a: np.broadcast_to(a[:, None], (2, 7, 3, 4, 5)))
    assert axes is not None
    assert axes[1] == (("fresh0", 1, 7),)


def test_rearranging_exchanges_arrays_by_meaning() -> None:
    array = np.arange(120).reshape(2, 3, 4, 5)
    want = moved(lambda a: a.transpose(0, 3, 1, 2).reshape(2, -1))
    assert want is not None
    assert np.array_equal(rearrange(array, NHWC, want), array.transpose(0, 3, 1, 2).reshape(2, -1))
    assert np.array_equal(rearrange(array.transpose(0, 3, 1, 2).reshape(2, -1), want, NHWC), array)


def test_sizes_are_the_arrays_own() -> None:
    smaller = np.zeros((2, 2, 4, 5))
    assert rearrange(smaller, NHWC, (NHWC[0], NHWC[3], NHWC[1], NHWC[2])).shape == (2, 5, 2, 4)


def test_other_axes_of_the_same_sizes_are_refused() -> None:
    other = (whole("n", 2), whole("h", 3), whole("w", 4), whole("x", 5))
    with pytest.raises(AxesError, match="cannot become"):
        rearrange(np.zeros((2, 3, 4, 5)), NHWC, other)


def test_an_axis_that_occurs_twice_is_refused() -> None:
    twice = (whole("h", 3), whole("h", 3))
    with pytest.raises(AxesError):
        rearrange(np.zeros((3, 3)), twice, (*twice[::-1], ()))


def test_a_window_keeps_the_name_and_joins_parts() -> None:
    assert resized(whole("h", 32), 16, namer()) == whole("h", 16)
    assert resized((("f", 49, 64),), 66, namer()) == (("f/49", 1, 66),)


@given(st.permutations(range(4)), st.permutations(range(4)), st.integers(0, 3))
def test_any_two_arrangements_exchange_exactly(first: list[int], second: list[int], join: int) -> None:
    shape = (2, 3, 4, 5)
    array = np.arange(120).reshape(shape)

    def flattened(order: list[int]) -> Callable[[np.ndarray], np.ndarray]:
        def function(a: np.ndarray) -> np.ndarray:
            a = a.transpose(order)
            return a.reshape(*a.shape[:join], -1)

        return function

    have, want = moved(flattened(first)), moved(flattened(second))
    assert have is not None
    assert want is not None
    assert np.array_equal(rearrange(flattened(first)(array), have, want), flattened(second)(array))
