"""Attention layers by Keras's equations, with all that a port may do otherwise as a field.

Source: keras/src/layers/attention/multi_head_attention.py, grouped_query_attention.py, attention.py and
additive_attention.py; for masks ``dot_product_attention`` of keras/src/backend/tensorflow/nn.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.equations.activations import FUNCTIONS, sigmoid, softmax

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_FAR = 1e9
"""What Keras subtracts from the scores of what is masked."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """A product with a kernel of several heads.

    Attributes:
        kernel: (dim, heads · elements).
        bias: (heads · elements), or None.
    """

    kernel: Floats
    bias: Floats | None

    def __call__(self, x: Floats) -> Floats:
        """The product of the last axis."""
        product = x @ self.kernel
        return product if self.bias is None else product + self.bias


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """What a layer is to leave out: true where it may look.

    Attributes:
        pairs: (N, heads or 1, queries, keys): the mask that the layer is given, or None.
        queries: (N, queries): which queries are no padding, or None.
        keys: (N, keys): likewise.
    """

    pairs: Mask | None = None
    queries: Mask | None = None
    keys: Mask | None = None


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """A layer: a function of query and value, and of the key where that is another tensor.

    Attributes:
        query: How queries are projected; None where they are taken as they are.
        key: Likewise.
        value: Likewise.
        output: The projection of what all heads give, (heads · elements) → outputs.
        gate: What the heads' results are multiplied with is projected so from the query, through a sigmoid.
        outputs: Shape of the last axes of the output, where it is projected.
        masks: What it leaves out.
        heads: How many there are.
        groups: How many query heads share one of keys and values.
        axes: Axes of the input along which it attends.
        scale: What scores are multiplied with; where they are sums, what their elements are.
        weight: What sums are multiplied with.
        elements: A factor for each element of a sum, or None.
        weighted: These factors are used.
        score: "dot" for products, else the name of the function of which the sum is taken.
        causal: "no", "past" (no later key than the query), "future" (no earlier one), "ahead" (one later one too),
            "before" (only earlier ones), "end" (the last query looks at all keys).
        window: Keys may be less than this many steps away; None for all.
        sources: Which of query, key and value input the projections of the query, the key and the value take.
        kernels: Which of the three projections each of them uses.
        roles: Which of the three projected tensors is taken for the query, the key and the value.
        split: How elements become heads: "heads" (heads, elements), "elements" (elements, heads), "steps" (heads,
            steps, elements), "packed" (heads, query or key or value, elements).
        joined: How heads become elements again: "heads", "elements", "unmoved" (heads, steps, elements).
        tiled: Heads of keys and values are repeated as a whole, not one by one.
        softmax: Along "keys", "queries" or "heads"; or "no", "twice", "sigmoid".
        pairs_mask: The mask that is given is "kept", "ignored", "inverted", or "transposed".
        keys_mask: Keys that are padding are left out ("kept"), or not ("ignored"), or all others are ("inverted").
        queries_mask: Queries that are padding have no keys left ("rows"), give zeros ("zeros"), or are "ignored".
        fill: A query without keys takes all alike ("even"), none ("zero"), all as if none were masked ("added"), or
            gives NaN ("nan").
        projected: The output is projected.
        gated: The gate is used.
        averaged: The scores are given as their mean over the heads.
        memo: What the projections gave last, by which of them took which input, and by the axes.
    """

    query: Projection | None
    key: Projection | None
    value: Projection | None
    output: Projection | None
    gate: Projection | None = None
    outputs: tuple[int, ...] = ()
    masks: Masks = Masks()
    heads: int = 1
    groups: int = 1
    axes: tuple[int, ...] = (1,)
    scale: float = 1.0
    weight: float = 1.0
    elements: Floats | None = None
    weighted: bool = True
    score: str = "dot"
    causal: str = "no"
    window: int | None = None
    sources: tuple[int, int, int] = (0, 1, 2)
    kernels: tuple[int, int, int] = (0, 1, 2)
    roles: tuple[int, int, int] = (0, 1, 2)
    split: str = "heads"
    joined: str = "heads"
    tiled: bool = False
    softmax: str = "keys"
    pairs_mask: str = "kept"
    keys_mask: str = "kept"
    queries_mask: str = "rows"
    fill: str = "even"
    projected: bool = True
    gated: bool = True
    averaged: bool = False
    memo: dict[object, Sequence[Floats]] = dataclasses.field(default_factory=dict)

    def __call__(self, *arrays: Floats) -> list[Floats]:
        """The output, and the scores after the softmax.

        Args:
            arrays: Query and value, (N, steps, dim), and the key where it is another tensor.
        """
        first, second, *third = (self._sequence(array) for array in arrays)
        inputs = (first, third[0] if third else second, second)
        flat = self._flat(arrays, inputs)
        heads = self._packed(flat) if self.split == "packed" else self._split(flat)
        q, k, v = (heads[i] for i in self.roles)
        weights = self._weights(self._scores(q, k))
        result = self._join(weights @ v)
        if self.gate is not None and self.gated:
            result = result * sigmoid(self.gate(first))
        if self.output is not None and self.projected:
            result = self.output(result).reshape(*result.shape[:-1], *self.outputs)
        elif self.queries_mask == "zeros" and self.masks.queries is not None:
            result = np.where(self.masks.queries[..., None], result, 0.0)
        scores = weights.mean(-3) if self.averaged else weights[..., 0, :, :] if self.query is None else weights
        return [self._back(result, np.asarray(arrays[0]).shape), scores]

    def _flat(self, arrays: Sequence[Floats], inputs: Sequence[Floats]) -> Sequence[Floats]:
        """What is projected, (…, steps, heads · elements): most of the time, and the same for most that is tried."""
        known = self.memo.get("of", ())
        if len(known) != len(arrays) or any(one is not other for one, other in zip(known, arrays, strict=True)):
            self.memo.clear()
            self.memo["of"] = arrays
        key = self.axes, self.sources, self.kernels
        if key not in self.memo:
            projections = (self.query, self.key, self.value)
            pairs = zip(self.kernels, self.sources, strict=True)
            self.memo[key] = [_projected(projections[kernel], inputs[source]) for kernel, source in pairs]
        return self.memo[key]

    def _sequence(self, array: Floats) -> Floats:
        """(…, steps, dim): the axes along which the layer attends as one."""
        rest = [i for i in range(array.ndim - 1) if i not in self.axes]
        moved = np.asarray(array, np.float64).transpose(*rest, *self.axes, array.ndim - 1)
        return moved.reshape(*(array.shape[i] for i in rest), -1, array.shape[-1])

    def _back(self, result: Floats, shape: tuple[int, ...]) -> Floats:
        """The axes of a result in the order in which the query has them."""
        rest = [i for i in range(len(shape) - 1) if i not in self.axes]
        order = [*rest, *self.axes]
        apart = result.reshape(*(shape[i] for i in order), *result.shape[len(rest) + 1 :])
        return apart.transpose(*np.argsort(order), *range(len(order), apart.ndim))

    def _packed(self, flat: Sequence[Floats]) -> list[Floats]:
        together = np.concatenate(flat, -1)
        apart = together.reshape(*together.shape[:-1], self.heads, 3, -1)
        return [apart[..., i, :].swapaxes(-2, -3) for i in range(3)]

    def _split(self, flat: Sequence[Floats]) -> list[Floats]:
        """(…, heads, steps, elements) of each."""
        found = []
        for i, array in enumerate(flat):
            *batch, steps, _ = array.shape
            number = self.heads if i == 0 else self.heads // self.groups
            if self.split == "steps":
                heads = array.reshape(*batch, number, steps, -1)
            elif self.split == "elements":
                heads = np.moveaxis(array.reshape(*batch, steps, -1, number), -1, -3)
            else:
                heads = array.reshape(*batch, steps, number, -1).swapaxes(-2, -3)
            if i and self.groups > 1:
                heads = np.concatenate([heads] * self.groups, -3) if self.tiled else heads.repeat(self.groups, -3)
            found.append(heads)
        return found

    def _scores(self, q: Floats, k: Floats) -> Floats:
        """(…, heads, queries, keys)."""
        if self.score == "dot":
            return (q * self.scale) @ k.swapaxes(-1, -2)
        both = FUNCTIONS[self.score](self.scale * (q[..., :, None, :] + k[..., None, :, :]))
        if self.elements is not None and self.weighted:
            both = both * self.elements
        summed: Floats = self.weight * both.sum(-1)
        return summed

    def _weights(self, scores: Floats) -> Floats:
        """What the scores become: of every query the sum over its keys is one."""
        allowed = self._allowed(scores.shape)
        if allowed is not None:
            least = {"even": np.finfo(np.float64).min / 2, "zero": np.finfo(np.float64).min / 2, "nan": -np.inf}
            scores = np.where(allowed, scores, least.get(self.fill, scores - _FAR))
        made = scores
        with np.errstate(invalid="ignore"):  # NaN is what a port with -inf gives for a query without keys
            if self.softmax == "sigmoid":
                made = sigmoid(scores)
            elif self.softmax != "no":
                made = softmax(scores, {"queries": -2, "heads": -3}.get(self.softmax, -1))
            if self.softmax == "twice":
                made = softmax(made)
        return np.where(allowed, made, 0.0) if allowed is not None and self.fill == "zero" else made

    def _allowed(self, shape: tuple[int, ...]) -> Mask | None:
        """Which keys each query may look at, as the scores (…, heads, queries, keys) or to be spread over them."""
        parts: list[Mask] = []
        steps = np.arange(shape[-1])[None, :] - np.arange(shape[-2])[:, None]
        several = {"past": steps <= 0, "future": steps >= 0, "ahead": steps <= 1, "before": steps < 0,
                   "end": steps <= shape[-1] - shape[-2]}  # fmt: skip
        if self.causal != "no":
            parts.append(several[self.causal])
        if self.window is not None:
            parts.append(np.abs(steps) < self.window)
        if self.masks.pairs is not None and self.pairs_mask != "ignored":
            pairs = self.masks.pairs.swapaxes(-1, -2) if self.pairs_mask == "transposed" else self.masks.pairs
            parts.append(~pairs if self.pairs_mask == "inverted" else pairs)
        if self.masks.keys is not None and self.keys_mask != "ignored":
            keys = self.masks.keys[:, None, None, :]
            parts.append(~keys if self.keys_mask == "inverted" else keys)
        if self.masks.queries is not None and self.queries_mask == "rows":
            parts.append(self.masks.queries[:, None, :, None])
        if not parts:
            return None
        if any(part.ndim > 2 for part in parts) and len(shape) != 4:
            raise ValueError("masks of sequences, and a layer of other axes")
        return np.asarray(np.broadcast_to(np.logical_and.reduce(np.broadcast_arrays(*parts)), shape))

    def _join(self, heads: Floats) -> Floats:
        """(…, steps, heads · elements)."""
        *batch, _, steps, _ = heads.shape
        if self.joined == "heads":
            heads = heads.swapaxes(-2, -3)
        elif self.joined == "elements":
            heads = np.moveaxis(heads, -3, -1)
        return heads.reshape(*batch, steps, -1)


def _projected(projection: Projection | None, x: Floats) -> Floats:
    return x if projection is None else projection(x)
