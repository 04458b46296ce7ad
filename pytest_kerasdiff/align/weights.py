"""Weights by content: which torch operations hold which Keras weights.

Content is compared blind to order, so that a transposed, flipped or gate-permuted kernel still finds its layer.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align.kinds import PROJECTED
from pytest_kerasdiff.layer import Layer
from pytest_kerasdiff.trace import Array, CandidateTrace, ReferenceTrace

Key = tuple[str, str]
"""(layer without call number, weight)."""


_KNOWN: dict[tuple[int, bool], tuple[weakref.ref[Array], tuple[int | None, ...]]] = {}
"""Fingerprints of arrays that still live, by their identity, and whether their pieces are meant: the same weights and
constants are asked for again and again, and nobody changes them."""


_BLOCK = 1 << 15
"""Elements that are mixed at once."""


def fingerprint(array: Array) -> int | None:
    """A number that is the same for every order of the same float32 elements; None for what says nothing."""
    return _remembered(array, False)[0]


def same_elements(first: Array, second: Array) -> bool:
    """Whether two arrays hold the same elements in whatever order; arrays of one repeated value count as such."""
    return _same(first, second) or fingerprint(first) == fingerprint(second)


def fingerprints_of_pieces(array: Array) -> tuple[int | None, ...]:
    """Fingerprints of the array and of its ``pieces``."""
    return _remembered(array, True)


def _remembered(array: Array, of_pieces: bool) -> tuple[int | None, ...]:
    key = (id(array), of_pieces)
    known = _KNOWN.get(key)
    if known is not None and known[0]() is array:
        return known[1]
    made = tuple(_fingerprint(piece) for piece in (pieces(array) if of_pieces else [array]))
    if isinstance(array, np.ndarray):  # a scalar of numpy may have no weak reference
        _KNOWN[key] = (weakref.ref(array, lambda _: _KNOWN.pop(key, None)), made)
    return made


def _fingerprint(array: Array) -> int | None:
    """See ``fingerprint``.

    The sum, modulo 2⁶⁴, of a mix of each element's bits: one pass, no sorting. An array of one repeated value (zeros,
    ones, a scalar) identifies nothing.

    Source: the mixing steps are those of splitmix64 (Steele, Lea, Flood 2014).
    """
    # The sum knows no order: a dense array is read as it lies in memory, block by block so that a block stays in the
    # processor's cache, and needs no room of its own.
    flat = array.ravel(order="K") if isinstance(array, np.ndarray) else np.ravel(array)
    blocks = range(0, flat.size, _BLOCK)
    if flat.size < 2 or all(bool(np.all(_float32(flat[i : i + _BLOCK]) == _float32(flat[:1]))) for i in blocks):
        return None
    total = 0
    for i in blocks:
        mixed = _float32(flat[i : i + _BLOCK]).view(np.uint32).astype(np.uint64)
        mixed += np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(30)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(27)
        mixed *= np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
        total += int(np.add.reduce(mixed))
    return hash((flat.size, total % 2**64))


def _float32(array: Array) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.asarray(array, np.float32) + np.float32(0)  # -0.0 becomes 0.0


def pieces(array: Array) -> Iterator[Array]:
    """The array, and its equal parts along the first axis: packed projections and gates, a GRU's two biases."""
    yield array
    if array.ndim:
        for parts in (2, 3, 4):
            if array.shape[0] >= parts and array.shape[0] % parts == 0:
                yield from np.split(array, parts)


Part = tuple[Array, tuple[str, ...]]
"""An array, and the names of the weights that it is made of."""


def _parts(layer: Layer, weights: Mapping[str, Array]) -> Iterator[Part]:
    """What a layer by hand may hold in several pieces: each gate, each head, each group apart."""
    yield from _by_gate(weights)
    groups = layer.config.get("groups") if "Conv" in layer.class_name else None
    for name, array in weights.items():
        if layer.class_name in PROJECTED:
            yield from ((block, (name,)) for block in by_head(name, array))
        elif isinstance(groups, int) and groups > 1 and array.ndim and array.shape[-1] % groups == 0:
            yield from ((block, (name,)) for block in np.split(array, groups, -1))


def by_head(name: str, array: Array) -> Array:
    """A weight of an attention layer with its heads along the first axis; a vector for all heads is one head's.

    Args:
        name: ``attention_output/kernel`` is (heads, elements, dim), each other kernel (dim, heads, elements).
        array: A kernel, or a bias (heads, elements).
    """
    if array.ndim == 1:
        return array[np.newaxis]
    return np.moveaxis(array, 1, 0) if array.ndim > 2 and "output" not in name else array


