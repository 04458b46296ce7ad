"""Weights of attention: kernels of several heads as rows of torch's projections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pytest_kerasdiff.align.weights import by_head
from pytest_kerasdiff.checks import explain, strangers
from pytest_kerasdiff.checks.held import COMPUTED, Found, Held
from pytest_kerasdiff.checks.subject import Subject
from pytest_kerasdiff.checks.transformations import distance, likeness, rounded, same
from pytest_kerasdiff.trace import Array

_PACKED = ("query", "key", "value")
"""Order of torch's packed projections.

Source: torch.nn.MultiheadAttention; keras/src/layers/attention/multi_head_attention.py for the kernels' axes.
"""


def compare(subject: Subject, constants: Sequence[Held]) -> Iterator[Found]:
    """Compare the kernels of query, key, value and output with what the operations hold."""
    for name, weight in subject.weights.items():
        found = _bias(name, weight, constants) if name.endswith("bias") else _kernel(name, weight, subject, constants)
        yield found._replace(name=name)


def _as_taken(holder: Held) -> list[Array]:
    """A constant with what it gives along the first axis, both ways where the operation does not say."""
    ways = {True: [holder.array], False: [holder.array.T], None: [holder.array, holder.array.T]}
    return ways[holder.takes_rows]


def as_rows(name: str, kernel: Array) -> Array:
    """A kernel as torch's linear holds it: (dim, heads, elements) or, of the output, (heads, elements, dim)."""
    if "output" in name:
        return kernel.reshape(-1, kernel.shape[-1]).T
    return kernel.reshape(kernel.shape[0], -1).T


def _kernel(name: str, weight: Array, subject: Subject, constants: Sequence[Held]) -> Found:
    wanted = as_rows(name, weight)
    for holder in constants:
        for port in _as_taken(holder):
            at = 0 if port.shape == wanted.shape and same(port, wanted) else explain.place_of(wanted, port)
            if at is not None:
                return _at(name, holder, at, len(wanted))
        if holder.array.shape == weight.shape and same(holder.array, weight):
            return Found("", f"{name} equal")
        if (
            holder.array.shape == wanted.shape
            and not holder.direct
            and (distance(holder.array, wanted).max() <= COMPUTED * np.abs(wanted).max())
        ):
            return Found("", f"{name} equal to rounding, computed from {holder.where}")
    lost = _lost_heads(name, weight, constants)
    if not lost:
        return Found("", f"{name} equal, head by head")
    for holder in constants:
        for port in _pieces(holder.array, wanted):
            if words := _otherwise(name, weight, wanted, port):
                return Found("mha-layout", f"{name}: {holder.where} is Keras's, {words}; use {remedy(name)}")
            if port.shape == wanted.shape and (kind := rounded(wanted, port)):
                words = f"{name}: {holder.where} is Keras's after rounding to {kind}; load the file's float32 weights"
                return Found("weights-rounded", words, "always")
    if len(lost) < len(by_head(name, weight)):
        words = f"{name}: the port holds it head by head, and nowhere head {', '.join(map(str, lost))}"
        return Found("weights-differ", f"{words}; load the file's weights")
    changed = _changed(name, wanted, constants)
    if changed is not None:
        return changed
    for holder in constants:
        theirs = strangers.of_another_layer(name, weight, subject, holder)
        if theirs is not None and not subject.layer.name.startswith("call"):
            return theirs
    pieces = [(holder, port) for holder in constants for port in _pieces(holder.array, wanted)]
    fitting = [(holder, port) for holder, port in pieces if port.shape == wanted.shape]
    if fitting and all(abs(likeness(port, wanted)) < strangers.ALIKE for _, port in fitting):
        where = ", ".join(dict.fromkeys(holder.where for holder, _ in fitting))
        words = f"{name}: none of {where} holds it, or any like it, as before loading; use {remedy(name)}"
        return Found("weights-not-loaded", words)
    return Found("weights-differ", f"{name}: no constant of the port holds it; use {remedy(name)}")


def _lost_heads(name: str, weight: Array, constants: Sequence[Held]) -> list[int]:
    """The heads of a weight that the port holds nowhere as rows that a linear takes."""
    ports = [port for holder in constants for port in _as_taken(holder)]
    heads = enumerate(by_head(name, weight))
    return [number for number, head in heads if all(explain.place_of(head.T, port) is None for port in ports)]


def remedy(name: str) -> str:
    """What makes torch's of Keras's, as code."""
    return "kernel.reshape(heads * elements, -1).T" if "output" in name else "kernel.reshape(dim, -1).T"


def _at(name: str, holder: Held, at: int, rows: int) -> Found:
    """A kernel that was found; in torch's own packed projection its place says what it is used for."""
    role = name.partition("/")[0]
    if holder.where.endswith("in_proj_weight") and role in _PACKED and len(holder.array) == 3 * rows:
        used = _PACKED[at // rows]
        if used != role:
            words = f"{name}: stands in {holder.where} where torch has the {used}; exchange {role} and {used}"
            return Found("weights-swapped", words)
    for other in _PACKED:
        if holder.where.endswith(f"{other[0]}_proj_weight") and role in _PACKED and other != role:
            return Found("weights-swapped", f"{name}: stands in {holder.where}; exchange {role} and {other}")
    return Found("", f"{name} equal")


def _pieces(array: Array, wanted: Array) -> Iterator[Array]:
    if array.size == wanted.size:
        yield array
    elif array.ndim == 2 and len(array) % len(wanted) == 0 and array.shape[1] == wanted.shape[1]:
        yield from np.split(array, len(array) // len(wanted))


def _otherwise(name: str, weight: Array, wanted: Array, port: Array) -> str:
    """How a projection holds a kernel in a wrong order; empty where it is none of the known ones."""
    if port.size != weight.size:
        return ""
    if same(port, wanted.T):
        return "not transposed" if wanted.shape[0] == wanted.shape[1] else "reshaped instead of transposed"
    if weight.ndim == 3:
        heads_last = weight.swapaxes(0, 1) if "output" in name else weight.swapaxes(1, 2)
        if same(port, as_rows(name, heads_last)):
            return "heads and their elements exchanged"
        if same(port, as_rows(name, heads_last).T):
            return "not transposed, heads and their elements exchanged"
        for order in ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
            if same(port, weight.transpose(order)):
                return f"transposed by {order}, then reshaped"
    return ""


def _changed(name: str, wanted: Array, constants: Sequence[Held]) -> Found | None:
    for holder in constants:
        for port in _pieces(holder.array, wanted):
            if port.shape == wanted.shape and float(np.mean(port == wanted)) >= 0.5:
                wrong = int((port != wanted).sum())
                words = f"{name}: {wrong} of {wanted.size} elements of {holder.where} differ; load the file's weights"
                return Found("weights-differ", words, "always")
    return None


def _bias(name: str, weight: Array, constants: Sequence[Held]) -> Found:
    flat = weight.ravel()
    for holder in constants:
        own = holder.array.ravel()
        if same(own, flat) or explain.place_of(flat, own) is not None:
            return Found("", f"{name} equal")
    if not np.any(flat):
        return Found("", f"{name} is zero, and left out")
    if weight.ndim > 1 and not _lost_heads(name, weight, constants):
        return Found("", f"{name} equal, head by head")
    if name.startswith("key"):
        # Added to every key alike, it moves all scores of a query by one number, which softmax does not see.
        return Found("", f"{name} is not held, or another one; it does not change the softmax")
    return Found("bias-missing", f"{name}: no constant of the port holds it; load it")
