"""Checks that are turned off by the ini, an option, the program or a marker: with a reason, never in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_kerasdiff import options, tally
from pytest_kerasdiff.checklist import Switch
from pytest_kerasdiff.errors import RunError
from pytest_kerasdiff.options import Settings
from pytest_kerasdiff.writers import terminal
from tests import helpers
from tests.helpers import Report
from tests.test_plugin import FAKE_ENGINE, Done, run_fake

EPS = ("batch_normalization", "eps")
TEST = "model.h5::batch_normalization::eps"
OFF = "batch_normalization::eps: the product's epsilon, on purpose"
REASON = "the product's epsilon, on purpose"
NUMBER = len(helpers.tiny_checks())
#: Its epsilon is wrong by so little that only the check of it can tell.
PORT = f"""{helpers.TINY_PORT}

def near(path):
    return Tiny(path, eps=1.0001e-3).eval()
"""


def project(folder: Path, ini: str = "") -> Path:
    """A model whose port has another epsilon, and no other fault."""
    (folder / "pytest.ini").write_text(f"[pytest]\nkeras_model = model.h5\nkerasdiff_torch = port:near\n{ini}")
    (folder / "port.py").write_text(PORT)
    helpers.write_tiny(folder / "model.h5")
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The one run of both frameworks: the ini turns the check off."""
    folder = project(tmp_path_factory.mktemp("real"), f"kerasdiff_off =\n    {OFF}\nkerasdiff_report = out\n")
    return Done(folder, helpers.run_pytest(folder, "-v", "-rs"))


@pytest.fixture
def fake(real: Done, tmp_path: Path) -> Path:
    """The same project for runs whose engine hands over a report in which that check fails."""
    folder = project(tmp_path)
    report = read(real.folder)
    checks = [
        {**check, "status": "fail", "cause": "eps"} if (check["layer"], check["check"]) == EPS else check
        for check in report["checks"]
    ]
    found = {**report, "checks": checks, "verdict": "fail", "summary": tally.summary(report["layers"], checks)}
    (folder / "model.json").write_text(json.dumps(found))
    (folder / "fake_engine.py").write_text(FAKE_ENGINE)
    return folder


def read(folder: Path) -> Report:
    report: Report = json.loads((folder / "out" / "report.json").read_text("utf-8"))
    return report


def check_of(report: Report, layer: str, name: str) -> dict[str, Any]:
    (check,) = (c for c in report["checks"] if (c["layer"], c["check"]) == (layer, name))
    return dict(check)


# -- by options ------------------------------------------------------------------------------------------------------


def test_a_check_that_the_ini_turns_off_is_listed_with_the_reason(real: Done) -> None:
    assert real.run.returncode == 0, real.run.stdout + real.run.stderr
    assert real.outcomes[TEST] == "SKIPPED"
    assert [name for name, outcome in real.outcomes.items() if outcome != "PASSED"] == [TEST]
    assert f"turned off: {REASON}" in real.run.stdout
    report = read(real.folder)
    assert check_of(report, *EPS) == {
        **{"check": "eps", "layer": "batch_normalization"},
        **{"status": "off", "cause": "", "message": REASON},
    }
    assert report["verdict"] == "pass"
    counts = report["summary"]
    assert (counts["checks"], counts["checks_failed"], counts["checks_off"]) == (NUMBER - 1, 0, 1)
    lines = real.run.stdout.splitlines()
    assert f"equivalent: 6 of 6 layers pass, {NUMBER - 1} of {NUMBER - 1} checks pass, 1 off" in lines
    assert f"  off       eps of batch_normalization: {REASON}" in lines


def test_a_check_that_is_not_off_fails(fake: Path) -> None:
    done = run_fake(fake, "--kerasdiff-report=out")
    assert [name for name, outcome in done.outcomes.items() if outcome != "PASSED"] == [TEST]
    assert read(fake)["verdict"] == "fail"
    assert f"NOT equivalent: 6 of 6 layers pass, {NUMBER - 1} of {NUMBER} checks pass" in done.run.stdout


def test_options_are_added_to_the_ini_and_repeat(fake: Path) -> None:
    ini = "kerasdiff_off =\n    conv2d_3::weights: first\n    dense::hyper: second\n"
    project(fake, ini)
    done = run_fake(fake, f"--kerasdiff-off={OFF}", "--kerasdiff-off", "conv*::weights: third")
    (settings,) = (s for what, _, s in done.asked() if what == "start")
    assert [(s["layer"], s["check"], s["off"]) for s in settings["off"]] == [
        ("conv2d_3", "weights", "first"),
        ("dense", "hyper", "second"),
        (*EPS, REASON),
        ("conv*", "weights", "third"),
    ]


