"""Which checks are made: asked at collection of a layer's class, its config and the manifest alone.

Apart from what the checks do, so that collecting tests imports none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

from pytest_kerasdiff.align.kinds import IDENTITIES, TABLE, activation_of, inside
from pytest_kerasdiff.checklist import MODEL
from pytest_kerasdiff.manifest import Manifest

RECURRENT = ("SimpleRNN", "LSTM", "GRU", "RNN", "Bidirectional", "CuDNNLSTM", "CuDNNGRU")
_WITH_WEIGHTS = frozenset(
    {
        *("Dense", "EinsumDense", "Embedding", "PReLU", *RECURRENT),
        *("BatchNormalization", "SyncBatchNormalization", "LayerNormalization", "GroupNormalization"),
        *("RMSNormalization", "Normalization", "MultiHeadAttention", "GroupedQueryAttention"),
    }
)
_KNOWN = frozenset(name for kind in TABLE for name in kind.classes) | IDENTITIES
_STATE = ("ZeroPadding", "Cropping", "MaxPooling", "AveragePooling", "Conv", "UpSampling", "GlobalMax", "GlobalAverage")
_STATE_TOO = frozenset({"LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "Resizing", "Concatenate", "Dense"})


def _weights(class_name: str, config: Mapping[str, Any]) -> bool:
    """Whether a layer may have weights: those of Keras that do, and every layer of the user's own.

    A user's layer is told from a function of Keras by what every layer's config says and no function's does.
    """
    class_name, config = inside(class_name, config)
    if class_name in _KNOWN or class_name.startswith(("TFOp", "SlicingOp")):
        return class_name in _WITH_WEIGHTS or "Conv" in class_name
    return "trainable" in config


def _eps(class_name: str, config: Mapping[str, Any]) -> bool:
    """Whether a layer has an epsilon."""
    class_name, config = inside(class_name, config)
    return "Normalization" in class_name and "epsilon" in config


def _hyper(class_name: str, config: Mapping[str, Any]) -> bool:
    """Whether a layer has an activation function of single elements, or states numbers that torch states too."""
    class_name, own = inside(class_name, config)
    if class_name.startswith("Adaptive"):
        return False
    states = any(word in class_name for word in _STATE) or class_name in _STATE_TOO
    return states or activation_of(class_name, own) not in (None, "linear", "prelu")


def _finite(class_name: str, config: Mapping[str, Any]) -> bool:
    """Whether a layer computes anything: all but inputs."""
    return class_name != "InputLayer"


def _always(stated: Manifest, asked: Set[str]) -> bool:
    return True


def _preprocessing(stated: Manifest, asked: Set[str]) -> bool:
    """Whether the manifest names both functions."""
    return stated.preprocess is not None


def _where_asked(name: str) -> Callable[[Manifest, Set[str]], bool]:
    """Whether an option asks for what a check looks at."""
    return lambda stated, asked: name in asked


OF_A_LAYER: Mapping[str, Callable[[str, Mapping[str, Any]], bool]] = {
    "weights": _weights,
    "eps": _eps,
    "hyper": _hyper,
    "finite": _finite,
}
"""Checks of a layer, and which layers each concerns."""
OF_THE_MODEL: Mapping[str, Callable[[Manifest, Set[str]], bool]] = {
    "loaded": _always,
    "shapes": _always,
    "counts": _always,
    "eval_mode": _always,
    "frozen": _always,
    "no_grad": _always,
    "preprocessing": _preprocessing,
    "outputs": _always,
    "decisions": _always,
    "onnx": _where_asked("onnx"),
    "accuracy": _where_asked("accuracy"),
    "throughput": _where_asked("throughput"),
    "precision": _always,
    "training_notes": _always,
}
"""Checks of the model, and whether each is made."""


def of_layer(class_name: str, config: Mapping[str, Any]) -> list[str]:
    """Names of the checks that concern a layer."""
    return [name for name, concerns in OF_A_LAYER.items() if concerns(class_name, config)]


def of_model(stated: Manifest, asked: Set[str] = frozenset()) -> list[str]:
    """Names of the checks of a model; ``asked``: of those that options ask for."""
    return [name for name, concerns in OF_THE_MODEL.items() if concerns(stated, asked)]


def made(layers: Iterable[Any], stated: Manifest, asked: Set[str] = frozenset()) -> list[tuple[str, str]]:
    """(layer, check) of every check of a model whose layers have a name, a class and a config; see ``of_model``."""
    of_layers = [(la.name, check) for la in layers for check in of_layer(la.class_name, la.config)]
    return [*of_layers, *((MODEL, check) for check in of_model(stated, asked))]
