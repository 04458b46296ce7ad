"""Means over steps, of which some may be padding.

Source: keras/src/layers/pooling/global_average_pooling1d.py.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Mean:
    """The mean over the steps of sequences.

    Attributes:
        mask: (N, steps): which steps are no padding; None where all of them are.
        axis: The axis of the steps, 1 or 2.
        keepdims: It stays, with one element.
        summed: Steps of which the sum is taken: "real" ones, or "all".
        divided: Steps by whose number it is divided, likewise.
        step: The one step that is given instead, or None.
    """

    mask: npt.NDArray[np.bool_] | None
    axis: int = 1
    keepdims: bool = False
    summed: str = "real"
    divided: str = "real"
    step: int | None = None

    def __call__(self, x: Floats) -> list[Floats]:
        """(N, steps, channels), or channels first, → (N, channels)."""
        if self.step is not None:
            one = x.take([self.step], self.axis)
            return [one if self.keepdims else one.squeeze(self.axis)]
        mask = np.ones((x.shape[0], x.shape[self.axis]), np.bool_) if self.mask is None else self.mask
        real = np.expand_dims(mask, 3 - self.axis)
        total = (np.where(real, x, 0.0) if self.summed == "real" else x).sum(self.axis, keepdims=True)
        number = real.sum(self.axis, keepdims=True) if self.divided == "real" else x.shape[self.axis]
        mean: Floats = total / number
        return [mean if self.keepdims else mean.squeeze(self.axis)]
