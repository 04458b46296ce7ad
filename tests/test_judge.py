"""Alignment and verdict on toy traces: the layers at fault, those that inherit, and what counts as correct."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from pytest_kerasdiff import regions
from pytest_kerasdiff.align.alignment import align
from pytest_kerasdiff.align.keras_axes import keras_axes
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.manifest import Manifest, Tolerance
from pytest_kerasdiff.trace import ReferenceTrace, Value
from pytest_kerasdiff.verdict import Error
from tests.toys import ToyCandidate, ToyReference

X = np.random.default_rng(0).standard_normal((3, 4))


def weights(seed: int, shape: tuple[int, ...] = (4, 4)) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.standard_normal(shape), generator.standard_normal(shape[-1:])


A, B, C = weights(1), weights(2), weights(3)


def judge(reference: ReferenceTrace, candidate: ToyCandidate, manifest: Manifest | None = None) -> Judge:
    manifest = manifest or Manifest()
    axes = keras_axes(reference)
    inputs = {i: axes[v] for i, v in zip(candidate.trace.inputs, reference.inputs, strict=True)}
    made = Judge(
        reference, candidate, align(reference, candidate.trace, manifest), inputs, manifest, 1e-5, "float64", {}
    )  # fmt: skip
    made.run()
    return made


def statuses(made: Judge, reference: ReferenceTrace) -> dict[str, str]:
    return {layer.name: verdict.status for layer, verdict in zip(reference.layers, made.verdicts, strict=True)}


def chain() -> ReferenceTrace:
    """x → a (relu) → b → act → c."""
    toy = ToyReference(x=X)
    a = toy.dense("a", 0, *A, activation="relu")
    b = toy.dense("b", a, *B)
    act = toy.relu("act", b)
    return toy.trace(toy.dense("c", act, *C))


def port(*, second: tuple[np.ndarray, np.ndarray] = B, act: bool = True, extra: bool = False) -> ToyCandidate:
    toy = ToyCandidate(X)
    value = toy.relu("relu", toy.linear("fc1", Value(0), *A))
    value = toy.linear("fc2", value, *second)
    if act:
        value = toy.relu("relu@1", value)
    if extra:
        value = toy.op("tanh", "tanh", np.tanh, value)
    return toy.returns(toy.linear("fc3", value, *C))


def test_a_correct_port_passes_in_every_layer() -> None:
    reference = chain()
    made = judge(reference, port())
    assert set(statuses(made, reference).values()) == {"pass"}
    assert made.alignment.methods[1] == "weights"


def test_a_wrong_weight_is_one_fault_and_what_follows_inherits() -> None:
    reference = chain()
    wrong = (B[0] + 1e-3 * np.eye(4), B[1])
    made = judge(reference, port(second=wrong))
    assert statuses(made, reference) == {"x": "pass", "a": "pass", "b": "fault", "act": "inherited", "c": "inherited"}
    assert made.verdicts[4].inherits_from == "b"


def test_a_transposed_kernel_still_finds_its_layer_and_fails() -> None:
    reference = chain()
    made = judge(reference, port(second=(B[0].T, B[1])))
    assert statuses(made, reference)["b"] == "fault"
    assert made.alignment.methods[2] == "weights"


def test_a_missing_activation_is_the_only_fault() -> None:
    reference = chain()
    made = judge(reference, port(act=False))
    assert statuses(made, reference) == {"x": "pass", "a": "pass", "b": "pass", "act": "fault", "c": "inherited"}
    assert made.verdicts[3].reason == "no torch operation for this layer"


def test_an_extra_operation_belongs_to_the_layer_that_takes_it() -> None:
    reference = chain()
    made = judge(reference, port(extra=True))
    assert statuses(made, reference) == {"x": "pass", "a": "pass", "b": "pass", "act": "pass", "c": "fault"}


def test_exchanged_weights_are_paired_by_place() -> None:
    reference = chain()
    toy = ToyCandidate(X)
    value = toy.relu("relu", toy.linear("fc1", Value(0), *B))
    value = toy.relu("relu@1", toy.linear("fc2", value, *A))
    made = judge(reference, toy.returns(toy.linear("fc3", value, *C)))
    assert statuses(made, reference) == {"x": "pass", "a": "fault", "b": "fault", "act": "inherited", "c": "inherited"}


def test_operations_after_the_last_layer_are_its_own() -> None:
    reference = chain()
    toy = port()
    last = Value(toy.trace.outputs[0])  # type: ignore[arg-type]
    made = judge(
        reference, toy.returns(toy.op("softplus", "softplus", np.logaddexp, last, toy.parameter("zero", np.zeros(4))))
    )
    assert statuses(made, reference)["c"] == "fault"


def test_an_identity_layer_needs_no_operation() -> None:
    toy = ToyReference(x=X)
    a = toy.dense("a", 0, *A)
    drop = toy.layer("drop", "Dropout", a, out=toy.values[a])
    reference = toy.trace(toy.dense("b", drop, *B))
    candidate = ToyCandidate(X)
    candidate.returns(candidate.linear("fc2", candidate.linear("fc1", Value(0), *A), *B))
    made = judge(reference, candidate)
    assert set(statuses(made, reference).values()) == {"pass"}
    assert "passes through unchanged" in made.verdicts[2].reason


def test_nan_on_one_side_is_a_fault_and_on_both_is_none() -> None:
    def root(x: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.asarray(np.sqrt(x))

    toy = ToyReference(x=X)
    a = toy.dense("a", 0, *A)
    reference = toy.trace(toy.layer("root", "Activation", a, config={"activation": "sqrt"}, out=root(toy.values[a])))
    right, wrong = ToyCandidate(X), ToyCandidate(X)
    right.returns(right.op("sqrt", "sqrt", root, right.linear("fc", Value(0), *A)))
    wrong.returns(wrong.op("sqrt", "sqrt", lambda x: root(np.abs(x)), wrong.linear("fc", Value(0), *A)))
    assert set(statuses(judge(reference, right), reference).values()) == {"pass"}
    made = judge(reference, wrong)
    assert statuses(made, reference)["root"] == "fault"
    assert made.verdicts[2].isolated is not None
    assert "not finite at the same places" in made.verdicts[2].isolated.reason


def test_the_manifest_decides_where_it_speaks() -> None:
    reference = chain()
    made = judge(reference, port(), Manifest(layers={"b": ("fc2", "fc2"), "act": ("relu@1", "relu@1")}))
    assert [made.alignment.methods[i] for i in (2, 3)] == ["manifest", "manifest"]
    assert set(statuses(made, reference).values()) == {"pass"}


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ({"bb": ("fc2", "fc2")}, "no such layer; did you mean b"),
        ({"b": ("fc22", "fc22")}, "no module or operation 'fc22'; did you mean fc2"),
        ({"x": ("fc2", "fc2")}, "an input needs no partner"),
        ({"b": ("fc3", "fc2")}, "'fc3' runs after 'fc2'"),
    ],
)
def test_a_manifest_that_names_what_is_not_there_is_refused(layers: dict[str, tuple[str, str]], words: str) -> None:
    with pytest.raises(RunError, match=words):
        judge(chain(), port(), Manifest(layers=layers))


def test_a_tolerance_of_the_manifest_holds_for_its_layer_alone() -> None:
    reference = chain()
    wrong = port(second=(B[0] + 1e-4 * np.eye(4), B[1]))
    allowed = Manifest(tolerances={"b": Tolerance(1e-2, "rounded")})
    assert statuses(judge(reference, wrong, allowed), reference)["b"] == "pass"
    assert statuses(judge(reference, wrong, allowed), reference)["c"] == "inherited"


def test_the_models_output_is_always_compared() -> None:
    """Two heads that hold each other's weights: both outputs are wrong, whatever the weights say."""
    toy = ToyReference(x=X)
    one, two = toy.dense("one", 0, *A), toy.dense("two", 0, *B)
    reference = toy.trace(one, two)
    right, wrong = ToyCandidate(X), ToyCandidate(X)
    right.returns(right.linear("h1", Value(0), *A), right.linear("h2", Value(0), *B))
    wrong.returns(wrong.linear("h1", Value(0), *B), wrong.linear("h2", Value(0), *A))
    assert set(statuses(judge(reference, right), reference).values()) == {"pass"}
    assert statuses(judge(reference, wrong), reference) == {"x": "pass", "one": "fault", "two": "fault"}


