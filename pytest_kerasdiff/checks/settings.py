"""Hyper-parameters of activations, joins, recurrent layers and flattened inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_kerasdiff.align.kinds import activation_name, activation_of
from pytest_kerasdiff.checks import explain
from pytest_kerasdiff.checks.families import is_of
from pytest_kerasdiff.checks.subject import Subject
from pytest_kerasdiff.checks.windows import Stated, of_kind
from pytest_kerasdiff.trace import Operation

_ARGUMENTS: Mapping[str, Mapping[str, float | None]] = {
    "leaky_relu": {"negative_slope": 0.01},
    "elu": {"alpha": 1.0},
    "celu": {"alpha": 1.0},
    "hardtanh": {"min_val": -1.0, "max_val": 1.0},
    "clamp": {"min": None, "max": None},
    "threshold": {"threshold": None, "value": None},
}
"""Activations of torch → the numbers that they state, with torch's defaults."""
_NUMBERS: Mapping[str, Mapping[str, float | None]] = {
    "leaky_relu": {"negative_slope": 0.2, "alpha": None},
    "elu": {"alpha": 1.0},
    "relu": {"max_value": None, "negative_slope": 0.0, "threshold": 0.0},
    "threshold": {"theta": 1.0},
}
"""Activations of Keras → the numbers that they state, with the defaults of their functions.

Source: keras/src/activations/activations.py; torch.nn.functional.
"""
_SAME_KIND = {
    "leaky_relu": ("leaky_relu",),
    "elu": ("elu",),
    "relu": ("relu", "relu6", "clamp", "clamp_min", "clip", "hardtanh", "leaky_relu", "where", "threshold", "mul"),
    "threshold": ("threshold", "where"),
}
_CLIPPED = ("x_min", "x_max", "clip_value_min")
"""What a function of Keras that clips states."""
_CELLS = {"lstm": "LSTM", "lstm_cell": "LSTM", "gru": "GRU", "gru_cell": "GRU"}
_RNNS = {"rnn_tanh": "tanh", "rnn_relu": "relu", "rnn_tanh_cell": "tanh", "rnn_relu_cell": "relu"}


def function(subject: Subject) -> Stated:
    """Name the activation functions of both sides, which differ, with the numbers that they state."""
    last, config = subject.last, subject.layer.config
    name = activation_of(subject.layer.class_name, config) or "none"
    stated = config.get("activation")
    inner = stated.get("config") if isinstance(stated, Mapping) else None
    keras = _numbers(inner if isinstance(inner, Mapping) else config, _NUMBERS.get(name, {}))
    port = _numbers(last.arguments, _ARGUMENTS.get(last.op, {})) if last is not None else {}
    op = last.op if last is not None else "none"
    says = name != "relu" or keras not in ({}, {"threshold": 0.0}) or any(key in config for key in _CLIPPED)
    alike = says and (op in _SAME_KIND.get(name, ()) or (subject.curves is not None and is_of(name, subject.curves[0])))
    cause = "extra-layer" if name in ("none", "linear") else "activation-slope" if alike else "activation-kind"
    return Stated(cause, f"activation: Keras {_called(name, keras)}, port {_called(op, port)}; take Keras's")


def _numbers(stated: Mapping[str, Any], defaults: Mapping[str, float | None]) -> dict[str, float]:
    """The numbers of an activation; Keras 2 may state one as an array."""
    found = {}
    for name, default in defaults.items():
        value = stated.get(name, default)
        if isinstance(value, Mapping) and isinstance(value.get("config"), Mapping):
            value = value["config"].get("value")
        if isinstance(value, int | float) and not (name in ("negative_slope", "threshold") and value == 0):
            found[name] = float(value)
    if "alpha" in found and "negative_slope" in found:  # a file of Keras 2 calls it alpha
        found["negative_slope"] = found.pop("alpha")
    return found


def _called(name: str, numbers: Mapping[str, float]) -> str:
    return name + (f"({', '.join(f'{key}={value:g}' for key, value in numbers.items())})" if numbers else "")


def softmax(subject: Subject, config: Mapping[str, Any]) -> Iterator[Stated]:
    """Whether there is one softmax, and over which axis."""
    found = [step for step in subject.steps if step.op.endswith("softmax")]
    if not found:
        if any("exp" in step.op for step in subject.steps):
            return  # written out
        instead = next((step for step in subject.steps if step.op in ("sigmoid", "softplus")), None)
        words = f"Keras softmax, port {instead.op}{instead.place}" if instead else "Keras softmax, port none"
        yield Stated("softmax", f"{words}; add torch.softmax over Keras's axis")
        return
    if len(found) > 1:
        yield Stated("softmax", f"Keras one softmax, port {len(found)}{found[1].place}; leave one out")
    step = found[-1]
    if "log" in step.op:
        yield Stated("softmax", f"Keras softmax, port {step.op}{step.place}; use softmax")
    axis = config.get("axis", -1)
    shape = subject.shapes.get(step.inputs[0], ())
    dim = step.arguments.get("dim")
    if not isinstance(axis, int) or not isinstance(dim, int) or not shape or not subject.given:
        return
    keras, port = subject.given[axis], shape[dim]
    words = f"softmax over: Keras axis {axis} of {keras} elements, port dim {dim} of {port}"
    same_rank = len(shape) == len(subject.given) == 2
    wrong = keras != port or (same_rank and axis % 2 != dim % 2)
    yield (Stated("softmax", f"{words}{step.place}; take the dim that is Keras's axis") if wrong else Stated("", words))


