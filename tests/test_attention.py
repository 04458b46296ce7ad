"""Keras's attention as equations, and what a port does otherwise, found by them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pytest_kerasdiff.checks import registry as checks
from pytest_kerasdiff.diagnosis import attention
from pytest_kerasdiff.diagnosis.case import Case, Suspicion
from pytest_kerasdiff.equations.activations import softmax
from pytest_kerasdiff.equations.attention import Attention, Floats, Masks, Projection
from pytest_kerasdiff.trace import Value
from tests.test_judge import judge
from tests.toys import ToyCandidate, ToyReference

DRAW = np.random.default_rng(3)
QUERY, VALUE, KEY = (DRAW.standard_normal(shape) for shape in ((3, 4, 5), (3, 6, 5), (3, 6, 5)))
REAL = np.arange(6) < np.array([[4], [6], [1]])
PLAIN = Attention(None, None, None, None, queries_mask="zeros", fill="added")


def weights(q: Floats, k: Floats, scale: float = 1.0) -> Floats:
    return softmax(scale * q @ k.swapaxes(-1, -2))


# -- equations ---------------------------------------------------------------------------------------------------------


def test_products_of_two_tensors_and_of_three() -> None:
    result, scores = PLAIN(QUERY, VALUE)
    np.testing.assert_allclose(result, weights(QUERY, VALUE) @ VALUE)
    np.testing.assert_allclose(scores, weights(QUERY, VALUE))
    np.testing.assert_allclose(PLAIN(QUERY, VALUE, KEY)[0], weights(QUERY, KEY) @ VALUE)


def test_sums_and_their_factors() -> None:
    both = np.tanh(0.5 * (QUERY[:, :, None] + KEY[:, None]))
    factors = np.arange(5.0)
    own = dataclasses.replace(PLAIN, score="tanh", scale=0.5, weight=3.0, elements=factors)
    np.testing.assert_allclose(own(QUERY, VALUE, KEY)[1], softmax(3 * (both * factors).sum(-1)))
    other = dataclasses.replace(own, weighted=False)
    np.testing.assert_allclose(other(QUERY, VALUE, KEY)[1], softmax(3 * both.sum(-1)))


def projected(heads: int = 2, groups: int = 1) -> tuple[Attention, list[Floats]]:
    """Heads of 3 elements for queries and keys, and of 2 for values; and the kernels (5, heads, elements)."""
    shapes = [(5, heads, 3), (5, heads // groups, 3), (5, heads // groups, 2), (heads, 2, 7)]
    kernels = [DRAW.standard_normal(shape) for shape in shapes]
    q, k, v, o = kernels
    own = Attention(
        Projection(q.reshape(5, -1), np.arange(heads * 3.0)),
        Projection(k.reshape(5, -1), None),
        Projection(v.reshape(5, -1), None),
        output=Projection(o.reshape(-1, 7), np.ones(7)),
        outputs=(7,),
        heads=heads,
        groups=groups,
        scale=1 / math.sqrt(3),
    )
    return own, kernels


@pytest.mark.parametrize("groups", [1, 2])
def test_heads_one_by_one(groups: int) -> None:
    own, (q, k, v, o) = projected(4, groups)
    expected = np.ones(7)
    for head in range(4):
        query = QUERY @ q[:, head] + np.arange(12.0).reshape(4, 3)[head]
        key, value = VALUE @ k[:, head // groups], VALUE @ v[:, head // groups]
        expected = expected + weights(query, key, 3**-0.5) @ value @ o[head]
    np.testing.assert_allclose(own(QUERY, VALUE)[0], expected)


def test_a_product_is_computed_again_for_other_inputs() -> None:
    own, _ = projected()
    first, second = own(QUERY, VALUE)[0], own(QUERY + 1, VALUE)[0]
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(own(QUERY, VALUE)[0], first)


def test_several_axes_are_one_sequence() -> None:
    own, _ = projected()
    image = QUERY.reshape(3, 2, 2, 5)
    both = dataclasses.replace(own, axes=(1, 2))
    np.testing.assert_allclose(both(image, image)[0].reshape(3, 4, 7), own(QUERY, QUERY)[0])
    rows = dataclasses.replace(own, axes=(2,))
    np.testing.assert_allclose(rows(image, image)[0][:, 1], own(image[:, 1], image[:, 1])[0])


def test_the_batch_as_steps() -> None:
    own, _ = projected()
    turned = QUERY.transpose(1, 0, 2)
    over = dataclasses.replace(own, axes=(0,))(QUERY, QUERY)[0]
    np.testing.assert_allclose(over, own(turned, turned)[0].transpose(1, 0, 2))


@pytest.mark.parametrize(
    ("causal", "allowed"), [("past", np.tril), ("future", np.triu), ("ahead", lambda ones: np.tril(ones, 1))]
)
def test_causal_masks(causal: str, allowed: Callable[[Floats], Floats]) -> None:
    _, scores = dataclasses.replace(PLAIN, causal=causal)(QUERY, QUERY)
    np.testing.assert_array_equal(scores[0] > 0, allowed(np.ones((4, 4))) > 0)
    np.testing.assert_allclose(scores.sum(-1), 1)


def test_a_window_and_a_mask_of_keys() -> None:
    own = dataclasses.replace(PLAIN, masks=Masks(keys=REAL), window=3, fill="nan")
    _, scores = own(VALUE, VALUE)
    assert (scores[1] > 0).sum(-1).tolist() == [3, 4, 5, 5, 4, 3]
    assert (scores[0] > 0).sum(-1).tolist() == [3, 4, 4, 3, 2, 1]
    assert np.isnan(scores[2, 5]).all()  # its only key is further away


def test_what_a_query_without_keys_gives() -> None:
    masks = Masks(pairs=np.zeros((3, 1, 4, 6), bool))
    own, _ = projected()
    found = {fill: dataclasses.replace(own, masks=masks, fill=fill)(QUERY, VALUE) for fill in ("even", "zero", "added")}
    np.testing.assert_allclose(found["even"][1], 1 / 6)
    np.testing.assert_allclose(found["zero"][0], 1)  # the bias of the output
    np.testing.assert_allclose(found["added"][0], own(QUERY, VALUE)[0], 1e-5)


def test_queries_that_are_padding() -> None:
    masks = Masks(queries=REAL, keys=REAL)
    result, _ = dataclasses.replace(PLAIN, masks=masks)(VALUE, VALUE)
    np.testing.assert_array_equal(np.any(result != 0, -1), REAL)
    own, _ = projected()
    _, scores = dataclasses.replace(own, masks=masks)(VALUE, VALUE)
    np.testing.assert_allclose(scores[0, :, 4:], 1 / 6)


# -- the detector ------------------------------------------------------------------------------------------------------


def suspected(compute: Callable[[Floats, Floats], Floats], mask: bool = False, **call: Any) -> list[Suspicion]:
    """What is suspected of a port that computes this where Keras has an Attention layer."""
    toy = ToyReference(query=QUERY, value=VALUE)
    masks = Masks(keys=REAL) if mask else Masks()
    causal = "past" if call.get("use_causal_mask") else "no"
    keras = dataclasses.replace(PLAIN, masks=masks, causal=causal)
    config = {"score_mode": "dot", "call": {"args": [], "kwargs": call}}
    out = toy.layer("attention", "Attention", 0, 1, config=config, out=keras(QUERY, VALUE)[0])
    reference = toy.trace(out)
    if mask:
        reference = dataclasses.replace(reference, step_masks={1: REAL})
    port = ToyCandidate(QUERY, VALUE)
    value = port.op("attend", "scaled_dot_product_attention", compute, Value(0), Value(1),
                    query=Value(0), key=Value(1), value=Value(1))  # fmt: skip
    made = judge(reference, port.returns(value))
    position = len(reference.layers) - 1
    subject = checks.subject_of(reference, made.candidate, made.alignment, position, made.verdicts[position])
    case = Case(position, subject, made, reference)
    return list(attention.suspect(case)) if attention.concerns(case) else []


def test_a_right_port_is_not_suspected() -> None:
    assert suspected(lambda q, v: weights(q, v) @ v) == []


@pytest.mark.parametrize(
    ("compute", "words"),
    [
        (lambda q, v: weights(q, v, 5**-0.5) @ v, "scale: Keras 1, port 1/sqrt(5) = 0.4472"),
        (lambda q, v: softmax(q @ v.swapaxes(1, 2), 1) @ v, "in the port along the queries"),
        (lambda q, v: q @ v.swapaxes(1, 2) @ v, "in the port there is none"),
    ],
)
def test_a_wrong_port_is_suspected(compute: Callable[[Floats, Floats], Floats], words: str) -> None:
    (found,) = suspected(compute)
    assert found.id == "attention"
    assert words in found.text
    assert len(found.ways) == 1


def test_a_causal_mask_that_is_missing() -> None:
    (found,) = suspected(lambda q, v: weights(q, v) @ v, use_causal_mask=True)
    assert found.text.endswith("in the port at all keys")
    assert "torch.ones(4, 6, dtype=torch.bool).triu(1)" in found.patch


def test_padding_that_is_taken_for_keys() -> None:
    (found,) = suspected(lambda q, v: weights(q, v) @ v, mask=True)
    assert found.text == "mask: Keras leaves out the keys that are padding, the port takes them as any other"


def test_two_faults_are_suspected_together() -> None:
    found = suspected(lambda q, v: softmax(0.3 * q @ v.swapaxes(1, 2), 1) @ v)
    assert found == []  # 0.3 is no size, and no operation states it
    found = suspected(lambda q, v: softmax(5**-0.5 * q @ v.swapaxes(1, 2), 1) @ v)
    assert [one.id for one in found] == ["attention", "attention"]
    assert all(one.sure for one in found)


def test_what_no_equation_gives_is_not_suspected() -> None:
    assert suspected(lambda q, v: weights(q, v) @ v + 0.01 * q) == []