def test_a_port_that_gives_too_few_outputs_is_refused() -> None:
    toy = ToyReference(x=X)
    reference = toy.trace(toy.dense("one", 0, *A), toy.dense("two", 0, *B))
    candidate = ToyCandidate(X)
    candidate.returns(candidate.linear("h1", Value(0), *A))
    with pytest.raises(RunError, match="has 2 outputs, the torch model gives 1"):
        judge(reference, candidate)


def test_a_residual_from_the_wrong_place_is_the_additions_fault() -> None:
    toy = ToyReference(x=X)
    a = toy.dense("a", 0, *A)
    b = toy.dense("b", a, *B)
    reference = toy.trace(
        toy.dense(
            "c",
            toy.layer("add", "Add", b, a, out=np.asarray(toy.values[b], float) + np.asarray(toy.values[a], float)),
            *C,
        )
    )

    def candidate(*, wrong: bool) -> ToyCandidate:
        made = ToyCandidate(X)
        first = made.linear("fc1", Value(0), *A)
        second = made.linear("fc2", first, *B)
        added = made.op("add", "add", np.add, second, Value(0) if wrong else first)
        return made.returns(made.linear("fc3", added, *C))

    assert set(statuses(judge(reference, candidate(wrong=False)), reference).values()) == {"pass"}
    found = statuses(judge(reference, candidate(wrong=True)), reference)
    assert found == {"x": "pass", "a": "pass", "b": "pass", "add": "fault", "c": "inherited"}


