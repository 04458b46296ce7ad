"""Keras's recurrent layers as equations, from their config and weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from pytest_kerasdiff.align import padding
from pytest_kerasdiff.align.kinds import activation_name
from pytest_kerasdiff.checks import gates
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.equations.activations import FUNCTIONS
from pytest_kerasdiff.equations.convolution import Convolution
from pytest_kerasdiff.equations.recurrent import Cell, Floats, Mask, Recurrent

_KINDS: Mapping[str, Literal["lstm", "gru", "simple"]] = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "simple"}
OF_IMAGES = ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
_OF_KERAS_2 = "hard_sigmoid of Keras 2"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Times:
    """The product with a matrix."""

    matrix: Floats

    def __call__(self, x: Floats) -> Floats:
        """The product of the last axis."""
        return x @ self.matrix


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A recurrent layer of which the mask is known: a function of its inputs alone.

    Attributes:
        recurrent: The layer.
        mask: Which steps are no padding, (N, steps); None where all of them are.
    """

    recurrent: Recurrent
    mask: Mask | None

    def __call__(self, *arrays: Floats) -> list[Floats]:
        """What the layer gives for an input and initial states."""
        return self.recurrent(*arrays, mask=self.mask)


def layers(case: Case) -> Iterator[Layer]:
    """The layer's equations; of a hard sigmoid those of Keras 3 and those of Keras 2. None where it is another kind."""
    if case.layer.class_name in OF_IMAGES:
        yield from _of_images(case)
        return
    config = case.layer.config
    inner = config.get("layer") if case.layer.class_name == "Bidirectional" else None
    first: Mapping[str, Any] = inner if isinstance(inner, Mapping) else _itself(case)
    second = config.get("backward_layer") if inner is not None else None
    forward: Mapping[str, Any] = first.get("config", {})
    sides = [first] if inner is None else [first, second if isinstance(second, Mapping) else first]
    weights = gates.cells(case.subject.weights)
    named: list[list[tuple[str, Mapping[str, Any]]]] = [list(_cells(side)) for side in sides]
    if not weights or sum(map(len, named)) != len(weights) or not all(named):
        return
    back = bool(forward.get("go_backwards"))
    for hard in ("hard_sigmoid", _OF_KERAS_2):
        left, directions = iter(weights), []
        for side in named:
            directions.append(tuple(_cell(name, own, next(left), hard) for name, own in side))
        cells = [cell for direction in directions for cell in direction]
        if any(cell is None for cell in cells):
            return
        whole = Recurrent(
            tuple(tuple(cell for cell in direction if cell is not None) for direction in directions),
            (back,) if inner is None else (back, not back),
            bool(forward.get("return_sequences")),
            config.get("merge_mode", "concat") if inner is not None else None,
            inner is not None,
            zeros=inner is not None and bool(forward.get("return_sequences")),
        )
        yield Layer(whole, _mask(case))
        if not any(cell is not None and cell.gate.startswith("hard_sigmoid") for cell in cells):
            return


def _of_images(case: Case) -> Iterator[Layer]:
    """A ConvLSTM: its products are convolutions, that of the state as large as the state."""
    config, weights = case.layer.config, case.subject.weights
    own = {name.rpartition("/")[2]: np.asarray(array, np.float64) for name, array in weights.items()}
    if not {"kernel", "recurrent_kernel"} <= own.keys() or config.get("data_format") == "channels_first":
        return
    rank = own["kernel"].ndim - 2
    strides, dilation = (_several(config.get(name, 1), rank) for name in ("strides", "dilation_rate"))
    inward = Convolution(own["kernel"], strides, dilation, str(config.get("padding", "valid")))
    again = Convolution(own["recurrent_kernel"], (1,) * rank, (1,) * rank, "same")
    units = case.reference.shapes[case.layer.outputs[0]][-rank - 1 :]
    activation = activation_name(config.get("activation", "tanh"))
    gate = activation_name(config.get("recurrent_activation", "sigmoid"))
    if activation not in FUNCTIONS or gate not in FUNCTIONS:
        return
    back, sequences = bool(config.get("go_backwards")), bool(config.get("return_sequences"))
    for hard in dict.fromkeys((gate, _OF_KERAS_2 if gate == "hard_sigmoid" else gate)):
        cell = Cell("lstm", inward, again, units, own.get("bias"), activation, hard)
        yield Layer(Recurrent(((cell,),), (back,), sequences), _mask(case))


def _several(number: Any, rank: int) -> tuple[int, ...]:
    return (number,) * rank if isinstance(number, int) else tuple(number)


def taken(case: Case) -> list[int]:
    """The Keras values that the equations take: the input and the initial states."""
    return [v for v in case.layer.inputs if v not in case.reference.masks]


def _itself(case: Case) -> Mapping[str, Any]:
    return {"class_name": case.layer.class_name, "config": case.layer.config}


def _mask(case: Case) -> Mask | None:
    mask = padding.mask_of(case.reference, case.layer, case.layer.inputs[0])
    return None if mask is None else np.asarray(mask, np.bool_)


def _cells(layer: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(class of the layer that it would be, config) of each cell, the first one first."""
    name, config = str(layer.get("class_name", "")).removeprefix("CuDNN"), layer.get("config", {})
    if name != "RNN":
        yield name, config
        return
    cell = config.get("cell")
    if isinstance(cell, Mapping) and cell.get("class_name") == "StackedRNNCells":
        cell = cell.get("config", {}).get("cells")
    several: Sequence[Any] = [cell] if isinstance(cell, Mapping) else cell or ()
    for one in several:
        yield str(one.get("class_name", "")).removesuffix("Cell"), one.get("config", {})


def _cell(class_name: str, config: Mapping[str, Any], own: gates.Cell, hard: str) -> Cell | None:
    kind = _KINDS.get(class_name)
    activation = activation_name(config.get("activation", "tanh"))
    gate = activation_name(config.get("recurrent_activation", "sigmoid"))
    gate = hard if gate == "hard_sigmoid" else gate
    if kind is None or activation not in FUNCTIONS or gate not in FUNCTIONS:
        return None
    kernel, recurrent = np.asarray(own.kernel, np.float64), np.asarray(own.recurrent, np.float64)
    bias = None if own.bias is None else np.asarray(own.bias, np.float64)
    after = bool(config.get("reset_after", True)) if kind == "gru" else True
    units = (len(own.recurrent),)
    return Cell(kind, Times(kernel), Times(recurrent), units, bias, activation, gate, after)
