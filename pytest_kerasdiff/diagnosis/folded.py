"""Two layers that the port has folded into one, as that one layer: a kernel and a bias, of which all faults may be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pytest_kerasdiff.align import operations, products
from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.align.products import Floats, Product
from pytest_kerasdiff.checks import registry as checks
from pytest_kerasdiff.checks.forms import kernel_of
from pytest_kerasdiff.checks.transformations import SIXTEEN_BITS, rounded
from pytest_kerasdiff.diagnosis.case import Case
from pytest_kerasdiff.trace import Array, Layer

_ROUNDED = 2.0**-21
"""Relative difference of elements that were multiplied and rounded to float32: eight roundings."""
_HALF = {"float16": 1.01 * 2.0**-11, "bfloat16": 1.01 * 2.0**-9}
"""Relative error of rounding to a 16-bit format."""
_SMALLEST = 2.0**-25
"""Absolute error of rounding what is too small for float16."""
_MOSTLY = 0.5
"""Share of elements that are a kernel's, in their places, from which the others are taken for changed."""


class Form(NamedTuple):
    """A weight in torch's layout.

    Attributes:
        exact: As the multiplication gives it in float64.
        settled: As the port's elements are compared with it, float32.
        summed: Its elements may be less than what was summed in them: those of a bias, and of a table.
    """

    exact: Floats
    settled: Array
    summed: bool


def as_one(case: Case) -> Case:
    """A layer that the port has folded another one into, as the layer that both are: its weights are the products.

    What the port holds is freed of the rounding of the multiplication, so that it can be compared element by element,
    in any order. Any other layer stays as it is.
    """
    product = product_of(case)
    made = product.made() if product is not None else None
    if product is None or made is None:
        return case
    first, last = product.layers[0], product.layers[-1]
    weights = {name: _settled(array, _is_summed(name)) for name, array in made.items()}
    sizes = {array.size for array in made.values()}
    forms = [_as_torch(product, name, made[name], weights[name]) for name in made]
    held = {
        n: c.array for n, c in case.subject.constants.items() if c.array.dtype.kind == "f" and c.array.size in sizes
    }
    others: dict[tuple[str, str], Array] = {}
    port = dict(case.subject.port)
    if any(snapped(array, forms) is None for array in held.values()):  # it holds what is not its own
        exact = {
            (two.name, name): array
            for two in others_of(case, product)
            for name, array in (two.made() or {}).items()
            if array.size in sizes
        }
        others = {key: _settled(array, _is_summed(key[1])) for key, array in exact.items()}
        forms += [_as_torch(product, key[1], array, others[key]) for key, array in exact.items()]
        others |= _unfolded(case)
        port |= {n: found for n, a in port.items() if a.size in sizes and (found := snapped(a, forms)) is not None}
    constants = {
        n: dataclasses.replace(case.subject.constants[n], array=found)
        for n, array in held.items()
        if (found := snapped(array, forms)) is not None
    }
    layer = Layer(
        product.name,
        product.layer.class_name,
        {**product.layer.config, "use_bias": True},
        first.inputs,
        last.outputs,
        tuple(weights),
    )
    subject = dataclasses.replace(
        case.subject,
        layer=layer,
        weights=weights,
        constants={**case.subject.constants, **constants},
        folded=False,
        fold=(),
        taken=[case.reference.shapes[v] for v in layer.inputs],
        others=others,
        port=port,
        feeders=list(checks.feeders(case.reference, first)),
        sources=[case.alignment.torch_value(v) for v in layer.inputs],
    )
    return dataclasses.replace(case, subject=subject, product=product)


def product_of(case: Case) -> Product | None:
    """The layers that one operation of the port is; None for a layer of its own."""
    kinds = [operations.kind(step)[0] for step in case.subject.steps]
    if case.position in case.alignment.folded or "norm" in kinds:
        return None
    return products.of(case.reference.weights, [case.reference.layers[p] for p in case.alignment.fold(case.position)])


