"""The models that are measured, each in a folder of its own: the worked example, real networks, chains of layers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np

from benchmarks import process
from benchmarks.process import ROOT
from tests import helpers

APPLICATIONS = {"MobileNetV1": "MobileNet", "ResNet50": "ResNet50", "EfficientNetB0": "EfficientNetB0"}
"""Models of ``keras.applications``, with random weights: nothing is downloaded."""
NAMES = ("ResNet8", *APPLICATIONS)


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """A Keras file and its port."""

    name: str
    file: Path
    torch: str


class Models:
    """Makes each model once."""

    def __init__(self, folder: Path) -> None:
        """Know where the files go."""
        self._folder = folder
        self._made: dict[str, Model] = {}

    def get(self, name: str) -> Model:
        """One of ``NAMES``.

        Raises:
            CommandError: Keras could not write the file.
        """
        if name == "ResNet8":
            return Model(name, ROOT / "model" / "resnet8.h5", "model.resnet8:build")
        if name not in self._made:
            file = self._folder / f"{name}.h5"
            making = ("benchmarks.bare.make", APPLICATIONS[name], file)
            process.run(process.module(f"writing {name}", self._folder, *making))
            self._made[name] = Model(name, file, "benchmarks.ports:build")
        return self._made[name]

    def chain(self, depth: int, size: int, channels: int) -> Model:
        """Equal convolutions of one pixel, each rectified, on (size, size, channels), and the mean at the end.

        They need no room besides what they take and give, so that memory shows which activations live.
        """
        kernel = {"filters": channels, "kernel_size": [1, 1], "strides": [1, 1], "padding": "valid"}
        more = {"dilation_rate": [1, 1], "groups": 1, "use_bias": True, "activation": "relu"}
        draw = np.random.default_rng(depth)
        names = [f"conv_{number}" for number in range(depth)]
        config = [_input(size, size, channels)]
        config += [
            helpers.layer("Conv2D", n, b, **kernel, **more) for n, b in zip(names, ["image", *names], strict=False)
        ]
        weights = {
            name: {
                "kernel": draw.normal(0, (2 / channels) ** 0.5, (1, 1, channels, channels)).astype(np.float32),
                "bias": draw.normal(0, 0.1, channels).astype(np.float32),
            }
            for name in names
        }
        file = self._folder / f"chain-{depth}-{size}-{channels}.h5"
        config.append(helpers.layer("GlobalAveragePooling2D", "mean", names[-1], keepdims=False))
        helpers.write_keras(file, helpers.functional(config, "mean"), weights)
        return Model(f"chain of {depth}", file, "benchmarks.ports:build")

    def blocks(self, layers: int) -> Model:
        """Small layers of the usual kinds, in threes: convolution, normalisation, rectifier."""
        draw = np.random.default_rng(layers)
        config, weights, before = [_input(4, 4, 3)], {}, "image"
        for number in range(layers):
            kind = ("Conv2D", "BatchNormalization", "Activation")[number % 3]
            name = f"{kind.lower()}_{number}"
            if kind == "Conv2D":
                stated = {"filters": 3, "kernel_size": [3, 3], "strides": [1, 1], "padding": "same"}
                stated |= {"dilation_rate": [1, 1], "groups": 1, "use_bias": True, "activation": "linear"}
                own = {"kernel": draw.normal(0, 0.3, (3, 3, 3, 3)), "bias": draw.normal(0, 0.1, 3)}
            elif kind == "BatchNormalization":
                stated = {"epsilon": 1e-3, "axis": [3], "scale": True, "center": True, "momentum": 0.99}
                own = {"gamma": draw.uniform(0.8, 1.2, 3), "beta": draw.normal(0, 0.5, 3)}
                own |= {"moving_mean": draw.normal(0, 0.5, 3), "moving_variance": draw.uniform(0.5, 1.5, 3)}
            else:
                stated, own = {"activation": "tanh"}, {}
            config.append(helpers.layer(kind, name, before, **stated))
            weights[name] = {key: array.astype(np.float32) for key, array in own.items()}
            before = name
        file = self._folder / f"blocks-{layers}.h5"
        helpers.write_keras(file, helpers.functional(config, before), weights)
        return Model(f"{layers} layers", file, "benchmarks.ports:build")

    def wide(self, layers: int, units: int) -> Model:
        """Dense layers of so many units each, which have units² + units parameters each."""
        draw = np.random.default_rng(layers)
        config, weights, before = [_input(units)], {}, "image"
        for number in range(layers):
            name = f"dense_{number}"
            config.append(helpers.layer("Dense", name, before, units=units, activation="tanh", use_bias=True))
            kernel = draw.standard_normal((units, units), np.float32) / np.float32(units**0.5)
            weights[name] = {"kernel": kernel, "bias": draw.standard_normal(units, np.float32) / 10}
            before = name
        file = self._folder / f"wide-{layers}-{units}.h5"
        helpers.write_keras(file, helpers.functional(config, before), weights)
        return Model(f"{layers * units * (units + 1) / 1e6:.0f} million parameters", file, "benchmarks.ports:build")


def _input(*shape: int) -> dict[str, object]:
    return helpers.layer("InputLayer", "image", None, batch_input_shape=[None, *shape], dtype="float32")


def input_shape(file: Path) -> tuple[int, ...]:
    """(H, W, C) of the first input of a functional model."""
    with h5py.File(file, "r") as stored:
        first = json.loads(stored.attrs["model_config"])["config"]["layers"][0]["config"]
    shape = first.get("batch_shape") or first["batch_input_shape"]
    return tuple(int(size) for size in shape[1:])
