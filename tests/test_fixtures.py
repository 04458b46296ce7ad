"""The fixtures for users' own tests, in real pytest runs. One of them runs both frameworks; in the others the engine is
replaced by reports made before."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pytest_kerasdiff import readable, tally
from pytest_kerasdiff.checklist import OF_A_LAYER, OF_THE_MODEL
from tests import helpers
from tests.helpers import Report
from tests.test_plugin import FAKE_ENGINE, Done, fake_weights, run_fake

ALL = {
    *("kerasdiff_model", "kerasdiff", "torch_model", "keras_config", "layer_pairs", "assert_equivalent"),
    *(f"assert_{check}" for check in [*OF_A_LAYER, *OF_THE_MODEL]),
}
INI = "[pytest]\nfilterwarnings = error\nkeras_model = model.h5\nkerasdiff_torch = port:build\n"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """Reports of the tiny model's ports, by the name of their builder."""
    folder = tmp_path_factory.mktemp("reports")
    helpers.write_tiny(folder / "model.h5")
    (folder / "port.py").write_text(helpers.TINY_PORT)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        compared = helpers.compare(folder / "model.h5", "port:build", folder)
    others = {name: {"torch": f"port:{name}"} for name in ("wrong", "wrong_eps")}
    return {"build": compared.report, **helpers.judge(compared, others, folder)}


@pytest.fixture
def fake(reports: dict[str, Report], tmp_path: Path) -> Path:
    """A project whose ini names the tiny model; the replaced engine finds its port right."""
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    (tmp_path / "fake_engine.py").write_text(FAKE_ENGINE)
    helpers.write_tiny(tmp_path / "model.h5")
    found(tmp_path, reports["build"])
    return tmp_path


def found(folder: Path, report: Report, model: str = "model") -> None:
    """Have the replaced engine hand over this report."""
    (folder / f"{model}.json").write_text(json.dumps(report))


def own(folder: Path, *bodies: str, conftest: str = "") -> None:
    """The user's tests, ``test_0``, ``test_1``, …; each a list of fixtures, a colon and one line."""
    tests = [
        f"def test_{i}({body.partition(': ')[0]}):\n    {body.partition(': ')[2]}\n" for i, body in enumerate(bodies)
    ]
    (folder / "test_own.py").write_text("\n\n".join(["import pytest", *tests]))
    if conftest:
        (folder / "conftest.py").write_text(f"import pytest\n\n\n{conftest}")


def outcomes(done: Done) -> list[str]:
    """Outcomes of the user's tests, in order."""
    return [outcome for _, outcome in sorted(done.outcomes.items())]


def only_line(done: Done) -> str:
    """What a failure says, where it is one line."""
    body = done.run.stdout.partition("= ERRORS =")[2] or done.run.stdout.partition("= FAILURES =")[2]
    lines = body.split("= kerasdiff ")[0].split("= short test summary")[0].splitlines()
    (line,) = [line for line in lines if line.strip("=_ ") and not line.startswith("_")]
    assert "Traceback" not in done.run.stdout
    return line


# -- with both frameworks --------------------------------------------------------------------------------------------

REAL = """
import pytest
import torch
from pytest_kerasdiff import readable

torch.set_default_dtype(torch.float64)
torch.manual_seed(3)
DRAWN = torch.rand(2)
torch.manual_seed(3)


def test_report(kerasdiff, kerasdiff_model):
    assert kerasdiff.passes
    assert kerasdiff.layer("conv2d_3").isolated.max_abs < 1e-12
    assert kerasdiff.data["keras_model"] == str(kerasdiff_model)


def test_port(torch_model, layer_pairs):
    modules = dict(torch_model.named_modules())
    assert type(torch_model).__name__ == "Tiny"
    assert torch.get_default_dtype() is torch.float64
    assert torch.equal(torch.rand(2), DRAWN)
    assert not torch_model.training
    assert all(pair.torch.partition(".")[0] in modules or pair.operations for pair in layer_pairs)


def test_eval_mode(assert_eval_mode, torch_model):
    assert_eval_mode()
    assert_eval_mode(torch_model)
    torch_model.bn.train()
    try:
        with pytest.raises(AssertionError, match=r"in training mode: bn; call .eval"):
            assert_eval_mode(torch_model)
    finally:
        torch_model.eval()


def test_equivalent(assert_equivalent):
    assert_equivalent()
"""


