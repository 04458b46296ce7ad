"""The check of epsilons: arguments, numbers in formulas, and constants that were computed with one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pytest_kerasdiff.checks import eps
from pytest_kerasdiff.checks.subject import Outcome, Subject
from pytest_kerasdiff.trace import Array, Constant, Layer, Operation
from tests.subjects import operation_with, step, subject


def norm(*steps: Operation, kind: str = "LayerNormalization", epsilon: float = 1e-3) -> Subject:
    return subject(kind, config={"epsilon": epsilon}, steps=steps)


class TestArguments:
    def test_equal_passes(self) -> None:
        assert eps.check(norm(step("batch_norm", eps=1e-3))).cause == ""

    def test_a_trip_through_float32_is_no_fault(self) -> None:
        assert eps.check(norm(step("batch_norm", eps=1e-3), epsilon=float(np.float32(1e-3)))).cause == ""

    def test_torchs_default_fails_and_names_the_repair(self) -> None:
        found = eps.check(norm(step("batch_norm", eps=1e-5)))
        assert found == Outcome("eps", "Keras 0.001, port 1e-05 [port.py:7]; set block.op.eps = 0.001")

    def test_the_default_of_rms_norm_is_that_of_its_numbers(self) -> None:
        cause, message, _ = eps.check(norm(step("rms_norm", eps=None), kind="RMSNormalization", epsilon=1e-6))
        assert (cause, "port 1.19209e-07" in message) == ("eps", True)


def add(taken: int, given: int, number: Any, **more: Any) -> Operation:
    return step("add", (taken,), given, line=4, other=number, **more)


class TestFormulas:
    def test_a_number_under_the_root(self) -> None:
        for number, cause in ((1e-3, ""), (1.01e-3, "eps")):
            steps = [step("var", (0,), 1), add(1, 2, number), step("rsqrt", (2,), 3), add(3, 4, 7.0)]
            found = eps.check(norm(*steps))
            assert found.cause == cause
            assert not cause or found.message == "Keras 0.001, port 0.00101 [port.py:4]; add 0.001 there"

    @pytest.mark.parametrize(
        "steps",
        [
            [step("mul", (0, 0), 1), add(1, 2, 1e-3), step("mean", (2,), 3), step("sqrt", (3,), 4)],
            [step("var", (0,), 1), add(1, 2, 1e-3), step("pow", (2,), 3, exponent=-0.5)],
            [step("var", (0,), 1), add(1, 2, 5e-4, alpha=2), step("sqrt", (2,), 3)],
            [step("var", (0,), 1), step("sub", (1,), 2, other=-1e-3), step("sqrt", (2,), 3)],
            [step("var", (0,), 1), add(1, 2, Constant(0)), step("sqrt", (2,), 3)],
            [step("var", (0,), 1), add(1, 2, 1e-3), step("view", (2,), 3), step("sqrt", (3,), 4)],
            [step("std", (0,), 1), step("square", (1,), 2), add(2, 3, 1e-3), step("sqrt", (3,), 4)],
            [step("var", (0,), 1), step("clamp", (1,), 2, min=0), add(2, 3, 1e-3), step("rsqrt", (3,), 4)],
        ],
    )
    def test_right_ways_to_write_it(self, steps: list[Operation]) -> None:
        made = subject("LayerNormalization", {}, np.float32(1e-3), config={"epsilon": 1e-3}, steps=steps)
        assert eps.check(made) == Outcome("", "Keras 0.001, port 0.001")

    @pytest.mark.parametrize(
        "steps",
        [
            [step("var", (0,), 1), step("sqrt", (1,), 2), add(2, 3, 1e-3), step("div", (0, 3), 4)],
            [step("std", (0,), 1), add(1, 2, 1e-3), step("div", (0, 2), 3)],
            [
                step("linalg_vector_norm", (0,), 1),
                step("mul", (1,), 2, other=0.5),
                add(2, 3, 1e-3),
                step("div", (0, 3), 4),
            ],
        ],
    )
    def test_outside_the_root(self, steps: list[Operation]) -> None:
        cause, message, _ = eps.check(norm(*steps))
        assert cause == "eps"
        assert message == (
            "Keras 0.001 under the root, port 0.001 added outside the root [port.py:4]; add 0.001 before the root is "
            "taken"
        )

    @pytest.mark.parametrize(
        "steps",
        [
            [step("var", (0,), 1), step("sqrt", (1,), 2), step("div", (0, 2), 3)],
            [step("var", (0,), 1), step("clamp", (1,), 2, min=1e-3), step("rsqrt", (2,), 3), step("mul", (0, 3), 4)],
            [step("linalg_vector_norm", (0,), 1), step("clamp_min", (1,), 2, min=1e-12), step("div", (0, 2), 3)],
        ],
    )
    def test_none_at_all(self, steps: list[Operation]) -> None:
        cause, message, _ = eps.check(norm(*steps, kind="RMSNormalization"))
        assert (cause, message) == ("eps", "Keras 0.001, port no epsilon under the root [port.py:7]; add 0.001 there")

    def test_unit_normalisation_adds_none(self) -> None:
        steps = [step("linalg_vector_norm", (0,), 1), step("clamp_min", (1,), 2, min=1e-12), step("div", (0, 2), 3)]
        assert eps.check(norm(*steps, kind="UnitNormalization", epsilon=1e-12)).cause == ""

    def test_a_sum_takes_as_many_epsilons_as_it_has_terms(self) -> None:
        steps = [step("square", (0,), 1), step("sum", (1,), 2), add(2, 3, 6e-3), step("sqrt", (3,), 4)]
        assert eps.check(norm(*steps)).cause == ""

    def test_two_normalisations_in_one_layer_say_nothing(self) -> None:
        steps = [step("batch_norm", eps=1e-5), step("layer_norm", (1,), 2, eps=1e-3), step("mul", (2,), 3, other=2)]
        assert eps.check(norm(*steps)).cause == ""
        assert eps.check(norm(*steps[:1], steps[2])).cause == "eps"

    def test_what_is_not_known_is_left_to_the_activations(self) -> None:
        for steps in ([], [step("my_op", (0,), 1), step("sqrt", (1,), 2)], [step("mul", (0,), 1, other=2)]):
            assert eps.check(norm(*steps)).cause == ""

    def test_an_epsilon_of_zero(self) -> None:
        assert eps.check(norm(step("var", (0,), 1), step("sqrt", (1,), 2), epsilon=0)).cause == ""


FORMS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "gamma / sqrt(variance + eps)": lambda gamma, variance, e: gamma / np.sqrt(variance + e),
    "gamma · rsqrt": lambda gamma, variance, e: gamma * (1 / np.sqrt(variance + e)),
    "1 / sqrt(variance + eps)": lambda gamma, variance, e: 1 / np.sqrt(variance + e),
    "power": lambda gamma, variance, e: (variance + e) ** np.asarray(-0.5, variance.dtype),
    "sqrt(variance + eps)": lambda gamma, variance, e: np.sqrt(variance + e),
}
EPSILONS = st.sampled_from([1e-2, 1e-3, 1.001e-5, 1e-5, 1e-6, 1e-8])
VARIANCES = arrays(np.float32, st.integers(2, 9), elements=st.floats(-4, 4, width=32)).map(
    lambda powers: (np.float32(10) ** powers).astype(np.float32)
)


def held(form: str, variance: Array, epsilon: float, dtype: Any = np.float32) -> tuple[Array, Array]:
    gamma = (1 + np.arange(len(variance)) / 7).astype(np.float32) * np.where(np.arange(len(variance)) % 2, -1, 1)
    gamma = gamma.astype(np.float32)
    return gamma, np.asarray(FORMS[form](gamma.astype(dtype), variance.astype(dtype), dtype(epsilon)))


def batch_norm(variance: Array, gamma: Array, *constants: Array, epsilon: float) -> Subject:
    weights = {"gamma": gamma, "moving_variance": variance}
    steps = [step("mul", (0,), 1, other=Constant(0))]
    return subject("BatchNormalization", weights, *constants, config={"epsilon": epsilon}, steps=steps)


@given(VARIANCES, EPSILONS, st.sampled_from(sorted(FORMS)), st.sampled_from([np.float32, np.float64]))
@settings(deadline=None, max_examples=400)
def test_a_right_constant_never_fails(variance: Array, epsilon: float, form: str, dtype: Any) -> None:
    gamma, constant = held(form, variance, epsilon, dtype)
    assert eps.check(batch_norm(variance, gamma, constant, epsilon=epsilon)).cause == ""
    # Nor beside the other weights, which are constants of the layer too.
    assert eps.check(batch_norm(variance, gamma, gamma, constant, epsilon=epsilon)).cause == ""


@given(VARIANCES, EPSILONS)
@settings(deadline=None, max_examples=200)
def test_the_weights_alone_never_fail(variance: Array, epsilon: float) -> None:
    gamma, _ = held("power", variance, epsilon)
    assert eps.check(batch_norm(variance, gamma, gamma, variance, epsilon=epsilon)).cause == ""


@given(VARIANCES, EPSILONS, EPSILONS, st.sampled_from(sorted(FORMS)), st.sampled_from([np.float32, np.float64]))
@settings(deadline=None, max_examples=400)
def test_another_epsilon_fails_where_float32_tells_it(
    variance: Array, keras: float, port: float, form: str, dtype: Any
) -> None:
    gamma, constant = held(form, variance, port, dtype)
    cause, message, _ = eps.check(batch_norm(variance, gamma, constant, epsilon=keras))
    tells = 64 * 2.0**-24 * (float(variance.min()) + max(keras, port))
    apart = float(np.ptp(variance)) > 0.02 * float(variance.max())
    if keras == port:
        assert cause == ""
    elif apart and abs(keras - port) > tells:
        assert cause == "eps"
        assert message.startswith(f"Keras {keras:g}, port ")


def test_the_numbers_are_named() -> None:
    variance = np.array([0.01, 1, 100], np.float32)
    gamma, constant = held("gamma / sqrt(variance + eps)", variance, 1e-5)
    cause, message, _ = eps.check(batch_norm(variance, gamma, constant, epsilon=1e-3))
    assert cause == "eps"
    assert message == "Keras 0.001, port 1e-05: p0 is gamma / sqrt(variance + eps); compute it with 0.001"
    gamma, constant = held("sqrt(variance + eps)", variance, 0)
    _, message, _ = eps.check(batch_norm(variance, gamma, constant, epsilon=1e-3))
    assert message.startswith("Keras 0.001, port 0: p0 is sqrt(variance + eps)")


@pytest.mark.parametrize("variance", [np.ones(5, np.float32), np.array([2.0], np.float32)])
def test_variances_that_are_all_alike_tell_nothing(variance: npt.NDArray[np.float32]) -> None:
    """There a factor, such as one taken from the layer before, looks like an epsilon."""
    gamma, constant = held("gamma / sqrt(variance + eps)", variance, 1e-3)
    assert eps.check(batch_norm(variance, gamma, 0.97 * np.asarray(constant, np.float32), epsilon=1e-3)).cause == ""


@pytest.mark.parametrize(("port", "cause"), [(1e-3, ""), (1e-5, "eps"), (0.0, "eps")])
@pytest.mark.parametrize("kind", ["Conv2D", "Dense", "DepthwiseConv2D"])
def test_a_folded_kernel(kind: str, port: float, cause: str) -> None:
    draw = np.random.default_rng(0)
    shape, name = {
        "Conv2D": ((3, 3, 2, 4), "kernel"),
        "Dense": ((5, 4), "kernel"),
        "DepthwiseConv2D": ((3, 3, 4, 1), "depthwise_kernel"),
    }[kind]
    kernel = draw.standard_normal(shape).astype(np.float32)
    gamma, variance = (draw.uniform(0.5, 2, 4).astype(np.float32) for _ in range(2))
    factor = gamma / np.sqrt(variance + np.float32(port))
    folded = kernel * (factor[:, None] if kind.startswith("Depthwise") else factor)
    orders = {"Conv2D": (3, 2, 0, 1), "Dense": (1, 0), "DepthwiseConv2D": (2, 3, 0, 1)}
    torch = folded.transpose(orders[kind])
    norm_layer = Layer("bn", "BatchNormalization", {"epsilon": 1e-3}, (1,), (2,), ("gamma", "moving_variance"))
    own = Layer("conv", kind, {}, (0,), (1,), (name,))
    others = {("conv", name): kernel, ("bn", "gamma"): gamma, ("bn", "moving_variance"): variance}
    steps = [operation_with("linear" if kind == "Dense" else "conv2d", "weight")]
    made = subject("BatchNormalization", {}, torch, steps=steps, folded=True, fold=(own, norm_layer), others=others)
    found = eps.check(dataclasses.replace(made, layer=norm_layer))
    assert found.cause == cause
    assert not cause or f"Keras 0.001, port {port:g}: p0 is kernel · gamma / sqrt" in found.message


@pytest.mark.parametrize(
    "form", ["sqrt(variance) + eps", "gamma / (sqrt(variance) + eps)", "1 / (sqrt(variance) + eps)"]
)
def test_an_epsilon_added_to_the_root_in_a_constant(form: str) -> None:
    variance, gamma = np.array([0.01, 0.5, 2.0], np.float32), np.array([1.5, -0.5, 2.0], np.float32)
    root = np.sqrt(variance) + np.float32(1e-3)
    constant = {"s": root, "g": gamma / root, "1": 1 / root}[form[0]]
    cause, message, _ = eps.check(batch_norm(variance, gamma, constant, epsilon=1e-3))
    assert cause == "eps"
    assert message.startswith(f"Keras 0.001 under the root, port 0.001 added outside the root: p0 is {form}")


@pytest.mark.parametrize(
    ("added", "stated", "cause"), [(1e-3, 0.0, ""), (1e-5, 0.0, "eps"), (1e-3, 1e-3, "eps"), (0, 1e-3, "")]
)
def test_an_epsilon_added_to_the_variance_beforehand(added: float, stated: float, cause: str) -> None:
    variance = np.array([0.01, 0.5, 2.0], np.float32)
    steps = [step("batch_norm", (0,), 1, running_var=Constant(0), eps=stated)]
    made = subject(
        "BatchNormalization", {"moving_variance": variance}, variance + np.float32(added), config={"epsilon": 1e-3},
        steps=steps,
    )  # fmt: skip
    assert eps.check(made).cause == cause
