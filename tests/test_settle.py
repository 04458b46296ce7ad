"""Branches that the graphs do not tell apart: settled by their values, or the run stops with what to write."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pytest_kerasdiff.align.alignment import align
from pytest_kerasdiff.align.keras_axes import keras_axes
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.settle import settle
from pytest_kerasdiff.trace import ReferenceTrace, Value
from tests.toys import ToyCandidate, ToyReference

X = np.random.default_rng(0).standard_normal((3, 4))


JOINS: dict[str, Any] = {"Add": np.add, "Maximum": np.maximum, "add": np.add, "maximum": np.maximum}


def branches(*numbers: tuple[float, float], join: str = "Add") -> ReferenceTrace:
    """The sum, or another join, of ``scale · x + offset``, each step a layer: s0, o0, s1, o1, …"""
    toy = ToyReference(x=X)
    ends = []
    for i, (scale, offset) in enumerate(numbers):
        scaled = toy.layer(f"s{i}", "Rescaling", 0, config={"scale": scale, "offset": 0}, out=X * scale)
        config = {"scale": 1, "offset": offset}
        ends.append(toy.layer(f"o{i}", "Rescaling", scaled, config=config, out=X * scale + offset))
    return toy.trace(toy.layer("sum", join, *ends, out=functools.reduce(JOINS[join], [toy.values[e] for e in ends])))


def port(*numbers: tuple[float, float], join: str = "add") -> ToyCandidate:
    """The same in torch."""
    toy = ToyCandidate(X)
    ends = []
    for i, (scale, offset) in enumerate(numbers):
        scaled = toy.op(f"mul{i}", "mul", lambda x, by=scale: x * by, Value(0))
        ends.append(toy.op(f"add{i}", "add", lambda x, by=offset: x + by, scaled))
    total = ends[0]
    for i, end in enumerate(ends[1:]):
        total = toy.op(f"sum{i}", join, JOINS[join], total, end)
    return toy.returns(total)


def judged(reference: ReferenceTrace, candidate: ToyCandidate, layers: Mapping[str, str] | None = None) -> Judge:
    manifest = Manifest(layers={name: (operation, operation) for name, operation in (layers or {}).items()})
    axes = keras_axes(reference)

    def again(chosen: Mapping[int, int]) -> Judge:
        aligned = align(reference, candidate.trace, manifest, chosen)
        return Judge(reference, candidate, aligned, {0: axes[0]}, manifest, 1e-5, "float64", {})

    return settle(again({}), again, reference)


def faults(made: Judge, reference: ReferenceTrace) -> set[str]:
    return {la.name for la, v in zip(reference.layers, made.verdicts, strict=True) if v.status in ("fault", "unpaired")}


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_branches_in_any_order_pass(order: tuple[int, ...]) -> None:
    numbers = [(0.3, 0.5), (0.7, 0.9), (1.1, 0.2)]
    reference = branches(*numbers)
    made = judged(reference, port(*(numbers[i] for i in order)))
    assert faults(made, reference) == set()
    assert all(v.status == "pass" for v in made.verdicts)
    assert bool(made.notes) == (order != (0, 1, 2)), "what was settled by values is said"


def test_the_one_branch_that_is_left_is_known() -> None:
    reference = branches((0.3, 0.5), (0.7, 0.9))
    assert faults(judged(reference, port((0.7, 0.9), (0.4, 0.5))), reference) == {"s0"}


def test_many_branches_in_another_order_pass() -> None:
    numbers = [(0.1 * i, 0.5) for i in range(1, 9)]
    reference = branches(*numbers)
    assert faults(judged(reference, port(*numbers[3:], *numbers[:3])), reference) == set()


@pytest.mark.parametrize("join", ["Maximum", "Add"])
def test_what_stays_open_stops_with_the_lines_that_settle_it(join: str) -> None:
    reference = branches((0.3, 0.5), (0.7, 0.9), join=join)
    wrong = port((0.3, 0.9), (0.7, 0.5), join=join.lower())  # the offsets are exchanged, or the scales
    with pytest.raises(RunError) as stopped:
        judged(reference, wrong)
    assert "the layers o0, o1 fit each of the operations add0 [port.py:2], add1 [port.py:4]" in str(stopped.value)
    assert 'under [layers] and a line each: o0 = "add0"; o1 = "add1"; or in another order' in str(stopped.value)
    assert faults(judged(reference, wrong, {"o0": "add0", "o1": "add1"}), reference) == {"o0", "o1"}
    if join == "Maximum":  # of scales and offsets that are added nobody can say which are exchanged
        assert faults(judged(reference, wrong, {"o0": "add1", "o1": "add0"}), reference) == {"s0", "s1"}


def test_with_those_lines_a_right_port_passes() -> None:
    reference = branches((0.3, 0.5), (0.7, 0.9))
    made = judged(reference, port((0.7, 0.9), (0.3, 0.5)), {"o0": "add1", "o1": "add0"})
    assert {v.status for v in made.verdicts} == {"pass"}
    assert made.notes == []


def test_a_tie_that_changes_no_verdict_stops_nothing() -> None:
    reference = branches((0.3, 0.5), (0.7, 0.9))
    assert faults(judged(reference, port((0.31, 0.5), (0.71, 0.9))), reference) == {"s0", "s1"}


def test_what_both_sides_state_tells_branches_apart() -> None:
    toy = ToyReference(x=X)
    ends = [
        toy.layer(f"p{size}", "LeakyReLU", 0, config={"negative_slope": size}, out=np.where(X > 0, X, size * X))
        for size in (0.1, 0.2)
    ]
    reference = toy.trace(toy.layer("sum", "Add", *ends, out=np.add(toy.values[ends[0]], toy.values[ends[1]])))
    torch = ToyCandidate(X)
    slopes = [
        torch.op(f"leaky{by}", "leaky_relu", lambda x, by=by: np.where(x > 0, x, by * x), Value(0), negative_slope=by)
        for by in (0.2, 0.1)
    ]
    made = judged(reference, torch.returns(torch.op("add", "add", np.add, *slopes)))
    assert faults(made, reference) == set()
    assert made.alignment.ties == []
