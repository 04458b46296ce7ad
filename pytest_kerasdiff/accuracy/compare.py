"""Run the port on the user's data and compare it with what Keras gave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytest_kerasdiff import predictions, specs
from pytest_kerasdiff.accuracy import dataset, feeding, shown, statistics
from pytest_kerasdiff.accuracy.measure import Counter
from pytest_kerasdiff.checks.gather import as_keras
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.feeding import Layout
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.modelfile import InputSpec
from pytest_kerasdiff.options import WHOLE, Settings
from pytest_kerasdiff.trace import Array


def compare(
    predict: Callable[[Sequence[Array]], Array],
    made: Path,
    inputs: Sequence[InputSpec],
    layouts: Sequence[Layout],
    settings: Settings,
    stated: Manifest,
    step: Callable[[int, int], None],
) -> dict[str, Any]:
    """Count what both models give for every sample.

    Args:
        predict: The port in float32, on a batch in its own layout: its first output.
        made: File with Keras's predictions.
        inputs: The Keras model's inputs.
        layouts: How the port takes each.
        settings: The data, the metric and the limits.
        stated: The manifest.
        step: Is told how far it is.

    Returns:
        The report's field ``accuracy``.

    Raises:
        RunError: The data cannot be read, does not fit, or was other data for Keras.
    """
    assert settings.data is not None
    statistics.scipy_stats()  # said before the work, not after
    names, shapes = [i.name for i in inputs], [i.shape for i in inputs]
    data = dataset.open_dataset(settings.data, names, shapes, settings.shard)
    metric = specs.load(settings.metric, "--kerasdiff-metric") if settings.metric else None
    samples, sides = 0, []
    with predictions.opened(made) as keras:
        assert keras is not None
        missing = {number for number in keras.digests if settings.shard.takes(number)}
        is_part = len(missing) < len(keras.digests)
        others = RunError(
            f"{dataset.OPTION}: {settings.data} gives other samples the second time than those that Keras was given; "
            "leave shuffling and augmentation out"
        )
        has_probabilities = keras.least >= 0 and keras.greatest <= 1
        decides = settings.max_flips is not None
        counter = Counter(keras.noise, settings.tol, has_probabilities, metric, settings.metric or "", decides)
        for batch in data.batches():
            if keras.digests.get(batch.number) != batch.digest():
                raise others
            missing.remove(batch.number)
            start, count = batch.start, len(batch)
            expected = keras.rows(start if is_part else samples, count)
            given = predict(feeding.for_torch(batch, inputs, stated, layouts))[:count]
            given = as_keras(given, expected)
            classes = counter.add(expected, given, batch.labels, start)
            samples += count
            for number in shown.chosen(counter.flipped, settings.samples, range(start, start + count)):
                at = number - start
                label = int(classes[at]) if classes is not None and len(classes) == count else None
                sides.append(shown.side_by_side(number, batch.samples[0][at], expected[at], given[at], label))
            step(samples, data.samples or len(keras))
        if missing:
            raise others
        if settings.shard == WHOLE and (unknown := [number for number in settings.samples if number >= samples]):
            raise RunError(f"--kerasdiff-samples: {unknown[0]}, but the data has {samples} samples, from 0 on")
    return {
        "data": settings.data,
        "shard": None if settings.shard == WHOLE else str(settings.shard),
        "classes": list(data.classes),
        **counter.result(),
        "shown": sides,
        "limits": {name: getattr(settings, name) for name in ("min_accuracy", "max_drop", "max_flips")},
    }
