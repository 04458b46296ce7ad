"""Raw samples of the user's data as each side takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from pytest_kerasdiff import preprocess, probes
from pytest_kerasdiff.accuracy.dataset import OPTION, Batch
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.feeding import Layout
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.modelfile import InputSpec
from pytest_kerasdiff.trace import Array


def for_keras(batch: Batch, inputs: Sequence[InputSpec], stated: Manifest) -> list[Array]:
    """One array (samples, …) for each input of the Keras model.

    Args:
        batch: Raw samples.
        inputs: The model's inputs.
        stated: The manifest, whose [preprocess] makes of a raw sample what the model takes.

    Raises:
        RunError: The samples do not fit the model, or the user's function raises.
    """
    arrays = _arrays(batch, inputs, stated, "keras")
    for spec, array in zip(inputs, arrays, strict=True):
        sizes = tuple(spec.shape[1:])
        if len(sizes) != array.ndim - 1 or any(
            s not in (None, own) for s, own in zip(sizes, array.shape[1:], strict=True)
        ):
            remedy = "" if stated.preprocess is not None else "; name what prepares them in the manifest's [preprocess]"
            raise RunError(f"{OPTION}: a sample has shape {array.shape[1:]}, input {spec.name!r} takes {sizes}{remedy}")
    return arrays


def for_torch(batch: Batch, inputs: Sequence[InputSpec], stated: Manifest, layouts: Sequence[Layout]) -> list[Array]:
    """One array for each input of the port: [preprocess] gives the port's layout, else Keras's is changed to it."""
    arrays = _arrays(batch, inputs, stated, "torch")
    if stated.preprocess is not None:
        return arrays
    return [layout.apply(array) for layout, array in zip(layouts, arrays, strict=True)]


def _arrays(
    batch: Batch, inputs: Sequence[InputSpec], stated: Manifest, side: Literal["keras", "torch"]
) -> list[Array]:
    if stated.preprocess is not None:
        if len(inputs) != 1:
            raise RunError(f"{stated.path}: [preprocess] is supported for models of one input")
        given: list[Array] = [preprocess.of_each(stated, side, batch.samples[0], len(inputs[0].shape) - 1)]
    else:
        for spec, samples in zip(inputs, batch.samples, strict=True):
            if isinstance(samples, list):
                raise RunError(
                    f"{OPTION}: samples of input {spec.name!r} have several sizes, such as {samples[0].shape}; name "
                    "what resizes them in the manifest's [preprocess]"
                )
        given = [np.asarray(samples) for samples in batch.samples]
    return [
        _filled(array, spec).astype(probes.dtype_of(spec, np.float32))
        for spec, array in zip(inputs, given, strict=True)
    ]


def _filled(array: Array, spec: InputSpec) -> Array:
    """A last batch that is too small for a model of one batch size: filled with its own samples, once more."""
    size = spec.shape[0]
    return array if size is None or len(array) >= size else np.resize(array, (size, *array.shape[1:]))
