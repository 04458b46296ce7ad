"""The check of hyper-parameters: functions as curves, and what both sides state in numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pytest_kerasdiff.checks import hyper
from pytest_kerasdiff.checks.geometry import same
from pytest_kerasdiff.checks.subject import Outcome, Subject
from pytest_kerasdiff.trace import CURVE_AT, Array, Constant, Layer, Operation, Value
from tests.subjects import AT_FAULT, step, subject

KERNEL = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
SAID = "written in another way, the activations agree"


def found(made: Subject) -> tuple[str, str]:
    cause, message, _ = hyper.check(made)
    return cause, message


def judged(made: Subject) -> tuple[Outcome, Outcome]:
    """What is found where the layer is at fault, and where its activations are right."""
    return hyper.check(dataclasses.replace(made, verdict=AT_FAULT)), hyper.check(made)


def fails(made: Subject, cause: str, *words: str) -> None:
    """Where the layer is at fault the check fails for this cause; where it is right, it says both numbers."""
    wrong, right = judged(made)
    assert wrong.cause == cause, wrong.message
    assert all(word in wrong.message for word in words), wrong.message
    assert right.cause == ""
    assert SAID in right.message


def passes(made: Subject, *words: str) -> None:
    for outcome in judged(made):
        assert outcome.cause == "", outcome.message
        assert SAID not in outcome.message
        assert all(word in outcome.message for word in words), outcome.message


class TestFunctions:
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
    def test_curves(self, port: Callable[[Array], Array], keras: Callable[[Array], Array], expected: str) -> None:
        """They fail though the activations agree, which may not reach where the functions differ."""
        steps = [step("tanh")]
        made = subject(
            "Activation", config={"activation": "tanh"}, steps=steps, curves=(port(CURVE_AT), keras(CURVE_AT))
        )
        cause, message = found(made)
        assert cause == ("activation-kind" if expected else "")
        assert (expected or "activation equal") in message

    def test_float32_is_compared_where_exp_is_finite(self) -> None:
        values = CURVE_AT.astype(np.float32)
        with np.errstate(over="ignore"):
            softplus = np.log(1 + np.exp(values)), np.logaddexp(values, np.float32(0))
        assert found(subject("Dense", steps=[step("softplus")], curves=softplus))[0] == ""

    @pytest.mark.parametrize(
        ("kind", "config", "operation", "cause", "words"),
        [
            (
                "LeakyReLU",
                {"negative_slope": 0.3},
                step("leaky_relu", negative_slope=0.01),
                "activation-slope",
                "Keras leaky_relu(negative_slope=0.3), port leaky_relu(negative_slope=0.01)",
            ),
            (
                "LeakyReLU",
                {"alpha": 0.3},
                step("leaky_relu"),
                "activation-slope",
                "port leaky_relu(negative_slope=0.01)",
            ),
            (
                "ELU",
                {"alpha": 0.5},
                step("elu", alpha=1),
                "activation-slope",
                "Keras elu(alpha=0.5), port elu(alpha=1)",
            ),
            ("ReLU", {"max_value": 6.0}, step("relu"), "activation-slope", "Keras relu(max_value=6), port relu"),
            ("ReLU", {}, step("relu6"), "activation-kind", "Keras relu, port relu6"),
            ("Dense", {"activation": "gelu"}, step("silu"), "activation-kind", "Keras gelu, port silu"),
            (
                "Dense",
                {"activation": {"class_name": "LeakyReLU", "config": {"negative_slope": 0.1}}},
                step("leaky_relu", negative_slope=0.2),
                "activation-slope",
                "Keras leaky_relu(negative_slope=0.1), port leaky_relu(negative_slope=0.2)",
            ),
        ],
    )
    def test_both_are_named(
        self, kind: str, config: dict[str, Any], operation: Operation, cause: str, words: str
    ) -> None:
        made = subject(kind, config=config, steps=[operation], curves=(CURVE_AT, 2 * CURVE_AT))
        got, message = found(made)
        assert (got, words in message) == (cause, True), message
        assert "[port.py:7]" in message

    def test_nothing_to_compare(self) -> None:
        words = "nothing that both sides state; the activations are compared"
        assert found(subject("Activation", config={"activation": "tanh"})) == ("", words)


# -- windows -----------------------------------------------------------------------------------------------------------


def places(size: int, window: int, stride: int, pads: tuple[int, int], dilation: int = 1) -> int:
    return (size + sum(pads) - (window - 1) * dilation - 1) // stride + 1


def conv1d(
    size: int, window: int, stride: int, dilation: int, pads: tuple[int, int], own: int = 0, **config: Any
) -> Subject:
    """A Conv1D, and a port that pads by ``pads`` before a convolution that itself pads by ``own``."""
    stated = {"kernel_size": [window], "strides": [stride], "dilation_rate": [dilation], "padding": "same", **config}
    border = {"same": same(size, window, stride, dilation), "causal": ((window - 1) * dilation, 0)}
    keras = places(size, window, stride, border.get(stated["padding"], (0, 0)), dilation)
    kernel = np.zeros((4, 3, window), np.float32)
    pad = [step("constant_pad_nd", (0,), 1, 3, pad=list(pads), value=0)] if pads != (0, 0) else []
    conv = step(
        "conv1d", (len(pad),), 2, weight=Constant(0), stride=[stride], padding=[own], dilation=[dilation], groups=1
    )
    total = (pads[0] + own, pads[1] + own)
    shapes = {0: (2, 3, size), 1: (2, 3, size + sum(pads)), 2: (2, 4, places(size, window, stride, total, dilation))}
    return subject(
        "Conv1D", {}, kernel, config=stated, steps=[*pad, conv], taken=[(2, size, 3)], given=(2, keras, 4),
        shapes=shapes, sources=[0],
    )  # fmt: skip


GEOMETRY = st.tuples(st.integers(6, 13), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2))
PADS = st.tuples(st.integers(0, 4), st.integers(0, 4))


@given(GEOMETRY)
@settings(deadline=None)
def test_what_same_pads_passes(geometry: tuple[int, int, int, int]) -> None:
    size, window, stride, dilation = geometry
    passes(conv1d(*geometry, same(size, window, stride, dilation)))


@given(GEOMETRY, PADS)
@settings(deadline=None, max_examples=200)
def test_any_other_padding_fails_as_torch_shows(geometry: tuple[int, int, int, int], pads: tuple[int, int]) -> None:
    size, window, stride, dilation = geometry
    assume(size + sum(pads) >= (window - 1) * dilation + 1)
    x, kernel = torch.randn(1, 1, size, dtype=torch.float64), torch.randn(1, 1, window, dtype=torch.float64)
    right, port = (
        F.conv1d(F.pad(x, p), kernel, stride=stride, dilation=dilation)
        for p in (same(size, window, stride, dilation), pads)
    )
    equal = right.shape == port.shape and torch.allclose(right, port)
    made = conv1d(*geometry, pads)
    if equal:
        passes(made)
    else:
        fails(made, "same-padding", f"Keras {same(size, window, stride, dilation)} on L, port {pads} on L")


class TestConvolution:
    def test_the_symmetric_padding_of_a_strided_convolution(self) -> None:
        fails(
            conv1d(8, 3, 2, 1, (0, 0), own=1),
            "same-padding",
            "padding 'same': Keras (0, 1) on L, port (1, 1) on L [port.py:7]",
            "pad (0, 1) on L with F.pad(x, (0, 1)) before, and set padding=0",
        )
        passes(conv1d(9, 3, 2, 1, (0, 0), own=1), "padding 'same': Keras (1, 1) on L")

    def test_causal(self) -> None:
        passes(conv1d(8, 3, 1, 2, (4, 0), padding="causal"))
        fails(conv1d(8, 3, 1, 2, (2, 2), padding="causal"), "causal-padding", "Keras (4, 0) on L, port (2, 2) on L")

    def test_torchs_own_same(self) -> None:
        made = conv1d(8, 4, 1, 1, (0, 0))
        conv = dataclasses.replace(made.steps[0], arguments={**made.steps[0].arguments, "padding": "same"})
        shapes = {**made.shapes, 2: (2, 4, 8)}
        passes(dataclasses.replace(made, steps=[conv], shapes=shapes), "(1, 2) on L")

    @pytest.mark.parametrize(
        ("changed", "cause", "words"),
        [
            ({"stride": [1]}, "stride", "stride: Keras (2,), port (1,) [port.py:7]; set stride=(2,)"),
            ({"dilation": [3]}, "dilation", "dilation: Keras (1,), port (3,) [port.py:7]; set dilation=(1,)"),
            ({"groups": 3}, "groups", "groups: Keras 1, port 3 [port.py:7]; set groups=1"),
        ],
    )
    def test_numbers(self, changed: dict[str, Any], cause: str, words: str) -> None:
        made = conv1d(9, 3, 2, 1, (1, 1))
        conv = dataclasses.replace(made.steps[-1], arguments={**made.steps[-1].arguments, **changed})
        fails(dataclasses.replace(made, steps=[*made.steps[:-1], conv]), cause, words)

    def test_what_makes_no_difference_is_none(self) -> None:
        """The dilation of a kernel of one element, the stride of one place."""
        made = conv1d(9, 1, 1, 1, (0, 0))
        conv = dataclasses.replace(made.steps[-1], arguments={**made.steps[-1].arguments, "dilation": [3]})
        passes(dataclasses.replace(made, steps=[conv]))

    def test_a_reflected_border(self) -> None:
        made = conv1d(9, 3, 2, 1, (1, 1))
        pad = step("pad", (0,), 1, 3, pad=[1, 1], mode="reflect")
        fails(
            dataclasses.replace(made, steps=[pad, made.steps[-1]]),
            "padding-mode",
            "Keras zeros, port reflect [port.py:3]",
        )

    def test_a_slice_takes_other_pixels(self) -> None:
        made = conv1d(9, 1, 2, 1, (0, 0), padding="valid")
        cut = step("slice", (0,), 1, 5, dim=2, start=1, end=9223372036854775807, step=1)
        conv = dataclasses.replace(made.steps[-1], inputs=(1,))
        shapes = {0: (2, 3, 9), 1: (2, 3, 8), 2: (2, 4, 4)}
        wrong = dataclasses.replace(made, steps=[cut, conv], shapes=shapes)
        fails(wrong, "stride", "Keras (0, 0) on L, port (-1, 0) on L [port.py:5]; cut nothing off before")

    def test_a_padding_layer_that_the_convolution_does(self) -> None:
        zeros = Layer("pad", "ZeroPadding1D", {"padding": [2, 2]}, (0,), (1,))
        made = conv1d(9, 3, 1, 1, (0, 0), own=2, padding="valid")
        made = dataclasses.replace(made, taken=[(2, 13, 3)], given=(2, 11, 4), absorbed=[zeros])
        passes(made, "Keras (2, 2) on L")
        less = conv1d(9, 3, 1, 1, (0, 0), own=1, padding="valid")
        less = dataclasses.replace(less, taken=made.taken, given=made.given, absorbed=[zeros])
        fails(less, "zero-padding-layer", "Keras (2, 2) on L, port (1, 1) on L")

    def test_a_port_over_other_axes_is_left_to_the_activations(self) -> None:
        made = dataclasses.replace(conv1d(8, 3, 2, 1, (0, 0), own=1), taken=[(2, 8, 1, 3)], given=(2, 4, 1, 4))
        assert found(dataclasses.replace(made, verdict=AT_FAULT))[0] == ""

    def test_inside_time_distributed(self) -> None:
        made = conv1d(8, 3, 2, 1, (0, 0), own=1)
        config = {"layer": {"class_name": "Conv1D", "config": made.layer.config}}
        layer = dataclasses.replace(made.layer, class_name="TimeDistributed", config=config)
        fails(dataclasses.replace(made, layer=layer, taken=[(2, 5, 8, 3)], given=(2, 5, 4, 4)), "same-padding")


def pool1d(op: str, kind: str, size: int = 8, steps: Sequence[Operation] = (), **arguments: Any) -> Subject:
    """A pooling of 3 at stride 2, 'same': Keras pads eight steps by (0, 1)."""
    config = {"pool_size": [3], "strides": [2], "padding": "same"}
    stated: dict[str, Any] = {"kernel_size": [3], "stride": [2], "padding": [0], "ceil_mode": False, **arguments}
    pads = sum(sum(s.arguments["pad"]) for s in steps)
    pool = step(op, (len(steps),), 9, **stated)
    given = places(size + pads, stated["kernel_size"][0], stated["stride"][0], (stated["padding"][0],) * 2)
    shapes = {0: (2, 3, size), 1: (2, 3, size + pads), 9: (2, 3, given + bool(stated["ceil_mode"]))}
    return subject(
        kind, config=config, steps=[*steps, pool], taken=[(2, size, 3)], given=(2, -(-size // 2), 3), shapes=shapes,
        sources=[0],
    )  # fmt: skip


def pad(*pads: int, value: float = 0.0) -> Operation:
    return step("constant_pad_nd", (0,), 1, 3, pad=list(pads), value=value)


class TestPooling:
    def test_right(self) -> None:
        passes(pool1d("max_pool1d", "MaxPooling1D", steps=[pad(0, 1, value=-np.inf)]))
        passes(pool1d("avg_pool1d", "AveragePooling1D", 9, padding=[1], count_include_pad=False))

    @pytest.mark.parametrize(
        ("made", "cause", "words"),
        [
            (
                pool1d("avg_pool1d", "MaxPooling1D", steps=[pad(0, 1, value=-np.inf)]),
                "pool-kind",
                "Keras max, port avg",
            ),
            (
                pool1d("max_pool1d", "MaxPooling1D", kernel_size=[2]),
                "pool-size",
                "window: Keras (3,), port (2,) [port.py:7]; set kernel_size=(3,)",
            ),
            (pool1d("max_pool1d", "MaxPooling1D", stride=[3], padding=[1]), "stride", "stride: Keras (2,), port (3,)"),
            (
                pool1d("max_pool1d", "MaxPooling1D", padding=[1]),
                "pool-padding",
                "padding 'same': Keras (0, 1) on L, port (1, 1) on L",
            ),
            (pool1d("max_pool1d", "MaxPooling1D"), "pool-padding", "places: Keras (4,), port (3,)"),
            (
                pool1d("avg_pool1d", "AveragePooling1D", 9, padding=[1], count_include_pad=True),
                "pool-padding",
                "mean: Keras leaves out the padding, the port counts it [port.py:7]",
            ),
        ],
    )
    def test_wrong(self, made: Subject, cause: str, words: str) -> None:
        fails(made, cause, words)

    def test_zeros_beyond_the_border_of_a_maximum(self) -> None:
        """They fail though the activations agree, unless nothing that is taken is negative."""
        zeros = pool1d("max_pool1d", "MaxPooling1D", steps=[pad(0, 1)])
        cause, message = found(dataclasses.replace(zeros, least=-1.0))
        assert cause == "pool-padding"
        assert "maximum: Keras pads with -inf, the port with 0 [port.py:3]" in message
        assert found(dataclasses.replace(zeros, least=0.0))[0] == ""
        unread = pool1d("max_pool1d", "MaxPooling1D", 9, steps=[pad(0, 1)])
        assert found(dataclasses.replace(unread, least=-1.0))[0] == ""
        shifted = dataclasses.replace(zeros, sources=[5], least=-1.0)
        assert found(shifted)[0] == ""

    def test_global(self) -> None:
        made = subject("GlobalAveragePooling1D", steps=[step("mean")], taken=[(2, 8, 3)], given=(2, 3))
        passes(made)
        fails(dataclasses.replace(made, steps=[step("amax")]), "pool-kind", "Keras avg, port max")


class TestSizes:
    def zeros(self, *steps: Operation, kind: str = "ZeroPadding2D", **config: Any) -> Subject:
        shapes = {0: (1, 3, 4, 5), **{s.outputs[0]: (1, 3, 4, 5) for s in steps}}
        return subject(
            kind, config=config, steps=steps, taken=[(1, 4, 5, 3)], given=(1, 7, 8, 3), shapes=shapes, sources=[0]
        )

    def test_zero_padding(self) -> None:
        config: dict[str, Any] = {"padding": [[2, 1], [0, 3]]}
        passes(self.zeros(pad(0, 3, 2, 1), **config), "(2, 1) on H and (0, 3) on W")
        fails(
            self.zeros(pad(3, 0, 1, 2), **config), "zero-padding-layer",
            "Keras (2, 1) on H and (0, 3) on W, port (1, 2) on H and (3, 0) on W", "use F.pad(x, (0, 3, 2, 1))",
        )  # fmt: skip
        fails(self.zeros(pad(0, 3, 2, 1, value=1), **config), "zero-padding-layer", "Keras zeros, port 1")
        reflected = step("pad", (0,), 1, pad=[0, 3, 2, 1], mode="reflect")
        fails(self.zeros(reflected, **config), "padding-mode", "Keras zeros, port reflect")

    def test_cropping(self) -> None:
        rows = step("slice", (0,), 1, dim=2, start=1, end=3)
        columns = step("slice", (1,), 2, dim=3, start=0, end=4)
        config: dict[str, Any] = {"cropping": [[1, 1], [0, 1]]}
        passes(self.zeros(rows, columns, kind="Cropping2D", **config))
        wrong = step("slice", (1,), 2, dim=3, start=1, end=5)
        fails(
            self.zeros(rows, wrong, kind="Cropping2D", **config), "cropping", "Keras (1, 1) on H and (0, 1) on W, port"
        )

    def transposed(self, window: int, out: int, *after: Operation, **arguments: Any) -> Subject:
        """Five steps at stride 2, 'same'."""
        kernel = np.zeros((3, 4, window), np.float32)
        stated = {
            "weight": Constant(0),
            "stride": [2],
            "padding": [0],
            "output_padding": [0],
            "dilation": [1],
            **arguments,
        }
        conv = step("conv_transpose1d", (0,), 1, **stated)
        return subject(
            "Conv1DTranspose", {}, kernel, config={"kernel_size": [window], "strides": [2], "padding": "same"},
            steps=[conv, *after], taken=[(1, 5, 3)], given=(1, out, 4), shapes={0: (1, 3, 5), 1: (1, 4, 11)},
        )  # fmt: skip

    def test_transposed_convolution(self) -> None:
        cut = step("slice", (1,), 2, dim=2, start=0, end=10)
        passes(self.transposed(3, 10, cut), "Keras (0, 1) on L, port (0, 1) on L")
        usual = self.transposed(3, 10, padding=[1], output_padding=[1])
        fails(usual, "transposed-conv", "Keras (0, 1) on L, port (1, 0) on L", "then cut off (0, 1) on L")
        passes(self.transposed(4, 10, padding=[1]), "Keras (1, 1) on L")
        fails(self.transposed(3, 10, stride=[1]), "stride")

    @pytest.mark.parametrize(
        ("op", "keras", "arguments", "words"),
        [
            ("upsample_bilinear2d", "nearest", {}, "interpolation: Keras nearest, port bilinear"),
            ("upsample_nearest2d", "bilinear", {}, "interpolation: Keras bilinear, port nearest"),
            ("upsample_bilinear2d", "bilinear", {"align_corners": True}, "align_corners: Keras no, port yes"),
        ],
    )
    def test_interpolation(self, op: str, keras: str, arguments: dict[str, Any], words: str) -> None:
        shapes = {0: (1, 3, 4, 5), 1: (1, 3, 8, 15)}
        config = {"interpolation": keras, "size": [2, 3]}
        made = subject("UpSampling2D", config=config, taken=[(1, 4, 5, 3)], given=(1, 8, 15, 3), shapes=shapes)
        fails(dataclasses.replace(made, steps=[step(op, **arguments)]), "upsampling", words)
        right = step(f"upsample_{keras}2d", align_corners=False)
        passes(dataclasses.replace(made, steps=[right]), "size: Keras (2, 3), port (2, 3)")
        turned = dataclasses.replace(made, steps=[right], shapes={**shapes, 1: (1, 3, 12, 10)})
        fails(turned, "upsampling", "size: Keras (2, 3), port (3, 2)")

    def test_resizing(self) -> None:
        made = subject("Resizing", config={"interpolation": "nearest"}, taken=[(1, 4, 5, 3)], given=(1, 8, 15, 3))
        passes(dataclasses.replace(made, steps=[step("_upsample_nearest_exact2d")]))
        fails(dataclasses.replace(made, steps=[step("upsample_nearest2d")]), "upsampling", "use nearest-exact")


class TestSettings:
    def softmax(self, *steps: Operation, shape: tuple[int, ...] = (2, 6)) -> Subject:
        config = {"activation": "softmax"}
        return subject("Dense", config=config, steps=steps, given=(2, 6), shapes={0: shape, 1: shape})

    def test_softmax(self) -> None:
        passes(self.softmax(step("softmax", dim=1)))
        passes(self.softmax(step("softmax", dim=-1)))
        fails(self.softmax(step("softmax", dim=0)), "softmax", "Keras axis -1 of 6 elements, port dim 0 of 2")
        fails(self.softmax(step("log_softmax", dim=1)), "softmax", "Keras softmax, port log_softmax")
        fails(self.softmax(step("sigmoid")), "softmax", "Keras softmax, port sigmoid")
        fails(self.softmax(step("linear")), "softmax", "port none")
        fails(
            self.softmax(step("softmax", dim=1), step("softmax", (1,), 2, dim=1)),
            "softmax",
            "Keras one softmax, port 2",
        )
        passes(self.softmax(step("exp"), step("sum", (1,), 2)))

    def test_concatenation(self) -> None:
        shapes = {0: (2, 3), 1: (2, 5)}
        made = subject("Concatenate", config={"axis": -1}, taken=[(2, 3), (2, 5)], shapes=shapes, sources=[0, 1])

        def joined(*order: int, dim: int = 1) -> Operation:
            return step("cat", order, 2, tensors=[Value(n) for n in order], dim=dim)

        passes(dataclasses.replace(made, steps=[joined(0, 1)]))
        fails(dataclasses.replace(made, steps=[joined(1, 0)]), "concat-order", "order: Keras [0, 1], port [1, 0]")

    @pytest.mark.parametrize(
        ("kind", "config", "op", "cause", "words"),
        [
            ("LSTM", {"recurrent_activation": "hard_sigmoid"}, "lstm", "recurrent-activation", "Keras hard_sigmoid"),
            ("LSTM", {"activation": "relu"}, "lstm", "activation-kind", "activation: Keras relu, port tanh"),
            ("GRU", {"reset_after": False}, "gru", "gru-reset-after", "reset_after: Keras False, port True"),
            ("SimpleRNN", {"activation": "tanh"}, "rnn_relu", "activation-kind", "use nonlinearity='tanh'"),
            ("LSTM", {"go_backwards": True}, "lstm", "rnn-direction", "Keras True, port does not flip"),
            (
                "Bidirectional",
                {"layer": {"class_name": "GRU", "config": {"reset_after": False}}},
                "gru",
                "gru-reset-after",
                "write a cell",
            ),
        ],
    )
    def test_what_torchs_modules_do_otherwise(
        self, kind: str, config: dict[str, Any], op: str, cause: str, words: str
    ) -> None:
        fails(subject(kind, config=config, steps=[step(op)]), cause, words)

    @pytest.mark.parametrize(("kind", "op"), [("LSTM", "lstm"), ("GRU", "gru_cell"), ("SimpleRNN", "rnn_tanh")])
    def test_what_they_do_alike(self, kind: str, op: str) -> None:
        passes(subject(kind, steps=[step(op)]))

    def test_gates_written_by_hand(self) -> None:
        made = subject("LSTM", config={"recurrent_activation": "hard_sigmoid"}, steps=[step("sigmoid")])
        fails(made, "recurrent-activation", "Keras hard_sigmoid, port sigmoid")
        passes(dataclasses.replace(made, steps=[step("hardsigmoid")]))

    def test_the_order_of_a_flatten(self) -> None:
        flatten = Layer("flatten", "Flatten", {}, (0,), (1,))
        made = subject("Dense", steps=[step("linear")], feeders=[(flatten, (2, 4, 5, 3))], shapes={0: (2, 3, 4, 5)})
        made = dataclasses.replace(made, leads=[step("flatten")])
        fails(made, "flatten-order", "Keras (4, 5, 3), port (3, 4, 5)", "use x.permute(0, 2, 3, 1) before the flatten")
        passes(dataclasses.replace(made, shapes={0: (2, 4, 5, 3)}))
