"""Throughput: both models timed in turns, so that what slows the machine slows both.

Times of two runs on two machines say little about a port; the ratio of two models that take turns says much. Where
Keras is not there (a recorded reference), a yardstick takes its place: the products and convolutions of the Keras
model's own layers, of the same sizes, computed by torch one after the other. It is timed in any case, so that the ratio
to it can be held against that of an earlier report.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pytest_kerasdiff import text, turns
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.feeding import Layout
from pytest_kerasdiff.options import Settings
from pytest_kerasdiff.trace import Array, ReferenceTrace

Runner = Callable[[int], float]
"""Runs a model so many times and gives the seconds that took."""
_ROUNDS, _LEAST_ROUNDS = 12, 4
_TURN_S, _MOST_S = 0.15, 20.0
"""How long a turn lasts at least, and how long all turns at one batch size last at most, four rounds aside."""
_RATIOS = {"ratio": "keras", "ratio_to_yardstick": "yardstick"}
_WARM_UP_S, _WARM_UP_RUNS = 0.5, 3


@dataclasses.dataclass(frozen=True, slots=True)
class Product:
    """A layer's kernel on data of its size: one term of the yardstick.

    Attributes:
        data: Shape of the first factor as torch takes it.
        kernel: Shape of the second.
        stride: Of a convolution, one for each axis; empty for a matrix product.
        dilation: Likewise.
        groups: Of a convolution.
    """

    data: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Timed:
    """The port, ready to be timed on a device.

    Attributes:
        runners: "torch" and "yardstick".
        missing: Those that cannot be run → why.
        facts: What the report has of the device after the timing: ``device_name``, ``threads``, ``peak_bytes``.
    """

    runners: Mapping[str, Runner]
    missing: Mapping[str, str]
    facts: Callable[[], dict[str, Any]]


class Timeable(Protocol):
    """A recorded port that can be timed."""

    def devices(self) -> Sequence[str]:
        """Devices on which it can be timed: "cpu", "cuda"."""

    def timed(self, arrays: Sequence[Array], products: Sequence[Product], device: str) -> AbstractContextManager[Timed]:
        """Let it, on a batch in its layout, and the yardstick be timed on a device, as it was delivered."""


def measure(
    port: Timeable,
    reference: ReferenceTrace,
    layouts: Sequence[Layout],
    settings: Settings,
    baseline: list[dict[str, Any]] | None,
    step: Callable[[int, int], None],
) -> dict[str, Any]:
    """Time the port, Keras and the yardstick in turns, on every device and at every batch size.

    Args:
        port: The port.
        reference: The Keras side, whose probe inputs are fed.
        layouts: How the port takes each input.
        settings: The batch sizes and the limits.
        baseline: What ``read_baseline`` gave.
        step: Is told how far it is.

    Returns:
        The report's field ``throughput``.

    Raises:
        RunError: The Keras model could be run at first, and then no more.
    """
    limits = {"min_speed": settings.min_speed, "max_slowdown": settings.max_slowdown, "baseline": baseline}
    line, measured = turns.Line.of_process(), []
    arrays = [reference.values[v] for v in reference.inputs]
    places = [(device, batch) for device in port.devices() for batch in settings.throughput]
    for number, (device, batch) in enumerate(places):
        step(number + 1, len(places))
        given = [la.apply(array) for la, array in zip(layouts, of_size(arrays, batch), strict=True)]
        with port.timed(given, yardstick(reference, batch), device) as own:
            runners, missing = dict(own.runners), dict(own.missing)
            if device != "cpu":
                missing["keras"] = "Keras is run on the CPU only"
            elif line is None:
                missing["keras"] = "with a recorded reference Keras is not run"
            elif "missing" in (answer := line.ask({"batch": batch})):
                missing["keras"] = answer["missing"]
            else:
                runners["keras"] = line.run
            seconds = take_turns(runners) if "torch" in runners else {}
            found = entry(device, batch, seconds, missing)
            measured.append({**found, **own.facts(), "broken": list(broken_limits(found, limits))})
    return {"measured": measured, "limits": limits}


def read_baseline(path: Path, sizes: Sequence[int], model: Path) -> list[dict[str, Any]]:
    """The ratios of an earlier report of a model.

    Raises:
        RunError: It is not there, is no report, is of another model, or has no throughput at one of these batch sizes.
    """
    found = _ratios_of(path, model)
    on_cpu = {entry["batch"] for entry in found if entry["device"] == "cpu"}
    if missing := [size for size in sizes if size not in on_cpu]:
        raise RunError(f"{path}: the baseline has no measurement at batch {missing[0]} (--kerasdiff-baseline)")
    return found


def _ratios_of(path: Path, model: Path) -> list[dict[str, Any]]:
    try:
        report = json.loads(path.read_text("utf-8"))
        of = os.path.basename(str(report.get("keras_model", model)))
        measured = report["throughput"]["measured"]
        found = [{key: entry[key] for key in ("device", "batch", *_RATIOS)} for entry in measured]
        if not all(entry[key] is None or _is_ratio(entry[key]) for entry in found for key in _RATIOS):
            raise ValueError
    except FileNotFoundError:
        raise RunError(f"{path}: no such file (--kerasdiff-baseline)") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RunError(
            f"{path}: not a report.json with throughput in it (--kerasdiff-baseline); one is written with "
            "--kerasdiff-throughput and --kerasdiff-report"
        ) from None
    if of != model.name:
        raise RunError(f"{path}: a report of {of}, not of {model.name} (--kerasdiff-baseline)")
    return found


def _is_ratio(ratio: Any) -> bool:
    """Whether something is a ratio as the report has it: three numbers greater than 0."""
    numbers = [ratio[key] for key in ("median", "low", "high")]
    return all(isinstance(number, int | float) and 0 < number < math.inf for number in numbers)


def of_size(arrays: Sequence[Array], batch: int) -> list[Array]:
    """Probe inputs, repeated or cut to a batch size."""
    return [np.concatenate([array] * math.ceil(batch / len(array)))[:batch] for array in arrays]


def yardstick(reference: ReferenceTrace, batch: int) -> list[Product]:
    """The products and convolutions of the Keras model at a batch size.

    Only kernels count: what else a layer does (biases, normalisations, activations) is what ports do differently.
    """
    found = []
    for layer in reference.layers:
        if not layer.inputs:
            continue
        taken, given = reference.shapes[layer.inputs[0]], reference.shapes[layer.outputs[0]]
        for name in layer.weights:
            shape = reference.weights[layer.weight_owner, name].shape
            if len(shape) > 1 and min(shape) > 0:
                found.append(_product(layer.class_name, layer.config, shape, taken, given, batch))
    return found


def _product(
    kind: str, config: Mapping[str, Any], kernel: Sequence[int], taken: Sequence[int], given: Sequence[int], batch: int
) -> Product:
    axes = len(kernel) - 2
    if "Conv" in kind and "Transpose" not in kind and len(taken) == axes + 2 and axes in (1, 2, 3):
        first = config.get("data_format") == "channels_first"
        spatial, channels = (taken[2:], taken[1]) if first else (taken[1:-1], taken[-1])
        own, several = (1, kernel[-2] * kernel[-1]) if "Depthwise" in kind else (kernel[-2], kernel[-1])
        if own and channels % own == 0 and several % (channels // own) == 0:
            return Product(
                (batch, channels, *spatial), (several, own, *kernel[:axes]), _each(config.get("strides"), axes),
                _each(config.get("dilation_rate"), axes), channels // own,
            )  # fmt: skip
    rows = math.prod(kernel[:-1])
    positions = max(1, math.prod(given[1:-1])) if len(given) > 1 else 1
    return Product((batch * positions, rows), (rows, kernel[-1]))


def _each(value: Any, axes: int) -> tuple[int, ...]:
    several = tuple(value) if isinstance(value, list | tuple) else (value or 1,) * axes
    return several if len(several) == axes else (1,) * axes


# -- taking turns ------------------------------------------------------------------------------------------------------


def take_turns(runners: Mapping[str, Runner]) -> dict[str, list[float]]:
    """Let each run in turn, some rounds.

    Returns:
        Name of each → seconds of one run, in each round.
    """
    runs = {name: _warmed_up(runner) for name, runner in runners.items()}
    found: dict[str, list[float]] = {name: [] for name in runners}
    spent = 0.0
    for number in range(_ROUNDS):
        if number >= _LEAST_ROUNDS and spent > _MOST_S:
            break
        for name, runner in runners.items():
            seconds = runner(runs[name])
            found[name].append(seconds / runs[name])
            spent += seconds
    return found


def _warmed_up(runner: Runner) -> int:
    """Run a model until it is fast, and say how many runs a turn needs."""
    seconds, runs, last = 0.0, 0, 0.0
    while runs < _WARM_UP_RUNS or (seconds < _WARM_UP_S and runs < 100 * _WARM_UP_RUNS):
        last = runner(1)
        seconds, runs = seconds + last, runs + 1
        if seconds > _MOST_S:
            break
    return max(1, math.ceil(_TURN_S / max(last, 1e-6)))


# -- the result --------------------------------------------------------------------------------------------------------


def entry(
    device: str, batch: int, seconds: Mapping[str, Sequence[float]], missing: Mapping[str, str]
) -> dict[str, Any]:
    """What was measured at one batch size, as the report has it.

    Args:
        device: "cpu" or "cuda".
        batch: Samples in a batch.
        seconds: "torch", "keras", "yardstick" → seconds of one batch, in each round.
        missing: Those that were not timed → why.
    """
    found: dict[str, Any] = {"device": device, "batch": batch, "missing": dict(missing)}
    for name in ("torch", "keras", "yardstick"):
        own = seconds.get(name)
        found[name] = None if own is None else {"seconds": list(own), "per_second": batch / statistics.median(own)}
    for name, other in _RATIOS.items():
        found[name] = _ratio(seconds.get("torch"), seconds.get(other))
    return found


def _ratio(torch: Sequence[float] | None, other: Sequence[float] | None) -> dict[str, float] | None:
    """How many times as fast as another the port is: median and quartiles of the rounds' ratios."""
    if not torch or not other:
        return None
    ratios = sorted(theirs / ours for ours, theirs in zip(torch, other, strict=True))
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
    return {"median": middle, "low": low, "high": high}


