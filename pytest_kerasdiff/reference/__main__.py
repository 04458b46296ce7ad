"""Entry of the reference process; where the cache has the trace it imports little, so that nobody waits for it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pytest_kerasdiff import cache, child, manifest
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.phases import Phases


def work(job: child.Job) -> None:
    """Take the reference trace from the cache, or make it; and record it where that is asked for."""
    settings = job.settings
    stated = manifest.find(settings.keras_model, settings.manifest, job.rootdir)
    kept = cache.entry(job.cache, settings, stated)
    if kept is None:
        _make(job, stated, job.folder / "made.h5")
    else:
        with cache.locked(kept):
            layers = cache.use(kept)
            if layers is None:
                cache.complete(kept, _make(job, stated, kept))
            else:
                _hand_over(job, kept, layers)
            cache.shrink(kept.parent)
    if settings.record is not None:
        from pytest_kerasdiff import recorded

        Phases(job.folder, "reference").begin("record", "Keras: recording what it computed")
        recorded.write(job.folder / child.REFERENCE_TRACE, settings.record, settings, stated)


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
