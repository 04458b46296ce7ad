"""Throughput: taking turns, the ratios, the limits, and the benchmarks that pytest shows of it."""

from __future__ import annotations

import itertools
import json
import math
import re
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_kerasdiff import speed, text, throughput, turns
from pytest_kerasdiff.candidate import timing
from pytest_kerasdiff.checks import concerned
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.trace import Layer, ReferenceTrace
from tests import helpers

Entry = dict[str, Any]
NO_LIMITS: Entry = {"min_speed": None, "max_slowdown": 0.2, "baseline": None}


# -- taking turns ------------------------------------------------------------------------------------------------------


class Toy:
    """A model whose runs take as long as it is told; it writes down when it runs."""

    def __init__(self, name: str, seconds: Iterator[float], log: list[tuple[str, int]]) -> None:
        self._name, self._seconds, self._log = name, seconds, log

    def __call__(self, runs: int) -> float:
        self._log.append((self._name, runs))
        return next(self._seconds) * runs


def test_models_take_turns_after_a_warm_up() -> None:
    log: list[tuple[str, int]] = []
    slow, fast = Toy("slow", itertools.repeat(0.1), log), Toy("fast", itertools.repeat(0.05), log)
    found = throughput.take_turns({"slow": slow, "fast": fast})
    assert [len(times) for times in found.values()] == [12, 12]
    assert found["slow"] == pytest.approx([0.1] * 12)
    assert found["fast"] == pytest.approx([0.05] * 12)
    assert log[-24:] == [("slow", 2), ("fast", 3)] * 12  # at least 0.15 s each
    assert {runs for _, runs in log[:-24]} == {1}


def test_the_first_runs_do_not_count() -> None:
    times = itertools.chain([30.0], itertools.repeat(0.2))
    assert throughput.take_turns({"one": Toy("one", times, [])})["one"] == [0.2] * 12


def test_slow_models_take_fewer_turns() -> None:
    found = throughput.take_turns({"one": Toy("one", itertools.repeat(9.0), [])})
    assert found["one"] == [9.0] * 4


def test_ratios_are_of_the_same_round() -> None:
    found = throughput.entry("cpu", 8, {"torch": [1, 2, 4], "keras": [2, 4, 8], "yardstick": [1, 1, 4]}, {})
    assert found["ratio"] == {"median": 2, "low": 2, "high": 2}
    assert found["ratio_to_yardstick"] == {"median": 1, "low": 0.75, "high": 1}
    assert (found["torch"]["per_second"], found["keras"]["per_second"]) == (4, 2)
    alone = throughput.entry("cuda", 8, {"torch": [1.0]}, {"keras": "Keras is run on the CPU only"})
    assert (alone["keras"], alone["ratio"]) == (None, None)
    assert text.speed(alone) == "cuda, batch 8: 8 samples/s"
    assert text.speed(found) == "cpu, batch 8: 4 samples/s, Keras 2: 2 times (2 … 2) as fast"
    failed = throughput.entry("cuda", 8, {}, {"torch": "the port cannot run it: no"})
    assert text.speed(failed) == "cuda, batch 8: the port cannot run it: no"


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 5), batch=st.integers(1, 17))
def test_inputs_are_repeated_to_a_batch(rows: int, batch: int) -> None:
    array = np.arange(rows * 2).reshape(rows, 2)
    (found,) = throughput.of_size([array], batch)
    assert found.shape == (batch, 2)
    assert np.array_equal(found, array[np.arange(batch) % rows])


# -- the yardstick -----------------------------------------------------------------------------------------------------


