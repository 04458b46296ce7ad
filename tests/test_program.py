"""``python -m pytest_kerasdiff``: exit status, report, manifest written and read again, float32."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_kerasdiff.writers import files
from tests import helpers
from tests.helpers import LAYERS, program

ERROR_FIELDS = {"max_abs", "scale", "limit", "worst", "got", "expected", "differing", "reason", "passes"}
CHECKS = "{0} of {0} checks pass".format(len(helpers.tiny_checks()))
WRONG_CHECKS = f"{len(helpers.tiny_checks()) - len(helpers.TINY_WRONG)} of {len(helpers.tiny_checks())} checks pass"
LAYER_FIELDS = {
    *("name", "class", "torch", "operations", "source", "matched_by", "status", "reason"),
    *("isolated", "cumulative", "inherits_from", "causes"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("program")
    helpers.write_tiny(made / "model.h5")
    (made / "port.py").write_text(helpers.TINY_PORT)
    return made


@pytest.fixture(scope="module")
def right(folder: Path) -> subprocess.CompletedProcess[str]:
    outputs = ("--report", "right", "--write-manifest", "written/map.toml")
    return program(folder, "model.h5", "--torch", "port:build", *outputs)


@pytest.fixture(scope="module")
def wrong(folder: Path) -> subprocess.CompletedProcess[str]:
    return program(folder, "model.h5", "--torch", "port:wrong", "--report", "wrong")


def read(folder: Path, name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / name / "report.json").read_text("utf-8"))
    return report


def test_an_equivalent_port_ends_with_status_0(right: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert (right.returncode, right.stderr) == (0, "")
    lines = right.stdout.splitlines()
    assert lines[0].startswith(f"{folder / 'model.h5'} (keras ")
    assert "against port:build (torch " in lines[0]
    assert lines[1] == "precision float64, tolerance 1e-05, inputs input_1 (2, 6, 6, 2) given as [0, 3, 1, 2]"
    assert lines[3] == f"equivalent: 6 of 6 layers pass, {CHECKS}"


def test_a_port_at_fault_ends_with_status_1_and_shows_each_fault(wrong: subprocess.CompletedProcess[str]) -> None:
    assert (wrong.returncode, wrong.stderr) == (1, "")
    lines = wrong.stdout.splitlines()
    assert lines[3] == f"NOT equivalent: 1 of 6 layers pass, 2 layers at fault, 3 inherit, {WRONG_CHECKS}"
    assert sum("✗ at fault" in line for line in lines) == 2
    assert not any("inherits from" in line for line in lines)


def test_a_run_that_cannot_be_made_ends_with_status_2(folder: Path) -> None:
    run = program(folder, "missing.h5", "--torch", "port:build")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == f"error: {folder / 'missing.h5'}: no such file\n"


@pytest.mark.parametrize("arguments", [(), ("model.h5", "--no-such-option"), ("model.h5", "second.h5")])
def test_wrong_arguments_end_with_status_2(folder: Path, arguments: tuple[str, ...]) -> None:
    run = program(folder, *arguments)
    assert run.returncode == 2
    assert run.stderr.startswith("usage: python -m pytest_kerasdiff ")


def test_nothing_is_left_behind(right: object, wrong: object, folder: Path) -> None:
    assert helpers.left_behind(folder / "tmp") == []
    assert helpers.processes_of(folder) == []
    assert sorted(p.name for p in (folder / "right").iterdir()) == sorted(["report.json", *files.FORMS])


@pytest.mark.parametrize("name", ["right", "wrong"])
def test_the_report_has_the_fields_of_its_schema(
    name: str, folder: Path, right: object, wrong: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = read(folder, name)
    assert report["schema"] == 1
    assert report["verdict"] == {"right": "pass", "wrong": "fail"}[name]
    assert report["keras_model"] == str(folder / "model.h5")
    assert (report["precision"], report["tolerance"]) == ("float64", 1e-5)
    assert [la["name"] for la in report["layers"]] == list(LAYERS)
    for la in report["layers"]:
        assert la.keys() >= LAYER_FIELDS
        assert la["status"] in {"pass", "fault", "inherited", "unpaired", "declared"}
        assert la["matched_by"] in {"manifest", "weights", "graph"}
        assert la["isolated"].keys() >= ERROR_FIELDS
        assert la["cumulative"].keys() >= ERROR_FIELDS
        assert isinstance(la["causes"], list)
    assert [(c["layer"], c["check"]) for c in report["checks"]] == helpers.tiny_checks()
    eps = {"check": "eps", "layer": "batch_normalization", "status": "pass", "cause": ""}
    assert {**eps, "message": "Keras 0.001, port 0.001"} in report["checks"]
    counts = report["summary"]
    assert counts["layers"] == 6 == sum(counts[k] for k in ("passed", "faults", "inherited", "unpaired", "declared"))
    assert (counts["passed"], counts["faults"], counts["inherited"]) == {"right": (6, 0, 0), "wrong": (1, 2, 3)}[name]
    inputs = report["inputs"]["input_1"]
    assert (inputs["shape"], inputs["layout"], inputs["source"]) == ([2, 6, 6, 2], "[0, 3, 1, 2]", "generated")
    assert {"keras", "tensorflow", "torch", "numpy", "python", "pytest_kerasdiff"} <= report["environment"].keys()
    assert report["timing"]
    assert "repaired" in report


def test_each_layer_of_the_report_names_its_operations_and_source(folder: Path, right: object) -> None:
    layers = {la["name"]: la for la in read(folder, "right")["layers"]}
    conv, dense, flatten = layers["conv2d_3"], layers["dense"], layers["flatten"]
    assert (conv["class"], conv["torch"], conv["matched_by"]) == ("Conv2D", "conv", "weights")
    assert conv["operations"] == ["pad", "conv2d"]
    assert conv["source"].startswith("port.py:")
    assert (dense["torch"], dense["operations"]) == ("fc", ["linear", "softmax"])
    assert flatten["operations"][-1] in {"flatten", "view", "reshape"}


def test_the_manifest_written_gives_the_same_verdict_on_inputs_of_a_file(folder: Path, right: object) -> None:
    written = folder / "written" / "map.toml"
    content = tomllib.loads(written.read_text("utf-8"))
    assert content["torch"] == "port:build"
    assert content["layers"]["conv2d_3"] == "conv"  # without the padding before it, which may change
    assert content["inputs"]["input_1"]["layout"] == [0, 3, 1, 2]
    np.save(folder / "probe.npy", np.random.default_rng(3).normal(size=(3, 6, 6, 2)))
    options = ("--inputs", "probe.npy", "--report", "again")
    run = program(folder, "model.h5", "--manifest", written, *options)
    assert run.returncode == 0, run.stderr
    inputs = read(folder, "again")["inputs"]["input_1"]
    assert (inputs["source"], inputs["shape"]) == (str(folder / "probe.npy"), [3, 6, 6, 2])
    again, first = read(folder, "again"), read(folder, "right")
    assert {la["matched_by"] for la in again["layers"] if la["class"] != "InputLayer"} == {"manifest"}
    assert [la["operations"] for la in again["layers"]] == [la["operations"] for la in first["layers"]]
    assert helpers.statuses(again) == dict.fromkeys(LAYERS, "pass")


@pytest.mark.parametrize(("port", "status"), [("build", 0), ("wrong_eps", 1)])
def test_in_float32_a_fault_is_still_found(folder: Path, port: str, status: int) -> None:
    arguments = ("--precision", "float32", "--report", f"float32-{port}")
    run = program(folder, "model.h5", "--torch", f"port:{port}", *arguments)
    assert run.returncode == status, run.stdout + run.stderr
    report = read(folder, f"float32-{port}")
    assert report["precision"] == "float32"
    assert run.stdout.splitlines()[1].startswith("precision float32")
    for la in report["layers"]:
        assert la["cumulative"]["limit"] == pytest.approx(1e-5 * max(1, la["cumulative"]["scale"]))
    assert helpers.at(report, "fault") == ({"batch_normalization"} if status else set())
    assert helpers.failed_checks(report) == ({("batch_normalization", "eps")} if status else set())


def test_a_file_of_weights_is_compared_where_code_builds_the_keras_model(folder: Path) -> None:
    helpers.write_keras(folder / "weights.h5", None, helpers.tiny_weights())
    (folder / "keras_builders.py").write_text(helpers.KERAS_BUILDERS)
    (folder / "port_of_weights.py").write_text(helpers.TINY_PORT.replace('file["model_weights"]', "file"))
    arguments = ("--keras", "keras_builders:build", "--torch", "port_of_weights:build", "--report", "weights")
    run = program(folder, "weights.h5", *arguments)
    assert run.returncode == 0, run.stdout + run.stderr
    report = read(folder, "weights")
    assert helpers.statuses(report) == dict.fromkeys(("input_layer", *LAYERS[1:]), "pass")
    assert report["layers"][-1]["cumulative"]["max_abs"] < 1e-12
