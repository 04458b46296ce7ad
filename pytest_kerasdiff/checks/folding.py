"""Weights multiplied into another layer's kernel: the product is compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align import products
from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.align.products import Product
from pytest_kerasdiff.checks.forms import kernel_of
from pytest_kerasdiff.checks.held import COMPUTED, Held, held
from pytest_kerasdiff.checks.subject import Outcome, Subject
from pytest_kerasdiff.trace import Array, Layer

_LEFT = "folded into another kernel; the activations are compared"


def check(subject: Subject) -> Outcome:
    """Compare the product of a kernel and the factors of normalisations with what the port holds.

    What is no plain product (a bias taken into the mean) is left to the activations; not so a table, of which no probe
    input may name some row.
    """
    made = product(subject)
    if made is None:
        return Outcome("", _LEFT)
    other = ", ".join(layer.name for layer in subject.fold if layer.name != subject.layer.name)
    constants = held(subject)
    if not constants:
        return Outcome("", f"folded into what computes {other}, where the product is compared")
    for holder in constants:
        for form in made:
            if holder.array.size == form.size and _equal(holder.array.astype(np.float64), form):
                return Outcome("", f"the product with {other}'s is {holder.where}, to 8 float32 roundings")
    shown = subject.is_wrong and subject.layer is not subject.fold[-1]  # there
    if not shown and any(inside(layer.class_name, layer.config)[0] == "Embedding" for layer in subject.fold):
        return _table(other, made[0], constants)
    return Outcome("", f"the product with {other}'s is held in another form; the activations are compared")


def _table(other: str, form: npt.NDArray[np.float64], constants: Sequence[Held]) -> Outcome:
    """Say which rows of a table are not Keras's, where it is that with what follows it to a few roundings of all."""
    for holder in constants:
        if holder.array.shape != form.shape:
            continue
        differing = np.abs(holder.array.astype(np.float64) - form)
        wrong = (differing > COMPUTED * np.abs(form).max()).any(axis=1)
        if not wrong.any():
            return Outcome("", f"the product with {other}'s is {holder.where}, to 8 float32 roundings")
        return Outcome(
            "weights-differ" if wrong.all() else "embedding-row",
            f"{int(wrong.sum())} of {len(wrong)} rows of {holder.where} are not Keras's with {other} (first "
            f"{int(np.argmax(wrong))}); compute the whole table alike",
        )
    return Outcome("", f"the product with {other}'s is held in another form; the activations are compared")


def _equal(port: npt.NDArray[np.float64], form: npt.NDArray[np.float64]) -> bool:
    """Whether two arrays are equal to eight float32 roundings of each element."""
    if port.squeeze().shape != form.squeeze().shape:
        return False
    port = port.reshape(form.shape)
    return bool(np.all(np.abs(port - form) <= COMPUTED * np.abs(form)))


def product(subject: Subject) -> list[npt.NDArray[np.float64]] | None:
    """Keras's kernel times the factors of the normalisations, as torch may hold it; None where that is not known."""
    both = products.of(subject.others, subject.fold)
    weights = both.made() if both is not None else None
    if both is None or weights is None:
        return None
    made = _as_torch(both, weights[both.kernel])
    matrix = made.reshape(made.shape[:2]) if made.size == made.shape[0] * made.shape[1] else made
    return [made, matrix.T] if matrix.ndim == 2 else [made]


def _as_torch(both: Product, kernel: Array) -> npt.NDArray[np.float64]:
    kind = kernel_of(both.kernel, kernel, inside(both.layer.class_name, both.layer.config)[0])
    return np.asarray(kernel if kind is None else kind.as_torch(kernel), np.float64)


Parts = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64], Layer, int]
"""Kernel in torch's layout, gamma, variance, the normalisation, and the kernel's axis that it scales."""


def parts_of(subject: Subject) -> Parts | None:
    """What is multiplied, where a layer is folded: both are float64 here, and the kernel has all other factors."""
    both = products.of(subject.others, subject.fold)
    if both is None or inside(both.norm.class_name, both.norm.config)[0] != "BatchNormalization":
        return None
    class_name, own = inside(both.layer.class_name, both.layer.config)[0], both.weights[both.kernel]
    kind = kernel_of(both.kernel, own, class_name)
    axis = _scaled_axis(both.inward, kind.merged, class_name) if kind is not None else None
    kernel = _as_torch(both, own)
    if axis is None or kernel.shape[axis] != both.numbers.variance.size:
        return None
    return kernel, both.numbers.gamma, both.numbers.variance, both.norm, axis


def _scaled_axis(before: bool, depthwise: bool, class_name: str) -> int | None:
    """Axis of torch's kernel that a normalisation before or after the layer scales."""
    if depthwise:
        return None if before else 0
    transposed = class_name.endswith("Transpose")
    return int(before != transposed)