WRONG = {
    "no-reason": ("batch_normalization::eps", "expected LAYER::CHECK: reason"),
    "empty-reason": ("batch_normalization::eps:  ", "expected LAYER::CHECK: reason"),
    "no-layer": ("eps: why", "expected LAYER::CHECK, such as batch_normalization::eps"),
    "unknown": ("dense::epsilon: why", "dense::epsilon: there is no check 'epsilon'; known: weights, eps,"),
    "output": ("dense::output: why", "a layer's output cannot be turned off"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_line_that_is_not_valid_names_the_option_and_what_is_expected(case: str) -> None:
    line, message = WRONG[case]
    with pytest.raises(RunError) as caught:
        options.resolve("model.h5", {"off": [line]}, Path("/some"))
    assert str(caught.value).startswith("--kerasdiff-off: ")
    assert message in str(caught.value)
    with pytest.raises(RunError, match=r"^--off: "):
        options.resolve("model.h5", {"off": [line]}, Path("/some"), program=True)


def test_what_is_not_valid_is_a_usage_error(fake: Path) -> None:
    project(fake, "kerasdiff_off = eps\n")
    run = run_fake(fake).run
    assert run.returncode == 4
    assert run.stderr == "ERROR: --kerasdiff-off: got 'eps', expected LAYER::CHECK: reason\n\n"
    shown = helpers.program(fake, "model.h5", "--off", "dense::output: why", "--off", OFF)
    assert (shown.returncode, shown.stdout) == (2, "")
    (line,) = shown.stderr.splitlines()
    assert line.startswith("error: --off: dense::output: a layer's output cannot be turned off")


def test_settings_with_switches_survive_the_way_to_a_child_process() -> None:
    settings = options.resolve("model.h5", {"off": [OFF, "model::frozen: trained on"]}, Path("/some"))
    assert settings.off[0] == Switch(*EPS, REASON, False, "--kerasdiff-off")
    assert settings.off[1].matches("model", "frozen")
    assert Settings.from_json(settings.to_json()) == settings


# -- by the program, and what nothing is called ----------------------------------------------------------------------


def test_the_program_turns_a_check_off_and_refuses_a_name_of_nothing(tmp_path: Path) -> None:
    folder = project(tmp_path)
    run = helpers.program(folder, "model.h5", "--torch", "port:near", "--off", OFF)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"  off       eps of batch_normalization: {REASON}" in run.stdout.splitlines()
    run = helpers.program(folder, "model.h5", "--torch", "port:near", "--off", "batch_norm::eps: why")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "error: --off: batch_norm::eps: no such check is made\n"


# -- by a marker -----------------------------------------------------------------------------------------------------

CONFTEST = """
import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if item.nodeid in {tests!r}:
            item.add_marker(pytest.mark.kerasdiff_off({arguments}))
"""


def marked(folder: Path, *tests: str, arguments: str = f"reason={REASON!r}") -> None:
    (folder / "conftest.py").write_text(CONFTEST.format(tests=tests, arguments=arguments))


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2")], ids=["alone", "workers"])
def test_a_marker_turns_a_check_off(fake: Path, workers: tuple[str, ...]) -> None:
    marked(fake, TEST)
    done = run_fake(fake, "-rs", "--strict-markers", "--kerasdiff-report=out", *workers)
    assert done.run.returncode == 0, done.run.stdout + done.run.stderr
    assert done.outcomes[TEST] == "SKIPPED"
    assert f"turned off: {REASON}" in done.run.stdout
    report = read(fake)
    check = check_of(report, *EPS)
    assert (check["status"], check["cause"], check["message"]) == ("off", "", REASON)
    assert report["verdict"] == "pass"
    counts = report["summary"]
    assert (counts["checks"], counts["checks_failed"], counts["checks_off"]) == (NUMBER - 1, 0, 1)
    lines = done.run.stdout.splitlines()
    assert f"equivalent: 6 of 6 layers pass, {NUMBER - 1} of {NUMBER - 1} checks pass, 1 off" in lines
    assert f"  off       eps of batch_normalization: {REASON}" in lines


def test_a_marker_turns_off_its_own_check_only(fake: Path) -> None:
    marked(fake, "model.h5::model::frozen", "model.h5::dense::weights")
    done = run_fake(fake, "--kerasdiff-report=out")
    assert done.run.returncode == 1
    outcomes = {name: outcome for name, outcome in done.outcomes.items() if outcome != "PASSED"}
    assert outcomes == {TEST: "FAILED", "model.h5::model::frozen": "SKIPPED", "model.h5::dense::weights": "SKIPPED"}
    report = read(fake)
    assert report["verdict"] == "fail"
    assert [c["layer"] for c in report["checks"] if c["status"] == "off"] == ["dense", "model"]


def test_a_marker_reaches_one_model_of_several(fake: Path) -> None:
    helpers.write_tiny(fake / "other.h5")
    (fake / "other.json").write_text((fake / "model.json").read_text("utf-8"))
    marked(fake, TEST)
    done = run_fake(fake, "--keras-model=model.h5", "--keras-model=other.h5", "--kerasdiff-report=out")
    assert (done.outcomes[TEST], done.outcomes[TEST.replace("model.h5", "other.h5")]) == ("SKIPPED", "FAILED")
    verdicts = [
        json.loads((fake / "out" / m / "report.json").read_text("utf-8"))["verdict"] for m in ("model", "other")
    ]
    assert verdicts == ["pass", "fail"]


@pytest.mark.parametrize("arguments", ["", "reason=''", "reason=3"])
def test_a_marker_without_a_reason_fails(fake: Path, arguments: str) -> None:
    marked(fake, TEST, arguments=arguments)
    done = run_fake(fake, "--kerasdiff-report=out")
    assert done.outcomes[TEST] == "FAILED"
    line = 'batch_normalization: eps: kerasdiff_off needs a reason: kerasdiff_off(reason="why")'
    assert line in done.run.stdout.splitlines()
    assert check_of(read(fake), *EPS)["status"] == "fail"


def test_a_marker_on_an_output_fails(fake: Path) -> None:
    marked(fake, "model.h5::dense::output")
    done = run_fake(fake)
    assert done.outcomes["model.h5::dense::output"] == "FAILED"
    assert (
        "dense: a layer's output cannot be turned off; give it a [tolerance], or mark its test xfail" in done.run.stdout
    )


def test_the_marker_is_listed_with_what_it_does(fake: Path) -> None:
    assert "@pytest.mark.kerasdiff_off(reason): turns a check off" in run_fake(fake, "--markers").run.stdout


def test_a_report_that_cannot_be_brought_up_to_date_is_an_error(fake: Path) -> None:
    marked(fake, TEST)
    conftest = (fake / "conftest.py").read_text() + (
        "\n\ndef pytest_runtest_logreport(report):\n    import shutil\n    from pathlib import Path\n"
        "    shutil.rmtree('out', ignore_errors=True)\n    Path('out').touch()\n"
    )
    (fake / "conftest.py").write_text(conftest)
    run = run_fake(fake, "--kerasdiff-report=out").run
    assert run.returncode == 4
    (line,) = helpers.errors(run.stderr.splitlines())
    assert "out: the report cannot be written: " in line


# -- the summary -----------------------------------------------------------------------------------------------------


def test_the_summary_lists_faults_then_warnings_then_what_is_off(fake: Path) -> None:
    report = json.loads((fake / "model.json").read_text("utf-8"))
    shown = terminal.summary(tally.without(report, {("dense", "weights"): "rounded"}), "pytest")
    lines = [line.words for line in shown]
    kinds = [line.split()[0] for line in lines[1:]]
    warnings = sum(c["status"] == "pass" and bool(c["cause"]) for c in report["checks"])
    assert warnings
    assert kinds[: warnings + 2] == ["eps", *["warning"] * warnings, "off"]
    assert lines[2].startswith("  warning   model: frozen: ")
    assert lines[warnings + 2] == "  off       weights of dense: rounded"


# -- the verdict and the counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statuses", "checks", "verdict"),
    [
        (("pass", "declared"), ("pass",), "pass"),
        (("pass",), ("pass", "off"), "pass"),
        (("pass",), (), "pass"),
        (("pass",), ("pass", "fail"), "fail"),
        (("pass", "fault"), ("pass",), "fail"),
        (("pass", "inherited"), ("pass",), "fail"),
        (("pass", "unpaired"), ("pass",), "fail"),
        (("declared",), ("pass",), "fail"),
        ((), ("pass",), "fail"),
    ],
)
def test_the_verdict(statuses: tuple[str, ...], checks: tuple[str, ...], verdict: str) -> None:
    layers, made = [{"status": status} for status in statuses], [{"status": status} for status in checks]
    assert tally.verdict(layers, made) == verdict


def test_turning_off_changes_a_copy(fake: Path) -> None:
    report = json.loads((fake / "model.json").read_text("utf-8"))
    before = json.dumps(report)
    assert tally.without(report, {EPS: "why"})["verdict"] == "pass"
    assert tally.without(report, {}) == report
    assert json.dumps(report) == before
