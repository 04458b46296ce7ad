"""Recorded programs with changes: run as one, and seeded as if they had been recorded so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_kerasdiff.candidate import formulas, functions, layerwise, recorder, windowed
from pytest_kerasdiff.candidate.program import Program
from pytest_kerasdiff.change import Change, Edit, Here, Step, Taken, removed
from pytest_kerasdiff.trace import ReplayError, Value

Floats = npt.NDArray[np.float64]
X = np.random.default_rng(0).normal(size=(2, 3, 6, 6))
RELU = Step("relu", {"self": Here()})
PAD = Step("constant_pad_nd", {"self": Here(), "pad": [0, 1, 0, 1], "value": 0.0})


@pytest.fixture(autouse=True)
def _torch_as_before() -> Iterator[None]:
    fastpath, tf32 = torch.backends.mha.get_fastpath_enabled(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_default_dtype(torch.float32)
    torch.backends.mha.set_fastpath_enabled(fastpath)
    torch.backends.cudnn.allow_tf32 = tf32


class Net(nn.Module):
    """A convolution, a normalisation, and what a test does with them."""

    def __init__(self, function: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.conv = nn.Conv2d(3, 3, 3, padding=1, dtype=torch.float32)
        self.bn = nn.BatchNorm2d(3, dtype=torch.float32)
        self.bn.running_mean = torch.tensor([1.0, 2.0, 3.0])
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def record(function: Callable[[Net, Tensor], Tensor]) -> Program:
    return recorder.record(Net(function), [X], "float64", "cpu")


def plain(net: Net, x: Tensor) -> Tensor:
    return F.leaky_relu(net.bn(net.conv(x)), 0.1)


def output(program: Program) -> Floats:
    number = program.trace.outputs[0]
    assert number is not None
    return program.run([number], {})[number]  # type: ignore[return-value]


def both_ways(program: Program, change: Change) -> Floats:
    """What a change gives, tried and seeded: the same."""
    tried, seeded = output(program.changed(change)), program.seeded(change)
    np.testing.assert_array_equal(tried, output(seeded))
    number = seeded.trace.outputs[0]
    assert number is not None
    np.testing.assert_array_equal(seeded.recorded[number], tried)
    assert seeded.trace.shapes[number] == tried.shape
    return tried


CASES: dict[str, tuple[Change, Callable[[Net, Tensor], Tensor]]] = {
    "argument": (
        Change(edits={2: Edit(arguments={"negative_slope": 0.3})}),
        lambda net, x: F.leaky_relu(net.bn(net.conv(x)), 0.3),
    ),
    "eps": (
        Change(edits={1: Edit(arguments={"eps": 0.5})}),
        lambda net, x: F.leaky_relu(
            F.batch_norm(
                net.conv(x), net.bn.running_mean, net.bn.running_var, net.bn.weight, net.bn.bias, False, 0.1, 0.5
            ),
            0.1,
        ),
    ),
    "before": (
        Change(edits={0: Edit(before={"input": (PAD,)}, arguments={"padding": [0, 0]})}),
        lambda net, x: F.leaky_relu(net.bn(F.conv2d(F.pad(x, (0, 1, 0, 1)), net.conv.weight, net.conv.bias)), 0.1),
    ),
    "after": (
        Change(edits={0: Edit(after=(RELU, PAD))}),
        lambda net, x: F.leaky_relu(net.bn(F.pad(F.relu(net.conv(x)), (0, 1, 0, 1))), 0.1),
    ),
    "instead": (
        Change(edits={2: Edit(instead=Step("hardtanh", {"self": Taken("self"), "min_val": 0.0, "max_val": 6.0}))}),
        lambda net, x: F.relu6(net.bn(net.conv(x))),
    ),
    "removed": (Change(edits={1: removed("input")}), lambda net, x: F.leaky_relu(net.conv(x), 0.1)),
    "no bias": (
        Change(edits={0: Edit(arguments={"bias": None})}),
        lambda net, x: F.leaky_relu(net.bn(F.conv2d(x, net.conv.weight, None, padding=1)), 0.1),
    ),
    "array": (
        Change(edits={0: Edit(arguments={"bias": np.arange(3.0)})}),
        lambda net, x: F.leaky_relu(net.bn(F.conv2d(x, net.conv.weight, torch.arange(3.0).double(), padding=1)), 0.1),
    ),
    "another value": (
        Change(edits={2: Edit(before={"self": (Step("add", {"self": Here(), "other": Value(0)}),)})}),
        lambda net, x: F.leaky_relu(net.bn(net.conv(x)) + x, 0.1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_changed_program_gives_what_a_port_written_so_gives(name: str) -> None:
    change, otherwise = CASES[name]
    program = record(plain)
    given = both_ways(program, change)
    np.testing.assert_allclose(given, output(record(otherwise)), 1e-12, 1e-12)
    assert given.shape != output(program).shape or not np.allclose(given, output(program))


def test_a_seeded_program_reads_as_if_it_had_been_recorded_so() -> None:
    change, otherwise = CASES["before"]
    seeded, recorded = record(plain).seeded(change).trace, record(otherwise).trace
    ops = [o.op.replace("constant_pad_nd", "pad") for o in seeded.operations]
    assert ops == [o.op for o in recorded.operations]
    assert [len(o.inputs) for o in seeded.operations] == [len(o.inputs) for o in recorded.operations]
    assert [seeded.shapes[o.outputs[0]] for o in seeded.operations] == [
        recorded.shapes[o.outputs[0]] for o in recorded.operations
    ]


def test_constants_are_changed_with_the_parameter_that_they_are() -> None:
    program = record(plain)
    number = program.trace.operations[0].constants[0]
    kernel = program.trace.constants[number].array
    changed = program.changed(Change({number: kernel.swapaxes(2, 3)}))
    np.testing.assert_array_equal(changed.trace.parameters["conv.weight"], kernel.swapaxes(2, 3))
    np.testing.assert_array_equal(program.trace.parameters["conv.weight"], kernel)
    assert not np.allclose(output(changed), output(program))


def test_operations_in_place_and_elements_of_lists_are_changed() -> None:
    program = record(lambda net, x: torch.cat([F.relu_(net.conv(x)), x], 1))
    tanh = Change(edits={1: Edit(instead=Step("tanh", {"self": Taken("self")}))})
    given = both_ways(program, tanh)
    np.testing.assert_allclose(given, output(record(lambda net, x: torch.cat([torch.tanh(net.conv(x)), x], 1))))
    second = Change(edits={2: Edit(before={"tensors.1": (RELU,)})})
    given = both_ways(program, second)
    np.testing.assert_allclose(given, output(record(lambda net, x: torch.cat([F.relu(net.conv(x)), F.relu(x)], 1))))


def test_a_normalisation_in_training_mode_leaves_the_statistics_as_they_are() -> None:
    program = record(plain)
    before = output(program)
    training = program.changed(Change(edits={1: Edit(arguments={"training": True})}))
    assert not np.allclose(output(training), before)
    np.testing.assert_array_equal(output(program), before)


def test_no_formula_hides_another_of_its_name() -> None:
    parts = (functions.FORMULAS, layerwise.FORMULAS, windowed.FORMULAS)
    assert len(formulas.FORMULAS) == 1 + sum(map(len, parts))


def test_what_does_not_run_is_one_line() -> None:
    program = record(plain)
    number = program.trace.outputs[0]
    assert number is not None
    for step in (Step("no_such_operation", {"self": Here()}), Step("relu", {"wrong": Here()})):
        wrong = Change(edits={0: Edit(after=(step,))})
        with pytest.raises(ReplayError):
            program.changed(wrong).run([number], {})
        with pytest.raises(ReplayError):
            program.seeded(wrong)
    later = Change(edits={0: Edit(before={"input": (Step("add", {"self": Here(), "other": Value(number)}),)})})
    with pytest.raises(ReplayError):
        program.changed(later).run([number], {})


def test_a_program_runs_in_other_arithmetic() -> None:
    program = record(plain)
    single = output(program.in_precision("float32"))
    assert single.dtype == np.float32
    difference = np.abs(single - output(program)).max()
    assert 0 < difference < 1e-5
