"""Keras's attention layers as equations, from their config, weights and masks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pytest_kerasdiff.align.kinds import PROJECTED
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.equations.attention import Attention, Mask, Masks, Projection

ID = "attention"
"""Id of the catalogue."""
PLAIN = frozenset({"Attention", "AdditiveAttention"})
_FILLS = ("even", "zero", "added")
"""What versions of Keras do with a query whose keys are all masked."""


def layers(case: Case) -> Iterator[tuple[Attention, list[int]]]:
    """The layer's equations with the Keras values that they take.

    One for each way in which its inputs may be meant, and for each that versions of Keras have with masks: those are
    right that give what Keras gave.
    """
    own = _projected(case) if case.layer.class_name in PROJECTED else _plain(case)
    if own is None:
        return
    for taken, masks in _inputs(case, own):
        made = dataclasses.replace(own, masks=masks)
        for fill in _FILLS:
            yield dataclasses.replace(made, fill=fill), taken
            if masks == Masks() and own.causal == "no":
                break


def called_with(case: Case, name: str) -> Any:
    """An argument of the layer's call that is no tensor; None where it is not given."""
    return case.layer.config.get("call", {}).get("kwargs", {}).get(name)


def _is_causal(case: Case) -> str:
    return "past" if called_with(case, "use_causal_mask") or case.layer.config.get("causal") else "no"


def _projected(case: Case) -> Attention | None:
    config, weights = case.layer.config, case.subject.weights
    kernels = {name.split("/")[-2]: array for name, array in weights.items() if name.endswith("/kernel")}
    biases = {name.split("/")[-2]: array for name, array in weights.items() if name.endswith("/bias")}
    if not {"query", "key", "value", "attention_output"} <= kernels.keys():
        return None

    def projection(name: str, axes: int) -> Projection | None:
        if name not in kernels:
            return None
        kernel, bias = np.asarray(kernels[name], np.float64), biases.get(name)
        rows = int(np.prod(kernel.shape[:axes]))
        return Projection(kernel.reshape(rows, -1), None if bias is None else np.asarray(bias, np.float64).ravel())

    heads, elements = kernels["query"].shape[1:]
    axes = config.get("attention_axes") or [1]
    return Attention(
        projection("query", 1),
        projection("key", 1),
        projection("value", 1),
        projection("attention_output", 2),
        projection("gate", 1),
        outputs=tuple(kernels["attention_output"].shape[2:]),
        heads=heads,
        groups=heads // kernels["key"].shape[1],
        axes=tuple(axes),
        scale=1 / math.sqrt(elements),
        causal=_is_causal(case),
        window=config.get("sliding_window"),
    )


def _plain(case: Case) -> Attention | None:
    config = case.layer.config
    weights = {name.split("/")[-1]: np.asarray(array, np.float64) for name, array in case.subject.weights.items()}
    scale = weights.get("scale")
    own = Attention(None, None, None, None, queries_mask="zeros", fill="added", causal=_is_causal(case))
    if case.layer.class_name == "AdditiveAttention":
        return dataclasses.replace(own, score="tanh", elements=scale)
    weight = float(weights.get("concat_score_weight", np.float64(1.0)))
    score = "tanh" if config.get("score_mode", "dot") == "concat" else "dot"
    return dataclasses.replace(own, score=score, weight=weight, scale=1.0 if scale is None else float(scale))


def _inputs(case: Case, own: Attention) -> Iterator[tuple[list[int], Masks]]:
    """Which inputs are query, value and key, and what the masks are."""
    trace, shapes = case.reference, case.reference.shapes
    values = [v for v in case.layer.inputs if v not in trace.masks]
    if len(values) < 2:
        return
    shape = shapes[values[1]]
    for number in (3, 2):
        third = values[2:number]
        if len(values) < number or any(shapes[v][:-1] != shape[:-1] for v in third):
            continue
        width = own.key.kernel.shape[0] if own.key is not None else shapes[values[0]][-1]
        if any(shapes[v][-1] != width for v in third):
            continue
        taken = values[:number]
        given = [*values[number:], *(v for v in case.layer.inputs if v in trace.masks)]
        yield from ((taken, masks) for masks in _masks(case, taken, given))


def _masks(case: Case, taken: Sequence[int], given: Sequence[int]) -> Iterator[Masks]:
    arrays = [np.asarray(case.reference.values[v]) != 0 for v in given]
    pairs = [array if array.ndim == 4 else array[:, None] for array in arrays if array.ndim in (3, 4)]
    if len(pairs) > 1:
        return
    beside: list[Mask] = [array for array in arrays if array.ndim == 2]
    handed = case.reference.step_masks
    queries = np.asarray(handed[taken[0]], np.bool_) if taken[0] in handed else None
    keys = _all([np.asarray(handed[v], np.bool_) for v in dict.fromkeys(taken[1:]) if v in handed])
    several = [(queries, keys)]
    if beside:
        several = [(beside[0], _all(beside[1:])), (None, _all(beside)), (queries, _all(beside)), (beside[0], keys)]
    for over_queries, over_keys in several:
        yield Masks(pairs[0] if pairs else None, over_queries, over_keys)


def _all(several: Sequence[Mask]) -> Mask | None:
    """True where every one is; None of none."""
    if not several or any(array.shape != several[0].shape for array in several):
        return None
    return np.asarray(np.logical_and.reduce(list(several)))
