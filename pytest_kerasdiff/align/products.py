"""Normalisations multiplied into the layer before or behind them: the weights of what all together are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.trace import Array, Layer

Floats = npt.NDArray[np.float64]
Weights = Mapping[tuple[str, str], Array]
"""The weights of a Keras model by (layer, weight)."""
AFFINE = frozenset({"BatchNormalization", "Normalization", "Rescaling"})
"""Layers that are one factor and one offset of each channel."""


@dataclasses.dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of a normalisation: ``gamma · (x - mean) / sqrt(variance + epsilon) + beta``."""

    gamma: Floats
    beta: Floats
    mean: Floats
    variance: Floats
    epsilon: float

    @property
    def scale(self) -> Floats:
        """The factor of each channel; not finite where the numbers have no root."""
        with np.errstate(all="ignore"):
            return np.asarray(self.gamma / np.sqrt(self.variance + self.epsilon))

    @property
    def shift(self) -> Floats:
        """What is added to each channel."""
        with np.errstate(all="ignore"):
            return np.asarray(self.beta - self.mean * self.scale)


@dataclasses.dataclass(frozen=True, slots=True)
class Product:
    """A layer with a kernel or a table, and a normalisation that is folded into it.

    Attributes:
        layer: The one with the kernel.
        norm: The normalisation.
        inward: The normalisation is before the layer, else behind it.
        weights: Of the layer, by name, in Keras's layout; more that is folded into it is a part of them.
        numbers: Of the normalisation.
        layers: All that is folded, in order.
    """

    layer: Layer
    norm: Layer
    inward: bool
    weights: Mapping[str, Array]
    numbers: Numbers
    layers: tuple[Layer, ...]

    @property
    def name(self) -> str:
        """All layers in words."""
        others = ", ".join(layer.name for layer in self.layers if layer is not self.layer)
        return f"{self.layer.name} (folded with {others})"

    @property
    def kernel(self) -> str:
        """Name of the weight that is multiplied: of a separable convolution's two the one next to the normalisation."""
        several = [name for name in self.weights if is_kernel(name)]
        return several[0 if self.inward else -1]

    def made(self, numbers: Numbers | None = None, biased: bool = True) -> dict[str, Floats] | None:
        """The weights of both layers in one, in Keras's layout, under the layer's names and "bias".

        Args:
            numbers: Others in the place of the normalisation's own.
            biased: The layer's own bias is a part of them.

        Returns:
            None where both are no layer of the same kind: of a transposed convolution behind a normalisation the
            borders add less than the rest.
        """
        numbers = self.numbers if numbers is None else numbers
        made = {name: np.asarray(array, np.float64) for name, array in self.weights.items()}
        own, class_name = made[self.kernel], inside(self.layer.class_name, self.layer.config)[0]
        if class_name == "Embedding":
            fits = own.ndim == 2 and numbers.variance.size == own.shape[1] and not self.inward
            return {self.kernel: own * numbers.scale + numbers.shift} if fits else None
        channels = _channels(self.kernel, own, class_name, self.inward)
        if channels is None or numbers.variance.size != channels:
            return None
        depthwise, transposed = _is_depthwise(self.kernel, class_name), class_name.endswith("Transpose")
        last = -2 if (self.inward or transposed) else -1
        with np.errstate(all="ignore"):  # numbers that have no root
            factor = numbers.scale.reshape(own.shape[-2:] if depthwise and not self.inward else (-1, 1)[:-last])
            made[self.kernel] = own * factor
            bias = (
                next((array for name, array in made.items() if name.rpartition("/")[2] == "bias"), None)
                if biased
                else None
            )
            if self.inward:
                through = own * numbers.shift[:, None]
                added = through.reshape(-1, *own.shape[-2:]).sum(0)
                added = added.ravel() if depthwise else added.sum(0)
                made["bias"] = added if bias is None else added + bias
            else:
                made["bias"] = numbers.shift if bias is None else numbers.shift + bias * numbers.scale
        return made


def is_kernel(name: str) -> bool:
    """Whether a weight is what a normalisation is multiplied into."""
    return "kernel" in name or name.rpartition("/")[2] == "embeddings"


def of(weights: Weights, layers: Sequence[Layer]) -> Product | None:
    """Layers one after the other as one, the likeliest normalisation apart; see ``each``."""
    return next(each(weights, layers), None)


