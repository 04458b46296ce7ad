"""Samples shown side by side: what each side makes of one, and its picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pytest_kerasdiff.trace import Array

MOST_FLIPS = 16
"""Samples whose decision flipped that are shown unasked."""
_TOP = 5
_LARGEST_PIXELS = 96


def chosen(flipped: Sequence[Mapping[str, Any]], asked: Sequence[int], batch: range) -> list[int]:
    """Samples of a batch that are shown: those that the user asks for, and of all flips so far the first ones."""
    flips = list(dict.fromkeys(flip["sample"] for flip in flipped if not flip["tie"]))[:MOST_FLIPS]
    return sorted(number for number in {*flips, *asked} if number in batch)


def side_by_side(number: int, raw: Array, keras: Array, torch: Array, label: int | None) -> dict[str, Any]:
    """What the report has of one sample.

    Args:
        number: Its place in the data.
        raw: The raw sample.
        keras: Keras's output for it.
        torch: The port's, in the same layout.
        label: Its class; None where it has none.
    """
    several = keras.ndim == 1 and keras.size > 1
    apart = np.abs(np.subtract(torch, keras, dtype=np.float64))
    return {
        "sample": number,
        "label": label,
        "keras": _best(keras) if several else None,
        "torch": _best(torch) if several else None,
        "max_abs": float(apart.max()) if apart.size and np.isfinite(apart).all() else None,
        "image": _picture(raw),
    }


def _best(output: Array) -> list[list[float | int | None]]:
    """[class, output] of the classes with the largest outputs."""
    order = np.argsort(-np.nan_to_num(output.astype(np.float64), nan=-np.inf), kind="stable")[:_TOP]
    return [[int(i), float(output[i]) if np.isfinite(output[i]) else None] for i in order]


def _picture(raw: Array) -> str | None:
    """A raw image (H, W), (H, W, 1) or (H, W, 3) as the URI of a small PNG; None where it is none.

    Floats of 0 … 1 are scaled to pixels; others are stretched to them unless they are within 0 … 255.
    """
    if raw.ndim not in (2, 3) or min(raw.shape[:2]) < 4 or (raw.ndim == 3 and raw.shape[-1] not in (1, 3)):
        return None
    pixels = np.nan_to_num(raw.astype(np.float64))
    least, greatest = float(pixels.min()), float(pixels.max())
    if raw.dtype.kind == "f" and least >= 0 and greatest <= 1:
        pixels = 255 * pixels
    elif least < 0 or greatest > 255:
        pixels = 255 * (pixels - least) / ((greatest - least) or 1)
    try:
        from PIL import Image
    except ImportError:
        return None
    own = np.rint(pixels).astype(np.uint8)
    image = Image.fromarray(own[..., 0] if own.shape[2:] == (1,) else own)
    image.thumbnail((_LARGEST_PIXELS, _LARGEST_PIXELS))
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
