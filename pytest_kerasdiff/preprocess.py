"""Preprocessing: the raw samples that both of the user's functions are given, and what the functions make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pytest_kerasdiff import specs
from pytest_kerasdiff.errors import RunError, first_line
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.trace import Array

Prepared = npt.NDArray[np.float64]
"""(samples, …): what one of the functions makes of the raw samples, whatever dtype it gives."""
_IMAGES, _OTHERS = 4, 16
"""Samples that are generated; one of features has few elements, and a scale and an offset are fitted to each."""


def raw_samples(stated: Manifest, names: Sequence[str], shape: Sequence[int], seed: int) -> Array:
    """The raw samples: those of the user's file, or generated ones, the same in every process.

    Args:
        stated: The manifest; it names the functions.
        names: The Keras model's inputs.
        shape: Shape of one sample of the model's input.
        seed: Seed of the generator.

    Returns:
        (samples, …): uint8 0 … 255 for images, else standard normal float32.

    Raises:
        RunError: The model has several inputs, or the file holds no samples.
    """
    assert stated.preprocess is not None
    if len(names) != 1:
        raise RunError(
            f"{stated.path}: [preprocess] is supported for models of one input; the Keras model has {len(names)}: "
            f"{', '.join(names)}"
        )
    if stated.preprocess.raw is not None:
        return _read(stated.preprocess.raw, f"{stated.path}: [preprocess] raw")
    own = tuple(stated.preprocess.shape or shape)
    generator = np.random.default_rng(seed)
    if 3 in (len(own), len(shape)):
        return generator.integers(0, 256, (_IMAGES, *own), dtype=np.uint8)
    return generator.standard_normal((_OTHERS, *own)).astype(np.float32)


def _read(path: Path, where: str) -> Array:
    try:
        loaded = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise RunError(f"{where} = {path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"{where} = {path}: not a .npy file without pickles: {error}") from None
    if not isinstance(loaded, np.ndarray):
        loaded.close()
        raise RunError(f"{where} = {path}: holds several arrays; expected a .npy file with one")
    if loaded.dtype.kind not in "biuf" or loaded.ndim < 2 or loaded.size == 0:
        raise RunError(f"{where} = {path}: shape {loaded.shape}, dtype {loaded.dtype}; expected numbers, samples first")
    return loaded


def apply(stated: Manifest, side: Literal["keras", "torch"], samples: Array, rank: int) -> Prepared:
    """What one of the user's functions makes of the raw samples, one call for each.

    A function is given a copy of a sample, so that it cannot change what the other side sees.

    Args:
        stated: The manifest.
        side: Whose function it is.
        samples: (samples, …).
        rank: Number of axes of one sample as the model takes it; a leading axis of one beyond it is removed.

    Returns:
        (samples, …) in the function's own layout.

    Raises:
        RunError: The function cannot be imported, raises, gives no array, or gives another one each time.
    """
    assert stated.preprocess is not None
    spec, option = getattr(stated.preprocess, side), f"{stated.path}: [preprocess] {side}"
    return call(specs.load(spec, option), samples, rank, f"{option}: {spec}")


def of_each(stated: Manifest, side: Literal["keras", "torch"], samples: Iterable[Array], rank: int) -> Prepared:
    """What one of the user's functions makes of raw samples, whose sizes may differ; see ``apply``.

    Raises:
        RunError: As ``apply``, but nothing is given twice.
    """
    assert stated.preprocess is not None
    spec, option = getattr(stated.preprocess, side), f"{stated.path}: [preprocess] {side}"
    function = specs.load(spec, option)
    results = [_of_one(function, sample, rank, f"{option}: {spec}") for sample in samples]
    if len(shapes := sorted({result.shape for result in results})) > 1:
        raise RunError(f"{option}: {spec} gives tensors of several shapes: {shapes[0]}, {shapes[1]}")
    return np.stack(results)


def call(function: Callable[[Any], Any], samples: Array, rank: int, where: str) -> Prepared:
    """What a function makes of the raw samples; see ``apply``.

    Args:
        function: The user's.
        samples: (samples, …).
        rank: Number of axes of one sample as the model takes it.
        where: Who names the function, and how, for messages.

    Raises:
        RunError: It raises, gives no array, or gives another one each time.
    """
    results = [_of_one(function, sample, rank, where) for sample in samples]
    shapes = sorted({result.shape for result in results})
    if len(shapes) > 1:
        raise RunError(
            f"{where} gives tensors of several shapes for samples of shape {samples.shape[1:]}: "
            f"{shapes[0]}, {shapes[1]}; leave random crops out"
        )
    again = _of_one(function, samples[0], rank, where)
    if again.shape != results[0].shape or not np.array_equal(again, results[0], equal_nan=True):
        raise RunError(
            f"{where} gives something else for the same sample the second time; leave random augmentation out"
        )
    return np.stack(results)


def _of_one(function: Callable[[Any], Any], sample: Array, rank: int, where: str) -> Prepared:
    try:
        result = function(sample.copy())
    except (Exception, SystemExit) as first:
        try:
            if sample.ndim < rank:
                raise
            result = function(sample[None].copy())
        except (Exception, SystemExit):
            reason = first_line(first)[:300]
            raise RunError(
                f"{where} raised {type(first).__name__} on a numpy array of shape {sample.shape}, {sample.dtype}, and "
                f"on a batch of one: {reason}{specs.innermost_line(first)}"
            ) from None
    try:
        array = _as_array(result)
    except (TypeError, ValueError):
        raise RunError(f"{where} returned {type(result).__name__}, expected one array or tensor of numbers") from None
    return array[0] if array.ndim == rank + 1 and array.shape[0] == 1 else array


def _as_array(result: Any) -> Prepared:
    """A numpy array, or a tensor of torch or TensorFlow, told by its methods; torch's bfloat16 is unknown to numpy."""
    if hasattr(result, "detach"):
        result = result.detach().cpu().double()
    return np.asarray(result.numpy() if callable(getattr(result, "numpy", None)) else result, np.float64)


def in_keras_layout(prepared: Prepared, order: Sequence[int]) -> Prepared:
    """The port's tensors in Keras's layout; as they are where they have another number of axes.

    Args:
        prepared: (samples, …) in the port's layout.
        order: The permutation of Keras's axes that the port's input is, samples first.
    """
    return prepared.transpose(np.argsort(order)) if prepared.ndim == len(order) else prepared


def of_samples(permutation: Sequence[int]) -> tuple[int, ...]:
    """A permutation of the axes of a batch with the samples first, wherever the port has its batch axis."""
    return (0, *(axis for axis in permutation if axis != 0))