def test_right_inputs_are_not_run_again() -> None:
    reference = chain()
    candidate = port()
    made = judge(reference, candidate)
    assert candidate.runs == 0
    assert all(v.isolated_is_cumulative for v in made.verdicts[1:])


def pooled(*, relu: bool) -> tuple[ReferenceTrace, ToyCandidate]:
    """Keras: rectify, then the maximum over eight steps; the port: the maximum, then rectify, or not."""
    steps = np.random.default_rng(0).standard_normal((3, 8, 4))
    toy = ToyReference(x=steps)
    act = toy.relu("act", 0)
    reference = toy.trace(
        toy.layer("pool", "GlobalMaxPooling1D", act, out=np.max(np.asarray(toy.values[act], float), 1))
    )
    made = ToyCandidate(steps)
    value = made.op("amax", "amax", lambda x: x.max(1), Value(0), dim=[1], keepdim=False)
    return reference, made.returns(made.relu("relu", value) if relu else value)


def test_an_activation_after_the_pooling_is_computed_together_with_it() -> None:
    reference, candidate = pooled(relu=True)
    assert statuses(judge(reference, candidate), reference) == {"x": "pass", "act": "declared", "pool": "pass"}


def test_an_activation_that_the_pooling_hides_is_at_fault() -> None:
    """The maximum over many steps is the same with and without it, on these inputs."""
    reference, candidate = pooled(relu=False)
    assert statuses(judge(reference, candidate), reference) == {"x": "pass", "act": "fault", "pool": "pass"}


def test_an_activation_that_these_inputs_do_not_need_is_at_fault() -> None:
    positive = np.abs(X) + 1
    toy = ToyReference(x=positive)
    act = toy.relu("act", 0)
    reference = toy.trace(toy.dense("fc", act, *A))
    candidate = ToyCandidate(positive)
    made = judge(reference, candidate.returns(candidate.linear("fc", Value(0), *A)))
    assert statuses(made, reference) == {"x": "pass", "act": "fault", "fc": "pass"}
    assert made.verdicts[1].isolated is not None
    assert made.verdicts[1].isolated.reason == "these inputs do not show the difference, others do"


def test_a_second_rectifier_is_not_needed() -> None:
    toy = ToyReference(x=X)
    again = toy.relu("again", toy.relu("act", 0))
    reference = toy.trace(toy.dense("fc", again, *A))
    candidate = ToyCandidate(X)
    made = judge(reference, candidate.returns(candidate.linear("fc", candidate.relu("relu", Value(0)), *A)))
    assert statuses(made, reference) == {"x": "pass", "act": "declared", "again": "pass", "fc": "pass"}


