"""Convolutions in numpy, as products that Keras's recurrent layers of images take."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """A convolution over the axes between batch and channels.

    Source: for the padding ``compute_conv_output_shape`` of keras/src/ops/operation_utils.py; TensorFlow pads the odd
    pixel behind.

    Attributes:
        kernel: (…, in, out).
        strides: Of each axis.
        dilation: Of each axis.
        padding: "same" or "valid".
    """

    kernel: Floats
    strides: Sequence[int]
    dilation: Sequence[int]
    padding: str

    def __call__(self, x: Floats) -> Floats:
        """(N, …, in) → (N, …, out)."""
        sizes = self.kernel.shape[:-2]
        spread = [(size - 1) * dilation + 1 for size, dilation in zip(sizes, self.dilation, strict=True)]
        axes = list(zip(x.shape[1:-1], spread, self.strides, strict=True))
        if self.padding == "same":
            given = [math.ceil(length / stride) for length, _, stride in axes]
            totals = [max((g - 1) * s + w - n, 0) for g, (n, w, s) in zip(given, axes, strict=True)]
            x = np.pad(x, [(0, 0), *((total // 2, total - total // 2) for total in totals), (0, 0)])
        else:
            given = [(length - window) // stride + 1 for length, window, stride in axes]
        rank = len(sizes)
        windows = np.lib.stride_tricks.sliding_window_view(x, spread, tuple(range(1, rank + 1)))
        begins = (slice(None, (g - 1) * s + 1, s) for g, s in zip(given, self.strides, strict=True))
        windows = windows[(slice(None), *begins, slice(None), *(slice(None, None, d) for d in self.dilation))]
        summed = [rank + 1, *range(rank + 2, 2 * rank + 2)], [rank, *range(rank)]
        return np.asarray(np.tensordot(windows, self.kernel, summed))
