"""Layers that a right port computes in another way: joined into one, where everything else proves the port right.

Somebody may write ``x + t * (h - x)`` for ``h * t + x * (1 - t)``, apply one ReLU behind a concatenation, or cut
patches by a reshape. Then no torch value is what a layer in between gives, although the port is right. Such layers are
joined only where nothing wrong can hide among them: the model's outputs, and every value that leaves them, are Keras's
exactly; the port holds every weight of theirs unchanged; and none of them picks from values what the probe inputs
happen to make the greatest. An activation that the port lacks stays at fault, and so does a layer that it has as such.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from pytest_kerasdiff.align import weights as by_content
from pytest_kerasdiff.align.graph import Node
from pytest_kerasdiff.trace import Array, CandidateTrace, ReferenceTrace
from pytest_kerasdiff.verdict import NOT_SHOWN, Error

if TYPE_CHECKING:
    from pytest_kerasdiff.judge import Judge, LayerVerdict

_RESCALE = frozenset({"Rescaling", "Normalization"})
_EXACT = 1e-5
"""Difference, relative to what the probe inputs move a value by, of what is the same but for constants in float32.

Scale and tolerance prove nothing here: a deep network may take the effect of a fault, and of its inputs, below them.
"""


def is_exact(error: Error | None, reference: Array) -> bool:
    """Whether a value is Keras's to far below what the inputs move half of its channels (the last axis) by.

    Samples are compared with each other: a border moves what is beside it in a network that forgets its inputs, too.
    """
    if error is None or not error.passes:
        return False
    values, channels = np.asarray(reference, np.float64), reference.shape[-1] if reference.ndim > 1 else 1
    if len(values) > 1 and values.ndim > 1:
        moved = float(np.median(np.ptp(values, axis=0).reshape(-1, channels).max(axis=0)))
    else:
        moved = float(np.median(np.ptp(values.reshape(-1, channels), axis=0)))
    return moved > 0 and error.max_abs <= _EXACT * moved


def join(judge: Judge, reference: ReferenceTrace) -> None:
    """Join the layers at fault of a judgement whose outputs are all right; where that does not hold, change nothing."""
    groups = list(_groups(judge, reference))
    held = _Held(judge.candidate.trace) if groups else None
    for group in groups:
        leaving = _leaving(group, reference)
        if held is None or not leaving:
            continue
        # Whether a scale and an offset of each channel are right, the values alone say.
        affine = all(reference.layers[p].class_name in _RESCALE for p in group)
        if not affine and not all(held.all_of(reference, position) for position in group):
            continue
        if not affine and any(
            judge.picks(p) or _lacks(judge.verdicts[p]) or _has_as_such(judge, reference, p) for p in group
        ):
            continue
        before = copy.deepcopy((judge.alignment.pairs, judge.alignment.passes_on, judge.alignment.computed_with))
        own = {value for position in leaving for value in reference.layers[position].outputs}
        for keras_value, torch_value in judge.outputs():
            if keras_value in own and torch_value is not None:
                judge.alignment.passes_on.pop(keras_value, None)
                judge.alignment.pairs[keras_value] = torch_value
        for position in sorted(group - leaving):
            judge.compute_with(position, min((p for p in leaving if p > position), default=min(leaving)))
        judge.judge_again()
        names = [reference.layers[position].name for position in sorted(group)]
        if any(judge.verdicts[position].status not in ("pass", "declared") for position in group):
            judge.alignment.pairs, judge.alignment.passes_on, judge.alignment.computed_with = before
            judge.judge_again()
        else:
            judge.notes.append(f"computed in another way, and compared where they end: {', '.join(names)}")


def _groups(judge: Judge, reference: ReferenceTrace) -> Iterator[set[int]]:
    """Layers at fault next to each other, with those behind them up to where every value is Keras's again."""
    wrong = {p for p, result in enumerate(judge.verdicts) if result.status in ("fault", "unpaired", "inherited")}
    seen: set[int] = set()
    for start in sorted(wrong):
        if start in seen:  # what is reached from it has been
            continue
        group, pending = set(), [start]
        while pending:
            position = pending.pop()
            if position in group:
                continue
            group.add(position)
            takers = _takers(position, reference)
            value = reference.layers[position].outputs[0]
            paired = all(v in judge.alignment.pairs for v in reference.layers[position].outputs)
            if not paired or not is_exact(judge.verdicts[position].cumulative, reference.values[value]):
                pending += takers
            pending += [p for p in takers if p in wrong]
            pending += [p for v in reference.layers[position].inputs if (p := judge.layer_of[v]) in wrong]
        if not group & seen:
            yield group
        seen |= group


def _leaving(group: set[int], reference: ReferenceTrace) -> set[int]:
    """Those layers of a group whose values others take, or the model gives."""
    return {
        p
        for p in group
        if not _takers(p, reference) <= group or set(reference.layers[p].outputs) & set(reference.outputs)
    }


def _takers(position: int, reference: ReferenceTrace) -> set[int]:
    return {i for value in reference.layers[position].outputs for i in reference.takers.get(value, ())}


def _lacks(result: LayerVerdict) -> bool:
    """Whether the port has no activation where Keras has one, which these inputs do not show."""
    return result.isolated is not None and result.isolated.reason == NOT_SHOWN


def _has_as_such(judge: Judge, reference: ReferenceTrace, position: int) -> bool:
    """Whether the port has a layer as Keras has it, and differs: a pooling that counts its padding is at fault.

    That holds where the next layer drops the border, too.
    """
    result, alignment = judge.verdicts[position], judge.alignment
    value = next((alignment.pairs[u] for u in reference.layers[position].outputs if u in alignment.pairs), None)
    if value is None or result.status != "fault" or result.isolated is None or result.isolated.reason:
        return False
    torch = sorted((n.kind, n.variant) for n in (alignment.torch.nodes[i] for i in alignment.span(value)) if _works(n))
    return torch == sorted((n.kind, n.variant) for n in alignment.keras.nodes if n.owner == position and _works(n))


def _works(node: Node) -> bool:
    return node.kind not in ("move", "identity", "pad")


class _Held:
    """What the port holds: whether the weights of a layer are among it, wherever and in whatever order."""

    def __init__(self, trace: CandidateTrace) -> None:
        arrays = [*(c.array for c in trace.constants.values()), *trace.parameters.values()]
        floating = [np.asarray(a, np.float32) for a in arrays if a.dtype.kind == "f" and a.ndim]
        self._rows = {mark for array in floating for mark in _marks(array)}
        self._elements = np.unique(np.concatenate([np.zeros(0, np.float32), *(a for a in floating if a.ndim == 1)]))

    def all_of(self, reference: ReferenceTrace, position: int) -> bool:
        """Whether every weight of a layer is held: its rows or columns, or the elements of a vector."""
        weights = reference.weights_of(reference.layers[position])
        return all(self._has(np.asarray(weight, np.float32)) for weight in weights.values())

    def _has(self, weight: Array) -> bool:
        if weight.ndim < 2:
            return bool(np.isin(weight, self._elements).all())
        last = [by_content.fingerprint(row) for row in np.moveaxis(weight, -1, 0)]
        first = [by_content.fingerprint(row) for row in weight]
        return any(all(mark is None or mark in self._rows for mark in marks) for marks in (last, first))


def _marks(array: Array) -> Iterable[int]:
    if array.ndim < 2:
        return []
    rows = (*array, *np.moveaxis(array, -1, 0), *np.moveaxis(array, 1, 0))
    return [mark for row in rows if (mark := by_content.fingerprint(row)) is not None]
