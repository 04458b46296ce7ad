"""The engine: from two models to one report. Knows no framework and no pytest."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pytest_kerasdiff import (
    bundle,
    checklist,
    child,
    compact,
    details,
    feeding,
    fingerprint,
    manifest,
    modelfile,
    preprocess,
    probes,
    recorded,
    report,
    settle,
    text,
    throughput,
    tracefile,
)
from pytest_kerasdiff.align import steps
from pytest_kerasdiff.align.alignment import align, order_of_outputs
from pytest_kerasdiff.align.keras_axes import keras_axes
from pytest_kerasdiff.change import Change
from pytest_kerasdiff.checks import concerned, gather, registry
from pytest_kerasdiff.diagnosis.found import Diagnosis
from pytest_kerasdiff.errors import RunError, UnfollowedError
from pytest_kerasdiff.facts import PortFacts
from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.modelfile import InputSpec
from pytest_kerasdiff.options import Settings
from pytest_kerasdiff.phases import Phases
from pytest_kerasdiff.trace import Array, Recorded, ReferenceTrace

if TYPE_CHECKING:
    from pytest_kerasdiff.checks.subject import CheckResult
    from pytest_kerasdiff.diagnosis.entrance import Entrance


class Port(throughput.Timeable, Protocol):
    """The user's torch model, built but not yet run."""

    def record(self, names: Sequence[str], arrays: Sequence[Array]) -> Recorded:
        """Run it once on these inputs."""

    def observe(self, arrays: Sequence[Array], recorded: Sequence[Array]) -> PortFacts:
        """Run it a few times more, also as it was delivered; ``recorded`` is what ``record`` saw it give for these."""

    def deployed(self) -> AbstractContextManager[Callable[[Sequence[Array]], list[Array]]]:
        """Let it be run as it was delivered: what makes outputs of a batch."""

    def in_float32(self) -> AbstractContextManager[None]:
        """Let the user's code run as it is deployed: torch's default dtype is float32."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Fed:
    """A recorded port and the layouts it was fed with."""

    candidate: Recorded
    layouts: tuple[feeding.Layout, ...]
    notes: tuple[str, ...]


class _UnfitError(Exception):
    """The port cannot run on the user's data as it is preprocessed: its accuracy cannot be measured, and that fails."""


