"""model.resnet8: equal to Keras in float64, accurate on real images, ready for inference."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from model.resnet8 import DEFAULT_WEIGHTS, SameConv2d, build, same_padding

ROOT = Path(__file__).parents[1]
SHARED = Path(__file__).parents[2] / "shared" / "data"
PRETRAINED = SHARED / "pretrainedResnet.h5"
CIFAR = SHARED / "cifar10_train_4000.npz"
DIGITS = DEFAULT_WEIGHTS.with_name("digits_test.npz")

needs_pretrained = pytest.mark.skipif(
    not PRETRAINED.is_file(), reason=f"{PRETRAINED} is not there: it is no part of the project"
)
needs_keras = pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed")
both_models = pytest.mark.parametrize(
    "keras_h5",
    [
        pytest.param(DEFAULT_WEIGHTS, id="resnet8"),
        pytest.param(PRETRAINED, id="pretrained", marks=needs_pretrained),
    ],
)

# For a process of its own, so that a crash of TensorFlow or a warning of its import is not that of the tests.
KERAS_FLOAT64 = """
import json, sys
import keras, numpy as np
path, images, output = sys.argv[1:]
model = keras.models.load_model(path, compile=False)
keras.config.set_floatx("float64")
config = json.loads(json.dumps(model.get_config()).replace("float32", "float64"))
wide = keras.Model.from_config(config)
wide.set_weights(model.get_weights())
probabilities = wide(np.load(images), training=False).numpy()
assert probabilities.dtype == np.float64
np.save(output, probabilities)
"""


def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def accuracy(model: nn.Module, x: np.ndarray, y: np.ndarray) -> float:
    images = torch.from_numpy(x).permute(0, 3, 1, 2).float()
    return float((model(images).argmax(dim=1).numpy() == y).mean())


@needs_keras
@both_models
def test_float64_output_equals_keras(keras_h5: Path, tmp_path: Path) -> None:
    # Signed and not constant, at the scale of pixels: a shift by one pixel or a wrong eps cannot hide.
    images = np.random.default_rng(0).normal(0, 100, (8, 32, 32, 3))
    np.save(tmp_path / "images.npy", images)
    run = python("-c", KERAS_FLOAT64, keras_h5, tmp_path / "images.npy", tmp_path / "keras.npy")
    assert run.returncode == 0, run.stderr[-2000:]
    expected = np.load(tmp_path / "keras.npy")
    actual = build(keras_h5).double()(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    assert actual.shape == expected.shape == (8, 10)
    difference = np.abs(actual - expected).max()
    # A softmax near 0 and 1 hides what the layers before it do; its logarithm does not.
    logarithms = np.abs(np.log(actual) - np.log(expected)).max()
    print(f"{keras_h5.name}: largest difference {difference:.1e}, of the logarithms {logarithms:.1e}")
    assert difference < 1e-13
    assert logarithms < 1e-10


def test_accuracy_on_the_held_out_digits() -> None:
    with np.load(DIGITS) as split:
        x, y = split["x"], split["y"]
    assert (x.dtype, x.shape[1:], y.dtype, y.shape) == (np.uint8, (32, 32, 3), np.uint8, x.shape[:1])
    assert DIGITS.stat().st_size < 1e6
    assert accuracy(build(), x, y) > 0.95
    assert accuracy(build(), x[..., ::-1].copy(), y) < accuracy(build(), x, y)  # the order of channels counts


@needs_pretrained
def test_accuracy_of_the_pretrained_model_on_cifar10() -> None:
    with np.load(CIFAR) as images:
        x, y = images["x"][:500], images["y"][:500]
    assert accuracy(build(PRETRAINED), x, y) > 0.90


@both_models
def test_build_returns_a_frozen_model_in_eval_mode(keras_h5: Path) -> None:
    model = build(keras_h5)
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert [norm.eps for norm in norms] == [1e-3] * 7
    # Keras counts the running means and variances as parameters.
    statistics = sum(2 * norm.num_features for norm in norms)
    assert sum(parameter.numel() for parameter in model.parameters()) + statistics == 78_666
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(images).sum(dim=1), torch.ones(2))


def test_build_does_not_import_keras() -> None:
    code = "import sys, model.resnet8 as m; m.build(); print({'keras', 'tensorflow'} & sys.modules.keys())"
    run = python("-W", "error", "-c", code)
    assert (run.stdout, run.stderr) == ("set()\n", "")


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (32, 3, 1, (1, 1)),
        (32, 3, 2, (0, 1)),
        (33, 3, 2, (1, 1)),
        (32, 1, 2, (0, 0)),
        (7, 4, 1, (1, 2)),
        (5, 2, 3, (0, 0)),
    ],
)
def test_same_padding(size: int, kernel: int, stride: int, expected: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride) == expected


def test_same_convolution_pads_rows_and_columns_apart() -> None:
    conv = SameConv2d(1, 1, kernel_size=3, stride=2, bias=False)
    nn.init.zeros_(conv.weight)
    conv.weight.data[0, 0, 0, 0] = 1  # copies the upper left pixel under the kernel
    image = torch.arange(1.0, 21).reshape(1, 1, 4, 5)
    # Four rows are padded by (0, 1): rows 0 and 2. Five columns by (1, 1): the padding, columns 1 and 3.
    assert conv(image).tolist() == [[[[0, 2, 4], [0, 12, 14]]]]


# What Keras 3 adds to a configuration, or writes in another way, without a meaning for this model.
DIALECT = {"axis", "batch_input_shape", "batch_shape", "dtype", "optional", "ragged", "sparse"}
DIALECT |= {"renorm", "renorm_momentum", "synchronized"}


def hyper_parameters(path: Path) -> list[dict[str, Any]]:
    """Returns the layers of a Keras file in one notation for Keras 2 and Keras 3."""
    with h5py.File(path, "r") as file:
        layers = json.loads(file.attrs["model_config"])["config"]["layers"]
    return [
        {
            "class": layer["class_name"],
            "from": inbound(layer["inbound_nodes"]),
            **{key: plain(v) for key, v in layer["config"].items() if key not in DIALECT and v is not None},
        }
        for layer in layers
    ]


def plain(value: Any) -> Any:
    """Returns an initialiser or regulariser as its class and float32 constant."""
    if isinstance(value, dict):
        return value["class_name"], [float(np.float32(c)) for c in value["config"].values() if c is not None]
    return value


def inbound(nodes: Any) -> list[str]:
    """Returns the names of the layers that a layer reads, in order."""
    if isinstance(nodes, dict) and "keras_history" in nodes:
        return [nodes["keras_history"][0]]
    if isinstance(nodes, list) and nodes and isinstance(nodes[0], str):  # Keras 2: [layer, node, …]
        return [nodes[0]]
    if isinstance(nodes, dict):
        nodes = list(nodes.values())
    return [name for node in nodes for name in inbound(node)] if isinstance(nodes, list) else []


@needs_pretrained
def test_the_trained_model_has_the_configuration_of_the_original() -> None:
    trained, original = hyper_parameters(DEFAULT_WEIGHTS), hyper_parameters(PRETRAINED)
    assert [layer["name"] for layer in original if not layer["from"]] == ["input_1"]
    assert trained == original


@needs_keras
def test_training_writes_nothing_when_the_model_is_not_accurate(tmp_path: Path) -> None:
    outputs = ("--model", tmp_path / "a.h5", "--test-split", tmp_path / "a.npz")
    run = python("-m", "model.train", "--epochs", "0", *outputs)
    assert run.returncode == 1, run.stderr[-2000:]
    assert "held-out accuracy: 0." in run.stdout
    assert run.stderr.splitlines()[-1].endswith("below 0.95, nothing written; raise --epochs")
    assert list(tmp_path.iterdir()) == []
