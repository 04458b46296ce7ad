"""Run the Keras model again and again when the candidate process asks for it, and say how long it took."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pytest_kerasdiff import child, modelfile, probes, throughput, turns
from pytest_kerasdiff.errors import in_short
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.phases import Phases
from pytest_kerasdiff.reference import loader, making
from pytest_kerasdiff.reference.recorder import structured
from pytest_kerasdiff.trace import Array


def serve(job: child.Job, stated: Manifest, line: turns.Line) -> None:
    """Answer ``{"batch": n}`` with what is prepared, ``{"runs": n}`` with seconds, until the other side has ended.

    A model that cannot be run so is told as ``{"missing": why}``: the port is timed without it.
    """
    settings = dataclasses.replace(job.settings, precision="float32")
    Phases(job.folder, "reference").begin("throughput", "Keras: timing")
    call: Callable[[], Any] | None = None
    model: tuple[Any, list[Array]] | None = None
    while (asked := line.receive()) is not None:
        try:
            if "batch" in asked:
                model = model or _model(settings, stated)
                call = _prepared(model, asked["batch"])
                line.send({"seconds": _time(call, 1)})  # builds the graph
            else:
                assert call is not None
                line.send({"seconds": _time(call, asked["runs"])})
        except Exception as error:
            line.send({"missing": f"Keras cannot run it: {in_short(error)}"[:300]})


def _model(settings: Any, stated: Manifest) -> tuple[Any, list[Array]]:
    file = modelfile.read(settings.keras_model)
    _, model = loader.load(file, settings)
    import tensorflow

    inputs = making.inputs_of(file, settings, model)
    names = [s.name for s in inputs]
    arrays = probes.given(settings, inputs, stated.rules(names))
    floats = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in arrays]
    graph = tensorflow.function(
        lambda *tensors: model(structured(model, names, tensors), training=False), autograph=False
    )
    return graph, floats


def _prepared(model: tuple[Any, list[Array]], batch: int) -> Callable[[], Any]:
    import tensorflow

    graph, arrays = model
    tensors = [tensorflow.constant(a) for a in throughput.of_size(arrays, batch)]
    return lambda: graph(*tensors)


def _time(call: Callable[[], Any], runs: int) -> float:
    """Seconds of so many runs; on CPU a function of TensorFlow has computed its outputs when it returns."""
    started = time.perf_counter()
    for _ in range(runs):
        call()
    return time.perf_counter() - started
