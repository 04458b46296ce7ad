"""Say what the port holds instead of a Keras weight, and what would make it equal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from pytest_kerasdiff.align.weights import fingerprint
from pytest_kerasdiff.checks import strangers, transformations
from pytest_kerasdiff.checks.forms import Kernel
from pytest_kerasdiff.checks.held import Fails, Found, Held
from pytest_kerasdiff.checks.subject import Subject
from pytest_kerasdiff.checks.transformations import rounded, same
from pytest_kerasdiff.trace import Array

_MOSTLY = 0.5
"""Share of equal elements from which an array is the Keras weight with some elements changed, not another weight."""


def flattened(subject: Subject) -> tuple[int, ...]:
    """Shape of what a Flatten before the layer takes, without the batch; empty where there is none."""
    return next((shape[1:] for layer, shape in subject.feeders if layer.class_name == "Flatten" and len(shape) > 2), ())


def in_a_larger_one(name: str, weight: Array, kernel: Kernel | None, constants: Sequence[Held]) -> Found | None:
    """A weight that is some rows of a larger constant: packed projections, kernels side by side."""
    form = kernel.as_torch(weight) if kernel is not None else weight
    for holder in constants:
        if holder.array.size <= weight.size or form.ndim == 0 or len(form) < 2:
            continue
        ways = ((holder.array, "rows"), (holder.array.T, "columns"))
        for array, what in ways if form.ndim == 2 else ways[:1]:
            at = place_of(form, array)
            if at is not None:
                return Found("", f"{name} equal, {what} {at} to {at + len(form) - 1} of {holder.where}")
    return None


def place_of(form: Array, array: Array) -> int | None:
    """First row of an array from which on its rows are those of another one; None where they are nowhere."""
    if array.ndim != form.ndim or array.shape[1:] != form.shape[1:] or len(array) < len(form):
        return None
    starts = np.flatnonzero((array == form[0]).reshape(len(array), -1).all(axis=1))
    return next((int(at) for at in starts if same(array[at : at + len(form)], form)), None)


def explain(
    name: str,
    weight: Array,
    kernel: Kernel | None,
    subject: Subject,
    constants: Sequence[Held],
    nearest: Sequence[tuple[Held, Array]],
    rows: Sequence[int],
) -> Found:
    """Name the transformation that would make of Keras's weight what the port holds.

    Args:
        name: Name of the weight.
        weight: Keras's.
        kernel: What it is as a kernel, if it is one.
        subject: The layer.
        constants: What its operations hold.
        nearest: Those of the right size and shape, each with the form in which it should hold the weight.
        rows: Shape of what a Flatten before the layer takes, without the batch.
    """
    changed = _changed(name, nearest)
    if changed is not None:
        return changed
    if kernel is not None:
        for holder in constants:
            moved = _rearranged(name, weight, kernel, holder, rows)
            if moved is not None:
                return moved
    if kernel is None and weight.ndim > 1:
        for holder in constants:
            if fingerprint(holder.array) is not None and fingerprint(holder.array) == fingerprint(weight):
                return _axes_moved(name, weight, holder)
    candidates = [holder for holder, _ in nearest] or [c for c in constants if c.array.size == weight.size]
    # What is another weight of this very layer stands for itself.
    own = {fingerprint(array) for other, array in subject.weights.items() if other != name} - {None}
    candidates = [c for c in candidates if fingerprint(c.array) not in own]
    return other_content(name, weight, subject, candidates, nearest, kernel)


def _changed(name: str, nearest: Sequence[tuple[Held, Array]]) -> Found | None:
    """The Keras weight after rounding, or with some elements changed."""
    best, share, chosen = None, -1.0, None
    for holder, form in nearest:
        port = holder.array.reshape(form.shape)
        meaning = (port != 0) | (form != 0)
        equal = float(np.mean((port == form)[meaning])) if meaning.any() else 1.0
        if kind := rounded(form, port):
            words = f"{name}: {holder.where} is Keras's after rounding to {kind}; load the file's float32 weights"
            return Found("weights-rounded", words, "always")
        if equal > share:
            best, share, chosen = holder, equal, form
    if best is None or chosen is None or share < _MOSTLY:
        return None
    if fingerprint(best.array) == fingerprint(chosen):
        return None  # the same elements, some in other places
    return Found("weights-differ", f"{name}: {strangers.how_much(chosen, best)}; load the file's weights", "always")


def _rearranged(name: str, weight: Array, kernel: Kernel, holder: Held, rows: Sequence[int]) -> Found | None:
    """The same elements in another order."""
    port = holder.array
    if port.size != weight.size or fingerprint(port) != fingerprint(weight):
        return None
    remedy = kernel.remedy(name.rpartition("/")[2], weight)
    if kernel.axes == ("in", "out"):
        return _dense_rearranged(name, weight, holder, rows)
    words = transformations.rearrangement(weight, kernel.axes, kernel.right, port, kernel.merged)
    if words is None and kernel.merged:  # a grouped convolution may hold its channels in another order
        wanted = kernel.as_torch(weight)
        order = transformations.order_along(wanted, port.reshape(wanted.shape), 0)
        words = f"channels in the order {transformations.in_brief(order)}" if order is not None else None
    if words is None:
        found = f"{name}: {holder.where} holds the same values in an order of none of the known kinds; {remedy}"
        return Found("depthwise-layout" if kernel.merged else "conv-kernel-layout", found, "unproven")
    flipped = words.startswith(("rotated", "flipped"))
    cause = "conv-kernel-flipped" if flipped else "depthwise-layout" if kernel.merged else "conv-kernel-layout"
    return Found(cause, f"{name}: {holder.where} is Keras's, {words}; {remedy}", "unproven")


def _axes_moved(name: str, weight: Array, holder: Held) -> Found:
    order = next(
        (o for o in itertools.permutations(range(weight.ndim)) if same(weight.transpose(o), holder.array)), None
    )
    how = f"transposed by {order}" if order is not None else "in another order"
    cause = "activation-slope" if "alpha" in name else "dense-transposed"
    return Found(cause, f"{name}: {holder.where} holds the same values, {how}; reshape Keras's as it is")


def _dense_rearranged(name: str, weight: Array, holder: Held, rows: Sequence[int]) -> Found:
    port = holder.array.reshape(holder.array.shape[0], -1)
    as_keras = port if holder.takes_rows is False else port.T
    short, known = name.rpartition("/")[2], holder.takes_rows is not None
    for way in (as_keras,) if known else (as_keras, as_keras.T):
        if way.shape != weight.shape:
            continue
        order = transformations.flattened_otherwise(weight, rows, way) if len(rows) > 1 else None
        if order is not None:
            letters = dict(enumerate("HWC" if len(rows) == 3 else "DHWC" if len(rows) == 4 else "LC"))
            read = ", ".join(letters.get(i, str(i)) for i in order)
            words = (
                f"{name}: the rows in {holder.where} are in the order ({read}) of what was flattened, {tuple(rows)}, "
                f"Keras's as it is; keep them as in Keras, and permute the activations before the flatten"
            )
            return Found("flatten-order", words, "unproven")
        moved = transformations.order_along(weight, way, 0)
        if moved is not None:
            words = (
                f"{name}: the rows in {holder.where} are reordered: {transformations.in_brief(moved)}; use {short}.T"
            )
            return Found("flatten-order" if len(rows) > 1 else "conv-kernel-layout", words, "unproven")
        moved = transformations.order_along(weight, way, 1)
        if moved is not None:
            words = (
                f"{name}: the columns in {holder.where} are reordered: {transformations.in_brief(moved)}; use {short}.T"
            )
            return Found("conv-kernel-layout", words, "unproven")
    wanted = short if holder.takes_rows is False else f"{short}.T"
    if as_keras.T.shape == weight.shape and same(as_keras.T, weight):
        words = f"{name}: {holder.where} is not transposed as {_taker(holder)} takes it; use {wanted}"
    elif same(port, weight):
        words = f"{name}: {holder.where} is Keras's reshaped instead of transposed; use {wanted}"
    else:
        words = f"{name}: {holder.where} holds the same values in an order of none of the known kinds; use {wanted}"
        return Found("conv-kernel-layout", words, "unproven")
    return Found("dense-transposed", words, "unproven")


def _taker(holder: Held) -> str:
    return holder.operation.op if holder.operation is not None else "the operation"


def other_content(
    name: str,
    weight: Array,
    subject: Subject,
    candidates: Sequence[Held],
    nearest: Sequence[tuple[Held, Array]],
    kernel: Kernel | None,
) -> Found:
    """The weight of another layer, an initial value, or anything else that is not the Keras weight."""
    sure: Fails = "unproven" if kernel is not None else "wrong"
    for holder in candidates:
        theirs = strangers.of_another_layer(name, weight, subject, holder)
        if theirs is not None:
            return theirs._replace(fails=sure)
    if not candidates:
        if kernel is None and "bias" in name and not np.any(weight):
            return Found("", f"{name} is zero, and left out")
        what = "bias-missing" if name.rpartition("/")[2] == "bias" else "weights-differ"
        return Found(what, f"{name}: no constant of the port holds these values, in any order", sure)
    holder = candidates[0]
    if kernel is None and not np.any(weight) and not np.any(holder.array):
        return Found("", f"{name} equal")
    form = next((form for own, form in nearest if own is holder), None)
    cause, words = strangers.strange(weight if form is None else form, holder)
    if cause == "weights-not-loaded" and name.rpartition("/")[2] == "bias" and not np.any(holder.array):
        cause = "bias-missing"
    return Found(cause, f"{name}: {words}; load the file's weights", sure)
