"""Weights multiplied into another layer's kernel: the product is compared."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align import products
from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.align.products import Product
from pytest_kerasdiff.checks.forms import kernel_of
from pytest_kerasdiff.checks.held import COMPUTED, Held, held
from pytest_kerasdiff.checks.subject import Outcome, Subject
from pytest_kerasdiff.trace import Array, Layer

_MOSTLY = 0.5
"""Share of elements that are the product's from which the others are taken for changed."""
_CLEARLY = 2.0**-12
"""Relative difference to the largest element of what is no rounding."""
_LEFT = "folded into another kernel; the activations are compared"


def check(subject: Subject) -> Outcome:
    """Compare the product of a kernel and the factors of normalisations with what the port holds.

    What is no plain product (a bias taken into the mean) is left to the activations. Where most of it is the product,
    the rest must be too: it may meet only zeros, and no probe input may name some row of a table.
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
    table = any(inside(layer.class_name, layer.config)[0] == "Embedding" for layer in subject.fold)
    found = (_in_part(other, form, holder, table) for holder in constants for form in made if not shown)
    left = Outcome("", f"the product with {other}'s is held in another form; the activations are compared")
    return next((outcome for outcome in found if outcome is not None), left)


def _in_part(other: str, form: npt.NDArray[np.float64], holder: Held, table: bool) -> Outcome | None:
    """Say what of a constant is not the product where most of it is, or where it is a table; None where it is neither.

    What is added to a table may be larger than its sum; so its elements are compared with the largest of them.
    """
    port, form = holder.array.astype(np.float64).squeeze(), form.squeeze()
    if port.shape != form.shape or form.ndim < 2 or not form.any():
        return None
    largest = np.abs(form).max()
    near = np.abs(port - form) <= COMPUTED * (largest if table else np.abs(form))
    wrong = np.abs(port - form) > (COMPUTED if table else _CLEARLY) * largest
    if table and not wrong.any():
        return Outcome("", f"the product with {other}'s is {holder.where}, to 8 float32 roundings")
    if not wrong.any() or not (table or near[form != 0].mean() >= _MOSTLY):
        return None
    if table:
        rows = wrong.any(axis=1)
        words, cause = f"{int(rows.sum())} of {len(rows)} rows", "weights-differ" if rows.all() else "embedding-row"
    else:
        words, cause = f"{int(wrong.sum())} of {wrong.size} elements", "weights-differ"
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(np.abs(port - form))), form.shape))
    return Outcome(
        cause,
        f"{words} of {holder.where} are not Keras's with {other}, most at {at}: got {port[at]:.6g}, expected "
        f"{form[at]:.6g}; compute all of it alike",
    )


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