def others_of(case: Case, product: Product) -> Iterator[Product]:
    """All other layers of the port that are several of Keras's."""
    for last in dict.fromkeys(case.alignment.folded.values()):
        two = products.of(case.reference.weights, [case.reference.layers[p] for p in case.alignment.fold(last)])
        if two is not None and two.norm is not product.norm:
            yield two


def _unfolded(case: Case) -> dict[tuple[str, str], Array]:
    """The weights of the layers that the port has as they are."""
    two = {*case.alignment.folded, *case.alignment.folded.values()}
    layers = [layer for position, layer in enumerate(case.reference.layers) if position not in two]
    keys = ((layer.weight_owner, name) for layer in layers for name in layer.weights)
    return {key: case.reference.weights[key] for key in keys}


def _as_torch(product: Product, name: str, exact: Floats, settled: Array) -> Form:
    kernel = kernel_of(name, settled, inside(product.layer.class_name, product.layer.config)[0])
    if kernel is None:
        return Form(exact, settled, _is_summed(name))
    return Form(np.asarray(kernel.as_torch(exact), np.float64), kernel.as_torch(settled), False)


def _is_summed(name: str) -> bool:
    return "kernel" not in name


def snapped(port: Array, forms: Sequence[Form]) -> Array | None:
    """What the port holds, with the elements of a form in the place of those that are these to rounding.

    In the order of their size, which finds a kernel in another order of axes; else where most are in their places.
    None where the port holds none of the forms.
    """
    alike = [form for form in forms if form.exact.size == port.size and port.size > 1 and port.dtype.kind == "f"]
    flat = np.asarray(port, np.float64).ravel()
    for form in alike:
        if (found := _in_any_order(flat, form)) is not None:
            return found.astype(np.float32).reshape(port.shape)
    for form in alike:
        for way in (form, Form(form.exact.T, form.settled.T, form.summed)) if form.exact.ndim == 2 else (form,):
            if (found := _in_place(port, flat, way)) is not None:
                return found.astype(np.float32).reshape(port.shape)
    return None


def _in_place(port: Array, flat: Floats, form: Form) -> Array | None:
    if port.squeeze().shape != form.exact.squeeze().shape:
        return None
    want, settled = form.exact.ravel(), form.settled.ravel()
    kind = rounded(port, port)
    if kind and bool(np.all(np.abs(flat - want) <= _HALF[kind] * np.abs(want) + _SMALLEST)):
        return SIXTEEN_BITS[kind](settled)  # where the port's is another, it is on the edge between two numbers
    near = np.abs(flat - want) <= _tolerance(form.exact, form.summed).ravel()
    return np.where(near, settled, flat) if near.mean() >= _MOSTLY else None


def _in_any_order(flat: Floats, form: Form) -> Array | None:
    want = form.exact.ravel()
    order, sizes = np.argsort(flat), np.argsort(want)
    if np.any(np.abs(flat[order] - want[sizes]) > _tolerance(form.exact, form.summed).ravel()[sizes]):
        return None
    made = np.empty(flat.size, np.float32)
    made[order] = form.settled.ravel()[sizes]
    return made


def _tolerance(array: Array, summed: bool) -> Floats:
    """How far the multiplication's rounding may take each element; what is summed in it may be larger than it."""
    size = np.abs(np.asarray(array, np.float64))
    most = float(size.max(initial=0.0))
    return np.asarray(_ROUNDED * (np.full_like(size, most) if summed else size) + 2.0**-40 * most)


def _settled(array: Floats, summed: bool) -> Array:
    """float32 elements, those of one size to rounding made equal: rounding may exchange their order."""
    flat = array.ravel()
    order = np.argsort(flat)
    apart = np.diff(flat[order]) > 2 * _tolerance(array, summed).ravel()[order][1:]
    first = np.concatenate([[0], np.where(apart, np.arange(1, flat.size), 0)])
    made = np.empty_like(flat)
    made[order] = flat[order][np.maximum.accumulate(first)]
    return made.reshape(array.shape).astype(np.float32)
