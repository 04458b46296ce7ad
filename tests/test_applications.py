"""Models of ``keras.applications``: their ports pass without a manifest, wrong ones fail in the layers changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_kerasdiff import child, tracefile, verdict
from tests import helpers
from tests.helpers import ROOT, Compared, Report
from tests.rebuilt.applications import NAMES, WRONG

PORTS = [(name, port) for name in NAMES for port in WRONG[name]]


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("applications")
    command = [sys.executable, "-m", "tests.rebuilt.applications", str(folder)]
    run = subprocess.run(
        command, cwd=ROOT, env=helpers.environment(folder), capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def reports(references: Path) -> dict[tuple[str, str], Report]:
    """The reports of all ports, judged in one process for each model."""
    found: dict[tuple[str, str], Report] = {}
    for name in NAMES:
        compared = Compared(references / f"{name}.h5", {}, references / name / child.REFERENCE_TRACE)
        cases = {p: {"torch": f"tests.rebuilt.applications:{name}__{p}"} for p in ("right", *WRONG[name])}
        judged = helpers.judge(compared, cases, references / name)
        found |= {(name, port): report for port, report in judged.items()}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_rebuilt_port_passes_in_all_layers(name: str, reports: dict[tuple[str, str], Report]) -> None:
    report = reports[name, "right"]
    assert "error" not in report, report["error"]
    assert set(helpers.statuses(report).values()) == {"pass"}, helpers.story(report)
    assert helpers.failed_checks(report) == set(), helpers.story(report)
    assert helpers.failed_whole(report) == {}
    assert report["verdict"] == "pass"
    assert not report["unused_parameters"]
    # Rescaling's factor is float32 in Keras.
    assert max(la["cumulative"]["max_abs"] / la["cumulative"]["scale"] for la in report["layers"]) < 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_activations_neither_vanish_nor_explode(name: str, references: Path) -> None:
    trace = tracefile.read(references / name / child.REFERENCE_TRACE)
    scales = [verdict.scale_of(trace.values[la.outputs[0]]) for la in trace.layers if la.inputs]  # pixels aside
    assert min(scales) > 1e-2
    assert max(scales) < 2e3
    assert scales[-1] < 0.999  # a saturated softmax would hide what is before it


@pytest.mark.parametrize(("name", "port"), PORTS)
def test_a_wrong_port_fails_where_it_is_wrong(name: str, port: str, reports: dict[tuple[str, str], Report]) -> None:
    report, expected = reports[name, port], WRONG[name][port]
    assert "error" not in report, report["error"]
    assert helpers.at(report, "fault") == set(expected.faults), helpers.story(report)
    assert helpers.at(report, "unpaired") | helpers.at(report, "declared") == set(), helpers.story(report)
    checks = {(layer, check) for layer, _, check in (c.rpartition(":") for c in expected.checks.split())}
    assert not helpers.unexpected_checks(report, checks), helpers.story(report)
    assert report["verdict"] == "fail"
