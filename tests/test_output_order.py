"""Outputs in another order: found by their values, and said by the check of the outputs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from pytest_kerasdiff import output_order, verdict
from pytest_kerasdiff.checks import outputs

KERAS = {0: np.full((2, 3), 1.0), 1: np.full((2, 3), 2.0), 2: np.full((2, 4), 3.0)}


def find(*given: Any) -> dict[int, int]:
    """Order of a port's outputs, which are the values 10, 11, 12."""
    recorded = {10 + i: np.asarray(array) for i, array in enumerate(given)}
    judge = SimpleNamespace(
        candidate=SimpleNamespace(recorded=recorded),
        outputs=lambda: list(zip(KERAS, recorded, strict=True)),
        error_of_output=lambda u, array: verdict.compare(array, KERAS[u], 1e-5, "float64"),
    )
    reference = SimpleNamespace(outputs=tuple(KERAS), shapes={u: a.shape for u, a in KERAS.items()})
    return output_order.find(cast(Any, judge), cast(Any, reference))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((KERAS[0], KERAS[1], KERAS[2]), {}),
        ((KERAS[0] + 1e-3, KERAS[1] + 1e-3, KERAS[2]), {}),  # wrong values are no order
        ((KERAS[1], KERAS[0], KERAS[2]), {0: 11, 1: 10, 2: 12}),
        ((KERAS[2], KERAS[0], KERAS[1]), {0: 11, 1: 12, 2: 10}),
        ((KERAS[1], KERAS[0] + 1e-3, KERAS[2]), {0: 11, 1: 10, 2: 12}),  # what is left over
        ((KERAS[2] + 1, KERAS[1], KERAS[0] + 1), {0: 12, 1: 11, 2: 10}),  # by its size
        ((KERAS[1], KERAS[1], KERAS[2]), {}),  # a value that is returned twice
    ],
)
def test_each_output_is_found_where_it_is(given: tuple[Any, ...], expected: dict[int, int]) -> None:
    assert find(*given) == expected


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            "[]",
            "output 0 should be what b gives, which is output 1; output 1 should be what a gives, which is output 0",
        ),
        ('["x", "y"]', '"x" should be what b gives, which is "y"; "y" should be what a gives, which is "x"; name'),
    ],
)
def test_the_check_of_the_outputs_says_the_order(names: str, words: str) -> None:
    layers = [SimpleNamespace(name=name, outputs=(value,)) for value, name in enumerate("ab")]
    whole = SimpleNamespace(
        alignment=SimpleNamespace(elsewhere={1: 11, 0: 10}),
        candidate=SimpleNamespace(outputs=(10, 11), environment={"output_names": names}),
        reference=SimpleNamespace(outputs=(1, 0), layers=layers, environment={}),
    )
    outcome = outputs.check(cast(Any, whole))
    assert outcome.cause == "outputs"
    assert words in outcome.message
