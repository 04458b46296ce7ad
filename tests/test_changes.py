"""What changed between two reports."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_kerasdiff import __main__
from pytest_kerasdiff.writers import changes, files
from tests import helpers, reports


def test_of_equal_reports_nothing_is_said() -> None:
    for report in (reports.passing(), reports.failing()):
        first, *others = changes.lines(report, copy.deepcopy(report))
        assert first.endswith(", as before")
        assert others == ["  nothing changed"]


def test_rounding_is_no_change() -> None:
    old, new = reports.passing(), reports.passing()
    new["layers"][1]["cumulative"]["max_abs"] *= 30  # 3e-13 of 1e-5
    assert list(changes.lines(old, new))[1:] == ["  nothing changed"]


def test_what_became_wrong_is_told_layer_by_layer_and_check_by_check() -> None:
    old = reports.report(
        [reports.layer(name) for name in ("conv", "relu", "add", "gone")],
        [reports.check("eps", "conv"), reports.check("weights", "conv")],
    )
    new = reports.report(
        [
            reports.layer("conv", status="fault", causes=[reports.cause("eps")]),
            reports.layer("relu", status="inherited"), reports.layer("add", status="inherited"),
            reports.layer("fresh", torch="net.other"),
        ],
        [reports.check("eps", "conv", "fail", "eps", "Keras 0.001, port 1e-05"), reports.check("hyper", "conv")],
        environment={"keras": "3.15.1", "torch": "2.14.0", "python": "3.11.7"},
    )  # fmt: skip
    assert list(changes.lines(old, new)) == [
        "equivalent → NOT equivalent",
        "  layer     gone is no longer there",
        "  layer     conv: pass → fault (eps)",
        "  layer     fresh is new: pass",
        "  layers    pass → inherited: relu, add",
        "  check     conv: weights is no longer made",
        "  check     conv: eps: pass → fail: Keras 0.001, port 1e-05",
        "  check     conv: hyper is new: pass",
        "  with      torch 2.13.0 → 2.14.0",
    ]


@pytest.mark.parametrize(
    ("key", "old", "new", "words"),
    [
        ("torch", "port:build", "port:other", "  port      port:build → port:other"),
        ("tolerance", 1e-5, 1e-4, "  tolerance 1e-05 → 0.0001"),
        (
            "accuracy", {"metric": "top-1", "keras": {"value": 0.93}, "torch": {"value": 0.93}, "flips": 0},
            {"metric": "top-1", "keras": {"value": 0.93}, "torch": {"value": 0.9}, "flips": 7},
            "  accuracy  the port's top-1 0.93 → 0.9",
        ),
        (
            "throughput",
            {"measured": [{"device": "cpu", "batch": 1, "ratio": {"median": 1, "low": 0.9, "high": 1.1}}]},
            {"measured": [{"device": "cpu", "batch": 1, "ratio": {"median": 0.5, "low": 0.4, "high": 0.6},
                           "ratio_to_yardstick": None}]},
            "  speed     cpu, batch 1: 1 times (0.9 … 1.1) → 0.5 times (0.4 … 0.6) as fast as Keras",
        ),
    ],
)  # fmt: skip
def test_what_else_changed_is_told(key: str, old: Any, new: Any, words: str) -> None:
    assert words in list(changes.lines({**reports.passing(), key: old}, {**reports.passing(), key: new}))


def test_an_error_that_nears_its_limit_is_told() -> None:
    old, new = reports.passing(), reports.passing()
    new["layers"][1]["isolated"]["max_abs"] = 6e-6
    assert list(changes.lines(old, new))[1:] == ["  layer     conv: pass, isolated 1e-14 → 6e-06 of limit 1e-05"]


def test_the_program_shows_and_writes_reports(tmp_path: Path) -> None:
    for name, made in (("old.json", reports.passing()), ("new.json", reports.failing())):
        (tmp_path / name).write_text(json.dumps(made))
    done = helpers.program(tmp_path, "report", "old.json", "new.json", "--report", "out")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("equivalent → NOT equivalent\n")
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == reports.failing()
    shown = helpers.program(tmp_path, "report", "out")
    assert shown.returncode == 1
    assert "NOT equivalent: 2 of 8 layers pass" in shown.stdout
    assert helpers.program(tmp_path, "report", "new.json", "old.json").returncode == 0
    for given, words in (
        (("none.json",), "none.json: cannot be read: No such file or directory"),
        (("old.json",) * 3, "report: got 3 reports, expected one, or two to be compared"),
    ):
        done = helpers.program(tmp_path, "report", *given)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {words}\n")


@pytest.mark.parametrize("key", sorted(reports.failing()))
@pytest.mark.parametrize("value", [None, "text", -1, [], {}, float("nan"), "missing"])
def test_whatever_is_damaged_in_a_report_there_is_one_line_or_a_report(key: str, value: Any, tmp_path: Path) -> None:
    report = {**reports.failing(), key: value}
    if value == "missing":
        del report[key]
    (tmp_path / "report.json").write_text(json.dumps(report))
    status = __main__.main(["report", str(tmp_path), "--report", str(tmp_path / "out")])
    written = sorted(path.name for path in (tmp_path / "out").iterdir()) if (tmp_path / "out").exists() else []
    assert status in (0, 1, 2)
    assert written == (sorted(["report.json", *files.FORMS]) if status < 2 else [])


def test_a_report_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps({**reports.failing(), "verdict": "pass"}))
    done = helpers.program(tmp_path, "report", ".")
    assert (done.returncode, done.stdout) == (2, "")
    assert "its verdict and its numbers are not those of its layers and checks" in done.stderr


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "[" * 100000, '{"schema": 9, "verdict": 1, "layers": 2, "checks": 3}']
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    done = helpers.program(tmp_path, "report", ".")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: report.json: ")
    assert len(done.stderr.splitlines()) == 1
