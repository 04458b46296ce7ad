"""The plugin in real pytest runs. Two of them run both frameworks; where only pytest's side matters, the engine is
replaced by the reports of the first."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_kerasdiff.writers import files
from tests import helpers
from tests.helpers import LAYERS, run_pytest

#: Notes which processes a pytest process starts and which frameworks it has imported at its end.
CONFTEST = """
import os, sys
from pathlib import Path

HERE = Path(__file__).parent
WATCHED = {"numpy", "h5py", "torch", "keras", "tf_keras", "tensorflow"}


def note(event, arguments):
    if event == "subprocess.Popen":
        with (HERE / "processes.log").open("a") as log:
            print(*arguments[1], file=log)


sys.addaudithook(note)


def pytest_collection_modifyitems(items):
    import pytest

    for item in items:
        if item.nodeid == "wrong/net.h5::activation::output":
            item.add_marker(pytest.mark.xfail(reason="known", strict=True))


def pytest_unconfigure():
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    own = {m for m in sys.modules if m.startswith("pytest_kerasdiff")}
    (HERE / f"modules-{worker}.txt").write_text(" ".join(sorted(sys.modules.keys() & WATCHED | own)))
"""

#: Stands in for the two processes: hands over a report made before, and notes what it was asked.
FAKE_ENGINE = """
import json, os, shutil, tempfile
from pathlib import Path
from pytest_kerasdiff import child, supervisor

HERE = Path(__file__).parent


def note(what, settings):
    with (HERE / "engine.log").open("a") as log:
        print(json.dumps([what, settings.keras_model.name, settings.to_json()]), file=log)


class Run:
    def __init__(self, settings, rootdir, folder=None, sides=supervisor.SIDES, cache=None, starts=True):
        self.sides, self.started, self.runs = sides, False, False
        self.settings, self.folder = settings, Path(tempfile.mkdtemp(prefix="kerasdiff-"))
        if starts:
            self.start()

    def start(self, at_once=1):
        self.started = True
        note("start" if self.sides == supervisor.SIDES else "list", self.settings)
        if (HERE / child.LAYERS).exists():
            shutil.copy(HERE / child.LAYERS, self.folder)
            (self.folder / child.REFERENCE_TRACE).touch()

    def wait_for_scan(self):
        pass

    def layers(self):
        return json.loads((self.folder / child.LAYERS).read_text("utf-8"))

    def wait(self, watch=lambda: None):
        watch()
        note("wait", self.settings)
        text = (HERE / f"{self.settings.keras_model.stem}.json").read_text("utf-8")
        (self.folder / child.REPORT).write_text(text, "utf-8")
        return json.loads(text)

    def close(self):
        shutil.rmtree(self.folder)


