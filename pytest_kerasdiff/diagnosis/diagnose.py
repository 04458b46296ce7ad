"""The diagnosis: for each layer at fault the causes that repair it, then the whole model with all of them undone."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence

from pytest_kerasdiff.change import Change, combined
from pytest_kerasdiff.checks import registry as checks
from pytest_kerasdiff.checks.subject import CheckResult
from pytest_kerasdiff.diagnosis import noise, order, pattern, registry
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way
from pytest_kerasdiff.diagnosis.entrance import Entrance
from pytest_kerasdiff.diagnosis.found import Cause, Diagnosis
from pytest_kerasdiff.diagnosis.missing import is_missing
from pytest_kerasdiff.diagnosis.search import Part, search
from pytest_kerasdiff.diagnosis.trial import Bench, Budget, measure
from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.trace import ReferenceTrace, ReplayError
from pytest_kerasdiff.verdict import Error

SECONDS = 40.0
"""How long the diagnosis of a model may take, by the clock on the wall."""
_SECONDS_OF_A_LAYER = 8.0
"""Processor time that the trials for one layer may take."""
_SINGLE = " (on one probe input; a batch of 2 or more has a second one)"


def diagnose(
    reference: ReferenceTrace, judge: Judge, results: Sequence[CheckResult], entrance: Entrance | None = None
) -> Diagnosis:
    """Find and try causes for every layer at fault, and for every layer of which a check failed.

    Args:
        reference: The Keras side.
        judge: What was judged.
        results: Of all checks.
        entrance: What is wrong before several layers, which ``judge`` has undone.
    """
    found, budget = Diagnosis(), Budget(SECONDS, time.monotonic)
    failed: dict[str, list[CheckResult]] = {}
    for result in results:
        if result.status == "fail":
            failed.setdefault(result.layer, []).append(result)
    change = Change()
    pieces: dict[int, list[tuple[str, str]]] = {}
    for position, layer in enumerate(reference.layers):
        own = failed.get(layer.name, [])
        if entrance is not None and position == entrance.position:
            found.causes[position] = [_of_several(entrance)]
            pieces[position] = [(entrance.suspicion.id, entrance.suspicion.piece)]
            continue
        at_fault = judge.verdicts[position].status == "fault"
        if not at_fault and not own:
            continue
        if budget.is_spent:
            found.notes.append(f"the diagnosis ended after {SECONDS:g} s: from {layer.name} on no cause was tried")
            break
        subject = checks.subject_of(reference, judge.candidate, judge.alignment, position, judge.verdicts[position])
        case = Case(position, subject, judge, reference, own)
        try:
            rounding = noise.describe(case) if at_fault else ""
            if rounding and not own:
                found.patterns[position] = rounding
                continue
            causes, undone = _layer(case, Budget(_SECONDS_OF_A_LAYER), found.notes)
            if at_fault and not any(cause.confirmed for cause in causes):
                found.patterns[position] = rounding or pattern.describe(case)
        except Exception as error:  # the verdict stands without its causes
            found.notes.append(f"{layer.name}: {registry.lost(error)}")
            continue
        found.causes[position] = causes
        pieces[position] = [(s.id, s.piece) for s, _ in undone]
        for _, way in undone:
            change = combined(change, way.in_the_whole) or change
    for extra, lacking in order.exchanged(pieces, judge):
        for position, other in ((extra, lacking), (lacking, extra)):
            name = reference.layers[other].name
            found.causes[position] = [_in_order(cause, name) for cause in found.causes[position]]
    for first, second in order.twins(pieces, judge, reference):
        for position, other in ((first, second), (second, first)):
            name = reference.layers[other].name
            found.causes[position] = [_as_a_twin(cause, name) for cause in found.causes[position]]
    if change or entrance is not None:
        before, after = _whole(judge, change, entrance.port if entrance is not None else judge)
        found.repaired = _largest(before), None if after is None else _largest(after)
        if after is None or not all(error.passes for error in after):
            _doubt(found, judge, all(error.passes for error in before))
    return found


def _doubt(found: Diagnosis, judge: Judge, is_right: bool) -> None:
    """Take back what was confirmed, layer by layer, where the whole model does not agree.

    Args:
        found: What was found.
        judge: The judgement.
        is_right: The model's outputs are Keras's as they are; no cause can be undone in it then and make it worse.
    """
    explained = is_right or all(
        any(cause.confirmed for cause in found.causes.get(position, ()))
        for position, verdict in enumerate(judge.verdicts)
        if verdict.status == "fault"
    )
    before, after = found.repaired or (None, None)
    if not explained or (after is not None and (before is None or after < before)):
        return
    left = "does not run" if after is None else f"is {after:.3g} off, before {before:.3g}"
    found.notes.append(f"with all causes undone the model's output {left}: at least one of them is not the cause")
    for position, causes in found.causes.items():
        found.causes[position] = [dataclasses.replace(cause, confirmed=False) for cause in causes]


def _of_several(entrance: Entrance) -> Cause:
    """The cause of what several layers showed, which the whole model has proved."""
    suspicion, position = entrance.suspicion, entrance.position
    before, after = entrance.undone.verdicts[position].isolated, measure(entrance.undone, position, Way(Change()))
    single = "" if len(after.samples) > 1 else _SINGLE
    sizes = None if before is None else _largest([before]), _finite(after.size)
    return Cause(suspicion.id, f"{suspicion.text}{single}", not single, *sizes, suspicion.patch)


def _as_a_twin(cause: Cause, other: str) -> Cause:
    """A cause that is the same as having the weights of another layer of the same form, which has this one's."""
    if not cause.confirmed or cause.id not in ("activation-kind", "missing-layer", "extra-layer", "merge-mode"):
        return cause
    text = f"{cause.text}; in {other} it is the other way round, so the two hold each other's weights"
    return dataclasses.replace(cause, id="weights-swapped", text=text, patch=f"exchange its weights with {other}'s")


