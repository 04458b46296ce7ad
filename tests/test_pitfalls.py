"""The mistakes that ports are known for, each by name: what a run says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_kerasdiff.checklist import MODEL
from tests import helpers
from tests.helpers import ROOT, Compared, Report

TINY = (
    "right channels_reversed channels_first_flattened training_mode squeezed wrong_alone left_at_initialisation "
    "overflows_in_float32 half_precision softmax_missing softmax_twice softmax_over_the_batch not_frozen "
    "bias_transposed"
)
RESNET8 = "correct shortcut_of_other_pixels shortcut_of_zeros shortcut_of_stride_1 one_convolution_twice"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    folder = tmp_path_factory.mktemp("tiny")
    compared = helpers.compare(helpers.write_tiny(folder / "model.h5"), "tests.pitfall_ports:right", folder)
    return ports(compared, "tests.pitfall_ports", TINY, tmp_path_factory.mktemp("ports"))


@pytest.fixture(scope="module")
def resnet8(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    compared = helpers.compare(ROOT / "model" / "resnet8.h5", "model.resnet8:build", tmp_path_factory.mktemp("resnet8"))
    return ports(compared, "tests.wrong_ports", RESNET8, tmp_path_factory.mktemp("ports"))


def ports(compared: Compared, module: str, names: str, folder: Path) -> dict[str, Report]:
    return helpers.judge(compared, {name: {"torch": f"{module}:{name}"} for name in names.split()}, folder)


def check(report: Report, name: str, layer: str = MODEL) -> dict[str, Any]:
    assert "error" not in report, report["error"]
    (found,) = (c for c in report["checks"] if (c["layer"], c["check"]) == (layer, name))
    return dict(found)


def assert_passes(report: Report) -> None:
    assert report["verdict"] == "pass", helpers.story(report)


def test_channel_order(tiny: dict[str, Report]) -> None:
    assert_passes(tiny["right"])
    assert helpers.at(tiny["channels_reversed"], "fault") == {"conv2d_3"}
    assert helpers.at(tiny["channels_first_flattened"], "fault") == {"dense"}


def test_train_mode_and_instability_of_a_single_image(tiny: dict[str, Report]) -> None:
    assert check(tiny["training_mode"], "eval_mode")["cause"] == "train-mode"
    for name in ("squeezed", "wrong_alone"):
        assert check(tiny[name], "eval_mode")["cause"] == "batch-dependent"
        assert set(helpers.statuses(tiny[name]).values()) == {"pass"}  # in the batch nothing is wrong
        assert tiny[name]["verdict"] == "fail"


def test_l2_against_weight_decay(resnet8: dict[str, Report]) -> None:
    notes = check(resnet8["correct"], "training_notes")
    assert notes["status"] == "pass"
    assert "L2(0.0001) is weight_decay=0.0002 of plain SGD" in notes["message"]
    assert "BatchNorm momentum 0.99 in Keras is momentum=0.01 in torch" in notes["message"]


def test_an_initialised_layer_left_over(tiny: dict[str, Report]) -> None:
    found = check(tiny["left_at_initialisation"], "loaded")
    assert (found["status"], found["cause"]) == ("fail", "weights-not-loaded")
    assert "fc.weight holds no weight of the file and looks like torch's initial values" in found["message"]
    assert helpers.at(tiny["left_at_initialisation"], "fault") == {"dense"}


def test_shortcut_dimension_and_stride(resnet8: dict[str, Report]) -> None:
    assert_passes(resnet8["correct"])
    assert helpers.at(resnet8["shortcut_of_other_pixels"], "fault") == {"conv2d_5"}
    assert "kernel, bias of conv2d_5" in check(resnet8["shortcut_of_zeros"], "loaded")["message"]
    assert resnet8["shortcut_of_zeros"]["verdict"] == "fail"
    assert "the torch model raised in b2 (ResidualBlock) at " in resnet8["shortcut_of_stride_1"]["error"]


def test_a_layer_shared_by_mistake(resnet8: dict[str, Report]) -> None:
    found = check(resnet8["one_convolution_twice"], "loaded")
    assert found["cause"] == "weights-of-other-layer"
    assert "b1.conv1.weight holds conv2d_1's weights and is used for conv2d_2 too" in found["message"]


def test_precision_drift(tiny: dict[str, Report]) -> None:
    assert check(tiny["half_precision"], "precision")["cause"] == "float16"
    drifted = tiny["overflows_in_float32"]  # right in float64
    assert set(helpers.statuses(drifted).values()) == {"pass"}
    assert check(drifted, "decisions")["status"] == "fail"


def test_the_place_of_the_softmax(tiny: dict[str, Report]) -> None:
    for name, words in {
        "softmax_missing": "the softmax is missing in the port",
        "softmax_twice": "the softmax is applied twice in the port",
        "softmax_over_the_batch": "probabilities over the batch in the port",
    }.items():
        found = check(tiny[name], "outputs")
        assert found["cause"] == "softmax"
        assert words in found["message"]
        assert helpers.at(tiny[name], "fault") == {"dense"}


def test_preprocessing(tmp_path: Path) -> None:
    """Pixels are divided by 255 on one side only; everything about it is in test_preprocessing.py."""
    write_project(tmp_path)
    (tmp_path / "prepare.py").write_text(
        "def keras(x):\n    return x.astype('float32')\n\n\n"
        "def same(x):\n    return keras(x).transpose(2, 0, 1)\n\n\ndef divided(x):\n    return same(x) / 255\n"
    )
    for function, status in (("same", 0), ("divided", 1)):
        stated = f'[preprocess]\nkeras = "prepare:keras"\ntorch = "prepare:{function}"\n'
        (tmp_path / "models" / "kerasdiff.toml").write_text(stated)
        done = helpers.program(tmp_path, "models/model.h5", "--torch", "port:build", "--report", function)
        assert done.returncode == status, done.stdout + done.stderr
        assert ("the port divides by 255 and Keras does not" in done.stdout) is bool(status)
        assert "6 of 6 layers pass" in done.stdout


def test_missing_eval_and_no_grad(tiny: dict[str, Report]) -> None:
    assert "call .eval()" in check(tiny["training_mode"], "eval_mode")["message"]
    found = check(tiny["not_frozen"], "no_grad")
    assert (found["status"], found["cause"]) == ("pass", "no-grad")  # a warning
    assert "inference_mode()" in found["message"]


def test_a_bias_transposed(tiny: dict[str, Report]) -> None:
    assert helpers.at(tiny["bias_transposed"], "fault") == {"dense"}
    assert check(tiny["bias_transposed"], "weights", "dense")["status"] == "fail"


def write_project(folder: Path) -> None:
    helpers.write_tiny(folder / "models" / "model.h5")
    (folder / "port.py").write_text(helpers.TINY_PORT, "utf-8")
    (folder / "tests").mkdir()
    (folder / "pytest.ini").write_text(
        "[pytest]\nkeras_model = models/model.h5\nkerasdiff_torch = port:build\n", "utf-8"
    )


def test_a_path_relative_to_another_folder(tmp_path: Path) -> None:
    """A path of the ini is one from rootdir, a path of the command line one from where it is typed."""
    write_project(tmp_path)
    done = helpers.run_pytest(tmp_path, "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = helpers.run_pytest(tmp_path / "tests", "-q", "-p", "no:cacheprovider", "--keras-model=models/model.h5")
    assert wrong.returncode == 4
    assert helpers.errors(wrong.stderr.splitlines()) == [f"ERROR: {tmp_path}/tests/models/model.h5: no such file"]


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("torch", "torch is not installed in this environment: pip install 'pytest-kerasdiff[torch]'"),
        ("keras", "needs keras, which is not installed: pip install 'pytest-kerasdiff[tensorflow]'"),
        ("tensorflow", "needs tensorflow, which is not installed: pip install 'pytest-kerasdiff[tensorflow]'"),
        ("tf_keras", "needs tf_keras, which is not installed: pip install 'pytest-kerasdiff[tf-keras]'"),
        ("safetensors", "reading .safetensors needs safetensors: pip install 'pytest-kerasdiff[torch]'"),
        ("h5py", "h5py is not installed in this environment: pip install pytest-kerasdiff"),
        ("numpy", "numpy is not installed in this environment: pip install pytest-kerasdiff"),
        ("einops", "install einops"),
    ],
)
def test_a_dependency_missing(package: str, words: str, tmp_path: Path) -> None:
    """Each missing package: one line that says what to install."""
    write_project(tmp_path)
    if package == "tf_keras":
        helpers.write_keras(tmp_path / "models" / "model.h5", helpers.tiny_config(), helpers.tiny_weights(), "2.4.0")
        # Else Keras 3 stands in.
        (tmp_path / "keras.py").write_text('raise ModuleNotFoundError("No module named \'keras\'", name="keras")\n')
    if package == "einops":
        (tmp_path / "port.py").write_text("import einops\n", "utf-8")
    else:
        (tmp_path / f"{package}.py").write_text(
            f'raise ModuleNotFoundError("No module named {package!r}", name={package!r})\n', "utf-8"
        )
    more = ["--kerasdiff-weights=w.safetensors"] if package == "safetensors" else []
    (tmp_path / "w.safetensors").touch()
    done = helpers.run_pytest(tmp_path, "-q", "-p", "no:cacheprovider", *more)
    assert done.returncode == 4, done.stdout + done.stderr
    (line,) = helpers.errors(done.stderr.splitlines())
    assert words in line
