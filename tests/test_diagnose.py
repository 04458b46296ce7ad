"""The flow of a diagnosis on toy traces: what is tried, confirmed, shown as a tie, or left unexplained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from pytest_kerasdiff.change import Change
from pytest_kerasdiff.checks import registry as checks
from pytest_kerasdiff.diagnosis import diagnose, entrance, registry
from pytest_kerasdiff.diagnosis.case import Case, Suspicion, Way
from pytest_kerasdiff.diagnosis.found import Cause, Diagnosis
from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.trace import ReferenceTrace, Value
from tests.test_judge import A, B, C, judge
from tests.toys import ToyCandidate, ToyReference

X = np.random.default_rng(5).standard_normal((3, 4))
Suspect = Callable[[Case], Iterator[Suspicion]]


def diagnosed(
    monkeypatch: pytest.MonkeyPatch,
    suspect: Suspect,
    x: np.ndarray[Any, Any] = X,
    kernel: np.ndarray[Any, Any] = B[0],
    bias: np.ndarray[Any, Any] = B[1],
) -> Diagnosis:
    """The diagnosis of x → a → b → c where the port's b has this kernel and bias, with one detector."""
    toy = ToyReference(x=x)
    reference = toy.trace(toy.dense("c", toy.dense("b", toy.dense("a", 0, *A), *B), *C))
    port = ToyCandidate(x)
    value = port.linear("b", port.linear("a", Value(0), *A), kernel, bias)
    return of(monkeypatch, suspect, reference, port.returns(port.linear("c", value, *C)))


def of(
    monkeypatch: pytest.MonkeyPatch, suspect: Suspect, reference: ReferenceTrace, candidate: ToyCandidate
) -> Diagnosis:
    """The diagnosis of a port with one detector."""
    made = judge(reference, candidate)
    monkeypatch.setattr(registry, "DETECTORS", (registry.Detector(("x",), lambda case: True, suspect),))
    results = checks.run(reference, made.candidate, made.alignment, made.verdicts, None)
    # What the checks say is left out, so that the detector alone speaks.
    return diagnose.diagnose(reference, made, [r for r in results if r.status == "pass"])


def constant(case: Case, name: str) -> int:
    return next(n for n, data in case.trace.constants.items() if data.origins == (f"b.{name}",))


def sets(case: Case, name: str, array: np.ndarray[Any, Any]) -> tuple[Way]:
    return (Way(Change({constant(case, name): np.asarray(array)})),)


def kernel(case: Case) -> Suspicion:
    return Suspicion("dense-transposed", "not transposed", "use kernel.T", sets(case, "weight", B[0].T))


def bias(case: Case) -> Suspicion:
    return Suspicion("bias-missing", "no bias", "load it", sets(case, "bias", B[1]))


def harmless(case: Case) -> Suspicion:
    return Suspicion("weights-differ", "stated, and no fault", "none", sets(case, "weight", B[0].T.copy()))


def of_b(found: Diagnosis) -> list[Cause]:
    assert set(found.causes) <= {2}
    return found.causes.get(2, [])


def test_a_cause_that_repairs_the_layer_is_confirmed_and_repairs_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    found = diagnosed(monkeypatch, lambda case: iter([bias(case), kernel(case)]), kernel=B[0].T)
    (cause,) = of_b(found)
    assert (cause.id, cause.confirmed, cause.patch) == ("dense-transposed", True, "use kernel.T")
    assert cause.before is not None
    assert cause.after is not None
    assert cause.before > 0.1
    assert cause.after < 1e-6  # the toy's kernel is float32
    assert found.repaired is not None
    before, after = found.repaired
    assert before is not None
    assert after is not None
    assert before > 0.1 > 1e-5 > after
    assert found.patterns == {}


def test_a_right_port_is_not_diagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = diagnosed(monkeypatch, lambda case: iter([kernel(case)]))
    assert (found.causes, found.patterns, found.repaired) == ({}, {}, None)


