"""A SavedModel folder: its links, what runs when it is loaded, and every object that is revived."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_kerasdiff import savedmodel
from pytest_kerasdiff.scan import config


def reasons(path: Path, trust: bool) -> Iterator[str]:
    """Links out of the folder; code among the Keras objects, of which not only the model's config is revived."""
    root = path.resolve()
    for file in sorted(path.rglob("*")):
        if file.is_symlink() and not file.resolve().is_relative_to(root):
            yield f"{file.relative_to(path)} is a link out of the folder"
    if not trust:
        yield from (f"saved_model.pb holds {what}; {config.TRUST}" for what in savedmodel.runs_when_loaded(path))
        for found in savedmodel.objects(path):
            yield from config.reasons(found, trust, None)