supervisor.Run = Run
supervisor.scan = lambda settings, rootdir: None
"""

MODELS = ("--keras-model=model.h5", "--keras-model=wrong/net.h5")
CHECKS = helpers.tiny_checks()
#: Outcome of each test of the right model, of the wrong one, and of the user's own.
OUTCOMES = {
    **{f"model.h5::{name}::output": "PASSED" for name in LAYERS},
    **{f"{model}::{name}::{check}": "PASSED" for model in ("model.h5", "wrong/net.h5") for name, check in CHECKS},
    **{f"wrong/net.h5::{name}::{check}": "FAILED" for name, check in helpers.TINY_WRONG},
    "wrong/net.h5::input_1::output": "PASSED",
    "wrong/net.h5::conv2d_3::output": "FAILED",
    "wrong/net.h5::batch_normalization::output": "FAILED",
    "wrong/net.h5::activation::output": "XFAIL",
    "wrong/net.h5::flatten::output": "FAILED",
    "wrong/net.h5::dense::output": "FAILED",
    "test_own.py::test_own": "PASSED",
}
WRONG_TESTS = [name for name in OUTCOMES if name.startswith("wrong/")]


@dataclasses.dataclass(frozen=True)
class Done:
    """A pytest run and the folder it ran in."""

    folder: Path
    run: subprocess.CompletedProcess[str]

    @property
    def outcomes(self) -> dict[str, str]:
        """Outcome of each test, as ``-v`` prints it."""
        words = {"PASSED", "FAILED", "XFAIL", "XPASS", "ERROR", "SKIPPED"}
        found = {}
        for line in self.run.stdout.split("= FAILURES =")[0].splitlines():
            parts = line.split()
            if parts and parts[0].startswith("[gw"):  # "[gw0] [ 14%] PASSED name"
                parts = [parts[-1], parts[-2]]
            if len(parts) > 1 and "::" in parts[0] and parts[1] in words:
                assert parts[0] not in found
                found[parts[0]] = parts[1]
        return found

    def started(self) -> list[str]:
        """The two kinds of processes the run has started, in any order."""
        log = self.folder / "processes.log"
        lines = log.read_text().splitlines() if log.exists() else []
        sides = ("reference", "candidate")
        return sorted(side for line in lines for side in sides if f"pytest_kerasdiff.{side}" in line)

    def modules(self, process: str = "main") -> set[str]:
        """What was imported in a pytest process at its end."""
        return set((self.folder / f"modules-{process}.txt").read_text().split())

    def engine(self, what: str) -> list[str]:
        """Models that the replaced engine was asked to start, or waited for."""
        return [name for event, name, _ in self.asked() if event == what]

    def asked(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Everything the replaced engine was asked."""
        log = self.folder / "engine.log"
        return [tuple(json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []


def project(folder: Path) -> Path:
    """A right model in the root folder, a wrong one below, both with a manifest, and a test of the user's own."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "port.py").write_text(helpers.TINY_PORT)
    (folder / "test_own.py").write_text("def test_own():\n    pass\n")
    helpers.write_tiny(folder / "model.h5")
    helpers.write_tiny(folder / "wrong" / "net.h5")
    (folder / "kerasdiff.toml").write_text('torch = "port:build"\n')
    (folder / "wrong" / "kerasdiff.toml").write_text('torch = "port:wrong"\n')
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Both models compared by the real engine in one run."""
    folder = project(tmp_path_factory.mktemp("real"))
    options = ("-v", "--strict-markers", "--junitxml=junit.xml", "--kerasdiff-report=reports")
    return Done(folder, run_pytest(folder, *MODELS, *options))


@pytest.fixture
def fake(real: Done, tmp_path: Path) -> Path:
    """The same project for runs whose engine hands over the reports of the real one."""
    project(tmp_path)
    (tmp_path / "fake_engine.py").write_text(FAKE_ENGINE)
    for name in ("model", "net"):
        (tmp_path / f"{name}.json").write_text((real.folder / "reports" / name / "report.json").read_text("utf-8"))
    return tmp_path


def failed(done: Done) -> list[str]:
    return [name for name, outcome in done.outcomes.items() if outcome == "FAILED"]


def run_fake(folder: Path, *arguments: str | Path) -> Done:
    for log in ("engine.log", "processes.log"):
        (folder / log).unlink(missing_ok=True)
    # Loading every plugin installed takes most of the time of such a run.
    plugins = ("-p", "pytest_kerasdiff.plugin", "-p", "fake_engine")
    done = Done(folder, run_pytest(folder, "-v", *plugins, *arguments, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"))
    assert helpers.left_behind(folder / "tmp") == []
    return done


# -- one real run ----------------------------------------------------------------------------------------------------


def test_every_layer_is_a_test_beside_the_users_own(real: Done) -> None:
    assert real.run.returncode == 1
    assert real.outcomes == OUTCOMES
    assert {"model.h5::conv2d_3::weights", "model.h5::batch_normalization::eps"} < real.outcomes.keys()
    passed = list(OUTCOMES.values()).count("PASSED")
    assert f"{4 + len(helpers.TINY_WRONG)} failed, {passed} passed, 1 xfailed" in real.run.stdout


def test_each_model_has_one_process_for_each_framework_and_pytest_has_none(real: Done) -> None:
    assert real.started() == ["candidate", "candidate", "reference", "reference"]
    assert not real.modules() & {"torch", "keras", "tf_keras", "tensorflow"}


def test_nothing_is_left_behind(real: Done) -> None:
    assert helpers.left_behind(real.folder / "tmp") == []
    assert helpers.processes_of(real.folder) == []


def test_the_header_names_each_model_and_its_port(real: Done) -> None:
    said = [line for line in real.run.stdout.splitlines() if line.startswith("kerasdiff: ")]
    lines = [line for line in said if not line.endswith("…")]  # of what takes long on a busy machine
    assert len(lines) == 2
    assert lines[0].startswith("kerasdiff: model.h5 (Keras 3.15.1) against ")
    assert lines[0].endswith("precision float64, tolerance 1e-05")
    assert lines[1].startswith("kerasdiff: wrong/net.h5 ")


def test_the_summary_gives_the_verdict_of_each_model(real: Done) -> None:
    lines = real.run.stdout.splitlines()
    checks = f"{len(CHECKS)} of {len(CHECKS)} checks pass"
    assert f"equivalent: 6 of 6 layers pass, {checks}" in lines
    checks = f"{len(CHECKS) - len(helpers.TINY_WRONG)} of {len(CHECKS)} checks pass"
    assert f"NOT equivalent: 1 of 6 layers pass, 2 layers at fault, 3 inherit, {checks}" in lines
    assert any("= kerasdiff model.h5 =" in line for line in lines)
    faults = [line for line in lines if line.startswith("  fault ")]
    assert [line.split()[1] for line in faults] == ["conv2d_3", "dense"]


def test_a_failure_is_a_block_that_says_where_and_how_much(real: Done) -> None:
    failures = real.run.stdout.split("= FAILURES =")[1].split("= kerasdiff ")[0]
    lines = failures.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("conv2d_3 (Conv2D) → conv"))
    title, isolated, cumulative, where, cause, tried, operations, *_ = lines[start:]
    assert title.startswith("conv2d_3 (Conv2D) → conv  [port.py:")
    assert isolated.split()[0] == "isolated"
    assert isolated.endswith("limit 1e-05     ✗ at fault")
    assert cumulative.split()[0] == "cumulative"
    assert "worst at (" in where
    assert "of elements differ" in where
    assert cause.startswith(
        "  cause        same-padding: padding 'same': Keras (0, 1) on H and (0, 1) on W, port (1, 1)"
    )
    assert tried.startswith("  tried        ")
    assert tried.endswith("confirmed on a second input")
    assert operations.split() == ["operations", "pad", "→", "conv2d"]
    assert "Traceback" not in failures
    assert "pytest_kerasdiff/" not in failures


def test_a_layer_that_inherits_fails_in_one_line_that_names_the_fault(real: Done) -> None:
    lines = real.run.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("flatten (Flatten)"))
    assert lines[at + 1].startswith("  inherits from conv2d_3: cumulative ")
    assert lines[at + 1].endswith("isolated within the limit")


def test_junit_carries_the_verdict_of_each_layer(real: Done) -> None:
    root = ElementTree.parse(real.folder / "junit.xml").getroot()
    found = {}
    for case in root.iter("testcase"):
        properties = {p.get("name"): p.get("value") for p in case.iter("property")}
        found[case.get("classname"), case.get("name")] = properties
    assert len(found) == len(OUTCOMES)
    fault = found["wrong.net.h5.conv2d_3", "output"]
    assert fault["kerasdiff_status"] == "fault"
    assert float(fault["kerasdiff_isolated_max_abs"] or 0) > 1
    assert found["model.h5.dense", "output"]["kerasdiff_status"] == "pass"
    assert float(found["model.h5.dense", "output"]["kerasdiff_cumulative_max_abs"] or 1) < 1e-12
    assert found["wrong.net.h5.flatten", "output"]["kerasdiff_status"] == "inherited"


def test_each_report_is_in_a_folder_of_its_own(real: Done) -> None:
    reports = {p.relative_to(real.folder / "reports").as_posix() for p in (real.folder / "reports").rglob("*")}
    written = ("report.json", *files.FORMS)
    assert reports == {"model", "net", *(f"{name}/{file}" for name in ("model", "net") for file in written)}
    net = json.loads((real.folder / "reports" / "net" / "report.json").read_text("utf-8"))
    assert (net["verdict"], net["torch"]) == ("fail", "port:wrong")


def test_two_workers_give_the_same_outcomes_from_one_process_for_each_framework(real: Done, tmp_path: Path) -> None:
    folder = project(tmp_path)
    done = Done(folder, run_pytest(folder, *MODELS, "-v", "-n", "2"))
    assert done.run.returncode == 1
    assert done.outcomes == real.outcomes
    assert done.started() == real.started()
    assert not done.modules() & {"torch", "keras", "tf_keras", "tensorflow"}
    for worker in ("gw0", "gw1"):
        assert not done.modules(worker) & {"numpy", "h5py", "torch", "keras", "tf_keras", "tensorflow"}
    assert "NOT equivalent: 1 of 6 layers pass, 2 layers at fault, 3 inherit" in done.run.stdout
    assert done.run.stdout.count("= kerasdiff net.h5 =") == 1
    assert helpers.left_behind(folder / "tmp") == []


# -- pytest's side ---------------------------------------------------------------------------------------------------


def test_without_an_option_nothing_is_imported(tmp_path: Path) -> None:
    folder = project(tmp_path)
    done = Done(folder, run_pytest(folder, "-v"))
    assert done.run.returncode == 0
    assert done.outcomes == {"test_own.py::test_own": "PASSED"}
    allowed = {f"pytest_kerasdiff{m}" for m in ("", ".plugin", ".options", ".errors", ".checklist", ".fixtures")}
    assert done.modules() <= allowed
    # Plugins are listed by pytest, and by pytest-metadata.
    lines = [line for line in done.run.stdout.splitlines() if not line.startswith(("plugins:", "metadata:"))]
    assert "kerasdiff" not in "\n".join(lines)


@pytest.mark.parametrize("spec", [True, False], ids=["port-named", "no-port-named"])
def test_collect_only_lists_the_tests_and_starts_nothing(tmp_path: Path, spec: bool) -> None:
    folder = project(tmp_path)
    if not spec:
        (folder / "kerasdiff.toml").unlink()
        (folder / "wrong" / "kerasdiff.toml").unlink()
    done = Done(folder, run_pytest(folder, *MODELS, "--collect-only", "-q"))
    assert done.run.returncode == 0
    lines = [line for line in done.run.stdout.splitlines() if "::" in line]
    assert sorted(lines) == sorted(OUTCOMES)
    assert done.started() == []
    assert not done.modules() & {"torch", "keras", "tf_keras", "tensorflow"}


@pytest.mark.parametrize("option", ["--fixtures", "--fixtures-per-test", "--markers", "--setup-plan", "--cache-show"])
def test_options_that_only_show_something_start_nothing(fake: Path, option: str) -> None:
    done = run_fake(fake, *MODELS, option)
    assert done.run.returncode == 0, done.run.stdout + done.run.stderr
    assert done.asked() == []


@pytest.mark.parametrize(
    ("options", "status", "tests"),
    [
        pytest.param(("-k", "conv2d_3"), 1, [n for n in OUTCOMES if "::conv2d_3::" in n], id="layer"),
        pytest.param(("-k", "eps"), 0, [n for n in OUTCOMES if n.endswith("eps")], id="check"),
        pytest.param(("-k", "net.h5 and finite"), 0, [n for n in WRONG_TESTS if "finite" in n], id="expression"),
        pytest.param(("-m", "not kerasdiff"), 0, ["test_own.py::test_own"], id="marker"),
        pytest.param(("-m", "kerasdiff"), 1, [n for n in OUTCOMES if "own" not in n], id="generated"),
        pytest.param(("model.h5",), 1, [n for n in OUTCOMES if "own" not in n], id="file"),
        pytest.param(
            ("model.h5::dense",), 1, [n for n in OUTCOMES if "h5::dense" in n or n in WRONG_TESTS], id="layer-id"
        ),
        pytest.param(
            ("model.h5::dense::output", "wrong/net.h5::conv2d_3::output"),
            1,
            ["model.h5::dense::output", "wrong/net.h5::conv2d_3::output"],
            id="node-ids",
        ),
    ],
)
def test_selection(fake: Path, options: tuple[str, ...], status: int, tests: list[str]) -> None:
    done = run_fake(fake, *MODELS, *options)
    assert done.run.returncode == status, done.run.stdout
    assert done.outcomes == {name: OUTCOMES[name] for name in tests}


def test_models_whose_tests_are_deselected_are_not_waited_for(fake: Path) -> None:
    assert run_fake(fake, *MODELS, "--deselect", "wrong/net.h5").engine("wait") == ["model.h5"]
    assert run_fake(fake, *MODELS, "-k", "net").engine("wait") == ["net.h5"]
    done = run_fake(fake, *MODELS, "-k", "nothing_has_this_name")
    assert (done.run.returncode, done.engine("wait")) == (5, [])
    assert done.engine("start") == ["model.h5"]  # one after the other, and nobody waited for it


def test_a_model_whose_name_ends_like_anothers_is_not_taken_for_it(fake: Path) -> None:
    helpers.write_tiny(fake / "t.h5")  # "net.h5::" ends with "t.h5::"
    (fake / "t.json").write_text((fake / "model.json").read_text("utf-8"))
    done = run_fake(fake, "--keras-model=t.h5", *MODELS, "-k", "net")
    assert done.engine("wait") == ["net.h5"]


def test_x_stops_at_the_first_layer_at_fault_and_lf_runs_it_again(fake: Path) -> None:
    first = run_fake(fake, *MODELS, "-x", "--deselect", "test_own.py")
    assert first.run.returncode == 1
    assert failed(first) == ["wrong/net.h5::conv2d_3::output"]
    again = run_fake(fake, *MODELS, "--lf")
    assert again.outcomes == {"wrong/net.h5::conv2d_3::output": "FAILED"}
    assert again.engine("wait") == ["net.h5"]


def test_a_mistake_in_a_manifest_is_one_line(fake: Path) -> None:
    (fake / "kerasdiff.toml").write_text('[checks]\n"dense::weigths" = { off = "why" }\n')
    done = run_fake(fake, *MODELS)
    assert done.run.returncode == 4
    (line,) = helpers.errors(done.run.stderr.splitlines())
    assert "there is no check 'weigths'" in line


def test_a_skip_mark_of_the_users_skips(fake: Path) -> None:
    (fake / "conftest.py").write_text(
        "import pytest\n\n\ndef pytest_collection_modifyitems(items):\n"
        "    for item in items:\n        if item.name == 'eps':\n"
        "            item.add_marker(pytest.mark.skip(reason='known'))\n"
    )
    done = run_fake(fake, "--keras-model=model.h5", "-rs")
    assert done.run.returncode == 0, done.run.stdout
    assert done.outcomes["model.h5::batch_normalization::eps"] == "SKIPPED"


def test_a_switch_of_the_command_line_may_speak_of_one_of_several_models(fake: Path) -> None:
    (fake / "wrong" / "net.h5").unlink()
    two = helpers.tiny_config()["config"]["layers"][:2]
    helpers.write_keras(fake / "wrong" / "net.h5", helpers.functional(two, "conv2d_3"), helpers.tiny_weights())
    off = "--kerasdiff-off=batch_normalization::eps: why"
    done = run_fake(fake, *MODELS, off)
    assert helpers.errors(done.run.stderr.splitlines()) == []
    asked = {name: settings["off"] for what, name, settings in done.asked() if what == "start"}
    assert [len(asked[name]) for name in ("model.h5", "net.h5")] == [1, 0]
    none = run_fake(fake, *MODELS, "--kerasdiff-off=batch_norm::eps: why")
    assert none.run.returncode == 4
    assert "batch_norm::eps: no such check is made" in none.run.stderr


def test_a_model_outside_rootdir(fake: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = helpers.write_tiny(tmp_path_factory.mktemp("elsewhere") / "net.h5")
    options = (f"--keras-model={outside}", "--kerasdiff-torch=port:wrong")
    first = run_fake(fake, *options)
    assert first.run.returncode == 1
    names = failed(first)
    assert {f"{outside}::{name}::output" for name in LAYERS[1:]} < set(names)
    again = run_fake(fake, *options, "--lf")
    assert list(again.outcomes) == names
    by_id = run_fake(fake, *options, f"{outside}::dense::output")
    assert [name.split("net.h5::")[1] for name in by_id.outcomes] == ["dense::output"]


def test_ini_keys_stand_in_for_flags_and_flags_win(fake: Path) -> None:
    (fake / "pytest.ini").write_text(
        "[pytest]\nkeras_model =\n    model.h5\n    wrong/net.h5\n"
        "kerasdiff_torch = port:build\nkerasdiff_tol = 1e-3\nkerasdiff_batch = 3\n"
        "kerasdiff_manifest = wrong/kerasdiff.toml\n"
    )
    done = run_fake(fake)
    assert done.outcomes == OUTCOMES
    settings = [settings for what, _, settings in done.asked() if what == "start"]
    assert [(s["torch"], s["tol"], s["batch"]) for s in settings] == [("port:build", 1e-3, 3)] * 2
    assert settings[0]["manifest"] == str(fake / "wrong" / "kerasdiff.toml")
    done = run_fake(fake, "--keras-model=model.h5", "--kerasdiff-tol=1e-4")
    (one,) = [settings for what, _, settings in done.asked() if what == "start"]
    assert (one["tol"], one["batch"]) == (1e-4, 3)
    # Named by the ini, a model is not forced upon somebody who runs one file.
    assert run_fake(fake, "test_own.py").outcomes == {"test_own.py::test_own": "PASSED"}


def test_paths_of_flags_refer_to_the_current_folder_and_those_of_the_ini_to_rootdir(fake: Path) -> None:
    (fake / "pytest.ini").write_text("[pytest]\nkerasdiff_report = reports\n")
    arguments = ("-p", "fake_engine", "-c", "../pytest.ini", "--rootdir=..")
    helpers.run_pytest(fake / "wrong", "--keras-model=net.h5", *arguments, PYTHONPATH=f"{fake}:{helpers.ROOT}")
    done = Done(fake, subprocess.CompletedProcess([], 0))
    assert done.engine("start") == ["net.h5"]
    assert (fake / "reports" / "report.json").is_file()


def test_reports_of_models_of_one_name_do_not_overwrite_each_other(fake: Path) -> None:
    for folder in ("a", "b"):
        helpers.write_tiny(fake / folder / "net.h5")
    run_fake(fake, "--keras-model=a/net.h5", "--keras-model=b/net.h5", "--kerasdiff-report=reports")
    assert len(list((fake / "reports").rglob("report.json"))) == 2


def test_the_users_broken_test_file_does_not_hide_the_verdicts(fake: Path) -> None:
    (fake / "test_broken.py").write_text("import there_is_no_such_module\n")
    stopped = run_fake(fake, *MODELS)
    assert (stopped.run.returncode, stopped.engine("wait")) == (2, [])
    done = run_fake(fake, *MODELS, "--continue-on-collection-errors")
    assert {name: outcome for name, outcome in done.outcomes.items() if name in OUTCOMES} == OUTCOMES


def test_a_model_that_is_collected_through_its_folder_is_collected_once(fake: Path) -> None:
    assert run_fake(fake, *MODELS, ".").outcomes == OUTCOMES
    generated = {name: outcome for name, outcome in OUTCOMES.items() if "own" not in name}
    assert run_fake(fake, *MODELS, "wrong", "model.h5").outcomes == generated


def test_layers_that_have_one_name_in_node_ids_are_all_collected(tmp_path: Path) -> None:
    text = json.dumps(helpers.tiny_config()).replace('"conv2d_3"', '"a::b"').replace('"flatten"', '"a:b"')
    helpers.write_keras(tmp_path / "net.h5", json.loads(text), helpers.tiny_weights())
    done = helpers.run_pytest(tmp_path, "--keras-model=net.h5", "--kerasdiff-torch=port:build", "--collect-only", "-q")
    assert done.stdout.count("net.h5::a:b::output\n") == 2, done.stdout


def test_a_layer_that_keras_did_not_run_fails(fake: Path) -> None:
    report = json.loads((fake / "model.json").read_text("utf-8"))
    report["layers"] = [la for la in report["layers"] if la["name"] != "flatten"]
    report["checks"] = []
    (fake / "model.json").write_text(json.dumps(report))
    done = run_fake(fake, "--keras-model=model.h5")
    assert set(failed(done)) == {
        "model.h5::flatten::output",
        *(f"model.h5::{name}::{check}" for name, check in CHECKS),
    }
    assert done.run.stdout.count("nothing was compared") >= 2


def test_workers_look_the_reports_up(fake: Path) -> None:
    done = run_fake(fake, "-p", "xdist", "-n", "2", *MODELS, "-k", "not own")
    assert done.outcomes == {name: outcome for name, outcome in OUTCOMES.items() if "own" not in name}
    assert done.engine("start") == done.engine("wait") == ["model.h5", "net.h5"]


WEIGHTS_ONLY = ("--keras-model=weights.h5", "--kerasdiff-keras=builders:build")


def fake_weights(folder: Path) -> None:
    """A file of weights whose layers the replaced engine knows as Keras would."""
    helpers.write_keras(folder / "weights.h5", None, helpers.tiny_weights())
    (folder / "builders.py").write_text(helpers.KERAS_BUILDERS)
    (folder / "weights.json").write_text((folder / "net.json").read_text("utf-8"))
    layers = [(la["name"], la["class_name"], la["config"]) for la in helpers.tiny_config()["config"]["layers"]]
    (folder / "layers.json").write_text(json.dumps(layers))


def test_the_layers_of_a_file_of_weights_are_those_of_the_model_that_code_builds(fake: Path) -> None:
    fake_weights(fake)
    options = (*WEIGHTS_ONLY, "-k", "not own")
    wanted = {n.replace("wrong/net", "weights"): OUTCOMES[n].replace("XFAIL", "FAILED") for n in WRONG_TESTS}
    alone = run_fake(fake, *options)
    assert alone.outcomes == wanted
    assert alone.engine("wait") == ["weights.h5"]
    assert run_fake(fake, "-p", "xdist", "-n", "2", *options).outcomes == wanted


def test_the_layers_of_a_file_of_weights_are_listed_by_keras_alone_and_kept(fake: Path) -> None:
    fake_weights(fake)
    options = ("-p", "xdist", "--collect-only", "-qq", "-k", "not own", *WEIGHTS_ONLY)

    def collected(*more: str) -> Done:
        done = run_fake(fake, *options, *more)
        lines = {line for line in done.run.stdout.splitlines() if "::" in line}
        assert lines == {name.replace("wrong/net", "weights") for name in WRONG_TESTS}, done.run.stdout
        assert not done.modules() & {"torch", "keras", "tf_keras", "tensorflow"}
        assert done.engine("start") == []
        return done

    assert collected().engine("list") == ["weights.h5"]
    assert collected().engine("list") == []
    assert collected("-n", "2").engine("list") == []
    assert collected("-p", "no:cacheprovider").engine("list") == ["weights.h5"]
    assert collected("--kerasdiff-batch=3").engine("list") == ["weights.h5"]
    (fake / "builders.py").write_text("changed = True\n")
    assert collected().engine("list") == ["weights.h5"]
    helpers.write_keras(fake / "weights.h5", None, {"dense": {}})
    assert collected().engine("list") == ["weights.h5"]
    assert collected().engine("list") == []


def test_the_same_model_twice_is_a_usage_error(fake: Path) -> None:
    run = run_fake(fake, "--keras-model=model.h5", "--keras-model=./model.h5").run
    assert run.returncode == 4
    assert "the same file is named twice" in run.stderr


@pytest.mark.parametrize("option", ["record=ref.h5", "reference=ref.h5", "write-manifest=kerasdiff.toml"])
def test_an_option_that_speaks_of_one_model_is_a_usage_error_with_two(option: str, fake: Path) -> None:
    shutil.copy(fake / "model.h5", fake / "other.h5")
    run = run_fake(fake, "--keras-model=model.h5", "--keras-model=other.h5", f"--kerasdiff-{option}").run
    assert run.returncode == 4
    assert "speak of one model: run it for one at a time" in run.stderr


@pytest.fixture(autouse=True)
def _no_process_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert helpers.processes_of(tmp_path) == []
