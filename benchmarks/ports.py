"""The ports that are measured: every layer as torch has it, with the weights of the Keras file, right or wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import torch
from torch import Tensor, nn

from tests.rebuilt import faults, network, windows
from tests.rebuilt.network import Fault, Network
from tests.zoo.case import Weights


class StoredWeights(Weights):
    """The weights in a ``.h5`` file, by layer, in Keras's order."""

    def __init__(self, path: Path) -> None:
        """Read all of them."""
        self._arrays = {}
        with h5py.File(path, "r") as file:
            for layer, group in file["model_weights"].items():
                stored = [group[name][()] for name in group.attrs.get("weight_names", ())]
                own = [array for array in stored if array.dtype.kind == "f"]  # not the seeds of dropouts
                self._arrays.update({f"{layer}#{i:02}": array for i, array in enumerate(own)})


def build(keras_path: str) -> Network:
    """The right port of a functional model."""
    return _port(keras_path, {})


def one_epsilon(keras_path: str) -> Network:
    """MobileNetV1 with torch's epsilon in one layer."""
    return _port(keras_path, {"conv_dw_5_bn": faults.setting(nn.BatchNorm2d, eps=1e-5)})


def one_padding(keras_path: str) -> Network:
    """MobileNetV1 with one padding at the other side."""
    return _port(keras_path, {"conv_pad_6": faults.instead(lambda: windows.Padding([(1, 0), (1, 0)]))})


def all_once(keras_path: str) -> Network:
    """Every layer wrong, each by one fault that has a name: kernels flipped, other epsilons, other activations."""
    return _port(keras_path, _of_kinds(keras_path, lambda kind: [_FAULTS.get(kind, _SCALED)]))


def all_twice(keras_path: str) -> Network:
    """Every layer wrong by two faults at once: no single change repairs it."""
    return _port(keras_path, _of_kinds(keras_path, lambda kind: [_FAULTS.get(kind, _SCALED), faults.after(_bent)]))


_SCALED = faults.after(lambda x: 1.5 * x)
_FAULTS: dict[str, Fault] = {
    "Conv2D": faults.tensor("weight", lambda k: k.flip(1)),
    "DepthwiseConv2D": faults.tensor("weight", lambda k: k.flip(2, 3)),
    "BatchNormalization": faults.setting(nn.BatchNorm2d, eps=0.05),
    "ReLU": faults.instead(nn.GELU),
    "ZeroPadding2D": faults.instead(lambda: windows.Padding([(1, 0), (1, 0)])),
}


def _bent(x: Tensor) -> Tensor:
    return x + 0.05 * torch.sin(3 * x) * x.abs().sqrt()


def _of_kinds(keras_path: str, chosen: Callable[[str], Sequence[Fault]]) -> dict[str, Fault]:
    """A fault for each layer, made of those of its kind, one after the other."""

    def joined(several: Sequence[Fault]) -> Fault:
        def apply(module: nn.Module) -> nn.Module:
            for fault in several:
                module = fault(module) or module
            return module

        return apply

    listed = network.config_of(Path(keras_path))["layers"]
    kinds = {la["config"]["name"]: str(la["class_name"]) for la in listed}
    return {name: joined(chosen(kind)) for name, kind in kinds.items() if kind != "InputLayer"}


def _port(keras_path: str, wrong: Mapping[str, Fault]) -> Network:
    path = Path(keras_path)
    return Network(network.config_of(path), StoredWeights(path), wrong).eval().requires_grad_(False)
