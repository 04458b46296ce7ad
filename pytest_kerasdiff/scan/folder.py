"""A SavedModel folder: of it the model's config and the variables are read, and nothing of its graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def reasons(path: Path) -> Iterator[str]:
    """Links out of the folder."""
    root = path.resolve()
    for file in sorted(path.rglob("*")):
        if file.is_symlink() and not file.resolve().is_relative_to(root):
            yield f"{file.relative_to(path)} is a link out of the folder"
