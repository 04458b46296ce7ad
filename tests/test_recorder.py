"""The recorder: the recorded program, run again on other values, gives what the model gives on them."""

from __future__ import annotations

import concurrent.futures
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from pytest_kerasdiff.candidate import observer, recorder
from pytest_kerasdiff.candidate.program import Program
from pytest_kerasdiff.errors import RunError, UnfollowedError
from pytest_kerasdiff.trace import ReplayError

THIS = Path(__file__).name


@pytest.fixture(autouse=True)
def _torch_as_before() -> Iterator[None]:
    """The recorder may change the whole process; these tests share theirs with others."""
    fastpath, tf32 = torch.backends.mha.get_fastpath_enabled(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_default_dtype(torch.float32)
    torch.backends.mha.set_fastpath_enabled(fastpath)
    torch.backends.cudnn.allow_tf32 = tf32


class Forward(nn.Module):
    """A model that is one function, with some parameters and a layer to use."""

    def __init__(self, function: Callable[[Forward, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        # Of a dtype of their own: recording changes the default, which would change the numbers drawn.
        self.w = nn.Parameter(torch.randn(4, 4, dtype=torch.float32))
        self.s = nn.Parameter(torch.randn(4, dtype=torch.float32))
        self.counter = nn.Buffer(torch.zeros(4))
        self.fc = nn.Linear(4, 4, dtype=torch.float32)
        self.drop = nn.Dropout()
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


Array = npt.NDArray[Any]


def inputs(seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(2, 4))


def record(model: nn.Module, *arrays: Array, precision: str = "float64") -> Program:
    return recorder.record(model, arrays or [inputs()], precision, "cpu")


def output(program: Program, given: Array | None = None) -> Array:
    value, source = program.trace.outputs[0], program.trace.inputs[0]
    assert value is not None
    return program.run([value], {} if given is None else {source: given})[value]


def operations(program: Program) -> list[str]:
    return [operation.op for operation in program.trace.operations]


def in_place(_: Forward, x: Tensor) -> Tensor:
    y = x + 1
    z = y * 3
    y.relu_()
    y += z
    return y * z


def input_in_place(_: Forward, x: Tensor) -> Tensor:
    return x.mul_(2).add_(1).relu_() + x


def view_written(_: Forward, x: Tensor) -> Tensor:
    y = x * 2
    y.view(-1)[3:6].mul_(5)
    return y + x


def base_written_after_view(_: Forward, x: Tensor) -> Tensor:
    y = x * 2
    view = y.t()
    y.add_(1)
    return view @ y


def overlapping_views(_: Forward, x: Tensor) -> Tensor:
    y = x * 2
    left, right = y[:, :3], y[:, 1:]
    left.mul_(3)
    right.add_(left.clone())
    return y + left.sum() + right.sum()


def slice_assigned(_: Forward, x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 0] = 0
    y[0, 1:] = x[1, :3]
    return y


def into_zeros(_: Forward, x: Tensor) -> Tensor:
    padded = torch.zeros(2, 6)
    padded[:, 1:5] = x
    return padded.cumsum(1)


def masked(_: Forward, x: Tensor) -> Tensor:
    return x.masked_fill_(x < 0, -1.0).clamp_(max=0.5)


def out_argument(_: Forward, x: Tensor) -> Tensor:
    result = torch.empty(2, 4)
    torch.mul(x, 3, out=result)
    return result + x


def dropout_in_eval(model: Forward, x: Tensor) -> Tensor:
    result: Tensor = model.drop(model.fc(model.drop(x)))
    return result


def copied_into_buffer(model: Forward, x: Tensor) -> Tensor:
    model.counter.zero_()
    model.counter.add_(model.s)
    y = x + model.counter
    model.counter.add_(1)
    return y * model.counter


def split_and_joined(_: Forward, x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=1)
    return torch.cat([second.relu_(), first], dim=1)


def control_flow(_: Forward, x: Tensor) -> Tensor:
    for _i in range(3):
        if x.shape[1] == 4:
            x = F.relu(x - 0.1)
    return x


@pytest.mark.parametrize(
    "function",
    [
        in_place,
        input_in_place,
        view_written,
        base_written_after_view,
        overlapping_views,
        slice_assigned,
        into_zeros,
        masked,
        out_argument,
        dropout_in_eval,
        copied_into_buffer,
        split_and_joined,
        control_flow,
    ],
)
def test_the_program_gives_what_the_model_gives(function: Callable[[Forward, Tensor], Tensor]) -> None:
    program = record(Forward(function))
    for seed in (0, 1):
        model = Forward(function).double()
        expected = model(torch.from_numpy(inputs(seed))).numpy()
        np.testing.assert_allclose(output(program, inputs(seed)), expected, rtol=1e-14)
    # The inputs it was recorded on are kept as they were, whatever was written into them.
    np.testing.assert_array_equal(output(program), output(program, inputs(0)))


def test_every_value_of_the_ordinary_pass_is_the_one_that_was_computed() -> None:
    seen: dict[int, Array] = {}
    program = record(Forward(in_place))
    numbers = [number for operation in program.trace.operations for number in operation.outputs]
    program.stream(numbers, seen.__setitem__)
    x = inputs()
    expected = [x + 1, (x + 1) * 3, np.maximum(x + 1, 0), np.maximum(x + 1, 0) + (x + 1) * 3]
    for number, array in zip(numbers, expected, strict=False):
        np.testing.assert_allclose(seen[number], array, atol=1e-15)
    assert operations(program) == ["add", "mul", "relu", "add", "mul"]


def test_part_of_the_program_runs_on_values_given() -> None:
    program = record(Forward(lambda model, x: torch.softmax(F.relu(model.fc(x)), 1)))
    linear, relu, softmax = program.trace.operations
    given = inputs(5)
    found = program.run([softmax.outputs[0]], {relu.outputs[0]: given})[softmax.outputs[0]]
    np.testing.assert_allclose(
        np.asarray(found, np.float64), torch.softmax(torch.from_numpy(given), 1).numpy(), atol=1e-15
    )
    with pytest.raises(ReplayError):
        program.run([linear.outputs[0]], {program.trace.inputs[0]: np.zeros((2, 5))})


def test_random_numbers_are_constants_of_the_recorded_run() -> None:
    program = record(Forward(lambda model, x: x + torch.randn(2, 4) + torch.rand_like(x)))
    np.testing.assert_array_equal(output(program), output(program))
    np.testing.assert_allclose(output(program, inputs(1)) - output(program), inputs(1) - inputs(0), atol=1e-12)


def test_what_does_not_depend_on_the_input_becomes_a_constant_with_its_origins() -> None:
    program = record(Forward(lambda model, x: F.linear(x, model.w * model.s.softmax(0), model.s) + torch.ones(4)))
    assert operations(program) == ["linear", "add"]
    linear, add = program.trace.operations
    constants = [program.trace.constants[number] for number in (*linear.constants, *add.constants)]
    assert [c.origins for c in constants] == [("s", "w"), ("s",), ()]
    model = Forward(in_place).double()
    np.testing.assert_allclose(
        np.asarray(constants[0].array, np.float64), (model.w * model.s.softmax(0)).numpy(), atol=1e-15
    )
    assert set(program.trace.parameters) == {"w", "s", "counter", "fc.weight", "fc.bias"}


def test_a_constant_read_before_it_is_written_keeps_what_it_held() -> None:
    program = record(Forward(copied_into_buffer))
    add, mul = program.trace.operations
    constants = [program.trace.constants[op.constants[0]].array for op in (add, mul)]
    first, second = (np.asarray(array, np.float64) for array in constants)
    np.testing.assert_allclose(second - first, 1)


def test_names_are_paths_of_modules() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.act = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.act(self.fc(x))
            return y + x + 1

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([Block(), Block()])
            self.shared = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x)
            return F.softmax(self.shared(self.shared(x)), 1)

    program = record(Net().eval())
    names = [operation.name for operation in program.trace.operations]
    assert names == [
        *("blocks.0.fc", "blocks.0.act", "blocks.0.add", "blocks.0.add@1"),
        *("blocks.1.fc", "blocks.1.act", "blocks.1.add", "blocks.1.add@1"),
        *("shared", "shared@1", "softmax"),
    ]
    assert [op.module for op in program.trace.operations][:3] == ["blocks.0.fc", "blocks.0.act", "blocks.0"]


def test_sources_are_lines_of_the_users_code() -> None:
    program = record(Forward(dropout_in_eval))
    (linear,) = program.trace.operations
    line = dropout_in_eval.__code__.co_firstlineno + 1
    assert linear.source.endswith(f"{THIS}:{line}")


def test_arguments_are_named_by_the_schema() -> None:
    program = record(nn.Conv2d(2, 3, 3, stride=2, padding=1).eval(), np.zeros((1, 2, 6, 6)))
    (conv,) = program.trace.operations
    assert (conv.op, conv.arguments["stride"], conv.arguments["padding"]) == ("conv2d", [2, 2], [1, 1])
    norm = record(nn.BatchNorm1d(4, eps=1e-3).eval()).trace.operations[0]
    assert (norm.op, norm.arguments["eps"]) == ("batch_norm", 1e-3)


@pytest.mark.parametrize(
    ("model", "shape", "op"),
    [
        (nn.LSTM(4, 3, batch_first=True), (2, 5, 4), "lstm"),
        (nn.GRU(4, 3), (5, 2, 4), "gru"),
        (nn.GELU(), (2, 4), "gelu"),
        (nn.LayerNorm(4), (2, 4), "layer_norm"),
        (nn.AdaptiveAvgPool2d(1), (1, 2, 4, 4), "adaptive_avg_pool2d"),
    ],
)
def test_an_operation_is_seen_before_it_decomposes(model: nn.Module, shape: tuple[int, ...], op: str) -> None:
    assert operations(record(model.eval(), np.random.default_rng(0).normal(size=shape))) == [op]


def test_a_scripted_model_is_recorded_like_an_eager_one() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.fc(x))

    eager = Net().eval()
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        scripted = torch.jit.trace(eager, torch.zeros(2, 4), check_trace=False)  # type: ignore[no-untyped-call]
    np.testing.assert_array_equal(output(record(scripted)), output(record(eager)))
    assert operations(record(scripted)) == ["linear", "relu"]


def test_a_cast_to_float32_is_raised_and_noted() -> None:
    program = record(Forward(lambda model, x: model.fc(x.to(torch.float32)) + torch.ones(4, dtype=torch.float32)))
    assert output(program).dtype == np.float64
    assert len(program.trace.notes) == 1
    assert f"{THIS}:" in program.trace.notes[0]
    assert "run in float64" in program.trace.notes[0]


def test_float32_is_kept_where_it_is_asked_for() -> None:
    program = record(Forward(in_place), precision="float32")
    assert output(program).dtype == np.float32
    assert program.trace.notes == ()


def test_outputs_are_flattened_and_an_output_that_is_constant_is_none() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> dict[str, object]:
            return {"a": x + 1, "b": [x * 2, torch.ones(2)], "c": None}

    first, second, third = record(Net()).trace.outputs
    assert (first, second) != (None, None)
    assert third is None


def test_a_model_that_raises_names_the_module_reached_and_the_line() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(
        RunError, match=r"raised in 2 \(Linear\) at .*given input of shape \(2, 4\): RuntimeError: "
    ) as caught:
        record(model)
    assert len(str(caught.value).splitlines()) == 1

    def broken(_: Forward, x: Tensor) -> Tensor:
        raise KeyError("no")

    with pytest.raises(RunError, match=rf"{THIS}:{broken.__code__.co_firstlineno + 1}.*KeyError"):
        record(Forward(broken))
    assert operations(record(Forward(in_place)))  # its hooks are gone: the next model is recorded as before


def test_recording_imports_no_compiler() -> None:
    code = (
        "import sys, numpy, torch; from pytest_kerasdiff.candidate import recorder; "
        "recorder.record(torch.nn.Linear(2, 2), [numpy.zeros((1, 2))], 'float64', 'cpu'); "
        "print([m for m in ('torch._dynamo', 'torch._inductor', 'torch.onnx') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (run.stdout.strip(), run.returncode) == ("[]", 0), run.stderr


def test_the_names_of_a_dict_of_outputs_are_kept_in_its_order() -> None:
    class Named(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"z": x + 1, "a": x * 2}

    trace = recorder.record(Named().eval(), [np.ones((2, 3))], "float64", "cpu").trace
    assert trace.environment["output_names"] == '["z", "a"]'
    assert len(trace.outputs) == 2


@pytest.mark.parametrize("observed", [False, True], ids=["recorded", "observed"])
def test_what_the_port_holds_no_longer_nobody_holds(observed: bool) -> None:
    """Else a deep port would need room for every activation."""
    alive: list[int] = []
    memories: list[StorageWeakRef] = []

    def steps(model: Forward, x: Tensor) -> Tensor:
        for _ in range(12):
            x = torch.relu(model.fc(x))
            memories.append(StorageWeakRef(x.untyped_storage()))  # type: ignore[no-untyped-call]
            alive.append(sum(not memory.expired() for memory in memories))  # type: ignore[no-untyped-call]
        return x

    model = Forward(steps)
    model.fc.requires_grad_(observed)
    delivered = observer.dtypes_of(model)
    program = recorder.record(model, [inputs()], "float64", "cpu")
    if observed:
        alive.clear()
        memories.clear()
        facts = observer.observe(
            model, lambda xs: model(*xs), [inputs()], delivered, {}, observer.Switches.now(), torch.float64, True, []
        )
        assert facts.tracks_gradient
        assert facts.held_bytes == 12 * 2 * 4 * 4, (
            "the outputs of 12 rectifiers in float32, which a backward pass needs"
        )
    assert max(alive) <= 2
    assert len(program.trace.operations) == 24


def test_a_tensor_with_the_id_of_one_that_is_gone_is_another_value() -> None:
    def steps(model: Forward, x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for number in range(40):  # temporaries, one after the other in the same memory
            total = total + (x * number).relu_().cos()
            total[0] = total[0] - (x[0] + number).abs()
        return total

    program = record(Forward(steps))
    for seed in (0, 1):
        expected = steps(Forward(steps), torch.from_numpy(inputs(seed))).numpy()
        np.testing.assert_allclose(output(program, inputs(seed)), expected, rtol=1e-12)


@pytest.mark.parametrize(("batch", "others"), [(1, []), (2, [1, 3])])
def test_other_batches_are_run_where_there_are_two_samples(batch: int, others: list[int]) -> None:
    sizes: list[int] = []

    def counted(model: Forward, x: Tensor) -> Tensor:
        sizes.append(len(x))
        return x.cos()

    model, given = Forward(counted), inputs()[:batch]
    delivered = observer.dtypes_of(model)
    recorded = recorder.record(model, [given], "float64", "cpu").recorded
    sizes.clear()
    facts = observer.observe(
        *(model, lambda xs: model(*xs), [given], delivered, {}, observer.Switches.now(), torch.float64, True),
        list(recorded.values()),
    )
    assert [len(batch[0]) for batch in facts.others] == others
    assert np.array_equal(facts.again[0], recorded[max(recorded)])
    # In float32, then the others; the same once more only where no larger batch has given it.
    assert sizes == [batch, *(others or [batch])]


def in_a_thread(model: Forward, x: Tensor) -> Tensor:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return pool.submit(lambda: x.cos()).result()


OUTSIDE: dict[str, Callable[[Forward, Tensor], Tensor]] = {
    "numpy": lambda model, x: torch.from_numpy(np.cos(x.detach().numpy())),
    "numpy in a sum": lambda model, x: x + torch.from_numpy(np.cos(x.detach().numpy())),
    "a list": lambda model, x: model.fc(torch.tensor(x.tolist())),
    "a thread": in_a_thread,
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_is_computed_outside_of_torch_is_refused(name: str) -> None:
    with pytest.raises(UnfollowedError, match="runs outside of torch's operations"):
        record(Forward(OUTSIDE[name]))


INSIDE: dict[str, Callable[[Forward, Tensor], Tensor]] = {
    "constants of numpy": lambda model, x: x + torch.from_numpy(np.arange(4.0)),
    "constants of a list": lambda model, x: x * torch.tensor([1.0, 2.0, 3.0, 4.0]),
    "constants of another dtype": lambda model, x: x * torch.from_numpy(np.arange(4, dtype=np.float32)),
    "what is only looked at": lambda model, x: x.cos() if np.isfinite(x.detach().numpy()).all() else x,
}


@pytest.mark.parametrize("name", INSIDE)
def test_constants_that_are_brought_along_are_constants(name: str) -> None:
    model = Forward(INSIDE[name])
    program = record(model)
    other = inputs(1)
    np.testing.assert_allclose(output(program, other), INSIDE[name](model, torch.from_numpy(other)).numpy(), rtol=1e-12)


def test_an_output_that_is_a_constant_is_one() -> None:
    assert record(Forward(lambda model, x: model.w + 1)).trace.outputs == (None,)