def _in_order(cause: Cause, other: str) -> Cause:
    """A cause whose other half was found at another layer."""
    if cause.id not in ("extra-layer", "missing-layer") or not cause.confirmed:
        return cause
    text = f"{cause.text}; what is too much at one of this layer and {other} is what the other lacks"
    return dataclasses.replace(cause, id="layer-order", text=text)


def _layer(case: Case, budget: Budget, notes: list[str]) -> tuple[list[Cause], list[Part]]:
    """The causes of one layer, and the confirmed ones with the ways that undo them."""
    all_of_them = list(registry.suspicions(case, notes))
    named = {s.id for s in all_of_them}
    all_of_them += [
        Suspicion(check.cause, *_told(check.message))
        for check in case.failed
        if check.cause not in {*named, "internal"} and not (is_missing(case) and check.check == "weights")
    ]
    bench = Bench(case, budget)
    repair, ties = search(all_of_them, bench)
    if bench.is_over:
        notes.append(f"{case.layer.name}: not all of its possible causes were tried within {_SECONDS_OF_A_LAYER:g} s")
    if repair is None:
        # What was tried in vain is told only where a check says it too.
        said = {check.cause for check in case.failed}
        stated = [s for s in all_of_them if s.stated and (s.id in said or s.sure or not s.ways)]
        size = _finite(bench.before(Way(Change())).size)
        return [Cause(s.id, s.text, False, size, _attempt(s, bench), s.patch) for s in stated], []
    tie = f" (as well as {', '.join(dict.fromkeys(s.id for s, _ in ties))}: these inputs do not tell)" if ties else ""
    before, after = _finite(repair.before.size), _finite(repair.after.size)
    single = "" if len(repair.after.samples) > 1 else _SINGLE
    causes = [Cause(s.id, f"{s.text}{tie}{single}", not tie and not single, before, after, s.patch)
              for s, _ in repair.parts]  # fmt: skip
    causes += [Cause(s.id, s.text, False, before, after, s.patch) for s, _ in ties]
    known = {(s.id, s.patch) for s, _ in (*repair.parts, *ties)}
    causes += [
        Cause(s.id, s.text, False, before, None, s.patch)
        for s in all_of_them
        if s.sure and (s.id, s.patch) not in known
    ]
    return causes, list(repair.parts) if not tie and not single else []


def _attempt(suspicion: Suspicion, bench: Bench) -> float | None:
    """The smallest error that undoing a cause leaves."""
    tried = [bench.try_out([(suspicion, way)]) for way in suspicion.ways[:1]]
    return next((_finite(t.after.size) for t in tried if t is not None), None)


def _told(message: str) -> tuple[str, str]:
    """Text and remedy of a check's message."""
    text, _, remedy = message.partition("; ")
    return text, remedy


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _whole(judge: Judge, change: Change, port: Judge) -> tuple[list[Error], list[Error] | None]:
    """Errors of the outputs of the port as it is, and of what is judged with a change: None where it cannot run.

    What is judged has its outputs in Keras's order.
    """
    before = [port.error_of_output(u, port.candidate.recorded[v]) for u, v in port.outputs() if v is not None]
    in_order = ((u, judge.alignment.elsewhere.get(u, v)) for u, v in judge.outputs())
    wanted: Mapping[int, int] = {v: u for u, v in in_order if v is not None}
    try:
        given = judge.candidate.changed(change).run(list(wanted), {})
    except (ReplayError, KeyError, ValueError, IndexError, TypeError):
        return before, None
    return before, [judge.error_of_output(u, given[v]) for v, u in wanted.items()]


def _largest(errors: Sequence[Error]) -> float | None:
    return _finite(max((float("inf") if error.reason else error.max_abs for error in errors), default=0.0))
