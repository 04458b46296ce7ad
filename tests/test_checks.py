"""The checks as pure functions: for each a correct port that passes and a wrong one that fails for that reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pytest_kerasdiff.checks import eps, hyper, registry, weights
from pytest_kerasdiff.checks.registry import lets_changes_through
from pytest_kerasdiff.checks.subject import Subject
from pytest_kerasdiff.trace import CURVE_AT, Array, ConstantData, Layer, Operation

RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.standard_normal((3, 5, 2, 4)).astype(np.float32)
DENSE = RANDOM.standard_normal((6, 6)).astype(np.float32)


def subject(
    kind: str, weights: dict[str, Array], *constants: Array, config: dict[str, Any] | None = None, folded: bool = False,
    **arguments: Any,
) -> Subject:  # fmt: skip
    layer = Layer("layer", kind, config or {}, (0,), (1,), tuple(weights))
    operation = Operation("block.norm@1", "batch_norm", "block.norm", "port.py:7", (0,), (), (1,), arguments)
    data = [ConstantData(c, (f"block.p{i}",)) for i, c in enumerate(constants)]
    names = frozenset(f"block.p{i}" for i in range(len(constants)))
    return Subject(layer, weights, operation, data, folded, operation, parameters=names)


def torch_layout(kernel: Array) -> Array:
    return kernel.transpose(3, 2, 0, 1)


class TestEps:
    def test_equal_passes(self) -> None:
        assert eps.check(subject("BatchNormalization", {}, config={"epsilon": 1e-3}, eps=1e-3))[0] == ""

    def test_a_trip_through_float32_is_no_fault(self) -> None:
        stored = float(np.float32(1e-3))
        assert eps.check(subject("BatchNormalization", {}, config={"epsilon": stored}, eps=1e-3))[0] == ""

    def test_torchs_default_fails_and_names_the_repair(self) -> None:
        cause, message, _ = eps.check(subject("BatchNormalization", {}, config={"epsilon": 1e-3}, eps=1e-5))
        assert cause == "eps"
        assert message == "Keras 0.001, port 1e-05 [port.py:7]; set block.norm.eps = 0.001"

    @pytest.mark.parametrize(("number", "cause"), [(1e-3, ""), (1.01e-3, "eps")])
    def test_an_epsilon_written_by_hand(self, number: float, cause: str) -> None:
        steps = [
            Operation("var", "var", "", "port.py:3", (0,), (), (1,), {}),
            Operation("add", "add", "", "port.py:4", (1,), (), (2,), {"other": number, "alpha": 1}),
            Operation("rsqrt", "rsqrt", "", "port.py:4", (2,), (), (3,), {}),
            Operation("add", "add", "", "port.py:5", (3,), (), (4,), {"other": 7.0, "alpha": 1}),
        ]
        made = dataclasses.replace(subject("LayerNormalization", {}, config={"epsilon": 1e-3}), steps=steps)
        found, message, _ = eps.check(made)
        assert found == cause
        assert not cause or message == "Keras 0.001, port 0.00101 [port.py:4]; add 0.001 there"

    def test_a_port_without_epsilon_is_left_to_the_activations(self) -> None:
        assert eps.check(subject("BatchNormalization", {}, config={"epsilon": 1e-3}))[0] == ""


class TestWeights:
    def test_a_kernel_in_torchs_layout_passes(self) -> None:
        assert weights.check(subject("Conv2D", {"kernel": KERNEL}, torch_layout(KERNEL))) == ("", "kernel equal", False)

    def test_a_kernel_in_float64_passes(self) -> None:
        assert weights.check(subject("Conv2D", {"kernel": KERNEL}, torch_layout(KERNEL).astype(np.float64)))[0] == ""

    def test_a_depthwise_kernel_passes(self) -> None:
        layout = KERNEL.transpose(2, 3, 0, 1).reshape(8, 1, 3, 5)
        found = weights.check(subject("DepthwiseConv2D", {"depthwise_kernel": KERNEL}, layout))
        assert found == ("", "depthwise_kernel equal", False)

    @pytest.mark.parametrize("layout", [DENSE.T, DENSE, DENSE.T[:, :, None, None]])
    def test_a_dense_kernel_passes_as_matrix_and_as_convolution(self, layout: Array) -> None:
        assert weights.check(subject("Dense", {"kernel": DENSE}, layout)) == ("", "kernel equal", False)

    def test_one_changed_element_fails_and_is_named(self) -> None:
        wrong = torch_layout(KERNEL).copy()
        wrong[1, 0, 2, 4] += 1
        cause, message, _ = weights.check(subject("Conv2D", {"kernel": KERNEL}, wrong))
        assert cause == "weights-differ"
        assert message.startswith("kernel: 1 of 120 elements of block.p0 differ, most at (1, 0, 2, 4): got ")

    def test_rounding_fails_by_name(self) -> None:
        half = torch_layout(KERNEL.astype(np.float16).astype(np.float32))
        assert weights.check(subject("Conv2D", {"kernel": KERNEL}, half))[0] == "weights-rounded"
        bits = torch_layout(KERNEL).copy().view(np.uint32)
        brain = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
        cause, message, _ = weights.check(subject("Conv2D", {"kernel": KERNEL}, brain))
        assert (cause, "bfloat16" in message) == ("weights-rounded", True)

    def test_another_weight_of_the_same_size_is_not_mistaken_for_it(self) -> None:
        gamma, beta = np.array([1, 2, 3, 4], np.float32), np.array([5, 2, 7, 8], np.float32)
        found = weights.check(subject("BatchNormalization", {"gamma": gamma, "beta": beta}, gamma, beta))
        assert found == ("", "gamma equal; beta equal", False)

    def test_reordered_and_folded_weights_are_left_to_the_activations(self) -> None:
        reordered = weights.check(subject("Dense", {"kernel": DENSE}, DENSE.T[:, ::-1]))
        assert reordered == ("", "kernel held in another form", False)
        folded = weights.check(subject("Conv2D", {"kernel": KERNEL}, torch_layout(KERNEL) * 2, folded=True))
        assert folded[0] == ""

    def test_zeros_that_agree_prove_nothing(self) -> None:
        sparse, other = np.zeros(8, np.float32), np.zeros(8, np.float32)
        sparse[0], other[1] = 1, 1
        assert weights.check(subject("Dense", {"bias": sparse}, other)) == ("", "bias held in another form", False)

    def test_a_bias_that_is_nowhere_fails_where_the_kernel_is_keras_own(self) -> None:
        bias = np.arange(6, dtype=np.float32)
        for constants in ((DENSE.T,), (DENSE.T, np.zeros(6, np.float32))):
            assert weights.check(subject("Dense", {"kernel": DENSE, "bias": bias}, *constants))[0] == "bias-missing"
        assert weights.check(subject("Dense", {"kernel": DENSE, "bias": bias}, DENSE.T, bias))[0] == ""

    def test_a_bias_of_zeros_may_be_left_out(self) -> None:
        assert weights.check(subject("Dense", {"kernel": DENSE, "bias": np.zeros(6, np.float32)}, DENSE.T))[0] == ""

    def test_what_activations_do_not_prove_fails(self) -> None:
        """A scaled kernel: folded, for all the check knows, where the activations pass; wrong where they cannot say."""
        scaled = subject("Dense", {"kernel": DENSE}, DENSE.T * np.float32(0.97))
        assert weights.check(scaled)[0] == ""
        assert weights.check(dataclasses.replace(scaled, vouched=False))[0] == "weights-differ"
        reordered = subject("Dense", {"kernel": DENSE}, DENSE.T[:, ::-1])
        assert weights.check(dataclasses.replace(reordered, vouched=False))[0] == "conv-kernel-layout"


class TestVouching:
    """When a layer's activations say something about its weights."""

    @pytest.mark.parametrize(
        ("activation", "output", "expected"),
        [
            ("softmax", [[0.2, 0.8]], True),
            ("softmax", [[1.0, 1e-9]], False),
            ("sigmoid", [[1.0, 0.0]], False),
            ("tanh", [[1.0, -1.0]], False),
            ("relu", [[0.0, 0.0]], False),
            ("relu", [[0.0, 3.0]], True),
            ("linear", [[0.0, 0.0]], True),
        ],
    )
    def test_activation(self, activation: str, output: list[list[float]], expected: bool) -> None:
        assert lets_changes_through(activation, np.array(output)) is expected


