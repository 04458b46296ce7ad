"""The check of weights: each one of Keras, brought to torch's layout, is what the port holds, to float32's last bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pytest_kerasdiff.align.kinds import PROJECTED, inside
from pytest_kerasdiff.checks import concerned, explain, folding, forms, gates, projections, slots, tables
from pytest_kerasdiff.checks.held import COMPUTED, Found, Held, held
from pytest_kerasdiff.checks.subject import Outcome, Subject
from pytest_kerasdiff.checks.transformations import distance, same
from pytest_kerasdiff.trace import Array

_SAID = 3
"""Weights of a layer that a message describes."""


def check(subject: Subject) -> Outcome:
    """Compare a layer's weights with the constants of its torch operations, element by element.

    Activations are no proof: an element that meets only zeros in its input (the channel of a dead ReLU) changes none.
    Where they are right, a weight that the port holds in another form (packed, reordered, in pieces) passes; where they
    are wrong, the transformation that would make it Keras's is named.
    """
    if subject.folded:
        return folding.check(subject)
    found = compared(subject)
    failing = [one for one in found if one.cause and fails(one, subject)]
    if failing:
        more = f"; {len(failing) - _SAID} more weights likewise" if len(failing) > _SAID else ""
        return Outcome(failing[0].cause, "; ".join(one.words for one in failing[:_SAID]) + more)
    said = [one.words if not one.cause else f"{one.words} — the activations agree" for one in found]
    return Outcome("", "; ".join(said) or "the file holds no weights for this layer")


def compared(subject: Subject) -> list[Found]:
    """What the port holds of each weight of a layer that is not folded; causes count as ``fails`` says."""
    return list(_compare(subject))


def fails(found: Found, subject: Subject) -> bool:
    """Whether a cause fails the check of this layer."""
    if found.fails == "unproven":
        return subject.is_wrong or not subject.vouched
    return found.fails == "always" or subject.is_wrong


def _compare(subject: Subject) -> Iterator[Found]:
    class_name, _ = inside(subject.layer.class_name, subject.layer.config)
    constants = held(subject)
    if class_name in concerned.RECURRENT:
        yield from gates.compare(subject, constants)
    elif class_name in PROJECTED:
        yield from projections.compare(subject, constants)
    elif (in_slots := slots.compare(subject, constants)) is not None:
        yield from in_slots
    else:
        found = _one_by_one(subject, constants, class_name)
        yield from slots.by_hand(found, subject) if "Normalization" in class_name else found


def _one_by_one(subject: Subject, constants: Sequence[Held], class_name: str) -> Iterator[Found]:
    found = {name: _of(name, weight, subject, constants, class_name) for name, weight in subject.weights.items()}
    bias, kernels = subject.weights.get("bias"), [own for name, own in found.items() if "kernel" in name]
    lost = bias is not None and bool(np.any(bias)) and found["bias"].cause in ("bias-missing", "weights-differ")
    if lost and kernels and all("equal" in own.words for own in kernels) and "LSTM" not in class_name:
        # Nothing is folded into a kernel that is Keras's own, so the bias has no other place to be.
        words = "bias: the kernel is Keras's, and no constant of the port is its bias"
        size = bias.size if bias is not None else 0
        taken = next((c for c in constants if c.argument == "bias" and c.array.size == size), None)
        if taken is not None and bool(np.any(taken.array)) and not _is_elsewhere(bias, constants):
            found["bias"] = found["bias"]._replace(fails="always")
        elif found["bias"].cause == "bias-missing" or not _is_elsewhere(bias, constants):
            found["bias"] = Found("bias-missing", f"{words}; load it, or create the module with bias=True", "always")
    yield from (one._replace(name=name) for name, one in found.items())


def _is_elsewhere(bias: Array | None, constants: Sequence[Held]) -> bool:
    """Whether a bias is there with the other sign, or as the sum of all vectors of its size."""
    vectors = [c.array.astype(np.float64).ravel() for c in constants if bias is not None and c.array.size == bias.size]
    if bias is None or not vectors:
        return False
    limit = COMPUTED * float(np.abs(bias).max())
    sums = [np.sum(vectors, axis=0), *(-1 * v for v in vectors)]
    return any(bool(distance(total, bias.ravel()).max() <= limit) for total in sums)


def _of(name: str, weight: Array, subject: Subject, constants: Sequence[Held], class_name: str) -> Found:
    """What the port holds of one weight."""
    kernel, flattened = forms.kernel_of(name, weight, class_name), explain.flattened(subject)
    nearest: list[tuple[Held, Array]] = []
    for holder in constants:
        if holder.array.size != weight.size:
            continue
        for form, called in forms_of(name, weight, subject, holder, class_name):
            if holder.array.shape != form.shape and holder.array.squeeze().shape != form.squeeze().shape:
                continue
            port = holder.array.reshape(form.shape)
            if same(port, form):
                return Found("", f"{name} equal" + (f" ({called})" if called else ""))
            if (not holder.direct or called) and distance(port, form).max() <= COMPUTED * np.abs(form).max():
                return Found("", f"{name} equal to rounding, computed from {holder.where}")
            nearest.append((holder, form))
    packed = explain.in_a_larger_one(name, weight, kernel, constants)
    if packed is not None:
        return packed
    if class_name.startswith("ConvLSTM") and (by_gate := gates.of_images(name, weight, constants)) is not None:
        return by_gate
    if class_name == "Embedding":
        return tables.compare(name, weight, subject, constants, nearest)
    return explain.explain(name, weight, kernel, subject, constants, nearest, flattened)


def forms_of(name: str, weight: Array, subject: Subject, holder: Held, class_name: str) -> Iterator[tuple[Array, str]]:
    """A weight of Keras in every form in which a constant may hold it, with what the form is called."""
    kernel = forms.kernel_of(name, weight, class_name)
    if class_name == "EinsumDense":
        yield from ((form, "") for form in forms.of_einsum(name, weight))
    elif kernel is not None:
        yield from ((form, "") for form in forms.right_forms(holder, kernel, weight, explain.flattened(subject)))
    else:
        named = forms.of_vector(name, weight, class_name, subject.layer.config)
        yield from ((form, called) for called, form in named.items())