def trace(
    layers: Sequence[tuple[str, Mapping[str, Any], tuple[int, ...], tuple[int, ...], tuple[int, ...]]],
) -> ReferenceTrace:
    """Layers as (class, config, shape taken, shape given, shape of the kernel), each by itself."""
    made: list[Layer] = []
    shapes: dict[int, tuple[int, ...]] = {}
    weights: dict[tuple[str, str], Any] = {}
    for i, (kind, config, taken, gives, kernel) in enumerate(layers):
        made.append(Layer(f"layer_{i}", kind, dict(config), (2 * i,), (2 * i + 1,), ("kernel", "bias")))
        shapes |= {2 * i: taken, 2 * i + 1: gives}
        weights |= {(f"layer_{i}", "kernel"): np.zeros(kernel), (f"layer_{i}", "bias"): np.zeros(kernel[-1])}
    return ReferenceTrace(tuple(made), (), {}, shapes, weights, {}, ())


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (("Conv2D", {"strides": [2, 2], "dilation_rate": [1, 1]}, (2, 9, 8, 6), (2, 5, 4, 10), (3, 3, 6, 10)),
         throughput.Product((4, 6, 9, 8), (10, 6, 3, 3), (2, 2), (1, 1), 1)),
        (("Conv2D", {"groups": 2}, (2, 9, 8, 6), (2, 9, 8, 10), (3, 3, 3, 10)),
         throughput.Product((4, 6, 9, 8), (10, 3, 3, 3), (1, 1), (1, 1), 2)),
        (("DepthwiseConv2D", {}, (2, 9, 8, 6), (2, 9, 8, 12), (3, 3, 6, 2)),
         throughput.Product((4, 6, 9, 8), (12, 1, 3, 3), (1, 1), (1, 1), 6)),
        (("Conv1D", {"dilation_rate": [2], "data_format": "channels_first"}, (2, 6, 9), (2, 4, 5), (3, 6, 4)),
         throughput.Product((4, 6, 9), (4, 6, 3), (1,), (2,), 1)),
        (("Dense", {}, (2, 7, 5), (2, 7, 3), (5, 3)), throughput.Product((28, 5), (5, 3))),
        (("Conv2DTranspose", {}, (2, 4, 4, 6), (2, 8, 8, 3), (3, 3, 3, 6)), throughput.Product((256, 27), (27, 6))),
    ],
)  # fmt: skip
def test_the_yardstick_has_the_models_sizes_and_can_be_computed(layer: Any, expected: throughput.Product) -> None:
    (found,) = throughput.yardstick(trace([layer]), 4)
    assert found == expected
    call = timing.yardstick([found], "cpu")
    assert timing.runner(call, "cpu")(2) > 0


def test_the_yardstick_leaves_vectors_out_and_needs_no_kernel() -> None:
    layer: Any = ("BatchNormalization", {}, (2, 4, 4, 6), (2, 4, 4, 6), (6,))
    assert throughput.yardstick(trace([layer]), 4) == []
    with torch.inference_mode():
        timing.yardstick([], "cpu")()


def test_the_peak_of_memory_begins_anew() -> None:
    timing.forget_peak("cpu")
    before = timing.facts("cpu")["peak_bytes"]
    if before is None:
        pytest.skip("memory is read from /proc")
    block = bytearray(200 << 20)
    block[::4096] = b"1" * len(block[::4096])
    del block
    assert 150 << 20 < timing.facts("cpu")["peak_bytes"] - before < 300 << 20


# -- the line between the processes ------------------------------------------------------------------------------------


def test_one_process_asks_and_the_other_answers() -> None:
    ours, theirs = map(turns.Line, socket.socketpair())

    def answer() -> None:
        while (asked := theirs.receive()) is not None:
            theirs.send({"missing": "no"} if asked["runs"] == 13 else {"seconds": asked["runs"] / 2})

    thread = threading.Thread(target=answer)
    thread.start()
    assert ours.run(3) == 1.5
    with pytest.raises(RunError, match="no"):
        ours.run(13)
    ours.close()
    thread.join(5)
    assert not thread.is_alive()
    theirs.close()


def test_the_other_process_may_end() -> None:
    ours, theirs = map(turns.Line, socket.socketpair())
    theirs.close()
    with pytest.raises(RunError, match="the other process has ended while both models were timed"):
        ours.run(1)
    ours.close()


# -- limits ------------------------------------------------------------------------------------------------------------


