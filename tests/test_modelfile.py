"""Reading what a Keras file says about itself, without Keras."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest

from pytest_kerasdiff import modelfile
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.modelfile import InputSpec, ModelFile
from tests import helpers
from tests.helpers import functional, layer

needs_data = pytest.mark.skipif(
    not helpers.DATA.is_dir(), reason=f"{helpers.DATA} is not there: it is no part of the project"
)


def of(config: dict[str, Any], version: str = "3.15.1") -> ModelFile:
    return ModelFile(Path("model.h5"), version, config)


def names(config: dict[str, Any]) -> list[str]:
    return [entry.name for entry in of(config).layers()]


def sequential(*layers: dict[str, Any], name: str = "sequential") -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}, "name": name}


def test_a_legacy_file(tmp_path: Path) -> None:
    file = modelfile.read(helpers.write_tiny(tmp_path / "model.h5"))
    assert (file.keras_version, file.keras_major) == ("3.15.1", 3)
    assert [entry.name for entry in file.layers()] == list(helpers.LAYERS)
    assert [entry.class_name for entry in file.layers()][:3] == ["InputLayer", "Conv2D", "BatchNormalization"]
    assert file.layers()[2].config["epsilon"] == 1e-3
    assert file.inputs() == [InputSpec("input_1", (None, 6, 6, 2), "float32")]


def test_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(helpers.tiny_config()))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.4.1"}))
    file = modelfile.read(path)
    assert (file.keras_version, file.keras_major) == ("3.4.1", 3)
    assert [entry.name for entry in file.layers()] == list(helpers.LAYERS)


@pytest.mark.parametrize(("version", "major"), [("2.4.0", 2), ("2.11.0-tf", 2), ("", 2), ("3.0.5", 3), ("nightly", 2)])
def test_the_version_decides_which_keras_reads_the_file(version: str, major: int) -> None:
    assert of(helpers.tiny_config(), version).keras_major == major


def test_what_states_no_version_is_told_by_its_form(tmp_path: Path) -> None:
    inputs = layer("InputLayer", "x", None, batch_shape=[None, 3], dtype="float32")
    assert of(functional([inputs, layer("Dense", "dense", "x")], "dense"), "").keras_major == 3
    assert ModelFile(tmp_path / "net.weights.h5", "", None).keras_major == 3
    assert ModelFile(tmp_path / "net.h5", "", None).keras_major == 2


def test_a_registered_class_is_named_without_its_package() -> None:
    (entry,) = of(functional([layer("my_package>Scale", "scale", None)], "scale")).layers()
    assert entry.class_name == "Scale"


def test_a_weights_file_has_no_layers_to_list(tmp_path: Path) -> None:
    file = modelfile.read(helpers.write_keras(tmp_path / "w.h5", None, helpers.tiny_weights()))
    assert file.config is None
    assert file.inputs() == []
    with pytest.raises(RunError, match=r"weights only.*--kerasdiff-keras"):
        file.layers()


def test_version_attributes_may_be_bytes(tmp_path: Path) -> None:
    path = helpers.write_tiny(tmp_path / "model.h5")
    with h5py.File(path, "a") as file:
        file.attrs["keras_version"] = b"2.4.0"
        file.attrs["model_config"] = json.dumps(helpers.tiny_config()).encode()
    assert modelfile.read(path).keras_version == "2.4.0"


def test_a_shared_layer_is_listed_once_for_each_call() -> None:
    dense = layer("Dense", "dense", "a")
    dense["inbound_nodes"].append([["b", 0, 0, {}]])
    config = functional(
        [layer("InputLayer", "a", None), layer("InputLayer", "b", None), dense, layer("Add", "add", "dense")], "add"
    )
    assert names(config) == ["a", "b", "dense", "dense@1", "add"]


def test_inner_models_are_entered_and_their_inputs_left_out() -> None:
    inner = functional(
        [layer("InputLayer", "inside", None), layer("Conv2D", "conv", "inside"), layer("ReLU", "relu", "conv")], "relu"
    )
    inner["name"] = inner["config"]["name"] = "backbone"
    inner["inbound_nodes"] = [[["a", 0, 0, {}]], [["b", 0, 0, {}]]]
    config = functional([layer("InputLayer", "a", None), layer("InputLayer", "b", None), inner], "backbone")
    assert names(config) == ["a", "b", "backbone/conv", "backbone/relu", "backbone/conv@1", "backbone/relu@1"]


def test_a_layer_called_twice_in_an_inner_model_that_is_called_twice() -> None:
    dense = layer("Dense", "dense", "inside")
    dense["inbound_nodes"].append([["dense", 0, 0, {}]])
    inner = functional([layer("InputLayer", "inside", None), dense], "dense")
    inner["name"] = inner["config"]["name"] = "inner"
    inner["inbound_nodes"] = [[["a", 0, 0, {}]], [["b", 0, 0, {}]]]
    config = functional([layer("InputLayer", "a", None), layer("InputLayer", "b", None), inner], "inner")
    assert names(config) == ["a", "b", "inner/dense", "inner/dense@1", "inner/dense@2", "inner/dense@3"]


def test_sequential_models_of_all_versions() -> None:
    first = {"class_name": "Dense", "config": {"name": "dense", "batch_input_shape": [None, 7], "dtype": "float32"}}
    second = {"class_name": "Dense", "config": {"name": "dense_1"}}
    new = sequential(first, second)
    old = {"class_name": "Sequential", "config": [first, second]}  # Keras before 2.2.3
    for config in (new, old):
        assert names(config) == ["dense_input", "dense", "dense_1"]
        assert of(config).inputs() == [InputSpec("dense_input", (None, 7), "float32")]
    inner = {"class_name": "Sequential", "config": [first, second], "name": "inner"}
    assert names({"class_name": "Sequential", "config": [inner]}) == ["inner/dense", "inner/dense_1"]


def test_inputs_are_in_the_models_order() -> None:
    layers = [
        layer("InputLayer", "b", None, batch_shape=[None, 3], dtype="float32"),
        layer("InputLayer", "a", None, batch_shape=[4, 5], dtype={"class_name": "DTypePolicy", "config": {}}),
        layer("Concatenate", "join", "a"),
    ]
    config = functional(layers, "join")
    assert [spec.name for spec in of(config).inputs()] == ["b", "a"]
    config["config"]["input_layers"] = {"x": ["a", 0, 0], "y": ["b", 0, 0]}
    assert [spec.name for spec in of(config).inputs()] == ["a", "b"]
    assert of(config).inputs()[0] == InputSpec("a", (4, 5), "float32")
    config["config"]["input_layers"] = ["a", 0, 0]
    assert [spec.name for spec in of(config).inputs()] == ["a"]


def test_the_vocabulary_of_an_input_is_that_of_its_smallest_embedding() -> None:
    layers = [
        layer("InputLayer", "tokens", None, batch_shape=[None, 12], dtype="float32"),
        layer("InputLayer", "numbers", None, batch_shape=[None, 2], dtype="float32"),
        layer("Embedding", "large", "tokens", input_dim=500),
        layer("Embedding", "small", "tokens", input_dim=50),
        layer("Embedding", "elsewhere", "small", input_dim=5),
    ]
    tokens, numbers = of(functional(layers, "small")).inputs()
    assert (tokens.vocabulary, numbers.vocabulary) == (50, None)


def test_the_boundaries_of_an_input_are_those_of_its_bins_that_float32_has() -> None:
    layers = [
        layer("InputLayer", "x", None, batch_shape=[None, 2], dtype="float32"),
        layer("Discretization", "bins", "x", bin_boundaries=[-1, 0.1, 0.5, 1e300, float("inf"), "2"]),
        layer("Discretization", "none", "x", bin_boundaries=None),
    ]
    (spec,) = of(functional(layers, "bins")).inputs()
    assert spec.boundaries == (-1.0, 0.5)


@pytest.mark.parametrize(
    "config",
    [{}, {"config": None}, {"config": {"layers": []}}, {"config": {}}, {"config": {"layers": [3, "x"]}}],
)
def test_a_config_without_layers_is_an_error(config: dict[str, Any]) -> None:
    with pytest.raises(RunError, match="lists no layers"):
        of(config).layers()


@needs_data
@pytest.mark.parametrize(
    ("name", "version", "layers", "inputs"),
    [
        ("pretrainedResnet.h5", "2", 30, InputSpec("input_1", (None, 32, 32, 3), "float32")),
        ("ad01.h5", "2", 29, InputSpec("input_1", (None, 640), "float32")),
        ("vww_96.h5", "2", 85, InputSpec("input_1", (None, 96, 96, 3), "float32")),
    ],
)
def test_real_files(name: str, version: str, layers: int, inputs: InputSpec) -> None:
    file = modelfile.read(helpers.DATA / name)
    assert file.keras_version.startswith(version)
    assert len(file.layers()) == layers
    assert file.inputs() == [inputs]


def test_reading_imports_no_framework(tmp_path: Path) -> None:
    path = helpers.write_tiny(tmp_path / "model.h5")
    code = (
        "import sys; from pathlib import Path; from pytest_kerasdiff import modelfile; "
        "modelfile.read(Path(sys.argv[1])).layers(); "
        "print(sorted({'torch', 'keras', 'tf_keras', 'tensorflow'} & sys.modules.keys()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.stdout.strip() == "[]", run.stderr
