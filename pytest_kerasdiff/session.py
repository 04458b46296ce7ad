"""The comparisons of one pytest session: started early, waited for once, looked up by the tests.

A model of the ini whose tests are not collected is compared only where a test of the user's asks for its report.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_kerasdiff import (
    checklist,
    child,
    fingerprint,
    listing,
    manifest,
    modelfile,
    once,
    supervisor,
    tally,
    text,
    workers,
)
from pytest_kerasdiff.checks import concerned
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.options import Settings
from pytest_kerasdiff.progress import Progress
from pytest_kerasdiff.writers import files, github, terminal

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


_DROPS_FOLDERS = pytest.version_tuple < (8, 2)
"""Whether pytest collects nothing of a folder into which it looked for another argument, unless duplicates are kept.

Source: ``Session.genitems`` of pytest 8.1.
"""


class KerasdiffSession:
    """What the hooks share: the models' settings, their runs, their reports."""

    def __init__(self, config: pytest.Config, settings: Sequence[Settings], *, explicit: bool) -> None:
        """Check that every model can be read, and have its tests collected.

        Args:
            config: pytest's configuration.
            settings: One for each model.
            explicit: The models were named on the command line, not in the ini.

        Raises:
            RunError: A model file or a manifest cannot be read, or a model is named twice.
        """
        self._config = config
        self.models = {s.keras_model: s for s in settings}
        if len(self.models) < len(settings):
            raise RunError("--keras-model: the same file is named twice")
        if len(self.models) > 1 and any(s.record or s.reference or s.write_manifest for s in settings):
            raise RunError(
                "--kerasdiff-record, --kerasdiff-reference and --kerasdiff-write-manifest speak of one model: run it "
                "for one at a time"
            )
        self.is_distributed = getattr(config.option, "dist", "no") != "no" or hasattr(config, "workerinput")
        has_limits = any(s.min_speed is not None or s.baseline is not None for s in settings)
        if self.is_distributed and has_limits:
            # pytest-benchmark measures nothing there, and its own comparison then passes anything.
            raise RunError(
                "--kerasdiff-min-speed and --kerasdiff-baseline: speed is not measured while pytest-xdist's workers "
                "run: run it with -n 0"
            )
        if has_limits and getattr(config.option, "benchmark_skip", False):
            raise RunError(
                "--kerasdiff-min-speed and --kerasdiff-baseline: --benchmark-skip leaves out what they limit"
            )
        if len(self.models) > 1:
            self.models = {
                path: dataclasses.replace(own, bundle=own.bundle / self._report_name(path)) if own.bundle else own
                for path, own in self.models.items()
            }
        self._runs: dict[Path, supervisor.Run] = {}
        self._shared: dict[Path, supervisor.Temporary] = {}
        self._reports: dict[Path, Report] = {}
        self._files: dict[Path, modelfile.ModelFile] = {}
        self._found: dict[Path, list[listing.Entry]] = {}
        self._off: dict[Path, dict[tuple[str, str], str]] = {}
        self._controller = workers.Controller.of(config)
        self._workers = workers.Workers()
        self._shows_only = any(getattr(config.option, name, False) for name in _SHOW_ONLY)
        self._collected = self._add_arguments(explicit)
        try:
            if len(self.models) == 1:  # else what the files say may concern one of them only
                self.start()
            self._read_files()
            self.start()
        except BaseException:
            self.close()
            raise

    def _read_files(self) -> None:
        """Learn what the files say."""
        self.layers: dict[Path, list[modelfile.LayerEntry]] = {}
        if self._controller is not None and not self._controller.is_remote:
            # What is not read need not be imported: h5py and numpy take longer than all else that a worker does.
            for path, told in zip(self.models, self._controller.models, strict=False):
                if told.layers is not None:
                    self.layers[path] = [modelfile.LayerEntry(*entry) for entry in told.layers]
        else:
            for path in self.models:
                file = self.file(path)
                try:
                    self.layers[path] = file.layers()
                except RunError:
                    if self.models[path].keras is None:
                        raise  # else the user's code knows the layers: see find_layers
        self._manifests = {
            path: manifest.find(path, own.manifest, self._config.rootpath) for path, own in self.models.items()
        }
        self._tests = {path: self._names(path) for path in self.models}
        if self._controller is not None:
            self._controller.demand_equal(list(self._tests.values()))
        self._spread_switches()

    def _names(self, path: Path) -> list[str]:
        """``layer::check`` of every test of a model, as far as its file knows them."""
        layers = self.layers.get(path, [])
        made = [
            *((la.name, "output") for la in layers),
            *concerned.made(layers, self._manifests[path], self.models[path].asked_checks),
        ]
        if self.models[path].selftest:
            made.append((checklist.MODEL, checklist.SELFTEST))
        return [f"{layer}::{check}" for layer, check in made]

    def _add_arguments(self, explicit: bool) -> set[Path]:
        """Collect the models as if their files had been named; a model of the ini only where no argument says else.

        Returns:
            The models whose tests are collected.
        """
        by_hand = self._config.args_source is pytest.Config.ArgsSource.ARGS
        folder = self._config.invocation_params.dir
        named = {(folder / argument.split("::")[0]).resolve() for argument in self._config.args}
        if by_hand and not explicit:
            return {path for path in self.models if any(path.is_relative_to(name) for name in named)}
        self._config.args += [str(path) for path in self.models if path not in named]
        if _DROPS_FOLDERS:
            self._config.option.keepduplicates = True
        return set(self.models)

    def _spread_switches(self) -> None:
        """Give each model those of the switches that speak of it; one that speaks of none was misspelt.

        Raises:
            RunError: There is such a one.
        """
        if len(self.models) < 2 or self.layers.keys() != self.models.keys():
            return  # the engine knows the layers, and says so
        made = {
            path: concerned.made(self.layers[path], self._manifests[path], own.asked_checks)
            for path, own in self.models.items()
        }
        for own in self.models.values():
            if (
                misspelt := checklist.unknown(own.off, [pair for pairs in made.values() for pair in pairs])
            ) is not None:
                raise misspelt
        for path, own in list(self.models.items()):
            off = tuple(s for s in own.off if any(s.matches(layer, check) for layer, check in made[path]))
            self.models[path] = dataclasses.replace(own, off=off)

    def file(self, path: Path) -> modelfile.ModelFile:
        """What the file of a model says.

        Raises:
            RunError: It cannot be read.
        """
        if path not in self._files:
            modelfile.demand(path)
            self._have_scanned(path)
            self._files[path] = modelfile.read(path)
        return self._files[path]

    def _have_scanned(self, path: Path) -> None:
        """Let no damaged file end pytest itself: HDF5's library can; what no run scans is scanned once."""
        run = self._runs.get(path)
        if run is not None and run.started:
            run.wait_for_scan()
            return
        key, cache = None, getattr(self._config, "cache", None)
        with contextlib.suppress(OSError):  # of a file that cannot be read, which is said by whoever reads it
            key = f"kerasdiff/scanned/{fingerprint.of_files(path)}"
        if cache is None or key is None or not cache.get(key, False):
            supervisor.scan(self.models[path], self._config.rootpath)
            if cache is not None and key is not None:
                cache.set(key, True)

    def manifest(self, path: Path) -> Manifest:
        """The manifest of a model."""
        return self._manifests[path]

    def port(self, path: Path) -> str:
        """Spec of the port of a model.

        Raises:
            RunError: Neither an option nor the manifest names it.
        """
        return manifest.port(self.models[path].torch, self.manifest(path), path)

    # -- running -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start both processes of every model that is collected; not in xdist's workers, nor where nothing is run."""
        for argument in (str(self._config.invocation_params.dir), str(self._config.rootpath)):
            if argument not in sys.path:
                sys.path.append(argument)
        if self._controller is None and not self._shows_only:
            for path in self.models:
                if path in self._collected:
                    self._run(path, starts=False)
            self._advance()

    def _run(self, path: Path, starts: bool = True) -> supervisor.Run:
        if path not in self._runs:
            self._runs[path] = supervisor.Run(
                self._wanted(path), self._config.rootpath, cache=self._cache(), starts=starts
            )
        return self._runs[path]

    def _wanted(self, path: Path) -> Settings:
        """What a model's run is to do: under pytest-xdist nothing is timed."""
        own = self.models[path]
        if not self.is_distributed:
            return own
        off = tuple(s for s in own.off if not s.matches(checklist.MODEL, "throughput"))
        return dataclasses.replace(own, throughput=(), off=off)

    def _advance(self) -> None:
        """Let as many runs go on at once as there are workers, and the others wait for their turn."""
        at_once = min(max(1, getattr(self._config.option, "numprocesses", None) or 1), len(self._runs))
        free = at_once - sum(run.runs for run in self._runs.values())
        waiting = [run for run in self._runs.values() if not run.started]
        for run in waiting[: max(0, free)]:
            run.start(at_once)

    def _cache(self) -> Path | None:
        """Folder in which references are kept: in pytest's cache, whose options show and clear it."""
        cache = getattr(self._config, "cache", None)  # none with -p no:cacheprovider
        try:
            return Path(cache.mkdir("kerasdiff")) if cache is not None else None
        except OSError:  # a read-only checkout, of which pytest warns
            return None

    def node_id(self, path: Path) -> str:
        """Node id of a model; a file outside rootdir has its absolute path, where pytest gives none.

        With it ``--lf`` finds the file again, and a node id printed can be typed. Every worker has that of the
        controlling process.
        """
        if self._controller is not None:
            return self._controller.models[self._place(path)].node_id
        root = self._config.rootpath
        return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()

    def _place(self, path: Path) -> int:
        return list(self.models).index(path)

    def tell(self, node: Any) -> None:
        """Tell a worker of xdist where reports will be: in the folder of a run, or in one that it fills itself."""
        for path in self.models:
            if path not in self._runs and path not in self._shared:
                self._shared[path] = supervisor.Temporary()
        folders = {path: made.path for path, made in self._shared.items()}
        folders |= {path: run.folder for path, run in self._runs.items()}
        listed = {
            path: [(la.name, la.class_name, la.config) for la in layers]
            for path, layers in self.layers.items()
            if path not in self._found
        }
        told = [workers.Told(self.node_id(p), str(folders[p]), self._tests[p], listed.get(p)) for p in self.models]
        self._workers.tell(node, told)

    def send(self, node: Any) -> None:
        """Send a worker that sees no folder of this host what it asks for; all runs are finished by now."""
        if self._workers.waits(node):
            self.find_layers()
            reports = {str(self._place(path)): dict(self.report(path)) for path in self._runs}
            unlisted = {str(self._place(path)): entries for path, entries in self._found.items()}
            self._workers.send(node, workers.Sent(reports, unlisted))

    def error_of(self, node: Any) -> str | None:
        """The line with which a worker that has ended says why it could not work."""
        return self._workers.error(node)

    def find_layers(self) -> None:
        """Learn the layers of files that do not list them from the reference process; before tests are collected.

        Raises:
            RunError: Keras cannot build the model.
        """
        for path in self._collected - self.layers.keys():
            self._found[path] = self._find(path)
            self.layers[path] = [modelfile.LayerEntry(*entry) for entry in self._found[path]]

    def _find(self, path: Path) -> list[listing.Entry]:
        if self._controller is not None and self._controller.is_remote:
            return self._controller.receive().layers[str(self._place(path))]
        if self.models[path].reference is not None:
            return self._listed(path)
        if self._controller is not None:
            folder = self._folder(path)
            while folder.is_dir() and not (folder / child.REFERENCE_TRACE).exists():
                time.sleep(0.02)
            return listing.read(folder)
        if path in self._runs:
            return self._runs[path].layers()
        return self._listed(path)  # nothing will be run, so that a stale list lets nothing pass untested

    def layers_of(self, path: Path) -> list[modelfile.LayerEntry]:
        """Every call of every layer of a model, whether its tests are collected or not.

        Raises:
            RunError: The file does not list them, and Keras cannot build the model.
        """
        if path not in self.layers:
            self.layers[path] = [modelfile.LayerEntry(*entry) for entry in self._listed(path)]
        return self.layers[path]

    def _listed(self, path: Path) -> list[listing.Entry]:
        if (recorded := self.models[path].reference) is not None:
            return listing.recorded(recorded)
        cache = getattr(self._config, "cache", None)
        return listing.find(self.models[path], self.manifest(path), self._config.rootpath, cache)

    def wait(self, selected: Collection[Path] | None, progress: Progress | None = None) -> None:
        """Wait for the reports of the models that have tests to run.

        Args:
            selected: Files that have tests to run, or None where only the workers know.
            progress: Shows what is being done.

        Raises:
            RunError: A run could not be made.
        """
        for path in self._runs:
            if selected is None or path in selected:
                self.report(path, progress)
        if progress is not None:
            progress.end()

    def _report_name(self, path: Path) -> str:
        """Folder of a model's report within the folder asked for: one for each model where there are several."""
        if len(self.models) == 1:
            return "."
        if sum(other.stem == path.stem for other in self.models) == 1:
            return path.stem
        relative = os.path.relpath(path, self._config.rootpath)
        return "-".join(part for part in Path(relative).parts if part not in (os.pardir, os.sep))

    def report(self, path: Path, progress: Progress | None = None) -> Report:
        """The report of a model; what has not been compared yet is compared now.

        Args:
            path: Of the model.
            progress: Shows what is being done.

        Raises:
            RunError: The run cannot be made, or is not to be found.
        """
        if path not in self._reports:
            if self._controller is None:
                self._reports[path] = self._run(path).wait(lambda: self._watch(progress))
                self._publish(path)
            else:
                self._reports[path] = self._of_controller(path)
        return self._reports[path]

    def _watch(self, progress: Progress | None) -> None:
        self._advance()
        if progress is not None:
            progress.show([words for run in self._runs.values() if run.runs for words in run.doing()])

    def _of_controller(self, path: Path) -> Report:
        assert self._controller is not None
        if not self._controller.is_remote:
            folder = self._folder(path)
            if not folder.is_dir():
                raise RunError(f"{path}: {folder} has gone: the controlling pytest process has ended")
            return once.report(self._wanted(path), self._config.rootpath, folder, self._cache())
        sent = self._controller.receive().reports.get(str(self._place(path)))
        if sent is None:
            raise RunError(
                f"{self.node_id(path)}: workers on other hosts have its report only where its tests are collected: "
                "name it with --keras-model, or run this test on this host"
            )
        return sent

    def _folder(self, path: Path) -> Path:
        """Folder of a model's report, for a worker on this host."""
        assert self._controller is not None
        return Path(self._controller.models[self._place(path)].folder)

    def _publish(self, path: Path) -> None:
        folder = self.models[path].report
        if folder is not None:
            files.publish(self._reports[path], folder / self._report_name(path))

    def turn_off(self, node_id: str, layer: str, check: str, reason: str) -> None:
        """Note that a marker has turned a check of a model off: the report at the end shows it."""
        (path,) = [path for path in self.models if self.node_id(path) == node_id]
        self._off.setdefault(path, {})[layer, check] = reason

    def finish(self) -> None:
        """Take into the reports what only the end knows: which ones workers have made, and what markers turned off.

        Raises:
            RunError: A report cannot be written.
        """
        if self._controller is not None:
            return  # it has seen a part of the tests
        for path, folder in self._shared.items():
            if path not in self._reports and (made := once.read(folder.path)) is not None:
                self._reports[path] = made
                self._publish(path)
        for path, off in self._off.items():
            if path in self._reports:
                self._reports[path] = tally.without(self._reports[path], off)
                self._publish(path)

    def close(self) -> None:
        """End all processes and remove their folders."""
        for run in self._runs.values():
            run.close()
        self._runs.clear()
        for folder in self._shared.values():
            folder.remove()
        self._shared.clear()

    # -- words -------------------------------------------------------------------------------------------------------

    def header(self) -> list[str]:
        """Lines of pytest's header."""
        return [
            f"kerasdiff: {os.path.relpath(path, self._config.invocation_params.dir)} "
            f"(Keras {self.file(path).keras_version or '?'}) "
            f"against {self.models[path].torch or 'the port named in the manifest'}, "
            f"precision {self.models[path].precision}, tolerance {self.models[path].tol:g}"
            + (", code stored in files is trusted" if self.models[path].trust else "")
            for path in (self.models if self._controller is None else ())
        ]

    def summaries(self) -> Iterator[tuple[str, list[terminal.Line]]]:
        """(model, lines) of each report."""
        verbosity = self._config.get_verbosity()
        for path, report in self._reports.items():
            if self._controller is None:
                header = [terminal.Line(words) for words in text.header(report)] if verbosity >= 0 else []
                yield path.name, [*header, *terminal.summary(report, "pytest", verbosity)]

    def annotations(self) -> Iterator[str]:
        """Commands to GitHub's runner, of all reports."""
        for report in self._reports.values() if self._controller is None else ():
            yield from github.lines(report, os.environ, self._config.rootpath)
