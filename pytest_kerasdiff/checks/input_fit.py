"""How the port's input tensor is made from Keras's: a movement of its elements, and a scale and an offset."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from pytest_kerasdiff.checks.pixel_scales import Floats, Line, say
from pytest_kerasdiff.checks.subject import Preprocessed
from pytest_kerasdiff.verdict import limit, scale_of

_FEWEST = 4
"""Elements from which a scale and an offset are fitted: any line meets two, and a third may be met by chance."""
_MANY = 8
"""Values that several elements must have, and the share of all elements, 1/8, that must repeat an earlier one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """What explains a difference: id of the fault, what the two functions do, and what to do in the port's."""

    cause: str
    words: str
    remedy: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Movement:
    """A movement of the elements of Keras's tensor that gives the port's, and how it is taken back."""

    words: str
    remedy: str
    taken_back: Floats


def explain(pair: Preprocessed, tol: float) -> Explanation | None:
    """The simplest movement, with a scale and an offset for each channel, that makes the port's tensor of Keras's.

    The limit is that of float32 at the scale of the port's tensor.

    Args:
        pair: Both tensors, all elements finite.
        tol: The tolerance asked for.
    """
    keras, allowed = pair.keras, limit(scale_of(pair.port), tol, "float32")
    if np.ptp(pair.port) <= allowed < np.ptp(keras):
        return Explanation(
            "input-scale",
            "the port's function gives the same number everywhere",
            "look for a division of integers, or an image that was not filled",
        )
    axis = channel_axis(keras.shape)
    for is_reversed in (False, True) if keras.ndim > 3 and keras.shape[axis] > 1 else (False,):
        for movement in _movements(pair):
            port = np.flip(movement.taken_back, axis) if is_reversed else movement.taken_back
            line = _fitted(np.moveaxis(port, axis, -1), np.moveaxis(keras, axis, -1), allowed)
            if line is None:
                continue
            scaled = say(line, is_reversed, bool((port < 0).any()), bool((keras < 0).any()))
            reversal = _of_channels(keras.shape[axis]) if is_reversed else ("", "")
            found = [
                ("input-layout", movement.words, movement.remedy),
                ("input-channels", *reversal),
                ("input-scale", scaled.words, scaled.remedy),
            ]
            said = [part for part in found if part[1]]
            if said:
                return Explanation(said[0][0], "; ".join(p[1] for p in said), ", ".join(p[2] for p in said))
    return None


def channel_axis(shape: Sequence[int]) -> int:
    """The axis of channels: the last one, or that after the samples where only it is as short as channels are."""
    return 1 if len(shape) == 4 and shape[1] <= 4 < shape[-1] else len(shape) - 1


def _of_channels(number: int) -> tuple[str, str]:
    order = " (BGR against RGB)" if number == 3 else ""
    return f"the port has the channels in the reverse of Keras's order{order}", "reverse the channels"


def _movements(pair: Preprocessed) -> Iterator[_Movement]:
    """The movements that the shapes allow, none at all first."""
    port, keras, order = pair.port, pair.keras, pair.order
    if port.shape == keras.shape:
        yield _Movement("", "", port)
    if port.ndim != keras.ndim:
        return
    if port.ndim == 4:
        height, width = (axis for axis in (1, 2, 3) if axis != channel_axis(keras.shape))
        exchanged = port.swapaxes(height, width)
        if exchanged.shape == keras.shape:
            yield _Movement("height and width exchanged", "exchange height and width", exchanged)
    if not order:
        return
    given, permute = port.transpose(order), f"permute{tuple(axis - 1 for axis in order[1:])}"
    if list(order) == sorted(order):
        # Both take the channels at the same place, and the port's function puts them at the other one.
        is_last = channel_axis(keras.shape) == keras.ndim - 1
        moved = np.moveaxis(port, 1, -1) if is_last else np.moveaxis(port, -1, 1)
        if port.ndim > 2 and moved.shape == keras.shape:
            there, here = ("first", "last") if is_last else ("last", "first")
            yield _Movement(
                f"the port's function gives the channels {there}, and the port takes them {here}, as Keras does",
                "leave the permute out" if is_last else "end with .permute(2, 0, 1)",
                moved,
            )
        return
    if given.shape == keras.shape:
        yield _Movement(
            "the port's function leaves the axes in Keras's order, nothing moves the channels first",
            f"end with .{permute}",
            given,
        )
    if port.shape == keras.shape:
        yield _Movement(
            "reshaped instead of transposed: the shape is right, the elements are in other places",
            f"use {permute} instead of reshape or view",
            given.reshape(keras.shape),
        )


def _fitted(port: Floats, keras: Floats, allowed: float) -> Line | None:
    """The line through all elements, else that of each channel, the last axis; None where an element is too far off."""
    for channels in (1, keras.shape[-1]):
        x, y = keras.reshape(-1, channels), port.reshape(-1, channels)
        if len(x) < _FEWEST:
            return None
        x_mean, y_mean = x.mean(0), y.mean(0)
        spread = np.square(x - x_mean).sum(0)
        together = ((x - x_mean) * (y - y_mean)).sum(0)
        scale = together / np.where(spread > 0, spread, 1)
        # Of a channel that is the same everywhere in Keras's tensor no scale is known, so an offset has to do; one that
        # is so in the port's has no scale.
        width = np.ptp(x, axis=0)
        scale = np.where(np.abs(scale) * width > allowed, scale, np.where(width > allowed, 0, 1))
        offset = y_mean - scale * x_mean
        if np.abs(scale * x + offset - y).max() <= allowed:
            return Line(scale, offset, np.stack([x.min(0), x.max(0)]), allowed)
    return None


def is_of_single_elements(pair: Preprocessed, tol: float) -> bool:
    """Whether equal elements of Keras's tensor are equal in the port's, channel by channel; False where few are equal.

    The values of a resize seldom repeat, but for a few, such as those of a background.
    """
    keras, port = pair.keras, pair.port
    if port.shape != keras.shape:
        return False
    axis, allowed = channel_axis(keras.shape), limit(scale_of(port), tol, "float32")
    for x, y in zip(np.moveaxis(keras, axis, 0), np.moveaxis(port, axis, 0), strict=True):
        order = np.argsort(x, axis=None, kind="stable")
        x, y = x.ravel()[order], y.ravel()[order]
        starts = np.concatenate([[0], np.flatnonzero(np.diff(x)) + 1])
        spread = np.maximum.reduceat(y, starts) - np.minimum.reduceat(y, starts)
        repeated = np.diff(np.append(starts, len(x))) > 1
        if repeated.sum() < _MANY or len(x) - len(starts) < len(x) / _MANY or spread.max() > allowed:
            return False
    return True
