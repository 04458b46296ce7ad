"""Torch modules that hold the weights of one Keras layer, as nearly every port begins."""

from __future__ import annotations

from torch import Tensor, nn

from tests.zoo.case import load


def dense(weights: list[Tensor]) -> nn.Linear:
    """A Dense layer; without a bias where it has none."""
    kernel, *bias = weights
    module = nn.Linear(kernel.shape[0], kernel.shape[1], bias=bool(bias))
    load(module, weight=kernel.T, **({"bias": bias[0]} if bias else {}))
    return module


def layer_norm(weights: list[Tensor], eps: float = 1e-3) -> nn.LayerNorm:
    """A LayerNormalization over the last axis."""
    gamma, beta = weights
    module = nn.LayerNorm(len(gamma), eps=eps)
    load(module, weight=gamma, bias=beta)
    return module


def batch_norm(weights: list[Tensor], eps: float = 1e-3, module: type[nn.Module] = nn.BatchNorm2d) -> nn.Module:
    """A BatchNormalization with scale and center."""
    gamma, beta, mean, variance = weights
    norm = module(len(gamma), eps=eps)
    load(norm, weight=gamma, bias=beta, running_mean=mean, running_var=variance)
    return norm


def conv2d(weights: list[Tensor], stride: int = 1, padding: int = 0) -> nn.Conv2d:
    """A Conv2D; without a bias where it has none."""
    kernel, *bias = weights
    height, width, taken, given = kernel.shape
    module = nn.Conv2d(taken, given, (height, width), stride, padding, bias=bool(bias))
    load(module, weight=kernel.permute(3, 2, 0, 1), **({"bias": bias[0]} if bias else {}))
    return module


def embedding(weights: list[Tensor]) -> nn.Embedding:
    """An Embedding."""
    module = nn.Embedding(weights[0].shape[0], weights[0].shape[1])
    load(module, weight=weights[0])
    return module
