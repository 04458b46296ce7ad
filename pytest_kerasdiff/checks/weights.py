"""The check of weights, element by element."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align import weights as by_content
from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.checks.subject import Outcome, Subject
from pytest_kerasdiff.trace import Array

_COMPUTED = 2.0**-21
"""Relative difference allowed to a weight computed from parameters (weight_norm): eight float32 roundings."""
_MOSTLY = 0.5
"""Share of equal elements from which an array is the Keras weight with some elements changed, not another weight."""
_Found = tuple[str, str]
"""(cause, words): the cause is empty where the weight is the port's."""


def check(subject: Subject) -> Outcome:
    """Compare a layer's weights with the constants of its torch operations, element by element.

    An element that meets only zeros in its input (the channel of a dead ReLU) changes no activation. Weights that the
    port holds in another form (folded, packed, reordered) are for the activations to judge.
    """
    if subject.folded:
        return Outcome("", "folded into another kernel; the activations are compared")
    found: dict[str, str] = {}
    for name, weight in subject.weights.items():
        cause, words = _compare_weight(name, weight, subject)
        if cause:
            return Outcome(cause, words)
        found[name] = words
    kernels = [words for name, words in found.items() if "kernel" in name]
    bias = subject.weights.get("bias")
    lost = bias is not None and bool(np.any(bias)) and "held in another form" in found["bias"]
    if lost and kernels and all("equal" in words for words in kernels) and "LSTM" not in subject.layer.class_name:
        # Nothing is folded into a kernel that is Keras's own, so the bias has no other place to be.
        return Outcome("bias-missing", "the kernel is Keras's, and no constant of the port is its bias")
    return Outcome("", "; ".join(found.values()) or "the file holds no weights for this layer")


def _compare_weight(name: str, weight: Array, subject: Subject) -> _Found:
    best, best_share = None, -1.0
    forms = _forms(name, weight, subject.layer.class_name)
    for constant in subject.constants:
        if constant.array.size != weight.size or constant.array.dtype.kind != "f":
            continue
        port = constant.array.astype(np.float32)
        direct = len(constant.origins) == 1 and constant.origins[0] in subject.parameters
        for form in forms:
            for candidate in (port, port.T) if port.ndim == 2 else (port,):
                if candidate.shape != form.shape and candidate.squeeze().shape != form.squeeze().shape:
                    continue
                candidate = candidate.reshape(form.shape)
                if np.array_equal(candidate, form):
                    return "", f"{name} equal"
                if not direct and _distance(candidate, form).max() <= _COMPUTED * np.abs(np.asarray(form, float)).max():
                    return "", f"{name} equal to rounding, computed from {', '.join(constant.origins) or 'constants'}"
                meaning = (candidate != 0) | (form != 0)
                share = float(np.mean((candidate == form)[meaning]))
                if share > best_share:
                    best, best_share = (constant, candidate, form), share
    if best is None:
        return _in_other_table(name, weight, subject) or _other_form(name, weight, subject)
    constant, candidate, form = best
    where = ", ".join(constant.origins) or "a constant"
    for kind, rounded in (("float16", _through_float16(form)), ("bfloat16", _through_bfloat16(form))):
        if np.array_equal(candidate, rounded):
            return (
                "weights-rounded",
                f"{name}: {where} is Keras's after rounding to {kind}; load the file's float32 weights",
            )
    looked_up = subject.layer.class_name == "Embedding"  # only the rows that the inputs name are compared otherwise
    reordered = by_content.fingerprint(candidate) == by_content.fingerprint(form)
    if not looked_up and (best_share < _MOSTLY or reordered):
        return _other_form(name, weight, subject)
    wrong = candidate != form
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(_distance(candidate, form))), form.shape))
    return "embedding-row" if reordered else "weights-differ", (
        f"{name}: {int(wrong.sum())} of {form.size} elements of {where} differ, most at {at}: got {candidate[at]:.6g}, "
        f"expected {form[at]:.6g}"
    )


def _in_other_table(name: str, weight: Array, subject: Subject) -> _Found | None:
    """Compare an Embedding's rows with those of a table of another length, which may hold others beside them."""
    if "embedding" not in name.lower():
        return None
    tables = [c for c in subject.constants if c.array.ndim == 2 and c.array.shape[1:] == weight.shape[1:]]
    best = (-1, 0, "")
    for table in tables:
        port = table.array.astype(np.float32)
        for offset in {
            int(at) - row for row in (0, len(weight) // 2) for at in np.flatnonzero((port == weight[row]).all(1))
        }:
            low, high = max(0, offset), min(len(port), offset + len(weight))
            equal = int((port[low:high] == weight[low - offset : high - offset]).all(1).sum())
            best = max(best, (equal, offset, ", ".join(table.origins) or "a constant"))
    equal, offset, where = best
    if equal == len(weight):
        return "", f"{name} equal, from row {offset} of {where}"
    if equal < _MOSTLY * len(weight):
        return None
    return (
        "embedding-row",
        f"{name}: {len(weight) - equal} of {len(weight)} rows are missing in {where} or differ there",
    )


def _other_form(name: str, weight: Array, subject: Subject) -> _Found:
    """A weight that no constant of the layer equals: folded or packed, which activations prove, or simply wrong."""
    mark = by_content.fingerprint(weight)
    if subject.vouched or mark is None or "kernel" not in name:
        return "", f"{name} held in another form"
    if any(by_content.fingerprint(constant.array) == mark for constant in subject.constants):
        return "conv-kernel-layout", f"{name}: the port holds the same values in another order"
    return "weights-differ", f"{name}: no constant of the port holds these values, in any order"


def _distance(first: Array, second: Array) -> npt.NDArray[np.float64]:
    return np.abs(np.asarray(first, np.float64) - np.asarray(second, np.float64))


def _forms(name: str, weight: Array, class_name: str) -> list[Array]:
    """The weight in torch's layout and in Keras's own."""
    if class_name == "EinsumDense":  # a linear has all that goes in, and all that comes out, as one axis each
        return [weight.reshape(1, -1)] if "bias" in name else [
            weight.reshape(weight.shape[0], -1).T, weight.reshape(-1, weight.shape[-1]).T, weight
        ]  # fmt: skip
    if "kernel" not in name or weight.ndim < 2:
        return [weight]
    kind = "linear" if weight.ndim == 2 else "conv"
    variant = "depthwise" if "depthwise" in name or class_name.startswith("Depthwise") else ""
    return [by_content.canonical(kind, variant, weight), weight]


def _through_float16(array: Array) -> Array:
    with np.errstate(over="ignore"):
        return array.astype(np.float16).astype(np.float32)


def _through_bfloat16(array: Array) -> Array:
    """float32 rounded to bfloat16, to nearest even: the upper 16 bits, after adding half of what is cut off."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) & np.uint32(0xFFFF0000)
    return rounded.astype(np.uint32).view(np.float32)


def concerns(class_name: str, config: Mapping[str, Any]) -> bool:
    """Whether a layer has weights that are compared."""
    class_name, _ = inside(class_name, config)
    return any(word in class_name for word in ("Conv", "Dense", "Embedding", "PReLU")) or class_name in (
        "BatchNormalization", "LayerNormalization", "GroupNormalization")  # fmt: skip