def measured(ratio: float | None, to_yardstick: float | None = 0.5, device: str = "cpu", batch: int = 1) -> Entry:
    seconds = {"torch": [1.0]}
    missing = {}
    for name, value in (("keras", ratio), ("yardstick", to_yardstick)):
        if value is None:
            missing[name] = "it is not there"
        else:
            seconds[name] = [value]
    return throughput.entry(device, batch, seconds, missing)


@pytest.mark.parametrize(
    ("entry", "limits", "words"),
    [
        (measured(0.5), {}, ""),
        (measured(0.5), {"min_speed": 0.5}, ""),
        (measured(0.5), {"min_speed": 0.6},
         "cpu, batch 1: 0.5 times (0.5 … 0.5) as fast as Keras, at least 0.6 asked for"),
        (measured(None), {"min_speed": 0.6}, "no speed of Keras to hold against the smallest ratio (it is not there)"),
        (measured(None, device="cuda"), {"min_speed": 0.6}, ""),
        (measured(0.85), {"baseline": [measured(1.0)]}, ""),
        (measured(0.75), {"baseline": [measured(1.0)]},
         "0.75 times (0.75 … 0.75) as fast as Keras, in the baseline 1 times (1 … 1): more than 20% slower"),
        (measured(0.75), {"baseline": [measured(1.0)], "max_slowdown": 0.3}, ""),
        (measured(None, 0.3), {"baseline": [measured(1.0, 0.5)]}, "0.3 times (0.3 … 0.3) as fast as the yardstick"),
        (measured(None, 0.45), {"baseline": [measured(1.0, 0.5)]}, ""),
        (measured(1.0), {"baseline": [measured(1.0, batch=2)]}, "the baseline has no such measurement"),
        (measured(None, device="cuda"), {"baseline": [measured(1.0)]}, ""),
        (measured(None, 0.1, "cuda"), {"baseline": [measured(None, 0.5, "cuda")]}, "cuda, batch 1: 0.1 times"),
        (measured(1.0, None), {"baseline": [measured(None, 0.5)]},
         "nothing that both this run and the baseline have timed"),
        (throughput.entry("cpu", 1, {}, {"torch": "it raised"}), {"min_speed": 1}, "cpu, batch 1: it raised"),
    ],
)  # fmt: skip
def test_what_was_measured_is_held_against_the_limits(entry: Entry, limits: Entry, words: str) -> None:
    found = list(throughput.broken_limits(entry, {**NO_LIMITS, **limits}))
    assert len(found) == bool(words)
    assert words in "".join(found)


def test_a_baseline_is_read_from_a_report(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"throughput": {"measured": [measured(0.5)]}}))
    (found,) = throughput.read_baseline(report, [1], Path("net.h5"))
    assert (found["batch"], found["ratio"]["median"]) == (1, 0.5)
    assert not list(throughput.broken_limits(measured(0.45), {**NO_LIMITS, "baseline": [found]}))
    with pytest.raises(RunError, match="the baseline has no measurement at batch 8"):
        throughput.read_baseline(report, [1, 8], Path("net.h5"))


def of_ratio(ratio: Any) -> str:
    return json.dumps({"throughput": {"measured": [{**measured(0.5), "ratio": ratio}]}})


def test_a_baseline_of_another_model_is_refused(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"keras_model": "/elsewhere/net.h5", "throughput": {"measured": [measured(0.5)]}}))
    assert throughput.read_baseline(report, [1], Path("/here/net.h5"))
    with pytest.raises(RunError, match=r"a report of net\.h5, not of other\.h5"):
        throughput.read_baseline(report, [1], Path("/here/other.h5"))


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", '{"throughput": null}', '{"throughput": {"measured": [3]}}', of_ratio(3), of_ratio({}),
        of_ratio({"median": float("nan"), "low": 1, "high": 1}), of_ratio({"median": "1", "low": 1, "high": 1}),
        of_ratio({"median": 0, "low": 0, "high": 1}), "[" * 100000,
    ],
)  # fmt: skip
def test_a_baseline_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(RunError, match=r"report\.json: not a report\.json with throughput in it"):
        throughput.read_baseline(tmp_path / "report.json", [1], Path("net.h5"))
    with pytest.raises(RunError, match="no such file"):
        throughput.read_baseline(tmp_path / "nothing.json", [1], Path("net.h5"))


