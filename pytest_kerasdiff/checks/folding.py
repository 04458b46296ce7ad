"""Weights multiplied into another layer's kernel: the product is compared."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.checks.forms import kernel_of
from pytest_kerasdiff.checks.held import COMPUTED, held
from pytest_kerasdiff.checks.subject import Outcome, Subject
from pytest_kerasdiff.trace import Array, Layer

_LEFT = "folded into another kernel; the activations are compared"


def check(subject: Subject) -> Outcome:
    """Compare the product of a kernel and the factors of a BatchNormalization with what the port holds.

    What is no plain product of the two (a bias taken into the mean, several norms in one kernel) is left to the
    activations.
    """
    made = product(subject)
    if made is None:
        return Outcome("", _LEFT)
    other = subject.partner.name if subject.partner is not None else ""
    constants = held(subject)
    if not constants:
        return Outcome("", f"folded into what computes {other}, where the product is compared")
    for holder in constants:
        for form in made:
            if holder.array.size == form.size and _equal(holder.array.astype(np.float64), form):
                return Outcome("", f"the product with {other}'s is {holder.where}, to 8 float32 roundings")
    return Outcome("", f"the product with {other}'s is held in another form; the activations are compared")


def _equal(port: npt.NDArray[np.float64], form: npt.NDArray[np.float64]) -> bool:
    """Whether two arrays are equal to eight float32 roundings of each element."""
    if port.squeeze().shape != form.squeeze().shape:
        return False
    port = port.reshape(form.shape)
    return bool(np.all(np.abs(port - form) <= COMPUTED * np.abs(form)))


def product(subject: Subject) -> list[npt.NDArray[np.float64]] | None:
    """Keras's kernel times the factors of the normalisation, as torch may hold it; None where that is not known."""
    parts = parts_of(subject)
    if parts is None:
        return None
    kernel, gamma, variance, norm, axis = parts
    factors = gamma / np.sqrt(variance + float(inside(norm.class_name, norm.config)[1]["epsilon"]))
    shape = [-1 if i == axis else 1 for i in range(kernel.ndim)]
    made = kernel * factors.reshape(shape)
    matrix = made.reshape(made.shape[:2]) if made.size == made.shape[0] * made.shape[1] else made
    return [made, matrix.T] if matrix.ndim == 2 else [made]


Parts = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64], Layer, int]
"""Kernel in torch's layout, gamma, variance, the normalisation, and the kernel's axis that it scales."""


def parts_of(subject: Subject) -> Parts | None:
    """What is multiplied, where a layer is folded: both are float64 here."""
    if subject.partner is None:
        return None
    layers = (subject.layer, subject.partner)
    norm = next((la for la in layers if inside(la.class_name, la.config)[0] == "BatchNormalization"), None)
    other = next((la for la in layers if la is not norm), None)
    if norm is None or other is None:
        return None
    weights = {name: subject.others.get((norm.weight_owner, name)) for name in norm.weights}
    variance, gamma = weights.get("moving_variance"), weights.get("gamma")
    class_name = inside(other.class_name, other.config)[0]
    name = next((n for n in other.weights if "kernel" in n), None)
    own = subject.others.get((other.weight_owner, name)) if name is not None else None
    kind = kernel_of(name, own, class_name) if name is not None and own is not None else None
    if variance is None or own is None or kind is None:
        return None
    kernel = kind.as_torch(own).astype(np.float64)
    before = bool(set(norm.outputs) & set(other.inputs))
    axis = _scaled_axis(before, kind.merged, class_name)
    if axis is None or kernel.shape[axis] != variance.size:
        return None
    scale: Array = gamma if gamma is not None else np.ones_like(variance)
    return kernel, scale.astype(np.float64), variance.astype(np.float64), norm, axis


def _scaled_axis(before: bool, depthwise: bool, class_name: str) -> int | None:
    """Axis of torch's kernel that a normalisation before or after the layer scales."""
    if depthwise:
        return None if before else 0
    transposed = class_name.endswith("Transpose")
    return int(before != transposed)