def test_two_causes_of_one_layer_are_confirmed_together_and_a_third_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = diagnosed(
        monkeypatch,
        lambda case: iter([harmless(case), kernel(case), bias(case)]),
        kernel=B[0].T,
        bias=np.zeros(4),
    )
    assert {(c.id, c.confirmed) for c in of_b(found)} in (
        {("dense-transposed", True), ("bias-missing", True)},
        {("weights-differ", True), ("bias-missing", True)},  # the very same change
    )
    assert len(of_b(found)) == 2


def test_pairs_of_what_is_only_tried_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def suspect(case: Case) -> Iterator[Suspicion]:
        for one in (kernel(case), bias(case)):
            yield Suspicion(one.id, one.text, one.patch, one.ways, stated=False)

    found = diagnosed(monkeypatch, suspect, kernel=B[0].T, bias=np.zeros(4))
    assert [(c.id, c.confirmed) for c in of_b(found)] == [("dense-transposed", True), ("bias-missing", True)]


def test_what_does_not_repair_is_not_confirmed_and_the_pattern_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = diagnosed(monkeypatch, lambda case: iter([kernel(case)]), bias=B[1] + 0.25)
    assert of_b(found) == []  # tried in vain, and no check says it
    assert found.patterns == {2: "every element differs; by the same number everywhere, 0.25"}
    assert found.repaired is None


def test_a_repair_that_leaves_more_than_a_hundredth_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the limit, but only ten times better: a second fault may be left."""

    def suspect(case: Case) -> Iterator[Suspicion]:
        yield Suspicion("bias-missing", "", "", sets(case, "bias", B[1] + 5e-6))

    assert of_b(diagnosed(monkeypatch, suspect, bias=B[1] + 5e-5)) == []
    assert [c.confirmed for c in of_b(diagnosed(monkeypatch, suspect, bias=B[1] + 5e-2))] == [True]


def test_a_tie_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last feature is always 0 here, so that two kernels do equally well."""
    row = A[0].copy()
    row[:, 3] = 0

    def suspect(case: Case) -> Iterator[Suspicion]:
        other = B[0].copy()
        other[3] = 7
        yield Suspicion("weights-differ", "as the file", "load it", sets(case, "weight", B[0].T))
        yield Suspicion("weights-swapped", "another", "exchange", sets(case, "weight", other.T))

    monkeypatch.setattr("tests.test_diagnose.A", (row, np.zeros(4)))
    wrong = B[0].copy()
    wrong[0] *= 2
    found = diagnosed(monkeypatch, suspect, kernel=wrong)
    assert [(c.id, c.confirmed) for c in of_b(found)] == [("weights-differ", False), ("weights-swapped", False)]
    assert "as well as weights-swapped" in of_b(found)[0].text


def test_one_repair_said_in_two_ways_is_no_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    found = diagnosed(monkeypatch, lambda case: iter([kernel(case), harmless(case)]), kernel=B[0].T)
    assert [(c.id, c.confirmed) for c in of_b(found)] == [("dense-transposed", True)]


def test_one_probe_input_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = diagnosed(monkeypatch, lambda case: iter([kernel(case)]), X[:1], B[0].T)
    (cause,) = of_b(found)
    assert not cause.confirmed
    assert "a batch of 2 or more" in cause.text


