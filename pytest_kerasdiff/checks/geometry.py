"""Windows over images and steps: what both sides state of size, stride, dilation and padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_kerasdiff.checks.subject import Subject
from pytest_kerasdiff.trace import Constant, Layer, Operation

Ints = tuple[int, ...]
Pair = tuple[int, int]
_MOVES = frozenset(
    {"view", "reshape", "_unsafe_view", "permute", "transpose", "movedim", "unsqueeze", "squeeze", "contiguous"}
)
AXES = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}
"""Names of the axes that a window moves over."""


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """A window that moves over one to three axes.

    Attributes:
        size: How many elements it has along each axis.
        stride: How far it moves.
        dilation: How far its elements are apart.
        pads: (before, after) along each axis; negative where something is cut off.
        given: Number of places of the window along each axis.
    """

    size: Ints
    stride: Ints
    dilation: Ints
    pads: tuple[Pair, ...]
    given: Ints

    def reach(self, axis: int) -> int:
        """Number of elements from the window's first to its last."""
        return (self.size[axis] - 1) * self.dilation[axis] + 1


@dataclasses.dataclass(frozen=True, slots=True)
class Padded:
    """What the steps before a windowed operation add and cut off.

    Attributes:
        pads: (before, after) along each axis, the operation's own padding not among them.
        modes: How borders are filled: "constant", "reflect", …
        values: What constant borders are filled with; of those that repeat elements nothing.
        place: The line of the port that does it, to follow the words about it.
        begins: The value that all this is done to.
        known: Nothing else was met on the way.
    """

    pads: tuple[Pair, ...]
    modes: tuple[str, ...]
    values: tuple[float, ...]
    place: str
    begins: int
    known: bool


def several(value: Any, dimensions: int, default: int = 1) -> Ints:
    """One number for each axis."""
    if value is None or value == []:
        return (default,) * dimensions
    numbers = [value] if isinstance(value, int | float) else list(value)
    return tuple(int(n) for n in (numbers * dimensions if len(numbers) == 1 else numbers))


