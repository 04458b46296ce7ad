"""The audit of the probe inputs, on toy traces: what they exercise, and what they leave out."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pytest_kerasdiff.audit import unexercised
from pytest_kerasdiff.trace import Array
from tests.toys import ToyReference

SIGNED = np.array([[-2.0, -0.5, 0.5, 2.0], [3.0, -3.0, 7.0, -7.0]])
IMAGE = np.linspace(-1, 1, 2 * 4 * 4 * 2).reshape(2, 4, 4, 2)
FRAMED = np.pad(IMAGE, [(0, 0), (1, 1), (1, 1), (0, 0)])


def layer(kind: str, taken: Array, given: Array, **config: Any) -> list[str]:
    """What is said of a layer that is not the last one."""
    toy = ToyReference(x=taken)
    middle = toy.layer("layer", kind, 0, config=config, out=given)
    toy.layer("end", "Flatten", middle, out=given)
    return unexercised(toy.trace(2)).get("layer", [])


@pytest.mark.parametrize(
    ("kind", "config", "taken", "words"),
    [
        ("Activation", {"activation": "relu"}, SIGNED, []),
        ("Activation", {"activation": "relu"}, np.abs(SIGNED), ["nothing is below 0"]),
        ("Activation", {"activation": "relu"}, -np.abs(SIGNED), ["nothing is above 0"]),
        ("ReLU", {"max_value": 6.0}, SIGNED, []),
        ("ReLU", {"max_value": 6.0}, SIGNED / 2, ["nothing reaches 6"]),
        ("LeakyReLU", {"negative_slope": 0.3}, np.abs(SIGNED), ["nothing is below 0"]),
        ("Activation", {"activation": "tanh"}, SIGNED, []),
        ("Activation", {"activation": "tanh"}, SIGNED / 100, ["nothing is beyond ±1, where tanh bends"]),
        ("Dropout", {"rate": 0.5}, np.zeros((2, 4)), []),
        ("Rescaling", {}, np.zeros((2, 4)), ["all that it takes is one repeated value"]),
    ],
)
def test_activations(kind: str, config: dict[str, Any], taken: Array, words: list[str]) -> None:
    given = np.clip(taken, 0, config.get("max_value")) if "max_value" in config else taken
    assert layer(kind, taken, given, **config) == words


@pytest.mark.parametrize(("given", "words"), [([[0.0, 2.0]], []), ([[1.0, 2.0]], ["nothing is below 0"])])
def test_an_activation_within_a_layer_is_seen_by_what_it_gives(given: list[list[float]], words: list[str]) -> None:
    assert layer("Dense", SIGNED[:1], np.array(given), activation="relu") == words


@pytest.mark.parametrize(
    ("kind", "config", "taken", "words"),
    [
        ("Conv2D", {"padding": "same", "kernel_size": [3, 3]}, IMAGE, []),
        ("Conv2D", {"padding": "same", "kernel_size": [3, 3]}, FRAMED,
         ["padding meets zeros only"]),
        ("Conv2D", {"padding": "same", "kernel_size": [1, 1]}, FRAMED, []),
        ("Conv2D", {"padding": "valid", "kernel_size": [3, 3]}, FRAMED, []),
        ("MaxPooling2D", {"padding": "same", "pool_size": [3, 3]}, IMAGE, []),
        ("MaxPooling2D", {"padding": "same", "pool_size": [3, 3]}, np.abs(IMAGE),
         ["no negative value at the border: zeros for padding look like no padding"]),
        ("ZeroPadding2D", {"padding": [[1, 1], [1, 1]]}, FRAMED,
         ["padding meets zeros only"]),
    ],
)  # fmt: skip
def test_padding(kind: str, config: dict[str, Any], taken: Array, words: list[str]) -> None:
    assert layer(kind, taken, taken, **config) == words


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ([[True, True], [True, False]], []),
        ([[True, True], [True, True]], ["no step is masked"]),
        ([[False, False], [False, False]], ["every step is masked"]),
    ],
)
def test_masks(mask: list[list[bool]], words: list[str]) -> None:
    toy = ToyReference(x=SIGNED.reshape(2, 2, 2))
    end = toy.layer("lstm", "LSTM", 0, out=SIGNED)
    trace = dataclasses.replace(toy.trace(end), step_masks={0: np.array(mask)})
    assert unexercised(trace).get("lstm", []) == words


@pytest.mark.parametrize(
    ("rows", "words"),
    [([[0.9, 0.1], [0.2, 0.8]], []), ([[0.9, 0.1], [0.8, 0.2]], ["one class only is decided for"]), ([[0.9, 0.1]], [])],
)
def test_classes(rows: list[list[float]], words: list[str]) -> None:
    toy = ToyReference(x=SIGNED[: len(rows)])
    end = toy.layer("dense", "Dense", 0, config={"activation": "softmax"}, out=np.array(rows))
    assert unexercised(toy.trace(end)).get("dense", []) == words