def test_the_check_is_made_where_it_is_asked_for() -> None:
    assert "throughput" not in concerned.of_model(Manifest())
    assert "throughput" in concerned.of_model(Manifest(), {"throughput"})


# -- whole runs --------------------------------------------------------------------------------------------------------


SLOW = """

def slow(path):
    return Slow(path).eval()


class Slow(Tiny):
    def forward(self, x):
        for _ in range(60):
            y = super().forward(x)
        return y
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model, its recorded reference, and the report of a run that timed it."""
    made = tmp_path_factory.mktemp("throughput")
    helpers.write_tiny(made / "net.h5")
    (made / "port.py").write_text(helpers.TINY_PORT + SLOW)
    done = helpers.program(
        made, "net.h5", "--torch", "port:build", "--throughput", "1,4", "--report", "out", "--record", "ref.h5"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"  speed     cpu, batch 4: [\d.e+]+ samples/s, Keras [\d.e+]+: [\d.e+]+ times", done.stdout)
    return made


RUN = ("--keras-model=net.h5", "--kerasdiff-torch=port:build", "-q")


def test_both_models_are_timed(folder: Path) -> None:
    found = json.loads((folder / "out" / "report.json").read_text("utf-8"))
    measured = {(e["device"], e["batch"]): e for e in found["throughput"]["measured"]}
    assert {("cpu", 1), ("cpu", 4)} <= set(measured)
    for (device, batch), entry in measured.items():
        for side in ("torch", "keras", "yardstick") if device == "cpu" else ("torch", "yardstick"):
            assert 4 <= len(entry[side]["seconds"]) <= 12
            assert math.isclose(entry[side]["per_second"], batch / np.median(entry[side]["seconds"]))
        assert entry["threads"] >= 1
        assert entry["device_name"]
        assert entry["broken"] == []
    assert found["timing"]["throughput_s"] > 1