def test_a_test_of_ones_own_has_the_models_of_the_ini_compared(tmp_path: Path) -> None:
    helpers.own_cache(tmp_path)
    (tmp_path / "pytest.ini").write_text(INI + "kerasdiff_report = out\n")
    (tmp_path / "port.py").write_text(helpers.TINY_PORT)
    helpers.write_tiny(tmp_path / "model.h5")
    (tmp_path / "test_own.py").write_text(REAL)
    done = Done(tmp_path, helpers.run_pytest(tmp_path, "-v", "test_own.py", "-n", "2"))
    assert done.run.returncode == 0, done.run.stdout + done.run.stderr
    assert outcomes(done) == ["PASSED"] * 4
    assert "equivalent: 6 of 6 layers pass" in done.run.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert (report["verdict"], report["reference"]["source"]) == ("pass", "made")
    again = Done(tmp_path, helpers.run_pytest(tmp_path, "-v", "test_own.py", "-n", "2"))
    assert outcomes(again) == ["PASSED"] * 4
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["reference"]["source"] == "cached"
    assert helpers.left_behind(tmp_path / "tmp") == []
    assert helpers.processes_of(tmp_path) == []


# -- when a comparison is made ---------------------------------------------------------------------------------------


def test_nothing_is_compared_unless_a_test_asks(fake: Path) -> None:
    own(
        fake,
        "keras_config: assert len(keras_config) == 6",
        "kerasdiff_model: assert kerasdiff_model.name == 'model.h5'",
    )
    done = run_fake(fake, "test_own.py")
    assert (outcomes(done), done.asked()) == (["PASSED"] * 2, [])
    own(fake, "kerasdiff: pass", "assert_eps: assert_eps()")
    done = run_fake(fake, "test_own.py")
    assert (outcomes(done), done.engine("start"), done.engine("wait")) == (["PASSED"] * 2, ["model.h5"], ["model.h5"])
    assert "equivalent: 6 of 6 layers pass" in done.run.stdout


@pytest.mark.parametrize("option", ["--collect-only", "--fixtures", "--setup-plan"])
def test_what_only_shows_something_compares_nothing(fake: Path, option: str) -> None:
    own(fake, "kerasdiff: pass")
    done = run_fake(fake, "test_own.py", option)
    assert (done.run.returncode, done.asked()) == (0, [])


def test_beside_the_generated_tests_it_is_the_same_comparison(fake: Path) -> None:
    own(fake, "kerasdiff: assert kerasdiff.passes")
    done = run_fake(fake)
    assert done.run.returncode == 0
    assert done.engine("start") == done.engine("wait") == ["model.h5"]
    alone = run_fake(fake, "-k", "test_own")
    assert (alone.outcomes, alone.engine("wait")) == ({"test_own.py::test_0": "PASSED"}, ["model.h5"])


@pytest.mark.parametrize("arguments", [(), ("test_own.py",)], ids=["all", "own"])
def test_workers_have_it_made_once(fake: Path, arguments: tuple[str, ...]) -> None:
    own(fake, *["kerasdiff: assert kerasdiff.verdict == 'pass'"] * 6)
    done = run_fake(fake, "-p", "xdist", "-n", "2", "--kerasdiff-report=out", *arguments)
    assert done.run.returncode == 0, done.run.stdout + done.run.stderr
    assert [done.outcomes[f"test_own.py::test_{i}"] for i in range(6)] == ["PASSED"] * 6
    assert done.engine("start") == done.engine("wait") == ["model.h5"]
    assert done.run.stdout.count("equivalent: 6 of 6 layers pass") == 1
    assert (fake / "out" / "report.json").is_file()


