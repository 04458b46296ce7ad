"""The checks of the model as pure functions, where a real port would not show the case."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pytest_kerasdiff.align.alignment import align
from pytest_kerasdiff.checks import decisions, eval_mode, loaded, no_grad, outputs, precision, training_notes
from pytest_kerasdiff.checks.gather import as_keras
from pytest_kerasdiff.checks.subject import Whole
from pytest_kerasdiff.facts import PortFacts
from pytest_kerasdiff.judge import LayerVerdict
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.trace import Array, Value
from pytest_kerasdiff.verdict import failed
from tests.toys import ToyCandidate, ToyReference

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((2, 3))
LOGITS = RANDOM.standard_normal((4, 5))
INSIDE = np.linspace(0.25, 0.75, 20).reshape(4, 5)


def whole(facts: PortFacts | None = None, config: dict[str, Any] | None = None, **more: Any) -> Whole:
    """A model of one ReLU, whose layer has this config."""
    keras, port = ToyReference(x=X), ToyCandidate(X)
    end = keras.layer("relu", "Activation", 0, config={"activation": "relu", **(config or {})}, out=np.maximum(X, 0))
    port.returns(port.relu("relu", Value(0)))
    reference, stated = keras.trace(end), Manifest()
    alignment = align(reference, port.trace, stated)
    made = Whole(reference, port.trace, alignment, [], facts or PortFacts(again=[X]), stated, 1e-5, first=[X])
    return dataclasses.replace(made, **more)


class TestPrecision:
    def test_float32_passes(self) -> None:
        assert precision.check(whole()) == ("", "float32 throughout", False)

    def test_half_precision_that_keras_states_itself_passes(self) -> None:
        facts = PortFacts(dtypes={"fc.weight": "float16"})
        assert precision.check(whole(facts)).cause == "float16"
        for stated in ("mixed_float16", {"class_name": "Policy", "config": {"name": "mixed_float16"}}):
            assert precision.check(whole(facts, {"dtype": stated})).cause == ""

    def test_settings_of_torch(self) -> None:
        found = precision.check(whole(PortFacts(settings={"torch.get_float32_matmul_precision()": "medium"})))
        assert found.cause == "tf32"
        assert found.message.startswith("torch.get_float32_matmul_precision() is medium: ")
        found = precision.check(whole(PortFacts(settings={"torch.is_autocast_enabled('cpu')": "True"})))
        assert found.cause == "autocast"

    def test_torchs_default_on_cuda_warns(self) -> None:
        found = precision.check(whole(PortFacts(device="cuda", convolutions_in_tf32=True)))
        assert (found.cause, found.warns) == ("tf32", True)


class TestEvalMode:
    def test_a_port_that_was_not_run_again_does_not_pass(self) -> None:
        assert eval_mode.check(whole()).cause == ""
        found = eval_mode.check(whole(PortFacts(deployed_error="cannot be run again")))
        assert (found.cause, found.message) == (
            "nondeterministic", "no second run to compare with: cannot be run again"
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("change", "cause"), [(0.0, ""), (1e-12, ""), (1e-6, "nondeterministic"), (np.nan, "nondeterministic")]
    )
    def test_two_runs(self, change: float, cause: str) -> None:
        assert eval_mode.check(whole(PortFacts(again=[X + change]))).cause == cause

    def test_two_runs_in_float32_may_round_otherwise(self) -> None:
        assert eval_mode.check(whole(PortFacts(again=[X + 1e-6], ran_in="float32"))).cause == ""
        assert eval_mode.check(whole(PortFacts(again=[X + 1e-2], ran_in="float32"))).cause == "nondeterministic"

    def test_a_sample_alone(self) -> None:
        right = [(0, X[:1], X[:1], X[:1])]
        assert eval_mode.check(whole(others=right)).cause == ""
        wrong = [(0, X[:1] * 1.1, X[:1], X[:1])]
        assert eval_mode.check(whole(others=wrong)).cause == "batch-dependent"
        as_keras_does = [(0, X[:1] * 1.1, X[:1], X[:1] * 1.1)]
        assert eval_mode.check(whole(others=as_keras_does)).cause == ""

    def test_a_group_normalisation_written_as_one_of_the_batch(self) -> None:
        port = ToyCandidate(X)
        port.returns(port.op("norm", "batch_norm", lambda x: np.maximum(x, 0), Value(0), training=True))
        alone = [(0, X[:1], X[:1], X[:1])]
        assert eval_mode.check(whole(candidate=port.trace, others=alone)).cause == ""
        assert eval_mode.check(whole(candidate=port.trace)).cause == "train-mode"  # nothing proves it
        at_fault = [LayerVerdict(isolated=failed("shape"))]
        assert eval_mode.check(whole(candidate=port.trace, others=alone, verdicts=at_fault)).cause == "train-mode"

    def test_a_batch_of_one_size(self) -> None:
        facts = PortFacts(again=[X], others_error="RuntimeError: shape")
        assert eval_mode.check(whole(facts)).cause == "batch-dependent"
        assert eval_mode.check(whole(facts, fixed_batch=True)).cause == ""  # so has Keras
        assert eval_mode.check(whole(dataclasses.replace(facts, takes_other_batches=False))).cause == ""  # an archive


class TestOutputs:
    SOFTMAX = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)

    @pytest.mark.parametrize(
        ("array", "kind"),
        [
            (SOFTMAX, "probabilities"),
            (np.log(SOFTMAX), "log probabilities"),
            (np.exp(LOGITS) / np.exp(LOGITS).sum(0), "probabilities over the batch"),
            (SOFTMAX.T[None], "probabilities over axis 1"),
            (1 / (1 + np.exp(-LOGITS)), "between 0 and 1"),
            (LOGITS, "unbounded"),
            (LOGITS * np.nan, "not finite"),
        ],
    )
    def test_kinds(self, array: Array, kind: str) -> None:
        assert outputs.kind(array) == kind

    @pytest.mark.parametrize(
        ("port", "keras", "words"),
        [
            (SOFTMAX, SOFTMAX, ""),
            (LOGITS, LOGITS, ""),
            (SOFTMAX * [[1, 1, 1, 1, 1 + 1e-9]], SOFTMAX, ""),  # rounding is no other kind
            (LOGITS + 1, LOGITS, ""),  # wrong, and of the same kind: for the layers to say
            (LOGITS, SOFTMAX, "the softmax is missing in the port"),
            (SOFTMAX, LOGITS, "the port has a softmax, Keras has none"),
            (np.log(SOFTMAX), SOFTMAX, "the port takes the logarithm of the softmax"),
            (LOGITS, 1 / (1 + np.exp(-LOGITS)), "the sigmoid is missing in the port"),
            (INSIDE, 1 / (1 + np.exp(-INSIDE)), "the sigmoid is missing in the port; numbers from 0.25 to 0.75 in the"),
            (1 / (1 + np.exp(-LOGITS)), LOGITS, "the port has a sigmoid, Keras has none"),
            (1 / (1 + np.exp(-LOGITS)), SOFTMAX, "the port has a sigmoid where Keras has a softmax"),
            (RANDOM.random((4, 5)), SOFTMAX, "between 0 and 1 in the port, probabilities in Keras"),
        ],
    )
    def test_relations(self, port: Array, keras: Array, words: str) -> None:
        found = outputs.check(whole(outputs=[(port, keras)]))
        assert found.cause == ("softmax" if words else "")
        assert words in found.message

    def test_numbers_between_0_and_1_are_a_kind_where_keras_has_a_function_that_makes_them(self) -> None:
        one = [(2 * INSIDE, INSIDE)]
        assert outputs.check(whole(outputs=one)).cause == ""
        found = outputs.check(whole(config={"activation": "sigmoid"}, outputs=one))
        assert (found.cause, "between 0 and 1 in Keras" in found.message) == ("softmax", True)

    def test_an_output_that_does_not_depend_on_the_input_is_said(self) -> None:
        assert "does not depend on the input" in outputs.check(whole(outputs=[(None, LOGITS)])).message

    def test_channels_are_moved_where_that_is_nearer(self) -> None:
        image = RANDOM.standard_normal((2, 3, 3, 3))
        np.testing.assert_array_equal(as_keras(np.moveaxis(image, -1, 1), image), image)
        np.testing.assert_array_equal(as_keras(image, image), image)


class TestDecisions:
    KERAS = np.array([[3.0, 1.0], [1.0, 2.0]], np.float32)

    def found(self, port: Array, noise: float = 0.0) -> Any:
        return decisions.check(whole(deployed=[(port, self.KERAS, self.KERAS.astype(np.float64) + noise)]))

    def test_equal_outputs_pass(self) -> None:
        assert self.found(self.KERAS).cause == ""

    def test_the_noise_of_keras_is_the_unit_of_the_limit(self) -> None:
        apart = self.KERAS + np.float32(1e-3)
        assert self.found(apart).cause == "decisions"
        assert self.found(apart, noise=1e-4).cause == ""

    def test_another_decision_is_counted_with_its_margin(self) -> None:
        found = self.found(self.KERAS[:, ::-1])
        assert found.cause == "decisions"
        assert "2 of 2 decisions differ, by a margin of 2" in found.message

    def test_nothing_compared_fails(self) -> None:
        assert decisions.check(whole()).cause == "decisions"
        assert decisions.check(whole(PortFacts(deployed_error="RuntimeError"))).cause == "decisions"


def test_memory_held_is_reported() -> None:
    found = no_grad.check(whole(PortFacts(tracks_gradient=True, held_bytes=3 * 2**20)))
    assert (found.cause, found.warns) == ("no-grad", True)
    assert "holds 3.00 MiB for a backward pass (batch of 2)" in found.message


def test_training_notes_never_fail() -> None:
    config = {
        "momentum": 0.99,
        "kernel_regularizer": {"class_name": "L1L2", "config": {"l1": 0.5, "l2": 1e-4}},
        "rate": 0.25,
    }
    facts = PortFacts(momentum={"bn": 0.1}, dropout={"drop": 0.5})
    found = training_notes.check(whole(facts, config))
    assert found.cause == ""
    assert found.message.split("; ") == [
        "BatchNorm momentum 0.99 in Keras is momentum=0.01 in torch",
        "the port has another momentum in 1 modules (bn: 0.1)",
        "L2(0.0001) is weight_decay=0.0002 of plain SGD (relu kernel)",
        "L1(0.5) has no option in torch's optimisers: add it to the loss (relu kernel)",
        "dropout in Keras: relu 0.25",
        "in the port: drop 0.5",
    ]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(8), "all 0"),
        (np.ones(8), "all 1"),
        (np.full(8, 2.0), ""),
        (RANDOM.uniform(-1, 1, (64, 25)) / 5, "uniform up to 1/√fan_in"),
        (RANDOM.uniform(-1, 1, (64, 7)) / 4, "uniform up to 1/√hidden_size"),
        (RANDOM.standard_normal((100, 8)), "standard normal"),
        (RANDOM.standard_normal((64, 25)) / 5, ""),
        (RANDOM.standard_normal(9), ""),
    ],
)
def test_initial_values_are_recognised(array: Array, words: str) -> None:
    assert loaded.initialiser(array) == words
