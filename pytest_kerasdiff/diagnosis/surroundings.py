"""What a port does before and after a windowed operation of a layer: borders added and cut off, pixels left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pytest_kerasdiff.align import operations
from pytest_kerasdiff.change import Edit
from pytest_kerasdiff.checks import geometry
from pytest_kerasdiff.checks.geometry import Ints, Window
from pytest_kerasdiff.diagnosis.arranged import left_out
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.trace import Operation

_SAMPLING = frozenset({"roll"})
_SLICES = frozenset({"slice", "narrow"})
_THROUGH = frozenset({"move", "identity", "act", "affine"})


@dataclasses.dataclass(frozen=True, slots=True)
class Surroundings:
    """Steps of a layer around one of its operations that add, cut off or choose pixels.

    Attributes:
        before: Positions of those between what the layer takes and the operation.
        after: Positions of those between the operation and what the layer gives.
        samples: One of them leaves out pixels or moves them, other than a padding.
        source: Line of the first of them.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    samples: bool
    source: str

    def removed(self, case: Case, after: bool = True) -> dict[int, Edit]:
        """Edits that leave them out."""
        positions = (*self.before, *(self.after if after else ()))
        return {at: left_out(case.trace.operations[at]) for at in positions}


def around(case: Case, operation: Operation) -> Surroundings:
    """Look around an operation, as far as one value leads to it and one is made of what it gives."""
    own = set(case.steps)
    before, after, samples, source = list[int](), list[int](), False, ""
    value = operation.inputs[0]
    while (at := case.alignment.torch.producer.get(value)) in own and at is not None:
        step = case.trace.operations[at]
        kind = _kind(case, step)
        if kind in ("border", "sampling"):
            before.append(at)
            samples |= kind == "sampling" or _cuts(case, step)
            source = source or step.source
        elif kind != "through":
            break
        value = step.inputs[0]
    value = operation.outputs[0]
    while value != case.value:
        takers = [at for at, _ in case.takers(value) if at in own]
        if len(takers) != 1:
            break
        step = case.trace.operations[takers[0]]
        kind = _kind(case, step)
        if kind in ("border", "sampling"):
            after.append(takers[0])
            samples |= kind == "sampling"
            source = source or step.source
        elif kind != "through":
            break
        value = step.outputs[0]
    return Surroundings(tuple(before), tuple(after), samples, source)


def _kind(case: Case, step: Operation) -> str:
    kind = operations.kind(step)[0]
    if len(step.inputs) != 1:
        return "other"
    shape, given = (case.trace.shapes.get(v, ()) for v in (step.inputs[0], step.outputs[0]))
    if step.op in _SLICES or kind == "pad" or (kind, operations.kind(step)[1]) == ("move", "crop"):
        return "sampling" if step.arguments.get("step", 1) not in (1, None) else "border"
    if step.op in _SAMPLING or (kind in ("pool", "upsample") and len(shape) == len(given) > 2):
        return "sampling"
    return "through" if kind in _THROUGH else "other"


def _cuts(case: Case, step: Operation) -> bool:
    """Whether a step cuts off what is first: a slice, or a padding of less than nothing."""
    start, pads = step.arguments.get("start", 0), step.arguments.get("pad")
    if isinstance(pads, list | tuple) and any(isinstance(n, int) and n < 0 for n in pads[::2]):
        return True
    return step.op in _SLICES and isinstance(start, int) and start > 0


def fitted(window: Window, sizes: Ints, operation_sizes: Ints, kernel: Ints) -> Window | None:
    """A window of Keras's on the axes of an operation, which may lack axes of one pixel or have more of them.

    Args:
        window: Keras's.
        sizes: Sizes of the axes that it moves over.
        operation_sizes: Sizes of the axes that the operation moves over.
        kernel: Size of the operation's window.
    """
    mine = [i for i, (n, k) in enumerate(zip(sizes, window.size, strict=True)) if (n, k) != (1, 1)]
    theirs = [i for i, (n, k) in enumerate(zip(operation_sizes, kernel, strict=True)) if (n, k) != (1, 1)]
    if len(sizes) == len(kernel):
        return window
    if len(mine) != len(theirs):
        return None
    place = dict(zip(theirs, mine, strict=True))
    axes = range(len(kernel))

    def spread(numbers: Sequence[int], none: int) -> Ints:
        return tuple(numbers[place[i]] if i in place else none for i in axes)

    pads = tuple(window.pads[place[i]] if i in place else (0, 0) for i in axes)
    return Window(
        spread(window.size, 1), spread(window.stride, 1), spread(window.dilation, 1), pads, spread(window.given, 1)
    )


def places(size: int, window: Window, axis: int, pads: tuple[int, int]) -> int:
    """Number of places of a window along an axis that is padded so."""
    return (size + sum(pads) - window.reach(axis)) // window.stride[axis] + 1


def is_of_its_own(window: Window, sizes: Ints, padding: str) -> bool:
    """Whether a port pads as follows from its own window, so that with another window it would pad otherwise."""
    for axis, (n, (before, after)) in enumerate(zip(sizes, window.pads, strict=True)):
        k, s, d = window.size[axis], window.stride[axis], window.dilation[axis]
        total = (k - 1) * d
        of_rule = {"same": [geometry.same(n, k, s, d), geometry.same(n, k, 1, d)], "causal": [(total, 0)]}
        if (before, after) not in [*of_rule.get(padding, []), *([(0, 0)] if padding == "valid" else [])]:
            return False
    return True