def _by_gate(weights: Mapping[str, Array]) -> Iterator[Part]:
    """What a recurrent layer by hand may hold: its gates apart, and both kernels for [input, state] in one product.

    Args:
        weights: Of a layer, by name: ``kernel`` (…, in, gates · units), ``recurrent_kernel`` (…, units, gates · units),
            ``bias`` (gates · units) or (2, gates · units); of one with several cells the cell stands before the name.
    """
    for name, recurrent in weights.items():
        prefix, found, _ = name.partition("recurrent_kernel")
        kernel, bias = weights.get(f"{prefix}kernel"), weights.get(f"{prefix}bias")
        if not found or kernel is None or kernel.ndim != recurrent.ndim or recurrent.ndim < 2 or not recurrent.size:
            continue
        gates, rest = divmod(recurrent.shape[-1], recurrent.shape[-2])
        if rest:
            continue
        held: list[tuple[Array, tuple[str, ...]]] = [(kernel, (f"{prefix}kernel",)), (recurrent, (name,))]
        if kernel.shape[:-2] == recurrent.shape[:-2]:
            both = np.concatenate([kernel, recurrent], -2), (f"{prefix}kernel", name)
            held.append(both)
            yield both
        if bias is not None:
            sums = [bias.sum(0, dtype=bias.dtype)] if bias.ndim == 2 else []
            held += [(own, (f"{prefix}bias",)) for own in (bias, *sums)]
        for array, names in held:
            if array.shape[-1] == recurrent.shape[-1]:
                yield from ((block, names) for block in np.split(array, gates, -1))


def known(reference: ReferenceTrace) -> dict[int, set[Key]]:
    """Fingerprint of everything that a constant of the port may hold of the file → the weights that it is of."""
    index: dict[int, set[Key]] = {}
    for key, array in reference.weights.items():
        for piece in pieces(array) if array.ndim == 2 and array.shape[0] == 2 else [array]:
            mark = fingerprint(piece)
            if mark is not None:
                index.setdefault(mark, set()).add(key)
    parts: dict[int, set[Key]] = {}
    for layer in reference.layers:
        for array, names in _parts(layer, reference.weights_of(layer)):
            mark = fingerprint(array)
            if mark is not None:
                parts.setdefault(mark, set()).update((layer.weight_owner, name) for name in names)
    return parts | index


class Claims:
    """For every torch operation, the Keras weights that its constants hold."""

    def __init__(self, reference: ReferenceTrace, candidate: CandidateTrace) -> None:
        """Compare the content of all weights and all constants that operations take."""
        index = known(reference)
        used = {number for operation in candidate.operations for number in operation.constants}
        found = {number: self._matches(candidate, number, index) for number in used}
        self.of_operation: list[set[Key]] = [
            set().union(*(found[number] for number in operation.constants)) for operation in candidate.operations
        ]
        self.matched_constants = {number for number, keys in found.items() if keys}

    def _matches(self, candidate: CandidateTrace, number: int, index: Mapping[int, set[Key]]) -> set[Key]:
        constant = candidate.constants[number]
        arrays = [constant.array]
        for own in (candidate.parameters[o] for o in constant.origins if o in candidate.parameters):
            if not _same(own, constant.array):
                arrays.append(own)
        keys: set[Key] = set()
        for array in arrays:
            if array.dtype.kind != "f":
                continue
            whole = fingerprint(array)
            if whole is not None and whole in index:
                keys |= index[whole]
                continue
            for mark in fingerprints_of_pieces(array):
                if mark is not None:
                    keys |= index.get(mark, set())
        return keys


def _same(first: Array, second: Array) -> bool:
    """Whether two arrays are equal, which costs less than to mix them."""
    return first is second or (first.dtype == second.dtype and np.array_equal(first, second))


def canonical(kind: str, variant: str, array: Array) -> Array:
    """A Keras kernel in torch's layout.

    Args:
        kind: "conv" or "linear".
        variant: "", "depthwise" or "transpose".
        array: (k…, in, out) for a convolution, (k…, in, multiplier) depthwise, (k…, out, in) transposed, (in, out)
            dense.

    Returns:
        (out, in, k…), (in·multiplier, 1, k…), (in, out, k…) or (out, in).

    Source: keras/src/layers/convolutional/base_conv.py and base_depthwise_conv.py; torch.nn.functional.conv2d.
    """
    spatial = tuple(range(array.ndim - 2))
    if kind == "linear":
        return array.reshape(array.shape[0], -1).T if array.ndim >= 2 else array
    if variant == "depthwise":
        moved = np.transpose(array, (array.ndim - 2, array.ndim - 1, *spatial))
        return moved.reshape(-1, 1, *array.shape[:-2])
    # Transposed kernels are stored (k…, out, in), and torch wants (in, out, k…): the same permutation.
    return np.transpose(array, (array.ndim - 1, array.ndim - 2, *spatial))


def same_direction(first: Array, second: Array, tolerance: float = 1e-3) -> bool:
    """Whether two kernels are equal up to one factor for each output channel (axis 0)."""
    if first.shape != second.shape:
        return False
    rows, others = _unit_rows(first), _unit_rows(second)
    agreement = np.abs(np.sum(rows * others, axis=1))
    dead = (np.linalg.norm(rows, axis=1) == 0) | (np.linalg.norm(others, axis=1) == 0)
    return bool(np.all((agreement > 1 - tolerance) | dead) and not np.all(dead))


def _unit_rows(array: Array) -> npt.NDArray[np.float64]:
    rows = np.asarray(array, dtype=np.float64).reshape(array.shape[0], -1)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    return unit
