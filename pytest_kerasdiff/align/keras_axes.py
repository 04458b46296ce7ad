"""The axes of every Keras activation by name, from what each layer means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pytest_kerasdiff.align.axes import Axes, Dimension, decode, is_unit, names, resized, whole
from pytest_kerasdiff.align.kinds import IDENTITIES
from pytest_kerasdiff.trace import ReferenceTrace

_WINDOWED = ("Pooling", "ZeroPadding", "Cropping", "UpSampling", "Resizing")


def keras_axes(trace: ReferenceTrace) -> dict[int, Axes]:
    """Axes of every value of the reference, named once: inputs by input, new axes by the layer that makes them."""
    axes: dict[int, Axes] = {}
    holders: dict[str, set[int]] = {}
    for layer in trace.layers:
        for number, value in enumerate(layer.outputs):
            shape = trace.shapes[value]
            if not any(v in axes for v in layer.inputs):
                axes[value] = tuple(whole("batch" if d == 0 else f"{layer.name}.{d}", s) for d, s in enumerate(shape))
                _hold(holders, value, axes[value])
                continue
            ins = [axes[v] for v in layer.inputs]
            shapes = [trace.shapes[v] for v in layer.inputs]
            axes[value] = _keras_rule(
                layer.class_name,
                layer.config,
                ins,
                shapes,
                shape,
                f"{layer.name}.{number}" if number else layer.name,
            )
            _hold(holders, value, axes[value])
            if "Concatenate" not in layer.class_name and all(s == shape for s in shapes):
                _join(axes, holders, ins)
    return axes


def _hold(holders: dict[str, set[int]], value: int, axes: Axes) -> None:
    for name in names(axes):
        holders.setdefault(name, set()).add(value)


def _join(axes: dict[int, Axes], holders: dict[str, set[int]], ins: Sequence[Axes]) -> None:
    """Give all axes one name for what operands of a join have at the same place: a shortcut's channels are the sum's.

    Two names that one value has are two axes, whatever is joined. ``holders`` are the values that have a name.
    """
    for dimensions in zip(*ins, strict=True):
        kept, *others = [d[0][0] for d in dimensions if len(d) == 1 and d[0][1] == 1] or [""]
        for other in others:
            if other != kept and not holders.setdefault(kept, set()) & holders.get(other, set()):
                renamed = holders.pop(other, set())
                axes.update({value: _renamed(axes[value], other, kept) for value in renamed})
                holders[kept] |= renamed


def _renamed(axes: Axes, old: str, new: str) -> Axes:
    return tuple(tuple((new if name == old else name, *rest) for name, *rest in d) for d in axes)  # type: ignore[misc]


def _keras_rule(
    kind: str,
    config: Mapping[str, Any],
    ins: Sequence[Axes],
    shapes: Sequence[tuple[int, ...]],
    shape: tuple[int, ...],
    owner: str,
) -> Axes:
    """Axes of a layer's output from its meaning; ``ins`` and ``shapes`` are those of its inputs."""
    first = ins[0]
    counter = iter(range(1000))

    def fresh() -> str:
        return f"{owner}.{next(counter)}"

    def new(dimension: int) -> Dimension:
        return whole(f"{owner}.axis{dimension}", shape[dimension])

    n = len(shape)
    same_rank = n == len(shapes[0])
    channel = 1 if config.get("data_format") == "channels_first" else n - 1
    if kind == "TimeDistributed":
        inner = config.get("layer", {})
        rest = _keras_rule(
            str(inner.get("class_name")),
            inner.get("config", {}),
            [tuple(first[1:])],
            [tuple(shapes[0][1:])],
            tuple(shape[1:]),
            owner,
        )
        return (first[0], *rest)
    if kind in IDENTITIES or kind == "Activation":
        return first
    if "ConvLSTM" in kind:
        start = n - len(shapes[0]) + 2  # of the axes of one step, which the output has one after the other, or the last
        channel = start if config.get("data_format") == "channels_first" else n - 1
        return tuple(
            first[d] if d < start else new(d) if d == channel else resized(first[d - n], shape[d], fresh)
            for d in range(n)
        )
    if "Conv" in kind and same_rank:
        return tuple(
            first[0] if d == 0 else new(d) if d == channel else resized(first[d], shape[d], fresh) for d in range(n)
        )
    if any(word in kind for word in _WINDOWED) and "Global" not in kind and same_rank:
        return tuple(first[d] if d in (0, channel) and n > 2 else resized(first[d], shape[d], fresh) for d in range(n))
    if "Global" in kind and "Pool" in kind:
        source = 1 if config.get("data_format") == "channels_first" else len(first) - 1
        if same_rank:
            return tuple(first[d] if d in (0, source) else resized(first[d], 1, fresh) for d in range(n))
        return (first[0], first[source])
    if kind == "Dense" and same_rank:
        return (*first[:-1], new(n - 1))
    if kind == "EinsumDense":
        taken, given = _letters(str(config.get("equation", "")), len(first))
        return tuple(first[taken.index(c)] if c in taken else new(d) for d, c in enumerate(given))
    if kind in ("Flatten", "Reshape", "Permute"):
        return _keras_movement(kind, config, first, shapes[0], shape, fresh)
    if kind == "RepeatVector":
        return (first[0], new(1), first[1])
    if kind == "Concatenate":
        axis = int(config.get("axis", -1)) % n
        return tuple(new(d) if d == axis else _widest([i[d] for i in ins]) for d in range(n))
    if kind == "Embedding" and n == len(first) + 1:
        return (*first, new(n - 1))
    if kind in ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "CuDNNLSTM", "CuDNNGRU"):
        return (first[0], first[1], new(2)) if n == 3 else (first[0], *(new(d) for d in range(1, n)))
    if kind in ("MultiHeadAttention", "Attention", "AdditiveAttention", "GroupedQueryAttention") and same_rank:
        return (*first[:-1], new(n - 1))
    if all(len(i) == n for i in ins) and all(shape[d] in {s[d] for s in shapes} for d in range(n)):
        return tuple(_widest([i[d] for i in ins]) for d in range(n))
    return tuple(first[0] if d == 0 and shape[0] == shapes[0][0] else new(d) for d in range(n))


def _letters(equation: str, dimensions: int) -> tuple[str, str]:
    """Letters of an einsum's input and output, one for each dimension: ``...x,xy->...y`` on three are 01x and 01y."""
    left, given = equation.replace(" ", "").split("->")
    taken = left.split(",")[0]
    hidden = "".join(map(str, range(dimensions - len(taken.replace("...", "")))))
    return taken.replace("...", hidden), given.replace("...", hidden)


def _widest(dimensions: Sequence[Dimension]) -> Dimension:
    """Of the same dimension of several operands, one that is not broadcast."""
    return next((d for d in dimensions if not is_unit(d)), dimensions[0])


def _keras_movement(
    kind: str,
    config: Mapping[str, Any],
    axes: Axes,
    before: tuple[int, ...],
    after: tuple[int, ...],
    fresh: Callable[[], str],
) -> Axes:
    array = np.arange(int(np.prod(before))).reshape(before)
    if kind == "Permute":
        array = array.transpose(0, *config["dims"])
    if kind == "Flatten" and config.get("data_format") == "channels_first" and array.ndim > 2:
        array = np.moveaxis(array, 1, -1)
    found = decode(array.reshape(after), axes, fresh)
    return found if found is not None else tuple(whole(fresh(), s) for s in after)
