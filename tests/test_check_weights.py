"""The check of weights: for each cause a port that passes and one that fails for that reason."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pytest_kerasdiff.checks import weights
from pytest_kerasdiff.checks.subject import Outcome, Subject
from pytest_kerasdiff.trace import Array, Constant, Layer
from tests.subjects import operation_with, step, subject

RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.standard_normal((3, 5, 2, 4)).astype(np.float32)
DENSE = RANDOM.standard_normal((6, 6)).astype(np.float32)
FOUR: dict[str, Array] = {
    "gamma": np.array([1.5, 2, 3, 4], np.float32),
    "beta": np.array([5, 2.5, 7, 8], np.float32),
    "moving_mean": np.array([0.5, -1, 2, 1], np.float32),
    "moving_variance": np.array([4, 9, 16, 0.25], np.float32),
}
KERNELS: dict[str, Array] = {
    f"{name}/kernel": np.random.default_rng(i).standard_normal((8, 2, 4)).astype(np.float32)
    for i, name in enumerate(("query", "key", "value"))
}


def torch_layout(kernel: Array) -> Array:
    return kernel.transpose(3, 2, 0, 1)


def convolution(port: Array, wrong: bool = True, kind: str = "Conv2D", name: str = "kernel") -> Subject:
    return subject(kind, {name: KERNEL}, port, steps=[operation_with("conv2d", "weight")], wrong=wrong)


def dense(port: Array, wrong: bool = True, op: str = "linear", argument: str = "weight", **more: Any) -> Subject:
    kernel = more.pop("kernel", DENSE)
    return subject("Dense", {"kernel": kernel}, port, steps=[operation_with(op, argument)], wrong=wrong, **more)


def found(made: Subject) -> tuple[str, str]:
    cause, message, _ = weights.check(made)
    return cause, message


class TestKernels:
    @pytest.mark.parametrize("port", [torch_layout(KERNEL), torch_layout(KERNEL).astype(np.float64)])
    def test_torchs_layout_passes(self, port: Array) -> None:
        assert weights.check(convolution(port)) == Outcome("", "kernel equal")

    @pytest.mark.parametrize(
        ("port", "cause", "words"),
        [
            (KERNEL.transpose(3, 2, 1, 0), "conv-kernel-layout", "H and W exchanged"),
            (KERNEL.transpose(2, 3, 0, 1), "conv-kernel-layout", "in and out exchanged"),
            (KERNEL.reshape(4, 2, 3, 5), "conv-kernel-layout", "reshaped instead of transposed"),
            (torch_layout(KERNEL[::-1, ::-1]), "conv-kernel-flipped", "rotated by 180°"),
            (torch_layout(KERNEL[:, ::-1]), "conv-kernel-flipped", "flipped along W"),
            (torch_layout(KERNEL)[:, ::-1], "conv-kernel-layout", "input channels in reverse order"),
            (torch_layout(KERNEL)[[2, 0, 1, 3]], "conv-kernel-layout", "output channels in the order 2, 0, 1, 3"),
        ],
    )
    def test_a_rearranged_kernel_is_named(self, port: Array, cause: str, words: str) -> None:
        assert found(convolution(port)) == (cause, f"kernel: p0 is Keras's, {words}; use kernel.transpose(3, 2, 0, 1)")
        right = weights.check(convolution(port, wrong=False))
        assert (right.cause, "the activations agree" in right.message) == ("", True)

    def test_a_transposed_convolution_keeps_its_own_order(self) -> None:
        made = subject(
            "Conv2DTranspose", {"kernel": KERNEL}, torch_layout(KERNEL), steps=[operation_with("conv2d", "weight")]
        )
        assert found(made) == ("", "kernel equal")
        cause, message = found(dataclasses.replace(convolution(KERNEL.transpose(2, 3, 0, 1)), layer=made.layer))
        assert (cause, "out and in exchanged" in message) == ("conv-kernel-layout", True)

    def test_depthwise(self) -> None:
        right = KERNEL.transpose(2, 3, 0, 1).reshape(8, 1, 3, 5)
        wrong = KERNEL.transpose(3, 2, 0, 1).reshape(8, 1, 3, 5)
        made = convolution(right, kind="DepthwiseConv2D", name="depthwise_kernel")
        assert found(made) == ("", "depthwise_kernel equal")
        cause, message = found(convolution(wrong, kind="DepthwiseConv2D", name="depthwise_kernel"))
        assert cause == "depthwise-layout"
        assert message.endswith(
            "in and multiplier exchanged; use depthwise_kernel.transpose(2, 3, 0, 1).reshape(-1, 1, 3, 5)"
        )

    @pytest.mark.parametrize(
        ("op", "argument", "right"),
        [
            ("linear", "weight", DENSE.T),
            ("matmul", "other", DENSE),
            ("matmul", "self", DENSE.T),
            ("addmm", "mat2", DENSE),
            ("conv2d", "weight", DENSE.T[:, :, None, None]),
        ],
    )
    def test_the_operation_says_how_a_square_kernel_stands(self, op: str, argument: str, right: Array) -> None:
        assert found(dense(right, op=op, argument=argument)) == ("", "kernel equal")
        wrong = dense(right.swapaxes(0, 1), op=op, argument=argument)
        cause, message = found(wrong)
        assert cause == "dense-transposed"
        assert f"not transposed as {op} takes it" in message
        assert found(dataclasses.replace(wrong, verdict=dense(right, wrong=False).verdict))[0] == ""

    @pytest.mark.parametrize(("equation", "right"), [("bi,io->bo", DENSE), ("bi,oi->bo", DENSE.T)])
    def test_so_does_an_einsum(self, equation: str, right: Array) -> None:
        einsum = step("einsum", equation=equation, tensors=[None, Constant(0)])
        for port, cause in ((right, ""), (right.T, "dense-transposed")):
            assert found(subject("Dense", {"kernel": DENSE}, port, steps=[einsum], wrong=True))[0] == cause

    def test_an_operation_that_does_not_say_leaves_it_to_the_activations(self) -> None:
        for port in (DENSE, DENSE.T):
            assert found(dense(port, op="mul", argument="other")) == ("", "kernel equal")

    def test_a_kernel_reshaped_instead_of_transposed(self) -> None:
        kernel = RANDOM.standard_normal((6, 4)).astype(np.float32)
        cause, message = found(dense(kernel.reshape(4, 6), kernel=kernel))
        assert (cause, message) == (
            "dense-transposed",
            "kernel: p0 is Keras's reshaped instead of transposed; use kernel.T",
        )

    def test_rows_after_a_flatten(self) -> None:
        kernel = RANDOM.standard_normal((24, 3)).astype(np.float32)
        flatten = Layer("flatten", "Flatten", {}, (0,), (1,))
        rows = np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1).ravel()
        made = dense(kernel[rows].T, kernel=kernel, feeders=[(flatten, (2, 2, 3, 4))])
        cause, message = found(made)
        assert cause == "flatten-order"
        assert "permute the activations before the flatten" in message
        shuffled = dense(kernel[RANDOM.permutation(24)].T, kernel=kernel, feeders=[(flatten, (2, 2, 3, 4))])
        cause, message = found(shuffled)
        assert (cause, "rows in p0 are reordered" in message) == ("flatten-order", True)
        as_convolution = kernel.T.reshape(3, 2, 3, 4).transpose(0, 3, 1, 2)
        made = dense(as_convolution, kernel=kernel, op="conv2d", feeders=[(flatten, (2, 2, 3, 4))])
        assert found(made) == ("", "kernel equal")

    def test_one_of_several_kernels_in_one_constant(self) -> None:
        both = np.concatenate([DENSE.T + 1, DENSE.T])
        assert found(dense(both)) == ("", "kernel equal, rows 6 to 11 of p0")
        assert found(dense(both.T, op="matmul", argument="other")) == ("", "kernel equal, columns 6 to 11 of p0")

    def test_einsum_dense(self) -> None:
        kernel = RANDOM.standard_normal((4, 2, 3)).astype(np.float32)
        right = subject("EinsumDense", {"kernel": kernel}, kernel.reshape(4, 6).T, wrong=True)
        assert found(right) == ("", "kernel equal")
        wrong = subject("EinsumDense", {"kernel": kernel}, kernel.transpose(2, 1, 0).reshape(6, 4), wrong=True)
        cause, message = found(wrong)
        assert (cause, "transposed by (2, 1, 0)" in message) == ("dense-transposed", True)


class TestOtherContent:
    def test_one_changed_element_fails_though_activations_agree(self) -> None:
        port = torch_layout(KERNEL).copy()
        port[1, 0, 2, 4] += 1
        cause, message = found(convolution(port, wrong=False))
        assert cause == "weights-differ"
        assert message.startswith("kernel: 1 of 120 elements of p0 differ, most at (1, 0, 2, 4): got ")

    def test_rounding_fails_though_activations_agree(self) -> None:
        half = torch_layout(KERNEL.astype(np.float16).astype(np.float32))
        assert found(convolution(half, wrong=False))[0] == "weights-rounded"
        bits = torch_layout(KERNEL).copy().view(np.uint32)
        brain = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
        cause, message = found(convolution(brain, wrong=False))
        assert (cause, "bfloat16" in message) == ("weights-rounded", True)

    @pytest.mark.parametrize(("value", "words"), [(0, "p0 is 0 everywhere"), (1, "p0 is 1 everywhere")])
    def test_a_constant_is_not_loaded(self, value: float, words: str) -> None:
        cause, message = found(convolution(np.full((4, 2, 3, 5), value, np.float32)))
        assert (cause, words in message) == ("weights-not-loaded", True)

    def test_random_values_are_not_loaded(self) -> None:
        port = RANDOM.uniform(-0.1, 0.1, (4, 2, 3, 5)).astype(np.float32)
        cause, message = found(convolution(port))
        assert (cause, "holds none of the model's weights" in message) == ("weights-not-loaded", True)
        assert found(convolution(port, wrong=False))[0] == ""

    def test_a_multiple_is_named(self) -> None:
        cause, message = found(convolution(np.asarray(torch_layout(KERNEL), np.float32) * np.float32(0.5)))
        assert (cause, message) == ("weights-differ", "kernel: p0 is about 0.5 times Keras's; load the file's weights")

    def test_the_weights_of_another_layer(self) -> None:
        other = RANDOM.standard_normal(KERNEL.shape).astype(np.float32)
        made = convolution(torch_layout(other))
        others = {**made.others, ("conv2d_2", "kernel"): other}
        cause, message = found(dataclasses.replace(made, others=others))
        assert (cause, "p0 holds conv2d_2's kernel" in message) == ("weights-of-other-layer", True)
        port = {**made.port, "second.weight": torch_layout(KERNEL)}
        cause, message = found(dataclasses.replace(made, others=others, port=port))
        assert (cause, "second.weight holds this one; exchange them" in message) == ("weights-swapped", True)

    def test_what_activations_do_not_prove_fails(self) -> None:
        """A scaled kernel: folded, for all the check knows, where the activations pass; wrong where they cannot say."""
        scaled = dense(DENSE.T * np.float32(0.97), wrong=False)
        assert found(scaled)[0] == ""
        assert found(dataclasses.replace(scaled, vouched=False))[0] == "weights-differ"
        reordered = dense(DENSE.T[:, ::-1], wrong=False)
        assert found(dataclasses.replace(reordered, vouched=False))[0] == "conv-kernel-layout"

    def test_zeros_that_agree_prove_nothing(self) -> None:
        sparse, other = np.zeros(8, np.float32), np.zeros(8, np.float32)
        sparse[0], other[1] = 1, 1
        assert found(subject("Dense", {"bias": sparse}, other))[0] == ""


class TestBias:
    BIAS = np.arange(6, dtype=np.float32)

    def with_bias(self, *constants: Array, bias: Array = BIAS) -> Subject:
        names = ("weight", "bias")[: len(constants)]
        return subject("Dense", {"kernel": DENSE, "bias": bias}, *constants, steps=[operation_with("linear", *names)])

    def test_nowhere_beside_keras_own_kernel(self) -> None:
        for constants in ((DENSE.T,), (DENSE.T, np.zeros(6, np.float32))):
            assert found(self.with_bias(*constants))[0] == "bias-missing"
        assert found(self.with_bias(DENSE.T, self.BIAS))[0] == ""

    def test_zeros_may_be_left_out(self) -> None:
        assert found(self.with_bias(DENSE.T, bias=np.zeros(6, np.float32)))[0] == ""

    def test_the_other_sign_is_another_way_to_write_it(self) -> None:
        assert found(self.with_bias(DENSE.T, -self.BIAS))[0] == ""


class TestNormalisation:
    def norm(self, *constants: Array, wrong: bool = True, own: dict[str, Array] | None = None) -> Subject:
        names = ("weight", "bias", "running_mean", "running_var")
        operation = operation_with("batch_norm", *names[: len(constants)])
        weights = FOUR if own is None else own
        return subject("BatchNormalization", weights, *constants, steps=[operation], wrong=wrong)

    def four(self, **changed: Array) -> list[Array]:
        return [changed.get(name, array) for name, array in FOUR.items()]

    def test_all_equal(self) -> None:
        words = "gamma equal; beta equal; moving_mean equal; moving_variance equal"
        assert found(self.norm(*self.four())) == ("", words)

    @pytest.mark.parametrize(
        ("changed", "cause", "words"),
        [
            ({"gamma": FOUR["beta"], "beta": FOUR["gamma"]}, "bn-slots-exchanged", "gamma: p0 holds Keras's beta"),
            ({"moving_mean": FOUR["moving_variance"]}, "bn-slots-exchanged", "p2 holds Keras's moving_variance"),
            (
                {"moving_variance": np.sqrt(FOUR["moving_variance"])},
                "bn-slots-exchanged",
                "p3 holds the square root of Keras's moving_variance (the standard deviation)",
            ),
            (
                {"moving_mean": np.zeros(4, np.float32), "moving_variance": np.ones(4, np.float32)},
                "bn-stats-not-loaded",
                "moving_mean: p2 is 0 everywhere, as before loading",
            ),
            ({"gamma": np.ones(4, np.float32)}, "weights-not-loaded", "gamma: p0 is 1 everywhere"),
        ],
    )
    def test_slots(self, changed: dict[str, Array], cause: str, words: str) -> None:
        got, message = found(self.norm(*self.four(**changed)))
        assert (got, words in message) == (cause, True)
        assert found(self.norm(*self.four(**changed), wrong=False))[0] == ""

    def test_a_slot_that_keras_does_not_have(self) -> None:
        own = {name: array for name, array in FOUR.items() if name != "gamma"}
        assert found(self.norm(np.ones(4, np.float32), *own.values(), own=own))[0] == ""
        cause, message = found(self.norm(own["beta"], *own.values(), own=own))
        assert (cause, "Keras has none, and p0 holds Keras's beta; fill it with 1" in message) == (
            "bn-scale-center",
            True,
        )

    def test_training_mode_is_no_matter_of_weights(self) -> None:
        made = self.norm(*self.four(moving_mean=np.zeros(4, np.float32)))
        operation = dataclasses.replace(made.steps[0], arguments={**made.steps[0].arguments, "training": True})
        assert found(dataclasses.replace(made, operation=operation, steps=[operation]))[0] == ""

    def test_written_by_hand(self) -> None:
        gamma, beta = FOUR["gamma"], FOUR["beta"]
        made = subject("LayerNormalization", {"gamma": gamma, "beta": beta}, gamma, beta, wrong=True)
        assert found(made) == ("", "gamma equal; beta equal")

    def test_normalization_layer(self) -> None:
        mean, variance = FOUR["moving_mean"], FOUR["moving_variance"]
        made = subject("Normalization", {"mean": mean, "variance": variance}, mean, np.sqrt(variance), wrong=True)
        assert found(made)[0] == ""

    def test_scale_of_rms_normalisation(self) -> None:
        gamma = FOUR["gamma"]
        right = subject("RMSNormalization", {"scale": gamma}, gamma, steps=[operation_with("rms_norm", "weight")])
        assert found(right) == ("", "scale equal")
        wrong = subject("RMSNormalization", {"scale": gamma}, np.ones(4), steps=right.steps, wrong=True)
        assert found(wrong)[0] == "weights-not-loaded"


class TestFolded:
    GAMMA = np.array([1.5, 2, 0.5, 1], np.float32)
    VARIANCE = np.array([0.5, 1, 2, 4], np.float32)

    def folded(self, port: Array) -> Subject:
        norm = Layer("bn", "BatchNormalization", {"epsilon": 1e-3}, (1,), (2,), ("gamma", "moving_variance"))
        made = subject("Conv2D", {"kernel": KERNEL}, port, steps=[operation_with("conv2d", "weight")])
        others = {**made.others, ("bn", "gamma"): self.GAMMA, ("bn", "moving_variance"): self.VARIANCE}
        return dataclasses.replace(made, folded=True, fold=(made.layer, norm), others=others)

    def test_the_product_is_recognised(self) -> None:
        factors = self.GAMMA / np.sqrt(self.VARIANCE + np.float32(1e-3))
        cause, message = found(self.folded(torch_layout(KERNEL * factors)))
        assert (cause, message) == ("", "the product with bn's is p0, to 8 float32 roundings")

    def test_an_element_that_is_not_the_product_differs(self) -> None:
        port = torch_layout(KERNEL * (self.GAMMA / np.sqrt(self.VARIANCE + np.float32(1e-3))))
        port[1, 0] *= np.float32(1.01)
        cause, message = found(self.folded(port))
        assert (cause, "not Keras's with bn" in message) == ("weights-differ", True)

    def test_anything_else_is_left_to_the_activations(self) -> None:
        cause, message = found(self.folded(torch_layout(KERNEL) * 2))
        assert (cause, "the activations are compared" in message) == ("", True)
        assert found(dataclasses.replace(self.folded(KERNEL), fold=()))[0] == ""
        assert "where the product is compared" in found(dataclasses.replace(self.folded(KERNEL), constants={}))[1]


class TestRecurrent:
    U, IN = 4, 3

    def weights(self, gates: int, biases: int = 1) -> dict[str, Array]:
        draw = np.random.default_rng(gates)
        shapes = {"kernel": (self.IN, gates * self.U), "recurrent_kernel": (self.U, gates * self.U)}
        found = {name: draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        bias = draw.standard_normal((biases, gates * self.U)).astype(np.float32)
        return {**found, "bias": bias[0] if biases == 1 else bias}

    def module(self, op: str, own: dict[str, Array], *arrays: Array, kind: str = "LSTM", wrong: bool = True) -> Subject:
        operation = step(op, params=[Constant(i) for i in range(len(arrays))], has_biases=True)
        return subject(kind, own, *arrays, steps=[operation], wrong=wrong)

    def reordered(self, own: dict[str, Array], order: tuple[int, ...]) -> list[Array]:
        def moved(array: Array) -> Array:
            return np.concatenate([np.split(array, len(order))[i] for i in order])

        two = own["bias"] if own["bias"].ndim == 2 else np.stack([own["bias"], 0 * np.asarray(own["bias"])])
        return [moved(own["kernel"].T), moved(own["recurrent_kernel"].T), moved(two[0]), moved(two[1])]

    def test_lstm(self) -> None:
        own = self.weights(4)
        assert found(self.module("lstm", own, *self.reordered(own, (0, 1, 2, 3))))[0] == ""
        cause, message = found(self.module("lstm", own, *self.reordered(own, (0, 3, 1, 2))))
        assert cause == "lstm-gate-order"
        assert "the gates in p0 stand as i, o, f, c, torch's as i, f, c, o" in message

    def test_the_bias_may_be_split(self) -> None:
        own = self.weights(4)
        arrays = self.reordered(own, (0, 1, 2, 3))
        half = np.asarray(arrays[2], np.float64) / 3
        assert found(self.module("lstm", own, *arrays[:2], half, np.asarray(arrays[2], np.float64) - half))[0] == ""

    def test_the_bias_twice_and_not_at_all(self) -> None:
        own = self.weights(4)
        arrays = self.reordered(own, (0, 1, 2, 3))
        assert found(self.module("lstm", own, *arrays[:3], arrays[2]))[0] == "lstm-bias-doubled"
        assert found(self.module("lstm", own, *arrays[:2], arrays[3], arrays[3]))[0] == "bias-missing"

    def test_a_kernel_that_is_not_transposed(self) -> None:
        own = self.weights(4)
        arrays = self.reordered(own, (0, 1, 2, 3))
        arrays[1] = np.concatenate([block.T for block in np.split(arrays[1], 4)])
        cause, message = found(self.module("lstm", own, *arrays))
        assert (cause, "p1 is not transposed within its gates" in message) == ("dense-transposed", True)

    def test_gru(self) -> None:
        own = self.weights(3, 2)
        right = self.reordered(own, (1, 0, 2))
        assert found(self.module("gru", own, *right, kind="GRU"))[0] == ""
        cause, message = found(self.module("gru", own, *self.reordered(own, (0, 1, 2)), kind="GRU"))
        assert (cause, "stand as z, r, h, torch's as r, z, h" in message) == ("gru-gate-order", True)
        cause, message = found(self.module("gru", own, *right[:2], right[3], right[2], kind="GRU"))
        assert (cause, "hold each other's" in message) == ("weights-swapped", True)
        total = np.asarray(right[2]) + np.asarray(right[3])
        cause, message = found(self.module("gru", own, *right[:2], total, 0 * total, kind="GRU"))
        assert (cause, "multiplies the second's last gate by r" in message) == ("weights-differ", True)

    def test_bidirectional(self) -> None:
        there, back = self.weights(4), {k: v[..., ::-1].copy() for k, v in self.weights(4).items()}
        both = {**{f"f/{k}": v for k, v in there.items()}, **{f"b/{k}": v for k, v in back.items()}}
        forward, backward = (self.reordered(own, (0, 1, 2, 3)) for own in (there, back))
        assert found(self.module("lstm", both, *forward, *backward, kind="Bidirectional"))[0] == ""
        cause, message = found(self.module("lstm", both, *backward, *forward, kind="Bidirectional"))
        assert (cause, "exchange forward and backward" in message) == ("bidirectional-order", True)

    def test_a_cell_of_ones_own_may_order_gates_as_it_likes(self) -> None:
        own = self.weights(4)
        blocks = np.split(own["kernel"], 4, 1)
        pieces = [*blocks, own["recurrent_kernel"], own["bias"]]
        assert found(subject("LSTM", own, *pieces, wrong=True))[0] == ""
        odd = np.concatenate([blocks[i] for i in (0, 1, 3, 2)], 1)
        made = subject("LSTM", own, odd, own["recurrent_kernel"], own["bias"], wrong=True)
        assert found(made)[0] == "lstm-gate-order"
        assert found(dataclasses.replace(made, verdict=subject("LSTM").verdict))[0] == ""

    def test_one_of_a_grus_biases_is_missing(self) -> None:
        own = self.weights(3, 2)
        made = subject("GRU", own, own["kernel"], own["recurrent_kernel"], own["bias"][0], wrong=True)
        cause, message = found(made)
        assert (cause, message.startswith("bias[1]: no constant")) == ("bias-missing", True)

    def test_gates_of_a_convolutional_lstm(self) -> None:
        kernel = RANDOM.standard_normal((3, 3, 2, 16)).astype(np.float32)
        for order, cause in (((0, 1, 2, 3), ""), ((0, 1, 3, 2), "lstm-gate-order")):
            port = np.concatenate([np.split(torch_layout(kernel), 4)[i] for i in order])
            made = subject(
                "ConvLSTM2D", {"kernel": kernel}, port, steps=[operation_with("conv2d", "weight")], wrong=True
            )
            assert found(made)[0] == cause


class TestAttention:
    def packed(self, *kernels: Array, where: str = "mha.in_proj_weight") -> Subject:
        made = subject(
            "MultiHeadAttention",
            KERNELS,
            np.concatenate(kernels),
            steps=[operation_with("linear", "weight")],
            wrong=True,
        )
        constants = {0: dataclasses.replace(made.constants[0], origins=(where,))}
        return dataclasses.replace(made, constants=constants, parameters=frozenset({where}))

    def rows(self, name: str) -> Array:
        return KERNELS[f"{name}/kernel"].reshape(8, 8).T

    def test_packed(self) -> None:
        q, k, v = map(self.rows, ("query", "key", "value"))
        assert found(self.packed(q, k, v))[0] == ""
        cause, message = found(self.packed(k, q, v))
        assert (cause, "where torch has the key; exchange query and key" in message) == ("weights-swapped", True)
        assert found(self.packed(k, q, v, where="qkv.weight"))[0] == ""

    def test_layouts(self) -> None:
        q, k, v = map(self.rows, ("query", "key", "value"))
        cause, message = found(self.packed(q.T, k, v))
        assert (cause, "not transposed" in message) == ("mha-layout", True)
        heads_last = KERNELS["query/kernel"].swapaxes(1, 2).reshape(8, 8).T
        cause, message = found(self.packed(heads_last, k, v))
        assert (cause, "heads and their elements exchanged" in message) == ("mha-layout", True)

    def test_not_loaded(self) -> None:
        draw = np.random.default_rng(9).uniform(-0.3, 0.3, (3, 8, 8)).astype(np.float32)
        assert found(self.packed(*draw))[0] == "weights-not-loaded"


class TestTables:
    TABLE = RANDOM.standard_normal((10, 3)).astype(np.float32)

    def table(self, port: Array) -> tuple[str, str]:
        return found(subject("Embedding", {"embeddings": self.TABLE}, port))

    def test_equal_and_part_of_a_longer_one(self) -> None:
        assert self.table(self.TABLE) == ("", "embeddings equal")
        longer = np.concatenate([np.zeros((2, 3), np.float32), self.TABLE])
        assert self.table(longer) == ("", "embeddings equal, rows 2 to 11 of p0")

    @pytest.mark.parametrize(
        ("rows", "words"),
        [(np.roll(np.arange(10), 1), "shifted by 1"), ([0, 2, 1, *range(3, 10)], "at other places: [1, 2]")],
    )
    def test_rows_at_other_places_fail_whatever_was_looked_up(self, rows: list[int], words: str) -> None:
        cause, message = self.table(self.TABLE[rows])
        assert (cause, words in message) == ("embedding-row", True)

    def test_a_row_of_zeros(self) -> None:
        port = self.TABLE.copy()
        port[0] = 0
        cause, message = self.table(port)
        assert (cause, "1 of 10 rows of p0 differ" in message) == ("embedding-row", True)

    def test_one_that_is_folded_with_a_dense_layer_is_compared_row_by_row(self) -> None:
        matrix, shift = RANDOM.standard_normal((3, 4)), RANDOM.standard_normal(4)
        port = (self.TABLE @ matrix + shift).astype(np.float32)
        assert self.table(port) == ("", "embeddings equal but for one matrix and a shift: p0 has a Dense in it")
        port[7] *= 1.01
        cause, message = self.table(port)
        assert (cause, "but for 1 of 10 (first 7)" in message) == ("embedding-row", True)
        assert "no constant of the port holds this table" in self.table(RANDOM.standard_normal((10, 4)))[1]


def test_slopes_with_the_channels_first() -> None:
    slopes = RANDOM.standard_normal((2, 3, 4)).astype(np.float32)
    assert found(subject("PReLU", {"alpha": slopes}, np.moveaxis(slopes, -1, 0), wrong=True))[0] == ""
    assert found(subject("PReLU", {"alpha": slopes}, slopes.transpose(2, 1, 0), wrong=True))[0] == "activation-slope"
