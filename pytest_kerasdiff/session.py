"""The comparisons of one pytest session: started early, waited for once, looked up by the tests."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_kerasdiff import child, listing, manifest, modelfile, supervisor, text
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.options import Settings

Report = Mapping[str, Any]

_SHOW_ONLY = (
    "collectonly",
    "help",
    "version",
    "showfixtures",
    "show_fixtures_per_test",
    "markers",
    "cacheshow",
    "setuponly",
    "setupplan",
)
"""pytest's options under which no test is called."""


class KerasdiffSession:
    """What the hooks share: the models' settings, their runs, their reports."""

    def __init__(self, config: pytest.Config, settings: Sequence[Settings], *, explicit: bool) -> None:
        """Check that every model can be read, and have its tests collected.

        Args:
            config: pytest's configuration.
            settings: One for each model.
            explicit: The models were named on the command line, not in the ini.

        Raises:
            RunError: A model file cannot be read, or is named twice.
        """
        self._config = config
        self.models = {s.keras_model: s for s in settings}
        if len(self.models) < len(settings):
            raise RunError("--keras-model: the same file is named twice")
        self.files = {path: modelfile.read(path) for path in self.models}
        self.layers: dict[Path, list[modelfile.LayerEntry]] = {}
        for path, file in self.files.items():
            try:
                self.layers[path] = file.layers()
            except RunError:
                if self.models[path].keras is None:
                    raise  # else the user's code knows the layers: see find_layers
        self._runs: dict[Path, supervisor.Run] = {}
        self._reports: dict[Path, Report] = {}
        self._worker: Mapping[str, Any] | None = getattr(config, "workerinput", None)
        self._add_arguments(explicit)

    def _add_arguments(self, explicit: bool) -> None:
        """Collect the models as if their files had been named; a model of the ini only where no argument says else."""
        by_hand = self._config.args_source is pytest.Config.ArgsSource.ARGS
        if by_hand and not explicit:
            return
        named = {argument.split("::")[0] for argument in self._config.args}
        folder = self._config.invocation_params.dir
        for path in self.models:
            if not any((folder / name).resolve() == path for name in named):
                self._config.args.append(str(path))

    def manifest(self, path: Path) -> Manifest:
        """The manifest of a model.

        Raises:
            RunError: It is not valid.
        """
        return manifest.find(path, self.models[path].manifest, self._config.rootpath)

    # -- running -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start both processes of every model; not in xdist's workers, and not where nothing will be run."""
        if self._worker is not None:
            return
        for argument in (str(self._config.invocation_params.dir), str(self._config.rootpath)):
            if argument not in sys.path:
                sys.path.append(argument)
        if any(getattr(self._config.option, name, False) for name in _SHOW_ONLY):
            return
        for path, settings in self.models.items():
            self._runs[path] = supervisor.Run(settings, self._config.rootpath)

    def folders(self) -> dict[str, str]:
        """Folder of each model's run, for xdist's workers."""
        return {str(path): str(run.folder) for path, run in self._runs.items()}

    def find_layers(self) -> None:
        """Learn the layers of files that do not list them from the reference process; before tests are collected.

        Raises:
            RunError: Keras cannot build the model.
        """
        for path in self.models.keys() - self.layers.keys():
            if self._worker is not None:
                folder = self._worker_folder(path)
                while folder.is_dir() and not (folder / child.REFERENCE_TRACE).exists():
                    time.sleep(0.02)
                entries = listing.read(folder)
            elif path in self._runs:
                entries = self._runs[path].layers()
            else:  # nothing will be run, so that a stale list lets nothing pass untested
                entries = listing.find(self.models[path], self._config.rootpath, getattr(self._config, "cache", None))
            self.layers[path] = [modelfile.LayerEntry(*entry) for entry in entries]

    def wait(self, selected: Collection[Path] | None) -> None:
        """Wait for the reports of the models that have tests to run.

        Args:
            selected: Files that have tests to run, or None where only the workers know.

        Raises:
            RunError: A run could not be made.
        """
        for path, run in self._runs.items():
            if path in self._reports or (selected is not None and path not in selected):
                continue
            report = run.wait()
            self._reports[path] = report
            folder = self.models[path].report
            if folder is not None:
                supervisor.publish(report, folder / self._report_name(path))

    def _report_name(self, path: Path) -> str:
        """Folder of a model's report within the folder asked for: one for each model where there are several."""
        if len(self.models) == 1:
            return "."
        if sum(other.stem == path.stem for other in self.models) == 1:
            return path.stem
        relative = os.path.relpath(path, self._config.rootpath)
        return "-".join(part for part in Path(relative).parts if part not in (os.pardir, os.sep))

    def report(self, path: Path) -> Report:
        """The report of a model.

        Raises:
            RunError: It is not there: the run was not made in this session.
        """
        if path not in self._reports and self._worker is not None:
            file = self._worker_folder(path) / child.REPORT
            if not file.exists():
                raise RunError(
                    f"{path}: the report of the controlling pytest process is not at {file}; workers on other "
                    "hosts cannot read it: run the model's tests on this host"
                )
            self._reports[path] = json.loads(file.read_text("utf-8"))
        if path not in self._reports:
            raise RunError(f"{path}: was not compared in this session")
        return self._reports[path]

    def _worker_folder(self, path: Path) -> Path:
        assert self._worker is not None
        return Path(self._worker.get("kerasdiff_folders", {}).get(str(path), os.devnull))

    def close(self) -> None:
        """End all processes and remove their folders."""
        for run in self._runs.values():
            run.close()
        self._runs.clear()

    # -- words -------------------------------------------------------------------------------------------------------

    def header(self) -> list[str]:
        """Lines of pytest's header."""
        return [
            f"kerasdiff: {os.path.relpath(path, self._config.invocation_params.dir)} "
            f"(Keras {file.keras_version or '?'}) "
            f"against {self.models[path].torch or 'the port named in the manifest'}, "
            f"precision {self.models[path].precision}, tolerance {self.models[path].tol:g}"
            for path, file in self.files.items()
        ]

    def summaries(self) -> Iterator[tuple[str, list[str]]]:
        """(model, lines) of each report."""
        for path, report in self._reports.items():
            if self._worker is None:
                yield path.name, [*text.header(report), *text.summary(report)]
