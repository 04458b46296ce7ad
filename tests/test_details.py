"""What a person looks at: histograms, error maps, settings of both sides, and what is left out of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_kerasdiff import details
from tests import helpers

DRAW = np.random.default_rng(5)
X = DRAW.standard_normal((2, 40, 30, 3))


def test_a_histogram_counts_every_element_of_both_sides() -> None:
    found = details.histogram(X + 1, X)
    assert found is not None
    assert sum(found["keras"]) == sum(found["torch"]) == X.size
    assert (found["from"], found["to"]) == (pytest.approx(X.min(), rel=1e-3), pytest.approx(X.max() + 1, rel=1e-3))
    assert details.histogram(X, X)["keras"] == details.histogram(X, X)["torch"]  # type: ignore[index]


def test_a_large_activation_is_sampled_evenly() -> None:
    found = details.histogram(np.zeros(10**6), np.arange(10**6))
    assert found is not None
    assert sum(found["keras"]) <= 2**16
    assert max(found["keras"]) - min(found["keras"]) <= 1


@pytest.mark.parametrize("values", [[np.nan] * 4, [np.inf, -np.inf]])
def test_what_is_not_finite_is_not_drawn(values: list[float]) -> None:
    assert details.histogram(np.array(values), np.array(values)) is None
    found = details.histogram(np.array([*values, 1.0, 1.0]), np.array(values))
    assert found is not None
    assert (found["from"], found["to"], sum(found["torch"]), sum(found["keras"])) == (0.5, 1.5, 2, 0)


def test_an_error_is_where_it_is() -> None:
    port = X.copy()
    port[1, 39, 0, 2] += 5  # the last row, the first column
    found = details.error_map(port, X)
    assert (found["sample"], found["size"], found["axes"]) == (1, [40, 30], ["axis 1", "axis 2"])
    cells = np.array(found["rows"], float)
    assert cells.shape == (16, 16)
    assert np.argwhere(cells).tolist() == [[15, 0]]
    assert (cells[15, 0], found["channels"]) == (5, [0, 0, 5])


@settings(deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(0, 2**31))
def test_the_largest_error_of_any_shape_is_in_the_map(shape: list[int], seed: int) -> None:
    keras = np.zeros(shape)
    port = np.random.default_rng(seed).standard_normal(shape)
    found = details.error_map(port, keras)
    cells = np.array(found["rows"], float)
    assert max(cells.shape) <= 16
    assert cells.max() == pytest.approx(np.abs(port).max(), rel=1e-2)


def test_an_error_that_is_not_finite_is_null() -> None:
    port = X.copy()
    port[0, 0, 0, 0] = np.nan
    found = details.error_map(port, X)
    assert (found["sample"], found["rows"][0][0], found["channels"][0]) == (0, None, None)
    json.dumps(found, allow_nan=False)
    assert details.error_map(port, port)["channels"] == [0, 0, 0]  # NaN matches itself


def test_the_report_has_them_where_a_folder_is_asked_for(tmp_path: Path) -> None:
    helpers.write_tiny(tmp_path / "net.h5")
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    done = helpers.program(tmp_path, "net.h5", "--torch", "port:wrong", "--report", "out", "--batch", "3")
    assert done.returncode == 1, done.stderr
    report: dict[str, Any] = json.loads((tmp_path / "out" / "report.json").read_text())
    layers = {layer["name"]: layer for layer in report["layers"]}
    conv = layers["conv2d_3"]
    assert (conv["inputs"], conv["shape"]) == (["input_1"], [3, 3, 3, 3])
    assert conv["config"]["padding"] == "same"
    assert [(one["op"], one.get("stride")) for one in conv["arguments"]] == [("pad", None), ("conv2d", [2, 2])]
    kernel = helpers.tiny_weights()["conv2d_3"]["kernel"]
    (own, _), (held, _) = conv["weights"]["keras"], conv["weights"]["torch"]
    assert (own["shape"], held["shape"], held["name"]) == ([3, 3, 2, 3], [3, 2, 3, 3], "conv.weight")
    for side in (own, held):
        assert side["std"] == pytest.approx(float(kernel.std()), rel=1e-4)
    assert sum(conv["histogram"]["keras"]) == 3 * 3 * 3 * 3
    assert max(max(row) for row in conv["error_map"]["rows"]) == pytest.approx(conv["isolated"]["max_abs"], rel=1e-2)
    assert layers["activation"]["error_map"] is None  # it inherits
    assert report["coverage"] == {
        "layers": {"all": 6, "compared": 6, "declared": 0, "not_exercised": 1},
        "weights": {"all": 8, "compared": 8},
        "parameters": {"all": 8, "compared": 8, "declared": 0, "unused": 0},
    }
    words = report["command"].split()
    assert words[:3] == ["python", "-m", "pytest_kerasdiff"]
    again = helpers.program(tmp_path, *words[3:])
    assert (again.returncode, again.stdout) == (1, done.stdout)


def test_a_colon_in_a_layers_name_leaves_its_weights_their_names(tmp_path: Path) -> None:
    config, weights = helpers.tiny_config(), helpers.tiny_weights()
    text = json.dumps(config).replace('"conv2d_3"', '"stage1:conv"')
    weights["stage1:conv"] = weights.pop("conv2d_3")
    helpers.write_keras(tmp_path / "net.h5", json.loads(text), weights)
    (tmp_path / "port.py").write_text(helpers.TINY_PORT.replace('"conv2d_3"', '"stage1:conv"'))
    assert helpers.program(tmp_path, "net.h5", "--torch", "port:build", "--report", "out").returncode == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    (check,) = (c for c in report["checks"] if (c["layer"], c["check"]) == ("stage1:conv", "weights"))
    assert check["message"] == "kernel equal; bias equal"


def test_without_a_folder_nothing_is_drawn(tmp_path: Path) -> None:
    helpers.write_tiny(tmp_path / "net.h5")
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    (tmp_path / "test_it.py").write_text(
        "def test_it(kerasdiff):\n"
        "    for layer in kerasdiff.data['layers']:\n"
        "        assert layer['inputs'] or layer['class'] == 'InputLayer'\n"
        "        assert layer['weights'] is layer['histogram'] is layer['error_map'] is None\n"
    )
    done = helpers.run_pytest(
        tmp_path, "--keras-model=net.h5", "--kerasdiff-torch=port:build", "test_it.py", "-p", "no:cacheprovider"
    )
    assert done.returncode == 0, done.stdout
