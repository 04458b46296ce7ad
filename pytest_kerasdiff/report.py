"""The report: the one result of a run, as JSON-serialisable data. Its fields are a contract (``schema``)."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_kerasdiff import __version__, audit, details, options, tally
from pytest_kerasdiff import manifest as manifest_file
from pytest_kerasdiff.checks.subject import CheckResult
from pytest_kerasdiff.checks.usage import unused
from pytest_kerasdiff.diagnosis.found import Diagnosis
from pytest_kerasdiff.judge import Judge, LayerVerdict
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.modelfile import ModelFile
from pytest_kerasdiff.options import Settings
from pytest_kerasdiff.phases import Phases, with_side
from pytest_kerasdiff.reportfile import SCHEMA, Report
from pytest_kerasdiff.trace import FurtherRuns, ReferenceTrace
from pytest_kerasdiff.verdict import Error

if TYPE_CHECKING:
    from pytest_kerasdiff.selftest.run import SelfTest


def build(
    settings: Settings,
    spec: str,
    file: ModelFile,
    stated: Manifest,
    reference: ReferenceTrace,
    further: FurtherRuns,
    judge: Judge,
    verdicts: Sequence[LayerVerdict],
    checks: Sequence[CheckResult],
    diagnosis: Diagnosis,
    drawn: Mapping[int, Mapping[str, Any]],
    tested: SelfTest | None,
    measured: Mapping[str, Mapping[str, Any]],
    phases: Phases,
    run: str,
) -> Report:
    """Put a finished run into the report's form; ``run`` is its name, ``drawn`` what ``details.drawn`` gives."""
    left_out = audit.unexercised(reference)
    layers = [
        {
            **_layer(reference, judge, position, result),
            **details.stated(reference, judge, position),
            **drawn.get(position, dict.fromkeys(details.DRAWN)),
            "not_exercised": left_out.get(reference.layers[position].name, []),
            "causes": [dataclasses.asdict(cause) for cause in diagnosis.causes.get(position, [])],
            "pattern": diagnosis.patterns.get(position, ""),
        }
        for position, result in enumerate(verdicts)
    ]
    checked = [dataclasses.asdict(c) for c in checks]
    trace = judge.candidate.trace
    made = further.run == run
    return {
        "schema": SCHEMA,
        "verdict": tally.verdict(layers, checked),
        "keras_model": str(file.path),
        "torch": spec,
        "command": options.command(settings),
        "precision": judge.precision,
        "tolerance": settings.tol,
        "layers": layers,
        "checks": checked,
        "repaired": _repaired(diagnosis),
        "accuracy": measured.get("accuracy"),
        "throughput": measured.get("throughput"),
        "selftest": None if tested is None else dataclasses.asdict(tested),
        "summary": tally.summary(layers, checked),
        "coverage": _coverage(reference, judge, layers, checks, stated),
        "inputs": {
            name: {
                "layout": layout.describe(),
                "shape": list(reference.shapes[value]),
                "seed": settings.seed,
                "source": str(settings.inputs) if settings.inputs else "generated",
            }
            for (name, layout), value in zip(judge.layouts_used.items(), reference.inputs, strict=True)
        },
        "notes": [*reference.notes, *trace.notes, *judge.notes, *diagnosis.notes],
        "unused_parameters": _unused(judge, stated),
        "environment": {
            "pytest_kerasdiff": __version__,
            **reference.environment,
            **trace.environment,
            "cpu_count": os.cpu_count(),
            "machine": platform.machine(),
        },
        "reference": {
            "source": "recorded" if settings.reference else "made" if made else "cached",
            "path": str(settings.reference) if settings.reference else None,
            "compact": bool(reference.sketches),
        },
        "timing": {**(with_side("reference", further.timing) if made else {}), **phases.timing()},
        "memory": {**(with_side("reference", further.memory) if made else {}), **phases.memory()},
    }


def passes(verdicts: Sequence[LayerVerdict], checks: Sequence[CheckResult]) -> bool:
    """Whether a run's verdict is that the port is equivalent."""
    statuses = [{"status": result.status} for result in verdicts]
    return tally.verdict(statuses, [dataclasses.asdict(check) for check in checks]) == "pass"