def test_workers_that_are_not_asked_compare_nothing(fake: Path) -> None:
    own(fake, "keras_config: assert keras_config.inputs")
    done = run_fake(fake, "-p", "xdist", "-n", "2", "test_own.py")
    assert (outcomes(done), done.asked()) == (["PASSED"], [])


# -- which model -----------------------------------------------------------------------------------------------------


def several(folder: Path, wrong: Report) -> None:
    helpers.write_tiny(folder / "other.h5")
    found(folder, wrong, "other")
    (folder / "pytest.ini").write_text(INI.replace("model.h5", "\n  model.h5\n  other.h5"))


def test_of_several_models_nobody_knows_which_is_meant(fake: Path, reports: dict[str, Report]) -> None:
    several(fake, reports["wrong"])
    own(fake, "kerasdiff: pass")
    done = run_fake(fake, "test_own.py")
    assert (done.run.returncode, done.asked()) == (1, [])
    line = only_line(done)
    assert "several Keras models are configured (model.h5, other.h5); override this fixture in conftest.py" in line


def test_the_fixture_that_names_the_model_can_be_overridden(fake: Path, reports: dict[str, Report]) -> None:
    several(fake, reports["wrong"])
    override = '@pytest.fixture(scope="session")\ndef kerasdiff_model():\n    return "other.h5"\n'
    own(fake, "kerasdiff: assert not kerasdiff.passes", conftest=override)
    done = run_fake(fake, "test_own.py")
    assert (outcomes(done), done.engine("wait")) == (["PASSED"], ["other.h5"])
    several_of_them = override.replace("()", "(request)").replace('"other.h5"', "request.param")
    params = several_of_them.replace('"session"', '"session", params=["model.h5", "other.h5"]')
    own(fake, "assert_equivalent: assert_equivalent()", conftest=params)
    done = run_fake(fake, "test_own.py")
    assert done.outcomes == {"test_own.py::test_0[model.h5]": "PASSED", "test_own.py::test_0[other.h5]": "FAILED"}


def test_a_model_that_is_not_configured_is_refused(fake: Path) -> None:
    override = '@pytest.fixture(scope="session")\ndef kerasdiff_model():\n    return "net.h5"\n'
    own(fake, "keras_config: pass", conftest=override)
    line = only_line(run_fake(fake, "test_own.py"))
    assert line == (
        "kerasdiff_model: net.h5 is not configured, only model.h5: add it to keras_model, or give --keras-model"
    )


def test_without_a_model_a_fixture_says_how_to_name_one(fake: Path) -> None:
    (fake / "pytest.ini").write_text("[pytest]\n")
    own(fake, *(f"{name}: pass" for name in sorted(ALL)))
    done = run_fake(fake)
    assert set(done.outcomes.values()) == {"ERROR"}
    line = "no Keras model is configured: give --keras-model=PATH, or write keras_model = PATH into pytest's ini"
    assert done.run.stdout.split("= short test summary")[0].count(line) == len(ALL)
    assert "Traceback" not in done.run.stdout


# -- a run that cannot be made ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2")], ids=["alone", "workers"])
def test_a_run_that_cannot_be_made_is_one_line_in_each_test_that_asks(fake: Path, workers: tuple[str, ...]) -> None:
    note = 'note("wait", self.settings)\n'
    assert note in FAKE_ENGINE
    engine = FAKE_ENGINE.replace(note, f'{note}        raise RunError("no such port")\n')
    (fake / "fake_engine.py").write_text(f"from pytest_kerasdiff.errors import RunError\n{engine}")
    own(fake, "kerasdiff: pass", "assert_eps: assert_eps()", "keras_config: pass")
    done = run_fake(fake, "test_own.py", *workers)
    assert outcomes(done) == ["ERROR", "FAILED", "PASSED"], done.run.stdout
    lines = done.run.stdout.split("= short test summary")[0].splitlines()
    assert lines.count("no such port") == 2
    assert "Traceback" not in done.run.stdout
    assert done.engine("wait") == ["model.h5"] * (1 if workers else 2)


