"""Recurrent weights of Keras as torch's recurrent modules hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.case import load

R_Z_N = (1, 0, 2)
"""Keras's gates of a GRU (z, r, h) in torch's order."""


def reordered(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """Blocks of gates along axis 0 in another order."""
    blocks = tensor.chunk(len(order))
    return torch.cat([blocks[i] for i in order])


def recurrent(weights: Sequence[Tensor], order: Sequence[int] = (0,), suffix: str = "") -> dict[str, Tensor]:
    """Parameters of an nn.RNN, nn.LSTM, nn.GRU or a cell, from (kernel, recurrent kernel[, bias]).

    Args:
        weights: Of Keras. The bias is one, which torch's first takes, or a GRU's two.
        order: Which block of gates of Keras stands where.
        suffix: ``_l0``, ``_l0_reverse``, or empty for a cell.
    """
    kernel, inner, *bias = weights
    found = {"weight_ih": kernel.T, "weight_hh": inner.T}
    if bias:
        both = bias[0] if bias[0].ndim == 2 else torch.stack([bias[0], torch.zeros_like(bias[0])])
        found |= {"bias_ih": both[0], "bias_hh": both[1]}
    return {f"{name}{suffix}": reordered(tensor, order) for name, tensor in found.items()}


def rnn(
    kind: Callable[..., nn.RNNBase],
    *layers: Sequence[Tensor],
    order: Sequence[int] = (0,),
    bidirectional: bool = False,
    batch_first: bool = True,
    **more: Any,
) -> nn.RNNBase:
    """One recurrent module that holds these Keras layers: stacked, or two for each layer where it is bidirectional."""
    kernel, inner = layers[0][:2]
    module = kind(
        kernel.shape[0],
        inner.shape[0],
        num_layers=len(layers) // (1 + bidirectional),
        bias=len(layers[0]) > 2,
        batch_first=batch_first,
        bidirectional=bidirectional,
        **more,
    )
    for i, weights in enumerate(layers):
        number, reverse = divmod(i, 2) if bidirectional else (i, 0)
        load(module, **recurrent(weights, order, f"_l{number}{'_reverse' * reverse}"))
    return module


def linear(weights: Sequence[Tensor]) -> nn.Linear:
    """A Dense layer."""
    kernel, *bias = weights
    module = nn.Linear(kernel.shape[0], kernel.shape[1], bias=bool(bias))
    load(module, **dict(zip(("weight", "bias"), (kernel.T, *bias), strict=False)))
    return module
