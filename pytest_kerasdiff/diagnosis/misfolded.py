"""A normalisation that was multiplied into a kernel by another formula than Keras's, or with other numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pytest_kerasdiff.align import products
from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.align.products import Floats, Numbers, Product
from pytest_kerasdiff.checks import epsilons, weights
from pytest_kerasdiff.checks import registry as checks
from pytest_kerasdiff.checks.held import Found, Held, held
from pytest_kerasdiff.diagnosis import folded
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.trace import Layer

_SAME = 2.0**-19
"""Relative difference to the largest element that a folded kernel or bias may have: thirty-two float32 roundings."""
_OPEN = frozenset({"weights-not-loaded", "weights-differ", "bias-missing"})
"""What is said of a weight that nothing is known of."""
_EPSILONS = (1e-3, 1e-5, 1e-4, 1e-2, 1e-6, 1e-7, 1e-8, 0.0)


class Otherwise(NamedTuple):
    """One thing done otherwise in folding.

    Attributes:
        cause: Id of the fault in the catalogue.
        words: What is done.
        numbers: The normalisation's numbers as the port has them.
        biased: The bias of the layer with the kernel is a part of it.
    """

    cause: str
    words: str
    numbers: Numbers
    biased: bool = True


def explain(case: Case, found: Sequence[Found]) -> Sequence[Found]:
    """Say which other numbers make what the port holds, where what it holds of a folded layer is not known."""
    lost = [one for one in found if one.cause in _OPEN]
    if case.product is None or not lost:
        return found
    constants = held(case.subject)
    two = checks.subject_of(case.reference, case.judge.candidate, case.alignment, case.position, case.verdict)
    solved = [one.value for one in epsilons.solve(two)]
    layers = [case.reference.layers[p] for p in case.alignment.fold(case.position)]
    for cause, words, made in _ways(case, layers, solved):
        if made is not None and all(_is_held(case, name, array, constants) for name, array in made.items()):
            names = " and ".join(one.name for one in lost)
            said = f"{names}: {words}; compute them with Keras's numbers"
            named = {one.name: Found(cause, said if one is lost[0] else "", name=one.name) for one in lost}
            return [named.get(one.name, one) for one in found]
    return found


def _ways(
    case: Case, layers: Sequence[Layer], solved: Sequence[float]
) -> Iterator[tuple[str, str, Mapping[str, Floats] | None]]:
    """Causes, what is done in words, and the weights that it makes."""
    for product in products.each(case.reference.weights, layers):
        if inside(product.norm.class_name, product.norm.config)[0] == "BatchNormalization":
            for way in otherwise(product, folded.others_of(case, product), solved):
                yield way.cause, way.words, product.made(way.numbers, way.biased)
            continue
        without = products.of(case.reference.weights, [layer for layer in layers if layer is not product.norm])
        yield "rescaling", f"folded without {product.norm.name}", without.made() if without is not None else None
        name, unmoved = product.norm.name, _unmoved(product.norm, case.reference.weights)
        with_it = products.of(unmoved[1], [unmoved[0] if layer is product.norm else layer for layer in layers])
        yield "rescaling", f"folded without what {name} adds", with_it.made() if with_it is not None else None


def _unmoved(norm: Layer, weights: products.Weights) -> tuple[Layer, products.Weights]:
    """A Rescaling without its offset, a Normalization without its mean."""
    config = {key: 0 if key in ("offset", "mean") else value for key, value in norm.config.items()}
    means = {key: 0 * weights[key] for name in norm.weights if "mean" in (key := (norm.weight_owner, name))[1]}
    return dataclasses.replace(norm, config=config), {**weights, **means}


def formula(product: Product) -> str:
    """How the layers' weights become one kernel and one bias, in words."""
    if len(product.layers) > 2 or inside(product.norm.class_name, product.norm.config)[0] != "BatchNormalization":
        return f"folded: the weights of {product.layer.name} times every factor, and every offset, of the other layers"
    scale = f"s = gamma / sqrt(moving_variance + {product.numbers.epsilon:g})"
    if product.inward:
        return f"folded: kernel · s along its inputs, bias + Σ kernel · (beta - moving_mean · s), {scale}"
    return f"folded: kernel · s along its outputs, (bias - moving_mean) · s + beta, {scale}"


