"""Layouts through a convolutional toy: channels first, NHWC inside, flatten in both orders."""

from __future__ import annotations

import numpy as np

from pytest_kerasdiff.align.alignment import align
from pytest_kerasdiff.align.axes import Axes
from pytest_kerasdiff.align.keras_axes import keras_axes
from pytest_kerasdiff.align.layouts import Layouts
from pytest_kerasdiff.judge import Judge
from pytest_kerasdiff.manifest import Manifest
from pytest_kerasdiff.trace import Array, ReferenceTrace, Value
from tests.toys import ToyCandidate, ToyReference

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.standard_normal((2, 4, 4, 4))  # every axis of a sample has the same size: sizes can decide nothing
KERNEL = RANDOM.standard_normal((1, 1, 4, 4)).astype(np.float32)
DENSE = RANDOM.standard_normal((64, 3)).astype(np.float32)
BIAS = np.zeros(3, np.float32)


def reference() -> ReferenceTrace:
    """1×1 convolution, flatten, dense."""
    toy = ToyReference(x=IMAGES)
    conv = toy.layer("conv", "Conv2D", 0, out=IMAGES @ KERNEL[0, 0].astype(float), config={"kernel_size": [1, 1]},
                     kernel=KERNEL)  # fmt: skip
    flat = toy.layer("flat", "Flatten", conv, out=toy.values[conv].reshape(2, -1))
    return toy.trace(toy.dense("dense", flat, DENSE, BIAS))


def conv1x1(x: Array, w: Array) -> Array:
    return np.asarray(np.einsum("nchw,oc->nohw", np.asarray(x, float), np.asarray(w, float)[:, :, 0, 0]))


def port(*, permute: bool, dense: Array = DENSE, nhwc: bool = False) -> ToyCandidate:
    toy = ToyCandidate(IMAGES if nhwc else IMAGES.transpose(0, 3, 1, 2))
    value = Value(0)
    if nhwc:
        value = toy.op("permute", "permute", lambda x: x.transpose(0, 3, 1, 2), value)
    value = toy.op("conv", "conv2d", conv1x1, value, toy.parameter("conv.weight", KERNEL.transpose(3, 2, 0, 1)))
    if permute:
        value = toy.op("permute@1", "permute", lambda x: x.transpose(0, 2, 3, 1), value)
    value = toy.op("flatten", "flatten", lambda x: x.reshape(2, -1), value)
    return toy.returns(toy.linear("fc", value, dense, BIAS))


def faults(candidate: ToyCandidate, order: tuple[int, ...] = (0, 3, 1, 2)) -> list[str]:
    trace = reference()
    axes = keras_axes(trace)[0]
    inputs: dict[int, Axes] = {0: tuple(axes[i] for i in order)}
    alignment = align(trace, candidate.trace, Manifest())
    verdicts = Judge(trace, candidate, alignment, inputs, Manifest(), 1e-5, "float64", {}).run()
    return [layer.name for layer, verdict in zip(trace.layers, verdicts, strict=True) if verdict.status != "pass"]


def test_a_permute_before_the_flatten_is_right() -> None:
    assert faults(port(permute=True)) == []


def test_a_flatten_of_channels_first_is_the_dense_layers_fault() -> None:
    assert faults(port(permute=False)) == ["dense"]


def test_a_dense_kernel_reordered_for_channels_first_is_right() -> None:
    reordered = DENSE.reshape(4, 4, 4, 3).transpose(2, 0, 1, 3).reshape(64, 3)
    assert faults(port(permute=False, dense=reordered)) == []


def test_a_port_that_takes_nhwc_and_permutes_inside_is_right() -> None:
    assert faults(port(permute=True, nhwc=True), order=(0, 1, 2, 3)) == []


def test_an_input_given_in_the_wrong_layout_is_seen_where_the_kernel_reads_it() -> None:
    trace, candidate = reference(), port(permute=True)
    alignment = align(trace, candidate.trace, Manifest())
    axes = keras_axes(trace)[0]
    right = Layouts(trace, candidate, {0: (axes[0], axes[3], axes[1], axes[2])}, alignment.pairs)
    wrong = Layouts(trace, candidate, {0: axes}, alignment.pairs)
    assert len(right.contradicted) < len(wrong.contradicted)
