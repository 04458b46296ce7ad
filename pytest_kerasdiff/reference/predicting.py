"""Keras's predictions for the user's data, in float32 as it is deployed."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pytest_kerasdiff import child, modelfile, predictions
from pytest_kerasdiff.accuracy import dataset, feeding
from pytest_kerasdiff.errors import RunError, in_short
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.modelfile import InputSpec, ModelFile
from pytest_kerasdiff.options import WHOLE, Settings
from pytest_kerasdiff.phases import Phases
from pytest_kerasdiff.reference import loader, making
from pytest_kerasdiff.trace import Array
from pytest_kerasdiff.verdict import noise_of

_EXACT = 32
"""Samples that are run in float64 too, to see how much rounding does."""


def predict(job: child.Job, stated: Manifest, target: Path) -> None:
    """Run the Keras model on all of the data and write its first output.

    Raises:
        RunError: The data cannot be read or does not fit, or Keras raises.
    """
    settings = dataclasses.replace(job.settings, precision="float32")
    assert settings.data is not None
    phases = Phases(job.folder, "reference")
    phases.begin("predict", "Keras: loading the model")
    file = modelfile.read(settings.keras_model)
    keras, model = loader.load(file, settings)
    import tensorflow

    from pytest_kerasdiff.reference import recorder

    inputs = making.inputs_of(file, settings, model)
    names, shapes = [i.name for i in inputs], [i.shape for i in inputs]
    whole, data = (dataset.open_dataset(settings.data, names, shapes, part) for part in (WHOLE, settings.shard))
    first = _first(whole, inputs)
    exact = None if first is None else _in_float64(job.settings, file, first, inputs, stated)
    loader.set_precision(keras, "float32")
    running = recorder.Recorder(model, keras, tensorflow)

    def run(batch: dataset.Batch) -> Array:
        given = feeding.for_keras(batch, inputs, stated)
        try:
            output = running.outputs(names, given)[0]
        except Exception as error:
            raise RunError(f"{dataset.OPTION}: Keras raised on a batch: {in_short(error)}") from None
        output = output[: len(batch)] if output.ndim else output
        if output.ndim == 0 or len(output) != len(batch):
            raise RunError(f"{dataset.OPTION}: Keras gives an output of shape {output.shape} for {len(batch)} samples")
        return output

    noise = 0.0 if first is None or exact is None else noise_of(run(first), exact)
    digests: dict[int, str] = {}
    samples, writer = 0, predictions.Writer(target)
    phases.begin("predict", "Keras: sample")
    try:
        for batch in data.batches():
            digests[batch.number] = batch.digest()
            output = run(batch)
            writer.add(output if output.dtype.kind in "biu" else output.astype(np.float32))
            samples += len(batch)
            phases.step(samples, data.samples or samples)
        if not samples:
            part = "" if settings.shard == WHOLE else f"--kerasdiff-shard={settings.shard}: that part of "
            raise RunError(f"{part or f'{dataset.OPTION}: '}{settings.data} holds no samples: nothing was compared")
        writer.close(
            digests,
            noise,
            {
                keras.__name__: keras.__version__,
                "tensorflow": tensorflow.__version__,
                "python": platform.python_version(),
            },
        )
    except BaseException:
        writer.discard()
        raise


def _first(whole: dataset.Dataset, inputs: Sequence[InputSpec]) -> dataset.Batch | None:
    """The first samples of all of the data; as many as the model takes, where that is one number."""
    batch = next(whole.batches(), None)
    if batch is None:
        return None
    size = len(batch) if inputs[0].shape[0] is not None else min(len(batch), _EXACT)
    return dataset.Batch(tuple(samples[:size] for samples in batch.samples), None)


def _in_float64(
    settings: Settings, file: ModelFile, first: dataset.Batch, inputs: Sequence[InputSpec], stated: Manifest
) -> Array | None:
    """The first output for the first samples in float64; None where Keras cannot run the model so."""
    from pytest_kerasdiff.reference import recorder

    given = feeding.for_keras(first, inputs, stated)
    try:
        import tensorflow

        keras, model = loader.load(file, dataclasses.replace(settings, precision="float64"))
        return recorder.Recorder(model, keras, tensorflow).outputs([i.name for i in inputs], given)[0][: len(first)]
    except Exception:  # some operations have no kernel in float64; what else is wrong, float32 will say
        return None