# -- limits ----------------------------------------------------------------------------------------------------------


def broken_limits(entry: Mapping[str, Any], limits: Mapping[str, Any]) -> Iterator[str]:
    """The limits that one measurement does not keep, in words.

    Args:
        entry: Of the report's ``throughput``.
        limits: ``min_speed``, ``max_slowdown``, and ``baseline``: entries of an earlier report, or None.
    """
    place, is_needed = f"{entry['device']}, batch {entry['batch']}", entry["device"] == "cpu"
    if entry["torch"] is None:
        if is_needed and (limits["min_speed"] is not None or limits["baseline"] is not None):
            yield f"{place}: {entry['missing']['torch']}"
        return
    least = limits["min_speed"]
    if least is not None and (entry["ratio"] is not None or is_needed):
        if entry["ratio"] is None:
            yield (
                f"{place}: no speed of Keras to hold against the smallest ratio ({entry['missing']['keras']}); compare "
                "with an earlier report: --kerasdiff-baseline"
            )
        elif entry["ratio"]["median"] < least:
            yield f"{place}: {text.times(entry['ratio'])} as fast as Keras, at least {least:g} asked for"
    if limits["baseline"] is not None:
        earlier = [e for e in limits["baseline"] if (e["device"], e["batch"]) == (entry["device"], entry["batch"])]
        if not earlier:
            if is_needed:
                yield f"{place}: the baseline has no such measurement"
            return
        for name, words in (("ratio", "Keras"), ("ratio_to_yardstick", "the yardstick")):
            now, then = entry[name], earlier[0][name]
            if now is not None and then is not None:
                if now["median"] < (1 - limits["max_slowdown"]) * then["median"]:
                    yield (
                        f"{place}: {text.times(now)} as fast as {words}, in the baseline {text.times(then)}: more than "
                        f"{limits['max_slowdown']:.0%} slower"
                    )
                return
        yield f"{place}: nothing that both this run and the baseline have timed"
