"""The layers of a file that does not list them: asked of the reference process, and kept in pytest's cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_kerasdiff import child, fingerprint, supervisor
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.options import Settings

Entry = tuple[str, str, dict[str, Any]]


def find(settings: Settings, stated: Manifest, rootdir: Path, cache: Any) -> list[Entry]:
    """Name, class and config of every call of every layer, from the cache or by running the Keras model.

    Args:
        settings: Which file, which builder.
        stated: The model's manifest.
        rootdir: pytest's.
        cache: pytest's, or None where it has none.

    Raises:
        RunError: Keras cannot build the model.
    """
    key = f"kerasdiff/layers/{fingerprint.of_run(settings, stated)}"
    found: list[Entry] | None = cache.get(key, None) if cache is not None else None
    if found is None:
        run = supervisor.Run(settings, rootdir, sides=("reference",))
        try:
            found = run.layers()
        finally:
            run.close()
        if cache is not None:
            cache.set(key, found)
    return found


def read(folder: Path) -> list[Entry]:
    """What the reference process left in a run's folder; nothing where the run could not be made."""
    path = folder / child.LAYERS
    return [tuple(entry) for entry in json.loads(path.read_text("utf-8"))] if path.exists() else []


def recorded(path: Path) -> list[Entry]:
    """The layers that a recorded reference holds.

    Raises:
        RunError: It is none.
    """
    from pytest_kerasdiff import tracefile

    try:
        return [(str(name), str(kind), dict(config)) for name, kind, config in tracefile.entries(path)]
    except (OSError, KeyError, ValueError):
        raise RunError(f"{path}: not a recorded reference, or a damaged one (--kerasdiff-reference)") from None
