"""Seeds: weights that are copied wrongly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from pytest_kerasdiff.change import Change, Edit
from pytest_kerasdiff.checks import forms
from pytest_kerasdiff.diagnosis import misfolded
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.selftest.seed import Seed, constant, edited, elements, named, of_kind
from pytest_kerasdiff.trace import Array

_KERNELS = ("conv", "linear")


def kernels(case: Case) -> Iterator[Seed]:
    """Kernels in another order, of other content, or rounded."""
    for operation in of_kind(case, *_KERNELS):
        found = constant(case, operation, "weight")
        if found is None:
            continue
        number, array = found
        grouped = operation.arguments.get("groups", 1) != 1
        depthwise = "Depthwise" in case.layer.class_name or "Separable" in case.layer.class_name
        if array.ndim == 4 and array.shape[2] == array.shape[3] > 1:
            layout = "depthwise-layout" if grouped and depthwise else "conv-kernel-layout"
            yield Seed(layout, "H and W of the kernel exchanged", elements(number, array.swapaxes(2, 3)),
                       ("conv-kernel-layout",))  # fmt: skip
        if array.ndim > 2 and max(array.shape[2:]) > 1:
            turned = np.flip(array, tuple(range(2, array.ndim)))
            yield Seed("conv-kernel-flipped", "the kernel rotated by 180°", elements(number, turned))
        if array.ndim > 2 and not grouped and array.shape[0] == array.shape[1] > 1:
            turned = array.swapaxes(0, 1)
            cause = "dense-transposed" if "Dense" in case.layer.class_name else "conv-kernel-layout"
            yield Seed(cause, "in and out of the kernel exchanged", elements(number, turned))
        if array.ndim == 2 and array.shape[0] == array.shape[1] > 1:
            cause = "mha-layout" if "Attention" in case.layer.class_name else "dense-transposed"
            yield Seed(cause, "the square kernel transposed", elements(number, array.T))
        yield from _contents(number, array)


def _contents(number: int, array: Array) -> Iterator[Seed]:
    draw = np.random.default_rng(0)
    bound = 1 / np.sqrt(max(1, array[0].size))
    fresh = draw.uniform(-bound, bound, array.shape).astype(np.float32)
    yield Seed("weights-not-loaded", "the kernel left at initial values", elements(number, fresh))
    halved = np.asarray(array, np.float32).astype(np.float16).astype(np.float32)
    if np.isfinite(halved).all() and not np.array_equal(halved, array):
        yield Seed("weights-rounded", "the kernel rounded to float16", elements(number, halved))
    changed = np.array(array, np.float32)
    at = np.unravel_index(int(np.argmax(np.abs(changed))), changed.shape)
    changed[at] *= 0.5
    yield Seed(
        "weights-differ", f"one element of the kernel halved, at {tuple(map(int, at))}", elements(number, changed)
    )


def flattened(case: Case) -> Iterator[Seed]:
    """A Dense kernel whose rows are in the order in which torch flattens an image, (C, H, W), not (H, W, C)."""
    before = case.reference.layers[case.position_of(case.layer.inputs[0])] if case.layer.inputs else None
    if case.layer.class_name != "Dense" or before is None or before.class_name != "Flatten":
        return
    image = case.reference.shapes[before.inputs[0]][1:]
    if len(image) < 2 or image[-1] == 1 or math.prod(image[:-1]) == 1:
        return
    for operation in of_kind(case, "linear"):
        found = constant(case, operation, "weight")
        if found is not None and found[1].shape[-1] == math.prod(image):
            channels_first = np.moveaxis(found[1].reshape(-1, *image), -1, 1).reshape(found[1].shape)
            yield Seed("flatten-order", "its kernel in the order (C, H, W)", elements(found[0], channels_first))


def other_layers(case: Case) -> Iterator[Seed]:
    """Kernels of other layers of the same shape."""
    for operation in of_kind(case, *_KERNELS):
        own = constant(case, operation, "weight")
        if own is None:
            continue
        number, array = own
        for position, verdict in enumerate(case.judge.verdicts):
            if position <= case.position or verdict.status != "pass":
                continue
            main = case.alignment.main.get(position)
            other = constant(case, case.trace.operations[main], "weight") if main is not None else None
            alike = other is not None and other[1].shape == array.shape and other[0] != number
            if other is not None and alike and not np.array_equal(other[1], array):
                both = Change(constants={number: other[1], other[0]: array})
                layer = case.reference.layers[position].name
                yield Seed("weights-swapped", f"its kernel and that of {layer} exchanged", both)
                yield Seed("weights-of-other-layer", f"the kernel of {layer} in its place", elements(number, other[1]),
                           ("weights-swapped",))  # fmt: skip
                return


def biases(case: Case) -> Iterator[Seed]:
    """Biases left out."""
    for operation in of_kind(case, *_KERNELS):
        found = constant(case, operation, "bias")
        if found is not None and np.any(found[1]):
            yield Seed("bias-missing", "the bias left out", edited(case, operation, Edit(arguments={"bias": None})))


def normalisations(case: Case) -> Iterator[Seed]:
    """Statistics left at their initial values, slots exchanged, and an epsilon of another framework."""
    for operation in of_kind(case, "norm"):
        slots = {name: constant(case, operation, name) for name in ("weight", "bias", "running_mean", "running_var")}
        mean, variance, gamma, beta = (slots[n] for n in ("running_mean", "running_var", "weight", "bias"))
        if mean is not None and variance is not None:
            fresh = {mean[0]: np.zeros_like(mean[1]), variance[0]: np.ones_like(variance[1])}
            yield Seed("bn-stats-not-loaded", "running statistics left at 0 and 1", Change(constants=fresh))
            root = elements(variance[0], np.sqrt(variance[1]))
            yield Seed("bn-slots-exchanged", "the standard deviation loaded as variance", root)
        if gamma is not None and beta is not None and gamma[1].shape == beta[1].shape:
            swapped = Change(constants={gamma[0]: beta[1], beta[0]: gamma[1]})
            yield Seed("bn-slots-exchanged", "gamma and beta exchanged", swapped)
        eps = operation.arguments.get("eps")
        if isinstance(eps, float):
            other = 1e-5 if eps > 3e-5 else 1e-3
            yield Seed("eps", f"epsilon {other:g} for {eps:g}", edited(case, operation, Edit(arguments={"eps": other})))


def foldings(case: Case) -> Iterator[Seed]:
    """Normalisations that are multiplied into a kernel with other numbers; one of each id."""
    product, seen = case.product, set[str]()
    if product is None:
        return
    form = forms.kernel_of(product.kernel, product.weights[product.kernel], case.layer.class_name)
    for operation in of_kind(case, *_KERNELS):
        kernel, bias = (constant(case, operation, name) for name in ("weight", "bias"))
        for way in misfolded.otherwise(product) if form is not None and kernel is not None and bias is not None else ():
            made = product.made(way.numbers, way.biased)
            if made is None or form is None or kernel is None or bias is None or way.cause in seen:
                continue
            arrays = {kernel[0]: form.as_torch(made[product.kernel]), bias[0]: made["bias"]}
            change = _of_one_size(case, arrays)
            if change is not None:
                seen.add(way.cause)
                yield Seed(way.cause, f"the kernel {way.words}", change)


def _of_one_size(case: Case, arrays: Mapping[int, Array]) -> Change | None:
    """Other elements for constants; None where they do not fit, are no numbers, or are the same."""
    shaped, apart = {}, False
    for number, array in arrays.items():
        own = case.trace.constants[number].array
        if array.squeeze().shape != own.squeeze().shape or not np.isfinite(np.asarray(array, np.float64)).all():
            return None
        shaped[number] = np.asarray(array.reshape(own.shape), np.float32)
        apart = apart or _are_apart(shaped[number], own)
    return Change(constants=shaped) if apart else None


def _are_apart(array: Array, other: Array) -> bool:
    """Whether arrays differ by more than rounding."""
    return not np.allclose(array, other, 1e-5, 1e-5 * float(np.abs(other).max()))


def recurrent(case: Case) -> Iterator[Seed]:
    """Gates in another order, a bias twice, states of the other direction."""
    for operation in named(case, "lstm", "gru"):
        params = operation.arguments.get("params") or []
        numbers = [one.index for one in params if hasattr(one, "index")]
        arrays = {n: case.trace.constants[n].array for n in numbers}
        gates = 4 if operation.op == "lstm" else 3
        if not arrays or any(len(a) % gates for a in arrays.values()):
            continue
        order = [0, 2, 1, 3][:gates] if gates == 4 else [1, 0, 2]
        moved = {n: np.concatenate([np.split(a, gates)[i] for i in order]) for n, a in arrays.items()}
        yield Seed(f"{operation.op}-gate-order", "two gates exchanged", Change(constants=moved))
        if operation.op == "lstm" and operation.arguments.get("has_biases") and len(numbers) >= 4:
            first, second = numbers[2], numbers[3]
            total = np.add(arrays[first], arrays[second], dtype=np.float32)
            if np.any(total):
                twice = Change(constants={first: total, second: total})
                yield Seed("lstm-bias-doubled", "the bias in both of torch's", twice)
        if operation.arguments.get("bidirectional") and len(numbers) in (4, 8):
            half = len(numbers) // 2
            pairs = zip(numbers[:half], numbers[half:], strict=True)
            crossed = {n: arrays[m] for a, b in pairs for n, m in ((a, b), (b, a))}
            yield Seed("bidirectional-order", "forward and backward exchanged", Change(constants=crossed))


def tables(case: Case) -> Iterator[Seed]:
    """Embedding rows shifted by one."""
    for operation in named(case, "embedding"):
        found = constant(case, operation, "weight")
        if found is not None:
            yield Seed("embedding-row", "rows shifted by one", elements(found[0], np.roll(found[1], 1, 0)))
