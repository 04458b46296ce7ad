"""What a comparison costs grows with the model: counted in lines that are run and values that are read, not in time."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import pytest_kerasdiff
from pytest_kerasdiff import audit
from pytest_kerasdiff.checks import registry
from pytest_kerasdiff.trace import Array, ReferenceTrace, Value
from tests.test_judge import X, judge, statuses, weights
from tests.toys import ToyCandidate, ToyReference

PACKAGE = str(Path(pytest_kerasdiff.__file__).parent)


class Counted(Mapping[int, Array]):
    """Values that count how often each is read."""

    def __init__(self, values: Mapping[int, Array]) -> None:
        self._values = values
        self.reads: Counter[int] = Counter()

    def __getitem__(self, key: int) -> Array:
        self.reads[key] += 1
        return self._values[key]

    def __iter__(self) -> Iterator[int]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def both(depth: int, wrong: int | None = None) -> tuple[ReferenceTrace, ToyCandidate]:
    """A chain of dense layers, each rectified; one of them may have other weights.

    Args:
        depth: Number of dense layers.
        wrong: Position of the one that is wrong.
    """
    keras, torch = ToyReference(x=X), ToyCandidate(X)
    at, value = 0, Value(0)
    for number in range(depth):
        kernel, bias = (0.5 * array for array in weights(number))
        at = keras.relu(f"act_{number}", keras.dense(f"dense_{number}", at, kernel, bias))
        if number == wrong:
            bias = bias + 0.5
        value = torch.relu(f"relu_{number}", torch.linear(f"fc_{number}", value, kernel, bias))
    return keras.trace(at), torch.returns(value)


def lines_of(depth: int, wrong: int | None) -> int:
    """Lines of the package that are run to align, judge, check and audit a chain."""
    reference, candidate = both(depth, wrong)
    count = 0

    def within(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return within

    before = sys.gettrace()
    sys.settrace(lambda frame, event, _: within if frame.f_code.co_filename.startswith(PACKAGE) else None)
    try:
        made = judge(reference, candidate)
        registry.run(reference, candidate, made.alignment, made.verdicts, None)
        audit.unexercised(reference)
    finally:
        sys.settrace(before)
    expected = {"pass"} if wrong is None else {"pass", "fault", "inherited"}
    assert set(statuses(made, reference).values()) <= expected
    return count


@pytest.mark.parametrize("wrong", [None, 0, 5], ids=["right", "first layer wrong", "sixth layer wrong"])
def test_twice_the_layers_take_twice_the_work(wrong: int | None) -> None:
    assert lines_of(60, wrong) < 2.3 * lines_of(30, wrong)


def test_each_value_of_a_right_port_is_read_once() -> None:
    reference, candidate = both(6)
    values = Counted(reference.values)
    reference = dataclasses.replace(reference, values=values)
    made = judge(reference, candidate)
    registry.run(reference, candidate, made.alignment, made.verdicts, None)
    audit.unexercised(reference)
    assert set(statuses(made, reference).values()) == {"pass"}
    inner = [v for v in values if v not in reference.outputs]
    assert {v: values.reads[v] for v in inner} == dict.fromkeys(inner, 1)
    assert all(values.reads[v] == 2 for v in reference.outputs)  # and what the port itself gave