def concatenation(subject: Subject, config: Mapping[str, Any]) -> Iterator[Stated]:
    """The order in which values are joined, and the number of elements along the axis."""
    join = of_kind(subject, "concat")
    if join is None or len(join.inputs) < 2 or len(subject.sources) != len(join.inputs):
        return
    keras = list(subject.sources)
    if None in keras or set(keras) != set(join.inputs):
        return
    places = [keras.index(value) for value in join.inputs]
    where, words = join.place, f"order: Keras {list(range(len(places)))}, port {places}"
    if list(join.inputs) == keras:
        yield Stated("", words)
    else:
        yield Stated("concat-order", f"{words}{where}; join them in Keras's order")
    axis, shapes = config.get("axis", -1), [subject.shapes.get(v, ()) for v in join.inputs]
    dim, total = join.arguments.get("dim", 0), sum(shape[axis] for shape in subject.taken)
    if isinstance(dim, int) and isinstance(axis, int) and all(shapes) and join.op != "stack":
        port = sum(shape[dim] for shape in shapes)
        if port != total:
            yield Stated(
                "concat-order", f"axis: Keras {total} elements, port {port}{where}; join along Keras's axis {axis}"
            )


def recurrent(subject: Subject, config: Mapping[str, Any]) -> Iterator[Stated]:
    """What torch's recurrent modules cannot be told, direction, and which steps are given."""
    cell = next((step for step in subject.steps if step.op in _CELLS or step.op in _RNNS), None)
    inner = config.get("layer") if subject.layer.class_name == "Bidirectional" else None
    own: Mapping[str, Any] = inner.get("config", {}) if isinstance(inner, Mapping) else config
    class_name = str(inner.get("class_name")) if isinstance(inner, Mapping) else subject.layer.class_name
    if cell is not None and class_name in ("LSTM", "GRU", "SimpleRNN"):
        yield from _gates(cell, class_name, own)
    if cell is None and class_name in ("LSTM", "GRU"):
        yield from _by_hand(subject, own)
    if inner is None and class_name in ("LSTM", "GRU", "SimpleRNN", "RNN"):
        flips = any(step.op == "flip" for step in subject.steps) or any(step.op == "flip" for step in subject.leads)
        loops = cell is None or "cell" in cell.op
        if not loops:
            back = bool(own.get("go_backwards"))
            words = f"go_backwards: Keras {back}, port {'flips' if flips else 'does not flip'} the steps"
            wrong = back != flips
            remedy = "flip the input's steps" if back else "do not flip"
            yield Stated("rnn-direction", f"{words}; {remedy}") if wrong else Stated("", words)


def _gates(cell: Operation, class_name: str, config: Mapping[str, Any]) -> Iterator[Stated]:
    where, module = cell.place, _CELLS.get(cell.op, "SimpleRNN")
    kind = activation_name(config.get("activation", "tanh"))
    port = _RNNS.get(cell.op, "tanh")
    words = f"activation: Keras {kind}, port {port}"
    remedy = f"use nonlinearity={kind!r}" if module == "SimpleRNN" and kind in ("tanh", "relu") else "write a cell"
    yield Stated("", words) if kind == port else Stated("activation-kind", f"{words}{where}; {remedy}")
    if class_name == "SimpleRNN":
        return
    gate = activation_name(config.get("recurrent_activation", "sigmoid"))
    words = f"recurrent_activation: Keras {gate}, port sigmoid"
    remedy = "torch's modules have no other; write a cell"
    yield Stated("", words) if gate == "sigmoid" else Stated("recurrent-activation", f"{words}{where}; {remedy}")
    if class_name == "GRU":
        after = bool(config.get("reset_after", True))
        words = f"reset_after: Keras {after}, port True"
        remedy = "torch's GRU resets after the product and knows no other way; write a cell"
        yield Stated("", words) if after else Stated("gru-reset-after", f"{words}{where}; {remedy}")


def _by_hand(subject: Subject, config: Mapping[str, Any]) -> Iterator[Stated]:
    """Gates of a cell that is written out: only which of the two usual functions is there at all."""
    gate = activation_name(config.get("recurrent_activation", "sigmoid"))
    hard = next((s for s in subject.steps if s.op in ("hardsigmoid", "hardtanh", "clamp", "clip")), None)
    soft = next((s for s in subject.steps if s.op == "sigmoid"), None)
    if gate == "hard_sigmoid" and soft is not None and hard is None:
        yield Stated("recurrent-activation", f"gates: Keras hard_sigmoid, port sigmoid{soft.place}; use Keras's")
    elif gate == "sigmoid" and hard is not None and soft is None:
        yield Stated("recurrent-activation", f"gates: Keras sigmoid, port {hard.op}{hard.place}; use torch.sigmoid")


def flattened(subject: Subject) -> Iterator[Stated]:
    """Whether a port flattens (C, H, W), where the rows of a Dense kernel follow (H, W, C)."""
    shape = explain.flattened(subject)
    if len(shape) < 2 or shape[-1] == 1 or math.prod(shape[:-1]) == 1 or not subject.leads:
        return
    flatten = next((s for s in subject.leads if s.op in ("flatten", "view", "reshape", "_unsafe_view")), None)
    if flatten is None:
        return
    port = _without_units(subject.shapes.get(flatten.inputs[0], ())[1:])
    keras = _without_units(shape)
    first = (keras[-1], *keras[:-1])
    words = f"flattened: Keras {keras}, port {port}"
    if port == keras and keras != first:
        yield Stated("", words)
    elif port == first and keras != first:
        order = (0, *range(2, len(subject.shapes[flatten.inputs[0]])), 1)
        yield Stated("flatten-order", f"{words}{flatten.place}; use x.permute{order} before the flatten")


def _without_units(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)
