"""Real models: correct ports in several styles pass; wrong ports of ResNet8 fail in exactly the layers changed."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import h5py
import pytest

from tests import helpers
from tests.helpers import DATA, Compared, Report

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there: it is no part of the project")


@dataclasses.dataclass(frozen=True)
class Wrong:
    """What a wrong port must show: these layers at fault, these inheriting, these checks failing, the rest passing."""

    faults: frozenset[str]
    checks: frozenset[tuple[str, str]] = frozenset()


def layers(names: str) -> frozenset[str]:
    """``c3 b3`` for conv2d_3 and batch_normalization_3."""
    kinds = {"c": "conv2d", "b": "batch_normalization", "a": "activation", "+": "add"}
    found = set()
    for name in names.split():
        kind, number = (kinds[name[0]], name[1:]) if name[0] in kinds and name[1:].isdigit() else (name, "0")
        found.add(kind if number == "0" else f"{kind}_{number}")
    return frozenset(found)


def weights_of(names: str) -> frozenset[tuple[str, str]]:
    """The ``weights`` checks of these layers."""
    return frozenset((name, "weights") for name in layers(names))


# The port of batch_normalization_3 is b2.bn1, of batch_normalization_6 b3.bn2, and so on: see model.convert.
WRONG = {
    "eps": Wrong(layers("b3"), frozenset({("batch_normalization_3", "eps")})),
    "symmetric_padding": Wrong(layers("c3")),
    "eps_and_padding": Wrong(layers("c3 b6"), frozenset({("batch_normalization_6", "eps")})),
    "height_and_width_exchanged": Wrong(layers("c2"), weights_of("c2")),
    "weights_swapped": Wrong(layers("c1 c2"), weights_of("c1 c2")),
    "relu_missing": Wrong(layers("a3")),
    "bias_missing": Wrong(layers("c6"), weights_of("c6")),
    "statistics_missing": Wrong(layers("b2")),
    "shortcut_untrained": Wrong(layers("c5"), weights_of("c5")),
    "softmax_missing": Wrong(layers("dense")),
    "pixels_divided": Wrong(layers("c0")),
    "training_mode": Wrong(layers("b0 b1 b2 b3 b4 b5 b6")),
}


@pytest.fixture(scope="module")
def resnet8(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    return helpers.compare(DATA / "pretrainedResnet.h5", "model.resnet8:build", tmp_path_factory.mktemp("resnet8"))


@pytest.fixture(scope="module")
def ports(resnet8: Compared, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    cases = {name: {"torch": f"tests.wrong_ports:{name}"} for name in ("correct", *WRONG)}
    cases |= {name: {"torch": f"tests.ports.{name}:build"} for name in ("resnet8_functional", "resnet8_folded")}
    return helpers.judge(resnet8, cases, tmp_path_factory.mktemp("ports"))


@pytest.fixture(scope="module")
def vww(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    return helpers.compare(DATA / "vww_96.h5", "tests.ports.vww_96:build", tmp_path_factory.mktemp("vww"))


def largest_error(report: Report) -> float:
    return float(max(la["cumulative"]["max_abs"] for la in report["layers"] if la["cumulative"]))


def assert_equivalent(report: Report) -> None:
    assert "error" not in report, report
    assert report["verdict"] == "pass"
    assert set(helpers.statuses(report).values()) <= {"pass", "declared"}
    assert report["layers"][-1]["status"] == "pass"
    assert not report["unused_parameters"]


def test_resnet8_passes_in_all_of_its_30_layers(resnet8: Compared) -> None:
    report = resnet8.report
    assert_equivalent(report)
    assert len(report["layers"]) == 30
    assert set(helpers.statuses(report).values()) == {"pass"}
    assert report["layers"][-1]["name"] == "dense"
    assert report["layers"][-1]["cumulative"]["max_abs"] < 1e-12
    assert {c["status"] for c in report["checks"]} == {"pass"}
    assert [c["check"] for c in report["checks"]].count("eps") == 7
    sources = {la["name"]: la["source"] for la in report["layers"]}
    assert all(str(sources[name]).startswith("model/resnet8.py:") for name in ("conv2d", "add", "dense"))


def test_a_correct_port_of_resnet8_passes_beside_the_wrong_ones(ports: dict[str, Report]) -> None:
    assert_equivalent(ports["correct"])


def test_a_port_without_layer_modules_passes(ports: dict[str, Report]) -> None:
    assert_equivalent(ports["resnet8_functional"])
    assert helpers.statuses(ports["resnet8_functional"]) == dict.fromkeys(helpers.statuses(ports["correct"]), "pass")
    assert largest_error(ports["resnet8_functional"]) < 1e-11


def test_a_folded_port_passes_by_the_float32_rule_and_says_so(ports: dict[str, Report]) -> None:
    report = ports["resnet8_folded"]
    assert_equivalent(report)
    declared = helpers.at(report, "declared")
    assert declared == layers("c0 c1 c2 c3 c4 c6 c7")
    assert all(la["reason"].startswith("folded") for la in report["layers"] if la["name"] in declared)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_port_fails_in_exactly_the_layers_changed(name: str, ports: dict[str, Report]) -> None:
    report, wanted = ports[name], WRONG[name]
    assert "error" not in report, report
    assert report["verdict"] == "fail"
    assert helpers.at(report, "fault") == wanted.faults
    assert helpers.at(report, "unpaired") == helpers.at(report, "declared") == set()
    assert not helpers.unexpected_checks(report, wanted.checks), helpers.story(report)
    for la in report["layers"]:
        if la["status"] == "inherited":
            assert la["inherits_from"] in wanted.faults
            assert la["isolated"]["passes"]
            assert not la["cumulative"]["passes"]
    before = [la["name"] for la in report["layers"]]
    first = min(before.index(fault) for fault in wanted.faults)
    assert all(la["status"] == "pass" for la in report["layers"][:first])


def test_what_comes_after_a_fault_inherits_it(ports: dict[str, Report]) -> None:
    status = helpers.statuses(ports["symmetric_padding"])
    inherits = {la["name"]: la["inherits_from"] for la in ports["symmetric_padding"]["layers"]}
    assert status["conv2d_5"] == "pass"  # the shortcut beside it takes the same input and is right
    assert (status["batch_normalization_3"], inherits["batch_normalization_3"]) == ("inherited", "conv2d_3")
    both = {la["name"]: la["inherits_from"] for la in ports["eps_and_padding"]["layers"]}
    assert both["batch_normalization_5"] == "conv2d_3"
    assert both["add_2"] == "batch_normalization_6"


def test_a_wrong_port_ends_the_program_with_status_1(tmp_path: Path) -> None:
    arguments = ("--torch", "tests.wrong_ports:eps_and_padding", "--report", "out")
    run = helpers.program(tmp_path, DATA / "pretrainedResnet.h5", *arguments)
    assert run.returncode == 1, run.stderr
    assert "NOT equivalent" in run.stdout
    assert "2 layers at fault" in run.stdout
    assert (tmp_path / "out" / "report.json").is_file()


@pytest.mark.parametrize(
    ("model", "port", "layers"),
    [pytest.param("ad01.h5", "ad01", 29, id="ad01"), pytest.param("vww_96.h5", "vww_96", 85, id="vww_96")],
)
def test_the_tests_of_a_model_pass_on_two_workers(model: str, port: str, layers: int, tmp_path: Path) -> None:
    options = ("-p", "no:cacheprovider", "-n", "2", "-q", f"--kerasdiff-torch=tests.ports.{port}:build")
    run = helpers.run_pytest(tmp_path, f"--keras-model={DATA / model}", *options)
    assert run.returncode == 0, run.stdout + run.stderr
    (summary,) = [line for line in run.stdout.splitlines() if line.startswith("equivalent: ")]
    found = re.fullmatch(r"equivalent: (\d+) of \1 layers pass, (\d+) of \2 checks pass", summary)
    assert found is not None, summary
    assert int(found[1]) == layers
    assert f"{layers + int(found[2])} passed" in run.stdout


@pytest.mark.parametrize(
    ("model", "port", "layers"), [("pretrainedResnet.h5", "model.resnet8", 30), ("ad01.h5", "tests.ports.ad01", 29)]
)
def test_models_of_keras_2_that_keras_3_reads_pass_in_it_too(
    model: str, port: str, layers: int, tmp_path: Path
) -> None:
    copy = Path(shutil.copyfile(DATA / model, tmp_path / model))
    with h5py.File(copy, "a") as file:
        file.attrs["keras_version"] = "3.0.0"
    report = helpers.compare(copy, f"{port}:build", tmp_path).report
    assert_equivalent(report)
    assert "keras" in report["environment"]
    assert "tf_keras" not in report["environment"]
    assert len(report["layers"]) == layers


def test_vww_96_passes_in_all_layers(vww: Compared) -> None:
    assert_equivalent(vww.report)
    assert set(helpers.statuses(vww.report).values()) == {"pass"}
    assert vww.report["environment"]["tf_keras"]
    assert largest_error(vww.report) < 1e-10


def test_other_styles_of_vww_96_pass(vww: Compared, tmp_path: Path) -> None:
    cases = {name: {"torch": f"tests.ports.{name}:build"} for name in ("vww_96_folded", "vww_96_nhwc")}
    reports = helpers.judge(vww, cases, tmp_path)
    for report in reports.values():
        assert_equivalent(report)
    assert reports["vww_96_nhwc"]["inputs"]["input_1"]["layout"] == "[0, 1, 2, 3]"
    assert any("[0, 1, 2, 3]" in note for note in reports["vww_96_nhwc"]["notes"])
    assert not any("layout" in note for note in reports["vww_96_folded"]["notes"])


def test_str_ww_passes(tmp_path: Path) -> None:
    run = helpers.program(tmp_path, DATA / "str_ww_ref_model.h5", "--torch", "tests.ports.str_ww:build")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[3].startswith("equivalent: ")
