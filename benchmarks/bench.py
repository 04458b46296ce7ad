"""What all rows share: folders, models, the number of repeats, and the commands that run the product."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from benchmarks import process
from benchmarks.models import Model, Models
from benchmarks.process import Command

BATCH = 2
"""The product's own default, and what the bare scripts take."""
NO_CACHE = "--kerasdiff-no-cache"


@dataclasses.dataclass(frozen=True, slots=True)
class Bench:
    """One run of the benchmarks.

    Attributes:
        folder: Temporary folder of everything that is written.
        repeats: Rounds of a row; rows whose figures are noisy or slow take more or fewer.
        models: The models.
    """

    folder: Path
    repeats: int
    models: Models

    def case(self, name: str) -> Path:
        """A folder for runs of pytest, a rootdir of its own; the same one for the same name."""
        folder = self.folder / name.replace(" ", "-")
        folder.mkdir(exist_ok=True)
        (folder / "pytest.ini").write_text("[pytest]\n", "utf-8")
        return folder

    def pytest(self, name: str, folder: Path, *arguments: str) -> Command:
        """A run of pytest without the product's options."""
        # A developer's environment has hypothesis, whose import would be half of a run that has no use for it.
        return process.module(name, folder, "pytest", "-q", "-p", "no:hypothesispytest", *arguments)

    def product(self, name: str, model: Model, *arguments: str, cached: bool = False) -> Command:
        """A run of pytest that judges a model, and writes its report."""
        folder = self.case(name)
        given = [f"--keras-model={model.file}", f"--kerasdiff-torch={model.torch}", "--kerasdiff-report=out"]
        if not cached:
            given.append(NO_CACHE)
        command = self.pytest(f"{name}, {model.name}", folder, *given, *arguments)
        return dataclasses.replace(command, result=folder / "out" / "report.json")

    def empty(self, name: str, *arguments: str) -> Command:
        """A run of pytest on one test that does nothing."""
        folder = self.case(f"{name} empty")
        (folder / "test_nothing.py").write_text("def test_nothing():\n    pass\n", "utf-8")
        return self.pytest(f"{name}, empty run", folder, *arguments)

    def bare(self, name: str, script: str, *arguments: str | Path | int) -> Command:
        """A run of one of the scripts in ``bare``."""
        return process.module(f"{name}, bare script", self.folder, f"benchmarks.bare.{script}", *arguments)
