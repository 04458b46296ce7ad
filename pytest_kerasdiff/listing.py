"""The layers of a file that does not list them: asked of the reference process, and kept in pytest's cache."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.machinery
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

from pytest_kerasdiff import child, supervisor
from pytest_kerasdiff.options import Settings

Entry = tuple[str, str, dict[str, Any]]
_PACKAGES = ("pytest-kerasdiff", "keras", "tf-keras", "tensorflow")


def find(settings: Settings, rootdir: Path, cache: Any) -> list[Entry]:
    """Name, class and config of every call of every layer, from the cache or by running the Keras model.

    Args:
        settings: Which file, which builder.
        rootdir: pytest's.
        cache: pytest's, or None where it has none.

    Raises:
        RunError: Keras cannot build the model.
    """
    key = f"kerasdiff/layers/{_digest(settings)}"
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


def _digest(settings: Settings) -> str:
    """Of all that the list depends on: the settings, the file, the builder's source, the versions."""
    digest = hashlib.sha256(json.dumps(settings.to_json()).encode())
    model = settings.keras_model
    source = _source(settings.keras.partition(":")[0]) if settings.keras else None
    for path in [*(sorted(p for p in model.rglob("*") if p.is_file()) if model.is_dir() else [model]), source]:
        if path is not None:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            digest.update(f"{package} {importlib.metadata.version(package)}".encode())
    return digest.hexdigest()


def _source(module: str) -> Path | None:
    """File of a module, found without importing it or its packages."""
    where, spec = sys.path, None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = importlib.machinery.PathFinder.find_spec(name, where)
        if spec is None:
            return None
        where = list(spec.submodule_search_locations or [])
    return Path(spec.origin) if spec is not None and spec.origin and Path(spec.origin).is_file() else None
