"""Drawn layers: a correct port has no fault, a wrong one has its layer at fault exactly where its output differs."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, event, given, note, settings
from hypothesis import strategies as st
from torch import nn

from pytest_kerasdiff import manifest
from pytest_kerasdiff.errors import RunError
from tests import helpers
from tests.helpers import Report
from tests.rebuilt import faults, judging
from tests.rebuilt.drawn import KINDS, RANKS, Described, described, graph_faults, graphs, window_faults, window_layers
from tests.rebuilt.worker import Keras

FIXED = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


class KerasError(Exception):
    """Keras cannot build or run a model."""


class Workshop:
    """Where the examples of a session are made: a Keras process, and a folder for each."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, itertools.count()
        self.keras = Keras(folder)

    def make(self, layers: list[Described], outputs: list[str], batch: int, seed: int, text: str = "") -> Path:
        """Have a model made."""
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        if text:
            (folder / manifest.FILE_NAME).write_text(text, "utf-8")
        error = self.keras.make(folder, layers, outputs, batch, seed)
        if error:
            raise KerasError(error)
        return folder

    def example(self, *described: Any) -> Path:
        """As ``make``; what Keras cannot run is no example."""
        try:
            return self.make(*described)
        except KerasError as error:
            event(f"Keras: {str(error)[:70]}")
            assume(False)
            raise


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path_factory.mktemp("drawn"))
    yield workshop
    workshop.keras.close()