def each(weights: Weights, layers: Sequence[Layer]) -> Iterator[Product]:
    """Layers one after the other as one; none where they are not a kernel and normalisations only.

    Args:
        weights: Of the whole model.
        layers: One with a kernel, and layers of ``AFFINE`` before and behind it.

    Yields:
        The same product with every one of the normalisations apart, those whose numbers are weights first.
    """
    classes = [inside(layer.class_name, layer.config)[0] for layer in layers]
    kernels = [i for i, name in enumerate(classes) if name not in AFFINE]
    if len(kernels) != 1 or len(layers) < 2:
        return
    at, layer = kernels[0], layers[kernels[0]]
    own: dict[str, Array] = {name: weights[layer.weight_owner, name] for name in layer.weights}
    found = [numbers_of(weights, norm, layer, i < at) for i, norm in enumerate(layers) if i != at]
    numbers = [one for one in found if one is not None]
    if len(numbers) < len(layers) - 1 or not any(map(is_kernel, own)):
        return
    before, behind = numbers[:at], numbers[at:]
    likely = sorted((i for i in range(len(layers)) if i != at), key=lambda i: (classes[i] != "BatchNormalization", -i))
    for apart in likely:
        inward = apart < at
        # All that is on its own side becomes a part of its numbers, the rest a part of the weights.
        merged = _merged(before, apart) if inward else _merged(behind, apart - at - 1)
        made: Mapping[str, Array] | None = own
        others = [*([] if inward else reversed(before)), *(behind if inward else [])]
        for one in others:
            made = Product(layer, layers[apart], not inward, made, one, tuple(layers)).made() if made else None
        if made is not None:
            yield Product(layer, layers[apart], inward, made, merged, tuple(layers))


def _merged(several: Sequence[Numbers], apart: int) -> Numbers:
    """Normalisations one after the other, as the one at ``apart`` with other numbers."""
    own = several[apart]
    with np.errstate(all="ignore"):  # a factor of 0
        for one in reversed(several[:apart]):
            own = dataclasses.replace(own, gamma=own.gamma * one.scale, mean=(own.mean - one.shift) / one.scale)
        for one in several[apart + 1 :]:
            own = dataclasses.replace(own, gamma=own.gamma * one.scale, beta=own.beta * one.scale + one.shift)
    return own


def numbers_of(weights: Weights, norm: Layer, layer: Layer, inward: bool) -> Numbers | None:
    """The numbers of a layer of ``AFFINE`` beside one with a kernel; None where they are not one for each channel.

    Source: a Normalization divides by the root of its variance (keras/src/layers/preprocessing/normalization.py).
    """
    class_name, config = inside(norm.class_name, norm.config)
    own = {n.rpartition("/")[2]: weights[norm.weight_owner, n].astype(np.float64) for n in norm.weights}
    kernel = next((n for n in (layer.weights if inward else reversed(layer.weights)) if is_kernel(n)), None)
    array = weights[layer.weight_owner, kernel] if kernel is not None else np.zeros(0)
    channels = _channels(kernel or "", array, inside(layer.class_name, layer.config)[0], inward)
    if channels is None or config.get("invert"):
        return None

    def each_channel(number: object) -> Floats:
        array = np.asarray(number, np.float64).ravel()
        # A Flatten between a normalisation and the kernel has the channels last.
        repeated = np.tile(array, channels // array.size) if inward and array.size else array
        return np.broadcast_to(repeated, (channels,))

    try:
        one, zero = np.ones(channels), np.zeros(channels)
        if class_name == "Rescaling":
            return Numbers(each_channel(config.get("scale", 1)), each_channel(config.get("offset", 0)), zero, one, 0.0)
        if class_name == "Normalization":
            mean, variance = (own.get(n, config.get(n)) for n in ("mean", "variance"))
            return Numbers(one, zero, each_channel(mean), each_channel(variance), 0.0)
        others = {"gamma": one, "beta": zero, "moving_mean": zero, "moving_variance": None}
        gamma, beta, mean, variance = (each_channel(own.get(name, other)) for name, other in others.items())
        return Numbers(gamma, beta, mean, variance, float(config.get("epsilon", 1e-3)))
    except (TypeError, ValueError):  # no numbers, or not one for each channel
        return None


def _is_depthwise(kernel: str, class_name: str) -> bool:
    return "depthwise" in kernel or class_name.startswith("Depthwise")


def _channels(kernel: str, array: Array, class_name: str, inward: bool) -> int | None:
    """How many channels a kernel takes (``inward``) or gives; None where nothing is folded there."""
    transposed = class_name.endswith("Transpose")
    if array.ndim < 2 or (inward and (transposed or "Separable" in class_name or class_name == "Embedding")):
        return None
    if _is_depthwise(kernel, class_name) and not inward:
        return int(array.shape[-2] * array.shape[-1])
    return int(array.shape[-2 if inward or transposed else -1])