def work(job: child.Job, open_port: Callable[[Settings, str], Port]) -> None:
    """Record the port, wait for the reference trace, compare, and write the report into the job's folder.

    Raises:
        RunError: The run cannot be made.
    """
    phases = Phases(job.folder, "candidate")
    phases.begin("open_port", "torch: loading the port")
    settings = job.settings
    file = modelfile.read(settings.keras_model)
    stated = manifest.find(settings.keras_model, settings.manifest, job.rootdir)
    spec = manifest.port(settings.torch, stated, file.path)
    baseline = _baseline(settings)
    if settings.data is not None and not fingerprint.is_code(settings.data) and not Path(settings.data).exists():
        raise RunError(f"{settings.data}: no such file or folder (--kerasdiff-data)")
    reference: ReferenceTrace | None = None
    if settings.reference is not None:
        reference, settings = recorded.read(settings.reference, settings, stated)
    port = open_port(settings, spec)
    phases.begin("record", "torch: running the port")
    inputs = file.inputs() if file.config is not None and settings.keras is None else []
    if not inputs:
        reference = reference or _wait(job.folder)
        inputs = [
            InputSpec(la.name, reference.shapes[la.outputs[0]], str(reference.values[la.outputs[0]].dtype))
            for la in reference.layers
            if la.class_name == "InputLayer"
        ]
    names = [i.name for i in inputs]
    rules = stated.rules(names)
    if reference is not None:
        arrays = [reference.values[v] for v in reference.inputs]
    else:
        arrays = probes.given(settings, inputs, rules)
    fed = _feed(
        port,
        inputs,
        arrays,
        feeding.candidates(inputs, arrays, rules, file.config),
    )
    phases.begin("observe")
    # While Keras still computes; of two layouts that only the values tell apart, the expected one will do.
    given = [layout.apply(array) for layout, array in zip(fed[0].layouts, arrays, strict=True)]
    first = fed[0].candidate
    facts = port.observe(given, [first.recorded[v] for v in first.trace.outputs if v is not None])
    prepared = _prepared(port, stated, names, arrays, given, settings.seed)
    phases.begin("wait_for_reference")
    reference = reference or _wait(job.folder)
    phases.begin("judge", "comparing the layers")
    judge, again = _best(reference, fed, names, arrays, stated, settings)
    stated.check_names([layer.name for layer in reference.layers], judge.candidate.trace.parameters)
    switches = [*stated.switches, *settings.off]
    if misspelt := checklist.unknown(switches, concerned.made(reference.layers, stated, settings.asked_checks)):
        raise misspelt
    surplus = len(judge.candidate.trace.outputs) - len(reference.outputs)
    if surplus > 0:
        judge.notes.append(f"the torch model gives {surplus} more outputs than the Keras model: the first are compared")
    fixed_batch = any(i.shape[0] is not None for i in inputs) and file.config is not None
    phases.begin("wait_for_further_runs")
    further = tracefile.read_further(
        settings.reference or _awaited(child.further_of(job.folder / child.REFERENCE_TRACE))
    )
    measured: dict[str, dict[str, Any]] = {}
    unmeasured: dict[str, str] = {}
    if settings.data is not None:
        phases.begin("wait_for_predictions")
        made = settings.reference or _awaited(job.folder / child.PREDICTIONS)
        phases.begin("accuracy", "torch: sample")
        try:
            measured["accuracy"] = _counted(port, made, reference, judge, inputs, settings, stated, phases)
        except _UnfitError as error:
            unmeasured["accuracy"] = str(error)
    if settings.throughput:
        phases.begin("throughput", "torch: timing" if settings.reference else "torch: timing, in turns with Keras:")
        layouts = list(judge.layouts_used.values())
        measured["throughput"] = throughput.measure(port, reference, layouts, settings, baseline, phases.step)
    phases.begin("checks", "checking the model")
    whole = gather.whole(
        reference, further, judge, facts, stated, settings.tol, fixed_batch, prepared, settings.asked_checks, measured,
        unmeasured,
    )  # fmt: skip
    wrong_input = _wrong_input(reference, judge, again)
    seen = judge if wrong_input is None else wrong_input.undone
    results = registry.run(reference, seen.candidate, seen.alignment, seen.verdicts, whole, switches)
    phases.begin("diagnose", "looking for causes")
    diagnosis = _diagnosis(reference, seen, results, wrong_input)
    phases.begin("draw", "drawing the layers" if settings.report else "")
    drawn = details.drawn(reference, seen) if settings.report else {}
    phases.begin("selftest", "self-test: fault" if settings.selftest else "")
    tested = None
    if settings.selftest:
        from pytest_kerasdiff.selftest import run as selftest

        right = report.passes(judge.verdicts, results)
        tested = selftest.run(reference, judge, again, phases.step) if right else None
        results.append(tested.result() if tested is not None else selftest.not_made())
    phases.end()
    data = report.build(
        settings,
        spec,
        file,
        stated,
        reference,
        further,
        seen,
        seen.verdicts,
        results,
        diagnosis,
        drawn,
        tested,
        measured,
        phases,
        job.folder.name,
    )
    if settings.bundle is not None:
        faults = {i: layer for i, layer in enumerate(data["layers"]) if layer["status"] == "fault"}
        data["notes"] += bundle.write(settings.bundle, reference, seen, faults)
    if settings.write_manifest is not None:
        report.write_manifest(settings.write_manifest, spec, reference, judge, stated)
    temporary = job.folder / f".{child.REPORT}"
    temporary.write_text(json.dumps(data, indent=1), "utf-8")
    os.replace(temporary, job.folder / child.REPORT)


def _baseline(settings: Settings) -> list[dict[str, Any]] | None:
    if settings.baseline is None:
        return None
    return throughput.read_baseline(settings.baseline, settings.throughput, settings.keras_model)


def _feed(
    port: Port,
    inputs: Sequence[InputSpec],
    arrays: Sequence[Array],
    layouts: Sequence[tuple[feeding.Layout, ...]],
) -> list[_Fed]:
    """Record the port with the first layout that lets it run, and with those that cannot be told from it by shape.

    Raises:
        RunError: No layout lets the model run (the first one's reason), or several do and none is the expected one.
    """
    names = [i.name for i in inputs]
    running: list[tuple[int, _Fed]] = []
    first_error: RunError | None = None
    shapes: list[tuple[int, ...]] | None = None
    for number, combination in enumerate(layouts):
        given = [layout.apply(array) for layout, array in zip(combination, arrays, strict=True)]
        if running and running[0][0] == 0 and [a.shape for a in given] != shapes:
            continue  # the expected layout runs, and this one is another shape
        try:
            candidate = port.record(names, given)
        except UnfollowedError:
            raise  # another layout runs outside of torch's operations as well
        except RunError as error:
            first_error = first_error or error
            continue
        shapes = shapes or [a.shape for a in given]
        notes: tuple[str, ...] = ()
        if number:
            notes = (
                f"input layout {', '.join(la.describe() for la in combination)}: the only one that lets the torch "
                "model run",
            )
        running.append((number, _Fed(candidate, combination, notes)))
    if not running:
        assert first_error is not None
        tried = (
            ""
            if len(layouts) == 1
            else (
                f"; {len(layouts)} input layouts were tried, name the right one in the manifest: [inputs] layout = "
                f"{list(range(arrays[0].ndim))}"
            )
        )
        raise RunError(f"{first_error}{tried}")
    if running[0][0] == 0:
        return [fed for _, fed in running]
    if len(running) > 1:
        options = " or ".join(f"layout = {fed.layouts[0].describe()}" for _, fed in running)
        raise RunError(
            f"several input layouts let the torch model run; name the right one in the manifest: [inputs] {options}"
        )
    return [running[0][1]]


