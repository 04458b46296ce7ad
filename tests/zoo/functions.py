"""Operators and functions on values of a functional model: ``x + y``, ``x * 2``, ``ops.mean``, ``tf.nn.relu6``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from tests.zoo.case import Case, Port, wrong
from tests.zoo.frames import DenseFrame, Function, ImageFrame, dense_model, image_model
from tests.zoo.merging import branches
from tests.zoo.merging import port as joined


def dense(function: Function) -> Port:
    return lambda w: DenseFrame(w, function)


def image(function: Function) -> Port:
    return lambda w: ImageFrame(w, function)


def tensorflow(function: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """A function of TensorFlow in the middle of a model of Keras 2."""
    return lambda k: lambda x: function(importlib.import_module("tensorflow"), x)


def function(
    name: str,
    keras: Callable[[Any], Any],
    layer: str,
    right: Function,
    *others: Function,
    hyper: bool = True,
    steps: bool = False,
) -> Case:
    """A function of Keras 3 between two Dense layers."""
    return Case(
        f"ops_{name}",
        dense_model(keras, (4, 5) if steps else (5,)),
        dense(right),
        {f"wrong{i}": wrong(dense(f), layer, f"{layer}:hyper" * hyper) for i, f in enumerate(others)},
        loaders=("keras",),
        suffix=".keras",
    )


CASES = [
    function("relu6", lambda k: k.ops.relu6, "relu6", F.relu6, lambda x: F.leaky_relu(x, 0.1)),
    function("gelu", lambda k: k.ops.gelu, "gelu", lambda x: F.gelu(x, approximate="tanh"), F.gelu),
    function(
        "gelu_exact",
        lambda k: lambda x: k.ops.gelu(x, approximate=False),
        "gelu",
        F.gelu,
        lambda x: F.gelu(x, approximate="tanh"),
    ),
    function("celu", lambda k: lambda x: k.ops.celu(x, 0.5), "celu", lambda x: F.celu(x, 0.5), F.celu),
    function("elu", lambda k: lambda x: k.ops.elu(x, 0.5), "elu", lambda x: F.elu(x, 0.5), F.elu),
    function(
        "leaky_relu",
        lambda k: lambda x: k.ops.leaky_relu(x, 0.15),
        "leaky_relu",
        lambda x: F.leaky_relu(x, 0.15),
        F.leaky_relu,
    ),
    function("hard_tanh", lambda k: k.ops.hard_tanh, "hard_tanh", F.hardtanh, torch.tanh),
    function("hard_silu", lambda k: k.ops.hard_silu, "hard_silu", F.hardswish, F.silu),
    function(
        "soft_shrink",
        lambda k: lambda x: k.ops.soft_shrink(x, 0.3),
        "soft_shrink",
        lambda x: F.softshrink(x, 0.3),
        F.softshrink,
    ),
    function(
        "hard_shrink",
        lambda k: lambda x: k.ops.hard_shrink(x, 0.3),
        "hard_shrink",
        lambda x: F.hardshrink(x, 0.3),
        F.hardshrink,
    ),
    function(
        "threshold",
        lambda k: lambda x: k.ops.threshold(x, 0.2, -1.0),
        "threshold",
        lambda x: F.threshold(x, 0.2, -1.0),
        lambda x: F.threshold(x, 0.2, 0.0),
    ),
    function(
        "squareplus",
        lambda k: lambda x: k.ops.squareplus(x, 2),
        "squareplus",
        lambda x: (x + torch.sqrt(x * x + 2)) / 2,
        lambda x: (x + torch.sqrt(x * x + 4)) / 2,
    ),
    function("log_sigmoid", lambda k: k.ops.log_sigmoid, "log_sigmoid", F.logsigmoid, torch.sigmoid),
    function("mish", lambda k: k.ops.silu, "silu", F.silu, F.mish),
    function("softplus", lambda k: k.ops.softplus, "softplus", F.softplus, F.relu),
    function(
        "sqrt",
        lambda k: lambda x: k.ops.sqrt(k.ops.abs(x)),
        "sqrt",
        lambda x: x.abs().sqrt(),
        lambda x: x.abs() ** 0.25,
    ),
    function(
        "softmax",
        lambda k: lambda x: k.ops.softmax(x, axis=1),
        "softmax",
        lambda x: x.softmax(1),
        lambda x: x.softmax(2),
        lambda x: x.log_softmax(1),
        hyper=False,
        steps=True,
    ),
    function(
        "log_softmax",
        lambda k: k.ops.log_softmax,
        "log_softmax",
        lambda x: x.log_softmax(-1),
        lambda x: x.softmax(-1),
        hyper=False,
    ),
    function(
        "glu",
        lambda k: k.ops.glu,
        "glu",
        lambda x: F.glu(x, -1),
        lambda x: x[..., :3] * torch.tanh(x[..., 3:]),
        lambda x: torch.sigmoid(x[..., :3]) * x[..., 3:],
        hyper=False,
    ),
    function(
        "mean",
        lambda k: lambda x: k.ops.mean(x, axis=1),
        "mean",
        lambda x: x.mean(1),
        lambda x: x.amax(1),
        lambda x: x.sum(1),
        hyper=False,
        steps=True,
    ),
    function(
        "max",
        lambda k: lambda x: k.ops.max(x, axis=1),
        "max",
        lambda x: x.max(1).values,
        lambda x: x.mean(1),
        hyper=False,
        steps=True,
    ),
    function(
        "sum",
        lambda k: lambda x: k.ops.sum(x, axis=1, keepdims=True),
        "sum",
        lambda x: x.sum(1, keepdim=True),
        lambda x: x.mean(1, keepdim=True),
        hyper=False,
        steps=True,
    ),
    function(
        "clip",
        lambda k: lambda x: k.ops.clip(x, -0.5, 0.5),
        "clip",
        lambda x: x.clamp(-0.5, 0.5),
        lambda x: x.clamp(-1, 1),
        hyper=True,
    ),
    function(
        "transpose",
        lambda k: lambda x: k.ops.reshape(k.ops.transpose(x, (0, 2, 1)), (-1, 24)),
        "transpose",
        lambda x: x.transpose(1, 2).flatten(1),
        lambda x: x.flatten(1),
        hyper=False,
        steps=True,
    ),
    Case(
        "operator_add",
        branches(lambda k: lambda values: values[0] + values[1]),
        joined(lambda a, b: a + b),
        loaders=("keras",),
        suffix=".keras",
        wrong={"minus": wrong(joined(lambda a, b: a - b), "add")},
    ),
    Case(
        "operator_chain",
        branches(lambda k: lambda values: (values[0] - values[1]) * 2 + 1),
        joined(lambda a, b: (a - b) * 2 + 1),
        loaders=("keras",),
        suffix=".keras",
        wrong={
            "factor": wrong(joined(lambda a, b: (a - b) * 3 + 1), "multiply"),
            "exchanged": wrong(joined(lambda a, b: (b - a) * 2 + 1), "subtract"),
            "offset": wrong(joined(lambda a, b: (a - b) * 2 - 1), "add"),
        },
    ),
    Case(
        "operator_divide",
        branches(lambda k: lambda values: values[0] / (k.ops.abs(values[1]) + 1)),
        joined(lambda a, b: a / (b.abs() + 1)),
        loaders=("keras",),
        suffix=".keras",
        wrong={
            "multiply": wrong(joined(lambda a, b: a * (b.abs() + 1)), "true_divide"),
            "offset": wrong(joined(lambda a, b: a / (b.abs() + 2)), "add"),
        },
    ),
    Case(
        "operator_from_1",
        branches(lambda k: lambda values: values[0] * (1 - k.activations.sigmoid(values[1]))),
        joined(lambda a, b: a * (1 - torch.sigmoid(b))),
        loaders=("keras",),
        suffix=".keras",
        wrong={"gate": wrong(joined(lambda a, b: a * torch.sigmoid(b)), "subtract")},
    ),
    Case(
        "ops_maximum",
        branches(lambda k: lambda values: k.ops.maximum(values[0], values[1])),
        joined(torch.maximum),
        {"minimum": wrong(joined(torch.minimum), "maximum")},
        loaders=("keras",),
        suffix=".keras",
    ),
    Case(
        "ops_maximum_of_0",
        dense_model(lambda k: lambda x: k.ops.maximum(x, 0.0)),
        dense(lambda x: x.clamp(min=0)),
        {"absolute": wrong(dense(torch.abs), "maximum")},
        loaders=("keras",),
        suffix=".keras",
    ),
    Case(
        "ops_where",
        branches(lambda k: lambda values: k.ops.where(values[0] > 0, values[0], values[1])),
        joined(lambda a, b: torch.where(a > 0, a, b)),
        {"exchanged": wrong(joined(lambda a, b: torch.where(a > 0, b, a)), "where")},
        loaders=("keras",),
        suffix=".keras",
    ),
    Case(
        "ops_concatenate",
        branches(lambda k: lambda values: k.ops.concatenate(values, axis=-1)),
        joined(lambda a, b: torch.cat((a, b), -1)),
        {"exchanged": wrong(joined(lambda a, b: torch.cat((b, a), -1)), "concatenate")},
        loaders=("keras",),
        suffix=".keras",
    ),
    Case(
        "ops_matmul",
        branches(lambda k: lambda values: k.ops.matmul(values[0], k.ops.transpose(values[1], (0, 2, 1))), 2, (4, 5)),
        joined(lambda a, b: a @ b.mT),
        {"scaled": wrong(joined(lambda a, b: a @ b.mT / 2), "matmul")},
        loaders=("keras",),
        suffix=".keras",
    ),
    Case(
        "lambda_relu6",
        image_model(tensorflow(lambda tf, x: tf.nn.relu6(x))),
        image(F.relu6),
        {"leaky": wrong(image(F.leaky_relu), "tf.nn.relu6", "tf.nn.relu6:hyper")},
        loaders=("tf_keras",),
    ),
    Case(
        "lambda_leaky_relu",
        image_model(tensorflow(lambda tf, x: tf.nn.leaky_relu(x, alpha=0.1))),
        image(lambda x: F.leaky_relu(x, 0.1)),
        {"of_torch": wrong(image(F.leaky_relu), "tf.nn.leaky_relu", "tf.nn.leaky_relu:hyper")},
        loaders=("tf_keras",),
    ),
    Case(
        "lambda_chain",
        branches(lambda k: lambda values: (values[0] - values[1]) * 2 + 1),
        joined(lambda a, b: (a - b) * 2 + 1),
        {
            "factor": wrong(joined(lambda a, b: (a - b) * 3 + 1), "tf.math.multiply"),
            "exchanged": wrong(joined(lambda a, b: (b - a) * 2 + 1), "tf.math.subtract"),
        },
        loaders=("tf_keras",),
    ),
    Case(
        "lambda_mean",
        dense_model(tensorflow(lambda tf, x: tf.reduce_mean(x, axis=1)), (4, 5)),
        dense(lambda x: x.mean(1)),
        {"max": wrong(dense(lambda x: x.amax(1)), "tf.math.reduce_mean")},
        loaders=("tf_keras",),
    ),
    *(
        Case(
            f"lambda_layer{suffix.replace('.', '_')}",
            dense_model(lambda k: k.layers.Lambda(lambda x: x * 2 + 1, name="double")),
            dense(lambda x: x * 2 + 1),
            {
                "tripled": wrong(dense(lambda x: x * 3 + 1), "double"),
                "missing": wrong(dense(lambda x: x), "double"),
            },
            suffix=suffix,
            settings={"trust": True},
        )
        for suffix in (".h5", ".keras")
    ),
]