@pytest.fixture(autouse=True)
def _torch_as_before() -> Iterator[None]:
    """The recorder may change the whole process; these tests share theirs with others."""
    fastpath, tf32 = torch.backends.mha.get_fastpath_enabled(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_default_dtype(torch.float32)
    torch.backends.mha.set_fastpath_enabled(fastpath)
    torch.backends.cudnn.allow_tf32 = tf32


@st.composite
def small_models(draw: Any) -> tuple[str, int, list[Described], list[str], int]:
    """(kind, rank, layers, outputs, batch): a layer named ``it``, with something before and after it."""
    kind = draw(st.sampled_from(KINDS))
    rank = draw(st.sampled_from(RANKS.get(kind, (1, 2, 2, 3))))
    alike = draw(st.integers(0, 5))
    low = 1 if rank > 1 else 2
    shape = (
        [alike + low] * (rank + 1) if draw(st.integers(0, 3)) == 0 else [draw(st.integers(1, 6)) for _ in range(rank)]
    )
    shape = shape if len(shape) > rank else [*shape, draw(st.integers(1, 4))]
    batch = shape[0] if draw(st.integers(0, 3)) == 0 else 2
    model: list[Described] = [{"class": "Input", "config": {"name": "input", "shape": shape}, "inputs": []}]
    before = draw(st.sampled_from(["", "Conv", "Norm", "Activation"]))
    if before == "Conv":
        model.append(described(f"Conv{rank}D", "before", "input", filters=shape[-1], kernel_size=1))
    elif before == "Norm":
        model.append(described("BatchNormalization", "before", "input"))
    elif before == "Activation":
        model.append(described("Activation", "before", "input", activation="tanh"))
    source = model[-1]["config"]["name"]
    model.append(draw(window_layers(kind, rank, tuple(shape), "it", source)))
    after = draw(st.sampled_from(["", "Activation", "Dense", "Norm", "Flatten"]))
    flat = "Global" in kind and not model[-1]["config"]["keepdims"]
    if after == "Activation":
        model.append(described("Activation", "after", "it", activation="tanh"))
    elif after == "Norm" and not flat:
        model.append(described("BatchNormalization", "after", "it"))
    elif after == "Dense":
        model.append(described("Dense", "after", "it", units=draw(st.integers(1, 4))))
    elif after == "Flatten":
        model.append(described("Flatten", "flatten", "it"))
        model.append(described("Dense", "after", "flatten", units=draw(st.integers(1, 4))))
    return kind, rank, model, [model[-1]["config"]["name"]], batch


def layout(rank: int) -> str:
    """What must be said of inputs of five axes, which are not images."""
    return "[inputs]\nlayout = [0, 4, 1, 2, 3]\n" if rank == 3 else ""


def faults_of(report: Report) -> set[str]:
    """Layers at fault; nothing may be without a partner."""
    assert helpers.at(report, "unpaired") == set(), helpers.story(report)
    return helpers.at(report, "fault")


@FIXED
@given(data=st.data(), model=small_models(), seed=st.integers(0, 99))
def test_a_window(data: Any, model: Any, seed: int, workshop: Workshop) -> None:
    kind, rank, layers, outputs, batch = model
    name, fault = data.draw(window_faults(kind, rank))
    folder = workshop.example(layers, outputs, batch, seed, layout(rank))
    note(f"{layers} batch {batch} seed {seed} fault {name}")
    assert not judging.really_wrong(folder, {})  # the port itself is right
    report = judging.judge(folder, {}, batch, seed)
    assert set(helpers.statuses(report).values()) == {"pass"}, helpers.story(report)
    assert helpers.failed_checks(report) == set(), helpers.story(report)
    try:
        wrong = judging.really_wrong(folder, {"it": fault})
        report = judging.judge(folder, {"it": fault}, batch, seed)
    except (RunError, RuntimeError, IndexError) as error:
        event(f"cannot run: {name}")
        note(str(error))
        return
    finally:
        shutil.rmtree(folder)
    event(f"{'wrong' if wrong else 'same'}: {name}")
    possible = [set(wrong)]
    after = {la["config"]["name"] for la in layers if "it" in la["inputs"]}
    if wrong and name.startswith("extra"):  # one more operation may be its neighbour's as well
        possible += [after, *({source} for la in layers if la["config"]["name"] == "it" for source in la["inputs"])]
    if any(wrong.values()):  # what takes an array of another shape may be wrong too
        possible.append({*wrong, *after})
    assert faults_of(report) in possible, helpers.story(report)
    assert (report["verdict"] == "fail") >= bool(wrong)


@FIXED
@given(data=st.data(), model=graphs(), seed=st.integers(0, 99))
def test_a_graph(data: Any, model: Any, seed: int, workshop: Workshop) -> None:
    layers, output = model
    layer = data.draw(st.sampled_from(layers[1:]))
    name, fault = data.draw(graph_faults(layer))
    note(f"{layers} → {output}, seed {seed}, fault {name} of {layer['config']['name']}")
    folder = workshop.example(layers, [output], 2, seed)
    try:
        assert not judging.really_wrong(folder, {})
        report = judging.judge(folder, {}, 2, seed)
        assert set(helpers.statuses(report).values()) <= {"pass", "declared"}, helpers.story(report)
        assert report["verdict"] == "pass", helpers.story(report)
        changed = {layer["config"]["name"]: fault}
        wrong = set(judging.really_wrong(folder, changed))
        report = judging.judge(folder, changed, 2, seed)
    finally:
        shutil.rmtree(folder)
    event(f"{'wrong' if wrong else 'same'}: {layer['class']} {name}")
    possible = [wrong]
    if layer["class"] == "Flatten" and wrong:  # the order of a movement is the consumer's, or the output's
        possible = [{la["config"]["name"]} for la in layers if "flatten" in "".join(la["inputs"])] or [wrong]
    assert faults_of(report) in possible, helpers.story(report)
    assert (report["verdict"] == "fail") >= bool(wrong), helpers.story(report)


@pytest.mark.parametrize("join", ["Add", "Average", "Subtract", "Concatenate"])
def test_a_layer_lost_beside_its_own_input_is_alone_at_fault(join: str, workshop: Workshop) -> None:
    """``x + f(x)`` is then x + x: the sum is right, though it cannot be run on two different inputs."""
    layers = [
        {"class": "Input", "config": {"name": "input", "shape": [4, 5, 2]}, "inputs": []},
        described("Activation", "act", "input", activation="tanh"),
        {"class": join, "config": {"name": "join"}, "inputs": ["input", "act"]},
        described("Conv2D", "conv", "join", filters=3, kernel_size=1),
    ]
    folder = workshop.make(layers, ["conv"], 2, 0)
    report = judging.judge(folder, {"act": faults.instead(nn.Identity)}, 2, 0)
    assert helpers.at(report, "fault") == {"act"}, helpers.story(report)
    assert {la["name"]: la["inherits_from"] for la in report["layers"] if la["status"] == "inherited"} == {
        "join": "act",
        "conv": "act",
    }


def test_calls_of_a_shared_layer_may_run_in_another_order(workshop: Workshop) -> None:
    """The rebuilt port runs what is ready: first the second call of the shared convolution, which waits for nothing."""
    layers = [
        {"class": "Input", "config": {"name": "input", "shape": [3, 3, 4]}, "inputs": []},
        described("Activation", "act", "input", activation="tanh"),
        described("Conv2D", "conv", "act", filters=3, kernel_size=1),
        {**described("Conv2D", "conv", "input", filters=3, kernel_size=1), "value": "again"},
        {"class": "Subtract", "config": {"name": "join"}, "inputs": ["conv", "again"]},
    ]
    folder = workshop.make(layers, ["join"], 2, 0)
    report = judging.judge(folder, {}, 2, 0)
    assert set(helpers.statuses(report).values()) == {"pass"}, helpers.story(report)