class TestHyper:
    """Each pair is the port's and Keras's activation function, right or wrong."""

    @pytest.mark.parametrize(
        ("port", "keras", "expected"),
        [
            (lambda x: np.maximum(x, 0), lambda x: np.clip(x, 0, None), ""),
            (lambda x: np.clip(x, 0, 6), lambda x: np.maximum(x, 0), "at 6.2"),
            (lambda x: np.maximum(x, 0.3 * x), lambda x: np.maximum(x, float(np.float32(0.3)) * x), ""),
            (lambda x: np.maximum(x, 0.3 * x), lambda x: np.maximum(x, 0.2 * x), "at -0.01"),
            (lambda x: np.clip(x, -1, 1), np.tanh, "at -0.0"),
            (np.exp, np.exp, ""),
            (lambda x: np.where(x < 0, np.nan, x), lambda x: np.maximum(x, 0), "at -0.01"),
        ],
    )
    def test_functions(self, port: Callable[[Array], Array], keras: Callable[[Array], Array], expected: str) -> None:
        made = dataclasses.replace(subject("ReLU", {}), curves=(port(CURVE_AT), keras(CURVE_AT)))
        cause, message, _ = hyper.check(made)
        assert cause == ("activation-kind" if expected else "")
        assert message.startswith(expected or "equal")

    def test_float32_is_compared_where_exp_is_finite(self) -> None:
        values = CURVE_AT.astype(np.float32)
        with np.errstate(over="ignore"):
            softplus = np.log(1 + np.exp(values)), np.logaddexp(values, np.float32(0))
        assert hyper.check(dataclasses.replace(subject("Dense", {}), curves=softplus))[0] == ""

    def test_a_function_of_several_elements_is_left_to_the_activations(self) -> None:
        assert hyper.check(subject("Dense", {}, config={"activation": "softmax"}))[0] == ""


def test_collection_knows_which_layers_a_check_concerns() -> None:
    configs: dict[str, dict[str, Any]] = {
        "InputLayer": {},
        "Conv2D": {},
        "Dense": {"activation": "relu"},
        "Activation": {},
        "BatchNormalization": {"epsilon": 1e-3},
    }
    concerned = {kind: registry.of_layer(kind, config) for kind, config in configs.items()}
    assert concerned == {
        "InputLayer": [],
        "Conv2D": ["weights", "finite"],
        "Dense": ["weights", "hyper", "finite"],
        "Activation": ["finite"],
        "BatchNormalization": ["weights", "eps", "finite"],
    }
