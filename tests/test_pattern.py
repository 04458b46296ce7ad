"""Patterns of an error that nothing explains."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pytest_kerasdiff.diagnosis import pattern

Floats = npt.NDArray[np.float64]
KERAS: Floats = np.random.default_rng(0).normal(size=(2, 5, 5, 4))


def told(port: Floats) -> str:
    return "; ".join(pattern.of(port, KERAS, 1e-5))


def border() -> Floats:
    port = KERAS + 1
    port[:, 1:-1, 1:-1] = KERAS[:, 1:-1, 1:-1]
    return port


def part(**at: slice) -> Floats:
    port = KERAS.copy()
    place = tuple(at.get(name, slice(None)) for name in ("samples", "rows", "columns", "channels"))
    port[place] *= 1.5
    return port


CASES = {
    "equal": (KERAS, ""),
    "offset": (KERAS + 0.25, "every element differs; by the same number everywhere, 0.25"),
    "channels": (KERAS + np.arange(1.0, 5.0), "every element differs; by one number for each channel"),
    "factor": (KERAS * 3, "every element differs; by the factor 3"),
    "negative": (-KERAS, "every element differs; by the factor -1"),
    "border": (border(), "the border alone differs"),
    "half the channels": (part(channels=slice(2, 4)), "channels 2 to 3 of 4 differ, no other"),
    "one row": (part(rows=slice(3, 4)), "rows 3 of 5 differ, no other"),
    "some columns": (part(columns=slice(0, 5, 2)), "columns 0, 2, 4 of 5 differ, no other"),
    "one sample": (part(samples=slice(1, 2)), "samples 1 of 2 differ, no other"),
    "reversed": (KERAS[..., ::-1], "in reverse order along channels; the same elements in another order"),
    "turned": (KERAS.swapaxes(1, 2), "rows and columns exchanged; the same elements in another order"),
    "nan": (np.where(KERAS > 2, np.nan, KERAS), "NaN or infinite elements are among them"),
}


@pytest.mark.parametrize("name", CASES)
def test_an_error_is_described(name: str) -> None:
    port, words = CASES[name]
    if words:
        assert words in told(port)
    else:
        assert told(port) == ""


def test_steps_and_features_are_called_so() -> None:
    keras: Floats = np.random.default_rng(0).normal(size=(2, 6, 3))
    port = keras.copy()
    port[:, 4:] = 0
    assert list(pattern.of(port, keras, 1e-5)) == ["steps 4 to 5 of 6 differ, no other"]
    flat = keras[:, 0].copy()
    flat[:, 1] += 1
    assert "channels 1 of 3 differ, no other" in list(pattern.of(flat, keras[:, 0], 1e-5))