def _repaired(diagnosis: Diagnosis) -> dict[str, float | None] | None:
    return None if diagnosis.repaired is None else dict(zip(("before", "after"), diagnosis.repaired, strict=True))


def _layer(reference: ReferenceTrace, judge: Judge, position: int, result: LayerVerdict) -> dict[str, Any]:
    layer, alignment = reference.layers[position], judge.alignment
    span = details.span(judge, position)
    operations = judge.candidate.trace.operations
    main = alignment.main.get(position, span[-1] if span else None)
    return {
        "name": layer.name,
        "class": layer.class_name,
        "torch": operations[main].name if main is not None else None,
        "operations": [operations[i].op for i in span],
        "source": operations[main].source if main is not None else None,
        "matched_by": alignment.methods.get(position, "graph"),
        "status": result.status,
        "reason": result.reason,
        "isolated": _error(result.isolated),
        "isolated_from_cumulative": result.isolated_is_cumulative,
        "cumulative": _error(result.cumulative),
        "inherits_from": result.inherits_from,
    }


def _error(error: Error | None) -> dict[str, Any] | None:
    if error is None:
        return None
    numbers = {
        "max_abs": error.max_abs,
        "scale": error.scale,
        "limit": error.limit,
        "got": error.got,
        "expected": error.expected,
        "differing": error.differing,
    }
    return {
        **{key: value if math.isfinite(value) else None for key, value in numbers.items()},
        "worst": list(error.worst),
        "reason": error.reason,
        "passes": error.passes,
    }


def _coverage(
    reference: ReferenceTrace,
    judge: Judge,
    layers: Sequence[Mapping[str, Any]],
    checks: Sequence[CheckResult],
    stated: Manifest,
) -> dict[str, dict[str, int]]:
    """How many layers, Keras weights and torch parameters and buffers there are, and how many were compared."""
    compared = {check.layer for check in checks if check.check == "weights" and check.status != "off"}
    owners: dict[str, tuple[int, bool]] = {}
    for layer in reference.layers:
        _, so_far = owners.get(layer.weight_owner, (0, False))
        owners[layer.weight_owner] = len(layer.weights), so_far or layer.name in compared
    trace, left_out = judge.candidate.trace, _unused(judge, stated)
    parameters = {name for name, array in trace.parameters.items() if array.dtype.kind in "fc"}
    taken = {name for constant in trace.constants.values() for name in constant.origins} & parameters
    declared = sum(bool(reason) for name, reason in left_out.items() if name in parameters - taken)
    return {
        "layers": {
            "all": len(layers),
            "compared": sum(layer["status"] in ("pass", "fault", "inherited") for layer in layers),
            "declared": sum(layer["status"] == "declared" for layer in layers),
            "not_exercised": sum(bool(layer["not_exercised"]) for layer in layers),
        },
        "weights": {
            "all": sum(number for number, _ in owners.values()),
            "compared": sum(number for number, was_compared in owners.values() if was_compared),
        },
        "parameters": {
            "all": len(parameters),
            "compared": len(taken),
            "declared": declared,
            "unused": len(parameters - taken) - declared,
        },
    }


def _unused(judge: Judge, stated: Manifest) -> dict[str, str]:
    """Torch parameters that no operation of the run took, with the reason where the manifest states one."""
    return {name: stated.declared.get(name, "") for name in unused(judge.candidate.trace)}


def write_manifest(path: Path, spec: str, reference: ReferenceTrace, judge: Judge, stated: Manifest) -> None:
    """Write the alignment of a run as a manifest."""
    layers: dict[str, str | tuple[str, str]] = {}
    operations = judge.candidate.trace.operations
    for position, layer in enumerate(reference.layers):
        span = details.span(judge, position)
        if span:
            # From the operation that stands for the layer: what comes before it (a padding) may change with the port.
            main = judge.alignment.main.get(position, span[0])
            first, last = operations[main if main in span else span[0]].name, operations[span[-1]].name
            layers[layer.name] = first if first == last else (first, last)
    declared = {
        layer.name: result.reason
        for layer, result in zip(reference.layers, judge.verdicts, strict=True)
        if result.status == "declared"
    }
    manifest_file.write(
        path,
        layers,
        declared,
        {name: layout.permutation for name, layout in judge.layouts_used.items()},
        spec,
        stated,
    )
