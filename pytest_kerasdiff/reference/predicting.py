"""Keras's predictions for the user's data, in float32 as it is deployed."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path

import numpy as np

from pytest_kerasdiff import child, modelfile, predictions
from pytest_kerasdiff.accuracy import dataset, feeding
from pytest_kerasdiff.errors import RunError, in_short
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.phases import Phases
from pytest_kerasdiff.reference import loader, making


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
    data = dataset.open_dataset(settings.data, [i.name for i in inputs], [i.shape for i in inputs])
    running, digest, writer = recorder.Recorder(model, keras, tensorflow), dataset.Digest(), predictions.Writer(target)
    phases.begin("predict", "Keras: sample")
    try:
        for batch in data.batches():
            digest.add(batch)
            given = feeding.for_keras(batch, inputs, stated)
            try:
                output = running.outputs([i.name for i in inputs], given)[0]
            except Exception as error:
                raise RunError(f"{dataset.OPTION}: Keras raised on a batch: {in_short(error)}") from None
            output = output[: len(batch)] if output.ndim else output
            if output.ndim == 0 or len(output) != len(batch):
                raise RunError(
                    f"{dataset.OPTION}: Keras gives an output of shape {output.shape} for {len(batch)} samples"
                )
            writer.add(output if output.dtype.kind in "biu" else output.astype(np.float32))
            phases.step(digest.samples, data.samples or digest.samples)
        if not digest.samples:
            raise RunError(f"{dataset.OPTION}: {settings.data} holds no samples: nothing was compared")
        writer.close(
            str(digest),
            {
                keras.__name__: keras.__version__,
                "tensorflow": tensorflow.__version__,
                "python": platform.python_version(),
            },
        )
    except BaseException:
        writer.discard()
        raise
