"""The registry of checks: which layers each concerns, and when a layer's activations prove its weights."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from pytest_kerasdiff.checks import concerned, registry
from pytest_kerasdiff.checks.registry import lets_changes_through
from tests.helpers import ROOT


class TestVouching:
    """When a layer's activations say something about its weights."""

    @pytest.mark.parametrize(
        ("activation", "output", "expected"),
        [
            ("softmax", [[0.2, 0.8]], True),
            ("softmax", [[1.0, 1e-9]], False),
            ("sigmoid", [[1.0, 0.0]], False),
            ("tanh", [[1.0, -1.0]], False),
            ("relu", [[0.0, 0.0]], False),
            ("relu", [[0.0, 3.0]], True),
            ("linear", [[0.0, 0.0]], True),
        ],
    )
    def test_activation(self, activation: str, output: list[list[float]], expected: bool) -> None:
        assert lets_changes_through(activation, np.array(output)) is expected


@pytest.mark.parametrize(
    ("kind", "config", "names"),
    [
        ("InputLayer", {}, []),
        ("Conv2D", {}, ["weights", "hyper", "finite"]),
        ("Dense", {"activation": "relu"}, ["weights", "hyper", "finite"]),
        ("Activation", {}, ["finite"]),
        ("Activation", {"activation": "softmax"}, ["hyper", "finite"]),
        ("BatchNormalization", {"epsilon": 1e-3}, ["weights", "eps", "finite"]),
        ("RMSNormalization", {"epsilon": 1e-6}, ["weights", "eps", "finite"]),
        ("Bidirectional", {}, ["weights", "hyper", "finite"]),
        ("MultiHeadAttention", {}, ["weights", "finite"]),
        ("MaxPooling1D", {}, ["hyper", "finite"]),
        ("Add", {"trainable": True}, ["finite"]),
        ("TimeDistributed", {"layer": {"class_name": "Conv1D", "config": {}}}, ["weights", "hyper", "finite"]),
        ("MyOwnLayer", {"trainable": True}, ["weights", "finite"]),
        ("GetItem", {"name": "get_item"}, ["finite"]),
        ("TFOpLambda", {"function": "math.add", "trainable": True}, ["finite"]),
    ],
)
def test_collection_knows_which_layers_a_check_concerns(kind: str, config: dict[str, Any], names: list[str]) -> None:
    assert concerned.of_layer(kind, config) == names


def test_what_is_made_is_what_does_something() -> None:
    assert list(concerned.OF_A_LAYER) == list(registry.OF_A_LAYER)
    assert list(concerned.OF_THE_MODEL) == list(registry.OF_THE_MODEL)


def test_collecting_imports_no_check() -> None:
    code = "import sys, pytest_kerasdiff.session, pytest_kerasdiff.items; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    own = {name for name in run.stdout.split() if name.startswith("pytest_kerasdiff.")}
    assert "pytest_kerasdiff.checks.concerned" in own
    assert not own & {"pytest_kerasdiff.judge", "pytest_kerasdiff.checks.registry", "pytest_kerasdiff.align.alignment"}
