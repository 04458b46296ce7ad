"""A scale and an offset of pixels in words: the usual ones by name, any other by its numbers."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """The port's tensor as ``scale · Keras + offset``.

    Attributes:
        scale: A single one, or one for each of Keras's channels.
        offset: Likewise.
        ends: Lowest and highest value of Keras's tensor, or of each of its channels, (2, 1) or (2, channels).
        limit: How far apart two lines may be between these ends to be one.
    """

    scale: Floats
    offset: Floats
    ends: Floats
    limit: float

    def equals(self, scale: Floats, offset: Floats) -> bool:
        """Whether this is another line, too: two lines are farthest apart at an end."""
        return bool((np.abs((self.scale - scale) * self.ends + (self.offset - offset)) <= self.limit).all())


@dataclasses.dataclass(frozen=True, slots=True)
class _Mode:
    """A usual way to prepare pixels of 0 … 255, ``scale · pixel + offset``.

    Attributes:
        words: What it does, as a predicate.
        scale: One number, or one for each channel of what it gives.
        offset: Likewise.
    """

    words: str
    scale: Floats
    offset: Floats


def _listed(values: Floats) -> str:
    return ", ".join(f"{value:.6g}" for value in values)


def _normalising(mean: Floats, deviation: Floats, whose: str) -> _Mode:
    words = f"takes mean and deviation per channel: mean {_listed(mean)}, deviation {_listed(deviation)} ({whose})"
    return _Mode(words, 1 / (255 * deviation), -mean / deviation)


def _subtracting(mean: Floats, whose: str) -> _Mode:
    return _Mode(f"subtracts a mean per channel: {_listed(mean)} ({whose})", np.ones(1), -mean)


_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_CAFFE = np.array([103.939, 116.779, 123.68])
_MODES = (
    _Mode("takes pixels as they are", np.ones(1), np.zeros(1)),
    _Mode("divides by 255", np.array([1 / 255]), np.zeros(1)),
    _Mode("divides by 256", np.array([1 / 256]), np.zeros(1)),
    _Mode("scales to -1..1 (mode 'tf' of keras.applications)", np.array([1 / 127.5]), np.array([-1.0])),
    _normalising(_MEAN, _DEVIATION, "ImageNet's, mode 'torch' of keras.applications"),
    _normalising(_MEAN[::-1], _DEVIATION[::-1], "ImageNet's, in BGR order"),
    _subtracting(_CAFFE, "ImageNet's in BGR order, mode 'caffe' of keras.applications"),
    _subtracting(_CAFFE[::-1], "ImageNet's, in RGB order"),
)
"""The usual ways, simple ones first. Source: keras/src/applications/imagenet_utils.py, _preprocess_numpy_input."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wording:
    """What a line says of the two functions, and what to do; both empty where they scale alike."""

    words: str = ""
    remedy: str = ""


def say(line: Line, is_reversed: bool, port_is_signed: bool, keras_is_signed: bool) -> Wording:
    """Put a line into words.

    Args:
        line: The port's tensor from Keras's, by Keras's channels.
        is_reversed: The port has the channels in reverse order: its means are those of the reverse order, too.
        port_is_signed: The port's tensor has negative elements.
        keras_is_signed: Keras's has.
    """
    channels = len(line.scale)
    for port, keras in itertools.product(_MODES, _MODES):
        if max(map(len, (port.offset, keras.offset))) > 1 and channels != 3:
            continue
        scale, offset = (_by_keras_channels(a, is_reversed) for a in (port.scale, port.offset))
        scale = scale / keras.scale
        if line.equals(scale, offset - scale * keras.offset):
            # Equal ways that differ by their order only: the channels are reversed before the mean is taken.
            return Wording() if port is keras else Wording(_of_two(port, keras), _remedy(line))
    return Wording(_by_numbers(line, port_is_signed, keras_is_signed), _remedy(line))


def _by_keras_channels(values: Floats, is_reversed: bool) -> Floats:
    return values[::-1] if is_reversed else values


def _of_two(port: _Mode, keras: _Mode) -> str:
    if keras is _MODES[0]:
        return f"the port {port.words} and Keras does not"
    if port is _MODES[0]:
        return f"Keras {keras.words} and the port does not"
    return f"the port {port.words}; Keras {keras.words}"


def _by_numbers(line: Line, port_is_signed: bool, keras_is_signed: bool) -> str:
    single = _single(line)
    takes = "takes mean and deviation" + ("" if single else " per channel")
    # Which side takes a mean off is seen by its negative elements.
    by_mean = (single is None or single[1]) and line.scale.all()
    if by_mean and port_is_signed and not keras_is_signed:
        mean, deviation = _listed(-line.offset / line.scale), _listed(1 / line.scale)
        return f"the port {takes} and Keras does not: mean {mean}, deviation {deviation} of Keras's values"
    if by_mean and keras_is_signed and not port_is_signed:
        mean, deviation = _listed(line.offset), _listed(line.scale)
        return f"Keras {takes} and the port does not: mean {mean}, deviation {deviation} of the port's values"
    if single is not None:
        return f"the port's tensor is {single[0]:.6g} · Keras's{_signed(single[1])}"
    return f"the port's tensor is scale · Keras's + offset: scale {_listed(line.scale)}, offset {_listed(line.offset)}"


def _single(line: Line) -> tuple[float, float] | None:
    """(scale, offset) where one of each does for all channels; the offset is 0 where none is needed."""
    if len(line.scale) > 1:
        return None
    return float(line.scale[0]), 0.0 if line.equals(line.scale, np.zeros(1)) else float(line.offset[0])


def _signed(offset: float) -> str:
    return f" {'+' if offset > 0 else '-'} {abs(offset):.6g}" if offset else ""


def _remedy(line: Line) -> str:
    single = _single(line)
    if single is None or not single[0]:
        return "scale as Keras's function does"
    scale, offset = single
    sign, verb, factor = ("·", "multiply", 1 / scale) if abs(scale) < 1 else ("/", "divide", scale)
    return f"take (x{_signed(-offset)}) {sign} {factor:.6g} of what it gives" if offset else f"{verb} by {factor:.6g}"
