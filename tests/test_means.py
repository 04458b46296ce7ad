"""Means over steps, of which some are padding."""

from __future__ import annotations

import dataclasses

import numpy as np

from pytest_kerasdiff.equations.means import Mean

X = np.random.default_rng(6).standard_normal((2, 4, 3))
REAL = np.array([[True, True, False, False], [True, True, True, True]])


def test_the_mean_of_the_steps_that_are_no_padding() -> None:
    (found,) = Mean(REAL)(X)
    np.testing.assert_allclose(found, [X[0, :2].mean(0), X[1].mean(0)])
    np.testing.assert_allclose(Mean(None)(X)[0], X.mean(1))


def test_channels_first_and_an_axis_that_stays() -> None:
    (found,) = Mean(REAL, axis=2, keepdims=True)(X.swapaxes(1, 2))
    np.testing.assert_allclose(found[..., 0], Mean(REAL)(X)[0])


def test_what_ports_do_with_padding() -> None:
    own = Mean(REAL)
    np.testing.assert_allclose(dataclasses.replace(own, summed="all", divided="all")(X)[0], X.mean(1))
    np.testing.assert_allclose(dataclasses.replace(own, divided="all")(X)[0][0], X[0, :2].sum(0) / 4)
    np.testing.assert_allclose(dataclasses.replace(own, summed="all")(X)[0][0], X[0].sum(0) / 2)
    np.testing.assert_allclose(dataclasses.replace(own, step=-1)(X)[0], X[:, -1])
