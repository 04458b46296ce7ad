"""Keras as a process that stays: one JSON line in asks for a model and its reference trace, one line out answers.

Asked: ``{"folder": …, "layers": [{"class", "config", "inputs"}…], "outputs": [names], "batch": …, "seed": …}``. An
input is a layer of class ``Input``. Written: ``net.h5``, its weights in ``net.npz``, and the reference trace.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).parents[2]
Described = Mapping[str, Any]


class Keras:
    """The parent's end of such a process."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._log = (folder / "worker.log").open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.rebuilt.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
            cwd=ROOT,
        )

    def make(self, folder: Path, layers: Sequence[Described], outputs: Sequence[str], batch: int, seed: int) -> str:
        """Have a model and its trace made; empty, or why there is none."""
        asked = {"folder": str(folder), "layers": layers, "outputs": outputs, "batch": batch, "seed": seed}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the Keras process has ended; see {self._log.name}"
        return str(json.loads(line))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)
        self._log.close()


def build(keras: Any, layers: Sequence[Described], outputs: Sequence[str]) -> Any:
    """The model that a list of layers describes; the same name again is a further call of a shared layer."""
    made: dict[str, Any] = {}
    values: dict[str, Any] = {}
    inputs = []
    for layer in layers:
        name = layer["config"]["name"]
        if layer["class"] == "Input":
            values[name] = keras.Input(tuple(layer["config"]["shape"]), name=name)
            inputs.append(values[name])
            continue
        if name not in made:
            made[name] = getattr(keras.layers, layer["class"])(**layer["config"])
        given = [values[source] for source in layer["inputs"]]
        values[layer.get("value", name)] = made[name](given[0] if len(given) == 1 else given)
    return keras.Model(inputs, [values[name] for name in outputs])


def answer(keras: Any, asked: Mapping[str, Any]) -> None:
    """Make what one line asks for."""
    from pytest_kerasdiff import child
    from pytest_kerasdiff.options import Settings
    from pytest_kerasdiff.reference.__main__ import work
    from tests.zoo.case import draw_weights, save_weights

    folder = Path(asked["folder"])
    model = build(keras, asked["layers"], asked["outputs"])
    draw_weights(model, asked["seed"])
    model.save(folder / "net.h5")
    save_weights(model, keras, folder / "net.npz")
    work(child.Job(Settings(folder / "net.h5", batch=asked["batch"], seed=asked["seed"]), folder, folder, ()))
    keras.backend.clear_session()


def main(lines: TextIO, replies: TextIO) -> None:
    """Answer line by line."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1", TF_ENABLE_ONEDNN_OPTS="0")
    warnings.simplefilter("ignore")
    keras = importlib.import_module("keras")
    keras.backend.set_floatx("float64")
    for line in lines:
        error = ""
        try:
            answer(keras, json.loads(line))
        except Exception as raised:
            traceback.print_exc()
            error = f"{type(raised).__name__}: {raised}"
        replies.write(json.dumps(error) + "\n")
        replies.flush()
    os._exit(0)


if __name__ == "__main__":
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what Keras prints is no answer
    main(sys.stdin, replies)
