"""Keras's pass forgets each tensor after its last use, and gives what Keras's own gives, bit by bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import helpers
from tests.helpers import ROOT

SCRIPT = """
import importlib, json, os, sys, weakref
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
from pathlib import Path
import numpy as np
name, folder = sys.argv[1], Path(sys.argv[2])
keras = importlib.import_module(name)
import tensorflow
from pytest_kerasdiff.reference import recorder
from pytest_kerasdiff.tracefile import TraceWriter, read

def block(x, number):
    y = keras.layers.Conv2D(4, 3, padding="same", activation="tanh", name=f"conv{number}")(x)
    return keras.layers.Add(name=f"add{number}")([x, y])

def functional(name, steps):
    x = given = keras.Input((8, 8, 4))
    for number in range(steps):
        x = block(x, f"{name}{number}")
    return keras.Model(given, x, name=name)

inner = functional("inner", 3)
x = given = keras.Input((8, 8, 4), name="given")
for number in range(8):
    x = block(x, number)
early = x
x = inner(inner(x))
two = keras.Model(given, [keras.layers.GlobalAveragePooling2D(name="mean")(x), early])
sequential = keras.Sequential([keras.Input((8, 8, 4)), *(keras.layers.Conv2D(4, 3, padding="same") for _ in range(12))])

alive, tensors = [], []
plain = recorder.Recorder._new
def counted(self, tensor, *more):
    tensors.append(weakref.ref(tensor))
    alive.append(sum(ref() is not None for ref in tensors))
    return plain(self, tensor, *more)
recorder.Recorder._new = counted

image, found = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype("float32"), {}
for name, model in {"functional": two, "sequential": sequential}.items():
    alive.clear(), tensors.clear()
    recording = recorder.Recorder(model, keras, tensorflow)
    writer = TraceWriter(folder / f"{name}.h5")
    outputs = recording.record(["given"], [image], writer)
    writer.close(recording.layers, outputs, {}, [], {})
    expected = [np.asarray(t) for t in tensorflow.nest.flatten(model(image, training=False))]
    trace = read(folder / f"{name}.h5")
    same = [all(map(np.array_equal, given, expected)) for given in (
        [trace.values[v] for v in outputs], recording.results, recording.outputs(["given"], [image]))]
    found[name] = {"alive": max(alive), "layers": len(recording.layers), "same": same}
print(json.dumps(found))
os._exit(0)
"""


@pytest.mark.parametrize("keras", ["keras", "tf_keras"])
def test_few_tensors_live_at_once_and_nothing_else_changes(tmp_path: Path, keras: str) -> None:
    own = helpers.environment(tmp_path)
    command = [sys.executable, "-c", SCRIPT.replace("os._exit", "sys.stdout.flush(); os._exit"), keras, str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    for name, layers in (("functional", 1 + 8 * 2 + 2 * 3 * 2 + 1), ("sequential", 1 + 12)):
        assert found[name]["layers"] == layers
        # The image, an output, what an inner model takes; and of the block its input, the convolution and the sum.
        assert found[name]["alive"] <= 6
        assert found[name]["same"] == [True, True, True]