def test_a_port_whose_runs_differ_is_at_fault_at_its_output() -> None:
    reference, candidate = chain(), port()
    output = candidate.trace.outputs[0]
    assert output is not None
    candidate.first_run = {output: np.asarray(candidate.recorded[output], float) + 0.5}
    made = judge(reference, candidate)
    assert statuses(made, reference) == {"x": "pass", "a": "pass", "b": "pass", "act": "pass", "c": "fault"}
    assert made.verdicts[4].reason.startswith("two runs of the port on the same input differ by 0.5 of scale")


def two_heads() -> ReferenceTrace:
    toy = ToyReference(x=X)
    return toy.trace(toy.dense("one", 0, *A), toy.dense("two", 0, *B), 1)


def test_an_output_named_twice_is_compared_twice() -> None:
    reference = two_heads()
    right, wrong = ToyCandidate(X), ToyCandidate(X)
    for made in (right, wrong):
        one, two = made.linear("h1", Value(0), *A), made.linear("h2", Value(0), *B)
        made.returns(one, two, made.op("sin", "sin", np.sin, one) if made is wrong else one)
    assert set(statuses(judge(reference, right), reference).values()) == {"pass"}
    assert statuses(judge(reference, wrong), reference) == {"x": "pass", "one": "fault", "two": "pass"}


def test_an_output_has_keras_shape_and_order() -> None:
    """Square features of a sequence: sizes cannot tell steps from features."""
    steps = np.random.default_rng(0).standard_normal((2, 4, 4))
    toy = ToyReference(x=steps)
    reference = toy.trace(toy.dense("fc", 0, *A))

    def port_of(op: str, last: Callable[[np.ndarray], np.ndarray]) -> ToyCandidate:
        made = ToyCandidate(steps)
        return made.returns(made.op(op, op, last, made.linear("fc", Value(0), *A)))

    assert set(statuses(judge(reference, port_of("clone", np.copy)), reference).values()) == {"pass"}
    for op, last in (("transpose", lambda a: a.swapaxes(1, 2)), ("unsqueeze", lambda a: a[..., None])):
        assert statuses(judge(reference, port_of(op, last)), reference)["fc"] == "fault"


def test_an_output_that_is_constant_is_at_fault() -> None:
    toy = ToyReference(x=X)
    reference = toy.trace(toy.dense("one", 0, *A), toy.dense("two", 0, *B))
    candidate = ToyCandidate(X)
    candidate.returns(candidate.linear("h1", Value(0), *A), candidate.linear("h2", Value(0), *B))
    trace = dataclasses.replace(candidate.trace, outputs=(None, candidate.trace.outputs[1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ToyCandidate, "trace", trace)
        found = statuses(judge(reference, candidate), reference)
    assert found == {"x": "pass", "one": "fault", "two": "pass"}


def test_outputs_by_name_are_paired_by_name() -> None:
    toy = ToyReference(x=X)
    named = {"output_names": '["a", "z"]'}
    reference = dataclasses.replace(toy.trace(toy.dense("one", 0, *A), toy.dense("two", 0, *B)), environment=named)
    candidate = ToyCandidate(X)
    candidate.returns(candidate.linear("h2", Value(0), *B), candidate.linear("h1", Value(0), *A))
    trace = dataclasses.replace(candidate.trace, environment={"output_names": '["z", "a"]'})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ToyCandidate, "trace", trace)
        assert set(statuses(judge(reference, candidate), reference).values()) == {"pass"}


def test_what_moves_from_place_to_place_only_proves_nothing_of_the_inputs() -> None:
    places = np.arange(6.0).reshape(1, 3, 2)
    moved = np.concatenate([places, places + 1.0])
    forgotten = np.concatenate([places, places + 1e-9])  # a deep network has forgotten its inputs, and its first layers
    error = Error(1e-8, 5.0, 1e-5)
    assert regions.is_exact(error, moved)
    assert not regions.is_exact(error, forgotten)