def test_benchmarks_are_shown_and_a_limit_fails(folder: Path, tmp_path: Path) -> None:
    done = helpers.run_pytest(
        folder, *RUN, "--kerasdiff-throughput=1", "--kerasdiff-min-speed=1e6", "--benchmark-only", "-rsf",
        f"--benchmark-json={tmp_path / 'made.json'}",
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "\nmodel: throughput: cpu, batch 1: " in done.stdout
    assert f"FAILED net.h5::model::throughput-cpu-1-torch{' - ' if helpers.SUMMARY_SAYS_WHY else ''}" in done.stdout
    assert "equivalent, but too slow: 6 of 6 layers pass" in done.stdout
    made = {one["name"]: one for one in json.loads((tmp_path / "made.json").read_text("utf-8"))["benchmarks"]}
    for side in ("torch", "keras"):
        one = made[f"throughput-cpu-1-{side}"]
        assert (one["group"], one["options"]["timer"]) == ("cpu, batch 1", "measured")
        assert 4 <= one["stats"]["rounds"] <= 12
        per_second = one["extra_info"]["samples_per_second"]
        assert math.isclose(per_second, 1 / one["stats"]["median"], rel_tol=1e-6)
    more = made["throughput-cpu-1-torch"]["extra_info"]
    assert {"threads", "device_name", "peak_bytes", "versions", "accuracy", "ratio"} <= set(more)
    if not torch.cuda.is_available():
        assert "torch sees no CUDA device" in done.stdout


def test_beside_workers_a_limit_is_an_error_and_nothing_is_timed(folder: Path) -> None:
    own = (*RUN, "--kerasdiff-throughput=1", "-n", "2")
    for limit in ("--kerasdiff-min-speed=0.1", "--kerasdiff-baseline=out/report.json"):
        done = helpers.run_pytest(folder, *own, limit)
        assert done.returncode == 4
        assert done.stderr.startswith("ERROR: --kerasdiff-min-speed and --kerasdiff-baseline: speed is not measured ")
        assert "run it with -n 0" in done.stderr
    done = helpers.run_pytest(folder, *own, "-rs")
    assert done.returncode == 0, done.stdout
    assert (
        "SKIPPED [3] net.h5:1: speed is not measured while pytest-xdist's workers run: run it with -n 0" in done.stdout
    )


def test_leaving_benchmarks_out_does_not_go_with_a_limit(folder: Path) -> None:
    done = helpers.run_pytest(folder, *RUN, "--kerasdiff-throughput=1", "--kerasdiff-min-speed=0.1", "--benchmark-skip")
    assert done.returncode == 4
    assert "--benchmark-skip leaves out what they limit" in done.stderr


def test_without_keras_the_yardstick_tells_a_port_that_became_slow(folder: Path) -> None:
    own = (
        "net.h5",
        "--reference",
        "ref.h5",
        "--throughput",
        "1",
        "--baseline",
        "out/report.json",
        "--max-slowdown",
        "0.8",
    )
    right = helpers.program(folder, *own, "--torch", "port:build")
    assert right.returncode == 0, right.stdout + right.stderr
    assert "as fast as the yardstick" in right.stdout
    slow = helpers.program(folder, *own, "--torch", "port:slow")
    assert slow.returncode == 1, slow.stdout
    assert "as fast as the yardstick, in the baseline" in slow.stdout
    assert "more than 80% slower" in slow.stdout


def test_it_is_turned_off_like_other_checks(folder: Path) -> None:
    done = helpers.run_pytest(
        folder, *RUN, "--kerasdiff-throughput=1", "--kerasdiff-min-speed=1e6",
        "--kerasdiff-off=model::throughput: a busy machine", "-m", "benchmark", "-rs",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "turned off: a busy machine" in done.stdout


def test_without_pytest_benchmark_the_limits_hold(folder: Path, tmp_path: Path) -> None:
    fast = [{**throughput.entry("cpu", 1, {"torch": [1e-9], "yardstick": [1.0]}, {})}]
    (tmp_path / "fast.json").write_text(json.dumps({"throughput": {"measured": fast}}))
    done = helpers.run_pytest(
        folder, *RUN, "--kerasdiff-throughput=1", "--kerasdiff-reference=ref.h5", "-rs", "-p", "no:benchmark",
        f"--kerasdiff-baseline={tmp_path / 'fast.json'}", "-m", "benchmark", "--strict-markers", "-W", "error",
    )  # fmt: skip
    assert done.returncode == 1
    assert "1 failed, 2 skipped" in done.stdout
    assert "as fast as the yardstick, in the baseline 1e+09 times" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--throughput=1,x",), "--throughput: got '1,x', expected batch sizes by commas, at most 65536, such as 1,32"),
        (("--throughput=0",), "--throughput: got '0', expected batch sizes by commas, at most 65536, such as 1,32"),
        (
            ("--throughput=99999999999",),
            "--throughput: got '99999999999', expected batch sizes by commas, at most 65536, such as 1,32",
        ),
        (
            ("--throughput=1", "--baseline=x.json", "--max-slowdown=20"),
            "--max-slowdown: got '20', expected a share, 0 or greater and less than 1, such as 0.2 for a fifth",
        ),
        (("--min-speed=1",), "--min-speed speaks of speed: it goes with --throughput=SIZES"),
        (
            ("--throughput=1", "--min-speed=1", "--reference=ref.h5"),
            "--min-speed: with a recorded reference Keras is not run",
        ),
        (("--throughput=1", "--max-slowdown=0.1"), "--max-slowdown speaks of a baseline: it goes with --baseline=PATH"),
        (("--throughput=1", "--min-speed=-1"), "--min-speed: got '-1', expected a number greater than 0"),
    ],
)
def test_options_that_mean_nothing_are_refused(folder: Path, options: tuple[str, ...], words: str) -> None:
    done = helpers.program(folder, "net.h5", "--torch", "port:build", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {words}")


def test_a_clock_is_moved_by_hand() -> None:
    clock = speed.Clock()
    times = iter([0.5, 0.25])
    clock.move(times)
    clock.move(times)
    assert clock() == 0.75
