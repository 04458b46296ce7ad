"""Entry of the reference process; where the cache has the trace it imports little, so that nobody waits for it."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from pytest_kerasdiff import cache, child, fingerprint, manifest, turns
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.phases import Phases
from pytest_kerasdiff.scan import first


def work(job: child.Job) -> None:
    """Take the reference trace from the cache, or make it; and record it where that is asked for."""
    settings = job.settings
    first.scan(job, "reference")
    stated = manifest.find(settings.keras_model, settings.manifest, job.rootdir)
    if settings.record is not None:
        from pytest_kerasdiff import recorded

        recorded.refuse_other(settings.record)
    before = fingerprint.of_files(settings.keras_model)
    kept = cache.entry(job.cache, settings, stated)
    if kept is None:
        _make(job, stated, job.folder / "made.h5")
    else:
        with cache.locked(kept):
            layers = cache.use(kept)
            if layers is None:
                layers = _make(job, stated, kept)
                _refuse_changed(settings.keras_model, before)
                cache.complete(kept, layers)
            else:
                _hand_over(job, kept, layers)
            cache.shrink(kept.parent)
    if settings.data is not None:
        _predictions(job, stated, before)
    if settings.record is not None:
        Phases(job.folder, "reference").begin("record", "Keras: recording what it computed")
        recorded.write(job.folder / child.REFERENCE_TRACE, settings.record, settings, stated)
    if (line := turns.Line.of_process()) is not None:
        from pytest_kerasdiff.reference import timing

        timing.serve(job, stated, line)


def _refuse_changed(model: Path, before: str) -> None:
    """Keep nothing under the name of a file that was another one when Keras read it.

    Raises:
        RunError: It has changed.
    """
    if fingerprint.of_files(model) != before:
        raise RunError(f"{model}: has changed while it was read; run it again")


def _predictions(job: child.Job, stated: Manifest, before: str) -> None:
    """Take Keras's predictions for the user's data from the cache, or make them; ``before`` is the model's digest."""
    kept = cache.entry_of_predictions(job.cache, job.settings, stated)
    made = kept or job.folder / "predicted.h5"
    with cache.locked(kept) if kept is not None else contextlib.nullcontext():
        if kept is None or cache.use(kept) is None:
            from pytest_kerasdiff.reference import predicting

            predicting.predict(job, stated, made)
            if kept is not None:
                _refuse_changed(job.settings.keras_model, before)
                cache.complete(kept, [], has_further=False)
                cache.shrink(kept.parent)
    os.symlink(made, job.folder / child.PREDICTIONS)


def _make(job: child.Job, stated: Manifest, target: Path) -> list[list[Any]]:
    from pytest_kerasdiff.reference import making

    found: list[list[Any]] = []

    def done(layers: list[list[Any]]) -> None:
        found.extend(layers)
        _hand_over(job, target, layers)

    making.make(job, stated, target, done)
    return found


def _hand_over(job: child.Job, made: Path, layers: list[list[Any]]) -> None:
    """Let the other processes have the trace: its layers first, which nobody waits for."""
    (job.folder / child.LAYERS).write_text(json.dumps(layers), "utf-8")
    os.symlink(made, job.folder / child.REFERENCE_TRACE)


if __name__ == "__main__":
    child.main("reference", work)
