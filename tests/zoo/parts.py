"""Torch modules that hold the weights of a Keras layer, for ports whose subject is how layers are put together."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.zoo.case import Weights, load


def conv2d(w: Weights, name: str, **arguments: Any) -> nn.Conv2d:
    """A convolution with the weights of a Conv2D."""
    kernel, *bias = w[name]
    height, width, channels, filters = kernel.shape
    made = nn.Conv2d(channels, filters, (height, width), bias=bool(bias), **arguments)
    load(made, weight=kernel.permute(3, 2, 0, 1), **({"bias": bias[0]} if bias else {}))
    return made


def conv1d(w: Weights, name: str, **arguments: Any) -> nn.Conv1d:
    """A convolution with the weights of a Conv1D."""
    kernel, bias = w[name]
    made = nn.Conv1d(kernel.shape[1], kernel.shape[2], kernel.shape[0], **arguments)
    load(made, weight=kernel.permute(2, 1, 0), bias=bias)
    return made


def dense(w: Weights, name: str) -> nn.Linear:
    """A linear module with the weights of a Dense."""
    kernel, *bias = w[name]
    made = nn.Linear(kernel.shape[0], kernel.shape[1], bias=bool(bias))
    load(made, weight=kernel.T, **({"bias": bias[0]} if bias else {}))
    return made


def batch_norm(w: Weights, name: str, eps: float = 1e-3) -> nn.BatchNorm2d:
    """A normalisation with the weights of a BatchNormalization over channels of images."""
    gamma, beta, mean, variance = w[name]
    made = nn.BatchNorm2d(len(gamma), eps=eps)
    load(made, weight=gamma, bias=beta, running_mean=mean, running_var=variance)
    return made


def embedding(w: Weights, name: str) -> nn.Embedding:
    """An embedding with the weights of an Embedding."""
    (table,) = w[name]
    made = nn.Embedding(*table.shape)
    load(made, weight=table)
    return made