def test_a_port_that_is_not_named_is_one_line(fake: Path) -> None:
    (fake / "pytest.ini").write_text(INI.replace("kerasdiff_torch = port:build\n", ""))
    own(fake, "torch_model: pass")
    assert only_line(run_fake(fake, "test_own.py")).startswith("no torch model is named: give --kerasdiff-torch=")


# -- the report as an object -----------------------------------------------------------------------------------------


def test_the_report_of_a_right_port(reports: dict[str, Report]) -> None:
    report = readable.Report.of(reports["build"])
    assert (report.verdict, report.passes, len(report.layers)) == ("pass", True, 6)
    conv = report.layer("conv2d_3")
    assert (conv.class_name, conv.torch, conv.status, conv.passes) == ("Conv2D", "conv", "pass", True)
    assert conv.isolated is not None
    assert conv.isolated.passes
    assert (conv.isolated.limit, conv.operations) == (1e-5, ("pad", "conv2d"))
    eps = report.check("eps", "batch_normalization")
    assert (eps.status, eps.cause, eps.message, eps.passes) == ("pass", "", "Keras 0.001, port 0.001", True)
    assert report.check("eval_mode").layer == "model"
    assert report.check("frozen").warns
    assert report.data is reports["build"]
    pairs = readable.pairs(report)
    assert readable.Pair("conv2d_3", "Conv2D", "conv", ("pad", "conv2d"), conv.source) in pairs


def test_the_report_of_a_wrong_port(reports: dict[str, Report]) -> None:
    report = readable.Report.of(reports["wrong"])
    conv, flatten = report.layer("conv2d_3"), report.layer("flatten")
    assert (report.verdict, conv.status, conv.passes) == ("fail", "fault", False)
    assert (flatten.status, flatten.inherits_from, flatten.passes) == ("inherited", "conv2d_3", False)
    assert conv.isolated is not None
    assert conv.isolated.max_abs is not None
    assert conv.isolated.max_abs > 1
    assert not readable.Report.of(reports["wrong_eps"]).check("eps", "batch_normalization").passes


def test_a_check_that_is_off_does_not_pass(reports: dict[str, Report]) -> None:
    off = tally.without(reports["wrong_eps"], {("batch_normalization", "eps"): "on purpose"})
    check = readable.Report.of(off).check("eps", "batch_normalization")
    assert (check.status, check.passes, check.warns, check.message) == ("off", False, False, "on purpose")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda r: r.layer("conv2d"), "there is no layer 'conv2d'; did you mean conv2d_3?"),
        (lambda r: r.layer("x"), "there is no layer 'x'; known: input_1, conv2d_3, batch_norm"),
        (lambda r: r.check("weight", "dense"), "there is no check 'weight'; did you mean weights?"),
        (lambda r: r.check("eval-mode"), "there is no check 'eval-mode'; did you mean eval_mode?"),
        (lambda r: r.check("eps", "dense_1"), "there is no layer 'dense_1'; did you mean dense?"),
        (lambda r: r.check("eps", "dense"), "dense has no check 'eps'; it is made for batch_normalization"),
        (lambda r: r.check("eps"), "model has no check 'eps'; it is made for batch_normalization"),
    ],
)
def test_an_unknown_name_is_an_error_with_names_that_are_close(
    reports: dict[str, Report], what: object, message: str
) -> None:
    assert callable(what)
    with pytest.raises(KeyError) as caught:
        what(readable.Report.of(reports["build"]))
    assert str(caught.value).startswith(message)


