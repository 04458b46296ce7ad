"""Recurrent operations as Keras has them: one for each layer, and the states of two directions apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

_RECURRENT = frozenset({"aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu"})
_aten = torch.ops.aten

Call = Callable[[Any, tuple[Any, ...]], Any]
"""Runs an operation of torch."""


def is_stack(func: Any, args: Sequence[Any]) -> bool:
    """Whether an operation is a recurrent one of several layers with nothing between them.

    Packed sequences are left as they are: what a layer gives of them is no value of Keras's.
    """
    named = _named(func, args) if _is_recurrent(func) else {}
    return int(named.get("num_layers", 1)) > 1 and not (named["train"] and named["dropout"])


def has_two_directions(func: Any, args: Sequence[Any]) -> bool:
    """Whether an operation is a recurrent one of one layer that gives the states of two directions as one value."""
    named = _named(func, args) if _is_recurrent(func) else {}
    return bool(named.get("bidirectional")) and int(named["num_layers"]) == 1


def apart(outputs: Sequence[torch.Tensor], call: Call) -> tuple[torch.Tensor, ...]:
    """The outputs of one with two directions, whose states, (2, batch, units), were a value for each direction."""
    data, *ends = outputs
    return (data, *(call(_aten.stack.default, (list(call(_aten.unbind.int, (end, 0))), 0)) for end in ends))


def run(func: Any, args: Sequence[Any], call: Call) -> tuple[torch.Tensor, ...]:
    """Run a stack layer by layer; the outputs are those of the one operation.

    Source: aten/src/ATen/native/RNN.cpp: parameters stand layer by layer, within a layer direction by direction; the
    states are (layers · directions, batch, units) in the same order.
    """
    named = _named(func, args)
    count, states = int(named["num_layers"]), named["hx"]
    directions, share = 1 + bool(named["bidirectional"]), len(named["params"]) // count
    several = not isinstance(states, torch.Tensor)
    data, ends = args[0], []
    for layer in range(count):
        at, to = layer * directions, (layer + 1) * directions
        mine = [call(_aten.slice.Tensor, (s, 0, at, to)) for s in (states if several else [states])]
        weights = list(named["params"][layer * share : (layer + 1) * share])
        own = named | {"hx": mine if several else mine[0], "params": weights, "num_layers": 1}
        data, *end = call(func, (data, *list(own.values())[1:]))
        ends.append(end)
    return (data, *(call(_aten.cat.default, (list(part), 0)) for part in zip(*ends, strict=True)))


def _is_recurrent(func: Any) -> bool:
    return func._schema.name in _RECURRENT and func._overloadname == "input"


def _named(func: Any, args: Sequence[Any]) -> dict[str, Any]:
    """Arguments by name, in the schema's order; these operations have no defaults and no keyword-only arguments."""
    return {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=True)}