def same(size: int, window: int, stride: int, dilation: int = 1) -> Pair:
    """What 'same' pads along one axis.

    Source: https://www.tensorflow.org/api_docs/python/tf/nn, notes on padding: the total is
    max((ceil(n / s) - 1) · s + (k - 1) · d + 1 - n, 0), the smaller half before.
    """
    total = max((-(-size // stride) - 1) * stride + (window - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def spatial(shape: Sequence[int], config: Mapping[str, Any]) -> Ints:
    """Sizes of the axes that a window moves over, of a shape in Keras's layout."""
    return tuple(shape[2:] if config.get("data_format") == "channels_first" else shape[1:-1])


def of_keras(
    config: Mapping[str, Any], taken: Sequence[int], given: Sequence[int], absorbed: Sequence[Layer]
) -> Window:
    """The window of a convolution or of a pooling layer, padding layers computed with it included."""
    sizes, dimensions = spatial(taken, config), len(taken) - 2
    window = several(config.get("kernel_size", config.get("pool_size")), dimensions)
    stride = several(config.get("strides") or (config.get("pool_size") if "pool_size" in config else 1), dimensions)
    dilation = several(config.get("dilation_rate", 1), dimensions)
    pads: list[Pair] = [(0, 0)] * dimensions
    if config.get("padding") == "same":
        pads = [same(n, k, s, d) for n, k, s, d in zip(sizes, window, stride, dilation, strict=True)]
    elif config.get("padding") == "causal":
        pads = [((k - 1) * d, 0) for k, d in zip(window, dilation, strict=True)]
    for layer in absorbed:
        if layer.class_name.startswith("ZeroPadding"):
            more = border_of(layer.config, dimensions)
            pads = [(a + c, b + d) for (a, b), (c, d) in zip(pads, more, strict=True)]
    places = spatial(given, config)  # none where a global pooling has removed the axes
    return Window(window, stride, dilation, tuple(pads), places if len(places) == dimensions else (1,) * dimensions)


def border_of(config: Mapping[str, Any], dimensions: int) -> tuple[Pair, ...]:
    """(before, after) along each axis of a ZeroPadding or Cropping layer."""
    stated = config.get("padding", config.get("cropping", 0))
    if isinstance(stated, int):
        return ((stated, stated),) * dimensions
    if dimensions == 1 and len(stated) == 2 and all(isinstance(n, int) for n in stated):
        return ((stated[0], stated[1]),)
    pairs = [(n, n) if isinstance(n, int) else (int(n[0]), int(n[1])) for n in stated]
    return tuple(pairs)


def of_torch(subject: Subject, operation: Operation, dimensions: int) -> tuple[Window, Padded] | None:
    """The window of an operation, with what pads before it; None where it moves over other axes than Keras's."""
    arguments = operation.arguments
    size = _size(subject, operation)
    if size is None or len(size) != dimensions or not operation.inputs:
        return None
    stride = several(arguments.get("stride"), dimensions)
    if "kernel_size" in arguments and not arguments.get("stride"):
        stride = size
    dilation = several(arguments.get("dilation", 1), dimensions)
    own = arguments.get("padding", 0)
    pads: tuple[Pair, ...]
    if own == "same":
        pads = tuple(same(1 << 20, k, 1, d) for k, d in zip(size, dilation, strict=True))
    else:
        pads = tuple((n, n) for n in several(0 if own == "valid" else own, dimensions))
    before = padded(subject, operation.inputs[0], dimensions)
    total = tuple((a + c, b + d) for (a, b), (c, d) in zip(pads, before.pads, strict=True))
    shape = subject.shapes.get(operation.outputs[0], ())
    return Window(size, stride, dilation, total, tuple(shape[-dimensions:])), before


def _size(subject: Subject, operation: Operation) -> Ints | None:
    if "kernel_size" in operation.arguments:
        dimensions = next((d for d in (1, 2, 3) if f"{d}d" in operation.op), None)
        return several(operation.arguments["kernel_size"], dimensions) if dimensions else None
    kernel = operation.arguments.get("weight")
    if isinstance(kernel, Constant) and kernel.index in subject.constants:
        return tuple(subject.constants[kernel.index].array.shape[2:])
    return None


def padded(subject: Subject, value: int, dimensions: int) -> Padded:
    """What the layer's own steps before a value pad and cut off along its last axes."""
    producers = {v: step for step in subject.steps for v in step.outputs}
    pads, modes, values, place, known = [(0, 0)] * dimensions, [], [], "", True
    while (step := producers.get(value)) is not None and len(step.inputs) == 1:
        border = _border(step, subject, dimensions)
        if border is None:
            known = not _hides_borders(step, producers)
            break
        pads = [(a + c, b + d) for (a, b), (c, d) in zip(pads, border, strict=True)]
        if any(n > 0 for pair in border for n in pair):
            modes.append(_mode(step))
            if modes[-1] == "constant":
                values.append(float(step.arguments.get("value") or 0))
        place = place or step.place
        value = step.inputs[0]
    else:
        known = step is None
    return Padded(tuple(pads), tuple(modes), tuple(values), place, value, known)


def _hides_borders(step: Operation | None, producers: Mapping[int, Operation]) -> bool:
    """Whether borders may be added or cut off before a movement of axes, where it is not said which axes they are."""
    while step is not None and step.op in _MOVES:
        step = producers.get(step.inputs[0]) if len(step.inputs) == 1 else None
    return step is not None and ("pad" in step.op or step.op in ("slice", "cat", "overlay", "select", "index"))


def _mode(step: Operation) -> str:
    named = {"reflection": "reflect", "replication": "replicate", "_pad_circular": "circular"}
    stated = step.arguments.get("mode")
    return str(stated) if stated else next((mode for word, mode in named.items() if word in step.op), "constant")


def _border(step: Operation, subject: Subject, dimensions: int) -> list[Pair] | None:
    """(before, after) that a padding or a slice adds along the last axes; None for any other step."""
    if step.op in ("alias", "clone", "contiguous", "detach", "to", "_to_copy", "double", "dropout"):
        return [(0, 0)] * dimensions
    shape = subject.shapes.get(step.inputs[0], ())
    if step.op == "slice":
        at = int(step.arguments.get("dim", 0)) - len(shape)
        at = at + len(shape) if at < -len(shape) else at
        first, last = _range(step, shape[at] if shape else 0)
        whole = first == 0 and shape and last == shape[at]
        if step.arguments.get("step", 1) != 1 or (not whole and at < -dimensions):
            return None
        return [(-first, last - shape[at]) if axis - dimensions == at else (0, 0) for axis in range(dimensions)]
    numbers = step.arguments.get("pad", step.arguments.get("padding"))
    if "pad" not in step.op or not isinstance(numbers, list | tuple) or not all(isinstance(n, int) for n in numbers):
        return None
    pairs = [(numbers[i], numbers[i + 1]) for i in range(0, len(numbers), 2)]
    if any(pair != (0, 0) for pair in pairs[dimensions:]):
        return None
    pairs = [*pairs[:dimensions], *[(0, 0)] * (dimensions - len(pairs))]
    return pairs[::-1]


def _range(step: Operation, size: int) -> Pair:
    start, end = step.arguments.get("start") or 0, step.arguments.get("end")
    start = start + size if start < 0 else start
    end = size if end is None else end + size if end < 0 else min(end, size)
    return int(start), int(end)


def cut_after(subject: Subject, operation: Operation, dimensions: int) -> list[Pair]:
    """What the layer's steps add (cut off, where negative) along the last axes of what an operation gives."""
    total, value = [(0, 0)] * dimensions, operation.outputs[0]
    for step in subject.steps:
        if step.inputs[:1] != (value,) or len(step.inputs) != 1:
            continue
        border = _border(step, subject, dimensions)
        if border is None:
            break
        total = [(a + c, b + d) for (a, b), (c, d) in zip(total, border, strict=True)]
        value = step.outputs[0]
    return total