def _prepared(
    port: Port, stated: Manifest, names: Sequence[str], arrays: Sequence[Array], given: Sequence[Array], seed: int
) -> preprocess.Prepared | None:
    """What the user's torch-side preprocessing makes of the raw samples; None where the manifest names none."""
    if stated.preprocess is None:
        return None
    samples = preprocess.raw_samples(stated, names, arrays[0].shape[1:], seed)
    with port.in_float32():
        return preprocess.apply(stated, "torch", samples, given[0].ndim - 1)


def _counted(
    port: Port,
    made: Path,
    reference: ReferenceTrace,
    judge: Judge,
    inputs: Sequence[InputSpec],
    settings: Settings,
    stated: Manifest,
    phases: Phases,
) -> dict[str, Any]:
    """Run the port on the user's data; what both sides give for it, counted."""
    from pytest_kerasdiff.accuracy import compare

    place, *others = order_of_outputs(reference, judge.candidate.trace)
    if others:
        first = reference.layers[reference.giver[reference.outputs[0]]].name
        judge.notes.append(f"accuracy is that of the first of {1 + len(others)} outputs, {first}")
    layouts = list(judge.layouts_used.values())
    with port.deployed() as outputs:

        def predict(arrays: Sequence[Array]) -> Array:
            try:
                return outputs(arrays)[place]
            except RunError as error:
                if stated.preprocess is None:
                    raise
                given = ", ".join(str(array.shape) for array in arrays)
                words = f"the port cannot run on what {stated.preprocess.torch} ([preprocess]) makes, of shape {given}"
                raise _UnfitError(f"{words}: {error}") from None

        found = compare.compare(predict, made, inputs, layouts, settings, stated, phases.step)
    folders, classes = len(found["classes"]), reference.shapes[reference.outputs[0]][-1]
    if folders and classes not in (1, folders):
        judge.notes.append(f"the data has {text.count(folders, 'folder')}, the model {classes} classes: the first ones")
    return found


def _best(
    reference: ReferenceTrace,
    fed: Sequence[_Fed],
    names: Sequence[str],
    arrays: Sequence[Array],
    stated: Manifest,
    settings: Settings,
) -> tuple[Judge, Callable[..., Judge]]:
    """Align and judge; of two layouts that axes of equal size leave open, take that whose kernels read as Keras's do.

    Returns:
        The judge, and what judges the port with changes, made one after the other; it raises ReplayError where that
        does not run.

    Raises:
        RunError: The alignment stays ambiguous.
    """
    axes = keras_axes(reference)

    def make(option: _Fed, chosen: Mapping[int, int]) -> Judge:
        trace = option.candidate.trace
        inputs = {
            torch_value: layout.axes(axes[keras_value], array.shape)
            for torch_value, keras_value, layout, array in zip(
                trace.inputs, reference.inputs, option.layouts, arrays, strict=True
            )
        }
        ran_in = reference.environment.get("reference_precision"), trace.environment.get("candidate_precision")
        return Judge(
            reference,
            option.candidate,
            align(reference, trace, stated, chosen),
            inputs,
            stated,
            settings.tol,
            "float32" if "float32" in ran_in else settings.precision,
            dict(zip(names, option.layouts, strict=True)),
            option.notes,
        )

    joined = [
        dataclasses.replace(o, candidate=o.candidate.joined(steps.find(reference, o.candidate.trace))) for o in fed
    ]
    judges = [(make(option, {}), option) for option in joined]
    best, option = min(judges, key=lambda pair: len(pair[0].layouts.contradicted))

    def judged(*changes: Change) -> Judge:
        candidate = option.candidate
        for change in changes:
            candidate = candidate.seeded(change)
        other = dataclasses.replace(option, candidate=candidate)
        return settle.settle(make(other, {}), lambda chosen: make(other, chosen), reference)

    return settle.settle(best, lambda chosen: make(option, chosen), reference), judged


def _wrong_input(reference: ReferenceTrace, judge: Judge, again: Callable[..., Judge]) -> Entrance | None:
    if reference.sketches or not judge.faults:
        return None
    from pytest_kerasdiff.diagnosis import entrance

    return entrance.find(reference, judge, again)


def _diagnosis(
    reference: ReferenceTrace, judge: Judge, results: Sequence[CheckResult], wrong_input: Entrance | None
) -> Diagnosis:
    """Look for causes; what does that is imported where something is wrong."""
    if reference.sketches:
        return Diagnosis(notes=[compact.CANNOT_SAY])
    if report.passes(judge.verdicts, results):
        return Diagnosis()
    from pytest_kerasdiff.diagnosis import diagnose

    return diagnose.diagnose(reference, judge, results, wrong_input)


def _wait(folder: Path) -> ReferenceTrace:
    return tracefile.read(_awaited(folder / child.REFERENCE_TRACE))


def _awaited(path: Path) -> Path:
    """Wait for a file of the reference process; the parent ends this one if that dies."""
    while not path.exists():
        time.sleep(0.02)
    return path
