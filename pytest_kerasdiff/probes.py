"""Probe inputs: what both models are fed with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.manifest import InputRule
from pytest_kerasdiff.modelfile import InputSpec
from pytest_kerasdiff.options import Settings

Floats = npt.NDArray[np.float64]
FREE_SIZE_DEFAULT = 32
"""Size given to a free axis where the manifest states no shape: large enough for five stages of stride 2."""


def given(
    settings: Settings, specs: Sequence[InputSpec], rules: Mapping[str, InputRule]
) -> list[npt.NDArray[np.generic]]:
    """The probe inputs of a run: the user's own, or drawn ones; see ``load`` and ``draw``."""
    if settings.inputs is not None:
        return load(settings.inputs, specs)
    return draw(specs, rules, settings.batch, settings.seed)


def draw(
    specs: Sequence[InputSpec], rules: Mapping[str, InputRule], batch: int, seed: int
) -> list[npt.NDArray[np.generic]]:
    """Draw one batch for every input: random, signed, non-constant; indices within the vocabulary.

    The last of several samples of floats is one of several scales, or of both ends of the range stated. What a port is
    easily wrong about is among them: the ends of a vocabulary, numbers on the border of two bins, steps that are
    masked, and steps of which some features have the value that masks.

    Args:
        specs: The model's inputs.
        rules: The manifest's rule of each input by name.
        batch: Number of samples; a batch size fixed by the model wins.
        seed: Seed of the generator.

    Returns:
        One array of shape (batch, ...) for each input: float64, or int64 for integer inputs; those of one byte, bools
        and pixels for example, keep their dtype and use all of its values.

    Raises:
        RunError: A stated shape does not fit the model, or an input takes strings.
    """
    generator = np.random.default_rng(seed)
    arrays: list[npt.NDArray[np.generic]] = []
    for spec in specs:
        rule = rules.get(spec.name, InputRule())
        shape = sizes(spec, rule, batch)
        dtype = dtype_of(spec)
        if dtype.kind in "biu":
            limits = {"uint8": (0, 256), "int8": (-128, 128)}.get(dtype.name, (0, spec.vocabulary or 2))
            low, high = (int(v) for v in rule.range) if rule.range else limits
            low += spec.mask is not None and not rule.range and high > low + 1
            arrays.append(generator.integers(low, high, shape, dtype=np.int64).astype(dtype))
            if spec.vocabulary is not None and not rule.range:
                _place(arrays[-1], (low, high - 1))
        elif rule.range:
            arrays.append(generator.uniform(rule.range[0], rule.range[1], shape))
            if len(arrays[-1]) > 1:
                arrays[-1][-1] = _with_ends(arrays[-1][-1], rule.range, generator)
        else:
            array = generator.standard_normal(shape)
            if len(array) > 1:
                array[-1] = _of_several_scales(array[-1], generator)
            # A model that begins by rescaling pixels would see a constant image: undo that.
            scale, offset = spec.rescaling
            arrays.append((array - offset) / scale)
        ends = rule.range or (-np.inf, np.inf)
        _place(arrays[-1], [b for b in spec.boundaries if ends[0] <= b <= ends[1]])
        if spec.mask is not None and not rule.range and len(shape) > 1 and shape[1] > 1:
            if len(shape) > 2 and shape[-1] > 1:  # a step with other features is not masked
                arrays[-1][0, 0, ..., ::2] = arrays[-1][0, 1, ..., 1::2] = spec.mask
            # Padding stands at the end: the last sample has a third of its steps masked, the others none.
            arrays[-1][-1, shape[1] - max(1, shape[1] // 3) :] = spec.mask
    return arrays


def _place(array: npt.NDArray[np.generic], numbers: Sequence[float]) -> None:
    """Write numbers into an array, at places that divide it evenly; those that there is no room for are left out."""
    numbers = numbers[: array.size]
    array.reshape(-1)[np.arange(len(numbers)) * array.size // max(1, len(numbers))] = numbers


def _of_several_scales(normal: Floats, generator: np.random.Generator) -> Floats:
    """One sample of unit normal, 0..1 and four times larger elements, and a few impulses: it bends what bends.

    Not larger: the limit of a layer's difference grows with the layer's scale from 42 on, and would hide what is small.
    """
    share = generator.random(normal.shape)
    spread = np.where(share < 0.4, normal, 4 * normal)
    between = np.where(share < 0.7, spread, generator.random(normal.shape))
    return np.where(share < 0.97, between, np.copysign(8.0, normal))


def _with_ends(sample: Floats, limits: tuple[float, float], generator: np.random.Generator) -> Floats:
    """One sample with a tenth of its elements at the lowest, and a tenth at the highest value of the range."""
    share = generator.random(sample.shape)
    return np.where(share < 0.1, limits[0], np.where(share > 0.9, limits[1], sample))


def sizes(spec: InputSpec, rule: InputRule, batch: int) -> tuple[int, ...]:
    """Concrete shape of one input: the model's sizes, the manifest's where the model leaves them free."""
    free = spec.shape[1:]
    if rule.shape is not None:
        stated = tuple(rule.shape)
        if len(stated) != len(free) or any(f is not None and f != s for f, s in zip(free, stated, strict=True)):
            raise RunError(
                f"[inputs] shape = {list(stated)}: input {spec.name!r} of the Keras model takes {list(free)}"
                " (null = any size)"
            )
    else:
        stated = tuple(FREE_SIZE_DEFAULT if size is None else size for size in free)
    return (spec.shape[0] or batch, *stated)


def other_batches(arrays: Sequence[npt.NDArray[np.generic]]) -> list[list[npt.NDArray[np.generic]]]:
    """Another sample alone, and all of them with that one.

    It begins as the first one and ends as the last one does, and so is as valid as they are; a copy would not tell a
    port that gives it the answer of another. Nothing where there are no two samples, or an input has another number
    of them.
    """
    batch = len(arrays[0])
    if batch < 2 or any(len(a) != batch for a in arrays):
        return []
    halves = [a.shape[1] // 2 if a.ndim > 1 else 0 for a in arrays]
    more = [
        np.concatenate([a[:1, :half], a[-1:, half:]], axis=1) if half else a[:1]
        for a, half in zip(arrays, halves, strict=True)
    ]
    return [more, [np.concatenate([a, one]) for a, one in zip(arrays, more, strict=True)]]


def load(path: Path, specs: Sequence[InputSpec]) -> list[npt.NDArray[np.generic]]:
    """Read real probe inputs: one array (`.npy`), or one for each input by name or in order (`.npz`).

    Raises:
        RunError: The file is not there, is not one of these, or does not fit the model's inputs.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise RunError(f"{path}: no such file (--kerasdiff-inputs)") from None
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"{path}: not a .npy or .npz file without pickles: {error}") from None
    if isinstance(loaded, np.ndarray):
        arrays = [loaded]
    else:
        names = [spec.name for spec in specs]
        arrays = [loaded[n] for n in names] if set(names) <= set(loaded.files) else [loaded[n] for n in loaded.files]
    if len(arrays) != len(specs):
        raise RunError(
            f"{path}: holds {len(arrays)} arrays, the Keras model takes {len(specs)} inputs: "
            f"{', '.join(spec.name for spec in specs)}"
        )
    for spec, array in zip(specs, arrays, strict=True):
        expected = spec.shape
        if len(expected) != array.ndim or any(
            e is not None and e != s for e, s in zip(expected, array.shape, strict=True)
        ):
            raise RunError(f"{path}: shape {array.shape} does not fit input {spec.name!r} of shape {expected}")
        if array.dtype.kind not in "biuf":
            raise RunError(f"{path}: input {spec.name!r} is of dtype {array.dtype}, expected numbers")
        if array.size == 0:
            raise RunError(f"{path}: shape {array.shape} of input {spec.name!r} holds nothing to compare")
    if len({len(array) for array in arrays}) > 1:
        counts = ", ".join(f"{spec.name} {len(array)}" for spec, array in zip(specs, arrays, strict=True))
        raise RunError(f"{path}: the inputs hold different numbers of samples: {counts}")
    return [
        array.astype(dtype_of(spec) if array.dtype.kind in "biu" else np.float64)
        for spec, array in zip(specs, arrays, strict=True)
    ]


def dtype_of(spec: InputSpec, floats: type[np.floating[Any]] = np.float64) -> np.dtype[np.generic]:
    """Dtype that both sides are given: one that the comparison is not made in is kept, where it has one byte.

    Args:
        spec: The input.
        floats: The dtype of floats.

    Raises:
        RunError: The input takes strings.
    """
    if spec.dtype == "string":
        raise RunError(
            f"input {spec.name!r} of the Keras model takes strings, torch takes numbers: save the part of the model "
            "that comes after the layer that turns them into numbers"
        )
    try:
        stated = np.dtype("float32" if spec.dtype == "bfloat16" else spec.dtype)
    except TypeError:
        raise RunError(f"input {spec.name!r} of the Keras model has the dtype {spec.dtype!r}, which is none") from None
    if spec.vocabulary is not None or (stated.kind in "iu" and stated.itemsize > 1):
        return np.dtype(np.int64)
    return stated if stated.kind in "biu" else np.dtype(floats)