def _is_held(case: Case, name: str, made: Floats, constants: Sequence[Held]) -> bool:
    class_name = inside(case.layer.class_name, case.layer.config)[0]
    for holder in constants:
        if holder.array.size != made.size:
            continue
        for form, _ in weights.forms_of(name, made, case.subject, holder, class_name):
            fits = holder.array.squeeze().shape == form.squeeze().shape
            if fits and _alike(np.asarray(holder.array.reshape(form.shape), np.float64), np.asarray(form, np.float64)):
                return True
    return False


def _alike(port: Floats, form: Floats) -> bool:
    """Whether two arrays are equal to rounding; a root of what is negative is there on both sides."""
    known = np.isfinite(form)
    if not known.any() or not np.array_equal(known, np.isfinite(port)):
        return False
    return bool(np.abs(port - form)[known].max() <= _SAME * np.abs(form[known]).max())


def otherwise(product: Product, others: Iterable[Product] = (), more: Iterable[float] = ()) -> Iterator[Otherwise]:
    """What is often done otherwise, the likeliest first.

    Args:
        product: The two layers.
        others: All others of the model.
        more: Epsilons beside the usual ones.
    """
    own = product.numbers
    one, zero = np.ones_like(own.gamma), np.zeros_like(own.gamma)

    def but(**changed: Floats | float) -> Numbers:
        return dataclasses.replace(own, **changed)  # type: ignore[arg-type]

    for epsilon in (*_EPSILONS, *more):
        if epsilon != own.epsilon:
            yield Otherwise("eps", f"folded with epsilon {epsilon:g}, Keras {own.epsilon:g}", but(epsilon=epsilon))
    named: Mapping[str, Mapping[str, Floats]] = {
        "gamma": {"gamma": one},
        "beta": {"beta": zero},
        "gamma and beta": {"gamma": one, "beta": zero},
    }
    for name, changed in named.items():
        yield Otherwise("bn-scale-center", f"folded without {name}", but(**changed))
    lost = {"moving_mean": {"mean": zero}, "moving_variance": {"variance": one}}
    for name, changed in {**lost, "moving statistics": {"mean": zero, "variance": one}}.items():
        yield Otherwise("bn-stats-not-loaded", f"folded with the {name} as before loading", but(**changed))
    exchanged = {"gamma and beta": {"gamma": own.beta, "beta": own.gamma},
                 "moving_mean and moving_variance": {"mean": own.variance, "variance": own.mean},
                 "beta and moving_mean": {"beta": own.mean, "mean": own.beta}}  # fmt: skip
    for name, changed in exchanged.items():
        yield Otherwise("bn-slots-exchanged", f"folded with {name} exchanged", but(**changed))
    root = np.sqrt(np.maximum(own.variance, 0))
    powers = {"the standard deviation": root, "its square": (own.variance + own.epsilon) ** 2 - own.epsilon}
    for name, variance in powers.items():
        yield Otherwise("bn-slots-exchanged", f"folded with {name} for the variance", but(variance=variance))
    bias = next((a for name, a in product.weights.items() if name.rpartition("/")[2] == "bias"), None)
    if bias is not None and np.any(bias):
        yield Otherwise("bias-missing", f"folded without the bias of {product.layer.name}", own, False)
        if not product.inward:
            words = f"folded with the bias of {product.layer.name} not multiplied"
            yield Otherwise(
                "weights-differ", words, but(beta=own.beta + np.asarray(bias, np.float64) * (1 - own.scale))
            )
    without = f"folded without what {product.norm.name} adds"
    yield Otherwise("bias-missing", without, but(beta=own.mean * own.scale))
    for other in others:
        if other.numbers.gamma.size == own.gamma.size:
            yield Otherwise("weights-of-other-layer", f"folded with the numbers of {other.norm.name}",
                            dataclasses.replace(other.numbers, epsilon=own.epsilon))  # fmt: skip
