"""A BatchNormalization multiplied into the layer before or behind it: the weights of what both together are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.align.kinds import inside
from pytest_kerasdiff.trace import Array, Layer, ReferenceTrace

Floats = npt.NDArray[np.float64]


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
    """A layer with a kernel, and a BatchNormalization that is folded into it.

    Attributes:
        layer: The one with the kernel.
        norm: The normalisation.
        inward: The normalisation is before the layer, else behind it.
        weights: Of the layer, by name, in Keras's layout.
        numbers: Of the normalisation.
    """

    layer: Layer
    norm: Layer
    inward: bool
    weights: Mapping[str, Array]
    numbers: Numbers

    @property
    def name(self) -> str:
        """Both layers in words."""
        return f"{self.layer.name} (folded with {self.norm.name})"

    @property
    def kernel(self) -> str:
        """Name of the weight that is multiplied: of a separable convolution's two the one next to the normalisation."""
        several = [name for name in self.weights if "kernel" in name]
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
        depthwise = "depthwise" in self.kernel or class_name.startswith("Depthwise")
        transposed = class_name.endswith("Transpose")
        if own.ndim < 2 or (self.inward and (transposed or "Separable" in class_name)):
            return None
        last = -2 if (self.inward or transposed) else -1
        channels = own.shape[-2] * own.shape[-1] if depthwise and not self.inward else own.shape[last]
        if numbers.variance.size != channels:
            return None
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


def of(reference: ReferenceTrace, first: Layer, second: Layer) -> Product | None:
    """Two layers, one after the other, as one; None where they are no kernel and no BatchNormalization."""
    several = [inside(layer.class_name, layer.config)[0] == "BatchNormalization" for layer in (first, second)]
    if several[0] == several[1]:
        return None
    inward = several[0]
    norm, layer = (first, second) if inward else (second, first)
    weights = {name: reference.weights[layer.weight_owner, name] for name in layer.weights}
    own = {n.rpartition("/")[2]: reference.weights[norm.weight_owner, n].astype(np.float64) for n in norm.weights}
    variance = own.get("moving_variance")
    if variance is None or variance.ndim != 1 or not any("kernel" in name for name in weights):
        return None
    numbers = Numbers(
        own.get("gamma", np.ones_like(variance)),
        own.get("beta", np.zeros_like(variance)),
        own.get("moving_mean", np.zeros_like(variance)),
        variance,
        float(inside(norm.class_name, norm.config)[1].get("epsilon", 1e-3)),
    )
    return Product(layer, norm, inward, weights, numbers)
