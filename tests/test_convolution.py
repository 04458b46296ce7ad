"""Convolutions in numpy, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_kerasdiff.equations.convolution import Convolution

DRAW = np.random.default_rng(4)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_every_pixel_is_the_sum_over_its_window(padding: str, stride: int, dilation: int) -> None:
    x, kernel = DRAW.standard_normal((2, 8, 7, 3)), DRAW.standard_normal((3, 2, 3, 5))
    result = Convolution(kernel, (stride, stride), (dilation, dilation), padding)(x)
    first = (0, 0)
    if padding == "same":  # the odd pixel stands behind
        windows = [(size - 1) * dilation + 1 for size in (3, 2)]
        totals = [max((-(-n // stride) - 1) * stride + w - n, 0) for n, w in zip((8, 7), windows, strict=True)]
        first = (totals[0] // 2, totals[1] // 2)
        assert result.shape == (2, -(-8 // stride), -(-7 // stride), 5)
    padded = np.pad(x, [(0, 0), (first[0], 9), (first[1], 9), (0, 0)])
    for row, column in np.ndindex(result.shape[1:3]):
        at = [slice(p * stride, p * stride + n * dilation, dilation) for p, n in ((row, 3), (column, 2))]
        expected = np.einsum("nhwi,hwio->no", padded[:, at[0], at[1]], kernel)
        np.testing.assert_allclose(result[:, row, column], expected)


def test_one_axis_and_three() -> None:
    x, kernel = DRAW.standard_normal((2, 6, 3)), DRAW.standard_normal((3, 3, 4))
    line = Convolution(kernel, (1,), (1,), "same")(x)
    box = Convolution(kernel[:, None, None], (1,) * 3, (1,) * 3, "same")(x[:, :, None, None])
    np.testing.assert_allclose(box[:, :, 0, 0], line)
