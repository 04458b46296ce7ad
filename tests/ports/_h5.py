"""Reads the weights of a legacy Keras .h5 file with h5py and turns its layouts into torch's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[Any]
Weights = Mapping[str, Mapping[str, Array]]
PathLike = str | os.PathLike[str]

KERAS_EPSILON = 1e-3
"""The default epsilon of a Keras BatchNormalization; torch's is 1e-5."""


def _text(value: bytes | str) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value


def read_weights(path: PathLike) -> dict[str, dict[str, Array]]:
    """Every layer that holds weights, in file order: layer name -> weight name ("kernel") -> array."""
    weights: dict[str, dict[str, Array]] = {}
    with h5py.File(path, "r") as file:
        root = file.get("model_weights", file)
        for layer in map(_text, root.attrs["layer_names"]):
            group = root[layer]
            arrays = {
                name.rsplit("/", 1)[-1].split(":", 1)[0]: np.asarray(group[name])
                for name in map(_text, group.attrs["weight_names"])
            }
            if arrays:
                weights[layer] = arrays
    return weights


def numbered(kind: str, index: int) -> str:
    """The name Keras gives to the index-th layer of a kind: conv2d, conv2d_1, conv2d_2, ..."""
    return f"{kind}_{index}" if index else kind


def tensor(array: Array) -> Tensor:
    """A tensor that owns its memory, of the array's own precision."""
    return torch.from_numpy(np.array(array, order="C"))


def conv_kernel(kernel: Array) -> Array:
    """Conv2D: (height, width, in, out) -> (out, in, height, width)."""
    return kernel.transpose(3, 2, 0, 1)


def depthwise_kernel(kernel: Array) -> Array:
    """DepthwiseConv2D with multiplier 1: (height, width, channels, 1) -> (channels, 1, height, width)."""
    return kernel.transpose(2, 3, 0, 1)


def batch_norm_state(layer: Mapping[str, Array]) -> dict[str, Tensor]:
    """The state dict of the torch BatchNorm that holds this BatchNormalization's weights."""
    return {
        "weight": tensor(layer["gamma"]),
        "bias": tensor(layer["beta"]),
        "running_mean": tensor(layer["moving_mean"]),
        "running_var": tensor(layer["moving_variance"]),
        "num_batches_tracked": torch.tensor(0),
    }


def fold_batch_norm(kernel: Array, bias: Array, layer: Mapping[str, Array]) -> tuple[Tensor, Tensor]:
    """A torch kernel and bias with the BatchNorm after them folded in: float64 inside, float32 out."""
    gamma, beta, mean, variance = (
        layer[name].astype(np.float64) for name in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    scale = gamma / np.sqrt(variance + KERAS_EPSILON)
    folded_kernel = kernel.astype(np.float64) * scale[:, None, None, None]
    folded_bias = (bias.astype(np.float64) - mean) * scale + beta
    return tensor(folded_kernel.astype(np.float32)), tensor(folded_bias.astype(np.float32))


def frozen(model: nn.Module) -> nn.Module:
    """The model in eval mode, with no parameter that wants a gradient."""
    return model.eval().requires_grad_(False)