def test_the_configs_of_layers_are_read_without_keras(fake: Path) -> None:
    own(
        fake,
        "keras_config: assert keras_config.layer('conv2d_3').config['strides'] == [2, 2]",
        "keras_config: assert [la.class_name for la in keras_config][-1] == 'Dense'",
        "keras_config: assert keras_config.inputs[0].shape == (None, 6, 6, 2)",
        "keras_config: keras_config.layer('conv2d')",
    )
    done = run_fake(fake, "test_own.py")
    assert outcomes(done) == ["PASSED", "PASSED", "PASSED", "FAILED"]
    assert "UnknownNameError: there is no layer 'conv2d'; did you mean conv2d_3?" in done.run.stdout


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2")], ids=["alone", "workers"])
def test_the_layers_of_a_file_of_weights_are_those_that_keras_lists(fake: Path, workers: tuple[str, ...]) -> None:
    (fake / "net.json").write_text((fake / "model.json").read_text("utf-8"))
    fake_weights(fake)
    (fake / "pytest.ini").write_text(INI.replace("model.h5", "weights.h5") + "kerasdiff_keras = builders:build\n")
    own(
        fake,
        "keras_config: assert keras_config.layer('dense').config['units'] == 4",
        "kerasdiff: assert kerasdiff.passes",
    )
    done = run_fake(fake, "test_own.py", *workers)
    assert outcomes(done) == ["PASSED"] * 2, done.run.stdout
    assert done.engine("list") == done.engine("start") == ["weights.h5"]


# -- assertions ------------------------------------------------------------------------------------------------------


def test_every_assertion_passes_on_a_right_port(fake: Path) -> None:
    made = sorted({check for _, check in helpers.tiny_checks()})
    own(
        fake,
        *(f"assert_{check}: assert_{check}()" for check in made),
        "assert_equivalent: assert_equivalent('dense')",
        "assert_weights: assert_weights('dense')",
    )
    done = run_fake(fake, "test_own.py")
    assert outcomes(done) == ["PASSED"] * (len(made) + 2), done.run.stdout


def test_assertions_fail_with_what_the_generated_tests_print(fake: Path, reports: dict[str, Report]) -> None:
    found(fake, reports["wrong"])
    own(
        fake,
        "assert_equivalent: assert_equivalent('conv2d_3')",
        "assert_equivalent: assert_equivalent('input_1')",
        "assert_equivalent: assert_equivalent()",
    )
    done = run_fake(fake, "test_own.py")
    assert outcomes(done) == ["FAILED", "PASSED", "FAILED"]
    one, whole = done.run.stdout.split("= FAILURES =")[1].split("__ test_2 __")
    assert "E       AssertionError: conv2d_3 (Conv2D) → conv  [port.py:" in one
    assert "✗ at fault" in one
    assert "inherits from conv2d_3" not in one
    assert whole.count("✗ at fault") == 2
    assert whole.count("inherits from conv2d_3: cumulative ") == 3
    assert "pytest_kerasdiff/" not in one + whole.split("= kerasdiff")[0]


def test_assertions_of_a_check_fail_for_that_check(fake: Path, reports: dict[str, Report]) -> None:
    found(fake, reports["wrong_eps"])
    own(
        fake,
        "assert_eps: assert_eps('batch_normalization')",
        "assert_eps: assert_eps()",
        "assert_weights: assert_weights()",
        "assert_eps: assert_eps('dense')",
        "assert_preprocessing: assert_preprocessing()",
    )
    done = run_fake(fake, "test_own.py")
    assert outcomes(done) == ["FAILED", "FAILED", "PASSED", "FAILED", "FAILED"]
    assert done.run.stdout.count("AssertionError: batch_normalization: eps: Keras 0.001, port 1e-05") >= 2
    assert "dense has no check 'eps'; it is made for batch_normalization" in done.run.stdout
    assert "the manifest has no [preprocess]; name both functions there" in done.run.stdout


def test_a_check_that_concerns_no_layer_proves_nothing(fake: Path, reports: dict[str, Report]) -> None:
    checks = [c for c in reports["build"]["checks"] if c["check"] != "eps"]
    found(fake, {**reports["build"], "checks": checks})
    own(fake, "assert_eps: assert_eps()")
    done = run_fake(fake, "test_own.py")
    assert outcomes(done) == ["FAILED"]
    assert "the check eps concerns no layer of this model: nothing was compared" in done.run.stdout