def test_a_repair_must_hold_on_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bias fitted to the first sample repairs that one alone."""

    def suspect(case: Case) -> Iterator[Suspicion]:
        value, keras = case.value, case.layer.outputs[0]
        assert value is not None
        port = case.judge.candidate.run([value], case.judge.feed(case.position, value))[value]
        wrong = np.asarray(case.reference.values[keras], np.float64)[0] - np.asarray(port, np.float64)[0]
        held = np.asarray(case.trace.constants[constant(case, "bias")].array, np.float64)
        yield Suspicion("bias-missing", "fitted", "", sets(case, "bias", held + wrong))

    assert not any(c.confirmed for c in of_b(diagnosed(monkeypatch, suspect, kernel=B[0].T)))


def test_a_detector_that_raises_takes_no_other_finding_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def suspect(case: Case) -> Iterator[Suspicion]:
        yield kernel(case)
        raise KeyError("lost")

    found = diagnosed(monkeypatch, suspect, kernel=B[0].T)
    assert [(c.id, c.confirmed) for c in of_b(found)] == [("dense-transposed", True)]
    assert len(found.notes) == 1
    assert found.notes[0].startswith(
        "b: its cause could not be looked for, please report it: KeyError: 'lost' (test_diagnose"
    )


def test_the_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnose, "SECONDS", -1.0)
    found = diagnosed(monkeypatch, lambda case: iter([kernel(case)]), kernel=B[0].T)
    assert found.causes == {}
    assert found.notes == ["the diagnosis ended after -1 s: from b on no cause was tried"]


def test_what_was_not_tried_in_time_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnose, "_SECONDS_OF_A_LAYER", -1.0)
    found = diagnosed(monkeypatch, lambda case: iter([kernel(case)]), kernel=B[0].T)
    assert of_b(found) == []
    assert found.notes == ["b: not all of its possible causes were tried within -1 s"]


def test_a_cause_that_makes_the_whole_model_worse_is_not_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    def suspect(case: Case) -> Iterator[Suspicion]:
        found = kernel(case)
        worse = Change({constant(case, "weight"): 9 * B[0].T})
        yield Suspicion(found.id, found.text, found.patch, [Way(way.change, whole=worse) for way in found.ways])

    found = diagnosed(monkeypatch, suspect, kernel=B[0].T)
    assert [(c.id, c.confirmed) for c in of_b(found)] == [("dense-transposed", False)]
    assert "at least one of them is not the cause" in found.notes[0]


def test_what_makes_a_right_output_wrong_is_not_confirmed_though_another_fault_is_not_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The port doubles what a gives, and halves it in b: both differ, and the model is right."""
    toy = ToyReference(x=X)
    reference = toy.trace(toy.dense("c", toy.dense("b", toy.dense("a", 0, *A), *B), *C))
    port = ToyCandidate(X)
    value = port.linear("b", port.linear("a", Value(0), 2 * A[0], 2 * A[1]), B[0] / 2, B[1])

    def suspect(case: Case) -> Iterator[Suspicion]:
        if case.layer.name == "b":
            yield Suspicion("weights-differ", "halved", "load it", sets(case, "weight", B[0].T))

    found = of(monkeypatch, suspect, reference, port.returns(port.linear("c", value, *C)))
    assert [(c.id, c.confirmed) for c in found.causes[2]] == [("weights-differ", False)]
    assert "at least one of them is not the cause" in found.notes[0]
    assert found.repaired is not None
    before, after = found.repaired
    assert before is not None
    assert after is not None
    assert before < 1e-6 < 1e-1 < after


@pytest.mark.parametrize(("seconds", "tried"), [(60.0, 1), (-1.0, 0)])
def test_changes_that_concern_several_layers_are_tried_for_a_limited_time(
    monkeypatch: pytest.MonkeyPatch, seconds: float, tried: int
) -> None:
    toy = ToyReference(x=X)
    reference = toy.trace(toy.dense("a", 0, *A))
    port = ToyCandidate(X)
    made = judge(reference, port.returns(port.linear("a", Value(0), A[0] + 1, A[1])))
    suspicion = Suspicion("extra-layer", "the port has one too many", "leave it out", [Way(Change())])
    monkeypatch.setattr(entrance, "_of_axes", lambda reference, judge, faults: iter([(1, suspicion)]))
    monkeypatch.setattr(entrance, "SECONDS", seconds)
    changes: list[Change] = []

    def again(change: Change) -> Judge:
        changes.append(change)
        return made  # no better than before

    assert entrance.find(reference, made, again) is None
    assert len(changes) == tried
    assert sum("no further change was tried" in note for note in made.notes) == 1 - tried