def test_assertions_of_checks_that_are_off_are_skipped_with_the_reason(fake: Path, reports: dict[str, Report]) -> None:
    off = {("batch_normalization", "eps"): "on purpose", ("dense", "weights"): "rounded"}
    found(fake, tally.without(reports["wrong_eps"], off))
    own(fake, "assert_eps: assert_eps()", "assert_weights: assert_weights()", "assert_weights: assert_weights('dense')")
    done = run_fake(fake, "-rs", "test_own.py")
    assert outcomes(done) == ["SKIPPED", "PASSED", "SKIPPED"]
    assert "turned off: on purpose" in done.run.stdout
    assert "turned off: rounded" in done.run.stdout


MODULE = """
class Module:
    def __init__(self, training, **parts):
        self.training, self.parts = training, parts

    def named_modules(self):
        return [("", self), *self.parts.items()]
"""


def test_the_mode_of_a_module_of_ones_own(fake: Path) -> None:
    own(
        fake,
        "assert_eval_mode: assert_eval_mode(Module(False, bn=Module(False)))",
        "assert_eval_mode: assert_eval_mode(Module(False, bn=Module(True)))",
        "assert_eval_mode: assert_eval_mode(Module(True))",
        "assert_eval_mode: assert_eval_mode(3)",
    )
    (fake / "test_own.py").write_text(MODULE + (fake / "test_own.py").read_text())
    done = run_fake(fake, "test_own.py")
    assert (outcomes(done), done.asked()) == (["PASSED", "FAILED", "FAILED", "FAILED"], [])
    assert "AssertionError: in training mode: bn; call .eval() on the port" in done.run.stdout
    assert "AssertionError: in training mode: the model; call .eval() on the port" in done.run.stdout
    assert "TypeError: assert_eval_mode: got int, expected a torch.nn.Module" in done.run.stdout


# -- what pytest shows -----------------------------------------------------------------------------------------------


def test_preprocessing_functions_of_ones_own(fake: Path) -> None:
    (fake / "prepare.py").write_text(
        "import numpy as np\n"
        "raw = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)\n"
        "def keras(x): return x[..., ::-1].astype('float32')\n"
        "def torch(x): return keras(x).transpose(2, 0, 1)\n"
        "def divided(x): return torch(x) / 255\n"
        "def rgb(x): return x.astype('float32').transpose(2, 0, 1)\n"
        "def raises(x): raise ValueError('no')\n"
    )
    ask = "assert_preprocessing: import prepare as p; assert_preprocessing"
    own(
        fake,
        f"{ask}(p.keras, p.torch, p.raw)",
        f"{ask}(p.keras, p.keras, p.raw, layout=(0, 1, 2, 3))",
        f"{ask}(p.keras, p.divided, p.raw)",
        f"{ask}(p.keras, p.rgb, p.raw)",
        f"{ask}(p.keras, p.raises, p.raw)",
        f"{ask}(p.keras)",
    )
    done = run_fake(fake, "test_own.py", "-p", "no:cacheprovider")
    assert outcomes(done) == ["PASSED", "PASSED", "FAILED", "FAILED", "FAILED", "FAILED"]
    assert "AssertionError: preprocessing: the port divides by 255 and Keras does not" in done.run.stdout
    assert "AssertionError: preprocessing: the port has the channels in RGB order" in done.run.stdout or (
        "channels" in done.run.stdout
    )
    assert "AssertionError: raises raised ValueError on a numpy array of shape (6, 5, 3), uint8" in done.run.stdout
    assert "TypeError: assert_preprocessing: expected two functions and an array of raw samples" in done.run.stdout


def test_fixtures_are_listed_with_what_they_are(fake: Path) -> None:
    done: subprocess.CompletedProcess[str] = run_fake(fake, "--fixtures").run
    lines = done.stdout.splitlines()
    for name in ALL:
        (at,) = [i for i, line in enumerate(lines) if line.startswith((f"{name} ", f"{name} [")) and "--" in line]
        assert lines[at + 1].startswith("    ")
        assert "no docstring" not in lines[at + 1]
    text = " ".join(done.stdout.split())
    assert f"Asserts the check eps: {OF_A_LAYER['eps']}. Call it with a layer's name" in text
